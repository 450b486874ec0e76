"""The application under test: loaded, started in process or behind a real server, and what it was caught at.

The law of this module: it runs in one place at a time, as its objects may belong to an event loop. All calls that are as the texts allow go through
the rules of `asgi_conformance.lint` as well.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.driver import BlockedError, LoopThread, Noise
from asgi_conformance.application.lifespan import Lifespan
from asgi_conformance.application.routes import SCHEMA_PATHS, Route, default_routes, routes_of_schema
from asgi_conformance.linter import lint
from asgiserve.importer import as_asgi3

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from asgi_conformance.application.exchange import Reference
    from asgi_conformance.violations import Violation
    from pytest_asgiserve import LiveServer

__all__ = ["HOST", "Inside", "Limits", "Subject", "UnusableError"]

HOST: Final = "127.0.0.1"
"""What the requests have in their Host field where nobody says another: what an application behind a test server answers to."""
_MOST_KEPT: Final = 1000
"""Violations; a rule that is broken a thousand times is broken."""
_STALL: Final = 1.0
"""Seconds of a held-up event loop that are told. As long as that because the machine of a test run has other things to do."""
_PARSER: Final = "h11"
"""The parser of the live server: it passes on every method and every byte that the grammar allows, and leaves the rest to the application."""


class UnusableError(Exception):
    """The application does not start: nothing can be said of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds.

    Args:
        answer: a response, a start-up, a shutdown.
        leave: the end of a call after its client has gone.
        events: the end of a stream of server-sent events, which has none as a rule.
        stall: a held-up event loop.
        hard: a whole case.
    """

    answer: float = 5.0
    leave: float = 2.0
    events: float = 0.5
    stall: float = _STALL
    hard: float = 55.0


class Inside:
    """The application in process: an event loop in a thread, with the lifespan running on it."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.thread = LoopThread(subject.noise)
        self.lifespan = Lifespan(subject.linted)
        self.references: dict[Route, Reference] = {}

    @property
    def is_bare(self) -> bool:
        """Whether it was never started."""
        return not hasattr(self.lifespan, "call")

    def start(self) -> None:
        """Run the start-up.

        Raises:
            UnusableError: the application refuses to start, or does not come to an end with it.
        """
        seconds = self._subject.limits.answer
        try:
            outcome = self.thread.run(self.lifespan.start(seconds), seconds + self._subject.limits.hard)
        except BlockedError as error:
            raise UnusableError(f"the application blocks the event loop in its start-up: {error}") from None
        if outcome in {"failed", "silent"}:
            self.close()
            raise UnusableError(
                "\n".join(part for part in (f"the application does not start: {self.lifespan.message}", self.lifespan.details) if part)
            )

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop; errors as of `LoopThread.run`."""
        return self.thread.run(work, self._subject.limits.hard)

    def close(self) -> None:
        """Shut down, and end everything."""
        if not self.thread.blocked and not self.is_bare:
            with contextlib.suppress(TimeoutError, BlockedError):
                self.thread.run(self.lifespan.stop(self._subject.limits.answer), 3 * self._subject.limits.answer)
        self.thread.close()


@dataclass(eq=False)
class Subject:
    """One application.

    Args:
        name: as in reports: ``shop.main:app``.
        load: gives the application; it is called once, when something needs it.
        routes: those that the user named; None asks the application itself.
        host: of the Host field.
        limits: how long things may take.
        middleware: a callable that wraps an application; for the cases of middleware.

    Attributes:
        violations: what lint found, in process and behind the server.
        seen: the scope and the sent messages of every call in process that lint looked at.
        noise: errors that were logged.
    """

    name: str
    load: Callable[[], Any]
    routes: Sequence[Route] | None = None
    host: str = HOST
    limits: Limits = field(default_factory=Limits)
    middleware: Callable[[Any], Any] | None = None
    violations: list[Violation] = field(default_factory=list)
    seen: list[tuple[Mapping[str, Any], list[dict[str, Any]]]] = field(default_factory=list)
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        self._app: Any = None
        self._linted: Any = None
        self._inside: Inside | None = None
        self._live: LiveServer | None = None
        self._never: dict[str, UnusableError] = {}
        self._started: set[str] = set()
        self.live_references: dict[Route, Reference] = {}
        self.discovered = ""
        self.surveyed = False

    @property
    def app(self) -> Any:
        """The application as it is, called in the way of ASGI 3."""
        if self._app is None:
            self._app = as_asgi3(self.load())[0]
            logging.getLogger().addHandler(self.noise)
        return self._app

    @property
    def linted(self) -> Any:
        """The application with every message of it looked at."""
        if self._linted is None:
            self._linted = lint(self.app, on_violation=self._violated, max_stall=self.limits.stall)
        return self._linted

    def _violated(self, violation: Violation) -> None:
        if len(self.violations) < _MOST_KEPT:
            self.violations.append(violation)

    # Where it runs.

    @property
    def inside(self) -> Inside:
        """The application in process, started.

        Raises:
            UnusableError: it does not start.
        """
        self.leave_live()
        if self._inside is not None and self._inside.thread.blocked:
            self._inside = None
        if self._inside is None:
            with self._starting("inside"):
                made = Inside(self)
                made.start()
                self._inside = made
        return self._inside

    @contextlib.contextmanager
    def _starting(self, where: str) -> Iterator[None]:
        """A start-up that failed is not tried again where none ever went well: it may cost every case its time-out."""
        if where in self._never:
            raise self._never[where].with_traceback(None)
        try:
            yield
        except UnusableError as error:
            if where not in self._started:
                self._never[where] = error
            raise
        self._started.add(where)

    @contextlib.contextmanager
    def bare(self) -> Iterator[None]:
        """In the block the application is in process and was not started."""
        self.leave_live()
        self.leave_inside()
        self._inside = Inside(self)
        try:
            yield
        finally:
            self.leave_inside()

    @property
    def live(self) -> LiveServer:
        """The application behind a real server, started.

        Raises:
            UnusableError: it does not start.
        """
        self.leave_inside()
        if self._live is None:
            from asgiserve.errors import StartupError  # noqa: PLC0415 - only who asks for it pays for the server
            from pytest_asgiserve import LiveServer, StartTimeoutError  # noqa: PLC0415

            with self._starting("live"):
                made = LiveServer(
                    self.linted,
                    errors="warn",
                    http=_PARSER,
                    loop="asyncio",
                    lifespan="auto",
                    access_log=False,
                    start_timeout=self.limits.answer + 1,
                    stop_timeout=self.limits.answer + 1,
                )
                try:
                    made.start()
                except (StartupError, StartTimeoutError) as error:
                    raise UnusableError(f"the application does not start: {error}") from None
                self._live = made
        return self._live

    def leave_inside(self) -> None:
        """End the run in process."""
        if self._inside is not None:
            made, self._inside = self._inside, None
            made.close()

    def leave_live(self) -> None:
        """End the live server."""
        if self._live is not None:
            from pytest_asgiserve import StopTimeoutError  # noqa: PLC0415 - as above

            made, self._live = self._live, None
            with contextlib.suppress(StopTimeoutError):
                made.stop()
            made.take_errors()
            self.live_references.clear()

    def close(self) -> None:
        """End both; the application is not called any more."""
        self.leave_inside()
        self.leave_live()
        logging.getLogger().removeHandler(self.noise)

    # Its routes.

    def find_routes(self, ask: Callable[[Route], Coroutine[Any, Any, Any]]) -> Coroutine[Any, Any, Sequence[Route]]:
        """The routes; where nobody named any, the application is asked for its schema by ``ask``, once."""
        return self._find_routes(ask)

    async def _find_routes(self, ask: Callable[[Route], Coroutine[Any, Any, Any]]) -> Sequence[Route]:
        if self.routes is None:
            for path in SCHEMA_PATHS:
                answer = await ask(Route("GET", path))
                found = routes_of_schema(answer.body) if answer.ok else []
                if found:
                    self.routes, self.discovered = found, path
                    break
            else:
                self.routes = default_routes()
        return self.routes
