"""The ASGI contract: extensions (ASGI Extensions). Each is looked at where the server advertises it for HTTP/1.1.

The law of this module: what a server does not advertise it owes nobody, but the truth about that.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.reference import pattern
from asgi_conformance.suite.dialogue import scoped, sending, swallowing
from pytest_asgiserve.raw import FramingError, Truncated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawResponse

__all__ = ["EXTENSIONS"]

EXTENSIONS: Final = Topic("asgi/extensions", "ASGI: extensions")

_TRAILERS: Final = "http.response.trailers"
_PATHSEND: Final = "http.response.pathsend"
_ZEROCOPY: Final = "http.response.zerocopysend"
_HINT: Final = "http.response.early_hint"
_PUSH: Final = "http.response.push"
_DEBUG: Final = "http.response.debug"
# A megabyte: more than one write takes, and than a socket's buffer of its own accord.
_SIZE: Final = 1_000_000
_QUIET: Final = 0.2
"""Seconds in which nothing must come."""
_CLIENT_ERROR: Final = 400
_UNKNOWN: Final = (
    "If a server receives an invalid event dictionary - for example, having an unknown type, missing keys an event type should have, or with wrong "
    "Python types for objects (e.g. Unicode strings for HTTP headers) - it should raise an exception out of the send awaitable back to the "
    "application."
)
_TE: Final = ("TE: trailers", "Connection: TE")


def _extensions(record: Record) -> Mapping[str, Any]:
    """What the server advertised to a call."""
    return record.scope.get("extensions") or {}


def _advertised(stage: Stage) -> Mapping[str, Any]:
    """What the server advertises for HTTP/1.1."""
    stage.mark()
    stage.request()
    found = _extensions(stage.record())
    stage.mark()
    return found


def _need(stage: Stage, name: str) -> None:
    """The scenario is about the extension ``name``.

    Raises:
        Unavailable: the server does not advertise it.
    """
    stage.require(name in _advertised(stage), f"it does not advertise {name} for HTTP/1.1")


def _with_extensions(**changes: Any) -> Any:
    """A server that advertises ``changes`` too; double underscores stand for dots."""

    def change(scope: dict[str, Any]) -> dict[str, Any]:
        return {**scope, "extensions": {**scope.get("extensions", {}), **{name.replace("__", "."): value for name, value in changes.items()}}}

    return scoped(change)


# Trailers.


def _with_trailers(flag: str = "") -> list[Any]:
    """A response with a body in two messages and trailers in two; with ``flag``, they wait for it."""
    start = ["start", 200, [["content-type", "text/plain"], ["trailer", "x-sum, x-end"]], {"trailers": True}]
    trailers = [
        ["send", {"type": _TRAILERS, "headers": [[b"x-sum", b"1"]], "more_trailers": True}],
        ["send", {"type": _TRAILERS, "headers": [[b"x-end", b"2"]]}],
    ]
    return [start, ["body", "hello", True], ["body", " world", False], *([["await", flag, 5]] if flag else []), *trailers]


@EXTENSIONS.scenario(
    "asgi.ext.trailers",
    "ASGI extensions, HTTP Trailers",
    "ASGI www, Response Start",
    level=Level.MUST,
    says='If True, the server must wait until it receives a "http.response.trailers" message after the Response Body event.',
    expects="the body at once, its end when the trailers are there, both trailers behind it in order, and the next request served",
    bad=Distortion(app=sending(lambda message: {**message, "headers": []} if message["type"] == _TRAILERS else message)),
)
def trailers(stage: Stage) -> None:
    _need(stage, _TRAILERS)
    flag = f"trailers-{secrets.token_hex(8)}"
    connection = stage.connect()
    connection.send(stage.encode_request(*_TE, script=_with_trailers(flag)))
    response = connection.read_head()
    stage.check(response.framing == "chunked", f"trailers behind a body whose end is known by {response.framing}")
    body = b""
    while len(body) < len(b"hello world") and (chunk := connection.read_chunk()):
        body += chunk
    stage.check(body == b"hello world", f"the body was {body!r}")
    try:
        connection.expect_silence(_QUIET)
    except FramingError as error:
        stage.check(kept=False, seen=f"before the trailers were sent: {error}")
    stage.running.set_flag(flag)
    connection.read_body(response)
    stage.check(not response.body, f"more body: {response.body!r}")
    stage.check(response.trailers == [(b"x-sum", b"1"), (b"x-end", b"2")], f"the trailers were {response.trailers!r}")
    record = stage.record()
    stage.check(not record.send_errors, f"send() raised {_named(record)}")
    if not response.closes:
        stage.check(connection.exchange("/").status == 200, "the next request on that connection was not served")


def _named(record: Record) -> str:
    """What send() raised, in words."""
    return ", ".join(f"{error.kind}: {error.message}"[:200] for error in record.send_errors) or "nothing"


@EXTENSIONS.scenario(
    "asgi.ext.trailers-no-te",
    "ASGI extensions, HTTP Trailers",
    "RFC 9110 §10.1.4",
    level=Level.MUST,
    says="The ASGI server will only send the trailing headers in case the client has sent the TE: trailers header in the request.",
    expects="the whole body, no trailers, and send() that does not raise",
    bad=Distortion(to_server=lambda data: data.replace(b"Host: a.example\r\n", b"Host: a.example\r\nTE: trailers\r\n")),
)
def trailers_no_te(stage: Stage) -> None:
    _need(stage, _TRAILERS)
    for what, lines in {"no TE": (), "another TE": ("TE: gzip", "Connection: TE")}.items():
        stage.mark()
        response = stage.request(*lines, script=_with_trailers())
        stage.check(response.body == b"hello world", f"{what}: the body was {response.body!r}")
        stage.check(not response.trailers, f"{what}: the trailers were sent: {response.trailers!r}")
        record = stage.record()
        stage.check(not record.send_errors, f"{what}: send() raised {_named(record)}")


def _adds_trailers(app: Any) -> Any:
    """A server that takes the return of the application for its trailers."""

    async def adds(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        if "x-script" in {bytes(name).decode() for name, _ in scope.get("headers", ())}:
            await send({"type": _TRAILERS, "headers": []})

    return adds


@EXTENSIONS.scenario(
    "asgi.ext.trailers-missing",
    "ASGI www, Response Start",
    "ASGI www, Response Body",
    level=Level.MUST,
    says="If more_body is set to False, and the server is not expecting Response Trailers this will complete the response.",
    expects="a response that announces trailers and never gets them broken off: the connection ends before the last chunk",
    bad=Distortion(app=_adds_trailers),
)
def trailers_missing(stage: Stage) -> None:
    _need(stage, _TRAILERS)
    connection = stage.connect()
    start = ["start", 200, [["content-type", "text/plain"]], {"trailers": True}]
    connection.send(stage.encode_request(*_TE, script=[start, ["body", "hello", False]]))
    try:
        response = connection.read_response()
    except (Truncated, ConnectionResetError):
        return
    # Nothing of the head needs to be on the wire yet.
    stage.check(response.status >= _CLIENT_ERROR, f"{response.status} as a whole response, with the trailers {response.trailers!r}")


_MESSAGES: Final[dict[str, dict[str, Any]]] = {
    _TRAILERS: {"headers": [[b"x-sum", b"1"]]},
    _PUSH: {"path": "/pushed", "headers": []},
    _HINT: {"links": [b"</style.css>; rel=preload"]},
    _PATHSEND: {"path": {"path": 5}},
    _ZEROCOPY: {"file": {"file": 5}, "more_body": True},
}
"""Of each extension, what an application sends once it has sent http.response.start."""


@EXTENSIONS.scenario(
    "asgi.ext.trailers-unadvertised",
    "ASGI, Error Handling",
    "ASGI, Extensions",
    level=Level.SHOULD,
    says=_UNKNOWN,
    expects="an exception out of send() for the message of each extension that the server does not advertise, and the response behind it whole",
    bad=Distortion(app=swallowing),
)
def trailers_unadvertised(stage: Stage) -> None:
    advertised = _advertised(stage)
    taken = []
    for name, message in _MESSAGES.items():
        if name in advertised:
            continue
        stage.mark()
        script = [["start", 200, [["content-length", "5"]]], ["try", ["send", {"type": name, **message}]], ["body", "hello"]]
        response = stage.request(script=script)
        stage.check((response.status, response.body) == (200, b"hello"), f"behind {name} came {response.status} with {response.body[:60]!r}")
        if not stage.record().send_errors:
            taken.append(name)
    stage.check(not taken, f"send() took {', '.join(taken)}")


# Files.


def _reversing(app: Any) -> Any:
    """A server that sends other bytes than those of the file."""

    async def reverses(scope: Any, receive: Any, send: Any) -> None:
        async def other(message: Any) -> None:
            if message["type"] == _PATHSEND:
                with open(message["path"], "rb") as file:  # noqa: ASYNC230, PTH123 - for the suite's own tests
                    message = {"type": "http.response.body", "body": file.read()[::-1]}
            await send(message)

        await app(scope, receive, other)

    return reverses


def _path(size: int) -> list[Any]:
    return ["send", {"type": _PATHSEND, "path": {"path": size}}]


@EXTENSIONS.scenario(
    "asgi.ext.pathsend",
    "ASGI extensions, Path Send",
    level=Level.MUST,
    says="Except for the characteristics of path-send, it should behave the same as ordinary http.response.body.",
    expects="the bytes of the file, none of them to HEAD, the next request served, and an exception or an error for a file that is not there",
    bad=Distortion(app=_reversing),
)
def pathsend(stage: Stage) -> None:
    _need(stage, _PATHSEND)
    for what, size, headers in (
        ("a megabyte", _SIZE, [["content-length", str(_SIZE)]]),
        ("an empty file", 0, [["content-length", "0"]]),
        ("without Content-Length", _SIZE, []),
    ):
        stage.mark()
        connection = stage.connect()
        script = [["start", 200, headers], _path(size)]
        connection.send(stage.encode_request(script=script))
        response = connection.read_response()
        stage.check(response.status == 200, f"{what}: {response.status}")
        _same(stage, response, pattern(size), what)
        stage.check(not stage.record().send_errors, f"{what}: send() raised {_named(stage.record())}")
        if not response.closes:
            connection.send(stage.encode_request(script=script, method="HEAD"))
            response = connection.read_response("HEAD")
            stage.check(response.status == 200, f"{what}: HEAD was answered with {response.status}")
        if not response.closes:
            # What was sent behind the head would be read here.
            stage.check(connection.exchange("/").status == 200, f"{what}: behind HEAD the next request was not served")
    stage.mark()
    try:
        response = stage.request(script=[["start", 200, [["content-length", "5"]]], _path(-1)])
    except (Truncated, ConnectionResetError):
        return
    stage.check(response.status >= _CLIENT_ERROR, f"a file that is not there: {response.status} with {response.body[:60]!r}")


def _same(stage: Stage, response: RawResponse, expected: bytes, what: str) -> None:
    stage.check(len(response.body) == len(expected), f"{what}: {len(response.body)} bytes came, not {len(expected)}")
    stage.check(response.body == expected, f"{what}: other bytes came than are in the file: {response.body[:20]!r}")


@EXTENSIONS.scenario(
    "asgi.ext.pathsend-mixed",
    "ASGI extensions, Path Send",
    level=Level.SHOULD,
    says="This message can be sent at any time after the Response Start message, and cannot be mixed with http.response.body. It can be called just "
    "one time in one response.",
    expects="an exception out of send() for a path behind a body, and nothing on the wire of what is sent behind a path",
    bad=Distortion(app=swallowing),
)
def pathsend_mixed(stage: Stage) -> None:
    _need(stage, _PATHSEND)
    stage.mark()
    response = stage.request(script=[["start", 200, [["content-length", "5"]]], ["body", "he", True], ["try", _path(3)], ["body", "llo"]])
    stage.check(stage.record().send_errors, "send() took a path behind a body")
    stage.check(response.body == b"hello", f"a path behind a body: {response.body[:60]!r} came")
    for what, more in {"a second path": _path(7), "a body behind a path": ["body", "more"]}.items():
        connection = stage.connect()
        connection.send(stage.encode_request(script=[["start", 200, [["content-length", "1000"]]], _path(1000), ["try", more]]))
        response = connection.read_response()
        stage.check(response.body == pattern(1000), f"{what}: {len(response.body)} bytes came, of 1,000 that one file has")
        if not response.closes:
            stage.check(connection.exchange("/").status == 200, f"{what}: the next request was not served")


def _closing(app: Any) -> Any:
    """A server that closes the files that it has sent."""

    async def closes(scope: Any, receive: Any, send: Any) -> None:
        async def other(message: Any) -> None:
            await send(message)
            if message["type"] == _ZEROCOPY:
                message["file"].close()

        await app(scope, receive, other)

    return closes


def _piece(size: int, *, more: bool, **where: int) -> list[Any]:
    return ["send", {"type": _ZEROCOPY, "file": {"file": size}, "more_body": more, **where}]


@EXTENSIONS.scenario(
    "asgi.ext.zerocopysend",
    "ASGI extensions, Zero Copy Send",
    level=Level.MUST,
    says="This message can be sent at any time after the Response Start message but before the final Response Body message, and can be mixed with "
    "http.response.body. It can also be called multiple times in one response. [...] ASGI servers are not responsible for closing descriptors.",
    expects="the bytes that offset and count say, in their order between those of the bodies, none to HEAD, and every file left open",
    bad=Distortion(app=_closing),
)
def zerocopysend(stage: Stage) -> None:
    _need(stage, _ZEROCOPY)
    file = pattern(_SIZE)
    script: Sequence[Any] = [
        ["body", "<", True],
        _piece(_SIZE, more=True, offset=10, count=100),
        ["body", "|", True],
        # From where the file is: its begin.
        _piece(_SIZE, more=True, count=50),
        _piece(_SIZE, more=True, offset=_SIZE - 7),
        _piece(_SIZE, more=True, offset=0, count=0),
        _piece(_SIZE, more=False),
        ["note-files"],
    ]
    expected = b"<" + file[10:110] + b"|" + file[:50] + file[-7:] + file
    for what, headers in {"without Content-Length": [], "with Content-Length": [["content-length", str(len(expected))]]}.items():
        stage.mark()
        connection = stage.connect()
        request = stage.encode_request(script=[["start", 200, headers], *script])
        connection.send(request)
        response = connection.read_response()
        stage.check(response.status == 200, f"{what}: {response.status}")
        _same(stage, response, expected, what)
        record = stage.record()
        stage.check(not record.send_errors, f"{what}: send() raised {_named(record)}")
        (files,) = record.notes("files")
        stage.check(not any(one["closed"] for one in files), f"{what}: the server closed a file")
        if not response.closes:
            connection.send(request.replace(b"GET", b"HEAD", 1))
            response = connection.read_response("HEAD")
        if not response.closes:
            stage.check(connection.exchange("/").status == 200, f"{what}: behind HEAD the next request was not served")


# Early hints.

_LINKS: Final = ([b"</style.css>; rel=preload; as=style", b"</script.js>; rel=preload; as=script"], [b"</more.css>; rel=preload"])
_EARLY: Final = 103


@EXTENSIONS.scenario(
    "asgi.ext.early-hint",
    "ASGI extensions, Early Hints",
    "RFC 9110 §15.2",
    "RFC 8297 §2",
    "RFC 8297 §3",
    level=Level.MUST,
    says="The ASGI server should then attempt to send an informational response to the client with the provided links as Link headers. The server "
    "may decide to ignore this message, for example if the HTTP/1.1 protocol is used and the server has security concerns.",
    expects="103 with the links for each message, or nothing of it, before the whole response; no 103 to HTTP/1.0; the messages taken before the "
    "start or behind it",
    bad=Distortion(app=sending(lambda message: {**message, "links": list(message["links"])[:1]} if message["type"] == _HINT else message)),
)
def early_hint(stage: Stage) -> None:
    _need(stage, _HINT)
    hints = [["send", {"type": _HINT, "links": links}] for links in _LINKS]
    start, body = ["start", 200, [["content-length", "5"]]], ["body", "hello"]
    refused = []
    # The text has had it both ways.
    for what, script in {"before the start": [["try", *hints], start, body], "behind the start": [start, ["try", *hints], body]}.items():
        for version in ("1.1", "1.0"):
            stage.mark()
            response = stage.request(script=script, version=version)
            stage.check((response.status, response.body) == (200, b"hello"), f"{what}: {response.status} with {response.body[:60]!r}")
            interim = response.informational
            if version == "1.0":
                stage.check(not interim, f"{what}: {interim[0].status if interim else 0} to HTTP/1.0")
                continue
            if stage.record().send_errors:
                refused.append(what)
                continue
            stage.check(all(one.status == _EARLY for one in interim), f"{what}: {', '.join(str(one.status) for one in interim)}")
            told = [b", ".join(one.all(b"link")) for one in interim]
            stage.check(told in ([], [b", ".join(links) for links in _LINKS]), f"{what}: the links were {told!r}")
            if not told:
                stage.tell(f"{what}: ignored")
    stage.check(len(refused) <= 1, f"it advertises {_HINT}, and send() raises for it before the start and behind it")


# What is not for HTTP/1.1, or for nobody.


@EXTENSIONS.scenario(
    "asgi.ext.push",
    "ASGI extensions, HTTP/2 Server Push",
    level=Level.MUST,
    says="The ASGI server should then attempt to send a server push (or push promise) to the client. If the client supports server push, the server "
    "should create a new connection to a new instance of the application and treat it as if the client had made a request.",
    expects="over HTTP/1.1, where there is none, the message taken in silence where it is advertised: one call, one response",
    bad=Distortion(app=_with_extensions(http__response__push={})),
)
def push(stage: Stage) -> None:
    _need(stage, _PUSH)
    script = [["start", 200, [["content-length", "5"]]], ["send", {"type": _PUSH, "path": "/pushed", "headers": []}], ["body", "hello"]]
    response = stage.request(script=script)
    record = stage.record()
    stage.check(not record.send_errors, f"send() raised {_named(record)}")
    stage.check((response.status, response.body) == (200, b"hello"), f"{response.status} with {response.body[:60]!r}")


@EXTENSIONS.scenario(
    "asgi.ext.debug-not-served",
    "ASGI extensions, Debug",
    level=Level.SHOULD,
    says="This extension is not meant to be used in production, only for testing purposes, and ASGI servers should not implement it.",
    expects="no http.response.debug among the extensions",
    bad=Distortion(app=_with_extensions(http__response__debug={})),
)
def debug_not_served(stage: Stage) -> None:
    advertised = _advertised(stage)
    stage.check(_DEBUG not in advertised, f"it advertises {_DEBUG}")
    stage.check(all(isinstance(value, dict) for value in advertised.values()), f"the extensions are {dict(advertised)!r}")


@EXTENSIONS.scenario(
    "asgi.ext.unknown-message",
    "ASGI, Error Handling",
    "ASGI, Extensions",
    level=Level.SHOULD,
    says=_UNKNOWN,
    expects="an exception out of send() for a message of a type that nobody knows, wherever it is sent, and the response behind it whole",
    bad=Distortion(app=swallowing),
)
def unknown_message(stage: Stage) -> None:
    unknown = ["try", ["send", {"type": "http.fullflush"}]]
    start = ["start", 200, [["content-length", "5"]]]
    taken = []
    for what, script in {
        "before the start": [unknown, start, ["body", "hello"]],
        "behind the start": [start, unknown, ["body", "hello"]],
        "between two bodies": [start, ["body", "he", True], unknown, ["body", "llo"]],
    }.items():
        stage.mark()
        response = stage.request(script=script)
        stage.check((response.status, response.body) == (200, b"hello"), f"{what}: {response.status} with {response.body[:60]!r}")
        if not stage.record().send_errors:
            taken.append(what)
    stage.check(not taken, f"send() took it {', '.join(taken)}")
