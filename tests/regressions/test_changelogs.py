"""Faults of other servers and parsers that were mended without a number: gunicorn in 2026, aiohttp 3.13.4 to 3.14.5, llhttp 9.4.2, hypercorn.

What concerns responses, WebSocket, logs and proxies stands with the advisories of the same kind.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import LifespanError, Server
from pytest_asgiserve.raw import RawConnection, Truncated
from tests.regressions.attacks import SMUGGLED, chunked, every_way, head, post, refused, served
from tests.support.apps import respond
from tests.support.certificates import Certificates
from tests.support.sansio import GET, PARSERS, Wire, answer, echo, ignore, request
from tests.support.serving import serving
from tests.support.websocket import handshake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.regressions.conftest import Attacked
    from tests.support.apps import Receive, Scope, Send
    from tests.support.records import Records

KIB = 1024
TE = b"Transfer-Encoding: chunked"


def grown(wire: Wire, block: bytes, *, most: int = 1 << 20) -> int:
    """Feed ``block`` again and again until the request is refused or reading pauses; the bytes that were taken."""
    fed = 0
    while not wire.owner.refusals and not wire.transport.paused and fed < most:
        wire.feed(block)
        fed += len(block)
    return fed


# ---- gunicorn: requests


@every_way
@pytest.mark.parametrize("body", [b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\n\r", b"5\r\nhello\r\n", b"5\r\nhel", b"0\r\n", b"0\r\nX: y\r\n"])
def test_gunicorn_2026_a_chunked_body_that_is_cut_short_is_not_whole(body: bytes, parser: str, cut: int | None) -> None:
    wire = Wire(echo, parser)
    wire.feed(chunked(body), cut)
    wire.feed_eof()
    (seen,) = wire.seen
    assert seen.ending == "aborted"
    assert not wire.transport.written
    assert wire.transport.ended


@every_way
@pytest.mark.parametrize("upgrade", [b"h2c", b"foo", b"websocket", b"HTTP/2.0, h2c"])
@pytest.mark.parametrize("options", [(), (b"Connection: upgrade",)], ids=["alone", "with-option"])
def test_gunicorn_2026_an_upgrade_field_does_not_take_the_body_away(options: tuple[bytes, ...], upgrade: bytes, parser: str, cut: int | None) -> None:
    lines = [b"Upgrade: " + upgrade, *options]
    first, second, third = served(post(*lines, b"Content-Length: 5") + post(*lines, TE, body=b"5\r\nworld\r\n0\r\n\r\n") + GET, parser, cut)
    assert (first.body, second.body, third.method) == (b"hello", b"world", b"GET")


@every_way
@pytest.mark.parametrize("method", [b"HEAD", b"GET", b"DELETE", b"OPTIONS", b"TRACE"])
def test_gunicorn_2026_the_body_of_a_head_request_is_not_the_next_request(method: bytes, parser: str, cut: int | None) -> None:
    data = head(b"Content-Length: %d" % len(SMUGGLED), first=method + b" / HTTP/1.1") + SMUGGLED
    first, second = served(data + GET, parser, cut)
    assert (first.method, first.body) == (method, SMUGGLED)
    assert second.path == "/"


@every_way
def test_gunicorn_2026_a_body_that_nobody_read_is_not_the_next_request(parser: str, cut: int | None) -> None:
    data = post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)
    assert [seen.path for seen in served(data + GET, parser, cut, answer)] == ["/", "/"]


@every_way
def test_gunicorn_2026_pipelined_request_lost_at_keep_alive(parser: str, cut: int | None) -> None:
    # It came while the response before it, in chunks, was not complete.
    wire = Wire(ignore, parser)
    wire.feed(GET)
    first = wire.calls[0]
    first.exchange.respond(200, ())
    first.exchange.body(b"part", more=True)
    wire.feed(head(first=b"GET /second HTTP/1.1"), cut)
    assert len(wire.calls) == 1
    first.exchange.body(b"end")
    wire.settle()
    wire.calls[1].respond(b"two")
    wire.settle()
    assert [response.body for response in wire.responses] == [b"partend", b"two"]
    assert wire.calls[1].seen.path == "/second"


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("begin", "block", "status", "limit"),
    [
        pytest.param(b"", b"A" * KIB, 501, "max_request_line_bytes", id="method"),
        pytest.param(b"GET /", b"a" * KIB, 414, "max_request_line_bytes", id="target"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"a" * KIB, 431, "max_head_bytes", id="value"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"a" * KIB, 431, "max_head_bytes", id="name"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: a\r\n", 431, "max_head_bytes", id="fields"),
        pytest.param(chunked(b""), b"0" * KIB, 400, "max_chunk_line_bytes", id="chunk-size"),
        pytest.param(chunked(b"5;"), b"a" * KIB, 400, "max_chunk_line_bytes", id="extension"),
        pytest.param(chunked(b"0\r\nX: "), b"a" * KIB, 431, "max_head_bytes", id="trailer"),
    ],
)
def test_gunicorn_2026_a_line_without_end_is_bounded(begin: bytes, block: bytes, status: int, limit: str, parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(begin)
    assert grown(wire, block) <= getattr(wire.limits, limit) + KIB
    assert wire.statuses == [status]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("begin", "mark"),
    [(post(b"Content-Length: 1000000000", body=b""), "max_body_buffer_bytes"), (chunked(b"3b9aca00\r\n"), "max_body_buffer_bytes")],
    ids=["length", "chunked"],
)
def test_gunicorn_2026_a_body_that_nobody_reads_is_not_collected(begin: bytes, mark: str, parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(begin)
    assert grown(wire, bytes(8 * KIB)) <= getattr(wire.limits, mark) + 8 * KIB
    assert wire.transport.paused
    assert len(wire.calls) == 1


@every_way
@pytest.mark.parametrize(
    "data",
    [
        b"malformed\r\n\r\n",
        b"GET / HTTP/1.1\r\nmalformed\r\n\r\n",
        b"GET / HTTP/1.1\r\n: y\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_gunicorn_2026_what_the_parser_rejects_is_answered_and_logged_once(data: bytes, parser: str, cut: int | None) -> None:
    wire = refused(data, parser, cut)
    assert len(wire.owner.refusals) == 1


@every_way
@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        pytest.param(head(first=b"CONNECT example.com:443 HTTP/1.1"), [501], id="connect"),
        pytest.param(head(first=b"GET example.com:443 HTTP/1.1"), [400], id="authority-form"),
        pytest.param(head(first=b"GET * HTTP/1.1"), [400], id="asterisk-form"),
        pytest.param(head(first=b"GET /\x01 HTTP/1.1"), [400], id="control-in-path"),
        pytest.param(head(first=b"GET /\xc3\xa4 HTTP/1.1"), [400], id="non-ascii-in-path"),
        pytest.param(post(b"Transfer-Encoding: gzip"), [400, 501], id="gzip-alone"),
        pytest.param(post(b"Transfer-Encoding: identity"), [400, 501], id="identity-alone"),
        pytest.param(post(b"Transfer-Encoding: foo, chunked"), [501], id="unknown-coding"),
        pytest.param(post(TE, b"Content-Length: 5"), [400], id="both"),
        pytest.param(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400], id="coding-in-1.0"),
        pytest.param(chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), [400], id="extension-cr"),
        pytest.param(chunked(b'5;a="b\r\nhello\r\n0\r\n\r\n'), [400], id="extension-open-quote"),
        pytest.param(chunked(b"5;a=\x01\r\nhello\r\n0\r\n\r\n"), [400], id="extension-control"),
        pytest.param(chunked(b"5\r\nhelloXX0\r\n\r\n"), [400], id="data-without-crlf"),
        pytest.param(head(b"Host: a"), [400], id="two-hosts"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", [400], id="bare-lf"),
    ],
)
def test_gunicorn_2026_requests_that_were_taken_are_refused(data: bytes, statuses: list[int], parser: str, cut: int | None) -> None:
    refused(data, parser, cut, *statuses)


@every_way
def test_gunicorn_2026_a_long_line_behind_an_empty_one_is_refused(parser: str, cut: int | None) -> None:
    refused(b"\r\n" + head(first=b"GET /" + b"a" * 100 + b" HTTP/1.1"), parser, cut, 414, max_request_line_bytes=100)


@every_way
@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(b"\r\n" + GET, b"", id="empty-line"),
        pytest.param(chunked(b"5 ;a\r\nhello\r\n0\r\n\r\n"), b"hello", id="whitespace-before-an-extension"),
        pytest.param(post(TE.replace(b": ", b":\t ") + b" \t", body=b"5\r\nhello\r\n0\r\n\r\n"), b"hello", id="whitespace-around-a-coding"),
    ],
)
def test_gunicorn_2026_requests_that_were_refused_are_served(data: bytes, body: bytes, parser: str, cut: int | None) -> None:
    (seen,) = served(data, parser, cut)
    assert seen.body == body


@every_way
def test_gunicorn_2026_two_content_types_reach_the_application_as_two_fields(parser: str, cut: int | None) -> None:
    # gunicorn refuses them. Which one holds is no question of framing: they are neither joined nor dropped.
    (seen,) = served(post(b"Content-Type: text/html", b"Content-Type: text/plain", b"Content-Length: 5"), parser, cut)
    assert [value for name, value in seen.fields if name == b"content-type"] == [b"text/html", b"text/plain"]


@every_way
def test_gunicorn_2026_a_client_that_waits_for_100_is_told_to_continue(parser: str, cut: int | None) -> None:
    wire = Wire(echo, parser)
    wire.feed(post(b"Expect: 100-continue", b"Content-Length: 5", body=b""), cut)
    assert wire.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.feed(b"hello")
    assert wire.responses[0].body == b"hello"


# ---- gunicorn: connections


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("data", "options"),
    [
        pytest.param(head(b"Connection: close"), {}, id="client"),
        pytest.param(GET, {"timeout_keep_alive": 0.0}, id="keep-alive-off"),
        pytest.param(GET, {"max_keep_alive_count": 1}, id="last-request"),
    ],
)
def test_gunicorn_2026_a_connection_that_will_close_says_so(data: bytes, options: dict[str, Any], parser: str) -> None:
    wire = Wire(answer, parser, **options)
    wire.feed(data)
    assert wire.responses[0].closes
    assert wire.transport.ended


@pytest.mark.parametrize("parser", PARSERS)
def test_gunicorn_2026_a_request_on_its_way_at_shutdown_is_served(parser: str) -> None:
    wire = Wire(answer, parser)
    wire.feed(GET)
    wire.connection.begin_drain(2.0)
    wire.advance(1.0)
    assert not wire.transport.ended
    wire.feed(GET)
    assert wire.statuses == [200, 200]
    assert wire.responses[1].closes
    assert wire.transport.ended


def test_gunicorn_2026_the_next_request_does_not_wait_for_the_application_to_return(attacked: Attacked) -> None:
    release = threading.Event()

    async def with_background(scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send)
        if scope["path"] == "/background":
            await asyncio.to_thread(release.wait, 10)

    attacked.switch.app = with_background
    with RawConnection(attacked.address) as client:
        assert client.exchange("/background").body == b"ok"
        assert client.exchange("/").body == b"ok"
    release.set()


def test_gunicorn_2026_a_response_that_the_application_leaves_unfinished_ends_the_connection(attacked: Attacked) -> None:
    async def leaving(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})

    attacked.switch.app = leaving
    with RawConnection(attacked.address) as client:
        client.pipeline("/", "/")
        with pytest.raises(Truncated):
            client.read_response()


def test_gunicorn_2026_no_connection_is_counted_that_is_gone(records: Records) -> None:
    # A count that never came back to nothing kept the shutdown waiting for its time-out.
    async def waiting(_scope: Scope, receive: Receive, _send: Send) -> None:
        while not (await receive())["type"].endswith(".disconnect"):
            pass

    resets: list[bytes] = [b"", b"GET / HT", GET, post(b"Content-Length: 5", body=b"he"), chunked(b"5\r\nhel"), b"malformed\r\n\r\n", handshake()]
    # An orderly end behind a whole request is half of one: that client may still read, and is waited for.
    closes = [data for data in resets if data != GET]
    with serving(waiting, lifespan="off", timeout_graceful_shutdown=50.0, timeout_drain_idle=50.0) as server:
        for ends, end in ((resets, "reset"), (closes, "close")):
            for data in ends:
                with RawConnection(server.address) as client:
                    if data:
                        client.send(data)
                    getattr(client, end)()
        with RawConnection(server.address) as client:
            client.send(b"malformed\r\n\r\n")
            client.read_response()
        # Had one of them been counted, this would take 50 s.
        server.stop(10)
    assert not records.select(level=logging.ERROR), records.messages()


# ---- gunicorn: lifespan


def test_gunicorn_2026_what_a_request_puts_into_the_state_is_not_in_the_next_one() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["pool"] = "shared"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append(dict(scope["state"]))
        scope["state"]["user"] = scope["state"]["pool"] = "somebody"
        await respond(send)

    with serving(app, lifespan="on") as server:
        with RawConnection(server.address) as client:
            client.exchange("/")
            client.exchange("/")
        assert server.server.state == {"pool": "shared"}
    assert seen == [{"pool": "shared"}, {"pool": "shared"}]


def test_gunicorn_2026_a_server_whose_application_refuses_to_start_does_not_serve() -> None:
    async def refusing(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def scenario() -> None:
        server = Server(refusing, port=0, host="127.0.0.1")
        with pytest.raises(LifespanError, match="no database") as raised:
            await server.start()
        assert raised.value.exit_code == 3
        assert not server.started

    asyncio.run(scenario())


# ---- aiohttp


def at_once(wire: Wire, line: bytes) -> None:
    wire.feed(line + b"\r\n")


def in_two(wire: Wire, line: bytes) -> None:
    wire.feed(line + b"\r\n", [len(line) // 2])


def bytewise(wire: Wire, line: bytes) -> None:
    wire.feed(line + b"\r\n", 1)


WAYS = [at_once, in_two, bytewise]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("way", WAYS)
def test_aiohttp_2026_a_chunk_line_is_limited_however_it_comes(way: Callable[[Wire, bytes], None], parser: str) -> None:
    wire = Wire(echo, parser, max_chunk_line_bytes=100)
    wire.feed(chunked(b""))
    way(wire, b"5;" + b"a" * 98)
    assert not wire.owner.refusals
    wire.feed(b"hello\r\n")
    way(wire, b"5;" + b"a" * 99)
    assert wire.statuses == [400]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("way", WAYS)
def test_aiohttp_2026_a_target_is_limited_however_it_comes(way: Callable[[Wire, bytes], None], parser: str) -> None:
    for excess, statuses in ((0, [200]), (1, [414])):
        wire = Wire(answer, parser, max_request_line_bytes=100)
        way(wire, b"GET /" + b"a" * (86 + excess) + b" HTTP/1.1")
        wire.feed(b"Host: a\r\n\r\n")
        assert wire.statuses == statuses


@every_way
@pytest.mark.parametrize("size", [b"5", b"00005", b"10"])
def test_aiohttp_2026_a_chunk_size_over_two_reads_does_not_hang(size: bytes, parser: str, cut: int | None) -> None:
    content = b"x" * int(size, 16)
    data = chunked(size + b"\r\n" + content + b"\r\n0\r\n\r\n")
    if cut is not None:
        (seen,) = served(data, parser, cut)
        assert seen.body == content
        return
    for position in range(1, len(data)):
        wire = Wire(echo, parser)
        wire.feed(data, [position])
        assert wire.responses[0].body == content


@every_way
@pytest.mark.parametrize("body", [b"3\r\nhello\r\n0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n"])
def test_aiohttp_2026_a_chunk_size_that_does_not_match_its_data_is_refused_at_once(body: bytes, parser: str, cut: int | None) -> None:
    refused(chunked(body), parser, cut)


@pytest.mark.parametrize("parser", PARSERS)
def test_aiohttp_2026_pipelined_requests_are_not_collected(parser: str) -> None:
    wire = Wire(ignore, parser)
    fed = grown(wire, GET * 10)
    assert fed <= wire.limits.max_body_buffer_bytes + len(GET) * 11
    assert len(wire.calls) == 1


@pytest.mark.parametrize("parser", PARSERS)
def test_hypercorn_0_6_0_pipelining_pauses_reading(parser: str) -> None:
    wire = Wire(ignore, parser)
    grown(wire, GET * 100)
    assert wire.transport.paused
    wire.app = answer
    wire.calls[0].respond()
    wire.settle()
    # All of them are served in the end.
    assert not wire.transport.paused
    assert set(wire.statuses) == {200}
    assert len(wire.statuses) == len(wire.calls) > 100


@every_way
@pytest.mark.parametrize("status", [400, 426])
def test_aiohttp_2026_the_body_behind_a_refused_upgrade_is_not_a_request(status: int, parser: str, cut: int | None) -> None:
    version = "Sec-WebSocket-Version: 12" if status == 426 else f"Content-Length: {len(SMUGGLED)}"
    wire = Wire(answer, parser)
    wire.feed(handshake(version) + SMUGGLED, cut)
    assert wire.statuses == [status]
    assert not wire.calls


@every_way
def test_aiohttp_2026_requests_behind_an_upgrade_that_is_not_taken_are_served_once(parser: str, cut: int | None) -> None:
    paths = [f"/{number}" for number in range(20)]
    data = b"".join(request(path) for path in paths)
    wire = Wire(answer, parser, websocket=False)
    wire.feed(handshake(path="/upgrade") + data, cut)
    assert [seen.path for seen in wire.seen] == ["/upgrade", *paths]
    assert set(wire.statuses) == {200}


@every_way
def test_aiohttp_2026_whitespace_behind_a_value_is_none_of_it(parser: str, cut: int | None) -> None:
    (seen,) = served(head(b"X: y \t ", b"Z:\t \t"), parser, cut)
    assert seen.fields[1:] == ((b"x", b"y"), (b"z", b""))


@every_way
@pytest.mark.parametrize("control", [0x00, 0x08, 0x0B, 0x0C, 0x1F, 0x7F])
def test_aiohttp_2026_a_control_character_in_a_target_is_refused(control: int, parser: str, cut: int | None) -> None:
    refused(head(first=b"GET /a%cb HTTP/1.1" % control), parser, cut)


# ---- h11, llhttp, hypercorn


@every_way
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(post(b"Content-Length: 5", TE), id="both"),
        pytest.param(post(b"Content-Length: 5", b"Content-Length: 5"), id="equal-lengths"),
        pytest.param(post(b"Content-Length: 5, 5"), id="list-of-lengths"),
        pytest.param(chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), id="extension-cr"),
        pytest.param(chunked(b"5;a\0b\r\nhello\r\n0\r\n\r\n"), id="extension-nul"),
        pytest.param(chunked(b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'), id="extension-quoted-crlf"),
        pytest.param(chunked(b"5 \r\nhello\r\n0\r\n\r\n"), id="size-and-space"),
        pytest.param(chunked(b"5\r\nhello\r\n0\r\n\n"), id="end-with-lf"),
        pytest.param(b"POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", id="bare-lf"),
        pytest.param(head(b"X: y", b" z"), id="folded"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", id="folded-host"),
        pytest.param(post(b"Transfer-Encoding:", b" chunked"), id="folded-coding"),
        pytest.param(head(b"X: \x07"), id="bel"),
        pytest.param(head(b"X: \x1b"), id="esc"),
        pytest.param(head(b"X: \x7f"), id="del"),
    ],
)
def test_h11_0_16_what_it_lets_through_is_refused(data: bytes, parser: str, cut: int | None) -> None:
    refused(data, parser, cut)


@every_way
@pytest.mark.parametrize("value", [b"close\t", b"close \t", b"\tclose", b"CLOSE", b"x, close\t"])
def test_llhttp_9_4_2_a_tab_behind_close_still_closes(value: bytes, parser: str, cut: int | None) -> None:
    wire = Wire(answer, parser)
    wire.feed(head(b"Connection: " + value) + SMUGGLED, cut)
    assert wire.statuses == [200]
    assert wire.responses[0].closes
    assert [seen.path for seen in wire.seen] == ["/"]


def test_hypercorn_0_6_0_a_tls_handshake_has_a_time_limit(tmp_path: Path) -> None:
    async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("nothing was asked")

    with (
        serving(never, lifespan="off", timeout_tls_handshake=0.2, **Certificates(tmp_path).options) as server,
        RawConnection(server.address) as client,
    ):
        assert client.expect_closed() == b""
