"""Requests of published advisories: smuggling, lenient parsing, and limits that were missing.

Each is refused, or is read in the one way that the standard allows, by both parsers and however its bytes are cut. docs/advisories.md says what
each advisory was.
"""

from __future__ import annotations

import pytest

from tests.regressions.attacks import SMUGGLED, chunked, every_way, head, post, refused, served
from tests.support.sansio import GET, PARSERS, Wire, answer, echo, ignore

ENDED = b"5\r\nhello\r\n0\r\n\r\n"
TE = b"Transfer-Encoding: chunked"


# ---- the end of a line, the end of a head


@every_way
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\n"])
def test_cve_2019_16785_a_bare_lf_is_no_line_end(data: bytes, parser: str, cut: int | None) -> None:
    refused(data, parser, cut)


@every_way
def test_cve_2022_32214_a_bare_lf_does_not_begin_a_transfer_encoding(parser: str, cut: int | None) -> None:
    refused(post(b"Content-Length: 5", b"X: y\nTransfer-Encoding: chunked"), parser, cut)


@every_way
def test_cve_2022_35256_a_field_that_does_not_end_in_crlf_is_refused(parser: str, cut: int | None) -> None:
    refused(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n", parser, cut)


@every_way
def test_cve_2023_30589_a_bare_cr_does_not_end_a_field(parser: str, cut: int | None) -> None:
    refused(post(b"X: y\rTransfer-Encoding: chunked", body=ENDED), parser, cut)


@every_way
def test_cve_2023_37276_a_cr_in_a_value_does_not_begin_a_transfer_encoding(parser: str, cut: int | None) -> None:
    # The request of the advisory: the byte behind the CR was dropped, and the rest became a field.
    refused(post(b"X-Abc: \rxTransfer-Encoding: chunked", body=b"1\r\nA\r\n0\r\n\r\n"), parser, cut)


@every_way
def test_cve_2025_23167_crlf_cr_and_a_letter_do_not_end_the_head(parser: str, cut: int | None) -> None:
    refused(b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", parser, cut)


# ---- names, values, the request line


@every_way
@pytest.mark.parametrize("line", [b"Content-Length : 5", b"Content-Length\t: 5"])
def test_cve_2021_22959_whitespace_before_the_colon_is_refused(line: bytes, parser: str, cut: int | None) -> None:
    refused(post(line), parser, cut)


@every_way
@pytest.mark.parametrize("lines", [(b" Content-Length: 5",), (b"X: y", b" Content-Length: 5")])
def test_cve_2024_27982_a_space_before_content_length_is_refused(lines: tuple[bytes, ...], parser: str, cut: int | None) -> None:
    # As the first line behind the request line, and as what a folded line looks like.
    data = b"POST / HTTP/1.1\r\n" + b"\r\n".join([*lines, b"Host: a", b"", b"hello"])
    refused(data, parser, cut)


@every_way
@pytest.mark.parametrize(
    "line",
    [b"Content-Length: +5", b"Content-Length: 0_5", b"X: a\0b", b"X: a\rb", b"Content-Length : 5", b"X(y: z", b"X\x80: y"],
    ids=["plus", "underscore", "nul", "cr", "space", "separator", "non-ascii-name"],
)
def test_cve_2023_47627_lenient_readings_of_a_field_are_refused(line: bytes, parser: str, cut: int | None) -> None:
    refused(post(line), parser, cut)


@every_way
@pytest.mark.parametrize(
    "data",
    [
        head(b"X[y]: z"),
        head(b'X"y: z'),
        # Digits of Unicode, which `\d` and int() take.
        post("Content-Length: \u0665".encode()),
        chunked("\u0665\r\nhello\r\n0\r\n\r\n".encode()),
        head(first="GET / HTTP/\u0661.1".encode()),
        head(first=b"GET / HTTP/1.10"),
    ],
    ids=["bracket", "quote", "content-length", "chunk-size", "version", "minor-10"],
)
def test_cve_2024_23829_only_tokens_are_names_and_only_ascii_digits_are_digits(data: bytes, parser: str, cut: int | None) -> None:
    refused(data, parser, cut)


@every_way
def test_cve_2025_69224_letters_that_only_look_like_ascii_are_not_folded_to_it(parser: str, cut: int | None) -> None:
    # U+212A, the Kelvin sign, is "k" in lower case.
    refused(post("Transfer-Encoding: chun\N{KELVIN SIGN}ed".encode(), body=ENDED), parser, cut, 400, 501)
    # An upgrade to a protocol that nobody knows is ignored, and the request served.
    (seen,) = served(head(b"Connection: upgrade", "Upgrade: websoc\N{KELVIN SIGN}et".encode()), parser, cut)
    assert seen.ending == "whole"


@every_way
@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\rX: y", b"GET / HTTP/1.1\nX: y", b"GE\rT / HTTP/1.1", b"G\nET / HTTP/1.1"])
def test_cve_2023_49081_and_cve_2023_49082_line_ends_in_version_or_method_are_refused(first: bytes, parser: str, cut: int | None) -> None:
    # The client's fault was to write them; a server must not read them.
    refused(head(first=first), parser, cut)


@every_way
@pytest.mark.parametrize(
    "value",
    [b"example.com/health?x=", b"example.com/health", b"example.com?x=", b"example.com#x", b"user@example.com", b"a b", b"a, b", b"a\\b"],
)
def test_cve_2026_48710_a_host_that_moves_the_path_is_refused(value: bytes, parser: str, cut: int | None) -> None:
    # BadHost: frameworks put Host and path together and take them apart again. The server is where it can be stopped.
    refused(b"GET /admin HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", parser, cut)


@every_way
@pytest.mark.parametrize("second", [b"Host: b", b"Host: a", b"hOST: a", b"X: y\r\nHost: b"])
def test_cve_2026_34525_two_host_fields_are_refused(second: bytes, parser: str, cut: int | None) -> None:
    refused(head(second), parser, cut)


# ---- Content-Length


@every_way
@pytest.mark.parametrize(
    "lines", [(b"Content-Length: 0", b"Content-Length: 41"), (b"Content-Length: 41", b"Content-Length: 0"), (b"Content-Length: 0, 41",)]
)
def test_cve_2019_16792_two_lengths_are_not_read_as_none(lines: tuple[bytes, ...], parser: str, cut: int | None) -> None:
    refused(post(*lines, body=b""), parser, cut)


@every_way
@pytest.mark.parametrize("first", [b"0", b"5"])
def test_cve_2020_10108_the_second_of_two_lengths_does_not_win(first: bytes, parser: str, cut: int | None) -> None:
    refused(post(b"Content-Length: " + first, b"Content-Length: 5"), parser, cut)


@every_way
@pytest.mark.parametrize("value", [b"+5", b"-5", b"5_0", b"0x5", b"5 ", b" 5", b"\xb2", b"1e1", b"5.0"])
def test_ghsa_qppv_j76h_2rpx_a_content_length_is_digits_alone(value: bytes, parser: str, cut: int | None) -> None:
    if not value.strip().isdigit() or not value.isascii():
        refused(post(b"Content-Length: " + value), parser, cut)
    else:
        # Spaces around a value are none of it (RFC 9110 §5.5).
        (seen,) = served(post(b"Content-Length: " + value), parser, cut)
        assert seen.body == b"hello"


@every_way
@pytest.mark.parametrize("size", [b"+5", b"-5", b"0x5", b"5_0", b" 5", b"5 ", b"\xb2"])
def test_ghsa_qppv_j76h_2rpx_a_chunk_size_is_hexadecimal_digits_alone(size: bytes, parser: str, cut: int | None) -> None:
    refused(chunked(size + b"\r\nhello\r\n0\r\n\r\n"), parser, cut)


# ---- Transfer-Encoding


@every_way
@pytest.mark.parametrize("order", [(b"Content-Length: 5", TE), (TE, b"Content-Length: 5")], ids=["length-first", "coding-first"])
def test_cve_2020_10109_a_length_beside_a_transfer_encoding_is_refused(order: tuple[bytes, ...], parser: str, cut: int | None) -> None:
    refused(post(*order, body=ENDED), parser, cut)


@every_way
def test_cve_2023_47641_a_length_beside_a_transfer_encoding_is_refused(parser: str, cut: int | None) -> None:
    # The request that two kinds of parser read as one or as two.
    body = b"1\r\na\r\n0\r\n\r\n" + SMUGGLED
    refused(post(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked", body=body), parser, cut)


@every_way
@pytest.mark.parametrize(
    "lines",
    [(TE, b"Transfer-Encoding: identity"), (TE, b"Transfer-Encoding: xchunked"), (b"Transfer-Encoding: chunked, identity",)],
    ids=["identity-line", "x-line", "list"],
)
def test_cve_2024_1135_conflicting_transfer_encodings_are_refused(lines: tuple[bytes, ...], parser: str, cut: int | None) -> None:
    refused(post(*lines, body=ENDED), parser, cut, 400, 501)


@every_way
@pytest.mark.parametrize("coding", [b"gzip", b"cow", b"identity", b"xchunked", b"chunked;q=1", b"'chunked'"])
def test_cve_2024_6827_an_unknown_transfer_encoding_does_not_fall_back_to_content_length(coding: bytes, parser: str, cut: int | None) -> None:
    refused(post(b"Content-Length: 5", b"Transfer-Encoding: " + coding), parser, cut, 400, 501)


@every_way
@pytest.mark.parametrize("coding", [b"gzip, chunked", b", chunked", b"chunked,", b"identity, chunked"])
def test_cve_2019_16786_a_list_of_transfer_encodings_is_not_ignored(coding: bytes, parser: str, cut: int | None) -> None:
    refused(post(b"Transfer-Encoding: " + coding, body=ENDED), parser, cut, 400, 501)


@every_way
@pytest.mark.parametrize("value", [b"\x0bchunked", b"\x0cchunked", b"chunked\x0b", b"\x85chunked", b"\xa0chunked", b"chunked\x1c"])
def test_cve_2019_16789_other_whitespace_than_space_and_tab_is_not_stripped(value: bytes, parser: str, cut: int | None) -> None:
    refused(post(b"Content-Length: 5", b"Transfer-Encoding: " + value), parser, cut, 400, 501)
    refused(post(b"Transfer-Encoding: " + value, body=ENDED), parser, cut, 400, 501)


@every_way
@pytest.mark.parametrize("value", [b"chunkedchunked", b"chunked chunked", b"xchunked", b"chunked-false"])
def test_cve_2022_32213_a_transfer_encoding_that_only_contains_chunked_is_refused(value: bytes, parser: str, cut: int | None) -> None:
    refused(post(b"Transfer-Encoding: " + value, body=ENDED), parser, cut, 400, 501)


@every_way
@pytest.mark.parametrize("lines", [(b"Transfer-Encoding:", b" chunked"), (b"Transfer-Encoding: chunked", b" , identity")])
def test_cve_2022_32215_a_transfer_encoding_over_several_lines_is_refused(lines: tuple[bytes, ...], parser: str, cut: int | None) -> None:
    refused(post(*lines, body=ENDED), parser, cut)


@every_way
@pytest.mark.parametrize(
    "lines", [(TE, TE), (b"Transfer-Encoding: chunked, chunked",), (b"Transfer-Encoding: unknown",), (b"Transfer-Encoding: \x85chunked",)]
)
def test_ghsa_753j_mpmx_qq6g_a_doubled_or_unknown_transfer_encoding_is_not_ignored(lines: tuple[bytes, ...], parser: str, cut: int | None) -> None:
    refused(post(*lines, body=ENDED), parser, cut, 400, 501)


# ---- chunks


@every_way
@pytest.mark.parametrize("body", [b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\n\r0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"2\r\nxx4c\r\n0\r\n\r\n"])
def test_cve_2025_43859_the_two_bytes_behind_chunk_data_are_crlf(body: bytes, parser: str, cut: int | None) -> None:
    refused(chunked(body), parser, cut)


@every_way
@pytest.mark.parametrize("size", [b"+5", b"0x5", b"5\n", b"5;a\nb", b"5;a\0b", b'5;a="\x01"', b"5;\xb2=\x7f"])
def test_cve_2022_24761_a_chunk_size_is_no_python_literal_and_its_extension_is_checked(size: bytes, parser: str, cut: int | None) -> None:
    refused(chunked(size + b"\r\nhello\r\n0\r\n\r\n"), parser, cut)


@every_way
@pytest.mark.parametrize("size", [b"+5", b"0x5", b"5;a\nb"])
def test_cve_2023_38697_signs_prefixes_and_lf_in_a_chunk_line_are_refused(size: bytes, parser: str, cut: int | None) -> None:
    refused(chunked(size + b"\r\nhello\r\n0\r\n\r\n"), parser, cut)
    if not size.endswith(b"b"):
        refused(post(b"Content-Length: " + size), parser, cut)


@every_way
@pytest.mark.parametrize("line", [b"5\n;\r\n", b"5;a\rb\r\n", b"5\r;a\r\n", b"5;\n\r\n"])
def test_cve_2021_22960_a_chunk_extension_is_read_and_not_skipped(line: bytes, parser: str, cut: int | None) -> None:
    refused(chunked(line + b"hello\r\n0\r\n\r\n"), parser, cut)


@every_way
@pytest.mark.parametrize("length", [b"+5", b"5, 5", b"0x5"])
def test_cve_2022_24801_lengths_that_only_a_lenient_reader_takes_are_refused(length: bytes, parser: str, cut: int | None) -> None:
    refused(post(b"Content-Length: " + length), parser, cut)
    refused(chunked(length + b"\r\nhello\r\n0\r\n\r\n"), parser, cut)
    refused(chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), parser, cut)


@pytest.mark.parametrize("parser", PARSERS)
def test_cve_2024_22019_a_chunk_extension_without_end_is_cut_off(parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(chunked(b"5;"))
    sent = 0
    while not wire.owner.refusals and sent < 1 << 20:
        wire.feed(b"a" * 1024)
        sent += 1024
    assert sent <= wire.limits.max_chunk_line_bytes + 1024
    assert wire.statuses == [400]


@pytest.mark.parametrize("parser", PARSERS)
def test_cve_2023_39326_extensions_of_tiny_chunks_are_counted_together(parser: str) -> None:
    # Each line is short; read amplification is in their sum.
    wire = Wire(echo, parser)
    wire.feed(chunked(b""))
    chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    sent = 0
    while not wire.owner.refusals and sent < 1 << 20:
        wire.feed(chunk)
        sent += len(chunk)
    assert sent <= wire.limits.max_chunk_extension_bytes + 2 * len(chunk)
    assert wire.statuses == [400]


# ---- trailers


@every_way
def test_cve_2025_53643_a_trailer_section_belongs_to_its_request(parser: str, cut: int | None) -> None:
    # A parser that does not read trailers takes them for the head of the next request.
    data = chunked(b"5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n") + GET
    first, second = served(data, parser, cut)
    assert (first.body, first.trailers) == (b"hello", ((b"x-trailer", b"y"),))
    assert second.fields == ((b"host", b"test.example"),)


@every_way
def test_cve_2023_41419_a_request_among_the_trailers_is_not_served(parser: str, cut: int | None) -> None:
    refused(chunked(b"0\r\n" + SMUGGLED), parser, cut)


@every_way
def test_cve_2025_58068_what_stands_in_the_trailer_section_is_no_request(parser: str, cut: int | None) -> None:
    # A lawful trailer in front; what follows it is still the trailer section.
    refused(chunked(b"0\r\nX: y\r\n" + SMUGGLED), parser, cut)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("count", [101, 100_000], ids=["count", "bytes"])
def test_cve_2026_22815_trailers_are_limited_in_number_and_size(count: int, parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(chunked(b"0\r\n"))
    sent = 0
    while not wire.owner.refusals and sent < count:
        wire.feed(b"X-%d: y\r\n" % sent)
        sent += 1
    if count == 101:
        wire.feed(b"\r\n")
    else:
        assert sent * len(b"X-1: y\r\n") <= 2 * wire.limits.max_head_bytes
    assert wire.statuses == [431]
    assert wire.seen[0].trailers == ()


# ---- pipelining


@every_way
def test_cve_2024_49768_nothing_is_served_behind_a_request_that_was_refused(parser: str, cut: int | None) -> None:
    # GHSA-9298-4cf8-g4wj: the request behind an error was served although the connection was to close.
    wire = Wire(answer, parser)
    wire.feed(GET + head(b"X : y") + SMUGGLED + SMUGGLED, cut)
    assert wire.statuses == [200, 400]
    assert [seen.path for seen in wire.seen] == ["/"]
    wire.feed(SMUGGLED)
    assert len(wire.calls) == 1


@every_way
def test_cve_2023_46137_pipelined_requests_are_answered_in_their_order(parser: str, cut: int | None) -> None:
    # Twisted began the second while the first was not answered.
    wire = Wire(ignore, parser)
    wire.feed(head(first=b"GET /1 HTTP/1.1") + head(first=b"GET /2 HTTP/1.1"), cut)
    (first,) = wire.calls
    assert first.seen.path == "/1"
    first.respond(b"one")
    wire.settle()
    second = wire.calls[1]
    second.respond(b"two")
    wire.settle()
    assert [response.body for response in wire.responses] == [b"one", b"two"]


@every_way
def test_cve_2024_41671_a_pipelined_request_does_not_take_the_answer_of_another(parser: str, cut: int | None) -> None:
    # The same with content in between, and an application that answers before the content has come.
    wire = Wire(answer, parser)
    wire.feed(post(b"Content-Length: 5") + head(first=b"GET /2 HTTP/1.1") + chunked(ENDED) + head(first=b"GET /4 HTTP/1.1"), cut)
    assert wire.statuses == [200, 200, 200, 200]
    assert [seen.path for seen in wire.seen] == ["/", "/2", "/", "/4"]
    assert [seen.method for seen in wire.seen] == [b"POST", b"GET", b"POST", b"GET"]
