"""No framework leaves anything behind that `leaks` would tell: after every kind of request, on both loops, while it runs and at its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from pytest_asgiserve.leaks import format_leaks
from pytest_asgiserve.live import LiveServer
from tests.integration.apps.common import EVENTS, HELLO, Site
from tests.integration.frameworks import FRAMEWORKS, make_app
from tests.support.serving import LOOPS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request as StarletteRequest
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from tests.integration.frameworks import Framework


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_a_framework_leaves_nothing(framework: Framework, loop: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        if framework.name == "django":
            # It leaves a file to the garbage collector where a client breaks off, and Python warns of that: its own affair.
            warnings.simplefilter("ignore", ResourceWarning)
        _visit(framework, loop, tmp_path)
        gc.collect()


def _visit(framework: Framework, loop: str, tmp_path: Path) -> None:
    """Every kind of request, and a client that goes in the middle of a response."""
    file = tmp_path / "file.bin"
    file.write_bytes(b"x" * 200_000)
    site = Site(file)
    lifespan = "on" if framework.has_lifespan else "off"
    with LiveServer(make_app(framework, site), loop=loop, leaks="fail", lifespan=lifespan) as server:
        client = server.client
        assert client.get("/hello").text == HELLO
        assert client.post("/echo", content=b"x" * 100_000).status_code == 200
        assert client.post("/json", json={"a": 1}).status_code == 200
        assert client.get("/stream").status_code == 200
        assert client.post("/upload", files={"file": ("name", b"x" * 2000, "text/plain")}).status_code == 200
        for path in ("/headers", "/cookies", "/file", *(["/state"] if framework.has_lifespan else [])):
            assert client.get(path).status_code == 200
        with client.stream("GET", "/sse") as response:
            lines = (line for line in response.iter_lines() if line)
            assert next(lines) == f"data: {EVENTS[0]}"
            # It runs: what it holds is no leak.
            assert server.leaks() == []
            server.run(site.released.set)
            assert len(list(lines)) == len(EVENTS) - 1
        if framework.has_background:
            assert client.get("/background").status_code == 200
            server.run(asyncio.wait_for, site.background_done.wait(), 5)
        with server.ws("/ws", timeout=5) as websocket:
            websocket.send_text("echo")
            assert websocket.receive_text() == "echo"
            assert server.leaks() == []
        server.run(site.released.clear)
        # This client goes in the middle of the stream.
        with client.stream("GET", "/sse") as response:
            assert next(response.iter_lines()) == f"data: {EVENTS[0]}"
        server.run(site.released.set)
        server.drain()
        assert format_leaks(server.leaks()) == ""


class _Header(BaseHTTPMiddleware):
    async def dispatch(self, request: StarletteRequest, call_next: Callable[..., Any]) -> Response:
        response: Response = await call_next(request)
        response.headers["x-middleware"] = "yes"
        return response


def _starlette() -> Starlette:
    async def numbers() -> AsyncIterator[str]:
        for number in range(3):
            yield str(number)
            await asyncio.sleep(0)

    async def plain(_request: StarletteRequest) -> Response:
        return PlainTextResponse(await anyio.to_thread.run_sync(lambda: "plain"))

    async def stream(_request: StarletteRequest) -> Response:
        return StreamingResponse(numbers())

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    return Starlette(
        routes=[Route("/plain", plain), Route("/stream", stream), WebSocketRoute("/ws", echo)], middleware=[Middleware(_Header), Middleware(_Header)]
    )


@pytest.mark.parametrize("loop", LOOPS)
def test_starlettes_middleware_and_websockets_leave_nothing(loop: str) -> None:
    with LiveServer(_starlette(), loop=loop, leaks="fail") as server:
        assert server.client.get("/plain").text == "plain"
        assert server.client.get("/stream").text == "012"
        with server.ws("/ws", timeout=5) as websocket:
            websocket.send_text("hello")
            assert websocket.receive_text() == "hello"
        server.drain()
        assert format_leaks(server.leaks()) == ""


async def _session(request: Request) -> AsyncIterator[str]:
    yield "session"
    request.state.journal.append("closed")


def _plain_session() -> Iterator[str]:
    yield "plain session"


def _fastapi(journal: list[str]) -> FastAPI:
    """With a client of its own for its whole life, whose connections outlive the requests that opened them."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with httpx.AsyncClient(trust_env=False) as upstream:
            yield {"upstream": upstream, "journal": journal}

    app = FastAPI(lifespan=lifespan)

    @app.get("/upstream")
    async def upstream(request: Request, url: str) -> int:
        client: httpx.AsyncClient = request.state.upstream
        answer = await client.get(url)
        return answer.status_code

    @app.get("/sessions")
    def sessions(one: Annotated[str, Depends(_session)], two: Annotated[str, Depends(_plain_session)], tasks: BackgroundTasks) -> list[str]:
        tasks.add_task(journal.append, "in a thread")
        return [one, two]

    return app


@pytest.mark.parametrize("loop", LOOPS)
def test_fastapis_dependencies_and_a_shared_client_leave_nothing(loop: str) -> None:
    journal: list[str] = []
    with LiveServer(_starlette(), loop=loop, leaks="fail") as upstream, LiveServer(_fastapi(journal), loop=loop, leaks="fail") as server:
        assert server.client.get("/sessions").json() == ["session", "plain session"]
        assert server.client.get("/upstream", params={"url": upstream + "/plain"}).json() == 200
        server.settle()
        assert sorted(journal) == ["closed", "in a thread"]
        # Its connection to the other server is open, in its pool.
        assert format_leaks(server.leaks()) == ""
        assert format_leaks(upstream.leaks()) == ""
