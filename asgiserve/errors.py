"""Every exception of asgiserve, and nothing else. Imports nothing of ours.

The law of this module: an exception names the one who can do something about it.

- `RemoteProtocolError`: the peer broke a rule. Answered with its status, never raised past the connection.
- `LocalProtocolError`: the application broke a rule. Raised out of the awaited ``send()``.
- `ClientDisconnected`: the peer is gone. Raised out of ``send()``; an application may let it pass.
- `ConfigError`, `ApplicationLoadError`, `StartupError`, `LifespanError`, `BindError`: the person who starts the server can mend it; each
  is one clear line.
"""

from __future__ import annotations

__all__ = [
    "ApplicationLoadError",
    "AsgiserveError",
    "BindError",
    "ClientDisconnected",
    "ConfigError",
    "LifespanError",
    "LocalProtocolError",
    "RemoteProtocolError",
    "StartupError",
]


class AsgiserveError(Exception):
    """The base of every error that asgiserve raises, but for `ClientDisconnected`, which ASGI wants to be an `OSError`."""


class LocalProtocolError(AsgiserveError):
    """The application sent a message that ASGI or HTTP forbids. Nothing of that message reaches the wire.

    After it a correct message is still accepted, as long as nothing of the response was sent.
    """


class RemoteProtocolError(AsgiserveError):
    """The peer sent something that HTTP or WebSocket forbids, or that is over a limit.

    Args:
        detail: one line for the log, safe to print (it is escaped there again).
        status: the HTTP status to answer with.
        clause: the rule that was broken, as in ``RFC 9112 §3.2``.
        fields: response fields that the status demands, as in Upgrade with 426.
    """

    def __init__(self, detail: str, *, status: int = 400, clause: str = "", fields: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.clause = clause
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.detail} ({self.clause})" if self.clause else self.detail


class ClientDisconnected(OSError):
    """The client is gone: raised by ``send()`` (ASGI HTTP and WebSocket 2.4). An application may let it propagate."""


class StartupError(AsgiserveError):
    """The server cannot start. The base of the errors below.

    ``exit_code`` is what the command line exits with: 1, or 3 where the application refused to start (as uvicorn does).
    """

    exit_code = 1


class ConfigError(StartupError):
    """An option has a value that cannot be used; the message names the option, the value and what is expected."""

    exit_code = 2


class ApplicationLoadError(StartupError):
    """The application cannot be imported, has no such attribute, or cannot be called."""


class BindError(StartupError):
    """An address cannot be listened on."""


class LifespanError(StartupError):
    """The application's lifespan failed: its start-up was refused, raised or took too long."""

    exit_code = 3
