"""What the fuzzing found, each as the smallest input that showed it."""

from __future__ import annotations

import dataclasses
import zlib

import pytest

from asgiserve.errors import RemoteProtocolError
from asgiserve.http.target import parse_target, valid_host
from fuzz import apps
from fuzz.engine import Input, decode_input
from fuzz.targets import TARGETS
from tests.support.sansio import Call, Steps, Wire
from tests.support.websocket import BINARY, CLOSE, CONT, TEXT, close_frame, closing, frame, handshake, split_frames

CONFIG = dataclasses.replace(apps.WEBSOCKET, ws_max_size=2000)


def opened(received: list[str | bytes], offer: str = "") -> Wire:
    """A WebSocket whose application takes every message, and holds three."""

    def app(call: Call) -> Steps:
        yield from apps.accept(call, received, CONFIG, says=lambda _: False)

    wire = Wire(app, "h11")
    wire.feed(handshake(*((f"Sec-WebSocket-Extensions: {offer}",) if offer else ())))
    return wire


def close_code(wire: Wire) -> int:
    """Of the one close frame behind the 101, which is the last."""
    written = wire.transport.written
    last = split_frames(written[written.index(b"\r\n\r\n") + 4 :])[-1]
    assert last.opcode == CLOSE
    return closing(last)[0]


def test_a_websocket_that_closed_while_reading_was_paused_does_not_touch_its_transport_again() -> None:
    # Three messages shut the queue, and the close behind them in the same read ends the connection; then the application takes the three.
    received: list[str | bytes] = []
    wire = opened(received)
    wire.feed(frame(TEXT, b"a") * 3 + close_frame(1000))
    assert received == ["a"] * 3
    assert close_code(wire) == 1000
    assert wire.transport.closed
    assert not wire.transport.paused


def test_a_websocket_that_failed_while_reading_was_paused_lingers_and_reads_on() -> None:
    received: list[str | bytes] = []
    wire = opened(received)
    wire.feed(frame(TEXT, b"a") * 3 + frame(TEXT, b"\xff"))
    assert received == ["a"] * 3
    assert close_code(wire) == 1007
    assert wire.connection.phase == "linger"
    assert not wire.transport.paused, "what the peer still sends is taken, so that it gets to see the close frame"


@pytest.mark.parametrize("count", [2400, 6000])
def test_a_read_of_more_messages_than_are_held_pauses_reading_once_at_a_time(count: int) -> None:
    # More than is looked at in one go: the rest is read when the application has taken the first, and shuts the queue again.
    received: list[str | bytes] = []
    wire = opened(received)
    wire.feed(frame(BINARY, b"a") * count)
    assert received == [b"a"] * count
    assert not wire.transport.paused
    assert wire.transport.pauses > 1


def test_a_message_that_inflates_beyond_the_limit_in_an_empty_fragment_is_too_big() -> None:
    # The fragments inflate to just the limit, with more held back in zlib, and the library sets no limit for the empty one behind them.
    received: list[str | bytes] = []
    wire = opened(received, "permessage-deflate")
    wire.feed(b"A\x817\x00\x00\x00\x9c\x00\x967\xfa!=\x00\xe2$\x9e\x16\xca;\x00\x94\xdb\x11'\x00Y\x00\x00-\x00b\x00\x00\x00" + frame(CONT))
    assert received == []
    assert close_code(wire) == 1009


@pytest.mark.parametrize("offer", ["permessage-deflate", "permessage-deflate; client_no_context_takeover"])
@pytest.mark.parametrize("size", [2000, 2001, 2002, 2100, 2258, 2300])
def test_a_short_compressed_message_a_little_beyond_the_limit_is_too_big_and_not_cut_off(offer: str, size: int) -> None:
    received: list[str | bytes] = []
    wire = opened(received, offer)
    deflate = zlib.compressobj(wbits=-12)
    packed = (deflate.compress(b"x" * size) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    wire.feed(frame(BINARY, packed, rsv=4))
    if size <= CONFIG.ws_max_size:
        assert received == [b"x" * size]
    else:
        assert received == []
        assert close_code(wire) == 1009


@pytest.mark.parametrize("host", [b"[va.,]", b"[v1.a,b]:80"])
def test_a_host_with_a_comma_is_refused_in_brackets_too(host: bytes) -> None:
    assert not valid_host(host)
    with pytest.raises(RemoteProtocolError):
        parse_target(b"GET", b"http://" + host + b"/")


REPLAYED = [
    # Each was a failure of the server or of a check, and stays as an input that must pass.
    pytest.param("http1", "000062:YSAvIEhUVFAvMS4wDQphOg0KQ29udGVudC1MZW5ndGg6DQphOg0KYToNCmE6DQoNCg==", id="a field too many and a bad length"),
    pytest.param("http1", ":SEVBRCAA", id="HEAD refused before its line is complete"),
    pytest.param("http1", ":YSAvIEhUVFAvMS4xDQpIb3N0OmENCkNvbnRlbnQtTGVuZ3RoOjUNCg0KAAAAAABIRUFEIAA=", id="HEAD refused behind another request"),
    pytest.param("websocket", ":gYAAAAAAgoAAAAAAgf4ABwAAAAAAAAAAAACZAAA=", id="no UTF-8, and a bad frame behind it in the same read"),
    pytest.param(
        "websocket", "61:QYAAAAAAAIM3-iEA2jsgAIAAAAAAAIE3AAAAOgCCN_oAADf6AIw3-iE9NziBkdil4yM50mE9iYAAAAAA", id="zlib holds back what is too big"
    ),
    pytest.param(
        "websocket",
        "61:goEAAAAAAAGAAAAAAACBAAAAAAAAggD6AAAAlQCBAAAAAAAAgAAAAACAgQAAAAAAwpQ3-iE92jsgMDf6If-XIOUKsCGgtb8AAGE=",
        id="a message that zlib cut off",
    ),
    pytest.param(
        "websocket",
        "61:QYY3-iE9fLY9OJTbAI43-iE9B-AAnhbKOwCU2xEnAFmQiAAAAAAAAAAAAAAAAA==",
        id="a reserved bit on a continuation that is too big as well",
    ),
    pytest.param("fields", "53:W3ZhLixd", id="a comma in an IP literal of the future"),
]


@pytest.mark.parametrize(("target", "word"), REPLAYED)
def test_an_input_that_failed_once_passes(target: str, word: str) -> None:
    tried = decode_input(word)
    assert isinstance(tried, Input)
    TARGETS[target].check(tried)


@pytest.mark.parametrize("start", [b"\xed\xa0", b"a\xed\xbf", b"\xe0\x80", b"\xf0\x80", b"\xf4\x90"], ids=bytes.hex)
def test_a_fragment_that_ends_in_what_can_become_no_character_is_refused_at_once(start: bytes) -> None:
    wire = opened([])
    wire.feed(frame(TEXT, start, fin=False))
    assert close_code(wire) == 1007


@pytest.mark.parametrize("start", [b"\xed", b"\xed\x9f", b"\xe2\x82", b"\xf0\x9f", b"\xf0\x9f\x98"], ids=bytes.hex)
def test_a_fragment_that_ends_inside_of_a_character_may_go_on(start: bytes) -> None:
    wire = opened([])
    wire.feed(frame(TEXT, start, fin=False))
    assert wire.transport.written.endswith(b"\r\n\r\n")
