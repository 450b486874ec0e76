"""The ASGI contract: what an application receives of a request, and what it hears when the client goes (ASGI www)."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.reference import decode, pattern
from asgi_conformance.suite.dialogue import plain, receiving, spec_version, swallowing

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection

__all__ = ["HTTP_RECEIVE"]

HTTP_RECEIVE: Final = Topic("asgi/http-receive", "ASGI: the events of a request")

_OK: Final = 200
_EMPTY: Final = [["content-length", "0"]]
_HEARD: Final = 2.0
"""Seconds in which an application must hear that its client is gone; a loaded machine included."""
_QUIET: Final = 0.25
"""Seconds in which nothing may come."""
_LARGE: Final = 2 << 20
_RAISES_SINCE: Final = (2, 4)
"""The version of www.rst in which send() raises for a client that is gone."""
_MOST_EVENTS: Final = 2
"""Events without a byte and without news that are let pass while a body is on its way."""


def _requests(record: Record) -> list[dict[str, Any]]:
    """The http.request events."""
    return [message for message in map(plain, record.received) if message["type"] == "http.request"]


def _size(message: dict[str, Any]) -> int:
    body = message.get("body", b"")
    return len(body) if isinstance(body, bytes) else int(body.size)


def _never_last(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "more_body": False} if event["type"] == "http.request" else event


@HTTP_RECEIVE.scenario(
    "asgi.http.request-events",
    "ASGI www, Request",
    level=Level.MUST,
    says="If True, the consuming application should wait until it gets a chunk with this set to False. If False, the request is complete and should "
    "be processed.",
    expects="http.request events whose bodies together are the body, more_body false in the last and in no other",
    bad=Distortion(app=receiving(_never_last)),
)
def request_events(stage: Stage) -> None:
    chunk = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    large = pattern(_LARGE)
    for name, request, body in (
        ("no body", stage.encode_request(), b""),
        ("an empty body", stage.encode_request(method="POST", body=b""), b""),
        ("a short body", stage.encode_request(method="POST", body=b"hello"), b"hello"),
        ("two chunks", stage.encode_request("Transfer-Encoding: chunked", method="POST") + chunk, b"hello world"),
        ("2 MiB", stage.encode_request(method="POST", body=large), large),
    ):
        stage.mark()
        connection = stage.connect()
        connection.send(request)
        response = connection.read_response()
        stage.check(response.status == _OK, f"{response.status} for {name}")
        events = _requests(stage.record())
        stage.check(events, f"no http.request for {name}")
        stage.check(sum(map(_size, events)) == len(body), f"{sum(map(_size, events))} bytes of {len(body)} for {name}")
        # What it put together of them itself; where they are long the record has only their sizes.
        stage.check(decode(json.loads(response.body)["body"]) == body, f"other bytes than were sent for {name}")
        flags = [event.get("more_body", False) for event in events]
        stage.check(all(type(flag) is bool for flag in flags), f"more_body {flags!r} for {name}")
        stage.check(not flags[-1] and all(flags[:-1]), f"more_body {flags[-3:]!r} at the end for {name}")


def _early(data: bytes) -> bytes:
    """Ends every head at once."""
    return data if data.endswith(b"\r\n\r\n") else data + b"\r\n\r\n"


@HTTP_RECEIVE.scenario(
    "asgi.http.no-trigger-before-headers",
    "ASGI www, Request",
    level=Level.SHOULD,
    says="Most of the request information is in the connection scope; the body message serves as a way to stream large incoming HTTP bodies in "
    "chunks, and as a trigger to actually run request code (as you should not trigger on a connection opening alone).",
    expects="no call of the application for a connection alone, nor for a part of a head; one for the whole head",
    bad=Distortion(to_server=_early),
)
def no_trigger_before_headers(stage: Stage) -> None:
    connection = stage.connect()
    stage.check(not stage.records(timeout=_QUIET), "called when nothing was sent")
    connection.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Rest: to")
    stage.check(not stage.records(timeout=_QUIET), "called when a part of the head was sent")
    connection.send(b" come\r\n\r\n")
    response = connection.read_response()
    stage.check(response.status == _OK, f"{response.status}")
    stage.record()


def _polled(app: Any) -> Any:
    """A server whose receive() returns with nothing when nothing is there."""

    async def polls(scope: Any, receive: Any, send: Any) -> None:
        pending: asyncio.Task[Any] | None = None

        async def impatient() -> Any:
            nonlocal pending
            pending = pending or asyncio.ensure_future(receive())
            done, _ = await asyncio.wait([pending], timeout=0.01)
            if not done:
                return {"type": "http.request", "body": b"", "more_body": True}
            event, pending = pending.result(), None
            return event

        await app(scope, impatient, send)

    return polls


@HTTP_RECEIVE.scenario(
    "asgi.http.receive-waits",
    "ASGI, Applications",
    "ASGI www, Request",
    level=Level.MUST,
    says="receive: an awaitable callable that will yield a new event dictionary when one is available.",
    expects="receive() waiting for the rest of the body, without events that say nothing",
    bad=Distortion(app=_polled),
)
def receive_waits(stage: Stage) -> None:
    for name, lines, parts in (
        ("Content-Length", ("Content-Length: 10",), (b"hello", b"world")),
        ("chunked", ("Transfer-Encoding: chunked",), (b"5\r\nhello\r\n5\r\nwo", b"rld\r\n0\r\n\r\n")),
    ):
        stage.mark()
        connection = stage.connect()
        connection.send(stage.encode_request(*lines, method="POST") + parts[0])
        connection.expect_silence(_QUIET)
        connection.send(parts[1])
        response = connection.read_response("POST")
        stage.check(response.status == _OK, f"{response.status}")
        events = _requests(stage.record())
        body = b"".join(event.get("body", b"") for event in events)
        stage.check(body == b"helloworld", f"{name}: {body!r}")
        # The last may be empty: it says that it is the last.
        idle = sum(1 for event in events[:-1] if not event.get("body"))
        stage.check(idle <= _MOST_EVENTS, f"{name}: {idle} empty events while the body was on its way")


def _hasty(app: Any) -> Any:
    """A server that says that the client is gone as soon as its request is read."""

    async def says(scope: Any, receive: Any, send: Any) -> None:
        ended = False

        async def other() -> Any:
            nonlocal ended
            if ended:
                return {"type": "http.disconnect"}
            event = await receive()
            ended = not event.get("more_body")
            return event

        await app(scope, other, send)

    return says


@HTTP_RECEIVE.scenario(
    "asgi.http.receive-after-body",
    "ASGI www, HTTP Disconnect",
    level=Level.MUST,
    says="Sent to the application if receive is called after a response has been sent or after the HTTP connection has been closed.",
    expects="receive() waiting as long as neither is so",
    bad=Distortion(app=_hasty),
)
def receive_after_body(stage: Stage) -> None:
    for name, method, body in (("a GET", "GET", None), ("a POST", "POST", b"hello")):
        stage.mark()
        script = [["receive-all"], ["receive-within", _QUIET], ["respond", 200, _EMPTY]]
        response = stage.request(script=script, method=method, body=body)
        stage.check(response.status == _OK, f"{response.status}")
        record = stage.record()
        waited = record.notes("receive-within")
        stage.check(waited == [False], f"{plain(record.received[-1])!r} while the client of {name} waits for its response")


def _mute(app: Any) -> Any:
    """A server whose receive() waits for ever when there is nothing to be had."""

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        async def other() -> Any:
            event = await receive()
            return event if event["type"] != "http.disconnect" else await asyncio.sleep(4, event)

        await app(scope, other, send)

    return waits


def _check_disconnects(stage: Stage, record: Record, when: str) -> None:
    """The script asked twice with ``receive-within``, and heard http.disconnect each time."""
    heard = record.notes("receive-within")
    first = plain(record.received[-1]) if record.received else {}
    if record.how == "returned" and heard == [True, False] and first.get("type") == "http.disconnect":
        # The text does not say that it is sent more than once.
        stage.warn(f"http.disconnect once only {when}: whoever asks again waits")
        return
    stage.check(record.how == "returned", f"the call {record.how or 'did not end'} {when}: {record.error.kind if record.error else ''}")
    stage.check(heard == [True, True], f"receive() waits {when}")
    last = [plain(message).get("type") for message in record.received[-2:]]
    stage.check(last == ["http.disconnect"] * 2, f"{last} {when}")


_TWICE: Final = [["receive-within", _HEARD], ["receive-within", _HEARD / 4]]


@HTTP_RECEIVE.scenario(
    "asgi.http.disconnect-after-response",
    "ASGI www, HTTP Disconnect",
    # There is no "must" in it; but a receive() that waits for the end of the connection holds the application for as long as the client likes.
    level=Level.HARD,
    says="Sent to the application if receive is called after a response has been sent or after the HTTP connection has been closed.",
    expects="http.disconnect from every receive() behind the response, while the connection stays open",
    bad=Distortion(app=_mute),
)
def disconnect_after_response(stage: Stage) -> None:
    script = [["receive-all"], ["respond", 200, _EMPTY], *_TWICE]
    connection = stage.connect()
    connection.send(stage.encode_request(script=script))
    response = connection.read_response()
    stage.check(response.status == _OK, f"{response.status}")
    _check_disconnects(stage, stage.record(timeout=3 * _HEARD), "after the response")


def _begin(stage: Stage, *rest: Any) -> RawConnection:
    """A response that has begun; then the script does ``rest``."""
    connection = stage.connect()
    connection.send(stage.encode_request(script=[["receive-all"], ["start"], ["body", "begun", True], *rest]))
    response = connection.read_head()
    stage.check(response.status == _OK, f"{response.status}")
    stage.check(connection.read_chunk() == b"begun", "another body than the application sent")
    return connection


@HTTP_RECEIVE.scenario(
    "asgi.http.disconnect-on-close",
    "ASGI www, HTTP Disconnect",
    level=Level.MUST,
    says="Sent to the application if receive is called after a response has been sent or after the HTTP connection has been closed. This is mainly "
    "useful for long-polling, where you may want to trigger cleanup code if the connection closes early.",
    expects="http.disconnect from every receive() when the client has reset the connection, and when it has closed it and the response goes on",
    bad=Distortion(app=_mute),
)
def disconnect_on_close(stage: Stage) -> None:
    connection = _begin(stage, *_TWICE)
    connection.reset()
    _check_disconnects(stage, stage.record(timeout=3 * _HEARD), "after a reset")
    stage.mark()
    # The end of the client's direction can be half of a close; what is written after a whole one is answered with a reset.
    writing = ["try", ["repeat", 60, ["body", "more", True], ["sleep", 0.02]]]
    connection = _begin(stage, ["gather", _TWICE, [writing]])
    connection.close()
    record = stage.record(timeout=3 * _HEARD)
    _check_disconnects(stage, record, "after the end of the connection")
    stage.mark()
    connection = _begin(stage, ["receive-within", _QUIET])
    connection.close()
    if stage.record().notes("receive-within") == [False]:
        stage.tell("the end of the connection alone, which could be one of half of it, is heard when something is written")


def _ends_it(event: dict[str, Any]) -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False} if event["type"] == "http.disconnect" else event


@HTTP_RECEIVE.scenario(
    "asgi.http.disconnect-mid-body",
    "ASGI www, HTTP Disconnect",
    "ASGI www, Request",
    level=Level.MUST,
    says="Sent to the application if receive is called after a response has been sent or after the HTTP connection has been closed.",
    expects="http.disconnect behind the part of the body that came, no exception, and no http.request that says that the body is complete",
    bad=Distortion(app=receiving(_ends_it)),
)
def disconnect_mid_body(stage: Stage) -> None:
    ends: tuple[tuple[str, Callable[[RawConnection], None]], ...] = (
        ("reset", lambda connection: connection.reset()),
        ("closed", lambda connection: connection.close()),
    )
    for framing, head, part in (
        ("Content-Length", ("Content-Length: 100",), b"hello"),
        ("chunked", ("Transfer-Encoding: chunked",), b"5\r\nhello\r\n"),
        ("a chunk", ("Transfer-Encoding: chunked",), b"64\r\nhello"),
    ):
        for name, end in ends:
            stage.mark()
            connection = stage.connect()
            flag = secrets.token_hex(8)
            script = [["receive"], ["set", flag], ["receive-all"], ["note", "heard"]]
            connection.send(stage.encode_request(*head, script=script, method="POST") + part)
            # A reset throws away what was not read yet: the application has the first part, where the server does not wait for all of it.
            stage.running.wait_flag(flag, 2 * _QUIET)
            end(connection)
            records = stage.records(0, timeout=_HEARD)
            if not records:
                stage.tell("the application is called when the whole body is there")
                return
            record = records[0]
            when = f"when the connection was {name} within a body ({framing})"
            events = [plain(message) for message in record.received]
            whole = [event for event in events if event["type"] == "http.request" and not event.get("more_body", False)]
            stage.check(not whole, f"the body was told to be complete {when}")
            errors = [event.error.kind for event in record.receives if event.error is not None and not event.error.is_cancelled]
            stage.check(not errors, f"receive() raised {errors[:1]} {when}")
            stage.check(record.how != "cancelled", f"the call was cancelled {when}")
            stage.check(events and events[-1]["type"] == "http.disconnect", f"no http.disconnect {when}")


_SENDING: Final = ["repeat", 10, ["body", "more", True], ["sleep", 0.05]]


@HTTP_RECEIVE.scenario(
    "asgi.http.send-on-closed",
    "ASGI www, HTTP Disconnected Client",
    "ASGI www, Spec Versions",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="If send() is called on a closed connection the server should raise a server-specific subclass of OSError. This is not guaranteed, however, "
    "especially on older ASGI server implementations (it was introduced in spec version 2.4).",
    expects="a subclass of OSError out of send() for a server that says spec_version 2.4 or later; else that or nothing",
    bad=Distortion(app=swallowing),
)
def send_on_closed(stage: Stage) -> None:
    connection = _begin(stage, ["try", ["wait-disconnect", _HEARD]], ["try", _SENDING])
    connection.reset()
    record = stage.record(timeout=3 * _HEARD)
    promised = spec_version(record) >= _RAISES_SINCE
    errors = record.send_errors
    version = ".".join(map(str, spec_version(record)))
    if not errors:
        stage.check(not promised, f"spec_version {version}, and send() raised nothing")
        stage.tell(f"send() raises nothing (spec_version {version})")
        return
    stage.check(errors[0].is_oserror or not promised, f"spec_version {version}, and send() raised {errors[0].kind}, which is no OSError")
    stage.tell(f"{errors[0].kind} (spec_version {version})")
    if errors[0].kind == "OSError":
        # "a server-specific subclass"
        stage.tell("OSError itself")


def _complaining(app: Any) -> Any:
    """A server that writes a traceback for its own OSError."""

    async def complains(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except OSError:
            traceback.print_exc()
            raise

    return complains


@HTTP_RECEIVE.scenario(
    "asgi.http.oserror-not-logged",
    "ASGI www, HTTP Disconnected Client",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="Servers must be prepared to catch this exception if they raised it and should not log it as an error in their server logs.",
    expects="no traceback and no error in what the server writes, when the application lets the OSError of send() go up",
    bad=Distortion(app=_complaining),
    own=True,
)
def oserror_not_logged(stage: Stage) -> None:
    own = stage.own()
    mark = own.running.mark_output()
    connection = _begin(own, ["try", ["wait-disconnect", _HEARD]], _SENDING)
    connection.reset()
    record = own.record(timeout=3 * _HEARD)
    stage.require(record.send_errors, "send() raises nothing that could be logged")
    stage.require(record.send_errors[0].is_oserror, f"send() raises {record.send_errors[0].kind}, which is no OSError")
    # Whatever it has to say about that is said before it is asked again, or soon after.
    own.request()
    time.sleep(_QUIET)
    written = own.running.output_since(mark)
    for word in ("Traceback", "ERROR", "[error]", "Exception in"):
        line = next((line for line in written.splitlines() if word.lower() in line.lower()), "")
        stage.check(word.lower() not in written.lower(), f"written: {line.strip()[:200]}")
