"""User-space instructions per request, counted by valgrind's callgrind: exact where time is noisy.

    pip install -e . --group bench
    apt install valgrind
    python bench/instructions.py [--servers asgiserve,uvicorn] [--request plain,browser] [--python PATH] [--top 30] [--write]

Each server runs under callgrind with the applications of bench/apps.py and bench/fastapi_app.py. For each kind of request one keep-alive connection
makes requests one after another. What the first ones cost (imports, caches) is not counted; what the next ones cost is divided by their number. All
processes and threads of a server count. ``--top`` shows where the instructions went, function by function of the interpreter and its libraries.
``--write`` puts the tables into bench/results/.

The law of this module: an answer that is not the right one makes the cell say so instead of a figure.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.figures import OURS, align
from bench.machine import Progress, describe_machine, python_version
from bench.servers import ROOT, Server, TargetError, installed, running, unavailable, versions
from bench.workloads import NUMBER, WORKLOADS, Workload, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["CONTENDERS", "REQUESTS", "Contender", "Profile", "encode", "main", "read_profile", "tables", "top_lines"]

RESULTS: Final = ROOT / "bench" / "results"
FILE: Final = "instructions.md"
MISSING: Final = "valgrind is not installed: apt install valgrind"


class Contender(NamedTuple):
    """A server as it is measured: ``name`` as `bench.servers.running` has it."""

    name: str
    access_log: bool = False


CONTENDERS: Final[Mapping[str, Contender]] = {
    OURS: Contender("asgiserve"),
    "asgiserve-log": Contender("asgiserve", access_log=True),
    "asgiserve-h11": Contender("asgiserve[h11]"),
    "uvicorn": Contender("uvicorn"),
    "granian": Contender("granian"),
    "hypercorn": Contender("hypercorn"),
    "daphne": Contender("daphne"),
    "gunicorn": Contender("gunicorn"),
}
_NAMES: Final = {
    "plain": "plain",
    "browser": "browser",
    "browser-varied": "browser-varied",
    "upload": "upload",
    "stream": "stream",
    "json": "fastapi",
}
REQUESTS: Final[Mapping[str, Workload]] = {request: workload for request, name in _NAMES.items() for workload in WORKLOADS if workload.name == name}
"""What is asked for, by the names of ``--request``."""

# Under callgrind a server is about fifty times slower, and what it imports as well.
START_SECONDS: Final = 240.0
ANSWER_SECONDS: Final = 60.0
DUMP_SECONDS: Final = 60.0
KEEP_ALIVE_SECONDS: Final = 60
# Some servers close a connection after a thousand requests; what a new one costs is no request's.
MOST_REQUESTS: Final = 990


class Profile(NamedTuple):
    """What callgrind counted in a process: all of it, and each function without those that it called."""

    instructions: int
    functions: Mapping[str, int]


Cell = Profile | str
"""Per request; or what went wrong."""


class Given(NamedTuple):
    """What is measured, and how."""

    pythons: Sequence[str]
    servers: Sequence[str]
    requests: Sequence[str]
    warm_up: int
    number: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print, and write where that is asked for. The exit status is 1 where nothing was counted, 2 where that cannot be."""
    options = _parse(arguments)
    if shutil.which("valgrind") is None or shutil.which("vgdb") is None:
        print(MISSING, file=sys.stderr)
        return 2
    given = Given(options.python or [sys.executable], options.servers, options.request, options.warm_up, options.requests)
    lines = ["# Instructions", ""]
    counted = False
    progress = Progress(len(given.pythons) * len(given.servers) * len(given.requests))
    for python in given.pythons:
        found = {(label, request): cell for label in given.servers for request, cell in _count(label, python, given, progress).items()}
        counted |= any(isinstance(cell, Profile) for cell in found.values())
        lines += [
            f"## {python_version(python)}: user-space instructions per request; less is better",
            "",
            *tables(given.servers, given.requests, found),
        ]
        lines += [*(_top(found, options.top) if options.top else ()), *_versions(given.servers, python), ""]
    progress.end()
    lines += _how(given, options)
    print("\n".join(lines))
    if options.write and counted:
        options.write.mkdir(exist_ok=True)
        (options.write / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"\nwritten: {FILE} in {options.write.name}/", file=sys.stderr)
    return 0 if counted else 1


# Counting.


def _count(label: str, python: str, given: Given, progress: Progress) -> dict[str, Cell]:
    """Each request of one server, of which one process serves those with the same application."""
    found: dict[str, Cell] = {}
    for app in dict.fromkeys(REQUESTS[request].app for request in given.requests):
        requests = [request for request in given.requests if REQUESTS[request].app == app]
        try:
            with contextlib.ExitStack() as resources:
                folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="asgiserve-bench-", ignore_cleanup_errors=True)))
                server = resources.enter_context(_running(CONTENDERS[label], python, REQUESTS[requests[0]], folder))
                for request in requests:
                    progress.step(f"{label}: {REQUESTS[request].title}")
                    found[request] = _measure(server, REQUESTS[request], folder, given)
        except (TargetError, OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
            problem = " ".join(str(error).split())[:300] if isinstance(error, TargetError) else f"{type(error).__name__}: {error}"
            found |= {request: problem for request in requests if request not in found}
    return found


def _running(contender: Contender, python: str, workload: Workload, folder: Path) -> contextlib.AbstractContextManager[Server]:
    if reason := unavailable(contender.name, python, workload.needs):
        raise TargetError(reason)
    # What vgdb leaves behind of a process that was killed goes with the folder.
    valgrind = [shutil.which("valgrind") or "valgrind", "--tool=callgrind", "--trace-children=yes", "--quiet", f"--vgdb-prefix={folder}/vgdb"]
    return running(
        contender.name,
        workload.app,
        settings={"keep_alive": KEEP_ALIVE_SECONDS},
        access_log=contender.access_log,
        python=python,
        prefix=[*valgrind, f"--callgrind-out-file={folder}/out.%p", "--dump-line=no"],
        ready_path=workload.path,
        ready_seconds=START_SECONDS,
    )


def _measure(server: Server, workload: Workload, folder: Path, given: Given) -> Cell:
    with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_SECONDS) as connection:
        if problem := _make_requests(connection, workload, range(given.warm_up), server.port):
            return problem
        # Written and thrown away: after callgrind's "zero" some three million instructions of the time before are counted still.
        _dump(server, folder)
        if problem := _make_requests(connection, workload, range(given.warm_up, given.warm_up + given.number), server.port):
            return problem
        profiles = [read_profile(text) for text in _dump(server, folder)]
    functions: collections.Counter[str] = collections.Counter()
    for profile in profiles:
        functions.update(profile.functions)
    total = sum(profile.instructions for profile in profiles)
    if not total:
        return "callgrind counted nothing"
    return Profile(round(total / given.number), {name: round(value / given.number) for name, value in functions.items()})


def _dump(server: Server, folder: Path) -> list[str]:
    """What each process of the server counted since the last time."""
    for pid in server.pids():
        command = [shutil.which("vgdb") or "vgdb", f"--vgdb-prefix={folder}/vgdb", f"--pid={pid}", "dump"]
        # It ends when the file is written.
        subprocess.run(command, check=True, capture_output=True, timeout=DUMP_SECONDS)
    texts = []
    for path in folder.glob("out.*"):
        texts.append(path.read_text(encoding="utf-8", errors="replace"))
        path.unlink()
    return texts


def _make_requests(connection: socket.socket, workload: Workload, numbers: Iterable[int], port: int) -> str:
    """Make requests, each after the answer to the one before; what was wrong with an answer, or ""."""
    for number in numbers:
        connection.sendall(encode(workload, number, port))
        with contextlib.closing(http.client.HTTPResponse(connection, method=workload.method)) as response:
            response.begin()
            if problem := problem_of(workload, response, response.read()):
                return f"wrong answer: {problem}"
    return ""


def encode(workload: Workload, number: int, port: int) -> bytes:
    """A request, with ``number`` in it where the workload is varied."""
    lines = [f"{workload.method} {workload.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {text}" for name, text in workload.fields.items())]
    if workload.body:
        lines.append(f"Content-Length: {len(workload.body)}")
    head = "\r\n".join([*lines, "", ""])
    return (head.replace(NUMBER, f"{number:08d}") if workload.varied else head).encode("ascii") + workload.body


def read_profile(text: str) -> Profile:
    """One of callgrind's dumps."""
    names: dict[str, str] = {}
    taken: collections.Counter[str] = collections.Counter()
    function, called, total = "", False, 0
    for line in text.splitlines():
        if match := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line):
            # A name is said once; later its number stands for it.
            names.setdefault(match[2], match[3] or match[2])
            if not match[1]:
                function = match[2]
        elif line.startswith("calls="):
            called = True
        elif line.startswith("totals:"):
            total = int(line.split()[1])
        elif line[:1] in _COST_LINES:
            # The line behind a call says what was taken by the function that was called, which has lines of its own.
            if not called:
                taken[function] += int(line.split()[1])
            called = False
    functions: collections.Counter[str] = collections.Counter()
    for key, instructions in taken.items():
        # A function that is called from within itself has a name for each depth that is told apart: "f", "f'2".
        functions[re.sub(r"'\d+$", "", names[key])] += instructions
    return Profile(total, functions)


_COST_LINES: Final = frozenset("0123456789+-*")


# What is said of it.


def tables(servers: Sequence[str], requests: Sequence[str], found: Mapping[tuple[str, str], Cell]) -> list[str]:
    """The figures, the ratios, and what went wrong."""
    problems: list[str] = []
    body = []
    for request in requests:
        cells = []
        for label in servers:
            cell = found[label, request]
            if isinstance(cell, str):
                if (text := f"{label}: {cell}") not in problems:
                    problems.append(text)
                cells.append(f"[{problems.index(text) + 1}]")
            else:
                cells.append(f"{cell.instructions:,}")
        body.append([REQUESTS[request].title, *cells])
    lines = [*align(["", *servers], body), ""]
    others = [label for label in servers if label != OURS]
    if OURS in servers and others:
        ratios = [[REQUESTS[request].title, *(_ratio(found[OURS, request], found[label, request]) for label in others)] for request in requests]
        lines += ["As ratios: below 1 asgiserve takes less.", "", *align(["asgiserve divided by", *others], ratios), ""]
    if problems:
        lines += [*(f"- [{number}] {text}" for number, text in enumerate(problems, 1)), ""]
    return lines


def _ratio(ours: Cell, theirs: Cell) -> str:
    return "-" if isinstance(ours, str) or isinstance(theirs, str) else f"{ours.instructions / theirs.instructions:.2f}"


def top_lines(profile: Profile, number: int) -> list[str]:
    """The functions that took most."""
    return [f"{instructions:10,}  {name}" for name, instructions in collections.Counter(profile.functions).most_common(number)]


def _top(found: Mapping[tuple[str, str], Cell], number: int) -> list[str]:
    lines = []
    for (label, request), cell in found.items():
        if isinstance(cell, Profile):
            lines += [f"{label}, {REQUESTS[request].title}: the functions that took most, without those that they called.", ""]
            lines += ["```text", *top_lines(cell, number), "```", ""]
    return lines


def _versions(servers: Sequence[str], python: str) -> list[str]:
    names = dict.fromkeys(CONTENDERS[label].name.partition("[")[0] for label in servers if not unavailable(CONTENDERS[label].name, python))
    return [f"Versions: {', '.join(f'{name} {version}' for name, version in {**versions(names, python), **installed(python=python)}.items())}."]


def _how(given: Given, options: argparse.Namespace) -> list[str]:
    said = subprocess.run([shutil.which("valgrind") or "valgrind", "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    return [
        "## How it was counted",
        "",
        f"- {said.strip()}, tool callgrind: instructions of all processes and threads of a server, libraries included, the kernel's not.",
        f"- On one keep-alive connection, one request after another: {given.warm_up} that are not counted, then {given.number} that are.",
        "- One worker, uvloop and httptools where the server can use them, access log off but in `asgiserve-log`, which writes it to a file;",
        "  log level warning, keep-alive time-out 60 s; all else as the server has it by default. `asgiserve-h11` has h11 instead of httptools.",
        "- Every answer is compared with the right one, byte for byte.",
        f"- Machine: {describe_machine()}. The figures depend on it little: on what the C library chooses for its CPU.",
        "",
        f"`{_command(given, options)}`",
    ]


def _command(given: Given, options: argparse.Namespace) -> str:
    """How to do it again; what is as by default is left out, and so are somebody's folders."""
    parts = ["python", "bench/instructions.py"]
    if list(given.servers) != list(CONTENDERS):
        parts += ["--servers", ",".join(given.servers)]
    if list(given.requests) != list(REQUESTS):
        parts += ["--request", ",".join(given.requests)]
    for python in options.python:
        parts += ["--python", "python" + ".".join(python_version(python).rpartition(" ")[2].split(".")[:2])]
    parts += ["--requests", str(given.number), "--warm-up", str(given.warm_up)]
    if options.top:
        parts += ["--top", str(options.top)]
    return shlex.join([*parts, "--write"] if options.write else parts)


# What is asked for.


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, known in (("--servers", CONTENDERS), ("--request", REQUESTS)):
        text = f"with commas between, or several times (default {','.join(known)})"
        parser.add_argument(option, type=_names, action="extend", default=[], metavar="NAMES", help=text)
    parser.add_argument("--requests", type=int, default=400, metavar="N", help="how many are counted (default 400)")
    parser.add_argument("--warm-up", type=int, default=400, metavar="N", help="how many come before (default 400)")
    text = "run the servers with this Python; may be given several times (default: the one that runs this)"
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help=text)
    parser.add_argument("--top", type=int, default=0, metavar="N", help="show the N functions that took most")
    text = f"write {FILE} to the folder (by default bench/results)"
    parser.add_argument("--write", nargs="?", type=Path, const=RESULTS, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    options.servers = list(dict.fromkeys(options.servers)) or list(CONTENDERS)
    options.request = list(dict.fromkeys(options.request)) or list(REQUESTS)
    for given, known in ((options.servers, CONTENDERS), (options.request, REQUESTS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"there is no {unknown[0]!r}; there are {', '.join(known)}")
    if options.requests < 1 or options.warm_up < 0 or options.requests + options.warm_up > MOST_REQUESTS:
        parser.error(f"--requests must be more than 0, and with --warm-up at most {MOST_REQUESTS}: some servers close a connection after 1,000")
    return options


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
