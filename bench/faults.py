"""Load and faults: what a server does when its clients are slow, silent, too many, or gone. asgiserve beside the others.

    pip install -e . --group bench --group conformance
    python bench/faults.py [--servers asgiserve,uvicorn] [--scenarios slow-heads,idle] [--quick] [--write]

One server at a time, with one worker, on one core; the clients are on the other. Everything is bounded in count and in time, and on 127.0.0.1 alone.
Each figure that has a target says whether it is met. A server that ends has "died" for the figures that it did not live to see. ``--write`` puts the
tables into bench/results/.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import fault_aborts, fault_complexity, fault_overload, fault_slow
from bench.fault_crowd import raise_descriptor_limit
from bench.fault_table import section
from bench.fault_trial import FULL, QUICK, Died, Trial
from bench.machine import choose_cores, describe_machine, python_version
from bench.servers import PEERS, ROOT, TargetError, available, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.fault_table import Scenario, Value
    from bench.fault_trial import Sizes

SCENARIOS: Final = (*fault_slow.SCENARIOS, *fault_aborts.SCENARIOS, *fault_overload.SCENARIOS, *fault_complexity.SCENARIOS)
RESULT: Final = Path("bench") / "results" / "faults.md"

_SPARE_DESCRIPTORS: Final = 400


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write where that is asked for. The exit status is 1 where nothing could be measured."""
    given = _parser().parse_args(arguments)
    names = _chosen(given.servers, PEERS, "server")
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in _chosen(given.scenarios, [found.name for found in SCENARIOS], "scenario")]
    usable, reasons = available(names)
    for reason in reasons.values():
        print(f"left out: {reason}", file=sys.stderr)
    if not usable:
        return 1
    sizes, remarks = _sizes(given)
    cpu = _split_cores()
    if cpu is None:
        remarks.append("There is one core: the clients share it with the server, and times say little.")
    began = time.monotonic()
    results = run(scenarios, usable, sizes, cpu)
    command = f"python bench/faults.py {shlex.join(sys.argv[1:] if arguments is None else arguments)}".strip()
    text = report(scenarios, results, versions(usable), command=command, seconds=time.monotonic() - began, remarks=remarks)
    print(text)
    if given.write:
        path = ROOT / RESULT
        path.write_text(text + "\n", encoding="utf-8")
        values = {
            "command": command,
            "machine": describe_machine(),
            "python": python_version(),
            "versions": versions(usable),
            "sizes": dataclasses.asdict(sizes),
            "results": results,
        }
        path.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


def run(scenarios: Sequence[Scenario], names: Sequence[str], sizes: Sizes, cpu: int | None) -> dict[str, dict[str, dict[str, Value]]]:
    """Each scenario against each server; figures by scenario and server."""
    results: dict[str, dict[str, dict[str, Value]]] = {}
    left = sum(scenario.seconds for scenario in scenarios) * len(names) if sizes == FULL else 0.0
    for scenario in scenarios:
        results[scenario.name] = {}
        for name in names:
            _say(f"{scenario.name}: {name}" + (f", about {max(round(left / 60), 1)} min left" if left > 0 else ""))
            trial = Trial(name=name, sizes=sizes, cpu=cpu, say=_say)
            _attempt(scenario, trial)
            results[scenario.name][name] = {row.key: trial.figures[row.key] for row in scenario.rows if row.key in trial.figures}
            left -= scenario.seconds
    return results


def _attempt(scenario: Scenario, trial: Trial) -> None:
    """Run it. Whatever the server does to us is a result too: nothing of it ends the command."""
    word = "died"
    try:
        scenario.run(trial)
        return
    except Died as died:
        _say(str(died))
    except (TargetError, OSError, http.client.HTTPException, ValueError) as error:
        word = "failed"
        _say(f"{scenario.name}: {trial.name}: {type(error).__name__}: {error}")
    for row in scenario.rows:
        trial.figures.setdefault(row.key, word)


def report(
    scenarios: Sequence[Scenario],
    results: Mapping[str, Mapping[str, Mapping[str, Value]]],
    found: Mapping[str, str],
    *,
    command: str,
    seconds: float,
    remarks: Sequence[str] = (),
) -> str:
    """All tables, and how they came to be; Markdown."""
    lines = ["# Load and faults", ""]
    for scenario in scenarios:
        lines += section(scenario, results[scenario.name], found)
    lines += [
        "One worker, one core for the server and another for the clients; access log off, defaults for the rest where nothing else is said. Memory",
        "is the proportional set size of all of a server's processes. One run: a figure near its target may fall on the other side the next time.",
        "",
        *(f"{remark}\n" for remark in remarks),
        f"{python_version()}; {describe_machine()}. {seconds / 60:.0f} minutes.",
        f"`{command}`",
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default=",".join(PEERS), help="with commas between (default: all)")
    parser.add_argument("--scenarios", default="", help=f"with commas between (default: all): {', '.join(found.name for found in SCENARIOS)}")
    parser.add_argument("--quick", action="store_true", help="small: to see that everything works; the figures mean nothing")
    parser.add_argument("--aborts", type=int, help=f"clients that leave (default {FULL.aborts:,})")
    parser.add_argument("--requests", type=int, help=f"requests of the long run (default {FULL.requests:,})")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT} and the figures beside it as JSON")
    return parser


def _chosen(given: str, known: Sequence[str], what: str) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()] or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown {what}: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _sizes(given: argparse.Namespace) -> tuple[Sizes, list[str]]:
    """How large everything is, and what must be said about that."""
    remarks = []
    sizes = QUICK if given.quick else FULL
    if given.quick:
        remarks.append("With `--quick` everything is smaller than the text says.")
    changes = {name: value for name, value in (("aborts", given.aborts), ("requests", given.requests)) if value is not None}
    if changes:
        remarks.append(f"With fewer or more than the text says: {', '.join(f'{value:,} {name}' for name, value in changes.items())}.")
        sizes = dataclasses.replace(sizes, **changes)
    # Clients and servers have the limit each for themselves.
    most = raise_descriptor_limit() - _SPARE_DESCRIPTORS
    for name in ("idle", "heads", "slow"):
        if (wanted := getattr(sizes, name)) > most:
            sizes = dataclasses.replace(sizes, **{name: most})
            remarks.append(f"The system allows {most + _SPARE_DESCRIPTORS:,} descriptors: {most:,} connections where the text says {wanted:,}.")
    return sizes, remarks


def _split_cores() -> int | None:
    """Stay away from one core, which is the server's: its number. None: there is no other."""
    cores = choose_cores()
    if not cores.apart:
        return None
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {cores.server})
    return cores.server


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
