"""What the reference application keeps: each call, with what the server gave it and did to it.

The law of this module: nothing is judged, everything has its time, and all that is kept is bounded.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from .values import class_name, encode

__all__ = ["LONGEST_WAIT", "RECORDER", "VARIABLE", "Call", "Message", "Receive", "Send", "describe_error"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONGEST_WAIT: Final = 60.0
_MAX_RECORDS: Final = 4000
_MAX_EVENTS: Final = 5000
_MAX_ALL_EVENTS: Final = 100_000
_MAX_JOURNAL: Final = 20_000


def describe_error(error: BaseException) -> dict[str, Any]:
    """An exception as JSON."""
    return {
        "class": class_name(type(error)),
        "bases": [class_name(base) for base in type(error).__mro__],
        "message": str(error)[:1000],
        "oserror": isinstance(error, OSError),
        "cancelled": isinstance(error, asyncio.CancelledError),
    }


class Recorder:
    """The calls of this process, the newest `_MAX_RECORDS` of them."""

    def __init__(self) -> None:
        self.number = 0
        self.records: deque[Call] = deque()
        self.running = 0
        self.events = 0
        self.lifespan: list[dict[str, Any]] = []
        self.next_scripts: deque[Any] = deque()
        self.flags: set[str] = set()
        self.background: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._journal = os.environ.get("ASGI_CONFORMANCE_JOURNAL")
        self._journal_lines = 0

    def add(self, call: Call) -> None:
        self.records.append(call)
        while len(self.records) > _MAX_RECORDS or (self.events > _MAX_ALL_EVENTS and len(self.records) > 1):
            self.events -= len(self.records.popleft().events)

    def set_flag(self, name: str) -> None:
        self.flags.add(name)
        self.changed()

    def since(self, number: int) -> list[Call]:
        return [call for call in self.records if call.number > number]

    def changed(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait_for(self, reached: Callable[[], object], seconds: float) -> bool:
        """Whether ``reached`` was true in time; it is asked whenever anything was recorded."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(seconds, LONGEST_WAIT)
        while not reached() and (left := end - loop.time()) > 0:
            future = loop.create_future()
            self._waiting.add(future)
            try:
                await asyncio.wait([future], timeout=left)
            finally:
                self._waiting.discard(future)
        return bool(reached())

    def journal(self, **entry: Any) -> None:
        if self._journal and self._journal_lines < _MAX_JOURNAL:
            self._journal_lines += 1
            line = json.dumps({"pid": os.getpid(), "time": time.time(), **entry}).encode() + b"\n"
            # One write of a line to a file opened for appending: whole, whoever else writes.
            descriptor = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)

    def facts(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "token": os.environ.get("ASGI_CONFORMANCE_TOKEN", ""),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "lifespan": self.lifespan,
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "loop": id(asyncio.get_running_loop()),
            "loop_class": class_name(type(asyncio.get_running_loop())),
            "calls": self.number,
            "running": self.running,
            "state": encode(scope.get("state")),
            "extensions": encode(scope.get("extensions")),
            "asgi": encode(scope.get("asgi")),
            **_resources(),
        }


def _resources() -> dict[str, int | None]:
    """What the process holds; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return {"rss": pages * os.sysconf("SC_PAGE_SIZE"), "descriptors": len(os.listdir("/proc/self/fd"))}  # noqa: PTH208 - only their number
    except OSError:
        return {"rss": None, "descriptors": None}


RECORDER = Recorder()
VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("asgi_conformance", default=None)


class Call:
    """One call of the application: its scope, its events in order, how it ended. Times are seconds since it began."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        RECORDER.number += 1
        RECORDER.running += 1
        self.number = RECORDER.number
        self.time = time.time()
        self._began = time.monotonic()
        self._receive = receive
        self._send = send
        headers = scope.get("headers", ())
        self.headers = list(headers)
        self.events: list[dict[str, Any]] = []
        self.dropped = 0
        self.ended: dict[str, Any] | None = None
        self.scope = encode(scope)
        self.about = {
            "scope": self.scope,
            "scope_class": class_name(type(scope)),
            "headers_repeat": list(headers) == self.headers,
            "variable": encode(VARIABLE.get()),
            "loop": id(asyncio.get_running_loop()),
            "task": id(asyncio.current_task()),
        }
        RECORDER.add(self)
        RECORDER.journal(event="begin", number=self.number, type=scope["type"], path=scope.get("path"))

    def now(self) -> float:
        """Seconds since the call began."""
        return round(time.monotonic() - self._began, 6)

    def event(self, do: str, branch: str, **more: Any) -> dict[str, Any]:
        """Begin to record something; the caller adds what comes of it. Of more events than `_MAX_EVENTS` only the number is kept."""
        event: dict[str, Any] = {"do": do, "branch": branch, "at": self.now(), **more}
        if len(self.events) < _MAX_EVENTS:
            self.events.append(event)
            RECORDER.events += 1
        else:
            self.dropped += 1
        RECORDER.changed()
        return event

    async def receive(self, branch: str) -> Message:
        """Receive from the server."""
        event = self.event("receive", branch, end=None)
        try:
            message = await self._receive()
        except BaseException as error:
            event["error"] = describe_error(error)
            raise
        else:
            event["message"] = encode(message)
            if str(message["type"]).endswith(".disconnect"):
                RECORDER.journal(event="disconnect", number=self.number, message=event["message"])
            return message
        finally:
            event["end"] = self.now()
            RECORDER.changed()

    async def send(self, branch: str, message: Any, count: int = 1) -> None:
        """Send ``message``, ``count`` times; one event, whose ``count`` is how many have returned."""
        event = self.event("send", branch, message=encode(message), count=0, end=None)
        try:
            for _ in range(count):
                await self._send(message)
                event["count"] += 1
                event["last"] = self.now()
        except BaseException as error:
            event["error"] = describe_error(error)
            raise
        finally:
            event["end"] = self.now()
            RECORDER.changed()

    def end(self, how: str, error: BaseException | None = None) -> None:
        """The call ends: it ``returned``, ``raised`` or was ``cancelled``."""
        RECORDER.running -= 1
        self.ended = {"how": how, "at": self.now(), "error": None if error is None else describe_error(error)}
        RECORDER.changed()
        RECORDER.journal(event="end", number=self.number, how=how, error=self.ended["error"])

    def as_json(self) -> dict[str, Any]:
        """The record as it is now."""
        about = {"number": self.number, "pid": os.getpid(), "time": self.time, **self.about}
        return {**about, "events": self.events, "dropped": self.dropped, "ended": self.ended}
