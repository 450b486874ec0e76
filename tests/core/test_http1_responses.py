"""Responses of HTTP/1.1 as they stand on the wire (RFC 9110 §6 to §15, RFC 9112 §4, §6, §7; ASGI www, Response Start and Body).

Every response is read back by the strict reader of `pytest_asgiserve.raw`, followed by another request wherever the connection is to stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.errors import ClientDisconnected, LocalProtocolError
from pytest_asgiserve.raw import Truncated
from tests.support.properties import examples
from tests.support.sansio import AVAILABLE, GET, PARSERS, Call, Wire, answer, echo, ignore, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_asgiserve.raw import RawResponse
    from tests.support.sansio import App, Steps

Field = tuple[bytes, bytes]


def responding(*pieces: bytes, status: int = 200, fields: tuple[Field, ...] = ()) -> App:
    """An application that sends ``pieces``, the last as the end."""

    def app(call: Call) -> Steps:
        call.exchange.respond(status, fields)
        for number, piece in enumerate(pieces, 1):
            yield from call.send(piece, more=number < len(pieces))

    return app


def served(app: App, parser: str, data: bytes = GET, **options: Any) -> tuple[Wire, RawResponse]:
    """The response to ``data``, which must be one request."""
    wire = Wire(app, parser, **options)
    wire.feed(data)
    (response,) = wire.responses
    return wire, response


def head_of(wire: Wire) -> bytes:
    return wire.transport.written.partition(b"\r\n\r\n")[0]


# ---- how a response is framed ----------------------------------------------------------------------------------------------------

CHUNK = (b"transfer-encoding", b"chunked")
FRAMINGS = [
    # method, version, status, the application's fields, its pieces; how it is framed, Content-Length, the content, whether the connection stays
    pytest.param("GET", "1.1", 200, (), (b"hello",), "length", b"5", b"hello", True, id="one-piece"),
    pytest.param("GET", "1.1", 200, (), (b"",), "length", b"0", b"", True, id="empty"),
    pytest.param("GET", "1.1", 200, (), (b"hel", b"lo"), "chunked", None, b"hello", True, id="two-pieces"),
    pytest.param("GET", "1.1", 200, (), (b"hello", b""), "chunked", None, b"hello", True, id="a-piece-and-an-empty-end"),
    pytest.param("GET", "1.1", 200, (), (b"", b"", b"x", b"", b""), "chunked", None, b"x", True, id="empty-pieces-make-no-last-chunk"),
    pytest.param("GET", "1.1", 200, (), (b"", b""), "chunked", None, b"", True, id="only-empty-pieces"),
    pytest.param("GET", "1.1", 200, ((b"content-length", b"5"),), (b"hello",), "length", b"5", b"hello", True, id="length-of-the-application"),
    pytest.param("GET", "1.1", 200, ((b"Content-Length", b"5"),), (b"hel", b"lo"), "length", b"5", b"hello", True, id="length-and-two-pieces"),
    pytest.param("GET", "1.1", 200, ((b"content-length", b"0"),), (b"",), "length", b"0", b"", True, id="length-0"),
    pytest.param("GET", "1.1", 200, (CHUNK,), (b"hello",), "length", b"5", b"hello", True, id="te-ignored"),
    pytest.param("GET", "1.1", 200, ((b"transfer-encoding", b"gzip"),), (b"a", b"b"), "chunked", None, b"ab", True, id="te-gzip-ignored"),
    pytest.param("GET", "1.1", 200, (CHUNK, (b"content-length", b"5")), (b"hel", b"lo"), "length", b"5", b"hello", True, id="te-and-length"),
    pytest.param("GET", "1.1", 404, (), (b"hello",), "length", b"5", b"hello", True, id="404"),
    pytest.param("GET", "1.1", 599, (), (b"hello",), "length", b"5", b"hello", True, id="599"),
    pytest.param("HEAD", "1.1", 200, (), (b"hello",), "none", b"5", b"", True, id="head-one-piece"),
    pytest.param("HEAD", "1.1", 200, (), (b"hel", b"lo"), "none", None, b"", True, id="head-two-pieces"),
    pytest.param("HEAD", "1.1", 200, ((b"content-length", b"9"),), (b"",), "none", b"9", b"", True, id="head-length-without-content"),
    pytest.param("HEAD", "1.1", 200, ((b"content-length", b"5"),), (b"hello",), "none", b"5", b"", True, id="head-length"),
    pytest.param("HEAD", "1.1", 200, ((b"content-length", b"5"),), (b"hel", b"lo"), "none", b"5", b"", True, id="head-length-two-pieces"),
    pytest.param("HEAD", "1.1", 204, (), (b"hello",), "none", None, b"", True, id="head-204"),
    pytest.param("GET", "1.1", 204, (), (b"",), "none", None, b"", True, id="204"),
    pytest.param("GET", "1.1", 204, ((b"content-length", b"5"),), (b"hello",), "none", None, b"", True, id="204-with-content"),
    pytest.param("GET", "1.1", 204, (), (b"hel", b"lo"), "none", None, b"", True, id="204-two-pieces"),
    pytest.param("GET", "1.1", 304, (), (b"hello",), "none", None, b"", True, id="304-with-content"),
    pytest.param("GET", "1.1", 304, ((b"content-length", b"5"),), (b"",), "none", b"5", b"", True, id="304-length-of-the-content-it-has-not"),
    pytest.param("GET", "1.1", 304, (CHUNK,), (b"a", b"b"), "none", None, b"", True, id="304-te-ignored"),
    pytest.param("GET", "1.1", 205, (), (b"hello",), "length", b"0", b"", True, id="205-with-content"),
    pytest.param("GET", "1.1", 205, ((b"content-length", b"5"),), (b"hel", b"lo"), "length", b"0", b"", True, id="205-length"),
    pytest.param("GET", "1.0", 200, (), (b"hello",), "length", b"5", b"hello", False, id="http10"),
    pytest.param("GET", "1.0", 200, (), (b"hel", b"lo"), "close", None, b"hello", False, id="http10-two-pieces-no-chunks"),
    pytest.param("GET", "1.0", 200, (CHUNK,), (b"hel", b"lo"), "close", None, b"hello", False, id="http10-te-ignored"),
    pytest.param("HEAD", "1.0", 200, (), (b"hello",), "none", b"5", b"", False, id="http10-head"),
    pytest.param("GET", "1.0 keep-alive", 200, (), (b"hello",), "length", b"5", b"hello", True, id="http10-keep-alive"),
    pytest.param("GET", "1.0 keep-alive", 200, (), (b"hel", b"lo"), "close", None, b"hello", False, id="http10-keep-alive-without-a-length"),
    pytest.param(
        "GET", "1.0 keep-alive", 200, ((b"content-length", b"5"),), (b"hel", b"lo"), "length", b"5", b"hello", True, id="http10-keep-alive-length"
    ),
    pytest.param("GET", "1.0 keep-alive", 204, (), (b"",), "none", None, b"", True, id="http10-keep-alive-204"),
    pytest.param("GET", "1.2", 200, (), (b"hel", b"lo"), "chunked", None, b"hello", True, id="http12"),
]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("eager", [False, True], ids=["task", "eager"])
@pytest.mark.parametrize(("method", "version", "status", "fields", "pieces", "framing", "length", "content", "stays"), FRAMINGS)
def test_a_response_is_framed_so_that_the_next_one_is_found(
    parser: str,
    eager: bool,
    method: str,
    version: str,
    status: int,
    fields: tuple[Field, ...],
    pieces: tuple[bytes, ...],
    framing: str,
    length: bytes | None,
    content: bytes,
    stays: bool,
) -> None:
    number, _, option = version.partition(" ")
    first = request("/", *([f"Connection: {option}"] if option else []), method=method, version=number)

    def app(call: Call) -> Steps | None:
        if len(call.wire.calls) == 1:
            return responding(*pieces, status=status, fields=fields)(call)
        call.respond(b"the next")
        return None

    wire = Wire(app, parser, eager=eager)
    wire.feed(first + GET)
    response, *rest = wire.responses
    assert response.version == b"HTTP/1.1"
    assert response.status == status
    assert response.framing == framing
    assert response.one(b"content-length") == length
    assert response.body == content
    assert [following.body for following in rest] == ([b"the next"] if stays else [])
    assert response.closes is not stays
    assert (wire.transport.closed or wire.transport.half_closed) is not stays


@pytest.mark.parametrize("parser", PARSERS)
def test_a_small_response_leaves_in_one_write(parser: str) -> None:
    for app in (answer, responding(b"ok"), responding(b"hello", fields=((b"content-length", b"5"),))):
        wire, _ = served(app, parser)
        assert len(wire.transport.writes) == 1


@pytest.mark.parametrize("parser", PARSERS)
def test_each_piece_leaves_when_it_is_sent(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    exchange = wire.owner.begun[0]
    exchange.respond(200)
    assert not wire.transport.writes
    exchange.body(b"a", more=True)
    assert wire.transport.written.endswith(b"\r\n\r\n1\r\na\r\n")
    exchange.body(b"bcd", more=True)
    assert wire.transport.writes[-1] == b"3\r\nbcd\r\n"
    exchange.body(b"e" * 300)
    assert wire.transport.writes[-1] == b"12c\r\n" + b"e" * 300 + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_leaves_while_the_application_waits(parser: str) -> None:
    # An event stream whose first event comes in a minute.
    wire = Wire(ignore, parser)
    wire.feed(GET)
    exchange = wire.owner.begun[0]
    exchange.respond(200, [(b"content-type", b"text/event-stream")])
    assert not wire.transport.writes
    wire.settle()
    assert head_of(wire).startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
    wire.advance(60)
    exchange.body(b"event", more=True)
    exchange.body(b"")
    (response,) = wire.responses
    assert response.body == b"event"
    assert not response.closes


@pytest.mark.parametrize("parser", PARSERS)
def test_a_held_head_of_one_request_is_not_flushed_into_the_next(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(200)
        call.exchange.body(b"ok")
        # `hold` asked for a flush at the end of the turn: by then the next exchange stands there.

    wire = Wire(app, parser, eager=True)
    wire.feed(GET + GET)
    assert wire.statuses == [200, 200]
    assert len(wire.transport.writes) == 2


# ---- fields ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
def test_fields_keep_their_order_and_their_doubles(parser: str) -> None:
    sent = ((b"X-2", b"a"), (b"set-cookie", b"a=b"), (b"x-1", b""), (b"Set-Cookie", b"c=d"), (b"x-3", b"\xe9"))
    _, response = served(responding(b"ok", fields=sent), parser)
    assert response.fields[:5] == [(name.lower(), value) for name, value in sent]
    assert [name for name, _ in response.fields[5:]] == [b"content-length", b"server", b"date"]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("own", [b"date", b"server", b"Date", b"Server"])
def test_date_and_server_of_the_application_stand_alone(parser: str, own: bytes) -> None:
    _, response = served(responding(b"ok", fields=((own, b"mine"),)), parser)
    assert response.one(own.lower()) == b"mine"
    assert response.one(b"date")
    assert response.one(b"server")


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("status", [200, 204, 304, 404, 500])
def test_every_final_response_has_a_date(parser: str, status: int) -> None:
    _, response = served(responding(b"", status=status), parser)
    assert response.one(b"date") == b"Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("options", "said", "kept"),
    [
        pytest.param((b"close",), b"close", False, id="close"),
        pytest.param((b"Close",), b"close", False, id="close-in-another-case"),
        pytest.param((b"keep-alive",), None, True, id="keep-alive-is-not-for-it-to-say"),
        pytest.param((b"x-hop",), b"x-hop", True, id="an-option-of-its-own"),
        pytest.param((b"x-hop, close",), b"x-hop, close", False, id="both"),
        pytest.param((b"x-hop", b"close"), b"x-hop, close", False, id="two-lines"),
        pytest.param((b"transfer-encoding",), None, True, id="framing-is-dropped"),
    ],
)
def test_the_connection_field_and_the_connection_agree(parser: str, options: tuple[bytes, ...], said: bytes | None, kept: bool) -> None:
    wire, response = served(responding(b"ok", fields=tuple((b"connection", option) for option in options)), parser)
    assert response.one(b"connection") == said
    assert wire.transport.closed is not kept


@pytest.mark.parametrize("parser", PARSERS)
def test_keep_alive_parameters_of_the_application_are_dropped(parser: str) -> None:
    _, response = served(responding(b"ok", fields=((b"keep-alive", b"timeout=5"),)), parser)
    assert response.one(b"keep-alive") is None


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("status", "line"), [(200, b"HTTP/1.1 200 OK"), (299, b"HTTP/1.1 299 "), (599, b"HTTP/1.1 599 "), (404, b"HTTP/1.1 404 Not Found")]
)
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_the_status_line_says_http11_and_has_its_second_space(parser: str, status: int, line: bytes, version: str) -> None:
    wire, _ = served(responding(b"ok", status=status), parser, request(version=version))
    assert wire.transport.written.partition(b"\r\n")[0] == line


# ---- what an application must not send -------------------------------------------------------------------------------------------

FAULTS = [
    *(
        pytest.param(200, [(b"x", b"a" + octets + b"b")], id=f"value-{name}")
        for name, octets in {
            "cr-lf": b"\r\n",
            "lf": b"\n",
            "cr": b"\r",
            "nul": b"\0",
            "esc": b"\x1b",
            "del": b"\x7f",
            "split": b"\r\n\r\nGET",
        }.items()
    ),
    *(
        pytest.param(200, [(name, b"a")], id=f"name-{label}")
        for label, name in {
            "empty": b"",
            "sp": b"x y",
            "colon": b"x:",
            "cr-lf": b"x\r\ny",
            "nul": b"x\0",
            "pseudo": b":status",
            "utf-8": b"\xc3\xa9",
        }.items()
    ),
    *(
        pytest.param(200, [(b"content-length", value)], id=f"length-{value.decode()}")
        for value in (b"-1", b"abc", b"", b"+5", b"0x5", b"5 5", b"5, 5", b"1_0")
    ),
    pytest.param(200, [(b"content-length", b"9" * 30)], id="length-30-digits"),
    pytest.param(200, [(b"content-length", b"2"), (b"content-length", b"2")], id="length-twice"),
    pytest.param(200, [(b"content-length", b"2"), (b"Content-Length", b"3")], id="length-twice-different"),
    *(pytest.param(status, [], id=f"status-{status!r}") for status in (99, 100, 101, 102, 103, 199, 600, 999, 1000, 0, -1, True, "200", 200.0, None)),
    pytest.param(200, [("x", b"a")], id="name-of-str"),
    pytest.param(200, [(b"x", "a")], id="value-of-str"),
    pytest.param(200, [(b"x", b"a", b"b")], id="three-of-a-pair"),
    pytest.param(200, None, id="no-fields"),
    pytest.param(200, [b"xy"], id="a-pair-of-integers"),
]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("status", "fields"), FAULTS)
def test_a_faulty_head_raises_and_never_reaches_the_wire(parser: str, status: Any, fields: Any) -> None:
    wire = Wire(lambda call: call.respond(b"ok", status, fields), parser)
    wire.feed(GET + GET)
    (response,) = wire.responses
    assert isinstance(wire.calls[0].error, LocalProtocolError)
    assert response.status == 500
    assert response.body == b"Internal Server Error\n"
    assert {name for name, _ in response.fields} == {b"content-type", b"content-length", b"server", b"date", b"connection"}
    assert response.closes
    assert len(wire.calls) == 1


@pytest.mark.parametrize("parser", PARSERS)
def test_after_a_faulty_head_a_right_one_is_taken(parser: str) -> None:
    def app(call: Call) -> None:
        with pytest.raises(LocalProtocolError):
            call.exchange.respond(99)
        with pytest.raises(LocalProtocolError):
            call.exchange.respond(200, [(b"content-length", b"7"), (b"content-length", b"8")])
        with pytest.raises(LocalProtocolError):
            call.exchange.respond(200, [(b"date", b"x"), (b"connection", b"close"), (b"x", b"\n")])
        call.respond(b"right", 201)

    wire, response = served(app, parser)
    assert (response.status, response.body, response.closes) == (201, b"right", False)
    assert response.one(b"date")
    assert wire.connection.phase == "idle"


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_that_was_held_leaves_nothing_to_the_500(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(
            200, [(b"date", b"mine"), (b"server", b"mine"), (b"connection", b"x-hop"), (b"content-length", b"3"), (b"x-secret", b"1")]
        )
        raise ZeroDivisionError

    _, response = served(app, parser)
    assert response.status == 500
    assert response.one(b"date") != b"mine"
    assert response.one(b"server") != b"mine"
    assert response.one(b"connection") == b"close"
    assert response.one(b"x-secret") is None


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_application_that_fails_or_returns_without_a_response_gives_500(parser: str, method: str) -> None:
    def fail(_: Call) -> None:
        raise ZeroDivisionError

    apps: list[Callable[[Call], None]] = [fail, lambda _: None]
    for app in apps:
        wire, response = served(app, parser, request(method=method))
        assert response.status == 500
        assert response.one(b"content-length") == b"22"
        assert response.body == (b"Internal Server Error\n" if method == "GET" else b"")
        assert response.closes
        assert wire.transport.closed
        assert wire.owner.begun[0].outcome == "error"


# ---- content that does not fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("pieces", [(b"0123456789",), (b"0123456789", b""), (b"01", b"23456789"), (b"0123", b"456789", b"x"), (b"0123", b"4")])
def test_content_beyond_its_length_never_reaches_the_wire(parser: str, pieces: tuple[bytes, ...]) -> None:
    wire, response = served(responding(*pieces, fields=((b"content-length", b"4"),)), parser, GET)
    assert response.body == b"0123"
    assert isinstance(wire.calls[0].error, LocalProtocolError)
    assert wire.transport.closed
    wire = Wire(responding(*pieces, fields=((b"content-length", b"4"),)), parser)
    wire.feed(GET + GET)
    assert len(wire.responses) == 1


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("pieces", [(b"0123",), (b"01", b"23"), (b"0123", b""), (b"",)])
def test_content_short_of_its_length_ends_the_connection(parser: str, pieces: tuple[bytes, ...]) -> None:
    wire = Wire(responding(*pieces, fields=((b"content-length", b"10"),)), parser)
    wire.feed(GET + GET)
    assert isinstance(wire.calls[0].error, LocalProtocolError)
    assert len(wire.calls) == 1
    with pytest.raises(Truncated) as caught:
        assert wire.responses
    assert caught.value.received == b"".join(pieces)
    wire.advance(5)
    assert wire.transport.closed
    assert wire.owner.begun[0].outcome == "short"


@pytest.mark.parametrize("parser", PARSERS)
def test_a_failure_inside_of_chunks_leaves_out_the_last_one(parser: str) -> None:
    def app(call: Call) -> Steps:
        call.exchange.respond(200)
        yield from call.send(b"half")
        raise ZeroDivisionError

    wire = Wire(app, parser)
    wire.feed(GET + GET)
    with pytest.raises(Truncated) as caught:
        assert wire.responses
    assert caught.value.received == b"half"
    assert b"500" not in wire.transport.written
    assert len(wire.calls) == 1
    wire.advance(5)
    assert wire.transport.closed


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("pieces", [(b"half",), (), (b"",)], ids=["some-content", "only-a-head", "an-empty-piece"])
@pytest.mark.parametrize("option", [[], ["Connection: keep-alive"]], ids=["close", "keep-alive"])
def test_a_failure_in_a_response_that_ends_with_the_connection_resets_it(parser: str, pieces: tuple[bytes, ...], option: list[str]) -> None:
    # An orderly end would make it look complete (RFC 9112 §8).
    def app(call: Call) -> Steps:
        call.exchange.respond(200)
        yield from call.body()
        for piece in pieces:
            yield from call.send(piece)
        call.exchange.flush()
        raise ZeroDivisionError

    wire = Wire(app, parser)
    wire.feed(request("/", *option, version="1.0"))
    assert b"transfer-encoding" not in wire.transport.written
    assert wire.owner.resets == 1
    assert wire.transport.aborted


@pytest.mark.parametrize("parser", PARSERS)
def test_a_failure_after_the_head_of_a_bodiless_response_is_no_reset(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(200, [(b"content-length", b"5")])
        call.exchange.flush()
        raise ZeroDivisionError

    wire = Wire(app, parser)
    wire.feed(request(method="HEAD"))
    assert wire.statuses == [200]
    assert wire.transport.closed
    assert not wire.owner.resets


@pytest.mark.parametrize("parser", PARSERS)
def test_what_comes_after_the_end_is_ignored(parser: str) -> None:
    def app(call: Call) -> None:
        call.respond(b"ok")
        call.exchange.body(b"more", more=True)
        call.exchange.body(b"more")
        call.exchange.trailers([(b"x", b"y")])

    wire = Wire(app, parser)
    wire.feed(GET + GET)
    assert [response.body for response in wire.responses] == [b"ok", b"ok"]


@pytest.mark.parametrize("parser", PARSERS)
def test_out_of_order_raises_and_writes_nothing(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    exchange = wire.owner.begun[0]
    with pytest.raises(LocalProtocolError):
        exchange.body(b"before the head")
    with pytest.raises(LocalProtocolError):
        exchange.trailers([])
    exchange.respond(200)
    with pytest.raises(LocalProtocolError):
        exchange.respond(200)
    exchange.body(b"a", more=True)
    with pytest.raises(LocalProtocolError):
        exchange.respond(200)
    with pytest.raises(LocalProtocolError):
        exchange.trailers([])
    exchange.body(b"b")
    assert [response.body for response in wire.responses] == [b"ab"]


@pytest.mark.parametrize("parser", PARSERS)
def test_sending_to_a_client_that_is_gone_raises_an_oserror(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    exchange = wire.owner.begun[0]
    exchange.respond(200)
    exchange.body(b"a", more=True)
    before = wire.transport.written
    wire.lose()
    with pytest.raises(ClientDisconnected):
        exchange.body(b"b", more=True)
    with pytest.raises(ClientDisconnected):
        exchange.respond(200)
    assert wire.transport.written == before
    assert issubclass(ClientDisconnected, OSError)


# ---- informational responses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
def test_early_hints_come_before_the_response(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.inform(103, [(b"link", b"</a>; rel=preload"), (b"link", b"</b>; rel=preload")])
        call.exchange.respond(200)
        call.exchange.inform(103, [(b"link", b"</c>")])
        call.exchange.body(b"ok")

    wire = Wire(app, parser)
    wire.feed(GET + GET)
    for response in wire.responses:
        assert [(hint.status, hint.all(b"link")) for hint in response.informational] == [
            (103, [b"</a>; rel=preload", b"</b>; rel=preload"]),
            (103, [b"</c>"]),
        ]
        assert response.body == b"ok"


@pytest.mark.parametrize("parser", PARSERS)
def test_http10_gets_no_informational_response(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.inform(103, [(b"link", b"</a>")])
        call.respond()

    wire, response = served(app, parser, request(version="1.0"))
    assert not response.informational
    assert wire.transport.written.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (200, []),
        (101, []),
        (199, []),
        (103, [(b"x", b"a\nb")]),
        (103, [(b"x y", b"a")]),
        (103, [(b"content-length", b"1")]),
        (103, [(b"transfer-encoding", b"x")]),
    ],
)
def test_a_faulty_informational_response_raises(parser: str, status: int, fields: list[Field]) -> None:
    def app(call: Call) -> None:
        with pytest.raises(LocalProtocolError):
            call.exchange.inform(status, fields)
        call.respond()

    _, response = served(app, parser)
    assert response.status == 200
    assert not response.informational


@pytest.mark.parametrize("parser", PARSERS)
def test_an_informational_response_after_the_head_raises(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(200)
        call.exchange.body(b"a", more=True)
        with pytest.raises(LocalProtocolError):
            call.exchange.inform(103)
        call.exchange.body(b"b")

    _, response = served(app, parser)
    assert response.body == b"ab"


# ---- trailers --------------------------------------------------------------------------------------------------------------------


def trailing(*pieces: bytes, fields: tuple[Field, ...] = ()) -> App:
    """An application with two trailers."""

    def app(call: Call) -> None:
        call.exchange.respond(200, fields, trailers=True)
        for number, piece in enumerate(pieces, 1):
            call.exchange.body(piece, more=number < len(pieces))
        call.exchange.trailers([(b"X-Sum", b"1")], more=True)
        call.exchange.trailers([(b"x-end", b"2")])

    return app


TE = request("/", "TE: trailers", "Connection: TE")


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("pieces", [(b"hello",), (b"hel", b"lo"), (b"hello", b"")])
def test_trailers_are_sent_to_whom_they_are_welcome(parser: str, pieces: tuple[bytes, ...]) -> None:
    wire = Wire(trailing(*pieces, fields=((b"trailer", b"x-sum, x-end"),)), parser)
    wire.feed(TE + TE)
    for response in wire.responses:
        assert response.framing == "chunked"
        assert response.body == b"hello"
        assert response.trailers == [(b"x-sum", b"1"), (b"x-end", b"2")]
        assert response.one(b"trailer") == b"x-sum, x-end"
    assert len(wire.responses) == 2


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("value", ["trailers", "gzip, Trailers", "deflate;q=0.5, trailers"])
def test_te_is_a_list(parser: str, value: str) -> None:
    _, response = served(trailing(b"ok"), parser, request("/", f"TE: {value}", "Connection: TE"))
    assert response.trailers


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("pieces", "data", "fields"),
    [
        pytest.param((b"hello",), GET, (), id="not-asked-for"),
        pytest.param((b"hel", b"lo"), GET, (), id="not-asked-for-two-pieces"),
        pytest.param((b"hello",), request("/", "TE: gzip"), (), id="something-else-asked-for"),
        pytest.param((b"hello",), TE, ((b"content-length", b"5"),), id="length"),
        pytest.param((b"hel", b"lo"), TE, ((b"content-length", b"5"),), id="length-two-pieces"),
        pytest.param((b"hello",), request("/", "TE: trailers", "Connection: keep-alive", version="1.0"), (), id="http10"),
    ],
)
def test_trailers_are_dropped_elsewhere_and_the_response_ends(parser: str, pieces: tuple[bytes, ...], data: bytes, fields: tuple[Field, ...]) -> None:
    wire, response = served(trailing(*pieces, fields=fields), parser, data)
    assert response.body == b"hello"
    assert not response.trailers
    assert wire.calls[0].error is None
    assert not wire.owner.begun[0].aborted


@pytest.mark.parametrize("parser", PARSERS)
def test_head_and_204_have_no_trailers(parser: str) -> None:
    wire = Wire(trailing(b"hello"), parser)
    wire.feed(request("/", "TE: trailers", method="HEAD") + TE)
    assert [response.trailers for response in wire.responses] == [[], [(b"x-sum", b"1"), (b"x-end", b"2")]]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding", b"host", b"connection", b"x y"])
def test_a_forbidden_trailer_raises(parser: str, name: bytes) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(200, trailers=True)
        call.exchange.body(b"ok")
        with pytest.raises(LocalProtocolError):
            call.exchange.trailers([(name, b"1")])
        call.exchange.trailers([(b"x", b"1")])

    _, response = served(app, parser, TE)
    assert response.trailers == [(b"x", b"1")]


@pytest.mark.parametrize("parser", PARSERS)
def test_trailers_that_never_come_cut_the_response(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(200, trailers=True)
        call.exchange.body(b"ok")

    wire = Wire(app, parser)
    wire.feed(TE + GET)
    with pytest.raises(Truncated):
        assert wire.responses
    assert len(wire.calls) == 1


# ---- flow control ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
def test_a_stream_stops_while_its_peer_takes_nothing(parser: str) -> None:
    wire = Wire(responding(*[b"x" * 10_000] * 1000), parser)
    wire.stall()
    wire.feed(GET)
    assert 65_536 < wire.transport.buffer_size < 80_000
    assert not wire.calls[0].finished
    for _ in range(9):
        wire.take(wire.transport.buffer_size)
        assert 65_536 < wire.transport.buffer_size < 80_000
    wire.take()
    assert wire.calls[0].finished
    assert len(wire.responses[0].body) == 10_000_000


@pytest.mark.parametrize("parser", PARSERS)
def test_whoever_waits_for_a_peer_that_goes_is_told(parser: str) -> None:
    wire = Wire(responding(*[b"x" * 100_000] * 3), parser)
    wire.stall()
    wire.feed(GET)
    assert not wire.calls[0].finished
    wire.lose(ConnectionResetError())
    assert isinstance(wire.calls[0].error, ClientDisconnected)
    assert wire.owner.over == wire.owner.begun


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("eager", [False, True], ids=["task", "eager"])
def test_pipelined_answers_that_nobody_takes_are_not_made(parser: str, eager: bool) -> None:
    wire = Wire(responding(b"x" * 100_000), parser, eager=eager, max_body_buffer_bytes=2000)
    wire.stall()
    for _ in range(10):
        wire.feed(GET * 10)
    assert len(wire.calls) == 1
    assert wire.transport.paused
    for number in range(2, 11):
        wire.take(wire.transport.buffer_size)
        assert len(wire.calls) == number
    wire.take()
    assert len(wire.calls) == 100
    assert wire.connection.phase == "idle"


@pytest.mark.parametrize("parser", PARSERS)
def test_a_request_alone_waits_as_well_for_the_answer_before_it_to_be_taken(parser: str) -> None:
    wire = Wire(responding(b"x" * 100_000), parser)
    wire.stall()
    wire.feed(GET)
    wire.feed(GET)
    assert len(wire.calls) == 1
    wire.feed_eof()
    wire.take()
    assert len(wire.responses) == 2
    assert wire.transport.closed


@pytest.mark.parametrize("parser", PARSERS)
def test_frame_says_what_stands_around_bytes_that_somebody_else_writes(parser: str) -> None:
    def app(call: Call) -> None:
        call.exchange.respond(200, [(b"content-length", b"10")] if call.exchange.head.target.path == "/length" else [])
        call.exchange.flush()
        size = call.exchange.reserve(10)
        before, behind = call.exchange.sink.frame(size)
        call.exchange.sink.write(before)
        call.wire.transport.write(b"0123456789")
        call.exchange.sink.write(behind)
        call.exchange.body(b"")

    wire = Wire(app, parser)
    wire.feed(request("/length") + request("/chunked"))
    assert [(response.framing, response.body) for response in wire.responses] == [("length", b"0123456789"), ("chunked", b"0123456789")]


# ---- any responses at all --------------------------------------------------------------------------------------------------------

_responses = st.tuples(
    st.sampled_from([200, 201, 204, 205, 304, 404, 500]),
    st.sampled_from([None, 0, 3, 6]),
    st.lists(st.binary(max_size=6), min_size=1, max_size=3),
    st.booleans(),
)
_requests = st.tuples(st.sampled_from(["GET", "HEAD", "POST", "FROB"]), st.sampled_from(["1.1", "1.0", "1.0k"]), st.booleans(), st.booleans())


@examples(250)
@given(st.lists(st.tuples(_requests, _responses), min_size=1, max_size=5), st.integers(1, 200))
def test_no_mistake_of_an_application_makes_one_response_look_like_another(
    plan: list[tuple[tuple[str, str, bool, bool], tuple[int, int | None, list[bytes], bool]]], cut: int
) -> None:
    def app(call: Call) -> Steps:
        status, length, pieces, trailers = plan[len(call.wire.calls) - 1][1]
        own = [(b"x-number", b"%d" % len(call.wire.calls))] + ([(b"content-length", b"%d" % length)] if length is not None else [])
        call.exchange.respond(status, own, trailers=trailers)
        for number, piece in enumerate(pieces, 1):
            yield from call.send(piece, more=number < len(pieces))
        if trailers:
            call.exchange.trailers([(b"x-t", b"1")])

    data = b""
    for (method, version, te, body), _ in plan:
        fields = ["Connection: keep-alive"] if version == "1.0k" else []
        fields += ["TE: trailers"] if te else []
        fields += ["Content-Length: 3"] if body else []
        data += request("/", *fields, method=method, version=version[:3], body=b"abc" if body else b"")
    found = []
    for parser in AVAILABLE:
        for eager in (False, True):
            wire = Wire(app, parser, eager=eager)
            wire.feed(data, cut)
            complete = True
            try:
                responses = wire.responses
            except Truncated:
                # Then nothing may stand behind it.
                complete = False
                assert wire.owner.begun[-1].aborted
            else:
                for number, response in enumerate(responses):
                    status, length, pieces, _ = plan[number][1]
                    assert response.status == status
                    assert response.one(b"x-number") == b"%d" % (number + 1)
                    whole = b"".join(pieces)
                    bodiless = plan[number][0][0] == "HEAD" or status in {204, 205, 304}
                    assert response.body == (b"" if bodiless else whole if length is None else whole[:length])
            assert not any(isinstance(call.error, ZeroDivisionError) for call in wire.calls)
            wire.feed_eof()
            wire.advance(60)
            assert wire.owner.closes == 1
            assert wire.owner.over == wire.owner.begun
            found.append((complete, wire.transport.written))
    assert all(other == found[0] for other in found)


def test_echo_is_the_same_for_every_parser() -> None:
    written = []
    for parser in AVAILABLE:
        wire = Wire(echo, parser)
        wire.feed(request("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"))
        written.append(wire.transport.written)
    assert all(other == written[0] for other in written)
