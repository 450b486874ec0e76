"""A server in a process of its own: SIGTERM ends it in order, and its output is there to be looked at."""

import signal
import sys

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer


async def hello(_request: Request) -> PlainTextResponse:
    print("somebody is there", file=sys.stderr)
    return PlainTextResponse("hello")


app = Starlette(routes=[Route("/", hello)])

pytestmark = pytest.mark.asgiserve(app=f"{__name__}:app", mode="process")


def test_sigterm_ends_it_in_order(live_server: LiveServer) -> None:
    assert live_server.client.get("/").text == "hello"
    live_server.process.signal(signal.SIGTERM)
    assert live_server.process.wait(timeout=5) == 0


def test_what_it_writes(live_server: LiveServer) -> None:
    live_server.client.get("/")
    assert "somebody is there" in live_server.process.output
