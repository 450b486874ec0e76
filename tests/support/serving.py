"""A real server, in a thread of its own, for tests with real sockets.

The law of this module: nothing sleeps and nothing polls. Starting returns when the server accepts, an error at start-up is raised where `serving` is
entered, and leaving it joins the thread within a bound or fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

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


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes event loops of the kind ``asyncio`` or ``uvloop``."""
    if name == "uvloop":
        import uvloop  # noqa: PLC0415 - not there everywhere

        return uvloop.new_event_loop
    return asyncio.SelectorEventLoop


class Serving:
    """A running server. Made by `serving`.

    ``server`` is the `Server`, ``loop`` the event loop that it runs on, in another thread.
    """

    def __init__(self, server: Server, loop: str) -> None:
        self.server = server
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set by the thread before `_settled`
        self.error: BaseException | None = None
        self._factory = loop_factory(loop)
        self._settled = threading.Event()
        self.thread = threading.Thread(target=self._run, name="asgiserve under test", daemon=True)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                self.loop = runner.get_loop()
                runner.run(self.server.serve(on_started=lambda _: self._settled.set()))
        except BaseException as error:  # noqa: BLE001 - handed to the thread of the test
            self.error = error
        finally:
            self._settled.set()

    def start(self) -> None:
        """Start the thread; returns when the server accepts.

        Raises:
            StartupError: or whatever else the start raised.
        """
        self.thread.start()
        if not self._settled.wait(_START):
            raise AssertionError(f"the server did not start within {_START:g} s")
        if self.error is not None:
            self.thread.join(_JOIN)
            raise self.error

    def stop(self, *, force: bool = False) -> None:
        """Stop the server and join its thread. Idempotent.

        Raises:
            AssertionError: it did not stop in time.
        """
        self.server.stop(force=force)
        self.join()

    def join(self, seconds: float = _JOIN) -> None:
        """Wait for the thread.

        Raises:
            AssertionError: it did not end in time.
        """
        self.thread.join(seconds)
        if self.thread.is_alive():
            self.server.stop(force=True)
            self.thread.join(_JOIN)
            raise AssertionError(f"the server did not stop within {seconds:g} s")
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

    def run(self, coroutine: Awaitable[Any], seconds: float = 10.0) -> Any:
        """The result of ``coroutine``, run on the server's loop."""

        async def wait() -> Any:
            return await coroutine

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(seconds)

    def call(self, function: Callable[[], Any], seconds: float = 10.0) -> Any:
        """The result of ``function``, called on the server's loop."""

        async def wait() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(seconds)


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
    running = Serving(Server(app, sockets=sockets, http=parser, **options), loop)
    running.start()
    try:
        yield running
    finally:
        if running.thread.is_alive() or running.error is not None:
            running.stop()
