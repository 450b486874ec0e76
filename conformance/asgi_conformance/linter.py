"""`lint`: a wrapper that checks what an application does, message by message; what Rack::Lint is to Rack and wsgiref.validate to WSGI.

    app = lint(app)

Rules of the catalogue that are not here, as messages alone do not show them:

- ``app.lint.field-syntax``: each field's own grammar is the work of a library (httplint), and nothing beside Python is needed here; the conformance
  suite asks that library.
- ``app.lint.no-task-leak``: a task does not say which call started it before Python 3.12; the pytest plugin's ``leaks`` finds them.
- ``app.lint.no-unawaited``: Python's own warnings, which belong to the process and not to a call; ``-W error`` shows them.

The law of this module: what is right passes unchanged, in its order, and the scope is the very object that came. No violation is lost: one that the
application caught is raised again at the end of its call. An exception of the application's own always leaves as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

from asgi_conformance.lint_http import HttpRules
from asgi_conformance.lint_lifespan import LifespanRules
from asgi_conformance.lint_messages import shown
from asgi_conformance.lint_websocket import WebSocketRules
from asgi_conformance.violations import RULES, LintError, LintWarning, Violation
from asgiserve.importer import as_asgi3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.violations import Level

__all__ = ["LintedApplication", "OnViolation", "lint", "origins"]

OnViolation = Literal["raise", "log"] | Callable[[Violation], object]
"""What is done about a violation: see `lint`."""

_logger = logging.getLogger("asgi_conformance.lint")
_LEVELS: Final = {"MUST": logging.ERROR, "SHOULD": logging.WARNING, "HARD": logging.WARNING, "INFO": logging.INFO}
# Places that are remembered, so that each is logged once. Paths are the client's: their number must not grow for ever.
_MAX_PLACES: Final = 4096
# Exceptions that a call remembers: one that sends for ever to a client that has gone must not fill the memory.
_MAX_KEPT: Final = 64
_BEATS: Final = 4  # per limit
_GONE: Final = object()
# What an application may put into, or its frameworks leave in, for the server's own use.
_FREE_KEYS: Final = frozenset({"state", "extensions"})

_RULES: Final[dict[str, Callable[..., HttpRules | WebSocketRules | LifespanRules]]] = {
    "http": HttpRules,
    "websocket": WebSocketRules,
    "lifespan": LifespanRules,
}


def lint(
    app: Any,
    *,
    on_violation: OnViolation = "raise",
    ignore: Iterable[str] = (),
    max_stall: float | None = None,
    logger: logging.Logger = _logger,
) -> LintedApplication:
    """``app``, with every message of it checked. Calls of a scope type other than http, websocket and lifespan pass untouched.

    Args:
        app: the application; one of ASGI 2 is called in its way.
        on_violation: ``raise``: a MUST raises `LintError` out of ``send`` before the message is sent, or out of the call where it shows only at its
            end; a SHOULD is a `LintWarning`; the rest is logged. ``log``: all is logged, once for each rule and place, on the logger
            ``asgi_conformance.lint``, and passed on. Or a function that is called with each `Violation`.
        ignore: ids of rules that are not wanted, as ``app.lint.content-type``.
        max_stall: seconds that the event loop, which is to be asyncio's, may be held up while the application runs; None does not look.
        logger: instead of ``asgi_conformance.lint``.

    Raises:
        ValueError: ``ignore`` names an unknown rule, or ``on_violation`` or ``max_stall`` is impossible.
        TypeError: ``app`` cannot be called.
    """
    if not callable(app):
        raise TypeError(f"lint() takes an application, not {shown(app)}")
    if on_violation not in {"raise", "log"} and not callable(on_violation):
        raise ValueError(f"on_violation={on_violation!r}: expected 'raise', 'log' or a function")
    ignored = frozenset([ignore] if isinstance(ignore, str) else ignore)
    unknown = ignored - RULES.keys()
    if unknown:
        raise ValueError(f"ignore: no rule {', '.join(sorted(unknown))}; the rules are {', '.join(RULES)}")
    if max_stall is not None and not 0 < max_stall < float("inf"):
        raise ValueError(f"max_stall={max_stall!r}: expected seconds, more than 0, or None")
    return LintedApplication(app, _Reporter(on_violation, ignored, logger), max_stall)


class LintedApplication:
    """What `lint` gives: an ASGI 3 application. ``app`` is the one that it checks."""

    def __init__(self, app: Any, reporter: _Reporter, max_stall: float | None) -> None:
        self.app = app
        self._single, _ = as_asgi3(app)
        self._reporter = reporter
        self._max_stall = max_stall

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application, and look at what it does."""
        kind = scope.get("type")
        if kind not in _RULES:
            await self._single(scope, receive, send)
            return
        call = _Call(kind, scope, receive, send, self._reporter)
        heart = _Heart(self._max_stall) if self._max_stall is not None else None
        cancelled = _cancelling()
        try:
            await self._single(scope, call.receive, call.send)
        except Exception as error:
            if heart is not None:
                heart.stop()
            call.raised(error, heart)
            raise
        except BaseException:
            if heart is not None:
                heart.stop()
            raise
        if heart is not None:
            heart.stop()
        call.returned(heart, swallowed=_cancelling() > cancelled)


class _Reporter:
    def __init__(self, on_violation: OnViolation, ignored: frozenset[str], logger: logging.Logger) -> None:
        self._logger = logger
        self._on_violation = on_violation
        self._ignored = ignored
        self._places: set[tuple[str, str]] = set()

    def report(self, rule_id: str, seen: str, where: str, level: Level | None) -> None:
        if rule_id in self._ignored:
            return
        rule = RULES[rule_id]
        violation = Violation(rule_id, level or rule.level, rule.sentence, rule.clauses, seen, where)
        if callable(self._on_violation):
            self._on_violation(violation)
        elif self._on_violation == "log" or violation.level in {"INFO", "HARD"}:
            self._log(violation)
        elif violation.level == "MUST":
            raise LintError(violation)
        else:
            # No line of the application's is on the stack at the end of a call: the text says where it was.
            warnings.warn(LintWarning(violation), stacklevel=2)

    def _log(self, violation: Violation) -> None:
        place = (violation.rule, violation.where)
        if place in self._places:
            return
        if len(self._places) >= _MAX_PLACES:
            self._places.clear()
        self._places.add(place)
        self._logger.log(_LEVELS[violation.level], "%s", violation)


class _Call:
    """One call: what the application gets as ``receive`` and ``send``, and what is looked at when it is over."""

    def __init__(self, kind: str, scope: Any, receive: Any, send: Any, reporter: _Reporter) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._reporter = reporter
        self._where = _describe(kind, scope)
        self._rules = _RULES[kind](scope, self._report)
        # What was raised into the application: it may let that out.
        self._ours: deque[BaseException] = deque(maxlen=_MAX_KEPT)
        # Of these, the violations.
        self._found: deque[BaseException] = deque(maxlen=_MAX_KEPT)
        self._before = dict(scope)
        headers = scope.get("headers")
        self._headers = list(headers) if isinstance(headers, list | tuple) else None

    def _report(self, rule: str, seen: str, level: Level | None = None) -> None:
        try:
            self._reporter.report(rule, seen, self._where, level)
        except BaseException as error:
            self._found.append(error)
            raise

    async def receive(self) -> Any:
        try:
            message = await self._receive()
        except BaseException as error:
            self._ours.append(error)
            raise
        self._rules.received(message)
        return message

    async def send(self, message: Any) -> None:
        checkpoint = self._rules.checkpoint()
        try:
            message = self._rules.sending(message)
        except BaseException as error:
            self._rules.restore(checkpoint)
            self._ours.append(error)
            raise
        try:
            await self._send(message)
        except BaseException as error:
            self._ours.append(error)
            if isinstance(error, OSError):
                self._rules.gone = True
            elif isinstance(error, Exception):
                # Refused: the application may send something else instead.
                self._rules.restore(checkpoint)
            raise

    def returned(self, heart: _Heart | None, *, swallowed: bool) -> None:
        """The application returned.

        Raises:
            LintError: it should not have yet; or it had caught one.
        """
        if self._found:
            raise self._found[0]
        self._rules.returned()
        self._look_around(heart)
        if swallowed:
            self._report("app.lint.unexpected-cancel", "the application was cancelled, and returned")

    def raised(self, error: Exception, heart: _Heart | None) -> None:
        """The application raised; that goes on its way, whatever is found here."""
        unanswered = isinstance(self._rules, LifespanRules) and not self._rules.answered
        with contextlib.suppress(Exception):  # a warning that is an error, or whatever on_violation raises: noted below
            if not (unanswered or self._rules.gone or self._is_ours(error)):
                self._report("app.lint.exception-escapes", f"{type(error).__name__} left the application")
            self._look_around(heart)
        for found in self._found:
            if found is not error:
                error.add_note(str(found))

    def _is_ours(self, error: BaseException) -> bool:
        """Whether ``error`` is, or was made of, what ``send`` or ``receive`` raised."""
        return any(each is ours for each in origins(error) for ours in self._ours)

    def _look_around(self, heart: _Heart | None) -> None:
        """What shows at every end: the scope as the caller finds it again, and the loop."""
        rule = "app.lint.scope-not-mutated"
        before, now = self._before, self._scope
        changed = [key for key in before if key not in _FREE_KEYS and key != "headers" and not _same(before[key], now.get(key, _GONE))]
        if "headers" in before and self._headers_changed(now.get("headers")):
            changed.append("headers")
        added = [key for key in now if key not in before and key not in _FREE_KEYS]
        if changed:
            self._report(rule, f"the scope's {', '.join(map(str, changed))} changed")
        if added:
            # What frameworks leave for their own use. Nobody upstream reads a key that the specification does not have.
            self._report(rule, f"the scope got {', '.join(map(str, added))}", "INFO")
        if heart is not None and heart.worst > heart.limit:
            self._report("app.lint.not-blocking", f"the event loop was held up for {heart.worst:.3f} s; the limit is {heart.limit:g} s")

    def _headers_changed(self, headers: Any) -> bool:
        """Whether the scope has other headers now. Starlette puts an equal list in the place of the one that came."""
        if self._headers is None:
            # An iterator: looking would use it up.
            return headers is not self._before["headers"]
        return not isinstance(headers, list | tuple) or list(headers) != self._headers


def origins(error: BaseException) -> Iterator[BaseException]:
    """``error``, and whatever it was made of: causes, contexts and members of groups; each once."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        yield each
        seen.add(id(each))
        pending += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            pending += each.exceptions


def _same(before: Any, now: Any) -> bool:
    """Whether a value of the scope is what it was, or equal to that."""
    return now is before or (type(now) is type(before) and bool(now == before))


def _describe(kind: str, scope: Any) -> str:
    if kind == "lifespan":
        return kind
    # The path is the client's, decoded: it must not begin a line of its own in a log.
    path = str(scope.get("path", "?"))
    return f"{scope.get('method', '?') if kind == 'http' else 'WebSocket'} {path if path.isprintable() else repr(path)}"


def _cancelling() -> int:
    """How often the current task was asked to end; 0 on an event loop that is not asyncio's."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return task.cancelling() if task is not None else 0


class _Heart:
    """Beats on the event loop, and knows how late its latest beat was.

    Args:
        limit: seconds.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.worst = 0.0
        self._loop = asyncio.get_running_loop()
        self._next()

    def _next(self) -> None:
        self._due = self._loop.time() + self.limit / _BEATS
        self._handle = self._loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        self._late()
        self._next()

    def _late(self) -> None:
        self.worst = max(self.worst, self._loop.time() - self._due)

    def stop(self) -> None:
        """The last beat may be due and not have come: the application held the loop up to its end."""
        self._late()
        self._handle.cancel()
