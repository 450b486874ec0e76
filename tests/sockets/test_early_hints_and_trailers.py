"""``http.response.early_hint`` and ``http.response.trailers`` on HTTP/1.1 (ASGI extensions, RFC 8297, RFC 9110 §6.5, RFC 9112 §7.1.2)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import LocalProtocolError
from pytest_asgiserve.raw import RawConnection, Truncated
from tests.support.apps import App, Message, Receive, Scope, Send, read_body, respond, routes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sockets.conftest import Serve
    from tests.support.records import Records

START: Message = {"type": "http.response.start", "status": 200}
PROMISING: Message = {**START, "trailers": True, "headers": [(b"trailer", b"x-sum, x-end")]}


def hint(*links: Any) -> Message:
    return {"type": "http.response.early_hint", "links": list(links)}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def trailers(*fields: tuple[Any, Any], more: bool = False) -> Message:
    return {"type": "http.response.trailers", "headers": list(fields), "more_trailers": more}


def sending(*messages: Message) -> App:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


# ---- early hints -------------------------------------------------------------------------------------------------------------------


def test_a_hint_reaches_the_client_before_the_application_answers(serve: Serve) -> None:
    release = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send(hint(b"</a.css>; rel=preload; as=style", b"</b.js>; rel=preload"))
        await read_body(receive)
        assert release.is_set()
        await respond(send)

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        early = client.read_head()
        # One field a link, and nothing else: a 103 is no place for Date or Server.
        assert early.status == 103
        assert early.fields == [(b"link", b"</a.css>; rel=preload; as=style"), (b"link", b"</b.js>; rel=preload")]
        release.set()
        client.send(b"x")
        final = client.read_response()
        assert (final.status, final.body, final.one(b"link")) == (200, b"ok", None)
        client.expect_silence(0.02)


@pytest.mark.parametrize(
    ("messages", "links"),
    [
        pytest.param((hint(b"</a>"), hint(b"</b>"), START, body(b"ok")), [[b"</a>"], [b"</b>"]], id="several"),
        pytest.param((START, hint(b"</a>"), body(b"ok")), [[b"</a>"]], id="after-the-start"),
        pytest.param((START, body(b"o", more=True), hint(b"</a>"), body(b"k")), [], id="too-late-is-ignored"),
        pytest.param((START, body(b"ok"), hint(b"</a>")), [], id="after-the-end-is-ignored"),
        pytest.param((hint(memoryview(b"</a>")), START, body(b"ok")), [[b"</a>"]], id="memoryview"),
    ],
)
def test_hints_are_informational_responses_and_the_final_one_follows(serve: Serve, messages: tuple[Message, ...], links: list[list[bytes]]) -> None:
    with RawConnection(serve(sending(*messages)).address) as client:
        for _ in range(2):
            response = client.exchange()
            assert [(early.status, early.all(b"link")) for early in response.informational] == [(103, each) for each in links]
            assert (response.status, response.body) == (200, b"ok")


def test_a_hint_is_never_sent_to_an_http_1_0_client(serve: Serve) -> None:
    # RFC 9110 §15.2
    with RawConnection(serve(sending(hint(b"</a>"), START, body(b"ok"))).address) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.informational, response.body) == (200, [], b"ok")


def test_a_hint_with_a_line_end_is_refused(serve: Serve) -> None:
    with RawConnection(serve(sending(hint(b"</a>\r\nset-cookie: a=b"), START, body(b"ok"))).address) as client:
        response = client.exchange()
        assert (response.status, response.informational) == (500, [])


def test_hints_and_100_continue_go_together(serve: Serve) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send(hint(b"</a>"))
        await respond(send, await read_body(receive))

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert [client.read_head().status for _ in range(2)] == [103, 100]
        client.send(b"hi")
        assert client.read_response().body == b"hi"


# ---- trailers ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("te", ["trailers", "gzip;q=0.5, Trailers", "trailers, deflate"])
def test_trailers_are_sent_to_a_client_that_asked_for_them(serve: Serve, te: str) -> None:
    app = sending(PROMISING, body(b"hel", more=True), body(b"lo"), trailers((b"X-Sum", b"1")))
    with RawConnection(serve(app).address) as client:
        for _ in range(2):
            response = client.exchange("/", f"TE: {te}", "Connection: TE")
            assert (response.framing, response.body) == ("chunked", b"hello")
            assert response.one(b"trailer") == b"x-sum, x-end"
            assert response.trailers == [(b"x-sum", b"1")]


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nTE: gzip\r\n\r\n"], ids=["no-te", "other-te"]
)
@pytest.mark.parametrize("pieces", [(b"hello",), (b"hel", b"lo")], ids=["one-body", "two-bodies"])
def test_trailers_are_dropped_where_the_client_did_not_ask(serve: Serve, request_line: bytes, pieces: tuple[bytes, ...]) -> None:
    # RFC 9110 §6.5.1; the response is complete without them.
    bodies = [body(piece, more=index < len(pieces) - 1) for index, piece in enumerate(pieces)]
    with RawConnection(serve(sending(PROMISING, *bodies, trailers((b"x-sum", b"1")))).address) as client:
        for _ in range(2):
            client.send(request_line)
            response = client.read_response()
            assert (response.body, response.trailers) == (b"hello", [])


@pytest.mark.parametrize(
    ("method", "version", "fields", "status"),
    [
        pytest.param("GET", "1.0", "", 200, id="http-1.0"),
        pytest.param("HEAD", "1.1", "TE: trailers\r\n", 200, id="head"),
        pytest.param("GET", "1.1", "TE: trailers\r\n", 204, id="204"),
        pytest.param("GET", "1.1", "TE: trailers\r\n", 304, id="304"),
    ],
)
def test_trailers_are_dropped_where_there_is_no_place_for_them(serve: Serve, method: str, version: str, fields: str, status: int) -> None:
    app = sending({**PROMISING, "status": status}, body(b"hello"), trailers((b"x-sum", b"1")))
    with RawConnection(serve(app).address) as client:
        client.send(f"{method} / HTTP/{version}\r\nHost: x\r\n{fields}\r\n".encode())
        response = client.read_response(method)
        assert (response.status, response.trailers) == (status, [])
        assert response.body == (b"hello" if version == "1.0" else b"")
        if version == "1.1":
            client.send(f"{method} / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
            assert client.read_response(method).status == status


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param((trailers(),), [], id="none"),
        pytest.param(({"type": "http.response.trailers"},), [], id="defaults"),
        pytest.param(
            (trailers((b"a", b"1"), more=True), trailers((b"b", b"2"), (b"a", b"3"))), [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], id="merged"
        ),
    ],
)
@pytest.mark.parametrize("length", [None, b"5"], ids=["no-length", "length"])
def test_trailer_messages_add_up_in_their_order(serve: Serve, messages: tuple[Message, ...], expected: list[Any], length: bytes | None) -> None:
    start = {**PROMISING, "headers": [] if length is None else [(b"content-length", length)]}
    with RawConnection(serve(sending(start, body(b"hello"), *messages)).address) as client:
        for _ in range(2):
            response = client.exchange("/", "TE: trailers")
            assert response.body == b"hello"
            # A content of known length is not chunked, and has no place for trailers.
            assert response.trailers == (expected if response.framing == "chunked" else [])
            assert response.framing == ("chunked" if length is None else "length")


def test_the_response_is_not_complete_before_its_trailers(serve: Serve) -> None:
    release = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send(PROMISING)
        await send(body(b"hello"))
        await read_body(receive)
        await send(trailers((b"x-end", b"now")))
        release.set()

    with RawConnection(serve(app).address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nContent-Length: 1\r\n\r\n")
        assert client.read_head().framing == "chunked"
        assert client.read_chunk() == b"hello"
        client.expect_silence(0.05)
        assert not release.is_set()
        client.send(b"x")
        assert client.read_exactly(len(b"0\r\nx-end: now\r\n\r\n")) == b"0\r\nx-end: now\r\n\r\n"


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not-asked"])
def test_trailers_that_never_come_leave_the_response_incomplete(serve: Serve, records: Records, asked: bool) -> None:
    # ASGI www, Response Start: the response is not complete without them.
    running = serve(routes(fault=sending(PROMISING, body(b"hello", more=True), body())))
    with RawConnection(running.address) as client:
        client.get("/fault", *(["TE: trailers"] if asked else []))
        with pytest.raises(Truncated):
            client.read_response()
    with RawConnection(running.address) as client:
        assert client.exchange().body == b"ok"
    running.stop()
    assert [record.getMessage() for record in records.errors] == ["GET /fault: the application returned before its response was complete"]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(trailers((b"x", b"a\r\nb: c")), id="line-end-in-a-value"),
        pytest.param(trailers((b"x y", b"a")), id="bad-name"),
        pytest.param(trailers(("x", "y")), id="text"),
        pytest.param({"type": "http.response.trailers", "headers": None}, id="none"),
        pytest.param(body(b"more"), id="a-body-behind-the-last-one"),
        pytest.param(START, id="a-second-start"),
    ],
)
def test_a_bad_message_where_trailers_are_due_is_refused_and_right_ones_still_work(serve: Serve, bad: Message) -> None:
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(PROMISING)
        await send(body(b"hello"))
        try:
            await send(bad)
        except LocalProtocolError as error:
            caught.append(error)
        await send(trailers((b"x-sum", b"1")))

    with RawConnection(serve(app).address) as client:
        response = client.exchange("/", "TE: trailers")
        assert (response.body, response.trailers) == (b"hello", [(b"x-sum", b"1")])
        assert client.exchange("/", "TE: trailers").trailers == [(b"x-sum", b"1")]
    assert len(caught) == 2


def test_trailers_that_were_not_announced_are_refused(serve: Serve) -> None:
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"hel", more=True))
        try:
            await send(trailers((b"x", b"1")))
        except LocalProtocolError as error:
            caught.append(error)
        await send(body(b"lo"))

    with RawConnection(serve(app).address) as client:
        response = client.exchange("/", "TE: trailers")
        assert (response.body, response.trailers) == (b"hello", [])
    assert len(caught) == 1


def test_a_file_can_have_trailers(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content of the file")
    app = sending(PROMISING, {"type": "http.response.pathsend", "path": str(path)}, trailers((b"x-sum", b"1")))
    with RawConnection(serve(app).address) as client:
        for _ in range(2):
            response = client.exchange("/", "TE: trailers")
            assert (response.framing, response.body, response.trailers) == ("chunked", b"content of the file", [(b"x-sum", b"1")])
