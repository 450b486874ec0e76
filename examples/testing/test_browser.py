"""A browser against one server for the whole run: the page says what it got, and the test waits for that."""

import queue
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from pytest_asgiserve import LiveServer

PAGE = """<!doctype html>
<title>Tea</title>
<script>
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/echo")
  socket.onopen = () => socket.send("tea, please")
  socket.onmessage = event => fetch("/said", { method: "POST", body: event.data })
</script>
"""

said: queue.SimpleQueue[str] = queue.SimpleQueue()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


async def page(_request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def report(request: Request) -> Response:
    said.put((await request.body()).decode())
    return Response(status_code=204)


@pytest.fixture(scope="session")
def asgi_app() -> Starlette:
    return Starlette(routes=[Route("/", page), Route("/said", report, methods=["POST"]), WebSocketRoute("/echo", echo)])


@pytest.fixture
def browser(live_server_session: LiveServer, tmp_path: Path) -> Iterator[None]:
    """With Playwright this fixture is not needed: `page.goto(live_server_session.url)` is all."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", live_server_session.url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield
        process.terminate()


@pytest.mark.usefixtures("browser")
def test_the_page_speaks_over_a_web_socket() -> None:
    assert said.get(timeout=30) == "tea, please"
