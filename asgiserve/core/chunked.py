"""Reading a chunked body (RFC 9112 §7.1).

The law of this module: the grammar to the letter, every line bounded before it is complete. Both HTTP/1.1 parsers stop at the head, so that
there is one reader of chunks and nothing for them to disagree on: llhttp bounds neither lines, extensions nor trailers, and h11 takes NUL, bare CR
and quoted line ends in an extension.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asgiserve.errors import RemoteProtocolError
from asgiserve.http.fields import TOKEN, parse_field_lines
from asgiserve.http.framing import MAX_LENGTH
from asgiserve.http.lines import lone_line_break

if TYPE_CHECKING:
    from asgiserve.http.fields import Field

__all__ = ["ChunkedReader"]

# RFC 9112 §7.1 and §7.1.1
#   chunk         = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
#   chunk-size    = 1*HEXDIG
#   chunk-ext     = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
#   chunk-ext-val = token / quoted-string
# 16 digits are 2**64: more is refused rather than wrapped.
_chunk_line = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"((?:[ \t]*;[ \t]*"
    + TOKEN
    + rb"(?:[ \t]*=[ \t]*(?:"
    + TOKEN
    + rb"|\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*\"))?)*)"
    rb"\r\n"
).match

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedReader:
    """Call `receive` with what comes; when `done`, `trailers` and `rest` are set and it must not be called again.

    Args:
        max_line_bytes: of a chunk-size line with its extensions.
        max_extension_bytes: of all extensions of the body.
        max_trailer_bytes: of the trailer section.
        max_trailer_count: of the trailers.
        max_content_bytes: of all chunks together.
    """

    __slots__ = (
        "_block",
        "_content_bytes",
        "_extension_bytes",
        "_max_content_bytes",
        "_max_extension_bytes",
        "_max_line_bytes",
        "_max_trailer_bytes",
        "_max_trailer_count",
        "_need",
        "_partial",
        "_state",
        "rest",
        "trailers",
    )

    def __init__(
        self, *, max_line_bytes: int, max_extension_bytes: int, max_trailer_bytes: int, max_trailer_count: int, max_content_bytes: int | None = None
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._max_extension_bytes = max_extension_bytes
        self._max_trailer_bytes = max_trailer_bytes
        self._max_trailer_count = max_trailer_count
        self._max_content_bytes = max_content_bytes
        self._state = _SIZE
        self._need = 0
        self._partial = b""
        self._block = bytearray()
        self._extension_bytes = 0
        self._content_bytes = 0
        self.trailers: list[Field] = []
        self.rest = b""

    @property
    def done(self) -> bool:
        """Whether the body and its trailers are complete."""
        return self._state == _DONE

    def receive(self, data: bytes) -> bytes:
        """The content in ``data``, without its framing.

        Raises:
            RemoteProtocolError: 400 for a chunk or trailer that is malformed, 431 for too many trailers. Content before the fault is lost: the
                connection must be closed anyhow.
        """
        pieces: list[bytes] = []
        if self._partial:
            data = self._partial + data
            self._partial = b""
        position = 0
        end = len(data)
        while position < end:
            state = self._state
            if state == _DATA:
                piece = data[position : position + self._need]
                pieces.append(piece)
                position += len(piece)
                self._need -= len(piece)
                if not self._need:
                    self._state = _DATA_END
            elif state == _SIZE:
                position = self._read_line(data, position)
            elif state == _DATA_END:
                # CVE-2025-43859: the two bytes behind the data are part of the framing and are not skipped unread.
                if not b"\r\n".startswith(data[position : position + 2]):
                    raise RemoteProtocolError("chunk data is not followed by CRLF", clause="RFC 9112 §7.1")
                if end - position < 2:  # noqa: PLR2004 - the length of CRLF
                    self._partial = data[position:]
                    break
                position += 2
                self._state = _SIZE
            elif state == _TRAILERS:
                self._read_trailers(data, position)
                break
            else:
                raise RuntimeError("receive() after the end of the body")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, data: bytes, position: int) -> int:
        """Read a chunk-size line at ``position``; where it ends, or the end of ``data`` where it is incomplete."""
        limit = self._max_line_bytes
        line_end = data.find(b"\r\n", position, position + limit + 2)
        if line_end < 0:
            if lone_line_break(data, position, position + limit + 2):
                raise RemoteProtocolError("a chunk-size line has a bare CR or LF", clause="RFC 9112 §7.1")
            if len(data) - position > limit + 1:
                raise RemoteProtocolError(f"a chunk-size line is longer than {limit} bytes", clause="RFC 9112 §7.1.1")
            self._partial = data[position:]
            return len(data)
        match = _chunk_line(data, position)
        if match is None or match.end() != line_end + 2:
            if lone_line_break(data, position, line_end + 2):
                # In the words that it gets where the line comes in pieces.
                raise RemoteProtocolError("a chunk-size line has a bare CR or LF", clause="RFC 9112 §7.1")
            raise RemoteProtocolError("a chunk-size line is malformed", clause="RFC 9112 §7.1")
        self._extension_bytes += match.end(2) - match.start(2)
        if self._extension_bytes > self._max_extension_bytes:
            # Go's CVE-2023-39326: extensions cost more than the content they come with.
            raise RemoteProtocolError(f"more than {self._max_extension_bytes} bytes of chunk extensions", clause="RFC 9112 §7.1.1")
        self._need = int(match[1], 16)
        if self._need > MAX_LENGTH:
            raise RemoteProtocolError("a chunk is larger than 2**53", status=413, clause="RFC 9112 §7.1")
        self._content_bytes += self._need
        if self._max_content_bytes is not None and self._content_bytes > self._max_content_bytes:
            # Where it is announced, not where it comes: a fault behind it may be in the same read, or in the next one.
            raise RemoteProtocolError(f"the request body is larger than {self._max_content_bytes} bytes", status=413, clause="RFC 9110 §15.5.14")
        self._state = _DATA if self._need else _TRAILERS
        return match.end()

    def _read_trailers(self, data: bytes, position: int) -> None:
        """Collect the trailer section: field lines, then an empty line."""
        block = self._block
        searched = max(len(block) - 3, 0)
        checked = len(block)
        block += data[position:]
        if block.startswith(b"\r\n"):
            fields_end, end = 0, 2
        else:
            found = block.find(b"\r\n\r\n", searched)
            fields_end, end = found + 2, found + 4
            # First, and in what may be there at most: so it makes no difference how the trailers were cut.
            if lone_line_break(block, checked, self._max_trailer_bytes + 2 if found < 0 else min(end, self._max_trailer_bytes + 2)):
                raise RemoteProtocolError("a trailer has a bare CR or LF", clause="RFC 9112 §7.1.2")
            if found < 0:
                # Behind the last byte that is allowed there may be the CR of the empty line.
                if len(block) > self._max_trailer_bytes + 1:
                    raise RemoteProtocolError(f"trailers of more than {self._max_trailer_bytes} bytes", status=431, clause="RFC 9110 §5.4")
                return
        if fields_end > self._max_trailer_bytes:
            raise RemoteProtocolError(f"trailers of more than {self._max_trailer_bytes} bytes", status=431, clause="RFC 9110 §5.4")
        self.trailers = parse_field_lines(bytes(block[:fields_end]))
        if len(self.trailers) > self._max_trailer_count:
            raise RemoteProtocolError(f"more than {self._max_trailer_count} trailers", status=431, clause="RFC 9110 §5.4")
        self.rest = bytes(block[end:])
        block.clear()
        self._state = _DONE
