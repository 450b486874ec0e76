"""Encoding responses of HTTP/1.1 (RFC 9112 §4, §6, §7).

The law of this module: an exchange in, bytes out. Every byte of a response head is made here, for both parsers, so that framing cannot differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgiserve.core.exchange import DONE
from asgiserve.http.status import STATUS_LINES, forbids_content, reason_phrase

if TYPE_CHECKING:
    from asgiserve.core.exchange import Exchange
    from asgiserve.core.transport import Owner
    from asgiserve.errors import RemoteProtocolError
    from asgiserve.http.fields import Field

__all__ = ["CONTINUE", "encode_head", "encode_informational", "encode_refusal", "encode_switch", "encode_trailers"]

CONTINUE: Final = STATUS_LINES[100] + b"\r\n"


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


def encode_trailers(fields: list[Field]) -> bytes:
    """The last chunk and the trailers (RFC 9112 §7.1, §7.1.2)."""
    parts = [b"0\r\n"]
    for name, value in fields:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def encode_informational(status: int, fields: list[Field]) -> bytes:
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


def encode_refusal(error: RemoteProtocolError, owner: Owner) -> bytes:
    """The answer to a request that is refused at the door; the connection is closed after it."""
    text = f"{error.status} {reason_phrase(error.status)}: {error}\n".encode()
    fields = b"".join(name + b": " + value + b"\r\n" for name, value in error.fields)
    options = [b"upgrade"] if any(name == b"upgrade" for name, _ in error.fields) else []
    return b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b%b%b\r\n%b" % (
        STATUS_LINES[error.status],
        len(text),
        fields,
        owner.default_fields(),
        _connection_field(options, closing=True),
        text,
    )


def _connection_field(options: list[bytes], *, closing: bool) -> bytes:
    """The Connection field's line (RFC 9112 §9.3, §9.6)."""
    if not options:
        return b"connection: close\r\n" if closing else b"connection: keep-alive\r\n"
    return b"connection: " + b", ".join([*options, b"close"] if closing else options) + b"\r\n"
