"""HTTP/1.1: the connection: persistence, pipelining, its end (RFC 9112 §9, RFC 9110 §7.6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import HALF_CLOSE, Await, Call, Canned, Level, Outcome, Stimulus, Topic
from asgi_conformance.outcomes import closed, rejected
from asgi_conformance.suite.exchanges import (
    BAD_REQUEST,
    CALL,
    FOLLOWING,
    OK,
    OK_CLOSE,
    SHORT,
    SUCCESS,
    UNREAD,
    answered,
    get,
    is_own,
    options,
    request,
)

if TYPE_CHECKING:
    from asgi_conformance.case import Observation

__all__ = ["CONNECTION"]

CONNECTION: Final = Topic("http1/connection", "HTTP/1.1: the connection")

_CLIENT_ERRORS: Final = range(400, 500)


def _kept(words: str = "served, and the connection kept", *told: bytes) -> Outcome:
    """Served, and so is the follow-up; the response has the connection options ``told``."""

    def holds(seen: Observation) -> bool:
        followed = seen.followed is not None and seen.followed.status in SUCCESS
        return answered(seen) and followed and len(seen.calls) == 2 and set(told) <= options(seen.responses[0])

    connection = b"connection: " + b", ".join(told) + b"\r\n" if told else b""
    early = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + connection + b"\r\n"
    return Outcome(words, holds, Canned(OK, closes=False, calls=(CALL, FOLLOWING), early=early))


def _ended(words: str = "served, and the connection closed", *, announced: bool = False, without: bytes = b"") -> Outcome:
    """Served, and the connection closed behind it: nothing more is processed."""

    def holds(seen: Observation) -> bool:
        if not answered(seen):
            return False
        said = options(seen.responses[0])
        alone = seen.ended and seen.followed is None and len(seen.calls) == 1
        return alone and (not announced or b"close" in said) and without not in said

    return Outcome(words, holds, Canned(b"", closes=True, calls=(CALL,), early=OK_CLOSE))


def _refused() -> Outcome:
    """Refused and closed, because of what stands behind it: a client that closes MUST NOT send it (RFC 9112 §9.6)."""

    def holds(seen: Observation) -> bool:
        return len(seen.responses) == 1 and seen.status in _CLIENT_ERRORS and seen.ended and seen.followed is None and all(map(is_own, seen.calls))

    return Outcome("refused because of what stands behind it, and the connection closed", holds, Canned(b"", closes=True, early=BAD_REQUEST))


def _then(label: str, *lines: str, method: str = "GET", version: str = "1.1") -> Stimulus:
    """A request, and the follow-up when its answer is there and does not end the connection."""
    return Stimulus(label, (request(*lines, method=method, version=version), Await(1.0), b""), methods=(method,))


def _in_order(*exchanges: tuple[str, str, bytes, bytes]) -> Outcome:
    """Each request is served with its own answer, and in order; ``exchanges`` are the method, path and body of each, and the body of its answer."""

    def holds(seen: Observation) -> bool:
        calls = sorted((str(call.scope.get("method")), str(call.scope.get("path")), call.body) for call in seen.calls if is_own(call))
        return (
            [response.body for response in seen.responses] == [answer for _, _, _, answer in exchanges]
            and all(response.status in SUCCESS for response in seen.responses)
            and calls == sorted((method, path, body) for method, path, body, _ in exchanges)
            and seen.followed is not None
            and not seen.broken
        )

    wire = b"".join(_with_body(answer) for _, _, _, answer in exchanges) + OK
    calls = tuple(Call({"method": method, "path": path}, body) for method, path, body, _ in exchanges)
    return Outcome("each served, in order", holds, Canned(wire, closes=False, calls=calls))


def _with_body(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def _says(path: str, *before: Any) -> bytes:
    """A request whose answer is its path."""
    return request(path=path, script=[*before, ["respond", 200, [["content-length", str(len(path))]], path]])


CONNECTION.case(
    "h1.conn.keepalive-11",
    "RFC 9112 §9.3",
    level=Level.SHOULD,
    says="HTTP implementations SHOULD support persistent connections.",
    send=[_then("one after the other"), get("in one write")],
    allow=[_kept()],
    warn=[_ended("served, and the end of the connection announced", announced=True)],
    bad=Canned(b"", closes=True, calls=(CALL,), early=OK),
)
CONNECTION.case(
    "h1.conn.close-honoured",
    "RFC 9112 §9.6",
    level=Level.MUST,
    says='A server that receives a "close" connection option MUST initiate closure of the connection (see below) after it sends the final response '
    'to the request that contained the "close" connection option. [...] The server MUST NOT process any further requests received on that '
    "connection.",
    send=[
        _then("close", "Connection: close"),
        _then("of a POST", "Connection: close", "Content-Length: 0", method="POST"),
        get("with another request behind it", "Connection: close"),
    ],
    allow=[_ended()],
    warn=[_refused()],
    bad=Canned(OK, closes=False, calls=(CALL, FOLLOWING), early=OK),
)
CONNECTION.case(
    "h1.conn.close-announced",
    "RFC 9112 §9.6",
    level=Level.SHOULD,
    says='The server SHOULD send a "close" connection option in its final response on that connection.',
    send=[_then("close", "Connection: close")],
    allow=[_ended("served, and the end of the connection announced", announced=True)],
    bad=Canned(b"", closes=True, calls=(CALL,), early=OK),
)
CONNECTION.case(
    "h1.conn.close-token-list",
    "RFC 9110 §7.6.1",
    "RFC 9110 §5.6.1.2",
    "RFC 9112 §9.6",
    level=Level.MUST,
    says="Connection = #connection-option. Connection options are case-insensitive.",
    send=[
        _then("the last of two", "Connection: foo, CLOSE"),
        _then("the first of two", "Connection: Close ,foo"),
        _then("between empty elements", "Connection: ,\t, close,"),
        _then("in the second of two lines", "Connection: foo", "X-A: 1", "connection: close"),
        _then("beside keep-alive", "Connection: keep-alive, close"),
    ],
    allow=[_ended()],
    bad=Canned(OK, closes=False, calls=(CALL, FOLLOWING), early=OK),
)
CONNECTION.case(
    "h1.conn.close-other-token",
    "RFC 9110 §7.6.1",
    "RFC 9112 §9.3",
    level=Level.SHOULD,
    says='If the "close" connection option is present, the connection will not persist after the current response; else, if the received protocol is '
    "HTTP/1.1 (or later), the connection will persist after the current response.",
    send=[
        _then("a longer token", "Connection: close-not"),
        _then("a token that ends with it", "Connection: x-close"),
        _then("another", "Connection: foo"),
    ],
    allow=[_kept()],
    warn=[_ended("served, and the end of the connection announced", announced=True)],
    bad=Canned(b"", closes=True, calls=(CALL,), early=OK),
)


def _wants_newer() -> Outcome:
    outcome = rejected(426)
    return Outcome(outcome.words, outcome.holds, Canned(b"", closes=True, early=outcome.example.wire))


CONNECTION.case(
    "h1.conn.http10-close",
    "RFC 9112 §9.3",
    level=Level.MUST,
    says='If the received protocol is HTTP/1.0, the "keep-alive" connection option is present, [...] the connection will persist after the current '
    "response; otherwise, the connection will close after the current response.",
    send=[
        _then("without Connection", version="1.0"),
        _then("with close", "Connection: close", version="1.0"),
        _then("with another option", "Connection: foo", version="1.0"),
        _then("with a field that is called so", "Keep-Alive: timeout=5", version="1.0"),
    ],
    allow=[_ended()],
    warn=[_wants_newer()],
    bad=Canned(OK, closes=False, calls=(CALL, FOLLOWING), early=OK),
)
CONNECTION.case(
    "h1.conn.http10-keepalive",
    "RFC 9112 §9.3",
    level=Level.MAY,
    says='If the received protocol is HTTP/1.0, the "keep-alive" connection option is present, [...] and the recipient wishes to honor the HTTP/1.0 '
    '"keep-alive" mechanism, the connection will persist after the current response.',
    send=[_then("keep-alive", "Connection: keep-alive", version="1.0"), _then("in a list", "Connection: foo, Keep-Alive", version="1.0")],
    allow=[
        _kept("served, and the connection kept and said so", b"keep-alive"),
        _ended("served, and closed without a promise", without=b"keep-alive"),
    ],
    # A client of HTTP/1.0 cannot know that; by the text an HTTP/1.1 response says it.
    warn=[_kept("served, and the connection kept without saying so")],
    bad=Canned(b"", closes=True, calls=(CALL,), early=b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"),
)


def _unchunked(body: bytes) -> Outcome:
    """Served with ``body``, and without a transfer coding."""

    def holds(seen: Observation) -> bool:
        return answered(seen) and not seen.responses[0].all(b"transfer-encoding") and seen.responses[0].body == body

    wire = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body
    return Outcome("served without Transfer-Encoding", holds, Canned(wire, closes=True, calls=(CALL,)))


_PIECES: Final = [["start", 200, [["content-type", "text/plain"]]], ["body", "hel", True], ["body", "lo", True], ["body", "", False]]
CONNECTION.case(
    "h1.conn.http10-no-chunked",
    "RFC 9112 §6.1",
    level=Level.MUST,
    says="A server MUST NOT send a response containing Transfer-Encoding unless the corresponding request indicates HTTP/1.1 (or later minor "
    "revisions).",
    send=[
        Stimulus("a body in pieces", (request(version="1.0", script=_PIECES),), follow_up=False),
        Stimulus("with keep-alive", (request("Connection: keep-alive", version="1.0", script=_PIECES),), follow_up=False),
        Stimulus("with TE", (request("TE: trailers", "Connection: TE", version="1.0", script=_PIECES),), follow_up=False),
    ],
    allow=[_unchunked(b"hello")],
    bad=Canned(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        closes=True,
        calls=(CALL,),
    ),
)
_PATHS: Final = ("/one", "/two", "/three")
CONNECTION.case(
    "h1.conn.pipeline-order",
    "RFC 9112 §9.3.2",
    level=Level.MUST,
    says="A server MAY process a sequence of pipelined requests in parallel if they all have safe methods (Section 9.2.1 of [HTTP]), but it MUST "
    "send the corresponding responses in the same order that the requests were received.",
    send=[
        Stimulus("three at once", (b"".join(map(_says, _PATHS)),), methods=("GET",) * 3),
        Stimulus("the first is slow", (_says("/one", ["sleep", 0.05]) + _says("/two") + _says("/three"),), methods=("GET",) * 3),
        Stimulus("cut inside of the second", ((cut := b"".join(map(_says, _PATHS)))[:200], cut[200:]), methods=("GET",) * 3),
    ],
    allow=[_in_order(*(("GET", path, b"", path.encode("ascii")) for path in _PATHS))],
    bad=Canned(
        b"".join(map(_with_body, (b"/two", b"/one", b"/three"))) + OK,
        closes=False,
        calls=tuple(Call({"method": "GET", "path": path}) for path in _PATHS),
    ),
)
# Below the 1,000 requests after which several servers end a connection.
_MANY: Final = tuple(f"/n{number:03}" for number in range(500))


def _many() -> Outcome:
    def holds(seen: Observation) -> bool:
        # The wire alone: who made so many calls need not keep a record of them.
        return (
            [response.body for response in seen.responses] == [path.encode("ascii") for path in _MANY]
            and seen.followed is not None
            and not seen.broken
        )

    return Outcome("500 responses in order", holds, Canned(b"".join(_with_body(path.encode("ascii")) for path in _MANY) + OK, closes=False))


def _fewer() -> Outcome:
    def holds(seen: Observation) -> bool:
        bodies = [response.body for response in seen.responses]
        whole = bodies == [path.encode("ascii") for path in _MANY[: len(bodies)]]
        return whole and bool(bodies) and b"close" in options(seen.responses[-1]) and seen.ended and not seen.broken

    return Outcome(
        "some of them, and the end of the connection announced", holds, Canned(OK_CLOSE.replace(b": 0", b": 5", 1) + b"/n000", closes=True)
    )


CONNECTION.case(
    "h1.conn.pipeline-100",
    "RFC 9112 §9.3.2",
    level=Level.HARD,
    says="500 requests in one write are answered in order, whatever the server buffers of them.",
    send=[Stimulus("500 requests", (b"".join(map(_says, _MANY)),), methods=("GET",) * len(_MANY))],
    allow=[_many()],
    # A server may close a connection whenever it likes.
    warn=[_fewer()],
    bad=Canned(_with_body(b"/n000") + _with_body(b"/n002"), closes=True),
)
_CHUNKED: Final = request("Transfer-Encoding: chunked", path="/post", method="POST", script=[["echo-body"]]) + b"5\r\nhello\r\n0\r\n\r\n"
CONNECTION.case(
    "h1.conn.pipeline-post-get",
    "RFC 9112 §9.3",
    level=Level.MUST,
    says="A server MUST read the entire request message body or close the connection after sending its response; otherwise, the remaining data on a "
    "persistent connection would be misinterpreted as the next request.",
    send=[
        Stimulus(
            "Content-Length", (request(path="/post", method="POST", body=b"hello", script=[["echo-body"]]) + _says("/get"),), methods=("POST", "GET")
        ),
        Stimulus("chunked", (_CHUNKED + _says("/get"),), methods=("POST", "GET")),
    ],
    allow=[_in_order(("POST", "/post", b"hello", b"hello"), ("GET", "/get", b"", b"/get"))],
    bad=Canned(_with_body(b"hello") + BAD_REQUEST, closes=True, calls=(Call({"method": "POST", "path": "/post"}, b"hello"),)),
)


def _drained() -> Outcome:
    """The body that nobody read is taken, or the connection ends; never is it a request."""

    def holds(seen: Observation) -> bool:
        own = [call for call in seen.calls if is_own(call)]
        after = seen.ended if seen.followed is None else seen.followed.status in SUCCESS
        return len(seen.responses) == 1 and seen.status in SUCCESS and len(own) == 1 and after and not seen.broken

    return Outcome("served, and the body drained or the connection closed", holds, Canned(OK * 2, closes=False, calls=(CALL, FOLLOWING)))


_HIDDEN: Final = b"GET /hidden HTTP/1.1\r\nHost: hidden.example\r\n\r\n"
CONNECTION.case(
    "h1.conn.body-unread",
    "RFC 9112 §9.3",
    level=Level.MUST,
    says="A server MUST read the entire request message body or close the connection after sending its response; otherwise, the remaining data on a "
    "persistent connection would be misinterpreted as the next request.",
    send=[
        Stimulus("a body that looks like a request", (request(method="POST", body=_HIDDEN, script=UNREAD),), methods=("POST",)),
        Stimulus("of a GET", (request(body=_HIDDEN, script=UNREAD),)),
        Stimulus("behind the head", (request(f"Content-Length: {len(_HIDDEN)}", method="POST", script=UNREAD), SHORT, _HIDDEN), methods=("POST",)),
    ],
    allow=[_drained()],
    bad=Canned(OK * 3, closes=False, calls=(CALL, Call({"method": "GET", "path": "/hidden"}), FOLLOWING)),
)


def _then_rejected(*statuses: int) -> Outcome:
    """The first request is served, the second answered with one of ``statuses`` and closed; nothing behind it is read."""

    def holds(seen: Observation) -> bool:
        return (
            len(seen.responses) == 2
            and seen.status in SUCCESS
            and seen.responses[1].status in statuses
            and seen.ended
            and seen.followed is None
            and not seen.broken
            and sum(call.scope.get("path") == "/" for call in seen.calls) == 1
            and all(is_own(call) for call in seen.calls)
        )

    words = f"the first served, the second answered with {' or '.join(map(str, statuses))}, and the connection closed"
    return Outcome(words, holds, Canned(BAD_REQUEST, closes=True, calls=(CALL,), early=OK))


def _second(label: str, *lines: str, wait: tuple[Await, ...] = ()) -> Stimulus:
    """A malformed request behind a good one: in one write, or after the answer to it."""
    first, second = request(), request(*lines, path="/second", method="POST")
    return Stimulus(label, (first, *wait, second) if wait else (first + second,), methods=("GET", "POST"))


CONNECTION.case(
    "h1.conn.error-closes",
    "RFC 9112 §6.3 (5)",
    "RFC 9112 §9.3.2",
    level=Level.MUST,
    says="If the unrecoverable error is in a request message, the server MUST respond with a 400 (Bad Request) status code and then close the "
    "connection. [...] A server [...] MUST send the corresponding responses in the same order that the requests were received.",
    send=[
        _second("no number", "Content-Length: abc"),
        _second("two numbers", "Content-Length: 5", "Content-Length: 6"),
        _second("when the first is answered", "Content-Length: abc", wait=(Await(1.0),)),
    ],
    allow=[_then_rejected(400)],
    bad=Canned(OK * 2, closes=False, calls=(CALL, FOLLOWING), early=OK),
)


def _left_open() -> Outcome:
    def holds(seen: Observation) -> bool:
        return answered(seen) and not seen.ended

    return Outcome("served, and the connection left open", holds, Canned(OK, closes=False, calls=(CALL,)))


# So late that the server has seen the FIN before.
_LATER: Final = [["receive-all"], ["sleep", 0.1], ["respond", 200, [["content-length", "2"]], "ok"]]
CONNECTION.case(
    "h1.conn.half-close",
    "RFC 9112 §9.6",
    "RFC 9293 §3.6",
    level=Level.HARD,
    says="Note that a TCP connection that is half-closed by the client does not delimit a request message, nor does it imply that the client is no "
    "longer interested in a response.",
    send=[
        Stimulus("GET and FIN", (request(script=_LATER), HALF_CLOSE), follow_up=False),
        Stimulus(
            "POST with its body, and FIN", (request(method="POST", body=b"hello", script=_LATER), HALF_CLOSE), methods=("POST",), follow_up=False
        ),
    ],
    # What is left open ends by a time-out.
    allow=[_ended("served and closed"), _left_open()],
    # It takes the client to be gone, which nothing implies.
    warn=[closed()],
    bad=Canned(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", closes=True, calls=(CALL,)),
)
