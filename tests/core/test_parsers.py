"""httptools and h11 behind one call: the same callbacks, the same requests and the same refusals for the same heads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.config import Limits
from asgiserve.core.http1_head import HeadReader
from asgiserve.core.parsers import choose_parser
from asgiserve.errors import ConfigError, RemoteProtocolError
from tests.support.properties import examples

if TYPE_CHECKING:
    from asgiserve.core.parsers import ParserFactory

FACTORIES = {name: choose_parser(name) for name in ("httptools", "h11")}
BOTH = list(FACTORIES.values())
both = pytest.mark.parametrize("factory", BOTH, ids=list(FACTORIES))


class Callbacks:
    """What a parser called."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        assert not self.complete, "a field behind the head"
        assert type(name) is bytes
        assert type(value) is bytes
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete += 1


def parse(factory: ParserFactory, head: bytes) -> list[tuple[bytes, bytes]] | None:
    """The fields of ``head``, or None where the parser refused it. What it raises behind the end of the head does not count."""
    callbacks = Callbacks()
    try:
        factory.make(callbacks).feed_data(head)
    except Exception:  # noqa: BLE001 - each parser has its own, and that is the point
        if not callbacks.complete:
            return None
    assert callbacks.complete == 1, "neither refused nor complete"
    return callbacks.fields


# ---- choosing


def test_auto_is_httptools_where_it_is_installed() -> None:
    assert choose_parser("auto").name == "httptools"


@pytest.mark.parametrize("name", list(FACTORIES))
def test_a_parser_is_chosen_by_its_name(name: str) -> None:
    assert choose_parser(name).name == name


def test_auto_is_h11_where_httptools_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert choose_parser("auto").name == "h11"
    assert choose_parser("h11").name == "h11"


def test_asking_for_httptools_where_it_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    with pytest.raises(ConfigError, match=r"--http httptools: .*not installed.*--http h11") as caught:
        choose_parser("httptools")
    assert "\n" not in str(caught.value)


# ---- the callbacks


def head_of(*lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A head with a Host."""
    return b"\r\n".join([method + b" / HTTP/" + version, b"Host: x", *lines, b"", b""])


@both
@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        pytest.param([], [], id="only Host"),
        pytest.param([b"X-A: 1", b"X-A: 2", b"x-a: 3"], [(b"x-a", b"1"), (b"x-a", b"2"), (b"x-a", b"3")], id="h1.field.dup-preserved"),
        pytest.param([b"X-A: \t v w"], [(b"x-a", b"v w")], id="whitespace before a value"),
        pytest.param([b"X-A:"], [(b"x-a", b"")], id="h1.field.empty-value"),
        pytest.param([b"!#$%&'*+-.^_`|~0aA: v"], [(b"!#$%&'*+-.^_`|~0aa", b"v")], id="h1.field.tchar-names"),
        pytest.param([b"X: \x80\xff"], [(b"x", b"\x80\xff")], id="h1.field.obs-text"),
        pytest.param([b"X: a\tb"], [(b"x", b"a\tb")], id="a tab in a value"),
        pytest.param([b"X: " + b"v" * 60_000], [(b"x", b"v" * 60_000)], id="a long value"),
        pytest.param([b"N" * 60_000 + b": v"], [(b"n" * 60_000, b"v")], id="a long name"),
        pytest.param([b"X-%d: v" % number for number in range(2000)], [(b"x-%d" % number, b"v") for number in range(2000)], id="2000 fields"),
        pytest.param([b"Content-Length: 5"], [(b"content-length", b"5")], id="a length"),
        pytest.param([b"Content-Length: 0005"], [(b"content-length", b"0005")], id="h1.cl.leading-zeros"),
        pytest.param([b"Transfer-Encoding: cHuNkEd"], [(b"transfer-encoding", b"cHuNkEd")], id="h1.te.case"),
        pytest.param([b"Connection: close"], [(b"connection", b"close")], id="close"),
        pytest.param([b"Connection: upgrade", b"Upgrade: foo"], [(b"connection", b"upgrade"), (b"upgrade", b"foo")], id="an upgrade"),
        pytest.param([b"Expect: 100-continue"], [(b"expect", b"100-continue")], id="an expectation"),
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_good_head_gives_its_fields_as_they_were_sent(
    factory: ParserFactory, lines: list[bytes], fields: list[tuple[bytes, bytes]], version: bytes
) -> None:
    assert parse(factory, head_of(*lines, version=version)) == [(b"host", b"x"), *fields]


@both
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"X-A : 1", id="h1.field.sp-before-colon"),
        pytest.param(b": v", id="h1.field.empty-name"),
        pytest.param(b"NoColon", id="h1.field.no-colon"),
        pytest.param(b"Bad[Name: v", id="h1.field.invalid-name-char"),
        pytest.param(b"X\x80: v", id="obs-text in a name"),
        pytest.param(b"X\tY: v", id="a tab in a name"),
        pytest.param(b"X: a\r\n b", id="h1.field.obs-fold"),
        pytest.param(b"Transfer-Encoding:\r\n chunked", id="h1.te.obs-fold"),
        pytest.param(b"  ", id="h1.field.ws-only-line"),
        pytest.param(b"X: a\rb", id="h1.field.bare-cr-value"),
        pytest.param(b"X: a\nY: b", id="h1.field.bare-lf-line"),
        pytest.param(b"X: a\x00b", id="h1.field.nul-value"),
        pytest.param(b"X: a\x08b", id="BS"),
        pytest.param(b"X: a\x0bb", id="VT"),
        pytest.param(b"X: a\x1bb", id="ESC"),
        pytest.param(b"X: a\x7fb", id="DEL"),
        pytest.param(b"X: a\r", id="two CR"),
    ],
)
def test_a_malformed_field_is_refused_by_both(factory: ParserFactory, line: bytes) -> None:
    assert parse(factory, head_of(line)) is None
    assert parse(factory, head_of(b"A: 1", line, b"B: 2")) is None


@both
def test_a_second_head_can_be_fed_where_the_first_had_no_body(factory: ParserFactory) -> None:
    callbacks = Callbacks()
    parser = factory.make(callbacks)
    for number in range(3):
        callbacks.complete = 0
        parser.feed_data(head_of(b"X: %d" % number))
        assert callbacks.complete == 1
    assert [value for name, value in callbacks.fields if name == b"x"] == [b"0", b"1", b"2"]


# ---- the same requests


class Read(NamedTuple):
    """What became of a head: a request, or the status of its refusal."""

    status: int
    facts: tuple[object, ...] = ()


def read(reader: HeadReader, head: bytes) -> Read:
    try:
        request = reader.read(head)
    except RemoteProtocolError as error:
        return Read(error.status)
    return Read(
        0,
        (
            request.method,
            request.target,
            request.minor_version,
            tuple(request.fields),
            request.framing.body_length,
            request.framing.keep_alive,
            request.framing.expects_continue,
            request.framing.trailers_wanted,
            request.framing.upgrade,
            request.framing.forwarded,
        ),
    )


def new_reader(factory: ParserFactory) -> HeadReader:
    return HeadReader(Limits(), factory, websocket=True)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param([b"Content-Length: 5, 5"], 400, id="h1.cl.list-same"),
        pytest.param([b"Content-Length: 5", b"Content-Length: 5"], 400, id="two equal lengths"),
        pytest.param([b"Content-Length: 5", b"Content-Length: 6"], 400, id="h1.cl.dup-different"),
        pytest.param([b"Content-Length: +5"], 400, id="h1.cl.sign"),
        pytest.param([b"Content-Length:"], 400, id="an empty length"),
        pytest.param([b"Content-Length: %d" % 2**63], 413, id="2**63"),
        pytest.param([b"Content-Length: %d" % 2**64], 400, id="2**64"),
        pytest.param([b"Transfer-Encoding: chunked", b"Content-Length: 5"], 400, id="h1.te.te-and-cl"),
        pytest.param([b"Content-Length: 5", b"Transfer-Encoding: chunked"], 400, id="h1.te.te-and-cl the other way round"),
        pytest.param([b"Transfer-Encoding: gzip, chunked"], 501, id="h1.te.gzip-chunked"),
        pytest.param([b"Transfer-Encoding: chunked, gzip"], 400, id="h1.te.not-final"),
        pytest.param([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400, id="h1.te.double-chunked"),
        pytest.param([b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], 400, id="h1.te.two-lines"),
        pytest.param([b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"], 501, id="identity before chunked"),
        pytest.param([b"Transfer-Encoding: identity"], 400, id="h1.te.identity"),
        pytest.param([b"Transfer-Encoding: , chunked"], 400, id="h1.te.empty-elements"),
        pytest.param([b"Transfer-Encoding:"], 400, id="h1.te.empty"),
        pytest.param([b"Host: x"], 400, id="h1.host.two"),
        pytest.param([b"Expect: something"], 417, id="another expectation"),
    ],
)
def test_what_a_head_means_is_not_the_parsers_affair(lines: list[bytes], status: int) -> None:
    for factory in BOTH:
        assert read(new_reader(factory), head_of(*lines, method=b"POST")) == Read(status), factory.name


@both
@pytest.mark.parametrize(
    "line",
    [
        b"Proxy-Connection: close",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Connection: upgrade\r\nUpgrade: h2c",
        b"Connection: closed",
        b"Connection: close x",
        b"Connection: upgrade\r\nUpgrade: h2c",
        b"Upgrade: h2c",
        b"Content-Length: 0",
    ],
    ids=repr,
)
def test_a_field_that_keeps_the_connection_leaves_the_reader_ready_for_the_next_head(factory: ParserFactory, line: bytes) -> None:
    # llhttp obeys Proxy-Connection: close, and then refuses whatever follows.
    reader = new_reader(factory)
    request = reader.read(head_of(line))
    assert request.framing.keep_alive
    assert reader.read(head_of(b"X: 1")).fields == [(b"host", b"x"), (b"x", b"1")]


names = st.one_of(
    st.sampled_from(
        [
            *(b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Proxy-Connection", b"Upgrade", b"Expect", b"TE"),
            *(b"X-Forwarded-For", b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"X", b"Trailer", b"transfer_encoding"),
        ]
    ),
    st.text("aZ0-_~!|", min_size=1, max_size=5).map(str.encode),
)
values = st.one_of(
    st.sampled_from(
        [
            *(b"", b"0", b"5", b"05", b"5, 5", b"-1", b"+1", b"99999999999999999999", b"9007199254740993"),
            *(b"chunked", b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b", chunked", b"chunked;a=b"),
            *(b"close", b"keep-alive", b"Close, Keep-Alive", b"upgrade", b"close;x", b"x close", b",close,", b"clos", b"closex"),
            *(b"websocket", b"h2c", b"100-continue", b"100-Continue, x", b"trailers", b"13", b"dGhlIHNhbXBsZSBub25jZQ=="),
            *(b"x", b"x:80", b"[::1]", b"a b", b"u@x"),
        ]
    ),
    st.binary(max_size=8).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
)
spaces = st.sampled_from([b"", b" ", b"  ", b"\t", b" \t "])
good_lines = st.tuples(names, spaces, values, spaces).map(lambda parts: parts[0] + b":" + b"".join(parts[1:]))
bad_lines = st.lists(
    st.sampled_from([b"X", b":", b" ", b"\t", b"\r", b"\n", b"\r\n", b"a", b"\x00", b"\x0b", b"\xff", b"Host"]), min_size=1, max_size=6
).map(b"".join)
request_lines = st.one_of(
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"FROB", b"PRI", b"get", b"M-SEARCH", b"CONNECT"]),
        st.sampled_from([b"/", b"/p?q", b"*", b"http://h/p", b"http://h", b"h:1", b"/%zz", b"/a#b"]),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9"]),
    ).map(b" ".join),
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A head: the request line, fields good and bad, one empty line and nothing behind it."""
    lines = draw(st.lists(st.one_of(good_lines, good_lines, good_lines, bad_lines), max_size=5))
    if draw(st.sampled_from([True, True, True, False])):
        lines.insert(draw(st.integers(0, len(lines))), b"Host: x")
    head = draw(request_lines) + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    # As the connection cuts them: up to the first empty line.
    return head[: head.index(b"\r\n\r\n") + 4]


@examples(600)
@given(heads())
def test_both_parsers_read_the_same_request_or_refuse_it_with_the_same_status(head: bytes) -> None:
    outcomes = {factory.name: read(new_reader(factory), head) for factory in BOTH}
    assert outcomes["httptools"] == outcomes["h11"]


@examples(200)
@given(st.lists(heads(), min_size=2, max_size=4))
def test_both_parsers_agree_on_the_heads_of_one_connection(pipelined: list[bytes]) -> None:
    readers = {factory.name: new_reader(factory) for factory in BOTH}
    for head in pipelined:
        outcomes = [read(reader, head) for reader in readers.values()]
        assert outcomes[0] == outcomes[1]
        # As on a connection: an error ends it, and so does a request that does not keep it.
        if outcomes[0].status or not outcomes[0].facts[5]:
            return
        # What was read before changes nothing.
        assert outcomes[0] == read(new_reader(BOTH[0]), head)


lines_only = st.lists(st.tuples(st.text("aZ-", min_size=1, max_size=4).map(str.encode), spaces, st.text("a \t,;=\xe9", max_size=6)), max_size=6)


@examples(300)
@given(lines_only)
def test_both_parsers_call_the_same(fields: list[tuple[bytes, bytes, str]]) -> None:
    # What stands behind a value is taken away before (`strip_line_whitespace`): llhttp leaves it in.
    lines = [name + b":" + space + value.strip().encode("latin-1") for name, space, value in fields]
    expected = [(b"host", b"x"), *((name.lower(), value.strip().encode("latin-1")) for name, _, value in fields)]
    for factory in BOTH:
        assert parse(factory, head_of(*lines)) == expected, factory.name
