"""The outcomes that most clauses of HTTP/1.1 allow, each with a server that does it.

The law of this module: an outcome looks at everything that its words say, the fate of the connection included.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Call, Canned, Fate, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_conformance.case import Observation

__all__ = ["FOLLOW_UP_PATH", "accepted", "by_server", "closed", "closing", "incomplete", "never_complete", "rejected", "served"]

FOLLOW_UP_PATH: Final = "/follow-up"
"""Of the request that is sent behind each stimulus."""

_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_OK_CLOSE: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_SUCCESS: Final = range(200, 300)


def _refusal(status: int) -> bytes:
    return f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode("ascii")


def _not_followed(seen: Observation) -> bool:
    """Whether what stood behind the stimulus was left alone."""
    return seen.followed is None and all(call.scope.get("path") != FOLLOW_UP_PATH for call in seen.calls)


def _in_step(seen: Observation) -> bool:
    """Whether the follow-up, where it was answered, was read as the request that it is: no byte of what stood before it is taken for a part of it."""
    follow_ups = [call for call in seen.calls if call.scope.get("path") == FOLLOW_UP_PATH]
    return all(call.scope.get("method", "GET") == "GET" for call in follow_ups) and (seen.followed is None or seen.followed.status in _SUCCESS)


def rejected(*statuses: int) -> Outcome:
    """Answered with one of ``statuses`` and closed; what stands behind it is not read as a request."""

    def holds(seen: Observation) -> bool:
        return len(seen.responses) == 1 and seen.status in statuses and seen.ended and not seen.broken and _not_followed(seen)

    return Outcome(f"{' or '.join(map(str, statuses))} and the connection closed", holds, Canned(_refusal(statuses[0]), closes=True))


def closed() -> Outcome:
    """Closed without an answer."""

    def holds(seen: Observation) -> bool:
        return not seen.responses and not seen.broken and seen.ended and _not_followed(seen)

    return Outcome("the connection closed without an answer", holds, Canned(b"", closes=True))


def incomplete() -> Outcome:
    """Closed, with whatever answer or none, and the application was not called, or never told that the body is complete."""

    def holds(seen: Observation) -> bool:
        return len(seen.responses) <= 1 and not seen.broken and seen.ended and _not_followed(seen) and not any(call.complete for call in seen.calls)

    words = "the connection closed and the application never told that the body is complete"
    return Outcome(words, holds, Canned(_OK_CLOSE, closes=True, calls=(Call({"method": "POST", "path": "/"}, complete=False),)))


def never_complete(outcome: Outcome) -> Outcome:
    """``outcome``, and no application was told that the body is complete."""

    def holds(seen: Observation) -> bool:
        return outcome.holds(seen) and not any(call.complete for call in seen.calls)

    return replace(outcome, words=f"{outcome.words} (and the body never told to be complete)", holds=holds)


def closing(outcome: Outcome) -> Outcome:
    """``outcome``, which is that of one request, and then the connection closed; what stands behind it is not read as a request."""

    def holds(seen: Observation) -> bool:
        return outcome.holds(seen) and seen.ended and _not_followed(seen)

    return Outcome(f"{outcome.words} and then the connection closed", holds, replace(outcome.example, wire=_OK_CLOSE, closes=True))


def accepted(*statuses: int) -> Outcome:
    """Answered with one of ``statuses``, whatever the application was told; the connection goes on or ends in order."""

    def holds(seen: Observation) -> bool:
        return len(seen.responses) == 1 and seen.status in statuses and not seen.broken and seen.fate is not Fate.SILENT

    return Outcome(
        " or ".join(map(str, statuses)),
        holds,
        Canned(f"HTTP/1.1 {statuses[0]} Answer\r\ncontent-length: 0\r\n\r\n".encode("ascii") + _OK, closes=False),
    )


def by_server(*statuses: int) -> Outcome:
    """As `accepted`, without a call of the application."""
    outcome = accepted(*statuses)

    def holds(seen: Observation) -> bool:
        return outcome.holds(seen) and all(call.scope.get("path") == FOLLOW_UP_PATH for call in seen.calls)

    return Outcome(f"{outcome.words} by the server itself", holds, outcome.example)


def served(
    words: str = "",
    test: Callable[[Call], bool] = lambda _: True,
    *,
    count: int = 1,
    body: bytes = b"",
    example: Call | None = None,
    **facts: Any,
) -> Outcome:
    """Answered with 2xx by the application, which was called with what the request says.

    Args:
        words: what is told of ``test``.
        test: of the first call.
        count: requests in the stimulus.
        body: that the application got.
        example: a call that passes ``test``; without it, a GET of / with ``facts`` and ``body``.
        facts: of the scope: ``method="GET"``, ``path="/"``, ``query_string=b""``.
    """

    def holds(seen: Observation) -> bool:
        calls = [call for call in seen.calls if call.scope.get("path") != FOLLOW_UP_PATH]
        return (
            len(seen.responses) == count
            and all(response.status in _SUCCESS for response in seen.responses)
            and len(calls) == count
            and calls[0].body == body
            and calls[0].complete
            and all(calls[0].scope.get(name) == value for name, value in facts.items())
            and test(calls[0])
            and not seen.broken
            and seen.fate is not Fate.SILENT
            and _in_step(seen)
        )

    told = ", ".join(
        [*(f"{name} {value!r}" for name, value in facts.items()), *([f"body {body[:40]!r}"] if body else []), *([words] if words else [])]
    )
    call = Call({"method": "GET", "path": "/", **facts}, body) if example is None else example
    return Outcome(f"served{f' with {told}' if told else ''}", holds, Canned(_OK * count + _OK, closes=False, calls=(call,) * count))
