"""Status codes and their lines (RFC 9110 §15, RFC 9112 §4)."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["REASONS", "STATUS_LINES", "forbids_content", "reason_phrase"]

REASONS: dict[int, str] = {status.value: status.phrase for status in HTTPStatus}
# Names of RFC 9110 where Python 3.11 still has those of RFC 7231.
REASONS.update({413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"})


def reason_phrase(status: int) -> str:
    """The registered reason phrase, or an empty string."""
    return REASONS.get(status, "")


# RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ]; the second SP stands even where there is no phrase.
# RFC 9110 §6.2: the server's own version, 1.1, whatever the request's minor version.
STATUS_LINES: dict[int, bytes] = {status: f"HTTP/1.1 {status} {reason_phrase(status)}\r\n".encode("ascii") for status in range(100, 600)}


def forbids_content(status: int) -> bool:
    """Whether a response with this status never has content: 1xx, 204, 304 (RFC 9112 §6.3 (1)).

    205 has none either (RFC 9110 §15.3.6), but says so with a Content-Length of 0.
    """
    return status < 200 or status == 204 or status == 304  # noqa: PLR2004, PLR1714 - status codes are their own names; one comparison less
