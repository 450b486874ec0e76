"""The routes of `common` with Starlette."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from tests.integration.apps.common import CLOSE_CODE, CLOSE_REASON, CLOSE_WORD, COOKIES, HELLO, STATE, chunks, events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from tests.integration.apps.common import Site

__all__ = ["make_app"]


async def hello(_request: Request) -> Response:
    return PlainTextResponse(HELLO)


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


async def read_json(request: Request) -> Response:
    return JSONResponse({"received": await request.json()})


async def stream(_request: Request) -> Response:
    return StreamingResponse(chunks(), media_type="application/octet-stream")


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file = form["file"]
        assert isinstance(file, UploadFile)
        return JSONResponse({"name": file.filename, "size": len(await file.read())})


async def headers(request: Request) -> Response:
    return JSONResponse(request.headers.items(), headers={"X-Answer": "yes"})


async def cookies(_request: Request) -> Response:
    response = PlainTextResponse("")
    for name, value in COOKIES.items():
        response.set_cookie(name, value)
    return response


async def boom(_request: Request) -> Response:
    raise RuntimeError("boom")


async def state(request: Request) -> Response:
    return PlainTextResponse(request.state.greeting)


async def websocket_echo(websocket: WebSocket) -> None:
    """Starlette raises WebSocketDisconnect out of `receive_text`; with `receive` the message itself is there."""
    await websocket.accept()
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        if message.get("text") == CLOSE_WORD:
            await websocket.close(CLOSE_CODE, CLOSE_REASON)
            return
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])


def make_app(site: Site) -> Starlette:
    """The application."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        site.journal.append("started")
        yield {"greeting": STATE}
        site.journal.append("stopped")

    async def sse(_request: Request) -> Response:
        return StreamingResponse(events(site), media_type="text/event-stream")

    async def background(_request: Request) -> Response:
        return PlainTextResponse("in the background", background=BackgroundTask(site.work_in_background))

    async def file(_request: Request) -> Response:
        return FileResponse(site.file, filename="download.bin")

    return Starlette(
        routes=[
            Route("/hello", hello),
            Route("/echo", echo, methods=["POST"]),
            Route("/json", read_json, methods=["POST"]),
            Route("/stream", stream),
            Route("/sse", sse),
            Route("/upload", upload, methods=["POST"]),
            Route("/headers", headers),
            Route("/cookies", cookies),
            Route("/boom", boom),
            Route("/background", background),
            Route("/state", state),
            Route("/file", file),
            WebSocketRoute("/ws", websocket_echo),
        ],
        lifespan=lifespan,
    )
