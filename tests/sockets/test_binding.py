"""Where the server listens: hosts and ports, UNIX sockets, inherited and given sockets, several at once; and each way in which that fails."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import Address, BindError, ConfigError, Server, StartupError
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import Receive, Scope, Send, described, ok, respond
from tests.support.process import child
from tests.support.serving import LOOPS, Serving, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no UNIX domain sockets")


NO_CONTENT = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})
"""


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each event loop."""
    return str(request.param)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def show(scope: Scope, _receive: Receive, send: Send) -> None:
    shown = described({key: scope[key] for key in ("server", "client", "scheme")})
    await respond(send, json.dumps(shown).encode())


def asked(target: tuple[str, int] | str) -> dict[str, Any]:
    with RawConnection(target) as client:
        shown: dict[str, Any] = json.loads(client.exchange().body)
        return shown


def started(**options: Any) -> Server:
    """A server that was started and stopped again."""

    async def run() -> Server:
        async with Server(ok, lifespan="off", **options) as server:
            assert server.started
        return server

    return asyncio.run(run())


# ---- what works --------------------------------------------------------------------------------------------------------------------


def test_port_0_is_chosen_by_the_system_and_told(loop: str) -> None:
    with serving(show, loop=loop, lifespan="off", port=0) as running:
        address = running.listener
        assert address == Address("http", "127.0.0.1", address.port)
        assert address.port
        assert address.url == str(address) == f"http://127.0.0.1:{address.port}"
        shown = asked(running.address)
        assert shown["server"] == ["127.0.0.1", address.port]
        assert shown["client"][0] == "127.0.0.1"


def test_every_interface_is_shown_as_a_url_that_can_be_opened() -> None:
    assert Address("http", "0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Address("https", "::", 443).url == "https://[::1]:443"
    assert Address("http", path="/run/x.sock").url == "http+unix:/run/x.sock"
    assert str(Address("http", path="/run/x.sock")) == "unix:/run/x.sock"


@ipv6
@pytest.mark.parametrize("options", [{"host": "::1", "port": 0}, {"bind": ["[::1]:0"]}], ids=["host", "bind"])
def test_ipv6(loop: str, options: dict[str, Any]) -> None:
    with serving(show, loop=loop, lifespan="off", **options) as running:
        assert running.url == f"http://[::1]:{running.address[1]}"
        shown = asked(running.address)
        # Two values each, the host without brackets.
        assert shown["server"] == ["::1", running.address[1]]
        assert shown["client"][0] == "::1"
        assert len(shown["client"]) == 2


@ipv6
def test_both_families_can_share_a_port(loop: str) -> None:
    with serving(show, loop=loop, lifespan="off", bind=["127.0.0.1:0"]) as first:
        port = first.address[1]
        with serving(show, loop=loop, lifespan="off", bind=[f"[::1]:{port}"]) as second:
            assert asked(first.address)["server"] == ["127.0.0.1", port]
            assert asked(second.address)["server"] == ["::1", port]


def test_a_name_is_resolved_and_all_of_its_addresses_get_one_port(loop: str) -> None:
    with serving(show, loop=loop, lifespan="off", host="localhost", port=0) as running:
        addresses = running.server.addresses
        assert {address.host for address in addresses} <= {"127.0.0.1", "::1"}
        assert len({address.port for address in addresses}) == 1
        for address in addresses:
            assert asked((address.host or "", address.port or 0))["server"] == [address.host, address.port]


@unix
@pytest.mark.parametrize("how", ["uds", "bind"])
def test_a_unix_socket(loop: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    options: dict[str, Any] = {"uds": str(path)} if how == "uds" else {"bind": [f"unix:{path}"]}
    with serving(show, loop=loop, lifespan="off", **options) as running:
        assert running.listener == Address("http", path=str(path))
        assert stat.S_ISSOCK(path.stat().st_mode)
        # A proxy may be another user, as with uvicorn.
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        # ASGI 2.2: the path, and None for the port; a client without an address.
        assert asked(str(path)) == {"server": [str(path), None], "client": None, "scheme": "http"}
    assert not path.exists()


@unix
def test_the_file_of_a_unix_socket_that_nobody_listens_on_is_replaced(loop: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    with serving(show, loop=loop, lifespan="off", uds=str(path)):
        assert asked(str(path))["client"] is None
    assert not path.exists()


@unix
def test_the_file_of_another_server_is_left_alone(loop: str, tmp_path: Path) -> None:
    # A new server took the path over before the old one ended.
    path = tmp_path / "socket"
    with serving(show, loop=loop, lifespan="off", uds=str(path)) as old:
        path.unlink()
        with serving(show, loop=loop, lifespan="off", uds=str(path)):
            old.stop()
            assert asked(str(path))["client"] is None
    assert not path.exists()


def listening(path: Path | None = None) -> socket.socket:
    if path is None:
        return socket.create_server(("127.0.0.1", 0))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


@pytest.mark.parametrize("how", ["fd", "bind", "sockets"])
def test_an_inherited_or_given_socket_is_used_and_closed_with_the_server(loop: str, how: str) -> None:
    sock = listening()
    name = sock.getsockname()
    number = sock.fileno()
    if how == "sockets":
        context = serving(show, loop=loop, lifespan="off", sockets=[sock])
    else:
        sock.detach()
        options: dict[str, Any] = {"fd": number} if how == "fd" else {"bind": [f"fd://{number}"]}
        context = serving(show, loop=loop, lifespan="off", **options)
    with context as running:
        assert running.address == name
        assert asked(name)["server"] == list(name)
    if how == "sockets":
        assert sock.fileno() == -1
    else:
        with pytest.raises(OSError):
            os.fstat(number)


@unix
@pytest.mark.parametrize("how", ["fd", "sockets"])
def test_the_file_of_an_inherited_or_given_unix_socket_is_its_owners(loop: str, how: str, tmp_path: Path) -> None:
    # A service manager made it, and hands it to the next server.
    path = tmp_path / "socket"
    sock = listening(path)
    options: dict[str, Any] = {"sockets": [sock]} if how == "sockets" else {"fd": sock.detach()}
    with serving(show, loop=loop, lifespan="off", **options):
        assert asked(str(path))["server"] == [str(path), None]
    assert path.exists()


def test_an_inherited_socket_of_the_command_line(loop: str, tmp_path: Path) -> None:
    with listening() as sock:
        source = NO_CONTENT
        with child(
            "main:app", "--fd", str(sock.fileno()), "--lifespan", "off", "--loop", loop, source=source, cwd=tmp_path, fds=(sock.fileno(),)
        ) as server:
            assert server.address == sock.getsockname()
            with RawConnection(server.address) as client:
                assert client.exchange().status == 204


@unix
def test_several_addresses_at_once(loop: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    inherited = listening()
    name = inherited.getsockname()
    with serving(show, loop=loop, lifespan="off", bind=["127.0.0.1:0", f"unix:{path}", f"fd://{inherited.detach()}", "127.0.0.1:0"]) as running:
        first, second, third, fourth = running.server.addresses
        assert (second.path, (third.host, third.port)) == (str(path), name)
        assert first.port != fourth.port
        for address in (first, third, fourth):
            assert asked((address.host or "", address.port or 0))["server"] == [address.host, address.port]
        assert asked(str(path))["server"] == [str(path), None]


# ---- what does not -----------------------------------------------------------------------------------------------------------------


def fails(kind: type[StartupError], **options: Any) -> str:
    """The one line that says why the server does not start."""
    with pytest.raises(kind) as caught:
        started(**options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert caught.value.__cause__ is None
    return message


def test_an_address_that_is_in_use(taken: int) -> None:
    message = fails(BindError, host="127.0.0.1", port=taken)
    assert f"127.0.0.1:{taken}" in message
    assert "already in use" in message


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the open descriptors are listed in Linux's /proc")
@unix
def test_nothing_stays_bound_where_one_of_several_addresses_fails(taken: int, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    before = sorted(entry.name for entry in Path("/proc/self/fd").iterdir())
    assert str(taken) in fails(BindError, bind=["127.0.0.1:0", f"unix:{path}", f"127.0.0.1:{taken}"])
    assert sorted(entry.name for entry in Path("/proc/self/fd").iterdir()) == before
    assert not path.exists()


def test_an_address_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    # As root there is no such port: the system's answer is given by hand.
    def bind(_: socket.socket, __: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "bind", bind)
        message = fails(BindError, host="127.0.0.1", port=80)
    assert "127.0.0.1:80" in message
    assert "permission denied" in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may listen on every port")
def test_a_privileged_port() -> None:
    assert "permission denied" in fails(BindError, host="127.0.0.1", port=1)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        pytest.param({"host": "no-such-host.invalid", "port": 0}, BindError, "no-such-host.invalid", id="unknown-name"),
        pytest.param({"host": "256.0.0.1", "port": 0}, BindError, "256.0.0.1", id="no-address"),
        # RFC 5737: an address for documentation, that no machine has.
        pytest.param({"host": "192.0.2.1", "port": 0}, BindError, "this machine has no such address", id="foreign-address"),
        pytest.param({"bind": ["192.0.2.1:0"]}, BindError, "192.0.2.1:0", id="bind-foreign-address"),
        pytest.param({"host": "127.0.0.1", "port": 65536}, ConfigError, "--port", id="port-too-large"),
        pytest.param({"host": "127.0.0.1", "port": -1}, ConfigError, "--port", id="port-negative"),
        pytest.param({"bind": ["127.0.0.1"]}, ConfigError, "127.0.0.1", id="bind-without-port"),
        pytest.param({"bind": ["127.0.0.1:x"]}, ConfigError, "127.0.0.1:x", id="bind-port-no-number"),
        pytest.param({"bind": ["127.0.0.1:65536"]}, ConfigError, "127.0.0.1:65536", id="bind-port-too-large"),
        pytest.param({"bind": ["::1:0"]}, ConfigError, "::1:0", id="bind-ipv6-without-brackets"),
        pytest.param({"bind": ["fd://x"]}, ConfigError, "fd://x", id="bind-fd-no-number"),
        pytest.param({"bind": ["127.0.0.1:\u0661"]}, ConfigError, "--bind", id="bind-port-other-digits"),
        pytest.param({"fd": 1_000_000}, BindError, "1000000", id="fd-not-open"),
        pytest.param({"bind": ["fd://1000000"]}, BindError, "1000000", id="bind-fd-not-open"),
        pytest.param({"uds": "x", "fd": 3}, ConfigError, "--uds and --fd", id="uds-and-fd"),
        pytest.param({"uds": "/no/such/folder/socket"}, BindError, "the directory does not exist", id="uds-folder", marks=unix),
        pytest.param({"uds": "/tmp/" + "x" * 200}, BindError, "path too long", id="uds-long", marks=unix),  # noqa: S108 - nothing is made there
        pytest.param({"bind": ["unix:"]}, ConfigError, "unix:", id="bind-unix-without-path", marks=unix),
        pytest.param({"uds": "/tmp/\0x"}, BindError, "cannot listen", id="uds-with-nul", marks=unix),  # noqa: S108 - as above
    ],
)
def test_an_address_that_makes_no_sense_is_one_clear_line(options: dict[str, Any], kind: type[StartupError], said: str) -> None:
    assert said in fails(kind, **options)


@unix
def test_a_unix_socket_that_somebody_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(path):
        assert "already in use" in fails(BindError, uds=str(path))
        assert path.exists()


@unix
def test_a_file_that_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data", encoding="ascii")
    assert "no socket" in fails(BindError, uds=str(path))
    assert path.read_text(encoding="ascii") == "data"


def test_descriptors_that_cannot_be_listened_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        assert "no stream socket" in fails(BindError, fd=datagrams.fileno())
        # It is still its owner's.
        assert datagrams.getsockname()
    with (tmp_path / "file").open("w") as file:
        assert str(file.fileno()) in fails(BindError, fd=file.fileno())
        file.write("still open")


def test_a_second_server_of_the_same_sockets_is_a_clear_error() -> None:
    sock = listening()
    sock.close()
    assert "closed" in fails(BindError, sockets=[sock])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["--port", "{taken}"], 1, "already in use", id="in-use"),
        pytest.param(["--host", "192.0.2.1"], 1, "no such address", id="foreign"),
        pytest.param(["--bind", "nonsense"], 2, "nonsense", id="nonsense"),
    ],
)
def test_the_command_line_says_it_in_one_line_and_fails(arguments: list[str], code: int, said: str, taken: int, tmp_path: Path) -> None:
    filled = [argument.format(taken=taken) for argument in arguments]
    with child("main:app", *filled, source="async def app(scope, receive, send): ...\n", cwd=tmp_path) as server:
        assert server.wait() == code
        assert len(server.lines) == 1
        assert server.lines[0].startswith("Error: ")
        assert said in server.lines[0]


def test_what_was_bound_is_closed_where_the_application_refuses_to_start(taken: int) -> None:
    assert taken
    sock = listening()
    name = sock.getsockname()

    async def refusing(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    running = Serving(Server(refusing, sockets=[sock], loop="asyncio"))
    with pytest.raises(StartupError, match="no database"):
        running.start()
    assert sock.fileno() == -1
    if sys.platform == "linux":
        with pytest.raises(ConnectionRefusedError), RawConnection(name):
            pass
