"""The server as a process of its own: ``python -m asgiserve``, its output, its signals, and what it costs.

The law of this module: a child is waited for by what it says, and none outlives its test.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Child", "child"]

_ROOT = Path(__file__).resolve().parents[2]
_START = 20.0
_RUN_MODULE = "import runpy; runpy.run_module('asgiserve', run_name='__main__', alter_sys=True)"
_listening = re.compile(r"listening on (?:https?://(\[[^\]]+\]|[^:]+):(\d+)|unix:(\S+))").search


class Child:
    """A running child. Made by `child`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = 0
        self._readers = [threading.Thread(target=self._read, args=(stream,), daemon=True) for stream in (process.stdout, process.stderr)]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """What it wrote so far, on stdout and stderr."""
        with self._changed:
            return self._lines[:]

    @property
    def output(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    def wait_line(self, found: Callable[[str], object], seconds: float = _START) -> str:
        """The first line for which ``found`` is true.

        Raises:
            AssertionError: there was none in time, or the child ended without it.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for line in self._lines:
                    if found(line):
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or self._ended == len(self._readers):
                    raise AssertionError("the child did not say so; it said:\n" + "\n".join(self._lines))
                self._changed.wait(left)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once it says so."""
        match = _listening(self.wait_line(_listening))
        assert match is not None
        return match[1].strip("[]"), int(match[2])

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = _START) -> int:
        """Its exit code, with all of its output read.

        Raises:
            AssertionError: it did not end in time.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_START)
            raise AssertionError(f"the child did not end within {seconds:g} s; it said:\n{self.output}") from None
        for reader in self._readers:
            reader.join(_START)
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_START)
        for reader in self._readers:
            reader.join(_START)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    @property
    def resident_bytes(self) -> int:
        """Its memory: VmRSS of Linux."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    @property
    def cpu_seconds(self) -> float:
        """The processor time that it took, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def child(
    *arguments: str, source: str = "", cwd: Path, environment: Mapping[str, str] | None = None, prelude: str = "", fds: tuple[int, ...] = ()
) -> Iterator[Child]:
    """Run ``python -m asgiserve`` with ``arguments``.

    Args:
        arguments: of the command line.
        source: of the module ``main`` in ``cwd``, where there is none yet.
        cwd: the folder to run in.
        environment: on top of ours.
        prelude: Python that runs in the child before the server does, as in setting a limit.
        fds: file descriptors that it inherits.
    """
    if source:
        (cwd / "main.py").write_text(source, encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("ASGISERVE_", "FORWARDED_"))}
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    variables.update({"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **(environment or {})})
    start = ["-c", f"{prelude}\n{_RUN_MODULE}"] if prelude else ["-m", "asgiserve"]
    process = subprocess.Popen(
        [sys.executable, *start, *arguments],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        pass_fds=fds,
    )
    running = Child(process)
    try:
        yield running
    finally:
        running.close()
