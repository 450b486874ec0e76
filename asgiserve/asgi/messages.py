"""Which ASGI message may be sent when: the legal order as a table (ASGI HTTP and WebSocket 2.5, extensions).

The law of this module: data, and one function that explains a refusal to the application's author. The table's states are those of the
exchange's response side.
"""

from __future__ import annotations

from typing import Any, Final

from asgiserve.core.exchange import ABORTED, BODY, DONE, HELD, TRAILERS, WAITING
from asgiserve.errors import LocalProtocolError

__all__ = ["HTTP_SEND", "HTTP_TYPES", "WEBSOCKET_SEND", "WEBSOCKET_TYPES", "as_bytes", "message_type", "refuse_order"]

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_TRAILERS: Final = "http.response.trailers"
_HINT: Final = "http.response.early_hint"
_PATH: Final = "http.response.pathsend"
_FILE: Final = "http.response.zerocopysend"

HTTP_TYPES: Final = frozenset({_START, _BODY, _TRAILERS, _HINT, _PATH, _FILE})

HTTP_SEND: Final[dict[str, frozenset[str]]] = {
    # asgiref PR 579: early hints come before the start; they are taken until the head is on the wire and ignored after that, as that
    # moment is not the application's to know.
    WAITING: frozenset({_HINT, _START}),
    HELD: frozenset({_HINT, _BODY, _PATH, _FILE}),
    BODY: frozenset({_HINT, _BODY, _FILE}),
    TRAILERS: frozenset({_TRAILERS}),
    # www.rst, Response Body: "any further messages on the channel will be ignored".
    DONE: HTTP_TYPES,
    # Every message raises ClientDisconnected, whatever its order.
    ABORTED: HTTP_TYPES,
}

_WS_ACCEPT: Final = "websocket.accept"
_WS_SEND: Final = "websocket.send"
_WS_CLOSE: Final = "websocket.close"
_WS_DENY_START: Final = "websocket.http.response.start"
_WS_DENY_BODY: Final = "websocket.http.response.body"

WEBSOCKET_TYPES: Final = frozenset({_WS_ACCEPT, _WS_SEND, _WS_CLOSE, _WS_DENY_START, _WS_DENY_BODY})

CONNECTING: Final = "CONNECTING"
ACCEPTED: Final = "ACCEPTED"
DENYING: Final = "DENYING"
CLOSED: Final = "CLOSED"

WEBSOCKET_SEND: Final[dict[str, frozenset[str]]] = {
    CONNECTING: frozenset({_WS_ACCEPT, _WS_CLOSE, _WS_DENY_START}),
    ACCEPTED: frozenset({_WS_SEND, _WS_CLOSE}),
    # extensions.rst, websocket.http.response: "cannot be followed by other websocket messages".
    DENYING: frozenset({_WS_DENY_BODY}),
    CLOSED: frozenset(),
}


def message_type(message: Any, known: frozenset[str]) -> str:
    """The type of a message that the application sent.

    Raises:
        LocalProtocolError: it is no dict, has no type, or one that is not ``known`` here.
    """
    if not isinstance(message, dict):
        raise LocalProtocolError(f"send() takes a dict, not {type(message).__name__}")
    kind = message.get("type")
    if not isinstance(kind, str):
        raise LocalProtocolError(f"the message has no type: {message!r}")
    if kind not in known:
        raise LocalProtocolError(f"unknown message type {kind!r} here; expected one of {', '.join(sorted(known))}")
    return kind


_WHAT_IS: Final = {
    WAITING: "before http.response.start",
    HELD: "after http.response.start",
    BODY: "after http.response.body has begun",
    TRAILERS: "when only http.response.trailers may follow",
    CONNECTING: "before websocket.accept",
    ACCEPTED: "after websocket.accept",
    DENYING: "after websocket.http.response.start",
    CLOSED: "after the WebSocket was closed",
}


def refuse_order(kind: str, state: str, table: dict[str, frozenset[str]]) -> LocalProtocolError:
    """Why ``kind`` cannot be sent now."""
    expected = ", ".join(sorted(table[state])) or "nothing"
    return LocalProtocolError(f"{kind!r} was sent {_WHAT_IS.get(state, 'at the wrong time')}; possible now: {expected}")


def as_bytes(value: Any, what: str) -> bytes:
    """``value`` as bytes; bytearray and memoryview are taken as well.

    Raises:
        LocalProtocolError: it is something else.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise LocalProtocolError(f"{what} must be bytes, not {type(value).__name__}")
