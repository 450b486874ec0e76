"""HTTP/1.1: chunked bodies and the trailers behind them (RFC 9112 §7.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Call, Canned, Level, Stimulus, Topic
from asgi_conformance.drive import FOLLOW_UP
from asgi_conformance.outcomes import incomplete, never_complete, rejected, served
from asgi_conformance.suite.pieces import CRASHES, HOST_LINE, REFUSES, answers, broken_off, chunked, told

if TYPE_CHECKING:
    from asgi_conformance.case import Outcome

__all__ = ["CHUNKED", "TRAILERS"]

CHUNKED: Final = Topic("http1/chunked", "HTTP/1.1: chunked bodies")
TRAILERS: Final = Topic("http1/trailers", "HTTP/1.1: trailers of requests")

_HELLO: Final = told(method="POST", body=b"hello")
_EMPTY: Final = told(method="POST")
_LAST: Final = b"0\r\n\r\n"
_MANY: Final = 4000

_GRAMMAR: Final = (
    "When a server [...] receives a sequence of octets that does not match the HTTP-message grammar aside from the robustness exceptions listed "
    "above, the server SHOULD respond with a 400 (Bad Request) response and close the connection."
)
_LARGE: Final = (
    "Recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer conversion overflows or precision "
    "loss due to integer representation."
)
_IGNORED: Final = "A recipient MUST ignore unrecognized chunk extensions."


def _refused() -> list[Outcome]:
    """What becomes of chunks that are none: the application never gets to see an end of the body."""
    return [never_complete(rejected(400))]


def _dropped() -> list[Outcome]:
    """Where the answer is another one, or none at all: 400 is a SHOULD, and a body that is not complete is not."""
    return [incomplete()]


CHUNKED.case(
    "h1.chunk.size-hex",
    "RFC 9112 §7.1",
    level=Level.MUST,
    says="The chunk-size field is a string of hex digits indicating the size of the chunk-data in octets.",
    send=[
        chunked("a capital digit", b"A\r\n0123456789\r\n" + _LAST),
        chunked("a small digit", b"a\r\n0123456789\r\n" + _LAST),
        chunked("zeros before it", b"0000a\r\n0123456789\r\n" + _LAST),
        chunked("in two chunks", b"8\r\n01234567\r\n2\r\n89\r\n" + _LAST),
    ],
    allow=[served(method="POST", body=b"0123456789")],
    bad=_EMPTY,
)
CHUNKED.case(
    "h1.chunk.size-two-digits",
    "RFC 9112 §7.1",
    level=Level.MUST,
    says="The chunk-size field is a string of hex digits indicating the size of the chunk-data in octets.",
    send=[chunked("10 is sixteen", b"10\r\n0123456789abcdef\r\n" + _LAST), chunked("zeros before it", b"0010\r\n0123456789abcdef\r\n" + _LAST)],
    allow=[served(method="POST", body=b"0123456789abcdef")],
    bad=told(method="POST", body=b"0123456789"),
)
CHUNKED.case(
    "h1.chunk.size-bad",
    "RFC 9112 §7.1",
    "RFC 9112 §2.2",
    level=Level.MUST,
    says="chunk-size = 1*HEXDIG.",
    send=[
        chunked("0x before it", b"0x5\r\nhello\r\n" + _LAST),
        chunked("plus", b"+5\r\nhello\r\n" + _LAST),
        chunked("minus", b"-1\r\nhello\r\n" + _LAST),
        chunked("minus nothing", b"5\r\nhello\r\n-0\r\n\r\n"),
        chunked("an underscore", b"0_5\r\nhello\r\n" + _LAST),
        chunked("a space before it", b" 5\r\nhello\r\n" + _LAST),
        chunked("nothing", b"\r\nhello\r\n" + _LAST),
        chunked("nothing but an extension", b";a=b\r\nhello\r\n" + _LAST),
        chunked("no digit", b"g\r\nhello\r\n" + _LAST),
        chunked("a digit, then none", b"5g\r\nhello\r\n" + _LAST),
        chunked("a digit in full width", "\uff15\r\nhello\r\n".encode() + _LAST),
        chunked("two numbers", b"5 5\r\nhello\r\n" + _LAST),
        chunked("a comma", b"5,\r\nhello\r\n" + _LAST),
        chunked("a fraction", b"5.0\r\nhello\r\n" + _LAST),
    ],
    allow=_refused(),
    warn=_dropped(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.size-white-space",
    "RFC 9112 §7.1",
    "RFC 9112 §2.2",
    # RFC 9110 §2.4 lets a recipient make something of an invalid construct, and there is just one thing to make of this one.
    level=Level.SHOULD,
    says=_GRAMMAR,
    send=[chunked("a space behind it", b"5 \r\nhello\r\n" + _LAST), chunked("a tab behind it", b"5\t\r\nhello\r\n" + _LAST)],
    allow=_refused(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.size-overflow",
    "RFC 9112 §7.1",
    "RFC 9110 §17.5",
    level=Level.MUST,
    says=_LARGE,
    # Each would be 5, or nothing, in an integer of 32 or 64 bits. A server that believes the number waits for the rest, which is why no more comes.
    send=[
        broken_off(chunked(label, b"%s\r\nhello\r\n" % size + _LAST + FOLLOW_UP))
        for label, size in (
            ("2**32 + 5", b"100000005"),
            ("2**63 + 5", b"8000000000000005"),
            ("2**64 - 1", b"ffffffffffffffff"),
            ("2**64 + 5", b"10000000000000005"),
            ("16 digits and a zero", b"FFFFFFFFFFFFFFFF0"),
            ("2**128 + 5", b"100000000000000000000000000000005"),
            ("2,000 digits", b"1" + b"0" * 1998 + b"5"),
        )
    ],
    allow=[never_complete(rejected(400, 413)), incomplete()],
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.size-zeros",
    "RFC 9112 §7.1",
    level=Level.MUST,
    says=_LARGE,
    send=[
        chunked("17 digits that are 5", b"00000000000000005\r\nhello\r\n" + _LAST),
        chunked("a last chunk of 17 zeros", b"5\r\nhello\r\n" + b"0" * 17 + b"\r\n\r\n"),
        chunked("2,000 digits that are 5", b"0" * 1999 + b"5\r\nhello\r\n" + _LAST),
    ],
    # How long a numeral may be, a server says itself.
    allow=[served(method="POST", body=b"hello"), *_refused(), never_complete(rejected(413))],
    bad=_EMPTY,
)
CHUNKED.case(
    "h1.chunk.missing-crlf",
    "RFC 9112 §7.1",
    "RFC 9112 §2.2",
    level=Level.MUST,
    says="chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF, chunk-data being a sequence of chunk-size octets.",
    send=[
        chunked("nothing behind the data", b"5\r\nhello" + _LAST),
        chunked("two other bytes behind the data", b"5\r\nhelloXX" + _LAST),
        chunked("one byte more than the size says", b"5\r\nhello!\r\n" + _LAST),
        chunked("two bytes more than the size says", b"5\r\nhello!!\r\n" + _LAST),
        chunked("one byte less than the size says", b"6\r\nhello\r\n" + _LAST),
        chunked("a space behind the data", b"5\r\nhello \r\n" + _LAST),
    ],
    allow=_refused(),
    warn=_dropped(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.bare-lf",
    "RFC 9112 §7.1",
    "RFC 9112 §2.2",
    # §2.2 lets a recipient take LF for CRLF behind "the start-line and fields", and the erratum that wanted chunks there too (7633) was rejected:
    # "bare LF around the chunk sizes would be invalid and should result in the connection being marked as invalid".
    level=Level.MUST,
    says="A chunk-size line and the data behind it end with CRLF; a bare LF ends neither.",
    send=[
        chunked("behind the size", b"5\nhello\r\n" + _LAST),
        chunked("behind the data", b"5\r\nhello\n" + _LAST),
        chunked("behind the last size", b"5\r\nhello\r\n0\n\r\n"),
        chunked("everywhere", b"5\nhello\n0\n\n"),
        chunked("behind an extension", b"5;a=b\nhello\r\n" + _LAST),
    ],
    allow=_refused(),
    warn=_dropped(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.bare-cr",
    "RFC 9112 §2.2",
    "RFC 9112 §7.1",
    level=Level.MUST,
    says=(
        "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before processing the element or "
        "forwarding the message."
    ),
    send=[
        chunked("behind the size", b"5\rhello\r\n" + _LAST),
        chunked("behind the data", b"5\r\nhello\r" + _LAST),
        chunked("CR and another byte for CRLF", b"5\r\nhello\rX" + _LAST),
        chunked("CR twice", b"5\r\r\nhello\r\n" + _LAST),
    ],
    allow=_refused(),
    warn=_dropped(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.ext-ignored",
    "RFC 9112 §7.1.1",
    level=Level.MUST,
    says=_IGNORED,
    send=[
        chunked("a token", b"5;a=b\r\nhello\r\n" + _LAST),
        chunked("a name alone", b"5;a\r\nhello\r\n" + _LAST),
        chunked("a quoted string with a semicolon", b'5;a=b;c="d;e"\r\nhello\r\n' + _LAST),
        chunked("a quoted string with a quoted quote", b'5;a="b\\"c"\r\nhello\r\n' + _LAST),
        chunked("on the last chunk", b"5\r\nhello\r\n0;a=b\r\n\r\n"),
    ],
    allow=[served(method="POST", body=b"hello")],
    bad=REFUSES,
)
CHUNKED.case(
    "h1.chunk.ext-bws",
    "RFC 9112 §7.1.1",
    "RFC 9110 §5.6.3",
    level=Level.MUST,
    says="A recipient MUST parse for such bad whitespace and remove it before interpreting the protocol element.",
    send=[
        chunked("around the semicolon", b"5 ; a=b\r\nhello\r\n" + _LAST),
        chunked("around the equals sign", b"5;a = b\r\nhello\r\n" + _LAST),
        chunked("tabs everywhere", b"5\t;\ta\t=\tb\r\nhello\r\n" + _LAST),
    ],
    allow=[served(method="POST", body=b"hello")],
    bad=REFUSES,
)
CHUNKED.case(
    "h1.chunk.ext-malformed",
    "RFC 9112 §7.1.1",
    "RFC 9112 §2.2",
    level=Level.SHOULD,
    says=_GRAMMAR,
    send=[
        chunked("nothing behind the semicolon", b"5;\r\nhello\r\n" + _LAST),
        chunked("no token", b"5;bad[=x\r\nhello\r\n" + _LAST),
        chunked("no name", b"5;=x\r\nhello\r\n" + _LAST),
        chunked("no value", b"5;a=\r\nhello\r\n" + _LAST),
        chunked("a quoted string without end", b'5;a="x\r\nhello\r\n' + _LAST),
    ],
    allow=_refused(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.ext-lf",
    "RFC 9112 §7.1.1",
    "RFC 9112 §2.2",
    level=Level.MUST,
    says="An extension has no LF in it: neither is it the end of the line, nor is it skipped.",
    # Who takes the LF for the end of the line reads five bytes that are a size to who skips it.
    send=[
        chunked("in a value", b"5;a=b\nhello\r\n" + _LAST),
        chunked("in a quoted string", b'5;a="b\nc"\r\nhello\r\n' + _LAST),
        chunked("behind the semicolon", b"2;\nxx\r\n5\r\nhello\r\n" + _LAST),
    ],
    allow=_refused(),
    warn=_dropped(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.ext-ctl",
    "RFC 9112 §7.1.1",
    "RFC 9112 §2.2",
    # RFC 9112 §2.2 has bare CR made a space, which a quoted string may have.
    level=Level.SHOULD,
    says=_GRAMMAR,
    send=[
        chunked("CR in a value", b"5;a=b\rc\r\nhello\r\n" + _LAST),
        chunked("CR in a quoted string", b'5;a="b\rc"\r\nhello\r\n' + _LAST),
        chunked("NUL in a value", b"5;a=b\0c\r\nhello\r\n" + _LAST),
        chunked("NUL in a quoted string", b'5;a="b\0c"\r\nhello\r\n' + _LAST),
        chunked("DEL in a name", b"5;a\x7f=b\r\nhello\r\n" + _LAST),
    ],
    allow=_refused(),
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.ext-64k",
    "RFC 9112 §7.1.1",
    level=Level.SHOULD,
    says=(
        "A server ought to limit the total length of chunk extensions received in a request to an amount reasonable for the services provided [...] "
        "and generate an appropriate 4xx (Client Error) response if that amount is exceeded."
    ),
    send=[
        chunked("one of 64 kB", b"5;a=" + b"b" * 65536 + b"\r\nhello\r\n" + _LAST),
        chunked("10,000 small ones on one chunk", b"5" + b";a=b" * 10000 + b"\r\nhello\r\n" + _LAST),
        chunked("10,000 chunks with one each", b"1;a=bcdefghi\r\nx\r\n" * 10000 + _LAST),
    ],
    allow=[never_complete(rejected(400, 413, 431))],
    bad=_HELLO,
)
CHUNKED.case(
    "h1.chunk.no-final",
    "RFC 9112 §8",
    level=Level.MUST,
    says=(
        "A message body that uses the chunked transfer coding is incomplete if the zero-sized chunk that terminates the encoding has not been "
        "received."
    ),
    send=[
        broken_off(chunked("a chunk and no last one", b"5\r\nhello\r\n")),
        broken_off(chunked("a part of a chunk", b"a\r\nhello")),
        broken_off(chunked("the size of a chunk", b"5\r\n")),
        broken_off(chunked("nothing", b"")),
    ],
    allow=[incomplete()],
    bad=replace(_HELLO, closes=True),
)
CHUNKED.case(
    "h1.chunk.no-end",
    "RFC 9112 §7.1",
    "RFC 9112 §8",
    # §8 asks for the zero-sized chunk, §7.1 for the empty line as well.
    level=Level.SHOULD,
    says=(
        "The chunked transfer coding is complete when a chunk with a chunk-size of zero is received, possibly followed by a trailer section, and "
        "finally terminated by an empty line."
    ),
    send=[
        broken_off(chunked("a last chunk without an empty line", b"5\r\nhello\r\n0\r\n")),
        broken_off(chunked("a trailer without an empty line", b"5\r\nhello\r\n0\r\nX-Trailer: a\r\n")),
    ],
    allow=[incomplete()],
    bad=replace(_HELLO, closes=True),
)
CHUNKED.case(
    "h1.chunk.one-byte-chunks",
    "RFC 9112 §7.1",
    level=Level.HARD,
    says="A body in chunks of a byte each is the same body.",
    send=[chunked(f"{_MANY:,} chunks", b"1\r\nx\r\n" * _MANY + _LAST)],
    allow=[served(method="POST", body=b"x" * _MANY)],
    bad=told(method="POST", body=b"x" * (_MANY - 1)),
)


def _names(call: Call) -> list[bytes]:
    return [bytes(name).lower() for name, _ in call.scope.get("headers", ())]


def _not_merged(call: Call) -> bool:
    """Whether the headers are those that stood before the body."""
    return sorted(_names(call)) == [b"host", b"transfer-encoding"] and (b"host", HOST_LINE[6:]) in [(n, v) for n, v in call.scope["headers"]]


_HEADERS: Final = [(b"host", HOST_LINE[6:]), (b"transfer-encoding", b"chunked")]


def _separate() -> Outcome:
    """Served, without anything of the trailers in the headers."""
    call = Call({"method": "POST", "path": "/", "headers": _HEADERS}, b"hello")
    return served("the headers as they were before the trailers", _not_merged, method="POST", body=b"hello", example=call)


def _merges(name: bytes, value: bytes) -> Canned:
    return told(method="POST", body=b"hello", headers=[*_HEADERS, (name, value)])


def _trailers(label: str, *lines: bytes) -> Stimulus:
    return chunked(label, b"5\r\nhello\r\n0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


_MERGE: Final = (
    "A recipient MUST NOT merge a received trailer field into the header section unless its corresponding header field definition explicitly permits "
    "and instructs how the trailer field value can be safely merged."
)

TRAILERS.case(
    "h1.trailer.accepted",
    "RFC 9112 §7.1.2",
    level=Level.MUST,
    says=_MERGE,
    send=[_trailers("one", b"X-Trailer: a"), _trailers("two", b"X-Trailer: a", b"X-Other: b"), _trailers("an empty one", b"X-Trailer:")],
    allow=[_separate()],
    bad=_merges(b"x-trailer", b"a"),
)
TRAILERS.case(
    "h1.trailer.forbidden",
    "RFC 9112 §7.1.2",
    "RFC 9110 §6.5.1",
    level=Level.MUST,
    says=_MERGE,
    send=[
        _trailers("Content-Length", b"Content-Length: 50"),
        _trailers("Transfer-Encoding", b"Transfer-Encoding: chunked"),
        _trailers("Host", b"Host: b.example"),
        _trailers("Authorization", b"Authorization: Basic eDp5"),
        _trailers("X-Forwarded-For", b"X-Forwarded-For: 192.0.2.1"),
    ],
    # RFC 9110 §6.5.1: "A sender MUST NOT generate" them.
    allow=[_separate(), rejected(400)],
    bad=_merges(b"authorization", b"Basic eDp5"),
)
TRAILERS.case(
    "h1.trailer.malformed",
    "RFC 9112 §7.1.2",
    "RFC 9112 §2.2",
    # A trailer may be dropped unread (§7.1.2), so that one that is none harms nobody.
    level=Level.SHOULD,
    says=_GRAMMAR,
    send=[
        _trailers("no colon", b"X-Trailer"),
        _trailers("a space before the colon", b"X-Trailer : a"),
        _trailers("no name", b": a"),
        _trailers("no token", b"X Trailer: a"),
        _trailers("NUL in the value", b"X-Trailer: a\0b"),
    ],
    allow=_refused(),
    bad=_HELLO,
)
TRAILERS.case(
    "h1.trailer.bare-lf",
    "RFC 9112 §2.2",
    level=Level.MAY,
    says=(
        "Although the line terminator for the start-line and fields is the sequence CRLF, a recipient MAY recognize a single LF as a line terminator "
        "and ignore any preceding CR."
    ),
    send=[
        chunked("behind a trailer", b"5\r\nhello\r\n0\r\nX-Trailer: a\n\r\n"),
        chunked("for the empty line", b"5\r\nhello\r\n0\r\nX-Trailer: a\r\n\n"),
    ],
    allow=[never_complete(rejected(400)), _separate()],
    bad=CRASHES,
)
TRAILERS.case(
    "h1.trailer.request",
    "RFC 9112 §7.1",
    "RFC 9112 §11.2",
    level=Level.MUST,
    says="Trailers end with an empty line and with nothing else; what stands in them is no request.",
    send=[
        _trailers("a request line as the first one", b"GET /smuggled HTTP/1.1", HOST_LINE),
        _trailers("a request line as the second one", b"X-Trailer: a", b"GET /smuggled HTTP/1.1", HOST_LINE),
    ],
    allow=[rejected(400)],
    warn=[incomplete(), _separate()],
    bad=replace(_HELLO, calls=(*_HELLO.calls, Call({"method": "GET", "path": "/smuggled"}))),
)
TRAILERS.case(
    "h1.trailer.too-long",
    "RFC 9110 §5.4",
    level=Level.HARD,
    says="Trailers are bounded as the fields of the head are, or dropped as they come.",
    send=[
        _trailers("1,000 of a kilobyte", *(b"X-Trailer-%d: " % number + b"a" * 1000 for number in range(1000))),
        _trailers("one of a megabyte", b"X-Trailer: " + b"a" * 1_000_000),
    ],
    allow=[rejected(400, 413, 431), incomplete()],
    warn=[served(method="POST", body=b"hello")],
    # Refuses, and takes the rest of the trailers for requests.
    bad=answers(431),
)
