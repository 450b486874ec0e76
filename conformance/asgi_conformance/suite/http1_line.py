"""HTTP/1.1: the request line, its method and its version (RFC 9112 §2.2, §2.3 and §3, RFC 9110 §6.2 and §9).

A request behind each stimulus gives every parser the line ends that it may be waiting for, so that no case has to wait for a time-out.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Call, Canned, Fate, Level, Outcome, Stimulus, Topic
from asgi_conformance.outcomes import accepted, closed, rejected, served
from asgi_conformance.suite.pieces import CRASHES, HOST_LINE, REFUSES, SERVES, answers, request_line, told

if TYPE_CHECKING:
    from asgi_conformance.case import Observation

__all__ = ["LINE"]

LINE: Final = Topic("http1/line", "HTTP/1.1: the request line, the method and the version")

# RFC 9112 §2.2.
_SHOULD_400: Final = (
    "When a server listening only for HTTP request messages, or processing what appears from the start-line to be an HTTP request message, receives "
    "a sequence of octets that does not match the HTTP-message grammar aside from the robustness exceptions listed above, the server SHOULD respond "
    "with a 400 (Bad Request) response and close the connection."
)
# RFC 9112 §3.
_GRAMMAR: Final = (
    "A request-line begins with a method token, followed by a single space (SP), the request-target, and another single space (SP), and ends with "
    "the protocol version."
)
_LENIENT: Final = (
    "Although the request-line grammar rule requires that each of the component elements be separated by a single SP octet, recipients MAY instead "
    "parse on whitespace-delimited word boundaries and, aside from the CRLF terminator, treat any form of whitespace as the SP separator while "
    "ignoring preceding or trailing whitespace; such whitespace includes one or more of the following octets: SP, HTAB, VT (%x0B), FF (%x0C), or "
    "bare CR."
)
# RFC 9112 §2.3.
_VERSION: Final = 'HTTP-version = HTTP-name "/" DIGIT "." DIGIT; HTTP-version is case-sensitive.'

_GET: Final = b"GET / HTTP/1.1\r\n" + HOST_LINE + b"\r\n\r\n"
_NOTHING_WELL_FORMED: Final = random.Random(9112).randbytes(256)  # noqa: S311 - the same bytes every time
# RFC 8446 §4.1.2, as small as it can be: one cipher suite, no extensions.
_CLIENT_HELLO: Final = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03" + b"\x5a" * 32 + b"\x00\x00\x02\x13\x01\x01\x00"
# RFC 9113 §3.4: the preface of a client, with its SETTINGS frame.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_EMPTY_SETTINGS: Final = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_GOAWAY: Final = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + b"\x00" * 7 + b"\x01"
_LONG_METHOD: Final = 100_000
_SECRETS: Final = (b"bXktc2VjcmV0", b"session-of-mine")


def _bytes(label: str, data: bytes) -> Stimulus:
    return Stimulus(label, (data,))


def _speaks_http2() -> Outcome:
    """Answered in HTTP/2, with a SETTINGS frame first (RFC 9113 §3.4)."""

    def holds(seen: Observation) -> bool:
        return seen.wire[:2] == b"\x00\x00" and seen.wire[3:9] == b"\x04\x00\x00\x00\x00\x00" and not seen.calls

    return Outcome("a SETTINGS frame of HTTP/2", holds, Canned(_EMPTY_SETTINGS + _GOAWAY, closes=True))


def _keeps_secrets() -> Outcome:
    """Answered with anything in which the secrets of the request are not."""

    def holds(seen: Observation) -> bool:
        return len(seen.responses) == 1 and not seen.broken and seen.fate is not Fate.SILENT and not any(secret in seen.wire for secret in _SECRETS)

    return Outcome("an answer without the fields that hold secrets", holds, answers(405))


def _says_http11() -> Outcome:
    """Answered by a server that says that it speaks HTTP/1.1."""

    def holds(seen: Observation) -> bool:
        return len(seen.responses) == 1 and seen.responses[0].version == b"HTTP/1.1" and not seen.broken and seen.fate is not Fate.SILENT

    return Outcome("a status line that says HTTP/1.1", holds, SERVES)


def _is_long(call: Call) -> bool:
    """Whether the method is the long one; the reference application keeps it as a summary with its size."""
    method = call.scope.get("method")
    return (len(method) if isinstance(method, str) else getattr(method, "size", 0)) == _LONG_METHOD


def _unheard() -> Outcome:
    """Closed without an answer, and nobody was asked for one."""
    outcome = closed()
    return replace(outcome, words=f"{outcome.words} and without a call", holds=lambda seen: outcome.holds(seen) and not seen.calls)


LINE.case(
    "h1.line.valid-get",
    "RFC 9112 §3",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says=_GRAMMAR,
    send=[_bytes("as simple as can be", _GET)],
    allow=[served(method="GET", path="/", query_string=b"", http_version="1.1")],
    bad=REFUSES,
)
LINE.case(
    "h1.line.leading-crlf",
    "RFC 9112 §2.2",
    level=Level.SHOULD,
    says=(
        "In the interest of robustness, a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF) "
        "received prior to the request-line."
    ),
    send=[_bytes("one empty line before it", b"\r\n" + _GET)],
    allow=[served(method="GET", path="/")],
    bad=REFUSES,
)
LINE.case(
    "h1.line.crlf-after-body",
    "RFC 9112 §2.2",
    level=Level.SHOULD,
    says=(
        "Older HTTP/1.0 user agent implementations might send an extra CRLF after a POST request as a workaround for some early server applications "
        "that failed to read message body content that was not terminated by a line-ending. [...] In the interest of robustness, a server "
        "that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF) received prior to the request-line."
    ),
    send=[
        Stimulus(
            "an empty line between a body and the next request",
            (b"POST / HTTP/1.1\r\n" + HOST_LINE + b"\r\nContent-Length: 5\r\n\r\nhello\r\n" + _GET,),
            methods=("POST", "GET"),
            follow_up=False,
        )
    ],
    allow=[served(method="POST", count=2, body=b"hello")],
    bad=Canned(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", closes=True, calls=(Call({"method": "POST", "path": "/"}, b"hello"),)),
)
LINE.case(
    "h1.line.many-leading-crlf",
    "RFC 9112 §2.2",
    level=Level.HARD,
    says="How many empty lines are ignored is the server's choice; it serves the request, or refuses it once and closes.",
    send=[_bytes("1,000 empty lines before it", b"\r\n" * 1000 + _GET)],
    allow=[served(method="GET", path="/"), rejected(400), closed()],
    # One answer for each empty line.
    bad=answers(400),
)
LINE.case(
    "h1.line.bare-lf",
    "RFC 9112 §2.2",
    level=Level.MAY,
    says=(
        "Although the line terminator for the start-line and fields is the sequence CRLF, a recipient MAY recognize a single LF as a line terminator "
        "and ignore any preceding CR."
    ),
    send=[
        _bytes("behind the request line", _GET.replace(b"\r\n", b"\n", 1)),
        _bytes("behind every line", _GET.replace(b"\r\n", b"\n")),
    ],
    allow=[
        rejected(400),
        closed(),
        served(
            "the Host field",
            lambda call: any(name.lower() == b"host" and value == b"a.example" for name, value in call.scope.get("headers", ())),
            method="GET",
            path="/",
            example=Call({"method": "GET", "path": "/", "headers": [(b"host", b"a.example")]}),
        ),
    ],
    bad=told(headers=[]),
)
LINE.case(
    "h1.line.bare-cr",
    "RFC 9112 §2.2",
    level=Level.MUST,
    says=(
        "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before processing the element or "
        "forwarding the message."
    ),
    send=[
        _bytes("behind the request line", b"GET / HTTP/1.1\r" + HOST_LINE + b"\r\n\r\n"),
        _bytes("instead of every line end but the last", b"GET / HTTP/1.1\r" + HOST_LINE + b"\rX-A: 1\r\n\r\n"),
    ],
    allow=[rejected(400), closed()],
    bad=SERVES,
)
LINE.case(
    "h1.line.double-sp",
    "RFC 9112 §3",
    "RFC 9112 §3.2",
    level=Level.SHOULD,
    says=_LENIENT,
    send=[
        request_line("two spaces behind the method", b"GET  / HTTP/1.1"),
        request_line("two spaces before the version", b"GET /  HTTP/1.1"),
    ],
    allow=[rejected(400)],
    warn=[served(method="GET", path="/")],
    bad=told(path=" /"),
)
LINE.case(
    "h1.line.tab-sep",
    "RFC 9112 §3",
    "RFC 9112 §3.2",
    level=Level.SHOULD,
    says=_LENIENT,
    send=[
        request_line("HTAB", b"GET\t/\tHTTP/1.1"),
        request_line("VT", b"GET\x0b/\x0bHTTP/1.1"),
        request_line("FF", b"GET\x0c/\x0cHTTP/1.1"),
        request_line("bare CR", b"GET\r/\rHTTP/1.1"),
    ],
    allow=[rejected(400)],
    warn=[served(method="GET", path="/")],
    bad=told(path="\t/"),
)
LINE.case(
    "h1.line.leading-sp",
    "RFC 9112 §3",
    "RFC 9112 §3.2",
    level=Level.SHOULD,
    says=_LENIENT,
    send=[request_line("a space before the method", b" GET / HTTP/1.1"), request_line("a tab before the method", b"\tGET / HTTP/1.1")],
    allow=[rejected(400)],
    warn=[served(method="GET", path="/")],
    bad=told(method=" GET"),
)
LINE.case(
    "h1.line.trailing-sp",
    "RFC 9112 §3",
    "RFC 9112 §3.2",
    level=Level.SHOULD,
    says=_LENIENT,
    send=[request_line("a space behind the version", b"GET / HTTP/1.1 "), request_line("a tab behind the version", b"GET / HTTP/1.1\t")],
    allow=[rejected(400)],
    warn=[served(method="GET", path="/")],
    bad=told(http_version="1.1 ", path="/ HTTP/1.1"),
)
LINE.case(
    "h1.line.no-target",
    "RFC 9112 §3",
    level=Level.MUST,
    says=_GRAMMAR,
    send=[request_line("nothing for it", b"GET HTTP/1.1"), request_line("both spaces, and nothing between", b"GET  HTTP/1.1")],
    allow=[rejected(400), closed()],
    bad=SERVES,
)
LINE.case(
    "h1.line.no-version",
    "RFC 9112 §2.2",
    "RFC 9112 §3",
    level=Level.SHOULD,
    says=_SHOULD_400,
    send=[
        _bytes("a request of HTTP/0.9", b"GET /\r\n\r\n"),
        request_line("with fields", b"GET /"),
        request_line("a space for it", b"GET / "),
    ],
    allow=[rejected(400), closed()],
    bad=Canned(b"<p>as in 1991</p>", closes=True),
)
LINE.case(
    "h1.line.response-sent",
    "RFC 9112 §2.2",
    "RFC 9112 §2.1",
    level=Level.SHOULD,
    says=_SHOULD_400,
    send=[_bytes("a status line", b"HTTP/1.1 200 OK\r\n\r\n"), _bytes("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")],
    allow=[rejected(400)],
    # RFC 9112 §2.1: "a response is interpreted as an unknown or invalid request method".
    warn=[rejected(501, 505), closed()],
    bad=SERVES,
)
LINE.case(
    "h1.line.binary",
    "RFC 9112 §2.2",
    "RFC 9110 §2.3",
    level=Level.SHOULD,
    says=_SHOULD_400,
    send=[_bytes("every octet once", bytes(range(256))), _bytes("256 random octets", _NOTHING_WELL_FORMED), _bytes("256 NUL", b"\x00" * 256)],
    allow=[rejected(400), closed()],
    bad=CRASHES,
)
LINE.case(
    "h1.line.tls-hello-on-cleartext",
    "RFC 9112 §2.2",
    level=Level.HARD,
    says="A client that speaks TLS to a cleartext port is refused, and nothing of what it sent is read as a request.",
    send=[_bytes("a ClientHello", _CLIENT_HELLO)],
    allow=[rejected(400), closed()],
    bad=SERVES,
)
LINE.case(
    "h1.line.h2-preface",
    "RFC 9113 §3.4",
    "RFC 9112 §2.2",
    level=Level.SHOULD,
    says="A server that speaks HTTP/2 here answers the preface with SETTINGS; one that does not refuses it as a request that it cannot read.",
    send=[_bytes("the preface alone", _PREFACE), _bytes("the preface and SETTINGS", _PREFACE + _EMPTY_SETTINGS)],
    allow=[rejected(400, 505), closed(), _speaks_http2()],
    bad=told(method="PRI", path="*"),
)
LINE.case(
    "h1.method.case-sensitive",
    "RFC 9110 §9.1",
    "RFC 9112 §3.1",
    "ASGI www, HTTP Connection Scope",
    # ASGI has "method -- The HTTP method name, uppercased", which makes GET of get.
    level=Level.CONFLICT,
    says=(
        "The method token is case-sensitive because it might be used as a gateway to object-based systems with case-sensitive method names. "
        "[...] An origin server that receives a request method that is unrecognized or not implemented SHOULD respond with the 501 (Not Implemented) "
        "status code."
    ),
    send=[request_line("in lower case", b"get / HTTP/1.1"), request_line("capitalised", b"Get / HTTP/1.1")],
    allow=[
        accepted(501, 405),
        rejected(400),
        served(
            "the method as it was sent",
            lambda call: call.scope.get("method") in {"get", "Get"},
            example=Call({"method": "get", "path": "/"}),
        ),
    ],
    bad=SERVES,
)
LINE.case(
    "h1.method.invalid-char",
    "RFC 9110 §9.1",
    "RFC 9110 §5.6.2",
    level=Level.MUST,
    says="method = token; token = 1*tchar.",
    send=[
        request_line("a control", b"G\x01T / HTTP/1.1"),
        request_line("NUL", b"GET\x00 / HTTP/1.1"),
        request_line("a parenthesis", b"GE(T / HTTP/1.1"),
        request_line("an at sign", b"G@T / HTTP/1.1"),
        request_line("a colon", b"GET: / HTTP/1.1"),
        request_line("a quotation mark", b'"GET" / HTTP/1.1'),
        request_line("beyond ASCII", b"G\xc3\x8bT / HTTP/1.1"),
    ],
    allow=[rejected(400), closed()],
    warn=[rejected(501, 405)],
    bad=SERVES,
)
LINE.case(
    "h1.method.unknown",
    "RFC 9110 §9.1",
    level=Level.SHOULD,
    says=(
        "An origin server that receives a request method that is unrecognized or not implemented SHOULD respond with the 501 (Not Implemented) "
        "status code."
    ),
    send=[
        request_line("a word", b"FROBNICATE / HTTP/1.1"),
        request_line("with a hyphen", b"M-SEARCH / HTTP/1.1"),
        request_line("every kind of tchar", b"A0!#$%&'*+-.^_`|~ / HTTP/1.1"),
    ],
    allow=[
        accepted(501, 405),
        # The application implements it, or answers 501 itself.
        served(
            "the method as it was sent",
            lambda call: call.scope.get("method") in {"FROBNICATE", "M-SEARCH", "A0!#$%&'*+-.^_`|~"},
            example=Call({"method": "FROBNICATE", "path": "/"}),
        ),
    ],
    warn=[rejected(400)],
    bad=CRASHES,
)
LINE.case(
    "h1.method.long",
    "RFC 9112 §3",
    "RFC 9110 §17.5",
    level=Level.SHOULD,
    says="A server that receives a method longer than any that it implements SHOULD respond with a 501 (Not Implemented) status code.",
    send=[request_line("100,000 letters", b"A" * _LONG_METHOD + b" / HTTP/1.1")],
    allow=[
        rejected(501),
        # The application implements it, or answers 501 itself.
        served("the method as it was sent", _is_long, example=Call({"method": "A" * _LONG_METHOD, "path": "/"})),
    ],
    warn=[rejected(400, 414, 431), closed()],
    bad=CRASHES,
)
LINE.case(
    "h1.method.connect-to-origin",
    "RFC 9110 §9.3.6",
    "RFC 9110 §9.1",
    level=Level.SHOULD,
    says=(
        "An origin server MAY accept a CONNECT request, but most origin servers do not implement CONNECT. Any 2xx (Successful) response indicates "
        "that the sender (and all inbound proxies) will switch to tunnel mode immediately after the response header section."
    ),
    send=[request_line("a host and its port", b"CONNECT b.example:443 HTTP/1.1", method="CONNECT")],
    allow=[accepted(501, 405, 400, 403, 404, 421)],
    bad=told(method="CONNECT", path=""),
)
LINE.case(
    "h1.method.connect-bad-port",
    "RFC 9110 §9.3.6",
    # A MUST of server and application together: which of the two refuses is nowhere said.
    level=Level.SHOULD,
    says=(
        "A server MUST reject a CONNECT request that targets an empty or invalid port number, typically by responding with a 400 (Bad Request) "
        "status code."
    ),
    send=[
        request_line("an empty port", b"CONNECT b.example: HTTP/1.1", method="CONNECT"),
        request_line("no port", b"CONNECT b.example HTTP/1.1", method="CONNECT"),
        request_line("a port of more than 16 bits", b"CONNECT b.example:70000 HTTP/1.1", method="CONNECT"),
        request_line("a port of letters", b"CONNECT b.example:http HTTP/1.1", method="CONNECT"),
        request_line("a port below zero", b"CONNECT b.example:-1 HTTP/1.1", method="CONNECT"),
    ],
    allow=[accepted(400, 403, 404, 405, 421, 501), _unheard()],
    bad=told(method="CONNECT", path=""),
)
LINE.case(
    "h1.method.trace-reflect",
    "RFC 9110 §9.3.8",
    level=Level.SHOULD,
    says=(
        "The final recipient of the request SHOULD exclude any request fields that are likely to contain sensitive data when that recipient "
        "generates the response content."
    ),
    send=[
        request_line(
            "with credentials and a cookie",
            b"TRACE / HTTP/1.1",
            b"Authorization: Basic " + _SECRETS[0],
            b"Cookie: id=" + _SECRETS[1],
            method="TRACE",
        )
    ],
    # Where the application is called, the content is the application's.
    allow=[_keeps_secrets(), served(method="TRACE")],
    bad=Canned(
        b"HTTP/1.1 200 OK\r\ncontent-type: message/http\r\nconnection: close\r\n\r\n"
        b"TRACE / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Basic bXktc2VjcmV0\r\n\r\n",
        closes=True,
    ),
)
LINE.case(
    "h1.version.unknown-major",
    "RFC 9110 §6.2",
    "RFC 9110 §15.6.6",
    "ASGI www, HTTP Connection Scope",
    # Nothing says that it must refuse; but ASGI has no word for what it would serve.
    level=Level.SHOULD,
    says=(
        "A server can send a 505 (HTTP Version Not Supported) response if it wishes, for any reason, to refuse service of the client's major "
        'protocol version. [...] http_version (Unicode string) -- One of "1.0", "1.1" or "2".'
    ),
    send=[
        request_line("2.0", b"GET / HTTP/2.0"),
        request_line("3.0", b"GET / HTTP/3.0"),
        request_line("9.9", b"GET / HTTP/9.9"),
        request_line("0.9", b"GET / HTTP/0.9"),
    ],
    allow=[rejected(505, 400)],
    warn=[closed()],
    bad=told(http_version="1.1"),
)
LINE.case(
    "h1.version.higher-minor",
    "RFC 9110 §6.2",
    level=Level.SHOULD,
    says=(
        "A recipient that receives a message with a major version number that it implements and a minor version number higher than what it "
        "implements SHOULD process the message as if it were in the highest minor version within that major version to which the recipient is "
        "conformant."
    ),
    send=[request_line("1.2", b"GET / HTTP/1.2"), request_line("1.9", b"GET / HTTP/1.9")],
    allow=[served(method="GET", path="/", http_version="1.1")],
    bad=answers(505, closes=True),
)
LINE.case(
    "h1.version.malformed",
    "RFC 9112 §2.3",
    level=Level.MUST,
    says=_VERSION,
    send=[
        request_line("no minor version", b"GET / HTTP/1"),
        request_line("nothing behind the dot", b"GET / HTTP/1."),
        request_line("nothing before the dot", b"GET / HTTP/.1"),
        request_line("a leading zero", b"GET / HTTP/01.1"),
        request_line("two digits behind the dot", b"GET / HTTP/1.10"),
        request_line("a sign", b"GET / HTTP/+1.1"),
        request_line("a comma", b"GET / HTTP/1,1"),
        request_line("a space in it", b"GET / HTTP /1.1"),
        request_line("in lower case", b"GET / http/1.1"),
        request_line("a letter behind it", b"GET / HTTP/1.1a"),
        request_line("another protocol", b"GET / HTTPS/1.1"),
        request_line("no protocol", b"GET / 1.1"),
    ],
    allow=[rejected(400), closed()],
    warn=[rejected(505)],
    bad=SERVES,
)
LINE.case(
    "h1.version.response",
    "RFC 9110 §6.2",
    level=Level.SHOULD,
    says=(
        "A server SHOULD send a response version equal to the highest version to which the server is conformant that has a major version less than "
        "or equal to the one received in the request."
    ),
    # A follow-up behind HTTP/1.0 is a client's mistake of its own.
    send=[_bytes("to 1.1", _GET), replace(request_line("to 1.0", b"GET / HTTP/1.0"), follow_up=False)],
    allow=[_says_http11()],
    bad=Canned(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", closes=True, calls=(Call({"method": "GET", "path": "/"}),)),
)
