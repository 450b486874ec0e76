"""Scenario: input of twice the size must not cost more than twice the CPU."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from asgi_conformance.frames import BINARY, TEXT, encode_frame
from bench.fault_aborts import UPGRADE
from bench.fault_load import count_requests, get, response_end
from bench.fault_table import Figure, Row, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.fault_trial import Trial
    from bench.servers import Server

__all__ = ["SCENARIOS"]

_SECONDS: Final = 15.0
_FIELDS: Final = 45
# gunicorn takes 4094 bytes of request line.
_ESCAPES: Final = 640
_FLAT: Final = 2.3


def _fields(server: Server, count: int, number: int) -> None:
    request = get("/", *["X-Field: value"] * number)
    _requests(server, request, count)


def _escapes(server: Server, count: int, number: int) -> None:
    _requests(server, get("/" + "%41" * number), count)


def _requests(server: Server, request: bytes, count: int) -> None:
    tally = count_requests(server.port, [request], count=count, connections=1, seconds=_SECONDS)
    if tally.done < count or tally.failed:
        raise ValueError(f"{tally.done} of {count} answered: {dict(tally.failed)}")


def _chunks(server: Server, count: int, number: int) -> None:
    """A body of ``count * number`` chunks of one byte."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=_SECONDS) as sock:
        sock.sendall(b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(b"1\r\nx\r\n" * (count * number))
        sock.sendall(b"0\r\n\r\n")
        if not _response(sock).endswith(b"\r\n\r\n%d" % (count * number)):
            raise ValueError("the body was not taken")


def _frames(server: Server, count: int, number: int) -> None:
    """As many WebSocket messages of one byte."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=_SECONDS) as sock:
        sock.sendall(UPGRADE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # The server speaks next when it is asked: nothing stands behind the head.
            head += _some(sock)
        if not head.startswith(b"HTTP/1.1 101"):
            raise ValueError(f"no WebSocket: {head[:60]!r}")
        sock.sendall(encode_frame(BINARY, b"x") * (count * number))
        sock.sendall(encode_frame(TEXT, b"count"))
        answer = b""
        while b"%d" % (count * number) not in answer:
            answer += _some(sock)


def _response(sock: socket.socket) -> bytes:
    received = b""
    while not response_end(received)[0]:
        received += _some(sock)
    return received


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def complexity(trial: Trial) -> None:
    """CPU of twice as much, for each kind."""
    sizes, figures = trial.sizes, trial.figures
    kinds: tuple[tuple[str, Callable[[Server, int, int], None], int, int], ...] = (
        ("fields", _fields, sizes.heads_read, _FIELDS),
        ("escapes", _escapes, sizes.heads_read, _ESCAPES),
        ("chunks", _chunks, sizes.chunks, 1),
        ("frames", _frames, sizes.frames, 1),
    )
    with trial.server() as server:
        for key, send, count, number in kinds:
            try:
                send(server, count, number)
                once, twice = (min(_cpu(server, send, count, times * number) for _ in range(sizes.repeats)) for times in (1, 2))
            except (OSError, ValueError) as error:
                if not server.alive:
                    raise
                figures[key] = "refused" if isinstance(error, ValueError | ConnectionError) else f"over {_SECONDS:.0f} s"
                trial.say(f"{trial.name}: {key}: {error}")
            else:
                figures[key] = Figure(twice / once, f"{1e6 * twice / count / 2 / number:.2f} µs each")


def _cpu(server: Server, send: Callable[[Server, int, int], None], count: int, number: int) -> float:
    before = server.cpu_seconds()
    send(server, count, number)
    return server.cpu_seconds() - before


SCENARIOS: Final = (
    Scenario(
        "complexity",
        "Twice as much input",
        "CPU of 2n against CPU of n: fields of one name (45 and 90 in a head), percent-escapes in a path (640 and 1,280), chunks of one byte in a "
        "body (100,000 and 200,000), WebSocket messages of one byte (50,000 and 100,000). In brackets what each costs.",
        (
            Row("fields", "repeated fields, times", "{:.2f}", most=_FLAT),
            Row("escapes", "percent-escapes, times", "{:.2f}", most=_FLAT),
            Row("chunks", "chunks of one byte, times", "{:.2f}", most=_FLAT),
            Row("frames", "messages of one byte, times", "{:.2f}", most=_FLAT),
        ),
        complexity,
        20,
    ),
)
