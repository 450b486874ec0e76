"""WebSocket compression: permessage-deflate, as it is negotiated and as it is used (RFC 7692). The families of Autobahn's test suite, 12 and 13."""

from __future__ import annotations

import contextlib
import functools
import re
import zlib
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, encode_frame
from asgi_conformance.reference import dumps_script
from asgi_conformance.suite.dialogue import answer_close, given, receiving
from asgi_conformance.suite.websocket_dialogue import transport_ends
from pytest_asgiserve.raw import FramingError, Truncated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_conformance.frames import Frame, Frames
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawResponse

__all__ = ["COMPRESSION"]

COMPRESSION: Final = Topic("websocket/compression", "WebSocket: permessage-deflate")

_NEEDS: Final = ("websocket", "permessage-deflate")
_DEFLATE: Final = "permessage-deflate"
_RSV1: Final = 4
"""RFC 7692 §6: the bit that says that a message is compressed."""
_TAIL: Final = b"\x00\x00\xff\xff"
"""RFC 7692 §7.2.1: what is taken away behind a message, and put back before it is inflated."""
_WIDEST: Final = 15
_SWITCHING: Final = 101
_BAD_REQUEST: Final = 400
_PROTOCOL_ERROR: Final = 1002
_TOO_BIG: Final = 1009
_HANG: Final = 5.0
"""Seconds of silence that are a hang: what is due is due at once."""
_END: Final = 2.0
"""Seconds in which a server has closed the connection behind both Close frames; a loaded machine included."""
_SIZES: Final = (0, 1, 16, 125, 126, 1000, 8192, 65535, 65536)
_FLAGS: Final = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_WINDOWS: Final = frozenset({"server_max_window_bits", "client_max_window_bits"})
_BOMB: Final = 256 << 20
"""Bytes that a message of a thousandth of them inflates to: more than any server that is asked here has as its limit, and no harm to a machine."""
_BLOCK: Final = 1 << 20
_KEPT: Final = 192 << 20
"""Bytes by which a process grows that inflates all of it; one with a limit grows by a few times that."""

Parameters = dict[str, str | None]


# Negotiating.


def _offer(parameters: str = "") -> str:
    return f"Sec-WebSocket-Extensions: {_DEFLATE}{'; ' if parameters else ''}{parameters}"


def _agreed(stage: Stage, response: RawResponse, label: str) -> Parameters | None:
    """The parameters that the server agreed to; None where it declined. No other extension may be there, and no parameter twice or unknown."""
    elements = [part.strip() for value in response.all(b"sec-websocket-extensions") for part in value.decode("latin-1").split(",") if part.strip()]
    if not elements:
        return None
    stage.check(len(elements) == 1, f"{label}: Sec-WebSocket-Extensions: {', '.join(elements)}")
    name, *parts = [part.strip() for part in elements[0].split(";")]
    stage.check(name == _DEFLATE, f"{label}: the extension {name}")
    agreed: Parameters = {}
    for part in parts:
        key, _, value = (piece.strip() for piece in part.partition("="))
        stage.check(key not in agreed, f"{label}: {key} is agreed twice")
        agreed[key] = value.strip('"') if "=" in part else None
    for key, said in agreed.items():
        right = (key in _FLAGS and said is None) or (key in _WINDOWS and re.fullmatch("[89]|1[0-5]", said or "") is not None)
        stage.check(right, f"{label}: agreed with {elements[0]}")
    return agreed


def _lawful(stage: Stage, label: str, offered: Parameters, agreed: Parameters) -> None:
    """That ``agreed`` is an answer to ``offered`` (RFC 7692 §7.1)."""
    # §7.1.1.1: "A server accepts an extension negotiation offer that includes the [...] parameter by including the [...] parameter".
    takeover = "server_no_context_takeover" not in offered or "server_no_context_takeover" in agreed
    stage.check(takeover, f"{label}: accepted without server_no_context_takeover")
    if (most := offered.get("server_max_window_bits")) is not None:
        window = agreed.get("server_max_window_bits")
        stage.check(window is not None and int(window) <= int(most), f"{label}: accepted with server_max_window_bits={window}")
    if "client_max_window_bits" in agreed:
        stage.check("client_max_window_bits" in offered, f"{label}: client_max_window_bits, which was not offered")
        most = offered["client_max_window_bits"] or str(_WIDEST)
        stage.check(
            int(agreed["client_max_window_bits"] or _WIDEST) <= int(most), f"{label}: client_max_window_bits={agreed['client_max_window_bits']}"
        )


class _Compressed:
    """A WebSocket with permessage-deflate, and our end of its contexts; ``accepted`` is whether the server agreed to the parameters.

    Raises:
        Unavailable: it declines permessage-deflate without any.
    """

    def __init__(self, stage: Stage, parameters: str = "", script: Sequence[Any] = ()) -> None:
        self.frames: Frames = stage.websocket(_offer(parameters), script=script, timeout=_HANG)
        agreed = _agreed(stage, given(stage, self.frames.response, "no answer"), parameters or "no parameter")
        self.accepted = agreed is not None
        stage.require(self.accepted or parameters, "it declines permessage-deflate")
        self.agreed: Parameters = agreed or {}
        self._ours = int(self.agreed.get("client_max_window_bits") or _WIDEST)
        self._theirs = int(self.agreed.get("server_max_window_bits") or _WIDEST)
        self._deflate = self._new_deflate()
        self._inflate = zlib.decompressobj(-self._theirs)

    def _new_deflate(self) -> Any:
        # zlib makes no raw stream with a window of 8 bits; with 9, no distance is above 250 (its window less 262), which fits.
        return zlib.compressobj(wbits=-max(self._ours, 9))

    def deflate(self, data: bytes) -> bytes:
        """``data`` as it goes over the wire (RFC 7692 §7.2.1)."""
        if "client_no_context_takeover" in self.agreed:
            self._deflate = self._new_deflate()
        packed: bytes = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(_TAIL)

    def inflate(self, message: Frame, *, alone: bool = False) -> bytes:
        """What a message of the server says (RFC 7692 §7.2.2); ``alone``: without what came before.

        Raises:
            FramingError: it is no deflate stream.
        """
        if not message.rsv & _RSV1:
            return message.payload
        context = zlib.decompressobj(-self._theirs) if alone else self._inflate
        try:
            return context.decompress(message.payload + _TAIL)
        except zlib.error as error:
            raise FramingError(f"a message that cannot be inflated: {error}") from None

    def send(self, opcode: int, data: bytes) -> None:
        """A compressed message in one frame."""
        self.frames.send(opcode, self.deflate(data), rsv=_RSV1)


@COMPRESSION.scenario(
    "ws.pmd.negotiate",
    "RFC 7692 §5.1",
    "RFC 7692 §7.1",
    "RFC 6455 §9.1",
    "RFC 6455 §11.3.2",
    level=Level.MAY,
    says="What a client offers of permessage-deflate a server accepts or declines; what it accepts, it says.",
    expects="permessage-deflate once in the 101, with parameters that are an answer to the offer, or no extension",
    bad=Distortion(to_client=lambda data: data.replace(b"permessage-deflate", b"x-other")),
    needs=_NEEDS,
)
def negotiate(stage: Stage) -> None:
    offers: list[tuple[str, Parameters]] = [("", {}), ("client_max_window_bits", {"client_max_window_bits": None})]
    accepted = 0
    for text, offered in offers:
        frames = stage.websocket(_offer(text), script=[["accept"], ["close"]])
        label = text or "no parameter"
        agreed = _agreed(stage, given(stage, frames.response, "no answer"), label)
        answer_close(frames)
        if agreed is not None:
            accepted += 1
            _lawful(stage, label, offered, agreed)
            stage.tell(f"{label}: accepted with {_shown(agreed) or 'none'}")
    stage.require(accepted, "it declines permessage-deflate")


def _shown(parameters: Parameters) -> str:
    return "; ".join(name if value is None else f"{name}={value}" for name, value in parameters.items())


# Messages.


def _texts(size: int) -> bytes:
    """Text of ``size`` bytes that can be compressed well, and is of other content at each place."""
    return b"".join(b"%d of %d, " % (number, size) for number in range(size // 5 + 1))[:size]


@COMPRESSION.scenario(
    "ws.pmd.echo",
    "RFC 7692 §6.2",
    "RFC 7692 §7.2",
    "RFC 7692 §6.1",
    "RFC 7692 §7.1.1.2",
    "RFC 7692 §7.2.1",
    "RFC 7692 §7.2.2",
    level=Level.MUST,
    says="A message that is compressed by the parameters agreed is inflated, and what the server compresses by them can be inflated.",
    expects="every message back as it was sent: of many sizes, text and binary, in one frame and in many, compressed or not",
    bad=Distortion(app=receiving(lambda event: event | {"text": event["text"][:-1]} if event.get("text") else event)),
    needs=_NEEDS,
)
def echo(stage: Stage) -> None:
    for parameters in ("", "client_max_window_bits", "client_no_context_takeover; server_no_context_takeover", "server_max_window_bits=9"):
        end = _Compressed(stage, parameters)
        label = parameters or "no parameter"
        if not end.accepted:
            stage.tell(f"it declines {label}")
            continue
        for size in _SIZES:
            for opcode in (TEXT, BINARY):
                end.send(opcode, _texts(size))
                _expect(stage, end, opcode, _texts(size), f"{label}, {size} bytes")
        # RFC 7692 §6.1: it is said for each message whether it is compressed.
        end.frames.send(TEXT, b"as it is")
        _expect(stage, end, TEXT, b"as it is", f"{label}, a message that is not compressed")
        packed = end.deflate(_texts(2000))
        third = len(packed) // 3
        # RFC 7692 §6.1: the bit stands on the first fragment alone; where the stream is cut does not matter, and a fragment may be empty.
        pieces = [packed[:third], b"", packed[third : 2 * third], packed[2 * third :]]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            end.frames.send(CONTINUATION if number else TEXT, piece, fin=last, rsv=0 if number else _RSV1)
        _expect(stage, end, TEXT, _texts(2000), f"{label}, {len(pieces)} fragments")
        # Two copies further apart than a small window: only whoever keeps the window that was agreed finds the first.
        far = bytes(number * 7919 >> 4 & 0xFF for number in range(30_000))
        end.send(BINARY, far)
        _expect(stage, end, BINARY, far, f"{label}, what repeats nothing")
        end.send(BINARY, far)
        _expect(stage, end, BINARY, far, f"{label}, the same again, for which the window must hold it")
        close = end.frames.finish()
        stage.check(close is not None, f"{label}: the connection ended without a close frame")


def _expect(stage: Stage, end: _Compressed, opcode: int, data: bytes, label: str) -> None:
    message = end.frames.read_message()
    stage.check(message.opcode == opcode, f"{label}: {message}"[:300])
    seen = end.inflate(message)
    stage.check(seen == data, f"{label}: {len(seen)} bytes back, {seen[:60]!r}")


# Parameters.


_VALID: Final[tuple[Parameters, ...]] = (
    {"server_no_context_takeover": None},
    {"client_no_context_takeover": None},
    {"server_no_context_takeover": None, "client_no_context_takeover": None},
    *(Parameters(server_max_window_bits=str(bits)) for bits in range(8, 16)),
    *(Parameters(client_max_window_bits=str(bits)) for bits in range(8, 16)),
    {"server_max_window_bits": "10", "client_max_window_bits": None, "server_no_context_takeover": None, "client_no_context_takeover": None},
)
_INVALID: Final = (
    "x_unknown",
    "x_unknown=1",
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_max_window_bits",
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=010",
    "server_max_window_bits=x",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=08",
    "client_max_window_bits=x",
    "server_no_context_takeover; server_no_context_takeover",
    "client_max_window_bits=10; client_max_window_bits=11",
    "server_max_window_bits=10; server_max_window_bits=10",
)


def _obliging(data: bytes) -> bytes:
    """A client's offer on its way to a server that reads over what it does not understand."""
    return re.sub(rb"(permessage-deflate); x_unknown(=1)?", rb"\1", data)


@COMPRESSION.scenario(
    "ws.pmd.params",
    "RFC 7692 §7",
    "RFC 7692 §7.1.1.1",
    "RFC 7692 §7.1.2.1",
    "RFC 7692 §7.1.1.2",
    "RFC 7692 §7.1.2.2",
    level=Level.MUST,
    says="A server MUST decline an extension negotiation offer for this extension if any of the following conditions are met.",
    expects="an offer with a parameter that is unknown, doubled or of an invalid value declined; a valid one declined, or accepted as it asks",
    bad=Distortion(to_server=_obliging),
    needs=_NEEDS,
)
def params(stage: Stage) -> None:
    for offered in _VALID:
        label = _shown(offered)
        response = _hand(stage, _offer(label))
        stage.check(response.status == _SWITCHING, f"{label}: {response.status}")
        agreed = _agreed(stage, response, label)
        if agreed is not None:
            _lawful(stage, label, offered, agreed)
    refused = []
    for text in _INVALID:
        response = _hand(stage, _offer(text))
        if response.status == _BAD_REQUEST:
            # As if it were malformed (RFC 6455 §9.1), which it is not.
            refused.append(text)
            continue
        stage.check(response.status == _SWITCHING, f"{text}: {response.status}")
        stage.check(_agreed(stage, response, text) is None, f"{text}: accepted")
    if refused:
        stage.warn(f"the handshake refused, and not the extension declined, for {'; '.join(refused)}")
    # §5.1: the first offer that it accepts, of several, be they in one line or in two.
    second = _hand(stage, f"{_offer('x_unknown')}, {_DEFLATE}")
    agreed = None if second.status != _SWITCHING else _agreed(stage, second, "an invalid offer and a valid one")
    stage.tell(f"of an invalid offer and a valid one the second is {'accepted' if agreed is not None else 'not accepted'}")


def _hand(stage: Stage, *lines: str) -> RawResponse:
    """The answer to a handshake whose application closes."""
    frames = stage.frames(timeout=_HANG)
    frames.send_handshake("/", *lines, f"X-Script: {dumps_script([['accept'], ['close']])}")
    response = frames.read_answer()
    if response.status == _SWITCHING:
        answer_close(frames)
    return response


@COMPRESSION.scenario(
    "ws.pmd.unoffered-param",
    "RFC 7692 §7.1.2.2",
    level=Level.MUST,
    says='If a received extension negotiation offer doesn\'t have the "client_max_window_bits" extension parameter, the corresponding extension '
    'negotiation response to the offer MUST NOT include the "client_max_window_bits" extension parameter.',
    expects="no client_max_window_bits where it was not offered",
    bad=Distortion(to_client=lambda data: re.sub(rb"(sec-websocket-extensions: permessage-deflate)", rb"\1; client_max_window_bits=12", data)),
    needs=_NEEDS,
)
def unoffered_param(stage: Stage) -> None:
    accepted = 0
    for text in ("", "server_no_context_takeover", "server_max_window_bits=12"):
        label = text or "no parameter"
        agreed = _agreed(stage, _hand(stage, _offer(text)), label)
        accepted += agreed is not None
        stage.check("client_max_window_bits" not in (agreed or {}), f"{label} offered: accepted with {_shown(agreed or {})}")
    stage.require(accepted, "it declines permessage-deflate")


# Frames that are wrong.


def _fails(stage: Stage, end: _Compressed, label: str, *codes: int) -> None:
    """That the server fails the connection (RFC 6455 §7.1.7): it closes, and for choice says one of ``codes`` before."""
    try:
        frame = end.frames.read_frame()
    except (Truncated, ConnectionResetError):
        stage.warn(f"{label}: the connection ended without a close frame")
        return
    stage.check(frame.opcode == CLOSE, f"{label}: answered with {frame}"[:300])
    if frame.code not in codes:
        stage.warn(f"{label}: closed with {frame.code}, not {' or '.join(map(str, codes))}")
    # Where it waits for nothing, as it may, there is nobody to hear it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        end.frames.close(frame.code)
    ended = transport_ends(stage, end.frames, label, seconds=_END)
    stage.check(ended, f"{label}: the TCP connection stays open behind its Close frame with {frame.code}")


def _forgiving(data: bytes) -> bytes:
    """A client's frames on their way to a server that does not look at RSV1 of a ping."""
    return re.sub(rb"\xc9", b"\x89", data)


@COMPRESSION.scenario(
    "ws.pmd.rsv1-control",
    "RFC 7692 §6.1",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says='An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and non-first fragments of a data message. An endpoint '
    "receiving such a frame MUST _Fail the WebSocket Connection_.",
    expects="the connection failed, for choice with 1002",
    bad=Distortion(to_server=_forgiving),
    needs=_NEEDS,
)
def rsv1_control(stage: Stage) -> None:
    for label, frames in (
        ("RSV1 on a ping", [encode_frame(PING, b"ping", rsv=_RSV1)]),
        ("RSV1 on a close frame", [encode_frame(CLOSE, b"\x03\xe8", rsv=_RSV1)]),
        ("RSV1 on the second fragment", [encode_frame(TEXT, b"a", fin=False), encode_frame(CONTINUATION, b"b", rsv=_RSV1)]),
        ("RSV2 on a message", [encode_frame(TEXT, b"a", rsv=2)]),
    ):
        end = _Compressed(stage)
        end.frames.connection.send(b"".join(frames))
        _fails(stage, end, label, _PROTOCOL_ERROR)


def _guessing(app: Any, *, tells: Any) -> Any:
    """A server that makes a message ``tells`` of what it could not inflate."""

    async def guesses(scope: Any, receive: Any, send: Any) -> None:
        told: list[Any] = []

        async def other() -> Any:
            event = await receive()
            if event["type"] == "websocket.disconnect" and not told:
                told.append(event)
                return {"type": "websocket.receive", "bytes": tells()}
            return event

        async def quiet(message: Any) -> None:
            if not told:
                await send(message)

        await app(scope, other, quiet)

    return guesses


@COMPRESSION.scenario(
    "ws.pmd.bad-deflate",
    "RFC 6455 §10.7",
    "RFC 7692 §7.2.2",
    "RFC 6455 §7.1.7",
    level=Level.MUST,
    says="Incoming data MUST always be validated by both clients and servers.",
    expects="the connection failed, for choice with 1002 or 1007, and nothing told to the application",
    bad=Distortion(app=functools.partial(_guessing, tells=lambda: b"guessed")),
    needs=_NEEDS,
)
def bad_deflate(stage: Stage) -> None:
    for label, data in (
        ("a block of the reserved type", b"\x06" * 8),
        ("a distance before the begin", b"\x73\x04\xff\xff\xff"),
        ("noise", bytes(range(255, 0, -3))),
    ):
        stage.mark()
        end = _Compressed(stage)
        end.frames.connection.send(encode_frame(BINARY, data, rsv=_RSV1) + encode_frame(TEXT, b"behind"))
        _fails(stage, end, label, _PROTOCOL_ERROR, 1007)
        _told_nothing(stage, label)


def _told_nothing(stage: Stage, label: str) -> None:
    told = [event for event in stage.record().received if event["type"] == "websocket.receive"]
    stage.check(not told, f"{label}: the application is told {told}"[:300])


def _zeros(size: int) -> Iterable[bytes]:
    """A deflate stream of ``size`` zeros, in pieces: each block is complete and refers to no other, so that one is made and sent many times."""
    block = zlib.compressobj(9, wbits=-_WIDEST)
    piece = block.compress(bytes(_BLOCK)) + block.flush(zlib.Z_FULL_FLUSH)
    return [piece] * (size // _BLOCK)


@COMPRESSION.scenario(
    "ws.pmd.bomb",
    "RFC 6455 §10.4",
    "RFC 6455 §5.5.1",
    level=Level.HARD,
    says="Implementations that have implementation- and/or platform-specific limitations regarding the frame size or total message size after "
    "reassembly from multiple frames MUST protect themselves against exceeding those limits.",
    expects="the connection failed, for choice with 1009, where a message of a quarter of a megabyte inflates to 256; and nothing told to the "
    "application",
    bad=Distortion(app=functools.partial(_guessing, tells=lambda: bytes(_BLOCK))),
    needs=_NEEDS,
)
def bomb(stage: Stage) -> None:
    data = b"".join(_zeros(_BOMB)).removesuffix(_TAIL)
    before = stage.running.facts()["rss"]
    for label, size in (("one frame", len(data)), ("many frames", 16_384)):
        stage.mark()
        end = _Compressed(stage)
        starts = range(0, len(data), size)
        try:
            for start in starts:
                last = start + size >= len(data)
                end.frames.send(CONTINUATION if start else BINARY, data[start : start + size], fin=last, rsv=0 if start else _RSV1)
        except (BrokenPipeError, ConnectionResetError):
            # It has seen enough.
            pass
        _fails(stage, end, label, _TOO_BIG)
        _told_nothing(stage, label)
        after = stage.running.facts()["rss"]
        if before is not None and after is not None:
            stage.check(after - before < _KEPT, f"{label}: the process has grown by {after - before >> 20} MiB")


# Contexts.


@COMPRESSION.scenario(
    "ws.pmd.context-takeover",
    "RFC 7692 §7.1.1.1",
    "RFC 7692 §7.2.1",
    level=Level.MUST,
    says="By including this extension parameter in an extension negotiation offer, a client prevents the peer server from using context takeover.",
    expects="the offer accepted with server_no_context_takeover, and each message of the server inflated without those before it",
    bad=Distortion(to_server=lambda data: data.replace(b"; server_no_context_takeover\r\n", b"\r\n")),
    needs=_NEEDS,
)
def context_takeover(stage: Stage) -> None:
    end = _Compressed(stage, "server_no_context_takeover")
    stage.require(end.accepted, "it declines server_no_context_takeover")
    stage.check("server_no_context_takeover" in end.agreed, f"accepted with {_shown(end.agreed) or 'no parameter'}")
    for number in range(3):
        end.send(TEXT, _texts(1000))
        seen = end.inflate(end.frames.read_message(), alone=True)
        stage.check(seen == _texts(1000), f"message {number} by itself: {seen[:60]!r}")
    answer = end.frames.finish()
    stage.check(answer is not None, "the connection ended without a close frame")
