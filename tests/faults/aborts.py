"""Where a client can go away, for test_aborts.py: what it sent until then, what the application does meanwhile, and what that is told.

The law of this module: an application here ends by what it is told and by nothing else, so that one that is not told hangs its test.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.faults.stand import PATIENCE, START, body
from tests.support.websocket import TEXT, frame, handshake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_asgiserve.raw import RawConnection
    from tests.faults.stand import Stand
    from tests.support.apps import Receive, Send

__all__ = ["NOT_CALLED", "STAGES", "Stage", "Visit"]

NOT_CALLED: Final = ""
HTTP: Final = "http.disconnect"
WEBSOCKET: Final = "websocket.disconnect 1006"
RAISED: Final = "ClientDisconnected"


class Visit:
    """One call of the application.

    Attributes:
        told: what it was told of the end of its client, each time.
        told_at: when, for the first time.
        messages: the types of all other messages that it received.
    """

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.ended = threading.Event()
        self.told: list[str] = []
        self.told_at = 0.0
        self.messages: list[str] = []

    def tell(self, what: str) -> None:
        """The application learnt of the end."""
        self.told_at = self.told_at or time.monotonic()
        self.told.append(what)

    async def listen(self, receive: Receive) -> None:
        """Receive until the end."""
        while True:
            message = await receive()
            if message["type"].endswith(".disconnect"):
                self.tell(" ".join(str(message[key]) for key in ("type", "code") if key in message))
                return
            self.messages.append(message["type"])

    @contextlib.contextmanager
    def raised(self) -> Any:
        """What `send` raises is what tells it."""
        try:
            yield
        except OSError as error:
            self.tell(type(error).__name__)
            raise


async def receives(visit: Visit, receive: Receive, _send: Send) -> None:
    """Waits for the request's content, and then for the client's end."""
    visit.entered.set()
    await visit.listen(receive)


async def listens(visit: Visit, receive: Receive, send: Send) -> None:
    """An event stream: waits for the client's end within its response."""
    await send(START)
    await send(body(b"event", more=True))
    visit.entered.set()
    await visit.listen(receive)


async def streams(visit: Visit, _receive: Receive, send: Send) -> None:
    """Sends, and nothing else; the loop has a turn in between."""
    await send(START)
    with visit.raised():
        while True:
            await send(body(b"x" * 1000, more=True))
            visit.entered.set()
            await asyncio.sleep(0)


async def floods(visit: Visit, _receive: Receive, send: Send) -> None:
    """Sends more than the client takes."""
    await send(START)
    visit.entered.set()
    with visit.raised():
        while True:
            await send(body(bytes(1 << 20), more=True))


async def connects(visit: Visit, receive: Receive, _send: Send) -> None:
    """Does not accept the WebSocket."""
    visit.entered.set()
    await visit.listen(receive)


async def accepts(visit: Visit, receive: Receive, send: Send) -> None:
    """Accepts the WebSocket, and receives."""
    await send({"type": "websocket.accept"})
    visit.entered.set()
    await visit.listen(receive)


async def talks(visit: Visit, _receive: Receive, send: Send) -> None:
    """Accepts the WebSocket, and sends; the loop has a turn in between."""
    await send({"type": "websocket.accept"})
    with visit.raised():
        while True:
            await send({"type": "websocket.send", "text": "x" * 1000})
            visit.entered.set()
            await asyncio.sleep(0)


async def shouts(visit: Visit, _receive: Receive, send: Send) -> None:
    """Accepts the WebSocket, and sends more than the client takes."""
    await send({"type": "websocket.accept"})
    visit.entered.set()
    with visit.raised():
        while True:
            await send({"type": "websocket.send", "bytes": bytes(1 << 20)})


def nothing(_client: RawConnection) -> None:
    """There is nothing to read."""


def read_head(client: RawConnection) -> None:
    client.read_head()


def read_event(client: RawConnection) -> None:
    client.read_head()
    assert client.read_chunk() == b"event"


def read_switch(client: RawConnection) -> None:
    assert client.read_head().status == 101


def read_whole(client: RawConnection) -> None:
    assert client.read_response().body == b"ok"


def read_and_send(data: bytes) -> Callable[[RawConnection], None]:
    def arrive(client: RawConnection) -> None:
        read_switch(client)
        client.send(data)

    return arrive


@dataclass(frozen=True)
class Stage:
    """A moment in the life of a connection.

    Attributes:
        sent: by the client until then.
        app: what the application does.
        arrive: what the client does when the application is there.
        told: to the application.
        on_close: the same, for a client that ends in order and not by a reset.
        outcome: in the access log, of an orderly end.
        stalls: the application must wait in ``send()`` before the client goes.
        status: in the access log.
    """

    sent: bytes
    app: Callable[[Visit, Receive, Send], Awaitable[None]] | None
    arrive: Callable[[RawConnection], None] = nothing
    told: str = HTTP
    on_close: str = HTTP
    outcome: str = "aborted"
    stalls: bool = False
    status: int = 0

    def reach(self, stand: Stand, client: RawConnection, visit: Visit) -> None:
        """Bring a connection here."""
        app = self.app
        stand.app = (lambda _scope, receive, send: _ended(visit, app(visit, receive, send))) if app is not None else None
        client.send(self.sent)
        if app is not None:
            assert visit.entered.wait(PATIENCE)
        self.arrive(client)
        if self.stalls:
            stand.stalled()


async def _ended(visit: Visit, call: Awaitable[None]) -> None:
    try:
        await call
    finally:
        visit.ended.set()


GET: Final = b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n"
POST: Final = b"POST /fault HTTP/1.1\r\nHost: x\r\n"
UPGRADE: Final = handshake(path="/fault")
INCOMPLETE: Final = "incomplete request"  # RFC 9112 §8

STAGES: Final[dict[str, Stage]] = {
    "connected": Stage(b"", None, told=NOT_CALLED, on_close=NOT_CALLED),
    "within-the-head": Stage(GET[:-3], None, told=NOT_CALLED, on_close=NOT_CALLED),
    "between-requests": Stage(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None, read_whole, told=NOT_CALLED, on_close=NOT_CALLED),
    "within-the-next-head": Stage(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + GET[:9], None, read_whole, told=NOT_CALLED, on_close=NOT_CALLED),
    "within-the-body": Stage(POST + b"Content-Length: 10\r\n\r\nabc", receives, outcome=INCOMPLETE),
    "within-a-chunk": Stage(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", receives, outcome=INCOMPLETE),
    "within-the-trailers": Stage(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nx: ", receives, outcome=INCOMPLETE),
    "after-100": Stage(POST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", receives, read_head, outcome=INCOMPLETE),
    "before-the-response": Stage(GET, receives),
    "before-the-next-in-a-pipeline": Stage(GET + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n", receives),
    "within-the-response-as-it-listens": Stage(GET, listens, read_event, status=200),
    # What is unread makes any end of the client a reset.
    "within-the-response-as-it-sends": Stage(GET, streams, read_head, told=RAISED, on_close=RAISED, status=200),
    "within-the-response-as-it-waits": Stage(GET, floods, read_head, told=RAISED, on_close=RAISED, stalls=True, status=200),
    "within-the-body-and-the-response": Stage(POST + b"Content-Length: 10\r\n\r\nabc", listens, read_event, outcome=INCOMPLETE, status=200),
    "websocket-before-the-accept": Stage(UPGRADE, connects, told=WEBSOCKET, on_close=WEBSOCKET),
    "websocket-open": Stage(UPGRADE, accepts, read_switch, told=WEBSOCKET, on_close=WEBSOCKET, status=101),
    "websocket-within-a-frame": Stage(UPGRADE, accepts, read_and_send(frame(TEXT, "hello")[:-2]), WEBSOCKET, WEBSOCKET, status=101),
    "websocket-within-a-message": Stage(UPGRADE, accepts, read_and_send(frame(TEXT, "hello", fin=False)), WEBSOCKET, WEBSOCKET, status=101),
    "websocket-as-it-sends": Stage(UPGRADE, talks, read_switch, told=RAISED, on_close=RAISED, status=101),
    "websocket-as-it-waits": Stage(UPGRADE, shouts, read_switch, told=RAISED, on_close=RAISED, stalls=True, status=101),
}
