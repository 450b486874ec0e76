"""HTTP/1.1: clients that go, that do not read, and that are many (RFC 9112 §9.6, ASGI www).

The law of this module: what is bounded in the server is seen to be bounded, by what its application could send and by whom it still serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import select
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.suite.dialogue import receiving

if TYPE_CHECKING:
    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection

__all__ = ["LOAD"]

LOAD: Final = Topic("http1/load", "HTTP/1.1: clients that go, that do not read, and that are many")

_BAD_REQUEST: Final = 400
_WRITTEN: Final = 10_000_000
_LATE: Final = 0.1
"""Seconds for which a client writes on when an answer is there."""
_PIECE: Final = 65536
_PIECES: Final = 1600
"""100 MB: more than any system's buffers of a connection."""
_GREW_MOST: Final = 64
"""MiB by which a process may grow for a client that does not read: a multiple of what systems and servers keep for a connection."""
_STILL: Final = 0.3
"""Seconds without progress after which an application is taken to be held back."""
_TOLD_WITHIN: Final = 3.0
_CALLED_WITHIN: Final = 1.0
_IDLE: Final = 900
"""Connections; several servers draw their line at 1,000 unless they are told another."""
_BATCH: Final = 50
"""Connections that are made one upon the other; the shortest queue for them of those servers has 100 places."""


@LOAD.scenario(
    "h1.conn.linger-on-error",
    "RFC 9112 §9.6",
    # The clause says what servers typically do, and has no word for it.
    level=Level.MAY,
    says="If a server performs an immediate close of a TCP connection, there is a significant risk that the client will not be able to read the last "
    "HTTP response. [...] To avoid the TCP reset problem, servers typically close a connection in stages.",
    expects="400 readable while the client still writes, and no reset before it has read it",
    bad=Distortion(to_client=lambda _: b""),
)
def linger_on_error(stage: Stage) -> None:
    connection = stage.connect()
    connection.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: x\r\n\r\n")
    written, reset = 0, ""
    connection.sock.settimeout(_LATE / 10)
    # It looks late for an answer, and gives up where none comes.
    until, answered = time.monotonic() + _TOLD_WITHIN, False
    while written < _WRITTEN and time.monotonic() < until:
        try:
            written += connection.sock.send(b"x" * _PIECE)
        except TimeoutError:
            pass
        except (BrokenPipeError, ConnectionResetError) as error:
            reset = type(error).__name__
            break
        if not answered and select.select([connection.sock], [], [], 0)[0]:
            until, answered = time.monotonic() + _LATE, True
    stage.trace.note("!", f"{written} bytes written behind it")
    connection.sock.settimeout(_TOLD_WITHIN)
    response = connection.read_response("POST")
    stage.check(response.status == _BAD_REQUEST, f"{response.status}")
    stage.check(not reset, f"400, and the client was reset while it wrote: {reset}")


def _told_complete(event: dict[str, Any]) -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False} if event["type"] == "http.disconnect" else event


def _disconnected(record: Record) -> bool:
    return bool(record.received) and record.received[-1].get("type") == "http.disconnect"


@LOAD.scenario(
    "h1.conn.rst-mid-request",
    "ASGI www, HTTP Disconnect",
    level=Level.HARD,
    says="A client that resets its connection, wherever it is in a request or in a response, harms nobody else, and its application is told "
    "http.disconnect.",
    expects="no call for half a head, http.disconnect for half a body and half a response, the next request served, and no traceback",
    bad=Distortion(app=receiving(_told_complete)),
)
def rst_mid_request(stage: Stage) -> None:
    output = stage.running.mark_output()
    head = stage.connect()
    head.send(b"GET /head HTTP/1.1\r\nHost: a.exa")
    head.reset()

    flag = f"reset-{secrets.token_hex(8)}"
    body = stage.connect()
    script = [["receive"], ["set", flag], ["receive-all"]]
    body.send(stage.encode_request("Content-Length: 100", script=script, method="POST", path="/body") + b"x" * 10)
    # A server may also wait for the whole body before it calls anybody.
    called = stage.running.wait_flag(flag, _CALLED_WITHIN)
    body.reset()
    for record in stage.records(int(called), timeout=_TOLD_WITHIN):
        stage.check(record.scope["path"] == "/body", f"a call for {record.scope['path']}, of which half a head came")
        stage.check(_disconnected(record), f"half a body: the application was told {_last(record)}")

    stage.mark()
    response = stage.connect()
    response.send(stage.encode_request(script=[["start", 200], ["body", "hello", True], ["wait-disconnect", _TOLD_WITHIN]], path="/response"))
    response.read_chunk() if response.read_head().framing == "chunked" else response.read_exactly(5)
    response.reset()
    record = stage.record(timeout=_TOLD_WITHIN)
    stage.check(_disconnected(record), f"half a response: the application was told {_last(record)}")

    answer = stage.request()
    stage.check(answer.status == 200, f"the next request was answered with {answer.status}")
    if "Traceback" in stage.running.output_since(output):
        stage.warn("a traceback in its log")


def _last(record: Record) -> str:
    return f"{record.received[-1]}"[:200] if record.received else "nothing"


def _buffering(app: Any) -> Any:
    """A server whose send() takes whatever it is given, and returns at once."""

    async def buffers(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        kept: asyncio.Queue[Any] = asyncio.Queue()

        async def hand_on() -> None:
            while (message := await kept.get()) is not None:
                await send(message)

        async def keep(message: Any) -> None:
            kept.put_nowait(message)

        task = asyncio.create_task(hand_on())
        await app(scope, receive, keep)
        kept.put_nowait(None)
        await task

    return buffers


@LOAD.scenario(
    "h1.conn.slow-reader",
    "ASGI www, Response Body",
    level=Level.HARD,
    says="A client that does not read holds the application back: what the server keeps for it is bounded.",
    expects="send() held back before 100 MB were taken",
    bad=Distortion(app=_buffering),
)
def slow_reader(stage: Stage) -> None:
    before = stage.running.facts()["rss"]
    connection = stage.connect(receive_buffer=_PIECE)
    piece = {"type": "http.response.body", "body": {"fill": "x", "size": _PIECE}, "more_body": True}
    connection.send(stage.encode_request(script=[["start", 200, [["content-type", "text/plain"]]], ["try", ["send-many", piece, _PIECES]]]))
    connection.read_head()
    taken, until = -1, time.monotonic() + 10
    while time.monotonic() < until:
        now = _taken(stage)
        if 0 < now == taken:
            break
        taken = now
    after = stage.running.facts()["rss"]
    grew = (after - before) >> 20 if before is not None and after is not None else 0
    stage.check(taken > 0, "send() took nothing")
    stage.check(taken < _PIECES, f"send() took all of {_PIECES * _PIECE // 1_000_000} MB while nobody read (the process grew by {grew} MiB)")
    stage.check(grew < _GREW_MOST, f"the process grew by {grew} MiB while nobody read")
    stage.tell(f"send() was held back after {taken * _PIECE / 1e6:.1f} MB")
    connection.reset()


def _taken(stage: Stage) -> int:
    """How many pieces of the body were taken, after a while."""
    sends = [event for record in stage.records(timeout=_STILL) for event in record.sends]
    return sum(event.count for event in sends if event.message.get("type") == "http.response.body")


def _most_connections() -> int:
    """How many idle connections there can be: on one machine both sides are bounded alike, and have other descriptors."""
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415 - not there on every system

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft != resource.RLIM_INFINITY:
            return min(_IDLE, soft // 3)
    return _IDLE


@LOAD.scenario(
    "h1.conn.many",
    "RFC 9112 §9.5",
    level=Level.HARD,
    says="Hundreds of connections on which nothing happens take nothing from those on which something does.",
    expects="requests on new connections served, and one on the oldest of the idle ones",
    bad=Distortion(accepts=10),
)
def many(stage: Stage) -> None:
    count = _most_connections()
    stage.trace.note("!", f"{count} connections")
    connections: list[RawConnection] = []
    try:
        while len(connections) < count:
            connections.append(stage.connect())
            if len(connections) % _BATCH == 0:
                # So many may wait to be accepted, and the answer shows that none does any more.
                response = stage.request()
                stage.check(response.status == 200, f"beside {len(connections)} idle connections a request was answered with {response.status}")
    except OSError as error:
        stage.require(error.errno not in {errno.EMFILE, errno.ENFILE}, "this process may not open so many connections")
        stage.check(kept=False, seen=f"beside {len(connections)} idle connections nobody else is served: {type(error).__name__}")
    response = connections[0].exchange("/")
    stage.check(response.status == 200, f"on the oldest of {count} idle connections a request was answered with {response.status}")
    stage.tell(f"{count} idle connections")
    for connection in connections:
        connection.close()
