"""WebSocket dialogues: frames that break a rule, how a connection is failed and closed, and distortions of the wire (RFC 6455).

The law of this module: that a server closes without a Close frame, or with another code than the fitting one, is lawful by RFC 6455 §7.1.7, and
discouraged; that it goes on is neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.frames import CLOSE, PING, TEXT, Frame, encode_frame
from asgi_conformance.suite.dialogue import plain
from pytest_asgiserve.raw import FramingError, Truncated

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_conformance.frames import Frames
    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage

__all__ = ["BEHIND", "Many", "altered", "disconnect_of", "is_utf8", "lenient", "messages", "read_close", "read_end", "tells", "transport_ends"]

BEHIND: Final = b"behind"
"""The text of a message that nobody must look at any more."""
_UNSENDABLE: Final = frozenset({1005, 1006, 1015})
"""RFC 6455 §7.4.1: each "MUST NOT be set as a status code in a Close control frame by an endpoint"."""
_CODES: Final = range(1000, 5000)
_TELLING: Final = 2.0
"""Seconds in which the applications of connections that have ended must have heard of it; a case about frames goes on without them."""
_AT_ONCE: Final = 1.0
"""Seconds in which a server that waits for nothing more has closed the connection; a loaded machine included."""
_SHOWN: Final = 3
_SIZES: Final = {126: 2, 127: 8}


# What came.


def messages(record: Record) -> list[Any]:
    """The contents of the websocket.receive events: text as str, the rest as bytes."""
    received = [plain(message) for message in record.received if message["type"] == "websocket.receive"]
    return [plain(message.get("bytes") if message.get("text") is None else message["text"]) for message in received]


def disconnect_of(record: Record) -> Any:
    """The first websocket.disconnect event; None where there is none."""
    found = (message for message in record.received if message["type"] == "websocket.disconnect")
    return next(({key: plain(value) for key, value in message.items()} for message in found), None)


def is_utf8(data: bytes) -> bool:
    """Whether it is."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_close(stage: Stage, frames: Frames, what: str) -> Frame | None:
    """What must come next: a Close frame, with pings before it at most; None where the connection ended without one."""
    try:
        while (frame := frames.read_frame()).opcode == PING:
            pass
    except (Truncated, ConnectionResetError):
        return None
    except TimeoutError:
        stage.check(False, f"{what}: the connection stays open")
        raise
    stage.check(frame.opcode == CLOSE, f"{what}: it goes on, with {frame}"[:300])
    problem = _problem(frame)
    stage.check(not problem, f"{what}: {problem}")
    return frame


def _problem(frame: Frame) -> str:
    """What no Close frame of a server may be (RFC 6455 §5.5.1, §7.4)."""
    if frame.code is None:
        return f"a Close frame of {len(frame.payload)} byte" if frame.payload else ""
    if frame.code in _UNSENDABLE or frame.code not in _CODES:
        return f"a Close frame with {frame.code}"
    return "" if is_utf8(frame.reason) else f"a Close frame with the reason {frame.reason!r}, which is no UTF-8"


def transport_ends(stage: Stage, frames: Frames, what: str, *, seconds: float | None = None) -> bool:
    """Whether the TCP connection ends, with nothing before that; within ``seconds``, or the connection's own time."""
    sock = frames.connection.sock
    before = sock.gettimeout()
    sock.settimeout(before if seconds is None else seconds)
    try:
        frames.connection.expect_eof()
    except ConnectionResetError:
        # What was sent to it and not read makes it that.
        return True
    except TimeoutError:
        return False
    except FramingError as error:
        stage.check(False, f"{what}: {error}")
    finally:
        sock.settimeout(before)
    return True


def read_end(stage: Stage, frames: Frames, what: str) -> Frame | None:
    """`read_close`, and the end of the TCP connection, which must follow at once."""
    close = read_close(stage, frames, what)
    if close is not None:
        stage.check(transport_ends(stage, frames, what), f"{what}: the TCP connection stays open behind its Close frame")
    return close


class Many:
    """Many short WebSockets of one scenario. What is discouraged is said once for all that did it; `finish` looks at the application's side.

    Args:
        stage: where they are played.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._odd: dict[str, list[str]] = {}
        self._played: list[tuple[str, list[Any]]] = []
        self._waits = False

    def warn(self, seen: str, what: str) -> None:
        """``what`` did something that is lawful and discouraged."""
        self._odd.setdefault(seen, []).append(what)

    def open(self, what: str, *expected: Any) -> Frames:
        """A WebSocket over which the application is to get the messages ``expected``, and no others."""
        self._played.append((what, list(expected)))
        return self._stage.websocket()

    def fails(self, what: str, data: bytes, *codes: int, silent: bool = False) -> None:
        """``data`` makes the server fail the connection (RFC 6455 §7.1.7), and a message in the same write behind it is not looked at.

        Args:
            what: in words.
            data: frames.
            codes: of its Close frame; another one is discouraged.
            silent: to close without a Close frame, or without a code in it, is as good.
        """
        frames = self.open(what)
        frames.connection.send(data + encode_frame(TEXT, BEHIND))
        self.failed(what, frames, *codes, silent=silent)

    def failed(self, what: str, frames: Frames, *codes: int, silent: bool = False) -> None:
        """The server fails the connection now; arguments as of `fails`."""
        close = read_close(self._stage, frames, what)
        if close is None:
            if not silent:
                self.warn("closed without a Close frame", what)
            return
        if close.code not in codes and not (silent and close.code is None):
            self.warn(f"closed {'without a code' if close.code is None else f'with {close.code}'}, not with {' or '.join(map(str, codes))}", what)
        # RFC 6455 §7.1.7: it must not wait for ours. One that was seen to wait gets it, so that we need not.
        if self._waits or not transport_ends(self._stage, frames, what, seconds=_AT_ONCE):
            self._waits = True
            frames.close(close.code)
            self._stage.check(transport_ends(self._stage, frames, what), f"{what}: the TCP connection stays open behind its Close frame")
            self.warn("the TCP connection was closed only after our Close frame", what)

    def finish(self) -> list[Record]:
        """The application got what it was to get each time, and nothing else; then say what was discouraged."""
        stage = self._stage
        records = stage.records(len(self._played), timeout=_TELLING)
        stage.check(len(records) == len(self._played), f"{len(records)} calls of the application for {len(self._played)} WebSockets")
        for record, (what, expected) in zip(records, self._played, strict=True):
            got = messages(record)
            stage.check(got == expected, f"{what}: the application got {got!r}"[:300])
        for seen, whats in self._odd.items():
            more = f" and {len(whats) - _SHOWN} more" if len(whats) > _SHOWN else ""
            stage.warn(f"{seen}: {', '.join(whats[:_SHOWN])}{more}")
        return records


# Bad servers.


def _frames_of(data: bytes) -> list[Frame] | None:
    """The frames in a piece of the wire; None where it is none, or not of whole ones."""
    found: list[Frame] = []
    at = 0
    while at < len(data):
        if data[at:].startswith((b"GET ", b"HTTP/")) or len(data) < at + 2:
            return None
        first, second = data[at : at + 2]
        at += 2
        size = second & 0x7F
        if (width := _SIZES.get(size, 0)) != 0:
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        mask = data[at : at + 4] if second & 0x80 else bytes(4)
        at += 4 if second & 0x80 else 0
        if len(data) < at + size:
            return None
        payload = bytes(octet ^ mask[index & 3] for index, octet in enumerate(data[at : at + size]))
        at += size
        found.append(Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7))
    return found


def lenient(change: Callable[[Frame], Frame | None]) -> Callable[[bytes], bytes]:
    """A server that reads frames as ``change`` has them, always masked and with the shortest length; None: it does not see the frame."""

    def on_the_way(data: bytes) -> bytes:
        found = _frames_of(data)
        if found is None:
            return data
        changed = [frame for each in found if (frame := change(each)) is not None]
        return b"".join(encode_frame(frame.opcode, frame.payload, fin=frame.fin, rsv=frame.rsv) for frame in changed)

    return on_the_way


def altered(change: Callable[[Frame], bytes]) -> Callable[[bytes], bytes]:
    """A server that writes, for each frame, the bytes that ``change`` makes of it."""

    def on_the_way(data: bytes) -> bytes:
        found = _frames_of(data)
        return data if found is None else b"".join(map(change, found))

    return on_the_way


def tells(frame: Frame, **changes: Any) -> bytes:
    """``frame`` as a server writes it; ``changes`` are arguments of `encode_frame`."""
    return encode_frame(**{"opcode": frame.opcode, "payload": frame.payload, "fin": frame.fin, "rsv": frame.rsv, "mask": None, **changes})
