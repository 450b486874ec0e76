"""Where the two parsers differ by themselves, row by row, and that asgiserve does not (docs/http1-strictness.md).

Each row is held twice. The parsers alone are expected to disagree, as strict xfails: the day that one of them changes its mind the test fails, and
the row, the page and perhaps a check of ours can go. And asgiserve must come to one end with both, which is the row's last column.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given

from tests.differential.corpus import HEADS
from tests.differential.generated import heads
from tests.differential.long_run import examples, time_limit
from tests.differential.observing import APPS, FACTORIES, compare, observe, random_cut
from tests.differential.raw import Reading, h11_reads, httptools_reads
from tests.support.sansio import AVAILABLE, GET, read_responses

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(len(AVAILABLE) < 2, reason="there is one parser for this Python, and nothing to compare it with"),
    time_limit,
]

PAGE = Path(__file__).parents[2] / "docs" / "http1-strictness.md"
# llhttp's list of HTTP methods (llhttp 9, src/llhttp/constants.ts). It has others for RTSP, which it refuses with an HTTP version.
METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT "
    b"MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK".split()
)


class Example(NamedTuple):
    """Bytes of which the parsers make two things. ``statuses``: what asgiserve answers, with either."""

    name: str
    data: bytes
    statuses: tuple[int, ...]


class Row(NamedTuple):
    """One row of the table. ``name`` is its first column. ``applies`` is whether a head has what the row is about; None: no head has it."""

    name: str
    examples: tuple[Example, ...]
    applies: Callable[[bytes], object] | None = None


def line(name: str, first: bytes, *statuses: int, before: bytes = b"") -> Example:
    """A request line, with a Host behind it."""
    return Example(name, before + first + b"\r\nHost: a\r\n\r\n", statuses or (400,))


def field(name: str, lines: bytes, *statuses: int) -> Example:
    """Field lines, behind a Host."""
    return Example(name, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n", statuses or (400,))


def chunks(name: str, body: bytes, *statuses: int) -> Example:
    """A chunked body."""
    return Example(name, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body, statuses or (400,))


def has(pattern: bytes) -> Callable[[bytes], object]:
    """Whether a head has a match for ``pattern``."""
    return re.compile(pattern, re.IGNORECASE).search


def _unknown_method(head: bytes) -> bool:
    return head.partition(b" ")[0] not in METHODS


def _not_one_host(head: bytes) -> bool:
    return len(re.findall(rb"\nhost[ \t]*:", head, re.IGNORECASE)) != 1


CHUNK = b"5\r\nhello\r\n0\r\n\r\n"

ROWS = [
    Row(
        "methods",
        (
            line("unregistered", b"BREW / HTTP/1.1", 200),
            line("of-webdav", b"VERSION-CONTROL / HTTP/1.1", 200),
            line("of-the-preface", b"PRI / HTTP/1.1", 200),
            line("lower-case", b"get / HTTP/1.1", 501),
        ),
        _unknown_method,
    ),
    Row(
        "HTTP/1.2 and above",
        (line("1.2", b"GET / HTTP/1.2", 200), line("1.9", b"GET / HTTP/1.9", 200), line("3.0", b"GET / HTTP/3.0", 505)),
        has(rb"\A[^\r\n]* HTTP/(?:1\.[2-9]|[2-9]\.[0-9])\r?\n"),
    ),
    Row(
        "another protocol, or none",
        (
            Example("none", b"GET /\r\n\r\n", (400,)),
            line("rtsp", b"SETUP / RTSP/1.0"),
            line("ice", b"SOURCE / ICE/1.0"),
        ),
        has(rb"\A[^\r\n ]+ +[^\r\n ]+(?: *| +(?!HTTP/)[^\r\n]*)\r?\n"),
    ),
    Row(
        "two spaces in the request line",
        (line("before the target", b"GET  / HTTP/1.1"), line("before the version", b"GET /  HTTP/1.1")),
        has(rb"\A[^\r\n]*  "),
    ),
    Row(
        "line ends before the request line",
        (
            Example("crlf", b"\r\n" + GET, (200,)),
            Example("lf", b"\n" + GET, (400,)),
            Example("cr", b"\r" + GET, (400,)),
        ),
        has(rb"\A[\r\n]"),
    ),
    Row(
        "targets of another form",
        (
            line("name", b"GET index.html HTTP/1.1"),
            line("dots", b"GET ../x HTTP/1.1"),
            line("query", b"GET ?x HTTP/1.1"),
            line("authority", b"GET a:80 HTTP/1.1"),
            line("backslash in an authority", b"GET http://a\\b/ HTTP/1.1"),
        ),
        has(rb"\A[^\r\n ]+ +(?![/*])"),
    ),
    Row(
        "whitespace behind a value",
        (field("space", b"X: y ", 200), field("tab", b"X: y\t", 200), field("behind a number", b"Content-Length: 0 ", 200)),
        has(rb"[ \t]\r?\n"),
    ),
    Row(
        "a bare LF",
        (field("behind a field", b"X: y\nZ: z"), Example("behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", (400,))),
        has(rb"(?<!\r)\n"),
    ),
    Row(
        "folded lines",
        (field("space", b"X: y\r\n z"), field("tab", b"X: y\r\n\tz"), field("coding", b"Transfer-Encoding:\r\n chunked")),
        has(rb"\n[ \t]"),
    ),
    Row(
        "controls in a value",
        tuple(field(f"{octet:02x}", b"X: a%cb" % octet) for octet in (0x01, 0x08, 0x1B, 0x7F)),
        has(rb"[\x01-\x08\x0e-\x1f\x7f]"),
    ),
    Row(
        "Host",
        (Example("missing", b"GET / HTTP/1.1\r\n\r\n", (400,)), field("two", b"Host: b"), field("two-equal", b"Host: a")),
        _not_one_host,
    ),
    Row(
        "Content-Length",
        (
            field("two-equal", b"Content-Length: 0\r\nContent-Length: 0"),
            field("list", b"Content-Length: 0, 0"),
            field("2-to-64", b"Content-Length: 18446744073709551616"),
            field("20-digits", b"Content-Length: 99999999999999999999"),
        ),
        has(rb"\ncontent-length:[ \t]*+(?:[0-9 \t]*,|[0-9]{20})|\ncontent-length:(?s:.)*\ncontent-length:"),
    ),
    Row(
        "Transfer-Encoding",
        (
            field("gzip", b"Transfer-Encoding: gzip"),
            field("identity", b"Transfer-Encoding: identity"),
            field("gzip-chunked", b"Transfer-Encoding: gzip, chunked", 501),
            field("empty-element", b"Transfer-Encoding: , chunked"),
            Example("http-1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n", (400,)),
            Example("another-case", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n" + CHUNK, (200,)),
        ),
        has(rb"\ntransfer-encoding:[ \t]*+(?!(?-i:chunked)[ \t]*\r\n)"),
    ),
    Row(
        "Content-Length and Transfer-Encoding",
        (
            Example("length first", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK, (400,)),
            Example("coding first", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 15\r\n\r\n" + CHUNK, (400,)),
        ),
        has(rb"\ncontent-length:(?s:.)*\ntransfer-encoding:|\ntransfer-encoding:(?s:.)*\ncontent-length:"),
    ),
    Row("`Proxy-Connection: close`", (Example("", b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n" + GET, (200, 200)),)),
    Row(
        "what stands behind an Upgrade",
        tuple(
            Example(name, b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" + framing, (200,))
            for name, framing in {
                "a body": b"Content-Length: 5\r\n\r\nhello",
                "chunks": b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK,
            }.items()
        ),
    ),
    Row(
        "chunk sizes and extensions",
        (
            chunks("space behind the size", b"5 \r\nhello\r\n0\r\n\r\n"),
            chunks("leading zeros", b"0" * 900 + b"5\r\nhello\r\n0\r\n\r\n"),
            chunks("seventeen digits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
            chunks("whitespace in an extension", b"5;a = b\r\nhello\r\n0\r\n\r\n", 200),
            chunks("an extension without a name", b"5;\r\nhello\r\n0\r\n\r\n"),
            chunks("NUL in an extension", b"5;a\0\r\nhello\r\n0\r\n\r\n"),
            chunks("bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ),
    ),
    Row(
        "trailers",
        (
            chunks("a length", b"0\r\nContent-Length: 5\r\n\r\n", 200),
            chunks("a folded line", b"0\r\nX: y\r\n z\r\n\r\n"),
            chunks("a bare LF", b"0\r\nX: y\nZ: z\r\n\r\n"),
            chunks("a bare LF at the end", b"0\r\n\n"),
            chunks("whitespace behind a value", b"0\r\nX: y \r\n\r\n", 200),
        ),
    ),
]

EXAMPLES = [pytest.param(example, id=f"{row.name}: {example.name}".rstrip(": ")) for row in ROWS for example in row.examples]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the parsers disagree by themselves: see docs/http1-strictness.md")
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_parsers_alone_agree(example: Example) -> None:
    assert httptools_reads(example.data) == h11_reads(example.data)


@pytest.mark.parametrize("example", EXAMPLES)
def test_asgiserve_comes_to_one_end_with_both(example: Example) -> None:
    compare(example.data, [random_cut(example.data)])


@pytest.mark.parametrize("example", EXAMPLES)
def test_that_end_is_the_one_that_the_table_says(example: Example) -> None:
    for factory in FACTORIES:
        written = b"".join(observe(example.data, factory, None, APPS["reads"], eager=True, eof=False).after_bytes.writes)
        assert tuple(response.status for response in read_responses(written)) == example.statuses, factory.name


def table() -> list[list[str]]:
    """The cells of the page's table."""
    section = PAGE.read_text(encoding="utf-8").partition("## Where the two parsers still differ\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in section.splitlines() if row.startswith("|")]
    return rows[2:]


def test_the_page_has_the_same_rows_in_the_same_order() -> None:
    assert [row[0] for row in table()] == [row.name for row in ROWS]


# ---- whether the table is complete


def heads_of(readings: list[Reading]) -> list[tuple[object, ...]]:
    """Of each reading its head; nothing of one that was refused. What comes behind a head is none of this part's business."""
    return [(reading.method, reading.target, reading.version, reading.fields) for reading in readings]


def unexplained(head: bytes) -> tuple[list[Reading], list[Reading]] | None:
    """What the parsers make of ``head``, where they disagree and no row says why."""
    readings = httptools_reads(head), h11_reads(head)
    if heads_of(readings[0]) == heads_of(readings[1]) or any(row.applies is not None and row.applies(head) for row in ROWS):
        return None
    return readings


PLAIN = [
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\tz\r\nX:\r\n\r\n",
    b"POST /a HTTP/1.0\r\nTransfer-Encoding:  chunked\r\nHost: a\r\nX: \xff\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost:a\r\n\r\n",
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS if row.applies is not None])
def test_a_row_applies_to_its_own_examples_and_to_no_plain_request(row: Row) -> None:
    assert row.applies is not None
    for example in row.examples:
        assert row.applies(example.data), example.name
    for head in PLAIN:
        assert not row.applies(head), head


def test_every_disagreement_on_a_head_of_the_tables_has_its_row() -> None:
    found = [(head, *what) for head in HEADS if (what := unexplained(head)) is not None]
    assert not found


@examples(250)
@given(heads)
def test_every_disagreement_on_a_generated_head_has_its_row(head: bytes) -> None:
    assert unexplained(head) is None
