"""``pytest --asgi-conformance``, as a user runs it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Level
from asgi_conformance.suite.http1_host import HOST
from tests.conformance.lax_server import LAX

if TYPE_CHECKING:
    from collections.abc import Callable

# Of the cases that these tests run, those that are judged.
PASSING = sum(1 for case in HOST if case.level not in {Level.INFO, Level.CONFLICT})

SELECT_ONE = "--asgi-conformance-select=h1.host.missing"


def test_asgiserve_passes_with_both_parsers(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_of_the_project():\n    raise AssertionError('not asked for')\n")
    result = run(
        "--asgi-conformance",
        "--asgi-target=asgiserve[httptools]",
        "--asgi-target=asgiserve[h11]",
        "--asgi-conformance-select=h1.host.*",
        "--asgi-conformance-json=report.json",
        "--asgi-strict",
    )
    result.assert_outcomes(passed=2 * len(HOST))
    result.stdout.fnmatch_lines(
        ["*= ASGI conformance =*", f"asgiserve[[]httptools[]]  *{PASSING} *", f"asgiserve[[]h11[]]  *{PASSING} *", "written to report.json"]
    )
    report = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    assert set(report["targets"]) == {"asgiserve[httptools]", "asgiserve[h11]"}
    assert {one["verdict"] for one in report["results"]} == {"pass", "info"}
    assert {one["case"] for one in report["results"]} >= {"h1.host.missing", "h1.host.two", "h1.host.ipv6"}


def test_a_broken_server_fails_with_the_sentence_the_clause_and_the_wire(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    lax = pytester.makepyfile(lax=LAX)
    result = run("--asgi-conformance", f"--asgi-target=cmd:{sys.executable} {lax} {{fd}} {{app_dir}}", "--asgi-conformance-select=h1.host.missing")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "fail: no Host: expected: 400 and the connection closed*; seen: 200, the follow-up answered with 200, the connection stays open, *",
            "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field *",
            "(RFC 9112 §3.2; MUST)",
            "*ms > b'GET / HTTP/1.1*GET /follow-up HTTP/1.1*",
            "*ms < b'HTTP/1.1 200 OK*",
            "*= ASGI conformance =*",
            "fail *h1.host.missing (RFC 9112 §3.2; MUST)",
        ]
    )
    # One line of it stands in pytest's own summary, as far as that is wide; and with --tb=line.
    result.stdout.fnmatch_lines(["FAILED asgi-conformance/http1/host::h1.host.missing*"])
    short = run("--asgi-conformance", f"--asgi-target=mine=cmd:{sys.executable} {lax} {{fd}} {{app_dir}}", SELECT_ONE, "--tb=line", "-vv")
    short.stdout.fnmatch_lines(
        ["asgi-conformance/http1/host::h1.host.missing[[]mine[]]:1: fail: no Host: expected: *", "FAILED * - fail: no Host: expected: 400 *"]
    )
    # A report, and nothing of ours in it.
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_a_server_that_a_stimulus_kills_fails_and_is_there_again_for_the_next_case(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    crashing = LAX.replace("            length = 0\n", "            length = 0\n            assert b'ost:' in head or os._exit(3)\n")
    command = f"cmd:{sys.executable} {pytester.makepyfile(crashing=crashing)} {{fd}} {{app_dir}}"
    result = run("--asgi-conformance", f"--asgi-target=mine={command}", SELECT_ONE, "--asgi-conformance-select=h1.host.ipv6")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "fail: no Host: afterwards the server was dead: it ended with status 3",
            "*ms > b'GET / HTTP/1.1*",
            "fail *mine*h1.host.missing (RFC 9112 §3.2; MUST)",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program {port} {app}", "mine cannot be started: no-such-program * No such file or directory*"),
        ("{python} -c 'exit(\"no configuration\")' {fd}", "mine ended with status 1 before it answered: no configuration"),
    ],
)
def test_a_server_that_does_not_start_fails_once_and_is_not_tried_again(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, command: str, said: str
) -> None:
    select = ("--asgi-conformance-select=h1.host.*", "--asgi-conformance-json=report.json", "--asgi-conformance-markdown=report.md")
    result = run("--asgi-conformance", f"--asgi-target=mine=cmd:{command}", *select)
    result.assert_outcomes(failed=1, skipped=len(HOST) - 1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"error: {said}", "*= ASGI conformance =*", f"error mine  {len(HOST)} cases", f"      {said}"])
    result.stdout.no_fnmatch_line("*Traceback*")
    report = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    assert {(one["target"], one["verdict"]) for one in report["results"]} == {("mine", "error")}
    assert f"| ! error | mine | {len(HOST)} cases |" in (pytester.path / "report.md").read_text(encoding="utf-8")


def test_a_server_that_is_not_installed_is_skipped_with_the_reason(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is installed here: the daphne of an interpreter that has none.
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    bare = pytester.path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -I "$@"\n', encoding="utf-8")
    bare.chmod(0o755)
    result = run("--asgi-conformance", f"--asgi-target=mine=daphne@{bare}", "--asgi-conformance-select=h1.host.*")
    result.assert_outcomes(skipped=len(HOST))
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"mine was not tested: daphne is not installed for {bare}: pip install daphne"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--asgi-target=uvicron"], "--asgi-target uvicron: there is no such target; did you mean uvicorn[[]httptools[]] or uvicorn[[]h11[]]? *"),
        (["--asgi-target=cmd:x {uds}"], "--asgi-target cmd:x {uds}: the cases connect by TCP; *"),
        (["--asgi-target=daphne@/no/python"], "--asgi-target daphne@/no/python: there is no interpreter /no/python"),
        (["--asgi-target=a=asgiserve", "--asgi-target=a=asgiserve[h11]"], "--asgi-target a=asgiserve[[]h11[]]: there is another target of that name"),
        (["--asgi-conformance-select=h1.host.two", "--asgi-conformance-select=x.*"], "--asgi-conformance-select x.*: this run has no such case; *"),
        (["--asgi-conformance-select=app.http.*"], "--asgi-conformance-select app.http.*: this run has no such case; *"),
        (["--asgi-conformance-html=."], "--asgi-conformance-html .: it is a folder"),
        (["--asgi-conformance-json=file/report.json"], "--asgi-conformance-json file/report.json: *"),
    ],
)
def test_a_wrong_option_is_said_at_once_in_one_line(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, arguments: list[str], said: str
) -> None:
    (pytester.path / "file").touch()
    result = run("--asgi-conformance", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_an_option_that_needs_the_suite_is_refused_without_it_but_may_wait_in_an_ini_file(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_plain():\n    pass\n")
    refused = run("--asgi-target=asgiserve")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["ERROR: --asgi-target needs --asgi-conformance, which runs the suite"])
    pytester.makeini("[pytest]\naddopts = --asgi-target=asgiserve[h11]\n")
    run().assert_outcomes(passed=1)


def test_a_target_that_is_named_twice_is_tested_once_and_may_have_a_name_of_its_own(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        "--asgi-conformance",
        *["--asgi-target=asgiserve", "--asgi-target=asgiserve", "--asgi-target=mine=asgiserve[h11]"],
        "--asgi-conformance-select=h1.host.two",
        "-v",
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*h1.host.two[[]asgiserve[]] PASSED*", "*h1.host.two[[]mine[]] PASSED*"])


def test_with_paths_the_projects_own_tests_run_beside_it(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(test_project="def test_of_the_project():\n    assert True\n")
    result = run("--asgi-conformance", "--asgi-conformance-select=h1.host.two", str(path), "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_project.py::test_of_the_project PASSED*", "asgi-conformance/http1/host::h1.host.two[[]asgiserve[]] PASSED*"])


def test_k_and_xdist_and_junit_work_as_for_any_test(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    result = run("--asgi-conformance", "-k", "h1.host and not ipv6", "-p", "xdist.plugin", "-n", "2", "--junitxml=junit.xml")
    result.assert_outcomes(passed=len(HOST) - 1)
    result.stdout.fnmatch_lines(["*= ASGI conformance =*", f"asgiserve *{PASSING - 1} *"])
    written = (pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert 'name="asgi.case" value="h1.host.missing"' in written
    assert 'name="asgi.verdict" value="pass"' in written


PLAIN = """
import sys

def test_plain():
    assert [name for name in sys.modules if name.startswith("asgi_conformance.")] == ["asgi_conformance.plugin"]
"""


def test_a_run_that_does_not_ask_for_it_hears_nothing_of_it(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PLAIN)
    result = run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*conformance*=*")
