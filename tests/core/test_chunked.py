"""The chunked reader: every case whole, byte by byte, split in two everywhere, and with bytes behind it (RFC 9112 §7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.core.chunked import ChunkedReader
from asgiserve.errors import RemoteProtocolError
from tests.support.properties import examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asgiserve.http.fields import Field

KIB_64 = 64 * 1024
FOLLOWING = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


class Outcome(NamedTuple):
    """What a reader made of some bytes. ``status`` is that of a refusal, 0 where there was none."""

    status: int
    done: bool
    content: bytes = b""
    trailers: tuple[Field, ...] = ()
    rest: bytes = b""


def reader(*, line: int = 4096, extensions: int = 16384, trailer_bytes: int = 65536, trailer_count: int = 100) -> ChunkedReader:
    """A reader with the default limits, but for those that are given."""
    return ChunkedReader(max_line_bytes=line, max_extension_bytes=extensions, max_trailer_bytes=trailer_bytes, max_trailer_count=trailer_count)


def read(pieces: Iterable[bytes], **limits: int) -> Outcome:
    """Feed ``pieces`` to a reader; what comes after the end of the body is none of its business."""
    chunks = reader(**limits)
    content = b""
    waiting = iter(pieces)
    for piece in waiting:
        try:
            content += chunks.receive(piece)
        except RemoteProtocolError as error:
            return Outcome(error.status if error.clause else -1, done=False)
        if chunks.done:
            return Outcome(0, done=True, content=content, trailers=tuple(chunks.trailers), rest=chunks.rest + b"".join(waiting))
    return Outcome(0, done=False, content=content)


def single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def every_way(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """``data`` whole, byte by byte, and split in two at every place."""
    yield "whole", [data]
    yield "byte by byte", single_bytes(data)
    for at in range(1, len(data)):
        yield f"split at {at}", [data[:at], data[at:]]


# ---- what is read

GOOD = [
    pytest.param(b"0\r\n\r\n", b"", [], id="no content"),
    pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", [], id="h1.te.chunked"),
    pytest.param(b"5\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\n\r\n", b"hello, world", [], id="three chunks"),
    pytest.param(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, [], id="h1.chunk.size-hex"),
    pytest.param(b"00005\r\nhello\r\n0\r\n\r\n", b"hello", [], id="h1.chunk.size-hex leading zeros"),
    pytest.param(b"0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", b"hello", [], id="sixteen digits"),
    pytest.param(b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", [], id="line ends as content"),
    pytest.param(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", [], id="the end of a body as content"),
    pytest.param(b'5;a=b;c="d;e"\r\nhello\r\n0\r\n\r\n', b"hello", [], id="h1.chunk.ext-ignored"),
    pytest.param(b"5 ; a = b\t;c\t=\t d\r\nhello\r\n0 ;z\r\n\r\n", b"hello", [], id="h1.chunk.ext-ignored with whitespace around ; and ="),
    pytest.param(b"5;a\r\nhello\r\n0;b;c=d\r\n\r\n", b"hello", [], id="extensions without values, and on the last chunk"),
    pytest.param(b'5;a="\\"\\\\ \t\xff"\r\nhello\r\n0\r\n\r\n', b"hello", [], id="an extension with quoted pairs"),
    pytest.param(b'5;a=""\r\nhello\r\n0\r\n\r\n', b"hello", [], id="an extension with an empty quoted string"),
    pytest.param(b'5;a="0\\;\\=,(){}"\r\nhello\r\n0\r\n\r\n', b"hello", [], id="an extension with separators in quotes"),
    pytest.param(b"0\r\nX-T: 1\r\n\r\n", b"", [(b"x-t", b"1")], id="h1.trailer.accepted"),
    pytest.param(
        b"2\r\nhi\r\n0\r\nX-T:1 \t\r\nB: \r\nx-t: 2\r\n\r\n", b"hi", [(b"x-t", b"1"), (b"b", b""), (b"x-t", b"2")], id="trailers in their order"
    ),
    # What to do with these is decided elsewhere; they are no fields of the head and frame nothing.
    pytest.param(
        b"0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: Basic x\r\n\r\n",
        b"",
        [(b"content-length", b"9"), (b"transfer-encoding", b"chunked"), (b"host", b"evil"), (b"authorization", b"Basic x")],
        id="h1.trailer.forbidden",
    ),
]


@pytest.mark.parametrize(("data", "content", "trailers"), GOOD)
@pytest.mark.parametrize("rest", [b"", b"\r", b"\r\n", b"0\r\n\r\n", FOLLOWING], ids=repr)
def test_a_body_is_read_however_it_was_cut(data: bytes, content: bytes, trailers: list[Field], rest: bytes) -> None:
    expected = Outcome(0, done=True, content=content, trailers=tuple(trailers), rest=rest)
    for way, pieces in every_way(data + rest):
        assert read(pieces) == expected, way


@pytest.mark.parametrize(("data", "content", "trailers"), GOOD)
def test_a_body_without_its_end_is_never_done(data: bytes, content: bytes, trailers: list[Field]) -> None:  # noqa: ARG001 - the table's
    # h1.chunk.no-final
    for end in range(len(data)):
        for way, pieces in (("whole", [data[:end]]), ("byte by byte", single_bytes(data[:end]))):
            outcome = read(pieces)
            assert (outcome.status, outcome.done) == (0, False), (end, way)
            assert content.startswith(outcome.content)


def test_content_is_given_as_it_comes() -> None:
    chunks = reader()
    assert chunks.receive(b"5\r\nhe") == b"he"
    assert chunks.receive(b"l") == b"l"
    assert chunks.receive(b"lo\r") == b"lo"
    assert chunks.receive(b"\n3\r\nabc\r\n2") == b"abc"
    assert (chunks.receive(b"\r\nde\r\n0\r\n"), chunks.done) == (b"de", False)
    assert (chunks.receive(b"\r\nmore"), chunks.done, chunks.rest) == (b"", True, b"more")


def test_a_large_chunk_is_not_copied_when_it_comes_alone() -> None:
    chunks = reader()
    chunks.receive(b"40000\r\n")
    block = bytes(0x10000)
    for _ in range(4):
        assert chunks.receive(block) is block


def test_nothing_can_be_read_after_the_end() -> None:
    chunks = reader()
    chunks.receive(b"0\r\n\r\n")
    assert chunks.receive(b"") == b""
    with pytest.raises(RuntimeError, match="after the end"):
        chunks.receive(b"x")


# ---- what is refused

BAD = [
    pytest.param(b"0x5\r\nhello\r\n", 400, id="h1.chunk.size-bad 0x5"),
    pytest.param(b"+5\r\nhello\r\n", 400, id="h1.chunk.size-bad +5"),
    pytest.param(b"-1\r\nhello\r\n", 400, id="h1.chunk.size-bad -1"),
    pytest.param(b"5_0\r\nhello\r\n", 400, id="h1.chunk.size-bad 5_0"),
    pytest.param(b" 5\r\nhello\r\n", 400, id="h1.chunk.size-bad leading space"),
    pytest.param(b"5 \r\nhello\r\n", 400, id="h1.chunk.size-bad trailing space"),
    pytest.param(b"5\t\r\nhello\r\n", 400, id="h1.chunk.size-bad trailing tab"),
    pytest.param(b"\r\nhello\r\n", 400, id="h1.chunk.size-bad empty"),
    pytest.param(b"g\r\nhello\r\n", 400, id="h1.chunk.size-bad g"),
    pytest.param(b"\xb5\r\nhello\r\n", 400, id="h1.chunk.size-bad a digit outside of ASCII"),
    pytest.param(b"FFFFFFFFFFFFFFFF0\r\n", 400, id="h1.chunk.size-overflow"),
    pytest.param(b"00000000000000005\r\nhello\r\n", 400, id="h1.chunk.size-overflow 17 digits"),
    pytest.param(b"10000000000000005\r\nhello\r\n", 400, id="h1.chunk.size-overflow 2**64 + 5"),
    pytest.param(b"FFFFFFFFFFFFFFFF\r\nhello\r\n", 413, id="2**64 - 1 bytes"),
    pytest.param(b"8000000000000000\r\nhello\r\n", 413, id="2**63 bytes"),
    pytest.param(b"20000000000001\r\nhello\r\n", 413, id="2**53 + 1 bytes"),
    # The rows below end with a whole body, so that nothing but the fault in them can stop the reader.
    pytest.param(b"5\r\nhello0\r\n\r\n", 400, id="h1.chunk.missing-crlf"),
    pytest.param(b"5\r\nhelloXX0\r\n\r\n", 400, id="CVE-2025-43859"),
    pytest.param(b"5\r\nhello, world\r\n0\r\n\r\n", 400, id="h1.chunk.missing-crlf spill"),
    pytest.param(b"4\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.missing-crlf size too small"),
    pytest.param(b"5\r\nhello\r\r\n0\r\n\r\n", 400, id="h1.chunk.missing-crlf CR CR LF"),
    pytest.param(b"5\r\nhello\n\r0\r\n\r\n", 400, id="h1.chunk.missing-crlf LF CR"),
    pytest.param(b"5\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.bare-lf size"),
    pytest.param(b"5\r\nhello\n0\r\n\r\n", 400, id="h1.chunk.bare-lf data"),
    pytest.param(b"5\r\nhello\r\n0\n\r\n", 400, id="h1.chunk.bare-lf last size"),
    pytest.param(b"0\r\nX: 1\n\r\n\r\n", 400, id="h1.chunk.bare-lf trailer"),
    pytest.param(b"0\r\n\n\r\n\r\n", 400, id="h1.chunk.bare-lf instead of the empty line"),
    pytest.param(b"5\rhello\r\n0\r\n\r\n", 400, id="h1.chunk.bare-cr"),
    pytest.param(b"5\r\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.bare-cr before CRLF"),
    pytest.param(b"0\rX\r\n\r\n", 400, id="h1.chunk.bare-cr last size"),
    pytest.param(b"0\r\nX: a\rb\r\n\r\n", 400, id="h1.chunk.bare-cr trailer"),
    pytest.param(b"0\r\n\rX\r\n\r\n", 400, id="h1.chunk.bare-cr instead of the empty line"),
    pytest.param(b"5;\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed nothing"),
    pytest.param(b"5;bad[=x\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed name"),
    pytest.param(b"5;;a\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed empty"),
    pytest.param(b"5;=x\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed no name"),
    pytest.param(b"5;a=\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed no value"),
    pytest.param(b"5;a=b c\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed two values"),
    pytest.param(b"5;a \r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed trailing space"),
    pytest.param(b'5;a="b\r\nhello\r\n0\r\n\r\n', 400, id="h1.chunk.ext-malformed open quotes"),
    pytest.param(b'5;a="b"c\r\nhello\r\n0\r\n\r\n', 400, id="h1.chunk.ext-malformed behind quotes"),
    pytest.param(b'5;a="b\\"\r\nhello\r\n0\r\n\r\n', 400, id="h1.chunk.ext-malformed escaped end of quotes"),
    pytest.param(b"5 a=b\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed no semicolon"),
    pytest.param(b"5;a=\xff\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-malformed outside of ASCII"),
    pytest.param(b"5;a=b\rc\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-ctl CR"),
    pytest.param(b"5;a=b\nc\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-ctl LF"),
    pytest.param(b"5;a=b\x00c\r\nhello\r\n0\r\n\r\n", 400, id="h1.chunk.ext-ctl NUL"),
    pytest.param(b'5;a="\x00"\r\nhello\r\n0\r\n\r\n', 400, id="h1.chunk.ext-ctl NUL in quotes"),
    pytest.param(b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n', 400, id="h1.chunk.ext-ctl CRLF in quotes"),
    pytest.param(b'5;a="\\\n"\r\nhello\r\n0\r\n\r\n', 400, id="h1.chunk.ext-ctl an escaped LF"),
    pytest.param(b"0\r\nnocolon\r\n\r\n", 400, id="h1.trailer.malformed no colon"),
    pytest.param(b"0\r\nX : 1\r\n\r\n", 400, id="h1.trailer.malformed space before the colon"),
    pytest.param(b"0\r\n: 1\r\n\r\n", 400, id="h1.trailer.malformed no name"),
    pytest.param(b"0\r\n X: 1\r\n\r\n", 400, id="h1.trailer.malformed leading space"),
    pytest.param(b"0\r\nX: 1\r\n 2\r\n\r\n", 400, id="h1.trailer.malformed obs-fold"),
    pytest.param(b"0\r\nX: \x00\r\n\r\n", 400, id="h1.trailer.malformed NUL"),
    pytest.param(b"0\r\nX: 1\r\nGET / HTTP/1.1\r\n\r\n", 400, id="h1.trailer.malformed the next request, no empty line between"),
    pytest.param(b"0\r\n" + FOLLOWING, 400, id="h1.trailer.malformed the next request at once"),
]


@pytest.mark.parametrize(("data", "status"), BAD)
def test_a_malformed_body_is_refused_however_it_was_cut(data: bytes, status: int) -> None:
    for before in (b"", b"1\r\nx\r\n"):
        for way, pieces in every_way(before + data):
            assert read(pieces) == Outcome(status, done=False), way


@pytest.mark.parametrize(
    "start",
    [b"5\n", b"5\rx", b"5\r\nhelloX", b"5\r\nhello\rX", b"5\r\nhello\n", b"0\r\nX: 1\n", b"0\r\nX\rY", b"0\r\n\n", b"0\r\n\rX"],
    ids=repr,
)
def test_a_bare_line_end_is_refused_without_waiting_for_more(start: bytes) -> None:
    for way, pieces in every_way(start):
        assert read(pieces).status == 400, way
    assert read([start[:-1]]).status == 0


# ---- limits


def line_of(size: int) -> bytes:
    """A chunk-size line of ``size`` bytes, without its end."""
    return b"1;" + b"a" * (size - 2)


def test_a_chunk_line_is_taken_up_to_its_limit() -> None:
    for way, pieces in every_way(line_of(40) + b"\r\nx\r\n0\r\n\r\n"):
        assert read(pieces, line=40) == Outcome(0, done=True, content=b"x"), way
    for way, pieces in every_way(line_of(41) + b"\r\nx\r\n0\r\n\r\n"):
        assert read(pieces, line=40) == Outcome(400, done=False), way


def test_a_chunk_line_over_its_limit_is_refused_before_its_end() -> None:
    # One byte more than the limit could still be the CR.
    assert read([line_of(41)], line=40).status == 0
    assert read([line_of(42)], line=40).status == 400
    assert read(single_bytes(line_of(42)), line=40).status == 400
    assert read([b"1" * 42], line=40).status == 400
    # h1.chunk.ext-64k
    assert read([line_of(KIB_64)]).status == 400


def test_all_extensions_of_a_body_are_limited_together() -> None:
    # Go's CVE-2023-39326: 40 KiB of extensions on 200 chunks of one byte. Each extension here has 8 bytes.
    chunk = b"1;exten=9\r\nx\r\n"
    for way in (lambda data: [data], single_bytes):
        assert read(way(chunk * 10 + b"0\r\n\r\n"), extensions=80) == Outcome(0, done=True, content=b"x" * 10)
        assert read(way(chunk * 11), extensions=80).status == 400
        assert read(way(chunk * 10 + b"0;exten=9\r\n\r\n"), extensions=80).status == 400
        assert read(way(chunk * 10 + b"0;e\r\n\r\n"), extensions=80).status == 400
    # h1.chunk.ext-64k: 10,000 small ones, at the default limit.
    assert read([b"1;a\r\nx\r\n" * 10_000]).status == 400
    assert read([b"1;a\r\nx\r\n" * 8192 + b"0\r\n\r\n"]).done


def test_extensions_can_be_forbidden() -> None:
    assert read([b"1\r\nx\r\n0\r\n\r\n"], extensions=0).done
    assert read([b"1;a\r\nx\r\n0\r\n\r\n"], extensions=0).status == 400


def test_trailers_are_limited_in_bytes() -> None:
    # The field lines with their ends count, the empty line does not.
    trailer = b"X: " + b"v" * 15 + b"\r\n"
    assert len(trailer) == 20
    for way, pieces in every_way(b"0\r\n" + trailer * 2 + b"\r\n"):
        assert read(pieces, trailer_bytes=40).done, way
        assert read(pieces, trailer_bytes=39).status == 431, way
    # Without waiting for the end; one byte more than the limit could still be a CR.
    for cut_up in (lambda data: [data], single_bytes):
        assert read(cut_up(b"0\r\n" + b"X: " + b"v" * 38), trailer_bytes=40).status == 0
        assert read(cut_up(b"0\r\n" + b"X: " + b"v" * 39), trailer_bytes=40).status == 431
    # h1.trailer.too-long
    assert read([b"0\r\n", *[b"X: " + b"v" * 997 + b"\r\n"] * 1000]).status == 431


def test_trailers_are_limited_in_number() -> None:
    for way, pieces in every_way(b"0\r\n" + b"A: 1\r\n" * 5 + b"\r\n"):
        assert read(pieces, trailer_count=5).trailers == ((b"a", b"1"),) * 5, way
        assert read(pieces, trailer_count=4).status == 431, way


# ---- the work


class Counted(bytes):
    """Bytes that count how many of them are searched and copied."""

    work = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        found = super().find(sub, start, end)
        Counted.work += (found if found >= 0 else min(len(self) if end is None else end, len(self))) - start
        return found

    def __getitem__(self, key: Any) -> Any:
        piece = super().__getitem__(key)
        if isinstance(piece, bytes):
            Counted.work += len(piece)
            return Counted(piece)
        return piece

    def __add__(self, other: Any) -> Counted:
        Counted.work += len(self) + len(other)
        return Counted(super().__add__(other))


def work(data: bytes, size: int) -> int:
    """Bytes searched and copied while ``data`` is read in blocks of ``size``."""
    chunks = reader()
    Counted.work = 0
    received = 0
    for start in range(0, len(data), size):
        received += len(chunks.receive(Counted(data[start : start + size])))
    assert chunks.done
    # Joining the pieces of a block, which happens in C.
    return Counted.work + received


@pytest.mark.no_cover  # the same lines a hundred thousand times; the tests above reach them, and being traced is slow
@pytest.mark.parametrize("size", [64 * 1024, 1000, 7], ids="blocks of {}".format)
def test_the_work_for_one_byte_chunks_is_linear(size: int) -> None:
    # aiohttp's CVE-2025-69229: quadratic in the number of chunks.
    # The size is searched for its end, the content and the CRLF are copied, and what is left of a block is copied with the next one.
    for number in (1000, 10_000, 100_000):
        data = b"1\r\nx\r\n" * number + b"0\r\n\r\n"
        assert number < work(data, size) <= 3 * len(data)


@pytest.mark.no_cover  # as above
def test_1_mb_of_one_byte_chunks_is_read_in_blocks() -> None:
    # h1.chunk.one-byte-chunks
    number = 1_000_000
    data = b"1\r\nx\r\n" * number + b"0\r\n\r\n"
    blocks = [data[start : start + KIB_64] for start in range(0, len(data), KIB_64)]
    chunks = reader()
    content = [chunks.receive(block) for block in blocks]
    assert b"".join(content) == b"x" * number
    assert len(content) == len(blocks)
    assert chunks.done


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"1;a" + b" " * KIB_64 + b"x", id="whitespace behind a name"),
        pytest.param(b"1;" + b" \t" * (KIB_64 // 2) + b"=", id="whitespace behind a semicolon"),
        pytest.param(b"1" + b" " * KIB_64 + b"\x00", id="whitespace behind the size"),
        pytest.param(b"1;a=" + b" " * KIB_64 + b";", id="whitespace behind an equals sign"),
        pytest.param(b"1" + b";a=b" * (KIB_64 // 4) + b";", id="extensions before an empty one"),
        pytest.param(b"1" + b" ; a = b" * (KIB_64 // 8) + b"\x00", id="extensions with whitespace before a control"),
        pytest.param(b'1;a="' + b"\\\\" * (KIB_64 // 2), id="quoted pairs in open quotes"),
        pytest.param(b'1;a="' + b" " * KIB_64 + b"\x00", id="whitespace in open quotes"),
        pytest.param(b"1;" + b"a" * KIB_64 + b"\x00", id="a long name before a control"),
        pytest.param(b"1" * KIB_64, id="digits"),
    ],
)
def test_64_kib_of_malice_in_a_chunk_line_are_refused_in_linear_time(line: bytes) -> None:
    assert read([line + b"\r\n"], line=KIB_64 * 2, extensions=KIB_64 * 2).status == 400


@pytest.mark.timeout(5)
def test_64_kib_of_malice_in_a_trailer_are_refused_in_linear_time() -> None:
    assert read([b"0\r\nX:" + b" " * (KIB_64 - 10) + b"\x00\r\n\r\n"]).status == 400


# ---- properties

TOKEN_TEXT = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=6)
whitespace = st.sampled_from(["", " ", "\t", " \t "])
quoted = st.text('\t !#[]~;=,az\\"', max_size=6).map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')


@st.composite
def extensions(draw: st.DrawFn) -> bytes:
    text = ""
    for _ in range(draw(st.integers(0, 3))):
        text += draw(whitespace) + ";" + draw(whitespace) + draw(TOKEN_TEXT)
        if draw(st.booleans()):
            text += draw(whitespace) + "=" + draw(whitespace) + draw(st.one_of(TOKEN_TEXT, quoted))
    return text.encode("ascii")


@st.composite
def size_lines(draw: st.DrawFn, size: int) -> bytes:
    digits = f"{size:{draw(st.sampled_from('xX'))}}".zfill(draw(st.integers(1, 16)))
    return digits.encode("ascii") + draw(extensions()) + b"\r\n"


class Encoded(NamedTuple):
    data: bytes
    content: bytes
    trailers: tuple[Field, ...]


@st.composite
def bodies(draw: st.DrawFn) -> Encoded:
    """A body in chunks, encoded in any way that the grammar allows."""
    contents = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    trailers = draw(
        st.lists(
            st.tuples(TOKEN_TEXT.map(str.encode), st.text("az :;,\xe9", max_size=8).map(lambda text: text.strip().encode("latin-1"))), max_size=3
        )
    )
    data = b"".join(draw(size_lines(len(content))) + content + b"\r\n" for content in contents)
    data += draw(size_lines(0)) + b"".join(name + b":" + draw(whitespace).encode() + value + b"\r\n" for name, value in trailers) + b"\r\n"
    return Encoded(data, b"".join(contents), tuple((name.lower(), value) for name, value in trailers))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces, some of which may be empty."""
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


places = st.lists(st.integers(0, 10_000), max_size=12)


@examples(300)
@given(bodies(), st.binary(max_size=10), places)
def test_what_is_encoded_is_decoded_at_any_split(body: Encoded, rest: bytes, splits: list[int]) -> None:
    expected = Outcome(0, done=True, content=body.content, trailers=body.trailers, rest=rest)
    assert read(cut(body.data + rest, splits)) == expected
    assert read(single_bytes(body.data + rest)) == expected


spoilers = st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b";", b"=", b'"', b"\\", b"0", b"a", b"\x00", b"\xff", b":", b"0\r\n\r\n"])


@examples(600)
@given(bodies(), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 2), spoilers), max_size=3), places)
def test_a_spoilt_body_has_the_same_fate_however_it_was_cut(body: Encoded, spoilt: list[tuple[int, int, bytes]], splits: list[int]) -> None:
    data = body.data
    for place, length, spoiler in spoilt:
        at = place % (len(data) + 1)
        data = data[:at] + spoiler + data[at + length :]
    whole = read([data])
    assert whole.status in (0, 400, 413)
    assert read(cut(data, splits)) == whole
    assert read(single_bytes(data)) == whole


@examples(300)
@given(st.lists(st.binary(max_size=20), max_size=5))
def test_nothing_but_a_refusal_is_raised_for_any_bytes(pieces: list[bytes]) -> None:
    outcome = read(pieces, line=16, extensions=8, trailer_bytes=16, trailer_count=1)  # -1: a refusal that names no clause
    assert outcome.status in (0, 400, 413, 431)
    assert sum(map(len, pieces)) >= len(outcome.content) + len(outcome.rest)
