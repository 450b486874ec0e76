"""How a call of the application begins, and what is written of its exchange when that is over.

The law of this module: one task for each exchange, in a context of its own.
"""

from __future__ import annotations

import logging
import sys
import time
from asyncio import Task
from typing import TYPE_CHECKING, Protocol, TypeAlias

from asgiserve.logs import AccessRecord, AccessRequest, log_access

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from typing import Any

    from asgiserve.core.exchange import Exchange
    from asgiserve.core.request import RequestHead
    from asgiserve.runtime.connection import AsyncioConnection

__all__ = ["AccessLog", "Call", "StartCall", "call_starter"]

_logger = logging.getLogger("asgiserve.server")


class Call(Protocol):
    """A call of the application: `asgi.http.HttpCall`, `asgi.websocket.WebSocketCall`."""

    task: Any

    def run(self) -> Coroutine[Any, Any, None]:
        """What its task runs."""


StartCall: TypeAlias = "Callable[[Call, str, Context, bool], None]"
"""Runs a call in a task of its own, which ``call.task`` is until it ends. Its arguments: the call, the name of the task (who asked), the task's
context, and whether its first step may run now: most calls end with it, and then cost no turn of the loop."""


def call_starter(loop: asyncio.AbstractEventLoop) -> StartCall:
    """How calls are started on ``loop``: by its task factory, where it has one."""
    if loop.get_task_factory() is not None:

        def start(call: Call, name: str, variables: Context, at_once: bool) -> None:  # noqa: ARG001, FBT001 - a factory decides that itself
            task = loop.create_task(call.run(), name=name, context=variables)
            if not task.done():
                call.task = task

    elif sys.version_info >= (3, 12):

        def start(call: Call, name: str, variables: Context, at_once: bool) -> None:  # noqa: FBT001 - a keyword costs 0.1 us a request
            task = Task(call.run(), loop=loop, name=name, context=variables, eager_start=at_once)
            if not task.done():
                call.task = task

    else:

        def start(call: Call, name: str, variables: Context, at_once: bool) -> None:  # noqa: ARG001, FBT001 - as above
            # With a name: asyncio makes one up otherwise, which costs 1 us. And past loop.create_task, which costs another half.
            call.task = Task(call.run(), loop=loop, name=name, context=variables)

    return start


class AccessLog:
    """Writes one line for each exchange."""

    def __init__(self) -> None:
        self._failed = False

    def write(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """``exchange`` is over."""
        head = exchange.head
        client = exchange.client
        request: AccessRequest | None = head.logged
        if client is not None and client is not connection.client:
            # A proxy spoke for it.
            request = _describe(head, _peer_name(client))
        elif request is None:
            request = head.logged = _describe(head, connection.peer_name)
        record = AccessRecord(
            request,
            exchange.status,
            exchange.sent_bytes,
            time.monotonic() - exchange.started_at,
            exchange.outcome,
            exchange.close_code,
        )
        try:
            log_access(record)
        except Exception:
            # Somebody's filter or handler. It must not cost a response.
            if not self._failed:
                self._failed = True
                _logger.exception("the access log raised; this is said once")


def _describe(head: RequestHead, peer: str) -> AccessRequest:
    target = head.target
    return AccessRequest(
        peer,
        head.method.decode("latin-1"),
        (target.raw_path + b"?" + target.query if target.query else target.raw_path).decode("latin-1"),
        "1.1" if head.minor_version else "1.0",
    )


def _peer_name(client: tuple[str, int]) -> str:
    host, port = client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
