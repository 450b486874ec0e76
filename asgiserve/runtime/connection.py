"""One accepted socket.

It is what a core connection asks of its event loop (`core.transport.Owner`), and what a call of the application asks of its peer
(`asgi.context.Peer`).

The law of this module: one timer a connection, made only when a deadline is earlier than the one it stands for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
import time
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol

from asgiserve.core.http1 import Http1Connection
from asgiserve.errors import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from asgiserve.config import Limits, Timeouts
    from asgiserve.core.exchange import Exchange
    from asgiserve.core.parsers import ParserFactory
    from asgiserve.runtime.tls import ServerTls

__all__ = ["AsyncioConnection", "ConnectionHost"]


class ConnectionHost(Protocol):
    """Who accepts connections and runs their exchanges: the server."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    timeouts: Timeouts
    parser: ParserFactory
    websocket_enabled: bool
    tls: ServerTls | None
    began: Callable[[AsyncioConnection, Exchange], None]
    """Runs the application."""
    ended: Callable[[AsyncioConnection, Exchange], None] | None
    """Logs and counts; None where there is nothing to do."""
    default_fields: Callable[[float], bytes]
    default_fields_without: Callable[[AbstractSet[bytes]], bytes]

    def request_refused(self, connection: AsyncioConnection, detail: str, status: int) -> None:
        """Log."""

    def connection_closed(self, connection: AsyncioConnection) -> None:
        """Forget it."""

    def trusts(self, host: str) -> bool:
        """Whether the peer's forwarded fields are believed."""


class AsyncioConnection:
    """The owner of one `Http1Connection`, on asyncio or uvloop.

    ``protocol`` is what the event loop calls. Reading ``client`` and ``server`` is possible from the start.
    """

    __slots__ = (
        "_host",
        "_timer",
        "begin",
        "client",
        "clock",
        "default_fields",
        "default_fields_without",
        "ended",
        "gone",
        "peer_name",
        "protocol",
        "scheme",
        "server",
        "soon",
        "tls",
        "transport",
        "trusted",
    )

    def __init__(self, host: ConnectionHost, sock: socket.socket, address: Any, server: tuple[str, int | None]) -> None:
        self._host = host
        self._timer: asyncio.TimerHandle | None = None
        # Not `loop.time`: uvloop's is the beginning of its turn, in milliseconds. The base is the same.
        self.clock = time.monotonic
        self.soon: Callable[[Callable[[], None]], object] = host.loop.call_soon
        # Methods of the host's, bound to this connection too: 64 bytes, where a partial of a method that is bound anew takes 190.
        self.begin: Callable[[Exchange], None] = MethodType(host.began, self)
        self.ended: Callable[[Exchange], None] = _nothing if host.ended is None else MethodType(host.ended, self)
        self.default_fields = host.default_fields
        self.default_fields_without = host.default_fields_without
        self.server: tuple[str, int | None] | None = server
        self.tls: dict[str, Any] | None = None
        self.scheme = "http" if host.tls is None else "https"
        self.transport: asyncio.Transport | None = None
        self.gone: Callable[[], bool] = _always
        if isinstance(address, tuple):
            self.client: tuple[str, int] | None = (address[0], address[1])
            self.peer_name = f"[{address[0]}]:{address[1]}" if sock.family == socket.AF_INET6 else f"{address[0]}:{address[1]}"
            self.trusted = host.trusts(address[0])
        else:
            self.client = None
            self.peer_name = f"unix:{server[0]}"
            # Who may connect to a UNIX socket is decided by its directory; its path is what can be trusted by name.
            self.trusted = host.trusts(server[0])
        self.protocol = Http1Connection(self, host.limits, host.timeouts, host.parser, websocket=host.websocket_enabled)

    # core.transport.Owner

    def connected(self, transport: Any) -> None:
        """The transport is there; on TLS after the handshake."""
        self.transport = transport
        # Each piece of a stream asks for it.
        self.gone = transport.is_closing if self._host.tls is None else self._gone
        if self._host.tls is not None:
            self.tls = self._host.tls.describe(transport.get_extra_info("ssl_object"))

    def arm(self, when: float) -> None:
        """Have ``on_timer`` called at ``when``, and not at any other time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._host.loop.call_at(when, self.protocol.on_timer)

    def refused(self, detail: str, status: int) -> None:
        """A request was refused at the door."""
        self._host.request_refused(self, detail, status)

    def reset(self) -> None:
        """Cut the connection with a TCP RST, so that what was sent is not taken for a complete response."""
        transport = self.transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def closed(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.gone = _always
        self._host.connection_closed(self)

    # asgi.context.Peer

    def _gone(self) -> bool:
        """Whether the transport is closed or about to be: a failed write says so at once, ``connection_lost`` a turn later."""
        transport = self.transport
        # asyncio's TLS transport does not say that the one below it has failed, and swallows what is written (CPython 3.11 to 3.13).
        return transport is None or transport.is_closing() or _hung_up(transport.get_extra_info("socket"))

    @property
    def can_sendfile(self) -> bool:
        """Whether the system can copy a file to the socket: not through TLS."""
        transport = self.transport
        # An instrument's transport may want to see every byte.
        return hasattr(os, "sendfile") and self._host.tls is None and transport is not None and transport.get_extra_info("sendfile", default=True)

    async def sendfile(self, file: int, offset: int, count: int) -> int:
        """Send ``count`` bytes of the file descriptor ``file`` from ``offset`` on, behind what was written.

        Neither asyncio's ``loop.sendfile`` (it cannot tell how far it got, so that a stalled client could not be told from a slow one) nor
        uvloop's (there is none): the socket's descriptor is duplicated, as an event loop watches a transport's own for itself.

        Returns:
            the bytes sent; fewer than ``count`` at the end of the file.

        Raises:
            ClientDisconnected: the client is gone, or took nothing for the write timeout.
        """
        transport = self.transport
        if transport is None:
            raise ClientDisconnected("the client is gone")
        await self._flushed(transport)
        sock = transport.get_extra_info("socket")
        if transport.is_closing() or sock is None or sock.fileno() < 0:
            raise ClientDisconnected("the client is gone")
        descriptor = os.dup(sock.fileno())
        try:
            return await self._sendfile(descriptor, file, offset, count)
        finally:
            os.close(descriptor)

    async def _sendfile(self, descriptor: int, file: int, offset: int, count: int) -> int:
        sent = 0
        while sent < count:
            try:
                size = os.sendfile(descriptor, file, offset + sent, count - sent)
            except (BlockingIOError, InterruptedError):
                await self._writable(descriptor)
            except OSError:
                raise ClientDisconnected("the client is gone") from None
            else:
                if not size:
                    break
                sent += size
                # A fast client must not keep the loop from everybody else.
                await asyncio.sleep(0)
        return sent

    async def _writable(self, descriptor: int) -> None:
        loop = self._host.loop
        waiter: asyncio.Future[None] = loop.create_future()
        loop.add_writer(descriptor, lambda: None if waiter.done() else waiter.set_result(None))
        try:
            async with asyncio.timeout(self._host.timeouts.timeout_write):
                await waiter
        except TimeoutError:
            self.protocol.abort()
            raise ClientDisconnected("the client took nothing for too long") from None
        finally:
            loop.remove_writer(descriptor)

    async def _flushed(self, transport: asyncio.Transport) -> None:
        """Wait until the transport's own buffer is empty."""
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)
        try:
            gate = self.protocol.write_gate
            while gate.shut and not transport.is_closing():
                waiter: asyncio.Future[None] = self._host.loop.create_future()
                gate.when_open(lambda waiter=waiter: None if waiter.done() else waiter.set_result(None))  # type: ignore[misc]  # mypy cannot type a default
                await waiter
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits(high=high, low=low)


def _nothing(_: Exchange) -> None:
    """Nobody wants to know."""


def _always() -> bool:
    """A connection that is closed is gone."""
    return True


def _hung_up(sock: Any) -> bool:
    """Whether the system knows that the peer of ``sock`` has gone: not that it only sends no more."""
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    # Errors and the end of both directions are told unasked.
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))
