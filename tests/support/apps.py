"""Small ASGI applications for tests, and the pieces they are made of."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

__all__ = ["App", "Message", "Receive", "Scope", "Send", "described", "echo", "ok", "read_body", "respond", "routes"]

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = Iterable[tuple[bytes, bytes]]


async def respond(send: Send, body: bytes = b"ok", *, status: int = 200, headers: Fields = ()) -> None:
    """A whole response in two messages."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive) -> bytes:
    """The whole request body.

    Raises:
        ConnectionError: the client went before its end.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError(message["type"])
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def ok(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Always 200."""
    await respond(send)


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    """The request body, as the response's."""
    await respond(send, await read_body(receive))


def described(scope: Scope) -> dict[str, Any]:
    """A scope as JSON can hold it: bytes as latin-1 text."""
    described: dict[str, Any] = json.loads(json.dumps(scope, default=lambda value: value.decode("latin-1")))
    return described


def routes(**by_name: App) -> App:
    """An application that looks at the path: ``/name`` is ``name``, anything else answers ``ok``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await by_name.get(scope["path"].removeprefix("/"), ok)(scope, receive, send)

    return app
