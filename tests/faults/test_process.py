"""What an application can do to the process that serves it: whoever ends the process ends the server, with that status; all else leaves it as it is.

A server with several workers would start another one. Here there is one, so that its end is the end.
"""

from __future__ import annotations

import importlib.util
import signal
from typing import TYPE_CHECKING

import pytest

from pytest_asgiserve.raw import RawConnection, Truncated
from tests.support.process import child
from tests.support.serving import LOOPS

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import asyncio, os, sys

kept = []

async def app(scope, receive, send):
    async def behind(error):
        raise error

    async def part():
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        # Until it is in the socket.
        await asyncio.sleep(0)

    match scope["path"]:
        case "/exit-at-once":
            os._exit(7)
        case "/exit-within-its-response":
            await part()
            os._exit(7)
        case "/abort":
            os.abort()
        case "/task-that-exits":
            kept.append(asyncio.ensure_future(behind(SystemExit(5))))
            await asyncio.Event().wait()
        case "/task-that-interrupts":
            kept.append(asyncio.ensure_future(behind(KeyboardInterrupt())))
            await asyncio.Event().wait()
        case "/sys-exit":
            sys.exit(3)
        case "/interrupt":
            raise KeyboardInterrupt
        case "/interrupt-within-its-response":
            await part()
            raise KeyboardInterrupt
        case "/memory":
            bytearray(2**62)
        case "/recursion":
            await app(scope, receive, send)
        case "/close-the-loop":
            asyncio.get_running_loop().close()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""
NEEDS_UVLOOP = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not there for this Python or system")
OPTIONS = ("main:app", "--port", "0", "--lifespan", "off", "--loop")


# asyncio and uvloop let these two out of any task, past the server: they are meant to end the program. Its requests are cancelled then.
OF_TASKS = [("/task-that-exits", 500, 5), ("/task-that-interrupts", 500, 128 + signal.SIGINT)]


@pytest.mark.parametrize(
    ("loop", "path", "answer", "status"),
    [
        ("asyncio", "/exit-at-once", 0, 7),
        ("asyncio", "/exit-within-its-response", 200, 7),
        ("asyncio", "/abort", 0, -signal.SIGABRT),
        *(("asyncio", *ending) for ending in OF_TASKS),
        *(pytest.param("uvloop", *ending, marks=NEEDS_UVLOOP) for ending in OF_TASKS),
    ],
)
def test_what_ends_the_process_ends_the_server_with_that_status(tmp_path: Path, loop: str, path: str, answer: int, status: int) -> None:
    with child(*OPTIONS, loop, source=SOURCE, cwd=tmp_path) as server:
        address = server.address
        with RawConnection(address) as client, RawConnection(address) as idle:
            assert idle.exchange().status == 200
            client.get(path)
            if answer == 200:
                with pytest.raises(Truncated) as cut:
                    client.read_response()
                assert cut.value.received == b"part"
            elif answer:
                assert client.read_response().status == answer
            # Nothing else, which nobody takes for a response.
            assert client.expect_closed() == b""
            assert server.wait() == status
            assert idle.expect_closed() == b""
            with pytest.raises(ConnectionRefusedError):
                RawConnection(address)


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_else_ends_it_and_it_stops_in_order(tmp_path: Path, loop: str) -> None:
    with child(*OPTIONS, loop, source=SOURCE, cwd=tmp_path) as server:
        for path in ("/sys-exit", "/interrupt", "/memory", "/recursion", "/close-the-loop"):
            with RawConnection(server.address) as client:
                response = client.exchange(path)
                assert (response.status, response.closes) == (500, True)
                client.expect_eof()
        with RawConnection(server.address) as client, pytest.raises(Truncated) as cut:
            client.exchange("/interrupt-within-its-response")
        assert cut.value.received == b"part"
        with RawConnection(server.address) as client:
            # The same process as before.
            assert client.exchange().body == b"%d" % server.pid
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.output.count("exception in the application") == 6
