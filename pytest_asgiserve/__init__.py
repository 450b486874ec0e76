"""``live_server``: a real server for each test. The fixtures come by themselves with ``pip install 'asgiserve[pytest]'``.

What is here is for type annotations (`LiveServer`), for `faults`, and for servers that are made by hand. Nothing is imported before it is used:
this package is imported at every start of pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_asgiserve import faults
    from pytest_asgiserve.failures import ApplicationError
    from pytest_asgiserve.leaks import Leak
    from pytest_asgiserve.live import ApplicationErrorWarning, LeakError, LeakWarning, LiveServer
    from pytest_asgiserve.plugin import LiveServerFactory
    from pytest_asgiserve.raw import RawConnection, RawResponse
    from pytest_asgiserve.recorder import RecordedExchange
    from pytest_asgiserve.unstoppable import StartTimeoutError, StopTimeoutError
    from pytest_asgiserve.websocket import WebSocketClient, WebSocketClosed, WebSocketRejected, WebSocketTimeout

__all__ = [
    "ApplicationError",
    "ApplicationErrorWarning",
    "Leak",
    "LeakError",
    "LeakWarning",
    "LiveServer",
    "LiveServerFactory",
    "RawConnection",
    "RawResponse",
    "RecordedExchange",
    "StartTimeoutError",
    "StopTimeoutError",
    "WebSocketClient",
    "WebSocketClosed",
    "WebSocketRejected",
    "WebSocketTimeout",
    "faults",
]

_HOMES = {
    "ApplicationError": "failures",
    "ApplicationErrorWarning": "live",
    "Leak": "leaks",
    "LeakError": "live",
    "LeakWarning": "live",
    "LiveServer": "live",
    "LiveServerFactory": "plugin",
    "RawConnection": "raw",
    "RawResponse": "raw",
    "RecordedExchange": "recorder",
    "StartTimeoutError": "unstoppable",
    "StopTimeoutError": "unstoppable",
    "WebSocketClient": "websocket",
    "WebSocketClosed": "websocket",
    "WebSocketRejected": "websocket",
    "WebSocketTimeout": "websocket",
}


def __getattr__(name: str) -> Any:
    """PEP 562: a name is imported when it is asked for."""
    if name == "faults":
        return importlib.import_module("pytest_asgiserve.faults")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"pytest_asgiserve.{_HOMES[name]}"), name)
