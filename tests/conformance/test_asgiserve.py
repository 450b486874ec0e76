"""asgiserve passes every case, with both parsers and on both loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Scenario, Verdict
from asgi_conformance.drive import observe
from asgi_conformance.peer import Unavailable
from asgi_conformance.stage import trials
from asgi_conformance.suite import TOPICS
from tests.conformance.distorted import ThreadPeer
from tests.conformance.live_peer import LivePeer
from tests.support.serving import STACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.case import Case

ALL = [case for topic in TOPICS for case in topic]
GOOD = {Verdict.PASS, Verdict.INFO}
# What asgiserve does not have: it speaks no HTTP/2.
NOT_THERE = {"asgi.ext.push": "does not advertise http.response.push"}


@pytest.fixture(scope="module", params=[pytest.param(tuple(param.values), id=param.id, marks=param.marks) for param in STACKS])
def stack(request: pytest.FixtureRequest) -> tuple[str, str]:
    parser, loop = request.param
    return parser, loop


@pytest.fixture(scope="module")
def peer(stack: tuple[str, str]) -> Iterator[LivePeer]:
    running = LivePeer(http=stack[0], loop=stack[1])
    running.start()
    yield running
    running.server.stop()


@pytest.fixture(scope="module")
def stage_peer(stack: tuple[str, str]) -> Iterator[ThreadPeer]:
    with ThreadPeer(http=stack[0], loop=stack[1]) as running:
        yield running


@pytest.mark.parametrize("case", [case for case in ALL if not isinstance(case, Scenario)], ids=lambda case: case.id)
def test_asgiserve_passes(case: Case, peer: LivePeer) -> None:
    for stimulus in case.stimuli:
        seen, trace = observe(peer, stimulus)
        judgement = case.judge(seen)
        assert judgement.verdict in GOOD, f"{stimulus.label}: {judgement.reason}\n{trace}"


@pytest.mark.parametrize("scenario", [case for case in ALL if isinstance(case, Scenario) and not case.own], ids=lambda case: case.id)
def test_asgiserve_passes_a_scenario(scenario: Scenario, stage_peer: ThreadPeer) -> None:
    if scenario.id in NOT_THERE:
        with pytest.raises(Unavailable, match=NOT_THERE[scenario.id]):
            list(trials(scenario, stage_peer))
        return
    for trial in trials(scenario, stage_peer):
        assert trial.judgement.verdict in GOOD, f"{trial.judgement.reason}\n{trial.trace}"
    assert not stage_peer.sickness()
