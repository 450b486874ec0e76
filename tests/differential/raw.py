"""What the two parsers make of a message by themselves, without anything of asgiserve before or behind them.

The law of this module: the parsers are used as their own documentation says, with their default settings, and nothing that they say is corrected: but
the names of fields are put in lower case, as one of them does it and the other does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import h11
import httptools

if TYPE_CHECKING:
    from asgiserve.http.fields import Field

__all__ = ["INCOMPLETE", "REFUSED", "WHOLE", "Reading", "h11_reads", "httptools_reads"]

REFUSED = "refused"
INCOMPLETE = "incomplete"
WHOLE = "whole"


class Reading(NamedTuple):
    """One message, as far as it was read. ``end`` is how that ended; nothing is told of a head that was refused."""

    end: str
    method: bytes = b""
    target: bytes = b""
    version: bytes = b""
    fields: tuple[Field, ...] = ()
    body: bytes = b""
    trailers: tuple[Field, ...] = ()


class _Callbacks:
    """What httptools calls."""

    def __init__(self) -> None:
        self.parser: httptools.HttpRequestParser | None = None
        self.readings: list[Reading] = []
        self._begin()

    def _begin(self) -> None:
        self._target = b""
        self._fields: list[Field] = []
        self._trailers: list[Field] = []
        self._body = b""
        self._head = False

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._trailers if self._head else self._fields).append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.end(WHOLE)

    def end(self, how: str) -> None:
        if not self._head:
            # A head that may still come says nothing.
            if how == REFUSED:
                self.readings.append(Reading(how))
            return
        assert self.parser is not None
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self.readings.append(Reading(how, method, self._target, version, tuple(self._fields), self._body, tuple(self._trailers)))
        self._begin()


def httptools_reads(data: bytes) -> list[Reading]:
    """The messages in ``data``; an upgrade ends them, as what follows is the application's."""
    callbacks = _Callbacks()
    parser = callbacks.parser = httptools.HttpRequestParser(callbacks)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        callbacks.end(REFUSED)
    else:
        callbacks.end(INCOMPLETE)
    return callbacks.readings


def h11_reads(data: bytes) -> list[Reading]:
    """The messages in ``data``, each of them answered; the last one that may come on a connection ends them."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data) + 1)
    connection.receive_data(data)
    readings: list[Reading] = []
    reading = Reading(INCOMPLETE)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return [*readings, reading._replace(end=REFUSED)]
        match event:
            case h11.Request():
                fields = tuple((name.lower(), value) for name, value in event.headers.raw_items())
                reading = Reading(INCOMPLETE, event.method, event.target, event.http_version, fields)
            case h11.Data():
                reading = reading._replace(body=reading.body + bytes(event.data))
            case h11.EndOfMessage():
                trailers = tuple((name.lower(), value) for name, value in event.headers.raw_items())
                readings.append(reading._replace(end=WHOLE, trailers=trailers))
                reading = Reading(INCOMPLETE)
                # 404: no upgrade is taken, and no tunnel is opened.
                connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return readings
                connection.start_next_cycle()
            case _:
                return [*readings, reading] if reading.method else readings
