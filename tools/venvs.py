"""Virtual environments for run.py: made, filled and found with the standard library alone.

The law of this module: what was done once is not done again until pyproject.toml changes or the folder moves, and what goes wrong is one
line (`SetupError`), with the output of the program that failed above it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["ROOT", "SUPPORTED", "SetupError", "other_pythons", "prepare", "say"]

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13")
STAMP = "asgiserve-installed"

OLDEST = (3, 11)
DEBIAN = "on Debian and Ubuntu: apt install python3-venv"

VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
# What a Python must be able to do to be tested on; it answers with its version. pyenv leaves names on the PATH that only print an error.
PROBE = "import ssl, venv, sys; print('%d.%d' % sys.version_info[:2], sys.executable)"


class SetupError(Exception):
    """Setting up failed; the message is for the person at the terminal."""


def say(text: str, *, end: str = "\n") -> None:
    """Show it now, also where the output is a file that other programs write to as well."""
    print(text, end=end, flush=True)


def venv_python(venv: Path) -> Path:
    """Where the interpreter of ``venv`` is."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def output_of(argv: Sequence[str | Path]) -> str | None:
    """What a short command prints, or None where it cannot be run or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def must(argv: Sequence[str | Path], what: str) -> None:
    """Run a command of the set-up, quietly; where it fails, show what it said.

    Raises:
        SetupError: naming ``what`` failed.
    """
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        say(f"\n{done.stdout.rstrip()}")
        raise SetupError(f"{what} failed; what it said is above. Command: {' '.join(map(str, argv))}")


def pip_is_older_than(version: tuple[int, int], shown: str | None) -> bool:
    """Whether ``pip --version`` shows a pip older than ``version``, or none at all."""
    match = re.match(r"pip (\d+)\.(\d+)", shown or "")
    return match is None or (int(match[1]), int(match[2])) < version


def stamp_of(root: Path, pyproject: bytes) -> str:
    """What an installation depends on: the declarations, and the folder that the editable install points to."""
    return f"{root}\n{hashlib.sha256(pyproject).hexdigest()}\n"


def make_venv(venv: Path, base: str) -> None:
    """Make ``venv`` with the Python at ``base``, anew if there is one that does not work; still without pip.

    Raises:
        SetupError: there is something else in its place, or this Python cannot make one.
    """
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
        raise SetupError(f"{venv} exists and is no virtual environment; move it away")
    say(f"{venv.name}: making a virtual environment with {base}")
    if output_of([base, "-c", "import venv"]) is None:
        raise SetupError(f"{base} has no venv module; {DEBIAN}")
    must([base, "-m", "venv", "--clear", "--without-pip", venv], "making the virtual environment")


def add_pip(python: Path, base: str) -> None:
    """Put pip into the virtual environment of ``python``.

    Raises:
        SetupError: the Python at ``base`` has neither the pip that comes with Python nor one of its own.
    """
    if output_of([python, "-c", "import ensurepip"]) is not None:
        must([python, "-m", "ensurepip", "--default-pip"], "installing pip")
    # Debian and Ubuntu keep ensurepip in a package of its own; there a pip that is installed can do it (22.3 is the first with --python).
    elif not pip_is_older_than((22, 3), output_of([base, "-m", "pip", "--version"])):
        must([base, "-m", "pip", "--python", python, "install", "--quiet", "pip"], "installing pip")
    else:
        raise SetupError(f"{base} has neither ensurepip nor pip 22.3 or newer; {DEBIAN}")


def prepare(venv: Path, *, base: str = sys.executable, development: bool) -> tuple[Path, str]:
    """Make and fill ``venv`` as far as that is not done yet; its interpreter and that one's version.

    Raises:
        SetupError: in one line.
    """
    python = venv_python(venv)
    installed = venv / STAMP
    stamp = stamp_of(ROOT, (ROOT / "pyproject.toml").read_bytes())
    known = installed.read_text(encoding="utf-8") if installed.exists() else ""
    moved = bool(known) and known.splitlines()[0] != str(ROOT)
    version = None if moved else output_of([python, "-c", VERSION])
    if version is None:
        make_venv(venv, base)
        known = ""
        version = output_of([python, "-c", VERSION])
    if version is None:
        raise SetupError(f"{python} does not run")
    if tuple(map(int, version.split("."))) < OLDEST:
        raise SetupError(f"{venv} has Python {version}, which is too old; move it away")
    wanted = f"{stamp}development\n" if development else stamp
    if known.startswith(wanted):
        return python, version
    installed.unlink(missing_ok=True)
    started = time.monotonic()
    what = "asgiserve and what its tests need (a minute or two the first time)" if development else "asgiserve"
    say(f"{venv.name}: installing {what} ...", end=" ")
    if output_of([python, "-m", "pip", "--version"]) is None:
        add_pip(python, base)
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if development and pip_is_older_than((25, 1), output_of([python, "-m", "pip", "--version"])):
        must([*pip, "--upgrade", "pip>=25.1"], "upgrading pip")  # the first that knows --group
    must([*pip, "--editable", ".", *(["--group", "dev"] if development else [])], "installing")
    installed.write_text(wanted, encoding="utf-8")
    say(f"done in {time.monotonic() - started:.0f} s")
    return python, version


def candidates(name: str, path: Iterable[str]) -> list[str]:
    """Every executable called ``name`` on ``path``, in its order: the first may be a shim that does not run."""
    found = (shutil.which(name, path=folder) for folder in path)
    return [executable for executable in found if executable]


def other_pythons(this: str, *, path: Iterable[str] | None = None, probe: Callable[[Sequence[str]], str | None] = output_of) -> dict[str, str]:
    """The supported Pythons that really run, but for ``this`` version: version → executable."""
    folders = list(os.get_exec_path() if path is None else path)
    others: dict[str, str] = {}
    for version in SUPPORTED:
        for executable in candidates(f"python{version}", folders) if version != this else ():
            answer = probe([executable, "-c", PROBE])
            if answer and answer.split(" ", 1)[0] == version:
                others[version] = answer.split(" ", 1)[1]
                break
    return others
