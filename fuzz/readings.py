"""What others read in the same bytes: h11 and llhttp by themselves, bodies and all, as a proxy in front of the server might.

The law of this module: no code of the server. Where one of them refuses the rest, its reading ends; where both it and the server read on, they must
have read the same.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import h11

if TYPE_CHECKING or importlib.util.find_spec("httptools") is not None:
    import httptools

__all__ = ["Reading", "h11_reading", "llhttp_reading"]

_Fields = list[tuple[bytes, bytes]]
_origin: Final = re.compile(rb"(?i:https?)://[^/?#]*").match
_MOST: Final = 1 << 20


class Reading(NamedTuple):
    """One request. Its target is in origin-form with a question mark, as nobody can tell whether an empty query was one; Host is left out."""

    method: bytes
    target: bytes
    fields: _Fields
    body: bytes
    trailers: _Fields | None
    complete: bool = True

    def matches(self, other: Reading) -> bool:
        """Whether both are the same, as far as ``other`` is told."""
        return (
            self.method == other.method
            and self.target == other.target
            and [_plain(field) for field in self.fields] == [_plain(field) for field in other.fields]
            and (not other.complete or self.body == other.body)
            and (other.trailers is None or _unframed(self.trailers) == _unframed(other.trailers))
        )


def _plain(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """h11 writes a transfer coding in lower case."""
    name, value = field
    return name, value.lower() if name == b"transfer-encoding" else value


def _unframed(trailers: _Fields | None) -> _Fields:
    """h11 has an opinion of lengths in a trailer, where they mean nothing."""
    return [field for field in trailers or () if field[0] not in {b"content-length", b"transfer-encoding"}]


def _target(target: bytes) -> bytes:
    match = _origin(target)
    if match is not None:
        target = target[match.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    path, _, query = target.partition(b"?")
    return path + b"?" + query


def h11_reading(data: bytes) -> list[Reading]:
    """The requests that h11 reads."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)
    connection.receive_data(data)
    found: list[Reading] = []
    try:
        while True:
            event = connection.next_event()
            if not isinstance(event, h11.Request):
                return found
            body: list[bytes] = []
            while isinstance(part := connection.next_event(), h11.Data):
                body.append(bytes(part.data))
            if not isinstance(part, h11.EndOfMessage):
                return found
            fields = [(bytes(name), bytes(value)) for name, value in event.headers if name != b"host"]
            trailers = [(bytes(name), bytes(value)) for name, value in part.headers]
            found.append(Reading(event.method, _target(event.target), fields, b"".join(body), trailers))
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return found
            connection.start_next_cycle()
    except h11.ProtocolError:
        return found


class _Callbacks:
    """What httptools calls."""

    def __init__(self) -> None:
        self.found: list[Reading] = []
        self.parser: httptools.HttpRequestParser
        self._fields: _Fields = []
        self._body: list[bytes] = []
        self._target = b""
        self._method = b""

    def on_message_begin(self) -> None:
        self._fields, self._body, self._target = [], [], b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._method = self.parser.get_method()
        # Fields behind this are trailers, which come by the same call.
        self._head = [field for field in self._fields if field[0] != b"host"]

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.found.append(Reading(self._method, _target(self._target), self._head, b"".join(self._body), None))


def llhttp_reading(data: bytes) -> list[Reading]:
    """The requests that llhttp reads; none where it is not installed."""
    if "httptools" not in sys.modules:
        return []
    callbacks = _Callbacks()
    callbacks.parser = httptools.HttpRequestParser(callbacks)
    try:
        callbacks.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        # It hands the connection over behind the head, whatever the framing says.
        if callbacks.found:
            callbacks.found[-1] = callbacks.found[-1]._replace(complete=False)
    except httptools.HttpParserError:
        return callbacks.found
    return callbacks.found
