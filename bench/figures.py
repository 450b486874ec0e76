"""From samples to figures: medians, spreads, ratios, and the tables that show them.

The law of this module: it measures nothing and reads no clock. A ratio is made within each round, of what ran next to each other, and the median is
of those ratios; a sample with a problem counts nowhere and is named below the table.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["OURS", "Contender", "Report", "Row", "Sample", "Spread", "format_number", "ratio_of", "spread_of", "tables"]

OURS: Final = "asgiserve"
_BUSY: Final = 0.9
"""A server that used less of its core than this was not at its limit: something else was."""
_HUNDRED: Final = 100
_TEN: Final = 10


@dataclass(frozen=True)
class Sample:
    """What one server did in one round of one workload.

    Args:
        value: microseconds of CPU per request, or KiB per connection; None where nothing was measured.
        rate: requests per second.
        busy: how much of its core the server used.
        load_busy: how much of its own the load generator used.
        requests: how many there were.
        problem: what went wrong, or "".
    """

    value: float | None = None
    rate: float | None = None
    busy: float | None = None
    load_busy: float | None = None
    requests: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Row:
    """A workload in a report: ``unit`` is "µs" of CPU per request, or "KiB" per connection."""

    name: str
    title: str
    unit: str


@dataclass(frozen=True)
class Contender:
    """A server in a report."""

    label: str
    version: str
    python: str


@dataclass
class Report:
    """A whole run: what is printed, drawn and written. ``samples[workload][label]`` has one for each round."""

    rows: list[Row]
    contenders: list[Contender]
    rounds: int
    seconds: float
    machine: str
    cores: str
    cores_apart: bool
    software: str
    command: str
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        """What `to_json` made."""
        return cls(
            **{
                **data,
                "rows": [Row(**row) for row in data["rows"]],
                "contenders": [Contender(**contender) for contender in data["contenders"]],
                "samples": {
                    name: {label: [Sample(**sample) for sample in rounds] for label, rounds in found.items()}
                    for name, found in data["samples"].items()
                },
            }
        )

    def of(self, row: Row, label: str) -> list[Sample]:
        """The samples of a server for a workload, one for each round; none where it was not measured."""
        return self.samples.get(row.name, {}).get(label, [])


class Spread(NamedTuple):
    """A median and what is around it."""

    median: float
    low: float
    high: float


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """The median, the lowest and the highest of the values that are there; None where none is."""
    there = [value for value in values if value is not None]
    return Spread(statistics.median(there), min(there), max(there)) if there else None


def good(samples: Iterable[Sample], what: Callable[[Sample], float | None]) -> list[float | None]:
    """A figure of each sample, None where there was a problem; the rounds stay in their places."""
    return [None if sample.problem else what(sample) for sample in samples]


def ratio_of(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Spread | None:
    """Ours divided by theirs, round by round; rounds in which either is missing are left out."""
    return spread_of(one / other for one, other in zip(ours, theirs, strict=False) if one is not None and other)


def format_number(value: float) -> str:
    """With three digits, or all of them before the point."""
    if value >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _TEN else f"{value:.2f}"


def format_spread(spread: Spread | None) -> str:
    """``28.7 (27.9-30.1)``."""
    if spread is None:
        return ""
    if spread.low == spread.high:
        return format_number(spread.median)
    return f"{format_number(spread.median)} ({format_number(spread.low)}-{format_number(spread.high)})"


def align(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table that is a table in a terminal too: the first column to the left, the others to the right."""
    lines = [list(header), *map(list, body)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = [
        "| "
        + " | ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths)) + "|"
    return [padded[0], rule, *padded[1:]]


class _Notes:
    """What is said below the tables, by number."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    def mark(self, text: str) -> str:
        if text not in self._notes:
            self._notes.append(text)
        return f"[{self._notes.index(text) + 1}]"

    def lines(self) -> list[str]:
        return [f"- [{number}] {text}" for number, text in enumerate(self._notes, 1)]


def _cell(report: Report, row: Row, label: str, what: Callable[[Sample], float | None], notes: _Notes) -> str:
    samples = report.of(row, label)
    text = format_spread(spread_of(good(samples, what)))
    problems = [sample.problem for sample in samples if sample.problem]
    if problems:
        counted = "" if len(problems) == len(samples) else f" in {len(problems)} of {len(samples)} rounds"
        mark = notes.mark(f"{row.title}, {label}: {problems[0]}{counted}")
        return f"{text} {mark}" if text else f"failed {mark}"
    return text or "not measured"


def _figures(report: Report, rows: Sequence[Row], what: Callable[[Sample], float | None], notes: _Notes, *, bound: bool = False) -> list[str]:
    labels = [contender.label for contender in report.contenders]
    lines = []
    for row in rows:
        cells = [_cell(report, row, label, what, notes) for label in labels]
        if bound and report.cores_apart:
            cells = [f">= {cell}" if _idle(report, row, label) else cell for label, cell in zip(labels, cells, strict=True)]
        lines.append([row.title, *cells])
    return align(["", *labels], lines)


def _idle(report: Report, row: Row, label: str) -> bool:
    """Whether the server had time left: its requests per second are the load generator's."""
    busy = spread_of(good(report.of(row, label), lambda sample: sample.busy))
    return busy is not None and busy.median < _BUSY


def _ratios(report: Report, rows: Sequence[Row], what: Callable[[Sample], float | None]) -> list[str]:
    labels = [contender.label for contender in report.contenders if contender.label != OURS]
    lines = []
    for row in rows:
        ours = good(report.of(row, OURS), what)
        lines.append([row.title, *(format_spread(ratio_of(ours, good(report.of(row, label), what))) or "-" for label in labels)])
    return align(["asgiserve divided by", *labels], lines)


def _log_cost(report: Report) -> list[str]:
    """What the access log adds to plain text, as a share."""
    rows = {row.name: row for row in report.rows}
    if not {"plain", "log"} <= rows.keys():
        return []
    cells = []
    for contender in report.contenders:
        on, off = (good(report.of(rows[name], contender.label), lambda sample: sample.value) for name in ("log", "plain"))
        ratio = ratio_of(on, off)
        cells.append("-" if ratio is None else f"{(ratio.median - 1) * 100:+.0f} %")
    labels = [contender.label for contender in report.contenders]
    return ["## What the access log costs, in CPU per request", "", *align(["", *labels], [["log on, compared to off", *cells]]), ""]


def tables(report: Report) -> list[str]:
    """The whole report as Markdown."""
    timed = [row for row in report.rows if row.unit == "µs"]
    weighed = [row for row in report.rows if row.unit != "µs"]
    comparable = len(report.contenders) > 1 and any(contender.label == OURS for contender in report.contenders)
    notes = _Notes()
    lines = ["# Speed", ""]
    spread = f"median (lowest-highest) of {report.rounds} rounds" if report.rounds > 1 else "one round"
    if timed:
        lines += [f"## Server CPU per request, µs: {spread}; less is better", "", *_figures(report, timed, lambda sample: sample.value, notes), ""]
        if comparable:
            lines += ["## CPU per request, as ratios: below 1 asgiserve takes less", "", *_ratios(report, timed, lambda sample: sample.value), ""]
        lines += ["## Requests per second: more is better", "", *_figures(report, timed, lambda sample: sample.rate, notes, bound=True), ""]
        if comparable:
            lines += [
                "## Requests per second, as ratios: above 1 asgiserve answers more",
                "",
                *_ratios(report, timed, lambda sample: sample.rate),
                "",
            ]
        lines += _log_cost(report)
    if weighed:
        lines += [f"## Memory, KiB per connection: {spread}; less is better", "", *_figures(report, weighed, lambda sample: sample.value, notes), ""]
        if comparable:
            lines += [*_ratios(report, weighed, lambda sample: sample.value), ""]
    if found := notes.lines():
        lines += ["What went wrong:", "", *found, ""]
    if report.left_out:
        lines += ["Left out:", "", *(f"- {text}" for text in report.left_out), ""]
    return lines + _how(report)


def _how(report: Report) -> list[str]:
    rounds = f"{report.rounds} rounds" if report.rounds > 1 else "One round"
    return [
        "## How it was measured",
        "",
        f"- Servers: {', '.join(f'{one.label} {one.version} ({one.python})' for one in report.contenders)}.",
        f"- With {report.software}.",
        f"- Machine: {report.machine}; {report.cores}.",
        f"- {rounds}. In each, every server is started anew, and they take turns in shuffled order at each workload, {report.seconds:g} s",
        "  after a warm-up. A ratio is made within each round; what is shown is the median of the ratios.",
        "- One worker each, uvloop and httptools where the server can use them, access log off unless the row says so, log level warning;",
        "  keep-alive time-out 60 s; all else as the server has it by default.",
        "- CPU is user and system time of the whole tree of processes, divided by the number of requests. Requests per second with `>=`:",
        "  the server used less than 90 % of its core, so something else set the pace.",
        "- Memory is PSS of the whole tree; what the kernel holds for a socket is not in it. Each connection made one request before it was idle.",
        "- Before each measurement the server's answer is compared with the right one, byte for byte; of a run with a single error, or an answer",
        "  that is not 2xx, nothing counts. Each WebSocket echo is compared.",
        "",
        f"`{report.command}`",
    ]
