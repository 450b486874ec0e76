"""Sending files: ``http.response.pathsend`` and ``http.response.zerocopysend``, in the clear (sendfile) and on TLS (ASGI extensions)."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import ClientDisconnected, LocalProtocolError
from pytest_asgiserve.raw import RawConnection, Truncated
from tests.support.apps import App, Message, Receive, Scope, Send, routes
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pytest_asgiserve import LiveServer
    from tests.sockets.conftest import Serve
    from tests.support.records import Records

CONTENT = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))
START: Message = {"type": "http.response.start", "status": 200}


def start(length: int | None = None, status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [] if length is None else [(b"content-length", b"%d" % length)]}


def path_message(path: object) -> Message:
    return {"type": "http.response.pathsend", "path": str(path)}


def file_message(file: Any, **keys: Any) -> Message:
    return {"type": "http.response.zerocopysend", "file": file, **keys}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def descriptors() -> set[str]:
    """The open descriptors of this process, but for the one that lists them."""
    return {entry.name for entry in Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd").iterdir()}


class Files:
    """A file, and what serves it."""

    def __init__(self, serve: Serve, folder: Path, tls: Certificates | None) -> None:
        self.path = folder / "content"
        self.path.write_bytes(CONTENT)
        self._serve = serve
        self._tls = tls
        self._context: ssl.SSLContext | None = tls.client_context() if tls is not None else None

    def serve(self, app: App, **options: Any) -> LiveServer:
        return self._serve(app, **(self._tls.options if self._tls is not None else {}), **options)

    def connect(self, running: LiveServer, **options: Any) -> RawConnection:
        return RawConnection(running.address, tls=self._context, **options)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["clear", "tls"])
def files(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path, certificates: Certificates) -> Files:
    return Files(serve, tmp_path, certificates if request.param == "tls" else None)


def sending(*messages: Message) -> App:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


# ---- pathsend ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [None, len(CONTENT)], ids=["no-length", "length"])
def test_pathsend_sends_the_whole_file_and_the_connection_goes_on(files: Files, length: int | None) -> None:
    running = files.serve(sending(start(length), path_message(files.path)))
    with files.connect(running) as client:
        for _ in range(2):
            response = client.exchange()
            assert (response.framing, response.one(b"content-length")) == ("length", b"%d" % len(CONTENT))
            assert response.body == CONTENT


def test_pathsend_to_an_http_1_0_client_has_a_length_as_well(files: Files) -> None:
    running = files.serve(sending(START, path_message(files.path)))
    with files.connect(running) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = client.read_response()
        assert (response.framing, response.body) == ("length", CONTENT)
        client.expect_eof()


def test_pathsend_is_in_step_with_what_is_pipelined_around_it(files: Files) -> None:
    running = files.serve(routes(file=sending(START, path_message(files.path))))
    with files.connect(running) as client:
        client.pipeline("/", "/file", "/", "/file", "/")
        assert [client.read_response().body for _ in range(5)] == [b"ok", CONTENT, b"ok", CONTENT, b"ok"]


def test_pathsend_of_an_empty_file(files: Files) -> None:
    files.path.write_bytes(b"")
    running = files.serve(sending(START, path_message(files.path)))
    with files.connect(running) as client:
        response = client.exchange()
        assert (response.framing, response.one(b"content-length"), response.body) == ("length", b"0", b"")
        assert client.exchange().status == 200


@pytest.mark.parametrize("kind", ["path", "file"])
@pytest.mark.parametrize("length", [None, len(CONTENT)], ids=["no-length", "length"])
def test_head_gets_the_length_and_no_bytes(files: Files, kind: str, length: int | None) -> None:
    # RFC 9110 §9.3.2, §8.6
    with files.path.open("rb") as file:
        running = files.serve(sending(start(length), path_message(files.path) if kind == "path" else file_message(file, offset=0)))
        with files.connect(running) as client:
            for _ in range(2):
                assert client.exchange(method="HEAD").one(b"content-length") == b"%d" % len(CONTENT)


@pytest.mark.parametrize("kind", ["path", "file"])
@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_gets_no_bytes_of_the_file(files: Files, status: int, kind: str) -> None:
    with files.path.open("rb") as file:
        running = files.serve(sending(start(None, status), path_message(files.path) if kind == "path" else file_message(file)))
        with files.connect(running) as client:
            for _ in range(2):
                response = client.exchange()
                assert (response.status, response.framing, response.body) == (status, "none", b"")


def refusing(path: Path) -> tuple[App, list[BaseException]]:
    """An application that answers 404 where the file cannot be sent."""
    caught: list[BaseException] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send(START)
            await send(path_message(path))
        except OSError as error:
            caught.append(error)
            if scope["path"] == "/raise":
                raise
            await send(body(b"never mind"))

    return app, caught


@pytest.mark.parametrize("why", ["missing", "folder", "fifo"])
def test_a_path_that_cannot_be_sent_raises_out_of_send_before_anything_is_sent(files: Files, records: Records, why: str) -> None:
    files.path.unlink()
    if why == "folder":
        files.path.mkdir()
    elif why == "fifo":
        os.mkfifo(files.path)
    app, caught = refusing(files.path)
    running = files.serve(app)
    with files.connect(running) as client:
        assert client.exchange("/").body == b"never mind"
        response = client.exchange("/raise")
        assert (response.status, response.one(b"connection")) == (500, b"close")
        client.expect_eof()
    running.stop()
    assert [isinstance(error, OSError) and not isinstance(error, ClientDisconnected) for error in caught] == [True, True]
    assert len(records.errors) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_raises_out_of_send(files: Files) -> None:
    files.path.chmod(0)
    app, caught = refusing(files.path)
    running = files.serve(app)
    with files.connect(running) as client:
        assert client.exchange("/").body == b"never mind"
    running.stop()
    assert [type(error) for error in caught] == [PermissionError]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param((START, body(b"x", more=True), "path"), id="body-then-path"),
        pytest.param((START, "file", "path"), id="file-then-path"),
    ],
)
def test_pathsend_is_not_mixed_with_anything(files: Files, messages: tuple[Any, ...]) -> None:
    # extensions.rst, Path Send
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        with files.path.open("rb") as file:
            for message in messages:
                if message == "path":
                    try:
                        await send(path_message(files.path))
                    except LocalProtocolError as error:
                        caught.append(error)
                elif message == "file":
                    await send(file_message(file, count=1, more_body=True))
                else:
                    await send(message)
        await send(body(b"!"))

    running = files.serve(app)
    with files.connect(running) as client:
        assert len(client.exchange().body) == 2
        assert client.exchange().status == 200
    running.stop()
    assert len(caught) == 2


def test_what_follows_pathsend_is_ignored(files: Files, records: Records) -> None:
    running = files.serve(sending(START, path_message(files.path), path_message(files.path), body(b"x")))
    with files.connect(running) as client:
        assert [client.exchange().body for _ in range(2)] == [CONTENT] * 2
    assert not records.errors


# ---- zerocopysend ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param({}, CONTENT, id="whole"),
        pytest.param({"offset": 0}, CONTENT, id="offset-0"),
        pytest.param({"offset": 1000}, CONTENT[1000:], id="offset"),
        pytest.param({"count": 1000}, CONTENT[:1000], id="count"),
        pytest.param({"offset": 7, "count": 2_000_000}, CONTENT[7:2_000_007], id="offset-and-count"),
        pytest.param({"offset": len(CONTENT) - 5, "count": 100}, CONTENT[-5:], id="count-beyond-the-end"),
        pytest.param({"offset": len(CONTENT)}, b"", id="offset-at-the-end"),
        pytest.param({"offset": len(CONTENT) + 5}, b"", id="offset-beyond-the-end"),
        pytest.param({"count": 0}, b"", id="count-0"),
        pytest.param({"offset": None, "count": None}, CONTENT, id="none"),
    ],
)
def test_zerocopysend_sends_the_part_that_is_asked_for(files: Files, keys: dict[str, Any], expected: bytes) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        with files.path.open("rb") as file:
            await send(START)
            await send(file_message(file, **keys))
            assert not file.closed
            # Without an offset the file's position is used, and moved; with one it is left alone.
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == (0 if keys.get("offset") is not None else len(expected))

    running = files.serve(app)
    with files.connect(running) as client:
        for _ in range(2):
            response = client.exchange()
            assert response.framing == "length"
            assert response.body == expected


def test_zerocopysend_goes_on_where_the_file_stands_and_mixes_with_bodies(files: Files) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        with files.path.open("rb") as file:
            await send(START)
            await send(body(b"<", more=True))
            await send(file_message(file, count=10, more_body=True))
            await send(body(b"|", more=True))
            await send(file_message(file, count=10, more_body=True))
            await send(file_message(file, offset=0, count=0, more_body=True))
            await send(file_message(file.fileno(), offset=2, count=2, more_body=True))
            await send(body(b">"))

    running = files.serve(app)
    with files.connect(running) as client:
        for _ in range(2):
            response = client.exchange()
            assert response.framing == "chunked"
            assert response.body == b"<" + CONTENT[:10] + b"|" + CONTENT[10:20] + CONTENT[2:4] + b">"


def test_zerocopysend_of_a_large_file_in_chunks(files: Files) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        with files.path.open("rb") as file:
            await send(START)
            await send(file_message(file, more_body=True))
            await send(body())

    running = files.serve(app)
    with files.connect(running) as client:
        for _ in range(2):
            response = client.exchange()
            assert (response.framing, response.body) == ("chunked", CONTENT)


@pytest.mark.parametrize(
    ("length", "count", "received"),
    [
        pytest.param(10, 11, 10, id="longer"),
        pytest.param(2_000_000, 2_500_000, 2_000_000, id="much-longer"),
        pytest.param(0, 1, 0, id="longer-than-0"),
    ],
)
def test_a_file_longer_than_the_content_length_is_truncated_and_the_connection_closed(files: Files, length: int, count: int, received: int) -> None:
    # S47
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        with files.path.open("rb") as file:
            await send(start(length))
            try:
                await send(file_message(file, count=count))
            except LocalProtocolError as error:
                caught.append(error)

    running = files.serve(app)
    with files.connect(running) as client:
        assert client.exchange().body == CONTENT[:received]
        client.expect_eof()
    running.stop()
    assert len(caught) == 1


def test_a_file_shorter_than_the_content_length_cuts_the_connection(files: Files) -> None:
    # S48
    with files.path.open("rb") as file:
        running = files.serve(sending(start(100), file_message(file, count=10)))
        with files.connect(running) as client, pytest.raises(Truncated) as caught:
            client.exchange()
    assert caught.value.received == CONTENT[:10]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"file": None}, id="none"),
        pytest.param({"file": True}, id="true"),
        pytest.param({"file": io.BytesIO(b"x")}, id="no-descriptor"),
        pytest.param({"file": 0, "offset": -1}, id="negative-offset"),
        pytest.param({"file": 0, "count": -1}, id="negative-count"),
        pytest.param({"file": 0, "count": "1"}, id="text-count"),
        pytest.param({"file": 0, "offset": 1.5}, id="broken-offset"),
    ],
)
def test_a_file_message_that_makes_no_sense_is_refused_before_anything_is_sent(files: Files, message: Message) -> None:
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send({"type": "http.response.zerocopysend", **message})
        except LocalProtocolError as error:
            caught.append(error)
        await send(body(b"still right"))

    running = files.serve(app)
    with files.connect(running) as client:
        assert client.exchange().body == b"still right"
    running.stop()
    assert len(caught) == 1


def test_a_closed_file_is_refused(files: Files) -> None:
    file = files.path.open("rb")
    file.close()
    running = files.serve(sending(START, file_message(file)))
    with files.connect(running) as client:
        assert client.exchange().status == 500


def test_a_stale_descriptor_raises_an_error_that_is_not_the_clients(files: Files, records: Records) -> None:
    number = 1_000_000  # beyond what the system hands out
    running = files.serve(sending(START, file_message(number)))
    with files.connect(running) as client:
        assert client.exchange().status == 500
    running.stop()
    assert len(records.errors) == 1


# ---- what goes wrong in the middle -------------------------------------------------------------------------------------------------


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(files: Files, records: Records) -> None:
    # Sparse, so that its size costs nothing; the reader stalls, the file shrinks, the reader reads on.
    size = 256 * 1024 * 1024
    os.truncate(files.path, size)
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send(path_message(files.path))
        except LocalProtocolError as error:
            caught.append(error)
            raise

    running = files.serve(routes(file=app))
    with files.connect(running, receive_buffer=65536) as client:
        client.get("/file")
        head = client.read_head()
        assert head.one(b"content-length") == b"%d" % size
        os.truncate(files.path, len(CONTENT))
        with pytest.raises(Truncated) as truncated:
            client.read_body(head)
        assert truncated.value.received.startswith(CONTENT)
    with files.connect(running) as client:
        assert client.exchange().body == b"ok"
    running.stop()
    assert len(caught) == 1
    assert len(records.errors) == 1
    assert [record.outcome for record in records.access] == ["short", ""]


@pytest.mark.parametrize("kind", ["path", "file"])
def test_a_client_that_goes_in_the_middle_of_a_file_is_a_disconnect_and_nothing_else(files: Files, records: Records, kind: str) -> None:
    os.truncate(files.path, 256 * 1024 * 1024)
    caught: list[BaseException] = []
    ended = threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        with files.path.open("rb") as file:
            await send(START)
            try:
                await send(path_message(files.path) if kind == "path" else file_message(file))
            except OSError as error:
                caught.append(error)
                raise
            finally:
                ended.set()

    running = files.serve(routes(file=app))
    client = files.connect(running, receive_buffer=65536)
    client.get("/file")
    client.read_head()
    client.read_exactly(1_000_000)
    client.reset()
    assert ended.wait(10)
    with files.connect(running) as other:
        assert other.exchange().body == b"ok"
    running.stop()
    assert [type(error) for error in caught] == [ClientDisconnected]
    assert not records.errors
    assert [record.outcome for record in records.access] == ["aborted", ""]


def test_a_reader_of_a_file_that_takes_nothing_is_cut_after_the_write_timeout(files: Files, records: Records) -> None:
    os.truncate(files.path, 256 * 1024 * 1024)
    ended = threading.Event()
    caught: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send(path_message(files.path))
        except OSError as error:
            caught.append(error)
            raise
        finally:
            ended.set()

    running = files.serve(app, timeout_write=0.3)
    with files.connect(running, receive_buffer=4096) as client:
        client.get()
        assert ended.wait(10)
        with pytest.raises((OSError, AssertionError)):
            client.read_response()
    running.stop()
    assert [type(error) for error in caught] == [ClientDisconnected]
    assert not records.errors
    assert len(records.access) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists() and not Path("/dev/fd").exists(), reason="nothing lists the open descriptors here")
def test_no_descriptor_is_left_behind(files: Files) -> None:
    os.truncate(files.path, 8 * 1024 * 1024)
    done = threading.Semaphore(0)

    def releasing(*messages: Message) -> App:
        inner = sending(*messages)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await inner(scope, receive, send)
            finally:
                done.release()

        return app

    running = files.serve(
        routes(
            whole=releasing(START, path_message(files.path)),
            missing=releasing(START, path_message(files.path / "not" / "there")),
            long=releasing(start(10), path_message(files.path)),
            short=releasing(start(1 << 40), path_message(files.path)),
        )
    )

    def once(path: str, *, leave: bool) -> None:
        with files.connect(running, receive_buffer=65536) as client:
            client.get(path)
            client.read_head()
            if leave:
                client.reset()
            else:
                client.expect_closed()
        assert done.acquire(timeout=10)

    def all_kinds() -> None:
        once("/whole", leave=True)
        once("/missing", leave=False)
        once("/long", leave=False)
        once("/short", leave=False)

    def settled() -> set[str]:
        # Nothing of a connection is left once the server has forgotten it.
        records_gone: Callable[[], bool] = lambda: not running.server._connections  # noqa: E731 - called on the loop
        for _ in range(1000):
            if running.run(records_gone):
                return descriptors()
        raise AssertionError("connections stay")

    all_kinds()
    before = settled()
    for _ in range(2):
        all_kinds()
    assert settled() == before
