"""asgiserve: an ASGI server for production, and the ground of its test tools.

`run` serves an application from a script; `Server` serves one inside a running event loop. The command line is ``asgiserve module:app``.
"""

from __future__ import annotations

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
