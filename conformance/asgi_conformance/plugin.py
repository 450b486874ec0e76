"""``pytest --asgi-conformance``: the cases as test items, against any server and any application.

The law of this module: a case is one item for each target, so that ``-k``, ``-x``, ``--lf``, ``-n`` and ``--junitxml`` work as for any test. A
target is started when its first case runs, and a case that breaks it fails itself and not the next one. Importing this costs nothing where it is not
asked for.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from asgi_conformance.items import NoTargetError
    from asgi_conformance.known import KnownDeviation
    from asgi_conformance.peer import TargetPeer
    from asgi_conformance.report import Result

__all__ = ["STATE", "State"]

_REPORTS: Final = ("asgi_conformance_json", "asgi_conformance_html", "asgi_conformance_markdown")
_NEED_THE_SUITE: Final = frozenset(
    {"--asgi-target", "--asgi-conformance-select", "--asgi-strict", "--asgi-known", "--asgi-known-update", "--asgi-middleware", "--asgi-app-paths"}
    | {f"--{name.replace('_', '-')}" for name in _REPORTS}
)
"""Options that do nothing without ``--asgi-conformance``; who gives one has forgotten it. In an ini file they may wait for it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line."""
    group = parser.getgroup("asgi-conformance", "conformance of ASGI servers and applications (asgiserve)")
    group.addoption(
        "--asgi-conformance", action="store_true", default=False, help="Run the conformance suite; your own tests too where paths are given."
    )
    group.addoption(
        "--asgi-target",
        action="append",
        default=None,
        metavar="TARGET",
        help="The server to test: asgiserve[httptools], asgiserve[h11], uvicorn[httptools], hypercorn, daphne, granian, gunicorn, "
        "cmd:COMMAND or url:URL; under another name as in 'mine=cmd:COMMAND'. May be given several times. "
        "Default: asgiserve, where no application is named (--asgi-app, --asgi-middleware).",
    )
    group.addoption(
        "--asgi-conformance-coverage",
        action="store_true",
        default=False,
        help="Show which cases each clause of the standards has, and which clauses have none; run nothing.",
    )
    group.addoption(
        "--asgi-conformance-select", action="append", default=None, metavar="GLOB", help="Only cases whose id matches, as in 'h1.host.*'."
    )
    group.addoption("--asgi-strict", action="store_true", default=False, help="A SHOULD that is not met fails too.")
    group.addoption(
        "--asgi-known",
        default=None,
        metavar="FILE",
        help="Known deviations, a line each: target :: case  # link. They do not fail, and a line that is no longer true does.",
    )
    group.addoption(
        "--asgi-known-update", action="store_true", default=False, help="Write what fails now into the file of --asgi-known, and take out the rest."
    )
    group.addoption("--asgi-conformance-json", default=None, metavar="FILE", help="Write every verdict to this file.")
    group.addoption("--asgi-conformance-html", default=None, metavar="FILE", help="Write the matrix of cases and targets as one page.")
    group.addoption(
        "--asgi-conformance-markdown",
        default=None,
        metavar="FILE",
        help="Write the summary to this file. Where GITHUB_STEP_SUMMARY is set it is appended there without being asked for.",
    )
    _add_application_options(parser, group)


def _add_application_options(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    """The options for applications, each with its ini key; the application itself is ``--asgi-app`` of asgiserve's plugin."""

    def option(name: str, metavar: str, text: str) -> None:
        ini = name.removeprefix("--").replace("-", "_")
        group.addoption(name, action="append", default=None, metavar=metavar, help=f"{text} Ini key: {ini}.")
        parser.addini(ini, text, type="linelist", default=[])

    option(
        "--asgi-app-paths",
        "ROUTES",
        "The routes of the application (--asgi-app) that the suite calls, separated by commas: '/items, POST /upload, ws:/chat'; with a body: "
        "'POST /items application/json {\"n\": 1}'. May be given several times. Default: those of its OpenAPI schema, else /.",
    )
    option("--asgi-middleware", "NAME", "A middleware to test, package.module:Middleware; it is called with the application that it wraps.")
    option("--asgi-app-host", "HOST", "The Host of the requests, for an application that answers to some names only. Default: 127.0.0.1.")
    option("--asgi-app-timeout", "SECONDS", "Seconds that the application may take to answer. Default: 5.")


class State:
    """What the suite keeps of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self.strict = bool(config.getoption("asgi_strict"))
        from asgi_conformance.application.collect import application_targets  # noqa: PLC0415 - as below

        self.applications = application_targets(config)
        self.targets: dict[str, str] = {}
        """The servers by the name that reports have: what `find_target` is asked for."""
        self.select: list[str] = config.getoption("asgi_conformance_select") or ["*"]
        self.update = bool(config.getoption("asgi_known_update"))
        self.known_file: str | None = config.getoption("asgi_known")
        self.known: list[KnownDeviation] = []
        self.peers: dict[str, TargetPeer] = {}
        self.rules: set[tuple[str, str]] = set()
        """Target and id of every case there is, whether it is selected or not."""
        self.not_loaded: NoTargetError | None = None
        """Why the application cannot be had."""
        self._told: set[tuple[str, str]] = set()

    def has_told(self, target: str, reason: str) -> bool:
        """Whether a case has failed for it before; the next one is told that one has."""
        told = (target, reason) in self._told
        self._told.add((target, reason))
        return told

    def selected(self, case: str) -> bool:
        """Whether the case is to run."""
        return any(fnmatch.fnmatchcase(case, pattern) for pattern in self.select)

    def versions(self, targets: set[str]) -> dict[str, str | None]:
        """Of the servers in ``targets``; None where nobody knows."""
        from asgi_conformance.targets import find_target, version_of  # noqa: PLC0415 - as above

        servers = {name: version_of(find_target(asked)) if name in targets else None for name, asked in self.targets.items()}
        return servers | dict.fromkeys(self.applications)

    def peer(self, name: str) -> TargetPeer:
        """The running target; a new one where the old one is dead."""
        from asgi_conformance.peer import TargetPeer  # noqa: PLC0415 - only who runs cases starts servers

        peer = self.peers.get(name)
        if peer is None:
            peer = self.peers[name] = TargetPeer(self.targets[name])
        return peer

    def close(self) -> None:
        """Stop every target."""
        for peer in self.peers.values():
            peer.close()
        self.peers.clear()


STATE: Final = pytest.StashKey[State]()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Show what the cases cover, instead of running anything."""
    if not config.getoption("asgi_conformance_coverage"):
        return None
    from asgi_conformance.coverage import print_coverage  # noqa: PLC0415 - only who asks for it needs the cases

    print_coverage(sys.stdout, color=config.getoption("color", "auto"))
    return pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, where the suite runs."""
    if not config.getoption("asgi_conformance"):
        alone = next((name for name in map(_option_of, config.invocation_params.args) if name in _NEED_THE_SUITE), None)
        if alone is not None and not config.getoption("asgi_conformance_coverage"):
            raise pytest.UsageError(f"{alone} needs --asgi-conformance, which runs the suite")
        return
    state = config.stash[STATE] = State(config)
    from asgi_conformance.application.collect import check_options  # noqa: PLC0415 - as above
    from asgi_conformance.known import KnownFileError, read_known  # noqa: PLC0415 - as above

    _check_targets(config, state)
    check_options(config)
    _check_selection(config, state)
    for option in _REPORTS:
        _check_report(f"--{option.replace('_', '-')}", config.getoption(option))
    if state.update and state.known_file is None:
        raise pytest.UsageError("--asgi-known-update needs --asgi-known FILE, which it writes")
    if state.known_file is not None:
        if state.update:
            _check_report("--asgi-known", state.known_file)
        elif not Path(state.known_file).exists():
            raise pytest.UsageError(f"--asgi-known {state.known_file}: there is no such file; --asgi-known-update makes one")
        try:
            state.known = read_known(Path(state.known_file))
        except KnownFileError as error:
            raise pytest.UsageError(f"--asgi-known {error}") from None
    if not config.option.file_or_dir:
        # Whoever names no paths asks for the suite alone.
        config.args = []


def _option_of(argument: object) -> str:
    return str(argument).partition("=")[0]


def _check_targets(config: pytest.Config, state: State) -> None:
    from asgi_conformance.targets import TargetError, find_target  # noqa: PLC0415 - as above

    for asked in config.getoption("asgi_target") or ([] if state.applications else ["asgiserve"]):
        try:
            target = find_target(asked)
        except TargetError as error:
            raise pytest.UsageError(f"--asgi-target {asked}: {error}") from None
        if shutil.which(target.python) is None:
            raise pytest.UsageError(f"--asgi-target {asked}: there is no interpreter {target.python}")
        if target.bind == ("uds",):
            raise pytest.UsageError(f"--asgi-target {asked}: the cases connect by TCP; the command must have {{fd}} or {{port}}")
        if state.targets.setdefault(target.name, asked) != asked:
            raise pytest.UsageError(f"--asgi-target {asked}: there is another target of that name")


def _check_selection(config: pytest.Config, state: State) -> None:
    from asgi_conformance.application.collect import application_cases  # noqa: PLC0415 - as above
    from asgi_conformance.server_collect import server_cases  # noqa: PLC0415 - as above

    there = application_cases(config) | (server_cases() if state.targets else set())
    for pattern in state.select:
        if not fnmatch.filter(there, pattern):
            raise pytest.UsageError(
                f"--asgi-conformance-select {pattern}: this run has no such case; --asgi-conformance --co -q lists those that there are"
            )


def _check_report(option: str, path: str | None) -> None:
    """See now, and not when the run is over, that a report can be written."""
    if path is None:
        return
    file = Path(path)
    try:
        # As --junitxml does it: a run is not lost for a folder that is not there.
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"{option} {path}: {error.strerror}: {error.filename}") from None
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise pytest.UsageError(f"{option} {path}: {'it is a folder' if file.is_dir() else 'it cannot be written'}")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Put the suite beside what the session collects."""
    report = yield
    if isinstance(collector, pytest.Session) and STATE in collector.config.stash and report.passed:
        report.result.append(_Suite.from_parent(collector, name="asgi-conformance", nodeid="asgi-conformance"))
    return report


class _Suite(pytest.Collector):
    """All cases, for all targets."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        from asgi_conformance.application.collect import collect_application  # noqa: PLC0415 - as above
        from asgi_conformance.server_collect import collect_servers  # noqa: PLC0415 - as above

        yield from collect_servers(self, self.config.stash[STATE])
        yield from collect_application(self, self.config.stash[STATE])
        if self.config.stash[STATE].known:
            yield _Known.from_parent(self, name="known-deviations", nodeid="asgi-conformance/known-deviations")


class _Known(pytest.Collector):
    """Known deviations that are about no case; it is the last, and knows all cases."""

    def collect(self) -> Iterator[pytest.Item]:
        from asgi_conformance.items import collect_stale  # noqa: PLC0415 - as above

        yield from collect_stale(self, self.config.stash[STATE])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the reports of the suite's items what they show."""
    report = yield
    if STATE in item.config.stash:
        from asgi_conformance.items import attach  # noqa: PLC0415 - as above

        attach(item, report)
    return report


# Reports; with xdist they are the controller's, who hears of every item.


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix, each verdict that is none of pass, info and unsupported, and the files that were asked for."""
    if STATE not in config.stash or hasattr(config, "workerinput"):
        # A worker of xdist knows its own part only.
        return
    from asgi_conformance.coverage import every_case  # noqa: PLC0415 - as above
    from asgi_conformance.report import collect_results, in_order, write_terminal  # noqa: PLC0415 - as above

    state = config.stash[STATE]
    results = in_order(collect_results(terminalreporter), [*state.targets, *state.applications], [case.id for _, case in every_case()])
    if not results:
        return
    # pytest begins a new line for whoever writes next, else behind the title.
    terminalreporter.ensure_newline()
    terminalreporter.section("ASGI conformance")
    write_terminal(terminalreporter, results)
    for path, write in _reports(config, results):
        try:
            more = write(path)
        except OSError as error:
            terminalreporter.write_line(f"{path} cannot be written: {error.strerror}", red=True)
        else:
            terminalreporter.write_line(f"written to {path}{more}")


def _reports(config: pytest.Config, results: list[Result]) -> Iterator[tuple[str, Callable[[str], str]]]:
    """What was asked for: where to, and what writes it and gives what there is to say of it."""
    from asgi_conformance.known import update_known  # noqa: PLC0415 - as above
    from asgi_conformance.report import markdown, to_json  # noqa: PLC0415 - as above
    from asgi_conformance.report_page import html_page  # noqa: PLC0415 - as above

    state = config.stash[STATE]
    versions = state.versions({result.target for result in results})
    command = shlex.join(["pytest", *config.invocation_params.args])
    if path := config.getoption("asgi_conformance_json"):
        yield path, _writer(lambda: json.dumps(to_json(results, versions, command), indent=1) + "\n")
    if path := config.getoption("asgi_conformance_html"):
        yield path, _writer(lambda: html_page(to_json(results, versions, command)))
    if path := config.getoption("asgi_conformance_markdown"):
        yield path, _writer(lambda: markdown(results, versions))
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        yield path, _writer(lambda: markdown(results, versions), mode="a")
    if state.update and state.known_file is not None:
        verdicts = {(result.target, result.case): result.verdict for result in results}
        yield state.known_file, lambda path: f": {update_known(Path(path), verdicts)} known deviations"


def _writer(text: Callable[[], str], mode: str = "w") -> Callable[[str], str]:
    def write(path: str) -> str:
        with Path(path).open(mode, encoding="utf-8") as file:
            file.write(text())
        return ""

    return write


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing of a target outlives the run."""
    if STATE in config.stash:
        from asgi_conformance.application.collect import close_application  # noqa: PLC0415 - as above

        close_application(config)
        config.stash[STATE].close()
