"""Lint behind a real server: the setting ``lint`` of the live server, and the frameworks under it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import websockets.sync.client

from asgi_conformance import LintError, LintWarning, lint
from asgiserve.errors import ConfigError
from pytest_asgiserve import LiveServer
from tests.integration.apps.common import CLOSE_WORD, HELLO, Site
from tests.integration.frameworks import FRAMEWORKS, Framework, make_app
from tests.support.apps import respond

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.apps import Message, Receive, Scope, Send

# What a framework does against a rule, by its own decision.
KNOWN = {
    # django/core/handlers/asgi.py: "Have to preserve header case as there are some non-RFC compliant clients that require e.g. Content-Type."
    "django": ["app.lint.header-lowercase"],
    # This repository's; a client takes a body without a type for application/octet-stream, as it is to.
    "plain": ["app.lint.content-type"],
}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/hello", {}),
    ("HEAD", "/hello", {}),
    ("DELETE", "/hello", {}),
    ("OPTIONS", "/hello", {}),
    ("POST", "/echo", {"content": b"abc"}),
    ("POST", "/echo", {"content": b""}),
    ("POST", "/json", {"json": {"a": 1}}),
    ("GET", "/stream", {}),
    ("GET", "/sse", {}),
    ("POST", "/upload", {"files": {"file": ("name", b"x", "text/plain")}}),
    ("GET", "/headers", {}),
    ("GET", "/cookies", {}),
    ("GET", "/file", {}),
    ("HEAD", "/file", {}),
    ("GET", "/file", {"headers": {"range": "bytes=0-9"}}),
    ("GET", "/file", {"headers": {"range": "bytes=0-1,5-6"}}),
    ("GET", "/file", {"headers": {"range": "bytes=9000-"}}),
    ("GET", "/nowhere", {}),
]


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=[framework.name for framework in FRAMEWORKS])
def test_a_framework_breaks_no_rule(framework: Framework, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(b"0123456789" * 100)
    site = Site(file)
    app = make_app(framework, site)
    known = KNOWN.get(framework.name)
    if known:
        app = lint(app, ignore=known)
    # Warnings are errors in this run, so a SHOULD is looked at as well as a MUST.
    with LiveServer(app, lint=not known, lifespan="on" if framework.has_lifespan else "off", stop_timeout=20) as server:
        server.run(site.released.set)
        for method, path, options in REQUESTS:
            assert server.client.request(method, path, **options).status_code < 500, (method, path)
        with websockets.sync.client.connect(server.ws_url("/ws"), proxy=None) as websocket:
            websocket.send("text")
            assert websocket.recv() == "text"
            websocket.send(b"bytes")
            assert websocket.recv() == b"bytes"
            websocket.send(CLOSE_WORD)
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                websocket.recv()


def test_django_keeps_the_case_of_its_header_names(tmp_path: Path) -> None:
    (django,) = [framework for framework in FRAMEWORKS if framework.name == "django"]
    app = make_app(django, Site(tmp_path / "none"))
    with LiveServer(app, lint="log", lifespan="off", stop_timeout=20) as server, pytest.MonkeyPatch.context() as patched:
        told: list[str] = []
        patched.setattr(logging.getLogger("asgi_conformance.lint"), "handle", lambda record: told.append(record.getMessage()))
        assert server.client.get("/hello").text == HELLO
    assert [line.split(" [")[0] for line in told] == ["GET /hello: http.response.start: header b'Content-Type'"]


# --- The setting ----------------------------------------------------------------------------------------------------------


async def shouts(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, headers=[(b"X-A", b"1"), (b"content-type", b"text/plain")])


async def forgets_the_type(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send)


async def hides_its_mistake(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await shouts(scope, receive, send)
    except LintError:
        await respond(send, b"sorry", status=500)


async def starts_twice(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.startup.complete"})
    else:
        await respond(send, b"", status=204)


async def greets_before_it_starts(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        message: Message = {"type": "lifespan.startup.complete"}
        await send(message)
        await receive()
    else:
        await respond(send, b"", status=204)


@pytest.mark.asgiserve(app=shouts, lint=True, lifespan="off")
def test_a_violation_is_an_error_of_the_application(live_server: LiveServer) -> None:
    with live_server.expect_error(LintError, match="header-lowercase"):
        assert live_server.client.get("/").status_code == 500


@pytest.mark.asgiserve(app=hides_its_mistake, lint=True, lifespan="off")
def test_a_violation_that_the_application_caught_is_one_too(live_server: LiveServer) -> None:
    with live_server.expect_error(LintError, match="header-lowercase"):
        assert live_server.client.get("/").text == "sorry"


@pytest.mark.asgiserve(app=forgets_the_type, lint=True, lifespan="off")
def test_a_warning_that_is_an_error_is_one_too(live_server: LiveServer) -> None:
    with live_server.expect_error(LintWarning, match="content-type"):
        live_server.client.get("/")


@pytest.mark.asgiserve(app=shouts, lifespan="off")
def test_nothing_is_checked_unless_asked(live_server: LiveServer) -> None:
    assert live_server.settings.lint is False
    assert live_server.client.get("/").status_code == 200


@pytest.mark.asgiserve(app=shouts, lint="log", lifespan="off")
def test_the_log_may_have_it_instead(live_server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    assert live_server.client.get("/").status_code == 200
    assert [record.levelname for record in caplog.records if record.name == "asgi_conformance.lint"] == ["ERROR"]


@pytest.mark.asgiserve(app=starts_twice, lint=True)
def test_a_violation_of_the_lifespan_is_told_once(live_server: LiveServer) -> None:
    (error,) = live_server.take_errors()
    assert "life-order" in str(error)


@pytest.mark.asgiserve(app=greets_before_it_starts, lint=True, log_level="critical")
def test_a_violation_before_the_start_up_is_answered_is_told_too(live_server: LiveServer) -> None:
    (error,) = live_server.take_errors()
    assert "before lifespan.startup" in str(error)
    assert live_server.client.get("/").status_code == 204


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"lint": True, "mode": "process"}, "lint needs the server in this process"), ({"lint": "loud"}, "expected True or False or log")],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        LiveServer("tests.support.apps:ok", **settings)


@pytest.mark.parametrize(("given", "lint"), [("true", True), ("off", False), ("log", "log"), (True, True)])
def test_the_words_of_an_ini_file_are_understood(given: object, lint: object) -> None:
    assert LiveServer(shouts, lint=given).settings.lint == lint
