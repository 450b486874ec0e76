"""The ASGI contract: how a server ends (ASGI lifespan), and its process with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.stage import Broken
from asgi_conformance.suite.processes import (
    END_SECONDS,
    answering,
    connect_early,
    end,
    heard,
    hears_in_time,
    in_lifespan,
    quit_server,
    said,
    send_signal,
)
from pytest_asgiserve.raw import FramingError

if TYPE_CHECKING:
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection, RawResponse

__all__ = ["PROCESS"]

PROCESS: Final = Topic("asgi/process", "ASGI: the lifespan's shutdown, and the end of the process")

_RESPONSE_SECONDS: Final = 0.5
"""Of a response in flight."""
_SHUTDOWN_SECONDS: Final = 0.5
"""Of an application that takes its time; a server that does not wait is gone long before."""
_REST: Final = 0.2
"""In which a signal arrives and is acted upon."""
_GRACEFUL: Final = 1.0
_FOREVER: Final = 60.0


# The order of things.


@PROCESS.scenario(
    "asgi.life.shutdown-after-connections",
    "ASGI lifespan, Shutdown",
    level=Level.MUST,
    says="Sent to the application when the server has stopped accepting connections and closed all active connections.",
    expects="on SIGTERM the response in flight finished and its connection closed, then lifespan.shutdown, and no request served after that",
    needs=("lifespan",),
    own=True,
    bad=Distortion(settings={"graceful_timeout": 0}),
)
def shutdown_after_connections(stage: Stage) -> None:
    server = stage.own(lifespan=f"slow-shutdown:{_SHUTDOWN_SECONDS}")
    connection = server.connect()
    halves = [["start", 200, [["content-length", "2"]]], ["body", "a", True], ["sleep", _RESPONSE_SECONDS], ["note", "last"], ["body", "b"]]
    connection.send(server.encode_request(script=halves))
    response = connection.read_head()
    first = connection.read_exactly(1)
    send_signal(server)
    try:
        body = first + connection.read_exactly(1)
    except (FramingError, ConnectionResetError):
        raise Broken("the response in flight was cut off") from None
    stage.check((response.status, body) == (200, b"ab"), f"the response in flight: {response.status}, {body!r}")
    connection.expect_closed()
    closed = time.time()
    shutdown = hears_in_time(server, "lifespan.shutdown")
    late = _is_served(server)
    end(server)
    journal = server.running.journal()
    last = next(entry for entry in journal if entry["event"] == "note")
    # What one process writes stands there in order.
    stage.check(journal.index(last) < journal.index(shutdown), "lifespan.shutdown before the response was complete")
    stage.check(closed < shutdown["time"] + _SHUTDOWN_SECONDS, "lifespan.shutdown while the connection was open")
    stage.check(not late, "a connection that came after lifespan.shutdown was served")


def _is_served(server: Stage) -> bool:
    """Whether a new connection gets an answer; it may wait for one that never comes, or be refused."""
    try:
        connection = server.connect(timeout=_SHUTDOWN_SECONDS / 2)
        connection.send(server.encode_request())
        connection.read_head()
    except (OSError, FramingError):
        return False
    return True


@PROCESS.scenario(
    "asgi.life.shutdown-waited",
    "ASGI lifespan, Shutdown Complete",
    level=Level.MUST,
    says="Sent by the application when it has completed its cleanup. A server must wait for this message before terminating.",
    expects=f"lifespan.shutdown on SIGTERM, and an end once it is complete, which takes {_SHUTDOWN_SECONDS:g} s",
    needs=("lifespan",),
    own=True,
    bad=Distortion(kills=0.1),
)
def shutdown_waited(stage: Stage) -> None:
    server = stage.own(lifespan=f"slow-shutdown:{_SHUTDOWN_SECONDS}")
    send_signal(server)
    status = end(server)
    stage.check(heard(server, "lifespan.shutdown"), f"it ended with status {status} without lifespan.shutdown")
    stage.check(said(server, "lifespan.shutdown.complete"), f"it ended with status {status} before the shutdown was complete")


@PROCESS.scenario(
    "asgi.life.shutdown-failed",
    "ASGI lifespan, Shutdown Failed",
    level=Level.SHOULD,
    says="Sent by the application when it has failed to complete its cleanup. If a server sees this it should log/print the message provided and "
    "then terminate.",
    expects="the message in its output, and an end",
    needs=("lifespan",),
    own=True,
    bad=Distortion(app=answering("lifespan.shutdown.failed", "lifespan.shutdown.complete")),
)
def shutdown_failed(stage: Stage) -> None:
    server = stage.own(lifespan="fail-shutdown")
    send_signal(server)
    status = end(server)
    stage.check(said(server, "lifespan.shutdown.failed"), "the application was not asked to shut down")
    stage.check("the reference application fails at shutdown" in server.running.output, "the message is not in its output")
    stage.tell(f"the exit status {status}")


async def patient(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """A server that waits for an answer of an application that raised."""
    try:
        await app(scope, receive, send)
    except RuntimeError:
        await asyncio.sleep(END_SECONDS + 1)


@PROCESS.scenario(
    "asgi.life.shutdown-raise",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="Servers are free to surface errors that bubble up out of application instances they are running however they wish - log to console, send "
    "to syslog, or other options - but they must terminate the application instance and its associated connection if this happens.",
    expects="an end, where the application raises on lifespan.shutdown",
    needs=("lifespan",),
    own=True,
    bad=Distortion(app=in_lifespan(patient)),
)
def shutdown_raise(stage: Stage) -> None:
    server = stage.own(lifespan="raise-shutdown")
    send_signal(server)
    status = end(server)
    stage.check(heard(server, "lifespan.shutdown"), "the application was not asked to shut down")
    shown = "the reference application raises on lifespan-shutdown" in server.running.output
    stage.tell(f"the exit status {status}, {'the error in its output' if shown else 'nothing of the error in its output'}")


# Who does not end.


def _begin_endless(server: Stage) -> RawConnection:
    """A connection with a response that never ends by itself, begun."""
    connection = server.connect()
    connection.send(server.encode_request(script=[["start"], ["body", "a", True], ["sleep", _FOREVER]]))
    connection.read_head()
    return connection


def _fate(server: Stage) -> str:
    """What became of the application."""
    ends = [entry["how"] for entry in server.running.journal() if entry["event"] == "end"]
    shutdown = "complete" if said(server, "lifespan.shutdown.complete") else "begun" if heard(server, "lifespan.shutdown") else "not sent"
    return f"the application {ends[0] if ends else 'died with the process'}, lifespan.shutdown {shutdown}"


@PROCESS.scenario(
    "asgi.life.graceful-timeout",
    "ASGI lifespan, Shutdown",
    level=Level.HARD,
    says="A server that was told how long requests may run on after SIGTERM ends then, whatever they do.",
    expects=f"an end within {END_SECONDS:g} s of the limit of {_GRACEFUL:g} s, where a response never ends",
    own=True,
    bad=Distortion(settings={"graceful_timeout": _FOREVER}),
)
def graceful_timeout(stage: Stage) -> None:
    server = stage.own(settings={"graceful_timeout": _GRACEFUL})
    connection = _begin_endless(server)
    send_signal(server)
    end(server, _GRACEFUL + END_SECONDS)
    connection.expect_closed()
    stage.tell(_fate(server))


@PROCESS.scenario(
    "asgi.life.second-signal",
    "ASGI lifespan, Shutdown",
    # A custom: no text says what a second signal does.
    level=Level.SHOULD,
    says="Whoever asks a server twice to end, by SIGINT, need not kill it because of a response that never ends.",
    expects=f"an end within {END_SECONDS:g} s of the second SIGINT, where a response never ends",
    own=True,
    bad=Distortion(loses=2),
)
def second_signal(stage: Stage) -> None:
    # With the limit that it has by default: a short one is an end as well.
    server = stage.own()
    connection = _begin_endless(server)
    send_signal(server, signal.SIGINT)
    # Sent at once they would be one.
    with contextlib.suppress(TimeoutError):
        stage.tell(f"it ended with status {server.running.wait(_REST)} at the first")
    send_signal(server, signal.SIGINT)
    end(server, after="the second SIGINT")
    connection.expect_closed()
    stage.tell(_fate(server))


# What is left of it.


@PROCESS.scenario(
    "asgi.life.drain-keepalive",
    "RFC 9112 §9.6",
    level=Level.SHOULD,
    says='A sender SHOULD send a Connection header field (Section 7.6.1 of [HTTP]) containing the "close" connection option when it intends to close '
    "a connection.",
    expects=f"after SIGTERM Connection: close in the response in flight, and idle connections closed within {END_SECONDS:g} s; a request that comes "
    "on one before that is answered so too, or the connection is closed",
    own=True,
    bad=Distortion(loses=1),
)
def drain_keepalive(stage: Stage) -> None:
    server = stage.own()
    idle, late, flying = server.connect(), server.connect(), server.connect()
    for connection in (idle, late):
        connection.send(server.encode_request())
        stage.check(not connection.read_response().closes, "it keeps no connection")
    flying.send(server.encode_request(script=[["set", "flying"], ["sleep", _RESPONSE_SECONDS], ["respond", 200, [["content-length", "2"]], "ok"]]))
    stage.check(server.running.wait_flag("flying"), "the request was not begun")
    send_signal(server)
    signalled = time.monotonic()
    # In which it can have closed it, and else intends to.
    time.sleep(_REST)
    answered = _answer_late(server, late)
    try:
        response = flying.read_response()
    except (FramingError, ConnectionResetError):
        raise Broken("the response in flight was cut off") from None
    stage.check(response.status == 200 and response.body == b"ok", f"the response in flight: {response.status}, {response.body!r}")
    for connection, name in ((flying, "with the response in flight"), (late, "with a late request"), (idle, "that is idle")):
        try:
            connection.expect_closed()
        except TimeoutError:
            raise Broken(f"the connection {name} stays open") from None
    took = time.monotonic() - signalled
    stage.check(took < END_SECONDS, f"connections were open for {took:.1f} s after SIGTERM")
    # Closed they were, so that it was known when these were sent.
    stage.check(response.closes, "the response in flight does not say Connection: close")
    stage.check(answered is None or answered.closes, "a request after SIGTERM was answered without Connection: close")
    end(server)
    stage.tell(f"a request after SIGTERM was {'not answered' if answered is None else f'answered with {answered.status}'}")


def _answer_late(server: Stage, connection: RawConnection) -> RawResponse | None:
    try:
        connection.send(server.encode_request())
        return connection.read_response()
    except (FramingError, ConnectionError):
        return None


def holding(app: Any) -> Any:
    """A server that leaves a process behind, which has what it listens on."""

    async def plays(app: Any, scope: Any, receive: Any, send: Any) -> None:
        if os.fork() == 0:
            time.sleep(END_SECONDS)  # noqa: ASYNC251 - in the other process, which does nothing else
            os._exit(0)
        await app(scope, receive, send)

    return in_lifespan(plays)(app)


@PROCESS.scenario(
    "asgi.life.port-released",
    "ASGI lifespan, Shutdown",
    level=Level.HARD,
    says="A server that has ended can be started again at once, on the same port, though connections that it closed itself are remembered there.",
    expects="requests served by a second server on the port of the first, which has just ended",
    own=True,
    bad=Distortion(app=holding),
)
def port_released(stage: Stage) -> None:
    stage.require("port" in stage.running.target.bind, "it cannot be told a port")
    first = stage.own(bind="port")
    # Where it closes first it is its end that TCP remembers (TIME-WAIT).
    response = first.request("Connection: close")
    stage.check(response.status == 200, f"{response.status}")
    send_signal(first)
    end(first)
    second = stage.own(bind="port", port=first.address[1], wait=False)
    answer = connect_early(second)
    answer.send(second.encode_request())
    stage.check(answer.read_response().status == 200, "the second server does not serve")
    quit_server(second)
