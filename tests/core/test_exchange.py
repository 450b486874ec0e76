"""One exchange on a sink that remembers: its two tables, and every rule of a response."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.core.exchange import (
    ABORTED,
    BODY,
    DONE,
    ENDED,
    HELD,
    OPEN,
    REQUEST_TABLE,
    RESPONSE_TABLE,
    TRAILERS,
    TUNNEL,
    WAITING,
    Exchange,
)
from asgiserve.core.flow import ReadGate
from asgiserve.errors import ClientDisconnected, LocalProtocolError
from tests.support.exchanges import RecordingSink, make_exchange
from tests.support.properties import examples

if TYPE_CHECKING:
    from collections.abc import Callable

Fields = list[tuple[bytes, bytes]]
STREAM: Any = object()  # an exchange only hands it on


def send(exchange: Exchange, pieces: list[bytes], *, last_says_more: bool = False) -> None:
    """The content of a response, piece by piece."""
    for number, piece in enumerate(pieces):
        exchange.body(piece, more=last_says_more or number < len(pieces) - 1)


# ---- the tables

# How each input is given. "body before trailers" is the last body of a response that announced trailers.
REQUEST_INPUTS: dict[str, Callable[[Exchange], object]] = {
    "data": lambda exchange: exchange.feed_body(b"x"),
    "end": lambda exchange: exchange.end_request(),
    "abort": lambda exchange: exchange.abort(),
}
RESPONSE_INPUTS: dict[str, Callable[[Exchange], object]] = {
    "respond": lambda exchange: exchange.respond(200, [(b"a", b"b")]),
    "inform": lambda exchange: exchange.inform(103, [(b"link", b"x")]),
    "tunnel": lambda exchange: exchange.tunnel(STREAM, []),
    "flush": lambda exchange: exchange.flush(),
    "body": lambda exchange: exchange.body(b"x", more=True),
    "last body": lambda exchange: exchange.body(b"x"),
    "body before trailers": lambda exchange: exchange.body(b"x"),
    "trailers": lambda exchange: exchange.trailers([(b"a", b"b")], more=True),
    "last trailers": lambda exchange: exchange.trailers([(b"a", b"b")]),
    "tunnel closed": lambda exchange: exchange.tunnel_closed(),
    "abort": lambda exchange: exchange.abort(),
}
BODIES = {"body", "last body", "body before trailers"}

# What is no move and no mistake either, as the methods say.
IGNORED = {
    # ASGI: "any further messages on the channel will be ignored".
    *((DONE, name) for name in (*BODIES, "trailers", "last trailers")),
    *((TRAILERS, name) for name in BODIES),
    *((state, "flush") for state in RESPONSE_TABLE if state != HELD),
    *((state, "tunnel closed") for state in RESPONSE_TABLE if state != TUNNEL),
}


def in_request_state(state: str) -> tuple[Exchange, RecordingSink]:
    exchange, sink = make_exchange(b"POST", body_length=100)
    exchange.feed_body(b"first")
    if state == ENDED:
        exchange.end_request()
    elif state == ABORTED:
        exchange.abort()
    assert exchange.request_state == state
    return exchange, sink


def in_response_state(state: str, *, trailers: bool) -> tuple[Exchange, RecordingSink]:
    """An exchange that came into ``state`` by calls alone."""
    exchange, sink = make_exchange(trailers_wanted=True)
    if state == TUNNEL:
        exchange.tunnel(STREAM, [])
    elif state == ABORTED:
        exchange.respond(200, [(b"content-length", b"5")], trailers=trailers)
        exchange.body(b"x", more=True)
        exchange.abort()
    elif state != WAITING:
        exchange.respond(200, trailers=trailers or state == TRAILERS)
        if state == BODY:
            exchange.body(b"x", more=True)
        elif state in {TRAILERS, DONE}:
            exchange.body(b"x")
            if state == DONE and exchange.expect_trailers:
                exchange.trailers([])
    assert exchange.response_state == state
    return exchange, sink


def everything(exchange: Exchange, sink: RecordingSink) -> dict[str, Any]:
    """All that an exchange and its sink know, to be compared."""
    known: dict[str, Any] = {}
    for name in Exchange.__slots__:
        value = getattr(exchange, name)
        if isinstance(value, ReadGate):
            value = (value.high_mark, value.size, value.shut)
        known[name] = value if name in {"sink", "head", "response", "stream"} else copy.copy(value)
    known["calls"] = list(sink.calls)
    return known


def test_every_state_that_can_be_reached_is_in_the_tables() -> None:
    for table in (REQUEST_TABLE, RESPONSE_TABLE):
        assert {state for moves in table.values() for state in moves.values()} <= set(table)
    assert set(REQUEST_INPUTS) == {name for moves in REQUEST_TABLE.values() for name in moves}
    assert set(RESPONSE_INPUTS) == {name for moves in RESPONSE_TABLE.values() for name in moves}


def test_every_state_can_be_reached_and_left_for_an_end() -> None:
    for table, first, ends in ((REQUEST_TABLE, OPEN, {ENDED, ABORTED}), (RESPONSE_TABLE, WAITING, {DONE, ABORTED})):
        reached = {first}
        while more := {state for known in reached for state in table[known].values()} - reached:
            reached |= more
        assert reached == set(table)
        for state in table:
            assert ends & {state, *table[state].values()} or any(ends & set(table[following].values()) for following in table[state].values())


@pytest.mark.parametrize("name", list(REQUEST_INPUTS))
@pytest.mark.parametrize("state", list(REQUEST_TABLE))
def test_every_input_of_the_request_side_moves_it_or_is_a_bug(state: str, name: str) -> None:
    exchange, sink = in_request_state(state)
    before = everything(exchange, sink)
    following = REQUEST_TABLE[state].get(name)
    if following is not None:
        REQUEST_INPUTS[name](exchange)
        assert exchange.request_state == following
        return
    with pytest.raises(RuntimeError, match="not possible when the request is"):
        REQUEST_INPUTS[name](exchange)
    assert everything(exchange, sink) == before


@pytest.mark.parametrize("name", list(RESPONSE_INPUTS))
@pytest.mark.parametrize("state", list(RESPONSE_TABLE))
def test_every_input_of_the_response_side_moves_it_or_changes_nothing(state: str, name: str) -> None:
    exchange, sink = in_response_state(state, trailers=name == "body before trailers")
    before = everything(exchange, sink)
    following = RESPONSE_TABLE[state].get(name)
    if following is not None:
        RESPONSE_INPUTS[name](exchange)
        assert exchange.response_state == following
        return
    if (state, name) in IGNORED:
        RESPONSE_INPUTS[name](exchange)
    else:
        with pytest.raises(ClientDisconnected if state == ABORTED else LocalProtocolError):
            RESPONSE_INPUTS[name](exchange)
    assert everything(exchange, sink) == before


class Model:
    """The response side as the table has it, with what a sink may be asked for."""

    def __init__(self) -> None:
        self.state = WAITING
        self.trailers = False

    def step(self, name: str) -> Literal["moves", "ignored", "refused", "gone"]:
        if name == "last body" and self.trailers:
            name = "body before trailers"
        following = RESPONSE_TABLE[self.state].get(name)
        if following is not None:
            self.state = following
            return "moves"
        if (self.state, name) in IGNORED:
            return "ignored"
        return "gone" if self.state == ABORTED else "refused"


walks = st.lists(
    st.sampled_from([*(name for name in RESPONSE_INPUTS if name != "body before trailers"), "respond with trailers", "respond", "body", "flush"]),
    max_size=12,
)


@examples(600)
@given(walks)
def test_any_walk_keeps_to_the_table_and_to_the_order_on_the_wire(names: list[str]) -> None:
    exchange, sink = make_exchange(trailers_wanted=True)
    exchange.end_request()
    model = Model()
    for name in names:
        if name == "respond with trailers":
            call: Callable[[Exchange], object] = lambda exchange: exchange.respond(200, trailers=True)  # noqa: E731
            outcome = model.step("respond")
            model.trailers = model.trailers or outcome == "moves"
        else:
            call = RESPONSE_INPUTS[name]
            outcome = model.step(name)
        if outcome in {"moves", "ignored"}:
            call(exchange)
        else:
            with pytest.raises(ClientDisconnected if outcome == "gone" else LocalProtocolError):
                call(exchange)
        assert exchange.response_state == model.state
    wire = [call[0] for call in sink.calls if call[0] != "hold"]
    # One head at the most, what is informational before it, content behind it, then the trailers, then the end, and nothing behind that.
    order = {"write_informational": 0, "write_head": 1, "open_tunnel": 1, "write_body": 2, "write_trailers": 3, "response_ended": 4}
    assert [order[name] for name in wire] == sorted(order[name] for name in wire)
    for once in ("write_head", "open_tunnel", "write_trailers", "response_ended"):
        assert wire.count(once) <= 1
    assert ("response_ended" in wire) == (model.state == DONE)
    assert exchange.sent_bytes == len(sink.content)


# ---- the request side


def test_the_body_is_taken_as_it_came_and_only_once() -> None:
    exchange, sink = make_exchange(b"POST")
    assert not exchange.readable
    exchange.feed_body(b"he")
    exchange.feed_body(b"llo")
    assert (exchange.readable, exchange.body_pending, exchange.request_ended) == (True, True, False)
    assert exchange.take_body() == b"hello"
    assert (exchange.readable, exchange.body_pending) == (False, False)
    assert exchange.take_body() == b""
    exchange.end_request()
    assert (exchange.readable, exchange.body_pending, exchange.request_ended) == (True, False, True)
    assert sink.calls == []


def test_a_piece_that_came_alone_is_not_copied() -> None:
    exchange, _ = make_exchange(b"POST")
    piece = bytes(1000)
    exchange.feed_body(piece)
    assert exchange.take_body() is piece


def test_trailers_are_kept_apart_from_the_fields() -> None:
    # h1.trailer.forbidden
    exchange, _ = make_exchange(b"POST")
    assert not exchange.request_trailers
    exchange.end_request([(b"host", b"evil"), (b"x", b"1")])
    assert exchange.request_trailers == [(b"host", b"evil"), (b"x", b"1")]
    assert exchange.head.fields == [(b"host", b"test.example")]


def test_reading_stops_at_the_high_mark_and_goes_on_when_everything_was_taken() -> None:
    exchange, sink = make_exchange(b"POST", high_mark=10)
    assert [exchange.feed_body(bytes(size)) for size in (9, 1, 5)] == [False, True, False]
    assert len(exchange.take_body()) == 15
    assert sink.take() == [("body_taken",)]
    exchange.feed_body(bytes(9))
    exchange.take_body()
    assert sink.take() == []


@pytest.mark.parametrize("size", [0, 9, 10, 50])
def test_a_body_that_nobody_wants_is_dropped_and_reading_goes_on(size: int) -> None:
    exchange, sink = make_exchange(b"POST", high_mark=10)
    if size:
        exchange.feed_body(bytes(size))
    exchange.drop_body()
    assert not exchange.body_pending
    assert sink.calls == ([("body_taken",)] if size >= 10 else [])


def test_100_continue_is_asked_for_once_and_only_where_it_is_expected() -> None:
    # S51
    exchange, sink = make_exchange(b"POST", expects_continue=True)
    exchange.want_body()
    exchange.want_body()
    assert sink.calls == [("body_wanted",)]
    exchange, sink = make_exchange(b"POST")
    exchange.want_body()
    assert sink.calls == []


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda exchange: exchange.feed_body(b"x"), id="data"),
        pytest.param(lambda exchange: exchange.end_request(), id="the end"),
        pytest.param(lambda exchange: exchange.abort(), id="an abort"),
        pytest.param(lambda exchange: exchange.end_soon("shutdown"), id="the server stops"),
        pytest.param(lambda exchange: (exchange.respond(200), exchange.body(b"")), id="the end of the response"),
    ],
)
def test_whoever_waits_is_told_once(happens: Callable[[Exchange], object]) -> None:
    exchange, _ = make_exchange(b"POST")
    told: list[str] = []
    exchange.on_event = lambda: told.append(exchange.request_state)
    happens(exchange)
    assert len(told) == 1
    assert exchange.on_event is None
    exchange.notify()
    assert len(told) == 1


def test_whoever_is_told_may_wait_again() -> None:
    exchange, _ = make_exchange(b"POST")
    told: list[bytes] = []

    def wake() -> None:
        told.append(exchange.take_body())
        exchange.on_event = wake

    exchange.on_event = wake
    exchange.feed_body(b"a")
    exchange.feed_body(b"b")
    exchange.end_request()
    assert told == [b"a", b"b", b""]


def test_an_abort_drops_the_body_and_keeps_its_first_outcome() -> None:
    exchange, sink = make_exchange(b"POST")
    exchange.feed_body(b"x")
    exchange.abort("timeout")
    exchange.abort("aborted")
    assert (exchange.aborted, exchange.outcome, exchange.body_pending) == (True, "timeout", False)
    assert (exchange.request_state, exchange.response_state) == (ABORTED, ABORTED)
    assert sink.calls == []


def test_an_abort_after_the_response_leaves_it_complete() -> None:
    exchange, _ = make_exchange(b"POST")
    exchange.respond(200)
    exchange.body(b"ok")
    exchange.abort()
    assert (exchange.request_state, exchange.response_state, exchange.aborted, exchange.outcome) == (ABORTED, DONE, False, "")


def test_a_server_that_stops_only_says_so() -> None:
    exchange, sink = make_exchange()
    exchange.respond(200)
    exchange.body(b"a", more=True)
    exchange.end_soon("shutdown")
    assert (exchange.told_to_end, exchange.response_state, exchange.aborted) == ("shutdown", BODY, False)
    exchange.body(b"b")
    assert exchange.response_state == DONE
    assert sink.content == b"ab"


# ---- respond


def test_a_head_is_held_until_there_is_content() -> None:
    # S32, S31
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"X-A", b"1")])
    assert sink.take() == [("hold",)]
    assert not exchange.head_sent
    exchange.body(b"ok")
    assert sink.take() == [("write_head", b"ok", True), ("response_ended",)]
    assert exchange.head_sent
    assert exchange.response.fields == [(b"x-a", b"1")]
    assert (exchange.status, exchange.sent_bytes) == (200, 2)


def test_a_held_head_can_be_flushed_once() -> None:
    exchange, sink = make_exchange()
    exchange.respond(200)
    exchange.flush()
    exchange.flush()
    assert sink.take() == [("hold",), ("write_head", b"", False)]
    exchange.body(b"a", more=True)
    exchange.body(b"b")
    assert sink.take() == [("write_body", b"a", False), ("write_body", b"b", True), ("response_ended",)]


@pytest.mark.parametrize("status", [200, 201, 299, 404, 418, 500, 599])
def test_a_status_from_200_to_599_is_taken(status: int) -> None:
    exchange, _ = make_exchange()
    exchange.respond(status)
    assert exchange.status == status


@pytest.mark.parametrize(
    "status",
    [-1, 0, 99, 100, 101, 102, 103, 199, 600, 999, 1000, True, False, 200.0, "200", b"200", None, 10**400],
    ids=lambda status: repr(status)[:8],
)
def test_any_other_status_is_refused_and_a_good_one_may_follow(status: Any) -> None:
    # h1.resp.status-range, h1.resp.1xx-from-app, S7
    exchange, sink = make_exchange()
    before = everything(exchange, sink)
    with pytest.raises(LocalProtocolError, match="status"):
        exchange.respond(status)
    assert everything(exchange, sink) == before
    exchange.respond(204)
    exchange.body(b"")
    assert exchange.response_state == DONE


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(b"a", b"b\r\nset-cookie: c")], id="h1.resp.crlf-value"),
        pytest.param([(b"a", b"b\n")], id="LF"),
        pytest.param([(b"a", b"b\x00")], id="NUL"),
        pytest.param([(b"a", b"\x1b[1m")], id="ESC"),
        pytest.param([(b"a b", b"c")], id="h1.resp.bad-name"),
        pytest.param([(b"", b"c")], id="an empty name"),
        pytest.param([(b":status", b"200")], id="a pseudo-header"),
        pytest.param([("a", b"b")], id="S8 a name of text"),
        pytest.param([(b"a", "b")], id="S8 a value of text"),
        pytest.param([(b"a",)], id="no pair"),
        pytest.param(5, id="no list"),
        pytest.param([(b"content-length", b"-1")], id="a negative length"),
        pytest.param([(b"content-length", b"abc")], id="a length that is no number"),
        pytest.param([(b"content-length", b"")], id="an empty length"),
        pytest.param([(b"content-length", b"5, 5")], id="a list of lengths"),
        pytest.param([(b"Content-Length", b"5"), (b"content-length", b"5")], id="two equal lengths"),
        pytest.param([(b"content-length", b"5"), (b"content-length", b"6")], id="two lengths"),
        pytest.param([(b"connection", b"close"), (b"content-length", b"x")], id="a wrong length behind a good field"),
    ],
)
@pytest.mark.parametrize("status", [200, 204, 304])
def test_invalid_fields_are_refused_and_change_nothing(fields: Any, status: int) -> None:
    exchange, sink = make_exchange()
    before = everything(exchange, sink)
    with pytest.raises(LocalProtocolError):
        exchange.respond(status, fields)
    assert everything(exchange, sink) == before
    exchange.respond(200, [(b"a", b"b")])
    exchange.body(b"ok")
    assert sink.calls == [("hold",), ("write_head", b"ok", True), ("response_ended",)]


def test_a_second_head_is_refused_and_the_first_stays() -> None:
    # S9
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"a", b"1")])
    before = everything(exchange, sink)
    with pytest.raises(LocalProtocolError, match="'respond' is not possible when the response is HELD"):
        exchange.respond(404, [(b"content-length", b"9")])
    assert everything(exchange, sink) == before


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        # S38, h1.resp.te-from-app-ignored, h1.resp.no-te-with-cl
        pytest.param([(b"Transfer-Encoding", b"gzip"), (b"a", b"1")], [(b"a", b"1")], id="transfer-encoding"),
        pytest.param(
            [(b"a", b"1"), (b"transfer-encoding", b"chunked"), (b"content-length", b"2")], [(b"a", b"1")], id="transfer-encoding and length"
        ),
        # h1.resp.connection-headers-from-app
        pytest.param([(b"connection", b"keep-alive"), (b"keep-alive", b"5")], [], id="keep-alive"),
        pytest.param(
            [(b"date", b"now"), (b"server", b"mine")], [(b"date", b"now"), (b"server", b"mine")], id="date and server are the application's"
        ),
        pytest.param([(b"te", b"trailers"), (b"upgrade", b"h2c")], [(b"te", b"trailers"), (b"upgrade", b"h2c")], id="others stay"),
        pytest.param(
            [(b"x-2", b"1"), (b"Set-Cookie", b"a"), (b"connection", b"close"), (b"x-1", b"2"), (b"set-cookie", b"b")],
            [(b"x-2", b"1"), (b"set-cookie", b"a"), (b"x-1", b"2"), (b"set-cookie", b"b")],
            id="S42, h1.resp.header-order, h1.resp.set-cookie-not-joined",
        ),
    ],
)
def test_what_the_connection_says_itself_is_taken_out(fields: Fields, kept: Fields) -> None:
    exchange, _ = make_exchange()
    exchange.respond(200, fields)
    assert exchange.response.fields == kept
    assert {name for name in (b"date", b"server") if name in exchange.response.sent_fields} == {
        name for name, _ in kept if name in {b"date", b"server"}
    }


@pytest.mark.parametrize(
    ("values", "closing", "options"),
    [
        pytest.param([], False, [], id="nothing"),
        pytest.param([b"close"], True, [], id="close"),
        pytest.param([b"Close"], True, [], id="in any case"),
        pytest.param([b"keep-alive"], False, [], id="keep-alive is the connection's own decision"),
        pytest.param([b"upgrade, close"], True, [b"upgrade"], id="with another option"),
        pytest.param([b"x", b"y"], False, [b"x", b"y"], id="on two lines"),
        pytest.param([b"transfer-encoding, x-hop"], False, [b"x-hop"], id="transfer-encoding is not there to be named"),
        pytest.param([b"closed, x close"], False, [b"closed", b"x close"], id="what only looks like close"),
    ],
)
def test_an_application_may_ask_for_the_connection_to_be_closed(values: list[bytes], closing: bool, options: list[bytes]) -> None:
    exchange, _ = make_exchange()
    exchange.respond(200, [(b"connection", value) for value in values])
    assert (exchange.closing, list(exchange.response.connection_options)) == (closing, options)


# ---- content and its length


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        pytest.param([b"hello"], [("write_head", b"hello", True)], id="at once"),
        pytest.param([b"he", b"llo"], [("write_head", b"he", False), ("write_body", b"llo", True)], id="in two"),
        pytest.param(
            [b"", b"hello", b""], [("write_head", b"", False), ("write_body", b"hello", False), ("write_body", b"", True)], id="with empty ones"
        ),
    ],
)
@pytest.mark.parametrize("length", [b"5", None])
def test_content_is_written_piece_by_piece(pieces: list[bytes], calls: list[tuple[Any, ...]], length: bytes | None) -> None:
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"content-length", length)] if length else [])
    send(exchange, pieces)
    assert sink.calls == [("hold",), *calls, ("response_ended",)]
    assert exchange.content_length == (5 if length else None)
    assert (exchange.sent_bytes, exchange.closing, exchange.overrun) == (5, False, False)


@pytest.mark.parametrize("pieces", [[b"hello!"], [b"hello", b"!"], [b"he", b"llo, world", b"!"], [b"hello", b"", b"!", b"!"]], ids=repr)
@pytest.mark.parametrize("last_says_more", [False, True])
def test_not_a_byte_beyond_content_length_is_written(pieces: list[bytes], last_says_more: bool) -> None:
    # S47, h1.resp.cl-overrun
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"content-length", b"5")])
    with pytest.raises(LocalProtocolError, match="longer than its content-length of 5"):
        send(exchange, pieces, last_says_more=last_says_more)
    assert sink.content == b"hello"
    assert sink.calls[-1] == ("response_ended",)
    assert sink.calls[-2][2], "the last piece is the last"
    # The response is complete, the connection is not used again, and whatever follows is ignored.
    assert (exchange.response_state, exchange.closing, exchange.overrun, exchange.sent_bytes) == (DONE, True, True, 5)
    exchange.body(b"more")
    assert sink.content == b"hello"


@pytest.mark.parametrize("pieces", [[b""], [b"hell"], [b"he", b"ll"], [b"he", b""]], ids=repr)
def test_a_response_that_is_shorter_than_content_length_is_cut(pieces: list[bytes]) -> None:
    # S48, h1.resp.cl-underrun
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"content-length", b"5")])
    missing = 5 - sum(map(len, pieces))
    with pytest.raises(LocalProtocolError, match=f"{missing} bytes shorter than its content-length of 5"):
        send(exchange, pieces)
    assert sink.content == b"".join(pieces)
    assert sink.calls[-1] == ("cut",)
    assert ("response_ended",) not in sink.calls
    assert (exchange.response_state, exchange.aborted, exchange.outcome, exchange.closing) == (ABORTED, True, "short", True)
    with pytest.raises(ClientDisconnected):
        exchange.body(b"o")


def test_a_response_that_is_too_long_needs_no_trailers_any_more() -> None:
    exchange, sink = make_exchange(trailers_wanted=True)
    exchange.respond(200, [(b"content-length", b"1")], trailers=True)
    with pytest.raises(LocalProtocolError, match="longer"):
        exchange.body(b"ab")
    assert (exchange.response_state, sink.content) == (DONE, b"a")


def test_content_length_0_allows_nothing() -> None:
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"content-length", b"0")])
    with pytest.raises(LocalProtocolError, match="longer than its content-length of 0"):
        exchange.body(b"x")
    assert (sink.content, exchange.response_state) == (b"", DONE)


BODILESS = [
    pytest.param(b"GET", 204, None, None, id="h1.resp.204-no-cl-no-body without a length"),
    pytest.param(b"GET", 204, b"5", None, id="h1.resp.204-no-cl-no-body"),
    pytest.param(b"GET", 304, None, None, id="h1.resp.304-no-body without a length"),
    pytest.param(b"GET", 304, b"5", 5, id="h1.resp.304-no-body, which may say how long the 200 would be"),
    pytest.param(b"GET", 205, None, 0, id="h1.resp.205-no-content without a length"),
    pytest.param(b"GET", 205, b"5", 0, id="h1.resp.205-no-content"),
    pytest.param(b"HEAD", 200, b"5", 5, id="h1.resp.head-no-body"),
    pytest.param(b"HEAD", 200, b"999", 999, id="HEAD of something else"),
    pytest.param(b"HEAD", 204, b"5", None, id="HEAD with 204"),
    pytest.param(b"HEAD", 205, b"5", 0, id="HEAD with 205"),
    pytest.param(b"HEAD", 304, None, None, id="HEAD with 304"),
    pytest.param(b"HEAD", 304, b"5", 5, id="HEAD with 304 and a length"),
]


@pytest.mark.parametrize(("method", "status", "given_length", "length"), BODILESS)
@pytest.mark.parametrize("pieces", [[b"hello"], [b""], [b"he", b"llo"], [b"hello", b"hello", b""]], ids=repr)
def test_a_response_without_content_writes_none_whatever_the_application_sends(
    method: bytes, status: int, given_length: bytes | None, length: int | None, pieces: list[bytes]
) -> None:
    # S45, S46
    exchange, sink = make_exchange(method)
    exchange.respond(status, [(b"content-length", given_length)] if given_length else [])
    assert exchange.bodiless
    send(exchange, pieces)
    assert sink.content == b""
    assert (exchange.content_length, exchange.sent_bytes) == (length, 0)
    assert exchange.response_state == DONE
    assert sink.calls[-1] == ("response_ended",)


@pytest.mark.parametrize(
    ("pieces", "length"),
    [
        pytest.param([b"hello"], 5, id="all of it at once: the length is known"),
        pytest.param([b""], 0, id="nothing"),
        pytest.param([b"he", b"llo"], None, id="h1.resp.head-chunked"),
    ],
)
def test_head_says_how_long_get_would_be_where_that_is_known(pieces: list[bytes], length: int | None) -> None:
    exchange, sink = make_exchange(b"HEAD")
    exchange.respond(200)
    send(exchange, pieces)
    assert (exchange.content_length, sink.content) == (length, b"")


def test_content_before_the_head_is_refused() -> None:
    # S9
    exchange, sink = make_exchange()
    with pytest.raises(LocalProtocolError, match="not possible when the response is WAITING"):
        exchange.body(b"x")
    assert (exchange.response_state, sink.calls) == (WAITING, [])


contents = st.lists(st.binary(max_size=6), min_size=1, max_size=5)


@examples(400)
@given(
    st.sampled_from([b"GET", b"HEAD", b"POST"]),
    st.sampled_from([200, 204, 205, 304, 404]),
    st.one_of(st.none(), st.integers(0, 12)),
    contents,
    st.sets(st.integers(0, 4)),
)
def test_what_is_written_never_contradicts_what_was_said(
    method: bytes, status: int, length: int | None, pieces: list[bytes], flushes: set[int]
) -> None:
    exchange, sink = make_exchange(method)
    exchange.respond(status, [] if length is None else [(b"content-length", b"%d" % length)])
    fault = False
    for number, piece in enumerate(pieces):
        if number in flushes:
            exchange.flush()
        try:
            exchange.body(piece, more=number < len(pieces) - 1)
        except LocalProtocolError:
            fault = True
            break
    whole = b"".join(pieces)
    if method == b"HEAD" or status in {204, 205, 304}:
        assert (sink.content, fault, exchange.response_state) == (b"", False, DONE)
    elif length is None or len(whole) == length:
        assert (sink.content, fault, exchange.response_state, exchange.closing) == (whole, False, DONE, False)
    elif len(whole) > length:
        assert (sink.content, fault, exchange.response_state, exchange.closing) == (whole[:length], True, DONE, True)
    else:
        assert (sink.content, fault, exchange.response_state, exchange.closing) == (whole, True, ABORTED, True)
    assert exchange.sent_bytes == len(sink.content)
    assert sum(call[0] in {"response_ended", "cut"} for call in sink.calls) == 1


# ---- content that somebody else writes (sendfile)


def test_bytes_that_somebody_else_writes_are_accounted_for() -> None:
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"content-length", b"10")])
    exchange.flush()
    assert exchange.reserve(4) == 4
    assert exchange.reserve(4) == 4
    exchange.body(b"ab")
    assert (exchange.response_state, exchange.sent_bytes, sink.content) == (DONE, 10, b"ab")


def test_no_more_may_be_written_by_somebody_else_than_content_length_says() -> None:
    exchange, sink = make_exchange()
    exchange.respond(200, [(b"content-length", b"10")])
    exchange.flush()
    assert exchange.reserve(8) == 8
    assert exchange.reserve(8) == 2
    assert exchange.reserve(8) == 0
    with pytest.raises(LocalProtocolError, match="longer than its content-length of 10"):
        exchange.overran()
    assert (exchange.response_state, exchange.closing, exchange.overrun, exchange.sent_bytes) == (DONE, True, True, 10)
    assert sink.calls[-1] == ("response_ended",)


def test_without_content_length_somebody_else_may_write_anything() -> None:
    exchange, _ = make_exchange()
    exchange.respond(200)
    exchange.flush()
    assert exchange.reserve(2**40) == 2**40
    assert exchange.sent_bytes == 2**40


@pytest.mark.parametrize(
    ("state", "error"), [(WAITING, LocalProtocolError), (DONE, LocalProtocolError), (TUNNEL, LocalProtocolError), (ABORTED, ClientDisconnected)]
)
def test_nothing_can_be_reserved_outside_of_the_content(state: str, error: type[Exception]) -> None:
    exchange, sink = in_response_state(state, trailers=False)
    before = everything(exchange, sink)
    with pytest.raises(error):
        exchange.reserve(5)
    assert everything(exchange, sink) == before


# ---- trailers


def test_trailers_come_behind_the_content_and_end_the_response() -> None:
    # S91, asgi.ext.trailers
    exchange, sink = make_exchange(trailers_wanted=True)
    exchange.respond(200, [(b"trailer", b"x-t")], trailers=True)
    exchange.body(b"a", more=True)
    exchange.body(b"b")
    assert exchange.response_state == TRAILERS
    assert ("response_ended",) not in sink.calls
    sink.take()
    exchange.trailers([(b"X-T", b"1")], more=True)
    assert sink.calls == []
    exchange.trailers([(b"x-u", b"2"), (b"x-t", b"3")])
    assert sink.calls == [("write_trailers", [(b"x-t", b"1"), (b"x-u", b"2"), (b"x-t", b"3")]), ("response_ended",)]
    assert exchange.response_state == DONE


def test_trailers_that_were_not_announced_are_refused() -> None:
    for state in (WAITING, HELD, BODY):
        exchange, sink = in_response_state(state, trailers=False)
        before = everything(exchange, sink)
        with pytest.raises(LocalProtocolError):
            exchange.trailers([(b"a", b"b")])
        assert everything(exchange, sink) == before


@pytest.mark.parametrize(
    "field",
    [
        pytest.param((b"a", b"b\r\nc: d"), id="CR LF in a value"),
        pytest.param((b"a b", b"c"), id="no name"),
        pytest.param((b":status", b"200"), id="A6 a pseudo-header"),
        pytest.param((b"Content-Length", b"5"), id="content-length"),
        pytest.param((b"transfer-encoding", b"chunked"), id="transfer-encoding"),
        pytest.param((b"connection", b"close"), id="connection"),
        pytest.param((b"host", b"evil"), id="host"),
    ],
)
def test_a_field_that_cannot_be_a_trailer_is_refused_and_changes_nothing(field: tuple[bytes, bytes]) -> None:
    # RFC 9110 §6.5.1: no trailer says where a message ends or where it goes.
    exchange, sink = in_response_state(TRAILERS, trailers=True)
    before = everything(exchange, sink)
    for more in (True, False):
        with pytest.raises(LocalProtocolError):
            exchange.trailers([(b"good", b"1"), field], more=more)
    assert everything(exchange, sink) == before
    exchange.trailers([])
    assert exchange.response_state == DONE


def test_trailers_that_never_come_leave_the_response_incomplete() -> None:
    # asgi.ext.trailers-missing
    exchange, sink = make_exchange()
    exchange.respond(200, trailers=True)
    exchange.body(b"ok")
    exchange.fail()
    assert (exchange.response_state, sink.calls[-1]) == (ABORTED, ("cut",))


# ---- informational responses


@pytest.mark.parametrize("status", [100, 102, 103])
def test_informational_responses_come_before_the_head(status: int) -> None:
    # S90, asgi.ext.early-hint
    exchange, sink = make_exchange()
    exchange.inform(status, [(b"Link", b"</a>")])
    exchange.inform(status)
    exchange.respond(200)
    exchange.inform(status, [(b"link", b"</b>")])
    exchange.body(b"ok")
    assert sink.calls == [
        ("write_informational", status, [(b"link", b"</a>")]),
        ("write_informational", status, []),
        ("hold",),
        ("write_informational", status, [(b"link", b"</b>")]),
        ("write_head", b"ok", True),
        ("response_ended",),
    ]


@pytest.mark.parametrize("status", [0, 99, 101, 199, 200, 204, 304, 500, "103", None])
def test_any_other_status_is_not_informational(status: Any) -> None:
    # 101 would switch protocols, and a final status would end the response.
    exchange, sink = make_exchange()
    with pytest.raises(LocalProtocolError, match="informational status"):
        exchange.inform(status)
    assert sink.calls == []


@pytest.mark.parametrize(
    "field", [(b"link", b"a\r\nb: c"), (b"li nk", b"a"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked")], ids=repr
)
def test_an_informational_response_with_an_invalid_field_is_refused(field: tuple[bytes, bytes]) -> None:
    # RFC 9110 §8.6, RFC 9112 §6.1: no framing in 1xx.
    exchange, sink = make_exchange()
    with pytest.raises(LocalProtocolError):
        exchange.inform(103, [field])
    assert (sink.calls, exchange.response_state) == ([], WAITING)


# ---- failure


@pytest.mark.parametrize(("status", "extra"), [(500, []), (503, [(b"retry-after", b"1")])])
@pytest.mark.parametrize("held", [False, True], ids=["before the head", "with a head that is held"])
def test_a_failure_before_anything_was_sent_is_an_error_response(status: int, extra: Fields, held: bool) -> None:
    # S32, S49, S50
    exchange, sink = make_exchange()
    if held:
        exchange.respond(200, [(b"content-length", b"1000"), (b"x-secret", b"1"), (b"set-cookie", b"a")], trailers=True)
        sink.take()
    exchange.fail(status)
    (hold, (name, text, last), ended) = sink.calls
    assert (hold, name, last, ended) == (("hold",), "write_head", True, ("response_ended",))
    assert text == {500: b"Internal Server Error\n", 503: b"Service Unavailable\n"}[status]
    assert exchange.status == status
    assert exchange.response.fields == [(b"content-type", b"text/plain; charset=utf-8"), *extra]
    assert (exchange.closing, exchange.outcome, exchange.response_state, exchange.content_length) == (True, "error", DONE, None)


def test_an_error_response_has_nothing_of_the_head_that_was_held() -> None:
    exchange, _ = make_exchange()
    exchange.respond(200, [(b"date", b"then"), (b"server", b"mine"), (b"connection", b"x-hop"), (b"content-length", b"3")])
    exchange.fail()
    # Its Date and Server are the server's again, and its Connection is.
    assert not {b"date", b"server"} & set(exchange.response.sent_fields)
    assert (list(exchange.response.connection_options), exchange.content_length, exchange.expect_trailers) == ([], None, False)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_an_error_response_has_content_even_where_the_held_one_had_none(status: int) -> None:
    exchange, sink = make_exchange()
    exchange.respond(status)
    exchange.fail()
    assert (exchange.status, sink.content, exchange.content_length) == (500, b"Internal Server Error\n", None)


def test_an_error_response_to_head_has_no_content() -> None:
    exchange, sink = make_exchange(b"HEAD")
    exchange.fail()
    assert (sink.content, exchange.content_length, exchange.response_state) == (b"", len(b"Internal Server Error\n"), DONE)


@pytest.mark.parametrize("state", [BODY, TRAILERS, TUNNEL])
def test_a_failure_after_that_cuts_the_connection(state: str) -> None:
    exchange, sink = in_response_state(state, trailers=False)
    sink.take()
    exchange.fail()
    assert sink.calls == [("cut",)]
    assert (exchange.response_state, exchange.aborted, exchange.outcome) == (ABORTED, True, "error")
    exchange.fail()
    exchange.cut()
    assert sink.calls == [("cut",)]


@pytest.mark.parametrize("state", [DONE, ABORTED])
def test_a_failure_after_the_end_changes_nothing(state: str) -> None:
    exchange, sink = in_response_state(state, trailers=False)
    before = everything(exchange, sink)
    exchange.fail()
    exchange.cut("short")
    assert everything(exchange, sink) == before


def test_a_response_can_be_given_up() -> None:
    exchange, sink = make_exchange()
    exchange.respond(200)
    exchange.body(b"a", more=True)
    exchange.cut("timeout")
    assert (exchange.outcome, exchange.aborted, sink.calls[-1]) == ("timeout", True, ("cut",))


# ---- the tunnel


def test_a_tunnel_is_opened_and_closed_in_order() -> None:
    exchange, sink = make_exchange(upgrade=b"websocket")
    exchange.tunnel(STREAM, [(b"x", b"1")])
    assert (exchange.status, exchange.stream, exchange.response_state, exchange.head_sent) == (101, STREAM, TUNNEL, True)
    exchange.tunnel_closed()
    exchange.tunnel_closed()
    assert exchange.response_state == DONE
    assert sink.calls == [("open_tunnel", STREAM, [(b"x", b"1")]), ("response_ended",)]


@pytest.mark.parametrize(
    "call", [lambda exchange: exchange.respond(200), lambda exchange: exchange.body(b"x"), lambda exchange: exchange.inform(103)]
)
def test_no_response_comes_through_a_tunnel(call: Callable[[Exchange], object]) -> None:
    exchange, sink = in_response_state(TUNNEL, trailers=False)
    before = everything(exchange, sink)
    with pytest.raises(LocalProtocolError):
        call(exchange)
    assert everything(exchange, sink) == before
