"""Messages that inflate out of all proportion (--ws-max-inflation-ratio)."""

from __future__ import annotations

import os
import zlib

import pytest
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode

from asgiserve.config import WebSocketConfig
from asgiserve.core.websocket_handshake import negotiate_extensions

MIB = 1024 * 1024
OFFER = [(b"sec-websocket-extensions", b"permessage-deflate; client_no_context_takeover")]


def packed(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-12)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(data: bytes, ratio: int | None, *, pieces: int = 1) -> bytes:
    """``data`` as one compressed message in ``pieces`` frames, as the server reads it."""
    _, (extension,) = negotiate_extensions(OFFER, deflate=True, max_ratio=ratio)
    message = packed(data)
    step = -(-len(message) // pieces)
    parts = [message[index : index + step] for index in range(0, len(message), step)]
    inflated = b""
    for index, part in enumerate(parts):
        opcode = Opcode.BINARY if index == 0 else Opcode.CONT
        frame = Frame(opcode, part, fin=index == len(parts) - 1, rsv1=index == 0)
        inflated += bytes(extension.decode(frame, max_size=16 * MIB).data)
    return inflated


def test_the_limit_is_on_by_default() -> None:
    assert WebSocketConfig().ws_max_inflation_ratio == 100


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_message_over_the_ratio_is_too_big(pieces: int) -> None:
    with pytest.raises(PayloadTooBig):
        inflate(b"\0" * (2 * MIB), 100, pieces=pieces)


@pytest.mark.parametrize("pieces", [1, 7])
def test_up_to_one_mebibyte_any_ratio_will_do(pieces: int) -> None:
    assert inflate(b"\0" * MIB, 100, pieces=pieces) == b"\0" * MIB
    with pytest.raises(PayloadTooBig):
        inflate(b"\0" * (MIB + 1), 100, pieces=pieces)


def test_ordinary_data_of_any_size_is_within_the_ratio() -> None:
    data = b"".join(os.urandom(100) + b"the same words again and again, " * 30 for _ in range(2000))
    assert inflate(data, 100) == data


def test_the_limit_can_be_changed_and_switched_off() -> None:
    data = b"\0" * (2 * MIB)
    assert inflate(data, 2000) == data
    assert inflate(data, None) == data
    with pytest.raises(PayloadTooBig):
        inflate((b"the same words again and again, " * 4 + os.urandom(8)) * 20_000, 2)


def test_each_message_is_judged_by_itself() -> None:
    _, (extension,) = negotiate_extensions(OFFER, deflate=True, max_ratio=100)
    for _ in range(5):
        data = bytes(extension.decode(Frame(Opcode.BINARY, packed(b"\0" * 700_000), rsv1=True), max_size=16 * MIB).data)
        assert len(data) == 700_000
