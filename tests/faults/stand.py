"""One server for many faults: its application is another one in each test, and what it left behind can be counted.

The law of this module: a test counts only what is over. `Stand.quiet` and `Stand.deserted` wait for that on the server's loop, and raise where it
does not come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from asgiserve.logs import JsonFormatter, TextFormatter
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import ok, respond
from tests.support.serving import STACKS, serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.support.apps import App, Message, Receive, Scope, Send
    from tests.support.records import Records
    from tests.support.serving import Serving

__all__ = [
    "EACH_ONCE",
    "EACH_STACK",
    "NEXT",
    "PATIENCE",
    "START",
    "Gate",
    "Stand",
    "body",
    "check_end",
    "faults",
    "formatted",
    "sending",
    "stand_on",
    "start",
]

PATIENCE: Final = 10.0
"""Seconds in which everything that is waited for here must come."""

START: Final[Message] = {"type": "http.response.start", "status": 200}

EACH_STACK: Final[list[Any]] = [pytest.param(param.values, id=param.id, marks=param.marks) for param in STACKS]
"""Each parser on each event loop, as one parameter for `stand_on`."""
EACH_ONCE: Final = EACH_STACK[1:3]
"""Each parser and each event loop, once."""

NEXT: Final = b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Another request on a connection. Its answer is the last on it, so that a byte too many shows."""


def start(status: Any = 200, *fields: Any, **more: Any) -> Message:
    """The head of a response."""
    return {"type": "http.response.start", "status": status, "headers": list(fields), **more}


def body(data: Any = b"", *, more: Any = False) -> Message:
    """A part of its content."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def sending(*messages: Any, then: BaseException | type[BaseException] | None = None) -> App:
    """Sends ``messages``, and raises ``then``."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if then is not None:
            raise then

    return app


def faults(records: Records) -> list[logging.LogRecord]:
    """What was logged of the application's faults."""
    return records.select("asgiserve.asgi", logging.ERROR)


def formatted(record: logging.LogRecord) -> str:
    """The record with its traceback, as the server writes it; the other format must be possible as well."""
    assert JsonFormatter().format(record)
    return TextFormatter(use_colors=False).format(record)


def check_end(client: RawConnection) -> None:
    """Nothing more comes on this connection, and nothing that is sent now is answered."""
    client.expect_eof()
    with contextlib.suppress(ConnectionError):
        client.send(NEXT)
        assert client.sock.recv(1) == b""


class Stand:
    """A server: ``/fault`` is answered by `app`, WebSockets by `app` too, ``/next`` is counted, and everything else is ``ok``.

    Attributes:
        app: the application under test. It is called as it is, so that it need not be a coroutine function.
        next_calls: how often ``/next`` was called.
        unhandled: what the event loop's exception handler was told.
    """

    def __init__(self) -> None:
        self.app: Any = ok
        self.next_calls = 0
        self.unhandled: list[dict[str, Any]] = []
        self.running: Serving = None  # type: ignore[assignment]  # set by stand_on, before anybody has the stand

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "websocket" or scope["path"] == "/fault":
            return self.app(scope, receive, send)
        if scope["path"] == "/next":
            self.next_calls += 1
            return respond(send, b"next")
        return ok(scope, receive, send)

    def begin(self) -> None:
        """Forget the test before this one."""
        self.app = ok
        self.next_calls = 0
        self.running.run(self._listen)

    def _listen(self) -> None:
        self.unhandled.clear()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.unhandled.append(context))

    def connect(self, **options: Any) -> RawConnection:
        """A new connection."""
        return RawConnection(self.running.address, **options)

    def check_health(self, tls: ssl.SSLContext | None = None) -> None:
        """A plain request on a new connection is answered."""
        with self.connect(tls=tls) as client:
            client.get("/", "Connection: close")
            response = client.read_response()
            assert (response.status, response.body) == (200, b"ok")
            if tls is None:
                client.expect_eof()

    def quiet(self) -> None:
        """Wait until no call of the application runs.

        Raises:
            TimeoutError: one does not end.
        """
        self.running.run(self._wait, lambda: not self.running.server._calls)

    def deserted(self) -> None:
        """Wait until there is neither a call nor a connection, nor a task of theirs.

        Raises:
            TimeoutError: one does not end.
        """
        server = self.running.server
        self.running.run(self._wait, lambda: not (server._calls or server._connections or server._connecting))

    def stalled(self) -> None:
        """Wait until a call waits for its client to take what it sent.

        Raises:
            TimeoutError: none does.
        """
        server = self.running.server
        self.running.run(self._wait, lambda: any(connection.protocol.write_gate.shut for connection in server._connections))

    @staticmethod
    async def _wait(done: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():  # noqa: ASYNC110 - as below
                # What ends a call or a connection tells nobody but the server: a look now and then, within a bound.
                await asyncio.sleep(0.001)

    def count(self) -> tuple[int, int]:
        """Descriptors of the process, and tasks on the server's loop, when everything is over. Nothing waits for the garbage collector here."""
        self.deserted()
        tasks: int = self.running.run(lambda: len(asyncio.all_tasks()))
        return sum(1 for _ in Path("/dev/fd").iterdir()), tasks


@contextlib.contextmanager
def stand_on(parser: str, loop: str, **options: Any) -> Iterator[Stand]:
    """A stand that serves while the block runs."""
    stand = Stand()
    with serving(stand, parser=parser, loop=loop, lifespan="off", interface="asgi3", **options) as running:
        stand.running = running
        yield stand


class Gate:
    """What an application waits for and a test opens, from another thread."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()

    async def wait(self) -> None:
        """Wait, on the loop of the caller.

        Raises:
            TimeoutError: nobody opened it.
        """
        if not await asyncio.get_running_loop().run_in_executor(None, self._opened.wait, PATIENCE):
            raise TimeoutError
