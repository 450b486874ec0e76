"""A suite of 1,000 live-server tests leaves nothing behind in its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = 1000

# Counted after the tenth test, when everything is imported that is ever imported, and after the last.
CONFTEST = """
import asyncio, gc, json, os, socket, threading

seen = {}
finished = 0

def look():
    # A thread that was told to end (a pool's worker) may be on its way out: that is waited for, within a bound.
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.name.startswith("pytest"):
            thread.join(5)
    gc.collect()
    found = gc.get_objects()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread()),
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        "sockets": sum(1 for one in found if isinstance(one, socket.socket) and one.fileno() >= 0),
        "tasks": sum(1 for one in found if isinstance(one, asyncio.Task) and not one.done()),
        "loops": sum(1 for one in found if isinstance(one, asyncio.AbstractEventLoop) and not one.is_closed()),
    }

def pytest_runtest_logfinish(nodeid, location):
    global finished
    finished += 1
    if finished == 10:
        seen["early"] = look()

def pytest_unconfigure():
    seen["late"] = look()
    with open("seen.json", "w") as file:
        json.dump(seen, file)
"""

TEST = """
import asyncio, pytest

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["path"] == "/thread":
        # A thread of the loop's executor.
        await asyncio.to_thread(len, "x")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": scope["path"] == "/stream"})
    if scope["path"] == "/stream":
        # Until the client goes, or the server stops.
        while (await receive())["type"] != "http.disconnect":
            pass

@pytest.fixture
def asgi_app():
    return app

@pytest.mark.parametrize("number", range(NUMBER))
def test_it(live_server, number):
    if number % 5 == 0:
        with live_server.ws("/chat") as ws:
            ws.send("hi")
            assert ws.receive() == "hi"
    elif number % 5 == 1:
        assert live_server.client.get("/thread").text == "hello"
    elif number % 5 == 2:
        # Left open, half read.
        connection = live_server.connect()
        connection.get("/stream")
        assert connection.read_head().status == 200
    elif number % 5 == 3:
        client = live_server.new_client()
        assert client.get("/").text == "hello"
    # And each fifth test asks for a server and does nothing with it.
"""


@pytest.mark.timeout(240)
def test_a_thousand_live_server_tests_leave_no_thread_socket_task_loop_or_descriptor_behind(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "test_many.py").write_text(TEST.replace("NUMBER", str(TESTS)), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))},
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_asgiserve.plugin", "-W", "error"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert f"{TESTS} passed" in done.stdout, done.stdout[-5000:] + done.stderr[-2000:]
    seen = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))
    late, early = seen["late"], seen["early"]
    assert late["threads"] == []
    assert late["tasks"] == 0
    assert late["loops"] == early["loops"] == 0
    assert late["sockets"] == early["sockets"] == 0
    assert late["descriptors"] <= early["descriptors"]
