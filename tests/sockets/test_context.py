"""One task and one context for each exchange: nothing leaks from one request to the next, and nothing of one holds up another."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import Server
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import Receive, Scope, Send, read_body, respond

if TYPE_CHECKING:
    from tests.sockets.conftest import ServeBare
    from tests.support.records import Records

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


async def remember(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer who the request is for before it says so itself."""
    before = user.get()
    user.set(scope["path"])
    await asyncio.sleep(0)
    assert user.get() == scope["path"]
    await respond(send, before.encode())


def test_a_context_variable_of_one_request_is_not_there_in_the_next(serve_bare: ServeBare) -> None:
    running = serve_bare(remember)
    with RawConnection(running.address) as client:
        assert [client.exchange(f"/{number}").body for number in range(3)] == [b"nobody"] * 3
        client.pipeline("/a", "/b", "/c")
        assert [client.read_response().body for _ in range(3)] == [b"nobody"] * 3
        client.send(
            b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiPOST /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert [client.read_response().body for _ in range(2)] == [b"nobody"] * 2


def test_what_was_set_before_the_server_started_is_there_for_every_request(serve_bare: ServeBare) -> None:
    token = user.set("not for the thread of the server")
    try:
        running = serve_bare(remember)
    finally:
        user.reset(token)
    # A thread begins with an empty context, and that is the one that the server was started in.
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"nobody"


def test_a_variable_of_the_surrounding_program_is_seen_and_what_a_request_makes_of_it_is_gone() -> None:
    async def run() -> list[bytes]:
        user.set("the program")
        async with Server(remember, port=0, lifespan="off") as server:
            address = server.addresses[0]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            data = await reader.read()
            writer.close()
            await writer.wait_closed()
        assert user.get() == "the program"
        return [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 OK")[1:]]

    assert asyncio.run(run()) == [b"the program"] * 2


def test_every_exchange_has_a_task_of_its_own_and_it_ends_with_the_call(serve_bare: ServeBare) -> None:
    tasks: set[int] = set()
    kept: list[asyncio.Task[None] | None] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        kept.append(task)
        tasks.add(id(task))
        await read_body(receive)
        await respond(send)

    running = serve_bare(app)
    with RawConnection(running.address) as client:
        for _ in range(10):
            client.exchange()
        client.pipeline(*["/"] * 10)
        for _ in range(10):
            client.read_response()
        assert running.run(lambda: [task is not None and task.done() for task in kept]) == [True] * 20
    assert len(tasks) == 20


def test_work_after_the_response_does_not_delay_the_next_request(serve_bare: ServeBare) -> None:
    release = threading.Event()
    finished: list[str] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, scope["path"].encode())
        if scope["path"] == "/background":
            await asyncio.get_running_loop().run_in_executor(None, release.wait, 10)
            finished.append(scope["path"])

    running = serve_bare(app)
    with RawConnection(running.address) as client:
        assert client.exchange("/background").body == b"/background"
        client.pipeline("/background", "/next")
        assert [client.read_response().body for _ in range(2)] == [b"/background", b"/next"]
        assert client.exchange("/later").body == b"/later"
        assert finished == []
    # It goes on although its connection is gone, and the server waits for it.
    release.set()
    running.stop()
    assert finished == ["/background"] * 2


def test_requests_on_other_connections_run_at_the_same_time(serve_bare: ServeBare) -> None:
    together = threading.Barrier(3)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().run_in_executor(None, together.wait, 10)
        await respond(send)

    running = serve_bare(app)
    with RawConnection(running.address) as first, RawConnection(running.address) as second, RawConnection(running.address) as third:
        clients = (first, second, third)
        for client in clients:
            client.get()
        assert [client.read_response().body for client in clients] == [b"ok"] * 3


def test_no_task_is_left_behind_by_clients_that_go(serve_bare: ServeBare, records: Records) -> None:
    entered = threading.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/hang":
            return await respond(send)
        entered.release()
        while (await receive())["type"] != "http.disconnect":
            pass
        return None

    running = serve_bare(app)
    with RawConnection(running.address) as client:
        client.exchange()
        for _ in range(100):
            other = RawConnection(running.address)
            other.get("/hang")
            assert entered.acquire(timeout=10)
            other.reset()
        records.wait(lambda seen: len(seen.access) == 101)
        client.exchange()
        # The server's own, the one that counts, and nothing else.
        assert running.run(lambda: len(asyncio.all_tasks())) == 2
        assert running.run(lambda: len(running.server._calls)) == 0
        assert running.run(lambda: len(running.server._connections)) == 1
    running.stop()
    assert not records.errors


def test_a_call_runs_in_a_task_that_is_named_after_its_peer(serve_bare: ServeBare) -> None:
    seen: list[tuple[str, int]] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((task.get_name(), scope["client"][1]))
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        await respond(send)

    running = serve_bare(app)
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"ok"
        client.pipeline("/a", "/b")
        assert [client.read_response().body for _ in range(2)] == [b"ok"] * 2
    assert seen == [(f"127.0.0.1:{seen[0][1]}", seen[0][1])] * 3


@pytest.mark.parametrize("first", [True, False], ids=["before it waits", "after it waited"])
def test_a_head_that_is_held_leaves_where_the_application_waits(serve_bare: ServeBare, first: bool) -> None:
    # On CPython 3.12 and newer the first step runs inside of the read that brought the request.
    go: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        event = asyncio.Event()
        go.append((asyncio.get_running_loop(), event))
        if not first:
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await event.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    running = serve_bare(app)
    with RawConnection(running.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_head().status == 200
        loop, event = go[0]
        loop.call_soon_threadsafe(event.set)
        assert client.read_exactly(2) == b"ok"


def test_a_task_factory_of_the_application_is_used(serve_bare: ServeBare) -> None:
    made: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        task = asyncio.Task(coroutine, loop=loop, **options)
        made.append(task)
        return task

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            asyncio.get_running_loop().set_task_factory(factory)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert asyncio.current_task() in made
        await respond(send)

    running = serve_bare(app, lifespan="on")
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"ok"
