"""The application that is measured: the least that one can do for each workload, so that what is counted is the server's.

The law of this module: it needs nothing but Python. What it answers is constant, and `bench.workloads` knows it from here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

__all__ = ["CHUNK", "CHUNKS", "HELLO", "LARGE", "MEDIUM", "app"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HELLO: Final = b"Hello, world!"
MEDIUM: Final = b"0123456789abcdef" * 640
"""10 KiB."""
LARGE: Final = b"0123456789abcdef" * 65536
"""1 MiB."""
CHUNK: Final = b"0123456789abcdef" * 32
CHUNKS: Final = 20

_TYPE: Final = (b"content-type", b"text/plain; charset=utf-8")


def _messages(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {"type": "http.response.start", "status": 200, "headers": [_TYPE, (b"content-length", b"%d" % len(body))]},
        {"type": "http.response.body", "body": body},
    )


_BODIES: Final = {"/medium": MEDIUM, "/large": LARGE}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """``/`` is plain text, ``/medium`` and ``/large`` downloads, ``/stream`` 20 chunks, ``/echo`` the request's body; a WebSocket echoes."""
    if scope["type"] == "http":
        path = scope["path"]
        if path == "/stream":
            await _stream(send)
        else:
            # New messages for each response, as a framework makes them; a server may change what it is handed.
            start, body = _messages(await _read(receive) if path == "/echo" else _BODIES.get(path, HELLO))
            await send(start)
            await send(body)
    elif scope["type"] == "websocket":
        await _websocket(receive, send)
    else:
        await _lifespan(receive, send)


async def _read(receive: Receive) -> bytes:
    parts = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _stream(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [_TYPE]})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        # Each server gives the one that the message is; the other is None, or is not there.
        if (text := message.get("text")) is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
