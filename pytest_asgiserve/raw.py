"""A strict HTTP/1.1 client over one socket, for looking at what a server really sends, and for sending what no client library would.

The law of this module: nothing is forgiven. A response is parsed by the grammar of RFC 9112 and by nothing else, its framing is verified to the last
byte, and what does not fit raises `FramingError`. None of the parsers that the server uses is used here. Every wait ends: by data, by the end of the
connection, or by the timeout.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

__all__ = ["FramingError", "RawConnection", "RawResponse", "Truncated", "Unanswered"]

# RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ]
_status_line = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9]{2}) ([\t \x21-\x7e]*)\r\n").fullmatch
# RFC 9110 §5.5, RFC 9112 §5: one space before the value is what everybody sends; whitespace behind it, or an obs-fold, is ours to refuse.
_field_line = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ((?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)\r\n"
).fullmatch
# RFC 9112 §7.1, without the chunk extensions that no server here sends; 16 digits are 64 bits, and HEXDIG is in either case (§1.2).
_chunk_line = re.compile(rb"([0-9a-fA-F]{1,16})\r\n").fullmatch
_digits = re.compile(rb"[0-9]+").fullmatch

_MAX_LINE: Final = 65536
"""Bytes of a line after which no end of it is waited for."""
_READ_SIZE: Final = 262144
"""Bytes asked of the socket at once."""

# Status codes that change what follows the head (RFC 9110 §15).
_SWITCHING_PROTOCOLS: Final = 101
_FIRST_FINAL: Final = 200
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304


class FramingError(AssertionError):
    """The server sent something that is no HTTP/1.1 response (RFC 9112), or something where nothing was due.

    It is an `AssertionError`: in a test that reads a response, a response that is none is a failed assertion.
    """


class Truncated(FramingError):  # noqa: N818 - what happened, as in ConnectionReset
    """The connection ended inside of a response.

    Attributes:
        received: what came of the body.
    """

    def __init__(self, what: str, received: bytes = b"") -> None:
        super().__init__(what)
        self.received = received


class Unanswered(Truncated):
    """The connection ended, in order, before a response began."""


@dataclass
class RawResponse:
    """One response, as bytes.

    Attributes:
        version: ``b"HTTP/1.1"`` or ``b"HTTP/1.0"``.
        status: the status code.
        reason: the reason phrase, empty where there is none.
        fields: names in lower case and values, in the order they came in; a name that came twice is there twice.
        body: the content, without the framing of the chunks.
        trailers: the fields behind a chunked body.
        informational: the 1xx responses that came before it.
        framing: how the end of the body is known (RFC 9112 §6.3): ``none``, ``length``, ``chunked`` or ``close``.
        chunks: the data of each chunk of a chunked body.
    """

    version: bytes
    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    informational: list[RawResponse] = field(default_factory=list)
    framing: str = "none"
    chunks: list[bytes] = field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of the field ``name`` (lower case), in order."""
        return [value for key, value in self.fields if key == name]

    def one(self, name: bytes) -> bytes | None:
        """The value of the field ``name`` (lower case); None where it is not there.

        Raises:
            FramingError: it is there more than once.
        """
        values = self.all(name)
        if len(values) > 1:
            raise FramingError(f"{name!r} is there {len(values)} times: {values!r}")
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this response (RFC 9112 §9.3)."""
        options = [option.strip().lower() for value in self.all(b"connection") for option in value.split(b",")]
        return b"close" in options or self.framing == "close"


class RawConnection:
    """One connection to a server, over which any bytes can be sent. A context manager that closes it.

    Every wait is bounded by ``timeout``: what does not come in time raises `TimeoutError`. A connection that the server resets raises
    `ConnectionResetError`, and sending on one that it closed `BrokenPipeError`.

    Args:
        target: host and port, or the path of a UNIX socket.
        timeout: of each single wait, in seconds.
        tls: makes it a TLS connection. Its end without a close_notify raises `ssl.SSLEOFError`: whoever cuts the line could have made that end.
        server_hostname: the name that the server's certificate is to have.
        receive_buffer: SO_RCVBUF in bytes, for readers that are to be slow.
        host: the Host field of `get`, `post` and `pipeline`; without it, what a browser would send to ``target``.

    Raises:
        OSError: the connection could not be made; `ssl.SSLError` where TLS failed.

    Attributes:
        sock: the socket.
        host: the Host field.
    """

    def __init__(
        self,
        target: tuple[str, int] | str,
        *,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        server_hostname: str = "localhost",
        receive_buffer: int | None = None,
        host: str | None = None,
    ) -> None:
        family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self.sock: socket.socket = socket.socket(family, socket.SOCK_STREAM)
        self.host = _authority(target, server_hostname) if host is None else host
        self._buffer = bytearray()
        self._ended = False
        self._encrypted = tls is not None
        try:
            if family != socket.AF_UNIX:
                # Every send leaves as a segment of its own; else the kernel would gather what is sent slowly.
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.settimeout(timeout)
            self.sock.connect(target)
            if tls is not None:
                self.sock = tls.wrap_socket(self.sock, server_hostname=server_hostname, suppress_ragged_eofs=False)
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Sending.

    def send(self, data: bytes) -> None:
        """Send all of ``data``, whatever it is.

        Raises:
            TimeoutError: the server did not take it in time.
            BrokenPipeError: the server has closed the connection.
            ConnectionResetError: the server has reset it.
        """
        self.sock.sendall(data)

    def send_slowly(self, data: bytes, delay: float = 0.01, size: int = 1) -> None:
        """Send ``size`` bytes of ``data`` at a time, with ``delay`` seconds between.

        Raises:
            ValueError: ``size`` is below 1, or ``delay`` below 0.
            TimeoutError: the server did not take a piece in time.
            BrokenPipeError: the server has closed the connection.
            ConnectionResetError: the server has reset it.
        """
        if size < 1 or delay < 0:
            raise ValueError(f"size must be 1 or more, and delay 0 or more: size={size!r}, delay={delay!r}")
        for start in range(0, len(data), size):
            if start:
                time.sleep(delay)
            self.send(data[start : start + size])

    def get(self, path: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> None:
        """Send a request without a body; ``fields`` are whole lines without their ends."""
        lines = [f"{method} {path} HTTP/{version}", f"Host: {self.host}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))

    def pipeline(self, *paths: str, fields: str = "") -> None:
        """Send a GET for each of ``paths`` in one write; ``fields`` are whole lines with their ends."""
        self.send("".join(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n" for path in paths).encode("latin-1"))

    def post(self, path: str, body: bytes, *fields: str) -> None:
        """Send a request with a body of known length; ``fields`` are whole lines without their ends."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def half_close(self) -> None:
        """Send FIN, and go on reading.

        Raises:
            ValueError: the connection is encrypted; Python's TLS has no half-closed connection.
        """
        if self._encrypted:
            raise ValueError("an encrypted connection cannot be half-closed")
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with a RST; on a UNIX socket, which knows none, with whatever the system sends."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close; what is unread makes it a RST, as the system does. Idempotent."""
        self.sock.close()

    # Receiving.

    def _fill(self) -> bool:
        """Read something; False at the end of the connection."""
        if self._ended:
            return False
        data = self.sock.recv(_READ_SIZE)
        if not data:
            self._ended = True
            return False
        self._buffer += data
        return True

    def _line(self) -> bytes:
        """One line with its CRLF. A line that ends with a bare LF never ends here, and comes back as `Truncated` or too long."""
        searched = 0
        while (end := self._buffer.find(b"\r\n", max(searched - 1, 0))) < 0:
            searched = len(self._buffer)
            if searched > _MAX_LINE:
                raise FramingError(f"a line without end: {bytes(self._buffer[:100])!r}")
            if not self._fill():
                raise Truncated(f"the connection ended inside of a line: {bytes(self._buffer)!r}")
        line = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 2]
        return line

    def read_exactly(self, size: int) -> bytes:
        """The next ``size`` bytes, whatever they are.

        Raises:
            Truncated: the connection ended before them.
        """
        while len(self._buffer) < size:
            if not self._fill():
                received = bytes(self._buffer)
                self._buffer.clear()
                raise Truncated(f"the connection ended after {len(received)} of {size} bytes", received)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_until_eof(self) -> bytes:
        """Everything up to the end of the connection, which must be an orderly one (a RST raises `ConnectionResetError`)."""
        while self._fill():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def expect_eof(self) -> None:
        """Wait for the end of the connection, which must come here, in order, with nothing before it.

        Raises:
            FramingError: bytes came before it.
        """
        rest = self.read_until_eof()
        if rest:
            raise FramingError(f"bytes after the response: {rest[:200]!r}")

    def expect_closed(self) -> bytes:
        """Wait for the end of the connection, in order or by a RST; what came before that."""
        try:
            return self.read_until_eof()
        except ConnectionResetError:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data

    def expect_silence(self, seconds: float) -> None:
        """Wait for ``seconds``, in which nothing must come and the connection must stay open.

        Raises:
            FramingError: something came, or the connection ended.
        """
        if self._buffer:
            raise FramingError(f"unexpected bytes: {bytes(self._buffer[:200])!r}")
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(_READ_SIZE)
        except TimeoutError:
            return
        finally:
            self.sock.settimeout(before)
        raise FramingError(f"expected silence, got {data[:200]!r}" if data else "expected silence, but the connection ended")

    def _fields(self) -> list[tuple[bytes, bytes]]:
        fields = []
        while (line := self._line()) != b"\r\n":
            match = _field_line(line)
            if match is None:
                raise FramingError(f"no field line: {line!r}")
            fields.append((match[1].lower(), match[2]))
        return fields

    def read_head(self, method: str = "GET") -> RawResponse:
        """The next head, informational ones too; its body is left unread and ``framing`` says how to read it.

        Raises:
            FramingError: it breaks the grammar.
            Truncated: the connection ended inside of it.
        """
        try:
            line = self._line()
        except Truncated as error:
            if not self._buffer:
                raise Unanswered(str(error)) from None
            raise
        match = _status_line(line)
        if match is None:
            raise FramingError(f"no status line: {line!r}")
        response = RawResponse(match[1], int(match[2]), match[3], self._fields())
        response.framing = _framing(response, method)
        return response

    def read_chunk(self) -> bytes:
        """The data of the next chunk of a chunked body; empty for the last one, whose trailers are left unread.

        Raises:
            FramingError: it breaks the grammar.
            Truncated: the connection ended inside of it.
        """
        line = self._line()
        match = _chunk_line(line)
        if match is None:
            raise FramingError(f"no chunk-size line: {line!r}")
        size = int(match[1], 16)
        data = self.read_exactly(size) if size else b""
        if size and self.read_exactly(2) != b"\r\n":
            raise FramingError("chunk data is not followed by CRLF")
        return data

    def read_response(self, method: str = "GET") -> RawResponse:
        """One whole final response to ``method``, with the informational ones before it.

        Raises:
            FramingError: it breaks the grammar.
            Truncated: the connection ended inside of it, in order.
            ConnectionResetError: the connection was reset inside of it.
        """
        informational = []
        response = self.read_head(method)
        while response.status < _FIRST_FINAL:
            informational.append(response)
            if response.status == _SWITCHING_PROTOCOLS:
                break
            response = self.read_head(method)
        response.informational = informational
        self.read_body(response)
        return response

    def read_body(self, response: RawResponse) -> None:
        """Read the body of a response whose head was read, into it.

        Raises:
            FramingError: it breaks the grammar.
            Truncated: the connection ended inside of it, in order.
            ConnectionResetError: the connection was reset inside of it.
        """
        if response.framing == "length":
            response.body = self.read_exactly(int(response.one(b"content-length") or b"0"))
        elif response.framing == "close":
            response.body = self.read_until_eof()
        elif response.framing == "chunked":
            try:
                while chunk := self.read_chunk():
                    response.chunks.append(chunk)
                response.trailers = self._fields()
            except Truncated as error:
                raise Truncated(f"the last chunk is missing: {error}", b"".join(response.chunks)) from None
            response.body = b"".join(response.chunks)

    def exchange(self, path: str = "/", *fields: str, method: str = "GET") -> RawResponse:
        """Send a request without a body, and read its response; the arguments are those of `get`, the errors those of `read_response`."""
        self.get(path, *fields, method=method)
        return self.read_response(method)


def _authority(target: tuple[str, int] | str, server_hostname: str) -> str:
    """The Host field for ``target`` (RFC 9110 §7.2); a UNIX socket has none of its own."""
    if isinstance(target, str):
        return server_hostname
    host, port = target[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _framing(response: RawResponse, method: str) -> str:
    """How the body of a response is framed (RFC 9112 §6.3), where the head is consistent."""
    length = response.one(b"content-length")
    coding = response.one(b"transfer-encoding")
    status = response.status
    if length is not None and _digits(length) is None:
        raise FramingError(f"content-length is no number: {length!r}")
    if coding is not None and coding != b"chunked":
        raise FramingError(f"transfer-encoding is not chunked: {coding!r}")
    if length is not None and coding is not None:
        raise FramingError("both content-length and transfer-encoding")
    if status < _FIRST_FINAL or status == _NO_CONTENT:
        # RFC 9110 §8.6, RFC 9112 §6.1: neither of the two with 1xx or 204.
        if length is not None or coding is not None:
            raise FramingError(f"{status} with content-length or transfer-encoding")
        return "none"
    if method == "HEAD" or status == _NOT_MODIFIED:
        return "none"
    if coding is not None:
        return "chunked"
    return "close" if length is None else "length"
