"""Every case can fail: it passes a server that does what its clause allows, and catches one that does what it forbids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.canned import CannedServer
from asgi_conformance.case import Canned, Case, Fate, Level, Stimulus, Verdict, broken_verdict
from asgi_conformance.drive import observe
from asgi_conformance.suite import TOPICS

if TYPE_CHECKING:
    from asgi_conformance.case import Judgement

CASES = [case for topic in TOPICS for case in topic if isinstance(case, Case)]
IDS = [case.id for topic in TOPICS for case in topic]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
# Short, as everything here is on this machine and answers at once: only a server that says nothing takes as long.
PATIENCE = 1.0


def judge(case: Case, canned: Canned, stimulus: Stimulus) -> Judgement:
    with CannedServer(canned, stimulus) as server:
        seen, trace = observe(server, stimulus, patience=PATIENCE)
    assert trace.events
    return case.judge(seen)


@each_case
def test_a_case_passes_a_server_that_does_what_is_allowed(case: Case) -> None:
    wanted = Verdict.INFO if case.level in {Level.INFO, Level.CONFLICT} else Verdict.PASS
    for outcome in case.allow:
        for stimulus in case.stimuli:
            judgement = judge(case, outcome.example, stimulus)
            assert judgement.verdict is wanted, f"{stimulus.label}: {outcome.words}: {judgement.reason}"


@each_case
def test_a_case_warns_of_what_is_lawful_and_discouraged(case: Case) -> None:
    for outcome in case.warn:
        for stimulus in case.stimuli:
            assert judge(case, outcome.example, stimulus).verdict is Verdict.WARN


@each_case
def test_a_case_catches_a_server_that_breaks_it(case: Case) -> None:
    for stimulus in case.stimuli:
        judgement = judge(case, case.bad, stimulus)
        assert judgement.verdict is broken_verdict(case.level)
        # Its reason is that of no outcome, not even of one that is discouraged.
        assert judgement.reason.startswith("seen: " if judgement.verdict is Verdict.INFO else "expected: "), stimulus.label


@each_case
def test_a_case_says_what_it_is(case: Case) -> None:
    assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9-]+)+", case.id)
    assert case.says.endswith(".")
    assert case.clauses
    assert case.stimuli
    assert case.allow
    for clause in case.clauses:
        assert re.match(r"RFC \d{4} §[\d.]+|ASGI ", clause), clause


def test_ids_are_unique() -> None:
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize(
    ("wire", "broken"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", True),
        (b"HTTP/1.1 200", True),
        (b"hello", True),
    ],
)
def test_a_response_that_is_broken_off_is_no_orderly_end(wire: bytes, broken: bool) -> None:
    stimulus = Stimulus("any", (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",), follow_up=False)
    with CannedServer(Canned(wire, closes=True), stimulus) as server:
        seen, _ = observe(server, stimulus, patience=PATIENCE)
    assert seen.fate is Fate.CLOSED
    assert bool(seen.broken) is broken
