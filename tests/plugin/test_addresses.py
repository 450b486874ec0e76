"""Where a live server listens, and what its clients get for it: TLS with an authority, client certificates, UNIX sockets, root_path."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asgiserve.errors import ConfigError
from pytest_asgiserve.authority import session_authority
from tests.support.serving import PARSERS

if TYPE_CHECKING:
    from pytest_asgiserve import LiveServer, LiveServerFactory


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with what it was told of the connection."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": json.dumps(facts(scope))})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(facts(scope)).encode()})


def facts(scope: dict[str, Any]) -> dict[str, Any]:
    return {
        "scheme": scope["scheme"],
        "path": scope["path"],
        "root_path": scope["root_path"],
        "client_name": (scope["extensions"].get("tls") or {}).get("client_cert_name"),
        "has_client": scope["client"] is not None,
    }


@pytest.fixture
def asgi_app() -> Any:
    return app


pytestmark = pytest.mark.asgiserve(lifespan="off")


# ---- TLS ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_every_client_trusts_a_server_with_tls(live_server_factory: LiveServerFactory, parser: str, loop: str) -> None:
    server = live_server_factory(tls=True, http=parser, loop=loop)
    assert server.url == f"https://127.0.0.1:{server.port}"
    assert server.ws_url("/chat") == f"wss://127.0.0.1:{server.port}/chat"
    assert server.client.get("/a").json()["scheme"] == "https"
    with server.ws("/b") as ws:
        assert ws.receive_json()["scheme"] == "wss"
    with server.connect() as raw:
        assert raw.exchange("/c").status == 200

    async def fetch() -> dict[str, Any]:
        async with server.async_client() as client:
            answer: dict[str, Any] = (await client.get("/d")).json()
            return answer

    assert asyncio.run(fetch())["scheme"] == "https"


@pytest.mark.asgiserve(tls=True)
def test_a_client_that_does_not_trust_the_authority_is_not_served(live_server: LiveServer) -> None:
    with httpx.Client(trust_env=False) as stranger, pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        stranger.get(live_server.url)
    assert live_server.exchanges() == []


@pytest.mark.asgiserve(tls=True)
def test_the_certificate_is_for_localhost_too_and_its_authority_is_a_file(live_server: LiveServer) -> None:
    context = ssl.create_default_context(cafile=live_server.authority.certificate_file)
    with httpx.Client(verify=context, trust_env=False) as client:
        for host in ("localhost", "127.0.0.1"):
            assert client.get(f"https://{host}:{live_server.port}/").status_code == 200


def test_two_servers_have_one_authority(live_server_factory: LiveServerFactory) -> None:
    one, two = live_server_factory(tls=True), live_server_factory(tls=True)
    assert one.authority is two.authority is session_authority()
    # So one client can talk to both.
    assert one.client.get(two.url).json()["scheme"] == "https"


@pytest.mark.asgiserve(tls=True, ssl_cert_reqs=2)
def test_a_client_certificate_is_asked_for_and_the_application_hears_its_name(live_server: LiveServer) -> None:
    alice = live_server.new_client(certificate="alice@example.org")
    assert "alice@example.org" in alice.get("/").json()["client_name"]
    with live_server.ws("/", certificate="bob@example.org") as ws:
        assert "bob@example.org" in ws.receive_json()["client_name"]
    with live_server.connect(certificate="carol@example.org") as raw:
        assert b"carol@example.org" in raw.exchange("/").body
    # Without one, TLS 1.3 tells the client at its first read.
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        live_server.client.get("/")


@pytest.mark.asgiserve(tls=True, ssl_cert_reqs=1)
def test_an_optional_client_certificate_may_be_left_out(live_server: LiveServer) -> None:
    assert live_server.client.get("/").json()["client_name"] is None
    assert "dave@example.org" in live_server.new_client(certificate="dave@example.org").get("/").json()["client_name"]


def test_a_client_certificate_for_a_server_without_tls_is_a_mistake(live_server: LiveServer) -> None:
    with pytest.raises(ConfigError, match="a client certificate needs a server with tls=True"):
        live_server.new_client(certificate="alice@example.org")


def test_a_certificate_of_ones_own_is_trusted_by_the_servers_clients(live_server_factory: LiveServerFactory, tmp_path: Path) -> None:
    import trustme  # noqa: PLC0415 - the one test with a certificate of another kind

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in [*issued.cert_chain_pems, authority.cert_pem]))
    issued.private_key_pem.write_to_path(key)
    server = live_server_factory(ssl_certfile=chain, ssl_keyfile=key)
    assert server.client.get("/").json()["scheme"] == "https"


def test_without_trustme_tls_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["trustme"] = None
from pytest_asgiserve import LiveServer
from asgiserve import ConfigError
async def app(scope, receive, send): ...
try:
    LiveServer(app, tls=True).start()
except ConfigError as error:
    print(error)
"""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=True)
    assert "trustme, which is not installed: pip install 'asgiserve[pytest]'" in done.stdout


# ---- UNIX sockets ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
def test_every_client_reaches_a_server_on_a_unix_socket(live_server_factory: LiveServerFactory, parser: str) -> None:
    server = live_server_factory(uds=True, http=parser)
    assert server.uds is not None
    socket = Path(server.uds)
    assert socket.is_socket()
    assert (server.url, server.port) == ("http://localhost", 0)
    assert server.client.get("/a").json() == {"scheme": "http", "path": "/a", "root_path": "", "client_name": None, "has_client": False}
    with server.ws("/b") as ws:
        assert ws.receive_json()["path"] == "/b"
    with server.connect() as raw:
        assert raw.exchange("/c").status == 200

    async def fetch() -> Any:
        async with server.async_client() as client:
            return (await client.get("/d")).json()["path"]

    assert asyncio.run(fetch()) == "/d"
    assert [one.peer for one in server.exchanges(path="/a")] == [f"unix:{server.uds}"]
    server.stop()
    assert not socket.parent.exists()


def test_tls_on_a_unix_socket(live_server_factory: LiveServerFactory) -> None:
    server = live_server_factory(uds=True, tls=True)
    assert server.client.get("/").json()["scheme"] == "https"


def test_a_path_of_ones_own_is_the_servers_option(live_server_factory: LiveServerFactory, tmp_path: Path) -> None:
    # A relative one: the path of a socket has 107 bytes.
    path = tmp_path / "s"
    if len(str(path)) > 100:
        pytest.skip("the temporary folder's name is too long for a UNIX socket")
    server = live_server_factory(uds=str(path))
    assert server.uds == str(path)
    assert server.client.get("/").status_code == 200
    server.stop()
    assert not path.exists()


# ---- the rest ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.asgiserve(root_path="/shop")
def test_root_path_is_put_in_front_of_the_path(live_server: LiveServer) -> None:
    assert live_server.client.get("/items").json()["path"] == "/shop/items"
    assert live_server.client.get("/shop/items").json() | {"scheme": ""} == {
        "scheme": "",
        "path": "/shop/items",
        "root_path": "/shop",
        "client_name": None,
        "has_client": True,
    }


@pytest.mark.asgiserve(bind=["127.0.0.1:0"])
def test_an_address_is_the_servers_option(live_server: LiveServer) -> None:
    assert live_server.url == f"http://127.0.0.1:{live_server.port}"
    assert live_server.address == ("127.0.0.1", live_server.port)
    assert live_server.client.get("/").status_code == 200


def test_no_two_servers_share_a_port(live_server_factory: LiveServerFactory) -> None:
    servers = [live_server_factory() for _ in range(20)]
    assert len({server.port for server in servers}) == 20


def test_http2_is_said_not_to_be_there(live_server_factory: LiveServerFactory) -> None:
    with pytest.raises(ConfigError, match=r"(?s)--http.*h2"):
        live_server_factory(http="h2")
