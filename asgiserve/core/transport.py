"""What a connection needs of the world: a transport, a clock, and somebody to start exchanges.

The law of this module: protocols, and what one transport does otherwise than they say. `Transport` is a subset of `asyncio.Transport`, so that
asyncio's and uvloop's serve as they are; a test hands in a list that remembers what was written.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from asgiserve.core.exchange import Exchange

__all__ = ["Owner", "Transport", "write_pieces"]

# CPython 3.12 and 3.13: writelines() of these never calls pause_writing(), so that a stream to a client that takes nothing fills the memory.
_NEVER_PAUSES: Final = "asyncio.selector_events" if sys.version_info >= (3, 12) else ""


class Transport(Protocol):
    """A subset of `asyncio.Transport`; the methods mean what they mean there."""

    def write(self, data: bytes, /) -> None:
        """Write without blocking; `Http1Connection.pause_writing` is called where the buffer is over its high-water mark."""

    def writelines(self, pieces: Iterable[bytes], /) -> None:
        """As `write` for all of them, without joining them where that can be."""

    def write_eof(self) -> None:
        """Half-close after the buffer is flushed. Only called where `can_write_eof` says so."""

    def can_write_eof(self) -> bool:
        """Whether a half-close is possible: not on TLS."""

    def close(self) -> None:
        """Flush, then close; ``connection_lost`` follows."""

    def abort(self) -> None:
        """Close at once, dropping the buffer."""

    def pause_reading(self) -> None:
        """No ``data_received`` until `resume_reading`."""

    def resume_reading(self) -> None:
        """The opposite of `pause_reading`."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the peer has not taken."""


def write_pieces(transport: Transport, pieces: Iterable[bytes]) -> None:
    """Write large ``pieces`` without joining them."""
    if type(transport).__module__ == _NEVER_PAUSES:
        for piece in pieces:
            transport.write(piece)
    else:
        transport.writelines(pieces)


class Owner(Protocol):
    """What a connection tells, and asks, whoever runs it."""

    def clock(self) -> float:
        """Now, in seconds, from any fixed point."""

    def connected(self, transport: Transport) -> None:
        """The transport is there."""

    def arm(self, when: float) -> None:
        """Call ``on_timer()`` of the connection at ``when``, instead of at any later time asked for before."""

    def soon(self, callback: Callable[[], None], /) -> object:
        """Call ``callback`` after what runs now: `asyncio.loop.call_soon`."""

    def default_fields(self, now: float, /) -> bytes:
        """The encoded field lines that every response gets, Server and Date among them. ``now`` is what `clock` says."""

    def default_fields_without(self, names: AbstractSet[bytes], /) -> bytes:
        """The same without the fields in ``names`` (lower case)."""

    def begin(self, exchange: Exchange, /) -> None:
        """Run the application on ``exchange``: once per exchange, before any of its body is delivered."""

    def ended(self, exchange: Exchange, /) -> None:
        """``exchange`` is over, complete or aborted: once for each that was begun, and for each that was refused before."""

    def gone(self) -> bool:
        """Whether nothing can be written any more, though nobody may have said so yet."""

    def refused(self, detail: str, status: int) -> None:
        """A request was refused at the door with ``status``; ``detail`` is for the log. 0: closed without an answer."""

    def reset(self) -> None:
        """Cut the connection so that the peer sees an error and not an end (TCP RST)."""

    def closed(self) -> None:
        """The connection is gone."""
