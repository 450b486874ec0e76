"""How a connection of HTTP/1.x ends, and when it reads.

The law of this module: whoever is owed an answer gets to see it before the connection is gone, whoever must not take what he got for complete sees an
error, and every wait of the end is bounded (RFC 9112 §9.6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgiserve.core import deadlines as due
from asgiserve.core.deadlines import Deadlines
from asgiserve.core.exchange import DONE, ENDED
from asgiserve.core.http1_head import HeadBuffer
from asgiserve.core.http1_response import ResponseWriter, encode_refusal
from asgiserve.errors import RemoteProtocolError

if TYPE_CHECKING:
    from asgiserve.config import Limits, Timeouts
    from asgiserve.core.exchange import Exchange
    from asgiserve.core.http1_body import BodyReader
    from asgiserve.core.transport import Owner

__all__ = ["BODY", "CLOSED", "HEAD", "LINGERING", "TUNNELLED", "EndingConnection"]

# What the next byte belongs to.
HEAD: Final = "head"
BODY: Final = "body"
TUNNELLED: Final = "tunnel"
LINGERING: Final = "linger"
CLOSED: Final = "closed"

# How often a peer that takes nothing is looked at until the write timeout is over: so much of it may be added where it took something.
_WRITE_LOOKS: Final = 16


class EndingConnection(ResponseWriter):
    """The part of a connection that reads or does not, and that ends."""

    __slots__ = (
        "_body",
        "_buffer",
        "_deadlines",
        "_discarding",
        "_head_began",
        "_limits",
        "_reading_paused",
        "_state",
        "_taken_at",
        "_timeouts",
        "_write_size",
        "exchange",
        "half_closed",
    )

    def __init__(self, owner: Owner, limits: Limits, timeouts: Timeouts) -> None:
        super().__init__(owner)
        self._limits = limits
        self._timeouts = timeouts
        self._deadlines = Deadlines(owner.clock, owner.arm)
        self._state = HEAD
        self._buffer = HeadBuffer(limits)
        self._body: BodyReader | None = None
        self._reading_paused = False
        self._discarding = -1
        # Whether a part of a head is there.
        self._head_began = False
        # What is in the transport's buffer, and when that became less.
        self._write_size = 0
        self._taken_at = 0.0
        self.exchange: Exchange | None = None
        self.half_closed = False

    def _watch_body(self, body: BodyReader, now: float) -> None:
        when = body.due_at(now, self._timeouts)
        if when is not None:
            self._deadlines.set_at(due.BODY, when)

    def _pause_reading(self) -> None:
        self._deadlines.clear(due.BODY)
        if not self._reading_paused and self._state is not CLOSED:
            self._reading_paused = True
            self._transport.pause_reading()
            if self._body is not None:
                self._body.pause(self._owner.clock())

    def _resume_reading(self) -> None:
        if self._reading_paused and self._state is not CLOSED:
            self._reading_paused = False
            self._transport.resume_reading()
            body = self._body
            if body is not None and self._discarding < 0:
                now = self._owner.clock()
                body.resume(now)
                self._watch_body(body, now)

    def cut(self, exchange: Exchange) -> None:
        """The response is broken off, and the client must not take it for complete."""
        self._owner.ended(exchange)
        self._break_off(exchange)

    def _break_off(self, exchange: Exchange) -> None:
        if exchange.stream is not None:
            exchange.stream.connection_lost()
        if self._state is CLOSED:
            return
        told = self._chunked_response or exchange.content_length is not None or exchange.bodiless or exchange.stream is not None
        if told or not exchange.status:
            # A missing last chunk or a short body tells it (RFC 9112 §8); a WebSocket without its closing handshake, HEAD, and no response at all
            # tell nothing false. What was answered before is still delivered.
            self._end_connection()
        else:
            self._state = CLOSED
            self._owner.reset()

    def _refuse(self, error: RemoteProtocolError, *, outcome: str = "bad request") -> None:
        """Answer a request that breaks a rule, after the answers before it, and close."""
        exchange = self.exchange
        if exchange is not None and exchange.response_state is not DONE and not exchange.aborted:
            # Inside of a body: the application may be at work on it.
            answered = exchange.head_sent
            exchange.abort(outcome)
            if not answered:
                exchange.status = error.status
            self._owner.refused(str(error), error.status)
            self._owner.ended(exchange)
            if answered:
                self._break_off(exchange)
                return
        elif exchange is not None:
            # The response is complete; what is wrong is the rest of a body that nobody wants.
            self._end_connection()
            return
        else:
            self._owner.refused(str(error), error.status)
        # RFC 9110 §9.3.2: HEAD is never answered with content, whatever is wrong with the rest of the request.
        to_head = self._buffer.data.startswith(b"HEAD ") if exchange is None else exchange.head.method == b"HEAD"
        self._transport.write(encode_refusal(error, self._owner, content=not to_head))
        self._linger()

    def _head_overdue(self) -> None:
        if self._head_began or self._buffer.data:
            self._refuse(RemoteProtocolError("the request head took too long", status=408, clause="RFC 9110 §15.5.9"), outcome="timeout")
        else:
            # Not a byte came: nothing was asked, nothing is answered.
            self._finish()

    def _end_connection(self) -> None:
        """Close after what was written; the client gets to see it even where it is still sending."""
        if self._state is CLOSED:
            return
        exchange = self.exchange
        unread = exchange is not None and (exchange.request_state is not ENDED or (exchange.stream is not None and exchange.stream.failed))
        if self._buffer.data or self._reading_paused or unread:
            self._linger()
        else:
            self._finish()

    def _linger(self) -> None:
        """Close so that unread bytes do not destroy the response (RFC 9112 §9.6): stop sending, read on for a while, then close."""
        if self._state in (LINGERING, CLOSED):
            return
        self._buffer.clear()
        self._deadlines.clear_all()
        if self.half_closed:
            self._finish()
            return
        self._state = LINGERING
        self._discarding = self._limits.max_drain_bytes
        self._deadlines.set(due.LINGER, self._timeouts.timeout_linger)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._watch_writing()
        self._resume_reading()

    def _finish(self) -> None:
        """Close; what was written is flushed first, if the peer takes it."""
        if self._state is CLOSED:
            return
        self._state = CLOSED
        self._buffer.clear()
        self._deadlines.clear_all()
        self._transport.close()
        self._watch_writing()

    def _watch_writing(self) -> None:
        """The peer must take something of what is in the transport's buffer within the write timeout."""
        self._write_size = self._transport.get_write_buffer_size()
        if self._write_size and self._timeouts.timeout_write is not None:
            self._taken_at = self._owner.clock()
            self._look_at_writing(self._timeouts.timeout_write)

    def _look_at_writing(self, seconds: float) -> None:
        """Look again in a while, and at the end of the write timeout at the latest."""
        self._deadlines.set_at(due.WRITE, min(self._owner.clock() + seconds / _WRITE_LOOKS, self._taken_at + seconds))

    def _writing_overdue(self) -> None:
        size = self._transport.get_write_buffer_size()
        seconds = self._timeouts.timeout_write
        if not size or seconds is None:
            return
        now = self._owner.clock()
        if size < self._write_size:
            # Nobody says when it was taken: the system's own buffer goes on growing just after the pause, and that is no reader.
            self._write_size = size
            self._taken_at = now
        elif size > self._write_size:
            # Somebody who did not wait has written behind the pause: that must not hide what is taken from now on.
            self._write_size = size
        if now < self._taken_at + seconds:
            self._look_at_writing(seconds)
            return
        exchange = self.exchange
        if exchange is not None and exchange.response_state is not DONE and not exchange.aborted:
            if exchange.stream is not None:
                exchange.stream.connection_lost()
            exchange.abort("write timeout")
            self._owner.ended(exchange)
        self._transport.abort()
