"""What an application does wrong, and what becomes of its request, its connection, the server and the log (security brief §3c, ASGI Error Handling).

Each fault is followed by another request on the same connection, or by its end, and by a request on a new one: the server lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import ClientDisconnected, LocalProtocolError
from pytest_asgiserve.raw import RawConnection, Truncated
from tests.support.apps import App, Message, Receive, Scope, Send, read_body, respond, routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sockets.conftest import Serve
    from tests.support.records import Records

START: Message = {"type": "http.response.start", "status": 200}
BODY = "http.response.body"


def start(status: Any = 200, *headers: tuple[Any, Any]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: Any = b"", *, more: bool = False) -> Message:
    return {"type": BODY, "body": data, "more_body": more}


def sending(*messages: Message) -> App:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def raising(error: BaseException | type[BaseException], *messages: Message) -> App:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise error

    return app


class NastyError(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


async def recurse(scope: Scope, receive: Receive, send: Send) -> None:
    await recurse(scope, receive, send)


async def cancel_itself(_scope: Scope, _receive: Receive, _send: Send) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(10)


async def cancelled_after_start(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(START)
    raise asyncio.CancelledError


async def cancelled_future(_scope: Scope, _receive: Receive, _send: Send) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def failing_group(_scope: Scope, _receive: Receive, _send: Send) -> None:
    async def fail() -> None:
        raise ValueError("in a task")

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


async def generated_fields(_scope: Scope, _receive: Receive, send: Send) -> None:
    def fields() -> Iterator[tuple[bytes, bytes]]:
        yield b"a", b"b"
        raise ValueError("no more fields")

    await send({"type": "http.response.start", "status": 200, "headers": fields()})


def not_a_coroutine(_scope: Scope, _receive: Receive, _send: Send) -> None:
    return None


LENGTH_4 = (b"content-length", b"4")

# What the client gets of the fault: a status and a closed connection.
REFUSED: dict[str, Any] = {
    # RFC 9110 §5.5, RFC 9112 §11.1
    "value-with-crlf": sending(start(200, (b"x", b"a\r\nset-cookie: b"))),
    "value-with-lf": sending(start(200, (b"x", b"a\nb"))),
    "value-with-cr": sending(start(200, (b"x", b"a\rb"))),
    "value-with-nul": sending(start(200, (b"x", b"a\0b"))),
    "value-with-esc": sending(start(200, (b"x", b"\x1b[31m"))),
    "value-with-del": sending(start(200, (b"x", b"\x7f"))),
    # RFC 9110 §5.1
    "name-with-crlf": sending(start(200, (b"x\r\ny", b"a"))),
    "name-with-colon": sending(start(200, (b"x:", b"a"))),
    "name-with-space": sending(start(200, (b"x y", b"a"))),
    "name-empty": sending(start(200, (b"", b"a"))),
    "pseudo-header": sending(start(200, (b":status", b"200"))),
    # RFC 9110 §8.6
    "length-negative": sending(start(200, (b"content-length", b"-1")), body(b"ok")),
    "length-no-number": sending(start(200, (b"content-length", b"abc")), body(b"ok")),
    "length-plus": sending(start(200, (b"content-length", b"+2")), body(b"ok")),
    "length-list": sending(start(200, (b"content-length", b"2, 2")), body(b"ok")),
    "length-twice": sending(start(200, (b"content-length", b"2"), (b"Content-Length", b"2")), body(b"ok")),
    "length-huge": sending(start(200, (b"content-length", b"9" * 30)), body(b"ok")),
    # RFC 9110 §15
    "status-99": sending(start(99), body(b"ok")),
    "status-100": sending(start(100), body(b"ok")),
    "status-101": sending(start(101), body(b"ok")),
    "status-600": sending(start(600), body(b"ok")),
    "status-1000": sending(start(1000), body(b"ok")),
    "status-0": sending(start(0), body(b"ok")),
    "status-true": sending(start(True), body(b"ok")),
    "status-text": sending(start("200"), body(b"ok")),
    "status-float": sending(start(200.0), body(b"ok")),
    "status-none": sending(start(None), body(b"ok")),
    # ASGI Error Handling
    "raise-before-start": raising(ValueError("boom")),
    "raise-after-start": raising(ValueError("boom"), START),
    "raise-group": failing_group,
    "return-without-response": sending(),
    "return-after-start": sending(START),
    "body-before-start": sending(body(b"ok")),
    "two-starts": sending(START, START),
    "unknown-type": sending({"type": "http.nonsense"}),
    "message-is-no-dict": sending("hello"),  # type: ignore[arg-type]  # that is the fault
    "body-is-text": sending(START, body("text")),
    "fields-raise": generated_fields,
    "not-a-coroutine": not_a_coroutine,
    # Nothing of these is the server's, although asyncio treats them apart.
    "system-exit": raising(SystemExit(3)),
    "system-exit-after-start": raising(SystemExit(3), START),
    "keyboard-interrupt": raising(KeyboardInterrupt),
    "generator-exit": raising(GeneratorExit),
    "cancelled-error": raising(asyncio.CancelledError),
    "cancelled-after-start": cancelled_after_start,
    "cancelled-future": cancelled_future,
    "cancel-itself": cancel_itself,
    "stop-iteration": raising(StopIteration),
    "stop-async-iteration": raising(StopAsyncIteration),
    "recursion-error": recurse,
    "memory-error": raising(MemoryError),
    "exception-without-text": raising(NastyError),
    "base-exception": raising(BaseException("base")),
}


def faults(records: Records) -> list[logging.LogRecord]:
    return records.select("asgiserve.asgi", logging.ERROR)


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_before_the_response_is_a_500_a_closed_connection_and_one_log_record(serve: Serve, records: Records, fault: str) -> None:
    running = serve(routes(fault=REFUSED[fault]))
    with RawConnection(running.address) as client:
        client.pipeline("/fault?secret=1", "/next")
        response = client.read_response()
        assert (response.status, response.body) == (500, b"Internal Server Error\n")
        assert response.one(b"connection") == b"close"
        client.expect_eof()
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"ok"
    running.stop()
    logged = faults(records)
    assert [record.getMessage().startswith("GET /fault?secret=1: ") for record in logged] == [True]
    assert (logged[0].exc_info is None) == fault.startswith("return-")
    assert [(record.method, record.target, record.status, record.outcome) for record in records.access] == [
        ("GET", "/fault?secret=1", 500, "error"),
        ("GET", "/", 200, ""),
    ]


# What comes of the body before the connection is cut, so that the client can tell; by the way in which the body is framed.
CUT: dict[str, tuple[Any, bytes]] = {
    "raise-mid-chunked": (raising(ValueError("boom"), START, body(b"part", more=True)), b"part"),
    "raise-mid-length": (raising(ValueError("boom"), start(200, (b"content-length", b"9")), body(b"part", more=True)), b"part"),
    "return-mid-chunked": (sending(START, body(b"part", more=True)), b"part"),
    "return-mid-length": (sending(start(200, (b"content-length", b"9")), body(b"part", more=True)), b"part"),
    "system-exit-mid-body": (raising(SystemExit, START, body(b"part", more=True)), b"part"),
    "keyboard-interrupt-mid-body": (raising(KeyboardInterrupt, START, body(b"part", more=True)), b"part"),
    "generator-exit-mid-body": (raising(GeneratorExit, START, body(b"part", more=True)), b"part"),
    "cancelled-mid-body": (raising(asyncio.CancelledError, START, body(b"part", more=True)), b"part"),
    # RFC 9112 §8
    "shorter-than-length-in-one": (sending(start(200, (b"content-length", b"9")), body(b"part")), b"part"),
    "shorter-than-length-in-two": (sending(start(200, (b"content-length", b"9")), body(b"pa", more=True), body(b"rt")), b"part"),
    "shorter-than-length-empty": (sending(start(200, (b"content-length", b"9")), body()), b""),
    "text-mid-body": (sending(START, body(b"part", more=True), body("text")), b"part"),
    "start-mid-body": (sending(START, body(b"part", more=True), START), b"part"),
    "trailers-never-come": (sending({**START, "trailers": True}, body(b"part")), b"part"),
}


@pytest.mark.parametrize("fault", CUT)
def test_a_fault_inside_of_the_response_cuts_the_connection(serve: Serve, records: Records, fault: str) -> None:
    app, part = CUT[fault]
    running = serve(routes(fault=app))
    with RawConnection(running.address) as client:
        client.pipeline("/fault", "/next", fields="TE: trailers\r\n")
        with pytest.raises(Truncated) as caught:
            client.read_response()
        assert caught.value.received == part
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"ok"
    running.stop()
    assert [record.getMessage().startswith("GET /fault: ") for record in faults(records)] == [True]
    aborted, fine = records.access
    assert (aborted.status, aborted.sent_bytes) == (200, len(part))
    assert aborted.outcome == ("short" if fault.startswith("shorter") else "error")
    assert fine.outcome == ""


def test_a_response_that_the_end_of_the_connection_ends_is_cut_by_a_reset(serve: Serve) -> None:
    # RFC 9112 §8: an orderly end would make half of a response to an HTTP/1.0 client a whole one.
    delivered = threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"part", more=True))
        await asyncio.get_running_loop().run_in_executor(None, delivered.wait, 10)
        raise ValueError("boom")

    with RawConnection(serve(app).address) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.read_head().framing == "close"
        assert client.read_exactly(4) == b"part"
        delivered.set()
        with pytest.raises(ConnectionResetError):
            client.read_until_eof()


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(sending(start(200, LENGTH_4), body(b"01234567")), id="in-one"),
        pytest.param(sending(start(200, LENGTH_4), body(b"01", more=True), body(b"234567", more=True), body()), id="in-two"),
        pytest.param(sending(start(200, LENGTH_4), body(b"0123", more=True), body(b"4")), id="behind-it"),
    ],
)
def test_a_body_longer_than_its_content_length_is_truncated_and_the_connection_closed(serve: Serve, records: Records, app: App) -> None:
    # RFC 9112 §6.3: whatever is behind it would be read as the next response.
    running = serve(routes(fault=app))
    with RawConnection(running.address) as client:
        client.pipeline("/fault", "/next")
        assert client.read_response().body == b"0123"
        client.expect_eof()
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"ok"
    running.stop()
    assert len(faults(records)) == 1
    assert [(record.status, record.sent_bytes) for record in records.access] == [(200, 4), (200, 2)]


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        pytest.param((start(200, (b"transfer-encoding", b"gzip")), body(b"ok")), 200, id="te-gzip"),
        pytest.param((start(200, (b"transfer-encoding", b"chunked"), (b"content-length", b"2")), body(b"ok")), 200, id="te-and-length"),
        pytest.param((start(204, (b"content-length", b"2")), body(b"ok")), 204, id="body-on-204"),
        pytest.param((start(304), body(b"ok")), 304, id="body-on-304"),
        pytest.param((start(205), body(b"ok", more=True), body(b"ok")), 205, id="body-on-205"),
        pytest.param((START, body(b"ok"), body(b"after"), {**START}, body(b"after")), 200, id="messages-after-the-end"),
        pytest.param(({**START, "unknown": 1}, {**body(b"ok"), "unknown": None}), 200, id="unknown-keys"),
        pytest.param(({"type": "http.response.start", "status": 200, "headers": ([b"a", b"b"] for _ in "x")}, body(b"ok")), 200, id="odd-iterables"),
        pytest.param((START, body(bytearray(b"ok"))), 200, id="bytearray"),
        pytest.param((START, body(memoryview(b"ok"))), 200, id="memoryview"),
        pytest.param((start(200, (b"connection", b"keep-alive"), (b"keep-alive", b"timeout=99")), body(b"ok")), 200, id="keep-alive-fields"),
        pytest.param((START, {"type": BODY, "body": b"ok", "more_body": None}), 200, id="more-body-none"),
    ],
)
def test_what_can_be_put_right_is_and_the_connection_goes_on(serve: Serve, records: Records, messages: tuple[Message, ...], status: int) -> None:
    with RawConnection(serve(routes(fault=sending(*messages))).address) as client:
        client.pipeline("/fault", "/next")
        response = client.read_response()
        assert response.status == status
        assert response.body == (b"ok" if status == 200 else b"")
        assert client.read_response().body == b"ok"
    assert not records.errors


BAD_MESSAGES: dict[str, tuple[tuple[Message, ...], Any]] = {
    "no-type": ((), {}),
    "type-is-no-text": ((), {"type": 1}),
    "type-is-unhashable": ((), {"type": []}),
    "unknown-type": ((), {"type": "http.nonsense"}),
    "not-advertised": ((), {"type": "http.response.debug", "info": {}}),
    "websocket-message": ((), {"type": "websocket.send", "text": "x"}),
    "no-dict": ((), [("type", "http.response.start")]),
    "none": ((), None),
    "no-status": ((), {"type": "http.response.start"}),
    "status-99": ((), start(99)),
    "status-text": ((), start("200")),
    "name-is-text": ((), start(200, ("x", b"y"))),
    "value-is-text": ((), start(200, (b"x", "y"))),
    "value-is-a-number": ((), start(200, (b"x", 1))),
    "fields-are-a-dict": ((), {**START, "headers": {b"x": b"y"}}),
    "fields-are-none": ((), {**START, "headers": None}),
    "field-of-three": ((), {**START, "headers": [(b"a", b"b", b"c")]}),
    "crlf": ((), start(200, (b"x", b"a\r\nb: c"))),
    "two-lengths": ((), start(200, (b"content-length", b"1"), (b"content-length", b"1"))),
    "body-before-start": ((), body(b"x")),
    "trailers-before-start": ((), {"type": "http.response.trailers", "headers": []}),
    "pathsend-before-start": ((), {"type": "http.response.pathsend", "path": "/"}),
    "hint-is-text": ((), {"type": "http.response.early_hint", "links": ["</a>"]}),
    "hint-with-crlf": ((), {"type": "http.response.early_hint", "links": [b"</a>\r\nx: y"]}),
    "hint-links-none": ((), {"type": "http.response.early_hint", "links": None}),
}
BAD_MESSAGES_AFTER_START: dict[str, tuple[tuple[Message, ...], Any]] = {
    "second-start": ((), START),
    "body-is-text": ((), body("x")),
    "body-is-none": ((), body(None)),
    "body-is-a-list": ((), body([1])),
    "unknown-type": ((), {"type": "http.nonsense"}),
    "trailers-too-early": ((), {"type": "http.response.trailers", "headers": []}),
    "path-is-relative": ((), {"type": "http.response.pathsend", "path": "x"}),
    "path-is-none": ((), {"type": "http.response.pathsend"}),
    "file-is-none": ((), {"type": "http.response.zerocopysend"}),
}


@pytest.mark.parametrize("bad", BAD_MESSAGES)
def test_a_bad_message_raises_out_of_send_and_a_correct_one_works_after_it(serve: Serve, records: Records, bad: str) -> None:
    # S6-S9: nothing of the refused message is kept or sent.
    _check_refused(serve, BAD_MESSAGES[bad][1], before=[], after=[start(201, (b"x", b"right")), body(b"right")])
    assert not records.errors


@pytest.mark.parametrize("bad", BAD_MESSAGES_AFTER_START)
def test_a_bad_message_after_the_start_raises_and_the_response_can_go_on(serve: Serve, records: Records, bad: str) -> None:
    _check_refused(serve, BAD_MESSAGES_AFTER_START[bad][1], before=[start(201, (b"x", b"right"))], after=[body(b"right")])
    assert not records.errors


def _check_refused(serve: Serve, message: Any, before: list[Message], after: list[Message]) -> None:
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for good in before:
            await send(good)
        try:
            await send(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            caught.append(error)
        for good in after:
            await send(good)

    with RawConnection(serve(app).address) as client:
        response = client.exchange()
        assert (response.status, response.informational) == (201, [])
        assert (response.one(b"x"), response.body) == (b"right", b"right")
        assert client.exchange().status == 201
    assert [type(error) for error in caught] == [LocalProtocolError] * 2


@pytest.mark.parametrize("how", ["as-it-is", "raised-from", "in-a-group", "in-a-nested-group", "while-handling"])
def test_send_after_the_client_went_raises_and_letting_it_pass_logs_nothing(serve: Serve, records: Records, how: str) -> None:
    # S33, S13 (ASGI 2.4)
    caught: list[BaseException] = []
    gone, ended = threading.Event(), threading.Event()

    async def send_on(receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"x", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        await send(body(b"y", more=True))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/":
            return await respond(send)
        try:
            await send_on(receive, send)
        except OSError as error:
            caught.append(error)
            with contextlib.suppress(Exception):
                # It raises each time.
                await send(body())
                caught.clear()
            if how == "as-it-is":
                raise
            if how == "raised-from":
                raise RuntimeError("wrapped") from error
            if how == "while-handling":
                raise RuntimeError("wrapped")  # noqa: B904 - that is the case
            group = ExceptionGroup("tasks", [error])
            raise group if how == "in-a-group" else ExceptionGroup("outer", [group])  # noqa: B904 - that is the case
        finally:
            ended.set()
        return None

    running = serve(app)
    client = RawConnection(running.address)
    client.get()
    assert client.read_head().status == 200
    assert client.read_chunk() == b"x"
    client.reset()
    assert ended.wait(10)
    assert gone.is_set()
    assert [type(error) for error in caught] == [ClientDisconnected]
    assert isinstance(caught[0], OSError)
    with RawConnection(running.address) as other:
        assert other.exchange("/other").body == b"ok"
    running.stop()
    assert not records.errors
    assert [(record.target, record.outcome) for record in records.access] == [("/", "aborted"), ("/other", "")]


def test_send_that_waits_for_the_client_raises_when_it_goes(serve: Serve, records: Records) -> None:
    waiting, ended = threading.Event(), threading.Event()
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                sending = asyncio.ensure_future(send(body(bytes(1 << 20), more=True)))
                done, _ = await asyncio.wait([sending], timeout=0.2)
                if not done:
                    waiting.set()
                await sending
        except OSError as error:
            caught.append(error)
            raise
        finally:
            ended.set()

    running = serve(app)
    client = RawConnection(running.address)
    client.get()
    assert waiting.wait(10)
    client.reset()
    assert ended.wait(10)
    assert [type(error) for error in caught] == [ClientDisconnected]
    running.stop()
    assert not records.errors


@pytest.mark.parametrize("error", [ConnectionResetError("the database is gone"), ClientDisconnected("another one's"), ValueError("x")], ids=repr)
def test_an_error_of_the_applications_own_is_logged_as_long_as_the_client_is_there(serve: Serve, records: Records, error: Exception) -> None:
    running = serve(raising(error))
    with RawConnection(running.address) as client:
        assert client.exchange().status == 500
    running.stop()
    (logged,) = faults(records)
    assert logged.exc_info is not None
    assert logged.exc_info[1] is error


def test_an_error_after_the_response_is_logged_and_the_connection_goes_on(serve: Serve, records: Records) -> None:
    running = serve(routes(fault=raising(ValueError("too late"), START, body(b"whole"))))
    with RawConnection(running.address) as client:
        assert client.exchange("/fault").body == b"whole"
        assert client.exchange("/").body == b"ok"
    running.stop()
    assert [record.getMessage() for record in faults(records)] == ["GET /fault: exception in the application"]
    assert [record.outcome for record in records.access] == ["", ""]


def test_a_fault_of_one_request_leaves_the_others_alone(serve: Serve) -> None:
    release = threading.Event()
    entered = threading.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 10)
        await respond(send, b"slow but right")

    running = serve(routes(slow=slow, exit=raising(SystemExit), interrupt=raising(KeyboardInterrupt), cancel=cancel_itself, recurse=recurse))
    with RawConnection(running.address) as other:
        other.get("/slow")
        assert entered.wait(10)
        for path in ("/exit", "/interrupt", "/cancel", "/recurse"):
            with RawConnection(running.address) as client:
                assert client.exchange(path).status == 500
        release.set()
        assert other.read_response().body == b"slow but right"


def test_a_fault_with_an_unread_body_is_answered_and_the_connection_closed(serve: Serve) -> None:
    with RawConnection(serve(raising(ValueError("boom"))).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        client.send(b"x" * 50000)
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (500, b"close")
        client.expect_closed()


def test_a_fault_answers_head_without_a_body(serve: Serve) -> None:
    with RawConnection(serve(raising(ValueError("boom"))).address) as client:
        response = client.exchange(method="HEAD")
        assert (response.status, response.one(b"content-length")) == (500, b"22")
        client.expect_eof()


def test_a_fault_after_100_continue_is_still_a_500(serve: Serve) -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await read_body(receive)
        raise ValueError("boom")

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert client.read_head().status == 100
        client.send(b"x")
        assert client.read_response().status == 500
        client.expect_eof()


def test_send_and_receive_of_a_call_that_is_over_do_nothing(serve: Serve, records: Records) -> None:
    # A task that outlives its request must not reach into the next one on the connection.
    kept: list[tuple[Receive, Send]] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for old_receive, old_send in kept:
            assert (await old_receive())["type"] == "http.disconnect"
            await old_send(START)
            await old_send(body(b"old"))
        kept.append((receive, send))
        await respond(send, b"new")

    with RawConnection(serve(app).address) as client:
        assert [client.exchange().body for _ in range(3)] == [b"new"] * 3
    assert not records.errors


def test_receive_can_be_cancelled_and_called_again(serve: Serve) -> None:
    given_up = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await receive()
        given_up.set()
        await respond(send, await read_body(receive))

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.read_head().status == 100
        assert given_up.wait(10)
        client.send(b"hi")
        assert client.read_response().body == b"hi"


def test_two_tasks_that_receive_at_once_are_both_woken(serve: Serve) -> None:
    seen: list[str] = []
    ended = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = [asyncio.ensure_future(receive()) for _ in range(2)]
        await asyncio.sleep(0)
        await respond(send)
        seen.extend([(await each)["type"] for each in waiting])
        ended.set()

    with RawConnection(serve(app).address) as client:
        assert client.exchange().body == b"ok"
        assert ended.wait(10)
    assert seen == ["http.disconnect"] * 2


def test_bodies_that_two_tasks_send_at_once_are_not_interleaved(serve: Serve) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)

        async def many(byte: bytes) -> None:
            for _ in range(50):
                await send(body(byte * 5000, more=True))

        await asyncio.gather(many(b"a"), many(b"b"))
        await send(body())

    with RawConnection(serve(app).address) as client:
        response = client.exchange()
    assert sorted(response.chunks) == [b"a" * 5000] * 50 + [b"b" * 5000] * 50


def test_a_body_that_is_changed_after_it_was_sent_arrives_as_it_was(serve: Serve) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        buffer = bytearray(b"before")
        await send(body(buffer, more=True))
        buffer[:] = b"behind"
        await send(body(buffer))

    with RawConnection(serve(app).address) as client:
        assert client.exchange().body == b"beforebehind"


def test_what_an_application_does_to_its_scope_is_gone_with_it(serve: Serve) -> None:
    # S17
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        found = "marked" in scope or scope["headers"] != [(b"host", b"test.example")] or len(scope["extensions"]) != 4
        scope["marked"] = True
        scope["headers"].append((b"x", b"y"))
        scope["extensions"]["mine"] = {}
        await respond(send, b"leaked" if found else b"clean")

    with RawConnection(serve(app).address, host="test.example") as client:
        assert [client.exchange().body for _ in range(2)] == [b"clean"] * 2


def test_the_loops_exception_handler_is_never_called(serve: Serve) -> None:
    # "Task exception was never retrieved" would be a second traceback for one fault.
    heard: list[dict[str, Any]] = []
    running = serve(routes(exit=raising(SystemExit), base=raising(BaseException), cancel=cancel_itself, value=raising(ValueError)))

    def hear(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        heard.append(context)

    set_handler: Callable[[], None] = lambda: running.loop.set_exception_handler(hear)  # noqa: E731 - one call on the loop
    running.run(set_handler)
    for path in ("/exit", "/base", "/cancel", "/value"):
        with RawConnection(running.address) as client:
            assert client.exchange(path).status == 500
    running.stop()
    assert heard == []
