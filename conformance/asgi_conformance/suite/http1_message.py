"""HTTP/1.1: where a request ends and the next one begins (RFC 9112 §2.2, §9.3 and §11.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Call, Canned, Fate, Level, Outcome, Quiet, Stimulus, Topic
from asgi_conformance.outcomes import FOLLOW_UP_PATH, closed, closing, rejected, served
from asgi_conformance.reference import dumps_script
from asgi_conformance.suite.pieces import HOST_LINE, REFUSES, post, told

if TYPE_CHECKING:
    from asgi_conformance.case import Observation

__all__ = ["MESSAGE"]

MESSAGE: Final = Topic("http1/message", "HTTP/1.1: where a request ends")

_INSIDE: Final = b"GET /inside HTTP/1.1\r\n" + HOST_LINE + b"\r\n\r\n"
"""A request that is none, because it stands in a body."""
_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_READ: Final = (
    "A server MUST read the entire request message body or close the connection after sending its response; otherwise, the remaining data on a "
    "persistent connection would be misinterpreted as the next request."
)
_BOTH: Final = (
    "A server MAY reject a request that contains both Content-Length and Transfer-Encoding or process such a request in accordance with the "
    "Transfer-Encoding alone. Regardless, the server MUST close the connection after responding to such a request to avoid the potential attacks."
)


def _answered_unread() -> Outcome:
    """Answered by an application that reads nothing of the body; what stands behind it is answered as the next request, or the connection ends."""

    def holds(seen: Observation) -> bool:
        paths = [call.scope.get("path") for call in seen.calls]
        return (
            len(seen.responses) == 1
            and seen.status == 200
            and paths in (["/"], ["/", FOLLOW_UP_PATH])
            and (seen.followed is None or seen.followed.status == 200)
            and (seen.followed is not None or seen.ended)
            and not seen.broken
            and seen.fate is not Fate.SILENT
        )

    example = Canned(
        _OK * 2, closes=False, calls=(Call({"method": "POST", "path": "/"}, complete=False), Call({"method": "GET", "path": FOLLOW_UP_PATH}))
    )
    return Outcome("200, and then the follow-up answered or the connection closed", holds, example)


def _unread(label: str, size: int, *, in_chunks: bool = False) -> Stimulus:
    body = _INSIDE * (size // len(_INSIDE))
    script = b"x-script: " + dumps_script([["respond", 200]]).encode("ascii")
    if in_chunks:
        return post(label, b"Transfer-Encoding: chunked", script, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    return post(label, b"Content-Length: %d" % len(body), script, body=body)


def _fragments(label: str, data: bytes, *, method: str) -> Stimulus:
    """``data`` in a write for each byte, with a pause between in which nothing must come."""
    parts: list[bytes | Quiet] = []
    for index in range(len(data)):
        parts += [data[index : index + 1], Quiet(0.0005)]
    return Stimulus(label, tuple(parts[:-1]), methods=(method,))


def _prefixes(label: str, data: bytes, *places: int, method: str) -> Stimulus:
    """``data``, cut at ``places``; at each, nothing must come for a while."""
    parts: list[bytes | Quiet] = []
    for begin, end in zip((0, *places), (*places, len(data)), strict=True):
        parts += [data[begin:end], Quiet(0.03)]
    return Stimulus(label, tuple(parts[:-1]), methods=(method,))


MESSAGE.case(
    "h1.msg.unread-body-drained",
    "RFC 9112 §9.3",
    level=Level.MUST,
    says=_READ,
    send=[
        _unread("a kilobyte", 1000),
        _unread("100 kB", 100_000),
        _unread("a megabyte", 1_000_000),
        _unread("100 kB in a chunk", 100_000, in_chunks=True),
    ],
    allow=[_answered_unread()],
    # The answer may be lost where the connection is closed at once.
    warn=[closed()],
    bad=Canned(_OK * 2, closes=False, calls=(Call({"method": "POST", "path": "/"}), Call({"method": "GET", "path": "/inside"}))),
)
MESSAGE.case(
    "h1.msg.body-is-request",
    "RFC 9112 §9.3",
    "RFC 9112 §6.3",
    level=Level.MUST,
    says=_READ,
    send=[
        post("by its length", b"Content-Length: %d" % len(_INSIDE), body=_INSIDE),
        post("in a chunk", b"Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(_INSIDE), _INSIDE)),
        post(
            "in two chunks",
            b"Transfer-Encoding: chunked",
            body=b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (_INSIDE[:5], len(_INSIDE) - 5, _INSIDE[5:]),
        ),
    ],
    allow=[served(method="POST", body=_INSIDE)],
    bad=Canned(_OK * 2, closes=False, calls=(Call({"method": "POST", "path": "/"}), Call({"method": "GET", "path": "/inside"}))),
)

_CL_TE: Final = b"0\r\n\r\n" + _INSIDE
"""By its length a body; in chunks an empty one, with a request behind it."""
_CL_TE_LENGTH: Final = b"Content-Length: %d" % len(_CL_TE)
_TE: Final = b"Transfer-Encoding: chunked"

MESSAGE.case(
    "h1.msg.clte-desync",
    "RFC 9112 §6.1",
    "RFC 9112 §6.3 (3)",
    "RFC 9112 §11.2",
    level=Level.MUST,
    says=_BOTH,
    send=[
        post("the length first", _CL_TE_LENGTH, _TE, body=_CL_TE),
        post("the length last", _TE, _CL_TE_LENGTH, body=_CL_TE),
        post("a folded coding", _CL_TE_LENGTH, b"Transfer-Encoding:\r\n chunked", body=_CL_TE),
        post("a space behind the coding", _CL_TE_LENGTH, b"Transfer-Encoding: chunked ", body=_CL_TE),
        post("mixed case", _CL_TE_LENGTH, b"tRaNsFeR-eNcOdInG: cHuNkEd", body=_CL_TE),
        post("a comma before the coding", _CL_TE_LENGTH, b"Transfer-Encoding: , chunked", body=_CL_TE),
        post("two lines of codings", _CL_TE_LENGTH, _TE, _TE, body=_CL_TE),
        post("identity on a second line", _CL_TE_LENGTH, _TE, b"Transfer-Encoding: identity", body=_CL_TE),
        post("a space before the colon", _CL_TE_LENGTH, b"Transfer-Encoding : chunked", body=_CL_TE),
        post("a length between two codings", _TE, _CL_TE_LENGTH, _TE, body=_CL_TE),
    ],
    allow=[rejected(400, 501), closing(served(method="POST"))],
    # Reads the chunks, and then what stands behind them.
    bad=Canned(_OK * 2, closes=False, calls=(Call({"method": "POST", "path": "/"}), Call({"method": "GET", "path": "/inside"}))),
)
MESSAGE.case(
    "h1.msg.tecl-desync",
    "RFC 9112 §6.1",
    "RFC 9112 §6.3 (3)",
    "RFC 9112 §11.2",
    level=Level.MUST,
    says=_BOTH,
    # In one chunk a body; by the length just the size of that chunk, with a request behind it.
    send=[
        post(label, *fields, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(_INSIDE), _INSIDE))
        for label, fields in (
            ("the length first", (b"Content-Length: 4", _TE)),
            ("the length last", (_TE, b"Content-Length: 4")),
            ("a folded coding", (b"Content-Length: 4", b"Transfer-Encoding:\r\n chunked")),
            ("mixed case", (b"Content-Length: 4", b"tRaNsFeR-eNcOdInG: cHuNkEd")),
            ("a comma before the coding", (b"Content-Length: 4", b"Transfer-Encoding: , chunked")),
            ("a space before the colon", (b"Content-Length: 4", b"Transfer-Encoding : chunked")),
        )
    ],
    allow=[rejected(400, 501), closing(served(method="POST", body=_INSIDE))],
    bad=Canned(_OK * 2, closes=False, calls=(Call({"method": "POST", "path": "/"}, b"2f\r\n"), Call({"method": "GET", "path": "/inside"}))),
)

_CHUNKED_POST: Final = b"POST / HTTP/1.1\r\n" + HOST_LINE + b"\r\n" + _TE + b"\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: a\r\n\r\n"
_CHUNKS_AT: Final = _CHUNKED_POST.index(b"\r\n\r\n") + 4
_LENGTH_POST: Final = b"POST / HTTP/1.1\r\n" + HOST_LINE + b"\r\nContent-Length: 5\r\n\r\nhello"

MESSAGE.case(
    "h1.msg.fragmented",
    "RFC 9112 §2.2",
    "RFC 9112 §9",
    level=Level.MUST,
    says="Where the bytes of a request are cut on their way changes nothing of it.",
    send=[
        _fragments("chunks, with an extension and a trailer", _CHUNKED_POST, method="POST"),
        _fragments("a body of known length", _LENGTH_POST, method="POST"),
    ],
    allow=[served(method="POST", path="/", body=b"hello")],
    bad=told(method="POST", body=b"hell"),
)
MESSAGE.case(
    "h1.msg.partial-waits",
    "RFC 9112 §2.2",
    level=Level.MUST,
    says="A request that may still become a valid one is not answered, but waited for.",
    send=[
        _prefixes("cut in its head", _LENGTH_POST, 3, 8, 15, 16, 17, 20, 33, 35, 50, 54, method="POST"),
        _prefixes("cut behind its head, and in its body", _LENGTH_POST, len(_LENGTH_POST) - 5, len(_LENGTH_POST) - 1, method="POST"),
        _prefixes("cut in its chunks", _CHUNKED_POST, *(_CHUNKS_AT + cut for cut in (0, 1, 4, 6, 7, 9, 10, 13, 18, 19, 21, 35, 36)), method="POST"),
    ],
    allow=[served(method="POST", path="/", body=b"hello")],
    bad=replace(REFUSES, after=3),
)
