"""Uploads: a form with a file, and a body whose pieces the application counts while they come."""

import queue
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer


async def form(request: Request) -> JSONResponse:
    async with request.form() as fields:
        file = fields["file"]
        assert isinstance(file, UploadFile)
        return JSONResponse({"name": file.filename, "size": len(await file.read()), "title": fields["title"]})


async def raw(request: Request) -> JSONResponse:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        request.state.progress.put(size)
    return JSONResponse({"size": size})


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    yield {"progress": queue.SimpleQueue()}


@pytest.fixture
def asgi_app() -> Starlette:
    return Starlette(lifespan=lifespan, routes=[Route("/form", form, methods=["POST"]), Route("/raw", raw, methods=["POST"])])


def test_a_form_with_a_file(live_server: LiveServer) -> None:
    response = live_server.client.post("/form", data={"title": "notes"}, files={"file": ("notes.txt", b"x" * 100_000)})
    assert response.json() == {"name": "notes.txt", "size": 100_000, "title": "notes"}


def test_the_application_sees_each_piece_when_it_is_sent(live_server: LiveServer) -> None:
    progress = live_server.state["progress"]

    def pieces() -> Iterator[bytes]:
        for sent in (1000, 2000, 3000):
            yield b"x" * 1000
            while progress.get(timeout=5) < sent:
                pass

    assert live_server.client.post("/raw", content=pieces()).json() == {"size": 3000}


@pytest.mark.asgiserve(limits={"max_body_bytes": 1000})
def test_more_than_the_limit_is_refused(live_server: LiveServer) -> None:
    assert live_server.client.post("/raw", content=b"x" * 1001).status_code == 413
