"""Point 3 of the plugin: an error of the application is that of the test which caused it, and a server that cannot start or stop says why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import report_of

if TYPE_CHECKING:
    from tests.plugin.conftest import RunPytest

# An application that fails in every way, in ASGI 3; its lifespan does nothing.
SHOP = """
import asyncio, logging, threading

log = logging.getLogger("shop")
released = threading.Event()

async def lifespan(receive, send):
    for kind in ("startup", "shutdown"):
        assert (await receive())["type"] == "lifespan." + kind
        await send({"type": f"lifespan.{kind}.complete"})

async def respond(send, body=b"ok", **more):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, **more})

async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refuse":
        raise RuntimeError("at the door")
    await send({"type": "websocket.accept"})
    if (await receive())["type"] == "websocket.receive":
        raise RuntimeError("in the middle")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    path = scope["path"]
    if path == "/boom":
        raise ZeroDivisionError("division by zero")
    if path == "/key":
        raise KeyError("missing")
    if path == "/group":
        async def leaf():
            raise ZeroDivisionError("of a task")
        async with asyncio.TaskGroup() as group:
            group.create_task(leaf())
    if path == "/nothing":
        return
    if path == "/half":
        await respond(send, b"begin", more_body=True)
        raise KeyError("half")
    if path == "/stream":
        await respond(send, b"begin", more_body=True)
        while True:
            # ASGI 2.4: raises an OSError once the client has gone.
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    if path == "/wait":
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if path == "/hang":
        await asyncio.Event().wait()
    if path == "/block":
        released.wait(10)
    if path == "/log":
        log.warning("from the application")
    await respond(send)
    if path == "/after":
        raise LookupError("after the response")
    if path == "/background":
        await asyncio.sleep(0.05)
        raise LookupError("in the background")
"""
HEAD = "import httpx, pytest, unittest, warnings\nfrom shop import app\n"


# ---- whose error it is -------------------------------------------------------------------------------------------------------------


def test_an_unhandled_error_fails_the_test_that_caused_it(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
def test_fine(live_server):
    assert live_server.client.get("/").text == "ok"

def test_unhandled(live_server):
    assert live_server.client.get("/boom?x=1").status_code == 500

def test_own_assertion(live_server):
    assert live_server.client.get("/boom").status_code == 200

def test_after_the_response(live_server):
    assert live_server.client.get("/after").text == "ok"

def test_background(live_server):
    assert live_server.client.get("/background").text == "ok"

def test_no_response(live_server):
    assert live_server.client.get("/nothing").status_code == 500

def test_half_a_response(live_server):
    with pytest.raises(httpx.RemoteProtocolError):
        live_server.client.get("/half")

def test_group(live_server):
    live_server.client.get("/group")

def test_two(live_server):
    for path in ("/boom", "/", "/key"):
        live_server.client.get(path)

def test_clean_again(live_server):
    assert live_server.errors == []
""",
        "-rA",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=2, failed=8)

    unhandled = report_of(result, "test_unhandled")
    lines = unhandled.splitlines()
    assert lines[1].startswith("unhandled error in GET /boom?x=1: ZeroDivisionError: division by zero (")
    assert lines[2] == "A test that wants this says: with live_server.expect_error(...)"
    assert "Captured asgi server call" in lines[3]
    # The traceback begins in the application.
    assert lines[4:6] == ["--- GET /boom?x=1: exception in the application", "Traceback (most recent call last):"]
    assert 'shop.py", line' in lines[6]
    assert 'raise ZeroDivisionError("division by zero")' in lines[7]
    assert lines[8] == "ZeroDivisionError: division by zero"
    assert "test_inner.py" not in unhandled
    assert "live.py" not in unhandled
    # pytest's summary shows the first line of a failure.
    result.stdout.fnmatch_lines(["FAILED test_inner.py::test_unhandled - Failed: unhandled error in GET /boom*"])

    own = report_of(result, "test_own_assertion")
    assert ">       assert live_server.client.get(" in own
    assert "E       AssertionError: assert 500 == 200" in own
    assert "E       unhandled error in GET /boom: ZeroDivisionError: division by zero" in own
    assert "E       The traceback is in the section 'Captured asgi server call'." in own
    assert own.index("assert 500 == 200") < own.index("Captured asgi server call") < own.index("Traceback (most recent call last)")

    for test, error in {
        "test_after_the_response": "GET /after: LookupError: after the response",
        "test_background": "GET /background: LookupError: in the background",
        "test_no_response": "GET /nothing: ",
        "test_half_a_response": "GET /half: KeyError: 'half'",
        "test_group": "GET /group: ZeroDivisionError: of a task (",
    }.items():
        report = report_of(result, test)
        assert report.splitlines()[1].startswith(f"unhandled error in {error}"), report
        assert "Captured asgi server call" in report
        assert f"ERROR at teardown of {test}" not in report
    assert "+ Exception Group Traceback" in report_of(result, "test_group")

    two = report_of(result, "test_two").splitlines()
    assert two[1] == "2 unhandled errors in the application:"
    assert [line.split(" (")[0] for line in two[2:4]] == ["  GET /boom: ZeroDivisionError: division by zero", "  GET /key: KeyError: 'missing'"]
    assert sum(line.startswith("--- GET /") for line in two) == 2


def test_errors_of_websocket_applications(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
from pytest_asgiserve import WebSocketClosed, WebSocketRejected

def test_at_the_door(live_server):
    with pytest.raises(WebSocketRejected):
        live_server.ws("/refuse")

def test_in_the_middle(live_server):
    with live_server.ws("/chat?x=1") as ws:
        ws.send_text("hello")
        with pytest.raises(WebSocketClosed):
            ws.receive_text()

def test_expected(live_server):
    with live_server.expect_error(RuntimeError, match="middle"), live_server.ws("/chat") as ws:
        ws.send_text("hello")

def test_a_client_that_goes_is_no_error(live_server):
    with live_server.ws("/chat"):
        pass
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=2, failed=2)
    assert "unhandled error in GET /refuse: RuntimeError: at the door" in report_of(result, "test_at_the_door")
    assert "unhandled error in GET /chat?x=1: RuntimeError: in the middle" in report_of(result, "test_in_the_middle")


def test_a_client_that_goes_away_is_no_error(run_pytest: RunPytest) -> None:
    run_pytest(
        HEAD
        + """
@pytest.mark.parametrize("path", ["/stream", "/wait"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_it(live_server, path, how):
    raw = live_server.connect()
    raw.send(f"GET {path} HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n".encode())
    live_server.client.get("/")
    getattr(raw, how)()
    live_server.drain(timeout=5)
    assert live_server.errors == []
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    ).assert_outcomes(passed=4)


@pytest.mark.parametrize("scope", ["module", "session"])
def test_an_error_in_a_server_of_a_wider_scope_is_the_causing_test_s_and_not_the_next_one_s(run_pytest: RunPytest, scope: str) -> None:
    result = run_pytest(
        HEAD
        + """
def test_before(server):
    assert server.client.get("/").text == "ok"

def test_causing(server):
    server.client.get("/boom")

def test_next(server):
    assert server.errors == []

@pytest.fixture
def rude(server):
    yield
    server.client.get("/key")

def test_in_the_teardown_of_a_fixture(rude):
    pass

def test_after_the_teardown(server):
    assert server.errors == []

@pytest.fixture
def broken(server):
    server.client.get("/boom")
    raise RuntimeError("in a fixture")

def test_in_a_setup_that_fails(broken):
    pass

def test_after_the_setup(server):
    assert server.errors == []

@pytest.fixture
def careless(server):
    server.client.get("/boom")

def test_in_a_setup_that_succeeds(careless):
    pass

def test_last(server):
    assert server.client.get("/").text == "ok"
""".replace("(server)", f"(live_server_{scope})").replace(" server.", f" live_server_{scope}."),
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=6, failed=2, errors=2)
    assert "unhandled error in GET /boom" in report_of(result, "test_causing")
    teardown = report_of(result, "test_in_the_teardown_of_a_fixture")
    assert "ERROR at teardown of" in teardown
    assert "unhandled error in GET /key: KeyError: 'missing'" in teardown
    assert "Captured asgi server teardown" in teardown
    setup = report_of(result, "test_in_a_setup_that_fails")
    assert "RuntimeError: in a fixture" in setup
    assert "unhandled error in GET /boom" in setup
    assert "Captured asgi server setup" in setup
    assert "unhandled error in GET /boom" in report_of(result, "test_in_a_setup_that_succeeds")


def test_an_error_after_the_test_is_an_error_of_its_teardown(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
def down(kind):
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if kind == "raises":
            raise RuntimeError("at the end")
        await send({"type": "lifespan.shutdown.failed", "message": "cannot end"})
    return app

@pytest.mark.asgiserve(app=down("raises"))
def test_shutdown_raises(live_server):
    pass

@pytest.mark.asgiserve(app=down("fails"))
def test_shutdown_fails(live_server):
    pass

@pytest.mark.asgiserve(app=down("raises"), errors="ignore")
def test_ignored(live_server):
    pass

def test_in_a_server_of_the_factory(live_server_factory):
    live_server_factory(down("raises"))

@pytest.fixture
def rude(live_server):
    yield
    live_server.client.get("/boom")

@pytest.mark.asgiserve(app=app)
def test_rude(rude):
    pass
""",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=5, errors=4)
    for test, error in {
        "test_shutdown_raises": "lifespan: RuntimeError: at the end",
        "test_shutdown_fails": "lifespan: ",
        "test_in_a_server_of_the_factory": "lifespan: RuntimeError: at the end",
        "test_rude": "GET /boom: ZeroDivisionError",
    }.items():
        report = report_of(result, test)
        assert f"ERROR at teardown of {test}" in report
        assert f"unhandled error in {error}" in report
        assert "Captured asgi server teardown" in report
    assert "cannot end" in report_of(result, "test_shutdown_fails")


def test_an_error_in_the_shutdown_of_a_wider_server_is_shown_with_the_last_test(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
async def down(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise RuntimeError("at the end")

pytestmark = pytest.mark.asgiserve(app=down)

def test_first(live_server_module):
    pass

def test_last(live_server_module):
    pass
""",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=2, errors=1)
    assert "unhandled error in lifespan: RuntimeError: at the end" in report_of(result, "test_last")
    assert "in down" in report_of(result, "test_last")


def test_two_servers_each_with_an_error(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
def test_it(live_server, live_server_factory):
    other = live_server_factory()
    live_server.client.get("/boom")
    other.client.get("/key")
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(failed=1)
    report = report_of(result, "test_it")
    assert "unhandled error in GET /boom" in report
    assert "unhandled error in GET /key" in report


# ---- expect_error ------------------------------------------------------------------------------------------------------------------


def test_expect_error(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
import re

def test_type(live_server):
    with live_server.expect_error(ZeroDivisionError) as expected:
        assert live_server.client.get("/boom").status_code == 500
    assert isinstance(expected.value, ZeroDivisionError)
    assert [(one.method, one.target) for one in expected.errors] == [("GET", "/boom")]
    assert live_server.errors == []

def test_base_class_and_several(live_server):
    with live_server.expect_error(ArithmeticError):
        live_server.client.get("/boom")
    with live_server.expect_error((ValueError, LookupError)) as expected:
        live_server.client.get("/key")
        live_server.client.get("/half?" if False else "/key")
    assert len(expected.errors) == 2

@pytest.mark.parametrize("match", ["by z.ro$", re.compile("BY ZERO", re.IGNORECASE)])
def test_match(live_server, match):
    with live_server.expect_error(ZeroDivisionError, match=match):
        live_server.client.get("/boom")

def test_group_with_one_leaf(live_server):
    with live_server.expect_error(ZeroDivisionError, match="of a task"):
        live_server.client.get("/group")
    with live_server.expect_error(ExceptionGroup):
        live_server.client.get("/group")

@pytest.mark.parametrize("path", ["/after", "/background"])
def test_after_the_response(live_server, path):
    with live_server.expect_error(LookupError):
        assert live_server.client.get(path).text == "ok"

def test_value_is_not_there_inside(live_server):
    with live_server.expect_error(ZeroDivisionError) as expected:
        with pytest.raises(AttributeError, match="after the `with` block"):
            expected.value
        live_server.client.get("/boom")

def test_body_keeps_its_exception(live_server):
    with pytest.raises(LookupError, match="of the test"):
        with live_server.expect_error(ZeroDivisionError):
            live_server.client.get("/boom")
            raise LookupError("of the test")

def test_nested(live_server):
    with live_server.expect_error(KeyError), live_server.expect_error(ZeroDivisionError):
        live_server.client.get("/key")
        live_server.client.get("/boom")

def test_nothing_raised(live_server):
    with live_server.expect_error(ZeroDivisionError):
        assert live_server.client.get("/").status_code == 200

def test_another_raised(live_server):
    with live_server.expect_error((ValueError, OSError), match="x+"):
        live_server.client.get("/key")

def test_text_does_not_match(live_server):
    with live_server.expect_error(ZeroDivisionError, match="by one"):
        live_server.client.get("/boom")

def test_others_still_fail(live_server):
    with live_server.expect_error(ZeroDivisionError):
        live_server.client.get("/key")
        live_server.client.get("/boom")

def test_outside_of_the_block(live_server):
    live_server.client.get("/boom")
    with live_server.expect_error(KeyError):
        live_server.client.get("/key")
""",
        "--asgi-app=shop:app",
        "--durations=3",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=10, failed=5)
    nothing = report_of(result, "test_nothing_raised")
    assert "E       AssertionError: the application raised no ZeroDivisionError\n" in nothing + "\n"
    another = report_of(result, "test_another_raised")
    assert "the application raised no ValueError or OSError that matches 'x+'; it raised GET /key: KeyError: 'missing' (" in another
    assert "Captured asgi server call" in another
    assert "raised no ZeroDivisionError that matches 'by one'; it raised GET /boom: ZeroDivisionError" in report_of(
        result, "test_text_does_not_match"
    )
    others = report_of(result, "test_others_still_fail")
    assert "unhandled error in GET /key" in others
    assert "GET /boom" not in others
    assert "unhandled error in GET /boom" in report_of(result, "test_outside_of_the_block")
    # The frames of the plugin are hidden: the block is what failed.
    assert "failures.py" not in nothing


def test_expect_error_waits_for_a_request_that_runs_on(run_pytest: RunPytest) -> None:
    # The client is gone and the request goes on behind it: its error is waited for, not polled.
    run_pytest(
        """
import asyncio, threading

go = threading.Event()

async def app(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.to_thread(go.wait, 5)
        raise ZeroDivisionError("late")

def test_it(live_server_factory):
    server = live_server_factory(app, lifespan="off")
    threading.Timer(0.1, go.set).start()
    with server.expect_error(ZeroDivisionError, match="late", timeout=5):
        server.connect().send(b"GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
"""
    ).assert_outcomes(passed=1)


# ---- what an error does ------------------------------------------------------------------------------------------------------------

ERRORS = """
def test_boom(live_server):
    live_server.client.get("/boom")
"""


@pytest.mark.parametrize("where", ["option", "ini", "marker"])
@pytest.mark.parametrize("what", ["fail", "warn", "ignore"])
def test_errors(run_pytest: RunPytest, what: str, where: str) -> None:
    result = run_pytest(
        HEAD + (f"pytestmark = pytest.mark.asgiserve(errors={what!r})\n" if where == "marker" else "") + ERRORS,
        "--asgi-app=shop:app",
        "-rA",
        "-Wdefault::pytest_asgiserve.ApplicationErrorWarning",
        *([f"--asgi-errors={what}"] if where == "option" else []),
        ini=f"asgi_errors = {what}" if where == "ini" else "",
        files={"shop": SHOP},
    )
    if what == "fail":
        result.assert_outcomes(failed=1)
    elif what == "warn":
        result.assert_outcomes(passed=1, warnings=1)
        result.stdout.fnmatch_lines(["*ApplicationErrorWarning: unhandled error in GET /boom: ZeroDivisionError: division by zero*"])
        result.stdout.fnmatch_lines(["*Captured asgi server call*", "ZeroDivisionError: division by zero"])
    else:
        result.assert_outcomes(passed=1)
        # Then it is the server's log that has it, as in production.
        result.stdout.fnmatch_lines(["*Captured log call*", "ERROR*asgiserve*", "ZeroDivisionError: division by zero"])
        result.stdout.no_fnmatch_line("*Captured asgi server call*")


def test_a_warning_that_is_an_error_fails_the_test(run_pytest: RunPytest) -> None:
    result = run_pytest(HEAD + ERRORS, "--asgi-app=shop:app", "--asgi-errors=warn", files={"shop": SHOP})
    result.assert_outcomes(failed=1)
    assert "ApplicationErrorWarning: unhandled error in GET /boom" in report_of(result, "test_boom")


def test_marked_and_skipped_tests(run_pytest: RunPytest) -> None:
    run_pytest(
        HEAD
        + """
@pytest.mark.xfail(strict=True)
def test_expected_to_fail(live_server):
    live_server.client.get("/boom")

@pytest.mark.xfail(strict=True, raises=ValueError)
def test_expected_to_fail_otherwise(live_server):
    live_server.client.get("/boom")

def test_skipped(live_server):
    live_server.client.get("/boom")
    pytest.skip("on the way")

@pytest.mark.skip(reason="before")
def test_never_started(live_server):
    assert False

def test_xfailed_on_the_way(live_server):
    live_server.client.get("/boom")
    pytest.xfail("on the way")
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    ).assert_outcomes(xfailed=2, failed=1, skipped=2)


def test_a_unittest_class(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
@pytest.mark.usefixtures("live_server")
class TestShop(unittest.TestCase):
    def test_fine(self):
        self.assertEqual(self.live_server.client.get("/").text, "ok")

    def test_causing(self):
        self.live_server.client.get("/boom")

    def test_own(self):
        self.assertEqual(self.live_server.client.get("/boom").status_code, 200)

    def test_next(self):
        assert self.live_server.errors == []

    def test_skipped(self):
        self.live_server.client.get("/boom")
        self.skipTest("on the way")

    def test_expected(self):
        with self.live_server.expect_error(ZeroDivisionError):
            self.live_server.client.get("/boom")
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=3, failed=2, skipped=1)
    assert "unhandled error in GET /boom" in report_of(result, "TestShop.test_causing")
    own = report_of(result, "TestShop.test_own")
    assert "AssertionError: 500 != 200" in own
    assert "Captured asgi server call" in own
    assert "ZeroDivisionError: division by zero" in own


# ---- what the server logged --------------------------------------------------------------------------------------------------------


def test_logs_are_in_the_report_of_their_test_only(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
def test_quiet(live_server_session):
    assert live_server_session.client.get("/").status_code == 404

def test_loud(live_server_session):
    live_server_session.client.get("/log")
    assert False

def test_quiet_too(live_server_session):
    assert live_server_session.client.get("/").status_code == 404
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(failed=3)
    assert "from the application" in report_of(result, "test_loud")
    assert "Captured log call" in report_of(result, "test_loud")
    for test in ("test_quiet", "test_quiet_too"):
        assert "Captured" not in report_of(result, test)


def test_the_access_log_is_there_where_its_level_is_asked_for(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD + "def test_it(live_server, caplog):\n    live_server.client.get('/some')\n    assert False\n",
        "--asgi-app=shop:app",
        "--log-level=INFO",
        files={"shop": SHOP},
    )
    result.assert_outcomes(failed=1)
    assert "GET /some" in report_of(result, "test_it").partition("Captured log call")[2]


# ---- a server that does not start --------------------------------------------------------------------------------------------------

LIFESPANS = """
import asyncio, contextlib, threading, time
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

released = threading.Event()
before = {*threading.enumerate()}

@contextlib.asynccontextmanager
async def refusing(app):
    raise RuntimeError("no database")
    yield

@contextlib.asynccontextmanager
async def waiting_to_start(app):
    await asyncio.Event().wait()
    yield

@contextlib.asynccontextmanager
async def blocking_to_start(app):
    released.wait(5)
    yield

@contextlib.asynccontextmanager
async def waiting_to_end(app):
    yield
    await asyncio.Event().wait()

async def saying_no(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no queue"})

async def saying_nothing(scope, receive, send):
    await receive()
"""


def test_a_server_that_cannot_start_says_why_at_once(run_pytest: RunPytest) -> None:
    result = run_pytest(
        LIFESPANS
        + """
@pytest.mark.asgiserve(app="broken:app")
def test_import(live_server):
    pass

@pytest.mark.asgiserve(app="broken:app")
def test_import_in_the_factory(live_server_factory):
    live_server_factory()

@pytest.mark.asgiserve(app="brokn:app")
def test_no_module(live_server):
    pass

@pytest.mark.asgiserve(app="shop:application")
def test_no_attribute(live_server):
    pass

@pytest.mark.asgiserve(app="shop")
def test_no_colon(live_server):
    pass

@pytest.mark.asgiserve(app=5)
def test_no_application(live_server):
    pass

@pytest.mark.asgiserve(app=Starlette(lifespan=refusing))
def test_refused_by_starlette(live_server):
    pass

@pytest.mark.asgiserve(app=saying_no)
def test_refused(live_server):
    pass

@pytest.mark.asgiserve(app=saying_nothing, lifespan="on")
def test_not_answered(live_server):
    pass

@pytest.mark.asgiserve(app=saying_no)
def test_the_factory_raises_what_a_test_can_expect(live_server_factory):
    from asgiserve.errors import LifespanError, ApplicationLoadError
    with pytest.raises(LifespanError, match="no queue"):
        live_server_factory()
    with pytest.raises(ApplicationLoadError, match="brokn"):
        live_server_factory("brokn:app")
""",
        files={"shop": SHOP, "broken": "import shop\n\nshop.nothing_there\n"},
    )
    result.assert_outcomes(passed=1, failed=1, errors=8)
    imported = report_of(result, "test_import").splitlines()
    assert imported[1].startswith("the server did not start: module 'broken' was found, but cannot be imported: AttributeError: ")
    # The traceback is that of the application alone.
    assert imported[2] == "Traceback (most recent call last):"
    assert 'broken.py", line 3, in <module>' in imported[3]
    assert imported[-1].startswith("AttributeError: module 'shop' has no attribute 'nothing_there'")
    assert len(imported) <= 8
    factory = report_of(result, "test_import_in_the_factory")
    assert ">   shop.nothing_there" in factory
    assert ">       live_server_factory()" in factory
    assert "ApplicationLoadError: module 'broken' was found, but cannot be imported" in factory
    for internal in ("importer.py", "runner.py", "server.py", "contextlib.py", "plugin.py"):
        assert internal not in factory
    for test, reason in {
        "test_no_module": "no module named 'brokn'*did you mean broken?",
        "test_no_attribute": "module 'shop' has no attribute 'application'; it has app",
        "test_no_colon": "'shop' must be module:attribute; did you mean shop:app?",
        "test_no_application": "the application 5 is an int, not an application: it cannot be called",
        "test_refused_by_starlette": "the application refused to start: RuntimeError: no database",
        "test_refused": "the application refused to start: no queue",
        "test_not_answered": "the application does not answer lifespan.startup*",
    }.items():
        lines = pytest.LineMatcher(report_of(result, test).splitlines()[:2])
        lines.fnmatch_lines([f"*ERROR at setup of {test} *", f"the server did not start: {reason}"])
    assert 'raise RuntimeError("no database")' in report_of(result, "test_refused_by_starlette")


def test_a_start_that_takes_too_long_says_where_it_stands(run_pytest: RunPytest) -> None:
    result = run_pytest(
        LIFESPANS
        + """
@pytest.mark.asgiserve(app=FastAPI(lifespan=waiting_to_start), start_timeout=0.2)
def test_waiting(live_server):
    pass

@pytest.fixture
def after():
    # The blocked one is let go when its fixture has failed.
    yield
    released.set()

@pytest.mark.asgiserve(app=FastAPI(lifespan=blocking_to_start), start_timeout=0.2)
def test_blocking(after, live_server):
    pass

def test_no_thread_is_left():
    for thread in {*threading.enumerate()} - before:
        if thread.name == "asgiserve live server":
            thread.join(5)
            assert not thread.is_alive()
""",
    )
    result.assert_outcomes(passed=1, errors=2)
    begin = "the server did not start within 0.2 s (start_timeout, --asgi-start-timeout); "
    waiting = report_of(result, "test_waiting").splitlines()
    assert waiting[1] == f"{begin}the application's lifespan waits here:"
    # What the framework does between is one line.
    assert waiting[2].startswith("  ... ")
    assert " frames of fastapi, starlette" in waiting[2]
    assert ", in waiting_to_start" in waiting[3]
    assert waiting[4] == "    await asyncio.Event().wait()"
    blocking = report_of(result, "test_blocking").splitlines()
    assert blocking[1] == f"{begin}the event loop does not turn; its thread stands here:"
    assert any(", in blocking_to_start" in line for line in blocking)
    assert "    released.wait(5)" in blocking


# ---- a server that does not stop ---------------------------------------------------------------------------------------------------


def test_a_stop_that_takes_too_long_says_what_holds_it(run_pytest: RunPytest) -> None:
    result = run_pytest(
        LIFESPANS
        + """
import shop, socket

@pytest.fixture
def socket_of_its_own():
    # Not through the server's object, which would close it before the stop.
    with socket.socket() as client:
        yield client

@pytest.mark.asgiserve(app=shop.app, stop_timeout=0.2)
def test_hanging(socket_of_its_own, live_server):
    socket_of_its_own.connect((live_server.host, live_server.port))
    socket_of_its_own.sendall(b"GET /hang?x=1 HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
    live_server.client.get("/")

@pytest.mark.asgiserve(app=Starlette(lifespan=waiting_to_end), stop_timeout=0.2)
def test_lifespan(live_server):
    pass

@pytest.mark.asgiserve(app=shop.app, stop_timeout=0.2)
def test_blocking(live_server):
    live_server.loop.call_soon_threadsafe(block)
    assert blocking.wait(5)
    threading.Timer(3, shop.released.set).start()

blocking = threading.Event()

def block():
    blocking.set()
    shop.released.wait(5)

def test_no_thread_is_left():
    for thread in {*threading.enumerate()} - before:
        if thread.name == "asgiserve live server":
            thread.join(5)
            assert not thread.is_alive()
""",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=4, errors=3)
    begin = "the server did not stop within 0.2 s (stop_timeout, --asgi-stop-timeout); what held it:"
    hanging = report_of(result, "test_hanging").splitlines()
    assert hanging[1] == begin
    assert hanging[2].split() == ["PEER", "PROTOCOL", "STATE", "REQUEST", "AGE"]
    peer, protocol, state, method, target, age, unit = hanging[3].split()
    assert peer.startswith("127.0.0.1:")
    assert (protocol, state, method, target, unit) == ("HTTP/1.1", "response", "GET", "/hang?x=1", "s")
    assert 0.1 <= float(age) < 30
    assert "GET /hang?x=1 waits here:" in hanging
    assert "    await asyncio.Event().wait()" in hanging
    assert any('shop.py", line' in line and line.endswith(", in app") for line in hanging)
    lifespan = report_of(result, "test_lifespan").splitlines()
    assert lifespan[1:3] == [begin, "no connection is open and no request runs; the application's lifespan waits here:"]
    assert any(line.endswith(", in waiting_to_end") for line in lifespan)
    assert not any("left behind" in line for line in lifespan)
    blocked = report_of(result, "test_blocking").splitlines()
    assert blocked[1:3] == [begin, "the event loop does not turn; its thread stands here:"]
    assert any(line.endswith(", in block") for line in blocked)
    assert "    shop.released.wait(5)" in blocked


def test_what_went_wrong_before_a_stop_that_takes_too_long_is_told_too(run_pytest: RunPytest) -> None:
    result = run_pytest(
        HEAD
        + """
import socket

@pytest.fixture
def client():
    with socket.socket() as client:
        yield client

@pytest.fixture
def rude(client, live_server):
    yield
    client.connect((live_server.host, live_server.port))
    client.sendall(b"GET /hang HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
    live_server.client.get("/boom")

@pytest.mark.asgiserve(stop_timeout=0.2)
def test_it(rude):
    pass
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=1, errors=1)
    report = report_of(result, "test_it")
    assert "GET /hang waits here:" in report
    assert "unhandled error in GET /boom: ZeroDivisionError" in report
    assert 'raise ZeroDivisionError("division by zero")' in report


def test_requests_that_nobody_waits_for_do_not_hold_a_stop(run_pytest: RunPytest) -> None:
    # The default of stop_timeout is 5 s: it would be seen in the time.
    result = run_pytest(
        HEAD
        + """
import time

@pytest.mark.parametrize("path", ["/stream", "/hang", "/wait"])
@pytest.mark.parametrize("how", ["close", "reset", "half_close", "nothing"])
def test_it(live_server, path, how):
    raw = live_server.connect()
    raw.get(path)
    live_server.client.get("/")
    if how != "nothing":
        getattr(raw, how)()
    began = time.monotonic()
    live_server.stop()
    assert time.monotonic() - began < 3

def test_a_client_of_the_test_s_own_that_is_still_open(live_server):
    import httpx
    client = httpx.Client(base_url=live_server.url)
    assert client.get("/").text == "ok"
    began = time.monotonic()
    live_server.stop()
    assert time.monotonic() - began < 3
    client.close()
""",
        "--asgi-app=shop:app",
        files={"shop": SHOP},
    )
    result.assert_outcomes(passed=13)


# ---- how a traceback is shown ------------------------------------------------------------------------------------------------------


def test_frames_of_a_framework_are_counted_and_shown_on_demand(run_pytest: RunPytest) -> None:
    source = """
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.routing import Route

async def wrong(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.body"})

def helper():
    raise LookupError("in the helper")

async def boom(request):
    helper()

async def inside(request):
    Response(content=object())

async def background(request):
    return Response("ok", background=BackgroundTask(helper))

async def chained(request):
    try:
        helper()
    except LookupError as error:
        raise ValueError("chained") from error

@pytest.fixture
def asgi_app():
    return Starlette(routes=[Route("/boom", boom), Route("/inside", inside), Route("/chained", chained), Route("/background", background)])

@pytest.mark.asgiserve(app=wrong, lifespan="off")
def test_wrong(live_server):
    live_server.client.get("/")

@pytest.mark.parametrize("path", ["boom", "inside", "chained", "background"])
def test_it(live_server, path):
    live_server.client.get("/" + path)
"""
    result = run_pytest(source)
    result.assert_outcomes(failed=5)
    boom = report_of(result, "test_it[boom]")
    assert re.search(r"\n  \.\.\. \d+ frames of starlette \.\.\.\n  File .*in boom\n    helper\(\)\n", boom)
    assert ", in helper" in boom
    assert "applications.py" not in boom
    # Where a library raised, its frames below the application's are what one wants to read.
    assert re.search(r", in inside\n(.*\n)*  File .*responses.py.*in render\n", report_of(result, "test_it[inside]"))
    chained = report_of(result, "test_it[chained]")
    assert "LookupError: in the helper" in chained
    assert "The above exception was the direct cause" in chained
    assert chained.count("frames of starlette") == 1
    background = report_of(result, "test_it[background]")
    assert "unhandled error in GET /background: LookupError: in the helper" in background
    assert "ERROR at teardown" not in background
    # What the server itself refuses ends in the application's line and in the server's reason.
    wrong = report_of(result, "test_wrong")
    assert "in wrong\n" in wrong
    assert "LocalProtocolError: " in wrong
    full = report_of(run_pytest(source, "--full-trace", "-k", "boom"), "test_it[boom]")
    assert "applications.py" in full.partition("Captured asgi server call")[2]
    assert "frames of" not in full
