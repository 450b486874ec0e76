"""One call of the application for one HTTP request (ASGI www.rst, HTTP).

The law of this module: whatever the application does, its exchange ends, the server lives, and no other exchange notices.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from asgiserve.asgi.context import is_disconnect
from asgiserve.asgi.files import send_file, send_path
from asgiserve.asgi.messages import HTTP_SEND, HTTP_TYPES, as_bytes, message_type, refuse_order
from asgiserve.asgi.scope import http_scope
from asgiserve.core.exchange import ABORTED, BODY, DONE, HELD, WAITING
from asgiserve.errors import ClientDisconnected, LocalProtocolError

if TYPE_CHECKING:
    from asgiserve.asgi.context import Context, Peer, Waiter
    from asgiserve.core.exchange import Exchange

__all__ = ["HttpCall"]


class HttpCall:
    """One call: `run` is its task's coroutine, `receive` and `send` are what the application gets."""

    __slots__ = ("_body_taken", "_waiters", "cancelled", "context", "exchange", "peer", "task")

    def __init__(self, context: Context, exchange: Exchange, peer: Peer) -> None:
        self.context = context
        self.exchange = exchange
        self.peer = peer
        self._body_taken = False
        self._waiters: list[Waiter] | None = None
        self.cancelled = False
        self.task: Any = None

    async def run(self) -> None:
        """Call the application, and see to it that there is a response."""
        exchange = self.exchange
        try:
            await self.context.app(http_scope(self.context, exchange, self.peer), self.receive, self.send)
            if exchange.response_state is not DONE:
                self._unanswered()
        except GeneratorExit as error:
            # An application can raise it as anything else. It is also how a coroutine is closed whose loop is dead: then nothing can be written.
            with contextlib.suppress(RuntimeError):
                self._failed(error)
        except BaseException as error:  # noqa: BLE001 - SystemExit of an application must not stop the server, nor a cancellation another request
            self._failed(error)
        finally:
            self.context.finished(self)

    def _unanswered(self) -> None:
        exchange = self.exchange
        if exchange.aborted:
            return
        if exchange.told_to_end and (exchange.head_sent or exchange.told_to_end == "aborted"):
            # Django, Quart and Litestar give their response up when they hear http.disconnect; and that we said, because the server stops or
            # the client will send no more.
            exchange.cut(exchange.told_to_end)
            return
        # S49: an application that returns without a response gets 500; within one, the connection is cut so that the client can tell.
        what = "before its response was complete" if exchange.head_sent else "without a response"
        self.context.failed(exchange, f"the application returned {what}", None)
        exchange.fail()

    def _failed(self, error: BaseException) -> None:
        exchange = self.exchange
        if self.cancelled:
            # The graceful period is over: not the application's fault, and nothing to trace back.
            exchange.fail(503)
            return
        if not (exchange.aborted and is_disconnect(error)):
            self.context.failed(exchange, "exception in the application", error)
        exchange.fail()

    async def receive(self) -> dict[str, Any]:
        """The next event: ``http.request``, or ``http.disconnect`` when the client is gone or the response is complete."""
        exchange = self.exchange
        while True:
            if not self._body_taken:
                if exchange.body_pending:
                    body = exchange.take_body()
                    self._body_taken = ended = exchange.request_ended
                    return {"type": "http.request", "body": body, "more_body": not ended}
                if exchange.response_state is DONE or exchange.response_state is ABORTED:
                    return {"type": "http.disconnect"}
                if exchange.request_ended:
                    self._body_taken = True
                    return {"type": "http.request", "body": b"", "more_body": False}
                exchange.want_body()
            elif exchange.response_state is DONE or exchange.response_state is ABORTED or exchange.told_to_end:
                # S34, S35: at once, and every time.
                return {"type": "http.disconnect"}
            waiter = self.context.create_waiter()
            if self._waiters is None:
                self._waiters = [waiter]
                exchange.on_event = self._wake
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
            LocalProtocolError: the message breaks a rule of ASGI or HTTP. Nothing of it was sent.
            ClientDisconnected: the client is gone.
        """
        exchange = self.exchange
        state = exchange.response_state
        try:
            kind = message["type"]
        except (KeyError, TypeError):
            kind = message_type(message, HTTP_TYPES)
        # What nearly every message is; `HTTP_SEND` says the same and is asked for the others.
        if kind == "http.response.body" and (state is HELD or state is BODY):
            body = message.get("body", b"")
            exchange.body(body if type(body) is bytes else as_bytes(body, "the body of http.response.body"), message.get("more_body", False))
        elif kind == "http.response.start" and state is WAITING:
            if "status" not in message:
                raise LocalProtocolError("http.response.start has no status")
            exchange.respond(message["status"], message.get("headers", ()), message.get("trailers", False))
            return
        else:
            await self._send_other(kind, message)
        if exchange.response_state is DONE:
            return
        if exchange.sink.write_gate.shut:
            await self.wait_writable()
        elif self.peer.gone():
            # A write failed, and the loop has had no turn to say so. asyncio and uvloop would swallow a stream without end.
            exchange.cut("aborted")
            raise ClientDisconnected("the client is gone")

    async def wait_writable(self) -> None:
        """Wait until the client keeps up. The only place where a response waits for its reader."""
        await wait_writable(self.context, self.exchange)

    async def _send_other(self, kind: str, message: dict[str, Any]) -> None:
        """A message of an extension, or one that is not allowed or not heard any more."""
        exchange = self.exchange
        message_type(message, HTTP_TYPES)
        if kind not in HTTP_SEND[exchange.response_state]:
            raise refuse_order(kind, exchange.response_state, HTTP_SEND)
        if exchange.response_state is DONE:
            return
        if exchange.response_state is ABORTED:
            raise ClientDisconnected("the client is gone")
        if kind == "http.response.early_hint":
            try:
                links = [as_bytes(link, "a link of http.response.early_hint") for link in message.get("links", ())]
            except TypeError as error:
                raise LocalProtocolError(f"the links of http.response.early_hint must be an iterable of bytes: {error}") from None
            if not exchange.head_sent:
                exchange.inform(103, [(b"link", link) for link in links])
        elif kind == "http.response.trailers":
            exchange.trailers(message.get("headers", ()), more=bool(message.get("more_trailers", False)))
        elif kind == "http.response.pathsend":
            await send_path(self, message)
        else:
            await send_file(self, message)


async def wait_writable(context: Context, exchange: Exchange) -> None:
    """Wait for the write gate of ``exchange``.

    Raises:
        ClientDisconnected: the client went while we waited.
    """
    gate = exchange.sink.write_gate
    while gate.shut:
        waiter = context.create_waiter()
        gate.when_open(lambda waiter=waiter: None if waiter.done() else waiter.set_result(None))  # type: ignore[misc]  # mypy cannot type a default
        await waiter
    if exchange.aborted:
        raise ClientDisconnected("the client is gone")
