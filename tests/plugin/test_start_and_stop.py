"""Point 3 of the plugin: a server that cannot start says why at once, and one that does not stop says what holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import report_of
from tests.plugin.failing_shop import HEAD, SHOP

if TYPE_CHECKING:
    from tests.plugin.conftest import RunPytest

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
