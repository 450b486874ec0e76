"""The instrument of a live server: it hands what happens to the recorder, the failures and the faults.

The law of this module: everything here runs on the server's loop, and nothing of it changes what an application or a client sees; only faults do.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from typing import TYPE_CHECKING, Any, Literal

from pytest_asgiserve.failures import ApplicationError, Failures, is_departure
from pytest_asgiserve.faults import Faults
from pytest_asgiserve.recorder import RecordedExchange, Recorder

if TYPE_CHECKING:
    from asgiserve.asgi.context import AsgiApplication
    from asgiserve.core.exchange import Exchange
    from asgiserve.runtime.connection import AsyncioConnection

__all__ = ["Observer"]

_current: contextvars.ContextVar[RecordedExchange | None] = contextvars.ContextVar("pytest_asgiserve_exchange", default=None)


class Observer:
    """Watches one server: an `asgiserve.runtime.instrument.Instrument`.

    Args:
        keeps_errors: whether errors of the application are collected, instead of logged by the server.
        lint: whether each message is checked: True raises what is wrong with it, ``log`` logs it.
    """

    def __init__(self, *, keeps_errors: bool, lint: bool | Literal["log"] = False) -> None:
        self.recorder = Recorder()
        self.failures = Failures()
        self.faults = Faults()
        self._keeps_errors = keeps_errors
        self._lint = lint
        self._told: BaseException | None = None
        self._calls: set[RecordedExchange] = set()
        self._waiting: list[asyncio.Future[None]] = []

    # asgiserve.runtime.instrument.Instrument

    def wrap_application(self, app: AsgiApplication) -> AsgiApplication:
        """The application, with every event noted, and checked where that is asked for."""
        if self._lint:
            from asgi_conformance import lint  # noqa: PLC0415 - few tests ask for it

            app = lint(app, on_violation="log" if self._lint == "log" else "raise")

        async def watched(scope: dict[str, Any], receive: Any, send: Any) -> None:
            record = _current.get()
            if record is None or scope["type"] == "lifespan":
                try:
                    await app(scope, receive, send)
                except Exception as error:
                    self._lifespan_raised(error)
                    raise
                return
            # What the application puts into it is the application's.
            record.scope = {key: value.copy() if isinstance(value, dict) else value for key, value in scope.items()}
            self._calls.add(record)

            async def receive_noted() -> Any:
                message = await receive()
                record.note_event("receive", message)
                return message

            async def send_noted(message: Any) -> None:
                # Before it is sent: what the client has seen is recorded.
                record.note_event("send", message)
                await send(message)
                record.note_sent()

            try:
                await app(scope, receive_noted, send_noted)
            except BaseException as error:
                record.error = error
                raise
            finally:
                # Later: the server looks at the error only now, and whoever sees no call must see its error.
                asyncio.get_running_loop().call_soon(self._call_over, record)

        return watched

    def wrap_protocol(self, connection: AsyncioConnection) -> asyncio.BaseProtocol:
        """The connection, with a transport that can break its answers."""
        return self.faults.wrap_protocol(connection)

    def exchange_began(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """A request is there; runs in the context of its call."""
        _current.set(self.recorder.began(connection, exchange))

    def exchange_ended(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """A response is complete, or will never be."""
        self.recorder.ended(connection, exchange)

    def request_refused(self, connection: AsyncioConnection, detail: str, status: int) -> None:
        """The server logs it."""

    def application_failed(self, exchange: Exchange | None, detail: str, error: BaseException | None) -> bool:
        """Collect it; before the client can see it. Where errors are not kept, the server logs them as it does in production."""
        if not self._keeps_errors:
            return False
        if error is not None and (is_departure(error) or error is self._told):
            return True
        record = _current.get()
        if error is not None and record is not None and record.answered is not None and _is_made_of(error, record.answered):
            # Told by its framework already, which was then set to raise it again.
            return True
        if exchange is None:
            self.failures.add(ApplicationError(detail, error, place="lifespan"))
        else:
            target = exchange.head.target
            query = b"?" + target.query if target.query else b""
            self.failures.add(ApplicationError(detail, error, exchange.head.method.decode("latin-1"), (target.raw_path + query).decode("latin-1")))
        return True

    def _lifespan_raised(self, error: Exception) -> None:
        """A server takes an exception at start-up for an application without a lifespan, and goes on; but a violation is one."""
        if not self._lint or not self._keeps_errors:
            return
        from asgi_conformance import LintError, LintWarning  # noqa: PLC0415 - as above

        if isinstance(error, LintError | LintWarning):
            self._told = error
            self.failures.add(ApplicationError("exception in the application's lifespan", error))

    # For the live server.

    def framework_answered(self, error: BaseException) -> None:
        """A framework made a 500 of ``error`` itself. Called in the context of the request, in whatever thread that runs in."""
        record = _current.get()
        if not self._keeps_errors or record is None or record not in self._calls or is_departure(error):
            return
        if record.answered is error:
            # Django tells of it at each middleware that it passes, where it is set to let it out.
            return
        record.error = record.answered = error
        target = record.raw_path.decode("latin-1") + (f"?{record.query}" if record.query else "")
        self.failures.add(ApplicationError("exception in the application", error, record.method, target))

    def loop_reported(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's exception handler: an exception that nobody awaited, in a task or a callback of the application's."""
        error = context.get("exception")
        if (
            not self._keeps_errors
            or not isinstance(error, Exception)
            or isinstance(error, OSError)
            or not {"task", "future", "handle"} & context.keys()
        ):
            loop.default_exception_handler(context)
            return
        self.failures.add(ApplicationError(str(context.get("message") or "unhandled exception"), error, place="background"))

    @property
    def busy(self) -> bool:
        """Whether a call of the application runs; read in any thread."""
        return len(self._calls) > 0

    def _call_over(self, record: RecordedExchange) -> None:
        self._calls.discard(record)
        if record.error is not None:
            _clear_frames(record.error)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _is_finishing(self) -> bool:
        """Whether a call goes on whose response is complete: its error, or its background task, belongs to what was just tested."""
        return any(record.complete and not record.aborted for record in self._calls)

    async def settle(self, seconds: float) -> bool:
        """Wait until the server has seen what was sent to it, and no call goes on behind its response; whether that was in time."""
        await settle_loop()
        try:
            async with asyncio.timeout(seconds):
                while self._is_finishing():
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.append(waiter)
                    await waiter
        except TimeoutError:
            return False
        return True


def _is_made_of(error: BaseException, answered: BaseException) -> bool:
    """Whether ``error`` is ``answered``, groups it (the task group of a framework), or was raised from it."""
    seen = 0
    each: BaseException | None = error
    while each is not None and seen < 10:  # noqa: PLR2004 - deep enough for any framework, and an end for a cycle
        if each is answered or (isinstance(each, BaseExceptionGroup) and any(_is_made_of(inner, answered) for inner in each.exceptions)):
            return True
        each = each.__cause__ or each.__context__
        seen += 1
    return False


def _clear_frames(error: BaseException) -> None:
    """Let go of the local variables: a recording must not keep alive what the application left to the garbage collector. The lines stay."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            pending += [each.__cause__, each.__context__]
            if isinstance(each, BaseExceptionGroup):
                pending += each.exceptions


async def settle_loop() -> None:
    """Let the loop look at its sockets: what lay in them when this was called (the end of a client) has been handled when it returns.

    A turn polls once and then runs what it found; three turns are one to poll, one to run it, and one for what that scheduled.
    """
    for _ in range(3):
        await asyncio.sleep(0)
