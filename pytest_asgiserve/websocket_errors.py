"""What a WebSocket client of a test tells of what did not go as it should, and of the answer to its handshake.

The law of this module: an error says in its text what a person asks first (where, how long, what came instead), and has the same as attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from websockets.datastructures import Headers

__all__ = [
    "HandshakeResponse",
    "WebSocketClosed",
    "WebSocketHandshakeError",
    "WebSocketMessageError",
    "WebSocketRejected",
    "WebSocketTimeout",
    "described",
]

_SHOWN: Final = 100
"""Characters or bytes of a message that an error shows."""


@dataclass(frozen=True)
class HandshakeResponse:
    """The answer to the opening handshake.

    Attributes:
        status: 101 where the connection was accepted.
        headers: by name in any case; ``headers.get_all(name)`` has every value of a field that came more than once.
        body: of a response that is no 101.
    """

    status: int
    headers: Headers
    body: bytes = b""


class WebSocketTimeout(TimeoutError):  # noqa: N818 - what happened, as with ConnectionRefused
    """What was waited for did not come in time. The text says where, how long, and what came last."""


class WebSocketHandshakeError(ConnectionError):
    """The server gave no valid answer to the opening handshake (RFC 6455 §4.1)."""


class WebSocketRejected(WebSocketHandshakeError):  # noqa: N818 - what happened
    """The application did not accept the connection.

    Attributes:
        status: of its response; 403 where it closed without a response of its own.
        headers: of its response.
        body: of its response.
    """

    def __init__(self, path: str, response: HandshakeResponse) -> None:
        body = f": {_shown(response.body)}" if response.body else ""
        super().__init__(f"{path} was not accepted: {response.status}{body}")
        self.status = response.status
        self.headers = response.headers
        self.body = response.body


class WebSocketClosed(ConnectionError):  # noqa: N818 - what happened
    """The connection is closed.

    Attributes:
        code: the close code (RFC 6455 §7.4.1): 1005 where the server sent a close frame without one, 1006 where it sent no close frame.
        reason: the server's words, often empty.
    """

    def __init__(self, path: str, code: int, reason: str, detail: str = "") -> None:
        said = f" {reason!r}" if reason else ""
        super().__init__(f"{path} is closed: {code}{said}{detail}")
        self.code = code
        self.reason = reason


class WebSocketMessageError(AssertionError):
    """A message came that is of another kind than the one that was asked for.

    Attributes:
        message: what came.
    """

    def __init__(self, path: str, expected: str, message: str | bytes) -> None:
        super().__init__(f"{path} sent {described(message)}, not {expected}")
        self.message = message


def _shown(data: str | bytes) -> str:
    return repr(data) if len(data) <= _SHOWN else f"{data[:_SHOWN]!r}…"


def described(message: str | bytes) -> str:
    """A message for a person: its kind, its beginning, its size."""
    if isinstance(message, str):
        return f"text {_shown(message)} ({len(message)} characters)"
    return f"binary {_shown(message)} ({len(message)} bytes)"
