"""A real browser, headless Chromium, against a live server: a page with a WebSocket, an event stream that it resumes, and fetch()."""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import ssl
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from tests.support.browser import browser, needs_browser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from pytest_asgiserve import LiveServer, LiveServerFactory

# A browser's first start on a slow and busy machine.
_PATIENCE: Final = 25.0

pytestmark = needs_browser

PAGE = """<!doctype html><title>asgiserve</title><link rel="icon" href="data:,"><script>
const seen = {protocol: location.protocol, messages: [], events: [], opened: 0};
const socket = new Promise((done) => {
  const ws = new WebSocket(location.origin.replace(/^http/, "ws") + "/socket", ["echo.v1"]);
  ws.binaryType = "arraybuffer";
  ws.onopen = () => { seen.subprotocol = ws.protocol; ws.send("grüße"); ws.send(new Uint8Array([1, 2, 255])); };
  ws.onmessage = (event) => {
    seen.messages.push(typeof event.data === "string" ? event.data : Array.from(new Uint8Array(event.data)));
    if (seen.messages.length === 2) ws.close(3001, "enough");
  };
  ws.onclose = (event) => { seen.close = [event.code, event.reason, event.wasClean]; done(); };
});
const stream = new Promise((done) => {
  const source = new EventSource("/events");
  source.onopen = () => { seen.opened += 1; };
  source.addEventListener("tick", (event) => {
    seen.events.push([event.lastEventId, event.data]);
    if (seen.events.length === 5) { source.close(); done(); }
  });
});
Promise.all([socket, stream]).then(() => fetch("/report", {method: "POST", body: JSON.stringify(seen)}));
</script>"""


class Site:
    """The application, and what the page reported."""

    def __init__(self) -> None:
        self.reports: queue.Queue[dict[str, Any]] = queue.Queue()
        routes = [
            Route("/", self.page),
            Route("/events", self.events),
            Route("/report", self.report, methods=["POST"]),
            WebSocketRoute("/socket", self.socket),
        ]
        self.app = Starlette(routes=routes)

    async def page(self, _: Request) -> Response:
        return HTMLResponse(PAGE)

    async def socket(self, socket: WebSocket) -> None:
        await socket.accept(subprotocol="echo.v1")
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await socket.send({**message, "type": "websocket.send"})

    async def events(self, request: Request) -> Response:
        # The first stream ends after three; a browser comes again on its own and says what it has.
        last = int(request.headers.get("last-event-id", "0"))

        async def ticks() -> AsyncIterator[str]:
            yield "retry: 10\n: a comment\n\n"
            for number in range(last + 1, last + 4):
                yield f"id: {number}\nevent: tick\ndata: tick\ndata: {number}\n\n"

        return StreamingResponse(ticks(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def report(self, request: Request) -> Response:
        self.reports.put(json.loads(await request.body()))
        return Response(status_code=204)


@pytest.fixture(scope="session")
def site() -> Site:
    return Site()


@pytest.fixture(scope="session")
def asgi_app(site: Site) -> Starlette:
    return site.app


def see(server: LiveServer, site: Site, folder: Path, *options: str) -> dict[str, Any]:
    requests: list[str] = []
    said = ""
    for attempt in ("first", "second"):
        with browser(server.url + "/", folder / attempt, *options) as log:
            try:
                return site.reports.get(timeout=_PATIENCE)
            except queue.Empty:
                requests = [f"{one.method} {one.path}" for one in server.exchanges()]
                said = log.read_text(errors="replace")
        if requests:
            break
        # It asked for nothing, not even for the page: that is between the browser and its start, and says nothing about the server.
    pytest.fail(f"the page did not report; the server saw {requests}; the browser said:\n{said}")


def expected(scheme: str) -> dict[str, Any]:
    return {
        "protocol": scheme,
        "subprotocol": "echo.v1",
        "messages": ["grüße", [1, 2, 255]],
        "close": [3001, "enough", True],
        "opened": 2,
        "events": [[str(number), f"tick\n{number}"] for number in range(1, 6)],
    }


@pytest.mark.timeout(90)
def test_a_page_with_a_websocket_an_event_stream_and_fetch(live_server_session: LiveServer, site: Site, tmp_path: Path) -> None:
    assert see(live_server_session, site, tmp_path) == expected("http:")

    (page,) = live_server_session.exchanges(path="/")
    assert (page.method, page.status) == ("GET", 200)
    (report,) = live_server_session.exchanges(method="POST", path="/report")
    assert report.status == 204
    assert report.json() == expected("http:")
    first, second = live_server_session.exchanges(path="/events")
    assert first.status == second.status == 200
    assert [dict(one.scope["headers"]).get(b"last-event-id") for one in (first, second)] == [None, b"3"]
    (socket,) = live_server_session.exchanges(path="/socket")
    assert [message.get("text") or message.get("bytes") for message in socket.received("websocket.receive")] == ["grüße", b"\x01\x02\xff"]
    assert [message["code"] for message in socket.received("websocket.disconnect")] == [3001]


def pinned(server: LiveServer) -> str:
    """The hash of the server's key, as Chromium takes it for an exception."""
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate((server.host, server.port), timeout=10).encode())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


@pytest.mark.timeout(90)
def test_the_same_over_tls(live_server_factory: LiveServerFactory, tmp_path: Path) -> None:
    site = Site()
    server = live_server_factory(site.app, tls=True)
    assert see(server, site, tmp_path, f"--ignore-certificate-errors-spki-list={pinned(server)}") == expected("https:")
