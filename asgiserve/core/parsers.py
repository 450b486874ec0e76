"""The HTTP/1.1 head parsers: httptools and h11 behind one call.

The law of this module: a parser is fed one complete head and calls ``on_header`` for each field and ``on_headers_complete`` at its end. It decides
nothing: the request line was read before (`http.target`), the body is framed after (`http.framing`, `core.chunked`), keep-alive and upgrades are
the connection's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import h11

from asgiserve.errors import ConfigError, RemoteProtocolError
from asgiserve.http.fields import parse_field_lines
from asgiserve.http.lines import strip_line_whitespace

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgiserve.core.request import Framing
    from asgiserve.http.fields import Field
    from asgiserve.http.target import Target

__all__ = ["FieldParser", "HeadCallbacks", "HeadParser", "KnownLine", "ParserFactory", "choose_parser"]

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

    A factory belongs to one server and its thread. ``fields`` parses for all of its connections, one head after another; ``request_lines`` are
    those that were read already: method, target and minor version; ``framings`` what minor version and fields were found to mean together.
    """

    __slots__ = ("fields", "framings", "make", "name", "request_lines")

    def __init__(self, name: str, make: Callable[[HeadCallbacks], HeadParser]) -> None:
        self.name = name
        self.make = make
        self.fields = FieldParser(self)
        self.request_lines: dict[bytes, KnownLine] = {}
        self.framings: dict[tuple[int | Field, ...], Framing] = {}


# The fields that are the connection's business, or a trusted proxy's.
_SPECIAL: Final = frozenset(
    b"host content-length transfer-encoding connection proxy-connection expect upgrade te x-forwarded-for x-forwarded-proto forwarded".split()
)
# Those of them that leave llhttp ready for the head of another request.
_HARMLESS: Final = frozenset(b"host te x-forwarded-for x-forwarded-proto forwarded".split())
_KEEP_ALIVE: Final = (b"connection", b"keep-alive")

# Request line and framing are read by ourselves, for every parser: it is told a request that each of them knows.
_START: Final = b"GET / HTTP/1.1\r\n"


class FieldParser:
    """The fields of complete heads by way of a parser, which calls this object back (a layer between them was measured at 34 % of a request).

    One serves all connections of a server, as a head is parsed in one call: a parser for each weighs 1 KiB while it waits. What `parse` found that
    is the connection's business is in ``special`` until the next call.
    """

    __slots__ = ("_complete", "_factory", "_fields", "_parser", "special")

    def __init__(self, factory: ParserFactory) -> None:
        self._factory = factory
        self._parser: HeadParser | None = None
        self._fields: list[Field] = []
        self._complete = False
        self.special: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser read a field."""
        name = name.lower()
        field = (name, value)
        self._fields.append(field)
        if name in _SPECIAL:
            self.special.append(field)

    def on_headers_complete(self) -> None:
        """The parser read the whole head."""
        self._complete = True

    def parse(self, block: bytes) -> list[Field]:
        """The fields in ``block``, a head behind its request line.

        Raises:
            RemoteProtocolError: 400, a field line is malformed.
        """
        # Tabs are rare, and to look for one byte is quick.
        if b" \r\n" in block or (b"\t" in block and b"\t\r\n" in block):
            block = strip_line_whitespace(block)
        fields: list[Field] = []
        self._fields = fields
        self._complete = False
        special: list[Field] = []
        self.special = special
        parser = self._parser
        if parser is None:
            parser = self._parser = self._factory.make(self)
        try:
            parser.feed_data(_START + block)
        except RemoteProtocolError:
            self._parser = None
            raise
        except Exception:  # noqa: BLE001 - each parser has its own; all of them mean the same
            self._parser = None
            # After the head is complete httptools raises to hand an upgrade over; that is decided here.
            if not self._complete:
                raise RemoteProtocolError("the request head is malformed", clause="RFC 9112 §5") from None
        if not self._complete:
            self._parser = None
            raise RemoteProtocolError("the request head is malformed", clause="RFC 9112 §5")
        for field in special:
            if field[0] not in _HARMLESS and field != _KEEP_ALIVE:
                # llhttp expects content now, or no other message: `Connection: close`, and `Proxy-Connection: close`, which is no field of HTTP.
                self._parser = None
        return fields


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
            return ParserFactory("httptools", httptools.HttpRequestParser)
    return ParserFactory("h11", _H11Head)
