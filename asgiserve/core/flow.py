"""Flow control in both directions: the only one there is.

The law of this module: nobody buffers what the other side has not asked for. Inbound, an exchange's `ReadGate` is over its high mark as soon as the
application leaves that much untaken, and the connection stops reading. Outbound, a connection's `WriteGate` is shut while the transport's
buffer is over its high mark, and ``send()`` waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReadGate", "WriteGate"]


class ReadGate:
    """Counts what lies between the peer and the application.

    Args:
        high_mark: bytes from which on `shut` is true, until all of it is taken.
    """

    __slots__ = ("high_mark", "shut", "size")

    def __init__(self, high_mark: int) -> None:
        self.high_mark = high_mark
        self.size = 0
        self.shut = False

    def put(self, size: int) -> bool:
        """``size`` bytes came. True where that shuts the gate: then stop reading."""
        self.size += size
        if self.size >= self.high_mark and not self.shut:
            self.shut = True
            return True
        return False

    def take(self) -> bool:
        """The application took everything. True where that opens the gate: then read on."""
        self.size = 0
        if self.shut:
            self.shut = False
            return True
        return False


class WriteGate:
    """Open or shut, with callbacks for whoever waits for it to open."""

    __slots__ = ("_waiting", "shut")

    def __init__(self) -> None:
        self.shut = False
        # Most connections never have anybody who waits, and many connections only wait.
        self._waiting: list[Callable[[], None]] | None = None

    def close(self) -> None:
        """The transport has enough."""
        self.shut = True

    def open(self) -> None:
        """The transport takes more, or nothing ever again: everybody who waits is woken and looks for himself."""
        self.shut = False
        waiting, self._waiting = self._waiting, None
        for wake in waiting or ():
            wake()

    def when_open(self, wake: Callable[[], None]) -> None:
        """``wake`` is called once, when the gate opens."""
        if self._waiting is None:
            self._waiting = [wake]
        else:
            self._waiting.append(wake)
