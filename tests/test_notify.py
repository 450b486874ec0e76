"""systemd's notification protocol: what is sent, where to, and that nothing of it can hurt the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import notify
from asgiserve.notify import Notifier
from asgiserve.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="n-") as name:
        yield Path(name)


class Manager:
    """What listens at the other end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(SECONDS)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)

    def told(self) -> list[str]:
        """The assignments of the next message."""
        return self.sock.recv(65536).decode().split("\n")


@pytest.fixture(
    params=[
        "path",
        pytest.param("abstract", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has the abstract namespace")),
    ]
)
def manager(request: pytest.FixtureRequest, folder: Path) -> Iterator[Manager]:
    found = Manager(str(folder / "socket") if request.param == "path" else f"@asgiserve-test-{os.getpid()}")
    with found.sock:
        yield found


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "asgiserve.notify"]


def test_the_manager_is_told_that_the_server_accepts_and_that_it_stops(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    notifier.ready(["http://127.0.0.1:8000", "unix:/run/app"])
    assert manager.told() == ["READY=1", "STATUS=listening on http://127.0.0.1:8000, unix:/run/app", f"MAINPID={os.getpid()}"]
    notifier.stopping()
    assert manager.told() == ["STOPPING=1", "STATUS=stopping"]
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}], ids=["not-set", "empty"])
def test_without_a_manager_nothing_is_done(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delattr(socket, "socket")
    notifier = Notifier.from_environment(environ)
    notifier.ready([])
    notifier.stopping()
    assert warnings_of(caplog) == []


def test_the_variable_is_removed_so_that_no_child_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/manager")
    Notifier.from_environment()
    assert "NOTIFY_SOCKET" not in os.environ


@pytest.mark.parametrize("address", ["unix:/run/a\nMAINPID=1", "unix:/run/a\r\x00b", "unix:/run/\udcff"])
def test_an_address_cannot_add_an_assignment(manager: Manager, address: str) -> None:
    Notifier(manager.address).ready([address])
    message = manager.told()
    assert len(message) == 3
    assert message[1].startswith("STATUS=listening on unix:/run/")
    assert message[1].isprintable()
    assert message[2] == f"MAINPID={os.getpid()}"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        pytest.param("{folder}/nothing", "No such file or directory", id="nothing-there"),
        pytest.param("{folder}/closed", "Connection refused", id="nobody-listens"),
        pytest.param("{folder}/file", "Connection refused", id="a-file"),
        pytest.param("{folder}/stream", "Protocol wrong type for socket", id="a-stream-socket"),
        pytest.param("/" + "x" * 200, "AF_UNIX path too long", id="too-long"),
        pytest.param("run/socket", "it is neither an absolute path nor @name", id="relative"),
        pytest.param("vsock:2:1234", "it is neither an absolute path nor @name", id="vsock"),
    ],
)
def test_what_goes_wrong_is_one_warning_line(address: str, reason: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "file").touch()
    with contextlib.ExitStack() as stack:
        stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)).bind(str(folder / "stream"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as closed:
            closed.bind(str(folder / "closed"))
        address = address.format(folder=folder)
        notifier = Notifier(address)
        notifier.ready(["http://127.0.0.1:8000"])
        notifier.stopping()
    assert warnings_of(caplog) == [f"the process manager cannot be told READY=1 at NOTIFY_SOCKET={address}: {reason}"]
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_system_without_unix_sockets_is_one_warning_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    notifier = Notifier("/run/socket")
    notifier.ready([])
    notifier.stopping()
    assert warnings_of(caplog) == ["the process manager cannot be told READY=1 at NOTIFY_SOCKET=/run/socket: this system has no UNIX domain sockets"]


def fill(manager: Manager) -> int:
    """Fill the manager's queue; how many messages it holds."""
    count = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.connect(manager.sock.getsockname())
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.send(b"FULL=1")
                count += 1
    return count


def test_a_manager_that_does_not_read_is_waited_for_and_not_for_ever(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert fill(manager) > 0
    monkeypatch.setattr(notify, "_SEND_SECONDS", 0.05)
    Notifier(manager.address).ready([])
    assert warnings_of(caplog) == [f"the process manager cannot be told READY=1 at NOTIFY_SOCKET={manager.address}: timed out"]


def test_a_manager_that_reads_late_is_told_all_the_same(manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    count = fill(manager)
    monkeypatch.setattr(notify, "_SEND_SECONDS", SECONDS)
    sender = threading.Thread(target=Notifier(manager.address).stopping)
    sender.start()
    messages = [manager.told()[0] for _ in range(count + 1)]
    sender.join(SECONDS)
    assert messages == ["FULL=1"] * count + ["STOPPING=1"]
    assert warnings_of(caplog) == []


# ---- the end, as the server tells it


async def echo_lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Its lifespan writes down what it was told."""
    for _ in range(2):
        message = await receive()
        scope["state"].setdefault("told", []).append(message["type"])
        await send({"type": f"{message['type']}.complete"})


def test_a_server_says_that_it_stops_before_anything_of_it_ends() -> None:
    seen: list[list[str]] = []
    server = Server(echo_lifespan, port=0, lifespan="on")
    asyncio.run(server.serve(on_started=lambda running: running.stop(), on_stopping=lambda stopping: seen.append(stopping.state["told"][:])))
    assert seen == [["lifespan.startup"]]
    assert server.state["told"] == ["lifespan.startup", "lifespan.shutdown"]


def test_whoever_fails_when_told_of_the_end_does_not_keep_it_from_being_orderly() -> None:
    def fails(_: Server) -> None:
        raise RuntimeError("not now")

    server = Server(echo_lifespan, port=0, lifespan="on")
    with pytest.raises(RuntimeError, match="not now"):
        asyncio.run(server.serve(on_started=lambda running: running.stop(), on_stopping=fails))
    assert server.state["told"] == ["lifespan.startup", "lifespan.shutdown"]
