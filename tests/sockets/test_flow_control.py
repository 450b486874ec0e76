"""Nobody buffers what the other side has not asked for: stalled readers, uploads that nobody reads, pipelines that nobody answers.

Memory is measured in a process of its own; everything else is looked at from both ends of one socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import ClientDisconnected
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import Receive, Scope, Send, read_body, respond, routes
from tests.support.process import child

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sockets.conftest import ServeBare, Stack
    from tests.support.records import Records
    from tests.support.serving import Serving

# What one read of an event loop brings at most, on top of a high mark: asyncio's selector transport and uvloop both take 256 KiB.
ONE_READ = 256 * 1024
MIB = 1024 * 1024

STREAMING = '''
"""Streams what is asked for, and says when nobody takes it."""

import asyncio

PART = bytes(256 * 1024)
stalled = None


async def app(scope, receive, send):
    global stalled
    if stalled is None:
        stalled = asyncio.Event()
    path = scope["path"]
    if path == "/stalled":
        await stalled.wait()
    parts = int(path.rpartition("/")[2]) if path.startswith("/stream/") else 0
    headers = [(b"content-length", b"%d" % (parts * len(PART)))] if b"length" in scope["query_string"] else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(parts):
        sending = asyncio.ensure_future(send({"type": "http.response.body", "body": PART, "more_body": True}))
        await asyncio.wait([sending], timeout=0.3)
        if parts > 1000 and not sending.done():
            stalled.set()
        await sending
    await send({"type": "http.response.body"})
'''


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from Linux's /proc")
@pytest.mark.parametrize("query", ["length", ""], ids=["length", "chunked"])
def test_a_stalled_reader_of_a_streamed_gibibyte_costs_less_than_4_mib(stack: Stack, tmp_path: Path, query: str) -> None:
    # security brief §5 (9): a server that buffers needs the whole gibibyte (daphne: 200 MiB for 200 MiB).
    arguments = ("main:app", "--port", "0", "--lifespan", "off", "--http", stack.parser, "--loop", stack.loop, "--timeout-keep-alive", "60")
    with child(*arguments, source=STREAMING, cwd=tmp_path) as server:
        with RawConnection(server.address) as warm:
            # The same path once, so that what the first response costs is not counted.
            assert len(warm.exchange(f"/stream/32?{query}").body) == 32 * 256 * 1024
        before = server.resident_bytes
        with RawConnection(server.address, receive_buffer=4096) as stalled, RawConnection(server.address) as other:
            stalled.get(f"/stream/4096?{query}")
            assert other.exchange("/stalled").status == 200
            assert server.resident_bytes - before < 4 * MIB
            # It is only held up: whoever reads on gets on, and the others were never disturbed.
            head = stalled.read_head()
            assert head.framing == ("length" if query else "chunked")
            for _ in range(16):
                assert len(stalled.read_exactly(MIB)) == MIB
            assert server.resident_bytes - before < 4 * MIB
            stalled.reset()
            assert other.exchange("/").status == 200


def fill(client: RawConnection, data: bytes, limit: int) -> int:
    """Send ``data`` again and again until nothing more is taken for a while; how much it was."""
    client.sock.settimeout(0.3)
    total = 0
    try:
        while total < limit:
            total += client.sock.send(data)
    except TimeoutError:
        pass
    finally:
        client.sock.settimeout(10)
    return total


def the_connection(running: Serving) -> Any:
    """The one connection of the server."""

    def find() -> Any:
        (connection,) = running.server._connections
        return connection.protocol

    return running.run(find)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload_that_the_application_does_not_read_stops_at_the_high_mark(serve_bare: ServeBare, chunked: bool) -> None:
    release, entered = threading.Event(), threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 20)
        size = 0
        while True:
            message = await receive()
            # Credit is given back as the application takes it, so that never more than the mark and one read come at once.
            assert len(message["body"]) <= 65536 + ONE_READ
            size += len(message["body"])
            if not message["more_body"]:
                break
        await respond(send, b"%d" % size)

    running = serve_bare(app)
    size = 64 * MIB
    with RawConnection(running.address) as client:
        framing = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size if chunked else b"Content-Length: %d\r\n\r\n" % size
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing)
        assert entered.wait(10)
        block = bytes(65536)
        sent = fill(client, block, size)
        assert sent < size, "everything was taken although nobody read it"
        protocol = the_connection(running)
        assert 65536 <= running.run(lambda: protocol.exchange.gate.size) <= 65536 + ONE_READ
        assert not running.run(protocol._transport.is_reading)
        # Read at last, it goes on, to the last byte.
        release.set()
        while sent < size:
            sent += client.sock.send(block[: size - sent])
        client.send(b"\r\n0\r\n\r\n" if chunked else b"")
        assert client.read_response().body == b"%d" % size


def test_requests_that_are_pipelined_behind_a_slow_one_wait_at_the_client(serve_bare: ServeBare) -> None:
    release, entered = threading.Event(), threading.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 20)
        await respond(send)

    running = serve_bare(routes(slow=slow))
    with RawConnection(running.address) as client:
        client.get("/slow")
        assert entered.wait(10)
        sent = fill(client, (b"GET / HTTP/1.1\r\nHost: x\r\nX-Padding: " + b"x" * 60000 + b"\r\n\r\n"), 64 * MIB)
        assert sent < 64 * MIB
        protocol = the_connection(running)
        assert running.run(lambda: len(protocol._buffer.data)) <= 65536 + ONE_READ
        assert not running.run(protocol._transport.is_reading)
        release.set()
        assert [client.read_response().status for _ in range(20)] == [200] * 20


def test_what_was_held_up_arrives_unchanged_in_both_directions(serve_bare: ServeBare) -> None:
    payload = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(262144))

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        while True:
            # Echoed as it comes: the reader is stalled by the writer and the other way round.
            message = await receive()
            await send({"type": "http.response.body", "body": message["body"], "more_body": message["more_body"]})
            if not message["more_body"]:
                return

    with RawConnection(serve_bare(app).address) as client:
        sender = threading.Thread(target=client.post, args=("/", payload))
        sender.start()
        assert client.read_response().body == payload
        sender.join(10)


def test_a_reader_that_takes_nothing_is_cut_after_the_write_timeout(serve_bare: ServeBare, records: Records) -> None:
    caught: list[BaseException] = []
    ended = threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
        except OSError as error:
            caught.append(error)
            raise
        finally:
            ended.set()

    running = serve_bare(app, timeout_write=0.3)
    with RawConnection(running.address, receive_buffer=4096) as client:
        client.get()
        assert ended.wait(10)
        assert [type(error) for error in caught] == [ClientDisconnected]
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.read_response()
    running.stop()
    assert not records.errors
    assert [(record.status, record.outcome) for record in records.access] == [(200, "write timeout")]


def test_a_reader_that_is_slow_but_reads_is_not_cut(serve_bare: ServeBare) -> None:
    size = 2 * MIB

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        for _ in range(size // 65536):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        await send({"type": "http.response.body"})

    running = serve_bare(app, timeout_write=1.0)
    # The server's side is small as well, or the system's buffers would take everything at once.
    running.run(lambda: running.server._listeners[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536))
    with RawConnection(running.address, receive_buffer=65536) as client:
        client.get()
        assert client.read_head().framing == "length"
        received, began = 0, time.monotonic()
        while received < size:
            received += len(client.read_exactly(131072))
            # The stimulus itself: longer than the timeout in all, shorter at each step.
            time.sleep(0.08)
        assert time.monotonic() - began > 1.0
        assert client.exchange().status == 200


@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
def test_a_complete_response_that_nobody_takes_does_not_hold_its_connection(serve_bare: ServeBare, close: bool) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, bytes(16 * MIB))

    running = serve_bare(app, timeout_write=0.3)
    with RawConnection(running.address, receive_buffer=4096) as client:
        client.get("/", *(["Connection: close"] if close else []))
        assert client.read_head().framing == "length"
        assert running.run(running.server.drain(10))


def test_the_time_in_which_nobody_reads_an_upload_is_not_the_clients(serve_bare: ServeBare) -> None:
    # The body timeouts and the rate look at the client only: it is the server that has stopped reading.
    entered, resumed = threading.Event(), threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.sleep(1.5)
        size = len((await receive())["body"])
        resumed.set()
        await respond(send, b"%d" % (size + len(await read_body(receive))))

    running = serve_bare(app, timeout_request_body=0.5, min_request_body_rate=1e6, timeout_request_body_grace=0.7)
    with RawConnection(running.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + bytes(200000))
        assert entered.wait(10)
        # Nothing comes, above all no 408, for longer than each of them.
        client.expect_silence(1.2)
        assert resumed.wait(10)
        client.send(bytes(100000))
        assert client.read_response().body == b"300000"


def test_pipelined_requests_are_not_answered_ahead_of_a_reader_that_takes_nothing(serve_bare: ServeBare) -> None:
    # Each of a thousand pipelined requests of 40 bytes could otherwise cost a whole response of memory.
    calls: list[str] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        calls.append(scope["path"])
        await respond(send, bytes(MIB))

    running = serve_bare(app)
    paths = [f"/{number}" for number in range(32)]
    with RawConnection(running.address, receive_buffer=4096) as client:
        client.pipeline(*paths)
        client.half_close()
        with RawConnection(running.address) as other:
            assert len(other.exchange("/other").body) == MIB
        protocol = running.run(lambda: next(iter(running.server._connections)).protocol)
        assert running.run(protocol._transport.get_write_buffer_size) <= 2 * MIB
        assert len(calls) < len(paths)
        # Read at last, all of them are answered, in order, although the client will send no more.
        assert [len(client.read_response().body) for _ in paths] == [MIB] * len(paths)
        client.expect_eof()
    assert [path for path in calls if path != "/other"] == paths


def test_a_request_that_comes_while_the_answer_before_it_is_not_taken_waits(serve_bare: ServeBare) -> None:
    calls: list[str] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        calls.append(scope["path"])
        await respond(send, bytes(16 * MIB if scope["path"] == "/large" else 2))

    running = serve_bare(app)
    with RawConnection(running.address, receive_buffer=4096) as client, RawConnection(running.address) as other:
        client.get("/large")
        # Twice: what was sent before the first has been read by then, and what it started has run before the second.
        for _ in range(2):
            other.exchange("/other")
        client.get("/late")
        for _ in range(2):
            other.exchange("/other")
        assert "/late" not in calls
        assert len(client.read_response().body) == 16 * MIB
        assert len(client.read_response().body) == 2
    assert calls[-1] == "/late"
