"""Calling an application in process: one call, message by message, under full control.

The law of this module: a call is recorded whole, with times. It waits in ``receive`` until it is given something, as on a server. Nothing of it is
left when it is closed, and an application that holds the event loop up is told by name and not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.drive import Trace
from asgi_conformance.linter import origins

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

__all__ = ["CALLER", "BlockedError", "Call", "ClientGoneError", "LoopThread", "Noise"]

_MOST_MESSAGES: Final = 20_000
"""Messages of one call after which its ``send`` waits, as that of a server whose client does not read: an endless stream must not fill the memory."""
_MOST_BYTES: Final = 256 * 1024 * 1024
_SHOWN: Final = 200
"""Characters of a value in the trace of an exchange."""
_TURN: Final = 1.0
"""Seconds in which an event loop that turns answers, on a busy machine as well."""
_MOST_RECORDS: Final = 200


CALLER: Final = contextvars.ContextVar("CALLER", default="")
"""A context variable as middleware has them: whatever runs for a call should see the value of that call."""


class BlockedError(Exception):
    """The application does not let its event loop turn."""


class ClientGoneError(OSError):
    """What ``send`` raises when the client has gone (ASGI www.rst, Disconnected Client): a subclass of `OSError`, and of nothing else."""


class Call:
    """One call of an application, as a task of the running loop.

    Args:
        app: what is called.
        scope: for it.
        messages: that it receives; more can come (`feed`).
        quiet_end: after its response is complete ``receive`` waits for ever; else it gives the disconnect, as a server does.

    Attributes:
        sent: what it sent and a server would have taken.
        attempts: how often it called ``send``.
        receives: how often it called ``receive``.
        waits: whether it waits in ``receive``, which has nothing for it.
        delay: seconds that each ``send`` takes.
        refuse_from: the number of the ``send``, from 1, from which on each raises.
        dropping: ``send`` does nothing.
        refused: how many messages were refused or dropped.
        contexts: the values that `CALLER` had in the sends.
    """

    def __init__(self, app: Any, scope: dict[str, Any], messages: Iterable[Mapping[str, Any]] = (), *, quiet_end: bool = False) -> None:
        self.scope = scope
        self.trace = Trace()
        self.sent: list[dict[str, Any]] = []
        self.attempts = 0
        self.receives = 0
        self.refused = 0
        self.waits = False
        self.delay = 0.0
        self.refuse_from: int | None = None
        self.dropping = False
        self.contexts: set[str] = set()
        self._inbox: deque[Mapping[str, Any]] = deque(messages)
        self._last: Mapping[str, Any] | None = None
        self._quiet_end = quiet_end
        self._waiting: list[asyncio.Future[None]] = []
        self._bytes = 0
        self._app = app
        self.trace.note("=", _describe_scope(scope))
        self.task = asyncio.ensure_future(self._run())
        self.task.add_done_callback(lambda _: self._notify())

    async def _run(self) -> None:
        try:
            await self._app(self.scope, self._receive, self._send)
        except BaseException as error:
            self.trace.note("!", f"the application raised {type(error).__name__}: {_short(error)}")
            raise
        self.trace.note("!", "the application returned")

    # What the application is given.

    def feed(self, *messages: Mapping[str, Any]) -> None:
        """More for it to receive."""
        self._inbox.extend(messages)
        self.waits = False
        self._notify()

    def disconnect(self, **keys: Any) -> None:
        """The client goes: behind what is not received yet comes the disconnect, each time it is asked for."""
        self._last = {"type": f"{self.scope['type']}.disconnect", **keys}
        self._notify()

    @property
    def backlog(self) -> int:
        """How many messages wait to be received."""
        return len(self._inbox)

    async def _receive(self) -> dict[str, Any]:
        self.receives += 1
        while (message := self._next()) is None:
            self.waits = True
            self._notify()
            await self._change()
        self.waits = False
        self.trace.note(">", _describe(message))
        self._notify()
        return dict(message)

    def _next(self) -> Mapping[str, Any] | None:
        if self._inbox:
            return self._inbox.popleft()
        if self._last is None and self.complete and not self._quiet_end and self.scope["type"] == "http":
            return {"type": "http.disconnect"}
        return self._last

    async def _send(self, message: Any) -> None:
        self.attempts += 1
        self.contexts.add(CALLER.get())
        self._notify()
        # A server's send may wait. Without this a stream that never waits itself would keep the loop from turning.
        await asyncio.sleep(self.delay)
        if self.refuse_from is not None and self.attempts >= self.refuse_from:
            self.refused += 1
            self.trace.note("<", f"{_describe(message)} - refused: the client has gone")
            self._notify()
            raise ClientGoneError("the client has gone")
        if self.dropping:
            self.refused += 1
            if self.refused <= _MOST_RECORDS:
                self.trace.note("<", f"{_describe(message)} - dropped: the client has gone")
            self._notify()
            return
        while len(self.sent) >= _MOST_MESSAGES or self._bytes >= _MOST_BYTES:
            await self._change()
            if self.refuse_from is not None or self.dropping:
                return
        self.sent.append(dict(message) if isinstance(message, dict) else {"type": "", "value": message})
        if isinstance(message, dict):
            body = message.get("body", b"")
            self._bytes += len(body) if isinstance(body, bytes | bytearray) else 0
        if len(self.sent) <= _MOST_RECORDS:
            self.trace.note("<", _describe(message))
        self._notify()

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    # What became of it.

    @property
    def done(self) -> bool:
        """Whether the application has returned or raised."""
        return self.task.done()

    @property
    def error(self) -> BaseException | None:
        """What the application raised."""
        if not self.task.done():
            return None
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()

    @property
    def escaped(self) -> BaseException | None:
        """What it raised, but for what ``send`` had raised: that it may hand on."""
        error = self.error
        if error is None or isinstance(error, asyncio.CancelledError) or any(isinstance(each, ClientGoneError) for each in origins(error)):
            return None
        return error

    def messages(self, kind: str) -> list[dict[str, Any]]:
        """Those that it sent, of one type."""
        return [message for message in self.sent if message.get("type") == kind]

    @property
    def start(self) -> dict[str, Any] | None:
        """The first start of a response."""
        return next((one for one in self.sent if one.get("type") in {"http.response.start", "websocket.http.response.start"}), None)

    @property
    def complete(self) -> bool:
        """Whether the response is complete."""
        start = self.start
        if start is None:
            return False
        trailers = bool(start.get("trailers"))
        ended = any(
            (one.get("type") in {"http.response.body", "http.response.zerocopysend", "websocket.http.response.body"} and not one.get("more_body"))
            or one.get("type") == "http.response.pathsend"
            for one in self.sent[-3:]
        )
        trailed = any(one.get("type") == "http.response.trailers" and not one.get("more_trailers") for one in self.sent[-3:])
        return trailed if trailers else ended

    # Waiting.

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds, at most so long; whether it does. It is looked at whenever something happens in this call."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds() and not self.task.done():
                    await self._change()
        return holds()

    async def ended(self, seconds: float) -> bool:
        """Wait until the application has returned or raised, at most so long; whether it has."""
        await asyncio.wait({self.task}, timeout=seconds)
        return self.task.done()

    async def close(self, seconds: float) -> bool:
        """End it, whatever it does; whether it is over."""
        if not self.task.done():
            self.trace.note("!", "the call was cancelled")
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=seconds)
        if self.task.done() and not self.task.cancelled():
            self.task.exception()  # looked at: asyncio is to be quiet
        return self.task.done()


def _short(value: object) -> str:
    if isinstance(value, bytes | bytearray | str) and len(value) > _SHOWN:
        # Cut before it is made readable: content may be large.
        return f"{value[:_SHOWN]!r}... ({len(value)} {'characters' if isinstance(value, str) else 'bytes'})"
    text = str(value) if isinstance(value, BaseException) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _describe(message: Any) -> str:
    if not isinstance(message, dict):
        return _short(message)
    rest = ", ".join(f"{key}={_short(value)}" for key, value in message.items() if key != "type")
    return f"{message.get('type')}{f' ({rest})' if rest else ''}"


def _describe_scope(scope: Mapping[str, Any]) -> str:
    return f"scope: {', '.join(f'{key}={_short(value)}' for key, value in scope.items() if key != 'state')}"


class Noise(logging.Handler):
    """What is logged while it is there, errors only, from whatever thread; and what the event loop reports."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._records: deque[str] = deque(maxlen=_MOST_RECORDS)
        self.number = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.note(f"{record.name}: {record.getMessage()}")

    def note(self, text: str) -> None:
        """Keep a line."""
        self.number += 1
        self._records.append(text)

    def since(self, number: int) -> list[str]:
        """What came after the first ``number``."""
        fresh = self.number - number
        return list(self._records)[-fresh:] if fresh > 0 else []

    def loop_reported(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """What an event loop says of a task or a callback that failed."""
        error = context.get("exception")
        self.note(f"event loop: {context.get('message')}{f': {error!r}' if error is not None else ''}")


class LoopThread:
    """An event loop in a thread of its own, on which an application is called. Where the application blocks it, it is given up."""

    def __init__(self, noise: Noise) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(noise.loop_reported)
        # A loop knows its tasks weakly: what an application leaves behind would be collected at any time, with a warning of Python's own.
        self._tasks: set[asyncio.Task[Any]] = set()
        self.loop.set_task_factory(self._keep)
        self._thread = threading.Thread(target=self._turn, name="asgi-conformance application", daemon=True)
        self._thread.start()
        self.blocked = False

    def _keep(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        """Run a coroutine on the loop; its result.

        Raises:
            BlockedError: the loop does not turn.
            TimeoutError: it took longer than ``seconds``, and was cancelled.
        """
        submitted = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return submitted.result(seconds)
        except TimeoutError:
            if submitted.done():
                raise
            if not self._turns():
                self.blocked = True
                raise BlockedError(f"the event loop did not turn for {seconds:g} s: the application blocks it") from None
            submitted.cancel()
            raise TimeoutError(f"the case was not over within {seconds:g} s") from None

    def _turns(self) -> bool:
        answered = threading.Event()
        self.loop.call_soon_threadsafe(answered.set)
        return answered.wait(_TURN)

    def close(self) -> None:
        """End every task, and the loop; one that is blocked is left to its thread."""
        if self.blocked or self.loop.is_closed():
            return
        try:
            self.run(_end_tasks(), 2 * _TURN)
            self.run(self.loop.shutdown_asyncgens(), _TURN)
            self.run(self.loop.shutdown_default_executor(), _TURN)
        except (TimeoutError, BlockedError):
            pass
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_TURN)
        if not self._thread.is_alive():
            self.loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_TURN)
