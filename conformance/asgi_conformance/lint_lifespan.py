"""The rules of the lifespan's call (ASGI lifespan.rst).

The law of this module: as `lint_response`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.lint_messages import check_message, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_conformance.lint_messages import Report

__all__ = ["LifespanRules"]

_RULE: Final = "app.lint.life-order"
_ANSWERS: Final[Mapping[str, str]] = {
    "lifespan.startup.complete": "startup",
    "lifespan.startup.failed": "startup",
    "lifespan.shutdown.complete": "shutdown",
    "lifespan.shutdown.failed": "shutdown",
}


class LifespanRules:
    """The rules of one call, and how far it is."""

    def __init__(self, _scope: Mapping[str, Any], report: Report) -> None:
        self._report = report
        self._asked: tuple[str, ...] = ()
        self._answered: tuple[str, ...] = ()
        self.gone = False

    @property
    def answered(self) -> bool:
        """Whether start-up was answered; before that an exception says that there is no lifespan."""
        return bool(self._answered)

    def received(self, message: Any) -> None:
        """The application got a message."""
        kind = message.get("type") if isinstance(message, dict) else None
        if kind in {"lifespan.startup", "lifespan.shutdown"}:
            self._asked += (kind.removeprefix("lifespan."),)

    def sending(self, message: Any) -> Any:
        """Check a message, let it count, and give what is to be sent."""
        kind = check_message(message, self._report)
        if kind is None:
            return message
        if kind not in _ANSWERS:
            self._report("app.lint.known-type", f"sent {shown(kind)} in a lifespan scope")
            return message
        stage = _ANSWERS[kind]
        if stage in self._answered:
            self._report(_RULE, f"{kind} after lifespan.{stage} was answered")
        elif stage not in self._asked:
            self._report(_RULE, f"{kind} before lifespan.{stage}")
        self._answered += (stage,)
        return message

    def returned(self) -> None:
        """The application returned."""
        if not self._asked and not self._answered:
            # Whoever does not know a scope's type is to raise: else the server waits, or believes that there is a lifespan.
            self._report(_RULE, "the application returned from its lifespan without looking at it", "SHOULD")
        for stage in self._asked:
            if stage not in self._answered:
                self._report(_RULE, f"the application returned without an answer to lifespan.{stage}")

    def checkpoint(self) -> Any:
        """What `restore` takes."""
        return self._answered

    def restore(self, checkpoint: Any) -> None:
        """The server refused the message that was sent since."""
        self._answered = checkpoint
