"""A server under test, and all that a test does with it.

The law of this module: the object that a test holds is one, whatever serves behind it (`runner`: a thread; `process`: a child). What was opened
through it is closed through it, and an error of the application that nobody expected is raised, never dropped.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import shutil
import tempfile
import time
import unittest
import warnings
from typing import TYPE_CHECKING, Any, Final

from asgiserve.errors import ConfigError, StartupError
from asgiserve.server import Server
from pytest_asgiserve.authority import session_authority
from pytest_asgiserve.failures import ApplicationError, ExpectedError, describe_errors, format_errors
from pytest_asgiserve.frameworks import listening_to_frameworks
from pytest_asgiserve.leaks import format_leaks
from pytest_asgiserve.listening import bind_loopback
from pytest_asgiserve.observer import Observer
from pytest_asgiserve.process import ChildServer
from pytest_asgiserve.runner import ServerThread
from pytest_asgiserve.settings import Settings
from pytest_asgiserve.unstoppable import StopTimeoutError

if TYPE_CHECKING:
    import asyncio
    import re
    import ssl
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    import httpx

    from pytest_asgiserve.authority import Authority
    from pytest_asgiserve.faults import Fault, Rule
    from pytest_asgiserve.leaks import Leak
    from pytest_asgiserve.raw import RawConnection
    from pytest_asgiserve.recorder import RecordedExchange
    from pytest_asgiserve.websocket import WebSocketClient

__all__ = ["ApplicationErrorWarning", "LeakError", "LeakWarning", "LiveServer"]

# How long a call may go on behind its complete response (a background task, an exception after it) before a check looks at what is there.
_SETTLE: Final = 1.0
_CLIENT_TIMEOUT: Final = 5.0


class ApplicationErrorWarning(UserWarning):
    """The application under test raised, and ``errors="warn"``."""


class LeakWarning(UserWarning):
    """The application under test left something behind, and ``leaks="warn"``."""


class LeakError(AssertionError):
    """The application under test left something behind, and ``leaks="fail"``."""


class LiveServer:
    """A running server. The fixtures ``live_server``, ``asgi_server`` and their kin give one.

    By hand::

        with LiveServer(app, http="h11") as server:
            assert server.client.get("/").status_code == 200

    Args:
        app: the application: an object, ``"package.module:attribute"``, or a factory (with ``factory=True``).
        settings: what `Settings` has and what the server has: ``tls=True``, ``uds=True``, ``mode="process"``, ``errors="ignore"``, ``http="h11"``,
            ``limits={"max_body_bytes": 10}``, ``timeout_keep_alive=1``.

    Raises:
        ConfigError: a setting is unknown or impossible. Also, with ``mode="process"``, out of whatever needs the server in this process: `server`,
            `app`, `loop`, `state`, `run`, `exchanges`, `expect_error`, `faults`, `leaks`, `drain`.
    """

    def __init__(self, app: Any, **settings: Any) -> None:
        __tracebackhide__ = True
        self._setup(Settings(app=app).merge(settings))

    @classmethod
    def from_settings(cls, settings: Settings) -> LiveServer:
        """A server with built settings; call `start`, and `stop` when it is done with."""
        made = cls.__new__(cls)
        made._setup(settings)  # noqa: SLF001 - its own
        return made

    def _setup(self, settings: Settings) -> None:
        self.settings = settings
        self._observer = Observer(keeps_errors=settings.errors != "ignore", lint=settings.lint)
        self._thread: ServerThread | None = None
        self._child: ChildServer | None = None
        self._folder: str | None = None
        self._told_failure = False
        self._listeners = contextlib.ExitStack()
        # Where warnings point to: a file and a line. The plugin names the test.
        self.blamed: tuple[str, int] | None = None
        self._client: httpx.Client | None = None
        self._open: list[Any] = []
        self._url = ""
        self.uds: str | None = None
        self.host = ""
        self.port = 0

    # Life.

    def start(self) -> None:
        """Start it; returns when it accepts connections.

        Raises:
            StartupError: the application cannot be had, or refused to start, or an option cannot be used; or it was started before.
            StartTimeoutError: it took longer than ``start_timeout``.
        """
        __tracebackhide__ = True
        if self._thread is not None or self._child is not None:
            raise StartupError("a server can be started once; make a new one")
        settings = self.settings
        secure = settings.tls or settings.options.get("ssl_certfile") is not None
        options: dict[str, Any] = dict(session_authority().server_options) if settings.tls else {}
        if settings.uds:
            # Not tmp_path: the path of a UNIX socket has 107 bytes.
            self._folder = tempfile.mkdtemp(prefix="asgi-")
            options["uds"] = f"{self._folder}/socket"
        try:
            if settings.mode == "process":
                self._child = ChildServer(settings.app, settings.server_options(options), start_timeout=settings.start_timeout)
                self._child.start()
                address = self._child.address
            else:
                config = settings.config(options)
                sockets = None if settings.uds or settings.chooses_address else [bind_loopback()]
                server = Server(settings.app, config=config, sockets=sockets, instrument=self._observer)
                self._observer.faults.attach(server)
                self._thread = ServerThread(server)
                self._thread.on_unhandled = self._observer.loop_reported
                self._thread.start(settings.start_timeout)
                self._listeners.enter_context(listening_to_frameworks(server.app, self._observer.framework_answered))
                address = server.addresses[0]
        except BaseException:
            self._remove_folder()
            raise
        if address.path is not None:
            self.uds, self.host = address.path, "localhost"
            self._url = f"{'https' if secure else 'http'}://localhost"
        else:
            self.host, self.port = address.host or "", address.port or 0
            self._url = address.url

    def stop(self) -> None:
        """Close what was opened through this object, and stop the server: requests may finish, those whose client is gone are cancelled.

        Idempotent. What the application did wrong in the meantime stays in `errors`.

        Raises:
            StopTimeoutError: it did not stop within ``stop_timeout``; the message has the open connections and where the tasks wait.
            LeakError: the application left something behind, and ``leaks="fail"``.
        """
        __tracebackhide__ = True
        opened, self._open = self._open[::-1], []
        for client in opened:
            # A WebSocket that the test left open: nobody waits for its closing handshake.
            getattr(client, "abort", client.close)()
        self._client = None
        try:
            if self._child is not None:
                self._child.stop(self.settings.stop_timeout)
            if self._thread is not None:
                self._observer.faults.release_all()
                self._thread.find_leaks = self.settings.leaks != "off"
                self._thread.stop(self.settings.stop_timeout)
        finally:
            self._listeners.close()
            self._remove_folder()
        self._check_leaks()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _check_leaks(self) -> None:
        __tracebackhide__ = True
        if self._thread is None or not self._thread.leaks:
            return
        leaks, self._thread.leaks = self._thread.leaks, []
        text = f"the application left {len(leaks)} thing{'' if len(leaks) == 1 else 's'} behind:\n{format_leaks(leaks)}"
        if self.settings.leaks == "fail":
            raise LeakError(text)
        self.warn(text, LeakWarning)

    def warn(self, text: str, category: type[Warning]) -> None:
        """Warn of what happened in this server; the warning points to the test."""
        if self.blamed is not None:
            warnings.warn_explicit(text, category, *self.blamed)
        else:
            warnings.warn(text, category, stacklevel=4)

    def __enter__(self) -> Self:
        __tracebackhide__ = True
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        __tracebackhide__ = True
        try:
            self.stop()
        finally:
            errors = self.take_errors()
            if errors and error is not None:
                error.add_note(describe_errors(errors) + "\n" + format_errors(errors))
        if errors and error is None:
            if self.settings.errors == "fail":
                raise AssertionError(describe_errors(errors) + "\n" + format_errors(errors))
            self.warn(describe_errors(errors), ApplicationErrorWarning)

    # Where it is.

    @property
    def url(self) -> str:
        """``http://127.0.0.1:49152``, without a slash at the end and without ``root_path``. On a UNIX socket ``http://localhost``, see `uds`."""
        return self._url

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as `socket.create_connection` takes them."""
        return self.host, self.port

    def ws_url(self, path: str = "/") -> str:
        """The address of a WebSocket, for any client: ``ws://127.0.0.1:49152/chat``."""
        return "ws" + self._url.removeprefix("http") + path

    def __str__(self) -> str:
        return self._url

    def __add__(self, path: str) -> str:
        """The URL of ``path``, which begins with a slash."""
        return self._url + path

    def __repr__(self) -> str:
        return f"<LiveServer {self._url or 'not started'}{f' on {self.uds}' if self.uds else ''}>"

    @functools.cached_property
    def _live_server_modified_settings(self) -> Any:
        """What pytest-django enables for each test with a fixture called ``live_server``, whose ever it is: its Django is to accept our host."""
        return importlib.import_module("django.test.utils").modify_settings(ALLOWED_HOSTS={"append": self.host})

    # Inside of it.

    def _in_process(self, what: str) -> ServerThread:
        __tracebackhide__ = True
        if self.settings.mode == "process":
            raise ConfigError(f'live_server.{what} needs the server in this process; mode="process" has it in another')
        if self._thread is None:
            raise ConfigError(f"live_server.{what} needs a server that was started")
        return self._thread

    def _in_child(self, what: str) -> ChildServer:
        __tracebackhide__ = True
        if self._child is None:
            raise ConfigError(f'live_server.{what} needs mode="process"; this server runs in a thread of the test\'s own process')
        return self._child

    @property
    def server(self) -> Server:
        """The `asgiserve.Server` itself."""
        return self._in_process("server").server

    @property
    def app(self) -> Any:
        """The application that is served, loaded: ``live_server.app.dependency_overrides[...] = ...``."""
        return self._in_process("app").server.app

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs on, in another thread: use `run`."""
        return self._in_process("loop").loop

    @property
    def state(self) -> dict[str, Any]:
        """The lifespan's state: the very dictionary, of which each ``scope["state"]`` is a shallow copy. Empty without a lifespan."""
        return self._in_process("state").server.state

    def run(self, target: Any, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call ``target`` on the server's loop, await what it returns, and return the result: ``live_server.run(live_server.state["cache"].clear)``.

        Args:
            target: a function, a coroutine function, or something to await.
            args: for it.
            timeout: seconds; None waits for as long as the test may run.
            kwargs: for it.
        """
        __tracebackhide__ = True
        return self._in_process("run()").run(target, *args, timeout=timeout, **kwargs)

    # Clients.

    @property
    def authority(self) -> Authority:
        """The authority of the session's certificates; its ``certificate_file`` is for clients of other kinds."""
        return session_authority()

    def _context(self, certificate: str | None) -> ssl.SSLContext | None:
        if not self._url.startswith("https"):
            if certificate is not None:
                raise ConfigError("a client certificate needs a server with tls=True")
            return None
        if certificate is not None and not self.settings.options.get("ssl_cert_reqs"):
            raise ConfigError("the server asks for no client certificate; give it ssl_cert_reqs=1 (optional) or 2 (required)")
        own = self.settings.options.get("ssl_certfile")
        return session_authority().client_context(certificate, also_trust=str(own) if own is not None else None)

    @property
    def client(self) -> httpx.Client:
        """An `httpx.Client` that knows the base URL, trusts the certificate and is closed for you. One for each server."""
        if self._client is None:
            self._client = self.new_client()
        return self._client

    def new_client(self, *, certificate: str | None = None, **options: Any) -> httpx.Client:
        """Another `httpx.Client`, closed for you as well.

        Args:
            certificate: present a client certificate of this name, as in ``"alice@example.org"``; the server needs ``ssl_cert_reqs=1`` or ``2``.
            options: of `httpx.Client`: ``headers``, ``cookies``, ``timeout``, ``follow_redirects``, …
        """
        from pytest_asgiserve.clients import make_client  # noqa: PLC0415 - httpx takes 60 ms

        made = make_client(self._url, uds=self.uds, tls=self._context(certificate), **options)
        self._open.append(made)
        return made

    def async_client(self, *, certificate: str | None = None, **options: Any) -> httpx.AsyncClient:
        """An `httpx.AsyncClient` for ``async with``, on asyncio and trio; that closes it. Arguments as of `new_client`."""
        from pytest_asgiserve.clients import make_async_client  # noqa: PLC0415 - httpx takes 60 ms

        return make_async_client(self._url, uds=self.uds, tls=self._context(certificate), **options)

    def ws(
        self,
        path: str = "/",
        *,
        subprotocols: Sequence[str] | None = None,
        timeout: float = _CLIENT_TIMEOUT,
        certificate: str | None = None,
        **options: Any,
    ) -> WebSocketClient:
        """A WebSocket connection, for ``with``. Every wait of it ends after ``timeout`` seconds.

        Args:
            path: and query.
            subprotocols: that are offered.
            timeout: of each wait, in seconds.
            certificate: as of `new_client`.
            options: of `connect_websocket`: ``headers``, ``origin``, ``compression``.

        Raises:
            WebSocketRejected: the application did not accept it; it has the response.
        """
        __tracebackhide__ = True
        from pytest_asgiserve.websocket import connect_websocket  # noqa: PLC0415 - who opens none does not pay for it

        made = connect_websocket(
            self.ws_url(path), uds=self.uds, tls=self._context(certificate), subprotocols=subprotocols, timeout=timeout, **options
        )
        self._open.append(made)
        return made

    def connect(self, *, timeout: float = _CLIENT_TIMEOUT, certificate: str | None = None, receive_buffer: int | None = None) -> RawConnection:
        """A socket, for ``with``: send what you like, slowly or broken, half-close, reset, and read strictly.

        Args:
            timeout: of each wait, in seconds.
            certificate: as of `new_client`.
            receive_buffer: bytes, for a reader that is to be slow.
        """
        from pytest_asgiserve.raw import RawConnection  # noqa: PLC0415 - as above

        target: tuple[str, int] | str = self.uds if self.uds is not None else (self.host, self.port)
        made = RawConnection(target, timeout=timeout, tls=self._context(certificate), receive_buffer=receive_buffer)
        self._open.append(made)
        return made

    # What happened.

    def settle(self) -> bool:
        """Wait until the server has seen what was sent to it, and until no request goes on behind its complete response; at most a second.

        `errors`, `exchanges`, `leaks` and `expect_error` do it by themselves.

        Returns:
            whether no request runs now.
        """
        if self._thread is not None:
            self._thread.settle(self._observer.settle, _SETTLE)
        return not self._observer.busy

    @property
    def errors(self) -> list[ApplicationError]:
        """The errors of the application that nobody expected so far. With ``mode="process"`` only the end of the process is known."""
        if self._thread is not None:
            self.settle()
        return self._observer.failures.peek()

    def take_errors(self) -> list[ApplicationError]:
        """The errors so far, which are forgotten thereby. For plugins and fixtures; a test uses `expect_error`."""
        if len(self._observer.failures) or (self._thread is not None and self._observer.busy):
            self.settle()
        if self._child is not None and self._child.failure is not None and not self._told_failure:
            self._told_failure = True
            self._observer.failures.add(ApplicationError(self._child.failure, None, place="process"))
        return self._observer.failures.take()

    def take_output(self) -> str:
        """What a server in a child process wrote since the last time; empty for one in a thread, whose logs are the test's own."""
        return self._child.take_output() if self._child is not None else ""

    def expect_error(
        self, expected: type[BaseException] | tuple[type[BaseException], ...], *, match: str | re.Pattern[str] | None = None, timeout: float = _SETTLE
    ) -> ExpectedError:
        """The application raises ``expected`` while the block runs; else the test fails. As `pytest.raises`, on the other side of the socket.

        Args:
            expected: the class, or several.
            match: a regular expression, searched for in the text of the exception.
            timeout: seconds to wait for it after the block.
        """
        self._in_process("expect_error()")
        return ExpectedError(self._observer.failures, self.settle, expected, match, timeout)

    def exchanges(self, *, method: str | None = None, path: str | None = None, status: int | None = None) -> list[RecordedExchange]:
        """What was exchanged in this test, oldest first: requests, responses and the ASGI events between.

        Args:
            method: only those with this method.
            path: only those with this path (percent-decoded, without the query).
            status: only those with this status.
        """
        self._in_process("exchanges()")
        self.settle()
        return self._observer.recorder.find(method, path, status)

    def forget_exchanges(self) -> None:
        """Forget what was recorded. A fixture's server that serves several tests forgets before each."""
        self._observer.recorder.clear()

    # What it does wrong, and what it leaves.

    def faults(
        self,
        *faults: Fault,
        path: str | re.Pattern[str] | None = None,
        method: str | None = None,
        times: int | None = None,
        seed: int = 0,
    ) -> AbstractContextManager[Rule]:
        """While the block runs, answers go wrong: ``with live_server.faults(faults.reset(after_bytes=10), path="/dl", times=1): ...``.

        Args:
            faults: from `pytest_asgiserve.faults`.
            path: only of this path: exact, a glob with ``*``, or a compiled regular expression.
            method: only of this method.
            times: only the first so many.
            seed: of what is random in it.
        """
        self._in_process("faults()")
        return self._observer.faults.apply(*faults, path=path, method=method, times=times, seed=seed)

    def leaks(self) -> list[Leak]:
        """Tasks, threads, sockets and unclosed async generators that the application made since its start-up and left behind; now.

        What a running request holds is no leak yet: `drain` first, or wait for it.
        """
        thread = self._in_process("leaks()")

        def running() -> set[asyncio.Task[Any]]:
            return {one.task for one in thread.server.open_connections() if one.task is not None}

        self.settle()
        found: list[Leak] = thread.run(thread.tracker.find_settled, running) if thread.tracker is not None else []
        return found

    def drain(self, timeout: float = _CLIENT_TIMEOUT) -> None:
        """Accept no more connections and wait until running requests have finished. Streams and WebSockets are told to end.

        WebSockets that were opened with `ws` answer the close; messages that came before it can still be received.

        Raises:
            StopTimeoutError: they did not within ``timeout`` seconds; the message says what they wait for.
        """
        __tracebackhide__ = True
        thread = self._in_process("drain()")
        self._observer.faults.release_all()
        if not thread.drain(timeout, functools.partial(self._answer_closes, time.monotonic() + timeout)):
            raise StopTimeoutError(f"the server did not drain within {timeout:g} s; what held it:\n{thread.holders()}")

    def _answer_closes(self, deadline: float) -> None:
        """Have the WebSockets that were opened here answer the server's close: they read only when they are asked to."""
        for client in self._open:
            if hasattr(client, "wait_closed"):
                with contextlib.suppress(TimeoutError):
                    client.wait_closed(max(deadline - time.monotonic(), 0.001))

    # The child, with mode="process".

    @property
    def process(self) -> ChildServer:
        """The child process: ``pid``, ``signal()``, ``wait()``, ``exit_status``, ``output``. Only with ``mode="process"``."""
        return self._in_child("process")


def attach(instance: object, server: LiveServer) -> None:
    """Give a `unittest.TestCase`, which cannot take a fixture as an argument, the server as ``self.live_server``."""
    if isinstance(instance, unittest.TestCase) and not hasattr(instance, "live_server"):
        instance.live_server = server  # type: ignore[attr-defined]  # the test's own class declares it, or not
