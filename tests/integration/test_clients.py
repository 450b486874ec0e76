"""Clients that people use, against the server: curl, httpx, aiohttp, websockets, urllib and http.client, each in the ways that differ on the wire.

Nothing that a client of good manners does makes the server log a warning.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import http.client
import json
import logging
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import aiohttp
import httpx
import pytest
import trustme
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client

from pytest_asgiserve.raw import RawConnection
from tests.support.apps import read_body, respond
from tests.support.serving import STACKS, serving
from tests.support.websocket import handshake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from tests.support.apps import Receive, Scope, Send
    from tests.support.records import Records
    from tests.support.serving import Serving

MIB = 1024 * 1024
LARGE = 24 * MIB
BLOCK = bytes(range(256)) * 256  # 64 KiB
CROSS = [param for param in STACKS if param.id in {"httptools-uvloop", "h11-asyncio"}]

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


# ---- the application


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what the query asks for; see the routes."""
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
        return
    await ROUTES.get(scope["path"], not_found)(scope, receive, send)


async def hello(scope: Scope, _receive: Receive, send: Send) -> None:
    """The peer, so that a reused connection can be told."""
    await respond(send, json.dumps({"peer": scope["client"], "version": scope["http_version"], "method": scope["method"]}).encode())


async def count(_scope: Scope, receive: Receive, send: Send) -> None:
    """The size and the hash of the body."""
    digest, size = hashlib.sha256(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message["body"])
        size += len(message["body"])
        if not message["more_body"]:
            break
    await respond(send, json.dumps({"size": size, "sha256": digest.hexdigest()}).encode())


async def download(scope: Scope, _receive: Receive, send: Send) -> None:
    """``size`` bytes, of a length that is told (``?length=1``) or not."""
    query = parse_qs(scope["query_string"].decode())
    size = int(query.get("size", [LARGE])[0])
    headers = [(b"content-length", b"%d" % size)] if "length" in query else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(size // len(BLOCK)):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": BLOCK[: size % len(BLOCK)]})


async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An answer that does not wait for the body."""
    await respond(send, b"not you", status=403)


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, await read_body(receive))


async def not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, b"not here", status=404)


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


ROUTES = {"/": hello, "/count": count, "/download": download, "/refuse": refuse, "/echo": echo}


def expected_download(size: int) -> bytes:
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


def digest_of(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


# ---- serving it


class Serve(Protocol):
    """Starts a server that runs until the end of the test."""

    def __call__(self, **options: Any) -> Serving: ...


@pytest.fixture(params=[pytest.param(tuple(param.values), id=param.id, marks=param.marks) for param in CROSS])
def serve(request: pytest.FixtureRequest, records: Records, no_noise: None) -> Iterator[Serve]:  # noqa: ARG001 - checked when the test is over
    parser, loop = request.param
    with contextlib.ExitStack() as servers:
        yield lambda **options: servers.enter_context(serving(options.pop("app", app), parser=parser, loop=loop, lifespan="off", **options))
    assert records.messages(level=logging.WARNING) == []


@pytest.fixture
def url(serve: Serve) -> str:
    """The application over plain TCP."""
    return serve().url


class Authority:
    """A certificate authority of our own, and a server certificate of it."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.key_file = str(folder / "key.pem")
        self.cert_file = str(folder / "cert.pem")
        certificate = self.ca.issue_cert("localhost", "127.0.0.1")
        self.ca.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_pem.write_to_path(self.key_file)
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(self.cert_file, append=True)

    @property
    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def server(self) -> dict[str, str]:
        return {"ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_url(serve: Serve, authority: Authority) -> str:
    """The application over TLS."""
    return serve(**authority.server).url


@pytest.fixture
def socket_path(serve: Serve, tmp_path: Path) -> str:
    """The application on a UNIX socket."""
    path = serve(uds=str(tmp_path / "s")).listener.path
    assert path is not None
    return path


# ---- curl


class Curl(NamedTuple):
    """What curl did."""

    code: int
    out: bytes
    log: str
    """What ``-v`` shows: the heads of both directions among it."""

    @property
    def requests(self) -> list[str]:
        return [line[2:] for line in self.log.splitlines() if line.startswith("> ")]

    @property
    def responses(self) -> list[str]:
        return [line[2:] for line in self.log.splitlines() if line.startswith("< ")]

    @property
    def statuses(self) -> list[str]:
        return [line for line in self.responses if line.startswith("HTTP/")]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def curl(*words: str, data: bytes = b"", code: int = 0) -> Curl:
    """Run curl with ``words``; ``code`` is the exit code that is expected."""
    done = subprocess.run(
        ["curl", "-q", "-sSv", "--noproxy", "*", "--max-time", "30", *words], input=data, capture_output=True, check=False, timeout=40
    )
    log = done.stderr.decode("utf-8", "replace").replace("\r\n", "\n")
    assert done.returncode == code, log
    return Curl(done.returncode, done.stdout, log)


@needs_curl
class TestCurl:
    def test_get(self, url: str) -> None:
        done = curl(url + "/")
        assert done.statuses == ["HTTP/1.1 200 OK"]
        assert done.json["version"] == "1.1"

    def test_head_has_the_fields_and_no_body(self, url: str) -> None:
        done = curl("--head", url + "/download?length=1&size=1000")
        assert done.statuses == ["HTTP/1.1 200 OK"]
        assert "content-length: 1000" in done.responses
        assert b"content-length: 1000\r\n" in done.out

    def test_three_requests_share_a_connection(self, url: str) -> None:
        done = curl(url + "/", url + "/", url + "/", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} ")
        assert done.out == b"1 0 0 "

    def test_a_form_and_a_large_file_are_uploaded(self, url: str, tmp_path: Path) -> None:
        assert curl("--data", "a=1&b=2", url + "/echo").out == b"a=1&b=2"
        large = tmp_path / "large"
        large.write_bytes(expected_download(LARGE))
        done = curl("-T", str(large), url + "/count")
        assert done.json == digest_of(large.read_bytes())

    def test_a_chunked_upload_from_a_pipe(self, url: str) -> None:
        data = expected_download(MIB)
        done = curl("-T", "-", url + "/count", data=data)
        assert "Transfer-Encoding: chunked" in done.requests
        assert done.json == digest_of(data)

    def test_100_continue_comes_before_the_body_is_sent(self, url: str) -> None:
        done = curl("-H", "Expect: 100-continue", "--expect100-timeout", "20", "--data-binary", "@-", url + "/echo", data=b"hello")
        assert done.statuses == ["HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"]
        assert done.out == b"hello"

    def test_a_refusal_comes_instead_of_100_and_the_body_is_never_sent(self, url: str) -> None:
        size = 5 * MIB
        done = curl(
            *("-H", "Expect: 100-continue", "--expect100-timeout", "20", "--data-binary", "@-", "-w", "|%{size_upload}", url + "/refuse"),
            data=bytes(size),
        )
        assert done.statuses == ["HTTP/1.1 403 Forbidden"]
        assert done.out == b"not you|0"

    def test_a_refusal_is_seen_though_the_body_is_under_way(self, url: str) -> None:
        # As much as the server promises to take (--max-drain-bytes); the connection is kept.
        done = curl("-H", "Expect:", "--data-binary", "@-", url + "/refuse", data=bytes(262_144))
        assert done.statuses == ["HTTP/1.1 403 Forbidden"]
        assert done.out == b"not you"

    def test_http_1_0_gets_a_body_that_ends_with_the_connection(self, url: str) -> None:
        done = curl("--http1.0", url + f"/download?size={MIB}", "-o", "-")
        assert done.out == expected_download(MIB)
        assert not [line for line in done.responses if line.lower().startswith(("transfer-encoding", "content-length"))]
        assert curl("--http1.0", url + "/").json["version"] == "1.0"

    def test_http_1_0_with_keep_alive_reuses_the_connection(self, url: str) -> None:
        words = ["--http1.0", "-H", "Connection: keep-alive", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} "]
        assert curl(*words, url + "/", url + "/").out == b"1 0 "

    @pytest.mark.parametrize("query", ["", "?length=1"])
    def test_a_large_download(self, url: str, query: str) -> None:
        assert hashlib.sha256(curl(url + "/download" + query).out).digest() == hashlib.sha256(expected_download(LARGE)).digest()

    def test_a_download_that_is_too_large_for_the_client_is_broken_off_without_noise(self, url: str, records: Records) -> None:
        curl("--max-filesize", "1000", url + f"/download?length=1&size={256 * MIB}", code=63)
        records.wait(lambda seen: seen.access)
        assert [access.outcome for access in records.access] == ["aborted"]

    def test_an_upgrade_to_http_2_that_is_not_taken_is_ignored(self, url: str) -> None:
        done = curl("--http2", url + "/")
        assert "Upgrade: h2c" in done.requests
        assert done.statuses == ["HTTP/1.1 200 OK"]

    def test_tls_is_verified_against_the_authority(self, tls_url: str, authority: Authority) -> None:
        done = curl("--cacert", authority.ca_file, tls_url + "/download?size=100000")
        assert done.out == expected_download(100_000)
        # With ALPN: curl offers h2 as well.
        assert "HTTP/1.1 200 OK" in done.statuses

    def test_an_unknown_authority_is_refused_by_the_client_and_no_noise_on_the_server(self, tls_url: str, authority: Authority) -> None:
        curl(tls_url + "/", code=60)
        assert curl("--cacert", authority.ca_file, tls_url + "/").statuses == ["HTTP/1.1 200 OK"]

    def test_plain_http_to_a_tls_port_ends_and_makes_no_noise(self, tls_url: str, authority: Authority) -> None:
        done = subprocess.run(
            ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "20", tls_url.replace("https", "http")],
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert done.returncode in {52, 56}  # an empty reply, or a reset
        assert curl("--cacert", authority.ca_file, tls_url + "/").statuses == ["HTTP/1.1 200 OK"]

    def test_a_unix_socket(self, socket_path: str) -> None:
        done = curl("--unix-socket", socket_path, "http://localhost/", "http://localhost/download?size=100000", "-o", "-", "-o", "-")
        peer, _, rest = done.out.partition(b"}")
        assert json.loads(peer + b"}")["peer"] is None
        assert rest == expected_download(100_000)


# ---- an application that never waits


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends for as long as it may, and does nothing that would let the event loop run."""
    await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": BLOCK})
    await send({"type": "http.response.start", "status": 200})
    while True:
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_endless_stream_ends_when_its_client_is_gone(serve: Serve, records: Records, kind: str) -> None:
    # A write that fails tells the connection a turn of the loop later; until then the transports swallow what they are given (S33, S63).
    running = serve(app=endless)
    with RawConnection(running.address) as raw:
        if kind == "http":
            raw.get("/")
        else:
            raw.send(handshake())
        assert raw.read_head().status in {101, 200}
        raw.read_exactly(MIB)
        raw.reset()
    records.wait(lambda seen: seen.access)
    assert [access.outcome for access in records.access] == ["aborted"]
    with RawConnection(running.address) as raw:
        raw.get("/")
        assert raw.read_head().status == 200


# ---- httpx


def client(**options: Any) -> httpx.Client:
    return httpx.Client(trust_env=False, timeout=30, **options)


class TestHttpx:
    def test_methods_and_reuse(self, url: str) -> None:
        with client(base_url=url) as session:
            first = session.get("/").json()
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                assert session.request(method, "/").json() == first | {"method": method}
            response = session.head("/download", params={"length": "1", "size": "1000"})
            assert response.headers["content-length"] == "1000"
            assert response.content == b""
            assert session.get("/").json() == first

    def test_a_large_upload(self, url: str) -> None:
        data = expected_download(LARGE)
        with client(base_url=url) as session:
            assert session.post("/count", content=data).json() == digest_of(data)

    def test_a_chunked_upload_by_generator(self, url: str) -> None:
        parts = [b"one", BLOCK, b"two" * 1000]
        with client(base_url=url) as session:
            assert session.post("/count", content=(part for part in parts)).json() == digest_of(b"".join(parts))

    def test_an_upload_that_nobody_reads_is_answered_and_the_next_request_works(self, url: str) -> None:
        with client(base_url=url) as session:
            for size in (10, 100_000):
                assert session.post("/refuse", content=bytes(size)).status_code == 403
                assert session.get("/").status_code == 200

    @pytest.mark.parametrize("query", ["", "?length=1"])
    def test_a_large_download(self, url: str, query: str) -> None:
        digest = hashlib.sha256()
        with client(base_url=url) as session, session.stream("GET", "/download" + query) as response:
            for part in response.iter_bytes():
                digest.update(part)
        assert digest.digest() == hashlib.sha256(expected_download(LARGE)).digest()

    def test_a_download_that_the_client_closes_is_aborted(self, url: str, records: Records) -> None:
        with client(base_url=url) as session, session.stream("GET", f"/download?size={256 * MIB}") as response:
            next(response.iter_raw())
        records.wait(lambda seen: seen.access)
        (access,) = records.access
        assert access.outcome == "aborted"
        assert access.sent_bytes < 256 * MIB

    def test_many_requests_at_once(self, url: str) -> None:
        async def run() -> None:
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as session:
                answers = await asyncio.gather(*(session.post("/echo", content=b"%d" % number) for number in range(100)))
            assert [answer.content for answer in answers] == [b"%d" % number for number in range(100)]

        asyncio.run(run())

    def test_tls_is_verified_against_the_authority(self, tls_url: str, authority: Authority) -> None:
        data = expected_download(MIB)
        with client(base_url=tls_url, verify=authority.client) as session:
            first = session.get("/").json()
            assert session.post("/count", content=data).json() == digest_of(data)
            assert session.get("/download", params={"size": len(data)}).content == data
            assert session.get("/").json() == first
        with client(base_url=tls_url) as session, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            session.get("/")

    def test_a_unix_socket(self, socket_path: str) -> None:
        with client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=socket_path)) as session:
            assert session.get("/").json()["peer"] is None
            assert session.post("/echo", content=b"x").content == b"x"


# ---- aiohttp


def in_a_session(test: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run ``test`` with a session of aiohttp's."""

    async def run() -> None:
        async with asyncio.timeout(30):
            connector = options.pop("connector", aiohttp.TCPConnector)
            async with aiohttp.ClientSession(connector=connector(**options)) as session:
                await test(session)

    asyncio.run(run())


class TestAiohttp:
    def test_methods_and_reuse(self, url: str) -> None:
        async def test(session: aiohttp.ClientSession) -> None:
            peers = []
            for _ in range(3):
                async with session.get(url + "/") as response:
                    peers.append((await response.json(content_type=None))["peer"])
            assert peers[0] == peers[1] == peers[2]
            async with session.head(url + "/download?length=1&size=10") as response:
                assert response.headers["Content-Length"] == "10"
            async with session.post(url + "/echo", data=b"body") as response:
                assert await response.read() == b"body"

        in_a_session(test)

    def test_expect_100_continue(self, url: str) -> None:
        async def test(session: aiohttp.ClientSession) -> None:
            async with session.post(url + "/echo", data=b"body", expect100=True) as response:
                assert await response.read() == b"body"

        in_a_session(test)

    def test_a_large_chunked_upload_and_download(self, url: str) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            for _ in range(LARGE // len(BLOCK)):
                yield BLOCK
                await asyncio.sleep(0)

        async def test(session: aiohttp.ClientSession) -> None:
            async with session.post(url + "/count", data=blocks()) as response:
                assert await response.json(content_type=None) == digest_of(expected_download(LARGE))
            digest = hashlib.sha256()
            async with session.get(url + "/download") as response:
                async for part in response.content.iter_any():
                    digest.update(part)
            assert digest.digest() == hashlib.sha256(expected_download(LARGE)).digest()

        in_a_session(test)

    def test_many_requests_at_once(self, url: str) -> None:
        async def one(session: aiohttp.ClientSession, number: int) -> bytes:
            async with session.post(url + "/echo", data=b"%d" % number) as response:
                return await response.read()

        async def test(session: aiohttp.ClientSession) -> None:
            assert await asyncio.gather(*(one(session, number) for number in range(100))) == [b"%d" % number for number in range(100)]

        in_a_session(test)

    def test_a_multipart_form(self, url: str) -> None:
        async def test(session: aiohttp.ClientSession) -> None:
            form = aiohttp.FormData()
            form.add_field("file", b"content", filename="name.txt")
            async with session.post(url + "/echo", data=form) as response:
                body = await response.read()
                assert b'filename="name.txt"' in body
                assert b"content" in body

        in_a_session(test)

    def test_tls_and_a_websocket_over_it(self, tls_url: str, authority: Authority) -> None:
        async def test(session: aiohttp.ClientSession) -> None:
            async with session.get(tls_url + "/") as response:
                assert response.status == 200
            async with session.ws_connect(tls_url + "/ws") as connection:
                await connection.send_str("over TLS")
                assert await connection.receive_str() == "over TLS"

        with warnings.catch_warnings():
            # aiohttp does not wait for the end of a WebSocket's TLS, and leaves its transport to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            in_a_session(test, ssl=authority.client)
            gc.collect()

    def test_a_unix_socket(self, socket_path: str) -> None:
        async def test(session: aiohttp.ClientSession) -> None:
            async with session.get("http://localhost/") as response:
                assert (await response.json(content_type=None))["peer"] is None
            async with session.ws_connect("http://localhost/ws") as connection:
                await connection.send_str("x")
                assert await connection.receive_str() == "x"

        in_a_session(test, connector=aiohttp.UnixConnector, path=socket_path)

    @pytest.mark.parametrize("compress", [0, 15, 9])
    def test_a_websocket(self, url: str, compress: int) -> None:
        async def test(session: aiohttp.ClientSession) -> None:
            async with session.ws_connect(url + "/ws", compress=compress, protocols=["one", "two"]) as connection:
                assert connection.protocol == "one"
                # What the server lets the client's window be: that of the websockets library, 12 bits; memory is what it costs.
                assert connection.compress == (12 if compress else 0)
                for text in ("", "text", "ünïcödé " * 10_000):
                    await connection.send_str(text)
                    assert await connection.receive_str() == text
                for data in (b"", b"\x00", BLOCK * 8):
                    await connection.send_bytes(data)
                    assert await connection.receive_bytes() == data
                await connection.ping()
                await connection.close(code=4000, message=b"bye")
                assert connection.close_code == 4000

        in_a_session(test)


# ---- websockets


class TestWebsockets:
    @pytest.mark.parametrize("compression", [None, "deflate"])
    def test_messages_and_pings(self, url: str, compression: str | None) -> None:
        address = url.replace("http", "ws") + "/ws"
        with websockets.sync.client.connect(address, compression=compression, proxy=None, max_size=None) as connection:
            assert [extension.name for extension in connection.protocol.extensions] == (["permessage-deflate"] if compression else [])
            for message in ("", "text", b"", b"\xff", "long " * 100_000, BLOCK * 16):
                connection.send(message)
                assert connection.recv(20) == message
            connection.send(["frag", "men", "ted"])
            assert connection.recv(20) == "fragmented"
            assert connection.ping().wait(20)

    def test_a_thousand_messages_keep_their_order(self, url: str) -> None:
        async def run() -> None:
            async with asyncio.timeout(30), websockets.asyncio.client.connect(url.replace("http", "ws") + "/ws", proxy=None) as connection:

                async def send() -> None:
                    for number in range(1000):
                        await connection.send(str(number))

                sending = asyncio.ensure_future(send())
                assert [await connection.recv() for _ in range(1000)] == [str(number) for number in range(1000)]
                await sending

        asyncio.run(run())

    def test_a_message_that_is_too_large_closes_with_1009(self, serve: Serve) -> None:
        url = serve(ws_max_size="64KiB").url
        with websockets.sync.client.connect(url.replace("http", "ws") + "/ws", proxy=None) as connection:
            connection.send("x" * 65537)
            with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
                connection.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009

    def test_a_subprotocol(self, url: str) -> None:
        options: dict[str, Any] = {"subprotocols": ["graphql-ws", "other"], "proxy": None}
        with websockets.sync.client.connect(url.replace("http", "ws") + "/ws", **options) as connection:
            assert connection.subprotocol == "graphql-ws"

    def test_tls(self, tls_url: str, authority: Authority) -> None:
        # On asyncio: the client with threads reads and writes its TLS socket at once, which CPython's ssl does not survive.
        async def run() -> None:
            address = tls_url.replace("http", "ws") + "/ws"
            async with asyncio.timeout(30), websockets.asyncio.client.connect(address, ssl=authority.client, proxy=None) as connection:
                await connection.send("over TLS")
                assert await connection.recv() == "over TLS"

        asyncio.run(run())

    def test_a_unix_socket(self, socket_path: str) -> None:
        with websockets.sync.client.unix_connect(socket_path, "ws://localhost/ws") as connection:
            connection.send(b"x")
            assert connection.recv(20) == b"x"


# ---- the standard library


class TestStandardLibrary:
    def test_urllib(self, url: str) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url + "/", timeout=20) as response:
            assert json.load(response)["version"] == "1.1"
        with opener.open(url + "/echo", data=b"a=1", timeout=20) as response:
            assert response.read() == b"a=1"
        with opener.open(url + "/download", timeout=20) as response:
            assert len(response.read()) == LARGE
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(url + "/nowhere", timeout=20)
        with refused.value as response:
            assert (response.code, response.read()) == (404, b"not here")

    def test_http_client_reuses_its_connection(self, url: str) -> None:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        with contextlib.closing(connection):
            peers = []
            for body in (None, b"x" * 100_000, None):
                connection.request("GET", "/", body=body)
                response = connection.getresponse()
                peers.append(json.load(response)["peer"])
            assert peers[0] == peers[1] == peers[2]
            connection.request("HEAD", "/download?length=1&size=7")
            response = connection.getresponse()
            assert (response.getheader("content-length"), response.read()) == ("7", b"")
            connection.request("POST", "/count", body=iter([b"one", b"two", BLOCK]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
            assert json.load(connection.getresponse()) == digest_of(b"onetwo" + BLOCK)

    def test_https(self, tls_url: str, authority: Authority) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=authority.client))
        with opener.open(tls_url + "/download?size=1000000", timeout=20) as response:
            assert response.read() == expected_download(1_000_000)
