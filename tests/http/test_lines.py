"""Line ends (RFC 9112 §2.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.http.lines import lone_line_break, strip_line_whitespace
from tests.support.properties import examples

KIB_64 = 64 * 1024

pieces = st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\t", b"a", b"A: b", b"\x0b", b"\xff"])
text = st.lists(pieces, max_size=16).map(b"".join)


def lone_by_definition(data: bytes) -> bool:
    """An LF that no CR stands before, or a CR that something else than LF stands behind."""
    for index, byte in enumerate(data):
        if byte == 0x0A and (index == 0 or data[index - 1] != 0x0D):
            return True
        if byte == 0x0D and index + 1 < len(data) and data[index + 1] != 0x0A:
            return True
    return False


@pytest.mark.parametrize(
    ("data", "lone"),
    [
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"a", False, id="no line end"),
        pytest.param(b"a\r\nb\r\n", False, id="CRLF"),
        pytest.param(b"\r\n\r\n", False, id="only CRLF"),
        pytest.param(b"a\r", False, id="a CR at the end may become CRLF"),
        pytest.param(b"a\n", True, id="a bare LF"),
        pytest.param(b"\na", True, id="a bare LF at the start"),
        pytest.param(b"a\rb", True, id="a bare CR"),
        pytest.param(b"a\r\r\n", True, id="two CR"),
        pytest.param(b"a\r\n\n", True, id="an LF too many"),
        pytest.param(b"a\r\n\r", False, id="half of an empty line"),
        pytest.param(b"a\x0b\x0cb\x85c", False, id="what only Unicode calls a line end"),
    ],
)
def test_a_bare_cr_or_lf_is_found(data: bytes, lone: bool) -> None:
    assert lone_line_break(data) is lone
    assert lone_line_break(bytearray(data)) is lone


@examples(400)
@given(text)
def test_it_is_found_exactly_where_the_definition_says(data: bytes) -> None:
    assert lone_line_break(data) == lone_by_definition(data)


@examples(400)
@given(text, st.lists(st.integers(0, 60), max_size=5))
def test_it_makes_no_difference_how_the_bytes_were_cut(data: bytes, cuts: list[int]) -> None:
    # As the readers use it: each time with all that came, from what was looked at before.
    found = False
    looked_at = 0
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        found = found or lone_line_break(data[:end], looked_at)
        looked_at = end
    assert found == lone_by_definition(data)


@pytest.mark.parametrize(
    ("head", "stripped"),
    [
        pytest.param(b"A: b\r\n\r\n", b"A: b\r\n\r\n", id="nothing to strip"),
        pytest.param(b"A: b \t \r\nC: d\t\r\n\r\n", b"A: b\r\nC: d\r\n\r\n", id="h1.te.ows"),
        pytest.param(b"A: \r\n", b"A:\r\n", id="an empty value"),
        pytest.param(b"A: b\r\n  \r\n\r\n", b"A: b\r\n  \r\n\r\n", id="h1.field.ws-only-line is left as it is"),
        pytest.param(b" \r\nA: b\r\n", b" \r\nA: b\r\n", id="also at the start"),
        pytest.param(b"A: b c\r\n", b"A: b c\r\n", id="whitespace inside stays"),
        pytest.param(b"A: b \n", b"A: b \n", id="before a bare LF it stays"),
        pytest.param(b"A: b\x0b\r\n", b"A: b\x0b\r\n", id="only SP and HTAB"),
    ],
)
def test_whitespace_before_a_line_end_is_taken_away(head: bytes, stripped: bytes) -> None:
    assert strip_line_whitespace(head) == stripped


@examples(400)
@given(text)
def test_only_whitespace_is_taken_away_and_never_a_line(data: bytes) -> None:
    lines = data.split(b"\r\n")
    # A line of whitespace alone stays; whitespace behind a bare CR or LF is on no line of its own and stays too: it is refused later.
    expected = []
    for index, line in enumerate(lines):
        rest = line.rstrip(b" \t")
        ended = index < len(lines) - 1
        expected.append(rest if ended and rest and rest[-1:] not in (b"\r", b"\n") else line)
    assert strip_line_whitespace(data) == b"\r\n".join(expected)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("unit", [b" ", b"\t", b" \t", b"a ", b"\r", b" \r", b" \r\n", b"a \r\n"], ids=repr)
@pytest.mark.parametrize("end", [b"", b"\x00", b"\n", b"\r\n"], ids=repr)
def test_64_kib_of_malice_are_looked_at_in_linear_time(unit: bytes, end: bytes) -> None:
    data = b"X:" + unit * (KIB_64 // len(unit)) + end
    assert len(strip_line_whitespace(data)) <= len(data)
    assert lone_line_break(data) == lone_by_definition(data)
