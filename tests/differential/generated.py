"""Requests that nobody thought of: made by the grammar, and then broken.

The law of this module: most of what it makes gets past the first check and some of it past every check, so that what lies behind a check is
met as well. A mutation is small, and a request keeps what makes it interesting: its framing, and the request behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.differential.corpus import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cuts", "heads", "messages", "mutated"]

CUT_COUNT = 6


def often(common: bytes, *others: bytes) -> st.SearchStrategy[bytes]:
    """``common`` in seven of eight cases: a request has many parts, and one that is odd in all of them gets no further than its first line."""
    return st.sampled_from([*[common] * (7 * len(others)), *others])


# ---- the head

_methods = st.sampled_from(
    [
        b"GET",
        *(b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"QUERY", b"M-SEARCH", b"SOURCE", b"PRI", b"SETUP", b"BREW"),
        *(b"CONNECT", b"get", b"Post", b"G\xc9T", b"G@T", b"A" * 70, b""),
    ]
)
_words = st.sampled_from(
    [b"a", b"b%20c", b"%41", b"%zz", b"%", b"..", b".", b"", b"a|b", b"[x]", b'"', b"\\", b"\x80", b"%80", b"a;b=c", b"@", b":", b"*"]
)
_paths = st.lists(_words, max_size=4).map(lambda words: b"/" + b"/".join(words))
_queries = st.sampled_from([b"", b"", b"", b"?", b"?a=b&c", b"?%zz", b"??", b"?a#b", b"#f", b"?\\"])
_hosts = often(
    b"a.example",
    *(b"a", b"a:80", b"a:", b":80", b"[::1]", b"[::1]:8000", b"[::1", b"[v1.x]", b"127.0.0.1", b"a,b", b"a b", b"u@a", b"a/b", b"a:99999", b"%41"),
    *(b"", b"\xff", b"A.EXAMPLE", b"a.example.", b"a:80:80", b"a\tb"),
)
_absolute = st.tuples(st.sampled_from([b"http://", b"HTTP://", b"https://", b"http:/", b"ftp://"]), _hosts, _paths | st.just(b""), _queries).map(
    b"".join
)
_targets = st.one_of(
    st.tuples(_paths, _queries).map(b"".join),
    st.tuples(_paths, _queries).map(b"".join),
    _absolute,
    st.sampled_from([b"*", b"a:443", b"", b"x", b"?a", b"/ b", b"/" + b"a" * 300]),
)
_versions = st.sampled_from(
    [b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"http/1.1", b"RTSP/1.0", b"", b"HTTP/1.1 "]
)
_spaces = often(b" ", b"", b"  ", b"\t", b" \t ")
_line_ends = often(b"\r\n", *[b"\r\n"] * 6, b"\n", b"\r", b"\r\r\n", b" \r\n", b"\t\r\n", b"\r\n ")

_names = st.one_of(
    st.sampled_from(
        [
            *(b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Proxy-Connection", b"Upgrade", b"Expect", b"TE", b"Keep-Alive"),
            *(b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"Sec-WebSocket-Protocol", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Trailer"),
            *(b"Cookie", b"Accept", b"Authorization", b"User-Agent", b"transfer_encoding", b"Transfer-Encoding ", b"", b"X Y", b"X\x80", b"X\0"),
        ]
    ),
    st.text("aZ0-_~!|", min_size=1, max_size=5).map(str.encode),
)
_octets = st.binary(max_size=6).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
_values = st.one_of(
    st.sampled_from(
        [
            *(b"", b"0", b"5", b"05", b"5, 5", b"-1", b"+5", b"0x5", b"5 5", b"18446744073709551616", b"9007199254740993"),
            *(b"chunked", b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b", chunked", b"chunked;a=b", b"chunked,", b"xchunked"),
            *(b"close", b"keep-alive", b"Close, Keep-Alive", b"upgrade", b"close;x", b"x close", b",close,", b"clos", b"closex", b"close\t"),
            *(
                b"websocket",
                b"h2c",
                b"100-continue",
                b"100-Continue, x",
                b"trailers",
                b"13",
                b"dGhlIHNhbXBsZSBub25jZQ==",
                b'a; b="c, d"',
                b"\x80\xff",
            ),
        ]
    ),
    _octets,
)
_any_field = st.tuples(_names, st.just(b":"), _spaces, _values, _spaces, _line_ends).map(b"".join)
_bad_lines = st.lists(
    st.sampled_from([b"X", b":", b" ", b"\t", b"\r", b"\n", b"\r\n", b"a", b"\0", b"\x0b", b"\xff", b"Host", b"GET / HTTP/1.1"]),
    min_size=1,
    max_size=5,
).map(lambda pieces: b"".join(pieces) + b"\r\n")
_good_fields = st.sampled_from(
    [
        *(b"Accept: */*\r\n", b"Cookie: a=b; c=d\r\n", b"X-Empty:\r\n", b"X-A: 1\r\nX-A: 2\r\n", b"User-Agent: x/1 (y; z)\r\n", b"X: \xe9\t\xff\r\n"),
        *(b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Proxy-Connection: close\r\n", b"Proxy-Connection: keep-alive\r\n"),
        *(
            b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
            b"Upgrade: foo/1\r\n",
            b"TE: trailers\r\n",
            b"Expect: 100-continue\r\n",
            b"Keep-Alive: timeout=5\r\n",
        ),
        b"X-Many: y\r\n" * 21,
    ]
)

# ---- the body

_contents = st.sampled_from([b"", b"a", b"hello", b"0\r\n\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 300, b"y" * 3000])
_extensions = often(
    b"",
    b";a",
    b";a=b",
    b';a="b;c"',
    b" ; a = b",
    b";",
    b";;a",
    b";a=",
    b';a="',
    b";a\0",
    b";a\rb",
    b";a\nb",
    b" ",
    b'; a="\\""',
    b";" + b"e" * 800,
    b";" + b"e" * 1100,
)
_trailers = st.lists(
    st.sampled_from(
        [
            b"X-T: y\r\n",
            b"Host: evil\r\n",
            b"Content-Length: 5\r\n",
            b"X : y\r\n",
            b"X\r\n",
            b"X: y\n",
            b"X: \0\r\n",
            b"X: a\r\n b\r\n",
            b"X:\r\n" * 21,
        ]
    )
    | st.just(b"X-T: y\r\n"),
    max_size=3,
).map(b"".join)


@st.composite
def _chunks(draw: st.DrawFn) -> bytes:
    pieces = []
    for content in draw(st.lists(_contents.filter(len), max_size=3)):
        size = draw(often(b"%x", b"%X", b"000%x", b"0x%x", b"+%x", b" %x", b"%x ", b"g%x", b"ffffffffffffff%x")) % len(content)
        pieces += [size, draw(_extensions), draw(_line_ends), content, draw(_line_ends)]
    return b"".join([*pieces, draw(often(b"0", b"00", b"0x0", b"")), draw(_extensions), draw(_line_ends), draw(_trailers), draw(_line_ends)])


@st.composite
def _framed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Field lines that frame a body, and the body; they go together more often than not."""
    kind = draw(st.sampled_from(["none", "none", "length", "length", "wrong", "chunked", "chunked", "both", "coding"]))
    content = draw(_contents)
    if kind == "length":
        return b"Content-Length: %d\r\n" % len(content), content
    if kind == "wrong":
        return b"Content-Length: %d\r\n" % draw(st.integers(0, 2000)), content
    if kind == "chunked":
        return draw(often(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: CHUNKED\r\n", b"transfer-encoding:chunked\t \r\n")), draw(_chunks())
    if kind == "both":
        return b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(content), draw(_chunks())
    if kind == "coding":
        return b"Transfer-Encoding: " + draw(_values) + b"\r\n", draw(_chunks())
    return b"", b""


# ---- messages

_HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a, b\r\n"
)
_frames = st.sampled_from(
    [
        b"",
        b"\x81\x82\0\0\0\0hi",
        b"\x82\x80\0\0\0\0",
        b"\x88\x82\0\0\0\0\x03\xe8",
        b"\x89\x80\0\0\0\0",
        b"\x81\x02hi",
        b"\xff\xff",
        b"\x01\x81\0\0\0\0h",
    ]
)


def _clean(fields: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Lines of a head that does not end before its end."""
    return fields.map(lambda lines: lines.replace(b"\r\n\r\n", b"\r\n"))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One request, or something like one."""
    if draw(st.integers(0, 9)) == 0:
        return b"GET /chat HTTP/1.1\r\nHost: a\r\n" + _HANDSHAKE + draw(_good_fields) + b"\r\n" + draw(st.lists(_frames, max_size=3).map(b"".join))
    good = draw(st.integers(0, 2))
    if good:
        line = draw(
            often(b"GET / HTTP/1.1", b"POST /a%20b?c HTTP/1.1", b"HEAD / HTTP/1.1", b"PUT /p HTTP/1.0", b"BREW / HTTP/1.2", b"OPTIONS * HTTP/1.1")
        )
        fields = [draw(_good_fields) for _ in range(draw(st.integers(0, 3)))]
        host = b"Host: a.example\r\n"
    else:
        parts = [b"POST", b" ", b"/", b" ", b"HTTP/1.1"]
        odd = draw(st.sampled_from([2, 2, 2, 0, 4, 1, 3]))
        parts[odd] = draw([_methods, _spaces, _targets, _spaces, _versions][odd])
        line = b"".join(parts)
        fields = draw(st.lists(_clean(st.one_of(_any_field, _any_field, _good_fields, _bad_lines)), max_size=5))
        host = b"Host:" + draw(_spaces) + draw(_hosts) + b"\r\n"
    framing, body = draw(_framed())
    lines = [*fields, framing]
    lines.insert(draw(st.integers(0, len(lines))), host)
    before = draw(often(b"", b"\r\n", b"\r\n", b"\r\n\r\n", b"\n", b" \r\n"))
    return before + line + b"\r\n" + b"".join(lines) + b"\r\n" + body


heads = (
    messages()
    .filter(lambda data: b"\r\n\r\n" in data.lstrip(b"\r\n"))
    .map(lambda data: data.lstrip(b"\r\n"))
    .map(lambda data: data[: data.index(b"\r\n\r\n") + 4])
)
"""One head, as a connection cuts them."""

# ---- mutations

TOKENS = [
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b" ", b"\t", b"\0", b"\x0b", b"\x0c", b"\x1b", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff"),
    *(b":", b": ", b",", b";", b"=", b'"', b"%", b"?", b"#", b"*", b"/", b"\\", b"@", b"0", b"5", b"f", b"-", b"+", b"_"),
    *(
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/1.2",
        b"HTTP/2.0",
        b"GET ",
        b"CONNECT ",
        b"http://",
        b"close",
        b"keep-alive",
        b"chunked",
        b"5\r\n",
        b"0\r\n\r\n",
    ),
    *(b"Host: a\r\n", b"Host:", b"X: y\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: foo\r\n"),
    *(b"Proxy-Connection: close\r\n", b" folded\r\n", b"X: \x01\r\n"),
]


def _flip(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :] if at < len(data) else data


def _insert(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + draw(st.sampled_from(TOKENS) | st.binary(max_size=3)) + data[at:]


def _replace(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + draw(st.sampled_from(TOKENS)) + data[at + draw(st.integers(0, 8)) :]


def _take_out(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + data[at + draw(st.integers(1, 8)) :]


def _double(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + data[at : at + draw(st.integers(1, 20))] + data[at:]


def _truncate(_: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at]


def _splice(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    other = draw(st.sampled_from(SMALL))
    return data[:at] + other[draw(st.integers(0, len(other))) :]


def _lines(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    """Take a line out, double it, or move it."""
    lines = data.split(b"\r\n")
    index = data.count(b"\r\n", 0, at)
    line = lines[index]
    match draw(st.sampled_from(["take out", "double", "move"])):
        case "take out":
            del lines[index]
        case "double":
            lines.insert(index, line)
        case _:
            del lines[index]
            lines.insert(draw(st.integers(0, len(lines))), line)
    return b"\r\n".join(lines)


_MUTATIONS: list[Callable[[st.DrawFn, bytes, int], bytes]] = [
    _flip,
    _insert,
    _insert,
    _replace,
    _take_out,
    _double,
    _truncate,
    _splice,
    _lines,
    _lines,
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Some requests in a row, made up or out of the tables, with up to four mutations."""
    data = b"".join(draw(st.lists(messages() | messages() | st.sampled_from(SMALL), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2, 3, 4]))):
        data = draw(st.sampled_from(_MUTATIONS))(draw, data, draw(st.integers(0, len(data))))
    return data


cuts = st.lists(st.integers(1, 600), min_size=1, max_size=CUT_COUNT)
