"""TLS: what a client and the application see of it (ASGI tls.rst 0.2), handshakes that go wrong, and files that cannot be used."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from asgiserve import ConfigError, Server
from pytest_asgiserve.raw import RawConnection, Truncated
from tests.support.apps import Message, Receive, Scope, Send, described, echo, ok, respond
from tests.support.certificates import Certificates
from tests.support.process import child

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_asgiserve import LiveServer
    from tests.sockets.conftest import Serve
    from tests.support.records import Records


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def quiet_event_loop(caplog: pytest.LogCaptureFixture) -> Any:
    """The event loop's own logger stays silent: a peer's broken handshake is nobody's error."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.WARNING] == []


NO_CONTENT = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})
"""


async def show(scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, json.dumps(described({key: scope[key] for key in ("scheme", "http_version", "extensions", "server")})).encode())


def seen(client: RawConnection) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(client.exchange().body)
    return shown


# ---- what the application sees -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "number", "ciphers"),
    [
        # RFC 8446 §B.4: TLS_AES_128_GCM_SHA256 and its kin.
        pytest.param(ssl.TLSVersion.TLSv1_3, 0x0304, {0x1301, 0x1302, 0x1303}, id="1.3"),
        # RFC 5289: ECDHE with AES-GCM; RFC 7905: with ChaCha20.
        pytest.param(ssl.TLSVersion.TLSv1_2, 0x0303, {0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9}, id="1.2"),
    ],
)
def test_the_scope_tells_what_was_negotiated(
    serve: Serve, certificates: Certificates, version: ssl.TLSVersion, number: int, ciphers: set[int]
) -> None:
    running = serve(show, **certificates.options)
    assert running.url == f"https://127.0.0.1:{running.address[1]}"
    context = certificates.client_context(version=version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with RawConnection(running.address, tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        scope = seen(client)
        assert (scope["scheme"], scope["http_version"]) == ("https", "1.1")
        tls = scope["extensions"]["tls"]
        assert set(tls) == {"server_cert", "tls_version", "cipher_suite", "client_cert_chain", "client_cert_name", "client_cert_error"}
        assert tls["tls_version"] == number
        assert tls["cipher_suite"] in ciphers
        assert ssl.PEM_cert_to_DER_cert(tls["server_cert"]) == client.sock.getpeercert(binary_form=True)
        assert (tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]) == ([], None, None)
        assert seen(client) == scope


def test_older_versions_are_refused(serve: Serve, certificates: Certificates, records: Records) -> None:
    running = serve(ok, **certificates.options)
    context = certificates.client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError), RawConnection(running.address, tls=context):
        pass
    works(running, certificates)
    assert not records.errors


def works(running: LiveServer, certificates: Certificates) -> None:
    with RawConnection(running.address, tls=certificates.client_context()) as client:
        assert client.exchange().body == b"ok"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("required", [False, True], ids=["optional", "required"])
def test_a_client_certificate_is_shown_to_the_application(serve: Serve, certificates: Certificates, required: bool, version: ssl.TLSVersion) -> None:
    running = serve(show, **certificates.options, ssl_ca_certs=str(certificates.authority_file), ssl_cert_reqs=2 if required else 1)
    issued = certificates.authority.issue_cert(
        "client@test.example", common_name="A, client", organization_name="Test", organization_unit_name="Unit"
    )
    with RawConnection(running.address, tls=certificates.client_context(certificate=issued, version=version)) as client:
        tls = seen(client)["extensions"]["tls"]
    leaf = issued.cert_chain_pems[0].bytes()
    # The leaf first; whatever else the client sent behind it, where Python can tell.
    assert ssl.PEM_cert_to_DER_cert(tls["client_cert_chain"][0]) == ssl.PEM_cert_to_DER_cert(leaf.decode())
    # RFC 4514: last component first, special characters escaped.
    assert tls["client_cert_name"] == "CN=A\\, client,OU=Unit,O=Test"
    assert tls["client_cert_error"] is None


def test_without_a_certificate_an_optional_one_is_simply_not_there(serve: Serve, certificates: Certificates) -> None:
    running = serve(show, **certificates.options, ssl_ca_certs=str(certificates.authority_file), ssl_cert_reqs=1)
    with RawConnection(running.address, tls=certificates.client_context()) as client:
        tls = seen(client)["extensions"]["tls"]
    assert (tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]) == ([], None, None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("reqs", "foreign"), [(2, False), (2, True), (1, True)], ids=["none-but-required", "foreign-and-required", "foreign-and-optional"]
)
def test_a_client_that_cannot_show_a_right_certificate_does_not_reach_the_application(
    serve: Serve, certificates: Certificates, records: Records, reqs: int, foreign: bool, version: ssl.TLSVersion
) -> None:
    called = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        called.append(scope["path"])
        await respond(send)

    running = serve(app, **certificates.options, ssl_ca_certs=str(certificates.authority_file), ssl_cert_reqs=reqs)
    issued = trustme.CA().issue_cert("client@test.example") if foreign else None
    # TLS 1.3: the client's handshake is over before the server looks at its certificate.
    with pytest.raises(OSError), RawConnection(running.address, tls=certificates.client_context(certificate=issued, version=version)) as client:
        client.exchange()
    own = certificates.authority.issue_cert("client@test.example")
    with RawConnection(running.address, tls=certificates.client_context(certificate=own)) as client:
        assert client.exchange("/own").status == 200
    assert called == ["/own"]
    assert not records.errors


# ---- HTTP on it --------------------------------------------------------------------------------------------------------------------


def test_everything_of_http_1_1_works_on_tls(serve: Serve, certificates: Certificates) -> None:
    running = serve(echo, **certificates.options)
    with RawConnection(running.address, tls=certificates.client_context()) as client:
        client.pipeline("/1", "/2", "/3")
        assert [client.read_response().status for _ in range(3)] == [200] * 3
        body = bytes(range(256)) * 10_000
        client.post("/", body)
        assert client.read_response().body == body
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert client.read_head().status == 100
        client.send(b"2\r\nhi\r\n0\r\n\r\n")
        assert client.read_response().body == b"hi"
        client.get("/", "Connection: close")
        assert client.read_response().closes
        # With a close_notify: the client is strict.
        client.expect_eof()


def test_a_broken_response_is_no_whole_one(serve: Serve, certificates: Certificates) -> None:
    delivered = threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await asyncio.get_running_loop().run_in_executor(None, delivered.wait, 10)
        raise ValueError("boom")

    running = serve(app, **certificates.options)
    with RawConnection(running.address, tls=certificates.client_context()) as client:
        client.get()
        delivered.set()
        with pytest.raises(Truncated):
            client.read_response()
    delivered.clear()
    with RawConnection(running.address, tls=certificates.client_context()) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.read_head().framing == "close"
        assert client.read_exactly(4) == b"part"
        delivered.set()
        # A reset, or an end without close_notify: anything but an orderly end.
        with pytest.raises(OSError):
            client.read_until_eof()


def test_a_refusal_reaches_a_client_that_is_still_sending(serve: Serve, certificates: Certificates) -> None:
    running = serve(ok, **certificates.options)
    with RawConnection(running.address, tls=certificates.client_context()) as client:
        client.send(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(10):
            client.send(b"x" * 10_000)
        response = client.read_response()
        assert (response.status, response.one(b"connection")) == (400, b"close")


def test_a_client_that_closes_is_a_disconnect_as_tls_cannot_be_half_closed(serve: Serve, certificates: Certificates) -> None:
    seen_messages: list[Message] = []
    entered, ended = threading.Event(), threading.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        seen_messages.append(await receive())
        entered.set()
        seen_messages.append(await receive())
        ended.set()

    running = serve(app, **certificates.options)
    client = RawConnection(running.address, tls=certificates.client_context())
    client.get()
    assert entered.wait(10)
    client.close()
    assert ended.wait(10)
    assert [message["type"] for message in seen_messages] == ["http.request", "http.disconnect"]


# ---- handshakes that go wrong ------------------------------------------------------------------------------------------------------


def test_a_handshake_that_does_not_come_is_given_up(serve: Serve, certificates: Certificates, records: Records) -> None:
    running = serve(ok, timeout_tls_handshake=0.3, **certificates.options)
    with socket.create_connection(running.address, 10) as silent, socket.create_connection(running.address, 10) as slow:
        slow.sendall(b"\x16\x03\x01\x02\x00\x01")
        # Others are served in the meantime.
        works(running, certificates)
        assert silent.recv(1) == b""
        assert slow.recv(1) == b""
    assert running.run(lambda: len(running.server._connections)) <= 1
    assert not records.errors


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="plain-http"),
        pytest.param(bytes(range(256)), id="noise"),
        pytest.param(b"\x16\x03\x01\x00\x05hello", id="no-client-hello"),
        pytest.param(b"", id="nothing"),
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_what_is_no_tls_is_cut_and_the_server_lives(serve: Serve, certificates: Certificates, records: Records, data: bytes, how: str) -> None:
    running = serve(ok, **certificates.options)
    with RawConnection(running.address) as client:
        client.send(data)
        if how == "reset":
            client.reset()
        else:
            client.half_close()
            # An alert at most; nothing of HTTP.
            assert b"HTTP" not in client.expect_closed()
    works(running, certificates)
    assert not records.errors
    assert len(records.access) <= 1


def test_a_client_that_does_not_trust_us_is_its_own_affair(serve: Serve, certificates: Certificates, records: Records) -> None:
    running = serve(ok, **certificates.options)
    with pytest.raises(ssl.SSLCertVerificationError), RawConnection(running.address, tls=ssl.create_default_context()):
        pass
    works(running, certificates)
    assert not records.errors


# ---- files that cannot be used -----------------------------------------------------------------------------------------------------


def fails(**options: Any) -> str:
    """The one line that says why the server cannot be made."""
    with pytest.raises(ConfigError) as caught:
        Server(ok, lifespan="off", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__cause__ is None
    return message


def encrypted(certificates: Certificates, folder: Path) -> str:
    key = load_pem_private_key(certificates.key.read_bytes(), None)
    path = folder / "encrypted.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right")))
    return str(path)


def test_an_encrypted_key_is_opened_with_its_password(serve: Serve, certificates: Certificates, tmp_path: Path) -> None:
    options = {"ssl_certfile": str(certificates.certificate), "ssl_keyfile": encrypted(certificates, tmp_path), "ssl_keyfile_password": "right"}
    works(serve(ok, **options), certificates)


def test_one_file_can_hold_certificate_and_key(serve: Serve, certificates: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.key.read_bytes() + certificates.certificate.read_bytes())
    works(serve(ok, ssl_certfile=str(both)), certificates)


def test_the_ciphers_can_be_chosen(serve: Serve, certificates: Certificates) -> None:
    running = serve(show, **certificates.options, ssl_ciphers="ECDHE+CHACHA20")
    with RawConnection(running.address, tls=certificates.client_context(version=ssl.TLSVersion.TLSv1_2)) as client:
        # RFC 7905
        assert seen(client)["extensions"]["tls"]["cipher_suite"] in {0xCCA8, 0xCCA9}


def test_a_key_without_its_password_or_with_a_wrong_one(certificates: Certificates, tmp_path: Path) -> None:
    key = encrypted(certificates, tmp_path)
    message = fails(ssl_certfile=str(certificates.certificate), ssl_keyfile=key)
    assert key in message
    assert "--ssl-keyfile-password" in message
    message = fails(ssl_certfile=str(certificates.certificate), ssl_keyfile=key, ssl_keyfile_password="wrong")
    assert key in message
    assert "wrong" in message


def test_a_password_is_never_shown(certificates: Certificates, tmp_path: Path) -> None:
    message = fails(ssl_certfile=str(certificates.certificate), ssl_keyfile=encrypted(certificates, tmp_path), ssl_keyfile_password="hunter2")
    assert "hunter2" not in message


def test_a_key_that_does_not_belong_to_the_certificate(certificates: Certificates, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(trustme.CA().issue_cert("other.example").private_key_pem.bytes())
    message = fails(ssl_certfile=str(certificates.certificate), ssl_keyfile=str(other))
    assert str(other) in message
    assert "does not belong" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"ssl_certfile": "/no/such/file"}, ("--ssl-certfile", "/no/such/file", "No such file"), id="certificate-missing"),
        pytest.param({"ssl_keyfile": "/no/such/file"}, ("--ssl-keyfile", "/no/such/file", "No such file"), id="key-missing"),
        pytest.param({"ssl_certfile": "{folder}"}, ("--ssl-certfile", "{folder}", "directory"), id="certificate-is-a-folder"),
        pytest.param({"ssl_certfile": "{garbage}"}, ("--ssl-certfile", "{garbage}", "PEM"), id="certificate-is-garbage"),
        pytest.param({"ssl_keyfile": "{garbage}"}, ("{garbage}", "PEM"), id="key-is-garbage"),
        pytest.param({"ssl_keyfile": None}, ("PEM",), id="no-key"),
        pytest.param({"ssl_ca_certs": "/no/such/file"}, ("--ssl-ca-certs", "/no/such/file", "No such file"), id="authorities-missing"),
        pytest.param({"ssl_ca_certs": "{garbage}"}, ("--ssl-ca-certs", "{garbage}"), id="authorities-are-garbage"),
        pytest.param({"ssl_ciphers": "NOPE"}, ("--ssl-ciphers", "NOPE"), id="unknown-cipher"),
        pytest.param({"ssl_version": 99}, ("--ssl-version", "99"), id="unknown-version"),
        pytest.param({"ssl_certfile": None}, ("--ssl-keyfile", "--ssl-certfile"), id="key-without-certificate"),
        pytest.param({"ssl_cert_reqs": 2}, ("--ssl-cert-reqs", "--ssl-ca-certs"), id="required-without-authorities"),
    ],
)
def test_a_file_or_option_that_cannot_be_used_is_one_clear_line(
    certificates: Certificates, tmp_path: Path, changes: dict[str, Any], said: tuple[str, ...]
) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"this is no PEM\n")
    places = {"folder": tmp_path, "garbage": garbage}
    filled = {name: value.format(**places) if isinstance(value, str) else value for name, value in changes.items()}
    message = fails(**{name: value for name, value in {**certificates.options, **filled}.items() if value is not None})
    for part in said:
        assert part.format(**places) in message


def test_the_command_line_serves_tls_and_says_a_mistake_in_one_line(certificates: Certificates, tmp_path: Path) -> None:
    arguments = ["main:app", "--port", "0", "--lifespan", "off", "--ssl-certfile", str(certificates.certificate)]
    with child(*arguments, "--ssl-keyfile", str(certificates.key), source=NO_CONTENT, cwd=tmp_path) as server:
        assert "https://127.0.0.1:" in server.wait_line(lambda line: "listening on" in line)
        with RawConnection(server.address, tls=certificates.client_context()) as client:
            assert client.exchange().status == 204
    # An encrypted key without a password must not ask on a terminal that nobody sits at.
    with child(*arguments, "--ssl-keyfile", encrypted(certificates, tmp_path), cwd=tmp_path) as server:
        assert server.wait() == ConfigError.exit_code
        assert len(server.lines) == 1
        assert "password" in server.lines[0]
