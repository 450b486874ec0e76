"""asgiserve: an ASGI server for production, and the ground of its test tools.

`run` serves an application from a script; `Server` serves one inside a running event loop. The command line is ``asgiserve module:app``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgiserve.errors import (
        ApplicationLoadError,
        AsgiserveError,
        BindError,
        ClientDisconnected,
        ConfigError,
        LifespanError,
        LocalProtocolError,
        StartupError,
    )
    from asgiserve.runtime.sockets import Address
    from asgiserve.server import Server
    from asgiserve.supervisor import run

__all__ = [
    "Address",
    "ApplicationLoadError",
    "AsgiserveError",
    "BindError",
    "ClientDisconnected",
    "ConfigError",
    "LifespanError",
    "LocalProtocolError",
    "Server",
    "StartupError",
    "__version__",
    "run",
]

__version__ = "0.1.0"

_HOMES = {"Address": "runtime.sockets", "Server": "server", "run": "supervisor"}


def __getattr__(name: str) -> Any:
    """PEP 562: a name is imported when it is asked for. pytest imports this package at every start, and `asgiserve.config` needs no event loop."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"asgiserve.{_HOMES.get(name, 'errors')}"), name)
