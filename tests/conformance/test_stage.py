"""What a stage does where a scenario cannot be played, and what becomes of what it sees."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Distortion, Judgement, Level, Scenario, Verdict
from asgi_conformance.drive import Trace
from asgi_conformance.peer import Unavailable
from asgi_conformance.stage import Stage, trials
from asgi_conformance.suite import TOPICS, asgi_tls
from asgi_conformance.suite.dialogue import spec_version
from asgiserve import ConfigError
from tests.conformance.distorted import ProcessPeer, ThreadPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_asgiserve.authority import Authority


@pytest.fixture(scope="module")
def peer() -> Iterator[ProcessPeer]:
    with ProcessPeer("asgiserve") as running:
        yield running


def test_a_setting_that_the_server_cannot_be_told_makes_it_unsupported_before_anything_is_started(
    peer: ProcessPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(peer, "start_own", lambda **options: started.append(options))
    with Stage(peer, peer.running, peer.address, Trace()) as stage, pytest.raises(Unavailable, match="it cannot be told nonsense"):
        stage.own(settings={"keep_alive": 1, "nonsense": 2})
    assert started == []


def played(peer: ProcessPeer | ThreadPeer, play: Callable[[Stage], None], level: Level = Level.MUST) -> Judgement:
    scenario = Scenario(id="a.b", says="It is.", clauses=("RFC 9112 §3.2",), level=level, expects="that", play=play, bad=Distortion())
    (trial,) = trials(scenario, peer)
    return trial.judgement


def test_a_rule_that_is_broken_without_a_word_is_broken(peer: ProcessPeer) -> None:
    judgement = played(peer, lambda stage: stage.check(kept=False, seen=""))
    assert judgement.verdict is Verdict.FAIL


@pytest.mark.parametrize(("warns", "verdict"), [(True, Verdict.WARN), (False, Verdict.PASS)])
def test_what_is_seen_on_a_server_of_its_own_counts(peer: ProcessPeer, warns: bool, verdict: Verdict) -> None:
    def play(stage: Stage) -> None:
        own = stage.own()
        (own.warn if warns else own.tell)("seen there")

    assert played(peer, play) == Judgement(verdict, "seen there")


def test_a_spec_version_that_is_none_is_a_verdict_and_no_traceback(peer: ProcessPeer) -> None:
    def play(stage: Stage) -> None:
        stage.request()
        record = stage.record()
        spec_version(replace(record, scope={**record.scope, "asgi": {"spec_version": "two"}}))

    judgement = played(peer, play)
    assert (judgement.verdict, judgement.reason) == (Verdict.FAIL, "expected: that; seen: spec_version is 'two'")


def test_a_text_message_that_is_no_utf_8_is_a_verdict_and_no_traceback() -> None:
    def play(stage: Stage) -> None:
        frames = stage.websocket()
        frames.text("x")
        frames.read_text()

    with ThreadPeer(Distortion(to_client=lambda data: data.replace(b"\x81\x01x", b"\x81\x01\xff"))) as bad:
        judgement = played(bad, play)
    assert judgement.verdict is Verdict.FAIL
    assert "a text message that is no UTF-8" in judgement.reason


def test_without_what_makes_certificates_the_cases_about_tls_are_unsupported_and_say_what_to_install(
    peer: ProcessPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Authority:
        raise ConfigError("trustme is not installed")

    monkeypatch.setattr(asgi_tls, "session_authority", missing)
    (case,) = (case for topic in TOPICS for case in topic if case.id == "asgi.ext.tls")
    with pytest.raises(Unavailable, match=r"pip install 'asgiserve\[pytest\]'"):
        list(trials(case, peer))
