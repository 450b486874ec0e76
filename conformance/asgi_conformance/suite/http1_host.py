"""HTTP/1.1: the Host field (RFC 9112 §3.2, RFC 9110 §7.2)."""

from __future__ import annotations

from typing import Final

from asgi_conformance.case import Call, Canned, Level, Stimulus, Topic
from asgi_conformance.outcomes import accepted, by_server, closed, rejected, served

__all__ = ["HOST"]

HOST: Final = Topic("http1/host", "HTTP/1.1: the Host field")

_SERVES: Final = Canned(
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 2,
    closes=False,
    calls=(Call({"method": "GET", "path": "/"}),),
)
_FAILS: Final = Canned(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", closes=True)
_REFUSES: Final = Canned(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", closes=True)
# RFC 9112 §3.2.
_MUST_400: Final = (
    "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field and to any request "
    "message that contains more than one Host header field line or a Host header field with an invalid field value."
)

# The clause asks for the status code, and not for the end of the connection: the message is framed well enough.
_REFUSED: Final = (rejected(400), by_server(400))


def _get(label: str, *lines: str, version: str = "HTTP/1.1") -> Stimulus:
    return Stimulus(label, ("\r\n".join([f"GET / {version}", *lines, "", ""]).encode("latin-1"),))


HOST.case(
    "h1.host.missing",
    "RFC 9112 §3.2",
    level=Level.MUST,
    says=_MUST_400,
    send=[
        _get("no Host"),
        _get("another field, and no Host", "X-Host: a.example"),
        Stimulus("no Host beside a target in absolute-form", (b"GET http://a.example/ HTTP/1.1\r\n\r\n",)),
    ],
    allow=_REFUSED,
    bad=_SERVES,
)
HOST.case(
    "h1.host.two",
    "RFC 9112 §3.2",
    level=Level.MUST,
    says=_MUST_400,
    send=[
        _get("two that differ", "Host: a.example", "Host: b.example"),
        _get("two that are the same", "Host: a.example", "Host: a.example"),
        _get("two with another field between", "Host: a.example", "X-A: 1", "host: b.example"),
        # "any request message": this half of the sentence is not about HTTP/1.1 alone.
        _get("two in HTTP/1.0", "Host: a.example", "Host: b.example", version="HTTP/1.0"),
    ],
    allow=_REFUSED,
    bad=_SERVES,
)
HOST.case(
    "h1.host.comma",
    "RFC 9112 §3.2",
    "RFC 9110 §7.2",
    level=Level.MUST,
    says=_MUST_400,
    # The comma alone would be a sub-delim of a reg-name; the space behind it is nothing.
    send=[_get("a list", "Host: a.example, b.example"), _get("two with a space between", "Host: a.example b.example")],
    allow=_REFUSED,
    bad=_SERVES,
)
HOST.case(
    "h1.host.userinfo",
    "RFC 9112 §3.2",
    "RFC 9110 §7.2",
    level=Level.MUST,
    says=_MUST_400,
    send=[_get("with user information", "Host: user@a.example")],
    allow=_REFUSED,
    bad=_SERVES,
)
HOST.case(
    "h1.host.path",
    "RFC 9112 §3.2",
    "RFC 9110 §7.2",
    level=Level.MUST,
    says=_MUST_400,
    send=[_get("with a path", "Host: a.example/b")],
    allow=_REFUSED,
    bad=_SERVES,
)
HOST.case(
    "h1.host.bad-port",
    "RFC 9112 §3.2",
    "RFC 3986 §3.2.3",
    level=Level.MUST,
    says=_MUST_400,
    send=[
        _get("a port of letters", "Host: a.example:abc"),
        _get("a port with a sign", "Host: a.example:-1"),
        _get("two ports", "Host: a.example:80:80"),
    ],
    allow=_REFUSED,
    bad=_SERVES,
)
HOST.case(
    "h1.host.port-range",
    "RFC 3986 §3.2.3",
    level=Level.INFO,
    says="port = *DIGIT: the grammar knows no largest port, and TCP has none above 65535.",
    send=[_get("a port that is too large", "Host: a.example:99999")],
    allow=[served(), by_server(400), closed()],
    bad=_FAILS,
)
HOST.case(
    "h1.host.bad-literal",
    "RFC 9112 §3.2",
    "RFC 3986 §3.2.2",
    level=Level.MUST,
    says=_MUST_400,
    send=[
        _get("a bracket that does not end", "Host: [::1"),
        _get("a bracket that does not begin", "Host: ::1]"),
        _get("something behind the bracket", "Host: [::1]a"),
        _get("an IPv6 address without brackets", "Host: ::1"),
        _get("a % that begins no octet", "Host: a%zz.example"),
        _get("quotes", 'Host: "a.example"'),
        _get("a control", "Host: a\x01.example"),
    ],
    allow=_REFUSED,
    bad=_SERVES,
)
HOST.case(
    "h1.host.empty",
    "RFC 9112 §3.2",
    level=Level.INFO,
    says="If the authority component is missing or undefined for the target URI, then a client MUST send a Host header field with an empty "
    "field value.",
    send=[_get("an empty value", "Host:")],
    allow=[served(), by_server(400), closed()],
    bad=_FAILS,
)
HOST.case(
    "h1.host.ipv6",
    "RFC 9110 §7.2",
    "RFC 3986 §3.2.2",
    level=Level.MUST,
    says='Host = uri-host [ ":" port ], and a uri-host may be an IP-literal, which is an address in brackets.',
    send=[_get("an address in brackets, with a port", "Host: [::1]:80"), _get("without a port", "Host: [2001:db8::1]")],
    allow=[served(method="GET", path="/")],
    bad=_REFUSES,
)
HOST.case(
    "h1.host.http10-absent",
    "RFC 9112 §3.2",
    level=Level.MUST,
    says="Only an HTTP/1.1 request must have a Host field.",
    send=[Stimulus("HTTP/1.0 without Host", (b"GET / HTTP/1.0\r\n\r\n",), follow_up=False)],
    allow=[served(method="GET", path="/")],
    warn=[accepted(426)],
    bad=_REFUSES,
)
