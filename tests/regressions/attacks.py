"""How the bytes of an advisory are sent, and what must come of them.

The law of this module: an attack is fed to both parsers, whole and byte by byte, with a second request behind it; a request that is refused is
answered once, ends the connection, and nothing behind it is read as a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec

import pytest

from tests.support.sansio import PARSERS, Wire, echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sansio import App, Seen

__all__ = ["SMUGGLED", "chunked", "every_way", "head", "post", "refused", "served"]

_P = ParamSpec("_P")

# What an attacker hides behind, or inside of, the request that everybody sees.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def every_way(test: Callable[_P, None]) -> Callable[_P, None]:
    """Run the test with each ``parser``, and with each ``cut`` of what is fed."""
    marked: Any = pytest.mark.parametrize("cut", [pytest.param(None, id="whole"), pytest.param(1, id="bytewise")])(test)
    marked = pytest.mark.parametrize("parser", PARSERS)(marked)
    both: Callable[_P, None] = marked
    return both


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> bytes:
    """A request without content; ``lines`` are field lines without their ends."""
    return b"\r\n".join([first, b"Host: a", *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"hello") -> bytes:
    """A POST with ``body`` behind these field lines, which say how it is framed."""
    return head(*lines, first=b"POST / HTTP/1.1") + body


def chunked(body: bytes) -> bytes:
    """A POST in chunks; ``body`` with all of its framing."""
    return post(b"Transfer-Encoding: chunked", body=body)


def refused(data: bytes, parser: str, cut: int | None, *statuses: int, **options: Any) -> Wire:
    """Feed an attack with `SMUGGLED` behind it; it must be refused with one of ``statuses`` (400), and no request be seen whole."""
    wire = Wire(echo, parser, **options)
    wire.feed(data + SMUGGLED, cut)
    (status,) = wire.statuses
    assert status in (statuses or (400,)), wire.transport.written
    # The application may have been called where the fault is in the body; then it was never given a body that looked whole.
    assert [call.ending for call in wire.seen] in ([], ["aborted"])
    assert all(call.path != "/smuggled" for call in wire.seen)
    assert len(wire.owner.refusals) == 1
    assert wire.responses[0].closes
    wire.advance(120)
    assert wire.transport.ended
    return wire


def served(data: bytes, parser: str, cut: int | None, app: App = echo, **options: Any) -> list[Seen]:
    """Feed requests that are lawful; each is answered with 200 and nothing is left over. What the application was given."""
    wire = Wire(app, parser, **options)
    wire.feed(data, cut)
    assert set(wire.statuses) == {200}, wire.transport.written
    assert not wire.owner.refusals
    return wire.seen
