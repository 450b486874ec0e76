"""What an application leaves behind is found, with the line that made it, and nothing else is: `pytest_asgiserve.leaks`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import importlib.util
import inspect
import itertools
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest
from asgiref.sync import sync_to_async

import asgiserve
from pytest_asgiserve import process_watch, sites
from pytest_asgiserve.leaks import Leak, LeakTracker, format_leaks
from pytest_asgiserve.live import LiveServer
from tests.support.serving import LOOPS, loop_factory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from types import ModuleType

    from tests.support.apps import Receive, Scope, Send

_HERE = Path(__file__)
_WAIT = 10.0


def place(mark: str, function: str) -> str:
    """Where the line with the comment ``mark`` is, as a leak tells it."""
    (number,) = [number for number, line in enumerate(_HERE.read_text(encoding="utf-8").splitlines(), 1) if line.endswith(f"# {mark}")]
    path = _HERE.relative_to(Path.cwd()) if _HERE.is_relative_to(Path.cwd()) else _HERE
    return f"{path}:{number} in {function}"


class Leaky:
    """An application: ``GET /name`` awaits the function ``name`` with this object. It keeps what it is told to, until `clean`."""

    def __init__(self, *handlers: Callable[[Leaky], Awaitable[None]], startup: Any = None, shutdown: Any = None) -> None:
        self.handlers = {f"/{handler.__name__}": handler for handler in handlers}
        self.startup = startup
        self.shutdown = shutdown
        self.kept: list[Any] = []
        self.release = threading.Event()
        self.began = threading.Event()
        self.gate = asyncio.Event()
        self.address = ("", 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for hook in (self.startup, self.shutdown):
                kind = (await receive())["type"]
                if hook is not None:
                    await hook(self)
                await send({"type": f"{kind}.complete"})
            return
        self.address = scope["server"]
        await self.handlers[scope["path"]](self)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def clean(self) -> None:
        """End everything that was kept, as a good application would have."""
        self.release.set()
        while self.kept:
            match self.kept.pop():
                case asyncio.Task() as task:
                    task.cancel()
                    await asyncio.wait([task])
                case threading.Thread() as thread:
                    await asyncio.to_thread(thread.join, _WAIT)
                case generator if inspect.isasyncgen(generator):
                    await generator.aclose()
                case anyio.abc.SocketStream() as stream:
                    await stream.aclose()
                case opened:
                    opened.close()
                    if hasattr(opened, "wait_closed"):
                        await opened.wait_closed()
        # The transports close in the next turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()  # waits


async def numbers() -> AsyncGenerator[int, None]:
    for number in itertools.count():
        yield number  # yields


# What leaves what; the line that is to be blamed has a comment.


async def a_task(app: Leaky) -> None:
    app.kept.append(asyncio.create_task(forever(), name="poller"))  # task


async def a_future(app: Leaky) -> None:
    app.kept.append(asyncio.ensure_future(forever()))  # future


async def a_task_group(app: Leaky) -> None:
    group = asyncio.TaskGroup()
    await group.__aenter__()
    app.kept.append(group.create_task(forever()))  # group


async def a_grandchild(app: Leaky) -> None:
    async def child() -> None:
        app.kept.append(asyncio.create_task(forever()))  # grandchild

    await asyncio.create_task(child())


async def a_callback(app: Leaky) -> None:
    def call() -> None:
        app.kept.append(asyncio.get_running_loop().create_task(forever()))  # callback

    asyncio.get_running_loop().call_soon(call)


async def a_task_that_iterates(app: Leaky) -> None:
    async def steps() -> AsyncIterator[int]:
        yield 1
        await asyncio.get_running_loop().create_future()  # step

    async def consume() -> None:
        async for _ in steps():
            pass

    app.kept.append(asyncio.create_task(consume()))  # iterates


async def a_thread(app: Leaky) -> None:
    def work() -> None:
        app.release.wait(_WAIT)  # works

    thread = threading.Thread(target=work, name="worker")
    thread.start()  # thread
    app.kept.append(thread)


class Worker(threading.Thread):
    """As many write them."""

    def __init__(self, app: Leaky) -> None:
        super().__init__(name="own", daemon=True)
        self.app = app

    def run(self) -> None:
        self.app.release.wait(_WAIT)  # runs


async def a_thread_class(app: Leaky) -> None:
    app.kept.append(Worker(app))
    app.kept[-1].start()  # class


async def a_thread_of_a_thread(app: Leaky) -> None:
    def begin() -> None:
        app.kept.append(Worker(app))
        app.kept[-1].start()  # threaded

    first = threading.Thread(target=begin)
    first.start()
    await asyncio.to_thread(first.join, _WAIT)


async def a_thread_of_a_pool(app: Leaky) -> None:
    def begin() -> None:
        app.kept.append(Worker(app))
        app.kept[-1].start()  # pooled

    # Without the context, unlike to_thread.
    await asyncio.get_running_loop().run_in_executor(None, begin)


async def a_timer(app: Leaky) -> None:
    timer = threading.Timer(3600, print)
    timer.start()  # timer
    app.kept.append(timer)


async def a_socket(app: Leaky) -> None:
    app.kept.append(socket.socket())  # socket


async def a_pair(app: Leaky) -> None:
    app.kept += socket.socketpair()  # pair


async def a_socket_in_a_thread(app: Leaky) -> None:
    def make() -> None:
        app.kept.append(socket.socket(type=socket.SOCK_DGRAM))  # inside

    await asyncio.to_thread(make)


async def a_connection(app: Leaky) -> None:
    _, writer = await asyncio.open_connection(*app.address)  # connection
    app.kept.append(writer)


async def a_connection_by_tasks(app: Leaky) -> None:
    # Two addresses, tried by a task for each.
    app.kept.append(await anyio.connect_tcp("localhost", app.address[1]))  # tasks


async def a_listener(app: Leaky) -> None:
    app.kept.append(await asyncio.start_server(print, "127.0.0.1", 0))  # listener


async def a_datagram_socket(app: Leaky) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))  # datagram
    app.kept.append(transport)


async def a_generator(app: Leaky) -> None:
    generator = numbers()
    app.kept.append(generator)
    await anext(generator)  # generator


CASES = [
    (a_task, "task", "task", "'poller' (forever)", "waits", "forever"),
    (a_future, "task", "future", "(forever)", "waits", "forever"),
    (a_task_group, "task", "group", "(forever)", "waits", "forever"),
    (a_grandchild, "task", "grandchild", "(forever)", "waits", "forever"),
    (a_callback, "task", "callback", "(forever)", "waits", "forever"),
    (a_task_that_iterates, "task", "iterates", "consume", "step", "steps"),
    (a_thread, "thread", "thread", "'worker'", "works", "work"),
    (a_thread_class, "thread", "class", "'own' (daemon)", "runs", "Worker.run"),
    (a_thread_of_a_thread, "thread", "threaded", "'own' (daemon)", "runs", "Worker.run"),
    (a_thread_of_a_pool, "thread", "pooled", "'own' (daemon)", "runs", "Worker.run"),
    (a_timer, "thread", "timer", "'Thread-", "", ""),
    (a_socket, "socket", "socket", "TCP socket, not connected", "", ""),
    (a_pair, "socket", "pair", "UNIX socket", "", ""),
    (a_socket_in_a_thread, "socket", "inside", "UDP socket, not connected", "", ""),
    (a_connection, "socket", "connection", "TCP socket, 127.0.0.1:", "", ""),
    (a_connection_by_tasks, "socket", "tasks", "TCP socket, 127.0.0.1:", "", ""),
    (a_listener, "socket", "listener", "TCP socket, listening on 127.0.0.1:", "", ""),
    (a_datagram_socket, "socket", "datagram", "UDP socket on 127.0.0.1:", "", ""),
    (a_generator, "async generator", "generator", "numbers", "yields", "numbers"),
]
# The function in which the line stands, where it is not the handler.
INNER = {
    "grandchild": "child",
    "callback": "call",
    "threaded": "begin",
    "pooled": "begin",
    "inside": "make",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("handler", "kind", "mark", "what", "at", "inside"), CASES, ids=[case[0].__name__ for case in CASES])
def test_what_a_request_leaves_is_found_where_it_was_made_until_it_is_cleaned_up(
    handler: Any, kind: str, mark: str, what: str, at: str, inside: str, loop: str
) -> None:
    app = Leaky(handler)
    with LiveServer(app, loop=loop, leaks="fail") as server:
        assert server.leaks() == []
        server.client.get(f"/{handler.__name__}")
        found = server.leaks()
        assert len(found) == (2 if mark == "pair" else 1)
        for leak in found:
            assert leak.kind == kind
            assert leak.site == place(mark, INNER.get(mark, handler.__name__))
            assert what in leak.what
            if at:
                assert leak.where == place(at, inside)
        # Nothing of it is held by having been told of.
        assert server.leaks() == found
        if mark == "timer":
            app.kept[-1].cancel()
        server.run(app.clean)
        assert server.leaks() == []


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_to_a_unix_socket_is_found(loop: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    # A short path: it has at most 107 bytes.
    path = str(tmp_path_factory.mktemp("u") / "s")

    async def connect(app: Leaky) -> None:
        _, writer = await asyncio.open_unix_connection(path)  # unix
        app.kept.append(writer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        app = Leaky(connect)
        with LiveServer(app, loop=loop) as server:
            server.client.get("/connect")
            (leak,) = server.leaks()
            assert leak == Leak("socket", f"UNIX socket to {path}", place("unix", "connect"), "")
            server.run(app.clean)
            assert server.leaks() == []


@pytest.mark.parametrize("loop", LOOPS)
def test_what_belongs_to_a_running_request_is_no_leak(loop: str) -> None:
    async def wait(app: Leaky) -> None:
        await a_task(app)
        await a_socket(app)
        await a_generator(app)
        await a_callback(app)
        await asyncio.to_thread(functools.partial(asyncio.run, a_thread(app)))
        app.began.set()
        await app.gate.wait()

    app = Leaky(wait)
    with LiveServer(app, loop=loop) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client.get, "/wait")
        assert app.began.wait(_WAIT)
        assert server.leaks() == []
        server.run(app.gate.set)
        assert answer.result(_WAIT).status_code == 204
        server.drain()
        assert [leak.kind for leak in server.leaks()] == ["task", "task", "thread", "socket", "async generator"]
        server.run(app.clean)
        assert server.leaks() == []


def test_what_has_ended_in_the_meantime_is_no_leak() -> None:
    async def handler(app: Leaky) -> None:
        await asyncio.create_task(asyncio.sleep(0))
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0)
        cancelled = asyncio.create_task(forever())
        await asyncio.sleep(0)
        # As many do: nobody waits for its end.
        cancelled.cancel()
        async for number in numbers():
            if number == 3:
                break
        with socket.socket():
            pass
        thread = threading.Thread(target=print, kwargs={"end": ""})
        thread.start()
        await asyncio.to_thread(thread.join, _WAIT)
        app.kept.append(None)

    app = Leaky(handler)
    with LiveServer(app, leaks="fail") as server:
        server.client.get("/handler")
        assert app.kept == [None]
        server.drain()
        assert server.leaks() == []


@pytest.mark.parametrize("loop", LOOPS)
def test_pools_are_no_leaks(loop: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as own:

        async def handler(_app: Leaky) -> None:
            running = asyncio.get_running_loop()
            await asyncio.to_thread(int)
            await running.run_in_executor(None, int)
            await running.run_in_executor(own, int)
            await anyio.to_thread.run_sync(int)
            await sync_to_async(int)()
            await sync_to_async(int, thread_sensitive=False)()

        with LiveServer(Leaky(handler), loop=loop, leaks="fail") as server:
            server.client.get("/handler")
            server.drain()
            assert server.leaks() == []


@pytest.mark.parametrize("loop", LOOPS)
def test_a_pools_thread_that_is_busy_after_the_shutdown_is_told(loop: str) -> None:
    def work(app: Leaky) -> None:
        app.began.set()
        app.release.wait(_WAIT)  # busy

    async def submit(app: Leaky) -> None:
        app.kept.append(own.submit(work, app))

    with concurrent.futures.ThreadPoolExecutor(1) as own:
        app = Leaky(submit)
        server = LiveServer(app, loop=loop, leaks="fail")
        server.start()
        try:
            server.client.get("/submit")
            assert app.began.wait(_WAIT)
            # It may be the lifespan's.
            assert server.leaks() == []
            with pytest.raises(AssertionError, match="of a pool, still busy") as raised:
                server.stop()
            assert place("busy", "work") in str(raised.value)
        finally:
            app.release.set()
            server.stop()


async def _start_poller(app: Leaky) -> None:
    app.kept.append(asyncio.create_task(forever()))  # startup


async def _start_ticker(app: Leaky) -> None:
    async def tick() -> None:
        while True:
            await app.gate.wait()
            app.gate.clear()
            app.kept.append(asyncio.create_task(forever()))  # tick
            app.began.set()

    app.kept.append(asyncio.create_task(tick()))


@pytest.mark.parametrize("loop", LOOPS)
def test_what_the_lifespan_leaves_is_told_at_the_end_only(loop: str) -> None:
    server = LiveServer(Leaky(startup=_start_poller), loop=loop, leaks="fail")
    server.start()
    assert server.leaks() == []
    with pytest.raises(AssertionError, match="left 1 thing behind:\n1 task made at ") as raised:
        server.stop()
    assert place("startup", "_start_poller") in str(raised.value)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_lifespan_that_cleans_up_leaves_nothing(loop: str) -> None:
    with LiveServer(Leaky(startup=_start_poller, shutdown=Leaky.clean), loop=loop, leaks="fail") as server:
        assert server.leaks() == []


def test_what_a_task_of_the_lifespan_starts_later_is_the_lifespans() -> None:
    app = Leaky(startup=_start_ticker)
    server = LiveServer(app, leaks="fail")
    server.start()
    server.run(app.gate.set)
    assert app.began.wait(_WAIT)
    assert server.leaks() == []
    with pytest.raises(AssertionError, match="left 2 things behind") as raised:
        server.stop()
    assert place("tick", "tick") in str(raised.value)


@pytest.mark.parametrize("loop", LOOPS)
def test_two_servers_at_once_are_not_mixed_up(loop: str) -> None:
    first, second = Leaky(a_task, a_thread, a_socket), Leaky(a_generator, a_socket, a_connection)
    with LiveServer(first, loop=loop) as one, LiveServer(second, loop=loop) as two:
        for path in ("/a_task", "/a_thread", "/a_socket"):
            one.client.get(path)
        for path in ("/a_generator", "/a_socket", "/a_connection"):
            two.client.get(path)
        assert [leak.kind for leak in one.leaks()] == ["task", "thread", "socket"]
        assert [leak.kind for leak in two.leaks()] == ["socket", "socket", "async generator"]
        one.run(first.clean)
        two.run(second.clean)
        assert one.leaks() == two.leaks() == []


def test_what_the_test_itself_makes_is_no_leak_of_the_application() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(_WAIT,))
    with LiveServer(Leaky(a_task), leaks="fail") as server, socket.create_connection((server.host, server.port)):
        thread.start()
        try:
            assert server.leaks() == []
        finally:
            release.set()
            thread.join()


# Where things are left as they were.


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("running", [True, False], ids=["on a running loop", "before the loop runs"])
def test_nothing_is_left_installed(loop: str, running: bool) -> None:
    start = threading.Thread.start
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        made = runner.get_loop()
        tracker = LeakTracker(made)
        attributes = set(vars(made))

        async def use() -> tuple[Any, Any]:
            before = sys.get_asyncgen_hooks()
            if running:
                tracker.start()
            tracker.mark_started()
            generator = numbers()
            await anext(generator)
            await asyncio.create_task(asyncio.sleep(0))
            (leak,) = tracker.find()
            assert leak.kind == "async generator"
            await generator.aclose()
            assert made.get_task_factory() is not None
            assert tracker in process_watch._watchers.values()
            tracker.stop()
            tracker.stop()
            return before, sys.get_asyncgen_hooks()

        if not running:
            tracker.start()
        before, after = runner.run(use())
        if running:
            assert before == after
        assert made.get_task_factory() is None
        assert set(vars(made)) == attributes
    assert sys.get_asyncgen_hooks() == (None, None)
    assert threading.Thread.start is start
    assert tracker not in process_watch._watchers.values()


def test_no_tracker_is_kept_by_what_it_has_seen() -> None:
    async def keep(app: Leaky) -> None:
        app.kept.append(contextvars.copy_context())

    def alive() -> set[int]:
        """The trackers, and the loops that are open: a server of the outer run, for its module or session, has its own."""
        gc.collect()
        found = gc.get_objects()
        trackers = {id(one) for one in found if type(one) is LeakTracker}
        return trackers | {id(one) for one in found if issubclass(type(one), asyncio.AbstractEventLoop) and not one.is_closed()}

    app = Leaky(keep)
    before = alive()
    with LiveServer(app) as server:
        server.client.get("/keep")
        assert len(alive() - before) == 2
    del server
    assert alive() <= before


async def start_and_stop() -> None:
    tracker = LeakTracker(asyncio.get_running_loop())
    tracker.start()
    tracker.stop()


def test_an_applications_own_hooks_stay() -> None:
    """It sets a factory over ours, wraps `Thread.start`, and has an async generator hook of its own: none of it is taken away."""

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        return asyncio.Task(coroutine, loop=loop, **options)

    plain = threading.Thread.start
    below: Callable[[threading.Thread], None] = plain

    @functools.wraps(plain)
    def wrapped(thread: threading.Thread) -> None:
        below(thread)  # wrapped

    def first(_: Any) -> None:
        pass

    async def use() -> None:
        nonlocal below
        loop = asyncio.get_running_loop()
        tracker = LeakTracker(loop)
        tracker.start()
        tracker.mark_started()
        loop.set_task_factory(factory)
        below = threading.Thread.start
        monkey.setattr(threading.Thread, "start", wrapped)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=first)
        task = asyncio.create_task(forever(), name="unseen")
        await asyncio.sleep(0)
        (leak,) = tracker.find()
        assert leak.what == "'unseen' (forever)"
        assert "(its beginning; who made it is not known)" in leak.site
        assert leak.where == place("waits", "forever")
        task.cancel()
        tracker.stop()
        assert loop.get_task_factory() is factory
        assert sys.get_asyncgen_hooks().firstiter is first
        assert threading.Thread.start is wrapped
        thread = threading.Thread(target=print, kwargs={"end": ""})
        thread.start()
        thread.join()
        sys.set_asyncgen_hooks(*hooks)
        # Another one over it, all the same.
        tracker = LeakTracker(loop)
        tracker.start()
        tracker.mark_started()
        app = Leaky()
        await a_thread(app)
        (leak,) = tracker.find()
        assert leak.site == place("wrapped", "wrapped")
        await app.clean()
        tracker.stop()

    with pytest.MonkeyPatch.context() as monkey:
        asyncio.run(use())
    # The next tracker takes ours away, now that nobody's is over it.
    asyncio.run(start_and_stop())
    assert threading.Thread.start is plain


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stopped_tracker_that_somebody_still_calls_does_nothing(loop: str) -> None:
    async def use() -> None:
        running = asyncio.get_running_loop()
        tracker = LeakTracker(running)
        tracker.start()
        ours: Any = running.get_task_factory()
        first = sys.get_asyncgen_hooks().firstiter
        listen = running.create_server
        running.set_task_factory(functools.partial(ours))
        tracker.stop()
        sys.set_asyncgen_hooks(firstiter=first)
        assert await asyncio.create_task(asyncio.sleep(0, "slept")) == "slept"
        async for _ in numbers():
            break
        server = await listen(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        assert tracker.find() == []

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(use())


def test_a_tracker_that_is_stopped_before_its_loop_runs_does_nothing() -> None:
    with asyncio.Runner() as runner:
        tracker = LeakTracker(runner.get_loop())
        tracker.start()
        tracker.stop()

        async def use() -> Any:
            await asyncio.sleep(0)
            return sys.get_asyncgen_hooks().firstiter

        assert "generator_started" not in repr(runner.run(use()))


# Tasks are what they would be.


@pytest.mark.parametrize("loop", LOOPS)
def test_names_contexts_and_another_factory_are_kept(loop: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        seen.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def read() -> str:
        return variable.get()

    async def use() -> None:
        running = asyncio.get_running_loop()
        running.set_task_factory(factory)
        tracker = LeakTracker(running)
        tracker.start()
        context = contextvars.copy_context()
        context.run(variable.set, "of the context")
        variable.set("of the caller")
        plain = asyncio.create_task(read(), name="plain")
        other = asyncio.create_task(read(), name="other", context=context)
        unnamed = running.create_task(read())
        assert (plain.get_name(), other.get_name()) == ("plain", "other")
        # Python 3.13.0 to 3.13.2 call a task without a name "None" where there is any factory (gh-128308).
        assert unnamed.get_name().startswith("None" if loop == "asyncio" and (3, 13) <= sys.version_info < (3, 13, 3) else "Task-")
        assert tuple(await asyncio.gather(plain, other, unnamed)) == ("of the caller", "of the context", "of the caller")
        assert len(seen) == 3
        tracker.stop()
        assert running.get_task_factory() is factory

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(use())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_stay_eager() -> None:
    async def use() -> None:
        loop = asyncio.get_running_loop()
        eager = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]  # not there in 3.11
        loop.set_task_factory(eager)
        tracker = LeakTracker(loop)
        tracker.start()
        tracker.mark_started()
        steps: list[str] = []

        async def quick() -> None:
            steps.append("quick")

        async def parent() -> None:
            steps.append("parent")
            app.kept.append(asyncio.create_task(forever()))  # eager
            await forever()

        app = Leaky()
        assert asyncio.create_task(quick()).done()
        app.kept.append(asyncio.create_task(parent()))  # parent
        assert steps == ["quick", "parent"]
        assert [leak.site for leak in tracker.find()] == sorted([place("eager", "parent"), place("parent", "use")])
        await app.clean()
        assert tracker.find() == []
        tracker.stop()
        assert loop.get_task_factory() is eager

    asyncio.run(use())


# On a bare loop.


@pytest.fixture
def bare() -> Callable[..., None]:
    """Run a coroutine function on a loop, with a tracker whose start-up is over."""

    def run(function: Callable[[LeakTracker], Awaitable[None]], **options: Any) -> None:
        async def main() -> None:
            tracker = LeakTracker(asyncio.get_running_loop(), **options)
            tracker.start()
            tracker.mark_started()
            try:
                await function(tracker)
            finally:
                tracker.stop()
                assert tracker not in process_watch._watchers.values()

        asyncio.run(main())

    return run


def test_the_line_of_the_user_is_told_and_not_that_of_a_task_group(bare: Any) -> None:
    async def use(tracker: LeakTracker) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(forever)  # started
            await asyncio.sleep(0)
            (leak,) = tracker.find()
            assert leak.site == place("started", "use")
            group.cancel_scope.cancel()

    bare(use)


def test_a_task_past_the_factory_is_told_by_its_coroutine(bare: Any) -> None:
    async def use(tracker: LeakTracker) -> None:
        task = asyncio.Task(forever(), loop=asyncio.get_running_loop())
        (leak,) = tracker.find()
        assert leak.site.endswith("in forever (its beginning; who made it is not known)")
        # Whose it is nobody knows: not while a request runs.
        assert tracker.find({asyncio.create_task(asyncio.sleep(0))}) == []
        task.cancel()

    bare(use)


def test_a_task_that_waits_for_a_coroutine_method_of_another_kind_is_placed(bare: Any) -> None:
    class Awaited:
        def __await__(self) -> Any:
            return forever().__await__()

    async def wait() -> None:
        await Awaited()

    async def use(tracker: LeakTracker) -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        (leak,) = tracker.find()
        assert leak.where == place("waits", "forever")
        task.cancel()

    bare(use)


def test_garbage_is_no_leak(bare: Any) -> None:
    async def use(tracker: LeakTracker) -> None:
        class Holder:
            generator: AsyncGenerator[int, None]

        holder = Holder()

        async def generate(holder: Holder) -> AsyncGenerator[int, None]:
            yield id(holder)

        holder.generator = generate(holder)
        await anext(holder.generator)
        assert len(tracker.find()) == 1
        del holder
        assert tracker.find() == []
        await asyncio.sleep(0)

    bare(use)


def test_what_only_the_traceback_of_an_error_holds_is_no_leak(bare: Any) -> None:
    async def fail() -> None:
        generator = numbers()
        opened = socket.socket()
        await anext(generator)
        raise ZeroDivisionError(opened)

    async def fail_with(generator: Any) -> None:
        await anext(generator)
        raise ZeroDivisionError

    async def use(tracker: LeakTracker) -> None:
        errors = []
        kept = Leaky()
        try:
            await fail()
        except ZeroDivisionError as error:
            error.args[0].close()
            errors.append(error)
        assert tracker.find() == []
        kept.kept.append(numbers())
        try:
            await fail_with(kept.kept[0])
        except ZeroDivisionError as error:
            errors.append(error)
        # This one the application holds as well.
        assert [leak.kind for leak in tracker.find()] == ["async generator"]
        await kept.clean()
        assert tracker.find() == []
        errors[0].__traceback__ = None
        await asyncio.sleep(0)

    bare(use)


def test_a_socket_in_the_traceback_of_an_error_is_told_where_a_transport_has_it(bare: Any) -> None:
    async def fail(app: Leaky) -> None:
        await a_connection(app)
        raise ZeroDivisionError(app)

    async def use(tracker: LeakTracker) -> None:
        app = Leaky()
        listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        app.address = listener.sockets[0].getsockname()
        app.kept.append(listener)
        with pytest.raises(ZeroDivisionError):
            await fail(app)
        assert place("connection", "a_connection") in [leak.site for leak in tracker.find()]
        await app.clean()

    bare(use)


# Libraries.

_LIBRARY = """
import asyncio, socket, threading

async def wait():
    await asyncio.get_running_loop().create_future()

class Pool:
    def __init__(self):
        self.release = threading.Event()
        self.things = []

    async def use(self, daemon=False):
        self.things.append(socket.socket())
        self.things.append(asyncio.create_task(wait()))
        thread = threading.Thread(target=self.work, daemon=daemon)
        thread.start()
        self.things.append(thread)

    def work(self):
        self.release.wait(10)

    async def run(self, function):
        self.things.append(asyncio.create_task(function()))

    async def close(self):
        self.release.set()
        first, *others = self.things
        self.things.clear()
        for one in [first, *others]:
            if isinstance(one, socket.socket):
                one.close()
            elif isinstance(one, asyncio.Task):
                one.cancel()
                await asyncio.wait([one])
            else:
                one.join(10)
"""


@pytest.fixture
def library(tmp_path: Path) -> ModuleType:
    """An installed package, with a pool that opens what it needs when it needs it."""
    path = tmp_path / "site-packages" / "some_driver" / "pool.py"
    path.parent.mkdir(parents=True)
    path.write_text(_LIBRARY, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("some_driver.pool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_library_opened_for_itself_is_told_at_the_end_only(library: ModuleType, loop: str) -> None:
    pool = library.Pool()

    async def handler(_app: Leaky) -> None:
        await pool.use()  # library
        await pool.use(daemon=True)

    app = Leaky(handler)
    server = LiveServer(app, loop=loop, leaks="fail")
    server.start()
    server.client.get("/handler")
    assert server.leaks() == []
    try:
        with pytest.raises(AssertionError) as raised:
            server.stop()
        text = str(raised.value)
        # Two sockets, two tasks, and one of the two threads: a daemon of a library is for the whole process.
        assert "left 5 things behind" in text
        for kind in ("task", "thread", "socket"):
            assert f"1 {kind} made at {place('library', 'handler')}" in text
    finally:
        asyncio.run(_close_threads(pool))


async def _close_threads(pool: Any) -> None:
    pool.things = [one for one in pool.things if not isinstance(one, asyncio.Task)]
    await pool.close()


def test_a_library_that_runs_the_users_code_is_told_with_the_line_that_gave_it(library: ModuleType, bare: Any) -> None:
    async def use(tracker: LeakTracker) -> None:
        pool = library.Pool()
        await pool.run(forever)  # given
        await asyncio.sleep(0)
        (leak,) = tracker.find()
        assert leak.site == place("given", "use")
        await pool.close()

    bare(use)


def test_a_named_package_is_the_users_wherever_it_is_installed(library: ModuleType, bare: Any) -> None:
    async def use(tracker: LeakTracker) -> None:
        pool = library.Pool()
        await pool.use(daemon=True)
        found = tracker.find()
        assert [leak.kind for leak in found] == ["task", "thread", "socket"]
        assert all("some_driver" in leak.site for leak in found)
        await pool.close()

    bare(use, packages=["some_driver"])


def test_what_an_import_makes_is_for_the_whole_process(bare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_at_import.py").write_text(
        "import socket, threading\n"
        "def make():\n    return socket.socket()\n"
        "opened = make()\n"
        "release = threading.Event()\n"
        "thread = threading.Thread(target=release.wait, args=(10,))\n"
        "thread.start()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def use(tracker: LeakTracker) -> None:
        module = importlib.import_module("made_at_import")
        try:
            assert tracker.find(final=True) == []
        finally:
            module.opened.close()
            module.release.set()
            module.thread.join()

    bare(use)


def test_a_call_of_the_application_that_the_server_could_not_end_is_told_at_the_end(bare: Any) -> None:
    # What the server's own call looks like: code of asgiserve's that runs the application.
    filename = str(Path(asgiserve.__path__[0]) / "imagined.py")
    scope: dict[str, Any] = {}
    source = "import asyncio\nasync def run(app):\n    await app()\ndef start(app):\n    return asyncio.create_task(run(app))\n"
    exec(compile(source, filename, "exec"), scope)  # noqa: S102 - the only way to have code with that file name

    async def use(tracker: LeakTracker) -> None:
        async def application() -> None:
            app.kept.append(asyncio.create_task(forever()))
            await forever()

        app = Leaky()
        app.kept.append(scope["start"](application))
        await asyncio.sleep(0)
        assert tracker.find() == []
        assert sorted(leak.what.partition(" ")[2] for leak in tracker.find(final=True)) == ["(forever)", "(run)"]
        (call,) = [leak for leak in tracker.find(final=True) if "(run)" in leak.what]
        assert "in application" in call.site
        assert call.where == place("waits", "forever")
        await app.clean()
        assert tracker.find(final=True) == []

    bare(use)


# Patience.


def test_what_is_about_to_end_may_do_so(bare: Any) -> None:
    async def slow_end() -> None:
        try:
            await forever()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)

    async def use(tracker: LeakTracker) -> None:
        assert await tracker.find_settled() == []
        app = Leaky()
        task = asyncio.create_task(slow_end())
        await a_thread(app)
        await asyncio.sleep(0)
        assert {leak.kind for leak in await tracker.find_settled(grace=0.01)} == {"task", "thread"}
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, app.release.set)
        assert len(tracker.find()) == 2
        assert await tracker.find_settled(grace=_WAIT) == []
        app.kept.clear()

    bare(use)


# The hook.


def test_the_hook_never_raises(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(_tracker: LeakTracker) -> None:
        process_watch._audit("socket.__new__", ())
        process_watch._audit("_thread.start_new_thread", (None,))
        process_watch._audit("open", ())
        monkeypatch.setattr(process_watch, "_tell", lambda *_: 1 / 0)
        with socket.socket():
            thread = threading.Thread(target=print, kwargs={"end": ""})
            thread.start()
            thread.join()

    bare(use)
    process_watch._audit("socket.__new__", ())


# Whose code it is.


@pytest.mark.parametrize(
    ("filename", "by"),
    [
        ("<string>", sites.UNKNOWN),
        ("<frozen runpy>", sites.UNKNOWN),
        (threading.__file__, sites.UNKNOWN),
        ("<doctest shop[0]>", sites.DIRECT),
        (str(_HERE), sites.DIRECT),
        ("relative.py", sites.DIRECT),
        (str(Path("/somewhere/site-packages/shop/views.py")), sites.LIBRARY),
        (str(Path("/usr/lib/python3/dist-packages/single.py")), sites.LIBRARY),
        (str(Path("/somewhere/site-packages/anyio/_core.py")), sites.PLUMBING),
        (str(Path("/somewhere/site-packages/single.py")), sites.DIRECT),
        (str(Path("/bare/folder/of/libraries/shop.py")), sites.LIBRARY),
        (str(Path(asgiserve.__path__[0]) / "server.py"), sites.OWN),
    ],
)
def test_a_file_is_told_by_its_place(filename: str, by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("site.getsitepackages", lambda: ["/bare/folder/of/libraries"])
    scope: dict[str, Any] = {}
    exec(compile("import sys\ndef call():\n    return sys._getframe()\n", filename, "exec"), scope)  # noqa: S102 - code with that file name
    frame = scope["call"]()
    # The one that called it is this test, which would be told otherwise.
    assert sites.find_origin(frame, sites.FileKinds({"single"} if "somewhere" in filename else ()), frame.f_back and frame.f_back.f_code).by == by


# The report.


def test_a_leak_is_one_line() -> None:
    leak = Leak("task", "'Task-3' (poll)", "shop/views.py:12 in start_poll", "shop/views.py:30 in poll")
    assert str(leak) == "task 'Task-3' (poll), made at shop/views.py:12 in start_poll, waiting at shop/views.py:30 in poll"
    assert str(Leak("socket", "TCP socket, not connected", "a.py:1 in f", "")) == "socket TCP socket, not connected, made at a.py:1 in f"


def test_the_report_groups_by_kind_and_place() -> None:
    leaks = [
        Leak("socket", "TCP socket, not connected", "a.py:1 in f", ""),
        *[Leak("task", f"'Task-{number}' (poll)", "a.py:2 in g", "a.py:3 in poll") for number in range(5)],
        Leak("task", "'Task-9' (poll)", "a.py:2 in g", "a.py:4 in poll"),
        Leak("async generator", "rows", "a.py:5 in h", "a.py:6 in rows"),
        Leak("thread", "'worker'", "a.py:7 in i", "a.py:8 in work"),
    ]
    assert format_leaks(leaks).splitlines() == [
        "5 tasks made at a.py:2 in g, waiting at a.py:3 in poll: 'Task-0' (poll), 'Task-1' (poll), 'Task-2' (poll) and 2 more",
        "1 task made at a.py:2 in g, waiting at a.py:4 in poll: 'Task-9' (poll)",
        "1 thread made at a.py:7 in i, now at a.py:8 in work: 'worker'",
        "1 socket made at a.py:1 in f: TCP socket, not connected",
        "1 async generator made at a.py:5 in h, suspended at a.py:6 in rows: rows",
    ]
    assert format_leaks([]) == ""
