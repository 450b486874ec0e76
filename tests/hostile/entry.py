"""What an entry of the corpus is, and what it can demand.

The law of this module: a demand is exact. A request that is refused gets one well-formed answer that announces the end, the connection ends there,
in order, and the application was not told of it, or never that its body is complete. A request that is served reached the application as it says,
and the good request behind it on the same connection was read as what it is: that is where two readers who disagree would show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgi_conformance.case import HALF_CLOSE, Fate, Level, Stimulus, describe
from asgi_conformance.outcomes import FOLLOW_UP_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asgi_conformance.case import Call, Observation

__all__ = ["HALF_CLOSE", "KINDS", "Demand", "Entry", "Level", "Refused", "Served", "Table", "Told", "Unfinished", "faults", "get", "post"]

KINDS: Final = (
    *("content-length", "transfer-encoding", "both", "chunk", "trailer", "field", "host", "line", "upgrade", "pipelining"),
    # The conformance suite has these besides.
    *("message", "expect"),
)
"""The classes of entries."""

_OK: Final = 200
_INTERIM: Final = (100, 101)


class Demand(Protocol):
    """What must become of an entry."""

    @property
    def complete(self) -> int:
        """How many requests of the entry may reach the application whole."""

    def faults(self, seen: Observation) -> Iterator[str]:
        """What was otherwise."""


@dataclass(frozen=True, slots=True)
class Told:
    """A request as the application must be told of it; ``fields`` are all the values of each name, none where it must not be there."""

    method: str = "GET"
    path: str = "/"
    query: bytes = b""
    body: bytes = b""
    fields: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)

    def faults(self, call: Call) -> Iterator[str]:
        """Where ``call`` is another one."""
        expected: dict[str, object] = {"type": "http", "method": self.method, "path": self.path, "query_string": self.query}
        for key, fact in expected.items():
            if call.scope[key] != fact:
                yield f"the application was told {key} {call.scope[key]!r}, and not {fact!r}"
        if not call.complete or call.body != self.body:
            yield f"the application got the body {call.body[:100]!r}{'' if call.complete else ' and no end'}, and not {self.body[:100]!r}"
        for name, values in self.fields.items():
            told = tuple(value for field_name, value in call.scope["headers"] if field_name == name)
            if told != values:
                yield f"the application was told {name!r} {told!r}, and not {values!r}"


_FOLLOW_UP: Final = Told(path=FOLLOW_UP_PATH, fields={b"host": (b"follow.example",)})


def _calls(told: Sequence[Told], calls: Sequence[Call]) -> Iterator[str]:
    """Where ``calls`` are not those of ``told``."""
    if len(calls) != len(told):
        yield f"{len(calls)} calls of the application, and not {len(told)}"
    for expected, call in zip(told, calls, strict=False):
        yield from expected.faults(call)


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused with one of ``statuses``, and the connection closed.

    Args:
        statuses: of the answer.
        behind: the requests before it, which are served.
        begins: its head is right, so that the application may be called before the fault is seen; it never hears that the body is complete.
    """

    statuses: tuple[int, ...]
    behind: tuple[Told, ...] = ()
    begins: bool = False

    @property
    def complete(self) -> int:
        """Those before it."""
        return len(self.behind)

    def faults(self, seen: Observation) -> Iterator[str]:
        """What was otherwise."""
        statuses = [response.status for response in seen.responses]
        if len(statuses) != len(self.behind) + 1 or statuses[:-1] != [_OK] * len(self.behind) or statuses[-1] not in self.statuses:
            yield f"answered with {statuses}, and not with {[_OK] * len(self.behind)} and {self.statuses}"
        elif not seen.responses[-1].closes:
            yield "the refusal does not announce the end of the connection"
        if seen.fate is not Fate.CLOSED:
            yield f"the connection is not closed in order, but {seen.fate}"
        if seen.followed is not None:
            yield "what stands behind it was answered"
        calls = list(seen.calls)
        if self.begins and len(calls) > len(self.behind) and not calls[-1].complete:
            calls.pop()
        yield from _calls(self.behind, calls)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """No more comes, and the request is not whole: the connection ends, with a refusal or none, and the application never hears of an end."""

    @property
    def complete(self) -> int:
        """None."""
        return 0

    def faults(self, seen: Observation) -> Iterator[str]:
        """What was otherwise."""
        if len(seen.responses) > 1 or seen.status in range(200, 400):
            yield f"answered with {[response.status for response in seen.responses]}"
        if seen.fate is not Fate.CLOSED:
            yield f"the connection is not closed in order, but {seen.fate}"
        if any(call.complete for call in seen.calls):
            yield "the application was told that the body is complete"


class Served:
    """Served, each request as it was sent; and then so is the good one behind them, or with ``closes`` it is left alone."""

    def __init__(self, *told: Told, closes: bool = False) -> None:
        self.told = told
        self.closes = closes

    @property
    def complete(self) -> int:
        """All of them."""
        return len(self.told)

    def faults(self, seen: Observation) -> Iterator[str]:
        """What was otherwise."""
        statuses = [response.status for response in seen.responses]
        if statuses != [_OK] * len(self.told):
            yield f"answered with {statuses}, and not {len(self.told)} times with 200"
        if self.closes:
            if seen.followed is not None or seen.fate is not Fate.CLOSED:
                yield f"the connection is not closed in order, but {seen.fate}"
            yield from _calls(self.told, seen.calls)
            return
        if seen.followed is None or seen.followed.status != _OK:
            yield f"the good request behind it was answered with {seen.followed.status if seen.followed else 'nothing'}"
        yield from _calls((*self.told, _FOLLOW_UP), seen.calls)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Args:
        id: of its test.
        kind: one of `KINDS`.
        clauses: as `asgi_conformance.clauses` has them.
        level: the clause's word. MUST: a server that does none of ``demand`` and ``lawful`` breaks it. MAY: the clause leaves it open, and
            ``demand`` is our decision. HARD: no clause, but a server that fails can be taken apart.
        stimulus: what is sent.
        demand: what asgiserve must do.
        lawful: what the clause allows besides.
    """

    id: str
    kind: str
    clauses: tuple[str, ...]
    level: Level
    stimulus: Stimulus
    demand: Demand
    lawful: tuple[Demand, ...] = ()


def faults(entry: Entry, seen: Observation, demand: Demand | None = None) -> list[str]:
    """Where what was seen is not what ``entry`` (or ``demand`` in its place) demands; first what no server may ever do."""
    found: list[str] = []
    if seen.broken:
        found.append(seen.broken)
    answered = len(seen.responses) + (seen.followed is not None)
    whole = sum(call.complete for call in seen.calls)
    if whole > answered:
        found.append(f"the application was told {whole} whole requests, and {answered} were answered")
    follow_ups = [call for call in seen.calls if call.scope.get("path") == FOLLOW_UP_PATH]
    if len(follow_ups) != (seen.followed is not None):
        found.append(f"{len(follow_ups)} calls for the good request behind it, which was {'not ' if seen.followed is None else ''}answered")
    for call in follow_ups:
        found += _FOLLOW_UP.faults(call)
    if any(interim.status not in _INTERIM for response in seen.responses for interim in response.informational):
        found.append("an interim response that nobody asked for")
    found += (entry.demand if demand is None else demand).faults(seen)
    if found:
        found.append(f"seen: {describe(seen)}")
    return found


@dataclass(slots=True)
class Table:
    """Entries of one class, in the order in which they were added."""

    kind: str
    entries: list[Entry] = field(default_factory=list)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def add(self, name: str, clause: str | tuple[str, ...], level: Level, raw: bytes, demand: Demand, *lawful: Demand, **stimulus: Any) -> None:
        """Add an entry; ``stimulus`` is of `Stimulus`, and ``ends`` that nothing more comes."""
        ends = stimulus.pop("ends", False)
        parts = (raw, HALF_CLOSE) if ends else (raw,)
        methods = stimulus.pop("methods", None) or _methods(demand)
        sent = Stimulus(name, parts, methods=methods, follow_up=not ends)
        clauses = (clause,) if isinstance(clause, str) else clause
        self.entries.append(Entry(f"{self.kind}.{name}", self.kind, clauses, level, sent, demand, lawful))


def _methods(demand: Demand) -> tuple[str, ...]:
    if isinstance(demand, Served):
        return tuple(told.method for told in demand.told)
    if isinstance(demand, Refused):
        return (*(told.method for told in demand.behind), "GET")
    return ("GET",)


def get(*lines: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"a.example", body: bytes = b"") -> bytes:
    """A request head of ``line``, Host and ``lines``, with ``body`` behind it."""
    return b"\r\n".join([line, *([] if host is None else [b"Host: " + host]), *lines, b"", body])


def post(*lines: bytes, body: bytes = b"", line: bytes = b"POST / HTTP/1.1") -> bytes:
    """As `get`, of a POST."""
    return get(*lines, line=line, body=body)
