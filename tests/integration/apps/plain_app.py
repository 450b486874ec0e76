"""The routes of `common` without any framework."""

from __future__ import annotations

import asyncio
import contextlib
import email.message
import email.parser
import email.policy
import json
from typing import TYPE_CHECKING, Any

from tests.integration.apps.common import COOKIES, HELLO, STATE, as_json, chunks, events, websocket_echo
from tests.support.apps import read_body, respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.apps.common import Site
    from tests.support.apps import App, Receive, Scope, Send

__all__ = ["make_app"]

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_JSON = (b"content-type", b"application/json")


def make_app(site: Site) -> App:
    """The application."""
    return _Plain(site)


class _Plain:
    def __init__(self, site: Site) -> None:
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await websocket_echo(receive, send)
        else:
            route = getattr(self, scope["path"].removeprefix("/"), None)
            if route is None:
                await respond(send, b"Not Found", status=404, headers=[_TEXT])
            else:
                # What `read_body` says of a client that went while it sent.
                with contextlib.suppress(ConnectionError):
                    await route(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope["state"]["greeting"] = STATE
        self.site.journal.append("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.site.journal.append("stopped")
        await send({"type": "lifespan.shutdown.complete"})

    async def _streamed(self, send: Send, content: AsyncIterator[bytes], content_type: bytes) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
        async for chunk in content:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    async def hello(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, HELLO.encode(), headers=[_TEXT])

    async def echo(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, await read_body(receive), headers=[(b"content-type", b"application/octet-stream")])

    async def json(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, as_json({"received": json.loads(await read_body(receive))}), headers=[_JSON])

    async def stream(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await self._streamed(send, chunks(), b"application/octet-stream")

    async def sse(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async def encoded() -> AsyncIterator[bytes]:
            async for event in events(self.site):
                yield event.encode()

        # What a framework does for its user: an event stream ends when the client, or the server, wants it to.
        stream = asyncio.ensure_future(self._streamed(send, encoded(), b"text/event-stream"))
        gone = asyncio.ensure_future(_disconnected(receive))
        await asyncio.wait([stream, gone], return_when=asyncio.FIRST_COMPLETED)
        if stream.done():
            gone.cancel()
            await stream
        else:
            stream.cancel()
            await asyncio.wait([stream])
            await send({"type": "http.response.body"})

    async def upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        content_type = dict(scope["headers"])[b"content-type"]
        body = await read_body(receive)
        parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body)
        part: Any = next(part for part in parsed.iter_parts() if part.get_param("name", header="content-disposition") == "file")
        await respond(send, as_json({"name": part.get_filename(), "size": len(part.get_payload(decode=True))}), headers=[_JSON])

    async def headers(self, scope: Scope, _receive: Receive, send: Send) -> None:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        await respond(send, as_json(pairs), headers=[_JSON, (b"x-answer", b"yes")])

    async def cookies(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, b"", headers=[(b"set-cookie", f"{name}={value}; Path=/".encode()) for name, value in COOKIES.items()])

    async def boom(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("boom")

    async def background(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, b"in the background")
        await self.site.work_in_background()

    async def state(self, scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, scope["state"]["greeting"].encode())

    async def file(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        size = self.site.file.stat().st_size
        fields = [(b"content-disposition", b"attachment"), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.pathsend", "path": str(self.site.file)})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
