"""IMF-fixdate (RFC 9110 §5.6.7)."""

from __future__ import annotations

import calendar
import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.http.date import imf_fixdate
from tests.support.properties import examples

NOVEMBER = 784111777  # the example of RFC 9110
LAST = 253402300799  # the end of the year 9999


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        pytest.param(NOVEMBER, b"Sun, 06 Nov 1994 08:49:37 GMT", id="RFC 9110's example"),
        pytest.param(0, b"Thu, 01 Jan 1970 00:00:00 GMT", id="the epoch"),
        pytest.param(951782400, b"Tue, 29 Feb 2000 00:00:00 GMT", id="a leap day"),
        pytest.param(0.999, b"Thu, 01 Jan 1970 00:00:00 GMT", id="rounded down"),
        pytest.param(2**31, b"Tue, 19 Jan 2038 03:14:08 GMT", id="beyond 32 bits"),
        pytest.param(LAST, b"Fri, 31 Dec 9999 23:59:59 GMT", id="four digits at the most"),
        pytest.param(calendar.timegm((800, 1, 1, 0, 0, 0)), b"Sat, 01 Jan 0800 00:00:00 GMT", id="and at the least"),
    ],
)
def test_a_time_is_written_as_imf_fixdate(timestamp: float, text: bytes) -> None:
    assert imf_fixdate(timestamp) == text


def test_every_month_and_every_day_has_its_english_name() -> None:
    dates = [imf_fixdate(day * 86400).split() for day in range(365)]
    assert {date[0] for date in dates} == {b"Mon,", b"Tue,", b"Wed,", b"Thu,", b"Fri,", b"Sat,", b"Sun,"}
    assert list(dict.fromkeys(date[2] for date in dates)) == [
        *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
        *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
    ]


@examples(300)
@given(st.integers(0, LAST))
def test_it_agrees_with_the_standard_librarys_mail_date(timestamp: int) -> None:
    assert imf_fixdate(timestamp) == email.utils.formatdate(timestamp, usegmt=True).encode("ascii")


def test_the_local_time_zone_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        for zone in ("UTC", "Pacific/Kiritimati", "XXX+11:30"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert imf_fixdate(NOVEMBER) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    finally:
        monkeypatch.undo()
        time.tzset()
