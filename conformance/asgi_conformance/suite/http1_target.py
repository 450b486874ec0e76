"""HTTP/1.1: the request target (RFC 9112 §3.2, RFC 9110 §4.2, RFC 3986).

A target that the grammar does not know makes the message malformed, and the connection ends (RFC 9112 §2.2). One that is well-formed and refused for
what it says leaves the framing as it was: there the connection may go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Call, Level, Topic
from asgi_conformance.outcomes import accepted, by_server, closed, rejected, served
from asgi_conformance.suite.pieces import CRASHES, REFUSES, SERVES, answers, request_line, told

if TYPE_CHECKING:
    from asgi_conformance.case import Outcome, Stimulus

__all__ = ["TARGET"]

TARGET: Final = Topic("http1/target", "HTTP/1.1: the request target")

# RFC 9112 §3.2.
_INVALID: Final = (
    "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad Request) error or a 301 (Moved Permanently) redirect with the "
    "request-target properly encoded."
)
# What no reader takes for whitespace or a line end; those are in cases of their own.
_CONTROLS: Final = (*range(0x09), *range(0x0E, 0x20), 0x7F)
_LONGEST: Final = 8000
_FRAME: Final = len(b"GET  HTTP/1.1")


def _get(label: str, target: bytes) -> Stimulus:
    return request_line(label, b"GET " + target + b" HTTP/1.1")


def _hosts(call: Call) -> list[bytes]:
    return [value for name, value in call.scope.get("headers", ()) if name.lower() == b"host"]


def _path(call: Call) -> str:
    path = call.scope.get("path")
    return path if isinstance(path, str) else ""


def _whole(words: str, *paths: str, **facts: Any) -> Outcome:
    """Served with the whole target for its path, less its query.

    ASGI: "path -- HTTP request target excluding any query string". The path alone stood there once; "request target" was written for servers that
    hand on an absolute-form as it is.
    """
    example = Call({"method": "GET", "path": paths[0], "headers": [(b"host", b"a.example")], **facts})
    return served(words, lambda call: _path(call) in paths, method="GET", example=example, **facts)


def _size(value: Any) -> int:
    """Of a value of the scope; the reference application keeps long ones as a summary with the size."""
    return len(value) if isinstance(value, bytes | str) else int(getattr(value, "size", 0))


TARGET.case(
    "h1.target.absolute-form",
    "RFC 9112 §3.2.2",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says="A server MUST accept the absolute-form in requests even though most HTTP/1.1 clients will only send the absolute-form to a proxy.",
    send=[
        _get("of the host in Host", b"http://a.example/p?q=1"),
        _get("of another host", b"http://b.example/p?q=1"),
        _get("with a port", b"http://b.example:8080/p?q=1"),
        _get("with the scheme and the host in upper case", b"HTTP://B.EXAMPLE/p?q=1"),
    ],
    allow=[
        served(method="GET", path="/p", query_string=b"q=1"),
        _whole(
            "the whole target for its path",
            "http://a.example/p",
            "http://b.example/p",
            "http://b.example:8080/p",
            "HTTP://B.EXAMPLE/p",
            query_string=b"q=1",
        ),
    ],
    bad=REFUSES,
)
TARGET.case(
    "h1.target.absolute-form-host",
    "RFC 9112 §3.2.2",
    level=Level.MUST,
    says=(
        "When an origin server receives a request with an absolute-form of request-target, the origin server MUST ignore the received Host header "
        "field (if any) and instead use the host information of the request-target."
    ),
    send=[_get("another host than in Host", b"http://b.example/p?q=1")],
    allow=[
        served(
            "the target's host as the only Host",
            lambda call: _hosts(call) == [b"b.example"],
            path="/p",
            example=Call({"method": "GET", "path": "/p", "headers": [(b"host", b"b.example")]}),
        )
    ],
    # Nothing is lost, and it is left to the application to ignore Host.
    warn=[_whole("the target's host in the path alone", "http://b.example/p")],
    bad=told(path="/p", query_string=b"q=1", headers=[(b"host", b"a.example")]),
)
TARGET.case(
    "h1.target.absolute-form-empty-path",
    "RFC 9112 §3.2.2",
    "RFC 9110 §4.2.3",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says=(
        "A server MUST accept the absolute-form in requests even though most HTTP/1.1 clients will only send the absolute-form to a proxy. [...] "
        'When not being used as the target of an OPTIONS request, an empty path component is equivalent to an absolute path of "/", so the normal '
        'form is to provide a path of "/" instead.'
    ),
    send=[_get("nothing behind the host", b"http://a.example"), _get("a query behind the host", b"http://a.example?q=1")],
    allow=[served(method="GET", path="/"), _whole("the whole target for its path", "http://a.example")],
    bad=told(path=""),
)
TARGET.case(
    "h1.target.absolute-form-userinfo",
    "RFC 9110 §4.2.4",
    level=Level.SHOULD,
    says=(
        'Before making use of an "http" or "https" URI reference received from an untrusted source, a recipient SHOULD parse for userinfo and treat '
        "its presence as an error; it is likely being used to obscure the authority for the sake of phishing attacks."
    ),
    send=[_get("a user and a password", b"http://user:secret@a.example/"), _get("a user", b"http://b.example@a.example/")],
    allow=[accepted(400)],
    bad=SERVES,
)
TARGET.case(
    "h1.target.absolute-form-empty-host",
    "RFC 9110 §4.2.1",
    "RFC 9110 §4.2.2",
    level=Level.MUST,
    says=(
        'A sender MUST NOT generate an "http" URI with an empty host identifier. A recipient that processes such a URI reference MUST reject it as '
        "invalid."
    ),
    send=[_get("nothing for it", b"http:///x"), _get("a port alone", b"http://:80/x"), _get("of https", b"https:///x")],
    allow=[accepted(400), closed()],
    # "A recipient that processes such a URI reference": one that hands it on does not.
    warn=[_whole("the whole target for its path, which the application is left to refuse", "http:///x", "http://:80/x", "https:///x")],
    bad=told(path="/x"),
)
TARGET.case(
    "h1.target.asterisk-options",
    "RFC 9110 §9.3.7",
    "RFC 9112 §3.2.4",
    "RFC 9112 §3.3",
    level=Level.SHOULD,
    says='An OPTIONS request with an asterisk ("*") as the request target applies to the server in general rather than to a specific resource.',
    send=[request_line("OPTIONS *", b"OPTIONS * HTTP/1.1", method="OPTIONS")],
    allow=[by_server(200, 204), served(method="OPTIONS", path="*"), served(method="OPTIONS", path="")],
    warn=[by_server(501, 405)],
    bad=told(method="OPTIONS", path="/*"),
)
TARGET.case(
    "h1.target.asterisk-get",
    "RFC 9112 §3.2.4",
    "RFC 9112 §3.2",
    "RFC 9110 §7.1",
    # No MUST: what is wrong is the request-line, and 3.2 has a SHOULD for that.
    level=Level.SHOULD,
    says="The asterisk-form of request-target is only used for a server-wide OPTIONS request.",
    send=[_get("GET *", b"*"), request_line("POST *", b"POST * HTTP/1.1", b"Content-Length: 0", method="POST")],
    allow=[accepted(400)],
    warn=[by_server(404, 405, 501), closed()],
    bad=told(path="*"),
)
TARGET.case(
    "h1.target.authority-get",
    "RFC 9112 §3.2.3",
    "RFC 9112 §3.2",
    "RFC 9110 §7.1",
    # No MUST: what is wrong is the request-line, and 3.2 has a SHOULD for that.
    level=Level.SHOULD,
    says="The authority-form of request-target is only used for CONNECT requests.",
    send=[
        _get("a name and a port", b"a.example:80"),
        # No scheme begins with a digit: this is no absolute-form with a scheme that nobody knows.
        _get("an address and a port", b"127.0.0.1:80"),
    ],
    allow=[accepted(400)],
    warn=[by_server(404, 421), closed()],
    bad=told(path="127.0.0.1:80"),
)
TARGET.case(
    "h1.target.relative",
    "RFC 9112 §3.2",
    "RFC 9112 §2.2",
    level=Level.SHOULD,
    says=_INVALID,
    send=[_get("two dots", b"../etc/passwd"), _get("a name", b"index.html"), _get("a query alone", b"?q=1")],
    allow=[rejected(400), accepted(301)],
    bad=told(path="/etc/passwd"),
)
TARGET.case(
    "h1.target.fragment",
    "RFC 9112 §3.2",
    "RFC 9112 §3.2.1",
    level=Level.SHOULD,
    says=_INVALID,
    send=[
        _get("behind the path", b"/p#part"),
        _get("behind the query", b"/p?q=1#part"),
        _get("behind an absolute-form", b"http://a.example/p#part"),
    ],
    allow=[rejected(400), accepted(301)],
    warn=[
        served(
            "nothing of the fragment",
            lambda call: b"#" not in call.scope.get("query_string", b"") and call.scope.get("raw_path") in (None, b"/p"),
            path="/p",
        )
    ],
    bad=told(path="/p#part"),
)
TARGET.case(
    "h1.target.space",
    "RFC 9112 §3.2",
    level=Level.SHOULD,
    says=(
        "No whitespace is allowed in the request-target. [...] A recipient SHOULD NOT attempt to autocorrect and then process the request without "
        "a redirect, since the invalid request-line might be deliberately crafted to bypass security filters along the request chain."
    ),
    send=[
        _get("SP", b"/a b"),
        _get("two SP", b"/a  b"),
        _get("SP in the query", b"/a?b c"),
        _get("what looks like a version", b"/a HTTP/1.1 b"),
        _get("HTAB", b"/a\tb"),
        _get("VT", b"/a\x0bb"),
        _get("FF", b"/a\x0cb"),
        _get("bare CR", b"/a\rb"),
    ],
    allow=[rejected(400), accepted(301)],
    bad=told(path="/a b"),
)
TARGET.case(
    "h1.target.non-ascii",
    "RFC 9112 §3.2",
    "RFC 3986 §2",
    level=Level.SHOULD,
    says="A URI is composed from a limited set of characters consisting of digits, letters, and a few graphic symbols.",
    send=[
        _get("UTF-8", "/caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
        _get("UTF-8 in the query", "/caf?\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
        _get("no UTF-8", b"/caf\xe9"),
    ],
    allow=[rejected(400), accepted(301)],
    warn=[served(method="GET")],
    bad=CRASHES,
)
TARGET.case(
    "h1.target.ctl-nul",
    "RFC 9112 §3.2",
    "RFC 3986 §2",
    level=Level.SHOULD,
    says=_INVALID,
    send=[
        *(_get(f"0x{code:02x}", b"/a" + bytes([code]) + b"b") for code in _CONTROLS),
        _get("NUL in the query", b"/a?b=\x00"),
        _get("DEL in the query", b"/a?b=\x7f"),
        _get("NUL at the end", b"/a\x00"),
    ],
    allow=[rejected(400), accepted(301), closed()],
    bad=told(path="/a"),
)
TARGET.case(
    "h1.target.pct-nul-crlf",
    "RFC 3986 §2.1",
    "ASGI www, HTTP Connection Scope",
    "RFC 3986 §7.3",
    level=Level.HARD,
    says="HTTP request target excluding any query string, with percent-encoded sequences and UTF-8 byte sequences decoded into characters.",
    send=[_get("NUL", b"/a%00b"), _get("a line end", b"/a%0d%0ab"), _get("a field", b"/a%0d%0aX-Injected:%201%0d%0a")],
    allow=[
        served(
            "the characters in the path",
            lambda call: _path(call) in {"/a\0b", "/a\r\nb", "/a\r\nX-Injected: 1\r\n"},
            example=Call({"method": "GET", "path": "/a\0b"}),
        ),
        accepted(400),
    ],
    bad=told(path="/a"),
)
TARGET.case(
    "h1.target.pct-malformed",
    "RFC 3986 §2.1",
    "RFC 9112 §3.2",
    level=Level.SHOULD,
    says=(
        'A percent-encoded octet is encoded as a character triplet, consisting of the percent character "%" followed by the two hexadecimal digits '
        "representing that octet's numeric value."
    ),
    send=[
        _get("letters that are no digits", b"/a%zz"),
        _get("one digit", b"/a%4"),
        _get("nothing behind it", b"/a%"),
        _get("in Unicode", b"/a%u0041"),
    ],
    allow=[rejected(400), accepted(301)],
    warn=[
        served(
            "the percent sign as it was sent",
            lambda call: _path(call) in {"/a%zz", "/a%4", "/a%", "/a%u0041"},
            example=Call({"method": "GET", "path": "/a%"}),
        )
    ],
    bad=CRASHES,
)
TARGET.case(
    "h1.target.pct-once",
    "RFC 3986 §2.4",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says=(
        "Implementations must not percent-encode or decode the same string more than once, as decoding an already decoded string might lead to "
        "misinterpreting a percent data octet as the beginning of a percent-encoding, or vice versa in the case of percent-encoding an already "
        "percent-encoded string."
    ),
    send=[_get("a percent sign that is encoded", b"/%2541")],
    allow=[served(method="GET", path="/%41")],
    bad=told(path="/A"),
)
TARGET.case(
    "h1.target.overlong-utf8",
    "RFC 3629 §3",
    level=Level.MUST,
    says="Implementations of the decoding algorithm above MUST protect against decoding invalid sequences.",
    send=[
        _get("a slash in two octets", b"/a%C0%AFb"),
        _get("a slash in three octets", b"/a%E0%80%AFb"),
        _get("two dots in two octets each", b"/%C0%AE%C0%AE"),
        _get("a surrogate", b"/a%ED%A0%80b"),
    ],
    allow=[
        served(
            "no character that those octets could stand for",
            lambda call: not any(wrong in _path(call)[1:] for wrong in ("/", ".", "\ud800")),
            example=Call({"method": "GET", "path": "/a\N{REPLACEMENT CHARACTER}b"}),
        ),
        accepted(400, 404),
    ],
    bad=told(path="/a/b"),
)
TARGET.case(
    "h1.target.8000-ok",
    "RFC 9112 §3",
    "RFC 9110 §4.1",
    level=Level.SHOULD,
    says="It is RECOMMENDED that all HTTP senders and recipients support, at a minimum, request-line lengths of 8000 octets.",
    send=[
        _get("a long path", b"/" + b"a" * (_LONGEST - _FRAME - 1)),
        _get("a long query", b"/?" + b"a" * (_LONGEST - _FRAME - 2)),
    ],
    allow=[
        served(
            "all of it",
            lambda call: _size(_path(call)) + _size(call.scope.get("query_string", b"")) in {_LONGEST - _FRAME, _LONGEST - _FRAME - 1},
            example=Call({"method": "GET", "path": "/" + "a" * (_LONGEST - _FRAME - 1)}),
        )
    ],
    bad=answers(414, closes=True),
)
TARGET.case(
    "h1.target.too-long",
    "RFC 9112 §3",
    level=Level.MUST,
    says="A server that receives a request-target longer than any URI it wishes to parse MUST respond with a 414 (URI Too Long) status code.",
    send=[_get("a path of 1 MB", b"/" + b"a" * 1_000_000), _get("a query of 1 MB", b"/?" + b"a" * 1_000_000)],
    allow=[rejected(414)],
    # One that wishes to parse it may; and an answer that is followed by a reset is lost now and then.
    warn=[rejected(400, 431), closed(), served(method="GET")],
    bad=CRASHES,
)
