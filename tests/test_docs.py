"""The documentation is true where a test can say so: generated parts are current, links lead somewhere, code blocks run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgiserve.config import OPTIONS
from asgiserve.core.exchange import REQUEST_TABLE, RESPONSE_TABLE

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

every_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def generator(name: str) -> ModuleType:
    """A program of docs/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def states() -> ModuleType:
    return generator("generate_states")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a hosting page makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- generated parts


def test_the_tables_of_the_readme_are_those_that_were_measured() -> None:
    results = generator("include_results")
    page = read(ROOT / "README.md")
    places = results.included(page)
    # Each table of speed and of load and faults, as it is: peers that win included.
    for name in ("speed", "faults"):
        path = f"bench/results/{name}.md"
        tables = len(re.findall(r"(?:^\|.*\n)+", read(ROOT / path), re.MULTILINE))
        assert [number for file, number in places if file == path] == list(range(1, tables + 1))
    assert page == results.generate(page), "run: python docs/include_results.py"


def test_the_state_diagrams_are_current() -> None:
    generator = states()
    page = read(generator.PATH)
    assert page == generator.generate(page), "run: python docs/generate_states.py"


@pytest.mark.parametrize("table", [REQUEST_TABLE, RESPONSE_TABLE], ids=["request", "response"])
def test_a_diagram_has_every_step_of_its_table_and_no_other(table: dict[str, dict[str, str]]) -> None:
    first = next(iter(table))
    drawn = set()
    for state, following, actions in re.findall(r"^    (\w+) --> (\w+) : (.+)$", states().diagram(first, table), re.MULTILINE):
        drawn |= {(state, action, following) for action in actions.split(", ")}
    assert drawn == {(state, action, following) for state, row in table.items() for action, following in row.items()}


def test_a_page_without_a_place_for_a_diagram_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for the states of the request"):
        states().generate("# Architecture\n")


# ---- links and options


@every_page
def test_every_link_inside_of_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}"


@pytest.mark.parametrize("name", ["getting-started.md", "deployment.md", "programming-interface.md", "http1-strictness.md", "architecture.md"])
def test_a_page_names_only_options_that_exist(name: str) -> None:
    known = {option.flags for option in OPTIONS.values()} | {"--config", "--version", "--help"}
    known |= {f"--no-{option.flags.removeprefix('--')}" for option in OPTIONS.values() if option.kind == "boolean"}
    page = ROOT / "docs" / name
    # In inline code or behind the command itself; curl and openssl have options of their own.
    named = set(re.findall(r"`(--[a-z0-9-]+)", read(page)))
    for line in re.findall(r"asgiserve (.*--.*)$", "\n".join(blocks(page, "console")), re.MULTILINE):
        named |= set(re.findall(r"(?<!\S)--[a-z0-9-]+", line))
    assert named <= known
    assert named


# ---- code

PROGRAMS = [(page, number, code) for page in PAGES for number, code in enumerate(blocks(page, "python"), 1)]


@pytest.mark.parametrize(("page", "number", "code"), PROGRAMS, ids=[f"{page.name}-{number}" for page, number, _ in PROGRAMS])
def test_a_python_block_compiles(page: Path, number: int, code: str) -> None:
    compile(code, f"{page.name}, block {number}", "exec")


TERMINATING = [program for program in PROGRAMS if program[0].name == "programming-interface.md" and "asgiserve.run(" not in program[2]]


@pytest.mark.parametrize(("page", "number", "code"), TERMINATING, ids=[f"{page.name}-{number}" for page, number, _ in TERMINATING])
def test_a_program_of_the_programming_interface_runs_as_it_stands(page: Path, number: int, code: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(code, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", program], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, f"{page.name}, block {number}: {done.stderr}"
    # What a block prints stands in a comment behind it.
    for expected in re.findall(r"# prints (.+)$", code, re.MULTILINE):
        assert expected in done.stdout
