"""Bytes that somebody once thought of: the HTTP/1 stimuli of the conformance suite, and the tables of ``tests/core``.

The law of this module: nothing is made up here. An entry is a name and the bytes that a client sends, in order; whether they are good or bad, and
what becomes of them, is said where they come from and not asked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from asgi_conformance.case import Case
from asgi_conformance.suite import TOPICS
from tests.core import test_chunked, test_http1_closing, test_http1_hostile, test_http1_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CORPUS", "HEADS", "SMALL", "Entry"]


class Entry(NamedTuple):
    """What a client sends, and where it comes from."""

    name: str
    data: bytes


def _stimuli() -> Iterator[Entry]:
    """Every stimulus of the suite that is bytes; pauses between them, and a half-close behind them, are left out."""
    for topic in TOPICS:
        if not topic.name.startswith("http1/"):
            continue
        for case in topic:
            if isinstance(case, Case):
                for stimulus in case.stimuli:
                    yield Entry(f"{case.id}: {stimulus.label}", b"".join(part for part in stimulus.parts if isinstance(part, bytes)))


def _tables() -> Iterator[Entry]:
    for case in test_http1_hostile.CASES:
        yield Entry(case.name, case.data)
    for served in test_http1_requests.SERVED:
        yield Entry(served.name, served.data)
    for name, data, _ in test_http1_closing.STATES:
        yield Entry(f"closing: {name}", data)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for table in (test_chunked.GOOD, test_chunked.BAD):
        for row in table:
            body = row.values[0]
            assert isinstance(body, bytes)
            yield Entry(f"chunks: {row.id}", head + body)


def _once(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The same bytes but once, under the name that came first."""
    seen = {b""}
    for entry in entries:
        if entry.data not in seen:
            seen.add(entry.data)
            yield entry


# A megabyte of the same says nothing that 170 kB do not say.
_MAX_BYTES = 200_000

CORPUS = [entry for entry in _once(entry for source in (_stimuli(), _tables()) for entry in source) if len(entry.data) <= _MAX_BYTES]

# What is worth being mutated: in a large one a mutation hits nothing but filling.
SMALL = [entry.data for entry in CORPUS if len(entry.data) <= 1000]

HEADS = list(dict.fromkeys(entry.data[: entry.data.index(b"\r\n\r\n") + 4] for entry in CORPUS if b"\r\n\r\n" in entry.data))
"""The first head of each, as a connection would cut it."""
