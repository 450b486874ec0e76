"""Sending a stimulus, and watching both sides.

The law of this module: the client is strict and shares no parser with any server; every wait ends; and what went over the wire is kept with its
times, so that a verdict can be looked at.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgi_conformance.case import HALF_CLOSE, Await, Call, Fate, Observation, Quiet
from asgi_conformance.outcomes import FOLLOW_UP_PATH
from pytest_asgiserve.raw import FramingError, RawConnection, Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.case import Stimulus
    from pytest_asgiserve.raw import RawResponse

__all__ = ["FOLLOW_UP", "Peer", "Trace", "Traced", "observe"]

FOLLOW_UP: Final = f"GET {FOLLOW_UP_PATH} HTTP/1.1\r\nHost: follow.example\r\n\r\n".encode("ascii")
_FINAL: Final = 200
"""The first status of a final response."""


class Peer(Protocol):
    """A running server with the reference application."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""

    def mark(self) -> int:
        """The number of the next call of the application."""

    def calls(self, since: int) -> Sequence[Call]:
        """The calls from ``since`` on."""


@dataclass
class Trace:
    """What went over a connection: seconds since its begin, the direction (``>`` sent, ``<`` received, ``!`` else), and the bytes or words.

    Where there are several connections, their number stands before the direction, from the second on.
    """

    events: list[tuple[float, str, bytes | str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def note(self, direction: str, what: bytes | str) -> None:
        """Something happened now."""
        self.events.append((time.monotonic() - self.began, direction, what))

    @property
    def received(self) -> bytes:
        """Everything that came."""
        return b"".join(what for _, direction, what in self.events if direction == "<" and isinstance(what, bytes))

    def __str__(self) -> str:
        return "\n".join(f"{at * 1000:8.1f} ms {direction} {_shown(what)}" for at, direction, what in self.events)


def _shown(what: bytes | str, most: int = 600) -> str:
    if isinstance(what, str):
        return what
    return f"{what[:most]!r}{f' ... {len(what)} bytes' if len(what) > most else ''}"


class Traced:
    """A socket that notes what goes through it; ``label`` says which one it is, where there are several."""

    def __init__(self, sock: socket.socket, trace: Trace, label: str = "") -> None:
        self._sock = sock
        self._trace = trace
        self._label = label

    def _note(self, direction: str, what: bytes | str) -> None:
        self._trace.note(self._label + direction, what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        """As of a socket."""
        self._note(">", data)
        self._sock.sendall(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As of a socket; what is only peeked at is not noted."""
        if flags:
            return self._sock.recv(size, flags)
        try:
            data = self._sock.recv(size)
        except ConnectionResetError:
            self._note("!", "reset by the server")
            raise
        except TimeoutError:
            self._note("!", "silence")
            raise
        self._note("<" if data else "!", data or "closed by the server")
        return data

    def shutdown(self, how: int) -> None:
        """As of a socket."""
        self._note("!", "half-closed by us")
        self._sock.shutdown(how)


def observe(peer: Peer, stimulus: Stimulus, *, patience: float = 5.0, trace: Trace | None = None) -> tuple[Observation, Trace]:
    """Send ``stimulus`` on a fresh connection, read what comes, and fetch what the application was told.

    Args:
        peer: the server.
        stimulus: what to send.
        patience: seconds of silence after which nothing more is waited for.
        trace: is filled and returned, for who wants it even where this raises; by default a new one.
    """
    trace = Trace() if trace is None else trace
    since = peer.mark()
    responses: list[RawResponse] = []
    early: list[RawResponse] = []
    followed: RawResponse | None = None
    broken = ""
    fate = Fate.OPEN
    with RawConnection(peer.address, timeout=patience) as connection:
        connection.sock = Traced(connection.sock, trace)  # type: ignore[assignment]  # a socket by shape
        try:
            _send(connection, stimulus, early)
            responses += [response for response in early if response.status >= _FINAL]
            while len(responses) < len(stimulus.methods) and not (responses and responses[-1].closes):
                responses.append(connection.read_response(stimulus.methods[len(responses)]))
            # What came while we waited and was no answer yet belongs to the first one.
            responses[0].informational[:0] = [response for response in early if response.status < _FINAL]
            if stimulus.follow_up and not responses[-1].closes:
                followed = connection.read_response("GET")
            if (followed or responses[-1]).closes or stimulus.parts[-1] is HALF_CLOSE:
                connection.expect_eof()
                fate = Fate.CLOSED
        except FramingError as error:
            broken, fate = _ending(connection, error, bool(responses))
        except ConnectionError:
            fate = Fate.RESET
        except TimeoutError:
            fate = Fate.SILENT
    calls = tuple(peer.calls(since))
    return Observation(tuple(responses), fate, calls, followed, broken, trace.received, prompt=bool(early)), trace


def _send(connection: RawConnection, stimulus: Stimulus, early: list[RawResponse]) -> None:
    """Send the parts; what comes where they wait is put into ``early``."""
    parts = list(stimulus.parts)
    if stimulus.follow_up and isinstance(parts[-1], bytes):
        # In the same write: a server that reads on finds it there.
        parts[-1] += FOLLOW_UP
    try:
        for part in parts:
            if part is HALF_CLOSE:
                connection.half_close()
            elif isinstance(part, Await):
                if _says_something(connection, part.seconds):
                    early.append(connection.read_head(stimulus.methods[0]))
                    connection.read_body(early[-1])
                    if early[-1].closes:
                        return
            elif isinstance(part, Quiet):
                connection.expect_silence(part.seconds)
            else:
                connection.send(part)
    except (BrokenPipeError, ConnectionResetError):
        # It has seen enough already; what it said is read.
        return


def _says_something(connection: RawConnection, seconds: float) -> bool:
    """Whether bytes or the end of the connection are there to be read, or come in time."""
    patience = connection.sock.gettimeout()
    connection.sock.settimeout(seconds if patience is None else min(seconds, patience))
    try:
        connection.sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    finally:
        connection.sock.settimeout(patience)
    return True


def _ending(connection: RawConnection, error: FramingError, answered: bool) -> tuple[str, Fate]:  # noqa: FBT001 - once, above
    """Where no response came: an end in order, or bytes that are none."""
    if isinstance(error, Unanswered):
        return "", Fate.CLOSED
    try:
        connection.expect_closed()
    except TimeoutError:
        return f"no HTTP{' after the response' if answered else ''}: {error}", Fate.OPEN
    return f"no HTTP{' after the response' if answered else ''}: {error}", Fate.CLOSED
