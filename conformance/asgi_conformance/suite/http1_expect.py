"""HTTP/1.1: expectations and upgrades (RFC 9110 §7.8 and §10.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Await, Call, Canned, Level, Outcome, Stimulus, Topic
from asgi_conformance.outcomes import by_server, rejected, served
from asgi_conformance.suite.exchanges import (
    BAD_REQUEST,
    CALL,
    FOLLOWING,
    OK,
    OK_CLOSE,
    SHORT,
    SUCCESS,
    UNREAD,
    answered,
    get,
    is_own,
    request,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.case import Observation

__all__ = ["EXPECT", "UPGRADE"]

EXPECT: Final = Topic("http1/expect", "HTTP/1.1: Expect")
UPGRADE: Final = Topic("http1/upgrade", "HTTP/1.1: Upgrade")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_SWITCHES: Final = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
_CONTINUES: Final = 100
_SWITCHED: Final = 101

_LONG: Final = Await(2.0)
"""For an answer that must come at once."""


def _waiting(label: str, *lines: str, wait: Await = _LONG, version: str = "1.1", script: Sequence[Any] = ()) -> Stimulus:
    """A POST whose body is sent when the server has said something."""
    head = request(*lines, "Content-Length: 5", method="POST", version=version, script=script)
    # A follow-up behind HTTP/1.0 is a client's mistake of its own.
    return Stimulus(label, (head, wait, b"hello"), methods=("POST",), follow_up=version != "1.0")


def _continued() -> Outcome:
    """100 while the client waits, then the final response of an application that got the body."""

    def holds(seen: Observation) -> bool:
        own = [call for call in seen.calls if is_own(call)]
        return (
            answered(seen)
            and seen.prompt
            and [response.status for response in seen.responses[0].informational] == [_CONTINUES]
            and [call.body for call in own] == [b"hello"]
        )

    example = Canned(OK * 2, closes=False, calls=(Call({"method": "POST", "path": "/"}, b"hello"),), early=_CONTINUE)
    return Outcome("100 at once, and served", holds, example)


def _final_at_once(words: str = "a final response at once, and the connection closed, or the body read") -> Outcome:
    """A final response while the client waits; whether it closes is said."""

    def holds(seen: Observation) -> bool:
        interim = [response.status for response in seen.responses[0].informational] if seen.responses else []
        after = len(seen.responses) == 1 and (seen.ended if seen.responses[0].closes else seen.followed is not None)
        return seen.prompt and not interim and after and not seen.broken

    return Outcome(words, holds, Canned(b"", closes=True, early=b"HTTP/1.1 413 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))


def _no_interim() -> Outcome:
    """Served with the body, without an interim response."""

    def holds(seen: Observation) -> bool:
        own = [call for call in seen.calls if is_own(call)]
        return answered(seen) and not seen.responses[0].informational and [call.body for call in own] == [b"hello"]

    example = Canned(OK_CLOSE, closes=True, calls=(Call({"method": "POST", "path": "/"}, b"hello"),))
    return Outcome("served without an interim response", holds, example)


_EXPECTS: Final = (
    "Upon receiving an HTTP/1.1 (or later) request that has a method, target URI, and complete header section that contains a 100-continue "
    "expectation and an indication that request content will follow, an origin server MUST send either an immediate response with a final status "
    "code, if that status can be determined by examining just the method, target URI, and header fields, or an immediate 100 (Continue) response "
    "to encourage the client to send the request content. The origin server MUST NOT wait for the content before sending the 100 (Continue) "
    "response."
)
_LATE: Final = Canned(OK * 2, closes=False, calls=(Call({"method": "POST", "path": "/"}, b"hello"),))
EXPECT.case(
    "h1.conn.expect-100-on-read",
    "RFC 9110 §10.1.1",
    level=Level.MUST,
    says=_EXPECTS,
    send=[_waiting("100-continue", "Expect: 100-continue"), _waiting("the value is case-insensitive", "Expect: 100-Continue")],
    allow=[_continued(), _final_at_once()],
    bad=_LATE,
)
EXPECT.case(
    "h1.conn.expect-100-no-read",
    "RFC 9110 §10.1.1",
    "RFC 9112 §9.3",
    level=Level.MUST,
    says=_EXPECTS,
    send=[_waiting("the application does not read", "Expect: 100-continue", script=UNREAD)],
    # "either [...] or": one may ask for the body before it knows that nobody wants it.
    allow=[_final_at_once(), Outcome("100 at once, and answered", lambda seen: seen.prompt and answered(seen), _continued().example)],
    bad=_LATE,
)
EXPECT.case(
    "h1.conn.expect-body-already",
    "RFC 9110 §10.1.1",
    level=Level.MUST,
    says="A server MAY omit sending a 100 (Continue) response if it has already received some or all of the content for the corresponding request,"
    " or if the framing indicates that there is no content. A server that sends a 100 (Continue) response MUST ultimately send a final status"
    " code, once it receives and processes the request content, unless the connection is closed prematurely.",
    send=[Stimulus("in one write", (request("Expect: 100-continue", method="POST", body=b"hello"),), methods=("POST",))],
    allow=[served(body=b"hello")],
    bad=Canned(_CONTINUE, closes=True),
)
EXPECT.case(
    "h1.conn.expect-unknown",
    "RFC 9110 §10.1.1",
    level=Level.MAY,
    says="A server that receives an Expect field value containing a member other than 100-continue MAY respond with a 417 (Expectation Failed) "
    "status code to indicate that the unexpected expectation cannot be met.",
    send=[get("an unknown one", "Expect: 200-ok"), get("two in a list", "Expect: 100-continue, 200-ok")],
    allow=[served(), by_server(417)],
    bad=Canned(BAD_REQUEST, closes=True),
)
EXPECT.case(
    "h1.conn.expect-http10",
    "RFC 9110 §10.1.1",
    level=Level.MUST,
    says="A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation.",
    send=[_waiting("100-continue in HTTP/1.0", "Expect: 100-continue", wait=SHORT, version="1.0")],
    allow=[_no_interim()],
    warn=[rejected(426)],
    bad=Canned(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", closes=True),
)
EXPECT.case(
    "h1.conn.http10-no-1xx",
    "RFC 9110 §15.2",
    level=Level.MUST,
    says="Since HTTP/1.0 did not define any 1xx status codes, a server MUST NOT send a 1xx response to an HTTP/1.0 client.",
    send=[
        _waiting("Expect in HTTP/1.0", "Expect: 100-continue", wait=SHORT, version="1.0"),
        _waiting("with keep-alive", "Expect: 100-continue", "Connection: keep-alive", wait=SHORT, version="1.0"),
    ],
    allow=[_no_interim()],
    warn=[rejected(417, 426)],
    bad=Canned(OK_CLOSE, closes=True, calls=(Call({"method": "POST", "path": "/"}, b"hello"),), early=_CONTINUE),
)

_HANDSHAKE: Final = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
_NOT_UPGRADED: Final = (by_server(400), by_server(426))


def _alone(label: str, *lines: str, version: str = "1.1") -> Stimulus:
    """A GET with nothing behind it."""
    return Stimulus(label, (request(*lines, version=version),), follow_up=False)


def _plain(method: str = "GET") -> Outcome:
    """Served as the request that it is without Upgrade."""
    return served("as HTTP", lambda call: call.scope.get("type", "http") == "http", method=method)


UPGRADE.case(
    "h1.upgrade.h2c-ignored",
    "RFC 9110 §7.8",
    "RFC 9113 §3.1",
    level=Level.MAY,
    says="A server MAY ignore a received Upgrade header field if it wishes to continue using the current protocol on that connection.",
    send=[_alone("h2c", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")],
    allow=[_plain()],
    # RFC 9113 §3.1 deprecates it. What follows is HTTP/2.
    warn=[
        Outcome(
            "101 to h2c",
            lambda seen: seen.status == _SWITCHED and seen.responses[0].all(b"upgrade") == [b"h2c"],
            Canned(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", closes=True),
        )
    ],
    bad=Canned(BAD_REQUEST, closes=True),
)
UPGRADE.case(
    "h1.upgrade.unknown",
    "RFC 9110 §7.8",
    level=Level.MUST,
    says="A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding request's Upgrade header field.",
    send=[_alone("a name that nobody knows", "Connection: upgrade", "Upgrade: foo/2"), _alone("two", "Connection: upgrade", "Upgrade: foo, bar")],
    allow=[_plain()],
    warn=[by_server(400), by_server(426), by_server(501)],
    bad=Canned(_SWITCHES, closes=True),
)
UPGRADE.case(
    "h1.upgrade.unknown-next",
    "RFC 9110 §7.8",
    # Whoever loses the next request closes an idle connection later, so that the client may send it again: discouraged, and not lawless.
    level=Level.SHOULD,
    says="Where an Upgrade was ignored the connection is what it was: the next request is answered, or the response says that the connection closes.",
    send=[get("in one write", "Connection: upgrade", "Upgrade: foo/2"), get("h2c", "Connection: upgrade", "Upgrade: h2c")],
    allow=[
        Outcome(
            "served, and so is what follows, or the connection closed as the response says",
            lambda seen: answered(seen) and (seen.followed is not None or (seen.ended and seen.responses[0].closes)),
            Canned(OK * 2, closes=False, calls=(CALL, FOLLOWING)),
        )
    ],
    warn=[
        Outcome(
            "refused or switched",
            lambda seen: len(seen.responses) == 1 and seen.status not in SUCCESS,
            Canned(BAD_REQUEST, closes=True),
        )
    ],
    bad=Canned(OK, closes=False, calls=(CALL,)),
)
UPGRADE.case(
    "h1.upgrade.no-connection-token",
    "RFC 6455 §4.2.1",
    "RFC 9110 §7.8",
    level=Level.MUST,
    says='The client\'s opening handshake consists of the following parts. [...] 4. A |Connection| header field that includes the token "Upgrade", '
    "treated as an ASCII case-insensitive value.",
    send=[
        get("no Connection", *_HANDSHAKE),
        get("another option", "Connection: keep-alive", *_HANDSHAKE),
        get("a longer token", "Connection: upgrades", *_HANDSHAKE),
    ],
    allow=[_plain(), *_NOT_UPGRADED],
    bad=Canned(_SWITCHES, closes=True),
)
UPGRADE.case(
    "h1.upgrade.http10",
    "RFC 9110 §7.8",
    level=Level.MUST,
    says="A server that receives an Upgrade header field in an HTTP/1.0 request MUST ignore that Upgrade field.",
    send=[
        _alone("websocket", "Connection: Upgrade", *_HANDSHAKE, version="1.0"),
        _alone("unknown", "Connection: Upgrade", "Upgrade: foo", version="1.0"),
    ],
    allow=[_plain()],
    # RFC 6455 §4.2.1 has the server refuse a handshake that is not HTTP/1.1.
    warn=[
        Outcome(
            "refused by the server",
            lambda seen: seen.status in (400, 426) and not seen.calls,
            Canned(BAD_REQUEST, closes=True),
        )
    ],
    bad=Canned(_SWITCHES, closes=True),
)
UPGRADE.case(
    "h1.upgrade.post",
    "RFC 6455 §4.2.1",
    level=Level.MUST,
    says="The client's opening handshake is an HTTP/1.1 or higher GET request; another is refused, or is no handshake.",
    send=[get("POST", "Connection: Upgrade", *_HANDSHAKE, "Content-Length: 0", method="POST")],
    allow=[_plain("POST"), *_NOT_UPGRADED, by_server(405)],
    bad=Canned(_SWITCHES, closes=True),
)


def _switched_after_100() -> Outcome:
    def holds(seen: Observation) -> bool:
        return seen.status == _SWITCHED and [one.status for one in seen.responses[0].informational if one.status != _SWITCHED] == [_CONTINUES]

    return Outcome("100 and then 101", holds, Canned(_CONTINUE + _SWITCHES, closes=True))


UPGRADE.case(
    "h1.upgrade.expect-order",
    "RFC 9110 §7.8",
    "RFC 9110 §10.1.1",
    # By RFC 9110 §10.1.1 a server may omit 100 where no content follows, and none follows a handshake.
    level=Level.CONFLICT,
    says='If a server receives both an Upgrade and an Expect header field with the "100-continue" expectation (Section 10.1.1), the server MUST send '
    "a 100 (Continue) response before sending a 101 (Switching Protocols) response.",
    send=[
        Stimulus(
            "a WebSocket handshake",
            (request("Connection: Upgrade", *_HANDSHAKE, "Expect: 100-continue", script=[["accept"], ["close"]]),),
            follow_up=False,
        )
    ],
    allow=[_switched_after_100(), by_server(400), by_server(417), by_server(426), _plain()],
    bad=Canned(_SWITCHES, closes=True),
)
