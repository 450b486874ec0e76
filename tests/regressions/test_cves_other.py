"""Advisories that are neither a request nor a response: logs, proxies, what one request leaves to the next, dead sockets, and costs that grow
with the square of what was sent.

A cost is counted in instructions of Python, so that it is the same number on every machine. What a regular expression does inside of C is not
seen by that; there, a time is the bound, many times what linear work takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import errno
import socket
import struct
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.asgi.proxy import TrustedProxies
from asgiserve.asgi.scope import http_scope
from asgiserve.logs import JsonFormatter, TextFormatter
from asgiserve.runtime.accept import Listener
from pytest_asgiserve.raw import RawConnection
from tests.regressions.attacks import chunked, head
from tests.sockets.test_accept import FakeLoop, FakeSocket
from tests.support.apps import respond
from tests.support.exchanges import FakePeer, make_context, make_exchange
from tests.support.operations import operations
from tests.support.sansio import PARSERS, Wire, answer, echo, request

if TYPE_CHECKING:
    from tests.regressions.conftest import Attacked
    from tests.support.apps import Receive, Scope, Send
    from tests.support.records import Records


# ---- logs


def test_cve_2020_7694_what_a_target_decodes_to_does_not_reach_a_terminal(attacked: Attacked, records: Records) -> None:
    async def failing(scope: Scope, _receive: Receive, _send: Send) -> None:
        # The decoded path in a message of somebody else's, as frameworks log it.
        raise ValueError(scope["path"])

    attacked.switch.app = failing
    with RawConnection(attacked.address) as client:
        client.send(b"GET /%1b%5b31mred%1b%5b0m%0d%0aforged%7f%c2%9b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 500
        client.expect_eof()
    with RawConnection(attacked.address) as client:
        client.send(b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 400
    records.wait(lambda seen: len(seen.access) == 1 and len(seen.errors) == 2)
    text, json = TextFormatter(use_colors=False), JsonFormatter()
    for record in records.select():
        first, *others = text.format(record).split("\n")
        assert first.isprintable()
        # Nothing that was sent can begin a line.
        assert all(line.isprintable() and line.startswith("    ") for line in others)
        assert json.format(record).isprintable()


def test_cve_2025_47287_bad_requests_do_not_fill_the_log(attacked: Attacked, records: Records) -> None:
    began = time.monotonic()
    for _ in range(100):
        with RawConnection(attacked.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nmalformed\r\n\r\n")
            assert client.read_response().status == 400
    seconds = time.monotonic() - began
    # Ten lines a second, and a last one that says how many there were.
    assert 1 <= len(records.errors) <= 10 * (int(seconds) + 2)


# ---- proxies


def scope(*fields: tuple[bytes, bytes], trusted: bool) -> dict[str, Any]:
    """The scope of a request with these fields, from a peer that is trusted or not."""
    exchange, _ = make_exchange(fields=[(b"host", b"a"), *fields], forwarded=True)
    return http_scope(make_context(proxies=TrustedProxies(["192.0.2.1"])), exchange, FakePeer(client=("192.0.2.1", 5000), trusted=trusted))


def test_cve_2026_3902_an_underscore_is_no_hyphen() -> None:
    made = scope((b"x_forwarded_for", b"203.0.113.9"), (b"x_forwarded_proto", b"https"), trusted=True)
    assert (made["client"], made["scheme"]) == (("192.0.2.1", 5000), "http")
    # The names reach the application as they are; which of them it takes for the same is its own affair.
    assert (b"x_forwarded_for", b"203.0.113.9") in made["headers"]


@pytest.mark.parametrize(
    "field",
    [
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"evil"),
        (b"x-forwarded-port", b"1"),
        (b"x-forwarded-by", b"evil"),
        (b"forwarded", b"for=203.0.113.9;proto=https;host=evil"),
    ],
    ids=lambda field: field[0].decode(),
)
def test_waitress_3_0_2_forwarded_fields_of_a_stranger_change_nothing(field: tuple[bytes, bytes]) -> None:
    with_field, without = scope(field, trusted=False), scope(trusted=False)
    # What came is in the headers, where ASGI wants it; nothing that the server says itself comes from it.
    assert with_field.pop("headers") == [*without.pop("headers"), field]
    assert with_field == without


@pytest.mark.parametrize("field", [b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-by", b"x-forwarded-server"])
def test_waitress_3_0_2_fields_that_are_not_read_change_nothing_behind_a_proxy(field: bytes) -> None:
    with_field, without = scope((field, b"443"), trusted=True), scope(trusted=True)
    assert with_field.pop("headers") != without.pop("headers")
    assert with_field == without


def test_uvicorn_0_48_repeated_forwarded_fields_are_one_list() -> None:
    # Whoever reads only one of the lines, or sets one over the other, believes what the client wrote itself.
    made = scope((b"x-forwarded-for", b"10.0.0.1"), (b"x-forwarded-for", b"203.0.113.9, 192.0.2.1"), trusted=True)
    assert made["client"] == ("203.0.113.9", 0)
    made = scope((b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-for", b"198.51.100.7"), trusted=True)
    assert made["client"] == ("198.51.100.7", 0)


# ---- one request and the next


def test_cve_2020_35681_nothing_of_a_scope_is_left_for_the_next_request(attacked: Attacked) -> None:
    scopes: list[dict[str, Any]] = []

    async def keeping(made: Scope, _receive: Receive, send: Send) -> None:
        scopes.append(copy.deepcopy(made))
        made["user"] = made["session"] = "somebody"
        made["asgi"]["user"] = made["extensions"]["user"] = {"id": 1}
        made["headers"].append((b"cookie", b"session=somebody"))
        await respond(send)

    attacked.switch.app = keeping
    with RawConnection(attacked.address) as client:
        client.exchange("/")
        client.exchange("/")
    first, second = scopes
    assert first == second
    assert "user" not in repr(second)


# ---- sockets


def test_cve_2022_31015_a_client_that_goes_does_not_take_the_server_with_it(attacked: Attacked, records: Records) -> None:
    entered = threading.Semaphore(0)

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        entered.release()
        if scope["path"] == "/waits":
            await receive()
            await receive()
            return
        with contextlib.suppress(OSError):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})

    attacked.switch.app = streaming
    for path in ("/waits", "/streams") * 5:
        with RawConnection(attacked.address) as client:
            client.get(path)
            assert entered.acquire(timeout=10)
            client.reset()
    attacked.switch.app = respond_ok
    with RawConnection(attacked.address) as client:
        assert client.exchange("/").body == b"ok"
    assert not records.errors, records.messages()


async def respond_ok(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send)


def test_cve_2024_49769_a_connection_that_is_dead_when_it_is_accepted_costs_nothing(attacked: Attacked, records: Records) -> None:
    # GHSA-3f84-rpwh-47g6: getpeername() failed, and the socket stayed in a busy loop.
    loop = attacked.serving.server.loop
    blocked, go = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go.wait(10)

    loop.call_soon_threadsafe(block)
    assert blocked.wait(10)
    for _ in range(20):
        client = socket.create_connection(attacked.address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    go.set()
    with RawConnection(attacked.address) as alive:
        assert alive.exchange("/").body == b"ok"
    idle: Future[float] = Future()

    async def measure() -> float:
        began = time.thread_time()
        await asyncio.sleep(0.3)
        return time.thread_time() - began

    def begin() -> None:
        loop.create_task(measure()).add_done_callback(lambda task: idle.set_result(task.result()))

    loop.call_soon_threadsafe(begin)
    # A loop that is busy takes all of it.
    assert idle.result(10) < 0.15
    assert not attacked.serving.server.open_connections()
    assert not records.errors, records.messages()


class DeadSocket(socket.socket):
    """A socket that was accepted and takes no option any more, as macOS has them."""

    def setsockopt(self, *_: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


class FakeTcp(FakeSocket):
    """A listening socket of the kind whose connections are given options."""

    family = socket.AF_INET


def test_waitress_3_0_0_a_socket_that_takes_no_option_does_not_end_the_accepting() -> None:
    accepted: list[Any] = []
    loop = FakeLoop()
    with DeadSocket() as dead, socket.socket() as alive:
        listening: Any = FakeTcp((dead, ("192.0.2.1", 1)), ConnectionAbortedError(), (alive, ("192.0.2.1", 2)))
        faked: Any = loop
        listener = Listener(faked, listening, lambda sock, _: accepted.append(sock), polite=True)
        listener.start(8)
        loop.ready()
        assert accepted == [dead, alive]
        assert loop.reading
        listener.stop()


# ---- costs


def linear(cost: Any, size: int) -> None:
    """Doubled, what is sent costs no more than twice as much, but for a tenth."""
    cost(size)
    once, twice = cost(size), cost(2 * size)
    assert once <= twice <= 2.2 * once


WIDE: dict[str, Any] = {"max_head_bytes": 1 << 24, "max_field_count": 1 << 20, "max_request_line_bytes": 1 << 20}


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("name", [b"X-Same", b"Connection", b"Cookie", b"Transfer-Encoding", b"TE", b"X-Forwarded-For", b"Forwarded"])
def test_cve_2025_67725_a_repeated_field_costs_linear_work(name: bytes, parser: str) -> None:
    # With the limit of 100 fields there is no attack; this is without it.
    def cost(count: int) -> int:
        wire = Wire(answer, parser, **WIDE)
        data = head(*[name + b": a"] * count)
        spent = operations(lambda: wire.feed(data))
        assert len(wire.statuses) == 1
        return spent

    linear(cost, 300)


def test_cve_2025_67725_a_repeated_field_of_a_proxy_costs_linear_work() -> None:
    proxies = TrustedProxies(["*"])

    def cost(count: int) -> int:
        return operations(lambda: proxies.resolve([(b"x-forwarded-for", b"192.0.2.1")] * count, None, "http"))

    linear(cost, 300)


def test_cve_2025_67726_parameters_of_forwarded_cost_linear_work() -> None:
    proxies = TrustedProxies(["*"], standard=True)

    def cost(count: int) -> int:
        value = b"for=192.0.2.1" + b';a="\\"b"' * count
        return operations(lambda: proxies.resolve([(b"forwarded", value)], None, "http"))

    linear(cost, 300)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_cve_2025_69229_many_small_chunks_cost_linear_work(size: int) -> None:
    def cost(count: int) -> int:
        wire = Wire(echo)
        data = chunked(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        spent = operations(lambda: wire.feed(data, size))
        assert wire.responses[0].body == b"x" * count
        return spent

    linear(cost, 100)


@pytest.mark.parametrize("unit", ["%41", "%e4%bd%a0", "%ff", "%2f", "a/"])
def test_tornado_6_6_1_percent_encoded_octets_cost_linear_work(unit: str) -> None:
    def cost(count: int) -> int:
        wire = Wire(answer, **WIDE)
        data = request("/" + unit * count)
        spent = operations(lambda: wire.feed(data))
        assert wire.statuses == [200]
        return spent

    linear(cost, 500)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "line",
    [
        b"Bad: " + b"x" * 60_000 + b"\x10",
        b"Bad:" + b" " * 60_000 + b"\x10",
        b"Bad: " + b"x " * 30_000 + b"\x10",
        b"Bad: " + b"\t x" * 20_000 + b"\x10",
        b"Bad" * 20_000 + b" ",
        b"Forwarded: " + b" " * 60_000 + b"\x10",
        b"Transfer-Encoding:" + b" ," * 30_000,
        b"Host:" + b"[" * 60_000,
        b"Sec-WebSocket-Extensions: " + b"a;" * 30_000,
    ],
    ids=["long", "spaces", "words", "mixed", "name", "forwarded", "commas", "brackets", "semicolons"],
)
def test_cve_2020_5236_a_bad_field_does_not_make_a_regular_expression_search_for_ever(line: bytes, parser: str) -> None:
    # Quadratic work on 60,000 bytes takes seconds, exponential work never ends; linear work takes a millisecond.
    wire = Wire(answer, parser)
    began = time.thread_time()
    wire.feed(head(line))
    assert time.thread_time() - began < 0.5
    assert len(wire.statuses) == 1


def test_cve_2014_9720_nothing_is_compressed_unasked(attacked: Attacked) -> None:
    # BREACH reads a secret from the length of a compressed response. Content codings are the application's.
    async def secret(_scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, b"secret " * 1000)

    attacked.switch.app = secret
    with RawConnection(attacked.address) as client:
        response = client.exchange("/", "Accept-Encoding: gzip, deflate, br, zstd")
    assert response.one(b"content-encoding") is None
    assert response.body == b"secret " * 1000
