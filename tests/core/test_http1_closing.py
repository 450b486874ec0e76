"""How a connection ends: in order, after lingering, while the server stops, by the peer, by a failure (RFC 9112 §9.3, §9.6).

Whatever happens, an exchange ends once, the connection is closed once, and nothing is written behind the end (`tests.support.sansio` sees to that).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.config import WebSocketConfig
from asgiserve.core.exchange import DONE
from asgiserve.core.websocket import WebSocketStream
from asgiserve.core.websocket_handshake import accept_fields
from asgiserve.errors import ClientDisconnected
from pytest_asgiserve.raw import Truncated
from tests.support.properties import examples
from tests.support.sansio import AVAILABLE, GET, PARSERS, Call, Wire, answer, echo, ignore, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sansio import App, Steps

CLOSE = request("/", "Connection: close")
POST = request("/", "Content-Length: 10", method="POST")
CHUNKED = request("/", "Transfer-Encoding: chunked", method="POST")
HANDSHAKE = request("/", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")

both = pytest.mark.parametrize("parser", PARSERS)


def streaming(call: Call) -> Steps:
    """A response that goes on until it is told to end, or the client is gone."""
    call.exchange.respond(200)
    yield from call.send(b"begun")
    while not (call.exchange.aborted or call.exchange.told_to_end):
        yield "event"
    yield from call.send(b"ended", more=False)


def accept(call: Call) -> Steps:
    """A WebSocket that is held until it is closed."""
    stream = WebSocketStream(call.exchange, WebSocketConfig(), [])
    call.exchange.tunnel(stream, accept_fields(call.exchange.head.fields, None, b""))
    while stream.disconnect is None:
        yield "event"


def fail(wire: Wire) -> None:
    """The server cancels what runs."""
    for exchange in wire.owner.begun:
        exchange.fail(503)


# ---- in order --------------------------------------------------------------------------------------------------------------------


@both
def test_a_connection_that_is_not_reused_is_closed_after_its_response(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(CLOSE)
    assert wire.statuses == [200]
    assert wire.transport.closed
    assert not wire.transport.half_closed
    assert wire.owner.closes == 1


@both
def test_what_stands_behind_the_last_request_is_not_a_request(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(CLOSE + GET + b"\xff" * 100)
    assert wire.statuses == [200]
    assert len(wire.calls) == 1
    assert wire.transport.half_closed
    assert not wire.owner.refusals
    wire.feed(GET * 10)
    assert len(wire.calls) == 1
    wire.advance(1)
    assert wire.transport.closed


@both
def test_a_refusal_is_seen_by_a_client_that_goes_on_sending(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(b"BAD\r\n\r\n" + b"x" * 50_000)
    for _ in range(4):
        wire.feed(b"x" * 50_000)
        assert wire.transport.half_closed
        assert not wire.transport.ended
    wire.feed_eof()
    assert wire.transport.closed
    assert wire.statuses == [400]


@both
def test_on_tls_a_refusal_lingers_without_a_half_close(parser: str) -> None:
    wire = Wire(parser=parser, half_close=False)
    wire.feed(b"BAD\r\n\r\n")
    wire.feed(b"x" * 50_000)
    assert not wire.transport.ended
    wire.advance(1)
    assert wire.transport.closed
    assert wire.statuses == [400]


@both
def test_while_it_lingers_a_connection_reads_although_it_was_paused(parser: str) -> None:
    wire = Wire(ignore, parser, max_body_buffer_bytes=1000)
    wire.feed(request("/", "Connection: close") + GET * 100)
    assert wire.transport.paused
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"ok")
    assert wire.transport.half_closed
    assert not wire.transport.paused


@both
def test_the_timer_of_a_lingering_connection_lets_it_flush(parser: str) -> None:
    wire = Wire(lambda call: call.respond(b"x" * 200_000), parser)
    wire.stall()
    wire.feed(CLOSE + GET)
    wire.advance(1)
    assert wire.transport.closed
    assert not wire.transport.aborted
    wire.take()
    assert wire.owner.closes == 1
    assert len(wire.responses[0].body) == 200_000


# ---- an answer before the whole request ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("eager", [False, True], ids=["task", "eager"])
@pytest.mark.parametrize(("head", "rest"), [(POST, b"0123456789"), (CHUNKED, b"5\r\nhello\r\n0\r\nX: y\r\n\r\n")], ids=["length", "chunked"])
@pytest.mark.parametrize("cut", [None, 1])
def test_an_early_answer_is_followed_by_the_next_one(parser: str, eager: bool, head: bytes, rest: bytes, cut: int | None) -> None:
    wire = Wire(answer, parser, eager=eager)
    wire.feed(head)
    assert wire.statuses == [200]
    assert not wire.responses[0].closes
    assert wire.owner.over == wire.owner.begun
    wire.feed(rest + GET, cut)
    assert wire.statuses == [200, 200]
    assert [seen.method for seen in wire.seen] == [b"POST", b"GET"]
    assert wire.connection.phase == "idle"
    wire.advance(2)
    assert not wire.transport.ended


@both
def test_a_fault_in_a_body_that_nobody_wants_closes_without_another_answer(parser: str) -> None:
    wire = Wire(answer, parser)
    wire.feed(CHUNKED)
    wire.feed(b"zz\r\n" + GET)
    assert wire.statuses == [200]
    assert wire.transport.half_closed
    assert len(wire.calls) == 1
    wire.advance(1)
    assert wire.transport.closed


@both
def test_an_answer_before_the_body_resumes_reading(parser: str) -> None:
    wire = Wire(ignore, parser, max_body_buffer_bytes=1000)
    wire.feed(request("/", "Content-Length: 5000", method="POST") + b"x" * 2000)
    assert wire.transport.paused
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"ok")
    assert not wire.transport.paused
    wire.feed(b"x" * 3000 + GET)
    assert len(wire.owner.begun) == 2
    assert wire.owner.begun[1].head.method == b"GET"


@both
def test_an_answer_that_closes_does_not_wait_for_the_body(parser: str) -> None:
    wire = Wire(answer, parser)
    wire.feed(request("/", "Content-Length: 10", "Connection: close", method="POST", body=b"x"))
    assert wire.statuses == [200]
    assert wire.transport.half_closed
    wire.feed(b"x" * 9)
    wire.feed_eof()
    assert wire.transport.closed
    assert wire.owner.over == wire.owner.begun


@both
@pytest.mark.parametrize("body", [b"1234", b""], ids=["a-part", "nothing"])
def test_a_client_that_ends_inside_of_an_unread_body_is_gone(parser: str, body: bytes) -> None:
    wire = Wire(answer, parser)
    wire.feed(POST + body)
    assert wire.statuses == [200]
    wire.feed_eof()
    assert wire.transport.closed
    assert not wire.owner.begun[0].aborted


# ---- the peer goes ---------------------------------------------------------------------------------------------------------------

STATES: list[tuple[str, bytes, App]] = [
    ("nothing", b"", answer),
    ("half-a-head", b"GET / HT", answer),
    ("idle", GET, answer),
    ("idle-and-half-a-head", GET + b"GET", answer),
    ("no-answer-yet", GET, ignore),
    ("no-answer-yet-and-pipelined", GET * 3, ignore),
    ("in-a-body", POST + b"1234", echo),
    ("in-a-body-nobody-reads", POST + b"1234", ignore),
    ("before-a-body", request("/", "Content-Length: 10", "Expect: 100-continue", method="POST"), echo),
    ("in-an-unread-body", POST + b"1234", answer),
    ("in-chunks", CHUNKED + b"5\r\nhel", echo),
    ("in-a-response", GET, streaming),
    ("in-a-response-without-chunks", request(version="1.0"), streaming),
    ("in-a-response-and-a-body", POST + b"1234", streaming),
    ("in-a-response-without-chunks-and-a-body", request("/", "Content-Length: 10", method="POST", version="1.0", body=b"1234"), streaming),
    ("before-a-handshake", HANDSHAKE, ignore),
    ("in-a-websocket", HANDSHAKE, accept),
    ("lingering", b"BAD\r\n\r\n", answer),
    ("refused-behind-an-answer", GET + b"BAD\r\n\r\n", answer),
]
in_every_state = pytest.mark.parametrize(("data", "app"), [pytest.param(data, app, id=name) for name, data, app in STATES])


@both
@in_every_state
@pytest.mark.parametrize("error", [None, ConnectionResetError()], ids=["closed", "reset"])
def test_a_lost_connection_ends_everything_once(parser: str, data: bytes, app: App, error: Exception | None) -> None:
    wire = Wire(app, parser)
    wire.feed(data)
    before = wire.transport.written
    wire.lose(error)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun
    assert all(call.finished for call in wire.calls)
    assert all(exchange.aborted or exchange.response_state is DONE for exchange in wire.owner.begun)
    assert wire.connection.phase == "closed"
    assert wire.connection.exchange is None
    # Timers that were armed, bytes that were on their way, and the server's own stop find nothing more to do.
    wire.advance(1000)
    wire.connection.begin_drain(1)
    wire.advance(1000)
    assert wire.transport.written == before
    assert not wire.transport.ended


@both
@in_every_state
def test_a_half_close_in_any_state_ends_at_some_time(parser: str, data: bytes, app: App) -> None:
    wire = Wire(app, parser)
    wire.feed(data)
    wire.feed_eof()
    for exchange in wire.owner.begun:
        if not exchange.aborted:
            exchange.fail()
    wire.settle()
    wire.advance(1000)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun
    assert all(call.finished for call in wire.calls)


@both
@in_every_state
def test_a_peer_that_half_closes_and_takes_nothing_is_cut_at_some_time(parser: str, data: bytes, app: App) -> None:
    wire = Wire(app, parser)
    wire.stall()
    wire.feed(data)
    for size in (1000, 100, 10):
        if wire.transport.buffer_size > size:
            wire.take(wire.transport.buffer_size - size)
    wire.feed_eof()
    for exchange in wire.owner.begun:
        if not exchange.aborted:
            exchange.fail()
    wire.settle()
    wire.advance(1000)
    assert wire.owner.closes == 1
    assert wire.transport.aborted or not wire.transport.writes


@both
@in_every_state
def test_an_abort_in_any_state_ends_everything_once(parser: str, data: bytes, app: App) -> None:
    wire = Wire(app, parser)
    wire.feed(data)
    wire.connection.abort()
    wire.settle()
    assert wire.transport.aborted
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun
    assert all(call.finished for call in wire.calls)


@both
def test_a_request_that_is_cut_short_is_aborted_once(parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(POST + b"1234")
    wire.lose()
    (seen,) = wire.seen
    assert seen.body == b"1234"
    assert seen.ending == "aborted"
    assert wire.owner.begun[0].outcome == "aborted"
    with pytest.raises(ClientDisconnected):
        wire.owner.begun[0].respond(200)


@both
def test_an_incomplete_request_resets_a_response_that_the_end_would_complete(parser: str) -> None:
    wire = Wire(streaming, parser)
    wire.feed(request("/", "Content-Length: 10", method="POST", version="1.0", body=b"1234"))
    assert wire.transport.written.endswith(b"\r\n\r\nbegun")
    wire.feed_eof()
    assert wire.owner.resets == 1
    wire = Wire(streaming, parser)
    wire.feed(POST + b"1234")
    wire.feed_eof()
    assert not wire.owner.resets
    with pytest.raises(Truncated):
        assert wire.responses


@both
def test_on_tls_an_application_is_told_at_once_that_the_peer_goes(parser: str) -> None:
    # The transport may still have to flush: until then nothing that is sent would arrive.
    wire = Wire(streaming, parser, half_close=False)
    wire.stall()
    wire.feed(GET)
    wire.feed_eof()
    assert wire.transport.closed
    assert wire.connection.exchange is not None
    assert wire.owner.begun[0].aborted
    assert isinstance(wire.calls[0].error, ClientDisconnected)
    assert wire.owner.over == wire.owner.begun
    wire.take()
    assert wire.connection.exchange is None
    assert wire.owner.closes == 1


@both
def test_a_complete_response_is_complete_whatever_comes_after(parser: str) -> None:
    wire = Wire(answer, parser)
    wire.feed(POST + b"1234")
    wire.lose(ConnectionResetError())
    (exchange,) = wire.owner.begun
    assert exchange.response_state is DONE
    assert not exchange.aborted
    assert exchange.outcome == ""


# ---- the server stops ------------------------------------------------------------------------------------------------------------


@both
def test_a_running_request_is_answered_with_close(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET + GET)
    wire.connection.begin_drain(2)
    wire.advance(100)
    assert not wire.transport.writes
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"ok")
    wire.settle()
    (response,) = wire.responses
    assert response.closes
    assert len(wire.owner.begun) == 1
    wire.advance(1)
    assert wire.transport.closed


@both
def test_a_response_that_streams_is_told_and_may_end(parser: str) -> None:
    wire = Wire(streaming, parser)
    wire.feed(GET)
    wire.connection.begin_drain(2)
    wire.settle()
    (response,) = wire.responses
    assert response.body == b"begunended"
    # Its head had said nothing of a close: a request that is on its way is answered, with close.
    assert not wire.transport.ended
    wire.app = answer
    wire.feed(GET)
    assert [response.closes for response in wire.responses] == [False, True]
    assert wire.transport.closed


@both
def test_a_response_that_streams_with_an_announced_close_ends_the_connection(parser: str) -> None:
    wire = Wire(streaming, parser)
    wire.feed(CLOSE)
    wire.connection.begin_drain(2)
    wire.settle()
    assert wire.responses[0].closes
    assert wire.transport.closed


@both
def test_a_body_that_is_on_its_way_is_taken(parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(POST + b"1234")
    wire.connection.begin_drain(0.1)
    wire.advance(1)
    wire.feed(b"567890")
    (response,) = wire.responses
    assert response.body == b"1234567890"
    assert response.closes
    assert wire.transport.closed


@both
def test_a_head_that_has_begun_is_answered(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(GET[:10])
    wire.connection.begin_drain(0)
    assert not wire.transport.ended
    wire.feed(GET[10:])
    assert wire.responses[0].closes
    assert wire.transport.closed


@both
@pytest.mark.parametrize("data", [b"", GET], ids=["new", "used"])
def test_without_time_to_wait_an_idle_connection_is_closed_at_once(parser: str, data: bytes) -> None:
    wire = Wire(parser=parser)
    wire.feed(data)
    wire.connection.begin_drain(0)
    assert wire.transport.closed


@both
def test_to_stop_twice_is_to_stop_once(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(GET)
    wire.connection.begin_drain(2)
    wire.advance(1)
    wire.connection.begin_drain(100)
    wire.advance(1.1)
    assert wire.transport.closed


@both
def test_an_unread_body_is_drained_while_the_server_stops(parser: str) -> None:
    wire = Wire(answer, parser)
    wire.feed(POST + b"1234")
    wire.connection.begin_drain(2)
    wire.feed(b"567890")
    assert not wire.transport.ended
    wire.feed(GET)
    assert [response.closes for response in wire.responses] == [False, True]
    assert wire.transport.closed


@both
def test_a_websocket_is_closed_with_1012(parser: str) -> None:
    wire = Wire(accept, parser)
    wire.feed(HANDSHAKE)
    before = len(wire.transport.written)
    wire.connection.begin_drain(2)
    wire.settle()
    assert wire.transport.written[before:] == b"\x88\x02\x03\xf4"
    assert wire.calls[0].finished
    stream = wire.owner.begun[0].stream
    assert stream is not None
    assert stream.disconnect == (1012, "")
    wire.feed(b"\x88\x82\x00\x00\x00\x00\x03\xf4")
    wire.advance(2)
    assert wire.transport.closed
    assert wire.owner.over == wire.owner.begun


@both
def test_a_websocket_that_is_accepted_while_the_server_stops_is_closed_with_1012(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(HANDSHAKE)
    wire.connection.begin_drain(2)
    exchange = wire.owner.begun[0]
    stream = WebSocketStream(exchange, WebSocketConfig(), [])
    exchange.tunnel(stream, accept_fields(exchange.head.fields, None, b""))
    assert wire.transport.written.endswith(b"\r\n\r\n\x88\x02\x03\xf4")
    assert stream.disconnect == (1012, "")


@both
@in_every_state
def test_a_server_that_stops_leaves_no_connection_behind(parser: str, data: bytes, app: App) -> None:
    wire = Wire(app, parser)
    wire.feed(data)
    wire.connection.begin_drain(2)
    wire.advance(20)
    # What is left is what the application does not end; the server cancels that, which fails it.
    for exchange in wire.owner.begun:
        if exchange.response_state is not DONE and not exchange.aborted:
            exchange.fail(503)
    wire.settle()
    wire.advance(20)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun


# ---- a WebSocket on the connection -----------------------------------------------------------------------------------------------


@both
def test_a_tunnel_has_the_bytes_the_timers_and_the_end_of_the_connection(parser: str) -> None:
    wire = Wire(accept, parser)
    wire.feed(HANDSHAKE)
    stream = wire.owner.begun[0].stream
    assert stream is not None
    wire.feed(b"\x81\x82\x00\x00\x00\x00hi", 1)
    assert stream.take_message() == "hi"
    before = len(wire.transport.written)
    wire.advance(20)
    ping = wire.transport.written[before:]
    assert ping[0] == 0x89
    # No pong within 20 s.
    wire.advance(20)
    assert b"\x03\xf3" in wire.transport.written[before:]
    assert stream.disconnect is not None
    wire.advance(20)
    assert wire.transport.ended
    assert wire.owner.over == wire.owner.begun


@both
def test_a_websocket_whose_peer_takes_nothing_is_cut(parser: str) -> None:
    wire = Wire(accept, parser)
    wire.feed(HANDSHAKE)
    wire.stall()
    stream = wire.owner.begun[0].stream
    assert stream is not None
    stream.send(b"x" * 100_000)
    assert wire.connection.write_gate.shut
    wire.advance(31)
    assert wire.transport.aborted
    assert stream.disconnect == (1006, "")
    assert wire.calls[0].finished
    assert wire.owner.over == wire.owner.begun


@both
@pytest.mark.parametrize("stalled", [False, True])
def test_a_websocket_that_the_server_gives_up_is_told_and_written_to_no_more(parser: str, stalled: bool) -> None:
    wire = Wire(accept, parser)
    wire.feed(HANDSHAKE)
    if stalled:
        wire.stall()
        stream = wire.owner.begun[0].stream
        assert stream is not None
        stream.send(b"x" * 1000)
    wire.owner.begun[0].fail(503)
    wire.settle()
    assert wire.calls[0].finished
    wire.connection.begin_drain(1)
    wire.advance(60)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun


# ---- a timer that is late --------------------------------------------------------------------------------------------------------


@both
@in_every_state
@pytest.mark.parametrize("stalled", [False, True])
@pytest.mark.parametrize("drained", [False, True])
def test_a_timer_that_fires_late_finds_everything_due_at_once(parser: str, data: bytes, app: App, stalled: bool, drained: bool) -> None:
    wire = Wire(app, parser)
    if stalled:
        wire.stall()
    wire.feed(data)
    if drained:
        wire.connection.begin_drain(2)
    # The loop was blocked for an hour.
    for _ in range(6):
        wire.owner.now += 3600
        if not wire.owner.closes:
            wire.connection.on_timer()
        wire.settle()
    fail(wire)
    wire.settle()
    wire.advance(1000)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun
    assert all(call.finished for call in wire.calls)


# ---- phases ----------------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("data", "app", "phase"),
    [
        pytest.param(b"", answer, "idle", id="new"),
        pytest.param(b"GET", answer, "head", id="head"),
        pytest.param(GET, answer, "idle", id="used"),
        pytest.param(GET, ignore, "response", id="response"),
        pytest.param(GET, streaming, "response", id="streaming"),
        pytest.param(POST, echo, "body", id="body"),
        pytest.param(POST, answer, "body", id="unread-body"),
        pytest.param(POST + b"0123456789", ignore, "response", id="body-is-there"),
        pytest.param(HANDSHAKE, accept, "tunnel", id="tunnel"),
        pytest.param(b"BAD\r\n\r\n", answer, "linger", id="linger"),
        pytest.param(CLOSE, answer, "closed", id="closed"),
    ],
)
def test_the_phase_says_what_a_connection_does(parser: str, data: bytes, app: App, phase: str) -> None:
    wire = Wire(app, parser)
    wire.feed(data)
    assert wire.connection.phase == phase


# ---- any order of events ---------------------------------------------------------------------------------------------------------

_PIECES = [data for _, data, _ in STATES if data] + [b"x", b"\r\n", b"0123456789", b"567890", b"0\r\n\r\n", b"\x88\x80\x00\x00\x00\x00"]
_APPS = [answer, echo, ignore, streaming, accept]
_events = st.one_of(
    st.tuples(st.just("feed"), st.sampled_from(_PIECES)),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 2.0, 6.0, 31.0, 4000.0])),
    st.tuples(st.sampled_from(["eof", "stall", "take", "take some", "drain", "fail", "respond", "abort", "lose"]), st.just(0)),
)


def act(wire: Wire, name: str, value: Any) -> None:
    """One event of a plan, where it is possible."""
    actions: dict[str, Callable[[], object]] = {
        "feed": lambda: wire.feed(value),
        "advance": lambda: wire.advance(value),
        "eof": wire.feed_eof,
        "stall": wire.stall,
        "take": wire.take,
        "take some": lambda: wire.take(wire.transport.buffer_size // 2),
        "drain": lambda: wire.connection.begin_drain(1.0),
        "fail": lambda: fail(wire),
        "respond": lambda: wire.calls[-1].respond(b"x" * 70_000) if wire.calls and wire.calls[-1].exchange.response_state == "WAITING" else None,
        "abort": wire.connection.abort,
        "lose": wire.lose,
    }
    actions[name]()
    wire.settle()


@examples(400)
@given(st.sampled_from(_APPS), st.booleans(), st.booleans(), st.lists(_events, max_size=12))
def test_whatever_happens_in_whatever_order_everything_ends_once(app: App, eager: bool, half_close: bool, plan: list[tuple[str, Any]]) -> None:
    def guarded(call: Call) -> Steps | None:
        # Only a handshake can be accepted.
        return echo(call) if app is accept and not call.exchange.head.upgrade else app(call)

    for parser in AVAILABLE:
        wire = Wire(guarded, parser, eager=eager, half_close=half_close)
        for name, value in plan:
            if wire.owner.closes:
                break
            act(wire, name, value)
        if not wire.owner.closes:
            wire.connection.begin_drain(1.0)
            wire.advance(100)
            fail(wire)
            wire.settle()
            wire.advance(100)
        assert wire.owner.closes == 1
        assert wire.owner.over == wire.owner.begun
        assert all(call.finished for call in wire.calls)


@pytest.mark.parametrize("parser", ["httptools", "h11"])
@pytest.mark.parametrize(("length", "told"), [(None, True), (10, False)])
def test_a_response_that_begins_to_stream_while_the_server_stops_is_told(parser: str, length: int | None, told: bool) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    exchange = wire.connection.exchange
    assert exchange is not None
    wire.connection.begin_drain(2)
    assert not exchange.told_to_end
    exchange.respond(200, [] if length is None else [(b"content-length", b"%d" % length)])
    exchange.body(b"first", more=True)
    # One of known length ends by itself.
    assert bool(exchange.told_to_end) is told
