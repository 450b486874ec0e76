"""Reports of the conformance suite: JSON, Markdown, the page, and the file of known deviations."""

from __future__ import annotations

import json
import queue
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asgi_conformance.known import KnownFileError, read_known, update_known
from asgi_conformance.report import Result, markdown, read_json, to_json
from asgi_conformance.report_page import html_page
from tests.conformance.lax_server import LAX
from tests.support.browser import browser, needs_browser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESULTS = [
    Result("asgiserve[h11]", "h1.host.missing", "MUST", "RFC 9112 §3.2", "pass", "", "A server MUST.", "HTTP/1.1: Host", "0.1 ms > b'GET'"),
    Result(
        "asgiserve[h11]",
        "ws.close.echo",
        "SHOULD",
        "RFC 6455 §5.5.1; ASGI www, Close",
        "warn",
        "seen: <none> | `x` [a](b)",
        "An endpoint.",
        "WebSocket",
        "",
    ),
    Result("other@/opt/python", "h1.host.missing", "MUST", "RFC 9112 §3.2", "fail", "seen: 200", "A server MUST.", "HTTP/1.1: Host", "</script><b>"),
    Result("other@/opt/python", "ws.close.echo", "SHOULD", "RFC 6455 §5.5.1; ASGI www, Close", "unsupported", "", "An endpoint.", "WebSocket", ""),
]
VERSIONS = {"asgiserve[h11]": "1.2", "other@/opt/python": None}


def report() -> dict[str, Any]:
    return to_json(RESULTS, VERSIONS, "pytest --asgi-conformance")


def test_json_is_read_again_as_it_was_written_but_for_where_an_interpreter_is() -> None:
    again = read_json(json.dumps(report()))
    assert again["format"] == 1
    assert again["targets"] == {"asgiserve[h11]": "1.2", "other": None}
    assert again["results"][:2] == RESULTS[:2]
    assert {result.target for result in again["results"]} == {"asgiserve[h11]", "other"}


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 99}'])
def test_another_format_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="format 1"):
        read_json(text)


def test_markdown_is_a_table_whose_cells_hold_what_a_server_said() -> None:
    text = markdown(RESULTS, VERSIONS)
    assert "| | version | pass | unsupported | warn | fail |" in text
    assert "| asgiserve[h11] | 1.2 | 1 |  | 1 |  |" in text
    assert "| other |  |  | 1 |  | 1 |" in text
    assert "seen: &lt;none> \\| `x` [a]\\(b)" in text
    findings = text.partition("seen |")[2].splitlines()[2:]
    assert [re.split(r"(?<!\\)\|", line)[1].strip() for line in findings] == ["✗ fail", "△ warn"]


def test_what_is_in_a_command_is_no_interpreter_and_ends_no_cell() -> None:
    target = "cmd:serve --user me@here {fd} | tee"
    results = [Result(target, "h1.host.missing", "MUST", "RFC 9112 §3.2", "pass", "")]
    assert to_json(results, {target: None}, "pytest")["targets"] == {target: None}
    assert "| cmd:serve --user me@here {fd} \\| tee |  | 1 |" in markdown(results, {target: None})


def test_the_page_needs_nothing_else_and_nothing_that_a_server_said_is_markup() -> None:
    page = html_page(report())
    assert not re.search(r"""(?:src|href)=(?!"data:,")|@import|url\(|https?://""", page)
    assert "<b>" not in page
    assert page.count("</script>") == 1


def test_a_known_deviation_is_a_target_and_a_case_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text("# ours\n\nasgiserve[h11] :: h1.*  # https://example.org/1\n* :: ws.close.echo\n", encoding="utf-8")
    first, second = read_known(path)
    assert (first.line, first.reason) == (3, "https://example.org/1")
    assert first.matches("asgiserve[h11]", "h1.host.missing")
    assert not first.matches("asgiserve[httptools]", "h1.host.missing")
    assert not first.matches("asgiserveh", "h1.host.missing")
    assert second.matches("uvicorn", "ws.close.echo")


def test_a_known_deviation_may_be_that_of_a_server_at_an_ipv6_address(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text("url:http://[::1]:9000 :: h1.host.missing\n", encoding="utf-8")
    (one,) = read_known(path)
    assert one.matches("url:http://[::1]:9000", "h1.host.missing")


@pytest.mark.parametrize("line", ["h1.host.missing", "a ::", ":: b"])
def test_a_line_that_is_none_is_said_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "known"
    path.write_text(f"a :: b\n{line}\n", encoding="utf-8")
    with pytest.raises(KnownFileError, match="known:2: "):
        read_known(path)


def test_an_update_keeps_what_is_true_or_did_not_run_and_replaces_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text("# why\na :: x.*  # broken in part\na :: y.one  # link\nother :: z\n", encoding="utf-8")
    verdicts = {("a", "x.one"): "known", ("a", "x.two"): "pass", ("a", "y.one"): "known", ("a", "y.two"): "fail", ("a", "y.three"): "warn"}
    assert update_known(path, verdicts) == 4
    assert path.read_text(encoding="utf-8") == "# why\na :: y.one  # link\nother :: z\na :: x.one\na :: y.two\n"
    assert update_known(path, verdicts) == 4


def test_an_update_makes_the_file(tmp_path: Path) -> None:
    assert update_known(tmp_path / "new", {("a", "b"): "fail"}) == 1
    assert (tmp_path / "new").read_text(encoding="utf-8") == "a :: b\n"


# As a user runs it.

SELECT = "--asgi-conformance-select=h1.host.[mt][iw]*"


@pytest.fixture
def lax(pytester: pytest.Pytester) -> str:
    return f"--asgi-target=cmd:{sys.executable} {pytester.makepyfile(lax=LAX)} {{fd}} {{app_dir}}"


def test_every_report_is_written(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, lax: str) -> None:
    summary = pytester.path / "summary.md"
    summary.write_text("# before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    files = {kind: f"--asgi-conformance-{kind}=new/report.{kind}" for kind in ("json", "html", "markdown")}
    result = run("--asgi-conformance", SELECT, lax, "--asgi-target=asgiserve[h11]", *files.values(), "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["written to new/report.json", "written to new/report.html", "written to new/report.markdown"])
    written = read_json((pytester.path / "new/report.json").read_text(encoding="utf-8"))
    assert {one.case for one in written["results"]} == {"h1.host.missing", "h1.host.two"}
    assert all(one.says and one.topic and "> b'GET / HTTP/1.1" in one.trace for one in written["results"])
    assert "h1.host.missing" in (pytester.path / "new/report.html").read_text(encoding="utf-8")
    text = (pytester.path / "new/report.markdown").read_text(encoding="utf-8")
    assert "✗ fail" in text
    assert summary.read_text(encoding="utf-8") == f"# before\n{text}"


def test_known_deviations_do_not_fail_and_are_shown(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, lax: str) -> None:
    known = pytester.path / "known.txt"
    made = run("--asgi-conformance", SELECT, lax, "--asgi-known=known.txt", "--asgi-known-update")
    made.assert_outcomes(xfailed=2)
    made.stdout.fnmatch_lines(["written to known.txt: 2 known deviations"])
    assert len(read_known(known)) == 2
    kept = run("--asgi-conformance", SELECT, lax, "--asgi-known=known.txt")
    kept.assert_outcomes(xfailed=2)
    assert kept.ret == pytest.ExitCode.OK
    kept.stdout.fnmatch_lines(["known cmd:* h1.host.missing (RFC 9112 §3.2; MUST)"])
    seen = run("--asgi-conformance", SELECT, lax, "--asgi-known=known.txt", "--runxfail")
    seen.assert_outcomes(failed=2)


def test_a_report_that_cannot_be_written_after_all_is_said_and_the_others_are_written(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "nowhere" / "summary.md"))
    result = run("--asgi-conformance", SELECT, "--asgi-conformance-json=deep/report.json", "--asgi-known=deep/known.txt", "--asgi-known-update")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["written to deep/report.json", "*summary.md cannot be written: No such file*", "written to deep/known.txt: 0 known *"]
    )
    assert (pytester.path / "deep" / "report.json").exists()


def test_a_warning_is_told_with_what_was_seen(run: Callable[..., pytest.RunResult], lax: str) -> None:
    result = run("--asgi-conformance", "--asgi-conformance-select=h1.field.ctl-value", lax)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["warn  cmd:* h1.field.ctl-value (*; SHOULD)", "      0x01: served with whatever value"])


def test_a_line_that_is_no_longer_true_fails(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    (pytester.path / "known.txt").write_text(
        "asgiserve :: h1.host.missing  # was so\nasgiserve :: h1.hots.*\nuvicorn :: h1.hots.*\nasgiserve :: h1.cl.body\n", encoding="utf-8"
    )
    stale = run("--asgi-conformance", SELECT, "--asgi-known=known.txt")
    stale.assert_outcomes(passed=1, failed=2)
    stale.stdout.fnmatch_lines(
        ["line 1 of the known deviations is no longer true: pass. *", "line 2 of the known deviations, asgiserve :: h1.hots.*"]
    )
    run("--asgi-conformance", SELECT, "--asgi-known=known.txt", "--asgi-known-update").assert_outcomes(passed=2)
    # What did not run, and what is about another target, stays.
    assert [one.line for one in read_known(pytester.path / "known.txt")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--asgi-known=none.txt"], "--asgi-known none.txt: there is no such file; --asgi-known-update makes one"),
        (["--asgi-known-update"], "--asgi-known-update needs --asgi-known FILE, which it writes"),
        (["--asgi-known=bad.txt"], "bad.txt:1: * is no known deviation; a line is: target :: case*"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester, options: list[str], said: str) -> None:
    (pytester.path / "bad.txt").write_text("nothing\n", encoding="utf-8")
    result = run("--asgi-conformance", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{said}"])


# The page in a browser.

DRIVE = """<script>
const at = (selector) => [...document.querySelectorAll(selector)];
const seen = {cases: at("#matrix tbody th button").map((one) => one.textContent), cells: at("#matrix td.v").map((one) => one.className),
  verdicts: at("#summary thead th").slice(1).map((one) => one.textContent),
  summary: at("#summary tbody tr").map((row) => [...row.children].map((cell) => cell.textContent)),
  count: [document.getElementById("count").textContent]};
const choose = (id, value) => { const it = document.getElementById(id); it.value = value;
  it.dispatchEvent(new Event(it.tagName === "SELECT" ? "change" : "input")); seen.count.push(document.getElementById("count").textContent); };
choose("verdict", "fail"); choose("verdict", ""); choose("level", "SHOULD"); choose("level", "");
choose("document", "ASGI www"); choose("document", "");
choose("search", "HOST"); choose("search", "");
document.querySelector("#matrix td.fail").click();
seen.details = document.querySelector("tr.more").innerText; seen.open = at("tr.more details[open] pre").map((one) => one.textContent);
document.querySelector("#matrix td.fail").previousElementSibling.click();
seen.switched = at("tr.more details[open] pre").map((one) => one.textContent);
document.querySelector("#matrix td.fail").click(); document.querySelector("#matrix td.fail").click();
seen.closed = document.querySelector("tr.more") === null;
seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
fetch("/report", {method: "POST", body: JSON.stringify(seen)});
</script>"""


@needs_browser
@pytest.mark.timeout(90)
@pytest.mark.parametrize("size", ["1200,800", "500,900"], ids=["desk", "phone"])
def test_the_page_in_a_browser(live_server_factory: Any, tmp_path: Path, size: str) -> None:
    reports: queue.Queue[dict[str, Any]] = queue.Queue()
    page = html_page(report()).replace("</body>", DRIVE + "</body>").encode()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/report":
            reports.put(json.loads(body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html; charset=utf-8")]})
        await send({"type": "http.response.body", "body": page if scope["path"] == "/" else b""})

    server = live_server_factory(app)
    with browser(server.url + "/", tmp_path / "browser", f"--window-size={size}"):
        seen = reports.get(timeout=60)
    assert seen["cases"] == ["h1.host.missing", "ws.close.echo"]
    assert seen["cells"] == ["v pass", "v fail", "v warn", "v unsupported"]
    assert seen["summary"] == [["asgiserve[h11]", "1.2", "1", "", "1", ""], ["other", "", "", "1", "", "1"]]
    assert seen["count"] == [f"{number} of 2 cases" for number in (2, 1, 2, 1, 2, 1, 2, 1, 2)]
    assert "A server MUST." in seen["details"]
    assert "RFC 9112 §3.2; MUST" in seen["details"]
    assert seen["open"] == ["</script><b>"]
    assert seen["switched"] == ["0.1 ms > b'GET'"]
    assert seen["closed"] is True
    assert seen["verdicts"] == ["version", "✓ pass", "\u2013 unsupported", "△ warn", "✗ fail"]
    assert seen["overflow"] <= 0
