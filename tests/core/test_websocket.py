"""The opening handshake's rules, and a stream of messages over a transport that only remembers (RFC 6455, RFC 7692)."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.config import WebSocketConfig
from asgiserve.core import deadlines as due
from asgiserve.core.deadlines import Deadlines
from asgiserve.core.flow import WriteGate
from asgiserve.core.websocket import WebSocketStream
from asgiserve.core.websocket_handshake import accept_fields, check_handshake, negotiate_extensions, offered_subprotocols
from asgiserve.errors import ClientDisconnected, LocalProtocolError, RemoteProtocolError
from tests.support.websocket import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    close_frame,
    closing,
    fragments,
    frame,
    split_frames,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asgiserve.http.fields import Field

MIB = 1 << 20

# ---- the handshake -----------------------------------------------------------------------------------------------------------------

HANDSHAKE: list[Field] = [(b"host", b"test.example"), (b"sec-websocket-key", KEY.encode()), (b"sec-websocket-version", b"13")]


def without(name: bytes, *more: Field) -> list[Field]:
    return [field for field in HANDSHAKE if field[0] != name] + list(more)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(HANDSHAKE, id="plain"),
        pytest.param(without(b"sec-websocket-key", (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA==")), id="another-key"),
        pytest.param([*HANDSHAKE, (b"sec-websocket-protocol", b"a, b"), (b"sec-websocket-protocol", b"c")], id="subprotocols"),
        pytest.param([*HANDSHAKE, (b"sec-websocket-protocol", b"")], id="empty-list-of-subprotocols"),
        pytest.param([*HANDSHAKE, (b"sec-websocket-extensions", b'x-unknown; a="b"; c, permessage-deflate')], id="unknown-extension"),
    ],
)
def test_a_lawful_handshake_passes(fields: list[Field]) -> None:
    check_handshake(fields)
    assert accept_fields(fields, None, b"")[0][0] == b"sec-websocket-accept"


@pytest.mark.parametrize(
    ("fields", "status", "clause"),
    [
        pytest.param(without(b"sec-websocket-key"), 400, "RFC 6455 §4.2.1", id="ws.hs.no-key"),
        pytest.param(without(b"sec-websocket-key", (b"sec-websocket-key", b"")), 400, "RFC 6455 §4.2.1", id="key-empty"),
        pytest.param(without(b"sec-websocket-key", (b"sec-websocket-key", b"c2hvcnQ=")), 400, "RFC 6455 §4.2.1", id="key-of-5-bytes"),
        pytest.param(without(b"sec-websocket-key", (b"sec-websocket-key", KEY[:-2].encode())), 400, "RFC 6455 §4.2.1", id="key-without-padding"),
        pytest.param(without(b"sec-websocket-key", (b"sec-websocket-key", b"A" * 24)), 400, "RFC 6455 §4.2.1", id="key-of-18-bytes"),
        pytest.param(without(b"sec-websocket-key", (b"sec-websocket-key", b"!" * 22 + b"==")), 400, "RFC 6455 §4.2.1", id="key-not-base64"),
        pytest.param(without(b"sec-websocket-key", (b"sec-websocket-key", KEY.encode() + b"\n")), 400, "RFC 6455 §4.2.1", id="key-and-line-feed"),
        pytest.param([*HANDSHAKE, (b"sec-websocket-key", KEY.encode())], 400, "RFC 6455 §4.2.1", id="ws.hs.bad-key-twice"),
        pytest.param(without(b"sec-websocket-version"), 400, "RFC 6455 §4.2.1", id="ws.hs.version-missing"),
        pytest.param([*HANDSHAKE, (b"sec-websocket-version", b"13")], 400, "RFC 6455 §4.2.1", id="version-twice"),
        *(
            pytest.param(without(b"sec-websocket-version", (b"sec-websocket-version", value)), 426, "RFC 6455 §4.4", id=f"version-{value.decode()}")
            for value in (b"8", b"12", b"99", b"013", b"+13", b"13, 8", b"")
        ),
        pytest.param([*HANDSHAKE, (b"sec-websocket-protocol", b"\x80\xff")], 400, "RFC 6455 §11.3.4", id="CVE-2026-42544"),
        pytest.param([*HANDSHAKE, (b"sec-websocket-protocol", b"a b")], 400, "RFC 6455 §11.3.4", id="subprotocol-with-space"),
        pytest.param([*HANDSHAKE, (b"sec-websocket-protocol", b'"a"')], 400, "RFC 6455 §11.3.4", id="subprotocol-quoted"),
        *(
            pytest.param([*HANDSHAKE, (b"sec-websocket-extensions", value)], 400, "RFC 6455 §9.1", id=f"extensions-{name}")
            for name, value in {
                "unfinished": b"permessage-deflate;",
                "no-name": b"; a=b",
                "no-value": b"permessage-deflate; server_max_window_bits=",
                "space-in-name": b"per message",
                "unquoted": b'x; a="b',
                "obs-text": b"\x80\xff",
                "next-line": b"x\x85y",
            }.items()
        ),
    ],
)
def test_a_handshake_that_breaks_a_rule_is_refused(fields: list[Field], status: int, clause: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_handshake(fields)
    assert (caught.value.status, caught.value.clause) == (status, clause)


def test_another_version_is_told_which_one_is_spoken() -> None:
    # RFC 6455 §4.4, RFC 9110 §15.5.22
    with pytest.raises(RemoteProtocolError) as caught:
        check_handshake(without(b"sec-websocket-version", (b"sec-websocket-version", b"8")))
    assert dict(caught.value.fields) == {b"upgrade": b"websocket", b"sec-websocket-version": b"13"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([b"a, b"], ["a", "b"], id="one-line"),
        pytest.param([b"b", b"a,c"], ["b", "a", "c"], id="two-lines-in-order"),
        pytest.param([b" a\t, ,,b,"], ["a", "b"], id="empty-elements"),
        pytest.param([b"Chat!#$%&'*+-.^_`|~9"], ["Chat!#$%&'*+-.^_`|~9"], id="every-token-character-and-case"),
    ],
)
def test_subprotocols_are_read_over_all_lines_in_their_order(values: list[bytes], expected: list[str]) -> None:
    # RFC 6455 §11.3.4; S71
    assert offered_subprotocols([(b"sec-websocket-protocol", value) for value in values]) == expected


def test_the_key_of_the_standards_example_gets_its_answer() -> None:
    # ws.hs.accept
    assert accept_fields(HANDSHAKE, None, b"") == [(b"sec-websocket-accept", ACCEPT)]


def test_subprotocol_and_extensions_are_in_the_answer_where_there_are_some() -> None:
    assert accept_fields(HANDSHAKE, "chat", b"permessage-deflate")[1:] == [
        (b"sec-websocket-protocol", b"chat"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
    ]


# ---- negotiating permessage-deflate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        # RFC 7692 §7.1.2.1: the server may name its own window unasked; §7.1.2.2: the client's only where the client offered to have it named.
        pytest.param("permessage-deflate", "permessage-deflate; server_max_window_bits=12", id="ws.pmd.unoffered-param"),
        pytest.param(
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            id="client-window-offered",
        ),
        pytest.param(
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10",
            id="smaller-client-window",
        ),
        pytest.param("permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9", id="smaller-server-window"),
        pytest.param('permessage-deflate; server_max_window_bits="10"', "permessage-deflate; server_max_window_bits=10", id="quoted-value"),
        pytest.param(
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
            id="server-without-takeover",
        ),
        pytest.param(
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; server_max_window_bits=12",
            id="client-without-takeover",
        ),
        # RFC 7692 §7.1: what cannot be accepted is declined, and the next offer is looked at.
        pytest.param("permessage-deflate; unknown", "", id="unknown-parameter"),
        pytest.param("permessage-deflate; server_no_context_takeover=1", "", id="value-where-none-belongs"),
        pytest.param("permessage-deflate; server_max_window_bits=7", "", id="window-too-small"),
        pytest.param("permessage-deflate; server_max_window_bits=16", "", id="window-too-large"),
        pytest.param("permessage-deflate; server_max_window_bits=010", "", id="window-with-leading-zero"),
        pytest.param("permessage-deflate; server_max_window_bits", "", id="server-window-without-value"),
        pytest.param("permessage-deflate; server_max_window_bits=9; server_max_window_bits=10", "", id="duplicated-parameter"),
        pytest.param("permessage-deflate; server_max_window_bits=8", "", id="window-that-zlib-cannot-write"),
        pytest.param(
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "permessage-deflate; server_max_window_bits=12",
            id="second-offer-taken",
        ),
        pytest.param("x-webkit-deflate-frame, permessage-bzip2", "", id="other-extensions"),
        pytest.param("", "", id="ws.hs.no-unrequested-extension"),
    ],
)
def test_an_offer_of_compression_is_answered_lawfully_or_declined(offer: str, answer: str) -> None:
    # ws.pmd.negotiate, ws.pmd.params
    fields = [*HANDSHAKE, (b"sec-websocket-extensions", offer.encode())] if offer else HANDSHAKE
    answered, extensions = negotiate_extensions(fields, deflate=True)
    assert answered.decode() == answer
    assert len(extensions) == (1 if answer else 0)


def test_offers_on_several_lines_are_one_list() -> None:
    fields = [*HANDSHAKE, (b"sec-websocket-extensions", b"other"), (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")]
    assert negotiate_extensions(fields, deflate=True)[0] == b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"


def test_compression_that_is_switched_off_is_never_negotiated() -> None:
    fields = [*HANDSHAKE, (b"sec-websocket-extensions", b"permessage-deflate")]
    assert negotiate_extensions(fields, deflate=False) == (b"", [])


# ---- the stream, on a bench --------------------------------------------------------------------------------------------------------


class Wire:
    """A transport that remembers what was written, and whether it reads."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.pauses = 0
        self._reading = True

    def reads(self) -> bool:
        return self._reading

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: Iterable[bytes]) -> None:
        for data in pieces:
            self.write(data)

    def pause_reading(self) -> None:
        self._reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        self._reading = True


class Tunnel:
    """What a stream knows of its exchange."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.close_code: int | None = None
        self.notified = 0
        self._closings = 0

    def notify(self) -> None:
        self.notified += 1

    def tunnel_closed(self) -> None:
        self._closings += 1

    def closings(self) -> int:
        return self._closings


class Bench:
    """An open stream. ``now`` is its clock; `wait` lets time go by."""

    def __init__(self, *, offer: str = "", **options: Any) -> None:
        self.now = 100.0
        self.wire = Wire()
        self.tunnel = Tunnel()
        self.gate = WriteGate()
        self.deadlines = Deadlines(lambda: self.now, lambda _when: None)
        fields = [*HANDSHAKE, (b"sec-websocket-extensions", offer.encode())] if offer else HANDSHAKE
        _, extensions = negotiate_extensions(fields, deflate=True)
        tunnel: Any = self.tunnel
        wire: Any = self.wire
        self.stream = WebSocketStream(tunnel, WebSocketConfig(**options), extensions)
        self.stream.opened(wire, self.deadlines, self.gate)

    def feed(self, *pieces: bytes) -> Bench:
        """Receive all of it at once."""
        self.stream.receive(b"".join(pieces))
        return self

    def wait(self, seconds: float) -> None:
        """``seconds`` go by, in steps that no deadline is missed by."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.5, end)
            for name in self.deadlines.expired():
                self.stream.on_deadline(name)

    def sent(self) -> list[Frame]:
        """The frames that were written since the last call."""
        data = bytes(self.wire.written)
        self.wire.written.clear()
        return split_frames(data)

    def told(self) -> tuple[int, str] | None:
        """What the application is told of the end; None while there is none."""
        return self.stream.disconnect

    def told_code(self) -> int | None:
        """The code of it."""
        told = self.told()
        return None if told is None else told[0]

    def taken(self) -> list[str | bytes]:
        """Every message that can be taken now."""
        found = []
        while (message := self.stream.take_message()) is not None:
            found.append(message)
        return found


def assert_failed(bench: Bench, code: int) -> None:
    """The connection was failed with ``code``: to the peer, to the application, and the tunnel is closed, once (RFC 6455 §7.1.7)."""
    frames = bench.sent()
    assert [closing(each)[0] for each in frames if each.opcode == CLOSE] == [code]
    assert frames[-1].opcode == CLOSE
    assert bench.told_code() == code
    # ASGI, Events: an event holds plain values.
    assert type(bench.told_code()) is int
    assert bench.tunnel.close_code == code
    assert bench.tunnel.closings() == 1
    assert bench.stream.failed


SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 200_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "bytes"])
def test_a_message_of_any_size_is_received_whole_and_sent_whole(opcode: int, size: int) -> None:
    # ws.frame.text-sizes
    bench = Bench()
    payload = b"*" * size
    message: str | bytes = payload.decode() if opcode == TEXT else payload
    assert bench.feed(frame(opcode, payload)).taken() == [message]
    bench.stream.send(message)
    assert bench.sent() == [Frame(opcode, payload)]
    assert bench.tunnel.sent_bytes == size
    assert bench.stream.received_bytes == size


def test_frames_may_be_cut_anywhere() -> None:
    data = b"".join((frame(TEXT, "grüße"), frame(PING, b"x"), *fragments(BINARY, [b"a" * 130, b"", b"b"]), close_frame(4001, "tschüß")))
    bench = Bench()
    for octet in data:
        bench.feed(bytes([octet]))
    assert bench.taken() == ["grüße", b"a" * 130 + b"b"]
    assert bench.told() == (4001, "tschüß")
    assert [each.opcode for each in bench.sent()] == [PONG, CLOSE]
    assert bench.tunnel.closings() == 1


def test_a_thousand_messages_of_one_read_stay_in_order() -> None:
    # asgi.ws.message-order
    bench = Bench()
    bench.feed(*(frame(TEXT, str(number)) for number in range(1000)))
    assert bench.taken() == [str(number) for number in range(1000)]


@pytest.mark.parametrize(
    "count",
    [2, 3, 1000, 1024],
)
def test_fragments_become_one_message_with_pings_between_them(count: int) -> None:
    # ws.frame.fragments, ws.frame.ping-not-to-app; 1024 is the most that is taken
    pieces = [b"%d," % number for number in range(count)]
    bench = Bench()
    for number, data in enumerate(fragments(TEXT, pieces)):
        bench.feed(data)
        if number < count - 1:
            assert bench.stream.take_message() is None
            bench.feed(frame(PING, b"%d" % number))
            assert bench.sent() == [Frame(PONG, b"%d" % number)]
    assert bench.taken() == [b"".join(pieces).decode()]


def test_empty_fragments_are_fragments() -> None:
    bench = Bench(ws_max_fragment_count=4)
    assert bench.feed(*fragments(TEXT, [b"", b"", b"", b""])).taken() == [""]
    bench.feed(*fragments(TEXT, [b"", b"", b"", b"", b""]))
    assert bench.taken() == []
    assert_failed(bench, 1009)


@pytest.mark.parametrize("limit", [1, 2, 1024])
def test_one_fragment_too_many_closes_with_1009(limit: int) -> None:
    # ws.frame.fragment-flood
    bench = Bench(ws_max_fragment_count=limit)
    for data in fragments(BINARY, [b"x"] * (limit + 1)):
        bench.feed(data)
    assert_failed(bench, 1009)
    assert bench.taken() == []


def test_a_message_in_one_frame_counts_no_fragments() -> None:
    bench = Bench(ws_max_fragment_count=1)
    assert bench.feed(frame(TEXT, "a"), frame(TEXT, "b")).taken() == ["a", "b"]


@pytest.mark.parametrize(
    ("stimulus", "code"),
    [
        pytest.param([frame(TEXT, "x", masked=False)], 1002, id="ws.frame.unmasked-client"),
        *(pytest.param([frame(TEXT, "x", rsv=rsv)], 1002, id=f"ws.frame.rsv-{rsv}") for rsv in range(1, 8)),
        *(pytest.param([frame(opcode, "")], 1002, id=f"ws.frame.reserved-opcode-{opcode}") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        pytest.param([frame(PING, "x", fin=False)], 1002, id="ws.frame.control-fragmented-ping"),
        pytest.param([frame(PONG, "x", fin=False)], 1002, id="ws.frame.control-fragmented-pong"),
        pytest.param([frame(CLOSE, "", fin=False)], 1002, id="ws.frame.control-fragmented-close"),
        pytest.param([frame(PING, "x" * 126)], 1002, id="ws.frame.control-too-long"),
        pytest.param([frame(CLOSE, b"\x03\xe8" + b"x" * 124)], 1002, id="close-too-long"),
        pytest.param([frame(CONT, "x")], 1002, id="ws.frame.continuation-orphan"),
        pytest.param([frame(CONT, "x", fin=False)], 1002, id="ws.frame.continuation-orphan-unfinished"),
        pytest.param([frame(TEXT, "a"), frame(CONT, "x")], 1002, id="continuation-after-a-whole-message"),
        pytest.param([*fragments(TEXT, [b"a", b"b"]), frame(CONT, "x")], 1002, id="continuation-after-the-last-fragment"),
        pytest.param([frame(TEXT, "a", fin=False), frame(TEXT, "b")], 1002, id="ws.frame.data-inside-fragments"),
        pytest.param([frame(TEXT, "a", fin=False), frame(BINARY, "b", fin=False)], 1002, id="ws.frame.data-inside-fragments-other"),
        pytest.param([frame(TEXT, "a", fin=False), close_frame(1000)], 1002, id="close-inside-fragments"),
        pytest.param([frame(CLOSE, b"\x03")], 1002, id="ws.close.one-byte"),
        *(
            pytest.param([close_frame(code)], 1002, id=f"ws.close.invalid-codes-{code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
        ),
        pytest.param([close_frame(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")], 1007, id="ws.utf8.close-reason"),
        # RFC 6455 §8.1, Autobahn 6.3 to 6.21
        *(
            pytest.param([frame(TEXT, payload)], 1007, id=f"ws.utf8.invalid-{name}")
            for name, payload in {
                "lone-continuation": b"\x80",
                "cut-short": b"\xc3",
                "overlong-slash": b"\xc0\xaf",
                "overlong-three": b"\xe0\x80\xaf",
                "overlong-nul": b"\xf0\x80\x80\x80",
                "surrogate": b"\xed\xa0\x80",
                "surrogate-pair": b"\xed\xa0\x80\xed\xb0\x80",
                "above-10ffff": b"\xf4\x90\x80\x80",
                "five-bytes": b"\xf8\x88\x80\x80\x80",
                "fe": b"ok\xfe",
                "in-the-middle": "κόσμε".encode() + b"\xed\xa0\x80edited",
            }.items()
        ),
        pytest.param(fragments(TEXT, [b"\xc3", b"x"]), 1007, id="code-point-broken-between-fragments"),
        pytest.param([*fragments(TEXT, [b"abc", b"\xc3"]), frame(PING, b"after")], 1007, id="cut-short-in-the-last-fragment"),
    ],
)
def test_a_frame_that_breaks_a_rule_fails_the_connection(stimulus: list[bytes], code: int) -> None:
    whole = Bench()
    whole.feed(*stimulus)
    pieces = Bench()
    for octet in b"".join(stimulus):
        pieces.feed(bytes([octet]))
    for bench in (whole, pieces):
        assert_failed(bench, code)
        # RFC 6455 §7.1.7: nothing that comes later is looked at.
        bench.feed(frame(TEXT, "late"), frame(PING, "late"), close_frame(1000))
        assert bench.sent() == []
        assert bench.tunnel.closings() == 1
        assert "late" not in bench.taken()


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("κόσμε", id="greek"),
        pytest.param("\0\x7f\x80\u07ff\u0800\ud7ff\ue000\ufffd\uffff\U00010000\U0010ffff", id="borders"),
        pytest.param("\ufeffbom", id="byte-order-mark-kept"),
    ],
)
def test_text_is_utf_8_whatever_its_fragments_cut(payload: str) -> None:
    # ws.utf8.valid
    data = payload.encode()
    bench = Bench()
    bench.feed(frame(TEXT, data), *fragments(TEXT, [data[index : index + 1] for index in range(len(data))]))
    assert bench.taken() == [payload, payload]


@pytest.mark.parametrize("form", [126, 127])
def test_a_length_that_is_longer_than_need_be_is_read_all_the_same(form: int) -> None:
    # ws.frame.length-minimal: accepted; RFC 6455 §5.2 binds the sender.
    assert Bench().feed(frame(TEXT, "x", form=form)).taken() == ["x"]


@pytest.mark.parametrize("size", [1 << 63, 1 << 63 | 5, (1 << 64) - 1])
def test_a_length_with_the_top_bit_set_fails_the_connection_before_anything_is_kept(size: int) -> None:
    # ws.frame.length-msb; the library finds it too large before it finds it unlawful.
    bench = Bench()
    bench.feed(bytes([0x82, 0xFF]) + struct.pack("!Q", size))
    assert_failed(bench, 1002)


def test_the_largest_length_that_there_is_is_only_too_large() -> None:
    bench = Bench()
    bench.feed(bytes([0x82, 0xFF]) + struct.pack("!Q", (1 << 63) - 1))
    assert_failed(bench, 1009)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"\xff"], id="in-the-first-fragment"),
        pytest.param(["κόσμε".encode(), b"\xed\xa0\x80"], id="in-the-second"),
        pytest.param([b"\xce", b"", b"x"], id="broken-between-fragments"),
        pytest.param([b"\xf4\x90"], id="before-its-last-byte"),
    ],
)
def test_text_that_cannot_become_utf_8_is_failed_before_its_last_fragment(pieces: list[bytes]) -> None:
    # ws.utf8.fail-fast
    data = fragments(TEXT, [*pieces, b"never looked at"])[:-1]
    bench = Bench()
    bench.feed(*data[:-1])
    assert bench.told() is None
    bench.feed(data[-1])
    assert_failed(bench, 1007)
    assert bench.taken() == []


def test_fragments_of_bytes_are_no_text_whatever_came_before_them() -> None:
    bench = Bench()
    bench.feed(*fragments(TEXT, [b"\xc3", b"\xa4", b"b"]), *fragments(BINARY, [b"\xff", b"\xfe", b"\x80"]))
    assert bench.taken() == ["äb", b"\xff\xfe\x80"]


def test_text_that_crossed_our_close_is_not_looked_at() -> None:
    bench = Bench()
    bench.feed(frame(TEXT, b"a", fin=False))
    bench.stream.close(1000)
    bench.feed(frame(CONT, b"\xff", fin=False), frame(CONT, b"\xff"), frame(TEXT, b"\xff", fin=False), frame(CONT, b""), close_frame(1000))
    assert [closing(each)[0] for each in bench.sent()] == [1000]
    assert bench.told_code() == 1000


# ---- sizes -------------------------------------------------------------------------------------------------------------------------


def test_a_message_of_the_largest_size_is_taken_and_one_byte_more_closes_with_1009() -> None:
    # ws.frame.too-big, asgi.ws.big-message
    bench = Bench(ws_max_size=70_000)
    assert bench.feed(frame(BINARY, b"x" * 70_000), *fragments(BINARY, [b"x" * 30_000, b"x" * 40_000])).taken() == [b"x" * 70_000] * 2
    bench.feed(frame(BINARY, b"x" * 70_001))
    assert_failed(bench, 1009)
    assert bench.taken() == []


def test_the_size_of_fragments_is_the_size_of_the_message() -> None:
    bench = Bench(ws_max_size=1000)
    bench.feed(*fragments(TEXT, [b"x" * 400] * 3))
    assert_failed(bench, 1009)


def test_too_much_is_refused_by_its_announcement_and_not_kept() -> None:
    bench = Bench(ws_max_size=1000)
    bench.feed(bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 40))
    assert_failed(bench, 1009)


# ---- control frames ----------------------------------------------------------------------------------------------------------------


def test_pings_are_answered_with_their_own_data_in_order() -> None:
    # ws.frame.ping-pong
    bench = Bench()
    bench.feed(*(frame(PING, b"%d" % number) for number in range(10)), frame(PING, b"x" * 125), frame(PING))
    assert bench.sent() == [*(Frame(PONG, b"%d" % number) for number in range(10)), Frame(PONG, b"x" * 125), Frame(PONG)]
    assert bench.taken() == []
    assert bench.tunnel.notified == 0


def test_a_pong_that_nobody_asked_for_is_ignored() -> None:
    # ws.frame.pong-unsolicited
    bench = Bench()
    bench.feed(frame(PONG, b"unasked"), frame(TEXT, "x"))
    assert bench.taken() == ["x"]
    assert bench.sent() == []


# ---- closing -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
def test_the_peers_close_is_echoed_and_told_to_the_application(code: int) -> None:
    # ws.close.valid-codes, ws.close.echo
    bench = Bench()
    bench.feed(frame(TEXT, "before"), close_frame(code, "warum nicht"))
    assert bench.taken() == ["before"]
    assert bench.told() == (code, "warum nicht")
    assert [closing(each)[0] for each in bench.sent()] == [code]
    assert bench.tunnel.close_code == code
    assert bench.tunnel.closings() == 1
    assert not bench.stream.failed


def test_a_close_without_a_code_is_1005_to_the_application() -> None:
    # ws.close.empty; RFC 6455 §7.1.5: 1005 never goes over the wire.
    bench = Bench()
    bench.feed(close_frame())
    assert bench.told() == (1005, "")
    assert bench.sent() == [Frame(CLOSE)]
    assert bench.tunnel.closings() == 1


def test_what_comes_behind_the_peers_close_is_ignored() -> None:
    # ws.close.data-after
    bench = Bench()
    bench.feed(close_frame(1000), frame(TEXT, "late"), frame(PING, "late"), b"\xff\xff garbage")
    bench.feed(frame(TEXT, "later"))
    assert bench.taken() == []
    assert [closing(each) for each in bench.sent()] == [(1000, "")]
    assert bench.tunnel.closings() == 1


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1000, "done"), (1011, ""), (3000, "x" * 123), (4999, "ä" * 61)])
def test_the_applications_close_goes_to_the_peer_and_its_answer_comes_back(code: int, reason: str) -> None:
    # S67
    bench = Bench()
    bench.stream.close(code, reason)
    assert [closing(each) for each in bench.sent()] == [(code, reason)]
    assert bench.told() is None
    assert bench.tunnel.closings() == 0
    bench.feed(close_frame(code, "bye"))
    assert bench.told() == (code, "bye")
    assert bench.tunnel.closings() == 1
    assert bench.sent() == []
    assert bench.tunnel.close_code == code


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 1 << 70])
def test_a_code_that_must_not_be_sent_is_refused_and_nothing_happens(code: int) -> None:
    # asgi.ws.close-invalid-code; RFC 6455 §7.4
    bench = Bench()
    with pytest.raises(LocalProtocolError, match=f"{code} is not a code"):
        bench.stream.close(code)
    assert bench.sent() == []
    bench.stream.close(4000)
    assert [closing(each) for each in bench.sent()] == [(4000, "")]


@pytest.mark.parametrize(
    "reason", [pytest.param("x" * 124, id="124-bytes"), pytest.param("ä" * 62, id="62-characters"), pytest.param("\ud800", id="surrogate")]
)
def test_a_reason_that_does_not_fit_is_refused(reason: str) -> None:
    bench = Bench()
    with pytest.raises(LocalProtocolError, match="reason"):
        bench.stream.close(1000, reason)
    assert bench.sent() == []


def test_text_that_is_no_unicode_is_refused_and_the_stream_goes_on() -> None:
    bench = Bench()
    with pytest.raises(LocalProtocolError, match="cannot be encoded"):
        bench.stream.send("\ud800")
    bench.stream.send("x")
    assert bench.sent() == [Frame(TEXT, b"x")]


ENDS: dict[str, Callable[[Bench], object]] = {
    "own-close": lambda bench: bench.stream.close(),
    "peers-close": lambda bench: bench.feed(close_frame(1000)),
    "eof": lambda bench: bench.stream.receive_eof(),
    "lost": lambda bench: bench.stream.connection_lost(),
}


@pytest.mark.parametrize("end", ENDS)
def test_after_the_end_nothing_can_be_sent(end: str) -> None:
    # S63
    bench = Bench()
    ENDS[end](bench)
    bench.sent()
    with pytest.raises(ClientDisconnected):
        bench.stream.send("late")
    with pytest.raises(ClientDisconnected):
        bench.stream.close()
    assert bench.sent() == []


def test_messages_that_cross_our_close_are_dropped_and_cannot_keep_its_answer_out() -> None:
    bench = Bench(ws_max_queue=2)
    bench.stream.close(1000)
    bench.feed(*(frame(TEXT, "crossing") for _ in range(100)))
    assert bench.wire.reads()
    bench.feed(*fragments(TEXT, [b"a", b"b"]), close_frame(1000))
    assert bench.taken() == []
    assert bench.told() == (1000, "")
    assert bench.tunnel.closings() == 1


def test_a_peer_that_breaks_a_rule_instead_of_answering_our_close_is_lost() -> None:
    bench = Bench()
    bench.stream.close(4001)
    bench.sent()
    bench.feed(frame(TEXT, "x", masked=False))
    assert bench.sent() == []
    assert bench.told() == (1006, "")
    assert bench.tunnel.close_code == 4001
    assert bench.tunnel.closings() == 1


def test_a_peer_that_never_answers_our_close_is_given_up() -> None:
    # ws.close.server-timeout; RFC 6455 §7.1.1
    bench = Bench(ws_close_timeout=3.0)
    bench.stream.close(4001)
    bench.wait(2.5)
    assert bench.told() is None
    bench.feed(frame(PING, b"still here"))
    bench.wait(0.5)
    assert bench.told() == (1006, "")
    assert bench.tunnel.closings() == 1
    assert bench.tunnel.close_code == 4001


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_connection_that_is_lost_is_1006_and_what_came_before_it_can_still_be_taken(how: str) -> None:
    # ws.close.tcp-drop
    bench = Bench()
    bench.feed(frame(TEXT, "last"), frame(TEXT, "half a message", fin=False))
    bench.stream.receive_eof() if how == "eof" else bench.stream.connection_lost()
    bench.stream.connection_lost()
    assert bench.taken() == ["last"]
    assert bench.told() == (1006, "")
    assert bench.tunnel.close_code == 1006
    assert bench.sent() == []


def test_a_connection_that_is_lost_after_the_closing_handshake_stays_what_it_was() -> None:
    bench = Bench()
    bench.feed(close_frame(4002, "bye"))
    bench.stream.receive_eof()
    bench.stream.connection_lost()
    assert bench.told() == (4002, "bye")
    assert bench.tunnel.closings() == 1


def test_a_stop_of_the_server_is_1012_to_the_peer_and_at_once_to_the_application() -> None:
    bench = Bench()
    bench.stream.close_for_shutdown()
    assert [closing(each)[0] for each in bench.sent()] == [1012]
    assert bench.told() == (1012, "")
    assert bench.tunnel.notified == 1
    bench.feed(frame(TEXT, "crossing"), close_frame(1012))
    assert bench.taken() == []
    assert bench.told() == (1012, "")
    assert bench.tunnel.closings() == 1
    assert bench.tunnel.close_code == 1012


@pytest.mark.parametrize("end", ["peer", "own"])
def test_a_stop_of_the_server_does_not_disturb_a_stream_that_is_closing(end: str) -> None:
    bench = Bench()
    if end == "peer":
        bench.feed(close_frame(1000))
    else:
        bench.stream.close(4000)
    bench.sent()
    bench.stream.close_for_shutdown()
    assert bench.sent() == []
    assert bench.told() == ((1000, "") if end == "peer" else None)


def test_a_stop_of_the_server_is_given_up_where_the_peer_does_not_answer() -> None:
    bench = Bench(ws_close_timeout=1.0)
    bench.stream.close_for_shutdown()
    bench.wait(1.0)
    assert bench.tunnel.closings() == 1
    assert bench.told() == (1012, "")


# ---- liveness ----------------------------------------------------------------------------------------------------------------------


def answered(bench: Bench) -> list[Frame]:
    """The pings that were sent, answered."""
    pings = [each for each in bench.sent() if each.opcode == PING]
    bench.feed(*(frame(PONG, each.payload) for each in pings))
    return pings


def test_a_quiet_peer_that_answers_is_pinged_for_ever() -> None:
    # ws.keepalive.ping
    bench = Bench(ws_ping_interval=20.0, ws_ping_timeout=5.0)
    payloads = set()
    for _ in range(5):
        bench.wait(19.5)
        assert bench.sent() == []
        bench.wait(0.5)
        (ping,) = answered(bench)
        payloads.add(ping.payload)
    assert len(payloads) == 5
    assert bench.told() is None


def test_a_peer_that_does_not_answer_is_closed_with_1011_and_is_1006_to_the_application() -> None:
    bench = Bench(ws_ping_interval=20.0, ws_ping_timeout=5.0)
    bench.wait(24.5)
    assert [each.opcode for each in bench.sent()] == [PING]
    assert bench.told() is None
    bench.wait(0.5)
    assert [closing(each)[0] for each in bench.sent()] == [1011]
    assert bench.told_code() == 1006
    assert bench.tunnel.close_code == 1011
    assert bench.tunnel.closings() == 1


def test_an_old_pong_is_no_sign_of_life() -> None:
    bench = Bench(ws_ping_interval=10.0, ws_ping_timeout=5.0)
    bench.wait(10.0)
    (first,) = answered(bench)
    bench.wait(10.0)
    bench.feed(frame(PONG, first.payload), frame(PONG, b""), frame(PING, b"x"))
    bench.wait(5.0)
    assert bench.tunnel.close_code == 1011


def test_without_a_timeout_pings_are_sent_and_no_pong_is_missed() -> None:
    bench = Bench(ws_ping_interval=10.0, ws_ping_timeout=None)
    bench.wait(100.0)
    assert [each.opcode for each in bench.sent()] == [PING] * 10
    assert bench.told() is None


def test_without_an_interval_nothing_is_pinged() -> None:
    bench = Bench(ws_ping_interval=None)
    bench.wait(1000.0)
    assert bench.sent() == []
    assert bench.told() is None


def test_a_peer_whose_pong_waits_behind_what_the_application_does_not_take_is_not_dead() -> None:
    bench = Bench(ws_ping_interval=10.0, ws_ping_timeout=5.0, ws_max_queue=1)
    bench.feed(frame(TEXT, "x"))
    assert not bench.wire.reads()
    bench.wait(100.0)
    (ping,) = bench.sent()
    assert ping.opcode == PING
    assert bench.told() is None
    # The application takes it, and the pong has its whole time from then on.
    assert bench.taken() == ["x"]
    assert bench.wire.reads()
    bench.wait(4.5)
    assert bench.told() is None
    bench.feed(frame(PONG, ping.payload))
    bench.wait(9.5)
    assert bench.told() is None


def test_a_peer_that_is_dead_after_all_is_found_so_once_its_bytes_were_read() -> None:
    bench = Bench(ws_ping_interval=10.0, ws_ping_timeout=5.0, ws_max_queue=1)
    bench.feed(frame(TEXT, "x"))
    bench.wait(100.0)
    assert bench.taken() == ["x"]
    bench.wait(5.0)
    assert bench.tunnel.close_code == 1011


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_pinged_once_the_stream_is_closing(end: str) -> None:
    bench = Bench(ws_ping_interval=1.0, ws_ping_timeout=1.0, ws_close_timeout=1000.0)
    ENDS[end](bench)
    bench.sent()
    bench.wait(100.0)
    assert bench.sent() == []
    assert not bench.deadlines.is_set(due.PING)
    assert not bench.deadlines.is_set(due.PONG)


def test_a_deadline_that_fires_after_the_connection_is_gone_does_nothing() -> None:
    bench = Bench()
    bench.stream.connection_lost()
    for name in (due.PING, due.PONG, due.WS_CLOSE):
        bench.stream.on_deadline(name)
    assert bench.told() == (1006, "")
    assert bench.tunnel.closings() == 0


# ---- back-pressure -----------------------------------------------------------------------------------------------------------------


def test_reading_pauses_at_the_queues_limit_and_goes_on_when_all_was_taken() -> None:
    bench = Bench(ws_max_queue=3)
    bench.feed(frame(TEXT, "1"), frame(TEXT, "2"))
    assert bench.wire.reads()
    bench.feed(frame(TEXT, "3"))
    assert not bench.wire.reads()
    assert [bench.stream.take_message(), bench.stream.take_message()] == ["1", "2"]
    assert not bench.wire.reads()
    assert bench.stream.take_message() == "3"
    assert bench.wire.reads()
    assert bench.wire.pauses == 1


def test_reading_pauses_where_the_messages_held_are_as_large_as_one_may_be() -> None:
    bench = Bench(ws_max_queue=1000, ws_max_size=1000)
    bench.feed(frame(BINARY, b"x" * 600))
    assert bench.wire.reads()
    bench.feed(frame(BINARY, b"x" * 400))
    assert not bench.wire.reads()
    assert bench.taken() == [b"x" * 600, b"x" * 400]
    assert bench.wire.reads()


def test_closing_reads_on_for_the_peers_part_of_the_handshake() -> None:
    bench = Bench(ws_max_queue=1)
    bench.feed(frame(TEXT, "untaken"))
    assert not bench.wire.reads()
    bench.stream.close(1000)
    assert bench.wire.reads()
    bench.feed(close_frame(1000))
    assert bench.tunnel.closings() == 1


# ---- compression -------------------------------------------------------------------------------------------------------------------


class Deflate:
    """The client's half of permessage-deflate (RFC 7692 §7.2), by zlib alone."""

    def __init__(self, *, send_bits: int = 15, receive_bits: int = 12) -> None:
        self._send_bits, self._receive_bits = send_bits, receive_bits
        self.forget_sent()
        self.forget_received()

    def forget_sent(self) -> None:
        self._deflate = zlib.compressobj(wbits=-self._send_bits)

    def forget_received(self) -> None:
        self._inflate = zlib.decompressobj(wbits=-self._receive_bits)

    def pack(self, data: bytes) -> bytes:
        return (self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def unpack(self, received: Frame) -> bytes:
        assert received.rsv == 4
        return self._inflate.decompress(received.payload + b"\x00\x00\xff\xff")


TEXTS = [b"", b"a", b"Hello" * 30, b"Hello" * 30, b"x" * 100_000, "κόσμε".encode() * 5]


@pytest.mark.parametrize(
    ("offer", "send_bits", "receive_bits", "client_forgets", "server_forgets"),
    [
        pytest.param("permessage-deflate", 15, 12, False, False, id="plain"),
        pytest.param("permessage-deflate; client_max_window_bits", 12, 12, False, False, id="windows"),
        pytest.param("permessage-deflate; server_max_window_bits=9; client_max_window_bits=9", 9, 9, False, False, id="small-windows"),
        pytest.param("permessage-deflate; client_no_context_takeover", 15, 12, True, False, id="client-forgets"),
        pytest.param("permessage-deflate; server_no_context_takeover", 15, 12, False, True, id="server-forgets"),
        pytest.param("permessage-deflate; client_no_context_takeover; server_no_context_takeover", 15, 12, True, True, id="both-forget"),
    ],
)
def test_compressed_messages_come_and_go_with_and_without_context(
    offer: str, send_bits: int, receive_bits: int, client_forgets: bool, server_forgets: bool
) -> None:
    # ws.pmd.echo, ws.pmd.context-takeover
    bench = Bench(offer=offer)
    client = Deflate(send_bits=send_bits, receive_bits=receive_bits)
    for data in TEXTS:
        bench.feed(frame(TEXT, client.pack(data), rsv=4))
        (message,) = bench.taken()
        assert message == data.decode()
        bench.stream.send(message)
        (answer,) = bench.sent()
        assert client.unpack(answer) == data
        if client_forgets:
            client.forget_sent()
        if server_forgets:
            client.forget_received()


def test_a_message_need_not_be_compressed_because_it_might() -> None:
    bench = Bench(offer="permessage-deflate")
    client = Deflate()
    bench.feed(frame(TEXT, "plain"), frame(TEXT, client.pack(b"packed"), rsv=4), *fragments(TEXT, [b"pla", b"in"]))
    assert bench.taken() == ["plain", "packed", "plain"]


def test_a_compressed_message_may_be_fragmented_anywhere() -> None:
    bench = Bench(offer="permessage-deflate")
    data = Deflate().pack(b"Hello" * 20)
    bench.feed(*fragments(BINARY, [data[index : index + 1] for index in range(len(data))], rsv=4))
    assert bench.taken() == [b"Hello" * 20]


@pytest.mark.parametrize(
    "stimulus",
    [
        pytest.param([frame(PING, "x", rsv=4)], id="ws.pmd.rsv1-control"),
        pytest.param([frame(TEXT, Deflate().pack(b"ab"), rsv=4, fin=False), frame(CONT, b"", rsv=4)], id="ws.pmd.rsv1-continuation"),
        pytest.param([frame(TEXT, "x", rsv=6)], id="rsv2-beside-it"),
        pytest.param([frame(TEXT, b"\xff\xff\xff\xff", rsv=4)], id="ws.pmd.bad-deflate"),
        pytest.param([frame(TEXT, b"\x06\x00", rsv=4)], id="reserved-block-type"),
    ],
)
def test_compression_that_breaks_a_rule_fails_the_connection(stimulus: list[bytes]) -> None:
    assert_failed(Bench(offer="permessage-deflate").feed(*stimulus), 1002)


def test_inflated_text_must_be_utf_8() -> None:
    assert_failed(Bench(offer="permessage-deflate").feed(frame(TEXT, Deflate().pack(b"\xff"), rsv=4)), 1007)


@pytest.mark.parametrize("pieces", [1, 50])
def test_a_message_is_counted_while_it_is_inflated(pieces: int) -> None:
    # ws.pmd.bomb
    packed = Deflate().pack(b"\0" * (64 * MIB))
    step = len(packed) // pieces + 1
    data = fragments(BINARY, [packed[index : index + step] for index in range(0, len(packed), step)], rsv=4)
    bench = Bench(offer="permessage-deflate", ws_max_size=MIB)
    tracemalloc.start()
    try:
        for each in data:
            bench.feed(each)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_failed(bench, 1009)
    assert peak < 6 * MIB


def test_the_size_that_counts_is_the_inflated_one_to_the_byte() -> None:
    bench = Bench(offer="permessage-deflate; client_no_context_takeover", ws_max_size=100_000)
    assert bench.feed(frame(BINARY, Deflate().pack(b"\0" * 100_000), rsv=4)).taken() == [b"\0" * 100_000]
    bench.feed(frame(BINARY, Deflate().pack(b"\0" * 100_001), rsv=4))
    assert_failed(bench, 1009)


def test_small_reads_that_inflate_to_much_are_held_back_like_everything_else() -> None:
    """One read of 256 KiB may hold a hundred messages of a thousand times their size; they are inflated as the application takes them."""
    packed = frame(BINARY, Deflate().pack(b"\0" * MIB), rsv=4)
    count = 200_000 // len(packed)
    assert count > 100
    bench = Bench(offer="permessage-deflate; client_no_context_takeover", ws_max_size=MIB)
    data = packed * count + close_frame(4000)
    tracemalloc.start()
    try:
        bench.feed(data)
        assert not bench.wire.reads()
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < 32 * MIB
    taken = 0
    while (message := bench.stream.take_message()) is not None:
        assert len(message) == MIB
        taken += 1
    assert taken == count
    assert bench.told() == (4000, "")
    assert bench.tunnel.closings() == 1
