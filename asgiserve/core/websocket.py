"""A WebSocket after its handshake: the stream of messages (RFC 6455, RFC 7692).

The law of this module: a whole message in one plain frame is cut out and framed here; every other frame is the ``websockets`` library's, byte
for byte. Messages are ours. A stream tells its exchange when something can be received, counts what the application has not taken, and ends
exactly once, with one code.
"""

from __future__ import annotations

import codecs
import logging
import struct
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from asgiserve.core import deadlines as due
from asgiserve.core.transport import write_pieces
from asgiserve.errors import ClientDisconnected, LocalProtocolError

try:
    from websockets.speedups import apply_mask
except ImportError:
    # Where the library has no wheel and there was no compiler.
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from codecs import IncrementalDecoder

    from websockets.extensions import Extension

    from asgiserve.config import WebSocketConfig
    from asgiserve.core.deadlines import Deadlines
    from asgiserve.core.exchange import Exchange
    from asgiserve.core.flow import WriteGate
    from asgiserve.core.transport import Transport

__all__ = ["WebSocketStream"]

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

# RFC 6455 §5.2: FIN, no reserved bit, and the opcode.
_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_OF_16_BITS: Final = 126
_MAX_16_BITS: Final = (1 << 16) - 1
_FIXED_BYTES: Final = 2
_KEY_BYTES: Final = 4
_WHOLE: Final = frozenset({_WHOLE_TEXT, _WHOLE_BINARY})
_LAWFUL: Final = frozenset(first for first in range(256) if first & _OPCODE in set(Opcode))
_short_head = struct.Struct("!BB").pack
_medium_head = struct.Struct("!BBH").pack
_long_head = struct.Struct("!BBQ").pack

_utf8_decoder = codecs.getincrementaldecoder("utf-8")
# What CPython says of bytes that more bytes may complete.
_INCOMPLETE: Final = "unexpected end of data"
# What is inflated between two looks at how much the application has not taken: zlib makes up to 1032 times as much of it.
_SLICE_BYTES: Final = 16384
# From here on a view of a read is cheaper than a copy of its part.
_VIEW_BYTES: Final = 2048
# From here on a payload is not joined with its head: copying costs more than one more piece.
_LARGE: Final = 32 * 1024
# Shorter reads of a frame that is not complete are put together at once: each object takes more than it holds otherwise.
_SHORT_READ: Final = 1024

# The library logs each connection's end at INFO; the access log says it better.
_logger = logging.getLogger("asgiserve.websocket.frames")
_logger.setLevel(logging.WARNING)


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
        "_by_library",
        "_closing",
        "_config",
        "_deadlines",
        "_decoder",
        "_exchange",
        "_fragments",
        "_gate",
        "_held",
        "_held_bytes",
        "_is_text",
        "_max_queue",
        "_max_size",
        "_owed",
        "_parts",
        "_paused",
        "_ping_sent",
        "_protocol",
        "_queue",
        "_queued_bytes",
        "_sends_plainly",
        "_transport",
        "_unread",
        "_wanted",
        "disconnect",
        "failed",
        "received_bytes",
    )

    def __init__(self, exchange: Exchange, config: WebSocketConfig, extensions: list[Extension]) -> None:
        self._exchange = exchange
        self._config = config
        self._max_size = config.ws_max_size
        self._max_queue = config.ws_max_queue
        self._protocol = _Protocol(SERVER, state=OPEN, max_size=config.ws_max_size, logger=_logger)
        self._protocol.extensions = extensions
        self._transport: Transport | None = None
        self._deadlines: Deadlines | None = None
        self._gate: WriteGate | None = None
        self._queue: deque[str | bytes] = deque()
        self._queued_bytes = 0
        self._paused = False
        self._unread = b""
        # Who wants to see the library's log sees every frame in it.
        self._by_library = _logger.isEnabledFor(logging.DEBUG)
        self._sends_plainly = not extensions and not self._by_library
        # The beginning of a frame, and how much of it there must be until it is looked at again.
        self._held: list[bytes | bytearray] = []
        self._held_bytes = 0
        self._wanted = 0
        # How much is still to come of the frame that the library is in.
        self._owed = 0
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
        ours = not self._by_library and not self._paused
        if not ours:
            self._receive_by_library(data)
            return
        if self._wanted:
            data = self._complete(data)
        elif self._owed:
            data = self._pay(data)
        size = len(data)
        at = wanted = 0
        while at < size:
            if self._by_library or (self._paused and at >= _SLICE_BYTES):
                self._receive_by_library(data[at:])
                return
            wanted = _FIXED_BYTES
            if size - at < wanted:
                break
            first = data[at]
            length = data[at + 1] - _MASKED
            if length < 0 or first not in _LAWFUL:
                # Unlawful whatever follows: the library says so now.
                self._by_library = True
                continue
            start = at + _FIXED_BYTES + _KEY_BYTES
            if length >= _LENGTH_OF_16_BITS:
                width = 2 if length == _LENGTH_OF_16_BITS else 8
                wanted += width
                if size - at < wanted:
                    break
                length = int.from_bytes(data[at + _FIXED_BYTES : at + wanted], "big")
                start += width
            end = start + length
            if first in _WHOLE and length <= self._max_size and not self._fragments:
                if end > size:
                    wanted = end - at
                    break
                self._is_text = first == _WHOLE_TEXT
                payload = data[start:end] if length < _VIEW_BYTES else memoryview(data)[start:end]
                self._receive_message(apply_mask(payload, data[start - _KEY_BYTES : start]))
            else:
                self._owed = max(end - size, 0)
                self._pass_on(data[at:end])
            at = end
        if at < size:
            self._hold(data[at:], wanted)

    def _hold(self, data: bytes, wanted: int) -> None:
        self._wanted = wanted
        self._held_bytes += len(data)
        if not self._held or len(data) >= _SHORT_READ:
            self._held.append(data)
            return
        last = self._held[-1]
        if isinstance(last, bytearray):
            last += data
        else:
            self._held.append(bytearray(data))

    def _release(self) -> bytes:
        """What was held, and hold nothing."""
        held, self._held = self._held, []
        self._held_bytes = self._wanted = 0
        return b"".join(held)

    def _complete(self, data: bytes) -> bytes:
        """What was held, and ``data``; nothing where it is still too little."""
        self._hold(data, self._wanted)
        return b"" if self._held_bytes < self._wanted else self._release()

    def _pay(self, data: bytes) -> bytes:
        """Give the library what is its own; the rest of ``data``."""
        owed = self._owed
        self._owed = max(owed - len(data), 0)
        self._pass_on(data[:owed])
        return data[owed:]

    def _pass_on(self, data: bytes) -> None:
        """The library reads ``data``."""
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if self.disconnect is not None:
                break
            if isinstance(event, Frame):
                self._receive_frame(event)
        if protocol.state is not OPEN:
            self._by_library = True
        self._settle()

    def _receive_by_library(self, data: bytes) -> None:
        """The rest of the stream is the library's, or nothing is read now."""
        for start in range(0, len(data), _SLICE_BYTES):
            if self._paused:
                # A few compressed bytes may be many messages: they are inflated when the application has taken those before.
                self._unread += data[start:]
                break
            self._pass_on(data[start : start + _SLICE_BYTES])

    def _leave_to_library(self) -> None:
        """No frame is ours any more; the one that came in part is given to the library as it came."""
        if not self._by_library:
            self._by_library = True
            if self._held:
                self._pass_on(self._release())

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
        self._by_library = True
        self._unread = b""
        self._release()
        self._protocol.receive_eof()
        self._protocol.data_to_send()
        self._end(ABNORMAL, "")

    def connection_lost(self) -> None:
        """The transport is gone."""
        self._transport = None
        self._unread = b""
        self._release()
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
                self._fragments = 0
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
            # CPython's decoder waits for more behind the beginning of a surrogate (ED A0), which can become nothing.
            waiting, _ = self._decoder.getstate()
            waiting.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.reason == _INCOMPLETE:
                return
            self._parts = []
            self._fail(INVALID_DATA, f"{error.reason} in fragment {self._fragments}")

    def _receive_message(self, data: bytes) -> None:
        if self._closing:
            # It crossed our close: nobody takes it, and it must not keep the peer's part of the closing handshake out.
            return
        size = len(data)
        self.received_bytes += size
        message: str | bytes = data
        if self._is_text:
            try:
                message = data.decode("utf-8")
            except UnicodeDecodeError as error:
                # RFC 6455 §8.1
                self._fail(INVALID_DATA, f"{error.reason} at position {error.start}")
                return
        self._queue.append(message)
        self._queued_bytes += size
        if (len(self._queue) >= self._max_queue or self._queued_bytes >= self._max_size) and not self._paused and self._transport is not None:
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
        self._by_library = True
        self._release()
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
        self._leave_to_library()
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
        transport = self._transport
        if transport is None or self._protocol.state is not OPEN:
            raise ClientDisconnected("the WebSocket is closed")
        if isinstance(message, str):
            try:
                data = message.encode("utf-8")
            except UnicodeEncodeError as error:
                raise LocalProtocolError(f"websocket.send: text that cannot be encoded: {error}") from None
            first = _WHOLE_TEXT
        else:
            data = message
            first = _WHOLE_BINARY
        size = len(data)
        self._exchange.sent_bytes += size
        if not self._sends_plainly:
            if first == _WHOLE_TEXT:
                self._protocol.send_text(data)
            else:
                self._protocol.send_binary(data)
            self._flush()
        elif size < _LENGTH_OF_16_BITS:
            transport.write(_short_head(first, size) + data)
        elif size < _LARGE:
            transport.write(_medium_head(first, _LENGTH_OF_16_BITS, size) + data)
        else:
            head = _medium_head(first, _LENGTH_OF_16_BITS, size) if size <= _MAX_16_BITS else _long_head(first, _LENGTH, size)
            write_pieces(transport, (head, data))

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
