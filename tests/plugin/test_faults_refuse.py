"""``refuse()``: new connections get ECONNREFUSED, the address stays the server's, and everything is as it was afterwards."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pytest_asgiserve import faults
from pytest_asgiserve.listening import Refusal, bind_loopback
from pytest_asgiserve.raw import RawConnection
from tests.support.faulty import WIRES, FaultyApp, Wire, start

if TYPE_CHECKING:
    from pytest_asgiserve.live import LiveServer

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux can switch a listening socket off")


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    chosen: Wire = request.param
    return chosen


def target(server: LiveServer) -> Any:
    return server.uds if server.uds is not None else (server.host, server.port)


def refused(server: LiveServer) -> bool:
    try:
        with server.connect():
            return False
    except ConnectionRefusedError:
        return True


def test_new_connections_are_refused_while_the_block_runs(wire: Wire) -> None:
    with start(FaultyApp(), wire) as server, server.connect() as before:
        assert before.exchange("/a").body == b"hello from /a"
        for _ in range(3):
            with server.faults(faults.refuse()) as rule:
                assert [refused(server) for _ in range(3)] == [True, True, True]
                # Who was connected is served.
                assert before.exchange("/b").body == b"hello from /b"
            with server.connect() as after:
                assert after.exchange("/c").body == b"hello from /c"
            assert rule.used == 0


def test_who_connected_just_before_the_block_is_served(wire: Wire) -> None:
    if wire.kind == "tls":
        pytest.skip("a TLS client has heard of the server before its connection is there")
    with start(FaultyApp(), wire) as server:
        # The kernel completes them; the server may not have looked yet.
        waiting = [RawConnection(target(server)) for _ in range(20)]
        with server.faults(faults.refuse()):
            for connection in waiting:
                with connection:
                    assert connection.exchange("/a").body == b"hello from /a"


def test_blocks_of_it_nest(wire: Wire) -> None:
    with start(FaultyApp(), wire) as server:
        with server.faults(faults.refuse()):
            with server.faults(faults.refuse()):
                assert refused(server)
            assert refused(server)
        assert not refused(server)


def test_the_port_stays_the_servers() -> None:
    with start(FaultyApp()) as server:
        with server.faults(faults.refuse()):
            for reuse in (0, 1):
                with socket.socket() as thief:
                    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                    with pytest.raises(OSError, match="in use"):
                        thief.bind((server.host, server.port))
        assert not refused(server)


@pytest.mark.parametrize("options", [{"port": 0}, {"bind": ["127.0.0.1:0", "127.0.0.1:0"]}], ids=["one", "two"])
def test_a_port_that_the_system_chose_is_kept_as_well(options: dict[str, Any]) -> None:
    with start(FaultyApp(), **options) as server:
        ports = [address.port for address in server.server.addresses]
        for _ in range(2):
            with server.faults(faults.refuse()):
                for port in ports:
                    with pytest.raises(ConnectionRefusedError):
                        RawConnection(("127.0.0.1", port or 0))
            for port in ports:
                with RawConnection(("127.0.0.1", port or 0)) as connection:
                    assert connection.exchange("/a").status == 200


def test_a_server_stops_while_it_refuses(wire: Wire) -> None:
    with start(FaultyApp(), wire) as server, server.faults(faults.refuse()):
        folder = Path(server.uds).parent if server.uds is not None else None
        server.stop()
    assert folder is None or not folder.exists()


def test_a_server_drains_while_it_refuses(wire: Wire, tmp_path: Path) -> None:
    options = {"uds": str(tmp_path / "s")} if wire.kind == "uds" else {}
    with start(FaultyApp(), wire, **options) as server, server.faults(faults.refuse()):
        server.drain(timeout=5)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_refuse_goes_on_as_it_was() -> None:
    with start(FaultyApp(), uds=True) as server:
        assert server.uds is not None
        path = Path(server.uds)
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(RuntimeError, match="cannot be switched off: No such file"), server.faults(faults.refuse()):
            pass
        path.with_name("elsewhere").rename(path)
        with server.connect() as connection:
            assert connection.exchange("/a").status == 200


def test_httpx_says_that_it_could_not_connect() -> None:
    with start(FaultyApp()) as server:
        client = server.new_client(timeout=5)
        with server.faults(faults.refuse()), pytest.raises(httpx.ConnectError):
            client.get("/a")
        assert client.get("/a").text == "hello from /a"


def test_it_needs_a_running_server() -> None:
    server = start(FaultyApp())
    with server:
        pass
    with pytest.raises(RuntimeError, match=r"refuse\(\) needs a running server"), server.faults(faults.refuse()):
        pass


def test_the_limit_on_connections_holds_behind_it() -> None:
    with start(FaultyApp(), limit_connections=1) as server:
        with server.connect() as first:
            assert first.exchange("/a").status == 200
            with server.faults(faults.refuse()):
                assert refused(server)
            # There is no room: the next one waits in the backlog, as without the block.
            second = server.connect(timeout=5)
            second.get("/b")
            second.expect_silence(0.05)
        assert second.read_response().body == b"hello from /b"


def test_refusing_again_begins_where_the_limit_let_go() -> None:
    with start(FaultyApp(), limit_connections=1) as server:
        first = server.connect()
        assert first.exchange("/a").status == 200
        with server.faults(faults.refuse()):
            # The server has room again, and still does not watch what is switched off.
            first.close()
            server.settle()
            assert refused(server)
        assert not refused(server)


def test_a_loopback_socket_keeps_its_port_while_it_does_not_listen() -> None:
    with bind_loopback() as sock:
        name = sock.getsockname()
        assert name[0] == "127.0.0.1"
        sock.listen(5)
        refusal = Refusal([sock], 5)
        refusal.begin()
        assert sock.getsockname() == name
        with pytest.raises(ConnectionRefusedError):
            RawConnection(name)
        refusal.end()
        with RawConnection(name):
            pass


def test_what_cannot_be_switched_off_is_left_as_it_was(tmp_path: Path) -> None:
    with bind_loopback() as good, socket.socket(socket.AF_UNIX) as abstract:
        good.listen(5)
        abstract.bind(b"\0" + os.fsencode(str(tmp_path))[-60:])
        abstract.listen(5)
        with pytest.raises(RuntimeError, match="a UNIX socket without a file"):
            Refusal([good, abstract], 5).begin()
        with RawConnection(good.getsockname()):
            pass


def test_a_socket_file_that_is_gone_cannot_be_hidden(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(5)
        path.unlink()
        with pytest.raises(RuntimeError, match="cannot be switched off: No such file"):
            Refusal([sock], 5).begin()


def test_other_systems_hear_that_they_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind_loopback() as sock:
        sock.listen(5)
        monkeypatch.setattr("pytest_asgiserve.listening.sys.platform", "darwin")
        with pytest.raises(RuntimeError, match="needs Linux"):
            Refusal([sock], 5).begin()
        monkeypatch.undo()
        with RawConnection(sock.getsockname()):
            pass
