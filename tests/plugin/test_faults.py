"""Faults of a live server, as a client sees them on the wire: each of them on TCP, TLS and UNIX sockets, on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from pytest_asgiserve import faults
from pytest_asgiserve.fault_transport import FaultTransport
from pytest_asgiserve.raw import FramingError, RawConnection
from pytest_asgiserve.websocket import WebSocketTimeout
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.faulty import BIG, WIRES, FaultyApp, Wire, outcome, start
from tests.support.websocket import TEXT, Frame, frame, handshake, split_frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_asgiserve.live import LiveServer

# Longer than any test: what is held for so long comes only because it is let go.
LONG = 300.0


@pytest.fixture(scope="module", params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    chosen: Wire = request.param
    return chosen


@pytest.fixture(scope="module")
def served(wire: Wire) -> Iterator[LiveServer]:
    """One server for each wire: rules leave no trace."""
    with start(FaultyApp(), wire) as server:
        yield server


@pytest.fixture(scope="module")
def live() -> Iterator[LiveServer]:
    """For what is the same on every wire."""
    with start(FaultyApp()) as server:
        yield server


def normal(server: LiveServer, path: str = "/a", method: str = "GET") -> bytes:
    """The bytes of a response without a fault, up to its end."""
    with server.connect() as connection:
        connection.get(path, "Connection: close", method=method)
        return connection.read_until_eof()


def asked(server: LiveServer, path: str = "/a", *fields: str, method: str = "GET", **options: Any) -> RawConnection:
    """A connection on which a request was sent."""
    connection = server.connect(**options)
    connection.get(path, "Connection: close", *fields, method=method)
    return connection


# Endings.


@pytest.mark.parametrize("path", ["/a", "/stream", "/length", "/big"])
@pytest.mark.parametrize("after", [0, 70, 120_000, 10_000_000])
@pytest.mark.parametrize(("fault", "how"), [(faults.reset, "reset"), (faults.close, "fin")])
def test_a_connection_ends_after_exactly_so_many_bytes_or_with_the_response(
    served: LiveServer, wire: Wire, fault: Any, how: str, after: int, path: str
) -> None:
    complete = normal(served, path)
    with served.faults(fault(after_bytes=after)) as rule:
        assert outcome(asked(served, path)) == (complete[:after], "fin" if wire.kind == "uds" else how)
    assert rule.used == 1
    assert normal(served, path) == complete


def test_bytes_before_a_reset_reach_a_client_that_is_slow(served: LiveServer, wire: Wire) -> None:
    complete = normal(served, "/big")
    with served.faults(faults.reset(after_bytes=1_000_000)):
        connection = asked(served, "/big", receive_buffer=4096 if wire.kind == "clear" else None)
        first = connection.read_exactly(1000)
        rest, how = outcome(connection)
    assert first + rest == complete[:1_000_000]
    assert how == ("fin" if wire.kind == "uds" else "reset")


def test_a_client_that_takes_nothing_is_reset_when_the_block_ends(served: LiveServer, wire: Wire) -> None:
    complete = normal(served, "/big")
    with served.faults(faults.reset(after_bytes=1_000_000)) as rule:
        connection = asked(served, "/big", receive_buffer=4096)
        while not rule.used:
            served.run(_nothing)
        with served.faults(faults.delay(0)):
            # What is not this block's is not released by it.
            pass
        first = connection.read_exactly(1000)
    rest, how = outcome(connection)
    assert complete.startswith(first + rest)
    assert len(rest) < 999_000
    assert how == ("fin" if wire.kind == "uds" else "reset")


def test_a_close_is_in_order_although_the_client_still_sends(served: LiveServer, wire: Wire) -> None:
    if wire.kind == "tls":
        pytest.skip("TLS cannot be half closed: what the client sends may reset the connection")
    with served.faults(faults.close()), served.connect() as connection:
        connection.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(50000))
        assert outcome(connection) == (b"", "fin")


def test_a_malformed_chunk_comes_behind_the_head_of_a_chunked_response(served: LiveServer) -> None:
    with served.faults(faults.malformed_chunk()):
        for path in ("/a", "/stream"):
            connection = asked(served, path)
            head = connection.read_head()
            assert (head.status, head.framing) == (200, "chunked")
            with pytest.raises(FramingError, match="no chunk-size line"):
                connection.read_chunk()
            connection.expect_eof()


def test_garbage_comes_instead_of_a_response_and_is_the_same_for_the_same_seed(served: LiveServer) -> None:
    def two(seed: int) -> list[tuple[bytes, str]]:
        with served.faults(faults.garbage(size=1000), seed=seed) as rule:
            seen = [outcome(asked(served)), outcome(asked(served))]
        assert rule.used == 2
        return seen

    first, second = two(7)
    assert len(first[0]) == len(second[0]) == 1000
    assert first[0] != second[0]
    assert first[1] == second[1] == "fin"
    assert two(7) == [first, second]
    assert two(8) != [first, second]


def test_a_stalled_response_stays_silent_and_is_reset_when_the_block_ends(served: LiveServer, wire: Wire) -> None:
    complete = normal(served)
    with served.faults(faults.stall(after_bytes=20), path="/a"):
        connection = asked(served)
        assert connection.read_exactly(20) == complete[:20]
        connection.expect_silence(0.1)
        with served.connect() as other:
            assert other.exchange("/b").body == b"hello from /b"
    assert outcome(connection) == (b"", "fin" if wire.kind == "uds" else "reset")


def test_a_client_that_leaves_a_stalled_response_is_let_go(served: LiveServer) -> None:
    with served.faults(faults.stall()) as rule:
        for _ in range(3):
            connection = asked(served)
            connection.expect_silence(0.05)
            connection.close()
    assert rule.used == 3
    assert normal(served).endswith(b"hello from /a")


# Delays.


def test_a_delayed_response_waits_for_the_end_of_the_block_at_the_latest(served: LiveServer) -> None:
    with served.connect() as connection:
        with served.faults(faults.delay(LONG), path="/a"):
            connection.get("/a")
            with served.connect() as other:
                assert other.exchange("/b").body == b"hello from /b"
            connection.expect_silence(0.05)
        assert connection.read_response().body == b"hello from /a"
        assert connection.exchange("/b").body == b"hello from /b"


def test_a_delayed_response_comes_by_itself(served: LiveServer) -> None:
    with served.faults(faults.delay(0.2)), served.connect() as connection:
        began = time.monotonic()
        connection.get("/a")
        assert connection.read_response().body == b"hello from /a"
        assert time.monotonic() - began >= 0.19


@pytest.mark.parametrize("path", ["/a", "/stream", "/length"])
def test_a_body_dribbles_behind_its_head(served: LiveServer, path: str) -> None:
    complete = normal(served, path)
    head = complete[: complete.index(b"\r\n\r\n") + 4]
    with served.faults(faults.dribble(size=3, delay=LONG)):
        connection = asked(served, path)
        assert connection.read_exactly(len(head) + 3) == complete[: len(head) + 3]
        connection.expect_silence(0.05)
    assert connection.read_until_eof() == complete[len(head) + 3 :]


def test_a_head_dribbles_if_asked(served: LiveServer) -> None:
    complete = normal(served)
    with served.faults(faults.dribble(size=5, delay=LONG, head=True)):
        connection = asked(served)
        assert connection.read_exactly(5) == complete[:5]
        connection.expect_silence(0.05)
    assert connection.read_until_eof() == complete[5:]


def test_a_dribbled_response_comes_by_itself_in_pieces(served: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    write_piece = FaultTransport._write_piece

    def watched(self: FaultTransport, held: Any, plan: Any) -> None:
        before = held.at
        write_piece(self, held, plan)
        if held.at > before:
            pieces.append(held.data[before : held.at])

    monkeypatch.setattr(FaultTransport, "_write_piece", watched)
    with served.faults(faults.dribble(size=6, delay=0.02)), served.connect() as connection:
        began = time.monotonic()
        assert connection.exchange("/a").body == b"hello from /a"
        assert time.monotonic() - began >= 0.03
    assert pieces == [b"hello ", b"from /", b"a"]


def test_a_big_body_dribbles_in_its_order(served: LiveServer) -> None:
    with served.faults(faults.dribble(size=20_000, delay=0)), served.connect() as connection:
        assert connection.exchange("/big").body == BIG


def test_faults_add_up(served: LiveServer, wire: Wire) -> None:
    complete = normal(served)
    with served.faults(faults.delay(LONG), faults.dribble(size=2, delay=0.001, head=True), faults.reset(after_bytes=9)):
        connection = asked(served)
        connection.expect_silence(0.05)
    # What is held when the block ends is sent at once: the nine bytes, and the reset.
    assert outcome(connection) == (complete[:9], "fin" if wire.kind == "uds" else "reset")
    with served.faults(faults.delay(0.01), faults.dribble(size=2, delay=0.001, head=True), faults.close(after_bytes=9)):
        assert outcome(asked(served)) == (complete[:9], "fin")
    with served.faults(faults.delay(LONG), faults.stall(after_bytes=9)) as rule:
        connection = asked(served)
        while not rule.used:
            served.run(_nothing)
    # Stalled when it was let go, and reset at once: nothing of it need have arrived.
    received, how = outcome(connection)
    assert complete[:9].startswith(received)
    assert how == ("fin" if wire.kind == "uds" else "reset")


# One response among others.


@pytest.mark.parametrize("parser", ["httptools", "h11"])
@pytest.mark.parametrize("fault", [faults.delay(0.02), faults.dribble(4, 0.001)], ids=["delay", "dribble"])
def test_other_responses_on_the_connection_are_left_alone(fault: faults.Fault, parser: str) -> None:
    if parser == "httptools":
        pytest.importorskip("httptools")
    with start(FaultyApp(), http=parser) as server, server.faults(fault, path="/a") as rule, server.connect() as connection:
        for path in ("/b", "/a", "/c"):
            assert connection.exchange(path).body == b"hello from " + path.encode()
        assert rule.used == 1


def test_pipelined_responses_wait_behind_the_one_that_is_held(served: LiveServer) -> None:
    with served.connect() as connection:
        with served.faults(faults.delay(LONG), path="/a") as rule:
            connection.pipeline("/b", "/a", "/c", "/stream", "/a")
            assert connection.read_response().body == b"hello from /b"
            connection.expect_silence(0.05)
        # The last one may have begun after the block: then it was left alone.
        bodies = [connection.read_response().body for _ in range(4)]
    assert bodies == [b"hello from /a", b"hello from /c", b"firstsecondthird", b"hello from /a"]
    assert rule.used in {1, 2}


def test_pipelined_responses_never_come_behind_an_ending(served: LiveServer) -> None:
    before = normal(served)
    with served.faults(faults.close(after_bytes=10), path="/a"), served.connect() as connection:
        connection.pipeline("/a", "/b", "/c")
        assert outcome(connection) == (before[:10], "fin")


def test_a_held_response_reaches_a_client_that_has_half_closed(served: LiveServer, wire: Wire) -> None:
    if wire.kind == "tls":
        pytest.skip("TLS cannot be half closed")
    with served.connect() as connection:
        with served.faults(faults.delay(LONG)):
            connection.get("/a")
            connection.half_close()
            connection.expect_silence(0.05)
        assert connection.read_response().body == b"hello from /a"
        connection.expect_eof()


def test_a_response_to_head_has_its_faults_too(live: LiveServer) -> None:
    with live.faults(faults.dribble(size=1, delay=LONG), method="HEAD") as rule, live.connect() as connection:
        assert connection.exchange("/a", method="HEAD").one(b"content-length") == b"13"
        assert connection.exchange("/a").body == b"hello from /a"
    assert rule.used == 1
    with live.faults(faults.reset(after_bytes=100_000), method="HEAD"):
        received, how = outcome(asked(live, method="HEAD"))
    assert received.endswith(b"\r\n\r\n")
    assert how == "reset"


def test_the_end_of_the_connection_ends_a_response_of_http_1_0(live: LiveServer) -> None:
    with live.faults(faults.reset(after_bytes=100_000)), live.connect() as connection:
        connection.get("/stream", version="1.0")
        received, how = outcome(connection)
    assert received.endswith(b"\r\n\r\nfirstsecondthird")
    assert how == "reset"


def test_100_continue_is_not_held_up(live: LiveServer) -> None:
    with live.connect() as connection:
        with live.faults(faults.delay(LONG)):
            connection.send(b"POST /read HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            assert connection.read_head().status == 100
            connection.send(b"abc")
            connection.expect_silence(0.05)
        assert connection.read_response().body == b"3"


def test_a_request_that_is_refused_at_the_door_belongs_to_no_rule(live: LiveServer) -> None:
    with live.faults(faults.reset()) as rule, live.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert connection.read_response().status == 400
    assert rule.used == 0


# Which responses.


def test_a_rule_is_used_so_many_times(live: LiveServer) -> None:
    with live.faults(faults.close(), times=2) as rule:
        assert [bool(outcome(asked(live))[0]) for _ in range(4)] == [False, False, True, True]
    assert rule.used == 2


@pytest.mark.parametrize(
    ("path", "requested", "hit"),
    [
        ("/items/1", "/items/1", True),
        ("/items/1", "/items/1?page=2", True),
        ("/items/1", "/items/12", False),
        ("/items/1", "/items/%31", True),
        ("/caf\u00e9", "/caf%C3%A9", True),
        ("/a?b", "/a?b", False),
        ("/items/*", "/items/1/parts", True),
        ("/items/*", "/items", False),
        ("*", "/anything", True),
        ("/[ab]", "/a", False),
        ("/[ab]*", "/a", True),
        ("/ITEMS/*", "/items/1", False),
        (re.compile(r"/items/\d+"), "/items/12", True),
        (re.compile(r"/items/\d+"), "/items/12/parts", False),
    ],
)
def test_a_path_is_exact_or_a_glob_or_a_regular_expression(live: LiveServer, path: Any, requested: str, hit: bool) -> None:
    with live.faults(faults.close(), path=path) as rule:
        received, _ = outcome(asked(live, requested))
    assert rule.used == hit
    assert bool(received) != hit


def test_a_method_is_compared_as_it_is(live: LiveServer) -> None:
    with live.faults(faults.close(), method="POST") as rule:
        assert outcome(asked(live))[0]
        assert outcome(asked(live, method="POST")) == (b"", "fin")
    assert rule.used == 1


def test_the_innermost_rule_that_matches_and_is_not_used_up_wins(live: LiveServer) -> None:
    with live.faults(faults.close()) as outer:
        with live.faults(faults.garbage(5), path="/a", times=1) as inner:
            assert not outcome(asked(live, "/b"))[0]
            assert len(outcome(asked(live, "/a"))[0]) == 5
            assert not outcome(asked(live, "/a"))[0]
        assert (outer.used, inner.used) == (2, 1)
        assert not outcome(asked(live, "/a"))[0]
    assert repr(outer) == "<Rule close used=3>"
    assert repr(inner) == "<Rule garbage path='/a' times=1 used=1>"


def test_a_response_that_began_before_the_block_is_left_alone(live: LiveServer) -> None:
    with live.ws("/ws") as before, live.faults(faults.stall()) as rule:
        before.send_text("still here")
        assert before.receive_text() == "still here"
    assert rule.used == 0


# WebSocket.


def test_a_tunnel_is_a_response_of_any_length(served: LiveServer, wire: Wire) -> None:
    def talk() -> tuple[bytes, str]:
        connection = served.connect()
        connection.send(handshake(path="/ws") + frame(TEXT, "one") + frame(TEXT, "two"))
        return outcome(connection)

    with served.faults(faults.reset(), path="/ws"):
        assert talk() == (b"", "fin" if wire.kind == "uds" else "reset")
    with served.faults(faults.close(after_bytes=40), path="/ws"):
        head, how = talk()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert (len(head), how) == (40, "fin")
    with served.faults(faults.malformed_chunk(), path="/ws"):
        head, how = talk()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert how == "fin"


def test_messages_dribble_and_stall(served: LiveServer) -> None:
    with served.faults(faults.dribble(size=1, delay=0.001), path="/ws"), served.ws("/ws") as connection:
        connection.send_text("in very small pieces")
        assert connection.receive_text() == "in very small pieces"
    with served.connect() as plain:
        plain.send(handshake(path="/ws"))
        head = plain.read_head()
        assert head.status == 101
        whole = sum(len(name) + len(value) + 4 for name, value in head.fields) + len(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    # The answer to the first message, and one byte of the next.
    with served.faults(faults.stall(after_bytes=whole + 6), path="/ws"):
        raw = served.connect()
        raw.send(handshake(path="/ws") + frame(TEXT, "one") + frame(TEXT, "two"))
        raw.read_head()
        assert split_frames(raw.read_exactly(5)) == [Frame(TEXT, b"one")]
        assert raw.read_exactly(1) == b"\x81"
        raw.expect_silence(0.05)
    assert outcome(raw)[0] == b""
    with served.faults(faults.stall(), path="/ws"), pytest.raises(WebSocketTimeout), served.ws("/ws", timeout=0.1):
        pass


# Files.


def test_not_a_byte_of_a_file_goes_past_a_rule(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "content"
    file.write_bytes(BIG)
    calls: list[int] = []
    sendfile = os.sendfile

    def counted(out: int, source: int, offset: int, count: int) -> int:
        sent = sendfile(out, source, offset, count)
        calls.append(sent)
        return sent

    monkeypatch.setattr(os, "sendfile", counted)
    with start(FaultyApp(str(file)), wire) as server:
        complete = normal(server, "/file")
        assert complete.endswith(BIG)
        assert bool(calls) == (wire.kind != "tls")
        calls.clear()
        with server.faults(faults.close(after_bytes=300_000), path="/file") as rule:
            assert outcome(asked(server, "/file")) == (complete[:300_000], "fin")
        assert rule.used == 1
        with server.faults(faults.dribble(100_000, 0.001), path="/file"), server.connect() as connection:
            assert connection.exchange("/file").body == BIG
        assert calls == []
        with server.connect() as connection:
            with server.faults(faults.delay(LONG), path="/a"):
                connection.pipeline("/a", "/file")
                connection.expect_silence(0.05)
            assert connection.read_response().body == b"hello from /a"
            assert connection.read_response().body == BIG


# Back-pressure.


@pytest.mark.parametrize(
    "fault",
    [faults.delay(LONG), faults.dribble(1, LONG), faults.stall(after_bytes=1000), faults.stall()],
    ids=["delay", "dribble", "stall", "stall at once"],
)
def test_an_endless_response_waits_while_it_is_held(wire: Wire, fault: faults.Fault) -> None:
    app = FaultyApp()
    with start(app, wire) as server:
        with server.faults(fault):
            connection = asked(server, "/endless")
            deadline = time.monotonic() + 5
            while app.sent < 65536 - 16384:
                assert time.monotonic() < deadline, "the application was never let write"
                server.run(_nothing)
            # In each of its turns it would send a piece.
            for _ in range(10):
                server.run(_nothing)
            held = app.sent
            assert held <= 65536 + 2 * 16384
            for _ in range(20):
                server.run(_nothing)
            assert app.sent == held
            assert not app.gone.is_set()
        if fault.kind == "stall":
            outcome(connection)
        else:
            connection.read_head()
            for _ in range(20):
                assert connection.read_chunk() == BIG[:16384]
            connection.reset()
        assert app.gone.wait(5)


async def _nothing() -> None:
    """A turn of the loop."""


def test_the_write_timeout_is_for_clients_and_not_for_faults(wire: Wire) -> None:
    with start(FaultyApp(), wire, timeout_write=0.1) as server, server.faults(faults.delay(0.4)), server.connect() as connection:
        connection.get("/big", "Connection: close")
        assert connection.read_response().body == BIG


def test_a_client_that_takes_nothing_of_what_is_let_go_is_cut_off_by_the_write_timeout() -> None:
    app = FaultyApp()
    with start(app, timeout_write=0.2) as server:
        with server.faults(faults.delay(0.01)):
            connection = asked(server, "/endless", receive_buffer=4096)
            assert app.gone.wait(10)
        connection.close()


# Stopping.


@pytest.mark.parametrize(
    "fault",
    [faults.stall(), faults.stall(5), faults.delay(LONG), faults.dribble(1, LONG), faults.reset(10**9)],
    ids=["stall", "stall later", "delay", "dribble", "reset never"],
)
@pytest.mark.parametrize("path", ["/a", "/ws", "/endless"])
def test_a_server_stops_whatever_it_holds(wire: Wire, fault: faults.Fault, path: str) -> None:
    server = start(FaultyApp(), wire, stop_timeout=5, ws_close_timeout=0.2, timeout_linger=0.1, timeout_graceful_shutdown=0.2)
    with server:
        # Not of the server's own connections, which it closes before it stops.
        target: Any = server.uds if server.uds is not None else (server.host, server.port)
        context = server.authority.client_context() if wire.kind == "tls" else None
        with RawConnection(target, tls=context) as connection, server.faults(fault) as rule:
            if path == "/ws":
                connection.send(handshake(path=path) + frame(TEXT, "one"))
            else:
                connection.get(path)
            while not rule.used:
                server.run(_nothing)
            if path == "/endless":
                # Somebody has to take what is let go, until the application is cancelled.
                reader = threading.Thread(target=outcome, args=(connection,))
                reader.start()
                server.stop()
                reader.join(10)
                assert not reader.is_alive()
            else:
                server.stop()
    assert server._thread is not None
    assert not server._thread.running


@pytest.mark.parametrize("fault", [faults.stall(5), faults.delay(LONG)], ids=["stall", "delay"])
def test_a_server_drains_whatever_it_holds(wire: Wire, fault: faults.Fault) -> None:
    with start(FaultyApp(), wire, timeout_linger=0.1) as server, server.faults(fault):
        connection = asked(server)
        connection.expect_silence(0.05) if fault.kind == "delay" else connection.read_exactly(5)
        server.drain(timeout=5)
        received, _ = outcome(connection)
        assert received.endswith(b"hello from /a") == (fault.kind == "delay")


# Threads.


def test_a_rule_works_on_the_loop_itself_too(live: LiveServer) -> None:
    async def inside() -> tuple[bytes, int]:
        with live.faults(faults.close(), path="/a") as rule:
            # On the loop that a server in a test of its own loop would share.
            loop = asyncio.get_running_loop()
            received, _ = await loop.run_in_executor(None, lambda: outcome(asked(live)))
            return received, rule.used

    assert live.run(inside) == (b"", 1)


def test_rules_come_and_go_without_a_connection_or_a_server() -> None:
    registry = faults.Faults()
    with registry.apply(faults.reset()) as rule:
        assert rule.faults == (faults.reset(),)
        registry.release_all()
        assert rule.over
    server = start(FaultyApp())
    with server:
        assert normal(server)
        with server.faults(faults.reset()):
            server.stop()


def test_a_loop_that_is_blocked_does_not_hold_the_block_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_LOOP_WAIT", 0.05)
    blocked, go_on = threading.Event(), threading.Event()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/block":
            blocked.set()
            go_on.wait(20)
        await respond(send)

    with start(app) as server:
        with server.faults(faults.delay(LONG), path="/a"):
            held = asked(server)
            held.expect_silence(0.05)
            blocker = asked(server, "/block")
            assert blocked.wait(5)
            with pytest.raises(RuntimeError, match="the server's loop did not turn"), server.faults(faults.refuse()):
                pass
        go_on.set()
        assert held.read_response().body == b"ok"
        assert blocker.read_response().body == b"ok"
        with server.connect() as connection:
            # What was asked for in vain does not come later.
            assert connection.exchange().status == 200


# What httpx says.


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.reset(), httpx.ReadError),
        (faults.reset(after_bytes=30), httpx.ReadError),
        (faults.close(), httpx.RemoteProtocolError),
        (faults.close(after_bytes=60), httpx.RemoteProtocolError),
        (faults.garbage(), httpx.RemoteProtocolError),
        (faults.malformed_chunk(), httpx.RemoteProtocolError),
        (faults.stall(), httpx.ReadTimeout),
        (faults.delay(LONG), httpx.ReadTimeout),
        (faults.dribble(1, LONG), httpx.ReadTimeout),
    ],
    ids=lambda value: value.kind if isinstance(value, faults.Fault) else value.__name__,
)
def test_httpx_has_an_error_for_each(live: LiveServer, fault: faults.Fault, error: type[Exception]) -> None:
    client = live.new_client(timeout=0.2 if error is httpx.ReadTimeout else 5)
    with live.faults(fault, path="/a", times=1), pytest.raises(error):
        client.get("/a")
    assert client.get("/a").text == "hello from /a"


# Arguments.


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: faults.delay(-1), ValueError, "delay: seconds must be finite and not negative, not -1"),
        (lambda: faults.delay(float("nan")), ValueError, "delay: seconds must be finite and not negative, not nan"),
        (lambda: faults.delay(float("inf")), ValueError, "delay: seconds must be finite and not negative, not inf"),
        (lambda: faults.delay(cast("Any", "1")), TypeError, "delay: seconds must be a number of seconds, not '1'"),
        (lambda: faults.delay(True), TypeError, "delay: seconds must be a number of seconds, not True"),
        (lambda: faults.dribble(0), ValueError, "dribble: size must be 1 or more, not 0"),
        (lambda: faults.dribble(1, -0.1), ValueError, "dribble: delay must be finite and not negative, not -0.1"),
        (lambda: faults.dribble(head=cast("Any", 1)), TypeError, "dribble: head must be True or False, not 1"),
        (lambda: faults.reset(-1), ValueError, "reset: after_bytes must be 0 or more, not -1"),
        (lambda: faults.close(cast("Any", 1.5)), TypeError, "close: after_bytes must be a whole number, not 1.5"),
        (lambda: faults.stall(True), TypeError, "stall: after_bytes must be a whole number, not True"),
        (lambda: faults.garbage(0), ValueError, "garbage: size must be 1 or more, not 0"),
    ],
)
def test_a_fault_says_what_is_wrong_with_it(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        ((), {}, ValueError, "name at least one fault, as in faults(reset())"),
        ((faults.reset,), {}, TypeError, "is no fault; call it: reset(...)"),
        (("reset",), {}, TypeError, "'reset' is no fault"),
        ((faults.reset(), faults.close()), {}, ValueError, "reset() and close() do not go together: each ends the response"),
        ((faults.delay(1), faults.delay(2)), {}, ValueError, "delay() is there 2 times; a response has one of each"),
        ((faults.refuse(), faults.delay(1)), {}, ValueError, "refuse() stands alone: a connection that is refused has no response"),
        ((faults.refuse(),), {"path": "/a"}, ValueError, "refuse() is for all new connections; path, method and times do not go with it"),
        ((faults.refuse(),), {"times": 1}, ValueError, "refuse() is for all new connections; path, method and times do not go with it"),
        ((faults.reset(),), {"times": 0}, ValueError, "times must be 1 or more, not 0"),
        ((faults.reset(),), {"times": 1.0}, TypeError, "times must be a whole number, not 1.0"),
        ((faults.reset(),), {"seed": "x"}, TypeError, "seed must be a whole number, not 'x'"),
        ((faults.reset(),), {"path": "a"}, ValueError, "path='a' never matches: a path begins with '/' (it has no host and no query)"),
        ((faults.reset(),), {"path": b"/a"}, TypeError, "path must be text or a compiled regular expression, not b'/a'"),
        ((faults.reset(),), {"path": re.compile(b"/a")}, TypeError, "path must be a pattern for str, not for bytes: b'/a'"),
        ((faults.reset(),), {"method": "get"}, ValueError, "method='get' never matches: methods are case-sensitive, as in 'GET'"),
        ((faults.reset(),), {"method": b"GET"}, TypeError, "method must be text, not b'GET'"),
    ],
)
def test_a_rule_says_what_is_wrong_with_it_before_its_block(
    live: LiveServer, given: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        live.faults(*given, **options)
    assert str(caught.value).startswith("faults(): ")
    assert str(caught.value).endswith(message)
