"""A WebSocket client for tests: plain calls that wait, each for a bounded time, and errors that say what happened.

The law of this module: no thread and no event loop. The socket is read and written inside of the calls alone, so that nothing is left running and
nothing happens behind the test's back; a ping of the server is answered by the next call. Frames are made and read by the sans-IO protocol of
``websockets``.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
import urllib.parse
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI, ProtocolError
from websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from pytest_asgiserve.websocket_errors import (
    HandshakeResponse,
    WebSocketClosed,
    WebSocketHandshakeError,
    WebSocketMessageError,
    WebSocketRejected,
    WebSocketTimeout,
    described,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from websockets.http11 import Request
    from websockets.typing import Origin, Subprotocol
    from websockets.uri import WebSocketURI

__all__ = [
    "HandshakeResponse",
    "WebSocketClient",
    "WebSocketClosed",
    "WebSocketHandshakeError",
    "WebSocketMessageError",
    "WebSocketRejected",
    "WebSocketTimeout",
    "connect_websocket",
]

_READ_SIZE: Final = 262144
_SAFE: Final = "/%:@!$&'()*+,;=~"
"""What may stand in a path or, with ``?``, in a query as it is (RFC 3986 §3.3, §3.4); % because it is encoded already."""
_GOOD_CODES: Final = frozenset({CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD})


class WebSocketClient:
    """An open connection, for one thread at a time. A context manager that closes it with 1000. Made by `connect_websocket`.

    Every method that waits takes a ``timeout`` in seconds for that wait; None is the connection's own. While no method runs, a ping of the server is
    not answered; a server that is impatient will close then.

    Attributes:
        path: the path and query of the request.
        timeout: seconds that a wait may take where it has no limit of its own.
        response: the answer to the handshake.
    """

    path: str
    timeout: float
    response: HandshakeResponse

    def __init__(self, sock: socket.socket, protocol: ClientProtocol, path: str, timeout: float, blocked: tuple[type[OSError], ...]) -> None:
        self.path = path
        self.timeout = timeout
        self._sock = sock
        self._sock.setblocking(False)
        self._protocol = protocol
        self._blocked = blocked
        self._outgoing = bytearray()
        self._ended = False
        self._broken = False
        self._cut = False
        self._handshake: Response | None = None
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._is_text = False
        self._fault: Exception | None = None
        self._pongs: list[bytes] = []
        self._pings = 0
        self._received = 0
        self._last: str | bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            # The test has failed already, perhaps because the server is stuck: nothing is waited for.
            self.abort()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self._state()}>"

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the application chose."""
        return self._protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        """The server's close code: 1005 for a close frame without one, 1006 where none came before the end; None while it is open."""
        return self._final()[0] if self._over() else None

    @property
    def close_reason(self) -> str | None:
        """The server's words on closing, often empty; None while it is open."""
        return self._final()[1] if self._over() else None

    # Sending.

    def send(self, message: str | bytes | bytearray | memoryview, *, timeout: float | None = None) -> None:
        """Send a message: text for a str, binary for bytes.

        Raises:
            WebSocketClosed: the connection is closed.
            WebSocketTimeout: the server did not take it in time.
        """
        __tracebackhide__ = True
        if isinstance(message, str):
            self._send(lambda: self._protocol.send_text(message.encode()), timeout)
        elif isinstance(message, bytes | bytearray | memoryview):
            self._send(lambda: self._protocol.send_binary(bytes(message)), timeout)
        else:
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}; send_json sends the rest")

    def send_text(self, text: str, *, timeout: float | None = None) -> None:
        """Send a text message. Errors as of `send`."""
        __tracebackhide__ = True
        if not isinstance(text, str):
            raise TypeError(f"a text message is str, not {type(text).__name__}")
        self.send(text, timeout=timeout)

    def send_bytes(self, data: bytes | bytearray | memoryview, *, timeout: float | None = None) -> None:
        """Send a binary message. Errors as of `send`."""
        __tracebackhide__ = True
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"a binary message is bytes, not {type(data).__name__}")
        self.send(data, timeout=timeout)

    def send_json(self, value: Any, *, timeout: float | None = None) -> None:
        """Send ``value`` as JSON in a text message. Errors as of `send`."""
        __tracebackhide__ = True
        self.send(json.dumps(value, separators=(",", ":"), ensure_ascii=False), timeout=timeout)

    def ping(self, *, timeout: float | None = None) -> float:
        """Send a ping and wait for its pong. Messages that come in between are kept.

        Returns:
            Seconds until the pong came.

        Raises:
            WebSocketClosed: the connection is closed.
            WebSocketTimeout: no pong came in time.
        """
        __tracebackhide__ = True
        self._pings += 1
        payload = b"%d" % self._pings
        began = time.monotonic()
        self._send(lambda: self._protocol.send_ping(payload), timeout)
        self._run(lambda: payload in self._pongs or self._over(), timeout, "no pong came")
        if payload not in self._pongs:
            raise self._closed()
        self._pongs.clear()
        return time.monotonic() - began

    # Receiving.

    def receive(self, *, timeout: float | None = None) -> str | bytes:
        """The next message: str for text, bytes for binary.

        Raises:
            WebSocketClosed: the connection is closed; the messages that came before that were all received.
            WebSocketTimeout: no message came in time.
        """
        __tracebackhide__ = True
        self._run(lambda: bool(self._messages) or self._over(), timeout, "no message came")
        if not self._messages:
            raise self._closed()
        return self._messages.popleft()

    def receive_text(self, *, timeout: float | None = None) -> str:
        """The next message, which must be text.

        Raises:
            WebSocketMessageError: it is binary.
            WebSocketClosed: the connection is closed.
            WebSocketTimeout: no message came in time.
        """
        __tracebackhide__ = True
        message = self.receive(timeout=timeout)
        if not isinstance(message, str):
            raise WebSocketMessageError(self.path, "text", message)
        return message

    def receive_bytes(self, *, timeout: float | None = None) -> bytes:
        """The next message, which must be binary.

        Raises:
            WebSocketMessageError: it is text.
            WebSocketClosed: the connection is closed.
            WebSocketTimeout: no message came in time.
        """
        __tracebackhide__ = True
        message = self.receive(timeout=timeout)
        if isinstance(message, str):
            raise WebSocketMessageError(self.path, "binary", message)
        return message

    def receive_json(self, *, timeout: float | None = None) -> Any:
        """The value of the next message, which must be JSON; text or binary, as frameworks send both.

        Raises:
            WebSocketMessageError: it is no JSON.
            WebSocketClosed: the connection is closed.
            WebSocketTimeout: no message came in time.
        """
        __tracebackhide__ = True
        message = self.receive(timeout=timeout)
        try:
            return json.loads(message)
        except ValueError as error:
            raise WebSocketMessageError(self.path, f"JSON ({error})", message) from None

    def __iter__(self) -> Iterator[str | bytes]:
        """Every message until the server closes with 1000, 1001 or without a code.

        Raises:
            WebSocketClosed: it closed with another code, or without a close frame.
            WebSocketTimeout: no message came within `timeout`.
        """
        __tracebackhide__ = True
        while True:
            try:
                message = self.receive()
            except WebSocketClosed as closed:
                if closed.code in _GOOD_CODES:
                    return
                raise
            yield message

    # Closing.

    def close(self, code: int = 1000, reason: str = "", *, timeout: float | None = None) -> None:
        """Close: send a close frame, and wait for the server's and for the end of the connection. Idempotent.

        Messages that came and were not received can still be.

        Raises:
            ValueError: the code is none that may be sent (RFC 6455 §7.4), or the reason is longer than 123 bytes.
            WebSocketTimeout: the server did not close in time. The connection is cut then.
        """
        __tracebackhide__ = True
        if self._ended:
            return
        if self._protocol.state is State.OPEN:
            try:
                self._protocol.send_close(code, reason)
            except ProtocolError as error:
                raise ValueError(f"no close frame can be made of {code}, {reason!r}: {error}") from None
            self._collect()
        try:
            self._run(lambda: self._ended, timeout, "the server did not close")
        finally:
            self.abort()

    def wait_closed(self, timeout: float | None = None) -> int:
        """Wait until the server has closed. Messages that came can still be received.

        Returns:
            The close code.

        Raises:
            WebSocketTimeout: it did not close in time.
        """
        __tracebackhide__ = True
        self._run(lambda: self._ended, timeout, "the server did not close")
        return self._final()[0]

    def abort(self) -> None:
        """Cut the connection without a close frame: the application sees 1006. Idempotent."""
        if not self._ended:
            self._cut = True
            self._end()

    # The machine.

    def _open(self, request: Request) -> None:
        """The opening handshake."""
        protocol = self._protocol
        protocol.send_request(request)
        self._collect()
        self._run(lambda: self._ended or self._handshake is not None or protocol.handshake_exc is not None, None, "no answer to the handshake came")
        if self._handshake is not None:
            answer = self._handshake
            self.response = HandshakeResponse(answer.status_code, answer.headers, bytes(answer.body))
        error = protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            raise WebSocketRejected(self.path, self.response)
        if error is not None:
            why = error if error.__cause__ is None else f"{error}: {error.__cause__}"
            raise WebSocketHandshakeError(f"{self.path} was not opened: {why}") from error

    def _state(self) -> str:
        if not self._over():
            return "open"
        return f"closed {self.close_code} {self.close_reason}".rstrip()

    def _over(self) -> bool:
        """Whether no message can come any more."""
        return self._ended or self._protocol.close_rcvd is not None or self._protocol.parser_exc is not None or self._fault is not None

    def _final(self) -> tuple[int, str]:
        """Close code and reason, where it is over."""
        received = self._protocol.close_rcvd
        return (int(CloseCode.ABNORMAL_CLOSURE), "") if received is None else (int(received.code), received.reason)

    def _closed(self) -> WebSocketClosed:
        """What to raise where it is over."""
        code, reason = self._final()
        fault = self._fault or self._protocol.parser_exc
        if isinstance(fault, EOFError):
            fault = None
        detail = f" (the server broke the protocol: {fault})" if fault is not None else ""
        if not detail and code == CloseCode.ABNORMAL_CLOSURE:
            detail = " (this side cut the connection)" if self._cut else " (the connection ended without a close frame)"
        closed = WebSocketClosed(self.path, code, reason, detail)
        closed.__cause__ = fault
        return closed

    def _send(self, make: Callable[[], None], timeout: float | None) -> None:
        """Put what ``make`` tells the protocol on the wire."""
        __tracebackhide__ = True
        # What lies in the socket may be the server's close frame.
        self._read()
        if self._over() or self._protocol.state is not State.OPEN:
            raise self._closed()
        make()
        self._collect()
        self._run(lambda: self._ended or not (self._outgoing or self._broken), timeout, "the server did not take what was sent")
        if self._outgoing or self._broken:
            raise self._closed()

    def _run(self, done: Callable[[], bool], timeout: float | None, late: str) -> None:
        """Read and write until ``done``, which the end of the connection makes true.

        Both go on together, so that two sides that send at once never wait for each other.
        """
        __tracebackhide__ = True
        seconds = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        is_late = False
        while True:
            self._write()
            if done():
                return
            if is_late:
                came = "no message has come so far" if self._last is None else f"of {self._received}, the last message was {described(self._last)}"
                raise WebSocketTimeout(f"{self.path}: {late} within {seconds:g} s; {came}")
            left = deadline - time.monotonic()
            # Pieces that never become what is waited for are no reason to wait for ever.
            is_late = left <= 0 if self._read() else not self._wait(left)

    def _wait(self, seconds: float) -> bool:
        """Whether the socket got ready in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0))
            return bool(selector.select(max(seconds, 0)))

    def _read(self) -> bool:
        """Read what is there; False where nothing is."""
        if self._ended:
            return False
        try:
            data = self._sock.recv(_READ_SIZE)
        except self._blocked:
            return False
        except OSError:
            # A reset, or an end of TLS that is none: the connection is gone.
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._end()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif isinstance(event, Response):
                self._handshake = event
        self._collect()
        return True

    def _take(self, frame: Frame) -> None:
        """One frame of the server; the protocol has looked at its order."""
        if frame.opcode is Opcode.PONG:
            self._pongs.append(bytes(frame.data))
        elif frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT} and self._fault is None:
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._parts.append(bytes(frame.data))
            if frame.fin:
                data = b"".join(self._parts)
                self._parts.clear()
                try:
                    self._last = data.decode() if self._is_text else data
                except UnicodeDecodeError as error:
                    # RFC 6455 §8.1
                    self._fault = error
                    self._protocol.fail(CloseCode.INVALID_DATA, "invalid UTF-8")
                    return
                self._received += 1
                self._messages.append(self._last)

    def _collect(self) -> None:
        """Take over what the protocol wants to send. Its wish to end the stream is left out: the end of the socket comes with the server's."""
        self._outgoing += b"".join(self._protocol.data_to_send())

    def _write(self) -> None:
        """Write what there is to write, as far as the socket takes it."""
        while self._outgoing and not self._ended:
            try:
                sent = self._sock.send(self._outgoing)
            except self._blocked:
                return
            except OSError:
                # Nobody takes it any more; what the server sent before it went is still to be read.
                self._outgoing.clear()
                self._broken = True
                return
            del self._outgoing[:sent]

    def _end(self) -> None:
        """Nothing comes any more."""
        self._ended = True
        self._protocol.receive_eof()
        self._sock.close()


# Connecting.


def _parsed(url: str) -> WebSocketURI:
    """The parts of ``url``, with what may not stand in a path or query encoded (UTF-8)."""
    parts = urllib.parse.urlsplit(url)
    path, query = urllib.parse.quote(parts.path, _SAFE), urllib.parse.quote(parts.query, f"{_SAFE}?")
    try:
        return parse_uri(urllib.parse.urlunsplit(parts._replace(path=path, query=query)))
    except InvalidURI as error:
        raise ValueError(f"no address of a WebSocket: {error}") from None


def _add_fields(request: Request, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
    """Put ``headers`` into the request; a field that it has of itself is replaced."""
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    for name, value in fields:
        if not {"\r", "\n", "\0"}.isdisjoint(name + value):
            raise ValueError(f"no header field: {name!r}: {value!r}")
        if name in request.headers:
            del request.headers[name]
    for name, value in fields:
        request.headers[name] = value


def _connected(uri: WebSocketURI, uds: str | None, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    """A connected socket, encrypted for ``wss``."""
    sock = None
    try:
        if uds is None:
            sock = socket.create_connection((uri.host, uri.port), timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect(uds)
        return sock if tls is None else tls.wrap_socket(sock, server_hostname=uri.host)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, TimeoutError):
            raise WebSocketTimeout(f"{uri.resource_name}: no connection within {timeout:g} s") from error
        raise


def connect_websocket(
    url: str,
    *,
    uds: str | None = None,
    tls: ssl.SSLContext | None = None,
    subprotocols: Sequence[str] | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    origin: str | None = None,
    timeout: float = 5.0,
    compression: Literal["deflate"] | None = "deflate",
) -> WebSocketClient:
    """Open a WebSocket connection (RFC 6455).

    Args:
        url: ``ws://`` or ``wss://``; in its path and query, characters that may not stand there are encoded.
        uds: the path of a UNIX socket to connect to instead of the host and port of the URL.
        tls: what the server of a ``wss`` URL is verified with; the system's authorities without it. It is made to offer HTTP/1.1 alone (ALPN).
        subprotocols: that are offered, the best one first.
        headers: more fields of the request; one that the request has of itself is replaced by it.
        origin: the Origin field, which a browser would send.
        timeout: of each single wait, now and later, in seconds.
        compression: offer permessage-deflate (RFC 7692), or nothing.

    Raises:
        ValueError: an argument is none that could be used.
        OSError: there was no connection; `ssl.SSLError` where TLS failed.
        WebSocketRejected: the application did not accept; it has status, headers and body of the response.
        WebSocketHandshakeError: the answer to the handshake breaks RFC 6455, or the connection ended without one.
        WebSocketTimeout: a step of it took too long.
    """
    uri = _parsed(url)
    if compression not in {"deflate", None}:
        raise ValueError(f"compression is 'deflate' or None, not {compression!r}")
    if isinstance(subprotocols, str):
        raise ValueError(f"subprotocols is a list of names, not one: [{subprotocols!r}]")
    if tls is not None and not uri.secure:
        raise ValueError(f"tls is for wss://, not for {url}")
    protocol = ClientProtocol(
        uri,
        origin=cast("Origin | None", origin),
        extensions=enable_client_permessage_deflate(None) if compression else None,
        subprotocols=cast("Sequence[Subprotocol] | None", subprotocols),
        # A test's own server may send what it likes.
        max_size=None,
    )
    request = protocol.connect()
    _add_fields(request, headers or ())
    blocked: tuple[type[OSError], ...] = (BlockingIOError,)
    if uri.secure:
        import ssl  # noqa: PLC0415 - only where there is TLS

        tls = tls or ssl.create_default_context()
        tls.set_alpn_protocols(["http/1.1"])
        blocked += (ssl.SSLWantReadError, ssl.SSLWantWriteError)
    client = WebSocketClient(_connected(uri, uds, tls, timeout), protocol, uri.resource_name, timeout, blocked)
    try:
        client._open(request)  # noqa: SLF001 - the constructor cannot wait
    except BaseException:
        client.abort()
        raise
    return client
