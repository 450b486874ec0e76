"""The engine: make an input from a seed and a number, check it, and make the smallest one that fails in the same way.

The law of this module: an input is data and can be made again. The number of an input and the seed of the run are all that it depends on, so that a
run can be repeated, split over processes, and a failure be written in one line.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import random
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

__all__ = ["Choices", "Failure", "Hang", "Input", "Target", "decode_input", "encode_input", "find_failure", "minimise", "run"]

_Item = TypeVar("_Item")

# No input may take longer than this, in CPU seconds per KiB and connection that it is fed to: a hundred times what the slowest takes.
_SLOW_SECONDS: Final = 0.1
# What takes as long as this is broken off; the margin is for machines under an emulator.
_HANG_SECONDS: Final = 20.0
_KIB: Final = 1024
_MINIMISE_TRIES: Final = 3000
_LONG_PLAN: Final = 48


class Input(NamedTuple):
    """What goes over the wire, and what happens meanwhile: each choice of the scenario is a byte of ``plan``."""

    data: bytes
    plan: bytes = b""


class Choices:
    """A plan, read choice by choice. Behind its end every choice is the first, so that the shortest plan is the plainest scenario."""

    def __init__(self, plan: bytes) -> None:
        self._plan = plan
        self._at = 0

    @property
    def left(self) -> int:
        """How many choices are not made yet."""
        return len(self._plan) - self._at

    def below(self, count: int) -> int:
        """A number from 0 to ``count`` - 1; ``count`` is at most 256."""
        if self._at >= len(self._plan):
            return 0
        self._at += 1
        return self._plan[self._at - 1] % count

    def pick(self, items: Sequence[_Item]) -> _Item:
        """One of ``items``."""
        return items[self.below(len(items))]

    def cuts(self, size: int) -> list[int]:
        """Where ``size`` bytes are cut: nowhere (1 in 4), or at up to six places, each near the one before or anywhere."""
        cuts: list[int] = []
        for _ in range(self.below(4) * 2):
            near = self.below(8)
            at = (cuts[-1] if cuts else 0) + near if near else self.below(256) * max(size, 1) // 256
            cuts.append(at)
        return sorted({cut for cut in cuts if 0 < cut < size})


def random_plan(rng: random.Random) -> bytes:
    """A plan of any length, short ones more often."""
    return rng.randbytes(rng.choice((0, 4, 8, 16, _LONG_PLAN)))


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        name: as on the command line.
        about: one line for a person.
        make: an input from a source of random numbers.
        check: raises, whatever it likes, where a promise is broken.
        feeds: to how many connections it feeds an input, at most.
    """

    name: str
    about: str
    make: Callable[[random.Random], Input]
    check: Callable[[Input], None]
    feeds: int = 1


@dataclass(frozen=True)
class Failure:
    """An input that breaks a promise. ``site`` is what kind of failure it is: the exception's type and where it was raised."""

    target: str
    seed: int
    number: int
    input: Input
    site: str
    text: str

    @property
    def command(self) -> str:
        """One line that shows it again."""
        return f"python fuzz/run.py {self.target} --replay {encode_input(self.input)}"

    def save(self, folder: Path) -> Path:
        """Write it down, under a name that the same failure gets again."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.target}-{self.seed}-{self.number}.json"
        found = {
            "target": self.target,
            "command": self.command,
            "found by": f"python fuzz/run.py {self.target} --seed {self.seed} --first {self.number} --count 1",
            "data": self.input.data.decode("latin-1"),
            "plan": self.input.plan.hex(),
            "error": self.text.splitlines(),
        }
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return path

    def __str__(self) -> str:
        return (
            f"{self.target}: input {self.number} of seed {self.seed} fails\n"
            f"  data: {self.input.data!r}\n  plan: {self.input.plan.hex() or '(empty)'}\n  again: {self.command}\n{self.text}"
        )


def encode_input(found: Input) -> str:
    """As one word for a command line."""
    return f"{found.plan.hex()}:{base64.urlsafe_b64encode(found.data).decode()}"


def decode_input(text: str) -> Input:
    """What `encode_input` made, or the path of a file that `Failure.save` wrote.

    Raises:
        ValueError: it is neither.
    """
    plan, colon, data = text.partition(":")
    if colon:
        return Input(base64.urlsafe_b64decode(data), bytes.fromhex(plan))
    found = json.loads(Path(text).read_text(encoding="utf-8"))
    return Input(found["data"].encode("latin-1"), bytes.fromhex(found["plan"]))


class Hang(BaseException):
    """An input takes for ever. No Exception: what is checked may catch those."""


class TooSlow(AssertionError):  # noqa: N818 - what is wrong, in two words
    """An input takes too long for its size."""


@contextlib.contextmanager
def _alarm() -> Iterator[Callable[[], object]]:
    """Hands out a function that winds the alarm: it goes off after so many seconds of CPU time. Where there is none, nothing happens."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"no end after {_HANG_SECONDS} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        # Again and again, in case that the first is swallowed.
        yield functools.partial(signal.setitimer, signal.ITIMER_VIRTUAL, _HANG_SECONDS, 1.0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _site(error: BaseException) -> str:
    """Its type, and where in our code it was raised: what stays the same while an input is made smaller."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, (Hang, TooSlow)) or not frames:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _fault(target: Target, tried: Input) -> BaseException | None:
    """What ``tried`` breaks, or None."""
    allowed = _SLOW_SECONDS * max(len(tried.data) / _KIB, 1) * target.feeds
    fastest = float("inf")
    for _ in range(3):
        began = time.process_time()
        try:
            target.check(tried)
        except (Exception, Hang) as error:  # noqa: BLE001 - whatever it is, it is what we look for
            return error
        fastest = min(fastest, time.process_time() - began)
        if fastest <= allowed:
            return None
    return TooSlow(f"{fastest:.2f} s of CPU time for {len(tried.data)} bytes; allowed are {allowed:.2f} s")


def find_failure(target: Target, tried: Input, seed: int = 0, number: int = 0) -> Failure | None:
    """What ``tried`` breaks, made as small as it gets; None where it breaks nothing."""
    with _alarm() as wind:
        wind()
        error = _fault(target, tried)
        if error is None:
            return None
        wind()
        site = _site(error)
        if not isinstance(error, (Hang, TooSlow)):
            tried = minimise(tried, lambda smaller: (wind(), (found := _fault(target, smaller)) is not None and _site(found) == site)[1])
            wind()
            error = _fault(target, tried) or error
    text = "".join(traceback.format_exception(error))
    return Failure(target.name, seed, number, tried, site, text)


def run(
    target: Target, numbers: Iterator[int], seed: int, *, on_failure: Callable[[Failure], None], on_input: Callable[[int], None] | None = None
) -> int:
    """Check the inputs with these ``numbers``; how many were checked. Each kind of failure is reported once."""
    checked = 0
    sites: set[str] = set()
    with _alarm() as wind:
        for number in numbers:
            tried = target.make(random.Random(f"{target.name} {seed} {number}"))
            wind()
            error = _fault(target, tried)
            checked += 1
            if error is not None and (site := _site(error)) not in sites:
                sites.add(site)
                wind()
                failure = find_failure(target, tried, seed, number)
                if failure is None:
                    failure = Failure(target.name, seed, number, tried, site, "It passes when it is tried again: the check keeps something.\n")
                on_failure(failure)
            if on_input is not None:
                on_input(checked)
    return checked


def minimise(found: Input, fails: Callable[[Input], bool]) -> Input:
    """The smallest input that still ``fails``, as far as leaving out and simplifying parts of it gets within a bounded number of tries."""
    tries = _MINIMISE_TRIES

    def still(candidate: Input) -> bool:
        nonlocal tries
        tries -= 1
        return tries >= 0 and fails(candidate)

    before = None
    while before != found and tries > 0:
        before = data, plan = found
        data = _shrink(data, lambda part, plan=plan: still(Input(part, plan)))  # type: ignore[misc]
        plan = _shrink(plan, lambda part, data=data: still(Input(data, part)))  # type: ignore[misc]
        found = Input(data, plan)
    return found


def _shrink(part: bytes, still: Callable[[bytes], bool]) -> bytes:
    """``part`` without all that can be left out, then with each byte as plain as it gets."""
    size = len(part) // 2 or len(part)
    while size:
        at = 0
        while at < len(part):
            shorter = part[:at] + part[at + size :]
            if still(shorter):
                part = shorter
            else:
                at += size
        size //= 2
    for at in range(len(part)):
        for plain in (0, ord("a")):
            if part[at] == plain:
                break
            simpler = part[:at] + bytes([plain]) + part[at + 1 :]
            if still(simpler):
                part = simpler
                break
    return part
