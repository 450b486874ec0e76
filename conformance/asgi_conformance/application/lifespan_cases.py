"""Calls at the same time, and the lifespan (catalogue A3; ASGI asgi.rst, lifespan.rst).

The law of this module: as `asgi_conformance.application.case`. Cases of the lifespan run it themselves, on an event loop of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.case import BOTH, ApplicationTopic, Takes
from asgi_conformance.application.driver import CALLER, Call, LoopThread
from asgi_conformance.application.exchange import Request, answer_of
from asgi_conformance.application.lifespan import Lifespan
from asgi_conformance.application.scopes import http_scope
from asgi_conformance.application.trial import body_messages
from asgi_conformance.case import Level

if TYPE_CHECKING:
    from asgi_conformance.application.exchange import Answer
    from asgi_conformance.application.routes import Route
    from asgi_conformance.application.trial import Trial

__all__ = ["CONCURRENCY", "LIFESPAN"]

CONCURRENCY: Final = ApplicationTopic("application/concurrency", "Calls at the same time")
LIFESPAN: Final = ApplicationTopic("application/lifespan", "The lifespan of an application")

_APPLICATIONS: Final = "ASGI, Applications"
_LIFESPAN: Final = "ASGI lifespan, Scope"
_STATE: Final = "ASGI lifespan, Lifespan State"

_CALLS: Final = 50
_LIVE_CALLS: Final = 20
_STEP: Final = 0.002


@CONCURRENCY.case(
    "app.conc.parallel",
    _APPLICATIONS,
    level=Level.MUST,
    says="An application is called once for each connection: nothing of one call is seen in another.",
    takes=Takes.ANY,
    ways=BOTH,
)
async def parallel(trial: Trial, route: Route) -> str:
    """Many calls at once, each with its own tag in query, fields and body, one message after the other."""
    plain = await trial.reference(route)
    tags = [f"asgiconformance{number:03d}x" for number in range(_LIVE_CALLS if trial.is_live else _CALLS)]
    requests = [_tagged(route, tag) for tag in tags]
    if trial.is_live:
        answers = await asyncio.gather(*(trial.ask(request) for request in requests))
    else:
        answers = await _interleaved(trial, requests)
    for tag, answer in zip(tags, answers, strict=True):
        trial.expect(not answer.failure, f"{len(tags)} calls at once: {answer}")
        # With a tag in it the content may differ; and a strict application may refuse an unknown parameter, all of them.
        text = answer.body + b" ".join(value for _, value in answer.fields)
        strange = [other for other in tags if other != tag and other.encode() in text]
        trial.expect(not strange, f"the answer to the request tagged {tag} has the tag {strange[0] if strange else ''} of another")
    statuses = {answer.status for answer in answers}
    trial.expect(len(statuses) == 1, f"{len(tags)} calls of the same kind at once are answered with {sorted(statuses)}")
    if plain.stable and not route.takes_body:
        whole = [answer for answer in answers if len(answer.body) == 0 and plain.answer.body]
        trial.expect(not whole, f"{len(whole)} of {len(tags)} calls at once have no content")
    reflected = sum(tag.encode() in answer.body for tag, answer in zip(tags, answers, strict=True))
    trial.expect(reflected in {0, len(tags)}, f"{reflected} of {len(tags)} answers have the tag of their request, the others have not")
    return f"{len(tags)} at once, each its own answer"


def _tagged(route: Route, tag: str) -> Request:
    body = route.body
    if body and not route.content_type.startswith((b"application/json", b"multipart/")):
        body = tag.encode() * 3
    separator = "&" if "?" in route.target else "?"
    tagged = replace(route, target=f"{route.target}{separator}tag={tag}", body=body)
    return Request(tagged, fields=((b"x-conformance-tag", tag.encode()), (b"cookie", b"tag=" + tag.encode())))


async def _interleaved(trial: Trial, requests: list[Request]) -> list[Answer]:
    calls = []
    for request in requests:
        call = trial.call(trial.scope(request.route, fields=request.fields))
        call.delay = _STEP
        calls.append(call)
    messages = [body_messages([request.route.body[:1], request.route.body[1:]] if request.route.body else [b""]) for request in requests]
    for step in range(max(map(len, messages))):
        for call, own in zip(calls, messages, strict=True):
            if step < len(own):
                call.feed(own[step])
                await asyncio.sleep(0)
    return list(await asyncio.gather(*(trial.answer(call) for call in calls)))


@CONCURRENCY.case(
    "app.conc.contextvars",
    _APPLICATIONS,
    level=Level.SHOULD,
    says="A context variable that is set around a call has its value wherever that call sends, and nobody else's.",
    takes=Takes.READ,
)
async def context_variables(trial: Trial, route: Route) -> str:
    """Two calls with different values, interleaved."""
    calls = {}
    for name in ("one", "two"):
        context = contextvars.copy_context()
        context.run(CALLER.set, name)
        calls[name] = context.run(trial.call, trial.scope(route))
        calls[name].delay = _STEP
    for call in calls.values():
        call.feed(*body_messages([route.body]))
    for name, call in calls.items():
        await trial.answer(call)
        trial.expect(call.contexts <= {name}, f"in the call {name!r} the context is that of {sorted(call.contexts - {name})}")
    return "each sees its own"


@CONCURRENCY.case(
    "app.conc.after-error",
    "ASGI, Error Handling",
    level=Level.MUST,
    says="A call that failed ends itself alone: the next one is served.",
    takes=Takes.ANY,
    ways=BOTH,
)
async def after_error(trial: Trial, route: Route) -> str:
    """Calls that fail in several ways, and then a plain one."""
    plain = await trial.reference(route)
    for other in await trial.routes():
        if not other.is_websocket and (await trial.reference(other)).answer.crashed:
            await trial.ask(other)
    if trial.is_live:
        trial.same(plain, await trial.ask(route), "the request after errors")
        return "served"
    for refused in (1, 2):
        call = trial.start(route)
        call.refuse_from = refused
        await call.ended(trial.limits.leave)
        await call.close(trial.limits.leave)
    call = trial.call(trial.scope(route))
    call.disconnect()
    await call.ended(trial.limits.leave)
    await call.close(trial.limits.leave)
    broken = trial.call(trial.scope(route), lawful=False)
    broken.task.cancel()
    await broken.ended(trial.limits.leave)
    trial.same(plain, await trial.ask(route), "the request after errors")
    return "served"


# The lifespan.


async def _started(trial: Trial, *, with_state: bool = True) -> Lifespan:
    """The lifespan of the bare application, started; its state is in the scopes from now on."""
    made = Lifespan(trial.subject.linted, with_state=with_state)
    await made.start(trial.limits.answer)
    trial.note(made.call.trace)
    trial.subject.inside.lifespan = made
    return made


async def _first_read(trial: Trial) -> Route:
    for route in await trial.routes():
        if route.method == "GET" and (await trial.reference(route)).answer.ok:
            return route
    return trial.skip("there is no route that answers GET with success")


@LIFESPAN.case(
    "app.life.supported",
    _LIFESPAN,
    level=Level.INFO,
    says="If an exception is raised when calling the application with a lifespan scope, the server must continue but not send any lifespan events.",
    takes=Takes.NOTHING,
    bare=True,
)
async def supported(trial: Trial, _route: None) -> str:
    """Which of the three it does."""
    life = await _started(trial)
    return life.message


@LIFESPAN.case(
    "app.life.unsupported-raises",
    "ASGI, Protocol Specifications",
    level=Level.SHOULD,
    says="Applications should raise an exception for a scope type that they do not know; a return is taken for support.",
    takes=Takes.NOTHING,
    bare=True,
)
async def unsupported_raises(trial: Trial, _route: None) -> str:
    """A type that nobody knows."""
    scope = {"type": "nonsense", "asgi": {"version": "3.0"}}
    call = trial.call(scope, lawful=False)
    ended = await call.ended(trial.limits.leave)
    trial.expect(ended, "the scope type 'nonsense': it waits")
    trial.expect(call.error is not None, "the scope type 'nonsense': it returned")
    trial.expect(not call.sent, f"the scope type 'nonsense': it sent {call.sent[0].get('type') if call.sent else ''}")
    return f"raised {type(call.error).__name__}"


@LIFESPAN.case(
    "app.life.return-early",
    "ASGI lifespan, Startup Complete",
    level=Level.SHOULD,
    says="The application answers lifespan.startup with complete or failed, or raises: one that returns leaves the server to guess.",
    takes=Takes.NOTHING,
    bare=True,
)
async def return_early(trial: Trial, _route: None) -> str:
    """What it does with lifespan.startup."""
    life = await _started(trial)
    trial.expect(life.outcome not in {"returned", "silent"}, f"the start-up: {life.message}")
    if life.outcome == "complete":
        await life.call.ended(0.05)
        if life.call.done:
            trial.discourage("returned behind lifespan.startup.complete: it is not told of the shutdown")
    return life.message


@LIFESPAN.case(
    "app.life.shutdown-completes",
    "ASGI lifespan, Shutdown Complete",
    level=Level.MUST,
    says="Sent by the application when it has completed its cleanup. A server must wait for this message before terminating.",
    takes=Takes.NOTHING,
    bare=True,
)
async def shutdown_completes(trial: Trial, _route: None) -> str:
    """Start and stop."""
    life = await _started(trial)
    if life.outcome != "complete":
        trial.skip(f"no lifespan to shut down: {life.message}")
    whole = await life.stop(trial.limits.answer)
    failed = life.call.messages("lifespan.shutdown.failed")
    trial.expect(whole or failed, f"no lifespan.shutdown.complete and return within {trial.limits.answer:g} s")
    if failed:
        trial.discourage(f"lifespan.shutdown.failed: {failed[0].get('message', '')!r}")
    return "lifespan.shutdown.complete, and it returned"


@LIFESPAN.case(
    "app.life.no-state",
    _STATE,
    level=Level.MUST,
    says="state is optional; if missing the server does not support this feature.",
    takes=Takes.NOTHING,
    bare=True,
)
async def no_state(trial: Trial, _route: None) -> str:
    """A lifespan without state: it works, or says what is missing."""
    life = await _started(trial, with_state=False)
    if life.outcome == "complete":
        return "works"
    clear = life.outcome in {"failed", "raised"} and "state" in life.message.lower()
    if not clear and (plain := await _again(trial)).outcome == life.outcome:
        if life.outcome == "raised":
            # It has no lifespan, and says so.
            return life.message
        trial.skip(f"its start-up does not complete with state either: {plain.message}")
    trial.expect(clear, f"a lifespan without state: {life.message}")
    return life.message


async def _again(trial: Trial) -> Lifespan:
    """A plain start-up beside, which says whether there is a lifespan at all."""
    life = Lifespan(trial.subject.app)
    await life.start(trial.limits.answer)
    await life.stop(trial.limits.answer)
    return life


@LIFESPAN.case(
    "app.life.state-requests",
    _STATE,
    level=Level.MUST,
    says="The server will ensure that a shallow copy of the namespace is passed into each subsequent request/response call into the application.",
    takes=Takes.NOTHING,
    bare=True,
)
async def state_requests(trial: Trial, _route: None) -> str:
    """With a copy of the state; and without any, where it must not hang."""
    routes = [route for route in await trial.routes() if route.method == "GET"]
    for route in routes:
        answer = await trial.ask(route, lawful=False)
        hangs = answer.failure and not answer.raised and not answer.endless
        trial.expect(not hangs, f"{route} without a lifespan and its state: {answer}; expected a response or an error")
    life = await _started(trial)
    if life.outcome != "complete":
        trial.skip(f"no lifespan: {life.message}")
    trial.subject.inside.references.clear()
    for route in routes:
        before = dict(life.state or {})
        first, second = await trial.ask(route), await trial.ask(route)
        trial.expect(first.status == second.status, f"{route}: {first}, and with a fresh copy of the state {second}")
        trial.expect(dict(life.state or {}) == before, f"{route}: a request changed the namespace of the lifespan")
    return "requests have their copies"


@LIFESPAN.case(
    "app.life.restart",
    _LIFESPAN,
    level=Level.SHOULD,
    says="The lifespan exists for the duration of the event loop: in one process there may be several, one after the other.",
    takes=Takes.NOTHING,
    bare=True,
)
async def restart(trial: Trial, _route: None) -> str:
    """Start, stop, and start again, as test runs do."""
    life = await _started(trial)
    if life.outcome != "complete":
        trial.skip(f"no lifespan: {life.message}")
    route = await _first_read(trial)
    plain = await trial.reference(route)
    await life.stop(trial.limits.answer)
    again = await _started(trial)
    trial.expect(again.outcome == "complete", f"the second start-up: {again.message}")
    trial.same(plain, await trial.ask(route), f"{route} after a restart")
    return "works"


@LIFESPAN.case(
    "app.life.requests-without-lifespan",
    _LIFESPAN,
    level=Level.INFO,
    says="A server may have no lifespan: what requests are then.",
    takes=Takes.NOTHING,
    bare=True,
)
async def without_lifespan(trial: Trial, _route: None) -> str:
    """Requests to an application that was not started."""
    routes = [route for route in await trial.routes() if route.method == "GET"]
    return "; ".join([f"{route}: {await trial.ask(route, lawful=False)}" for route in routes[:4]]) or "no route to ask"


@CONCURRENCY.case(
    "app.conc.other-loop-thread",
    _APPLICATIONS,
    level=Level.INFO,
    says="An application that was called on one event loop is called on another, with its lifespan run there.",
    takes=Takes.NOTHING,
    bare=True,
)
async def other_loop(trial: Trial, _route: None) -> str:
    """What comes of it."""
    life = await _started(trial)
    route = await _first_read(trial)
    await life.stop(trial.limits.answer)
    thread = LoopThread(trial.subject.noise)
    try:
        answer: Answer = await asyncio.to_thread(thread.run, _call_there(trial, route), 4 * trial.limits.answer)
    finally:
        await asyncio.to_thread(thread.close)
    return f"{route} on another loop: {answer}"


async def _call_there(trial: Trial, route: Route) -> Answer:
    """For the other loop: start, ask, stop."""
    limits = trial.limits
    life = Lifespan(trial.subject.app)
    await life.start(limits.answer)
    scope: dict[str, Any] = http_scope(route, host=trial.subject.host, state=life.state)
    call = Call(trial.subject.app, scope, body_messages([route.body]))
    await call.until(lambda: call.complete, limits.answer)
    answer = answer_of(call, seconds=limits.answer)
    await call.close(limits.leave)
    await life.stop(limits.answer)
    return answer
