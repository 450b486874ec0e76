"""What a case is: a sentence of a standard, a stimulus, and every outcome that the sentence allows.

The law of this module: a case is data. Its id never changes and carries no section number; its clauses, its level and its outcomes say all that a
verdict needs, so that a report can show why. Adding a case is a call of `Topic.case` in the file of its topic, or, where the two sides have to
talk to each other, a function under `Topic.scenario`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawResponse

__all__ = [
    "HALF_CLOSE",
    "Await",
    "Call",
    "Canned",
    "Case",
    "Distortion",
    "Fate",
    "Judgement",
    "Level",
    "Observation",
    "Outcome",
    "Quiet",
    "Scenario",
    "Stimulus",
    "Topic",
    "Verdict",
    "broken_verdict",
]


class Level(enum.StrEnum):
    """The word of the clause for a server, or what there is instead of one."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"
    HARD = "HARD"
    """Robustness: no clause, but a server that crashes, hangs, grows without bound or mixes up messages fails."""
    INFO = "INFO"
    """Only reported."""
    CONFLICT = "CONFLICT"
    """Two standards disagree, or say nothing where servers differ: shown side by side, never failed."""


class Verdict(enum.StrEnum):
    """What became of a case."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    """Lawful and discouraged, or a SHOULD that is not met."""
    FAIL = "fail"
    KNOWN = "known"
    """Broken, and in the file of known deviations."""
    INFO = "info"
    UNSUPPORTED = "unsupported"
    """The target does not have what the case is about."""
    ERROR = "error"
    """The case could not be judged."""


class Fate(enum.StrEnum):
    """What became of the connection."""

    OPEN = "open"
    CLOSED = "closed"
    RESET = "reset"
    SILENT = "silent"
    """Neither an answer nor an end came while we waited."""


class _HalfClose(enum.Enum):
    HALF_CLOSE = enum.auto()


HALF_CLOSE: Final = _HalfClose.HALF_CLOSE
"""A part of a stimulus: end our direction of the connection (FIN), and read on."""


@dataclass(frozen=True, slots=True)
class Await:
    """A part of a stimulus: go on once the server has said something, an interim response or a whole one, or after so many seconds.

    There is one at most. Where a response came that ends the connection, nothing more is sent.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """A part of a stimulus: wait so long, in which nothing must come and the connection must stay open, as the request is not complete."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stimulus:
    """What is sent on a fresh connection.

    ``parts`` are written one by one. ``methods`` are those of the requests in it, which say how each response is framed. ``follow_up`` is whether a
    plain GET is sent behind it in the same write: after a rejection it must not be answered.
    """

    label: str
    parts: tuple[bytes | _HalfClose | Await | Quiet, ...]
    methods: tuple[str, ...] = ("GET",)
    follow_up: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the reference application, as it recorded it."""

    scope: Mapping[str, Any]
    body: bytes = b""
    complete: bool = True
    received: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """Both sides of one stimulus: what came over the wire, and which calls the application saw.

    ``responses`` answer the stimulus; the follow-up's is ``followed``. ``broken`` says where the bytes stopped being HTTP.
    ``wire`` is everything that came, as bytes. ``prompt`` is whether something came while the stimulus waited for it (`Await`).
    """

    responses: tuple[RawResponse, ...]
    fate: Fate
    calls: tuple[Call, ...]
    followed: RawResponse | None = None
    broken: str = ""
    wire: bytes = b""
    prompt: bool = False

    @property
    def status(self) -> int:
        """Of the first response; 0 where there is none."""
        return self.responses[0].status if self.responses else 0

    @property
    def ended(self) -> bool:
        """Whether the server ended the connection."""
        return self.fate in (Fate.CLOSED, Fate.RESET)


@dataclass(frozen=True, slots=True)
class Canned:
    """A scripted server, for the suite's own tests: what it writes, whether it closes then, and the calls that it claims to have made.

    ``after`` is how many bytes it reads before it writes; without it, all that it is sent. ``early`` is written where the stimulus waits (`Await`).
    """

    wire: bytes
    closes: bool
    calls: tuple[Call, ...] = ()
    after: int | None = None
    early: bytes = b""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that may happen. ``words`` end the sentence "expected: ..."; ``example`` is a server that does it."""

    words: str
    holds: Callable[[Observation], bool]
    example: Canned


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    Args:
        id: as in the catalogue; it never changes.
        says: the sentence of the standard, or of what is expected where there is none.
        clauses: ``RFC 9112 §3.2``, ``ASGI www, HTTP Connection Scope``, as in `asgi_conformance.clauses`.
        level: see `Level`.
        stimuli: each on a connection of its own; the worst verdict counts.
        allow: outcomes that pass.
        warn: outcomes that are lawful and discouraged.
        bad: a server that does what the case must catch.
        needs: features of the target without which the case is unsupported.
    """

    id: str
    says: str
    clauses: tuple[str, ...]
    level: Level
    stimuli: tuple[Stimulus, ...]
    allow: tuple[Outcome, ...]
    warn: tuple[Outcome, ...] = ()
    bad: Canned
    needs: frozenset[str] = field(default_factory=frozenset)

    def judge(self, seen: Observation) -> Judgement:
        """The verdict on what was observed for one of the stimuli."""
        for outcome in self.allow:
            if outcome.holds(seen):
                return Judgement(Verdict.INFO if self.level in (Level.INFO, Level.CONFLICT) else Verdict.PASS, outcome.words)
        for outcome in self.warn:
            if outcome.holds(seen):
                return Judgement(Verdict.WARN, outcome.words)
        if self.level in (Level.INFO, Level.CONFLICT):
            return Judgement(Verdict.INFO, f"seen: {describe(seen)}")
        reason = f"expected: {', or '.join(outcome.words for outcome in (*self.allow, *self.warn))}; seen: {describe(seen)}"
        return Judgement(broken_verdict(self.level), reason)


def broken_verdict(level: Level) -> Verdict:
    """What a rule of ``level`` gets that is not kept."""
    match level:
        case Level.INFO | Level.CONFLICT:
            return Verdict.INFO
        case Level.SHOULD | Level.MAY:
            return Verdict.WARN
        case _:
            return Verdict.FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """What the suite's own tests do to a good server to make it a bad one, which the scenario must catch: one of these, or several.

    Args:
        app: put around the reference application: what the server tells and takes is changed here. The suite's own questions do not pass it.
        to_client: what becomes of each piece of bytes on its way to the client; a piece is what one read brought.
        to_server: the same in the other direction.
        holds: the client does not hear it when the server closes.
        accepts: so many connections, ever; those behind them are left waiting.
        settings: what the server is told, by the names of `asgi_conformance.servers.known_targets`, whatever the scenario asks for.
        lifespan: how the application behaves in its lifespan, whatever the scenario asks for: one of `reference.LIFESPANS`.
        loses: which of the signals that are sent to a server of its own does not reach it: 1 is the first.
        kills: so many seconds after the first signal a server of its own is killed.
    """

    app: Callable[[Any], Any] | None = None
    to_client: Callable[[bytes], bytes] | None = None
    to_server: Callable[[bytes], bytes] | None = None
    holds: bool = False
    accepts: int | None = None
    settings: Mapping[str, Any] | None = None
    lifespan: str | None = None
    loses: int | None = None
    kills: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A case whose two sides talk to each other: a function that plays it.

    Args:
        id: as in the catalogue; it never changes.
        says: the sentence of the standard, or of what is expected where there is none.
        clauses: see `Case`.
        level: see `Level`.
        expects: every outcome that the clause allows, in words that end the sentence "expected: ...".
        play: plays it on a `stage.Stage`, and calls its ``check``.
        bad: a server that does what the scenario must catch.
        needs: features of the target without which it is unsupported.
        own: it starts a server of its own, with settings or a lifespan of its own, or to end it.
        spoils: it can leave a server ill in ways that a plain request does not show; the cases behind it get a new one.
    """

    id: str
    says: str
    clauses: tuple[str, ...]
    level: Level
    expects: str
    play: Callable[[Stage], None]
    bad: Distortion
    needs: frozenset[str] = field(default_factory=frozenset)
    own: bool = False
    spoils: bool = False


def describe(seen: Observation) -> str:
    """What happened, in a line."""
    parts = [f"{response.status}" for response in seen.responses] or ["no response"]
    if seen.followed is not None:
        parts.append(f"the follow-up answered with {seen.followed.status}")
    if seen.broken:
        parts.append(seen.broken)
    parts.append({Fate.OPEN: "the connection stays open", Fate.SILENT: "then silence"}.get(seen.fate, f"the connection is {seen.fate}"))
    if seen.calls:
        parts.append(f"{len(seen.calls)} call{'' if len(seen.calls) == 1 else 's'} of the application")
    return ", ".join(parts)


class Topic:
    """The cases of one file.

    Args:
        name: ``http1/line``, as it stands in the test ids.
        title: for reports.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self._cases: dict[str, Case | Scenario] = {}

    def case(
        self,
        identifier: str,
        *clauses: str,
        level: Level,
        says: str,
        send: Sequence[Stimulus],
        allow: Sequence[Outcome],
        bad: Canned,
        warn: Sequence[Outcome] = (),
        needs: Sequence[str] = (),
    ) -> None:
        """Add a case; arguments as of `Case`.

        Raises:
            ValueError: its id is taken.
        """
        self._add(
            Case(
                id=identifier,
                says=says,
                clauses=clauses,
                level=level,
                stimuli=tuple(send),
                allow=tuple(allow),
                warn=tuple(warn),
                bad=bad,
                needs=frozenset(needs),
            )
        )

    def scenario(
        self,
        identifier: str,
        *clauses: str,
        level: Level,
        says: str,
        expects: str,
        bad: Distortion,
        needs: Sequence[str] = (),
        own: bool = False,
        spoils: bool = False,
    ) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
        """Add a scenario, which the decorated function plays; arguments as of `Scenario`.

        Raises:
            ValueError: its id is taken.
        """

        def add(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
            self._add(
                Scenario(
                    id=identifier,
                    says=says,
                    clauses=clauses,
                    level=level,
                    expects=expects,
                    play=play,
                    bad=bad,
                    needs=frozenset(needs),
                    own=own,
                    spoils=spoils,
                )
            )
            return play

        return add

    def _add(self, case: Case | Scenario) -> None:
        if case.id in self._cases:
            raise ValueError(f"the case {case.id} is there twice")
        self._cases[case.id] = case

    def __iter__(self) -> Iterator[Case | Scenario]:
        return iter(self._cases.values())

    def __len__(self) -> int:
        return len(self._cases)
