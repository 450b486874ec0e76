"""What a test attaches to a server: to watch it, to record it, and to break its answers on purpose.

The law of this module: protocols and plain values only. A server without an instrument takes none of these ways; with one, everything that a client
sees still comes from the production code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from asgiserve.asgi.context import describe

if TYPE_CHECKING:
    import asyncio

    from asgiserve.asgi.context import AsgiApplication
    from asgiserve.asgi.http import HttpCall
    from asgiserve.asgi.websocket import WebSocketCall
    from asgiserve.core.exchange import Exchange
    from asgiserve.runtime.connection import AsyncioConnection

__all__ = ["Instrument", "OpenConnection", "describe_connection"]


class Instrument(Protocol):
    """Told of everything that happens in one server, on its event loop. No method may raise or block."""

    def wrap_application(self, app: AsgiApplication) -> AsgiApplication:
        """The application to call instead of ``app``, in ASGI 3's form: once, before its lifespan starts. Return ``app`` to leave it."""

    def wrap_protocol(self, connection: AsyncioConnection) -> asyncio.BaseProtocol:
        """What the transport of a new connection calls: ``connection.protocol``, or something that passes everything on to it.

        It may hand ``connection.protocol`` another transport. That one's ``get_extra_info("sendfile")`` may say False where bytes must not go
        past it.
        """

    def exchange_began(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """A request is there. Called inside of the context of its call: a context variable that is set here is seen by the application alone."""

    def exchange_ended(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """An exchange is over, complete or not."""

    def request_refused(self, connection: AsyncioConnection, detail: str, status: int) -> None:
        """A request was refused at the door with ``status`` (0: closed without an answer)."""

    def application_failed(self, exchange: Exchange | None, detail: str, error: BaseException | None) -> bool:
        """The application raised, or returned without a complete response (``error`` None). Of its lifespan ``exchange`` is None.

        Called before the client can know. True: it is taken care of and need not be logged.
        """


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """One connection, or one call of the application whose connection is gone; a snapshot for a person.

    ``phase`` is ``connecting``, ``idle``, ``head``, ``body``, ``response``, ``tunnel``, ``linger``, ``closed`` or ``gone`` (the client went while
    the application runs on). ``method`` and ``target`` are empty where there is no request. ``age`` is in seconds, of the request where there
    is one, else of the connection. ``task`` runs the application.
    """

    peer: str
    protocol: str
    phase: str
    method: str
    target: str
    age: float
    task: asyncio.Task[Any] | None


def describe_connection(connection: Any, call: HttpCall | WebSocketCall | None) -> OpenConnection:
    """A snapshot of an `AsyncioConnection` and the call that runs on it."""
    # The application may be through with a WebSocket that the client has not closed yet.
    exchange: Exchange | None = call.exchange if call is not None else connection.protocol.exchange
    protocol = connection.protocol
    if connection.transport is None and exchange is None:
        phase = "connecting"
    else:
        phase = "gone" if exchange is not None and exchange.aborted else protocol.phase
    now = connection.clock()
    return OpenConnection(
        peer=connection.peer_name,
        protocol="WebSocket" if exchange is not None and exchange.head.upgrade else "HTTP/1.1",
        phase=phase,
        method=exchange.head.method.decode("latin-1") if exchange is not None else "",
        target=describe(exchange).partition(" ")[2] if exchange is not None else "",
        age=now - (exchange.started_at if exchange is not None else protocol.made_at or now),
        task=call.task if call is not None else None,
    )
