"""Exchanges over one connection: the requests that the topics about connections send, and what they ask of an answer.

The law of this module: an exchange is judged by the wire and by the calls alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Await, Call, Stimulus
from asgi_conformance.outcomes import FOLLOW_UP_PATH
from asgi_conformance.reference import dumps_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.case import Observation
    from pytest_asgiserve.raw import RawResponse

__all__ = ["BAD_REQUEST", "CALL", "FOLLOWING", "OK", "OK_CLOSE", "SHORT", "SUCCESS", "UNREAD", "answered", "get", "is_own", "options", "request"]

OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
OK_CLOSE: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
CALL: Final = Call({"type": "http", "method": "GET", "path": "/"})
FOLLOWING: Final = Call({"type": "http", "method": "GET", "path": FOLLOW_UP_PATH})
SUCCESS: Final = range(200, 300)
SHORT: Final = Await(0.05)
"""For one that must not come: whoever would send it does so while it waits for the body."""
UNREAD: Final = [["respond", 200, [["content-length", "0"]]]]
"""A script that answers and does not read."""


def request(*lines: str, path: str = "/", method: str = "GET", version: str = "1.1", body: bytes = b"", script: Sequence[Any] = ()) -> bytes:
    """A request; ``lines`` are its fields, to which a Host, the length of ``body`` and ``script`` are added."""
    head = [f"{method} {path} HTTP/{version}", "Host: a.example", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    if script:
        head.append(f"X-Script: {dumps_script(script)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def get(label: str, *lines: str, method: str = "GET", version: str = "1.1") -> Stimulus:
    """A request without a body, as a stimulus."""
    return Stimulus(label, (request(*lines, method=method, version=version),), methods=(method,))


def options(response: RawResponse) -> set[bytes]:
    """The connection options of a response."""
    return {option.strip().lower() for value in response.all(b"connection") for option in value.split(b",")}


def answered(seen: Observation) -> bool:
    """Whether there is one answer, by the application."""
    return len(seen.responses) == 1 and seen.status in SUCCESS and not seen.broken and any(is_own(call) for call in seen.calls)


def is_own(call: Call) -> bool:
    """Whether it is the stimulus's, and not the follow-up's."""
    return call.scope.get("path") != FOLLOW_UP_PATH
