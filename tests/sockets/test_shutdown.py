"""Stopping: what runs is finished, what waits is told, nothing is left behind, and nobody has to poll for it (RFC 9112 §9.6, lifespan.rst)."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import Server, StartupError
from pytest_asgiserve.raw import RawConnection, Truncated
from tests.support.apps import Receive, Scope, Send, ok, read_body, respond, routes
from tests.support.certificates import Certificates
from tests.support.process import Child, child
from tests.support.serving import LOOPS, Serving, loop_factory, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sockets.conftest import ServeBare
    from tests.support.records import Records

# Far more than any of it takes on a slow machine, far less than any of the server's own timeouts.
PROMPT = 5.0

SOURCE = '''
"""An application for each way in which a request can be under way when the server stops. It tells on stdout what happens to it."""

import asyncio

release = None


def say(what):
    print(what, flush=True)


async def app(scope, receive, send):
    global release
    if scope["type"] == "lifespan":
        release = asyncio.Event()
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("lifespan.shutdown ran")
        return await send({"type": "lifespan.shutdown.complete"})
    path = scope["path"]
    try:
        if path == "/release":
            release.set()
        if path == "/slow":
            say("slow began")
            await release.wait()
        if path == "/hang":
            say("hang began")
            await asyncio.sleep(600)
        await send({"type": "http.response.start", "status": 200})
        if path in ("/events", "/hang-inside"):
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await receive()
            if path == "/hang-inside":
                await asyncio.sleep(600)
            say((await receive())["type"])
            await send({"type": "http.response.body", "body": b"last", "more_body": True})
        await send({"type": "http.response.body", "body": b"" if path == "/events" else b"done"})
    except asyncio.CancelledError:
        say("cancelled")
        raise
'''


def refuses(address: tuple[str, int], body: bytes) -> bool:
    """Whether nobody listens on ``address`` any more who would answer with ``body``: the port may be somebody else's by now."""
    try:
        with RawConnection(address) as client:
            return client.exchange().body != body
    except (OSError, AssertionError):
        return True


class Running:
    """A child that serves `SOURCE`."""

    def __init__(self, server: Child) -> None:
        self.server = server
        self.address = server.address

    def connect(self) -> RawConnection:
        return RawConnection(self.address)

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal, and wait until the server has begun to drain: it listens no more."""
        self.server.signal(number)
        self.server.wait_line(lambda line: f"{number.name}: stopping;" in line)
        deadline = time.monotonic() + PROMPT
        while not refuses(self.address, b"done"):
            assert time.monotonic() < deadline

    def ended(self, seconds: float = PROMPT) -> list[str]:
        """What it said until it ended, with 0."""
        assert self.server.wait(seconds) == 0, self.server.output
        lines = self.server.lines
        # lifespan.rst: after the last connection, and always.
        assert lines.count("lifespan.shutdown ran") == 1, lines
        assert not [line for line in lines if "Traceback" in line or " ERROR: " in line], lines
        return lines


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each event loop."""
    return str(request.param)


@pytest.fixture
def start(loop: str, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts the server as a process; it is ended with the test."""
    children = []

    def run(*arguments: str) -> Running:
        context = child("main:app", "--port", "0", "--loop", loop, "--timeout-drain-idle", "0.5", *arguments, source=SOURCE, cwd=tmp_path)
        children.append(context)
        return Running(context.__enter__())

    yield run
    for context in children:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_an_idle_server_at_once(start: Callable[..., Running], number: signal.Signals) -> None:
    running = start()
    with running.connect() as client:
        client.exchange()
    began = time.monotonic()
    running.terminate(number)
    lines = running.ended()
    assert time.monotonic() - began < 2.0
    assert [line for line in lines if line.endswith(" stopped")]


def test_an_idle_connection_is_not_cut_but_answered_once_more(start: Callable[..., Running]) -> None:
    # RFC 9112 §9.6; security brief §4.2: the losses of a reload are requests on their way on idle connections.
    running = start("--timeout-drain-idle", "30")
    with running.connect() as client, running.connect() as fresh:
        assert client.exchange().one(b"connection") is None
        running.terminate()
        client.expect_silence(0.05)
        response = client.exchange("/again")
        assert (response.status, response.one(b"connection")) == (200, b"close")
        client.expect_eof()
        # One that was accepted and has not asked anything yet is no different.
        response = fresh.exchange("/first")
        assert (response.status, response.one(b"connection")) == (200, b"close")
        fresh.expect_eof()
        running.ended()


def test_an_idle_connection_that_brings_nothing_is_closed_after_the_idle_drain(start: Callable[..., Running]) -> None:
    running = start("--timeout-drain-idle", "0.3")
    with running.connect() as client, running.connect() as fresh:
        client.exchange()
        running.terminate()
        client.expect_eof()
        fresh.expect_eof()
        running.ended()


def test_a_running_request_is_finished_and_a_request_of_another_connection_can_help_it(start: Callable[..., Running]) -> None:
    running = start()
    with running.connect() as slow, running.connect() as other:
        other.exchange()
        slow.get("/slow")
        running.server.wait_line(lambda line: line == "slow began")
        running.terminate()
        assert other.exchange("/release").one(b"connection") == b"close"
        response = slow.read_response()
        assert (response.status, response.body, response.one(b"connection")) == (200, b"done", b"close")
        slow.expect_eof()
        assert "waiting for 1 running request" in "\n".join(running.ended())


def test_a_stream_is_told_and_can_say_its_last_word(start: Callable[..., Running]) -> None:
    running = start()
    with running.connect() as client:
        client.get("/events")
        head = client.read_head()
        assert client.read_chunk() == b"first"
        running.terminate()
        client.read_body(head)
        assert head.chunks == [b"last"]
        client.expect_eof()
        assert "http.disconnect" in running.ended()


def test_what_does_not_end_in_time_is_cancelled_and_the_lifespan_still_ends(start: Callable[..., Running]) -> None:
    running = start("--timeout-graceful-shutdown", "0.3")
    with running.connect() as waiting, running.connect() as inside:
        waiting.get("/hang")
        running.server.wait_line(lambda line: line == "hang began")
        inside.get("/hang-inside")
        head = inside.read_head()
        assert inside.read_chunk() == b"first"
        running.terminate()
        # Nothing was sent: it can still be told. Something was: it can see that it is not all.
        response = waiting.read_response()
        assert (response.status, response.one(b"connection")) == (503, b"close")
        with pytest.raises(Truncated):
            inside.read_body(head)
        lines = running.ended()
    assert lines.count("cancelled") == 2
    assert "cancelling 2 requests that did not finish in time" in "\n".join(lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_shortens_the_wait(start: Callable[..., Running], number: signal.Signals) -> None:
    running = start("--timeout-graceful-shutdown", "300", "--timeout-drain-idle", "300")
    with running.connect() as client, running.connect() as idle:
        idle.exchange()
        client.get("/hang")
        running.server.wait_line(lambda line: line == "hang began")
        running.terminate(number)
        client.expect_silence(0.1)
        running.server.signal(number)
        assert client.read_response().status == 503
        idle.expect_closed()
        assert "cancelled" in running.ended()


def test_a_request_whose_head_is_on_its_way_is_still_served(start: Callable[..., Running]) -> None:
    running = start()
    with running.connect() as client:
        client.exchange()
        client.send(b"GET /x HTTP/1.1\r\n")
        # The server has read that much once it has answered somebody who came later.
        with running.connect() as other:
            other.exchange()
        running.terminate()
        client.send(b"Host: x\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (200, b"close")
        client.expect_eof()
        running.ended()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_signal_in_a_start_up_that_hangs_ends_it(loop: str, tmp_path: Path) -> None:
    source = "import asyncio\nasync def app(scope, receive, send):\n    print('starting', flush=True)\n    await asyncio.sleep(600)\n"
    with child("main:app", "--port", "0", "--loop", loop, source=source, cwd=tmp_path) as server:
        server.wait_line(lambda line: line == "starting")
        server.signal(signal.SIGINT)
        server.wait(PROMPT)
        assert "Traceback" not in server.output
        assert "listening" not in server.output


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_task_that_is_deaf_to_cancellation_does_not_keep_the_process(loop: str, tmp_path: Path) -> None:
    source = """
import asyncio, asgiserve.supervisor
asgiserve.supervisor._TASK_GRACE = 0.2

async def deaf():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("not me", flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        app.task = asyncio.create_task(deaf())
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
"""
    with child("main:app", "--port", "0", "--loop", loop, source=source, cwd=tmp_path) as server:
        server.wait_line(lambda line: "listening on" in line)
        server.signal(signal.SIGTERM)
        assert server.wait(PROMPT) == 0
        assert "not me" in server.lines
        assert "1 task of the application ignored the cancellation" in server.output


# ---- the programming interface -----------------------------------------------------------------------------------------------------


def test_stop_of_another_thread_ends_serve(serve_bare: ServeBare) -> None:
    running = serve_bare(ok)
    with RawConnection(running.address) as client:
        assert client.exchange().status == 200
    assert running.server.started
    running.server.stop()
    running.join()
    assert not running.server.started
    # On a server that has stopped, and on a loop that is closed, it does nothing.
    running.server.stop()
    running.server.stop(force=True)
    assert refuses(running.address, b"ok")


def test_stop_while_the_loop_closes_does_nothing() -> None:
    # Between the look whether it is closed and the call, another thread can close the loop.
    async def started() -> Server:
        async with Server(ok, port=0, lifespan="off") as server:
            return server

    server = asyncio.run(started())

    class Closing(asyncio.SelectorEventLoop):
        looked = False

        def is_closed(self) -> bool:
            closed = super().is_closed()
            if closed and not self.looked:
                self.looked = True
                return False
            return closed

    loop = Closing()
    loop.close()
    loop.looked = False
    server._serving_loop = loop
    server.stop()
    assert loop.looked


def test_drain_waits_for_what_runs_and_says_whether_it_ended(serve_bare: ServeBare) -> None:
    release, entered = threading.Event(), threading.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 10)
        await respond(send, b"slow")

    running = serve_bare(routes(slow=slow))
    with RawConnection(running.address) as client, RawConnection(running.address) as idle:
        idle.exchange()
        client.get("/slow")
        assert entered.wait(10)
        assert running.run(running.server.drain(0.05)) is False
        assert not running.server.started
        assert refuses(running.address, b"ok")
        release.set()
        assert running.run(running.server.drain(10)) is True
        assert client.read_response().one(b"connection") == b"close"
        idle.expect_eof()
    running.stop()


def test_drain_of_a_quiet_server_is_true_at_once(serve_bare: ServeBare) -> None:
    running = serve_bare(ok)
    assert running.run(running.server.drain()) is True


def test_streams_end_with_drain(serve_bare: ServeBare) -> None:
    async def stream(_scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        message = await receive()
        await send({"type": "http.response.body", "body": message["type"].encode()})

    running = serve_bare(stream)
    with RawConnection(running.address) as client:
        client.get()
        head = client.read_head()
        assert client.read_chunk() == b"first"
        assert running.run(running.server.drain(10)) is True
        client.read_body(head)
        assert head.body == b"http.disconnect"


def test_an_application_that_is_deaf_to_cancellation_does_not_hold_the_server(serve_bare: ServeBare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgiserve.server._CANCEL_GRACE", 0.1)
    entered, heard = threading.Event(), threading.Event()

    async def deaf(_scope: Scope, _receive: Receive, _send: Send) -> None:
        entered.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            heard.set()
        await asyncio.sleep(600)

    running = serve_bare(deaf, timeout_graceful_shutdown=0.1)
    with RawConnection(running.address) as client:
        client.get()
        assert entered.wait(10)
        running.server.stop()
        assert client.read_response().status == 503
        running.join(PROMPT)
    assert heard.is_set()


def test_a_handshake_that_hangs_does_not_hold_the_server(serve_bare: ServeBare, tmp_path: Path, records: Records) -> None:
    certificates = Certificates(tmp_path)
    running = serve_bare(ok, timeout_tls_handshake=300, timeout_graceful_shutdown=300, **certificates.options)
    with socket.create_connection(running.address) as silent:
        silent.settimeout(10)
        with RawConnection(running.address, tls=certificates.client_context()) as client:
            # Accepted in order: the silent one is in its handshake by now.
            assert client.exchange().status == 200
        running.server.stop()
        assert silent.recv(1) == b""
        running.join(PROMPT)
    assert not records.errors


def test_a_handshake_that_hangs_does_not_hold_a_server_that_is_forced(serve_bare: ServeBare, tmp_path: Path, records: Records) -> None:
    certificates = Certificates(tmp_path)
    running = serve_bare(ok, timeout_tls_handshake=300, timeout_graceful_shutdown=300, timeout_drain_idle=300, **certificates.options)
    with socket.create_connection(running.address):
        with RawConnection(running.address, tls=certificates.client_context()) as client:
            assert client.exchange().status == 200
        running.server.stop(force=True)
        running.join(PROMPT)
    assert not records.errors


def test_a_connection_that_is_accepted_in_the_turn_of_the_stop_does_not_break_it(serve_bare: ServeBare, records: Records) -> None:
    running = serve_bare(ok, timeout_drain_idle=0)
    with socket.socket() as client:
        client.settimeout(10)

        def connect_and_stop() -> None:
            # On the loop: it accepts, and stops before the connection has its transport.
            client.connect(running.address)
            running.server._listeners[0]._accept()
            running.server._ask_stop(False)
            running.server._ask_stop(True)

        running.run(connect_and_stop)
        running.join(PROMPT)
    assert not records.errors


def test_a_server_can_be_started_once(loop: str) -> None:
    async def twice() -> None:
        server = Server(ok, port=0, lifespan="off")
        server.stop()
        async with server:
            with pytest.raises(StartupError, match="once"):
                await server.start()
        with pytest.raises(StartupError, match="once"):
            await server.start()

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(twice())


def test_the_port_can_be_bound_again_at_once(loop: str) -> None:
    with serving(ok, loop=loop, lifespan="off") as first:
        with RawConnection(first.address) as client:
            client.get("/", "Connection: close")
            assert client.read_response().status == 200
            client.expect_eof()
        port = first.address[1]
    with serving(ok, loop=loop, lifespan="off", host="127.0.0.1", port=port) as second, RawConnection(second.address) as client:
        assert client.exchange().status == 200


def descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the open descriptors are listed in Linux's /proc")
def test_starting_and_stopping_leaves_no_thread_task_or_descriptor(loop: str) -> None:
    left: list[Any] = []

    def once() -> None:
        server = Server(ok, port=0, lifespan="off", loop=loop)
        running = Serving(server)
        running.start()
        idle = RawConnection(running.address)
        with RawConnection(running.address) as client:
            client.exchange()
        tasks: Callable[[], list[str]] = lambda: [task.get_name() for task in asyncio.all_tasks(running.loop)]  # noqa: E731 - called on the loop
        left.append(running.run(lambda: len(tasks())))
        idle.close()
        running.stop()
        assert not server._connections
        assert not server._calls
        assert not server._listeners

    once()
    threads, before = threading.active_count(), descriptors()
    for _ in range(10):
        once()
    assert threading.active_count() == threads
    assert descriptors() == before
    # The one that serves and the one that counts them: an idle connection has none.
    assert left == [2] * len(left)


def test_starting_and_stopping_wait_for_events_and_for_no_timer(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fired: list[str] = []
    inner = loop_factory(loop)

    def factory() -> asyncio.AbstractEventLoop:
        made = inner()

        class Watching(type(made)):  # type: ignore[misc]  # uvloop's and asyncio's loops alike
            def call_later(self, delay: float, callback: Any, *args: Any, **kwargs: Any) -> Any:
                return super().call_later(delay, noted(callback), *args, **kwargs)

            def call_at(self, when: float, callback: Any, *args: Any, **kwargs: Any) -> Any:
                return super().call_at(when, noted(callback), *args, **kwargs)

        def noted(callback: Any) -> Any:
            def run(*args: Any) -> None:
                fired.append(repr(callback))
                callback(*args)

            return run

        made.close()
        return Watching()

    monkeypatch.setattr("asgiserve.supervisor.loop_factory", lambda _: factory)
    began = time.monotonic()
    for _ in range(5):
        running = Serving(Server(ok, port=0, loop=loop))
        running.start()
        running.stop()
    assert fired == []
    assert time.monotonic() - began < 5 * 1.0
