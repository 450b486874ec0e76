"""Every case for applications can fail: it passes a good application, and catches a bad one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgi_conformance import RULES
from asgi_conformance.application.case import ApplicationCase, judge
from asgi_conformance.application.routes import parse_routes
from asgi_conformance.application.subject import Limits, Subject, UnusableError
from asgi_conformance.application.topics import TOPICS
from asgi_conformance.application.trial import Way
from asgi_conformance.case import Judgement, Level, Verdict, broken_verdict
from asgi_conformance.clauses import known_clause
from tests.conformance.bad_shops import BAD, Bad, good_middleware
from tests.conformance.shop import ROUTES, Shop, respond
from tests.conformance.test_lint import CASES as LINT_CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apps import Receive, Scope, Send

# A bad application never answers, or what it answers is wrong.
LIMITS = Limits(answer=1.0, leave=0.4, events=0.1, stall=0.2, hard=20.0)

CASES = [case for topic in TOPICS for case in topic]
EACH = [pytest.param(case, way, id=f"{case.id}-{way}") for case in CASES for way in case.ways]
LINT_ONLY = {"app.lint.no-unawaited", "app.lint.no-task-leak", "app.lint.field-syntax"}
"""Cases of lint that are no rules of the wrapper; they have their own tests below."""
WITHOUT_STIMULUS = {"app.lint.ext-advertised"}
"""The good shop uses no extension."""


@contextlib.contextmanager
def subject(bad: Bad, limits: Limits = LIMITS) -> Iterator[Subject]:
    made = Subject("shop", bad.app, parse_routes([bad.routes]), limits=limits, middleware=bad.middleware)
    try:
        yield made
    finally:
        made.close()


def judged(case: ApplicationCase, way: Way, bad: Bad) -> Judgement:
    with subject(bad) as made:
        judgement, trace = judge(case, made, way)
    assert judgement.verdict is not Verdict.FAIL or trace
    return judgement


@pytest.fixture(scope="module")
def good() -> Iterator[Subject]:
    with subject(Bad(routes=ROUTES, middleware=good_middleware), Limits(events=0.2)) as made:
        yield made


@pytest.mark.parametrize(("case", "way"), EACH)
def test_a_case_passes_a_good_application(case: ApplicationCase, way: Way, good: Subject) -> None:
    judgement, _ = judge(case, good, way)
    wanted = Verdict.INFO if case.level is Level.INFO else Verdict.UNSUPPORTED if case.id in WITHOUT_STIMULUS else Verdict.PASS
    assert judgement.verdict is wanted, judgement.reason


@pytest.mark.parametrize(("case", "way"), [param for param in EACH if not str(param.id).startswith("app.lint.")])
def test_a_case_catches_a_bad_application(case: ApplicationCase, way: Way) -> None:
    for bad in BAD[case.id][: 1 if way is Way.LIVE else None]:
        judgement = judged(case, way, bad)
        assert judgement.verdict is broken_verdict(case.level), judgement.reason
        if way is Way.IN_PROCESS:
            assert bad.says in judgement.reason


def test_there_is_a_bad_application_for_every_case_and_no_other() -> None:
    assert set(BAD) == {case.id for case in CASES} - {case.id for case in CASES if case.id.startswith("app.lint.")}


# ---- the rules of lint


class Breaking(Shop):
    """The shop, with an application of `test_lint` in the place of what is called in one kind of scope."""

    def __init__(self, app: Any, kind: str) -> None:
        self.app = app
        self.kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == self.kind and scope.get("path", "/ws") in {"/", "/ws"}:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def breaking(rule: str) -> tuple[Bad, str]:
    """The first application of `test_lint` that breaks the rule; and the level of what it breaks."""
    name = rule.removeprefix("app.lint.")
    found = [case for case in LINT_CASES if case.rule == name and not case.scope().get("extensions")]
    found = found or [case for case in LINT_CASES if case.rule == name and case.good is case.bad and case.scope().get("extensions")]
    # Where a rule has sentences of several levels, that of the rule itself.
    chosen = next((case for case in found if case.level == RULES[rule].level), found[0])
    return Bad(lambda: Breaking(chosen.bad, chosen.scope()["type"]), routes="/, ws:/ws"), chosen.level


@pytest.mark.parametrize("case", [case for case in CASES if case.id in RULES], ids=lambda case: case.id)
def test_a_rule_of_lint_catches_a_bad_application(case: ApplicationCase) -> None:
    bad, level = breaking(case.id)
    judgement = judged(case, Way.IN_PROCESS, bad)
    wanted = {"MUST": Verdict.FAIL, "SHOULD": Verdict.WARN, "HARD": Verdict.WARN, "INFO": Verdict.INFO}[level]
    assert judgement.verdict is wanted, judgement.reason


def test_every_rule_of_lint_is_a_case() -> None:
    assert {case.id for case in CASES if case.id.startswith("app.lint.")} == set(RULES) | LINT_ONLY


class Forgets(Shop):
    async def page(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.page(_scope, _receive, send)  # type: ignore[unused-coroutine]  # that is the mistake
        await respond(send, 200, b"done")


class LeavesTasks(Shop):
    async def page(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.task = asyncio.create_task(asyncio.sleep(30))
        await respond(send, 200, b"done")


@pytest.mark.parametrize(
    ("identifier", "way", "app", "says"),
    [
        ("app.lint.no-unawaited", Way.IN_PROCESS, Forgets, "was never awaited"),
        ("app.lint.no-task-leak", Way.LIVE, LeavesTasks, "left behind"),
    ],
)
def test_what_is_left_behind_is_told(identifier: str, way: Way, app: type[Shop], says: str) -> None:
    case = next(case for case in CASES if case.id == identifier)
    judgement = judged(case, way, Bad(app, routes="/"))
    assert judgement.verdict is Verdict.WARN
    assert says in judgement.reason


class WritesFieldsByHand(Shop):
    async def page(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        fields = [(b"content-type", b"text/html"), (b"date", b"yesterday"), (b"etag", b"abc"), (b"cache-control", b"max-age=long")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"done"})


def test_a_value_that_breaks_the_grammar_of_its_field_is_told() -> None:
    case = next(case for case in CASES if case.id == "app.lint.field-syntax")
    judgement = judged(case, Way.IN_PROCESS, Bad(WritesFieldsByHand, routes="/"))
    assert judgement.verdict is Verdict.WARN
    for what in ("Date", "ETag", "max-age"):
        assert what in judgement.reason


def test_without_httplint_the_grammar_of_fields_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httplint", None)
    case = next(case for case in CASES if case.id == "app.lint.field-syntax")
    judgement = judged(case, Way.IN_PROCESS, Bad(WritesFieldsByHand, routes="/"))
    assert judgement.verdict is Verdict.UNSUPPORTED
    assert "pip install httplint" in judgement.reason


class LeavesItsPump(Shop):
    """Its content comes from a task, which goes on when nobody is there to take it."""

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.pump = asyncio.create_task(asyncio.sleep(30))
        await super().stream(scope, receive, send)


class OneAtATime(Shop):
    """Whoever sends a body slowly keeps everybody else waiting."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    async def body(self, receive: Receive) -> bytes:
        async with self.lock:
            return await super().body(receive)


@pytest.mark.parametrize(
    ("identifier", "app", "says"),
    [
        ("app.http.disconnect-while-streaming", LeavesItsPump, "1 task(s) of the application go on"),
        ("app.http.slow-body", OneAtATime, "another request had to wait for the slow one"),
    ],
)
def test_a_second_mistake_that_a_case_catches(identifier: str, app: type[Shop], says: str) -> None:
    case = next(case for case in CASES if case.id == identifier)
    judgement = judged(case, Way.IN_PROCESS, Bad(app))
    assert judgement.verdict is broken_verdict(case.level)
    assert says in judgement.reason


# ---- the cases themselves


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_says_what_it_is(case: ApplicationCase) -> None:
    assert case.says.endswith(".")
    assert case.clauses
    assert case.ways
    for clause in case.clauses:
        assert known_clause(clause) is not None, clause


def test_ids_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


# ---- applications that are hard to call


class Blocks(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            time.sleep(3)  # noqa: ASYNC251 - what the test is about
        await super().page(scope, receive, send)


def test_an_application_that_blocks_the_loop_fails_and_the_next_case_has_another_loop() -> None:
    head, baseline = (next(case for case in CASES if case.id == name) for name in ("app.http.head", "app.http.baseline"))
    made = Subject("shop", Blocks, parse_routes(["/"]), limits=Limits(answer=1.0, leave=0.3, hard=1.0))
    try:
        judgement, _ = judge(head, made, Way.IN_PROCESS)
        assert judgement.verdict is Verdict.FAIL
        assert "the application blocks it" in judgement.reason
        assert judge(baseline, made, Way.IN_PROCESS)[0].verdict is Verdict.PASS
    finally:
        made.close()


class NeverStarts(Shop):
    async def start_up(self, _scope: Scope, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no database"})


@pytest.mark.parametrize("way", list(Way))
def test_an_application_that_does_not_start_is_an_error_and_no_failure(way: Way) -> None:
    case = next(case for case in CASES if case.id == "app.http.baseline")
    with pytest.raises(UnusableError, match="no database"):
        judged(case, way, Bad(NeverStarts))


def test_a_start_up_that_never_completes_is_not_blamed_on_the_state_that_is_missing() -> None:
    case = next(case for case in CASES if case.id == "app.life.no-state")
    judgement = judged(case, Way.IN_PROCESS, Bad(NeverStarts))
    assert judgement.verdict is Verdict.UNSUPPORTED
    assert "no database" in judgement.reason


def test_the_worst_verdict_counts_even_where_nothing_was_asked_that_is_not_known() -> None:
    case = next(case for case in CASES if case.id == "app.http.baseline")
    with subject(Bad(routes="/nowhere, /")) as made:
        verdicts = [judge(case, made, Way.IN_PROCESS)[0].verdict for _ in range(2)]
    assert verdicts == [Verdict.WARN, Verdict.WARN]


NOTHING_TO_DO = ["app.http.range", "app.http.chunked-body", "app.ws.cancel", "app.mw.overhead", "app.http.disconnect-send-noop"]


@pytest.mark.parametrize("identifier", NOTHING_TO_DO)
def test_a_case_without_anything_to_work_on_is_unsupported(identifier: str) -> None:
    case = next(case for case in CASES if case.id == identifier)
    judgement = judged(case, Way.IN_PROCESS, Bad(RandomBytes, routes="/"))
    assert judgement.verdict is Verdict.UNSUPPORTED
    assert judgement.reason


class RandomBytes(Shop):
    async def page(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, 200, b"plain")
