"""The access log: one record for each exchange, when it ends, however it ends; and nothing in any log that could steer a terminal."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pytest_asgiserve.raw import RawConnection, Truncated
from tests.support.apps import App, Receive, Scope, Send, echo, ok, respond, routes
from tests.support.process import child

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sockets.conftest import Serve
    from tests.support.records import Records

GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def sending(*messages: Any) -> App:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ValueError("boom")


@pytest.mark.parametrize(
    ("request_bytes", "app", "expected"),
    [
        pytest.param(b"GET /a?b=%41 HTTP/1.1\r\nHost: x\r\n\r\n", ok, ("GET", "/a?b=%41", "1.1", 200, 2, ""), id="get"),
        pytest.param(b"GET http://h/p?q HTTP/1.1\r\nHost: x\r\n\r\n", ok, ("GET", "/p?q", "1.1", 200, 2, ""), id="absolute-form"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ok, ("OPTIONS", "*", "1.1", 200, 2, ""), id="asterisk-form"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", ok, ("GET", "/", "1.0", 200, 2, ""), id="http-1.0"),
        pytest.param(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", ok, ("HEAD", "/", "1.1", 200, 0, ""), id="head"),
        pytest.param(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", echo, ("PUT", "/", "1.1", 200, 3, ""), id="put"),
        pytest.param(GOOD, sending(start(204), body(b"dropped")), ("GET", "/", "1.1", 204, 0, ""), id="204"),
        # Content, without its framing.
        pytest.param(GOOD, sending(start(), body(b"abc", more=True), body(b"defg")), ("GET", "/", "1.1", 200, 7, ""), id="chunked"),
        pytest.param(GOOD, failing, ("GET", "/", "1.1", 500, 22, "error"), id="500"),
        pytest.param(GOOD, sending(start(), body(b"part", more=True)), ("GET", "/", "1.1", 200, 4, "error"), id="cut"),
        pytest.param(GOOD, sending(start(200, (b"content-length", b"9")), body(b"part")), ("GET", "/", "1.1", 200, 4, "short"), id="short"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
            echo,
            ("POST", "/", "1.1", 400, 0, "bad request"),
            id="bad-chunk",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + b"x" * 255,
            echo,
            ("POST", "/", "1.1", 413, 0, "bad request"),
            id="too-large",
        ),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", echo, ("POST", "/", "1.1", 408, 0, "timeout"), id="body-timeout"),
    ],
)
def test_an_exchange_is_logged_once_with_what_it_was(
    serve: Serve, records: Records, request_bytes: bytes, app: App, expected: tuple[Any, ...]
) -> None:
    running = serve(app, max_body_bytes=100, timeout_request_body=0.2)
    with RawConnection(running.address) as client:
        peer = "{}:{}".format(*client.sock.getsockname())
        client.send(request_bytes)
        try:
            client.read_response(request_bytes.partition(b" ")[0].decode())
        except Truncated:
            assert expected[5] in {"error", "short"}
    running.stop()
    (record,) = records.access
    assert (record.method, record.target, record.version, record.status, record.sent_bytes, record.outcome) == expected
    assert record.peer == peer
    assert 0 < record.duration < 10
    assert record.close_code is None


def test_an_exchange_without_a_response_is_logged_with_status_0(serve: Serve, records: Records) -> None:
    entered = threading.Event()

    async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
        entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    running = serve(hang)
    client = RawConnection(running.address)
    client.get("/gone")
    assert entered.wait(10)
    client.reset()
    records.wait(lambda seen: seen.access)
    running.stop()
    assert [(record.target, record.status, record.sent_bytes, record.outcome) for record in records.access] == [("/gone", 0, 0, "aborted")]


def test_an_exchange_is_logged_when_it_ends_and_not_when_it_begins(serve: Serve, records: Records) -> None:
    release, entered = threading.Event(), threading.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start())
        entered.set()
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 10)
        await send(body(b"late"))

    running = serve(routes(slow=slow))
    with RawConnection(running.address) as first, RawConnection(running.address) as second:
        first.get("/slow")
        assert entered.wait(10)
        assert first.read_head().status == 200
        second.exchange("/fast")
        records.wait(lambda seen: seen.access)
        release.set()
        assert first.read_chunk() == b"late"
    running.stop()
    assert [record.target for record in records.access] == ["/fast", "/slow"]
    fast, slow_record = records.access
    assert slow_record.duration > fast.duration


def test_pipelined_requests_are_logged_in_their_order(serve: Serve, records: Records) -> None:
    running = serve(ok)
    paths = [f"/{number}" for number in range(20)]
    with RawConnection(running.address) as client:
        client.pipeline(*paths)
        for _ in paths:
            client.read_response()
    running.stop()
    assert [record.target for record in records.access] == paths


def test_work_after_the_response_does_not_delay_the_record_nor_count(serve: Serve, records: Records) -> None:
    release = threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send)
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 10)

    running = serve(app)
    with RawConnection(running.address) as client:
        client.exchange()
        records.wait(lambda seen: seen.access)
        release.set()
    running.stop()
    assert [record.status for record in records.access] == [200]


def test_the_access_log_can_be_switched_off(serve: Serve, records: Records) -> None:
    running = serve(ok, access_log=False)
    with RawConnection(running.address) as client:
        client.exchange()
    running.stop()
    assert records.access == []


def test_bad_requests_are_one_line_each_and_not_too_many(serve: Serve, records: Records) -> None:
    running = serve(ok)
    for _ in range(60):
        with RawConnection(running.address) as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert client.read_response().status == 400
    running.stop()
    lines = records.messages("asgiserve.core", logging.WARNING)
    assert re.fullmatch(r"127\.0\.0\.1:\d+: refused with 400: the Host field is missing \(RFC 9112 §3\.2\)", lines[0])
    # Ten a second, and it does not take many seconds.
    assert 10 <= len(lines) <= 30
    assert records.access == []


@pytest.mark.parametrize("where", ["filter", "handler"])
def test_a_log_that_raises_costs_no_response(serve: Serve, records: Records, where: str) -> None:
    # Somebody's filter looks at `record.args[9]`, somebody's handler at a disk that is full.
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError(record.getMessage())

        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError(record.getMessage())

    raising = Raising()
    logger = logging.getLogger("asgiserve.access")
    running = serve(ok)
    if where == "filter":
        logger.addFilter(raising)
    else:
        logger.addHandler(raising)
    try:
        with RawConnection(running.address) as client:
            assert [client.exchange().body for _ in range(3)] == [b"ok"] * 3
    finally:
        logger.removeFilter(raising)
        logger.removeHandler(raising)
    running.stop()
    assert len([record for record in records.errors if "access log" in record.getMessage()]) == 1


# ---- what a terminal, or a collector, gets ------------------------------------------------------------------------------------------

SOURCE = """
async def app(scope, receive, send):
    if "raise" in scope["path"]:
        raise ValueError("text from the network: \\x1b[31m\\r\\nforged line \\x85 \\u202e")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
"""
NASTY = [
    # CVE-2020-7694: it was decoded, and logged as it then was.
    b"GET /%1b%5B31m%0d%0aforged%7f%c2%9b?%1b[0m HTTP/1.1\r\nHost: x\r\n\r\n",
    b'GET /"quoted"\\?" HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET /"quoted"?" HTTP/1.1\r\nHost: x\r\n\r\n',
    b"GET /raise/%1b%0a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
    b"\x1b[2J\x07\x9b\r\n\r\n",
    b"X\x85Y / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \x9b31m, 1.2.3.4\r\n\r\n",
    b"GET /%E2%80%AE%F0%9F%98%80 HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_from_the_network_reaches_a_log_as_it_came(form: str, tmp_path: Path) -> None:
    with child("main:app", "--port", "0", "--lifespan", "off", "--log-format", form, "--no-use-colors", source=SOURCE, cwd=tmp_path) as server:
        if form == "text":
            address = server.address
        else:
            line = server.wait_line(lambda written: "listening on" in written)
            port = re.search(r":(\d+) ", json.loads(line)["message"])
            assert port is not None
            address = ("127.0.0.1", int(port[1]))
        for data in NASTY:
            with RawConnection(address) as client:
                client.send(data)
                client.read_response()
        with RawConnection(address) as client:
            client.get("/last")
            client.read_response()
        server.wait_line(lambda written: "/last" in written)
        lines = server.lines
    for line in lines:
        assert line.isprintable(), line
        if form == "json":
            assert isinstance(json.loads(line), dict)
        else:
            # Each line has its time, or is indented under the one that has: nothing that was sent can begin a line.
            assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d |    ", line), line
    text = "\n".join(lines)
    assert "/%1b%5B31m%0d%0aforged%7f%c2%9b?%1b[0m" in text
    assert not [line for line in lines if line.startswith("forged")]
