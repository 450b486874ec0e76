"""WebSocket: the opening handshake and the stream of messages (RFC 6455, RFC 7692).

The law of this module: the handshake is checked on the head that was already parsed; frames are the ``websockets`` library's, messages are
ours. A stream tells its exchange when something can be received, counts what the application has not taken, and ends exactly once, with one
code.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import logging
import re
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

from websockets.exceptions import InvalidHeader, NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import OPEN, SERVER, Protocol

from asgiserve.core import deadlines as due
from asgiserve.errors import ClientDisconnected, LocalProtocolError, RemoteProtocolError
from asgiserve.http.fields import TOKEN

if TYPE_CHECKING:
    from codecs import IncrementalDecoder
    from collections.abc import Sequence

    from websockets.extensions import Extension

    from asgiserve.config import WebSocketConfig
    from asgiserve.core.deadlines import Deadlines
    from asgiserve.core.exchange import Exchange
    from asgiserve.core.flow import WriteGate
    from asgiserve.core.transport import Transport
    from asgiserve.http.fields import Field

__all__ = ["WebSocketStream", "accept_fields", "check_handshake", "negotiate_extensions", "offered_subprotocols"]

# RFC 6455 §4.1: base64 of 16 bytes. §1.3: the GUID that the answer is hashed with.
_key = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_token = re.compile(TOKEN).fullmatch

# RFC 6455 §7.4.1
NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
_MAX_REASON_BYTES: Final = 123
# RFC 6455 §5.2: of a length of 64 bits "the most significant bit MUST be 0".
_MAX_LENGTH: Final = (1 << 63) - 1
_utf8_decoder = codecs.getincrementaldecoder("utf-8")
# Short messages of nothing but repetition are ordinary; what they cost is small.
_RATIO_FREE_BYTES: Final = 1024 * 1024

# What is inflated between two looks at how much the application has not taken: zlib makes up to 1032 times as much of it.
_SLICE_BYTES: Final = 16384

# The library logs each connection's end at INFO; the access log says it better.
_logger = logging.getLogger("asgiserve.websocket.frames")
_logger.setLevel(logging.WARNING)


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


class _Protocol(Protocol):
    """The library's; it finds a length too big before it finds it unlawful."""

    def fail(self, code: int, reason: str = "") -> None:
        """As the base; 1002 instead of 1009 where it is a length that cannot be."""
        error = sys.exception()
        if isinstance(error, PayloadTooBig) and (error.size or 0) > _MAX_LENGTH:
            code, reason = PROTOCOL_ERROR, "the most significant bit of the length is set"
        super().fail(code, reason)


class WebSocketStream:
    """Messages over a tunnel. Made when the application accepts, opened by the connection, ended once.

    The ASGI adapter takes messages with `take_message`, sends with `send` and `close`, and looks at `disconnect` when there is no message.

    Args:
        exchange: is woken when there is something to take.
        config: sizes and times.
        extensions: from `negotiate_extensions`.
    """

    __slots__ = (
        "_closing",
        "_config",
        "_deadlines",
        "_decoder",
        "_exchange",
        "_fragments",
        "_gate",
        "_is_text",
        "_parts",
        "_paused",
        "_ping_sent",
        "_protocol",
        "_queue",
        "_queued_bytes",
        "_transport",
        "_unread",
        "disconnect",
        "failed",
        "received_bytes",
    )

    def __init__(self, exchange: Exchange, config: WebSocketConfig, extensions: list[Extension]) -> None:
        self._exchange = exchange
        self._config = config
        self._protocol = _Protocol(SERVER, state=OPEN, max_size=config.ws_max_size, logger=_logger)
        self._protocol.extensions = extensions
        self._transport: Transport | None = None
        self._deadlines: Deadlines | None = None
        self._gate: WriteGate | None = None
        self._queue: deque[str | bytes] = deque()
        self._queued_bytes = 0
        self._paused = False
        self._unread = b""
        self._closing = False
        self._parts: list[bytes] = []
        self._fragments = 0
        self._is_text = False
        self._decoder: IncrementalDecoder | None = None
        self._ping_sent = b""
        self.failed = False
        self.received_bytes = 0
        self.disconnect: tuple[int, str] | None = None

    # The connection's half.

    def opened(self, transport: Transport, deadlines: Deadlines, gate: WriteGate) -> None:
        """The 101 was written."""
        self._transport = transport
        self._deadlines = deadlines
        self._gate = gate
        deadlines.set(due.PING, self._config.ws_ping_interval)

    def receive(self, data: bytes) -> None:
        """Bytes came."""
        protocol = self._protocol
        for start in range(0, len(data), _SLICE_BYTES):
            if self._paused:
                # A few compressed bytes may be many messages: they are inflated when the application has taken those before.
                self._unread += data[start:]
                break
            protocol.receive_data(data[start : start + _SLICE_BYTES])
            for event in protocol.events_received():
                if self.disconnect is not None:
                    break
                if isinstance(event, Frame):
                    self._receive_frame(event)
        self._settle()

    def _resume(self) -> None:
        """The application took everything, or there is nobody to take it: read on, first in what is left of the last read."""
        self._paused = False
        if self._deadlines is not None and self._deadlines.is_set(due.PONG):
            # The pong may have come long ago.
            self._deadlines.set(due.PONG, self._config.ws_ping_timeout)
        # Before what is left is read: that may pause again, or end the connection.
        if self._transport is not None:
            self._transport.resume_reading()
        unread, self._unread = self._unread, b""
        self.receive(unread)

    def receive_eof(self) -> None:
        """The peer sends no more. Without a closing handshake the connection is lost (RFC 6455 §7.1.5)."""
        self._protocol.receive_eof()
        self._protocol.data_to_send()
        self._end(ABNORMAL, "")

    def connection_lost(self) -> None:
        """The transport is gone."""
        self._transport = None
        self._unread = b""
        close = self._protocol.close_rcvd
        if close is not None:
            self._end(close.code, close.reason)
        else:
            self._end(ABNORMAL, "")

    def on_deadline(self, name: str) -> None:
        """A deadline that the stream set is due."""
        if self._deadlines is None or self._transport is None:
            return
        if name is due.PING:
            if self._protocol.state is OPEN:
                # RFC 6455 §5.5.2: a ping as keep-alive. The number makes each different, so that an old pong does not count.
                self._ping_sent = b"%d" % (len(self._ping_sent) and int(self._ping_sent) + 1)
                self._protocol.send_ping(self._ping_sent)
                self._flush()
                if self._config.ws_ping_timeout is None:
                    self._deadlines.set(due.PING, self._config.ws_ping_interval)
                elif not self._deadlines.is_set(due.PONG):
                    self._deadlines.set(due.PONG, self._config.ws_ping_timeout)
        elif name is due.PONG and self._paused:
            # It may lie behind what the application does not take.
            self._deadlines.set(due.PONG, self._config.ws_ping_timeout)
        elif name is due.PONG:
            self._fail(INTERNAL_ERROR, "keepalive ping timeout", told=ABNORMAL)
        elif name is due.WS_CLOSE:
            # RFC 6455 §7.1.1: the peer does not finish the handshake.
            self._end(ABNORMAL, "")
            self._close_tunnel()

    def close_for_shutdown(self) -> None:
        """The server stops: 1012 to the peer, and to the application at once so that it can end."""
        if self._protocol.state is OPEN:
            self._send_close(SERVICE_RESTART, "")
            self._end(SERVICE_RESTART, "")

    def _receive_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            self._is_text = opcode is Opcode.TEXT
            if frame.fin:
                self._receive_message(bytes(frame.data))
                return
            self._parts = [bytes(frame.data)]
            self._fragments = 1
            self._decoder = _utf8_decoder() if self._is_text else None
            self._check_fragment()
        elif opcode is Opcode.CONT:
            self._fragments += 1
            if self._fragments > self._config.ws_max_fragment_count:
                self._fail(TOO_BIG, f"more than {self._config.ws_max_fragment_count} fragments")
                return
            if frame.data:
                self._parts.append(bytes(frame.data))
            if frame.fin:
                parts, self._parts = self._parts, []
                self._receive_message(b"".join(parts))
            elif frame.data:
                self._check_fragment()
        elif opcode is Opcode.PONG:
            self._receive_pong(bytes(frame.data))
        elif opcode is Opcode.CLOSE and self._protocol.close_rcvd is not None:
            self._end(self._protocol.close_rcvd.code, self._protocol.close_rcvd.reason)

    def _check_fragment(self) -> None:
        """Fail as soon as a fragment shows that the message is no UTF-8 (RFC 6455 §8.1); the last one shows it as the whole message."""
        if self._decoder is None or self._closing:
            return
        try:
            self._decoder.decode(self._parts[-1])
        except UnicodeDecodeError as error:
            self._parts = []
            self._fail(INVALID_DATA, f"{error.reason} in fragment {self._fragments}")

    def _receive_message(self, data: bytes) -> None:
        if self._closing:
            # It crossed our close: nobody takes it, and it must not keep the peer's part of the closing handshake out.
            return
        self.received_bytes += len(data)
        message: str | bytes = data
        if self._is_text:
            try:
                message = data.decode("utf-8")
            except UnicodeDecodeError as error:
                # RFC 6455 §8.1
                self._fail(INVALID_DATA, f"{error.reason} at position {error.start}")
                return
        self._queue.append(message)
        self._queued_bytes += len(data)
        if (
            not self._paused
            and (len(self._queue) >= self._config.ws_max_queue or self._queued_bytes >= self._config.ws_max_size)
            and self._transport is not None
        ):
            self._paused = True
            self._transport.pause_reading()
        self._exchange.notify()

    def _receive_pong(self, data: bytes) -> None:
        if data == self._ping_sent and self._deadlines is not None and self._deadlines.is_set(due.PONG):
            self._deadlines.clear(due.PONG)
            self._deadlines.set(due.PING, self._config.ws_ping_interval)

    def _settle(self) -> None:
        """Write what the protocol wants written, and end with it where it failed or finished."""
        protocol = self._protocol
        error = protocol.parser_exc
        if error is not None and not self.failed and not isinstance(error, EOFError):
            self.failed = True
            # Where ours was sent before, the peer broke off the closing handshake.
            sent = protocol.close_sent if not self._closing else None
            self._end(sent.code if sent is not None else ABNORMAL, sent.reason if sent is not None else "")
        finished = self._flush()
        if finished:
            self._close_tunnel()

    def _flush(self) -> bool:
        """Write; True where the protocol wants the connection closed."""
        finished = False
        transport = self._transport
        for data in self._protocol.data_to_send():
            if not data:
                finished = True
            elif transport is not None:
                transport.write(data)
        return finished

    def _fail(self, code: int, reason: str, *, told: int | None = None) -> None:
        """Fail the connection (RFC 6455 §7.1.7); the application is told ``told``."""
        self.failed = True
        self._protocol.fail(code, reason)
        self._end(code if told is None else told, reason)
        if self._flush():
            self._close_tunnel()

    def _close_tunnel(self) -> None:
        """The tunnel is over. What is read from here on, if anything, is the connection's affair: it may linger, or be closed."""
        self._unread = b""
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        self._exchange.tunnel_closed()

    def _end(self, code: int, reason: str) -> None:
        if self.disconnect is None:
            # The library's codes are an enumeration; an event's values are plain (ASGI, Events).
            code = int(code)
            self.disconnect = (code, reason)
            sent = self._protocol.close_sent
            self._exchange.close_code = code if code != ABNORMAL or sent is None else sent.code
            if self._deadlines is not None:
                self._deadlines.clear(due.PING)
                self._deadlines.clear(due.PONG)
            self._exchange.notify()

    def _send_close(self, code: int, reason: str) -> None:
        self._closing = True
        self._protocol.send_close(code, reason)
        self._flush()
        if self._deadlines is not None:
            self._deadlines.clear(due.PING)
            self._deadlines.clear(due.PONG)
            self._deadlines.set(due.WS_CLOSE, self._config.ws_close_timeout)
        if self._paused:
            # The peer's part of the closing handshake lies behind what the application does not take.
            self._resume()

    # The application's half.

    def take_message(self) -> str | bytes | None:
        """The next message, or None."""
        if not self._queue:
            return None
        message = self._queue.popleft()
        if not self._queue:
            self._queued_bytes = 0
            if self._paused:
                self._resume()
        return message

    def send(self, message: str | bytes) -> None:
        """Send one message. Afterwards wait for the write gate.

        Raises:
            ClientDisconnected: the connection is closing or closed.
            LocalProtocolError: text that is no Unicode (a lone surrogate).
        """
        if self._transport is None or self._protocol.state is not OPEN:
            raise ClientDisconnected("the WebSocket is closed")
        if isinstance(message, str):
            try:
                data = message.encode("utf-8")
            except UnicodeEncodeError as error:
                raise LocalProtocolError(f"websocket.send: text that cannot be encoded: {error}") from None
            self._protocol.send_text(data)
        else:
            data = message
            self._protocol.send_binary(data)
        self._exchange.sent_bytes += len(data)
        self._flush()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Start the closing handshake (RFC 6455 §7.1.2).

        Raises:
            ClientDisconnected: the connection is closing or closed.
            LocalProtocolError: a code that must not be sent, or a reason of more than 123 bytes.
        """
        if self._transport is None or self._protocol.state is not OPEN:
            raise ClientDisconnected("the WebSocket is closed")
        try:
            size = len(reason.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"websocket.close: a reason that cannot be encoded: {error}") from None
        if size > _MAX_REASON_BYTES:
            raise LocalProtocolError(f"websocket.close: the reason is longer than {_MAX_REASON_BYTES} bytes (RFC 6455 §5.5)")
        try:
            Close(code, reason).check()
        except ProtocolError:
            raise LocalProtocolError(f"websocket.close: {code!r} is not a code that can be sent (RFC 6455 §7.4)") from None
        self._exchange.close_code = code
        self._send_close(code, reason)
