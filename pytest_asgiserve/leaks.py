"""What an application left behind on a server's loop: tasks, threads, sockets and unclosed async generators, with the line that made each.

The law of this module: it watches, and changes nothing that the application can see; `LeakTracker.stop` takes all of it away again. It holds what it
watches weakly. It would rather say nothing than accuse what is no leak.

What counts, while the server runs (`LeakTracker.find`): made since the start-up, still there, and not of anything that goes on: a request with all
that it started, and the lifespan with all that it starts, at any time. After the lifespan's shutdown (``final=True``): all that is still there.

What is no leak:

- Pools. A thread of an executor (the loop's own, the user's, asgiref's for Django) or of anyio is none, idle or not. After the shutdown one is, if it
  runs a function of the user's even then.
- What a library made for itself, while the server runs: a connection of a client with keep-alive, the reader task or the thread of a database
  driver may belong to a pool that is closed at the shutdown; so it is told then. "For itself": the nearest line that is not of the standard library,
  anyio or asgiref is in an installed package, and no line of the user's runs in it. Daemon threads of libraries (monitors, exporters) are for the
  whole process and never told.
- What is made while a module is imported: that happens once per process, whichever server it happens in.
- What is collected as garbage. The collector runs before anything is told, and only then. And what lives only in the locals of an exception's
  traceback: whoever keeps the exception (the recorder of this plugin keeps those of failed requests) keeps it.
- What nobody can be named for, while any request runs: something that was made in a bare callback.

What cannot be seen: sockets that are opened in C (psycopg, libcurl), descriptors of files, subprocesses and pipes, threads that are started by
`_thread` or in C. asyncio's sockets are Python's; uvloop has its own, so that its methods which open them (``create_connection``, ``create_server``
and their kin) are watched instead. Connections that a server of the application's accepted are told as that server's listening socket.
Once an application sets a task factory of its own, its later tasks are told by their coroutine; where they were made is not known.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import operator
import socket
import sys
import threading
import weakref
from dataclasses import dataclass
from types import CoroutineType, FrameType, GeneratorType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from pytest_asgiserve.process_watch import Root, current_root, unwatch, watch
from pytest_asgiserve.sites import (
    DIRECT,
    INDIRECT,
    LIBRARY,
    OWN,
    PLUMBING,
    UNKNOWN,
    Origin,
    as_stack,
    describe_place,
    file_kinds,
    find_origin,
    is_pool_worker,
    waiting_frames,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
    from types import CodeType

__all__ = ["Leak", "LeakTracker", "format_leaks"]

Kind = Literal["task", "thread", "socket", "async generator"]
_KINDS: Final[tuple[Kind, ...]] = ("task", "thread", "socket", "async generator")
_VERBS: Final[dict[Kind, str]] = {"task": "waiting at", "thread": "now at", "socket": "", "async generator": "suspended at"}
# How far, and how broadly, it is looked who holds something.
_STEPS: Final = 8
_MANY: Final = 500
_CONNECTORS: Final = ("create_connection", "create_unix_connection", "create_server", "create_unix_server", "create_datagram_endpoint")
# How many names a line of the report has.
_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing that the application left behind; text only, so that it keeps nothing alive.

    ``what`` is a name for it: a task's and its coroutine's, a thread's, a socket's addresses. ``site`` is who made it: ``path:line in function``, of
    the user's code where there is such a line. ``where`` is where it is now, in the same form; empty where it has no such place (a socket).
    """

    kind: Kind
    what: str
    site: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}, made at {self.site}{_now(self)}"


def _now(leak: Leak) -> str:
    return f", {_VERBS[leak.kind]} {leak.where}" if leak.where else ""


def format_leaks(leaks: Sequence[Leak]) -> str:
    """A line for each place that left something, with the number and the names of what it left: for a report."""
    groups: dict[tuple[int, str, str], list[Leak]] = {}
    for leak in leaks:
        groups.setdefault((_KINDS.index(leak.kind), leak.site, leak.where), []).append(leak)
    lines = []
    for (kind, site, _), group in sorted(groups.items()):
        names = [leak.what for leak in group]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        noun = _KINDS[kind] if len(names) == 1 else f"{_KINDS[kind]}s"
        lines.append(f"{len(names)} {noun} made at {site}{_now(group[0])}: {', '.join(names[:_NAMES])}{more}")
    return "\n".join(lines)


class _Made(weakref.ref[Any]):
    """Something that was made, held weakly, and all that is known of how."""

    __slots__ = ("home", "key", "origin", "root", "since")

    home: dict[int, _Made]
    key: int
    origin: Origin
    # What it was made for; None where nobody knows.
    root: Root | None
    # 0: during the start-up; 1: later.
    since: int


def _forget(made: weakref.ref[Any]) -> None:
    if isinstance(made, _Made):
        made.home.pop(made.key, None)


class LeakTracker:
    """Watches what is made on the loop of one server. Every method is called on the loop's thread.

    Args:
        loop: the server's, asyncio's or uvloop's.
        packages: top-level packages of the application that are installed among the libraries, and are the user's code all the same.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, packages: Iterable[str] = ()) -> None:
        self._loop = loop
        self._files = file_kinds(packages)
        self.active = False
        self._since = 0
        self._base: CodeType | None = None
        self._tasks: dict[int, _Made] = {}
        self._threads: dict[int, _Made] = {}
        self._sockets: dict[int, _Made] = {}
        self._generators: dict[int, _Made] = {}
        # Tasks that exist already, or are made past the factory before the start-up's end.
        self._earlier: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._previous_factory: Any = None
        self._factory = self._make_task
        self._previous_first: Callable[[AsyncGenerator[Any, Any]], None] | None = None
        self._first = self._generator_started
        self._connectors: dict[str, Any] = {}

    # Life.

    def start(self) -> None:
        """Begin to watch: before the application is imported and started.

        A server's `start`, `find` and `stop` take 30 µs together.
        """
        loop = self._loop
        self.active = True
        watch(self)
        self._earlier.update(asyncio.all_tasks(loop))
        # Measured on both loops, CPython 3.11 to 3.13: a task then costs 2 to 4 µs more (3 without), an async generator 2.5 (0.6), a socket 6.5 (7),
        # a thread 15 (85).
        self._previous_factory = loop.get_task_factory()
        loop.set_task_factory(self._factory)
        if type(loop).__module__.startswith("uvloop"):
            self._watch_connectors()
        if loop.is_running():
            self._base = _code_below_coroutines(sys._getframe())  # noqa: SLF001 - documented; inspect.currentframe is the same, at more cost
            self._watch_generators()
        else:
            # The loop sets its own hooks when it begins to run.
            loop.call_soon(self._loop_runs)

    def mark_started(self) -> None:
        """The start-up is complete: what is there now belongs to the lifespan."""
        self._since = 1
        self._earlier.update(task for task in asyncio.all_tasks(self._loop) if id(task) not in self._tasks)

    def stop(self) -> None:
        """Take everything away again. Idempotent; a tracker cannot be started twice."""
        if not self.active:
            return
        self.active = False
        loop = self._loop
        unwatch(self)
        # Where somebody has put his own in its place or around it, that one stays, and ours is without effect.
        if not loop.is_closed() and loop.get_task_factory() is self._factory:
            loop.set_task_factory(self._previous_factory)
        hooks = sys.get_asyncgen_hooks()
        if hooks.firstiter is self._first:
            sys.set_asyncgen_hooks(firstiter=self._previous_first)
        for name, connector in self._connectors.items():
            if vars(loop).get(name) is connector:
                delattr(loop, name)
        self._connectors.clear()
        for home in (self._tasks, self._threads, self._sockets, self._generators):
            home.clear()

    # What is there.

    def find(self, running: Collection[asyncio.Task[Any]] = (), *, final: bool = False) -> list[Leak]:
        """What the application left behind, sorted by kind and place; each kind and what is no leak: see the module.

        The collector runs once where there is something to tell, and takes what is only garbage.

        Args:
            running: the tasks of the requests that run: what they made is no leak yet.
            final: after the lifespan's shutdown: everything that is there, whoever made it and when.
        """
        if not any(True for _ in self._left(running, final=final)):
            return []
        gc.collect()
        leaks = [leak for _, leak in self._left(running, final=final)]
        return sorted(leaks, key=lambda leak: (_KINDS.index(leak.kind), leak.site, leak.where, leak.what))

    async def find_settled(
        self, running: Callable[[], Collection[asyncio.Task[Any]]] = tuple, *, final: bool = False, grace: float = 0.1
    ) -> list[Leak]:
        """As `find`, but what is about to end anyway (a task that was cancelled, a thread on its last line) may do so first.

        It takes no time where nothing was left.

        Args:
            running: gives the tasks of the requests that run.
            final: as in `find`.
            grace: seconds to wait at most for tasks, and then for threads, to end.
        """
        left = [one for one, _ in self._left(running(), final=final)]
        ending: list[asyncio.Future[Any]] = [one for one in left if isinstance(one, asyncio.Task)]
        threads = [one for one in left if isinstance(one, threading.Thread)]
        del left
        if threads:
            ending += [self._loop.run_in_executor(None, thread.join, grace) for thread in threads]
        if ending:
            await asyncio.wait(ending, timeout=grace)
        ending.clear()
        threads.clear()
        return self.find(running(), final=final)

    def _left(self, running: Collection[asyncio.Task[Any]], *, final: bool) -> Iterator[tuple[Any, Leak]]:
        yield from self._left_tasks(running, final=final)
        yield from self._left_threads(running, final=final)
        for made in list(self._sockets.values()):
            one = made()
            if one is not None and self._counts(made, running, final=final) and self._is_told(made, users=False, final=final):
                words = _describe_open(one)
                if words and not (isinstance(one, socket.socket) and _is_kept_by_traceback(one)):
                    yield one, Leak("socket", words, self._site(made.origin), "")
        for made in list(self._generators.values()):
            one = made()
            if one is None or one.ag_frame is None or one.ag_running or not self._counts(made, running, final=final):
                continue
            frames = waiting_frames(one)
            if self._is_told(made, users=self._files.is_user(one.ag_frame), final=final) and not _is_kept_by_traceback(one):
                yield one, Leak("async generator", one.__qualname__, self._site(made.origin, one.ag_code), self._place(frames))

    def _left_tasks(self, running: Collection[asyncio.Task[Any]], *, final: bool) -> Iterator[tuple[Any, Leak]]:
        current = asyncio.current_task(self._loop)
        for task in asyncio.all_tasks(self._loop):
            if task is current or task in running or task in self._earlier:
                continue
            made = self._tasks.get(id(task))
            coroutine = task.get_coro()
            code = _code_of(coroutine)
            if made is None and (self._files.is_own_code(code) or (running and not final)):
                continue
            frames = waiting_frames(coroutine)
            origin = made.origin if made is not None else None
            if origin is not None and origin.by == OWN:
                # Our own; but a call of the application that did not end with the server is the application's.
                theirs = [frame for frame in frames if self._files.is_application(frame)]
                if final and theirs:
                    yield task, Leak("task", self._name(task, coroutine), describe_place(theirs[-1].f_code), self._place(frames))
                continue
            if made is not None and not self._counts(made, running, final=final):
                continue
            users = any(self._files.is_user(frame) for frame in frames)
            if final or made is None or self._is_told(made, users=users, final=False):
                yield task, Leak("task", self._name(task, coroutine), self._site(origin, code), self._place(frames))

    def _left_threads(self, running: Collection[asyncio.Task[Any]], *, final: bool) -> Iterator[tuple[Any, Leak]]:
        frames = sys._current_frames() if self._threads else {}  # noqa: SLF001 - documented; the underscore says that it is for debugging, as here
        for made in list(self._threads.values()):
            thread: threading.Thread | None = made()
            if thread is None or not thread.is_alive() or not self._counts(made, running, final=final):
                continue
            stack = list(as_stack(frames.get(thread.ident or 0)))
            users = [frame for frame in stack if self._files.is_user(frame)]
            if is_pool_worker(stack):
                if final and users:
                    yield thread, Leak("thread", f"{thread.name!r} of a pool, still busy", describe_place(users[-1].f_code), self._place(stack))
            elif self._is_told(made, users=bool(users), final=final and not thread.daemon):
                what = f"{thread.name!r}{' (daemon)' if thread.daemon else ''}"
                yield thread, Leak("thread", what, self._site(made.origin), self._place(stack))

    def _counts(self, made: _Made, running: Collection[asyncio.Task[Any]], *, final: bool) -> bool:
        """Whether the time for it has come: what it was made for is over."""
        if final:
            return True
        if made.since == 0:
            return False
        root = made.root
        if root is None:
            return not running
        return not root.goes_on and root.task() not in running

    @staticmethod
    def _is_told(made: _Made, *, users: bool, final: bool) -> bool:
        """Whether it is the user's: made by a line of his, or running one (``users``); or whatever a library made, at the end."""
        by = made.origin.by
        return users or by == DIRECT or (final and by in {INDIRECT, LIBRARY, PLUMBING})

    # Words.

    def _site(self, origin: Origin | None, code: CodeType | None = None) -> str:
        if origin is not None and origin.code is not None:
            return describe_place(origin.code, instruction=origin.instruction)
        return f"{describe_place(code)} (its beginning; who made it is not known)" if code is not None else "a place that is not known"

    def _place(self, frames: list[FrameType]) -> str:
        """The innermost line of the user's; of anybody where there is none."""
        best = next((frame for frame in frames if self._files.is_user(frame)), frames[0] if frames else None)
        return describe_place(best.f_code, line=best.f_lineno) if best is not None else ""

    @staticmethod
    def _name(task: asyncio.Task[Any], coroutine: Any) -> str:
        return f"{task.get_name()!r} ({getattr(coroutine, '__qualname__', None) or type(coroutine).__name__})"

    # What is told as it is made.

    def _record(self, home: dict[int, _Made], one: Any, origin: Origin, root: Root | None) -> _Made:
        made = _Made(one, _forget)
        made.home = home
        made.key = key = id(one)
        made.origin = origin
        made.root = root
        made.since = self._since
        home[key] = made
        return made

    def _trace(self, frame: FrameType | None) -> tuple[Origin, Root | None]:
        """Who makes something on the loop's thread just now, and for what."""
        origin = find_origin(frame, self._files, self._base)
        task = asyncio.current_task(self._loop)
        parent = self._tasks.get(id(task)) if task is not None else None
        if parent is None:
            root = current_root.get()
            return origin, root if root is not None and root.watcher is self else None
        if origin.by in {LIBRARY, PLUMBING, UNKNOWN} and parent.origin.by in {DIRECT, INDIRECT}:
            # A task that was started for the user, by a task group for example, does the user's work: the line is that which began it.
            by = INDIRECT if origin.by == LIBRARY else parent.origin.by
            origin = parent.origin._replace(by=by)
        return origin, parent.root

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, /, **options: Any) -> Any:
        """The task factory. ``options`` are those that this Python and this loop pass on: the context, the name, an eager start."""
        if not self.active:
            return self._create(loop, coroutine, options)
        origin, root = self._trace(sys._getframe(1))  # noqa: SLF001 - documented; inspect.currentframe is the same, at more cost
        if origin.by == OWN or (origin.code is None and self._files.is_own_code(_code_of(coroutine))):
            return self._create_root(loop, coroutine, options, origin._replace(by=OWN))
        task = self._create(loop, coroutine, options)
        if not task.done():
            self._record(self._tasks, task, origin, root)
        return task

    def _create(self, loop: asyncio.AbstractEventLoop, coroutine: Any, options: dict[str, Any]) -> Any:
        if self._previous_factory is not None:
            return self._previous_factory(loop, coroutine, **options)
        return asyncio.Task(coroutine, loop=loop, **options)

    def _create_root(self, loop: asyncio.AbstractEventLoop, coroutine: Any, options: dict[str, Any], origin: Origin) -> Any:
        """A task of the server's own: what is made in it, and behind it, is made for it."""
        root = Root(self)
        context = options.get("context")
        if context is not None:
            context.run(current_root.set, root)
            task = self._create(loop, coroutine, options)
        else:
            token = current_root.set(root)
            try:
                task = self._create(loop, coroutine, options)
            finally:
                current_root.reset(token)
        root.task = self._record(self._tasks, task, origin, root)
        return task

    def _generator_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        """The hook for the first step of an async generator."""
        if self.active:
            origin, root = self._trace(sys._getframe(1))  # noqa: SLF001 - documented; inspect.currentframe is the same, at more cost
            if origin.by != OWN:
                self._record(self._generators, generator, origin, root)
        if self._previous_first is not None:
            self._previous_first(generator)

    def _loop_runs(self) -> None:
        if self.active:
            caller = sys._getframe().f_back  # noqa: SLF001 - documented; inspect.currentframe is the same, at more cost
            self._base = caller.f_code if caller is not None else None
            self._watch_generators()

    def _watch_generators(self) -> None:
        """Before the loop's own hook, which is called as well; its finalizer stays."""
        self._previous_first = sys.get_asyncgen_hooks().firstiter
        sys.set_asyncgen_hooks(firstiter=self._first)

    def _watch_connectors(self) -> None:
        """What uvloop opens has no socket of Python's, or not for long."""
        for name in _CONNECTORS:
            connector = self._watched(getattr(self._loop, name))
            self._connectors[name] = connector
            setattr(self._loop, name, connector)

    def _watched(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(connect)
        async def watched(*args: Any, **options: Any) -> Any:
            origin, root = self._trace(sys._getframe(1))  # noqa: SLF001 - documented; inspect.currentframe is the same, at more cost
            made = await connect(*args, **options)
            if self.active and origin.by not in {OWN, UNKNOWN} and options.get("sock") is None:
                # A transport and its protocol, or a server.
                self._record(self._sockets, made[0] if isinstance(made, tuple) else made, origin, root)
            return made

        return watched

    def made(self, one: threading.Thread | socket.socket, frame: FrameType, root: Root | None, *, on_loop: bool) -> None:
        """See `Watcher`."""
        stack = list(as_stack(frame, self._base if on_loop else None))
        if any(above.f_code.co_name == "<module>" for above in stack):
            return
        if on_loop:
            origin, found = self._trace(frame)
            root = found or root
        else:
            origin = find_origin(frame, self._files, None)
            if root is None and not is_pool_worker(stack):
                starter = self._starter(threading.get_ident())
                root = starter.root if starter is not None else None
        # A callback of the loop's is an accepted connection, or asyncio's own business.
        if origin.by not in {OWN, UNKNOWN}:
            self._record(self._threads if isinstance(one, threading.Thread) else self._sockets, one, origin, root)

    def started_thread(self, ident: int) -> bool:
        """See `Watcher`."""
        return self._starter(ident) is not None

    def _starter(self, ident: int) -> _Made | None:
        for made in list(self._threads.values()):
            thread = made()
            if thread is not None and thread.ident == ident and thread.is_alive():
                return made
        return None


def _code_of(coroutine: Any) -> CodeType | None:
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None) or getattr(coroutine, "f_code", None)
    return code if inspect.iscode(code) else None


def _code_below_coroutines(frame: FrameType | None) -> CodeType | None:
    """The code that runs the event loop, seen from inside of a coroutine: what called the outermost one."""
    below = None
    for above in as_stack(frame):
        if above.f_code.co_flags & inspect.CO_COROUTINE:
            below = above.f_back
    return below.f_code if below is not None else None


def _is_kept_by_traceback(one: Any) -> bool:
    """Whether nothing holds it but frames that an exception keeps: all who do, and who hold those, are looked at, until there is nobody else."""
    seen = {id(one)}
    level = [one]
    found = False
    for _ in range(_STEPS):
        above = [holder for holder in gc.get_referrers(*level) if id(holder) not in seen and not _is_passing(holder, level)]
        if len(above) > _MANY or any(map(_is_firm, above)):
            return False
        seen.update(map(id, above))
        found = found or any(isinstance(holder, TracebackType) for holder in above)
        # Who keeps the exception is not asked.
        level = [holder for holder in above if not isinstance(holder, TracebackType)]
        del above
        if not level:
            return found
    return False


def _is_firm(holder: Any) -> bool:
    """Whether it is alive by itself, as far as that can be told: a module, something of an event loop."""
    if isinstance(holder, dict):
        return "__builtins__" in holder
    return isinstance(holder, (ModuleType, type, CoroutineType, asyncio.AbstractEventLoop, asyncio.BaseTransport, asyncio.Future, threading.Thread))


def _is_passing(holder: Any, level: list[Any]) -> bool:
    """Whether it holds one of ``level`` for nothing: it looks for who holds something, or is the frame of an inner call, which knows its caller's."""
    if isinstance(holder, FrameType) and any(holder.f_back is frame for frame in level):
        return True
    if isinstance(holder, (FrameType, GeneratorType)):
        return _code_of(holder) in _looking
    # The arguments of the question itself.
    return holder is level or (type(holder) is tuple and len(holder) == len(level) and all(map(operator.is_, holder, level)))


_looking: Final = frozenset(function.__code__ for function in (LeakTracker._left, _is_kept_by_traceback))  # noqa: SLF001 - its own


def _describe_open(one: Any) -> str:
    """An open socket in words, or a transport or a server of uvloop's; empty where it is closed."""
    if isinstance(one, socket.socket):
        return _describe_socket(one) if one.fileno() != -1 else ""
    if hasattr(one, "is_serving"):
        return ", ".join(_describe_socket(each) for each in one.sockets or ())
    opened = one.get_extra_info("socket")
    return _describe_socket(opened) if opened is not None and not one.is_closing() else ""


def _describe_socket(one: Any) -> str:
    ours, theirs = _address(one.getsockname), _address(one.getpeername)
    try:
        listens = bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except (OSError, AttributeError):
        listens = False
    datagram = one.type == socket.SOCK_DGRAM
    name = "UNIX socket" if one.family == getattr(socket, "AF_UNIX", None) else f"{'UDP' if datagram else 'TCP'} socket"
    if listens:
        return f"{name}, listening on {ours}"
    if theirs:
        return f"{name}, {ours} to {theirs}" if ours else f"{name} to {theirs}"
    return f"{name} on {ours}" if ours and not ours.endswith(":0") else f"{name}, not connected"


def _address(get: Callable[[], Any]) -> str:
    try:
        address = get()
    except OSError:
        return ""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return address.decode(errors="replace") if isinstance(address, bytes) else str(address or "")
