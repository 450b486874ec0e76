"""The routes of `common` with Litestar."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Litestar, Request, Response, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import State, UploadFile  # noqa: TC002 - read at run time
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import File, Stream

from tests.integration.apps.common import CLOSE_CODE, CLOSE_REASON, CLOSE_WORD, COOKIES, HELLO, STATE, chunks, events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.apps.common import Site

__all__ = ["make_app"]


@get("/hello", media_type="text/plain", sync_to_thread=True)
def hello() -> str:
    return HELLO


@post("/echo", status_code=200, media_type="application/octet-stream")
async def echo(request: Request[Any, Any, Any]) -> bytes:
    return await request.body()


@post("/json", status_code=200)
async def read_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return {"received": await request.json()}


@get("/stream")
async def stream() -> Stream:
    return Stream(chunks(), media_type="application/octet-stream")


@post("/upload", status_code=200)
async def upload(data: Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, Any]:
    file = data["file"]
    return {"name": file.filename, "size": len(await file.read())}


@get("/headers")
async def headers(request: Request[Any, Any, Any]) -> Response[list[tuple[str, str]]]:
    return Response(list(request.headers.multi_items()), headers={"X-Answer": "yes"})


@get("/cookies")
async def cookies() -> Response[None]:
    response = Response(None)
    for name, value in COOKIES.items():
        response.set_cookie(name, value)
    return response


@get("/boom")
async def boom() -> None:
    raise RuntimeError("boom")


@get("/state", media_type="text/plain")
async def state(state: State) -> str:
    return str(state.greeting)


@websocket("/ws")
async def websocket_echo(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text, data = message.get("text"), message.get("bytes")
        if text == CLOSE_WORD:
            await socket.close(CLOSE_CODE, CLOSE_REASON)
            return
        if isinstance(text, str):
            await socket.send_text(text)
        elif isinstance(data, bytes):
            await socket.send_bytes(data)


def make_app(site: Site) -> Litestar:
    """The application."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        site.journal.append("started")
        app.state.greeting = STATE
        yield
        site.journal.append("stopped")

    @get("/sse")
    async def sse() -> Stream:
        return Stream(events(site), media_type="text/event-stream")

    @get("/background", media_type="text/plain")
    async def background() -> Response[str]:
        return Response("in the background", background=BackgroundTask(site.work_in_background))

    @get("/file")
    async def file() -> File:
        return File(site.file, filename="download.bin")

    return Litestar(
        [hello, echo, read_json, stream, sse, upload, headers, cookies, boom, background, state, file, websocket_echo],
        lifespan=[lifespan],
        openapi_config=None,
        # Its own would set the level of the root logger, for every test of the process.
        logging_config=None,
    )
