"""Scenarios, their rows, and the table that is printed: figures, targets, verdicts.

The law of this module: it computes and formats, and touches nothing. A figure that was not measured has a word instead, and no verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.fault_trial import Trial

__all__ = ["Figure", "Row", "Scenario", "Value", "cell", "section", "target_text", "verdict"]


class Figure(NamedTuple):
    """A number with a remark: ``412,000 (60 s)``."""

    value: float
    note: str


Value = float | Figure | str
"""What was measured; text where there is no number: "died", "no such option"."""


class Row(NamedTuple):
    """One figure of a scenario. ``form`` is for `str.format`; the target is a limit from above, from below, or there is none."""

    key: str
    what: str
    form: str = "{:,.0f}"
    most: float | None = None
    least: float | None = None


class Scenario(NamedTuple):
    """What is done to each server.

    Attributes:
        name: for ``--scenarios``.
        title: of its table.
        text: what is done; a paragraph.
        rows: what is measured.
        run: does it, and puts the figures into the trial as they come.
        seconds: about how long it takes with one server.
    """

    name: str
    title: str
    text: str
    rows: tuple[Row, ...]
    run: Callable[[Trial], None]
    seconds: float


def verdict(row: Row, value: float) -> bool | None:
    """Whether the target was met; None where there is none. What counts is what is shown: the rounded figure."""
    if row.most is None and row.least is None:
        return None
    shown = _rounded(row, value)
    return (row.most is None or shown <= row.most) and (row.least is None or shown >= row.least)


def cell(row: Row, value: Value | None) -> str:
    """The figure and whether it is what it should be."""
    if value is None:
        return "not measured"
    if isinstance(value, str):
        return value
    number, note = value if isinstance(value, Figure) else (value, "")
    met = verdict(row, number)
    mark = "" if met is None else " ✓" if met else " ✗"
    return row.form.format(number) + (f" ({note})" if note else "") + mark


def target_text(row: Row) -> str:
    """``≤ 2.0 MiB``."""
    if row.most is not None and row.most == row.least:
        return row.form.format(row.most)
    parts = []
    if row.least is not None:
        parts.append(f"≥ {row.form.format(row.least)}")
    if row.most is not None:
        parts.append(f"≤ {row.form.format(row.most)}")
    return ", ".join(parts)


def section(scenario: Scenario, results: Mapping[str, Mapping[str, Value]], versions: Mapping[str, str]) -> list[str]:
    """A scenario's part of the result, in Markdown: heading, paragraph, and a table with a column for each server."""
    heads = ["", "target", *(f"{name} {versions.get(name, '')}".strip() for name in results)]
    rows = [[row.what, target_text(row), *(cell(row, figures.get(row.key)) for figures in results.values())] for row in scenario.rows]
    return [f"## {scenario.title}", "", scenario.text, "", *_aligned(heads, rows), ""]


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown that can be read as text too."""
    widths = [max(3, *(len(line[column]) for line in (heads, *rows))) for column in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            text.ljust(width) if number == 0 else text.rjust(width) for number, (text, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join([first, *others])} |"

    rule = "|".join("-" * (width + 2) if number == 0 else "-" * (width + 1) + ":" for number, width in enumerate(widths))
    return [line(heads), f"|{rule}|", *map(line, rows)]


def _rounded(row: Row, value: float) -> float:
    """The value as ``form`` shows it, as a number again."""
    text = row.form.format(value)
    digits = "".join(letter for letter in text if letter.isdigit() or letter in "-.")
    return float(digits.strip(".")) if digits.strip(".-") else value
