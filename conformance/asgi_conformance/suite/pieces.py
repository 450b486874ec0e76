"""What several topics send, and the scripted servers that their cases must catch.

The law of this module: only what more than one topic uses; a piece that means something to one case stands beside that case.
"""

from __future__ import annotations

from typing import Any, Final

from asgi_conformance.case import HALF_CLOSE, Call, Canned, Stimulus

__all__ = ["CRASHES", "HOST_LINE", "REFUSES", "SERVES", "answers", "broken_off", "chunked", "post", "request_line", "told"]

HOST_LINE: Final = b"Host: a.example"


def answers(status: int, *, closes: bool = False) -> Canned:
    """A server that answers with ``status`` on its own; one that goes on answers the follow-up with 200."""
    head = f"HTTP/1.1 {status} Answer\r\ncontent-length: 0\r\n".encode("ascii")
    return Canned(head + (b"connection: close\r\n\r\n" if closes else b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), closes=closes)


def told(*, body: bytes = b"", **facts: Any) -> Canned:
    """A server that answers with 200, whose application was told ``facts`` (and GET and / where they do not say)."""
    return Canned(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 2, closes=False, calls=(Call({"method": "GET", "path": "/", **facts}, body),))


SERVES: Final = told()
"""Serves whatever it is sent."""
REFUSES: Final = answers(400, closes=True)
"""Refuses whatever it is sent."""
CRASHES: Final = answers(500, closes=True)
"""Answers 500, whatever it is sent."""


def request_line(label: str, line: bytes, *fields: bytes, method: str = "GET") -> Stimulus:
    """A request with ``line`` as its first line, a Host field and ``fields``; ``method`` is the one that a reader of the answer goes by."""
    return Stimulus(label, (b"\r\n".join([line, HOST_LINE, *fields, b"", b""]),), methods=(method,))


def post(label: str, *fields: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> Stimulus:
    """A POST of / with a Host field, ``fields`` and ``body``, framed by nothing but ``fields``."""
    head = b"\r\n".join([b"POST / " + version, HOST_LINE, *fields, b"", b""])
    return Stimulus(label, (head + body,), methods=("POST",))


def chunked(label: str, body: bytes, *fields: bytes) -> Stimulus:
    """A POST of / with Transfer-Encoding: chunked; ``body`` is what stands on the wire."""
    return post(label, b"Transfer-Encoding: chunked", *fields, body=body)


def broken_off(stimulus: Stimulus) -> Stimulus:
    """``stimulus``, and then the end of our direction of the connection: no more will come."""
    return Stimulus(stimulus.label, (*stimulus.parts, HALF_CLOSE), methods=stimulus.methods, follow_up=False)
