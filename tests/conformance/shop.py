"""A small application that keeps every rule, and what is done to it to break one: the peers of the cases for applications.

`Shop` needs nothing but Python. Each of its steps is a method, so that a bad application is the good one with one step changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tests.support.apps import Message, Receive, Scope, Send

__all__ = ["ROUTES", "Gone", "Shop", "respond"]

ROUTES = '/, /stream, /go, POST /upload application/json {"size": 1}, ws:/ws'
"""Those of the shop, as a user writes them."""
PAGE = b"<!doctype html><title>shop</title>" + b"x" * 300
TAG = b'"v1"'
DATE = b"Sat, 01 Nov 2025 00:00:00 GMT"
TOO_LONG = 4000


class Gone(Exception):  # noqa: N818 - what happened
    """The client has gone."""


async def respond(send: Send, status: int, body: bytes = b"", *fields: tuple[bytes, bytes], kind: bytes = b"text/plain; charset=utf-8") -> None:
    head = [(b"content-type", kind), (b"content-length", b"%d" % len(body))] if body else []
    await send({"type": "http.response.start", "status": status, "headers": [*head, *fields]})
    await send({"type": "http.response.body", "body": body})


class Shop:
    """The good one."""

    methods: ClassVar[dict[str, bytes]] = {"/": b"GET, HEAD", "/stream": b"GET, HEAD", "/go": b"GET, HEAD", "/boom": b"GET, HEAD", "/upload": b"POST"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.websocket(scope, receive, send)
        elif scope["type"] == "http":
            # What a send raises when the client has gone.
            with contextlib.suppress(OSError, Gone):
                await self.http(scope, receive, send)
        else:
            await self.unknown_type(scope)

    async def unknown_type(self, scope: Scope) -> None:
        raise ValueError(f"unknown scope type {scope['type']}")

    # The lifespan.

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        await self.start_up(scope, send)
        assert (await receive())["type"] == "lifespan.shutdown"
        await self.shut_down(send)

    async def start_up(self, scope: Scope, send: Send) -> None:
        if "state" in scope:
            scope["state"]["greeting"] = "hello"
        await send({"type": "lifespan.startup.complete"})

    async def shut_down(self, send: Send) -> None:
        await send({"type": "lifespan.shutdown.complete"})

    # HTTP.

    def path(self, scope: Scope) -> str:
        return str(scope["path"].removeprefix(scope.get("root_path", "")))

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = self.path(scope)
        allowed = self.methods.get(path)
        if allowed is None:
            await self.unknown_path(scope, send)
        elif scope["method"] not in allowed.decode().split(", "):
            await self.wrong_method(scope, send, allowed)
        else:
            step = {"/": self.page, "/stream": self.stream, "/go": self.go, "/boom": self.boom, "/upload": self.upload}[path]
            await step(scope, receive, send)

    async def unknown_path(self, _scope: Scope, send: Send) -> None:
        await respond(send, 404, b"not found")

    async def wrong_method(self, _scope: Scope, send: Send, allowed: bytes) -> None:
        await respond(send, 405, b"no", (b"allow", allowed))

    def field(self, scope: Scope, name: bytes) -> bytes:
        return next((value for key, value in scope["headers"] if key.lower() == name), b"")

    async def page(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if self.field(scope, b"if-none-match") == TAG or self.field(scope, b"if-modified-since") == DATE:
            await respond(send, 304, b"", (b"etag", TAG), (b"cache-control", b"no-cache"))
            return
        first, last = self.range(self.field(scope, b"range"))
        fields = [(b"etag", TAG), (b"last-modified", DATE), (b"cache-control", b"no-cache"), (b"accept-ranges", b"bytes")]
        if first > last:
            await respond(send, 416, b"", (b"content-range", b"bytes */%d" % len(PAGE)))
        elif (first, last) != (0, len(PAGE) - 1):
            await respond(send, 206, PAGE[first : last + 1], *fields, (b"content-range", b"bytes %d-%d/%d" % (first, last, len(PAGE))))
        else:
            await respond(send, 200, PAGE, *fields, kind=b"text/html; charset=utf-8")

    def range(self, field: bytes) -> tuple[int, int]:
        size = len(PAGE)
        first, dash, last = field.removeprefix(b"bytes=").partition(b"-")
        if not field.startswith(b"bytes=") or not dash or not all(not part or part.isdigit() for part in (first, last)):
            return 0, size - 1
        if not first:
            return max(size - int(last), 0), size - 1
        if int(first) >= size:
            return 1, 0
        return int(first), min(int(last or size), size - 1)

    async def go(self, scope: Scope, _receive: Receive, send: Send) -> None:
        host = self.field(scope, b"host") or b"localhost"
        location = scope.get("scheme", "http").encode() + b"://" + host + scope.get("root_path", "").encode() + b"/"
        await respond(send, 302, b"", (b"location", location))

    async def boom(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("boom")

    async def stream(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        gone = asyncio.ensure_future(receive())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
            while not gone.done():
                await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
                await asyncio.wait([gone], timeout=0.02)
        finally:
            gone.cancel()

    async def body(self, receive: Receive) -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            body += self.part(message)
            more = message.get("more_body", False)
        return bytes(body)

    def part(self, message: Message) -> bytes:
        return bytes(message.get("body", b""))

    async def upload(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await self.uploaded(await self.body(receive), send)

    async def uploaded(self, body: bytes, send: Send) -> None:
        with contextlib.suppress(ValueError):
            value = json.loads(body)
            await respond(send, 200, json.dumps({"taken": value}).encode(), kind=b"application/json")
            return
        await respond(send, 400, b"no JSON")

    # WebSocket.

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with contextlib.suppress(OSError):
            if self.path(scope) != "/ws":
                await self.refuse(scope, send)
                return
            await self.session(scope, receive, send)

    async def refuse(self, _scope: Scope, send: Send) -> None:
        await send({"type": "websocket.close", "code": 1008})

    async def session(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if len(message.get("text") or "") > TOO_LONG:
                await send({"type": "websocket.close", "code": 1009})
                return
            await self.message(message, send)

    async def message(self, message: Message, send: Send) -> None:
        await send({"type": "websocket.send", **{key: message[key] for key in ("text", "bytes") if message.get(key) is not None}})
