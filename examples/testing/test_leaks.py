"""What an application leaves behind: a task that nobody keeps, and the place where it was made."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer

refreshing: set[asyncio.Task[None]] = set()


async def refresh() -> None:
    await asyncio.Event().wait()


async def forgets(_request: Request) -> PlainTextResponse:
    refreshing.add(asyncio.create_task(refresh()))
    return PlainTextResponse("ok")


async def tidy(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


@pytest.fixture
def asgi_app() -> Starlette:
    return Starlette(routes=[Route("/forgets", forgets), Route("/tidy", tidy)])


@pytest.mark.asgiserve(leaks="fail")
def test_nothing_is_left(live_server: LiveServer) -> None:
    assert live_server.client.get("/tidy").text == "ok"


def test_a_task_is_left(live_server: LiveServer) -> None:
    assert live_server.client.get("/forgets").text == "ok"
    (leak,) = live_server.leaks()
    assert leak.kind == "task"
    assert "test_leaks.py" in str(leak)
