"""``pytest --asgi-conformance-coverage``, as a user sees it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.coverage import print_coverage, report

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ("-m", "pytest", "-p", "asgi_conformance.plugin", "-p", "no:cacheprovider", "--asgi-conformance-coverage")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Runs the command in a process of its own, in a project with a test that fails."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "conformance"), os.environ.get("PYTHONPATH", "")]))
    for name in ("PYTEST_ADDOPTS", "PY_COLORS", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(test_project="def test_of_the_project():\n    raise AssertionError('not asked for')\n")
    return lambda *arguments: pytester.run(sys.executable, *COMMAND, *arguments, timeout=60)


def test_each_clause_is_shown_with_its_cases_and_those_without_any(run: Callable[..., pytest.RunResult]) -> None:
    result = run()
    assert result.ret == 0
    assert result.errlines == []
    result.stdout.fnmatch_lines(
        [
            "RFC 9110 | HTTP Semantics",
            "  §7.2 Host and :authority",
            "      h1.host.comma  *",
            "RFC 9110: * of * clauses for servers and * of * clauses for applications have a case",
            "RFC 9112 | HTTP/1.1",
            "  §6.3 Message Body Length",
            "      *h1.cl.body (6)*",
            "RFC 9112: * of * clauses for servers *",
            "ASGI www | HTTP & WebSocket ASGI Message Format, 2.5",
            "  Response Start",
            "      *app.lint.start-first*",
            "In all: * of * clauses for servers and * of * clauses for applications have a case",
        ]
    )
    # Nothing was run, and nothing that pytest says of a run is there.
    result.stdout.no_re_match_line("=====|.*(collected|not asked for|test session starts)")


def test_it_says_what_is_cited_and_unknown_nowhere(run: Callable[..., pytest.RunResult]) -> None:
    run().stdout.no_fnmatch_line("Cited, and no clause that is known:")


def test_a_pipe_gets_no_colors_and_color_yes_gives_them(run: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in run().stdout.str()
    assert "\x1b[1mRFC 9112 | HTTP/1.1\x1b[0m" in run("--color=yes").stdout.str()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" in run().stdout.str()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run().stdout.str()
    monkeypatch.setenv("PY_COLORS", "1")
    assert "\x1b[1m" in run().stdout.str()
    assert "\x1b" not in run("--color=no").stdout.str()


@pytest.mark.usefixtures("run")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, *COMMAND], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 0


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"PY_COLORS": "0"}, False)])
def test_a_terminal_has_colors_where_the_environment_wants_them(variables: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PY_COLORS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    written = io.BytesIO()
    stream = _Terminal(written, encoding="utf-8", write_through=True)
    print_coverage(stream)
    assert (b"\x1b[1m" in written.getvalue()) is colored


def test_a_terminal_without_the_sign_for_a_section_gets_a_mark() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii", write_through=True)
    print_coverage(stream)
    assert b"  ?6.3 Message Body Length\n" in written.getvalue()


@dataclass(frozen=True)
class Citing:
    id: str
    clauses: tuple[str, ...]


def lines_of(*cases: tuple[str, Citing]) -> list[str]:
    return [line for line, _ in report(cases, 80)]


def test_a_clause_for_both_needs_a_case_for_each() -> None:
    lines = lines_of(("application", Citing("app.a", ("RFC 9110 §9.3.2", "ASGI www, Close"))), ("server", Citing("ws.b", ("ASGI www, Close",))))
    assert "      §9.3.2 HEAD (server)" in lines
    assert lines[lines.index("  Close") + 1] == "      app.a  ws.b"
    assert not any(line.startswith("      Close (") for line in lines)
    assert "      Accept (server and application)" in lines


def test_what_concerns_nobody_is_shown_and_not_counted() -> None:
    lines = lines_of(("server", Citing("a.case", ("RFC 9112 §9", "RFC 9113 §3.4"))))
    assert lines[lines.index("  §9 Connection Management") + 1] == "      a.case"
    assert any(re.fullmatch(r"RFC 9112: 0 of \d+ clauses for servers and 0 of 1 clauses for applications have a case", line) for line in lines)
    assert "RFC 9113: 1 clause cited; the suite does not test this document" in lines
    # Of the standards that the suite does not test, only those are there that somebody cites.
    assert "RFC 8441 | Bootstrapping WebSockets with HTTP/2" not in lines


def test_a_clause_that_nobody_knows_is_shown_with_who_cites_it() -> None:
    lines = lines_of(("server", Citing("a.case", ("RFC 9112 §6.4",))), ("application", Citing("b.case", ("RFC 9112 §6.4",))))
    start = lines.index("Cited, and no clause that is known:")
    assert lines[start + 1 : start + 3] == ["  RFC 9112 §6.4", "      a.case  b.case"]


def test_an_item_is_not_parted_from_its_case_and_stands_once() -> None:
    cases = [("server", Citing(f"h1.some.long-name-{number}", ("RFC 9112 §6.3 (5)", "RFC 9112 §6.3 (5)"))) for number in range(12)]
    lines = [line for line in lines_of(*cases) if line.startswith("      h1.")]
    assert all(len(line) <= 80 for line in lines)
    assert re.findall(r"\S+ \(\d\)", " ".join(lines)) == [f"h1.some.long-name-{number} (5)" for number in range(12)]
    assert not any(line.strip().startswith("(") for line in lines)
