"""The clauses that cases cite: each is in the data, and the data is of its form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.clauses import Clause, documents, known_clause, parse_clauses
from asgi_conformance.coverage import Coverage, every_case

if TYPE_CHECKING:
    from asgi_conformance.coverage import Cites

EVERY_CASE = list(every_case())


@pytest.mark.parametrize(("side", "case"), EVERY_CASE, ids=[f"{side}-{case.id}" for side, case in EVERY_CASE])
def test_every_clause_of_a_case_is_known(side: str, case: Cites) -> None:
    assert [text for text in case.clauses if known_clause(text) is None] == []
    assert len(set(case.clauses)) == len(case.clauses)
    assert side in {"server", "application"}


def test_the_cases_of_every_kind_are_looked_at() -> None:
    ids = {(side, case.id) for side, case in EVERY_CASE}
    assert len(ids) == len(EVERY_CASE)
    assert {side for side, _ in ids} == {"server", "application"}
    assert {"h1.line.valid-get", "h1.te.te-and-cl"} <= {name for side, name in ids if side == "server"}
    assert "app.lint.start-first" in {name for side, name in ids if side == "application"}
    assert any(not name.startswith("app.lint.") for side, name in ids if side == "application")


@dataclass(frozen=True)
class Citing:
    id: str
    clauses: tuple[str, ...]


@pytest.mark.parametrize(
    "text",
    [
        "RFC 9112 §6.4",  # no such section
        "RFC 9112 §6.3 (9)",  # its list has eight items
        "RFC 9112 §6.3 (0)",
        "RFC 9112 §6.1 (1)",  # no list with numbers
        "RFC 9112 6.3",
        "RFC 9112 §6.3.",
        "RFC 9112 §6.3(5)",
        "RFC 9112",
        "RFC 7230 §3.2",  # obsolete, and no document of ours
        "ASGI www",
        "ASGI www, Disconnect",  # there are two
        "ASGI www, Connection Scope",
        "ASGI www, Websocket Connection Scope",  # one way to write it, or a search misses the other
        "ASGI www, Response Start - send event",
        "ASGI asgi, Error Handling",
        "ASGI www §Connect",
        "",
    ],
)
def test_what_is_no_clause_is_not_known(text: str) -> None:
    assert known_clause(text) is None
    found = Coverage.of([("server", Citing("a.case", (text, "RFC 9112 §6.3")))])
    assert found.unknown == {text: ["a.case"]}


@pytest.mark.parametrize(
    ("text", "section", "title", "concerns"),
    [
        ("RFC 9112 §6.3", "6.3", "Message Body Length", {"server"}),
        ("RFC 9112 §6.3 (8)", "6.3", "Message Body Length", {"server"}),
        ("RFC 9112 §C.2.2", "C.2.2", "Keep-Alive Connections", set()),
        ("RFC 9110 §15.3.7", "15.3.7", "206 Partial Content", {"application"}),
        ("RFC 6455 §4.2.1 (10)", "4.2.1", "Reading the Client's Opening Handshake", {"server"}),
        ("RFC 9113 §3.4", "3.4", "HTTP/2 Connection Preface", set()),
        ("ASGI, Error Handling", "Error Handling", "Error Handling", {"server", "application"}),
        ("ASGI www, Response Body", "Response Body", "Response Body - send event", {"server", "application"}),
        ("ASGI www, HTTP Disconnect", "HTTP Disconnect", "Disconnect - receive event", {"server", "application"}),
        ("ASGI TLS, TLS Connection Scope", "TLS Connection Scope", "TLS Connection Scope", {"server"}),
    ],
)
def test_a_clause_is_found_by_what_a_case_cites(text: str, section: str, title: str, concerns: set[str]) -> None:
    clause = known_clause(text)
    assert clause is not None
    assert (clause.section, clause.title, set(clause.concerns)) == (section, title, concerns)
    assert text.startswith(clause.name)


def test_every_section_is_found_under_its_own_name() -> None:
    clauses = [clause for document in documents() for clause in document]
    assert [known_clause(clause.name) for clause in clauses] == clauses
    assert len({document.name for document in documents()}) == len(documents())


def _order(clause: Clause) -> list[tuple[bool, int | str]]:
    """Numbers by their value, and letters behind them."""
    return [(not part.isdigit(), int(part) if part.isdigit() else part) for part in clause.section.split(".")]


def test_the_numbered_sections_stand_in_their_order() -> None:
    for document in documents():
        if document.name.startswith("RFC"):
            assert list(document) == sorted(document, key=_order), document.name


def test_a_standard_that_the_suite_tests_concerns_somebody() -> None:
    for document in documents():
        if not document.partial:
            assert any(clause.concerns for clause in document), document.name


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("S  6.3  Message Body Length", "line 1 is none of"),
        ("== RFC 9112\nS  6.3  Message Body Length", "line 1 is none of"),
        ("== RFC 9112 | HTTP/1.1\nX  6.3  Message Body Length", "line 2 is none of"),
        ("== RFC 9112 | HTTP/1.1\nS  6.3  Message  Body", "line 2 is none of"),
        ("== RFC 9112 | HTTP/1.1\nS  6.3", "line 2 has no number of a section"),
        ("== RFC 9112 | HTTP/1.1\nS  Six  Message Body Length", "line 2 has no number of a section"),
        ("== RFC 9112 | HTTP/1.1\nS  6.3  Message Body Length\nS  6.3 (8)  Message Body Length", "line 3: RFC 9112 has 6.3 twice"),
        ("== ASGI www | Messages\nS  Connect\nA  connect  Connect - receive event", "line 3: ASGI www has connect twice"),
    ],
)
def test_a_line_that_is_wrong_is_told(lines: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_clauses(lines)
