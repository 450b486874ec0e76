"""A server in a thread of the test, whose application keeps what it was told.

The law of this module: a call counts from the moment in which the server makes it, and calls are only read when none is on its way, and all have
ended. A server that refuses a body may have made a task for its head in the same turn of the loop, which begins in the next one: when the client has
long seen the answer.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Call
from asgi_conformance.reference import app as reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.serving import Serving

__all__ = ["Recorder", "ServingPeer"]

_ENDING: Final = 10.0
"""Seconds in which a call ends whose connection has ended."""


class Recorder:
    """The reference application, with every call kept: it reads the body and answers with 200, unless a request's script says otherwise."""

    def __init__(self) -> None:
        self._calls: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        self._running = 0
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._loop = asyncio.get_running_loop()
            await reference(scope, receive, send)
            return
        received: list[dict[str, Any]] = []
        with self._changed:
            self._calls.append((dict(scope), received))
            self._running += 1

        async def recorded() -> dict[str, Any]:
            message: dict[str, Any] = await receive()
            received.append(message)
            return message

        try:
            await reference(scope, recorded, send)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def mark(self) -> int:
        """How many calls there have been."""
        with self._changed:
            return len(self._calls)

    def calls(self, since: int) -> Sequence[Call]:
        """Those after the mark.

        Raises:
            AssertionError: one does not end.
        """
        assert self._loop is not None, "the application has not started"
        # Behind whatever the loop was asked to do before the client saw the end.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(_ENDING)
        with self._changed:
            assert self._changed.wait_for(lambda: not self._running, _ENDING), "a call of the application does not end"
            return [_as_call(scope, received) for scope, received in self._calls[since:]]


def _as_call(scope: dict[str, Any], received: list[dict[str, Any]]) -> Call:
    requests = [message for message in received if message["type"] == "http.request"]
    return Call(scope, b"".join(message["body"] for message in requests), any(not message["more_body"] for message in requests), tuple(received))


class ServingPeer:
    """A `asgi_conformance.drive.Peer`: a server of `tests.support.serving` with a `Recorder`."""

    def __init__(self, server: Serving, recorder: Recorder) -> None:
        self._server = server
        self.mark = recorder.mark
        self.calls = recorder.calls

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._server.address
