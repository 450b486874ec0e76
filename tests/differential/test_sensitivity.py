"""The comparison sees what it must: each parser here is wrong in one way, and each is caught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11
import pytest

from asgiserve.core.chunked import ChunkedReader
from asgiserve.core.http1_body import BodyReader
from asgiserve.core.http1_head import HeadBuffer
from asgiserve.core.parsers import ParserFactory, choose_parser
from tests.differential.observing import APPS, DifferenceError, Snapshot, compare, observe
from tests.support.sansio import GET

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgiserve.core.parsers import HeadCallbacks
    from asgiserve.http.fields import Field

RIGHT = choose_parser("h11")
DATA = b"GET /a HTTP/1.1\r\nHost: a\r\nX: B\r\nx: c\r\nConnection: Keep-Alive\r\n\r\n" + GET


class _Replayed:
    """The reader of heads behind a parser that says something else."""

    def __init__(self, callbacks: HeadCallbacks, change: Callable[[list[Field]], list[Field]]) -> None:
        self._callbacks = callbacks
        self._change = change
        self._fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        fields, self._fields = self._change(self._fields), []
        for name, value in fields:
            self._callbacks.on_header(name, value)
        self._callbacks.on_headers_complete()


def wrong(change: Callable[[list[Field]], list[Field]]) -> ParserFactory:
    """A parser that reads right, and then tells this of it."""
    return ParserFactory("wrong", lambda callbacks: RIGHT.make(_Replayed(callbacks, change)))


def carried_over() -> Callable[[list[Field]], list[Field]]:
    """The last field of the message before comes first in the next one."""
    last: list[Field] = []

    def change(fields: list[Field]) -> list[Field]:
        before, last[:] = last[:], fields[-1:]
        return before + fields

    return change


class _Lax:
    """h11 as it is, without the check of each line."""

    def __init__(self, callbacks: HeadCallbacks) -> None:
        self._callbacks = callbacks

    def feed_data(self, data: bytes, /) -> None:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        request = connection.next_event()
        assert isinstance(request, h11.Request)
        for name, value in request.headers:
            self._callbacks.on_header(name, value)
        self._callbacks.on_headers_complete()


class _Refusing:
    """Refuses whatever it is fed."""

    def __init__(self, callbacks: HeadCallbacks) -> None:
        pass

    def feed_data(self, data: bytes, /) -> None:
        raise ValueError(data)


class _Silent(_Refusing):
    """Takes whatever it is fed, and says nothing of it."""

    def feed_data(self, data: bytes, /) -> None:
        pass


FOLDED = b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"
CASES = [
    pytest.param(wrong(lambda fields: fields[:-1]), DATA, id="drops the last field"),
    pytest.param(wrong(lambda fields: [(name, value.lower()) for name, value in fields]), DATA, id="lowers values"),
    pytest.param(wrong(lambda fields: fields[::-1]), DATA, id="turns the order around"),
    pytest.param(wrong(lambda fields: list(dict(fields).items())), DATA, id="keeps one field of a name"),
    pytest.param(wrong(lambda fields: [*fields, (b"x", b"")]), DATA, id="makes a field up"),
    pytest.param(wrong(lambda fields: [(name.replace(b"x", b"x "), value) for name, value in fields]), DATA, id="a space in a name"),
    pytest.param(wrong(carried_over()), DATA, id="carries a field over"),
    pytest.param(ParserFactory("wrong", _Lax), FOLDED, id="takes a folded line"),
    pytest.param(ParserFactory("wrong", _Refusing), GET, id="refuses a good head"),
    pytest.param(ParserFactory("wrong", _Silent), GET, id="never ends"),
]


@pytest.mark.parametrize(("factory", "data"), CASES)
def test_a_wrong_parser_is_caught(factory: ParserFactory, data: bytes) -> None:
    with pytest.raises(DifferenceError, match="h11 and wrong"):
        compare(data, [[7]], factories=[RIGHT, factory], thorough=False)


@pytest.mark.parametrize("data", [DATA, FOLDED, GET])
def test_a_right_parser_is_not(data: bytes) -> None:
    compare(data, [[7]], factories=[RIGHT, wrong(list)], thorough=False)


# ---- the cuts

CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"


def caught(data: bytes) -> None:
    with pytest.raises(DifferenceError, match="whole and cut at"):
        compare(data, [[len(data) - 9]], factories=[RIGHT])


def test_a_chunk_line_that_forgets_its_beginning_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = ChunkedReader.receive

    def forget(self: ChunkedReader, data: bytes) -> bytes:
        content = receive(self, data)
        self._partial = b""
        return content

    monkeypatch.setattr(ChunkedReader, "receive", forget)
    caught(CHUNKS)


def test_a_body_that_keeps_a_byte_of_what_stands_behind_it_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = BodyReader.receive

    def keep(self: BodyReader, data: bytes) -> bytes:
        content = receive(self, data)
        self.rest = self.rest[1:]
        return content

    monkeypatch.setattr(BodyReader, "receive", keep)
    caught(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + GET)


def test_a_head_that_is_checked_when_it_is_complete_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeadBuffer, "append", lambda self, data: self.data.extend(data.replace(b"\n", b"") if len(data) == 1 else data))
    caught(GET)


OTHER = {"heads": (), "requests": (), "writes": (), "refusals": (("", 400),), "phase": "head", "pauses": 7, "over": 7}


@pytest.mark.parametrize("name", Snapshot._fields)
def test_every_part_of_a_snapshot_counts(name: str) -> None:
    # Of a connection that is open: of one that is closed it does not count how it was.
    seen = observe(GET, RIGHT, None, APPS["reads"], eager=True, eof=True).after_bytes
    change: dict[str, Any] = {name: OTHER.get(name, True)}
    other = seen._replace(**change)
    assert other != seen
    # How often reading paused is the one thing that may depend on the cut alone.
    assert (other.whatever_the_cut != seen.whatever_the_cut) is (name != "pauses")
