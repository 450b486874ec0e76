"""Entries: Content-Length, Transfer-Encoding, and both (RFC 9112 §6, RFC 9110 §8.6)."""

from __future__ import annotations

from typing import Final

from tests.hostile.entry import Level, Refused, Served, Table, Told, Unfinished, get, post

__all__ = ["BOTH", "CONTENT_LENGTH", "TRANSFER_ENCODING"]

CONTENT_LENGTH: Final = Table("content-length")
TRANSFER_ENCODING: Final = Table("transfer-encoding")
BOTH: Final = Table("both")

MUST, SHOULD, MAY, HARD = Level.MUST, Level.SHOULD, Level.MAY, Level.HARD
BAD: Final = Refused((400,))
HELLO: Final = Told("POST", body=b"hello")
EMPTY: Final = Told("POST")
BODY: Final = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked"
LENGTH: Final = b"Content-Length: 5"
INSIDE: Final = b"GET /inside HTTP/1.1\r\nHost: inside.example\r\n\r\n"
# A server that refuses may know the coding by name and not do it, or not know it at all.
NO_CODING: Final = Refused((400, 501))

# --- Content-Length ---------------------------------------------------------------------------------------------------

_INVALID: Final = "RFC 9112 §6.3 (5)"

# What some library's integer takes, or some library's strip() takes away.
for _name, _value in {
    "binary": b"0b101",
    "octal-c": b"0o5",
    "hexadecimal-zero": b"0x0",
    "capital-x": b"0X5",
    "underscore-inside": b"0_5",
    "underscore-behind": b"5_",
    "underscore-before": b"_5",
    "plus-zero": b"+0",
    "two-signs": b"--5",
    "sign-behind": b"5-",
    "sign-and-space": b"+ 5",
    "grouped": b"1,000",
    "exponent": b"1e1",
    "fraction-behind-zero": b"0.5",
    "long": b"5L",
    "infinity": b"inf",
    "not-a-number": b"nan",
    "percent-encoded": b"%35",
    "currency": b"$5",
    "single-quotes": b"'5'",
    "brackets": b"[5]",
    "comment": b"5 (five)",
    "semicolon-behind": b"5;",
    "equals": b"=5",
    "tab-between": b"5\t5",
    "list-zero-first": b"0, 5",
    "list-of-three-one-differs": b"5, 5, 6",
    "list-not-separated-by-space": b"5,6",
    "devanagari": "\u096b".encode(),
    "mathematical-bold": "\U0001d7d3".encode(),
    "roman-numeral": "\u2164".encode(),
    "circled": "\u2464".encode(),
    "fullwidth-behind-ascii": "5\uff10".encode(),
    "zero-width-space": "\u200b5".encode(),
    "no-break-space": "\u00a05".encode(),
    "nbsp-octet-before": b"\xa05",
    "nbsp-octet-behind": b"5\xa0",
    "nel-before": b"\x855",
    "nel-behind": b"5\x85",
    "superscript-octet": b"\xb5\xb2",
}.items():
    CONTENT_LENGTH.add(_name, _INVALID, MUST, post(b"Content-Length: " + _value, body=b"hello"), BAD)

# Python's str.strip() and int() take these for white space; none is OWS.
for _octet in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x1F):
    CONTENT_LENGTH.add(f"control-before-{_octet:02x}", _INVALID, MUST, post(b"Content-Length: %c5" % _octet, body=b"hello"), BAD)
    CONTENT_LENGTH.add(f"control-behind-{_octet:02x}", _INVALID, MUST, post(b"Content-Length: 5%c" % _octet, body=b"hello"), BAD)
# Made a space, NUL would stand where OWS may.
for _name, _value in {"nul-before": b"\x005", "nul-behind": b"5\x00"}.items():
    CONTENT_LENGTH.add(_name, "RFC 9110 §5.5", MUST, post(b"Content-Length: " + _value, body=b"hello"), BAD, Served(HELLO))
CONTENT_LENGTH.add("nul-inside", ("RFC 9110 §5.5", _INVALID), MUST, post(b"Content-Length: 5\x000", body=b"hello"), BAD)
CONTENT_LENGTH.add("cr-inside", ("RFC 9112 §2.2", _INVALID), MUST, post(b"Content-Length: 5\r0", body=b"hello"), BAD)
CONTENT_LENGTH.add("cr-then-field", ("RFC 9112 §2.2", _INVALID), MUST, post(b"Content-Length: 5\rX: y", body=b"hello"), BAD)
CONTENT_LENGTH.add("cr-behind", "RFC 9112 §2.2", MUST, post(b"Content-Length: 5\r", body=b"hello"), BAD, Served(HELLO))
CONTENT_LENGTH.add("lf-for-crlf", "RFC 9112 §2.2", MAY, post(b"Content-Length: 5\nX: y", body=b"hello"), BAD, Served(HELLO))

for _name, _lines in {
    "two-in-other-case": (b"Content-Length: 5", b"CONTENT-LENGTH: 6"),
    "two-zero-last": (b"Content-Length: 5", b"content-length: 0"),
    "two-one-empty": (b"Content-Length: 5", b"Content-Length:"),
    "two-empty-first": (b"Content-Length:", b"Content-Length: 5"),
    "two-one-no-number": (b"Content-Length: 5", b"Content-Length: x"),
    "three-one-differs": (b"Content-Length: 5", b"Content-Length: 5", b"Content-Length: 6"),
    "two-far-apart": (b"Content-Length: 5", *(b"X-%d: y" % n for n in range(40)), b"Content-Length: 44"),
    "line-and-list": (b"Content-Length: 5, 5", b"Content-Length: 6"),
}.items():
    CONTENT_LENGTH.add(_name, _INVALID, MUST, post(*_lines, body=b"hello"), BAD)
for _name, _lines in {
    "two-equal-in-other-case": (b"Content-Length: 5", b"content-length: 5"),
    "three-equal": (b"Content-Length: 5",) * 3,
    "two-equal-but-for-zeros": (b"Content-Length: 5", b"Content-Length: 05"),
    "list-of-equal-but-for-zeros": (b"Content-Length: 005, 5",),
}.items():
    CONTENT_LENGTH.add(_name, _INVALID, MAY, post(*_lines, body=b"hello"), BAD, Served(HELLO))
CONTENT_LENGTH.add("two-in-1.0", _INVALID, MUST, b"POST / HTTP/1.0\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", BAD)
CONTENT_LENGTH.add("bad-of-get", _INVALID, MUST, get(b"Content-Length: -1"), BAD)
CONTENT_LENGTH.add("bad-of-head", _INVALID, MUST, get(b"Content-Length: abc", line=b"HEAD / HTTP/1.1"), BAD, methods=("HEAD",))
CONTENT_LENGTH.add("bad-in-1.0", _INVALID, MUST, b"POST / HTTP/1.0\r\nContent-Length: +5\r\n\r\nhello", BAD)

CONTENT_LENGTH.add("space-before-colon", "RFC 9112 §5.1", MUST, post(b"Content-Length : 5", body=b"hello"), BAD)
CONTENT_LENGTH.add("tab-before-colon", "RFC 9112 §5.1", MUST, post(b"Content-Length\t: 5", body=b"hello"), BAD)
for _name, _field in {
    "vt": b"Content-Length\x0b",
    "nul": b"Content-Length\x00",
    "nul-first": b"\x00Content-Length",
    "nbsp": b"Content-Length\xa0",
    "space-for-hyphen": b"Content Length",
    "quoted": b'"Content-Length"',
    "unicode-hyphen": "Content\u2010Length".encode(),
    "kelvin-sign": "Content-Length\u212a".encode(),
    "colon-first": b":Content-Length",
}.items():
    CONTENT_LENGTH.add(f"name-{_name}", ("RFC 9112 §2.2", "RFC 9110 §5.1"), SHOULD, post(_field + b": 5", body=b"hello"), BAD)
# Other fields, whatever they look like: no body, and nothing of one is taken.
for _field in (b"Content_Length", b"ContentLength", b"X-Content-Length", b"Content-Lengthx", b"Content-Length-", b"Content.Length"):
    CONTENT_LENGTH.add(f"name-of-another-{_field.decode()}", "RFC 9112 §6.3 (7)", MUST, post(_field + b": 5"), Served(EMPTY))

_FOLD: Final = "RFC 9112 §5.2"
CONTENT_LENGTH.add("fold-before", _FOLD, MUST, post(b"Content-Length:\r\n 5", body=b"hello"), BAD, Served(HELLO))
CONTENT_LENGTH.add("fold-behind", _FOLD, MUST, post(b"Content-Length: 5\r\n\t", body=b"hello"), BAD, Served(HELLO))
CONTENT_LENGTH.add("fold-more-digits", (_FOLD, _INVALID), MUST, post(b"Content-Length: 5\r\n 0", body=b"hello"), BAD)
CONTENT_LENGTH.add("fold-into-another", _FOLD, MUST, post(b"X: y\r\n Content-Length: 5"), BAD, Served(EMPTY))

# A length in a method that mostly has none (CL.0): the body is a request, and stays a body.
for _method in ("GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "PROPFIND"):
    _raw = get(b"Content-Length: %d" % len(INSIDE), line=_method.encode() + b" / HTTP/1.1", body=INSIDE)
    CONTENT_LENGTH.add(f"request-in-the-body-of-{_method}", ("RFC 9112 §6", "RFC 9112 §6.3 (6)"), MUST, _raw, Served(Told(_method, body=INSIDE)))
CONTENT_LENGTH.add("zero-and-a-request", "RFC 9112 §6.3 (6)", MUST, post(b"Content-Length: 0", body=get()), Served(EMPTY, Told()))
CONTENT_LENGTH.add("many-zeros", "RFC 9110 §8.6", MUST, post(b"Content-Length: " + b"0" * 60 + b"5", body=b"hello"), Served(HELLO))
CONTENT_LENGTH.add("hop-by-hop", "RFC 9112 §6.3 (6)", MUST, post(LENGTH, b"Connection: Content-Length", body=b"hello"), Served(HELLO))
CONTENT_LENGTH.add("body-and-controls", "RFC 9112 §2.2", SHOULD, post(b"Content-Length: 5", body=b"hello\x00\x01 "), Refused((400,), (HELLO,)))
for _name, _number in {"2-to-63-less-1": 2**63 - 1, "2-to-63": 2**63, "2-to-64-less-1": 2**64 - 1, "2-to-64": 2**64, "10-to-400": 10**400}.items():
    _raw = post(b"Content-Length: %d" % _number, body=b"hello" + INSIDE)
    CONTENT_LENGTH.add(_name, "RFC 9110 §8.6", MUST, _raw, Refused((400, 413)), Unfinished(), ends=True)
CONTENT_LENGTH.add("one-byte-short", "RFC 9112 §6.3 (6)", MUST, post(LENGTH, body=b"hell"), Unfinished(), ends=True)

# --- Transfer-Encoding ------------------------------------------------------------------------------------------------

_NOT_FINAL: Final = "RFC 9112 §6.3 (4)"

for _name, _value in {
    "suffix": b"chunkedx",
    "prefix": b"xchunked",
    "version": b"chunked/1.1",
    "hyphen": b"chunked-1",
    "doubled": b"chunkedchunked",
    "two-words": b"chunked chunked",
    "two-words-by-tab": b"chunked\tchunked",
    "split-word": b"chun ked",
    "single-quotes": b"'chunked'",
    "double-quotes": b'"chunked"',
    "brackets": b"[chunked]",
    "comment": b"chunked (yes)",
    "value": b"chunked=1",
    "equals": b"=chunked",
    "percent-encoded": b"%63hunked",
    "escaped": b"\\chunked",
    "none": b"none",
    "zero": b"0",
    "then-deflate": b"chunked, deflate",
    "then-nonsense": b"chunked, x",
    "then-itself-misspelt": b"chunked, chunkedx",
    "gzip-then-identity": b"gzip, identity",
    "identity-in-capitals": b"IDENTITY",
    "kelvin-sign": "chun\u212aed".encode(),
    "umlaut": "ch\u00fcnked".encode(),
    "cyrillic": "\u0441hunked".encode(),
    "fullwidth": "\uff43hunked".encode(),
    "zero-width-space": "\u200bchunked".encode(),
    "bom": b"\xef\xbb\xbfchunked",
    "nbsp-before": b"\xa0chunked",
    "nbsp-behind": b"chunked\xa0",
    "nel-before": b"\x85chunked",
    "nel-behind": b"chunked\x85",
}.items():
    TRANSFER_ENCODING.add(_name, _NOT_FINAL, MUST, post(b"Transfer-Encoding: " + _value, body=BODY), NO_CODING)
for _octet in (0x01, 0x1C, 0x1D, 0x1E, 0x1F, 0x7F):
    for _place, _value in {"before": b"%cchunked" % _octet, "behind": b"chunked%c" % _octet}.items():
        TRANSFER_ENCODING.add(f"control-{_place}-{_octet:02x}", _NOT_FINAL, MUST, post(b"Transfer-Encoding: " + _value, body=BODY), NO_CODING)
for _name, _lines in {
    "two-other-case-identity": (CHUNKED, b"transfer-encoding: identity"),
    "two-other-case-nonsense": (CHUNKED, b"TRANSFER-ENCODING: x"),
    "two-last-misspelt": (CHUNKED, b"Transfer-Encoding: chunke"),
    "two-last-empty-word": (CHUNKED, b"Transfer-Encoding: \x0b"),
    "two-far-apart": (CHUNKED, *(b"X-%d: y" % n for n in range(40)), b"Transfer-Encoding: cow"),
}.items():
    TRANSFER_ENCODING.add(_name, _NOT_FINAL, MUST, post(*_lines, body=BODY), NO_CODING)
for _name, _value in {
    "nonsense-first": b"x, chunked",
    "deflate-first": b"deflate, chunked",
    "brotli-first": b"br, chunked",
    "identity-first": b"identity, chunked",
    "trailers-first": b"trailers, chunked",
    "three": b"gzip, deflate, chunked",
    "misspelt-first": b"chunke, chunked",
    "no-break-space-first": b"\xa0, chunked",
}.items():
    TRANSFER_ENCODING.add(_name, "RFC 9112 §6.1", SHOULD, post(b"Transfer-Encoding: " + _value, body=BODY), Refused((501, 400)))
TRANSFER_ENCODING.add("nonsense-first-on-a-line", "RFC 9112 §6.1", SHOULD, post(b"Transfer-Encoding: x", CHUNKED, body=BODY), Refused((501, 400)))
TRANSFER_ENCODING.add("semicolon-behind", "RFC 9112 §7.1", SHOULD, post(b"Transfer-Encoding: chunked;", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("quality", "RFC 9112 §7.1", SHOULD, post(b"Transfer-Encoding: chunked;q=1.0", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("three-times", "RFC 9112 §6.1", SHOULD, post(b"Transfer-Encoding: chunked, chunked, chunked", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("two-other-case", "RFC 9112 §6.1", SHOULD, post(CHUNKED, b"transfer-encoding: CHUNKED", body=BODY), NO_CODING)
for _name, _lines in {
    "commas-around": (b"Transfer-Encoding: ,chunked,",),
    "commas-before": (b"Transfer-Encoding: , ,, chunked",),
    "empty-line-before": (b"Transfer-Encoding:", CHUNKED),
    "empty-line-behind": (CHUNKED, b"Transfer-Encoding:"),
}.items():
    # A list may have empty elements (RFC 9110 §5.6.1.2); this one is how messages were smuggled, and nobody sends it.
    TRANSFER_ENCODING.add(_name, "RFC 9110 §5.6.1.2", MAY, post(*_lines, body=BODY), NO_CODING, Served(HELLO))
TRANSFER_ENCODING.add("nothing", _NOT_FINAL, MUST, post(b"Transfer-Encoding:", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("spaces", _NOT_FINAL, MUST, post(b"Transfer-Encoding:  \t ", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("commas-alone", _NOT_FINAL, MUST, post(b"Transfer-Encoding: ,,", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("bad-of-get", _NOT_FINAL, MUST, get(b"Transfer-Encoding: identity"), NO_CODING)

TRANSFER_ENCODING.add("space-before-colon", "RFC 9112 §5.1", MUST, post(b"Transfer-Encoding : chunked", body=BODY), BAD)
for _name, _field in {
    "vt": b"Transfer-Encoding\x0b",
    "ff": b"Transfer-Encoding\x0c",
    "nul": b"Transfer-Encoding\x00",
    "nul-first": b"\x00Transfer-Encoding",
    "nbsp": b"Transfer-Encoding\xa0",
    "space-for-hyphen": b"Transfer Encoding",
    "unicode-hyphen": "Transfer\u2010Encoding".encode(),
    "soft-hyphen": b"Transfer\xadEncoding",
    "quoted": b'"Transfer-Encoding"',
    "brackets": b"[Transfer-Encoding]",
    "dotted-i": "Transfer-Encod\u0131ng".encode(),
    "colon-first": b":Transfer-Encoding",
}.items():
    TRANSFER_ENCODING.add(f"name-{_name}", ("RFC 9112 §2.2", "RFC 9110 §5.1"), SHOULD, post(_field + b": chunked", body=BODY), BAD)
for _field in (b"Transfer_Encoding", b"TransferEncoding", b"X-Transfer-Encoding", b"Transfer-Encodingx", b"Transfer-Encoding-", b"TE", b"Trailer"):
    TRANSFER_ENCODING.add(f"name-of-another-{_field.decode()}", "RFC 9112 §6.3 (7)", MUST, post(_field + b": chunked"), Served(EMPTY))

TRANSFER_ENCODING.add("fold-before", _FOLD, MUST, post(b"Transfer-Encoding:\r\n\tchunked", body=BODY), BAD, Served(HELLO))
TRANSFER_ENCODING.add("fold-inside", (_FOLD, _NOT_FINAL), MUST, post(b"Transfer-Encoding: chun\r\n ked", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("fold-behind", (_FOLD, _NOT_FINAL), MUST, post(b"Transfer-Encoding: chunked\r\n , identity", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("fold-of-two-lines", _FOLD, MUST, post(b"Transfer-Encoding:\r\n \r\n chunked", body=BODY), BAD, Served(HELLO))
TRANSFER_ENCODING.add("fold-into-another", _FOLD, MUST, post(b"X: y\r\n Transfer-Encoding: chunked"), BAD, Served(EMPTY))
TRANSFER_ENCODING.add("cr-inside", ("RFC 9112 §2.2", _NOT_FINAL), MUST, post(b"Transfer-Encoding: chun\rked", body=BODY), NO_CODING)
TRANSFER_ENCODING.add("cr-for-crlf", "RFC 9112 §2.2", MUST, post(b"X: y\rTransfer-Encoding: chunked"), BAD, Served(EMPTY))
TRANSFER_ENCODING.add("lf-for-crlf", "RFC 9112 §2.2", MAY, post(b"X: y\nTransfer-Encoding: chunked", body=BODY), BAD, Served(HELLO))
TRANSFER_ENCODING.add("cr-lf-cr", "RFC 9112 §2.2", MUST, post(b"X: y\r\n\rTransfer-Encoding: chunked", body=BODY), BAD, Refused((400,), (EMPTY,)))

# RFC 9112 §6.1 has such a message end its connection; what it means, it leaves open.
for _name, _lines in {"1.0": (), "1.0-keep-alive": (b"Connection: keep-alive",)}.items():
    _raw = post(*_lines, CHUNKED, body=BODY, line=b"POST / HTTP/1.0")
    TRANSFER_ENCODING.add(_name, "RFC 9112 §6.1", MUST, _raw, NO_CODING, Served(HELLO, closes=True), Served(EMPTY, closes=True))
TRANSFER_ENCODING.add("1.2", "RFC 9110 §6.2", SHOULD, post(CHUNKED, body=BODY, line=b"POST / HTTP/1.2"), Served(HELLO))
for _method in ("GET", "HEAD", "DELETE", "OPTIONS"):
    _raw = get(CHUNKED, line=_method.encode() + b" / HTTP/1.1", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(INSIDE), INSIDE))
    TRANSFER_ENCODING.add(f"request-in-the-body-of-{_method}", ("RFC 9112 §6", "RFC 9112 §7.1"), MUST, _raw, Served(Told(_method, body=INSIDE)))
TRANSFER_ENCODING.add("hop-by-hop", "RFC 9112 §7.1", MUST, post(CHUNKED, b"Connection: Transfer-Encoding", body=BODY), Served(HELLO))
TRANSFER_ENCODING.add("empty-body", "RFC 9112 §7.1", MUST, post(CHUNKED, body=b"0\r\n\r\n"), Served(EMPTY))

# --- Both -------------------------------------------------------------------------------------------------------------

_BOTH: Final = ("RFC 9112 §6.1", "RFC 9112 §6.3 (3)", "RFC 9112 §11.2")
_CHUNKED_WINS: Final = Served(HELLO, closes=True)

for _name, _lines in {
    "length-first": (LENGTH, CHUNKED),
    "length-last": (CHUNKED, LENGTH),
    "length-of-the-chunks": (b"Content-Length: %d" % len(BODY), CHUNKED),
    "length-zero": (b"Content-Length: 0", CHUNKED),
    "length-beyond": (b"Content-Length: 9000", CHUNKED),
    "length-one": (CHUNKED, b"Content-Length: 1"),
    "other-case": (b"content-length: 5", b"TRANSFER-ENCODING: Chunked"),
    "white-space": (b"Content-Length:5 \t", b"Transfer-Encoding:\t chunked \t"),
    "far-apart": (LENGTH, *(b"X-%d: y" % n for n in range(60)), CHUNKED),
    "length-hop-by-hop": (LENGTH, CHUNKED, b"Connection: Content-Length"),
    "coding-hop-by-hop": (LENGTH, CHUNKED, b"Connection: Transfer-Encoding"),
    "keep-alive": (LENGTH, CHUNKED, b"Connection: keep-alive"),
    "two-lengths": (LENGTH, LENGTH, CHUNKED),
    "length-no-number": (b"Content-Length: x", CHUNKED),
    "length-empty": (b"Content-Length:", CHUNKED),
    "length-negative": (CHUNKED, b"Content-Length: -5"),
    "lengths-differ": (LENGTH, CHUNKED, b"Content-Length: 6"),
}.items():
    BOTH.add(_name, _BOTH, MUST, post(*_lines, body=BODY), BAD, _CHUNKED_WINS)
BOTH.add("get", _BOTH, MUST, get(LENGTH, CHUNKED, body=BODY), BAD, Served(Told(body=b"hello"), closes=True))
BOTH.add("cl-te", _BOTH, MUST, post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG"), BAD, Served(EMPTY, closes=True))
BOTH.add(
    "cl-te-request",
    _BOTH,
    MUST,
    post(b"Content-Length: %d" % (5 + len(INSIDE)), CHUNKED, body=b"0\r\n\r\n" + INSIDE),
    BAD,
    Served(EMPTY, closes=True),
)
BOTH.add(
    "te-cl-request",
    _BOTH,
    MUST,
    post(CHUNKED, b"Content-Length: 4", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(INSIDE), INSIDE)),
    BAD,
    Served(Told("POST", body=INSIDE), closes=True),
)
BOTH.add(
    "1.0",
    _BOTH,
    MUST,
    post(LENGTH, CHUNKED, body=BODY, line=b"POST / HTTP/1.0"),
    NO_CODING,
    _CHUNKED_WINS,
    Served(Told("POST", body=BODY[:5]), closes=True),
)

# Where the coding is none, or not the last one, the length does not come into its own again.
for _name, _value in {
    "identity": b"identity",
    "empty": b"",
    "gzip": b"gzip",
    "not-last": b"chunked, identity",
    "misspelt": b"chunke",
    "suffix": b"chunkedx",
    "vt": b"\x0bchunked",
    "nel": b"\x85chunked",
    "quoted": b'"chunked"',
    "two-words": b"x chunked",
}.items():
    BOTH.add(f"coding-{_name}", _NOT_FINAL, MUST, post(LENGTH, b"Transfer-Encoding: " + _value, body=BODY), NO_CODING)
for _name, _second in {"identity": b"identity", "nonsense": b"cow", "empty-and-more": b", x"}.items():
    BOTH.add(f"te-te-{_name}", _NOT_FINAL, MUST, post(b"Content-Length: 4", CHUNKED, b"Transfer-encoding: " + _second, body=BODY), NO_CODING)
BOTH.add("te-te-first", _BOTH, MUST, post(b"Content-Length: 4", b"Transfer-Encoding: cow", CHUNKED, body=BODY), NO_CODING, _CHUNKED_WINS)
BOTH.add("coding-parameter", _BOTH, MUST, post(LENGTH, b"Transfer-Encoding: chunked;x", body=BODY), NO_CODING, _CHUNKED_WINS)
BOTH.add("space-before-colon-of-coding", "RFC 9112 §5.1", MUST, post(LENGTH, b"Transfer-Encoding : chunked", body=BODY), BAD)
BOTH.add("space-before-colon-of-length", "RFC 9112 §5.1", MUST, post(b"Content-Length : 5", CHUNKED, body=BODY), BAD)
BOTH.add("coding-folded", _FOLD, MUST, post(LENGTH, b"Transfer-Encoding:\r\n chunked", body=BODY), BAD, _CHUNKED_WINS)
BOTH.add("length-folded", _FOLD, MUST, post(CHUNKED, b"Content-Length:\r\n 5", body=BODY), BAD, _CHUNKED_WINS)
BOTH.add("coding-in-a-fold", _FOLD, MUST, post(LENGTH, b"X: y\r\n Transfer-Encoding: chunked", body=b"hello"), BAD, Served(HELLO))
BOTH.add("length-in-a-fold", _FOLD, MUST, post(CHUNKED, b"X: y\r\n Content-Length: 5", body=BODY), BAD, Served(HELLO))
BOTH.add("coding-behind-cr", "RFC 9112 §2.2", MUST, post(LENGTH, b"X: y\rTransfer-Encoding: chunked", body=b"hello"), BAD, Served(HELLO))
BOTH.add("coding-behind-lf", "RFC 9112 §2.2", MAY, post(LENGTH, b"X: y\nTransfer-Encoding: chunked", body=BODY), BAD, _CHUNKED_WINS)
# What only looks like the other field is nothing.
for _field in (b"Transfer_Encoding", b"X-Transfer-Encoding", b"TransferEncoding", b"Transfer-Encoding."):
    BOTH.add(f"length-and-{_field.decode()}", "RFC 9112 §6.3 (6)", MUST, post(LENGTH, _field + b": chunked", body=b"hello"), Served(HELLO))
for _field in (b"Content_Length", b"X-Content-Length", b"ContentLength"):
    BOTH.add(f"coding-and-{_field.decode()}", "RFC 9112 §7.1", MUST, post(CHUNKED, _field + b": 3", body=BODY), Served(HELLO))
BOTH.add("length-behind-the-head", "RFC 9112 §7.1", MUST, post(CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"), Served(HELLO))
