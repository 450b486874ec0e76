"""One run of a connection, and all that can be told about it from outside; and what of it may depend on how the bytes were cut.

The law of this module: two parsers that are fed the same pieces must give the same `Snapshot`, field for field, without exception. Where the pieces
differ as well, `Snapshot.whatever_the_cut` says what is left to compare, and each thing that it leaves out has its reason there.
"""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from asgiserve.asgi.scope import http_scope, websocket_scope
from asgiserve.config import WebSocketConfig
from asgiserve.core.parsers import ParserFactory, choose_parser
from asgiserve.core.websocket import WebSocketStream
from asgiserve.core.websocket_handshake import accept_fields
from tests.support import sansio
from tests.support.exchanges import FakePeer, make_context
from tests.support.sansio import AVAILABLE, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgiserve.core.exchange import Exchange
    from asgiserve.core.parsers import HeadCallbacks
    from asgiserve.http.fields import Field
    from tests.support.sansio import App, Call, Steps

__all__ = ["APPS", "FACTORIES", "DifferenceError", "Observed", "Snapshot", "compare", "observe", "random_cut"]

# Small enough to be met by generated requests, large enough for every request of the tables that is to be served.
LIMITS: dict[str, Any] = {
    "max_request_line_bytes": 8_190,
    "max_head_bytes": 9_000,
    "max_field_count": 20,
    "max_body_bytes": 4_000,
    "max_chunk_line_bytes": 1_000,
    "max_chunk_extension_bytes": 1_500,
    "max_body_buffer_bytes": 2_000,
    "max_drain_bytes": 1_000,
}


# ---- applications


def _websocket(call: Call) -> Steps:
    """Accept, and send back every message."""
    stream = WebSocketStream(call.exchange, WebSocketConfig(), [])
    call.exchange.tunnel(stream, accept_fields(call.exchange.head.fields, None, b""))
    while True:
        message = stream.take_message()
        if message is not None:
            stream.send(message)
        elif stream.disconnect is not None:
            return
        else:
            yield "event"


def reads(call: Call) -> Steps:
    """Read the whole body, and send it back with the trailers behind it; a WebSocket is accepted."""
    if call.exchange.head.upgrade:
        yield from _websocket(call)
        return
    body = yield from call.body()
    if body is not None:
        call.respond(body + b"".join(b"|%b=%b" % trailer for trailer in call.exchange.request_trailers))


def answers(call: Call) -> Steps:
    """Answer at once, and read nothing; a handshake is answered with 200."""
    call.respond(b"at once")
    return
    yield


APPS: dict[str, App] = {"reads": reads, "answers": answers}


# ---- what a parser said


class Log:
    """Between a parser and the reader of heads: what is called, in order. A head counts once it is complete."""

    def __init__(self) -> None:
        self.heads: list[tuple[Field, ...]] = []

    def __call__(self, factory: ParserFactory) -> ParserFactory:
        return ParserFactory(factory.name, lambda callbacks: factory.make(_Logged(callbacks, self.heads)))


class _Logged:
    """The reader of heads, as one parser sees it."""

    def __init__(self, callbacks: HeadCallbacks, heads: list[tuple[Field, ...]]) -> None:
        self._callbacks = callbacks
        self._heads = heads
        self._fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        assert type(name) is bytes
        assert type(value) is bytes
        # In which case a name comes is the one thing that is the parser's own.
        self._fields.append((name.lower(), value))
        self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        self._heads.append(tuple(self._fields))
        self._fields = []
        self._callbacks.on_headers_complete()


# ---- what can be told


class Snapshot(NamedTuple):
    """What can be told of a connection from outside, at one moment."""

    heads: tuple[tuple[Field, ...], ...]
    """The callbacks of the parser, for each request that was taken."""
    requests: tuple[tuple[object, ...], ...]
    """The scope of each request, what its head says beside that, its body, how the body ended and its trailers."""
    writes: tuple[bytes, ...]
    refusals: tuple[tuple[str, int], ...]
    phase: str
    half_closed: bool
    closed: bool
    aborted: bool
    paused: bool
    pauses: int
    over: int
    """Exchanges that ended."""

    @property
    def whatever_the_cut(self) -> tuple[object, ...]:
        """What must be the same however the bytes were cut."""
        gone = self.half_closed or self.closed or self.aborted
        return (
            self.heads,
            # What came of a body that never became whole depends on when its fault was met.
            tuple(facts if facts[-2] == "whole" else (*facts[:-3], facts[-2]) for facts in self.requests),
            # How the pieces were written depends on how they came; and whether a WebSocket gets its message back before the fault behind it ends all.
            _before_frames(b"".join(self.writes)),
            self.refusals,
            # A connection that is closed lingers if something has arrived that nobody read.
            self.phase.replace("linger", "closed"),
            gone,
            self.aborted,
            # Reading pauses where much came at once (`pauses`), and must go on when that was taken. Who lingers may stop reading for good.
            self.paused and not gone,
            self.over,
        )


def _before_frames(written: bytes) -> bytes:
    """What was written up to the head of 101, which ends HTTP."""
    at = written.find(b"HTTP/1.1 101 ")
    return written if at < 0 else written[: written.index(b"\r\n\r\n", at) + 4]


class Observed(NamedTuple):
    """A connection after the bytes, and after the end that followed them."""

    after_bytes: Snapshot
    after_end: Snapshot

    @property
    def whatever_the_cut(self) -> tuple[object, ...]:
        return self.after_bytes.whatever_the_cut, self.after_end.whatever_the_cut


def _facts(exchange: Exchange) -> tuple[object, ...]:
    """The scope that the application is called with, and the rest of the head."""
    head = exchange.head
    make_scope = websocket_scope if head.upgrade else http_scope
    scope = make_scope(make_context(), exchange, FakePeer())
    scope["headers"] = tuple(scope["headers"])
    return (
        tuple(sorted((key, value) for key, value in scope.items() if key not in {"asgi", "extensions"})),
        head.minor_version,
        head.framing.body_length,
        head.framing.keep_alive,
        head.framing.expects_continue,
        head.framing.trailers_wanted,
        head.upgrade,
        head.framing.forwarded,
    )


def _snapshot(wire: Wire, log: Log) -> Snapshot:
    transport = wire.transport
    return Snapshot(
        heads=tuple(log.heads[: len(wire.owner.begun)]),
        requests=tuple((*_facts(call.exchange), call.seen.body, call.seen.ending, call.seen.trailers) for call in wire.calls),
        writes=tuple(transport.writes),
        refusals=tuple(wire.owner.refusals),
        phase=wire.connection.phase,
        half_closed=transport.half_closed,
        closed=transport.closed,
        aborted=transport.aborted,
        paused=transport.paused,
        pauses=transport.pauses,
        over=len(wire.owner.over),
    )


def observe(data: bytes, factory: ParserFactory, cut: int | Iterable[int] | None, app: App, *, eager: bool, eof: bool) -> Observed:
    """Feed ``data`` to a connection with this parser, and then the end of the client's direction (``eof``) or two minutes of silence."""
    log = Log()
    with mock.patch.object(sansio, "choose_parser", return_value=log(factory)):
        wire = Wire(app, eager=eager, **LIMITS)
    wire.feed(data, cut)
    after_bytes = _snapshot(wire, log)
    if eof:
        wire.feed_eof()
    # Nothing waits for ever: whatever is left is closed now.
    wire.advance(120)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun
    assert all(call.finished for call in wire.calls)
    return Observed(after_bytes, _snapshot(wire, log))


# ---- all of them beside each other


class DifferenceError(AssertionError):
    """Two ways to feed the same bytes that came to different ends."""


FACTORIES = [choose_parser(name) for name in AVAILABLE]


def random_cut(data: bytes) -> list[int]:
    """Places to cut ``data`` at: made up, and the same each time."""
    chance = random.Random(zlib.crc32(data))  # noqa: S311 - no secret
    return chance.sample(range(len(data) + 1), min(len(data), chance.randint(1, 8)))


def compare(data: bytes, cuts: Iterable[Iterable[int]], *, factories: Iterable[ParserFactory] | None = None, thorough: bool = True) -> None:
    """Feed ``data`` to each parser, each application: whole, byte by byte, and cut at each of ``cuts``.

    ``thorough`` is both ends for both applications: the client's FIN, and silence. Otherwise each application meets one of them.

    Raises:
        DifferenceError: they did not come to the same end.
    """
    factories = list(factories or FACTORIES)
    # Large ones in pieces of a hundred bytes: as good, and a hundred times as fast.
    ways: list[int | list[int] | None] = [None, 1 if len(data) < 5_000 else 97, *(list(cut) for cut in cuts)]
    for name, app in APPS.items():
        for eof in (True, False) if thorough else (name == "reads",):
            # Eager: the application runs as soon as its request has begun, so that what it does falls between the same two bytes however they came.
            first = _compare_parsers(data, factories, ways[0], name, app, eager=True, eof=eof)
            for way in ways[1:]:
                other = _compare_parsers(data, factories, way, name, app, eager=True, eof=eof)
                if other.whatever_the_cut != first.whatever_the_cut:
                    raise DifferenceError(_told(f"{name}, eof={eof}: whole and cut at {way}", data, first.whatever_the_cut, other.whatever_the_cut))
        # In a turn of its own the application may find the body there or not; the parsers must still agree, read by read.
        _compare_parsers(data, factories, ways[-1], name, app, eager=False, eof=True)


def _compare_parsers(
    data: bytes, factories: list[ParserFactory], way: int | list[int] | None, name: str, app: App, *, eager: bool, eof: bool
) -> Observed:
    """The same pieces to each parser: everything must be the same."""
    found = [observe(data, factory, way, app, eager=eager, eof=eof) for factory in factories]
    for factory, other in zip(factories[1:], found[1:], strict=True):
        if other != found[0]:
            names = f"{factories[0].name} and {factory.name}, {name}, eof={eof}, cut at {way}"
            raise DifferenceError(_told(names, data, tuple(found[0]), tuple(other)))
    return found[0]


def _told(what: str, data: bytes, first: tuple[Any, ...], other: tuple[Any, ...]) -> str:
    """Where the two part."""
    lines = [what, f"  fed:   {data[:2000]!r}"]
    for when, one, two in zip(("after the bytes", "after the end"), first, other, strict=True):
        lines += [f"  {when}:\n    {a!r}\n    {b!r}" for a, b in zip(one, two, strict=True) if a != b]
    return "\n".join(lines)
