"""The parsers of fields, lines, targets, chunks, forwarded fields and handshakes, one by one.

The law of this module: each raises its documented protocol error and nothing else, and what it accepts is held against a second reading: written down
again it is read as the same, cut it is read as whole, and where the grammar is simple it is read by something simpler.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from asgiserve.asgi.proxy import TrustedProxies
from asgiserve.core.chunked import ChunkedReader
from asgiserve.core.websocket_handshake import accept_fields, check_handshake, negotiate_extensions, offered_subprotocols
from asgiserve.errors import LocalProtocolError, RemoteProtocolError
from asgiserve.http import fields, framing, lines, target
from fuzz import corpus
from fuzz.engine import Choices, Input, Target
from fuzz.mutate import mutate, noise

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

__all__ = ["FIELDS"]

_STATUSES: Final = {400, 413, 417, 426, 431, 501, 505}
_PARTS: Final = (
    b",",
    b", ",
    b";",
    b"=",
    b'"',
    b"\\",
    b" ",
    b"\t",
    b":",
    b"[",
    b"]",
    b"::1",
    b"%",
    b"1",
    b"9" * 30,
    b"for=",
    b"proto=",
    b"a",
    b"\xff",
    b"\r\n",
)
_METHODS: Final = (b"GET", b"OPTIONS", b"CONNECT", b"FROB")
_TRUSTED: Final = TrustedProxies(["10.0.0.0/8", "127.0.0.1", "::1", "proxy"])
_STANDARD: Final = TrustedProxies(["10.0.0.0/8", "127.0.0.1", "::1"], standard=True)
_CLIENT: Final = ("10.0.0.9", 5)


def _refused(error: RemoteProtocolError) -> None:
    """What a refusal must have, to be an answer."""
    assert error.status in _STATUSES, error.status
    assert "\n" not in str(error)
    assert error.clause


def _field_lines(data: bytes, _: Choices) -> None:
    try:
        found = fields.parse_field_lines(data)
    except RemoteProtocolError as error:
        _refused(error)
        return
    assert not lines.lone_line_break(data)
    assert len(found) == data.count(b"\r\n")
    for name, value in found:
        assert fields.valid_token(name)
        assert name == name.lower()
        assert fields.valid_value(value)
        assert value == value.strip(b" \t")
    assert fields.parse_field_lines(b"".join(name + b": " + value + b"\r\n" for name, value in found)) == found
    assert fields.parse_field_lines(lines.strip_line_whitespace(data)) == found


def _list(data: bytes, _: Choices) -> None:
    found = fields.list_elements(data)
    assert found == fields.list_elements(b", ".join(found))
    assert found == [part for part in (piece.strip(b" \t") for piece in data.lower().split(b",")) if part]


def _response_fields(data: bytes, choices: Choices) -> None:
    pairs: list[Any] = [tuple(line.split(b":", 1)) for line in data.split(b"\r\n" if choices.below(2) else b"\n")]
    if choices.below(4) == 1:
        pairs.append(choices.pick(((1, b""), (b"a", "b"), None, (b"a",), (b"a", b"b", b"c"), ("a", b"b"), (bytearray(b"a"), b"b"), ([], b""))))
    try:
        found = fields.check_response_fields(pairs)
    except LocalProtocolError:
        return
    assert [(name.lower(), value) for name, value in pairs] == found
    written = b"".join(name + b": " + value + b"\r\n" for name, value in found)
    assert fields.parse_field_lines(written) == [(name, value.strip(b" \t")) for name, value in found]
    assert fields.check_response_fields(found) == found


def _lines(data: bytes, choices: Choices) -> None:
    start = choices.below(len(data) + 1) if len(data) < 255 else 0
    plain = data.replace(b"\r\n", b"")
    lone = b"\n" in plain or b"\r" in (plain[:-1] if data.endswith(b"\r") else plain)
    assert lines.lone_line_break(data) == lone
    if not lines.lone_line_break(data[:start]):
        # Searched in two goes it is as searched at once: what is before `start` was whole or is looked at again.
        assert lines.lone_line_break(data, start) == lone
    stripped = lines.strip_line_whitespace(data)
    assert lines.strip_line_whitespace(stripped) == stripped
    assert stripped.replace(b" ", b"").replace(b"\t", b"") == data.replace(b" ", b"").replace(b"\t", b"")
    assert stripped.count(b"\r\n\r\n") == data.count(b"\r\n\r\n"), "an empty line that was none"


def _request_line(data: bytes, _: Choices) -> None:
    head = data + b"\r\n\r\n"
    try:
        line = target.parse_request_line(head)
        found = target.parse_target(line.method, line.target)
    except RemoteProtocolError as error:
        _refused(error)
        return
    assert fields.valid_token(line.method)
    assert b"%b %b HTTP/1.%d\r\n" % (line.method, line.target, line.minor_version) == head[: line.end]
    for size in range(line.end):
        assert target.begins_request_line(head[:size]) is not None, head[:size]
    _check_target(line.method, found)


def _target(data: bytes, choices: Choices) -> None:
    method = choices.pick(_METHODS)
    try:
        found = target.parse_target(method, data)
    except RemoteProtocolError as error:
        _refused(error)
        return
    _check_target(method, found)


def _check_target(method: bytes, found: target.Target) -> None:
    if found.raw_path == b"*":
        assert method == b"OPTIONS"
        return
    assert found.raw_path.startswith(b"/")
    text = found.raw_path + found.query
    assert text.isascii()
    assert text.decode().isprintable()
    assert not set(b" #") & set(text)
    assert not set(b"\\?") & set(found.raw_path)
    assert found.path == unquote(found.raw_path.decode())
    if found.authority is not None:
        assert target.valid_host(found.authority)
    whole = found.raw_path + (b"?" + found.query if found.query else b"")
    assert target.parse_target(method, whole) == found._replace(authority=None)


def _host(data: bytes, _: Choices) -> None:
    found = target.split_authority(data)
    assert target.valid_host(data) == (found is not None)
    if found is None:
        return
    host, port = found
    assert host
    assert (host if port is None else host + b":" + port) == data
    assert not set(b'/?#@, \t\\<>"') & set(data)
    assert data.isascii()
    assert port is None or not port or int(port) <= 65535
    if host.startswith(b"[") and not host.startswith(b"[v"):
        ipaddress.IPv6Address(host[1:-1].decode())


def _framing(data: bytes, choices: Choices) -> None:
    values = data.split(b"\n")
    codings = values[: choices.below(3)]
    lengths = values[len(codings) :] if choices.below(2) else []
    try:
        length = framing.request_body_length(choices.below(2), codings, lengths)
    except RemoteProtocolError as error:
        _refused(error)
    else:
        assert not (codings and lengths), "two framings"
        if codings:
            assert length == framing.CHUNKED
            assert b",".join(codings).strip(b" \t").lower() == b"chunked"
        elif lengths:
            assert lengths[0].isdigit()
            assert length == int(lengths[0]) <= framing.MAX_LENGTH
            assert framing.content_length([b"%d" % length]) == length
        else:
            assert not length
    try:
        declared = framing.response_content_length(values)
    except LocalProtocolError:
        return
    assert len(values) == 1
    assert b"%d" % declared == (values[0].lstrip(b"0") or b"0")


def _new_reader() -> ChunkedReader:
    return ChunkedReader(max_line_bytes=60, max_extension_bytes=80, max_trailer_bytes=120, max_trailer_count=4)


def _read_chunks(pieces: list[bytes]) -> tuple[object, ...]:
    """Content, trailers and what is behind; or the refusal. Content before a fault does not count."""
    reader = _new_reader()
    content: list[bytes] = []
    behind = b""
    ended = False
    for piece in pieces:
        if ended:
            behind += piece
            continue
        try:
            content.append(reader.receive(piece))
        except RemoteProtocolError as error:
            _refused(error)
            return ("refused",)
        ended = reader.done
        if ended:
            behind = reader.rest
    return (b"".join(content), tuple(reader.trailers), behind, ended)


def _chunks(data: bytes, choices: Choices) -> None:
    cuts = choices.cuts(len(data))
    whole = _read_chunks([data])
    assert _read_chunks([data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == whole, f"cut at {cuts}"
    assert _read_chunks([data[at : at + 1] for at in range(len(data))]) == (whole if data else _read_chunks([])), "byte by byte"
    if len(whole) == 1 or not whole[3]:
        return
    content, trailers, rest = whole[:3]
    assert isinstance(content, bytes)
    assert isinstance(trailers, tuple)
    assert isinstance(rest, bytes)
    assert data.endswith(rest)
    # Nothing of what is behind was needed, and by the book it is the same body.
    assert _read_chunks([data[: len(data) - len(rest)]]) == (content, trailers, b"", True)
    lines_again = b"".join(name + b": " + value + b"\r\n" for name, value in trailers)
    chunk = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
    assert _read_chunks([chunk + b"0\r\n" + lines_again + b"\r\n"]) == (content, trailers, b"", True)


def _forwarded(data: bytes, choices: Choices) -> None:
    values = data.split(b"\n")
    names = (b"x-forwarded-for", b"forwarded", b"x-forwarded-proto", b"x-a")
    given = [(choices.pick(names), value) for value in values]
    scheme = choices.pick(("http", "https"))
    for proxies in (_TRUSTED, _STANDARD):
        client, found = proxies.resolve(given, _CLIENT, scheme)
        assert found in {"http", "https"}
        assert client is not None
        host, port = client
        ipaddress.ip_address(host)
        assert type(port) is int
        assert 0 <= port <= 65535
    if not any(name == b"x-forwarded-proto" for name, _ in given):
        # Whatever a client writes itself stands left of what the proxies write, and changes nothing where they name somebody they do not trust.
        client, _ = _TRUSTED.resolve(given, _CLIENT, scheme)
        assert client is not None
        if not _TRUSTED.trusts(client[0]):
            forged = [(b"x-forwarded-for", choices.pick((b"1.2.3.4", b"", b'for="', b"10.0.0.1", b"\xff,")))]
            assert _TRUSTED.resolve(forged + given, _CLIENT, scheme)[0] == client


def _handshake(data: bytes, choices: Choices) -> None:
    names = (b"sec-websocket-extensions", b"sec-websocket-protocol", b"sec-websocket-key", b"sec-websocket-version", b"x")
    given = [(choices.pick(names), value) for value in data.split(b"\n")]
    if choices.below(4) != 3:
        given += [(name.lower(), value) for name, value in corpus.HANDSHAKE]
    try:
        check_handshake(given)
    except RemoteProtocolError as error:
        _refused(error)
        return
    offered = offered_subprotocols(given)
    assert all(fields.valid_token(name.encode("ascii")) for name in offered)
    answer, active = negotiate_extensions(given, deflate=True, max_ratio=100)
    assert bool(answer) == bool(active)
    told = fields.check_response_fields(accept_fields(given, offered[0] if offered else None, answer))
    assert told[0][0] == b"sec-websocket-accept"
    assert not answer or answer.split(b";")[0] == b"permessage-deflate"


_CHECKS: Final[tuple[tuple[Callable[[bytes, Choices], None], tuple[bytes, ...]], ...]] = (
    (_field_lines, (b"X-A: b\r\n", b"a:\t b \r\nA:\r\n", b"a: \xff\r\n")),
    (_list, (b"a, b", b",,close,\t", b"Keep-Alive,x")),
    (_response_fields, (b"x-a:b\r\nX-B: c", b"a:\xff\t", b"a:b\nc:d")),
    (_lines, (b"a \r\n\r\nb\t\r\n \r\n", b"\r\r\n", b"a\nb", b"\t\r\n\r\n")),
    (_request_line, (b"GET / HTTP/1.1", b"OPTIONS * HTTP/1.0", b"FROB http://a/b?c HTTP/1.9")),
    (_target, (b"/a%20b?c", b"http://h.example:80/p?q", b"*", b"h:1", b"HTTPS://[::1]")),
    (_host, (b"test.example:80", b"[::1]:8000", b"[v1.a:b]", b"a%20b", b"127.0.0.1")),
    (_framing, (b"5", b"chunked", b"gzip, chunked", b"00", b"5\n5", b"9007199254740992", b"18446744073709551616")),
    (_chunks, (b"5\r\nhello\r\n0\r\n\r\nGET", b'3;a="b\\"" ; c\r\nabc\r\n00\r\nX-T: y\r\n\r\n', b"0\r\na: b\r\nc: d\r\n\r\n")),
    (
        _forwarded,
        (b"192.0.2.1, 10.0.0.1", b"for=192.0.2.1;proto=https, for=10.0.0.1", b'for="[2001:db8::1]:80"', b"unknown\n10.0.0.1", b"https\n1.2.3.4:5"),
    ),
    (_handshake, (b"permessage-deflate; client_max_window_bits", b"a, b\nc", b'x; a="b\\"c", permessage-deflate')),
)


def _make(rng: random.Random) -> Input:
    """Something like what one of the parsers reads; the first choice of the plan is which."""
    number = rng.randrange(len(_CHECKS))
    words = [*corpus.WORDS, *_PARTS]
    kind = rng.random()
    if kind < 0.15:
        data = noise(rng, words)
    elif kind < 0.35:
        data = rng.choice((b"\n", b",", b"")).join(rng.choice(corpus.VALUES[rng.choice(list(corpus.VALUES))]) for _ in range(rng.randint(1, 4)))
    elif kind < 0.45 and _CHECKS[number][0] is _chunks:
        data = corpus.chunked(rng, rng.randbytes(rng.randint(0, 20)))
    else:
        data = mutate(rng, rng.choice(_CHECKS[number][1]), words, rng.choice((0, 1, 1, 2, 3, 5)))
    return Input(data, bytes([number]) + rng.randbytes(8))


def _check(tried: Input) -> None:
    choices = Choices(tried.plan)
    choices.pick(_CHECKS)[0](tried.data, choices)


FIELDS: Final = Target("fields", "the parsers of fields, lines, targets, chunks, forwarded fields and handshakes", _make, _check, feeds=4)
