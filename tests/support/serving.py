"""Real servers for tests with real sockets: each parser on each event loop.

Where a test looks at a server as a user would, it uses ``live_server_factory`` (fixture ``serve`` of tests/sockets). What is here is for the others,
which look at how a server itself starts, stops and accepts: the same thread, without the instrument of `LiveServer`.
"""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import Server
from asgiserve.supervisor import loop_factory
from pytest_asgiserve.runner import ServerThread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgiserve import Address

__all__ = ["LOOPS", "PARSERS", "STACKS", "Serving", "loop_factory", "serving"]

_START = 20.0
_JOIN = 20.0

_HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None
_HAS_HTTPTOOLS = importlib.util.find_spec("httptools") is not None

LOOPS = [
    "asyncio",
    pytest.param("uvloop", marks=pytest.mark.skipif(not _HAS_UVLOOP, reason="uvloop is not there for this Python or system")),
]
PARSERS = [
    pytest.param("httptools", marks=pytest.mark.skipif(not _HAS_HTTPTOOLS, reason="httptools is not there for this Python")),
    "h11",
]
# Every parser on every loop, as (parser, loop).
STACKS = [
    pytest.param(
        parser,
        loop,
        id=f"{parser}-{loop}",
        marks=[
            pytest.mark.skipif(parser == "httptools" and not _HAS_HTTPTOOLS, reason="httptools is not there for this Python"),
            pytest.mark.skipif(loop == "uvloop" and not _HAS_UVLOOP, reason="uvloop is not there for this Python or system"),
        ],
    )
    for parser in ("httptools", "h11")
    for loop in ("asyncio", "uvloop")
]


class Serving(ServerThread):
    """A running server without an instrument. Made by `serving`."""

    def start(self, seconds: float = _START) -> None:
        """As `ServerThread.start`, with time for a slow machine."""
        super().start(seconds)

    def stop(self, seconds: float = _JOIN, *, force: bool = False) -> None:
        """Stop the server as a signal would, and join its thread. Idempotent.

        Raises:
            AssertionError: it did not stop in time.
        """
        self.server.stop(force=force)
        self.join(seconds)

    def join(self, seconds: float = _JOIN) -> None:
        """Wait for the thread.

        Raises:
            AssertionError: it did not end in time.
        """
        self.thread.join(seconds)
        if self.thread.is_alive():
            holders = self.holders()
            self.server.stop(force=True)
            self.thread.join(_JOIN)
            raise AssertionError(f"the server did not stop within {seconds:g} s:\n{holders}")
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    @property
    def listener(self) -> Address:
        """What the server says of its first address."""
        return self.server.addresses[0]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first address."""
        first = self.listener
        assert first.host is not None
        assert first.port is not None
        return first.host, first.port

    @property
    def url(self) -> str:
        """What a client opens."""
        return self.listener.url


@contextlib.contextmanager
def serving(app: Any, *, loop: str = "asyncio", parser: str = "auto", sockets: Any = None, **options: Any) -> Iterator[Serving]:
    """Serve ``app`` on 127.0.0.1, on a port that the system chooses, while the block runs.

    Args:
        app: the application.
        loop: ``asyncio`` or ``uvloop``.
        parser: the option ``http``.
        sockets: bound sockets instead of an address.
        options: the server's; an idle connection is let go after 0.2 s when the server stops, unless they say otherwise.
    """
    options.setdefault("timeout_drain_idle", 0.2)
    options.setdefault("timeout_graceful_shutdown", 10.0)
    if sockets is None and not {"bind", "uds", "fd", "host", "port"} & options.keys():
        options["port"] = 0
    running = Serving(Server(app, sockets=sockets, http=parser, loop=loop, **options))
    running.start()
    try:
        yield running
    finally:
        if running.thread.is_alive() or running.error is not None:
            running.stop()
