"""What is measured: the workloads, and whether a server's answer to one is right.

The law of this module: every workload says what the right answer is, and a server is asked for it before it is measured.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.apps import CHUNK, CHUNKS, HELLO, LARGE, MEDIUM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.servers import Server

__all__ = ["BROWSER", "LOGGED", "NUMBER", "PLAIN", "WORKLOADS", "Workload", "check_answer", "problem_of"]

PLAIN: Final = "plain"
LOGGED: Final = "log"

BROWSER: Final[Mapping[str, str]] = {
    "Connection": "keep-alive",
    "Cache-Control": "max-age=0",
    "sec-ch-ua": '"Chromium";v="142", "Not_A Brand";v="99"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Referer": "http://127.0.0.1:8000/shop",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9",
    "Cookie": "session=4f2a9c0d1e8b7a6f5c4d3e2b1a0f9e8d; theme=dark; csrftoken=Zk3mQ9xT7vLp2RwY",
}
"""15 fields, as a browser sends them beside Host."""
NUMBER: Final = "00000000"
"""Stands in the target and the fields of a varied workload where each request has a number of its own."""
_VARIED: Final = {**BROWSER, "Cookie": f"session=4f2a9c0d1e8b7a6f5c4d3e2b{NUMBER}; theme=dark; csrftoken=Zk3mQ9xT7vLp2RwY"}
UPLOAD: Final = b"u" * 65536
_FASTAPI: Final = b'{"message":"Hello, world!","items":[1,2,3]}'
_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Workload:
    """One thing that a server does again and again.

    Args:
        name: for ``--workloads``.
        title: for people.
        path: the target.
        app: the application.
        method: of the request.
        body: of the request.
        fields: of the request, beside Host and Content-Length.
        expected: the response's body.
        load: "wrk", "websocket" or "idle".
        connections: how many at once.
        size: of a WebSocket message.
        varied: no two requests are the same: where `NUMBER` stands, each has another, so that what a server remembers of one helps with none.
        close: each request is to have a connection of its own.
        tls: encrypted.
        access_log: with the access log on, into a file.
        needs: what must be importable for the application, with the name to install.
    """

    name: str
    title: str
    path: str = "/"
    app: str = "bench.apps:app"
    method: str = "GET"
    body: bytes = b""
    fields: Mapping[str, str] = field(default_factory=dict)
    expected: bytes = HELLO
    load: str = "wrk"
    connections: int = 32
    size: int = 0
    varied: bool = False
    close: bool = False
    tls: bool = False
    access_log: bool = False
    needs: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[str, bool, bool, bool]:
        """Workloads of one group are done by the same server processes: as it is started. Memory is measured in a fresh one."""
        return self.app, self.tls, self.access_log, self.load == "idle"


WORKLOADS: Final = (
    Workload(PLAIN, "plain text"),
    Workload("browser", "plain text, a browser's 15 fields", "/shop/items?page=2&sort=price", fields=BROWSER),
    Workload(
        "browser-varied",
        "a browser's 15 fields, each request another",
        f"/shop/items?page={NUMBER}&sort=price",
        fields=_VARIED,
        varied=True,
    ),
    Workload("upload", "64 KiB upload, echoed", "/echo", method="POST", body=UPLOAD, expected=UPLOAD, connections=8),
    Workload("medium", "10 KiB download", "/medium", expected=MEDIUM),
    Workload("large", "1 MiB download", "/large", expected=LARGE, connections=8),
    Workload("stream", "stream of 20 chunks", "/stream", expected=CHUNK * CHUNKS),
    Workload("close", "a new connection per request", fields={"Connection": "close"}, close=True),
    Workload("ws-small", "WebSocket echo, 64 bytes", load="websocket", size=64),
    Workload("ws-large", "WebSocket echo, 64 KiB", load="websocket", size=65536, connections=8),
    Workload("fastapi", "JSON through FastAPI", app="bench.fastapi_app:app", expected=_FASTAPI, needs=("fastapi",)),
    Workload("tls", "plain text over TLS", tls=True),
    Workload(LOGGED, "plain text, access log on", access_log=True),
    Workload("idle", "memory of an idle connection", load="idle", connections=1000),
)


def check_answer(workload: Workload, server: Server) -> str:
    """What is wrong with the server's answers to two requests on one connection (or on two); "" where they are right."""
    try:
        with contextlib.closing(_connect(server)) as connection:
            for _ in range(2):
                connection.request(workload.method, workload.path, workload.body or None, dict(workload.fields))
                response = connection.getresponse()
                body = response.read()
                if problem := problem_of(workload, response, body):
                    return problem
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def problem_of(workload: Workload, response: http.client.HTTPResponse, body: bytes) -> str:
    """What is wrong with an answer; "" where it is right."""
    if response.status != http.client.OK:
        return f"status {response.status}"
    if body != workload.expected:
        return f"{len(body)} bytes that are not the right ones, of which there are {len(workload.expected)}"
    if response.will_close != workload.close:
        return "the connection is closed" if response.will_close else "the connection is kept"
    return ""


def _connect(server: Server) -> http.client.HTTPConnection:
    if not server.tls:
        return http.client.HTTPConnection("127.0.0.1", server.port, timeout=_SECONDS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=_SECONDS, context=context)
