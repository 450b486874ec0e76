"""The request line, the request target, authorities and Host (RFC 9112 §3, RFC 9110 §4 and §7.2)."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.errors import RemoteProtocolError
from asgiserve.http.target import (
    METHODS,
    RequestLine,
    Target,
    begins_request_line,
    parse_request_line,
    parse_target,
    read_plain_line,
    split_authority,
    valid_host,
)
from tests.support.properties import examples

KIB_64 = 64 * 1024


# ---- the request line


def read_line(head: bytes) -> RequestLine:
    """As the connection reads it: the octets of the target may be checked with the line or with the target."""
    line = parse_request_line(head)
    if line.method != b"CONNECT":
        parse_target(line.method, line.target)
    return line


@pytest.mark.parametrize(
    ("head", "line"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", RequestLine(b"GET", b"/", 1, 16), id="h1.line.valid-get"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", RequestLine(b"GET", b"/", 0, 16), id="HTTP/1.0"),
        pytest.param(b"GET / HTTP/1.2\r\n\r\n", RequestLine(b"GET", b"/", 2, 16), id="a higher minor version"),
        pytest.param(b"FROBNICATE / HTTP/1.1\r\n", RequestLine(b"FROBNICATE", b"/", 1, 23), id="h1.method.unknown"),
        pytest.param(b"M-SEARCH * HTTP/1.1\r\n", RequestLine(b"M-SEARCH", b"*", 1, 21), id="a method with a hyphen"),
        pytest.param(b"frobnicate / HTTP/1.1\r\n", RequestLine(b"frobnicate", b"/", 1, 23), id="a made-up method in lower case"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\n", RequestLine(b"OPTIONS", b"*", 1, 20), id="asterisk-form"),
        pytest.param(b"GET %b HTTP/1.1\r\n" % (b"/" + b"a" * 8000), RequestLine(b"GET", b"/" + b"a" * 8000, 1, 8016), id="h1.target.8000-ok"),
    ],
)
def test_a_request_line_is_read(head: bytes, line: RequestLine) -> None:
    assert parse_request_line(head) == line


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"\r\n", 400, id="an empty line"),
        pytest.param(b"GET / HTTP/1.1\n", 400, id="h1.line.bare-lf"),
        pytest.param(b"GET / HTTP/1.1\rHost: x\r\n\r\n", 400, id="h1.line.bare-cr"),
        pytest.param(b"GET / HTTP/1.1", 400, id="no line end"),
        pytest.param(b"GET  / HTTP/1.1\r\n", 400, id="h1.line.double-sp"),
        pytest.param(b"GET /  HTTP/1.1\r\n", 400, id="two spaces before the version"),
        pytest.param(b"GET\t/\tHTTP/1.1\r\n", 400, id="h1.line.tab-sep"),
        pytest.param(b"GET / HTTP/1.1 \r\n", 400, id="h1.line.trailing-sp"),
        pytest.param(b" GET / HTTP/1.1\r\n", 400, id="leading whitespace"),
        pytest.param(b"\nGET / HTTP/1.1\r\n", 400, id="a leading LF"),
        pytest.param(b"\rGET / HTTP/1.1\r\n", 400, id="a leading CR"),
        pytest.param(b"GET HTTP/1.1\r\n", 400, id="h1.line.no-target"),
        pytest.param(b"GET /\r\n\r\n", 400, id="h1.line.no-version"),
        pytest.param(b"GET\r\n\r\n", 400, id="only a method"),
        pytest.param(b" / HTTP/1.1\r\n", 400, id="no method"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", 400, id="h1.line.response-sent"),
        pytest.param(bytes(range(256)), 400, id="h1.line.binary"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400, id="h1.line.tls-hello-on-cleartext"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="h1.line.h2-preface"),
        pytest.param(b"GET / HTTP/0.9\r\n", 505, id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/2.0\r\n", 505, id="HTTP/2.0"),
        pytest.param(b"GET / HTTP/3.0\r\n", 505, id="HTTP/3.0"),
        pytest.param(b"GET / http/1.1\r\n", 400, id="a version in lower case"),
        pytest.param(b"GET / HTTP/11\r\n", 400, id="a version without a dot"),
        pytest.param(b"GET / HTTP/1.10\r\n", 400, id="a minor version of two digits"),
        pytest.param(b"GET / HTTP/ 1.1\r\n", 400, id="a space in the version"),
        pytest.param(b"GET / RTSP/1.0\r\n", 400, id="RTSP"),
        pytest.param(b"SOURCE / ICE/1.0\r\n", 400, id="ICE"),
        pytest.param("GET / HTTP/1.\N{SUPERSCRIPT ONE}\r\n".encode(), 400, id="a digit of Unicode"),
        pytest.param(b"G@T\x01 / HTTP/1.1\r\n", 400, id="h1.method.invalid-char control"),
        pytest.param(b"GE(T / HTTP/1.1\r\n", 400, id="h1.method.invalid-char parenthesis"),
        pytest.param(b"G\xc9T / HTTP/1.1\r\n", 400, id="a method outside of ASCII"),
        pytest.param(b"GET /a b HTTP/1.1\r\n", 400, id="h1.target.space"),
        pytest.param(b"GET /\xc3\xa9 HTTP/1.1\r\n", 400, id="h1.target.non-ascii"),
        *(
            pytest.param(b"GET /a%cb HTTP/1.1\r\n" % byte, 400, id=f"h1.target.ctl-nul {byte:#04x}")
            for byte in (0, 1, 9, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)
        ),
        *(pytest.param(method.lower() + b" / HTTP/1.1\r\n", 501, id=f"h1.method.case-sensitive {method.decode()}") for method in sorted(METHODS)),
        pytest.param(b"Get / HTTP/1.1\r\n", 501, id="a method with a capital"),
    ],
)
def test_a_malformed_request_line_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_line(head)
    assert caught.value.status == status
    assert caught.value.clause


line_bytes = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from([b"GET", b" ", b"/", b"*", b"HTTP/1.1", b"HTTP/", b"1", b".", b"\r\n", b"\r", b"\n", b"a", b"#", b"\xff"]), max_size=12
    ).map(b"".join),
)


@examples(400)
@given(line_bytes)
def test_whatever_is_read_as_a_request_line_is_one_or_is_refused(head: bytes) -> None:
    try:
        line = parse_request_line(head)
    except RemoteProtocolError:
        return
    assert head[: line.end] == b"%b %b HTTP/1.%d\r\n" % (line.method, line.target, line.minor_version)
    assert line.end == head.index(b"\r\n") + 2


# ---- the beginning of a request line


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r", b"M-SEARCH * HTTP/1.0\r", b"OPTIONS http://h:1/p?q HTTP/1.1\r"], ids=repr)
def test_every_beginning_of_a_request_line_may_become_one(line: bytes) -> None:
    for end in range(len(line) + 1):
        assert begins_request_line(line[:end]) is not None, line[:end]


@pytest.mark.parametrize(
    "start",
    [
        b" ",
        b"\t",
        b"\x16\x03\x01",
        b"GET\t",
        b"GET  ",
        b"G(",
        b"GET /\t",
        b"GET /\xff",
        b"GET / X",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\ra",
        b"\n",
        b"\x00",
    ],
    ids=repr,
)
def test_what_cannot_become_a_request_line_is_seen_without_its_end(start: bytes) -> None:
    assert begins_request_line(start) is None


@examples(300)
@given(line_bytes, st.integers(0, 40))
def test_no_beginning_of_a_good_request_line_is_refused(head: bytes, cut: int) -> None:
    try:
        line = read_line(head)
    except RemoteProtocolError:
        return
    assert begins_request_line(head[: min(cut, line.end - 1)]) is not None


# ---- the request target


@pytest.mark.parametrize(
    ("method", "target", "parsed"),
    [
        pytest.param(b"GET", b"/", Target(b"/", "/", b"", None), id="the root"),
        pytest.param(b"GET", b"/p?q=1", Target(b"/p", "/p", b"q=1", None), id="a query"),
        pytest.param(b"GET", b"/p?", Target(b"/p", "/p", b"", None), id="an empty query"),
        pytest.param(b"GET", b"/?a?b", Target(b"/", "/", b"a?b", None), id="asgi.scope.query: the first question mark"),
        pytest.param(b"GET", b"/?q=%41&x=%zz\\", Target(b"/", "/", b"q=%41&x=%zz\\", None), id="the query is the application's"),
        pytest.param(b"GET", b"/a%2Fb%20c", Target(b"/a%2Fb%20c", "/a/b c", b"", None), id="asgi.scope.path-decoded"),
        pytest.param(b"GET", b"/%E4%BD%A0", Target(b"/%E4%BD%A0", "/\u4f60", b"", None), id="UTF-8"),
        pytest.param(b"GET", b"/%FF", Target(b"/%FF", "/\ufffd", b"", None), id="asgi.scope.path-bad-utf8"),
        pytest.param(b"GET", b"/%C0%AF", Target(b"/%C0%AF", "/\ufffd\ufffd", b"", None), id="h1.target.overlong-utf8"),
        pytest.param(b"GET", b"/%ED%A0%80", Target(b"/%ED%A0%80", "/\ufffd\ufffd\ufffd", b"", None), id="a surrogate is no UTF-8"),
        pytest.param(b"GET", b"/%00%0d%0aX:1", Target(b"/%00%0d%0aX:1", "/\0\r\nX:1", b"", None), id="h1.target.pct-nul-crlf"),
        pytest.param(b"GET", b"/%2541", Target(b"/%2541", "/%41", b"", None), id="decoded once"),
        pytest.param(b"GET", b"//evil.example/x", Target(b"//evil.example/x", "//evil.example/x", b"", None), id="two slashes are a path"),
        pytest.param(b"GET", b"/../etc/passwd", Target(b"/../etc/passwd", "/../etc/passwd", b"", None), id="dot segments are the application's"),
        pytest.param(b"GET", b'/a|b[c]{d}^`"<e>', Target(b'/a|b[c]{d}^`"<e>', '/a|b[c]{d}^`"<e>', b"", None), id="what browsers send unescaped"),
        pytest.param(b"GET", b"/a+b:c@d;e=f", Target(b"/a+b:c@d;e=f", "/a+b:c@d;e=f", b"", None), id="a plus is a plus"),
        pytest.param(b"GET", b"/*", Target(b"/*", "/*", b"", None), id="an asterisk in a path"),
        pytest.param(b"OPTIONS", b"*", Target(b"*", "*", b"", None), id="h1.target.asterisk-options"),
        pytest.param(b"OPTIONS", b"/p", Target(b"/p", "/p", b"", None), id="OPTIONS of a path"),
        pytest.param(b"GET", b"http://other.example/p?q=1", Target(b"/p", "/p", b"q=1", b"other.example"), id="h1.target.absolute-form"),
        pytest.param(b"GET", b"http://h", Target(b"/", "/", b"", b"h"), id="h1.target.absolute-form-empty-path"),
        pytest.param(b"GET", b"http://h?q", Target(b"/", "/", b"q", b"h"), id="absolute-form with only a query"),
        pytest.param(b"GET", b"HTTPS://h:443/%41", Target(b"/%41", "/A", b"", b"h:443"), id="a scheme is case-insensitive"),
        pytest.param(b"GET", b"http://[::1]:80/", Target(b"/", "/", b"", b"[::1]:80"), id="absolute-form with IPv6"),
        pytest.param(b"GET", b"http://h/http://i/", Target(b"/http://i/", "/http://i/", b"", b"h"), id="one absolute-form in another is a path"),
        pytest.param(b"OPTIONS", b"http://h", Target(b"/", "/", b"", b"h"), id="OPTIONS in absolute-form"),
    ],
)
def test_a_target_is_read(method: bytes, target: bytes, parsed: Target) -> None:
    assert parse_target(method, target) == parsed


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        pytest.param(b"GET", b"", 400, id="nothing"),
        pytest.param(b"GET", b"*", 400, id="h1.target.asterisk-get"),
        pytest.param(b"GET", b"**", 400, id="two asterisks"),
        pytest.param(b"OPTIONS", b"*?q", 400, id="an asterisk with a query"),
        pytest.param(b"GET", b"example.com:80", 400, id="h1.target.authority-get"),
        pytest.param(b"GET", b"../etc/passwd", 400, id="h1.target.relative"),
        pytest.param(b"GET", b"a", 400, id="a name"),
        pytest.param(b"GET", b"?q", 400, id="only a query"),
        pytest.param(b"GET", b"/p#frag", 400, id="h1.target.fragment"),
        pytest.param(b"GET", b"/p?q#frag", 400, id="a fragment behind a query"),
        pytest.param(b"GET", b"http://h/p#frag", 400, id="a fragment in absolute-form"),
        pytest.param(b"GET", b"http://h#frag", 400, id="a fragment behind the authority"),
        pytest.param(b"GET", b"/a\\b", 400, id="a backslash"),
        pytest.param(b"GET", b"\\\\evil", 400, id="backslashes first"),
        pytest.param(b"GET", b"/%zz", 400, id="a percent that begins no octet"),
        pytest.param(b"GET", b"/%4", 400, id="half an octet"),
        pytest.param(b"GET", b"/%", 400, id="a percent alone"),
        pytest.param(b"GET", b"/a b", 400, id="a space"),
        pytest.param(b"GET", b"/a\x00", 400, id="NUL"),
        pytest.param(b"GET", b"/a\n", 400, id="a line end"),
        pytest.param(b"GET", b"/\xff", 400, id="outside of ASCII"),
        pytest.param(b"GET", b"http:///x", 400, id="h1.target.absolute-form-empty-host"),
        pytest.param(b"GET", b"http://:80/x", 400, id="only a port"),
        pytest.param(b"GET", b"http://", 400, id="no authority"),
        pytest.param(b"GET", b"http://u:p@h/", 400, id="h1.target.absolute-form-userinfo"),
        pytest.param(b"GET", b"http://@h/", 400, id="empty userinfo"),
        pytest.param(b"GET", b"http://h:99999/", 400, id="a port that is too large"),
        pytest.param(b"GET", b"http://h:x/", 400, id="a port that is no number"),
        pytest.param(b"GET", b"http://h\\i/", 400, id="a backslash in the authority"),
        pytest.param(b"GET", b"http:/h/", 400, id="one slash"),
        pytest.param(b"GET", b"ftp://h/", 400, id="another scheme"),
        pytest.param(b"GET", b"ws://h/", 400, id="ws is no scheme of a request"),
        pytest.param(b"CONNECT", b"example.com:443", 501, id="h1.method.connect-to-origin"),
        pytest.param(b"CONNECT", b"[::1]:443", 501, id="CONNECT to IPv6"),
        pytest.param(b"CONNECT", b"example.com:", 400, id="h1.method.connect-bad-port empty"),
        pytest.param(b"CONNECT", b"example.com:0", 400, id="h1.method.connect-bad-port 0"),
        pytest.param(b"CONNECT", b"example.com:70000", 400, id="h1.method.connect-bad-port 70000"),
        pytest.param(b"CONNECT", b"example.com", 400, id="CONNECT without a port"),
        pytest.param(b"CONNECT", b"/", 400, id="CONNECT to a path"),
        pytest.param(b"CONNECT", b"*", 400, id="CONNECT to an asterisk"),
        pytest.param(b"CONNECT", b"http://h:80/", 400, id="CONNECT in absolute-form"),
    ],
)
def test_a_malformed_target_is_refused(method: bytes, target: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_target(method, target)
    assert caught.value.status == status
    assert caught.value.clause


target_bytes = st.one_of(
    st.binary(max_size=30),
    st.lists(
        st.sampled_from(
            [
                *(b"/", b"?", b"#", b"%", b"%41", b"%ff", b"%2F", b"\\", b"*", b"a", b"..", b" ", b"\x00", b"\xe9"),
                *(b"http://", b"HTTPS://", b"h.example", b":", b"80", b"99999", b"@", b"[", b"]", b"::1", b"[::1]", b",", b"v1.a"),
            ]
        ),
        max_size=10,
    ).map(b"".join),
)
methods = st.sampled_from([b"GET", b"OPTIONS", b"CONNECT", b"FROB"])


@examples(600)
@given(methods, target_bytes)
def test_whatever_is_read_as_a_target_is_one_or_is_refused(method: bytes, target: bytes) -> None:
    try:
        parsed = parse_target(method, target)
    except RemoteProtocolError as error:
        assert error.status in (400, 501)  # noqa: PT017 - which error it is, where there is one
        return
    assert method != b"CONNECT"
    assert b"#" not in target
    if parsed.raw_path == b"*":
        assert (method, target) == (b"OPTIONS", b"*")
    else:
        assert parsed.raw_path.startswith(b"/")
    assert b"?" not in parsed.raw_path
    # Nothing but the separators between the parts is lost.
    rest = target[target.index(b"//") + 2 + len(parsed.authority) :] if parsed.authority is not None else target
    path, mark, query = rest.partition(b"?")
    assert (path or b"/", query) == (parsed.raw_path, parsed.query)
    assert mark or not parsed.query
    assert parsed.path == unquote_to_bytes(parsed.raw_path).decode("utf-8", "replace")
    assert parsed.authority is None or valid_host(parsed.authority)


# ---- authorities and Host


@pytest.mark.parametrize(
    ("authority", "parts"),
    [
        pytest.param(b"example.com", (b"example.com", None), id="a name"),
        pytest.param(b"EXAMPLE.com:8080", (b"EXAMPLE.com", b"8080"), id="a name with a port"),
        pytest.param(b"h:", (b"h", b""), id="an empty port (RFC 3986 §3.2.3)"),
        pytest.param(b"h:0", (b"h", b"0"), id="port 0"),
        pytest.param(b"h:65535", (b"h", b"65535"), id="the largest port"),
        pytest.param(b"h:00080", (b"h", b"00080"), id="zeros before a port"),
        pytest.param(b"192.0.2.1:80", (b"192.0.2.1", b"80"), id="IPv4"),
        pytest.param(b"[::1]", (b"[::1]", None), id="IPv6"),
        pytest.param(b"[::1]:80", (b"[::1]", b"80"), id="h1.host.ipv6"),
        pytest.param(b"[2001:DB8::192.0.2.1]", (b"[2001:DB8::192.0.2.1]", None), id="IPv6 that ends as IPv4"),
        pytest.param(b"[v1.fe80::a+en1]:1", (b"[v1.fe80::a+en1]", b"1"), id="IPvFuture"),
        pytest.param(b"a_b-c~d.%41", (b"a_b-c~d.%41", None), id="every kind of character"),
        pytest.param(b"a!$&'()*+;=b", (b"a!$&'()*+;=b", None), id="sub-delims"),
        pytest.param(b"xn--bcher-kva.example.", (b"xn--bcher-kva.example.", None), id="a final dot"),
    ],
)
def test_an_authority_is_split(authority: bytes, parts: tuple[bytes, bytes | None]) -> None:
    assert split_authority(authority) == parts
    assert valid_host(authority)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(b"", id="h1.host.empty"),
        pytest.param(b":80", id="only a port"),
        pytest.param(b"a, b", id="h1.host.comma"),
        pytest.param(b"a,b", id="a comma without a space"),
        pytest.param(b"u@x", id="h1.host.userinfo"),
        pytest.param(b"u:p@x", id="userinfo with a password"),
        pytest.param(b"x/y", id="h1.host.path"),
        pytest.param(b"a/?", id="a path and a query"),
        pytest.param(b"example.com/health?x=", id="CVE-2026-48710"),
        pytest.param(b"a?b", id="a query"),
        pytest.param(b"a#b", id="a fragment"),
        pytest.param(b"x:99999", id="h1.host.bad-port too large"),
        pytest.param(b"x:65536", id="one too large"),
        pytest.param(b"x:abc", id="h1.host.bad-port letters"),
        pytest.param(b"x:-1", id="a negative port"),
        pytest.param(b"x:" + b"0" * 6, id="a port of six digits"),
        pytest.param(b"x:" + b"9" * 5000, id="more digits than int() takes"),
        pytest.param(b"x:80:80", id="two ports"),
        pytest.param(b"a b", id="a space"),
        pytest.param(b"a\tb", id="a tab"),
        pytest.param(b"a\\b", id="a backslash"),
        pytest.param(b"<script>", id="markup"),
        pytest.param(b'"x"', id="quotes"),
        pytest.param(b"\xff", id="outside of ASCII"),
        pytest.param(b"x\n", id="a line end"),
        pytest.param(b"x\x00", id="NUL"),
        pytest.param(b"%zz", id="a percent that begins no octet"),
        pytest.param(b"%4", id="half an octet"),
        pytest.param(b"[::1", id="an open bracket"),
        pytest.param(b"::1]", id="a closing bracket"),
        pytest.param(b"::1", id="IPv6 without brackets"),
        pytest.param(b"[]", id="empty brackets"),
        pytest.param(b"[::1]80", id="a port without a colon"),
        pytest.param(b"[::g]", id="no IPv6"),
        pytest.param(b"[1:2:3:4:5:6:7:8:9]", id="too much IPv6"),
        pytest.param(b"[192.0.2.1]", id="IPv4 in brackets"),
        pytest.param(b"[::1%25eth0]", id="a zone"),
        pytest.param(b"[v.a]", id="IPvFuture without a version"),
        pytest.param(b"[v1.]", id="IPvFuture without an address"),
    ],
)
def test_an_invalid_host_is_refused(host: bytes) -> None:
    assert split_authority(host) is None
    assert not valid_host(host)


@examples(600)
@given(target_bytes)
def test_whatever_is_read_as_an_authority_is_one_or_is_refused(authority: bytes) -> None:
    parts = split_authority(authority)
    assert valid_host(authority) == (parts is not None)
    if parts is None:
        return
    host, port = parts
    assert host
    assert authority == (host if port is None else host + b":" + port)
    assert not set(host) & set(b"/?#@\\, \r\n")
    assert not port or int(port) <= 65535


# ---- malice


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"a" * KIB_64, id="a method without an end"),
        pytest.param(b"GET /" + b"a" * KIB_64, id="a target without an end"),
        pytest.param(b"GET " + b"/" * KIB_64 + b" HTTP/1.1\n", id="a target and a bare LF"),
        pytest.param(b"GET" + b" " * KIB_64, id="spaces"),
        pytest.param(b"GET / " + b"H" * KIB_64, id="a version without an end"),
        pytest.param(b"GET / " + b"HTTP/1.1" * (KIB_64 // 8) + b"\r\n", id="versions"),
        pytest.param(b"a " * (KIB_64 // 2), id="words"),
    ],
)
def test_64_kib_of_malice_in_a_request_line_are_refused_in_linear_time(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_line(line)
    # Each as far as the search for its end would let it come.
    for end in (len(line), len(line) - 1, len(line) - 2):
        beginning = line[:end]
        assert (begins_request_line(beginning) is None) == (b"  " in beginning or b"\n" in beginning or beginning.count(b" ") > 2)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "target",
    [
        # 0.3 s for 8 kB, and four times that for twice as much, while both parts of an absolute-form could hold the same bytes.
        pytest.param(b"http://" + b"a" * KIB_64 + b"#", id="an authority before a fragment"),
        pytest.param(b"http://h/" + b"a" * KIB_64 + b"#", id="a path before a fragment"),
        pytest.param(b"http://" + b"/" * KIB_64 + b"#", id="slashes before a fragment"),
        pytest.param(b"http://" + b"?" * KIB_64 + b"#", id="question marks before a fragment"),
        pytest.param(b"http://" + b"a" * KIB_64 + b":x/", id="a long authority with a bad port"),
        pytest.param(b"http://" + b"%41" * (KIB_64 // 3) + b"%/", id="an escaped authority"),
        pytest.param(b"http://[" + b":" * KIB_64 + b"]/", id="colons in brackets"),
        pytest.param(b"http://[v" + b"a" * KIB_64 + b"]/", id="IPvFuture without a dot"),
        pytest.param(b"http://[v1." + b"." * KIB_64 + b"/", id="IPvFuture of dots"),
        pytest.param(b"/" + b"a" * KIB_64 + b"#", id="an origin-form before a fragment"),
        pytest.param(b"/" + b"%41" * (KIB_64 // 3) + b"%", id="octets before half of one"),
        pytest.param(b"/?" + b"?" * KIB_64 + b"#", id="a query before a fragment"),
        pytest.param(b"/" + b"/" * KIB_64 + b"\\", id="slashes before a backslash"),
        pytest.param(b"*" * KIB_64, id="asterisks"),
    ],
)
def test_64_kib_of_malice_in_a_target_are_refused_in_linear_time(target: bytes) -> None:
    for method in (b"GET", b"CONNECT"):
        with pytest.raises(RemoteProtocolError):
            parse_target(method, target)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("unit", [b"%41", b"%ff", b"%E4%BD%A0", b"a%20", b"/"], ids=repr)
def test_64_kib_of_path_are_decoded_in_linear_time(unit: bytes) -> None:
    path = b"/" + unit * (KIB_64 // len(unit))
    assert parse_target(b"GET", path).path == unquote_to_bytes(path).decode("utf-8", "replace")


@pytest.mark.timeout(5)
@pytest.mark.parametrize("host", [b"a" * KIB_64 + b"/", b"[" + b"1" * KIB_64 + b"]", b"%41" * (KIB_64 // 3) + b"%", b"a:" + b"1" * KIB_64])
def test_64_kib_of_malice_in_a_host_are_refused_in_linear_time(host: bytes) -> None:
    assert not valid_host(host)


line_parts = st.one_of(
    st.sampled_from(
        [b"GET", b"POST", b"CONNECT", b"get", b"", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"/", b"/a?b", b"/a?b?c", b"/#", b"/?#", b"*", b"/%41"]
    ),
    st.builds(lambda text: b"/" + text, st.binary(max_size=6)),
    st.text("/?#%\\ab \t\x7f\xa0\xff", max_size=6).map(lambda text: text.encode("latin-1")),
)


@examples(500)
@given(st.lists(line_parts, min_size=2, max_size=4).map(b" ".join))
def test_a_plain_line_is_read_as_the_whole_grammar_reads_it(line: bytes) -> None:
    plain = read_plain_line(line)
    if plain is None:
        return
    parsed = parse_request_line(line + b"\r\n")
    assert plain == (parsed.method, parse_target(parsed.method, parsed.target), parsed.minor_version)


def test_what_nearly_every_request_line_looks_like_is_plain() -> None:
    assert read_plain_line(b"GET /items?page=2 HTTP/1.1") == (b"GET", Target(b"/items", "/items", b"page=2", None), 1)
    assert read_plain_line(b"DELETE / HTTP/1.0") == (b"DELETE", Target(b"/", "/", b"", None), 0)
