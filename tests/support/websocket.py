"""WebSocket frames made by hand, and a client over one socket that takes nothing on trust (RFC 6455 §5).

The law of this module: a server's frame is read by the grammar of the RFC and by nothing else, so that none of the library that the server uses can
forgive what the server does wrong.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pytest_asgiserve.raw import FramingError, RawConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pytest_asgiserve.raw import RawResponse

__all__ = [
    "ACCEPT",
    "BINARY",
    "CLOSE",
    "CONT",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "RawWebSocket",
    "close_frame",
    "closing",
    "fragments",
    "frame",
    "handshake",
    "split_frames",
]

CONT: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

# RFC 6455 §1.3: the key of its own example, and the answer to it.
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

_MASK: Final = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """One frame. ``rsv`` holds RSV1 to RSV3 as 4, 2 and 1."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0


def frame(opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, form: int = 0) -> bytes:
    """A client's frame, right or wrong. ``form`` 126 or 127 forces that form of the length, which need not be the shortest."""
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data)
    form = form or (size if size < 126 else 126 if size < 65536 else 127)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if masked else 0) | form])
    if form == 126:
        head += struct.pack("!H", size)
    elif form == 127:
        head += struct.pack("!Q", size)
    if not masked:
        return head + data
    key = (_MASK * (size // 4 + 1))[:size]
    return head + _MASK + (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def close_frame(code: int | None = None, reason: str | bytes = b"") -> bytes:
    """A client's close frame; None: without a code."""
    text = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + text)


def fragments(opcode: int, pieces: Iterable[bytes], *, rsv: int = 0) -> list[bytes]:
    """The frames of one message in pieces."""
    listed = list(pieces)
    last = len(listed) - 1
    return [frame(opcode if not i else CONT, piece, fin=i == last, rsv=rsv if not i else 0) for i, piece in enumerate(listed)]


def closing(received: Frame) -> tuple[int, str]:
    """Code and reason of a close frame; 1005 where it has none (RFC 6455 §7.1.5)."""
    if received.opcode != CLOSE:
        raise FramingError(f"no close frame: {received!r}")
    if not received.payload:
        return 1005, ""
    (code,) = struct.unpack("!H", received.payload[:2])
    return int(code), received.payload[2:].decode()


def _read_frame(read_exactly: Callable[[int], bytes]) -> Frame:
    """A server's frame, held against RFC 6455 §5.2, §5.5."""
    first, second = read_exactly(2)
    fin, rsv, opcode = bool(first & 0x80), first >> 4 & 7, first & 15
    if second & 0x80:
        raise FramingError("a masked frame from the server (RFC 6455 §5.1)")
    size = second
    if size == 126:
        (size,) = struct.unpack("!H", read_exactly(2))
        if size < 126:
            raise FramingError("a length that is not in its shortest form")
    elif size == 127:
        (size,) = struct.unpack("!Q", read_exactly(8))
        if not 65536 <= size < 1 << 63:
            raise FramingError("a length that is not in its shortest form")
    if opcode not in {CONT, TEXT, BINARY, CLOSE, PING, PONG}:
        raise FramingError(f"reserved opcode {opcode}")
    if opcode >= CLOSE and (not fin or size > 125 or rsv):
        raise FramingError("a control frame that is fragmented, too long, or has reserved bits")
    return Frame(opcode, read_exactly(size) if size else b"", fin, rsv)


def split_frames(data: bytes) -> list[Frame]:
    """All frames that a server wrote; a part of one is an error."""
    rest = memoryview(data)
    found: list[Frame] = []

    def read_exactly(size: int) -> bytes:
        nonlocal rest
        if len(rest) < size:
            raise FramingError(f"the last frame is incomplete: {bytes(rest)!r}")
        taken, rest = bytes(rest[:size]), rest[size:]
        return taken

    while rest:
        found.append(_read_frame(read_exactly))
    return found


def handshake(*fields: str, path: str = "/", method: str = "GET", version: str = "1.1", without: Collection[str] = ()) -> bytes:
    """An opening handshake without those of its usual fields that are named in ``without`` (lower case); ``fields`` are whole lines."""
    usual = {
        "host": "Host: test.example",
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-key": f"Sec-WebSocket-Key: {KEY}",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
    }
    lines = [f"{method} {path} HTTP/{version}", *(line for name, line in usual.items() if name not in without), *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


class RawWebSocket(RawConnection):
    """One connection that speaks WebSocket after `open`."""

    def open(self, *fields: str, path: str = "/", behind: bytes = b"") -> RawResponse:
        """The opening handshake, with ``behind`` in the same segment; its answer, which must be a lawful 101."""
        self.send(handshake(*fields, path=path) + behind)
        return self.read_switch()

    def read_switch(self) -> RawResponse:
        """The 101."""
        response = self.read_response()
        if response.status != 101:
            raise FramingError(f"no 101: {response!r}")
        found: list[Any] = [(response.one(name) or b"").lower() for name in (b"upgrade", b"connection")]
        if found != [b"websocket", b"upgrade"] or response.one(b"sec-websocket-accept") != ACCEPT:
            raise FramingError(f"a 101 that is none (RFC 6455 §4.2.2): {response.fields!r}")
        return response

    def read_frame(self) -> Frame:
        """The next frame."""
        return _read_frame(self.read_exactly)

    def read_close(self) -> tuple[int, str]:
        """The server's close frame, which must be what comes next."""
        return closing(self.read_frame())

    def expect_close(self, code: int, reason: str | None = None) -> None:
        """A close frame with this code, and then the end of the connection, from the server first and in order."""
        found = self.read_close()
        if found[0] != code or (reason is not None and found[1] != reason):
            raise AssertionError(f"closed with {found!r}, not with {(code, reason)!r}")
        self.expect_eof()

    def finish(self, code: int = 1000) -> None:
        """An orderly end from the client's side."""
        self.send(close_frame(code))
        self.expect_close(code)
