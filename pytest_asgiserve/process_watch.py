"""What is made in this process that Python tells of: threads that start and sockets, handed to whoever watches that thread.

The law of this module: it is there for the whole process, so it costs nothing worth a word where nobody watches, it never raises into what it is told
of, and it judges nothing. An audit hook can never be removed; it is set once, when somebody watches for the first time.
"""

from __future__ import annotations

import contextvars
import functools
import socket
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Root", "Watcher", "current_root", "unwatch", "watch"]


class Watcher(Protocol):
    """Told of what is made in the threads that are its own."""

    active: bool

    def started_thread(self, ident: int) -> bool:
        """Whether the running thread with this identity was started from there."""

    def made(self, one: threading.Thread | socket.socket, frame: FrameType, root: Root | None, *, on_loop: bool) -> None:
        """A thread that is about to start, or a new socket.

        Args:
            one: what was made.
            frame: the nearest of those that made it.
            root: what it was made for, where the context tells.
            on_loop: this is the thread of the loop.
        """


class Root:
    """What something was made for: one call of the application (a request, the lifespan), or what a test runs on the loop."""

    __slots__ = ("_watcher", "task")

    def __init__(self, watcher: Watcher) -> None:
        # Weakly: an application may keep a copy of its context for ever, and this is in it.
        self._watcher = weakref.ref(watcher)
        # A weak reference, once there is a task.
        self.task: Callable[[], Any] = _nothing

    @property
    def watcher(self) -> Watcher | None:
        """Whose it is; None once that is gone."""
        return self._watcher()

    @property
    def goes_on(self) -> bool:
        """Whether the call has not ended."""
        task = self.task()
        return task is not None and not task.done()


def _nothing() -> None:
    return None


# Whom this is for. Callbacks and many threads (asyncio.to_thread, anyio, asgiref) have a copy of the context.
current_root: Final[contextvars.ContextVar[Root | None]] = contextvars.ContextVar("pytest_asgiserve.process_watch.current_root", default=None)
# By the thread of the loop.
_watchers: Final[dict[int, Watcher]] = {}

_EVENTS: Final = frozenset({"socket.__new__", "_thread.start_new_thread", "_thread.start_joinable_thread"})
# Python 3.11 does not tell its hooks of threads.
_HOOK_TELLS_THREADS: Final = sys.version_info >= (3, 12)
_hooked: Final[list[bool]] = []
# What `Thread.start` was before; there while ours is in its place, or somewhere below another's.
_plain_starts: Final[list[Callable[[threading.Thread], None]]] = []


def watch(watcher: Watcher) -> None:
    """Tell ``watcher`` of what is made for it. This is the thread of its loop."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_audit)
    if not _HOOK_TELLS_THREADS and not _plain_starts:
        _plain_starts.append(threading.Thread.start)
        setattr(threading.Thread, "start", _watched_start)  # noqa: B010 - mypy has no words for a method that is replaced
    _watchers[threading.get_ident()] = watcher


def unwatch(watcher: Watcher) -> None:
    """Tell it no more."""
    for ident, other in list(_watchers.items()):
        if other is watcher:
            del _watchers[ident]
    # Where somebody else has wrapped it since, it stays, and does nothing.
    if not _watchers and threading.Thread.start is _watched_start:
        setattr(threading.Thread, "start", _plain_starts.pop())  # noqa: B010 - as above


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook. An exception would forbid what it is told of."""
    if event not in _EVENTS or not _watchers:
        return
    try:
        one = args[0] if event == "socket.__new__" else getattr(args[0], "__self__", None)
        if isinstance(one, (socket.socket, threading.Thread)):
            _tell(one, sys._getframe(1))  # noqa: SLF001 - documented; inspect.currentframe is the same, at more cost
    except Exception:  # noqa: BLE001, S110 - see above
        pass


# Debuggers and coverage see into it, as into everything else here; an audit hook is hidden from them otherwise.
_audit.__cantrace__ = True  # type: ignore[attr-defined]  # functions have attributes


@functools.wraps(threading.Thread.start)
def _watched_start(thread: threading.Thread) -> None:
    """Instead of `Thread.start` where the hook is not told of threads."""
    try:
        if _watchers:
            _tell(thread, sys._getframe(1))  # noqa: SLF001 - documented; inspect.currentframe is the same, at more cost
    except Exception:  # noqa: BLE001, S110 - as the hook
        pass
    _plain_starts[0](thread)


def _tell(one: threading.Thread | socket.socket, frame: FrameType) -> None:
    """To the watcher whose this is: by the thread of the loop, the context of the call, or who started this thread."""
    ident = threading.get_ident()
    root = current_root.get()
    watcher = _watchers.get(ident)
    if watcher is not None:
        watcher.made(one, frame, root if root is not None and root.watcher is watcher else None, on_loop=True)
    elif root is not None and (watcher := root.watcher) is not None and watcher.active:
        watcher.made(one, frame, root, on_loop=False)
    else:
        for other in list(_watchers.values()):
            if other.started_thread(ident):
                other.made(one, frame, None, on_loop=False)
                return
