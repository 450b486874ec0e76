"""What the tests of faults share: an application with every kind of response, the wires to look at it through, and how a connection ended."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_asgiserve.live import LiveServer
from tests.support.apps import Message, Receive, Scope, Send, read_body, respond

if TYPE_CHECKING:
    from pytest_asgiserve.raw import RawConnection

__all__ = ["BIG", "WIRES", "FaultyApp", "Wire", "outcome", "start"]

BIG = bytes(range(256)) * 4096


class Wire(NamedTuple):
    """An event loop and what the connections are."""

    loop: str
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """The server's."""
        # Without a date, so that one response is like the next.
        return {"loop": self.loop, "tls": self.kind == "tls", "uds": self.kind == "uds", "date_header": False}


_NO_UVLOOP = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not there for this Python or system")
WIRES = [
    pytest.param(Wire(loop, kind), id=f"{loop}-{kind}", marks=[_NO_UVLOOP] if loop == "uvloop" else [])
    for loop in ("asyncio", "uvloop")
    for kind in ("clear", "tls", "uds")
]


class FaultyApp:
    """Answers by path: see the methods.

    Attributes:
        sent: bytes of content that ``/endless`` could send.
        gone: is set when ``/endless`` learns that nobody listens.
        file: what ``/file`` sends.
    """

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.sent = 0
        self.gone = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.websocket(receive, send)
        else:
            routes = {"/stream": self.stream, "/length": self.length, "/endless": self.endless, "/file": self.pathsend, "/read": self.read}
            if scope["path"] in routes:
                await routes[scope["path"]](receive, send)
            else:
                await respond(send, BIG if scope["path"] == "/big" else b"hello from " + scope["path"].encode())

    async def stream(self, _receive: Receive, send: Send) -> None:
        """Of unknown length."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"first", b"second", b"third"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async def length(self, _receive: Receive, send: Send) -> None:
        """Of known length, with an end of its own."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"known!", "more_body": True})
        await send({"type": "http.response.body"})

    async def read(self, receive: Receive, send: Send) -> None:
        """After the whole request body."""
        await respond(send, b"%d" % len(await read_body(receive)))

    async def endless(self, _receive: Receive, send: Send) -> None:
        """Until nobody listens."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": BIG[:16384], "more_body": True})
                self.sent += 16384
                # To a client that keeps up `send()` never waits, and nobody else would have a turn.
                await asyncio.sleep(0)
        finally:
            self.gone.set()

    async def pathsend(self, _receive: Receive, send: Send) -> None:
        """A file."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": self.file})

    async def websocket(self, receive: Receive, send: Send) -> None:
        """Echo."""
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            answer: Message = {"type": "websocket.send", "text": message["text"]}
            await send(answer)


def start(app: Any, wire: Wire | None = None, **options: Any) -> LiveServer:
    """A live server, to enter, on ``wire``."""
    return LiveServer(app, **{"lifespan": "off", **(wire.options if wire is not None else {"date_header": False}), **options})


def outcome(connection: RawConnection) -> tuple[bytes, str]:
    """Everything up to the end of the connection, and how that came: ``fin``, or ``reset`` (on TLS also an end without its close_notify)."""
    # What came with an earlier read.
    received = connection._buffer
    connection._buffer = bytearray()
    try:
        while data := connection.sock.recv(65536):
            received += data
    except (ConnectionResetError, ssl.SSLEOFError):
        return bytes(received), "reset"
    return bytes(received), "fin"
