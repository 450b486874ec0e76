"""The length of a body (RFC 9112 §6, RFC 9110 §8.6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.errors import LocalProtocolError, RemoteProtocolError
from asgiserve.http.framing import CHUNKED, MAX_LENGTH, content_length, request_body_length, response_content_length
from tests.support.properties import examples

KIB_64 = 64 * 1024
FULL_WIDTH_5 = "５".encode()  # noqa: RUF001 - str.isdigit() takes it for a digit


@pytest.mark.parametrize(
    ("value", "length"),
    [
        pytest.param(b"0", 0, id="h1.cl.zero"),
        pytest.param(b"5", 5, id="h1.cl.body"),
        pytest.param(b"0005", 5, id="h1.cl.leading-zeros"),
        pytest.param(b"010", 10, id="never octal"),
        pytest.param(b"0" * KIB_64, 0, id="64 KiB of zeros"),
        pytest.param(b"0" * KIB_64 + b"7", 7, id="64 KiB of zeros and a digit"),
        pytest.param(b"%d" % 2**53, 2**53, id="the largest"),
    ],
)
def test_a_content_length_is_one_number(value: bytes, length: int) -> None:
    assert content_length([value]) == length
    assert request_body_length(1, [], [value]) == length
    assert request_body_length(0, [], [value]) == length


@pytest.mark.parametrize(
    ("values", "status"),
    [
        pytest.param([b"abc"], 400, id="h1.cl.non-numeric letters"),
        pytest.param([b"5x"], 400, id="h1.cl.non-numeric trailing"),
        pytest.param([b" "], 400, id="h1.cl.non-numeric space"),
        pytest.param([b""], 400, id="h1.cl.non-numeric empty"),
        pytest.param([b"+5"], 400, id="h1.cl.sign plus"),
        pytest.param([b"-5"], 400, id="h1.cl.sign minus"),
        pytest.param([b"-0"], 400, id="h1.cl.sign minus zero"),
        pytest.param([b"0x5"], 400, id="h1.cl.hex"),
        pytest.param([b"0o5"], 400, id="h1.cl.octal"),
        pytest.param([b"1_0"], 400, id="h1.cl.underscore, which int() takes"),
        pytest.param([b"5 5"], 400, id="two numbers"),
        pytest.param([b" 5"], 400, id="leading whitespace, which int() takes"),
        pytest.param([b"5 "], 400, id="trailing whitespace, which int() takes"),
        pytest.param([b"5\n"], 400, id="a line end, which $ would take"),
        pytest.param([FULL_WIDTH_5], 400, id="a full-width digit, which str.isdigit() takes"),
        pytest.param([b"5.0"], 400, id="a fraction"),
        pytest.param([b"5e1"], 400, id="an exponent"),
        pytest.param([b"5, 5"], 400, id="h1.cl.list-same"),
        pytest.param([b"5, 6"], 400, id="h1.cl.list-different"),
        pytest.param([b"5", b"5"], 400, id="two equal lines"),
        pytest.param([b"5", b"10"], 400, id="h1.cl.dup-different"),
        pytest.param([b"5", b""], 400, id="one of two is empty"),
        pytest.param([b"%d" % (2**53 + 1)], 413, id="one too many"),
        pytest.param([b"%d" % 2**63], 413, id="h1.cl.overflow 2**63"),
        pytest.param([b"%d" % (2**64 - 1)], 413, id="the largest of 64 bits"),
        pytest.param([b"%d" % 2**64], 400, id="2**64"),
        pytest.param([b"%d" % (2**64 + 5)], 400, id="h1.cl.overflow 2**64 + 5"),
        pytest.param([b"99999999999999999999"], 400, id="h1.cl.overflow"),
        pytest.param([b"9" * KIB_64], 400, id="64 KiB of digits"),
    ],
)
def test_a_content_length_that_is_not_one_number_is_refused(values: list[bytes], status: int) -> None:
    for read in (content_length, lambda values: request_body_length(1, [], values)):
        with pytest.raises(RemoteProtocolError) as caught:
            read(values)
        assert caught.value.status == status
        assert caught.value.clause in ("RFC 9112 §6.3", "RFC 9110 §8.6")


@pytest.mark.parametrize("minor_version", [0, 1, 9])
def test_a_request_with_neither_field_has_no_body(minor_version: int) -> None:
    # h1.cl.absent-no-te
    assert request_body_length(minor_version, [], []) == 0


@pytest.mark.parametrize("value", [b"chunked", b"cHuNkEd", b" chunked\t"], ids=["h1.te.chunked", "h1.te.case", "h1.te.ows"])
def test_chunked_is_chunked(value: bytes) -> None:
    assert request_body_length(1, [value], []) == CHUNKED


@pytest.mark.parametrize(
    ("values", "status"),
    [
        pytest.param([b"chunked, gzip"], 400, id="h1.te.not-final"),
        pytest.param([b"gzip"], 400, id="h1.te.unknown gzip"),
        pytest.param([b"xchunked"], 400, id="h1.te.unknown xchunked"),
        pytest.param([b"chunked, chunked"], 400, id="h1.te.double-chunked"),
        pytest.param([b"chunked", b"chunked"], 400, id="h1.te.double-chunked on two lines"),
        pytest.param([b"chunked, gzip, chunked"], 400, id="chunked twice with another between"),
        pytest.param([b"gzip, chunked"], 501, id="h1.te.gzip-chunked"),
        pytest.param([b"gzip", b"chunked"], 501, id="h1.te.gzip-chunked on two lines"),
        pytest.param([b"identity, chunked"], 501, id="identity is no coding any more"),
        pytest.param([b"identity"], 400, id="h1.te.identity"),
        pytest.param([b""], 400, id="h1.te.empty"),
        pytest.param([b"", b"chunked"], 400, id="an empty line before chunked"),
        pytest.param([b", chunked"], 400, id="h1.te.empty-elements first"),
        pytest.param([b"chunked,"], 400, id="h1.te.empty-elements last"),
        pytest.param([b","], 400, id="only a comma"),
        pytest.param([b"chunked", b"identity"], 400, id="h1.te.two-lines"),
        pytest.param([b"identity", b"chunked"], 501, id="two lines the other way round"),
        pytest.param([b"chunked;a=b"], 400, id="h1.te.params"),
        pytest.param([b"\x0bchunked"], 400, id="h1.te.ctl-obfuscation VT"),
        pytest.param([b"chunked\x0c"], 400, id="h1.te.ctl-obfuscation FF"),
        pytest.param([b"\x00chunked"], 400, id="h1.te.ctl-obfuscation NUL"),
        pytest.param([b"\xa0chunked"], 400, id="a no-break space"),
        pytest.param([b'"chunked"'], 400, id="quoted"),
        pytest.param([b"chunked chunked"], 400, id="without a comma"),
        pytest.param([b"chunke"], 400, id="cut short"),
        pytest.param(["chun\N{KELVIN SIGN}ed".encode()], 400, id="the Kelvin sign is a k in lower case for str only"),
    ],
)
def test_a_transfer_encoding_that_is_not_chunked_once_and_last_is_refused(values: list[bytes], status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        request_body_length(1, values, [])
    assert caught.value.status == status
    assert caught.value.clause in ("RFC 9112 §6.1", "RFC 9112 §6.3")


@pytest.mark.parametrize("lengths", [[b"5"], [b"0"], [b"abc"], [b"5", b"6"]], ids=repr)
@pytest.mark.parametrize("codings", [[b"chunked"], [b"identity"], [b""], [b"gzip, chunked"]], ids=repr)
def test_both_fields_are_refused_whatever_they_say(codings: list[bytes], lengths: list[bytes]) -> None:
    # h1.te.te-and-cl, h1.te.empty: never the Content-Length, never kept alive.
    with pytest.raises(RemoteProtocolError) as caught:
        request_body_length(1, codings, lengths)
    assert caught.value.status == 400


@pytest.mark.parametrize("codings", [[b"chunked"], [b"identity"], [b""]], ids=repr)
def test_transfer_encoding_in_http_1_0_is_refused(codings: list[bytes]) -> None:
    # h1.te.http10
    with pytest.raises(RemoteProtocolError, match=r"HTTP/1\.0") as caught:
        request_body_length(0, codings, [])
    assert caught.value.status == 400


coding = st.one_of(
    st.lists(st.sampled_from([b"chunked", b"Chunked", b"gzip", b",", b" ", b"\t", b";", b"identity", b"\x0b", b""]), max_size=5).map(b"".join),
    st.binary(max_size=10),
)
number = st.one_of(
    st.integers(-3, 2**66).map(lambda value: b"%d" % value), st.text("0123456789 ,+-x_", max_size=24).map(str.encode), st.binary(max_size=4)
)


@examples(400)
@given(st.integers(0, 9), st.lists(coding, max_size=3), st.lists(number, max_size=3))
def test_there_is_one_length_or_a_refusal(minor_version: int, codings: list[bytes], lengths: list[bytes]) -> None:
    try:
        length = request_body_length(minor_version, codings, lengths)
    except RemoteProtocolError as error:
        assert error.status in (400, 413, 501)  # noqa: PT017 - which error it is, where there is one
        assert codings or lengths
        return
    if length == CHUNKED:
        assert minor_version > 0
        assert not lengths
        assert [value.strip(b" \t").lower() for value in codings] == [b"chunked"]
    else:
        assert not codings
        assert 0 <= length <= MAX_LENGTH
        assert length == (int(lengths[0]) if lengths else 0)


# ---- the application's Content-Length


@pytest.mark.parametrize(("value", "length"), [(b"0", 0), (b"5", 5), (b"005", 5), (b"9" * 19, 10**19 - 1)])
def test_an_applications_content_length_is_read(value: bytes, length: int) -> None:
    assert response_content_length([value]) == length


@pytest.mark.parametrize(
    "values",
    [
        [b"-1"],
        [b"abc"],
        [b""],
        [b"+5"],
        [b"5 "],
        [b" 5"],
        [b"5, 5"],
        [b"1_0"],
        [FULL_WIDTH_5],
        [b"5", b"5"],
        [b"5", b"6"],
        [b"9" * 20],
        [b"9" * KIB_64],
    ],
    ids=lambda values: repr(values)[:24],
)
def test_an_applications_content_length_that_is_no_number_is_refused(values: list[bytes]) -> None:
    # "-1", "abc" and two values reach the wire elsewhere.
    with pytest.raises(LocalProtocolError, match="content-length"):
        response_content_length(values)
