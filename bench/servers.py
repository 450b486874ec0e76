"""The servers that are measured: started alike, on one core, and watched from outside through /proc.

The law of this module: every server gets what a careful user would give it: one worker, uvloop and httptools where it can use them, its access log
off, log level warning, its own defaults for the rest. How each is started is known to `asgi_conformance.servers`; here is what a benchmark adds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import ssl
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asgi_conformance.servers import Place, Target, TargetError, find_target, unavailable_reason, version_of
from pytest_asgiserve.process import ChildProcess
from pytest_asgiserve.unstoppable import StopTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "LOADED_WITH",
    "PEERS",
    "ROOT",
    "Server",
    "TargetError",
    "available",
    "free_of_options",
    "installed",
    "running",
    "target_of",
    "unavailable",
    "versions",
]

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ("asgiserve", "uvicorn", "granian", "hypercorn", "daphne", "gunicorn")
"""The servers, by the names that `running` takes. It takes those of the conformance suite too: ``uvicorn[h11]``."""
LOADED_WITH: Final = ("uvloop", "httptools", "h11", "websockets", "fastapi")
"""What servers are made of: its version is said beside theirs."""

_TARGETS: Final = {"asgiserve": "asgiserve[httptools]", "uvicorn": "uvicorn[httptools]"}
_LOOPS: Final[Mapping[str, tuple[str, ...]]] = {
    "asgiserve": ("--loop", "uvloop"),
    "uvicorn": ("--loop", "uvloop"),
    "granian": ("--loop", "uvloop", "--workers", "1"),
    "hypercorn": ("--worker-class", "uvloop", "--workers", "1"),
    # Twisted's reactor on asyncio; there is no choice.
    "daphne": (),
    "gunicorn": ("--asgi-loop", "uvloop", "--workers", "1"),
}
_QUIET: Final[Mapping[str, tuple[str, ...]]] = {
    "asgiserve": ("--no-access-log", "--log-level", "warning"),
    "uvicorn": ("--no-access-log", "--log-level", "warning"),
    "granian": ("--no-access-log", "--log-level", "warning"),
    "hypercorn": ("--log-level", "warning"),
    "daphne": ("--verbosity", "0"),
    "gunicorn": ("--log-level", "warning"),
}
# Where the access log is to be: {} is the file. The others write to their standard output, which is that file then.
_LOGGING: Final[Mapping[str, tuple[str, ...]]] = {
    "asgiserve": ("--access-log", "--log-level", "info"),
    "uvicorn": ("--access-log", "--log-level", "info"),
    "granian": ("--access-log", "--log-level", "info"),
    "hypercorn": ("--access-logfile", "{}", "--log-level", "info"),
    "daphne": ("--access-log", "{}", "--verbosity", "0"),
    "gunicorn": ("--access-logfile", "{}", "--log-level", "warning"),
}
_DROPPED: Final = ("ASGISERVE_", "UVICORN_", "HYPERCORN_", "DAPHNE_", "GRANIAN_", "GUNICORN_")
_DROPPED_NAMES: Final = frozenset({"FORWARDED_ALLOW_IPS", "PORT", "WEB_CONCURRENCY"})

# Before the server is, the core it has, its limit of descriptors and its output are set; then this process becomes the server.
_LAUNCH: Final = """
import os, resource, sys
cpu, nofile, output = sys.argv[1:4]
if cpu:
    os.sched_setaffinity(0, {int(cpu)})
if nofile:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(nofile), int(nofile)))
if output:
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
os.execv(sys.argv[4], sys.argv[4:])
"""
_START_SECONDS: Final = 20.0
_TRIES: Final = 10
_STOP_SECONDS: Final = 3.0
_KILLED_SECONDS: Final = 5.0
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.1
_SHOWN_BYTES: Final = 4000
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# Linux's number for the clock of a process (clock_getcpuclockid(3)): its bits below the third say what is counted, 2 is the time on a CPU.
_CPU_CLOCK: Final = 2


class Server:
    """A server that runs. Made by `running`, which stops it.

    What it says of itself is of the whole tree of processes: an arbiter, a worker, and whatever else they started.

    Attributes:
        name: as `running` was given it.
        version: of what is installed; None where nobody knows.
        port: on 127.0.0.1.
        pid: of the first process; the others are its descendants.
        tls: whether it speaks TLS.
        command: how it was started.
    """

    def __init__(self, name: str, version: str | None, port: int, command: Sequence[str], *, tls: bool, log: Path | None) -> None:
        self.name = name
        self.version = version
        self.port = port
        self.command = tuple(command)
        self.tls = tls
        self._log = log
        self._child = ChildProcess()

    @property
    def pid(self) -> int:
        """Of the first process."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether its first process runs."""
        return self._child.exit_status is None

    @property
    def exit_status(self) -> int | None:
        """What its first process ended with; None while it runs."""
        return self._child.exit_status

    @property
    def output(self) -> str:
        """What it wrote, the last MiB of it; with an access log to a file, that file's last 4000 bytes."""
        if self._log is None:
            return self._child.output
        with contextlib.suppress(FileNotFoundError), self._log.open("rb") as file:
            file.seek(max(self._log.stat().st_size - _SHOWN_BYTES, 0))
            return file.read().decode("utf-8", "backslashreplace")
        return ""

    @property
    def logged_lines(self) -> int:
        """How many lines the access log has. 0 without one."""
        if self._log is None or not self._log.exists():
            return 0
        with self._log.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def pids(self) -> list[int]:
        """The processes of the tree, the first one first."""
        return _tree(self.pid)

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree; of processes that ended and were waited for too."""
        total = 0.0
        for pid in self.pids():
            # It may end between the two looks.
            with contextlib.suppress(OSError, IndexError):
                fields = _stat(pid)
                # The clock of the process counts nanoseconds, where stat has ticks of 10 ms for the same; cutime and cstime are its dead children's.
                total += time.clock_gettime((~pid << 3) | _CPU_CLOCK) + (int(fields[13]) + int(fields[14])) / _TICKS
        return total

    def rss_bytes(self) -> int:
        """Memory of the whole tree: PSS, which counts a page that n processes share as an n-th of it in each."""
        return sum(_pss(pid) for pid in self.pids())

    def descriptors(self) -> int:
        """Open file descriptors of the whole tree."""
        found = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return found

    def threads(self) -> int:
        """Threads of the whole tree."""
        found = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found += sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
        return found

    # Of `running` alone.

    def _start(self, *, environment: Mapping[str, str], cwd: str, cpu: int | None, nofile: int | None) -> None:
        before = ["" if cpu is None else str(cpu), "" if nofile is None else str(nofile), str(self._log or "")]
        try:
            self._child.spawn([sys.executable, "-I", "-S", "-c", _LAUNCH, *before, *self.command], environment=environment, cwd=cwd)
        except OSError as error:
            raise TargetError(f"{self.name} cannot be started: {error}") from error

    def _wait_ready(self, path: str, seconds: float) -> None:
        """Until it answers a request, which is more than that it listens: gunicorn and granian listen before their worker is there.

        One answer may take a tenth of the time.
        """
        end = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while True:
            try:
                return _ask(self.port, path, seconds / _TRIES, tls=self.tls)
            except (OSError, http.client.HTTPException) as error:
                last = f"{type(error).__name__}: {error}"
            if not self.alive or time.monotonic() > end:
                how = f"ended with status {self.exit_status} before it answered" if not self.alive else f"did not answer within {seconds:g} s: {last}"
                raise TargetError(f"{self.name} {how}. It wrote:\n{self.output[-_SHOWN_BYTES:] or '(nothing)'}")
            # Its end ends the pause.
            with contextlib.suppress(TimeoutError):
                self._child.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _stop(self) -> None:
        """By SIGTERM, and what is left of the tree after a while by SIGKILL."""
        with contextlib.ExitStack() as opened:
            descriptors = {}
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    descriptor = os.pidfd_open(pid)
                    opened.callback(os.close, descriptor)
                    descriptors[descriptor] = pid
            with contextlib.suppress(StopTimeoutError):
                self._child.stop(_STOP_SECONDS)
            # Of a first process that was killed, the others live on.
            for descriptor in descriptors:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            left = list(descriptors)
            end = time.monotonic() + _KILLED_SECONDS
            while left and (ended := select.select(left, [], [], max(end - time.monotonic(), 0))[0]):
                left = [descriptor for descriptor in left if descriptor not in ended]
        self._child.close()


@contextlib.contextmanager
def running(  # noqa: PLR0913 - all but two by name alone
    name: str,
    app: str = "bench.apps:app",
    *,
    options: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    access_log: bool = False,
    cpu: int | None = None,
    tls: tuple[str, str] | None = None,
    nofile: int | None = None,
    python: str = sys.executable,
    prefix: Sequence[str] = (),
    ready_path: str = "/",
    ready_seconds: float = _START_SECONDS,
) -> Iterator[Server]:
    """A server with ``app`` on 127.0.0.1, that answers; it and all that it started have ended behind the block.

    Args:
        name: one of `PEERS`, or a target of the conformance suite.
        app: the application, importable from the root of the repository.
        options: more arguments for its command line.
        settings: by the names of `asgi_conformance.servers.known_targets`: ``{"keep_alive": 60}``. One that the server does not know is left out.
        access_log: on, into a file; see `Server.logged_lines`.
        cpu: the core that it may run on; by default any.
        tls: the paths of its certificate and its key.
        nofile: its limit of file descriptors, the hard one too, so that it cannot raise it.
        python: the interpreter.
        prefix: a command that runs the server, with its options: ``("/usr/bin/valgrind", "--tool=callgrind")``. It becomes the server's process.
        ready_path: is asked until there is an answer, of any status.
        ready_seconds: how long.

    Raises:
        TargetError: it is not installed, ended, or does not answer. The message has what it wrote.
    """
    target = target_of(name, python)
    if (reason := unavailable_reason(target)) is not None:
        raise TargetError(reason)
    with contextlib.ExitStack() as resources:
        folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="asgiserve-bench-", ignore_cleanup_errors=True))
        port = resources.enter_context(_held_port())
        log = Path(folder) / "access.log" if access_log else None
        told = {**(settings or {}), **({} if tls is None else {"certfile": tls[0], "keyfile": tls[1]})}
        command = [*prefix, *_command(target, Place(app, str(ROOT), target.python, port=port), told, tls), *_base_options(target, log), *options]
        server = Server(name, version_of(target), port, command, tls=tls is not None, log=log)
        server._start(environment=free_of_options(os.environ), cwd=folder, cpu=cpu, nofile=nofile)  # noqa: SLF001 - of this module
        resources.callback(server._stop)  # noqa: SLF001 - as above
        server._wait_ready(ready_path, ready_seconds)  # noqa: SLF001 - as above
        yield server


def target_of(name: str, python: str = sys.executable) -> Target:
    """What the conformance suite knows of the server, in the interpreter ``python``.

    Raises:
        TargetError: there is none of that name.
    """
    known = _TARGETS.get(name, name)
    return find_target(known if python == sys.executable or "@" in known else f"{known}@{python}")


def available(names: Iterable[str] = PEERS, python: str = sys.executable) -> tuple[list[str], dict[str, str]]:
    """Which of ``names`` can be started, and of the others why not: "daphne is not installed: pip install daphne"."""
    reasons = {name: unavailable_reason(target_of(name, python)) for name in names}
    return [name for name, reason in reasons.items() if reason is None], {name: reason for name, reason in reasons.items() if reason is not None}


def versions(names: Iterable[str] = PEERS, python: str = sys.executable) -> dict[str, str]:
    """The version of each, "?" where nobody knows."""
    return {name: version_of(target_of(name, python)) or "?" for name in names}


def unavailable(name: str, python: str = sys.executable, modules: Iterable[str] = ()) -> str:
    """Why the interpreter cannot import the server or one of ``modules``, without the folder in which it is; "" where it can."""
    target = target_of(name, python)
    found = unavailable_reason(replace(target, modules={**target.modules, **{module: module for module in modules}}))
    return "" if found is None else found.replace(python, Path(python).name)


def installed(distributions: Iterable[str] = LOADED_WITH, python: str = sys.executable) -> dict[str, str]:
    """The versions of those that the interpreter has."""
    target = target_of(PEERS[0], python)
    found = {name: version_of(replace(target, distribution=name)) for name in distributions}
    return {name: version for name, version in found.items() if version is not None}


def free_of_options(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` without what would configure a server, and with the repository on the module search path."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_DROPPED) and name not in _DROPPED_NAMES}
    paths = [str(ROOT), *(part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part)]
    return {**kept, "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in paths)}


def _command(target: Target, place: Place, told: Mapping[str, object], tls: tuple[str, str] | None) -> list[str]:
    """The target's command line, with the settings that it knows."""
    if target.command is None:
        raise TargetError(f"{target.name} is not started by a command")
    if tls is not None and target.distribution == "daphne":
        # An endpoint of Twisted's, which is a description of its own; what the installation has for it, daphne depends on.
        endpoint = f"ssl:{place.port}:interface={place.host}:privateKey={tls[1]}:certKey={tls[0]}"
        return [place.python, "-m", "daphne", "--endpoint", endpoint, place.app]
    arguments = [part for name, value in told.items() if name in target.settings for part in target.settings[name].apply(value)[0]]
    return [*target.command(place), *arguments]


def _base_options(target: Target, log: Path | None) -> list[str]:
    name = target.distribution or ""
    return [*_LOOPS.get(name, ()), *(part.replace("{}", str(log)) for part in (_QUIET if log is None else _LOGGING).get(name, ()))]


@contextlib.contextmanager
def _held_port() -> Iterator[int]:
    """A port that is the server's alone: it is bound here too, so that nobody else is given it meanwhile."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def _ask(port: int, path: str, seconds: float, *, tls: bool) -> None:
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Connection": "close"})
        connection.getresponse().read()


def _tree(pid: int) -> list[int]:
    """A process and its descendants, each behind its parent."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on, which is the first behind a name that may have blanks."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
