"""How calls end: clients that go, sends that raise, receives that wait, cancellations (catalogue A2; ASGI www.rst).

The law of this module: as `asgi_conformance.application.case`. An application has some seconds to end after its client has gone (`Limits.leave`);
no text names a number, and a server waits no longer at its shutdown.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.case import BOTH, ApplicationTopic, Takes
from asgi_conformance.application.exchange import Request, answer_of
from asgi_conformance.application.trial import body_messages
from asgi_conformance.case import Level
from asgi_conformance.drive import Trace

if TYPE_CHECKING:
    from asgi_conformance.application.driver import Call
    from asgi_conformance.application.routes import Route
    from asgi_conformance.application.trial import Trial

__all__ = ["ENDING"]

ENDING: Final = ApplicationTopic("application/ending", "Disconnects, errors of send, cancellation")

_DISCONNECT: Final = "ASGI www, HTTP Disconnect"
_SEND_EXCEPTION: Final = "ASGI www, HTTP Disconnected Client"
_LATE: Final = 0.5
"""Seconds between a complete response and the end of its call."""
_SLOW_SEND: Final = 0.1
_LOOK: Final = 0.02
"""Seconds between two looks at what a server does."""
_SUCCESS: Final = range(200, 300)


async def _expect_end(trial: Trial, call: Call, what: str) -> None:
    ended = await call.ended(trial.limits.leave)
    trial.expect(ended, f"{what}: the application still runs {trial.limits.leave:g} s later")


def _expect_quiet(trial: Trial, call: Call, what: str) -> None:
    """Better no exception out of the application, and no error in the log, but for those of the send."""
    if call.escaped is not None:
        # No text forbids it; a server cannot tell it from a mistake, and logs it.
        trial.discourage(f"{what}: {type(call.escaped).__name__} left the application: {call.escaped}".rstrip(": "))
    if trial.logged:
        trial.discourage(f"{what}: it is logged as an error: {trial.logged[0]}")


@ENDING.case(
    "app.http.disconnect-before-body",
    _DISCONNECT,
    level=Level.MUST,
    says="http.disconnect is sent if receive is called after the HTTP connection has been closed; a body that it interrupts is not complete.",
    takes=Takes.WRITE,
    ways=BOTH,
)
async def disconnect_before_body(trial: Trial, route: Route) -> str:
    """The client has gone before the first byte of the body."""
    return await _interrupted(trial, route, b"")


@ENDING.case(
    "app.http.disconnect-mid-body",
    _DISCONNECT,
    "ASGI www, Request",
    level=Level.MUST,
    says="If more_body is True, the consuming application should wait until it gets a chunk with this set to False: half of a body is none.",
    takes=Takes.WRITE,
    ways=BOTH,
)
async def disconnect_mid_body(trial: Trial, route: Route) -> str:
    """The client has gone in the middle of the body."""
    return await _interrupted(trial, route, route.body[: len(route.body) // 2] or b"x")


async def _interrupted(trial: Trial, route: Route, sent: bytes) -> str:
    what = f"a disconnect after {len(sent)} of {len(route.body)} bytes"
    if trial.is_live:
        await asyncio.to_thread(_leave_live, trial, route, sent)
        return "ended"
    messages = [{"type": "http.request", "body": sent, "more_body": True}] if sent else []
    call = trial.call(trial.scope(route), messages)
    if sent:
        await call.until(lambda: not call.backlog, trial.limits.leave)
    call.refuse_from = None
    call.disconnect()
    await _expect_end(trial, call, what)
    answer = answer_of(call, seconds=trial.limits.answer)
    plain = (await trial.reference(route)).answer
    if plain.ok and answer.status in _SUCCESS and call.receives:
        # Nobody reads it; but it says that the application took a part for the whole.
        trial.expect(call.receives <= len(messages), f"{what}: answered {answer}, as if the body were complete")
    _expect_quiet(trial, call, what)
    return f"ended, {answer}"


def _leave_live(trial: Trial, route: Route, sent: bytes) -> None:
    """The same over the wire: the server tells the application."""
    server = trial.subject.live
    trace = Trace()
    trial.note(trace)
    fields = f"Host: {trial.subject.host}\r\nContent-Length: {len(route.body)}\r\n".encode()
    if route.content_type:
        fields += b"Content-Type: " + route.content_type + b"\r\n"
    with server.connect(timeout=trial.limits.answer) as raw:
        request = f"{route.method} {route.target} HTTP/1.1\r\n".encode() + fields + b"\r\n" + sent
        trace.note(">", request)
        raw.send(request)
        server.settle()
        trace.note("!", "the client resets the connection")
        raw.reset()
    idle = _idle(trial)
    errors = server.take_errors()
    trial.expect(idle, f"a disconnect after {len(sent)} bytes: the application still runs {trial.limits.leave:g} s later")
    trial.expect(not errors, f"a disconnect after {len(sent)} bytes: {errors[0] if errors else ''}")


def _idle(trial: Trial) -> bool:
    """Wait until the server has no running call; whether that came in time."""
    server = trial.subject.live
    deadline = time.monotonic() + trial.limits.leave
    while not server.settle():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK)
    return True


async def _streaming(trial: Trial, route: Route, **changes: Any) -> Call:
    """A call whose response has begun: its first content was sent."""
    call = trial.start(route, **changes)
    await call.until(lambda: any(one.get("body") for one in call.messages("http.response.body")), trial.limits.answer)
    return call


@ENDING.case(
    "app.http.disconnect-while-streaming",
    _SEND_EXCEPTION,
    _DISCONNECT,
    level=Level.SHOULD,
    says="If send() is called on a closed connection the server should raise OSError: applications may do cleanup work and end.",
    takes=Takes.STREAM,
    ways=BOTH,
)
async def disconnect_while_streaming(trial: Trial, route: Route) -> str:
    """The client goes in the middle of the content; every send raises from then on."""
    what = "a disconnect in the middle of the content"
    if trial.is_live:
        await asyncio.to_thread(_leave_stream, trial, route)
        return "ended"
    before = asyncio.all_tasks()
    call = await _streaming(trial, route)
    call.refuse_from = 0
    call.disconnect()
    await _expect_end(trial, call, what)
    _expect_quiet(trial, call, what)
    left = asyncio.all_tasks() - before
    if left:
        # One that was cancelled needs a turn of the loop.
        _, left = await asyncio.wait(left, timeout=trial.limits.leave)
    trial.expect(not left, f"{what}: {len(left)} task(s) of the application go on")
    return "ended"


def _leave_stream(trial: Trial, route: Route) -> None:
    server = trial.subject.live
    trace = Trace()
    trial.note(trace)
    with server.connect(timeout=trial.limits.answer) as raw:
        trace.note(">", f"GET {route.target}")
        raw.host = trial.subject.host
        raw.get(route.target)
        trace.note("<", f"{raw.read_head().status}")
        raw.read_exactly(1)
        trace.note("!", "the client resets the connection")
        raw.reset()
    idle = _idle(trial)
    errors = server.take_errors()
    trial.expect(idle, f"a disconnect in the middle of the content: the application still runs {trial.limits.leave:g} s later")
    trial.expect(not errors, f"a disconnect in the middle of the content: {errors[0] if errors else ''}")


@ENDING.case(
    "app.http.disconnect-send-noop",
    "ASGI, Error Handling",
    _DISCONNECT,
    level=Level.SHOULD,
    says=(
        "Note that messages received by a server after the connection has been closed are generally not considered errors unless specified by a "
        "protocol. If no error condition is specified, the send awaitable callable should act as a no-op."
    ),
    takes=Takes.STREAM,
)
async def disconnect_noop(trial: Trial, route: Route) -> str:
    """As an older server has it (spec_version 2.3): send does nothing, and only receive tells of the end."""
    if not (await trial.reference(route)).answer.endless:
        trial.skip("ends by itself")
    call = await _streaming(trial, route, asgi={"version": "3.0", "spec_version": "2.3"})
    call.dropping = True
    call.disconnect()
    await _expect_end(trial, call, "a disconnect of which only receive tells")
    return "ended: it watches receive"


@ENDING.case(
    "app.http.send-oserror",
    _SEND_EXCEPTION,
    # The sentence permits; that it is one of the two, and soon, is what a server needs.
    level=Level.HARD,
    says="Applications may catch this exception and do cleanup work before re-raising it or returning with no exception.",
    takes=Takes.ANY,
)
async def send_oserror(trial: Trial, route: Route) -> str:
    """The first, the second, and the last send raises, and each after it."""
    probe = trial.start(route)
    await trial.answer(probe)
    for number in sorted({1, 2, max(probe.attempts, 1)}):
        call = trial.start(route)
        call.refuse_from = number
        # From the first refusal on, receive tells it too, as it does on a server.
        await call.until(lambda: bool(call.refused), trial.limits.answer)  # noqa: B023 - called before the next
        refused = call.refused
        call.disconnect()
        what = f"send number {number} raised"
        await _expect_end(trial, call, what)
        _expect_quiet(trial, call, what)
        if call.refused > refused + 2:
            trial.discourage(f"{what}: the application tried {call.refused - refused} times more")
    answer = await trial.ask(route)
    trial.same(await trial.reference(route), answer, "the next request")
    return "handled, or handed on"


@ENDING.case(
    "app.http.receive-blocks",
    _DISCONNECT,
    level=Level.MUST,
    says="http.disconnect comes when a response has been sent or the connection is closed, and not before: receive waits until then.",
    takes=Takes.EVERY,
)
async def receive_blocks(trial: Trial, route: Route) -> str:
    """After the body, receive gives nothing more. A route that waits for it has no plain answer either: every route is tried."""
    plain = (await trial.reference(route)).answer
    if plain.endless or plain.raised:
        trial.skip(f"answers {plain}")
    call = trial.start(route, quiet_end=True)
    await call.until(lambda: call.complete, trial.limits.answer)
    waits = f"no response within {trial.limits.answer:g} s: it waits in receive, after the body"
    trial.expect(call.complete or call.done or not call.waits, waits)
    trial.same(await trial.reference(route), answer_of(call, seconds=trial.limits.answer), "receive waits after the body")
    if not await call.ended(_LATE):
        trial.discourage("it answers, and does not return before receive has told the end")
    return "it does not wait for another message"


@ENDING.case(
    "app.http.send-slow",
    "ASGI www, Response Body",
    level=Level.SHOULD,
    says="send returns when the data was flushed into the send buffer: with a slow client that takes its time.",
    takes=Takes.ANY,
)
async def send_slow(trial: Trial, route: Route) -> str:
    """Each send takes 100 ms."""
    call = trial.start(route)
    call.delay = _SLOW_SEND
    pieces = (await trial.reference(route)).answer.pieces
    await call.until(lambda: call.complete, trial.limits.answer + (pieces + 3) * _SLOW_SEND)
    await call.ended(trial.limits.events)
    trial.same(await trial.reference(route), answer_of(call, seconds=trial.limits.answer), "each send takes 100 ms")
    return "the same response"


@ENDING.case(
    "app.http.cancel",
    # It has to be an asyncio-compatible coroutine; that such a one can be cancelled is asyncio's rule.
    "ASGI, Overview",
    level=Level.HARD,
    says="A server that stops cancels what still runs: the application lets the cancellation through, and serves the next request.",
    takes=Takes.ANY,
)
async def cancel(trial: Trial, route: Route) -> str:
    """The application's task is cancelled while it waits in send."""
    plain = await trial.reference(route)
    call = trial.call(trial.scope(route), body_messages([route.body]))
    call.delay = 10 * trial.limits.hard
    await call.until(lambda: call.attempts > 0, trial.limits.answer)
    trial.expect(call.attempts, "no send within the time")
    call.task.cancel()
    await _expect_end(trial, call, "cancelled")
    answer = await trial.ask(Request(route))
    trial.same(plain, answer, "the request after a cancelled one")
    error = call.error
    if not isinstance(error, asyncio.CancelledError):
        trial.discourage(f"cancelled: it {'returned' if error is None else f'raised {type(error).__name__}'}")
    return "CancelledError, and the next request is served"
