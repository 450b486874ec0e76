"""Line ends (RFC 9112 §2.2).

The law of this module: a line ends with CRLF. A bare LF may be taken for one and a bare CR may not; two readers that differ here see
different messages, so both are refused (RFC 9112 §2.2 and its erratum 7633).
"""

from __future__ import annotations

import re
import sys

__all__ = ["lone_line_break", "strip_line_whitespace"]

_lone_line_break = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)").search
# A line must have something else in it: one that is only whitespace is malformed, and must not become the empty line that ends the head.
_line_whitespace = re.compile(rb"(?<=[^\r\n \t])[ \t]+\r\n")


def lone_line_break(data: bytes | bytearray, start: int = 0, end: int = sys.maxsize) -> bool:
    """Whether ``data`` from ``start`` to ``end`` has an LF without CR, or a CR that is followed by anything but LF or the end."""
    return _lone_line_break(data, max(start - 1, 0), end) is not None


def strip_line_whitespace(head: bytes) -> bytes:
    """``head`` without the optional whitespace before its line ends (RFC 9112 §5: OWS behind a value is no part of it).

    llhttp keeps it in the value, and refuses a tab behind ``chunked``.
    """
    return _line_whitespace.sub(b"\r\n", head)
