"""Clients that leave a framework's application in the middle, and servers that stop under it: that is everybody's right, and no error.

Each test has a server of its own; what the logs hold is this server's alone.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
import warnings
from typing import TYPE_CHECKING

import pytest
import websockets.exceptions

from pytest_asgiserve.raw import RawConnection
from tests.integration.frameworks import CROSS, FRAMEWORKS, Framework, serve, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.records import Records


@pytest.fixture(autouse=True)
def _no_noise(no_noise: None) -> None:
    pass


CROSSED = [
    pytest.param(framework, *stack.values, id=f"{framework.name}-{stack.id}", marks=stack.marks) for framework in FRAMEWORKS for stack in CROSS
]
UPLOAD_HEAD = (
    b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n"
    b"Expect: 100-continue\r\n\r\n"
)
UPLOAD_BEGIN = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nno end of it'
BIG = 64 * 1024 * 1024  # more than the sockets' buffers hold


@contextlib.contextmanager
def files_left_open(framework: Framework) -> Iterator[None]:
    """Django, Quart and Litestar leave a file to the garbage collector where a client breaks off, and Python warns of that: theirs, not ours."""
    with warnings.catch_warnings():
        if framework.name in {"django", "quart", "litestar"}:
            warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def outcomes(records: Records) -> list[str]:
    return [access.outcome for access in records.access]


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize(("framework", "parser", "loop"), CROSSED)
def test_a_client_that_leaves_while_it_sends_is_no_error(framework: Framework, parser: str, loop: str, leave: str, file: Path) -> None:
    with files_left_open(framework), serve(framework, parser, loop, file) as served:
        with RawConnection(served.running.address) as raw:
            raw.send(UPLOAD_HEAD)
            # The application waits for the body: there is something to break off.
            assert raw.read_head().status == 100
            raw.send(UPLOAD_BEGIN)
            if leave == "reset":
                raw.reset()
        served.records.wait(lambda seen: seen.access)
    assert outcomes(served.records) == ["aborted" if leave == "reset" else "incomplete request"]
    assert served.records.errors == []


@pytest.mark.parametrize(("framework", "parser", "loop"), CROSSED)
def test_a_client_that_leaves_during_a_download_is_no_error(framework: Framework, parser: str, loop: str, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as opened:
        opened.truncate(BIG)
    with files_left_open(framework), serve(framework, parser, loop, big) as served:
        with RawConnection(served.running.address, receive_buffer=8192) as raw:
            raw.send(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.read_head().status == 200
            raw.read_exactly(1000)
            raw.reset()
        served.records.wait(lambda seen: seen.access)
    assert outcomes(served.records) == ["aborted"]
    assert served.records.access[0].sent_bytes < BIG
    assert served.records.errors == []


@pytest.mark.parametrize(("framework", "parser", "loop"), CROSSED)
def test_a_client_that_leaves_an_event_stream_or_a_websocket_is_no_error(framework: Framework, parser: str, loop: str, file: Path) -> None:
    with serve(framework, parser, loop, file) as served:
        with RawConnection(served.running.address) as raw:
            raw.send(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
            raw.read_head()
            assert raw.read_chunk() == b"data: 0\n\n"
            raw.reset()
        served.records.wait(lambda seen: seen.access)
        served.release()
        with websocket(served) as connection:
            connection.send("x")
            assert connection.recv(10) == "x"
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.socket.close()
            served.records.wait(lambda seen: len(seen.access) == 2)
    assert outcomes(served.records) == ["aborted", "aborted"]
    assert served.records.errors == []


@pytest.mark.parametrize(("framework", "parser", "loop"), CROSSED)
def test_stopping_ends_event_streams_and_websockets_and_runs_the_shutdown(framework: Framework, parser: str, loop: str, file: Path) -> None:
    graceful = 20.0 if framework.ends_streams else 0.3
    with (
        serve(framework, parser, loop, file, timeout_graceful_shutdown=graceful) as served,
        RawConnection(served.running.address) as raw,
        websocket(served) as connection,
    ):
        raw.send(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
        raw.read_head()
        assert raw.read_chunk() == b"data: 0\n\n"
        connection.send("x")
        assert connection.recv(10) == "x"
        served.running.stop()
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            connection.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        raw.expect_closed()
    warnings = [record.getMessage() for record in served.records.errors]
    assert warnings == ([] if framework.ends_streams else ["cancelling 1 request that did not finish in time"])
    assert served.site.journal == (["started", "stopped"] if framework.has_lifespan else [])


@pytest.mark.parametrize(("framework", "parser", "loop"), CROSSED)
def test_a_download_that_is_under_way_is_finished_when_the_server_stops(framework: Framework, parser: str, loop: str, tmp_path: Path) -> None:
    # Its length is known, so it ends by itself: nobody is told http.disconnect, at which Django, Quart and Litestar would cut it short.
    big = tmp_path / "big.bin"
    with big.open("wb") as opened:
        opened.truncate(BIG)
    with serve(framework, parser, loop, big, timeout_graceful_shutdown=30) as served:
        with RawConnection(served.running.address, receive_buffer=65536) as raw:
            raw.send(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = raw.read_head()
            assert head.framing == "length"
            raw.read_exactly(1000)
            served.running.server.stop()
            served.records.wait(lambda seen: "waiting for 1 running request" in seen.messages())
            left = BIG - 1000
            while left:
                left -= len(raw.read_exactly(min(left, 1024 * 1024)))
        served.running.stop()
    assert outcomes(served.records) == [""]
    assert served.records.errors == []
