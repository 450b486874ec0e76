"""The cases for servers as test items.

The law of this module: a target is started when its first case runs, and a case that breaks it fails itself and not the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi_conformance.case import Judgement, Scenario, Verdict
from asgi_conformance.items import NoTargetError, RuleItem
from asgi_conformance.peer import NotStarting, Unavailable
from asgi_conformance.report import ORDER
from asgi_conformance.stage import trials
from asgi_conformance.suite import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.case import Case, Topic
    from asgi_conformance.peer import TargetPeer
    from asgi_conformance.plugin import State

__all__ = ["CaseItem", "ServerTopic", "collect_servers", "server_cases"]


def server_cases() -> set[str]:
    """The ids of all cases."""
    return {case.id for topic in TOPICS for case in topic}


def collect_servers(parent: pytest.Collector, state: State) -> Iterator[ServerTopic]:
    """A collector for each file of cases and each target."""
    for target in state.targets:
        for topic in TOPICS:
            yield ServerTopic.from_parent(parent, name=topic.name, nodeid=f"asgi-conformance/{topic.name}", topic=topic, target=target, state=state)


class ServerTopic(pytest.Collector):
    """The cases of one file, for one target."""

    def __init__(self, *, topic: Topic, target: str, state: State, **options: Any) -> None:
        super().__init__(**options)
        self._topic = topic
        self._target = target
        self._state = state

    def collect(self) -> Iterator[pytest.Item]:
        """Its cases that are selected."""
        for case in self._topic:
            self._state.rules.add((self._target, case.id))
            if self._state.selected(case.id):
                yield CaseItem.from_parent(
                    self, name=f"{case.id}[{self._target}]", rule=case, target=self._target, topic=self._topic.title, state=self._state
                )


class CaseItem(RuleItem):
    """One case against one target."""

    def __init__(self, *, rule: Case | Scenario, **options: Any) -> None:
        super().__init__(rule=rule, **options)
        self._case = rule

    def judge(self) -> tuple[Judgement, str]:
        """Send each stimulus, judge, and see that the server still works; the worst verdict, with what went over the wire."""
        try:
            peer = self._state.peer(self.target)
            peer.start()
            return self._judge(peer)
        except Unavailable as error:
            return Judgement(Verdict.UNSUPPORTED, str(error)), ""
        except NotStarting as error:
            reason, _, output = str(error).partition(". It wrote:\n")
            last = output.strip().rpartition("\n")[2].strip()
            raise NoTargetError(f"{reason}: {last}" if last else reason, output) from None

    def _judge(self, peer: TargetPeer) -> tuple[Judgement, str]:
        missing = self._case.needs - peer.features
        if missing:
            return Judgement(Verdict.UNSUPPORTED, f"{self.target} has no {', '.join(sorted(missing))}"), ""
        worst, shown = Judgement(Verdict.PASS), ""
        for trial in trials(self._case, peer):
            label = f"{trial.label}: " if trial.label else ""
            if ORDER.index(trial.judgement.verdict) < ORDER.index(worst.verdict) or not shown:
                worst, shown = Judgement(trial.judgement.verdict, f"{label}{trial.judgement.reason}"), str(trial.trace)
            sick = peer.sickness()
            if sick:
                peer.close()
                return Judgement(Verdict.FAIL, f"{label}afterwards {sick}"), str(trial.trace)
        if isinstance(self._case, Scenario) and self._case.spoils:
            peer.close()
        return worst, shown
