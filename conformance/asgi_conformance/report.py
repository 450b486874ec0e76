"""What a run found, for people and for programs: results of the items, the terminal's matrix, JSON and Markdown.

The law of this module: every report is made of the same results, and shows every target side by side.
"""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.items import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pytest

__all__ = ["ORDER", "Result", "collect_results", "in_order", "markdown", "read_json", "shown_name", "to_json", "write_terminal"]

FORMAT: Final = 1
"""Of the JSON report; it grows when a reader of the old form would misunderstand the new one."""
ORDER: Final = ("fail", "error", "warn", "known", "info", "unsupported", "pass")
"""Verdicts, the worst first."""
_COLORS: Final = {"fail": "red", "error": "red", "warn": "yellow", "known": "yellow", "pass": "green"}
_SYMBOLS: Final = {"fail": "✗", "error": "!", "warn": "△", "known": "≈", "info": "i", "unsupported": "-", "pass": "✓"}
_FOUND: Final = frozenset({"fail", "error", "warn", "known"})
_LONGEST: Final = 240
"""Characters of a reason in the terminal."""
_MOST_LINES: Final = 200
"""Of findings in a summary for CI, which has a size that it may not exceed."""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one case of one target, as strings; ``clauses`` are joined by "; "."""

    target: str
    case: str
    level: str
    clauses: str
    verdict: str
    reason: str
    says: str = ""
    topic: str = ""
    trace: str = ""


def collect_results(reporter: pytest.TerminalReporter) -> list[Result]:
    """The results of a run, which the reporter knows; with xdist those of all workers. Of a case that ran several times, the last."""
    found: dict[tuple[str, str], Result] = {}
    for reports in reporter.stats.values():
        for report in reports:
            facts = {name.removeprefix(PREFIX): value for name, value in getattr(report, "user_properties", ()) if name.startswith(PREFIX)}
            if getattr(report, "when", "") == "call" and "case" in facts:
                result = Result(**facts, **getattr(report, "asgi_details", {}))
                found[result.target, result.case] = result
    return list(found.values())


def in_order(results: Iterable[Result], targets: Sequence[str], cases: Sequence[str]) -> list[Result]:
    """The results by target as in ``targets`` and by case as in ``cases``; what is in neither comes last. xdist tells of them in any order."""
    target_places = {name: place for place, name in enumerate(targets)}
    case_places = {name: place for place, name in enumerate(cases)}
    return sorted(results, key=lambda one: (target_places.get(one.target, len(targets)), one.target, case_places.get(one.case, len(cases)), one.case))


def shown_name(target: str) -> str:
    """The name of a target without what is only true here: the interpreter that runs it (not what is behind an @ in a command)."""
    return target if target.startswith(("cmd", "url")) else target.partition("@")[0]


def targets_of(results: Iterable[Result]) -> list[str]:
    """In the order in which they were asked for."""
    return list(dict.fromkeys(result.target for result in results))


def write_terminal(reporter: pytest.TerminalReporter, results: Sequence[Result]) -> None:
    """The matrix of targets and verdicts, and a line for each finding."""
    targets = targets_of(results)
    width = max(len(target) for target in targets)
    counts = {target: Counter(result.verdict for result in results if result.target == target) for target in targets}
    reporter.write_line(" " * width + "".join(f"{name:>13}" for name in reversed(ORDER)))
    for target in targets:
        reporter.write(f"{target:{width}}")
        for name in reversed(ORDER):
            number = counts[target][name]
            reporter.write(f"{number or '-':>13}", **({_COLORS[name]: True} if number and name in _COLORS else {}))
        reporter.write_line("")
    for target in targets:
        reasons = {result.reason if result.verdict == "unsupported" else "" for result in results if result.target == target}
        if len(reasons) == 1 and reasons != {""}:
            reporter.write_line(f"{target} was not tested: {_short(reasons.pop())}")
    for result, cases in _findings(results):
        reporter.write(f"{result.verdict:5}", **{_COLORS[result.verdict]: True})
        about = f"{result.case} ({result.clauses}; {result.level})" if cases == 1 else f"{cases} cases"
        reporter.write_line(f" {result.target}  {about}")
        if result.verdict in {"warn", "error"}:
            # A failure has its report above, and what is known is known.
            reporter.write_line(f"      {_short(result.reason)}")


def _findings(results: Iterable[Result]) -> list[tuple[Result, int]]:
    """What is to be looked at, the worst first; where one error keeps many cases from being judged it is there once, with their number."""
    found: dict[tuple[str, ...], list[Result]] = {}
    for result in sorted(results, key=lambda one: (ORDER.index(one.verdict), one.target, one.case)):
        if result.verdict in _FOUND:
            key = ("error", result.target, result.reason) if result.verdict == "error" else (result.target, result.case)
            found.setdefault(key, []).append(result)
    return [(several[0], len(several)) for several in found.values()]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


# For programs.


def to_json(results: Iterable[Result], versions: Mapping[str, str | None], command: str) -> dict[str, Any]:
    """The report as JSON: ``format``, ``command``, ``environment``, ``targets`` (name: version or null) and ``results`` (see `Result`)."""
    environment = {"python": platform.python_version(), "implementation": platform.python_implementation(), "system": sys.platform}
    rows = [{**asdict(result), "target": shown_name(result.target)} for result in results]
    named = {shown_name(name): version for name, version in versions.items()}
    return {"format": FORMAT, "command": command, "environment": environment, "targets": named, "results": rows}


def read_json(text: str) -> dict[str, Any]:
    """A report that `to_json` made, with `Result` objects in it.

    Raises:
        ValueError: it is none, or of a format that is not known here.
    """
    report = json.loads(text)
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise ValueError(f"no conformance report of format {FORMAT}")
    return {**report, "results": [Result(**row) for row in report["results"]]}


# For CI summaries, and for a README.


def markdown(
    results: Sequence[Result],
    versions: Mapping[str, str | None],
    *,
    title: str = "ASGI conformance",
    counts: bool = True,
    findings: int = _MOST_LINES,
) -> str:
    """A table of targets and verdicts (``counts``), and the first so many ``findings``, the worst first."""
    used = [name for name in reversed(ORDER) if any(result.verdict == name for result in results)]
    lines = [f"## {title}", ""] if title else []
    if counts:
        lines += [f"| | version | {' | '.join(used)} |", f"|---|---|{'---:|' * len(used)}"]
        for target in targets_of(results):
            number = Counter(result.verdict for result in results if result.target == target)
            cells = " | ".join(str(number[name] or "") for name in used)
            lines.append(f"| {_cell(shown_name(target))} | {versions.get(target) or ''} | {cells} |")
        lines.append("")
    found = _findings(results)
    if findings and found:
        lines += ["| | target | case | level | clauses | seen |", "|---|---|---|---|---|---|"]
        for result, cases in found[:findings]:
            about = (f"`{result.case}`", result.level, result.clauses) if cases == 1 else (f"{cases} cases", "", "")
            lines.append(
                f"| {_SYMBOLS[result.verdict]} {result.verdict} | {' | '.join(map(_cell, (shown_name(result.target), *about, result.reason)))} |"
            )
        lines.append("")
        if len(found) > findings:
            lines += [f"... and {len(found) - findings} more.", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that ends no cell, starts no tag, and makes no link or image."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("](", "]\\(").replace("<", "&lt;").replace("\n", " ")
    return text if len(text) <= 300 else f"{text[:300]} ..."  # noqa: PLR2004 - a long line in a table
