"""One call of the application for one WebSocket (ASGI www.rst, WebSocket).

The law of this module: the handshake is not completed before the application says so, and whatever the application does after it, the peer is told
with a close code.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from asgiserve.asgi.context import is_disconnect
from asgiserve.asgi.http import wait_writable
from asgiserve.asgi.messages import ACCEPTED, CLOSED, CONNECTING, DENYING, WEBSOCKET_SEND, WEBSOCKET_TYPES, as_bytes, message_type, refuse_order
from asgiserve.asgi.scope import websocket_scope
from asgiserve.core.exchange import DONE
from asgiserve.core.websocket import ABNORMAL, INTERNAL_ERROR, NORMAL, WebSocketStream
from asgiserve.core.websocket_handshake import accept_fields, negotiate_extensions
from asgiserve.errors import ClientDisconnected, LocalProtocolError
from asgiserve.http.fields import check_response_fields

if TYPE_CHECKING:
    from asgiserve.asgi.context import Context, Peer, Waiter
    from asgiserve.core.exchange import Exchange

__all__ = ["WebSocketCall"]

# What an application may not set in the 101: it is the server's (ASGI, Accept; RFC 6455 §4.2.2).
_HANDSHAKE_FIELDS = frozenset({b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol", b"upgrade", b"connection"})
_FRAMING_FIELDS = frozenset({b"content-length", b"transfer-encoding"})


class WebSocketCall:
    """One call: `run` is its task's coroutine, `receive` and `send` are what the application gets."""

    __slots__ = ("_connect_sent", "_scope", "_state", "_stream", "_waiters", "cancelled", "context", "exchange", "peer", "task")

    def __init__(self, context: Context, exchange: Exchange, peer: Peer) -> None:
        self.context = context
        self.exchange = exchange
        self.peer = peer
        self._scope: dict[str, Any] = {}
        self._state = CONNECTING
        self._connect_sent = False
        self._stream: WebSocketStream | None = None
        self._waiters: list[Waiter] | None = None
        self.cancelled = False
        self.task: Any = None

    async def run(self) -> None:
        """Call the application, and see to it that the connection ends in order."""
        try:
            self._scope = websocket_scope(self.context, self.exchange, self.peer)
            await self.context.app(self._scope, self.receive, self.send)
            self._returned()
        except GeneratorExit as error:
            # As in HttpCall.run.
            with contextlib.suppress(RuntimeError):
                self._failed(error)
        except BaseException as error:  # noqa: BLE001 - as in HttpCall.run
            self._failed(error)
        finally:
            self.context.finished(self)

    def _returned(self) -> None:
        if self._state is CONNECTING and not self.exchange.aborted:
            # S58
            self.context.failed(self.exchange, "the application returned before it accepted or closed the WebSocket", None)
        elif self._state is DENYING and not self.exchange.aborted:
            self.context.failed(self.exchange, "the application returned before its response was complete", None)
        self._end()

    def _failed(self, error: BaseException) -> None:
        gone = self.exchange.aborted or self._state is CLOSED or (self._stream is not None and self._stream.disconnect is not None)
        if not self.cancelled and not (gone and is_disconnect(error)):
            self.context.failed(self.exchange, "exception in the application", error)
        self._end()

    def _end(self) -> None:
        """The application is over: what it left open is closed (S58, S68)."""
        stream = self._stream
        if stream is None:
            self.exchange.fail(503 if self.cancelled else 500)
        elif stream.disconnect is None and self._state is ACCEPTED:
            try:
                stream.close(INTERNAL_ERROR)
            except ClientDisconnected:
                return

    async def receive(self) -> dict[str, Any]:
        """The next event: ``websocket.connect`` first, then ``websocket.receive``, at last ``websocket.disconnect``, every time."""
        if not self._connect_sent:
            self._connect_sent = True
            return {"type": "websocket.connect"}
        while True:
            stream = self._stream
            if stream is not None:
                message = stream.take_message()
                if message is not None:
                    if isinstance(message, str):
                        return {"type": "websocket.receive", "text": message, "bytes": None}
                    return {"type": "websocket.receive", "bytes": message, "text": None}
                if stream.disconnect is not None:
                    code, reason = stream.disconnect
                    return {"type": "websocket.disconnect", "code": code, "reason": reason}
            elif self.exchange.aborted or self.exchange.response_state is DONE:
                # S65: a handshake that failed or was denied is 1006 to the application (asgiref 364).
                return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
            waiter = self.context.create_waiter()
            # Two calls of `receive` may wait at once.
            if self._waiters is None:
                self._waiters = [waiter]
                self.exchange.on_event = self._wake
            else:
                # Those that were cancelled are let go: an application may poll.
                self._waiters = [other for other in self._waiters if not other.done()] + [waiter]
            await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    async def send(self, message: dict[str, Any]) -> None:
        """Take a message of the application; returns when its bytes are handed over and the client keeps up.

        Raises:
            LocalProtocolError: the message breaks a rule of ASGI, HTTP or WebSocket. Nothing of it was sent.
            ClientDisconnected: the connection is closing or closed.
        """
        stream = self._stream
        exchange = self.exchange
        # An application may send anything.
        given: Any = message
        # Most messages by far: what is asked here is what `_send_other` asks, of this one kind.
        sends = (
            stream is not None
            and self._state is ACCEPTED
            and stream.disconnect is None
            and not exchange.aborted
            and isinstance(given, dict)
            and given.get("type") == "websocket.send"
        )
        if stream is not None and sends:
            _send_message(stream, message)
        else:
            self._send_other(message)
        if exchange.sink.write_gate.shut and exchange.response_state is not DONE:
            await wait_writable(self.context, exchange)
        elif stream is not None and sends and self.peer.gone():
            # As in HttpCall.send.
            stream.connection_lost()
            raise ClientDisconnected("the WebSocket is closed")

    def _send_other(self, message: dict[str, Any]) -> None:
        """Any message but one that an open WebSocket sends."""
        kind = message_type(message, WEBSOCKET_TYPES)
        if self.exchange.aborted or (self._stream is not None and self._stream.disconnect is not None):
            raise ClientDisconnected("the WebSocket is closed")
        if self._state is CLOSED:
            # Ours was the first close; to the application the connection is closed all the same (S63).
            raise ClientDisconnected("the WebSocket is closed")
        if kind not in WEBSOCKET_SEND[self._state]:
            raise refuse_order(kind, self._state, WEBSOCKET_SEND)
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._close(message)
        elif kind == "websocket.http.response.start":
            if "status" not in message:
                raise LocalProtocolError("websocket.http.response.start has no status")
            self.exchange.respond(message["status"], message.get("headers", ()))
            self._state = DENYING
        else:
            body = as_bytes(message.get("body", b""), "the body of websocket.http.response.body")
            more = bool(message.get("more_body", False))
            self.exchange.body(body, more=more)
            if not more:
                self._state = CLOSED

    def _accept(self, message: dict[str, Any]) -> None:
        request = self.exchange.head
        fields = check_response_fields(message.get("headers") or ())
        for name, _ in fields:
            if name in _HANDSHAKE_FIELDS:
                # S60
                raise LocalProtocolError(f"websocket.accept must not set {name.decode('ascii')}; the server does")
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self._offered():
            # RFC 6455 §4.2.2: "derived from the client's handshake"; a client fails the connection on any other (§4.1).
            raise LocalProtocolError(f"websocket.accept: the client did not offer the subprotocol {subprotocol!r}, but {self._offered()!r}")
        answer, extensions = negotiate_extensions(
            request.fields, deflate=self.context.websocket.ws_per_message_deflate, max_ratio=self.context.websocket.ws_max_inflation_ratio
        )
        stream = WebSocketStream(self.exchange, self.context.websocket, extensions)
        self._stream = stream
        try:
            self.exchange.tunnel(
                stream, accept_fields(request.fields, subprotocol, answer) + [field for field in fields if field[0] not in _FRAMING_FIELDS]
            )
        except BaseException:
            self._stream = None
            raise
        self._state = ACCEPTED

    def _offered(self) -> list[str]:
        offered: list[str] = self._scope.get("subprotocols", [])
        return offered

    def _close(self, message: dict[str, Any]) -> None:
        code = message.get("code", NORMAL)
        reason = message.get("reason") or ""
        if not isinstance(code, int) or isinstance(code, bool) or not isinstance(reason, str):
            raise LocalProtocolError("websocket.close takes a whole number as code and text as reason")
        if self._stream is None:
            # S57: a close before the accept is 403.
            self._state = CLOSED
            self.exchange.respond(403, [(b"content-type", b"text/plain; charset=utf-8")])
            self.exchange.body(b"Forbidden\n")
            return
        self._stream.close(code, reason)
        self._state = CLOSED


def _send_message(stream: WebSocketStream, message: dict[str, Any]) -> None:
    text = message.get("text")
    data = message.get("bytes")
    # S64: exactly one of them.
    if (text is None) == (data is None):
        raise LocalProtocolError("websocket.send must have either bytes or text, and not both")
    if text is None:
        stream.send(as_bytes(data, "the bytes of websocket.send"))
    elif isinstance(text, str):
        stream.send(text)
    else:
        raise LocalProtocolError(f"the text of websocket.send must be str, not {type(text).__name__}")
