#!/usr/bin/env python3
"""The two commands of this project; they need Python 3.11 or newer with pip, and set up everything else in .venv by themselves.

usage: python3 run.py example [options of asgiserve]
           serve examples/hello.py and print the URL to open
       python3 run.py test [--only-this-python] [arguments of pytest]
           ruff, mypy, pytest with branch coverage, and the conformance suite on asgiserve and on the example;
           then pytest alone on the other supported Pythons that are on the PATH
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from tools.venvs import ROOT, SUPPORTED, SetupError, other_pythons, prepare, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["main"]

WORKERS = "4"
"""Twice the cores of a small machine: half of the time of the tests is waiting, for a server or for a time-out of its."""
DISTRIBUTION = ("--dist", "worksteal")
"""A worker that is done takes over what another has not begun. Else tests are dealt by number, and one worker ended a minute after the other."""
SERVERS = ("--asgi-target", "asgiserve[httptools]", "--asgi-target", "asgiserve[h11]")
EXAMPLE = ("--asgi-app", "examples.hello:app", "--asgi-app-paths", "/,/json,/stream,POST /upload,ws:/ws")
COLOURS = {"ok": "32", "FAILED": "31", "skipped": "33", "heading": "1"}


class Result(NamedTuple):
    """How one step of the test command went."""

    status: str
    step: str
    seconds: float
    note: str = ""


def paint(text: str, colour: str) -> str:
    """``text`` in ``colour``, on a terminal and unless NO_COLOR is set."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def example(arguments: Sequence[str]) -> int:
    """Serve the example; asgiserve says where, and Ctrl+C is its business alone."""
    python, _ = prepare(ROOT / ".venv", development=False)
    argv = [str(python), "-m", "asgiserve", "examples.hello:app", *arguments]
    os.chdir(ROOT)
    if os.name != "nt":
        os.execv(python, argv)  # noqa: S606 - this process becomes the server, so that signals reach it and nobody else
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.call(argv)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_arguments(arguments: Sequence[str], *, parallel: bool, coverage: bool) -> list[str]:
    """The command line of pytest; what the user gives comes last and so wins."""
    workers = ["-n", WORKERS, *DISTRIBUTION] if parallel else []
    return ["-m", "pytest", *workers, *(["--cov", "--cov-report=term"] if coverage else []), *arguments]


def conformance_arguments(*about: str, parallel: bool) -> list[str]:
    """The command line of a conformance run, in which a SHOULD that is not met fails too."""
    return ["-m", "pytest", "-q", *(["-n", WORKERS] if parallel else []), "--asgi-conformance", "--asgi-strict", *about]


def run_step(step: str, argv: Sequence[str | Path]) -> Result:
    """Run one tool with its output shown."""
    say(paint(f"\n--- {step}", "heading"))
    started = time.monotonic()
    status = subprocess.call(argv, cwd=ROOT)
    return Result("FAILED" if status else "ok", step, time.monotonic() - started, f"exit status {status}" if status else "")


def test(arguments: Sequence[str], *, only_this: bool) -> int:
    """Run every check, also after one failed; 0 if all passed."""
    python, version = prepare(ROOT / ".venv", development=True)
    parallel = cores() > 1
    results = [
        run_step("ruff check", [python, "-m", "ruff", "check"]),
        run_step("ruff format --check", [python, "-m", "ruff", "format", "--check"]),
        run_step("mypy --strict", [python, "-m", "mypy"]),
        run_step(f"pytest, Python {version}", [python, *pytest_arguments(arguments, parallel=parallel, coverage=True)]),
        run_step("conformance of asgiserve", [python, *conformance_arguments(*SERVERS, parallel=parallel)]),
        run_step("conformance of the example", [python, *conformance_arguments(*EXAMPLE, parallel=parallel)]),
    ]
    others = {} if only_this else other_pythons(version)
    for other, base in others.items():
        step = f"pytest, Python {other}"
        try:
            interpreter, _ = prepare(ROOT / f".venv-{other}", base=base, development=True)
        except SetupError as error:
            results.append(Result("FAILED", step, 0, str(error)))
        else:
            results.append(run_step(step, [interpreter, *pytest_arguments(arguments, parallel=parallel, coverage=False)]))
    for missing in SUPPORTED:
        if missing != version and missing not in others:
            why = "--only-this-python" if only_this else f"no working python{missing} on the PATH"
            results.append(Result("skipped", f"pytest, Python {missing}", 0, why))
    say(paint("\n--- summary", "heading"))
    for line in summary(results):
        say(line)
    return 1 if any(result.status == "FAILED" for result in results) else 0


def summary(results: Sequence[Result]) -> list[str]:
    """One line a step."""
    width = max(len(result.step) for result in results)
    lines = []
    for status, step, seconds, note in results:
        took = f"{seconds:7.1f} s" if status != "skipped" else " " * 9
        lines.append(f"{paint(f'{status:7}', status)}  {step:{width}}  {took}  {note}".rstrip())
    return lines


def main(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name; the exit status."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    if sys.version_info < (3, 11):  # noqa: UP036 - who has an older one gets a line, not a traceback later
        say(f"run.py: this is Python {sys.version.split()[0]} ({sys.executable}); asgiserve needs 3.11 or newer")
        return 1
    try:
        if command == "example":
            status = example(rest)
        elif command == "test":
            status = test([argument for argument in rest if argument != "--only-this-python"], only_this="--only-this-python" in rest)
        else:
            say((__doc__ or "").strip())
            status = 0 if command in {"-h", "--help"} else 2
    except SetupError as error:
        say(f"run.py: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nrun.py: stopped")
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
