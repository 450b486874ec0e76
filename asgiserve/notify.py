"""Telling the process manager that the server accepts, and that it stops: systemd's protocol, sd_notify(3).

The law of this module: whoever started the server is told, and what goes wrong with it is one warning line that never stops the server.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

__all__ = ["VARIABLE", "Notifier"]

VARIABLE: Final = "NOTIFY_SOCKET"
"""The environment variable that names the socket: a path, or ``@name`` in Linux's abstract namespace."""

# A manager whose queue is full reads it soon; a READY=1 that is lost would cost the service its life.
_SEND_SECONDS: Final = 1.0

_logger = logging.getLogger("asgiserve.notify")


class Notifier:
    """Tells one process manager; without an address it does nothing. Take it with `from_environment`.

    Args:
        address: a path, or ``@name``; empty where nobody wants to know.
    """

    def __init__(self, address: str = "") -> None:
        self._address = address
        self._warned = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """For the address in ``NOTIFY_SOCKET``, which is removed from ``environ``.

        The message is this process's to send: what the application starts must not inherit the address and speak in its name.
        """
        return cls(environ.pop(VARIABLE, ""))

    def ready(self, addresses: Iterable[object]) -> None:
        """The server accepts connections at ``addresses``."""
        self._send("READY=1", f"STATUS=listening on {', '.join(map(str, addresses))}", f"MAINPID={os.getpid()}")

    def stopping(self) -> None:
        """The server has begun to stop."""
        self._send("STOPPING=1", "STATUS=stopping")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        try:
            # A path may hold a line end, which would begin another assignment, or bytes that are no UTF-8.
            message = "\n".join("".join(char if char.isprintable() else "?" for char in each) for each in assignments)
            with socket.socket(_family(self._address), socket.SOCK_DGRAM) as sock:
                sock.settimeout(_SEND_SECONDS)
                sock.sendto(message.encode(), _name(self._address))
        except (OSError, ValueError) as error:
            if not self._warned:
                self._warned = True
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                _logger.warning("the process manager cannot be told %s at %s=%s: %s", assignments[0], VARIABLE, self._address, reason)


def _family(address: str) -> int:
    """The kind of socket that ``address`` is of.

    Raises:
        ValueError: of none that is spoken here.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("this system has no UNIX domain sockets")
    if address[0] not in "/@":
        # systemd also sends `vsock:`, to a virtual machine as a whole.
        raise ValueError("it is neither an absolute path nor @name")
    return socket.AF_UNIX


def _name(address: str) -> bytes:
    name = os.fsencode(address)
    return b"\0" + name[1:] if address[0] == "@" else name
