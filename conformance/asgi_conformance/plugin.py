"""``pytest --asgi-conformance``: the cases as test items, against any server.

The law of this module: a case is one item for each target, so that ``-k``, ``-x``, ``--lf``, ``-n`` and ``--junitxml`` work as for any test. A
target is started when its first case runs, and a case that breaks it fails itself and not the next one. Importing this costs nothing where it is not
asked for.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from asgi_conformance.case import Case, Judgement, Scenario, Topic
    from asgi_conformance.peer import TargetPeer

__all__ = ["CaseItem", "ConformanceError"]

_PREFIX: Final = "asgi."
_FORMAT: Final = 1
"""Of the JSON report; it grows when a reader of the old form would misunderstand the new one."""
_ORDER: Final = ("fail", "error", "warn", "info", "unsupported", "pass")
_COLORS: Final = {"fail": "red", "error": "red", "warn": "yellow", "pass": "green"}


class ConformanceError(Exception):
    """A target breaks a rule. Its text is the whole report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line."""
    group = parser.getgroup("asgi-conformance", "conformance of ASGI servers (asgiserve)")
    group.addoption(
        "--asgi-conformance", action="store_true", default=False, help="Run the conformance suite; your own tests too where paths are given."
    )
    group.addoption(
        "--asgi-target",
        action="append",
        default=None,
        metavar="TARGET",
        help="The server to test: asgiserve[httptools], asgiserve[h11], uvicorn[httptools], hypercorn, daphne, granian, gunicorn, "
        "cmd:COMMAND or url:URL. May be given several times. Default: asgiserve.",
    )
    group.addoption(
        "--asgi-conformance-select", action="append", default=None, metavar="GLOB", help="Only cases whose id matches, as in 'h1.host.*'."
    )
    group.addoption("--asgi-strict", action="store_true", default=False, help="A SHOULD that is not met fails too.")
    group.addoption("--asgi-conformance-json", default=None, metavar="FILE", help="Write every verdict to this file.")


class _State:
    """What the suite keeps of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self.strict = bool(config.getoption("asgi_strict"))
        self.json: str | None = config.getoption("asgi_conformance_json")
        self.targets: list[str] = config.getoption("asgi_target") or ["asgiserve"]
        self.select: list[str] = config.getoption("asgi_conformance_select") or ["*"]
        self.peers: dict[str, TargetPeer] = {}
        self.results: list[dict[str, Any]] = []

    def peer(self, name: str) -> TargetPeer:
        """The running target; a new one where the old one is dead."""
        from asgi_conformance.peer import TargetPeer  # noqa: PLC0415 - only who runs cases starts servers

        peer = self.peers.get(name)
        if peer is None:
            peer = self.peers[name] = TargetPeer(name)
        return peer

    def close(self) -> None:
        """Stop every target."""
        for peer in self.peers.values():
            peer.close()
        self.peers.clear()


_state_key: Final = pytest.StashKey[_State]()


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, where the suite runs."""
    if not config.getoption("asgi_conformance"):
        return
    state = config.stash[_state_key] = _State(config)
    from asgi_conformance.targets import TargetError, find_target  # noqa: PLC0415 - as above

    for name in state.targets:
        try:
            find_target(name)
        except TargetError as error:
            raise pytest.UsageError(f"--asgi-target {name}: {error}") from None
    if not config.option.file_or_dir:
        # Whoever names no paths asks for the suite alone.
        config.args = []


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Put the suite beside what the session collects."""
    report = yield
    if isinstance(collector, pytest.Session) and _state_key in collector.config.stash and report.passed:
        report.result.append(_Suite.from_parent(collector, name="asgi-conformance", nodeid="asgi-conformance"))
    return report


class _Suite(pytest.Collector):
    """All cases, for all targets."""

    def collect(self) -> Iterator[pytest.Collector]:
        for target in self.config.stash[_state_key].targets:
            for topic in importlib.import_module("asgi_conformance.suite").TOPICS:
                yield _Topic.from_parent(self, name=topic.name, nodeid=f"asgi-conformance/{topic.name}", topic=topic, target=target)


class _Topic(pytest.Collector):
    """The cases of one file, for one target."""

    def __init__(self, *, topic: Topic, target: str, **options: Any) -> None:
        super().__init__(**options)
        self._topic = topic
        self._target = target

    def collect(self) -> Iterator[pytest.Item]:
        for case in self._topic:
            if any(fnmatch.fnmatchcase(case.id, pattern) for pattern in self.config.stash[_state_key].select):
                yield CaseItem.from_parent(self, name=f"{case.id}[{self._target}]", case=case, target=self._target)


class CaseItem(pytest.Item):
    """One case against one target."""

    def __init__(self, *, case: Case | Scenario, target: str, **options: Any) -> None:
        super().__init__(**options)
        self.case = case
        self.target = target

    def runtest(self) -> None:
        """Send each stimulus, judge, and see that the server still works."""
        from asgi_conformance.case import Judgement, Verdict  # noqa: PLC0415 - as above
        from asgi_conformance.peer import Unavailable  # noqa: PLC0415

        state = self.config.stash[_state_key]
        judgement = Judgement(Verdict.ERROR, "the case could not be judged")
        trace = ""
        try:
            peer = state.peer(self.target)
            peer.start()
            judgement, trace = self._judge(peer)
        except Unavailable as error:
            judgement = Judgement(Verdict.UNSUPPORTED, str(error))
        finally:
            facts = {"target": self.target, "case": self.case.id, "level": self.case.level.value, "clauses": "; ".join(self.case.clauses)}
            facts |= {"verdict": judgement.verdict.value, "reason": judgement.reason}
            self.user_properties += [(_PREFIX + name, value) for name, value in facts.items()]
        if judgement.verdict is Verdict.UNSUPPORTED:
            pytest.skip(judgement.reason)
        if judgement.verdict is Verdict.FAIL or (state.strict and judgement.verdict is Verdict.WARN):
            where = f"{', '.join(self.case.clauses)}; {self.case.level}"
            raise ConformanceError(f"{judgement.verdict}: {judgement.reason}\n\n{self.case.says}\n({where})\n\n{trace}")

    def _judge(self, peer: TargetPeer) -> tuple[Judgement, str]:
        """The worst of the stimuli's verdicts, with what went over the wire."""
        from asgi_conformance.case import Judgement, Verdict  # noqa: PLC0415 - as above
        from asgi_conformance.stage import trials  # noqa: PLC0415

        missing = self.case.needs - peer.features
        if missing:
            return Judgement(Verdict.UNSUPPORTED, f"{self.target} has no {', '.join(sorted(missing))}"), ""
        worst, shown = Judgement(Verdict.PASS), ""
        for trial in trials(self.case, peer):
            label = f"{trial.label}: " if trial.label else ""
            if _ORDER.index(trial.judgement.verdict) < _ORDER.index(worst.verdict) or not shown:
                worst, shown = Judgement(trial.judgement.verdict, f"{label}{trial.judgement.reason}"), str(trial.trace)
            sick = peer.sickness()
            if sick:
                peer.close()
                return Judgement(Verdict.FAIL, f"{label}afterwards {sick}"), str(trial.trace)
        return worst, shown

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A broken rule is its own report; anything else is a bug of ours and has its traceback."""
        return str(excinfo.value) if isinstance(excinfo.value, ConformanceError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says that it is."""
        return Path(__file__), None, f"{self.case.id} on {self.target}"


# Reports; with xdist they are the controller's, who hears of every item.


def _results(reporter: pytest.TerminalReporter) -> list[dict[str, str]]:
    found = []
    for reports in reporter.stats.values():
        for report in reports:
            properties = dict(getattr(report, "user_properties", ()))
            if getattr(report, "when", "") == "call" and f"{_PREFIX}case" in properties:
                found.append({name.removeprefix(_PREFIX): value for name, value in properties.items() if name.startswith(_PREFIX)})
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix, and each verdict that is none of pass, info and unsupported."""
    if _state_key not in config.stash:
        return
    results = _results(terminalreporter)
    if not results:
        return
    state = config.stash[_state_key]
    write = terminalreporter
    write.section("ASGI conformance")
    targets = list(dict.fromkeys(result["target"] for result in results))
    width = max(len(target) for target in targets)
    counts = {target: Counter(result["verdict"] for result in results if result["target"] == target) for target in targets}
    write.write_line(" " * width + "".join(f"{name:>13}" for name in reversed(_ORDER)))
    for target in targets:
        write.write(f"{target:{width}}")
        for name in reversed(_ORDER):
            number = counts[target][name]
            write.write(f"{number or '-':>13}", **({_COLORS[name]: True} if number and name in _COLORS else {}))
        write.write_line("")
    for result in sorted(results, key=lambda one: (_ORDER.index(one["verdict"]), one["target"], one["case"])):
        if result["verdict"] in {"fail", "error", "warn"}:
            name = result["verdict"]
            write.write(f"{name:5}", **{_COLORS[name]: True})
            write.write_line(f" {result['target']}  {result['case']} ({result['clauses']}; {result['level']})")
    if state.json is not None:
        _write_json(Path(state.json), results)
        write.write_line(f"written to {state.json}")


def _write_json(path: Path, results: list[dict[str, str]]) -> None:
    from asgi_conformance.targets import find_target, version_of  # noqa: PLC0415 - as above

    targets = {name: version_of(find_target(name)) for name in dict.fromkeys(result["target"] for result in results)}
    path.write_text(json.dumps({"format": _FORMAT, "targets": targets, "results": results}, indent=1) + "\n", encoding="utf-8")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing of a target outlives the run."""
    if _state_key in config.stash:
        config.stash[_state_key].close()
