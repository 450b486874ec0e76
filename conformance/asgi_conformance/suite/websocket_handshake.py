"""The opening handshake of a WebSocket, as a server reads it and answers it (RFC 6455 §4.2; ASGI www)."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import KEY, TEXT, accept_value, encode_frame, handshake
from asgi_conformance.reference import dumps_script
from asgi_conformance.suite.dialogue import answer_close, given, plain, receiving, rewriting, sending
from pytest_asgiserve.raw import Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawResponse

__all__ = ["HANDSHAKE"]

HANDSHAKE: Final = Topic("websocket/handshake", "WebSocket: the opening handshake")

_NEEDS: Final = ("websocket",)
_REFUSE: Final = (
    "If the server, while reading the handshake, finds that the client did not send a handshake that matches the description below (note that as per "
    "[RFC2616], the order of the header fields is not important), including but not limited to any violations of the ABNF grammar specified for the "
    "components of the handshake, the server MUST stop processing the client's handshake and return an HTTP response with an appropriate error code "
    "(such as 400 Bad Request)."
)
_SWITCHING: Final = 101
_OK: Final = range(200, 300)
_CLIENT_ERRORS: Final = range(400, 500)
_UPGRADE_REQUIRED: Final = 426
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_NO_STATUS: Final = 1005
_ABNORMAL: Final = 1006
_QUIET: Final = 0.2
"""Seconds in which what must not come would have."""
_HANG: Final = 2.0
"""Seconds of silence that are a hang: what is due is due at once."""
_ECHO_ONE: Final = [["accept"], ["receive"], ["close"]]


def _answer(stage: Stage, *lines: str, drop: Sequence[str] = (), script: Sequence[Any] = (), body: bytes = b"") -> RawResponse | None:
    """The answer to a handshake; None where the connection ended without one."""
    frames = stage.frames(timeout=_HANG)
    told = [f"X-Script: {dumps_script(script)}"] if script else []
    frames.connection.send(handshake(frames.connection.host, "/", *lines, *told, drop=drop) + body)
    try:
        return frames.read_answer()
    except (Unanswered, ConnectionResetError):
        return None


def _refused(stage: Stage, label: str, answer: RawResponse | None) -> None:
    """That ``answer`` refuses a handshake that is none: with an error of the client's.

    No answer at all is lawful (RFC 6455 §10.7: it "MAY drop the TCP connection"), and so is a server that leaves the Upgrade field alone and serves
    the request as the plain one that it also is (RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field"); both are discouraged.
    """
    if answer is None:
        stage.warn(f"{label}: the connection closed without an answer")
        return
    stage.check(answer.status in _CLIENT_ERRORS or answer.status in _OK, f"{label}: {answer.status}")
    if answer.status in _OK:
        calls = [plain(record.scope).get("type") for record in stage.records()]
        stage.check(calls == ["http"], f"{label}: {answer.status}, and the application was called with {', '.join(map(str, calls)) or 'nothing'}")
        stage.warn(f"{label}: the Upgrade field is ignored, and {answer.status} for the request without it")


# A handshake as it must be.


@HANDSHAKE.scenario(
    "ws.hs.accept",
    "RFC 6455 §4.2.2",
    "RFC 6455 §11.3.3",
    "RFC 9110 §15.2.2",
    level=Level.MUST,
    says="If the server chooses to accept the incoming connection, it MUST reply with a valid HTTP response indicating the following. [...] The "
    "|Sec-WebSocket-Accept| header MUST NOT appear more than once in an HTTP response.",
    expects="101 with Upgrade: websocket, Connection: Upgrade and the Sec-WebSocket-Accept of the client's key",
    bad=Distortion(to_client=rewriting(re.escape(accept_value()), b"AAAAMBiTxaQ9kYGzzhZRbK+xOo=")),
    needs=_NEEDS,
)
def accept(stage: Stage) -> None:
    for key in (KEY, "AQIDBAUGBwgJCgsMDQ4PEA=="):
        frames = stage.websocket(f"Sec-WebSocket-Key: {key}", script=[["accept"], ["close"]])
        response = given(stage, frames.response, "no answer")
        answer_close(frames)
        upgrade = response.one(b"upgrade") or b""
        stage.check(upgrade.lower() == b"websocket", f"Upgrade: {upgrade!r}")
        options = [option.strip().lower() for value in response.all(b"connection") for option in value.split(b",")]
        stage.check(b"upgrade" in options, f"Connection: {options}")
        value = response.one(b"sec-websocket-accept")
        stage.check(value == accept_value(key), f"for the key {key} Sec-WebSocket-Accept: {value!r}, and not {accept_value(key)!r}")
        stage.check(response.version == b"HTTP/1.1", f"{response.version!r}")


@HANDSHAKE.scenario(
    "ws.hs.case",
    "RFC 6455 §4.2.1",
    level=Level.MUST,
    says='An |Upgrade| header field containing the value "websocket", treated as an ASCII case-insensitive value.',
    expects="101, however Upgrade, websocket and the names of the fields are spelled, and with other connection options beside it",
    bad=Distortion(to_server=rewriting(rb"(?m)^Upgrade: (?!websocket\r)[^\r]*\r\n", b"")),
    needs=_NEEDS,
)
def case_of_the_fields(stage: Stage) -> None:
    spellings = [
        ("WebSocket", ["Upgrade: WebSocket"]),
        ("WEBSOCKET", ["Upgrade: WEBSOCKET"]),
        ("keep-alive, UPGRADE", ["Connection: keep-alive, UPGRADE"]),
        ("upgrade", ["Connection: upgrade"]),
        ("two lines of Connection", ["Connection: keep-alive", "Connection: Upgrade"]),
        ("names in lower case", ["upgrade: websocket", "connection: upgrade", f"sec-websocket-key: {KEY}", "sec-websocket-version: 13"]),
        ("names in upper case", ["UPGRADE: websocket", "CONNECTION: Upgrade", f"SEC-WEBSOCKET-KEY: {KEY}", "SEC-WEBSOCKET-VERSION: 13"]),
    ]
    for label, lines in spellings:
        answer = given(stage, _answer(stage, *lines, script=[["accept"], ["close"]]), f"{label}: the connection closed without an answer")
        stage.check(answer.status == _SWITCHING, f"{label}: {answer.status}")


# A handshake that is none.


@HANDSHAKE.scenario(
    "ws.hs.no-key",
    "RFC 6455 §4.2.1",
    level=Level.MUST,
    says=_REFUSE,
    expects="400 (or another 4xx) for a handshake without Sec-WebSocket-Key",
    bad=Distortion(
        to_server=lambda data: data.replace(b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nSec-WebSocket-Key: " + KEY.encode() + b"\r\n")
    ),
    needs=_NEEDS,
)
def no_key(stage: Stage) -> None:
    _refused(stage, "no key", _answer(stage, drop=["sec-websocket-key"]))


@HANDSHAKE.scenario(
    "ws.hs.bad-key",
    "RFC 6455 §4.2.1",
    "RFC 6455 §11.3.1",
    "RFC 6455 §4.2.2",
    level=Level.MUST,
    says=_REFUSE,
    expects="400 (or another 4xx) for an empty key and for two keys; and, though no server needs to decode it, for one that is not base64 or not of "
    "16 bytes",
    bad=Distortion(to_server=rewriting(rb"(?:Sec-WebSocket-Key: [^\r]*\r\n)+", b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n")),
    needs=_NEEDS,
)
def bad_key(stage: Stage) -> None:
    keys = [
        ("an empty key", ["Sec-WebSocket-Key: "], True),
        ("a key that is not base64", ["Sec-WebSocket-Key: not base64, not at all!!"], False),
        ("two keys", [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA=="], True),
        ("a key of 15 bytes", ["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4P"], False),
        ("a key of 17 bytes", ["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEBE="], False),
    ]
    for label, lines, must in keys:
        stage.mark()
        answer = _answer(stage, *lines)
        if not must and answer is not None and answer.status == _SWITCHING:
            # §4.2.2: "It is not necessary for the server to base64-decode the |Sec-WebSocket-Key| value."
            stage.warn(f"{label} is taken")
        else:
            _refused(stage, label, answer)


@HANDSHAKE.scenario(
    "ws.hs.version-missing",
    "RFC 6455 §4.2.1",
    level=Level.MUST,
    says=_REFUSE,
    expects="400 or 426 (or another 4xx) for a handshake without Sec-WebSocket-Version",
    bad=Distortion(to_server=lambda data: data.replace(b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")),
    needs=_NEEDS,
)
def version_missing(stage: Stage) -> None:
    _refused(stage, "no version", _answer(stage, drop=["sec-websocket-version"]))


@HANDSHAKE.scenario(
    "ws.hs.version-twice",
    "RFC 6455 §4.2.1",
    "RFC 6455 §11.3.5",
    level=Level.MUST,
    says=f"{_REFUSE} [...] However, the |Sec-WebSocket-Version| header field MUST NOT appear more than once in an HTTP request.",
    expects="400 or 426 (or another 4xx) for a handshake with two lines of Sec-WebSocket-Version",
    bad=Distortion(to_server=rewriting(rb"(?s)(Sec-WebSocket-Version: 13\r\n.*?)Sec-WebSocket-Version: [^\r]*\r\n", rb"\1")),
    needs=_NEEDS,
)
def version_twice(stage: Stage) -> None:
    for label, versions in (("two versions", ("13", "8")), ("the same version twice", ("13", "13"))):
        stage.mark()
        answer = _answer(stage, *(f"Sec-WebSocket-Version: {version}" for version in versions))
        if answer is not None and answer.status == _SWITCHING and versions[0] == versions[1]:
            # The client's mistake, of which nothing comes: the value is 13 whichever of the two is read.
            stage.warn(f"{label} is taken")
        else:
            _refused(stage, label, answer)


@HANDSHAKE.scenario(
    "ws.hs.version-unsupported",
    "RFC 6455 §4.2.2",
    "RFC 6455 §4.4",
    "RFC 6455 §11.3.5",
    level=Level.MUST,
    says="If this version does not match a version understood by the server, the server MUST abort the WebSocket handshake described in this "
    "section and instead send an appropriate HTTP error code (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field indicating "
    "the version(s) the server is capable of understanding.",
    expects="426 (or another 4xx) with Sec-WebSocket-Version: 13",
    bad=Distortion(to_client=rewriting(rb"(?i)sec-websocket-version: 13\r\n", b"")),
    needs=_NEEDS,
)
def version_unsupported(stage: Stage) -> None:
    for version in ("99", "12", "0"):
        stage.mark()
        label = f"version {version}"
        answer = _answer(stage, f"Sec-WebSocket-Version: {version}")
        _refused(stage, label, answer)
        if answer is None or answer.status in _OK:
            continue
        versions = [part.strip() for value in answer.all(b"sec-websocket-version") for part in value.split(b",")]
        stage.check(b"13" in versions, f"{label}: {answer.status} with Sec-WebSocket-Version: {b', '.join(versions).decode('latin-1') or 'nothing'}")


@HANDSHAKE.scenario(
    "ws.hs.no-host",
    "RFC 6455 §4.2.1",
    "RFC 9112 §3.2",
    level=Level.MUST,
    says="A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field and to any "
    "request message that contains more than one Host header field line or a Host header field with an invalid field value.",
    expects="400 for a handshake without Host",
    bad=Distortion(to_server=lambda data: data.replace(b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nHost: a.example\r\n")),
    needs=_NEEDS,
)
def no_host(stage: Stage) -> None:
    answer = given(stage, _answer(stage, drop=["host"]), "the connection closed without an answer")
    stage.check(answer.status == _BAD_REQUEST, f"{answer.status}")


# What is chosen of what the client offers.


@HANDSHAKE.scenario(
    "ws.hs.subprotocol-chosen",
    "RFC 6455 §4.2.2",
    "RFC 6455 §11.3.4",
    "ASGI www, Accept",
    level=Level.MUST,
    says="The value chosen MUST be derived from the client's handshake, specifically by selecting one of the values from the "
    "|Sec-WebSocket-Protocol| field that the server is willing to use for this connection (if any).",
    expects="one Sec-WebSocket-Protocol with the subprotocol that the application chose",
    bad=Distortion(app=sending(lambda message: message | {"subprotocol": "a"} if message.get("subprotocol") else message)),
    needs=_NEEDS,
)
def subprotocol_chosen(stage: Stage) -> None:
    offers = [("in one line", ["Sec-WebSocket-Protocol: a, b"]), ("in two lines", ["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"])]
    for label, lines in offers:
        frames = stage.websocket(*lines, script=[["accept", "b"], ["close"]])
        chosen = given(stage, frames.response, "no answer").all(b"sec-websocket-protocol")
        answer_close(frames)
        stage.check(chosen == [b"b"], f"a and b offered {label}, b chosen: {chosen}")


@HANDSHAKE.scenario(
    "ws.hs.subprotocol-none",
    "RFC 6455 §4.2.2",
    level=Level.MUST,
    says="The absence of such a field is equivalent to the null value (meaning that if the server does not wish to agree to one of the suggested "
    "subprotocols, it MUST NOT send back a |Sec-WebSocket-Protocol| header field in its response).",
    expects="no Sec-WebSocket-Protocol where the application chose none",
    bad=Distortion(app=sending(lambda message: message | {"subprotocol": "a"} if message["type"] == "websocket.accept" else message)),
    needs=_NEEDS,
)
def subprotocol_none(stage: Stage) -> None:
    for label, message in (("no key", {}), ("None", {"subprotocol": None})):
        frames = stage.websocket("Sec-WebSocket-Protocol: a", script=[["receive"], ["send", {"type": "websocket.accept", **message}], ["close"]])
        chosen = given(stage, frames.response, "no answer").all(b"sec-websocket-protocol")
        answer_close(frames)
        stage.check(not chosen, f"subprotocol in websocket.accept: {label}; on the wire: {chosen}")


@HANDSHAKE.scenario(
    "ws.hs.subprotocol-not-offered",
    "RFC 6455 §4.2.2",
    # To RFC 6455 application and server are one (§4.2), and here it is the application that breaks the rule; ASGI does not say that the server is
    # to look.
    level=Level.SHOULD,
    says="If the client's handshake did not contain such a header field or if the server does not agree to any of the client's requested "
    "subprotocols, the only acceptable value is null.",
    expects="an exception out of send(), or a 101 without Sec-WebSocket-Protocol, where the application chose what the client did not offer",
    bad=Distortion(to_client=rewriting(rb"HTTP/1.1 [45][^\0]*", b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: c\r\n\r\n")),
    needs=_NEEDS,
)
def subprotocol_not_offered(stage: Stage) -> None:
    script = [["receive"], ["try", ["send", {"type": "websocket.accept", "subprotocol": "c"}]], ["try", ["close"]]]
    for label, lines in (("a and b are offered", ["Sec-WebSocket-Protocol: a, b"]), ("none is offered", [])):
        try:
            answer = _answer(stage, *lines, script=script)
        except TimeoutError:
            stage.warn(f"{label}, the application says c: nothing on the wire for {_HANG:g} s, and no error either")
            return
        chosen = [] if answer is None or answer.status != _SWITCHING else answer.all(b"sec-websocket-protocol")
        stage.check(not chosen, f"{label}, the application says c: 101 with Sec-WebSocket-Protocol: {b', '.join(chosen).decode('latin-1')}")


@HANDSHAKE.scenario(
    "ws.hs.no-unrequested-extension",
    "RFC 6455 §9",
    "RFC 6455 §4.2.2",
    "RFC 6455 §9.1",
    "RFC 6455 §11.3.2",
    level=Level.MUST,
    says="A server MUST NOT respond with any extension not requested by the client.",
    expects="no Sec-WebSocket-Extensions where none was offered, or none that the server knows",
    bad=Distortion(to_client=lambda data: data.replace(b"101 Switching Protocols\r\n", b"101 S\r\nSec-WebSocket-Extensions: permessage-deflate\r\n")),
    needs=_NEEDS,
)
def no_unrequested_extension(stage: Stage) -> None:
    for label, lines in (("nothing is offered", []), ("x-unknown is offered", ["Sec-WebSocket-Extensions: x-unknown; a=1"])):
        frames = stage.websocket(*lines, script=[["accept"], ["close"]])
        extensions = given(stage, frames.response, "no answer").all(b"sec-websocket-extensions")
        answer_close(frames)
        stage.check(not extensions, f"{label}: Sec-WebSocket-Extensions: {b', '.join(extensions).decode('latin-1')}")


@HANDSHAKE.scenario(
    "ws.hs.extensions-malformed",
    "RFC 6455 §9.1",
    level=Level.MUST,
    says="If a value is received by either the client or the server during negotiation that does not conform to the ABNF below, the recipient of "
    "such malformed data MUST immediately _Fail the WebSocket Connection_.",
    expects="400 (or another 4xx) for a Sec-WebSocket-Extensions that is no list of extensions with their parameters",
    bad=Distortion(to_server=rewriting(rb"Sec-WebSocket-Extensions: [^\r]*\r\n", b"")),
    needs=_NEEDS,
)
def extensions_malformed(stage: Stage) -> None:
    for value in ("x-unknown; =1", "x-unknown; a=", 'x-unknown; a="1', "x-unknown=1", "x-unknown; a b", "x-unknown @"):
        stage.mark()
        _refused(stage, value, _answer(stage, f"Sec-WebSocket-Extensions: {value}"))


# What comes behind its head.


@HANDSHAKE.scenario(
    "ws.hs.body-in-handshake",
    "RFC 9110 §7.8",
    "RFC 6455 §4.1",
    level=Level.SHOULD,
    says="A client cannot begin using an upgraded protocol on the connection until it has completely sent the request message (i.e., the client "
    "can't change the protocol it is sending in the middle of a message).",
    expects="an HTTP error, or the body passed over: not read as frames",
    bad=Distortion(to_server=lambda data: data.replace(b"Content-Length: 5\r\n", b"")),
    needs=_NEEDS,
)
def body_in_handshake(stage: Stage) -> None:
    frames = stage.frames(timeout=_HANG)
    told = f"X-Script: {dumps_script(_ECHO_ONE)}"
    frames.connection.send(handshake("a.example", "/", "Content-Length: 5", told) + b"hello")
    try:
        answer = frames.read_answer()
    except (Unanswered, ConnectionResetError):
        stage.tell("the connection closed without an answer")
        return
    stage.check(answer.status == _SWITCHING or answer.status in _CLIENT_ERRORS or answer.status in _OK, f"{answer.status}")
    if answer.status != _SWITCHING:
        stage.tell(f"{answer.status}")
        return
    frames.text("behind the body")
    frame = answer_close(frames)
    texts = [event.get("text") for event in stage.record().received if event["type"] == "websocket.receive"]
    code = None if frame is None else frame.code
    stage.check(texts == ["behind the body"], f"101, and the messages {texts}; closed with {code}")


@HANDSHAKE.scenario(
    "ws.hs.early-frames",
    "RFC 6455 §4.1",
    level=Level.HARD,
    says="Once the client's opening handshake has been sent, the client MUST wait for a response from the server before sending any further data.",
    expects="what such a client sent too early delivered behind the accept, whole and in order, or its connection refused or ended; never a part of "
    "it",
    bad=Distortion(app=receiving(lambda event: None if event.get("text") == "first" else event)),
    needs=_NEEDS,
)
def early_frames(stage: Stage) -> None:
    texts = ["first", "second", "third"]
    frames = stage.frames(timeout=_HANG)
    told = f"X-Script: {dumps_script([['accept'], ['receive-all']])}"
    frames.connection.send(handshake("a.example", "/", told) + b"".join(encode_frame(TEXT, text.encode()) for text in texts))
    try:
        answer = frames.read_answer()
    except (Unanswered, ConnectionResetError):
        stage.tell("the connection closed without an answer")
        return
    if answer.status != _SWITCHING:
        stage.check(answer.status in _CLIENT_ERRORS, f"{answer.status}")
        stage.tell(f"refused with {answer.status}")
        return
    # One that ends the connection need not wait for this.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        frames.text("fourth")
        frames.finish()
    seen = [event.get("text") for event in stage.record().received if event["type"] == "websocket.receive"]
    if seen == ["fourth"]:
        stage.warn("what was sent too early is passed over, and what came behind it delivered")
        return
    stage.check(seen in ([*texts, "fourth"], []), f"of {', '.join([*texts, 'fourth'])}: {seen}")


# The application's word.


def _hasty(app: Any) -> Any:
    """A server that completes the handshake before the application is asked."""

    async def accepts(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        first = [await receive()]
        await send({"type": "websocket.accept"})

        async def again() -> Any:
            return first.pop() if first else await receive()

        async def quiet(message: Any) -> None:
            if message["type"] != "websocket.accept":
                await send(message)

        await app(scope, again, quiet)

    return accepts


@HANDSHAKE.scenario(
    "ws.hs.before-accept",
    "ASGI www, Connect",
    level=Level.MUST,
    says="The protocol server must send this message during the handshake phase of the WebSocket and not complete the handshake until it gets a "
    "reply, returning HTTP status code 403 if the connection is denied.",
    expects="nothing on the wire before the application accepts, and then the 101",
    bad=Distortion(app=_hasty),
    needs=_NEEDS,
)
def before_accept(stage: Stage) -> None:
    flag = f"accept-{os.urandom(8).hex()}"
    frames = stage.frames()
    frames.send_handshake("/", f"X-Script: {dumps_script([['receive'], ['await', flag], ['send', {'type': 'websocket.accept'}], ['close']])}")
    frames.connection.expect_silence(_QUIET)
    stage.running.set_flag(flag)
    answer = frames.read_answer()
    stage.check(answer.status == _SWITCHING, f"{answer.status}")
    answer_close(frames)


@HANDSHAKE.scenario(
    "ws.hs.reject-403",
    "ASGI www, Close",
    level=Level.MUST,
    says="If this is sent before the socket is accepted, the server must close the connection with a HTTP 403 error code (Forbidden), and not "
    "complete the WebSocket handshake; this may present on some browsers as a different WebSocket error code (such as 1006, Abnormal Closure).",
    expects="403 for websocket.close before websocket.accept",
    bad=Distortion(to_client=rewriting(rb"HTTP/1.1 403", b"HTTP/1.1 500")),
    needs=_NEEDS,
)
def reject_403(stage: Stage) -> None:
    for label, step in (("websocket.close", ["close"]), ("websocket.close with a code", ["close", 4001, "no"])):
        answer = given(stage, _answer(stage, script=[["receive"], step]), f"{label}: the connection closed without an answer")
        stage.check(answer.status == _FORBIDDEN, f"{label}: {answer.status}")
        stage.check(not answer.all(b"sec-websocket-accept"), f"{label}: 403 with Sec-WebSocket-Accept")


@HANDSHAKE.scenario(
    "ws.hs.client-gone",
    "ASGI www, WebSocket Disconnect",
    "RFC 6455 §7.1.5",
    # There is no "must" in it; but an application that is not told waits for ever, and one more for each client that goes.
    level=Level.HARD,
    says="Sent to the application when either connection to the client is lost, either from the client closing the connection, the server closing "
    "the connection, or loss of the socket.",
    expects="websocket.disconnect, with 1006, for an application that has not accepted when its client goes",
    bad=Distortion(app=receiving(lambda event: event | {"code": 1000} if event["type"] == "websocket.disconnect" else event)),
    needs=_NEEDS,
)
def client_gone(stage: Stage) -> None:
    for label in ("in order", "with a reset"):
        stage.mark()
        flag = f"connected-{os.urandom(8).hex()}"
        frames = stage.frames()
        frames.send_handshake("/", f"X-Script: {dumps_script([['receive'], ['set', flag], ['wait-disconnect', _HANG]])}")
        stage.check(stage.running.wait_flag(flag, _HANG), "the application was not called")
        if label == "in order":
            frames.connection.close()
        else:
            frames.connection.reset()
        record = stage.record()
        event = record.received[-1]
        stage.check(event["type"] == "websocket.disconnect", f"the client goes {label}: {event['type']} is the last event")
        code = plain(event.get("code"))
        stage.check(code in (_ABNORMAL, _NO_STATUS), f"the client goes {label}: the code {code!r}")
        if code == _NO_STATUS:
            # As in ws.close.tcp-drop.
            stage.warn(f"the client goes {label}: the code {code}")


@HANDSHAKE.scenario(
    "ws.hs.origin-passed",
    "RFC 6455 §10.2",
    "ASGI www, WebSocket Connection Scope",
    level=Level.INFO,
    says="Servers that are not intended to process input from any web page but only for certain sites SHOULD verify the |Origin| field is an origin "
    "they expect.",
    expects="the Origin field in the scope, where the application can look at it",
    bad=Distortion(to_server=rewriting(rb"Origin: [^\r]*\r\n", b"")),
    needs=_NEEDS,
)
def origin_passed(stage: Stage) -> None:
    answer = given(stage, _answer(stage, "Origin: https://other.example", script=_ECHO_ONE[:1]), "the connection closed without an answer")
    if answer.status != _SWITCHING:
        stage.tell(f"the server itself refuses it with {answer.status}")
        return
    headers = [(name.lower(), value) for name, value in plain(stage.record().scope["headers"])]
    stage.check((b"origin", b"https://other.example") in headers, "no Origin in the scope")
