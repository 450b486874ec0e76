"""The clauses of the standards: what sections each has, and whom they concern.

The law of this module: a case, or a rule of `lint`, cites a clause in one of two forms, and only clauses that are in ``clauses.txt``:

- ``RFC 9112 §6.3``: the number of the section, as in the text; an appendix by its letter (``RFC 9112 §C.2.2``). Where the section has a list with
  numbers, its item may follow: ``RFC 9112 §6.3 (5)``.
- ``ASGI www, Response Body``: the document (``ASGI`` for asgi.rst, ``ASGI www``, ``ASGI lifespan``, ``ASGI TLS``, ``ASGI extensions``) and the
  heading, without what it has behind a dash (``- send event``). www.rst has two headings twice; they have their part before them:
  ``HTTP Disconnect``, ``WebSocket Disconnect``, ``HTTP Disconnected Client``, ``WebSocket Disconnected Client``. What stands under no heading but the
  title has the title: ``ASGI lifespan, Lifespan Protocol``.

A section concerns a server where it asks something of one, as the recipient of a request or the sender of a response, that shows in what the server
does; it concerns an application where only that can do what it asks. What is for clients, caches, proxies and authors of extensions, and what only
explains, concerns neither; so does every section of a standard that the suite does not test (HTTP/2).
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Clause", "Document", "documents", "known_clause", "parse_clauses"]

_CONCERNS: Final = {
    "S": frozenset({"server"}),
    "A": frozenset({"application"}),
    "SA": frozenset({"server", "application"}),
    "-": frozenset[str](),
}

_heading = re.compile(r"== (?P<name>(?:RFC \d+|ASGI(?: \w+)?))(?P<partial> \?)? \| (?P<title>\S.*)")
_columns = re.compile(r"\s{2,}")
_section = re.compile(r"(?P<section>(?:\d+|[A-Z])(?:\.\d+)*)(?: \((?P<items>\d+)\))?")
_citation = re.compile(r"(?P<document>RFC \d+) §(?P<section>(?:\d+|[A-Z])(?:\.\d+)*)(?: \((?P<item>[1-9]\d*)\))?")


@dataclass(frozen=True, slots=True)
class Clause:
    """A section of a document.

    Args:
        document: ``RFC 9112``, ``ASGI www``.
        section: its number, or its heading where it has none.
        title: the heading, as in the text.
        concerns: whom it asks something of: a ``server``, an ``application``, both or neither.
        items: how many numbered items its list has, which can be cited; 0 is none.
    """

    document: str
    section: str
    title: str
    concerns: frozenset[str]
    items: int = 0

    @property
    def name(self) -> str:
        """As a case cites it."""
        return f"{self.document} §{self.section}" if self.document.startswith("RFC") else f"{self.document}, {self.section}"

    @property
    def heading(self) -> str:
        """Within its document: ``§6.3 Message Body Length``, ``Response Body``."""
        return f"§{self.section} {self.title}" if self.document.startswith("RFC") else self.section


@dataclass(frozen=True, slots=True)
class Document:
    """A standard with its sections, in their order.

    Args:
        name: ``RFC 9112``.
        title: ``HTTP/1.1``; of an ASGI document with its version.
        partial: whether it has other sections, which nobody cites.
        clauses: its sections.
    """

    name: str
    title: str
    partial: bool
    clauses: tuple[Clause, ...]

    def __iter__(self) -> Iterator[Clause]:
        return iter(self.clauses)


def parse_clauses(text: str) -> tuple[Document, ...]:
    """Read the form that ``clauses.txt`` has.

    Raises:
        ValueError: a line is not of that form, or a section is there twice.
    """
    found: list[tuple[re.Match[str], dict[str, Clause]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if heading := _heading.fullmatch(line):
            found.append((heading, {}))
            continue
        concerns, *rest = _columns.split(line) if line[0] in "SA-" else [line]
        if not found or concerns not in _CONCERNS or not 0 < len(rest) <= 2:  # noqa: PLR2004 - the section and the title
            raise ValueError(f"line {number} is none of a document, a clause and a comment: {line}")
        heading, clauses = found[-1]
        section, title, items = rest[0], rest[-1], 0
        if heading["name"].startswith("RFC"):
            numbered = _section.fullmatch(section)
            if numbered is None or len(rest) == 1:
                raise ValueError(f"line {number} has no number of a section and title: {line}")
            section, items = numbered["section"], int(numbered["items"] or 0)
        if section.casefold() in clauses:
            raise ValueError(f"line {number}: {heading['name']} has {section} twice")
        clauses[section.casefold()] = Clause(heading["name"], section, title, _CONCERNS[concerns], items)
    return tuple(Document(heading["name"], heading["title"], bool(heading["partial"]), tuple(clauses.values())) for heading, clauses in found)


@functools.cache
def documents() -> tuple[Document, ...]:
    """Every standard that a case may cite."""
    return parse_clauses(importlib.resources.files("asgi_conformance").joinpath("clauses.txt").read_text(encoding="utf-8"))


@functools.cache
def _by_name() -> dict[str, Clause]:
    return {clause.name: clause for document in documents() for clause in document}


def known_clause(text: str) -> Clause | None:
    """The clause that is cited; None where the form is wrong, or there is no such section, or no such item in it."""
    cited = _citation.fullmatch(text)
    if cited is None:
        return _by_name().get(text)
    clause = _by_name().get(f"{cited['document']} §{cited['section']}")
    if clause is None or int(cited["item"] or 0) > clause.items:
        return None
    return clause
