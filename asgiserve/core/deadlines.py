"""Named deadlines of one connection, behind one timer.

The law of this module: it never reads a clock of its own and never sleeps. Setting a deadline is two dictionary stores; the one timer is only
touched where a deadline is earlier than what it is armed for. A timer that fires too early arms itself again, so that a busy keep-alive
connection costs one timer every few seconds, not two a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BODY", "HEAD", "KEEP_ALIVE", "LINGER", "PING", "PONG", "WRITE", "WS_CLOSE", "Deadlines"]

HEAD = "request head"
BODY = "request body"
KEEP_ALIVE = "keep-alive"
WRITE = "write"
LINGER = "linger"
PING = "ping"
PONG = "pong"
WS_CLOSE = "closing handshake"

_NEVER = float("inf")


class Deadlines:
    """Call `set` and `clear`; when the timer fires call `expired` and act on each name that it returns.

    Args:
        clock: returns now, in seconds.
        arm: is called with the time at which `expired` should be called next. A later call replaces an earlier one.
    """

    __slots__ = ("_arm", "_armed", "_clock", "_times")

    def __init__(self, clock: Callable[[], float], arm: Callable[[float], None]) -> None:
        self._clock = clock
        self._arm = arm
        self._armed = _NEVER
        self._times: dict[str, float] = {}

    def set(self, name: str, seconds: float | None) -> None:
        """``name`` is due ``seconds`` from now; None clears it."""
        if seconds is None:
            self._times.pop(name, None)
            return
        self.set_at(name, self._clock() + seconds)

    def set_at(self, name: str, when: float) -> None:
        """``name`` is due at ``when``."""
        self._times[name] = when
        if when < self._armed:
            self._armed = when
            self._arm(when)

    def clear(self, name: str) -> None:
        """``name`` is not due any more."""
        self._times.pop(name, None)

    def clear_all(self) -> None:
        """Nothing is due any more."""
        self._times.clear()

    def is_set(self, name: str) -> bool:
        """Whether ``name`` is due at some time."""
        return name in self._times

    def expired(self) -> list[str]:
        """The names that are due, earliest first; they are cleared. Arms the timer for the rest."""
        now = self._clock()
        first = min(self._times.values(), default=_NEVER)
        if first > now:
            # The timer was armed for a deadline that has been put off: nearly always, on a connection that waits.
            self._armed = first
            if first != _NEVER:
                self._arm(first)
            return []
        due = sorted((when, name) for name, when in self._times.items() if when <= now)
        for _, name in due:
            del self._times[name]
        self._armed = min(self._times.values(), default=_NEVER)
        if self._armed != _NEVER:
            self._arm(self._armed)
        return [name for _, name in due]
