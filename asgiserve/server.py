"""One server in one process: start, serve, drain, stop.

The law of this module: nothing polls and nothing sleeps. Starting returns when the server accepts; stopping is an event that wakes whoever waits; an
error at start-up is raised to the caller and nothing of it stays behind. Signals, logging and the event loop belong to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import random
import sys
from typing import TYPE_CHECKING, Any, Final

from asgiserve.asgi.context import Context, log_failure
from asgiserve.asgi.http import HttpCall
from asgiserve.asgi.lifespan import Lifespan
from asgiserve.asgi.proxy import TrustedProxies
from asgiserve.asgi.websocket import WebSocketCall
from asgiserve.config import build_config
from asgiserve.core.parsers import choose_parser
from asgiserve.errors import ConfigError, StartupError
from asgiserve.importer import as_asgi3, load_application
from asgiserve.logs import RateLimiter
from asgiserve.runtime.accept import Listener
from asgiserve.runtime.calls import AccessLog, StartCall, call_starter
from asgiserve.runtime.connection import AsyncioConnection
from asgiserve.runtime.default_fields import DefaultFields
from asgiserve.runtime.instrument import describe_connection
from asgiserve.runtime.memory import keep_freed_memory
from asgiserve.runtime.sockets import bind_all, close_all, describe_socket
from asgiserve.runtime.tls import make_tls
from asgiserve.sources import load_env_file

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from asgiserve.asgi.context import AsgiApplication
    from asgiserve.config import Config, Limits
    from asgiserve.core.exchange import Exchange
    from asgiserve.runtime.instrument import Instrument, OpenConnection
    from asgiserve.runtime.sockets import Address

__all__ = ["Server"]

_logger = logging.getLogger("asgiserve.server")
_refusals = logging.getLogger("asgiserve.core")

# How long a cancelled application may take to clean up before its connections are cut under it.
_CANCEL_GRACE: Final = 5.0
# Nine tenths of the descriptors: the rest is the application's (files, database connections) and ours.
_DESCRIPTOR_SHARE: Final = 0.9
_HELD_INTERVAL: Final = 10.0
_REFUSAL_LINES: Final = 10
_REFUSAL_INTERVAL: Final = 1.0


class Server:
    """An ASGI server on the running event loop.

    As a context manager it serves inside of the block::

        async with Server(app, port=0) as server:
            print(server.addresses[0].url)

    or, until `stop` is called::

        await Server(app, port=8000).serve()

    Options are those of the command line, with their names (``timeout_keep_alive=5``); ``docs/options.md`` has them all. A server can be
    started once.

    Args:
        app: the application, or ``"module:attribute"``.
        config: a built configuration, instead of options.
        sockets: bound sockets to listen on, instead of the options for addresses. They are closed with the server.
        instrument: for tests: is told of everything that happens, and may change what a connection writes.
        wrap: is given the application once it is loaded, in ASGI 3's form; what it returns is served.
        options: any option of the command line.

    Raises:
        ConfigError: an option is unknown or has an impossible value.
    """

    def __init__(
        self,
        app: AsgiApplication | str,
        *,
        config: Config | None = None,
        sockets: Sequence[socket.socket] | None = None,
        instrument: Instrument | None = None,
        wrap: Callable[[AsgiApplication], AsgiApplication] | None = None,
        **options: Any,
    ) -> None:
        if config is not None and options:
            raise ConfigError("give either config or options, not both")
        self.config = build_config(options) if config is None else config
        if self.config.app.lint and wrap is None:
            raise ConfigError("lint is an option of the command line and of asgiserve.run; with Server it is wrap=asgi_conformance.lint")
        self.instrument = instrument
        self._wrap = wrap
        self._app = app
        self._loaded = False
        self._given_sockets = list(sockets) if sockets is not None else None
        # What connections read (ConnectionHost).
        self.limits = self.config.limits
        self.timeouts = self.config.timeouts
        self.parser = choose_parser(self.config.http.http)
        self.websocket_enabled = self.config.websocket.ws != "none"
        self.tls = make_tls(self.config.tls)
        self._proxies = (
            TrustedProxies(self.config.proxy.forwarded_allow_ips, standard=self.config.proxy.forwarded_fields == "forwarded")
            if self.config.proxy.proxy_headers
            else None
        )
        self._fields = DefaultFields(self.config.http)
        self.default_fields = self._fields.all
        self.default_fields_without = self._fields.without
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set by start; nothing that reads it runs before
        self._serving_loop: asyncio.AbstractEventLoop | None = None
        self._start_call: StartCall = None  # type: ignore[assignment]  # as the loop
        self._context: Context = None  # type: ignore[assignment]  # as the loop
        self._lifespan: Lifespan | None = None
        self._variables = contextvars.Context()
        self._sockets: list[socket.socket] = []
        self._listeners: list[Listener] = []
        self._addresses: tuple[Address, ...] = ()
        self._connections: set[AsyncioConnection] = set()
        self._connecting: dict[AsyncioConnection, asyncio.Task[None]] = {}
        self._calls: set[HttpCall | WebSocketCall] = set()
        self._quiet: asyncio.Event | None = None
        self._stop_asked: asyncio.Event | None = None
        self._forced: asyncio.Event | None = None
        self._starting: asyncio.Task[None] | None = None
        self._started = False
        self._stopping = False
        self._stopped = False
        self._drain_began = False
        self._held = False
        self._paused = False
        self._served = 0
        self._write_access = AccessLog().write if self.config.log.access_log else None
        self._held_limiter = RateLimiter(1, _HELD_INTERVAL)
        self._refusal_limiter = RateLimiter(_REFUSAL_LINES, _REFUSAL_INTERVAL)
        self._max_calls = sys.maxsize if self.limits.limit_concurrency is None else self.limits.limit_concurrency
        self._max_connections = self.limits.limit_connections or _descriptor_ceiling()
        self._max_requests = _with_jitter(self.limits)
        # Set by start: before that, nothing of the server refers to it.
        self.began: Callable[[AsyncioConnection, Exchange], None]
        self.ended: Callable[[AsyncioConnection, Exchange], None] | None

    # For everybody.

    @property
    def started(self) -> bool:
        """Whether the server accepts connections."""
        return self._started and not self._stopping

    @property
    def app(self) -> Any:
        """The application: as it was given, and once it is loaded (`load`, `start`) the object itself."""
        return self._app

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, once started; ``addresses[0].url`` is what a client opens."""
        return self._addresses

    @property
    def state(self) -> dict[str, Any]:
        """The lifespan's state: what the application put into ``scope["state"]``. Empty where it has no lifespan."""
        return self._lifespan.state if self._lifespan is not None else {}

    def load(self) -> None:
        """Import the application now, where it is only named, and call its factory. `start` does it otherwise.

        Raises:
            ApplicationLoadError: it cannot be had.
        """
        if not self._loaded:
            if self.config.app.env_file:
                # The command line did it before, for the options in it; a variable that is set stays as it is.
                load_env_file(self.config.app.env_file)
            self._app = load_application(self._app, app_dir=self.config.app.app_dir, factory=self.config.app.factory)
            self._loaded = True

    async def start(self) -> None:
        """Load the application, bind, run its start-up, and accept. Call `stop` and `serve`, or leave the context manager, to end it.

        Raises:
            StartupError: one of its kinds says what is wrong (`ConfigError`, `ApplicationLoadError`, `BindError`, `LifespanError`).
        """
        if self._started or self._stopped:
            raise StartupError("a server can be started once; make a new one")
        keep_freed_memory()
        notes = self.instrument is not None or self._max_requests is not None or self._write_access is not None
        # Each connection binds them to itself.
        self.began = self._exchange_began
        self.ended = self._exchange_ended if notes else None
        self.loop = self._serving_loop = asyncio.get_running_loop()
        self._quiet = asyncio.Event()
        self._stop_asked = self._stop_asked or asyncio.Event()
        self._forced = asyncio.Event()
        # What was set before the server started is there for every request; what one request sets is gone with it.
        self._variables = contextvars.copy_context()
        try:
            self.load()
            app, version = as_asgi3(self._app, self.config.app.interface)
        except BaseException:
            self._stopped = True
            close_all(self._given_sockets or [])
            raise
        if self._wrap is not None:
            app = self._wrap(app)
        if self.instrument is not None:
            app = self.instrument.wrap_application(app)
        self._sockets = self._given_sockets if self._given_sockets is not None else bind_all(self.config.bind)
        self._given_sockets = None
        timeouts = self.timeouts
        self._lifespan = Lifespan(
            app,
            version,
            self.config.app.lifespan,
            startup_timeout=timeouts.timeout_startup,
            shutdown_timeout=timeouts.timeout_shutdown,
            failed=self._lifespan_failed,
        )
        try:
            await self._lifespan.startup()
            # Behind the application's start-up, which may have given the loop a task factory.
            self._start_call = call_starter(self.loop)
            self._context = Context(
                app=app,
                asgi_version=version,
                state=self._lifespan.state if self._lifespan.supported else None,
                root_path=self.config.app.root_path,
                websocket=self.config.websocket,
                proxies=self._proxies,
                create_waiter=self.loop.create_future,
                run_blocking=functools.partial(self.loop.run_in_executor, None),
                finished=self._call_finished,
                failed=self._call_failed,
            )
            scheme = "http" if self.tls is None else "https"
            self._addresses = tuple(describe_socket(sock, scheme) for sock in self._sockets)
            for sock, address in zip(self._sockets, self._addresses, strict=True):
                listener = Listener(self.loop, sock, functools.partial(self._accepted, _server_name(address)), polite=self.tls is None)
                self._listeners.append(listener)
                listener.start(self.config.bind.backlog)
        except BaseException:
            self._stopped = True
            self._stop_listening()
            await self._lifespan.shutdown()
            raise
        self._started = True

    async def serve(self, *, on_started: Callable[[Server], None] | None = None, on_stopping: Callable[[Server], None] | None = None) -> None:
        """Start if that was not done, serve until `stop` is called, then finish what runs and shut the application down.

        Args:
            on_started: is called with the server when it accepts.
            on_stopping: is called with the server when it begins to stop, before anything of it ends.

        Raises:
            StartupError: as `start`.
        """
        if not self._started:
            # A task of its own, so that `stop` can end a start-up that hangs.
            self._stop_asked = asyncio.Event()
            self._starting = asyncio.ensure_future(self.start())
            try:
                await self._starting
            except asyncio.CancelledError:
                if not self._stop_asked.is_set():
                    raise
                return
            finally:
                self._starting = None
        if self._stop_asked is None:
            raise StartupError("a server can be started once; make a new one")
        try:
            if on_started is not None:
                on_started(self)
            await self._stop_asked.wait()
        finally:
            try:
                if on_stopping is not None:
                    on_stopping(self)
            finally:
                await self._shut_down()

    def stop(self, *, force: bool = False) -> None:
        """Ask the server to stop; returns at once, from any thread. `serve` returns when it has.

        Running requests may go on for the graceful period (``timeout_graceful_shutdown``); ``force`` ends it now, and a shutdown of the application
        that goes on. Calling it on a server that is not running does nothing.
        """
        loop = self._serving_loop
        if loop is not None and not loop.is_closed():
            # Its own thread may close it just now.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._ask_stop, force)

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the caller's own limit, not a cancellation
        """Accept no more connections and wait until nothing runs; at most ``timeout`` seconds.

        Running requests are finished, streams and WebSockets are told to end. The server must still be stopped.

        Returns:
            whether everything ended in time.
        """
        self._begin_drain(self.timeouts.timeout_drain_idle)
        return await self._wait_quiet(timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._shut_down()

    def open_connections(self) -> list[OpenConnection]:
        """What is open now, for a person: each connection, and each call of the application whose client is gone. Call it on the server's loop."""
        calls = {id(call.peer): call for call in self._calls if not call.exchange.aborted}
        found = [describe_connection(connection, calls.get(id(connection))) for connection in self._connections]
        return found + [describe_connection(call.peer, call) for call in self._calls if call.exchange.aborted]

    async def cancel_abandoned(self, grace: float) -> None:
        """Cancel the calls whose client has gone or will send no more, where they do not end by themselves within ``grace`` seconds.

        For the end of a test, where nobody half-closes and waits. A call is cancelled as at the end of the graceful period: nothing is logged.
        """
        abandoned = {call.task: call for call in self._calls if call.task is not None and (call.exchange.aborted or _is_half_closed(call.peer))}
        if abandoned:
            _, going = await asyncio.wait(abandoned, timeout=grace)
            for task in going:
                abandoned[task].cancelled = True
                task.cancel()

    def pause_accepting(self) -> tuple[socket.socket, ...]:
        """Serve who is connected, and accept nobody else until `resume_accepting`. Call it on the server's loop.

        Returns:
            the listening sockets, which nobody watches until then.
        """
        self._paused = True
        for listener in self._listeners:
            listener.accept_waiting()
            listener.hold()
        return tuple(self._sockets)

    def resume_accepting(self) -> None:
        """The opposite of `pause_accepting`. Call it on the server's loop."""
        self._paused = False
        if not self._held:
            for listener in self._listeners:
                listener.release()

    # Stopping.

    def _ask_stop(self, force: bool) -> None:  # noqa: FBT001 - call_soon_threadsafe has no keywords
        if self._starting is not None and (self._stop_asked is None or not self._stop_asked.is_set()):
            self._starting.cancel()
        if self._stop_asked is not None:
            self._stop_asked.set()
        if force and self._forced is not None:
            self._forced.set()
            self._check_quiet()
            if self._lifespan is not None:
                self._lifespan.hurry()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.stop()
        self._listeners.clear()
        close_all(self._sockets)
        self._sockets = []

    def _begin_drain(self, idle_seconds: float) -> None:
        self._stopping = True
        self._stop_listening()
        if not self._drain_began:
            self._drain_began = True
            for connection in list(self._connections):
                connecting = self._connecting.get(connection)
                if connecting is None:
                    connection.protocol.begin_drain(idle_seconds)
                else:
                    # It has no transport yet: a handshake that does not end is no reason to stay.
                    self.loop.call_later(idle_seconds, connecting.cancel)

    async def _wait_quiet(self, seconds: float | None) -> bool:
        """Wait until no connection and no call is left, or a second `stop` forces the end."""
        quiet = self._quiet
        if quiet is None or (not self._connections and not self._calls):
            return True
        quiet.clear()
        try:
            async with asyncio.timeout(seconds):
                await quiet.wait()
        except TimeoutError:
            pass
        return not self._connections and not self._calls

    def _check_quiet(self) -> None:
        if self._quiet is not None and ((not self._connections and not self._calls) or (self._forced is not None and self._forced.is_set())):
            self._quiet.set()

    async def _shut_down(self) -> None:
        """The orderly end: whatever happens, the application's shutdown runs last."""
        if self._stopped or not self._started:
            return
        self._stopped = True
        try:
            self._begin_drain(self.timeouts.timeout_drain_idle)
            if self._calls:
                _logger.info("waiting for %d running request%s", len(self._calls), "" if len(self._calls) == 1 else "s")
            forced = self._forced is not None and self._forced.is_set()
            if forced or not await self._wait_quiet(self.timeouts.timeout_graceful_shutdown):
                await self._cancel_calls()
        finally:
            for connection in list(self._connections):
                if connection.transport is None:
                    self._connecting[connection].cancel()
                else:
                    connection.protocol.abort()
            if self._connecting:
                await asyncio.wait(self._connecting.values())
            if self._lifespan is not None:
                await self._lifespan.shutdown()
            self._started = False

    async def _cancel_calls(self) -> None:
        """The graceful period is over."""
        calls = list(self._calls)
        if not calls:
            return
        _logger.warning("cancelling %d request%s that did not finish in time", len(calls), "" if len(calls) == 1 else "s")
        tasks = []
        for call in calls:
            call.cancelled = True
            if call.task is not None:
                call.task.cancel()
                tasks.append(call.task)
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE)
        for call in list(self._calls):
            # Cancelled before it ran its first step, or deaf to the cancellation.
            call.exchange.fail(503)
            self._calls.discard(call)

    # What the listeners and the connections tell (ConnectionHost).

    def _accepted(self, server: tuple[str, int | None], sock: socket.socket, address: Any) -> None:
        connection = AsyncioConnection(self, sock, address, server)
        self._connections.add(connection)
        if len(self._connections) >= self._max_connections and not self._held:
            self._held = True
            # At the limit every connection that goes lets one in: one line for all of them.
            line = self._held_limiter.line(
                f"{len(self._connections)} connections are open, the most that are allowed (--limit-connections); accepting is paused",
                self.loop.time(),
            )
            if line is not None:
                _logger.warning("%s", line)
            for listener in self._listeners:
                listener.hold()
        task = self.loop.create_task(self._connect(connection, sock))
        # The loop holds tasks weakly.
        self._connecting[connection] = task
        task.add_done_callback(functools.partial(self._connected, connection))

    async def _connect(self, connection: AsyncioConnection, sock: socket.socket) -> None:
        """Give the socket to the event loop; on TLS that includes the handshake."""
        tls = self.tls
        # A protocol by shape, without asyncio's base class.
        protocol: Any = connection.protocol if self.instrument is None else self.instrument.wrap_protocol(connection)
        try:
            if tls is None:
                await self.loop.connect_accepted_socket(lambda: protocol, sock)
            else:
                await self.loop.connect_accepted_socket(
                    lambda: protocol,
                    sock,
                    ssl=tls.context,
                    ssl_handshake_timeout=self.timeouts.timeout_tls_handshake,
                    ssl_shutdown_timeout=max(self.timeouts.timeout_linger, 0.1),
                )
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            # A handshake that failed, or a peer that went: its own affair. Or the server stops.
            _refusals.debug("%s: connection failed before its first request: %s", connection.peer_name, error)
            sock.close()
            self.connection_closed(connection)

    def _connected(self, connection: AsyncioConnection, _: asyncio.Task[None]) -> None:
        """The attempt is over; where it brought a transport, the connection drains with the others."""
        self._connecting.pop(connection, None)
        if self._drain_began and connection in self._connections:
            connection.protocol.begin_drain(self.timeouts.timeout_drain_idle)

    def _exchange_began(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """A request is there: run the application, if there is room."""
        if len(self._calls) >= self._max_calls:
            exchange.client = connection.client
            exchange.fail(503)
            return
        call = WebSocketCall(self._context, exchange, connection) if exchange.head.framing.upgrade else HttpCall(self._context, exchange, connection)
        self._calls.add(call)
        variables = self._variables.copy()
        if self.instrument is not None:
            variables.run(self.instrument.exchange_began, connection, exchange)
        self._start_call(call, connection.peer_name, variables, not connection.protocol.pipelined)

    def _call_finished(self, call: HttpCall | WebSocketCall) -> None:
        call.task = None
        self._calls.discard(call)
        if self._stopping:
            self._check_quiet()

    def _call_failed(self, exchange: Exchange, detail: str, error: BaseException | None) -> None:
        if self.instrument is None or not self.instrument.application_failed(exchange, detail, error):
            log_failure(exchange, detail, error)

    def _lifespan_failed(self, detail: str, error: BaseException | None) -> bool:
        return self.instrument is not None and self.instrument.application_failed(None, detail, error)

    def _exchange_ended(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """An exchange is over: log it, count it."""
        self._served += 1
        if self.instrument is not None:
            self.instrument.exchange_ended(connection, exchange)
        if self._max_requests is not None and self._served >= self._max_requests and self._stop_asked is not None and not self._stop_asked.is_set():
            _logger.info("%d requests were served, the most that are allowed (--limit-max-requests); stopping", self._served)
            self._stop_asked.set()
        if self._write_access is not None:
            self._write_access(connection, exchange)

    def request_refused(self, connection: AsyncioConnection, detail: str, status: int) -> None:
        """A request broke a rule: one line, and not too many of them."""
        if self.instrument is not None:
            self.instrument.request_refused(connection, detail, status)
        line = self._refusal_limiter.line(f"{connection.peer_name}: refused with {status}: {detail}", self.loop.time())
        if line is not None:
            _refusals.warning("%s", line)

    def connection_closed(self, connection: AsyncioConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if self._held and len(self._connections) < self._max_connections:
            self._held = False
            if not self._paused:
                self.resume_accepting()
        if self._stopping:
            self._check_quiet()

    def trusts(self, host: str) -> bool:
        """Whether the forwarded fields of this peer are believed."""
        return self._proxies is not None and self._proxies.trusts(host)


def _is_half_closed(connection: Any) -> bool:
    half_closed: bool = connection.protocol.half_closed
    return half_closed


def _server_name(address: Address) -> tuple[str, int | None]:
    """``scope["server"]``: host and port, or a UNIX socket's path and None (ASGI 2.2)."""
    return (address.path, None) if address.path is not None else (address.host or "", address.port)


def _with_jitter(limits: Limits) -> int | None:
    """How many requests are served: a random number more than what is asked for, so that servers do not restart all at once."""
    most, jitter = limits.limit_max_requests, limits.limit_max_requests_jitter
    return most + random.randint(0, jitter) if most is not None and jitter else most  # noqa: S311 - it protects nothing


def _descriptor_ceiling() -> int:
    """Nine tenths of the descriptors that the process may open."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 1 << 30
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else max(int(soft * _DESCRIPTOR_SHARE), 1)
