"""An application that fails costs its own request only: 500, or a response that cannot be taken for whole; one log record; and the server lives.

Each failure is followed by a request on the same connection and by one on a new connection.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_asgiserve.raw import Truncated
from tests.faults.failures import FAILURES, NO_APPLICATIONS
from tests.faults.stand import EACH_ONCE, NEXT, START, Gate, Stand, body, check_end, faults, formatted, sending, stand_on, start
from tests.support.apps import ok, read_body, respond

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_asgiserve.raw import RawConnection
    from tests.support.apps import Message, Receive, Scope, Send
    from tests.support.records import Records

FAULT = b"GET /fault?secret=1 HTTP/1.1\r\nHost: x\r\n\r\n"
TAKES_TRAILERS = b"GET /fault?secret=1 HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\n\r\n"


class Stage(NamedTuple):
    """How far an application comes: what it sends, and what the client gets of it."""

    messages: tuple[Message, ...]
    fate: str
    status: int
    content: bytes


ERROR = b"Internal Server Error\n"
PART = body(b"part", more=True)
STAGES = {
    "before-the-start": Stage((), "refused", 500, ERROR),
    "after-the-start": Stage((start(201, (b"content-length", b"9"), (b"x", b"y")),), "refused", 500, ERROR),
    "within-chunks": Stage((START, PART), "cut", 200, b"part"),
    "within-a-length": Stage((start(200, (b"content-length", b"9")), PART), "cut", 200, b"part"),
    "before-the-trailers": Stage((start(200, trailers=True), body(b"part")), "cut", 200, b"part"),
    "after-the-response": Stage((START, body(b"whole")), "whole", 200, b"whole"),
}


def check_one_fault(records: Records, error: type[BaseException]) -> None:
    (logged,) = faults(records)
    assert records.errors == [logged]
    assert logged.getMessage() == "GET /fault?secret=1: exception in the application"
    assert logged.exc_info is not None
    assert logged.exc_info[0] is error
    assert error.__name__ in formatted(logged)


def check_refused(client: RawConnection) -> None:
    response = client.read_response()
    assert (response.status, response.body) == (500, ERROR)
    assert response.one(b"connection") == b"close"
    assert response.one(b"x") is None
    check_end(client)


@pytest.fixture(scope="module", params=EACH_ONCE)
def shared_stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """The server of this module. What an application raises never meets a parser."""
    parser, loop = request.param
    with stand_on(parser, loop) as running:
        yield running


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_ends_its_own_response_and_is_logged_once(stand: Stand, records: Records, stage: str, failure: str) -> None:
    messages, fate, status, content = STAGES[stage]
    if stage == "after-the-start" and FAILURES[failure].waits:
        # The head is not held while the application waits.
        fate, status, content = "cut", 201, b""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        await FAILURES[failure].fail()

    stand.app = app
    with stand.connect() as client:
        client.send(TAKES_TRAILERS + NEXT)
        if fate == "refused":
            check_refused(client)
        elif fate == "cut":
            with pytest.raises(Truncated) as cut:
                client.read_response()
            assert cut.value.received == content
            check_end(client)
        else:
            assert client.read_response().body == content
            assert client.read_response().body == b"next"
            check_end(client)
    stand.check_health()
    stand.deserted()
    check_one_fault(records, FAILURES[failure].type)
    assert stand.next_calls == (fate == "whole")
    logged = records.access[0]
    assert (logged.method, logged.target, logged.status, logged.sent_bytes) == ("GET", "/fault?secret=1", status, len(content))
    assert logged.outcome == ("" if fate == "whole" else "error")
    assert len(records.access) == 2 + stand.next_calls


def test_the_event_loops_exception_handler_is_never_told_of_a_failure(stand: Stand) -> None:
    # "Task exception was never retrieved" would be a second traceback for one fault.
    for failure in FAILURES.values():
        stand.app = lambda _scope, _receive, _send, fail=failure.fail: fail()
        with stand.connect() as client:
            client.send(FAULT)
            check_refused(client)
    stand.deserted()
    gc.collect()
    assert stand.running.run(lambda: stand.unhandled) == []


@pytest.mark.parametrize("kind", NO_APPLICATIONS)
def test_what_is_no_application_is_a_500(stand: Stand, records: Records, kind: str) -> None:
    stand.app, error = NO_APPLICATIONS[kind]
    with stand.connect() as client:
        client.send(FAULT + NEXT)
        check_refused(client)
    stand.check_health()
    stand.deserted()
    check_one_fault(records, error)


def test_an_application_need_not_be_a_coroutine_function(stand: Stand, records: Records) -> None:
    class Later:
        def __init__(self, send: Send) -> None:
            self.send = send

        def __await__(self) -> Any:
            return respond(self.send, b"later").__await__()

    stand.app = lambda _scope, _receive, send: Later(send)
    with stand.connect() as client:
        client.send(FAULT + NEXT)
        assert [client.read_response().body for _ in range(2)] == [b"later", b"next"]
    assert records.errors == []


@pytest.mark.parametrize("version", ["1.0", "1.0 keep-alive"])
def test_a_response_that_the_end_of_the_connection_ends_is_cut_by_a_reset(stand: Stand, records: Records, version: str) -> None:
    # RFC 9112 §8: an orderly end would make half of a response to an HTTP/1.0 client a whole one.
    gate = Gate()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(PART)
        await gate.wait()
        raise ValueError("boom")

    stand.app = app
    number, _, option = version.partition(" ")
    with stand.connect() as client:
        client.get("/fault", *([f"Connection: {option}"] if option else []), version=number)
        assert client.read_head().framing == "close"
        assert client.read_exactly(4) == b"part"
        gate.open()
        with pytest.raises(ConnectionResetError):
            client.read_until_eof()
    stand.check_health()
    stand.deserted()
    assert len(faults(records)) == 1


def test_an_application_that_cancels_itself_and_answers_has_answered(stand: Stand, records: Records) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await respond(send, b"whole")

    stand.app = app
    with stand.connect() as client:
        client.send(FAULT + NEXT)
        assert [client.read_response().body for _ in range(2)] == [b"whole", b"next"]
    stand.check_health()
    assert records.errors == []


@pytest.mark.parametrize("error", [ValueError("behind"), asyncio.CancelledError(), RecursionError()], ids=repr)
def test_a_task_that_outlives_its_request_and_raises_costs_nobody_anything(stand: Stand, records: Records, error: BaseException) -> None:
    gate = Gate()
    tasks: list[asyncio.Task[None]] = []

    async def behind() -> None:
        await gate.wait()
        raise error

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        tasks.append(asyncio.ensure_future(behind()))
        await respond(send, b"whole")

    stand.app = app
    with stand.connect() as client:
        client.send(FAULT)
        assert client.read_response().body == b"whole"
        gate.open()
        stand.running.run(asyncio.wait, tasks)
        client.send(NEXT)
        assert client.read_response().body == b"next"
    stand.check_health()
    tasks.clear()
    stand.running.run(gc.collect)
    # It is the event loop that tells of it, once; the server knows nothing of the task. A cancelled one is not worth a word.
    told = stand.running.run(lambda: [context["exception"] for context in stand.unhandled])
    assert told == ([] if isinstance(error, asyncio.CancelledError) else [error])
    assert records.errors == []


def test_a_fault_of_one_request_leaves_the_others_alone(stand: Stand) -> None:
    entered, gate = threading.Event(), Gate()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        entered.set()
        await gate.wait()
        await respond(send, b"slow but right")

    stand.app = slow
    with stand.connect() as other:
        other.send(FAULT)
        assert entered.wait(10)
        for failure in FAILURES.values():
            stand.app = lambda _scope, _receive, _send, fail=failure.fail: fail()
            with stand.connect() as client:
                client.send(FAULT)
                check_refused(client)
        gate.open()
        assert other.read_response().body == b"slow but right"


def test_a_fault_with_an_unread_body_is_answered_and_the_connection_closed(stand: Stand) -> None:
    stand.app = sending(then=ValueError("boom"))
    with stand.connect() as client:
        client.send(b"POST /fault HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        client.send(b"x" * 50000)
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (500, b"close")
        client.expect_closed()
    stand.check_health()


def test_a_fault_answers_head_without_a_body(stand: Stand) -> None:
    stand.app = sending(then=ValueError("boom"))
    with stand.connect() as client:
        client.get("/fault", method="HEAD")
        response = client.read_response("HEAD")
        assert (response.status, response.one(b"content-length")) == (500, b"22")
        check_end(client)


def test_a_fault_after_100_continue_is_still_a_500(stand: Stand) -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await read_body(receive)
        raise ValueError("boom")

    stand.app = app
    with stand.connect() as client:
        client.send(b"POST /fault HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert client.read_head().status == 100
        client.send(b"x")
        assert client.read_response().status == 500
        check_end(client)


# ---- faults that take the server's means -------------------------------------------------------------------------------------------


@pytest.fixture
def own_stand(shared_stand: Stand, records: Records) -> Any:  # noqa: ARG001 - logged by the server, looked at by the test
    """Makes a server for one test alone, on the same parser and event loop."""
    http, app = shared_stand.running.server.config.http, shared_stand.running.server.config.app
    return lambda **options: stand_on(http.http, app.loop, **options)


def test_an_application_that_closes_the_loops_executor_loses_files_and_nothing_else(own_stand: Any, records: Records, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    pathsend = sending(START, {"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        await respond(send, b"closed")

    with own_stand() as stand:
        for chosen, status in ((pathsend, 200), (app, 200), (pathsend, 500), (ok, 200)):
            stand.app = chosen
            with stand.connect() as client:
                client.send(FAULT)
                assert client.read_response().status == status
            stand.check_health()
        stand.deserted()
        check_one_fault(records, RuntimeError)


@pytest.mark.parametrize("deaf", [False, True], ids=["listens", "deaf-to-its-cancellation"])
@pytest.mark.parametrize("stage", ["before-the-start", "within-chunks"])
def test_an_application_that_hangs_in_its_finally_holds_its_own_request_and_no_stop(
    own_stand: Any, records: Records, monkeypatch: pytest.MonkeyPatch, stage: str, deaf: bool
) -> None:
    # What the server gives a cancelled call, which is seconds.
    monkeypatch.setattr("asgiserve.server._CANCEL_GRACE", 0.2)
    entered, over = threading.Event(), threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            for message in STAGES[stage].messages:
                await send(message)
            raise ValueError("boom")
        finally:
            entered.set()
            while not over.is_set():
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    if not deaf:
                        raise
                    # Once for the end of the grace; the next time is that of the loop, which waits for every task.
                    deaf_once()

    deafened: list[None] = []

    def deaf_once() -> None:
        deafened.append(None)
        if len(deafened) > 1:
            over.set()

    with own_stand(timeout_graceful_shutdown=0.2) as stand:
        stand.app = app
        with stand.connect() as client:
            client.send(FAULT + NEXT)
            assert entered.wait(10)
            # Nothing but its own connection waits for it.
            stand.check_health()
            stand.running.stop()
            if stage == "before-the-start":
                response = client.read_response()
                assert (response.status, response.closes) == (503, True)
            else:
                with pytest.raises(Truncated) as cut:
                    client.read_response()
                assert cut.value.received == b"part"
            client.expect_closed()
    assert stand.next_calls == 0
    assert [record.getMessage() for record in records.errors] == ["cancelling 1 request that did not finish in time"]
