"""examples/hello.py, called as a server calls it; tests/integration serves it for real."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from examples import hello

if TYPE_CHECKING:
    from collections.abc import Sequence

GONE = {"type": "http.disconnect"}
EMPTY = {"type": "http.request", "body": b"", "more_body": False}


def http(path: str, *, method: str = "GET", query: bytes = b"") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 5000),
        "headers": [(b"host", b"localhost")],
        "state": {"greeting": "hello"},
    }


def call(scope: dict[str, Any], messages: Sequence[dict[str, Any]] = (EMPTY,), *, sends: int | None = None) -> list[dict[str, Any]]:
    """What the application sends; the message number ``sends`` fails, as for a client that has gone."""
    waiting = list(messages)
    sent: list[Any] = []

    async def receive() -> Any:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        if sends is not None and len(sent) >= sends:
            raise OSError
        sent.append(message)

    asyncio.run(hello.app(scope, receive, send))
    return sent


def test_the_page_is_html() -> None:
    start, body = call(http("/"))
    assert start["status"] == 200
    assert (b"content-type", b"text/html; charset=utf-8") in start["headers"]
    assert b"It works" in body["body"]


def test_json_shows_the_request() -> None:
    _, body = call(http("/json", query=b"a=1"))
    shown = json.loads(body["body"])
    assert shown["greeting"] == "hello"
    assert shown["query"] == "a=1"
    assert shown["headers"] == [["host", "localhost"]]


def test_an_upload_is_counted() -> None:
    pieces = [{"type": "http.request", "body": b"x" * 1000, "more_body": True}, {"type": "http.request", "body": b"yz", "more_body": False}]
    _, body = call(http("/upload", method="POST"), pieces)
    assert json.loads(body["body"]) == {"bytes": 1002}


def test_an_upload_that_breaks_off_has_no_answer() -> None:
    assert call(http("/upload", method="POST"), [{"type": "http.request", "body": b"x", "more_body": True}, GONE]) == []


def test_the_stream_ends_when_the_client_goes() -> None:
    start, first = call(http("/stream"), [EMPTY, GONE])
    assert (b"content-type", b"text/event-stream") in start["headers"]
    assert first == {"type": "http.response.body", "body": b"data: event 1\n\n", "more_body": True}


def test_the_stream_ends_when_an_event_cannot_be_sent() -> None:
    assert len(call(http("/stream"), [EMPTY], sends=1)) == 1


@pytest.mark.parametrize(
    ("path", "method", "status", "allow"),
    [("/nowhere", "GET", 404, None), ("/", "POST", 405, b"GET, HEAD"), ("/upload", "GET", 405, b"POST"), ("/", "HEAD", 200, None)],
)
def test_other_paths_and_methods(path: str, method: str, status: int, allow: bytes | None) -> None:
    start, _ = call(http(path, method=method))
    assert start["status"] == status
    assert dict(start["headers"]).get(b"allow") == allow


def test_the_web_socket_echoes() -> None:
    text = {"type": "websocket.receive", "text": "hi"}
    data = {"type": "websocket.receive", "bytes": b"\x00"}
    sent = call({"type": "websocket", "path": "/ws"}, [{"type": "websocket.connect"}, text, data, {"type": "websocket.disconnect", "code": 1000}])
    assert sent == [
        {"type": "websocket.accept"},
        {"type": "websocket.send", "text": "hi", "bytes": None},
        {"type": "websocket.send", "text": None, "bytes": b"\x00"},
    ]


def test_another_web_socket_is_refused() -> None:
    assert call({"type": "websocket", "path": "/"}, [{"type": "websocket.connect"}]) == [{"type": "websocket.close"}]


def test_the_lifespan_fills_the_state() -> None:
    state: dict[str, Any] = {}
    sent = call({"type": "lifespan", "state": state}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert state == {"greeting": "hello"}
