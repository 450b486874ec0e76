"""Every style of test gets a real server: synchronous, asyncio, trio, unittest, in parallel, interrupted, timed out, measured and debugged."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunPytest

# "/" answers, "/boom" raises, "/hang" interrupts who waits for it and never answers; a WebSocket echoes one message.
SHOP = """
import asyncio, os, signal

state = {"started": 0}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            state["started"] += kind == "lifespan.startup"
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                state["started"] -= 1
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        await send({"type": "websocket.close", "code": 1000})
        return
    if scope["path"] == "/boom":
        raise ZeroDivisionError("division by zero in shop")
    if scope["path"] == "/interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if scope["path"] in {"/hang", "/interrupt"}:
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"shop"})
"""
FILES = {"shop": SHOP}
APP = "--asgi-app=shop:app"

# Says at the very end whether a server was left running.
AFTERWARDS = """
import threading

def pytest_unconfigure(config):
    left = [thread.name for thread in threading.enumerate() if "asgiserve" in thread.name]
    print("\\nservers left:", left)
"""


# ---- synchronous ---------------------------------------------------------------------------------------------------------------------

UNITTEST = """
import unittest
import pytest
from pytest_asgiserve import LiveServer

def test_synchronous(live_server):
    assert live_server.client.get("/").text == "shop"

@pytest.mark.usefixtures("live_server")
class TestByUseFixtures(unittest.TestCase):
    live_server: LiveServer

    def setUp(self):
        self.at_set_up = self.live_server.client.get("/").text

    def test_it(self):
        self.assertEqual(self.at_set_up, "shop")
        self.assertEqual(self.live_server.client.get("/").text, "shop")

    @unittest.expectedFailure
    def test_it_fails(self):
        self.assertEqual(self.live_server.client.get("/").text, "another")

    def tearDown(self):
        self.assertEqual(self.live_server.client.get("/").text, "shop")

class TestByAnAutouseFixture(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _serve(self, live_server):
        self.served = live_server

    def test_it(self):
        assert self.served is self.live_server
        assert self.served.client.get("/").text == "shop"

    def test_subtests(self):
        for path in ("/", "/other"):
            with self.subTest(path=path):
                assert self.served.client.get(path).text == "shop"

@pytest.mark.usefixtures("live_server_session")
class TestOfWiderScope(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _serve(self, live_server_session):
        self.__class__.shared = live_server_session

    def test_it(self):
        assert self.shared.client.get("/").text == "shop"

@pytest.mark.usefixtures("live_server")
class TestAsynchronous(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = await self.enterAsyncContext(self.live_server.async_client())

    async def test_it(self):
        assert (await self.client.get("/")).text == "shop"
        with self.live_server.ws("/") as ws:
            ws.send_text("hello")
            assert ws.receive_text() == "hello"

@pytest.mark.usefixtures("live_server")
class TestAnError(unittest.TestCase):
    def test_of_the_application_fails_it(self):
        self.live_server.client.get("/boom")

class TestPlainClass:
    def test_it(self, live_server):
        assert live_server.client.get("/").text == "shop"

def test_none_of_them_was_left_but_the_session_s():
    import shop
    assert shop.state["started"] == 1

def documented():
    '''
    >>> 1 + 1
    2
    '''
"""


def test_synchronous_tests_and_unittest_and_doctest(run_pytest: RunPytest) -> None:
    result = run_pytest(UNITTEST, APP, "--doctest-modules", files=FILES)
    counted = {name: count for name, count in result.parseoutcomes().items() if not name.startswith("subtest")}
    assert counted == {"passed": 9, "failed": 1, "xfailed": 1}
    result.stdout.fnmatch_lines(["FAILED test_inner.py::TestAnError::test_of_the_application_fails_it*"])


def test_what_breaks_in_a_fixture_is_shown_without_frames_of_ours(run_pytest: RunPytest) -> None:
    source = "def test_a(broken): pass\ndef test_b(broken_later): pass\n"
    conftest = """
import pytest

@pytest.fixture
def broken(live_server):
    raise RuntimeError("in the set-up")

@pytest.fixture
def broken_later(live_server):
    yield
    raise RuntimeError("in the tear-down")
"""
    result = run_pytest(source, APP, conftest=conftest, files=FILES)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["E *RuntimeError: in the set-up", "E *RuntimeError: in the tear-down"])
    result.stdout.no_fnmatch_line("*pytest_asgiserve*")


# ---- asynchronous --------------------------------------------------------------------------------------------------------------------

# `{mark}` marks an asynchronous test, `{fixture}` an asynchronous fixture.
ASYNC = """
import asyncio
import pytest
import {import_}

@{fixture}
async def client(live_server):
    async with live_server.async_client() as client:
        yield client

@{fixture}
async def answer(live_server):
    async with live_server.async_client() as client:
        return (await client.get("/")).text

def test_synchronous(live_server):
    assert live_server.client.get("/").text == "shop"

{mark}
async def test_asynchronous(live_server):
    async with live_server.async_client() as client:
        assert (await client.get("/")).text == "shop"
    # What blocks the test's loop does not block the server's.
    assert live_server.client.get("/").text == "shop"
    with live_server.ws("/") as ws:
        ws.send_text("hello")
        assert ws.receive_text() == "hello"

{mark}
async def test_an_asynchronous_generator_as_a_fixture(client, live_server):
    assert (await client.get("/")).text == "shop"
    assert [one.path for one in live_server.exchanges()] == ["/"]

{mark}
async def test_an_asynchronous_fixture(answer):
    assert answer == "shop"

{mark}
async def test_the_server_s_loop_is_another_one(live_server):
    {another_loop}
    with live_server.expect_error(ZeroDivisionError):
        async with live_server.async_client() as client:
            assert (await client.get("/boom")).status_code == 500

{mark}
async def test_module_and_session(live_server_module, live_server_session):
    for server in (live_server_module, live_server_session):
        async with server.async_client() as client:
            assert (await client.get("/")).text == "shop"

class TestClass:
    {mark}
    async def test_it(self, client):
        assert (await client.get("/")).text == "shop"

{mark}
async def test_an_error_fails_it(client):
    await client.get("/boom")
"""
ASYNCIO_LOOP = "assert asyncio.get_running_loop() is not live_server.loop and live_server.loop.is_running()"


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio(run_pytest: RunPytest, mode: str) -> None:
    source = ASYNC.format(
        import_="pytest_asyncio",
        mark="@pytest.mark.asyncio" if mode == "strict" else "",
        fixture="pytest_asyncio.fixture" if mode == "strict" else "pytest.fixture",
        another_loop=ASYNCIO_LOOP,
    )
    scopes = """
@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_client(live_server_session):
    async with live_server_session.async_client() as client:
        yield client

@pytest.mark.asyncio(loop_scope="session")
async def test_a_client_that_lives_on_the_session_s_loop(session_client):
    assert (await session_client.get("/")).text == "shop"

@pytest.mark.asyncio(loop_scope="session")
async def test_and_goes_on_there(session_client, live_server):
    assert (await session_client.get("/")).text == "shop"
    assert live_server.client.get("/").text == "shop"

@pytest.mark.asyncio(loop_scope="module")
async def test_on_the_module_s_loop(live_server, live_server_module):
    assert live_server.client.get("/").text == live_server_module.client.get("/").text == "shop"
"""
    ini = f"asyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
    result = run_pytest(source + scopes, APP, files=FILES, ini=ini, plugins=["pytest_asyncio.plugin"])
    result.assert_outcomes(passed=10, failed=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError: division by zero in shop*", "FAILED test_inner.py::test_an_error_fails_it*"])


def test_anyio_on_asyncio_and_trio(run_pytest: RunPytest) -> None:
    source = ASYNC.format(
        import_="trio",
        mark="@pytest.mark.anyio",
        fixture="pytest.fixture",
        another_loop="seen.append(library())",
    )
    source += """
seen = []

def library():
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        asyncio.get_running_loop()
        return "asyncio"
    return "trio"

BACKENDS = ["asyncio", "trio"]

@pytest.fixture(params=BACKENDS)
def anyio_backend(request):
    return request.param

def test_both_were_there():
    assert seen == BACKENDS
"""
    result = run_pytest(source, APP, files=FILES, plugins=["anyio.pytest_plugin"], subprocess=True)
    result.assert_outcomes(passed=14, failed=2)
    result.stdout.fnmatch_lines(
        ["*ZeroDivisionError: division by zero in shop*", "FAILED *test_an_error_fails_it?asyncio?*", "FAILED *test_an_error_fails_it?trio?*"]
    )


# ---- in parallel, and again -----------------------------------------------------------------------------------------------------------

PARALLEL = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_each_its_own(live_server, number):
    assert live_server.client.get("/").text == "shop"

@pytest.mark.parametrize("number", range(4))
def test_shared(live_server_module, live_server_session, number):
    for server in (live_server_module, live_server_session):
        assert server.client.get(f"/{number}").text == "shop"
        assert [one.path for one in server.exchanges()] == [f"/{number}"]

def test_an_error(live_server):
    live_server.client.get("/boom")

def test_an_error_beside_another_failure(live_server):
    assert live_server.client.get("/boom").status_code == 200

def test_a_start_that_fails(live_server_factory):
    live_server_factory("shop:nothing")
"""


def test_in_parallel_with_xdist(run_pytest: RunPytest) -> None:
    result = run_pytest(PARALLEL, APP, "-n2", "-v", files=FILES, plugins=["xdist"], subprocess=True)
    result.assert_outcomes(passed=10, failed=3)
    # The sections and the notes of the workers' reports come through.
    text = result.stdout.str()
    assert text.count("Captured asgi server call") >= 2
    assert text.count('raise ZeroDivisionError("division by zero in shop")') == 2
    notes = [line for line in result.outlines if line.startswith("E ") and "unhandled error in GET /boom" in line]
    assert len(notes) == 1, "the note at the assertion that failed anyway"
    result.stdout.fnmatch_lines(["E *module 'shop' has no attribute 'nothing'*"])
    assert {line.split()[1] for line in result.outlines if line.startswith("FAILED")} == {
        "test_inner.py::test_an_error",
        "test_inner.py::test_an_error_beside_another_failure",
        "test_inner.py::test_a_start_that_fails",
    }
    assert set(re.findall(r"\[(gw\d)\]", text)) == {"gw0", "gw1"}


def test_every_worker_collects_the_same_tests_for_several_parsers(run_pytest: RunPytest) -> None:
    source = PARALLEL.partition("def test_an_error")[0] + "\ndef test_none():\n    pass\n"
    result = run_pytest(source, APP, "-n2", "--asgi-http=httptools,h11", "-v", files=FILES, plugins=["xdist"], subprocess=True)
    result.assert_outcomes(passed=21)
    tests = set(re.findall(r"PASSED (test_inner\.py::\S+)", result.stdout.str()))
    assert len(tests) == 21
    assert sum("httptools" in test for test in tests) == sum("h11" in test for test in tests) == 10


@pytest.mark.usefixtures("run_pytest")
def test_last_failed_and_stepwise_and_the_first_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        shop=SHOP,
        test_inner="""
        import os

        def test_one(live_server):
            assert live_server.client.get("/").text == "shop"

        def test_two(live_server):
            live_server.client.get("/" if "MENDED" in os.environ else "/boom")

        def test_three(live_server):
            live_server.client.get("/boom")
        """,
    )

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "pytest_asgiserve.plugin", APP, *arguments)

    # A server of the outer run, for its module or session, has its thread in this process too.
    before = set(threading.enumerate())
    run("-x").assert_outcomes(passed=1, failed=1)
    run().assert_outcomes(passed=1, failed=2)
    run("--lf").assert_outcomes(failed=2)
    run("--sw").assert_outcomes(passed=1, failed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MENDED", "1")
        run("--sw").assert_outcomes(passed=1, failed=1, deselected=1)
        run("--lf").assert_outcomes(failed=1)
    assert [thread.name for thread in set(threading.enumerate()) - before if "asgiserve" in thread.name] == []


# ---- interrupted and timed out --------------------------------------------------------------------------------------------------------


def test_an_interrupt_in_the_middle_of_a_request_stops_every_server(run_pytest: RunPytest) -> None:
    source = """
def test_it(live_server, live_server_module, live_server_session, live_server_factory):
    another = live_server_factory()
    with another.ws("/") as ws:
        live_server.client.get("/interrupt", timeout=None)

def test_is_never_reached(live_server):
    pass
"""
    result = run_pytest(source, APP, conftest=AFTERWARDS, files=FILES, subprocess=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*", "servers left: []"])
    assert result.duration < 10


HANGING = """
import pytest, threading
from shop import state

@pytest.mark.timeout(1, method={method!r})
def test_hangs(live_server):
    live_server.client.get("/hang", timeout=None)

def test_the_next_one(live_server):
    assert state["started"] == 1
    assert live_server.client.get("/").text == "shop"
"""


def test_pytest_timeout_by_a_signal_fails_the_test_and_its_server_stops(run_pytest: RunPytest) -> None:
    source = HANGING.format(method="signal")
    result = run_pytest(source, APP, conftest=AFTERWARDS, files=FILES, plugins=["timeout"], subprocess=True)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_inner.py::test_hangs - Failed: Timeout*", "servers left: []"])


def test_pytest_timeout_by_a_thread_ends_the_process_and_shows_the_server_s_stack(run_pytest: RunPytest) -> None:
    source = HANGING.format(method="thread")
    result = run_pytest(source, APP, files=FILES, plugins=["timeout"], subprocess=True)
    assert result.ret == 1
    assert "Stack of asgiserve live server" in result.stdout.str() + result.stderr.str()


# ---- measured and debugged ------------------------------------------------------------------------------------------------------------

MEASURED = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    body = await asyncio.to_thread(in_a_thread)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

def in_a_thread():
    word = "shop"
    return word.encode()

def never():
    return "never"
"""


def test_lines_that_only_the_server_runs_are_covered(run_pytest: RunPytest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("COV_", "COVERAGE_"))]:
        # Else it would measure for the run that this test is a part of.
        monkeypatch.delenv(name)
    result = run_pytest(
        "def test_it(live_server):\n    assert live_server.client.get('/').text == 'shop'\n",
        "--asgi-app=measured:app",
        "--cov=measured",
        "--cov-report=term-missing",
        files={"measured": MEASURED},
        plugins=["pytest_cov"],
        subprocess=True,
    )
    result.assert_outcomes(passed=1)
    # All but the body of never().
    missed = next(number for number, line in enumerate(MEASURED.lstrip().splitlines(), 1) if 'return "never"' in line)
    result.stdout.re_match_lines([rf"measured\.py\s+\d+\s+1\s+\d+%\s+{missed}$"])


def test_a_breakpoint_in_the_application_stops_in_the_server_s_thread(run_pytest: RunPytest, pytester: pytest.Pytester) -> None:
    source = """
import sys, threading
import pytest

traced = []

@pytest.fixture
def asgi_app():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        secret = 6 * 7
        breakpoint()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(secret).encode()})
    return app

def test_it(live_server):
    assert live_server.new_client(timeout=60).get("/").text == "43"
"""
    run_pytest("def test_nothing(): pass")
    pytester.makepyfile(test_inner=source)
    arguments = [sys.executable, "-m", "pytest", "-p", "pytest_asgiserve.plugin", "-p", "no:cacheprovider", "test_inner.py"]
    script = b"import threading; print('stopped in', threading.current_thread().name)\nsecret += 1\ncontinue\n"
    result = pytester.run(*arguments, stdin=script, timeout=30)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PDB set_trace*", "*stopped in asgiserve live server*"])
