"""User-space instructions per request, counted by valgrind's callgrind: exact where time is noisy.

    pip install -e . --group bench
    python bench/instructions.py [--servers asgiserve,uvicorn,granian] [--request plain|browser|upload] [--top 30] [--write]

Each server runs under callgrind with the plain text application of bench/apps.py; one keep-alive connection makes requests one after another. What
the first requests cost (imports, caches) is dumped and thrown away; what the next ones cost is divided by their number. ``--top`` shows where the
instructions went, function by function of the interpreter and its libraries. ``--write`` puts the table into bench/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from asgi_conformance.targets import Place, find_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "instructions.md"

TARGETS = {
    "asgiserve": ("asgiserve[httptools]", ["--no-access-log", "--log-level", "warning", "--loop", "uvloop"]),
    "asgiserve-h11": ("asgiserve[h11]", ["--no-access-log", "--log-level", "warning", "--loop", "uvloop"]),
    "asgiserve-log": ("asgiserve[httptools]", ["--access-log", "--log-level", "info", "--loop", "uvloop"]),
    "uvicorn": ("uvicorn[httptools]", ["--no-access-log", "--log-level", "warning", "--loop", "uvloop"]),
    "granian": ("granian", ["--no-access-log", "--log-level", "warning", "--loop", "uvloop"]),
    "hypercorn": ("hypercorn", ["--worker-class", "uvloop"]),
    "daphne": ("daphne", ["-v", "0"]),
    "gunicorn": ("gunicorn", ["--log-level", "warning"]),
}

APP = '''
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0") if scope["method"] == "POST" else b"0"
    if length != b"0":
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        body = b"%d" % len(body)
    else:
        body = b"Hello, world!"
    fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
'''

BROWSER = b"""GET /shop/items?page=2&sort=price HTTP/1.1
Host: 127.0.0.1:8000
Connection: keep-alive
Cache-Control: max-age=0
sec-ch-ua: "Chromium";v="142", "Not_A Brand";v="99"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: "Linux"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: navigate
Sec-Fetch-Dest: document
Referer: http://127.0.0.1:8000/shop
Accept-Encoding: gzip, deflate, br, zstd
Cookie: session=4f2a9c0d1e8b7a6f5c4d3e2b1a0f9e8d; theme=dark; csrftoken=Zk3mQ9xT7vLp2RwY

""".replace(b"\n", b"\r\n")

REQUESTS = {
    "plain": b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
    "browser": BROWSER,
    "upload": b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 65536\r\n\r\n" + b"u" * 65536,
}


def children(pid: int) -> list[int]:
    """``pid`` and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += children(int(child))
    return found


@contextlib.contextmanager
def running(name: str, python: str, folder: Path) -> Iterator[tuple[int, int]]:
    """The server ``name`` under callgrind: its process id and its port."""
    target, options = TARGETS[name]
    with socket.socket() as probe:
        # Held until the server binds it: both sides say SO_REUSEADDR or nobody else asks for it within a second.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = find_target(target).command
    assert command is not None
    server = command(Place("instructions_app:app", str(folder), python, port=port))
    valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={folder}/out.%p", "--dump-line=no"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([*valgrind, *server, *options], stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while True:
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{(folder / 'log').read_text(errors='replace')[-3000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.3)
        yield child.pid, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def make_requests(connection: socket.socket, request: bytes, count: int) -> None:
    """Make ``count`` requests, each after the answer to the one before."""
    for _ in range(count):
        connection.sendall(request)
        head, end, content = b"", -1, b""
        while end < 0:
            head += connection.recv(65536)
            end = head.find(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"an unexpected answer: {head[:200]!r}")
        length = re.search(rb"(?i)content-length: *(\d+)", head[: end + 2])
        assert length is not None
        content = head[end + 4 :]
        while len(content) < int(length[1]):
            content += connection.recv(65536)


def dump(pid: int, folder: Path) -> list[Path]:
    """Have every process of the server write what it counted since the last time; the files."""
    before = set(folder.glob("out.*"))
    for process in children(pid):
        subprocess.run(["callgrind_control", "-d", str(process)], check=False, capture_output=True)
    return sorted(path for path in set(folder.glob("out.*")) - before if path.stat().st_size)


def total(path: Path) -> int:
    """The instructions in one dump."""
    match = re.search(r"^(?:totals|summary): (\d+)", path.read_text(errors="replace"), re.MULTILINE)
    return int(match[1]) if match else 0


def count(name: str, python: str, request: bytes, warm_up: int, number: int, top: int) -> float:
    """Instructions per request of the server ``name``."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "instructions_app.py").write_text(APP)
        with running(name, python, folder) as (pid, port), socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            make_requests(connection, request, warm_up)
            dump(pid, folder)
            make_requests(connection, request, number)
            files = dump(pid, folder)
        instructions = sum(map(total, files)) / number
        if top:
            for path in files:
                if total(path) > number * 1000:
                    show(path, number, top)
    return instructions


def show(path: Path, number: int, top: int) -> None:
    """The functions that took most, per request."""
    report = subprocess.run(["callgrind_annotate", "--threshold=99", str(path)], check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^ *([\d,]+) \([ \d.]+%\) +(\S.*)$", report, re.MULTILINE)
    for instructions, function in rows[:top]:
        print(f"{int(instructions.replace(',', '')) / number:10,.0f}  {function[-110:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--servers", default="asgiserve,uvicorn,granian", help="separated by commas, of " + ", ".join(TARGETS))
    parser.add_argument("--request", choices=REQUESTS, default="plain", help="what is asked for (default: plain)")
    parser.add_argument("--requests", type=int, default=400, metavar="N", help="how many are counted (default: 400)")
    parser.add_argument("--warm-up", type=int, default=400, metavar="N", help="how many come before (default: 400)")
    parser.add_argument("--python", action="append", help="the interpreter to run the servers with; may be repeated (default: this one)")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="show the N functions that took most")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: apt install valgrind", file=sys.stderr)
        return 2
    for python in given.python or [sys.executable]:
        for name in given.servers.split(","):
            instructions = count(name, python, REQUESTS[given.request], given.warm_up, given.requests, given.top)
            print(f"{name:16} {given.request:8} {instructions:10,.0f} instructions per request", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
