"""WebSocket frames and a client over one socket, in the words of the server's tests; the frames are those of the conformance suite.

The law of this module: nothing of the library that the server uses is used here, so that it cannot forgive what the server does wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.frames import BINARY, CLOSE, KEY, PING, PONG, TEXT, Frame, accept_value, close_payload, decode_frame, encode_frame
from asgi_conformance.frames import CONTINUATION as CONT
from asgi_conformance.frames import handshake as encode_handshake
from pytest_asgiserve.raw import FramingError, RawConnection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

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

ACCEPT: Final = accept_value()
_FORMS: Final = {0: 0, 126: 16, 127: 64}


def frame(opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, form: int = 0) -> bytes:
    """A client's frame, right or wrong. ``form`` 126 or 127 forces that form of the length, which need not be the shortest."""
    data = payload.encode() if isinstance(payload, str) else payload
    mask = {} if masked else {"mask": None}
    return encode_frame(opcode, data, fin=fin, rsv=rsv, length=_FORMS[form], **mask)


def close_frame(code: int | None = None, reason: str | bytes = b"") -> bytes:
    """A client's close frame; None: without a code."""
    text = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, close_payload(code, text))


def fragments(opcode: int, pieces: Iterable[bytes], *, rsv: int = 0) -> list[bytes]:
    """The frames of one message in pieces."""
    listed = list(pieces)
    last = len(listed) - 1
    return [frame(opcode if not i else CONT, piece, fin=i == last, rsv=rsv if not i else 0) for i, piece in enumerate(listed)]


def closing(received: Frame) -> tuple[int, str]:
    """Code and reason of a close frame; 1005 where it has none (RFC 6455 §7.1.5)."""
    if received.opcode != CLOSE:
        raise FramingError(f"no close frame: {received!r}")
    return received.code or 1005, received.reason.decode()


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
        found.append(decode_frame(read_exactly))
    return found


def handshake(*fields: str, path: str = "/", method: str = "GET", version: str = "1.1", without: Collection[str] = ()) -> bytes:
    """An opening handshake without those of its usual fields that are named in ``without`` (lower case); ``fields`` are whole lines, in the
    place of the usual one of that name."""
    return encode_handshake("test.example", path, *fields, drop=without, method=method, version=version)


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
        return decode_frame(self.read_exactly)

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
