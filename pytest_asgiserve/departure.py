"""Connections of the httpx clients that end with a RST, so that a server learns at once that nobody reads its response any more.

The law of this module: giving up is seen. A client that has read half of a response, or has waited long enough for one, closes its socket. On TCP
that says no more than "I shall send nothing else", which a server may take for a half-closed client that still reads (RFC 9112 §9.6), so that its
application waits for ever. A RST says it. Where TLS is in between a close is clear enough, and a UNIX socket knows nothing better.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import selectors
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

import httpcore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

__all__ = ["CLOSE_WITH_RESET", "ResettingBackend"]

CLOSE_WITH_RESET: Final[httpcore.SOCKET_OPTION] = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""The socket option with which a close is a RST."""


@contextlib.asynccontextmanager
async def _bounded(seconds: float | None, late: type[Exception], failed: type[Exception]) -> AsyncIterator[None]:
    """Raise httpcore's errors: ``late`` after ``seconds``, ``failed`` where the system says no."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error


def _is_readable(sock: socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


class _AsyncioStream(httpcore.AsyncNetworkStream):
    """A TCP connection on asyncio. A stream of asyncio's or anyio's would send a FIN before it closes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        async with _bounded(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await asyncio.get_running_loop().sock_recv(self._sock, max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        async with _bounded(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            await asyncio.get_running_loop().sock_sendall(self._sock, buffer)

    async def aclose(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._sock
        if info == "client_addr":
            return self._sock.getsockname()
        if info == "server_addr":
            return self._sock.getpeername()
        if info == "is_readable":
            # How the pool finds out that the server has closed an idle connection.
            return self._sock.fileno() < 0 or _is_readable(self._sock)
        return None


class ResettingBackend(httpcore.AsyncNetworkBackend):
    """Connects to a numeric address over TCP without TLS, on asyncio and trio. All else is httpcore's own backend's."""

    @staticmethod
    def serves(origin: httpcore.Origin) -> bool:
        """Whether connections to ``origin`` can be made by it."""
        try:
            ipaddress.ip_address(origin.host.decode("ascii"))
        except ValueError:
            return False
        return origin.scheme == b"http"

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to ``host``.

        Raises:
            httpcore.ConnectTimeout: it took more than ``timeout`` seconds.
            httpcore.ConnectError: there is none.
        """
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_task():
            return await httpcore.TrioBackend().connect_tcp(host, port, timeout, local_address, socket_options)
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option in socket_options or ():
                sock.setsockopt(*option)
            async with _bounded(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return _AsyncioStream(sock)
