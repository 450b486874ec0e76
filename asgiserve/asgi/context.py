"""What every call of the application is given, and what it asks of the runtime.

The law of this module: one `Context` per server, made when it starts; calls read it and never change it. The runtime's part is a protocol, so
that the coroutines here name no event loop.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from asgiserve.errors import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgiserve.asgi.proxy import TrustedProxies
    from asgiserve.config import WebSocketConfig
    from asgiserve.core.exchange import Exchange

__all__ = ["AsgiApplication", "Context", "Peer", "Waiter", "describe", "is_disconnect", "log_failure", "logger"]

logger = logging.getLogger("asgiserve.asgi")

AsgiApplication = Any
"""``async def application(scope, receive, send)``: ASGI 3. Frameworks type it in too many ways to be narrower here."""


class Waiter(Protocol):
    """What a coroutine can wait for once: `asyncio.Future`, in the part that is used."""

    def __await__(self) -> Any: ...

    def set_result(self, result: None, /) -> None:
        """Wake who waits."""

    def done(self) -> bool:
        """Whether nobody waits any more."""


class Peer(Protocol):
    """The runtime's side of one connection."""

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: str
    tls: dict[str, Any] | None
    trusted: bool
    """Whether the peer is a proxy whose forwarded fields are believed."""

    def gone(self) -> bool:
        """Whether nothing can be written any more, though the connection may not have heard of it yet."""

    @property
    def can_sendfile(self) -> bool:
        """Whether `sendfile` reaches the socket without copying."""

    def sendfile(self, file: Any, offset: int, count: int) -> Awaitable[int]:
        """Send ``count`` bytes of ``file`` from ``offset`` on, behind what was written; the number that was sent."""


class Context:
    """What is the same for every call of one server.

    Args:
        app: the application, in ASGI 3's form.
        asgi_version: ``3.0``, or ``2.0`` for an application in the old form.
        state: the lifespan's; each scope gets a shallow copy. None where there is no lifespan.
        root_path: where a proxy mounts the application.
        create_waiter: makes what a coroutine can wait for.
        run_blocking: runs a blocking function in a thread.
        finished: is told when a call of the application is over.
        failed: is told when a call raised or left its response incomplete; what it does with that is its own. `log_failure` logs.
    """

    __slots__ = (
        "app",
        "asgi_version",
        "create_waiter",
        "failed",
        "finished",
        "proxies",
        "root_path",
        "root_path_bytes",
        "run_blocking",
        "state",
        "websocket",
    )

    def __init__(
        self,
        *,
        app: AsgiApplication,
        asgi_version: str,
        state: dict[str, Any] | None,
        root_path: str,
        websocket: WebSocketConfig,
        proxies: TrustedProxies | None,
        create_waiter: Callable[[], Waiter],
        run_blocking: Callable[..., Awaitable[Any]],
        finished: Callable[[Any], None],
        failed: Callable[[Exchange, str, BaseException | None], None],
    ) -> None:
        self.app = app
        self.asgi_version = asgi_version
        self.state = state
        self.root_path = root_path.rstrip("/")
        self.root_path_bytes = self.root_path.encode("utf-8")
        self.websocket = websocket
        self.proxies = proxies
        self.create_waiter = create_waiter
        self.run_blocking = run_blocking
        self.finished = finished
        self.failed = failed


def is_disconnect(error: BaseException | None) -> bool:
    """Whether ``error`` is what ``send()`` raised because the client is gone, or was raised from it, or groups nothing else."""
    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004 - deep enough for any framework, and an end for a cycle
        if isinstance(error, ClientDisconnected):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(is_disconnect(inner) for inner in error.exceptions)
        error = error.__cause__ or error.__context__
        seen += 1
    return False


def log_failure(exchange: Exchange, detail: str, error: BaseException | None) -> None:
    """Log a failure of the application, once, an exception with its traceback; the frame of ours that called it is left out."""
    trace = error.__traceback__ if error is not None else None
    exc_info = (type(error), error, trace.tb_next if trace is not None else None) if error is not None else None
    logger.error("%s: %s", describe(exchange), detail, exc_info=exc_info)


def describe(exchange: Exchange) -> str:
    """Method and target of a request, for a log line; not yet escaped."""
    target = exchange.head.target
    query = b"?" + target.query if target.query else b""
    return f"{exchange.head.method.decode('ascii')} {(target.raw_path + query).decode('latin-1')}"
