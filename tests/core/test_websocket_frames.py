"""Plain frames are ours and all others the library's: whoever reads a frame, the same comes of it (RFC 6455 §5).

The same stream is read twice: as it is, and by a stream that leaves every frame to the library. Messages, answers and ends must be the same, in
whatever pieces the bytes come.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import random
import struct
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from asgiserve.core import websocket
from tests.core.test_websocket import Bench, assert_failed
from tests.support.websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, close_frame, closing, fragments, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFER = "permessage-deflate; client_no_context_takeover"
FRAMES_LOG = logging.getLogger("asgiserve.websocket.frames")
MAX_SIZE = 70_000


def packed(text: str) -> bytes:
    """A compressed message of one frame (RFC 7692 §7.2.1)."""
    deflate = zlib.compressobj(wbits=-12)
    data = deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return frame(TEXT, data[:-4], rsv=4)


def by_library(offer: str) -> Bench:
    """A stream that reads no frame itself: where the library's log is wanted, it must see them all."""
    FRAMES_LOG.setLevel(logging.DEBUG)
    try:
        return Bench(offer=offer, ws_max_size=MAX_SIZE)
    finally:
        FRAMES_LOG.setLevel(logging.WARNING)


def outcome(bench: Bench, pieces: list[bytes]) -> tuple[object, ...]:
    """What comes of ``pieces``, each of which is one read; taken at once, so that nothing pauses."""
    messages: list[str | bytes] = []
    for piece in pieces:
        bench.feed(piece)
        messages += bench.taken()
    bench.stream.receive_eof()
    return messages, bench.sent(), bench.told(), bench.tunnel.closings(), bench.stream.failed, bench.stream.received_bytes


def cut(data: bytes, seed: int) -> list[bytes]:
    """``data`` in random pieces."""
    places = random.Random(seed)  # noqa: S311 - test data
    marks = sorted(places.randrange(len(data) + 1) for _ in range(places.choice((1, 3, 30))))
    return [data[begin:end] for begin, end in zip([0, *marks], [*marks, len(data)], strict=True) if begin < end]


PLAIN = [frame(TEXT, "grüße"), frame(BINARY, b""), frame(TEXT, ""), frame(BINARY, bytes(range(200)))]
MIXED = [
    frame(TEXT, "one"),
    frame(PING, b"p"),
    frame(BINARY, b"x" * 126),
    *fragments(TEXT, [b"\xc3", b"\xa4", b""]),
    frame(TEXT, "two", form=127),
    frame(BINARY, b"", fin=False),
    frame(PING, b"inside"),
    frame(CONT, b"end", form=126),
    frame(PONG, b"unasked"),
    frame(TEXT, "three"),
]
STREAMS = {
    "plain": PLAIN,
    "mixed": MIXED,
    "mixed-and-close": [*MIXED, close_frame(4000, "bye"), frame(TEXT, "late")],
    "compressed-between": [frame(TEXT, "plain"), packed("packed"), frame(TEXT, "plain again"), packed("packed again"), close_frame(1000)],
    "not-minimal": [frame(TEXT, "", form=126), frame(BINARY, b"x", form=127), frame(TEXT, "y" * 125, form=127), frame(BINARY, b"z" * 300, form=127)],
    "no-utf-8": [frame(TEXT, "good"), frame(TEXT, b"ok\xfe"), frame(TEXT, "late"), close_frame(1000)],
    "message-inside-fragments": [frame(TEXT, "a", fin=False), frame(TEXT, "b")],
    "not-masked": [frame(TEXT, "good"), frame(TEXT, "x", masked=False)],
    "not-masked-and-cut-short": [frame(TEXT, "good"), frame(BINARY, b"x" * 300, masked=False)[:2]],
    "reserved-bit": [frame(TEXT, "good"), frame(TEXT, "x", rsv=1), frame(TEXT, "late")],
    "reserved-opcode": [frame(TEXT, "good"), frame(3, "x" * 300)],
    "reserved-opcode-and-cut-short": [frame(TEXT, "good"), frame(3, "x" * 300)[:2]],
    "ping-too-long": [frame(TEXT, "good"), frame(PING, "x" * 126), frame(TEXT, "late")],
    "orphan": [frame(TEXT, "good"), frame(CONT, "x"), frame(TEXT, "late")],
    "header-cut-short": [frame(TEXT, "good"), frame(BINARY, b"x" * 300)[:3]],
    "payload-cut-short": [frame(TEXT, "good"), frame(BINARY, b"x" * 300)[:-1]],
    "close-cut-short": [frame(TEXT, "good"), close_frame(1000)[:-1]],
    "most-significant-bit": [frame(TEXT, "good"), bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 63)],
    "too-big": [frame(TEXT, "good"), bytes([0x81, 0xFF]) + struct.pack("!Q", MAX_SIZE + 1)],
    "too-big-with-what-was-before": [frame(TEXT, "x" * 10, fin=False), bytes([0x80, 0xFF]) + struct.pack("!Q", MAX_SIZE - 9)],
}


@pytest.mark.parametrize("offer", ["", OFFER], ids=["plain", "deflate"])
@pytest.mark.parametrize("name", STREAMS)
def test_it_does_not_matter_who_reads_a_frame_nor_in_what_pieces_it_comes(name: str, offer: str) -> None:
    data = b"".join(STREAMS[name])
    expected = outcome(by_library(offer), [bytes([octet]) for octet in data])
    pieces = [[data], [bytes([octet]) for octet in data], STREAMS[name], *(cut(data, seed) for seed in range(40))]
    for each in pieces:
        assert outcome(Bench(offer=offer, ws_max_size=MAX_SIZE), each) == expected, each


def rows() -> Iterator[tuple[int, int]]:
    """Lengths at each border, each in every form that can hold it."""
    for size in (0, 1, 125, 126, 2047, 2048, 65535, 65536, MAX_SIZE):
        for form, most in ((0, MAX_SIZE), (126, 65535), (127, MAX_SIZE)):
            if size <= most:
                yield size, form


@pytest.mark.parametrize(("size", "form"), list(rows()))
def test_a_frame_of_any_length_in_any_form_is_taken_in_any_pieces(size: int, form: int) -> None:
    payload = bytes(index * 7 & 255 for index in range(size))
    data = frame(BINARY, payload, form=form) + frame(TEXT, "behind")
    expected = [payload, "behind"]
    at = len(data) - 8
    for marks in ([], [1], [2], [3], [9], [10], [13], [14], [at - 1], [at], [at + 1], [1, 2, 3, at], list(range(1, 20))):
        bench = Bench(ws_max_size=MAX_SIZE)
        places = [0, *(mark for mark in sorted(set(marks)) if 0 < mark < len(data)), len(data)]
        for begin, end in itertools.pairwise(places):
            bench.feed(data[begin:end])
        assert bench.taken() == expected


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "bytes"])
def test_one_byte_more_than_the_most_is_refused_at_the_last_byte_of_its_length(opcode: int) -> None:
    bench = Bench(ws_max_size=300)
    bench.feed(frame(opcode, b"x" * 300))
    head = frame(opcode, b"x" * 301)[:4]
    bench.feed(head[:3])
    assert bench.told() is None
    bench.feed(head[3:])
    assert len(bench.taken()) == 1
    assert_failed(bench, 1009)


@pytest.mark.parametrize("head", [b"\x83\x80", b"\x81\x00", b"\x81\x7f", b"\x82\x7e", b"\x8f\xff"])
def test_a_frame_that_cannot_be_is_refused_at_its_second_byte(head: bytes) -> None:
    bench = Bench()
    bench.feed(frame(TEXT, "good"), head[:1])
    assert bench.told() is None
    bench.feed(head[1:])
    assert bench.taken() == ["good"]
    assert_failed(bench, 1002)


# ---- pausing


def test_one_read_of_many_messages_pauses_and_is_taken_in_order() -> None:
    # More than is looked at in one go.
    data = b"".join(frame(TEXT, str(number)) for number in range(5000))
    bench = Bench(ws_max_queue=10)
    bench.feed(data, frame(PING, b"behind"), close_frame(1000))
    assert not bench.wire.reads()
    assert bench.told() is None
    assert bench.sent() == []
    first = bench.stream.take_message()
    assert [first, *bench.taken()] == [str(number) for number in range(5000)]
    assert bench.wire.reads()
    assert [each.opcode for each in bench.sent()] == [PONG, CLOSE]
    assert bench.told() == (1000, "")


def test_a_pause_holds_large_messages_of_the_same_read_back() -> None:
    bench = Bench(ws_max_queue=2)
    bench.feed(*(frame(BINARY, bytes([number]) * 20_000) for number in range(5)), frame(TEXT, "half")[:-2])
    assert bench.stream.received_bytes == 40_000
    assert bench.taken() == [bytes([number]) * 20_000 for number in range(5)]
    bench.feed(frame(TEXT, "half")[-2:])
    assert [isinstance(message, str) for message in bench.taken()] == [True]


def test_what_comes_while_paused_waits_behind_a_frame_that_came_in_part() -> None:
    bench = Bench(ws_max_queue=1)
    data = frame(TEXT, "second")
    bench.feed(frame(TEXT, "first"), data[:5])
    assert not bench.wire.reads()
    bench.feed(data[5:], frame(TEXT, "third"))
    assert bench.stream.received_bytes == 5
    assert bench.taken() == ["first", "second", "third"]


# ---- closing, in the middle of things


@pytest.mark.parametrize("count", [1, 3, 6, 9, 305])
def test_a_frame_that_our_close_finds_half_read_is_read_to_its_end_and_dropped(count: int) -> None:
    data = frame(BINARY, b"x" * 300)
    bench = Bench()
    bench.feed(frame(TEXT, "before"), data[:count])
    bench.stream.close(4000)
    bench.feed(data[count:], frame(PING, b"still"), frame(TEXT, "crossing"), close_frame(4000))
    assert bench.taken() == ["before"]
    assert [each.opcode for each in bench.sent()] == [CLOSE, PONG]
    assert bench.told() == (4000, "")
    assert bench.tunnel.closings() == 1


def test_a_close_behind_messages_of_the_same_read_is_told_behind_them() -> None:
    bench = Bench()
    bench.feed(frame(TEXT, "a"), frame(BINARY, b"b"), close_frame(3000, "done"), frame(TEXT, "late"))
    assert bench.taken() == ["a", b"b"]
    assert bench.told() == (3000, "done")
    assert [closing(each) for each in bench.sent()] == [(3000, "done")]


def test_an_end_without_a_close_drops_what_waits_unread() -> None:
    bench = Bench(ws_max_queue=1)
    bench.feed(frame(BINARY, b"x" * 20_000), frame(BINARY, b"y" * 20_000))
    bench.stream.receive_eof()
    assert bench.taken() == [b"x" * 20_000]
    assert bench.told() == (1006, "")


# ---- sending, and what is kept


@pytest.mark.parametrize("size", [0, 125, 126, 32767, 32768, 65535, 65536])
@pytest.mark.parametrize("offer", ["", OFFER], ids=["plain", "deflate"])
def test_what_is_sent_is_framed_as_the_library_frames_it(offer: str, size: int) -> None:
    ours, theirs = Bench(offer=offer), by_library(offer)
    for message in ("x" * size, b"y" * size):
        ours.stream.send(message)
        theirs.stream.send(message)
    assert ours.wire.written == theirs.wire.written
    assert ours.tunnel.sent_bytes == theirs.tunnel.sent_bytes == 2 * size
    if not offer:
        assert ours.sent() == [Frame(TEXT, b"x" * size), Frame(BINARY, b"y" * size)]


def test_a_frame_in_tiny_pieces_takes_little_more_than_its_size() -> None:
    size = 200_000
    data = frame(BINARY, b"x" * size)
    pieces = [data[at : at + 2] for at in range(0, len(data), 2)]
    bench = Bench()
    tracemalloc.start()
    try:
        for piece in pieces[:-1]:
            bench.feed(piece)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 2 * size
    assert bench.feed(pieces[-1]).taken() == [b"x" * size]


def test_without_the_speed_ups_of_the_library_a_message_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where it has no wheel and there was no compiler: then the module imports the slow way.
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    spec = importlib.util.find_spec("asgiserve.core.websocket")
    assert spec is not None
    assert spec.loader is not None
    slow = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slow)
    assert slow.apply_mask.__module__ == "websockets.utils"
    monkeypatch.setattr(websocket, "apply_mask", slow.apply_mask)
    assert Bench().feed(frame(TEXT, "grüße"), frame(BINARY, b"x" * 5000)).taken() == ["grüße", b"x" * 5000]
