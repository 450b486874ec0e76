"""WebSocket routes (catalogue A4; ASGI www.rst, WebSocket).

The law of this module: as `asgi_conformance.application.case`. What the messages mean is the application's; it is judged by how it begins and ends,
and by what leaves it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.case import BOTH, ApplicationTopic, Takes
from asgi_conformance.application.routes import Route
from asgi_conformance.application.scopes import minimal
from asgi_conformance.case import Level
from asgi_conformance.drive import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_conformance.application.driver import Call
    from asgi_conformance.application.trial import Trial

__all__ = ["WEBSOCKET", "open_session"]

WEBSOCKET: Final = ApplicationTopic("application/websocket", "WebSocket routes of an application")

_CONNECT: Final = "ASGI www, Connect"
_CLOSE: Final = "ASGI www, Close"
_RECEIVE: Final = "ASGI www, Receive"
_DISCONNECT: Final = "ASGI www, WebSocket Disconnect"
_SCOPE: Final = "ASGI www, WebSocket Connection Scope"

_CONNECTED: Final = {"type": "websocket.connect"}
_ANSWERS: Final[Mapping[str, str]] = {
    "websocket.accept": "accept",
    "websocket.close": "close",
    "websocket.http.response.start": "a denial response",
}
_BIG: Final = 1_000_000
_MANY: Final = 1000
_SESSIONS: Final = 20
_PAUSE: Final = 0.2
_ANSWER: Final = 0.05
_LATE_ANSWER: Final = 1.0
"""The same where two sessions differed: on a busy machine an answer may have come too late in one of them."""
_TOO_BIG: Final = frozenset({1003, 1007, 1008, 1009})
_NOWHERE: Final = "/asgi-conformance-6f1c2a/nowhere"


def _answer(call: Call) -> str:
    """What the application answered to the connect; empty where it did not."""
    return next((_ANSWERS[one["type"]] for one in call.sent if one.get("type") in _ANSWERS), "")


def _text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": text, "bytes": None, **more}


async def open_session(trial: Trial, route: Route, *messages: Mapping[str, Any], **changes: Any) -> Call:
    """Connect; the call, when the application has answered."""
    call = trial.call(trial.scope(route, **changes), [_CONNECTED, *messages])
    await call.until(lambda: bool(_answer(call)), trial.limits.answer)
    return call


async def _accepted(trial: Trial, route: Route, **changes: Any) -> Call:
    call = await open_session(trial, route, **changes)
    if _answer(call) != "accept":
        trial.skip(f"does not accept: {_answer(call) or call.error or 'no answer'}")
    return call


async def _consumed(trial: Trial, call: Call, messages: list[dict[str, Any]], patience: float = _ANSWER) -> None:
    """Feed messages, and wait until the application has taken them and asks for more, or has closed; for an answer ``patience`` seconds more."""
    before = len(call.sent)
    call.feed(*messages)
    await call.until(lambda: call.waits or bool(call.messages("websocket.close")), trial.limits.answer)
    # Who takes messages need not be who answers them.
    await call.until(lambda: len(call.sent) > before, patience)


async def _leave(trial: Trial, call: Call, what: str, **keys: Any) -> None:
    """The client goes; expect the end."""
    call.disconnect(**({"code": 1000, "reason": ""} | keys))
    trial.expect(await call.ended(trial.limits.leave), f"{what}: the application still runs {trial.limits.leave:g} s later")


@WEBSOCKET.case(
    "app.ws.accept-or-reject",
    _CONNECT,
    level=Level.MUST,
    says="This message must be responded to with either an Accept message or a Close message [...].",
    takes=Takes.WEBSOCKET,
    ways=BOTH,
)
async def accept_or_reject(trial: Trial, route: Route) -> str:
    """The connect, and what comes of it."""
    if trial.is_live:
        status = await asyncio.to_thread(_handshake, trial, route)
        trial.expect(status, f"no answer to the handshake within {trial.limits.answer:g} s")
        trial.expect(status < 500, f"the handshake is answered with {status}")  # noqa: PLR2004 - server errors
        return f"the handshake is answered with {status}"
    call = await open_session(trial, route)
    problem = f"{type(call.error).__name__} left it" if call.error is not None else f"nothing within {trial.limits.answer:g} s"
    trial.expect(_answer(call), f"websocket.connect: {problem}")
    if _answer(call) != "accept":
        trial.discourage(f"answers the connect with {_answer(call)}: the other cases have no use for it")
    return f"answers the connect with {_answer(call)}"


def _handshake(trial: Trial, route: Route) -> int:
    """Over the wire: the status of the answer, 101 where it is accepted; 0 where there is none."""
    from pytest_asgiserve import WebSocketRejected, WebSocketTimeout  # noqa: PLC0415 - only over the wire

    trace = Trace()
    trial.note(trace)
    host = trial.subject.host
    trace.note(">", f"{route}: the opening handshake")
    try:
        with trial.subject.live.ws(route.target, timeout=trial.limits.answer, headers={"Host": host, "Origin": f"http://{host}"}):
            trace.note("<", "101")
            return 101
    except WebSocketRejected as rejected:
        trace.note("<", str(rejected))
        return int(rejected.status)
    except WebSocketTimeout as timeout:
        trace.note("!", str(timeout))
        return 0


@WEBSOCKET.case(
    "app.ws.minimal-scope",
    _SCOPE,
    level=Level.MUST,
    says="http_version, scheme, raw_path, query_string, root_path, client, server, subprotocols and state are optional.",
    takes=Takes.WEBSOCKET,
)
async def minimal_scope(trial: Trial, route: Route) -> str:
    """Only the mandatory keys."""
    plain = _answer(await open_session(trial, route))
    call = trial.call(minimal(trial.scope(route)), [_CONNECTED])
    await call.until(lambda: bool(_answer(call)), trial.limits.answer)
    trial.expect(call.escaped is None, f"a scope without the optional keys: {type(call.escaped).__name__} left the application: {call.escaped}")
    trial.expect(_answer(call) == plain, f"a scope without the optional keys: {_answer(call) or 'no answer'}; else {plain}")
    return f"the same: {plain}"


@WEBSOCKET.case(
    "app.ws.unknown-path",
    _CLOSE,
    level=Level.SHOULD,
    says="If this is sent before the socket is accepted, the server must close the connection with a HTTP 403 error code.",
    takes=Takes.NOTHING,
    ways=BOTH,
)
async def unknown_path(trial: Trial, _route: None) -> str:
    """A path that no application has."""
    return await _refused(trial, Route("WS", _NOWHERE))


@WEBSOCKET.case(
    "app.ws.ws-on-http-route",
    _CLOSE,
    level=Level.SHOULD,
    says="If this is sent before the socket is accepted, the server must close the connection with a HTTP 403 error code.",
    takes=Takes.READ,
    ways=BOTH,
)
async def websocket_on_http_route(trial: Trial, route: Route) -> str:
    """A WebSocket where there is an HTTP route."""
    if any(one.is_websocket and one.target == route.target for one in await trial.routes()):
        trial.skip("is a WebSocket route too")
    return await _refused(trial, replace(route, method="WS", body=b"", content_type=b""))


async def _refused(trial: Trial, route: Route) -> str:
    if trial.is_live:
        status = await asyncio.to_thread(_handshake, trial, route)
        errors = await asyncio.to_thread(trial.subject.live.take_errors)
        trial.expect(not errors, f"{route}: {errors[0] if errors else ''}")
        trial.expect(400 <= status < 500, f"{route}: the handshake is answered with {status}")  # noqa: PLR2004 - client errors
        return f"{status}"
    call = await open_session(trial, route)
    trial.expect(call.escaped is None, f"{route}: {type(call.escaped).__name__} left the application: {call.escaped}")
    trial.expect(_answer(call), f"{route}: no answer to websocket.connect")
    if _answer(call) == "accept":
        trial.discourage(f"{route}: accepted; an application that accepts everything hides typing errors")
    return f"{_answer(call)}"


@WEBSOCKET.case(
    "app.ws.http-on-ws-route",
    "RFC 9110 §15.5.22",
    level=Level.SHOULD,
    says="The 426 (Upgrade Required) status code indicates that the server refuses to perform the request using the current protocol.",
    takes=Takes.WEBSOCKET,
    ways=BOTH,
)
async def http_on_websocket_route(trial: Trial, route: Route) -> str:
    """A plain GET on the WebSocket route."""
    answer = await trial.ask(replace(route, method="GET"))
    trial.expect(not answer.crashed, f"a plain GET: {answer}; expected 426, 404 or 400")
    return f"a plain GET: {answer}"


@WEBSOCKET.case(
    "app.ws.receive-shapes",
    _RECEIVE,
    level=Level.MUST,
    says="Exactly one of bytes or text must be non-None. One or both keys may be present, however.",
    takes=Takes.WEBSOCKET,
)
async def receive_shapes(trial: Trial, route: Route) -> str:
    """The same message with the other key None, and without it; and empty ones."""
    pairs: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
        ("text", {"text": "1", "bytes": None}, {"text": "1"}),
        ("bytes", {"bytes": b"1", "text": None}, {"bytes": b"1"}),
        ("an empty text", {"text": "", "bytes": None}, {"text": ""}),
        ("empty bytes", {"bytes": b"", "text": None}, {"bytes": b""}),
    )
    escaped = []
    for name, *shapes in pairs:
        first, second = [await _outcome(trial, route, shape, name, _ANSWER) for shape in shapes]
        if first != second:
            first, second = [await _outcome(trial, route, shape, name, _LATE_ANSWER) for shape in shapes]
        trial.expect(first == second, f"{name} with the other key None: {_told(*first)}; without the other key: {_told(*second)}")
        if first[0]:
            escaped.append(f"{name}: {first[0]} left the application")
    if escaped:
        # What a client sends, and the application does not want, is answered by a close (1003, RFC 6455 §7.4.1) rather than by an exception.
        trial.discourage("; ".join(escaped))
    return "all taken"


async def _outcome(trial: Trial, route: Route, shape: Mapping[str, Any], name: str, patience: float) -> tuple[str, list[Any]]:
    """A session with one message: what left the application, and the types of what it sent."""
    call = await _accepted(trial, route)
    await _consumed(trial, call, [{"type": "websocket.receive", **shape}], patience)
    found = (type(call.escaped).__name__ if call.escaped is not None else "", [one.get("type") for one in call.sent])
    await _leave(trial, call, name)
    return found


def _told(error: str, kinds: list[Any]) -> str:
    return f"{error} left the application" if error else ", ".join(map(str, kinds))


@WEBSOCKET.case(
    "app.ws.message-extra-keys",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="In both cases, the presence of additional keys in the event dictionary should not raise an exception.",
    takes=Takes.WEBSOCKET,
)
async def message_extra_keys(trial: Trial, route: Route) -> str:
    """Keys that nobody knows."""
    seen = []
    for more in ({}, {"conformance.key": 1}):
        call = trial.call(trial.scope(route), [_CONNECTED | more])
        await call.until(lambda: bool(_answer(call)), trial.limits.answer)  # noqa: B023 - called before the next
        if not more and _answer(call) != "accept":
            trial.skip(f"does not accept: {_answer(call) or 'no answer'}")
        await _consumed(trial, call, [_text("1", **more)])
        await _leave(trial, call, "unknown keys", **more)
        seen.append((type(call.escaped).__name__ if call.escaped is not None else "", [one.get("type") for one in call.sent]))
    trial.expect(seen[0] == seen[1], f"without unknown keys: {_told(*seen[0])}; with them: {_told(*seen[1])}")
    return "ignored"


@WEBSOCKET.case(
    "app.ws.disconnect-shapes",
    _DISCONNECT,
    level=Level.MUST,
    says=(
        "Sent to the application when either connection to the client is lost, either from the client closing the connection, the server closing "
        "the connection, or loss of the socket."
    ),
    takes=Takes.WEBSOCKET,
)
async def disconnect_shapes(trial: Trial, route: Route) -> str:
    """Every kind of end."""
    shapes: tuple[dict[str, Any], ...] = (
        {"code": 1000},
        {"code": 1001, "reason": ""},
        {"code": 1005, "reason": None},
        {"code": 1006, "reason": ""},
        {"code": 4001, "reason": "as you like"},
    )
    escaped = ""
    for shape in shapes:
        call = await _accepted(trial, route)
        # It need not have asked for a message yet.
        call.refuse_from = call.attempts + 1
        call.disconnect(**shape)
        trial.expect(await call.ended(trial.limits.leave), f"disconnect {shape}: the application still runs {trial.limits.leave:g} s later")
        if call.escaped is not None:
            escaped = f"disconnect {shape}: {type(call.escaped).__name__} left the application: {call.escaped}"
    if escaped:
        trial.discourage(escaped)
    return "ends"


@WEBSOCKET.case(
    "app.ws.disconnect-before-accept",
    _DISCONNECT,
    level=Level.MUST,
    says="Once you have received this event, you should expect future calls to send() to raise an exception.",
    takes=Takes.WEBSOCKET,
)
async def disconnect_before_accept(trial: Trial, route: Route) -> str:
    """The client goes right behind the connect."""
    call = trial.call(trial.scope(route), [_CONNECTED])
    # The server refuses everything from now on.
    call.refuse_from = 0
    call.disconnect(code=1006, reason="")
    trial.expect(await call.ended(trial.limits.leave), f"a disconnect before the accept: it still runs {trial.limits.leave:g} s later")
    if call.escaped is not None:
        trial.discourage(f"a disconnect before the accept: {type(call.escaped).__name__} left the application: {call.escaped}")
    if call.refused > 2:  # noqa: PLR2004 - an accept, and a close after it
        trial.discourage(f"a disconnect before the accept: it tried to send {call.refused} times")
    return "ends"


@WEBSOCKET.case(
    "app.ws.disconnect-while-sending",
    "ASGI www, WebSocket Disconnected Client",
    level=Level.MUST,
    says="If send() is called on a closed connection the server should raise OSError: applications may do cleanup work and end.",
    takes=Takes.WEBSOCKET,
)
async def disconnect_while_sending(trial: Trial, route: Route) -> str:
    """Every send raises, whatever the application answers."""
    call = await _accepted(trial, route)
    call.refuse_from = call.attempts + 1
    call.feed(_text("1"), _text("2"))
    await call.until(lambda: bool(call.refused), _PAUSE)
    await _leave(trial, call, "a send that raised", code=1006)
    if call.escaped is not None:
        trial.discourage(f"a send that raised: {type(call.escaped).__name__} left the application: {call.escaped}")
    if len(trial.logged) > 1:
        trial.discourage(f"a send that raised: {len(trial.logged)} errors are logged: {trial.logged[0]}")
    return "ends"


@WEBSOCKET.case(
    "app.ws.send-noop-after-disconnect",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says=(
        "Note that messages received by a server after the connection has been closed are generally not considered errors unless specified by a "
        "protocol. If no error condition is specified, the send awaitable callable should act as a no-op."
    ),
    takes=Takes.WEBSOCKET,
)
async def send_noop(trial: Trial, route: Route) -> str:
    """As an older server has it: send does nothing, and only receive tells of the end."""
    call = await _accepted(trial, route, asgi={"version": "3.0", "spec_version": "2.3"})
    call.dropping = True
    call.feed(_text("1"))
    await _leave(trial, call, "a disconnect of which only receive tells", code=1006)
    return "ends: it watches receive"


@WEBSOCKET.case(
    "app.ws.no-send-after-close",
    _CLOSE,
    level=Level.MUST,
    says="Sent by the application to tell the server to close the connection: nothing can be sent behind it.",
    takes=Takes.WEBSOCKET,
)
async def no_send_after_close(trial: Trial, route: Route) -> str:
    """Sessions in which the application may close by itself."""
    closed = 0
    for messages in ([], [_text("1")], [_text("")], [{"type": "websocket.receive", "bytes": b"\xff", "text": None}], [_text("x" * 5000)]):
        call = await open_session(trial, route)
        if messages:
            await _consumed(trial, call, messages)
        elif _answer(call) == "accept":
            await call.until(lambda: bool(call.messages("websocket.close")), _PAUSE)  # noqa: B023 - called before the next
        own = bool(call.messages("websocket.close"))
        await _leave(trial, call, "after its close" if own else "the client left")
        kinds = [one.get("type") for one in call.sent]
        if own:
            closed += 1
            behind = kinds[kinds.index("websocket.close") + 1 :]
            trial.expect(not behind, f"behind websocket.close it sent {', '.join(map(str, behind))}")
    if not closed:
        trial.skip("does not close by itself")
    return "nothing, and it ends"


@WEBSOCKET.case(
    "app.ws.big-and-many",
    _RECEIVE,
    level=Level.HARD,
    says="A large message and many small ones are taken, or the connection is closed.",
    takes=Takes.WEBSOCKET,
)
async def big_and_many(trial: Trial, route: Route) -> str:
    """A message of 1 MB, and 1000 at once."""
    for what, messages in (("1 MB", [_text("x" * _BIG)]), ("1000 messages", [_text(str(number)) for number in range(_MANY)])):
        call = await _accepted(trial, route)
        await _consumed(trial, call, messages)
        closes = call.messages("websocket.close")
        trial.expect(not call.backlog or closes or call.done, f"{what}: {call.backlog} left after {trial.limits.answer:g} s")
        if call.escaped is not None:
            trial.discourage(f"{what}: {type(call.escaped).__name__} left the application: {call.escaped}")
        if closes and closes[0].get("code", 1000) not in _TOO_BIG and len(messages) == 1:
            trial.discourage(f"{what}: closed with {closes[0].get('code', 1000)}; 1009 says what is wrong")
        await _leave(trial, call, what)
    return "taken"


@WEBSOCKET.case(
    "app.ws.cancel",
    # It has to be an asyncio-compatible coroutine; that such a one can be cancelled is asyncio's rule.
    "ASGI, Overview",
    level=Level.HARD,
    says="A server that stops cancels what still runs: the application lets the cancellation through.",
    takes=Takes.WEBSOCKET,
)
async def cancel(trial: Trial, route: Route) -> str:
    """Cancelled in the middle of a session."""
    call = await _accepted(trial, route)
    await call.until(lambda: call.waits, _PAUSE)
    call.task.cancel()
    trial.expect(await call.ended(trial.limits.leave), f"cancelled: it still runs {trial.limits.leave:g} s later")
    error = call.error
    if not isinstance(error, asyncio.CancelledError):
        trial.discourage(f"cancelled: it {'returned' if error is None else f'raised {type(error).__name__}'}")
    again = await open_session(trial, route)
    trial.expect(_answer(again) == "accept", f"the session after a cancelled one: {_answer(again) or 'no answer'}")
    return "CancelledError, and the next session is accepted"


@WEBSOCKET.case(
    "app.ws.concurrent",
    "ASGI, Applications",
    level=Level.MUST,
    says="An application is called once for each connection: nothing of one session is seen in another, unless it is meant for all.",
    takes=Takes.WEBSOCKET,
)
async def concurrent(trial: Trial, route: Route) -> str:
    """Sessions with messages of their own, one message each in turn."""
    alone = await _accepted(trial, route)
    await _consumed(trial, alone, [_text("asgiconformance-alone")])
    echoes = "asgiconformance-alone" in _said(alone)
    await _leave(trial, alone, "alone")
    sessions = {f"asgiconformance-{number:02d}": await _accepted(trial, route) for number in range(_SESSIONS)}
    for _ in range(2):
        for tag, call in sessions.items():
            call.delay = 0.001
            call.feed(_text(tag))
            await asyncio.sleep(0)
    for tag, call in sessions.items():
        own = await call.until(lambda: tag in _said(call), trial.limits.answer if echoes else _ANSWER)  # noqa: B023 - called before the next
        if echoes and not own:
            # It will not come: no need to wait for the others in vain.
            break
    seen = {tag: {other for other in sessions if other in _said(call)} for tag, call in sessions.items()}
    broadcast = all(len(others) == len(sessions) for others in seen.values())
    for tag, others in seen.items():
        if echoes:
            trial.expect(tag in others, f"the session {tag} did not get its own message, as it does alone")
        trial.expect(broadcast or not others - {tag}, f"the session {tag} got the message of {', '.join(sorted(others - {tag})[:3])}")
    for tag, call in sessions.items():
        await _leave(trial, call, tag)
    return "every message goes to all" if broadcast else "each its own messages"


def _said(call: Call) -> str:
    return "\n".join(str(one.get("text") or one.get("bytes") or "") for one in call.messages("websocket.send"))


@WEBSOCKET.case(
    "app.ws.denial-used-if-offered",
    "ASGI, Extensions",
    level=Level.INFO,
    says="The denial response is an extension: an application that refuses works with it and without it.",
    takes=Takes.NOTHING,
)
async def denial(trial: Trial, _route: None) -> str:
    """An unknown path, with the extension and without it."""
    told = []
    offers: tuple[dict[str, Any], ...] = ({"websocket.http.response": {}}, {})
    for extensions in offers:
        call = await open_session(trial, Route("WS", _NOWHERE), extensions=extensions)
        outcome = _answer(call) or (f"{type(call.error).__name__}" if call.error is not None else "no answer")
        told.append(f"{'with' if extensions else 'without'} the extension: {outcome}")
    return "; ".join(told)
