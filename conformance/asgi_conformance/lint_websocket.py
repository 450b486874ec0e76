"""The rules of one WebSocket's call (ASGI www.rst, WebSocket; extensions.rst, WebSocket Denial Response; RFC 6455).

The law of this module: as `lint_response`. What is sent after the client has gone is told and not refused: the text lets an application find that out
by the exception of its send.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.lint_messages import check_fields, check_message, extensions_of, shown
from asgi_conformance.lint_response import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_conformance.lint_messages import Report
    from asgi_conformance.violations import Level

__all__ = ["WebSocketRules"]

_ACCEPT: Final = "websocket.accept"
_SEND: Final = "websocket.send"
_CLOSE: Final = "websocket.close"
_DENIAL: Final = "websocket.http.response"
_DENIALS: Final = frozenset({f"{_DENIAL}.start", f"{_DENIAL}.body"})
_CONNECTING, _OPEN, _DENYING, _CLOSED = "before websocket.accept", "after websocket.accept", f"after {_DENIAL}.start", "after websocket.close"
_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    _CONNECTING: frozenset({_ACCEPT, _CLOSE, f"{_DENIAL}.start"}),
    _OPEN: frozenset({_SEND, _CLOSE}),
    _DENYING: frozenset({f"{_DENIAL}.body"}),
    _CLOSED: frozenset(),
}
_HANDSHAKE_FIELDS: Final = frozenset({b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"})
# RFC 6455 §7.4.1 and the IANA registry that §11.7 opened (1012 to 1014); 1004, 1005, 1006 and 1015 must not be sent; §7.4.2 for the rest.
_CODES: Final = (range(1000, 1004), range(1007, 1015), range(3000, 5000))
# RFC 6455 §5.5: a control frame has at most 125 bytes; two are the code.
_LONGEST_REASON: Final = 123


class WebSocketRules:
    """The rules of one call, and how far it is."""

    def __init__(self, scope: Mapping[str, Any], report: Report) -> None:
        self._report = report
        self._extensions = extensions_of(scope)
        self._offered = list(scope.get("subprotocols") or ())
        self._state = _CONNECTING
        self._denial = Response(_DENIAL)
        self.gone = False

    def received(self, message: Any) -> None:
        """The application got a message."""
        if isinstance(message, dict) and message.get("type") == "websocket.disconnect":
            self.gone = True

    def sending(self, message: Any) -> Any:
        """Check a message, let it count, and give what is to be sent."""
        report = self._report
        kind = check_message(message, report)
        if kind is None:
            return message
        if kind not in {_ACCEPT, _SEND, _CLOSE} | _DENIALS:
            report("app.lint.known-type", f"sent {shown(kind)} in a websocket scope")
            return message
        if kind in _DENIALS and _DENIAL not in self._extensions:
            report("app.lint.ext-advertised", f"{kind}, and the scope does not have {_DENIAL}")
        if kind == f"{_DENIAL}.body" and self._denial.complete:
            report("app.lint.no-send-after-complete", f"{kind} after the response was complete")
            return message
        if kind not in _ALLOWED[self._state]:
            self._check_order(kind)
            return message
        match kind:
            case "websocket.accept":
                message = self._accept(message)
                self._state = _OPEN
            case "websocket.send":
                self._check_data(message)
            case "websocket.close":
                self._check_close(message)
                self._state = _CLOSED
            case "websocket.http.response.start":
                message = self._denial.check_start(message, report)
                self._denial.start(message)
                self._state = _DENYING
            case _:
                self._denial.check_body(message, report)
                self._denial.body(message)
        return message

    def _check_order(self, kind: str) -> None:
        # www.rst, Disconnect: after it "you should expect future calls to send() to raise an exception"; so they are foreseen.
        level: Level | None = "INFO" if self.gone and self._state != _CLOSED else None
        self._report("app.lint.ws-order", f"{kind} {self._state}", level)

    def _accept(self, message: dict[str, Any]) -> dict[str, Any]:
        report = self._report
        chosen = message.get("subprotocol")
        if chosen is not None and (not isinstance(chosen, str) or chosen not in self._offered):
            report("app.lint.ws-subprotocol-offered", f"the subprotocol is {shown(chosen)}; the client offered {shown(self._offered)}")
        message, fields = check_fields(message, report)
        for name, value in fields:
            if name in _HANDSHAKE_FIELDS:
                report("app.lint.ws-accept-headers", f"{_ACCEPT} has {name.decode()}: {shown(value)}")
        return message

    def _check_data(self, message: dict[str, Any]) -> None:
        rule = "app.lint.ws-send-one-of"
        text, data = message.get("text"), message.get("bytes")
        if (text is None) == (data is None):
            self._report(rule, f"{_SEND} has {'neither' if text is None else 'both'}")
        if text is not None and not isinstance(text, str):
            self._report(rule, f"text is {shown(text)} ({type(text).__name__})")
        if isinstance(data, bytearray | memoryview):
            self._report(rule, f"bytes is a {type(data).__name__}", "SHOULD")
        elif data is not None and not isinstance(data, bytes):
            self._report(rule, f"bytes is {shown(data)} ({type(data).__name__})")

    def _check_close(self, message: dict[str, Any]) -> None:
        rule = "app.lint.ws-close-code"
        code = message.get("code", 1000)
        if not isinstance(code, int) or isinstance(code, bool) or not any(code in codes for codes in _CODES):
            self._report(rule, f"the code is {shown(code)}")
        reason = message.get("reason")
        if reason is None:
            return
        try:
            size = len(reason.encode()) if isinstance(reason, str) else -1
        except UnicodeEncodeError:
            size = -1
        if not 0 <= size <= _LONGEST_REASON:
            self._report(rule, f"the reason is {shown(reason)}" if size < 0 else f"the reason has {size} bytes")

    def returned(self) -> None:
        """The application returned."""
        if self.gone:
            return
        if self._state == _CONNECTING:
            self._report("app.lint.ws-order", "the application returned without an answer to websocket.connect")
        elif self._state == _DENYING:
            self._denial.check_end(self._report)

    def checkpoint(self) -> Any:
        """What `restore` takes."""
        return self._state, copy.copy(self._denial)

    def restore(self, checkpoint: Any) -> None:
        """The server refused the message that was sent since."""
        self._state, self._denial = checkpoint
