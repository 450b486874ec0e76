"""WebSocket as frames: a strict client that can also send what none would (RFC 6455).

The law of this module: it shares no parser with any server, and what the server sends is judged as it is read: masked, over-long, reserved or
interleaved frames raise `FramingError`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_asgiserve.raw import FramingError, Truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pytest_asgiserve.raw import RawConnection, RawResponse

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "Frames",
    "accept_value",
    "close_payload",
    "decode_frame",
    "encode_fragments",
    "encode_frame",
    "handshake",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
"""The sample of RFC 6455 §1.3."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK: Final = b"\x37\xfa\x21\x3d"
"""The sample of RFC 6455 §5.7."""
_SHORT: Final = 126
_MEDIUM: Final = 127
_CODE_SIZE: Final = 2
# RFC 6455 §5.5: of control frames.
_MOST_CONTROL: Final = 125


def accept_value(key: str = KEY) -> bytes:
    """What Sec-WebSocket-Accept must be (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest())


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``rsv`` are the three reserved bits, 4 is RSV1."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int | None:
        """Of a close frame; None where it has none."""
        return int.from_bytes(self.payload[:_CODE_SIZE], "big") if len(self.payload) >= _CODE_SIZE else None

    @property
    def reason(self) -> bytes:
        """Of a close frame."""
        return self.payload[_CODE_SIZE:]


def encode_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = _MASK, length: int = 0, size: int | None = None
) -> bytes:
    """A frame as bytes (RFC 6455 §5.2).

    Args:
        opcode: of 4 bits.
        payload: unmasked.
        fin: whether it is the last of its message.
        rsv: the three reserved bits, 4 is RSV1.
        mask: four bytes; None sends it unmasked, as a client must not.
        length: 16 or 64 says its length in so many bits, even where fewer do.
        size: what it says that its length is, where that is not that of ``payload``.
    """
    said = len(payload) if size is None else size
    masked = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length == 0 and said < _SHORT:
        head += bytes([masked | said])
    elif length != 64 and said < 1 << 16:  # noqa: PLR2004 - bits
        head += bytes([masked | _SHORT]) + struct.pack("!H", said)
    else:
        head += bytes([masked | _MEDIUM]) + struct.pack("!Q", said)
    return head + payload if mask is None else head + mask + _masked(payload, mask)


def encode_fragments(opcode: int, pieces: Sequence[bytes], *, ping: bool = False) -> bytes:
    """A message in pieces, a frame for each (RFC 6455 §5.4); with ``ping``, behind each but the last there is one with its number, from 0."""
    last = len(pieces) - 1
    found = []
    for index, piece in enumerate(pieces):
        found.append(encode_frame(CONTINUATION if index else opcode, piece, fin=index == last))
        if ping and index < last:
            found.append(encode_frame(PING, b"%d" % index))
    return b"".join(found)


def decode_frame(read_exactly: Callable[[int], bytes]) -> Frame:
    """A server's frame, held against RFC 6455 §5.1 to §5.5; ``read_exactly`` gives so many bytes.

    Raises:
        FramingError: no server may send such a frame.
    """
    first, second = read_exactly(2)
    if second & 0x80:
        # RFC 6455 §5.1: "A server MUST NOT mask any frames that it sends to the client."
        raise FramingError("the server masked a frame")
    size, least = second, 0
    if size == _SHORT:
        size, least = int.from_bytes(read_exactly(2), "big"), _SHORT
    elif size == _MEDIUM:
        size, least = int.from_bytes(read_exactly(8), "big"), 1 << 16
    if not least <= size < 1 << 63:
        raise FramingError(f"the length {size} is not the shortest, or none")
    frame = Frame(first & 0x0F, read_exactly(size) if size else b"", bool(first & 0x80), first >> 4 & 7)
    problem = ""
    if frame.opcode not in {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
        problem = "a reserved opcode"
    elif frame.opcode >= CLOSE and (not frame.fin or size > _MOST_CONTROL):
        problem = "a control frame that is fragmented or too long"
    elif frame.rsv & 3 or (frame.rsv and frame.opcode not in {TEXT, BINARY}):
        # RFC 7692 §6.1: RSV1 stands on the first frame of a message alone.
        problem = "a reserved bit"
    if problem:
        raise FramingError(f"{problem}: {frame}"[:300])
    return frame


def _masked(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 §5.3."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def close_payload(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """What a close frame carries (RFC 6455 §5.5.1)."""
    return b"" if code is None else struct.pack("!H", code) + reason


class Frames:
    """A WebSocket over a `RawConnection`: `shake_hands`, then frames. Errors are those of the connection, and `FramingError`.

    Attributes:
        connection: the connection.
        response: the server's answer to the handshake.
    """

    def __init__(self, connection: RawConnection) -> None:
        self.connection = connection
        self.response: RawResponse | None = None
        self._inside: int | None = None

    # The handshake.

    def send_handshake(self, path: str = "/", *lines: str, drop: Collection[str] = (), method: str = "GET", version: str = "1.1") -> None:
        """Send a handshake (RFC 6455 §4.1).

        Args:
            path: the target.
            lines: more fields, as whole lines; one of a name that a handshake has anyway takes its place.
            drop: names, in lower case, of fields that are left out.
            method: the method.
            version: of HTTP.
        """
        self.connection.send(handshake(self.connection.host, path, *lines, drop=drop, method=method, version=version))

    def read_answer(self) -> RawResponse:
        """The server's answer: the head of a 101, or a whole response of another status."""
        self.response = self.connection.read_response()
        # A 101 is read as the head that it is.
        return self.response

    def shake_hands(self, path: str = "/", *lines: str, drop: Collection[str] = ()) -> RawResponse:
        """`send_handshake`, and the answer, which must be a 101.

        Raises:
            FramingError: it is another one.
        """
        self.send_handshake(path, *lines, drop=drop)
        response = self.read_answer()
        if response.status != 101:  # noqa: PLR2004 - Switching Protocols
            raise FramingError(f"the handshake was answered with {response.status} {response.reason!r}")
        return response

    # Sending.

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = _MASK) -> None:
        """Send one frame; for odder ones `encode_frame` and ``connection.send``."""
        self.connection.send(encode_frame(opcode, payload, fin=fin, rsv=rsv, mask=mask))

    def text(self, text: str) -> None:
        """Send a text message in one frame."""
        self.send(TEXT, text.encode())

    def close(self, code: int | None = 1000, reason: bytes = b"") -> None:
        """Send a close frame."""
        self.send(CLOSE, close_payload(code, reason))

    # Receiving.

    def read_frame(self) -> Frame:
        """The next frame.

        Raises:
            FramingError: no server may send such a frame, or not there.
            Truncated: the connection ended.
        """
        frame = decode_frame(self.connection.read_exactly)
        if frame.opcode < CLOSE:
            if (frame.opcode == CONTINUATION) != (self._inside is not None):
                raise FramingError(f"a message that was not ended, or not begun: {frame}"[:300])
            self._inside = None if frame.fin else frame.opcode
        return frame

    def read_message(self) -> Frame:
        """The next message, its fragments joined, pings and pongs between left out; or the close frame. ``rsv`` is that of its first frame."""
        parts: list[bytes] = []
        first: Frame | None = None
        while True:
            frame = self.read_frame()
            if frame.opcode in {PING, PONG}:
                continue
            if frame.opcode == CLOSE:
                return frame
            first = first or frame
            parts.append(frame.payload)
            if frame.fin:
                return Frame(first.opcode, b"".join(parts), rsv=first.rsv)

    def read_text(self) -> str:
        """The next message, which must be an uncompressed text.

        Raises:
            FramingError: it is something else, or no UTF-8 (RFC 6455 §8.1).
        """
        message = self.read_message()
        if message.opcode != TEXT or message.rsv:
            raise FramingError(f"no text message: {message}"[:300])
        try:
            return message.payload.decode()
        except UnicodeDecodeError as error:
            raise FramingError(f"a text message that is no UTF-8: {error}"[:300]) from None

    def read_close(self) -> Frame | None:
        """The close frame that ends it, and the end of the connection behind it; None where the connection ended without one.

        Messages before it are read over; nothing may come behind it.
        """
        try:
            while (frame := self.read_frame()).opcode != CLOSE:
                pass
        except (Truncated, ConnectionResetError):
            return None
        # Where it is a reset it ended all the same: what was sent to it behind its close frame can make that.
        with contextlib.suppress(ConnectionResetError):
            self.connection.expect_eof()
        return frame

    def finish(self, code: int | None = 1000, reason: bytes = b"") -> Frame | None:
        """Close in order: send a close frame, and `read_close`."""
        self.close(code, reason)
        return self.read_close()


def handshake(host: str, path: str = "/", *lines: str, drop: Collection[str] = (), method: str = "GET", version: str = "1.1") -> bytes:
    """A handshake as bytes; arguments as of `Frames.send_handshake`."""
    own = {
        "host": f"Host: {host}",
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-key": f"Sec-WebSocket-Key: {KEY}",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
    }
    given = {line.partition(":")[0].lower() for line in lines}
    head = [line for name, line in own.items() if name not in given and name not in drop]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *head, *lines, "", ""]).encode("latin-1")
