"""Listening sockets: bound, named, and closed again.

The law of this module: a socket is bound by its own number and port 0 is asked of the system; nobody looks for a free port. A mistake is one
`BindError` that names the address and says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgiserve.errors import BindError, ConfigError

if TYPE_CHECKING:
    from asgiserve.config import BindConfig

__all__ = ["Address", "bind_all", "close_all", "describe_socket"]

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    ``host`` and ``port`` are those of a TCP socket, ``path`` is a UNIX socket's. ``url`` is what a client on this machine opens; of a UNIX
    socket it is only a name.
    """

    scheme: str
    host: str | None = None
    port: int | None = None
    path: str | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:8000``; every-interface addresses are shown as the loopback one."""
        if self.path is not None:
            return f"{self.scheme}+unix:{self.path}"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host or "", self.host or "")  # noqa: S104 - compared, not bound
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else self.url


def describe_socket(sock: socket.socket, scheme: str) -> Address:
    """The address that ``sock`` is bound to.

    Raises:
        BindError: it is closed.
    """
    try:
        name = sock.getsockname()
    except OSError as error:
        raise BindError(f"cannot listen on a socket that is closed ({error.strerror})") from None
    if isinstance(name, tuple):
        return Address(scheme, host=name[0], port=name[1])
    return Address(scheme, path=os.fsdecode(name) or "(unnamed)")


def bind_all(config: BindConfig) -> list[socket.socket]:
    """Bind every address of ``config``; the sockets do not listen yet.

    Raises:
        BindError: an address is in use, not ours, or not allowed; nothing stays bound.
        ConfigError: an address is malformed.
    """
    sockets: list[socket.socket] = []
    try:
        if config.bind:
            for text in config.bind:
                sockets += _bind_text(text)
        elif config.uds is not None:
            sockets.append(_bind_unix(config.uds))
        elif config.fd is not None:
            sockets.append(_inherit(config.fd))
        else:
            sockets += _bind_tcp(config.host, config.port)
    except BaseException:
        close_all(sockets)
        raise
    return sockets


class _UnixSocket(socket.socket):
    """A UNIX socket whose file we made, which `close_all` removes: an inherited one's is its owner's, who may hand it to the next server."""

    file: tuple[str, os.stat_result] | None = None


def close_all(sockets: list[socket.socket]) -> None:
    """Close ``sockets``, and remove the files of UNIX sockets that are still theirs."""
    for sock in sockets:
        if isinstance(sock, _UnixSocket) and sock.file is not None:
            path, made = sock.file
            with contextlib.suppress(OSError):
                # Another server may have taken the path over.
                if os.path.samestat(os.stat(path), made):  # noqa: PTH116 - a stat to compare with
                    os.unlink(path)  # noqa: PTH108
        sock.close()


def _bind_text(text: str) -> list[socket.socket]:
    if text.startswith("unix:") and text != "unix:":
        return [_bind_unix(text.removeprefix("unix:"))]
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not number.isascii() or not number.isdigit():
            raise ConfigError(f"--bind: {text!r} is not fd://N, with a file descriptor's number")
        return [_inherit(int(number))]
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT or (":" in host and not host.startswith("[")):
        raise ConfigError(f"--bind: {text!r} is not host:port, [IPv6]:port, unix:path or fd://N")
    return _bind_tcp(host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port))  # noqa: S104 - `:8000` means every interface, as in gunicorn


def _bind_tcp(host: str, port: int) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(f"cannot listen on {host}:{port}: the name {host!r} does not resolve ({error.strerror or error})") from None
    sockets: list[socket.socket] = []
    chosen = port
    try:
        for family, kind, number, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, number)
            sockets.append(sock)
            if os.name == "posix":
                # A restart must not wait for the last connections' TIME_WAIT.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # [::] next to 0.0.0.0 on the same port is two sockets, not a conflict.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # A name with two addresses and port 0 gets one port for both.
            try:
                sock.bind((address[0], chosen, *address[2:]))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL and len(found) > 1 and family == socket.AF_INET6:
                    # `localhost` on a machine without IPv6.
                    sockets.remove(sock)
                    sock.close()
                    continue
                raise
            chosen = sock.getsockname()[1]
    except OSError as error:
        close_all(sockets)
        raise BindError(_explain(f"{host}:{chosen}", error)) from None
    return sockets


def _bind_unix(path: str) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise BindError(f"cannot listen on {path}: this system has no UNIX domain sockets")
    _remove_stale(path)
    sock = _UnixSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.file = path, os.stat(path)  # noqa: PTH116 - a stat to compare with
        # As uvicorn: the proxy may be another user. The directory's permissions say who gets there.
        os.chmod(path, 0o666)  # noqa: PTH101, S103 - see above
    except OSError as error:
        sock.close()
        raise BindError(_explain(path, error)) from None
    return sock


def _remove_stale(path: str) -> None:
    """Remove the file of a socket that nobody listens on any more."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - one system call
            raise BindError(f"cannot listen on {path}: the file exists and is no socket")
    except FileNotFoundError:
        return
    except OSError as error:
        raise BindError(_explain(path, error)) from None
    except ValueError:
        raise BindError(f"cannot listen on {path!r}: a path has no NUL") from None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
        except OSError:
            # Somebody listens and is busy, or we may not look: bind says which.
            return


def _inherit(number: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        raise BindError(f"cannot listen on file descriptor {number}: {error.strerror or error}; it must be an inherited, bound socket") from None
    if sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise BindError(f"cannot listen on file descriptor {number}: it is no stream socket")
    return sock


def _explain(where: str, error: OSError) -> str:
    reason = {
        errno.EADDRINUSE: "the address is already in use; stop what listens there, or choose another --port (0 lets the system choose)",
        errno.EACCES: "permission denied; ports below 1024 need privileges, a socket's directory must be writable",
        errno.EPERM: "permission denied",
        errno.EADDRNOTAVAIL: "this machine has no such address",
        errno.ENOENT: "the directory does not exist",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"cannot listen on {where}: {reason}"
