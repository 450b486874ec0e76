"""Encoding responses of HTTP/1.1 (RFC 9112 §4, §6, §7).

The law of this module: an exchange in, bytes out. Every byte of a response head is made here, for both parsers, so that framing cannot differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgiserve.core.exchange import DONE
from asgiserve.core.flow import WriteGate
from asgiserve.http.status import STATUS_LINES, forbids_content, reason_phrase

if TYPE_CHECKING:
    from asgiserve.core.exchange import Exchange
    from asgiserve.core.transport import Owner, Transport
    from asgiserve.errors import RemoteProtocolError
    from asgiserve.http.fields import Field

__all__ = ["CONTINUE", "ResponseWriter", "encode_head", "encode_refusal", "encode_switch"]

CONTINUE: Final = STATUS_LINES[100] + b"\r\n"


class ResponseWriter:
    """The part of a connection that writes content behind a response head, in the framing that the head announced."""

    __slots__ = ("_chunked_response", "_transport", "write_gate")

    def __init__(self) -> None:
        self._transport: Transport = None  # type: ignore[assignment]  # set by connection_made, before anything else is called
        self._chunked_response = False
        self.write_gate = WriteGate()

    def _write_head(self, exchange: Exchange, data: bytes, owner: Owner, *, last: bool, closing: bool) -> bool:
        """Write the head and the content that is there in one piece; whether the connection must be closed after the response."""
        parts, chunked, closing = encode_head(exchange, len(data), owner, last=last, closing=closing)
        self._chunked_response = chunked
        if data:
            parts += (b"%x\r\n" % len(data), data, b"\r\n") if chunked else (data,)
        if chunked and last and exchange.response_state is DONE:
            parts.append(b"0\r\n\r\n")
        self._transport.write(b"".join(parts))
        return closing

    def write_body(self, exchange: Exchange, data: bytes, *, last: bool) -> None:
        """Write more content, chunked where the head said so."""
        if exchange.bodiless:
            return
        if self._chunked_response:
            if data:
                end = b"\r\n0\r\n\r\n" if last and exchange.response_state is DONE else b"\r\n"
                self._transport.write(b"".join((b"%x\r\n" % len(data), data, end)))
            elif last and exchange.response_state is DONE:
                self._transport.write(b"0\r\n\r\n")
        elif data:
            self._transport.write(data)

    def write_trailers(self, exchange: Exchange, fields: list[Field]) -> None:
        """End a chunked response with its trailers (RFC 9112 §7.1.2); anywhere else they are dropped (RFC 9110 §6.5.1)."""
        if not self._chunked_response or exchange.bodiless:
            return
        self._transport.write(_encode_trailers(fields if exchange.head.trailers_wanted else []))

    def write_informational(self, exchange: Exchange, status: int, fields: list[Field]) -> None:
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


def encode_head(exchange: Exchange, size: int, owner: Owner, *, last: bool, closing: bool) -> tuple[list[bytes], bool, bool]:
    """The head of a response whose first ``size`` bytes of content are there, ``last``: all of them.

    Returns:
        its pieces, whether the content is chunked, and whether the connection must be closed after it.
    """
    status = exchange.status
    request = exchange.head
    parts = [STATUS_LINES[status]]
    for name, value in exchange.response_fields:
        parts += (name, b": ", value, b"\r\n")
    chunked = False
    length = exchange.content_length
    if length is None and not forbids_content(status):
        if last and (exchange.response_state is DONE or not request.trailers_wanted):
            if request.method != b"HEAD":
                length = size
        elif request.minor_version:
            # RFC 9112 §6.1. A HEAD response may say what GET would; it has no chunks (§6.3 (1)).
            parts.append(b"transfer-encoding: chunked\r\n")
            chunked = request.method != b"HEAD"
        else:
            # RFC 9112 §6.1: no Transfer-Encoding to an HTTP/1.0 client; the end of the connection ends the content (§6.3 (8)).
            closing = True
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    sent = exchange.sent_fields
    parts.append(owner.default_fields_without(sent) if b"date" in sent or b"server" in sent else owner.default_fields())
    if closing or exchange.connection_options or not request.minor_version:
        parts.append(_connection_field(exchange.connection_options, closing=closing))
    parts.append(b"\r\n")
    return parts, chunked, closing


def _encode_trailers(fields: list[Field]) -> bytes:
    """The last chunk and the trailers (RFC 9112 §7.1, §7.1.2)."""
    parts = [b"0\r\n"]
    for name, value in fields:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def _encode_informational(status: int, fields: list[Field]) -> bytes:
    """A 1xx response (RFC 9110 §15.2)."""
    parts = [STATUS_LINES[status]]
    for name, value in fields:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def encode_switch(exchange: Exchange, fields: list[Field], owner: Owner) -> bytes:
    """The 101 that opens a WebSocket (RFC 9110 §7.8, RFC 6455 §4.2.2)."""
    # RFC 9110 §7.8: "the server MUST send a 100 (Continue) response before sending a 101".
    parts = [CONTINUE] if exchange.head.expects_continue else []
    parts += (STATUS_LINES[101], b"upgrade: websocket\r\nconnection: upgrade\r\n")
    for name, value in fields:
        parts += (name, b": ", value, b"\r\n")
    parts += (owner.default_fields_without(frozenset(name for name, _ in fields)), b"\r\n")
    return b"".join(parts)


def encode_refusal(error: RemoteProtocolError, owner: Owner, *, content: bool = True) -> bytes:
    """The answer to a request that is refused at the door, without its content for HEAD; the connection is closed after it."""
    text = f"{error.status} {reason_phrase(error.status)}: {error}\n".encode()
    fields = b"".join(name + b": " + value + b"\r\n" for name, value in error.fields)
    options = [b"upgrade"] if any(name == b"upgrade" for name, _ in error.fields) else []
    return b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b%b%b\r\n%b" % (
        STATUS_LINES[error.status],
        len(text),
        fields,
        owner.default_fields(),
        _connection_field(options, closing=True),
        text if content else b"",
    )


def _connection_field(options: list[bytes], *, closing: bool) -> bytes:
    """The Connection field's line (RFC 9112 §9.3, §9.6)."""
    if not options:
        return b"connection: close\r\n" if closing else b"connection: keep-alive\r\n"
    return b"connection: " + b", ".join([*options, b"close"] if closing else options) + b"\r\n"
