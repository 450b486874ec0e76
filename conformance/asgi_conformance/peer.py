"""A running target as the cases see it.

The law of this module: a case gets a server that works, or hears why there is none.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Call
from asgi_conformance.targets import TargetError, find_target, start_target, unavailable_reason
from pytest_asgiserve.raw import FramingError, RawConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.observed import Record
    from asgi_conformance.targets import RunningTarget

__all__ = ["NotStarting", "TargetPeer", "Unavailable"]

_HEALTHY: Final = 5.0
"""Seconds in which a plain request must be answered after a case; a loaded machine included."""
_DYING: Final = 1.0
"""Seconds in which a process that answers no more has ended, where that is why."""


class Unavailable(Exception):  # noqa: N818 - a reason, not a fault
    """The target cannot be had here."""


class NotStarting(Exception):  # noqa: N818 - as above
    """The target should be there, and does not start or answer."""


class TargetPeer:
    """Starts its server at the first use, and again where a case killed it. A `drive.Peer`.

    Args:
        name: of the target.
        start: for `start_target`: what every server of this peer is started with.
    """

    def __init__(self, name: str, **start: Any) -> None:
        self._target = find_target(name)
        self._running: RunningTarget | None = None
        self._start = start
        self._has_run = False
        self._failures = 0
        self._given_up = ""

    @property
    def features(self) -> frozenset[str]:
        """What it says that it has."""
        return self._target.features

    @property
    def running(self) -> RunningTarget:
        """The server.

        Raises:
            Unavailable: it was not started.
        """
        if self._running is None:
            raise Unavailable(f"{self._target.name} does not run")
        return self._running

    def start_own(self, **options: Any) -> RunningTarget:
        """Start another server of the same kind, for one scenario alone; options are those of `targets.start_target`.

        Raises:
            Unavailable: it is not one that we start.
            TargetError: it does not start.
        """
        if self._target.url is not None:
            raise Unavailable(f"{self._target.name} was not started by us, and this case needs a server of its own")
        return start_target(self._target, **{**options, **self._start})

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        address = self.running.address
        if isinstance(address, str):
            raise Unavailable(f"{self._target.name} listens on a UNIX socket")
        return address

    def start(self) -> None:
        """See that it runs.

        Raises:
            Unavailable: it is not installed.
            NotStarting: it is, and does not start. One that never did, or twice did not, is not tried again: that costs every case its time-out.
        """
        if self._running is not None and self._running.alive:
            return
        self.close()
        if self._given_up:
            raise NotStarting(self._given_up)
        reason = unavailable_reason(self._target)
        if reason is not None:
            raise Unavailable(reason)
        try:
            self._running = start_target(self._target, **self._start)
        except TargetError as error:
            self._failures += 1
            if self._target.url is not None or not self._has_run or self._failures > 1:
                self._given_up = str(error)
            raise NotStarting(str(error)) from None
        self._has_run = True
        self._failures = 0

    def close(self) -> None:
        """Stop it. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            try:
                running.stop()
            except TargetError:
                running.close()

    def mark(self) -> int:
        """How many calls there have been."""
        return self.running.mark()

    def calls(self, since: int) -> Sequence[Call]:
        """Those after the mark."""
        return [_as_call(record) for record in self.running.records(since)]

    def sickness(self) -> str:
        """Why the server is not well after a case; empty where it is."""
        try:
            with RawConnection(self.address, timeout=_HEALTHY) as connection:
                response = connection.exchange("/")
        except (OSError, FramingError) as error:
            # Who dies closes its sockets first, and is dead a moment later.
            if self.running.child is not None:
                with contextlib.suppress(TimeoutError):
                    return f"the server was dead: it ended with status {self.running.wait(_DYING)}"
            return f"a plain request failed: {type(error).__name__}: {error}"
        if response.status != 200:  # noqa: PLR2004 - the reference application's
            return f"a plain request was answered with {response.status}"
        return "" if self.running.alive else "the server was dead, and left something behind that answers"


def _as_call(record: Record) -> Call:
    requests = [message for message in record.received if message.get("type") == "http.request"]
    bodies = [message.get("body", b"") for message in requests]
    # A body that was too long to be kept whole is comparable all the same.
    body = bodies[0] if len(bodies) == 1 else b"".join(part for part in bodies if isinstance(part, bytes))
    return Call(record.scope, body, any(not message.get("more_body") for message in requests), tuple(record.received))
