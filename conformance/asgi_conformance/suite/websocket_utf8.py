"""WebSocket: text is UTF-8 (RFC 6455 §5.6 and §8.1). The sequences are those of Autobahn's test suite, 6 and 7.5."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import BINARY, CLOSE, CONTINUATION, TEXT, close_payload, encode_fragments, encode_frame
from asgi_conformance.suite.dialogue import receiving
from asgi_conformance.suite.websocket_dialogue import BEHIND, Many, altered, lenient, messages, tells

if TYPE_CHECKING:
    from asgi_conformance.frames import Frame, Frames
    from asgi_conformance.stage import Stage

__all__ = ["UTF8"]

UTF8: Final = Topic("websocket/utf8", "WebSocket: text is UTF-8")

_NEEDS: Final = ("websocket",)
_INVALID: Final = 1007
_GREEK: Final = bytes.fromhex("CE BA E1 BD B9 CF 83 CE BC CE B5")
_WORDS: Final = "Hello-µ@ßöäüàá-UTF-8!!".encode()
_MUST: Final = (
    "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8 stream, that endpoint "
    "MUST _Fail the WebSocket Connection_."
)

_VALID: Final[dict[str, bytes]] = {
    "letters": _WORDS,
    "Greek": _GREEK,
    **{f"the first {size} bytes of the Greek": _GREEK[:size] for size in (2, 5, 7, 9)},
    "U+0000": b"\x00",
    "U+007F": b"\x7f",
    "U+0080": b"\xc2\x80",
    "U+07FF": b"\xdf\xbf",
    "U+0800": b"\xe0\xa0\x80",
    "U+D7FF": b"\xed\x9f\xbf",
    "U+E000": b"\xee\x80\x80",
    "U+FEFF": b"\xef\xbb\xbf",
    "U+FFFD": b"\xef\xbf\xbd",
    "U+FFFE": b"\xef\xbf\xbe",
    "U+FFFF": b"\xef\xbf\xbf",
    "U+10000": b"\xf0\x90\x80\x80",
    # The non-characters, the last two of each plane.
    **{f"U+{plane:X}FFFE and U+{plane:X}FFFF": f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}".encode() for plane in range(1, 17)},
}


def _hex(*sequences: str) -> dict[str, bytes]:
    """Sequences by what they are."""
    return {sequence: bytes.fromhex(sequence) for sequence in sequences}


_MISSING: Final = _hex(
    *("C0", "E0 80", "F0 80 80", "F8 80 80 80", "FC 80 80 80 80", "DF", "EF BF", "F7 BF BF", "FB BF BF BF", "FD BF BF BF BF"),
)
_BROKEN: Final[dict[str, bytes]] = {
    # 6.3: a surrogate in the middle.
    "CE BA E1 BD B9 CF 83 CE BC CE B5 ED A0 80 and letters": _GREEK + b"\xed\xa0\x80edited",
    # 6.6: cut short.
    **{f"the first {size} bytes of the Greek": _GREEK[:size] for size in (1, 3, 4, 6, 8, 10)},
    # 6.8 and 6.10: of five and six bytes, and above U+10FFFF.
    **_hex("F8 88 80 80 80", "FC 84 80 80 80 80", "F7 BF BF BF", "FB BF BF BF BF", "FD BF BF BF BF BF", "F4 90 80 80"),
    # 6.12: continuation bytes alone.
    **_hex("80", "BF", "80 BF", "80 BF 80", "80 BF 80 BF", "80 BF 80 BF 80", "80 BF 80 BF 80 BF"),
    "80 to BF": bytes(range(0x80, 0xC0)),
    # 6.13: first bytes alone.
    **{
        f"{first:02X} to {last:02X}, each before a space": b"".join(bytes([octet, 0x20]) for octet in range(first, last + 1))
        for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    },
    # 6.14 and 6.15: the last byte is missing.
    **_MISSING,
    "ten sequences without their last bytes": b"".join(_MISSING.values()),
    # 6.16: bytes that are in no sequence.
    **_hex("FE", "FF", "FE FE FF FF"),
    # 6.17 to 6.19: longer than need be.
    **_hex("C0 AF", "E0 80 AF", "F0 80 80 AF", "F8 80 80 80 AF", "FC 80 80 80 80 AF"),
    **_hex("C1 BF", "E0 9F BF", "F0 8F BF BF", "F8 87 BF BF BF", "FC 83 BF BF BF BF"),
    **_hex("C0 80", "E0 80 80", "F0 80 80 80", "F8 80 80 80 80", "FC 80 80 80 80 80"),
    # 6.20 and 6.21: surrogates, alone and in pairs.
    **_hex("ED A0 80", "ED AD BF", "ED AE 80", "ED AF BF", "ED B0 80", "ED BE 80", "ED BF BF"),
    **_hex("ED A0 80 ED B0 80", "ED A0 80 ED BF BF", "ED AD BF ED B0 80", "ED AD BF ED BF BF"),
    **_hex("ED AE 80 ED B0 80", "ED AE 80 ED BF BF", "ED AF BF ED B0 80", "ED AF BF ED BF BF"),
}


def _pieces(payload: bytes, size: int) -> list[bytes]:
    return [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]


@UTF8.scenario(
    "ws.utf8.valid",
    "RFC 6455 §5.6",
    "RFC 6455 §8.1",
    level=Level.MUST,
    says='The "Payload data" is text data encoded as UTF-8. Note that a particular text frame might include a partial UTF-8 sequence; however, the '
    "whole message MUST contain valid UTF-8.",
    expects="valid UTF-8 with the application as it is, and back, whatever the fragments cut",
    needs=_NEEDS,
    bad=Distortion(app=receiving(lambda event: {**event, "text": event["text"].replace("\ufeff", "")} if event.get("text") else event)),
)
def valid(stage: Stage) -> None:
    frames = stage.websocket()
    sent = []

    def send(what: str, pieces: list[bytes]) -> None:
        payload = b"".join(pieces)
        sent.append(payload.decode())
        frames.connection.send(encode_fragments(TEXT, pieces))
        message = frames.read_message()
        stage.check((message.opcode, message.payload, message.rsv) == (TEXT, payload, 0), f"{what}: it came back as {message}"[:300])

    for what, payload in _VALID.items():
        send(what, [payload])
    # Autobahn 6.1.3, and 6.2.2 to 6.2.4.
    send("empty fragments around one", [b"", _WORDS, b""])
    send("two fragments", [_WORDS[:12], _WORDS[12:]])
    send("a character cut in two", [_WORDS[:7], _WORDS[7:]])
    for what in ("letters", "Greek", "U+FEFF", "U+10000"):
        send(f"{what}, a byte a fragment", _pieces(_VALID[what], 1))
    frames.finish()
    got = messages(stage.record())
    stage.check(len(got) == len(sent), f"{len(got)} messages for the application, not {len(sent)}")
    for had, gave in zip(got, sent, strict=True):
        stage.check(had == gave, f"of {gave!r} the application got {had!r}"[:300])


def _as_bytes(frame: Frame) -> Frame:
    return replace(frame, opcode=BINARY) if frame.opcode == TEXT and frame.payload != BEHIND else frame


@UTF8.scenario(
    "ws.utf8.invalid",
    "RFC 6455 §8.1",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says=_MUST,
    expects="the connection failed (1007), and nothing for the application",
    needs=_NEEDS,
    bad=Distortion(to_server=lenient(_as_bytes)),
)
def invalid(stage: Stage) -> None:
    many = Many(stage)
    for what, payload in _BROKEN.items():
        many.fails(what, encode_frame(TEXT, payload), _INVALID)
    # Autobahn 6.3.2; and a sequence that is cut by the end of the message, and one by a fragment.
    middle = _GREEK + b"\xed\xa0\x80edited"
    many.fails("a byte a fragment", encode_fragments(TEXT, _pieces(middle, 1)), _INVALID)
    many.fails("cut short in the last fragment", encode_fragments(TEXT, [_GREEK, _GREEK[:1]]), _INVALID)
    many.fails("cut short before an empty fragment", encode_fragments(TEXT, [_GREEK[:3], b""]), _INVALID)
    many.fails("broken by the next fragment", encode_fragments(TEXT, [_GREEK[:1], b"x"]), _INVALID)
    many.finish()


_AT_ONCE: Final = 1.0
"""Seconds in which what is seen at once is answered; a loaded machine included."""
_REPORTED: Final = 0.2
"""The same, where it is only told."""
_ABOVE: Final = b"\xf4\x90\x80\x80"
"""It is above U+10FFFF, which its second byte shows: Autobahn 6.4."""


def _answers(frames: Frames, seconds: float) -> bool:
    """Whether the server says something, or ends the connection, within so many seconds."""
    sock = frames.connection.sock
    before = sock.gettimeout()
    sock.settimeout(seconds)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    finally:
        sock.settimeout(before)
    return True


@UTF8.scenario(
    "ws.utf8.fail-fast",
    "RFC 6455 §8.1",
    # The RFC does not say when (Autobahn 6.4: NON-STRICT).
    level=Level.INFO,
    says="A text that cannot become UTF-8 any more, whatever follows, is failed when that is seen, and not at the end of the message.",
    expects="the connection failed (1007) before the last fragment",
    needs=_NEEDS,
    # It overlooks what is wrong until the message ends.
    bad=Distortion(to_server=lenient(lambda frame: frame if frame.fin else replace(frame, payload=b"x"))),
)
def fail_fast(stage: Stage) -> None:
    many = Many(stage)
    for what, pieces in (
        ("in the first fragment", [_GREEK + _ABOVE]),
        ("in the second fragment", [_GREEK, _ABOVE]),
        ("between two fragments", [_GREEK + _ABOVE[:1], _ABOVE[1:2]]),
        ("a surrogate", [_GREEK, b"\xed\xa0\x80"]),
    ):
        frames = many.open(what)
        for index, piece in enumerate(pieces):
            frames.send(CONTINUATION if index else TEXT, piece, fin=False)
        stage.check(_answers(frames, _AT_ONCE), f"{what}: nothing within {_AT_ONCE:g} s, as the message goes on")
        many.failed(what, frames, _INVALID)
    # Autobahn 6.4.3: within a frame. Whoever takes frames whole cannot see it there.
    what = "in a frame that is not whole"
    frames = many.open(what)
    data = encode_frame(TEXT, _GREEK + _ABOVE + b"edited")
    frames.connection.send(data[:-6])
    if not _answers(frames, _REPORTED):
        stage.tell("within a frame only when it is whole")
        frames.connection.send(data[-6:])
    many.failed(what, frames, _INVALID)
    many.finish()


@UTF8.scenario(
    "ws.utf8.close-reason",
    "RFC 6455 §5.5.1",
    "RFC 6455 §8.1",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says=f"Following the 2-byte integer, the body MAY contain UTF-8-encoded data with value /reason/, the interpretation of which is not defined by "
    f"this specification. [...] {_MUST}",
    expects="the connection failed (1007), and no such reason sent back",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(lambda frame: tells(frame, payload=b"\x03\xe8\xed\xa0\x80") if frame.opcode == CLOSE else tells(frame))),
)
def close_reason(stage: Stage) -> None:
    many = Many(stage)
    # Autobahn 7.5.1.
    for what, reason in (("a surrogate", _GREEK + b"\xed\xa0\x80edited"), ("cut short", _GREEK[:3]), ("0xFF", b"\xff"), ("too long", b"\xc0\xaf")):
        many.fails(what, encode_frame(CLOSE, close_payload(1000, reason)), _INVALID)
    many.finish()
    # One that is UTF-8 is none the worse.
    frames = stage.websocket()
    close = frames.finish(1000, _GREEK)
    stage.check(close is not None and close.code == 1000, f"a reason in Greek: {close}")
