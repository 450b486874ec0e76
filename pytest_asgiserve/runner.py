"""One server on an event loop of its own, in a thread of its own.

The law of this module: nothing polls and nothing sleeps. Starting returns when the server accepts, and raises what kept it from that; stopping
returns when the thread has ended, or says within its bound what holds it. Nothing of the loop, its executor or its tasks outlives the thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from asgiserve.errors import StartupError
from asgiserve.supervisor import run_loop
from pytest_asgiserve.crossing import Crossing, LoopEndedError
from pytest_asgiserve.frames import format_thread, without_ours
from pytest_asgiserve.leaks import LeakTracker, format_leaks
from pytest_asgiserve.observer import settle_loop
from pytest_asgiserve.unstoppable import StartTimeoutError, StopTimeoutError, describe_holders, describe_lifespan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from asgiserve.server import Server
    from pytest_asgiserve.leaks import Leak

__all__ = ["ServerThread"]

# A loop that does not answer for this long is blocked by the application.
_BLOCKED: Final = 1.0
# For a call whose client has gone: enough to clean up where it heard of that, short enough for the end of a test.
_ABANDONED_GRACE: Final = 0.1
# One that answers later than this was held up.
_AT_ONCE: Final = 0.1


class ServerThread:
    """Runs ``server`` until `stop`.

    ``leaks`` is what the application left behind, found between the end of its lifespan and that of its loop.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set by the thread before `_settled`
        self.error: BaseException | None = None
        self.tracker: LeakTracker | None = None
        self.leaks: list[Leak] = []
        self.find_leaks = False
        self.on_unhandled: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._main: asyncio.Task[Any] | None = None
        self._crossing = Crossing()
        self._settled = threading.Event()
        self.thread = threading.Thread(target=self._run, name="asgiserve live server", daemon=True)

    def _run(self) -> None:
        # Its own, so that its threads have ended when this one has: the loop only tells its own executor to end.
        executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
        try:
            run_loop(self._serve(executor), self.server.config.app.loop)
        except BaseException as error:  # noqa: BLE001 - handed to the thread of the test
            self.error = error
        finally:
            self._crossing.close()
            executor.shutdown(cancel_futures=True)
            self._settled.set()

    async def _serve(self, executor: concurrent.futures.ThreadPoolExecutor) -> None:
        self.loop = asyncio.get_running_loop()
        if self.on_unhandled is not None:
            self.loop.set_exception_handler(self.on_unhandled)
        self._main = asyncio.current_task()
        self.loop.set_default_executor(executor)
        self.tracker = LeakTracker(self.loop)
        self.tracker.start()
        try:
            await self.server.serve(on_started=self._started)
            if self.find_leaks:
                await settle_loop()
                self.leaks = await self.tracker.find_settled(final=True)
        finally:
            self.tracker.stop()

    def _started(self, _: Server) -> None:
        if self.tracker is not None:
            self.tracker.mark_started()
        self._settled.set()

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self.thread.is_alive()

    def start(self, seconds: float) -> None:
        """Start the thread; returns when the server accepts.

        Raises:
            StartupError: or whatever else the start raised, at once.
            StartTimeoutError: it took longer than ``seconds``; the message says where it stands.
        """
        __tracebackhide__ = True
        self.thread.start()
        if not self._settled.wait(seconds):
            where = self._ask(lambda: describe_lifespan() or "the application has no lifespan to wait for")
            self.server.stop(force=True)
            self.thread.join(_BLOCKED)
            raise StartTimeoutError(f"the server did not start within {seconds:g} s (start_timeout, --asgi-start-timeout); {where}")
        if self.error is not None:
            self.thread.join()
            if isinstance(self.error, StartupError):
                # One line that says it all; the way through the server to it says nothing.
                self.error.__traceback__ = None
                if self.error.__cause__ is not None:
                    self.error.__cause__.__traceback__ = without_ours(self.error.__cause__.__traceback__)
            raise self.error

    def run(self, target: Any, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call ``target`` on the server's loop, await what it returns if that can be awaited, and return the result.

        Args:
            target: a function, a coroutine function, or something to await.
            args: for it.
            timeout: seconds; None waits for as long as the test may run.
            kwargs: for it.

        Raises:
            RuntimeError: the server does not run any more, or this is called on its own loop.
            TimeoutError: it took longer than ``timeout``; it is cancelled.
        """
        __tracebackhide__ = True
        if threading.current_thread() is self.thread:
            _close(target)
            raise RuntimeError("run() was called on the server's own loop, which it would block for ever; await it there")
        if not self.running or self.loop.is_closed():
            _close(target)
            raise RuntimeError("run() needs a running server; this one has stopped")
        try:
            submitted = self._crossing.submit(self.loop, lambda: _call(target, args, kwargs))
        except LoopEndedError:
            _close(target)
            raise
        try:
            return submitted.result(timeout)
        except LoopEndedError:
            _close(target)
            raise
        except TimeoutError:
            if submitted.future.done():
                raise
            submitted.cancel()
            raise TimeoutError(f"the server's loop did not finish {target!r} within {timeout:g} s") from None

    def settle(self, wait: Callable[[float], Coroutine[Any, Any, bool]], seconds: float) -> None:
        """Have the loop run ``wait(seconds)``; a loop that is blocked is not waited for longer."""
        if not self.running or self.loop.is_closed() or threading.current_thread() is self.thread:
            return
        with contextlib.suppress(LoopEndedError, asyncio.CancelledError):
            submitted = self._crossing.submit(self.loop, lambda: wait(seconds))
            try:
                submitted.result(seconds + _BLOCKED)
            except TimeoutError:
                submitted.cancel()

    def stop(self, seconds: float) -> None:
        """Stop the server and wait for the thread. Running requests may finish; those whose client has gone are cancelled.

        Raises:
            StopTimeoutError: it took longer than ``seconds``; the message has the open connections and what the application's tasks wait for.
                Everything was cancelled then, if that was possible.
        """
        __tracebackhide__ = True
        if not self.running:
            self._raise()
            return
        # A loop that is blocked is waited for once, by the stop.
        self.settle(self._leave, _ABANDONED_GRACE)
        self.server.stop()
        self.thread.join(seconds)
        if self.thread.is_alive():
            holders = self.holders()
            self.server.stop(force=True)
            self.thread.join(seconds)
            if self.thread.is_alive() and self._main is not None:
                # Not a request: the lifespan, which the end of the graceful period leaves its own time.
                with contextlib.suppress(RuntimeError):
                    self.loop.call_soon_threadsafe(self._main.cancel)
                self.thread.join(_BLOCKED)
            self.error = None
            if self.leaks:
                # A listener or a datagram transport that is left open keeps uvloop's loop from closing, where a ResourceWarning is an error.
                holders += f"\nThe application left this behind:\n{format_leaks(self.leaks)}"
                self.leaks = []
            after = "" if not self.thread.is_alive() else "\nIt ignored its cancellation too and was left behind, in a daemon thread."
            raise StopTimeoutError(
                f"the server did not stop within {seconds:g} s (stop_timeout, --asgi-stop-timeout); what held it:\n{holders}{after}"
            )
        self._raise()

    def _raise(self) -> None:
        __tracebackhide__ = True
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    async def _leave(self, grace: float) -> bool:
        await settle_loop()
        # Streams are told now, and the applications that listen end by themselves.
        self.server.stop()
        await self.server.cancel_abandoned(grace)
        return True

    def drain(self, seconds: float, meanwhile: Callable[[], object]) -> bool:
        """Accept no more and wait until nothing runs; whether that was so within ``seconds``. ``meanwhile`` is called here while the loop does it."""
        __tracebackhide__ = True

        async def drained() -> bool:
            await settle_loop()
            abandoned = asyncio.ensure_future(self.server.cancel_abandoned(_ABANDONED_GRACE))
            try:
                return await self.server.drain(seconds)
            finally:
                abandoned.cancel()

        began = time.monotonic()
        draining = self._crossing.submit(self.loop, drained)
        meanwhile()
        try:
            return draining.result(max(seconds - (time.monotonic() - began), 0) + _BLOCKED)
        except TimeoutError:
            # The loop does not turn.
            draining.cancel()
            return False

    def _ask(self, describe: Callable[[], str]) -> str:
        """What ``describe`` says on the loop; where that does not turn, what keeps it."""

        async def described() -> str:
            return describe()

        stack = format_thread(self.thread.ident)
        began = time.monotonic()
        if self._main is not None and not self.loop.is_closed():
            with contextlib.suppress(LoopEndedError, TimeoutError, asyncio.CancelledError):
                submitted = self._crossing.submit(self.loop, described)
                try:
                    answer = submitted.result(_BLOCKED)
                finally:
                    submitted.cancel()
                if not stack or time.monotonic() - began < _AT_ONCE:
                    return answer
        return f"the event loop does not turn; its thread stands here:\n{stack or '(not in the application)'}"

    def holders(self) -> str:
        """The open connections and what the tasks of the application wait for, as a table for a person."""
        return self._ask(lambda: describe_holders(self.server.open_connections()))


async def _call(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result: Awaitable[Any] | Any = target(*args, **kwargs) if callable(target) else target
    return await result if inspect.isawaitable(result) else result


def _close(target: Any) -> None:
    if inspect.iscoroutine(target):
        target.close()
