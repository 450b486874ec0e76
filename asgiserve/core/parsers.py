"""The HTTP/1.1 head parsers: httptools and h11 behind one call.

The law of this module: a parser is fed one complete head and calls ``on_header`` for each field and ``on_headers_complete`` at its end, on the
connection itself. It decides nothing: the request line was read before (`http.target`), the body is framed after (`http.framing`,
`core.chunked`), keep-alive and upgrades are the connection's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import h11

from asgiserve.errors import ConfigError
from asgiserve.http.fields import parse_field_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgiserve.http.target import Target

__all__ = ["HeadCallbacks", "HeadParser", "KnownLine", "ParserFactory", "choose_parser"]

KnownLine: TypeAlias = "tuple[bytes, Target, int]"
"""What a request line says: the method, the target, and the minor version of HTTP/1."""


class HeadCallbacks(Protocol):
    """What a parser calls."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, in order; the name in any case."""

    def on_headers_complete(self) -> None:
        """The head is complete."""


class HeadParser(Protocol):
    """One parser, good for a head; may be fed another when the message had no body."""

    def feed_data(self, data: bytes, /) -> None:
        """Parse ``data``, a complete head. Raises whatever it likes where that is malformed, or after it was complete."""


class ParserFactory:
    """A parser by name. ``factory(connection)`` makes one.

    ``methods`` are those that it can parse, None for all: other methods are parsed as GET, as the connection has read the real one.
    ``request_lines`` are those that were read already, by any connection that the factory is for: method, target and minor version.
    """

    __slots__ = ("make", "methods", "name", "request_lines")

    def __init__(self, name: str, make: Callable[[HeadCallbacks], HeadParser], methods: frozenset[bytes] | None) -> None:
        self.name = name
        self.make = make
        self.methods = methods
        self.request_lines: dict[bytes, KnownLine] = {}


# llhttp's list of HTTP methods (llhttp 9, src/llhttp/constants.ts). It has others for RTSP, which it refuses with an HTTP version.
_LLHTTP_METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT "
    b"MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK".split()
)


_NOT_FOR_H11 = frozenset({b"content-length", b"transfer-encoding", b"host"})


class _H11Head:
    """h11 as a head parser.

    It takes a bare LF, obs-fold and controls in values, so that each line is held against the grammar first; its own checks come on top.
    """

    __slots__ = ("_callbacks",)

    def __init__(self, callbacks: HeadCallbacks) -> None:
        self._callbacks = callbacks

    def feed_data(self, data: bytes, /) -> None:
        line_end = data.index(b"\r\n") + 2
        fields = parse_field_lines(data[line_end:-2])
        # Framing and Host are not its business: it merges equal lengths into one, refuses a coding in its own way, and wants just one Host.
        lines = [name + b": " + value + b"\r\n" for name, value in fields if name not in _NOT_FOR_H11]
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data))
        connection.receive_data(b"".join((data[:line_end], b"host: h11\r\n", *lines, b"\r\n")))
        # The head is complete, so that there is a request or an exception.
        connection.next_event()
        for name, value in fields:
            self._callbacks.on_header(name, value)
        self._callbacks.on_headers_complete()


def choose_parser(name: str) -> ParserFactory:
    """The parser for the option ``--http``: ``auto``, ``httptools`` or ``h11``.

    Raises:
        ConfigError: httptools is asked for and not installed.
    """
    if name != "h11":
        try:
            import httptools  # noqa: PLC0415 - PyPy has none, and h11 users need not load it
        except ImportError:
            if name == "httptools":
                raise ConfigError("--http httptools: httptools is not installed (pip install httptools), or use --http h11") from None
        else:
            return ParserFactory("httptools", httptools.HttpRequestParser, _LLHTTP_METHODS)
    return ParserFactory("h11", _H11Head, None)
