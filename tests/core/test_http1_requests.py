"""Requests of HTTP/1.0 and HTTP/1.1 as the application sees them, and in which order they are answered (RFC 9110, RFC 9112)."""

from __future__ import annotations

import contextlib
import inspect
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from asgiserve.config import WebSocketConfig
from asgiserve.core.websocket import WebSocketStream
from asgiserve.core.websocket_handshake import accept_fields
from tests.support.sansio import AVAILABLE, CUTS, GET, PARSERS, Call, Seen, Wire, answer, echo, ignore, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sansio import Steps

pytestmark = pytest.mark.parametrize("parser", PARSERS)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TCHAR = b"!#$%&'*+-.^_`|~09AZaz"


class Served(NamedTuple):
    """A request that must be served, and what the application must see of it. ``fields`` None: Host alone."""

    name: str
    clause: str
    data: bytes
    method: bytes = b"GET"
    path: str = "/"
    raw_path: bytes | None = None
    query: bytes = b""
    minor_version: int = 1
    fields: tuple[tuple[bytes, bytes], ...] = ((b"host", b"a"),)
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    closes: bool = False

    @property
    def seen(self) -> Seen:
        raw_path = self.path.encode() if self.raw_path is None else self.raw_path
        return Seen(self.method, self.path, raw_path, self.query, self.minor_version, self.fields, self.body, "whole", self.trailers)


def target(name: str, clause: str, value: bytes, path: str, raw_path: bytes | None = None, query: bytes = b"", host: bytes = b"a") -> Served:
    data = b"GET " + value + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    return Served("target." + name, clause, data, path=path, raw_path=raw_path, query=query, fields=((b"host", host),))


def fields(name: str, clause: str, lines: bytes, *seen: tuple[bytes, bytes]) -> Served:
    return Served("field." + name, clause, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n", fields=((b"host", b"a"), *seen))


def host(name: str, clause: str, value: bytes) -> Served:
    return Served("host." + name, clause, b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", fields=((b"host", value),))


def length(name: str, clause: str, value: bytes, body: bytes, method: bytes = b"POST") -> Served:
    data = method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: " + value + b"\r\n\r\n" + body
    return Served("cl." + name, clause, data, method=method, fields=((b"host", b"a"), (b"content-length", value.strip())), body=body)


def chunked(name: str, clause: str, data: bytes, body: bytes = b"hello", *trailers: tuple[bytes, bytes], coding: bytes = b"chunked") -> Served:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    seen = ((b"host", b"a"), (b"transfer-encoding", coding.strip(b" \t")))
    return Served("chunk." + name, clause, head + data, method=b"POST", fields=seen, body=body, trailers=trailers)


SERVED = [
    Served("line.valid-get", "9112 §3", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Served("line.leading-crlf", "9112 §2.2", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Served("line.five-leading-crlf", "9112 §2.2", b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Served("line.8000-octets", "9112 §3", b"GET /" + b"a" * 7986 + b" HTTP/1.1\r\nHost: a\r\n\r\n", path="/" + "a" * 7986),
    *(
        Served(f"method.{method.decode().lower()}", "9110 §9", method + b" / HTTP/1.1\r\nHost: a\r\n\r\n", method=method)
        for method in b"HEAD POST PUT DELETE OPTIONS TRACE PATCH QUERY PROPFIND M-SEARCH FROBNICATE PRI SOURCE get-x".split()
    ),
    Served("method.tchars", "9110 §5.6.2", TCHAR + b" / HTTP/1.1\r\nHost: a\r\n\r\n", method=TCHAR),
    Served("version.1.2", "9110 §6.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", minor_version=2),
    Served("version.1.9", "9110 §6.2", b"GET / HTTP/1.9\r\nHost: a\r\n\r\n", minor_version=9),
    Served("version.1.0", "9112 §3.2", b"GET / HTTP/1.0\r\n\r\n", minor_version=0, fields=(), closes=True),
    Served(
        "version.1.0-keep-alive",
        "9112 §C.2.2",
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        minor_version=0,
        fields=((b"connection", b"Keep-Alive"),),
    ),
    Served("version.1.0-unknown-method", "9110 §9.1", b"FROB / HTTP/1.0\r\nHost: a\r\n\r\n", method=b"FROB", minor_version=0, closes=True),
    target("query", "3986 §3.4", b"/p?a=b&c=%20?d", "/p", query=b"a=b&c=%20?d"),
    target("empty-query", "3986 §3.4", b"/p?", "/p"),
    target("query-with-odd-bytes", "3986 §3.4", b'/p?%zz\\[]{}|^`"<>%', "/p", query=b'%zz\\[]{}|^`"<>%'),
    target("two-slashes", "9112 §3.2.1", b"//evil.example/x", "//evil.example/x"),
    target("dot-segments", "9112 §3.2.1", b"/a/../b/./c", "/a/../b/./c"),
    target("pct", "3986 §2.1", b"/a%20b%2Fc%2fd", "/a b/c/d", b"/a%20b%2Fc%2fd"),
    target("pct-utf-8", "3986 §2.5", b"/%C3%A9", "/é", b"/%C3%A9"),
    target("pct-nul-crlf", "3986 §2.1", b"/%00%0d%0aX:1", "/\0\r\nX:1", b"/%00%0d%0aX:1"),
    target("pct-no-utf-8", "3629 §3", b"/%FF", "/\ufffd", b"/%FF"),
    target("overlong-utf-8", "3629 §3", b"/%C0%AF", "/\ufffd\ufffd", b"/%C0%AF"),
    target("browser-bytes", "3986 §2", b'/|[]{}^`"<>', '/|[]{}^`"<>'),
    target("semicolon-and-colon", "3986 §3.3", b"/a;b=c:d@e,f", "/a;b=c:d@e,f"),
    target("absolute-form", "9112 §3.2.2", b"http://other.example/p?q=1", "/p", query=b"q=1", host=b"other.example"),
    target("absolute-form-port", "9112 §3.2.2", b"http://other.example:81/p", "/p", host=b"other.example:81"),
    target("absolute-form-empty-port", "3986 §3.2.3", b"http://other.example:/p", "/p", host=b"other.example:"),
    target("absolute-form-empty-path", "9110 §4.2.3", b"http://h", "/", b"/", host=b"h"),
    target("absolute-form-empty-path-query", "9110 §4.2.3", b"http://h?x", "/", b"/", query=b"x", host=b"h"),
    target("absolute-form-upper-case", "3986 §3.1", b"HTTP://H/p", "/p", host=b"H"),
    target("absolute-form-https", "9112 §3.2.2", b"https://h/p", "/p", host=b"h"),
    target("absolute-form-ipv6", "3986 §3.2.2", b"http://[::1]:80/p", "/p", host=b"[::1]:80"),
    target("absolute-form-pct", "3986 §2.1", b"http://h/%2e%C3%A9", "/.é", b"/%2e%C3%A9", host=b"h"),
    target("absolute-form-pct-host", "3986 §3.2.2", b"http://a%41b/p", "/p", host=b"a%41b"),
    Served(
        "target.absolute-form-no-host-http10",
        "9112 §3.2.2",
        b"GET http://h/p HTTP/1.0\r\nX: y\r\n\r\n",
        path="/p",
        minor_version=0,
        fields=((b"host", b"h"), (b"x", b"y")),
        closes=True,
    ),
    Served("target.asterisk-options", "9112 §3.2.4", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", method=b"OPTIONS", path="*"),
    fields("ows-trim", "9112 §5.1", b"X-A: \t v \t \r\n", (b"x-a", b"v")),
    fields("ows-none", "9112 §5", b"X-A:v\r\n", (b"x-a", b"v")),
    fields("ows-inside", "9110 §5.5", b"X-A: a \t b\r\n", (b"x-a", b"a \t b")),
    fields("empty-value", "9110 §5.5", b"X-A:\r\nX-B: \t \r\n", (b"x-a", b""), (b"x-b", b"")),
    fields("tchar-names", "9110 §5.6.2", TCHAR + b": v\r\n", (TCHAR.lower(), b"v")),
    fields("obs-text", "9110 §5.5", b"X-A: \x80\xe9\xff\r\n", (b"x-a", b"\x80\xe9\xff")),
    fields("dup-preserved", "ASGI www", b"X-A: 1\r\nx-b: 9\r\nX-A: 2\r\nx-a: 3\r\n", (b"x-a", b"1"), (b"x-b", b"9"), (b"x-a", b"2"), (b"x-a", b"3")),
    fields(
        "underscore-distinct",
        "9110 §5.1",
        b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: x\r\n",
        (b"content_length", b"5"),
        (b"transfer_encoding", b"chunked"),
        (b"x_forwarded_for", b"x"),
    ),
    fields("colon-in-value", "9112 §5", b"X: a:b: c\r\n", (b"x", b"a:b: c")),
    fields("h11s-own-limits", "9110 §5.4", b"X: " + b"a" * 60_000 + b"\r\n", (b"x", b"a" * 60_000)),
    fields("cr-lf-look-alikes", "CVE-2026-44546", b"X: a\x85b\xc2\x85\r\n", (b"x", b"a\x85b\xc2\x85")),
    fields("100-fields", "9110 §5.4", b"".join(b"X: %d\r\n" % i for i in range(99)), *((b"x", b"%d" % i) for i in range(99))),
    fields("proxy-connection", "9110 §7.6.1", b"Proxy-Connection: close\r\n", (b"proxy-connection", b"close")),
    fields("expect-without-body", "9110 §10.1.1", b"Expect: 100-Continue\r\n", (b"expect", b"100-Continue")),
    fields(
        "keep-alive-field",
        "9112 §C.2.2",
        b"Keep-Alive: 300\r\nConnection: x, keep-alive\r\n",
        (b"keep-alive", b"300"),
        (b"connection", b"x, keep-alive"),
    ),
    host("name", "9110 §7.2", b"example.com"),
    host("port", "9110 §7.2", b"example.com:8000"),
    host("empty-port", "3986 §3.2.3", b"example.com:"),
    host("root-dot", "3986 §3.2.2", b"example.com."),
    host("ipv4", "3986 §3.2.2", b"127.0.0.1:80"),
    host("ipv6", "3986 §3.2.2", b"[::1]:80"),
    host("ipv6-mapped", "3986 §3.2.2", b"[::ffff:127.0.0.1]"),
    host("underscore", "3986 §3.2.2", b"my_service:80"),
    host("upper-case", "3986 §3.2.2", b"EXAMPLE.com"),
    host("pct", "3986 §3.2.2", b"a%20b"),
    length("body", "9112 §6.2", b"5", b"hello"),
    length("zero", "9112 §6.3", b"0", b""),
    length("leading-zeros", "9110 §8.6", b"0005", b"hello"),
    length("ows", "9112 §5.1", b"5 \t", b"hello"),
    length("get-body", "9110 §9.3.1", b"5", b"hello", b"GET"),
    length("delete-body", "9110 §9.3.5", b"5", b"hello", b"DELETE"),
    length("unknown-method-body", "9112 §6.3", b"5", b"hello", b"FROB"),
    length("body-is-a-request", "9112 §9.3", b"%d" % len(GET), GET),
    length("body-of-crlf", "9112 §6.2", b"4", b"\r\n\r\n"),
    length("body-of-every-octet", "9112 §6.2", b"256", bytes(range(256))),
    Served("cl.absent", "9112 §6.3 (7)", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", method=b"POST"),
    Served(
        "cl.http10",
        "9112 §6.3",
        b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
        method=b"POST",
        minor_version=0,
        fields=((b"content-length", b"5"),),
        body=b"hello",
        closes=True,
    ),
    chunked("one", "9112 §7.1", b"5\r\nhello\r\n0\r\n\r\n"),
    chunked("many", "9112 §7.1", b"1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n"),
    chunked("empty", "9112 §7.1", b"0\r\n\r\n", b""),
    chunked("empty-many-zeros", "9112 §7.1", b"0000\r\n\r\n", b""),
    chunked("hex-upper", "9112 §7.1", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    chunked("hex-lower", "9112 §7.1", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    chunked("leading-zeros", "9112 §7.1", b"00005\r\nhello\r\n0\r\n\r\n"),
    chunked("16-digits", "9112 §7.1", b"0000000000000005\r\nhello\r\n0\r\n\r\n"),
    chunked("ext", "9112 §7.1.1", b'5;a=b;c="d;\\"e";f\r\nhello\r\n0;g\r\n\r\n'),
    chunked("ext-bws", "9112 §7.1.1", b"5 ; a = b\r\nhello\r\n0\r\n\r\n"),
    chunked("data-of-crlf", "9112 §7.1", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    chunked("data-is-a-request", "9112 §9.3", b"%x\r\n%b\r\n0\r\n\r\n" % (len(GET), GET), GET),
    chunked("one-byte-chunks", "9112 §7.1", b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n", b"x" * 2000),
    chunked("coding-in-mixed-case", "9112 §7", b"5\r\nhello\r\n0\r\n\r\n", coding=b"cHuNkEd"),
    chunked("coding-with-ows", "9112 §5.1", b"5\r\nhello\r\n0\r\n\r\n", coding=b"chunked \t"),
    chunked("trailers", "9112 §7.1.2", b"5\r\nhello\r\n0\r\nX-T: 1\r\nx-u:2 \r\n\r\n", b"hello", (b"x-t", b"1"), (b"x-u", b"2")),
    # RFC 9110 §6.5.1: they are not merged, and they frame nothing. Whoever looks at trailers sees what was sent.
    chunked("trailer-content-length", "9110 §6.5.1", b"0\r\nContent-Length: 9\r\n\r\n", b"", (b"content-length", b"9")),
    chunked("trailer-transfer-encoding", "9110 §6.5.1", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"", (b"transfer-encoding", b"chunked")),
    chunked("trailer-host", "9110 §6.5.1", b"0\r\nHost: evil\r\n\r\n", b"", (b"host", b"evil")),
    chunked("trailer-authorization", "9110 §6.5.1", b"0\r\nAuthorization: Basic x\r\n\r\n", b"", (b"authorization", b"Basic x")),
    chunked("trailer-x-forwarded-for", "9110 §6.5.1", b"0\r\nX-Forwarded-For: x\r\n\r\n", b"", (b"x-forwarded-for", b"x")),
    chunked("trailer-connection", "9110 §6.5.1", b"0\r\nConnection: close\r\n\r\n", b"", (b"connection", b"close")),
    *(
        Served(
            f"upgrade.{name}",
            "9110 §7.8",
            method + b" / HTTP/" + version + b"\r\nHost: a\r\nConnection: " + option + b"\r\nUpgrade: " + protocol + b"\r\n" + lines + b"\r\n" + body,
            method=method,
            minor_version=int(version[-1:]),
            fields=(
                (b"host", b"a"),
                (b"connection", option),
                (b"upgrade", protocol),
                *((line.partition(b": ")[0].lower(), line.partition(b": ")[2]) for line in lines.split(b"\r\n") if line),
            ),
            body=content,
            closes=version == b"1.0",
        )
        for name, method, version, option, protocol, lines, body, content in [
            ("unknown", b"GET", b"1.1", b"upgrade", b"foo", b"", b"", b""),
            ("unknown-with-body", b"POST", b"1.1", b"upgrade", b"foo", b"Content-Length: 5\r\n", b"hello", b"hello"),
            ("unknown-chunked", b"POST", b"1.1", b"upgrade", b"foo", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            ("unknown-body-is-a-request", b"POST", b"1.1", b"upgrade", b"foo", b"Content-Length: %d\r\n" % len(GET), GET, GET),
            ("h2c", b"GET", b"1.1", b"Upgrade, HTTP2-Settings", b"h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", b"", b""),
            ("h2c-with-body", b"POST", b"1.1", b"Upgrade", b"h2c", b"Content-Length: 5\r\n", b"hello", b"hello"),
            ("websocket-without-the-option", b"GET", b"1.1", b"keep-alive", b"websocket", b"Sec-WebSocket-Version: 12\r\n", b"", b""),
            ("websocket-post", b"POST", b"1.1", b"upgrade", b"websocket", b"Content-Length: 5\r\n", b"hello", b"hello"),
            ("websocket-http10", b"GET", b"1.0", b"upgrade", b"websocket", b"Sec-WebSocket-Version: 12\r\n", b"", b""),
            ("unknown-http10", b"POST", b"1.0", b"upgrade", b"foo", b"Content-Length: 5\r\n", b"hello", b"hello"),
        ]
    ),
]


def check(case: Served, parser: str, cut: int | None) -> None:
    if cut and len(case.data) > 20_000:
        cut = 97
    wire = Wire(echo, parser)
    wire.feed(case.data, cut)
    assert wire.seen == [case.seen]
    (response,) = wire.responses
    assert response.status == 200
    assert response.body == (b"" if case.method == b"HEAD" else case.body)
    assert not wire.owner.refusals
    assert response.closes is case.closes
    assert wire.transport.closed is case.closes


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in SERVED])
def test_what_is_lawful_is_served_as_it_was_sent(parser: str, case: Served, cut: int | None) -> None:
    check(case, parser, cut)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in SERVED if not case.closes])
def test_the_request_behind_it_is_another_request(parser: str, case: Served, cut: int | None) -> None:
    if cut and len(case.data) > 20_000:
        cut = 97
    wire = Wire(echo, parser)
    wire.feed(GET + case.data + GET + case.data + GET, cut)
    plain = Served("", "", GET, fields=((b"host", b"test.example"),)).seen
    assert wire.seen == [plain, case.seen, plain, case.seen, plain]
    assert wire.statuses == [200] * 5
    assert not wire.transport.ended


def test_the_positive_table_has_no_two_rows_of_one_name(parser: str) -> None:
    assert parser in AVAILABLE
    names = [case.name for case in SERVED]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "X_Forwarded_For", "Forwarded-For", None])
def test_a_request_says_whether_it_was_forwarded(parser: str, name: str | None) -> None:
    wire = Wire(parser=parser)
    wire.feed(request("/", *([f"{name}: for=a"] if name else [])))
    assert wire.owner.begun[0].head.framing.forwarded is (name in {"X-Forwarded-For", "x-forwarded-proto", "Forwarded"})


# ---- keep-alive and pipelining ---------------------------------------------------------------------------------------------------


def test_a_connection_serves_one_request_after_another(parser: str) -> None:
    wire = Wire(parser=parser)
    for number in range(1, 6):
        wire.feed(request(f"/{number}"))
        assert wire.statuses == [200] * number
        assert wire.seen[-1].path == f"/{number}"
        assert wire.connection.phase == "idle"
    assert not any(response.closes for response in wire.responses)
    assert wire.connection.request_count == 5


@pytest.mark.parametrize(
    ("version", "options", "kept", "said"),
    [
        pytest.param("1.1", [], True, None, id="http11"),
        pytest.param("1.1", ["keep-alive"], True, None, id="http11-keep-alive"),
        pytest.param("1.1", ["close"], False, b"close", id="http11-close"),
        pytest.param("1.1", ["foo, CLOSE"], False, b"close", id="http11-close-in-a-list"),
        pytest.param("1.1", ["foo", "Close"], False, b"close", id="http11-close-in-the-second-line"),
        pytest.param("1.1", ["close, keep-alive"], False, b"close", id="http11-both"),
        pytest.param("1.1", ["closed"], True, None, id="http11-another-option"),
        pytest.param("1.1", [""], True, None, id="http11-empty"),
        pytest.param("1.0", [], False, b"close", id="http10"),
        pytest.param("1.0", ["keep-alive"], True, b"keep-alive", id="http10-keep-alive"),
        pytest.param("1.0", ["Keep-Alive, foo"], True, b"keep-alive", id="http10-keep-alive-in-a-list"),
        pytest.param("1.0", ["keep-alive", "close"], False, b"close", id="http10-both"),
        pytest.param("1.2", [], True, None, id="http12"),
    ],
)
def test_the_connection_field_says_what_becomes_of_the_connection(
    parser: str, version: str, options: list[str], kept: bool, said: bytes | None
) -> None:
    wire = Wire(parser=parser)
    wire.feed(request("/", *(f"Connection: {option}" for option in options), version=version))
    (response,) = wire.responses
    assert response.one(b"connection") == said
    assert wire.transport.closed is not kept


@contextlib.contextmanager
def shallow() -> Iterator[None]:
    """No more than 100 calls deeper than here."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("eager", [False, True], ids=["task", "eager"])
def test_a_thousand_pipelined_requests_are_answered_in_order_without_recursion(parser: str, eager: bool) -> None:
    def name(call: Call) -> None:
        call.respond(call.exchange.head.target.raw_path)

    wire = Wire(name, parser, eager=eager, max_keep_alive_count=None)
    with shallow():
        wire.feed(b"".join(request(f"/{number}") for number in range(1000)))
    assert [response.body for response in wire.responses] == [b"/%d" % number for number in range(1000)]
    assert not wire.transport.ended


@pytest.mark.parametrize("eager", [False, True], ids=["task", "eager"])
def test_a_thousand_pipelined_posts_are_answered_in_order_without_recursion(parser: str, eager: bool) -> None:
    wire = Wire(echo, parser, eager=eager, max_keep_alive_count=None)
    with shallow():
        wire.feed(b"".join(request("/", "Content-Length: 3", method="POST", body=b"%03d" % number) for number in range(1000)))
    assert [response.body for response in wire.responses] == [b"%03d" % number for number in range(1000)]


def test_a_pipelined_request_waits_for_the_answer_before_it(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(request("/slow") + request("/fast"))
    assert [seen.path for seen in wire.seen] == ["/slow"]
    assert not wire.transport.writes
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"slow")
    wire.settle()
    assert [seen.path for seen in wire.seen] == ["/slow", "/fast"]
    wire.owner.begun[1].respond(200)
    wire.owner.begun[1].body(b"fast")
    assert [response.body for response in wire.responses] == [b"slow", b"fast"]


def test_an_error_in_a_pipelined_request_comes_after_the_answers_before_it(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(request("/1") + request("/2") + b"BAD\r\n\r\n" + GET)
    assert not wire.transport.writes
    assert not wire.owner.refusals
    for number in range(2):
        wire.owner.begun[number].respond(200)
        wire.owner.begun[number].body(b"ok")
        wire.settle()
    assert wire.statuses == [200, 200, 400]
    assert len(wire.calls) == 2
    assert wire.transport.half_closed


def test_nothing_is_read_past_the_mark_while_a_request_runs(parser: str) -> None:
    wire = Wire(ignore, parser, max_body_buffer_bytes=1000)
    wire.feed(GET)
    wire.feed(GET * 20, 100)
    assert not wire.transport.paused
    wire.feed(GET * 20, 100)
    assert wire.transport.paused
    for exchange in wire.owner.begun:  # it grows while it is walked
        exchange.respond(200)
        exchange.body(b"ok")
        wire.settle()
    assert wire.statuses == [200] * 41
    assert not wire.transport.paused


def test_empty_lines_between_requests_never_add_up(parser: str) -> None:
    wire = Wire(parser=parser)
    for _ in range(20):
        # What old browsers send behind a body.
        wire.feed(b"\r\n")
        wire.feed(GET)
    assert wire.statuses == [200] * 20


# ---- the body --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 300_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_bodies_of_any_size_arrive_whole(parser: str, size: int, coding: str) -> None:
    body = bytes(number % 251 for number in range(size))
    wire = Wire(echo, parser)
    if coding == "length":
        wire.feed(request("/", f"Content-Length: {size}", method="POST", body=body) + GET, 10_007)
    else:
        pieces = [body[at : at + 5000] for at in range(0, size, 5000)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        wire.feed(request("/", "Transfer-Encoding: chunked", method="POST", body=framed) + GET, 10_007)
    assert wire.seen[0].body == body
    assert wire.statuses == [200, 200]


def test_an_upload_that_is_not_read_stops_at_the_high_mark_and_goes_on_when_it_is(parser: str) -> None:
    wire = Wire(ignore, parser, max_body_buffer_bytes=65536)
    wire.feed(request("/", "Content-Length: 1000000", method="POST"))
    for _ in range(100):
        wire.feed(b"x" * 10_000)
    assert wire.transport.paused
    exchange = wire.owner.begun[0]
    assert 65_536 <= len(exchange.take_body()) <= 65_536 + 10_000
    assert not wire.transport.paused
    wire.settle()
    assert wire.transport.paused
    received = 70_000
    while data := exchange.take_body():
        received += len(data)
        wire.settle()
    assert received == 1_000_000
    assert exchange.request_ended
    assert not wire.transport.paused


def test_the_body_may_come_behind_the_answer_to_the_request_before_it(parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(GET + request("/", "Content-Length: 5", method="POST", body=b"he"))
    assert wire.statuses == [200]
    assert wire.connection.phase == "body"
    wire.feed(b"llo" + GET)
    assert [response.body for response in wire.responses] == [b"", b"hello", b""]
    assert wire.connection.phase == "idle"


def test_a_body_that_ends_too_early_is_never_whole(parser: str) -> None:
    for data in (
        request("/", "Content-Length: 10", method="POST", body=b"abc"),
        request("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n"),
        request("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n"),
        request("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhel"),
    ):
        wire = Wire(echo, parser)
        wire.feed(data)
        wire.feed_eof()
        (seen,) = wire.seen
        assert seen.ending == "aborted"
        assert not wire.transport.writes
        assert wire.transport.closed
        assert wire.owner.begun[0].outcome == "incomplete request"
        assert wire.owner.over == wire.owner.begun


# ---- Expect ----------------------------------------------------------------------------------------------------------------------

EXPECT = request("/", "Content-Length: 5", "Expect: 100-continue", method="POST")


def test_100_is_sent_when_the_application_first_wants_the_body(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(EXPECT)
    wire.advance(3)
    assert not wire.transport.writes
    exchange = wire.owner.begun[0]
    exchange.want_body()
    assert wire.transport.written == CONTINUE
    exchange.want_body()
    assert wire.transport.written == CONTINUE
    wire.feed(b"hello")
    assert exchange.take_body() == b"hello"
    exchange.respond(200)
    exchange.body(b"ok")
    (response,) = wire.responses
    assert [informational.status for informational in response.informational] == [100]
    assert not response.closes
    assert not wire.transport.ended


def test_100_is_not_sent_when_the_body_has_come(parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(EXPECT + b"hello" + GET)
    assert [response.status for response in wire.responses] == [200, 200]
    assert not wire.responses[0].informational
    assert wire.seen[0].body == b"hello"
    wire = Wire(echo, parser)
    wire.feed(request("/", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"))
    assert wire.seen[0].body == b"hello"
    assert not wire.responses[0].informational


def test_100_is_not_sent_when_a_part_of_the_body_has_come(parser: str) -> None:
    wire = Wire(echo, parser)
    wire.feed(EXPECT + b"he")
    wire.feed(b"llo")
    assert wire.seen[0].body == b"hello"
    assert not wire.responses[0].informational


def test_a_final_response_without_100_closes(parser: str) -> None:
    wire = Wire(answer, parser)
    wire.feed(EXPECT)
    (response,) = wire.responses
    assert not response.informational
    assert response.closes
    assert wire.transport.half_closed
    # Whether the client sends the body or not, what it sends is no request.
    wire.feed(b"hello" + GET)
    wire.feed_eof()
    assert len(wire.calls) == 1
    assert len(wire.responses) == 1
    assert wire.transport.closed


def test_a_final_response_that_begins_without_100_makes_no_request_of_what_follows(parser: str) -> None:
    def stream(call: Call) -> None:
        call.exchange.respond(200)
        call.exchange.body(b"a", more=True)
        call.exchange.body(b"b")

    wire = Wire(stream, parser)
    # The client does not send the body after it saw the final status, and the next request stands in its place.
    wire.feed(EXPECT)
    wire.feed(GET)
    wire.advance(60)
    assert all(seen.path == "/" for seen in wire.seen)
    assert len(wire.seen) == 1
    assert wire.transport.closed


def test_100_is_not_sent_once_the_response_has_begun(parser: str) -> None:
    def stream(call: Call) -> Steps:
        call.exchange.respond(200)
        yield from call.send(b"a")
        yield from call.body()
        yield from call.send(b"b", more=False)

    wire = Wire(stream, parser)
    wire.feed(EXPECT)
    wire.feed(b"hello")
    (response,) = wire.responses
    assert not response.informational
    assert response.body == b"ab"


def test_http10_never_hears_100(parser: str) -> None:
    for expectation in ("100-continue", "200-ok"):
        wire = Wire(echo, parser)
        wire.feed(request("/", "Content-Length: 5", f"Expect: {expectation}", method="POST", version="1.0"))
        assert not wire.transport.writes
        wire.feed(b"hello")
        (response,) = wire.responses
        assert response.status == 200
        assert not response.informational


def test_an_expectation_without_a_body_is_met_already(parser: str) -> None:
    for length in ([], ["Content-Length: 0"]):
        wire = Wire(echo, parser)
        wire.feed(request("/", "Expect: 100-continue", *length, method="POST") + GET)
        assert wire.statuses == [200, 200]
        assert not wire.responses[0].informational
        assert not wire.transport.ended


# ---- half-closed clients ---------------------------------------------------------------------------------------------------------


def test_a_half_closed_client_is_served_to_the_end(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(request("/1") + request("/2"))
    wire.feed_eof()
    assert not wire.transport.ended
    assert not wire.owner.begun[0].aborted
    # In nearly all cases it is one that has gone, so that the application is told.
    assert wire.owner.begun[0].told_to_end == "aborted"
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"a", more=True)
    wire.owner.begun[0].body(b"b")
    wire.settle()
    assert not wire.transport.ended
    assert wire.owner.begun[1].told_to_end == "aborted"
    wire.owner.begun[1].respond(200)
    wire.owner.begun[1].body(b"c")
    wire.settle()
    assert [response.body for response in wire.responses] == [b"ab", b"c"]
    assert wire.transport.closed
    assert not wire.owner.refusals


@pytest.mark.parametrize(
    ("method", "fields", "piece", "told"),
    [
        ("GET", [(b"content-length", b"5")], b"whole", False),
        ("GET", [(b"content-length", b"5")], b"part", True),
        ("GET", [], b"part", True),
        ("HEAD", [], b"", False),
        ("HEAD", [(b"content-length", b"5")], b"", False),
    ],
)
def test_whoever_has_all_of_the_content_goes_in_order(parser: str, method: str, fields: list[tuple[bytes, bytes]], piece: bytes, told: bool) -> None:
    wire = Wire(ignore, parser)
    wire.feed(request("/", method=method))
    exchange = wire.owner.begun[0]
    exchange.respond(200, fields)
    exchange.body(piece, more=True)
    wire.feed_eof()
    assert bool(exchange.told_to_end) is told
    assert not exchange.aborted


@pytest.mark.parametrize("refuses", [False, True])
def test_a_response_whose_last_bytes_are_refused_is_not_complete(parser: str, refuses: bool) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    exchange = wire.owner.begun[0]
    exchange.respond(200)
    exchange.body(b"first", more=True)
    wire.feed_eof()
    wire.owner.refuses = refuses
    exchange.body(b"last")
    assert exchange.outcome == ("aborted" if refuses else "")
    assert wire.owner.over == [exchange]


@pytest.mark.parametrize("held", [False, True])
def test_a_response_that_is_given_up_before_it_began_ends_in_order(parser: str, held: bool) -> None:
    wire = Wire(ignore, parser)
    wire.feed(request("/1") + request("/2"))
    first = wire.owner.begun[0]
    wire.stall()
    first.respond(200)
    first.body(b"x" * 100_000)
    wire.feed_eof()
    wire.take()
    second = wire.owner.begun[1]
    if held:
        second.keeps_head = True
        second.respond(200)
    second.cut("aborted")
    wire.settle()
    # A reset would take the answer with it that is still on its way.
    assert (wire.transport.closed, wire.owner.resets) == (True, 0)
    assert [len(response.body) for response in wire.responses] == [100_000]
    assert (second.status, second.outcome) == (0, "aborted")


def test_what_is_said_of_a_client_that_has_gone_stays(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET)
    exchange = wire.owner.begun[0]
    exchange.respond(200)
    exchange.body(b"first", more=True)
    wire.feed_eof()
    wire.connection.begin_drain(1)
    assert exchange.told_to_end == "aborted"


def test_a_half_closed_client_hears_of_its_bad_request(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET + b"BAD\r\n\r\n")
    wire.feed_eof()
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"ok")
    wire.settle()
    assert wire.statuses == [200, 400]
    assert wire.transport.closed


def test_a_half_closed_client_with_half_a_request_behind_gets_its_answers(parser: str) -> None:
    wire = Wire(ignore, parser)
    wire.feed(GET + b"GET / HT")
    wire.feed_eof()
    wire.owner.begun[0].respond(200)
    wire.owner.begun[0].body(b"ok")
    wire.settle()
    assert wire.statuses == [200]
    assert wire.transport.closed


@pytest.mark.parametrize("data", [b"", b"GET / HT", GET, GET + b"GET"], ids=["nothing", "half-a-head", "idle", "idle-and-half-a-head"])
def test_an_end_between_requests_is_the_end(parser: str, data: bytes) -> None:
    wire = Wire(parser=parser)
    wire.feed(data)
    before = wire.transport.written
    wire.feed_eof()
    assert wire.transport.closed
    assert wire.owner.closes == 1
    assert wire.transport.written == before
    assert not wire.owner.refusals


def test_tls_cannot_be_half_closed(parser: str) -> None:
    wire = Wire(ignore, parser, half_close=False)
    wire.feed(GET)
    wire.feed_eof()
    assert wire.transport.closed
    assert wire.owner.begun[0].aborted
    assert wire.owner.over == wire.owner.begun


# ---- upgrades --------------------------------------------------------------------------------------------------------------------

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]


def websocket(
    *fields: str, method: str = "GET", version: str = "1.1", upgrade: str = "websocket", connection: str = "Upgrade", body: bytes = b""
) -> bytes:
    return request("/", f"Upgrade: {upgrade}", f"Connection: {connection}", *fields, method=method, version=version, body=body)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(websocket(*HANDSHAKE), id="plain"),
        pytest.param(websocket(*HANDSHAKE, upgrade="WebSocket", connection="keep-alive, UPGRADE"), id="other-case"),
        pytest.param(websocket(*HANDSHAKE, upgrade="websocket, foo"), id="first-of-two"),
    ],
)
@pytest.mark.parametrize("cut", CUTS)
def test_an_opening_handshake_is_offered_to_the_application(parser: str, data: bytes, cut: int | None) -> None:
    wire = Wire(ignore, parser)
    wire.feed(data, cut)
    (exchange,) = wire.owner.begun
    assert exchange.head.framing.upgrade == b"websocket"
    assert not wire.transport.writes


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(websocket(*HANDSHAKE, version="1.0"), id="http10"),
        pytest.param(websocket(*HANDSHAKE, method="POST"), id="post"),
        pytest.param(websocket(*HANDSHAKE, method="HEAD"), id="head"),
        pytest.param(websocket(*HANDSHAKE, upgrade="websockets"), id="another-protocol"),
        pytest.param(websocket(*HANDSHAKE, connection="keep-alive"), id="no-connection-option"),
        pytest.param(request("/", *HANDSHAKE, "Connection: Upgrade"), id="no-upgrade"),
    ],
)
def test_what_is_no_opening_handshake_is_a_request(parser: str, data: bytes) -> None:
    wire = Wire(answer, parser)
    wire.feed(data)
    (exchange,) = wire.owner.begun
    assert exchange.head.framing.upgrade == b""
    assert wire.statuses == [200]


def test_with_websocket_off_an_opening_handshake_is_a_request(parser: str) -> None:
    wire = Wire(answer, parser, websocket=False)
    wire.feed(websocket("Sec-WebSocket-Version: 12") + GET)
    assert [exchange.head.framing.upgrade for exchange in wire.owner.begun] == [b"", b""]
    assert wire.statuses == [200, 200]


def accept(call: Call) -> Steps:
    """Accept the WebSocket, and stay."""
    exchange = call.exchange
    stream = WebSocketStream(exchange, WebSocketConfig(), [])
    exchange.tunnel(stream, accept_fields(exchange.head.fields, None, b""))
    while stream.disconnect is None:
        yield "event"


def test_an_accepted_handshake_switches_protocols_and_loses_no_frame(parser: str) -> None:
    for cut in (None, 1):
        wire = Wire(accept, parser)
        wire.feed(websocket(*HANDSHAKE) + b"\x81\x82\x00\x00\x00\x00hi", cut)
        (switch,) = wire.responses[0].informational if wire.responses[0].status != 101 else wire.responses
        assert switch.status == 101
        assert switch.one(b"upgrade") == b"websocket"
        assert switch.one(b"connection") == b"upgrade"
        assert switch.one(b"sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        stream = wire.owner.begun[0].stream
        assert stream is not None
        assert stream.take_message() == "hi"
        assert wire.connection.phase == "tunnel"
        wire.lose()
        assert stream.disconnect == (1006, "")
        assert wire.owner.over == wire.owner.begun


def test_100_comes_before_101(parser: str) -> None:
    wire = Wire(accept, parser)
    wire.feed(websocket(*HANDSHAKE, "Expect: 100-continue"))
    assert wire.transport.written.startswith(CONTINUE + b"HTTP/1.1 101 ")


def test_what_stands_behind_a_handshake_is_no_request_where_the_answer_is_not_101(parser: str) -> None:
    wire = Wire(answer, parser)
    wire.feed(websocket(*HANDSHAKE) + GET)
    (response,) = wire.responses
    assert response.status == 200
    assert response.closes
    assert len(wire.calls) == 1
    wire.advance(60)
    assert wire.transport.closed


def test_a_client_that_half_closes_before_its_handshake_is_answered_is_gone(parser: str) -> None:
    # RFC 6455 §7.1.2: it could not even close the WebSocket in order.
    wire = Wire(ignore, parser)
    wire.feed(websocket(*HANDSHAKE))
    wire.feed_eof()
    assert wire.owner.begun[0].aborted
    assert wire.transport.closed
    assert not wire.transport.writes
