"""What the numbers were measured on, which core is whose, and the progress of a run that takes minutes.

The law of this module: it says nothing that names a person's machine or folders, since what it says is published.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Cores", "Progress", "choose_cores", "describe_machine", "python_version"]

_LINE_SECONDS: Final = 10.0
_MINUTE: Final = 60


class Cores(NamedTuple):
    """Who runs where.

    Attributes:
        server: the core of the servers.
        load: the core of the load generator; the same where there is only one.
    """

    server: int
    load: int

    @property
    def apart(self) -> bool:
        """Whether they do not share a core."""
        return self.server != self.load

    def __str__(self) -> str:
        return "server and load generator on different cores" if self.apart else "ONE CORE for server and load generator: requests/s say little"


def choose_cores() -> Cores:
    """Of those that this process may use: the last one for the servers, the first one for everything else, interrupts included."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[-1], usable[0])


def describe_machine() -> str:
    """CPU, cores, memory and kernel, in one line."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    # Not those that this process may use now: it has given one away.
    cores = os.cpu_count() or 1
    # The release is "6.12.41+deb13-amd64" somewhere and somebody's own name elsewhere: only its number says anything.
    kernel = platform.release().partition("-")[0]
    return f"{model}, {cores} core{'s' if cores > 1 else ''}, {gib:.0f} GiB, {platform.system()} {kernel} {platform.machine()}"


def python_version(python: str = sys.executable) -> str:
    """As in ``CPython 3.11.7``."""
    if python == sys.executable:
        return f"{platform.python_implementation()} {platform.python_version()}"
    ask = "import platform; print(platform.python_implementation(), platform.python_version())"
    try:
        return subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"{python} is no Python that can be asked for its version: {error}") from None


class Progress:
    """A line on standard error: how many steps are done, what runs now, and the time that is left.

    On a terminal the line is replaced; elsewhere there is a new one every 10 seconds. With NO_COLOR it has no colour.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._total = total
        self._done = -1
        self._began = time.monotonic()
        self._said = self._began - _LINE_SECONDS
        self._terminal = self._stream.isatty()
        self._dim, self._plain = ("\x1b[2m", "\x1b[0m") if self._terminal and not os.environ.get("NO_COLOR") else ("", "")

    def step(self, what: str) -> None:
        """The next step begins."""
        self._done += 1
        now = time.monotonic()
        left = self._left(now)
        line = f"[{self._done + 1}/{self._total}] {what}"
        if self._terminal:
            print(f"\r\x1b[K{line}{self._dim}{left}{self._plain}", end="", file=self._stream, flush=True)
        elif now - self._said >= _LINE_SECONDS:
            self._said = now
            print(f"{line}{left}", file=self._stream, flush=True)

    def end(self) -> None:
        """Nothing comes any more."""
        if self._terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def _left(self, now: float) -> str:
        if self._done < 1:
            return ""
        seconds = (now - self._began) / self._done * (self._total - self._done)
        return f", {seconds / _MINUTE:.0f} min left" if seconds >= 2 * _MINUTE else f", {seconds:.0f} s left"
