"""Errors that a framework answers itself, so that no server ever sees them.

Starlette and FastAPI raise an unhandled error again once they have answered 500. Django, Quart and Litestar log it and let the server believe that
all is well. They tell whoever asks, though, each in its own documented way.

The law of this module: a framework is only touched where it is imported already, through its public interface, and left as it was found.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["listening_to_frameworks"]

_SERVER_ERROR: Final = 500


@contextlib.contextmanager
def listening_to_frameworks(app: Any, report: Callable[[BaseException], None]) -> Iterator[None]:
    """While the block runs, ``report`` is called with each unhandled error that Django, Quart or Litestar answers, in the context of the request.

    Args:
        app: the loaded application; a Litestar is only recognised where nothing is wrapped around it.
        report: takes the exception; it must not raise.
    """
    with contextlib.ExitStack() as listeners:
        if "django.core.signals" in sys.modules:
            listeners.enter_context(_django(report))
        if "quart.signals" in sys.modules:
            listeners.enter_context(_quart(report))
        if "litestar.app" in sys.modules and isinstance(app, sys.modules["litestar.app"].Litestar):
            listeners.enter_context(_litestar(app, report))
        yield


@contextlib.contextmanager
def _django(report: Callable[[BaseException], None]) -> Iterator[None]:
    """Django: the signal got_request_exception, which is sent while the exception is handled."""
    signal = sys.modules["django.core.signals"].got_request_exception

    def told(**_: object) -> None:
        error = sys.exception()
        if error is not None:
            report(error)

    signal.connect(told, weak=False)
    try:
        yield
    finally:
        signal.disconnect(told)


@contextlib.contextmanager
def _quart(report: Callable[[BaseException], None]) -> Iterator[None]:
    """Quart: the signals got_request_exception and got_websocket_exception."""
    signals = sys.modules["quart.signals"]

    async def told(_sender: object, *, exception: BaseException, **_: object) -> None:
        report(exception)

    both = (signals.got_request_exception, signals.got_websocket_exception)
    for signal in both:
        signal.connect(told, weak=False)
    try:
        yield
    finally:
        for signal in both:
            signal.disconnect(told)


@contextlib.contextmanager
def _litestar(app: Any, report: Callable[[BaseException], None]) -> Iterator[None]:
    """Litestar: its after_exception hooks, which are called for a 404 as well."""

    async def told(exception: BaseException, _scope: object) -> None:
        if getattr(exception, "status_code", _SERVER_ERROR) >= _SERVER_ERROR:
            report(exception)

    app.after_exception.append(told)
    try:
        yield
    finally:
        app.after_exception.remove(told)
