"""Where in the user's code something was made, and where it waits now.

The law of this module: it reads frames and changes nothing. What runs for every task of an application (`find_origin`) looks at file names only,
once each; a line is worked out when somebody is told of it.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import site
import sysconfig
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "DIRECT",
    "INDIRECT",
    "LIBRARY",
    "OWN",
    "PLUMBING",
    "UNKNOWN",
    "FileKinds",
    "Origin",
    "as_stack",
    "describe_place",
    "entry_frame",
    "file_kinds",
    "find_origin",
    "is_pool_worker",
    "waiting_frames",
]

# Whose a file is. Small integers and no Enum: they are compared for every frame of every new task.
_USER: Final = 0
_LIBRARY: Final = 1
# Passes on what its caller wants done, so that the caller is the one who made it.
_PLUMBING: Final = 2
_STANDARD: Final = 3
_OWN: Final = 4

# Who made something.
DIRECT: Final = 0  # the user's code, itself or by the standard library or plumbing
INDIRECT: Final = 1  # a library that the user's code called: it may belong to a pool of that library
LIBRARY: Final = 2  # a library or a framework; no line of the user's is on the stack
PLUMBING: Final = 3  # anyio or asgiref
UNKNOWN: Final = 4  # the standard library: a callback of the event loop
OWN: Final = 5  # asgiserve, or this plugin

_PLUMBING_PACKAGES: Final = ("anyio", "asgiref", "sniffio", "uvloop")
_DEPENDENCY_FOLDERS: Final = ("site-packages", "dist-packages")
# A chain of awaits that is longer than this is a loop in the data.
_DEEPEST: Final = 1000


class Origin(NamedTuple):
    """Who made something, and the instruction that did. ``code`` is None where nothing but the event loop is known."""

    by: int
    code: types.CodeType | None
    instruction: int


_NOWHERE: Final = Origin(UNKNOWN, None, -1)


class FileKinds(dict[str, int]):
    """Whose each file of code is; looked up once per file.

    Args:
        packages: top-level packages that are the user's although they are installed among the libraries.
    """

    def __init__(self, packages: Iterable[str] = ()) -> None:
        super().__init__()
        paths = sysconfig.get_paths()
        self._own = tuple(_folder(name) for name in ("asgiserve", "pytest_asgiserve"))
        self._libraries = _prefixes([paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()])
        self._standard = _prefixes([paths["stdlib"], paths["platstdlib"], str(Path(threading.__file__).parent)])
        self._user = frozenset(packages)

    def __missing__(self, filename: str) -> int:
        kind = self[filename] = self._classify(filename)
        return kind

    def _classify(self, filename: str) -> int:
        if filename.startswith("<"):
            # Frozen modules, and the source of dataclasses and named tuples.
            return _STANDARD if filename.startswith("<frozen") or filename == "<string>" else _USER
        if filename.startswith(self._own):
            return _OWN
        parts = Path(filename).parts
        inside = None
        for folder in _DEPENDENCY_FOLDERS:
            if folder in parts[:-1]:
                inside = parts[len(parts) - parts[::-1].index(folder)]
        if inside is None:
            for prefix in self._libraries:
                if filename.startswith(prefix):
                    inside = filename[len(prefix) :].partition(os.sep)[0]
        if inside is not None:
            package = inside.removesuffix(".py")
            if package in self._user:
                return _USER
            return _PLUMBING if package in _PLUMBING_PACKAGES else _LIBRARY
        return _STANDARD if filename.startswith(self._standard) else _USER

    def is_user(self, frame: types.FrameType) -> bool:
        """Whether the frame is the user's code."""
        return self[frame.f_code.co_filename] == _USER

    def is_own_code(self, code: types.CodeType | None) -> bool:
        """Whether asgiserve or this plugin has written it."""
        return code is not None and self[code.co_filename] == _OWN

    def is_application(self, frame: types.FrameType) -> bool:
        """Whether the frame is of the application: the user's, or that of a framework."""
        return self[frame.f_code.co_filename] in {_USER, _LIBRARY, _PLUMBING}


_kinds: Final[dict[frozenset[str], FileKinds]] = {}


def file_kinds(packages: Iterable[str] = ()) -> FileKinds:
    """The `FileKinds` for ``packages``, shared by everybody who asks for the same."""
    key = frozenset(packages)
    if key not in _kinds:
        _kinds[key] = FileKinds(key)
    return _kinds[key]


def _folder(package: str) -> str:
    spec = importlib.util.find_spec(package)
    return f"{Path((spec.origin if spec is not None else None) or package).parent}{os.sep}"


def _prefixes(folders: Iterable[str]) -> tuple[str, ...]:
    # With and without symbolic links: a virtual environment has some.
    return tuple({f"{path}{os.sep}" for folder in folders for path in (Path(folder), Path(folder).resolve())})


def find_origin(frame: types.FrameType | None, kinds: FileKinds, base: types.CodeType | None) -> Origin:
    """Who made something, told by the stack from ``frame`` outwards: the nearest line of the user's, where there is one.

    Args:
        frame: the nearest that counts.
        kinds: whose files are whose.
        base: the code that runs the event loop: what is below has nothing to do with it. uvloop has no frames of its own that would show the end.
    """
    library = plumbing = None
    while frame is not None:
        code = frame.f_code
        if code is base:
            break
        kind = kinds[code.co_filename]
        if kind == _USER:
            return Origin(DIRECT if library is None else INDIRECT, code, frame.f_lasti)
        if kind == _OWN:
            if library is None and plumbing is None:
                return Origin(OWN, code, frame.f_lasti)
            break
        if kind == _LIBRARY:
            library = library or Origin(LIBRARY, code, frame.f_lasti)
        elif kind == _PLUMBING:
            plumbing = plumbing or Origin(PLUMBING, code, frame.f_lasti)
        frame = frame.f_back
    return library or plumbing or _NOWHERE


def as_stack(frame: types.FrameType | None, base: types.CodeType | None = None) -> Iterator[types.FrameType]:
    """``frame`` and those that called it, the nearest first, down to the one that runs ``base``."""
    while frame is not None and frame.f_code is not base:
        yield frame
        frame = frame.f_back


def entry_frame(stack: list[types.FrameType]) -> types.FrameType | None:
    """The first function that a thread runs, below `threading`'s own. None where that is not written in Python."""
    entry = None
    for frame in stack:
        if frame.f_code.co_filename != threading.__file__:
            entry = frame
    return entry


_EXECUTORS: Final = (str(Path("/concurrent/futures/thread.py")), str(Path("/multiprocessing/pool.py")))
_ANYIO_BACKENDS: Final = str(Path("/anyio/_backends"))


def is_pool_worker(stack: list[types.FrameType]) -> bool:
    """Whether a thread is one of a pool: an executor's (asyncio's, asgiref's), anyio's, multiprocessing's."""
    entry = entry_frame(stack)
    if entry is None:
        return False
    filename = entry.f_code.co_filename
    return filename.endswith(_EXECUTORS) or _ANYIO_BACKENDS in filename


def waiting_frames(awaitable: Any) -> list[types.FrameType]:
    """The frames of a suspended coroutine or async generator and of what it awaits, the innermost first."""
    frames: list[types.FrameType] = []
    while awaitable is not None and len(frames) < _DEEPEST:
        inner = None
        for frame_name, await_name in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            frame = getattr(awaitable, frame_name, None)
            if frame is not None:
                frames.append(frame)
                inner = getattr(awaitable, await_name, None)
                break
        else:
            # One step of an async generator (``async for`` awaits that), or ``__await__`` of a coroutine: opaque, but for the collector.
            steps = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)
            inner = next((one for one in gc.get_referents(awaitable) if isinstance(one, steps)), None)
        awaitable = inner
    return frames[::-1]


def describe_place(code: types.CodeType, *, instruction: int | None = None, line: int | None = None) -> str:
    """``path:line in function``; the path from the working directory where it is below that.

    Args:
        code: of the function.
        instruction: where in it; the line where it begins is told otherwise.
        line: the line, where it is known already.
    """
    if line is None and instruction is not None:
        line = next((at for start, end, at in code.co_lines() if start <= instruction < end and at is not None), None)
    path = code.co_filename
    here = f"{Path.cwd()}{os.sep}"
    function = code.co_qualname.rpartition("<locals>.")[2]
    return f"{path.removeprefix(here)}:{line or code.co_firstlineno} in {function}"
