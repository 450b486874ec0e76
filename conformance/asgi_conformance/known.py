"""Known deviations: a file of what fails and is known to, so that everything else can be kept green.

The law of this module: a line that is no longer true fails the run, and nothing but ``--asgi-known-update`` writes the file. Whatever it writes is
what it read, but for the lines that are no longer true and those that are new.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["KnownDeviation", "KnownFileError", "find_known", "read_known", "update_known"]

_BROKEN: Final = frozenset({"fail", "known"})
"""Verdicts that a line can be about."""


class KnownFileError(Exception):
    """The file cannot be read, or a line of it not be understood. The message says which."""


@dataclass(frozen=True, slots=True)
class KnownDeviation:
    """One line: ``target :: case  # link``. Both are globs; a bracket stands for itself, as ``asgiserve[h11]`` has some."""

    line: int
    target: str
    case: str
    reason: str

    def matches_target(self, target: str) -> bool:
        """Whether it is about ``target``."""
        return fnmatch.fnmatchcase(target, self.target.replace("[", "[[]"))

    def matches(self, target: str, case: str) -> bool:
        """Whether it is about ``case`` on ``target``."""
        return self.matches_target(target) and fnmatch.fnmatchcase(case, self.case)


def read_known(path: Path) -> list[KnownDeviation]:
    """The deviations in a file; empty lines and those that begin with ``#`` are none. No file is an empty one.

    Raises:
        KnownFileError: it cannot be read, or has a line that is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise KnownFileError(f"{path} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        rule, _, reason = line.partition("#")
        if rule.strip():
            # The last one: there may be one in the address of a target, and there is none in an id.
            target, separator, case = (part.strip() for part in rule.rpartition("::"))
            if not (target and separator and case):
                raise KnownFileError(f'{path}:{number}: "{line.strip()}" is no known deviation; a line is: target :: case  # reason or link')
            found.append(KnownDeviation(number, target, case, reason.strip()))
    return found


def update_known(path: Path, verdicts: Mapping[tuple[str, str], str]) -> int:
    """Bring the file up to date with a run; how many lines it has about deviations now.

    Args:
        path: the file; made where there is none.
        verdicts: of the run, by target and case. What did not run is left as it is.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    left = {key for key, verdict in verdicts.items() if verdict in _BROKEN}
    stale = set()
    for one in read_known(path):
        about = {key for key in verdicts if one.matches(*key)}
        if about and not about <= left:
            # What it says of the others is written again, one by one.
            stale.add(one.line)
        else:
            left -= about
    kept = [line for number, line in enumerate(lines, 1) if number not in stale]
    kept += [f"{target} :: {case}" for target, case in sorted(left)]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return len(read_known(path))


def find_known(known: Iterable[KnownDeviation], target: str, case: str) -> KnownDeviation | None:
    """The line about ``case`` on ``target``, the first of them."""
    return next((one for one in known if one.matches(target, case)), None)
