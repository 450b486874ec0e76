"""Scenarios: clients that are slow, silent, or too many."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bench.fault_crowd import Plan, crowd
from bench.fault_load import Client, count_requests, get, paced, percentile
from bench.fault_table import Figure, Row, Scenario
from bench.fault_trial import KEEP_ALIVE, KIB, MIB, NORMAL, Peak

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.fault_load import Answer
    from bench.fault_table import Value
    from bench.fault_trial import Trial
    from bench.servers import Server

__all__ = ["SCENARIOS"]

_RATE: Final = 200
_OK: Final = 200
_PATIENCE: Final = 5.0
_CLOSED_SECONDS: Final = 15.0
_SLOW_HEAD: Final = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
_SLOW_BODY: Final = "POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nabc"
# A socket's buffer grows to 4 MiB by itself (tcp_wmem): what fits into it stalls nobody.
_STALLED_MIB: Final = 8
_NOFILE: Final = 120
_ESTABLISHED: Final = 5
_AGAIN_SECONDS: Final = 10.0


def _ok_percent(answers: list[Answer]) -> float:
    return 100 * sum(answer.status == _OK for answer in answers) / len(answers) if answers else 0.0


def _p99(answers: list[Answer]) -> float:
    """In milliseconds; one that was not answered counts with the time until it was given up."""
    return 1000 * percentile([answer.seconds for answer in answers], 99)


def _normal(server: Server, seconds: float, beside: Callable[[float], None] | None = None) -> list[Answer]:
    client = Client(server.port, patience=_PATIENCE, kept=8)
    try:
        paced(client, NORMAL, _RATE, seconds, beside=beside)
        client.finish(_PATIENCE)
    finally:
        client.close()
    return client.answers


def slow_heads(trial: Trial) -> None:
    """Thousands of connections that send a byte of their request head now and then."""
    sizes, figures = trial.sizes, trial.figures
    with trial.server() as server:
        _normal(server, 1.0)
        base = _normal(server, sizes.base_seconds)
        figures["base"] = _p99(base)
        peak = Peak(server)
        plan = Plan(port=server.port, count=sizes.heads, first=_SLOW_HEAD, drip="a", interval=2.0, seconds=sizes.head_seconds)
        total = sizes.heads / plan.per_second + sizes.head_seconds
        # When all are there, and before the first can be closed. Not more often: while this process looks, it takes no answers.
        moments = [total * 0.25, total * 0.45]

        def look(now: float) -> None:
            if moments and now >= moments[0]:
                moments.pop(0)
                peak.look()

        with crowd(plan) as drippers:
            beside = _normal(server, total, look)
            figures["ok"] = _ok_percent(beside)
            figures["p99"] = _p99(beside)
            figures["ratio"] = _p99(beside) / _p99(base) if base else 0.0
            figures["memory"] = peak.growth / MIB
            drippers.wait_open()
            seen = drippers.seen()
        figures["opened"] = seen.opened
        figures["closed"] = Figure(seen.closed_within(_CLOSED_SECONDS), _statuses(seen.statuses))


def slow_peers(trial: Trial) -> None:
    """Readers that stall, and bodies that drip."""
    sizes, figures = trial.sizes, trial.figures
    with trial.server() as server:
        _normal(server, 0.5)
        peak = Peak(server)
        stalled = Plan(port=server.port, count=1, first=get("/huge/1024").decode(), read=False, seconds=60)
        with crowd(stalled) as one:
            one.wait_open()
            for _ in range(6):
                time.sleep(0.5)
                peak.look()
        figures["stalled"] = peak.growth / MIB
    with trial.server() as server:
        _normal(server, 0.5)
        before, peak = server.descriptors(), Peak(server)
        readers_plan = Plan(
            port=server.port, count=sizes.readers, first=get(f"/huge/{_STALLED_MIB}").decode(), read=False, receive_buffer=4096, seconds=120
        )
        with crowd(readers_plan) as readers:
            opened = readers.wait_open()
            began = time.monotonic()
            # Until all are served, as far as they let it.
            for _ in range(6):
                time.sleep(0.5)
                peak.look()
            figures["reader_memory"] = peak.growth / max(opened, 1) / KIB
            plan = Plan(port=server.port, count=sizes.slow, first=_SLOW_BODY, drip="a", interval=2.0, seconds=sizes.body_seconds)
            with crowd(plan) as bodies:
                bodies.wait_open()
                seen = bodies.seen()
            figures["bodies"] = Figure(seen.closed_within(_CLOSED_SECONDS), _statuses(seen.statuses))
            time.sleep(max(began + sizes.reader_seconds - time.monotonic(), 0))
            left = max(server.descriptors() - before, 0)
            figures["readers"] = 100 * (1 - min(left / max(opened, 1), 1))
        figures["after"] = _ok_percent(_normal(server, 0.5))


def idle_connections(trial: Trial) -> None:
    """Thousands of connections that have not made a request yet; and as many that have, and may make another."""
    sizes, figures = trial.sizes, trial.figures
    with trial.server() as server:
        memory = _warm(server)
        # Short, as a connection without a request is not kept for long by all.
        with crowd(Plan(port=server.port, count=sizes.idle, seconds=5, per_second=4000)) as silent:
            opened = silent.wait_open()
            time.sleep(0.5)
            figures["fresh"] = (server.rss_bytes() - memory) / max(opened, 1) / KIB
    with trial.server(*KEEP_ALIVE.get(trial.name, ())) as server:
        memory = _warm(server)
        plan = Plan(port=server.port, count=sizes.idle, first=get("/").decode(), seconds=sizes.idle_seconds + 5, per_second=4000)
        with crowd(plan) as idle:
            opened = idle.wait_open()
            time.sleep(1)
            cpu, began = server.cpu_seconds(), time.monotonic()
            time.sleep(sizes.idle_seconds)
            figures["cpu"] = 100 * (server.cpu_seconds() - cpu) / (time.monotonic() - began)
            figures["opened"] = opened
            figures["memory"] = (server.rss_bytes() - memory) / max(opened, 1) / KIB
            figures["ok"] = _ok_percent(_normal(server, 1.0))
            idle.leave()
            seen = idle.seen()
        figures["kept"] = 100 * (1 - len(seen.lifetimes) / max(opened, 1))


def _warm(server: Server) -> int:
    """What the server needs for a few connections: its memory."""
    _normal(server, 0.5)
    count_requests(server.port, [get("/")], count=2000, connections=50, seconds=5)
    return server.rss_bytes()


def descriptors(trial: Trial) -> None:
    """More connections than there are file descriptors."""
    sizes, figures = trial.sizes, trial.figures
    with trial.server(nofile=_NOFILE) as server:
        client = Client(server.port, patience=_PATIENCE, kept=_ESTABLISHED)
        fresh = Client(server.port, patience=1.0)
        try:
            for _ in range(_ESTABLISHED):
                client.begin(get("/"))
            client.finish(_PATIENCE)
            client.answers.clear()
            plan = Plan(port=server.port, count=sizes.held, seconds=sizes.held_seconds * 3, patience=5.0)
            lines = _lines(server)
            with crowd(plan) as held:
                held.wait_open()
                cpu, began = server.cpu_seconds(), time.monotonic()
                paced(client, [get("/")], _ESTABLISHED, sizes.held_seconds)
                figures["cpu"] = 100 * (server.cpu_seconds() - cpu) / (time.monotonic() - began)
                client.finish(_PATIENCE)
                figures["established"] = _ok_percent(client.answers)
                figures["lines"] = _lines(server) - lines
                held.leave()
                released = time.monotonic()
                held.seen()
            figures["again"] = _served_again(server, fresh, released)
        finally:
            client.close()
            fresh.close()


def _served_again(server: Server, fresh: Client, since: float) -> Value:
    """Seconds from ``since`` until a new connection is answered."""
    while server.alive and time.monotonic() - since < _AGAIN_SECONDS:
        fresh.begin(get("/", "Connection: close"))
        fresh.finish(1.0)
        if (answer := fresh.answers[-1]).status == _OK:
            return answer.began + answer.seconds - since
        time.sleep(0.02)
    return "never"


def _statuses(statuses: dict[str, int]) -> str:
    """The status that most of them were told."""
    return max(statuses, key=lambda status: statuses[status]) if statuses else ""


def _lines(server: Server) -> int:
    """How many lines it logged; where more were written than are kept, the rest is taken to be as long as those."""
    text = server.output
    lines = text.count("\n")
    if text.startswith("[") and (missing := text[1:].split(" ", 1)[0]).isdecimal() and "of output before" in text[:60]:
        lines += int(missing) * lines // max(len(text), 1)
    return lines


SCENARIOS: Final = (
    Scenario(
        "slow-heads",
        "Slow request heads",
        "5,000 connections send a byte of a request head every two seconds, beside 200 normal requests a second, half of them on new connections. "
        "Closed: by the server, within 15 seconds of the connection.",
        (
            Row("opened", "slow connections opened"),
            Row("ok", "normal requests answered, %", "{:.2f}", least=100),
            Row("base", "p99 without the crowd, ms", "{:.1f}"),
            Row("p99", "p99 beside the crowd, ms", "{:.1f}"),
            Row("ratio", "p99, times that without", "{:.1f}", most=2),
            Row("closed", "slow connections closed in 15 s, % (status)", "{:.1f}", least=100),
            Row("memory", "memory, growth in MiB", "{:.1f}", most=60),
        ),
        slow_heads,
        30,
    ),
    Scenario(
        "slow-peers",
        "Stalled readers and slow bodies",
        "One client asks for 1 GiB and reads nothing. Then 200 clients ask for 8 MiB each, which is more than the system takes for them, and read "
        "nothing, for 35 seconds; beside them 1,000 send a byte of their body every two seconds.",
        (
            Row("stalled", "one stalled reader of 1 GiB: memory, growth in MiB", "{:.1f}", most=4),
            Row("reader_memory", "200 stalled readers: memory each, KiB", "{:.1f}"),
            Row("readers", "stalled readers closed in 35 s, %", "{:.1f}", least=100),
            Row("bodies", "slow bodies closed in 15 s, % (status)", "{:.1f}", least=100),
            Row("after", "requests answered afterwards, %", "{:.1f}", least=100),
        ),
        slow_peers,
        42,
    ),
    Scenario(
        "idle",
        "Idle connections",
        "10,000 connections open and send nothing. On another server as many make a request and stay open; every server was told to keep them for a "
        "minute, where it can be told.",
        (
            Row("fresh", "memory each, without a request, KiB", "{:.1f}", most=4),
            Row("opened", "connections opened that make a request"),
            Row("kept", "kept, %", "{:.1f}"),
            Row("memory", "memory each, KiB", "{:.1f}", most=4),
            Row("cpu", "CPU while nothing happens, %", "{:.2f}", most=0.5),
            Row("ok", "requests answered beside them, %", "{:.1f}", least=100),
        ),
        idle_connections,
        32,
    ),
    Scenario(
        "descriptors",
        "No file descriptors left",
        "The server may have 120 descriptors; 300 connections are held for 10 seconds, beside 5 that were there before and make requests.",
        (
            Row("cpu", "CPU, %", "{:.1f}", most=1),
            Row("lines", "lines logged", most=5),
            Row("established", "requests on the earlier connections answered, %", "{:.1f}", least=100),
            Row("again", "a new connection is served again after, s", "{:.2f}", most=1),
        ),
        descriptors,
        18,
    ),
)
