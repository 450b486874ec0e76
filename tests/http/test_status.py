"""Status codes, their lines and what they forbid (RFC 9110 §15, RFC 9112 §4)."""

from __future__ import annotations

import re

import pytest

from asgiserve.http.status import REASONS, STATUS_LINES, forbids_content, reason_phrase


def test_there_is_a_line_for_every_status_that_can_be_sent() -> None:
    assert sorted(STATUS_LINES) == list(range(100, 600))


def test_every_status_line_keeps_to_the_grammar() -> None:
    # RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ] CRLF
    for status, line in STATUS_LINES.items():
        assert re.fullmatch(rb"HTTP/1\.1 %d [\t \x21-\x7e]*\r\n" % status, line)


@pytest.mark.parametrize(
    ("status", "line"),
    [
        pytest.param(200, b"HTTP/1.1 200 OK\r\n", id="a common one"),
        pytest.param(299, b"HTTP/1.1 299 \r\n", id="h1.resp.status-line-space"),
        pytest.param(100, b"HTTP/1.1 100 Continue\r\n", id="100"),
        pytest.param(101, b"HTTP/1.1 101 Switching Protocols\r\n", id="101"),
        pytest.param(103, b"HTTP/1.1 103 Early Hints\r\n", id="103"),
        # RFC 9110's names, which Python has since 3.13.
        pytest.param(413, b"HTTP/1.1 413 Content Too Large\r\n", id="413"),
        pytest.param(414, b"HTTP/1.1 414 URI Too Long\r\n", id="414"),
        pytest.param(416, b"HTTP/1.1 416 Range Not Satisfiable\r\n", id="416"),
        pytest.param(422, b"HTTP/1.1 422 Unprocessable Content\r\n", id="422"),
        pytest.param(431, b"HTTP/1.1 431 Request Header Fields Too Large\r\n", id="431"),
        pytest.param(599, b"HTTP/1.1 599 \r\n", id="the last"),
    ],
)
def test_a_status_line_has_the_registered_phrase_or_none(status: int, line: bytes) -> None:
    assert STATUS_LINES[status] == line


def test_a_reason_phrase_is_the_registered_one_or_empty() -> None:
    assert (reason_phrase(200), reason_phrase(404), reason_phrase(503)) == ("OK", "Not Found", "Service Unavailable")
    assert [reason_phrase(status) for status in (0, 99, 299, 600, 1000)] == [""] * 5
    assert all(phrase.isascii() and phrase.isprintable() for phrase in REASONS.values())


def test_exactly_1xx_204_and_304_never_have_content() -> None:
    # RFC 9112 §6.3 (1)
    assert [status for status in range(100, 600) if forbids_content(status)] == [*range(100, 200), 204, 304]
