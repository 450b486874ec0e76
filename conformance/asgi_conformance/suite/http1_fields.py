"""HTTP/1.1: field lines (RFC 9112 §5, RFC 9110 §5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Call, Canned, Level, Stimulus, Topic
from asgi_conformance.outcomes import by_server, closed, rejected, served

if TYPE_CHECKING:
    from asgi_conformance.case import Outcome

__all__ = ["FIELDS"]

FIELDS: Final = Topic("http1/fields", "HTTP/1.1: field lines")

_Field = tuple[bytes, bytes]

# RFC 9112 §2.2. It is what stands behind every line that is no field line: nothing else says what to do with one.
_SHOULD_400: Final = (
    "When a server listening only for HTTP request messages, or processing what appears from the start-line to be an HTTP request message, receives "
    "a sequence of octets that does not match the HTTP-message grammar aside from the robustness exceptions listed above, the server SHOULD respond "
    "with a 400 (Bad Request) response and close the connection."
)
# RFC 9110 §5.5.
_CR_LF_NUL: Final = (
    "Field values containing CR, LF, or NUL characters are invalid and dangerous [...]; a recipient of CR, LF, or NUL within a field value MUST "
    "either reject the message or replace each of those characters with SP before further processing or forwarding of that message."
)
# RFC 9110 §5.4.
_TOO_LARGE: Final = (
    "A server that receives a request header field line, field value, or set of fields larger than it wishes to process MUST respond with an "
    "appropriate 4xx (Client Error) status code."
)
_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_FAILS: Final = Canned(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", closes=True)


def _get(label: str, *lines: bytes, method: str = "GET") -> Stimulus:
    head = b"\r\n".join([f"{method} / HTTP/1.1".encode("ascii"), b"Host: a.example", *lines, b"", b""])
    return Stimulus(label, (head,), methods=(method,))


def _fields(call: Call) -> list[_Field]:
    """What the application was told, names in lower case."""
    return [(bytes(name).lower(), bytes(value)) for name, value in call.scope.get("headers", ())]


def _call(*fields: _Field, method: str = "GET") -> Call:
    return Call({"method": method, "path": "/", "headers": [(b"host", b"a.example"), *fields]})


def _serves(*fields: _Field, method: str = "GET") -> Canned:
    """A server that tells the application ``fields``."""
    return Canned(_OK * 2, closes=False, calls=(_call(*fields, method=method),))


def _told(*fields: _Field, never: tuple[bytes, ...] = (), method: str = "GET") -> Outcome:
    """Served; of the names in ``fields`` the application was told exactly those, in this order, and none of ``never``."""
    names = {name for name, _ in fields}

    def test(call: Call) -> bool:
        told = _fields(call)
        return [field for field in told if field[0] in names] == list(fields) and not any(name in never for name, _ in told)

    words = ", ".join([*(f"{name.decode('latin-1')}: {value!r:.60}" for name, value in fields), *(f"no {name.decode('latin-1')}" for name in never)])
    return served(words, test, example=_call(*fields, method=method), method=method)


def _told_like(words: str, name: bytes, pattern: bytes, example: bytes) -> Outcome:
    """Served; the application was told one field ``name``, with a value that matches ``pattern``."""

    def test(call: Call) -> bool:
        values = [value for key, value in _fields(call) if key == name]
        return len(values) == 1 and re.fullmatch(pattern, values[0]) is not None

    return served(words, test, example=_call((name, example)))


FIELDS.case(
    "h1.field.sp-before-colon",
    "RFC 9112 §5.1",
    level=Level.MUST,
    says="A server MUST reject, with a response status code of 400 (Bad Request), any received request message that contains whitespace between a "
    "header field name and colon.",
    send=[
        _get("a space", b"X-A : 1"),
        _get("a tab", b"X-A\t: 1"),
        _get("in a field that frames the message", b"Content-Length : 0"),
        _get("in the first field, without another space", b"X-A :1"),
    ],
    allow=[rejected(400), by_server(400)],
    bad=_serves((b"x-a", b"1")),
)
FIELDS.case(
    "h1.field.ows-trim",
    "RFC 9110 §5.5",
    "RFC 9112 §5.1",
    level=Level.MUST,
    says="A field value does not include leading or trailing whitespace. When a specific version of HTTP allows such whitespace to appear in a "
    "message, a field parsing implementation MUST exclude such whitespace prior to evaluating the field value.",
    send=[
        _get("none", b"X-A:v \tw"),
        _get("behind the value", b"X-A: v \tw \t "),
        _get("spaces and tabs on both sides", b"X-A: \t v \tw\t\t"),
    ],
    allow=[_told((b"x-a", b"v \tw"))],
    bad=_serves((b"x-a", b"v \tw ")),
)
FIELDS.case(
    "h1.field.empty-value",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says="field-value = *field-content: a field value may be empty.",
    send=[_get("nothing", b"X-A:"), _get("a space", b"X-A: "), _get("spaces and a tab", b"X-A:  \t ")],
    allow=[_told((b"x-a", b""))],
    bad=Canned(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", closes=True),
)
FIELDS.case(
    "h1.field.empty-name",
    "RFC 9112 §2.2",
    "RFC 9110 §5.1",
    level=Level.SHOULD,
    says=_SHOULD_400,
    send=[_get("a colon at the begin", b": v"), _get("nothing but a colon", b":")],
    allow=[rejected(400), closed()],
    warn=[by_server(400)],
    bad=_serves((b"", b"v")),
)
FIELDS.case(
    "h1.field.no-colon",
    "RFC 9112 §2.2",
    "RFC 9112 §5",
    level=Level.SHOULD,
    says=_SHOULD_400,
    send=[_get("a word", b"NoColon"), _get("words", b"no colon here"), _get("a request line", b"GET /hidden HTTP/1.1")],
    allow=[rejected(400), closed()],
    warn=[by_server(400)],
    bad=_serves((b"nocolon", b"")),
)
FIELDS.case(
    "h1.field.invalid-name-char",
    "RFC 9112 §2.2",
    "RFC 9110 §5.1",
    "RFC 9110 §5.6.2",
    level=Level.SHOULD,
    says=_SHOULD_400,
    send=[
        *(_get(repr(char), b"X" + char.encode("ascii") + b"A: v") for char in '"(),/;<=>?@[\\]{}'),
        _get("a space", b"X A: v"),
        _get("a tab", b"X\tA: v"),
        _get("NUL", b"X\0A: v"),
        _get("DEL", b"X\x7fA: v"),
        _get("an octet above ASCII", b"X\x80: v"),
        _get("UTF-8", "X-É: v".encode()),
    ],
    allow=[rejected(400), closed()],
    warn=[by_server(400)],
    bad=_serves((b"x[a", b"v")),
)
FIELDS.case(
    "h1.field.tchar-names",
    "RFC 9110 §5.1",
    "RFC 9110 §5.6.2",
    level=Level.MUST,
    says="field-name = token; a token is any sequence of tchar, which are letters, digits and ! # $ % & ' * + - . ^ _ ` | ~.",
    # The underscore is a case of its own.
    send=[_get("every tchar but the underscore", b"!#$%&'*+-.^`|~0aZ: v")],
    allow=[_told((b"!#$%&'*+-.^`|~0az", b"v"))],
    bad=_serves((b"x-a", b"v")),
)
FIELDS.case(
    "h1.field.obs-fold",
    "RFC 9112 §5.2",
    level=Level.MUST,
    says='A server that receives an obs-fold in a request message that is not within a "message/http" container MUST either reject the message by '
    "sending a 400 (Bad Request), preferably with a representation explaining that obsolete line folding is unacceptable, or replace each received "
    "obs-fold with one or more SP octets prior to interpreting the field value or forwarding the message downstream.",
    send=[
        _get("a space", b"X-A: a\r\n b"),
        _get("a tab", b"X-A: a\r\n\tb"),
        _get("in the middle", b"X-A: a \r\n \t b", b"X-B: 1"),
    ],
    allow=[rejected(400), by_server(400), _told_like("the fold as spaces", b"x-a", b"a +b", b"a b")],
    bad=_serves((b"x-a", b"a\r\n b")),
)
FIELDS.case(
    "h1.field.obs-fold-not-a-field",
    "RFC 9112 §5.2",
    level=Level.MUST,
    says="What stands behind an obs-fold is part of the value, whatever it looks like; it is no field of its own, and ends no header section.",
    send=[_get("what looks like a field", b"X-A: a\r\n X-Hidden: 1"), _get("after a tab", b"X-A: a\r\n\tX-Hidden: 1")],
    allow=[rejected(400), by_server(400), _told_like("the fold as spaces", b"x-a", b"a +X-Hidden: 1", b"a X-Hidden: 1")],
    bad=_serves((b"x-a", b"a"), (b"x-hidden", b"1")),
)
FIELDS.case(
    "h1.field.ws-before-first",
    "RFC 9112 §2.2",
    level=Level.MUST,
    says="A recipient that receives whitespace between the start-line and the first header field MUST either reject the message as invalid or "
    "consume each whitespace-preceded line without further processing of it (i.e., ignore the entire line, along with any subsequent lines "
    "preceded by whitespace, until a properly formed header field is received or the header section is terminated).",
    send=[
        Stimulus("a space", (b"GET / HTTP/1.1\r\n X-A: 1\r\nHost: a.example\r\n\r\n",)),
        Stimulus("a tab", (b"GET / HTTP/1.1\r\n\tX-A: 1\r\nHost: a.example\r\n\r\n",)),
        Stimulus("two lines", (b"GET / HTTP/1.1\r\n X-A: 1\r\n  X-A: 2\r\nHost: a.example\r\n\r\n",)),
    ],
    allow=[rejected(400), closed(), by_server(400), _told(never=(b"x-a", b" x-a"))],
    bad=_serves((b"x-a", b"1")),
)
FIELDS.case(
    "h1.field.ws-only-line",
    "RFC 9112 §5.2",
    level=Level.MUST,
    says="A line of whitespace among the fields is an obs-fold and not the empty line: it is rejected with 400 or replaced by SP, and ends nothing.",
    send=[_get("two spaces", b"X-A: 1\r\n  \r\nX-B: 2"), _get("a tab", b"X-A: 1\r\n\t\r\nX-B: 2")],
    allow=[rejected(400), by_server(400), _told((b"x-b", b"2"))],
    # It takes the line for the end of the fields, and what is behind it for a request.
    bad=Canned(_OK + b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", closes=True, calls=(_call((b"x-a", b"1")),)),
)
FIELDS.case(
    "h1.field.bare-cr-value",
    "RFC 9112 §2.2",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says="A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before processing the element or "
    "forwarding the message.",
    send=[_get("in the last field", b"X-A: a\rb"), _get("with a field behind", b"X-A: a\rb", b"X-B: 1")],
    allow=[rejected(400), closed(), by_server(400), _told((b"x-a", b"a b"), never=(b"b",))],
    bad=_serves((b"x-a", b"a\rb")),
)
FIELDS.case(
    "h1.field.bare-cr-line",
    "RFC 9112 §2.2",
    level=Level.MUST,
    says="A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before processing the element or "
    "forwarding the message.",
    send=[_get("a CR where a line would end", b"X-A: a\rX-Hidden: 1")],
    allow=[rejected(400), closed(), by_server(400), _told((b"x-a", b"a X-Hidden: 1"), never=(b"x-hidden",))],
    bad=_serves((b"x-a", b"a"), (b"x-hidden", b"1")),
)
FIELDS.case(
    "h1.field.nul-value",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says=_CR_LF_NUL,
    send=[_get("in the last field", b"X-A: a\0b"), _get("with a field behind", b"X-A: a\0b", b"X-B: 1")],
    allow=[rejected(400), closed(), by_server(400), _told((b"x-a", b"a b"))],
    bad=_serves((b"x-a", b"a\0b")),
)
FIELDS.case(
    "h1.field.bare-lf-line",
    "RFC 9112 §2.2",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says="Although the line terminator for the start-line and fields is the sequence CRLF, a recipient MAY recognize a single LF as a line "
    "terminator and ignore any preceding CR. One that does not has a LF within a field value, which it must reject or replace with SP.",
    send=[
        _get("one line", b"X-A: 1\nX-B: 2"),
        Stimulus("every line but the last", (b"GET / HTTP/1.1\r\nHost: a.example\nX-A: 1\nX-B: 2\n\r\n",)),
    ],
    allow=[rejected(400), closed(), _told((b"x-a", b"1"), (b"x-b", b"2")), _told((b"x-a", b"1 X-B: 2"), never=(b"x-b",))],
    warn=[by_server(400)],
    bad=_serves((b"x-a", b"1\nX-B: 2")),
)
FIELDS.case(
    "h1.field.ctl-value",
    "RFC 9112 §2.2",
    "RFC 9110 §5.5",
    level=Level.SHOULD,
    says="Field values containing other CTL characters are also invalid; however, recipients MAY retain such characters for the sake of robustness "
    "when they appear within a safe context (e.g., an application-specific quoted string that will not be processed by any downstream HTTP parser).",
    send=[_get(f"0x{char:02x}", b"X-A: a" + bytes([char]) + b"b") for char in (*range(1, 9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)],
    allow=[rejected(400), closed()],
    warn=[by_server(400), served("whatever value")],
    bad=_FAILS,
)
# Its ends are what Unicode calls whitespace, and HTTP does not.
_OBS_TEXT: Final = b"\xa0" + bytes(range(0x80, 0x100)) + b"\x85"
FIELDS.case(
    "h1.field.obs-text",
    "RFC 9110 §5.5",
    level=Level.SHOULD,
    says="A recipient SHOULD treat other allowed octets in field content (i.e., obs-text) as opaque data.",
    send=[_get("every octet from 0x80 on", b"X-A: " + _OBS_TEXT)],
    allow=[_told((b"x-a", _OBS_TEXT))],
    bad=_serves((b"x-a", _OBS_TEXT[1:-1])),
)
FIELDS.case(
    "h1.field.dup-preserved",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says="Order of header values must be preserved from the original HTTP request; order of header names is not important. Duplicates are possible "
    "and must be preserved in the message as received.",
    send=[
        _get("three lines", b"X-A: 1", b"X-A: 2", b"x-a: 3"),
        _get("with others between", b"X-B: 0", b"X-A: 1", b"X-C: 0", b"X-A: 2", b"x-a: 3"),
    ],
    allow=[_told((b"x-a", b"1"), (b"x-a", b"2"), (b"x-a", b"3"))],
    bad=_serves((b"x-a", b"1, 2, 3")),
)


def _hyphens_apart() -> Outcome:
    """Served; the application was told nothing that only a name with a hyphen says."""
    names = (b"transfer-encoding", b"x-forwarded-for", b"x-forwarded-proto")

    def test(call: Call) -> bool:
        client, scheme = call.scope.get("client") or ("",), call.scope.get("scheme", "http")
        return not any(name in names for name, _ in _fields(call)) and client[0] != "203.0.113.9" and scheme != "https"

    return served("none of the names with hyphens", test, example=_call(method="POST"), method="POST")


FIELDS.case(
    "h1.field.underscore-distinct",
    "RFC 9110 §5.1",
    "RFC 9112 §6.3",
    "RFC 9110 §17.10",
    level=Level.HARD,
    says="A name with an underscore is another name than the one with a hyphen: it frames nothing, and names no client.",
    send=[
        _get("Content_Length", b"Content_Length: 5", method="POST"),
        _get("Transfer_Encoding", b"Transfer_Encoding: chunked", method="POST"),
        _get("both, beside the real one", b"Content_Length: 5", b"Transfer_Encoding: chunked", b"Content-Length: 0", method="POST"),
        _get("X_Forwarded_For", b"X_Forwarded_For: 203.0.113.9", b"X_Forwarded_Proto: https", method="POST"),
    ],
    allow=[_hyphens_apart(), by_server(400)],
    # It waits for a body, and takes the follow-up for it.
    bad=Canned(
        _OK + b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        closes=True,
        calls=(Call({"method": "POST", "path": "/", "headers": []}, b"GET /"),),
    ),
)
_LARGE: Final = (431, 400, 413)
FIELDS.case(
    "h1.field.too-many",
    "RFC 9110 §5.4",
    level=Level.MUST,
    says=_TOO_LARGE,
    send=[_get("10,000 fields", *[b"X-A: 1"] * 10_000), _get("10,000 fields of different names", *[b"X-%d: 1" % number for number in range(10_000)])],
    allow=[rejected(*_LARGE), by_server(*_LARGE)],
    # A server may wish to process them; and where it closes while the client still writes, its answer can get lost.
    warn=[served("all of them"), closed()],
    bad=_FAILS,
)
FIELDS.case(
    "h1.field.line-too-long",
    "RFC 9110 §5.4",
    level=Level.MUST,
    says=_TOO_LARGE,
    send=[
        _get("a value of 100 kB", b"X-A: " + b"v" * 100_000),
        _get("a name of 100 kB", b"X" * 100_000 + b": v"),
        _get("a value of 1 MB", b"X-A: " + b"v" * 1_000_000),
    ],
    allow=[rejected(*_LARGE), by_server(*_LARGE)],
    warn=[served("all of it"), closed()],
    bad=_FAILS,
)
