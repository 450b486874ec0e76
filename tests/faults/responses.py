"""Wrong responses, each with what becomes of it: the table of test_responses.py.

The law of this module: data. Of a response that is refused or cut because of a message, that message is the last one here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from asgiserve import LocalProtocolError
from tests.faults.stand import START, body, start

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["WRONG_RESPONSES", "Fate", "WrongResponse"]


class Fate(enum.Enum):
    """What the client sees of it."""

    REFUSED = "500 in its place, announced as the last response, and the end of the connection"
    CUT = "a part of it, which cannot be taken for the whole, and the end of the connection"
    LAST = "a whole response, announced as the last or not, and the end of the connection"
    MENDED = "a whole response, and the next request answered"


@dataclass(frozen=True)
class WrongResponse:
    """One thing that an application does.

    Attributes:
        name: of the case.
        clause: the rule that it breaks, or that says what becomes of it.
        messages: that it sends; a function makes its message anew for each run.
        fate: what becomes of it.
        raises: what the last ``send()`` raises; None: nothing.
        status: of the response, where it is one of the application's.
        content: the content that the client gets.
        fields: of the response, in lower case; None: it must not be there.
        framing: how the content's end is known, where that is the point.
        logged: whether there is a log record of it. It is one, and it is an error.
        request: the request line and the fields behind Host.
    """

    name: str
    clause: str
    messages: tuple[Any, ...]
    fate: Fate
    raises: type[BaseException] | None = None
    status: int = 200
    content: bytes = b"ok"
    fields: Mapping[bytes, bytes | None] = field(default_factory=dict)
    framing: str = ""
    logged: bool = False
    request: tuple[str, str] = ("GET /fault HTTP/1.1", "")

    @property
    def method(self) -> str:
        """Of the request."""
        return self.request[0].partition(" ")[0]

    def made(self) -> list[Any]:
        """The messages of one run."""
        return [message() if callable(message) else message for message in self.messages]


def refused(name: str, clause: str, *messages: Any) -> WrongResponse:
    """The last message raises, before anything is on the wire."""
    return WrongResponse(name, clause, messages, Fate.REFUSED, LocalProtocolError, 500, b"Internal Server Error\n", logged=True)


def cut(name: str, clause: str, *messages: Any, content: bytes = b"part", raises: type[BaseException] | None = LocalProtocolError) -> WrongResponse:
    """The response is broken off. Its client takes trailers."""
    return WrongResponse(
        name, clause, messages, Fate.CUT, raises, content=content, logged=True, request=("GET /fault HTTP/1.1", "TE: trailers\r\nConnection: TE\r\n")
    )


def truncated(name: str, *messages: Any, content: bytes = b"0123") -> WrongResponse:
    """The content is longer than its Content-Length."""
    # RFC 9112 §6.3: whatever is behind it would be read as the next response.
    return WrongResponse(name, "RFC 9112 §6.3", messages, Fate.LAST, LocalProtocolError, content=content, logged=True)


def mended(name: str, clause: str, *messages: Any, **more: Any) -> WrongResponse:
    """It is put right, or is right although it looks odd."""
    return WrongResponse(name, clause, messages, more.pop("fate", Fate.MENDED), **more)


LENGTH_4: Final = (b"content-length", b"4")
LENGTH_9: Final = (b"content-length", b"9")
OK: Final = body(b"ok")
PART: Final = body(b"part", more=True)
HEAD: Final = ("HEAD /fault HTTP/1.1", "")
HTTP_1_0: Final = ("GET /fault HTTP/1.0", "")
TE: Final = b"transfer-encoding"
NO_FRAMING: Final = {b"content-length": None, TE: None}
SPLIT: Final = b"a\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"


def trailers(*fields: Any) -> dict[str, Any]:
    """Fields behind the content."""
    return {"type": "http.response.trailers", "headers": list(fields)}


def hint(*links: Any) -> dict[str, Any]:
    """An early hint."""
    return {"type": "http.response.early_hint", "links": list(links)}


def failing(error: Exception) -> Iterator[tuple[bytes, bytes]]:
    """Fields that raise behind the first."""
    yield b"a", b"b"
    raise error


NO_FIELDS: Final[dict[str, Any]] = {
    "none": None,
    "a-number": 1,
    "text": "x: y",
    "a-dict": {b"x": b"y"},
    "a-dict-whose-keys-have-two-bytes": {b"ab": b"y"},
    "bytes": b"ab",
    "pairs-of-numbers": [b"xy"],
    "of-one": [(b"a",)],
    "of-three": [(b"a", b"b", b"c")],
    "none-in-a-list": [None],
    "name-is-text": [("x", b"y")],
    "name-is-none": [(None, b"y")],
    "name-is-a-bytearray": [(bytearray(b"x"), b"y")],
    "value-is-text": [(b"x", "y")],
    "value-is-none": [(b"x", None)],
    "value-is-a-number": [(b"content-length", 2)],
    "value-is-a-bytearray": [(b"x", bytearray(b"y"))],
    "value-is-a-memoryview": [(b"x", memoryview(b"y"))],
}
FIELDS = (
    *(
        refused(f"value-with-{name}", "RFC 9110 §5.5, RFC 9112 §11.1", start(200, (b"x", value)))
        for name, value in {
            "cr-lf": b"a\r\nset-cookie: b",
            "cr-lf-at-its-end": b"a\r\n",
            "a-folded-line": b"a\r\n b",
            "a-second-response": SPLIT,
            "lf": b"a\nb",
            "cr": b"a\rb",
            "nul": b"a\0b",
            "esc": b"\x1b[31m",
            "del": b"\x7f",
            "vt": b"a\x0bb",
            "fs": b"a\x1cb",
        }.items()
    ),
    *(
        refused(f"name-{name}", "RFC 9110 §5.1", start(200, (value, b"a")))
        for name, value in {
            "empty": b"",
            "with-cr-lf": b"x\r\ny",
            "with-lf": b"x\ny",
            "with-nul": b"x\0",
            "with-esc": b"x\x1b",
            "with-del": b"x\x7f",
            "with-a-colon": b"x:",
            "with-a-space": b"x y",
            "with-a-space-at-its-end": b"content-length ",
            "with-a-tab": b"x\t",
            "that-is-a-pseudo-header": b":status",
            "that-is-not-ascii": b"\xc3\xa9",
        }.items()
    ),
    refused("fields-end-in-an-error", "ASGI HTTP, Response Start", lambda: {**START, "headers": failing(ValueError("no more"))}),
    WrongResponse(
        "fields-end-in-an-error-of-their-own",
        "ASGI HTTP, Response Start",
        (lambda: {**START, "headers": failing(KeyError("no more"))},),
        Fate.REFUSED,
        KeyError,
        500,
        b"Internal Server Error\n",
        logged=True,
    ),
    *(refused(f"fields-{name}", "ASGI HTTP, Response Start", {**START, "headers": value}) for name, value in NO_FIELDS.items()),
)

LENGTHS = (
    *(
        refused(f"length-{name}", "RFC 9110 §8.6", start(200, (b"content-length", value)))
        for name, value in {
            "negative": b"-1",
            "of-letters": b"abc",
            "empty": b"",
            "plus": b"+5",
            "with-a-space-before": b" 2",
            "with-a-space-behind": b"2 ",
            "with-a-space-inside": b"2 2",
            "a-list": b"2, 2",
            "hexadecimal": b"0x2",
            "with-an-underscore": b"1_0",
            "with-a-point": b"2.0",
            "of-30-digits": b"9" * 30,
        }.items()
    ),
    refused("length-twice-the-same", "RFC 9110 §8.6", start(200, (b"content-length", b"2"), (b"Content-Length", b"2"))),
    refused("length-twice", "RFC 9110 §8.6", start(200, (b"content-length", b"2"), (b"content-length", b"3"))),
    refused("length-of-letters-on-204", "RFC 9110 §8.6", start(204, (b"content-length", b"abc"))),
    truncated("longer", start(200, LENGTH_4), body(b"01234567")),
    truncated("longer-in-two", start(200, LENGTH_4), body(b"01", more=True), body(b"234567", more=True)),
    truncated("longer-after-its-length", start(200, LENGTH_4), body(b"0123", more=True), body(b"4")),
    truncated("longer-than-nothing", start(200, (b"content-length", b"0")), body(b"x"), content=b""),
    truncated("longer-by-a-response", start(200, LENGTH_4), body(b"0123HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
    cut("shorter", "RFC 9112 §8", start(200, LENGTH_9), body(b"part")),
    cut("shorter-in-two", "RFC 9112 §8", start(200, LENGTH_9), body(b"pa", more=True), body(b"rt")),
    cut("shorter-with-an-empty-end", "RFC 9112 §8", start(200, LENGTH_9), PART, body()),
    cut("shorter-and-empty", "RFC 9112 §8", start(200, LENGTH_9), body(), content=b""),
    cut("shorter-and-left", "RFC 9112 §8", start(200, LENGTH_9), PART, raises=None),
    # RFC 9110 §9.3.2: HEAD has no content, so that none is too long or too short.
    mended("head-longer", "RFC 9110 §9.3.2", start(200, LENGTH_4), body(b"01234567"), request=HEAD, content=b"", fields={b"content-length": b"4"}),
    mended("head-shorter", "RFC 9110 §9.3.2", start(200, LENGTH_9), body(b"part"), request=HEAD, content=b"", fields={b"content-length": b"9"}),
    mended("head-in-two", "RFC 9110 §9.3.2", start(200, LENGTH_4), PART, body(b"part"), request=HEAD, content=b"", fields={b"content-length": b"4"}),
    mended("head-without-a-length", "RFC 9110 §9.3.2", START, PART, OK, request=HEAD, content=b"", fields={b"content-length": None}),
    mended("length-with-leading-zeros", "RFC 9110 §8.6", start(200, (b"content-length", b"0002")), OK, fields={b"content-length": b"2"}),
)

NO_CONTENT = (
    mended("content-on-204", "RFC 9110 §15.3.5", start(204), OK, status=204, content=b"", fields=NO_FRAMING),
    mended("content-on-204-in-two", "RFC 9110 §15.3.5", start(204), PART, OK, status=204, content=b"", fields=NO_FRAMING),
    mended("length-on-204", "RFC 9110 §8.6", start(204, (b"content-length", b"2")), OK, status=204, content=b"", fields=NO_FRAMING),
    mended("length-and-nothing-on-204", "RFC 9110 §8.6", start(204, LENGTH_9), body(), status=204, content=b"", fields=NO_FRAMING),
    mended("te-on-204", "RFC 9112 §6.1", start(204, (TE, b"chunked")), OK, status=204, content=b"", fields=NO_FRAMING),
    mended("content-on-304", "RFC 9110 §15.4.5", start(304), OK, status=304, content=b"", fields=NO_FRAMING),
    mended("content-on-304-in-two", "RFC 9110 §15.4.5", start(304), PART, OK, status=304, content=b"", fields=NO_FRAMING),
    mended("longer-on-304", "RFC 9110 §8.6", start(304, LENGTH_4), body(b"01234567"), status=304, content=b"", fields={b"content-length": b"4"}),
    mended("shorter-on-304", "RFC 9110 §8.6", start(304, LENGTH_9), OK, status=304, content=b"", fields={b"content-length": b"9"}),
    mended("content-on-205", "RFC 9110 §15.3.6", start(205), body(b"ok", more=True), OK, status=205, content=b"", fields={b"content-length": b"0"}),
    mended("longer-on-205", "RFC 9110 §15.3.6", start(205, LENGTH_4), body(b"01234567"), status=205, content=b"", fields={b"content-length": b"0"}),
    mended("shorter-on-205", "RFC 9110 §15.3.6", start(205, LENGTH_9), OK, status=205, content=b"", fields={b"content-length": b"0"}),
    refused("content-on-100", "RFC 9110 §15.2", start(100, LENGTH_4)),
    refused("content-on-103", "RFC 9110 §15.2", start(103, LENGTH_4)),
)

# ASGI HTTP, Response Start: "Transfer-Encoding ... will be ignored": the framing is the server's.
IGNORED_TE = "ASGI HTTP, Response Start; RFC 9112 §6.1"
ENCODED = b"2\r\nok\r\n0\r\n\r\n"
FRAMINGS = (
    *(
        mended(f"te-{name}", IGNORED_TE, start(200, (TE, value)), OK, framing="length", fields={TE: None, b"content-length": b"2"})
        for name, value in {
            "chunked": b"chunked",
            "gzip": b"gzip",
            "gzip-chunked": b"gzip, chunked",
            "identity": b"identity",
            "chunked-twice": b"chunked, chunked",
            "nonsense": b",",
        }.items()
    ),
    mended("te-twice", IGNORED_TE, start(200, (TE, b"gzip"), (b"Transfer-Encoding", b"chunked")), OK, framing="length", fields={TE: None}),
    mended("te-in-two", IGNORED_TE, start(200, (TE, b"gzip")), body(b"o", more=True), body(b"k"), framing="chunked", fields={TE: b"chunked"}),
    mended("te-and-encoded-content", IGNORED_TE, start(200, (TE, b"chunked")), body(ENCODED), framing="length", content=ENCODED),
    mended("te-and-length", "RFC 9112 §6.2", start(200, (TE, b"chunked"), (b"content-length", b"2")), OK, framing="length", fields={TE: None}),
    mended(
        "length-and-te", "RFC 9112 §6.2", start(200, (b"content-length", b"2"), (TE, b"gzip")), body(b"o", more=True), body(b"k"), framing="length"
    ),
    mended("te-to-http-1.0", "RFC 9112 §6.1", start(200, (TE, b"chunked")), OK, fate=Fate.LAST, request=HTTP_1_0, fields={TE: None}),
    mended(
        "te-to-http-1.0-in-two",
        "RFC 9112 §6.1",
        start(200, (TE, b"chunked")),
        body(b"o", more=True),
        body(b"k"),
        fate=Fate.LAST,
        request=HTTP_1_0,
        framing="close",
        fields=NO_FRAMING,
    ),
)

STATUSES = (
    *(
        refused(f"status-{status!r}", "RFC 9110 §15", start(status))
        for status in (99, 100, 101, 102, 103, 199, 600, 999, 1000, 0, -1, 2**70, True, "200", b"200", None, 200.0, [200], HTTPStatus.CONTINUE)
    ),
    refused("status-missing", "ASGI HTTP, Response Start", {"type": "http.response.start", "headers": []}),
    # An int by another name: what frameworks hand on.
    mended("status-by-name", "RFC 9110 §15", start(HTTPStatus.CREATED), OK, status=201),
    mended("status-without-a-phrase", "RFC 9112 §4", start(299), OK, status=299),
)

ORDER = (
    WrongResponse("no-message", "ASGI HTTP, Response Start", (), Fate.REFUSED, None, 500, b"Internal Server Error\n", logged=True),
    WrongResponse(
        "only-a-start", "ASGI HTTP, Response Start", (start(201, LENGTH_9),), Fate.REFUSED, None, 500, b"Internal Server Error\n", logged=True
    ),
    cut("no-end", "ASGI HTTP, Response Body", START, PART, raises=None),
    cut("more-body-is-text", "ASGI HTTP, Response Body", START, body(b"part", more="false"), raises=None),
    refused("body-before-start", "ASGI HTTP, Response Start", OK),
    refused("end-before-start", "ASGI HTTP, Response Start", body()),
    refused("trailers-before-start", "ASGI extensions, HTTP Trailers", trailers()),
    refused("trailers-before-body", "ASGI extensions, HTTP Trailers", {**START, "trailers": True}, trailers((b"x", b"y"))),
    refused("trailers-that-nobody-announced", "ASGI extensions, HTTP Trailers", START, trailers((b"x", b"y"))),
    refused("pathsend-before-start", "ASGI extensions, Path Send", {"type": "http.response.pathsend", "path": "/"}),
    refused("two-starts", "ASGI HTTP, Response Start", START, start(404)),
    cut("start-within-the-body", "ASGI HTTP, Response Start", START, PART, START),
    cut("start-within-a-length", "ASGI HTTP, Response Start", start(200, LENGTH_9), PART, START),
    cut("trailers-within-the-body", "ASGI extensions, HTTP Trailers", START, PART, trailers((b"x", b"y"))),
    cut("body-where-trailers-are-due", "ASGI extensions, HTTP Trailers", {**START, "trailers": True}, body(b"part"), OK),
    cut("trailers-never-come", "ASGI extensions, HTTP Trailers", {**START, "trailers": True}, body(b"part"), raises=None),
    *(
        cut(f"trailer-{name.decode()}", "RFC 9110 §6.5.1", {**START, "trailers": True}, body(b"part"), trailers((name, b"1")))
        for name in (b"content-length", b"transfer-encoding", b"connection", b"host", b"trailer")
    ),
    cut("trailer-with-cr-lf", "RFC 9110 §5.5", {**START, "trailers": True}, body(b"part"), trailers((b"x", b"a\r\n\r\nHTTP/1.1 200 OK\r\n"))),
    cut("trailers-are-text", "ASGI extensions, HTTP Trailers", {**START, "trailers": True}, body(b"part"), {**trailers(), "headers": "x"}),
    mended("trailers-after-the-end", "ASGI HTTP, Response Body", START, OK, trailers((b"x", b"y"))),
    mended("hint-after-the-start", "ASGI extensions, Early Hints", START, hint(b"</a>"), OK),
    mended("hint-within-the-body", "RFC 9110 §15.2", START, body(b"o", more=True), hint(b"</a>"), body(b"k")),
    mended("hint-after-the-end", "ASGI HTTP, Response Body", START, OK, hint(b"</a>")),
    mended("body-after-the-end", "ASGI HTTP, Response Body", START, OK, body(b"after", more=True), body(b"after")),
    mended("start-after-the-end", "ASGI HTTP, Response Body", START, OK, start(404, LENGTH_9), body(b"not found")),
    mended("none-after-the-end", "ASGI, Events", START, OK, None, raises=LocalProtocolError, logged=True),
    mended("bodies-after-the-end-of-a-length", "ASGI HTTP, Response Body", start(200, (b"content-length", b"2")), OK, body(b"after")),
)

NO_MESSAGES: Final[dict[str, Any]] = {
    "none": None,
    "text": "http.response.start",
    "bytes": b"http.response.start",
    "a-number": 1,
    "a-list": [("type", "http.response.start")],
    "a-pair": ("type", "http.response.start"),
    "empty": {},
    "without-a-type": {"status": 200, "headers": []},
    "whose-keys-are-bytes": {b"type": b"http.response.start", b"status": 200},
    "whose-type-is-bytes": {"type": b"http.response.start", "status": 200},
    "whose-type-is-a-number": {"type": 1},
    "whose-type-is-none": {"type": None},
    "whose-type-is-a-list": {"type": []},
    "of-an-unknown-type": {"type": "http.nonsense"},
    "in-another-case": {"type": "HTTP.Response.Start", "status": 200},
    "that-is-a-request": {"type": "http.request", "body": b"", "more_body": False},
    "of-websocket": {"type": "websocket.send", "text": "x"},
    "of-lifespan": {"type": "lifespan.startup.complete"},
    "of-an-extension-that-is-not-there": {"type": "http.response.debug", "info": {}},
}
NO_CONTENTS: Final[dict[str, Any]] = {"text": "text", "none": None, "a-number": 2, "a-list": [1], "a-dict": {}}
TYPES = (
    *(refused(f"message-{name}", "ASGI, Events", message) for name, message in NO_MESSAGES.items()),
    *(refused(f"content-is-{name}", "ASGI HTTP, Response Body", START, body(value)) for name, value in NO_CONTENTS.items()),
    refused("unknown-type-after-the-start", "ASGI, Events", START, {"type": "http.nonsense"}),
    refused("path-is-relative", "ASGI extensions, Path Send", START, {"type": "http.response.pathsend", "path": "x"}),
    refused("path-is-missing", "ASGI extensions, Path Send", START, {"type": "http.response.pathsend"}),
    refused("file-is-missing", "ASGI extensions, Zero Copy Send", START, {"type": "http.response.zerocopysend"}),
    refused("hint-is-text", "ASGI extensions, Early Hints", hint("</a>")),
    refused("hint-with-cr-lf", "RFC 9110 §5.5", hint(b"</a>\r\nx: y")),
    refused("hint-is-none", "ASGI extensions, Early Hints", {"type": "http.response.early_hint", "links": None}),
    cut("text-within-the-body", "ASGI HTTP, Response Body", START, PART, body("text")),
    cut("text-within-a-length", "ASGI HTTP, Response Body", start(200, LENGTH_9), PART, body("text")),
    cut("nonsense-within-the-body", "ASGI, Events", START, PART, {"type": "http.nonsense"}),
    cut("none-within-the-body", "ASGI, Events", START, PART, None),
    mended("content-is-a-bytearray", "ASGI HTTP, Response Body", START, body(bytearray(b"ok"))),
    mended("content-is-a-memoryview", "ASGI HTTP, Response Body", START, body(memoryview(b"ok"))),
    mended("content-is-missing", "ASGI HTTP, Response Body", START, {"type": "http.response.body"}, content=b""),
    mended("more-body-is-none", "ASGI HTTP, Response Body", START, body(b"ok", more=None)),
    mended("unknown-keys", "ASGI, Extra Coroutines", {**START, "unknown": 1}, {**OK, "unknown": None}),
    mended(
        "fields-are-a-generator-of-lists",
        "ASGI HTTP, Response Start",
        lambda: {**START, "headers": ([b"x", b"y"] for _ in "x")},
        OK,
        fields={b"x": b"y"},
    ),
)

MANY = 10_000
CONNECTIONS = (
    mended("connection-close", "RFC 9112 §9.6", start(200, (b"connection", b"close")), OK, fate=Fate.LAST, fields={b"connection": b"close"}),
    mended(
        "connection-close-in-capitals", "RFC 9112 §9.6", start(200, (b"Connection", b"CLOSE")), OK, fate=Fate.LAST, fields={b"connection": b"close"}
    ),
    mended(
        "connection-close-and-keep-alive",
        "RFC 9112 §9.3",
        start(200, (b"connection", b"keep-alive, close")),
        OK,
        fate=Fate.LAST,
        fields={b"connection": b"close"},
    ),
    mended(
        "connection-keep-alive",
        "RFC 9112 §9.3",
        start(200, (b"connection", b"keep-alive"), (b"keep-alive", b"timeout=99")),
        OK,
        fields={b"connection": None, b"keep-alive": None},
    ),
    mended(
        "connection-keep-alive-to-close",
        "RFC 9112 §9.6",
        start(200, (b"connection", b"keep-alive")),
        OK,
        fate=Fate.LAST,
        fields={b"connection": b"close"},
        request=("GET /fault HTTP/1.1", "Connection: close\r\n"),
    ),
    mended(
        "connection-upgrade",
        "RFC 9110 §7.8",
        start(200, (b"connection", b"upgrade"), (b"upgrade", b"h2c")),
        OK,
        fields={b"connection": b"upgrade", b"upgrade": b"h2c"},
    ),
    mended(
        "connection-names-the-framing",
        "RFC 9110 §7.6.1",
        start(200, (b"connection", b"transfer-encoding, content-length")),
        OK,
        fields={b"connection": None},
    ),
    mended("cookies-repeated", "RFC 9110 §5.3", start(200, (b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2")), OK),
    mended("name-in-capitals", "ASGI HTTP, Response Start", start(200, (b"X-Upper", b"a")), OK, fields={b"x-upper": b"a"}),
    mended("value-that-is-no-text", "RFC 9110 §5.5", start(200, (b"x", b"\x85\xff\xa0!")), OK, fields={b"x": b"\x85\xff\xa0!"}),
    mended("value-empty", "RFC 9110 §5.5", start(200, (b"x", b"")), OK, fields={b"x": b""}),
    mended("ten-thousand-fields", "RFC 9110 §5.4", start(200, *((b"x-%d" % n, b"y") for n in range(MANY))), OK, fields={b"x-9999": b"y"}),
    mended("a-long-field", "RFC 9110 §5.4", start(200, (b"n" * 20_000, b"v" * 40_000)), OK, fields={b"n" * 20_000: b"v" * 40_000}),
    mended(
        "date-and-server", "RFC 9110 §6.6.1", start(200, (b"date", b"mine"), (b"server", b"mine")), OK, fields={b"date": b"mine", b"server": b"mine"}
    ),
)

WRONG_RESPONSES: Final = (*FIELDS, *LENGTHS, *NO_CONTENT, *FRAMINGS, *STATUSES, *ORDER, *TYPES, *CONNECTIONS)
