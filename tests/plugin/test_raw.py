"""`RawConnection`: what it sends, what it reads, and what it does not forgive (RFC 9112)."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pytest_asgiserve.raw import FramingError, RawConnection, Truncated
from tests.support.apps import Receive, Scope, Send, described, echo, ok, respond
from tests.support.certificates import Certificates
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Pair:
    """A connection and the other end of it."""

    def __init__(self, client: RawConnection, peer: socket.socket) -> None:
        self.client = client
        self.peer = peer

    def says(self, data: bytes, *, ends: bool = True) -> None:
        """What the server sends."""
        self.peer.sendall(data)
        if ends:
            self.peer.shutdown(socket.SHUT_WR)


@pytest.fixture
def pair() -> Iterator[Pair]:
    # The kernel completes the connection before anybody accepts it: no thread is needed.
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        RawConnection(listener.getsockname(), timeout=5) as client,
        listener.accept()[0] as peer,
    ):
        peer.settimeout(5)
        yield Pair(client, peer)


# Reading.


@pytest.mark.parametrize(
    ("method", "data", "framing", "body"),
    [
        pytest.param("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "length", b"hello", id="length"),
        pytest.param("GET", b"HTTP/1.1 200 OK\r\n\r\nhello", "close", b"hello", id="close"),
        pytest.param("GET", b"HTTP/1.0 200 \r\n\r\nhello", "close", b"hello", id="http-1.0-without-reason"),
        pytest.param(
            "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "chunked", b"hello", id="chunked"
        ),
        pytest.param(
            "GET",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nB\r\nhello world\r\n0\r\n\r\n",
            "chunked",
            b"hello world",
            id="chunk-size-in-upper-case",
        ),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "none", b"", id="head"),
        pytest.param("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "none", b"", id="304"),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", "none", b"", id="204"),
    ],
)
def test_a_response_ends_where_its_framing_says(pair: Pair, method: str, data: bytes, framing: str, body: bytes) -> None:
    # RFC 9112 §6.3
    pair.says(data)
    response = pair.client.read_response(method)
    assert (response.framing, response.body) == (framing, body)
    pair.client.expect_eof()


def test_a_response_has_everything_that_came(pair: Pair) -> None:
    pair.says(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\nset-cookie: b\r\nconnection: Keep-Alive, CLOSE\r\n\r\n"
        b"1\r\na\r\n2\r\nbc\r\n0\r\nx-sum: 1\r\n\r\n"
    )
    response = pair.client.read_response()
    assert (response.version, response.status, response.reason) == (b"HTTP/1.1", 200, b"Fine")
    assert response.all(b"set-cookie") == [b"a", b"b"]
    assert response.one(b"transfer-encoding") == b"chunked"
    assert response.one(b"etag") is None
    assert response.closes
    assert response.chunks == [b"a", b"bc"]
    assert response.trailers == [(b"x-sum", b"1")]
    assert [(early.status, early.fields) for early in response.informational] == [(103, [(b"link", b"</a>")])]
    with pytest.raises(FramingError, match="set-cookie"):
        response.one(b"set-cookie")


def test_behind_a_101_nothing_is_read(pair: Pair) -> None:
    pair.says(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nother bytes")
    response = pair.client.read_response()
    assert (response.status, [one.status for one in response.informational]) == (101, [101])
    assert pair.client.read_exactly(5) == b"other"
    assert pair.client.read_until_eof() == b" bytes"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 200\r\n\r\n", id="no-space-behind-the-status"),
        pytest.param(b"http/1.1 200 OK\r\n\r\n", id="lower-case-version"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="short-status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nname : x\r\n\r\n", id="space-before-the-colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nname: x \r\n\r\n", id="space-behind-the-value"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", id="obs-fold"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n", id="nul"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na", id="length-twice"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na", id="no-number"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", id="length-and-chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", id="other-coding"),
        pytest.param(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", id="204-with-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", id="no-chunk-size"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", id="chunk-longer-than-its-size"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: " + b"x" * 70000, id="a-line-without-end"),
    ],
)
def test_what_is_no_response_is_not_forgiven(pair: Pair, data: bytes) -> None:
    pair.says(data)
    with pytest.raises(FramingError) as refused:
        pair.client.read_response()
    assert refused.type is FramingError


@pytest.mark.parametrize(
    ("data", "received"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: b\r\n", b"", id="head"),
        pytest.param(b"HTTP/1.1 200 OK\n\n", b"", id="bare-lf"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", b"hel", id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nl", b"he", id="chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n", b"he", id="last-chunk"),
    ],
)
def test_an_end_inside_of_a_response_says_what_had_come(pair: Pair, data: bytes, received: bytes) -> None:
    pair.says(data)
    with pytest.raises(Truncated) as cut:
        pair.client.read_response()
    assert cut.value.received == received


def test_a_reset_is_an_error_of_its_own(pair: Pair) -> None:
    pair.says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", ends=False)
    assert pair.client.read_head().status == 200
    RawConnection.reset(_as_connection(pair.peer))
    with pytest.raises(ConnectionResetError):
        pair.client.read_exactly(5)


def _as_connection(sock: socket.socket) -> RawConnection:
    """The other end with the methods of this one."""
    made = RawConnection.__new__(RawConnection)
    made.sock = sock
    return made


def test_every_wait_ends_with_the_timeout() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        RawConnection(listener.getsockname(), timeout=0.05) as client,
        pytest.raises(TimeoutError),
    ):
        client.read_response()


def test_silence_is_a_wait_in_which_nothing_happens(pair: Pair) -> None:
    pair.client.expect_silence(0.01)
    pair.says(b"x", ends=False)
    with pytest.raises(FramingError, match="b'x'"):
        pair.client.expect_silence(5)
    pair.peer.shutdown(socket.SHUT_WR)
    with pytest.raises(FramingError, match="the connection ended"):
        pair.client.expect_silence(5)


def test_bytes_behind_a_response_are_no_silence_and_no_end(pair: Pair) -> None:
    pair.says(b"HTTP/1.1 204 No Content\r\n\r\nmore")
    assert pair.client.read_response().status == 204
    with pytest.raises(FramingError, match="b'more'"):
        pair.client.expect_silence(5)
    with pytest.raises(FramingError, match="b'more'"):
        pair.client.expect_eof()


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_an_end_of_either_kind_gives_what_came_before(pair: Pair, how: str) -> None:
    if how == "rst":
        _as_connection(pair.peer).reset()
        assert pair.client.expect_closed() == b""
    else:
        pair.says(b"last words")
        assert pair.client.expect_closed() == b"last words"


# Sending.


def test_data_is_sent_slowly(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    # Instead of the pauses, a look at what has come at the other end until then.
    seen: list[tuple[float, bytes]] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: seen.append((seconds, pair.peer.recv(100))))
    pair.client.send_slowly(b"abcdefg", delay=3, size=3)
    assert seen == [(3, b"abc"), (3, b"def")]
    assert pair.peer.recv(100) == b"g"
    pair.client.send_slowly(b"hi")
    assert seen[2:] == [(0.01, b"h")]
    assert pair.peer.recv(100) == b"i"


def test_slowly_really_takes_its_time(pair: Pair) -> None:
    pair.peer.setblocking(False)
    began = time.monotonic()
    pair.client.send_slowly(b"abc", delay=0.02)
    assert time.monotonic() - began >= 0.04


@pytest.mark.parametrize("options", [{"size": 0}, {"size": -1}, {"delay": -0.1}])
def test_slowly_with_nonsense_is_refused(pair: Pair, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="size must be"):
        pair.client.send_slowly(b"abc", **options)


def test_a_half_closed_connection_still_reads(pair: Pair) -> None:
    pair.client.half_close()
    assert pair.peer.recv(100) == b""
    pair.says(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert pair.client.read_response().status == 204


def test_a_reset_is_seen_by_the_other_side(pair: Pair) -> None:
    pair.client.reset()
    with pytest.raises(ConnectionResetError):
        pair.peer.recv(100)


def test_the_requests_name_the_host_that_was_connected_to(pair: Pair) -> None:
    # RFC 9110 §7.2
    host = b"127.0.0.1:%d" % pair.client.sock.getpeername()[1]
    pair.client.get("/a", "X-One: 1", method="DELETE", version="1.0")
    assert pair.peer.recv(1000) == b"DELETE /a HTTP/1.0\r\nHost: %b\r\nX-One: 1\r\n\r\n" % host
    pair.client.post("/b", b"body", "X-Two: 2")
    assert pair.peer.recv(1000) == b"POST /b HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nX-Two: 2\r\n\r\nbody" % host
    pair.client.pipeline("/c", "/d", fields="X-Three: 3\r\n")
    assert pair.peer.recv(1000) == b"".join(b"GET %b HTTP/1.1\r\nHost: %b\r\nX-Three: 3\r\n\r\n" % (path, host) for path in (b"/c", b"/d"))


def test_the_host_can_be_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, RawConnection(listener.getsockname(), host="shop.example") as client:
        assert client.host == "shop.example"


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_an_ipv6_address_stands_in_brackets() -> None:
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        except OSError:
            pytest.skip("this system has no address ::1")
        client = stack.enter_context(RawConnection(listener.getsockname()[:2]))
        assert client.host == f"[::1]:{listener.getsockname()[1]}"


def test_a_refused_connection_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    # A socket that is left to the garbage collector would warn, and a warning is an error here.
    with pytest.raises(ConnectionRefusedError):
        RawConnection(address)


# A real server.


async def describe(scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, json.dumps(described(scope)).encode())


def test_a_real_server_answers() -> None:
    with serving(echo, lifespan="off") as running, RawConnection(running.address) as client:
        client.post("/", b"hello")
        assert client.read_response().body == b"hello"
        client.pipeline("/a", "/b")
        assert [client.read_response().status for _ in range(2)] == [200, 200]
        client.send_slowly(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi", delay=0.0005)
        assert client.read_response().body == b"hi"
        client.expect_eof()


def test_the_end_of_a_half_closed_connection_reaches_a_real_server() -> None:
    with serving(ok, lifespan="off") as running, RawConnection(running.address) as client:
        client.get()
        client.half_close()
        assert client.read_response().body == b"ok"
        client.expect_eof()


def test_over_a_unix_socket_the_host_is_a_name(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serving(describe, lifespan="off", uds=path), RawConnection(path) as client:
        shown = json.loads(client.exchange("/x").body)
    assert shown["headers"] == [["host", "localhost"]]


def test_an_encrypted_connection_reads_the_same_and_cannot_be_half_closed(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with (
        serving(describe, lifespan="off", **certificates.options) as running,
        RawConnection(running.address, tls=certificates.client_context()) as client,
    ):
        assert json.loads(client.exchange().body)["scheme"] == "https"
        with pytest.raises(ValueError, match="half-closed"):
            client.half_close()
        assert client.exchange().status == 200


def test_an_encrypted_connection_that_is_cut_has_no_orderly_end(tmp_path: Path) -> None:
    # RFC 9112 §9.8: without a close_notify nobody knows whether the server ended it.
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)

    def answer(listener: socket.socket) -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nhel")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        answered = thread.submit(answer, listener)
        with RawConnection(listener.getsockname(), tls=certificates.client_context(), timeout=5) as client:
            answered.result(5)
            assert client.read_head().framing == "close"
            with pytest.raises(ssl.SSLEOFError):
                client.read_until_eof()
