"""Requests and responses of HTTP/1.0 and HTTP/1.1 over real sockets (RFC 9110, RFC 9112): what a client sees of them, byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from pytest_asgiserve.raw import FramingError, RawConnection, RawResponse, Truncated
from tests.support.apps import App, Message, Receive, Scope, Send, described, echo, ok, read_body, respond, routes

if TYPE_CHECKING:
    from tests.sockets.conftest import Serve
    from tests.support.records import Records


async def show(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope and the body, as JSON."""
    body = await read_body(receive)
    shown = described({**scope, "body": body})
    await respond(send, json.dumps(shown).encode(), headers=[(b"content-type", b"application/json")])


def shown(response: RawResponse) -> dict[str, Any]:
    assert response.status == 200, response
    loaded: dict[str, Any] = json.loads(response.body)
    return loaded


class Door:
    """An event that a test opens and an application, on the loop of the server, waits for."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._entered = threading.Event()

    async def wait(self) -> None:
        self._entered.set()
        await asyncio.get_running_loop().run_in_executor(None, self._open.wait, 10)

    def open(self) -> None:
        self._open.set()

    def entered(self) -> None:
        """Wait until the application stands before it."""
        assert self._entered.wait(10)


# ---- the request -------------------------------------------------------------------------------------------------------------------


def test_a_request_becomes_a_scope_with_every_key_of_the_specification(serve: Serve) -> None:
    running = serve(show)
    with RawConnection(running.address) as client:
        client.send(
            b"POST /a%2Fb%20c/%E4%BD%A0?q=%41&x HTTP/1.1\r\nHost: test.example\r\nX-Two: 1\r\nx-one: a\r\nX-TWO: 2\r\nContent-Length: 4\r\n\r\nbody"
        )
        local = client.sock.getsockname()
        scope = shown(client.read_response())
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": list(running.address),
        "client": list(local),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": "/a/b c/你",
        "raw_path": "/a%2Fb%20c/%E4%BD%A0",
        "query_string": "q=%41&x",
        "headers": [["host", "test.example"], ["x-two", "1"], ["x-one", "a"], ["x-two", "2"], ["content-length", "4"]],
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
            "http.response.zerocopysend": {},
        },
        "body": "body",
    }


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(
            "GET http://other.example/p?q=1 HTTP/1.1\r\nHost: x\r\n",
            {"path": "/p", "query_string": "q=1", "host": "other.example"},
            id="absolute-form",
        ),
        pytest.param("GET http://h HTTP/1.1\r\nHost: x\r\n", {"path": "/", "raw_path": "/", "host": "h"}, id="absolute-form-empty-path"),
        pytest.param("GET HTTPS://h:8/x HTTP/1.1\r\nHost: x\r\n", {"path": "/x", "host": "h:8", "scheme": "http"}, id="absolute-form-https"),
        pytest.param("GET http://h?q HTTP/1.1\r\nHost: x\r\n", {"path": "/", "query_string": "q"}, id="absolute-form-query-only"),
        pytest.param("GET http://h/ HTTP/1.0\r\n", {"http_version": "1.0", "host": "h"}, id="absolute-form-in-1.0-without-host"),
        pytest.param("OPTIONS * HTTP/1.1\r\nHost: x\r\n", {"method": "OPTIONS", "path": "*", "raw_path": "*"}, id="asterisk-form"),
        pytest.param("FROBNICATE / HTTP/1.1\r\nHost: x\r\n", {"method": "FROBNICATE"}, id="unknown-method"),
        pytest.param("M-SEARCH /x HTTP/1.1\r\nHost: x\r\n", {"method": "M-SEARCH", "path": "/x"}, id="method-of-llhttp"),
        pytest.param("GET /%FF%00 HTTP/1.1\r\nHost: x\r\n", {"raw_path": "/%FF%00", "path": "/\ufffd\0"}, id="path-that-is-no-utf-8"),
        pytest.param("GET /a?b?c=%zz HTTP/1.1\r\nHost: x\r\n", {"path": "/a", "query_string": "b?c=%zz"}, id="question-mark-in-the-query"),
        pytest.param("GET //x/../y HTTP/1.1\r\nHost: x\r\n", {"path": "//x/../y", "raw_path": "//x/../y"}, id="path-is-not-normalised"),
        pytest.param("GET / HTTP/1.2\r\nHost: x\r\n", {"http_version": "1.1"}, id="higher-minor-version"),
        pytest.param("\r\nGET / HTTP/1.1\r\nHost: x\r\n", {"method": "GET"}, id="empty-line-before"),
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nX-Ows: \t a b \t\r\n", {"x-empty": "", "x-ows": "a b"}, id="whitespace-around-values"),
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\nX-High: \xe4\xff\r\n", {"x-high": "\xe4\xff"}, id="obs-text"),
        pytest.param("GET / HTTP/1.1\r\nHost: [::1]:80\r\n", {"host": "[::1]:80"}, id="ipv6-host"),
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\nX_Under: 1\r\n", {"x_under": "1"}, id="underscore-in-a-name"),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_every_lawful_target_and_field_reaches_the_application(serve: Serve, head: str, expected: dict[str, str], bytewise: bool) -> None:
    running = serve(show)
    data = head.encode("latin-1") + b"\r\n"
    with RawConnection(running.address) as client:
        for piece in [data[index : index + 1] for index in range(len(data))] if bytewise else [data]:
            client.send(piece)
        scope = shown(client.read_response())
    fields = dict(scope.pop("headers"))
    assert {name: scope.get(name, fields.get(name)) for name in expected} == expected


# ---- the door ----------------------------------------------------------------------------------------------------------------------

GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="9112-3.2-no-host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, id="9112-3.2-two-hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, id="9112-3.2-invalid-host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, id="9110-4.2.1-empty-host"),
        pytest.param(b"GET http://u:p@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="9110-4.2.4-userinfo"),
        pytest.param(b"GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="9110-4.2.1-empty-authority"),
        pytest.param(b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="9112-3.2-foreign-scheme"),
        pytest.param(b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="9112-3.2.4-asterisk-with-get"),
        pytest.param(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501, id="9110-9.3.6-connect"),
        pytest.param(b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="9112-3.2.3-connect-without-port"),
        pytest.param(b"get / HTTP/1.1\r\nHost: h\r\n\r\n", 501, id="9110-9.1-lower-case-method"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, id="9110-15.6.6-version-2.0"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="9113-3.4-h2-preface"),
        pytest.param(b"GET /\r\n\r\n", 400, id="9112-3-http-0.9"),
        pytest.param(b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="9112-3-two-spaces"),
        pytest.param(b"GET / HTTP/1.1\nHost: h\n\n", 400, id="9112-2.2-bare-lf"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400, id="9112-5.1-space-before-colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400, id="9112-5.2-obs-fold"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", 400, id="9110-5.5-nul"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="9112-6.3-cl-and-te"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, id="9112-6.3-two-lengths"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400, id="9110-8.6-signed-length"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775808\r\n\r\n", 413, id="9110-8.6-length-of-2-to-the-63"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, id="9112-6.1-gzip"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 400, id="9112-6.3-not-chunked-last"),
        pytest.param(b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="9112-6.1-te-in-1.0"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", 417, id="9110-10.1.1-unknown-expectation"),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, id="9112-3-long-line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 70000 + b"\r\n\r\n", 431, id="6585-5-large-head"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431, id="6585-5-many-fields"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), 400, id="tls-on-the-clear-port"),
        pytest.param(b"\r\n" * 6 + GOOD, 400, id="9112-2.2-many-empty-lines"),
    ],
)
def test_a_bad_request_is_refused_and_the_connection_closed(serve: Serve, records: Records, data: bytes, status: int) -> None:
    called = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        called.append(scope["path"])
        await respond(send)

    running = serve(app)
    with RawConnection(running.address) as client:
        client.send(data + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        response = client.read_response()
        assert response.status == status
        assert response.one(b"connection") == b"close"
        client.expect_eof()
    assert not called
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"ok"
    assert [f"refused with {status}" in line for line in records.messages("asgiserve.core")] == [True]


def test_a_bad_request_behind_a_good_one_is_answered_after_it(serve: Serve) -> None:
    door = Door()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await door.wait()
        await respond(send, b"first")

    running = serve(slow)
    with RawConnection(running.address) as client:
        client.send(GOOD + b"GET / HTTP/1.1\r\nNo Host\r\n\r\n")
        door.entered()
        door.open()
        assert client.read_response().body == b"first"
        refused = client.read_response()
        assert (refused.status, refused.one(b"connection")) == (400, b"close")
        client.expect_eof()


def test_a_refusal_reaches_a_client_that_is_still_sending(serve: Serve) -> None:
    # RFC 9112 §9.6: a close with unread data is a RST, which would destroy the answer.
    running = serve(ok)
    with RawConnection(running.address) as client:
        client.send(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(10):
            client.send(b"x" * 10000)
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (400, b"close")
        client.expect_closed()


# ---- keeping the connection --------------------------------------------------------------------------------------------------------


def test_a_connection_serves_one_request_after_the_other(serve: Serve) -> None:
    running = serve(show)
    with RawConnection(running.address) as client:
        for number in range(5):
            response = client.exchange(f"/{number}")
            assert shown(response)["path"] == f"/{number}"
            assert response.one(b"connection") is None
        client.expect_silence(0.05)


@pytest.mark.parametrize("value", ["close", "CLOSE", "foo, Close", "foo,\tclose"])
def test_connection_close_is_honoured_announced_and_the_next_request_not_served(serve: Serve, value: str) -> None:
    # RFC 9112 §9.6, RFC 9110 §7.6.1
    called = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        called.append(scope["path"])
        await respond(send)

    running = serve(app)
    with RawConnection(running.address) as client:
        client.send(f"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: {value}\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        response = client.read_response()
        assert response.one(b"connection") == b"close"
        client.expect_eof()
    assert called == ["/1"]


def test_the_application_can_close_the_connection(serve: Serve) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, headers=[(b"Connection", b"Close"), (b"keep-alive", b"timeout=5")])

    with RawConnection(serve(app).address) as client:
        response = client.exchange()
        assert response.one(b"connection") == b"close"
        assert response.one(b"keep-alive") is None
        client.expect_eof()


def test_a_connection_closes_after_the_number_of_requests_that_is_allowed(serve: Serve) -> None:
    with RawConnection(serve(ok, max_keep_alive_count=2).address) as client:
        assert not client.exchange().closes
        assert client.exchange().one(b"connection") == b"close"
        client.expect_eof()


def test_a_connection_closes_after_the_time_that_it_may_live(serve: Serve) -> None:
    with RawConnection(serve(ok, timeout_keep_alive_total=0).address) as client:
        assert client.exchange().one(b"connection") == b"close"
        client.expect_eof()


def test_an_idle_connection_is_closed_in_order(serve: Serve) -> None:
    with RawConnection(serve(ok, timeout_keep_alive=0.2).address) as client:
        client.exchange()
        began = time.monotonic()
        client.expect_eof()
        assert time.monotonic() - began > 0.15


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"GET / HT", 408, id="part-of-the-line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n", 408, id="part-of-the-fields"),
    ],
)
def test_a_head_that_does_not_come_is_given_up(serve: Serve, sent: bytes, status: int) -> None:
    # RFC 9110 §15.5.9; nothing is answered where nothing was asked.
    with RawConnection(serve(ok, timeout_request_head=0.2).address) as client:
        client.send(sent)
        if status:
            response = client.read_response()
            assert (response.status, response.one(b"connection")) == (status, b"close")
        client.expect_eof()


@pytest.mark.parametrize(
    "options", [{"timeout_request_body": 0.2}, {"min_request_body_rate": 1e6, "timeout_request_body_grace": 0.2}], ids=["stall", "rate"]
)
def test_a_body_that_does_not_come_is_given_up(serve: Serve, options: dict[str, float]) -> None:
    seen: list[str] = []
    ended = threading.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        try:
            while (message := await receive())["type"] == "http.request":
                pass
            seen.append(message["type"])
        finally:
            ended.set()

    with RawConnection(serve(app, **options).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (408, b"close")
        client.expect_eof()
    assert ended.wait(10)
    assert seen == ["http.disconnect"]


# ---- pipelining --------------------------------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order_although_the_first_is_slow(serve: Serve) -> None:
    door = Door()
    began: list[str] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        began.append(scope["path"])
        if scope["path"] == "/1":
            await door.wait()
        await respond(send, scope["path"].encode())

    with RawConnection(serve(app).address) as client:
        for number in (1, 2, 3):
            client.get(f"/{number}")
        door.entered()
        # The one behind it does not begin before it is over: one exchange at a time.
        client.expect_silence(0.05)
        assert began == ["/1"]
        door.open()
        assert [client.read_response().body for _ in range(3)] == [b"/1", b"/2", b"/3"]


def test_a_thousand_pipelined_requests_in_one_write_are_all_answered(serve: Serve) -> None:
    count = 1000
    with RawConnection(serve(echo, max_keep_alive_count=None).address) as client:
        sender = threading.Thread(target=client.send, args=(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * count,))
        sender.start()
        for _ in range(count):
            assert client.read_response().status == 200
        sender.join(10)
        client.expect_silence(0.02)


def test_a_body_and_the_next_request_in_one_write_are_told_apart(serve: Serve) -> None:
    chunked = b"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
    with RawConnection(serve(show).address) as client:
        client.send(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none" + chunked + GOOD)
        answers = [shown(client.read_response()) for _ in range(3)]
    assert [(answer["path"], answer["body"]) for answer in answers] == [("/1", "one"), ("/2", "two"), ("/", "")]


def test_empty_lines_between_requests_are_skipped(serve: Serve) -> None:
    with RawConnection(serve(ok).address) as client:
        client.send(GOOD + b"\r\n" + GOOD + b"\r\n\r\n" + GOOD)
        assert [client.read_response().status for _ in range(3)] == [200, 200, 200]


# ---- HTTP/1.0 ----------------------------------------------------------------------------------------------------------------------


def test_http_1_0_closes_by_default(serve: Serve) -> None:
    # RFC 9112 §9.3; the status line still says what the server speaks (RFC 9110 §6.2).
    with RawConnection(serve(show).address) as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        response = client.read_response()
        assert response.version == b"HTTP/1.1"
        assert response.one(b"connection") == b"close"
        scope = shown(response)
        assert (scope["http_version"], scope["headers"]) == ("1.0", [])
        client.expect_eof()


def test_http_1_0_with_keep_alive_is_kept_and_told_so(serve: Serve) -> None:
    with RawConnection(serve(ok).address) as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            response = client.read_response()
            assert response.one(b"connection") == b"keep-alive"
            assert response.framing == "length"
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.read_response().one(b"connection") == b"close"
        client.expect_eof()


def test_http_1_0_never_gets_chunks(serve: Serve) -> None:
    # RFC 9112 §6.1: a response of unknown length ends with the connection, keep-alive or not.
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for piece in (b"a", b"b"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    with RawConnection(serve(app).address) as client:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        response = client.read_response()
        assert (response.framing, response.body, response.one(b"connection")) == ("close", b"ab", b"close")


def test_http_1_0_gets_no_informational_response(serve: Serve) -> None:
    # RFC 9110 §15.2, §10.1.1
    with RawConnection(serve(echo).address) as client:
        client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        client.expect_silence(0.05)
        client.send(b"hi")
        response = client.read_response()
        assert (response.status, response.body, response.informational) == (200, b"hi", [])


# ---- request bodies ----------------------------------------------------------------------------------------------------------------

CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
    b'4\r\nWiki\r\n6 ; a=b;c="d;\\"e"\r\npedia \r\nD\r\nin \r\n\r\nchunks\r\n0\r\nX-Sum: 1\r\nAuthorization: no\r\n\r\n'
)


@pytest.mark.parametrize("step", [1, 7, 10000])
def test_a_chunked_body_is_decoded_and_its_trailers_stay_out_of_the_head(serve: Serve, step: int) -> None:
    # RFC 9112 §7.1; RFC 9110 §6.5.1: trailers must not be merged into the fields (CVE-2025-53643 and its kin).
    with RawConnection(serve(show).address) as client:
        for index in range(0, len(CHUNKED), step):
            client.send(CHUNKED[index : index + step])
        scope = shown(client.read_response())
        assert scope["body"] == "Wikipedia in \r\n\r\nchunks"
        assert scope["headers"] == [["host", "x"], ["transfer-encoding", "chunked"], ["trailer", "x-sum"]]
        assert shown(client.exchange("/next"))["path"] == "/next"


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"5\nhello\r\n0\r\n\r\n", id="bare-lf"),
        pytest.param(b"5\r\nhelloX\r\n0\r\n\r\n", id="CVE-2025-43859-bytes-after-the-data"),
        pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="CVE-2022-24761-0x"),
        pytest.param(b"5;;a\r\nhello\r\n0\r\n\r\n", id="empty-extension"),
        pytest.param(b"5 \r\nhello\r\n0\r\n\r\n", id="space-behind-the-size"),
        pytest.param(b"ffffffffffffffffff\r\n", id="size-beyond-2-to-the-64"),
        pytest.param(b"5\r\nhello\r\n0\r\n\n", id="end-without-cr"),
        pytest.param(b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", id="bad-trailer"),
    ],
)
def test_a_malformed_chunk_is_refused_and_the_application_told(serve: Serve, bad: bytes) -> None:
    seen: list[Message] = []
    ended = threading.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        seen.append(message)
        ended.set()

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + bad + GOOD)
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (400, b"close")
        client.expect_eof()
    assert ended.wait(10)
    assert seen == [{"type": "http.disconnect"}]


def test_a_large_body_arrives_whole_and_only_its_last_message_ends_it(serve: Serve) -> None:
    size = 10_000_000

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        mores, total = [], 0
        while True:
            message = await receive()
            mores.append(message["more_body"])
            total += len(message["body"])
            if not message["more_body"]:
                break
        await respond(send, json.dumps([total, all(mores[:-1])]).encode())

    with RawConnection(serve(app).address) as client:
        client.post("/", bytes(size))
        assert json.loads(client.read_response().body) == [size, True]


def test_the_application_waits_for_a_body_that_comes_late(serve: Serve) -> None:
    messages: list[Message] = []
    first = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            messages.append(await receive())
            first.set()
            if not messages[-1]["more_body"]:
                break
        await respond(send)

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        assert first.wait(10)
        client.expect_silence(0.05)
        assert [message["body"] for message in messages] == [b"ab"]
        client.send(b"cd")
        assert client.read_response().status == 200
    assert [(message["body"], message["more_body"]) for message in messages] == [(b"ab", True), (b"cd", False)]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_unread_body_is_drained_and_the_connection_used_again(serve: Serve, chunked: bool) -> None:
    # RFC 9112 §9.3
    with RawConnection(serve(ok).address) as client:
        if chunked:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 500)
        else:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        assert client.read_response().one(b"connection") is None
        client.send(b"x" * 500 + (b"\r\n0\r\n\r\n" if chunked else b"") + GOOD)
        assert client.read_response().status == 200


def test_too_much_of_an_unread_body_closes_the_connection_and_says_so(serve: Serve) -> None:
    with RawConnection(serve(ok, max_drain_bytes=1000).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n" + b"x" * 10)
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (200, b"close")
        client.expect_eof()


def test_too_much_of_an_unread_chunked_body_closes_the_connection(serve: Serve) -> None:
    # Its length is not known when the response is written, so that it cannot be announced.
    with RawConnection(serve(ok, max_drain_bytes=1000).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.read_response().status == 200
        client.send(b"7d0\r\n" + b"x" * 2000)
        client.expect_eof()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_over_the_limit_is_refused(serve: Serve, chunked: bool) -> None:
    # RFC 9110 §15.5.14
    with RawConnection(serve(echo, max_body_bytes=10).address) as client:
        client.post("/", b"0123456789")
        assert client.read_response().body == b"0123456789"
        if chunked:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n")
        else:
            client.post("/", b"01234567890")
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (413, b"close")
        client.expect_eof()


# ---- Expect ------------------------------------------------------------------------------------------------------------------------


def test_100_continue_is_sent_when_the_application_first_receives_and_not_before(serve: Serve) -> None:
    # RFC 9110 §10.1.1
    door = Door()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await door.wait()
        await respond(send, await read_body(receive))

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
        door.entered()
        client.expect_silence(0.05)
        door.open()
        interim = client.read_head()
        assert (interim.status, interim.fields) == (100, [])
        client.send(b"hi")
        assert client.read_response().body == b"hi"
        assert client.exchange().body == b""


def test_a_final_answer_without_reading_needs_no_100_and_closes(serve: Serve) -> None:
    with RawConnection(serve(ok).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.informational, response.one(b"connection")) == (200, [], b"close")
        client.expect_eof()


def test_an_expectation_whose_body_is_already_there_gets_one_final_response(serve: Serve) -> None:
    with RawConnection(serve(echo).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi" + GOOD)
        response = client.read_response()
        assert (response.status, response.body) == (200, b"hi")
        assert len(response.informational) <= 1
        assert client.read_response().status == 200


# ---- an Upgrade that is not taken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["foo", "h2c", "TLS/1.0", "websocket"])
def test_an_upgrade_that_is_not_taken_is_ignored_and_its_body_framed(serve: Serve, protocol: str) -> None:
    # RFC 9110 §7.8; httptools stops parsing at any Upgrade (security brief §3a.5).
    with RawConnection(serve(show).address) as client:
        client.send(
            f"POST /1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nContent-Length: 5\r\n\r\nhello".encode()
            + b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        first, second = client.read_response(), client.read_response()
        assert (first.informational, shown(first)["body"], shown(second)["path"]) == ([], "hello", "/2")


# ---- half-closed clients -----------------------------------------------------------------------------------------------------------


def test_a_half_closed_client_is_served_to_the_end(serve: Serve) -> None:
    door = Door()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await door.wait()
        # It looks like a client that has gone, which it need not be.
        assert (await waiting)["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        await send({"type": "http.response.body"})

    with RawConnection(serve(app).address) as client:
        client.get()
        door.entered()
        client.half_close()
        client.expect_silence(0.05)
        door.open()
        assert client.read_response().body == b"piece" * 3
        client.expect_eof()


@pytest.mark.parametrize("begun", [False, True], ids=["before-the-response", "within-the-response"])
def test_an_application_that_gives_up_a_half_closed_client_is_not_at_fault(serve: Serve, records: Records, begun: bool) -> None:
    # As Django and Quart do: they hear http.disconnect, and return.
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if begun:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"

    running = serve(app)
    with RawConnection(running.address) as client:
        client.get()
        if begun:
            assert client.read_head().status == 200
            assert client.read_chunk() == b"piece"
        client.half_close()
        client.expect_closed()
    running.stop()
    assert not records.errors
    assert [(record.status, record.outcome) for record in records.access] == [(200 if begun else 0, "aborted")]


def test_a_client_that_has_all_of_the_content_and_goes_is_no_disconnect(serve: Serve, records: Records) -> None:
    # Quart, among others, ends a response with a message of its own, behind the last byte.
    door = Door()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"whole", "more_body": True})
        await door.wait()
        assert not waiting.done()
        await send({"type": "http.response.body"})
        assert (await waiting)["type"] == "http.disconnect"

    running = serve(app)
    with RawConnection(running.address) as client:
        client.get()
        assert client.read_response().body == b"whole"
        door.entered()
        client.half_close()
        client.expect_silence(0.05)
        door.open()
        client.expect_eof()
    running.stop()
    assert not records.errors
    assert [record.outcome for record in records.access] == [""]


def test_a_response_whose_last_bytes_the_client_s_system_refuses_is_not_logged_as_complete(serve: Serve, records: Records) -> None:
    door = Door()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await door.wait()
        # It is taken, and answered with a reset, which nobody reads behind the FIN.
        await send({"type": "http.response.body", "body": b"second", "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})

    running = serve(app)
    with RawConnection(running.address) as client:
        client.get()
        client.read_head()
        assert client.read_chunk() == b"first"
        door.entered()
        client.close()
    running.run(lambda: None)
    door.open()
    running.stop()
    assert not records.errors
    assert [(record.status, record.outcome) for record in records.access] == [(200, "aborted")]


def test_pipelined_requests_before_a_half_close_are_all_answered(serve: Serve) -> None:
    with RawConnection(serve(ok).address) as client:
        client.send(GOOD * 3)
        client.half_close()
        assert [client.read_response().status for _ in range(3)] == [200, 200, 200]
        client.expect_eof()


def test_a_half_close_inside_of_a_body_is_a_disconnect(serve: Serve) -> None:
    # RFC 9112 §8: the request is incomplete; never a false end of the body.
    seen: list[Message] = []
    first, ended = threading.Event(), threading.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append(message)
            first.set()
        seen.append(message)
        ended.set()

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert first.wait(10)
        client.half_close()
        assert client.expect_closed() == b""
    assert ended.wait(10)
    assert seen == [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"}]


def test_a_half_close_inside_of_a_head_or_between_requests_is_the_end(serve: Serve, records: Records) -> None:
    running = serve(ok)
    with RawConnection(running.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        client.half_close()
        assert client.read_until_eof() == b""
    with RawConnection(running.address) as client:
        client.exchange()
        client.half_close()
        client.expect_eof()
    assert not records.errors


# ---- the response ------------------------------------------------------------------------------------------------------------------


async def answer(send: Send, scripted: dict[str, Any]) -> None:
    await send({"type": "http.response.start", "status": scripted.get("status", 200), "headers": scripted.get("headers", [])})
    pieces = scripted.get("body", [b""])
    for index, piece in enumerate(pieces):
        await send({"type": "http.response.body", "body": piece, "more_body": index < len(pieces) - 1})


def scripted_app(script: dict[str, Any]) -> App:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/next":
            await respond(send, b"next")
        else:
            await answer(send, script)

    return app


@pytest.mark.parametrize(
    ("method", "script", "expected"),
    [
        pytest.param("GET", {"body": [b"hello"]}, ("length", b"5", b"hello"), id="one-body-message-has-a-length"),
        pytest.param("GET", {"body": [b"hel", b"lo"]}, ("chunked", None, b"hello"), id="two-are-chunked"),
        pytest.param("GET", {"body": [b"", b"", b"x", b""]}, ("chunked", None, b"x"), id="empty-messages-are-no-last-chunk"),
        pytest.param(
            "GET", {"headers": [(b"content-length", b"5")], "body": [b"hel", b"lo"]}, ("length", b"5", b"hello"), id="length-of-the-application"
        ),
        pytest.param("GET", {"headers": [(b"transfer-encoding", b"gzip")], "body": [b"a"]}, ("length", b"1", b"a"), id="te-of-the-application"),
        pytest.param(
            "GET",
            {"headers": [(b"transfer-encoding", b"chunked"), (b"content-length", b"1")], "body": [b"a"]},
            ("length", b"1", b"a"),
            id="te-and-length-of-the-application",
        ),
        pytest.param("HEAD", {"headers": [(b"content-length", b"5")], "body": [b"hello"]}, ("none", b"5", b""), id="head-with-length"),
        pytest.param("HEAD", {"body": [b"hello"]}, ("none", b"5", b""), id="head-without-length"),
        pytest.param("HEAD", {"body": [b"hel", b"lo"]}, ("none", None, b""), id="head-of-a-stream"),
        pytest.param("GET", {"status": 204, "headers": [(b"content-length", b"5")], "body": [b"hello"]}, ("none", None, b""), id="204"),
        pytest.param("GET", {"status": 304, "body": [b"hello"]}, ("none", None, b""), id="304"),
        pytest.param("GET", {"status": 304, "headers": [(b"content-length", b"5")], "body": [b""]}, ("none", b"5", b""), id="304-with-length"),
        pytest.param("GET", {"status": 205, "body": [b"hello"]}, ("length", b"0", b""), id="205"),
        pytest.param("GET", {"status": 299, "body": [b"x"]}, ("length", b"1", b"x"), id="status-without-a-reason"),
        pytest.param("POST", {"status": 201}, ("length", b"0", b""), id="empty-body"),
    ],
)
def test_a_response_is_framed_by_the_server_and_the_connection_stays_in_step(
    serve: Serve, method: str, script: dict[str, Any], expected: tuple[str, bytes | None, bytes]
) -> None:
    # RFC 9112 §6; RFC 9110 §8.6, §9.3.2, §15.3.5, §15.3.6, §15.4.5
    with RawConnection(serve(scripted_app(script)).address) as client:
        client.send(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        response = client.read_response(method)
        assert response.status == script.get("status", 200)
        assert (response.framing, response.one(b"content-length"), response.body) == expected
        assert client.read_response().body == b"next"


def test_response_fields_keep_their_order_and_set_cookie_its_lines(serve: Serve) -> None:
    # RFC 9110 §5.3
    headers = [(b"X-2", b"a"), (b"set-cookie", b"a=1"), (b"x-1", b""), (b"Set-Cookie", b"b=2"), (b"x-2", b"b, c")]
    with RawConnection(serve(scripted_app({"headers": headers})).address) as client:
        response = client.exchange()
    own = [(name, value) for name, value in response.fields if name.startswith((b"x-", b"set-"))]
    assert own == [(name.lower(), value) for name, value in headers]


def test_date_and_server_are_there_once(serve: Serve) -> None:
    # RFC 9110 §6.6.1, §10.2.4
    running = serve(scripted_app({}))
    with RawConnection(running.address) as client:
        response = client.exchange()
    date = response.one(b"date")
    assert date is not None
    assert re.fullmatch(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT", date)
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 5
    assert response.one(b"server") == b"asgiserve"


def test_the_applications_own_date_and_server_win(serve: Serve) -> None:
    headers = [(b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine")]
    with RawConnection(serve(scripted_app({"headers": headers})).address) as client:
        response = client.exchange()
    assert response.one(b"date") == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert response.one(b"server") == b"mine"


def test_default_fields_can_be_switched_off_and_added_to(serve: Serve) -> None:
    running = serve(ok, date_header=False, server_header=False, header=["X-Frame-Options: DENY", "x-b:c:d"])
    with RawConnection(running.address) as client:
        response = client.exchange()
    assert response.fields == [(b"content-length", b"2"), (b"x-frame-options", b"DENY"), (b"x-b", b"c:d")]


def test_the_head_of_an_event_stream_comes_before_its_first_event(serve: Serve) -> None:
    # The head may be held for the first body message, but never while the application waits for something else.
    door = Door()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await door.wait()
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with RawConnection(serve(app).address) as client:
        client.get()
        head = client.read_head()
        assert (head.status, head.one(b"content-type"), head.framing) == (200, b"text/event-stream", "chunked")
        door.entered()
        client.expect_silence(0.05)
        door.open()
        client.read_body(head)
        assert head.chunks == [b"data: 1\n\n"]


def test_each_part_of_a_body_is_delivered_before_the_next_one_is_made(serve: Serve) -> None:
    # ASGI www, Response Body: flushed into the send buffer.
    doors = [Door(), Door()]

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for index, door in enumerate(doors):
            await send({"type": "http.response.body", "body": b"part %d" % index, "more_body": True})
            await door.wait()
        await send({"type": "http.response.body"})

    with RawConnection(serve(app).address) as client:
        client.get()
        assert client.read_head().framing == "chunked"
        for index, door in enumerate(doors):
            assert client.read_chunk() == b"part %d" % index
            door.open()
        assert client.read_chunk() == b""


def test_a_response_leaves_in_one_piece(serve: Serve) -> None:
    # architecture.md §4: a small response is one segment; with Nagle off each write would be one of its own.
    with RawConnection(serve(ok).address) as client:
        client.get()
        data = client.sock.recv(65536)
    assert data.endswith(b"\r\n\r\nok")


def test_receive_after_the_response_is_a_disconnect_every_time(serve: Serve) -> None:
    # S34, S35; #344
    seen: list[Message] = []
    ended = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        seen.extend([await receive(), await receive()])
        ended.set()

    with RawConnection(serve(app).address) as client:
        client.exchange()
        assert ended.wait(10)
    assert seen == [{"type": "http.disconnect"}] * 2


def test_receive_after_the_body_waits_until_the_client_goes(serve: Serve) -> None:
    # S37, S36, and again each time
    seen: list[Message] = []
    waiting, ended = threading.Event(), threading.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        seen.append(await receive())
        waiting.set()
        seen.extend([await receive(), await receive()])
        ended.set()

    client = RawConnection(serve(app).address)
    client.get()
    assert waiting.wait(10)
    client.expect_silence(0.05)
    assert len(seen) == 1
    client.close()
    assert ended.wait(10)
    assert seen == [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}, {"type": "http.disconnect"}]


# ---- clients that go away ----------------------------------------------------------------------------------------------------------

AWAY: dict[str, bytes] = {
    "connected": b"",
    "in-the-head": b"GET / HTTP/1.1\r\nHo",
    "in-the-body": b"POST /hang HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
    "in-a-chunk": b"POST /hang HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "before-the-response": b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n",
    "in-the-response": b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    "in-a-pipeline": b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("where", AWAY)
def test_a_client_that_goes_away_ends_its_own_call_and_nothing_else(serve: Serve, records: Records, where: str, how: str) -> None:
    entered, ended = threading.Event(), threading.Event()
    ends: list[str] = []
    never: list[str] = []

    async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
        entered.set()
        while (message := await receive())["type"] == "http.request":
            pass
        ends.append(message["type"])
        ended.set()

    async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
                entered.set()
                await asyncio.sleep(0)
        except OSError:
            ends.append("OSError")
            ended.set()
            raise

    async def record(_scope: Scope, _receive: Receive, _send: Send) -> None:
        never.append("called")

    running = serve(routes(hang=hang, stream=stream, never=record))
    client = RawConnection(running.address)
    client.send(AWAY[where])
    if where.startswith("in-the-response"):
        client.read_exactly(1000)
    calls = b"/hang" in AWAY[where] or b"/stream" in AWAY[where]
    if calls:
        assert entered.wait(10)
    client.reset() if how == "reset" else client.close()
    if calls:
        assert ended.wait(10)
        assert ends == [{"in-the-response": "OSError"}.get(where, "http.disconnect")]
    with RawConnection(running.address) as other:
        assert other.exchange().body == b"ok"
    running.stop()
    assert not never
    assert not records.errors
    # An orderly end inside of a body says so (RFC 9112 §8).
    outcome = "incomplete request" if how == "close" and where in {"in-the-body", "in-a-chunk"} else "aborted"
    assert [record.outcome for record in records.access] == ([outcome] if calls else []) + [""]


# ---- the client itself -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", FramingError),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", FramingError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0 \r\n\r\n", FramingError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", FramingError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FramingError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", FramingError),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", FramingError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", FramingError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", Truncated),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Truncated),
        (b"HTTP/1.1 99 Low\r\n\r\n", FramingError),
    ],
)
def test_the_client_of_these_tests_forgives_nothing(data: bytes, error: type[Exception]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, RawConnection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(data)
            accepted.shutdown(socket.SHUT_WR)
            with pytest.raises(error):
                client.read_response()
