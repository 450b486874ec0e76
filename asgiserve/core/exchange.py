"""One request and its response: what the application meets, whatever the protocol.

The law of this module: the connection calls one half (`feed_body`, `end_request`, `abort`), the ASGI adapter the other (`respond`, `body`, `inform`,
`trailers`, `tunnel`), and two tables say what may follow what. The rules of a response that hold for every version of HTTP (its length, which
statuses have no content, what HEAD gets) stand here; how it looks on the wire is the connection's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from asgiserve.core.flow import ReadGate
from asgiserve.core.response import NO_CONTENT_STATUSES, REPEATED_HEADS, ResponseHead, read_response_head
from asgiserve.errors import ClientDisconnected, LocalProtocolError
from asgiserve.http.fields import check_response_fields, not_pairs
from asgiserve.http.status import forbids_content, reason_phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from asgiserve.core.flow import WriteGate
    from asgiserve.core.request import RequestHead
    from asgiserve.core.websocket import WebSocketStream
    from asgiserve.http.fields import Field

__all__ = ["REQUEST_TABLE", "RESPONSE_TABLE", "Exchange", "ExchangeSink"]

# The request side.
OPEN: Final = "OPEN"
ENDED: Final = "ENDED"
ABORTED: Final = "ABORTED"

REQUEST_TABLE: Final[dict[str, dict[str, str]]] = {
    OPEN: {"data": OPEN, "end": ENDED, "abort": ABORTED},
    ENDED: {"abort": ABORTED},
    ABORTED: {"abort": ABORTED},
}

# The response side. HELD: the head is known but not written, so that a small response leaves in one segment and a failure in between is still
# a clean 500.
WAITING: Final = "WAITING"
HELD: Final = "HELD"
BODY: Final = "BODY"
TRAILERS: Final = "TRAILERS"
TUNNEL: Final = "TUNNEL"
DONE: Final = "DONE"

RESPONSE_TABLE: Final[dict[str, dict[str, str]]] = {
    WAITING: {"respond": HELD, "inform": WAITING, "tunnel": TUNNEL, "abort": ABORTED},
    HELD: {"flush": BODY, "body": BODY, "last body": DONE, "body before trailers": TRAILERS, "inform": HELD, "abort": ABORTED},
    BODY: {"body": BODY, "last body": DONE, "body before trailers": TRAILERS, "abort": ABORTED},
    TRAILERS: {"trailers": TRAILERS, "last trailers": DONE, "abort": ABORTED},
    TUNNEL: {"tunnel closed": DONE, "abort": ABORTED},
    DONE: {"abort": DONE},
    ABORTED: {"abort": ABORTED},
}

_repeated_head = REPEATED_HEADS.get
# What no trailer and no informational response may say (RFC 9110 §6.5.1, §8.6; RFC 9112 §6.1): where a message ends, and where it goes.
_HEAD_ONLY = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"te", b"trailer", b"host"})
_INFORMATIONAL = frozenset({100, 102, 103})
_UNAVAILABLE: Final = 503
_NO_RESPONSE: Final = ResponseHead(0, (), None)


def _check_unframed(fields: Iterable[Iterable[bytes]]) -> list[Field]:
    """The fields of a message that has no framing of its own."""
    checked = check_response_fields(fields)
    for name, _ in checked:
        if name in _HEAD_ONLY:
            raise LocalProtocolError(f"{name.decode()} is not possible in a trailer or an informational response (RFC 9110 §6.5.1)")
    return checked


class ExchangeSink(Protocol):
    """What a connection implements for its exchanges."""

    write_gate: WriteGate

    def hold(self, exchange: Exchange) -> None:
        """The head is held: see to it that `Exchange.flush` is called before the application can wait for anything."""

    def write_head(self, exchange: Exchange, data: bytes, last: bool) -> None:  # noqa: FBT001 - a keyword costs 400 instructions a call
        """Write the response head with the first bytes of its body; ``last``: with all of them."""

    def write_body(self, exchange: Exchange, data: bytes, last: bool) -> None:  # noqa: FBT001 - as above
        """Write more of the body; ``last``: the end of it, unless trailers follow."""

    def write_trailers(self, exchange: Exchange, fields: list[Field]) -> None:
        """Write the trailers, which end the response."""

    def write_informational(self, exchange: Exchange, status: int, fields: list[Field]) -> None:
        """Write a 1xx response, where the peer understands one."""

    def open_tunnel(self, exchange: Exchange, stream: WebSocketStream, fields: list[Field]) -> None:
        """Accept the upgrade: from here on, bytes flow between the peer and ``stream``."""

    def body_wanted(self, exchange: Exchange) -> None:
        """The application waits for the body of a request that expects 100 (Continue)."""

    def body_taken(self, exchange: Exchange) -> None:
        """The gate of the exchange opened: read on."""

    def frame(self, size: int) -> tuple[bytes, bytes]:
        """What must stand before and behind ``size`` bytes of content that somebody else writes (sendfile)."""

    def write(self, data: bytes) -> None:
        """Write bytes that `frame` returned."""

    def response_ended(self, exchange: Exchange) -> None:
        """The response is complete."""

    def cut(self, exchange: Exchange) -> None:
        """The response cannot be completed: the peer must be able to tell."""


class Exchange:
    """One request and its response. Owned by exactly one connection.

    The ASGI adapter reads `head`, takes the body with `take_body` and answers with `respond` and `body`. It may set `on_event`, which is
    called, once, when the body grew or ended, when the response is over, or when the peer is gone.
    """

    __slots__ = (
        "_chunks",
        "_high_mark",
        "aborted",
        "bodiless",
        "client",
        "close_code",
        "closing",
        "content_length",
        "expect_trailers",
        "gate",
        "head",
        "keeps_head",
        "on_event",
        "outcome",
        "overrun",
        "remaining",
        "request_state",
        "request_trailers",
        "response",
        "response_state",
        "response_trailers",
        "sent_bytes",
        "sink",
        "started_at",
        "status",
        "stream",
        "told_to_end",
    )

    def __init__(self, sink: ExchangeSink, head: RequestHead, high_mark: int, started_at: float) -> None:
        self.sink = sink
        self.head = head
        # Made with the first of the body: most requests have none.
        self.gate: ReadGate | None = None
        self._high_mark = high_mark
        self.started_at = started_at
        self.request_state = OPEN
        self.request_trailers: Sequence[Field] = ()
        # Most requests have no body; the list is made with its first bytes, as the gate is.
        self._chunks: list[bytes] | None = None
        self.on_event: Callable[[], None] | None = None
        self.response_state = WAITING
        self.response = _NO_RESPONSE
        self.response_trailers: Sequence[Field] = ()
        self.status = 0
        self.content_length: int | None = None
        self.remaining: int | None = None
        self.expect_trailers = False
        self.closing = False
        self.sent_bytes = 0
        self.aborted = False
        self.outcome = ""
        self.overrun = False
        self.stream: WebSocketStream | None = None
        self.close_code: int | None = None
        # Why the application is told that the client has gone, though it can still answer: the word for the access log.
        self.told_to_end = ""
        # A held head is not flushed yet, though the application waits: it waits for what the head should say.
        self.keeps_head = False
        self.bodiless = False
        self.client: tuple[str, int] | None = None

    # The connection's half.

    def _request_step(self, action: str) -> None:
        following = REQUEST_TABLE[self.request_state].get(action)
        if following is None:
            # Only the connection calls these: a bug of ours.
            raise RuntimeError(f"{action!r} is not possible when the request is {self.request_state}")
        self.request_state = following

    def feed_body(self, data: bytes) -> bool:
        """``data`` of the body came. True where the application has enough for now: stop reading."""
        self._request_step("data")
        gate = self.gate
        if gate is None:
            gate = self.gate = ReadGate(self._high_mark)
        if self._chunks is None:
            self._chunks = []
        self._chunks.append(data)
        shut = gate.put(len(data))
        self.notify()
        return shut

    def end_request(self, trailers: list[Field] | None = None) -> None:
        """The body is complete."""
        self._request_step("end")
        if trailers:
            self.request_trailers = trailers
        self.notify()

    def abort(self, outcome: str = "aborted") -> None:
        """The peer is gone, or is not worth talking to any more. Idempotent; a complete response stays complete."""
        if self.aborted or self.response_state is DONE:
            self._chunks = None
            self.request_state = ABORTED
            self.notify()
            return
        self.aborted = True
        self.outcome = outcome
        self.request_state = REQUEST_TABLE[self.request_state]["abort"]
        self.response_state = RESPONSE_TABLE[self.response_state]["abort"]
        self._chunks = None
        self.notify()

    def end_soon(self, outcome: str) -> None:
        """Tell the application that the peer has gone; it can answer all the same. ``outcome`` is that of a response that it gives up then."""
        if self.told_to_end != "aborted":
            self.told_to_end = outcome
        self.notify()

    def notify(self) -> None:
        """Something can be received: whoever set `on_event` is called, once."""
        wake = self.on_event
        if wake is not None:
            self.on_event = None
            wake()

    # The application's half: the request.

    @property
    def readable(self) -> bool:
        """Whether `take_body` has something to give: data, or the end."""
        return bool(self._chunks) or self.request_state is not OPEN

    @property
    def request_ended(self) -> bool:
        """Whether the whole body came."""
        return self.request_state is ENDED

    @property
    def body_pending(self) -> bool:
        """Whether bytes of the body wait to be taken."""
        return bool(self._chunks)

    def want_body(self) -> None:
        """The application waits for the body. Sends 100 (Continue) where the client waits for that, the first time (RFC 9110 §10.1.1)."""
        if self.head.framing.expects_continue:
            self.head.framing = self.head.framing.without_expectation()
            self.sink.body_wanted(self)

    def take_body(self) -> bytes:
        """All of the body that came and was not taken; empty where there is none."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if self.gate is not None and self.gate.take():
            self.sink.body_taken(self)
        return data

    def drop_body(self) -> None:
        """Nobody will take the rest of the body."""
        self._chunks = None
        if self.gate is not None and self.gate.take():
            self.sink.body_taken(self)

    @property
    def head_sent(self) -> bool:
        """Whether anything of the final response is on the wire."""
        return self.response_state not in (WAITING, HELD)

    @property
    def content_sent(self) -> bool:
        """Whether the client has all of the content, and knows it: whoever goes then does so in order."""
        return self.head_sent and (self.bodiless or self.remaining == 0)

    # The application's half: the response.

    def _step(self, action: str) -> None:
        following = RESPONSE_TABLE[self.response_state].get(action)
        if following is None:
            if self.response_state is ABORTED:
                raise ClientDisconnected("the client is gone")
            raise LocalProtocolError(f"{action!r} is not possible when the response is {self.response_state}")
        self.response_state = following

    def respond(self, status: int, fields: Iterable[Iterable[bytes]] = (), trailers: bool = False) -> None:  # noqa: FBT001, FBT002 - as in `body`
        """The head of the final response. Call `body` next. It is not written before `body` or `flush`.

        Raises:
            LocalProtocolError: for a status outside 200-599, an invalid field, an invalid or double Content-Length, or a second head. Nothing is
                changed: a correct call may follow.
            ClientDisconnected: the client is gone.
        """
        if self.response_state is not WAITING:
            self._step("respond")
        try:
            fields = tuple(fields)
        except (TypeError, ValueError) as error:
            raise not_pairs(error) from None
        try:
            head = _repeated_head((status, fields)) if type(status) is int else None
        except (TypeError, ValueError):
            # A list cannot be looked up, nor can a memoryview of a bytearray.
            head = None
        if head is None:
            head = read_response_head(status, fields)
        self.response = head
        self.status = head.status
        self.content_length = self.remaining = head.content_length
        self.closing = head.closing
        # HEAD (RFC 9110 §9.3.2), 1xx, 204, 304 (RFC 9112 §6.3 (1)) and 205 never have content.
        self.bodiless = head.status in NO_CONTENT_STATUSES or self.head.method == b"HEAD"
        self.expect_trailers = bool(trailers)
        self.response_state = HELD
        self.sink.hold(self)

    def flush(self) -> None:
        """Write a held head now: the application waits, and the peer should know what is known."""
        if self.response_state is HELD:
            self._step("flush")
            self.sink.write_head(self, b"", False)

    def body(self, data: bytes, more: bool = False) -> None:  # noqa: FBT001, FBT002 - a keyword costs 400 instructions a call
        """A part of the response's content; ``more`` False ends it. Afterwards wait for ``sink.write_gate`` where that is shut.

        A call after the end is ignored (ASGI: "any further messages on the channel will be ignored").

        Raises:
            LocalProtocolError: before `respond`, or where the content is longer or shorter than its Content-Length. Then no byte beyond it was
                sent, and the connection is closed.
            ClientDisconnected: the client is gone.
        """
        state = self.response_state
        if state is BODY and more and self.content_length is None and not self.bodiless:
            # One of a stream: nothing to count.
            self.sent_bytes += len(data)
            self.sink.write_body(self, data, False)
        elif state is HELD and not more and len(data) == self.remaining and not self.bodiless and not self.expect_trailers:
            # All of it, and as long as was said: most responses.
            self.response_state = DONE
            self.remaining = 0
            self.sent_bytes = len(data)
            self.sink.write_head(self, data, True)
            self.sink.response_ended(self)
            if self.on_event is not None:
                self.notify()
        else:
            self._send_body(state, data, more=more)

    def _send_body(self, state: str, data: bytes, *, more: bool) -> None:
        """Any other part of the content, or a call that is not possible."""
        if state is not HELD and state is not BODY:
            if state is DONE or state is TRAILERS:
                return
            self._step("body")
        fault = ""
        if self.bodiless:
            if not more and state is HELD and self.content_length is None and self.head.method == b"HEAD" and not forbids_content(self.status):
                # RFC 9110 §8.6: HEAD may say how long the content of the same GET would be.
                self.content_length = len(data)
            data = b""
        elif self.content_length is not None:
            if len(data) == self.remaining and not more:
                self.remaining = 0
            else:
                data, fault = self._count(data, more=more)
                if self.overrun:
                    more = False
        # "body", "body before trailers" and "last body" of the table, which both states have.
        if more:
            self.response_state = BODY
        elif self.expect_trailers and not fault:
            self.response_state = TRAILERS
        else:
            self.response_state = DONE
        self.sent_bytes += len(data)
        if state is HELD:
            self.sink.write_head(self, data, not more)
        else:
            self.sink.write_body(self, data, not more)
        if fault:
            self._miscounted(fault)
        if self.response_state is DONE:
            self.sink.response_ended(self)
            if self.on_event is not None:
                self.notify()

    def _miscounted(self, fault: str) -> NoReturn:
        """The content is not as long as was said; what may be sent of it was sent."""
        if self.overrun:
            self._ended()
        else:
            self.response_state = ABORTED
            self.aborted = True
            self.outcome = "short"
            self.sink.cut(self)
        raise LocalProtocolError(fault)

    def _count(self, data: bytes, *, more: bool) -> tuple[bytes, str]:
        """Hold ``data`` against Content-Length: what may be sent of it, and what is wrong."""
        remaining = self.remaining or 0
        size = len(data)
        if size > remaining:
            # Never a byte beyond Content-Length: it would be read as the next response. The connection is closed after it.
            self.overrun = True
            self.closing = True
            self.remaining = 0
            return data[:remaining], f"the response's content is longer than its content-length of {self.content_length} (RFC 9112 §6.3)"
        self.remaining = remaining - size
        if not more and self.remaining:
            self.closing = True
            return data, f"the response's content is {self.remaining} bytes shorter than its content-length of {self.content_length} (RFC 9112 §8)"
        return data, ""

    def reserve(self, size: int) -> int:
        """Account for ``size`` bytes of content that somebody else will write to the transport (sendfile). The bytes that may be written.

        Only between `flush` and the end. Less than ``size`` means that Content-Length forbids the rest.
        """
        if self.response_state is not BODY:
            self._step("body")
        if self.content_length is not None:
            size = min(size, self.remaining or 0)
            self.remaining = (self.remaining or 0) - size
        self.sent_bytes += size
        return size

    def overran(self) -> None:
        """`reserve` gave less than was asked for: end the response at its Content-Length.

        Raises:
            LocalProtocolError: always, to tell the application.
        """
        self.overrun = True
        self.closing = True
        self._step("last body")
        self._ended()
        raise LocalProtocolError(f"the response's content is longer than its content-length of {self.content_length} (RFC 9112 §6.3)")

    def _ended(self) -> None:
        self.sink.response_ended(self)
        self.notify()

    def fail(self, status: int = 500) -> None:
        """The application failed: ``status`` where nothing was sent, else the connection is cut so that the client can tell."""
        if self.response_state is DONE or self.aborted:
            return
        if self.head_sent:
            self.cut()
            return
        self.response_state = WAITING
        self.outcome = "error"
        text = f"{reason_phrase(status)}\n".encode("ascii")
        self.respond(status, [(b"content-type", b"text/plain; charset=utf-8"), *([(b"retry-after", b"1")] if status == _UNAVAILABLE else [])])
        self.closing = True
        self.body(text)

    def inform(self, status: int, fields: Iterable[Iterable[bytes]] = ()) -> None:
        """A 1xx response before the final one (RFC 9110 §15.2): 100, 102 or 103. Ignored where the peer speaks HTTP/1.0.

        Raises:
            LocalProtocolError: where the final response has begun, for another status, or for an invalid field.
            ClientDisconnected: the client is gone.
        """
        if status not in _INFORMATIONAL:
            raise LocalProtocolError(f"an informational status must be 100, 102 or 103, not {status!r} (RFC 9110 §15.2)")
        checked = _check_unframed(fields)
        self._step("inform")
        self.sink.write_informational(self, status, checked)

    def trailers(self, fields: Iterable[Iterable[bytes]], *, more: bool = False) -> None:
        """Fields behind the content (RFC 9110 §6.5); several calls add up. Only sent where the peer said ``TE: trailers``.

        Raises:
            LocalProtocolError: where the response has no trailers to come, or for an invalid field.
            ClientDisconnected: the client is gone.
        """
        if self.response_state is DONE:
            return
        checked = _check_unframed(fields)
        self._step("trailers" if more else "last trailers")
        self.response_trailers = [*self.response_trailers, *checked]
        if not more:
            self.sink.write_trailers(self, self.response_trailers)
            self._ended()

    def tunnel(self, stream: WebSocketStream, fields: list[Field]) -> None:
        """Accept the upgrade that the request asked for; the exchange is a tunnel from here on.

        Raises:
            LocalProtocolError: where a response has begun.
            ClientDisconnected: the client is gone.
        """
        self._step("tunnel")
        self.status = 101
        self.stream = stream
        self.sink.open_tunnel(self, stream, fields)

    def tunnel_closed(self) -> None:
        """The tunnel is over, in order."""
        if self.response_state is TUNNEL:
            self._step("tunnel closed")
            self._ended()

    def cut(self, outcome: str = "error") -> None:
        """Give the response up: the connection is cut so that the client can tell. Nothing happens where it is complete."""
        if self.response_state is DONE or self.aborted:
            return
        if not self.head_sent:
            # One that was held was not sent.
            self.status = 0
        self.response_state = ABORTED
        self.aborted = True
        self.outcome = outcome
        self.sink.cut(self)
