"""Entries: field syntax, Host, the request line and its target (RFC 9112 §2 to §5, RFC 9110 §4, §5 and §7.2, RFC 3986 §3)."""

from __future__ import annotations

from typing import Final

from tests.hostile.entry import Level, Refused, Served, Table, Told, get

__all__ = ["FIELD", "HOST", "LINE"]

FIELD: Final = Table("field")
HOST: Final = Table("host")
LINE: Final = Table("line")

MUST, SHOULD, MAY, HARD = Level.MUST, Level.SHOULD, Level.MAY, Level.HARD
BAD: Final = Refused((400,))
INSIDE: Final = b"GET /inside HTTP/1.1\r\nHost: inside.example\r\n\r\n"

# --- Fields -----------------------------------------------------------------------------------------------------------

_NAME: Final = ("RFC 9112 §2.2", "RFC 9110 §5.1")

for _name, _line in {
    "vt-first": b"\x0bX-A: v",
    "vt-before-colon": b"X-A\x0b: v",
    "cr-before-colon": b"X-A\r: v",
    "nel-before-colon": b"X-A\x85: v",
    "nbsp-before-colon": b"X-A\xa0: v",
    "nbsp-first": b"\xa0X-A: v",
    "bom-first": b"\xef\xbb\xbfX-A: v",
    "us-first": b"\x1fX-A: v",
    "utf-8": "X-\u00c4: v".encode(),
    "kelvin-sign": "\u212aey: v".encode(),
    "quoted": b'"X-A": v',
    "escaped": b"X\\-A: v",
    "semicolon-for-colon": b"X-A; v",
    "equals-for-colon": b"X-A= v",
    "fullwidth-colon": "X-A\uff1a v".encode(),
    "http-line": b"GET / HTTP/1.1",
    "word-alone": b"x",
    "nul-alone": b"\x00",
    "nul-first": b"\x00X-A: v",
    "two-colons-first": b"::",
    "curly": b"{X-A}: v",
}.items():
    FIELD.add(f"name-{_name}", _NAME, SHOULD, get(_line), BAD)
for _name, _line in {"two-spaces": b"X-A  : v", "space-and-tab": b"X-A \t: v", "of-host": b"X-A: v\r\nHost : a.example"}.items():
    FIELD.add(f"space-before-colon-{_name}", "RFC 9112 §5.1", MUST, get(_line), BAD)
# CVE-2026-44546: what str.splitlines() takes for the end of a line ends none.
for _octet in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E):
    FIELD.add(f"value-split-by-{_octet:02x}", ("RFC 9112 §2.2", "RFC 9110 §5.5"), SHOULD, get(b"X-A: v%cX-B: w" % _octet), BAD)
for _name, _separator in {"nel": b"\x85", "line-separator": "\u2028".encode(), "paragraph-separator": "\u2029".encode()}.items():
    _told = Told(fields={b"x-a": (b"v%sX-B: w" % _separator,), b"x-b": ()})
    FIELD.add(f"value-with-{_name}", "RFC 9110 §5.5", SHOULD, get(b"X-A: v%sX-B: w" % _separator), Served(_told))
for _name, _value in {"alone": b"\x00", "first": b"\x00v", "behind": b"v\x00", "before-a-field": b"v\x00X-B: w"}.items():
    FIELD.add(f"value-nul-{_name}", "RFC 9110 §5.5", MUST, get(b"X-A: " + _value), BAD, Served(Told()))
_told = Told(fields={b"x-b": (), b"host": (b"a.example",)})
for _name, _value in {
    "first": b"\rv",
    "behind": b"v\r",
    "twice": b"v\r\rw",
    "alone": b"\r",
    "before-a-field": b"v\rX-B: w",
    "before-host": b"v\rHost: b.example",
}.items():
    FIELD.add(f"value-cr-{_name}", "RFC 9112 §2.2", MUST, get(b"X-A: " + _value), BAD, Served(_told))
FIELD.add("value-lf-cr", "RFC 9112 §2.2", MUST, get(b"X-A: v\n\rX-B: w"), BAD, Served(Told(fields={b"x-b": ()})))
for _name, _value in {"before-a-field": b"v\nX-B: w", "before-a-fold": b"v\n w", "twice": b"v\n\nX-B: w", "ends-the-head": b"v\n"}.items():
    # Where LF may end a line, two may end the head: what follows is then another request, and none that is one.
    FIELD.add(f"value-lf-{_name}", "RFC 9112 §2.2", MAY, get(b"X-A: " + _value), BAD, Served(Told()), Refused((400,), (Told(),)))
FIELD.add("head-ends-with-crlf-lf", "RFC 9112 §2.2", MAY, b"GET / HTTP/1.1\r\nHost: a.example\r\n\n", BAD, Served(Told()))
FIELD.add("head-ends-with-lf-crlf", "RFC 9112 §2.2", MAY, b"GET / HTTP/1.1\r\nHost: a.example\n\r\n", BAD, Served(Told()))
# CVE-2025-23167, CVE-2023-30589: a CR in place of the empty line ends no head.
FIELD.add("head-ends-with-crlf-cr", "RFC 9112 §2.2", MUST, b"GET / HTTP/1.1\r\nHost: a.example\r\n\rX: y\r\n\r\n", BAD)
FIELD.add("head-ends-with-cr-cr-lf", "RFC 9112 §2.2", SHOULD, b"GET / HTTP/1.1\r\nHost: a.example\r\r\n\r\r\n", BAD)
FIELD.add("head-ends-with-cr-cr", "RFC 9112 §2.2", MUST, b"GET / HTTP/1.1\r\nHost: a.example\r\r" + INSIDE, BAD)
for _name, _lines in {
    "of-a-name": (b"X-A", b" : v"),
    "of-nothing-else": (b"X-A:", b" v"),
    "by-tabs": (b"X-A: v", b"\t\tw"),
    "empty": (b"X-A: v", b" "),
    "three-lines": (b"X-A: v", b" w", b" x"),
    "like-a-field": (b"X-A: v", b" Host: b.example"),
    "like-a-request": (b"X-A: v", b" GET /inside HTTP/1.1"),
}.items():
    # Without its colon on the first line it is no field, and no fold makes it one.
    _also = () if _name == "of-a-name" else (Served(Told(fields={b"host": (b"a.example",)})),)
    FIELD.add(f"fold-{_name}", "RFC 9112 §5.2", MUST, get(*_lines), BAD, *_also)
FIELD.add("fold-in-1.0", "RFC 9112 §5.2", MUST, b"GET / HTTP/1.0\r\nX-A: v\r\n w\r\n\r\n", BAD, Served(Told(), closes=True))
for _name, _space in {"space": b" ", "tab": b"\t", "spaces": b"    "}.items():
    # Such a line may be dropped with what belongs to it; then there is no Host.
    _raw = b"GET / HTTP/1.1\r\n" + _space + b"Host: a.example\r\n\r\n"
    FIELD.add(f"first-line-begins-with-{_name}", "RFC 9112 §2.2", MUST, _raw, BAD)
FIELD.add("first-line-is-white-space", "RFC 9112 §2.2", MUST, b"GET / HTTP/1.1\r\n \r\nHost: a.example\r\n\r\n", BAD, Served(Told()))
FIELD.add("101", "RFC 9110 §5.4", HARD, get(*(b"X: y",) * 100), Refused((431, 400, 413)))
FIELD.add("70000-bytes", "RFC 9110 §5.4", HARD, get(b"X-A: " + b"v" * 70_000), Refused((431, 400, 413)))
FIELD.add("70000-bytes-of-space", "RFC 9110 §5.4", HARD, get(b"X-A:" + b" " * 70_000 + b"v"), Refused((431, 400, 413)))
FIELD.add("70000-bytes-of-name", "RFC 9110 §5.4", HARD, get(b"X" * 70_000 + b": v"), Refused((431, 400, 413)))
FIELD.add("70000-bytes-of-no-field", "RFC 9110 §5.4", HARD, get(b"x" * 70_000), Refused((431, 400, 413)))
_odd = Told(fields={b"x-a": (b"v\t w", b"", b"\xff:\x80"), b"!#$%&'*+-.^_`|~": (b"v",)})
FIELD.add("odd-and-lawful", "RFC 9110 §5.5", MUST, get(b"X-A:\t v\t w \t", b"X-A:", b"x-A: \xff:\x80", b"!#$%&'*+-.^_`|~:v"), Served(_odd))

# --- Host -------------------------------------------------------------------------------------------------------------

_HOST: Final = ("RFC 9112 §3.2", "RFC 9110 §7.2")

for _name, _value in {
    "two-words": b"a b",
    "two-words-by-tab": b"a\tb",
    "slash": b"a/",
    "path": b"a/b",
    "path-and-query": b"example.com/health?x=",
    "question-mark": b"a?",
    "hash": b"a#",
    "userinfo": b"u:p@a",
    "user-empty": b"@a",
    "at-sign-behind": b"a@",
    "url": b"http://a",
    "url-relative": b"//a",
    "backslash": b"a\\b",
    "angle-brackets": b"<a>",
    "script": b"a'\"><script>alert(1)</script>",
    "quotes": b'"a"',
    "caret": b"a^b",
    "backtick": b"a`b",
    "curly": b"{a}",
    "pipe": b"a|b",
    "square": b"[a]",
    "bracket-open": b"[::1",
    "bracket-close": b"::1]",
    "bracket-alone": b"[",
    "brackets-empty": b"[]",
    "brackets-twice": b"[[::1]]",
    "behind-brackets": b"[::1]a",
    "before-brackets": b"a[::1]",
    "ipv6-no-brackets": b"::1",
    "ipv6-two-elisions": b"[1::2::3]",
    "ipv6-nine-groups": b"[1:2:3:4:5:6:7:8:9]",
    "ipv6-five-digits": b"[12345::]",
    "ipv6-bad-ipv4": b"[::1.2.3.400]",
    "ipv6-zone": b"[fe80::1%eth0]",
    "ipv6-zone-encoded": b"[fe80::1%25eth0]",
    "ipv6-port-letters": b"[::1]:x",
    "ipv4-in-brackets": b"[127.0.0.1]",
    "future-no-version": b"[v.x]",
    "future-nothing": b"[v1.]",
    "port-letters": b"a:b",
    "port-digits-and-letters": b"a:80x",
    "port-hexadecimal": b"a:0x50",
    "port-plus": b"a:+80",
    "port-minus": b"a:-80",
    "port-space-before": b"a: 80",
    "port-space-behind-host": b"a :80",
    "port-underscore": b"a:8_0",
    "port-fullwidth": "a:\uff18\uff10".encode(),
    "port-twice": b"a:80:80",
    "port-and-path": b"a:80/",
    "port-and-user": b"a:80@b",
    "percent-alone": b"a%",
    "percent-one-digit": b"a%4",
    "percent-no-digits": b"a%zz",
    "latin-1": b"\xe9.example",
    "utf-8": "\u00e9.example".encode(),
    "ff": b"\xff",
    "nbsp": b"a\xa0b",
    "ideographic-stop": "a\u3002example".encode(),
}.items():
    HOST.add(_name, _HOST, MUST, get(host=_value), BAD)
for _octet in (0x00, 0x01, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F):
    HOST.add(f"control-{_octet:02x}", _HOST, MUST, get(host=b"a%cb" % _octet), BAD)
HOST.add("cr", ("RFC 9112 §2.2", "RFC 9112 §3.2"), MUST, get(host=b"a\rb"), BAD)
for _name, _value in {
    "empty": b"",
    "white-space": b" \t ",
    "port-alone": b":80",
    "port-and-nothing": b":",
    "comma": b"a,b",
    "port-65536": b"a:65536",
    "port-long": b"a:" + b"1" * 50,
}.items():
    # Each of these the grammar has: a name may be empty, a comma is a sub-delim, and no port is too large for its digits.
    HOST.add(_name, _HOST, MAY, get(host=_value), BAD, Served(Told()))
_MISSING: Final = "RFC 9112 §3.2"
for _name, _lines in {
    "nothing": (),
    "x-forwarded-host": (b"X-Forwarded-Host: a.example",),
    "forwarded": (b"Forwarded: host=a.example",),
    "underscore": (b"Host_: a.example",),
    "x-host": (b"X-Host: a.example",),
    "hosts": (b"Hosts: a.example",),
}.items():
    HOST.add(f"missing-{_name}", _MISSING, MUST, get(*_lines, host=None), BAD)
HOST.add("missing-absolute-form", _MISSING, MUST, get(line=b"GET http://a.example/ HTTP/1.1", host=None), BAD)
HOST.add("missing-options", _MISSING, MUST, get(line=b"OPTIONS * HTTP/1.1", host=None), BAD)
for _name, _line in {
    "equal": b"Host: a.example",
    "other": b"Host: b.example",
    "lower-case": b"host: b.example",
    "capitals": b"HOST: b.example",
    "empty": b"Host:",
    "invalid": b"Host: a b",
    "port": b"Host: a.example:80",
}.items():
    HOST.add(f"two-{_name}", _MISSING, MUST, get(_line), BAD)
HOST.add("three", _MISSING, MUST, get(b"Host: a.example", b"Host: b.example"), BAD)
HOST.add("two-far-apart", _MISSING, MUST, get(*(b"X-%d: y" % n for n in range(60)), b"Host: b.example"), BAD)
HOST.add("two-absolute-form", _MISSING, MUST, get(b"Host: b.example", line=b"GET http://a.example/ HTTP/1.1"), BAD)
HOST.add("two-in-1.0", _MISSING, MUST, b"GET / HTTP/1.0\r\nHost: a.example\r\nHost: b.example\r\n\r\n", BAD)
HOST.add("invalid-in-1.0", _MISSING, MUST, b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", BAD)
HOST.add("invalid-absolute-form", _MISSING, MUST, get(line=b"GET http://a.example/ HTTP/1.1", host=b"a b"), BAD)
HOST.add("folded", ("RFC 9112 §5.2", _MISSING), MUST, get(host=b"a\r\n b"), BAD)
HOST.add("fold-second", "RFC 9112 §5.2", MUST, get(b" Host: b.example"), BAD)
HOST.add("space-before-colon", "RFC 9112 §5.1", MUST, b"GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", BAD)
for _name, _value in {
    "dotted": b"a.example.",
    "capitals": b"A.Example:8000",
    "port-empty": b"a.example:",
    "port-zero": b"a:0",
    "port-65535": b"a:65535",
    "port-zeros": b"a:0080",
    "underscore": b"a_b",
    "percent-encoded": b"%61.example",
    "sub-delims": b"!$&'()*+;=~",
    "ipv4": b"127.0.0.1:1",
    "ipv6": b"[2001:db8::1.2.3.4]:1",
    "future": b"[v1.a:b]",
}.items():
    HOST.add(f"served-{_name}", "RFC 3986 §3.2.2", MUST, get(host=_value), Served(Told(fields={b"host": (_value,)})))
HOST.add("none-in-1.0", _MISSING, MUST, b"GET / HTTP/1.0\r\n\r\n", Served(Told(fields={b"host": ()}), closes=True))

# --- The request line -------------------------------------------------------------------------------------------------

_LINE: Final = "RFC 9112 §3"

for _name, _line in {
    "nel-between": b"GET\x85/ HTTP/1.1",
    "nbsp-between": b"GET\xa0/\xa0HTTP/1.1",
    "cr-between": b"GET\r/\rHTTP/1.1",
    "us-between": b"GET\x1f/ HTTP/1.1",
    "three-spaces": b"GET   / HTTP/1.1",
    "space-in-the-target": b"GET /a b HTTP/1.1",
    "two-versions": b"GET / HTTP/1.1 HTTP/1.1",
    "two-targets": b"GET / /inside HTTP/1.1",
    "target-alone": b"/ HTTP/1.1",
    "version-alone": b"HTTP/1.1",
    "colon-behind-method": b"GET: / HTTP/1.1",
    "quoted": b'GET "/" HTTP/1.1 x',
    "bom": b"\xef\xbb\xbfGET / HTTP/1.1",
    "nul-first": b"\x00GET / HTTP/1.1",
    "nul-behind": b"GET / HTTP/1.1\x00",
    "field-first": b"Host: a.example",
    "chunk": b"5",
}.items():
    LINE.add(_name, ("RFC 9112 §2.2", _LINE), SHOULD, get(line=_line), BAD)
for _name, _raw in {
    "0.9": b"GET /\r\n\r\n",
    "0.9-and-host": b"GET /\r\nHost: a.example\r\n\r\n",
    "0.9-space": b"GET / \r\n\r\n",
    "0.9-post": b"POST /\r\n\r\n",
    "six-empty-lines": b"\r\n" * 6 + get(),
    "white-space-line-first": b" \r\n" + get(),
    "lf-first": b"\n" + get(),
}.items():
    LINE.add(_name, ("RFC 9112 §2.2", _LINE), SHOULD, _raw, BAD)
LINE.add("five-empty-lines", "RFC 9112 §2.2", SHOULD, b"\r\n" * 5 + get(), Served(Told()))
LINE.add("cr-for-crlf", "RFC 9112 §2.2", MUST, b"GET / HTTP/1.1\rHost: a.example\r\n\r\n", BAD)
# RFC 9112 §3 lets a server ignore white space around the line, and VT and a bare CR are such.
LINE.add("cr-behind-version", _LINE, MAY, get(line=b"GET / HTTP/1.1\r"), BAD, Served(Told()))
LINE.add("vt-behind-version", _LINE, MAY, get(line=b"GET / HTTP/1.1\x0b"), BAD, Served(Told()))
LINE.add("cr-first", _LINE, MAY, b"\r" + get(), BAD, Served(Told()))
LINE.add("lf-for-crlf", "RFC 9112 §2.2", MAY, b"GET / HTTP/1.1\nHost: a.example\r\n\r\n", BAD, Served(Told()))
LINE.add("lf-cr", "RFC 9112 §2.2", MUST, b"GET / HTTP/1.1\n\rHost: a.example\r\n\r\n", BAD)
LINE.add("h2-preface", "RFC 9113 §3.4", SHOULD, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused((400, 505)))
LINE.add("h2-preface-and-host", "RFC 9110 §15.6.6", SHOULD, get(line=b"PRI * HTTP/2.0"), Refused((400, 505)))
LINE.add("pri-of-1.1", "RFC 9112 §3.2.4", SHOULD, get(line=b"PRI * HTTP/1.1"), BAD)

for _octet in (0x00, 0x01, 0x0B, 0x1B, 0x22, 0x28, 0x2C, 0x2F, 0x3B, 0x3D, 0x40, 0x5B, 0x5C, 0x7B, 0x7F, 0x80, 0xA0, 0xFF):
    # Of a method that llhttp would not know anyhow.
    LINE.add(f"method-with-{_octet:02x}", ("RFC 9110 §9.1", "RFC 9110 §5.6.2"), MUST, get(line=b"FE%cTCH / HTTP/1.1" % _octet), BAD)
for _name, _method in {"lower": b"get", "mixed": b"Get", "post": b"post", "head": b"hEAD", "connect": b"connect"}.items():
    LINE.add(f"method-case-{_name}", "RFC 9110 §9.1", MAY, get(line=_method + b" / HTTP/1.1"), Refused((501, 405)), Served(Told(_method.decode())))
for _name, _method in {
    "unknown": b"FETCH",
    "hyphen": b"M-SEARCH",
    "token": b"!#$%&'*+-.^_`|~1",
    "prefix": b"GE",
    "suffix": b"GETT",
    "single": b"X",
}.items():
    LINE.add(f"method-{_name}", "RFC 9110 §9.1", SHOULD, get(line=_method + b" /m HTTP/1.1"), Served(Told(_method.decode(), "/m")))

for _name, _version in {
    "three-numbers": b"HTTP/1.1.1",
    "two-digits": b"HTTP/1.10",
    "two-digits-major": b"HTTP/11.1",
    "no-dot": b"HTTP/11",
    "dot-alone": b"HTTP/.",
    "colon": b"HTTP/1:1",
    "arabic": "HTTP/1.\u0661".encode(),
    "superscript": b"HTTP/1.\xb9",
    "hexadecimal": b"HTTP/1.a",
    "plus": b"HTTP/1.+1",
    "space": b"HTTP/1. 1",
    "lower-case": b"http/1.1",
    "mixed-case": b"Http/1.1",
    "no-name": b"/1.1",
    "other-name": b"HTTPS/1.1",
    "rtsp": b"RTSP/1.0",
    "ice": b"ICE/1.0",
    "backslash": b"HTTP\\1.1",
    "no-slash": b"HTTP1.1",
    "semicolon": b"HTTP/1.1;x",
    "twice": b"HTTP/1.1HTTP/1.1",
}.items():
    LINE.add(f"version-{_name}", "RFC 9112 §2.3", MUST, get(line=b"GET / " + _version), BAD)
for _version in (b"0.0", b"0.9", b"2.0", b"2.1", b"3.0"):
    LINE.add(f"version-{_version.decode()}", "RFC 9110 §15.6.6", SHOULD, get(line=b"GET / HTTP/" + _version), Refused((505, 400)))

# A refusal of HEAD has no content either: a reader that goes on would take it for the next answer.
for _name, _clause, _raw in (
    ("cr", "RFC 9112 §2.2", b"HEAD / HTTP/1.1\rHost: a.example\r\n\r\n"),
    ("coding", "RFC 9112 §6.3 (4)", get(b"Transfer-Encoding: identity", line=b"HEAD / HTTP/1.1")),
    ("field", "RFC 9112 §5.1", get(b"X : y", line=b"HEAD / HTTP/1.1")),
    ("host", "RFC 9112 §3.2", get(line=b"HEAD / HTTP/1.1", host=None)),
    ("two-hosts", "RFC 9112 §3.2", get(b"Host: b.example", line=b"HEAD / HTTP/1.1")),
    ("port", "RFC 9110 §4.2.1", get(line=b"HEAD http://:80/ HTTP/1.1")),
):
    LINE.add(f"head-refused-{_name}", ("RFC 9110 §9.3.2", _clause), MUST, _raw, Refused((400, 501)), methods=("HEAD",))
_raw = get(b"Transfer-Encoding: chunked", line=b"HEAD / HTTP/1.1", body=b"+5\r\nhello\r\n0\r\n\r\n")
LINE.add("head-refused-chunk", ("RFC 9110 §9.3.2", "RFC 9112 §7.1"), MUST, _raw, Refused((400,), begins=True), methods=("HEAD",))

# --- The request target -----------------------------------------------------------------------------------------------

for _name, _target in {
    "empty-host": b"http:///p",
    "empty-host-and-query": b"http://?q",
    "nothing-else": b"http://",
    "port-alone": b"http://:80/p",
    "empty-https-host": b"https:///p",
}.items():
    LINE.add(f"target-{_name}", "RFC 9110 §4.2.1", MUST, get(line=b"GET " + _target + b" HTTP/1.1"), BAD)
for _name, _target in {
    "ipv6-zone": b"http://[fe80::1%25eth0]/",
    "ipv6-open": b"http://[::1/",
    "ipv6-two-elisions": b"http://[1::2::3]/",
    "host-space-encoded-badly": b"http://a%2/",
    "port-letters": b"http://a:b/",
    "port-sign": b"http://a:+80/",
    "two-ports": b"http://a:1:2/",
    "host-backslash": b"http://a\\b/",
    "host-angle": b"http://<a>/",
}.items():
    LINE.add(f"target-{_name}", ("RFC 9112 §3.2", "RFC 3986 §3.2.2"), SHOULD, get(line=b"GET " + _target + b" HTTP/1.1"), BAD)
for _name, _target in {
    "user": b"http://u@a.example/",
    "password": b"http://u:p@a.example/",
    "user-empty": b"http://@a.example/",
    "user-like-a-host": b"http://a.example@b.example/",
}.items():
    LINE.add(f"target-{_name}", "RFC 9110 §4.2.4", SHOULD, get(line=b"GET " + _target + b" HTTP/1.1"), BAD)
for _name, _target in {
    "ftp": b"ftp://a.example/",
    "file": b"file:///etc/passwd",
    "javascript": b"javascript:alert(1)",
    "scheme-alone": b"http:",
    "one-slash": b"http:/a",
    "three-letters": b"htt://a.example/",
    "scheme-missing": b"://a.example/",
    "backslashes": b"\\\\a.example\\p",
    "backslash-first": b"\\p",
    "dots": b"../p",
    "percent-first": b"%2fp",
    "query-first": b"?p",
    "asterisk-and-path": b"*/p",
    "asterisk-twice": b"**",
    "asterisk": b"*",
    "authority": b"a.example:80",
    "hash": b"/p#f",
    "hash-in-the-query": b"/p?q#f",
    "hash-of-absolute-form": b"http://a.example/p#f",
    "hash-alone": b"#",
    "backslash-inside": b"/a\\b",
    "percent-alone": b"/a%",
    "percent-percent": b"/%%41",
    "percent-u": b"/%u0041",
    "utf-8": "/\u00e9".encode(),
    "fullwidth-slash": "\uff0fp".encode(),
    "nbsp": b"/a\xa0b",
    "tab": b"/a\tb",
    "del": b"/a\x7f",
    "nul": b"/a\x00b",
    "vt-in-the-query": b"/a?\x0b",
}.items():
    LINE.add(f"target-{_name}", ("RFC 9112 §3.2", "RFC 3986 §2"), SHOULD, get(line=b"GET " + _target + b" HTTP/1.1"), BAD)
for _name, _end in {"cr": b"\r", "lf": b"\n", "crlf": b"\r\n"}.items():
    _raw = get(line=b"GET /a" + _end + b"X: y HTTP/1.1")
    LINE.add(f"target-{_name}", ("RFC 9112 §2.2", "RFC 9112 §3.2"), MUST if _name == "cr" else SHOULD, _raw, BAD)
for _name, _target in {"a-megabyte": b"/" + b"a" * 1_000_000, "query": b"/?" + b"a" * 100_000, "percent": b"/" + b"%41" * 40_000}.items():
    # How long a target it reads, a server says itself.
    LINE.add(f"target-long-{_name}", _LINE, HARD, get(line=b"GET " + _target + b" HTTP/1.1"), Refused((414,)))
LINE.add("method-long", _LINE, SHOULD, get(line=b"A" * 100_000 + b" / HTTP/1.1"), Refused((501, 400)))
for _name, _target in {
    "no-port": b"a.example",
    "empty-port": b"a.example:",
    "port-65536": b"a.example:65536",
    "port-letters": b"a.example:https",
    "port-sign": b"a.example:+443",
}.items():
    LINE.add(f"connect-{_name}", "RFC 9110 §9.3.6", MUST, get(line=b"CONNECT " + _target + b" HTTP/1.1"), BAD)
for _name, _target in {"origin-form": b"/", "absolute-form": b"http://a.example:443/", "asterisk": b"*"}.items():
    LINE.add(f"connect-{_name}", "RFC 9112 §3.2.3", SHOULD, get(line=b"CONNECT " + _target + b" HTTP/1.1"), BAD)
LINE.add("connect-port-zero", "RFC 9110 §9.3.6", SHOULD, get(line=b"CONNECT a.example:0 HTTP/1.1"), BAD)
LINE.add("connect", "RFC 9110 §9.3.6", MAY, get(line=b"CONNECT a.example:443 HTTP/1.1"), Refused((501, 405)))

# Each of these says one thing, however it looks.
for _name, _target, _told in (
    ("two-slashes", b"//b.example/p", Told(path="//b.example/p")),
    ("url-in-the-path", b"/http://b.example/", Told(path="/http://b.example/")),
    ("dots-inside", b"/a/../../b", Told(path="/a/../../b")),
    ("dots-encoded", b"/%2e%2e/%2F", Told(path="/..//")),
    ("encoded-once", b"/%2541", Told(path="/%41")),
    ("encoded-line-end", b"/a%0d%0aX:%20y", Told(path="/a\r\nX: y")),
    ("encoded-nul", b"/a%00b", Told(path="/a\0b")),
    ("encoded-question-mark", b"/a%3Fb?c", Told(path="/a?b", query=b"c")),
    ("two-question-marks", b"/a??b?c", Told(path="/a", query=b"?b?c")),
    ("parameters", b"/a;b=c/d", Told(path="/a;b=c/d")),
    ("absolute-form", b"http://b.example/p?q", Told(path="/p", query=b"q", fields={b"host": (b"b.example",)})),
    ("absolute-form-capitals", b"HTTP://B.Example:80/p", Told(path="/p", fields={b"host": (b"B.Example:80",)})),
    ("absolute-form-no-path", b"http://b.example?q", Told(query=b"q", fields={b"host": (b"b.example",)})),
    ("absolute-form-ipv6", b"http://[::1]:81/p", Told(path="/p", fields={b"host": (b"[::1]:81",)})),
    ("absolute-form-twice", b"http://b.example/http://c.example/", Told(path="/http://c.example/", fields={b"host": (b"b.example",)})),
):
    LINE.add(f"served-{_name}", "RFC 9112 §3.2", MUST, get(line=b"GET " + _target + b" HTTP/1.1"), Served(_told))
LINE.add("served-asterisk", "RFC 9112 §3.2.4", MUST, get(line=b"OPTIONS * HTTP/1.1"), Served(Told("OPTIONS", "*")), Served(Told("OPTIONS", "")))
