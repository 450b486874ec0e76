"""`LiveServer` by hand: where it is, what runs inside of it, what it remembers, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from asgiserve.errors import ConfigError, StartupError
from pytest_asgiserve import ApplicationErrorWarning, LiveServer, StopTimeoutError
from pytest_asgiserve.recorder import BODY_LIMIT, EVENT_LIMIT
from tests.support.apps import echo, read_body, respond, routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.support.apps import Message, Receive, Scope, Send

log = logging.getLogger("tests.shop")


class Shop:
    """An ASGI 3 application that counts its lifespans."""

    def __init__(self) -> None:
        self.started = 0
        self.stopped = 0
        self.hanging = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await _chat(receive, send)
        else:
            await routes(boom=_boom, echo=echo, late=_late, nothing=_nothing, hang=self._hang, log=_log, chunks=_chunks, state=_state, short=_short)(
                scope, receive, send
            )

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        self.started += 1
        scope["state"]["cache"] = {"a": 1}
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.stopped += 1
        await send({"type": "lifespan.shutdown.complete"})

    async def _hang(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        self.hanging.set()
        await asyncio.Event().wait()


async def _chat(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"].upper()})


async def _boom(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ZeroDivisionError("division by zero")


async def _late(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send)
    raise LookupError("after the response")


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    return


async def _log(_scope: Scope, _receive: Receive, send: Send) -> None:
    log.warning("from the application")
    await respond(send)


async def _chunks(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    await send({"type": "http.response.start", "status": 201, "headers": [(b"X-Kind", b"a"), (b"x-kind", b"b")]})
    for _ in range(int(scope["query_string"] or 3)):
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


async def _state(scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, repr(scope["state"]["cache"]).encode())


async def _short(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"short"})


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def server(shop: Shop) -> Iterator[LiveServer]:
    with LiveServer(shop) as server:
        yield server


# ---- where it is -------------------------------------------------------------------------------------------------------------------


def test_it_says_where_it_is(server: LiveServer) -> None:
    assert server.host == "127.0.0.1"
    assert server.port > 0
    assert server.uds is None
    assert server.url == str(server) == f"http://127.0.0.1:{server.port}"
    assert server + "/items" == f"{server.url}/items"
    assert f"{server}/items" == f"{server.url}/items"
    assert server.ws_url("/chat?x=1") == f"ws://127.0.0.1:{server.port}/chat?x=1"
    assert server.ws_url() == f"ws://127.0.0.1:{server.port}/"
    assert repr(server) == f"<LiveServer {server.url}>"


def test_it_says_where_it_is_on_a_unix_socket_and_with_tls(shop: Shop) -> None:
    with LiveServer(shop, uds=True) as server:
        assert server.url == "http://localhost"
        assert server.uds is not None
        assert repr(server) == f"<LiveServer http://localhost on {server.uds}>"
        assert server.client.get("/").status_code == 200
        path = server.uds
    with pytest.raises(FileNotFoundError), socket.socket(socket.AF_UNIX) as gone:
        gone.connect(path)
    with LiveServer(Shop(), tls=True, root_path="/api") as server:
        # Neither a slash at the end nor the root path.
        assert server.url == f"https://127.0.0.1:{server.port}"
        assert server.ws_url("/x") == f"wss://127.0.0.1:{server.port}/x"
        assert server.client.get("/").status_code == 200


def test_an_address_of_one_s_own_is_used(shop: Shop) -> None:
    with LiveServer(shop, host="localhost") as server:
        assert server.host in {"127.0.0.1", "::1"}
        assert server.client.get("/").status_code == 200
    with LiveServer(Shop(), bind="127.0.0.1:0") as server:
        assert server.client.get("/").status_code == 200


def test_two_servers_have_two_ports() -> None:
    with LiveServer(Shop()) as one, LiveServer(Shop()) as two:
        assert one.port != two.port


# ---- its life ----------------------------------------------------------------------------------------------------------------------


def test_the_lifespan_runs_once_for_each_server(shop: Shop) -> None:
    with LiveServer(shop) as server:
        assert (shop.started, shop.stopped) == (1, 0)
        for _ in range(3):
            server.client.get("/")
        assert (shop.started, shop.stopped) == (1, 0)
    assert (shop.started, shop.stopped) == (1, 1)
    with LiveServer(shop):
        assert (shop.started, shop.stopped) == (2, 1)
    assert (shop.started, shop.stopped) == (2, 2)


def test_stopping_twice_is_stopping_once_and_nothing_listens_any_more(shop: Shop) -> None:
    before = set(threading.enumerate())
    with LiveServer(shop) as server:
        server.stop()
        server.stop()
        assert shop.stopped == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port), 5)
    assert shop.stopped == 1
    assert set(threading.enumerate()) <= before


def test_a_server_can_be_started_once(shop: Shop) -> None:
    server = LiveServer(shop)
    with server, pytest.raises(StartupError, match="a server can be started once; make a new one"):
        server.start()
    with pytest.raises(StartupError, match="a server can be started once; make a new one"):
        server.start()
    assert (shop.started, shop.stopped) == (1, 1)


def test_before_it_is_started_it_says_so(shop: Shop) -> None:
    server = LiveServer(shop)
    assert repr(server) == "<LiveServer not started>"
    for ask in (lambda: server.state, lambda: server.run(len, ""), lambda: server.app, server.exchanges):
        with pytest.raises(ConfigError, match="needs a server that was started"):
            ask()
    with pytest.raises(ConfigError, match='process needs mode="process"'):
        _ = server.process
    # Nothing to stop.
    server.stop()


def test_a_mistake_in_the_settings_is_told_when_it_is_made(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="'time_keep_alive' is not an option; did you mean timeout_keep_alive"):
        LiveServer(shop, time_keep_alive=1)


def test_what_was_opened_through_it_is_closed_with_it(shop: Shop) -> None:
    with LiveServer(shop) as server:
        client, other, raw, ws = server.client, server.new_client(headers={"x": "y"}), server.connect(), server.ws("/chat")
        assert server.client is client
        assert other is not client
        assert other.headers["x"] == "y"
        client.get("/")
    assert client.is_closed
    assert other.is_closed
    with pytest.raises(OSError):
        raw.send(b"x")
    with pytest.raises(Exception, match="closed"):
        ws.send_text("x")


def test_an_error_that_nobody_expected_is_raised_when_the_block_is_left(shop: Shop) -> None:
    with pytest.raises(AssertionError, match="unhandled error in GET /boom: ZeroDivisionError") as caught, LiveServer(shop) as server:
        server.client.get("/boom")
    assert "in _boom" in str(caught.value)
    assert shop.stopped == 1


def test_the_block_s_own_exception_gets_a_note(shop: Shop) -> None:
    def body(server: LiveServer) -> None:
        server.client.get("/boom")
        raise LookupError("of the test")

    with pytest.raises(LookupError, match="of the test") as caught, LiveServer(shop) as server:
        body(server)
    assert "unhandled error in GET /boom: ZeroDivisionError" in caught.value.__notes__[0]
    assert "in _boom" in caught.value.__notes__[0]


def test_an_error_is_a_warning_or_nothing_where_that_is_asked_for() -> None:
    with pytest.warns(ApplicationErrorWarning, match="unhandled error in GET /boom"), LiveServer(Shop(), errors="warn") as server:
        server.client.get("/boom")
    with LiveServer(Shop(), errors="ignore") as server:
        server.client.get("/boom")
        assert server.errors == []


def test_errors_are_there_until_they_are_taken(server: LiveServer) -> None:
    assert server.errors == []
    server.client.get("/boom?x=1")
    server.client.get("/late")
    server.client.get("/nothing")
    boom, late, nothing = server.errors
    assert isinstance(boom.exception, ZeroDivisionError)
    assert (boom.method, boom.target) == ("GET", "/boom?x=1")
    assert isinstance(late.exception, LookupError)
    assert nothing.exception is None
    assert str(nothing) == "GET /nothing: the application returned without a response"
    assert len(server.errors) == 3
    assert len(server.take_errors()) == 3
    assert server.errors == server.take_errors() == []


# ---- drain -------------------------------------------------------------------------------------------------------------------------


def test_drain_waits_for_running_requests_and_accepts_no_more(shop: Shop) -> None:
    go = threading.Event()
    called = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await shop(scope, receive, send)
            return
        called.set()
        await asyncio.to_thread(go.wait, 10)
        await respond(send, b"late")

    with LiveServer(slow) as server, server.connect() as raw:
        raw.get("/")
        assert called.wait(5)
        with pytest.raises(StopTimeoutError, match=r"the server did not drain within 0\.1 s; what held it:\n") as caught:
            server.drain(timeout=0.1)
        assert "GET / waits here:" in str(caught.value)
        assert ", in slow" in str(caught.value)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port), 5)
        go.set()
        server.drain(timeout=5)
        assert raw.read_response().body == b"late"


# ---- inside of it ------------------------------------------------------------------------------------------------------------------


def test_run_calls_and_awaits_on_the_server_s_loop(server: LiveServer) -> None:
    async def where() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        return asyncio.get_running_loop(), threading.current_thread()

    async def add(a: int, *, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    def future() -> asyncio.Future[str]:
        made: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        made.get_loop().call_soon(made.set_result, "done")
        return made

    loop, thread = server.run(where)
    assert loop is server.loop
    assert thread is not threading.current_thread()
    assert server.run(sorted, [2, 1], reverse=True) == [2, 1]
    assert server.run(add, 1, b=2) == 3
    assert server.run(add(1, b=2)) == 3
    assert server.run(future) == "done"
    assert server.run(lambda: add(2, b=2)) == 4
    assert server.run(threading.current_thread) is thread


def test_run_raises_what_was_raised(server: LiveServer) -> None:
    async def fail() -> None:
        raise LookupError("of the coroutine")

    with pytest.raises(LookupError, match="of the coroutine"):
        server.run(fail)
    with pytest.raises(ZeroDivisionError):
        server.run(lambda: 1 // 0)

    async def time_out() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        server.run(time_out, timeout=5)
    # It is the test's error, not the application's.
    assert server.errors == []


def test_run_ends_after_its_timeout_and_cancels(server: LiveServer) -> None:
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TimeoutError, match=r"the server's loop did not finish .*wait.* within 0\.1 s"):
        server.run(wait, timeout=0.1)
    assert cancelled.wait(5)


def test_run_is_refused_where_it_would_never_return(shop: Shop) -> None:
    async def value() -> int:
        return 1

    with LiveServer(shop) as live:

        async def nested() -> Any:
            return live.run(value)

        with pytest.raises(RuntimeError, match="run\\(\\) was called on the server's own loop"):
            live.run(nested)
        live.stop()
        with pytest.raises(RuntimeError, match="run\\(\\) needs a running server; this one has stopped"):
            live.run(value)
        # A coroutine that is refused is closed: no warning says that it was never awaited.
        with pytest.raises(RuntimeError, match="has stopped"):
            live.run(value())


def test_the_state_of_the_lifespan_is_reachable(server: LiveServer) -> None:
    assert server.state == {"cache": {"a": 1}}
    server.run(server.state["cache"].update, b=2)
    assert server.client.get("/state").text == "{'a': 1, 'b': 2}"
    server.run(server.state["cache"].clear)
    assert server.client.get("/state").text == "{}"


def test_an_application_without_a_lifespan_has_no_state() -> None:
    with LiveServer(echo, lifespan="off") as server:
        assert server.state == {}


def test_the_application_is_the_object_itself(shop: Shop) -> None:
    with LiveServer(shop) as server:
        assert server.app is shop
    with LiveServer(f"{__name__}:make_shop", factory=True) as server:
        assert isinstance(server.app, FastAPI)
        assert server.client.get("/price").json() == 3


def make_shop() -> FastAPI:
    shop = FastAPI()

    @shop.get("/price")
    def read_price(price: Annotated[int, Depends(current_price)]) -> int:
        return price

    return shop


def current_price() -> int:
    return 3


def test_dependency_overrides_of_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    with LiveServer(make_shop()) as server:
        assert server.client.get("/price").json() == 3
        monkeypatch.setitem(server.app.dependency_overrides, current_price, lambda: 7)
        assert server.client.get("/price").json() == 7
        monkeypatch.undo()
        assert server.client.get("/price").json() == 3


def test_monkeypatch_and_caplog_reach_into_the_server(server: LiveServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    server.client.get("/log")
    assert [(record.name, record.getMessage()) for record in caplog.records if record.name == log.name] == [(log.name, "from the application")]

    async def patched(send: Send, _body: bytes = b"") -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body"})

    monkeypatch.setattr(f"{__name__}.respond", patched)
    assert server.client.get("/log").status_code == 299


@contextlib.asynccontextmanager
async def _with_pool(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"pool": [1, 2]}


def test_the_state_of_a_framework_s_lifespan() -> None:
    with LiveServer(FastAPI(lifespan=_with_pool)) as server:
        assert server.state == {"pool": [1, 2]}


# ---- what it remembers -------------------------------------------------------------------------------------------------------------


def test_exchanges_are_found_by_method_path_and_status(server: LiveServer) -> None:
    server.client.get("/a%20b?x=1")
    server.client.post("/echo", content=b"hello")
    server.client.post("/chunks", content=b"x")
    assert [(one.method, one.path, one.status) for one in server.exchanges()] == [
        ("GET", "/a b", 200),
        ("POST", "/echo", 200),
        ("POST", "/chunks", 201),
    ]
    assert [one.path for one in server.exchanges(method="post")] == ["/echo", "/chunks"]
    assert [one.raw_path for one in server.exchanges(path="/a b")] == [b"/a%20b"]
    assert [one.path for one in server.exchanges(status=201)] == ["/chunks"]
    assert server.exchanges(method="POST", status=404) == []


def test_an_exchange_has_everything(server: LiveServer) -> None:
    with server.new_client(headers={"X-Request": "1"}) as client:
        client.post("/chunks?2", json={"n": 1}, headers=[("X-Twice", "a"), ("X-Twice", "b")])
    (one,) = server.exchanges()
    assert (one.method, one.path, one.raw_path, one.query, one.http_version, one.status) == ("POST", "/chunks", b"/chunks", "2", "1.1", 201)
    assert not one.is_websocket
    assert one.peer.startswith("127.0.0.1:")
    assert one.json() == one.request.json() == {"n": 1}
    assert one.request.header("X-Request") == "1"
    assert one.request.header("x-twice") == "a, b"
    assert one.request.header("X-Missing") is None
    assert one.response.header("X-KIND") == "a, b"
    assert one.response.text == '{"n":1}{"n":1}'
    assert one.response.size == 14
    assert one.scope["path"] == "/chunks"
    assert one.complete
    assert one.outcome == ""
    assert one.error is None
    assert one.duration is not None
    assert 0 <= one.duration < 5
    assert [(event.direction, event.message["type"]) for event in one.events] == [
        ("receive", "http.request"),
        ("send", "http.response.start"),
        ("send", "http.response.body"),
        ("send", "http.response.body"),
        ("send", "http.response.body"),
    ]
    assert [message["more_body"] for message in one.sent("http.response.body")[:2]] == [True, True]
    assert one.received("http.request")[0]["body"] == b'{"n":1}'
    times = [event.at for event in one.events]
    assert times == sorted(times)
    assert repr(one).startswith("<POST /chunks?2 201 from 127.0.0.1:")


@pytest.mark.parametrize("over", [0, 1])
def test_a_body_is_kept_up_to_a_limit_that_can_be_seen(server: LiveServer, over: int) -> None:
    body = b"x" * (BODY_LIMIT + over)
    assert server.client.post("/echo", content=body).content == body
    (one,) = server.exchanges()
    for message in (one.request, one.response):
        assert message.size == len(body)
        assert message.truncated is bool(over)
        if over:
            assert message.recorded_body.data == body[:BODY_LIMIT]
            with pytest.raises(ValueError, match=rf"the body of {len(body)} bytes was cut at {BODY_LIMIT}"):
                _ = message.body
            with pytest.raises(ValueError, match="was cut"):
                message.json()
        else:
            assert message.body == body
    (sent,) = [event for event in one.events if event.message["type"] == "http.response.body"]
    assert sent.truncated is bool(over)
    assert len(sent.message["body"]) == BODY_LIMIT


def test_events_are_kept_up_to_a_limit_that_can_be_seen(server: LiveServer) -> None:
    assert server.client.post(f"/chunks?{EVENT_LIMIT + 5}", content=b"x").text == "x" * (EVENT_LIMIT + 5)
    (one,) = server.exchanges()
    assert len(one.events) == EVENT_LIMIT
    # The request, the head, and the last part are the others.
    assert one.dropped_events == 8
    assert one.response.size == EVENT_LIMIT + 5


def test_a_websocket_is_one_exchange_with_its_messages(server: LiveServer) -> None:
    with server.ws("/chat?room=1") as ws:
        ws.send_text("hello")
        assert ws.receive_text() == "HELLO"
        (running,) = server.exchanges(path="/chat")
        assert not running.complete
        assert running.duration is None
        assert "running" in repr(running)
    server.drain()
    (one,) = server.exchanges(path="/chat")
    assert one.is_websocket
    assert (one.method, one.status, one.query, one.close_code) == ("GET", 101, "room=1", 1000)
    assert one.complete
    assert [event.message["type"] for event in one.events] == [
        "websocket.connect",
        "websocket.accept",
        "websocket.receive",
        "websocket.send",
        "websocket.disconnect",
    ]
    assert one.sent("websocket.send")[0]["text"] == "HELLO"


def test_responses_that_the_server_made(shop: Shop) -> None:
    with LiveServer(shop, errors="ignore", limit_concurrency=1) as server:
        server.client.get("/boom")
        (boom,) = server.exchanges(path="/boom")
        assert (boom.status, type(boom.error)) == (500, ZeroDivisionError)
        assert boom.response.header("content-type") is not None
        with server.connect() as raw:
            raw.get("/hang")
            assert shop.hanging.wait(5)
            assert server.client.get("/").status_code == 503
        (full,) = server.exchanges(status=503)
        assert full.path == "/"
        # The application was not called.
        assert full.scope == {}
        assert full.events == []
        assert full.response.header("retry-after") is not None


def test_how_an_exchange_ended_is_said(shop: Shop) -> None:
    with LiveServer(shop, errors="ignore") as server:
        with server.connect() as raw:
            raw.get("/short")
            raw.read_until_eof()
        with server.connect() as raw:
            raw.get("/hang")
            assert shop.hanging.wait(5)
            raw.reset()
        server.drain()
        (short,) = server.exchanges(path="/short")
        (gone,) = server.exchanges(path="/hang")
    assert short.outcome != ""
    assert short.complete
    assert gone.outcome != ""
    assert gone.complete
    assert short.outcome in repr(short)


def test_a_request_that_is_refused_is_no_exchange(server: LiveServer) -> None:
    for nonsense in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        with server.connect() as raw:
            raw.send(nonsense)
            assert raw.read_response().status == 400
    assert server.exchanges() == []
    assert server.errors == []


def test_what_was_recorded_can_be_forgotten(server: LiveServer, shop: Shop) -> None:
    server.client.get("/")
    with server.connect() as raw:
        raw.get("/hang")
        assert shop.hanging.wait(5)
        server.forget_exchanges()
        # What runs is not over and stays.
        assert [one.path for one in server.exchanges()] == ["/hang"]
        raw.reset()


class TestOneServerForTheModule:
    """What one test exchanged is not seen by the next."""

    def seen(self, server: LiveServer) -> list[str]:
        server.client.get("/")
        return [one.path for one in server.exchanges()]

    def test_first(self, live_server_module: LiveServer) -> None:
        assert self.seen(live_server_module) == ["/"]

    def test_second(self, live_server_module: LiveServer) -> None:
        assert self.seen(live_server_module) == ["/"]


@pytest.fixture(scope="module")
def asgi_app() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    return Shop()


def test_a_message_is_recorded_before_the_client_sees_it(server: LiveServer) -> None:
    # Whoever has the response finds the exchange complete, without a wait of the test's own.
    for number in range(50):
        server.client.get(f"/echo?{number}")
        latest = server.exchanges()[-1]
        assert (latest.query, latest.complete) == (str(number), True)


def test_the_events_are_copies(server: LiveServer) -> None:
    server.client.post("/echo", content=b"hello")
    (one,) = server.exchanges()
    first: Message = one.events[0].message
    first["body"] = b"changed"
    assert one.request.body == b"hello"
