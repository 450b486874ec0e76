"""Field names, field lines and lists, and the fields of an application (RFC 9110 §5, RFC 9112 §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.errors import LocalProtocolError, RemoteProtocolError
from asgiserve.http import fields as module
from asgiserve.http.fields import check_response_fields, list_elements, parse_field_lines, valid_token, valid_value
from tests.support.properties import examples

if TYPE_CHECKING:
    from collections.abc import Iterable

TCHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONTROLS = [*range(9), *range(0x0A, 0x20), 0x7F]
KIB_64 = 64 * 1024


# ---- the alphabets


def test_a_byte_is_part_of_a_name_exactly_where_it_is_a_tchar() -> None:
    assert [byte for byte in range(256) if valid_token(b"a%cb" % byte)] == sorted(TCHARS)
    assert len(TCHARS) == 77


def test_a_byte_is_part_of_a_value_exactly_where_it_is_no_control_but_tab() -> None:
    assert [byte for byte in range(256) if not valid_value(b"a%cb" % byte)] == CONTROLS


def test_a_name_is_never_empty_and_a_value_may_be() -> None:
    assert valid_token(b"") is None
    assert valid_value(b"") is not None


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["lf", "cr", "crlf"])
def test_a_line_end_behind_a_name_or_a_value_is_seen(end: bytes) -> None:
    # `$` would match before a final LF.
    assert valid_token(b"name" + end) is None
    assert valid_value(b"value" + end) is None


# ---- field lines


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        pytest.param(b"", [], id="no line at all"),
        pytest.param(b"X-A: 1\r\n", [(b"x-a", b"1")], id="the name in lower case"),
        pytest.param(b"X-A: 1\r\nX-A: 2\r\nx-a: 3\r\n", [(b"x-a", b"1"), (b"x-a", b"2"), (b"x-a", b"3")], id="h1.field.dup-preserved"),
        pytest.param(b"X-A: \t v w \t \r\n", [(b"x-a", b"v w")], id="h1.field.ows-trim"),
        pytest.param(b"X-A:v\r\n", [(b"x-a", b"v")], id="no whitespace"),
        pytest.param(b"X-A:\r\n", [(b"x-a", b"")], id="h1.field.empty-value"),
        pytest.param(b"X-A: \t \r\n", [(b"x-a", b"")], id="a value of whitespace is empty"),
        pytest.param(TCHARS + b": v\r\n", [(TCHARS.lower(), b"v")], id="h1.field.tchar-names"),
        pytest.param(b"X: \x80\xff\r\n", [(b"x", b"\x80\xff")], id="h1.field.obs-text"),
        pytest.param(b"X: a:b: c\r\n", [(b"x", b"a:b: c")], id="colons in a value"),
        pytest.param(b"X: a\tb\r\n", [(b"x", b"a\tb")], id="a tab in a value"),
        pytest.param(b"Content_Length: 5\r\n", [(b"content_length", b"5")], id="h1.field.underscore-distinct"),
    ],
)
def test_field_lines_are_read(block: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    assert parse_field_lines(block) == fields


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"X-A : 1\r\n", id="h1.field.sp-before-colon"),
        pytest.param(b"X-A\t: 1\r\n", id="a tab before the colon"),
        pytest.param(b": v\r\n", id="h1.field.empty-name"),
        pytest.param(b"NoColon\r\n", id="h1.field.no-colon"),
        pytest.param(b"Bad[Name: v\r\n", id="h1.field.invalid-name-char"),
        pytest.param(b"X\x80: v\r\n", id="obs-text in a name"),
        pytest.param(b"X\tY: v\r\n", id="a tab in a name"),
        pytest.param(b" X: a\r\n", id="h1.field.ws-before-first"),
        pytest.param(b"X: a\r\n b\r\n", id="h1.field.obs-fold"),
        pytest.param(b"X: a\r\n\tb\r\n", id="obs-fold with a tab"),
        pytest.param(b"  \r\n", id="h1.field.ws-only-line"),
        pytest.param(b"\r\n", id="an empty line"),
        pytest.param(b"X: a\rb\r\n", id="h1.field.bare-cr-value"),
        pytest.param(b"X: a\x00b\r\n", id="h1.field.nul-value"),
        pytest.param(b"X: a\n", id="h1.field.bare-lf-line"),
        pytest.param(b"X: a\r", id="a line that ends with CR"),
        pytest.param(b"X: a", id="a line without an end"),
        pytest.param(b"X", id="half a name"),
        pytest.param(b"X: a\r\r\n", id="two CR"),
        *(pytest.param(b"X: a%cb\r\n" % byte, id=f"h1.field.ctl-value {byte:#04x}") for byte in (0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)),
    ],
)
def test_a_malformed_field_line_is_refused_first_or_behind_a_good_one(line: bytes) -> None:
    for block in (line, b"A: 1\r\n" + line):
        with pytest.raises(RemoteProtocolError) as caught:
            parse_field_lines(block)
        assert (caught.value.status, caught.value.clause) == (400, "RFC 9112 §5")


names = st.text(TCHARS.decode(), min_size=1, max_size=20).map(str.encode)
values = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte not in CONTROLS).strip(b" \t"))
whitespace = st.text(" \t", max_size=4).map(str.encode)


@examples(200)
@given(st.lists(st.tuples(names, whitespace, values, whitespace), max_size=8))
def test_what_is_encoded_as_field_lines_is_read_back(lines: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
    block = b"".join(name + b":" + before + value + behind + b"\r\n" for name, before, value, behind in lines)
    assert parse_field_lines(block) == [(name.lower(), value) for name, _, value, _ in lines]


@examples(300)
@given(st.lists(st.one_of(st.sampled_from([b"X", b":", b" ", b"\r", b"\n", b"\r\n", b"a", b"\t", b"\x00"]), st.binary(max_size=3)), max_size=20))
def test_whatever_is_read_as_field_lines_either_fits_the_grammar_or_is_refused(pieces: list[bytes]) -> None:
    block = b"".join(pieces)
    try:
        fields = parse_field_lines(block)
    except RemoteProtocolError:
        return
    assert block.count(b"\r\n") == block.count(b"\r") == block.count(b"\n") == len(fields)
    for name, value in fields:
        assert valid_token(name)
        assert name == name.lower()
        assert valid_value(value)
        assert value == value.strip(b" \t")


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "block",
    [
        # 0.3 s for 8 kB, and four times that for twice as much, before the whitespace behind the colon was possessive.
        pytest.param(b"X:" + b" " * KIB_64 + b"\x00\r\n", id="whitespace before a control"),
        pytest.param(b"X:" + b" \t" * (KIB_64 // 2) + b"\n", id="whitespace before a bare LF"),
        pytest.param(b"X: a" + b" " * KIB_64 + b"\x00\r\n", id="whitespace in a value before a control"),
        pytest.param(b"a" * KIB_64, id="a name without an end"),
        pytest.param(b"a" * KIB_64 + b" : v\r\n", id="a long name with a space behind it"),
        pytest.param(b"X:" + b"a" * KIB_64 + b"\r", id="a value without an end"),
        pytest.param(b"X: 1\r\n" * (KIB_64 // 6) + b"\x00", id="many good lines before a bad one"),
    ],
)
def test_64_kib_of_malice_in_a_field_line_are_refused_in_linear_time(block: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_field_lines(block)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"X:" + b" " * KIB_64 + b"\r\n", id="a value of whitespace"),
        pytest.param(b"X: a" + b" \t" * (KIB_64 // 2) + b"\r\n", id="whitespace behind a value"),
        pytest.param(b"X:" + b" a" * (KIB_64 // 2) + b"\r\n", id="a value of words"),
    ],
)
def test_64_kib_of_one_field_are_read_in_linear_time(block: bytes) -> None:
    assert [name for name, _ in parse_field_lines(block)] == [b"x"]


# ---- lists


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"close", [b"close"], id="one"),
        pytest.param(b"Keep-Alive, UPGRADE", [b"keep-alive", b"upgrade"], id="in lower case"),
        pytest.param(b"a \t,\t b", [b"a", b"b"], id="with whitespace around the comma"),
        pytest.param(b" , a,, b ,", [b"a", b"b"], id="empty elements are skipped (RFC 9110 §5.6.1.2)"),
        pytest.param(b",,,", [], id="only empty elements"),
        pytest.param(b"a\x0b,\x0cb", [b"a\x0b", b"\x0cb"], id="other controls are no whitespace"),
        pytest.param(b"\xa0a", [b"\xa0a"], id="a no-break space is no whitespace"),
    ],
)
def test_a_list_is_split_at_its_commas(value: bytes, elements: list[bytes]) -> None:
    assert list_elements(value) == elements


# ---- the application's fields


@pytest.mark.parametrize(
    ("given_fields", "checked"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(b"X-A", b"1"), (b"x-b", b"2")], [(b"x-a", b"1"), (b"x-b", b"2")], id="names in lower case"),
        pytest.param([[b"a", b"1"], [b"b", b"2"]], [(b"a", b"1"), (b"b", b"2")], id="lists of lists"),
        pytest.param(((b"a", b"1"), (b"b", b"2")), [(b"a", b"1"), (b"b", b"2")], id="a tuple of tuples"),
        pytest.param(
            [(b"set-cookie", b"b=1"), (b"a", b""), (b"set-cookie", b"a=2")],
            [(b"set-cookie", b"b=1"), (b"a", b""), (b"set-cookie", b"a=2")],
            id="h1.resp.header-order",
        ),
        pytest.param([(b"a", b"\x80\xff \t")], [(b"a", b"\x80\xff \t")], id="obs-text"),
        pytest.param([iter((b"a", b"1"))], [(b"a", b"1")], id="any iterable of two"),
    ],
)
def test_an_applications_fields_are_taken_in_their_order(given_fields: Any, checked: list[tuple[bytes, bytes]]) -> None:
    assert check_response_fields(given_fields) == checked


def test_an_applications_fields_may_be_a_generator() -> None:
    # S40.
    assert check_response_fields((name, b"1") for name in (b"B", b"a")) == [(b"b", b"1"), (b"a", b"1")]


@pytest.mark.parametrize("control", [b"\r", b"\n", b"\r\n", b"\x00", b"\x08", b"\x0b", b"\x1b", b"\x7f"], ids=repr)
def test_a_control_in_an_applications_value_is_refused(control: bytes) -> None:
    # CVE-2020-7695 (CR LF splits the response), and the other controls.
    for value in (control, b"a%bset-cookie: b" % control, b"a%b" % control, control + b"a"):
        with pytest.raises(LocalProtocolError, match="control character"):
            check_response_fields([(b"x", value)])


@pytest.mark.parametrize(
    "name",
    [b"", b" ", b"a b", b"a:", b":status", b"a\r\nb", b"a\n", b"\xe9", b"a\x00", b"(a)", b"a\t"],
    ids=repr,
)
def test_a_name_that_is_no_token_is_refused_each_time(name: bytes) -> None:
    # h1.resp.bad-name; A6: a pseudo-header is none either. Twice: the names that passed are remembered, these are not.
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="invalid field name"):
            check_response_fields([(b"good", b"1"), (name, b"1")])


@pytest.mark.parametrize(
    "given_fields",
    [
        pytest.param([("a", b"1")], id="a name of text"),
        pytest.param([(b"a", "1")], id="a value of text"),
        pytest.param([(b"a", 1)], id="a number"),
        pytest.param([(b"a", None)], id="None"),
        pytest.param([(b"a", bytearray(b"1"))], id="a bytearray value"),
        pytest.param([(bytearray(b"a"), b"1")], id="a bytearray name"),
        pytest.param([(b"a", memoryview(b"1"))], id="a memoryview"),
        pytest.param([(None, b"1")], id="no name"),
        pytest.param([([b"a"], b"1")], id="a list as a name"),
        pytest.param([(b"a",)], id="one item"),
        pytest.param([(b"a", b"1", b"2")], id="three items"),
        pytest.param([b"ab"], id="two bytes that are no pair"),
        pytest.param(["ab"], id="two letters that are no pair"),
        pytest.param([b"a"], id="one byte"),
        pytest.param([1], id="numbers"),
        pytest.param([None], id="nothing in the list"),
        pytest.param(None, id="no list"),
        pytest.param(5, id="a number instead of a list"),
        pytest.param({b"a": b"1"}, id="a dict"),
    ],
)
def test_an_applications_fields_of_a_wrong_type_are_refused(given_fields: Any) -> None:
    # S8.
    with pytest.raises(LocalProtocolError):
        check_response_fields(given_fields)


def test_the_names_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[bytes, bytes] = {}
    monkeypatch.setattr(module, "_known_names", known)
    monkeypatch.setattr(module, "_MAX_KNOWN_NAMES", 3)
    made_up = [(b"X-%d" % number, b"v") for number in range(10)]
    for _ in range(2):
        assert check_response_fields(made_up) == [(name.lower(), value) for name, value in made_up]
    assert known == {b"X-0": b"x-0", b"X-1": b"x-1", b"X-2": b"x-2"}


field_like = st.one_of(st.binary(max_size=6), st.text(max_size=4), st.integers(), st.none(), st.lists(st.binary(max_size=2), max_size=3))


@examples(300)
@given(st.lists(st.one_of(st.tuples(field_like, field_like), st.lists(field_like, max_size=3), field_like), max_size=4))
def test_whatever_an_application_gives_is_valid_on_the_wire_or_refused(given_fields: Iterable[Any]) -> None:
    try:
        checked = check_response_fields(given_fields)
    except LocalProtocolError:
        return
    assert parse_field_lines(b"".join(name + b": " + value + b"\r\n" for name, value in checked)) == [
        (name, value.strip(b" \t")) for name, value in checked
    ]
