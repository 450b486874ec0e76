"""One call of the application for one WebSocket, on an event loop without sockets (ASGI www.rst, WebSocket; S55-S73, S85).

The test is the application: it calls ``receive`` and ``send`` itself.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.asgi.messages import ACCEPTED, CONNECTING, DENYING, WEBSOCKET_SEND, WEBSOCKET_TYPES
from asgiserve.errors import ClientDisconnected, LocalProtocolError
from tests.support.offline import Head, Offline, on_a_loop
from tests.support.websocket import ACCEPT, BINARY, CLOSE, KEY, PING, PONG, TEXT, Frame, close_frame, closing, fragments, frame, handshake

if TYPE_CHECKING:
    from tests.support.apps import Message
    from tests.support.records import Records

CONNECT = {"type": "websocket.connect"}


def disconnect(code: int, reason: str = "") -> Message:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def text(data: str) -> Message:
    return {"type": "websocket.receive", "text": data, "bytes": None}


def binary(data: bytes) -> Message:
    return {"type": "websocket.receive", "bytes": data, "text": None}


async def refused(bench: Offline, *messages: Message) -> ClientDisconnected:
    """Each of the messages raises that the client is gone; the last exception."""
    raised = None
    for message in messages:
        with pytest.raises(OSError, match=r"closed|gone") as caught:
            await bench.send(message)
        raised = caught.value
    assert isinstance(raised, ClientDisconnected)
    return raised


# ---- the scope ---------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_the_scope_has_every_key_of_the_specification() -> None:
    # S70, S71, asgi.ws.scope
    bench = await Offline().connect("Sec-WebSocket-Protocol: a, b", "Origin: http://o", "sec-websocket-protocol: c", path="/a%20b/%E4%BD%A0?q=%41")
    assert bench.scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": ("192.0.2.9", 80),
        "client": ("192.0.2.1", 50000),
        "scheme": "ws",
        "root_path": "",
        "path": "/a b/你",
        "raw_path": b"/a%20b/%E4%BD%A0",
        "query_string": b"q=%41",
        "headers": [
            (b"host", b"test.example"),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-key", KEY.encode()),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-protocol", b"a, b"),
            (b"origin", b"http://o"),
            (b"sec-websocket-protocol", b"c"),
        ],
        "subprotocols": ["a", "b", "c"],
        "extensions": {"websocket.http.response": {}},
    }
    assert type(bench.scope) is dict
    await bench.finish(ConnectionError())


@on_a_loop
async def test_on_tls_the_scheme_is_wss_and_the_extension_is_there() -> None:
    bench = await Offline(tls={"tls_version": 0x0304}).connect()
    assert bench.scope["scheme"] == "wss"
    assert bench.scope["extensions"] == {"websocket.http.response": {}, "tls": {"tls_version": 0x0304}}
    await bench.finish(ConnectionError())


@on_a_loop
async def test_the_state_of_the_lifespan_is_copied_for_each_call() -> None:
    # asgi.ws.state, S82
    state: dict[str, Any] = {"n": 1, "list": []}
    for _ in range(2):
        bench = await Offline(state=state).connect()
        assert bench.scope["state"]["n"] == 1
        bench.scope["state"]["n"] = 2
        bench.scope["state"]["list"].append(1)
        bench.scope["headers"].clear()
        bench.scope["extensions"].clear()
        await bench.finish(ConnectionError())
    assert state == {"n": 1, "list": [1, 1]}


@on_a_loop
async def test_an_application_in_the_old_form_is_told_so() -> None:
    # S3, S5
    bench = await Offline(asgi_version="2.0").connect()
    assert bench.scope["asgi"]["version"] == "2.0"
    await bench.finish(ConnectionError())


# ---- connecting --------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_the_first_event_is_connect_once_and_nothing_else_comes_before_the_answer() -> None:
    # S55, ws.hs.early-frames: what stands behind the handshake in the same read is kept, and not delivered yet.
    bench = await Offline().connect(behind=frame(TEXT, "early") + frame(PING, "p") + frame(BINARY, b"half", fin=False))
    assert await bench.receive() == CONNECT
    waiting = await bench.pending(bench.receive())
    assert bench.take() == b""
    await bench.send({"type": "websocket.accept"})
    assert await waiting == text("early")
    assert Head(bench.take()).rest == b"\x8a\x01p"
    bench.feed(frame(0, b"+half"))
    assert await bench.receive() == binary(b"half+half")
    bench.feed(close_frame(1000))
    assert await bench.receive() == disconnect(1000)
    await bench.finish()


@on_a_loop
async def test_accept_completes_the_handshake_and_not_a_moment_earlier() -> None:
    # S56, ws.hs.before-accept, ws.hs.no-unrequested-extension, ws.hs.subprotocol-none
    bench = await Offline().connect("Sec-WebSocket-Protocol: a")
    await bench.turns()
    assert await bench.receive() == CONNECT
    await bench.turns()
    assert bench.take() == b""
    await bench.send({"type": "websocket.accept"})
    head = Head(bench.take())
    assert head.status == 101
    assert head.fields == [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-accept", ACCEPT),
        (b"server", b"test"),
    ]
    await bench.finish()


@on_a_loop
async def test_the_handshake_may_be_accepted_before_the_event_was_taken() -> None:
    bench = await Offline().connect()
    await bench.send({"type": "websocket.accept"})
    assert Head(bench.take()).status == 101
    assert await bench.receive() == CONNECT
    await bench.finish()


@on_a_loop
async def test_subprotocol_and_fields_of_the_accept_are_in_the_101_in_their_order() -> None:
    # S59, ws.hs.subprotocol-chosen, asgi.ws.accept-headers
    bench = await Offline().connect("Sec-WebSocket-Protocol: a, b")
    fields = ((name, value) for name, value in [(b"Set-Cookie", b"a=1"), (b"x-two", b"\xff"), (b"set-cookie", b"b=2"), (b"content-length", b"5")])
    head = await bench.accept(subprotocol="b", headers=fields, unknown="ignored")
    assert head.all(b"sec-websocket-protocol") == [b"b"]
    assert [field for field in head.fields if field[0] in {b"set-cookie", b"x-two"}] == [
        (b"set-cookie", b"a=1"),
        (b"x-two", b"\xff"),
        (b"set-cookie", b"b=2"),
    ]
    # RFC 9110 §8.6: a 1xx has no Content-Length.
    assert head.all(b"content-length") == []
    await bench.finish()


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param({"subprotocol": "c"}, "'c', but \\['a', 'b'\\]", id="ws.hs.subprotocol-not-offered"),
        pytest.param({"subprotocol": "A"}, "did not offer", id="subprotocol-in-another-case"),
        pytest.param({"subprotocol": b"a"}, "did not offer", id="subprotocol-as-bytes"),
        pytest.param({"subprotocol": "a\r\nx: y"}, "did not offer", id="subprotocol-with-a-line-break"),
        *(
            pytest.param({"headers": [(name, b"x")]}, name.decode().lower(), id=name.decode())
            for name in (
                b"sec-websocket-protocol",
                b"Sec-WebSocket-Protocol",
                b"sec-websocket-accept",
                b"sec-websocket-extensions",
                b"upgrade",
                b"connection",
            )
        ),
        pytest.param({"headers": [(b":path", b"/")]}, "field name", id="pseudo-header"),
        pytest.param({"headers": [(b"x", b"a\r\ny: z")]}, "control character", id="asgi.ws.accept-bad-header"),
        pytest.param({"headers": [("x", "y")]}, "must be bytes", id="text-instead-of-bytes"),
        pytest.param({"headers": [(b"x",)]}, "pairs", id="no-pair"),
    ],
)
@on_a_loop
async def test_an_accept_that_breaks_a_rule_is_refused_and_a_right_one_may_follow(message: Message, why: str) -> None:
    # S60, S6 to S8
    bench = await Offline().connect("Sec-WebSocket-Protocol: a, b")
    assert await bench.receive() == CONNECT
    with pytest.raises(LocalProtocolError, match=why):
        await bench.send({"type": "websocket.accept", **message})
    assert bench.take() == b""
    await bench.send({"type": "websocket.accept", "subprotocol": "a", "headers": None})
    assert Head(bench.take()).status == 101
    await bench.finish()


@pytest.mark.parametrize(("option", "answer"), [(True, [b"permessage-deflate; server_max_window_bits=12"]), (False, [])])
@on_a_loop
async def test_compression_is_negotiated_where_it_is_switched_on(option: bool, answer: list[bytes]) -> None:
    bench = await Offline(ws_per_message_deflate=option).connect("Sec-WebSocket-Extensions: permessage-deflate")
    head = await bench.accept()
    assert head.all(b"sec-websocket-extensions") == answer
    await bench.send({"type": "websocket.send", "text": "x"})
    (sent,) = bench.frames()
    assert sent.rsv == (4 if option else 0)
    await bench.finish()


@on_a_loop
async def test_an_expectation_is_answered_before_the_protocol_is_switched() -> None:
    # h1.upgrade.expect-order; RFC 9110 §7.8
    bench = await Offline().connect("Expect: 100-continue")
    assert bench.take() == b""
    await bench.send({"type": "websocket.accept"})
    data = bench.take()
    assert data.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 ")
    await bench.finish()


@on_a_loop
async def test_more_bytes_than_are_held_before_the_accept_are_read_after_it() -> None:
    bench = await Offline(max_body_buffer_bytes=1000).connect(behind=frame(BINARY, b"x" * 2000))
    bench.feed(frame(TEXT, "second"))
    assert not bench.transport.reads()
    await bench.accept()
    assert bench.transport.reads()
    assert await bench.receive() == binary(b"x" * 2000)
    assert await bench.receive() == text("second")
    await bench.finish()


# ---- refusing ----------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_close_before_the_accept_is_403_and_no_handshake(records: Records) -> None:
    # S57, S65, ws.hs.reject-403
    bench = await Offline().connect(behind=frame(TEXT, "early"))
    assert await bench.receive() == CONNECT
    await bench.send({"type": "websocket.close", "code": 4000, "reason": "no"})
    head = Head(bench.take())
    assert head.status == 403
    assert head.all(b"upgrade") + head.all(b"sec-websocket-accept") == []
    assert head.all(b"connection") == [b"close"]
    assert bench.transport.ended()
    for _ in range(3):
        assert await bench.receive() == disconnect(1006)
    with pytest.raises(ClientDisconnected):
        await bench.send({"type": "websocket.accept"})
    assert bench.take() == b""
    await bench.finish()
    assert records.errors == []
    assert bench.refusals == []
    assert [(exchange.status, exchange.close_code) for exchange in bench.exchanges] == [(403, None)]


@on_a_loop
async def test_an_application_that_raises_before_the_accept_is_a_500(records: Records) -> None:
    # S58, asgi.ws.raise-before-accept
    bench = await Offline().connect(path="/ws?x=1")
    await bench.finish(ZeroDivisionError("mine"))
    assert Head(bench.take()).status == 500
    assert len(bench.finished) == 1
    assert [exchange.status for exchange in bench.exchanges] == [500]
    (error,) = records.errors
    assert error.getMessage() == "GET /ws?x=1: exception in the application"
    assert error.exc_info is not None
    assert isinstance(error.exc_info[1], ZeroDivisionError)


@on_a_loop
async def test_an_application_that_returns_before_the_accept_is_a_500_and_said_so(records: Records) -> None:
    # asgi.ws.return-before-accept
    bench = await Offline().connect()
    assert await bench.receive() == CONNECT
    await bench.finish()
    assert Head(bench.take()).status == 500
    (error,) = records.errors
    assert "returned before it accepted" in error.getMessage()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), BaseExceptionGroup("g", [SystemExit()])], ids=repr)
@pytest.mark.parametrize("accepted", [False, True])
@on_a_loop
async def test_nothing_that_an_application_raises_leaves_its_call(records: Records, error: BaseException, accepted: bool) -> None:
    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        if accepted:
            await send({"type": "websocket.accept"})
        raise error

    bench = Offline()
    bench.context.app = application
    bench.feed(handshake())
    await bench.over()
    assert len(bench.finished) == 1
    head = Head(bench.take())
    assert (head.status, head.rest[:4]) == ((101, b"\x88\x02\x03\xf3") if accepted else (500, b"Inte"))
    (logged,) = records.errors
    assert logged.exc_info is not None
    assert logged.exc_info[1] is error


# ---- denying -----------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_denial_is_the_applications_own_response(records: Records) -> None:
    # S85, asgi.ws.denial
    bench = await Offline().connect(behind=frame(TEXT, "early"))
    assert await bench.receive() == CONNECT
    await bench.send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]})
    await bench.send({"type": "websocket.http.response.body", "body": b"who are you?"})
    head = Head(bench.take())
    assert head.status == 401
    assert head.rest == b"who are you?"
    assert head.fields == [
        (b"www-authenticate", b"Basic"),
        (b"content-length", b"12"),
        (b"server", b"test"),
        (b"connection", b"close"),
    ]
    assert bench.transport.ended()
    assert await bench.receive() == disconnect(1006)
    await refused(bench, {"type": "websocket.accept"}, {"type": "websocket.http.response.body"}, {"type": "websocket.close"})
    await bench.finish()
    assert bench.take() == b""
    assert records.errors == []
    assert [exchange.status for exchange in bench.exchanges] == [401]


@on_a_loop
async def test_a_denial_may_be_streamed_and_is_sent_as_it_comes() -> None:
    bench = await Offline().connect()
    assert await bench.receive() == CONNECT
    await bench.send({"type": "websocket.http.response.start", "status": 503})
    await bench.send({"type": "websocket.http.response.body", "body": b"one", "more_body": True})
    head = Head(bench.take())
    assert head.status == 503
    assert head.all(b"transfer-encoding") == [b"chunked"]
    assert head.rest == b"3\r\none\r\n"
    waiting = await bench.pending(bench.receive())
    await bench.send({"type": "websocket.http.response.body", "body": bytearray(b"two"), "more_body": True})
    assert bench.take() == b"3\r\ntwo\r\n"
    await bench.send({"type": "websocket.http.response.body"})
    assert bench.take() == b"0\r\n\r\n"
    assert await waiting == disconnect(1006)
    await bench.finish()


@on_a_loop
async def test_the_head_of_a_denial_is_not_held_back_while_the_application_waits() -> None:
    bench = await Offline().connect()
    await bench.send({"type": "websocket.http.response.start", "status": 404, "headers": iter([])})
    await bench.turns()
    assert Head(bench.take()).status == 404
    await bench.send({"type": "websocket.http.response.body"})
    await bench.finish()


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param({}, "no status", id="no-status"),
        pytest.param({"status": "401"}, "status", id="status-as-text"),
        pytest.param({"status": 101}, "200 to 599", id="status-101"),
        pytest.param({"status": 99}, "200 to 599", id="status-99"),
        pytest.param({"status": 1000}, "200 to 599", id="status-1000"),
        pytest.param({"status": 401, "headers": [(b"x", b"\n")]}, "control", id="line-break-in-a-field"),
        pytest.param({"status": 401, "headers": [(b"content-length", b"-1")]}, "content-length", id="bad-length"),
    ],
)
@on_a_loop
async def test_a_denial_that_breaks_a_rule_is_refused_and_another_answer_may_follow(message: Message, why: str) -> None:
    for answer in ({"type": "websocket.accept"}, {"type": "websocket.close"}, {"type": "websocket.http.response.start", "status": 400}):
        bench = await Offline().connect()
        with pytest.raises(LocalProtocolError, match=why):
            await bench.send({"type": "websocket.http.response.start", **message})
        assert bench.take() == b""
        await bench.send(answer)
        await bench.turns()
        assert Head(bench.take()).status in {101, 403, 400}
        await bench.finish()


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("error", [None, ValueError("mine")], ids=["returns", "raises"])
@on_a_loop
async def test_a_denial_that_is_never_finished_is_a_500_or_broken_off(flushed: bool, error: Exception | None) -> None:
    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 401})
        if flushed:
            await send({"type": "websocket.http.response.body", "body": b"x", "more_body": True})
        if error is not None:
            raise error

    bench = Offline()
    bench.context.app = application
    bench.feed(handshake())
    await bench.over()
    data = bench.take()
    assert Head(data).status == (401 if flushed else 500)
    assert not data.endswith(b"0\r\n\r\n")
    assert bench.transport.ended()
    assert len(bench.exchanges) == 1


# ---- the order of messages ---------------------------------------------------------------------------------------------------------

MESSAGES: dict[str, Message] = {
    "websocket.accept": {},
    "websocket.send": {"text": "x"},
    "websocket.close": {},
    "websocket.http.response.start": {"status": 400},
    "websocket.http.response.body": {"body": b"x", "more_body": True},
}


async def in_state(state: str) -> Offline:
    bench = await Offline().connect()
    if state is ACCEPTED:
        await bench.accept()
    elif state is DENYING:
        await bench.send({"type": "websocket.http.response.start", "status": 400})
    return bench


@pytest.mark.parametrize("state", [CONNECTING, ACCEPTED, DENYING])
@pytest.mark.parametrize("kind", sorted(WEBSOCKET_TYPES))
@on_a_loop
async def test_a_message_is_taken_where_the_table_has_it_and_refused_where_not(state: str, kind: str) -> None:
    # S9, A11, A16, asgi.ws.send-before-accept, asgi.ws.accept-twice
    bench = await in_state(state)
    bench.take()
    message = {"type": kind, **MESSAGES[kind]}
    if kind in WEBSOCKET_SEND[state]:
        await bench.send(message)
        await bench.turns()
        assert bench.take() != b""
    else:
        with pytest.raises(LocalProtocolError, match="possible now: " + ", ".join(sorted(WEBSOCKET_SEND[state]))):
            await bench.send(message)
        assert bench.take() == b""
    await bench.finish(ConnectionError())


def test_the_table_says_what_the_specification_says() -> None:
    assert WEBSOCKET_SEND[CONNECTING] == {"websocket.accept", "websocket.close", "websocket.http.response.start"}
    assert WEBSOCKET_SEND[ACCEPTED] == {"websocket.send", "websocket.close"}
    assert WEBSOCKET_SEND[DENYING] == {"websocket.http.response.body"}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param({}, "no type", id="no-type"),
        pytest.param({"type": None}, "no type", id="type-none"),
        pytest.param({"type": "websocket.sent", "text": "x"}, "unknown message type 'websocket.sent'", id="unknown"),
        pytest.param({"type": "http.response.start", "status": 200}, "unknown message type", id="another-protocols"),
        pytest.param(["websocket.send"], "dict, not list", id="no-dict"),
        pytest.param({"type": "websocket.send"}, "either bytes or text", id="neither"),
        pytest.param({"type": "websocket.send", "text": None, "bytes": None}, "either bytes or text", id="both-none"),
        pytest.param({"type": "websocket.send", "text": "x", "bytes": b"x"}, "either bytes or text", id="both"),
        pytest.param({"type": "websocket.send", "text": "", "bytes": b""}, "either bytes or text", id="both-empty"),
        pytest.param({"type": "websocket.send", "text": b"x"}, "text of websocket.send must be str", id="text-as-bytes"),
        pytest.param({"type": "websocket.send", "bytes": "x"}, "bytes of websocket.send must be bytes", id="bytes-as-text"),
        pytest.param({"type": "websocket.send", "text": "\ud800"}, "cannot be encoded", id="surrogate"),
        pytest.param({"type": "websocket.close", "code": "1000"}, "whole number", id="code-as-text"),
        pytest.param({"type": "websocket.close", "code": True}, "whole number", id="code-as-bool"),
        pytest.param({"type": "websocket.close", "code": 1000.0}, "whole number", id="code-as-float"),
        pytest.param({"type": "websocket.close", "reason": b"x"}, "reason", id="reason-as-bytes"),
        pytest.param({"type": "websocket.close", "reason": "x" * 124}, "123 bytes", id="reason-too-long"),
        *(
            pytest.param({"type": "websocket.close", "code": code}, "cannot|not a code", id=f"code-{code}")
            for code in (0, 999, 1005, 1006, 1015, 5000)
        ),
    ],
)
@on_a_loop
async def test_a_message_that_is_wrong_raises_and_the_connection_goes_on(message: Any, why: str) -> None:
    # S6, S7, S8, S64, asgi.ws.send-both-none, asgi.ws.close-invalid-code
    bench = await Offline().connect()
    await bench.accept()
    with pytest.raises(LocalProtocolError, match=why):
        await bench.send(message)
    assert bench.take() == b""
    await bench.send({"type": "websocket.send", "text": "fine"})
    assert bench.frames() == [Frame(TEXT, b"fine")]
    await bench.finish()


# ---- messages ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        pytest.param({"text": "grüße"}, Frame(TEXT, "grüße".encode()), id="text"),
        pytest.param({"text": ""}, Frame(TEXT), id="empty-text"),
        pytest.param({"bytes": b"\0\xff"}, Frame(BINARY, b"\0\xff"), id="bytes"),
        pytest.param({"bytes": b""}, Frame(BINARY), id="empty-bytes"),
        pytest.param({"text": "x", "bytes": None}, Frame(TEXT, b"x"), id="text-and-none"),
        pytest.param({"bytes": b"x", "text": None}, Frame(BINARY, b"x"), id="bytes-and-none"),
        pytest.param({"bytes": bytearray(b"x")}, Frame(BINARY, b"x"), id="bytearray"),
        pytest.param({"bytes": memoryview(b"x")}, Frame(BINARY, b"x"), id="memoryview"),
        pytest.param({"text": "x", "extra": 1}, Frame(TEXT, b"x"), id="unknown-keys-are-ignored"),
    ],
)
@on_a_loop
async def test_what_the_application_sends_is_one_frame(message: Message, sent: Frame) -> None:
    bench = await Offline().connect()
    await bench.accept()
    await bench.send({"type": "websocket.send", **message})
    assert bench.frames() == [sent]
    await bench.finish()


@on_a_loop
async def test_what_the_client_sends_is_one_event_with_exactly_one_value() -> None:
    # S62, asgi.ws.receive-shape
    bench = await Offline().connect()
    await bench.accept()
    bench.feed(frame(TEXT, "a"), frame(TEXT), frame(BINARY, b"b"), frame(BINARY), *fragments(TEXT, [b"c", b"d"]))
    events = [await bench.receive() for _ in range(5)]
    assert events == [text("a"), text(""), binary(b"b"), binary(b""), text("cd")]
    assert [type(event["bytes"]) for event in (events[2], events[3])] == [bytes, bytes]
    json.dumps(events[0])
    # S16
    events[0]["text"] = "changed"
    bench.feed(frame(TEXT, "a"))
    assert await bench.receive() == text("a")
    await bench.finish()


@on_a_loop
async def test_pings_are_answered_without_the_application() -> None:
    # S61
    bench = await Offline().connect()
    await bench.accept()
    waiting = await bench.pending(bench.receive())
    bench.feed(frame(PING, b"abc"))
    await bench.turns()
    assert not waiting.done()
    assert bench.frames() == [Frame(PONG, b"abc")]
    bench.feed(frame(TEXT, "x"))
    assert await waiting == text("x")
    await bench.finish()


@on_a_loop
async def test_receive_that_was_cancelled_loses_nothing_and_leaves_nothing() -> None:
    bench = await Offline().connect()
    await bench.accept()
    call = bench.calls[0]
    for _ in range(50):
        waiting = await bench.pending(bench.receive())
        waiting.cancel()
        await bench.turns(2)
    assert len(call._waiters or []) <= 1
    waiting = await bench.pending(bench.receive())
    bench.feed(frame(TEXT, "kept"))
    assert await waiting == text("kept")
    await bench.finish()


@on_a_loop
async def test_two_tasks_may_receive_and_each_message_goes_to_one() -> None:
    bench = await Offline().connect()
    await bench.accept()
    waiting = [await bench.pending(bench.receive()) for _ in range(2)]
    bench.feed(frame(TEXT, "1"))
    await bench.turns()
    assert sum(task.done() for task in waiting) == 1
    bench.feed(close_frame(1000))
    results = await asyncio.gather(*waiting)
    assert sorted(event["type"] for event in results) == ["websocket.disconnect", "websocket.receive"]
    await bench.finish()


# ---- the end -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        pytest.param(close_frame(1000), 1000, "", id="plain"),
        pytest.param(close_frame(4001, "bye"), 4001, "bye", id="asgi.ws.disconnect-code"),
        pytest.param(close_frame(), 1005, "", id="asgi.ws.disconnect-1005"),
        pytest.param(frame(TEXT, "x", masked=False), 1002, None, id="protocol-error"),
        pytest.param(frame(TEXT, b"\xff"), 1007, None, id="no-utf-8"),
    ],
)
@on_a_loop
async def test_the_end_is_told_with_its_code_every_time_and_send_raises(records: Records, sent: bytes, code: int, reason: str | None) -> None:
    # S63, S65, S66, asgi.ws.send-after-disconnect, asgi.ws.receive-after-disconnect
    bench = await Offline().connect()
    await bench.accept()
    bench.feed(frame(TEXT, "last"), sent)
    assert await bench.receive() == text("last")
    for _ in range(3):
        event = await bench.receive()
        assert event["type"] == "websocket.disconnect"
        assert event["code"] == code
        assert isinstance(event["reason"], str)
        assert reason is None or event["reason"] == reason
    raised = await refused(bench, {"type": "websocket.send", "text": "late"}, {"type": "websocket.close"}, {"type": "websocket.accept"})
    with pytest.raises(LocalProtocolError):
        await bench.send({"type": "nonsense"})
    await bench.finish(raised)
    # S13: an application that lets it pass is no error.
    assert records.errors == []
    assert [(exchange.status, exchange.close_code, exchange.outcome) for exchange in bench.exchanges] == [(101, code, "")]


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("waiting", [False, True])
@on_a_loop
async def test_a_client_that_is_lost_is_1006_and_told_at_once(records: Records, accepted: bool, waiting: bool) -> None:
    # S65, S69, ws.hs.client-gone, ws.close.tcp-drop
    bench = await Offline().connect()
    if accepted:
        await bench.accept()
    else:
        assert await bench.receive() == CONNECT
    task = await bench.pending(bench.receive()) if waiting else None
    bench.lose()
    assert await (task or bench.receive()) == disconnect(1006)
    assert await bench.receive() == disconnect(1006)
    await bench.finish(await refused(bench, {"type": "websocket.send", "text": "x"}, {"type": "websocket.accept"}, {"type": "websocket.close"}))
    assert records.errors == []
    ((status, code, outcome),) = [(exchange.status, exchange.close_code, exchange.outcome) for exchange in bench.exchanges]
    assert (status, code, outcome) == ((101, 1006, "aborted") if accepted else (0, None, "aborted"))
    assert bench.was_closed


@on_a_loop
async def test_the_end_of_what_the_client_sends_is_the_end_of_the_client() -> None:
    """A half-closed client cannot close a WebSocket in order (RFC 6455 §7.1.2), whether it was accepted or not."""
    bench = await Offline().connect()
    assert await bench.receive() == CONNECT
    waiting = await bench.pending(bench.receive())
    assert bench.connection.eof_received() is False
    assert await waiting == disconnect(1006)
    bench.lose()
    await bench.finish()
    assert len(bench.exchanges) == 1

    bench = await Offline().connect()
    await bench.accept()
    waiting = await bench.pending(bench.receive())
    assert bench.connection.eof_received() is False
    assert await waiting == disconnect(1006)
    bench.lose()
    await bench.finish()
    assert len(bench.exchanges) == 1


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        pytest.param({}, 1000, "", id="asgi.ws.close-default"),
        pytest.param({"code": 4001, "reason": "bye"}, 4001, "bye", id="asgi.ws.close-code-reason"),
        pytest.param({"code": 1001, "reason": None}, 1001, "", id="reason-none"),
        pytest.param({"code": 3000, "reason": "ä" * 61}, 3000, "ä" * 61, id="longest-reason"),
    ],
)
@on_a_loop
async def test_the_applications_close_has_its_code_and_reason_and_ends_in_a_disconnect(
    records: Records, message: Message, code: int, reason: str
) -> None:
    # S67, asgi.ws.disconnect-after-own-close
    bench = await Offline().connect()
    await bench.accept()
    await bench.send({"type": "websocket.close", **message})
    assert [closing(each) for each in bench.frames()] == [(code, reason)]
    with pytest.raises(ClientDisconnected):
        await bench.send({"type": "websocket.close"})
    waiting = await bench.pending(bench.receive())
    bench.feed(close_frame(code, reason))
    assert await waiting == disconnect(code, reason)
    with pytest.raises(ClientDisconnected) as caught:
        await bench.send({"type": "websocket.send", "text": "late"})
    await bench.finish(caught.value)
    assert records.errors == []
    assert [(exchange.close_code, exchange.outcome) for exchange in bench.exchanges] == [(code, "")]
    assert bench.transport.closed()


@on_a_loop
async def test_send_after_ones_own_close_raises_and_is_no_error_even_before_the_client_answered(records: Records) -> None:
    bench = await Offline().connect()
    await bench.accept()
    await bench.send({"type": "websocket.close"})
    with pytest.raises(ClientDisconnected) as caught:
        await bench.send({"type": "websocket.send", "text": "late"})
    await bench.finish(caught.value)
    assert records.errors == []
    assert [closing(each) for each in bench.frames()] == [(1000, "")]


@pytest.mark.parametrize("error", [None, ZeroDivisionError("mine")])
@on_a_loop
async def test_an_application_that_ends_without_a_close_closes_with_1011(records: Records, error: Exception | None) -> None:
    # S68, asgi.ws.raise-after-accept, asgi.ws.return-after-accept
    bench = await Offline().connect()
    await bench.accept()
    await bench.finish(error)
    assert [closing(each)[0] for each in bench.frames()] == [1011]
    assert not bench.transport.closed()
    assert bench.exchanges == []
    bench.feed(close_frame(1011))
    assert bench.transport.closed()
    assert [exchange.close_code for exchange in bench.exchanges] == [1011]
    assert len(records.errors) == (0 if error is None else 1)


@on_a_loop
async def test_an_application_that_ends_after_its_close_adds_nothing() -> None:
    bench = await Offline().connect()
    await bench.accept()
    await bench.send({"type": "websocket.close", "code": 4000})
    await bench.finish()
    assert [closing(each) for each in bench.frames()] == [(4000, "")]


@on_a_loop
async def test_an_error_that_has_nothing_to_do_with_the_clients_going_is_logged_all_the_same(records: Records) -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.feed(close_frame(1000))
    await bench.finish(ZeroDivisionError("mine"))
    (error,) = records.errors
    assert error.exc_info is not None
    assert isinstance(error.exc_info[1], ZeroDivisionError)


@pytest.mark.parametrize("wrapped", ["cause", "context", "group"])
@on_a_loop
async def test_a_wrapped_disconnect_is_no_error_either(records: Records, wrapped: str) -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.lose()
    raised: BaseException
    try:
        try:
            await bench.send({"type": "websocket.send", "text": "x"})
        except ClientDisconnected as error:
            if wrapped == "group":
                raise BaseExceptionGroup("tasks", [error]) from None
            if wrapped == "cause":
                raise RuntimeError("disconnected") from error
            raise RuntimeError("disconnected")  # noqa: B904 - the context is what is tested
    except (RuntimeError, BaseExceptionGroup) as error:
        raised = error
    await bench.finish(raised)
    assert records.errors == []


# ---- stopping ----------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_stop_of_the_server_is_1012_to_both_sides() -> None:
    # asgi.ws.shutdown
    bench = await Offline().connect()
    await bench.accept()
    waiting = await bench.pending(bench.receive())
    bench.connection.begin_drain(1.0)
    assert await waiting == disconnect(1012)
    assert [closing(each)[0] for each in bench.frames()] == [1012]
    bench.feed(frame(TEXT, "crossing"))
    assert await bench.receive() == disconnect(1012)
    bench.feed(close_frame(1012))
    assert bench.transport.closed()
    await bench.finish()
    assert [exchange.close_code for exchange in bench.exchanges] == [1012]


@on_a_loop
async def test_a_handshake_that_is_accepted_while_the_server_stops_is_closed_with_1012_at_once() -> None:
    bench = await Offline().connect()
    bench.connection.begin_drain(1.0)
    assert bench.take() == b""
    head = await bench.accept()
    assert head.status == 101
    assert head.rest == b"\x88\x02\x03\xf4"
    assert await bench.receive() == disconnect(1012)
    await bench.finish()


@pytest.mark.parametrize(("accepted", "expected"), [(False, 503), (True, 1011)])
@on_a_loop
async def test_a_call_that_is_cancelled_at_the_end_of_the_grace_is_no_error(records: Records, accepted: bool, expected: int) -> None:
    bench = await Offline().connect()
    if accepted:
        await bench.accept()
    (call,) = bench.calls
    call.cancelled = True
    call.task.cancel()
    await bench.over()
    assert records.errors == []
    if accepted:
        assert [closing(each)[0] for each in bench.frames()] == [expected]
    else:
        assert Head(bench.take()).status == expected


@on_a_loop
async def test_a_transport_that_failed_ends_the_call_before_the_connection_hears_of_it(records: Records) -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.is_gone = True
    with pytest.raises(ClientDisconnected) as caught:
        await bench.send({"type": "websocket.send", "text": "x"})
    assert await bench.receive() == disconnect(1006)
    bench.lose()
    await bench.finish(caught.value)
    assert records.errors == []
    assert [(exchange.close_code, exchange.outcome) for exchange in bench.exchanges] == [(1006, "aborted")]


@on_a_loop
async def test_a_call_that_ends_on_a_transport_that_is_gone_says_nothing_more() -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.lose()
    await bench.finish()
    assert bench.take() == b""


# ---- back-pressure and time --------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_send_waits_while_the_client_does_not_read() -> None:
    # S15, asgi.ws.backpressure
    bench = await Offline().connect()
    await bench.accept()
    bench.connection.pause_writing()
    waiting = await bench.pending(bench.send({"type": "websocket.send", "text": "x"}))
    assert bench.frames() == [Frame(TEXT, b"x")]
    bench.connection.resume_writing()
    await waiting
    await bench.send({"type": "websocket.send", "text": "y"})
    assert bench.frames() == [Frame(TEXT, b"y")]
    await bench.finish()


@on_a_loop
async def test_send_that_waits_raises_when_the_client_goes() -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.connection.pause_writing()
    waiting = await bench.pending(bench.send({"type": "websocket.send", "text": "x"}))
    bench.lose()
    with pytest.raises(ClientDisconnected):
        await waiting
    await bench.finish()


@on_a_loop
async def test_a_client_that_takes_nothing_is_cut_and_is_1006_to_who_waits(records: Records) -> None:
    bench = await Offline(timeout_write=5.0, ws_ping_interval=None).connect()
    await bench.accept()
    bench.transport.unsent = 100_000
    bench.connection.pause_writing()
    receiving = await bench.pending(bench.receive())
    sending = await bench.pending(bench.send({"type": "websocket.send", "text": "x"}))
    bench.wait(5.0)
    assert bench.transport.aborted()
    bench.lose()
    assert await receiving == disconnect(1006)
    with pytest.raises(ClientDisconnected) as caught:
        await sending
    await bench.finish(caught.value)
    assert [(exchange.outcome, exchange.close_code) for exchange in bench.exchanges] == [("write timeout", 1006)]
    assert records.errors == []


@on_a_loop
async def test_a_client_that_sends_no_more_and_takes_nothing_is_cut_as_well() -> None:
    bench = await Offline(timeout_write=5.0).connect()
    await bench.accept()
    bench.transport.unsent = 100
    assert bench.connection.eof_received() is False
    bench.wait(5.0)
    assert bench.transport.aborted()
    bench.lose()
    await bench.finish()
    assert len(bench.exchanges) == 1


@on_a_loop
async def test_reading_pauses_while_the_application_does_not_receive() -> None:
    bench = await Offline(ws_max_queue=2).connect()
    await bench.accept()
    bench.feed(frame(TEXT, "1"))
    assert bench.transport.reads()
    bench.feed(frame(TEXT, "2"))
    assert not bench.transport.reads()
    assert await bench.receive() == text("1")
    assert not bench.transport.reads()
    assert await bench.receive() == text("2")
    assert bench.transport.reads()
    await bench.finish()


@on_a_loop
async def test_a_client_that_does_not_answer_pings_is_closed_with_1011_and_is_1006_to_the_application() -> None:
    bench = await Offline(ws_ping_interval=20.0, ws_ping_timeout=10.0).connect()
    await bench.accept()
    bench.wait(20.0)
    assert [each.opcode for each in bench.frames()] == [PING]
    waiting = await bench.pending(bench.receive())
    bench.wait(10.0)
    event = await waiting
    assert (event["type"], event["code"]) == ("websocket.disconnect", 1006)
    (sent,) = bench.frames()
    assert sent.opcode == CLOSE
    assert closing(sent)[0] == 1011
    assert [exchange.close_code for exchange in bench.exchanges] == [1011]
    await bench.finish()


@on_a_loop
async def test_a_client_that_does_not_answer_the_close_is_let_go() -> None:
    # ws.close.server-timeout
    bench = await Offline(ws_close_timeout=3.0).connect()
    await bench.accept()
    await bench.send({"type": "websocket.close", "code": 4000})
    waiting = await bench.pending(bench.receive())
    bench.wait(3.0)
    assert await waiting == disconnect(1006)
    assert bench.transport.closed()
    assert [exchange.close_code for exchange in bench.exchanges] == [4000]
    await bench.finish()


@on_a_loop
async def test_a_peer_that_breaks_a_rule_can_read_the_close_frame_while_it_is_still_sending() -> None:
    bench = await Offline(timeout_linger=1.0).connect()
    await bench.accept()
    bench.feed(frame(TEXT, b"\xff"))
    assert [closing(each)[0] for each in bench.frames()] == [1007]
    assert bench.transport.ended()
    assert not bench.transport.closed()
    bench.feed(b"more of what it was sending" * 100)
    bench.wait(1.0)
    assert bench.transport.closed()
    await bench.finish()
