"""One connection without a socket: the test is the client, by bytes, and the application, by ``receive`` and ``send``.

The law of this module: the core connection and the coroutines are the real ones; transport and clock only remember. Everything runs on one event
loop, so that what has happened is known and nothing is waited for by time.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, ParamSpec

from asgiserve.asgi.context import Context, log_failure
from asgiserve.asgi.http import HttpCall
from asgiserve.asgi.websocket import WebSocketCall
from asgiserve.config import Limits, Timeouts, WebSocketConfig
from asgiserve.core.http1 import Http1Connection
from asgiserve.core.parsers import choose_parser
from tests.support.websocket import handshake, split_frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from collections.abc import Set as AbstractSet

    from asgiserve.core.exchange import Exchange
    from asgiserve.core.transport import Transport
    from tests.support.apps import Receive, Scope, Send
    from tests.support.websocket import Frame

__all__ = ["Head", "Memory", "Offline", "on_a_loop"]

_P = ParamSpec("_P")
_SECONDS = 20.0


def on_a_loop(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Run an asynchronous test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(_SECONDS):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


class Memory:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.unsent = 0
        self._reading = True
        self._ended = False
        self._closed = False
        self._aborted = False

    # Asked by call: mypy takes an attribute for what it was when it was last looked at.

    def reads(self) -> bool:
        """Whether reading is not paused."""
        return self._reading

    def closed(self) -> bool:
        """Whether it was closed, or aborted."""
        return self._closed

    def ended(self) -> bool:
        """Whether nothing more can be sent: half closed, or closed."""
        return self._ended or self._closed

    def aborted(self) -> bool:
        """Whether it was aborted."""
        return self._aborted

    # core.transport.Transport

    def writelines(self, pieces: Iterable[bytes], /) -> None:
        self.write(b"".join(pieces))

    def write(self, data: bytes, /) -> None:
        if not self._closed:
            self.written += data

    def write_eof(self) -> None:
        self._ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = self._aborted = True

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Head:
    """A response's status and fields, out of the bytes that were written; ``rest`` is what stands behind its head."""

    def __init__(self, data: bytes) -> None:
        head, end, self.rest = data.partition(b"\r\n\r\n")
        assert end, f"no whole head: {data!r}"
        first, *lines = head.split(b"\r\n")
        version, status, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1"
        self.status = int(status)
        self.fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def all(self, name: bytes) -> list[bytes]:
        """Every value of the field."""
        return [value for key, value in self.fields if key == name]


class Offline:
    """A connection and what the server would be to it (`core.transport.Owner`, `asgi.context.Peer`). Made inside of a running loop.

    The application is the test: `connect` sends a handshake and waits until the application is called; then `receive` and `send` are what it was
    given, and `finish` lets it end.

    Args:
        state: as in `Context`.
        tls: makes it a TLS connection to the application.
        settings: of `Limits`, `Timeouts` and `WebSocketConfig`.
    """

    def __init__(self, *, state: dict[str, Any] | None = None, asgi_version: str = "3.0", tls: dict[str, Any] | None = None, **settings: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = 1000.0
        parts = [
            {name: value for name, value in settings.items() if name in kind.__dataclass_fields__} for kind in (Limits, Timeouts, WebSocketConfig)
        ]
        self.context = Context(
            app=self._application,
            asgi_version=asgi_version,
            state=state,
            root_path="",
            websocket=WebSocketConfig(**parts[2]),
            proxies=None,
            create_waiter=self.loop.create_future,
            run_blocking=functools.partial(self.loop.run_in_executor, None),
            finished=self._finished,
            failed=log_failure,
        )
        self.client: tuple[str, int] | None = ("192.0.2.1", 50000)
        self.server: tuple[str, int | None] | None = ("192.0.2.9", 80)
        self.scheme = "http" if tls is None else "https"
        self.tls = tls
        self.trusted = False
        self.is_gone = False
        self.can_sendfile = False
        self.transport = Memory()
        self.calls: list[HttpCall | WebSocketCall] = []
        self.finished: list[HttpCall | WebSocketCall] = []
        self.exchanges: list[Exchange] = []
        self.refusals: list[tuple[str, int]] = []
        self.was_reset = False
        self.was_closed = False
        self._called: asyncio.Future[tuple[Scope, Receive, Send]] = self.loop.create_future()
        self._ending: asyncio.Future[None] = self.loop.create_future()
        self.scope: Scope = {}
        self.receive: Receive = None  # type: ignore[assignment]  # set by `connect`
        self.send: Send = None  # type: ignore[assignment]  # as `receive`
        self.connection = Http1Connection(self, Limits(**parts[0]), Timeouts(**parts[1]), choose_parser("auto"))
        self.connection.connection_made(self.transport)

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._called.set_result((scope, receive, send))
        await self._ending

    def _finished(self, call: HttpCall | WebSocketCall) -> None:
        self.finished.append(call)

    # core.transport.Owner

    def clock(self) -> float:
        return self.now

    def connected(self, transport: Transport) -> None:
        pass

    def arm(self, when: float) -> None:
        pass

    def soon(self, callback: Callable[[], None], /) -> object:
        return self.loop.call_soon(callback)

    def default_fields(self, now: float, /) -> bytes:  # noqa: ARG002 - the time is always the same
        return b"server: test\r\n"

    def default_fields_without(self, names: AbstractSet[bytes], /) -> bytes:
        return b"" if b"server" in names else b"server: test\r\n"

    def begin(self, exchange: Exchange, /) -> None:
        call = (WebSocketCall if exchange.head.upgrade else HttpCall)(self.context, exchange, self)
        self.calls.append(call)
        call.task = self.loop.create_task(call.run())

    def ended(self, exchange: Exchange, /) -> None:
        self.exchanges.append(exchange)

    def refused(self, detail: str, status: int) -> None:
        self.refusals.append((detail, status))

    def reset(self) -> None:
        self.was_reset = True
        self.transport.abort()

    def closed(self) -> None:
        self.was_closed = True

    # asgi.context.Peer

    def gone(self) -> bool:
        return self.is_gone

    async def sendfile(self, file: Any, offset: int, count: int) -> int:
        raise NotImplementedError

    # The client.

    def feed(self, *pieces: bytes) -> None:
        """Bytes come, all at once."""
        self.connection.data_received(b"".join(pieces))

    async def connect(self, *fields: str, path: str = "/", behind: bytes = b"") -> Offline:
        """The opening handshake, with ``behind`` in the same read; the application is called when this returns."""
        self.feed(handshake(*fields, path=path), behind)
        self.scope, self.receive, self.send = await self._called
        return self

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data

    def frames(self) -> list[Frame]:
        """The same, as frames."""
        return split_frames(self.take())

    def lose(self) -> None:
        """The connection is gone."""
        self.connection.connection_lost(None)

    def wait(self, seconds: float) -> None:
        """``seconds`` go by."""
        self.now += seconds
        self.connection.on_timer()

    # The application.

    async def accept(self, **message: Any) -> Head:
        """Take the connect event and accept; the 101."""
        assert await self.receive() == {"type": "websocket.connect"}
        await self.send({"type": "websocket.accept", **message})
        return Head(self.take())

    async def finish(self, error: BaseException | None = None) -> None:
        """The application returns, or raises ``error``."""
        if error is None:
            self._ending.set_result(None)
        else:
            self._ending.set_exception(error)
        await self.over()

    async def over(self) -> None:
        """Wait until the call is over."""
        (call,) = self.calls
        if call.task is not None:
            await asyncio.wait([call.task])

    async def turns(self, count: int = 10) -> None:
        """Let everything run that can: nothing here waits for anything but the loop's next turn."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def pending(self, awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
        """``awaitable`` as a task that is shown to wait."""

        async def wait() -> Any:
            return await awaitable

        task = self.loop.create_task(wait())
        await self.turns()
        assert not task.done(), f"did not wait: {task!r}"
        return task
