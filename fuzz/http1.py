"""The HTTP/1 connection, with each parser: what a peer sends, cut anywhere, while time passes and an application does what it likes.

The law of this module: a connection is looked at from outside, as the tests do it (`tests.support.sansio`), and is never told what is right: two ways
of reading the same bytes are compared, and what was accepted is compared with what h11 and llhttp by themselves make of it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from asgiserve.config import Limits
from asgiserve.core.exchange import DONE
from asgiserve.core.http1_head import HeadReader
from asgiserve.core.parsers import choose_parser
from fuzz import apps, corpus
from fuzz.engine import Choices, Input, Target, random_plan
from fuzz.readings import Reading, h11_reading, llhttp_reading
from pytest_asgiserve.raw import Truncated
from tests.support.sansio import AVAILABLE, Wire, echo, ignore, read_responses
from tests.support.websocket import split_frames

if TYPE_CHECKING:
    import random

    from asgiserve.core.parsers import ParserFactory
    from asgiserve.core.request import RequestHead
    from pytest_asgiserve.raw import RawResponse

__all__ = ["HTTP1", "check_end", "scenario"]

# Limits that short input can break.
_SMALL: Final[dict[str, Any]] = {
    "max_request_line_bytes": 64,
    "max_head_bytes": 256,
    "max_field_count": 4,
    "max_chunk_line_bytes": 16,
    "max_chunk_extension_bytes": 20,
    "max_body_bytes": 60,
    "max_body_buffer_bytes": 10,
    "max_drain_bytes": 20,
    "max_keep_alive_count": 3,
}
_LIMITS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {},
    _SMALL,
    {"max_body_buffer_bytes": 10, "max_drain_bytes": 20},
    {"timeout_keep_alive": 0.0},
    {"max_body_bytes": 5},
)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_SECONDS: Final = (0.5, 3.0, 11.0, 31.0)
# Far beyond every timeout.
_LONG: Final = 200.0
_BAD_REQUEST: Final = 400
# What any input costs in calls of the transport and the timer, at most: a few for each byte, and a few for nothing.
_MOST_CALLS: Final = 60
_CALLS_PER_BYTE: Final = 4


def make(rng: random.Random) -> Input:
    """A stream of requests and a plan."""
    return Input(corpus.stream(rng), random_plan(rng))


def check(tried: Input) -> None:
    """Whole and cut, with each parser, it is the same; and whatever happens meanwhile, every promise is kept."""
    choices = Choices(tried.plan)
    options: dict[str, Any] = choices.pick(_LIMITS)
    cuts = choices.cuts(len(tried.data))
    found = []
    for parser in AVAILABLE:
        for cut in (None, cuts) if cuts else (None,):
            wire = Wire(echo, parser, **options)
            wire.feed(tried.data, cut)
            # Whether the end of a connection lingers depends on what has come by then.
            before = wire.connection.phase.replace("linger", "closed")
            _finish(wire)
            check_end(wire, tried.data)
            found.append((before, _observed(wire, tried.data, compare_statuses=not options)))
            if cut is None and not options:
                _compare_readings(wire, tried.data)
    assert all(other == found[0] for other in found), f"cut at {cuts}, parsers {AVAILABLE}: {found}"
    if choices.left:
        rest = tried.plan[-choices.left :]
        outcomes = []
        for parser in AVAILABLE:
            wire = scenario(tried.data, Choices(rest), parser)
            outcomes.append(_observed(wire, tried.data, compare_statuses=wire.limits == Limits()))
        assert all(other == outcomes[0] for other in outcomes), f"parsers {AVAILABLE}: {outcomes}"


def scenario(data: bytes, choices: Choices, parser: str) -> Wire:
    """``data`` in pieces, with something happening behind each, to an application of the plan."""
    options: dict[str, Any] = choices.pick(_LIMITS)
    app = apps.application(choices)
    eager, tls = choices.below(2) == 1, choices.below(4) == 1
    cuts = choices.cuts(len(data))
    wire = Wire(app, parser, eager=eager, half_close=not tls, **options)
    gone = False
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        wire.feed(data[begin:end] or b"\r\n")
        if choices.left and _happens(wire, choices):
            gone = True
            break
    _finish(wire, gone=gone)
    check_end(wire, data)
    return wire


def _happens(wire: Wire, choices: Choices) -> bool:
    """One event. True where nothing can come from the peer any more."""
    what = choices.below(16)
    if what <= 4:
        return False
    if what <= 8:
        wire.advance(choices.pick(_SECONDS))
    elif what == 9:
        wire.stall()
    elif what == 10:
        wire.take()
    elif what == 11:
        wire.connection.begin_drain(choices.pick((2.0, 0.0)))
        wire.settle()
    elif what == 12:
        wire.connection.abort()
        wire.settle()
    elif what == 13 and not wire.owner.closes:
        wire.lose(ConnectionResetError() if choices.below(2) else None)
    else:
        wire.feed_eof()
    return what >= 13


def _finish(wire: Wire, *, gone: bool = False) -> None:
    """The peer takes what there is and half-closes; then a long time passes."""
    if wire.owner.closes:
        return
    wire.take()
    if not gone and not wire.owner.closes:
        wire.feed_eof()
    wire.advance(_LONG)
    if not wire.owner.closes:
        # Only an application can keep a connection, by not answering.
        assert any(not call.finished for call in wire.calls), "the connection outlives every timeout"
        wire.lose()


def check_end(wire: Wire, data: bytes) -> None:
    """What is true of every connection that is over."""
    owner, transport = wire.owner, wire.transport
    assert owner.closes == 1
    assert owner.over == owner.begun, "an exchange that never ended, or in another order"
    assert all(call.finished for call in wire.calls if wire.app is not ignore), "a call that nobody woke"
    assert len(owner.refusals) <= 1, owner.refusals
    calls = len(transport.writes) + owner.arms + transport.pauses
    assert calls <= _MOST_CALLS + _CALLS_PER_BYTE * len(data), f"{calls} calls for {len(data)} bytes"
    refused = len(owner.refusals)
    answers: list[RawResponse] = []
    try:
        answers = read_responses(transport.written, wire.methods)
    except Truncated:
        # The application failed inside of it, or the peer went; a client can tell.
        assert owner.begun, "a refusal that is cut"
        assert owner.begun[-1].aborted, "a response that is cut while nothing was wrong"
    for exchange, answer in zip(owner.begun, answers, strict=False):
        if exchange.response_state is DONE and exchange.stream is None:
            assert answer.status == exchange.status, "the answer to another request"
            assert exchange.bodiless or len(answer.body) == exchange.sent_bytes
        assert exchange.head.minor_version or not answer.informational, "an informational response to HTTP/1.0"
    if owner.begun and owner.begun[-1].aborted and refused:
        # Refused in its body: that was the answer to it.
        refused = 0
    assert len(answers) <= len(owner.begun) + refused, "a second answer"
    assert not any(answer.closes for answer in answers[:-1]), "something behind the last response"
    if answers and refused:
        assert answers[-1].status == owner.refusals[0][1]
        assert answers[-1].closes
    if any(exchange.stream is not None for exchange in owner.begun) and answers and answers[-1].informational[-1:]:
        start = transport.written.rindex(b"\r\nsec-websocket-accept: ")
        split_frames(transport.written[transport.written.index(b"\r\n\r\n", start) + 4 :])
    for exchange in owner.begun:
        _check_again(exchange.head)


def _facts(head: RequestHead) -> tuple[object, ...]:
    target = head.target
    options = (head.framing.keep_alive, head.framing.trailers_wanted, head.framing.upgrade, head.framing.forwarded)
    return (head.method, target.raw_path, target.path, target.query, head.minor_version, head.fields, head.framing.body_length, *options)


@functools.cache
def _factories() -> list[ParserFactory]:
    return [choose_parser(name) for name in AVAILABLE]


_no_limits: Final = Limits(max_head_bytes=1 << 20, max_request_line_bytes=1 << 20, max_field_count=1000)


def _check_again(head: RequestHead) -> None:
    """What was accepted, written down by the book, is read as the same by both: nothing in it has two meanings."""
    target = head.target.raw_path + (b"?" + head.target.query if head.target.query else b"")
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in head.fields)
    again = b"%b %b HTTP/1.%d\r\n%b\r\n" % (head.method, target, head.minor_version, lines)
    for factory in _factories():
        found = HeadReader(_no_limits, factory, websocket=True).read(again)
        assert _facts(found) == _facts(head), f"{factory.name} reads {again!r} as another request"


def _observed(wire: Wire, data: bytes, *, compare_statuses: bool) -> tuple[object, ...]:
    """What a client and the application can tell of a connection, however the bytes came.

    Refusals count as the same where there is a bare CR or LF: that is refused as soon as it is seen, and another fault before it only when its line
    is complete. So do they under small limits, of which that counts which is met first.
    """
    bare = data.replace(b"\r\n", b"")
    told_apart = compare_statuses and not (b"\n" in bare or b"\r" in bare)
    # Whether a client that held its body back was told to continue depends on what of it was there already.
    written = wire.transport.written.replace(_CONTINUE, b"")
    try:
        # A refusal's words are the parser's own.
        answers: list[object] = [
            (answer.status, answer.body, answer.framing) if answer.status < _BAD_REQUEST else (answer.status if told_apart else _BAD_REQUEST)
            for answer in read_responses(written, wire.methods)
        ]
    except Truncated:
        answers = [written]
    seen = [call if call.ending == "whole" else call._replace(body=b"", ending="") for call in wire.seen]
    return answers, seen, wire.transport.aborted, [status if told_apart else _BAD_REQUEST for _, status in wire.owner.refusals]


def _compare_readings(wire: Wire, data: bytes) -> None:
    """What reached the application whole is what others read in the same bytes, as far as they read on."""
    ours = [
        Reading(
            seen.method, _target(seen.raw_path, seen.query), [field for field in seen.fields if field[0] != b"host"], seen.body, list(seen.trailers)
        )
        for seen in wire.seen
        if seen.ending == "whole"
    ]
    if not ours:
        return
    for theirs in (h11_reading(data), llhttp_reading(data)):
        for mine, other in zip(ours, theirs, strict=False):
            assert mine.matches(other), f"read as {mine}, by others as {other}"


def _target(raw_path: bytes, query: bytes) -> bytes:
    return raw_path + b"?" + query


HTTP1: Final = Target(
    "http1",
    "the HTTP/1 connection: whole and cut, both parsers, applications of all kinds, time-outs, ends and stalls",
    make,
    check,
    feeds=6,
)
