"""Listening sockets for tests: bound so that they can refuse for a while and nobody takes their address meanwhile.

The law of this module: an address is given up by closing its socket and by nothing else. Linux only where it says so; elsewhere a clear error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Refusal", "bind_loopback"]


def bind_loopback() -> socket.socket:
    """A socket on 127.0.0.1, on a free port that the system chose, not listening yet.

    Linux takes a port that it chose itself back when the socket stops listening; one that was asked for by number stays. So the number is asked
    for, while a first socket still holds it.

    Raises:
        OSError: there is no port.
    """
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        if sys.platform != "linux":
            # Two sockets cannot have one port there, nor can a listening one be switched off.
            return first.dup()
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(first.getsockname())
        except BaseException:
            sock.close()
            raise
        return sock


class Refusal:
    """Has clients of ``sockets`` get ECONNREFUSED between `begin` and `end`. Nobody may watch them meanwhile.

    Args:
        sockets: listening, on TCP or UNIX.
        backlog: to listen with again.
    """

    def __init__(self, sockets: Sequence[socket.socket], backlog: int) -> None:
        self._sockets = sockets
        self._backlog = backlog
        self._off: list[socket.socket] = []
        self._reusing: dict[socket.socket, int] = {}

    def begin(self) -> None:
        """Refuse from now on.

        Raises:
            RuntimeError: this system, or this kind of address, has no way to; then everything is as it was.
        """
        for sock in self._sockets:
            try:
                if sock.family == getattr(socket, "AF_UNIX", None):
                    _hide(sock)
                else:
                    self._reusing[sock] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
                    _switch_off(sock)
            except BaseException as error:
                self.end()
                if isinstance(error, OSError):
                    raise RuntimeError(f"refuse(): {sock.getsockname()} cannot be switched off: {error.strerror or error}") from error
                raise
            self._off.append(sock)

    def end(self) -> None:
        """Listen again.

        Raises:
            OSError: somebody took the file of a UNIX socket away.
        """
        off, self._off = self._off, []
        for sock in off:
            if sock.family == getattr(socket, "AF_UNIX", None):
                path = sock.getsockname()
                # Over what stands in its place.
                os.replace(_hidden(path), path)  # noqa: PTH105 - a path as the system gives it, perhaps bytes
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, self._reusing[sock])
                sock.listen(self._backlog)


def _switch_off(sock: socket.socket) -> None:
    if sys.platform != "linux":
        raise RuntimeError("refuse() needs Linux: nowhere else can a listening socket be switched off and keep its address")
    address = sock.getsockname()
    sock.shutdown(socket.SHUT_RD)
    try:
        # A port that the system chose is lost by that: take it again, by number. (EINVAL: it is ours still.)
        sock.bind(address)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # With SO_REUSEADDR another process could listen on it now.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _hidden(path: str) -> str:
    return f"{path}.refused"


def _hide(sock: socket.socket) -> None:
    path = sock.getsockname()
    if not isinstance(path, str) or not path:
        raise RuntimeError("refuse(): a UNIX socket without a file cannot be switched off")
    mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 - as `_hidden`
    os.rename(path, _hidden(path))  # noqa: PTH104
    try:
        # A file that nobody listens on: its clients get ECONNREFUSED, as on TCP, instead of ENOENT.
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.bind(path)
        os.chmod(path, mode)  # noqa: PTH101
    except BaseException:
        with contextlib.suppress(OSError):
            os.replace(_hidden(path), path)  # noqa: PTH105
        raise
