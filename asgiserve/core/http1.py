"""One HTTP/1.x connection, whichever parser reads its heads.

The law of this module: the connection cuts the byte stream into messages (the end of a head, the length of a body, the chunks), so that every
limit is counted before a parser sees a byte and nothing of a body can be taken for a request. A parser is given one complete head at a time and
calls back into this object; what it says of framing, keep-alive or upgrades is never asked. Responses are encoded here for both.

The runtime calls `connection_made`, `data_received`, `eof_received`, `pause_writing`, `resume_writing`, `connection_lost` (asyncio's names, so
that a transport can call them directly) and `on_timer`. Nothing that a peer sends raises out of any of them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from asgiserve.core import deadlines as due
from asgiserve.core.exchange import BODY as RESPONSE_BODY
from asgiserve.core.exchange import DONE, ENDED, HELD, TUNNEL, Exchange
from asgiserve.core.http1_body import BodyReader
from asgiserve.core.http1_ending import BODY, CLOSED, HEAD, LINGERING, TUNNELLED, EndingConnection
from asgiserve.core.http1_head import HeadReader
from asgiserve.core.http1_response import CONTINUE, encode_switch
from asgiserve.errors import RemoteProtocolError

if TYPE_CHECKING:
    from asgiserve.config import Limits, Timeouts
    from asgiserve.core.parsers import ParserFactory
    from asgiserve.core.transport import Owner, Transport
    from asgiserve.core.websocket import WebSocketStream
    from asgiserve.http.fields import Field

__all__ = ["Http1Connection"]

_CR: Final = 0x0D
_NOT_FOUND: Final = 3
_NEVER: Final = float("inf")


class Http1Connection(EndingConnection):
    """The connection: it owns one exchange at a time and the bytes that wait for the next one.

    Args:
        owner: the clock, the timer and who runs the application.
        limits: sizes and numbers.
        timeouts: durations.
        parser: of heads, from `core.parsers.choose_parser`.
        websocket: whether an upgrade to WebSocket is taken.
    """

    __slots__ = (
        "_advancing",
        "_beginning",
        "_drain_idle",
        "_flush_scheduled",
        "_head_due",
        "_heads",
        "_keep_alive",
        "_max_body_buffer_bytes",
        "_max_request_count",
        "_reuse_until",
        "made_at",
        "pipelined",
        "request_count",
    )

    def __init__(self, owner: Owner, limits: Limits, timeouts: Timeouts, parser: ParserFactory, *, websocket: bool = True) -> None:
        super().__init__(owner, limits, timeouts)
        self._heads = HeadReader(limits, parser, websocket=websocket)
        # Whether the deadline of a head is set.
        self._head_due = True
        self._drain_idle = 0.0
        self._advancing = False
        self._beginning = False
        self._flush_scheduled = False
        # What each request asks of the options, in the form in which it is asked.
        self._keep_alive = timeouts.timeout_keep_alive
        self._reuse_until = 0.0
        self._max_request_count = sys.maxsize if limits.max_keep_alive_count is None else limits.max_keep_alive_count
        self._max_body_buffer_bytes = limits.max_body_buffer_bytes
        self.request_count = 0
        self.made_at = 0.0
        # Whether more stood behind the last head in the same read.
        self.pipelined = False

    # What the transport calls.

    def connection_made(self, transport: Transport) -> None:
        """The connection is there. The head of its first request is due from now on."""
        self._transport = transport
        self._owner.connected(transport)
        self.made_at = self._owner.clock()
        total = self._timeouts.timeout_keep_alive_total
        self._reuse_until = _NEVER if total is None else self.made_at + total
        if not self._keep_alive:
            self._reuse_until = -_NEVER
        self._deadlines.set(due.HEAD, self._timeouts.timeout_request_head)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        state = self._state
        if state is HEAD:
            # A head at the beginning of a read, without an empty line before it: most requests. Nothing is copied twice.
            end = data.find(b"\r\n\r\n") + 4
            if end > _NOT_FOUND and self.exchange is None and not self._buffer.data and data[0] != _CR and not self.write_gate.shut:
                self._buffer.empty_lines = 0
                try:
                    if end == len(data):
                        self.pipelined = False
                        self._receive_head(data)
                        return
                    self.pipelined = True
                    self._receive_head(data[:end], data[end:])
                except RemoteProtocolError as error:
                    self._refuse(error)
                if self._buffer.data:
                    self._advance()
                return
            self._buffer.append(data)
            self._advance()
        elif state is BODY and not self._buffer.data:
            try:
                self._receive_body(data)
            except RemoteProtocolError as error:
                self._refuse(error)
            if self._buffer.data:
                self._advance()
        elif state is TUNNELLED:
            if self.exchange is not None and self.exchange.stream is not None:
                self.exchange.stream.receive(data)
        elif state is LINGERING:
            self._discarding -= len(data)
            if self._discarding < 0:
                # Closing now would reset the connection under the answer; unread, the peer stops sending and gets to see it.
                self._pause_reading()
        elif state is not CLOSED:
            self._buffer.append(data)
            self._advance()

    def eof_received(self) -> bool:
        """The peer will send no more. True keeps the other direction open: it may be a half-closed client, and is served to its end."""
        state = self._state
        exchange = self.exchange
        if state is TUNNELLED:
            if exchange is not None and exchange.stream is not None:
                exchange.stream.receive_eof()
            self._finish()
            return False
        if state is HEAD and self._transport.can_write_eof():
            # What is complete is answered, unless it is a handshake: half closed, the peer cannot close a WebSocket in order (RFC 6455 §7.1.2).
            if exchange is None:
                if self.write_gate.shut and self._buffer.data:
                    self.half_closed = True
                    return True
            elif exchange.response_state is not DONE and not exchange.head.framing.upgrade:
                self.half_closed = True
                # RFC 9112 §9.6: that does not "imply that the client is no longer interested in a response". In nearly all cases it is how one
                # that has gone looks, though, so that the application is told, and can answer; net/http of Go does the same.
                if not exchange.aborted and not exchange.content_sent:
                    exchange.end_soon("aborted")
                return True
        # Between requests it is the end, and so it is inside of a head. TLS cannot be half closed.
        if exchange is not None and exchange.response_state is not DONE and not exchange.aborted:
            self.half_closed = True
            answered = exchange.head_sent
            # RFC 9112 §8: where the body is incomplete, so is the request.
            exchange.abort("incomplete request" if state is BODY else "aborted")
            self._owner.ended(exchange)
            if answered:
                self._break_off(exchange)
        self._finish()
        return False

    def pause_writing(self) -> None:
        """The transport's buffer is over its high-water mark."""
        self.write_gate.close()
        self._watch_writing()

    def resume_writing(self) -> None:
        """The transport's buffer is under its low-water mark."""
        self._deadlines.clear(due.WRITE)
        if self._state in (LINGERING, CLOSED):
            # Nothing is written any more, so that nothing would shut the gate again: what is left must be taken as well.
            self._watch_writing()
        self.write_gate.open()
        if self.exchange is None and self._state is HEAD and (self._buffer.data or self.half_closed):
            self._next()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature; what the error was changes nothing
        """The connection is gone, whoever closed it."""
        self._state = CLOSED
        self._deadlines.clear_all()
        self._buffer.clear()
        self._heads.forget()
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            if exchange.stream is not None and exchange.response_state is TUNNEL:
                exchange.stream.connection_lost()
            finished = exchange.response_state is DONE or exchange.aborted
            exchange.abort()
            if not finished:
                self._owner.ended(exchange)
        self.write_gate.open()
        self._owner.closed()

    def on_timer(self) -> None:
        """The time came that `Owner.arm` was asked for."""
        if self.exchange is None:
            # A connection that waits holds nothing of its last request.
            self._heads.forget()
        for name in self._deadlines.expired():
            if self._state is CLOSED and name is not due.WRITE:
                continue
            if name is due.HEAD:
                self._head_overdue()
            elif name is due.BODY:
                self._refuse(RemoteProtocolError("the request body came too slowly", status=408, clause="RFC 9110 §15.5.9"), outcome="timeout")
            elif name is due.WRITE:
                self._writing_overdue()
            elif name is due.LINGER:
                self._finish()
            elif name is due.KEEP_ALIVE:
                if self.exchange is None:
                    self._finish()
            elif self.exchange is not None and self.exchange.stream is not None:
                self.exchange.stream.on_deadline(name)

    def begin_drain(self, idle_seconds: float) -> None:
        """The server stops: this connection ends with the response that runs, or with the next one if that begins within ``idle_seconds``.

        A request may be on its way on a connection that looks idle, so that one is not closed at once (RFC 9112 §9.6). A response that
        streams is told (`Exchange.end_soon`), one of known length is not: frameworks would cut it short. A WebSocket is closed with 1012.
        """
        if self._draining:
            return
        self._draining = True
        self._drain_idle = idle_seconds
        exchange = self.exchange
        if exchange is None:
            if self._state is HEAD and not self._buffer.data:
                self._deadlines.clear(due.HEAD)
                self._wait_idle()
        elif exchange.stream is not None:
            exchange.stream.close_for_shutdown()
        elif exchange.response_state is RESPONSE_BODY and exchange.content_length is None:
            exchange.end_soon("shutdown")

    def abort(self) -> None:
        """Close at once, dropping what is not sent."""
        self._transport.abort()

    @property
    def phase(self) -> str:
        """What the connection does, for a person: ``idle``, ``head``, ``body``, ``response``, ``tunnel``, ``linger`` or ``closed``."""
        if self._state is not HEAD:
            return self._state
        return "response" if self.exchange is not None else "head" if self._buffer.data else "idle"

    def _advance(self) -> None:
        """Read on in the buffer for as long as there is something to read and nobody in the way."""
        if self._advancing:
            return
        self._advancing = True
        before = self.request_count
        try:
            while self._advance_once():
                pass
        except RemoteProtocolError as error:
            self._refuse(error)
        finally:
            self._advancing = False
        if self.request_count != before and self._is_idle():
            # An application that answered at once, inside of the loop, with an empty line behind its request.
            self._wait_idle()

    def _advance_once(self) -> bool:
        state = self._state
        buffer = self._buffer
        if state is HEAD:
            if self.exchange is not None or self.write_gate.shut:
                # Pipelined requests wait in the buffer, unparsed, for the answer before them and for the peer to take it; past the mark the peer
                # waits as well.
                if len(buffer.data) >= self._limits.max_body_buffer_bytes:
                    self._pause_reading()
                return False
            head = buffer.take() if buffer.data else b""
            self.pipelined = bool(buffer.data)
            if not head:
                if self.half_closed:
                    self._finish()
                elif buffer.data and not self._head_began:
                    self._head_began = self._head_due = True
                    self._deadlines.clear(due.KEEP_ALIVE)
                    if not self._deadlines.is_set(due.HEAD):
                        self._deadlines.set(due.HEAD, self._timeouts.timeout_request_head)
                elif self._head_began and not buffer.data:
                    # It was an empty line that came in two pieces: nothing has begun.
                    self._head_began = False
                    if self.request_count:
                        self._deadlines.clear(due.HEAD)
                        self._wait_idle()
                return False
            self._receive_head(head)
            return True
        if not buffer.data:
            return False
        if state is BODY:
            self._receive_body(buffer.take_all())
            return True
        buffer.clear()
        return False

    def _receive_head(self, head: bytes, behind: bytes = b"") -> None:
        """A complete head: check it, and begin its exchange. ``behind`` came with it."""
        try:
            request = self._heads.read(head)
        except RemoteProtocolError as error:
            # What is refused stands in the buffer, as where it is refused before it is complete.
            self._buffer.data[:0] = head
            raise self._heads.explain(head, error) from None
        now = self._owner.clock()
        self.request_count += 1
        framing = request.framing
        self._close_after = not framing.keep_alive or now > self._reuse_until or self.request_count >= self._max_request_count
        self.exchange = exchange = Exchange(self, request, self._max_body_buffer_bytes, now)
        if self.half_closed:
            exchange.told_to_end = "aborted"
        # The keep-alive deadline stays: it is looked at when it is due, and set anew after this exchange.
        if self._head_due:
            self._head_due = self._head_began = False
            self._deadlines.clear(due.HEAD)
        if not framing.body_length:
            exchange.request_state = ENDED
            if behind:
                self._buffer.append(behind)
        else:
            self._state = BODY
            self._body = BodyReader(framing.body_length, self._limits, now)
            if not framing.expects_continue:
                self._watch_body(self._body, now)
        self._beginning = True
        self._owner.begin(exchange)
        self._beginning = False
        if exchange.response_state is HELD and not exchange.keeps_head:
            # The application ran at once, and waits.
            exchange.flush()
        if behind and framing.body_length and self._state is BODY:
            self._receive_body(behind)

    # The body.

    def _receive_body(self, data: bytes) -> None:
        """Bytes of the body, and perhaps of what follows it."""
        exchange = self.exchange
        body = self._body
        if exchange is None or body is None:
            return
        if exchange.head.framing.expects_continue and not self._deadlines.is_set(due.BODY):
            # RFC 9110 §10.1.1: the client need not wait for 100, but until now it may have.
            body.restart(self._owner.clock())
        content = body.receive(data)
        if self._discarding >= 0:
            # Nobody reads the rest of this body; too much of it, and the connection is closed instead of reused.
            self._discarding -= len(data) - len(body.rest)
            if self._discarding < 0:
                self._linger()
                return
        elif content and exchange.feed_body(content):
            if not body.done:
                self._pause_reading()
        elif not body.done:
            self._watch_body(body, self._owner.clock())
        if body.done:
            self._end_body(exchange, body)

    def _end_body(self, exchange: Exchange, body: BodyReader) -> None:
        """The request is complete."""
        self._deadlines.clear(due.BODY)
        self._state = HEAD
        self._body = None
        self._buffer.append(body.rest)
        if exchange.response_state is DONE:
            self._deadlines.clear(due.LINGER)
            self._discarding = -1
            self._answered_at = 0.0
            self._next()
        else:
            exchange.end_request(body.trailers)

    # What the exchange calls.

    def body_wanted(self, exchange: Exchange) -> None:
        """The application waits for a body that the client holds back until it hears 100 (RFC 9110 §10.1.1)."""
        body = self._body
        if body is None or exchange is not self.exchange:
            return
        if not exchange.head_sent and not body.size:
            self._transport.write(CONTINUE)
        now = self._owner.clock()
        body.restart(now)
        self._watch_body(body, now)

    def body_taken(self, exchange: Exchange) -> None:
        """The application took the body that was waiting."""
        if exchange is self.exchange:
            self._resume_reading()

    def hold(self, exchange: Exchange) -> None:  # noqa: ARG002 - there is one exchange at a time
        """Write the head at the end of this turn, unless it left with the content before that."""
        if not self._flush_scheduled and not self._beginning:
            self._flush_scheduled = True
            self._owner.soon(self._flush_held)

    def _flush_held(self) -> None:
        self._flush_scheduled = False
        if self.exchange is not None and self.exchange.response_state is HELD and not self.exchange.keeps_head:
            self.exchange.flush()

    def _too_much_is_left(self, exchange: Exchange) -> bool:
        """Whether the rest of the request is too much to read and drop behind the response."""
        # RFC 9110 §10.1.1: a client that was never told to continue may or may not send the body; nobody could tell what comes next.
        return exchange.head.framing.expects_continue or (self._body is not None and self._body.remaining > self._limits.max_drain_bytes)

    def open_tunnel(self, exchange: Exchange, stream: WebSocketStream, fields: list[Field]) -> None:
        """Switch protocols (RFC 9110 §7.8): 101, then every byte is the stream's."""
        self._transport.write(encode_switch(exchange, fields, self._owner))
        self._state = TUNNELLED
        self._resume_reading()
        stream.opened(self._transport, self._deadlines, self.write_gate)
        if self._draining:
            stream.close_for_shutdown()
        if self._buffer.data:
            stream.receive(self._buffer.take_all())
        if self.half_closed:
            stream.receive_eof()

    def response_ended(self, exchange: Exchange) -> None:
        """The response is complete: the next request, or the end of the connection."""
        if self.half_closed and self._owner.gone():
            # The client had left, and its system refused the last bytes.
            exchange.outcome = exchange.outcome or "aborted"
        self._owner.ended(exchange)
        if exchange is not self.exchange:
            return
        if self._close_after or exchange.closing or exchange.stream is not None:
            self._end_connection()
        elif exchange.request_state is ENDED:
            self._next()
        else:
            # RFC 9112 §9.3: "it MUST read the entire request message body or close the connection after sending its response".
            self._deadlines.clear(due.BODY)
            self._discarding = self._limits.max_drain_bytes
            self._deadlines.set(due.LINGER, self._timeouts.timeout_linger)
            exchange.drop_body()

    def _next(self) -> None:
        """Ready for the next request."""
        self.exchange = None
        if self._reading_paused:
            self._resume_reading()
        if self._buffer.data or self.half_closed:
            self._advance()
            if self._is_idle():
                self._wait_idle()
        elif self._state is HEAD:
            if self._draining:
                self._wait_idle()
            else:
                # A response that left in one piece has just asked for the time.
                self._deadlines.set_at(due.KEEP_ALIVE, (self._answered_at or self._owner.clock()) + self._keep_alive)

    def _is_idle(self) -> bool:
        """Whether nothing is there and nothing has begun."""
        return self.exchange is None and self._state is HEAD and not self._head_began and not self._buffer.data

    def _wait_idle(self) -> None:
        """Between two requests: the next one is due. While draining only one that was on its way (RFC 9112 §9.6)."""
        seconds = self._drain_idle if self._draining else self._timeouts.timeout_keep_alive
        if seconds <= 0:
            self._finish()
        else:
            self._deadlines.set(due.KEEP_ALIVE, seconds)
