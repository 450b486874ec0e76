"""Scripted servers, so that the suite can test itself: every case must pass one and catch another.

The law of this module: a canned server reads all that is sent to it before it answers, so that no answer is lost to a reset of its own making.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import HALF_CLOSE, Await
from asgi_conformance.drive import FOLLOW_UP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from asgi_conformance.case import Call, Canned, Stimulus

__all__ = ["CannedServer"]

_PATIENCE: Final = 10.0
_READ: Final = 65536


def _take(connection: socket.socket, wanted: int) -> int:
    """Read ``wanted`` bytes, or a little more; how many it was."""
    taken = 0
    while taken < wanted and (data := connection.recv(_READ)):
        taken += len(data)
    return taken


class CannedServer:
    """Answers one connection as ``canned`` says; a `drive.Peer`.

    Args:
        canned: what it does.
        stimulus: what it will be sent.
    """

    def __init__(self, canned: Canned, stimulus: Stimulus) -> None:
        self._canned = canned
        parts = stimulus.parts
        at = next((index for index, part in enumerate(parts) if isinstance(part, Await)), None)
        self._expected = sum(len(part) for part in stimulus.parts if isinstance(part, bytes)) + (len(FOLLOW_UP) if stimulus.follow_up else 0)
        self._first = self._expected if at is None else sum(len(part) for part in parts[:at] if isinstance(part, bytes))
        self._half_closed = HALF_CLOSE in parts
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_PATIENCE)
        self._thread = threading.Thread(target=self._run, name="canned server", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()
        return host, port

    def mark(self) -> int:
        """There is one connection, so there is one mark."""
        return 0

    def calls(self, since: int) -> Sequence[Call]:
        """What the script claims."""
        return self._canned.calls[since:]

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(_PATIENCE)
                left = self._expected if self._canned.after is None else self._canned.after
                if self._canned.early:
                    left -= _take(connection, self._first)
                    connection.sendall(self._canned.early)
                if self._canned.wire or not self._canned.early:
                    _take(connection, left)
                connection.sendall(self._canned.wire)
                if self._canned.closes:
                    connection.shutdown(socket.SHUT_WR)
                # Until the client has what it wants.
                while connection.recv(_READ):
                    pass
                if self._half_closed and not self._canned.closes:
                    # Its FIN is no sign that it has.
                    self._over.wait(_PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(_PATIENCE)
        self._listener.close()
