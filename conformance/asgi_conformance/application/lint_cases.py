"""The rules of `asgi_conformance.lint` as cases (catalogue A1): what every exchange of the run is held against.

The law of this module: a rule passes where the application did what it is about, and did it right; where it never did that, the rule is unsupported.
Each case makes the application do what it can (`_survey`), so that a verdict does not need the other cases of the run; what those saw counts as well.
"""

from __future__ import annotations

import asyncio
import gc
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.case import ApplicationTopic, Takes
from asgi_conformance.application.exchange import Request, pairs_of
from asgi_conformance.application.routes import Route
from asgi_conformance.application.trial import Way
from asgi_conformance.application.websocket_cases import open_session
from asgi_conformance.case import Level
from asgi_conformance.violations import RULES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping

    from asgi_conformance.application.trial import Trial
    from asgi_conformance.violations import Rule, Violation

    Seen = tuple[Mapping[str, Any], list[dict[str, Any]]]

__all__ = ["LINT"]

LINT: Final = ApplicationTopic("application/lint", "The rules of lint, on every exchange")

_NOWHERE: Final = "/asgi-conformance-6f1c2a/nowhere"
_COMPANIONS: Final = frozenset({301, 302, 303, 307, 308, 401, 405, 407, 416, 426, 206})
_WITHOUT_CONTENT: Final = frozenset({204, 205, 304})
_SUCCESS: Final = range(200, 300)
_MOST_TOLD: Final = 3
_EXTENSIONS: Final = ("http.response.push", "http.response.trailers", "http.response.pathsend", "http.response.zerocopysend")
_DENIAL: Final = "websocket.http.response"
_OVERVIEW: Final = "ASGI, Overview"
"""Where it says that an application is an asyncio-compatible coroutine, and how long a call lasts: nearest to what no sentence asks."""


_about_grammar: Final = re.compile(r"SYNTAX|BAD_(?:DATE|MAX_AGE|TARGET_URI|TYPE|URI|VALUE)|_INVALID|_MISSING_VALUE").search
"""Of the notes that httplint makes: those on a value that is not well-formed, and not those on caching or on what is missing."""


async def _survey(trial: Trial) -> None:
    """Have the application do what it can, once in a run."""
    if trial.subject.surveyed:
        return
    trial.subject.surveyed = True
    for route in [*await trial.routes(), Route("GET", _NOWHERE)]:
        if route.is_websocket:
            call = await open_session(trial, route)
            call.feed({"type": "websocket.receive", "text": "1", "bytes": None})
            await call.until(lambda: call.waits, trial.limits.leave)  # noqa: B023 - called before the next
            call.disconnect(code=1000, reason="")
            await call.ended(trial.limits.leave)
            continue
        plain = (await trial.reference(route)).answer
        for validator, condition in ((b"etag", b"if-none-match"), (b"last-modified", b"if-modified-since")):
            if plain.one(validator) and route.method == "GET":
                await trial.ask(Request(route, fields=((condition, plain.one(validator)),)))
        for method in ("HEAD", "OPTIONS"):
            if route.method == "GET":
                await trial.ask(Request(replace(route, method=method)))
    await trial.ask(Route("DELETE", _NOWHERE))
    refused = await open_session(trial, Route("WS", _NOWHERE))
    refused.disconnect(code=1006, reason="")
    await refused.ended(trial.limits.leave)


# What an exchange must have for a rule to have been tried.


def _starts(seen: Iterable[Seen]) -> Iterator[dict[str, Any]]:
    for _, sent in seen:
        yield from (one for one in sent if str(one.get("type")).endswith("response.start"))


def _headed(seen: Iterable[Seen]) -> bool:
    return any(one.get("headers") for _, sent in seen for one in sent)


def _kind(name: str) -> Callable[[list[Seen]], bool]:
    return lambda seen: any(scope["type"] == name and sent for scope, sent in seen)


def _sent(*kinds: str) -> Callable[[list[Seen]], bool]:
    return lambda seen: any(one.get("type") in kinds for _, sent in seen for one in sent)


def _with_status(statuses: Container[Any]) -> Callable[[list[Seen]], bool]:
    return lambda seen: any(one.get("status") in statuses for one in _starts(seen))


def _with_length(seen: list[Seen]) -> bool:
    return any(name.lower() == b"content-length" for one in _starts(seen) for name, _ in pairs_of(one))


def _anything(seen: list[Seen]) -> bool:
    return any(sent for _, sent in seen)


def _extended(seen: list[Seen]) -> bool:
    return _sent(*_EXTENSIONS, "http.response.early_hint", "http.response.debug", f"{_DENIAL}.start")(seen)


_TRIED: Final[dict[str, tuple[Callable[[list[Seen]], bool], str]]] = {
    "start-first": (_kind("http"), "a response"),
    "start-followed-by-body": (_kind("http"), "a response"),
    "completed": (_kind("http"), "a response"),
    "no-send-after-complete": (_kind("http"), "a response"),
    "status-int-range": (_kind("http"), "a response"),
    "header-shape": (_headed, "a message with headers"),
    "header-lowercase": (_headed, "a message with headers"),
    "header-name-token": (_headed, "a message with headers"),
    "header-no-pseudo": (_headed, "a message with headers"),
    "header-value-ctl": (_headed, "a message with headers"),
    "header-singletons": (_headed, "a message with headers"),
    "no-hop-by-hop": (_headed, "a message with headers"),
    "cl-valid": (_with_length, "a content-length"),
    "cl-matches": (_with_length, "a content-length"),
    "no-body-204-304-205": (_with_status(_WITHOUT_CONTENT), "a response 204, 205 or 304"),
    "body-bytes": (_sent("http.response.body"), "a body"),
    "content-type": (_with_status(_SUCCESS), "a successful response"),
    "status-companions": (_with_status(_COMPANIONS), "a response whose status needs a field beside it"),
    "ws-order": (_kind("websocket"), "a WebSocket"),
    "ws-send-one-of": (_sent("websocket.send"), "a WebSocket message"),
    "ws-close-code": (_sent("websocket.close"), "a websocket.close"),
    "ws-subprotocol-offered": (_sent("websocket.accept"), "a websocket.accept"),
    "ws-accept-headers": (_sent("websocket.accept"), "a websocket.accept"),
    "ext-advertised": (_extended, "a message of an extension"),
}


def _case(rule: Rule) -> Callable[[Trial, Any], Awaitable[str | None]]:
    tried, what = _TRIED.get(rule.id.removeprefix("app.lint."), (_anything, "a message"))

    async def play(trial: Trial, _route: None) -> str:
        await _survey(trial)
        seen = [*trial.subject.seen, *trial.exchanges]
        lifespan = trial.subject.inside.lifespan
        if rule.id == "app.lint.life-order":
            if lifespan.outcome == "raised":
                trial.skip(f"there is no lifespan: {lifespan.message}")
        elif not tried(seen) and not _found(trial, rule.id):
            trial.skip(f"the application never sent {what}")
        return _judged(trial, _found(trial, rule.id), rule)

    return play


def _found(trial: Trial, rule: str) -> list[Violation]:
    return [one for one in trial.subject.violations if one.rule == rule]


def _judged(trial: Trial, found: list[Violation], rule: Rule) -> str:
    for level in ("MUST", "SHOULD", "HARD"):
        those = list(dict.fromkeys(f"{one.where}: {one.seen}" for one in found if one.level == level))
        if not those:
            continue
        told = "; ".join(those[:_MOST_TOLD]) + (f"; and {len(those) - _MOST_TOLD} more" if len(those) > _MOST_TOLD else "")
        # A weaker sentence of the rule; and of a held-up loop a busy machine may be the reason.
        if level != "MUST" and rule.level != "SHOULD":
            trial.discourage(told)
        trial.expect(holds=False, otherwise=told)
    return f"kept, with a remark: {found[0].where}: {found[0].seen}" if found else "kept"


for _rule in RULES.values():
    LINT.case(
        _rule.id,
        *(_rule.clauses or (_OVERVIEW,)),
        level=Level(_rule.level),
        says=f"{_rule.sentence[0].upper()}{_rule.sentence[1:]}.",
        takes=Takes.NOTHING,
    )(_case(_rule))


@LINT.case(
    "app.lint.field-syntax",
    "RFC 9110 §2.2",
    "RFC 9110 §5.5",
    level=Level.SHOULD,
    says="Each field's value keeps to the grammar that its own definition gives it.",
    takes=Takes.NOTHING,
)
async def field_syntax(trial: Trial, _route: None) -> str:
    """What httplint says of every response's fields, as far as it is about their grammar."""
    try:
        from httplint import HttpResponseLinter, levels  # noqa: PLC0415 - needed by nobody else, and not by who has it not
    except ImportError:
        trial.skip("httplint is not installed: pip install httplint")
    await _survey(trial)
    starts = [one for one in _starts([*trial.subject.seen, *trial.exchanges]) if isinstance(one.get("status"), int)]
    if not any(one.get("headers") for one in starts):
        trial.skip("the application never sent a response with headers")
    told: dict[str, None] = {}
    for start in starts:
        linter = HttpResponseLinter()
        linter.process_response_topline(b"HTTP/1.1", b"%d" % start["status"], b"")
        linter.process_headers(pairs_of(start))
        linter.finish_content(complete=True)
        found = [note for note in linter.notes if note.level in {levels.BAD, levels.WARN} and _about_grammar(type(note).__name__)]
        told |= dict.fromkeys(str(note.summary) for note in found)
    trial.expect(not told, "; ".join(list(told)[:_MOST_TOLD]))
    return "kept"


@LINT.case(
    "app.lint.no-unawaited",
    _OVERVIEW,
    level=Level.HARD,
    says="No coroutine is left without being awaited, and no resource without being closed.",
    takes=Takes.NOTHING,
)
async def no_unawaited(trial: Trial, _route: None) -> str:
    """Python's own warnings, while each route is called."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=ResourceWarning)
        warnings.filterwarnings("always", message=".*was never awaited", category=RuntimeWarning)
        for route in await trial.routes():
            if not route.is_websocket:
                await trial.ask(route)
        gc.collect()
    told = list(dict.fromkeys(f"{one.category.__name__}: {one.message}" for one in caught))
    if told:
        # Not all need be the application's.
        trial.discourage("; ".join(told[:_MOST_TOLD]))
    return "no warning"


@LINT.case(
    "app.lint.no-task-leak",
    _OVERVIEW,
    level=Level.HARD,
    says="A call leaves nothing behind on the event loop when it has returned.",
    takes=Takes.NOTHING,
    ways=(Way.LIVE,),
)
async def no_task_leak(trial: Trial, _route: None) -> str:
    """Each route over the wire, and what is there afterwards."""
    server = trial.subject.live
    for route in await trial.routes():
        if not route.is_websocket and not (await trial.reference(route)).answer.endless:
            await trial.ask(route)
    leaks = await asyncio.to_thread(server.leaks)
    if leaks:
        # A task in the background may be meant.
        trial.discourage(f"{len(leaks)} left behind: {leaks[0]}")
    return "nothing"
