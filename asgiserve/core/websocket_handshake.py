"""The opening handshake of a WebSocket (RFC 6455 §4, §9.1; RFC 7692 §7).

The law of this module: it reads the head that was already parsed, and says what the 101 must say. It keeps nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Final

from websockets.exceptions import InvalidHeader, NegotiationError, PayloadTooBig
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

from asgiserve.errors import RemoteProtocolError
from asgiserve.http.fields import TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension

    from asgiserve.http.fields import Field

__all__ = ["accept_fields", "check_handshake", "negotiate_extensions", "offered_subprotocols"]

# RFC 6455 §4.1: base64 of 16 bytes. §1.3: the GUID that the answer is hashed with.
_key = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_token = re.compile(TOKEN).fullmatch

# Short messages of nothing but repetition are ordinary; what they cost is small.
_RATIO_FREE_BYTES: Final = 1024 * 1024


def _values(fields: Sequence[Field], name: bytes) -> list[bytes]:
    return [value for field, value in fields if field == name]


def check_handshake(fields: Sequence[Field]) -> None:
    """Check the fields of an opening handshake (RFC 6455 §4.2.1); method, version and upgrade were checked before.

    Raises:
        RemoteProtocolError: 426 for another version, 400 for anything else.
    """
    versions = _values(fields, b"sec-websocket-version")
    if versions != [b"13"]:
        if len(versions) == 1:
            # RFC 6455 §4.4: "426 Upgrade Required" with the versions that are understood. RFC 9110 §15.5.22: and with Upgrade.
            raise RemoteProtocolError(
                "the WebSocket version is not 13",
                status=426,
                clause="RFC 6455 §4.4",
                fields=((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")),
            )
        raise RemoteProtocolError("Sec-WebSocket-Version must be given once", clause="RFC 6455 §4.2.1")
    keys = _values(fields, b"sec-websocket-key")
    if len(keys) != 1 or _key(keys[0]) is None:
        raise RemoteProtocolError("Sec-WebSocket-Key must be given once, as 16 bytes in base64", clause="RFC 6455 §4.2.1")
    offered_subprotocols(fields)
    _offered_extensions(fields)


def offered_subprotocols(fields: Sequence[Field]) -> list[str]:
    """The subprotocols that the client offers, in its order, over all lines (RFC 6455 §11.3.4).

    Raises:
        RemoteProtocolError: 400 where one is no token.
    """
    offered: list[str] = []
    for value in _values(fields, b"sec-websocket-protocol"):
        for element in value.split(b","):
            name = element.strip(b" \t")
            if not name:
                continue
            if _token(name) is None:
                raise RemoteProtocolError("Sec-WebSocket-Protocol is malformed", clause="RFC 6455 §11.3.4")
            offered.append(name.decode("ascii"))
    return offered


def _offered_extensions(fields: Sequence[Field]) -> list[tuple[str, list[tuple[str, str | None]]]]:
    offered: list[tuple[str, list[tuple[str, str | None]]]] = []
    for value in _values(fields, b"sec-websocket-extensions"):
        try:
            offered += [
                (str(name), [(str(key), parameter) for key, parameter in parameters]) for name, parameters in parse_extension(value.decode("latin-1"))
            ]
        except InvalidHeader:
            raise RemoteProtocolError("Sec-WebSocket-Extensions is malformed", clause="RFC 6455 §9.1") from None
    return offered


class _LimitedDeflate(PerMessageDeflate):
    """permessage-deflate that gives up on a message that inflates out of all proportion (RFC 7692 says nothing of it; RFC 6455 §10.4 does).

    It also holds the library to the size: zlib keeps what is beyond the limit for the next call, so that a short frame which inflates to a little
    more was cut off there, its rest came with the next message, and behind just as much an empty frame had no limit at all.
    """

    def __init__(self, agreed: PerMessageDeflate, max_ratio: int | None) -> None:
        super().__init__(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            agreed.compress_settings,
        )
        self._max_ratio = max_ratio
        self._packed = 0
        self._inflated = 0

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """As the base; raises PayloadTooBig, which closes with 1009, also where the ratio of the message so far is too high."""
        try:
            # One more than is allowed: where zlib does not fill that, it keeps nothing.
            decoded = super().decode(frame, max_size=None if max_size is None else max_size + 1)
        except PayloadTooBig:
            raise PayloadTooBig(None, max_size) from None
        if decoded is frame:
            # A control frame, or one that is not compressed.
            return frame
        if max_size is not None and len(decoded.data) > max_size:
            raise PayloadTooBig(len(decoded.data), max_size)
        if self._max_ratio is None:
            return decoded
        if frame.opcode is not Opcode.CONT:
            self._packed = self._inflated = 0
        self._packed += len(frame.data)
        self._inflated += len(decoded.data)
        allowed = max(self._packed * self._max_ratio, _RATIO_FREE_BYTES)
        if self._inflated > allowed:
            raise PayloadTooBig(self._inflated, allowed)
        return decoded


def negotiate_extensions(fields: Sequence[Field], *, deflate: bool, max_ratio: int | None = None) -> tuple[bytes, list[Extension]]:
    """The answer to Sec-WebSocket-Extensions (empty: none) and the extensions that are on.

    A message that inflates to more than 1 MiB and to more than ``max_ratio`` times its size is too big. The windows are of 4 KiB, as in
    websockets' own server: 16 KiB of memory a connection instead of 300 KiB.
    """
    if not deflate:
        return b"", []
    factory = ServerPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5})
    for name, parameters in _offered_extensions(fields):
        if name != factory.name:
            continue
        try:
            agreed, extension = factory.process_request_params(parameters, [])
        except NegotiationError:
            continue
        return build_extension([(factory.name, agreed)]).encode("ascii"), [_LimitedDeflate(extension, max_ratio)]
    return b"", []


def accept_fields(fields: Sequence[Field], subprotocol: str | None, extensions: bytes) -> list[Field]:
    """The fields of the 101 that accepts the handshake in ``fields`` (RFC 6455 §4.2.2)."""
    # The algorithm is the standard's; it proves that WebSocket is understood and protects nothing.
    digest = hashlib.sha1(_values(fields, b"sec-websocket-key")[0] + _GUID, usedforsecurity=False).digest()
    answer: list[Field] = [(b"sec-websocket-accept", base64.b64encode(digest))]
    if subprotocol is not None:
        answer.append((b"sec-websocket-protocol", subprotocol.encode("ascii")))
    if extensions:
        answer.append((b"sec-websocket-extensions", extensions))
    return answer
