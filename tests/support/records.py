"""What the server logged, for tests that look at it from another thread.

The law of this module: whoever waits for a record waits on a condition, with a deadline; and a count is taken only once the server has stopped.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from asgiserve.logs import AccessRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Records", "recording"]


class Records(logging.Handler):
    """Every record of ``asgiserve`` and its children, in order. Use `recording`."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._seen: list[logging.LogRecord] = []
        # Of a re-entrant lock: `wait` looks at the records while it holds it.
        self._changed = threading.Condition(threading.RLock())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, with its message formatted while its arguments are fresh."""
        record.getMessage()
        with self._changed:
            self._seen.append(record)
            self._changed.notify_all()

    def select(self, name: str = "asgiserve", level: int = logging.DEBUG) -> list[logging.LogRecord]:
        """The records of ``name`` and its children from ``level`` on."""
        with self._changed:
            return [record for record in self._seen if (record.name + ".").startswith(name + ".") and record.levelno >= level]

    def messages(self, name: str = "asgiserve", level: int = logging.DEBUG) -> list[str]:
        """Their messages."""
        return [record.getMessage() for record in self.select(name, level)]

    @property
    def errors(self) -> list[logging.LogRecord]:
        """What is a warning or worse."""
        return self.select(level=logging.WARNING)

    @property
    def access(self) -> list[AccessRecord]:
        """The access records."""
        found = (getattr(record, "access", None) for record in self.select("asgiserve.access"))
        return [access for access in found if isinstance(access, AccessRecord)]

    def wait(self, done: Callable[[Records], object], seconds: float = 10.0) -> None:
        """Wait until ``done(records)`` is true.

        Raises:
            AssertionError: it was not, in time.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not done(self):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not logged within {seconds:g} s; there was: {self.messages()}")
                self._changed.wait(left)


@contextlib.contextmanager
def recording(level: int = logging.INFO) -> Iterator[Records]:
    """Record what ``asgiserve`` logs from ``level`` on; the loggers are as before afterwards."""
    records = Records()
    loggers = [logging.getLogger("asgiserve"), logging.getLogger("asgiserve.access")]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    top, access = loggers
    top.setLevel(level)
    top.propagate = False
    top.handlers[:] = [records]
    access.setLevel(logging.NOTSET)
    access.propagate = True
    access.handlers[:] = []
    try:
        yield records
    finally:
        for logger, old_level, propagate, handlers in before:
            logger.setLevel(old_level)
            logger.propagate = propagate
            logger.handlers[:] = handlers
