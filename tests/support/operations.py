"""What a piece of Python costs, in a number that does not depend on the machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["operations"]

# One of the two numbers of sys.monitoring that have no use of their own.
_TOOL: Final = 4


def operations(function: Callable[[], object]) -> int:
    """How many byte codes ``function`` runs."""
    count = 0
    if sys.version_info >= (3, 12):
        # Tracing of byte codes by sys.settrace is not to be relied on here.
        monitoring = sys.monitoring

        def counted(_code: object, _offset: int) -> None:
            nonlocal count
            count += 1

        monitoring.use_tool_id(_TOOL, "asgiserve's growth")
        try:
            monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, counted)
            monitoring.set_events(_TOOL, monitoring.events.INSTRUCTION)
            function()
        finally:
            monitoring.set_events(_TOOL, 0)
            monitoring.free_tool_id(_TOOL)
        return count

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count
