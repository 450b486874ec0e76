"""A rule as a test item: what the cases for servers and those for applications have in common.

The law of this module: a rule that is broken is its own report, and what a report needs travels with the item's result, over xdist too.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from asgi_conformance.case import Judgement, Level
    from asgi_conformance.plugin import State

    class Rule(Protocol):
        """What is said of every case, whatever it is made of."""

        @property
        def id(self) -> str: ...
        @property
        def says(self) -> str: ...
        @property
        def clauses(self) -> tuple[str, ...]: ...
        @property
        def level(self) -> Level: ...


__all__ = ["PREFIX", "ConformanceError", "NoTargetError", "RuleItem", "StaleItem", "attach", "collect_stale"]

PREFIX: Final = "asgi."
"""Of the properties that an item gets, for ``--junitxml`` and other plugins."""
_MOST_TRACE: Final = 4000
"""Characters of a trace in the reports; a failure shows it whole."""


class ConformanceError(Exception):
    """A target breaks a rule. Its text is the whole report."""


class NoTargetError(Exception):
    """The target should be there and is not: it does not start, or cannot be loaded. Nothing can be judged; only the first case fails for it.

    Args:
        reason: what is wrong.
        details: what a person needs to mend it, a traceback for example.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class RuleItem(pytest.Item):
    """One rule on one target.

    Args:
        rule: what is judged.
        target: the server or the application.
        topic: the title under which reports show it.
        state: of the run.
    """

    def __init__(
        self,
        *,
        rule: Rule,
        target: str,
        topic: str,
        state: State,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.rule = rule
        self.target = target
        self.topic = topic
        self._state = state
        self._trace = ""

    @abstractmethod
    def judge(self) -> tuple[Judgement, str]:
        """The verdict, and what was exchanged.

        Raises:
            NoTargetError: there is nothing to be judged.
        """

    def runtest(self) -> None:
        """Judge; fail, skip or pass with the verdict."""
        from asgi_conformance.case import Judgement, Verdict  # noqa: PLC0415 - who runs no rule does not need it
        from asgi_conformance.known import find_known  # noqa: PLC0415 - as above

        judgement = Judgement(Verdict.ERROR, "the case could not be judged")
        stale = ""
        again = False
        known = None
        try:
            judgement, self._trace = self.judge()
            judgement, self._trace = Judgement(judgement.verdict, _encodable(judgement.reason)), _encodable(self._trace)
            # As for any expected failure: --runxfail wants to see it.
            known = None if self.config.option.runxfail else find_known(self._state.known, self.target, self.rule.id)
            broken = judgement.verdict in {Verdict.FAIL, Verdict.WARN}
            if broken and (known is not None or (self._state.update and self._fails(judgement.verdict))):
                judgement = Judgement(Verdict.KNOWN, judgement.reason)
            elif known is not None and judgement.verdict in {Verdict.PASS, Verdict.INFO} and not self._state.update:
                stale = f"line {known.line} of the known deviations is no longer true: {judgement.verdict}. Take it out, or run --asgi-known-update."
                judgement = Judgement(Verdict.FAIL, stale)
        except NoTargetError as error:
            judgement, self._trace = Judgement(Verdict.ERROR, _encodable(error.reason)), _encodable(error.details)
            again = self._state.has_told(self.target, error.reason)
        finally:
            facts = {"target": self.target, "case": self.rule.id, "level": self.rule.level.value, "clauses": "; ".join(self.rule.clauses)}
            facts |= {"verdict": judgement.verdict.value, "reason": judgement.reason}
            self.user_properties += [(PREFIX + name, value) for name, value in facts.items()]
        if judgement.verdict is Verdict.UNSUPPORTED or again:
            pytest.skip(judgement.reason)
        if judgement.verdict is Verdict.ERROR:
            raise ConformanceError("\n".join(part for part in (f"error: {judgement.reason}", self._trace) if part))
        if judgement.verdict is Verdict.KNOWN:
            pytest.xfail(known.reason or judgement.reason if known else judgement.reason)
        if stale:
            raise ConformanceError(stale)
        if self._fails(judgement.verdict):
            where = f"{', '.join(self.rule.clauses)}; {self.rule.level}"
            raise ConformanceError(f"{judgement.verdict}: {judgement.reason}\n\n{self.rule.says}\n({where})\n\n{self._trace}")

    def _fails(self, verdict: str) -> bool:
        return verdict == "fail" or (self._state.strict and verdict == "warn")

    @property
    def details(self) -> dict[str, str]:
        """What reports show of it beside the properties."""
        trace = self._trace if len(self._trace) <= _MOST_TRACE else f"{self._trace[:_MOST_TRACE]}\n..."
        return {"says": self.rule.says, "topic": self.topic, "trace": trace}

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A broken rule is its own report; anything else is a bug of ours and has its traceback."""
        return _report(excinfo, self.nodeid) if isinstance(excinfo.value, ConformanceError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says that it is."""
        return Path(__file__), None, f"{self.rule.id} on {self.target}"


def _report(excinfo: pytest.ExceptionInfo[BaseException], nodeid: str) -> Any:
    """The text of a `ConformanceError` alone, in a form of which pytest shows the first line in its summary and with ``--tb=line``."""
    text = str(excinfo.value)
    shown = excinfo.getrepr(style="native")
    shown.reprtraceback.reprentries[0].lines = [f"{text}\n"]
    if shown.reprcrash is not None:
        shown.reprcrash.path, shown.reprcrash.lineno, shown.reprcrash.message = nodeid, 1, text.partition("\n")[0]
    return shown


def _encodable(text: str) -> str:
    """``text``, in which what a target said is shown where it is no Unicode: a lone surrogate would end xdist's worker, and the reports."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def attach(item: pytest.Item, report: pytest.TestReport) -> None:
    """Give ``report`` the details of ``item``, where that is a rule; they go with it to xdist's controller."""
    if isinstance(item, RuleItem) and report.when == "call":
        report.asgi_details = item.details  # type: ignore[attr-defined]  # pytest's reports take what they are given, and hand it on


class StaleItem(pytest.Item):
    """A known deviation of which no case is left. It fails."""

    def __init__(self, *, about: str, **options: Any) -> None:
        super().__init__(**options)
        self._about = about

    def runtest(self) -> None:
        """Fail."""
        raise ConformanceError(self._about)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The words alone."""
        return _report(excinfo, self.nodeid) if isinstance(excinfo.value, ConformanceError) else super().repr_failure(excinfo, style)


def collect_stale(parent: pytest.Collector, state: State) -> Iterator[StaleItem]:
    """An item for each known deviation of a target of this run that is about no case at all; to be asked once all cases were collected."""
    if state.update:
        return
    targets = {target for target, _ in state.rules}
    for one in state.known:
        about = f"line {one.line} of the known deviations, {one.target} :: {one.case}, is about no case. Take it out, or run --asgi-known-update."
        if any(one.matches_target(target) for target in targets) and not any(one.matches(*rule) for rule in state.rules):
            yield StaleItem.from_parent(parent, name=f"known-deviation[{one.line}]", about=about)
