"""Requests that must be refused, as a table, and arbitrary bytes (RFC 9112 §2.2, §3, §5, §6, §7.1, §11).

What a row asks for: one answer with an allowed status, after the answers before it; the connection closed; nothing behind the request taken for
another one; and an application that was not called, or (where the fault is in the body) was never given a body that looks whole. Whichever parser
it is, both do the same.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_asgiserve.raw import Truncated
from tests.support.properties import examples
from tests.support.sansio import AVAILABLE, GET, PARSERS, Wire, answer, echo, read_responses


class Case(NamedTuple):
    """A request that is refused with one of ``statuses``; ``begins``: its head is right, so that the application may have been called."""

    name: str
    clause: str
    data: bytes
    statuses: frozenset[int]
    begins: bool = False


def line(name: str, clause: str, first: bytes, *statuses: int) -> Case:
    """A bad request line."""
    return Case(name, clause, first + b"\r\nHost: a\r\n\r\n", frozenset(statuses or (400,)))


def target(name: str, clause: str, value: bytes, *statuses: int) -> Case:
    """A bad target."""
    return line("target." + name, clause, b"GET " + value + b" HTTP/1.1", *statuses)


def field(name: str, clause: str, lines: bytes, *statuses: int) -> Case:
    """Bad field lines, each with its own end."""
    return Case(name, clause, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n", frozenset(statuses or (400,)))


def host(name: str, clause: str, value: bytes) -> Case:
    """A bad Host."""
    return Case("host." + name, clause, b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", frozenset({400}))


def framing(name: str, clause: str, lines: bytes, body: bytes = b"hello", *statuses: int) -> Case:
    """Bad framing in the head; ``body`` comes behind it."""
    return Case(name, clause, b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n" + body, frozenset(statuses or (400,)))


def chunk(name: str, clause: str, body: bytes, *statuses: int) -> Case:
    """A bad chunked body."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Case("chunk." + name, clause, head + body, frozenset(statuses or (400,)), begins=True)


CHUNKED = b"Transfer-Encoding: chunked"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"
_random = random.Random(2).randbytes(256)  # noqa: S311 - noise, the same in each run

LINES = [
    Case("line.bare-lf", "9112 §2.2", b"GET / HTTP/1.1\nHost: a\n\n", frozenset({400})),
    Case("line.bare-lf-behind-the-line", "9112 §2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n", frozenset({400})),
    Case("line.bare-cr", "9112 §2.2", b"GET / HTTP/1.1\rHost: a\r\n\r\n", frozenset({400})),
    Case("line.no-version", "9112 §3, C.1", b"GET /\r\n\r\n", frozenset({400})),
    Case("line.no-version-no-target", "9112 §3", b"GET\r\n\r\n", frozenset({400})),
    Case("line.leading-lf", "9112 §2.2", b"\n" + GET, frozenset({400})),
    Case("line.leading-cr", "9112 §2.2", b"\r" + GET, frozenset({400})),
    Case("line.leading-space", "9112 §3", b" " + GET, frozenset({400})),
    Case("line.leading-space-line", "9112 §2.2", b" \r\n" + GET, frozenset({400})),
    Case("line.leading-nul", "9112 §3", b"\0" + GET, frozenset({400})),
    Case("line.leading-bom", "9112 §3", b"\xef\xbb\xbf" + GET, frozenset({400})),
    Case("line.six-leading-crlf", "9112 §2.2", b"\r\n" * 6 + GET, frozenset({400})),
    Case("line.many-leading-crlf", "9112 §2.2", b"\r\n" * 1000 + GET, frozenset({400})),
    Case("line.binary", "9112 §2.2", bytes(range(256)), frozenset({400})),
    Case("line.random", "9112 §2.2", _random, frozenset({400})),
    Case("line.tls-hello-on-cleartext", "9112 §2.2", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _random, frozenset({400})),
    Case("line.h2-preface", "9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frozenset({400, 505})),
    Case("line.response-sent", "9112 §2.2", b"HTTP/1.1 200 OK\r\n\r\n", frozenset({400})),
    line("line.double-sp", "9112 §3", b"GET  / HTTP/1.1"),
    line("line.double-sp-before-version", "9112 §3", b"GET /  HTTP/1.1"),
    line("line.tab-sep", "9112 §3", b"GET\t/\tHTTP/1.1"),
    line("line.vt-sep", "9112 §3", b"GET\x0b/ HTTP/1.1"),
    line("line.ff-sep", "9112 §3", b"GET /\x0cHTTP/1.1"),
    line("line.nbsp-sep", "9112 §3", b"GET /\xa0HTTP/1.1"),
    line("line.trailing-sp", "9112 §3", b"GET / HTTP/1.1 "),
    line("line.trailing-tab", "9112 §3", b"GET / HTTP/1.1\t"),
    line("line.trailing-word", "9112 §3", b"GET / HTTP/1.1 x"),
    line("line.no-target", "9112 §3", b"GET HTTP/1.1"),
    line("line.empty-target", "9112 §3", b"GET  HTTP/1.1"),
    line("line.cr-in-version", "CVE-2023-49082", b"GET / HTTP/1.1\rX: y"),
    line("method.lower-case", "9110 §9.1", b"get / HTTP/1.1", 501, 400),
    line("method.mixed-case", "9110 §9.1", b"Get / HTTP/1.1", 501, 400),
    line("method.at-sign", "9110 §5.6.2", b"G@T / HTTP/1.1"),
    line("method.control", "9110 §5.6.2", b"G\x01T / HTTP/1.1"),
    line("method.parenthesis", "9110 §5.6.2", b"GE(T / HTTP/1.1"),
    line("method.colon", "9110 §5.6.2", b"GET: / HTTP/1.1"),
    line("method.non-ascii", "9110 §5.6.2", b"G\xc3\x89T / HTTP/1.1"),
    line("method.empty", "9110 §5.6.2", b" / HTTP/1.1"),
    line("method.long", "9112 §3", b"A" * 20_000 + b" / HTTP/1.1", 501),
    line("method.long-and-no-token", "9110 §5.6.2", b"\xff" * 20_000 + b" / HTTP/1.1"),
    line("method.connect", "9110 §9.3.6", b"CONNECT example.com:443 HTTP/1.1", 501, 405),
    line("method.connect-no-port", "9110 §9.3.6", b"CONNECT example.com HTTP/1.1"),
    line("method.connect-empty-port", "9110 §9.3.6", b"CONNECT example.com: HTTP/1.1"),
    line("method.connect-port-0", "9110 §9.3.6", b"CONNECT example.com:0 HTTP/1.1"),
    line("method.connect-port-70000", "9110 §9.3.6", b"CONNECT example.com:70000 HTTP/1.1"),
    line("method.connect-origin-form", "9112 §3.2.3", b"CONNECT / HTTP/1.1"),
    line("method.connect-absolute-form", "9112 §3.2.3", b"CONNECT http://example.com:443/ HTTP/1.1"),
    line("method.rtsp-setup", "9112 §2.3", b"SETUP * RTSP/1.0"),
    line("version.0.9", "9110 §15.6.6", b"GET / HTTP/0.9", 505, 400),
    line("version.2.0", "9110 §15.6.6", b"GET / HTTP/2.0", 505, 400),
    line("version.3.0", "9110 §15.6.6", b"GET / HTTP/3.0", 505, 400),
    line("version.9.9", "9110 §15.6.6", b"GET / HTTP/9.9", 505, 400),
    line("version.no-minor", "9112 §2.3", b"GET / HTTP/1"),
    line("version.no-digits", "9112 §2.3", b"GET / HTTP/"),
    line("version.leading-zero", "9112 §2.3", b"GET / HTTP/01.1"),
    line("version.two-digits", "9112 §2.3", b"GET / HTTP/1.10"),
    line("version.space", "9112 §2.3", b"GET / HTTP /1.1"),
    line("version.lower-case", "9112 §2.3", b"GET / http/1.1"),
    line("version.trailing-letter", "9112 §2.3", b"GET / HTTP/1.1a"),
    line("version.comma", "9112 §2.3", b"GET / HTTP/1,1"),
    line("version.minus", "9112 §2.3", b"GET / HTTP/-1.1"),
    line("version.plus", "9112 §2.3", b"GET / HTTP/+1.1"),
    line("version.fullwidth", "9112 §2.3", "GET / HTTP/\uff11.1".encode()),
    line("version.rtsp", "9112 §2.3", b"GET / RTSP/1.0"),
    line("version.ice", "9112 §2.3", b"GET / ICE/1.0"),
    line("version.nul", "9112 §2.3", b"GET / HTTP/1.1\0"),
    target("asterisk-get", "9112 §3.2.4", b"*"),
    line("target.asterisk-post", "9112 §3.2.4", b"POST * HTTP/1.1"),
    line("target.asterisk-with-query", "9112 §3.2.4", b"OPTIONS *?x HTTP/1.1"),
    target("authority-get", "9112 §3.2.3", b"example.com:80"),
    target("relative", "9112 §3.2", b"../etc/passwd"),
    target("relative-name", "9112 §3.2", b"index.html"),
    target("query-only", "9112 §3.2", b"?x"),
    target("fragment", "9112 §3.2", b"/p#frag"),
    target("fragment-behind-query", "9112 §3.2", b"/p?q#frag"),
    target("absolute-form-fragment", "9112 §3.2", b"http://h/p#frag"),
    target("space", "9112 §3.2", b"/a b"),
    target("non-ascii", "3986 §2", "/é".encode()),
    target("non-ascii-in-query", "3986 §2", "/?é".encode()),
    target("backslash", "3986 §2", b"/a\\b"),
    target("percent-zz", "3986 §2.1", b"/%zz"),
    target("percent-at-the-end", "3986 §2.1", b"/%"),
    target("percent-one-digit", "3986 §2.1", b"/%2"),
    *(target(f"control-{octet:02x}", "9112 §3.2", b"/a" + bytes([octet]) + b"b") for octet in (0, 1, 8, 9, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)),
    target("cr", "9112 §3.2", b"/a\rb"),
    target("lf", "9112 §3.2", b"/a\nb"),
    target("absolute-form-userinfo", "9110 §4.2.4", b"http://u:p@h/"),
    target("absolute-form-user", "9110 §4.2.4", b"http://u@h/"),
    target("absolute-form-empty-host", "9110 §4.2.1", b"http:///x"),
    target("absolute-form-only-port", "9110 §4.2.1", b"http://:80/x"),
    target("absolute-form-port-99999", "3986 §3.2.3", b"http://h:99999/"),
    target("absolute-form-port-letters", "3986 §3.2.3", b"http://h:abc/"),
    target("absolute-form-ftp", "9112 §3.2.2", b"ftp://h/x"),
    target("absolute-form-one-slash", "9112 §3.2.2", b"http:/x"),
    target("absolute-form-no-slash", "9112 §3.2.2", b"http:x"),
    target("absolute-form-comma", "9110 §7.2", b"http://a,b/"),
    target("absolute-form-bad-ipv6", "3986 §3.2.2", b"http://[::1/"),
    target("absolute-form-backslash", "3986 §2", b"http://h\\x/"),
    target("too-long", "9112 §3", b"/" + b"a" * 20_000, 414),
    target("very-long", "9112 §3", b"/" + b"a" * 1_000_000, 414),
]

FIELDS = [
    field("field.sp-before-colon", "9112 §5.1", b"X-A : 1\r\n"),
    field("field.tab-before-colon", "9112 §5.1", b"X-A\t: 1\r\n"),
    field("field.empty-name", "9110 §5.1", b": v\r\n"),
    field("field.no-colon", "9112 §5", b"NoColon\r\n"),
    field("field.bracket-in-name", "9110 §5.6.2", b"Bad[Name: v\r\n"),
    field("field.non-ascii-name", "9110 §5.6.2", b"X\x80: v\r\n"),
    field("field.tab-in-name", "9110 §5.6.2", b"X\tY: v\r\n"),
    field("field.sp-in-name", "9110 §5.6.2", b"X Y: v\r\n"),
    field("field.nul-in-name", "9110 §5.6.2", b"X\0Y: v\r\n"),
    field("field.del-in-name", "9110 §5.6.2", b"X\x7fY: v\r\n"),
    *(field(f"field.name-with-{octet:02x}", "9110 §5.6.2", b"X" + bytes([octet]) + b"Y: v\r\n") for octet in b'"(),/;<=>?@\\{}'),
    field("field.obs-fold", "9112 §5.2", b"X: a\r\n b\r\n"),
    field("field.obs-fold-tab", "9112 §5.2", b"X: a\r\n\tb\r\n"),
    field("field.obs-fold-empty", "9112 §5.2", b"X: a\r\n \r\n"),
    Case("field.ws-before-first", "9112 §2.2", b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", frozenset({400})),
    Case("field.tab-before-first", "9112 §2.2", b"GET / HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n", frozenset({400})),
    Case("field.ws-only-line", "9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\n  \r\nX: b\r\n\r\n", frozenset({400})),
    Case("field.ws-only-line-first", "9112 §2.2", b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", frozenset({400})),
    Case("field.ws-only-line-last", "9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\t\r\n\r\n", frozenset({400})),
    field("field.bare-cr-value", "9112 §2.2", b"X: a\rb\r\n"),
    field("field.bare-cr-at-the-end", "9112 §2.2", b"X: a\r\r\n"),
    field("field.bare-cr-then-field", "CVE-2023-30589", b"X: a\rY: b\r\n"),
    field("field.nul-value", "9110 §5.5", b"X: a\0b\r\n"),
    field("field.bare-lf-line", "9112 §2.2", b"X: a\nY: b\r\n"),
    Case("field.lf-ends-head", "9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n", frozenset({400})),
    Case("field.lf-crlf-ends-head", "CVE-2022-35256", b"GET / HTTP/1.1\r\nHost: a\n\r\n", frozenset({400})),
    Case("field.crlf-cr-x", "CVE-2025-23167", b"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", frozenset({400})),
    Case("field.cr-cr-lf-ends-head", "9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\r\n", frozenset({400})),
    *(
        field(f"field.value-with-{octet:02x}", "9110 §5.5", b"X: a" + bytes([octet]) + b"b\r\n")
        for octet in (*range(1, 9), 0x0B, 0x0C, 0x0E, 0x1B, 0x1F)
    ),
    field("field.value-with-7f", "9110 §5.5", b"X: a\x7fb\r\n"),
    field("field.value-begins-with-nul", "9110 §5.5", b"X: \0\r\n"),
    field("field.value-ends-with-vt", "9110 §5.5", b"X: a\x0b\r\n"),
    field("field.101", "9110 §5.4", b"".join(b"X-%d: 1\r\n" % i for i in range(100)), 431),
    field("field.10000", "9110 §5.4", b"".join(b"X-%d: 1\r\n" % i for i in range(10_000)), 431),
    field("field.long-value", "9110 §5.4", b"X: " + b"a" * 100_000 + b"\r\n", 431),
    field("field.long-name", "9110 §5.4", b"X" * 100_000 + b": a\r\n", 431),
    field("expect.unknown", "9110 §10.1.1", b"Expect: 200-ok\r\n", 417),
    field("expect.two-values", "9110 §10.1.1", b"Expect: 100-continue, 200-ok\r\n", 417),
]

HOSTS = [
    Case("host.missing", "9112 §3.2", b"GET / HTTP/1.1\r\n\r\n", frozenset({400})),
    Case("host.missing-with-other-fields", "9112 §3.2", b"GET / HTTP/1.1\r\nX: a\r\n\r\n", frozenset({400})),
    Case("host.missing-absolute-form", "9112 §3.2", b"GET http://a/ HTTP/1.1\r\n\r\n", frozenset({400})),
    Case("host.underscore-is-no-host", "9110 §5.1", b"GET / HTTP/1.1\r\nHost_: a\r\n\r\n", frozenset({400})),
    field("host.two-equal", "9112 §3.2", b"Host: a\r\n"),
    field("host.two-different", "9112 §3.2", b"Host: b\r\n"),
    field("host.two-in-other-case", "9112 §3.2", b"hOST: a\r\n"),
    field("host.two-one-empty", "9112 §3.2", b"Host:\r\n"),
    Case("host.two-http10", "9112 §3.2", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", frozenset({400})),
    Case("host.two-absolute-form", "9112 §3.2", b"GET http://c/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", frozenset({400})),
    Case("host.bad-absolute-form", "9112 §3.2", b"GET http://c/ HTTP/1.1\r\nHost: a b\r\n\r\n", frozenset({400})),
    Case("host.bad-http10", "9112 §3.2", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", frozenset({400})),
    Case("host.obs-fold", "9112 §5.2", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", frozenset({400})),
    Case("host.sp-before-colon", "9112 §5.1", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", frozenset({400})),
    host("empty", "9110 §7.2", b""),
    host("comma", "9112 §3.2", b"a, b"),
    host("comma-alone", "9112 §3.2", b"a,b"),
    host("space", "9112 §3.2", b"a b"),
    host("tab", "9112 §3.2", b"a\tb"),
    host("path", "9110 §7.2", b"x/y"),
    host("path-and-query", "CVE-2026-48710", b"example.com/health?x="),
    host("slash-question", "9110 §7.2", b"a/?"),
    host("query", "9110 §7.2", b"a?b"),
    host("fragment", "9110 §7.2", b"a#b"),
    host("userinfo", "9110 §7.2", b"u@x"),
    host("userinfo-and-password", "9110 §7.2", b"u:p@x"),
    host("port-letters", "3986 §3.2.3", b"a:b"),
    host("port-99999", "3986 §3.2.3", b"x:99999"),
    host("port-negative", "3986 §3.2.3", b"x:-1"),
    host("port-plus", "3986 §3.2.3", b"x:+80"),
    host("two-ports", "3986 §3.2.3", b"a:80:80"),
    host("only-port", "9110 §7.2", b":80"),
    host("open-bracket", "3986 §3.2.2", b"[::1"),
    host("bracket-rest", "3986 §3.2.2", b"[::1]x"),
    host("empty-brackets", "3986 §3.2.2", b"[]"),
    host("bad-ipv6", "3986 §3.2.2", b"[1::2::3]"),
    host("ipv6-letters", "3986 §3.2.2", b"[zz]"),
    host("ipv6-zone", "3986 §3.2.2", b"[fe80::1%25eth0]"),
    host("ipv6-without-brackets", "3986 §3.2.2", b"::1"),
    host("ff", "3986 §3.2.2", b"\xff"),
    host("utf-8", "3986 §3.2.2", "é.example".encode()),
    host("backslash", "3986 §3.2.2", b"a\\b"),
    host("script", "3986 §3.2.2", b"<script>"),
    host("quote", "3986 §3.2.2", b'a"b'),
    host("percent-zz", "3986 §2.1", b"a%zz"),
    host("pipe", "3986 §3.2.2", b"a|b"),
    host("url", "9110 §7.2", b"http://a"),
]

LENGTHS = [
    *(
        framing(f"cl.{name}", "9112 §6.3 (5)", b"Content-Length: " + value)
        for name, value in {
            "letters": b"abc",
            "digits-letters": b"5x",
            "empty": b"",
            "spaces": b"   ",
            "plus": b"+5",
            "minus": b"-5",
            "minus-zero": b"-0",
            "minus-one": b"-1",
            "hex": b"0x5",
            "underscore": b"1_0",
            "two-words": b"5 5",
            "fullwidth": "\uff15".encode(),
            "superscript": "\u00b2".encode(),
            "arabic": "\u0665".encode(),
            "float": b"5.0",
            "exponent": b"5e0",
            "list-different": b"5, 6",
            "list-same": b"5, 5",
            "list-trailing-comma": b"5,",
            "list-leading-comma": b",5",
            "quoted": b'"5"',
            "semicolon": b"5;",
            "vt": b"5\x0b",
            "leading-vt": b"\x0b5",
            "nul": b"5\0",
            "nbsp": b"5\xa0",
            "2-to-64": b"18446744073709551616",
            "2-to-64-and-5": b"18446744073709551621",
            "20-nines": b"99999999999999999999",
            "5000-digits": b"9" * 5000,
        }.items()
    ),
    framing("cl.2-to-63", "9110 §8.6", b"Content-Length: 9223372036854775808", b"hello", 413, 400),
    framing("cl.2-to-53-and-1", "9110 §8.6", b"Content-Length: 9007199254740993", b"hello", 413, 400),
    framing("cl.dup-different", "9112 §6.3 (5)", b"Content-Length: 5\r\nContent-Length: 10"),
    framing("cl.dup-same", "9112 §6.3 (5)", b"Content-Length: 5\r\nContent-Length: 5"),
    framing("cl.dup-zero-first", "CVE-2019-16792", b"Content-Length: 0\r\nContent-Length: 5"),
    framing("cl.dup-other-case", "9112 §6.3 (5)", b"Content-Length: 5\r\ncontent-length: 5"),
    framing("cl.dup-one-empty", "9112 §6.3 (5)", b"Content-Length: 5\r\nContent-Length:"),
    framing("cl.sp-before-colon", "CVE-2021-22959", b"Content-Length : 5"),
    framing("cl.sp-before-name", "CVE-2024-27982", b"X: y\r\n Content-Length: 5"),
    framing("cl.obs-fold", "9112 §5.2", b"Content-Length:\r\n 5"),
    framing("cl.obs-fold-more-digits", "9112 §5.2", b"Content-Length: 5\r\n 5"),
    Case("cl.dup-http10", "9112 §6.3 (5)", b"POST / HTTP/1.0\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", frozenset({400})),
]

CODINGS = [
    framing("te.te-and-cl", "9112 §6.3 (3)", CHUNKED + b"\r\nContent-Length: 5", BODY),
    framing("te.cl-and-te", "9112 §6.3 (3)", b"Content-Length: 5\r\n" + CHUNKED, BODY),
    framing("te.te-and-cl-zero", "9112 §6.3 (3)", CHUNKED + b"\r\nContent-Length: 0", BODY),
    framing("te.te-and-bad-cl", "9112 §6.3 (3)", CHUNKED + b"\r\nContent-Length: x", BODY),
    framing("te.clte-desync", "9112 §11.2", b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG" + GET),
    framing("te.clte-desync-mixed-case", "9112 §11.2", b"content-length: 6\r\ntransfer-encoding: CHUNKED", b"0\r\n\r\nG" + GET),
    framing("te.not-final", "9112 §6.3 (4)", b"Transfer-Encoding: chunked, gzip", BODY, 400, 501),
    framing("te.double-chunked", "9112 §6.1", b"Transfer-Encoding: chunked, chunked", BODY),
    framing("te.double-chunked-two-lines", "9112 §6.1", CHUNKED + b"\r\n" + CHUNKED, BODY),
    framing("te.unknown-gzip", "9112 §6.1", b"Transfer-Encoding: gzip", BODY, 501, 400),
    framing("te.unknown-xchunked", "9112 §6.1", b"Transfer-Encoding: xchunked", BODY, 501, 400),
    framing("te.unknown-chunkedx", "9112 §6.1", b"Transfer-Encoding: chunkedx", BODY, 501, 400),
    framing("te.gzip-chunked", "9112 §6.1", b"Transfer-Encoding: gzip, chunked", BODY, 501),
    framing("te.gzip-chunked-two-lines", "9112 §6.1", b"Transfer-Encoding: gzip\r\n" + CHUNKED, BODY, 501),
    framing("te.identity", "9112 §7", b"Transfer-Encoding: identity", b"hello", 400, 501),
    framing("te.identity-and-cl", "9112 §6.3 (3)", b"Transfer-Encoding: identity\r\nContent-Length: 5", b"hello", 400, 501),
    framing("te.identity-chunked", "9112 §7", b"Transfer-Encoding: identity, chunked", BODY, 400, 501),
    framing("te.chunked-then-identity", "9112 §6.3", CHUNKED + b"\r\nTransfer-Encoding: identity", BODY, 400, 501),
    framing("te.identity-then-chunked", "9112 §6.3", b"Transfer-Encoding: identity\r\n" + CHUNKED, BODY, 400, 501),
    framing("te.empty", "9112 §6.1", b"Transfer-Encoding:", b"hello"),
    framing("te.empty-and-cl", "9112 §6.1", b"Transfer-Encoding:\r\nContent-Length: 5", b"hello"),
    framing("te.empty-element-before", "CVE-2019-16786", b"Transfer-Encoding: , chunked", BODY),
    framing("te.empty-element-behind", "9110 §5.6.1.2", b"Transfer-Encoding: chunked,", BODY),
    framing("te.empty-element-between", "9110 §5.6.1.2", b"Transfer-Encoding: gzip,, chunked", BODY, 400, 501),
    framing("te.empty-line-then-chunked", "9112 §6.3", b"Transfer-Encoding:\r\n" + CHUNKED, BODY),
    framing("te.params", "9112 §7.1", b"Transfer-Encoding: chunked;a=b", BODY, 400, 501),
    framing("te.quoted", "9112 §7", b'Transfer-Encoding: "chunked"', BODY, 400, 501),
    framing("te.two-words", "CVE-2022-32213", b"Transfer-Encoding: chunked chunked", BODY, 400, 501),
    framing("te.eaten", "CVE-2022-32213", b"Transfer-Encoding: chunkedchunked", BODY, 400, 501),
    framing("te.leading-vt", "9110 §5.5", b"Transfer-Encoding: \x0bchunked", BODY),
    framing("te.trailing-ff", "9110 §5.5", b"Transfer-Encoding: chunked\x0c", BODY),
    framing("te.leading-nul", "9110 §5.5", b"Transfer-Encoding: \0chunked", BODY),
    framing("te.nbsp", "9110 §5.5", b"Transfer-Encoding: \xa0chunked", BODY, 400, 501),
    framing("te.utf-8", "9112 §7", "Transfer-Encoding: chun\u212aed".encode(), BODY, 400, 501),
    framing("te.sp-before-colon", "9112 §5.1", b"Transfer-Encoding : chunked", BODY),
    framing("te.tab-in-name", "9110 §5.1", b"Transfer\tEncoding: chunked", BODY),
    framing("te.obs-fold", "9112 §5.2", b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5", BODY),
    framing("te.obs-fold-alone", "CVE-2022-32215", b"Transfer-Encoding:\r\n chunked", BODY),
    framing("te.bare-lf-fold", "CVE-2022-32214", b"X: y\nTransfer-Encoding: chunked", BODY),
    framing("te.bare-cr-fold", "9112 §2.2", b"X: y\rTransfer-Encoding: chunked", BODY),
    Case("te.http10", "9112 §6.1", b"POST / HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n\r\n" + BODY, frozenset({400, 501})),
    Case(
        "te.http10-keep-alive",
        "9112 §6.1",
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n" + CHUNKED + b"\r\n\r\n" + BODY,
        frozenset({400, 501}),
    ),
    Case("te.http10-and-cl", "9112 §6.1", b"POST / HTTP/1.0\r\nContent-Length: 5\r\n" + CHUNKED + b"\r\n\r\n" + BODY, frozenset({400, 501})),
]

CHUNKS = [
    *(
        chunk(f"size-{name}", "9112 §7.1", size + b"\r\nhello\r\n0\r\n\r\n")
        for name, size in {
            "0x": b"0x5",
            "plus": b"+5",
            "minus": b"-5",
            "underscore": b"0_5",
            "leading-sp": b" 5",
            "leading-tab": b"\t5",
            "trailing-sp": b"5 ",
            "trailing-tab": b"5\t",
            "empty": b"",
            "letter": b"g",
            "h": b"5h",
            "float": b"5.0",
            "quoted": b'"5"',
            "fullwidth": "\uff15".encode(),
            "nul": b"5\0",
            "comma": b"5,5",
            "17-digits": b"FFFFFFFFFFFFFFFF0",
            "2-to-64-and-5": b"10000000000000005",
            "1000-digits": b"0" * 1000 + b"5",
        }.items()
    ),
    chunk("size-2-to-64-less-1", "9112 §7.1", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413, 400),
    chunk("size-2-to-63", "9112 §7.1", b"8000000000000000\r\nhello\r\n0\r\n\r\n", 413, 400),
    chunk("spill", "CVE-2025-43859", b"5\r\nhello!!0\r\n\r\n"),
    chunk("missing-crlf", "CVE-2025-43859", b"5\r\nhello0\r\n\r\n"),
    chunk("data-longer-than-size", "9112 §7.1", b"4\r\nhello\r\n0\r\n\r\n"),
    chunk("lf-behind-size", "9112 §7.1, erratum 7633", b"5\nhello\r\n0\r\n\r\n"),
    chunk("lf-behind-data", "9112 §7.1, erratum 7633", b"5\r\nhello\n0\r\n\r\n"),
    chunk("lf-behind-last-chunk", "9112 §7.1, erratum 7633", b"5\r\nhello\r\n0\n\r\n"),
    chunk("crlf-lf-at-the-end", "9112 §7.1, erratum 7633", b"5\r\nhello\r\n0\r\n\n"),
    chunk("cr-behind-size", "9112 §7.1", b"5\rhello\r\n0\r\n\r\n"),
    chunk("cr-behind-data", "9112 §7.1", b"5\r\nhello\rX0\r\n\r\n"),
    chunk("cr-at-the-end", "9112 §7.1", b"5\r\nhello\r\n0\r\n\rX"),
    chunk("ext-no-name", "9112 §7.1.1", b"5;\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-empty", "9112 §7.1.1", b"5;;a\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-no-value", "9112 §7.1.1", b"5;a=\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-bad-name", "9112 §7.1.1", b"5;bad[=x\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-two-words", "9112 §7.1.1", b"5;a b\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-open-quote", "9112 §7.1.1", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    chunk("ext-nul", "9112 §7.1.1", b"5;a\0\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-bel", "9112 §7.1.1", b"5;a\x07\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-cr", "9112 §7.1.1", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-lf", "CVE-2023-38697", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-quoted-crlf", "9112 §7.1.1", b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'),
    chunk("ext-quoted-nul", "9112 §7.1.1", b'5;a="\0"\r\nhello\r\n0\r\n\r\n'),
    chunk("ext-term", "9112 §11.2", b"2;\nxx\r\n4c\r\n0\r\n\r\n" + GET + b"0\r\n\r\n"),
    chunk("ext-64k", "9112 §7.1.1", b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n"),
    chunk("ext-many-small", "CVE-2023-39326", b"1;aaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 10_000 + b"0\r\n\r\n"),
    chunk("ext-4k-in-last", "9112 §7.1.1", b"0;" + b"a" * 4096 + b"\r\n\r\n"),
    chunk("trailer-no-colon", "9112 §7.1.2", b"0\r\nNoColon\r\n\r\n"),
    chunk("trailer-sp-before-colon", "9112 §7.1.2", b"0\r\nX : y\r\n\r\n"),
    chunk("trailer-empty-name", "9112 §7.1.2", b"0\r\n: y\r\n\r\n"),
    chunk("trailer-obs-fold", "9112 §5.2", b"0\r\nX: y\r\n z\r\n\r\n"),
    chunk("trailer-leading-sp", "9112 §5.2", b"0\r\n X: y\r\n\r\n"),
    chunk("trailer-nul", "9110 §5.5", b"0\r\nX: \0\r\n\r\n"),
    chunk("trailer-bare-cr", "9112 §2.2", b"0\r\nX: y\rz\r\n\r\n"),
    chunk("trailer-bare-lf", "9112 §2.2", b"0\r\nX: y\nZ: z\r\n\r\n"),
    chunk("trailer-too-long", "9110 §5.4", b"0\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    chunk("trailer-too-many", "9110 §5.4", b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
    chunk("trailer-a-request", "9112 §11.2", b"0\r\n" + GET),
]

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def handshake(name: str, clause: str, lines: bytes, *statuses: int, body: bytes = b"") -> Case:
    """A bad opening handshake."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    return Case("ws." + name, clause, head + lines + b"\r\n" + body, frozenset(statuses or (400,)))


VERSION = b"Sec-WebSocket-Version: 13\r\n"

HANDSHAKES = [
    handshake("no-key", "6455 §4.2.1", VERSION),
    handshake("short-key", "6455 §4.2.1", VERSION + b"Sec-WebSocket-Key: c2hvcnQ=\r\n"),
    handshake("long-key", "6455 §4.2.1", VERSION + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQdGhl==\r\n"),
    handshake("no-base64-key", "6455 §4.2.1", VERSION + b"Sec-WebSocket-Key: ######################==\r\n"),
    handshake("empty-key", "6455 §4.2.1", VERSION + b"Sec-WebSocket-Key:\r\n"),
    handshake("two-keys", "6455 §11.3.1", VERSION + KEY + KEY),
    handshake("no-version", "6455 §4.2.1", KEY, 400, 426),
    handshake("version-8", "6455 §4.4", KEY + b"Sec-WebSocket-Version: 8\r\n", 426),
    handshake("version-12", "6455 §4.4", KEY + b"Sec-WebSocket-Version: 12\r\n", 426),
    handshake("version-99", "6455 §4.4", KEY + b"Sec-WebSocket-Version: 99\r\n", 426),
    handshake("version-13x", "6455 §4.4", KEY + b"Sec-WebSocket-Version: 13x\r\n", 426),
    handshake("version-twice", "6455 §11.3.5", KEY + VERSION + VERSION),
    handshake("subprotocol-not-ascii", "CVE-2026-42544", KEY + VERSION + b"Sec-WebSocket-Protocol: \x80\xff\r\n"),
    handshake("subprotocol-two-words", "6455 §11.3.4", KEY + VERSION + b"Sec-WebSocket-Protocol: a b\r\n"),
    handshake("extension-malformed", "6455 §9.1", KEY + VERSION + b"Sec-WebSocket-Extensions: ;;\r\n"),
    handshake("body", "6455 §4.1", KEY + VERSION + b"Content-Length: 5\r\n", body=b"hello"),
    handshake("chunked-body", "6455 §4.1", KEY + VERSION + CHUNKED + b"\r\n", body=BODY),
]

CASES = LINES + FIELDS + HOSTS + LENGTHS + CODINGS + CHUNKS + HANDSHAKES

# How a case is fed: (what comes before it, what comes behind it, in pieces of how many bytes).
WAYS = {
    "whole": (b"", b"", None),
    "bytewise": (b"", b"", 1),
    "followed": (b"", GET, None),
    "behind-a-good-one": (GET, GET, None),
    "bytewise-between-good-ones": (GET, GET, 1),
}


def outcome(wire: Wire, *, told_apart: bool = True) -> tuple[object, ...]:
    """What a client and the application can tell of a connection; without ``told_apart`` every refusal is a 400."""
    # Whether a client that held its body back was told to continue depends on what of it was there already.
    written = wire.transport.written.replace(CONTINUE, b"")
    try:
        # A refusal's words are the parser's own.
        answers = [
            (response.status, response.body, response.framing) if response.status < 400 else (response.status if told_apart else 400, b"", "")
            for response in read_responses(written, wire.methods)
        ]
    except Truncated:
        answers = [(0, written, "cut")]
    seen = [call if call.ending == "whole" else call._replace(body=b"") for call in wire.seen]
    return answers, seen, wire.transport.ended, wire.transport.aborted, [status if told_apart else 400 for _, status in wire.owner.refusals]


def check(case: Case, parser: str, way: str) -> tuple[object, ...]:
    before, behind, cut = WAYS[way]
    data = before + case.data + behind
    if cut and len(data) > 20_000:
        cut = 97  # as good, and a hundred times as fast
    wire = Wire(echo, parser)
    wire.feed(data, cut)
    early = wire.statuses
    # Nothing waits for ever, and what is refused is closed, after a linger.
    wire.advance(120)
    assert wire.transport.closed, wire.transport.written
    assert wire.owner.closes == 1
    good = 1 if before else 0
    responses = wire.responses
    assert [response.status for response in responses] == early, "the refusal must not wait for a timeout"
    assert len(responses) == good + 1, responses
    assert responses[-1].status in case.statuses, responses[-1]
    assert responses[-1].closes
    assert wire.owner.refusals[-1][1] == responses[-1].status
    assert len(wire.owner.refusals) == 1
    if good:
        assert responses[0].status == 200
        assert not responses[0].closes
    assert all(call.finished for call in wire.calls)
    assert len(wire.seen) <= good + case.begins
    assert [seen.ending for seen in wire.seen[good:]] == ["aborted"] * (len(wire.seen) - good)
    assert wire.owner.over == wire.owner.begun
    return outcome(wire)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_what_is_ambiguous_is_refused_and_the_connection_closed(case: Case, way: str) -> None:
    outcomes = [check(case, parser, way) for parser in AVAILABLE]
    assert all(found == outcomes[0] for found in outcomes), "the parsers disagree"


def test_the_table_has_no_two_rows_of_one_name() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in (LINES[0], FIELDS[0], LENGTHS[0])])
def test_a_refusal_says_why_and_quotes_nothing_of_the_request(case: Case, parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(case.data)
    (response,) = wire.responses
    assert response.one(b"content-type") == b"text/plain; charset=utf-8"
    assert b"RFC 9112" in response.body
    assert response.one(b"date")
    assert response.one(b"server")


@pytest.mark.parametrize("parser", PARSERS)
def test_426_names_the_version_that_is_served(parser: str) -> None:
    wire = Wire(parser=parser)
    wire.feed(next(case.data for case in HANDSHAKES if case.name == "ws.version-8"))
    (response,) = wire.responses
    assert response.one(b"upgrade") == b"websocket"
    assert response.one(b"sec-websocket-version") == b"13"
    assert sorted(response.one(b"connection").split(b", ")) == [b"close", b"upgrade"]  # type: ignore[union-attr]  # None fails as well
    assert response.status == 426


# ---- any bytes at all ------------------------------------------------------------------------------------------------------------

_SPECIMENS = [
    GET,
    b"POST /a%20b?c=d HTTP/1.1\r\nHost: test.example:80\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX-T: y\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, foo\r\nConnection: upgrade, HTTP2-Settings\r\n\r\n",
    b"GET http://b.example/p?q HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"DELETE / HTTP/1.1\r\nHost: [::1]:8000\r\nProxy-Connection: close\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\n\r\n",
    b"\r\nM-SEARCH /;a=b HTTP/1.2\r\nHost: a\r\n\r\n",
    CHUNKS[0].data,
    CODINGS[0].data,
]
_TOKENS = [
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b" ", b"\t", b"\0", b"\x0b", b"\x7f", b"\xff"),
    *(b":", b": ", b",", b";", b"=", b'"', b"%", b"?", b"#", b"*", b"/", b"0", b"5", b"f", b"@"),
    *(b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"HTTP/2.0", b"CONNECT ", b"http://", b"close", b"keep-alive", b"chunked", b"5\r\n", b"0\r\n\r\n"),
    *(b"Host: a\r\n", b"Host:", b"X: y\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Expect: 100-continue\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: foo\r\n"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Some requests in a row, with some of their bytes replaced, taken out, doubled, or put in between."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(_SPECIMENS), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 8))
        piece = draw(st.sampled_from(_TOKENS) | st.binary(max_size=3) | st.just(bytes(data[at : at + 12])))
        data[at : at + size] = piece
    return bytes(data)


def _told_apart(data: bytes) -> bool:
    """Whether refusals are compared by their status.

    Not where there is a bare CR or LF: that gets its 400 as soon as it is seen, so that a request with another fault before it gets that one's status
    only where both come at once.
    """
    bare = data.replace(b"\r\n", b"")
    return not (b"\n" in bare or b"\r" in bare)


def served(data: bytes, parser: str, cuts: list[int] | int | None) -> tuple[object, ...]:
    """What came of ``data``; a fault in any callback of the connection goes up."""
    wire = Wire(echo, parser)
    wire.feed(data, cuts)
    # Whether a close lingers depends on what has arrived by then.
    told_apart = _told_apart(data)
    before = outcome(wire, told_apart=told_apart)[:2], wire.connection.phase.replace("linger", "closed")
    wire.feed_eof()
    wire.advance(120)
    assert wire.owner.closes == 1
    assert wire.owner.over == wire.owner.begun
    assert all(call.finished for call in wire.calls)
    return before, outcome(wire, told_apart=told_apart)


@pytest.mark.parametrize("fault", [b"GET / HTTP/2.0", b"get / HTTP/1.1", b"CONNECT a:1 HTTP/1.1"])
def test_a_request_with_two_faults_is_refused_however_it_is_cut(fault: bytes) -> None:
    check_cuts(fault + b"\r\nHost: a\nX: y\r\n\r\n" + GET, [20])


def check_cuts(data: bytes, cuts: list[int]) -> None:
    found = [served(data, parser, cut) for parser in AVAILABLE for cut in (None, cuts, 1)]
    assert all(other == found[0] for other in found)


@examples(400)
@given(mutated(), st.lists(st.integers(1, 400), max_size=6))
def test_mutated_requests_come_out_the_same_however_they_are_cut_and_parsed(data: bytes, cuts: list[int]) -> None:
    check_cuts(data, cuts)


@examples(150)
@given(st.lists(st.sampled_from(_TOKENS) | st.binary(max_size=6), max_size=30).map(b"".join), st.lists(st.integers(1, 100), max_size=4))
def test_arbitrary_bytes_come_out_the_same_however_they_are_cut_and_parsed(data: bytes, cuts: list[int]) -> None:
    check_cuts(data, cuts)


@examples(150)
@given(
    st.lists(st.sampled_from(_TOKENS) | st.binary(max_size=6), max_size=30).map(b"".join),
    st.lists(st.integers(1, 100), max_size=4),
)
def test_arbitrary_chunks_come_out_the_same_however_they_are_cut_and_parsed(body: bytes, cuts: list[int]) -> None:
    check_cuts(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + body, cuts)


@examples(100)
@given(mutated(), st.lists(st.integers(1, 400), max_size=6))
def test_an_application_that_answers_at_once_meets_no_fault_either(data: bytes, cuts: list[int]) -> None:
    for parser in AVAILABLE:
        for eager in (False, True):
            wire = Wire(answer, parser, eager=eager)
            wire.feed(data, cuts)
            wire.advance(120)
            assert wire.owner.closes == 1
            assert all(200 <= response.status < 600 for response in read_responses(wire.transport.written, wire.methods))
            assert wire.owner.over == wire.owner.begun
