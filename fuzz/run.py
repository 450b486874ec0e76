"""The long run: inputs nobody wrote down, for as long as you like.

    python fuzz/run.py [http1|websocket|fields|growth] [--seconds 60 | --count N] [--seed S] [--jobs N]
    python fuzz/run.py http1 --replay WORD-OR-FILE

Without a target the three run one after another, each for its time. What fails is made as small as it gets, printed with the line that shows it
again, and written to fuzz/failures/. The exit status is 1 where something failed. ``growth`` measures instead: how operations and time grow with
the input.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parent.parent
# Started by its path, and nothing of it is installed.
sys.path[:0] = [str(ROOT), str(ROOT / "conformance")]

from fuzz import growth  # noqa: E402 - behind the path
from fuzz.engine import Failure, Target, decode_input, find_failure, run  # noqa: E402
from fuzz.targets import TARGETS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FAILURES", "TARGETS", "main"]

FAILURES: Final = ROOT / "fuzz" / "failures"
_SECONDS: Final = 60.0
# Often enough for a person, rarely enough to cost nothing.
_TICK: Final = 2.0


def _colour(text: str, code: int) -> str:
    """``text`` in colour, on a terminal that wants it (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


class _Progress:
    """One line that is written over on a terminal; in a pipe there is only the last."""

    def __init__(self, name: str, *, shown: bool) -> None:
        self._name = name
        self._began = self._told = time.monotonic()
        self._shown = shown and sys.stdout.isatty()

    def tell(self, count: int) -> None:
        """``count`` inputs so far."""
        now = time.monotonic()
        if self._shown and now - self._told >= _TICK:
            self._told = now
            print(f"\r{self._line(count)}", end="", flush=True)

    def end(self, count: int, failures: int) -> None:
        """That was it."""
        verdict = _colour(f"{failures} failed", 31) if failures else _colour("none failed", 32)
        print(("\r" if self._shown else "") + f"{self._line(count)}, {verdict}", flush=True)

    def _line(self, count: int) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return f"{self._name}: {count:,} inputs in {seconds:.0f} s, {count / seconds:,.0f}/s"


def _numbers(first: int, step: int, count: int | None, seconds: float) -> Iterator[int]:
    """The numbers of the inputs: ``count`` of them, or for so long."""
    until = time.monotonic() + seconds
    for number in itertools.count(first, step):
        if number >= count if count is not None else time.monotonic() >= until:
            return
        yield number


def _work(name: str, first: int, step: int, count: int | None, seconds: float, seed: int, folder: str) -> tuple[int, int]:  # noqa: PLR0917 - what a process is given
    """One process's share; how many inputs it checked and how many kinds of failure it found."""
    failures: list[Failure] = []
    progress = _Progress(name, shown=step == 1)

    def found(failure: Failure) -> None:
        failures.append(failure)
        path = failure.save(Path(folder))
        print(f"\n{_colour('FAILED', 31)} {failure}\nwritten to {path}", flush=True)

    return run(TARGETS[name], _numbers(first, step, count, seconds), seed, on_failure=found, on_input=progress.tell), len(failures)


def _fuzz(target: Target, options: argparse.Namespace) -> int:
    """All processes of one target; how many failures there were."""
    jobs = options.jobs
    count = None if options.count is None else options.first + options.count
    shares = [(target.name, options.first + job, jobs, count, options.seconds, options.seed, str(options.failures)) for job in range(jobs)]
    progress = _Progress(target.name, shown=False)
    if jobs == 1:
        results = [_work(*shares[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            results = pool.starmap(_work, shares)
    checked, failed = (sum(column) for column in zip(*results, strict=True))
    progress.end(checked, failed)
    return int(failed)


def _replay(target: Target, text: str) -> int:
    failure = find_failure(target, decode_input(text))
    print(f"{_colour('FAILED', 31)} {failure}" if failure is not None else _colour("It passes.", 32))
    return 1 if failure is not None else 0


def _growth() -> int:
    """The table; how many cases are not linear."""
    print(f"x 2 in operations: at most {growth.MOST}; x 16 in time, for each of the 16: at most 4, or 8 within a limit")
    print(f"{'what is repeated':48} {'operations':>12} {'x 2':>6} {'time':>9} {'x 16':>6}")
    bad = 0
    for case in growth.CASES:
        counted, timed = growth.measure(case), growth.measure_time(case)
        linear = counted.linear and timed.linear
        bad += not linear
        line = f"{case.name:48} {counted.once:12,} {counted.ratio:6.2f} {timed.once * 1000:6.2f} ms {timed.ratio:6.2f}"
        print(line if linear else _colour(f"{line}   NOT LINEAR", 31), flush=True)
    return bad


def _positive(convert: Callable[[str], float]) -> Callable[[str], float]:
    def checked(text: str) -> float:
        value = convert(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
        return value

    return checked


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="fuzz/run.py", description="Feed the server what nobody wrote down.")
    parser.add_argument("target", nargs="?", choices=[*TARGETS, "growth"], help="one of them; all but growth where it is left out")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--seconds", type=_positive(float), default=_SECONDS, help=f"how long, for each target (default: {_SECONDS:.0f})")
    many.add_argument("--count", type=_positive(int), help="how many inputs, for each target")
    parser.add_argument("--seed", type=int, help="makes the inputs; a random one where it is left out")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--jobs", type=_positive(int), default=1, help="processes")
    parser.add_argument("--replay", metavar="WORD-OR-FILE", help="one input that failed before")
    parser.add_argument("--failures", type=Path, default=FAILURES, help="where failing inputs are written")
    options = parser.parse_args(arguments)
    if options.target == "growth":
        return 1 if _growth() else 0
    if options.replay is not None:
        if options.target is None:
            parser.error("--replay needs a target")
        return _replay(TARGETS[options.target], options.replay)
    if options.seed is None:
        options.seed = secrets.randbelow(1_000_000)
    print(f"seed {options.seed}", flush=True)
    targets = [TARGETS[options.target]] if options.target else list(TARGETS.values())
    return 1 if sum(_fuzz(target, options) for target in targets) else 0


if __name__ == "__main__":
    sys.exit(main())
