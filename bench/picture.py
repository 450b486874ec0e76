"""The report as a picture: for each workload a bar per server, with its figure beside it. SVG, written by hand, for light and dark pages.

The law of this module: each workload has a scale of its own that begins at 0. A bar that would leave no room to compare the others is cut, with a gap
in it, and has its figure beside it as all others have.
"""

from __future__ import annotations

import statistics
from html import escape
from typing import TYPE_CHECKING, Final

from bench.figures import OURS, format_number, good, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.figures import Report, Row, Spread

__all__ = ["draw", "scale_end"]

COLUMNS: Final = 3
_WIDTH: Final = 300
_GAP: Final = 30
_LEFT: Final = 24
_TOP: Final = 74
_NAME: Final = 106
_BAR: Final = 140
_LINE: Final = 19
_THICK: Final = 12
_HEAD: Final = 26
_FOOT: Final = 26
_CHARACTERS: Final = 150
_FAR: Final = 6
"""A bar that is so many times as long as the median one is cut."""
_ROOM: Final = 1.25

_STYLE: Final = """
svg { --text: #1f2328; --soft: #59636e; --ours: #0969da; --theirs: #afb8c1; --line: #1f2328; --page: #fff }
@media (prefers-color-scheme: dark) { svg { --text: #f0f6fc; --soft: #9198a1; --ours: #4493f8; --theirs: #59626d; --line: #f0f6fc; --page: #0d1117 } }
text { font: 12px system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; fill: var(--text) }
.title { font-size: 18px; font-weight: 600 }
.head { font-size: 13px; font-weight: 600 }
.soft { fill: var(--soft) }
.number { font-variant-numeric: tabular-nums }
.bold { font-weight: 600 }
.ours { fill: var(--ours) }
.theirs { fill: var(--theirs) }
.gap { fill: var(--page) }
.spread { stroke: var(--line); stroke-width: 1; opacity: .7 }
"""


def draw(report: Report) -> str:
    """The picture."""
    high = _HEAD + _LINE * len(report.contenders) + 18
    lines = -(-len(report.rows) // COLUMNS)
    width = 2 * _LEFT + COLUMNS * _WIDTH + (COLUMNS - 1) * _GAP
    notes = _notes(report)
    height = _TOP + lines * high + _FOOT + 17 * len(notes)
    spread = f"Median of {report.rounds} rounds, the line from the lowest to the highest" if report.rounds > 1 else "One round"
    legend = f"Shorter is better. {spread}. Each workload has its own scale; a bar with a gap is longer."
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        ' role="img" aria-labelledby="title">',
        f"<style>{_STYLE}</style>",
        f'<text id="title" class="title" x="{_LEFT}" y="32">{_title(report)}</text>',
        f'<text class="soft" x="{_LEFT}" y="53">{escape(legend)}</text>',
    ]
    for index, row in enumerate(report.rows):
        x = _LEFT + index % COLUMNS * (_WIDTH + _GAP)
        parts += _panel(report, row, x, _TOP + index // COLUMNS * high)
    bottom = _TOP + lines * high + 14
    parts += [f'<text class="soft" x="{_LEFT}" y="{bottom + 17 * number}">{escape(note)}</text>' for number, note in enumerate(notes)]
    return "\n".join([*parts, "</svg>", ""])


def _title(report: Report) -> str:
    units = {row.unit for row in report.rows}
    return "Memory of a connection" if units == {"KiB"} else "Server CPU time per request, in microseconds"


def _panel(report: Report, row: Row, x: int, y: int) -> list[str]:
    spreads = {one.label: spread_of(good(report.of(row, one.label), lambda sample: sample.value)) for one in report.contenders}
    longest = scale_end([spread for spread in spreads.values() if spread is not None])
    unit = f", {row.unit}" if row.unit != "µs" else ""
    parts = [f'<text class="head" x="{x}" y="{y + 14}">{escape(row.title + unit)}</text>']
    for number, (label, spread) in enumerate(spreads.items()):
        top = y + _HEAD + number * _LINE
        middle = top + _THICK / 2
        ours = label.split()[0] == OURS
        bold = " bold" if ours else ""
        start = x + _NAME
        parts.append(f'<text class="{"" if ours else "soft"}{bold}" x="{x}" y="{top + 10}">{escape(label)}</text>')
        if spread is None:
            measured = any(sample.problem for sample in report.of(row, label))
            parts.append(f'<text class="soft" x="{start}" y="{top + 10}">{"failed" if measured else "not measured"}</text>')
            continue
        cut = spread.median > longest
        scale = _BAR / longest
        end = start + (longest if cut else spread.median) * scale
        told = f"{label}, {row.title}: {format_number(spread.median)} {row.unit} ({format_number(spread.low)} to {format_number(spread.high)})"
        drawn = f'class="{"ours" if ours else "theirs"}" x="{start}" y="{top}" width="{max(end - start, 1):.1f}" height="{_THICK}" rx="2"'
        beside = start + max(min(spread.high, longest) * scale, 1) + 7
        parts.append(f"<rect {drawn}><title>{escape(told)}</title></rect>")
        parts.append(f'<text class="number{bold}" x="{beside:.1f}" y="{top + 10}">{format_number(spread.median)}</text>')
        if cut:
            parts.append(f'<path class="gap" d="M{end - 22:.1f} {top - 1}h6l-4 {_THICK + 2}h-6z"/>')
        elif spread.high > spread.low:
            low, high = start + spread.low * scale, start + min(spread.high, longest) * scale
            parts.append(f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 3}v6M{high:.1f} {middle - 3}v6"/>')
    return parts


def scale_end(spreads: Sequence[Spread]) -> float:
    """The value at the end of a panel's scale: the highest there is, or that of the bars that are not too far from the others."""
    if not spreads:
        return 1
    limit = _FAR * statistics.median(spread.median for spread in spreads)
    highest = max(spread.high for spread in spreads)
    if max(spread.median for spread in spreads) <= limit:
        return highest or 1
    return _ROOM * max(spread.median for spread in spreads if spread.median <= limit)


def _notes(report: Report) -> list[str]:
    """What is below the panels: servers, machine, command; broken into lines."""
    pythons = {contender.python for contender in report.contenders}
    several = len(pythons) > 1
    servers = ", ".join(f"{one.label} {one.version}" + (f" ({one.python})" if several else "") for one in report.contenders)
    where = "" if several else f", {next(iter(pythons), '')}"
    texts = [f"One worker each{where}: {servers}.", f"{report.machine}; {report.cores}.", report.command]
    return [line for text in texts for line in _wrap(text)]


def _wrap(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > _CHARACTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
