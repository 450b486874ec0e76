"""A process manager that wants to be told (systemd's Type=notify): the real command line with ``NOTIFY_SOCKET``."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.support.process import child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = """
import asyncio, os

at_import = os.environ.get("NOTIFY_SOCKET")
go_on = asyncio.Event()

async def app(scope, receive, send):
    if scope["path"] == "/slow":
        print("slow began", flush=True)
        await go_on.wait()
    go_on.set()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": repr([at_import, os.environ.get("NOTIFY_SOCKET")]).encode()})
"""
OPTIONS = ("main:app", "--port", "0", "--lifespan", "off", "--timeout-drain-idle", "0")


@pytest.fixture(
    params=[
        "path",
        pytest.param("abstract", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has the abstract namespace")),
    ]
)
def manager(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory(prefix="n-") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind(f"{folder}/s" if request.param == "path" else f"\0asgiserve-test-{os.getpid()}")
        yield sock


def variable(manager: socket.socket) -> dict[str, str]:
    name = manager.getsockname()
    return {"NOTIFY_SOCKET": name if isinstance(name, str) else "@" + name[1:].decode()}


def told(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(65536).decode().split("\n"))


def get(address: tuple[str, int]) -> bytes:
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_the_manager_is_told_once_the_server_accepts_and_as_soon_as_it_stops(tmp_path: Path, manager: socket.socket) -> None:
    with child(*OPTIONS, source=SOURCE, cwd=tmp_path, environment=variable(manager)) as running:
        ready = told(manager)
        host, _, port = ready["STATUS"].removeprefix("listening on http://").partition(":")
        assert ready == {"READY": "1", "STATUS": ready["STATUS"], "MAINPID": str(running.pid)}
        with socket.create_connection((host, int(port)), 20) as slow:
            slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            running.wait_line(lambda line: line == "slow began")
            running.signal(signal.SIGTERM)
            # While the request still runs.
            assert told(manager) == {"STOPPING": "1", "STATUS": "stopping"}
            assert running.exit_status is None
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
    assert "process manager" not in running.output


def test_the_application_and_what_it_starts_do_not_see_the_socket(tmp_path: Path, manager: socket.socket) -> None:
    with child(*OPTIONS, source=SOURCE, cwd=tmp_path, environment=variable(manager)) as running:
        assert get(running.address) == b"[None, None]"


def test_a_server_that_stops_by_itself_says_so(tmp_path: Path, manager: socket.socket) -> None:
    with child(*OPTIONS, "--limit-max-requests", "1", source=SOURCE, cwd=tmp_path, environment=variable(manager)) as running:
        assert told(manager)["READY"] == "1"
        get(running.address)
        assert told(manager)["STOPPING"] == "1"
        assert running.wait() == 0


def test_a_server_that_does_not_start_says_nothing(tmp_path: Path, manager: socket.socket) -> None:
    source = "async def app(scope, receive, send):\n    raise RuntimeError('no database')\n"
    with child("main:app", "--port", "0", "--lifespan", "on", source=source, cwd=tmp_path, environment=variable(manager)) as running:
        assert running.wait() == 3
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(65536)


def test_a_manager_that_is_not_there_is_one_warning_and_the_server_serves(tmp_path: Path) -> None:
    with child(*OPTIONS, source=SOURCE, cwd=tmp_path, environment={"NOTIFY_SOCKET": "/nowhere/socket"}) as running:
        assert get(running.address) == b"[None, None]"
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    (warning,) = [line for line in running.lines if "WARNING" in line]
    assert warning.endswith("the process manager cannot be told READY=1 at NOTIFY_SOCKET=/nowhere/socket: No such file or directory")
