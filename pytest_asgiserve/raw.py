"""A strict HTTP/1.1 client over one socket, for looking at what a server really sends.

The law of this module: nothing is forgiven. A response is parsed by the grammar of RFC 9112 and by nothing else, its framing is verified to the last
byte, and what does not fit raises `FramingError`. None of the parsers that the server uses is used here. Every wait ends: by data, by the end of the
connection, or by the timeout.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

__all__ = ["FramingError", "RawClient", "Response", "Truncated"]

TIMEOUT = 10.0

# RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ]
_status_line = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9]{2}) ([\t \x21-\x7e]*)\r\n").fullmatch
# RFC 9110 §5.5, RFC 9112 §5: one space before the value is what everybody sends; whitespace behind it, or an obs-fold, is ours to refuse.
_field_line = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ((?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)\r\n"
).fullmatch
_chunk_line = re.compile(rb"([0-9a-f]{1,16})\r\n").fullmatch
_digits = re.compile(rb"[0-9]+").fullmatch
_MAX_LINE = 65536


class FramingError(AssertionError):
    """The server sent something that is no HTTP/1.1 response."""


class Truncated(FramingError):  # noqa: N818 - what happened, as in ConnectionReset
    """The connection ended inside of a response; ``received`` is what came of its body."""

    def __init__(self, what: str, received: bytes = b"") -> None:
        super().__init__(what)
        self.received = received


@dataclass
class Response:
    """One response. ``framing`` is ``none``, ``length``, ``chunked`` or ``close``."""

    version: bytes
    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    informational: list[Response] = field(default_factory=list)
    framing: str = "none"
    chunks: list[bytes] = field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of the field, in order."""
        return [value for key, value in self.fields if key == name]

    def one(self, name: bytes) -> bytes | None:
        """The value of a field that must not be there twice; None where it is not there."""
        values = self.all(name)
        if len(values) > 1:
            raise FramingError(f"{name!r} is there {len(values)} times: {values!r}")
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this response (RFC 9112 §9.3)."""
        options = [option.strip().lower() for value in self.all(b"connection") for option in value.split(b",")]
        return b"close" in options or self.framing == "close"


class RawClient:
    """One connection.

    Args:
        target: host and port, or the path of a UNIX socket.
        timeout: of each single wait, in seconds.
        tls: makes it a TLS connection.
        receive_buffer: SO_RCVBUF, for readers that are to be slow.
    """

    def __init__(
        self,
        target: tuple[str, int] | str,
        *,
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
        server_hostname: str = "localhost",
        receive_buffer: int | None = None,
    ) -> None:
        family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self.sock: socket.socket = socket.socket(family, socket.SOCK_STREAM)
        self._buffer = bytearray()
        self._ended = False
        try:
            if receive_buffer is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.settimeout(timeout)
            self.sock.connect(target)
            if tls is not None:
                # An end without a close_notify is no end: whoever cuts the line could have made it.
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
        """Send all of ``data``."""
        self.sock.sendall(data)

    def get(self, path: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> None:
        """Send a request without a body; ``fields`` are whole lines without their ends."""
        lines = [f"{method} {path} HTTP/{version}", "Host: test.example", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))

    def pipeline(self, *paths: str, fields: str = "") -> None:
        """Send a GET for each of ``paths`` in one write; ``fields`` are whole lines with their ends."""
        self.send("".join(f"GET {path} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n" for path in paths).encode("latin-1"))

    def post(self, path: str, body: bytes, *fields: str) -> None:
        """Send a request with a body of known length."""
        lines = [f"POST {path} HTTP/1.1", "Host: test.example", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def half_close(self) -> None:
        """Send FIN, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close; what is unread makes it a RST, as the system does."""
        self.sock.close()

    # Receiving.

    def _fill(self) -> bool:
        """Read something; False at the end of the connection."""
        if self._ended:
            return False
        data = self.sock.recv(262144)
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
        """The next ``size`` bytes, whatever they are."""
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
        """The connection ends here, in order, with nothing before it."""
        rest = self.read_until_eof()
        if rest:
            raise FramingError(f"bytes after the response: {rest[:200]!r}")

    def expect_closed(self) -> bytes:
        """The connection ends, in order or by a RST; what came before that."""
        try:
            return self.read_until_eof()
        except ConnectionResetError:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data

    def expect_silence(self, seconds: float) -> None:
        """Nothing comes for ``seconds``, and the connection stays open."""
        if self._buffer:
            raise FramingError(f"unexpected bytes: {bytes(self._buffer[:200])!r}")
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(4096)
        except TimeoutError:
            return
        finally:
            self.sock.settimeout(before)
        raise FramingError(f"expected silence, got {data[:200]!r}")

    def _fields(self) -> list[tuple[bytes, bytes]]:
        fields = []
        while (line := self._line()) != b"\r\n":
            match = _field_line(line)
            if match is None:
                raise FramingError(f"no field line: {line!r}")
            fields.append((match[1].lower(), match[2]))
        return fields

    def read_head(self, method: str = "GET") -> Response:
        """The next head, informational ones too; its body is left unread and ``framing`` says how to read it."""
        line = self._line()
        match = _status_line(line)
        if match is None:
            raise FramingError(f"no status line: {line!r}")
        response = Response(match[1], int(match[2]), match[3], self._fields())
        response.framing = _framing(response, method)
        return response

    def read_chunk(self) -> bytes:
        """The data of the next chunk of a chunked body; empty for the last one, whose trailers are left unread."""
        line = self._line()
        match = _chunk_line(line)
        if match is None:
            raise FramingError(f"no chunk-size line: {line!r}")
        size = int(match[1], 16)
        data = self.read_exactly(size) if size else b""
        if size and self.read_exactly(2) != b"\r\n":
            raise FramingError("chunk data is not followed by CRLF")
        return data

    def read_response(self, method: str = "GET") -> Response:
        """One whole final response to ``method``, with the informational ones before it.

        Raises:
            FramingError: it breaks the grammar.
            Truncated: the connection ended inside of it, in order.
            ConnectionResetError: the connection was reset inside of it.
        """
        informational = []
        response = self.read_head(method)
        while response.status < 200:
            informational.append(response)
            if response.status == 101:
                break
            response = self.read_head(method)
        response.informational = informational
        self.read_body(response)
        return response

    def read_body(self, response: Response) -> None:
        """Read the body of a response whose head was read, into it."""
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

    def exchange(self, path: str = "/", *fields: str, method: str = "GET") -> Response:
        """Send a request without a body, and read its response."""
        self.get(path, *fields, method=method)
        return self.read_response(method)


def _framing(response: Response, method: str) -> str:
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
    if status < 200 or status == 204:
        # RFC 9110 §8.6, RFC 9112 §6.1: neither of the two with 1xx or 204.
        if length is not None or coding is not None:
            raise FramingError(f"{status} with content-length or transfer-encoding")
        return "none"
    if method == "HEAD" or status == 304:
        return "none"
    if coding is not None:
        return "chunked"
    return "close" if length is None else "length"


def recv_size(client: RawClient) -> int:
    """The size of the client's receive buffer, as the system made it."""
    value: Any = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return int(value)
