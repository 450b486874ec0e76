"""Make the published matrix: every server that the suite knows, in one run.

The command is ``python conformance/results/generate.py``; what follows is for pytest, as ``-n 2``.

The servers are those of the dependency group ``conformance``. Written beside this file are ``results.json``, ``matrix.html`` and
``README.md``; and the summary between the two comments in the README of the project is replaced. A server that is not installed is left
out, and said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.report import markdown, read_json
from asgi_conformance.report_page import html_page
from asgi_conformance.targets import find_target, unavailable_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BEGIN", "END", "main", "summary"]

FOLDER: Final = Path(__file__).resolve().parent
ROOT: Final = FOLDER.parents[1]
README: Final = ROOT / "README.md"
COMMAND: Final = "python conformance/results/generate.py"
BEGIN: Final = "<!-- conformance/results/generate.py writes from here -->\n"
END: Final = "<!-- to here -->\n"
MOST_TRACE: Final = {True: 600, False: 2500}
"""Characters of a trace in the page, of a case that passed and of another: it is kept in the repository."""
TARGETS: Final = ("asgiserve[httptools]", "asgiserve[h11]", "uvicorn[httptools]", "uvicorn[h11]", "hypercorn", "daphne", "granian", "gunicorn")
HEAD: Final = """# How ASGI servers do

[The matrix](matrix.html) (one page; download it and open it in a browser) has the verdict on each case, with the sentence of the standard and with
what went over the wire. `results.json` is the same for programs. [Conformance](../../docs/conformance.md) says what the words mean. A `fail` is
a MUST that was broken, or a robustness case; a `warn` is lawful and discouraged, or a SHOULD that is not met. A verdict that is wrong is a bug of
the suite: please report it.

"""


def main(arguments: Sequence[str]) -> int:
    """Run the suite on all targets, and write what it found; 0, or 1 where there are no results."""
    there = []
    for name in TARGETS:
        reason = unavailable_reason(find_target(name))
        if reason is None:
            there.append(name)
        else:
            print(f"left out: {name}: {reason}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        targets = [part for name in there for part in ("--asgi-target", name)]
        own = ["-q", "-p", "no:cacheprovider", "--tb=no", "--asgi-conformance-json", str(path)]
        # From there, so that no configuration of this project's own tests is read.
        status = subprocess.call(
            [sys.executable, "-m", "pytest", "--asgi-conformance", *targets, *own, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "conformance")])},
        )
        if not path.exists():
            print(f"there are no results; pytest ended with {status}", file=sys.stderr)
            return 1
        report = json.loads(path.read_text(encoding="utf-8"))
    write({**report, "command": COMMAND})
    return 0


def write(report: Mapping[str, Any]) -> None:
    """Write the report for programs, the page and the tables."""
    rows = report["results"]
    for row in rows:
        most = MOST_TRACE[row["verdict"] in {"pass", "unsupported"}]
        if len(row["trace"]) > most:
            row["trace"] = row["trace"][:most] + " ..."
    (FOLDER / "matrix.html").write_text(html_page(report), encoding="utf-8")
    # What is told of a case for people is in the page.
    short = {**report, "results": [{name: row[name] for name in row if name not in {"says", "trace"}} for row in rows]}
    (FOLDER / "results.json").write_text(json.dumps(short, indent=1) + "\n", encoding="utf-8")
    write_tables()


def write_tables() -> None:
    """Write what is made of ``results.json``: the page beside it, and the part of the README."""
    report = read_json((FOLDER / "results.json").read_text(encoding="utf-8"))
    table = summary(report)
    found = markdown(report["results"], report["targets"], title="Findings", counts=False, findings=len(report["results"]))
    (FOLDER / "README.md").write_text(f"{HEAD}{table}\n{found}", encoding="utf-8")
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    README.write_text(f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}", encoding="utf-8")


def summary(report: Mapping[str, Any]) -> str:
    """The table for the README of the project."""
    table = markdown(report["results"], report["targets"], title="", findings=0)
    cases = len({result.case for result in report["results"]})
    about = report["environment"]
    return f"{table}\n{cases} cases, {about['implementation']} {about['python']} on {about['system']}. The command: `{report['command']}`\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
