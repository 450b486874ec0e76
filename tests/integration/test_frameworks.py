"""Every framework behind the server, over real sockets: each route of `apps.common` answers as the framework meant it, and nothing is noisy.

The server must not log a warning, and nobody else either (asyncio of tasks, a framework of its server), but for ``/boom``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
import pytest
import websockets.exceptions

from pytest_asgiserve.raw import RawConnection
from tests.integration.apps.common import CHUNKS, CLOSE_CODE, CLOSE_REASON, CLOSE_WORD, COOKIES, EVENTS, HELLO, STATE
from tests.integration.frameworks import CROSS, FRAMEWORKS, serve, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.frameworks import Served


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((framework, *stack.values), id=f"{framework.name}-{stack.id}", marks=stack.marks) for framework in FRAMEWORKS for stack in CROSS
    ],
)
def served(request: pytest.FixtureRequest, file: Path) -> Iterator[Served]:
    """A framework, served to all tests of this module one after the other."""
    framework, parser, loop = request.param
    with serve(framework, parser, loop, file) as running:
        yield running
    unexpected = [message for message in running.records.messages(level=logging.WARNING) if "/boom" not in message]
    assert unexpected == []
    assert running.site.journal == (["started", "stopped"] if framework.has_lifespan else [])


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.running.url, trust_env=False, timeout=10) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_noise(no_noise: None) -> None:
    pass


def test_a_simple_request_is_answered_with_the_servers_fields(client: httpx.Client) -> None:
    response = client.get("/hello")
    assert response.status_code == 200
    assert response.text == HELLO
    assert response.headers["content-length"] == str(len(HELLO))
    assert response.headers["content-type"].startswith("text/plain")
    assert len(response.headers.get_list("server")) == len(response.headers.get_list("date")) == 1
    assert response.headers["server"] == "asgiserve"


def test_one_connection_is_reused_for_all_requests(served: Served) -> None:
    with RawConnection(served.running.address) as raw:
        for _ in range(3):
            raw.send(f"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:{served.running.address[1]}\r\n\r\n".encode())
            response = raw.read_response()
            assert (response.status, response.body) == (200, HELLO.encode())
            assert not response.closes
            assert response.framing == "length"


@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_000])
def test_a_body_comes_back_as_it_was_sent(client: httpx.Client, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    response = client.post("/echo", content=body)
    assert response.status_code == 200
    assert response.content == body


def test_a_chunked_body_comes_back_as_it_was_sent(client: httpx.Client) -> None:
    parts = [b"a", b"b" * 100_000, b"c" * 5]
    response = client.post("/echo", content=iter(parts))
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert response.content == b"".join(parts)


def test_json_goes_both_ways(client: httpx.Client) -> None:
    value = {"name": "Zoë", "numbers": [1, 2.5, None], "nested": {"ok": True}}
    response = client.post("/json", json=value)
    assert response.status_code == 200
    assert response.json() == {"received": value}


def test_a_stream_of_unknown_length_is_chunked(served: Served) -> None:
    with RawConnection(served.running.address) as raw:
        raw.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = raw.read_response()
    assert response.framing == "chunked"
    assert response.body == b"".join(CHUNKS)
    # At least as many as there are; Django splits the large one.
    assert len(response.chunks) >= len([chunk for chunk in CHUNKS if chunk])


def test_server_sent_events_arrive_when_they_are_made(served: Served, client: httpx.Client) -> None:
    served.hold()
    with client.stream("GET", "/sse") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in response.iter_lines() if line)
        assert next(lines) == f"data: {EVENTS[0]}"
        served.release()
        assert list(lines) == [f"data: {event}" for event in EVENTS[1:]]


def test_an_uploaded_file_arrives_whole(client: httpx.Client) -> None:
    content = bytes(range(256)) * 1000
    response = client.post("/upload", files={"file": ("ä name.bin", content, "application/octet-stream")})
    assert response.status_code == 200
    assert response.json() == {"name": "ä name.bin", "size": len(content)}


def test_fields_of_request_and_response_arrive(client: httpx.Client) -> None:
    response = client.get("/headers", headers=[("X-One", "1"), ("X-Value", 'a, b;c="d"')])
    seen = {name.lower(): value for name, value in response.json()}
    assert seen["x-one"] == "1"
    assert seen["x-value"] == 'a, b;c="d"'
    assert seen["host"] == response.request.headers["host"]
    assert response.headers["x-answer"] == "yes"


def test_two_cookies_are_two_fields(client: httpx.Client) -> None:
    response = client.get("/cookies")
    lines = response.headers.get_list("set-cookie")
    assert [line.partition(";")[0] for line in lines] == [f"{name}={value}" for name, value in COOKIES.items()]


def test_an_exception_is_500_and_logged_once_and_the_next_request_is_served(
    served: Served, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(served.records.errors)
    response = client.get("/boom")
    assert response.status_code == 500
    assert client.get("/hello").text == HELLO
    caplog.clear()  # Django, Quart and Litestar log it themselves
    errors = served.records.errors[before:]
    assert [record.getMessage() for record in errors] == ["GET /boom: exception in the application"] * served.framework.raises_to_server
    for record in errors:
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == "boom"


def test_background_work_does_not_delay_the_response_nor_the_next_request(served: Served, client: httpx.Client) -> None:
    if not served.framework.has_background:
        pytest.skip("Django has no background tasks")
    served.hold()
    assert "in the background" in client.get("/background").text
    assert client.get("/hello").text == HELLO
    assert not served.site.background_done.is_set()
    served.release()
    served.running.run(served.site.background_done.wait())


def test_the_lifespans_state_reaches_the_requests(served: Served, client: httpx.Client) -> None:
    if not served.framework.has_lifespan:
        pytest.skip("Django has no lifespan")
    assert client.get("/state").text == STATE
    assert served.site.journal == ["started"]


def test_a_file_is_downloaded_whole(served: Served, client: httpx.Client) -> None:
    response = client.get("/file")
    content = served.site.file.read_bytes()
    assert response.content == content
    assert response.headers["content-length"] == str(len(content))
    assert response.headers["content-disposition"].startswith("attachment")


def test_an_unknown_path_is_the_frameworks_404(client: httpx.Client) -> None:
    assert client.get("/nowhere").status_code == 404


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_websocket_echoes_text_and_bytes(served: Served, compression: str | None) -> None:
    with websocket(served, compression=compression) as connection:
        for message in ("text", "", "ünïcödé", b"bytes", b"\x00\xff", "long " * 50_000, b"\x01" * 300_000):
            connection.send(message)
            assert connection.recv(10) == message


def test_a_websocket_closes_with_the_applications_code_and_reason(served: Served) -> None:
    with websocket(served) as connection:
        connection.send(CLOSE_WORD)
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            connection.recv(10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (CLOSE_CODE, CLOSE_REASON)
