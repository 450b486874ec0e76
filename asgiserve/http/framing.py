"""How long a request's body is (RFC 9112 §6).

The law of this module: one length, or none. A message that two readers could cut in two places is refused and its connection closed
(RFC 9112 §11.2, request smuggling).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asgiserve.errors import LocalProtocolError, RemoteProtocolError
from asgiserve.http.fields import list_elements

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHUNKED", "MAX_LENGTH", "content_length", "request_body_length", "response_content_length"]

CHUNKED: Final = -1
"""What `request_body_length` returns for a chunked body."""

# RFC 9110 §8.6: Content-Length = 1*DIGIT
_digits = re.compile(rb"[0-9]+").fullmatch
# The largest integer that every JSON reader, proxy and cache can hold; nobody sends more.
MAX_LENGTH = 2**53
_MAX_WIRE_LENGTH = 2**64


def content_length(values: Sequence[bytes]) -> int:
    """The number in the Content-Length lines ``values`` (at least one).

    Raises:
        RemoteProtocolError: 400 for anything but one number, 413 for one beyond 2**53.
    """
    # RFC 9112 §6.3 (5): several values, even equal ones, may be refused. They are: somebody before us disagreed with himself.
    if len(values) != 1 or _digits(values[0]) is None:
        raise RemoteProtocolError("Content-Length is not one number", clause="RFC 9112 §6.3")
    text = values[0].lstrip(b"0") or b"0"
    # Length before int(): the conversion is quadratic, and refuses more than 4300 digits.
    if len(text) > 20 or int(text) >= _MAX_WIRE_LENGTH:  # noqa: PLR2004 - the digits of 2**64
        raise RemoteProtocolError("Content-Length is beyond 2**64", clause="RFC 9110 §8.6")
    if int(text) > MAX_LENGTH:
        raise RemoteProtocolError("Content-Length is beyond 2**53", status=413, clause="RFC 9110 §8.6")
    return int(text)


def request_body_length(minor_version: int, transfer_encodings: Sequence[bytes], content_lengths: Sequence[bytes]) -> int:
    """The length of a request's body in bytes, or `CHUNKED`. 0 where neither field is there (RFC 9112 §6.3 (7)).

    Args:
        minor_version: of HTTP/1.x.
        transfer_encodings: the values of the Transfer-Encoding lines.
        content_lengths: the values of the Content-Length lines.

    Raises:
        RemoteProtocolError: 400 or 501; the connection must be closed after it.
    """
    if transfer_encodings:
        if minor_version == 0:
            # RFC 9112 §6.1: "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat
            # the message as if the framing is faulty".
            raise RemoteProtocolError("Transfer-Encoding in an HTTP/1.0 request", clause="RFC 9112 §6.1")
        if content_lengths:
            # RFC 9112 §6.3 (3): "might indicate an attempt to perform request smuggling ... and ought to be handled as an error".
            raise RemoteProtocolError("both Transfer-Encoding and Content-Length", clause="RFC 9112 §6.3")
        value = b",".join(transfer_encodings)
        codings = list_elements(value)
        if len(codings) != value.count(b",") + 1 or codings[-1] != b"chunked" or codings.count(b"chunked") != 1:
            # RFC 9112 §6.3 (4): chunked must be the final coding, and §6.1: applied once. Empty elements are lawful and useless, and were used to
            # smuggle (`, chunked`).
            raise RemoteProtocolError("Transfer-Encoding does not end in chunked, once", clause="RFC 9112 §6.3")
        if len(codings) > 1:
            # RFC 9112 §6.1: "A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501".
            raise RemoteProtocolError("a transfer coding other than chunked", status=501, clause="RFC 9112 §6.1")
        return CHUNKED
    if content_lengths:
        return content_length(content_lengths)
    return 0


def response_content_length(values: Sequence[bytes]) -> int:
    """The Content-Length that an application declared.

    Raises:
        LocalProtocolError: for several lines, or one that is no number.
    """
    if len(values) != 1:
        raise LocalProtocolError("content-length is given more than once (RFC 9110 §8.6)")
    if not values[0].isdigit() or len(values[0]) > 19:  # noqa: PLR2004 - the digits of 2**63
        raise LocalProtocolError(f"content-length {values[0]!r} is not a number (RFC 9110 §8.6)")
    return int(values[0])
