"""Every scenario can fail: it passes a good server, and catches the one that its distortion makes of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Scenario, Verdict, broken_verdict
from asgi_conformance.peer import Unavailable
from asgi_conformance.stage import trials
from asgi_conformance.suite import TOPICS
from tests.conformance.distorted import GOOD, ProcessPeer, ThreadPeer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.stage import Trial

SCENARIOS = [case for topic in TOPICS for case in topic if isinstance(case, Scenario)]
SHARED = [scenario for scenario in SCENARIOS if not scenario.own]
OWN = [scenario for scenario in SCENARIOS if scenario.own]
# About workers, which asgiserve has not: the launcher has them.
WORKERS_ONLY = {"asgi.life.state-not-shared-workers"}
WORKERS = {"asgi.life.once-per-loop", *WORKERS_ONLY}


# The test command runs the whole suite on both parsers as users do, which is on uvloop; here is the other loop.
@pytest.fixture(scope="module")
def process_peer() -> Iterator[ProcessPeer]:
    with ProcessPeer("asgiserve[h11]", loop="asyncio") as peer:
        yield peer


def play(scenario: Scenario, peer: ThreadPeer | ProcessPeer) -> Trial:
    (trial,) = trials(scenario, peer)
    assert trial.judgement.verdict is Verdict.INFO or trial.trace.events or scenario.own
    return trial


def assert_caught(scenario: Scenario, trial: Trial) -> None:
    assert trial.judgement.verdict is broken_verdict(scenario.level), f"{trial.judgement.reason}\n{trial.trace}"
    if trial.judgement.verdict is not Verdict.INFO:
        assert trial.judgement.reason.startswith("expected: ")
    else:
        assert trial.judgement.reason.startswith("seen: ")


@pytest.mark.parametrize("scenario", SHARED, ids=lambda case: case.id)
def test_a_scenario_catches_a_server_that_breaks_it(scenario: Scenario) -> None:
    assert scenario.bad != GOOD
    with ThreadPeer(scenario.bad) as peer:
        assert_caught(scenario, play(scenario, peer))


@pytest.mark.parametrize("scenario", OWN, ids=lambda case: case.id)
def test_asgiserve_passes_a_scenario_with_a_server_of_its_own(scenario: Scenario, process_peer: ProcessPeer) -> None:
    if scenario.id in WORKERS_ONLY:
        with pytest.raises(Unavailable, match="it cannot be told workers"):
            play(scenario, process_peer)
        return
    trial = play(scenario, process_peer)
    assert trial.judgement.verdict in {Verdict.PASS, Verdict.INFO}, f"{trial.judgement.reason}\n{trial.trace}"


@pytest.mark.parametrize("scenario", [scenario for scenario in OWN if scenario.id in WORKERS], ids=lambda case: case.id)
def test_a_server_with_workers_passes_a_scenario_about_them(scenario: Scenario) -> None:
    with ProcessPeer("asgiserve", workers=True) as peer:
        trial = play(scenario, peer)
    assert trial.judgement.verdict is Verdict.PASS, f"{trial.judgement.reason}\n{trial.trace}"
    assert re.search(r"[234] of 4 workers answered", trial.judgement.reason)


@pytest.mark.parametrize("scenario", OWN, ids=lambda case: case.id)
def test_a_scenario_catches_a_server_of_its_own_that_breaks_it(scenario: Scenario) -> None:
    assert scenario.bad != GOOD
    with ProcessPeer("asgiserve", scenario.id, scenario.bad, workers=scenario.id in WORKERS) as peer:
        assert_caught(scenario, play(scenario, peer))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda case: case.id)
def test_a_scenario_says_what_it_is(scenario: Scenario) -> None:
    assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9-]+)+", scenario.id)
    assert scenario.says.endswith(".")
    assert scenario.expects
    assert scenario.clauses
    for clause in scenario.clauses:
        assert re.match(r"RFC \d{4} §[\d.]+|ASGI[ ,]", clause), clause
