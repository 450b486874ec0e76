"""`asgi_conformance.lint`: for each rule an application that keeps it and one that breaks it, driven in process."""

from __future__ import annotations

import asyncio
import logging
import math
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import asgi_conformance
from asgi_conformance import RULES, LintError, LintWarning, Violation, lint

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.apps import App, Message, Receive, Scope, Send

TEXT = (b"content-type", b"text/plain")
EXTENSIONS: dict[str, Any] = {
    name: {}
    for name in (
        "http.response.trailers",
        "http.response.push",
        "http.response.pathsend",
        "http.response.zerocopysend",
        "http.response.early_hint",
        "http.response.debug",
        "websocket.http.response",
    )
}


def http_scope(**more: Any) -> Scope:
    return {"type": "http", "asgi": {"version": "3.0"}, "method": "GET", "path": "/x", "headers": [(b"host", b"h")], "state": {}, **more}


def websocket_scope(**more: Any) -> Scope:
    return {"type": "websocket", "asgi": {"version": "3.0"}, "path": "/x", "headers": [], "subprotocols": ["chat"], **more}


def lifespan_scope() -> Scope:
    return {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}


EVENTS: dict[str, list[Message]] = {
    "http": [{"type": "http.request", "body": b"", "more_body": False}],
    "websocket": [{"type": "websocket.connect"}],
    "lifespan": [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}],
}


class Driven:
    """A call, as a server makes it: events in their order, then nothing; what was sent is kept."""

    def __init__(self, app: Any, scope: Scope, events: list[Message] | None = None, fault: BaseException | None = None) -> None:
        self.sent: list[Any] = []
        self.scope = scope
        self._app = app
        self._events = list(EVENTS.get(scope["type"], []) if events is None else events)
        self._fault = fault

    async def _receive(self) -> Message:
        if not self._events:
            await asyncio.get_running_loop().create_future()
        return self._events.pop(0)

    async def _send(self, message: Message) -> None:
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        self.sent.append(message)

    async def call(self) -> None:
        async with asyncio.timeout(10):
            await self._app(self.scope, self._receive, self._send)

    def run(self) -> list[Any]:
        asyncio.run(self.call())
        return self.sent


def says(*messages: Any, receives: int = 1) -> App:
    """An application that takes as many events, then sends these messages."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(receives):
            await receive()
        for message in messages:
            await send(message)

    return app


def start(status: Any = 200, *fields: Any, **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(fields), **more}


def body(data: Any = b"", **more: Any) -> Message:
    return {"type": "http.response.body", "body": data, **more}


def answer(status: Any = 200, *fields: Any, data: bytes = b"") -> App:
    return says(start(status, *fields), body(data))


def accepts(*messages: Any, **more: Any) -> App:
    return says({"type": "websocket.accept", **more}, *messages)


def close(**more: Any) -> Message:
    return {"type": "websocket.close", **more}


def denial(*fields: Any, status: int = 403, data: bytes = b"") -> tuple[Message, Message]:
    first: Message = {"type": "websocket.http.response.start", "status": status, "headers": list(fields)}
    return first, {"type": "websocket.http.response.body", "body": data}


def lives(*answers: Any) -> App:
    """An application that answers start-up and shutdown with these types."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for kind in answers:
            await receive()
            if kind is not None:
                await send({"type": kind})

    return app


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class Case(NamedTuple):
    id: str
    rule: str
    good: App
    bad: App
    level: str = "MUST"
    scope: Callable[[], Scope] = http_scope


def mutates(key: str, value: Any) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[key] = value
        await answer(204)(scope, receive, send)

    return app


async def appends_a_header(scope: Scope, receive: Receive, send: Send) -> None:
    scope["headers"].append((b"x-request-id", b"1"))
    await answer(204)(scope, receive, send)


async def copies_its_scope(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["seen"] = True
    await mutates("path", "/elsewhere")(dict(scope), receive, send)


async def raises(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("boom")


async def swallows_its_cancellation(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        await answer(204)(scope, receive, send)


async def uses_a_timeout(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(10)
    except TimeoutError:
        await answer(204)(scope, receive, send)


async def blocks_and_goes_on(scope: Scope, receive: Receive, send: Send) -> None:
    time.sleep(0.4)  # noqa: ASYNC251 - what the rule is about
    for _ in range(3):
        await asyncio.sleep(0)
    await answer(204)(scope, receive, send)


async def blocks(scope: Scope, receive: Receive, send: Send) -> None:
    time.sleep(0.4)  # noqa: ASYNC251 - what the rule is about
    await answer(204)(scope, receive, send)


def websocket_with(extensions: dict[str, Any]) -> Callable[[], Scope]:
    return lambda: websocket_scope(extensions=extensions)


def http_with(*names: str, **more: Any) -> Callable[[], Scope]:
    return lambda: http_scope(extensions={name: {} for name in names or EXTENSIONS}, **more)


MULTIPART = (b"content-type", b"multipart/byteranges; boundary=b")
RANGE = (b"content-range", b"bytes 0-1/4")
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
PUSH = {"type": "http.response.push", "path": "/style.css", "headers": [(b"accept", b"*/*")]}
PATH = {"type": "http.response.pathsend", "path": "/srv/file"}
FILE = {"type": "http.response.zerocopysend", "file": object(), "more_body": False}
HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
DEBUG = {"type": "http.response.debug", "info": {"template": object()}}

L = "app.lint."
GOOD = answer(204)
FINE = accepts(close())
LIVING = lives("lifespan.startup.complete", "lifespan.shutdown.complete")

# What is good beside one bad is as near to it as the rule allows.
CASES = [
    Case("not-a-dict", "message-is-dict", GOOD, says([("type", "http.response.start")], start(204), body())),
    Case("no-type", "message-is-dict", GOOD, says({"status": 200}, start(204), body())),
    Case("type-in-bytes", "message-is-dict", GOOD, says({"type": b"http.response.start"}, start(204), body())),
    Case("key-in-bytes", "message-is-dict", GOOD, says({**start(204), b"x": 1}, body())),
    Case("websocket", "message-is-dict", FINE, accepts(None, close()), "MUST", websocket_scope),
    Case("lifespan", "message-is-dict", LIVING, says({}, {"type": "lifespan.startup.failed"}), "MUST", lifespan_scope),
    Case("deep", "types-serialisable", says(start(204, x=nested(99)), body()), says(start(204, x=nested(101)), body())),
    Case("bytearray", "types-serialisable", GOOD, says(start(204, x=bytearray()), body()), "SHOULD"),
    Case("an-object", "types-serialisable", says(start(204, x=[1, {"a": None, "b": 1.5}]), body()), says(start(204, x=object()), body())),
    Case("a-set-inside", "types-serialisable", says(start(204, x={"a": [1]}), body()), says(start(204, x={"a": {1}}), body())),
    Case("65-bits", "types-serialisable", says(start(204, x=-(2**63)), body()), says(start(204, x=2**63), body())),
    Case("nan", "types-serialisable", says(start(204, x=1e300), body()), says(start(204, x=math.nan), body())),
    Case("int-key", "types-serialisable", says(start(204, x={"1": 2}), body()), says(start(204, x={1: 2}), body())),
    Case("tuple", "types-serialisable", says(start(204, x=[1, 2]), body()), says(start(204, x=(1, 2)), body()), "SHOULD"),
    Case("ws-object", "types-serialisable", FINE, accepts(close(x=object())), "MUST", websocket_scope),
    Case("http", "known-type", GOOD, says({"type": "http.response.begin"}, start(204), body())),
    Case("http-of-websocket", "known-type", GOOD, says({"type": "websocket.accept"}, start(204), body())),
    Case("websocket", "known-type", FINE, accepts({"type": "websocket.ping"}, close()), "MUST", websocket_scope),
    Case("lifespan", "known-type", LIVING, says({"type": "lifespan.begun"}, {"type": "lifespan.startup.failed"}), "MUST", lifespan_scope),
    Case("path-first", "start-first", says(start(200, TEXT), PATH), says(PATH), scope=http_with()),
    Case("text-first", "start-first", says(start(200, TEXT), body(b"x")), says(body(b"x"))),
    Case("two-starts", "start-first", GOOD, says(start(204), start(204), body())),
    Case("body-first", "start-first", GOOD, says(body(more_body=True), start(204), body())),
    Case("only-start", "start-followed-by-body", GOOD, says(start(204))),
    Case("nothing", "completed", GOOD, says()),
    Case("more-body", "completed", says(start(200), body(more_body=True), body()), says(start(200), body(more_body=True))),
    Case(
        "no-trailers",
        "completed",
        says(start(200, TEXT, trailers=True), body(b"x"), TRAILERS),
        says(start(200, TEXT, trailers=True), body(b"x")),
        scope=http_with(),
    ),
    Case(
        "more-trailers",
        "completed",
        says(start(200, trailers=True), body(), {**TRAILERS, "more_trailers": True}, TRAILERS),
        says(start(200, trailers=True), body(), {**TRAILERS, "more_trailers": True}),
        scope=http_with(),
    ),
    Case("denial", "completed", says(*denial()), says(denial()[0], {**denial()[1], "more_body": True}), "MUST", websocket_with(EXTENSIONS)),
    Case(
        "before-trailers",
        "no-send-after-complete",
        says(start(200, trailers=True), body(), TRAILERS),
        says(start(200, trailers=True), body(), body(), TRAILERS),
        "SHOULD",
        http_with(),
    ),
    Case("after-path", "no-send-after-complete", GOOD, says(start(200, TEXT), PATH, body()), "SHOULD", http_with()),
    Case("denial", "no-send-after-complete", says(*denial()), says(*denial(), denial()[1]), "SHOULD", websocket_with(EXTENSIONS)),
    Case("second-end", "no-send-after-complete", GOOD, says(start(204), body(), body()), "SHOULD"),
    Case("text-status", "status-int-range", GOOD, says(start("204"), body())),
    Case("no-status", "status-int-range", GOOD, says({"type": "http.response.start"}, body())),
    Case("true", "status-int-range", GOOD, says(start(status=True), body())),
    Case("informational", "status-int-range", answer(200), answer(101)),
    Case("far", "status-int-range", answer(599), answer(1000)),
    Case("600", "status-int-range", answer(599), answer(600), "SHOULD"),
    Case("text-name", "header-shape", answer(204, (b"a", b"1")), answer(204, ("a", b"1"))),
    Case("text-value", "header-shape", answer(204, [b"a", b"1"]), answer(204, [b"a", "1"])),
    Case("three", "header-shape", answer(204, (b"a", b"1")), answer(204, (b"a", b"1", b"2"))),
    Case("dict", "header-shape", GOOD, says({**start(204), "headers": {b"a": b"1"}}, body())),
    Case("none", "header-shape", says({"type": "http.response.start", "status": 204}, body()), says({**start(204), "headers": None}, body())),
    Case("accept", "header-shape", accepts(close(), headers=[(b"a", b"1")]), accepts(close(), headers=[b"ab"]), "MUST", websocket_scope),
    Case("trailers", "header-shape", GOOD, says(start(200, trailers=True), body(), {**TRAILERS, "headers": [1]}), scope=http_with()),
    Case("start", "header-lowercase", answer(204, (b"x-a", b"1")), answer(204, (b"X-A", b"1"))),
    Case("accept", "header-lowercase", FINE, accepts(close(), headers=[(b"X-A", b"1")]), "MUST", websocket_scope),
    Case("space", "header-name-token", answer(204, (b"!#$%&'*+-.^_`|~09az", b"1")), answer(204, (b"a b", b"1"))),
    Case("empty", "header-name-token", answer(204, (b"a", b"1")), answer(204, (b"", b"1"))),
    Case("high", "header-name-token", GOOD, answer(204, (b"\xe4", b"1"))),
    Case("status", "header-no-pseudo", GOOD, answer(204, (b":status", b"204"))),
    Case(
        "push",
        "header-no-pseudo",
        says(start(200), PUSH, body()),
        says(start(200), {**PUSH, "headers": [(b":path", b"/")]}, body()),
        scope=http_with(),
    ),
    Case("crlf", "header-value-ctl", answer(204, (b"a", b"x\ty")), answer(204, (b"a", b"x\r\ny: 1"))),
    Case("nul", "header-value-ctl", answer(204, (b"a", b"\xff")), answer(204, (b"a", b"\0"))),
    Case("space", "header-value-ctl", answer(204, (b"a", b"")), answer(204, (b"a", b" x"))),
    Case("del", "header-value-ctl", GOOD, answer(204, (b"a", b"x\x7f")), "SHOULD"),
    Case("type", "header-singletons", answer(200, TEXT, (b"vary", b"a"), (b"vary", b"b")), answer(200, TEXT, TEXT)),
    Case(
        "etag", "header-singletons", answer(200, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=1")), answer(200, (b"etag", b'"a"'), (b"etag", b'"a"'))
    ),
    Case("te", "no-hop-by-hop", GOOD, answer(200, (b"transfer-encoding", b"chunked")), "SHOULD"),
    Case("keep-alive", "no-hop-by-hop", answer(426, (b"upgrade", b"h2c"), (b"connection", b"upgrade")), answer(200, (b"upgrade", b"h2c")), "SHOULD"),
    Case("close", "no-hop-by-hop", GOOD, answer(200, (b"connection", b"close")), "INFO"),
    Case("word", "cl-valid", answer(200, TEXT, (b"content-length", b"2"), data=b"ok"), answer(200, TEXT, (b"content-length", b"two"), data=b"ok")),
    Case("sign", "cl-valid", answer(200, (b"content-length", b"00")), answer(200, (b"content-length", b"+0"))),
    Case("list", "cl-valid", GOOD, answer(200, (b"content-length", b"0, 0"))),
    Case("twice", "cl-valid", GOOD, answer(200, (b"content-length", b"0"), (b"content-length", b"0"))),
    Case(
        "too-much",
        "cl-matches",
        says(start(200, TEXT, (b"content-length", b"2")), body(b"o", more_body=True), body(b"k")),
        says(start(200, TEXT, (b"content-length", b"2")), body(b"ok", more_body=True), body(b"!")),
    ),
    Case("too-little", "cl-matches", GOOD, answer(200, TEXT, (b"content-length", b"3"), data=b"ok")),
    Case("no-body", "cl-matches", answer(304, (b"content-length", b"3")), answer(200, (b"content-length", b"3"))),
    Case("204", "no-body-204-304-205", answer(200, TEXT, data=b"x"), answer(204, data=b"x")),
    Case("205", "no-body-204-304-205", answer(205, (b"content-length", b"0")), answer(205, data=b"x")),
    Case("304", "no-body-204-304-205", answer(304), answer(304, data=b"x")),
    Case("204-length", "no-body-204-304-205", GOOD, answer(204, (b"content-length", b"0"))),
    Case("204-file", "no-body-204-304-205", says(start(200, TEXT), FILE), says(start(204), FILE), scope=http_with()),
    Case("text", "body-bytes", says(start(200, TEXT), body(b"x")), says(start(200, TEXT), body("x"))),
    Case("none", "body-bytes", says(start(200), {"type": "http.response.body"}), says(start(200), body(None))),
    Case("more", "body-bytes", says(start(200), body(more_body=False)), says(start(200), body(more_body=0))),
    Case("memoryview", "body-bytes", GOOD, says(start(200, TEXT, (b"content-length", b"8")), body(memoryview(bytearray(8)).cast("I"))), "SHOULD"),
    Case("bytearray", "body-bytes", GOOD, says(start(200, TEXT), body(bytearray(b"x"))), "SHOULD"),
    Case("missing", "content-type", answer(404, data=b"x"), answer(200, data=b"x"), "SHOULD"),
    Case(
        "word",
        "content-type",
        answer(200, (b"content-type", b'a/b ; c="d;\\" e";f=g'), data=b"x"),
        answer(200, (b"content-type", b"text"), data=b"x"),
        "SHOULD",
    ),
    Case("file", "content-type", says(start(200, TEXT), PATH), says(start(200), PATH), "SHOULD", http_with()),
    Case("401", "status-companions", answer(401, (b"www-authenticate", b"Basic")), answer(401)),
    Case("405", "status-companions", answer(405, (b"allow", b"")), answer(405)),
    Case("407", "status-companions", answer(407, (b"proxy-authenticate", b"Basic")), answer(407)),
    Case("426", "status-companions", answer(426, (b"upgrade", b"h2c")), answer(426)),
    Case("206", "status-companions", answer(206, TEXT, RANGE, data=b"ab"), answer(206, TEXT, data=b"ab")),
    Case("206-both", "status-companions", answer(206, MULTIPART, data=b"--b--"), answer(206, MULTIPART, RANGE, data=b"--b--")),
    Case("416", "status-companions", answer(416, (b"content-range", b"bytes */4")), answer(416), "SHOULD"),
    Case("302", "status-companions", answer(302, (b"location", b"/")), answer(302), "SHOULD"),
    Case("denial", "status-companions", says(*denial()), says(*denial(status=401)), "MUST", websocket_with(EXTENSIONS)),
    Case("path", "scope-not-mutated", copies_its_scope, mutates("path", "/elsewhere"), "SHOULD"),
    Case("headers", "scope-not-mutated", mutates("state", {}), appends_a_header, "SHOULD"),
    Case("tuple", "scope-not-mutated", mutates("headers", [(b"host", b"h")]), mutates("headers", iter([(b"host", b"h")])), "SHOULD"),
    Case("no-headers", "scope-not-mutated", mutates("method", "GET"), mutates("headers", None), "SHOULD"),
    Case("iterator", "scope-not-mutated", GOOD, mutates("headers", [(b"host", b"h")]), "SHOULD", lambda: http_scope(headers=iter([(b"host", b"h")]))),
    Case("new-key", "scope-not-mutated", mutates("extensions", {}), mutates("router", object()), "INFO"),
    Case("raise", "exception-escapes", GOOD, raises, "SHOULD"),
    Case("cancel", "unexpected-cancel", uses_a_timeout, swallows_its_cancellation, "INFO"),
    Case("to-the-end", "not-blocking", uses_a_timeout, blocks, "HARD"),
    Case("for-a-while", "not-blocking", uses_a_timeout, blocks_and_goes_on, "HARD"),
    Case("no-answer", "ws-order", FINE, says(), "MUST", websocket_scope),
    Case("send-first", "ws-order", accepts(close()), says({"type": "websocket.send", "text": "x"}, close()), "MUST", websocket_scope),
    Case("accept-twice", "ws-order", FINE, accepts({"type": "websocket.accept"}, close()), "MUST", websocket_scope),
    Case("after-close", "ws-order", says(close()), says(close(), {"type": "websocket.accept"}), "MUST", websocket_scope),
    Case("denial-then-close", "ws-order", says(*denial()), says(*denial(), close()), "MUST", websocket_with(EXTENSIONS)),
    Case("denial-after-accept", "ws-order", FINE, accepts(*denial()[:1]), "MUST", websocket_with(EXTENSIONS)),
    Case("neither", "ws-send-one-of", accepts({"type": "websocket.send", "text": ""}), accepts({"type": "websocket.send"}), "MUST", websocket_scope),
    Case(
        "both",
        "ws-send-one-of",
        accepts({"type": "websocket.send", "bytes": b"", "text": None}),
        accepts({"type": "websocket.send", "bytes": b"", "text": ""}),
        "MUST",
        websocket_scope,
    ),
    Case("bytes-as-text", "ws-send-one-of", FINE, accepts({"type": "websocket.send", "text": b"x"}), "MUST", websocket_scope),
    Case("text-as-bytes", "ws-send-one-of", FINE, accepts({"type": "websocket.send", "bytes": "x"}), "MUST", websocket_scope),
    Case("bytearray", "ws-send-one-of", FINE, accepts({"type": "websocket.send", "bytes": bytearray(b"x")}), "SHOULD", websocket_scope),
    *(
        Case(f"{bad}", "ws-close-code", accepts(close(code=good)), accepts(close(code=bad)), "MUST", websocket_scope)
        for good, bad in [
            (1000, 999),
            (1003, 1004),
            (1007, 1005),
            (1014, 1015),
            (1011, 1006),
            (3000, 2999),
            (4999, 5000),
            (1001, "1001"),
            (1008, True),
        ]
    ),
    Case("long-reason", "ws-close-code", accepts(close(reason="x" * 123)), accepts(close(reason="ä" * 62)), "MUST", websocket_scope),
    Case("odd-reason", "ws-close-code", accepts(close(reason=None)), accepts(close(reason="\ud800")), "MUST", websocket_scope),
    Case(
        "not-offered", "ws-subprotocol-offered", accepts(close(), subprotocol="chat"), accepts(close(), subprotocol="mqtt"), "MUST", websocket_scope
    ),
    Case("bytes", "ws-subprotocol-offered", accepts(close(), subprotocol=None), accepts(close(), subprotocol=b"chat"), "MUST", websocket_scope),
    *(
        Case(
            name.decode(),
            "ws-accept-headers",
            accepts(close(), headers=[(b"x-a", b"1")]),
            accepts(close(), headers=[(name, b"x")]),
            "MUST",
            websocket_scope,
        )
        for name in (b"sec-websocket-protocol", b"sec-websocket-accept", b"sec-websocket-extensions")
    ),
    Case("no-answer", "life-order", LIVING, lives(None), "MUST", lifespan_scope),
    Case("early-shutdown", "life-order", LIVING, lives("lifespan.shutdown.complete", "lifespan.startup.complete"), "MUST", lifespan_scope),
    Case(
        "twice",
        "life-order",
        lives("lifespan.startup.failed"),
        lives("lifespan.startup.complete", "lifespan.startup.complete"),
        "MUST",
        lifespan_scope,
    ),
    Case("no-shutdown", "life-order", LIVING, lives("lifespan.startup.complete", None), "MUST", lifespan_scope),
    Case("silent", "life-order", LIVING, lives(), "SHOULD", lifespan_scope),
    *(
        Case(f"no-{name}", "ext-advertised", good, good, scope=http_with(f"http.response.{name}"))
        for name, good in {
            "trailers": says(start(200, trailers=True), body(), TRAILERS),
            "push": says(start(200), PUSH, body()),
            "pathsend": says(start(200, TEXT), PATH),
            "zerocopysend": says(start(200, TEXT), {**FILE, "more_body": True}, body(b"x")),
            "early_hint": says(HINT, start(200), HINT, body()),
            "debug": says(DEBUG, start(200), body()),
        }.items()
    ),
    Case("no-denial", "ext-advertised", says(*denial()), says(*denial()), "MUST", websocket_with(EXTENSIONS)),
    Case(
        "trailers-early", "ext-advertised", says(start(200, trailers=True), body(), TRAILERS), says(start(200), TRAILERS, body()), scope=http_with()
    ),
    Case("push-early", "ext-advertised", says(start(200), PUSH, body()), says(PUSH, start(200), body()), scope=http_with()),
    Case("path-after-body", "ext-advertised", GOOD, says(start(200, TEXT), body(b"x", more_body=True), PATH), scope=http_with()),
    Case("debug-late", "ext-advertised", GOOD, says(start(200), DEBUG, body()), scope=http_with()),
    Case("debug-twice", "ext-advertised", GOOD, says(DEBUG, DEBUG, start(200), body()), scope=http_with()),
]


def bad_scope(case: Case) -> Scope:
    """As the case's; where an extension is missing is what is bad, without it."""
    scope = case.scope()
    if case.good is case.bad or case.id == "no-denial":
        del scope["extensions"]
    return scope


def options(case: Case, max_stall: float) -> dict[str, Any]:
    return {"max_stall": max_stall} if case.rule == "not-blocking" else {}


def ids(case: Case) -> str:
    return f"{case.rule}-{case.id}"


async def until_it_ends(driven: Driven) -> BaseException | None:
    """Run it in a task of its own, which it may have cancelled."""
    (result,) = await asyncio.gather(asyncio.ensure_future(driven.call()), return_exceptions=True)
    return result


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_good_application_breaks_no_rule_and_nothing_of_it_is_changed(case: Case) -> None:
    found: list[Violation] = []
    # A machine that is busy holds a loop up as well.
    driven = Driven(lint(case.good, on_violation=found.append, **options(case, max_stall=30)), case.scope())
    assert asyncio.run(until_it_ends(driven)) is None
    assert found == []
    plain = Driven(case.good, case.scope())
    assert asyncio.run(until_it_ends(plain)) is None
    assert driven.sent == plain.sent


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_bad_application_breaks_its_rule_and_no_other(case: Case) -> None:
    found: list[Violation] = []
    driven = Driven(lint(case.bad, on_violation=found.append, **options(case, max_stall=0.2)), bad_scope(case))
    error = asyncio.run(until_it_ends(driven))
    assert isinstance(error, RuntimeError) is (case.bad is raises)
    assert {(violation.rule, violation.level) for violation in found} == {(L + case.rule, case.level)}
    rule = RULES[L + case.rule]
    assert all((violation.sentence, violation.clauses) == (rule.sentence, rule.clauses) for violation in found)


@pytest.mark.parametrize("case", [case for case in CASES if case.level == "MUST"], ids=ids)
def test_what_breaks_a_must_raises_and_is_not_sent(case: Case) -> None:
    plain = Driven(case.bad, bad_scope(case))
    asyncio.run(until_it_ends(plain))
    driven = Driven(lint(case.bad), bad_scope(case))
    error = asyncio.run(until_it_ends(driven))
    assert isinstance(error, LintError)
    assert error.violation.rule == L + case.rule
    # All that came before, and not the message itself; at the end of a call all was sent.
    assert driven.sent == plain.sent[: len(driven.sent)]
    at_the_end = "returned" in error.violation.seen
    assert (len(driven.sent) == len(plain.sent)) is at_the_end


@pytest.mark.parametrize("case", [case for case in CASES if case.level == "SHOULD" and case.bad is not raises], ids=ids)
def test_what_breaks_a_should_warns_and_is_sent(case: Case) -> None:
    driven = Driven(lint(case.bad), bad_scope(case))
    with pytest.warns(LintWarning, match=L + case.rule) as warned:
        assert asyncio.run(until_it_ends(driven)) is None
    (first, *_) = warned
    assert isinstance(first.message, LintWarning)
    assert first.message.violation.rule == L + case.rule
    plain = Driven(case.bad, bad_scope(case))
    asyncio.run(until_it_ends(plain))
    assert driven.sent == plain.sent


@pytest.mark.parametrize("case", [case for case in CASES if case.level in {"INFO", "HARD"}], ids=ids)
def test_the_rest_is_logged(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "asgi_conformance.lint"):
        assert asyncio.run(until_it_ends(Driven(lint(case.bad, **options(case, max_stall=0.2)), bad_scope(case)))) is None
    assert [record.levelname for record in caplog.records] == ["WARNING" if case.level == "HARD" else "INFO"]
    assert L + case.rule in caplog.text


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert {L + case.rule for case in CASES} == set(RULES)
    assert len({ids(case) for case in CASES}) == len(CASES)


def test_a_rule_has_the_id_of_its_place_in_the_table_and_a_clause_unless_it_is_ours() -> None:
    for name, rule in RULES.items():
        assert rule.id == name
        assert rule.sentence
        assert bool(rule.clauses) is (rule.level in {"MUST", "SHOULD"})


# --- What passes --------------------------------------------------------------------------------------------------------


def test_the_messages_and_the_scope_are_the_very_objects() -> None:
    messages = [start(200, TEXT), body(b"x")]
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await says(*messages)(scope, receive, send)

    driven = Driven(lint(app), http_scope())
    assert all(sent is message for sent, message in zip(driven.run(), messages, strict=True))
    assert scopes[0] is driven.scope
    assert driven.scope == http_scope()


def test_headers_that_can_be_read_once_are_read_once_and_passed_on_as_a_list() -> None:
    message = {"type": "http.response.start", "status": 204, "headers": (iter(pair) for pair in [(b"a", b"1"), (b"b", b"2")])}
    sent = Driven(lint(says(message, body())), http_scope()).run()
    assert sent[0] == {"type": "http.response.start", "status": 204, "headers": [(b"a", b"1"), (b"b", b"2")]}


def test_links_that_can_be_read_once_are_passed_on_as_a_list() -> None:
    hint = {"type": "http.response.early_hint", "links": iter([b"</a>"])}
    assert Driven(lint(says(hint, start(204), body())), http_with()()).run()[0]["links"] == [b"</a>"]


def test_headers_of_any_lasting_iterable_stay_what_they_are() -> None:
    pairs = ((b"a", b"1"),)
    sent = Driven(lint(says({**start(204), "headers": pairs}, body())), http_scope()).run()
    assert sent[0]["headers"] is pairs


@pytest.mark.parametrize("scope", [{"type": "quic"}, {"asgi": {}}], ids=["unknown", "none"])
def test_a_scope_of_another_kind_passes_untouched(scope: Scope) -> None:
    async def app(*given: Any) -> None:
        calls.append(given)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    calls: list[tuple[Any, ...]] = []
    asyncio.run(lint(app)(scope, receive, send))
    assert calls == [(scope, receive, send)]
    assert calls[0][0] is scope


class OldStyle:
    """ASGI 2."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        await answer(204 if self.scope["path"] == "/x" else 999)(self.scope, receive, send)


def test_an_application_of_asgi_2_is_called_in_its_way() -> None:
    assert Driven(lint(OldStyle), http_scope()).run() == [start(204), body()]


def test_the_wrapped_application_is_at_hand() -> None:
    assert lint(GOOD).app is GOOD


def test_a_head_request_may_leave_its_body_out() -> None:
    head = http_scope(method="HEAD")
    assert len(Driven(lint(answer(200, (b"content-length", b"5"))), head).run()) == 2


# --- Exceptions ----------------------------------------------------------------------------------------------------------


class RefusalError(Exception):
    """What a server raises out of send."""


def test_an_exception_of_send_or_receive_may_leave_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(204)(scope, receive, send)
        except RefusalError as error:
            raise ExceptionGroup("framework", [RuntimeError("wrapped")]) from error

    with pytest.raises(ExceptionGroup):
        Driven(lint(app), http_scope(), fault=RefusalError()).run()


def test_an_exception_of_receive_may_leave_the_application() -> None:
    async def receive() -> Message:
        raise RefusalError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    with pytest.raises(RefusalError):
        asyncio.run(lint(GOOD)(http_scope(), receive, send))


@pytest.mark.parametrize("max_stall", [None, 30])
def test_a_cancellation_passes(max_stall: float | None, caplog: pytest.LogCaptureFixture) -> None:
    async def cancelled() -> None:
        driven = Driven(lint(says(receives=2), max_stall=max_stall), http_scope())
        task = asyncio.ensure_future(driven.call())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert caplog.records == []


def test_after_a_refusal_another_start_is_the_first() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(start(200))
        except RefusalError:
            await answer(500)(scope, receive, send)

    assert Driven(lint(app), http_scope(), fault=RefusalError()).run() == [start(500), body()]


def test_after_a_violation_the_application_may_still_answer_and_the_violation_is_not_lost() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(start("200"))
        except LintError:
            await answer(500)(scope, receive, send)

    driven = Driven(lint(app), http_scope())
    with pytest.raises(LintError, match="status-int-range"):
        driven.run()
    assert driven.sent == [start(500), body()]


def test_an_exception_that_the_application_made_of_a_violation_leaves_with_a_note_of_it() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send(start("200"))
        except LintError as error:
            raise ValueError("mine") from error

    with pytest.raises(ValueError, match="mine") as raised:
        Driven(lint(app), http_scope()).run()
    assert "status-int-range" in raised.value.__notes__[0]


@pytest.mark.parametrize("action", ["error", "always"])
def test_an_exception_of_the_application_leaves_as_it_is(action: Any) -> None:
    driven = Driven(lint(raises), http_scope())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        with pytest.raises(RuntimeError, match="boom") as raised:
            driven.run()
    notes = getattr(raised.value, "__notes__", [])
    told = [str(warning.message) for warning in caught] if action == "always" else notes
    assert len(told) == 1
    assert "RuntimeError left the application" in told[0]


def test_an_exception_after_the_loop_was_held_up_leaves_as_well(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        time.sleep(0.4)  # noqa: ASYNC251 - what the rule is about
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError), pytest.warns(LintWarning, match="exception-escapes"):
        Driven(lint(app, max_stall=0.2), http_scope()).run()
    assert "not-blocking" in caplog.text


def test_an_application_that_knows_no_lifespan_raises_rightly() -> None:
    found: list[Violation] = []
    with pytest.raises(RuntimeError):
        Driven(lint(raises, on_violation=found.append), lifespan_scope()).run()
    assert found == []


@pytest.mark.parametrize(
    ("scope", "events", "messages"),
    [
        pytest.param(http_scope(), [{"type": "http.disconnect"}], [], id="no-response"),
        pytest.param(http_scope(), [{"type": "http.disconnect"}], [start(200), body(more_body=True)], id="half-a-response"),
        pytest.param(websocket_scope(), [{"type": "websocket.disconnect", "code": 1006}], [], id="websocket"),
    ],
)
def test_an_application_whose_client_has_gone_owes_it_nothing(scope: Scope, events: list[Message], messages: list[Message]) -> None:
    found: list[Violation] = []
    Driven(lint(says(*messages), on_violation=found.append), scope, events).run()
    assert found == []


def test_a_send_that_finds_the_connection_closed_ends_the_duty() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send(start(200))
        except OSError:
            return

    assert Driven(lint(app), http_scope(), fault=BrokenPipeError()).run() == []


def test_a_send_after_the_disconnect_was_heard_is_told_and_passed_on() -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await send({"type": "websocket.send", "text": "x"})

    found: list[Violation] = []
    sent = Driven(lint(app, on_violation=found.append), websocket_scope(), [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]).run()
    assert [(violation.rule, violation.level) for violation in found] == [("app.lint.ws-order", "INFO")]
    assert sent == [{"type": "websocket.send", "text": "x"}]


# --- Ways to tell -----------------------------------------------------------------------------------------------------------


def test_the_log_has_each_rule_and_place_once_and_everything_passes(caplog: pytest.LogCaptureFixture) -> None:
    linted = lint(answer(204, (b"X-A", b"1"), (b"content-length", b"0")), on_violation="log")
    for path in ("/a", "/a", "/b"):
        assert len(Driven(linted, http_scope(path=path)).run()) == 2
    assert [(record.name, record.levelname) for record in caplog.records] == [("asgi_conformance.lint", "ERROR")] * 4
    assert [record.getMessage().split(" [")[0] for record in caplog.records if "X-A" in record.getMessage()] == [
        "GET /a: http.response.start: header b'X-A'",
        "GET /b: http.response.start: header b'X-A'",
    ]


def test_a_violation_says_all_there_is_to_say() -> None:
    with pytest.raises(LintError) as raised:
        Driven(lint(answer(200, TEXT, (b"content-length", b"1"), data=b"ok")), http_scope()).run()
    assert str(raised.value) == (
        "GET /x: content-length is 1, and with this message the body has 2 bytes "
        "[app.lint.cl-matches, MUST: the body has as many bytes as content-length says (RFC 9110 §8.6; RFC 9112 §6.3)]"
    )


def test_a_rule_can_be_left_out() -> None:
    assert Driven(lint(answer(204, (b"X-A", b"1")), ignore=["app.lint.header-lowercase"]), http_scope()).run()


def test_an_exception_of_the_callable_stops_the_message_and_is_not_lost() -> None:
    def refuse(violation: Violation) -> None:
        raise KeyError(violation.rule)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send(start("200"))
        except KeyError:
            await send(start(204))
            await send(body())

    driven = Driven(lint(app, on_violation=refuse), http_scope())
    with pytest.raises(KeyError, match="status-int-range"):
        driven.run()
    assert driven.sent == [start(204), body()]


@pytest.mark.parametrize(
    ("app", "arguments", "error", "match"),
    [
        (None, {}, TypeError, "takes an application, not None"),
        (GOOD, {"on_violation": "print"}, ValueError, "'raise', 'log' or a function"),
        (GOOD, {"ignore": ["app.lint.no-such"]}, ValueError, "no rule app.lint.no-such"),
        (GOOD, {"max_stall": 0}, ValueError, "more than 0"),
    ],
)
def test_a_wrong_argument_is_refused(app: Any, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        lint(app, **arguments)


def test_the_places_that_are_remembered_are_bounded(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_conformance.linter._MAX_PLACES", 1)
    linted = lint(answer(204, (b"X-A", b"1")), on_violation="log")
    for path in ("/a", "/b", "/a"):
        Driven(linted, http_scope(path=path)).run()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["GET /a", "GET /b", "GET /a"]


def test_a_logger_of_ones_own_may_have_it(caplog: pytest.LogCaptureFixture) -> None:
    Driven(lint(answer(204, (b"X-A", b"1")), on_violation="log", logger=logging.getLogger("mine")), http_scope()).run()
    assert [record.name for record in caplog.records] == ["mine"]


def test_a_path_cannot_begin_a_line_of_its_own() -> None:
    with pytest.raises(LintError, match=r"^GET '/a\\nERROR'"):
        Driven(lint(says()), http_scope(path="/a\nERROR")).run()


def test_an_event_loop_that_is_not_asyncios_will_do() -> None:
    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    with pytest.raises(StopIteration):
        lint(says(start(204), body(), receives=0))(http_scope(), receive, send).send(None)
    assert sent == [start(204), body()]


def test_the_loop_is_not_watched_unless_asked() -> None:
    found: list[Violation] = []
    Driven(lint(blocks, on_violation=found.append), http_scope()).run()
    assert found == []


def test_the_name_stays_the_functions_whatever_is_imported() -> None:
    __import__("asgi_conformance.linter")
    assert asgi_conformance.lint is lint
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asgi_conformance.nothing


def test_importing_the_package_is_cheap() -> None:
    code = "import asgi_conformance, sys; print([name for name in sys.modules if name.startswith(('asgi_conformance.', 'asgiserve', 'asyncio'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def concurrent(*calls: Coroutine[Any, Any, None]) -> Any:
    async def all_of_them() -> None:
        await asyncio.gather(*calls)

    return asyncio.run(all_of_them())


def test_calls_side_by_side_do_not_mix() -> None:
    met = asyncio.Barrier(2)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start(200, TEXT, (b"content-length", scope["path"][1:].encode())))
        await met.wait()
        await send(body(b"x" * int(scope["path"][1:])))

    linted = lint(app)
    one, two = Driven(linted, http_scope(path="/1")), Driven(linted, http_scope(path="/2"))
    concurrent(one.call(), two.call())
    assert [len(driven.sent) for driven in (one, two)] == [2, 2]
