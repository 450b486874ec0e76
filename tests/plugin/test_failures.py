"""Point 3 of the plugin: an error of the application is that of the test which caused it, and its report shows where it was raised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import report_of
from tests.plugin.failing_shop import HEAD, SHOP

if TYPE_CHECKING:
    from tests.plugin.conftest import RunPytest

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


def test_a_framework_s_word_for_a_client_that_went_is_no_error(run_pytest: RunPytest) -> None:
    # The loop of FastAPI's own first example, which catches nothing.
    result = run_pytest(
        """
import asyncio, pytest
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect

app = FastAPI()

@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())

@app.websocket("/group")
async def group(websocket: WebSocket):
    await websocket.accept()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(websocket.receive_text())

@app.post("/upload")
async def upload(request: Request):
    return len(await request.body())

@app.websocket("/mistake")
async def mistake(websocket: WebSocket):
    await websocket.accept()
    try:
        await websocket.receive_text()
    except WebSocketDisconnect:
        raise KeyError("while it cleaned up")

@pytest.fixture
def asgi_app():
    return app

@pytest.mark.parametrize("path", ["/ws", "/group"])
@pytest.mark.parametrize("how", ["close", "abort"])
def test_websocket(live_server, path, how):
    with live_server.ws(path) as ws:
        getattr(ws, how)()
    live_server.drain()
    assert live_server.errors == []

def test_upload(live_server):
    with live_server.connect() as raw:
        raw.send(b"POST /upload HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 10\\r\\n\\r\\n12345")
        live_server.settle()
        raw.reset()
    live_server.drain()
    assert live_server.errors == []

def test_a_mistake_behind_it_is_one(live_server):
    with live_server.ws("/mistake"):
        pass
    live_server.drain()
"""
    )
    result.assert_outcomes(passed=5, failed=1)
    assert "unhandled error in GET /mistake: KeyError: 'while it cleaned up'" in report_of(result, "test_a_mistake_behind_it_is_one")


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
