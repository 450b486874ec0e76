"""WebSocket: more than a server wants (RFC 6455 §10.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.frames import BINARY, CLOSE, CONTINUATION, TEXT, encode_fragments, encode_frame
from asgi_conformance.suite.websocket_dialogue import altered, messages, read_close, tells, transport_ends
from pytest_asgiserve.raw import Truncated

if TYPE_CHECKING:
    from asgi_conformance.stage import Stage

__all__ = ["LIMITS"]

LIMITS: Final = Topic("websocket/limits", "WebSocket: limits")

_NEEDS: Final = ("websocket",)
_TOO_BIG: Final = 1009
_REFUSALS: Final = (1008, _TOO_BIG)
_CONTENT: Final = bytes(range(256))

_FLOOD: Final = 65536
"""Fragments of one message, as in Autobahn 9.3.1."""
_FLOOD_SECONDS: Final = 20.0
"""In which a slow server reads them one by one."""


@LIMITS.scenario(
    "ws.frame.fragment-flood",
    "RFC 6455 §10.4",
    level=Level.HARD,
    says="Implementations that have implementation- and/or platform-specific limitations regarding the frame size or total message size after "
    "reassembly from multiple frames MUST protect themselves against exceeding those limits.",
    expects="65,536 fragments of one message taken as one message, or refused with 1008 or 1009",
    needs=_NEEDS,
    bad=Distortion(to_client=altered(lambda frame: encode_frame(TEXT, b"x", mask=None) if frame.opcode == CLOSE else tells(frame))),
)
def fragment_flood(stage: Stage) -> None:
    frames = stage.websocket(timeout=_FLOOD_SECONDS)
    middle = encode_frame(CONTINUATION, b"x", fin=False)
    data = encode_frame(TEXT, b"x", fin=False) + middle * (_FLOOD - 2) + encode_frame(CONTINUATION, b"x")
    whole = b"x" * _FLOOD
    try:
        frames.connection.send(data)
        message = frames.read_message()
    except (Truncated, BrokenPipeError, ConnectionResetError):
        # Closed while we were sending: its Close frame may be lost with the rest.
        stage.tell("the connection was closed")
        message = None
    if message is not None and message.opcode == CLOSE:
        if message.code not in _REFUSALS:
            stage.warn(f"closed with {message.code}, not 1008 or 1009")
        stage.tell(f"refused with {message.code}")
    elif message is not None:
        stage.check((message.opcode, message.payload) == (TEXT, whole), f"it came back as {message}"[:300])
        stage.tell("taken")
        frames.finish()
    frames.connection.close()
    got = messages(stage.record())
    stage.check(got in ([], [whole.decode()]), f"the application got {got!r}"[:300])


_LIMIT: Final = 65536
"""The largest message of a server that is told so."""


@LIMITS.scenario(
    "ws.frame.too-big",
    "RFC 6455 §10.4",
    "RFC 6455 §7.4.1",
    level=Level.SHOULD,
    says="Such an implementation SHOULD impose a limit on frame sizes and the total message size after reassembly from multiple frames.",
    expects="a message above the limit that it was told refused (1009), in one frame and in fragments, and nothing of it for the application",
    needs=_NEEDS,
    own=True,
    bad=Distortion(settings={"ws_max_size": 4 * _LIMIT}),
)
def too_big(stage: Stage) -> None:
    own = stage.own(settings={"ws_max_size": _LIMIT})
    small = _CONTENT * (_LIMIT // 2 // len(_CONTENT))
    large = _CONTENT * (2 * _LIMIT // len(_CONTENT))
    for what, data in (
        ("one frame", encode_frame(BINARY, large)),
        ("fragments", encode_fragments(BINARY, [large[:_LIMIT], large[_LIMIT:]])),
        ("many fragments", encode_fragments(BINARY, [large[start : start + 1024] for start in range(0, len(large), 1024)])),
    ):
        own.mark()
        frames = own.websocket()
        frames.send(BINARY, small)
        message = frames.read_message()
        stage.check((message.opcode, message.payload) == (BINARY, small), f"a message below the limit came back as {message}"[:300])
        try:
            frames.connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            own.tell(f"{what}: closed before all was sent")
        close = read_close(stage, frames, what)
        if close is None:
            # What it does not read makes a reset of its end, and that may overtake its Close frame.
            stage.tell(f"{what}: no Close frame")
        else:
            stage.check(close.code == _TOO_BIG, f"{what}: closed with {close.code}")
            stage.check(transport_ends(stage, frames, what), f"{what}: the TCP connection stays open behind its Close frame")
        got = messages(own.record())
        stage.check(got == [small], f"{what}: the application got {len(got)} messages")
