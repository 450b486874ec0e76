"""``pytest --asgi-conformance-coverage``: which cases each clause of the standards has, and which clauses have none.

The law of this module: it shows what the cases cite and runs none of them. A clause that concerns a server (see `asgi_conformance.clauses`) has a
case where one for servers cites it; one that concerns an application, where a case for applications or a rule of `lint` does. What is cited beside
that is shown and not counted.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from asgi_conformance.application.topics import TOPICS as APPLICATION_TOPICS
from asgi_conformance.clauses import documents, known_clause
from asgi_conformance.suite import TOPICS
from asgi_conformance.violations import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from asgi_conformance.clauses import Clause, Document

__all__ = ["Cites", "Coverage", "every_case", "print_coverage", "report"]

_SIDES: Final = ("server", "application")
_INDENT: Final = " " * 6
_PLAIN: Final = ""
_BOLD: Final = "\x1b[1m"
_YELLOW: Final = "\x1b[33m"
_RED: Final = "\x1b[31m"
_RESET: Final = "\x1b[0m"
_NARROWEST: Final = 40
"""Columns that a terminal is taken to have at least."""
_TIED: Final = "\xa0"
"""Between an id and the item of the list that it cites, so that no line is broken there."""


class Cites(Protocol):
    """What has an id and cites clauses: a case for servers, one for applications, a rule of `lint`."""

    @property
    def id(self) -> str:
        """As in the catalogue."""

    @property
    def clauses(self) -> tuple[str, ...]:
        """As `asgi_conformance.clauses` reads them."""


def every_case() -> Iterator[tuple[str, Cites]]:
    """The cases for servers, those for applications, and the rules of `lint`; each once, with whom it tests."""
    for topic in TOPICS:
        for case in topic:
            yield "server", case
    found = set()
    for application_topic in APPLICATION_TOPICS:
        for application_case in application_topic:
            found.add(application_case.id)
            yield "application", application_case
    for rule in RULES.values():
        # Of some rules a case is made, which cites what they cite.
        if rule.id not in found:
            yield "application", rule


@dataclass(frozen=True, slots=True)
class Coverage:
    """Who cites what.

    Args:
        cases: what cites clauses, each with whom it tests: a ``server`` or an ``application``.

    Attributes:
        ids: of what cites a clause, with the item of its list where that is cited.
        tested: clauses, and whom they are tested for.
        unknown: the ids by what is no clause that we know.
    """

    ids: defaultdict[Clause, list[str]] = field(default_factory=lambda: defaultdict(list))
    tested: set[tuple[Clause, str]] = field(default_factory=set)
    unknown: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, cases: Iterable[tuple[str, Cites]]) -> Coverage:
        """Read the citations."""
        found = cls()
        for side, case in cases:
            for text in case.clauses:
                clause = known_clause(text)
                if clause is None:
                    found.unknown[text].append(case.id)
                    continue
                found.ids[clause].append(case.id + text.removeprefix(clause.name).replace(" ", _TIED))
                found.tested.add((clause, side))
        return found

    def missing(self, clause: Clause) -> list[str]:
        """Whom the clause concerns and no case of theirs cites it."""
        return [side for side in _SIDES if side in clause.concerns and (clause, side) not in self.tested]


def report(cases: Iterable[tuple[str, Cites]], width: int) -> Iterator[tuple[str, str]]:
    """The lines, each with its style: an escape sequence, or nothing.

    Args:
        cases: as for `Coverage`.
        width: of the terminal; ids are wrapped to it.
    """
    found = Coverage.of(cases)
    all_tested: Counter[str] = Counter()
    all_asked: Counter[str] = Counter()
    for document in documents():
        if document.partial and not any(clause in found.ids for clause in document):
            continue
        yield f"{document.name} | {document.title}", _BOLD
        for clause in document:
            if clause in found.ids:
                yield f"  {clause.heading}", _PLAIN
                yield from ((line, _PLAIN) for line in _wrapped(found.ids[clause], width))
        if document.partial:
            number = sum(clause in found.ids for clause in document)
            yield f"{document.name}: {number} {'clause' if number == 1 else 'clauses'} cited; the suite does not test this document", _BOLD
        else:
            missing = [(clause, sides) for clause in document if (sides := found.missing(clause))]
            if missing:
                yield "  Without a case:", _YELLOW
            yield from ((f"{_INDENT}{clause.heading} ({' and '.join(sides)})", _YELLOW) for clause, sides in missing)
            asked, tested = _count(document, found)
            all_asked, all_tested = all_asked + asked, all_tested + tested
            yield f"{document.name}: {_summary(asked, tested)}", _BOLD
        yield "", _PLAIN
    if found.unknown:
        yield "Cited, and no clause that is known:", _RED
        for text, ids in found.unknown.items():
            yield f"  {text}", _RED
            yield from ((line, _RED) for line in _wrapped(ids, width))
        yield "", _PLAIN
    yield f"In all: {_summary(all_asked, all_tested)}", _BOLD


def _count(document: Document, found: Coverage) -> tuple[Counter[str], Counter[str]]:
    asked = Counter(side for clause in document for side in clause.concerns)
    tested = Counter(side for clause in document for side in clause.concerns if (clause, side) in found.tested)
    return asked, tested


def _summary(asked: Counter[str], tested: Counter[str]) -> str:
    sides = [f"{tested[side]} of {asked[side]} clauses for {side}s" for side in _SIDES if asked[side]]
    return f"{' and '.join(sides)} have a case"


def _wrapped(ids: Sequence[str], width: int) -> list[str]:
    # A case may cite one clause twice, in two of its items or for two of its sentences.
    lines = textwrap.wrap(
        "  ".join(dict.fromkeys(ids)),
        max(width, _NARROWEST),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return [line.replace(_TIED, " ") for line in lines]


def print_coverage(stream: TextIO, *, color: str = "auto") -> None:
    """Write the report.

    Args:
        stream: where to.
        color: ``yes``, ``no``, or ``auto``: on a terminal, and not where ``NO_COLOR`` is set.
    """
    colored = _is_colored(stream, color)
    encoding = stream.encoding or "utf-8"
    try:
        for line, style in report(every_case(), shutil.get_terminal_size().columns):
            # Where § cannot be written there is a mark instead.
            shown = line.encode(encoding, "replace").decode(encoding)
            stream.write(f"{style}{shown}{_RESET}\n" if colored and style else f"{shown}\n")
        stream.flush()
    except BrokenPipeError:
        # `... | head` has seen enough. What is still in the buffer must not raise again when the interpreter closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_colored(stream: TextIO, color: str) -> bool:
    """As pytest does it."""
    if color != "auto":
        return color == "yes"
    if os.environ.get("PY_COLORS") in {"0", "1"}:
        return os.environ["PY_COLORS"] == "1"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
