"""Reading one request body: by its length or in chunks, its limits, and how slow it may be. Times are given, never read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.config import Limits, Timeouts
from asgiserve.core.http1_body import BodyReader
from asgiserve.errors import RemoteProtocolError
from asgiserve.http.framing import CHUNKED
from tests.support.properties import examples


def reader(length: int, now: float = 0.0, **limits: Any) -> BodyReader:
    return BodyReader(length, dataclasses.replace(Limits(), **limits), now)


def timeouts(**seconds: float | None) -> Timeouts:
    """A stall of 30 s, and 100 bytes a second after a grace of 5 s, but for what is given."""
    options: dict[str, Any] = {"timeout_request_body": 30.0, "min_request_body_rate": 100.0, "timeout_request_body_grace": 5.0, **seconds}
    return Timeouts(**options)


# ---- content


@pytest.mark.parametrize("rest", [b"", b"G", b"GET / HTTP/1.1\r\n"], ids=repr)
def test_a_body_ends_with_its_length_whatever_comes_behind_it(rest: bytes) -> None:
    # h1.cl.body, h1.cl.get-body
    data = b"hello" + rest
    for at in range(len(data) + 1):
        body = reader(5)
        content = body.receive(data[:at])
        behind = data[at:]
        if not body.done:
            assert body.remaining == 5 - at
            content += body.receive(behind)
            behind = b""
        assert (content, body.done, body.rest + behind, body.size, body.remaining) == (b"hello", True, rest, 5, 0), at


def test_a_body_that_is_cut_short_is_never_done() -> None:
    # h1.cl.truncated
    body = reader(5)
    assert (body.receive(b"hell"), body.done, body.remaining, body.rest) == (b"hell", False, 1, b"")


def test_nothing_of_the_size_that_is_said_is_allocated() -> None:
    # h1.cl.huge-no-body
    body = reader(2**53)
    assert (body.receive(b"x"), body.remaining, body.done) == (b"x", 2**53 - 1, False)


def test_a_chunked_body_ends_with_its_last_chunk() -> None:
    body = reader(CHUNKED)
    assert (body.receive(b"5\r\nhello\r\n0\r\nX-T: 1\r\n"), body.done, body.remaining) == (b"hello", False, 0)
    assert (body.receive(b"\r\nGET"), body.done, body.rest) == (b"", True, b"GET")
    assert (body.trailers, body.size) == ([(b"x-t", b"1")], 5)


@examples(200)
@given(st.binary(min_size=1, max_size=30), st.binary(max_size=10), st.booleans(), st.lists(st.integers(0, 100), max_size=6))
def test_a_body_is_the_same_however_it_was_cut(content: bytes, rest: bytes, chunked: bool, places: list[int]) -> None:
    body = reader(CHUNKED if chunked else len(content))
    data = (b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if chunked else content) + rest
    received = b""
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    start = 0
    for end in ends:
        received += body.receive(data[start:end])
        start = end
        if body.done:
            break
    assert (received, body.done, body.rest + data[start:], body.size) == (content, True, rest, len(content))


# ---- limits


@pytest.mark.parametrize("pieces", [[b"5\r\nhello\r\n", b"1\r\n!\r\n"], [b"3\r\nhel\r\n3\r\nlo!\r\n"]], ids=["chunk by chunk", "at once"])
def test_a_chunked_body_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    # h1.cl.over-limit
    body = reader(CHUNKED, max_body_bytes=5)
    for piece in pieces[:-1]:
        body.receive(piece)
    with pytest.raises(RemoteProtocolError) as caught:
        body.receive(pieces[-1])
    assert (caught.value.status, caught.value.clause) == (413, "RFC 9110 §15.5.14")


@pytest.mark.parametrize("limit", [5, None])
def test_a_body_up_to_the_limit_is_taken(limit: int | None) -> None:
    body = reader(CHUNKED, max_body_bytes=limit)
    assert (body.receive(b"5\r\nhello\r\n0\r\n\r\n"), body.done) == (b"hello", True)


@pytest.mark.parametrize(
    ("limits", "data", "status"),
    [
        pytest.param({"max_chunk_line_bytes": 16}, b"1;" + b"a" * 15 + b"\r\n", 400, id="a chunk line"),
        pytest.param({"max_chunk_extension_bytes": 3}, b"1;a\r\nx\r\n1;a\r\n", 400, id="all extensions"),
        pytest.param({"max_head_bytes": 256}, b"0\r\nA: " + b"b" * 300, 431, id="the trailers as a head"),
        pytest.param({"max_field_count": 2}, b"0\r\n" + b"A: b\r\n" * 3 + b"\r\n", 431, id="the number of trailers"),
    ],
)
def test_each_limit_of_a_chunked_body_is_its_option(limits: dict[str, int], data: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        reader(CHUNKED, **limits).receive(data)
    assert caught.value.status == status
    reader(CHUNKED).receive(data)


# ---- time


def test_the_next_bytes_are_due_within_the_stall_timeout() -> None:
    body = reader(1_000_000, now=100.0)
    assert body.due_at(100.0, timeouts(min_request_body_rate=None)) == 130.0
    body.receive(bytes(10))
    assert body.due_at(120.0, timeouts(min_request_body_rate=None)) == 150.0


def test_the_average_may_not_fall_under_the_rate_once_the_grace_is_over() -> None:
    body = reader(1_000_000, now=100.0)
    assert body.due_at(100.0, timeouts(timeout_request_body=None)) == 105.0
    body.receive(bytes(1000))
    # 1000 bytes are worth 10 s, whenever they came.
    assert body.due_at(101.0, timeouts(timeout_request_body=None)) == 115.0
    assert body.due_at(114.0, timeouts(timeout_request_body=None)) == 115.0


def test_the_earlier_of_the_two_counts() -> None:
    body = reader(1_000_000, now=100.0)
    assert body.due_at(100.0, timeouts()) == 105.0
    body.receive(bytes(10_000))
    assert body.due_at(101.0, timeouts()) == 131.0


@pytest.mark.parametrize("rate", [None, 0.0])
def test_both_can_be_switched_off(rate: float | None) -> None:
    assert reader(10).due_at(0.0, timeouts(timeout_request_body=None, min_request_body_rate=rate)) is None


def test_the_time_in_which_nobody_read_is_not_the_clients() -> None:
    body = reader(1_000_000, now=100.0)
    body.pause(102.0)
    body.resume(202.0)
    assert body.due_at(202.0, timeouts(timeout_request_body=None)) == 205.0


def test_a_client_that_waits_for_100_continue_has_not_begun() -> None:
    body = reader(1_000_000, now=100.0)
    body.restart(160.0)
    assert body.due_at(160.0, timeouts(timeout_request_body=None)) == 165.0


def test_what_is_not_content_does_not_count_for_the_rate() -> None:
    # A byte in a chunk with a long extension is a byte.
    body = reader(CHUNKED, now=100.0)
    body.receive(b"1;" + b"a" * 1000 + b"\r\nx\r\n")
    assert body.due_at(100.0, timeouts(timeout_request_body=None)) == pytest.approx(105.01)
