"""The routes of `common` with Quart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Quart, Response, current_app, jsonify, make_response, request, send_file, websocket

from tests.integration.apps.common import CLOSE_CODE, CLOSE_REASON, CLOSE_WORD, COOKIES, HELLO, STATE, chunks, events

if TYPE_CHECKING:
    from tests.integration.apps.common import Site

__all__ = ["make_app"]


def make_app(site: Site) -> Quart:  # noqa: C901 - thirteen routes, each a line or two
    """The application."""
    app = Quart(__name__)

    @app.before_serving
    async def start() -> None:
        site.journal.append("started")
        current_app.config["GREETING"] = STATE

    @app.after_serving
    async def stop() -> None:
        site.journal.append("stopped")

    @app.get("/hello")
    async def hello() -> Response:
        return Response(HELLO, mimetype="text/plain")

    @app.post("/echo")
    async def echo() -> Response:
        return Response(await request.get_data(), mimetype="application/octet-stream")

    @app.post("/json")
    async def read_json() -> Any:
        return {"received": await request.get_json()}

    @app.get("/stream")
    async def stream() -> Any:
        return chunks(), {"Content-Type": "application/octet-stream"}

    @app.get("/sse")
    async def sse() -> Any:
        response: Any = await make_response(events(site), {"Content-Type": "text/event-stream"})
        response.timeout = None
        return response

    @app.post("/upload")
    async def upload() -> Any:
        file = (await request.files)["file"]
        return {"name": file.filename, "size": len(file.read())}

    @app.get("/headers")
    async def headers() -> Any:
        return jsonify(list(request.headers.items())), {"X-Answer": "yes"}

    @app.get("/cookies")
    async def cookies() -> Response:
        response = Response("")
        for name, value in COOKIES.items():
            response.set_cookie(name, value)
        return response

    @app.get("/boom")
    async def boom() -> Response:
        raise RuntimeError("boom")

    @app.get("/background")
    async def background() -> str:
        current_app.add_background_task(site.work_in_background)
        return "in the background"

    @app.get("/state")
    async def state() -> str:
        return str(current_app.config["GREETING"])

    @app.get("/file")
    async def file() -> Response:
        return await send_file(site.file, as_attachment=True, attachment_filename="download.bin")

    @app.websocket("/ws")
    async def websocket_echo() -> None:
        while True:
            message = await websocket.receive()
            if message == CLOSE_WORD:
                await websocket.close(CLOSE_CODE, CLOSE_REASON)
                return
            await websocket.send(message)

    return app
