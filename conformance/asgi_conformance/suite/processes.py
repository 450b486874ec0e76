"""Processes: what the topics about a server's start and end ask of it, and the middleware that makes its lifespan a bad one.

The law of this module: what was done to the process stands in the trace, beside the bytes; every wait ends; and what the application went through is
read from its journal, which is there when the process is gone.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.stage import Broken
from asgi_conformance.targets import TargetError

if TYPE_CHECKING:
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection

__all__ = [
    "END_SECONDS",
    "answering",
    "connect_early",
    "end",
    "heard",
    "hears_in_time",
    "in_lifespan",
    "lifespan_events",
    "quit_server",
    "said",
    "send_signal",
    "serves_or_ends",
]

END_SECONDS: Final = 4.0
"""In which a server that has nothing more to do must end; a loaded machine included."""
_START_SECONDS: Final = 10.0
_PAUSE: Final = 0.01


# The process.


def send_signal(stage: Stage, number: int = signal.SIGTERM) -> None:
    """Send the server a signal."""
    stage.trace.note("!", f"{signal.Signals(number).name} sent")
    stage.running.signal(number)


def end(stage: Stage, seconds: float = END_SECONDS, after: str = "SIGTERM") -> int:
    """The exit status of a server that was told to end.

    Raises:
        Broken: it runs on.
    """
    try:
        status = stage.running.wait(seconds)
    except TimeoutError:
        raise Broken(f"it still runs {seconds:g} s after {after}; the application's lifespan: {_told(stage)}") from None
    stage.trace.note("!", f"the process ended with status {status}; the application's lifespan: {_told(stage)}")
    return status


def quit_server(stage: Stage) -> None:
    """Be done with a server whose end is not what the case is about: killed, which takes no time."""
    stage.running.close()


def connect_early(stage: Stage) -> RawConnection:
    """A connection to a server that may not listen yet, as soon as it does.

    Raises:
        Broken: it ended, or never listens.
    """
    limit = time.monotonic() + _START_SECONDS
    while True:
        try:
            return stage.connect()
        except ConnectionRefusedError:
            stage.check(stage.running.alive, f"it ended with status {stage.running.exit_status} before it listened")
            stage.check(time.monotonic() < limit, f"nobody listened within {_START_SECONDS:g} s")
        time.sleep(_PAUSE)


def serves_or_ends(stage: Stage, seconds: float) -> bool | None:
    """Whether a server that was started without waiting answers requests (True) or has ended (False); None where it does neither in time."""
    limit = time.monotonic() + seconds
    while (left := limit - time.monotonic()) > 0:
        # What it says is that it does not answer yet, or that it ended.
        with contextlib.suppress(TargetError):
            stage.running.wait_ready(left)
            return True
        if not stage.running.alive:
            return False
    return None


# What the application went through.


def lifespan_events(stage: Stage) -> list[dict[str, Any]]:
    """The journal's entries on the lifespan, in order."""
    return [entry for entry in stage.running.journal() if entry["event"] == "lifespan"]


def _find(stage: Stage, do: str, kind: str) -> dict[str, Any] | None:
    found = (entry for entry in lifespan_events(stage) if entry["do"] == do and entry["message"].get("type") == kind)
    return next(found, None)


def heard(stage: Stage, kind: str) -> dict[str, Any] | None:
    """The entry on the event ``kind`` that the application's lifespan received; None where it did not."""
    return _find(stage, "receive", kind)


def said(stage: Stage, kind: str) -> dict[str, Any] | None:
    """The entry on the message ``kind`` that the application's lifespan sent; None where it did not. ``error`` is there where send() raised."""
    return _find(stage, "send", kind)


def hears_in_time(stage: Stage, kind: str, seconds: float = END_SECONDS) -> dict[str, Any]:
    """As `heard`, as soon as it is there.

    Raises:
        Broken: it does not come, or the server ends without it.
    """
    limit = time.monotonic() + seconds
    while True:
        # Asked first: what it wrote before its end is there then.
        alive = stage.running.alive
        entry = heard(stage, kind)
        if entry is not None:
            return entry
        stage.check(alive, f"it ended with status {stage.running.exit_status}, and the application did not receive {kind}")
        stage.check(time.monotonic() < limit, f"the application did not receive {kind} within {seconds:g} s")
        time.sleep(_PAUSE)


def _told(stage: Stage) -> str:
    """The lifespan in a line."""
    told = [
        f"{entry['do']} {(entry.get('message') or {}).get('type', '')}".strip() + (" (raised)" if entry["do"] == "send" and "error" in entry else "")
        for entry in lifespan_events(stage)
    ]
    return ", ".join(told) or "never called"


# Bad servers.


def in_lifespan(change: Any) -> Any:
    """A server whose lifespan alone is another one: ``change(app, scope, receive, send)`` plays it."""

    def around(app: Any) -> Any:
        async def changes(scope: Any, receive: Any, send: Any) -> None:
            await (change(app, scope, receive, send) if scope["type"] == "lifespan" else app(scope, receive, send))

        return changes

    return around


def answering(before: str, instead: str) -> Any:
    """A server that hears ``instead`` where the application says ``before`` in its lifespan."""

    async def plays(app: Any, scope: Any, receive: Any, send: Any) -> None:
        async def says(message: Any) -> None:
            await send({"type": instead} if message["type"] == before else message)

        await app(scope, receive, says)

    return in_lifespan(plays)
