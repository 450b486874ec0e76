"""Running a server as a process: the event loop, signals and logging.

The law of this module: only what the person at the terminal asked for is touched here; a `Server` alone never installs a signal handler, configures
logging or makes an event loop. Worker processes and reload will stand here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from asgiserve import logs
from asgiserve.config import build_config
from asgiserve.errors import ConfigError
from asgiserve.notify import Notifier
from asgiserve.server import Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence

    from asgiserve.config import Config

__all__ = ["loop_factory", "run", "run_config", "run_loop"]

# As long as a server gives the requests that it cancels.
_TASK_GRACE: Final = 5.0

_logger = logging.getLogger("asgiserve.server")


def run(app: Any, *, sockets: Sequence[socket.socket] | None = None, **options: Any) -> None:
    """Serve ``app`` until a signal stops the process: `asgiserve.run("module:app", port=8000)`.

    Logging is configured, an event loop is made, SIGINT and SIGTERM stop the server in order and a second one at once. Where NOTIFY_SOCKET is set
    the process manager is told when the server accepts and when it begins to stop (sd_notify); the variable is removed from the environment.

    Args:
        app: the application, or ``"module:attribute"``.
        sockets: bound sockets to listen on, instead of the options for addresses.
        options: the options of the command line, with their names.

    Raises:
        StartupError: the server could not start; its message is one line for the person who started it.
    """
    run_config(app, build_config(options), sockets=sockets)


def run_config(app: Any, config: Config, *, sockets: Sequence[socket.socket] | None = None) -> None:
    """As `run`, with a built configuration.

    Raises:
        StartupError: as `run`.
    """
    logs.configure(config.log)
    # Before the application is imported, which may start processes of its own.
    notifier = Notifier.from_environment()
    server = Server(app, config=config, sockets=sockets, wrap=_linter() if config.app.lint else None)
    run_loop(_serve(server, notifier), config.app.loop)


def _linter() -> Callable[[Any], Any]:
    """What wraps the application for ``--lint``.

    Raises:
        ConfigError: the package that checks is not there, as where only the server's own was copied.
    """
    try:
        # Only here, and only when asked for: the server stands without it.
        conformance = importlib.import_module("asgi_conformance")
    except ImportError:
        raise ConfigError("--lint: the package asgi_conformance is missing; it comes with asgiserve (pip install asgiserve)") from None
    return functools.partial(conformance.lint, on_violation="log", logger=logging.getLogger("asgiserve.lint"))


def run_loop(main: Coroutine[Any, Any, None], loop_name: str) -> None:
    """Run ``main`` on a new event loop of the kind ``loop_name``, in this thread, and end what it leaves on that loop.

    Not `asyncio.Runner`: that waits without end for tasks that ignore their cancellation, and a process manager would have to kill us.

    Raises:
        ConfigError: as `loop_factory`. And whatever ``main`` raises.
    """
    try:
        loop = loop_factory(loop_name)()
    except BaseException:
        main.close()
        raise
    try:
        loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


async def _end_tasks() -> None:
    """Cancel what the application left running, and wait for it, but not for ever."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, deaf = await asyncio.wait(tasks, timeout=_TASK_GRACE)
        if deaf:
            _logger.error("%d task%s of the application ignored the cancellation and are left behind", len(deaf), "" if len(deaf) == 1 else "s")


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes the event loops of the option ``loop``: ``auto``, ``asyncio`` or ``uvloop``.

    Raises:
        ConfigError: uvloop is asked for and not installed.
    """
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - neither on Windows nor on PyPy
        except ImportError:
            if name == "uvloop":
                raise ConfigError("--loop uvloop: uvloop is not installed (pip install uvloop), or use --loop asyncio") from None
        else:
            return uvloop.new_event_loop
    if sys.platform == "win32":
        # The proactor has no add_reader, which our accept loop needs.
        return asyncio.SelectorEventLoop
    return asyncio.new_event_loop


async def _serve(server: Server, notifier: Notifier) -> None:
    def started(server: Server) -> None:
        _announce(server)
        notifier.ready(server.addresses)

    _load(server)
    restore = _install_signals(server)
    try:
        await server.serve(on_started=started, on_stopping=lambda _: notifier.stopping())
    finally:
        restore()
    _logger.info("stopped")


def _load(server: Server) -> None:
    """Import the application, on the running loop as some need it. That blocks the loop, so Ctrl+C must reach Python itself."""
    if threading.current_thread() is not threading.main_thread():
        server.load()
        return
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        server.load()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)


def _install_signals(server: Server) -> Callable[[], None]:
    """SIGINT and SIGTERM stop the server: the first in order, the second at once. Returns what undoes it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    count = 0

    def stop(number: int) -> None:
        nonlocal count
        count += 1
        name = signal.Signals(number).name
        if count == 1:
            _logger.info("%s: stopping; once more to stop at once", name)
        else:
            _logger.warning("%s: stopping at once", name)
        server.stop(force=count > 1)

    installed: list[tuple[signal.Signals, Any]] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        previous = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:
            # Windows: the handler runs between two bytecodes of the main thread; stop() is safe there.
            signal.signal(number, lambda received, _: stop(received))
        installed.append((number, previous))

    def restore() -> None:
        for number, previous in installed:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, previous)

    return restore


def _announce(server: Server) -> None:
    """Say where the server listens."""
    for address in server.addresses:
        _logger.info("listening on %s (process %d; Ctrl+C stops)", address, os.getpid())
