"""asgiserve in a thread of the test, as a peer for cases: quick to start, with its own record of what the application was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_conformance.case import Call
from asgi_conformance.reference import app as reference
from pytest_asgiserve import LiveServer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LivePeer"]


async def _application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the whole body, and answers with nothing; a request with a script gets the reference application."""
    if any(name == b"x-script" for name, _ in scope["headers"]):
        await reference(scope, receive, send)
        return
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    if message["type"] == "http.request":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


class LivePeer:
    """A `drive.Peer`."""

    def __init__(self, **settings: Any) -> None:
        self.server = LiveServer(_application, lifespan="off", errors="ignore", **settings)
        self.address = ("", 0)

    def start(self) -> None:
        """Start it."""
        self.server.start()
        self.address = self.server.address

    def mark(self) -> int:
        """Calls so far."""
        return len(self.server.exchanges())

    def calls(self, since: int) -> Sequence[Call]:
        """Those from ``since`` on that reached the application."""
        found = []
        for one in self.server.exchanges()[since:]:
            received = tuple(event.message for event in one.events if event.direction == "receive")
            complete = any(message["type"] == "http.request" and not message.get("more_body") for message in received)
            if one.scope:
                found.append(Call(one.scope, one.request.recorded_body.data, complete, received))
        return found
