"""An `Http1Connection` between two fakes: no socket, no event loop, no clock but the one that a test turns.

The law of this module: the fakes are as strict as asyncio and uvloop together (nothing is written behind an end, nothing paused twice, an
exchange ends once), and a test sees a connection only from outside: the bytes that went in, those that came out, and what the application was given.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest

from asgiserve.config import Limits, Timeouts
from asgiserve.core.exchange import ABORTED, DONE
from asgiserve.core.http1 import Http1Connection
from asgiserve.core.parsers import choose_parser
from asgiserve.errors import ClientDisconnected, LocalProtocolError
from pytest_asgiserve.raw import RawConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from collections.abc import Set as AbstractSet

    from asgiserve.core.exchange import Exchange
    from pytest_asgiserve.raw import RawResponse

__all__ = [
    "AVAILABLE",
    "CUTS",
    "GET",
    "PARSERS",
    "App",
    "Call",
    "FakeOwner",
    "FakeTransport",
    "Seen",
    "Steps",
    "Wire",
    "answer",
    "echo",
    "ignore",
    "read_responses",
    "request",
]

AVAILABLE = [name for name in ("httptools", "h11") if importlib.util.find_spec(name) is not None]
PARSERS = [
    pytest.param(name, marks=pytest.mark.skipif(name not in AVAILABLE, reason=f"{name} is not there for this Python"))
    for name in ("httptools", "h11")
]
CUTS = [pytest.param(None, id="whole"), pytest.param(1, id="bytewise"), pytest.param(3, id="by-threes")]

GET = b"GET / HTTP/1.1\r\nHost: test.example\r\n\r\n"

# asyncio's and uvloop's default.
HIGH_MARK = 65536

DATE = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
SERVER = b"server: fake\r\n"


def request(
    target: str = "/", *fields: str, method: str = "GET", version: str = "1.1", host: str | None = "test.example", body: bytes = b""
) -> bytes:
    """A request; ``fields`` are whole lines without their ends, and the framing of ``body`` is theirs to say."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + body


class FakeTransport:
    """A transport that remembers.

    ``buffer_size`` is what it says of its buffer, for a test to set; or see `Wire.stall`. ``half_close`` False is TLS.
    """

    def __init__(self, *, half_close: bool = True) -> None:
        self.half_close = half_close
        self.stalled = False
        self.full = False
        self.on_full: Callable[[], object] = list
        self.writes: list[bytes] = []
        self.buffer_size = 0
        self.paused = False
        self.pauses = 0
        self.half_closed = False
        self.closed = False
        self.aborted = False

    @property
    def written(self) -> bytes:
        """All of it."""
        return b"".join(self.writes)

    @property
    def ended(self) -> bool:
        """Whether the connection was closed, in whatever way."""
        return self.closed or self.aborted

    def writelines(self, pieces: Iterable[bytes], /) -> None:
        self.write(b"".join(pieces))

    def write(self, data: bytes, /) -> None:
        assert isinstance(data, bytes), data
        assert data, "an empty write"
        assert not self.half_closed, f"written after write_eof(): {data!r}"
        if self.aborted:
            return
        assert not self.closed, f"written after close(): {data!r}"
        self.writes.append(data)
        if self.stalled:
            self.buffer_size += len(data)
            if self.buffer_size > HIGH_MARK and not self.full:
                # Inside of write(), as asyncio does it.
                self.full = True
                self.on_full()

    def write_eof(self) -> None:
        assert self.half_close, "this transport cannot be half closed"
        assert not self.half_closed, "half closed twice"
        assert not self.ended, "half closed after the end"
        self.half_closed = True

    def can_write_eof(self) -> bool:
        return self.half_close

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        assert not self.paused, "paused twice"
        assert not self.ended, "paused after the end"
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        assert self.paused, "resumed without a pause"
        assert not self.ended, "resumed after the end"
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return self.buffer_size


class FakeOwner:
    """A clock, a timer and a list of each thing that a connection says.

    ``on_begin`` is called for each exchange.
    """

    def __init__(self, on_begin: Callable[[Exchange], None]) -> None:
        self.on_begin = on_begin
        self.now = 1000.0
        self.armed: float | None = None
        self.arms = 0
        self.callbacks: list[Callable[[], None]] = []
        self.begun: list[Exchange] = []
        self.over: list[Exchange] = []
        self.refusals: list[tuple[str, int]] = []
        self.transport: Any = None
        self.resets = 0
        self.closes = 0
        # Whether the system refuses what is written.
        self.refuses = False

    def gone(self) -> bool:
        return self.refuses or bool(self.closes)

    def clock(self) -> float:
        return self.now

    def connected(self, transport: Any) -> None:
        assert self.transport is None, "connected twice"
        self.transport = transport

    def arm(self, when: float) -> None:
        self.armed = when
        self.arms += 1

    def soon(self, callback: Callable[[], None], /) -> None:
        self.callbacks.append(callback)

    def default_fields(self, now: float, /) -> bytes:  # noqa: ARG002 - the time is always the same
        return SERVER + DATE

    def default_fields_without(self, names: AbstractSet[bytes], /) -> bytes:
        return (b"" if b"server" in names else SERVER) + (b"" if b"date" in names else DATE)

    def begin(self, exchange: Exchange, /) -> None:
        assert not self.closes, "an exchange begins on a connection that is gone"
        self.begun.append(exchange)
        self.on_begin(exchange)

    def ended(self, exchange: Exchange, /) -> None:
        assert exchange not in self.over, "an exchange ends twice"
        self.over.append(exchange)

    def refused(self, detail: str, status: int) -> None:
        assert "\n" not in detail
        self.refusals.append((detail, status))

    def reset(self) -> None:
        self.resets += 1
        self.transport.abort()

    def closed(self) -> None:
        self.closes += 1
        assert self.closes == 1, "closed twice"


class Seen(NamedTuple):
    """What the application was given of one request. ``ending`` is ``whole``, ``aborted``, or ``unread`` where it never came to the end."""

    method: bytes
    path: str
    raw_path: bytes
    query: bytes
    minor_version: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    ending: str = "unread"
    trailers: tuple[tuple[bytes, bytes], ...] = ()


# What an application waits for: "event" of its exchange, or "gate" of its connection.
Steps: TypeAlias = "Generator[str, None, None]"
App: TypeAlias = "Callable[[Call], Steps | None]"


class Call:
    """One run of an application: a generator that yields where a coroutine would wait.

    It treats its exchange as `asgi.http.HttpCall` does: an error ends it with 500, and so does no response at all.
    """

    def __init__(self, wire: Wire, exchange: Exchange) -> None:
        self.wire = wire
        self.exchange = exchange
        self.error: BaseException | None = None
        self.finished = False
        self.pieces: list[bytes] = []
        self._ending = "unread"
        self._steps: Steps | None = None
        self._trailers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def seen(self) -> Seen:
        """What the application was given."""
        head = self.exchange.head
        target = head.target
        body = b"".join(self.pieces)
        return Seen(
            head.method, target.path, target.raw_path, target.query, head.minor_version, tuple(head.fields), body, self._ending, self._trailers
        )

    def step(self) -> None:
        """Run on, to the next wait or the end."""
        exchange = self.exchange
        try:
            if self._steps is None:
                steps = self.wire.app(self)
                if steps is None:
                    self._end()
                    return
                self._steps = steps
            what = next(self._steps)
        except StopIteration:
            self._end()
        except (LocalProtocolError, ClientDisconnected, ArithmeticError) as error:
            # ArithmeticError is what the applications of the tests raise; anything else is a bug and goes up.
            self.error = error
            self.finished = True
            exchange.fail()
        else:
            if what == "gate":
                self.wire.connection.write_gate.when_open(self._wake)
            else:
                exchange.on_event = self._wake

    def _wake(self) -> None:
        self.wire.owner.soon(self.step)

    def _end(self) -> None:
        self.finished = True
        if self.exchange.response_state is not DONE and not self.exchange.aborted:
            self.exchange.fail()

    # What an application calls.

    def receive(self) -> Generator[str, None, bytes | None]:
        """Some of the body; empty at its end, None where the request was aborted or the response is complete."""
        exchange = self.exchange
        while True:
            if exchange.body_pending:
                data = exchange.take_body()
                self.pieces.append(data)
                return data
            if exchange.response_state in {DONE, ABORTED}:
                self._ending = "aborted" if exchange.aborted else "unread"
                return None
            if exchange.request_ended:
                self._ending = "whole"
                self._trailers = tuple(exchange.request_trailers)
                return b""
            exchange.want_body()
            yield "event"

    def body(self) -> Generator[str, None, bytes | None]:
        """The whole body; None where it never became whole."""
        while data := (yield from self.receive()):
            pass
        return None if data is None else b"".join(self.pieces)

    def send(self, data: bytes, *, more: bool = True) -> Steps:
        """A part of the response's content, and wait until the peer keeps up."""
        self.exchange.body(data, more=more)
        while self.wire.connection.write_gate.shut and self.exchange.response_state is not DONE:
            yield "gate"
        if self.exchange.aborted:
            raise ClientDisconnected("the client is gone")

    def respond(self, body: bytes = b"ok", status: int = 200, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """The whole response at once."""
        self.exchange.respond(status, fields)
        self.exchange.body(body)


def answer(call: Call) -> None:
    """200 without a look at the body."""
    call.respond()


def echo(call: Call) -> Steps:
    """The whole body, when it is whole."""
    body = yield from call.body()
    if body is not None:
        call.respond(body)


def ignore(call: Call) -> Steps:
    """Nothing at all, until the exchange is over: what the test does with it."""
    while call.exchange.response_state not in {DONE, ABORTED}:
        yield "event"


def read_responses(data: bytes, methods: Iterable[bytes] | None = None) -> list[RawResponse]:
    """Every response in ``data``, to requests with these methods. Strict: see `pytest_asgiserve.raw`.

    Where the methods run out there is a refusal, which has content unless it answers HEAD; without ``methods`` all are GET.
    """
    client = _Written(data)
    refused = b"GET" if methods is None or not data.endswith(b"\r\n\r\n") else b"HEAD"
    remaining = iter(methods or ())
    responses = []
    while not client.done:
        response = client.read_response(next(remaining, refused).decode())
        responses.append(response)
        if response.informational and response.informational[-1].status == 101:
            break
    return responses


class _Written(RawConnection):
    """What a server wrote, read as if it came from a socket."""

    def __init__(self, data: bytes) -> None:  # no super().__init__(): there is no socket
        self._buffer = bytearray(data)
        self._ended = True

    @property
    def done(self) -> bool:
        return not self._buffer


class Wire:
    """A connection and everything around it.

    Args:
        app: what answers; runs in a turn of its own as a task would, or at once where ``eager``.
        parser: ``httptools`` or ``h11``.
        half_close: False is TLS.
        websocket: whether WebSocket is on.
        options: fields of `Limits` and `Timeouts`.
    """

    def __init__(
        self, app: App = answer, parser: str = "h11", *, eager: bool = False, half_close: bool = True, websocket: bool = True, **options: Any
    ) -> None:
        self.app = app
        self.eager = eager
        self.calls: list[Call] = []
        self.owner = FakeOwner(self._begin)
        self.transport = FakeTransport(half_close=half_close)
        names = {field.name for field in dataclasses.fields(Limits)}
        self.limits = Limits(**{name: value for name, value in options.items() if name in names})
        self.timeouts = Timeouts(**{name: value for name, value in options.items() if name not in names})
        self.connection = Http1Connection(self.owner, self.limits, self.timeouts, choose_parser(parser), websocket=websocket)
        self.transport.on_full = self.connection.pause_writing
        self._pending: list[bytes | None] = []
        self.connection.connection_made(self.transport)

    def _begin(self, exchange: Exchange) -> None:
        call = Call(self, exchange)
        self.calls.append(call)
        if self.eager:
            call.step()
        else:
            self.owner.soon(call.step)

    # What the peer does.

    def feed(self, data: bytes, cut: int | Iterable[int] | None = None) -> None:
        """``data`` comes: at once, in pieces of ``cut`` bytes, or cut at these positions. While reading is paused it waits, as in the kernel."""
        if isinstance(cut, int):
            positions = list(range(cut, len(data), cut))
        else:
            positions = sorted({position for position in cut or () if 0 < position < len(data)})
        self._pending += [data[begin:end] for begin, end in zip([0, *positions], [*positions, len(data)], strict=True)]
        self.settle()

    def feed_eof(self) -> None:
        """The peer half-closes, behind what is on the way."""
        self._pending.append(None)
        self.settle()

    def stall(self) -> None:
        """The peer takes nothing from now on: what is written fills the buffer."""
        self.transport.stalled = True

    def take(self, size: int | None = None) -> None:
        """The peer takes ``size`` bytes, or everything from now on."""
        transport = self.transport
        transport.stalled = size is not None
        transport.buffer_size = 0 if size is None else transport.buffer_size - size
        assert transport.buffer_size >= 0
        if transport.full and transport.buffer_size <= HIGH_MARK // 4:
            transport.full = False
            self.connection.resume_writing()
        self.settle()

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        self.connection.connection_lost(error)
        self._run_callbacks()

    # Time.

    def settle(self) -> None:
        """Run what is to run, deliver what is on the way, until nothing moves."""
        transport = self.transport
        while True:
            self._run_callbacks()
            if transport.ended and not self.owner.closes and (transport.aborted or not transport.buffer_size):
                self.connection.connection_lost(None)
            elif self._pending and not transport.paused and not transport.ended:
                data = self._pending.pop(0)
                if data is not None:
                    self.connection.data_received(data)
                elif not self.connection.eof_received() and not transport.ended:
                    transport.close()
            elif not self.owner.callbacks:
                return

    def _run_callbacks(self) -> None:
        while self.owner.callbacks:
            callbacks, self.owner.callbacks = self.owner.callbacks, []
            for callback in callbacks:
                callback()

    def advance(self, seconds: float) -> None:
        """Let time pass; the timer fires when it is armed for."""
        owner = self.owner
        until = owner.now + seconds
        while owner.armed is not None and owner.armed <= until:
            owner.now = max(owner.now, owner.armed)
            owner.armed = None
            self.connection.on_timer()
            self.settle()
        owner.now = until

    # What can be seen.

    @property
    def methods(self) -> list[bytes]:
        """Of the exchanges that began."""
        return [exchange.head.method for exchange in self.owner.begun]

    @property
    def responses(self) -> list[RawResponse]:
        """Every response so far, with the informational ones before it; a last one that is not complete raises `Truncated`."""
        return read_responses(self.transport.written, self.methods)

    @property
    def statuses(self) -> list[int]:
        """Their statuses."""
        return [response.status for response in self.responses]

    @property
    def seen(self) -> list[Seen]:
        """What the application was given, call by call."""
        return [call.seen for call in self.calls]
