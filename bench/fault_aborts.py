"""Scenarios: what is left behind by clients that leave at every stage, and by a million requests."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_conformance.frames import BINARY, KEY, encode_frame
from bench.fault_load import connecting, count_requests, get
from bench.fault_table import Figure, Row, Scenario
from bench.fault_trial import MIB, settled, state_of

if TYPE_CHECKING:
    from typing import Self

    from bench.fault_trial import Trial
    from bench.servers import Server

__all__ = ["SCENARIOS", "UPGRADE", "Stage", "abort_all"]

_BATCH: Final = 50
_BATCH_SECONDS: Final = 3.0
_SETTLE_SECONDS: Final = 10.0
_TOLD_SECONDS: Final = 0.3
_RESET: Final = struct.pack("ii", 1, 0)
# A second of waiting costs a port on each address; there are enough addresses on the loopback interface.
_SOURCES: Final = tuple(f"127.0.0.{number}" for number in range(2, 10))
UPGRADE: Final = get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
_MESSAGE: Final = encode_frame(BINARY, b"x" * 1000)
_WARM_UP: Final = 10
# So little that a response is still on its way when the client leaves.
_RECEIVE_BUFFER: Final = 4096
_HEAD_END: Final = b"\r\n\r\n"


class Stage(NamedTuple):
    """Where a client leaves: it sends ``request``, waits for ``answer`` (the end of a response head, or nothing), sends ``then``, and is gone."""

    name: str
    request: bytes
    answers: bool = False
    then: bytes = b""
    resets: bool = True


_STAGES: Final = tuple(
    Stage(f"{name}, {'RST' if resets else 'FIN'}", request, answers, then, resets)
    for resets in (True, False)
    for name, request, answers, then in (
        ("in the head", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A", False, b""),
        ("in the body", b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc", False, b""),
        ("before the response", get("/wait"), False, b""),
        # A client that closes with unread bytes resets: for a FIN there must be none, and more to come.
        ("in the response", get("/huge/1" if resets else "/ticks"), True, b""),
        ("in an open WebSocket", UPGRADE, True, b""),
        ("in a WebSocket message", UPGRADE, True, _MESSAGE[:500]),
    )
)


def abort_all(server: Server, count: int, seconds: float) -> tuple[int, Counter[str]]:
    """Have ``count`` clients leave, an equal part at each stage; stop after ``seconds``.

    Returns:
        how many left, and how many of each stage did not get that far.
    """
    done = number = 0
    end = time.monotonic() + seconds
    missed: Counter[str] = Counter()
    with _Probe(server.port) as probe:
        while done < count and time.monotonic() < end:
            stage = _STAGES[number % len(_STAGES)]
            size = min(_BATCH, count - done)
            short = _leave(server.port, stage, size, _SOURCES[number // len(_STAGES) % len(_SOURCES)], probe)
            if short:
                missed[stage.name] += short
            done += size
            number += 1
    return done, missed


class _Probe:
    """A request on a connection of its own. When it is answered, the server has looked at what was sent before."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def ask(self) -> None:
        for _ in range(2):
            try:
                if self._sock is None:
                    self._sock = socket.create_connection(("127.0.0.1", self._port), timeout=_BATCH_SECONDS)
                self._sock.sendall(get("/"))
                if self._sock.recv(65536):
                    return
            except ConnectionRefusedError:
                raise
            except ConnectionError:
                pass
            except TimeoutError:
                # It has its hands full with those before. They leave anyway; that it took a while is seen in how many there were.
                self._drop()
                return
            # It may be closed after so many requests.
            self._drop()

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _leave(port: int, stage: Stage, size: int, source: str, probe: _Probe) -> int:
    """Bring ``size`` clients to the stage, and have them leave. How many did not get there."""
    waiting: dict[int, socket.socket] = {}
    there: list[socket.socket] = []
    failed = 0
    epoll = select.epoll()
    try:
        for _ in range(size):
            try:
                sock = connecting(port, source=source, receive_buffer=_RECEIVE_BUFFER)
            except OSError:
                failed += 1
                continue
            waiting[sock.fileno()] = sock
            epoll.register(sock.fileno(), select.EPOLLOUT)
        end = time.monotonic() + _BATCH_SECONDS
        while waiting and (left := end - time.monotonic()) > 0:
            for descriptor, events in epoll.poll(left):
                sock = waiting[descriptor]
                try:
                    if not events & select.EPOLLIN:
                        sock.send(stage.request)
                        if stage.answers:
                            epoll.modify(descriptor, select.EPOLLIN)
                            continue
                    elif _HEAD_END not in sock.recv(65536):
                        raise ConnectionError
                    if stage.then:
                        sock.send(stage.then)
                except OSError:
                    failed += 1
                    sock.close()
                else:
                    epoll.unregister(descriptor)
                    there.append(sock)
                del waiting[descriptor]
        probe.ask()
        return failed + len(waiting)
    finally:
        epoll.close()
        for sock in [*there, *waiting.values()]:
            if stage.resets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()


def _told(server: Server, *, resets: bool) -> float:
    """Of calls that wait for it, the share in percent that knows a moment later that the client is gone."""
    with _Probe(server.port) as probe:
        _leave(server.port, Stage("", get("/wait"), resets=resets), _BATCH, _SOURCES[0], probe)
    time.sleep(_TOLD_SECONDS)
    told = _BATCH - state_of(server).calls
    settled(server, None, _SETTLE_SECONDS)
    return 100 * told / _BATCH


def aborts(trial: Trial) -> None:
    """Clients that leave at every stage."""
    sizes, figures = trial.sizes, trial.figures
    with trial.server() as server:
        warm = sizes.aborts // _WARM_UP
        count_requests(server.port, [get("/")], count=500, connections=10, seconds=5)
        for key, resets in (("told_rst", True), ("told_fin", False)):
            figures[key] = _told(server, resets=resets)
        abort_all(server, warm, sizes.abort_seconds)
        before = settled(server, None, _SETTLE_SECONDS)
        cpu, began = server.cpu_seconds(), time.monotonic()
        done, missed = abort_all(server, sizes.aborts // 2, sizes.abort_seconds / 2)
        seconds = time.monotonic() - began
        spent = server.cpu_seconds() - cpu
        half = settled(server, before, _SETTLE_SECONDS)
        cpu, began = server.cpu_seconds(), time.monotonic()
        more, missed_later = abort_all(server, sizes.aborts - sizes.aborts // 2, sizes.abort_seconds / 2)
        seconds += time.monotonic() - began
        done += more
        missed += missed_later
        figures["done"] = Figure(done, f"{seconds:.0f} s")
        figures["cpu"] = 1e6 * (spent + server.cpu_seconds() - cpu) / max(done, 1)
        most = missed.most_common(1)
        figures["missed"] = Figure(missed.total(), most[0][0]) if most else 0
        figures["tracebacks"] = server.output.count("Traceback (most recent call last)")
        after = settled(server, before, _SETTLE_SECONDS)
        figures["calls"] = after.calls
        figures["tasks"] = max(after.tasks - before.tasks, 0)
        figures["descriptors"] = max(after.descriptors - before.descriptors, 0)
        figures["grown"] = (after.memory - before.memory) / MIB
        figures["memory"] = (after.memory - half.memory) / MIB


_UPLOAD: Final = b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: 256\r\n\r\n" + b"x" * 256
_MIX: Final = (get("/"), _UPLOAD, get("/"), get("/"), get("/stream"), get("/"), _UPLOAD, get("/"))


def million(trial: Trial) -> None:
    """A million requests."""
    sizes, figures = trial.sizes, trial.figures
    with trial.server() as server:
        count_requests(server.port, _MIX, count=sizes.warm_up, connections=50, seconds=sizes.request_seconds / 5)
        before = settled(server, None, _SETTLE_SECONDS)
        cpu = server.cpu_seconds()
        tally = count_requests(server.port, _MIX, count=sizes.requests, connections=50, seconds=sizes.request_seconds)
        figures["cpu"] = 1e6 * (server.cpu_seconds() - cpu) / max(tally.done, 1)
        figures["done"] = Figure(tally.done, f"{tally.seconds:.0f} s")
        why = tally.failed.most_common(1)
        figures["failed"] = Figure(tally.failed.total(), why[0][0]) if why else 0
        after = settled(server, before, _SETTLE_SECONDS)
        figures["tasks"] = max(after.tasks - before.tasks, 0)
        figures["descriptors"] = max(after.descriptors - before.descriptors, 0)
        figures["memory"] = (after.memory - before.memory) / MIB


SCENARIOS: Final = (
    Scenario(
        "aborts",
        "Clients that leave",
        "100,000 clients are gone at twelve stages, an equal part each: in the head, in the body, before the response, in the response, in an open "
        "WebSocket and in a WebSocket message, by RST and by FIN. Before that, 50 leave that wait for a response: how many calls know? "
        "What is left is measured against what there was after a tenth as many; at most 10 "
        "seconds later.",
        (
            Row("done", "clients that left (in)"),
            Row("missed", "of those, before their stage (which, most)", most=0),
            Row("cpu", "CPU each, µs"),
            Row("told_rst", "calls told of it in 0.3 s, by RST, %", least=100),
            Row("told_fin", "calls told of it in 0.3 s, by FIN, %", least=100),
            Row("calls", "calls of the application left", most=0),
            Row("tasks", "tasks left", most=0),
            Row("descriptors", "descriptors left", most=0),
            Row("grown", "memory, growth in MiB", "{:.1f}"),
            Row("memory", "of that, in the second half", "{:.1f}", most=2),
            Row("tracebacks", "tracebacks in the log", most=0),
        ),
        aborts,
        60,
    ),
    Scenario(
        "million",
        "A million requests",
        "After 100,000 to warm up: 1,000,000 requests on 50 connections; of eight, five are plain text, two upload 256 bytes, one is a stream of 20 "
        "pieces. At most for 60 seconds.",
        (
            Row("done", "requests answered (in)"),
            Row("failed", "failed (how, most)", most=0),
            Row("cpu", "CPU each, µs", "{:.1f}"),
            Row("tasks", "tasks left", most=0),
            Row("descriptors", "descriptors left", most=0),
            Row("memory", "memory, growth in MiB", "{:.1f}", most=2),
        ),
        million,
        70,
    ),
)
