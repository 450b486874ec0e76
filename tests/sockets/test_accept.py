"""Accepting: what happens when descriptors run out, and the limits on connections, requests at once and requests in all (security brief §1d)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.runtime.accept import Listener
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import Receive, Scope, Send, ok, respond, routes
from tests.support.process import child
from tests.support.serving import LOOPS, Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sockets.conftest import ServeBare
    from tests.support.records import Records

SOURCE = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
"""
DESCRIPTORS = 64


def limiting(descriptors: int) -> str:
    return f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))"


@pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from Linux's /proc")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("options", "descriptors", "line"),
    [
        pytest.param(("--limit-connections", "100000"), DESCRIPTORS, "cannot accept connections: ", id="emfile"),
        pytest.param((), 256, "230 connections are open, the most that are allowed", id="ceiling"),
    ],
)
def test_running_out_of_descriptors_costs_neither_time_nor_log_nor_the_connections_that_are_there(
    loop: str, options: tuple[str, ...], descriptors: int, line: str, tmp_path: Path
) -> None:
    # uvicorn in the same place: 4.4 s of processor time and 260,000 lines in 6 s. Without the option the server stops before it runs out.
    arguments = ("main:app", "--port", "0", "--lifespan", "off", "--loop", loop, "--no-access-log", "--timeout-request-head", "120", *options)
    with child(*arguments, source=SOURCE, cwd=tmp_path, prelude=limiting(descriptors)) as server, RawConnection(server.address) as established:
        assert established.exchange().status == 200
        with contextlib.ExitStack() as held:
            for _ in range(2 * descriptors):
                held.enter_context(RawConnection(server.address))
            server.wait_line(lambda written: line in written)
            before, began = server.cpu_seconds, time.monotonic()
            while time.monotonic() - began < 2.0:
                # Who is there is served as ever.
                assert established.exchange().body == b"ok"
                time.sleep(0.1)
            assert server.cpu_seconds - before < 0.5
            assert len(server.lines) <= 5
        # Released, it accepts again.
        with RawConnection(server.address) as client:
            assert client.exchange().body == b"ok"
        assert established.exchange().body == b"ok"
        assert len(server.lines) <= 5, server.lines


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_who_finds_no_descriptor_is_told_so_in_turn(tmp_path: Path) -> None:
    # The reserve descriptor: one connection a pause gets an answer instead of silence.
    arguments = ("main:app", "--port", "0", "--lifespan", "off", "--limit-connections", "100000", "--timeout-request-head", "120")
    with child(*arguments, source=SOURCE, cwd=tmp_path, prelude=limiting(DESCRIPTORS)) as server, contextlib.ExitStack() as held:
        clients = [held.enter_context(RawConnection(server.address)) for _ in range(DESCRIPTORS)]
        server.wait_line(lambda written: "cannot accept connections: " in written)
        # Those that were accepted are silent as long as nothing is asked; the first that was not is told.
        told = None
        for client in clients:
            client.sock.settimeout(0.02)
        deadline = time.monotonic() + 10
        while told is None and time.monotonic() < deadline:
            for client in clients:
                with contextlib.suppress(TimeoutError):
                    if client.sock.recv(1, socket.MSG_PEEK):
                        told = client
                        break
        assert told is not None
        response = told.read_response()
        assert (response.status, response.one(b"retry-after"), response.one(b"connection")) == (503, b"1", b"close")
        told.expect_eof()


class FakeSocket:
    """A listening socket whose ``accept`` does what it is told."""

    family = socket.AF_UNIX

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.accepts = 0

    def accept(self) -> Any:
        self.accepts += 1
        outcome = self.outcomes.pop(0) if self.outcomes else BlockingIOError()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def fileno(self) -> int:
        return 99

    def setblocking(self, _: bool) -> None: ...

    def listen(self, _: int) -> None: ...


class FakeLoop:
    """An event loop with a clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reading = False
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def add_reader(self, _: int, callback: Callable[[], None]) -> None:
        self.reading = True
        self.ready = callback

    def remove_reader(self, _: int) -> None:
        self.reading = False

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        timer = (self.now + delay, callback)
        self.timers.append(timer)
        loop = self

        class Handle:
            def cancel(self) -> None:
                loop.timers.remove(timer)

        return Handle()

    def advance(self) -> None:
        """To the next timer."""
        self.now, callback = self.timers.pop(0)
        callback()


@pytest.fixture
def accepted() -> list[Any]:
    return []


def listen(loop: FakeLoop, sock: FakeSocket, accepted: list[Any]) -> Listener:
    listener = Listener(loop, sock, lambda connection, _: accepted.append(connection), polite=True)  # type: ignore[arg-type]  # the parts that are used
    listener.start(10)
    return listener


@pytest.fixture
def pair() -> Iterator[socket.socket]:
    left, right = socket.socketpair()
    with left, right:
        yield left


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM])
def test_the_accept_loop_is_left_at_the_first_failure_and_logs_once_in_ten_seconds(number: int, records: Records, accepted: list[Any]) -> None:
    loop, sock = FakeLoop(), FakeSocket()
    listener = listen(loop, sock, accepted)
    for _ in range(49):
        # Ten seconds of it.
        sock.outcomes = [OSError(number, "nothing left")] * 1000
        before = sock.accepts
        loop.ready()
        assert sock.accepts - before <= 2, "one try, and one with the reserve"
        assert not loop.reading
        assert len(loop.timers) == 1
        sock.outcomes = []
        loop.advance()
        assert loop.reading
    assert len(records.select("asgiserve.runtime", logging.ERROR)) == 1
    loop.now += 10
    sock.outcomes = [OSError(number, "nothing left")] * 2
    loop.ready()
    assert "48 more times" in records.messages("asgiserve.runtime")[-1]
    listener.stop()
    assert not loop.timers
    assert not loop.reading


def test_a_reserve_that_was_lost_is_no_end_of_accepting(monkeypatch: pytest.MonkeyPatch, accepted: list[Any], pair: socket.socket) -> None:
    loop, sock = FakeLoop(), FakeSocket(OSError(errno.EMFILE, "x"), OSError(errno.EMFILE, "x"))
    listener = listen(loop, sock, accepted)

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "x")

    with monkeypatch.context() as patch:
        patch.setattr("os.open", none_left)
        loop.ready()
        listener.hold()
        loop.advance()
        listener.release()
    assert loop.reading
    sock.outcomes = [OSError(errno.EMFILE, "x"), OSError(errno.EMFILE, "x")]
    loop.ready()
    loop.advance()
    sock.outcomes = [(pair, "")]
    loop.ready()
    assert accepted == [pair]
    listener.stop()


def test_a_connection_that_was_gone_before_it_was_accepted_is_no_failure(records: Records, accepted: list[Any], pair: socket.socket) -> None:
    loop, sock = FakeLoop(), FakeSocket(ConnectionAbortedError(), (pair, ""), InterruptedError())
    listener = listen(loop, sock, accepted)
    loop.ready()
    assert accepted == [pair]
    assert loop.reading
    assert not records.select(level=logging.WARNING)
    listener.stop()


def test_one_wake_up_accepts_many_but_not_all(accepted: list[Any], pair: socket.socket) -> None:
    loop, sock = FakeLoop(), FakeSocket(*[(pair, "")] * 1000)
    listener = listen(loop, sock, accepted)
    loop.ready()
    assert 1 < len(accepted) < 1000
    listener.stop()


def test_holding_stops_the_accept_loop_in_its_middle_and_survives_a_failure(accepted: list[Any], pair: socket.socket) -> None:
    loop, sock = FakeLoop(), FakeSocket(*[(pair, "")] * 10)
    listener = Listener(loop, sock, lambda connection, _: (accepted.append(connection), listener.hold()), polite=True)  # type: ignore[arg-type,func-returns-value]
    listener.start(10)
    loop.ready()
    assert len(accepted) == 1
    assert not loop.reading
    listener.release()
    assert loop.reading
    sock.outcomes = [OSError(errno.EMFILE, "x")] * 2
    loop.ready()
    # Released in the pause of a failure, it waits for the end of the pause; held in it, it does not begin again.
    listener.release()
    assert not loop.reading
    listener.hold()
    loop.advance()
    assert not loop.reading
    listener.stop()
    listener.release()
    assert not loop.reading


# ---- limits ------------------------------------------------------------------------------------------------------------------------


def test_over_the_limit_of_connections_accepting_pauses_and_goes_on(serve_bare: ServeBare, records: Records) -> None:
    running = serve_bare(ok, limit_connections=2)
    with RawConnection(running.address) as first:
        assert first.exchange().status == 200
        for _ in range(3):
            with RawConnection(running.address) as second:
                assert second.exchange().status == 200
                with RawConnection(running.address) as third:
                    third.get()
                    third.expect_silence(0.05)
                    second.close()
                    assert third.read_response().status == 200
        assert first.exchange().status == 200
    running.stop()
    warned = records.messages("asgiserve.server", logging.WARNING)
    # One line, however often the limit is reached.
    assert len(warned) == 1
    assert "--limit-connections" in warned[0]


class Slow:
    """An application whose ``/slow`` waits until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.release = threading.Event()
        self.app = routes(slow=self._slow)

    async def _slow(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.entered.release()
        await asyncio.get_running_loop().run_in_executor(None, self.release.wait, 10)
        await respond(send, b"slow")


def test_over_the_limit_of_requests_at_once_a_request_gets_503(serve_bare: ServeBare, records: Records) -> None:
    slow = Slow()
    running = serve_bare(slow.app, limit_concurrency=1)
    with RawConnection(running.address) as idle, RawConnection(running.address) as client:
        # An idle connection does not count.
        idle.exchange()
        client.get("/slow")
        assert slow.entered.acquire(timeout=10)
        response = idle.exchange("/one-too-many")
        assert (response.status, response.body) == (503, b"Service Unavailable\n")
        assert (response.one(b"retry-after"), response.one(b"connection")) == (b"1", b"close")
        idle.expect_eof()
        slow.release.set()
        assert client.read_response().body == b"slow"
        with RawConnection(running.address) as again:
            # The call ends a moment after its response.
            records.wait(lambda seen: len(seen.access) >= 3)
            assert running.run(lambda: len(running.server._calls)) == 0
            assert again.exchange().status == 200
    running.stop()
    assert [(record.target, record.status) for record in records.access] == [("/", 200), ("/one-too-many", 503), ("/slow", 200), ("/", 200)]
    assert not records.errors


def test_a_request_with_a_body_over_the_limit_gets_503_as_well(serve_bare: ServeBare) -> None:
    slow = Slow()
    running = serve_bare(slow.app, limit_concurrency=1)
    with RawConnection(running.address) as client, RawConnection(running.address) as other:
        client.get("/slow")
        assert slow.entered.acquire(timeout=10)
        other.post("/", b"x" * 100_000)
        assert other.read_response().status == 503
        other.expect_closed()
        slow.release.set()
        assert client.read_response().body == b"slow"


def test_after_the_number_of_requests_that_is_allowed_the_server_stops(serve_bare: ServeBare, records: Records) -> None:
    slow = Slow()
    running = serve_bare(slow.app, limit_max_requests=3)
    with RawConnection(running.address) as client, RawConnection(running.address) as other:
        other.get("/slow")
        assert slow.entered.acquire(timeout=10)
        assert [client.exchange().status for _ in range(3)] == [200] * 3
        client.expect_eof()
        # What runs is finished.
        slow.release.set()
        assert other.read_response().body == b"slow"
        running.join()
    assert [line for line in records.messages("asgiserve.server") if "--limit-max-requests" in line]


def test_the_jitter_of_the_number_of_requests_is_within_its_bounds() -> None:
    from asgiserve import Server  # noqa: PLC0415 - the one test that makes one without serving

    numbers = {Server(ok, limit_max_requests=10, limit_max_requests_jitter=5)._max_requests for _ in range(300)}
    assert numbers == set(range(10, 16))


def serve_and_count(running: Serving, count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawConnection(running.address)) for _ in range(count)]
        for client in clients:
            client.get()
        return [client.read_response().status for client in clients]


def test_many_connections_at_once_are_all_served(serve_bare: ServeBare) -> None:
    running = serve_bare(ok)
    assert serve_and_count(running, 200) == [200] * 200
