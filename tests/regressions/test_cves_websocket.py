"""WebSocket: handshakes that ended a worker or carried a field in a field, and messages without bound."""

from __future__ import annotations

import functools
import random
import zlib
from typing import TYPE_CHECKING

import pytest

from asgiserve.errors import LocalProtocolError
from pytest_asgiserve.raw import RawConnection
from tests.regressions.attacks import every_way, served
from tests.regressions.test_cves_responses import INJECTED
from tests.support.offline import Offline, on_a_loop
from tests.support.operations import operations
from tests.support.sansio import PARSERS, Wire, answer, ignore
from tests.support.websocket import BINARY, CONT, PING, TEXT, RawWebSocket, close_frame, closing, fragments, frame, handshake

if TYPE_CHECKING:
    from tests.regressions.conftest import Attacked
    from tests.support.apps import Receive, Scope, Send

KIB = 1024
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def deflated(data: bytes) -> bytes:
    """``data`` as permessage-deflate has it (RFC 7692 §7.2.1)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def echoing(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


# ---- the handshake


@pytest.mark.parametrize("value", ["\x80\xff", "chat, \xe9", "\xff"])
def test_cve_2026_42544_a_subprotocol_that_is_not_ascii_does_not_end_the_server(value: str, attacked: Attacked) -> None:
    # GHSA-vrg7-482j-p6f6: one handshake ended a worker of granian.
    attacked.switch.app = echoing
    with RawConnection(attacked.address) as client:
        client.send(handshake(f"Sec-WebSocket-Protocol: {value}"))
        assert client.read_response().status == 400
        client.expect_eof()
    with RawWebSocket(attacked.address) as other:
        other.open()
        other.send(frame(TEXT, "alive"))
        assert other.read_frame().payload == b"alive"
        other.finish()


@every_way
@pytest.mark.parametrize("octet", [0x0B, 0x0C, 0x1C, 0x1D, 0x1E])
def test_cve_2026_44546_a_control_character_does_not_split_a_field(octet: int, parser: str, cut: int | None) -> None:
    wire = Wire(answer, parser)
    wire.feed(handshake(f"X-A: a{chr(octet)}X-Forwarded-For: 192.0.2.1"), cut)
    assert wire.statuses == [400]
    assert not wire.calls


@every_way
def test_cve_2026_44546_the_octet_85_stays_inside_of_its_value(parser: str, cut: int | None) -> None:
    # The sixth octet of the advisory is lawful in a value (RFC 9110 §5.5, obs-text), and Python's str.splitlines() cuts there.
    (seen,) = served(handshake("X-A: a\x85X-Admin: yes"), parser, cut, answer, websocket=False)
    assert (b"x-a", b"a\x85X-Admin: yes") in seen.fields
    assert b"x-admin" not in dict(seen.fields)


@pytest.mark.parametrize(
    "fields",
    [[(b"x", INJECTED)], [(b"x\r\ny", b"z")], [(b"sec-websocket-accept", b"forged")], [(b"connection", b"close")]],
    ids=["value", "name", "accept", "connection"],
)
def test_cve_2020_7695_a_line_end_does_not_split_the_response_to_a_handshake(fields: list[tuple[bytes, bytes]]) -> None:
    @on_a_loop
    async def scenario() -> None:
        bench = await Offline().connect()
        await bench.receive()
        with pytest.raises(LocalProtocolError):
            await bench.send({"type": "websocket.accept", "headers": fields})
        assert not bench.transport.written
        await bench.send({"type": "websocket.accept"})
        assert bench.take().count(b"HTTP/1.1 101 ") == 1

    scenario()


@pytest.mark.parametrize(
    ("without", "fields", "status"),
    [
        ("sec-websocket-version", (), 400),
        ("", ("Sec-WebSocket-Version: 12",), 426),
        ("", ("Sec-WebSocket-Key: short",), 400),
        ("sec-websocket-key", (), 400),
    ],
)
@every_way
def test_gunicorn_2026_a_handshake_is_checked_before_it_is_accepted(
    without: str, fields: tuple[str, ...], status: int, parser: str, cut: int | None
) -> None:
    wire = Wire(answer, parser)
    wire.feed(handshake(*fields, without=[without]), cut)
    assert wire.statuses == [status]
    assert not wire.calls


@pytest.mark.parametrize("raises", [False, True])
def test_gunicorn_2026_a_handshake_that_is_not_accepted_is_answered_in_http(raises: bool, attacked: Attacked) -> None:
    # A close frame was written on a connection that had never switched.
    async def refusing(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if raises:
            raise ValueError("no")
        await send({"type": "websocket.close", "code": 1008})

    attacked.switch.app = refusing
    with RawConnection(attacked.address) as client:
        client.send(handshake())
        assert client.read_response().status == (500 if raises else 403)
        client.expect_eof()


@pytest.mark.parametrize("parser", PARSERS)
def test_aiohttp_2026_what_stands_behind_a_declined_upgrade_is_bounded(parser: str) -> None:
    # An application that thinks about the handshake for ever, and a client that goes on sending.
    wire = Wire(ignore, parser)
    wire.feed(handshake())
    sent = 0
    while not wire.transport.paused and sent < 1 << 22:
        wire.feed(bytes(8 * KIB))
        sent += 8 * KIB
    assert sent <= wire.limits.max_body_buffer_bytes + 8 * KIB


# ---- messages


@on_a_loop
async def test_cve_2026_44545_a_message_has_a_greatest_size() -> None:
    bench = await Offline(ws_max_size=64 * KIB).connect()
    await bench.accept()
    # The head of a frame of 1 TiB, of which no more than this must be waited for.
    bench.feed(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"mask")
    assert closing(bench.frames()[0])[0] == 1009


@on_a_loop
async def test_cve_2026_44545_the_fragments_of_a_message_are_counted_together() -> None:
    bench = await Offline(ws_max_size=64 * KIB).connect()
    await bench.accept()
    fed = 0
    bench.feed(frame(BINARY, bytes(KIB), fin=False))
    while not bench.transport.written and fed < 1024:
        bench.feed(frame(CONT, bytes(KIB), fin=False))
        fed += 1
    assert fed <= 64
    assert closing(bench.frames()[0])[0] == 1009


@on_a_loop
async def test_cve_2021_21419_a_compressed_message_is_measured_inflated() -> None:
    # Both halves of eventlet's advisory: the large frame is above, this is the small one that becomes large.
    bench = await Offline(ws_max_size=64 * KIB).connect(DEFLATE)
    await bench.accept()
    bench.feed(frame(BINARY, deflated(bytes(1 << 20)), rsv=4))
    assert closing(bench.frames()[0])[0] == 1009


@on_a_loop
async def test_cve_2018_1000518_a_deflate_bomb_ends_at_the_limit() -> None:
    bench = await Offline(ws_max_size=1 << 30).connect(DEFLATE)
    await bench.accept()
    bomb = deflated(bytes(16 << 20))
    assert len(bomb) < 1 << 15
    bench.feed(frame(BINARY, bomb, rsv=4))
    assert closing(bench.frames()[0])[0] == 1009


@on_a_loop
async def test_hypercorn_0_5_3_messages_that_nobody_receives_are_not_collected() -> None:
    bench = await Offline(ws_max_queue=8).connect()
    await bench.accept()
    fed = 0
    while bench.transport.reads() and fed < 1000:
        bench.feed(frame(TEXT, "message"))
        fed += 1
    assert fed == 8
    for _ in range(8):
        assert (await bench.receive())["text"] == "message"
    assert bench.transport.reads()


@on_a_loop
async def test_aiohttp_2026_many_tiny_messages_in_one_read_are_not_collected() -> None:
    # 16,384 compressed messages fit into a read of 160 KiB: what is not yet received stays compressed.
    bench = await Offline(ws_max_queue=32).connect(DEFLATE)
    await bench.accept()
    message = frame(TEXT, deflated(b"x" * 200), rsv=4)
    bench.feed(message * 16_384)
    assert not bench.transport.reads()
    stream = bench.calls[0].exchange.stream
    assert stream is not None
    # Those of one slice, beyond the queue.
    assert 32 <= len(stream._queue) <= 32 + 16_384 // len(message) + 1


@on_a_loop
async def test_aiohttp_2026_empty_fragments_are_counted() -> None:
    bench = await Offline(ws_max_fragment_count=64).connect()
    await bench.accept()
    bench.feed(frame(TEXT, "", fin=False) + frame(CONT, "", fin=False) * 64)
    assert closing(bench.frames()[0])[0] == 1009


@pytest.mark.parametrize("inner", [TEXT, BINARY])
def test_aiohttp_2026_a_frame_between_fragments_is_refused(inner: int) -> None:
    # Injected, a message of its own was taken for a part of the other.
    @on_a_loop
    async def scenario() -> None:
        bench = await Offline().connect()
        await bench.accept()
        bench.feed(frame(TEXT, "a", fin=False), frame(inner, "b"), frame(CONT, "c"))
        assert closing(bench.frames()[0])[0] == 1002
        assert (await bench.receive())["type"] == "websocket.disconnect"

    scenario()


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**63 - 1, 2**32])
def test_aiohttp_2026_a_frame_length_does_not_overflow(length: int) -> None:
    @on_a_loop
    async def scenario() -> None:
        bench = await Offline().connect()
        await bench.accept()
        bench.feed(b"\x82\xff" + length.to_bytes(8, "big") + b"mask" + bytes(16))
        # RFC 6455 §5.2: the most significant bit of a length must be 0.
        assert closing(bench.frames()[0])[0] == (1002 if length >> 63 else 1009)

    scenario()


@on_a_loop
async def test_aiohttp_2026_concatenated_deflate_streams_cost_linear_work() -> None:
    # Many members one after the other, each of which is a stream that ends. A message here is one stream.
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    member = compressor.compress(b"x") + compressor.flush(zlib.Z_FINISH)

    async def cost(count: int) -> int:
        bench = await Offline().connect(DEFLATE)
        await bench.accept()
        spent = operations(functools.partial(bench.feed, frame(BINARY, member * count, rsv=4)))
        message = await bench.receive()
        assert len(message.get("bytes") or b"") <= count
        return spent

    assert await cost(2000) <= 2.2 * await cost(1000)


@on_a_loop
async def test_aiohttp_2026_a_frame_in_tiny_reads_costs_linear_work() -> None:
    def cost(bench: Offline, size: int) -> int:
        data = frame(BINARY, random.Random(1).randbytes(size))  # noqa: S311 - noise, the same in each run

        def work() -> None:
            for position in range(len(data)):
                bench.feed(data[position : position + 1])

        return operations(work)

    first, second = await Offline().connect(), await Offline().connect()
    await first.accept()
    await second.accept()
    assert cost(second, 2000) <= 2.2 * cost(first, 1000)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(PING, bytes(126)), 1002, id="long-control-frame"),
        pytest.param(frame(PING, b"", fin=False), 1002, id="fragmented-control-frame"),
        pytest.param(frame(3, b""), 1002, id="reserved-opcode"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="text-that-is-not-utf-8"),
        pytest.param(frame(TEXT, b"a", masked=False), 1002, id="unmasked"),
        pytest.param(frame(CONT, b"a"), 1002, id="continuation-of-nothing"),
        pytest.param(frame(8, b"\x03"), 1002, id="half-a-close-code"),
        pytest.param(frame(8, b"\x03\xed"), 1002, id="close-code-1005"),
    ],
)
def test_gunicorn_2026_frames_that_rfc_6455_forbids_fail_the_connection(data: bytes, code: int) -> None:
    @on_a_loop
    async def scenario() -> None:
        bench = await Offline().connect()
        await bench.accept()
        bench.feed(data)
        assert closing(bench.frames()[0])[0] == code
        message = await bench.receive()
        assert message["type"] == "websocket.disconnect"

    scenario()


@on_a_loop
async def test_gunicorn_2026_a_slow_reader_holds_the_sender_back() -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.connection.pause_writing()
    sending = await bench.pending(bench.send({"type": "websocket.send", "bytes": b"x"}))
    bench.connection.resume_writing()
    await sending


@on_a_loop
async def test_gunicorn_2026_the_application_is_told_of_a_close_at_once() -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.feed(close_frame(1001, "away"))
    assert await bench.receive() == {"type": "websocket.disconnect", "code": 1001, "reason": "away"}


@on_a_loop
async def test_gunicorn_2026_an_empty_close_is_not_answered_with_1005() -> None:
    bench = await Offline().connect()
    await bench.accept()
    bench.feed(close_frame())
    (answered,) = bench.frames()
    # RFC 6455 §5.5.1, §7.4.1: 1005 must not be sent; an answer without a code says the same.
    assert answered.payload in (b"", b"\x03\xe8")


def test_cve_2025_67726_parameters_of_an_extension_cost_linear_work() -> None:
    # Tornado's parameters stood in multipart/form-data; the ones that a WebSocket server parses are these.
    def cost(count: int) -> int:
        wire = Wire(answer)
        data = handshake(f"Sec-WebSocket-Extensions: x{'; a=b' * count}")
        return operations(lambda: wire.feed(data))

    assert cost(2000) <= 2.2 * cost(1000)


def test_gunicorn_2026_fragments_make_one_message() -> None:
    # The lawful counterpart of what is refused above.
    @on_a_loop
    async def scenario() -> None:
        bench = await Offline().connect()
        await bench.accept()
        bench.feed(*fragments(TEXT, [b"a", b"", b"b", b"c"]))
        assert (await bench.receive())["text"] == "abc"

    scenario()
