"""What every application of this package answers, so that one table of expectations holds for all of them.

=========================  =====================================================================================================
``GET /hello``             ``HELLO``, as text
``POST /echo``             the request body
``POST /json``             ``{"received": <the JSON that came>}``
``GET /stream``            ``CHUNKS``, one after the other, of unknown length
``GET /sse``               ``EVENTS`` as server-sent events; the second one waits for ``Site.released``
``POST /upload``           multipart with a file in ``file``; answers ``{"name": ..., "size": ...}``
``GET /headers``           the request's fields, as a JSON list of pairs; the response has ``x-answer: yes``
``GET /cookies``           two ``Set-Cookie``
``GET /boom``              raises ``RuntimeError("boom")``
``GET /background``        answers at once, then waits in the background for ``Site.released`` and sets ``Site.background_done``
``GET /state``             what the start-up put into the lifespan's state
``GET /file``              the file ``Site.file``, as a download
``WebSocket /ws``          echoes text and bytes; text ``CLOSE_WORD`` makes it close with ``CLOSE_CODE`` and ``CLOSE_REASON``
=========================  =====================================================================================================
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.apps import Message, Receive, Send

__all__ = ["CHUNKS", "CLOSE_CODE", "CLOSE_REASON", "CLOSE_WORD", "COOKIES", "EVENTS", "HELLO", "STATE", "Site", "chunks", "events", "websocket_echo"]

HELLO = "Hello, world!"
CHUNKS = [b"first,", b"x" * 70_000, b"", b",third\n"]
EVENTS = ["0", "1", "2"]
COOKIES = {"one": "1", "two": "2"}
STATE = "set at start-up"
CLOSE_WORD = "please close"
CLOSE_CODE = 4001
CLOSE_REASON = "as you asked"


class Site:
    """What a test and the application under test share.

    ``journal`` tells in order what ran: ``started``, ``stopped``. The events belong to the server's loop: set them there.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.journal: list[str] = []
        self.released = asyncio.Event()
        self.background_done = asyncio.Event()

    async def work_in_background(self) -> None:
        """What ``/background`` does after its response."""
        await self.released.wait()
        self.background_done.set()


async def chunks() -> AsyncIterator[bytes]:
    """The content of ``/stream``."""
    for chunk in CHUNKS:
        yield chunk
        await asyncio.sleep(0)


async def events(site: Site) -> AsyncIterator[str]:
    """The content of ``/sse``: one event now, the rest when the test says so."""
    yield f"data: {EVENTS[0]}\n\n"
    await site.released.wait()
    for event in EVENTS[1:]:
        yield f"data: {event}\n\n"


async def websocket_echo(receive: Receive, send: Send) -> None:
    """``/ws`` for applications without a WebSocket class of their own."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message: Message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text, data = message.get("text"), message.get("bytes")
        if text == CLOSE_WORD:
            await send({"type": "websocket.close", "code": CLOSE_CODE, "reason": CLOSE_REASON})
            return
        await send({"type": "websocket.send", "text": text, "bytes": data})


def as_json(value: Any) -> bytes:
    """JSON, encoded."""
    return json.dumps(value).encode()
