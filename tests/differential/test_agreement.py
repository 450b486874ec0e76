"""Every request comes to the same end with both parsers, and however its bytes were cut.

Compared are: what the parser called, the scope and the rest of the head, body and trailers, every byte that was written, the refusals as they are
logged, and what became of the connection: after the bytes, and after the client's FIN or two minutes of silence.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given

from tests.differential.corpus import CORPUS, Entry
from tests.differential.generated import cuts, mutated
from tests.differential.long_run import TIMES, examples, time_limit
from tests.differential.observing import DifferenceError, compare, random_cut
from tests.support.sansio import GET

pytestmark = time_limit


def group(entry: Entry) -> str:
    """``h1.chunk`` of ``h1.chunk.size-hex: a label``, ``field`` of ``field.obs-fold``."""
    parts = entry.name.partition(":")[0].split(".")
    return ".".join(parts[:2] if parts[0] == "h1" else parts[:1])


GROUPS = {name: list(entries) for name, entries in itertools.groupby(sorted(CORPUS, key=group), key=group)}


def compare_entry(entry: Entry, data: bytes) -> None:
    try:
        compare(data, [random_cut(data)], thorough=TIMES > 1)
    except DifferenceError as difference:
        difference.add_note(entry.name)
        raise


@pytest.mark.parametrize("name", GROUPS)
def test_a_request_of_the_tables_comes_to_the_same_end(name: str) -> None:
    for entry in GROUPS[name]:
        compare_entry(entry, entry.data)


@pytest.mark.parametrize("name", GROUPS)
def test_and_so_it_does_between_two_others(name: str) -> None:
    # A fifth of them, for the time; all of them in the long run.
    for entry in GROUPS[name][:: 1 if TIMES > 1 else 5]:
        compare_entry(entry, GET + entry.data + GET)


def test_the_corpus_has_what_it_had() -> None:
    # A table that was moved or renamed must not go unnoticed.
    assert len(CORPUS) > 1000
    assert {"h1.line", "h1.target", "h1.field", "h1.host", "h1.cl", "h1.te", "h1.chunk", "h1.trailer", "h1.msg", "h1.conn"} <= GROUPS.keys()
    assert {"line", "target", "field", "host", "te", "chunk", "ws", "chunks", "closing"} <= GROUPS.keys()


@examples(130)
@given(mutated(), cuts)
def test_made_up_and_broken_requests_come_to_the_same_end(data: bytes, cut: list[int]) -> None:
    compare(data, [cut])


# ---- what this package found


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\r\n", id="an empty line and no more"),
        pytest.param(GET + b"\r\n", id="an empty line behind a request"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\nX: a\nY: b\r\n\r\n", id="a version and a bare LF"),
        pytest.param(b"get / HTTP/1.1\r\nHost: a\rb\r\n\r\n", id="a method and a bare CR"),
        pytest.param(b"GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n", id="a target that ends the line early"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb: c\r\nX: " + b"y" * 9_000 + b"\r\n\r\n", id="a bare LF and then too large"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9_000 + b"\r\nX: a\nb: c\r\n", id="too large and then a bare LF"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n" + b"X: y\r\n" * 21 + b"\r\n", id="a length and too many fields"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n" + b"X: y\r\n" * 21 + b"\r\n", id="a folded line and too many fields"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\n" + b"b" * 2_000 + b"\r\n", id="a bare LF in a long chunk line"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello", id="a bare LF in a chunk line"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\nb\r\nX: " + b"y" * 9_000 + b"\r\n\r\n",
            id="a bare LF and then too many trailers",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + b"x" * 4096 + b"\r\nx\r\n",
            id="too much content and then no chunk",
        ),
    ],
)
def test_what_once_depended_on_the_cut_or_on_the_parser(data: bytes) -> None:
    compare(data, [random_cut(data), [len(data) - 1], [len(data) // 2]])
