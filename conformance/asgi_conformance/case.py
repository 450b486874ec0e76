"""What a case is: a sentence of a standard, a stimulus, and every outcome that the sentence allows.

The law of this module: a case is data. Its id never changes and carries no section number; its clauses, its level and its outcomes say all that a
verdict needs, so that a report can show why. Adding a case is a call of `case` in the file of its topic.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_asgiserve.raw import RawResponse

__all__ = [
    "HALF_CLOSE",
    "Await",
    "Call",
    "Canned",
    "Case",
    "Fate",
    "Judgement",
    "Level",
    "Observation",
    "Outcome",
    "Quiet",
    "Stimulus",
    "Topic",
    "Verdict",
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
        clauses: ``RFC 9112 §3.2``, ``ASGI www, HTTP Connection Scope``.
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
        reason = f"expected: {', or '.join(outcome.words for outcome in (*self.allow, *self.warn))}; seen: {describe(seen)}"
        match self.level:
            case Level.INFO | Level.CONFLICT:
                return Judgement(Verdict.INFO, f"seen: {describe(seen)}")
            case Level.SHOULD | Level.MAY:
                return Judgement(Verdict.WARN, reason)
            case _:
                return Judgement(Verdict.FAIL, reason)


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
        self._cases: dict[str, Case] = {}

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
        if identifier in self._cases:
            raise ValueError(f"the case {identifier} is there twice")
        self._cases[identifier] = Case(
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

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases.values())

    def __len__(self) -> int:
        return len(self._cases)
