"""What a case has in its hands while it runs: ways to call the application, and ways to say what is wrong.

The law of this module: every call that is made through a trial is over when the trial is closed.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.driver import Call
from asgi_conformance.application.exchange import Answer, Reference, Request, answer_of, ask_live
from asgi_conformance.application.scopes import http_scope, websocket_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import NoReturn

    from asgi_conformance.application.routes import Route
    from asgi_conformance.application.subject import Limits, Subject

__all__ = ["BrokenRuleError", "DiscouragedError", "NothingToDoError", "Trial", "Way", "body_messages"]

_SETTLE: Final = 0.5
"""Seconds for a call to return behind its complete response. What goes on is background work, which is not judged."""
_OTHER_LOOP: Final = ("is bound to a different event loop", "attached to a different loop")
"""What asyncio says of an object that is used on another loop than that on which it was used first."""
_MOST_SHOWN: Final = 4
"""Exchanges in the report of a failure: the latest."""


class Way(enum.StrEnum):
    """How the application is called."""

    IN_PROCESS = "in-process"
    LIVE = "live"
    """Behind a server, over a socket."""


class BrokenRuleError(Exception):
    """The rule of the case is broken."""


class DiscouragedError(Exception):
    """Lawful and discouraged."""


class NothingToDoError(Exception):
    """The application has nothing that the case is about."""


def body_messages(parts: Sequence[bytes], *, explicit_end: bool = False) -> list[dict[str, Any]]:
    """The messages of a body; with ``explicit_end`` an empty one ends it."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if explicit_end or not messages:
        return [*messages, {"type": "http.request", "body": b"", "more_body": False}]
    messages[-1]["more_body"] = False
    return messages


class Trial:
    """One run of one case for one route.

    Args:
        subject: the application.
        way: how it is called.
    """

    def __init__(self, subject: Subject, way: Way) -> None:
        self.subject = subject
        self.way = way
        self._calls: list[Call] = []
        self._watched: list[Call] = []
        self._traces: list[Any] = []
        self._noise = subject.noise.number

    @property
    def limits(self) -> Limits:
        """How long things may take."""
        return self.subject.limits

    @property
    def is_live(self) -> bool:
        """Whether a server is between."""
        return self.way is Way.LIVE

    # Saying what is wrong.

    def expect(self, holds: object, otherwise: str) -> None:
        """Go on where something holds.

        Raises:
            BrokenRuleError: it does not.
        """
        if not holds:
            raise BrokenRuleError(otherwise)

    def discourage(self, reason: str) -> NoReturn:
        """The application does something lawful that it had better not do.

        Raises:
            DiscouragedError: always.
        """
        raise DiscouragedError(reason)

    def skip(self, reason: str) -> NoReturn:
        """There is nothing to judge.

        Raises:
            NothingToDoError: always.
        """
        raise NothingToDoError(reason)

    def same(self, reference: Reference, answer: Answer, what: str) -> None:
        """Expect the same response as to a plain request.

        Raises:
            BrokenRuleError: it is another.
        """
        difference = reference.difference(answer)
        self.expect(not difference, f"{what}: {difference}")

    @property
    def logged(self) -> list[str]:
        """Errors that were logged since the trial began."""
        return self.subject.noise.since(self._noise)

    def note(self, trace: Any) -> None:
        """Show this too where the case fails."""
        self._traces.append(trace)

    @property
    def exchanges(self) -> list[tuple[Mapping[str, Any], list[dict[str, Any]]]]:
        """The scope and the messages of the calls of this trial that lint looks at."""
        return [(call.scope, call.sent) for call in self._watched]

    # Calling in process.

    @property
    def state(self) -> Mapping[str, Any] | None:
        """What is copied into scopes."""
        return self.subject.inside.lifespan.state

    def scope(self, route: Route, *, fields: Iterable[tuple[bytes, bytes]] = (), **changes: Any) -> dict[str, Any]:
        """The scope of a call."""
        if route.is_websocket:
            return websocket_scope(route, host=self.subject.host, state=self.state, **changes)
        return http_scope(route, host=self.subject.host, state=self.state, fields=fields, **changes)

    def call(self, scope: dict[str, Any], messages: Iterable[Mapping[str, Any]] = (), *, lawful: bool = True, quiet_end: bool = False) -> Call:
        """Call the application.

        Args:
            scope: for it.
            messages: that it receives.
            lawful: whether a server may do what is done to it in this call; only then its answers are looked at by lint.
            quiet_end: see `Call`.
        """
        call = Call(self.subject.linted if lawful else self.subject.app, scope, messages, quiet_end=quiet_end)
        self._calls.append(call)
        self._traces.append(call.trace)
        if lawful:
            self._watched.append(call)
        return call

    def adopt(self, call: Call) -> Call:
        """Take a call of something else into this trial: it is shown with it, and ended with it."""
        self._calls.append(call)
        self._traces.append(call.trace)
        return call

    def start(self, route: Route, *, quiet_end: bool = False, **changes: Any) -> Call:
        """Call the application with a whole request for a route."""
        return self.call(self.scope(route, **changes), body_messages([route.body]), quiet_end=quiet_end)

    async def answer(self, call: Call) -> Answer:
        """Wait for the response of a call, and for its end."""
        await call.until(lambda: call.complete or call.start is not None, self.limits.answer)
        so_far = answer_of(call, seconds=self.limits.answer)
        await call.until(lambda: call.complete, self.limits.events if so_far.is_events else self.limits.answer)
        await call.ended(_SETTLE if call.complete else 0)
        answer = answer_of(call, seconds=self.limits.answer)
        if answer.endless:
            call.refuse_from = 0
            call.disconnect()
            await call.ended(self.limits.leave)
        return answer

    # Either way.

    async def ask(self, request: Request | Route, *, lawful: bool = True) -> Answer:
        """Send a request; the answer.

        Raises:
            NothingToDoError: the application has objects of the event loop on which it ran before. A server in production has one loop: that is
                no fault, and nothing can be judged here.
        """
        answer = await self._ask(request, lawful=lawful)
        if any(words in answer.raised for words in _OTHER_LOOP):
            raise NothingToDoError(f"the application has objects of another event loop; run these cases alone (-k {self.way}): {answer.raised}")
        return answer

    async def _ask(self, request: Request | Route, *, lawful: bool) -> Answer:
        request = (request if isinstance(request, Request) else Request(request)).resolved()
        if self.is_live:
            server = self.subject.live
            answer = await asyncio.to_thread(ask_live, server, request, host=self.subject.host, seconds=self.limits.answer, events=self.limits.events)
            errors = await asyncio.to_thread(server.take_errors)
            answer.raised = "; ".join(str(error) for error in errors if error.exception is not None)[:300]
            # The server answers for an application that does not.
            answer.failure = answer.failure or next((error.detail for error in errors if error.exception is None), "")
            self._traces.append(answer.trace)
            return answer
        changes = dict(request.changes)
        if request.http_version != "1.1":
            changes.setdefault("http_version", request.http_version)
        fields = request.fields
        parts = request.body
        if request.chunked:
            fields = (*fields, (b"transfer-encoding", b"chunked"))
        scope = self.scope(replace(request.route, body=b"".join(parts)), fields=fields, **changes)
        if not request.with_host:
            scope["headers"] = [one for one in scope["headers"] if one[0] != b"host"]
        messages = body_messages(parts)
        if not request.pause:
            return await self.answer(self.call(scope, messages, lawful=lawful))
        call = self.call(scope, messages[:1], lawful=lawful)
        for message in messages[1:]:
            await asyncio.sleep(request.pause)
            call.feed(message)
        return await self.answer(call)

    async def reference(self, route: Route) -> Reference:
        """What the route answers to plain requests; asked for once in a run."""
        known = self.subject.live_references if self.is_live else self.subject.inside.references
        if route not in known:
            answers = [await self.ask(route)]
            if not answers[0].failure and not answers[0].endless:
                answers.append(await self.ask(route))
                other: dict[str, Any] = {} if self.is_live else {"changes": {"client": ("127.0.0.2", 49999)}}
                answers.append(await self.ask(Request(route, fields=((b"user-agent", b"asgi-conformance/2"), (b"x-conformance", b"1")), **other)))
            known[route] = Reference(answers)
        return known[route]

    async def routes(self) -> Sequence[Route]:
        """The routes of the application."""
        return await self.subject.find_routes(self.ask)

    # The end.

    def shown(self) -> str:
        """What went to and fro, and what was logged."""
        parts = [str(trace) for trace in self._traces[-_MOST_SHOWN:]]
        if self.logged:
            parts.append("logged:\n" + "\n".join(f"  {line}" for line in self.logged[-5:]))
        return "\n\n".join(parts)

    async def close(self) -> int:
        """End all calls; how many did not end."""
        left = 0
        for call in self._calls:
            left += not await call.close(self.limits.leave)
        self.subject.seen += self.exchanges
        self._calls.clear()
        self._watched.clear()
        return left
