"""What a case for applications is: a function that calls the application as a text allows, and what it found.

The law of this module: as `asgi_conformance.case`. A case runs once for each route that fits it, and the worst verdict counts. Where none fits, it is
unsupported.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.application.driver import BlockedError
from asgi_conformance.application.trial import BrokenRuleError, DiscouragedError, NothingToDoError, Trial, Way
from asgi_conformance.case import Judgement, Level, Verdict, broken_verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from asgi_conformance.application.routes import Route
    from asgi_conformance.application.subject import Subject

__all__ = ["BOTH", "IN_PROCESS", "ApplicationCase", "ApplicationTopic", "Takes", "judge"]

IN_PROCESS: Final = (Way.IN_PROCESS,)
BOTH: Final = (Way.IN_PROCESS, Way.LIVE)
_ORDER: Final = (Verdict.FAIL, Verdict.ERROR, Verdict.WARN, Verdict.INFO, Verdict.PASS, Verdict.UNSUPPORTED)


class Takes(enum.Enum):
    """Which routes a case is run for."""

    NOTHING = "nothing"
    """It runs once, without any."""
    EVERY = "HTTP route"
    """As they are, whatever they answer."""
    READ = "route that answers GET with success"
    WRITE = "route that takes a body"
    """POST, PUT or PATCH, whose answer is none of a failure."""
    ANY = "route that answers with success"
    """READ and WRITE."""
    ONE = "route that answers GET"
    """The first of READ: for what takes long."""
    STREAM = "route that streams"
    """GET, whose content comes in several messages or has no end."""
    WEBSOCKET = "WebSocket route (name one: --asgi-app-paths ws:/chat)"
    MIDDLEWARE = "middleware (name one: --asgi-middleware package.module:Middleware)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationCase:
    """One case.

    Args:
        id: as in the catalogue; it never changes.
        says: the sentence of the standard, or of what is expected where there is none.
        clauses: see `asgi_conformance.case.Case`.
        level: of the clause.
        takes: which routes it is run for.
        ways: in process, behind a server, or both.
        play: plays it; what it returns is the reason of a pass.
        bare: the application has not been started: the case runs the lifespan itself, or goes without.
    """

    id: str
    says: str
    clauses: tuple[str, ...]
    level: Level
    takes: Takes
    ways: tuple[Way, ...]
    play: Callable[[Trial, Any], Awaitable[str | None]]
    bare: bool = False


class ApplicationTopic:
    """The cases of one file.

    Args:
        name: ``application/http``, as in the test ids.
        title: for reports.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self._cases: dict[str, ApplicationCase] = {}

    def case(
        self, identifier: str, *clauses: str, level: Level, says: str, takes: Takes, ways: tuple[Way, ...] = IN_PROCESS, bare: bool = False
    ) -> Callable[[Callable[[Trial, Any], Awaitable[str | None]]], Callable[[Trial, Any], Awaitable[str | None]]]:
        """Add a case, which the decorated coroutine function plays; arguments as of `ApplicationCase`.

        Raises:
            ValueError: its id is taken.
        """

        def add(play: Callable[[Trial, Any], Awaitable[str | None]]) -> Callable[[Trial, Any], Awaitable[str | None]]:
            if identifier in self._cases:
                raise ValueError(f"the case {identifier} is there twice")
            self._cases[identifier] = ApplicationCase(
                id=identifier, says=says, clauses=clauses, level=level, takes=takes, ways=ways, play=play, bare=bare
            )
            return play

        return add

    def __iter__(self) -> Iterator[ApplicationCase]:
        return iter(self._cases.values())

    def __len__(self) -> int:
        return len(self._cases)


def judge(case: ApplicationCase, subject: Subject, way: Way) -> tuple[Judgement, str]:
    """Run a case on an application; the verdict, and what went to and fro where it is the worst.

    Raises:
        UnusableError: it does not start.
        ApplicationLoadError: it cannot be loaded.
    """
    trial: list[Trial] = []
    try:
        if way is Way.LIVE:
            _ = subject.live
            return asyncio.run(_judge(case, subject, way, trial))
        with subject.bare() if case.bare else contextlib.nullcontext():
            judgement: tuple[Judgement, str] = subject.inside.run(_judge(case, subject, way, trial))
            return judgement
    except TimeoutError as error:
        return Judgement(Verdict.ERROR, str(error)), trial[-1].shown() if trial else ""
    except BlockedError as error:
        return Judgement(Verdict.FAIL, str(error)), trial[-1].shown() if trial else ""


async def _judge(case: ApplicationCase, subject: Subject, way: Way, trials: list[Trial]) -> tuple[Judgement, str]:
    scout = Trial(subject, way)
    trials.append(scout)
    try:
        routes, why_not = await _fitting(case.takes, scout)
    finally:
        await scout.close()
    worst, shown = Judgement(Verdict.UNSUPPORTED, why_not or f"there is no {case.takes.value}"), ""
    for number, route in enumerate(routes):
        trial = Trial(subject, way)
        trials.append(trial)
        label = f"{route}: " if route is not None else ""
        judgement = await _play(case, trial, route, label)
        if _ORDER.index(judgement.verdict) < _ORDER.index(worst.verdict) or number == 0:
            worst, shown = judgement, trial.shown()
        if judgement.verdict is Verdict.FAIL:
            break
    return worst, shown


async def _play(case: ApplicationCase, trial: Trial, route: Route | None, label: str) -> Judgement:
    try:
        reason = await case.play(trial, route)
        judgement = Judgement(Verdict.INFO if case.level is Level.INFO else Verdict.PASS, f"{label}{reason or ''}".rstrip(": "))
    except NothingToDoError as nothing:
        judgement = Judgement(Verdict.UNSUPPORTED, f"{label}{nothing}")
    except DiscouragedError as found:
        judgement = Judgement(Verdict.WARN, f"{label}{found}")
    except BrokenRuleError as found:
        judgement = Judgement(broken_verdict(case.level), f"{label}{found}")
    finally:
        left = await trial.close()
    if left and judgement.verdict in {Verdict.PASS, Verdict.INFO, Verdict.UNSUPPORTED}:
        # Whatever the case was about: a call that cannot be ended hangs a server.
        judgement = Judgement(Verdict.FAIL, f"{label}the application cannot be cancelled: {left} call(s) went on")
    return judgement


async def _fitting(takes: Takes, scout: Trial) -> tuple[list[Route | None], str]:
    """The routes that a case is run for; and where there is none, why."""
    if takes is Takes.NOTHING:
        return [None], ""
    if takes is Takes.MIDDLEWARE:
        return ([None], "") if scout.subject.middleware is not None else ([], "")
    routes = await scout.routes()
    if takes is Takes.WEBSOCKET:
        return [route for route in routes if route.is_websocket], ""
    http = [route for route in routes if not route.is_websocket]
    if takes is Takes.EVERY:
        return list(http), ""
    found: list[Route | None] = []
    reasons: list[str] = []
    for route in http:
        if takes is Takes.WRITE and not route.takes_body:
            continue
        if takes in {Takes.READ, Takes.ONE, Takes.STREAM} and route.method != "GET":
            continue
        reason = await _misfit(takes, scout, route)
        if reason:
            reasons.append(f"{route} {reason}")
        else:
            found.append(route)
            if takes is Takes.ONE:
                break
    return found, ": ".join([f"there is no {takes.value}", *(["; ".join(reasons)] if reasons else [])])


async def _misfit(takes: Takes, scout: Trial, route: Route) -> str:
    """Why a route does not fit; empty where it does."""
    plain = (await scout.reference(route)).answer
    if plain.crashed or (plain.refused and takes is not Takes.WRITE):
        return f"answers {plain}"
    if takes is Takes.STREAM:
        return "" if plain.ok and (plain.endless or plain.pieces > 1) else "does not stream"
    if plain.endless:
        return "has no end"
    return ""
