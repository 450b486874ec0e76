"""Sending files: ``http.response.pathsend`` and ``http.response.zerocopysend`` (ASGI extensions).

The law of this module: with `sendfile` where the transport can, in blocks read by a thread where it cannot, and either way within the rules of the
exchange: Content-Length, HEAD, flow control, disconnects.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from asgiserve.core.exchange import HELD
from asgiserve.errors import ClientDisconnected, LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgiserve.asgi.http import HttpCall
    from asgiserve.core.exchange import Exchange

__all__ = ["send_file", "send_path"]

# One system call's worth, and how much may be under way before the client's progress is looked at.
_SENDFILE_BYTES: Final = 1024 * 1024
# A block read by a thread: the thread's 50 us are small beside it, and it is small beside 4 MiB.
_READ_BYTES: Final = 256 * 1024


async def send_path(call: HttpCall, message: dict[str, Any]) -> None:
    """``http.response.pathsend``: the whole file, which ends the response.

    Raises:
        LocalProtocolError: the path is not absolute.
        OSError: the file cannot be opened, or is none; nothing was sent.
    """
    path = message.get("path")
    if not isinstance(path, str) or not os.path.isabs(path):  # noqa: PTH117 - no Path object for a yes or no
        raise LocalProtocolError(f"http.response.pathsend: path must be absolute, not {path!r}")
    run_blocking = call.context.run_blocking
    with _head_held(call.exchange):
        file, size = await run_blocking(_open_regular, path)
    try:
        await _send(call, file, 0, size, more=False)
    finally:
        await run_blocking(os.close, file)


def _open_regular(path: str) -> tuple[int, int]:
    """The descriptor and the size of the file ``path``. A folder has no content, and a pipe no end (without O_NONBLOCK not even a beginning)."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return file, status.st_size


async def send_file(call: HttpCall, message: dict[str, Any]) -> None:
    """``http.response.zerocopysend``: a part of an open file, any number of times. The file is not closed.

    Raises:
        LocalProtocolError: there is no file with a descriptor, or a bad offset or count.
    """
    file = message.get("file")
    try:
        descriptor = file if isinstance(file, int) and not isinstance(file, bool) else file.fileno()  # type: ignore[union-attr]  # tried just below
    except (AttributeError, OSError, ValueError):
        raise LocalProtocolError("http.response.zerocopysend: file must be open and have a file descriptor") from None
    offset = message.get("offset")
    count = message.get("count")
    for name, value in (("offset", offset), ("count", count)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise LocalProtocolError(f"http.response.zerocopysend: {name} must be a whole number, not {value!r}")
    position = os.lseek(descriptor, 0, os.SEEK_CUR) if offset is None else offset
    with _head_held(call.exchange):
        size = (await call.context.run_blocking(os.fstat, descriptor)).st_size
    available = max(size - position, 0)
    length = available if count is None else min(count, available)
    await _send(call, descriptor, position, length, more=bool(message.get("more_body", False)))
    if offset is None:
        # os.sendfile with no offset moves the file's position; so do we, whichever way the bytes went.
        os.lseek(descriptor, position + length, os.SEEK_SET)


@contextlib.contextmanager
def _head_held(exchange: Exchange) -> Iterator[None]:
    """Keep a held head back while a thread looks at the file: that it is not there is still a clean 500, its size a Content-Length."""
    exchange.keeps_head = True
    try:
        yield
    finally:
        exchange.keeps_head = False
        if exchange.response_state is HELD:
            exchange.sink.hold(exchange)


async def _send(call: HttpCall, descriptor: int, offset: int, count: int, *, more: bool) -> None:
    exchange = call.exchange
    if exchange.bodiless:
        if exchange.response_state is HELD and not more and exchange.content_length is None and exchange.head.method == b"HEAD":
            exchange.content_length = count
        exchange.body(b"", more=more)
        return
    if exchange.response_state is HELD and not more and exchange.content_length is None and not exchange.expect_trailers:
        # The whole content in one message: its length is known.
        exchange.content_length = exchange.remaining = count
    if call.peer.can_sendfile:
        await _send_native(call, descriptor, offset, count)
    else:
        await _send_blocks(call, descriptor, offset, count)
    if not exchange.overrun:
        exchange.body(b"", more=more)


async def _send_native(call: HttpCall, descriptor: int, offset: int, count: int) -> None:
    exchange = call.exchange
    exchange.flush()
    while count > 0:
        block = min(count, _SENDFILE_BYTES)
        allowed = exchange.reserve(block)
        if allowed:
            before, behind = exchange.sink.frame(allowed)
            exchange.sink.write(before)
            try:
                sent = await call.peer.sendfile(descriptor, offset, allowed)
            except ClientDisconnected:
                # The socket says so before the transport does: the exchange must know when the application lets this propagate (S13).
                exchange.cut("aborted")
                raise
            if exchange.aborted:
                raise ClientDisconnected("the client is gone")
            if sent < allowed:
                exchange.cut("short")
                raise LocalProtocolError("the file became shorter while it was sent")
            exchange.sink.write(behind)
        if allowed < block:
            exchange.overran()
        offset += allowed
        count -= allowed


async def _send_blocks(call: HttpCall, descriptor: int, offset: int, count: int) -> None:
    exchange = call.exchange
    while count > 0:
        block = await call.context.run_blocking(os.pread, descriptor, min(count, _READ_BYTES), offset)
        if not block:
            exchange.cut("short")
            raise LocalProtocolError("the file became shorter while it was sent")
        exchange.body(block, more=True)
        await call.wait_writable()
        offset += len(block)
        count -= len(block)
