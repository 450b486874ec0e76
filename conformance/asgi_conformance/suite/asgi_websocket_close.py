"""The ASGI contract: how a WebSocket ends, from either side (ASGI www; RFC 6455 §7)."""

from __future__ import annotations

import asyncio
import functools
import signal
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import CLOSE, close_payload, encode_frame
from asgi_conformance.suite.dialogue import answer_close, given, plain, receiving, sending, spec_version, swallowing
from asgi_conformance.suite.websocket_dialogue import is_utf8

if TYPE_CHECKING:
    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage

__all__ = ["ASGI_WEBSOCKET_CLOSE"]

ASGI_WEBSOCKET_CLOSE: Final = Topic("asgi/websocket-close", "ASGI: the end of a WebSocket")

_NEEDS: Final = ("websocket",)
# RFC 6455 §7.4.1
_NORMAL: Final = 1000
_GOING_AWAY: Final = 1001
_POLICY: Final = 1008
_NO_STATUS: Final = 1005
_ABNORMAL: Final = 1006
_TLS: Final = 1015
_INTERNAL: Final = 1011
_RESTART: Final = 1012
"""Registered later than RFC 6455: the service is restarted."""
_OWN: Final = 4001
"""RFC 6455 §7.4.2: of a private agreement."""
_HANG: Final = 4.0
"""Seconds of silence that are a hang: what is due is due at once; there are servers that look for ended applications once a second."""
_REPEAT: Final = 0.3
"""Seconds in which a receive() behind the end returns, if it does."""
_GRACE: Final = 2.0
_EXIT: Final = 10.0
"""Seconds in which a server with `_GRACE` has ended."""
_DISCONNECT: Final = "websocket.disconnect"
_RAISES_SINCE: Final = (2, 4)
_LONG: Final = 200
"""Bytes of a reason that no close frame can hold (RFC 6455 §5.5)."""
_SHORT: Final = 100


def _disconnect(stage: Stage, record: Record) -> dict[str, Any]:
    """The websocket.disconnect of the call, which must have come."""
    found = [event for event in record.received if event["type"] == _DISCONNECT]
    stage.check(found, f"no {_DISCONNECT}: {', '.join(event['type'] for event in record.received)}")
    return {name: plain(value) for name, value in found[0].items()}


def _version(record: Record) -> str:
    return ".".join(map(str, spec_version(record)))


# The client closes.


def _coded(code: int) -> Any:
    return receiving(lambda event: event | {"code": code} if event["type"] == _DISCONNECT else event)


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.disconnect-code",
    "ASGI www, WebSocket Disconnect",
    "RFC 6455 §7.1.5",
    level=Level.MUST,
    says="code (int) -- The WebSocket close code, as per the WebSocket spec.",
    expects="the code of the client's close frame in websocket.disconnect",
    bad=Distortion(app=_coded(_NORMAL)),
    needs=_NEEDS,
)
def disconnect_code(stage: Stage) -> None:
    for code in (_OWN, 3000, _GOING_AWAY):
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["receive"]])
        frames.finish(code, b"bye")
        seen = _disconnect(stage, stage.record()).get("code")
        stage.check(type(seen) is int and seen == code, f"the client closed with {code}, and the code is {seen!r}")


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.disconnect-reason",
    "ASGI www, WebSocket Disconnect",
    "RFC 6455 §7.1.6",
    level=Level.SHOULD,
    says="reason (Unicode string) -- A reason given for the disconnect, can be any string. Optional; if missing or None default is empty string.",
    expects="the reason of the client's close frame in websocket.disconnect",
    bad=Distortion(app=receiving(lambda event: {name: value for name, value in event.items() if name != "reason"})),
    needs=_NEEDS,
)
def disconnect_reason(stage: Stage) -> None:
    for reason in ("bye", "", "tsch\u00fcss"):
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["receive"]])
        frames.finish(_OWN, reason.encode())
        record = stage.record()
        seen = _disconnect(stage, record).get("reason") or ""
        older = spec_version(record) < (2, 5)
        stage.require(seen or not reason or not older, f"it says spec_version {_version(record)}, in which websocket.disconnect has no reason")
        stage.check(seen == reason, f"the client's reason is {reason!r}, and the event's {seen!r}")


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.disconnect-1005",
    "ASGI www, WebSocket Disconnect",
    "RFC 6455 §7.1.5",
    level=Level.SHOULD,
    says="If no code was received in the frame from the client, the server should set this to 1005 (the default value in the WebSocket "
    "specification).",
    expects="1005 in websocket.disconnect for a close frame without a code",
    bad=Distortion(app=_coded(_NORMAL)),
    needs=_NEEDS,
)
def disconnect_1005(stage: Stage) -> None:
    frames = stage.websocket(script=[["accept"], ["receive"]])
    frames.finish(None)
    code = _disconnect(stage, stage.record()).get("code")
    stage.check(code == _NO_STATUS, f"{code!r}")


# After the end.


def _ending(app: Any, *, hangs: bool) -> Any:
    """A server whose receive() does not work any more when the WebSocket is closed: it ``hangs``, or raises."""

    async def ends(scope: Any, receive: Any, send: Any) -> None:
        closed: list[Any] = []

        async def once() -> Any:
            if closed and hangs:
                await asyncio.Event().wait()
            if closed:
                raise RuntimeError("closed")
            event = await receive()
            if event["type"] == _DISCONNECT:
                closed.append(event)
            return event

        async def sends(message: Any) -> None:
            await send(message)
            if message["type"] == "websocket.close":
                closed.append(message)

        await app(scope, once, sends)

    return ends


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.disconnect-after-own-close",
    "ASGI www, WebSocket Disconnect",
    level=Level.MUST,
    says="Sent to the application when either connection to the client is lost, either from the client closing the connection, the server closing "
    "the connection, or loss of the socket.",
    expects="websocket.disconnect for an application that closed by itself and receives",
    bad=Distortion(app=functools.partial(_ending, hangs=False)),
    needs=_NEEDS,
)
def disconnect_after_own_close(stage: Stage) -> None:
    frames = stage.websocket(script=[["accept"], ["close", _OWN], ["receive"]], timeout=_HANG)
    answer_close(frames)
    event = _disconnect(stage, stage.record(timeout=_HANG))
    stage.tell(f"the application closed with {_OWN}, and its event says {event.get('code')!r}")


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.receive-after-disconnect",
    "ASGI www, WebSocket Disconnect",
    level=Level.INFO,
    says="What receive() does behind websocket.disconnect is not said; a receive() that never returns holds the application for ever.",
    expects="the event again, or an exception",
    bad=Distortion(app=functools.partial(_ending, hangs=True)),
    needs=_NEEDS,
)
def receive_after_disconnect(stage: Stage) -> None:
    frames = stage.websocket(script=[["accept"], ["receive"], ["try", ["receive-within", _REPEAT]]])
    frames.finish(_OWN)
    record = stage.record()
    _disconnect(stage, record)
    again = record.receives[2]
    stage.check(again.message is not None or (again.error is not None and not again.error.is_cancelled), "receive() does not return")
    stage.tell(f"raises {again.error.kind}" if again.error is not None else f"returns {again.message}")


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.send-after-disconnect",
    "ASGI www, WebSocket Disconnected Client",
    level=Level.SHOULD,
    says="If send() is called on a closed connection the server should raise a server-specific subclass of OSError. This is not guaranteed, however, "
    "especially on older ASGI server implementations (it was introduced in spec version 2.4).",
    expects="a subclass of OSError out of send() for a server that says spec_version 2.4 or later; else that or nothing",
    bad=Distortion(app=swallowing),
    needs=_NEEDS,
)
def send_after_disconnect(stage: Stage) -> None:
    for label, step in (("websocket.send", ["text", "late"]), ("websocket.close", ["close"])):
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["wait-disconnect", 5], ["try", step]])
        frames.finish(_OWN)
        record = stage.record()
        _disconnect(stage, record)
        error = record.sends[-1].error
        if label == "websocket.close":
            # Of a close behind the end nobody has anything, and the text's word on it is for send() as a whole: reported.
            stage.tell(f"{label} {'is taken' if error is None else f'raises {error.kind}'}")
            continue
        said = "is taken" if error is None else f"raises {error.kind}"
        if spec_version(record) < _RAISES_SINCE:
            stage.tell(f"{label} {said} (spec_version {_version(record)})")
            continue
        stage.check(error is not None and error.is_oserror, f"spec_version {_version(record)}, and {label} {said}, which is no OSError")


# The application closes.


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.close-code-reason",
    "ASGI www, Close",
    "RFC 6455 §7.1.2",
    level=Level.MUST,
    says="If this is sent after the socket is accepted, the server must close the socket with the close code passed in the message (or 1000 if none "
    "is specified).",
    expects="a close frame with the application's code and reason, and then the end of the connection",
    bad=Distortion(app=sending(lambda message: message | {"code": _NORMAL} if message["type"] == "websocket.close" else message)),
    needs=_NEEDS,
)
def close_code_reason(stage: Stage) -> None:
    # One of the RFC's own is among them, and not the 1011 that a server says by itself when the application raises.
    for code, reason in ((_OWN, "bye"), (3000, ""), (_POLICY, "\u00fc" * 61)):
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["close", code, reason]])
        frame = given(stage, answer_close(frames), f"close {code}: the connection ended without a close frame")
        stage.check(frame.code == code, f"close {code}: the code {frame.code}")
        if spec_version(stage.record()) >= (2, 3):
            stage.check(frame.reason == reason.encode(), f"close {code} with the reason {reason!r}: {frame.reason!r}")
        else:
            stage.tell("its spec_version is before 2.3, in which websocket.close has no reason")


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.close-default",
    "ASGI www, Close",
    level=Level.MUST,
    says="If this is sent after the socket is accepted, the server must close the socket with the close code passed in the message (or 1000 if none "
    "is specified).",
    expects="a close frame with 1000, and then the end of the connection",
    bad=Distortion(app=sending(lambda message: message | {"code": _INTERNAL} if message["type"] == "websocket.close" else message)),
    needs=_NEEDS,
)
def close_default(stage: Stage) -> None:
    frames = stage.websocket(script=[["accept"], ["close"]])
    frame = given(stage, answer_close(frames), "the connection ended without a close frame")
    stage.check(frame.code == _NORMAL, f"the code {frame.code}")


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    """As a server that sends whatever reason it is given: what is left of it is made too long again on the wire."""
    return message | {"reason": message["reason"][:_SHORT]} if message.get("reason") else message


def _lengthened(data: bytes) -> bytes:
    short, long = (encode_frame(CLOSE, close_payload(_NORMAL, b"r" * size), mask=None) for size in (_SHORT, _LONG))
    return data.replace(short, long)


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.close-invalid-code",
    "RFC 6455 §7.4.1",
    "RFC 6455 §5.5",
    "RFC 6455 §5.5.1",
    "ASGI, Error Handling",
    level=Level.MUST,
    says="All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented. [...] Following the 2-byte integer, the "
    "body MAY contain UTF-8-encoded data with value /reason/ [...] 1005 is a reserved value and MUST NOT be set as a status code in a Close control "
    "frame by an endpoint.",
    expects="an exception out of send() for a code that no close frame can have, and for a reason that is too long, or what there is room for of it; "
    "never a close frame that is too long, or no UTF-8",
    bad=Distortion(app=sending(_shortened), to_client=_lengthened),
    needs=_NEEDS,
)
def close_invalid_code(stage: Stage) -> None:
    # The second cannot be cut off behind the last byte that there is room for: it is in the middle of a letter.
    reasons = ("r" * _LONG, "\u00fc" * (_LONG // 2))
    for code, reason in (*((_NORMAL, reason) for reason in reasons), *((code, "") for code in (_NO_STATUS, _ABNORMAL, _TLS, 999, 5000))):
        label = f"a reason of {len(reason.encode())} bytes" if reason else f"the code {code}"
        stage.mark()
        frames = stage.websocket(script=[["accept"], ["try", ["close", code, reason]], ["try", ["close"]]])
        # A reason that is too long is no frame, and shows.
        frame = answer_close(frames)
        record = stage.record()
        if reason:
            # "can be any string", of which a server may take what there is room for.
            stage.check(frame is None or is_utf8(frame.reason), f"{label}: a close frame with {frame and frame.reason!r}, which is no UTF-8")
            continue
        seen = frame is not None and frame.code == code
        first = next(event for event in record.sends if event.message["type"] == "websocket.close")
        if first.error is None:
            # The endpoint of the RFC is the server with its application, and it is the application that breaks the rule: by ASGI the server "must
            # close the socket with the close code passed in the message", and should raise for an invalid message.
            stage.warn(f"{label}: send() raised nothing{', and a close frame has it' if seen else ''}")


# The application dies.


def _lingering(app: Any) -> Any:
    """A server that does not see that the application is dead before the client has gone."""

    async def lingers(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        finally:
            while (await receive())["type"] != _DISCONNECT:
                pass

    return lingers


def _died(stage: Stage, step: list[Any], right: set[int]) -> None:
    """The connection of an application that ends with ``step`` ends, with a code of ``right`` for choice."""
    frames = stage.websocket(script=[["accept"], step], timeout=_HANG)
    frame = answer_close(frames)
    if frame is None:
        stage.warn("the connection ended without a close frame")
    elif frame.code is None:
        # RFC 6455 §7.4: "optional components of a Close frame".
        stage.tell("a close frame without a code")
    elif frame.code not in right:
        stage.warn(f"a close frame with the code {frame.code}")


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.raise-after-accept",
    "ASGI, Error Handling",
    "ASGI www, WebSocket Connection Scope",
    "RFC 6455 §7.4.1",
    level=Level.MUST,
    says="Servers are free to surface errors that bubble up out of application instances they are running however they wish - log to console, send "
    "to syslog, or other options - but they must terminate the application instance and its associated connection if this happens.",
    expects="the connection ended at once, for choice after a close frame with 1011",
    bad=Distortion(app=_lingering),
    needs=_NEEDS,
)
def raise_after_accept(stage: Stage) -> None:
    _died(stage, ["raise"], {_INTERNAL})


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.return-after-accept",
    "ASGI www, WebSocket Connection Scope",
    level=Level.SHOULD,
    says="WebSocket connections' scope lives as long as the socket itself - if the application dies the socket should be closed, and vice-versa.",
    expects="the connection ended at once, for choice after a close frame with 1000 or 1011",
    bad=Distortion(app=_lingering),
    needs=_NEEDS,
)
def return_after_accept(stage: Stage) -> None:
    _died(stage, ["return"], {_NORMAL, _INTERNAL})


# The server stops.


def _deaf(app: Any) -> Any:
    """A server that does not tell the application that it stops, and so never closes."""

    async def holds(scope: Any, receive: Any, send: Any) -> None:
        async def never() -> Any:
            event = await receive()
            if event["type"] == _DISCONNECT:
                await asyncio.Event().wait()
            return event

        await app(scope, never, send)

    return holds


@ASGI_WEBSOCKET_CLOSE.scenario(
    "asgi.ws.shutdown",
    "RFC 6455 §7.4.1",
    "ASGI www, WebSocket Disconnect",
    "ASGI lifespan, Shutdown",
    level=Level.SHOULD,
    says='1001 indicates that an endpoint is "going away", such as a server going down or a browser having navigated away from a page.',
    expects="a close frame with 1001 (or 1012), websocket.disconnect for the application, and lifespan.shutdown after it",
    bad=Distortion(app=_deaf),
    needs=_NEEDS,
    own=True,
)
def shutdown(stage: Stage) -> None:
    told = {"graceful_timeout": _GRACE} if "graceful_timeout" in stage.running.settings else {}
    own = stage.own(settings=told)
    frames = own.websocket(script=[["accept"], ["text", "open"], ["receive-all"]], timeout=_EXIT)
    stage.check(frames.read_text() == "open", "no message before the end")
    own.running.signal(signal.SIGTERM)
    frame = answer_close(frames)
    own.running.wait(_EXIT)
    journal = own.running.journal()
    at = [number for number, entry in enumerate(journal) if entry["event"] == "disconnect"]
    stage.check(at, f"the application did not hear {_DISCONNECT}")
    stops = [number for number, entry in enumerate(journal) if _is_shutdown(entry)]
    if "lifespan" in stage.features:
        stage.check(stops, "the application did not hear lifespan.shutdown")
        stage.check(at[0] < stops[0], f"lifespan.shutdown before {_DISCONNECT}")
    frame = given(stage, frame, "the connection ended without a close frame")
    stage.check(frame.code in {_GOING_AWAY, _RESTART}, f"a close frame with the code {frame.code}")
    stage.tell(f"closed with {frame.code}")


def _is_shutdown(entry: dict[str, Any]) -> bool:
    heard: bool = entry["event"] == "lifespan" and entry["do"] == "receive" and entry["message"].get("type") == "lifespan.shutdown"
    return heard
