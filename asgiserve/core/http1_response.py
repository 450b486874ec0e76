"""Encoding responses of HTTP/1.1 (RFC 9112 §4, §6, §7).

The law of this module: an exchange in, bytes out. Every byte of a response head is made here, for both parsers, so that framing cannot differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgiserve.core.exchange import DONE, ENDED
from asgiserve.core.flow import WriteGate
from asgiserve.core.response import NO_NAMES
from asgiserve.core.transport import write_pieces
from asgiserve.http.fields import encode_field_lines
from asgiserve.http.status import STATUS_LINES, forbids_content, reason_phrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgiserve.core.exchange import Exchange
    from asgiserve.core.transport import Owner, Transport
    from asgiserve.errors import RemoteProtocolError
    from asgiserve.http.fields import Field

__all__ = ["CONTINUE", "ResponseWriter", "encode_refusal", "encode_switch"]

CONTINUE: Final = STATUS_LINES[100] + b"\r\n"

# From here on content is not joined with its head: copying costs more than one more piece. 1 MiB: 199 us beside 223.
_LARGE: Final = 32768

_CHUNKED_LINE: Final = b"transfer-encoding: chunked\r\n"

# Most responses are small: 0.04 us for a line that is there, 0.25 for a new one.
_SMALL_LENGTH: Final = 2048
_LENGTH_LINES: Final = [b"content-length: %d\r\n" % length for length in range(_SMALL_LENGTH)]
# RFC 9112 §7.1: a chunk of no size would be the last one.
_CHUNK_LINES: Final = [b"", *(b"%x\r\n" % length for length in range(1, _SMALL_LENGTH))]


class ResponseWriter:
    """The part of a connection that writes content behind a response head, in the framing that the head announced."""

    __slots__ = ("_answered_at", "_chunked_response", "_close_after", "_draining", "_owner", "_transport", "write_gate")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: Transport = None  # type: ignore[assignment]  # set by connection_made, before anything else is called
        self._chunked_response = False
        # Whether the connection is closed after this response, and whether after any.
        self._close_after = False
        self._draining = False
        # When the response left, where it left in one piece.
        self._answered_at = 0.0
        self.write_gate = WriteGate()

    def _too_much_is_left(self, exchange: Exchange) -> bool:
        """Whether the rest of the request is too much to read and drop behind the response."""
        raise NotImplementedError

    def write_head(self, exchange: Exchange, data: bytes, last: bool) -> None:  # noqa: FBT001 - see `ExchangeSink`
        """Write the response head, and the content that is there, in one piece."""
        owner = self._owner
        now = owner.clock()
        closing = (
            self._close_after
            or self._draining
            or exchange.closing
            # RFC 9112 §9.3: the rest of the request is read, or the connection closed.
            or (exchange.request_state is not ENDED and last and self._too_much_is_left(exchange))
        )
        response = exchange.response
        encoded = response.encoded
        length = response.content_length
        if encoded and length is not None and last and not closing and exchange.head.minor_version and len(data) < _LARGE:
            # The same as in `_write_head`, for a head that is known.
            self._answered_at = now
            self._chunked_response = self._close_after = False
            self._transport.write(b"".join((encoded, _LENGTH_LINES[length], owner.default_fields(now), b"\r\n", data)))
        else:
            self._write_head(exchange, data, now, last=last, closing=closing)

    def _write_head(self, exchange: Exchange, data: bytes, now: float, *, last: bool, closing: bool) -> None:
        owner = self._owner
        response = exchange.response
        minor_version = exchange.head.minor_version
        encoded = response.encoded
        if not encoded:
            encoded = b"".join(encode_field_lines(STATUS_LINES[response.status], response.fields))
            if response.encoded is not None:
                response.encoded = encoded
        parts = [encoded]
        chunked = False
        length = exchange.content_length
        if length is None and not forbids_content(response.status):
            length, chunked, closing = _frame(exchange, len(data), last=last, closing=closing)
        if length is not None:
            parts.append(_LENGTH_LINES[length] if length < _SMALL_LENGTH else b"content-length: %d\r\n" % length)
        elif chunked:
            parts.append(_CHUNKED_LINE)
            # RFC 9112 §6.3 (1): HEAD is told what GET would get, and gets no chunks.
            chunked = not exchange.bodiless
        sent = response.sent_fields
        parts.append(owner.default_fields(now) if sent is NO_NAMES else owner.default_fields_without(sent))
        if closing or response.connection_options or not minor_version:
            parts.append(_connection_field(response.connection_options, closing=closing))
        parts.append(b"\r\n")
        size = len(data)
        if size:
            if chunked:
                parts.append(_CHUNK_LINES[size] if size < _SMALL_LENGTH else b"%x\r\n" % size)
            if size >= _LARGE:
                parts = [b"".join(parts)]
            parts.append(data)
            if chunked:
                parts.append(b"\r\n")
        if last:
            self._answered_at = now
            if chunked and exchange.response_state is DONE:
                parts.append(b"0\r\n\r\n")
        self._chunked_response = chunked
        self._close_after = closing
        if size < _LARGE:
            self._transport.write(b"".join(parts))
        else:
            write_pieces(self._transport, parts)
        if not last:
            self._answered_at = 0.0
            if self._draining and exchange.content_length is None:
                exchange.end_soon("shutdown")

    def write_body(self, exchange: Exchange, data: bytes, last: bool) -> None:  # noqa: FBT001 - see `ExchangeSink`
        """Write more content, chunked where the head said so."""
        size = len(data)
        # Never of a response without content: see `write_head`.
        if self._chunked_response:
            if last and exchange.response_state is DONE:
                end = b"\r\n0\r\n\r\n" if size else b"0\r\n\r\n"
            elif size:
                end = b"\r\n"
            else:
                return
            line = _CHUNK_LINES[size] if size < _SMALL_LENGTH else b"%x\r\n" % size
            if size < _LARGE:
                self._transport.write(b"".join((line, data, end)))
            else:
                write_pieces(self._transport, (line, data, end))
        elif size and not exchange.bodiless:
            self._transport.write(data)

    def write_trailers(self, exchange: Exchange, fields: Sequence[Field]) -> None:
        """End a chunked response with its trailers (RFC 9112 §7.1.2); anywhere else they are dropped (RFC 9110 §6.5.1)."""
        if not self._chunked_response or exchange.bodiless:
            return
        self._transport.write(_encode_trailers(fields if exchange.head.framing.trailers_wanted else []))

    def write_informational(self, exchange: Exchange, status: int, fields: Sequence[Field]) -> None:
        """Write a 1xx response; never to an HTTP/1.0 client (RFC 9110 §15.2)."""
        if exchange.head.minor_version:
            self._transport.write(_encode_informational(status, fields))

    def frame(self, size: int) -> tuple[bytes, bytes]:
        """What must stand before and behind ``size`` bytes that somebody else writes to the transport (sendfile)."""
        return (b"%x\r\n" % size, b"\r\n") if self._chunked_response else (b"", b"")

    def write(self, data: bytes) -> None:
        """Write bytes that `frame` returned."""
        if data:
            self._transport.write(data)


def _frame(exchange: Exchange, size: int, *, last: bool, closing: bool) -> tuple[int | None, bool, bool]:
    """How content is framed whose length the application does not say (RFC 9112 §6).

    Args:
        exchange: whose response it is.
        size: of what is there.
        last: whether that is all.
        closing: whether the connection is closed in any case.

    Returns:
        its length, None where it is not said; whether it is chunked; whether the connection is closed after it.
    """
    if last and (exchange.response_state is DONE or not exchange.head.framing.trailers_wanted):
        return (None if exchange.bodiless else size), False, closing
    if exchange.head.minor_version:
        return None, True, closing
    # RFC 9112 §6.1: no Transfer-Encoding to an HTTP/1.0 client; the end of the connection ends the content (§6.3 (8)).
    return None, False, True


def _encode_trailers(fields: Sequence[Field]) -> bytes:
    """The last chunk and the trailers (RFC 9112 §7.1, §7.1.2)."""
    return b"".join([*encode_field_lines(b"0\r\n", fields), b"\r\n"])


def _encode_informational(status: int, fields: Sequence[Field]) -> bytes:
    """A 1xx response (RFC 9110 §15.2)."""
    return b"".join([*encode_field_lines(STATUS_LINES[status], fields), b"\r\n"])


def encode_switch(exchange: Exchange, fields: Sequence[Field], owner: Owner) -> bytes:
    """The 101 that opens a WebSocket (RFC 9110 §7.8, RFC 6455 §4.2.2)."""
    # RFC 9110 §7.8: "the server MUST send a 100 (Continue) response before sending a 101".
    parts = [CONTINUE] if exchange.head.framing.expects_continue else []
    parts += encode_field_lines(STATUS_LINES[101] + b"upgrade: websocket\r\nconnection: upgrade\r\n", fields)
    parts += (owner.default_fields_without(frozenset(name for name, _ in fields)), b"\r\n")
    return b"".join(parts)


def encode_refusal(error: RemoteProtocolError, owner: Owner, *, content: bool = True) -> bytes:
    """The answer to a request that is refused at the door, without its content for HEAD; the connection is closed after it."""
    text = f"{error.status} {reason_phrase(error.status)}: {error}\n".encode()
    fields = b"".join(encode_field_lines(b"", error.fields))
    options = [b"upgrade"] if any(name == b"upgrade" for name, _ in error.fields) else []
    return b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b%b%b\r\n%b" % (
        STATUS_LINES[error.status],
        len(text),
        fields,
        owner.default_fields(owner.clock()),
        _connection_field(options, closing=True),
        text if content else b"",
    )


def _connection_field(options: Sequence[bytes], *, closing: bool) -> bytes:
    """The Connection field's line (RFC 9112 §9.3, §9.6)."""
    if not options:
        return b"connection: close\r\n" if closing else b"connection: keep-alive\r\n"
    return b"connection: " + b", ".join([*options, b"close"] if closing else options) + b"\r\n"
