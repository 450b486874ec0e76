"""Scenarios: more requests than can be answered, and the end of a server that is answering."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Final

from bench.fault_load import Client, count_requests, get, paced, percentile
from bench.fault_table import Figure, Row, Scenario
from bench.fault_trial import NORMAL, reached

if TYPE_CHECKING:
    from bench.fault_load import Answer
    from bench.fault_trial import Trial
    from bench.servers import Server

__all__ = ["SCENARIOS", "recovery"]

_LIMIT: Final = 8
_LIMITS: Final = {
    "asgiserve": ("--limit-concurrency", str(_LIMIT)),
    "uvicorn": ("--limit-concurrency", str(_LIMIT)),
    "granian": ("--backpressure", str(_LIMIT)),
}
_POOL: Final = get("/pool", "Connection: close")
_FACTOR: Final = 10
_PATIENCE: Final = 1.0
_OK: Final = 200
_UNAVAILABLE: Final = 503
_AFTER_SECONDS: Final = 3.0
_CALM_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 15.0
_AGAIN_SECONDS: Final = 5.0
_IN_FLIGHT: Final = 20
_PROBE_INTERVAL: Final = 0.1
_REACHED_SECONDS: Final = 2.0


def overload(trial: Trial) -> None:
    """Ten times as many requests as the application can answer."""
    sizes, figures = trial.sizes, trial.figures
    options = _LIMITS.get(trial.name, ())
    figures["option"] = " ".join(options) or "none"
    with trial.server(*options) as server:
        best = count_requests(server.port, [get("/pool")], count=1_000_000, connections=_LIMIT - 2, seconds=sizes.peak_seconds)
        peak = best.done / best.seconds
        figures["peak"] = peak
        # The limit may count connections, and those were many a moment ago.
        time.sleep(0.2)
        client = Client(server.port, patience=_PATIENCE)
        try:
            began = time.monotonic()
            paced(client, [_POOL], peak * _FACTOR, sizes.overload_seconds, label="over")
            ended = time.monotonic()
            paced(client, [_POOL], peak / 2, _AFTER_SECONDS, label="after")
            client.finish(_PATIENCE)
        finally:
            client.close()
    over = [answer for answer in client.answers if answer.label == "over"]
    good = [answer for answer in over if answer.status == _OK and answer.began + answer.seconds <= ended]
    others = [answer for answer in over if answer.status != _OK]
    told = [answer for answer in others if answer.status == _UNAVAILABLE]
    figures["offered"] = len(over) / (ended - began)
    figures["goodput"] = 100 * len(good) / (ended - began) / peak if peak else 0.0
    for key, count in (("told", len(told)), ("retry", sum(answer.retry_after for answer in told))):
        figures[key] = 100 * count / len(others) if others else "all answered"
    figures["refusal"] = 1000 * percentile([answer.seconds for answer in told], 99) if told else "none"
    figures["waited"] = 1000 * percentile([answer.seconds for answer in good], 99) if good else "none"
    since = recovery([answer for answer in client.answers if answer.label == "after"], ended)
    figures["recovery"] = "never" if since is None else since


def recovery(answers: list[Answer], since: float) -> float | None:
    """Seconds from ``since`` until the first of half a second of requests that were all answered; None where there is no such half second."""
    began, last = since, max((answer.began for answer in answers), default=since)
    for answer in sorted(answers, key=lambda answer: answer.began):
        if answer.status != _OK:
            if answer.began - began >= _CALM_SECONDS:
                break
            began = answer.began
    return began - since if last - began >= _CALM_SECONDS else None


def drain(trial: Trial) -> None:
    """SIGTERM while requests are being answered; and a second one."""
    sizes, figures = trial.sizes, trial.figures
    with trial.server() as server:
        _finish(trial, server)
    with trial.server() as server, contextlib.ExitStack() as opened:
        for _ in range(_IN_FLIGHT):
            sock = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            sock.sendall(get("/sleep/30000"))
        reached(server, _IN_FLIGHT, _REACHED_SECONDS)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(min(1.0, sizes.flying_most / 2000))
        again = time.monotonic()
        if not server.alive:
            figures["twice"] = "ended at the first"
            return
        os.kill(server.pid, signal.SIGTERM)
        figures["twice"] = time.monotonic() - again if _wait_end(server, _AGAIN_SECONDS) else f"not in {_AGAIN_SECONDS:.0f} s"


def _finish(trial: Trial, server: Server) -> None:
    sizes, figures = trial.sizes, trial.figures
    client = Client(server.port, patience=_STOP_SECONDS)
    probe = Client(server.port, patience=1.0)
    try:
        for request in NORMAL:
            client.begin(request)
        client.finish(1.0)
        client.answers.clear()
        for number in range(sizes.flying):
            milliseconds = sizes.flying_least + (sizes.flying_most - sizes.flying_least) * number // max(sizes.flying - 1, 1)
            client.begin(get(f"/sleep/{milliseconds}"))
            client.turn(0)
        # Until all are there; the first must not have ended.
        settle = time.monotonic() + sizes.flying_least / 2000
        while time.monotonic() < settle and not reached(server, sizes.flying, 0.0):
            client.turn(0.01)
        os.kill(server.pid, signal.SIGTERM)
        signalled = asked = time.monotonic()
        while client.running and time.monotonic() - signalled < _STOP_SECONDS:
            client.turn(0.02)
            probe.turn(0)
            # The signal needs a moment to be seen.
            if (now := time.monotonic()) - asked >= _PROBE_INTERVAL and client.running:
                asked = now
                probe.begin(get("/", "Connection: close"))
        client.finish(0.0)
        ended = _wait_end(server, max(signalled + _STOP_SECONDS - time.monotonic(), 0.1))
        figures["exit"] = time.monotonic() - signalled if ended else f"not in {_STOP_SECONDS:.0f} s"
        probe.finish(1.0)
        answered = [answer for answer in client.answers if answer.status == _OK]
        figures["answered"] = 100 * len(answered) / sizes.flying
        figures["status"] = "none" if server.exit_status is None else server.exit_status
        refused = [answer for answer in probe.answers if answer.error == "ECONNREFUSED" or answer.status == _UNAVAILABLE]
        others = [answer.error or str(answer.status) for answer in probe.answers if answer not in refused]
        if probe.answers:
            share = 100 * len(refused) / len(probe.answers)
            figures["refused"] = Figure(share, f"else: {max(set(others), key=others.count)}") if others else share
        else:
            figures["refused"] = "none tried"
    finally:
        client.close()
        probe.close()


def _wait_end(server: Server, seconds: float) -> bool:
    """Whether its first process ends in time."""
    try:
        descriptor = os.pidfd_open(server.pid)
    except ProcessLookupError:
        return True
    try:
        ended = bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
    # Whoever waits for it in this process has its status a moment later.
    end = time.monotonic() + 1
    while ended and server.alive and time.monotonic() < end:
        time.sleep(0.005)
    return ended


SCENARIOS: Final = (
    Scenario(
        "overload",
        "Ten times too many requests",
        "Each request waits for one of 4 database connections and then 20 ms for the database: 200 a second can be answered. Ten times the measured "
        "peak is sent, each on a new connection, and given up after a second. Where there is an option that limits what runs at once, it is 8.",
        (
            Row("option", "option"),
            Row("peak", "peak, requests/s", "{:.0f}"),
            Row("offered", "sent, requests/s", "{:.0f}"),
            Row("goodput", "answered in time, % of the peak", "{:.0f}", least=80),
            Row("waited", "p99 of the answered, ms", "{:.0f}"),
            Row("told", "of the others, 503, %", "{:.1f}", least=100),
            Row("retry", "of the others, 503 with Retry-After, %", "{:.1f}", least=100),
            Row("refusal", "p99 of those 503, ms", "{:.1f}", most=50),
            Row("recovery", "all answered again after, s", "{:.2f}", most=1),
        ),
        overload,
        20,
    ),
    Scenario(
        "drain",
        "SIGTERM",
        "200 requests that take 1 to 5 seconds are running when SIGTERM comes; new connections are tried ten times a second from then on. "
        "And a second server gets it twice, a second apart, with requests that take longer.",
        (
            Row("answered", "running requests answered, %", "{:.1f}", least=100),
            Row("status", "exit status", "{:.0f}", most=0, least=0),
            Row("exit", "ended after, s", "{:.1f}", most=10),
            Row("refused", "new connections refused, or 503, %", "{:.1f}", least=100),
            Row("twice", "ended after the second SIGTERM, s", "{:.2f}", most=1),
        ),
        drain,
        12,
    ),
)
