"""What the process asks of the C library's memory.

The law of this module: nothing here is needed to be right; where the C library is another one, nothing happens.
"""

from __future__ import annotations

from typing import Final

__all__ = ["keep_freed_memory"]

_MAPPED: Final = 1 << 20


def keep_freed_memory() -> None:
    """Have up to 2 MiB of freed memory stay with the process.

    glibc gives the end of its heap back to the system when 128 KiB of it are free. A server that reads and writes pieces of 64 KiB frees that
    much, and needs it again, with every request: 15 page faults, and 37 of the 76 us that an upload of 64 KiB takes. Whether it happens is a
    matter of what lies at the end, so that one start of the same server is twice as quick as another. The threshold is twice the largest mapping
    that was ever freed (mallopt(3), M_MMAP_THRESHOLD): one of 1 MiB, never touched, costs 5 us once. Where the environment sets
    MALLOC_TRIM_THRESHOLD_ or its kin, that holds.
    """
    bytes(_MAPPED)
