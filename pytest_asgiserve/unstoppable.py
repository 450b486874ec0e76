"""Why a server does not start, and what holds one that does not stop, for a person.

The law of this module: the table names every open connection, and the place in the user's code where each task waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgiserve.importer import application_traceback
from pytest_asgiserve.frames import format_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgiserve.errors import StartupError
    from asgiserve.runtime.instrument import OpenConnection

__all__ = ["StartTimeoutError", "StopTimeoutError", "describe_holders", "describe_lifespan", "describe_start_failure"]


class StartTimeoutError(AssertionError):
    """A live server did not start in time. A failure of the test, not a bug of the plugin."""


class StopTimeoutError(AssertionError):
    """A live server did not stop, or not drain, in time. The message says what holds it."""


def describe_start_failure(error: StartupError) -> str:
    """The reason, with the traceback of the application's own import where that is what failed."""
    text = f"the server did not start: {error}"
    cause = error.__cause__
    return f"{text}\n{application_traceback(cause)}".rstrip() if cause is not None else text


def describe_lifespan() -> str:
    """Where the application's lifespan waits; empty where none runs. Call it on the server's loop."""
    # The name that asgiserve.asgi.lifespan gives it.
    tasks = [task for task in asyncio.all_tasks() if task.get_name() == "asgiserve lifespan"]
    return "\n".join(f"the application's lifespan waits here:\n{format_task(task)}" for task in tasks)


def describe_holders(connections: Sequence[OpenConnection]) -> str:
    """The table of ``connections``, then the stack of each task."""
    if not connections:
        return f"no connection is open and no request runs; {describe_lifespan() or 'the server itself does not end'}"
    rows = [("PEER", "PROTOCOL", "STATE", "REQUEST", "AGE")]
    rows += [(one.peer, one.protocol, one.phase, f"{one.method} {one.target}".strip() or "-", f"{one.age:.1f} s") for one in connections]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for one in connections:
        if one.task is not None:
            lines += ["", f"{one.method} {one.target} waits here:", format_task(one.task)]
    return "\n".join(lines)
