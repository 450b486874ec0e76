"""What went wrong in an application under test, and how a test hears of it.

The law of this module: no error of an application is lost. It is collected on the server's loop before the client can see its effect, stays until
somebody expects it or a report shows it, and is shown once.
"""

from __future__ import annotations

import re
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_asgiserve.frames import format_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

__all__ = ["ApplicationError", "ExpectedError", "Failures", "describe_errors", "format_errors", "is_departure"]


@dataclass(frozen=True, slots=True)
class ApplicationError:
    """One failure of the application.

    ``exception`` is None where it returned without a complete response. ``method`` and ``target`` are empty where it was no request that failed, but
    the ``lifespan``, something that runs in the ``background``, or the ``process`` as such; ``place`` says which.
    """

    detail: str
    exception: BaseException | None
    method: str = ""
    target: str = ""
    place: str = "request"

    @property
    def where(self) -> str:
        """The request, or what else failed."""
        return f"{self.method} {self.target}".strip() or self.place

    def __str__(self) -> str:
        where = self.where
        if self.place == "process":
            return self.detail
        if self.exception is None:
            return f"{where}: {self.detail}"
        exception = _unwrap(self.exception)
        text = "".join(traceback.format_exception_only(exception)).strip()
        return f"{where}: {text.splitlines()[0] if text else type(exception).__name__}{_raised_at(exception)}"


def _unwrap(error: BaseException, wanted: tuple[type[BaseException], ...] = ()) -> BaseException:
    """The exception that a task group has wrapped, which it does with a single one too; a group that is ``wanted`` itself is left as it is."""
    while isinstance(error, BaseExceptionGroup) and not isinstance(error, wanted) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _raised_at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


class Failures:
    """The errors of one server that nobody has dealt with yet. Filled on the server's loop, read and emptied in the test's thread."""

    def __init__(self) -> None:
        self._errors: list[ApplicationError] = []
        self._changed = threading.Condition()

    def add(self, error: ApplicationError) -> None:
        """One more."""
        with self._changed:
            self._errors.append(error)
            self._changed.notify_all()

    def peek(self) -> list[ApplicationError]:
        """What is there."""
        with self._changed:
            return self._errors[:]

    def take(self, wanted: Callable[[ApplicationError], bool] = lambda _: True) -> list[ApplicationError]:
        """Take out those that are ``wanted``."""
        with self._changed:
            taken = [error for error in self._errors if wanted(error)]
            self._errors = [error for error in self._errors if not wanted(error)]
            return taken

    def wait(self, wanted: Callable[[ApplicationError], bool], seconds: float) -> list[ApplicationError]:
        """As `take`, but wait until there is one, at most ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: any(wanted(error) for error in self._errors), seconds)
            return self.take(wanted)

    def __len__(self) -> int:
        with self._changed:
            return len(self._errors)


class ExpectedError:
    """What ``live_server.expect_error(...)`` gives: it wants an error of the application, as `pytest.raises` wants one of the test.

    Args:
        failures: where it will be.
        settle: waits until the server has caught up; returns whether it has nothing to do any more.
        expected: the class, or several.
        match: searched for in the exception's text.
        timeout: seconds to wait for a request that runs on.

    ``value`` is the exception, and ``errors`` are all that matched, once the block is left.
    """

    def __init__(
        self,
        failures: Failures,
        settle: Callable[[], bool],
        expected: type[BaseException] | tuple[type[BaseException], ...],
        match: str | re.Pattern[str] | None,
        timeout: float,
    ) -> None:
        self._failures = failures
        self._settle = settle
        self._expected = expected
        self._match = re.compile(match) if match is not None else None
        self._timeout = timeout
        self.errors: list[ApplicationError] = []

    @property
    def value(self) -> BaseException:
        """The exception that the application raised.

        Raises:
            AttributeError: the block is not left yet.
        """
        for error in self.errors:
            if error.exception is not None:
                return error.exception
        raise AttributeError("the error is there after the `with` block, not inside of it")

    def _fits(self, error: ApplicationError) -> bool:
        exception = error.exception
        if exception is None:
            return False
        exception = _unwrap(exception, self._expected if isinstance(self._expected, tuple) else (self._expected,))
        return isinstance(exception, self._expected) and (self._match is None or self._match.search(str(exception)) is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        __tracebackhide__ = True
        idle = self._settle()
        if kind is not None or idle:
            self.errors = self._failures.take(self._fits)
        else:
            # A request still runs and may raise yet.
            self.errors = self._failures.wait(self._fits, self._timeout)
        if kind is not None:
            return
        if not self.errors:
            names = self._expected if isinstance(self._expected, tuple) else (self._expected,)
            wanted = " or ".join(name.__name__ for name in names) + (f" that matches {self._match.pattern!r}" if self._match is not None else "")
            others = self._failures.peek()
            instead = "; it raised " + ", and ".join(str(other) for other in others) if others else ""
            raise AssertionError(f"the application raised no {wanted}{instead}")


# What frameworks make of the disconnect event for a handler that waits for more; FastAPI's are Starlette's.
_DISCONNECTS: Final = {"ClientDisconnect", "WebSocketDisconnect"}
_FRAMEWORKS: Final = {"starlette", "litestar"}


def is_departure(error: BaseException) -> bool:
    """Whether ``error`` only says, in a framework's words, that the client has gone.

    ``while True: await websocket.receive_text()`` ends so with every client, and is no fault that a test should fail for.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(is_departure(inner) for inner in error.exceptions)
    return any(kind.__name__ in _DISCONNECTS and kind.__module__.partition(".")[0] in _FRAMEWORKS for kind in type(error).__mro__)


def describe_errors(errors: Sequence[ApplicationError]) -> str:
    """One line each, for a failure's message. A single one stands in the first line, which is all that pytest's summary shows."""
    if len(errors) == 1:
        return str(errors[0]) if errors[0].place == "process" else f"unhandled error in {errors[0]}"
    return "\n".join([f"{len(errors)} unhandled errors in the application:", *(f"  {error}" for error in errors)])


def format_errors(errors: Sequence[ApplicationError], *, full: bool = False) -> str:
    """Every error with its traceback, for a section of the report; ``full`` with every frame of every framework."""
    parts = []
    for error in errors:
        head = f"--- {error.where}: {error.detail}"
        parts.append(head if error.exception is None else f"{head}\n{format_error(error.exception, full=full)}")
    return "\n".join(parts)
