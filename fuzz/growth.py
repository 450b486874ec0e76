"""Linear time: twice the input takes at most 2.3 times the operations, whatever is repeated in it.

The law of this module: operations are counted, not timed: each byte code of Python that runs, which is the same on every machine however busy. What C
does in one byte code (a search, a copy, a regular expression) does not show there; `measure_time` looks at that with inputs that are many
times larger, for a person and never for a test.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgiserve.asgi.proxy import TrustedProxies
from asgiserve.config import WebSocketConfig
from asgiserve.core.websocket_handshake import check_handshake, negotiate_extensions
from asgiserve.http.fields import list_elements, parse_field_lines
from asgiserve.http.target import parse_target
from fuzz import apps, corpus
from tests.support.operations import operations
from tests.support.sansio import AVAILABLE, GET, Wire, answer, echo
from tests.support.websocket import BINARY, CONT, PING, TEXT, close_frame, fragments, frame, handshake

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sansio import App, Call, Steps

__all__ = ["CASES", "MOST", "Case", "Growth", "Timing", "measure", "measure_time"]

MOST: Final = 2.3
"""What twice the input may take; the rest of the way from 2 is for what grows in steps."""

# Limits out of the way: what bounds the work in production must not hide how it grows.
_OPEN: Final[dict[str, Any]] = {
    "max_request_line_bytes": 1 << 30,
    "max_head_bytes": 1 << 30,
    "max_field_count": 1 << 30,
    "max_chunk_line_bytes": 1 << 30,
    "max_chunk_extension_bytes": 1 << 30,
    "max_keep_alive_count": None,
    "timeout_keep_alive_total": None,
}
_WEBSOCKET: Final = WebSocketConfig(ws_max_fragment_count=1 << 30, ws_max_size=1 << 30)
# How much a read of the event loop brings at most.
_READ: Final = 65536


@dataclass(frozen=True)
class Case:
    """Something that is repeated: ``prepare`` makes an input of so many, and returns what is measured.

    ``most``: so many are the most that the default limits let through, where a line is searched again from its beginning whenever more of it comes.
    The clock looks no further, and allows for that.
    """

    name: str
    prepare: Callable[[int], Callable[[], object]]
    count: int = 200
    most: int = 0


def _http(
    make: Callable[[int], bytes], app: App = echo, *, size: int = _READ, parser: str = "h11", requests: int = 1
) -> Callable[[int], Callable[[], object]]:
    """A connection that is fed what ``make`` makes, ``size`` bytes at a time, and must have served ``requests`` for each, or one."""

    def prepare(count: int) -> Callable[[], object]:
        data = make(count)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        wire = Wire(app, parser, **_OPEN)

        def measured() -> None:
            for piece in pieces:
                wire.feed(piece)
            assert len(wire.calls) == (1 if requests == 1 else count), (wire.owner.refusals, len(wire.calls))
            assert not wire.owner.refusals, wire.owner.refusals

        return measured

    return prepare


def _websocket(make: Callable[[int], bytes], *, size: int = _READ, offer: str = "", closed: bool = False) -> Callable[[int], Callable[[], object]]:
    """A WebSocket that is fed frames, with an application that takes them."""

    def prepare(count: int) -> Callable[[], object]:
        data = make(count)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]

        def app(call: Call) -> Steps:
            yield from apps.accept(call, [], _WEBSOCKET, says=lambda _: False)

        wire = Wire(app, "h11")
        wire.feed(handshake(*((f"Sec-WebSocket-Extensions: {offer}",) if offer else ())))

        def measured() -> None:
            for piece in pieces:
                wire.feed(piece)
            assert wire.transport.ended == closed

        return measured

    return prepare


def _head(line: bytes, end: bytes = b"\r\n") -> Callable[[int], bytes]:
    return lambda count: GET[:-2] + line * count + end


def _long(start: bytes, middle: bytes, end: bytes) -> Callable[[int], bytes]:
    return lambda count: start + middle * count + end


def _chunked(body: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda count: b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body(count)


def _streamed(call: Call) -> Steps:
    """As many small parts of a response as its path is long."""
    call.exchange.respond(200)
    for _ in call.exchange.head.target.raw_path:
        yield from call.send(b"x")
    yield from call.send(b"", more=False)


_proxies: Final = TrustedProxies(["10.0.0.0/8"])
_standard: Final = TrustedProxies(["10.0.0.0/8"], standard=True)
_PEER: Final = ("10.0.0.1", 1)
_KEYS: Final = [(name.lower(), value) for name, value in corpus.HANDSHAKE]

_BOTH: Final = [
    case
    for parser in AVAILABLE
    for case in (
        Case(f"{parser}: a field again and again", _http(_head(b"X-A: b\r\n"), parser=parser), 400),
        Case(f"{parser}: a head byte by byte", _http(_head(b"X-A: b\r\n"), parser=parser, size=1), 60),
        Case(f"{parser}: a long value byte by byte", _http(_long(GET[:-2] + b"X: ", b"v", b"\r\n\r\n"), parser=parser, size=1), 400),
        Case(f"{parser}: cookies", _http(_head(b"Cookie: a=b; c=d\r\n"), parser=parser), 400),
        Case(f"{parser}: requests in one read", _http(lambda count: GET * count, answer, parser=parser, requests=0), 100),
        Case(
            f"{parser}: requests with bodies in one read",
            _http(lambda count: (GET[:-2] + b"Content-Length: 1\r\n\r\nx") * count, parser=parser, requests=0),
            80,
        ),
        Case(f"{parser}: options of Connection", _http(_long(GET[:-2] + b"Connection: ", b"a, ", b"b\r\n\r\n"), parser=parser), 400),
        Case(f"{parser}: lines of Connection", _http(_head(b"Connection: keep-alive\r\n"), parser=parser), 400),
        Case(f"{parser}: a percent-encoded path", _http(_long(b"GET /", b"%41", b" HTTP/1.1\r\nHost: a\r\n\r\n"), parser=parser), 400),
    )
]
CASES: Final = [
    *_BOTH,
    Case("a request line byte by byte", _http(_long(b"GET /", b"a", b" HTTP/1.1\r\nHost: a\r\n\r\n"), size=1), 400, 8000),
    Case("1-byte chunks in one read", _http(_chunked(lambda count: b"1\r\nx\r\n" * count + b"0\r\n\r\n")), 400),
    Case("1-byte chunks byte by byte", _http(_chunked(lambda count: b"1\r\nx\r\n" * count + b"0\r\n\r\n"), size=1), 60),
    Case("1-byte chunks, each a read", _http(_chunked(lambda count: b"1\r\nx\r\n" * count + b"0\r\n\r\n"), size=6), 200),
    Case("a long chunk extension byte by byte", _http(_chunked(_long(b"5;a=", b"b", b"\r\nhello\r\n0\r\n\r\n")), size=1), 400, 4000),
    Case("extensions of one chunk", _http(_chunked(_long(b"5", b";a=b", b"\r\nhello\r\n0\r\n\r\n"))), 400, 1000),
    Case("trailers", _http(_chunked(_long(b"0\r\n", b"X-T: y\r\n", b"\r\n"))), 400),
    Case("trailers byte by byte", _http(_chunked(_long(b"0\r\n", b"X-T: y\r\n", b"\r\n")), size=1), 60),
    Case("a body byte by byte", _http(lambda count: GET[:-2] + b"Content-Length: %d\r\n\r\n" % count + b"x" * count, size=1), 200),
    Case("a response in small parts", _http(_long(b"GET /", b"a", b" HTTP/1.1\r\nHost: a\r\n\r\n"), _streamed), 400),
    Case("tiny WebSocket messages in one read", _websocket(lambda count: frame(TEXT, b"a") * count), 200),
    Case("tiny WebSocket messages byte by byte", _websocket(lambda count: frame(TEXT, b"a") * count, size=1), 60),
    Case("empty WebSocket messages", _websocket(lambda count: frame(BINARY) * count), 200),
    Case("WebSocket fragments", _websocket(lambda count: b"".join(fragments(TEXT, [b"a"] * count))), 200),
    Case("empty WebSocket fragments", _websocket(lambda count: frame(TEXT, b"a", fin=False) + frame(CONT, fin=False) * count), 200),
    Case("WebSocket pings", _websocket(lambda count: frame(PING, b"p") * count), 200),
    Case("frames behind a close", _websocket(lambda count: close_frame(1000) + frame(TEXT, b"a") * count, closed=True), 400),
    Case("compressed WebSocket messages", _websocket(lambda count: frame(TEXT, b"\x4a\x04\x00", rsv=4) * count, offer="permessage-deflate"), 100),
    Case(
        "hops of X-Forwarded-For",
        lambda count: lambda: _proxies.resolve([(b"x-forwarded-for", b"10.0.0.1, " * count + b"10.0.0.2")], _PEER, "http"),
        100,
    ),
    Case("lines of X-Forwarded-For", lambda count: lambda: _proxies.resolve([(b"x-forwarded-for", b"10.0.0.1")] * count, _PEER, "http"), 100),
    Case("hops of Forwarded", lambda count: lambda: _standard.resolve([(b"forwarded", b"for=10.0.0.1;proto=http, " * count)], _PEER, "http"), 100),
    Case("backslashes in Forwarded", lambda count: lambda: _standard.resolve([(b"forwarded", b'for="' + b"\\a" * count + b'"')], _PEER, "http"), 400),
    Case("elements of a list", lambda count: lambda: list_elements(b"a, " * count), 400),
    Case("field lines", lambda count: lambda: parse_field_lines(b"X-A: b\r\n" * count), 200),
    Case("offers of subprotocols", lambda count: lambda: check_handshake([*_KEYS, (b"sec-websocket-protocol", b"a, " * count)]), 200),
    Case(
        "offers of extensions",
        lambda count: lambda: negotiate_extensions([*_KEYS, (b"sec-websocket-extensions", b"x; a=b, " * count + b"x")], deflate=True),
        100,
    ),
    Case("a query", lambda count: lambda: parse_target(b"GET", b"/?" + b"a=b&" * count), 400),
    Case("an absolute target", lambda count: lambda: parse_target(b"GET", b"http://a/" + b"%41" * count), 400),
]


class Growth(NamedTuple):
    """Operations for an input and for one of twice the size."""

    once: int
    twice: int

    @property
    def ratio(self) -> float:
        """How much more the larger takes."""
        return self.twice / self.once

    @property
    def linear(self) -> bool:
        """Whether that is no more than it may be."""
        return self.ratio <= MOST


class Timing(NamedTuple):
    """Seconds of CPU time for an input and for one of ``factor`` times the size."""

    once: float
    many: float
    factor: int
    bounded: bool = False

    @property
    def ratio(self) -> float:
        """How much more a unit of the larger takes than one of the smaller: 1 where time is linear, ``factor`` where it is quadratic."""
        return self.many / self.once / self.factor

    @property
    def linear(self) -> bool:
        """Whether that is not plainly more than linear; the rest is for caches, noise and what a limit keeps small."""
        return self.ratio <= (self.factor / 2 if self.bounded else 4)


def measure(case: Case) -> Growth:
    """Count. A run before, of another size, does what is only done once."""
    case.prepare(case.count + 1)()
    return Growth(operations(case.prepare(case.count)), operations(case.prepare(case.count * 2)))


def _seconds(case: Case, count: int, times: int = 1) -> float:
    """For one input; the best of three runs of so many."""

    def once() -> float:
        prepared = [case.prepare(count) for _ in range(times)]
        began = time.process_time()
        for function in prepared:
            function()
        return (time.process_time() - began) / times

    return min(once() for _ in range(3))


def measure_time(case: Case, factor: int = 16) -> Timing:
    """Time, from a size that takes a millisecond, or up to the largest that limits let through."""
    if case.most:
        return Timing(_seconds(case, case.most // factor, 10), _seconds(case, case.most), factor, bounded=True)
    count = case.count
    while (once := _seconds(case, count)) < 0.001:
        count *= 4
    return Timing(once, _seconds(case, count * factor), factor)
