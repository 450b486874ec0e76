"""HTTP/1.1: what the server waits for, how long, and how much it takes (RFC 9112 §9.5, RFC 9110 §15.5.9 and §15.5.14).

The law of this module: a server is told how long it may wait, and waits neither much longer nor much shorter.
"""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Distortion, Level, Topic
from pytest_asgiserve.raw import Truncated, Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection, RawResponse

__all__ = ["TIMEOUTS"]

TIMEOUTS: Final = Topic("http1/timeouts", "HTTP/1.1: time-outs and limits")

_TOLD: Final = 1
"""Seconds that each server is told to wait; whole ones, for several can be told no others."""
_SLACK: Final = 3.0
"""Seconds beyond that which a server may take: for timers that look once a second, and for a loaded machine."""
_LONG: Final = 30
"""What a bad server waits."""
_REQUEST_TIMEOUT: Final = 408
_TOO_LARGE: Final = 413
_EARLY: Final = 0.2
"""The part of the time that is told in which nothing may happen; not more, for a machine under load is late itself."""
_PAUSE: Final = 0.1
"""Seconds between two bytes of a slow client."""


def _ends(connection: RawConnection, seconds: float, method: str = "GET") -> RawResponse | None:
    """What the server says before it ends the connection, in order or by a reset; None where it says nothing.

    Raises:
        TimeoutError: it neither ended the connection nor said anything in ``seconds``.
        FramingError: what it said is no response.
    """
    connection.sock.settimeout(max(seconds, 0.01))
    try:
        response = connection.read_response(method)
        connection.expect_closed()
    except (Unanswered, ConnectionResetError):
        return None
    return response


def _check_given_up(stage: Stage, connection: RawConnection, seconds: float, what: str, method: str = "GET") -> RawResponse | None:
    """The server ends the connection within ``seconds``, after a 408 or without an answer; other answers break the rule."""
    try:
        response = _ends(connection, seconds, method)
    except TimeoutError:
        response = None
        stage.check(kept=False, seen=f"{what}: after {_TOLD + _SLACK:g} s the connection was still open")
    stage.check(response is None or response.status == _REQUEST_TIMEOUT, f"{what}: answered with {response.status if response else 0}")
    return response


def _never_complete(stage: Stage, records: Sequence[Record], what: str) -> None:
    """No application was told that the body is complete; one that waited for it was told that the client is gone."""
    for record in records:
        bodies = [message for message in record.received if message.get("type") == "http.request"]
        stage.check(all(message.get("more_body") for message in bodies), f"{what}: the application was told that the body is complete")
        told = bool(record.received) and record.received[-1].get("type") == "http.disconnect"
        stage.check(told or record.how is not None, f"{what}: the application was not told that it is over")


@TIMEOUTS.scenario(
    "h1.conn.idle-timeout",
    "RFC 9112 §9.5",
    level=Level.SHOULD,
    says="A client or server that wishes to time out SHOULD issue a graceful close on the connection.",
    expects="a request within the time served, and then the connection ended in order at the time that the server was told, with nothing sent before",
    bad=Distortion(settings={"keep_alive": _LONG}),
    own=True,
)
def idle_timeout(stage: Stage) -> None:
    own = stage.own(settings={"keep_alive": _TOLD})
    connection = own.connect(timeout=_TOLD + _SLACK)
    own.check(connection.exchange("/").status == 200, "the first request was not served")
    connection.expect_silence(_TOLD * _EARLY)
    own.check(connection.exchange("/").status == 200, "a request before the time was not served")
    since = time.monotonic()
    try:
        connection.expect_eof()
    except TimeoutError:
        own.check(kept=False, seen=f"after {_TOLD + _SLACK:g} s the connection was still open")
    own.check(time.monotonic() - since > _TOLD * _EARLY, f"ended after {time.monotonic() - since:.2f} s")


@TIMEOUTS.scenario(
    "h1.field.section-slow",
    "RFC 9110 §15.5.9",
    level=Level.HARD,
    says="A client that sends a head byte by byte does not hold its connection for longer than the server was told to wait for a whole head.",
    expects="408 or no answer, and the connection ended at the time that the server was told",
    bad=Distortion(settings={"head_timeout": _LONG}),
    own=True,
)
def section_slow(stage: Stage) -> None:
    own = stage.own(settings={"head_timeout": _TOLD})
    connection = own.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Slow: ")
    until = time.monotonic() + _TOLD + _SLACK
    while time.monotonic() < until:
        if select.select([connection.sock], [], [], _PAUSE)[0]:
            # An answer, or the end.
            break
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(b"a")
    _check_given_up(own, connection, until - time.monotonic(), "byte by byte")
    own.check(not own.records(0, timeout=0), "the application was called")


_HEAD: Final = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n"
_PREFIXES: Final = {
    "in the method": 2,
    "behind the method": 5,
    "in the target": 6,
    "in the version": 12,
    "in the CRLF of the first line": 16,
    "in a name": 20,
    "in a value": 26,
    "behind a line": 33,
    "before the last LF": len(_HEAD) - 1,
}


@TIMEOUTS.scenario(
    "h1.msg.partial-timeout",
    "RFC 9110 §15.5.9",
    "RFC 9112 §9.5",
    level=Level.HARD,
    says="A request of which only a part comes is waited for as long as the server was told, and then given up.",
    expects="nothing before the time, then 408 or no answer, the connection ended, and no call of the application",
    bad=Distortion(settings={"head_timeout": _LONG}),
    own=True,
)
def partial_timeout(stage: Stage) -> None:
    own = stage.own(settings={"head_timeout": _TOLD})
    connections = {what: own.connect() for what in _PREFIXES}
    for what, size in _PREFIXES.items():
        connections[what].send(_HEAD[:size])
    until = time.monotonic() + _TOLD + _SLACK
    for number, (what, connection) in enumerate(connections.items()):
        if number == 0:
            # The time of all of them.
            connection.expect_silence(_TOLD * _EARLY)
        _check_given_up(own, connection, until - time.monotonic(), f"cut {what}", "POST")
    own.check(not own.records(0, timeout=0), "the application was called")


@TIMEOUTS.scenario(
    "h1.cl.huge-no-body-timeout",
    "RFC 9110 §15.5.9",
    "RFC 9112 §6.3",
    level=Level.HARD,
    says="A body that is announced and does not come is waited for as long as the server was told, and then given up: it never becomes complete.",
    expects="408, another error or no answer, the connection ended at the time that the server was told, and the application told http.disconnect",
    bad=Distortion(settings={"body_timeout": _LONG}),
    own=True,
)
def huge_no_body_timeout(stage: Stage) -> None:
    own = stage.own(settings={"body_timeout": _TOLD})
    connections = {"a length": own.connect(), "chunks": own.connect()}
    # An application that answers nothing: what some would send to a client that they gave up says nothing of the body.
    for what, line, part in (("a length", "Content-Length: 999999999", b"abc"), ("chunks", "Transfer-Encoding: chunked", b"3b9ac9ff\r\nabc")):
        connections[what].send(own.encode_request(line, method="POST", script=[["receive-all"]]) + part)
    until = time.monotonic() + _TOLD + _SLACK
    for what, connection in connections.items():
        connection.sock.settimeout(max(until - time.monotonic(), 0.01))
        try:
            answer = connection.expect_closed()
        except TimeoutError:
            own.check(kept=False, seen=f"{what}: after {_TOLD + _SLACK:g} s the connection was still open")
        else:
            own.check(not answer.startswith(b"HTTP/1.1 2"), f"{what}: answered with {answer[:40]!r}")
    records = own.records(0, timeout=_SLACK)
    own.check(len(records) <= len(connections), f"{len(records)} calls of the application")
    _never_complete(own, records, "a body that did not come")


_LIMIT: Final = 1000
"""Bytes of a body that the server is told to take."""


@TIMEOUTS.scenario(
    "h1.cl.over-limit",
    "RFC 9110 §15.5.14",
    "RFC 9110 §17.5",
    level=Level.HARD,
    says="The 413 (Content Too Large) status code indicates that the server is refusing to process a request because the request content is larger "
    "than the server is willing or able to process. The server MAY terminate the request, if the protocol version in use allows it; otherwise, the "
    "server MAY close the connection.",
    expects="413, or the connection closed, for a body above the limit, which no application gets as a whole; one of its size is served",
    bad=Distortion(settings={"max_body": 1_000_000}),
    own=True,
)
def over_limit(stage: Stage) -> None:
    own = stage.own(settings={"max_body": _LIMIT})
    response = own.request(method="POST", body=b"x" * _LIMIT, script=[["echo-body"]])
    own.check(response.status == 200 and response.body == b"x" * _LIMIT, f"a body of {_LIMIT} bytes: {response.status}")
    size = _LIMIT + 1
    start = b"POST / HTTP/1.1\r\nHost: a.example\r\n"
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    for what, request in {
        "a length": start + b"Content-Length: %d\r\n\r\n" % size + b"x" * size,
        "a length, and Expect": start + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % size,
        "one chunk": start + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size),
        "many chunks": start + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40 + b"0\r\n\r\n",
    }.items():
        own.mark()
        connection = own.connect()
        connection.send(request)
        try:
            answer = connection.read_response("POST")
        except (Truncated, ConnectionResetError):
            stage.warn(f"{what}: closed without 413")
        else:
            own.check(answer.status == _TOO_LARGE, f"{what}: answered with {answer.status}")
            connection.expect_closed()
            if answer.informational:
                stage.warn(f"{what}: asked for with {answer.informational[0].status}, and then refused")
        _never_complete(own, own.records(0), what)
