"""docs/advisories.md and the tests of this folder say the same: every row that can apply has its tests, and every test has its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "advisories.md"

_number = re.compile(r"CVE-\d{4}-\d+|GHSA(?:-[0-9a-z]{4}){3}").findall
_number_in_name = re.compile(r"cve_\d{4}_\d+|ghsa(?:_[0-9a-z]{4}){3}").findall


class Row(NamedTuple):
    """A row of a table of the page."""

    section: str
    cells: list[str]

    @property
    def numbers(self) -> list[str]:
        """The advisories that it is about, as they stand in names."""
        return [number.lower().replace("-", "_") for number in _number(self.cells[0])]

    @property
    def tests(self) -> list[str]:
        """The tests that it names."""
        return re.findall(r"`(test_\w+)`", self.cells[-1])


def rows() -> list[Row]:
    found = []
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith(("| advisory |", "| release |")):
            found.append(Row(section, [cell.strip() for cell in line.strip("|").split(" | ")]))
    return found


def names() -> list[str]:
    """The names of the tests of this folder but for those of this module."""
    modules = [module for module in sorted(HERE.glob("test_*.py")) if module.name != Path(__file__).name]
    return [
        node.name
        for module in modules
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


ROWS = rows()
TESTS = names()
APPLICABLE = [row for row in ROWS if row.section != "What cannot apply"]
OTHERS = [row for row in ROWS if row.section == "What cannot apply"]


def test_there_is_something_to_compare() -> None:
    assert len(APPLICABLE) > 80
    assert len(OTHERS) > 10
    assert len(TESTS) > 120


def test_the_page_names_each_test_once_and_no_other() -> None:
    assert sorted(name for row in APPLICABLE for name in row.tests) == sorted(TESTS)


@pytest.mark.parametrize("row", APPLICABLE, ids=lambda row: f"{row.cells[0]} {row.cells[1]}")
def test_a_row_that_can_apply_has_a_test_for_each_of_its_numbers(row: Row) -> None:
    assert len(row.cells) == 4
    assert row.tests
    in_names = {number for name in row.tests for number in _number_in_name(name)}
    assert in_names == set(row.numbers)


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: f"{row.cells[0]} {row.cells[1]}")
def test_a_row_that_cannot_apply_says_why_and_has_no_test(row: Row) -> None:
    assert len(row.cells) == 3
    assert row.cells[2]
    assert not row.tests
    assert not set(row.numbers) & {number for name in TESTS for number in _number_in_name(name)}


def test_no_number_has_two_rows() -> None:
    numbers = [number for row in ROWS for number in row.numbers]
    assert len(numbers) == len(set(numbers))
