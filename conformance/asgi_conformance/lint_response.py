"""One response as it is sent: of HTTP, or the one that denies a WebSocket.

The law of this module: first a message is checked, then it counts (`advance`); one that was refused has not been sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.lint_messages import check_fields, shown, valid_media_type, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_conformance.lint_messages import Fields, Report

__all__ = ["Response"]

_FIRST_FINAL: Final = 200
_LAST_STATUS: Final = 599
_LAST_TOLERATED: Final = 999
_OK, _CLIENT_ERRORS = 200, 300
_PARTIAL: Final = 206
_UPGRADE_REQUIRED: Final = 426
_NO_CONTENT: Final = 204
_WITHOUT_CONTENT: Final = frozenset({204, 205, 304})

# RFC 9110, each field whose grammar is no list: §6.6.1, §8.3, §8.7, §8.8.2, §8.8.3, §10.2.2, §10.2.3, §10.2.4, §14.4; Age and Expires are RFC 9111's.
_SINGLETONS: Final = (
    b"age",
    b"content-location",
    b"content-range",
    b"content-type",
    b"date",
    b"etag",
    b"expires",
    b"last-modified",
    b"location",
    b"retry-after",
    b"server",
)
_HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"})
# 416's is a SHOULD (RFC 9110 §14.4, §15.5.17), and so is Location (§15.4.2, §15.4.3, §15.4.8, §15.4.9; 303 is defined by it, §15.4.4).
_COMPANIONS: Final[Mapping[int, bytes]] = {401: b"www-authenticate", 405: b"allow", 407: b"proxy-authenticate", 426: b"upgrade"}
_SHOULD_COMPANIONS: Final[Mapping[int, bytes]] = {
    301: b"location",
    302: b"location",
    303: b"location",
    307: b"location",
    308: b"location",
    416: b"content-range",
}


class Response:
    """What was sent of one response.

    Args:
        prefix: of the message types: ``http.response``, or ``websocket.http.response``.
        method: of the request.
    """

    def __init__(self, prefix: str, method: str = "GET") -> None:
        self.prefix = prefix
        self.method = method
        self.started = False
        self.has_body = False
        self.body_ended = False
        self.trailers_due = False
        self.status = 0
        self.fields: Fields = []
        self.declared: int | None = None
        self.sent = 0
        self._next: tuple[int, Fields, int | None] = (0, [], None)

    @property
    def complete(self) -> bool:
        """Whether nothing may follow."""
        return self.body_ended and not self.trailers_due

    # The start.

    def check_start(self, message: dict[str, Any], report: Report) -> dict[str, Any]:
        """Check a start; the message to send."""
        if self.started:
            report("app.lint.start-first", f"a second {message['type']}")
        status = self._check_status(message, report)
        message, fields = check_fields(message, report)
        for name in _SINGLETONS:
            values = values_of(fields, name)
            if len(values) > 1:
                report("app.lint.header-singletons", f"{name.decode()} stands {len(values)} times: {shown(values)}")
        _check_hop_by_hop(status, fields, report)
        length = _check_length(fields, report)
        if status == _NO_CONTENT and values_of(fields, b"content-length"):
            report("app.lint.no-body-204-304-205", "a 204 has a content-length")
        if status is not None:
            _check_companions(status, fields, report)
        self._next = (status or 0, fields, length)
        return message

    def start(self, message: dict[str, Any]) -> None:
        """A start that was checked is sent."""
        self.started = True
        self.status, self.fields, self.declared = self._next
        self.trailers_due = message.get("trailers") is True

    def _check_status(self, message: dict[str, Any], report: Report) -> int | None:
        status = message.get("status")
        rule = "app.lint.status-int-range"
        if not isinstance(status, int) or isinstance(status, bool):
            report(rule, f"the status is {shown(status)}" if "status" in message else "there is no status")
            return None
        if not _FIRST_FINAL <= status <= _LAST_TOLERATED:
            report(rule, f"the status is {int(status)}")
        elif status > _LAST_STATUS:
            # "Implementations often use" these between themselves; a client takes one for a 5xx.
            report(rule, f"the status is {int(status)}", "SHOULD")
        return int(status)

    # The body.

    def check_body(self, message: dict[str, Any], report: Report) -> None:
        """Check an ``….body``."""
        if not self.started:
            report("app.lint.start-first", f"{message['type']} before {self.prefix}.start")
        rule = "app.lint.body-bytes"
        body = message.get("body", b"")
        if isinstance(body, bytearray | memoryview):
            report(rule, f"the body is a {type(body).__name__}", "SHOULD")
        elif not isinstance(body, bytes):
            report(rule, f"the body is {shown(body)} ({type(body).__name__})")
        more = _check_more(message, "more_body", report)
        size = _size(body)
        if size:
            self.check_content(report)
        if self.method == "HEAD" or self.status in _WITHOUT_CONTENT or self.declared is None:
            return
        total = self.sent + size
        if total > self.declared:
            report("app.lint.cl-matches", f"content-length is {self.declared}, and with this message the body has {total} bytes")
        elif not more and total < self.declared:
            report("app.lint.cl-matches", f"content-length is {self.declared}, and the body ended after {total} bytes")

    def check_content(self, report: Report) -> None:
        """Check whether this response may have content at all, and says of which kind."""
        if not self.started:
            return
        if self.status in _WITHOUT_CONTENT:
            report("app.lint.no-body-204-304-205", f"a {self.status} has a body")
        elif self.method != "HEAD" and not self.has_body and _OK <= self.status < _CLIENT_ERRORS:
            types = values_of(self.fields, b"content-type")
            if not types:
                report("app.lint.content-type", f"a {self.status} with a body has no content-type")
            elif valid_media_type(types[0]) is None:
                report("app.lint.content-type", f"content-type is {shown(types[0])}")

    def body(self, message: dict[str, Any]) -> None:
        """A body that was checked is sent."""
        size = _size(message.get("body", b""))
        self.sent += size
        self.has_body = True
        self.body_ended = not message.get("more_body", False)

    def file(self, *, more: bool) -> None:
        """A file is sent, of a size that is not known here."""
        self.has_body = True
        self.declared = None
        self.body_ended = not more

    # The end.

    def check_end(self, report: Report) -> None:
        """Check a response whose application returned; its client was there."""
        if not self.started:
            # A body without a start was told when it was sent.
            if not self.has_body:
                report("app.lint.completed", "the application returned without a response")
        elif not self.has_body:
            report("app.lint.start-followed-by-body", f"the application returned after {self.prefix}.start")
        elif not self.body_ended:
            report("app.lint.completed", "the application returned, and the last body had more_body")
        elif self.trailers_due:
            report("app.lint.completed", "the application returned without the trailers that its start promised")


def _size(body: Any) -> int:
    if isinstance(body, memoryview):
        return body.nbytes
    return len(body) if isinstance(body, bytes | bytearray) else 0


def _check_more(message: dict[str, Any], key: str, report: Report) -> bool:
    more = message.get(key, False)
    if not isinstance(more, bool):
        report("app.lint.body-bytes", f"{key} is {shown(more)}")
    return bool(more)


def _check_length(fields: Fields, report: Report) -> int | None:
    values = values_of(fields, b"content-length")
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit():
        report("app.lint.cl-valid", f"content-length is {shown(values[0] if len(values) == 1 else values)}")
        return None
    return int(values[0]) if len(values[0]) < 20 else None  # noqa: PLR2004 - no body is that long, and int() of thousands of digits raises


def _check_hop_by_hop(status: int | None, fields: Fields, report: Report) -> None:
    for name, value in fields:
        if name not in _HOP_BY_HOP:
            continue
        lower = value.lower()
        if status == _UPGRADE_REQUIRED and (name == b"upgrade" or (name == b"connection" and lower == b"upgrade")):
            # RFC 9110 §15.5.22 asks for it, and §7.8 for the connection option beside it.
            continue
        report("app.lint.no-hop-by-hop", f"{name.decode()}: {shown(value)}", "INFO" if (name, lower) == (b"connection", b"close") else None)


def _check_companions(status: int, fields: Fields, report: Report) -> None:
    rule = "app.lint.status-companions"
    wanted = _COMPANIONS.get(status)
    if wanted is not None and not values_of(fields, wanted):
        report(rule, f"a {status} without {wanted.decode()}")
    wanted = _SHOULD_COMPANIONS.get(status)
    if wanted is not None and not values_of(fields, wanted):
        report(rule, f"a {status} without {wanted.decode()}", "SHOULD")
    if status == _PARTIAL:
        has_range = bool(values_of(fields, b"content-range"))
        multipart = any(value.lower().startswith(b"multipart/byteranges") for value in values_of(fields, b"content-type"))
        if has_range == multipart:
            report(
                rule, "a 206 has both content-range and multipart/byteranges" if multipart else "a 206 without content-range or multipart/byteranges"
            )
