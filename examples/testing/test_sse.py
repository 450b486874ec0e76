"""Server-sent events: a stream that never ends by itself, read from a sync test and from an async one."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer


async def ticks() -> AsyncIterator[str]:
    number = 0
    while True:
        number += 1
        yield f"data: {number}\n\n"
        await asyncio.sleep(0.01)


async def events(_request: Request) -> StreamingResponse:
    return StreamingResponse(ticks(), media_type="text/event-stream")


@pytest.fixture
def asgi_app() -> Starlette:
    return Starlette(routes=[Route("/events", events)])


def test_three_events(live_server: LiveServer) -> None:
    with live_server.client.stream("GET", "/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert [next(lines) for _ in range(5)] == ["data: 1", "", "data: 2", "", "data: 3"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_first_event(live_server: LiveServer) -> None:
    async with live_server.async_client() as client, client.stream("GET", "/events") as response:
        assert await anext(response.aiter_lines()) == "data: 1"
