"""asgiserve passes every case, with both parsers and on both loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Verdict
from asgi_conformance.drive import observe
from asgi_conformance.suite import TOPICS
from tests.conformance.live_peer import LivePeer
from tests.support.serving import STACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.case import Case


@pytest.fixture(scope="module", params=[pytest.param(tuple(param.values), id=param.id, marks=param.marks) for param in STACKS])
def peer(request: pytest.FixtureRequest) -> Iterator[LivePeer]:
    parser, loop = request.param
    running = LivePeer(http=parser, loop=loop)
    running.start()
    yield running
    running.server.stop()


@pytest.mark.parametrize("case", [case for topic in TOPICS for case in topic], ids=lambda case: case.id)
def test_asgiserve_passes(case: Case, peer: LivePeer) -> None:
    for stimulus in case.stimuli:
        seen, trace = observe(peer, stimulus)
        judgement = case.judge(seen)
        assert judgement.verdict in {Verdict.PASS, Verdict.INFO}, f"{stimulus.label}: {judgement.reason}\n{trace}"
