"""``asgiserve --lint``: what is wrong stands in the server's log, and the client gets what it got before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asgi_conformance import lint
from asgiserve import Server
from asgiserve.errors import ConfigError
from tests.support.apps import ok
from tests.support.process import child

if TYPE_CHECKING:
    from pathlib import Path

SHOUTS = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Loud", b"1"), (b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
OPTIONS = ("main:app", "--port", "0", "--lifespan", "off")


@pytest.mark.parametrize("switch", [["--lint"], []], ids=["on", "off"])
def test_the_log_says_what_is_wrong_where_that_is_asked(tmp_path: Path, switch: list[str]) -> None:
    with child(*OPTIONS, *switch, source=SHOUTS, cwd=tmp_path) as running:
        host, port = running.address
        for path in ("/a", "/a", "/b%0Ac"):
            assert httpx.get(f"http://{host}:{port}{path}", trust_env=False, timeout=20).text == "ok"
        running.wait_line(lambda line: '"GET /b' in line)
        told = [line.partition("ERROR:")[2].strip() for line in running.lines if "ERROR" in line]
    assert [line.split(" [")[0] for line in told] == (
        ["GET /a: http.response.start: header b'X-Loud'", r"GET '/b\nc': http.response.start: header b'X-Loud'"] if switch else []
    )
    assert all("[app.lint.header-lowercase, MUST: " in line for line in told)


def test_a_server_of_a_program_is_told_how_it_is_done_there() -> None:
    with pytest.raises(ConfigError, match=r"wrap=asgi_conformance\.lint"):
        Server(ok, lint=True)


def test_a_server_of_a_program_serves_what_wrap_makes_of_the_loaded_application() -> None:
    given: list[Any] = []

    def wrap(app: Any) -> Any:
        given.append(app)
        return lint(app, ignore=["app.lint.content-type"])

    async def serve() -> int:
        async with Server("tests.support.apps:ok", wrap=wrap, port=0, lifespan="off") as server, httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(server.addresses[0].url)).status_code

    assert asyncio.run(serve()) == 200
    assert given == [ok]


def test_without_the_package_the_mistake_is_one_line(tmp_path: Path) -> None:
    missing = "import sys; sys.modules['asgi_conformance'] = None"
    with child(*OPTIONS, "--lint", source=SHOUTS, cwd=tmp_path, prelude=missing) as running:
        assert running.wait() == 2
    assert running.lines == ["Error: --lint: the package asgi_conformance is missing; it comes with asgiserve (pip install asgiserve)"]
