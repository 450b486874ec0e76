"""Faults by name: what a server does wrong while a block of a test runs.

The law of this module: names and rules, no bytes. A `Fault` is a value, a `Rule` says to which responses it is applied, and `Faults` holds the
rules of one server. What goes over the wire is `fault_transport`'s affair.

A rule is looked for when a response begins: what was on its way before the block is left alone, and what began inside of it and is held when the
block ends is let go at once. The names are WireMock's wherever it has the same fault.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import random
import re
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from pytest_asgiserve.fault_transport import FaultProtocol, Plan
from pytest_asgiserve.listening import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from asgiserve.core.exchange import Exchange
    from asgiserve.runtime.connection import AsyncioConnection
    from asgiserve.server import Server
    from pytest_asgiserve.fault_transport import FaultTransport

__all__ = ["Fault", "Faults", "Rule", "close", "delay", "dribble", "garbage", "malformed_chunk", "refuse", "reset", "stall"]

# Each of these ends the response, so that there can be one of them.
_ENDINGS: Final = frozenset({"reset", "close", "malformed_chunk", "garbage", "stall"})
# The longest that a block waits for the server's loop to do what it asked for: longer than any callback of an application should take.
_LOOP_WAIT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Made by the functions of this module, given to ``live_server.faults(...)``."""

    kind: str
    seconds: float = 0.0
    size: int = 0
    after_bytes: int = 0
    head: bool = False


def delay(seconds: float) -> Fault:
    """The response begins ``seconds`` late. Informational responses (100, 103) are not held up.

    Raises:
        TypeError: ``seconds`` is no number.
        ValueError: it is negative or not finite.
    """
    return Fault("delay", seconds=_seconds("delay", "seconds", seconds))


def dribble(size: int = 1, delay: float = 0.01, *, head: bool = False) -> Fault:
    """The body comes in pieces of at most ``size`` bytes, with ``delay`` seconds between two of them.

    Args:
        size: bytes; a piece is smaller where the application's own piece ends.
        delay: seconds.
        head: the head as well.

    Raises:
        TypeError: an argument is of another type.
        ValueError: ``size`` is less than 1, or ``delay`` negative or not finite.
    """
    if not isinstance(head, bool):
        raise TypeError(f"dribble: head must be True or False, not {head!r}")
    return Fault("dribble", seconds=_seconds("dribble", "delay", delay), size=_count("dribble", "size", size, least=1), head=head)


def reset(after_bytes: int = 0) -> Fault:
    """The connection is reset (TCP RST) after ``after_bytes`` of the response, head included, or at its end where that is shorter.

    The bytes before it are sent first, for as long as the client takes them. A UNIX socket knows no reset: it just ends.

    Raises:
        TypeError: ``after_bytes`` is no whole number.
        ValueError: it is negative.
    """
    return Fault("reset", after_bytes=_count("reset", "after_bytes", after_bytes))


def close(after_bytes: int = 0) -> Fault:
    """The connection is closed in order (FIN) after ``after_bytes`` of the response, head included, or at its end where that is shorter.

    On TLS, which cannot be half closed, a client that still sends may see a reset instead.

    Raises:
        TypeError: ``after_bytes`` is no whole number.
        ValueError: it is negative.
    """
    return Fault("close", after_bytes=_count("close", "after_bytes", after_bytes))


def malformed_chunk() -> Fault:
    """The head comes, as that of a chunked response, then a chunk that is none, then the connection is closed."""
    return Fault("malformed_chunk")


def garbage(size: int = 64) -> Fault:
    """Random bytes come instead of the response, the same for the same seed, then the connection is closed.

    Raises:
        TypeError: ``size`` is no whole number.
        ValueError: it is less than 1.
    """
    return Fault("garbage", size=_count("garbage", "size", size, least=1))


def stall(after_bytes: int = 0) -> Fault:
    """Nothing comes after ``after_bytes`` of the response, head included, while the connection stays open.

    When the block ends, the connection is reset: what came must not be taken for a complete response.

    Raises:
        TypeError: ``after_bytes`` is no whole number.
        ValueError: it is negative.
    """
    return Fault("stall", after_bytes=_count("stall", "after_bytes", after_bytes))


def refuse() -> Fault:
    """New connections are refused while the block runs; those that are open are served. Stands alone, and for the whole server.

    The address stays the server's. Such a rule's ``used`` stays 0: it is the system that refuses.
    """
    return Fault("refuse")


def _seconds(fault: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{fault}: {name} must be a number of seconds, not {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{fault}: {name} must be finite and not negative, not {value!r}")
    return float(value)


def _count(what: str, name: str, value: object, *, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}: {name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{what}: {name} must be {least} or more, not {value!r}")
    return value


class Rule:
    """Faults, and the responses that they are applied to. ``with live_server.faults(...) as rule`` gives one.

    Attributes:
        faults: what goes wrong.
        used: the number of responses that it was applied to so far.
    """

    def __init__(self, faults: tuple[Fault, ...], path: str | re.Pattern[str] | None, method: str | None, times: int | None, seed: int) -> None:
        _check_faults(faults)
        _check_target(path, method)
        if times is not None:
            _count("faults()", "times", times, least=1)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"faults(): seed must be a whole number, not {seed!r}")
        self.faults = faults
        self.path = path
        self.method = method
        self.times = times
        self.seed = seed
        self.used = 0
        self.over = False
        self.refuses = faults[0].kind == "refuse"
        if self.refuses and (path is not None or method is not None or times is not None):
            raise ValueError("faults(): refuse() is for all new connections; path, method and times do not go with it")
        # Not a secret: the same seed gives the same bytes.
        self._random = random.Random(seed)  # noqa: S311

    def matches(self, method: str, path: str) -> bool:
        """Whether a request with this method and path is meant, and the rule is not used up."""
        if self.refuses or (self.times is not None and self.used >= self.times) or (self.method is not None and method != self.method):
            return False
        wanted = self.path
        if wanted is None:
            return True
        if isinstance(wanted, str):
            return fnmatchcase(path, wanted) if "*" in wanted else path == wanted
        return wanted.fullmatch(path) is not None

    def plan(self) -> Plan:
        """What to do to one more response."""
        self.used += 1
        by_kind = {fault.kind: fault for fault in self.faults}
        ending = next((fault for fault in self.faults if fault.kind in _ENDINGS), None)
        pieces = by_kind.get("dribble")
        late = by_kind.get("delay")
        return Plan(
            delay=late.seconds if late is not None else 0.0,
            piece_size=pieces.size if pieces is not None else 0,
            piece_delay=pieces.seconds if pieces is not None else 0.0,
            piece_head=pieces is not None and pieces.head,
            ending=ending.kind if ending is not None else "",
            after_bytes=ending.after_bytes if ending is not None else 0,
            junk=self._random.randbytes(ending.size) if ending is not None and ending.kind == "garbage" else b"",
            is_over=lambda: self.over,
        )

    def __repr__(self) -> str:
        wanted = {"path": self.path, "method": self.method, "times": self.times}
        limits = "".join(f" {name}={value!r}" for name, value in wanted.items() if value is not None)
        return f"<Rule {'+'.join(fault.kind for fault in self.faults)}{limits} used={self.used}>"


def _check_faults(faults: tuple[Any, ...]) -> None:
    if not faults:
        raise ValueError("faults(): name at least one fault, as in faults(reset())")
    for fault in faults:
        if not isinstance(fault, Fault):
            hint = f"; call it: {fault.__name__}(...)" if callable(fault) and hasattr(fault, "__name__") else ""
            raise TypeError(f"faults(): {fault!r} is no fault{hint}")
    kinds = [fault.kind for fault in faults]
    if len(kinds) > 1 and "refuse" in kinds:
        raise ValueError("faults(): refuse() stands alone: a connection that is refused has no response")
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(f"faults(): {kind}() is there {kinds.count(kind)} times; a response has one of each")
    endings = [f"{kind}()" for kind in kinds if kind in _ENDINGS]
    if len(endings) > 1:
        raise ValueError(f"faults(): {' and '.join(endings)} do not go together: each ends the response")


def _check_target(path: object, method: object) -> None:
    if isinstance(path, re.Pattern):
        if not isinstance(path.pattern, str):
            raise TypeError(f"faults(): path must be a pattern for str, not for bytes: {path.pattern!r}")
    elif path is not None:
        if not isinstance(path, str):
            raise TypeError(f"faults(): path must be text or a compiled regular expression, not {path!r}")
        if not path.startswith(("/", "*")):
            raise ValueError(f"faults(): path={path!r} never matches: a path begins with '/' (it has no host and no query)")
    if method is not None:
        if not isinstance(method, str):
            raise TypeError(f"faults(): method must be text, not {method!r}")
        if method != method.upper() or not method:
            raise ValueError(f"faults(): method={method!r} never matches: methods are case-sensitive, as in 'GET'")


class Faults:
    """The rules of one server. They come and go in the thread of the test; where they apply is decided on the server's loop.

    An instrument gives every new connection to `wrap_protocol`. For `refuse` it must know the server: `attach`. Call `release_all` before the
    server stops.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: tuple[Rule, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        # Only touched on the loop.
        self._transports: set[FaultTransport] = set()
        self._refusal: Refusal | None = None

    def attach(self, server: Server) -> None:
        """The server that these rules are for."""
        self._server = server

    def apply(
        self,
        *faults: Fault,
        path: str | re.Pattern[str] | None = None,
        method: str | None = None,
        times: int | None = None,
        seed: int = 0,
    ) -> AbstractContextManager[Rule]:
        """While the block runs, responses go wrong. Where rules overlap, the innermost that matches and is not used up wins.

        Args:
            faults: one or several, for the same responses.
            path: only for requests with this path, percent-decoded and without the query: exact, or a glob with ``*`` (`fnmatch.fnmatchcase`; a ``*``
                matches slashes too), or a compiled regular expression that matches all of it.
            method: only for requests with this method.
            times: only for the first so many responses.
            seed: of the random bytes.

        Raises:
            TypeError: an argument is of another type.
            ValueError: an argument is impossible, or the faults do not go together.
            RuntimeError: on entering, `refuse` is not possible here.
        """
        rule = Rule(faults, path, method, times, seed)
        return self._applied(rule)

    @contextlib.contextmanager
    def _applied(self, rule: Rule) -> Iterator[Rule]:
        with self._lock:
            self._rules = (*self._rules, rule)
        try:
            if rule.refuses:
                self._refuse(rule)
            yield rule
        finally:
            with self._lock:
                rules = self._rules
                self._rules = tuple(other for other in rules if other is not rule)
            if rule in rules:
                self._release((rule,))

    def release_all(self) -> None:
        """End every rule now, as if its block had been left: nothing of it holds the server up. Any thread; returns when it is done."""
        with self._lock:
            rules, self._rules = self._rules, ()
        if rules:
            # Else the loop need not be asked, which costs time at the end of every test, and much of it where the application blocks it.
            self._release(rules)

    # The server's side.

    def wrap_protocol(self, connection: AsyncioConnection) -> FaultProtocol:
        """What the transport of a new connection is to call. Call it on the server's loop."""
        self._loop = asyncio.get_running_loop()
        return FaultProtocol(connection, self._loop, self.choose, self._transports)

    def choose(self, exchange: Exchange) -> Plan | None:
        """What to do to the response of ``exchange``, which begins; counted as one use of the rule. None: nothing."""
        rules = self._rules
        if not rules:
            return None
        head = exchange.head
        method = head.method.decode("latin-1")
        for rule in reversed(rules):
            if rule.matches(method, head.target.path):
                return rule.plan()
        return None

    # Across threads.

    def _release(self, rules: tuple[Rule, ...]) -> None:
        def release() -> None:
            for rule in rules:
                rule.over = True
            self._settle_refusal()
            for transport in list(self._transports):
                transport.release()

        loop = self._server.loop if self._loop is None and self._server is not None else self._loop
        if loop is None:
            # No connection so far.
            for rule in rules:
                rule.over = True
            return
        try:
            _on_loop(loop, release)
        except (TimeoutError, concurrent.futures.CancelledError):
            # The application blocks the loop, or it has ended. What was asked for is done as soon as it turns, if ever.
            return

    def _refuse(self, rule: Rule) -> None:
        server = self._server
        if server is None or not server.started:
            raise RuntimeError("refuse() needs a running server")

        def begin() -> None:
            if self._refusal is None and not rule.over:
                self._refusal = Refusal(server.pause_accepting(), server.config.bind.backlog)
                try:
                    self._refusal.begin()
                except BaseException:
                    self._refusal = None
                    server.resume_accepting()
                    raise

        try:
            _on_loop(server.loop, begin)
        except (TimeoutError, concurrent.futures.CancelledError):
            raise RuntimeError(f"refuse(): the server's loop did not turn for {_LOOP_WAIT:g} s; the application blocks it") from None

    def _settle_refusal(self) -> None:
        """Accept again where no rule is left that refuses."""
        refusal = self._refusal
        if refusal is None or self._server is None or any(rule.refuses for rule in self._rules):
            return
        self._refusal = None
        # A server that drains has closed its sockets.
        if self._server.started:
            refusal.end()
            self._server.resume_accepting()


def _on_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call ``function`` on ``loop``, from any thread, and wait for it; what it raises is raised here.

    Raises:
        TimeoutError: the loop did not turn.
        CancelledError: it is closed.
    """
    try:
        running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is loop:
        function()
        return
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def call() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - handed to the thread of the test
            done.set_exception(error)
        else:
            done.set_result(None)

    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        raise concurrent.futures.CancelledError from None
    done.result(_LOOP_WAIT)
