"""What happens at the end: a running request is finished, a stream is told, and the application's own shutdown runs."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer, StopTimeoutError

closed: list[str] = []


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    closed.clear()
    yield {"began": asyncio.Event(), "go_on": asyncio.Event()}
    closed.append("database")


async def report(request: Request) -> PlainTextResponse:
    request.state.began.set()
    await request.state.go_on.wait()
    return PlainTextResponse("done")


@pytest.fixture
def asgi_app() -> Starlette:
    return Starlette(lifespan=lifespan, routes=[Route("/report", report)])


def test_a_running_request_is_finished(live_server: LiveServer) -> None:
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(live_server.client.get, "/report")
        live_server.run(live_server.state["began"].wait, timeout=5)

        with pytest.raises(StopTimeoutError, match="GET /report"):
            live_server.drain(timeout=0.1)
        with pytest.raises(httpx.ConnectError):
            live_server.new_client().get("/report")

        live_server.run(live_server.state["go_on"].set)
        live_server.drain(timeout=5)
        assert answer.result().text == "done"


def test_the_database_is_closed(live_server: LiveServer) -> None:
    live_server.stop()
    assert closed == ["database"]
