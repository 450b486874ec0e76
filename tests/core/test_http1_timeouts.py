"""Every duration that is an option, with a clock that the test turns: on by default, changed by its option, off where that is possible.

A time limit is looked at from both sides: a moment before it nothing happens, at it something does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.config import Timeouts
from asgiserve.errors import ClientDisconnected
from tests.support.sansio import GET, PARSERS, Call, Wire, answer, echo, ignore, request

if TYPE_CHECKING:
    from tests.support.sansio import Steps

pytestmark = pytest.mark.parametrize("parser", PARSERS)

MOMENT = 0.001
DAY = 86_400.0
POST = request("/", "Content-Length: 100000", method="POST")
CHUNKED = request("/", "Transfer-Encoding: chunked", method="POST")
EXPECT = request("/", "Content-Length: 1000", "Expect: 100-continue", method="POST")


def ends_at(wire: Wire, seconds: float) -> None:
    """Nothing changes until ``seconds`` from now; then something does."""
    before = wire.transport.written, wire.connection.phase, wire.transport.ended
    wire.advance(seconds - MOMENT)
    assert (wire.transport.written, wire.connection.phase, wire.transport.ended) == before
    wire.advance(2 * MOMENT)
    assert (wire.transport.written, wire.connection.phase, wire.transport.ended) != before


def timed_out(wire: Wire) -> None:
    """The last answer is 408, and the connection closes after it."""
    response = wire.responses[-1]
    assert response.status == 408
    assert response.closes
    assert wire.owner.refusals[-1][1] == 408
    assert wire.transport.half_closed
    wire.feed(GET)
    wire.advance(60)
    assert wire.transport.closed
    assert wire.owner.over == wire.owner.begun


# ---- the head --------------------------------------------------------------------------------------------------------------------

HEADS = [({}, 10.0), ({"timeout_request_head": 3.0}, 3.0), ({"timeout_request_head": 100.0}, 100.0)]


@pytest.mark.parametrize(("options", "seconds"), HEADS)
def test_a_connection_that_says_nothing_is_closed_without_a_word(parser: str, options: dict[str, Any], seconds: float) -> None:
    assert Timeouts().timeout_request_head == 10.0
    wire = Wire(parser=parser, **options)
    ends_at(wire, seconds)
    assert wire.transport.closed
    assert not wire.transport.writes
    assert not wire.owner.refusals


@pytest.mark.parametrize(("options", "seconds"), HEADS)
@pytest.mark.parametrize("data", [b"G", b"GET / HT", b"GET / HTTP/1.1\r\n", GET[:-1]])
def test_a_head_that_does_not_end_gets_408(parser: str, options: dict[str, Any], seconds: float, data: bytes) -> None:
    wire = Wire(parser=parser, **options)
    wire.advance(1)
    wire.feed(data)
    ends_at(wire, seconds - 1)
    timed_out(wire)
    assert not wire.calls


@pytest.mark.parametrize("data", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_are_no_head(parser: str, data: bytes) -> None:
    wire = Wire(parser=parser)
    wire.feed(data)
    ends_at(wire, 10)
    assert wire.transport.closed
    assert not wire.transport.writes


def test_the_time_for_a_head_is_a_total_that_drops_do_not_extend(parser: str) -> None:
    wire = Wire(parser=parser)
    for octet in GET[:9]:
        wire.feed(bytes([octet]))
        wire.advance(1)
    assert not wire.transport.writes
    wire.feed(b"H")
    wire.advance(1)
    timed_out(wire)


def test_the_time_for_the_next_head_begins_with_its_first_byte(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(GET)
    wire.advance(14)
    wire.feed(GET[:3])
    wire.advance(9)
    wire.feed(GET[3:20])
    ends_at(wire, 1)
    assert wire.statuses == [200, 408]
    timed_out(wire)


def test_the_time_for_a_pipelined_head_begins_when_it_is_its_turn(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET + GET[:10])
    wire.advance(DAY)
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"ok")
    ends_at(wire, 10)
    assert wire.statuses == [200, 408]
    timed_out(wire)


@pytest.mark.parametrize("data", [GET, request("/", "Content-Length: 5", method="POST", body=b"hello")])
def test_no_time_for_a_head_runs_once_it_is_there(parser: str, data: bytes) -> None:
    wire = Wire(ignore, parser)
    wire.feed(data[:5])
    wire.advance(5)
    wire.feed(data[5:])
    wire.advance(DAY)
    assert not wire.transport.writes
    assert not wire.transport.ended


def test_the_time_for_a_head_can_be_switched_off(parser: str) -> None:
    for data in (b"", GET[:5]):
        wire = Wire(parser=parser, timeout_request_head=None)
        wire.feed(data)
        wire.advance(DAY)
        assert not wire.transport.ended
        wire.feed(GET[len(data) :])
        assert wire.statuses == [200]


# ---- the body --------------------------------------------------------------------------------------------------------------------

STALLS = [({}, 30.0), ({"timeout_request_body": 7.0}, 7.0), ({"timeout_request_body": 100.0}, 100.0)]


@pytest.mark.parametrize(("options", "seconds"), STALLS)
@pytest.mark.parametrize("data", [POST, CHUNKED], ids=["length", "chunked"])
def test_a_body_of_which_nothing_comes_gets_408(parser: str, data: bytes, options: dict[str, Any], seconds: float) -> None:
    assert Timeouts().timeout_request_body == 30.0
    wire = Wire(echo, parser, min_request_body_rate=None, **options)
    wire.feed(data)
    ends_at(wire, seconds)
    timed_out(wire)
    assert wire.seen[0].ending == "aborted"
    assert wire.owner.begun[0].outcome == "timeout"


@pytest.mark.parametrize(("options", "seconds"), STALLS)
def test_each_piece_of_a_body_gives_the_next_one_its_time(parser: str, options: dict[str, Any], seconds: float) -> None:
    wire = Wire(echo, parser, min_request_body_rate=None, **options)
    wire.feed(POST)
    for _ in range(10):
        wire.advance(seconds - 1)
        wire.feed(b"x")
    ends_at(wire, seconds)
    timed_out(wire)
    assert wire.seen[0].body == b"x" * 10


def test_a_body_that_never_comes_gets_408_after_the_grace_already(parser: str) -> None:
    assert Timeouts().min_request_body_rate == 240.0
    assert Timeouts().timeout_request_body_grace == 5.0
    wire = Wire(echo, parser)
    wire.feed(POST)
    ends_at(wire, 5)
    timed_out(wire)


@pytest.mark.parametrize(
    ("options", "grace", "rate"),
    [
        ({}, 5.0, 240.0),
        ({"min_request_body_rate": 1000.0}, 5.0, 1000.0),
        ({"timeout_request_body_grace": 0.0}, 0.0, 240.0),
        ({"timeout_request_body_grace": 20.0, "min_request_body_rate": 10.0}, 20.0, 10.0),
    ],
)
def test_a_body_slower_than_the_rate_gets_408(parser: str, options: dict[str, Any], grace: float, rate: float) -> None:
    size = 1000
    wire = Wire(echo, parser, **options)
    wire.feed(POST + b"x" * size)
    # What came is worth so much time; a byte every second is not.
    left = grace + size / rate
    while left > 1.5:
        wire.advance(1)
        wire.feed(b"y")
        size += 1
        left += 1 / rate - 1
    assert not wire.transport.writes
    ends_at(wire, left)
    timed_out(wire)
    assert len(wire.seen[0].body) == size


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_as_fast_as_the_rate_is_served(parser: str, coding: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(request("/", "Content-Length: 24000", method="POST") if coding == "length" else CHUNKED)
    for _ in range(100):
        wire.advance(1)
        wire.feed(b"x" * 240 if coding == "length" else b"f0\r\n" + b"x" * 240 + b"\r\n")
    if coding == "chunked":
        wire.feed(b"0\r\n\r\n")
    assert wire.statuses == [200]
    assert len(wire.seen[0].body) == 24_000


def test_framing_is_no_body_and_does_not_count_for_the_rate(parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(CHUNKED)
    for _ in range(5):
        wire.feed(b"1;" + b"a" * 1000 + b"\r\nx\r\n")
        wire.advance(1)
    wire.advance(0.1)
    timed_out(wire)


@pytest.mark.parametrize("rate", [None, 0.0])
def test_the_rate_can_be_switched_off(parser: str, rate: float | None) -> None:
    wire = Wire(echo, parser, min_request_body_rate=rate)
    wire.feed(POST)
    for _ in range(100):
        wire.advance(29)
        wire.feed(b"x")
    assert not wire.transport.writes
    ends_at(wire, 30)
    timed_out(wire)


def test_the_stall_can_be_switched_off(parser: str) -> None:
    wire = Wire(echo, parser, timeout_request_body=None, timeout_request_body_grace=1000.0)
    wire.feed(POST)
    ends_at(wire, 1000)
    timed_out(wire)
    wire = Wire(echo, parser, timeout_request_body=None, min_request_body_rate=None)
    wire.feed(request("/", "Content-Length: 5", method="POST", body=b"he"))
    wire.advance(DAY)
    wire.feed(b"llo")
    assert wire.statuses == [200]


def test_the_time_in_which_nobody_reads_is_not_the_clients(parser: str) -> None:
    wire = Wire(ignore, parser, max_body_buffer_bytes=1000)
    wire.feed(request("/", "Content-Length: 100000", method="POST"))
    wire.advance(3)
    wire.feed(b"x" * 1000)
    assert wire.transport.paused
    wire.advance(DAY)
    assert not wire.transport.writes
    # 1000 bytes are worth 4.17 s, the grace is 5; 3 of it are gone.
    wire.owner.begun[0].take_body()
    assert not wire.transport.paused
    ends_at(wire, 5 + 1000 / 240 - 3)
    timed_out(wire)


def test_the_stall_begins_anew_when_reading_goes_on(parser: str) -> None:
    wire = Wire(ignore, parser, max_body_buffer_bytes=1000, min_request_body_rate=None)
    wire.feed(POST + b"x" * 1000)
    wire.advance(29)
    wire.owner.begun[0].take_body()
    ends_at(wire, 30)
    timed_out(wire)


def test_pauses_add_up(parser: str) -> None:
    wire = Wire(ignore, parser, max_body_buffer_bytes=240)
    wire.feed(request("/", "Content-Length: 24000", method="POST"))
    for _ in range(20):
        wire.advance(1)
        wire.feed(b"x" * 240)
        assert wire.transport.paused
        wire.advance(100)
        wire.owner.begun[0].take_body()
    assert not wire.transport.writes
    ends_at(wire, 5)
    timed_out(wire)


def test_no_time_runs_once_the_body_is_there(parser: str) -> None:
    for data in (request("/", "Content-Length: 5", method="POST", body=b"hello"), CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"):
        wire = Wire(ignore, parser)
        wire.feed(data, 7)
        wire.advance(DAY)
        assert not wire.transport.writes
        assert not wire.transport.ended


def test_the_time_for_a_body_begins_when_it_is_asked_for(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(EXPECT)
    wire.advance(DAY)
    assert not wire.transport.writes
    wire.owner.begun[0].want_body()
    ends_at(wire, 5)
    assert wire.responses[0].informational
    timed_out(wire)


def test_a_client_that_got_tired_of_waiting_for_100_has_its_time_from_there(parser: str) -> None:
    # RFC 9110 §10.1.1: "a client that sends a 100-continue expectation is not required to wait for any specific length of time".
    wire = Wire(ignore, parser)
    wire.feed(EXPECT)
    wire.advance(60)
    wire.feed(b"x" * 100)
    assert not wire.transport.writes
    ends_at(wire, 5 + 100 / 240)
    timed_out(wire)


def test_the_framing_of_a_body_that_nobody_asked_for_does_not_extend_its_time(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(request("/", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST"))
    wire.advance(60)
    for octet in b"5;a=b":
        wire.feed(bytes([octet]))
        wire.advance(1)
    timed_out(wire)


def test_a_response_that_has_begun_is_broken_off_when_the_body_stalls(parser: str) -> None:
    def app(call: Call) -> Steps:
        call.exchange.respond(200)
        yield from call.send(b"begun")
        yield from call.body()
        yield from call.send(b"never", more=False)

    wire = Wire(app, parser)
    wire.feed(POST)
    wire.advance(5)
    assert wire.transport.written.endswith(b"5\r\nbegun\r\n")
    assert wire.transport.half_closed
    assert not wire.owner.resets
    assert wire.owner.refusals == [(wire.owner.refusals[0][0], 408)]
    assert wire.seen[0].ending == "aborted"
    # Where only the end of the connection ends the response, an orderly one would make it look complete (RFC 9112 §8).
    wire = Wire(app, parser)
    wire.feed(request("/", "Content-Length: 100", method="POST", version="1.0"))
    wire.advance(5)
    assert wire.transport.written.endswith(b"\r\n\r\nbegun")
    assert wire.owner.resets == 1


# ---- between requests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "seconds"), [({}, 15.0), ({"timeout_keep_alive": 2.0}, 2.0), ({"timeout_keep_alive": 100.0}, 100.0)])
def test_an_idle_connection_is_closed(parser: str, options: dict[str, Any], seconds: float) -> None:
    assert Timeouts().timeout_keep_alive == 15.0
    wire = Wire(parser=parser, **options)
    wire.advance(5)
    for number in range(3):
        wire.feed(GET)
        wire.advance(seconds - MOMENT)
        assert len(wire.responses) == number + 1
        assert not wire.transport.ended
    wire.feed(GET)
    ends_at(wire, seconds)
    assert wire.transport.closed
    assert not wire.owner.refusals
    assert wire.statuses == [200] * 4


def test_no_keep_alive_at_all_is_announced(parser: str) -> None:
    wire = Wire(parser=parser, timeout_keep_alive=0.0)
    wire.feed(GET)
    (response,) = wire.responses
    assert response.closes
    assert wire.transport.closed


def test_a_connection_is_not_idle_while_a_request_runs(parser: str) -> None:
    wire = Wire(ignore, parser, timeout_keep_alive_total=None)
    for number in range(3):
        wire.feed(GET)
        wire.advance(DAY)
        assert not wire.transport.ended
        wire.owner.begun[number].respond(200)
        wire.owner.begun[number].body(b"ok")
        wire.advance(14)
    ends_at(wire, 1)
    assert wire.statuses == [200, 200, 200]


def test_a_connection_is_not_idle_while_a_body_comes(parser: str) -> None:
    wire = Wire(echo, parser, min_request_body_rate=None)
    wire.feed(GET)
    wire.advance(10)
    wire.feed(request("/", "Content-Length: 3", method="POST"))
    for _ in range(3):
        wire.advance(20)
        wire.feed(b"x")
    assert wire.statuses == [200, 200]
    ends_at(wire, 15)


def test_empty_lines_do_not_keep_a_connection_alive(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(GET)
    for _ in range(4):
        wire.advance(3)
        wire.feed(b"\r\n")
    ends_at(wire, 3)
    assert wire.transport.closed
    assert wire.statuses == [200]


@pytest.mark.parametrize("eager", [False, True], ids=["task", "eager"])
@pytest.mark.parametrize("behind", [b"", b"\r\n", b"\r\n\r\n"])
def test_whatever_stands_behind_a_request_it_is_idle_afterwards(parser: str, behind: bytes, eager: bool) -> None:
    wire = Wire(parser=parser, eager=eager)
    wire.feed(GET)
    wire.advance(14)
    wire.feed(GET + behind)
    wire.advance(14)
    assert not wire.transport.ended
    wire.advance(2)
    assert wire.transport.closed
    assert wire.statuses[:2] == [200, 200]


# ---- the age of a connection -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "seconds"), [({}, 3600.0), ({"timeout_keep_alive_total": 60.0}, 60.0)])
def test_an_old_connection_is_closed_with_its_next_response(parser: str, options: dict[str, Any], seconds: float) -> None:
    assert Timeouts().timeout_keep_alive_total == 3600.0
    wire = Wire(parser=parser, **options)
    for _ in range(int(seconds // 10)):
        wire.feed(GET)
        wire.advance(10)
    assert not any(response.closes for response in wire.responses)
    wire.advance(MOMENT)
    wire.feed(GET)
    assert wire.responses[-1].closes
    assert wire.transport.closed


def test_the_age_of_a_connection_never_cuts_a_request(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    wire.advance(DAY)
    assert not wire.transport.ended
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"ok")
    assert wire.statuses == [200]


def test_a_connection_may_live_for_ever(parser: str) -> None:
    wire = Wire(parser=parser, timeout_keep_alive_total=None, timeout_keep_alive=DAY + 1)
    for _ in range(10):
        wire.feed(GET)
        wire.advance(DAY)
    assert not any(response.closes for response in wire.responses)
    assert not wire.transport.ended


# ---- a peer that does not take its response --------------------------------------------------------------------------------------

WRITES = [({}, 30.0), ({"timeout_write": 4.0}, 4.0), ({"timeout_write": 100.0}, 100.0)]


def stream(call: Call) -> Steps:
    call.exchange.respond(200)
    while True:
        yield from call.send(b"x" * 10_000)


@pytest.mark.parametrize(("options", "seconds"), WRITES)
def test_a_response_of_which_nothing_is_taken_is_cut(parser: str, options: dict[str, Any], seconds: float) -> None:
    assert Timeouts().timeout_write == 30.0
    wire = Wire(stream, parser, **options)
    wire.stall()
    wire.feed(GET)
    ends_at(wire, seconds)
    assert wire.transport.aborted
    assert isinstance(wire.calls[0].error, ClientDisconnected)
    assert wire.owner.begun[0].outcome == "write timeout"
    assert wire.owner.over == wire.owner.begun


@pytest.mark.parametrize(("options", "seconds"), WRITES)
def test_each_byte_that_is_taken_extends_the_time(parser: str, options: dict[str, Any], seconds: float) -> None:
    wire = Wire(stream, parser, **options)
    wire.stall()
    wire.feed(GET)
    for _ in range(100):
        wire.advance(seconds - 1)
        wire.take(1)
    assert not wire.transport.ended
    # The timer looks a few times: what was taken between two looks counts from the second.
    wire.advance(seconds * 1.1)
    assert wire.transport.aborted


@pytest.mark.parametrize(("options", "seconds"), WRITES)
def test_what_is_written_behind_the_pause_does_not_hide_what_is_taken(parser: str, options: dict[str, Any], seconds: float) -> None:
    # By somebody who does not wait: two tasks that send.
    wire = Wire(ignore, parser, **options)
    wire.stall()
    wire.feed(GET)
    exchange = wire.owner.begun[0]
    exchange.respond(200)
    exchange.body(b"x" * 70_000, more=True)
    exchange.body(b"x" * 70_000, more=True)
    for _ in range(20):
        wire.advance(seconds / 4)
        wire.take(1000)
    assert not wire.transport.ended
    wire.advance(seconds * 1.1)
    assert wire.transport.aborted


@pytest.mark.parametrize(("options", "seconds"), WRITES)
def test_what_the_system_takes_just_after_the_pause_does_not_double_the_time(parser: str, options: dict[str, Any], seconds: float) -> None:
    # A socket's buffer goes on growing for a moment while its client takes nothing.
    wire = Wire(stream, parser, **options)
    wire.stall()
    wire.feed(GET)
    wire.advance(seconds / 1000)
    wire.take(20_000)
    wire.advance(seconds * 0.99)
    assert not wire.transport.aborted
    wire.advance(seconds * 0.1)
    assert wire.transport.aborted


def test_a_peer_that_keeps_up_has_no_time_limit(parser: str) -> None:
    wire = Wire(stream, parser)
    wire.stall()
    wire.feed(GET)
    wire.advance(20)
    wire.take(wire.transport.buffer_size)
    wire.advance(20)
    wire.take(wire.transport.buffer_size)
    wire.advance(20)
    assert not wire.transport.ended
    assert wire.transport.buffer_size


def test_an_application_that_pauses_is_no_stalled_peer(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"x" * 100, more=True)
    wire.advance(DAY)
    assert not wire.transport.ended


def test_the_time_for_taking_a_response_can_be_switched_off(parser: str) -> None:
    wire = Wire(stream, parser, timeout_write=None)
    wire.stall()
    wire.feed(GET)
    wire.advance(DAY)
    assert not wire.transport.ended


@pytest.mark.parametrize("size", [100, 1_000_000])
@pytest.mark.parametrize("taken", [0, 1, 1_000_000])
def test_a_closing_connection_whose_peer_takes_nothing_is_cut(parser: str, size: int, taken: int) -> None:
    wire = Wire(lambda call: call.respond(b"x" * size), parser)
    wire.stall()
    wire.feed(request("/", "Connection: close"))
    assert wire.transport.closed
    assert wire.owner.closes == 0, "it is not flushed"
    taken = min(taken, wire.transport.buffer_size - 1)
    if taken:
        # As much as it likes, but then nothing: below the low-water mark as well.
        wire.advance(29)
        wire.take(taken)
        assert not wire.transport.aborted
    wire.advance(61)
    assert wire.transport.aborted
    assert wire.connection.phase == "closed"


def test_a_closing_connection_whose_peer_takes_everything_is_closed_in_order(parser: str) -> None:
    wire = Wire(lambda call: call.respond(b"x" * 100_000), parser)
    wire.stall()
    wire.feed(request("/", "Connection: close"))
    for _ in range(20):
        wire.advance(29)
        wire.take(5_000)
    wire.take()
    assert wire.owner.closes == 1
    assert not wire.transport.aborted
    assert len(wire.responses[0].body) == 100_000


def test_an_idle_connection_whose_peer_takes_nothing_is_cut(parser: str) -> None:
    wire = Wire(lambda call: call.respond(b"x" * 100), parser)
    wire.stall()
    wire.feed(GET)
    wire.advance(15)
    assert wire.transport.closed
    wire.advance(30)
    assert wire.transport.aborted


def test_a_peer_that_takes_nothing_of_a_whole_response_is_cut(parser: str) -> None:
    wire = Wire(lambda call: call.respond(b"x" * 1_000_000), parser)
    wire.stall()
    wire.feed(GET)
    wire.advance(61)
    assert wire.transport.aborted
    assert wire.owner.closes == 1


# ---- lingering -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "seconds"), [({}, 1.0), ({"timeout_linger": 5.0}, 5.0)])
@pytest.mark.parametrize("half_close", [True, False], ids=["tcp", "tls"])
def test_after_a_refusal_the_connection_lingers(parser: str, options: dict[str, Any], seconds: float, half_close: bool) -> None:
    assert Timeouts().timeout_linger == 1.0
    wire = Wire(parser=parser, half_close=half_close, **options)
    wire.feed(b"BAD\r\n\r\n")
    assert wire.transport.half_closed is half_close
    assert wire.connection.phase == "linger"
    for _ in range(9):
        wire.advance(seconds / 10)
        wire.feed(b"x" * 1000)
    assert not wire.transport.ended
    wire.advance(seconds / 10 + MOMENT)
    assert wire.transport.closed
    assert wire.statuses == [400]


@pytest.mark.parametrize(("options", "seconds"), [({}, 1.0), ({"timeout_linger": 5.0}, 5.0)])
def test_the_rest_of_an_unread_body_has_the_same_time(parser: str, options: dict[str, Any], seconds: float) -> None:
    wire = Wire(answer, parser, **options)
    wire.feed(request("/", "Content-Length: 1000", method="POST"))
    wire.advance(seconds / 2)
    wire.feed(b"x" * 500)
    ends_at(wire, seconds / 2)
    assert wire.transport.closed
    wire = Wire(answer, parser, **options)
    wire.feed(request("/", "Content-Length: 1000", method="POST"))
    wire.advance(seconds / 2)
    wire.feed(b"x" * 1000)
    ends_at(wire, 15)


def test_no_time_to_linger_closes_at_once(parser: str) -> None:
    wire = Wire(parser=parser, timeout_linger=0.0)
    wire.feed(b"BAD\r\n\r\n")
    wire.advance(MOMENT)
    assert wire.transport.closed
    assert wire.statuses == [400]


def test_a_lingering_connection_whose_peer_took_everything_is_not_cut(parser: str) -> None:
    wire = Wire(parser=parser, timeout_linger=100.0)
    wire.stall()
    wire.feed(b"BAD\r\n\r\n")
    wire.take()
    ends_at(wire, 100)
    assert wire.transport.closed
    assert not wire.transport.aborted


def test_a_lingering_connection_whose_peer_takes_nothing_is_cut(parser: str) -> None:
    wire = Wire(parser=parser, timeout_linger=100.0)
    wire.stall()
    wire.feed(b"BAD\r\n\r\n")
    ends_at(wire, 30)
    assert wire.transport.aborted


def test_a_peer_that_closes_ends_the_lingering(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(b"BAD\r\n\r\n")
    wire.feed_eof()
    assert wire.transport.closed


# ---- while the server stops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", GET, GET * 2, b"\r\n"], ids=["new", "used", "used-twice", "an-empty-line"])
@pytest.mark.parametrize("seconds", [0.5, 2.0, 30.0])
def test_an_idle_connection_waits_for_a_request_that_is_on_its_way(parser: str, before: bytes, seconds: float) -> None:
    wire = Wire(parser=parser)
    wire.feed(before)
    wire.advance(5)
    wire.connection.begin_drain(seconds)
    ends_at(wire, seconds)
    assert wire.transport.closed
    wire = Wire(parser=parser)
    wire.feed(before)
    wire.connection.begin_drain(seconds)
    wire.advance(seconds - MOMENT)
    wire.feed(GET)
    assert wire.responses[-1].closes
    assert wire.transport.closed


def test_a_head_that_has_begun_keeps_its_time_while_the_server_stops(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(GET[:10])
    wire.advance(4)
    wire.connection.begin_drain(2)
    wire.advance(5)
    assert not wire.transport.ended
    wire.advance(1 + MOMENT)
    timed_out(wire)


def test_no_timer_does_anything_after_the_connection_is_gone(parser: str) -> None:
    for data in (b"", GET[:5], GET, POST, b"BAD\r\n\r\n"):
        wire = Wire(parser=parser)
        wire.feed(data)
        written = wire.transport.written
        wire.lose()
        wire.advance(DAY)
        assert wire.transport.written == written
        assert not wire.transport.ended
        assert wire.owner.closes == 1


def test_a_busy_connection_does_not_arm_a_timer_for_each_request(parser: str) -> None:
    wire = Wire(parser=parser)
    for _ in range(1000):
        wire.advance(0.01)
        wire.feed(GET)
    assert wire.owner.arms <= 3
