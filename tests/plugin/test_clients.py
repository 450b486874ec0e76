"""The httpx clients: that nothing a test mocks is between them and the server, and that they are httpx's clients in all else."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import select
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpcore
import httpx
import pytest
import respx
import trio

from pytest_asgiserve import clients
from pytest_asgiserve.clients import make_async_client, make_client
from tests.support.apps import Receive, Scope, Send, described, echo, read_body, respond, routes
from tests.support.certificates import Certificates
from tests.support.serving import Serving, serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from tests.plugin.conftest import RunPytest

ELSEWHERE = "http://other.example/"


# Applications.


async def describe(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    shown = {**described(scope), "body": body.decode("latin-1")}
    await respond(send, json.dumps(shown).encode(), headers=[(b"content-type", b"application/json")])


async def redirect(scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, status=302, headers=[(b"location", b"/describe"), (b"set-cookie", b"seen=" + scope["path"].encode())])


async def cut(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"abc"})


class Endless:
    """Never comes to an end: sends ``first`` and waits for the client to go. ``gone`` is set when it has."""

    def __init__(self, first: bytes = b"") -> None:
        self._first = first
        self.gone = threading.Event()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        if self._first:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        self.gone.set()


@pytest.fixture
def endless() -> Endless:
    """At ``/endless``."""
    return Endless(b"first")


@pytest.fixture
def stalled() -> Endless:
    """At ``/stalled``."""
    return Endless()


@pytest.fixture
def running(endless: Endless, stalled: Endless) -> Iterator[Serving]:
    app = routes(echo=echo, describe=describe, redirect=redirect, stalled=stalled, cut=cut, endless=endless)
    with serving(app, lifespan="off", log_level="critical") as server:
        yield server


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Runs an async function to its end on an event loop of its own."""
    if request.param == "trio":
        return trio.run

    def run_asyncio(function: Callable[[], Any]) -> Any:
        return asyncio.run(function())

    return run_asyncio


Run = "Callable[[Callable[[], Awaitable[Any]]], Any]"


# Nothing is in between.


@contextlib.contextmanager
def respx_of(using: str) -> Iterator[None]:
    """Everything is mocked by respx, down to the clients' own server."""
    with respx.mock(using=using, assert_all_called=False) as router:
        router.route().respond(text="mocked")
        yield


MOCKERS = ["httpcore", "httpx"]


@pytest.mark.parametrize("using", MOCKERS)
def test_respx_catches_other_clients_only(running: Serving, using: str) -> None:
    with respx_of(using), make_client(running.url) as client:
        assert client.get("/").text == "ok"
        assert httpx.get(f"{running.url}/", trust_env=False).text == "mocked"


@pytest.mark.parametrize("using", MOCKERS)
def test_respx_catches_other_async_clients_only(running: Serving, using: str, run: Any) -> None:
    async def main() -> None:
        async with make_async_client(running.url) as client, httpx.AsyncClient(trust_env=False) as other:
            assert (await client.get("/")).text == "ok"
            assert (await other.get(f"{running.url}/")).text == "mocked"

    with respx_of(using):
        run(main)


@pytest.mark.parametrize("using", MOCKERS)
def test_a_client_that_is_there_before_respx_is_not_caught_either(running: Serving, using: str) -> None:
    with make_client(running.url) as client:
        assert client.get("/").text == "ok"
        with respx_of(using):
            assert client.get("/").text == "ok"
        assert client.get("/").text == "ok"


def imported_again() -> ModuleType:
    """The module as it is when it is imported for the first time now."""
    spec = importlib.util.find_spec("pytest_asgiserve.clients")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("using", MOCKERS)
def test_respx_that_was_there_before_the_first_import_is_seen_through(running: Serving, using: str, run: Any) -> None:
    with respx_of(using):
        module = imported_again()
        with module.make_client(running.url) as client:
            assert client.get("/").text == "ok"

        async def main() -> str:
            async with module.make_async_client(running.url) as client:
                return str((await client.get("/")).text)

        assert run(main) == "ok"
        assert httpx.get(f"{running.url}/", trust_env=False).text == "mocked"


def test_one_mock_in_another_is_seen_through_as_well(running: Serving) -> None:
    replaced = httpx.Client.send

    def outer(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        return inner(self, request, **options)

    def inner(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        raise AssertionError(f"{self!r} sent {request!r} through a mock of {replaced!r}, not {options!r}")

    with mock.patch.object(httpx.Client, "send", outer):
        module = imported_again()
        with pytest.raises(AssertionError, match="through a mock"):
            httpx.get(ELSEWHERE, trust_env=False)
    with module.make_client(running.url) as client:
        assert client.get("/").text == "ok"


def test_a_mock_that_forgets_what_it_replaced_is_only_missed_when_it_comes_later(running: Serving) -> None:
    answer = httpx.Response(200, text="mocked", request=httpx.Request("GET", ELSEWHERE))
    with make_client(running.url) as client, mock.patch.object(httpx.Client, "request", return_value=answer):
        assert client.get("/").text == "ok"
        # The limit of what can be done, which the module's docstring names; the plugin imports it before there are fixtures.
        with imported_again().make_client(running.url) as late:
            assert late.get("/").text == "mocked"


INNER = """
import asyncio

import httpx

from pytest_asgiserve.clients import make_async_client, make_client
from tests.support.apps import ok
from tests.support.serving import serving


def test_only_others_are_mocked(httpx_mock):
    httpx_mock.add_response(text="mocked", is_reusable=True)
    with serving(ok, lifespan="off") as running:
        with make_client(running.url) as client:
            assert client.get("/").text == "ok"
            assert httpx.get(running.url, trust_env=False).text == "mocked"

        async def main():
            async with make_async_client(running.url) as client, httpx.AsyncClient(trust_env=False) as other:
                assert (await client.get("/")).text == "ok"
                assert (await other.get(running.url)).text == "mocked"

        asyncio.run(main())
    assert len(httpx_mock.get_requests()) == 2


@pytest.mark.respx(assert_all_called=False)
def test_respx_as_a_fixture(respx_mock):
    respx_mock.route().respond(text="mocked")
    with serving(ok, lifespan="off") as running, make_client(running.url) as client:
        assert client.get("/").text == "ok"
        assert httpx.get(running.url, trust_env=False).text == "mocked"
"""


def test_the_fixtures_of_pytest_httpx_and_respx_catch_other_clients_only(run_pytest: RunPytest) -> None:
    result = run_pytest(f"import pytest\n{INNER}", plugins=["pytest_httpx", "respx.plugin"])
    result.assert_outcomes(passed=2)


# Clients of httpx.


def test_they_are_httpx_clients() -> None:
    client = make_client("http://127.0.0.1:1/base")
    assert isinstance(client, httpx.Client)
    assert client.base_url == "http://127.0.0.1:1/base/"
    assert client.timeout == httpx.Timeout(5)
    assert not client.trust_env
    client.close()
    assert client.is_closed


def test_a_client_costs_less_than_a_millisecond() -> None:
    # httpx.Client() takes some 20 ms, for a TLS context that nobody uses.
    times = []
    for _ in range(50):
        began = time.perf_counter()
        make_client("http://127.0.0.1:1").close()
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.001


def test_the_options_are_those_of_httpx(running: Serving) -> None:
    seen: list[str] = []
    with make_client(
        running.url,
        headers={"x-one": "1"},
        cookies={"a": "b"},
        auth=("me", "secret"),
        params={"q": "ü"},
        timeout=2,
        follow_redirects=True,
        event_hooks={"request": [lambda asked: seen.append(asked.url.path)], "response": [lambda got: seen.append(str(got.status_code))]},
    ) as client:
        response = client.get("/redirect")
        shown = response.json()
    headers = dict(shown["headers"])
    assert (headers["x-one"], headers["authorization"]) == ("1", "Basic bWU6c2VjcmV0")
    assert headers["cookie"] == "a=b; seen=/redirect"
    assert headers["host"] == running.url.removeprefix("http://")
    assert [one.status_code for one in response.history] == [302]
    assert seen == ["/redirect", "302", "/describe", "200"]


@pytest.mark.parametrize("name", ["verify", "cert", "trust_env", "http1", "http2", "proxy", "transport"])
def test_what_is_decided_already_is_no_option(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make_client("http://127.0.0.1:1", **{name: None})
    with pytest.raises(TypeError, match=name):
        make_async_client("http://127.0.0.1:1", **{name: None})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        make_client("http://127.0.0.1:1", colour="red")


def test_connections_are_used_again(running: Serving) -> None:
    with make_client(running.url) as client:
        ports = {client.get("/describe").json()["client"][1] for _ in range(3)}
    assert len(ports) == 1


def test_a_connection_that_the_server_has_closed_is_not_used_again(run: Any) -> None:
    def ended(response: httpx.Response) -> int:
        stream = response.extensions["network_stream"]
        readable, _, _ = select.select([stream.get_extra_info("socket")], [], [], 5)
        assert readable
        return int(stream.get_extra_info("client_addr")[1])

    async def main(url: str) -> None:
        async with make_async_client(url) as client:
            assert ended(await client.get("/")) != ended(await client.get("/"))

    with serving(routes(), lifespan="off", timeout_keep_alive=0.05) as running:
        with make_client(running.url) as client:
            assert ended(client.get("/")) != ended(client.get("/"))
        run(lambda: main(running.url))


def test_the_address_can_be_a_name(run: Any) -> None:
    async def main(url: str) -> tuple[str, int]:
        async with make_async_client(url) as client:
            response = await client.get("/")
            address: tuple[str, int] = response.extensions["network_stream"].get_extra_info("server_addr")
            return address[:2]

    with serving(routes(), lifespan="off") as running:
        assert run(lambda: main(f"http://localhost:{running.address[1]}")) == running.address
        assert run(lambda: main(running.url)) == running.address


def test_the_environment_has_no_say(running: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with make_client(running.url) as client:
        assert client.get("/").text == "ok"


def test_it_goes_over_a_unix_socket(tmp_path: Path, run: Any) -> None:
    path = str(tmp_path / "socket")

    async def main() -> str:
        async with make_async_client("http://localhost", uds=path) as client:
            return str((await client.get("/")).json()["path"])

    with serving(describe, lifespan="off", uds=path):
        with make_client("http://localhost", uds=path) as client:
            shown = client.get("/x").json()
        assert run(main) == "/"
    assert (shown["path"], dict(shown["headers"])["host"]) == ("/x", "localhost")


def test_it_verifies_the_server_with_what_it_is_given(tmp_path: Path, run: Any) -> None:
    certificates = Certificates(tmp_path)

    async def main(url: str, context: ssl.SSLContext) -> str:
        async with make_async_client(url, tls=context) as client:
            return str((await client.get("/")).json()["scheme"])

    with serving(describe, lifespan="off", log_level="critical", **certificates.options) as running:
        with make_client(running.url, tls=certificates.client_context()) as client:
            assert client.get("/").json()["scheme"] == "https"
        assert run(lambda: main(running.url, certificates.client_context())) == "https"
        # Without one, those of the system; ours is not among them.
        with make_client(running.url) as client, pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            client.get("/")


# Bodies in pieces.


def test_bodies_go_in_pieces(running: Serving) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    with make_client(running.url) as client, client.stream("POST", "/echo", content=pieces()) as response:
        assert response.http_version == "HTTP/1.1"
        assert b"".join(response.iter_bytes()) == b"one two"


def test_bodies_go_in_pieces_asynchronously(running: Serving, run: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def main() -> bytes:
        async with make_async_client(running.url) as client, client.stream("POST", "/echo", content=pieces()) as response:
            return await response.aread()

    assert run(main) == b"one two"


def test_a_response_that_is_left_unread_is_given_up(running: Serving, endless: Endless) -> None:
    with make_client(running.url) as client:
        with client.stream("GET", "/endless") as response:
            assert next(response.iter_raw()) == b"first"
        assert endless.gone.wait(5)
        assert client.get("/").text == "ok"


def test_a_response_that_is_left_unread_is_given_up_asynchronously(running: Serving, endless: Endless, run: Any) -> None:
    async def main() -> None:
        async with make_async_client(running.url) as client:
            async with client.stream("GET", "/endless") as response:
                # Not a byte of it: httpx's own generators complain on trio when they are left in the middle.
                assert response.status_code == 200
            assert (await client.get("/")).text == "ok"

    run(main)
    assert endless.gone.wait(5)


def test_closing_the_client_gives_up_what_is_open(running: Serving, endless: Endless) -> None:
    client = make_client(running.url)
    response = client.send(client.build_request("GET", "/endless"), stream=True)
    client.close()
    assert endless.gone.wait(5)
    with pytest.raises(httpx.ReadError):
        response.read()


# Errors.

ERRORS = sorted(
    name
    for name in httpcore.__all__
    if isinstance(getattr(httpcore, name), type) and issubclass(getattr(httpcore, name), Exception) and name != "ConnectionNotAvailable"
)


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_of_httpcore_is_httpx_s_of_that_name(name: str) -> None:
    with pytest.raises(httpx.TransportError, match="why") as raised, clients._errors():
        raise getattr(httpcore, name)("why")
    assert raised.type is getattr(httpx, name)


def test_a_kind_of_error_that_httpcore_has_not_yet_is_its_nearest_relative() -> None:
    class TlsReadError(httpcore.ReadError):
        pass

    with pytest.raises(httpx.ReadError), clients._errors():
        raise TlsReadError("why")
    with pytest.raises(KeyError), clients._errors():
        raise KeyError("why")


@contextlib.contextmanager
def answering(data: bytes) -> Iterator[str]:
    """The URL of somebody who sends ``data`` before he is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.sendall(data)
                # Until the client goes, which it does with a RST.
                with contextlib.suppress(OSError):
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)
        assert not thread.is_alive()


def expected_error(error: type[httpx.TransportError], get: Callable[[], Any]) -> None:
    with pytest.raises(httpx.TransportError) as raised:
        get()
    assert raised.type is error
    assert raised.value.request.method == "GET"


def test_a_refused_connection_is_a_connect_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with make_client(url) as client:
        expected_error(httpx.ConnectError, lambda: client.get("/"))


def test_what_is_no_response_is_a_remote_protocol_error() -> None:
    with answering(b"garbage\r\n\r\n") as url, make_client(url) as client:
        expected_error(httpx.RemoteProtocolError, lambda: client.get("/"))


def test_a_response_that_ends_early_is_a_remote_protocol_error(running: Serving) -> None:
    with make_client(running.url) as client:
        expected_error(httpx.RemoteProtocolError, lambda: client.get("/cut"))


def test_a_server_that_takes_too_long_is_a_read_timeout_and_is_told(running: Serving, stalled: Endless) -> None:
    with make_client(running.url, timeout=0.05) as client:
        expected_error(httpx.ReadTimeout, lambda: client.get("/stalled"))
        assert stalled.gone.wait(5)


def test_no_free_connection_is_a_pool_timeout(running: Serving) -> None:
    with (
        make_client(running.url, limits=httpx.Limits(max_connections=1), timeout=httpx.Timeout(5, pool=0.05)) as client,
        client.stream("GET", "/endless"),
    ):
        expected_error(httpx.PoolTimeout, lambda: client.get("/"))


def test_another_scheme_is_an_unsupported_protocol() -> None:
    with make_client("ftp://127.0.0.1:1") as client:
        expected_error(httpx.UnsupportedProtocol, lambda: client.get("/"))


def test_errors_are_httpx_s_in_async_clients_as_well(running: Serving, stalled: Endless, run: Any) -> None:
    async def main() -> None:
        async with make_async_client(running.url, timeout=0.05) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/stalled")
            assert stalled.gone.wait(5)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/cut", timeout=5)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with make_async_client(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/")

    run(main)
