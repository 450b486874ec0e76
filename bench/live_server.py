"""What a real server for each test costs: live_server beside what people use otherwise, in one interleaved run.

    pip install -e . --group dev --group bench
    python bench/live_server.py [--tests 50] [--rounds 5] [--write]

Every contender serves the same answer on a socket of its own for each test, and each test makes one request. Contenders take turns, each in a pytest
of its own with only the plugins that it needs; the numbers are medians over all tests of all rounds. ``--write`` puts the table into bench/results/.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "live_server.md"

# Writes the seconds of each phase of each test; the first test of a run pays for imports and is left out.
TIMER = """
import json, os
times = {}
def pytest_runtest_logreport(report):
    times.setdefault(report.nodeid, {})[report.when] = report.duration
    assert report.passed, report.longreprtext
def pytest_unconfigure():
    with open(os.environ["TIMES"], "w") as file:
        json.dump(list(times.values()), file)
"""

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""

EMPTY = """
import pytest
@pytest.mark.parametrize("number", range(NUMBER))
def test_empty(number):
    assert number >= 0
"""

ASGISERVE = """
import pytest
@pytest.fixture
def asgi_app():
    return app
@pytest.mark.parametrize("number", range(NUMBER))
def test_it(live_server, number):
    assert live_server.client.get("/").text == "hello"
"""

# The fixture that is in a thousand conftest.py files.
UVICORN = """
import socket, threading, time
import httpx, pytest, uvicorn
@pytest.fixture
def server_url():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.001)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
@pytest.fixture
def client(server_url):
    with httpx.Client(base_url=server_url) as client:
        yield client
@pytest.mark.parametrize("number", range(NUMBER))
def test_it(client, number):
    assert client.get("/").text == "hello"
"""

AIOHTTP = """
import pytest
from aiohttp import web
@pytest.mark.parametrize("number", range(NUMBER))
async def test_it(aiohttp_server, aiohttp_client, number):
    async def hello(request):
        return web.Response(text="hello")
    application = web.Application()
    application.router.add_get("/", hello)
    client = await aiohttp_client(await aiohttp_server(application))
    response = await client.get("/")
    assert await response.text() == "hello"
"""

# A server of its own for each test, which is what is compared; the plugin's own fixture keeps one for the session.
HTTPSERVER = """
import httpx, pytest
from pytest_httpserver import HTTPServer
@pytest.fixture
def server_url():
    with HTTPServer(host="127.0.0.1", port=0) as server:
        server.expect_request("/").respond_with_data("hello")
        yield server.url_for("")
@pytest.fixture
def client(server_url):
    with httpx.Client(base_url=server_url) as client:
        yield client
@pytest.mark.parametrize("number", range(NUMBER))
def test_it(client, number):
    assert client.get("/").text == "hello"
"""

TESTCLIENT = """
import pytest
from starlette.testclient import TestClient
@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client
@pytest.mark.parametrize("number", range(NUMBER))
def test_it(client, number):
    assert client.get("/").text == "hello"
"""


class Contender(NamedTuple):
    """One way to test; ``packages`` are named with their versions, ``plugins`` are loaded."""

    name: str
    source: str
    packages: tuple[str, ...]
    plugins: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


CONTENDERS = (
    Contender("an empty test", EMPTY, ("pytest",)),
    Contender("**live_server**", APP + ASGISERVE, ("asgiserve", "uvloop", "httptools"), ("pytest_asgiserve.plugin",)),
    Contender("uvicorn in a thread, by hand", APP + UVICORN, ("uvicorn",)),
    Contender(
        "pytest-aiohttp, aiohttp_server",
        AIOHTTP,
        ("pytest-aiohttp", "aiohttp"),
        ("pytest_asyncio.plugin", "pytest_aiohttp.plugin"),
        ("--asyncio-mode=auto",),
    ),
    Contender("pytest-httpserver, one for each test", HTTPSERVER, ("pytest-httpserver",)),
    Contender("Starlette's TestClient (no socket)", APP + TESTCLIENT, ("starlette",)),
)


class Times(NamedTuple):
    """Seconds, for each test."""

    around: list[float]
    whole: list[float]


def measure(contender: Contender, tests: int, folder: Path) -> Times:
    """Run pytest once on ``tests`` tests."""
    folder.mkdir(exist_ok=True)
    (folder / "timer_plugin.py").write_text(TIMER, encoding="utf-8")
    (folder / "test_contender.py").write_text(contender.source.replace("NUMBER", str(tests + 1)), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    times = folder / "times.json"
    plugins = [part for plugin in ("timer_plugin", *contender.plugins) for part in ("-p", plugin)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TIMES": str(times), "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, *contender.options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{contender.name} failed:\n{done.stdout}{done.stderr}")
    phases = json.loads(times.read_text(encoding="utf-8"))[1:]
    return Times([phase["setup"] + phase["teardown"] for phase in phases], [sum(phase.values()) for phase in phases])


def spread(values: list[float]) -> str:
    """The middle half, in milliseconds."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low * 1000:.2f}-{high * 1000:.2f}"


def table(results: dict[str, Times], versions: dict[str, str]) -> list[str]:
    """Markdown."""
    empty = results[CONTENDERS[0].name]
    lines = [
        "| a server for each test | setup + teardown, ms | middle half | whole test with one request, ms | middle half | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, times in results.items():
        around = statistics.median(times.around) - (statistics.median(empty.around) if times is not empty else 0)
        whole = statistics.median(times.whole) - (statistics.median(empty.whole) if times is not empty else 0)
        lines.append(f"| {name} | {around * 1000:.2f} | {spread(times.around)} | {whole * 1000:.2f} | {spread(times.whole)} | {versions[name]} |")
    return lines


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=50, help="tests in each run (default 50)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (default 5)")
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULT.relative_to(ROOT)}")
    given = parser.parse_args()
    versions = {}
    for contender in CONTENDERS:
        try:
            versions[contender.name] = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in contender.packages)
        except importlib.metadata.PackageNotFoundError as error:
            raise SystemExit(f"{contender.name} needs {error.name}: pip install -e . --group dev --group bench") from None
    results = {contender.name: Times([], []) for contender in CONTENDERS}
    with tempfile.TemporaryDirectory(prefix="asgiserve-bench-") as folder:
        for number in range(given.rounds):
            order = list(CONTENDERS)
            random.shuffle(order)
            for contender in order:
                print(f"{f'round {number + 1} of {given.rounds}: {contender.name}':70}", end="\r", file=sys.stderr, flush=True)
                times = measure(contender, given.tests, Path(folder) / str(CONTENDERS.index(contender)))
                results[contender.name].around.extend(times.around)
                results[contender.name].whole.extend(times.whole)
    print(" " * 70, end="\r", file=sys.stderr)
    where = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    lines = [
        *table(results, versions),
        "",
        f"Medians of {given.rounds} x {given.tests} tests, the rows below the first above an empty test; middle halves as measured. {where}.",
        f"`python bench/live_server.py --tests {given.tests} --rounds {given.rounds}`",
    ]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if given.write:
        RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
