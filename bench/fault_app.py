"""The application that bench/faults.py serves: bench.fault_app:app, the same under every server.

The law of this module: the application itself leaks nothing and keeps nothing, so that what grows is the server's; and it can be asked how many calls
and tasks are left (``/state``), which no figure from outside of the process can say.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["POOL_SECONDS", "POOL_SIZE", "app"]

POOL_SIZE: Final = 4
POOL_SECONDS: Final = 0.02
"""``/pool`` is a request that waits for one of so many database connections, and then for the database: 200 a second are its capacity."""

_BLOCK: Final = b"\0" * 65536
_BLOCKS: Final = (1 << 20) // len(_BLOCK)
_PIECE: Final = b"." * 512
_TICKS: Final = 40
_TICK_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 5.0

_running: dict[str, int] = {"calls": 0}
_pool: list[asyncio.Semaphore] = []


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """ASGI 3."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    _running["calls"] += 1
    try:
        if scope["type"] == "websocket":
            await _websocket(receive, send)
        else:
            _, name, *rest = scope["path"].split("/")
            await _PATHS.get(name, _plain)(receive, send, rest)
    finally:
        _running["calls"] -= 1


async def _respond(send: Send, body: bytes) -> None:
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _plain(_receive: Receive, send: Send, _rest: list[str]) -> None:
    await _respond(send, b"Hello, world!")


async def _upload(receive: Receive, send: Send, _rest: list[str]) -> None:
    """Read the body as it comes; say how long it was."""
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await _respond(send, b"%d" % size)


async def _stream(_receive: Receive, send: Send, _rest: list[str]) -> None:
    """20 pieces of 512 bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(20):
        await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _huge(_receive: Receive, send: Send, rest: list[str]) -> None:
    """So many MiB in blocks of 64 KiB: ``/huge/1024``."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/octet-stream")]})
    for _ in range(int(rest[0]) * _BLOCKS):
        await send({"type": "http.response.body", "body": _BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _ticks(_receive: Receive, send: Send, _rest: list[str]) -> None:
    """A piece now and then, for two seconds."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(_TICKS):
        await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
        await asyncio.sleep(_TICK_SECONDS)
    await send({"type": "http.response.body", "body": b""})


async def _wait(receive: Receive, send: Send, _rest: list[str]) -> None:
    """A long poll in which nothing happens: ends at once when the client is gone, else answers after five seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_POLL_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
            return
    await _respond(send, b"nothing new")


async def _sleep(_receive: Receive, send: Send, rest: list[str]) -> None:
    """Answer after so many milliseconds: ``/sleep/1000``."""
    await asyncio.sleep(int(rest[0]) / 1000)
    await _respond(send, b"slept")


async def _pooled(_receive: Receive, send: Send, _rest: list[str]) -> None:
    if not _pool:
        _pool.append(asyncio.Semaphore(POOL_SIZE))
    async with _pool[0]:
        await asyncio.sleep(POOL_SECONDS)
    await _respond(send, b"queried")


async def _state(_receive: Receive, send: Send, _rest: list[str]) -> None:
    """What there is in this process after everything unreachable was collected: calls without this one, tasks with it."""
    gc.collect()
    state = {"calls": _running["calls"] - 1, "tasks": len(asyncio.all_tasks()), "pid": os.getpid()}
    await _respond(send, json.dumps(state).encode())


async def _websocket(receive: Receive, send: Send) -> None:
    """Count messages; ``count`` is answered with their number."""
    if (await receive())["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    count = 0
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        if message.get("text") == "count":
            await send({"type": "websocket.send", "text": str(count)})
        else:
            count += 1


_PATHS: Final[dict[str, Callable[[Receive, Send, list[str]], Awaitable[None]]]] = {
    "upload": _upload,
    "stream": _stream,
    "huge": _huge,
    "ticks": _ticks,
    "wait": _wait,
    "sleep": _sleep,
    "pool": _pooled,
    "state": _state,
}
