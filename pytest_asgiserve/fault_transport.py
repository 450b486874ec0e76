"""The transport that breaks responses: between a connection of the server and the event loop's own transport.

The law of this module: where no rule applies every call passes straight through. Where one does, what the server writes and how it ends the
connection keep their order: it waits in one queue, and whatever comes later waits behind it. What is held here is not the client's slowness: it
shuts the server's write gate, and does not count against its write timeout.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asgiserve.core.exchange import Exchange
    from asgiserve.core.transport import Transport
    from asgiserve.runtime.connection import AsyncioConnection

__all__ = ["FaultProtocol", "FaultTransport", "Plan"]

# As the event loops' own marks: from the first on the server is to wait, from the second on it may go on.
_HIGH: Final = 65536
_LOW: Final = 16384
# How long a connection that was closed on purpose is read on, so that unread bytes do not make a RST of its FIN (RFC 9112 §9.6).
_LINGER: Final = 1.0
# How long bytes before a reset may take once the rule is over.
_LAST_BYTES: Final = 1.0
_INVALID_CHUNK: Final = b"not a chunk size\r\n"
_INFORMATIONAL: Final = (b"HTTP/1.1 100", b"HTTP/1.1 102", b"HTTP/1.1 103")

# Endings that begin after so many bytes; the others begin with the response.
_COUNTED: Final = frozenset({"reset", "close", "stall"})

# What a queue holds.
_WAIT: Final = "wait"
_DATA: Final = "data"
_PIECES: Final = "pieces"
_EOF: Final = "eof"
_CLOSE: Final = "close"
_END: Final = "end"


class Plan:
    """What is done to one response. Made by a rule.

    Args:
        delay: seconds before its first byte.
        piece_size: bytes of a piece; 0: it is not cut.
        piece_delay: seconds between two pieces.
        piece_head: whether the head is cut too.
        ending: ``reset``, ``close``, ``malformed_chunk``, ``garbage``, ``stall``, or empty.
        after_bytes: how much comes before that.
        junk: what comes instead of the response.
        is_over: says whether the rule has ended; then nothing is held any longer.
    """

    __slots__ = ("after_bytes", "begun", "delay", "ending", "is_over", "junk", "pause_due", "piece_delay", "piece_head", "piece_size", "seen")

    def __init__(
        self,
        *,
        delay: float,
        piece_size: int,
        piece_delay: float,
        piece_head: bool,
        ending: str,
        after_bytes: int,
        junk: bytes,
        is_over: Callable[[], bool],
    ) -> None:
        self.delay = delay
        self.piece_size = piece_size
        self.piece_delay = piece_delay
        self.piece_head = piece_head
        self.ending = ending
        self.after_bytes = after_bytes
        self.junk = junk
        self.is_over = is_over
        self.begun = False
        self.pause_due = False
        self.seen = 0

    def shape(self, data: bytes, *, complete: bool) -> tuple[list[_Held], bool]:
        """What becomes of the next ``data`` of the response, and whether its ending comes then."""
        shaped: list[_Held] = []
        head = 0
        ends = False
        if not self.begun:
            self.begun = True
            if self.delay:
                shaped.append(_Held(_WAIT, self, seconds=self.delay))
            head = _head_size(data)
            if self.ending == "garbage":
                data, head, ends = self.junk, 0, True
            elif self.ending == "malformed_chunk":
                start = _as_chunked(data[:head])
                data, head, ends = start + _INVALID_CHUNK, len(start), True
        if self.ending in _COUNTED:
            data = data[: self.after_bytes - self.seen]
            self.seen += len(data)
            ends = complete or self.seen >= self.after_bytes
        if self.piece_size and self.piece_head:
            head = 0
        elif not self.piece_size:
            head = len(data)
        if data[:head]:
            shaped.append(_Held(_DATA, self, data[:head]))
        if data[head:]:
            shaped.append(_Held(_PIECES, self, data[head:]))
        return shaped, ends


class _Held:
    """One thing that waits for its turn."""

    __slots__ = ("at", "data", "kind", "plan", "seconds")

    def __init__(self, kind: str, plan: Plan | None = None, data: bytes = b"", seconds: float = 0.0) -> None:
        self.kind = kind
        self.plan = plan
        self.data = data
        self.seconds = seconds
        self.at = 0


class FaultTransport(asyncio.Transport):
    """What the server writes to; see the law above.

    Args:
        transport: the event loop's.
        connection: the server's.
        loop: that both run on.
        choose: says what is to be done to the response of an exchange, once for each.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        connection: AsyncioConnection,
        loop: asyncio.AbstractEventLoop,
        choose: Callable[[Exchange], Plan | None],
    ) -> None:
        super().__init__()
        self._transport = transport
        self._connection = connection
        self._protocol = connection.protocol
        self._loop = loop
        self._choose = choose
        # The exchange whose response is being written, and what is done to it once that is decided.
        self._exchange: Exchange | None = None
        self._decided = True
        self._plan: Plan | None = None
        self._queue: deque[_Held] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_plan: Plan | None = None
        # A fault ends the connection, now or when the queue gets there: whatever the server still writes is dropped.
        self._ending: Plan | None = None
        self._stalled = False
        self._closing = False
        self._descriptor = -1
        # Who shut the server's write gate.
        self._shut_here = False
        self.shut_below = False
        self.finished = False

    # What the server calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or hold, or drop."""
        exchange = self._protocol.exchange
        if exchange is not self._exchange or not self._decided:
            self._look(exchange)
        if self._plan is None and not self._queue and self._ending is None:
            self._transport.write(data)
        else:
            self._hold(bytes(data))

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `write`: what is written at once is looked at once."""
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        """Half-close behind what is held."""
        self._end_of_response()
        if self._ending is None:
            self._put(_Held(_EOF))

    def can_write_eof(self) -> bool:
        """As the event loop's."""
        return self._transport.can_write_eof()

    def close(self) -> None:
        """Close behind what is held. A connection that a fault stalls stays open."""
        if self._closing:
            return
        self._closing = True
        self._end_of_response()
        if self._ending is None:
            self._put(_Held(_CLOSE))

    def abort(self) -> None:
        """Close now, dropping what is held."""
        self._closing = True
        self._drop()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or will be, by the server or by a fault."""
        return self._closing or self.finished or self._transport.is_closing()

    def pause_reading(self) -> None:
        """As the event loop's."""
        if not self.finished:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As the event loop's."""
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        """As the event loop's."""
        return self._transport.is_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken; what is held here is not its doing."""
        return self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As the event loop's."""
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As the event loop's."""
        self._transport.set_write_buffer_limits(high=high, low=low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the event loop's; ``sendfile`` is False where bytes must come through here."""
        if name != "sendfile":
            return self._transport.get_extra_info(name, default)
        exchange = self._protocol.exchange
        self._look(exchange)
        if exchange is not None and not self._decided:
            # Its head is not written, but whoever asks writes it next.
            self._decide(exchange)
        return self._plan is None and not self._queue and self._ending is None

    # Decisions.

    def _look(self, exchange: Exchange | None) -> None:
        """The response of ``exchange`` is written now."""
        if exchange is not self._exchange:
            before, plan = self._exchange, self._plan
            if before is not None and plan is not None and before.response_state == "DONE":
                # Its last byte was not known to be the last when it was written.
                self._end(plan)
            self._exchange, self._plan, self._decided = exchange, None, exchange is None
        # Informational responses come before the head, and are let through.
        if exchange is not None and not self._decided and exchange.head_sent:
            self._decide(exchange)

    def _decide(self, exchange: Exchange) -> None:
        self._decided = True
        self._plan = self._choose(exchange)

    def _hold(self, data: bytes) -> None:
        plan = self._plan
        if self._ending is not None:
            # Counted all the same: an endless stream has to wait, as it would for a client that takes nothing.
            self._held_bytes += len(data)
            self._balance()
        elif plan is None or plan.is_over():
            self._put(_Held(_DATA, plan, data))
        else:
            shaped, ends = plan.shape(data, complete=_is_complete(self._exchange))
            self._queue += shaped
            self._held_bytes += sum(len(held.data) for held in shaped)
            if ends:
                self._end(plan)
            self._run()

    def _put(self, held: _Held) -> None:
        self._queue.append(held)
        self._held_bytes += len(held.data)
        self._run()

    def _end_of_response(self) -> None:
        """The server ends the connection, and the response with it: an ending that was to come later comes now."""
        plan = self._plan
        if plan is not None and self._exchange is self._protocol.exchange:
            self._end(plan)
            self._run()

    def _end(self, plan: Plan) -> None:
        if plan.ending and plan.begun and self._ending is None and not plan.is_over():
            self._ending = plan
            self._queue.append(_Held(_END, plan))

    # The queue.

    def _run(self) -> None:
        """Do what is due."""
        queue = self._queue
        while queue and self._timer is None:
            held = queue[0]
            plan = held.plan
            in_force = plan is not None and not plan.is_over()
            if plan is not None and in_force and held.kind == _PIECES:
                self._write_piece(held, plan)
                continue
            queue.popleft()
            if plan is not None and in_force and held.kind == _WAIT:
                self._sleep(plan, held.seconds)
            elif held.kind in (_DATA, _PIECES):
                rest = held.data[held.at :] if held.at else held.data
                self._held_bytes -= len(rest)
                self._transport.write(rest)
            elif held.kind == _EOF:
                self._transport.write_eof()
            elif held.kind == _CLOSE:
                self._transport.close()
                if self._transport.get_write_buffer_size():
                    # The server looked before there was anything for the client to take: it looks again.
                    self._protocol.pause_writing()
            elif held.kind == _END and plan is not None:
                self._do_ending(plan)
        self._balance()

    def _write_piece(self, held: _Held, plan: Plan) -> None:
        if plan.pause_due:
            plan.pause_due = False
            self._sleep(plan, plan.piece_delay)
            return
        piece = held.data[held.at : held.at + plan.piece_size]
        held.at += len(piece)
        self._held_bytes -= len(piece)
        if held.at >= len(held.data):
            self._queue.popleft()
        plan.pause_due = True
        self._transport.write(piece)

    def _sleep(self, plan: Plan, seconds: float) -> None:
        self._timer_plan = plan
        self._timer = self._loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._run()

    def _balance(self) -> None:
        """Shut the server's write gate while too much is held here."""
        if not self._shut_here and self._held_bytes > _HIGH:
            self._shut_here = True
            self._protocol.pause_writing()
        elif self._shut_here and self._held_bytes <= _LOW:
            self._shut_here = False
            if not self.shut_below:
                self._protocol.resume_writing()

    def resumed_below(self) -> None:
        """The client keeps up again."""
        self.shut_below = False
        if not self._shut_here:
            self._protocol.resume_writing()

    # Endings.

    def _do_ending(self, plan: Plan) -> None:
        if plan.ending == "reset":
            self._await_sent(plan)
        elif plan.ending != "stall":
            self._finish()
        elif plan.is_over():
            self._connection.reset()
        else:
            self._stalled = True

    def _finish(self) -> None:
        """Close in order."""
        self.finished = True
        transport = self._transport
        if not transport.can_write_eof() or self._protocol.half_closed:
            transport.close()
            return
        transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()
        self._timer_plan = None
        self._timer = self._loop.call_later(_LINGER, transport.close)

    def _await_sent(self, plan: Plan) -> None:
        """Reset when the kernel has sent what came before: a RST drops what it has not."""
        transport = self._transport
        sock = transport.get_extra_info("socket")
        if transport.is_closing() or sock is None or sock.fileno() < 0:
            self._connection.reset()
            return
        if sock.family != getattr(socket, "AF_UNIX", None) and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Writable then means: nothing is left to send.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 1)
        # An event loop watches a transport's own descriptor for itself.
        self._descriptor = os.dup(sock.fileno())
        self._loop.add_writer(self._descriptor, self._writable)
        if plan.is_over():
            self._timer_plan = None
            self._timer = self._loop.call_later(_LAST_BYTES, self._connection.reset)

    def _writable(self) -> None:
        self._loop.remove_writer(self._descriptor)
        # Behind the transport's own writer of this turn: on TLS its buffer below cannot be asked.
        self._loop.call_soon(self._check_sent)

    def _check_sent(self) -> None:
        if self._descriptor < 0:
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if poll.poll(0) and not self._transport.get_write_buffer_size():
            self._connection.reset()
        else:
            self._loop.add_writer(self._descriptor, self._writable)

    # The end of a rule, and of the connection.

    def release(self) -> None:
        """Some rule is over: what it holds is let go."""
        ending = self._ending
        if ending is not None and ending.is_over():
            if self._stalled or self._descriptor >= 0:
                self._connection.reset()
                return
            if self.finished:
                # Not twice: asyncio's TLS transport would not bear it.
                if not self._transport.is_closing():
                    self._transport.close()
                return
        if self._timer is not None and self._timer_plan is not None and self._timer_plan.is_over():
            self._timer.cancel()
            self._timer = None
        self._run()

    @property
    def holds(self) -> bool:
        """Whether the connection must outlive the client's half of it."""
        return bool(self._queue) or self._stalled or self._descriptor >= 0

    def _drop(self) -> None:
        """Nothing of what is held will be sent."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._descriptor >= 0:
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def lost(self) -> None:
        """The connection is gone."""
        self._closing = True
        self._drop()


class FaultProtocol(asyncio.Protocol):
    """What the event loop calls: it gives the server's connection a `FaultTransport`, and passes everything on.

    Args:
        connection: the server's.
        loop: that it runs on.
        choose: as of `FaultTransport`.
        transports: has the open ones in it.
    """

    def __init__(
        self,
        connection: AsyncioConnection,
        loop: asyncio.AbstractEventLoop,
        choose: Callable[[Exchange], Plan | None],
        transports: set[FaultTransport],
    ) -> None:
        self._connection = connection
        self._protocol = connection.protocol
        self._loop = loop
        self._choose = choose
        self._transports = transports
        self._transport: FaultTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        # By shape: uvloop's transports are no subclasses.
        below: Any = transport
        self._transport = FaultTransport(below, self._connection, self._loop, self._choose)
        self._transports.add(self._transport)
        made: Transport = self._transport
        self._protocol.connection_made(made)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._transport is None or not self._transport.finished:
            self._protocol.data_received(data)

    def eof_received(self) -> bool:
        """The client will send no more; True where it is still to be sent something."""
        transport = self._transport
        if transport is None or transport.finished:
            return False
        keep = self._protocol.eof_received()
        # TLS cannot be half closed.
        return keep or (transport.holds and transport.can_write_eof())

    def pause_writing(self) -> None:
        """The client is slow."""
        if self._transport is not None:
            self._transport.shut_below = True
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client keeps up."""
        if self._transport is not None:
            self._transport.resumed_below()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._transport is not None:
            self._transport.lost()
            self._transports.discard(self._transport)
        self._protocol.connection_lost(error)


def _is_complete(exchange: Exchange | None) -> bool:
    """Whether what was just written is known to be the end of the response. Where it is not, the next one or the end of the connection tells."""
    if exchange is None:
        return False
    if exchange.response_state == "DONE":
        return True
    if exchange.response_state == "TUNNEL":
        return False
    return exchange.bodiless or (exchange.content_length is not None and exchange.remaining == 0)


def _head_size(data: bytes) -> int:
    """The bytes of the head that ``data`` begins with; a 101 has its 100 before it."""
    start = 0
    while data.startswith(_INFORMATIONAL, start):
        start = data.index(b"\r\n\r\n", start) + 4
    end = data.find(b"\r\n\r\n", start)
    return len(data) if end < 0 else end + 4


def _as_chunked(head: bytes) -> bytes:
    """``head`` with the framing of a chunked response; a 101 has none."""
    if b"HTTP/1.1 101" in head:
        return head
    lines = [
        line for line in head.removesuffix(b"\r\n\r\n").split(b"\r\n") if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))
    ]
    return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", b""])
