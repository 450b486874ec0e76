"""The lifespan beside real connections: what comes first, what comes last, and what holds nothing up (S5, S74-S84)."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import LifespanError, Server
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import respond
from tests.support.serving import LOOPS, loop_factory, serving
from tests.support.websocket import TEXT, Frame, RawWebSocket, frame

if TYPE_CHECKING:
    from tests.support.apps import App, Receive, Scope, Send
    from tests.support.records import Records

WAIT = 10.0


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each event loop."""
    return str(request.param)


class Story:
    """What happened, in order, told by an application and by the test."""

    def __init__(self) -> None:
        self._told: queue.Queue[str] = queue.Queue()
        self._so_far: list[str] = []

    def tell(self, what: str) -> None:
        self._told.put(what)

    def until(self, what: str) -> None:
        """Wait until ``what`` happened."""
        while what not in self._so_far:
            self._so_far.append(self._told.get(timeout=WAIT))

    def all(self) -> list[str]:
        """Everything so far."""
        while not self._told.empty():
            self._so_far.append(self._told.get())
        return list(self._so_far)


class Door:
    """Opened by the test; an application waits before it."""

    def __init__(self) -> None:
        self._open = threading.Event()

    async def wait(self) -> None:
        assert await asyncio.get_running_loop().run_in_executor(None, self._open.wait, WAIT)

    def open(self) -> None:
        self._open.set()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def telling(story: Story, *, starting: Door | None = None, stopping: Door | None = None) -> App:
    """An application with a lifespan; ``/hang`` never answers, ``/slow`` when its door opens."""

    async def lifespan(receive: Receive, send: Send) -> None:
        for door in (starting, stopping):
            kind = (await receive())["type"]
            story.tell(kind)
            if door is not None:
                await door.wait()
            await send({"type": f"{kind}.complete"})
            story.tell(f"{kind}.complete")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        story.tell(scope["path"])
        if scope["path"] == "/hang":
            try:
                await forever()
            finally:
                story.tell("hang ended")
        await respond(send)

    return app


ORDERLY = ["lifespan.startup", "lifespan.startup.complete", "lifespan.shutdown", "lifespan.shutdown.complete"]


def test_no_connection_is_processed_before_the_start_up_is_complete(loop: str) -> None:
    # S76, asgi.life.startup-first: the socket listens already, and the request is there.
    story, door = Story(), Door()
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(telling(story, starting=door), sockets=[listening], timeout_drain_idle=0.1)

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            runner.run(server.serve())

    thread = threading.Thread(target=run, daemon=True)
    with RawConnection(listening.getsockname()) as client:
        client.get("/early")
        thread.start()
        story.until("lifespan.startup")
        client.expect_silence(0.1)
        assert not server.started
        assert story.all() == ["lifespan.startup"]
        door.open()
        assert client.read_response().status == 200
        assert story.all()[:3] == ["lifespan.startup", "lifespan.startup.complete", "/early"]
    server.stop()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert [each for each in story.all() if each.startswith("lifespan")] == ORDERLY


def test_lifespan_and_requests_share_one_loop_and_one_lifespan(loop: str) -> None:
    # S74, S75, asgi.life.once-per-loop, asgi.life.same-loop
    loops: list[tuple[str, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        loops.append((scope["type"], id(asyncio.get_running_loop())))
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": f"{(await receive())['type']}.complete"})
            return
        await respond(send)

    with serving(app, loop=loop) as running, RawConnection(running.address) as client:
        assert [client.exchange().status for _ in range(3)] == [200] * 3
    assert [kind for kind, _ in loops] == ["lifespan", "http", "http", "http"]
    assert len({number for _, number in loops}) == 1


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Puts a number and a list into the state; each request changes both in its own copy and answers what it found."""
    if scope["type"] == "lifespan":
        scope["state"].update(n=1, seen=[])
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    state = scope["state"]
    found = json.dumps([state["n"], state["seen"]])
    state["n"] += 1
    state["seen"].append(scope["type"])
    if scope["type"] == "http":
        await respond(send, found.encode())
    else:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": found})
        await send({"type": "websocket.close"})


def test_the_state_is_copied_for_each_request_and_not_deeper(loop: str) -> None:
    # S82, asgi.scope.state-copy, asgi.ws.state
    with serving(counting, loop=loop) as running:
        with RawConnection(running.address) as client:
            assert json.loads(client.exchange().body) == [1, []]
            assert json.loads(client.exchange().body) == [1, ["http"]]
        with RawWebSocket(running.address) as client:
            client.open()
            assert client.read_frame() == Frame(TEXT, b'[1, ["http", "http"]]')
        assert running.server.state["n"] == 1


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_without_a_lifespan_there_is_no_state(loop: str, records: Records, mode: str) -> None:
    asked: list[str] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        asked.append(scope["type"])
        assert scope["type"] != "lifespan", "no lifespan here"
        await respond(send, str("state" in scope).encode())

    with serving(app, loop=loop, lifespan=mode) as running, RawConnection(running.address) as client:
        assert client.exchange().body == b"False"
    assert asked == (["lifespan", "http"] if mode == "auto" else ["http"])
    assert len(records.errors) == (1 if mode == "auto" else 0)


# ---- start-up that fails -----------------------------------------------------------------------------------------------------------


def free(address: tuple[str, int]) -> None:
    """Nobody listens there any more."""
    with pytest.raises(ConnectionRefusedError):
        RawConnection(address)


async def refusing(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def raising(_scope: Scope, receive: Receive, _send: Send) -> None:
    await receive()
    raise ZeroDivisionError("mine")


async def hanging(_scope: Scope, receive: Receive, _send: Send) -> None:
    await receive()
    await forever()


@pytest.mark.parametrize(
    ("app", "options", "said"),
    [
        pytest.param(refusing, {}, "refused to start: no database", id="asgi.life.startup-failed"),
        pytest.param(raising, {"lifespan": "on"}, "--lifespan is on", id="asgi.life.raise-strict-mode"),
        pytest.param(hanging, {"timeout_startup": 0.1}, "within 0.1 seconds", id="too-slow"),
    ],
)
def test_a_start_up_that_fails_is_raised_and_nothing_stays_behind(loop: str, app: App, options: dict[str, Any], said: str) -> None:
    # S78
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        with pytest.raises(LifespanError, match=said), serving(app, loop=loop, sockets=[listening], **options):
            pass
        free(address)


def test_a_start_up_that_hangs_is_ended_by_stop_from_another_thread(loop: str, records: Records) -> None:
    # uvicorn 2751
    story = Story()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        story.tell((await receive())["type"])
        try:
            await forever()
        finally:
            story.tell("cleaned up")

    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    server = Server(app, sockets=[listening], timeout_startup=None)

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            runner.run(server.serve(on_started=lambda _: story.tell("started")))
        story.tell("served")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    story.until("lifespan.startup")
    server.stop()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert story.all() == ["lifespan.startup", "cleaned up", "served"]
    assert not server.started
    assert records.errors == []
    free(address)


def test_a_start_up_that_hangs_is_ended_by_cancelling_it(loop: str) -> None:
    story = Story()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        try:
            await forever()
        finally:
            story.tell("cleaned up")

    async def main() -> None:
        async with asyncio.timeout(0.1), Server(app, port=0, timeout_startup=None):
            raise AssertionError("it started")

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner, pytest.raises(TimeoutError):
        runner.run(main())
    assert story.all() == ["cleaned up"]


# ---- shutdown ----------------------------------------------------------------------------------------------------------------------


def test_shutdown_comes_after_the_last_response_and_is_waited_for(loop: str) -> None:
    # S79, S80, asgi.life.shutdown-after-connections, asgi.life.shutdown-waited
    story, stopping, answering = Story(), Door(), Door()
    inner = telling(story, stopping=stopping)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            story.tell("request")
            await answering.wait()
            story.tell("response")
        await inner(scope, receive, send)

    with serving(app, loop=loop) as running, RawConnection(running.address) as client:
        client.get("/x")
        story.until("request")
        running.server.stop()
        running.run(lambda: None)
        assert "lifespan.shutdown" not in story.all()
        answering.open()
        assert client.read_response().status == 200
        client.expect_eof()
        story.until("lifespan.shutdown")
        assert running.thread.is_alive()
        stopping.open()
        running.join()
        story.tell("stopped")
    assert story.all() == [*ORDERLY[:2], "request", "response", "/x", *ORDERLY[2:], "stopped"]


@pytest.mark.parametrize("how", ["grace", "force", "no-grace"])
def test_shutdown_runs_after_the_graceful_period_ran_out(loop: str, records: Records, how: str) -> None:
    # asgi.life.graceful-timeout, asgi.life.second-signal
    story = Story()
    grace = {"grace": 0.1, "force": None, "no-grace": 0}[how]
    with serving(telling(story), loop=loop, timeout_graceful_shutdown=grace) as running, RawConnection(running.address) as client:
        client.get("/hang")
        story.until("/hang")
        running.server.stop()
        if how == "force":
            running.server.stop(force=True)
        assert client.read_response().status == 503
        running.join()
    assert story.all() == [*ORDERLY[:2], "/hang", "hang ended", *ORDERLY[2:]]
    assert [error.getMessage() for error in records.errors] == ["cancelling 1 request that did not finish in time"]


def test_shutdown_runs_where_the_server_stops_by_itself(loop: str) -> None:
    story = Story()
    with serving(telling(story), loop=loop, limit_max_requests=1) as running:
        with RawConnection(running.address) as client:
            assert client.exchange("/last").status == 200
            client.close()
        running.join()
    assert story.all() == [*ORDERLY[:2], "/last", *ORDERLY[2:]]


@pytest.mark.parametrize("how", ["leaves", "raises", "cancelled"])
def test_shutdown_runs_however_the_block_of_the_server_is_left(loop: str, how: str) -> None:
    story = Story()

    async def main() -> None:
        async with Server(telling(story), port=0) as server:
            assert server.started
            if how == "raises":
                raise ZeroDivisionError
            if how == "cancelled":
                raise asyncio.CancelledError

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        if how == "leaves":
            runner.run(main())
        else:
            with pytest.raises(ZeroDivisionError if how == "raises" else asyncio.CancelledError):
                runner.run(main())
    assert story.all() == ORDERLY


def test_a_stop_right_at_the_start_still_shuts_down(loop: str) -> None:
    story = Story()
    server = Server(telling(story), port=0)
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(server.serve(on_started=lambda started: started.stop()))
    assert story.all() == ORDERLY


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param("fails", "the application's shutdown failed: stuck", id="asgi.life.shutdown-failed"),
        pytest.param("raises", "exception in the application's lifespan", id="asgi.life.shutdown-raise"),
        pytest.param("hangs", "did not complete its shutdown within 0.1 seconds", id="too-slow"),
    ],
)
def test_a_shutdown_that_fails_is_logged_and_the_server_ends(loop: str, records: Records, answer: str, said: str) -> None:
    # S81
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if answer == "fails":
            await send({"type": "lifespan.shutdown.failed", "message": "stuck"})
        elif answer == "raises":
            raise ZeroDivisionError
        else:
            await forever()

    with serving(app, loop=loop, timeout_shutdown=0.1):
        pass
    (error,) = records.errors
    assert said in error.getMessage()


def test_a_lifespan_that_ends_early_leaves_the_server_running(loop: str, records: Records) -> None:
    # S84
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            return
        await respond(send)

    with serving(app, loop=loop) as running, RawConnection(running.address) as client:
        assert client.exchange().status == 200
    assert records.errors == []


# ---- the old form ------------------------------------------------------------------------------------------------------------------


class Old:
    """An application as ASGI 2 had them: called twice."""

    versions: list[tuple[str, str]]

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.versions.append((scope["type"], scope["asgi"]["version"]))

    async def __call__(self, receive: Receive, send: Send) -> None:
        if self.scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": f"{(await receive())['type']}.complete"})
        elif self.scope["type"] == "http":
            await respond(send, b"old")
        else:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": (await receive())["text"]})
            await send({"type": "websocket.close"})


@pytest.mark.parametrize("interface", ["auto", "asgi2"])
def test_an_application_in_the_old_form_is_served(loop: str, records: Records, interface: str) -> None:
    # S5, asgi.http.legacy-2
    Old.versions = []
    with serving(Old, loop=loop, interface=interface, lifespan="on") as running:
        with RawConnection(running.address) as client:
            assert client.exchange().body == b"old"
        with RawWebSocket(running.address) as client:
            client.open()
            client.send(frame(TEXT, "old too"))
            assert client.read_frame() == Frame(TEXT, b"old too")
            assert client.read_close() == (1000, "")
    assert Old.versions == [("lifespan", "2.0"), ("http", "2.0"), ("websocket", "2.0")]
    assert records.errors == []
