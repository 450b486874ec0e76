"""wrk, the load generator for everything but WebSocket and idle connections: run for a while, and asked for exact counts.

The law of this module: what wrk says is read as numbers from its own script interface, not from its text, and anything that went wrong is said.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MISSING", "Load", "find_wrk", "judge", "quote_lua", "run_wrk"]

MISSING: Final = "wrk is not installed: apt install wrk"

_DONE: Final = """
done = function(summary, latency, requests)
  local e = summary.errors
  local said = '{"requests": %d, "microseconds": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}'
  io.write('\\nRESULT ', string.format(said,
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout), '\\n')
end
"""
# The request is made once and cut where the number stands; then each is one concatenation. Nothing comes twice: of a list that is repeated, a server
# that remembers as many would know each request.
_VARIED: Final = """
local parts, number = {}, %d
init = function(args)
  for part in (wrk.format() .. "%s"):gmatch("(.-)%s") do parts[#parts + 1] = part end
end
request = function()
  number = number + 1
  return table.concat(parts, string.format("%%08d", number))
end
"""
# A run is far shorter than the numbers that are left behind this one.
_NUMBERS: Final = 90_000_000
_ERRORS: Final = {
    "connect": "connects that failed",
    "read": "read errors",
    "write": "write errors",
    "timeout": "time-outs",
    "status": "not 2xx or 3xx",
}
_GRACE_SECONDS: Final = 5
_TIMEOUT_SECONDS: Final = 10
_TRIES: Final = 3


class Load(NamedTuple):
    """What a load generator did.

    Attributes:
        requests: how many were answered.
        seconds: how long it took.
        received: bytes, heads included; 0 where they are checked one by one.
        cpu_seconds: the load generator's own.
        problem: what went wrong, or "".
    """

    requests: int
    seconds: float
    received: int = 0
    cpu_seconds: float = 0.0
    problem: str = ""


def find_wrk() -> str | None:
    """Where wrk is; None where it is missing."""
    return shutil.which("wrk")


def run_wrk(
    wrk: str,
    url: str,
    *,
    seconds: float,
    connections: int,
    method: str = "GET",
    body: bytes = b"",
    fields: Mapping[str, str] | None = None,
    number: str = "",
) -> Load:
    """Load ``url`` from one thread for about so many seconds, each connection with one request at a time.

    Where ``number`` stands in the URL's path and the fields, each request has a number of its own, of eight digits.
    """
    with _script(method, body, number) as script:
        whole = math.ceil(seconds) + _GRACE_SECONDS
        command = [wrk, "-t", "1", "-c", str(connections), "-d", f"{whole}s", "--timeout", f"{_TIMEOUT_SECONDS}s", "-s", script]
        for name, value in (fields or {}).items():
            command += ["-H", f"{name}: {value}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with subprocess.Popen([*command, url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            output = _end_after(process, seconds)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return judge(output, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def judge(output: str, cpu_seconds: float = 0.0) -> Load:
    """What wrk's output says."""
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        return Load(0, 0.0, problem=f"wrk failed: {' '.join(output.split())[:200] or 'it wrote nothing'}")
    found = json.loads(line.removeprefix("RESULT "))
    errors = [f"{found[name]} {what}" for name, what in _ERRORS.items() if found[name]]
    if not found["requests"] and not errors:
        errors = ["no answer"]
    return Load(found["requests"], found["microseconds"] / 1e6, found["bytes"], cpu_seconds, ", ".join(errors))


def quote_lua(data: bytes) -> str:
    """Bytes as a string of Lua's; a body of one byte, many times, as that."""
    if len(data) > 1 and data.count(data[:1]) == len(data):
        return f"string.rep({quote_lua(data[:1])}, {len(data)})"
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'


def _end_after(process: subprocess.Popen[str], seconds: float) -> str:
    """Its output. wrk counts whole seconds, but at SIGINT it stops and says what it has; before its threads run it does not hear it."""
    for wait in (seconds, *[1.0] * _TRIES):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=wait)[0]
        process.send_signal(signal.SIGINT)
    process.kill()
    return process.communicate()[0]


@contextlib.contextmanager
def _script(method: str, body: bytes, number: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="asgiserve-bench-") as folder:
        path = Path(folder) / "load.lua"
        request = f'wrk.method = "{method}"\n' + (f"wrk.body = {quote_lua(body)}\n" if body else "")
        # Not from the same number each time: the warm-up before a measurement is a run of its own.
        varied = _VARIED % (secrets.randbelow(_NUMBERS), number, number) if number else ""
        path.write_text(request + varied + _DONE, encoding="ascii")
        yield str(path)
