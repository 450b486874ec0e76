"""What the process asks of the C library's memory, seen by the page faults of a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's heap that is trimmed")

# Eight pieces of 64 KiB are needed and freed again and again, at the end of the heap. The lists are made before.
PROGRAM = """
import resource
from asgiserve.runtime.memory import keep_freed_memory
{call}
held = [None] * 8
def use():
    for index in range(8):
        held[index] = b"x" * 65536
    for index in range(8):
        held[index] = None
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str, environ: dict[str, str]) -> int:
    """How many pages came anew in 200 rounds of 128 pages."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], env=environ, capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


def test_memory_that_is_freed_with_every_request_stays_with_the_process() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES", "PYTHONMALLOC"))}
    assert faults("keep_freed_memory()", environ) < 1000
    # The threshold of the environment has the say: then each round takes most of its 128 pages anew.
    assert faults("keep_freed_memory()", {**environ, "MALLOC_TRIM_THRESHOLD_": "131072"}) > 10_000
