"""What a scope may lack or have, and how the body may be cut (catalogue A2; ASGI www.rst).

The law of this module: as `asgi_conformance.application.case`. Each variation is one that the text gives to servers; the response is compared with
that to a plain request.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.case import BOTH, ApplicationTopic, Takes
from asgi_conformance.application.exchange import Request
from asgi_conformance.application.routes import multipart
from asgi_conformance.application.scopes import minimal
from asgi_conformance.application.trial import body_messages
from asgi_conformance.case import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_conformance.application.exchange import Answer
    from asgi_conformance.application.routes import Route
    from asgi_conformance.application.trial import Trial

__all__ = ["BODY", "SCOPE"]

SCOPE: Final = ApplicationTopic("application/scope", "The scope of a request")
BODY: Final = ApplicationTopic("application/body", "The body of a request")

_HTTP_SCOPE: Final = "ASGI www, HTTP Connection Scope"
_REQUEST: Final = "ASGI www, Request"

_CUTS: Final = (1, 2, 7)
_PAUSE: Final = 0.2
_LONGER: Final = 4
"""The pauses of a second try are a part of the time that an answer may take: on a busy machine one may take longer than the pauses of the first."""
_BETWEEN: Final = 0.01
_SINGLE: Final = 200
"""Bytes that have a message of their own."""
_SINGLE_LIVE: Final = 20
_LARGE: Final = 50 * 1024 * 1024
_PIECE: Final = 64 * 1024
_SMALL: Final = 64
_GROWTH: Final = 4
"""How many times its size a body may take in memory: a framework that keeps it whole has it twice or three times while it joins the parts."""
_TOO_LARGE: Final = 413
_LENGTH_REQUIRED: Final = 411


async def _compare(trial: Trial, route: Route, what: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    reference = await trial.reference(route)
    answer = await trial.answer(trial.call(change(trial.scope(route)), body_messages([route.body])))
    trial.same(reference, answer, what)


@SCOPE.case(
    "app.http.scope-minimal",
    _HTTP_SCOPE,
    level=Level.MUST,
    says="scheme, raw_path, root_path, client, server, state, extensions and asgi[spec_version] are optional.",
    takes=Takes.ANY,
)
async def scope_minimal(trial: Trial, route: Route) -> str:
    """Only the mandatory keys."""
    await _compare(trial, route, "a scope without the optional keys", minimal)
    return "the same response"


@SCOPE.case(
    "app.http.scope-none",
    _HTTP_SCOPE,
    level=Level.MUST,
    says="client, server and raw_path default to None.",
    takes=Takes.ANY,
)
async def scope_none(trial: Trial, route: Route) -> str:
    """None in the place of the defaults."""
    none = {"client": None, "server": None, "raw_path": None}
    await _compare(trial, route, "client, server and raw_path None", lambda scope: scope | none)
    answer = await trial.answer(trial.call(trial.scope(route, extensions=None), body_messages([route.body]), lawful=False))
    difference = (await trial.reference(route)).difference(answer)
    if difference:
        # asgiref.typing has None for it; the text has only a dictionary, or nothing.
        trial.discourage(f"extensions None: {difference}")
    return "the same response"


@SCOPE.case(
    "app.http.scope-unix-server",
    _HTTP_SCOPE,
    level=Level.MUST,
    says="server is either [host, port], or [path, None] where path is that of the unix socket.",
    takes=Takes.ANY,
)
async def scope_unix_server(trial: Trial, route: Route) -> str:
    """A UNIX socket."""
    path = f"{tempfile.gettempdir()}/app.sock"
    await _compare(trial, route, "server [path, None]", lambda scope: scope | {"server": [path, None], "client": None})
    await _compare(trial, route, "server (path, None)", lambda scope: scope | {"server": (path, None)})
    return "the same response"


@SCOPE.case(
    "app.http.headers-iterable",
    _HTTP_SCOPE,
    level=Level.MUST,
    says="headers is an iterable of [name, value] two-item iterables; names should be lowercased, but it is not required.",
    takes=Takes.ANY,
)
async def headers_iterable(trial: Trial, route: Route) -> str:
    """Lists and tuples of both, and names as the client wrote them."""
    await _compare(trial, route, "headers a list of lists", lambda scope: scope | {"headers": [list(pair) for pair in scope["headers"]]})
    await _compare(trial, route, "headers a tuple of lists", lambda scope: scope | {"headers": tuple(list(pair) for pair in scope["headers"])})
    await _compare(trial, route, "headers a tuple of tuples", lambda scope: scope | {"headers": tuple(scope["headers"])})
    reference = await trial.reference(route)
    scope = trial.scope(route)
    scope["headers"] = [(name.title(), value) for name, value in scope["headers"]]
    answer = await trial.answer(trial.call(scope, body_messages([route.body])))
    difference = reference.difference(answer)
    if difference:
        # Servers lower them, all that are known; the text lets one that does not.
        trial.discourage(f"names in mixed case: {difference}")
    return "the same response"


@SCOPE.case(
    "app.http.scope-extra-keys",
    "ASGI, Extensions",
    # "Error Handling" speaks of keys of events alone; of scopes no sentence does, but of extensions that not everybody understands.
    level=Level.HARD,
    says="A key of the scope that the application does not know, or an extension, changes nothing.",
    takes=Takes.ANY,
)
async def scope_extra_keys(trial: Trial, route: Route) -> str:
    """Keys that nobody knows."""

    def extended(scope: dict[str, Any]) -> dict[str, Any]:
        asgi = scope["asgi"] | {"conformance": {"a": [1]}}
        return scope | {"conformance.key": {"b": None}, "asgi": asgi, "extensions": {"conformance.extension": {}}}

    await _compare(trial, route, "unknown keys", extended)
    return "the same response"


@SCOPE.case(
    "app.http.idempotent-scope-copy",
    "ASGI, Middleware",
    # No server does it; who changes the scope that came in is caught by it. Most applications are a stack of middleware.
    level=Level.SHOULD,
    says="When middleware is modifying the scope, it should make a copy of the scope object before mutating it and passing it to the inner "
    "application, as changes may leak upstream otherwise.",
    takes=Takes.ANY,
)
async def same_scope_twice(trial: Trial, route: Route) -> str:
    """The same object, twice."""
    reference = await trial.reference(route)
    scope = trial.scope(route)
    for number in ("first", "second"):
        answer = await trial.answer(trial.call(scope, body_messages([route.body]), lawful=number == "first"))
        trial.same(reference, answer, f"the {number} call with the same scope")
    return "the same response"


# Messages.


@BODY.case(
    "app.http.message-extra-keys",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="In both cases, the presence of additional keys in the event dictionary should not raise an exception.",
    takes=Takes.ANY,
)
async def message_extra_keys(trial: Trial, route: Route) -> str:
    """Keys that nobody knows, in http.request."""
    messages = [message | {"conformance.key": 1} for message in body_messages([route.body])]
    answer = await trial.answer(trial.call(trial.scope(route), messages))
    trial.same(await trial.reference(route), answer, "unknown keys in http.request")
    return "the same response"


@BODY.case(
    "app.http.request-defaults",
    _REQUEST,
    level=Level.MUST,
    says='body is optional and b"" if missing; more_body is optional and False if missing.',
    takes=Takes.ANY,
)
async def request_defaults(trial: Trial, route: Route) -> str:
    """A message with its type alone is an empty body."""
    if route.body:
        empty = replace(route, body=b"")
        # The fields say nothing of a length: the same in both.
        explicit = await trial.answer(trial.call(trial.scope(empty), body_messages([b""])))
        short = await trial.answer(trial.call(trial.scope(empty), [{"type": "http.request"}]))
        trial.expect(short.status == explicit.status and short.raised == explicit.raised, f"no keys: {short}; an empty body: {explicit}")
        without = [{"type": "http.request", "body": route.body}]
        answer = await trial.answer(trial.call(trial.scope(route), without))
        trial.same(await trial.reference(route), answer, "a body without more_body")
        return "an empty body, which is complete"
    answer = await trial.answer(trial.call(trial.scope(route), [{"type": "http.request"}]))
    trial.same(await trial.reference(route), answer, 'only {"type": "http.request"}')
    return "an empty body, which is complete"


def _cut(body: bytes, parts: int) -> tuple[bytes, ...]:
    size = max(-(-len(body) // parts), 1)
    return tuple(body[start : start + size] for start in range(0, len(body), size))


@BODY.case(
    "app.http.chunked-body",
    _REQUEST,
    level=Level.MUST,
    says="If more_body is set, treat as start of body and concatenate on further chunks.",
    takes=Takes.WRITE,
    ways=BOTH,
)
async def chunked_body(trial: Trial, route: Route) -> str:
    """The same body in one, two, seven and many messages, with empty ones between."""
    trial.expect(route.body, "no body")
    plain = await trial.reference(route)
    # Over the wire what is written at once may be read at once.
    pause = _BETWEEN if trial.is_live else 0.0
    for parts in _CUTS:
        pieces = _cut(route.body, parts)
        answer = await trial.ask(Request(route, parts=pieces if len(pieces) > 1 else (*pieces, b""), pause=pause))
        trial.same(plain, answer, f"the body in {len(pieces)} messages")
    count = _SINGLE_LIVE if trial.is_live else _SINGLE
    single = tuple(route.body[at : at + 1] for at in range(min(len(route.body), count)))
    answer = await trial.ask(Request(route, parts=(*single, route.body[count:]), pause=pause))
    trial.same(plain, answer, "the body in messages of one byte")
    if not trial.is_live:
        answer = await trial.ask(Request(route, parts=(b"", *(part for piece in _cut(route.body, 3) for part in (piece, b"")))))
        trial.same(plain, answer, "the body with empty messages between")
    answer = await trial.ask(Request(route, parts=_cut(route.body, 2), chunked=True))
    difference = plain.difference(answer)
    if difference and answer.status != _LENGTH_REQUIRED:
        # Of the transfer coding the application sees that nobody knows the length, and may ask for one (411). No sentence of ASGI speaks of it.
        trial.discourage(f"without a Content-Length, as with the chunked transfer coding: {difference}")
    return "the same response"


@BODY.case(
    "app.http.body-then-empty-final",
    _REQUEST,
    level=Level.MUST,
    says="If more_body is True, the consuming application should wait until it gets a chunk with this set to False.",
    takes=Takes.WRITE,
)
async def empty_end(trial: Trial, route: Route) -> str:
    """All of the body with more_body, then an empty message that ends it."""
    messages = body_messages([route.body], explicit_end=True)
    call = trial.call(trial.scope(route), messages[:1])
    early = await call.until(lambda: call.complete, _PAUSE)
    call.feed(messages[1])
    answer = await trial.answer(call)
    trial.same(await trial.reference(route), answer, "an empty message ends the body")
    if early and answer.ok:
        trial.discourage("answered before the message that ended the body")
    return "the same response"


@BODY.case(
    "app.http.slow-body",
    _REQUEST,
    level=Level.MUST,
    says="The application waits for the rest of a body, and serves others meanwhile.",
    takes=Takes.WRITE,
    ways=BOTH,
)
async def slow_body(trial: Trial, route: Route) -> str:
    """Pauses in the body, with another request between."""
    plain = await trial.reference(route)
    answer, other, overtook = await _beside_slow(trial, route, _PAUSE)
    if not overtook:
        answer, other, overtook = await _beside_slow(trial, route, max(_PAUSE, trial.limits.answer / _LONGER))
    trial.same(plain, answer, "the body with pauses")
    trial.same(plain, other, "another request meanwhile")
    trial.expect(overtook or answer.status >= 400, "another request had to wait for the slow one")  # noqa: PLR2004 - refused at once, from the head
    return "the same response"


async def _beside_slow(trial: Trial, route: Route, pause: float) -> tuple[Answer, Answer, bool]:
    """A body with pauses, and a plain request in the first of them: both answers, and whether the second came while the body was on its way."""
    slow = asyncio.ensure_future(trial.ask(Request(route, parts=_cut(route.body, 3), pause=pause)))
    try:
        await asyncio.sleep(pause / 2)
        other = await trial.ask(route)
        overtook = not slow.done()
        return await slow, other, overtook
    finally:
        slow.cancel()


@BODY.case(
    "app.http.large-body",
    "ASGI www, Request",
    level=Level.HARD,
    says="The body message serves as a way to stream large incoming HTTP bodies in chunks.",
    takes=Takes.WRITE,
)
async def large_body(trial: Trial, route: Route) -> str:
    """50 MB, as a server feeds them: a message each time it is asked for one."""
    before, after = multipart(route) or (b"", b"")
    junk = replace(route, body=before + bytes(_SMALL) + after)
    small = await trial.ask(junk)
    if small.crashed:
        # That is what app.http.bad-content-type is about.
        trial.skip(f"answers {_SMALL} bytes of nothing with {small}")
    count = _LARGE // _PIECE
    piece = bytes(_PIECE)
    size = len(before) + count * _PIECE + len(after)
    scope = trial.scope(replace(route, body=b""), fields=((b"content-length", b"%d" % size),))
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    tracemalloc.reset_peak()
    floor = tracemalloc.get_traced_memory()[0]
    began = time.monotonic()
    try:
        call = trial.call(scope)
        if before:
            call.feed({"type": "http.request", "body": before, "more_body": True})
        for _ in range(count):
            # The piece is one object: what grows is what the application keeps.
            call.feed({"type": "http.request", "body": piece, "more_body": True})
            await call.until(lambda: not call.backlog or call.complete, trial.limits.answer)
            if call.done or call.complete or call.backlog:
                break
        call.feed({"type": "http.request", "body": after, "more_body": False})
        answer = await trial.answer(call)
        peak = tracemalloc.get_traced_memory()[1] - floor
    finally:
        if not traced:
            tracemalloc.stop()
    await call.close(trial.limits.leave)
    trial.expect(not answer.crashed, f"50 MB: {answer}")
    if answer.status == _TOO_LARGE:
        return "413: larger than the application wants"
    trial.expect(peak < _GROWTH * _LARGE, f"50 MB took {peak >> 20} MB of memory")
    return f"{answer}, with {peak >> 20} MB of memory, in {time.monotonic() - began:.1f} s"
