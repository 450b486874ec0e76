"""The server as a process of its own: ``python -m asgiserve``, its output, its signals, and what it costs.

The law of this module: a child is waited for by what it says, and none outlives its test.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_asgiserve.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Child", "child"]

_ROOT = Path(__file__).resolve().parents[2]
_START = 20.0
_RUN_MODULE = "import runpy; runpy.run_module('asgiserve', run_name='__main__', alter_sys=True)"
_listening = re.compile(r"listening on (?:https?://(\[[^\]]+\]|[^:]+):(\d+)|unix:(\S+))").search


class Child(ChildProcess):
    """A running child. Made by `child`; what the plugin's own children are, with more patience."""

    def wait_line(self, found: Callable[[str], object], timeout: float = _START) -> str:
        """The first line of its output for which ``found`` is true."""
        return super().wait_line(found, timeout)

    def wait(self, timeout: float = _START) -> int:
        """Its exit status, when it ends."""
        return super().wait(timeout)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once it says so."""
        match = _listening(self.wait_line(_listening))
        assert match is not None
        return match[1].strip("[]"), int(match[2])

    @property
    def resident_bytes(self) -> int:
        """Its memory: VmRSS of Linux."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    @property
    def cpu_seconds(self) -> float:
        """The processor time that it took, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
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
    with Child() as running:
        running.spawn([sys.executable, *start, *arguments], cwd=cwd, environment=variables, pass_fds=fds)
        yield running
