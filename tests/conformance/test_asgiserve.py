"""asgiserve passes every case, with both parsers and on both loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Scenario, Verdict
from asgi_conformance.peer import Unavailable
from asgi_conformance.stage import trials
from asgi_conformance.suite import TOPICS
from tests.conformance.distorted import ThreadPeer
from tests.support.serving import STACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.case import Case

# What needs a server of its own is in test_scenarios.py.
SHARED = [case for topic in TOPICS for case in topic if not (isinstance(case, Scenario) and case.own)]
GOOD = {Verdict.PASS, Verdict.INFO}
# What asgiserve does not have: it speaks no HTTP/2, and whether a method is allowed it leaves to the application.
NOT_THERE = {"asgi.ext.push": "does not advertise http.response.push", "h1.resp.405-allow": "it has no 405 of its own"}


@pytest.fixture(scope="module", params=[pytest.param(tuple(param.values), id=param.id, marks=param.marks) for param in STACKS])
def peer(request: pytest.FixtureRequest) -> Iterator[ThreadPeer]:
    parser, loop = request.param
    with ThreadPeer(http=parser, loop=loop) as running:
        yield running


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.id)
def test_asgiserve_passes(case: Case | Scenario, peer: ThreadPeer) -> None:
    if case.id in NOT_THERE:
        with pytest.raises(Unavailable, match=NOT_THERE[case.id]):
            list(trials(case, peer))
        return
    for trial in trials(case, peer):
        assert trial.judgement.verdict in GOOD, f"{trial.label}: {trial.judgement.reason}\n{trial.trace}"
    assert not peer.sickness()
