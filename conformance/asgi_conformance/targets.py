"""Targets: a server with the reference application in it, started on the loopback interface, watched, and ended.

The law of this module: what runs is known to be ours before a case sees it (it says a token that only it was told), every wait is bounded, and
nothing that was started here outlives `RunningTarget.close`. Where a server gives no sign that it is ready it is asked, with pauses that grow.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from asgi_conformance import reference
from asgi_conformance.observed import Event, Raised, Record, read_record
from asgi_conformance.servers import (
    ENTRY_POINTS,
    Place,
    Setting,
    Target,
    TargetError,
    find_target,
    known_targets,
    unavailable_reason,
    version_of,
)
from pytest_asgiserve.process import ChildProcess
from pytest_asgiserve.unstoppable import StopTimeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

__all__ = [
    "ENTRY_POINTS",
    "Event",
    "Place",
    "Raised",
    "Record",
    "RunningTarget",
    "Setting",
    "Target",
    "TargetError",
    "find_target",
    "known_targets",
    "start_target",
    "unavailable_reason",
    "version_of",
]

_BACKLOG: Final = 2048
_SHOWN_LINES: Final = 40
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25
# A question that nobody answers is asked again: whoever took it may have died with it.
_ONE_ANSWER: Final = 2.0
_ANSWER_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0
_LEFT_SECONDS: Final = 3.0
_KILLED_SECONDS: Final = 2.0
_DROPPED: Final = ("ASGISERVE_", "ASGI_CONFORMANCE_", "UVICORN_", "HYPERCORN_", "DAPHNE_", "GRANIAN_", "GUNICORN_")
_DROPPED_NAMES: Final = frozenset({"FORWARDED_ALLOW_IPS", "PORT", "WEB_CONCURRENCY"})


class RunningTarget:
    """A server that hosts the reference application. Made by `start_target`; a context manager that stops it, and never raises because of that.

    Attributes:
        target: what it is.
        address: host and port, or the path of a UNIX socket.
        settings: by name, each setting that the server can be told and what it has: the value told, else its default (None: off or unknown).
        ignored: the settings that were asked for and that this server cannot be told.
        child: its process; None for a ``url:`` target.
        stop_problem: what went wrong when it was stopped: it had to be killed, or left processes behind. Else None.
    """

    def __init__(self, target: Target, settings: Mapping[str, Any]) -> None:
        self.target = target
        self.address: tuple[str, int] | str = ("", 0)
        self.settings: dict[str, Any] = {name: setting.default for name, setting in target.settings.items()}
        self.ignored = sorted(settings.keys() - target.settings.keys())
        self.child: ChildProcess | None = None
        self.stop_problem: str | None = None
        self._arguments: list[str] = []
        for name in settings.keys() & target.settings.keys():
            arguments, self.settings[name] = target.settings[name].apply(settings[name])
            self._arguments += arguments
        self._token = "" if target.url else secrets.token_hex(16)
        self._tls = self.settings.get("certfile") is not None or (target.url or "").startswith("https:")
        self._pid: int | None = None
        self._journal: Path | None = None
        self._journal_text = ""
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # Starting.

    def _start(self, bind: str | None, port: int | None, lifespan: str, app: str, environment: Mapping[str, str]) -> None:
        if self.target.url is not None:
            parts = urlsplit(self.target.url)
            self.address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            return
        if (reason := unavailable_reason(self.target)) is not None:
            raise TargetError(reason)
        way = bind or self.target.bind[0]
        if way not in self.target.bind:
            raise TargetError(f"{self.target.name} cannot listen by {way}, only by {' or '.join(self.target.bind)}")
        if self.target.command is None:
            raise TargetError(f"{self.target.name} has neither a command nor a URL")
        with contextlib.ExitStack() as resources, contextlib.ExitStack() as spawning:
            folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="asgi-conformance-", ignore_cleanup_errors=True)))
            # Only the reference application is on the server's path then, and none of the suite's other modules.
            shutil.copytree(Path(reference.__file__).parent, folder / "reference", ignore=shutil.ignore_patterns("__pycache__"))
            self._journal = folder / "journal"
            resources.callback(self._keep_journal)
            place = Place(app, str(folder), self.target.python)
            fds: list[int] = []
            if way == "uds":
                self.address = str(folder / "socket")
                place = _replace(place, uds=self.address)
            else:
                # Where the server shares the port, it stays ours until the end, and nobody is given it meanwhile; so it is on Linux.
                share = way == "port" and self.target.shares_port and sys.platform == "linux"
                sock = _bind(port, share=share)
                self.address = sock.getsockname()[:2]
                if way == "fd":
                    # Clients wait from now on, and need not ask again until somebody is there.
                    sock.listen(_BACKLOG)
                    fds = [sock.fileno()]
                    place = _replace(place, fd=sock.fileno())
                    spawning.callback(sock.close)
                else:
                    place = _replace(place, port=self.address[1])
                    if share:
                        resources.callback(sock.close)
                    else:
                        sock.close()
            variables = _environment(str(folder), self.target)
            variables |= {
                "ASGI_CONFORMANCE_LIFESPAN": lifespan,
                "ASGI_CONFORMANCE_TOKEN": self._token,
                "ASGI_CONFORMANCE_JOURNAL": str(self._journal),
            }
            command = [*self.target.command(place), *self._arguments]
            child = ChildProcess()
            try:
                child.spawn(command, environment=variables | dict(environment), cwd=None if self.target.in_place else folder, pass_fds=fds)
            except (OSError, ValueError) as error:
                raise TargetError(f"{self.target.name} cannot be started: {' '.join(command)}: {error}") from error
            resources.callback(child.close)
            self.child = child
            self._resources = resources.pop_all()

    def wait_ready(self, timeout: float) -> None:
        """Wait until the reference application answers, and is ours. `start_target` has done it, but with ``wait=False``.

        Raises:
            TargetError: it did not in ``timeout`` seconds, or the server ended before.
        """
        end = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        last = "it was not asked"
        while True:
            self._check_running()
            left = end - time.monotonic()
            if left <= 0:
                raise TargetError(f"{self.target.name} did not answer within {timeout:g} s: {last}{self._told()}")
            try:
                facts = self._ask("GET", "facts", seconds=min(left, _ONE_ANSWER))
            except (OSError, http.client.HTTPException, TargetError) as error:
                last = f"{type(error).__name__}: {error}"
            else:
                if isinstance(facts, dict) and facts.get("token") == (self._token or facts.get("token", self)):
                    self._pid = facts["pid"]
                    return
                last = "what answers there is not the reference application that was started"
            if self.child is None:
                time.sleep(min(pause, left))
            else:
                # Its end ends the pause.
                with contextlib.suppress(TimeoutError):
                    self.child.wait(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _check_running(self) -> None:
        if self.child is not None and self.child.exit_status is not None:
            raise TargetError(f"{self.target.name} ended with status {self.child.exit_status} before it answered{self._told()}")

    def _told(self) -> str:
        lines = self.output.splitlines()
        text = "\n".join(f"    {line}" for line in lines[-_SHOWN_LINES:])
        return "" if self.child is None else f". It wrote:\n{text or '    (nothing)'}"

    # The process.

    @property
    def alive(self) -> bool:
        """Whether its process runs; of a ``url:`` target, whether it answers."""
        if self.child is not None:
            return self.child.exit_status is None
        with contextlib.suppress(OSError, http.client.HTTPException, TargetError):
            self._ask("GET", "mark")
            return True
        return False

    @property
    def output(self) -> str:
        """All that it wrote, the last MiB of it; empty for a ``url:`` target."""
        return "" if self.child is None else self.child.output

    def mark_output(self) -> int:
        """Where its output is now, for `output_since`."""
        return 0 if self.child is None else self.child.mark()

    def output_since(self, mark: int) -> str:
        """What it wrote since `mark_output`."""
        return "" if self.child is None else self.child.output_since(mark)

    def signal(self, number: int) -> None:
        """Send its (main) process a signal; nothing happens where it has ended.

        Raises:
            TargetError: it was not started here.
        """
        self._need_child().signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit status, when it ends.

        Raises:
            TargetError: it was not started here.
            TimeoutError: it did not end in time.
        """
        return self._need_child().wait(timeout)

    @property
    def exit_status(self) -> int | None:
        """What it ended with, -15 for SIGTERM; None while it runs, and of a ``url:`` target."""
        return None if self.child is None else self.child.exit_status

    def stop(self, timeout: float = _STOP_SECONDS) -> int | None:
        """End it by SIGTERM, and after ``timeout`` seconds by SIGKILL; free everything. What went wrong is in `stop_problem`, nothing is raised.

        Its exit status, records that were read, output and journal stay. A second call does nothing.
        """
        if self.child is not None:
            try:
                self.child.stop(timeout)
            except StopTimeoutError:
                self.stop_problem = f"{self.target.name} did not end within {timeout:g} s of SIGTERM and was killed"
            left = _end_left_behind(self._token, _LEFT_SECONDS)
            if left and self.stop_problem is None:
                self.stop_problem = f"{self.target.name} ended and left {len(left)} processes behind, which were killed: {', '.join(map(str, left))}"
        self.close()
        return self.exit_status

    def close(self) -> None:
        """Kill what still runs, and free everything."""
        if self.child is not None and self.child.exit_status is None:
            self.child.kill()
        resources, self._resources = self._resources, contextlib.ExitStack()
        resources.close()

    def _need_child(self) -> ChildProcess:
        if self.child is None:
            raise TargetError(f"{self.target.name} was not started here")
        return self.child

    # The reference application.

    @property
    def url(self) -> str:
        """``http://127.0.0.1:8000``; of a UNIX socket only a name."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}+unix:{self.address}" if isinstance(self.address, str) else f"{scheme}://{self.address[0]}:{self.address[1]}"

    @property
    def worker_pid(self) -> int | None:
        """The process that answered first: the server's own, or the worker that it started."""
        return self._pid

    def facts(self) -> dict[str, Any]:
        """What the application says about its process, as JSON has it.

        ``pid``, ``python``, ``lifespan`` (its events so far), ``tasks``, ``threads``, ``descriptors``, ``rss`` (bytes), ``loop``, ``loop_class``,
        ``calls``, ``running`` (calls that have not ended), ``state``, ``extensions``, ``asgi``.

        Raises:
            TargetError: the server does not answer as it should.
        """
        return dict(self._tell("GET", "facts"))

    def mark(self) -> int:
        """How many calls there have been, for `records`.

        Raises:
            TargetError: as `facts`.
        """
        return int(self._tell("GET", "mark"))

    def records(self, since: int = 0, *, count: int = 0, timeout: float = 2.0) -> list[Record]:
        """The calls after the mark ``since``.

        As soon as there are at least ``count`` of them and all have ended; or after ``timeout`` seconds, as they are then.

        Raises:
            TargetError: as `facts`; or another process answers than in the beginning, and what was recorded is lost: the server restarted its worker.
        """
        found = self._tell("GET", f"records?since={since}&count={count}&timeout={timeout:g}", seconds=timeout + _ANSWER_SECONDS)
        return [read_record(data) for data in found]

    def next_script(self, script: Sequence[Any]) -> None:
        """Let the next call without a script of its own follow ``script``: for requests whose head is under test.

        Raises:
            TargetError: as `facts`.
        """
        self._tell("POST", "next", body=reference.dumps_script(script).encode())

    def set_flag(self, name: str) -> None:
        """Set a flag that a script waits for with ``["await", name]``.

        Raises:
            TargetError: as `facts`.
        """
        self._tell("POST", f"set/{quote(name, safe='')}")

    def wait_flag(self, name: str, timeout: float = 5.0) -> bool:
        """Whether a script has ``["set", name]``, as soon as it has, or False after ``timeout`` seconds.

        Raises:
            TargetError: as `facts`.
        """
        return bool(self._tell("GET", f"await/{quote(name, safe='')}?timeout={timeout:g}", seconds=timeout + _ANSWER_SECONDS))

    def journal(self) -> list[dict[str, Any]]:
        """What the application wrote into its journal, which outlives it, as JSON has it. Empty for a ``url:`` target.

        Each entry has ``pid``, ``time`` (as `time.time` says it) and ``event``: "lifespan" (with ``do`` "scope", "receive", "send", "returned" or
        "raised", ``loop``, and ``scope``, ``message`` or ``error``); and of each call, with its ``number``, "begin" (``type``, ``path``),
        "disconnect" (``message``), "note" (``name``, ``value``: those of the step ``note``) and "end" (``how``, ``error``).
        """
        self._keep_journal()
        # The last line may be one that is being written.
        return [json.loads(line) for line in self._journal_text.splitlines(keepends=True) if line.endswith("\n")]

    def _keep_journal(self) -> None:
        if self._journal is not None:
            with contextlib.suppress(FileNotFoundError):
                self._journal_text = self._journal.read_text(encoding="utf-8")

    def _tell(self, method: str, what: str, *, body: bytes | None = None, seconds: float = _ANSWER_SECONDS) -> Any:
        try:
            return self._ask(method, what, body=body, seconds=seconds)
        except (OSError, http.client.HTTPException) as error:
            ended = "" if self.alive else f"; it ended with status {self.exit_status}"
            raise TargetError(f"{self.target.name} does not answer {what.partition('?')[0]}: {type(error).__name__}: {error}{ended}") from error

    def _ask(self, method: str, what: str, *, body: bytes | None = None, seconds: float = _ANSWER_SECONDS) -> Any:
        connection = _Connection(self.address, seconds, encrypted=self._tls)
        try:
            connection.request(method, f"{self.settings.get('root_path') or ''}{reference.CONTROL}{what}", body, {"Connection": "close"})
            response = connection.getresponse()
            text = response.read()
            if response.status != http.client.OK:
                raise TargetError(f"{what.partition('?')[0]} was answered with {response.status}: {text[:200]!r}")
            pid = int(response.getheader("x-asgi-conformance-pid") or 0)
            if self._pid not in {None, pid} and (self.settings.get("workers") or 1) == 1:
                was, self._pid = self._pid, pid
                raise TargetError(f"{self.target.name} has another worker: process {was} is gone, with what it recorded, and {pid} answers")
            try:
                return json.loads(text)
            except ValueError as error:
                raise TargetError(f"{what.partition('?')[0]} was not answered with JSON: {error}: {text[:200]!r}") from None
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """To a host and port or to a UNIX socket, encrypted or not; whose certificate it is does not matter, for the token says who answers."""

    def __init__(self, address: tuple[str, int] | str, seconds: float, *, encrypted: bool) -> None:
        super().__init__("localhost" if isinstance(address, str) else address[0], timeout=seconds)
        if not isinstance(address, str):
            self.port = address[1]
        self._address = address
        self._seconds = seconds
        self._encrypted = encrypted

    def connect(self) -> None:
        if isinstance(self._address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(self._seconds)
            self.sock = sock
            sock.connect(self._address)
        else:
            self.sock = socket.create_connection(self._address, self._seconds)
        if self._encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)


def start_target(
    target: Target | str,
    *,
    timeout: float = 15.0,
    settings: Mapping[str, Any] | None = None,
    lifespan: str = "ok",
    bind: str | None = None,
    port: int | None = None,
    app: str = "reference:app",
    environment: Mapping[str, str] | None = None,
    wait: bool = True,
) -> RunningTarget:
    """Start a server with the reference application in it.

    Args:
        target: the server, or its name as `find_target` has it.
        timeout: seconds that it may take until the application answers.
        settings: what it is to be told, by the names of `known_targets`; what it cannot be told is in `RunningTarget.ignored`.
        lifespan: how the application behaves in its lifespan: one of `reference.LIFESPANS`.
        bind: "fd", "port" or "uds"; by default what the target prefers.
        port: by default a free one.
        app: another application of the same module: "reference:legacy_app".
        environment: further variables for the process.
        wait: until the application answers. Without it the caller calls `RunningTarget.wait_ready`, or waits for the end.

    Raises:
        TargetError: it is not installed, cannot be started, ended, or did not answer in time. Nothing is left of it.
    """
    running = RunningTarget(find_target(target) if isinstance(target, str) else target, settings or {})
    try:
        running._start(bind, port, lifespan, app, environment or {})  # noqa: SLF001 - of this module; whoever has one has it started
        if wait:
            running.wait_ready(timeout)
    except BaseException:
        running.close()
        _end_left_behind(running._token, 0)  # noqa: SLF001 - as above
        raise
    return running


def _replace(place: Place, **changes: Any) -> Place:
    return Place(**{**vars(place), **changes})


def _bind(port: int | None, *, share: bool) -> socket.socket:
    """A socket on 127.0.0.1. With ``share``, another that has SO_REUSEADDR or SO_REUSEPORT can be bound there too, and listen."""
    sock = socket.socket()
    try:
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if share or port is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port or 0))
    except OSError as error:
        sock.close()
        raise TargetError(f"127.0.0.1:{port or 'any port'} cannot be bound: {error}") from error
    return sock


def _environment(folder: str, target: Target) -> dict[str, str]:
    """The server's environment: ours, without what would configure it, and with the reference application on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED) and name not in _DROPPED_NAMES}
    paths = [folder, *(str(Path(part).absolute()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part)]
    if target.distribution == "asgiserve" and target.python == sys.executable:
        # Not installed, perhaps: then it is where we found it.
        found = importlib.util.find_spec("asgiserve")
        paths += [str(Path(folder).parent) for folder in (found.submodule_search_locations if found else None) or ()]
    return {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **kept, "PYTHONPATH": os.pathsep.join(paths)}


def _end_left_behind(token: str, seconds: float) -> list[int]:
    """Kill the processes that were started with ``token`` and have not ended ``seconds`` after the first of them; their ids.

    They are found by their environment, which Linux shows; elsewhere nothing is done.
    """
    if sys.platform != "linux" or not token:
        return []
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as open_ones:
        waiting: dict[int, int] = {}
        for pid in (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()):
            with contextlib.suppress(ProcessLookupError):
                if _was_told(pid, token):
                    descriptor = os.pidfd_open(pid)
                    open_ones.callback(os.close, descriptor)
                    # Still it, and not the next one with that number.
                    if _was_told(pid, token):
                        waiting[descriptor] = pid
        waiting = _still_there(waiting, end)
        for descriptor in waiting:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        # The signal is on its way: until it has come they hold their sockets and files.
        _still_there(waiting, time.monotonic() + _KILLED_SECONDS)
        return sorted(waiting.values())


def _still_there(processes: Mapping[int, int], end: float) -> dict[int, int]:
    """Those of ``processes``, by their pidfd, that have not ended at the time ``end``; as soon as all have."""
    left = dict(processes)
    while left and (ended := select.select(list(left), [], [], max(end - time.monotonic(), 0))[0]):
        for descriptor in ended:
            del left[descriptor]
    return left


def _was_told(pid: int, token: str) -> bool:
    """Whether a process has ``token`` in its environment."""
    try:
        return pid != os.getpid() and f"ASGI_CONFORMANCE_TOKEN={token}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        # It is somebody else's, or has ended just now.
        return False
