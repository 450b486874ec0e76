"""The routes of `common` with FastAPI."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import BackgroundTasks, Body, FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from tests.integration.apps.common import CLOSE_CODE, CLOSE_REASON, CLOSE_WORD, COOKIES, HELLO, STATE, chunks, events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.apps.common import Site

__all__ = ["make_app"]


def make_app(site: Site) -> FastAPI:  # noqa: C901 - thirteen routes, each a line or two
    """The application."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        site.journal.append("started")
        yield {"greeting": STATE}
        site.journal.append("stopped")

    app = FastAPI(lifespan=lifespan)

    @app.get("/hello", response_class=PlainTextResponse)
    def hello() -> str:
        # A plain function: FastAPI runs it in a thread, as most of its users have it.
        return HELLO

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/octet-stream")

    @app.post("/json")
    async def read_json(received: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return {"received": received}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(chunks(), media_type="application/octet-stream")

    @app.get("/sse")
    async def sse() -> StreamingResponse:
        return StreamingResponse(events(site), media_type="text/event-stream")

    @app.post("/upload")
    async def upload(file: UploadFile) -> dict[str, Any]:
        return {"name": file.filename, "size": len(await file.read())}

    @app.get("/headers")
    async def headers(request: Request, response: Response) -> list[tuple[str, str]]:
        response.headers["X-Answer"] = "yes"
        return request.headers.items()

    @app.get("/cookies")
    async def cookies(response: Response) -> None:
        for name, value in COOKIES.items():
            response.set_cookie(name, value)

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("boom")

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(site.work_in_background)
        return "in the background"

    @app.get("/state", response_class=PlainTextResponse)
    async def state(request: Request) -> str:
        return str(request.state.greeting)

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(site.file, filename="download.bin")

    @app.websocket("/ws")
    async def websocket_echo(websocket: WebSocket) -> None:
        await websocket.accept()
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            if message.get("text") == CLOSE_WORD:
                await websocket.close(CLOSE_CODE, CLOSE_REASON)
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])

    return app
