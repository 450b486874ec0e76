"""Reading one request body of HTTP/1.x, by its length or in chunks.

The law of this module: bytes in, content out, and never a byte of what comes behind it. It also knows how slow a body may be: that is a fact about
the bytes that came and the time they took, both of which are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiserve.core.chunked import ChunkedReader
from asgiserve.http.framing import CHUNKED

if TYPE_CHECKING:
    from asgiserve.config import Limits, Timeouts
    from asgiserve.http.fields import Field

__all__ = ["BodyReader"]


class BodyReader:
    """Call `receive` with what comes until `done`; then `rest` holds what stands behind the body.

    Args:
        length: from `http.framing.request_body_length`, not 0.
        limits: sizes and numbers.
        now: when the body may begin.
    """

    __slots__ = ("_began", "_chunks", "_need", "_paused_at", "done", "rest", "size", "trailers")

    def __init__(self, length: int, limits: Limits, now: float) -> None:
        self._need = length
        self._chunks: ChunkedReader | None = None
        if length == CHUNKED:
            self._chunks = ChunkedReader(
                max_line_bytes=limits.max_chunk_line_bytes,
                max_extension_bytes=limits.max_chunk_extension_bytes,
                max_trailer_bytes=limits.max_head_bytes,
                max_trailer_count=limits.max_field_count,
                max_content_bytes=limits.max_body_bytes,
            )
        self._began = now
        self._paused_at = now
        self.size = 0
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []

    @property
    def remaining(self) -> int:
        """How much is known to be still to come; 0 where a chunked body does not say."""
        return self._need if self._chunks is None else 0

    def receive(self, data: bytes) -> bytes:
        """The content in ``data``.

        Raises:
            RemoteProtocolError: 400 for malformed chunks, 413 for too much content, 431 for too many trailers.
        """
        chunks = self._chunks
        if chunks is None:
            if len(data) >= self._need:
                self.rest = data[self._need :]
                data = data[: self._need]
                self.done = True
            self._need -= len(data)
        else:
            data = chunks.receive(data)
            if chunks.done:
                self.rest = chunks.rest
                self.trailers = chunks.trailers
                self.done = True
        self.size += len(data)
        return data

    def due_at(self, now: float, timeouts: Timeouts) -> float | None:
        """When more must have come, if nothing came since ``now``: within the stall timeout, and before the average falls under the rate."""
        when = now + timeouts.timeout_request_body if timeouts.timeout_request_body is not None else None
        if timeouts.min_request_body_rate:
            too_slow = self._began + timeouts.timeout_request_body_grace + self.size / timeouts.min_request_body_rate
            when = too_slow if when is None else min(when, too_slow)
        return when

    def restart(self, now: float) -> None:
        """The client could not begin before ``now``: it waited for 100 (Continue)."""
        self._began = now

    def pause(self, now: float) -> None:
        """Nobody reads from ``now`` on."""
        self._paused_at = now

    def resume(self, now: float) -> None:
        """Somebody reads again; the time in between was not the client's."""
        self._began += now - self._paused_at
