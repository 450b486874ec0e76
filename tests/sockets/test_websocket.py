"""WebSocket over real sockets, by hand-made frames and by the ``websockets`` library (RFC 6455, RFC 7692; S55-S73, S85)."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from asgiserve import ClientDisconnected, LocalProtocolError, Server
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import described, respond
from tests.support.certificates import Certificates
from tests.support.serving import loop_factory
from tests.support.websocket import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    RawWebSocket,
    close_frame,
    closing,
    fragments,
    frame,
    handshake,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgiserve.logs import AccessRecord
    from pytest_asgiserve import LiveServer
    from tests.sockets.conftest import Serve, ServeBare, Stack
    from tests.support.apps import App, Message, Receive, Scope, Send
    from tests.support.records import Records

WAIT = 10.0
MIB = 1 << 20


class Told:
    """What an application tells the test, in order."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()

    def put(self, what: Any) -> None:
        self._queue.put(what)

    def next(self) -> Any:
        """The next thing, which must come."""
        return self._queue.get(timeout=WAIT)

    def nothing(self) -> bool:
        """Whether nothing is there that was not looked at."""
        return self._queue.empty()


class Door:
    """Opened by the test; an application waits before it."""

    def __init__(self) -> None:
        self._open = threading.Event()

    async def wait(self) -> None:
        assert await asyncio.get_running_loop().run_in_executor(None, self._open.wait, WAIT)

    def open(self) -> None:
        self._open.set()


def echo(told: Told | None = None, **accept: Any) -> App:
    """Accepts, sends every message back, and tells how it ended. Plain HTTP gets the scope's type."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await respond(send, b"http")
            return
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", **accept})
        while (message := await receive())["type"] == "websocket.receive":
            kind = "text" if message["text"] is not None else "bytes"
            try:
                await send({"type": "websocket.send", kind: message[kind]})
            except ClientDisconnected:
                continue
        if told is not None:
            told.put(message)

    return app


def scripted(script: Callable[[Scope, Receive, Send], Awaitable[None]]) -> App:
    """``script`` after the connect event was taken."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await script(scope, receive, send)

    return app


def disconnect(code: int, reason: str = "") -> Message:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def access(records: Records, count: int = 1) -> list[AccessRecord]:
    """The access records, once there are ``count``."""
    records.wait(lambda seen: len(seen.access) >= count)
    return records.access


# ---- the handshake -----------------------------------------------------------------------------------------------------------------


def test_the_handshake_of_the_standards_own_example_is_accepted(serve: Serve) -> None:
    # ws.hs.accept
    running = serve(echo())
    with RawWebSocket(running.address) as client:
        response = client.open()
        assert response.all(b"sec-websocket-extensions") == []
        assert response.all(b"sec-websocket-protocol") == []
        assert [len(response.all(name)) for name in (b"date", b"server", b"content-length", b"transfer-encoding")] == [1, 1, 0, 0]
        client.finish()


UPGRADED = 101
HANDSHAKES = [
    pytest.param(handshake("upgrade: WebSocket", "Connection: keep-alive, UPGRADE", without={"upgrade", "connection"}), 101, id="ws.hs.case"),
    pytest.param(handshake("Connection: keep-alive", "Connection: upgrade", without={"connection"}), 101, id="connection-on-two-lines"),
    pytest.param(handshake("Connection: upgrade, close", without={"connection"}), 101, id="connection-close-beside-it"),
    pytest.param(handshake("Content-Length: 0"), 101, id="content-length-0"),
    pytest.param(handshake(version="1.2"), 101, id="higher-minor-version"),
    pytest.param(handshake("Sec-WebSocket-Extensions: x-unknown; a=1"), 101, id="unknown-extension"),
    pytest.param(handshake(without={"sec-websocket-key"}), 400, id="ws.hs.no-key"),
    pytest.param(handshake("Sec-WebSocket-Key: c2hvcnQ=", without={"sec-websocket-key"}), 400, id="ws.hs.bad-key"),
    pytest.param(handshake(*[f"Sec-WebSocket-Key: {KEY}"] * 2), 400, id="ws.hs.bad-key-two"),
    pytest.param(handshake(without={"sec-websocket-version"}), 400, id="ws.hs.version-missing"),
    *(
        pytest.param(
            handshake(f"Sec-WebSocket-Version: {version}", without={"sec-websocket-version"}), 426, id=f"ws.hs.version-unsupported-{version}"
        )
        for version in (8, 12, 99)
    ),
    pytest.param(handshake(without={"host"}), 400, id="ws.hs.no-host"),
    pytest.param(handshake("Content-Length: 5") + b"hello", 400, id="ws.hs.body-in-handshake"),
    pytest.param(handshake("Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, id="chunked-body-in-handshake"),
    pytest.param(handshake("Sec-WebSocket-Protocol: \x80\xff"), 400, id="CVE-2026-42544"),
    pytest.param(handshake("Sec-WebSocket-Extensions: ;"), 400, id="extensions-malformed"),
    *(pytest.param(handshake(f"X-A: a{chr(octet)}X-Admin: yes"), 400, id=f"CVE-2026-44546-{octet:02x}") for octet in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E)),
    # Not upgraded: an ordinary request.
    pytest.param(handshake(version="1.0"), 200, id="h1.upgrade.http10"),
    pytest.param(handshake(method="POST"), 200, id="h1.upgrade.post"),
    pytest.param(handshake(method="HEAD"), 200, id="HEAD"),
    pytest.param(handshake(without={"connection"}), 200, id="h1.upgrade.no-connection-token"),
    pytest.param(handshake("Upgrade: foo", without={"upgrade"}), 200, id="h1.upgrade.unknown"),
    pytest.param(handshake("Upgrade: websockets", without={"upgrade"}), 200, id="almost-websocket"),
    pytest.param(handshake(without={"upgrade"}), 200, id="no-upgrade"),
]


@pytest.mark.parametrize(("request_bytes", "status"), HANDSHAKES)
def test_a_handshake_is_accepted_refused_or_an_ordinary_request(serve: Serve, request_bytes: bytes, status: int) -> None:
    # S72
    running = serve(echo())
    with RawWebSocket(running.address) as client:
        client.send(request_bytes)
        if status == UPGRADED:
            client.read_switch()
            client.send(frame(TEXT, "x"))
            assert client.read_frame() == Frame(TEXT, b"x")
            client.finish()
        else:
            response = client.read_response("HEAD" if request_bytes.startswith(b"HEAD") else "GET")
            assert response.status == status
            assert response.all(b"sec-websocket-accept") == []
            # RFC 6455 §4.4, RFC 9110 §15.5.22
            told = [b"13"] if status == 426 else []
            assert response.all(b"sec-websocket-version") == told
            assert response.all(b"upgrade") == ([b"websocket"] if told else [])
            if status != 200:
                assert response.one(b"connection") == (b"upgrade, close" if told else b"close")
                client.expect_closed()
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"http"


def test_next_line_is_a_byte_in_a_value_and_no_line_end(serve: Serve) -> None:
    # CVE-2026-44546, its sixth byte: lawful obs-text, so that it must stay where it is.
    told = Told()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        told.put([value for name, value in scope["headers"] if name == b"x-a"])
        told.put([name for name, _ in scope["headers"]])
        await send({"type": "websocket.close"})

    running = serve(app)
    with RawWebSocket(running.address) as client:
        client.send(handshake("X-A: a\x85X-Admin: yes", "X-B: b"))
        assert client.read_response().status == 403
    assert told.next() == [b"a\x85X-Admin: yes"]
    assert b"x-admin" not in told.next()


def test_the_application_sees_the_scope_of_a_websocket(serve: Serve) -> None:
    # asgi.ws.scope, ws.hs.origin-passed
    told = Told()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        told.put(described(scope))
        await send({"type": "websocket.close"})

    running = serve(app)
    with RawWebSocket(running.address) as client:
        client.send(handshake("Sec-WebSocket-Protocol: b", "Origin: http://o", "Sec-WebSocket-Protocol: a, c", path="/%E4%BD%A0?x=%41"))
        local = client.sock.getsockname()
        assert client.read_response().status == 403
    scope = told.next()
    headers = dict(scope.pop("headers"))
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": list(running.address),
        "client": list(local),
        "scheme": "ws",
        "root_path": "",
        "path": "/你",
        "raw_path": "/%E4%BD%A0",
        "query_string": "x=%41",
        "subprotocols": ["b", "a", "c"],
        "extensions": {"websocket.http.response": {}},
    }
    assert headers["origin"] == "http://o"
    assert headers["sec-websocket-key"] == KEY


def test_nothing_is_said_before_the_application_accepts_and_nothing_is_lost(serve: Serve) -> None:
    # S55, S56, ws.hs.before-accept, ws.hs.early-frames
    door = Door()
    told = Told()
    inner = echo(told)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.put(scope["path"])
        await door.wait()
        await inner(scope, receive, send)

    running = serve(app)
    with RawWebSocket(running.address) as client:
        client.send(handshake() + frame(TEXT, "early") + frame(PING, b"p") + frame(TEXT, "ha", fin=False))
        assert told.next() == "/"
        client.send(frame(CONT, "lf"))
        client.expect_silence(0.1)
        door.open()
        client.read_switch()
        assert [client.read_frame() for _ in range(3)] == [Frame(PONG, b"p"), Frame(TEXT, b"early"), Frame(TEXT, b"half")]
        client.finish()
    assert told.next() == disconnect(1000)


def test_more_than_is_held_before_the_accept_waits_in_the_socket_and_is_delivered(serve: Serve) -> None:
    door = Door()

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        await door.wait()
        await send({"type": "websocket.accept"})
        sizes = [len((await receive())["bytes"]) for _ in range(3)]
        await send({"type": "websocket.send", "text": str(sizes)})

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        client.send(handshake() + b"".join(frame(BINARY, b"x" * 100_000) for _ in range(3)))
        door.open()
        client.read_switch()
        assert client.read_frame() == Frame(TEXT, b"[100000, 100000, 100000]")


def test_subprotocol_and_fields_of_the_application_are_in_the_101(serve: Serve) -> None:
    # ws.hs.subprotocol-chosen, asgi.ws.accept-headers
    running = serve(echo(subprotocol="b", headers=[(b"x-one", b"1"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"date", b"mine")]))
    with RawWebSocket(running.address) as client:
        response = client.open("Sec-WebSocket-Protocol: a, b")
        assert response.one(b"sec-websocket-protocol") == b"b"
        assert response.all(b"set-cookie") == [b"a", b"b"]
        assert response.one(b"date") == b"mine"
        client.finish()


def test_what_an_accept_must_not_say_never_reaches_the_wire(serve: Serve) -> None:
    # S60, ws.hs.subprotocol-not-offered, asgi.ws.accept-bad-header
    refused = Told()

    async def script(_scope: Scope, _receive: Receive, send: Send) -> None:
        for accept in (
            {"subprotocol": "evil"},
            {"headers": [(b"sec-websocket-protocol", b"a")]},
            {"headers": [(b"x", b"y\r\nx-evil: 1")]},
            {"headers": [(b":evil", b"1")]},
        ):
            try:
                await send({"type": "websocket.accept", **accept})
            except LocalProtocolError as error:
                refused.put(error)
        await send({"type": "websocket.accept", "subprotocol": "a"})
        await send({"type": "websocket.close"})

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        response = client.open("Sec-WebSocket-Protocol: a")
        assert response.one(b"sec-websocket-protocol") == b"a"
        assert not [field for field in response.fields if b"evil" in field[0] + field[1]]
        assert client.read_close() == (1000, "")
    assert len([refused.next() for _ in range(4)]) == 4


def test_an_expectation_is_answered_before_the_switch_and_only_then(serve: Serve) -> None:
    # h1.upgrade.expect-order
    door = Door()
    told = Told()
    inner = echo()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.put("called")
        await door.wait()
        await inner(scope, receive, send)

    running = serve(app)
    with RawWebSocket(running.address) as client:
        client.send(handshake("Expect: 100-continue"))
        told.next()
        client.expect_silence(0.1)
        door.open()
        response = client.read_switch()
        assert [each.status for each in response.informational] == [100, 101]
        client.finish()


def test_a_handshake_may_follow_other_requests_on_its_connection(serve: Serve) -> None:
    running = serve(echo())
    with RawWebSocket(running.address) as client:
        client.get("/")
        client.send(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n" + handshake() + frame(TEXT, "x"))
        assert [client.read_response().body for _ in range(2)] == [b"http", b"http"]
        client.read_switch()
        assert client.read_frame() == Frame(TEXT, b"x")
        client.finish()


def test_with_websocket_switched_off_a_handshake_is_an_ordinary_request(serve: Serve) -> None:
    running = serve(echo(), ws="none")
    with RawWebSocket(running.address) as client:
        client.send(handshake())
        response = client.read_response()
        assert (response.status, response.body) == (200, b"http")
        client.get("/")
        assert client.read_response().status == 200


def test_a_handshake_over_the_limit_of_requests_is_503(serve: Serve) -> None:
    running = serve(echo(), limit_concurrency=1)
    with RawWebSocket(running.address) as first, RawWebSocket(running.address) as second:
        first.open()
        second.send(handshake())
        response = second.read_response()
        assert response.status == 503
        assert response.one(b"retry-after") == b"1"
        second.expect_eof()
        first.finish()


# ---- refusing and denying ----------------------------------------------------------------------------------------------------------


def test_a_close_before_the_accept_is_403_and_the_end_of_the_connection(serve: Serve, records: Records) -> None:
    # S57, ws.hs.reject-403
    told = Told()

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": 4000})
        told.put([await receive(), await receive()])

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        client.send(handshake() + frame(TEXT, "behind") + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        response = client.read_response()
        assert response.status == 403
        assert response.closes
        # What stands behind a refused handshake is no request.
        client.expect_eof()
    assert told.next() == [disconnect(1006)] * 2
    (record,) = access(records)
    assert (record.status, record.close_code, record.outcome) == (403, None, "")
    assert records.errors == []


def test_a_denial_is_an_http_response_streamed_as_it_is_made(serve: Serve, records: Records) -> None:
    # S85, asgi.ws.denial
    door = Door()

    async def script(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic"), (b"x", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"first", "more_body": True})
        await door.wait()
        await send({"type": "websocket.http.response.body", "body": b"second"})

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        client.send(handshake())
        response = client.read_head()
        assert response.status == 401
        assert response.one(b"www-authenticate") == b"Basic"
        assert [response.all(name) for name in (b"upgrade", b"sec-websocket-accept")] == [[], []]
        assert client.read_chunk() == b"first"
        door.open()
        assert [client.read_chunk(), client.read_chunk()] == [b"second", b""]
        assert client.read_exactly(2) == b"\r\n"
        client.expect_eof()
    (record,) = access(records)
    assert (record.status, record.sent_bytes) == (401, 11)


def test_a_client_library_sees_a_denial(serve: Serve) -> None:
    async def script(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": [(b"content-length", b"4")]})
        await send({"type": "websocket.http.response.body", "body": b"gone"})

    running = serve(scripted(script))
    with pytest.raises(InvalidStatus) as caught, connect(running.url.replace("http", "ws")):
        pass
    assert caught.value.response.status_code == 404
    assert caught.value.response.body == b"gone"


@pytest.mark.parametrize("how", ["raises", "returns"])
def test_an_application_that_fails_before_the_accept_is_a_500(serve: Serve, records: Records, how: str) -> None:
    # S58
    async def script(_scope: Scope, _receive: Receive, _send: Send) -> None:
        if how == "raises":
            raise ZeroDivisionError("mine")

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        client.send(handshake(path="/ws"))
        response = client.read_response()
        assert response.status == 500
        assert b"mine" not in response.body
        client.expect_eof()
    (record,) = access(records)
    assert record.status == 500
    (error,) = records.errors
    assert "GET /ws" in error.getMessage()


# ---- messages ----------------------------------------------------------------------------------------------------------------------


def test_messages_of_every_kind_and_size_are_echoed(serve: Serve) -> None:
    # ws.frame.text-sizes, ws.frame.server-unmasked
    running = serve(echo())
    sent = [Frame(opcode, b"*" * size) for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 1_000_000) for opcode in (TEXT, BINARY)]
    with RawWebSocket(running.address) as client:
        client.open()
        for each in sent:
            client.send(frame(each.opcode, each.payload))
            assert client.read_frame() == each
        client.finish()


def test_a_thousand_messages_at_once_come_back_in_order(serve: Serve) -> None:
    # asgi.ws.message-order
    running = serve(echo())
    with RawWebSocket(running.address) as client:
        client.open()
        client.send(b"".join(frame(TEXT, str(number)) for number in range(1000)))
        assert [int(client.read_frame().payload) for _ in range(1000)] == list(range(1000))
        client.finish()


def test_fragments_are_one_message_and_control_frames_may_stand_between_them(serve: Serve) -> None:
    # S62, ws.frame.fragments, ws.frame.ping-not-to-app
    running = serve(echo())
    with RawWebSocket(running.address) as client:
        client.open()
        pieces = fragments(TEXT, ["κό".encode()[:3], "κό".encode()[3:], b"", "σμε".encode()])
        for number, piece in enumerate(pieces):
            client.send(piece)
            if number < len(pieces) - 1:
                client.send(frame(PING, b"%d" % number) + frame(PONG, b"unasked"))
                assert client.read_frame() == Frame(PONG, b"%d" % number)
        assert client.read_frame() == Frame(TEXT, "κόσμε".encode())
        client.finish()


@pytest.mark.parametrize(
    ("stimulus", "code"),
    [
        pytest.param([frame(TEXT, "x", masked=False)], 1002, id="ws.frame.unmasked-client"),
        pytest.param([frame(TEXT, "x", rsv=4)], 1002, id="ws.frame.rsv"),
        pytest.param([frame(3, "x")], 1002, id="ws.frame.reserved-opcode"),
        pytest.param([frame(PING, "x", fin=False)], 1002, id="ws.frame.control-fragmented"),
        pytest.param([frame(PING, "x" * 126)], 1002, id="ws.frame.control-too-long"),
        pytest.param([frame(CONT, "x")], 1002, id="ws.frame.continuation-orphan"),
        pytest.param([frame(TEXT, "x", fin=False), frame(TEXT, "y")], 1002, id="ws.frame.data-inside-fragments"),
        pytest.param([frame(CLOSE, b"\x03")], 1002, id="ws.close.one-byte"),
        pytest.param([close_frame(1005)], 1002, id="ws.close.invalid-codes"),
        pytest.param([close_frame(1000, b"\xff")], 1007, id="ws.utf8.close-reason"),
        pytest.param([frame(TEXT, b"\xce\xba\xed\xa0\x80")], 1007, id="ws.utf8.invalid"),
        pytest.param([frame(BINARY, b"x" * 10_001)], 1009, id="ws.frame.too-big"),
        pytest.param([bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 62)], 1009, id="announced-too-big"),
        pytest.param(fragments(TEXT, [b"x" * 4000] * 3), 1009, id="fragments-too-big"),
        pytest.param(fragments(TEXT, [b""] * 1025), 1009, id="ws.frame.fragment-flood"),
    ],
)
def test_a_client_that_breaks_a_rule_is_told_so_while_it_is_still_sending(serve: Serve, records: Records, stimulus: list[bytes], code: int) -> None:
    # S73
    told = Told()
    running = serve(echo(told), ws_max_size=10_000)
    with RawWebSocket(running.address) as client:
        client.open()
        client.send(b"".join(stimulus) + frame(TEXT, "more of what it was sending" * 100))
        client.expect_close(code)
    assert told.next()["code"] == code
    (record,) = access(records)
    assert (record.status, record.close_code) == (101, code)
    assert records.errors == []
    with RawConnection(running.address) as other:
        assert other.exchange().status == 200


# ---- closing -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        pytest.param(close_frame(1000), 1000, "", id="ws.close.echo"),
        pytest.param(close_frame(4001, "tschüß"), 4001, "tschüß", id="asgi.ws.disconnect-reason"),
        pytest.param(close_frame(), 1005, "", id="ws.close.empty"),
        pytest.param(close_frame(1012), 1012, "", id="registered-later"),
    ],
)
def test_the_clients_close_is_echoed_and_told(serve: Serve, records: Records, sent: bytes, code: int, reason: str) -> None:
    # S65, S66; ws.close.data-after; the server ends the connection first (RFC 6455 §7.1.1)
    told = Told()
    running = serve(echo(told))
    with RawWebSocket(running.address) as client:
        client.open()
        client.send(sent + frame(TEXT, "late") + frame(PING, "late"))
        client.expect_close(code)
    assert told.next() == disconnect(code, reason)
    (record,) = access(records)
    assert (record.status, record.close_code, record.outcome) == (101, code, "")


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "not-accepted"])
def test_a_client_that_goes_without_a_word_is_1006(serve: Serve, records: Records, how: str, accepted: bool) -> None:
    # S69, ws.close.tcp-drop, ws.hs.client-gone
    told = Told()

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        if accepted:
            await send({"type": "websocket.accept"})
        told.put("there")
        told.put(await receive())
        told.put(await receive())
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as error:
            told.put(error)
            raise

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        client.send(handshake())
        if accepted:
            client.read_switch()
        assert told.next() == "there"
        if how == "reset":
            client.reset()
        elif how == "close":
            client.close()
        else:
            client.half_close()
        assert [told.next(), told.next()] == [disconnect(1006)] * 2
        assert isinstance(told.next(), ClientDisconnected)
    (record,) = access(records)
    assert (record.status, record.close_code, record.outcome) == ((101, 1006, "aborted") if accepted else (0, None, "aborted"))
    assert records.errors == []


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [({}, 1000, ""), ({"code": 4001, "reason": "bye"}, 4001, "bye"), ({"code": 3000, "reason": "x" * 123}, 3000, "x" * 123)],
    ids=["asgi.ws.close-default", "asgi.ws.close-code-reason", "longest-reason"],
)
def test_the_applications_close_reaches_the_client(serve: Serve, records: Records, message: Message, code: int, reason: str) -> None:
    # S67, asgi.ws.disconnect-after-own-close
    told = Told()

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", **message})
        told.put(await receive())
        await send({"type": "websocket.send", "text": "late"})

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        client.open()
        assert client.read_close() == (code, reason)
        client.send(close_frame(code))
        client.expect_eof()
    assert told.next() == disconnect(code)
    (record,) = access(records)
    assert (record.close_code, record.outcome) == (code, "")
    running.stop()
    assert records.errors == []


@pytest.mark.parametrize("how", ["raises", "returns", "sends-nonsense"])
def test_an_application_that_fails_or_returns_after_the_accept_is_1011(serve: Serve, records: Records, how: str) -> None:
    # S68, asgi.ws.raise-after-accept, asgi.ws.return-after-accept
    async def script(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "before"})
        if how == "raises":
            raise ZeroDivisionError("mine")
        if how == "sends-nonsense":
            await send({"type": "websocket.send", "text": None, "bytes": None})

    running = serve(scripted(script))
    with RawWebSocket(running.address) as client:
        client.open()
        assert client.read_frame() == Frame(TEXT, b"before")
        found = client.read_close()
        assert found[0] == 1011
        assert "mine" not in found[1]
        client.send(close_frame(1011))
        client.expect_eof()
    (record,) = access(records)
    assert record.close_code == 1011
    running.stop()
    assert len(records.errors) == (0 if how == "returns" else 1)
    assert len(records.access) == 1


def test_a_client_that_never_answers_the_close_is_let_go(serve: Serve, records: Records) -> None:
    # ws.close.server-timeout
    told = Told()

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000})
        told.put(await receive())

    running = serve(scripted(script), ws_close_timeout=0.1)
    with RawWebSocket(running.address) as client:
        client.open()
        client.expect_close(4000)
    assert told.next() == disconnect(1006)
    assert access(records)[0].close_code == 4000


def test_a_stop_of_the_server_is_1012_to_client_and_application_and_the_lifespan_ends_after_it(serve_bare: ServeBare, records: Records) -> None:
    # asgi.ws.shutdown
    told = Told()
    inner = echo(told)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                told.put(message["type"])
                await send({"type": message["type"] + ".complete"})
        else:
            await inner(scope, receive, send)

    running = serve_bare(app, lifespan="on")
    assert told.next() == "lifespan.startup"
    with RawWebSocket(running.address) as client, RawWebSocket(running.address) as silent:
        client.open()
        silent.open()
        running.server.stop()
        for each in (client, silent):
            assert each.read_close()[0] == 1012
        client.send(close_frame(1012))
        client.expect_eof()
        assert [told.next(), told.next()] == [disconnect(1012)] * 2
        assert told.nothing()
        silent.close()
        assert told.next() == "lifespan.shutdown"
    running.join()
    assert [(record.status, record.close_code) for record in records.access] == [(101, 1012)] * 2
    assert records.errors == []


def test_a_stop_is_not_held_up_by_a_client_that_does_not_answer(serve: Serve) -> None:
    running = serve(echo(), ws_close_timeout=0.1)
    with RawWebSocket(running.address) as client:
        client.open()
        running.stop()
        client.expect_close(1012)


def test_an_application_that_does_not_end_after_1012_is_cancelled_after_the_grace(serve_bare: ServeBare, records: Records) -> None:
    told = Told()

    async def script(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            told.put("cancelled")

    running = serve_bare(scripted(script), timeout_graceful_shutdown=0.1)
    with RawWebSocket(running.address) as client:
        client.open()
        running.server.stop()
        assert client.read_close()[0] == 1012
        client.send(close_frame(1012))
        client.expect_eof()
        running.join()
    assert told.next() == "cancelled"
    assert [error.getMessage() for error in records.errors] == ["cancelling 1 request that did not finish in time"]


# ---- liveness ----------------------------------------------------------------------------------------------------------------------


def test_the_server_pings_and_a_client_that_answers_stays(serve: Serve) -> None:
    # S61, ws.keepalive.ping
    told = Told()
    running = serve(echo(told), ws_ping_interval=0.02, ws_ping_timeout=10.0)
    with RawWebSocket(running.address) as client:
        client.open()
        for _ in range(5):
            ping = client.read_frame()
            assert ping.opcode == PING
            client.send(frame(PONG, ping.payload))
        client.send(frame(TEXT, "still here"))
        while (received := client.read_frame()).opcode == PING:
            client.send(frame(PONG, received.payload))
        assert received == Frame(TEXT, b"still here")
        client.send(close_frame(1000))
        while (received := client.read_frame()).opcode == PING:
            pass
        assert closing(received) == (1000, "")
    assert told.next() == disconnect(1000)


def test_a_client_that_does_not_answer_pings_is_closed_with_1011(serve: Serve, records: Records) -> None:
    told = Told()
    running = serve(echo(told), ws_ping_interval=0.02, ws_ping_timeout=0.1)
    with RawWebSocket(running.address) as client:
        client.open()
        assert client.read_frame().opcode == PING
        client.expect_close(1011)
    assert told.next()["code"] == 1006
    assert access(records)[0].close_code == 1011
    assert records.errors == []


# ---- back-pressure -----------------------------------------------------------------------------------------------------------------


def buffered(running: LiveServer) -> int:
    """The bytes that wait in the transports of the server."""
    return int(running.run(lambda: sum(each.transport.get_write_buffer_size() for each in running.server._connections if each.transport)))


def test_send_waits_for_a_client_that_does_not_read(serve: Serve) -> None:
    # S15, asgi.ws.backpressure
    told = Told()
    size, count = 65536, 1000

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        waited = False
        for number in range(count):
            sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": bytes(size)}))
            await asyncio.wait([sending], timeout=0.3)
            if not sending.done() and not waited:
                waited = True
                told.put(number)
            await sending
        told.put("all")
        await receive()

    running = serve(scripted(script), ws_per_message_deflate=False)
    with RawWebSocket(running.address, receive_buffer=65536) as client:
        client.open()
        number = told.next()
        assert number != "all"
        assert number * size < 16 * MIB
        # The transport's high-water mark and the message that went over it.
        assert buffered(running) <= 65536 + size + 100
        for _ in range(count):
            assert len(client.read_frame().payload) == size
        assert told.next() == "all"
        client.finish()


def test_a_client_is_held_up_by_an_application_that_does_not_receive(serve: Serve) -> None:
    door = Door()
    size, count = 65536, 512
    data = frame(BINARY, bytes(size))

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await door.wait()
        received = 0
        for _ in range(count):
            received += len((await receive())["bytes"])
        await send({"type": "websocket.send", "text": str(received)})
        await receive()

    running = serve(scripted(script), ws_max_queue=4)
    with RawWebSocket(running.address) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.open()
        client.sock.settimeout(0.5)
        sent = 0
        whole = memoryview(data * count)
        with contextlib.suppress(TimeoutError):
            while sent < len(whole):
                sent += client.sock.send(whole[sent:])
        # What the two sockets hold, the four messages, and one read.
        assert sent < 16 * MIB
        client.sock.settimeout(WAIT)
        door.open()
        client.send(bytes(whole[sent:]))
        assert client.read_frame() == Frame(TEXT, str(size * count).encode())
        client.finish()


def test_a_client_that_takes_nothing_is_cut_after_the_write_timeout(serve: Serve, records: Records) -> None:
    told = Told()

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        receiving = asyncio.ensure_future(receive())
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(65536)})
        except OSError:
            told.put(await receiving)
            raise

    running = serve(scripted(script), timeout_write=0.2, ws_per_message_deflate=False)
    with RawWebSocket(running.address, receive_buffer=65536) as client:
        client.open()
        assert told.next() == disconnect(1006)
    (record,) = access(records)
    assert (record.outcome, record.close_code) == ("write timeout", 1006)
    assert records.errors == []


# ---- compression -------------------------------------------------------------------------------------------------------------------

OFFERS: list[dict[str, Any]] = [
    {},
    {"client_max_window_bits": 9},
    {"server_max_window_bits": 9},
    {"client_no_context_takeover": True},
    {"server_no_context_takeover": True},
    {"client_no_context_takeover": True, "server_no_context_takeover": True, "client_max_window_bits": 10, "server_max_window_bits": 10},
]


@pytest.mark.parametrize("offer", OFFERS, ids=[", ".join(offer) or "plain" for offer in OFFERS])
def test_a_client_library_and_the_server_agree_on_compression(serve: Serve, offer: dict[str, Any]) -> None:
    # ws.pmd.negotiate, ws.pmd.echo, ws.pmd.context-takeover
    running = serve(echo())
    factory = ClientPerMessageDeflateFactory(**offer)
    with connect(running.url.replace("http", "ws"), compression=None, extensions=[factory]) as client:
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        messages: list[str | bytes] = ["", b"", "Hello" * 30, "Hello" * 30, "κόσμε", b"\0" * 100_000, bytes(range(256)) * 300]
        for message in messages:
            client.send(message)
            assert client.recv(WAIT) == message


def test_compression_can_be_switched_off(serve: Serve) -> None:
    running = serve(echo(), ws_per_message_deflate=False)
    with connect(running.url.replace("http", "ws")) as client:
        assert client.protocol.extensions == []
        client.send("x" * 1000)
        assert client.recv(WAIT) == "x" * 1000
    with RawWebSocket(running.address) as raw:
        assert raw.open("Sec-WebSocket-Extensions: permessage-deflate").all(b"sec-websocket-extensions") == []
        raw.send(frame(TEXT, "x", rsv=4))
        raw.expect_close(1002)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("stimulus", "code"),
    [
        pytest.param(frame(PING, "x", rsv=4), 1002, id="ws.pmd.rsv1-control"),
        pytest.param(frame(TEXT, b"\xff\xff\xff\xff", rsv=4), 1002, id="ws.pmd.bad-deflate"),
        pytest.param(frame(TEXT, deflated(b"\xff"), rsv=4), 1007, id="inflated-text-that-is-no-utf-8"),
        pytest.param(frame(BINARY, deflated(b"\0" * (2 * MIB)), rsv=4), 1009, id="ws.pmd.bomb"),
    ],
)
def test_compression_that_breaks_a_rule_fails_the_connection(serve: Serve, stimulus: bytes, code: int) -> None:
    told = Told()
    running = serve(echo(told), ws_max_size=MIB)
    with RawWebSocket(running.address) as client:
        assert client.open("Sec-WebSocket-Extensions: permessage-deflate").one(b"sec-websocket-extensions") is not None
        client.send(stimulus)
        client.expect_close(code)
    assert told.next()["code"] == code


# ---- the library's client ----------------------------------------------------------------------------------------------------------


def test_a_client_library_closes_in_order_both_ways(serve: Serve) -> None:
    told = Told()
    running = serve(echo(told))
    url = running.url.replace("http", "ws")
    with connect(url) as client:
        client.send(["frag", "ments"])
        assert client.recv(WAIT) == "fragments"
        client.ping().wait(WAIT)
        client.close(4002, "bye")
    assert told.next() == disconnect(4002, "bye")

    async def leaving(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1001, "reason": "lunch"})

    with connect(serve(scripted(leaving)).url.replace("http", "ws")) as client:
        with pytest.raises(ConnectionClosedOK):
            client.recv(WAIT)
        assert (client.close_code, client.close_reason) == (1001, "lunch")

    async def failing(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError

    with connect(serve(scripted(failing)).url.replace("http", "ws")) as client:
        with pytest.raises(ConnectionClosedError):
            client.recv(WAIT)
        assert client.close_code == 1011


def test_many_sessions_on_the_servers_own_loop_never_cross(stack: Stack) -> None:
    """`Server` as a context manager in the loop of its clients."""

    async def session(url: str, name: int) -> list[str]:
        async with connect_async(url) as client:
            answers = []
            for number in range(20):
                await client.send(f"{name}.{number}")
                answers.append(str(await client.recv()))
            return answers

    async def main() -> list[list[str]]:
        async with Server(echo(), port=0, http=stack.parser, lifespan="off") as server:
            url = server.addresses[0].url.replace("http", "ws")
            async with asyncio.timeout(30):
                return await asyncio.gather(*(session(url, name) for name in range(20)))

    with asyncio.Runner(loop_factory=loop_factory(stack.loop)) as runner:
        answers = runner.run(main())
    assert answers == [[f"{name}.{number}" for number in range(20)] for name in range(20)]


def test_nothing_of_a_websocket_stays_behind(serve: Serve) -> None:
    told = Told()
    running = serve(echo(told))
    for end in ("finish", "reset", "bad"):
        for _ in range(10):
            with RawWebSocket(running.address) as client:
                client.open()
                if end == "finish":
                    client.finish()
                elif end == "reset":
                    client.reset()
                else:
                    client.send(frame(3))
                    client.expect_close(1002)
            told.next()
    running.stop()
    assert running.server._connections == set()
    assert running.server._calls == set()


# ---- TLS ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A server's certificate, for all tests here."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_a_websocket_on_tls_is_wss_and_ends_in_order(serve: Serve, certificates: Certificates) -> None:
    told = Told()
    inner = echo(told)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.put((scope["scheme"], sorted(scope["extensions"])))
        await inner(scope, receive, send)

    running = serve(app, **certificates.options)
    with RawWebSocket(running.address, tls=certificates.client_context()) as client:
        client.open()
        assert told.next() == ("wss", ["tls", "websocket.http.response"])
        client.send(frame(BINARY, b"x" * 300_000))
        assert client.read_frame() == Frame(BINARY, b"x" * 300_000)
        client.finish(4000)
    assert told.next() == disconnect(4000)


@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "not-accepted"])
def test_a_client_on_tls_that_goes_without_a_word_is_1006(serve: Serve, records: Records, certificates: Certificates, accepted: bool) -> None:
    told = Told()

    async def script(_scope: Scope, receive: Receive, send: Send) -> None:
        if accepted:
            await send({"type": "websocket.accept"})
        told.put("there")
        told.put(await receive())

    running = serve(scripted(script), **certificates.options)
    with RawWebSocket(running.address, tls=certificates.client_context()) as client:
        client.send(handshake())
        if accepted:
            client.read_switch()
        assert told.next() == "there"
        client.close()
        assert told.next() == disconnect(1006)
    assert len(access(records)) == 1
    assert records.errors == []


def test_a_client_on_tls_that_breaks_a_rule_is_told_so_while_it_is_still_sending(serve: Serve, certificates: Certificates) -> None:
    running = serve(echo(), timeout_linger=0.2, **certificates.options)
    with RawWebSocket(running.address, tls=certificates.client_context()) as client:
        client.open()
        client.send(frame(3) + frame(TEXT, "more of what it was sending" * 100))
        assert client.read_close()[0] == 1002
        # TLS has no half-close: the server reads on for a while, and then ends.
        client.expect_closed()


def test_a_stop_of_the_server_is_1012_on_tls_too(serve_bare: ServeBare, records: Records, certificates: Certificates) -> None:
    running = serve_bare(echo(), timeout_linger=0.2, **certificates.options)
    with RawWebSocket(running.address, tls=certificates.client_context()) as client:
        client.open()
        running.server.stop()
        assert client.read_close()[0] == 1012
        client.send(close_frame(1012))
        client.expect_closed()
        running.join()
    assert [record.close_code for record in records.access] == [1012]
    assert records.errors == []
