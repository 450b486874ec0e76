"""What an application is given is what `asgiref.typing` says: every scope, and every message of ``receive()``, checked at run time.

mypy cannot see it, as the messages are plain dicts; so the TypedDicts are walked here. asgiref is a tool of these tests only.
"""

from __future__ import annotations

import asyncio
import collections.abc
import math
import ssl
import subprocess
import sys
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asgiref.typing as asgi
import pytest
import trustme
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client

import asgiserve
from pytest_asgiserve.raw import RawConnection
from tests.support.apps import respond
from tests.support.serving import STACKS, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apps import Message, Receive, Scope, Send
    from tests.support.serving import Serving

ROOT = Path(asgiserve.__file__).resolve().parents[1]
CROSS = [param for param in STACKS if param.id in {"httptools-uvloop", "h11-asyncio"}]


# ---- the check


def faults(value: Any, hint: Any, where: str = "") -> Iterator[str]:  # noqa: C901, PLR0912 - one branch for each form of a type
    """What is wrong with ``value`` as a ``hint``; nothing where it fits."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if typing.is_typeddict(hint):
        if type(value) is not dict:
            yield f"{where}: {type(value).__name__} is no dict"
            return
        hints = typing.get_type_hints(hint)
        yield from (f"{where}[{key!r}]: is missing" for key in sorted(hint.__required_keys__ - value.keys()))
        yield from (f"{where}[{key!r}]: is not in {hint.__name__}" for key in sorted(value.keys() - hints.keys()))
        for key in value.keys() & hints.keys():
            yield from faults(value[key], hints[key], f"{where}[{key!r}]")
    elif hint is Any or hint is object:
        return
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{where}: {value!r} is none of {arguments}"
    elif origin in {typing.Union, types.UnionType}:
        found = [list(faults(value, argument, where)) for argument in arguments]
        if all(found):
            yield f"{where}: {value!r} is no {hint}"
    elif origin is tuple:
        if not isinstance(value, tuple) or len(value) != len(arguments):
            yield f"{where}: {value!r} is no {hint}"
        else:
            for number, (item, argument) in enumerate(zip(value, arguments, strict=True)):
                yield from faults(item, argument, f"{where}[{number}]")
    elif origin is dict:
        if type(value) is not dict:
            yield f"{where}: {value!r} is no dict"
            return
        for key, item in value.items():
            yield from faults(key, arguments[0], f"{where} key {key!r}")
            yield from faults(item, arguments[1], f"{where}[{key!r}]")
    elif origin is collections.abc.Iterable:
        if isinstance(value, str | bytes) or not isinstance(value, collections.abc.Iterable):
            yield f"{where}: {value!r} is no {hint}"
        else:
            for number, item in enumerate(value):
                yield from faults(item, arguments[0], f"{where}[{number}]")
    elif hint is types.NoneType:
        if value is not None:
            yield f"{where}: {value!r} is not None"
    elif type(value) is not hint:
        # Exactly: a bool is no int here, a str enumeration no str.
        yield f"{where}: {value!r} is {type(value).__name__}, not {hint}"


def plain_faults(value: Any, where: str = "") -> Iterator[str]:
    """S4: bytes, text, whole numbers of 64 bits, finite floats, lists, dicts with text as keys, booleans and None; asgiref's tuples as well."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                yield f"{where}: the key {key!r} is no text"
            yield from plain_faults(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from plain_faults(item, f"{where}[{number}]")
    elif type(value) is int:
        if not -(2**63) <= value < 2**63:
            yield f"{where}: {value} has more than 64 bits"
    elif type(value) is float:
        if not math.isfinite(value):
            yield f"{where}: {value} is not finite"
    elif type(value) not in {bytes, str, bool, types.NoneType}:
        yield f"{where}: {type(value).__name__} cannot be in a message"


def by_type(union: Any) -> dict[str, Any]:
    """The TypedDicts of a union by their ``type``."""
    return {typing.get_args(typing.get_type_hints(hint)["type"])[0]: hint for hint in typing.get_args(union)}


SCOPES = by_type(asgi.Scope)
EVENTS = by_type(asgi.ASGIReceiveEvent)


# ---- what is checked


class Recorder:
    """An application that keeps what it is given: its scopes, and the messages by the scope's type."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.messages: list[tuple[str, Message]] = []
        self.state_is_set = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)

        async def recorded() -> Message:
            message = await receive()
            self.messages.append((scope["type"], message))
            return message

        await getattr(self, scope["type"])(scope, recorded, send)

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope["state"]["pool"] = object()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def http(self, _scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive()).get("more_body", False):
            pass
        if message["type"] != "http.disconnect":
            await respond(send)
            # After the response, twice (S34, S35).
            await receive()
            await receive()

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"].endswith("/denied"):
            await send({"type": "websocket.close"})
        else:
            await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        await receive()

    def check(self) -> None:
        """Everything that was kept fits its type."""
        found: list[str] = []
        for scope in self.scopes:
            found += faults(scope, SCOPES[scope["type"]], f"{scope['type']} scope")
            found += plain_faults({key: value for key, value in scope.items() if key != "state"}, "scope")
        for kind, message in self.messages:
            assert message["type"].startswith(kind), f"{message} to a scope of {kind}"
            found += faults(message, EVENTS[message["type"]], message["type"])
            found += plain_faults(message, message["type"])
            if message["type"] == "websocket.receive":
                found += [f"{message} has not exactly one of bytes and text"] * ((message["bytes"] is None) == (message["text"] is None))
        assert found == []


@pytest.fixture(params=[pytest.param(tuple(param.values), id=param.id, marks=param.marks) for param in CROSS])
def stack(request: pytest.FixtureRequest) -> dict[str, str]:
    parser, loop = request.param
    return {"parser": parser, "loop": loop}


def talk_http(running: Serving) -> None:
    """Requests of every shape."""
    with RawConnection(running.address) as raw:
        assert raw.exchange("/a%20b/%C3%A4?q=%31&r", "X-Two: 1", "X-Two: 2").status == 200
        raw.post("/body", b"x" * 100_000)
        assert raw.read_response().status == 200
        raw.send(b"POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n")
        assert raw.read_response().status == 200
        assert raw.exchange("http://other.example/absolute?q", method="HEAD").status == 200
    with RawConnection(running.address) as raw:
        raw.get("/old", version="1.0")
        assert raw.read_response().status == 200
    with RawConnection(running.address) as raw:
        # Broken off: the application hears http.disconnect before the end of the body.
        raw.send(b"POST /broken HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        raw.half_close()
        raw.expect_closed()


async def talk_websocket(running: Serving, **options: Any) -> None:
    """WebSockets of every end."""
    address = running.url.replace("http", "ws", 1)
    # Of websockets the client on asyncio: the one with threads reads and writes a TLS socket at once, which CPython's ssl does not survive.
    for leave in ("with a reason", "without a code", "lost"):
        offered: Any = ["one", "two"]
        async with websockets.asyncio.client.connect(address + "/ws?q=1", proxy=None, subprotocols=offered, **options) as connection:
            for message in ("text", "", b"bytes", b""):
                await connection.send(message)
            if leave == "with a reason":
                await connection.close(4000, "because")
            elif leave == "lost":
                connection.transport.abort()
    with pytest.raises(websockets.exceptions.InvalidStatus):
        await websockets.asyncio.client.connect(address + "/denied", proxy=None, **options)


def test_scopes_and_messages_are_what_asgiref_says(stack: dict[str, str]) -> None:
    recorder = Recorder()
    with serving(recorder, lifespan="on", root_path="/mounted", **stack) as running:
        talk_http(running)
        asyncio.run(talk_websocket(running))
    recorder.check()
    # All there is was seen: nothing of the union was left out.
    assert {message["type"] for _, message in recorder.messages} == set(EVENTS)
    assert {scope["type"] for scope in recorder.scopes} == set(SCOPES)
    assert {message["more_body"] for _, message in recorder.messages if message["type"] == "http.request"} == {True, False}
    assert {message["code"] for _, message in recorder.messages if message["type"] == "websocket.disconnect"} == {1000, 1006, 4000}
    assert {scope["http_version"] for scope in recorder.scopes if scope["type"] == "http"} == {"1.0", "1.1"}
    assert {(scope["type"], scope["asgi"]["spec_version"]) for scope in recorder.scopes} == {
        ("http", "2.5"),
        ("websocket", "2.5"),
        ("lifespan", "2.0"),
    }


def test_they_are_so_without_a_lifespan_and_on_a_unix_socket(stack: dict[str, str], tmp_path: Path) -> None:
    recorder = Recorder()
    path = str(tmp_path / "s")
    with serving(recorder, lifespan="off", uds=path, **stack):
        with RawConnection(path) as raw:
            assert raw.exchange("/").status == 200
        with websockets.sync.client.unix_connect(path, "ws://localhost/ws") as connection:
            connection.send("text")
    recorder.check()
    assert [(scope["client"], scope["server"]) for scope in recorder.scopes] == [(None, (path, None))] * 2
    assert all("state" not in scope for scope in recorder.scopes)


class _Tls(typing.TypedDict):
    """tls.rst 0.2, which asgiref.typing has no type for."""

    server_cert: str | None
    tls_version: int | None
    cipher_suite: int | None
    client_cert_chain: collections.abc.Iterable[str]
    client_cert_name: str | None
    client_cert_error: str | None


def test_they_are_so_over_tls(stack: dict[str, str], tmp_path: Path) -> None:
    recorder = Recorder()
    authority = trustme.CA()
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with serving(recorder, lifespan="off", ssl_certfile=str(tmp_path / "both.pem"), **stack) as running:
        with RawConnection(running.address, tls=context) as raw:
            assert raw.exchange("/").status == 200
        asyncio.run(talk_websocket(running, ssl=context))
    recorder.check()
    assert {scope["scheme"] for scope in recorder.scopes} == {"https", "wss"}
    for scope in recorder.scopes:
        assert list(faults(scope["extensions"]["tls"], _Tls, "tls")) == []


def test_the_old_calling_convention_is_given_the_same_but_for_its_version(stack: dict[str, str]) -> None:
    recorder = Recorder()

    class Old:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        async def __call__(self, receive: Receive, send: Send) -> None:
            await recorder(self.scope, receive, send)

    with serving(Old, lifespan="on", **stack) as running:
        talk_http(running)
        asyncio.run(talk_websocket(running))
    recorder.check()
    assert {scope["asgi"]["version"] for scope in recorder.scopes} == {"2.0"}


# ---- the check itself finds faults


GOOD: dict[str, Any] = {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        pytest.param(GOOD, "", id="good"),
        pytest.param({"type": "http.request", "body": b""}, "['more_body']: is missing", id="missing"),
        pytest.param({**GOOD, "body": "text"}, "['body']: 'text' is str", id="text"),
        pytest.param({**GOOD, "body": bytearray()}, "['body']: bytearray(b'') is bytearray", id="subtype"),
        pytest.param({**GOOD, "more_body": 0}, "['more_body']: 0 is int", id="int-for-bool"),
        pytest.param({**GOOD, "more": 1}, "['more']: is not in HTTPRequestEvent", id="unknown"),
        pytest.param({"type": "websocket.receive", "bytes": None, "text": b""}, "['text']: b''", id="union"),
        pytest.param({"type": "websocket.disconnect", "code": True, "reason": ""}, "['code']: True is bool", id="bool-for-int"),
    ],
)
def test_the_check_finds_what_is_wrong(message: Message, fault: str) -> None:
    found = list(faults(message, EVENTS[message["type"]]))
    assert len(found) == bool(fault)
    assert all(each.startswith(fault) for each in found)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param({"headers": [(b"a", "b")]}, "['headers'][0][1]: 'b' is str", id="field"),
        pytest.param({"headers": [[b"a", b"b"]]}, "['headers'][0]: [b'a', b'b'] is no", id="list-for-tuple"),
        pytest.param({"client": ("127.0.0.1", "80")}, "['client']: ", id="port"),
        pytest.param({"asgi": {"version": "4.0", "spec_version": "2.5"}}, "['asgi']['version']: '4.0' is no ", id="version"),
        pytest.param({"extensions": {"tls": None}}, "['extensions']: ", id="extension"),
    ],
)
def test_the_check_finds_what_is_wrong_inside_of_a_scope(change: dict[str, Any], fault: str) -> None:
    good: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"a", b"b")],
        "client": ("127.0.0.1", 80),
        "server": None,
        "extensions": None,
    }
    assert list(faults(good, asgi.HTTPScope)) == []
    (found,) = faults(good | change, asgi.HTTPScope)
    assert found.startswith(fault)


# ---- what importing asgiserve costs


def imported_by(statement: str) -> set[str]:
    """The modules that ``statement`` imports, in a process of its own; without those that were there before (measuring coverage has some)."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nbefore = set(sys.modules)\n{statement}\nprint('\\n'.join(set(sys.modules) - before))"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    )
    return set(done.stdout.split())


def test_importing_asgiserve_imports_no_tool_of_the_tests_and_no_extra() -> None:
    # What it stands on is imported when it is needed (uvloop), or in its smallest part (the frames of websockets).
    unwanted = {"asgiref", "aiohttp", "anyio", "click", "dotenv", "httpx", "httpcore", "pytest", "trio", "trustme", "uvicorn", "uvloop", "yaml"}
    unwanted |= {
        "websockets.asyncio",
        "websockets.sync",
        "websockets.legacy",
        "websockets.client",
        "websockets.server",
        "multiprocessing",
        "urllib.request",
    }
    assert imported_by("import asgiserve") & unwanted == set()


def test_serving_an_application_does_not_import_asgiref() -> None:
    statement = """
import asyncio, asgiserve
async def app(scope, receive, send): raise NotImplementedError(scope["type"])
async def main():
    async with asgiserve.Server(app, port=0, lifespan="off"): pass
asyncio.run(main())
"""
    imported = imported_by(statement)
    assert "asgiserve.server" in imported
    assert imported & {"asgiref", "anyio", "click", "dotenv", "yaml", "uvicorn"} == set()
