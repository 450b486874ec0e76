"""Reading one complete request head of HTTP/1.x.

The law of this module: sizes first, then the request line, then the fields by way of the parser, then what they mean together. A `HeadReader` is the
object that the parser calls back (a forwarding layer between them was measured at 34 % of a request), and the only place that knows which parser
it is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from asgiserve.core.exchange import RequestHead
from asgiserve.core.parsers import ParserFactory
from asgiserve.core.websocket import check_handshake
from asgiserve.errors import RemoteProtocolError
from asgiserve.http.fields import list_elements, parse_field_lines
from asgiserve.http.framing import request_body_length
from asgiserve.http.lines import lone_line_break, strip_line_whitespace
from asgiserve.http.target import begins_request_line, parse_request_line, parse_target, valid_host

if TYPE_CHECKING:
    from asgiserve.config import Limits
    from asgiserve.core.parsers import HeadCallbacks, HeadParser
    from asgiserve.http.fields import Field

__all__ = ["HeadBuffer", "HeadReader"]

# RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line"; cowboy takes 5.
_MAX_EMPTY_LINES: Final = 5

# The fields that are the connection's business, or a trusted proxy's.
_SPECIAL: Final = frozenset(
    b"host content-length transfer-encoding connection proxy-connection expect upgrade te x-forwarded-for x-forwarded-proto forwarded".split()
)

# Clients send the same two or three values for ever: 0.06 us for a known one, 0.9 us for a new one.
_connection_options = functools.lru_cache(maxsize=256)(lambda value: frozenset(list_elements(value)))


def _line_too_long(limits: Limits, data: bytes | bytearray) -> RemoteProtocolError:
    """414, 501 where the method alone is too long (RFC 9112 §3), or 400 where ``data`` begins no request line."""
    most = limits.max_request_line_bytes
    line = bytes(data[:most])
    if begins_request_line(line) is None:
        return RemoteProtocolError("the request line is malformed", clause="RFC 9112 §3")
    if b" " not in line:
        return RemoteProtocolError(f"the method is longer than {most} bytes", status=501, clause="RFC 9112 §3")
    return RemoteProtocolError(f"the request line is longer than {most} bytes", status=414, clause="RFC 9112 §3")


def _head_too_large(limits: Limits) -> RemoteProtocolError:
    """431 (RFC 6585 §5)."""
    return RemoteProtocolError(f"the request head is larger than {limits.max_head_bytes} bytes", status=431, clause="RFC 6585 §5")


class HeadBuffer:
    """Bytes between messages: `append` what comes, `take` the next head as soon as it is complete.

    What cannot become a head any more is refused without waiting for its end, so that it makes no difference how the bytes were cut.
    """

    __slots__ = ("_limits", "_searched", "data", "empty_lines")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.data = bytearray()
        self._searched = 0
        self.empty_lines = 0

    def append(self, data: bytes) -> None:
        """``data`` came."""
        self.data += data

    def clear(self) -> None:
        """Nothing of it is wanted."""
        self.data.clear()
        self._searched = 0

    def take_all(self) -> bytes:
        """Everything, for somebody who reads no heads."""
        data = bytes(self.data)
        self.clear()
        return data

    def take(self) -> bytes:
        """The next head, out of the buffer; empty where it is incomplete.

        Raises:
            RemoteProtocolError: 400 for what is no head, 414 and 431 for one that is too large already.
        """
        data = self.data
        while data.startswith(b"\r\n"):
            self.empty_lines += 1
            if self.empty_lines > _MAX_EMPTY_LINES:
                raise RemoteProtocolError("too many empty lines before the request line", clause="RFC 9112 §2.2")
            del data[:2]
            self._searched = 0
        if data == b"\r":
            return b""
        end = data.find(b"\r\n\r\n", max(self._searched - 3, 0))
        if end < 0:
            self.check_partial()
            self._searched = len(data)
            return b""
        head = bytes(data[: end + 4])
        del data[: end + 4]
        self._searched = 0
        self.empty_lines = 0
        return head

    def check_partial(self) -> None:
        """Refuse what cannot become a head any more."""
        data = self.data
        limits = self._limits
        line_end = data.find(b"\r\n", 0, limits.max_request_line_bytes + 2)
        if line_end < 0 and len(data) > limits.max_request_line_bytes + 1:
            raise _line_too_long(limits, data)
        # While the line grows, and once when it is complete.
        if (line_end < 0 or line_end >= self._searched - 1) and begins_request_line(data if line_end < 0 else data[: line_end + 1]) is None:
            raise RemoteProtocolError("the request line is malformed", clause="RFC 9112 §3")
        # What stands behind the limit changes nothing: had it come later, it would not have been looked at.
        if lone_line_break(data, self._searched, limits.max_head_bytes + 1):
            raise RemoteProtocolError("the request head has a bare CR or LF", clause="RFC 9112 §2.2")
        if len(data) > limits.max_head_bytes:
            raise _head_too_large(limits)


class _FieldLines:
    """Our own grammar as a parser of heads: too slow for each request, and the one to ask why a request is refused."""

    __slots__ = ("_callbacks",)

    def __init__(self, callbacks: HeadCallbacks) -> None:
        self._callbacks = callbacks

    def feed_data(self, data: bytes, /) -> None:
        for name, value in parse_field_lines(data[data.index(b"\r\n") + 2 : -2]):
            self._callbacks.on_header(name, value)
        self._callbacks.on_headers_complete()


_FIELD_LINES: Final = ParserFactory("field lines", _FieldLines, None)


class HeadReader:
    """Call `read` with each head of a connection, and `close` at its end.

    Args:
        limits: sizes and numbers.
        parser: from `core.parsers.choose_parser`.
        websocket: whether an upgrade to WebSocket is taken.
    """

    __slots__ = (
        "_complete",
        "_expectation_failed",
        "_fields",
        "_limits",
        "_make_parser",
        "_methods",
        "_parser",
        "_small_head",
        "_special",
        "_websocket",
    )

    def __init__(self, limits: Limits, parser: ParserFactory, *, websocket: bool) -> None:
        self._limits = limits
        # A head of this size breaks neither of its two limits.
        self._small_head = min(limits.max_request_line_bytes, limits.max_head_bytes)
        self._make_parser = parser.make
        self._methods = parser.methods
        self._websocket = websocket
        self._parser: HeadParser | None = None
        self._fields: list[Field] = []
        self._special: list[Field] = []
        self._expectation_failed = False
        self._complete = False

    def close(self) -> None:
        """No more heads: the parser, which knows its reader, is let go."""
        self._parser = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser read a field."""
        name = name.lower()
        self._fields.append((name, value))
        if name in _SPECIAL:
            self._special.append((name, value))

    def on_headers_complete(self) -> None:
        """The parser read the whole head."""
        self._complete = True

    def read(self, head: bytes) -> RequestHead:
        """The request that ``head`` is, from the request line to the empty line.

        Raises:
            RemoteProtocolError: it breaks a rule, or a limit; the connection must be closed after the answer.
        """
        limits = self._limits
        if len(head) > self._small_head:
            if not 0 <= head.find(b"\r\n") <= limits.max_request_line_bytes:
                raise _line_too_long(limits, head)
            if len(head) > limits.max_head_bytes:
                raise _head_too_large(limits)
        line = parse_request_line(head)
        target = parse_target(line.method, line.target)
        fields = self._parse_fields(head, line.method, line.minor_version, line.end)
        if len(fields) > limits.max_field_count:
            raise RemoteProtocolError(f"more than {limits.max_field_count} fields in the request head", status=431, clause="RFC 6585 §5")
        request = RequestHead(line.method, target, line.minor_version, fields)
        self._read_special(request)
        if self._expectation_failed:
            # After framing and Host, which llhttp looks at as well: where several things are wrong both parsers give the same answer.
            raise RemoteProtocolError("the expectation is not 100-continue", status=417, clause="RFC 9110 §10.1.1")
        if limits.max_body_bytes is not None and request.body_length > limits.max_body_bytes:
            raise RemoteProtocolError(f"the request body is larger than {limits.max_body_bytes} bytes", status=413, clause="RFC 9110 §15.5.14")
        if request.upgrade:
            self._check_upgrade(request)
        if request.body_length:
            # Only a message without a body leaves httptools ready for the next head.
            self._parser = None
        return request

    def explain(self, head: bytes, error: RemoteProtocolError) -> RemoteProtocolError:
        """Why ``head`` is refused, of which `read` raised ``error``: the same for each parser, and however the head was cut.

        A parser has an order of its own in which it looks at things, and words of its own. In pieces, a head is refused as soon as it can be.
        """
        limits = self._limits
        partial = HeadBuffer(limits)
        partial.append(head[: min(len(head) - 1, limits.max_head_bytes + 1)])
        try:
            partial.check_partial()
            HeadReader(limits, _FIELD_LINES, websocket=self._websocket).read(head)
        except RemoteProtocolError as first:
            return first
        return error

    def _parse_fields(self, head: bytes, method: bytes, minor_version: int, line_end: int) -> list[Field]:
        """The head's fields by way of the parser."""
        if b" \r\n" in head or b"\t\r\n" in head:
            head = strip_line_whitespace(head)
        if minor_version > 1 or (self._methods is not None and method not in self._methods):
            # llhttp knows a fixed list of methods and no HTTP/1.2; both were read and checked before, so that it is told something it knows.
            head = b"GET / HTTP/1.1\r\n" + head[line_end:]
        fields: list[Field] = []
        self._fields = fields
        self._special = []
        self._expectation_failed = False
        self._complete = False
        parser = self._parser
        if parser is None:
            parser = self._parser = self._make_parser(self)
        try:
            parser.feed_data(head)
        except RemoteProtocolError:
            self._parser = None
            raise
        except Exception:  # noqa: BLE001 - each parser has its own; all of them mean the same
            self._parser = None
            # After the head is complete httptools raises to hand an upgrade over; that is decided here.
            if not self._complete:
                raise RemoteProtocolError("the request head is malformed", clause="RFC 9112 §5") from None
        if not self._complete:
            self._parser = None
            raise RemoteProtocolError("the request head is malformed", clause="RFC 9112 §5")
        return fields

    def _read_special(self, request: RequestHead) -> None:
        """Read the fields that are the connection's business."""
        host: bytes | None = None
        lengths: list[bytes] = []
        codings: list[bytes] = []
        options: frozenset[bytes] = frozenset()
        upgrade: list[bytes] = []
        minor_version = request.minor_version
        for name, value in self._special:
            if name == b"host":
                if host is not None:
                    raise RemoteProtocolError("more than one Host field", clause="RFC 9112 §3.2")
                host = value
            elif name == b"connection":
                options |= _connection_options(value)
            elif name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
            elif name == b"upgrade":
                upgrade += list_elements(value)
            elif name == b"expect":
                self._read_expectation(request, value)
            elif name == b"te":
                # RFC 9110 §10.1.4
                request.trailers_wanted = request.trailers_wanted or b"trailers" in list_elements(value)
            else:
                self._read_proxy(request, name)
        if host is None:
            # RFC 9112 §3.2: "A server MUST respond with a 400 status code to any HTTP/1.1 request message that lacks a Host header field".
            if minor_version:
                raise RemoteProtocolError("the Host field is missing", clause="RFC 9112 §3.2")
        elif not valid_host(host):
            raise RemoteProtocolError("the Host field is invalid", clause="RFC 9112 §3.2")
        authority = request.target.authority
        if authority is not None:
            # RFC 9112 §3.2.2: the server MUST ignore Host and use the host of the request target.
            if host is None:
                request.fields.insert(0, (b"host", authority))
            else:
                request.fields[:] = [(name, authority if name == b"host" else value) for name, value in request.fields]
        # RFC 9112 §9.3
        request.keep_alive = b"close" not in options and (minor_version > 0 or b"keep-alive" in options)
        # RFC 9110 §7.8: Upgrade counts only with the connection option, and never in HTTP/1.0.
        if upgrade and minor_version and b"upgrade" in options:
            request.upgrade = upgrade[0]
        request.body_length = request_body_length(minor_version, codings, lengths)

    def _read_proxy(self, request: RequestHead, name: bytes) -> None:
        if name == b"proxy-connection":
            # No field of HTTP, but llhttp obeys its `close` and would refuse the next head: that gets a parser of its own.
            self._parser = None
        else:
            request.forwarded = True

    def _read_expectation(self, request: RequestHead, value: bytes) -> None:
        # RFC 9110 §10.1.1: in an HTTP/1.0 request the expectation MUST be ignored.
        if request.minor_version == 0:
            return
        if value.lower() != b"100-continue":
            self._expectation_failed = True
        request.expects_continue = True

    def _check_upgrade(self, request: RequestHead) -> None:
        """Keep the upgrades that are taken; any other is ignored (RFC 9110 §7.8)."""
        if request.upgrade != b"websocket" or not self._websocket or request.method != b"GET":
            request.upgrade = b""
            return
        if request.body_length:
            # Content and frames behind one head: nobody could tell where one ends and the other begins.
            raise RemoteProtocolError("a WebSocket handshake with content", clause="RFC 6455 §4.1")
        check_handshake(request.fields)
        # Where the answer is not 101, what stands behind the handshake may be frames and must not be read as a request.
        request.keep_alive = False
