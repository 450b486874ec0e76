"""Forwarded fields over real connections: believed from trusted peers only, and of a chain only the right-most hop that is not trusted itself."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import ConfigError, Server
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import Receive, Scope, Send, described, ok, respond

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sockets.conftest import Serve
    from tests.support.records import Records

# RFC 5737 and RFC 3849: addresses for documentation.
CLIENT, OTHER, PROXY = "203.0.113.9", "198.51.100.7", "192.0.2.1"


async def show(scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, json.dumps(described({key: scope[key] for key in ("client", "scheme", "server", "headers")})).encode())


def seen(client: RawConnection, *fields: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(client.exchange("/", *fields).body)
    return shown


def kind_of(field: str) -> str:
    """The kind of proxy that writes this field."""
    return "forwarded" if field.startswith("Forwarded") else "x-forwarded"


@pytest.mark.parametrize(
    ("fields", "client", "scheme"),
    [
        pytest.param([f"X-Forwarded-For: {CLIENT}"], CLIENT, "http", id="for"),
        pytest.param(["X-Forwarded-Proto: https"], None, "https", id="proto"),
        pytest.param([f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https"], CLIENT, "https", id="for-and-proto"),
        pytest.param([f"X-Forwarded-For: {OTHER}, {CLIENT}"], CLIENT, "http", id="right-most-wins"),
        pytest.param([f"X-Forwarded-For: {CLIENT}, {PROXY}"], CLIENT, "http", id="trusted-hops-are-passed"),
        pytest.param([f"X-Forwarded-For: {OTHER}, {CLIENT}, {PROXY}, 127.0.0.1"], CLIENT, "http", id="several-trusted-hops"),
        pytest.param([f"X-Forwarded-For: {OTHER}", f"X-Forwarded-For: {CLIENT}"], CLIENT, "http", id="several-lines-are-one-list"),
        pytest.param([f"X-Forwarded-For: {CLIENT}, unknown"], None, "http", id="unknown-ends-the-chain"),
        pytest.param(["X-Forwarded-For: garbage"], None, "http", id="garbage"),
        pytest.param(["X-Forwarded-For: "], None, "http", id="empty"),
        pytest.param(["X-Forwarded-For: <script>"], None, "http", id="markup"),
        pytest.param(["X-Forwarded-Proto: gopher"], None, "http", id="foreign-scheme"),
        pytest.param(["X-Forwarded-Proto: HTTPS"], None, "https", id="upper-case-scheme"),
        pytest.param([f"Forwarded: for={CLIENT};proto=https"], CLIENT, "https", id="forwarded"),
        pytest.param([f"Forwarded: for={OTHER}, for={CLIENT};proto=https, for={PROXY}"], CLIENT, "https", id="forwarded-chain"),
        # A proxy passes on the kind that it does not write: that one is a client's own word.
        pytest.param([f"Forwarded: for={CLIENT}", f"X-Forwarded-For: {OTHER}"], CLIENT, "http", id="x-forwarded-beside-forwarded"),
        pytest.param([f"X-Forwarded-For: {CLIENT}", f"Forwarded: for={OTHER};proto=https"], CLIENT, "http", id="forwarded-beside-x-forwarded"),
        pytest.param(["Forwarded: for=_hidden;proto=https"], None, "https", id="forwarded-obfuscated"),
        pytest.param(['Forwarded: for="unclosed'], None, "http", id="forwarded-malformed"),
        pytest.param(["X-Real-IP: 203.0.113.9", "X-Forwarded-Host: evil.example", "X-Forwarded-Server: x"], None, "http", id="others-are-not-read"),
    ],
)  # fmt: skip
def test_a_trusted_proxy_is_believed(serve: Serve, fields: list[str], client: str | None, scheme: str) -> None:
    running = serve(show, forwarded_allow_ips=["127.0.0.1", f"{PROXY}/32"], forwarded_fields=kind_of(fields[0]))
    with RawConnection(running.address) as connection:
        port = connection.sock.getsockname()[1]
        shown = seen(connection, *fields)
        # A client that only a field tells of has no port.
        assert shown["client"] == (["127.0.0.1", port] if client is None else [client, 0])
        assert shown["scheme"] == scheme
        assert shown["server"] == list(running.address)
        # The application sees the fields as they came.
        assert ["host", connection.host] in shown["headers"]
        assert len(shown["headers"]) == 1 + len(fields)
        # The next request on the connection is another client's.
        assert seen(connection)["client"] == ["127.0.0.1", port]


@pytest.mark.parametrize(
    ("field", "client"),
    [
        ("X-Forwarded-For: 2001:db8::1", ["2001:db8::1", 0]),
        ("X-Forwarded-For: [2001:db8::1]:4711", ["2001:db8::1", 4711]),
        ("X-Forwarded-For: 203.0.113.9:4711", [CLIENT, 4711]),
        ('Forwarded: for="[2001:db8::1]:4711"', ["2001:db8::1", 4711]),
        ("X-Forwarded-For: ::ffff:203.0.113.9", ["::ffff:203.0.113.9", 0]),
    ],
)
def test_addresses_of_both_families_and_ports_are_understood(serve: Serve, records: Records, field: str, client: list[Any]) -> None:
    running = serve(show, forwarded_fields=kind_of(field))
    with RawConnection(running.address) as connection:
        shown = seen(connection, field)
    assert shown["client"] == client
    host, port = shown["client"]
    running.stop()
    # The log says the same, in a form that can be read.
    (record,) = records.access
    assert record.peer == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"forwarded_allow_ips": ["10.0.0.0/8", "192.0.2.1"]}, id="not-trusted"),
        pytest.param({"forwarded_allow_ips": []}, id="nobody-trusted"),
        pytest.param({"proxy_headers": False}, id="switched-off"),
        pytest.param({"proxy_headers": False, "forwarded_allow_ips": ["*"]}, id="switched-off-although-all-are-trusted"),
    ],
)
def test_nobody_else_is_believed(serve: Serve, records: Records, options: dict[str, Any]) -> None:
    running = serve(show, **options)
    with RawConnection(running.address) as connection:
        own = ["127.0.0.1", connection.sock.getsockname()[1]]
        for fields in ([f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https"], [f"Forwarded: for={CLIENT};proto=https"]):
            shown = seen(connection, *fields)
            assert (shown["client"], shown["scheme"]) == (own, "http")
    running.stop()
    assert [record.peer for record in records.access] == ["{}:{}".format(*own)] * 2


@pytest.mark.parametrize("trusted", [["*"], ["127.0.0.0/8"], ["10.0.0.1", "127.0.0.1"], ["::ffff:127.0.0.1"], "127.0.0.1,10.0.0.1"], ids=str)
def test_who_is_trusted_can_be_said_in_several_ways(serve: Serve, trusted: Any) -> None:
    running = serve(show, forwarded_allow_ips=trusted)
    with RawConnection(running.address) as connection:
        assert seen(connection, f"X-Forwarded-For: {CLIENT}")["client"] == [CLIENT, 0]


def test_with_everybody_trusted_the_left_most_hop_is_the_client(serve: Serve) -> None:
    running = serve(show, forwarded_allow_ips=["*"])
    with RawConnection(running.address) as connection:
        assert seen(connection, f"X-Forwarded-For: {OTHER}, {CLIENT}, {PROXY}")["client"] == [OTHER, 0]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no UNIX domain sockets")
@pytest.mark.parametrize("trusted", [True, False])
def test_a_unix_socket_is_trusted_by_its_path(serve: Serve, tmp_path: Path, trusted: bool) -> None:
    path = str(tmp_path / "socket")
    running = serve(show, uds=path, forwarded_allow_ips=[path if trusted else "127.0.0.1"])
    assert running.uds == path
    with RawConnection(path) as connection:
        shown = seen(connection, f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https")
    assert (shown["client"], shown["scheme"]) == (([CLIENT, 0], "https") if trusted else (None, "http"))


@pytest.mark.parametrize("item", ["300.0.0.1", "10.0.0.0/99", "a b", "10.0.0.0/8/8"])
def test_a_trusted_peer_that_is_nothing_is_one_clear_line(item: str) -> None:
    with pytest.raises(ConfigError, match="--forwarded-allow-ips") as caught:
        Server(ok, forwarded_allow_ips=[item])
    assert item in str(caught.value)
    assert "\n" not in str(caught.value)
