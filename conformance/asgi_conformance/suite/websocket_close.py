"""WebSocket: the closing handshake, lost connections and keep-alive (RFC 6455 §7). The families of Autobahn's test suite, 7."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, close_payload, encode_frame
from asgi_conformance.suite.dialogue import receiving
from asgi_conformance.suite.websocket_dialogue import (
    BEHIND,
    Many,
    altered,
    disconnect_of,
    messages,
    read_close,
    read_end,
    tells,
    transport_ends,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_conformance.stage import Stage

__all__ = ["CLOSING", "KEEP_ALIVE"]

CLOSING: Final = Topic("websocket/close", "WebSocket: the closing handshake")
KEEP_ALIVE: Final = Topic("websocket/keep-alive", "WebSocket: keep-alive")

_NEEDS: Final = ("websocket",)
_NORMAL: Final = 1000
_PROTOCOL_ERROR: Final = 1002
_NO_STATUS: Final = 1005
_ABNORMAL: Final = 1006

_NONE: Final = -1
"""There was no Close frame."""


def _closes(stage: Stage, what: str, payload: bytes) -> int | None:
    """Send a Close frame over a new WebSocket. The code of the server's own, behind which it ends the TCP connection without our doing."""
    frames = stage.websocket()
    frames.send(CLOSE, payload)
    close = read_end(stage, frames, what)
    frames.connection.close()
    return _NONE if close is None else close.code


def _check_answer(stage: Stage, what: str, code: int | None) -> None:
    stage.check(code != _NONE, f"{what}: the connection ended without a Close frame")


def _swallowed(frame: Frame) -> bytes:
    return b"" if frame.opcode == CLOSE else tells(frame)


@CLOSING.scenario(
    "ws.close.echo",
    "RFC 6455 §5.5.1",
    "RFC 6455 §7.1.1",
    "RFC 6455 §7.1.2",
    level=Level.MUST,
    says="If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a Close frame in response. (When "
    "sending a Close frame in response, the endpoint typically echos the status code it received.) [...] The server MUST close the underlying TCP "
    "connection immediately; the client SHOULD wait for the server to close the connection but MAY close the connection at any time after sending "
    "and receiving a Close message, e.g., if it has not received a TCP Close from the server in a reasonable time period.",
    expects="a Close frame back, for choice with the same code, then the end of the TCP connection, and a disconnect for the application",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(_swallowed)),
)
def echo(stage: Stage) -> None:
    # Autobahn 7.1.1, 7.3.3 to 7.3.5.
    whats = {
        "1000": b"",
        "1000 with a reason": b"bye",
        "1000 with a reason of 123 bytes": b"*" * 123,
        "1000 with a reason in UTF-8": "tschüß".encode(),
    }
    for what, reason in whats.items():
        code = _closes(stage, what, close_payload(_NORMAL, reason))
        _check_answer(stage, what, code)
        if code != _NORMAL:
            # It "typically echos the status code it received", and need not.
            stage.tell(f"{what}: answered with {code}")
    frames = stage.websocket()
    frames.text("hello")
    stage.check(frames.read_text() == "hello", "no echo of a message before it")
    frames.close(_NORMAL)
    stage.check(read_end(stage, frames, "1000 behind a message") is not None, "1000 behind a message: no Close frame")
    for record, what in zip(stage.records(len(whats) + 1), [*whats, "1000 behind a message"], strict=True):
        # With which code is another case's.
        stage.check(disconnect_of(record) is not None, f"{what}: the application was not told of it")


@CLOSING.scenario(
    "ws.close.empty",
    "RFC 6455 §7.1.5",
    "ASGI www, WebSocket Disconnect",
    level=Level.MUST,
    says="If this Close control frame contains no status code, _The WebSocket Connection Close Code_ is considered to be 1005. [...] If no code was "
    "received in the frame from the client, the server should set this to 1005 (the default value in the WebSocket specification).",
    expects="a Close frame back, without 1005 on the wire, and 1005 for the application",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(lambda frame: tells(frame, payload=close_payload(1005)) if frame.opcode == CLOSE else tells(frame))),
)
def empty(stage: Stage) -> None:
    what = "a Close frame without a code"
    code = _closes(stage, what, b"")
    _check_answer(stage, what, code)
    stage.tell("answered without a code" if code is None else f"answered with {code}")
    told = disconnect_of(stage.record())
    stage.check(told is not None, "the application was told nothing")
    if told.get("code") != _NO_STATUS:
        # ASGI's word is "should".
        stage.warn(f"the application was told the code {told.get('code')!r}")


@CLOSING.scenario(
    "ws.close.one-byte",
    "RFC 6455 §5.5.1",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer (in network byte order) representing a status code "
    "with value /code/ defined in Section 7.4.",
    expects="the connection failed (1002)",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(lambda frame: tells(frame, payload=b"\x03") if frame.opcode == CLOSE else tells(frame))),
)
def one_byte(stage: Stage) -> None:
    many = Many(stage)
    # Autobahn 7.3.2.
    for octet in (b"\x03", b"a", b"\x00"):
        many.fails(f"a Close frame of {octet!r}", encode_frame(CLOSE, octet), _PROTOCOL_ERROR)
    many.finish()


# Autobahn 7.7, and what was registered with IANA later.
_VALID: Final = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
_REGISTERED: Final = (1012, 1013, 1014)
# Autobahn 7.9, and 7.13.
_INVALID: Final = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999)
_BEYOND: Final = (5000, 65535)


def _told_abnormal(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "code": _ABNORMAL} if event["type"] == "websocket.disconnect" else event


@CLOSING.scenario(
    "ws.close.valid-codes",
    "RFC 6455 §7.4",
    "RFC 6455 §7.1.5",
    level=Level.MUST,
    says="_The WebSocket Connection Close Code_ is defined as the status code (Section 7.4) contained in the first Close control frame received by "
    "the application implementing this protocol.",
    expects="a Close frame back that is no error, and the same code for the application",
    needs=_NEEDS,
    bad=Distortion(app=receiving(_told_abnormal)),
)
def valid_codes(stage: Stage) -> None:
    refused: list[int] = []
    others: dict[int | None, list[int]] = {}
    for code in (*_VALID, *_REGISTERED):
        answer = _closes(stage, f"{code}", close_payload(code, b"why"))
        # Whoever sends 1002 may get it back.
        if answer == code:
            continue
        if code in _REGISTERED and answer in (_NONE, _PROTOCOL_ERROR):
            # They came after the RFC, and §7.4.2 reserves the range for its revisions.
            refused.append(code)
            continue
        _check_answer(stage, f"{code}", answer)
        stage.check(answer != _PROTOCOL_ERROR, f"{code}: refused with {answer}")
        others.setdefault(answer, []).append(code)
    for answer, codes in others.items():
        # RFC 6455 §5.5.1: it "typically echos the status code it received", and need not.
        stage.tell(f"answered with {answer}: {', '.join(map(str, codes))}")
    if refused:
        stage.warn(f"{', '.join(map(str, refused))}: refused, and registered with IANA since")
    for record, code in zip(stage.records(len(_VALID) + len(_REGISTERED)), (*_VALID, *_REGISTERED), strict=True):
        told = disconnect_of(record)
        stage.check(code in refused or (told is not None and told.get("code") == code), f"{code}: the application was told {told!r}")


@CLOSING.scenario(
    "ws.close.invalid-codes",
    "RFC 6455 §7.4.1",
    "RFC 6455 §7.4.2",
    "RFC 6455 §5.5.1",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="1005 is a reserved value and MUST NOT be set as a status code in a Close control frame by an endpoint. [...] Status codes in the range "
    "0-999 are not used. [...] Status codes in the range 1000-2999 are reserved for definition by this protocol, its future revisions, and "
    "extensions specified in a permanent and readily available public specification.",
    expects="the connection failed (1002), and no such code sent back",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(lambda frame: tells(frame, payload=close_payload(1004)) if frame.opcode == CLOSE else tells(frame))),
)
def invalid_codes(stage: Stage) -> None:
    many = Many(stage)
    for code in _INVALID:
        frames = many.open(f"{code}")
        frames.connection.send(encode_frame(CLOSE, close_payload(code)) + encode_frame(TEXT, BEHIND))
        close = read_close(stage, frames, f"{code}")
        stage.check(close is None or close.code not in _INVALID, f"{code}: answered with {close and close.code}")
        if close is None:
            many.warn("closed without a Close frame", f"{code}")
            continue
        if close.code != _PROTOCOL_ERROR:
            many.warn(f"closed {'without a code' if close.code is None else f'with {close.code}'}, not with {_PROTOCOL_ERROR}", f"{code}")
        stage.check(transport_ends(stage, frames, f"{code}"), f"{code}: the TCP connection stays open")
    many.finish()
    # The RFC says nothing of them.
    for code in _BEYOND:
        frames = stage.websocket()
        answer = frames.finish(code)
        stage.tell(f"{code}: {'no Close frame' if answer is None else f'answered with {answer.code}'}")


def _close_last(data: bytes) -> bytes:
    """A server that reads what is behind a Close frame."""
    close = encode_frame(CLOSE, close_payload())
    return data.removeprefix(close) + close if data.startswith(close) else data


@CLOSING.scenario(
    "ws.close.data-after",
    "RFC 6455 §5.5.1",
    "RFC 6455 §1.4",
    level=Level.MUST,
    says="After sending a control frame indicating the connection should be closed, a peer does not send any further data; after receiving a "
    "control frame indicating the connection should be closed, a peer discards any further data received.",
    expects="what comes behind a Close frame ignored, a Close frame back, and nothing for the application",
    needs=_NEEDS,
    bad=Distortion(to_server=_close_last),
)
def data_after(stage: Stage) -> None:
    close = encode_frame(CLOSE, close_payload())
    text = encode_frame(TEXT, BEHIND)
    # Autobahn 7.1.2 to 7.1.6.
    behind = {
        "text": text,
        "a second Close frame": encode_frame(CLOSE, close_payload(1001)),
        "a ping": encode_frame(PING, b"ping"),
        "fragments": encode_frame(TEXT, b"be", fin=False) + encode_frame(CONTINUATION, b"hind"),
        "a frame that breaks a rule": encode_frame(TEXT, b"hello", rsv=7),
        "200 messages": text * 200,
    }
    for what, data in behind.items():
        frames = stage.websocket()
        frames.connection.send(close + data)
        answer = read_end(stage, frames, what)
        # What it did not read may have made its end a reset that overtook the frame.
        stage.check(answer is None or answer.code in (_NORMAL, None), f"{what}: answered with {answer and answer.code}")
        if answer is None:
            stage.tell(f"{what}: no Close frame")
        frames.connection.close()
    for record, what in zip(stage.records(len(behind)), behind, strict=True):
        got = messages(record)
        stage.check(not got, f"{what}: the application got {got!r}"[:300])
        stage.check(disconnect_of(record) is not None, f"{what}: the application was not told of it")


@CLOSING.scenario(
    "ws.close.tcp-drop",
    "RFC 6455 §7.1.5",
    "ASGI www, WebSocket Disconnect",
    level=Level.MUST,
    says="If _The WebSocket Connection is Closed_ and no Close control frame was received by the endpoint (such as could occur if the underlying "
    "transport connection is lost), _The WebSocket Connection Close Code_ is considered to be 1006.",
    expects="1006 (or 1005) for the application where the connection ends, or is reset, without a Close frame",
    needs=_NEEDS,
    bad=Distortion(app=receiving(lambda event: {**event, "code": _NORMAL} if event["type"] == "websocket.disconnect" else event)),
)
def tcp_drop(stage: Stage) -> None:
    partial = encode_frame(TEXT, b"hello")[:-2]
    fragment = encode_frame(TEXT, b"hel", fin=False)
    ways: dict[str, tuple[bytes, Callable[[Any], None]]] = {
        "FIN": (b"", lambda connection: connection.half_close()),
        "closed": (b"", lambda connection: connection.close()),
        "reset": (b"", lambda connection: connection.reset()),
        "FIN inside of a frame": (partial, lambda connection: connection.half_close()),
        "reset inside of a frame": (partial, lambda connection: connection.reset()),
        "FIN between fragments": (fragment, lambda connection: connection.half_close()),
        "FIN behind a message": (encode_frame(TEXT, b"hello"), lambda connection: connection.half_close()),
    }
    for what, (data, end) in ways.items():
        frames = stage.websocket()
        if data:
            frames.connection.send(data)
        if "message" in what:
            stage.check(frames.read_text() == "hello", f"{what}: no echo")
        end(frames.connection)
        if what.startswith("FIN"):
            read_end(stage, frames, what)
    others: list[str] = []
    for record, what in zip(stage.records(len(ways)), ways, strict=True):
        told = disconnect_of(record)
        stage.check(told is not None and told.get("code") in (_ABNORMAL, _NO_STATUS), f"{what}: the application was told {told!r}")
        if told is not None and told.get("code") == _NO_STATUS:
            others.append(what)
    if others:
        # ASGI's "If no code was received in the frame from the client, the server should set this to 1005" is also read so that no frame is meant.
        stage.warn(f"the application was told {_NO_STATUS}: {', '.join(others)}")


# Time.

_SHORT: Final = 1.0
"""Of a server that can be told."""
_MARGIN: Final = 2.0
"""Seconds that a loaded machine may be late."""


@CLOSING.scenario(
    "ws.close.server-timeout",
    "RFC 6455 §7.1.1",
    level=Level.SHOULD,
    says="A server does not wait for ever for the answer to its Close frame: the underlying TCP connection, in most normal cases, SHOULD be closed "
    "first by the server.",
    expects="the TCP connection closed some time after a Close frame that the client never answers",
    needs=_NEEDS,
    own=True,
    bad=Distortion(settings={"ws_close_timeout": 60}),
)
def server_timeout(stage: Stage) -> None:
    known = "ws_close_timeout" in stage.running.target.settings
    played = stage.own(settings={"ws_close_timeout": _SHORT}) if known else stage
    frames = played.websocket(script=[["accept"], ["close", 1000]])
    began = time.monotonic()
    stage.check(read_close(stage, frames, "the application's close") is not None, "no Close frame for the application's close")
    seconds = _SHORT + _MARGIN if known else _SHORT
    ended = transport_ends(stage, frames, "no answer", seconds=seconds)
    stage.require(ended or known, f"it waits for longer than {seconds:g} s, and cannot be told for how long")
    stage.check(ended, f"the TCP connection is open {seconds:g} s after it, where the time is {_SHORT:g} s")
    stage.tell(f"closed after {time.monotonic() - began:.1f} s")


_INTERVAL: Final = 0.5
_PATIENCE: Final = 1.0 + _MARGIN
"""For an interval that is told in whole seconds."""


def _ping(frames: Any, seconds: float) -> Frame | None:
    """The next frame, which must be a ping; None where it does not come within ``seconds``."""
    frames.connection.sock.settimeout(seconds)
    try:
        frame: Frame = frames.read_frame()
    except TimeoutError:
        return None
    return frame


@KEEP_ALIVE.scenario(
    "ws.keepalive.ping",
    "ASGI www, WebSocket",
    level=Level.SHOULD,
    says="WebSocket protocol servers should handle PING/PONG messages themselves, and send PING messages as necessary to ensure the connection is "
    "alive.",
    expects="pings on an idle connection, which is kept while they are answered and closed when they are not; nothing of it for the application",
    needs=_NEEDS,
    own=True,
    bad=Distortion(settings={"ws_ping_interval": 60}),
)
def keepalive_ping(stage: Stage) -> None:
    settings = {name: _INTERVAL for name in ("ws_ping_interval", "ws_ping_timeout") if name in stage.running.target.settings}
    stage.require("ws_ping_interval" in settings, "it cannot be told ws_ping_interval")
    own = stage.own(settings=settings)
    frames = own.websocket()
    for number in ("first", "second"):
        frame = _ping(frames, _PATIENCE)
        stage.check(frame is not None and frame.opcode == PING, f"no {number} ping within {_PATIENCE:g} s: {frame}")
        if frame is not None and number == "first":
            frames.send(PONG, frame.payload)
    if "ws_ping_timeout" not in settings:
        stage.tell("it cannot be told how long it waits for a pong")
        frames.connection.close()
        got = messages(own.record())
        stage.check(not got, f"the application got {got!r}")
        return
    frames.connection.sock.settimeout(_PATIENCE)
    close = read_close(stage, frames, f"{_PATIENCE:g} s after a ping that was not answered")
    stage.tell("closed without a Close frame" if close is None else f"closed with {close.code}")
    if close is not None:
        ended = transport_ends(stage, frames, "no pong")
        stage.check(ended, "the TCP connection stays open behind its Close frame")
    record = own.record()
    got = messages(record)
    stage.check(not got, f"the application got {got!r}")
    told = disconnect_of(record)
    stage.check(told is not None, "the application was told nothing")
    stage.tell(f"the application was told {told.get('code')!r}")
