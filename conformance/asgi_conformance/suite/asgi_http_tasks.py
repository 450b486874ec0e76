"""The ASGI contract: applications with several tasks, slow clients, and what outlives a response (ASGI asgi and www)."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.suite.dialogue import plain
from pytest_asgiserve.raw import FramingError

if TYPE_CHECKING:
    from asgi_conformance.stage import Stage

__all__ = ["HTTP_TASKS"]

HTTP_TASKS: Final = Topic("asgi/http-tasks", "ASGI: tasks, slow clients, and what comes after a response")

_OK: Final = 200
_EMPTY: Final = [["content-length", "0"]]
_QUIET: Final = 0.25
"""Seconds in which nothing may come."""
_PART: Final = 1 << 16
_PARTS: Final = 512
"""32 MiB: more than what the system keeps for one connection on both of its sides, and not so much that a server which keeps all of it would die."""
_SLOW: Final = 1 << 14
"""SO_RCVBUF of a client that does not read."""
_VISITS: Final = 200
_MOST_LEFT: Final = 20
"""Tasks more than before that are no leak: a tenth of what each visit would leave."""
_SETTLED: Final = 5.0
_STARTED: Final = 10.0
"""Seconds in which a server starts, or says that it does not."""


@HTTP_TASKS.scenario(
    "asgi.http.concurrent-send",
    "ASGI www, Response Body",
    level=Level.INFO,
    says="Concatenated onto any previous body values sent in this connection scope.",
    expects="the messages of two tasks each in one piece, and well framed",
    bad=Distortion(to_client=lambda data: data.replace(b"aaaa", b"abab")),
)
def concurrent_send(stage: Stage) -> None:
    size, count = 1000, 20
    branches = [[["repeat", count, ["body", letter * size, True], ["sleep", 0]]] for letter in "ab"]
    response = stage.request(script=[["start"], ["gather", *branches], ["body", ""]])
    pieces = [response.body[start : start + size] for start in range(0, len(response.body), size)]
    stage.check(sorted(pieces) == [b"a" * size] * count + [b"b" * size] * count, f"the messages are mixed up in {len(response.body)} bytes")
    stage.tell("in one piece each")


def _exclusive(app: Any) -> Any:
    """A server whose send() waits while somebody receives."""

    async def excludes(scope: Any, receive: Any, send: Any) -> None:
        lock = asyncio.Lock()

        async def receives() -> Any:
            async with lock:
                return await receive()

        async def sends(message: Any) -> None:
            async with lock:
                await send(message)

        await app(scope, receives, sends)

    return excludes


@HTTP_TASKS.scenario(
    "asgi.http.receive-concurrent-send",
    "ASGI www, HTTP Disconnect",
    "ASGI, Applications",
    level=Level.MUST,
    says="However, if you have highly concurrent code, you may find calls to send() erroring slightly before you receive this event.",
    expects="a response that is sent while another task waits in receive(), which hears when the client is gone",
    bad=Distortion(app=_exclusive),
)
def receive_concurrent_send(stage: Stage) -> None:
    count = 10
    sends = [["sleep", 0.02], ["repeat", count, ["body", "x", True], ["sleep", 0.01]]]
    connection = stage.connect(timeout=3)
    connection.send(stage.encode_request(script=[["receive-all"], ["start"], ["gather", [["wait-disconnect", 4]], sends]]))
    head = connection.read_head()
    stage.check(head.status == _OK, f"{head.status}")
    body = b""
    while len(body) < count:
        body += connection.read_chunk()
    connection.reset()
    record = stage.record()
    stage.check(record.how == "returned", f"the call {record.how or 'did not end'}: {record.error.kind if record.error else ''}")
    last = plain(record.received[-1])
    stage.check(last["type"] == "http.disconnect", f"{last!r}")


def _boundless(app: Any) -> Any:
    """A server that takes whatever it is sent."""

    async def takes(scope: Any, receive: Any, send: Any) -> None:
        bodies = 0

        async def sends(message: Any) -> None:
            nonlocal bodies
            bodies += message["type"] == "http.response.body"
            # What is too much is thrown away, so that no memory is needed for it.
            if bodies <= 1:
                await send(message)

        await app(scope, receive, sends)

    return takes


@HTTP_TASKS.scenario(
    "asgi.http.backpressure",
    "ASGI www, Response Body",
    level=Level.SHOULD,
    says="Protocol servers must flush any data passed to them into the send buffer before returning from a send call.",
    expects="send() that does not return while the client reads nothing, before 32 MiB are taken",
    bad=Distortion(app=_boundless),
)
def backpressure(stage: Stage) -> None:
    connection = stage.connect(receive_buffer=_SLOW)
    message = {"type": "http.response.body", "body": {"fill": "x", "size": _PART}, "more_body": True}
    connection.send(stage.encode_request(script=[["start"], ["send-many", message, _PARTS]]))
    # Nothing more is read.
    head = connection.read_head()
    stage.check(head.status == _OK, f"{head.status}")
    taken, now = -1, 0
    deadline = time.monotonic() + _SETTLED
    while time.monotonic() < deadline:
        # It stands still when it took nothing more for a while.
        sends = stage.record(timeout=_QUIET).sends
        now = sends[-1].count if len(sends) > 1 else 0
        if now == _PARTS or now == taken > 0:
            break
        taken = now
    stage.check(now < _PARTS, f"{_PARTS * _PART >> 20} MiB taken of which the client had read nothing")
    stage.check(now == taken, f"it goes on taking, {now} parts of {_PART >> 10} KiB after {_SETTLED:g} s")
    stage.tell(f"{now * _PART >> 10} KiB taken")
    connection.reset()
    record = stage.record()
    stage.check(record.how is not None, "send() waits on when the client is gone")


def _curt(app: Any) -> Any:
    """A server that ends its application with the response."""

    async def cancels(scope: Any, receive: Any, send: Any) -> None:
        done = asyncio.Event()

        async def sends(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                done.set()

        task = asyncio.ensure_future(app(scope, receive, sends))
        ended = asyncio.ensure_future(done.wait())
        await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        task.cancel()
        await asyncio.wait([task])

    return cancels


@HTTP_TASKS.scenario(
    "asgi.http.background-after-response",
    "ASGI, Overview",
    "ASGI www, Response Body",
    level=Level.MUST,
    says='Each call of the application callable maps to a single incoming "socket" or connection, and is expected to last the lifetime of that '
    "connection plus a little longer if there is cleanup to do.",
    expects="the response whole at once, the application left to go on behind it, and the next request of the connection served",
    bad=Distortion(app=_curt),
)
def background_after_response(stage: Stage) -> None:
    flag = secrets.token_hex(8)
    connection = stage.connect()
    script = [["receive-all"], ["respond", 200, [["content-length", "2"]], "ok"], ["await", flag, 5], ["sleep", 0.01], ["note", "done"]]
    connection.send(stage.encode_request(script=script))
    first = connection.read_response()
    stage.check(first.status == _OK and first.body == b"ok", f"{first.status} {first.body!r}")
    second = None
    if not first.closes:
        connection.send(stage.encode_request(script=[["respond", 202, _EMPTY]]))
        connection.sock.settimeout(2 * _QUIET)
        try:
            second = connection.read_response()
        except TimeoutError:
            # Nothing forbids that; its client waits.
            stage.warn("the next request of the connection waits until the application has returned")
    stage.running.set_flag(flag)
    connection.sock.settimeout(_SETTLED)
    if not first.closes:
        second = second or connection.read_response()
        stage.check(second.status == 202, f"{second.status} for the next request of the connection")
    records = stage.records(1 if first.closes else 2)
    stage.check(records[0].how == "returned", f"the call {records[0].how or 'did not end'}: {records[0].error.kind if records[0].error else ''}")
    stage.check(records[0].notes("done"), "the application did not come to its end")


def _one_context(app: Any) -> Any:
    """A server in which what one call sets is there for the next."""
    from asgi_conformance.reference.recording import VARIABLE  # noqa: PLC0415 - the variable that the reference application sets

    values: list[Any] = []

    async def restores(scope: Any, receive: Any, send: Any) -> None:
        if values:
            VARIABLE.set(values[-1])
        await app(scope, receive, send)
        values.append(VARIABLE.get())

    return restores


@HTTP_TASKS.scenario(
    "asgi.http.contextvars",
    "ASGI, Connection Scope",
    level=Level.SHOULD,
    says="Every connection by a user to an ASGI application results in a call of the application callable to handle that connection entirely; what "
    "one call sets in its context is not there for the next.",
    expects="a context variable that one request set unset in the next one of the connection, and of another",
    bad=Distortion(app=_one_context),
)
def contextvars(stage: Stage) -> None:
    connection = stage.connect()
    connection.send(stage.encode_request(script=[["set-var", "leaked"], ["get-var"], ["answer"]]))
    connection.read_response()
    first = stage.record()
    stage.check(first.notes("variable") == ["leaked"], f"the variable became {first.notes('variable')!r} in the request that set it")
    connection.send(stage.encode_request())
    connection.read_response()
    stage.request()
    later = [record.variable for record in stage.records(3)[1:]]
    stage.check(later == [None, None], f"the variable is {later!r} in the next request of the connection, and in that of another")


def _leaky(app: Any) -> Any:
    """A server that leaves a task behind with every call."""
    left = set()

    async def leaks(scope: Any, receive: Any, send: Any) -> None:
        left.add(asyncio.ensure_future(asyncio.sleep(20)))
        await app(scope, receive, send)

    return leaks


@HTTP_TASKS.scenario(
    "asgi.http.task-leak",
    "ASGI www, HTTP Disconnect",
    "ASGI, Connection Scope",
    level=Level.HARD,
    says="A client that goes away leaves nothing behind: neither a task nor a call of the application that has ended.",
    expects="no more tasks than before 200 clients came and went",
    bad=Distortion(app=_leaky),
)
def task_leak(stage: Stage) -> None:
    stage.request()
    before = stage.running.facts()
    in_body = stage.encode_request("Content-Length: 10", method="POST") + b"hello"
    waiting = stage.encode_request(script=[["receive-all"], ["try", ["wait-disconnect", _SETTLED]]])
    streaming = stage.encode_request(script=[["receive-all"], ["start"], ["body", "x", True], ["try", ["wait-disconnect", _SETTLED]]])
    try:
        for number in range(_VISITS):
            connection = stage.connect()
            kind = number % 4
            connection.send((in_body, b"GET / HTTP/1.1\r\n", waiting, streaming)[kind])
            if kind == 3:
                connection.read_head()
            # Both ways to go. Where a response is awaited, the end of the connection could be that of half of it.
            (connection.reset if kind >= 2 or number % 8 < 4 else connection.close)()
    except ConnectionError as error:
        stage.check(False, f"{type(error).__name__} for a client that came when others had gone")
    deadline = time.monotonic() + _SETTLED
    while (more := _tasks(stage) - before["tasks"]) > _MOST_LEFT and time.monotonic() < deadline:
        time.sleep(0.05)
    stage.check(more <= _MOST_LEFT, f"{more} tasks more {_SETTLED:g} s after {_VISITS} clients were gone")
    stage.tell(f"{max(more, 0)} tasks more")


def _tasks(stage: Stage) -> int:
    return int(stage.running.facts()["tasks"])


@HTTP_TASKS.scenario(
    "asgi.http.legacy-2",
    "ASGI, Legacy Applications",
    level=Level.MAY,
    says="Servers are encouraged to support both types as of ASGI 3.0 and gradually drop support by default over time.",
    expects="an application of two callables served, or an error when the server starts",
    bad=Distortion(lifespan="hang-startup"),
    own=True,
)
def legacy_2(stage: Stage) -> None:
    own = stage.own(app="reference:legacy_app", wait=False)
    deadline = time.monotonic() + _STARTED
    while time.monotonic() < deadline:
        if own.running.exit_status is not None:
            stage.check(own.running.output.strip(), "it ended without a word")
            stage.tell(f"refused at the start, with status {own.running.exit_status}")
            return
        try:
            response = own.request()
        except (OSError, FramingError) as error:
            if isinstance(error, TimeoutError):
                break
            # It does not listen yet, or ends just now.
            time.sleep(0.05)
            continue
        stage.check(response.status == _OK, f"{response.status} for every request")
        stage.tell("served")
        return
    stage.check(False, "it runs, and does not serve")
