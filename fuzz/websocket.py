"""The WebSocket stream: frames that are right, wrong, mutated and random, compressed or not, cut anywhere, on a connection that was upgraded.

The law of this module: what a stream of frames must come to is said by a second reader (`fuzz.frames_model`), and for streams that are right by
the client of the ``websockets`` library, which makes them and reads the answer.
"""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol

from fuzz import apps
from fuzz.engine import Choices, Input, Target, random_plan
from fuzz.frames_model import Expected, read_frames
from fuzz.mutate import mutate
from tests.support.sansio import Wire
from tests.support.websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_frame, closing, fragments, frame, handshake, split_frames

if TYPE_CHECKING:
    import random

    from asgiserve.config import WebSocketConfig
    from tests.support.sansio import Call, Steps
    from tests.support.websocket import Frame

__all__ = ["WEBSOCKET"]

_OFFERS: Final = (
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits",
)
_TEXTS: Final = [
    b"hello",
    b"",
    b"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" * 3,
    b"close",
    b"a" * 125,
    b"a" * 126,
    b"a" * 700,
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xff",
    b"\xf4\x90\x80\x80",
]
_CODES: Final = [None, 1000, 1001, 1002, 1003, 1007, 1011, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]
_WORDS: Final = [
    *(frame(TEXT, b"a"), frame(BINARY, b""), frame(CONT, b"b"), frame(CONT, b"b", fin=False), frame(TEXT, b"\xc3", fin=False), frame(PING, b"p")),
    *(close_frame(1000), close_frame(), frame(CLOSE, b"\x03"), frame(PONG, b"1"), frame(TEXT, b"a", masked=False), b"\x81\xfe", b"\x82\xff"),
    *(
        b"\x81\x80",
        b"\xc1\x80",
        b"\x89\xfe\x00\x7e",
        b"\x82\xff" + b"\xff" * 8,
        b"\x82\xff" + b"\x00" * 8,
        b"\x88\x82",
        b"\x00",
        b"\x80",
        b"\xff",
        b"\x7f",
    ),
]
# What the server may say by itself (RFC 6455 §7.4.1): a protocol error, no UTF-8, too big, no pong, and what the application closes with.
_FAULTS: Final = (1002, 1007, 1009)
_KEEP_ALIVE: Final = 1011


# ---- making


def _compressed(rng: random.Random, data: bytes) -> bytes:
    deflate = zlib.compressobj(rng.choice((0, 1, 9)), wbits=-rng.choice((9, 12)))
    flushed = deflate.compress(data) + deflate.flush(rng.choice((zlib.Z_SYNC_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH)))
    return flushed[:-4] if flushed.endswith(b"\x00\x00\xff\xff") else flushed


def _message(rng: random.Random) -> bytes:
    """The frames of one message, right in most cases."""
    opcode = rng.choice((TEXT, TEXT, BINARY))
    data = rng.choice(_TEXTS[:6]) if rng.random() < 0.85 else rng.choice([*_TEXTS, b"x" * 2001, rng.randbytes(rng.randint(0, 30))])
    rsv = 0
    if rng.random() < 0.3:
        data, rsv = _compressed(rng, data * rng.choice((1, 1, 20))), 4
    if rng.random() < 0.6:
        return frame(opcode, data, rsv=rsv, form=rng.choice((0, 0, 0, 126, 127)))
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((1, 1, 2, 5, 8))))
    frames = fragments(opcode, [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)], rsv=rsv)
    if rng.random() < 0.3:
        frames.insert(rng.randint(0, len(frames)), _control(rng))
    return b"".join(frames)


def _control(rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        return close_frame(rng.choice(_CODES), rng.choice((b"", b"bye", b"\xff", b"r" * 123, b"r" * 124)))
    return frame(rng.choice((PING, PONG)), rng.choice((b"", b"p", b"1", b"x" * 125, b"x" * 126)), fin=rng.random() < 0.98)


def _wrong(rng: random.Random) -> bytes:
    return frame(
        rng.randrange(16), rng.randbytes(rng.randint(0, 4)), fin=rng.random() < 0.7, rsv=rng.choice((0, 0, 1, 2, 4, 7)), masked=rng.random() < 0.9
    )


def make(rng: random.Random) -> Input:
    """Frames in a row, mutated or not, and a plan."""
    kind = rng.random()
    if kind < 0.03:
        return Input(rng.randbytes(rng.randint(0, 200)), random_plan(rng))
    if kind < 0.035:
        # More than is looked at in one go, and more messages than are held for the application.
        return Input(frame(rng.choice((TEXT, BINARY, PING)), b"a") * rng.randint(2300, 2800) + close_frame(1000), random_plan(rng))
    parts = [
        _message(rng) if rng.random() < 0.7 else _control(rng) if rng.random() < 0.8 else _wrong(rng) for _ in range(rng.choice((1, 2, 4, 8, 12)))
    ]
    if rng.random() < 0.4:
        parts.append(close_frame(rng.choice(_CODES[:8]), b"bye" if rng.random() < 0.3 else b""))
    data = b"".join(parts)
    return Input(data if kind < 0.5 else mutate(rng, data, _WORDS, rng.choice((1, 1, 2, 4))), random_plan(rng))


# ---- checking


class _Came(NamedTuple):
    """What came of a stream: what the application was given, what it was told at the end, and what was written behind the 101."""

    received: list[str | bytes]
    told: tuple[int, str] | None
    frames: list[Frame]
    wire: Wire


def _play(data: bytes, cuts: list[int] | None, *, offer: str, config: WebSocketConfig, choices: Choices | None = None) -> _Came:
    """``data`` behind a handshake. With ``choices`` the application answers, and things happen."""
    received: list[str | bytes] = []
    says = choices is not None and choices.below(2) == 1

    def app(call: Call) -> Steps:
        yield from apps.accept(call, received, config, says=lambda _: says)

    wire = Wire(app, "h11", eager=choices is not None and choices.below(2) == 1)
    opening = handshake(*((f"Sec-WebSocket-Extensions: {offer}",) if offer else ()))
    if choices is None:
        wire.feed(opening)
        wire.feed(data, cuts)
    else:
        pieces = [data[begin:end] for begin, end in zip([0, *(cuts or ())], [*(cuts or ()), len(data)], strict=True)]
        wire.feed(opening + pieces[0])
        for piece in pieces[1:]:
            if _happens(wire, choices):
                break
            wire.feed(piece)
    exchange = wire.owner.begun[0]
    stream = exchange.stream
    assert stream is not None
    told_at_once = stream.disconnect
    wire.take()
    if not wire.owner.closes:
        wire.feed_eof()
    wire.advance(200)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun
    assert wire.calls[0].finished, "an application that was not woken"
    assert wire.calls[0].error is None or isinstance(wire.calls[0].error, OSError), wire.calls[0].error
    assert stream.disconnect is not None
    assert told_at_once in {None, stream.disconnect}, "ended twice"
    written = wire.transport.written
    assert written.startswith(b"HTTP/1.1 101 ")
    return _Came(received, stream.disconnect, split_frames(written[written.index(b"\r\n\r\n") + 4 :]), wire)


def _happens(wire: Wire, choices: Choices) -> bool:
    what = choices.below(10) if choices.left else 0
    if what == 5:
        wire.stall()
    elif what == 6:
        wire.take()
    elif what == 7:
        wire.advance(choices.pick((1.0, 20.0, 45.0)))
    elif what == 8:
        wire.connection.begin_drain(1.0)
        wire.settle()
    elif what == 9:
        wire.feed_eof()
        return True
    return False


def _check_frames(came: _Came, *, compressed: bool) -> None:
    """What the server wrote is lawful, and it closes once; behind that, a ping is still answered (RFC 6455 §5.5.1, §5.5.2)."""
    closed = False
    for sent in came.frames:
        assert sent.rsv == 0 or (compressed and sent.rsv == 4 and sent.opcode in {TEXT, BINARY}), sent
        assert sent.fin
        assert sent.opcode in {TEXT, BINARY, PING, PONG, CLOSE}, sent
        assert not closed or sent.opcode == PONG, "something behind a close frame"
        closed = closed or sent.opcode == CLOSE


def check(tried: Input) -> None:
    """A stream by itself comes to what the model says, whole and cut; with an application that answers, and events, the rules of frames hold."""
    choices = Choices(tried.plan)
    offer = choices.pick(("", *_OFFERS))
    cuts = choices.cuts(len(tried.data))
    config = apps.WEBSOCKET
    with _Listening() as faults:
        whole = _play(tried.data, None, offer=offer, config=config)
        _check_frames(whole, compressed=bool(offer))
        windows = _windows(whole)
        expected = read_frames(tried.data, config, deflate=windows)
        _compare(whole, expected)
        if cuts:
            cut = _play(tried.data, cuts, offer=offer, config=config)
            _compare(cut, expected)
            assert expected.late or cut[:3] == whole[:3], f"cut at {cuts}: {cut[:3]}, whole: {whole[:3]}"
        if choices.left:
            _check_frames(_play(tried.data, cuts, offer=offer, config=config, choices=choices), compressed=bool(offer))
        _dialogue(tried, offer)
    assert not faults, faults


def _windows(came: _Came) -> bool | None:
    """Whether the client forgets its window after each message; None where there is no compression."""
    exchange = came.wire.owner.begun[0]
    assert exchange.stream is not None
    head = came.wire.transport.written.partition(b"\r\n\r\n")[0]
    return b"client_no_context_takeover" in head if b"permessage-deflate" in head else None


def _compare(came: _Came, expected: Expected) -> None:
    assert came.received == expected.messages, f"received {came.received}, expected {expected}"
    sent = [one for one in came.frames if one.opcode == CLOSE]
    pongs = [one.payload for one in came.frames if one.opcode == PONG]
    code = closing(sent[0])[0] if sent else None
    if expected.late:
        assert pongs[: len(expected.pongs)] == expected.pongs, f"pongs {pongs}, expected {expected}"
        # Any code: where a close frame was in the same read, it was answered already.
        assert code is not None, f"not closed, expected {expected}"
        return
    assert pongs == expected.pongs, f"pongs {pongs}, expected {expected}"
    assert code == expected.code, f"closed with {code}, expected {expected}"
    assert code is None or code in _FAULTS or expected.echo, code
    assert came.told is not None
    if expected.code is None:
        # The end of the stream without a closing handshake (RFC 6455 §7.1.5).
        assert came.told[0] == 1006, came.told
    elif not expected.echo or expected.code != 1005:
        assert came.told[0] == expected.code, came.told


class _Listening(logging.Handler):
    """Collects what the library says at ERROR: it has caught an exception of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._faults: list[str] = []
        self._logger = logging.getLogger("asgiserve.websocket.frames")

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(self.format(record))

    def __enter__(self) -> list[str]:
        self._logger.addHandler(self)
        self._propagate, self._logger.propagate = self._logger.propagate, False
        return self._faults

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagate


def _send_messages(client: Protocol, data: bytes, choices: Choices) -> tuple[list[str | bytes], list[bytes]]:
    """Messages that the input decides, whole and in fragments with a ping among them; they and the pings."""
    sent: list[str | bytes] = []
    pings: list[bytes] = []
    while len(sent) < 6:
        size = choices.below(200)
        part, data = data[:size], data[size:]
        message: str | bytes = part if choices.below(2) else part.decode("latin-1")
        content = message.encode() if isinstance(message, str) else message
        pieces = [content[at : at + 60] for at in range(0, len(content), 60)] if choices.below(2) else [content]
        pieces = pieces[:7] or [b""]
        if len(pieces) > 1:
            message = b"".join(pieces)
            client.send_binary(pieces[0], fin=False)
            for piece in pieces[1:-1]:
                client.send_continuation(piece, fin=False)
            client.send_ping(b"%d" % len(sent))
            pings.append(b"%d" % len(sent))
            client.send_continuation(pieces[-1], fin=True)
        elif isinstance(message, str):
            client.send_text(content)
        else:
            client.send_binary(content)
        sent.append(message)
        if not choices.left:
            break
    return sent, pings


def _dialogue(tried: Input, offer: str) -> None:
    """A client of the library sends messages that the input decides; each comes back as it was, each ping is answered, and so is its close."""
    choices = Choices(tried.plan[::-1])
    client = Protocol(CLIENT)
    if offer:
        # As the server answers these offers: windows of 4 KiB.
        forgets = "client_no_context_takeover" in offer
        own_bits = 12 if "client_max_window_bits" in offer else 15
        client.extensions = [PerMessageDeflate("server_no_context_takeover" in offer, forgets, 12, own_bits, {})]
    sent, pings = _send_messages(client, tried.data[:1500], choices)
    stream = b"".join(client.data_to_send())
    received: list[str | bytes] = []

    def app(call: Call) -> Steps:
        yield from apps.accept(call, received, apps.WEBSOCKET, says=lambda _: True)

    wire = Wire(app, "h11")
    wire.feed(handshake(*((f"Sec-WebSocket-Extensions: {offer}",) if offer else ())))
    start = len(wire.transport.written)
    wire.feed(stream, choices.cuts(len(stream)))
    if any(message in {"close", b"close"} for message in sent):
        return
    assert received == sent, f"sent {sent}, received {received}"
    client.send_close(1000)
    wire.feed(b"".join(client.data_to_send()))
    wire.advance(30)
    assert wire.owner.closes == 1
    client.receive_data(wire.transport.written[start:])
    assert client.parser_exc is None, client.parser_exc
    back: list[Any] = [event for event in client.events_received() if isinstance(event, LibraryFrame)]
    assert [bytes(event.data) for event in back if event.opcode is Opcode.PONG] == pings
    assert [(event.opcode is Opcode.TEXT, bytes(event.data)) for event in back if event.opcode in {Opcode.TEXT, Opcode.BINARY}] == [
        (isinstance(message, str), message.encode() if isinstance(message, str) else message) for message in sent
    ]
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == 1000


WEBSOCKET: Final = Target(
    "websocket",
    "the WebSocket stream: held against a model and the library's client, with and without compression, whole and cut",
    make,
    check,
    feeds=4,
)
