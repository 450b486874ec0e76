"""``pytest --asgi-conformance``, as a user runs it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Level
from asgi_conformance.suite.http1_host import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

# Of the cases that these tests run, those that are judged.
PASSING = sum(1 for case in HOST if case.level not in {Level.INFO, Level.CONFLICT})

# A server that takes whatever looks like a head for a request, and calls the application with it.
LAX = """
import asyncio, os, socket, sys
sys.path.insert(0, sys.argv[2])
from reference import app

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            method, target = head.split(b" ")[:2]
            path, _, query = target.decode("latin-1").partition("?")
            length = 0
            for line in head.split(b"\\r\\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = await reader.readexactly(length)
            headers = [tuple(part.strip() for part in line.split(b":", 1)) for line in head.split(b"\\r\\n")[1:] if b":" in line]
            scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method.decode(), "path": path,
                     "raw_path": path.encode(), "query_string": query.encode(), "scheme": "http", "root_path": "",
                     "headers": [(name.lower(), value) for name, value in headers], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}
            sent = []
            messages = [{"type": "http.request", "body": body, "more_body": False}]
            async def receive():
                return messages.pop(0) if messages else {"type": "http.disconnect"}
            async def send(message):
                sent.append(message)
            await app(scope, receive, send)
            start = next(message for message in sent if message["type"] == "http.response.start")
            body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
            fields = [(name, value) for name, value in start.get("headers", ()) if name != b"content-length"]
            writer.write(b"HTTP/1.1 %d OK\\r\\n" % start["status"] + b"".join(b"%s: %s\\r\\n" % field for field in fields)
                         + b"content-length: %d\\r\\n\\r\\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, sock=socket.socket(fileno=int(sys.argv[1])))
    await server.serve_forever()

asyncio.run(main())
"""


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
    # A report, and nothing of ours in it.
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_a_server_that_is_not_there_is_skipped_with_the_reason(run: Callable[..., pytest.RunResult]) -> None:
    result = run("--asgi-conformance", "--asgi-target=cmd:no-such-program {port} {app}", "--asgi-conformance-select=h1.host.missing", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *no-such-program*"])


def test_an_unknown_target_is_said_at_once(run: Callable[..., pytest.RunResult]) -> None:
    result = run("--asgi-conformance", "--asgi-target=uvicron")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --asgi-target uvicron: *"])


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
