"""Requests: those of the conformance suite, generated ones, and what is worth putting into them.

The law of this module: most of what it makes is nearly right. What is plain nonsense is refused at the first byte and reaches nothing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Case
from asgi_conformance.suite import TOPICS
from fuzz.mutate import mutate, noise

if TYPE_CHECKING:
    import random

__all__ = ["HANDSHAKE", "VALUES", "WORDS", "chunked", "field_lines", "request", "specimens", "stream"]

# A stimulus of the suite that is longer than this tests a limit; here it would only cost time.
_LONG: Final = 2200

_METHODS: Final = [b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"M-SEARCH", b"FROB", b"PRI"]
_BAD_METHODS: Final = [b"get", b"CONNECT", b"G@T", b"", b"\xff", b"GET\t"]
_TARGETS: Final = [
    b"/",
    b"/",
    b"/a/b?c=d&e",
    b"/%2e%2E/%41",
    b"/?",
    b"//x",
    b"/a;b=c",
    b"http://h.example/p?q",
    b"https://h:1",
    b"http://h?q",
    b'/|{}[]^`"<>',
]
_BAD_TARGETS: Final = [
    b"*",
    b"/a#b",
    b"/%zz",
    b"/%",
    b"x",
    b"a:1",
    b"http://",
    b"http://u@h/",
    b"http://h:70000/",
    b"/\\",
    b"/\x80",
    b"/a b",
    b"ftp://h/",
]
_VERSIONS: Final = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2"]
_BAD_VERSIONS: Final = [b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1.", b"HTTP/11", b"RTSP/1.0", b""]
_HOSTS: Final = [b"a", b"test.example:80", b"[::1]:8000", b"127.0.0.1", b"a%20b"]
_BAD_HOSTS: Final = [b"", b"a b", b"a,b", b"u@a", b"a:b", b"a:99999", b"[::1", b"[zz]", b"a/b", b"\xff"]

HANDSHAKE: Final = [
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
]

VALUES: Final[dict[bytes, list[bytes]]] = {
    b"Connection": [
        b"close",
        b"keep-alive",
        b"upgrade",
        b"Close, Keep-Alive",
        b"close;x",
        b"x close",
        b",close,",
        b"closed",
        b"keep-alive, upgrade",
        b"te",
    ],
    b"Content-Length": [b"0", b"5", b"05", b"5, 5", b"+5", b"-1", b"0x5", b"5.0", b"", b"9007199254740993", b"18446744073709551616", b"5 5", b"\xb2"],
    b"Transfer-Encoding": [
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"chunked, chunked",
        b"identity",
        b", chunked",
        b"chunked;a=b",
        b"chunked,",
        b"xchunked",
    ],
    b"Expect": [b"100-continue", b"100-Continue", b"100-continue, x", b"x", b""],
    b"Upgrade": [b"websocket", b"WebSocket", b"h2c, foo", b"foo/1, websocket", b""],
    b"TE": [b"trailers", b"trailers, deflate;q=0.5", b"gzip", b""],
    b"Proxy-Connection": [b"close", b"keep-alive", b"upgrade"],
    b"X-Forwarded-For": [b"192.0.2.1", b"192.0.2.1, 10.0.0.1", b"[2001:db8::1]:80", b"unknown", b",,", b"1.2.3.4:99999", b"\xff"],
    b"X-Forwarded-Proto": [b"https", b"http,https", b"wss", b""],
    b"Forwarded": [b"for=192.0.2.1;proto=https", b'for="[2001:db8::1]:80", for=_x', b'for="', b";;,,", b'for="\\"";by=x'],
    b"Sec-WebSocket-Protocol": [b"a", b"a, b", b"a b", b",", b"\xff", b'"a"'],
    b"Sec-WebSocket-Extensions": [
        *(b"permessage-deflate", b"permessage-deflate; client_max_window_bits", b"permessage-deflate; server_max_window_bits=10"),
        *(b"permessage-deflate; server_no_context_takeover; client_no_context_takeover", b"permessage-deflate; server_max_window_bits=8"),
        *(
            b'x; a="b\\"c", permessage-deflate',
            b"permessage-deflate;",
            b"; a=b",
            b"permessage-deflate; client_max_window_bits=99, permessage-deflate",
        ),
        *(b"permessage-deflate; a; a", b'x; a="', b"\xff"),
    ],
    b"Sec-WebSocket-Key": [b"dGhlIHNhbXBsZSBub25jZQ==", b"AAAA", b""],
    b"Sec-WebSocket-Version": [b"13", b"8", b"13, 8", b""],
    b"Cookie": [b"a=b; c=d", b""],
    b"Host": [*_HOSTS, *_BAD_HOSTS],
    b"X-A": [b"b", b"", b"\x80\xff", b"a\tb", b" b ", b"a  b", b"a\x00b", b"a\x0bb", b"\x7f"],
    b"!#$%&'*+-.^_`|~0aA": [b"v"],
    b"transfer_encoding": [b"chunked"],
}
_NAMES: Final = list(VALUES)

WORDS: Final = [
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\0", b"\x0b", b"\x0c", b"\x1b", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff"),
    *(b":", b": ", b" :", b",", b";", b"=", b'"', b"\\", b"%", b"%2", b"?", b"#", b"*", b"/", b"0", b"5", b"f", b"@", b"-", b"+", b"_"),
    *(b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"POST ", b"HEAD ", b"HTTP/2.0", b"CONNECT ", b"http://", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(b"close", b"keep-alive", b"chunked", b"upgrade", b"websocket", b"100-continue", b"\r\n ", b"\r\n\t", b" \r\n", b"\t\r\n"),
    *(
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"00\r\n",
        b"5;a=b\r\n",
        b'5;a="\r\n',
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5 \r\n",
        b"5;\r\n",
    ),
    *(name + b": " + values[0] + b"\r\n" for name, values in VALUES.items()),
    *(b"Content-Length: 0\r\n", b"Transfer-Encoding: gzip\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
]


@functools.cache
def specimens() -> list[bytes]:
    """What the cases of the conformance suite send, each once."""
    found = {
        b"".join(part for part in stimulus.parts if isinstance(part, bytes))
        for topic in TOPICS
        for case in topic
        if isinstance(case, Case)
        for stimulus in case.stimuli
    }
    return sorted(data for data in found if len(data) <= _LONG)


def field_lines(rng: random.Random, most: int = 4) -> list[bytes]:
    """Field lines without their ends, nearly all of them lawful as such."""
    lines = []
    for _ in range(rng.randint(0, most)):
        name = rng.choice(_NAMES[-3:]) if rng.random() < 0.4 else rng.choice(_NAMES)
        values = VALUES[name]
        value = values[0] if rng.random() < 0.5 else rng.choice(values)
        if rng.random() < 0.1:
            value += b", " + rng.choice(values)
        colon = b": " if rng.random() < 0.8 else rng.choice((b":", b":\t", b":  ", b" : ", b""))
        lines.append(
            (name if rng.random() < 0.8 else name.lower()) + colon + value + (b"" if rng.random() < 0.9 else rng.choice((b" ", b"\t", b" \t ")))
        )
    return lines


def chunked(rng: random.Random, content: bytes) -> bytes:
    """``content`` in chunks, with extensions and trailers that are mostly lawful."""
    parts = []
    at = 0
    while at < len(content):
        size = rng.randint(1, len(content) - at)
        parts.append(_chunk_line(rng, size) + content[at : at + size] + b"\r\n")
        at += size
    trailers = b"".join(line + b"\r\n" for line in field_lines(rng, 2)) if rng.random() < 0.3 else b""
    return b"".join(parts) + _chunk_line(rng, 0) + trailers + b"\r\n"


def _chunk_line(rng: random.Random, size: int) -> bytes:
    digits = b"%x" % size if rng.random() < 0.8 else b"%X" % size
    if rng.random() < 0.1:
        digits = b"00" + digits
    extension = (
        rng.choice((b";a", b";a=b", b' ; a = "b;\\"c"', b";a=b;c", b'; a="\x80"', b";", b" ", b";a=", b";a b")) if rng.random() < 0.15 else b""
    )
    return digits + extension + b"\r\n"


def request(rng: random.Random) -> bytes:
    """One request, right with a probability of about two thirds."""

    def pick(good: list[bytes], bad: list[bytes]) -> bytes:
        return rng.choice(bad) if rng.random() < 0.04 else rng.choice(good)

    version = pick(_VERSIONS, _BAD_VERSIONS)
    line = pick(_METHODS, _BAD_METHODS) + b" " + pick(_TARGETS, _BAD_TARGETS) + b" " + version
    lines = field_lines(rng)
    if rng.random() < 0.97:
        lines.insert(rng.randint(0, len(lines)), b"Host: " + pick(_HOSTS, _BAD_HOSTS))
    content = b""
    framing = rng.random()
    if framing < 0.2:
        content = rng.choice((b"hello", b"", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", rng.randbytes(rng.randint(0, 40)), b"x" * 300))
        lines.append(b"Content-Length: %d" % len(content))
    elif framing < 0.45:
        lines.append(b"Transfer-Encoding: chunked")
        content = chunked(rng, rng.choice((b"", b"hello", b"x" * 70, rng.randbytes(rng.randint(0, 40)))))
    elif framing < 0.55:
        lines += [name + b": " + value for name, value in HANDSHAKE]
    rng.shuffle(lines)
    return b"".join((line, b"\r\n", *(field + b"\r\n" for field in lines), b"\r\n", content))


def stream(rng: random.Random) -> bytes:
    """What a peer sends on one connection: requests in a row, mutated or not; sometimes what only looks like it."""
    kind = rng.random()
    if kind < 0.05:
        return noise(rng, WORDS, 30)
    requests = [rng.choice(specimens()) if rng.random() < 0.3 else request(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 4)))]
    if rng.random() < 0.05:
        requests.insert(0, b"\r\n" * rng.randint(1, 7))
    data = b"".join(requests)
    return data if kind < 0.4 else mutate(rng, data, WORDS, rng.choice((1, 1, 2, 3, 6)))
