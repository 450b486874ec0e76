"""What a server must make of a stream of WebSocket frames, read slowly and by the book (RFC 6455 §5, §7, §8.1; RFC 7692 §7.2.2).

The law of this module: nothing of the ``websockets`` library, and no state between frames but what the text of the standard has.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asgiserve.config import WebSocketConfig

__all__ = ["Expected", "read_frames"]

_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_PROTOCOL_ERROR: Final = 1002
_NO_STATUS: Final = 1005
_INVALID_DATA: Final = 1007
_TOO_BIG: Final = 1009
_SHORT, _MEDIUM, _LONG = 125, 126, 127


@dataclass
class Expected:
    """What must come of it. ``code`` None: no close frame is due. ``echo``: the code is the peer's own.

    ``late``: the fault is in the content of a message. Frames behind it that came in the same read may be looked at before it is, so that their
    pings are answered, and that a fault of theirs is the one that is named.
    """

    messages: list[str | bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    code: int | None = None
    echo: bool = False
    late: bool = False


class _End(Exception):  # noqa: N818 - the stream ends here; nothing went wrong
    """The stream is over, in whatever way: a close frame with this code is due."""

    def __init__(self, code: int | None, *, echo: bool = False, late: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.echo = echo
        self.late = late


class _Bytes:
    """Reads forward, and ends where there is no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int) -> bytes:
        if len(self._data) - self._at < size:
            raise _End(None)
        self._at += size
        return self._data[self._at - size : self._at]


@dataclass
class _Message:
    """A message that is not complete."""

    opcode: int
    compressed: bool
    data: bytes = b""
    frames: int = 0


class _Reader:
    def __init__(self, data: bytes, config: WebSocketConfig, *, deflate: bool | None) -> None:
        self._bytes = _Bytes(data)
        self._config = config
        self._deflate = deflate
        self._window = zlib.decompressobj(wbits=-15)
        self._message: _Message | None = None
        self.expected = Expected()

    def frame(self) -> None:
        """One frame."""
        first, second = self._bytes.read(2)
        fin, rsv, opcode = bool(first & 0x80), first >> 4 & 7, first & 15
        if opcode not in {_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG} or not second & 0x80:
            raise _End(_PROTOCOL_ERROR)
        size = second & 0x7F
        if size == _MEDIUM:
            size = int.from_bytes(self._bytes.read(2), "big")
        elif size == _LONG:
            size = int.from_bytes(self._bytes.read(8), "big")
        if size >= 1 << 63:
            raise _End(_PROTOCOL_ERROR)
        taken = len(self._message.data) if self._message is not None else 0
        if size > self._config.ws_max_size - taken:
            # The library looks at the length before the rest of the frame; what is too big and wrong besides is too big.
            raise _End(_TOO_BIG)
        mask = self._bytes.read(4)
        payload = bytes(octet ^ mask[index % 4] for index, octet in enumerate(self._bytes.read(size)))
        if opcode >= _CLOSE:
            self._control(opcode, payload, lawful=fin and not rsv and size <= _SHORT)
        else:
            self._data(opcode, rsv, payload, fin=fin)

    def _control(self, opcode: int, payload: bytes, *, lawful: bool) -> None:
        if not lawful:
            raise _End(_PROTOCOL_ERROR)
        if opcode == _PING:
            self.expected.pongs.append(payload)
        elif opcode == _CLOSE:
            raise _closing(payload, inside=self._message is not None)

    def _data(self, opcode: int, rsv: int, payload: bytes, *, fin: bool) -> None:
        message = self._message
        starts = opcode != _CONT
        compressed = self._deflate is not None and (rsv >= 4 if starts else message is not None and message.compressed)
        # Reserved bits, or an order that cannot be; what is compressed is inflated before that is looked at.
        fault = (rsv and not (starts and compressed and rsv == 4)) or starts == (message is not None)
        if compressed:
            taken = len(message.data) if message is not None else 0
            payload = self._inflate(payload, self._config.ws_max_size - taken, starts=starts, fin=fin)
        if fault:
            raise _End(_PROTOCOL_ERROR)
        if message is None:
            message = self._message = _Message(opcode, compressed)
        message.frames += 1
        if message.frames > self._config.ws_max_fragment_count:
            raise _End(_TOO_BIG, late=True)
        message.data += payload
        if message.opcode == _TEXT:
            _check_text(message.data, complete=fin)
        if fin:
            self._message = None
            self.expected.messages.append(message.data.decode() if message.opcode == _TEXT else message.data)

    def _inflate(self, payload: bytes, room: int, *, starts: bool, fin: bool) -> bytes:
        if starts and self._deflate:
            self._window = zlib.decompressobj(wbits=-15)
        try:
            # No more than needed: what is malformed behind the limit is too big first.
            inflated = self._window.decompress(payload + (b"\x00\x00\xff\xff" if fin else b""), room + 1)
        except zlib.error:
            raise _End(_PROTOCOL_ERROR) from None
        if len(inflated) > room:
            raise _End(_TOO_BIG)
        return inflated


def _check_text(data: bytes, *, complete: bool) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        # What is only cut off may still become whole.
        if complete or error.reason != "unexpected end of data":
            raise _End(_INVALID_DATA, late=True) from None


def _closing(payload: bytes, *, inside: bool) -> _End:
    """RFC 6455 §5.5.1, §7.4."""
    if not payload:
        end = _End(_NO_STATUS, echo=True)
    elif len(payload) == 1:
        end = _End(_PROTOCOL_ERROR)
    else:
        code = int.from_bytes(payload[:2], "big")
        lawful = (1000 <= code <= 1014 and code not in {1004, 1005, 1006}) or 3000 <= code <= 4999
        end = _End(code, echo=True) if lawful else _End(_PROTOCOL_ERROR)
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            end = _End(_INVALID_DATA)
    if inside and end.echo:
        # A close inside of a fragmented message is lawful (§5.4, §5.5); the library calls it a protocol error.
        end = _End(_PROTOCOL_ERROR)
    return end


def read_frames(data: bytes, config: WebSocketConfig, *, deflate: bool | None) -> Expected:
    """What must come of ``data``.

    Args:
        data: what the client sends behind its handshake.
        config: sizes.
        deflate: None without compression; else whether the client begins each message with an empty window.
    """
    reader = _Reader(data, config, deflate=deflate)
    try:
        while True:
            reader.frame()
    except _End as end:
        reader.expected.code, reader.expected.echo, reader.expected.late = end.code, end.echo, end.late
    return reader.expected
