"""The lifespan of an application, run around the calls as a server runs it (ASGI lifespan.rst).

The law of this module: an application without a lifespan is as good as one with it; what it said is kept, and never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_conformance.application.driver import Call
from asgi_conformance.application.scopes import lifespan_scope

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Lifespan"]


class Lifespan:
    """One run of it.

    Args:
        app: the application.
        with_state: whether the scope has a ``state``.

    Attributes:
        call: the call.
        outcome: what became of the start-up: ``complete``, ``failed``, ``raised``, ``returned`` or ``silent``.
    """

    def __init__(self, app: Any, *, with_state: bool = True) -> None:
        self._app = app
        self._namespace: dict[str, Any] | None = {} if with_state else None
        self.call: Call
        self.outcome = "silent"

    @property
    def state(self) -> Mapping[str, Any] | None:
        """What is copied into each scope; None where the application has no lifespan, as servers have it then."""
        return self._namespace if self.outcome == "complete" else None

    @property
    def message(self) -> str:
        """What became of the start-up, for a person."""
        match self.outcome:
            case "failed":
                failed = self.call.messages("lifespan.startup.failed")[0]
                # Starlette's and Litestar's is a traceback, of which the last line says it.
                lines = str(failed.get("message", "")).strip().splitlines() or ["(no message)"]
                return f"lifespan.startup.failed: {lines[-1].strip()}"
            case "raised":
                return f"raised {type(self.call.error).__name__}: {self.call.error}"
            case "returned":
                return "returned without an answer to lifespan.startup"
            case "silent":
                return "no answer to lifespan.startup"
            case _:
                return "lifespan.startup.complete"

    @property
    def details(self) -> str:
        """The whole message of a start-up that failed, where it has more than one line."""
        failed = [str(one.get("message", "")).strip() for one in self.call.messages("lifespan.startup.failed")]
        return failed[0] if failed and "\n" in failed[0] else ""

    async def start(self, seconds: float) -> str:
        """Start up; the outcome."""
        call = self.call = Call(self._app, lifespan_scope(state=self._namespace), [{"type": "lifespan.startup"}])
        await call.until(lambda: bool(call.sent), seconds)
        if call.messages("lifespan.startup.complete"):
            self.outcome = "complete"
        elif call.messages("lifespan.startup.failed"):
            self.outcome = "failed"
        elif call.done:
            self.outcome = "raised" if call.error is not None else "returned"
        return self.outcome

    async def stop(self, seconds: float) -> bool:
        """Shut down, where it started; whether it said that it is complete, and returned."""
        call = self.call
        if self.outcome == "complete" and not call.done:
            call.feed({"type": "lifespan.shutdown"})
            await call.until(lambda: any(one.get("type", "").startswith("lifespan.shutdown.") for one in call.sent), seconds)
            await call.ended(seconds)
        over = call.done and call.error is None and bool(call.messages("lifespan.shutdown.complete"))
        await call.close(seconds)
        return over
