"""Entries: chunked bodies and the trailers behind them (RFC 9112 §7.1, RFC 9110 §6.5.1)."""

from __future__ import annotations

from typing import Final

from tests.hostile.entry import Level, Refused, Served, Table, Told, Unfinished, get, post

__all__ = ["CHUNK", "TRAILER"]

CHUNK: Final = Table("chunk")
TRAILER: Final = Table("trailer")

MUST, SHOULD, MAY, HARD = Level.MUST, Level.SHOULD, Level.MAY, Level.HARD
# The head is right: the application may be called, and never hears of an end.
BAD: Final = Refused((400,), begins=True)
LARGE: Final = Refused((400, 413), begins=True)
HELLO: Final = Told("POST", body=b"hello")
LAST: Final = b"0\r\n\r\n"
INSIDE: Final = b"GET /inside HTTP/1.1\r\nHost: inside.example\r\n\r\n"


def chunked(body: bytes, *lines: bytes) -> bytes:
    """A POST whose chunks are ``body``."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


# --- Chunk sizes ------------------------------------------------------------------------------------------------------

_SIZE: Final = "RFC 9112 §7.1"

for _name, _size in {
    "octal": b"0o5",
    "capital-x": b"0X5",
    "x-alone": b"x5",
    "c-escape": b"\\x05",
    "h-behind": b"5h",
    "long": b"5L",
    "underscore-behind": b"5_",
    "plus": b"+05",
    "two-signs": b"--5",
    "minus-behind": b"5-",
    "colon": b"5:",
    "equals": b"5=5",
    "slash": b"5/",
    "hash": b"5#",
    "quoted": b'"5"',
    "letter": b"G",
    "tab-before": b"\t5",
    "vt-before": b"\x0b5",
    "vt-behind": b"5\x0b",
    "ff-before": b"\x0c5",
    "ff-behind": b"5\x0c",
    "fs-before": b"\x1c5",
    "us-behind": b"5\x1f",
    "nul-before": b"\x005",
    "nul-behind": b"5\x00",
    "nbsp-before": b"\xa05",
    "nbsp-behind": b"5\xa0",
    "nel-before": b"\x855",
    "nel-behind": b"5\x85",
    "arabic": "\u0665".encode(),
    "mathematical-bold": "\U0001d7d3".encode(),
    "fullwidth-letter": "\uff21".encode(),
    "bom": b"\xef\xbb\xbf5",
    "extension-and-no-size": b";a",
    "two-sizes-by-comma": b"5,5",
}.items():
    CHUNK.add(f"size-{_name}", _SIZE, MUST, chunked(_size + b"\r\nhello\r\n" + LAST), BAD)
for _name, _size in {
    "hexadecimal": b"0x0",
    "minus": b"-0",
    "plus": b"+0",
    "underscore": b"0_0",
    "space-before": b" 0",
    "letter-o": b"O",
    "nul": b"0\x00",
    "nbsp": b"0\xa0",
    "none": b"",
}.items():
    CHUNK.add(f"last-size-{_name}", _SIZE, MUST, chunked(b"5\r\nhello\r\n" + _size + b"\r\n\r\n"), BAD)
for _name, _size in {"space": b"0 ", "tab": b"0\t", "spaces": b"0   \t "}.items():
    CHUNK.add(f"last-size-{_name}-behind", ("RFC 9112 §2.2", _SIZE), SHOULD, chunked(b"5\r\nhello\r\n" + _size + b"\r\n\r\n"), BAD)
for _name, _size in {
    "2-to-53-and-5": b"20000000000005",
    "2-to-63-less-1": b"7fffffffffffffff",
    "2-to-64-less-5": b"fffffffffffffffb",
    "2-to-64": b"10000000000000000",
    "2-to-65-and-5": b"20000000000000005",
    "40-digits": b"5" * 40,
}.items():
    # What stands behind is the chunk's data, and never a request.
    CHUNK.add(f"size-{_name}", _SIZE, MUST, chunked(_size + b"\r\nhello\r\n" + LAST + INSIDE), LARGE, Unfinished(), ends=True)
for _name, _size in {"2-to-31": b"80000000", "2-to-32-and-5": b"100000005", "binary-that-is-hexadecimal": b"0b101"}.items():
    CHUNK.add(f"size-{_name}", _SIZE, MUST, chunked(_size + b"\r\nhello\r\n" + LAST + INSIDE), Unfinished(), LARGE, ends=True)
CHUNK.add("size-15-zeros", _SIZE, MUST, chunked(b"0" * 15 + b"5\r\nhello\r\n" + LAST), Served(HELLO))
CHUNK.add("size-either-case", _SIZE, MUST, chunked(b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + LAST), Served(Told("POST", body=b"0123456789" * 2)))
CHUNK.add("size-missing-for-the-second", _SIZE, MUST, chunked(b"5\r\nhello\r\nhello\r\n" + LAST), BAD)
CHUNK.add("empty-line-before", _SIZE, MUST, chunked(b"\r\n5\r\nhello\r\n" + LAST), BAD)
CHUNK.add("empty-line-between", _SIZE, MUST, chunked(b"5\r\nhello\r\n\r\n" + LAST), BAD)
CHUNK.add("length-of-the-body-alone", _SIZE, MUST, chunked(b"hello"), BAD)

# --- What ends a line, and what ends the data -------------------------------------------------------------------------

for _name, _end in {
    "nothing-and-a-size": b"",
    "two-cr": b"\r\r",
    "two-lf": b"\n\n",
    "lf-cr": b"\n\r",
    "two-nul": b"\x00\x00",
    "two-spaces": b"  ",
    "space-lf": b" \n",
    "cr-and-space": b"\r ",
    "byte-and-lf": b"X\n",
    "semicolon": b";\r\n",
    "byte-more": b"!\r\n",
    "nel": b"\x85\r\n",
}.items():
    # CVE-2025-43859: two bytes that nobody looks at.
    CHUNK.add(f"data-ends-with-{_name}", _SIZE, MUST, chunked(b"5\r\nhello" + _end + LAST), BAD)
for _name, _body in {
    "size-ends-with-lf-cr": b"5\n\rhello\r\n" + LAST,
    "size-ends-with-cr-byte": b"5\rXhello\r\n" + LAST,
    "last-size-ends-with-lf": b"5\r\nhello\r\n0\n\n",
    "last-size-ends-with-lf-crlf": b"5\r\nhello\r\n0\n\r\n",
    "lf-everywhere": b"5\nhello\n0\n\n",
}.items():
    CHUNK.add(_name, ("RFC 9112 §2.2", _SIZE), MUST, chunked(_body), BAD)
# A bare CR may be made a space, and then the rest of it is malformed as a space there is.
for _name, _body in {
    "size-ends-with-two-cr": b"5\r\r\nhello\r\n" + LAST,
    "last-size-ends-with-cr": b"5\r\nhello\r\n0\r\r\n",
    "last-size-ends-with-two-cr": b"5\r\nhello\r\n0\r\r\n\r\n",
    "body-ends-with-cr-byte": b"5\r\nhello\r\n0\r\n\rX",
    "body-ends-with-cr-nul": b"5\r\nhello\r\n0\r\n\r\x00",
    "body-ends-with-cr-cr-lf": b"5\r\nhello\r\n0\r\n\r\r\n",
}.items():
    CHUNK.add(_name, ("RFC 9112 §2.2", _SIZE), SHOULD, chunked(_body), BAD)
# RFC 9112 §2.2 lets LF end "the start-line and fields", and the empty line behind them might be one of these.
CHUNK.add("body-ends-with-lf", "RFC 9112 §2.2", MAY, chunked(b"5\r\nhello\r\n0\r\n\n"), BAD, Served(HELLO))
# The size of the first chunk is right for who takes two bytes as its end, and wrong for who reads on to CRLF.
CHUNK.add("spill", _SIZE, MUST, chunked(b"5\r\nhelloXX2d\r\n" + b"a" * 45 + b"\r\n0\r\n\r\n" + INSIDE), BAD)
CHUNK.add(
    "data-looks-like-the-end",
    _SIZE,
    MUST,
    chunked(b"%x\r\n" % (5 + len(INSIDE)) + LAST + INSIDE + b"\r\n" + LAST),
    Served(Told("POST", body=LAST + INSIDE)),
)
CHUNK.add("data-is-line-ends", _SIZE, MUST, chunked(b"4\r\n\r\n\r\n\r\n2\r\n\n\n\r\n" + LAST), Served(Told("POST", body=b"\r\n\r\n\n\n")))
CHUNK.add("of-a-get", _SIZE, MUST, get(b"Transfer-Encoding: chunked", body=b"5\r\nhello\n\n0\r\n\r\n"), BAD)
CHUNK.add("cut-in-its-size", "RFC 9112 §8", MUST, chunked(b"5\r\nhello\r\n0"), Unfinished(), ends=True)
CHUNK.add("cut-before-its-end", "RFC 9112 §8", MUST, chunked(b"5\r\nhello\r"), Unfinished(), ends=True)

# --- Extensions -------------------------------------------------------------------------------------------------------

_EXT: Final = "RFC 9112 §7.1.1"

for _name, _ext in {
    "semicolon-behind": b";a=b;",
    "two-semicolons": b";;a",
    "semicolon-and-space": b"; ;a",
    "two-equals": b";a==b",
    "no-name": b";=b",
    "quoted-name": b';"a"=b',
    "two-words": b";a=b c",
    "word-behind-quotes": b';a="b"c',
    "two-quoted": b';a="b""c"',
    "open-quote": b';a="b',
    "escaped-end": b';a="b\\"',
    "single-quotes": b";a='b;c'd e",
    "list": b";a=b,c=d",
    "no-semicolon": b" a=b",
    "comma": b",a=b",
    "slash-in-name": b";a/b",
    "non-ascii-name": b";\x80=b",
    "non-ascii-value": b";a=\x80",
    "brackets": b";a=[b]",
    "nel": b";a\x85=b",
    "vt": b";\x0ba=b",
    "ff-behind": b";a=b\x0c",
    "bel": b";a=\x07",
    "esc-in-quotes": b';a="\x1b"',
    "del-in-quotes": b';a="\x7f"',
    "escaped-nul": b';a="\\\x00"',
    "escaped-cr": b';a="\\\r"',
    "cr": b";a\rb",
    "cr-first": b"\r;a",
    "nul": b";\x00",
}.items():
    CHUNK.add(f"extension-{_name}", ("RFC 9112 §2.2", _EXT), SHOULD, chunked(b"5" + _ext + b"\r\nhello\r\n" + LAST), BAD)
    if _name in {"two-semicolons", "open-quote", "nul", "cr"}:
        CHUNK.add(f"last-extension-{_name}", ("RFC 9112 §2.2", _EXT), SHOULD, chunked(b"5\r\nhello\r\n0" + _ext + b"\r\n\r\n"), BAD)
# Where one reader ends the line at LF and another at CRLF, they read two bodies (TERM.EXT and EXT.TERM).
for _name, _body in {
    "term-ext": b"5;\nxxxxx\r\n0\r\n\r\n" + INSIDE + LAST,
    "ext-term": b"2;\nxx\r\n2d\r\n0\r\n\r\n" + INSIDE + LAST,
    "term-spill": b"5\r\nhello\n\n2;x\n0\r\n\r\n" + INSIDE,
    "value-lf": b"5;a=b\n\r\nhello\r\n" + LAST,
    "quoted-lf": b'5;a="\n"\r\nhello\r\n' + LAST,
    "quoted-crlf": b'5;a="\r\n"\r\nhello\r\n' + LAST,
    "space-lf": b"5 \nhello\r\n" + LAST,
    "last-lf": b"5\r\nhello\r\n0;a\n\r\n",
    "lf-alone": b"5;\n;\r\nhello\r\n" + LAST,
}.items():
    CHUNK.add(f"extension-{_name}", ("RFC 9112 §2.2", _EXT), MUST, chunked(_body), BAD)
CHUNK.add("extension-quoted-request", ("RFC 9112 §2.2", _EXT), SHOULD, chunked(b'0;a="\r\n\r\n' + INSIDE + b'"\r\n\r\n'), BAD)
for _name, _ext in {
    "framing-names": b";transfer-encoding=identity;content-length=3",
    "size-as-name": b";0=0;ff",
    "obs-text-in-quotes": b';a="\x80\xff"',
    "semicolons-in-quotes": b';a=";;=\\"\\\\;"',
    "tab-in-quotes": b';a="\t "',
    "empty-quotes": b';a=""',
    "all-token-characters": b";!#$%&'*+-.^_`|~09azAZ=1",
    "a-thousand-bytes": b";a=" + b"b" * 1000,
    "white-space": b" \t; \ta \t= \tb",
}.items():
    CHUNK.add(f"extension-{_name}", _EXT, MUST, chunked(b"5" + _ext + b"\r\nhello\r\n0" + _ext + b"\r\n\r\n"), Served(HELLO))
CHUNK.add("extension-line-5000", _EXT, SHOULD, chunked(b"5;" + b"a" * 5000 + b"\r\nhello\r\n" + LAST), Refused((400, 413, 431), begins=True))
CHUNK.add("extension-total", _EXT, SHOULD, chunked(b"1;aaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 1000 + LAST), Refused((400, 413, 431), begins=True))
CHUNK.add("extension-last-5000", _EXT, SHOULD, chunked(b"5\r\nhello\r\n0;" + b"a" * 5000 + b"\r\n\r\n"), Refused((400, 413, 431), begins=True))

# --- Trailers ---------------------------------------------------------------------------------------------------------

_TRAILER: Final = ("RFC 9112 §7.1.2", "RFC 9110 §6.5.1")
_BEFORE: Final = b"5\r\nhello\r\n0\r\n"

# What a trailer says about framing, routing or who is asking: none of it becomes a header, none of it ends or turns the connection.
for _name, _lines in {
    "authorization": b"Authorization: Basic eDp4\r\n",
    "cookie": b"Cookie: session=1\r\n",
    "content-type": b"Content-Type: text/evil\r\n",
    "content-encoding": b"Content-Encoding: gzip\r\n",
    "x-forwarded-for": b"X-Forwarded-For: 10.0.0.1\r\n",
    "x-forwarded-host": b"X-Forwarded-Host: evil.example\r\n",
    "forwarded": b"Forwarded: for=10.0.0.1;host=evil.example\r\n",
    "two-hosts": b"Host: evil.example\r\nHost: b.example\r\n",
    "host-malformed": b"Host: a b\r\n",
    "content-length-malformed": b"Content-Length: -1\r\n",
    "content-length-twice": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "transfer-encoding-twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "connection-close": b"Connection: close\r\n",
    "upgrade": b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    "websocket-key": b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "expect": b"Expect: 200-ok\r\n",
    "trailer": b"Trailer: Host\r\n",
    "range": b"Range: bytes=0-0\r\n",
    "set-cookie": b"Set-Cookie: a=b\r\n",
}.items():
    _fields = {line.partition(b":")[0].lower() for line in _lines.split(b"\r\n") if line}
    _own: dict[bytes, tuple[bytes, ...]] = {b"host": (b"a.example",), b"transfer-encoding": (b"chunked",)}
    _told = Told("POST", body=b"hello", fields={name: _own.get(name, ()) for name in _fields | _own.keys()})
    TRAILER.add(_name, _TRAILER, MUST, chunked(_BEFORE + _lines + b"\r\n"), Served(_told))
TRAILER.add(
    "announced",
    _TRAILER,
    MUST,
    chunked(_BEFORE + b"Authorization: Basic eDp4\r\n\r\n", b"Trailer: Authorization"),
    Served(Told("POST", body=b"hello", fields={b"authorization": (), b"trailer": (b"Authorization",)})),
)
TRAILER.add(
    "beside-the-header",
    _TRAILER,
    MUST,
    chunked(_BEFORE + b"X-User: evil\r\n\r\n", b"X-User: good"),
    Served(Told("POST", body=b"hello", fields={b"x-user": (b"good",)})),
)
TRAILER.add("behind-nothing", _TRAILER, MUST, chunked(b"0\r\nX-A: b\r\n\r\n"), Served(Told("POST", fields={b"x-a": ()})))

for _name, _lines in {
    "no-colon": b"X-A\r\n",
    "space-in-name": b"X A: b\r\n",
    "tab-before-colon": b"X-A\t: b\r\n",
    "slash-in-name": b"X/A: b\r\n",
    "non-ascii-name": b"X\xe9: b\r\n",
    "nul-in-name": b"X\x00A: b\r\n",
    "colon-alone": b":\r\n",
    "bel": b"X-A: \x07\r\n",
    "vt": b"X-A: a\x0bb\r\n",
    "del": b"X-A: \x7f\r\n",
    "second-one": b"X-A: b\r\nX-B\r\n",
    "a-chunk": b"5\r\nhello\r\n",
    "size-again": b"0\r\n",
}.items():
    TRAILER.add(f"malformed-{_name}", ("RFC 9112 §2.2", "RFC 9112 §7.1.2"), SHOULD, chunked(_BEFORE + _lines + b"\r\n"), BAD)
for _name, _lines in {"nul": b"X-A: a\x00b\r\n", "nul-alone": b"X-A: \x00\r\n"}.items():
    TRAILER.add(f"malformed-{_name}", "RFC 9110 §5.5", MUST, chunked(_BEFORE + _lines + b"\r\n"), BAD, Served(HELLO))
for _name, _lines in {"fold": b"X-A: a\r\n b\r\n", "fold-by-tab": b"X-A: a\r\n\tb\r\n", "fold-of-nothing": b"X-A: a\r\n \r\n"}.items():
    TRAILER.add(_name, "RFC 9112 §5.2", MUST, chunked(_BEFORE + _lines + b"\r\n"), BAD, Served(HELLO))
TRAILER.add("space-first", ("RFC 9112 §2.2", "RFC 9112 §7.1.2"), SHOULD, chunked(_BEFORE + b" X-A: a\r\n\r\n"), BAD)
for _name, _lines in {"cr-inside": b"X-A: a\rb\r\n", "cr-then-field": b"X-A: a\rHost: evil.example\r\n", "cr-behind": b"X-A: a\r\r\n"}.items():
    TRAILER.add(_name, "RFC 9112 §2.2", MUST, chunked(_BEFORE + _lines + b"\r\n"), BAD, Served(HELLO))
for _name, _rest in {"lf-for-crlf": b"X-A: a\nX-B: b\r\n\r\n", "lf-ends": b"X-A: a\r\n\n", "lf-both": b"X-A: a\n\n"}.items():
    TRAILER.add(_name, "RFC 9112 §2.2", MAY, chunked(_BEFORE + _rest), BAD, Served(HELLO))
TRAILER.add("cr-lf-cr", "RFC 9112 §2.2", MUST, chunked(_BEFORE + b"X-A: a\r\n\rX-B: b\r\n\r\n"), BAD, Served(HELLO))
TRAILER.add("a-request", "RFC 9112 §7.1.2", MUST, chunked(_BEFORE + INSIDE), BAD)
TRAILER.add("a-field-and-a-request", "RFC 9112 §7.1.2", MUST, chunked(_BEFORE + b"X-A: b\r\n" + INSIDE), BAD)
TRAILER.add("101", "RFC 9110 §5.4", HARD, chunked(_BEFORE + b"X-A: b\r\n" * 101 + b"\r\n"), Refused((431, 400, 413), begins=True))
TRAILER.add("70000-bytes", "RFC 9110 §5.4", HARD, chunked(_BEFORE + b"X-A: " + b"b" * 70_000 + b"\r\n\r\n"), Refused((431, 400, 413), begins=True))
TRAILER.add("name-70000-bytes", "RFC 9110 §5.4", HARD, chunked(_BEFORE + b"X" * 70_000 + b": b\r\n\r\n"), Refused((431, 400, 413), begins=True))
TRAILER.add("cut", "RFC 9112 §8", SHOULD, chunked(_BEFORE + b"X-A: b\r\n"), Unfinished(), ends=True)
