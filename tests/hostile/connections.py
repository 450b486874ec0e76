"""Entries: Upgrade, and several requests on one connection (RFC 9110 §7.8, RFC 9112 §9, RFC 6455 §4.2.1)."""

from __future__ import annotations

from typing import Final

from tests.hostile.entry import Level, Refused, Served, Table, Told, get, post

__all__ = ["PIPELINING", "UPGRADE"]

UPGRADE: Final = Table("upgrade")
PIPELINING: Final = Table("pipelining")

MUST, SHOULD, MAY, HARD = Level.MUST, Level.SHOULD, Level.MAY, Level.HARD
HELLO: Final = Told("POST", body=b"hello")
BODY: Final = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked"
LENGTH: Final = b"Content-Length: 5"
INSIDE: Final = b"GET /inside HTTP/1.1\r\nHost: inside.example\r\n\r\n"
BAD: Final = Refused((400,))

# --- Upgrade ----------------------------------------------------------------------------------------------------------

_UPGRADE: Final = "RFC 9110 §7.8"
_H2C: Final = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")

# A protocol that is not spoken here is ignored: the body is still the body, and what follows is still HTTP.
for _name, _lines in {
    "h2c": _H2C,
    "foo": (b"Connection: upgrade", b"Upgrade: foo/1"),
    "tls": (b"Connection: Upgrade", b"Upgrade: TLS/1.0"),
    "two": (b"Connection: upgrade", b"Upgrade: foo, bar/2"),
    "two-lines": (b"Connection: upgrade", b"Upgrade: foo", b"Upgrade: bar"),
    "http": (b"Connection: upgrade", b"Upgrade: HTTP/2.0"),
    "empty": (b"Connection: upgrade", b"Upgrade:"),
    "websockets-misspelt": (b"Connection: upgrade", b"Upgrade: websockets"),
    "no-connection": (b"Upgrade: h2c",),
    "no-upgrade": (b"Connection: upgrade",),
}.items():
    UPGRADE.add(f"{_name}-of-get", _UPGRADE, MUST, get(*_lines), Served(Told()))
    UPGRADE.add(f"{_name}-and-length", (_UPGRADE, "RFC 9112 §6.3 (6)"), MUST, post(*_lines, LENGTH, body=b"hello"), Served(HELLO))
    UPGRADE.add(f"{_name}-and-chunks", (_UPGRADE, "RFC 9112 §7.1"), MUST, post(*_lines, CHUNKED, body=BODY), Served(HELLO))
    _raw = post(*_lines, b"Content-Length: %d" % len(INSIDE), body=INSIDE)
    UPGRADE.add(f"{_name}-and-a-request-as-body", (_UPGRADE, "RFC 9112 §6.3 (6)"), MUST, _raw, Served(Told("POST", body=INSIDE)))
UPGRADE.add("h2c-then-request", _UPGRADE, MUST, get(*_H2C, body=INSIDE), Served(Told(), Told(path="/inside")))
UPGRADE.add(
    "h2c-then-preface", (_UPGRADE, "RFC 9113 §3.4"), SHOULD, get(*_H2C, body=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Refused((400, 505), (Told(),))
)
UPGRADE.add("h2c-and-both", ("RFC 9112 §6.1", "RFC 9112 §6.3 (3)"), MUST, post(*_H2C, LENGTH, CHUNKED, body=BODY), BAD, Served(HELLO, closes=True))
UPGRADE.add("foo-and-bad-length", "RFC 9112 §6.3 (5)", MUST, post(b"Connection: upgrade", b"Upgrade: foo", b"Content-Length: -5", body=b"hello"), BAD)
UPGRADE.add(
    "foo-and-bad-coding",
    "RFC 9112 §6.3 (4)",
    MUST,
    post(b"Connection: upgrade", b"Upgrade: foo", b"Transfer-Encoding: x", body=BODY),
    Refused((400, 501)),
)
UPGRADE.add("foo-and-bad-chunk", "RFC 9112 §7.1", MUST, post(*_H2C, CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"), Refused((400,), begins=True))
UPGRADE.add(
    "foo-and-close", ("RFC 9112 §9.6", _UPGRADE), MUST, get(b"Connection: upgrade, close", b"Upgrade: foo", body=INSIDE), Served(Told(), closes=True)
)
UPGRADE.add("in-1.0", _UPGRADE, MUST, b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", Served(Told(), closes=True))
UPGRADE.add(
    "in-1.0-and-length",
    _UPGRADE,
    MUST,
    b"POST / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\nContent-Length: 5\r\n\r\nhello",
    Served(HELLO, closes=True),
)
UPGRADE.add("malformed-name", ("RFC 9112 §2.2", "RFC 9110 §5.1"), SHOULD, get(b"Connection: upgrade", b"Up grade: h2c"), BAD)
UPGRADE.add("folded", "RFC 9112 §5.2", MUST, get(b"Connection: upgrade", b"Upgrade:\r\n websocket"), BAD, Served(Told()))
UPGRADE.add(
    "connect-and-upgrade",
    "RFC 9110 §9.3.6",
    MAY,
    get(b"Connection: upgrade", b"Upgrade: foo", line=b"CONNECT a:1 HTTP/1.1", body=INSIDE),
    Refused((501, 405)),
)

_SHAKE: Final = (b"Connection: Upgrade", b"Upgrade: websocket")
_KEY: Final = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
_VERSION: Final = b"Sec-WebSocket-Version: 13"
for _name, _lines in {
    "no-key": (_VERSION,),
    "short-key": (_VERSION, b"Sec-WebSocket-Key: c2hvcnQ="),
    "long-key": (_VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZXh4eA=="),
    "key-no-base64": (_VERSION, b"Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="),
    "key-empty": (_VERSION, b"Sec-WebSocket-Key:"),
}.items():
    UPGRADE.add(f"websocket-{_name}", ("RFC 6455 §4.2.1 (5)", "RFC 6455 §4.2.1"), MUST, get(*_SHAKE, *_lines), BAD)
UPGRADE.add("websocket-two-keys", "RFC 6455 §11.3.1", SHOULD, get(*_SHAKE, _VERSION, _KEY, _KEY), BAD)
for _name, _version in {"12": b"12", "0": b"0", "013": b"013", "word": b"x", "list": b"13, 8"}.items():
    UPGRADE.add(f"websocket-version-{_name}", "RFC 6455 §4.4", MUST, get(*_SHAKE, _KEY, b"Sec-WebSocket-Version: " + _version), Refused((426, 400)))
UPGRADE.add("websocket-and-length", "RFC 6455 §4.2.1", MAY, get(*_SHAKE, _KEY, _VERSION, LENGTH, body=b"hello"), BAD)
UPGRADE.add("websocket-and-chunks", "RFC 6455 §4.2.1", MAY, get(*_SHAKE, _KEY, _VERSION, CHUNKED, body=BODY), BAD)
UPGRADE.add("websocket-and-both", ("RFC 9112 §6.1", "RFC 9112 §6.3 (3)"), SHOULD, get(*_SHAKE, _KEY, _VERSION, LENGTH, CHUNKED, body=BODY), BAD)
UPGRADE.add("websocket-no-host", "RFC 9112 §3.2", MUST, get(*_SHAKE, _KEY, _VERSION, host=None), BAD)
UPGRADE.add("websocket-two-hosts", "RFC 9112 §3.2", MUST, get(*_SHAKE, _KEY, _VERSION, b"Host: b.example"), BAD)
UPGRADE.add("websocket-space-before-colon", "RFC 9112 §5.1", MUST, get(*_SHAKE, b"Sec-WebSocket-Key : dGhlIHNhbXBsZSBub25jZQ==", _VERSION), BAD)
# CVE-2026-42544
UPGRADE.add("websocket-subprotocol-octets", "RFC 6455 §11.3.4", HARD, get(*_SHAKE, _KEY, _VERSION, b"Sec-WebSocket-Protocol: \x80\xff"), BAD)
UPGRADE.add("websocket-in-1.0", _UPGRADE, MUST, get(*_SHAKE, _KEY, _VERSION, line=b"GET / HTTP/1.0"), Served(Told(), closes=True), BAD)
UPGRADE.add("websocket-of-post", "RFC 6455 §4.2.1", MUST, post(*_SHAKE, _KEY, _VERSION, LENGTH, body=b"hello"), Served(HELLO), BAD)

# --- Several requests -------------------------------------------------------------------------------------------------

_ORDER: Final = "RFC 9112 §9.3.2"


def numbered(number: int, *lines: bytes) -> bytes:
    """A GET that says which it is."""
    return get(*lines, line=b"GET /%d HTTP/1.1" % number)


for _count in (2, 10, 300):
    _raw = b"".join(numbered(number) for number in range(_count))
    PIPELINING.add(f"{_count}", _ORDER, MUST, _raw, Served(*(Told(path=f"/{number}") for number in range(_count))))
PIPELINING.add(
    "every-kind",
    _ORDER,
    MUST,
    post(LENGTH, body=b"hello")
    + get()
    + post(CHUNKED, body=BODY)
    + get(line=b"HEAD /h HTTP/1.1")
    + post(b"Content-Length: 0")
    + get(line=b"FETCH /f HTTP/1.1"),
    Served(HELLO, Told(), HELLO, Told("HEAD", "/h"), Told("POST"), Told("FETCH", "/f")),
)
PIPELINING.add("fifty-bodies", _ORDER, MUST, post(LENGTH, body=b"hello") * 25 + post(CHUNKED, body=BODY) * 25, Served(*[HELLO] * 50))
PIPELINING.add("heads-first", _ORDER, MUST, get(line=b"HEAD / HTTP/1.1") * 5 + get(), Served(*[Told("HEAD")] * 5, Told()))
PIPELINING.add("empty-line-between", "RFC 9112 §2.2", SHOULD, post(LENGTH, body=b"hello\r\n") + get(), Served(HELLO, Told()))
PIPELINING.add("empty-lines-between", "RFC 9112 §2.2", SHOULD, get() + b"\r\n" * 5 + get(), Served(Told(), Told()))
PIPELINING.add("six-empty-lines-between", "RFC 9112 §2.2", MAY, get() + b"\r\n" * 6 + get(), Refused((400,), (Told(),)), Served(Told(), Told()))
PIPELINING.add("large-heads", _ORDER, MUST, get(b"X: " + b"y" * 8000) * 12, Served(*[Told()] * 12))

# A good request, and then one that is none: the good one is answered, the other refused, and nothing behind it is read.
for _name, _clause, _level, _second, _statuses in (
    ("both", "RFC 9112 §6.3 (3)", MAY, post(LENGTH, CHUNKED, body=BODY), (400,)),
    ("bad-length", "RFC 9112 §6.3 (5)", MUST, post(b"Content-Length: x", body=b"hello"), (400,)),
    ("two-lengths", "RFC 9112 §6.3 (5)", MUST, post(LENGTH, b"Content-Length: 6", body=b"hello"), (400,)),
    ("bad-coding", "RFC 9112 §6.3 (4)", MUST, post(b"Transfer-Encoding: x", body=BODY), (400, 501)),
    ("no-host", "RFC 9112 §3.2", MUST, get(host=None), (400,)),
    ("two-hosts", "RFC 9112 §3.2", MUST, get(b"Host: b.example"), (400,)),
    ("bad-host", "RFC 9112 §3.2", MUST, get(host=b"a/b"), (400,)),
    ("space-before-colon", "RFC 9112 §5.1", MUST, get(b"X : y"), (400,)),
    ("no-colon", "RFC 9112 §2.2", SHOULD, get(b"x"), (400,)),
    ("garbage", "RFC 9112 §2.2", SHOULD, b"\x00\x01\x02\x03\r\n\r\n", (400,)),
    ("garbage-without-end", "RFC 9112 §2.2", SHOULD, b"\x16\x03\x01\x02\x00", (400,)),
    ("malformed-version", "RFC 9112 §2.3", MUST, get(line=b"GET / HTTP/1"), (400,)),
    ("unknown-version", "RFC 9110 §15.6.6", SHOULD, get(line=b"GET / HTTP/2.0"), (505, 400)),
    ("bad-target", "RFC 9112 §3.2", SHOULD, get(line=b"GET p HTTP/1.1"), (400,)),
    ("long-target", "RFC 9112 §3", HARD, get(line=b"GET /" + b"a" * 100_000 + b" HTTP/1.1"), (414,)),
    ("0.9", "RFC 9112 §3", SHOULD, b"GET /\r\n\r\n", (400,)),
    ("large-head", "RFC 9110 §5.4", HARD, get(b"X: " + b"y" * 70_000), (431, 400, 413)),
):
    PIPELINING.add(f"then-{_name}", (_ORDER, _clause), _level, numbered(1) + _second, Refused(_statuses, (Told(path="/1"),)))
    if _name in {"bad-length", "no-host", "garbage"}:
        _first = tuple(Told(path=f"/{number}") for number in range(20))
        PIPELINING.add(f"twenty-then-{_name}", (_ORDER, _clause), _level, b"".join(map(numbered, range(20))) + _second, Refused(_statuses, _first))
        _raw = post(CHUNKED, body=BODY) + _second
        PIPELINING.add(f"chunks-then-{_name}", (_ORDER, _clause), _level, _raw, Refused(_statuses, (HELLO,)))
for _name, _body in {"chunk-size": b"+5\r\nhello\r\n0\r\n\r\n", "chunk-end": b"5\r\nhelloXX0\r\n\r\n", "line-end": b"5\nhello\r\n0\r\n\r\n"}.items():
    _demand = Refused((400,), (Told(path="/1"),), begins=True)
    PIPELINING.add(f"then-bad-{_name}", (_ORDER, "RFC 9112 §7.1"), MUST, numbered(1) + post(CHUNKED, body=_body), _demand)
PIPELINING.add("behind-a-bad-one", "RFC 9112 §6.3 (5)", MUST, post(b"Content-Length: x", body=b"hello") + INSIDE * 5, BAD)
PIPELINING.add("behind-an-open-chunk", "RFC 9112 §7.1", MUST, post(CHUNKED, body=b"5\r\nhello" + INSIDE * 2), Refused((400,), begins=True))

# Who said that it is the last one is not asked again.
for _name, _last, _told in (
    ("close", get(b"Connection: close"), Told()),
    ("close-in-a-list", get(b"Connection: keep-alive, CLOSE"), Told()),
    ("close-on-a-second-line", get(b"Connection: keep-alive", b"connection: close"), Told()),
    ("close-behind-empty-elements", get(b"Connection: ,, close ,"), Told()),
    ("close-of-a-post", post(b"Connection: close", LENGTH, body=b"hello"), HELLO),
    ("close-of-chunks", post(b"Connection: close", CHUNKED, body=BODY), HELLO),
    ("1.0", get(line=b"GET / HTTP/1.0"), Told()),
    ("1.0-close", get(b"Connection: close", line=b"GET / HTTP/1.0"), Told()),
    ("1.0-keep-alive-and-close", get(b"Connection: keep-alive, close", line=b"GET / HTTP/1.0"), Told()),
):
    PIPELINING.add(f"behind-{_name}", ("RFC 9112 §9.6", "RFC 9112 §9.3"), MUST, _last + INSIDE, Served(_told, closes=True))
PIPELINING.add("garbage-behind-close", "RFC 9112 §9.6", MUST, get(b"Connection: close") + b"\x00\x01" * 500, Served(Told(), closes=True))
PIPELINING.add(
    "bad-one-behind-close", "RFC 9112 §9.6", MUST, get(b"Connection: close") + post(LENGTH, CHUNKED, body=BODY), Served(Told(), closes=True)
)
for _name, _line in {
    "proxy": b"Proxy-Connection: close",
    "longer": b"Connection: closed",
    "another": b"X-Connection: close",
    "quoted": b'Connection: "close"',
}.items():
    PIPELINING.add(f"behind-no-close-{_name}", "RFC 9112 §9.3", SHOULD, get(_line) + INSIDE, Served(Told(), Told(path="/inside")))
