"""Heads one after another: what is remembered of one makes no difference to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.config import Limits
from asgiserve.core.http1_head import HeadReader
from asgiserve.core.parsers import choose_parser
from asgiserve.errors import RemoteProtocolError
from tests.support.properties import examples
from tests.support.sansio import AVAILABLE

if TYPE_CHECKING:
    from asgiserve.core.request import RequestHead

parsers = pytest.mark.parametrize("parser", AVAILABLE)

BLOCK = b"Host: a.example\r\nX-A: 1\r\n\r\n"
HEADS = (
    b"GET / HTTP/1.1\r\n" + BLOCK,
    b"GET /other HTTP/1.1\r\n" + BLOCK,
    b"GET /other?query HTTP/1.1\r\n" + BLOCK,
    b"HEAD /other HTTP/1.1\r\n" + BLOCK,
    b"FROBNICATE /other HTTP/1.1\r\n" + BLOCK,
    b"GET / HTTP/1.0\r\n" + BLOCK,
    b"GET / HTTP/1.2\r\n" + BLOCK,
    b"GET http://b.example/x HTTP/1.1\r\n" + BLOCK,
    b"GET /%41?%zz HTTP/1.1\r\n" + BLOCK,
    b"OPTIONS * HTTP/1.1\r\n" + BLOCK,
    b"GET * HTTP/1.1\r\n" + BLOCK,
    b"get / HTTP/1.1\r\n" + BLOCK,
    b"GET / HTTP/2.0\r\n" + BLOCK,
    b"GET  / HTTP/1.1\r\n" + BLOCK,
    b"GET /#f HTTP/1.1\r\n" + BLOCK,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    (
        b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
    b"POST / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    # The fields of the handshake above.
    (
        b"POST / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
    b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: TE, close\r\nTE: trailers\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: close\r\nHost: a.example\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n\r\n",
    b"GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Large: " + b"x" * 5000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nX: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.example\r\nX : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
)


def facts(head: RequestHead) -> tuple[object, ...]:
    framing = head.framing
    return (
        head.method,
        head.target,
        head.minor_version,
        tuple(head.fields),
        *(getattr(framing, name) for name in framing.__slots__),
    )


def read(reader: HeadReader, head: bytes) -> object:
    try:
        return facts(reader.read(head))
    except RemoteProtocolError as error:
        return error.status, str(error)


def fresh(parser: str) -> HeadReader:
    return HeadReader(Limits(), choose_parser(parser), websocket=True)


@parsers
@examples(200)
@given(chosen=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(HEADS)), min_size=2, max_size=12))
def test_each_head_is_read_as_if_it_were_the_first(parser: str, chosen: list[tuple[int, bytes]]) -> None:
    # Two connections of one server: they share the parser and the request lines that are known.
    factory = choose_parser(parser)
    readers = [HeadReader(Limits(), factory, websocket=True) for _ in range(2)]
    for number, head in chosen:
        assert read(readers[number], head) == read(fresh(parser), head)


@parsers
def test_a_handshake_is_taken_behind_another_method_with_its_fields(parser: str) -> None:
    reader = fresh(parser)
    fields = (
        b"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert not reader.read(b"POST / HTTP/1.1\r\n" + fields).framing.upgrade
    assert reader.read(b"GET / HTTP/1.1\r\n" + fields).framing.upgrade == b"websocket"


@parsers
def test_a_head_that_comes_again_is_not_read_again(parser: str) -> None:
    reader = fresh(parser)
    first = reader.read(HEADS[0])
    assert reader.read(HEADS[0]) is first
    assert reader.read(HEADS[1]).fields is first.fields
    reader.forget()
    again = reader.read(HEADS[0])
    assert again is not first
    assert facts(again) == facts(first)


@parsers
def test_the_request_lines_that_are_remembered_are_bounded_and_have_no_query(parser: str) -> None:
    factory = choose_parser(parser)
    reader = HeadReader(Limits(), factory, websocket=True)
    for number in range(3000):
        reader.read(b"GET /%d HTTP/1.1\r\n%b" % (number, BLOCK))
        reader.read(b"GET /q?secret=%d HTTP/1.1\r\n%b" % (number, BLOCK))
    reader.read(b"GET /%b HTTP/1.1\r\n%b" % (b"long" * 100, BLOCK))
    assert 0 < len(factory.request_lines) <= 1024
    assert not any(b"?" in line or len(line) > 256 for line in factory.request_lines)


@parsers
def test_what_fields_mean_together_is_remembered_for_a_server_and_bounded(parser: str) -> None:
    factory = choose_parser(parser)
    readers = [HeadReader(Limits(), factory, websocket=True) for _ in range(2)]
    first, second = (reader.read(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX-A: 1\r\n\r\n") for reader in readers)
    assert first.framing is second.framing
    factory.framings.clear()
    for field in (
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue\r\nContent-Length: 1",
        b"Upgrade: h2c\r\nConnection: upgrade",
        b"X-Forwarded-For: 192.0.2.1",
        b"TE: %b" % (b"x" * 257),
        b"TE:\r\nTE:\r\nTE:\r\nTE:",
    ):
        readers[0].read(b"POST / HTTP/1.1\r\nHost: a.example\r\n%b\r\n\r\n" % field)
    readers[0].read(b"GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert not factory.framings
    for number in range(3000):
        readers[0].read(b"GET / HTTP/1.1\r\nHost: a%d.example\r\n\r\n" % number)
    assert 0 < len(factory.framings) <= 1024


@parsers
def test_a_known_request_line_breaks_the_limit_of_another_server_all_the_same(parser: str) -> None:
    factory = choose_parser(parser)
    head = b"GET /%b HTTP/1.1\r\n%b" % (b"a" * 100, BLOCK)
    assert HeadReader(Limits(), factory, websocket=True).read(head).method == b"GET"
    with pytest.raises(RemoteProtocolError) as caught:
        HeadReader(Limits(max_request_line_bytes=64), factory, websocket=True).read(head)
    assert caught.value.status == 414
