"""The rules of one HTTP request's call (ASGI www.rst, HTTP; extensions.rst).

The law of this module: as `lint_response`. An extension's message is allowed where the scope has the extension and its text allows it now.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.lint_messages import check_fields, check_message, extensions_of, shown
from asgi_conformance.lint_response import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_conformance.lint_messages import Report

__all__ = ["HttpRules"]

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_TRAILERS: Final = "http.response.trailers"
_PUSH: Final = "http.response.push"
_PATH: Final = "http.response.pathsend"
_FILE: Final = "http.response.zerocopysend"
_HINT: Final = "http.response.early_hint"
_DEBUG: Final = "http.response.debug"
_EXTENSIONS: Final = frozenset({_TRAILERS, _PUSH, _PATH, _FILE, _HINT, _DEBUG})
_UNADVERTISED: Final = "app.lint.ext-advertised"


class HttpRules:
    """The rules of one call, and how far it is."""

    def __init__(self, scope: Mapping[str, Any], report: Report) -> None:
        self._report = report
        self._extensions = extensions_of(scope)
        self._response = Response("http.response", str(scope.get("method", "GET")))
        self._debugged = False
        self.gone = False

    def received(self, message: Any) -> None:
        """The application got a message."""
        if isinstance(message, dict) and message.get("type") == "http.disconnect":
            self.gone = True

    def sending(self, message: Any) -> Any:
        """Check a message, let it count, and give what is to be sent."""
        report, response = self._report, self._response
        kind = check_message(message, report)
        if kind is None:
            return message
        if kind not in _EXTENSIONS and kind not in {_START, _BODY}:
            report("app.lint.known-type", f"sent {shown(kind)} in an http scope")
            return message
        if response.complete:
            report("app.lint.no-send-after-complete", f"{kind} after the response was complete")
            return message
        if response.body_ended and kind != _TRAILERS:
            report("app.lint.no-send-after-complete", f"{kind} when only {_TRAILERS} may follow")
            return message
        if kind == _START:
            if message.get("trailers") and _TRAILERS not in self._extensions:
                report(_UNADVERTISED, f"{kind} with trailers, and the scope does not have {_TRAILERS}")
            message = response.check_start(message, report)
            response.start(message)
        elif kind == _BODY:
            response.check_body(message, report)
            response.body(message)
        else:
            if kind not in self._extensions:
                report(_UNADVERTISED, f"{kind}, and the scope does not have it")
            message = self._extension(kind, message)
        return message

    def _extension(self, kind: str, message: dict[str, Any]) -> dict[str, Any]:
        report, response = self._report, self._response
        match kind:
            case "http.response.early_hint":
                # Before the start or after it: the text says one, asgiref's PR 579 the other.
                links = message.get("links", ())
                return (
                    message if isinstance(links, list | tuple | str | bytes) or not hasattr(links, "__iter__") else {**message, "links": list(links)}
                )
            case "http.response.debug":
                if response.started or self._debugged:
                    report(_UNADVERTISED, f"{kind} {'a second time' if self._debugged else f'after {_START}'}")
                self._debugged = True
            case "http.response.trailers":
                message, _ = check_fields(message, report)
                if not response.body_ended:
                    report(_UNADVERTISED, f"{kind} before the last {_BODY}, or without trailers in {_START}")
                elif not message.get("more_trailers"):
                    response.trailers_due = False
            case "http.response.push":
                message, _ = check_fields(message, report)
                if not response.started:
                    report(_UNADVERTISED, f"{kind} before {_START}")
            case _:
                if not response.started:
                    report("app.lint.start-first", f"{kind} before {_START}")
                if kind == _PATH and response.has_body:
                    report(_UNADVERTISED, f"{kind} after a body")
                response.check_content(report)
                response.file(more=kind == _FILE and bool(message.get("more_body", False)))
        return message

    def returned(self) -> None:
        """The application returned."""
        if not self.gone:
            self._response.check_end(self._report)

    def checkpoint(self) -> Any:
        """What `restore` takes."""
        return copy.copy(self._response), self._debugged

    def restore(self, checkpoint: Any) -> None:
        """The server refused the message that was sent since."""
        self._response, self._debugged = checkpoint
