"""Reading one complete request head of HTTP/1.x.

The law of this module: sizes first, then the request line, then the fields by way of the parser, then what they mean together.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from asgiserve.core.parsers import ParserFactory
from asgiserve.core.request import Framing, RequestHead
from asgiserve.core.websocket_handshake import check_handshake
from asgiserve.errors import RemoteProtocolError
from asgiserve.http.fields import list_elements, parse_field_lines
from asgiserve.http.framing import request_body_length
from asgiserve.http.lines import lone_line_break
from asgiserve.http.target import Target, begins_request_line, parse_request_line, parse_target, read_plain_line, valid_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgiserve.config import Limits
    from asgiserve.core.parsers import HeadCallbacks, KnownLine
    from asgiserve.http.fields import Field

__all__ = ["HeadBuffer", "HeadReader"]

# RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line"; cowboy takes 5.
_MAX_EMPTY_LINES: Final = 5

# What a head may have in common with the one before it on its connection, and which request lines are remembered for everybody: enough for the
# fields of a browser with its cookies and for the routes of an application, and little beside the memory of a process.
_MAX_SAME_BLOCK: Final = 4096
_MAX_KNOWN_LINE: Final = 256
_MAX_KNOWN_LINES: Final = 1024

# Most servers have a name or two, and most clients one way to say that they keep the connection.
_MAX_KNOWN_SPECIAL: Final = 4
_MAX_KNOWN_FRAMING: Final = 256
_MAX_KNOWN_FRAMINGS: Final = 1024
_REPEATED: Final = frozenset({b"host", b"connection", b"te"})

_FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"forwarded"})

_NO_FRAMING: Final = Framing()
_NO_REQUEST: Final = RequestHead(b"", Target(b"", "", b"", None), 1, [], _NO_FRAMING)

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


class HeadReader:
    """Call `read` with each head of a connection, and `forget` where the next one is not soon.

    Args:
        limits: sizes and numbers.
        parser: from `core.parsers.choose_parser`.
        websocket: whether an upgrade to WebSocket is taken.
    """

    __slots__ = (
        "_block",
        "_framings",
        "_limits",
        "_line",
        "_parser",
        "_request",
        "_request_lines",
        "_small_head",
        "_websocket",
    )

    def __init__(self, limits: Limits, parser: ParserFactory, *, websocket: bool) -> None:
        self._limits = limits
        # A head of this size breaks neither of its two limits.
        self._small_head = min(limits.max_request_line_bytes, limits.max_head_bytes)
        self._request_lines = parser.request_lines
        self._framings = parser.framings
        self._websocket = websocket
        self._parser = parser.fields
        # The last head: its request line, what stood behind that, and what both said.
        self._line = b""
        self._block = b""
        self._request = _NO_REQUEST

    def forget(self) -> None:
        """Let go of what the last head said: the next one is not soon, and a connection that waits should weigh little."""
        self._line = self._block = b""
        self._request = _NO_REQUEST

    def read(self, head: bytes) -> RequestHead:
        """The request that ``head`` is, from the request line to the empty line.

        Raises:
            RemoteProtocolError: it breaks a rule, or a limit; the connection must be closed after the answer.
        """
        if len(head) > self._small_head:
            self._check_size(head)
        request_line, _, block = head.partition(b"\r\n")
        if block == self._block:
            # What was read once says the same again: clients repeat their fields for as long as a connection lasts.
            if request_line == self._line:
                return self._request
            method, target, minor_version = self._request_lines.get(request_line) or self._read_request_line(head, request_line)
            before = self._request
            if minor_version == before.minor_version and target.authority is None:
                self._line = request_line
                self._request = request = RequestHead(method, target, minor_version, before.fields, before.framing)
                return request
        method, target, minor_version = line = self._request_lines.get(request_line) or self._read_request_line(head, request_line)
        fields = self._parser.parse(block)
        if len(fields) > self._limits.max_field_count:
            raise RemoteProtocolError(f"more than {self._limits.max_field_count} fields in the request head", status=431, clause="RFC 6585 §5")
        known: tuple[int | Field, ...] = (minor_version, *self._parser.special)
        framing = self._framings.get(known) if target.authority is None else None
        if framing is None:
            framing = self._read_framing(line, fields)
            self._remember_framing(known, framing, target)
        request = RequestHead(method, target, minor_version, fields, framing)
        # Whether an upgrade is taken depends on the method.
        if (
            len(block) <= _MAX_SAME_BLOCK
            and target.authority is None
            and not framing.expects_continue
            and all(name != b"upgrade" for name, _ in self._parser.special)
        ):
            self._block = block
            self._line = request_line
            self._request = request
        return request

    def _check_size(self, head: bytes) -> None:
        """Hold a head that is not small against its two limits."""
        if not 0 <= head.find(b"\r\n") <= self._limits.max_request_line_bytes:
            raise _line_too_long(self._limits, head)
        if len(head) > self._limits.max_head_bytes:
            raise _head_too_large(self._limits)

    def _read_request_line(self, head: bytes, request_line: bytes) -> KnownLine:
        """Read a request line that is not known, and remember it where it may well come again."""
        line = read_plain_line(request_line)
        if line is None:
            parsed = parse_request_line(head)
            line = parsed.method, parse_target(parsed.method, parsed.target), parsed.minor_version
        target = line[1]
        # A query is seldom the next one's, and may hold what should not be kept.
        if not target.query and target.authority is None and len(request_line) <= _MAX_KNOWN_LINE:
            if len(self._request_lines) >= _MAX_KNOWN_LINES:
                self._request_lines.clear()
            self._request_lines[request_line] = line
        return line

    def explain(self, head: bytes, error: RemoteProtocolError) -> RemoteProtocolError:
        """Why ``head`` is refused, of which `read` raised ``error``: the same for each parser, and however the head was cut.

        A parser has an order of its own in which it looks at things, and words of its own. In pieces, a head is refused as soon as it can be.
        """
        limits = self._limits
        partial = HeadBuffer(limits)
        partial.append(head[: min(len(head) - 1, limits.max_head_bytes + 1)])
        try:
            partial.check_partial()
            HeadReader(limits, ParserFactory("field lines", _FieldLines), websocket=self._websocket).read(head)
        except RemoteProtocolError as first:
            return first
        return error

    def _remember_framing(self, known: tuple[int | Field, ...], framing: Framing, target: Target) -> None:
        """Remember what minor version and fields mean, where they say the same in every request, whatever its method."""
        special = self._parser.special
        if target.authority is None and len(special) <= _MAX_KNOWN_SPECIAL and all(name in _REPEATED for name, _ in special):
            if sum(len(value) for _, value in special) > _MAX_KNOWN_FRAMING:
                return
            if len(self._framings) >= _MAX_KNOWN_FRAMINGS:
                self._framings.clear()
            self._framings[known] = framing

    def _read_framing(self, line: KnownLine, fields: list[Field]) -> Framing:
        """Read the fields that are the connection's business. An absolute target's authority is put into ``fields``."""
        method, _, minor_version = line
        special: dict[bytes, list[bytes]] = {}
        for name, value in self._parser.special:
            special.setdefault(name, []).append(value)
        _check_host(special.pop(b"host", ()), line, fields)
        if not special and minor_version:
            return _NO_FRAMING
        framing = Framing()
        options: frozenset[bytes] = frozenset().union(*map(_connection_options, special.get(b"connection", ())))
        # RFC 9112 §9.3
        framing.keep_alive = b"close" not in options and (minor_version > 0 or b"keep-alive" in options)
        codings, lengths = special.get(b"transfer-encoding", ()), special.get(b"content-length", ())
        if codings or lengths:
            framing.body_length = request_body_length(minor_version, codings, lengths)
        # RFC 9110 §10.1.1: in an HTTP/1.0 request the expectation MUST be ignored. After framing and Host, which llhttp looks at as well.
        if minor_version and b"expect" in special:
            if any(value.lower() != b"100-continue" for value in special[b"expect"]):
                raise RemoteProtocolError("the expectation is not 100-continue", status=417, clause="RFC 9110 §10.1.1")
            framing.expects_continue = True
        max_bytes = self._limits.max_body_bytes
        if max_bytes is not None and framing.body_length > max_bytes:
            raise RemoteProtocolError(f"the request body is larger than {max_bytes} bytes", status=413, clause="RFC 9110 §15.5.14")
        # RFC 9110 §10.1.4
        framing.trailers_wanted = any(b"trailers" in list_elements(value) for value in special.get(b"te", ()))
        framing.forwarded = not special.keys().isdisjoint(_FORWARDED)
        # RFC 9110 §7.8: Upgrade counts only with the connection option, and never in HTTP/1.0. One that is not taken is ignored.
        if minor_version and b"upgrade" in options and self._websocket and method == b"GET":
            upgrade = [element for value in special.get(b"upgrade", ()) for element in list_elements(value)]
            if upgrade and upgrade[0] == b"websocket":
                _take_upgrade(framing, fields)
        return framing


def _check_host(hosts: Sequence[bytes], line: KnownLine, fields: list[Field]) -> None:
    """Refuse a request whose Host is not one valid one. An absolute target's authority takes its place in ``fields``."""
    _, target, minor_version = line
    if len(hosts) > 1:
        raise RemoteProtocolError("more than one Host field", clause="RFC 9112 §3.2")
    # RFC 9112 §3.2: "A server MUST respond with a 400 status code to any HTTP/1.1 request message that lacks a Host header field".
    if not hosts and minor_version:
        raise RemoteProtocolError("the Host field is missing", clause="RFC 9112 §3.2")
    if hosts and not valid_host(hosts[0]):
        raise RemoteProtocolError("the Host field is invalid", clause="RFC 9112 §3.2")
    authority = target.authority
    if authority is not None:
        # RFC 9112 §3.2.2: the server MUST ignore Host and use the host of the request target.
        if hosts:
            fields[:] = [(name, authority if name == b"host" else value) for name, value in fields]
        else:
            fields.insert(0, (b"host", authority))


def _take_upgrade(framing: Framing, fields: list[Field]) -> None:
    """Take an upgrade to WebSocket, if it is well-formed."""
    if framing.body_length:
        # Content and frames behind one head: nobody could tell where one ends and the other begins.
        raise RemoteProtocolError("a WebSocket handshake with content", clause="RFC 6455 §4.1")
    check_handshake(fields)
    framing.upgrade = b"websocket"
    # Where the answer is not 101, what stands behind the handshake may be frames and must not be read as a request.
    framing.keep_alive = False
