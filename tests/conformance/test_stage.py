"""What a stage does where a scenario cannot be played."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_conformance.drive import Trace
from asgi_conformance.peer import Unavailable
from asgi_conformance.stage import Stage, trials
from asgi_conformance.suite import TOPICS, asgi_tls
from asgiserve import ConfigError
from tests.conformance.distorted import ProcessPeer

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_without_what_makes_certificates_the_cases_about_tls_are_unsupported_and_say_what_to_install(
    peer: ProcessPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Authority:
        raise ConfigError("trustme is not installed")

    monkeypatch.setattr(asgi_tls, "session_authority", missing)
    (case,) = (case for topic in TOPICS for case in topic if case.id == "asgi.ext.tls")
    with pytest.raises(Unavailable, match=r"pip install 'asgiserve\[pytest\]'"):
        list(trials(case, peer))
