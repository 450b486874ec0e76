"""The ASGI contract: WebSocket, from its scope to its messages (ASGI www, extensions.rst, lifespan)."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import BINARY, CONTINUATION, TEXT
from asgi_conformance.reference import dumps_script, pattern
from asgi_conformance.suite.dialogue import answer_close, given, plain, receiving, scoped, sending, spec_version, swallowing
from pytest_asgiserve.raw import Truncated, Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.frames import Frames
    from asgi_conformance.observed import Raised, Record
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawResponse

__all__ = ["ASGI_WEBSOCKET"]

ASGI_WEBSOCKET: Final = Topic("asgi/websocket", "ASGI: the scope and the messages of a WebSocket")

_NEEDS: Final = ("websocket",)
_INVALID: Final = (
    "If a server receives an invalid event dictionary - for example, having an unknown type, missing keys an event type should have, or with wrong "
    "Python types for objects (e.g. Unicode strings for HTTP headers) - it should raise an exception out of the send awaitable back to the "
    "application."
)
_SWITCHING: Final = 101
_FORBIDDEN: Final = 403
_ERRORS: Final = range(400, 600)
_SERVER_ERRORS: Final = range(500, 600)
_TOO_BIG: Final = 1009
"""RFC 6455 §7.4.1"""
_HANG: Final = 4.0
"""Seconds of silence that are a hang: what is due is due at once; there are servers that look for ended applications once a second."""
_MESSAGES: Final = 1000
_BIG: Final = 1 << 20
"""Bytes of a message that is big, and that every server takes with the limit that it has by default."""
_PIECE: Final = 1 << 16
_FLOOD: Final = 256
"""Pieces of `_PIECE` bytes that are sent to a client that does not read: 16 MiB, more than the buffers of the kernel on both sides hold."""
_LOOK: Final = 0.2
"""Seconds between two looks at how far a send() has come."""


def _attempt(stage: Stage, script: Sequence[Any]) -> tuple[Frames, RawResponse | None]:
    """A handshake, and its answer of whatever status; None where the connection ended without one."""
    frames = stage.frames(timeout=_HANG)
    frames.send_handshake("/", f"X-Script: {dumps_script(script)}")
    try:
        return frames, frames.read_answer()
    except (Unanswered, ConnectionResetError):
        return frames, None


def _send_error(record: Record, kind: str, *, last: bool = False) -> Raised | None:
    """What the first (or the last) send() of a message of the type ``kind`` raised."""
    sent = [event for event in record.sends if plain(event.message).get("type") == kind]
    return sent[-1 if last else 0].error if sent else None


# The scope.


def _check_scope(stage: Stage, scope: dict[str, Any]) -> None:
    stage.check(scope.get("type") == "websocket", f"the type {scope.get('type')!r}")
    stage.check(isinstance(scope.get("asgi", {}).get("version"), str), f"asgi is {scope.get('asgi')!r}")
    stage.check(scope.get("scheme", "ws") == "ws", f"the scheme {scope.get('scheme')!r}")
    stage.check(scope.get("http_version", "1.1") == "1.1", f"the http_version {scope.get('http_version')!r}")
    stage.check(scope.get("path") == "/a b/\u00e9", f"the path {scope.get('path')!r}")
    stage.check(scope.get("raw_path") in {None, b"/a%20b/%C3%A9"}, f"the raw_path {scope.get('raw_path')!r}")
    stage.check(scope.get("query_string") == b"x=%31&y", f"the query_string {scope.get('query_string')!r}")
    headers = scope.get("headers", [])
    whole = all(len(pair) == 2 and all(isinstance(part, bytes) for part in pair) for pair in headers)
    stage.check(whole, "headers that are no pairs of byte strings")
    two = [value for name, value in headers if name.lower() == b"x-two"]
    stage.check(two == [b"1", b"2"], f"the headers X-Two: 1 and X-Two: 2 as {two}")
    for name in ("client", "server"):
        place = scope.get(name)
        right = place is None or (isinstance(place[0], str) and (isinstance(place[1], int) or (name == "server" and place[1] is None)))
        stage.check(right, f"{name} is {place!r}")


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.scope",
    "ASGI www, WebSocket Connection Scope",
    "RFC 6455 §11.3.4",
    level=Level.MUST,
    says="The connection scope information passed in scope contains initial connection metadata (mostly from the HTTP request line and headers).",
    expects="a scope with what the handshake said: type, scheme, path, query_string, headers and subprotocols, each of the type that the text says",
    bad=Distortion(app=scoped(lambda scope: scope | {"subprotocols": ["a, b"]})),
    needs=_NEEDS,
)
def scope_of_a_websocket(stage: Stage) -> None:
    for label, lines in (
        ("in one line", ["Sec-WebSocket-Protocol: a, b"]),
        ("in two lines", ["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"]),
    ):
        stage.mark()
        frames = stage.websocket(*lines, "X-Two: 1", "X-Two: 2", path="/a%20b/%C3%A9?x=%31&y", script=[["accept"], ["close"]])
        answer_close(frames)
        scope = {name: plain(value) for name, value in plain(stage.record().scope).items()}
        if scope.get("subprotocols") is None:
            # "Optional; if missing defaults to empty list."
            stage.warn(f"a and b offered {label}, and no subprotocols")
        else:
            stage.check(scope["subprotocols"] == ["a", "b"], f"a and b offered {label}, the subprotocols {scope['subprotocols']!r}")
        _check_scope(stage, scope)
        if "method" in scope:
            stage.tell(f"the scope also has the method {scope['method']!r}, which the text does not name")


# Connect and accept.


def _connecting_twice(app: Any) -> Any:
    """A server that says websocket.connect two times."""

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        seen: list[Any] = []

        async def repeats() -> Any:
            if len(seen) == 1:
                seen.append(None)
                return seen[0]
            event = await receive()
            seen.append(event)
            return event

        await app(scope, repeats, send)

    return twice


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.connect-first",
    "ASGI www, Connect",
    level=Level.MUST,
    says="This message must be responded to with either an Accept message or a Close message before the socket will pass websocket.receive messages.",
    expects="websocket.connect as the first event, once, and then the messages",
    bad=Distortion(app=_connecting_twice),
    needs=_NEEDS,
)
def connect_first(stage: Stage) -> None:
    frames = stage.websocket(script=[["receive"], ["send", {"type": "websocket.accept"}], ["receive"], ["receive"]])
    frames.text("hello")
    frames.finish()
    kinds = [event["type"] for event in stage.record().received]
    stage.check(kinds == ["websocket.connect", "websocket.receive", "websocket.disconnect"], f"the events {', '.join(kinds)}")


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.accept-headers",
    "ASGI www, Accept",
    level=Level.MUST,
    says="headers (Iterable[[byte string, byte string]]) -- An iterable of [name, value] two-item iterables, where name is the header name, and "
    "value is the header value. Order must be preserved in the HTTP response.",
    expects="the application's headers on the 101, in their order",
    bad=Distortion(app=sending(lambda message: message | {"headers": list(reversed(message["headers"]))} if "headers" in message else message)),
    needs=_NEEDS,
)
def accept_headers(stage: Stage) -> None:
    fields = [["x-first", "1"], ["x-second", "2"], ["x-first", "3"], ["set-cookie", "a=1"], ["set-cookie", "b=2"]]
    frames = stage.websocket(script=[["accept", None, fields], ["close"]])
    answer_close(frames)
    record = stage.record()
    stage.require(spec_version(record) >= (2, 1), "it says spec_version 2.0, in which websocket.accept has no headers")
    response = given(stage, frames.response, "no answer to the handshake")
    wanted = [(name.encode(), value.encode()) for name, value in fields]
    seen = [(name, value) for name, value in response.fields if name in {name for name, _ in wanted}]
    stage.check(seen == wanted, f"the headers {seen}")


def _splitting(message: dict[str, Any]) -> dict[str, Any]:
    """As a server that writes a header as it is: what stands behind CR LF is a header of its own."""
    if message["type"] != "websocket.accept":
        return message
    lines = [(name + b": " + value).split(b"\r\n") for name, value in message["headers"] if name.startswith(b"x-")]
    return message | {"headers": [tuple(line.split(b": ", 1)) for split in lines for line in split]}


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.accept-bad-header",
    "RFC 9110 §2.2",
    "RFC 9110 §5.5",
    "ASGI www, Accept",
    "ASGI, Error Handling",
    level=Level.MUST,
    says="A sender MUST NOT generate protocol elements that do not match the grammar defined by the corresponding ABNF rules.",
    expects="an exception out of send() for a header that none can be, and for sec-websocket-protocol; never a line that stood inside of another",
    bad=Distortion(app=sending(_splitting)),
    needs=_NEEDS,
)
def accept_bad_header(stage: Stage) -> None:
    wrong = [
        ("a value with CR LF", [b"x-a", b"1\r\nx-injected: 1"]),
        ("a value with LF", [b"x-a", b"1\nx-injected: 1"]),
        ("a name with CR LF", [b"x-b: 1\r\nx-injected", b"1"]),
        ("sec-websocket-protocol", [b"sec-websocket-protocol", b"c"]),
    ]
    for label, pair in wrong:
        stage.mark()
        frames = stage.frames(timeout=_HANG)
        frames.send_handshake("/", f"X-Script: {dumps_script([['receive'], ['try', ['send', {'type': 'websocket.accept', 'headers': [pair]}]]])}")
        # Whatever it makes of an application that went without an answer: only what it took from the header is looked at.
        wire = _head(frames)
        stage.check(b"\nx-injected:" not in wire.lower(), f"{label}: a header of its own on the wire")
        if _send_error(stage.record(), "websocket.accept") is None:
            stage.warn(f"{label}: send() raised nothing")


def _head(frames: Frames) -> bytes:
    """What comes up to the end of a head or of the connection, or up to a silence."""
    wire = b""
    with contextlib.suppress(Truncated, ConnectionResetError, TimeoutError):
        while not wire.endswith(b"\r\n\r\n"):
            wire += frames.connection.read_exactly(1)
    return wire


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.accept-twice",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says=_INVALID,
    expects="an exception out of send() for the second websocket.accept, and no second 101",
    bad=Distortion(app=swallowing),
    needs=_NEEDS,
)
def accept_twice(stage: Stage) -> None:
    frames = stage.websocket(script=[["accept"], ["try", ["send", {"type": "websocket.accept"}]], ["try", ["text", "on"]], ["try", ["close"]]])
    # A second 101 is no frame, and shows.
    answer_close(frames)
    stage.check(_send_error(stage.record(), "websocket.accept", last=True), "send() raised nothing")


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.send-before-accept",
    "ASGI, Error Handling",
    "ASGI www, Connect",
    level=Level.SHOULD,
    says=_INVALID,
    expects="an exception out of send() for a message before websocket.accept, and no 101",
    bad=Distortion(app=swallowing),
    needs=_NEEDS,
)
def send_before_accept(stage: Stage) -> None:
    for label, step in (("text", ["text", "early"]), ("bytes", ["bytes", "early"])):
        stage.mark()
        _, response = _attempt(stage, [["receive"], ["try", step], ["try", ["close"]]])
        stage.check(response is None or response.status != _SWITCHING, f"{label}: 101, which the application never asked for")
        stage.check(_send_error(stage.record(), "websocket.send"), f"{label}: send() raised nothing")


# Messages.


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.send-both-none",
    "ASGI www, Send",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="Exactly one of bytes or text must be non-None. One or both keys may be present, however.",
    expects="an exception out of send() where neither is given, or both are",
    bad=Distortion(app=swallowing),
    needs=_NEEDS,
)
def send_both_none(stage: Stage) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("no key", {}),
        ("both None", {"text": None, "bytes": None}),
        ("both given", {"text": "t", "bytes": b"b"}),
    ]
    for label, keys in wrong:
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["try", ["send", {"type": "websocket.send", **keys}]], ["try", ["close"]]])
        answer_close(frames)
        stage.check(_send_error(stage.record(), "websocket.send"), f"{label}: send() raised nothing")
    for label, keys, wanted in (
        ("bytes None", {"text": "t", "bytes": None}, (TEXT, b"t")),
        ("text None", {"text": None, "bytes": b"b"}, (BINARY, b"b")),
    ):
        frames = stage.websocket(script=[["accept"], ["send", {"type": "websocket.send", **keys}], ["close"]])
        message = frames.read_message()
        stage.check((message.opcode, message.payload) == wanted, f"{label}, which is right: {message}")
        answer_close(frames)


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.receive-shape",
    "ASGI www, Receive",
    level=Level.MUST,
    says="Exactly one of bytes or text must be non-None. One or both keys may be present, however.",
    expects="text as str, binary as bytes, the empty ones as '' and b'', and the other key None or missing",
    bad=Distortion(app=receiving(lambda event: event | {"text": event["text"] or None} if "text" in event else event)),
    needs=_NEEDS,
)
def receive_shape(stage: Stage) -> None:
    sent: list[tuple[int, Any]] = [(TEXT, "h\u00e9"), (BINARY, b"\x00\xff"), (TEXT, ""), (BINARY, b"")]
    frames = stage.websocket(script=[["accept"], ["repeat", len(sent), ["receive"]], ["close"]])
    for opcode, value in sent:
        frames.send(opcode, value.encode() if isinstance(value, str) else value)
    answer_close(frames)
    events = stage.record().received[1:]
    stage.check(len(events) == len(sent), f"{len(events)} of {len(sent)} messages")
    for (opcode, value), event in zip(sent, events, strict=True):
        wanted = {"text": value if opcode == TEXT else None, "bytes": value if opcode == BINARY else None}
        seen = {name: plain(event.get(name)) for name in wanted}
        stage.check(event["type"] == "websocket.receive" and seen == wanted, f"for {value!r}: {event}")


def _losing(app: Any) -> Any:
    """A server that leaves a message out."""
    return receiving(lambda event: None if event.get("text") == "500" else event)(app)


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.message-order",
    "ASGI www, Receive",
    level=Level.MUST,
    says="Sent to the application when a data message is received from the client.",
    expects="every one of 1,000 messages, in the order in which they were sent",
    bad=Distortion(app=_losing),
    needs=_NEEDS,
)
def message_order(stage: Stage) -> None:
    frames = stage.websocket(script=[["accept"], ["repeat", _MESSAGES, ["receive"]], ["close"]], timeout=_HANG)
    for number in range(_MESSAGES):
        frames.text(str(number))
    # To one that lost a message this is the one too many.
    frames.text("end")
    frame = answer_close(frames)
    seen = [event.get("text") for event in stage.record().received[1:]]
    wrong = next((number for number, text in enumerate(seen) if text != str(number)), len(seen))
    stage.check(wrong == _MESSAGES, f"instead of message {wrong}: {seen[wrong : wrong + 1]}")
    stage.check(frame is not None, "the connection ended without a close frame")


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.big-message",
    "ASGI www, Receive",
    "ASGI www, WebSocket",
    level=Level.MUST,
    says="bytes (byte string) -- The message content, if it was binary mode, or None. And: WebSocket protocol servers should handle message "
    "fragmentation themselves, and deliver complete messages to the application.",
    expects="one event with the whole message, be it in one frame or in many",
    bad=Distortion(app=receiving(lambda event: event | {"bytes": event["bytes"][:_PIECE]} if event.get("bytes") else event)),
    needs=_NEEDS,
)
def big_message(stage: Stage) -> None:
    size = min(_BIG, stage.running.settings.get("ws_max_size") or _BIG)
    data = pattern(size)
    pieces = [data[start : start + _PIECE] for start in range(0, size, _PIECE)]
    for label, parts in (("one frame", [data]), (f"{len(pieces)} frames", pieces)):
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["receive"], ["close"]])
        for number, part in enumerate(parts):
            frames.send(CONTINUATION if number else BINARY, part, fin=number == len(parts) - 1)
        close = answer_close(frames)
        stage.require(close is None or close.code != _TOO_BIG, f"it takes no message of {size} bytes")
        events = stage.record().received[1:]
        stage.check([event.get("bytes") for event in events] == [data], f"{size} bytes in {label}: {events}"[:300])


# An application that does not answer.


def _ended(stage: Stage, script: Sequence[Any], right: range) -> None:
    """The handshake of an application that ends with ``script`` is answered with an error, ``right`` ones for choice."""
    _, response = _attempt(stage, script)
    if response is None:
        stage.warn("the connection closed without an answer")
        return
    stage.check(response.status in _ERRORS, f"{response.status}")
    if response.status not in right:
        stage.warn(f"{response.status}, as if the application had said so")


def _accepting_first(app: Any) -> Any:
    """A server that accepts by itself what ends without a word."""

    async def accepts(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        with contextlib.suppress(Exception):
            await app(scope, receive, send)
        await send({"type": "websocket.accept"})

    return accepts


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.return-before-accept",
    "ASGI www, WebSocket Connection Scope",
    "RFC 6455 §4.2.2",
    level=Level.SHOULD,
    says="WebSocket connections' scope lives as long as the socket itself - if the application dies the socket should be closed, and vice-versa.",
    expects="an HTTP error, or the connection closed, at once, where the application returns without an answer to websocket.connect; never a 101",
    bad=Distortion(app=_accepting_first),
    needs=_NEEDS,
)
def return_before_accept(stage: Stage) -> None:
    for script in ([["receive"], ["return"]], [["return"]]):
        _ended(stage, script, _ERRORS)


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.raise-before-accept",
    "ASGI, Error Handling",
    level=Level.MUST,
    says="Servers are free to surface errors that bubble up out of application instances they are running however they wish - log to console, send "
    "to syslog, or other options - but they must terminate the application instance and its associated connection if this happens.",
    expects="500, or another HTTP error or the connection closed, at once; never a 101",
    bad=Distortion(app=_accepting_first),
    needs=_NEEDS,
)
def raise_before_accept(stage: Stage) -> None:
    for script in ([["receive"], ["raise"]], [["raise"]]):
        _ended(stage, script, _SERVER_ERRORS)


# The denial response.


_DENIAL_START: Final[dict[str, Any]] = {
    "type": "websocket.http.response.start",
    "status": 401,
    "headers": [[b"content-type", b"text/plain"], [b"x-why", b"no"]],
}


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.denial",
    "ASGI extensions, Websocket Denial Response",
    level=Level.MUST,
    says="These messages cannot be followed by any other websocket messages as the server should send a HTTP response and then close the connection.",
    expects="the application's response to the handshake, and an exception out of send() for a websocket.accept behind it",
    bad=Distortion(app=sending(lambda message: message | {"status": 403} if message["type"].endswith("response.start") else message)),
    needs=(*_NEEDS, "websocket.http.response"),
)
def denial(stage: Stage) -> None:
    whole = [{"type": "websocket.http.response.body", "body": b"nope"}]
    parts = [{"type": "websocket.http.response.body", "body": b"no", "more_body": True}, {"type": "websocket.http.response.body", "body": b"pe"}]
    for label, bodies in (("a body", whole), ("a body in two messages", parts)):
        stage.mark()
        script = [["receive"], ["send", _DENIAL_START], *(["send", body] for body in bodies), ["try", ["send", {"type": "websocket.accept"}]]]
        frames, answer = _attempt(stage, script)
        record = stage.record()
        stage.require("websocket.http.response" in (plain(record.scope).get("extensions") or {}), "its scope has no websocket.http.response")
        response = given(stage, answer, f"{label}: the connection closed without an answer")
        if bodies is parts and response.status == _FORBIDDEN:
            # "should be [...] with a structure that matches", of which more_body is a part.
            stage.warn(f"{label}: 403, as if the application had failed")
            continue
        stage.check(response.status == _DENIAL_START["status"], f"{label}: {response.status}")
        stage.check(response.body == b"nope", f"{label}: {response.body!r}")
        stage.check(response.one(b"x-why") == b"no", f"{label}: the headers {response.fields}")
        if response.all(b"sec-websocket-accept"):
            stage.warn(f"{label}: sec-websocket-accept on a response that denies")
        if response.closes:
            frames.connection.expect_closed()
        else:
            stage.tell(f"{label}: the connection is kept for another request")
        if _send_error(record, "websocket.accept") is None:
            stage.warn(f"{label}: a websocket.accept behind it raised nothing")


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.denial-unadvertised",
    "ASGI, Extensions",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says=_INVALID,
    expects="an exception out of send() for a message of an extension that is not in the scope: of the denial response, or of one that nobody has",
    bad=Distortion(app=swallowing),
    needs=_NEEDS,
)
def denial_unadvertised(stage: Stage) -> None:
    _attempt(stage, [["receive"], ["try", ["send", {"type": "websocket.fullflush"}]], ["try", ["close"]]])
    record = stage.record()
    stage.check(_send_error(record, "websocket.fullflush"), "websocket.fullflush: send() raised nothing")
    if "websocket.http.response" in (plain(record.scope).get("extensions") or {}):
        return
    stage.mark()
    _, response = _attempt(stage, [["receive"], ["try", ["send", _DENIAL_START]], ["try", ["close"]]])
    stage.check(_send_error(stage.record(), _DENIAL_START["type"]), "websocket.http.response.start: send() raised nothing")
    stage.check(response is None or response.status != _SWITCHING, "101, which the application never asked for")


# Much of it, and what it shares.


def _hoarding(app: Any) -> Any:
    """A server whose send() takes everything and keeps it."""

    async def hoards(scope: Any, receive: Any, send: Any) -> None:
        kept: list[Any] = []

        async def keeps(message: Any) -> None:
            if message["type"] == "websocket.send":
                kept.append(message)
            else:
                await send(message)

        await app(scope, receive, keeps)

    return hoards


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.backpressure",
    "ASGI, Applications",
    level=Level.HARD,
    says="send: an awaitable callable taking a single event dictionary as a positional argument that will return once the send has been completed or "
    "the connection has been closed.",
    expects="send() waits where the client does not read; not the server's memory filled",
    bad=Distortion(app=_hoarding),
    needs=_NEEDS,
)
def backpressure(stage: Stage) -> None:
    frames = stage.frames(receive_buffer=_PIECE)
    piece = {"type": "websocket.send", "bytes": {"fill": "x", "size": _PIECE}}
    frames.shake_hands("/", f"X-Script: {dumps_script([['accept'], ['send-many', piece, _FLOOD]])}")
    before = -1
    end = time.monotonic() + _HANG
    while ((count := _sent(stage)) != before or count < 0) and time.monotonic() < end:
        before = count
    stage.check(count >= 0, "the application has not begun to send")
    stage.check(count < _FLOOD, f"{_FLOOD * _PIECE >> 20} MiB taken of which the client had read nothing")
    stage.tell(f"send() waits after {count * _PIECE >> 10} KiB")
    # Whoever reads gets all of it.
    for number in range(_FLOOD):
        try:
            message = frames.read_message()
        except Truncated:
            stage.check(False, f"the connection ended after {number} of {_FLOOD} messages")
            return
        stage.check(message.payload == b"x" * _PIECE, f"message {number} is {message}"[:200])


def _sent(stage: Stage) -> int:
    """How many of the messages send() has taken a moment later; below 0: none was sent yet."""
    flood = stage.record(timeout=_LOOK).sends[1:]
    return flood[0].count if flood else -1


@ASGI_WEBSOCKET.scenario(
    "asgi.ws.state",
    "ASGI www, WebSocket Connection Scope",
    "ASGI lifespan, Lifespan State",
    level=Level.MUST,
    says="state Optional(dict[Unicode string, Any]) -- A copy of the namespace passed into the lifespan corresponding to this request.",
    expects="in the scope of a WebSocket a copy of what the lifespan put into its state",
    bad=Distortion(app=scoped(lambda scope: {name: value for name, value in scope.items() if name != "state"})),
    needs=(*_NEEDS, "lifespan", "state"),
)
def state(stage: Stage) -> None:
    for turn in ("first", "second"):
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["set-state", "of-a-websocket", 1], ["close"]])
        answer_close(frames)
        seen = plain(stage.record().scope.get("state"))
        stage.check(isinstance(seen, dict), f"the {turn} WebSocket: the state {seen!r}")
        stage.check(seen.get("n") == 1, f"the {turn} WebSocket: n is {seen.get('n')!r}, and the lifespan set it to 1")
        stage.check("of-a-websocket" not in seen, "what one WebSocket set is seen by the next")
