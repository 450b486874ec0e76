"""Accepting connections.

The law of this module: a listener that cannot accept stops trying for a moment, and says so once. asyncio's own accept loop tries ``backlog`` times
per wake-up when descriptors run out (CPython 3.11.7, 3.12.1 and 3.13.0, ``selector_events._accept_connection``): measured in uvicorn as 4.4 s of CPU
and 260,000 log lines in 6 seconds.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Listener"]

_logger = logging.getLogger("asgiserve.runtime")

# Out of descriptors (ours, the system's), or of memory for one.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Enough to keep up with any benchmark, few enough that established connections get their turn.
_MAX_ACCEPTS: Final = 64
_PAUSE: Final = 0.2
_LOG_INTERVAL: Final = 10.0

_UNAVAILABLE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 20\r\nretry-after: 1\r\n"
    b"connection: close\r\n\r\n"
    b"Service Unavailable\n"
)


class Listener:
    """One listening socket on one event loop.

    Args:
        loop: asyncio's or uvloop's.
        sock: bound; `start` makes it listen.
        accepted: is called with each new socket (non-blocking) and its peer's address.
        polite: whether a connection that there is no descriptor for is told so in clear HTTP (not on TLS).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, accepted: Callable[[socket.socket, Any], None], *, polite: bool) -> None:
        self.sock = sock
        self._loop = loop
        self._accepted = accepted
        self._polite = polite
        self._watching = False
        self._held = False
        self._retry: asyncio.TimerHandle | None = None
        self._open = False
        self._reserve = -1
        self._logged_at = float("-inf")
        self._unlogged = 0
        self._tcp = sock.family in (socket.AF_INET, socket.AF_INET6)

    def start(self, backlog: int) -> None:
        """Listen, and accept from now on."""
        self.sock.setblocking(False)
        self.sock.listen(backlog)
        self._open = True
        self._fill_reserve()
        self._watch()

    def stop(self) -> None:
        """Accept no more. The socket stays open for its owner to close."""
        self._open = False
        self._unwatch()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def accept_waiting(self) -> None:
        """Accept who is connected already, without waiting for the loop to say so."""
        if self._watching:
            self._accept()

    def hold(self) -> None:
        """Accept nothing until `release`: there are enough connections."""
        self._held = True
        self._unwatch()

    def release(self) -> None:
        """The opposite of `hold`."""
        self._held = False
        if self._open and self._retry is None:
            self._watch()

    def _watch(self) -> None:
        if not self._watching and not self._held:
            self._watching = True
            self._loop.add_reader(self.sock.fileno(), self._accept)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self.sock.fileno())

    def _accept(self) -> None:
        for _ in range(_MAX_ACCEPTS):
            try:
                connection, address = self.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                # It was gone before we came (ECONNABORTED): the next one.
                continue
            except OSError as error:
                self._failed(error)
                return
            connection.setblocking(False)
            if self._tcp:
                # asyncio sets it, uvloop does not on every path: a response must not wait for the ACK of its head.
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted(connection, address)
            if not self._watching:
                return

    def _failed(self, error: OSError) -> None:
        """Leave the loop at the first failure, pause, and try again by one timer."""
        self._unwatch()
        now = self._loop.time()
        if now - self._logged_at >= _LOG_INTERVAL:
            more = f" ({self._unlogged} more times since the last line)" if self._unlogged else ""
            _logger.error("cannot accept connections: %s; pausing for %g s%s", error.strerror or error, _PAUSE, more)
            self._logged_at = now
            self._unlogged = 0
        else:
            self._unlogged += 1
        if error.errno in _EXHAUSTED:
            self._turn_away()
        self._retry = self._loop.call_later(_PAUSE, self._resume)

    def _resume(self) -> None:
        self._retry = None
        self._fill_reserve()
        self._watch()

    def _turn_away(self) -> None:
        """Spend the reserve descriptor on one connection, so that it is told instead of left hanging (libev's and Twisted's trick)."""
        if self._reserve < 0:
            return
        os.close(self._reserve)
        self._reserve = -1
        with contextlib.suppress(OSError):
            connection, _ = self.sock.accept()
            with connection:
                connection.setblocking(False)
                if self._polite:
                    connection.send(_UNAVAILABLE)
        self._fill_reserve()

    def _fill_reserve(self) -> None:
        """Take a descriptor to spend in need. There may be none: somebody else was quicker, and the next pause tries again."""
        if self._reserve < 0:
            with contextlib.suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY)
