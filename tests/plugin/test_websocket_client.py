"""`WebSocketClient`: every wait is bounded, and every error says what happened (RFC 6455)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pytest_asgiserve.websocket import (
    WebSocketClient,
    WebSocketClosed,
    WebSocketHandshakeError,
    WebSocketMessageError,
    WebSocketRejected,
    WebSocketTimeout,
    connect_websocket,
)
from tests.support.apps import Message, Receive, Scope, Send, described
from tests.support.certificates import Certificates
from tests.support.serving import Serving, serving
from tests.support.websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


# An application: the path says what it does.


async def talk(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes; ``close`` makes it close with 4001, ``silence`` makes it read on without an answer."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None), "headers": [(b"x-answer", b"yes")]})
    silent = False
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
            return
        silent = silent or message.get("text") == "silence"
        if not silent:
            kind = "text" if message.get("text") is not None else "bytes"
            await send({"type": "websocket.send", kind: message[kind]})


async def accept(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends 0, 1, 2 and closes with the code in the query."""
    await accept(scope, receive, send)
    for number in range(3):
        await send({"type": "websocket.send", "text": str(number)})
    await send({"type": "websocket.close", "code": int(scope["query_string"])})


async def show(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(scope, receive, send)
    await send({"type": "websocket.send", "bytes": json.dumps(described(scope)).encode()})


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends 8 MiB before it reads anything; then says how much it has read until the word ``end``."""
    await accept(scope, receive, send)
    await send({"type": "websocket.send", "bytes": bytes(8 << 20)})
    size = 0
    while (message := await receive()).get("text") != "end":
        size += len(message["bytes"])
    await send({"type": "websocket.send", "text": str(size)})


async def deny(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic"), (b"content-length", b"6")]})
    await send({"type": "websocket.http.response.body", "body": b"who?\r\n"})


async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close"})


APPS = {"/talk": talk, "/count": count, "/show": show, "/flood": flood, "/deny": deny, "/refuse": refuse}


class Site:
    """The applications, and how their connections ended."""

    def __init__(self) -> None:
        self.ended: dict[str, Message] = {}
        self.done = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.ended[scope["path"]] = message
                self.done.set()
            return message

        await APPS.get(scope["path"], show)(scope, watched, send)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def running(site: Site) -> Iterator[Serving]:
    with serving(site, lifespan="off", log_level="critical", ws_ping_interval=None) as server:
        yield server


def url_of(running: Serving, path: str = "/talk") -> str:
    return running.url.replace("http", "ws", 1) + path


@pytest.fixture
def talking(running: Serving) -> Iterator[WebSocketClient]:
    with connect_websocket(url_of(running), timeout=5) as ws:
        yield ws


# A server that does what it is told.

Script = "Callable[[socket.socket], None]"


def read_head(peer: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(1)
    return head


def switch(peer: socket.socket, fields: str = "") -> None:
    """Accept the handshake (RFC 6455 §4.2.2)."""
    key = re.findall(rb"(?i)sec-websocket-key: (\S+)", read_head(peer))[0]
    accepted = b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accepted}"]
    peer.sendall(("\r\n".join(lines) + f"\r\n{fields}\r\n").encode())


def read_frame(peer: socket.socket) -> Frame:
    """A short frame of the client, unmasked."""
    first, second = peer.recv(1)[0], peer.recv(1)[0]
    data = b"".join(peer.recv(1) for _ in range(4 + (second & 0x7F)))
    mask, payload = data[:4], data[4:]
    return Frame(first & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)), bool(first & 0x80), first >> 4 & 7)


@contextlib.contextmanager
def scripted(script: Any) -> Iterator[str]:
    """The URL of a server whose one connection is ``script``'s; an error of it is one of the test's."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def serve() -> None:
            with listener.accept()[0] as peer:
                peer.settimeout(5)
                script(peer)

        listener.settimeout(5)
        served = thread.submit(serve)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/scripted"
        served.result(10)


def sending(*frames: bytes, waits: bool = True) -> Any:
    """Accepts, sends ``frames``, and waits for the client to go."""

    def script(peer: socket.socket) -> None:
        switch(peer)
        peer.sendall(b"".join(frames))
        if waits:
            with contextlib.suppress(ConnectionResetError):
                while peer.recv(4096):
                    pass

    return script


def unmasked(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return frame(opcode, payload, fin=fin, masked=False)


# Messages.


def test_messages_go_there_and_back(talking: WebSocketClient) -> None:
    talking.send("text ü")
    assert talking.receive() == "text ü"
    talking.send(b"\xff\x00")
    assert talking.receive() == b"\xff\x00"
    talking.send_text("a")
    assert talking.receive_text() == "a"
    talking.send_bytes(bytearray(b"b"))
    assert talking.receive_bytes() == b"b"
    talking.send_json({"ü": [1, None]})
    assert talking.receive_text() == '{"ü":[1,null]}'
    talking.send_json([])
    assert talking.receive_json() == []
    talking.send(b'{"a": 1}')
    assert talking.receive_json() == {"a": 1}


def test_messages_that_come_before_they_are_asked_for_are_kept_in_order(talking: WebSocketClient) -> None:
    for number in range(100):
        talking.send(str(number))
    assert [talking.receive() for _ in range(100)] == [str(number) for number in range(100)]


@pytest.mark.parametrize("compression", ["deflate", None])
def test_compression_is_offered_or_not(running: Serving, compression: Any) -> None:
    with connect_websocket(url_of(running), compression=compression) as ws:
        assert ("sec-websocket-extensions" in ws.response.headers) is (compression is not None)
        ws.send("long " * 100000)
        assert ws.receive() == "long " * 100000


def test_two_that_send_at_once_do_not_wait_for_each_other(running: Serving) -> None:
    # More than all buffers on the way hold, in both directions, and the application reads only after it has sent.
    with connect_websocket(url_of(running, "/flood"), compression=None) as ws:
        for _ in range(8):
            ws.send(bytes(1 << 20))
        ws.send("end")
        assert ws.receive() == bytes(8 << 20)
        assert ws.receive() == str(8 << 20)


def test_a_message_in_fragments_is_one_message() -> None:
    script = sending(
        unmasked(TEXT, b"\xc3", fin=False), unmasked(PING, b"p"), unmasked(CONT, b"\xbc", fin=False), unmasked(CONT), unmasked(BINARY, b"\xc3")
    )
    with scripted(script) as url, connect_websocket(url) as ws:
        assert ws.receive() == "ü"
        assert ws.receive() == b"\xc3"
        ws.abort()


@pytest.mark.parametrize(
    ("sent", "method", "error"),
    [
        pytest.param(b"ab", "receive_text", "/talk sent binary b'ab' (2 bytes), not text", id="binary-for-text"),
        pytest.param("ab", "receive_bytes", "/talk sent text 'ab' (2 characters), not binary", id="text-for-binary"),
        pytest.param("ab", "receive_json", "/talk sent text 'ab' (2 characters), not JSON (Expecting value: line 1 column 1 (char 0))", id="no-json"),
        pytest.param(b"\xff", "receive_json", "/talk sent binary b'\\xff' (1 bytes), not JSON (", id="no-json-in-bytes"),
        pytest.param("x" * 1000, "receive_bytes", f"/talk sent text '{'x' * 100}'… (1000 characters), not binary", id="long"),
    ],
)
def test_a_message_of_another_kind_is_shown(talking: WebSocketClient, sent: str | bytes, method: str, error: str) -> None:
    talking.send(sent)
    with pytest.raises(WebSocketMessageError, match=re.escape(error)) as raised:
        getattr(talking, method)()
    assert raised.value.message == sent
    # The connection is as good as before.
    talking.send("again")
    assert talking.receive() == "again"


def test_what_is_no_message_is_not_sent(talking: WebSocketClient) -> None:
    wrong: Any = {"a": 1}
    for method in (talking.send, talking.send_text, talking.send_bytes):
        with pytest.raises(TypeError, match="not dict"):
            method(wrong)
    with pytest.raises(TypeError, match="not bytes"):
        talking.send_text(b"a")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="not str"):
        talking.send_bytes("a")  # type: ignore[arg-type]  # the mistake


# Time.


def test_a_wait_ends_and_says_for_what(talking: WebSocketClient) -> None:
    with pytest.raises(WebSocketTimeout, match=r"^/talk: no message came within 0\.02 s; no message has come so far$"):
        talking.receive(timeout=0.02)
    talking.send("hello")
    assert talking.receive() == "hello"
    with pytest.raises(TimeoutError, match=r"of 1, the last message was text 'hello' \(5 characters\)$"):
        talking.receive(timeout=0)
    # Nothing is lost by waiting in vain.
    talking.send("again")
    assert talking.receive() == "again"


def test_a_client_has_a_time_limit_of_its_own(running: Serving) -> None:
    with connect_websocket(url_of(running), timeout=0.05) as ws:
        for method in (ws.receive, ws.receive_text, ws.receive_bytes, ws.receive_json, ws.wait_closed, lambda: next(iter(ws))):
            with pytest.raises(WebSocketTimeout, match=r"within 0\.05 s"):
                method()
        ws.send("x", timeout=5)
        assert ws.receive(timeout=5) == "x"


def test_pieces_without_an_end_do_not_make_a_wait_longer() -> None:
    stop = threading.Event()

    def script(peer: socket.socket) -> None:
        switch(peer)
        peer.sendall(unmasked(TEXT, b"a", fin=False))
        with contextlib.suppress(OSError):
            while not stop.is_set():
                peer.sendall(unmasked(CONT, b"a", fin=False) + unmasked(PING, b"x"))

    with scripted(script) as url, connect_websocket(url) as ws:
        with pytest.raises(WebSocketTimeout, match=r"within 0\.1 s"):
            ws.receive(timeout=0.1)
        stop.set()
        ws.abort()


def test_a_server_that_takes_nothing_is_a_timeout() -> None:
    read = threading.Event()

    def script(peer: socket.socket) -> None:
        switch(peer)
        assert read.wait(5)

    with scripted(script) as url, connect_websocket(url, compression=None) as ws:
        with pytest.raises(WebSocketTimeout, match=r"/scripted: the server did not take what was sent within 0\.05 s"):
            ws.send(bytes(64 << 20), timeout=0.05)
        read.set()
        ws.abort()


def test_a_ping_is_answered_and_messages_are_kept(talking: WebSocketClient) -> None:
    talking.send("before")
    assert 0 <= talking.ping() < 5
    assert talking.receive() == "before"
    assert talking.ping(timeout=5) >= 0


def test_a_ping_without_a_pong_is_a_timeout() -> None:
    with scripted(sending(unmasked(PONG, b"not yours"))) as url, connect_websocket(url) as ws:
        with pytest.raises(WebSocketTimeout, match="no pong came"):
            ws.ping(timeout=0.02)
        ws.abort()


def test_a_close_instead_of_a_pong_is_a_close() -> None:
    def script(peer: socket.socket) -> None:
        switch(peer)
        read_frame(peer)
        peer.sendall(unmasked(CLOSE, struct.pack("!H", 1001)))

    with scripted(script) as url, connect_websocket(url) as ws, pytest.raises(WebSocketClosed, match="1001"):
        ws.ping()


def test_a_ping_of_the_server_is_answered_while_something_is_waited_for() -> None:
    def script(peer: socket.socket) -> None:
        switch(peer)
        peer.sendall(unmasked(PING, b"are you there"))
        assert read_frame(peer) == Frame(PONG, b"are you there")
        peer.sendall(unmasked(TEXT, b"good"))
        read_frame(peer)

    with scripted(script) as url, connect_websocket(url) as ws:
        assert ws.receive() == "good"


# The end.


def test_the_server_closes(talking: WebSocketClient) -> None:
    assert (talking.close_code, talking.close_reason) == (None, None)
    assert repr(talking) == "<WebSocketClient /talk open>"
    talking.send("one")
    talking.send("close")
    assert talking.receive() == "one"
    for _ in range(2):
        with pytest.raises(WebSocketClosed, match=r"^/talk is closed: 4001 'as you wish'$") as closed:
            talking.receive()
        assert (closed.value.code, closed.value.reason) == (4001, "as you wish")
    assert (talking.close_code, talking.close_reason) == (4001, "as you wish")
    assert repr(talking) == "<WebSocketClient /talk closed 4001 as you wish>"
    for use in (lambda: talking.send("x"), talking.ping):
        with pytest.raises(WebSocketClosed, match="4001 'as you wish'"):
            use()
    talking.close()
    assert talking.close_code == 4001


def test_what_came_before_the_close_can_be_received_after_it(running: Serving) -> None:
    with connect_websocket(url_of(running, "/count?4000")) as ws:
        assert ws.wait_closed() == 4000
        assert [ws.receive() for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(WebSocketClosed, match="4000"):
            ws.receive()


@pytest.mark.parametrize("code", [1000, 1001])
def test_iteration_ends_with_a_good_close(running: Serving, code: int) -> None:
    with connect_websocket(url_of(running, f"/count?{code}")) as ws:
        assert list(ws) == ["0", "1", "2"]
        assert ws.close_code == code


def test_iteration_does_not_hide_a_bad_close(running: Serving) -> None:
    with connect_websocket(url_of(running, "/count?1011")) as ws:
        received: list[str | bytes] = []
        with pytest.raises(WebSocketClosed, match="1011"):
            received.extend(iter(ws))
        assert len(received) in {0, 3}
        assert ws.wait_closed() == 1011


def test_a_close_without_a_code_is_1005_and_a_good_one() -> None:
    with scripted(sending(unmasked(CLOSE), waits=False)) as url, connect_websocket(url) as ws:
        assert list(ws) == []
        assert (ws.close_code, ws.close_reason) == (1005, "")


def test_the_client_closes(running: Serving, site: Site) -> None:
    ws = connect_websocket(url_of(running))
    ws.close(4002, "had enough")
    assert site.done.wait(5)
    assert (site.ended["/talk"]["code"], site.ended["/talk"]["reason"]) == (4002, "had enough")
    assert (ws.close_code, ws.close_reason) == (4002, "had enough")
    with pytest.raises(WebSocketClosed, match="4002 'had enough'"):
        ws.receive()
    ws.close()


def test_what_comes_while_the_client_closes_can_be_received() -> None:
    def script(peer: socket.socket) -> None:
        switch(peer)
        closing = read_frame(peer)
        peer.sendall(unmasked(TEXT, b"last words") + unmasked(closing.opcode, closing.payload))

    with scripted(script) as url:
        ws = connect_websocket(url)
        ws.close()
        assert list(ws) == ["last words"]
        assert ws.close_code == 1000


def test_leaving_the_block_closes_with_1000(running: Serving, site: Site) -> None:
    with connect_websocket(url_of(running)) as ws:
        assert ws.close_code is None
    assert site.done.wait(5)
    assert site.ended["/talk"]["code"] == 1000
    assert ws.close_code == 1000


def test_a_failed_test_cuts_the_connection_and_waits_for_nothing(running: Serving, site: Site) -> None:
    def fail() -> None:
        with connect_websocket(url_of(running)):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert site.done.wait(5)
    assert site.ended["/talk"]["code"] == 1006


def test_a_connection_can_be_cut(running: Serving, site: Site) -> None:
    with connect_websocket(url_of(running)) as ws:
        ws.abort()
        ws.abort()
        assert site.done.wait(5)
        with pytest.raises(WebSocketClosed, match=r"1006 \(this side cut the connection\)"):
            ws.receive()
        with pytest.raises(WebSocketClosed, match="this side"):
            ws.send("x")
    assert site.ended["/talk"]["code"] == 1006


@pytest.mark.parametrize(("code", "reason"), [(999, ""), (1005, ""), (1006, ""), (1000, "x" * 124)])
def test_a_close_that_cannot_be_sent_is_refused_and_changes_nothing(talking: WebSocketClient, code: int, reason: str) -> None:
    with pytest.raises(ValueError, match="no close frame"):
        talking.close(code, reason)
    talking.send("still there")
    assert talking.receive() == "still there"


def test_a_server_that_does_not_close_is_a_timeout_and_is_cut() -> None:
    with scripted(sending()) as url:
        ws = connect_websocket(url)
        with pytest.raises(WebSocketTimeout, match=r"/scripted: the server did not close within 0\.02 s"):
            ws.close(timeout=0.02)
        assert ws.close_code == 1006


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_an_end_without_a_close_frame_is_1006(how: str) -> None:
    def script(peer: socket.socket) -> None:
        switch(peer)
        if how == "rst":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with scripted(script) as url, connect_websocket(url) as ws:
        with pytest.raises(WebSocketClosed, match=r"1006 \(the connection ended without a close frame\)") as closed:
            ws.receive()
        assert (closed.value.code, closed.value.reason) == (1006, "")


def test_sending_to_a_server_that_has_gone_says_how_it_went() -> None:
    gone = threading.Event()

    def script(peer: socket.socket) -> None:
        switch(peer)
        peer.sendall(unmasked(CLOSE, struct.pack("!H", 1013) + b"later"))
        peer.shutdown(socket.SHUT_WR)
        gone.set()
        with contextlib.suppress(OSError):
            while peer.recv(4096):
                pass

    with scripted(script) as url, connect_websocket(url) as ws:
        assert gone.wait(5)
        with pytest.raises(WebSocketClosed, match="1013 'later'"):
            ws.send("too late")


def test_a_reset_while_sending_is_a_close() -> None:
    def script(peer: socket.socket) -> None:
        switch(peer)
        peer.recv(1)
        # With bytes unread a close is a RST.

    with scripted(script) as url, connect_websocket(url, compression=None) as ws, pytest.raises(WebSocketClosed, match="1006"):
        ws.send(bytes(64 << 20))


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        pytest.param([frame(TEXT, b"a")], "incorrect masking", id="masked"),
        pytest.param([unmasked(CONT, b"a")], "unexpected continuation frame", id="continues-nothing"),
        pytest.param([unmasked(TEXT, b"\xff")], "invalid start byte", id="no-utf-8"),
        pytest.param([b"\x83\x00"], "invalid opcode", id="reserved-opcode"),
    ],
)
def test_a_server_that_breaks_the_protocol_is_named(frames: list[bytes], why: str) -> None:
    with scripted(sending(unmasked(TEXT, b"good"), *frames)) as url, connect_websocket(url) as ws:
        assert ws.receive() == "good"
        with pytest.raises(WebSocketClosed, match=f"1006 .the server broke the protocol: .*{why}") as closed:
            ws.receive()
        assert closed.value.__cause__ is not None
        ws.abort()


# The handshake.


def shown(running: Serving, path: str = "/show", **options: Any) -> dict[str, Any]:
    with connect_websocket(url_of(running, path), **options) as ws:
        found: dict[str, Any] = ws.receive_json()
        return found


def test_the_subprotocol_is_negotiated(running: Serving) -> None:
    with connect_websocket(url_of(running), subprotocols=["v2", "v1"]) as ws:
        assert ws.subprotocol == "v2"
    with connect_websocket(url_of(running)) as ws:
        assert ws.subprotocol is None


def test_the_answer_to_the_handshake_is_there(talking: WebSocketClient) -> None:
    assert (talking.response.status, talking.response.body) == (101, b"")
    assert talking.response.headers["X-Answer"] == "yes"
    assert talking.path == "/talk"


@pytest.mark.parametrize("headers", [{"X-One": "1", "host": "shop.example"}, [("X-One", "1"), ("host", "shop.example")]])
def test_fields_can_be_added_and_replaced(running: Serving, headers: Mapping[str, str] | list[tuple[str, str]]) -> None:
    fields = shown(running, headers=headers, origin="https://shop.example")["headers"]
    assert [value for name, value in fields if name == "x-one"] == ["1"]
    assert [value for name, value in fields if name == "host"] == ["shop.example"]
    assert ["origin", "https://shop.example"] in fields


def test_a_field_can_be_there_twice(running: Serving) -> None:
    fields = shown(running, headers=[("x-a", "1"), ("x-a", "2")])["headers"]
    assert [value for name, value in fields if name == "x-a"] == ["1", "2"]


def test_a_path_is_encoded_where_it_must_be(running: Serving) -> None:
    scope = shown(running, "/a b/ü/%2F?q=c d&r=ü?")
    assert scope["path"] == "/a b/ü//"
    assert scope["raw_path"] == "/a%20b/%C3%BC/%2F"
    assert scope["query_string"] == "q=c%20d&r=%C3%BC?"


def test_a_denied_handshake_has_its_response(running: Serving) -> None:
    with pytest.raises(WebSocketRejected, match=r"^/deny was not accepted: 401: b'who\?\\r\\n'$") as rejected:
        connect_websocket(url_of(running, "/deny"))
    assert (rejected.value.status, rejected.value.body) == (401, b"who?\r\n")
    assert rejected.value.headers["www-authenticate"] == "Basic"


def test_a_close_before_the_accept_is_403(running: Serving) -> None:
    with pytest.raises(WebSocketRejected, match=r"^/refuse was not accepted: 403") as rejected:
        connect_websocket(url_of(running, "/refuse"))
    assert rejected.value.status == 403


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(b"", "connection closed while reading HTTP status line", id="nothing"),
        pytest.param(b"garbage\r\n\r\n", "invalid HTTP status line", id="garbage"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
            "Sec-WebSocket-Accept",
            id="wrong-key",
        ),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n", "Upgrade", id="no-upgrade"),
    ],
)
def test_an_answer_that_is_none_is_named(answer: bytes, why: str) -> None:
    def script(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(answer)

    with scripted(script) as url, pytest.raises(WebSocketHandshakeError, match=f"^/scripted was not opened: .*{why}") as raised:
        connect_websocket(url)
    assert not isinstance(raised.value, WebSocketRejected)


def test_a_subprotocol_that_was_not_offered_is_refused() -> None:
    with (
        scripted(lambda peer: switch(peer, "Sec-WebSocket-Protocol: other\r\n")) as url,
        pytest.raises(WebSocketHandshakeError, match="unsupported subprotocol: other"),
    ):
        connect_websocket(url, subprotocols=["mine"])


def test_a_handshake_without_an_answer_is_a_timeout() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(WebSocketTimeout, match=r"^/x: no answer to the handshake came within 0\.05 s"),
    ):
        connect_websocket(f"ws://127.0.0.1:{listener.getsockname()[1]}/x", timeout=0.05)


def test_a_tls_handshake_without_an_answer_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(WebSocketTimeout, match=r"^/x: no connection within 0\.05 s"):
        connect_websocket(f"wss://127.0.0.1:{listener.getsockname()[1]}/x", tls=ssl.create_default_context(), timeout=0.05)


def test_a_refused_connection_is_the_system_s_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect_websocket(f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("url", "options", "why"),
    [
        pytest.param("http://127.0.0.1/", {}, "scheme isn't ws or wss", id="http"),
        pytest.param("ws://127.0.0.1/#part", {}, "fragment", id="fragment"),
        pytest.param("ws://127.0.0.1/", {"compression": "gzip"}, "'deflate' or None, not 'gzip'", id="compression"),
        pytest.param("ws://127.0.0.1/", {"subprotocols": "v1"}, r"list of names, not one: \['v1'\]", id="one-subprotocol"),
        pytest.param("ws://127.0.0.1/", {"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, "tls is for wss://", id="tls-without-s"),
        pytest.param("ws://127.0.0.1/", {"headers": {"a": "b\r\nc: d"}}, "no header field", id="line-in-a-field"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_opened(url: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connect_websocket(url, **options)


# TLS and UNIX sockets.


def test_it_speaks_tls(tmp_path: Path, site: Site) -> None:
    certificates = Certificates(tmp_path)
    with serving(site, lifespan="off", log_level="critical", **certificates.options) as running:
        url = url_of(running)
        with connect_websocket(url, tls=certificates.client_context()) as ws:
            ws.send("x" * 300000)
            assert ws.receive() == "x" * 300000
            with pytest.raises(WebSocketTimeout):
                ws.receive(timeout=0.02)
            ws.send("close")
            assert ws.wait_closed() == 4001
        with connect_websocket(url_of(running, "/flood"), tls=certificates.client_context(), compression=None) as ws:
            for _ in range(8):
                ws.send(bytes(1 << 20))
            ws.send("end")
            assert [len(ws.receive()) for _ in range(2)] == [8 << 20, 7]
        with pytest.raises(ssl.SSLCertVerificationError):
            connect_websocket(url)


def test_it_goes_over_a_unix_socket(tmp_path: Path, site: Site) -> None:
    path = str(tmp_path / "socket")
    with serving(site, lifespan="off", uds=path):
        with connect_websocket("ws://localhost/talk", uds=path) as ws:
            ws.send("hello")
            assert ws.receive() == "hello"
        with connect_websocket("ws://localhost/show", uds=path) as ws:
            assert ["host", "localhost"] in ws.receive_json()["headers"]


# What it leaves behind.


def test_it_starts_no_thread(running: Serving) -> None:
    before = threading.enumerate()
    with connect_websocket(url_of(running)) as ws:
        ws.send("x")
        ws.receive()
        assert threading.enumerate() == before


def test_one_that_nobody_closes_is_noticed(running: Serving, site: Site) -> None:
    kept = [connect_websocket(url_of(running))]
    with pytest.warns(ResourceWarning, match="unclosed"):
        kept.clear()
    assert site.done.wait(5)
