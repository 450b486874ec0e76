"""What a request costs: asgiserve beside uvicorn, granian, hypercorn, daphne and gunicorn's ASGI worker, in one interleaved run.

    pip install -e . --group bench
    apt install wrk
    python bench/speed.py [--servers asgiserve,uvicorn] [--workloads plain,browser] [--rounds 5] [--seconds 2] [--python PATH] [--quick] [--write]

Each workload is put to each server in each round; the order is shuffled, and servers and load generator have a core each. What is measured is the CPU
time of the server's processes per request, which hardly depends on the load generator, and the requests per second. ``--write`` puts the tables, the
samples and the picture into bench/results/. ``--redraw`` makes tables and picture again from the samples that are there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from bench.figures import OURS, Contender, Report, Row, Sample, tables
from bench.load import started
from bench.machine import Cores, Progress, choose_cores, describe_machine, python_version
from bench.picture import draw
from bench.servers import PEERS, ROOT, Server, TargetError, installed, running, unavailable, versions
from bench.workloads import NUMBER, WORKLOADS, Workload, check_answer
from bench.wrk import MISSING, Load, find_wrk, run_wrk

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")

RESULTS: Final = ROOT / "bench" / "results"
WARM_UP_SECONDS: Final = 0.5
KEEP_ALIVE_SECONDS: Final = 60
# More than 1,000 connections and what the server has open itself.
DESCRIPTORS: Final = 4096
# gunicorn's own limit of connections is 1,000, which the idle ones and a check exceed.
OPTIONS: Final = {"gunicorn": ("--worker-connections", "2000")}
# As many requests as bring a server into the state in which it is measured idle.
IDLE_WARM_UP: Final = 10


class Entry(NamedTuple):
    """A contender: ``name`` as `bench.servers.running` has it."""

    label: str
    name: str
    python: str


class Given(NamedTuple):
    """What is measured, and how."""

    entries: list[Entry]
    workloads: list[Workload]
    rounds: int
    seconds: float
    cores: Cores
    wrk: str | None


def main() -> None:
    """Measure, print, and write where that is asked for."""
    options = _parse()
    try:
        report = _read(options.redraw) if options.redraw else measure_all(options)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print("\n".join(tables(report)))
    if folder := options.write or options.redraw:
        _write(report, folder)


def measure_all(options: argparse.Namespace) -> Report:
    """The whole run."""
    left_out: list[str] = []
    wrk = find_wrk()
    entries = _entries(options, left_out)
    workloads = _workloads(options, entries, wrk, left_out)
    for text in left_out:
        print(f"left out: {text}", file=sys.stderr)
    if not entries or not workloads:
        raise SystemExit("there is nothing left to measure")
    cores = choose_cores()
    # This process and all load generators; the servers are told another core when they are started.
    os.sched_setaffinity(0, {cores.load})
    given = Given(entries, workloads, options.rounds, options.seconds, cores, wrk)
    report = _empty_report(given, left_out, options)
    progress = Progress(given.rounds * len(entries) * len(workloads))
    with tempfile.TemporaryDirectory(prefix="asgiserve-bench-") as folder:
        certificate = _make_certificate(Path(folder)) if any(workload.tls for workload in workloads) else None
        for number in range(given.rounds):
            for group in _groups(workloads):
                _measure_group(given, group, number, report=report, certificate=certificate, progress=progress)
    progress.end()
    return report


def _measure_group(
    given: Given, group: list[Workload], number: int, *, report: Report, certificate: tuple[str, str] | None, progress: Progress
) -> None:
    """One round of the workloads that are done by the same processes, which are started for it and stopped behind it."""
    with contextlib.ExitStack() as resources:
        servers: dict[str, Server | str] = {}
        for entry in _shuffled(given.entries):
            try:
                servers[entry.label] = resources.enter_context(_start(entry, group[0], given.cores, certificate))
            except TargetError as error:
                servers[entry.label] = " ".join(str(error).split())[:300]
        for workload in _shuffled(group):
            for entry in _shuffled(given.entries):
                progress.step(f"round {number + 1} of {given.rounds}: {workload.title}, {entry.label}")
                server = servers[entry.label]
                sample = Sample(problem=server) if isinstance(server, str) else measure(workload, server, given)
                report.samples[workload.name][entry.label].append(sample)


def _start(entry: Entry, workload: Workload, cores: Cores, certificate: tuple[str, str] | None) -> contextlib.AbstractContextManager[Server]:
    if reason := _missing_for(workload, entry):
        raise TargetError(reason)
    return running(
        entry.name,
        workload.app,
        options=OPTIONS.get(entry.name, ()),
        settings={"keep_alive": KEEP_ALIVE_SECONDS},
        access_log=workload.access_log,
        cpu=cores.server,
        tls=certificate if workload.tls else None,
        nofile=DESCRIPTORS if workload.load == "idle" else None,
        python=entry.python,
    )


def measure(workload: Workload, server: Server, given: Given) -> Sample:
    """One sample: check, warm up, measure."""
    # Of a WebSocket each echo is compared.
    if workload.load != "websocket" and (problem := check_answer(workload, server)):
        return Sample(problem=f"wrong answer: {problem}")
    try:
        if workload.load == "idle":
            return _measure_idle(workload, server)
        if workload.load == "websocket":
            cpu, load = _measure_websocket(workload, server, given.seconds)
        else:
            cpu, load = _measure_wrk(workload, server, given)
    except (RuntimeError, ValueError, OSError) as error:
        return Sample(problem=f"{type(error).__name__}: {error}")
    if not server.alive:
        return Sample(problem=f"the server ended with status {server.exit_status}")
    if load.problem or not load.requests:
        return Sample(requests=load.requests, problem=load.problem or "no answer")
    return Sample(cpu * 1e6 / load.requests, load.requests / load.seconds, cpu / load.seconds, load.cpu_seconds / load.seconds, load.requests)


def _measure_wrk(workload: Workload, server: Server, given: Given) -> tuple[float, Load]:
    if given.wrk is None:
        raise RuntimeError(MISSING)
    url = f"http{'s' if server.tls else ''}://127.0.0.1:{server.port}{workload.path}"
    lines = 0
    cpu = 0.0
    load = Load(0, 0.0)
    for seconds in (min(WARM_UP_SECONDS, given.seconds), given.seconds):
        lines, cpu = server.logged_lines, server.cpu_seconds()
        load = run_wrk(
            given.wrk,
            url,
            seconds=seconds,
            connections=workload.connections,
            method=workload.method,
            body=workload.body,
            fields=workload.fields,
            number=NUMBER if workload.varied else "",
        )
        cpu = server.cpu_seconds() - cpu
    if not load.problem and load.received < load.requests * len(workload.expected):
        load = load._replace(problem="the answers were too short")
    # The lines of the last requests may come a moment behind their answers.
    if not load.problem and workload.access_log and (logged := server.logged_lines - lines) < load.requests - workload.connections:
        load = load._replace(problem=f"{logged} lines in the access log for {load.requests} requests")
    return cpu, load


def _measure_websocket(workload: Workload, server: Server, seconds: float) -> tuple[float, Load]:
    with started("websocket", server.port, workload.connections, workload.size) as generator:
        generator.wait_ready()
        generator.echo(min(WARM_UP_SECONDS, seconds))
        cpu = server.cpu_seconds()
        load = generator.echo(seconds)
        return server.cpu_seconds() - cpu, load


def _measure_idle(workload: Workload, server: Server) -> Sample:
    for _ in range(IDLE_WARM_UP):
        check_answer(workload, server)
    before = server.rss_bytes()
    with started("idle", server.port, workload.connections) as generator:
        generator.wait_ready()
        after = server.rss_bytes()
        still_open = generator.count_open()
    problem = "" if still_open == workload.connections else f"the server closed {workload.connections - still_open} of them"
    return Sample((after - before) / workload.connections / 1024, requests=still_open, problem=problem)


# What is asked for.


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=_names, default=list(PEERS), metavar="NAMES", help=f"with commas between (default {','.join(PEERS)})")
    known = [workload.name for workload in WORKLOADS]
    parser.add_argument("--workloads", type=_names, default=known, metavar="NAMES", help=f"with commas between (default {','.join(known)})")
    parser.add_argument("--rounds", type=int, help="how often each is measured (default 5)")
    parser.add_argument("--seconds", type=float, help="how long each time, after a warm-up (default 2)")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="measure asgiserve in this Python too; may be given several times"
    )
    parser.add_argument("--quick", action="store_true", help="1 round of 0.5 s: whether all of it works, no figures to show")
    for name, text in (
        ("--write", "write speed.md, speed.json and speed.svg to the folder (by default bench/results)"),
        ("--redraw", "measure nothing; make speed.md and speed.svg again from the speed.json that is there"),
    ):
        parser.add_argument(name, nargs="?", type=Path, const=RESULTS, metavar="FOLDER", help=text)
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    if unknown := [name for name in options.workloads if name not in known]:
        parser.error(f"there is no workload {unknown[0]!r}; there are {', '.join(known)}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be more than 0")
    return options


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _entries(options: argparse.Namespace, left_out: list[str]) -> list[Entry]:
    entries = [Entry(name, name, sys.executable) for name in options.servers]
    # Beside ours.
    place = next((number for number, entry in enumerate(entries, 1) if entry.name == OURS), len(entries))
    entries[place:place] = [Entry(f"{OURS} {_minor(python)}", OURS, python) for python in options.python]
    found = []
    for entry in entries:
        try:
            reason = unavailable(entry.name, entry.python)
        except TargetError as error:
            raise SystemExit(f"{entry.name}: {error}") from None
        if reason:
            left_out.append(f"{entry.label}: {reason}")
        else:
            found.append(entry)
    return found


def _workloads(options: argparse.Namespace, entries: list[Entry], wrk: str | None, left_out: list[str]) -> list[Workload]:
    found = []
    for workload in WORKLOADS:
        if workload.name not in options.workloads:
            continue
        if workload.load == "wrk" and wrk is None:
            left_out.append(f"{workload.title}: {MISSING}")
        elif workload.tls and (missing := unavailable(OURS, modules=["trustme"])):
            left_out.append(f"{workload.title}: {missing}")
        elif entries and all(reasons := [_missing_for(workload, entry) for entry in entries]):
            left_out.append(f"{workload.title}: {reasons[0]}")
        else:
            found.append(workload)
    return found


def _missing_for(workload: Workload, entry: Entry) -> str:
    """Why the workload's application cannot be imported by the contender, or ""."""
    return unavailable(entry.name, entry.python, workload.needs)


def _groups(workloads: list[Workload]) -> list[list[Workload]]:
    found: dict[tuple[str, bool, bool, bool], list[Workload]] = {}
    for workload in workloads:
        found.setdefault(workload.group, []).append(workload)
    return _shuffled(list(found.values()))


def _shuffled(things: Sequence[_T]) -> list[_T]:
    return random.sample(things, len(things))


# What is said of it.


def _empty_report(given: Given, left_out: list[str], options: argparse.Namespace) -> Report:
    return Report(
        rows=[Row(workload.name, workload.title, "KiB" if workload.load == "idle" else "µs") for workload in given.workloads],
        contenders=[
            Contender(entry.label, versions([entry.name], entry.python)[entry.name], python_version(entry.python)) for entry in given.entries
        ],
        rounds=given.rounds,
        seconds=given.seconds,
        machine=describe_machine(),
        cores=str(given.cores),
        cores_apart=given.cores.apart,
        software=_software(given.wrk),
        command=_command(options),
        samples={workload.name: {entry.label: [] for entry in given.entries} for workload in given.workloads},
        left_out=left_out,
    )


def _software(wrk: str | None) -> str:
    names = installed()
    if wrk is not None:
        # It says its version with its usage, and ends with status 1.
        said = subprocess.run([wrk, "-v"], capture_output=True, text=True, check=False, timeout=10).stdout.split()
        names["wrk"] = said[1] if len(said) > 1 else "?"
    return ", ".join(f"{name} {version}" for name, version in names.items())


def _command(options: argparse.Namespace) -> str:
    """How to do it again; what is as by default is left out, and so are somebody's folders."""
    parts = ["python", "bench/speed.py", "--rounds", str(options.rounds), "--seconds", f"{options.seconds:g}"]
    if options.servers != list(PEERS):
        parts += ["--servers", ",".join(options.servers)]
    if options.workloads != [workload.name for workload in WORKLOADS]:
        parts += ["--workloads", ",".join(options.workloads)]
    for python in options.python:
        parts += ["--python", f"python{_minor(python)}"]
    return shlex.join([*parts, "--write"] if options.write else parts)


def _read(folder: Path) -> Report:
    return Report.from_json(json.loads((folder / "speed.json").read_text(encoding="utf-8")))


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    lines = tables(report)
    text = "\n".join([*lines[:2], "![The same as a picture](speed.svg)", "", *lines[2:]]) + "\n"
    (folder / "speed.md").write_text(text, encoding="utf-8")
    (folder / "speed.svg").write_text(draw(report), encoding="utf-8")
    (folder / "speed.json").write_text(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nwritten: speed.md, speed.json and speed.svg in {folder.name}/", file=sys.stderr)


def _minor(python: str) -> str:
    """``3.13``."""
    return ".".join(python_version(python).rpartition(" ")[2].split(".")[:2])


def _make_certificate(folder: Path) -> tuple[str, str]:
    """A certificate and its key, as anybody's test has them: ECDSA on P-256."""
    import trustme  # noqa: PLC0415 - without it there is no TLS workload, and all others

    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    paths = folder / "certificate.pem", folder / "key.pem"
    issued.private_key_pem.write_to_path(paths[1])
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(paths[0], append=number > 0)
    return str(paths[0]), str(paths[1])


if __name__ == "__main__":
    main()
