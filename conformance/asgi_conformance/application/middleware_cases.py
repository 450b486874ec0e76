"""Middleware around an application of ours (catalogue A5; ASGI asgi.rst, Middleware).

The law of this module: as `asgi_conformance.application.case`. The application inside is written here, and reports what reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.case import ApplicationTopic, Takes
from asgi_conformance.application.driver import Call
from asgi_conformance.application.exchange import answer_of
from asgi_conformance.application.routes import Route
from asgi_conformance.application.scopes import lifespan_scope
from asgi_conformance.application.trial import body_messages
from asgi_conformance.case import Level
from asgiserve.importer import as_asgi3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_conformance.application.trial import Trial

    Inner = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

__all__ = ["MIDDLEWARE"]

MIDDLEWARE: Final = ApplicationTopic("application/middleware", "Middleware")

_MIDDLEWARE: Final = "ASGI, Middleware"
_BODY: Final = "ASGI www, Response Body"
_ROUTE: Final = Route("GET", "/")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_PART: Final = b"conformance " * 400
_PARTS: Final = 3
_PIECES: Final = 50
_AHEAD: Final = 4
"""Messages that may be on their way between the application and a client that does not read."""
_LOOK: Final = 0.5
_CALLS: Final = 10_000
_MOST_SECONDS: Final = 5.0
_GZIP: Final = (b"accept-encoding", b"gzip, deflate")


class _InnerError(Exception):
    """What the application inside raises."""


def _wrap(trial: Trial, inner: Inner) -> Any:
    """The middleware around ``inner``."""
    made = trial.subject.middleware
    trial.expect(made is not None, "no middleware")
    return as_asgi3(made(inner))[0] if made is not None else inner


async def _respond(send: Any, body: bytes = b"hello", status: int = 200, *fields: tuple[bytes, bytes], more: tuple[bytes, ...] = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [_TEXT, *fields]})
    for part in (body, *more):
        await send({"type": "http.response.body", "body": part, "more_body": part is not (body, *more)[-1]})


def _call(trial: Trial, app: Any, scope: dict[str, Any], messages: Any = ()) -> Call:
    return trial.adopt(Call(app, scope, messages))


async def _ask(trial: Trial, inner: Inner, *fields: tuple[bytes, bytes], **changes: Any) -> Call:
    call = _call(trial, _wrap(trial, inner), trial.scope(_ROUTE, fields=fields, **changes), body_messages([b""]))
    await call.until(lambda: call.complete, trial.limits.answer)
    await call.ended(_LOOK)
    return call


@MIDDLEWARE.case(
    "app.mw.pass-through",
    _MIDDLEWARE,
    level=Level.MUST,
    says="Middleware acts as both server and application: what it has nothing to do with passes it as it is, whatever the scope type.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def pass_through(trial: Trial, _route: None) -> str:
    """HTTP, WebSocket, lifespan, and a type that nobody knows."""
    reached: list[str] = []

    async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
        reached.append(scope["type"])
        if scope["type"] == "nonsense":
            raise _InnerError("unknown")
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                message = await receive()
                reached.append(message["type"])
                await send({"type": f"lifespan.{what}.complete"})
        elif scope["type"] == "websocket":
            reached.append((await receive())["type"])
            await send({"type": "websocket.accept"})
            message = await receive()
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
            await send({"type": "websocket.close", "code": 4000, "reason": ""})
        else:
            await _respond(send)

    app = _wrap(trial, inner)
    life = _call(trial, app, lifespan_scope(state={}), [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    await life.ended(trial.limits.leave)
    kinds = [one.get("type") for one in life.sent]
    trial.expect(kinds == ["lifespan.startup.complete", "lifespan.shutdown.complete"], f"lifespan: the server gets {kinds}")
    trial.expect(reached == ["lifespan", "lifespan.startup", "lifespan.shutdown"], f"lifespan: the application inside gets {reached}")
    reached.clear()
    message = {"type": "websocket.receive", "text": "hello", "bytes": None}
    socket = _call(trial, app, trial.scope(Route("WS", "/")), [{"type": "websocket.connect"}, message])
    await socket.ended(trial.limits.leave)
    kinds = [one.get("type") for one in socket.sent]
    trial.expect(reached == ["websocket", "websocket.connect"], f"websocket: the application inside gets {reached}")
    trial.expect(kinds == ["websocket.accept", "websocket.send", "websocket.close"], f"websocket: the server gets {kinds}")
    trial.expect(socket.sent[1].get("text") == "hello" and socket.sent[2].get("code") == 4000, "websocket: the messages changed")  # noqa: PLR2004 - as sent
    reached.clear()
    strange = _call(trial, app, {"type": "nonsense", "asgi": {"version": "3.0"}})
    await strange.ended(trial.limits.leave)
    trial.expect(reached == ["nonsense"] or strange.error is not None, "the scope type 'nonsense' does not reach the application inside, nor raises")
    reached.clear()
    call = await _ask(trial, inner)
    trial.expect(call.complete, f"http: {answer_of(call, seconds=trial.limits.answer)}")
    if not reached:
        trial.discourage(f"http: it answers {answer_of(call, seconds=0)} itself; the application inside is not called")
    return "all reach the application inside"


@MIDDLEWARE.case(
    "app.mw.scope-copied",
    _MIDDLEWARE,
    level=Level.SHOULD,
    says="Middleware should make a copy of the scope before it mutates it: changes would leak upstream.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def scope_copied(trial: Trial, _route: None) -> str:
    """The scope that came in, afterwards."""

    async def inner(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await _respond(send)

    scope = trial.scope(_ROUTE, fields=(_GZIP, (b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https"), (b"cookie", b"a=1")))
    before, headers = dict(scope), list(scope["headers"])
    call = _call(trial, _wrap(trial, inner), scope, body_messages([b""]))
    await trial.answer(call)
    free = {"state", "extensions"}
    changed = [key for key in before if key not in free and (key not in scope or scope[key] != before[key])]
    changed += [key for key in scope if key not in before and key not in free]
    if list(scope["headers"]) != headers:
        changed.append("headers")
    trial.expect(not changed, f"of the scope that came in these are changed: {', '.join(dict.fromkeys(changed))}")
    return "unchanged"


@MIDDLEWARE.case(
    "app.mw.streaming-kept",
    _BODY,
    level=Level.SHOULD,
    says="Protocol servers must flush any data passed to them into the send buffer before returning from a send call; so does middleware.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def streaming_kept(trial: Trial, _route: None) -> str:
    """Three parts, each sent when the one before it has arrived outside, or did not in time."""
    calls: list[Call] = []
    arrived: list[bool] = []

    async def inner(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [_TEXT]})
        for _ in range(_PARTS):
            count = len(calls[0].messages("http.response.body"))
            await send({"type": "http.response.body", "body": _PART, "more_body": True})
            arrived.append(await calls[0].until(lambda: len(calls[0].messages("http.response.body")) > count, _LOOK))  # noqa: B023 - called before the next
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    calls.append(_call(trial, _wrap(trial, inner), trial.scope(_ROUTE), body_messages([b""])))
    await trial.answer(calls[0])
    if not arrived:
        trial.skip("the application inside is not called")
    trial.expect(any(arrived), f"of {_PARTS} parts none arrives before the next is sent: the whole is kept back")
    return f"{sum(arrived)} of {_PARTS} parts arrive as they are sent"


@MIDDLEWARE.case(
    "app.mw.backpressure-kept",
    _BODY,
    level=Level.SHOULD,
    says="send returns once the data is in the send buffer: where the client does not read it waits, and so does the application inside.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def backpressure_kept(trial: Trial, _route: None) -> str:
    """The client reads nothing after the start."""
    sent = 0

    async def inner(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": [_TEXT]})
        for number in range(_PIECES):
            await send({"type": "http.response.body", "body": _PART, "more_body": number < _PIECES - 1})
            sent += 1

    call = _call(trial, _wrap(trial, inner), trial.scope(_ROUTE), body_messages([b""]))
    call.delay = trial.limits.hard
    await call.until(lambda: sent >= _PIECES, _LOOK)
    if not call.attempts and not sent:
        trial.skip("the application inside is not called")
    trial.expect(sent <= _AHEAD, f"the application inside sent {sent} of {_PIECES} messages while the client read none")
    return f"it waits after {sent}"


@MIDDLEWARE.case(
    "app.mw.disconnect-kept",
    "ASGI www, HTTP Disconnect",
    level=Level.MUST,
    says="http.disconnect is sent if receive is called after the HTTP connection has been closed.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def disconnect_kept(trial: Trial, _route: None) -> str:
    """The application inside streams, and waits for the end of the client."""
    got: list[str] = []
    began = False

    async def inner(_scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal began
        began = True
        got.append((await receive())["type"])
        with contextlib.suppress(OSError):
            await send({"type": "http.response.start", "status": 200, "headers": [_TEXT]})
            await send({"type": "http.response.body", "body": _PART, "more_body": True})
        got.append((await receive())["type"])

    call = _call(trial, _wrap(trial, inner), trial.scope(_ROUTE), body_messages([b""]))
    await call.until(lambda: bool(call.sent), _LOOK)
    if not began:
        trial.skip("the application inside is not called")
    call.refuse_from = 0
    call.disconnect()
    ended = await call.ended(trial.limits.leave)
    told = got[-1:] == ["http.disconnect"]
    trial.expect(told or (ended and not got[1:]), f"the application inside received {', '.join(got)} and no http.disconnect")
    trial.expect(ended, f"it still runs {trial.limits.leave:g} s after the disconnect")
    if not told:
        trial.discourage("the application inside was ended without a disconnect")
    return "it gets http.disconnect"


@MIDDLEWARE.case(
    "app.mw.extensions-honest",
    "ASGI, Extensions",
    level=Level.MUST,
    says="Applications use extensions that the scope has: one that middleware leaves in the scope it passes on.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def extensions_honest(trial: Trial, _route: None) -> str:
    """Trailers, a file, and early hints, where the scope inside has them."""
    told = []
    for extension in ("http.response.trailers", "http.response.pathsend", "http.response.early_hint"):
        used = False

        async def inner(scope: dict[str, Any], _receive: Any, send: Any) -> None:
            nonlocal used
            name = extension  # noqa: B023 - called before the next
            used = name in (scope.get("extensions") or {})
            if used and name == "http.response.early_hint":
                await send({"type": name, "links": [b"</a.css>; rel=preload"]})
            trailers = used and name == "http.response.trailers"
            start = {"type": "http.response.start", "status": 200, "headers": [_TEXT]}
            await send(start | {"trailers": True, "headers": [_TEXT, (b"trailer", b"x-sum")]} if trailers else start)
            if used and name == "http.response.pathsend":
                await send({"type": name, "path": __file__})
                return
            await send({"type": "http.response.body", "body": _PART})
            if trailers:
                await send({"type": name, "headers": [(b"x-sum", b"1")]})

        call = await _ask(trial, inner, _GZIP, extensions={extension: {}})
        if not used:
            told.append(f"{extension} is not offered inside")
            continue
        passed = bool(call.messages(extension))
        replaced = extension == "http.response.pathsend" and answer_of(call, seconds=0).body
        error = f" ({type(call.error).__name__})" if call.error is not None else ""
        trial.expect(passed or replaced, f"{extension} is offered inside, and its message does not arrive outside{error}")
        told.append(f"{extension} passes")
    return "; ".join(told)


@MIDDLEWARE.case(
    "app.mw.cl-fixed-up",
    "RFC 9110 §8.6",
    "RFC 9110 §8.8.3",
    level=Level.MUST,
    says="Content-Length is the length of the content; who changes the content changes it or takes it away.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def length_fixed(trial: Trial, _route: None) -> str:
    """A page with Content-Length and a strong ETag, as GET, as HEAD, and as 304."""
    page = b"<!doctype html><html><head><title>x</title></head><body>" + _PART + b"</body></html>"
    fields = [(b"content-type", b"text/html; charset=utf-8"), (b"etag", b'"strong"')]

    async def inner(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        status = 304 if any(name == b"if-none-match" for name, _ in scope["headers"]) else 200
        length = [(b"content-length", b"%d" % len(page))] if status != 304 else []  # noqa: PLR2004 - Not Modified
        body = b"" if scope["method"] == "HEAD" or status == 304 else page  # noqa: PLR2004
        await send({"type": "http.response.start", "status": status, "headers": fields + length})
        await send({"type": "http.response.body", "body": body})

    answer = answer_of(await _ask(trial, inner, _GZIP), seconds=trial.limits.answer)
    length = answer.one(b"content-length")
    right = not length or length == str(len(answer.body)).encode()
    trial.expect(right, f"content-length is {length.decode('latin-1')}, and the content has {len(answer.body)} bytes")
    for what, changes, more in (("HEAD", {"method": "HEAD"}, ()), ("304", {}, ((b"if-none-match", b'"strong"'),))):
        other = answer_of(await _ask(trial, inner, _GZIP, *more, **changes), seconds=trial.limits.answer)
        trial.expect(not other.failure, f"{what}: {other}")
        trial.expect(not other.body, f"{what}: it has {len(other.body)} bytes of content")
        if other.ok and other.one(b"content-length") == b"0":
            trial.discourage(f"{what}: content-length became 0")
    if answer.body != page and answer.one(b"etag") == b'"strong"' and answer.ok:
        trial.discourage("the content changed, and its strong ETag did not (RFC 9110 §8.8.3)")
    return "right, or taken away"


@MIDDLEWARE.case(
    "app.mw.exception-kept",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="If an exception is raised in an application the server must terminate it: middleware hands it on, or answers where nothing was sent yet.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def exception_kept(trial: Trial, _route: None) -> str:
    """The application inside raises before its start, and behind it."""

    async def before(_scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        raise _InnerError("before the start")

    async def behind(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [_TEXT]})
        await send({"type": "http.response.body", "body": _PART, "more_body": True})
        raise _InnerError("behind the start")

    call = await _ask(trial, before)
    answer = answer_of(call, seconds=trial.limits.answer)
    kept = call.error is not None or answer.status >= 400  # noqa: PLR2004 - an error
    trial.expect(kept, f"an exception before the start: {answer}")
    call = await _ask(trial, behind)
    starts = len(call.messages("http.response.start"))
    trial.expect(starts <= 1, f"an exception behind the start: {starts} starts of a response")
    trial.expect(call.error is not None or not call.complete, "an exception behind the start: the broken response is ended as if it were whole")
    return "handed on, or answered"


@MIDDLEWARE.case(
    "app.mw.overhead",
    _MIDDLEWARE,
    level=Level.INFO,
    says="What the middleware costs for a call in which nothing happens.",
    takes=Takes.MIDDLEWARE,
    bare=True,
)
async def overhead(trial: Trial, _route: None) -> str:
    """Calls with and without it."""

    async def inner(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request"}

    async def send(_message: Any) -> None:
        pass

    async def measured(app: Any) -> float:
        began = time.perf_counter()
        number = 0
        while number < _CALLS:
            number += 1
            await app(trial.scope(_ROUTE), receive, send)
            if time.perf_counter() - began > _MOST_SECONDS:
                break
        return (time.perf_counter() - began) / number * 1e6

    bare, wrapped = await measured(inner), await measured(_wrap(trial, inner))
    return json.dumps({"microseconds_per_call": round(wrapped - bare, 1)})
