"""A server in a process of its own: the real command line, started, watched and ended by a test.

The law of this module: nothing polls. A child says itself that it accepts (``NOTIFY_SOCKET``), threads wait for its output and for its end, and every
wait has a limit. No child outlives the test run: `ChildProcess.close` kills what still runs, ``atexit`` does where nobody closed it, and on Linux the
kernel does where this process itself is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asgiserve.config import OPTIONS, build_config
from asgiserve.errors import ConfigError, LifespanError, StartupError
from asgiserve.notify import VARIABLE
from asgiserve.runtime.sockets import bind_all, close_all, describe_socket
from asgiserve.sources import load_env_file
from pytest_asgiserve.unstoppable import StartTimeoutError, StopTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from asgiserve.runtime.sockets import Address

__all__ = ["KEPT_BYTES", "ChildProcess", "ChildServer"]

KEPT_BYTES: Final = 1 << 20
"""How much output of a child is kept: the last MiB. What was dropped is counted, and said at the top."""

_READ_BYTES: Final = 65536
# More than a pipe can hold, so that one turn empties it; and an end, for a child that writes for ever.
_READS: Final = 32
_KILL_SECONDS: Final = 10.0
_SHOWN_LINES: Final = 60
# The limit of a UNIX socket's path is 108 bytes, and 104 on a Mac; what stands behind the folder for temporary files takes some 25.
_LONGEST_FOLDER: Final = 75

# As `python -m asgiserve`, but with the module search path of this process: what the test can import, the child can import. PYTHONPATH would be
# inherited by everything that the application starts, other Pythons too, and it would change the order.
_START: Final = "import sys; sys.path[:] = {path!r}; import runpy; runpy.run_module('asgiserve', run_name='__main__', alter_sys=True)"


class ChildProcess:
    """A process, its output and its end. `spawn` starts it, once; as a context manager it is closed at the end of the block.

    Its standard output and standard error are one stream, in the order in which they were written. It leads a process group of its own: Ctrl+C at the
    terminal reaches the tests and not it.
    """

    process: subprocess.Popen[bytes]

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept = bytearray()
        self._dropped = 0
        self._taken = 0
        self._ready = False
        self._running = False
        self._exit_status: int | None = None
        self._sent: set[int] = set()
        self._pipe = -1
        self._threads: list[threading.Thread] = []
        self._resources = contextlib.ExitStack()

    def spawn(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: str | os.PathLike[str] | None = None,
        pass_fds: Sequence[int] = (),
        notify: socket.socket | None = None,
    ) -> None:
        """Start it.

        Args:
            command: the program and its arguments.
            environment: all of the child's environment variables.
            cwd: the folder that it runs in; by default the current one.
            pass_fds: file descriptors that it inherits, under the same numbers.
            notify: a bound datagram socket that ``READY=1`` will come on. It is the caller's to close, after `close`.

        Raises:
            OSError: it cannot be started.
        """
        with contextlib.ExitStack() as resources, contextlib.ExitStack() as theirs:
            pipe, written = os.pipe()
            resources.callback(os.close, pipe)
            theirs.callback(os.close, written)
            theirs_to_hold, lifeline = os.pipe()
            resources.callback(os.close, lifeline)
            theirs.callback(os.close, theirs_to_hold)
            wake, woken = socket.socketpair()
            resources.callback(wake.close)
            resources.callback(woken.close)
            self.process = subprocess.Popen(  # noqa: S603 - the caller's own words, and no shell
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                pass_fds=(*pass_fds, theirs_to_hold),
                process_group=0,
            )
            _tie(theirs_to_hold, self.process.pid)
            self._resources = resources.pop_all()
        self._running = True
        atexit.register(self.kill)
        self._pipe = pipe
        os.set_blocking(pipe, False)
        name = f"asgiserve child {self.pid}"
        self._threads = [
            threading.Thread(target=self._watch, args=(woken, notify), name=f"{name}: output", daemon=True),
            threading.Thread(target=self._reap, args=(wake,), name=f"{name}: end", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # What it is and says.

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def exit_status(self) -> int | None:
        """What it ended with; -11 for signal 11. None while it runs."""
        with self._changed:
            return self._exit_status

    @property
    def output(self) -> str:
        """All that it wrote until now, but for what is beyond `KEPT_BYTES`. Bytes that are no UTF-8 are escaped."""
        return self.output_since(0)

    def mark(self) -> int:
        """Where its output is now, for `output_since`."""
        with self._changed:
            self._take_output()
            return self._dropped + len(self._kept)

    def output_since(self, mark: int) -> str:
        """What it wrote since `mark` was called.

        All is there that it wrote before this call: output that precedes a response precedes it here too.
        """
        with self._changed:
            self._take_output()
            missing = max(self._dropped - mark, 0)
            text = self._kept[max(mark - self._dropped, 0) :].decode("utf-8", "backslashreplace")
        return f"[{missing} bytes of output before this were not kept]\n{text}" if missing else text

    def take_output(self) -> str:
        """What it wrote since this was called last."""
        with self._changed:
            taken, self._taken = self._taken, self.mark()
            return self.output_since(taken)

    @property
    def lines(self) -> list[str]:
        """Its output by lines. While it runs, the last one only once it is complete."""
        with self._changed:
            *lines, rest = self.output.split("\n")
            if rest and self._exit_status is not None:
                lines.append(rest)
        return [line.removesuffix("\r") for line in lines]

    def wait_line(self, found: Callable[[str], object], timeout: float) -> str:
        """The first line of its output for which ``found`` is true, as soon as it is there.

        Raises:
            TimeoutError: it was not there within ``timeout`` seconds, or the child ended without it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._exit_status is not None or any(map(found, self.lines)), timeout)
            line = next(filter(found, self.lines), None)
        if line is None:
            ended = "" if self._exit_status is None else f" and ended with {_describe(self._exit_status)}"
            raise TimeoutError(f"{self._name} did not write the line that was waited for{ended}; it wrote:\n{_tail(self.output)}")
        return line

    @property
    def failure(self) -> str | None:
        """One line on an end that nobody asked for or that went wrong, else None.

        None is for one that runs, for exit status 0, and for the end by a signal that was sent with `signal`, `stop` or `kill`.
        """
        with self._changed:
            status, sent = self._exit_status, sorted(self._sent)
        # As a shell reports it, and as Python ends on Ctrl+C.
        if status is None or status == 0 or any(status in {-number, 128 + number} for number in sent):
            return None
        cause = f"after {', '.join(map(_signal_name, sent))}" if sent else "by itself"
        return f"{self._name} ended {cause} with {_describe(status)}"

    # What is done to it.

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        with self._changed:
            if self._running and self._exit_status is None:
                self._sent.add(number)
                self.process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit status, when it ends.

        Raises:
            TimeoutError: it did not end within ``timeout`` seconds. It goes on.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._exit_status is not None, timeout)
            if self._exit_status is not None:
                return self._exit_status
        raise TimeoutError(f"{self._name} did not end within {timeout:g} s; it wrote:\n{_tail(self.output)}")

    def stop(self, timeout: float) -> int | None:
        """End it in order, by SIGTERM, and return its exit status; None where it was never started.

        Raises:
            StopTimeoutError: it did not end within ``timeout`` seconds, and was killed.
        """
        if not self._running:
            return self._exit_status
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            return self.wait(timeout)
        self.kill()
        with contextlib.suppress(TimeoutError):
            self.wait(_KILL_SECONDS)
        raise StopTimeoutError(
            f"{self._name} did not end within {timeout:g} s of SIGTERM (stop_timeout, --asgi-stop-timeout) and was killed. "
            f"It wrote:\n{_tail(self.output)}"
        )

    def kill(self) -> None:
        """Kill it, with what it started, and do not wait."""
        with self._changed:
            if self._running and self._exit_status is None:
                self._sent.add(signal.SIGKILL)
                # It is just now reaped.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it where it still runs, and free everything. Its output and exit status stay readable. A second call does nothing.

        Raises:
            TimeoutError: the system did not end it.
        """
        if not self._running:
            return
        self.kill()
        self.wait(_KILL_SECONDS)
        self._running = False
        atexit.unregister(self.kill)
        for thread in self._threads:
            thread.join(_KILL_SECONDS)
        with self._changed:
            self._pipe = -1
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Waiting for it.

    @property
    def _name(self) -> str:
        return f"the server process {self.pid}"

    def _wait_ready(self, timeout: float) -> bool:
        """Whether it said in time that it is ready, and runs."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._exit_status is not None, timeout)
            return self._ready and self._exit_status is None

    def _watch(self, woken: socket.socket, notify: socket.socket | None) -> None:
        """In a thread: take what comes, until the child has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            selector.register(self._pipe, selectors.EVENT_READ)
            if notify is not None:
                selector.register(notify, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is woken:
                        return
                    with self._changed:
                        if notify is not None and key.fileobj is notify:
                            self._ready = self._ready or b"READY=1" in notify.recv(_READ_BYTES).split(b"\n")
                            self._changed.notify_all()
                        elif not self._take_output():
                            selector.unregister(self._pipe)

    def _reap(self, wake: socket.socket) -> None:
        """In a thread: wait for the end. What the child's own children write after it is not waited for."""
        status = self.process.wait()
        with self._changed:
            self._take_output()
            self._exit_status = status
            self._changed.notify_all()
        wake.send(b"\0")

    def _take_output(self) -> bool:
        """Take what is in the pipe, under the lock and without waiting. False: nothing comes any more."""
        for _ in range(_READS):
            if self._pipe < 0:
                return False
            try:
                data = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._kept += data
            self._changed.notify_all()
            if (excess := len(self._kept) - KEPT_BYTES) > 0:
                del self._kept[:excess]
                self._dropped += excess
        return True


class ChildServer(ChildProcess):
    """``python -m asgiserve APP`` on a socket that was bound here. `start` it; `stop` or `close` it.

    It runs in the current folder, with this process's environment and module search path; coverage measures it as it does any subprocess. Variables
    for options of asgiserve (``ASGISERVE_*``, ``FORWARDED_ALLOW_IPS``) are left out: ``Server(app, **options)`` does not read them either.

    Args:
        app: the application's name, ``"package.module:attribute"``.
        options: any option of the server, by its name, with a Python value or text. Those for addresses are for the socket that is bound here: by
            default 127.0.0.1 and a free port.
        sockets: bound sockets to listen on, instead of the options for addresses. They are closed in this process.
        start_timeout: seconds that it may take until it accepts.

    Raises:
        ConfigError: ``app`` is no name, or an option is wrong.
    """

    def __init__(
        self,
        app: str,
        options: Mapping[str, Any] | None = None,
        *,
        sockets: Sequence[socket.socket] | None = None,
        start_timeout: float = 5.0,
    ) -> None:
        super().__init__()
        if os.name != "posix":
            raise ConfigError('mode="process" needs a POSIX system, where a process inherits a socket; use mode="thread"')
        if not isinstance(app, str):
            raise ConfigError(
                f'mode="process" needs the application by its name, as in "package.module:app"; {app!r} cannot be handed to another process. '
                'Name it with @pytest.mark.asgiserve(app="package.module:app"), or use mode="thread"'
            )
        self._app = app
        self._options = {"port": 0, "use_colors": False, **(options or {})}
        self._config = build_config(self._options)
        self._given_sockets = sockets
        self._start_timeout = start_timeout
        self._owned = contextlib.ExitStack()
        self.addresses: tuple[Address, ...] = ()

    @property
    def address(self) -> Address:
        """Where it listens, the first of `addresses`, once started; ``address.url`` is what a client opens."""
        return self.addresses[0]

    def start(self) -> None:
        """Start it; returns when it accepts connections.

        Raises:
            StartupError: it ended before it accepted; `ConfigError` and `LifespanError` where its exit status says so. The message has its output.
            StartTimeoutError: it took longer than ``start_timeout``, and was killed.
        """
        __tracebackhide__ = True
        with contextlib.ExitStack() as owned:
            config = self._config
            bound = bind_all(config.bind) if self._given_sockets is None else list(self._given_sockets)
            owned.callback(close_all, bound)
            self.addresses = tuple(describe_socket(sock, "https" if config.tls.ssl_certfile else "http") for sock in bound)
            folder = Path(owned.enter_context(_private_folder()))
            notify = owned.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            notify.bind(str(folder / "notify"))
            command = [sys.executable, "-c", _START.format(path=sys.path), self._app, "--config", _write_options(folder, self._options)]
            for sock in bound:
                command += ["--bind", f"fd://{sock.fileno()}"]
            environment = {**_environment(config.app.env_file), VARIABLE: str(folder / "notify")}
            try:
                self.spawn(command, environment=environment, pass_fds=[sock.fileno() for sock in bound], notify=notify)
            except (OSError, ValueError) as error:
                raise StartupError(f"the server process cannot be started: {error}") from error
            owned.callback(super().close)
            # Here they would take connections that nobody serves, once the child has ended.
            for sock in bound:
                sock.close()
            if not self._wait_ready(self._start_timeout):
                raise self._not_ready()
            self._owned = owned.pop_all()

    def _not_ready(self) -> Exception:
        status = self.exit_status
        if status is None:
            return StartTimeoutError(
                f"{self._name} did not accept connections within {self._start_timeout:g} s (start_timeout, --asgi-start-timeout) and was killed. "
                f"It wrote:\n{_tail(self.output)}"
            )
        kind = {ConfigError.exit_code: ConfigError, LifespanError.exit_code: LifespanError}.get(status, StartupError)
        return kind(f"{self._name} ended with {_describe(status)} before it accepted connections. It wrote:\n{_tail(self.output)}")

    def stop(self, timeout: float) -> int | None:
        """As `ChildProcess.stop`, and `close` it."""
        __tracebackhide__ = True
        try:
            return super().stop(timeout)
        finally:
            self.close()

    def close(self) -> None:
        """As `ChildProcess.close`; the files of UNIX sockets that were bound here are removed as well."""
        self._owned.close()


def _tie(lifeline: int, group: int) -> None:
    """Let the kernel kill ``group`` when the other end of the pipe ``lifeline`` is closed. Only this process has that, and loses it however it ends.

    Only Linux lets one choose the signal; elsewhere `ChildProcess.close` and ``atexit`` must do.
    """
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - not on Windows

        # A sandbox may not know it.
        with contextlib.suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -group)
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that only we may enter, with a path that is short enough for a socket in it."""
    short = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER
    return tempfile.TemporaryDirectory(prefix="asgiserve-", dir=None if short else "/tmp")  # noqa: S108 - mode 700 and a random name


def _environment(env_file: str | None) -> dict[str, str]:
    """The child's environment: ours, without what would be an option there."""
    variables = dict(os.environ)
    if env_file:
        load_env_file(env_file, variables)
    kept = {name: value for name, value in variables.items() if not name.startswith("ASGISERVE_") and name != "FORWARDED_ALLOW_IPS"}
    # What the application prints is there when the test looks, and so is where Python was when it crashed.
    return {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **kept}


def _write_options(folder: Path, options: Mapping[str, Any]) -> str:
    """Write ``options`` as a TOML file, which has a way to say every one of their values; return its path."""
    lines = []
    for name, value in options.items():
        # Not there: an option of uvicorn's, at the one value that it may have here. env_file has been read.
        if name in OPTIONS and name != "env_file":
            parsed = OPTIONS[name].parse(value)
            lines.append(f"{name} = {_toml(_write_json(folder, name, parsed) if isinstance(parsed, Mapping) else parsed)}\n")
    path = folder / "options.toml"
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(f'an option has text that is not Unicode, which mode="process" cannot hand over: {error.object!r}') from None
    return str(path)


def _write_json(folder: Path, name: str, value: Mapping[str, Any]) -> str:
    """A mapping goes into a file of its own: TOML has no null."""
    path = folder / f"{name}.json"
    try:
        path.write_text(json.dumps(value), encoding="utf-8")
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{name}: mode="process" hands the mapping over as JSON: {error}. Name objects by text, as in "ext://sys.stdout"') from None
    return str(path)


def _toml(value: Any) -> str:
    """A parsed option as TOML."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for surrogate pairs, which it would make of what is not ASCII; and DEL must be escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


def _tail(text: str) -> str:
    """The last lines of an output, indented, for a message."""
    lines = text.splitlines()
    shown = [f"[{len(lines) - _SHOWN_LINES} lines before this are not shown]"] if len(lines) > _SHOWN_LINES else []
    return "\n".join(f"    {line}" for line in [*shown, *lines[-_SHOWN_LINES:]]) or "    (nothing)"


def _describe(status: int) -> str:
    return f"exit status {status}" + (f" ({_signal_name(-status)})" if status < 0 else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
