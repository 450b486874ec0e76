"""Response heads that come again: what is remembered of one changes no byte, lets nothing through, and does not grow."""

from __future__ import annotations

import http
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.core.response import REPEATED_HEADS, read_response_head
from asgiserve.errors import LocalProtocolError
from asgiserve.http.fields import REPEATED_FIELDS, REPEATED_LINES
from tests.support.exchanges import make_exchange
from tests.support.sansio import AVAILABLE, Call, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPE = (b"content-type", b"text/plain")
FIVE = (b"content-length", b"5")
TIMES = 4


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    """As in a process that has just begun."""
    REPEATED_HEADS.clear()
    REPEATED_FIELDS.clear()
    REPEATED_LINES.clear()


def respond(status: Any = 200, fields: Any = (TYPE, FIVE)) -> Any:
    exchange, _ = make_exchange()
    exchange.respond(status, fields)
    return exchange.response


def test_a_head_that_comes_again_is_not_read_again() -> None:
    heads = [respond(fields=[TYPE, FIVE]) for _ in range(TIMES)]
    # The first time its fields are not known yet.
    assert heads[1] is heads[2] is heads[3]
    assert heads[0].fields == heads[1].fields == [TYPE]
    assert [head.content_length for head in heads] == [5] * TIMES


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (201, (TYPE, FIVE)),
        (200, (TYPE, (b"content-length", b"6"))),
        (200, ((b"content-type", b"text/html"), FIVE)),
        (200, (FIVE, TYPE)[:1]),
        (200, (TYPE,)),
        (200, (TYPE, FIVE, (b"connection", b"close"))),
    ],
)
def test_another_head_is_another(status: int, fields: Any) -> None:
    known = [respond() for _ in range(TIMES)][-1]
    other = respond(status, fields)
    assert other is not known
    read = read_response_head(status, fields)
    for name in ("status", "content_length", "sent_fields", "closing", "connection_options"):
        assert getattr(other, name) == getattr(read, name)
    assert list(other.fields) == list(read.fields)


@pytest.mark.parametrize(
    "fields",
    [
        [list(TYPE), list(FIVE)],
        (TYPE, (b"content-length", b"1024")),
        (TYPE, (b"content-length", b"05")),
        (TYPE, FIVE, (b"set-cookie", b"secret=1")),
        (TYPE, FIVE, (b"x-request-id", b"1")),
        (TYPE, FIVE, (b"connection", b"close")),
        (TYPE, FIVE, (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")),
        (TYPE, (b"transfer-encoding", b"chunked")),
        ((b"Content-Length", b"5"),),
        (TYPE, (b"cache-control", b"x" * 513)),
    ],
)
def test_what_is_seldom_the_same_or_decides_something_is_not_remembered(fields: Any) -> None:
    for _ in range(TIMES):
        respond(fields=fields)
    assert not REPEATED_HEADS


def test_fields_from_a_generator_are_read_once_and_remembered_all_the_same() -> None:
    heads = [respond(fields=(field for field in (TYPE, FIVE))) for _ in range(TIMES)]
    assert heads[-1] is heads[-2]
    assert heads[-1].fields == [TYPE]


@pytest.mark.parametrize("status", [200.0, True, "200", None])
def test_a_status_that_only_equals_a_known_one_is_refused_as_ever(status: Any) -> None:
    for _ in range(TIMES):
        respond()
    with pytest.raises(LocalProtocolError, match="whole number"):
        respond(status)


def test_a_status_by_another_name_is_a_number_in_every_response() -> None:
    for _ in range(TIMES):
        assert type(respond(http.HTTPStatus.OK).status) is int


@pytest.mark.parametrize(
    "fields",
    [None, 5, [5], [(b"a",)], [("content-type", "text/plain")], [(b"a", b"b\r\nc: d")], [(b"a", memoryview(bytearray(b"b")))]],
)
def test_bad_fields_are_refused_every_time(fields: Any) -> None:
    for _ in range(TIMES):
        with pytest.raises(LocalProtocolError):
            respond(fields=fields)
    assert not REPEATED_HEADS


class Pair:
    """A field that an application may change, and that can be hashed all the same."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"content-length", self.value))


def test_a_field_that_can_say_something_else_the_next_time_is_not_remembered() -> None:
    pair = Pair(b"2")
    for _ in range(TIMES):
        assert respond(fields=(TYPE, pair)).content_length == 2
    pair.value = b"5"
    assert respond(fields=(TYPE, pair)).content_length == 5


def test_a_name_that_cannot_be_hashed_is_taken_as_ever() -> None:
    for _ in range(TIMES):
        assert respond(fields=(TYPE, (bytearray(b"content-length"), b"5"))).content_length == 5


def test_a_status_by_another_name_does_not_replace_what_is_encoded() -> None:
    known = [respond() for _ in range(TIMES)][-1]
    assert respond(http.HTTPStatus.OK) is known


def test_the_memory_of_heads_is_bounded() -> None:
    respond(fields=[TYPE])
    for status, length in itertools.product((200, 201, 202), range(1000)):
        respond(status, [TYPE, (b"content-length", b"%d" % length)])
        assert len(REPEATED_HEADS) <= 1024
    assert REPEATED_HEADS


PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
REQUESTS = (
    PLAIN,
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
)
FIELDS = (
    (TYPE, FIVE),
    (FIVE,),
    (TYPE,),
    (),
    (TYPE, (b"content-length", b"0")),
    (TYPE, FIVE, (b"vary", b"accept"), (b"vary", b"cookie")),
    (TYPE, FIVE, (b"x-a", b"1")),
    (TYPE, FIVE, (b"connection", b"close")),
    (TYPE, FIVE, (b"server", b"mine")),
)
BODIES = ((b"",), (b"hello",), (b"hel", b"lo"), (b"hello", b""), (b"", b"hello"), (b"hello!",), (b"x" * 40_000,))


def written(parser: str, request: bytes, status: int, fields: Any, pieces: Any) -> tuple[bytes, bool, bool]:
    """What one connection writes, and whether it ended."""

    def app(call: Call) -> Any:
        call.exchange.respond(status, fields)
        for piece in pieces[:-1]:
            yield from call.send(piece)
        call.exchange.body(pieces[-1])

    wire = Wire(app, parser)
    wire.feed(request)
    return wire.transport.written, wire.transport.ended, wire.transport.aborted


@pytest.mark.parametrize("parser", AVAILABLE)
@pytest.mark.parametrize("request_", REQUESTS)
def test_what_is_remembered_changes_no_byte(parser: str, request_: bytes) -> None:
    for status, fields, pieces in itertools.product((200, 204, 304, 503), FIELDS, BODIES):
        forget()
        first = written(parser, request_, status, fields, pieces)
        # The same head in answer to a request that asks for nothing special.
        written(parser, PLAIN, status, fields, (b"hello",))
        for _ in range(2):
            assert written(parser, request_, status, fields, pieces) == first


@pytest.mark.parametrize("parser", AVAILABLE)
def test_a_connection_that_drains_closes_behind_a_known_head(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(200, (TYPE, FIVE))
        call.exchange.body(b"hello")

    wire = Wire(app, parser)
    for _ in range(TIMES):
        wire.feed(PLAIN)
    assert b"connection" not in wire.transport.written
    wire.connection.begin_drain(2)
    wire.feed(PLAIN)
    assert wire.transport.written.count(b"connection: close\r\n") == 1
    assert wire.transport.ended
