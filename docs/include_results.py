"""Puts tables of ``bench/results`` into README.md; a test says when they are not current.

A line ``<!-- bench/results/speed.md, 1 -->`` in the README stands before the first table of that file, as it is.

python docs/include_results.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATH = ROOT / "README.md"

_place = re.compile(r"^<!-- (bench/results/\w+\.md), ([1-9]) -->\n\n(?:\|.*\n)*", re.MULTILINE)
_table = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def included(page: str) -> list[tuple[str, int]]:
    """The tables that ``page`` has a place for, in its order: file and number."""
    return [(match[1], int(match[2])) for match in _place.finditer(page)]


def table(path: str, number: int) -> str:
    """A table of a result, counted from 1."""
    found: list[str] = _table.findall((ROOT / path).read_text(encoding="utf-8"))
    return found[number - 1]


def generate(page: str) -> str:
    """``page`` with the tables of today in each place."""
    return _place.sub(lambda match: f"<!-- {match[1]}, {match[2]} -->\n\n{table(match[1], int(match[2]))}", page)


if __name__ == "__main__":
    PATH.write_text(generate(PATH.read_text(encoding="utf-8")), encoding="utf-8")
