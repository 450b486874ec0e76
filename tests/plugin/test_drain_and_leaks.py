"""What `drain`, `leaks="warn"|"fail"` and wrong settings look like to the person whose test it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.errors import ConfigError
from pytest_asgiserve import LeakError, LeakWarning, LiveServer, StopTimeoutError, WebSocketClosed
from tests.support.serving import LOOPS

if TYPE_CHECKING:
    from tests.plugin.conftest import RunPytest


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Greets and echoes; ``/leak`` leaves a task behind."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})
        while (await receive())["type"] == "websocket.receive":
            pass
        return
    if scope["path"] == "/leak":
        scope["state"]["kept"].append(asyncio.create_task(asyncio.Event().wait()))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("loop", LOOPS)
def test_a_drain_waits_for_websockets_of_the_same_thread_which_answer_the_close(loop: str) -> None:
    with LiveServer(app, lifespan="off", loop=loop) as server:
        one, two = server.ws("/one"), server.ws("/two")
        assert one.receive() == "hello"
        server.drain(timeout=10)
        assert one.close_code == two.close_code == 1012
        # What came before the close is still there.
        assert two.receive() == "hello"
        with pytest.raises(WebSocketClosed, match="1012"):
            two.receive()


def test_what_holds_a_drain_is_named_also_a_websocket_of_another_client() -> None:
    with LiveServer(app, lifespan="off", ws_close_timeout=20) as server:
        # A socket that answers no close.
        connection = server.connect()
        connection.send(
            b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert connection.read_response().status == 101
        with pytest.raises(StopTimeoutError, match=r"(?s)did not drain within 0\.1 s.*WebSocket +tunnel +GET /chat"):
            server.drain(timeout=0.1)
        connection.close()


async def leaky(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """With a lifespan, whose state keeps what is left behind."""
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["kept"] = []
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await app(scope, receive, send)


def test_what_is_left_behind_is_an_error_or_a_warning() -> None:
    with (
        pytest.raises(LeakError, match=r"(?s)the application left 1 thing behind:.*1 task made at .*test_drain_and_leaks\.py:\d+ in app"),
        LiveServer(leaky, leaks="fail") as server,
    ):
        server.client.get("/leak")
    with pytest.warns(LeakWarning, match="left 1 thing behind"), LiveServer(leaky, leaks="warn") as server:
        server.client.get("/leak")
    with LiveServer(leaky, leaks="off") as server:
        server.client.get("/leak")


INNER = """
import asyncio, pytest

async def app(scope, receive, send):
    if scope["path"] == "/boom":
        raise ZeroDivisionError
    kept.append(asyncio.create_task(asyncio.Event().wait()))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})

kept = []

@pytest.fixture
def asgi_app():
    return app

@pytest.mark.asgiserve(lifespan="off", leaks="LEAKS", errors="warn")
def test_it(live_server):
    live_server.client.get("/")
    live_server.client.get("/boom")
"""


def test_warnings_point_to_the_test(run_pytest: RunPytest) -> None:
    result = run_pytest(INNER.replace("LEAKS", "warn"), "-W", "default")
    result.assert_outcomes(passed=1, warnings=2)
    result.stdout.fnmatch_lines_random(
        [
            "*test_inner.py:16: ApplicationErrorWarning: *GET /boom: ZeroDivisionError*",
            "*test_inner.py:16: LeakWarning: the application left 1 thing behind:",
        ]
    )


def test_a_leak_that_fails_is_one_message_without_frames_of_ours(run_pytest: RunPytest) -> None:
    result = run_pytest(INNER.replace("LEAKS", "fail").replace('    live_server.client.get("/boom")\n', ""))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["the application left 1 thing behind:", "1 task made at *test_inner.py:6 in app*"])
    result.stdout.no_fnmatch_line("*live.py*")
    result.stdout.no_fnmatch_line("*plugin.py*")


WRONG = """
from pytest_asgiserve import LiveServer

async def app(scope, receive, send): ...

def test_by_hand():
    LiveServer(app, htp="h11")

def test_factory(live_server_factory):
    live_server_factory(app, htp="h11")
"""


def test_a_wrong_setting_is_shown_where_it_was_written(run_pytest: RunPytest) -> None:
    result = run_pytest(WRONG)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([">       LiveServer(app, htp=*", "E       *ConfigError: 'htp' is not an option; did you mean http?"])
    result.stdout.fnmatch_lines([">       live_server_factory(app, htp=*", "E       *ConfigError: 'htp' is not an option; did you mean http?"])
    result.stdout.no_fnmatch_line("*settings.py*")
    result.stdout.no_fnmatch_line("*config.py*")


def test_a_client_certificate_that_nobody_asks_for_is_a_mistake() -> None:
    with LiveServer(app, lifespan="off", tls=True) as server:
        with pytest.raises(ConfigError, match="asks for no client certificate; give it ssl_cert_reqs=1"):
            server.new_client(certificate="alice@example.org")
        assert server.client.get("/").status_code == 200
