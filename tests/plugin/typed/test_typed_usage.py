"""Every fixture and the object behind it with the types that a user writes. mypy --strict reads this file, and pytest runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_asgiserve import (
    ApplicationError,
    Leak,
    LiveServer,
    LiveServerFactory,
    RawConnection,
    RawResponse,
    RecordedExchange,
    WebSocketClient,
    WebSocketClosed,
    WebSocketRejected,
    WebSocketTimeout,
    faults,
)

if TYPE_CHECKING:
    import asyncio

    import httpx

    from asgiserve import Server


async def shop(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["names"] = ["a"]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/refuse":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    elif scope["path"] == "/boom":
        raise ZeroDivisionError("by zero")
    else:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"ok": true}'})


@pytest.fixture(scope="session")
def asgi_app() -> object:
    return shop


def test_where_it_is(live_server: LiveServer, asgi_server: LiveServer) -> None:
    url: str = live_server.url
    port: int = asgi_server.port
    path: str | None = live_server.uds
    assert url == str(live_server) == f"http://{live_server.host}:{port}"
    assert path is None
    assert live_server + "/x" == f"{url}/x"
    assert live_server.ws_url("/x").startswith("ws://")


def test_clients(live_server: LiveServer) -> None:
    client: httpx.Client = live_server.client
    other: httpx.Client = live_server.new_client(headers={"x": "y"})
    response: httpx.Response = client.get("/")
    assert response.json() == other.get("/").json() == {"ok": True}
    made: httpx.AsyncClient = live_server.async_client(timeout=1)
    assert str(made.base_url).startswith(live_server.url)


def test_raw(live_server: LiveServer) -> None:
    with live_server.connect(timeout=5) as raw:
        connection: RawConnection = raw
        connection.send_slowly(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", delay=0, size=100)
        response: RawResponse = connection.read_response()
    status: int = response.status
    assert status == 200


def test_websocket(live_server: LiveServer) -> None:
    with live_server.ws("/chat", subprotocols=["v1"], timeout=5) as ws:
        client: WebSocketClient = ws
        client.send_json({"hi": 1})
        subprotocol: str | None = client.subprotocol
        assert client.receive_json() == {"hi": 1}
        assert subprotocol == "v1"
        with pytest.raises(WebSocketTimeout):
            client.receive_text(timeout=0.05)
    with pytest.raises(WebSocketRejected):
        live_server.ws("/refuse")
    with pytest.raises(WebSocketClosed):
        client.receive_text()


def test_errors(live_server: LiveServer) -> None:
    with live_server.expect_error(ZeroDivisionError, match="by zero") as expected:
        live_server.client.get("/boom")
    value: BaseException = expected.value
    errors: list[ApplicationError] = expected.errors
    assert isinstance(value, ZeroDivisionError)
    assert [error.target for error in errors] == ["/boom"]


def test_inside(live_server: LiveServer) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    loop: asyncio.AbstractEventLoop = live_server.loop
    server: Server = live_server.server
    state: dict[str, Any] = live_server.state
    total: int = live_server.run(add, 1, b=2)
    assert loop.is_running()
    assert server.started
    assert state == {"names": ["a"]}
    assert total == 3


def test_recorded(live_server: LiveServer) -> None:
    live_server.client.post("/items", json={"n": 1})
    (one,) = live_server.exchanges(method="POST", path="/items", status=200)
    exchange: RecordedExchange = one
    body: bytes = exchange.request.body
    assert exchange.json() == {"n": 1}
    assert body == b'{"n":1}'


def test_faults(live_server: LiveServer) -> None:
    with live_server.faults(faults.delay(0), path="/slow", method="GET", times=1, seed=7) as rule:
        live_server.client.get("/slow")
        used: int = rule.used
    assert used == 1


def test_end(live_server: LiveServer) -> None:
    live_server.drain(timeout=5)
    leaks: list[Leak] = live_server.leaks()
    assert leaks == []


def test_factory(live_server_factory: LiveServerFactory) -> None:
    server: LiveServer = live_server_factory(shop, limits={"max_body_bytes": 1}, errors="ignore")
    assert server.client.post("/", content=b"xx").status_code in {200, 413}
    assert live_server_factory().url != server.url


def test_scopes(live_server_module: LiveServer, live_server_session: LiveServer) -> None:
    assert live_server_module.url != live_server_session.url


@pytest.mark.asgiserve(app=shop, http="h11", tls=True, root_path="/x", limits={"max_body_bytes": 10})
def test_marker(live_server: LiveServer) -> None:
    assert live_server.client.get("/").status_code == 200
