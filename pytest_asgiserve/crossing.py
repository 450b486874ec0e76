"""From the thread of a test to the event loop of its server, and back.

The law of this module: nobody waits for a loop that has ended, and no coroutine is made that no loop will run. `asyncio.run_coroutine_threadsafe`
does both where the loop stops between the call and its next turn.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Crossing", "LoopEndedError", "Submitted"]

_T = TypeVar("_T")


class LoopEndedError(RuntimeError):
    """The loop ended before it could do what it was asked to."""


class Submitted(Generic[_T]):
    """What a loop was asked to run. Made by `Crossing.submit`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self.future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        self._loop = loop
        self._make = make
        self._task: asyncio.Task[_T] | None = None

    def begin(self) -> None:
        """On the loop: run it, unless it is not wanted any more."""
        if not self.future.done():
            self._task = self._loop.create_task(self._make())
            self._task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[_T]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        # The loop may have been given up on meanwhile.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(task.result())

    def result(self, seconds: float | None) -> _T:
        """Wait for it.

        Raises:
            TimeoutError: it took longer than ``seconds``. It goes on: `cancel` it.
            LoopEndedError: the loop ended before it did.
        """
        __tracebackhide__ = True
        return self.future.result(seconds)

    def cancel(self) -> None:
        """Have the loop cancel it, without waiting for that."""
        self.future.cancel()

        def cancel() -> None:
            if self._task is not None:
                self._task.cancel()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(cancel)


class Crossing:
    """Everything that one loop was asked to run. Any thread; `close` it when the loop has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: set[Submitted[Any]] = set()
        self._closed = False

    def submit(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, _T]]) -> Submitted[_T]:
        """Have ``loop`` run the coroutine that ``make`` returns; it is made there.

        Raises:
            LoopEndedError: the loop has ended.
        """
        submitted = Submitted(loop, make)
        with self._lock:
            if self._closed:
                raise LoopEndedError("the server's event loop has ended")
            self._pending.add(submitted)
        submitted.future.add_done_callback(lambda _: self._forget(submitted))
        try:
            loop.call_soon_threadsafe(submitted.begin)
        except RuntimeError:
            self._forget(submitted)
            raise LoopEndedError("the server's event loop has ended") from None
        return submitted

    def _forget(self, submitted: Submitted[Any]) -> None:
        with self._lock:
            self._pending.discard(submitted)

    def close(self) -> None:
        """The loop has ended: who still waits for it is told so."""
        with self._lock:
            self._closed = True
            left = list(self._pending)
        for submitted in left:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                submitted.future.set_exception(LoopEndedError("the server's event loop ended before it could do this"))
