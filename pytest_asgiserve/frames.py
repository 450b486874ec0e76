"""Which lines of a traceback, or of a stack, somebody wants to read.

The law of this module: no line of the user's own code is left out, nor where it was called from or what it called; what is left out is counted and
named. Between a request and the function that serves it stand some thirty frames of a framework.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType, TracebackType

__all__ = ["format_error", "format_task", "format_thread", "without_ours"]

_OURS: Final = ("asgiserve.", "pytest_asgiserve.")
# Below the first line of the application in the stack of a server's thread.
_BELOW: Final = (*_OURS, "asyncio.", "concurrent.", "selectors", "threading", "uvloop")
# As many frames of libraries in a row are shown.
_SHOWN: Final = 2
_HOMES: Final = tuple({f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib", "stdlib", "platstdlib")})
_PACKAGES: Final = Path(__file__).parents[1]


class _Gap(traceback.FrameSummary):
    """Stands for the frames that are left out."""

    def __init__(self, left_out: Sequence[traceback.FrameSummary]) -> None:
        names = list(dict.fromkeys(map(_library, left_out)))
        super().__init__(", ".join(names), len(left_out), "", lookup_line=False, line="")


class _Folded(traceback.StackSummary):
    def format_frame_summary(self, frame_summary: traceback.FrameSummary, **options: Any) -> str:
        if isinstance(frame_summary, _Gap):
            return f"  ... {frame_summary.lineno} frames of {frame_summary.filename} ...\n"
        return super().format_frame_summary(frame_summary, **options)


def _library(frame: traceback.FrameSummary) -> str:
    """The package that a frame is of; empty for the user's own code."""
    filename = frame.filename
    if filename.startswith("<frozen "):
        return "importlib"
    path = Path(filename)
    if path.is_relative_to(_PACKAGES / "asgiserve") or path.is_relative_to(_PACKAGES / "pytest_asgiserve"):
        return "asgiserve"
    # site-packages stands in the folder of the standard library: the longest home is the frame's.
    home = max((home for home in _HOMES if filename.startswith(home)), key=len, default=None)
    return Path(filename[len(home) :].removeprefix("site-packages/")).parts[0].removesuffix(".py") if home is not None else ""


def _fold(frames: Iterable[traceback.FrameSummary]) -> traceback.StackSummary:
    folded: list[traceback.FrameSummary] = []
    run: list[traceback.FrameSummary] = []
    all_frames = list(frames)
    for frame in all_frames:
        if _library(frame):
            run.append(frame)
            continue
        folded += run if len(run) <= _SHOWN else [_Gap(run)]
        folded.append(frame)
        run = []
    # Below the last line of the user's it is the library that waits, or that raised.
    return _Folded([*folded, *run])


def format_error(error: BaseException, *, full: bool = False) -> str:
    """The traceback as Python prints it, from the application on, and without the runs of frames in which one library calls the other.

    Args:
        error: the exception; its causes, contexts and the members of a group are treated alike.
        full: leave nothing out but the server's call of the application.
    """
    shown = traceback.TracebackException(type(error), error, without_ours(error.__traceback__))
    if not full:
        for each in _all(shown):
            each.stack = _fold(each.stack)
    return "".join(shown.format()).rstrip()


def _all(shown: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    if shown is None:
        return
    yield shown
    for other in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        yield from _all(other)


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the application on: the server's call of it, or its import, says nothing."""
    shown = trace
    while shown is not None and shown.tb_frame.f_globals.get("__name__", "").startswith((*_OURS, "importlib", "_frozen_importlib")):
        shown = shown.tb_next
    return trace if shown is None else shown


def format_task(task: asyncio.Task[Any]) -> str:
    """Where ``task`` waits: the chain of its awaits, from the application on. Call it on the task's loop."""
    frames = [(frame, frame.f_lineno) for frame in _awaiting(task.get_coro())]
    theirs = [pair for pair in frames if not pair[0].f_globals.get("__name__", "").startswith(_OURS)]
    return _format(theirs or frames)


def _awaiting(awaited: Any) -> Iterator[FrameType]:
    while awaited is not None and not asyncio.isfuture(awaited):
        frame = next((frame for name in ("cr_frame", "gi_frame", "ag_frame") if (frame := getattr(awaited, name, None)) is not None), None)
        if frame is not None:
            yield frame
        inner = next((inner for name in ("cr_await", "gi_yieldfrom", "ag_await") if (inner := getattr(awaited, name, None)) is not None), None)
        if inner is None and frame is None:
            # What `anext()` gives, as in a context manager that is an async generator, does not say whose it is.
            inner = next((one for one in gc.get_referents(awaited) if inspect.isasyncgen(one) or inspect.iscoroutine(one)), None)
        awaited = inner


def format_thread(ident: int | None) -> str:
    """Where the thread of a loop stands, from the application on; empty where it runs nothing of the application."""
    frame = sys._current_frames().get(ident or 0)  # noqa: SLF001 - documented; the underscore says that it is for debugging, as here
    frames = list(reversed(list(traceback.walk_stack(frame)))) if frame is not None else []
    names = [one.f_globals.get("__name__", "") for one, _ in frames]
    first = next((index for index, name in enumerate(names) if not name.startswith(_BELOW)), len(frames))
    return _format(frames[first:])


def _format(frames: Iterable[tuple[FrameType, int]]) -> str:
    return "".join(_fold(traceback.StackSummary.extract(iter(frames))).format()).rstrip()
