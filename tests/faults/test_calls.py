"""Odd but lawful use of what an application gets: ``receive`` and ``send`` in several tasks, cancelled or too late, and a scope that it changes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from tests.faults.stand import START, Stand, body
from tests.support.apps import read_body, respond

if TYPE_CHECKING:
    from tests.support.apps import Receive, Scope, Send
    from tests.support.records import Records


def test_send_and_receive_of_a_call_that_is_over_do_nothing(stand: Stand, records: Records) -> None:
    # A task that outlives its request must not reach into the next one on the connection.
    kept: list[tuple[Receive, Send]] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for old_receive, old_send in kept:
            assert (await old_receive())["type"] == "http.disconnect"
            await old_send(START)
            await old_send(body(b"old"))
        kept.append((receive, send))
        await respond(send, b"new")

    stand.app = app
    with stand.connect() as client:
        assert [client.exchange("/fault").body for _ in range(3)] == [b"new"] * 3
    assert not records.errors


def test_receive_can_be_cancelled_and_called_again(stand: Stand) -> None:
    given_up = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await receive()
        given_up.set()
        await respond(send, await read_body(receive))

    stand.app = app
    with stand.connect() as client:
        client.send(b"POST /fault HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.read_head().status == 100
        assert given_up.wait(10)
        client.send(b"hi")
        assert client.read_response().body == b"hi"


def test_two_tasks_that_receive_at_once_are_both_woken(stand: Stand) -> None:
    seen: list[str] = []
    ended = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = [asyncio.ensure_future(receive()) for _ in range(2)]
        await asyncio.sleep(0)
        await respond(send)
        seen.extend([(await each)["type"] for each in waiting])
        ended.set()

    stand.app = app
    with stand.connect() as client:
        assert client.exchange("/fault").body == b"ok"
        assert ended.wait(10)
    assert seen == ["http.disconnect"] * 2


def test_bodies_that_two_tasks_send_at_once_are_not_interleaved(stand: Stand) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)

        async def many(byte: bytes) -> None:
            for _ in range(50):
                await send(body(byte * 5000, more=True))

        await asyncio.gather(many(b"a"), many(b"b"))
        await send(body())

    stand.app = app
    with stand.connect() as client:
        response = client.exchange("/fault")
    assert sorted(response.chunks) == [b"a" * 5000] * 50 + [b"b" * 5000] * 50


def test_a_body_that_is_changed_after_it_was_sent_arrives_as_it_was(stand: Stand) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        buffer = bytearray(b"before")
        await send(body(buffer, more=True))
        buffer[:] = b"behind"
        await send(body(buffer))

    stand.app = app
    with stand.connect() as client:
        assert client.exchange("/fault").body == b"beforebehind"


def test_what_an_application_does_to_its_scope_is_gone_with_it(stand: Stand) -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        found = "marked" in scope or scope["headers"] != [(b"host", b"test.example")] or len(scope["extensions"]) != 4
        scope["marked"] = True
        scope["headers"].append((b"x", b"y"))
        scope["extensions"]["mine"] = {}
        await respond(send, b"leaked" if found else b"clean")

    stand.app = app
    with stand.connect(host="test.example") as client:
        assert [client.exchange("/fault").body for _ in range(2)] == [b"clean"] * 2
