"""``pytest --asgi-conformance --asgi-app``, as a user runs it; and which routes are called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.application.routes import Route, RouteError, multipart, parse_routes, routes_of_schema
from tests.conformance.shop import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., pytest.RunResult]

HELLO = ("-p", "pytest_asgiserve.plugin", "--asgi-conformance", "--asgi-app", "examples.hello:app")
BROKEN = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body = scope["client"][0].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})

class Middleware:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await self.app(scope, receive, send)

def crash():
    raise RuntimeError("no database here")

if __name__ == "crashing":
    crash()
"""

# Its words have the path in them, which may be bytes that are no UTF-8.
TALKATIVE = """
async def app(scope, receive, send):
    if scope["type"] != "http" or "\\udcff" in scope["path"]:
        raise LookupError(scope.get("path"))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), (b"content-length", b"0")]})
    await send({"type": "http.response.body"})
"""


# ---- the command line


def test_an_application_is_called_in_process_and_live(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_of_the_project():\n    raise AssertionError('not asked for')\n")
    result = run(*HELLO, "--asgi-app-paths=/, ws:/ws", "--asgi-conformance-select=app.*.b*", "--asgi-conformance-json=report.json", "-v")
    result.stdout.fnmatch_lines(
        [
            "*app.http.baseline[[]examples.hello:app-in-process[]] PASSED*",
            "*app.ws.big-and-many[[]examples.hello:app-in-process[]] PASSED*",
            "*app.http.baseline[[]examples.hello:app-live[]] PASSED*",
            "*= ASGI conformance =*",
            "examples.hello:app  *",
            "examples.hello:app (live)  *",
        ]
    )
    assert result.ret == pytest.ExitCode.OK
    report = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    assert list(report["targets"]) == ["examples.hello:app", "examples.hello:app (live)"]
    found = {(one["target"], one["case"]): one for one in report["results"]}
    baseline = found["examples.hello:app", "app.http.baseline"]
    assert (baseline["verdict"], baseline["level"]) == ("pass", "MUST")
    assert "http.response.start" in baseline["trace"]
    assert found["examples.hello:app", "app.http.bad-content-type"]["verdict"] == "unsupported"


def test_a_broken_application_fails_with_the_sentence_the_clause_and_the_exchange(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(broken=BROKEN)
    pytester.makeini("[pytest]\nasgi_app = broken:app\nasgi_app_paths = /\n")
    result = run("-p", "pytest_asgiserve.plugin", "--asgi-conformance", "--asgi-conformance-select=app.http.scope-minimal")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "fail: GET /: a scope without the optional keys: no response, KeyError: 'client' left the application",
            "scheme, raw_path, root_path, client, server, *are optional.",
            "(ASGI www, HTTP Connection Scope; MUST)",
            "*ms = scope: type='http', asgi={'version': '3.0'}*",
            "*ms ! the application raised KeyError: 'client'",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_warning_fails_where_it_is_asked_for(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(broken=BROKEN)
    arguments = ("-p", "pytest_asgiserve.plugin", "--asgi-conformance", "--asgi-app=broken:app", "--asgi-conformance-select=app.http.unknown-method")
    run(*arguments).assert_outcomes(passed=2)
    run(*arguments, "--asgi-strict").assert_outcomes(failed=2)


def test_a_middleware_is_tested_without_an_application(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(broken=BROKEN)
    result = run("--asgi-conformance", "--asgi-middleware=broken:Middleware")
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(["fail: lifespan: the server gets *", "fail  broken:Middleware  app.mw.pass-through *"])


def test_an_application_that_cannot_be_had_is_an_error_in_one_line(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(crashing=BROKEN)
    for name, line in (("nowhere:app", "*nowhere*"), ("crashing:app", "RuntimeError: no database here")):
        result = run("-p", "pytest_asgiserve.plugin", "--asgi-conformance", f"--asgi-app={name}", "--asgi-conformance-select=app.http.b*")
        # Once in process and once live; the other cases are errors in the reports, and skipped.
        result.assert_outcomes(failed=2, skipped=3)
        result.stdout.fnmatch_lines([line, f"error {name}  3 cases", f"error {name} (live)  2 cases"])
        result.stdout.no_fnmatch_line("*asgi_conformance/application*")


DOES_NOT_START = """
import pathlib

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        with pathlib.Path("tried").open("a") as tried:
            tried.write("+")
        message = "Traceback (most recent call last):\\n  File 'x'\\nRuntimeError: no database here"
        await send({"type": "lifespan.startup.failed", "message": message})
"""


def test_an_application_that_does_not_start_is_an_error_once_and_not_tried_for_every_case(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(failing=DOES_NOT_START)
    result = run("-p", "pytest_asgiserve.plugin", "--asgi-conformance", "--asgi-app=failing:app", "--asgi-conformance-select=app.http.b*")
    result.assert_outcomes(failed=2, skipped=3)
    reason = "the application does not start: lifespan.startup.failed: RuntimeError: no database here"
    result.stdout.fnmatch_lines([f"error: {reason}", "Traceback (most recent call last):", "error failing:app  3 cases", f"      {reason}"])
    result.stdout.no_fnmatch_line("*asgi_conformance/application*")
    # Once in process, once behind the server.
    assert (pytester.path / "tried").read_text(encoding="utf-8") == "++"


def test_servers_are_tested_beside_where_they_are_named(run: Run) -> None:
    result = run(
        *HELLO,
        "--asgi-target=asgiserve[[]h11]".replace("[[]", "["),
        "--asgi-conformance-select=*.baseline",
        "--asgi-conformance-select=h1.host.missing",
    )
    result.assert_outcomes(passed=3)


def test_known_deviations_are_those_of_the_application_too(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(broken=BROKEN)
    arguments = ("-p", "pytest_asgiserve.plugin", "--asgi-conformance", "--asgi-app=broken:app", "--asgi-known=known.txt")
    select = "--asgi-conformance-select=app.http.s*"
    run(*arguments, select, "--asgi-known-update")
    assert "broken:app :: app.http.scope-minimal" in (pytester.path / "known.txt").read_text(encoding="utf-8")
    result = run(*arguments, select)
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["xfailed"] > 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--asgi-app=a:b", "--asgi-app-paths=items"], "ERROR: --asgi-app-paths: 'items' is no route; expected *"),
        (["--asgi-app=a:b", "--asgi-app-paths=GET / text/plain"], "ERROR: --asgi-app-paths: 'GET / text/plain': GET has no body"),
        (["--asgi-app=a:b", "--asgi-app-timeout=soon"], "ERROR: --asgi-app-timeout soon: expected seconds, more than 0"),
        (["--asgi-app-paths=/"], "ERROR: --asgi-app-paths needs an application: *"),
    ],
)
def test_a_wrong_option_is_told_in_a_line(run: Run, arguments: list[str], line: str) -> None:
    result = run("-p", "pytest_asgiserve.plugin", "--asgi-conformance", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_what_an_application_says_is_reported_whatever_it_is(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(talkative=TALKATIVE)
    asked = ("--asgi-app=talkative:app", "--asgi-conformance-select=app.http.odd-paths", "--asgi-conformance-json=report.json", "-k", "in-process")
    run(*HELLO[:3], *asked, "--asgi-conformance-html=report.html", "-p", "xdist.plugin", "-n", "1")
    (found,) = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))["results"]
    assert found["verdict"] == "warn"
    assert "LookupError: /\\udcff" in found["reason"]
    assert (pytester.path / "report.html").is_file()


def test_workers_of_xdist_start_the_application_each(run: Run) -> None:
    result = run(*HELLO, "-p", "xdist", "-n", "2", "--asgi-conformance-select=app.http.h*")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*= ASGI conformance =*", "examples.hello:app  *"])


# ---- routes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", [Route("GET", "/")]),
        ("/items, /a?b=c", [Route("GET", "/items"), Route("GET", "/a?b=c")]),
        ("HEAD /", [Route("HEAD", "/")]),
        ("ws:/chat,WS /x", [Route("WS", "/chat"), Route("WS", "/x")]),
        ("POST /a text/plain a, b", [Route("POST", "/a", b"text/plain", b"a, b")]),
        ('POST /a application/json {"a": 1, "b": "/x"}, /b', [Route("POST", "/a", b"application/json", b'{"a": 1, "b": "/x"}'), Route("GET", "/b")]),
        ("/ä", [Route("GET", "/%C3%A4")]),
        ("/, /", [Route("GET", "/")]),
    ],
)
def test_routes_are_read_as_they_are_written(text: str, expected: list[Route]) -> None:
    assert parse_routes([text]) == expected


def test_a_route_knows_its_path_and_query() -> None:
    (route,) = parse_routes(["/%C3%A4/b?c=%20"])
    assert (route.path, route.raw_path, route.query) == ("/ä/b", b"/%C3%A4/b", b"c=%20")


def test_an_upload_is_a_form_with_a_file() -> None:
    (route,) = parse_routes(["POST /u multipart/form-data; name=photo"])
    before, after = multipart(route) or (b"", b"")
    assert b'name="photo"; filename=' in before
    assert after.endswith(b"--\r\n")
    assert multipart(parse_routes([ROUTES])[0]) is None


@pytest.mark.parametrize("text", ["items", "ws:chat", "post /a", "/a b c", "GET /a text/plain x"])
def test_what_is_no_route_is_refused(text: str) -> None:
    with pytest.raises(RouteError):
        parse_routes([text])


SCHEMA = {
    "paths": {
        "/items": {"get": {}, "post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}}},
        "/items/{id}": {"get": {}, "delete": {}},
        "/search": {"get": {"parameters": [{"name": "q", "in": "query", "required": True}]}},
        "/list": {"get": {"parameters": [{"name": "page", "in": "query", "required": False}]}, "delete": {}},
        "/photo": {"put": {"requestBody": {"content": {"multipart/form-data": {"schema": {"required": ["photo"], "properties": {"photo": {}}}}}}}},
        "/plain": {"post": {}},
    },
    "components": {
        "schemas": {
            "Item": {
                "type": "object",
                "required": ["name", "count", "tags", "kind", "nested", "flag", "nothing"],
                "properties": {
                    "name": {"type": "string", "minLength": 3},
                    "count": {"type": "integer", "minimum": 5},
                    "tags": {"type": "array", "items": {"type": "number"}, "minItems": 1},
                    "kind": {"enum": ["a", "b"]},
                    "nested": {"anyOf": [{"$ref": "#/components/schemas/Item"}, {"type": "null"}]},
                    "flag": {"type": "boolean"},
                    "nothing": {"type": "null"},
                    "optional": {"type": "string"},
                },
            }
        }
    },
}


def test_routes_are_found_in_a_schema() -> None:
    found = routes_of_schema(json.dumps(SCHEMA).encode())
    assert [str(route) for route in found] == ["GET /items", "GET /list", "POST /items", "PUT /photo", "POST /plain"]
    item = json.loads(found[2].body)
    assert {"name": "xxx", "count": 5, "tags": [1], "kind": "a", "flag": True, "nothing": None}.items() <= item.items()
    assert "optional" not in item
    assert b'name="photo"' in found[3].body


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"paths": []}', b'{"paths": {"/": 1}}', b'{"openapi": "3.1.0"}'])
def test_what_is_no_schema_has_no_routes(content: bytes) -> None:
    assert routes_of_schema(content) == []
