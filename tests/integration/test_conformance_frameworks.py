"""The conformance suite on applications of real frameworks: what fails is known, with its reason, and nothing else fails.

Where a framework breaks a MUST, the set below says so; it is compared exactly, so that it is noticed when a new version mends it or breaks another.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.application.case import judge
from asgi_conformance.application.routes import parse_routes
from asgi_conformance.application.subject import Subject
from asgi_conformance.application.topics import TOPICS
from asgi_conformance.application.trial import Way
from asgi_conformance.case import Verdict
from examples.hello import app as hello
from tests.integration.apps.common import Site
from tests.integration.frameworks import FRAMEWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUTES = '/hello, /headers, /cookies, /stream, /file, POST /echo, POST /json application/json {"a": 1}, POST /upload multipart/form-data, ws:/ws'
HELLO_ROUTES = "/, /json, /stream, POST /upload, ws:/ws"

FAILING: dict[str, dict[str, str]] = {
    "starlette": {},
    "fastapi": {},
    "django": {
        # www.rst, Response Start: "Header names must be lowercased". Django 5.2, core/handlers/asgi.py, send_response sends the names of the
        # HttpResponse as they are, and Set-Cookie as b"Set-Cookie": {"type": "http.response.start", "headers": [(b"Content-Type", ...), ...]}.
        "app.lint.header-lowercase": "Content-Type",
    },
    "quart": {
        # www.rst, HTTP Connection Scope: "scheme ... Optional (but must not be empty); default is "http"". Quart 0.22, asgi.py,
        # _create_request_from_scope reads self.scope["scheme"]: KeyError, and no response.
        "app.http.scope-minimal": "KeyError: 'scheme'",
        # The same of a WebSocket ("default is "ws""), in _create_websocket_from_scope.
        "app.ws.minimal-scope": "KeyError",
        # www.rst, Receive: bytes and text are "Optional; if missing, it is equivalent to None", "Exactly one of bytes or text must be non-None".
        # Quart's handle_messages has event.get("bytes") or event["text"]: for b"" without text a KeyError, ...
        "app.ws.receive-shapes": "empty bytes",
        # ... and with text None the application is told None, which it echoes; send_data makes {"bytes": None, "text": None} of that
        # (www.rst, Send: "Exactly one of bytes or text must be non-None").
        "app.lint.ws-send-one-of": "neither",
    },
    "litestar": {
        # www.rst, Request: "body ... Optional; if missing defaults to b""". Litestar 2.25, connection/request.py, stream() reads event["body"].
        "app.http.request-defaults": "no keys: 500",
    },
}


def run(subject: Subject) -> Iterator[tuple[str, Verdict, str]]:
    """Every case in every way: where and what, the verdict, the reason."""
    for way in Way:
        for topic in TOPICS:
            for case in topic:
                if way in case.ways:
                    judgement, _ = judge(case, subject, way)
                    yield case.id, judgement.verdict, judgement.reason


# Django's warning of an upload's file that is not closed comes when the garbage is collected, whenever that is.
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
@pytest.mark.parametrize("framework", [framework for framework in FRAMEWORKS if framework.name in FAILING], ids=lambda framework: framework.name)
def test_what_fails_on_a_framework_is_known(framework: object, file: Path) -> None:
    name = str(getattr(framework, "name", ""))
    make_app = importlib.import_module(f"tests.integration.apps.{name}_app").make_app
    subject = Subject(name, lambda: make_app(Site(file)), parse_routes([ROUTES]))
    try:
        results = list(run(subject))
    finally:
        subject.close()
    failing = {case: reason for case, verdict, reason in results if verdict in {Verdict.FAIL, Verdict.ERROR}}
    assert set(failing) == set(FAILING[name]), failing
    for case, reason in FAILING[name].items():
        assert reason in failing[case]
    # And it was not for want of trying.
    assert sum(verdict is Verdict.PASS for _, verdict, _ in results) > 70


def test_the_example_application_fails_nothing() -> None:
    subject = Subject("examples.hello:app", lambda: hello, parse_routes([HELLO_ROUTES]))
    try:
        results = list(run(subject))
    finally:
        subject.close()
    assert [(case, reason) for case, verdict, reason in results if verdict in {Verdict.FAIL, Verdict.ERROR}] == []
    assert sum(verdict is Verdict.PASS for _, verdict, _ in results) > 90
