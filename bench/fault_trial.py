"""One trial: a scenario against a server, how large it is, and what is known of the server from outside.

The law of this module: figures are kept as they come, so that a server that dies in the middle has those that it lived to see, and "died" for the
rest.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.fault_load import get
from bench.servers import Server, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.fault_table import Value

__all__ = ["FULL", "KEEP_ALIVE", "KIB", "MIB", "NORMAL", "QUICK", "Died", "Peak", "Sizes", "State", "Trial", "reached", "settled", "state_of"]

KIB: Final = 1024
MIB: Final = 1 << 20
NORMAL: Final = (get("/"), get("/", "Connection: close"))
"""Normal traffic: every other request ends its connection, so that half of them need a new one."""
KEEP_ALIVE: Final[Mapping[str, Sequence[str]]] = {
    "asgiserve": ("--timeout-keep-alive", "60"),
    "uvicorn": ("--timeout-keep-alive", "60"),
    "hypercorn": ("--keep-alive", "60"),
    "gunicorn": ("--keep-alive", "60"),
    # What it calls the header's time-out counts for an idle connection too.
    "granian": ("--http1-header-read-timeout", "60000"),
}
"""Idle connections are kept for a minute; daphne has no such option and keeps them as long."""

_ANSWER_SECONDS: Final = 10.0
_SETTLE_PAUSE: Final = 0.2
_REACHED_PAUSE: Final = 0.02


class Died(Exception):  # noqa: N818 - what happened
    """The server's first process ended while it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much there is of everything: connections, requests, seconds."""

    heads: int = 5000
    head_seconds: float = 18.0
    base_seconds: float = 5.0
    slow: int = 1000
    readers: int = 200
    body_seconds: float = 15.0
    reader_seconds: float = 35.0
    idle: int = 10_000
    idle_seconds: float = 10.0
    held: int = 300
    held_seconds: float = 10.0
    aborts: int = 100_000
    abort_seconds: float = 50.0
    overload_seconds: float = 8.0
    peak_seconds: float = 3.0
    requests: int = 1_000_000
    warm_up: int = 100_000
    request_seconds: float = 60.0
    flying: int = 200
    flying_least: int = 1000
    flying_most: int = 5000
    repeats: int = 3
    heads_read: int = 2000
    chunks: int = 100_000
    frames: int = 50_000


FULL: Final = Sizes()
QUICK: Final = Sizes(
    heads=100,
    head_seconds=3.0,
    base_seconds=1.0,
    slow=20,
    readers=20,
    body_seconds=2.0,
    reader_seconds=3.0,
    idle=200,
    idle_seconds=1.0,
    held=300,
    held_seconds=2.0,
    aborts=600,
    abort_seconds=10.0,
    overload_seconds=2.0,
    peak_seconds=1.0,
    requests=2000,
    warm_up=500,
    request_seconds=10.0,
    flying=20,
    flying_least=300,
    flying_most=500,
    repeats=1,
    heads_read=100,
    chunks=5000,
    frames=2000,
)


@dataclass(slots=True, kw_only=True)
class Trial:
    """A scenario against one server. ``say`` tells the person who waits what is going on."""

    name: str
    sizes: Sizes
    cpu: int | None
    say: Callable[[str], None]
    figures: dict[str, Value] = field(default_factory=dict)

    @contextlib.contextmanager
    def server(self, *options: str, nofile: int | None = None) -> Iterator[Server]:
        """The server, with bench/fault_app.py in it.

        Raises:
            Died: it is not there any more, and what went wrong inside of the block is a result of that.
        """
        with running(self.name, "bench.fault_app:app", options=options, cpu=self.cpu, nofile=nofile) as server:
            try:
                yield server
            except (OSError, http.client.HTTPException, ValueError, ArithmeticError) as error:
                if not server.alive:
                    raise Died(f"{self.name} ended with status {server.exit_status}: {server.output[-2000:]}") from error
                raise


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the server's processes hold."""

    calls: int
    tasks: int
    descriptors: int
    memory: int


def state_of(server: Server) -> State:
    """Ask the application, and look at the process."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_ANSWER_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/state", headers={"Connection": "close"})
        found = json.loads(connection.getresponse().read())
    return State(calls=found["calls"], tasks=found["tasks"], descriptors=server.descriptors(), memory=server.rss_bytes())


def reached(server: Server, calls: int, seconds: float) -> bool:
    """Wait until the application is in so many calls, or for ``seconds``; whether it is."""
    end = time.monotonic() + seconds
    while (there := state_of(server).calls) < calls and time.monotonic() < end:
        time.sleep(_REACHED_PAUSE)
    return there >= calls


def settled(server: Server, before: State | None, seconds: float) -> State:
    """The state, as soon as nothing is left that there was not ``before`` (no call, and as many tasks and descriptors), or after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        state = state_of(server)
        calm = state.calls == 0 and (before is None or (state.tasks <= before.tasks and state.descriptors <= before.descriptors))
        if calm or time.monotonic() > end:
            return state
        time.sleep(_SETTLE_PAUSE)


class Peak:
    """The most memory that a server had, above what it had at first."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._first = server.rss_bytes()
        self._most = self._first

    def look(self) -> None:
        """Look at it now."""
        self._most = max(self._most, self._server.rss_bytes())

    @property
    def growth(self) -> int:
        """Bytes, as of the last look."""
        return self._most - self._first
