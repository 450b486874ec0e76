"""Where a scenario is played: a server, connections to it, and what its application recorded.

The law of this module: every wait ends, everything that was opened is closed, and whatever the server does wrong becomes a verdict with words, never
a traceback.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgi_conformance.case import Judgement, Level, Scenario, Verdict, broken_verdict
from asgi_conformance.drive import Peer, Trace, Traced, observe
from asgi_conformance.frames import Frames
from asgi_conformance.peer import Unavailable
from asgi_conformance.reference import dumps_script
from asgi_conformance.targets import TargetError
from pytest_asgiserve.raw import FramingError, RawConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from asgi_conformance.case import Case
    from asgi_conformance.observed import Record
    from asgi_conformance.targets import RunningTarget
    from pytest_asgiserve.raw import RawResponse

__all__ = ["Broken", "Stage", "StagePeer", "Trial", "trials"]

_PATIENCE: Final = 5.0
"""Seconds of silence after which nothing more is waited for; a loaded machine included."""


class Broken(Exception):  # noqa: N818 - the rule, not the suite
    """The server did not do what it must. Its text says what it did."""


class StagePeer(Peer, Protocol):
    """A running server with the reference application, which can be had again with other settings."""

    @property
    def features(self) -> frozenset[str]:
        """What it says that it has."""

    @property
    def running(self) -> RunningTarget:
        """The server."""

    def start_own(self, **options: Any) -> RunningTarget:
        """Another one of the same kind, for one scenario alone."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One stimulus of a case, or the one play of a scenario: what it is, the verdict, and what went over the wire."""

    label: str
    judgement: Judgement
    trace: Trace


class Stage:
    """A server to play on, in one scenario.

    Args:
        peer: where servers come from.
        running: the server.
        address: where clients connect to it: host and port, or the path of a UNIX socket.
        trace: what went over all connections.

    Attributes:
        running: the server as a process: `signal`, `wait`, `output`, `journal`, `facts`, `settings`.
        trace: see above.
    """

    def __init__(self, peer: StagePeer, running: RunningTarget, address: tuple[str, int] | str, trace: Trace) -> None:
        self._peer = peer
        self._address = address
        self._resources = contextlib.ExitStack()
        self._since = 0
        self._connections = 0
        self._warnings: list[str] = []
        self._notes: list[str] = []
        self.running = running
        self.trace = trace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._resources.close()

    # What is seen.

    def check(self, kept: object, seen: str) -> None:
        """Go on where ``kept`` is true; else the rule is broken, and ``seen`` says how.

        Raises:
            Broken: it is.
        """
        if not kept:
            raise Broken(seen)

    def warn(self, seen: str) -> None:
        """What was seen is lawful, and discouraged."""
        self._warnings.append(seen)

    def tell(self, seen: str) -> None:
        """Report what was seen, without a verdict."""
        self._notes.append(seen)

    def require(self, there: object, why: str) -> None:
        """Go on where ``there`` is true; else the server does not have what the scenario is about.

        Raises:
            Unavailable: it does not.
        """
        if not there:
            raise Unavailable(why)

    def judgement(self) -> Judgement:
        """Of a scenario that was played to its end."""
        if self._warnings:
            return Judgement(Verdict.WARN, "; ".join(self._warnings))
        return Judgement(Verdict.PASS, "; ".join(self._notes))

    # Connections.

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens.

        Raises:
            Unavailable: on a UNIX socket; that is ``running.address``.
        """
        if isinstance(self._address, str):
            raise Unavailable("it listens on a UNIX socket")
        return self._address

    @property
    def features(self) -> frozenset[str]:
        """What the target says that it has."""
        return self._peer.features

    def connect(self, *, timeout: float = _PATIENCE, **options: Any) -> RawConnection:
        """A new connection, closed when the scenario ends; ``options`` are those of `RawConnection`."""
        connection = self._resources.enter_context(RawConnection(self._address, timeout=timeout, host="a.example", **options))
        self._connections += 1
        label = "" if self._connections == 1 else f"{self._connections}"
        connection.sock = Traced(connection.sock, self.trace, label)  # type: ignore[assignment]  # a socket by shape
        return connection

    def request(
        self, *lines: str, script: Sequence[Any] = (), method: str = "GET", path: str = "/", body: bytes | None = None, version: str = "1.1"
    ) -> RawResponse:
        """Send one request on a connection of its own, and read the response.

        Args:
            lines: fields, as whole lines.
            script: what the application does; without one it reads the body and answers 200 with JSON.
            method: the method.
            path: the target.
            body: with its Content-Length.
            version: of HTTP.
        """
        connection = self.connect()
        connection.send(self.encode_request(*lines, script=script, method=method, path=path, body=body, version=version))
        return connection.read_response(method)

    def encode_request(
        self, *lines: str, script: Sequence[Any] = (), method: str = "GET", path: str = "/", body: bytes | None = None, version: str = "1.1"
    ) -> bytes:
        """The request that `request` sends, for a connection that one has."""
        head = [f"{method} {path} HTTP/{version}", "Host: a.example", *lines]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        if script:
            head.append(f"X-Script: {dumps_script(script)}")
        return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")

    def websocket(self, *lines: str, script: Sequence[Any] = (), path: str = "/", timeout: float = _PATIENCE) -> Frames:
        """A WebSocket whose handshake was answered with 101; without a script the application accepts, and echoes every message.

        Raises:
            FramingError: the handshake was refused.
        """
        frames = self.frames(timeout=timeout)
        frames.shake_hands(path, *lines, *([f"X-Script: {dumps_script(script)}"] if script else []))
        return frames

    def frames(self, *, timeout: float = _PATIENCE, **options: Any) -> Frames:
        """A connection for a WebSocket whose handshake is still to be sent."""
        return Frames(self.connect(timeout=timeout, **options))

    # The application's side.

    def mark(self) -> None:
        """`records` are those of the calls from now on."""
        self._since = self.running.mark()

    def records(self, count: int = 1, *, timeout: float = _PATIENCE) -> list[Record]:
        """The calls of the application since the scenario began, or since `mark`; as soon as there are ``count`` and all have ended."""
        return self.running.records(self._since, count=count, timeout=timeout)

    def record(self, *, timeout: float = _PATIENCE) -> Record:
        """The one call since then; as it is after ``timeout`` where it has not ended.

        Raises:
            Broken: there is none, or there are several.
        """
        records = self.records(timeout=timeout)
        self.check(len(records) == 1, f"{len(records) or 'no'} calls of the application")
        return records[0]

    # Servers of its own.

    def own(self, **options: Any) -> Stage:
        """Another server of the same kind, for this scenario alone, stopped when the scenario ends; options as of `targets.start_target`.

        A setting that this server cannot be told makes the scenario unsupported.

        Raises:
            Unavailable: it is not one that we start, or it cannot be told.
            Broken: it does not start.
        """
        if self.running.child is not None:
            # Known beforehand, and a start saved.
            untold = sorted((options.get("settings") or {}).keys() - self.running.settings.keys())
            self.require(not untold, f"it cannot be told {', '.join(untold)}")
        try:
            running = self._peer.start_own(**options)
        except TargetError as error:
            raise Broken(f"it does not start: {error}") from error
        self._resources.callback(running.stop)
        self.require(not running.ignored, f"it cannot be told {', '.join(running.ignored)}")
        stage = Stage(self._peer, running, running.address, self.trace)
        # What is seen there is seen in this scenario.
        stage._warnings, stage._notes = self._warnings, self._notes
        # Its connections end before its server.
        self._resources.push(stage)
        return stage


def trials(case: Case | Scenario, peer: StagePeer) -> Iterator[Trial]:
    """Play ``case`` on ``peer``: every stimulus of a case, or the scenario.

    Raises:
        Unavailable: the server does not have what it is about.
    """
    if isinstance(case, Scenario):
        yield _play(case, peer)
        return
    for stimulus in case.stimuli:
        trace = Trace()
        try:
            seen, _ = observe(peer, stimulus, trace=trace)
        except TargetError as error:
            # It does not tell what its application was told: it is dead or ill, or lost the process that knew. That no level of a clause excuses.
            judgement = Judgement(Verdict.FAIL, f"afterwards {error}")
        else:
            judgement = case.judge(seen)
        yield Trial(stimulus.label, judgement, trace)


def _play(scenario: Scenario, peer: StagePeer) -> Trial:
    trace = Trace()
    seen: str | None = None
    with Stage(peer, peer.running, peer.address, trace) as stage:
        stage.mark()
        try:
            scenario.play(stage)
        except Broken as error:
            seen = str(error)
        except FramingError as error:
            seen = f"{type(error).__name__}: {error}"
        except TimeoutError:
            seen = "silence"
        except ConnectionError as error:
            seen = f"the connection was lost: {type(error).__name__}"
        except TargetError as error:
            seen = str(error)
    # A rule that is broken without a word is broken all the same.
    if seen is None:
        judgement = stage.judgement()
        if scenario.level in (Level.INFO, Level.CONFLICT):
            judgement = Judgement(Verdict.INFO, judgement.reason)
    elif scenario.level in (Level.INFO, Level.CONFLICT):
        judgement = Judgement(Verdict.INFO, f"seen: {seen}")
    else:
        judgement = Judgement(broken_verdict(scenario.level), f"expected: {scenario.expects}; seen: {seen}")
    return Trial("", judgement, trace)
