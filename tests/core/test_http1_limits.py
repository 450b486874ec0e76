"""Every size and number that is an option: on by default, counted before the parser, changed by its option (security.md's table of limits).

A limit is inclusive: what has just that size is served. And it makes no difference in how many pieces the bytes come.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from asgiserve.config import Limits
from tests.support.sansio import CUTS, GET, PARSERS, Call, Wire, answer, echo, ignore, request

pytestmark = pytest.mark.parametrize("parser", PARSERS)


class Limit(NamedTuple):
    """``data(n)`` has size ``n`` in terms of the option; one more gets ``status``."""

    name: str
    option: str
    default: int
    other: int
    status: int
    data: Any
    begins: bool = False


def request_line(size: int) -> bytes:
    return b"GET /" + b"a" * (size - len("GET / HTTP/1.1")) + b" HTTP/1.1\r\nHost: a\r\n\r\n"


def head(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


def head_of_many_fields(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    line = b"X: " + b"a" * (size // 50) + b"\r\n"
    count = (size - len(start) - 100) // len(line)
    rest = size - len(start) - count * len(line) - 2
    return start + line * count + b"Y: " + b"b" * (rest - 5) + b"\r\n\r\n"


def field_count(size: int) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (size - 1) + b"\r\n"


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk_line(size: int) -> bytes:
    return CHUNKED + b"1;" + b"a" * (size - 2) + b"\r\nx\r\n0\r\n\r\n"


def chunk_extensions(size: int) -> bytes:
    each = b"1;" + b"a" * 99 + b"\r\nx\r\n"  # 100 bytes of extension
    rest = size % 100
    return CHUNKED + each * (size // 100) + (b"1;" + b"a" * (rest - 1) + b"\r\nx\r\n" if rest else b"") + b"0\r\n\r\n"


def last_chunk_line(size: int) -> bytes:
    return CHUNKED + b"0;" + b"a" * (size - 2) + b"\r\n\r\n"


def trailers(size: int) -> bytes:
    return CHUNKED + b"0\r\nX: " + b"a" * (size - 5) + b"\r\n\r\n"


def trailer_count(size: int) -> bytes:
    return CHUNKED + b"0\r\n" + b"X: y\r\n" * size + b"\r\n"


def length_body(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def chunked_body(size: int) -> bytes:
    return CHUNKED + b"7\r\n0123456\r\n" * (size // 7) + (b"%x\r\n%b\r\n" % (size % 7, b"x" * (size % 7)) if size % 7 else b"") + b"0\r\n\r\n"


LIMITS = [
    Limit("request-line", "max_request_line_bytes", 8190, 100, 414, request_line),
    Limit("head", "max_head_bytes", 65536, 300, 431, head),
    Limit("head-of-many-fields", "max_head_bytes", 65536, 4000, 431, head_of_many_fields),
    Limit("field-count", "max_field_count", 100, 3, 431, field_count),
    Limit("chunk-line", "max_chunk_line_bytes", 4096, 20, 400, chunk_line, begins=True),
    Limit("last-chunk-line", "max_chunk_line_bytes", 4096, 20, 400, last_chunk_line, begins=True),
    Limit("chunk-extensions", "max_chunk_extension_bytes", 16384, 250, 400, chunk_extensions, begins=True),
    Limit("trailers", "max_head_bytes", 65536, 300, 431, trailers, begins=True),
    Limit("trailer-count", "max_field_count", 100, 3, 431, trailer_count, begins=True),
]
BODIES = [
    Limit("length", "max_body_bytes", 0, 1000, 413, length_body),
    Limit("chunked", "max_body_bytes", 0, 1000, 413, chunked_body, begins=True),
]


def fed(wire: Wire, data: bytes, cut: int | None) -> Wire:
    wire.feed(data, 97 if cut and len(data) > 20_000 else cut)
    return wire


def refused(limit: Limit, wire: Wire) -> None:
    (response,) = wire.responses
    assert response.status == limit.status
    assert response.closes
    assert wire.transport.half_closed
    assert [seen.ending for seen in wire.seen] == ["aborted"] * len(wire.seen)
    assert len(wire.seen) <= limit.begins
    assert wire.owner.refusals[0][1] == limit.status
    assert re.search(r"\d", wire.owner.refusals[0][0]), "the log says how much is allowed"
    wire.advance(5)
    assert wire.transport.closed


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("limit", [pytest.param(limit, id=limit.name) for limit in LIMITS])
def test_a_limit_is_on_by_default(parser: str, limit: Limit, cut: int | None) -> None:
    assert getattr(Limits(), limit.option) == limit.default
    wire = fed(Wire(echo, parser), limit.data(limit.default) + GET, cut)
    assert wire.statuses == [200, 200]
    refused(limit, fed(Wire(echo, parser), limit.data(limit.default + 1) + GET, cut))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("limit", [pytest.param(limit, id=limit.name) for limit in [*LIMITS, *BODIES]])
def test_a_limit_is_changed_by_its_option(parser: str, limit: Limit, cut: int | None) -> None:
    options: dict[str, Any] = {limit.option: limit.other}
    wire = fed(Wire(echo, parser, **options), limit.data(limit.other) + GET, cut)
    assert wire.statuses == [200, 200]
    refused(limit, fed(Wire(echo, parser, **options), limit.data(limit.other + 1) + GET, cut))
    more: dict[str, Any] = {limit.option: limit.other * 2}
    assert fed(Wire(echo, parser, **more), limit.data(limit.other * 2), cut).statuses == [200]


# Of each limit: bytes that are too many already although nothing of them is complete.
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("start", "filler", "limit"),
    [
        # RFC 9112 §3: a method longer than any that is implemented is 501, a target that is too long 414.
        pytest.param(b"", b"A", LIMITS[0]._replace(status=501), id="method"),
        pytest.param(b"GET /", b"a", LIMITS[0], id="target"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a", LIMITS[1], id="value"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", b"X", LIMITS[1], id="name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n", LIMITS[1], id="fields"),
        pytest.param(CHUNKED + b"5;", b"a", LIMITS[4], id="chunk-extension"),
        pytest.param(CHUNKED + b"0\r\nX: ", b"a", LIMITS[7], id="trailer"),
        pytest.param(CHUNKED + b"0\r\n", b"X: y\r\n", LIMITS[7], id="trailers"),
        pytest.param(CHUNKED, b"1;" + b"a" * 99 + b"\r\nx\r\n", LIMITS[6], id="chunk-extensions"),
    ],
)
def test_a_limit_is_counted_before_the_end_is_there(parser: str, start: bytes, filler: bytes, limit: Limit, cut: int | None) -> None:
    wire = Wire(echo, parser)
    data = start + filler * (limit.default * 5 // 4 // len(filler))
    fed(wire, data, cut)
    refused(limit, wire)


@pytest.mark.parametrize("size", [1 << 20, 8 << 20])
def test_what_is_too_large_is_neither_kept_nor_read(parser: str, size: int) -> None:
    wire = Wire(answer, parser)
    taken = 0
    while not wire.transport.paused and taken < size:
        wire.feed(b"GET /" + b"a" * 65_531 if not taken else b"a" * 65_536)
        taken += 65_536
    # The line's limit, then what is read to let the client see the answer.
    assert taken <= 65_536 + Limits().max_drain_bytes + 65_536
    assert wire.statuses == [414]


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(parser: str) -> None:
    wire = Wire(echo, parser, max_body_bytes=10)
    wire.feed(request("/", "Content-Length: 11", "Expect: 100-continue", method="POST"))
    assert wire.statuses == [413]
    assert not wire.responses[0].informational
    assert not wire.calls


def test_a_body_is_not_limited_by_default(parser: str) -> None:
    assert Limits().max_body_bytes is None

    def count(call: Call) -> Any:
        while (yield from call.receive()):
            call.pieces.clear()
        call.respond(b"done")

    wire = Wire(count, parser)
    wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
    block = b"x" * (1 << 20)
    for _ in range(64):
        wire.feed(block)
    assert wire.responses[0].body == b"done"


def test_no_body_at_all_may_be_allowed(parser: str) -> None:
    wire = Wire(echo, parser, max_body_bytes=0)
    wire.feed(GET + request("/", "Content-Length: 0", method="POST") + request("/", "Transfer-Encoding: chunked", method="POST", body=b"0\r\n\r\n"))
    assert wire.statuses == [200, 200, 200]
    wire.feed(request("/", "Content-Length: 1", method="POST", body=b"x"))
    assert wire.statuses == [200, 200, 200, 413]


def test_an_application_that_has_answered_is_not_answered_for(parser: str) -> None:
    # The response has begun when the body turns out to be too large: nothing but the end of the connection can tell.
    def app(call: Call) -> Any:
        call.exchange.respond(200)
        yield from call.send(b"begun")
        yield from call.body()
        yield from call.send(b"never", more=False)

    wire = Wire(app, parser, max_body_bytes=10)
    wire.feed(request("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n"))
    wire.feed(b"6\r\nworld!\r\n")
    assert wire.transport.written.endswith(b"5\r\nbegun\r\n")
    assert wire.transport.half_closed
    assert wire.owner.refusals[0][1] == 413
    assert wire.seen[0].ending == "aborted"
    assert wire.owner.over == wire.owner.begun


# ---- the number of requests ------------------------------------------------------------------------------------------------------


def test_a_thousand_requests_and_the_connection_is_closed(parser: str) -> None:
    assert Limits().max_keep_alive_count == 1000
    wire = Wire(parser=parser)
    wire.feed(GET * 1001)
    responses = wire.responses
    assert len(responses) == 1000
    assert [response.closes for response in responses] == [False] * 999 + [True]
    assert wire.transport.half_closed


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_number_of_requests_is_changed_by_its_option(parser: str, count: int) -> None:
    wire = Wire(parser=parser, max_keep_alive_count=count)
    for _ in range(count):
        assert not wire.transport.ended
        wire.feed(GET)
    assert [response.closes for response in wire.responses] == [False] * (count - 1) + [True]
    assert wire.transport.closed


def test_the_number_of_requests_may_be_without_limit(parser: str) -> None:
    wire = Wire(parser=parser, max_keep_alive_count=None)
    for _ in range(3):
        wire.feed(GET * 1000)
    assert len(wire.calls) == 3000
    assert not wire.transport.ended


# ---- what is held and what is drained --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [1, 1000, 65536])
def test_the_mark_where_reading_pauses_is_an_option(parser: str, mark: int) -> None:
    assert Limits().max_body_buffer_bytes == 65536
    wire = Wire(ignore, parser, max_body_buffer_bytes=mark)
    wire.feed(request("/", "Content-Length: 1000000", method="POST"))
    wire.feed(b"x" * (mark - 1))
    assert not wire.transport.paused
    wire.feed(b"x")
    assert wire.transport.paused
    assert wire.owner.begun[0].take_body() == b"x" * mark
    assert not wire.transport.paused


@pytest.mark.parametrize(("options", "limit"), [({}, 262_144), ({"max_drain_bytes": 1000}, 1000), ({"max_drain_bytes": 0}, 0)])
@pytest.mark.parametrize("cut", [None, 7000])
def test_an_unread_body_is_drained_up_to_the_limit(parser: str, options: dict[str, Any], limit: int, cut: int | None) -> None:
    assert Limits().max_drain_bytes == 262_144
    if limit:
        wire = Wire(answer, parser, **options)
        wire.feed(request("/", f"Content-Length: {limit}", method="POST"))
        assert not wire.responses[0].closes
        wire.feed(b"x" * limit + GET, cut)
        assert wire.statuses == [200, 200]
        assert not wire.transport.ended
    wire = Wire(answer, parser, **options)
    wire.feed(request("/", f"Content-Length: {limit + 1}", method="POST"))
    (response,) = wire.responses
    assert response.closes
    assert wire.transport.half_closed
    wire.feed(b"x" * (limit + 1) + GET)
    assert len(wire.calls) == 1
    # No more is read; closing at once would reset the connection under the answer.
    assert wire.transport.paused
    wire.advance(wire.timeouts.timeout_linger)
    assert wire.transport.closed


def test_what_stands_behind_a_drained_body_does_not_count(parser: str) -> None:
    for cut in (None, 1):
        wire = Wire(answer, parser, max_drain_bytes=10)
        wire.feed(request("/", "Content-Length: 10", method="POST"))
        wire.feed(b"x" * 10 + GET + GET, cut)
        assert wire.statuses == [200, 200, 200]
        assert not wire.transport.ended


@pytest.mark.parametrize("size", [100, 100_000])
def test_an_unread_chunked_body_is_drained_until_it_is_too_much(parser: str, size: int) -> None:
    wire = Wire(answer, parser, max_drain_bytes=10_000)
    wire.feed(CHUNKED)
    assert not wire.responses[0].closes
    wire.feed(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size) + GET, 1000)
    if size < 10_000:
        assert wire.statuses == [200, 200]
        assert not wire.transport.ended
    else:
        assert wire.statuses == [200]
        assert wire.transport.half_closed
        wire.advance(5)
        assert wire.transport.closed


def test_the_body_that_was_read_before_the_answer_is_not_drained(parser: str) -> None:
    def half(call: Call) -> Any:
        yield from call.receive()
        call.respond()

    wire = Wire(half, parser, max_drain_bytes=1000)
    wire.feed(request("/", "Content-Length: 5000", method="POST"))
    wire.feed(b"x" * 4000)
    assert not wire.responses[0].closes
    wire.feed(b"x" * 1000 + GET)
    assert wire.statuses == [200, 200]


@pytest.mark.parametrize("limit", [0, 1000, 262_144])
def test_what_comes_while_a_connection_closes_is_read_up_to_the_limit(parser: str, limit: int) -> None:
    wire = Wire(parser=parser, max_drain_bytes=limit)
    wire.feed(b"BAD\r\n\r\n")
    assert wire.transport.half_closed
    assert wire.connection.phase == "linger"
    wire.feed(b"x" * limit)
    assert not wire.transport.closed
    wire.feed(b"x")
    # Nothing more is read, and the answer is not destroyed by a reset: the client has the linger timeout to see it.
    assert wire.transport.paused
    assert not wire.transport.closed
    wire.advance(wire.timeouts.timeout_linger)
    assert wire.transport.closed
