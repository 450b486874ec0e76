"""The application's lifespan (ASGI lifespan.rst 2.0).

The law of this module: start-up ends in one of three ways (complete, not supported, refused) and within its time; an exception is shown,
never hidden; shutdown is sent on every orderly end if, and only if, start-up was complete.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asgiserve.asgi.context import logger
from asgiserve.asgi.messages import message_type
from asgiserve.errors import LifespanError, LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgiserve.asgi.context import AsgiApplication

__all__ = ["Lifespan"]

_TYPES = frozenset({"lifespan.startup.complete", "lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"})

# How long a cancelled application may take to clean up before it is left behind.
_CANCEL_GRACE: Final = 5.0


class Lifespan:
    """Call `startup` before the first request and `shutdown` after the last, both on the loop that serves them (S75).

    Args:
        app: the application, in ASGI 3's form.
        asgi_version: as in `Context`.
        mode: ``auto`` goes on where the application raises before it answered; ``on`` does not; ``off`` does nothing at all.
        startup_timeout: seconds, or None.
        shutdown_timeout: seconds, or None.
        failed: is told what went wrong after a complete start-up, and says whether that is taken care of; else it is logged.
    """

    def __init__(
        self,
        app: AsgiApplication,
        asgi_version: str,
        mode: str,
        *,
        startup_timeout: float | None,
        shutdown_timeout: float | None,
        failed: Callable[[str, BaseException | None], bool] = lambda _detail, _error: False,
    ) -> None:
        self._app = app
        self._asgi_version = asgi_version
        self._mode = mode
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._tell_failed = failed
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._started: asyncio.Event = asyncio.Event()
        self._stopped: asyncio.Event = asyncio.Event()
        self._over: asyncio.Event = asyncio.Event()
        self._startup_answer: dict[str, Any] | None = None
        self._shutdown_answer: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._abandoned = False
        self._shutting_down = False
        self._hurried = False
        self.state: dict[str, Any] = {}

    @property
    def supported(self) -> bool:
        """Whether start-up was completed: then scopes carry ``state``, and shutdown will be sent."""
        return self._startup_answer is not None and self._startup_answer["type"] == "lifespan.startup.complete"

    async def startup(self) -> None:
        """Send ``lifespan.startup`` and wait for the answer.

        Raises:
            LifespanError: the application refused, took too long, or (with mode ``on``) raised or returned without an answer.
        """
        if self._mode == "off":
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name="asgiserve lifespan")
        self._events.put_nowait({"type": "lifespan.startup"})
        try:
            async with asyncio.timeout(self._startup_timeout):
                await self._started.wait()
        except TimeoutError:
            await self._abandon()
            raise LifespanError(
                f"the application did not complete its start-up within {self._startup_timeout:g} seconds (--timeout-startup)"
            ) from None
        except asyncio.CancelledError:
            await self._abandon()
            raise
        answer = self._startup_answer
        if answer is None:
            if self._mode == "on":
                raise LifespanError("the application does not answer lifespan.startup, and --lifespan is on")
            logger.info("the application does not support lifespan")
        elif answer["type"] == "lifespan.startup.failed":
            message = str(answer.get("message") or "").strip()
            await self._abandon()
            if "\n" in message:
                # Starlette's and Litestar's message is a traceback: it is shown as one, and its last line says it in one.
                logger.error("the application's start-up failed: %s", message)
                message = message.splitlines()[-1].strip()
            raise LifespanError("the application refused to start" + (f": {message}" if message else ""))

    async def shutdown(self) -> None:
        """Send ``lifespan.shutdown`` and wait for the answer; what goes wrong is logged, as the server ends anyhow."""
        task = self._task
        if task is None or task.done():
            return
        if not self.supported:
            await self._abandon()
            return
        self._shutting_down = True
        self._events.put_nowait({"type": "lifespan.shutdown"})
        try:
            async with asyncio.timeout(self._shutdown_timeout):
                await self._stopped.wait()
                # It has answered; whatever it does after that may still finish.
                await self._over.wait()
        except TimeoutError:
            self._report(f"the application did not complete its shutdown within {self._shutdown_timeout:g} seconds (--timeout-shutdown)")
        finally:
            await self._abandon()
        answer = self._shutdown_answer
        if answer is None and self._hurried:
            self._report("the application's shutdown was cut short: the server was told a second time to stop")
        elif answer is not None and answer["type"] == "lifespan.shutdown.failed":
            self._report(f"the application's shutdown failed: {answer.get('message') or 'no reason given'}")

    def hurry(self) -> None:
        """Wait no longer for a shutdown that goes on; where none does, nothing happens."""
        if self._shutting_down and not self._over.is_set():
            self._hurried = True
            self._stopped.set()
            self._over.set()

    def _report(self, detail: str) -> None:
        if not self._tell_failed(detail, None):
            logger.error("%s", detail)

    async def _abandon(self) -> None:
        """End the task, whatever it does."""
        task = self._task
        if task is not None and not task.done():
            self._abandoned = True
            task.cancel()
            await asyncio.wait([task], timeout=_CANCEL_GRACE)
            if not task.done():
                logger.error("the application's lifespan goes on although it was cancelled; it is left behind")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": self._asgi_version, "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except BaseException as error:  # noqa: BLE001 - SystemExit included: the server decides when it ends
            if not (self._abandoned and isinstance(error, asyncio.CancelledError)):
                self._failed(error)
        finally:
            self._started.set()
            self._stopped.set()
            self._over.set()

    def _failed(self, error: BaseException) -> None:
        answer = self._shutdown_answer or self._startup_answer
        if answer is not None and answer["type"].endswith(".failed"):
            # Starlette and its kin raise again what they just reported.
            return
        # As in log_failure: without the frame of ours.
        trace = error.__traceback__
        shown = (type(error), error, trace.tb_next if trace is not None else None)
        if answer is not None:
            if not self._tell_failed("exception in the application's lifespan", error):
                logger.error("exception in the application's lifespan", exc_info=shown)
        elif self._mode == "on":
            logger.error("exception in the application's start-up", exc_info=shown)
        else:
            # S77: an exception may say "not supported", and may as well be a bug in the start-up; so it is shown. An application that says so in
            # the usual words (a comparison of scope["type"] that fails) needs no traceback.
            plain = isinstance(error, AssertionError | NotImplementedError | KeyError | ValueError | RuntimeError | TypeError) and "lifespan" in str(
                error
            )
            logger.warning(
                "the application raised on its lifespan and is served without it (--lifespan off silences this): %s",
                error if plain else type(error).__name__,
                exc_info=None if plain else shown,
            )

    async def _receive(self) -> dict[str, str]:
        if self._shutdown_answer is not None:
            # An application that loops for ever: it waits for an event that will not come.
            self._over.set()
        return await self._events.get()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message_type(message, _TYPES)
        if kind.startswith("lifespan.startup"):
            if self._startup_answer is not None:
                raise LocalProtocolError(f"{kind!r} was sent after lifespan.startup was answered")
            self._startup_answer = dict(message)
            self._started.set()
        else:
            if self._shutdown_answer is not None or not self.supported:
                raise LocalProtocolError(f"{kind!r} was sent at the wrong time")
            self._shutdown_answer = dict(message)
            self._stopped.set()
