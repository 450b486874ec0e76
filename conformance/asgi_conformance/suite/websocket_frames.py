"""WebSocket: frames, messages and fragments (RFC 6455 §5). The families of Autobahn's test suite, 1 to 5."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_fragments, encode_frame
from asgi_conformance.suite.dialogue import receiving
from asgi_conformance.suite.websocket_dialogue import BEHIND, Many, altered, lenient, messages, read_close, tells
from pytest_asgiserve.raw import Truncated

if TYPE_CHECKING:
    from asgi_conformance.frames import Frame
    from asgi_conformance.stage import Stage

__all__ = ["FRAMES", "MESSAGES"]

FRAMES: Final = Topic("websocket/frames", "WebSocket: frames")
MESSAGES: Final = Topic("websocket/messages", "WebSocket: control frames and messages in fragments")

_NEEDS: Final = ("websocket",)
_PROTOCOL_ERROR: Final = 1002
_TOO_BIG: Final = 1009
_RESERVED: Final = (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
_MOST_CONTROL: Final = 125

# Autobahn 1.1 and 1.2.
_TEXT_SIZES: Final = (0, 1, 125, 126, 127, 128, 65535, 65536)
_CHOP: Final = 997
"""Autobahn 1.1.8 and 1.2.8: bytes in each write."""
_PATTERN: Final = bytes(range(251))


def _content(opcode: int, size: int) -> bytes:
    """Of a message; text is ASCII."""
    pattern = b"*0123456789" if opcode == TEXT else _PATTERN
    return (pattern * (size // len(pattern) + 1))[:size]


def _value(opcode: int, payload: bytes) -> str | bytes:
    """What the application gets."""
    return payload.decode() if opcode == TEXT else payload


def _echoed(stage: Stage, frames: Any, opcode: int, payload: bytes, what: str) -> None:
    """The next message is this one."""
    try:
        message = frames.read_message()
    except TimeoutError:
        stage.check(False, f"{what}: nothing came back")
        raise
    stage.check((message.opcode, message.payload, message.rsv) == (opcode, payload, 0), f"{what}: it came back as {message}"[:300])


# Lengths, masks, reserved bits and opcodes.


@FRAMES.scenario(
    "ws.frame.text-sizes",
    "RFC 6455 §5.2",
    "RFC 6455 §5.6",
    "ASGI www, Send",
    "RFC 6455 §6.1",
    "RFC 6455 §6.2",
    level=Level.MUST,
    says='The length of the "Payload data", in bytes: if 0-125, that is the payload length. If 126, the following 2 bytes interpreted as a 16-bit '
    "unsigned integer are the payload length. If 127, the following 8 bytes interpreted as a 64-bit unsigned integer (the most significant bit MUST "
    "be 0) are the payload length.",
    expects="each message of 0 to 65,536 bytes with the application as it is, and back",
    needs=_NEEDS,
    bad=Distortion(app=receiving(lambda event: {**event, "bytes": event["bytes"][:65535]} if event.get("bytes") else event)),
)
def text_sizes(stage: Stage) -> None:
    frames = stage.websocket()
    sent = []
    for opcode in (TEXT, BINARY):
        for size in _TEXT_SIZES:
            payload = _content(opcode, size)
            sent.append(_value(opcode, payload))
            frames.send(opcode, payload)
            _echoed(stage, frames, opcode, payload, f"{'text' if opcode == TEXT else 'binary'} of {size} bytes")
        payload = _content(opcode, _TEXT_SIZES[-1])
        data = encode_frame(opcode, payload)
        sent.append(_value(opcode, payload))
        for start in range(0, len(data), _CHOP):
            frames.connection.send(data[start : start + _CHOP])
        _echoed(stage, frames, opcode, payload, f"{len(payload)} bytes in writes of {_CHOP}")
    # Autobahn 6.1.2.
    frames.connection.send(encode_fragments(TEXT, [b"", b"", b""]))
    sent.append("")
    _echoed(stage, frames, TEXT, b"", "three empty fragments")
    frames.finish()
    got = messages(stage.record())
    stage.check(len(got) == len(sent), f"{len(got)} messages for the application, not {len(sent)}")
    for had, gave in zip(got, sent, strict=True):
        stage.check(had == gave and isinstance(had, str) == isinstance(gave, str), f"of {len(gave)} bytes the application got {had!r}"[:300])


@FRAMES.scenario(
    "ws.frame.length-minimal",
    "RFC 6455 §5.2",
    # It binds who sends; whoever receives may take it (§10.7: "MAY drop").
    level=Level.MAY,
    says="Note that in all cases, the minimal number of bytes MUST be used to encode the length, for example, the length of a 124-byte-long string "
    "can't be encoded as the sequence 126, 0, 124.",
    expects="a longer length than need be refused with 1002, or read as the length that it is",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: replace(frame, payload=frame.payload[:-1]) if frame.opcode == BINARY else frame)),
)
def length_minimal(stage: Stage) -> None:
    taken: list[str] = []
    refused: list[str] = []
    for size, bits in ((5, 16), (5, 64), (126, 64), (65535, 64)):
        what = f"{size} bytes with a length of {bits} bits"
        payload = _content(BINARY, size)
        frames = stage.websocket()
        frames.connection.send(encode_frame(BINARY, payload, length=bits))
        try:
            message = frames.read_message()
        except (Truncated, ConnectionResetError):
            refused.append(what)
            continue
        if message.opcode == CLOSE:
            stage.check(message.code == _PROTOCOL_ERROR, f"{what}: closed with {message.code}")
            refused.append(what)
        else:
            stage.check((message.opcode, message.payload) == (BINARY, payload), f"{what}: it came back as {message}"[:300])
            taken.append(what)
            frames.finish()
    if taken:
        stage.tell(f"taken: {', '.join(taken)}")
    if refused:
        stage.tell(f"refused: {', '.join(refused)}")


@FRAMES.scenario(
    "ws.frame.length-msb",
    "RFC 6455 §5.2",
    "RFC 6455 §10.7",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="If 127, the following 8 bytes interpreted as a 64-bit unsigned integer (the most significant bit MUST be 0) are the payload length.",
    expects="the connection failed (1002 or 1009)",
    needs=_NEEDS,
    bad=Distortion(to_server=lambda data: encode_frame(TEXT, b"x") if data[1:3] == b"\xff\x80" else data),
)
def length_msb(stage: Stage) -> None:
    many = Many(stage)
    for what, opcode, size in (
        ("2^63", BINARY, 1 << 63),
        ("2^63 + 16", TEXT, (1 << 63) + 16),
        ("2^64 - 1", BINARY, (1 << 64) - 1),
    ):
        frames = many.open(what)
        frames.connection.send(encode_frame(opcode, b"x" * 16, size=size))
        # It is too long as well (RFC 6455 §7.4.1).
        many.failed(what, frames, _PROTOCOL_ERROR, _TOO_BIG)
    many.finish()


@FRAMES.scenario(
    "ws.frame.unmasked-client",
    "RFC 6455 §5.1",
    level=Level.MUST,
    says="The server MUST close the connection upon receiving a frame that is not masked. In this case, a server MAY send a Close frame with a "
    "status code of 1002 (protocol error) as defined in Section 7.4.1.",
    expects="the connection closed, with 1002 or without a Close frame, and nothing for the application",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: frame)),
)
def unmasked_client(stage: Stage) -> None:
    many = Many(stage)
    for what, data in (
        ("text", encode_frame(TEXT, b"hello", mask=None)),
        ("binary", encode_frame(BINARY, b"hello", mask=None)),
        ("an empty text", encode_frame(TEXT, mask=None)),
        ("text of 200 bytes", encode_frame(TEXT, b"x" * 200, mask=None)),
        ("a ping", encode_frame(PING, b"hello", mask=None)),
        ("the second fragment", encode_frame(TEXT, b"hel", fin=False) + encode_frame(CONTINUATION, b"lo", mask=None)),
    ):
        many.fails(what, data, _PROTOCOL_ERROR, silent=True)
    many.finish()


def _masks(frame: Frame) -> bytes:
    return tells(frame, mask=b"abcd") if frame.opcode == PONG else tells(frame)


@FRAMES.scenario(
    "ws.frame.server-unmasked",
    "RFC 6455 §5.1",
    level=Level.MUST,
    says="A server MUST NOT mask any frames that it sends to the client.",
    expects="messages, pongs and Close frames unmasked",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(_masks)),
)
def server_unmasked(stage: Stage) -> None:
    frames = stage.websocket(script=[["accept"], ["text", "first"], ["bytes", "first"], ["echo"]])
    _echoed(stage, frames, TEXT, b"first", "text of the application")
    _echoed(stage, frames, BINARY, b"first", "bytes of the application")
    for opcode, size in ((TEXT, 5), (BINARY, 5), (TEXT, 200), (BINARY, 65536)):
        frames.send(opcode, _content(opcode, size))
        _echoed(stage, frames, opcode, _content(opcode, size), f"{size} bytes")
    frames.send(PING, b"hello")
    while (frame := frames.read_frame()).opcode == PING:
        pass
    stage.check(frame.opcode == PONG, f"no pong, but {frame}")
    stage.check(frames.finish() is not None, "no Close frame")
    closed = stage.websocket(script=[["accept"], ["close", 4000]])
    stage.check(read_close(stage, closed, "the application's close") is not None, "no Close frame for the application's close")


@FRAMES.scenario(
    "ws.frame.rsv",
    "RFC 6455 §5.2",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="MUST be 0 unless an extension is negotiated that defines meanings for non-zero values. If a nonzero value is received and none of the "
    "negotiated extensions defines the meaning of such a nonzero value, the receiving endpoint MUST _Fail the WebSocket Connection_.",
    expects="the connection failed (1002), and nothing for the application",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: replace(frame, rsv=0))),
)
def rsv(stage: Stage) -> None:
    many = Many(stage)
    for bits in range(1, 8):
        opcode = TEXT if bits % 2 else BINARY
        many.fails(f"RSV {bits:03b} on {'text' if opcode == TEXT else 'binary'}", encode_frame(opcode, b"hello", rsv=bits), _PROTOCOL_ERROR)
    many.fails("RSV 110 on a ping", encode_frame(PING, b"hello", rsv=6), _PROTOCOL_ERROR)
    many.fails("RSV 001 on a pong", encode_frame(PONG, b"hello", rsv=1), _PROTOCOL_ERROR)
    fragment = encode_frame(TEXT, b"hel", fin=False) + encode_frame(CONTINUATION, b"lo", rsv=4)
    many.fails("RSV 100 on the second fragment", fragment, _PROTOCOL_ERROR)
    many.fails("RSV 111 on a Close frame", encode_frame(CLOSE, b"\x03\xe8", rsv=7), _PROTOCOL_ERROR)
    many.finish()


@FRAMES.scenario(
    "ws.frame.reserved-opcode",
    "RFC 6455 §5.2",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_.",
    expects="the connection failed (1002), and nothing for the application",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: None if frame.opcode in _RESERVED else frame)),
)
def reserved_opcode(stage: Stage) -> None:
    many = Many(stage)
    for opcode in _RESERVED:
        many.fails(f"opcode {opcode}, empty", encode_frame(opcode), _PROTOCOL_ERROR)
        many.fails(f"opcode {opcode} with 5 bytes", encode_frame(opcode, b"hello"), _PROTOCOL_ERROR)
    many.finish()


# Control frames.


def _whole(frame: Frame) -> Frame | None:
    if frame.opcode == CONTINUATION:
        return None
    return replace(frame, fin=True) if frame.opcode >= CLOSE else frame


@MESSAGES.scenario(
    "ws.frame.control-fragmented",
    "RFC 6455 §5.4",
    "RFC 6455 §5.5",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.",
    expects="the connection failed (1002), and no pong",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(_whole)),
)
def control_fragmented(stage: Stage) -> None:
    many = Many(stage)
    for what, opcode in (("a ping", PING), ("a pong", PONG)):
        many.fails(f"{what} without FIN", encode_frame(opcode, b"hello", fin=False), _PROTOCOL_ERROR)
        fragments = encode_frame(opcode, b"hel", fin=False) + encode_frame(CONTINUATION, b"lo")
        many.fails(f"{what} in two fragments", fragments, _PROTOCOL_ERROR)
    many.fails("a Close frame without FIN", encode_frame(CLOSE, b"\x03\xe8", fin=False), _PROTOCOL_ERROR)
    many.finish()


@MESSAGES.scenario(
    "ws.frame.control-too-long",
    "RFC 6455 §5.5",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.",
    expects="the connection failed (1002), and no pong",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: replace(frame, payload=frame.payload[:_MOST_CONTROL]) if frame.opcode >= CLOSE else frame)),
)
def control_too_long(stage: Stage) -> None:
    many = Many(stage)
    many.fails("a ping of 126 bytes", encode_frame(PING, b"\xfe" * 126), _PROTOCOL_ERROR)
    many.fails("a ping of 126 bytes with a length of 64 bits", encode_frame(PING, b"\xfe" * 126, length=64), _PROTOCOL_ERROR)
    many.fails("a ping of 1,000 bytes", encode_frame(PING, b"\xfe" * 1000), _PROTOCOL_ERROR)
    many.fails("a pong of 126 bytes", encode_frame(PONG, b"\xfe" * 126), _PROTOCOL_ERROR)
    many.fails("a Close frame of 126 bytes", encode_frame(CLOSE, b"\x03\xe8" + b"*" * 124), _PROTOCOL_ERROR)
    many.finish()


def _pong(stage: Stage, frames: Any, what: str) -> bytes:
    """The data of the next pong."""
    while (frame := frames.read_frame()).opcode == PING:
        pass
    stage.check(frame.opcode == PONG, f"{what}: no pong, but {frame}"[:300])
    payload: bytes = frame.payload
    return payload


@MESSAGES.scenario(
    "ws.frame.ping-pong",
    "RFC 6455 §5.5.2",
    "RFC 6455 §5.5.3",
    level=Level.MUST,
    says="Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response, unless it already received a Close frame. [...] A Pong "
    'frame sent in response to a Ping frame must have identical "Application data" as found in the message body of the Ping frame being replied to.',
    expects="a pong with the same data for each ping, or for the last of several",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(lambda frame: tells(frame, payload=frame.payload[:64]) if frame.opcode == PONG else tells(frame))),
)
def ping_pong(stage: Stage) -> None:
    frames = stage.websocket()
    # Autobahn 2.1 to 2.4 and 2.6.
    for payload in (b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * _MOST_CONTROL):
        what = f"a ping of {len(payload)} bytes"
        frames.send(PING, payload)
        pong = _pong(stage, frames, what)
        stage.check(pong == payload, f"{what}: a pong with {pong!r}")
    for octet in (data := encode_frame(PING, b"\xfe" * _MOST_CONTROL)):
        frames.connection.send(bytes([octet]))
    stage.check(_pong(stage, frames, "byte by byte") == b"\xfe" * _MOST_CONTROL, f"the pong to a ping of {len(data)} writes has other data")
    # Autobahn 2.10 and 2.11: ten at once, as one write and in small ones.
    for chop in (1000, 7):
        wanted = [b"payload-%d-%d" % (chop, number) for number in range(10)]
        data = b"".join(encode_frame(PING, payload) for payload in wanted)
        for start in range(0, len(data), chop):
            frames.connection.send(data[start : start + chop])
        got = [_pong(stage, frames, "ten pings")]
        while got[-1] != wanted[-1]:
            got.append(_pong(stage, frames, "ten pings"))
        left = iter(wanted)
        stage.check(all(payload in left for payload in got), f"ten pings: pongs with {got!r}")
        if len(got) < len(wanted):
            # RFC 6455 §5.5.3: it "MAY elect to send a Pong frame for only the most recently processed Ping frame".
            stage.tell(f"{len(got)} pongs for ten pings")
    frames.text("after")
    _echoed(stage, frames, TEXT, b"after", "a message behind the pings")
    frames.finish()
    got_messages = messages(stage.record())
    stage.check(got_messages == ["after"], f"the application got {got_messages!r}")


@MESSAGES.scenario(
    "ws.frame.pong-unsolicited",
    "RFC 6455 §5.5.3",
    level=Level.MUST,
    says="A Pong frame MAY be sent unsolicited. This serves as a unidirectional heartbeat. A response to an unsolicited Pong frame is not expected.",
    expects="pongs ignored, and what follows them served",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: replace(frame, opcode=PING) if frame.opcode == PONG else frame)),
)
def pong_unsolicited(stage: Stage) -> None:
    frames = stage.websocket()
    # Autobahn 2.7 to 2.9.
    for payload in (b"", b"unsolicited pong payload"):
        what = f"a pong of {len(payload)} bytes"
        frames.send(PONG, payload)
        frames.send(PING, b"ping payload")
        pong = _pong(stage, frames, what)
        stage.check(pong == b"ping payload", f"{what}: a pong with {pong!r} came back")
    frames.send(TEXT, b"hel", fin=False)
    frames.send(PONG, b"between fragments")
    frames.send(CONTINUATION, b"lo")
    while (frame := frames.read_frame()).opcode == PING:
        pass
    stage.check((frame.opcode, frame.payload) == (TEXT, b"hello"), f"a pong between fragments: {frame} came back")
    frames.finish()
    got = messages(stage.record())
    stage.check(got == ["hello"], f"the application got {got!r}")


# Fragments.


def _halving(app: Any) -> Any:
    """A server that gives the application what it has of a message."""

    async def halves(scope: Any, receive: Any, send: Any) -> None:
        rest: list[Any] = []

        async def half() -> Any:
            if rest:
                return rest.pop()
            event = await receive()
            kind = "bytes" if event.get("text") is None else "text"
            if event["type"] != "websocket.receive" or len(event[kind]) < 2:
                return event
            middle = len(event[kind]) // 2
            rest.append({**event, kind: event[kind][middle:]})
            return {**event, kind: event[kind][:middle]}

        await app(scope, half, send)

    return halves


@MESSAGES.scenario(
    "ws.frame.ping-not-to-app",
    "ASGI www, WebSocket",
    level=Level.SHOULD,
    says="WebSocket protocol servers should handle PING/PONG messages themselves, and send PING messages as necessary to ensure the connection is "
    "alive. WebSocket protocol servers should handle message fragmentation themselves, and deliver complete messages to the application.",
    expects="one websocket.receive with the whole message, and nothing of the ping in it",
    needs=_NEEDS,
    bad=Distortion(app=_halving),
)
def ping_not_to_app(stage: Stage) -> None:
    frames = stage.websocket()
    frames.send(TEXT, b"hel", fin=False)
    frames.send(PING, b"between")
    pong = _pong(stage, frames, "a ping between fragments")
    stage.check(pong == b"between", f"a pong with {pong!r}")
    frames.send(CONTINUATION, b"lo")
    _echoed(stage, frames, TEXT, b"hello", "a message in two fragments")
    frames.finish()
    record = stage.record()
    got = messages(record)
    stage.check(got == ["hello"], f"the application got {got!r}")
    kinds = [message["type"] for message in record.received]
    stage.check(kinds == ["websocket.connect", "websocket.receive", "websocket.disconnect"], f"the application got {', '.join(kinds)}")


@MESSAGES.scenario(
    "ws.frame.fragments",
    "RFC 6455 §5.4",
    "RFC 6455 §6.2",
    level=Level.MUST,
    says="Clients and servers MUST support receiving both fragmented and unfragmented messages. [...] An endpoint MUST be capable of handling "
    "control frames in the middle of a fragmented message.",
    expects="a message in 2 to 1,000 fragments, with pings between them, as one message",
    needs=_NEEDS,
    bad=Distortion(app=_halving),
)
def fragments_(stage: Stage) -> None:
    frames = stage.websocket()
    sent = []
    for opcode, count, ping, chop in (
        (TEXT, 2, False, None),
        (BINARY, 2, False, None),
        (TEXT, 2, True, None),
        (TEXT, 2, True, 1),
        (TEXT, 5, True, None),
        (BINARY, 5, True, 3),
        (TEXT, 100, True, None),
        (BINARY, 1000, False, None),
        (TEXT, 1000, True, None),
    ):
        pieces = [b"%d," % number if number % 10 else b"" for number in range(1, count + 1)]
        data = encode_fragments(opcode, pieces, ping=ping)
        for start in range(0, len(data), chop or len(data)):
            frames.connection.send(data[start : start + (chop or len(data))])
        whole = b"".join(pieces)
        sent.append(_value(opcode, whole))
        _echoed(stage, frames, opcode, whole, f"{count} fragments{' with pings between' if ping else ''}")
    frames.finish()
    got = messages(stage.record())
    stage.check(got == sent, f"{len(sent)} messages were sent; the application got {len(got)} or other ones: {got!r}"[:300])


@MESSAGES.scenario(
    "ws.frame.continuation-orphan",
    "RFC 6455 §5.4",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="A fragmented message consists of a single frame with the FIN bit clear and an opcode other than 0, followed by zero or more frames with "
    "the FIN bit clear and the opcode set to 0, and terminated by a single frame with the FIN bit set and an opcode of 0.",
    expects="a continuation of nothing fails the connection (1002), and the application gets nothing of it",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: replace(frame, opcode=TEXT) if frame.payload == b"orphan" else frame)),
)
def continuation_orphan(stage: Stage) -> None:
    many = Many(stage)
    # Autobahn 5.9 to 5.14.
    for fin in (True, False):
        last = "with FIN" if fin else "without FIN"
        orphan = encode_frame(CONTINUATION, b"orphan", fin=fin)
        many.fails(f"first of all, {last}", orphan, _PROTOCOL_ERROR)
        what = f"behind a message in fragments, {last}"
        frames = many.open(what, "hello")
        frames.send(TEXT, b"hel", fin=False)
        frames.send(CONTINUATION, b"lo")
        _echoed(stage, frames, TEXT, b"hello", what)
        frames.connection.send(orphan + encode_frame(TEXT, BEHIND))
        many.failed(what, frames, _PROTOCOL_ERROR)
    many.finish()


@MESSAGES.scenario(
    "ws.frame.data-inside-fragments",
    "RFC 6455 §5.4",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="The fragments of one message MUST NOT be interleaved between the fragments of another message unless an extension has been negotiated "
    "that can interpret the interleaving.",
    expects="a new message before the last fragment fails the connection (1002), and the application gets nothing of either",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(lambda frame: replace(frame, opcode=CONTINUATION) if frame.payload == b"inside" else frame)),
)
def data_inside_fragments(stage: Stage) -> None:
    many = Many(stage)
    for first, second in ((TEXT, TEXT), (TEXT, BINARY), (BINARY, TEXT), (BINARY, BINARY)):
        for fin in (True, False):
            names = ["text" if opcode == TEXT else "binary" for opcode in (first, second)]
            what = f"{names[1]} {'with' if fin else 'without'} FIN inside of {names[0]}"
            data = encode_frame(first, b"begin", fin=False) + encode_frame(second, b"inside", fin=fin)
            many.fails(what, data + (b"" if fin else encode_frame(CONTINUATION, b"end")), _PROTOCOL_ERROR)
    many.finish()
