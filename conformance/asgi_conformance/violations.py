"""The rules that `lint` checks, and what it says where one is broken.

The law of this module: data and exceptions. A rule's id never changes and has no section number in it; the clauses are beside it. The level is the
clause's own word; where one rule covers two sentences, the weaker one has its level named where it is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RULES", "Level", "LintError", "LintWarning", "Rule", "Violation"]

Level = Literal["MUST", "SHOULD", "INFO", "HARD"]
"""``MUST`` and ``SHOULD`` are a clause's word; ``HARD`` is robustness, without a clause; ``INFO`` is only told."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its stable id, how much it asks, what it asks, and where that is written."""

    id: str
    level: Level
    sentence: str
    clauses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule.

    Args:
        rule: the id, as in `RULES`.
        level: the level of the sentence that was broken, which may be weaker than the rule's.
        sentence: what the rule asks.
        clauses: where that is written, as ``("ASGI www, Response Body", "RFC 9110 §8.6")``.
        seen: what the application did.
        where: in which call: ``GET /hello``, ``WebSocket /chat``, ``lifespan``.
    """

    rule: str
    level: Level
    sentence: str
    clauses: tuple[str, ...]
    seen: str
    where: str

    def __str__(self) -> str:
        clauses = f" ({'; '.join(self.clauses)})" if self.clauses else ""
        return f"{self.where}: {self.seen} [{self.rule}, {self.level}: {self.sentence}{clauses}]"


class LintError(Exception):
    """The application broke a MUST; ``violation`` says which."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


class LintWarning(UserWarning):
    """The application broke a SHOULD; ``violation`` says which."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


def _table(*rules: Rule) -> Mapping[str, Rule]:
    return {rule.id: rule for rule in rules}


_EVENTS: Final = "ASGI, Events"
_START: Final = "ASGI www, Response Start"
_BODY: Final = "ASGI www, Response Body"

RULES: Final = _table(
    Rule("app.lint.message-is-dict", "MUST", "a message is a dict with a str under 'type', and its keys are str", (_EVENTS,)),
    Rule(
        "app.lint.types-serialisable",
        "MUST",
        "a message holds only bytes, str, 64-bit int, finite float, list, dict, bool and None; a tuple should be a list",
        (_EVENTS,),
    ),
    Rule("app.lint.known-type", "MUST", "a message has a type of its protocol or of an extension", ("ASGI, Protocol Specifications",)),
    Rule("app.lint.start-first", "MUST", "a response has exactly one start, before any body", (_START, _BODY)),
    Rule("app.lint.start-followed-by-body", "MUST", "a response start is followed by at least one body message", (_START,)),
    Rule("app.lint.completed", "MUST", "a response is ended (more_body false, or the last trailers) before the application returns", (_BODY,)),
    Rule("app.lint.no-send-after-complete", "SHOULD", "nothing is sent after the response is complete: it is ignored", (_BODY,)),
    Rule("app.lint.status-int-range", "MUST", "the status is an int, 200 to 599: a start is a final response", (_START, "RFC 9110 §15")),
    Rule("app.lint.header-shape", "MUST", "headers are an iterable of two-item iterables of bytes", (_START,)),
    Rule("app.lint.header-lowercase", "MUST", "header names are lower case", (_START,)),
    Rule("app.lint.header-name-token", "MUST", "a header name is a token", ("RFC 9110 §5.1", "RFC 9110 §5.6.2")),
    Rule("app.lint.header-no-pseudo", "MUST", "pseudo header names, which begin with ':', are not sent", (_START,)),
    Rule(
        "app.lint.header-value-ctl",
        "MUST",
        "a header value has no CR, LF or NUL and no whitespace around it; other controls are invalid too",
        ("RFC 9110 §5.5",),
    ),
    Rule("app.lint.header-singletons", "MUST", "a field that is no list stands once", ("RFC 9110 §5.3",)),
    Rule("app.lint.no-hop-by-hop", "SHOULD", "fields of the connection are the server's", (_START, "RFC 9110 §7.6.1")),
    Rule("app.lint.cl-valid", "MUST", "content-length is one decimal number", ("RFC 9110 §8.6",)),
    Rule("app.lint.cl-matches", "MUST", "the body has as many bytes as content-length says", ("RFC 9110 §8.6", "RFC 9112 §6.3")),
    Rule(
        "app.lint.no-body-204-304-205",
        "MUST",
        "responses 204, 205 and 304 have no content, and 204 has no content-length",
        ("RFC 9110 §15.3.5", "RFC 9110 §15.3.6", "RFC 9110 §15.4.5", "RFC 9110 §8.6"),
    ),
    Rule("app.lint.body-bytes", "MUST", "a body is bytes, and more_body is a bool", (_BODY,)),
    Rule("app.lint.content-type", "SHOULD", "a successful response with content says its media type, and validly", ("RFC 9110 §8.3",)),
    Rule(
        "app.lint.status-companions",
        "MUST",
        "some statuses need a field beside them",
        (
            "RFC 9110 §10.2.1",
            "RFC 9110 §11.6.1",
            "RFC 9110 §14.4",
            "RFC 9110 §15.3.7",
            "RFC 9110 §15.4",
            "RFC 9110 §15.5.8",
            "RFC 9110 §15.5.22",
        ),
    ),
    Rule("app.lint.scope-not-mutated", "SHOULD", "the scope that came in is copied before it is changed", ("ASGI, Middleware",)),
    Rule(
        "app.lint.exception-escapes",
        "SHOULD",
        "no exception leaves the application but those that send and receive raised",
        ("ASGI, Error Handling",),
    ),
    Rule("app.lint.unexpected-cancel", "INFO", "a cancellation is not swallowed"),
    Rule("app.lint.not-blocking", "HARD", "the event loop is not held up while the application runs"),
    Rule(
        "app.lint.ws-order",
        "MUST",
        "websocket.connect is answered once by accept, close or a denial response; send follows accept; nothing follows close",
        ("ASGI www, Connect", "ASGI www, Accept", "ASGI www, Close"),
    ),
    Rule("app.lint.ws-send-one-of", "MUST", "websocket.send has exactly one of text (a str) and bytes", ("ASGI www, Send",)),
    Rule(
        "app.lint.ws-close-code",
        "MUST",
        "a close code is 1000 to 1003, 1007 to 1014 or 3000 to 4999, and its reason has at most 123 bytes of UTF-8",
        ("ASGI www, Close", "RFC 6455 §7.4", "RFC 6455 §5.5"),
    ),
    Rule("app.lint.ws-subprotocol-offered", "MUST", "the accepted subprotocol is one that the client offered, or None", ("RFC 6455 §4.2.2",)),
    Rule(
        "app.lint.ws-accept-headers",
        "MUST",
        "the fields of the handshake (sec-websocket-protocol, -accept, -extensions) are the server's",
        ("ASGI www, Accept", "RFC 6455 §4.2.2"),
    ),
    Rule(
        "app.lint.life-order",
        "MUST",
        "startup is answered once, by complete or failed, and so is shutdown",
        ("ASGI lifespan, Startup Complete", "ASGI lifespan, Shutdown Complete"),
    ),
    Rule("app.lint.ext-advertised", "MUST", "an extension is used only where the scope has it, and when its text allows it", ("ASGI, Extensions",)),
)
"""Every rule, by its id."""
