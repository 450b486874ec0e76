"""For each case for applications a bad one: `Shop` with one step changed, or a bad middleware.

A case that is not in `BAD` has nothing that it catches, and its test fails.
"""

# ruff: noqa: ARG002, ASYNC110 - a step that is replaced keeps its parameters; and what is badly waited for is the mistake
from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.conformance.shop import PAGE, ROUTES, TAG, Gone, Shop, respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.apps import App, Message, Receive, Scope, Send

__all__ = ["BAD", "Bad", "good_middleware"]

LONG = 30.0
BOOM = f"{ROUTES}, /boom"


class Bad(NamedTuple):
    """A bad application, or a bad middleware, and what the verdict on it says."""

    app: Callable[[], Any] = Shop
    says: str = ""
    routes: str = ROUTES
    middleware: Callable[[Any], Any] | None = None


async def stay() -> None:
    """Be in no hurry."""
    await asyncio.sleep(LONG)


# ---- semantics


class OnlyStart(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})


class OtherHead(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await respond(send, 202)
        else:
            await super().page(scope, receive, send)


class NoHead(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await respond(send, 405, b"", (b"allow", b"GET"))
        else:
            await super().page(scope, receive, send)


class NoAllow(Shop):
    async def wrong_method(self, _scope: Scope, send: Send, allowed: bytes) -> None:
        await respond(send, 405, b"no")


class AnyMethod(Shop):
    async def wrong_method(self, _scope: Scope, send: Send, allowed: bytes) -> None:
        await respond(send, 200, b"as you like")


class LostPath(Shop):
    async def unknown_path(self, _scope: Scope, send: Send) -> None:
        raise KeyError("no such page")


class Unconditional(Shop):
    async def page(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, 200, PAGE, (b"etag", TAG))


class WrongRange(Shop):
    def range(self, field: bytes) -> tuple[int, int]:
        first, last = super().range(field)
        return (max(first - 1, 0), last) if field else (first, last)


class RandomTag(Shop):
    async def page(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, 200, PAGE, (b"etag", b'"%d"' % random.getrandbits(64)))


class NeedsHost(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert dict(scope["headers"])[b"host"]
        await super().page(scope, receive, send)


class NeedsHttp1(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["http_version"].startswith("1.")
        await super().http(scope, receive, send)


class AlwaysHttp(Shop):
    async def go(self, scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, 302, b"", (b"location", b"http://" + self.field(scope, b"host") + b"/"))


class Unmountable(Shop):
    def path(self, scope: Scope) -> str:
        return str(scope["path"])


class AsciiPaths(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"].encode("ascii")
        await super().http(scope, receive, send)


class StrictQuery(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        for pair in filter(None, scope["query_string"].split(b"&")):
            name, value = pair.split(b"=")
            assert name
            assert value
        await super().http(scope, receive, send)


class Utf8Fields(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        for _, value in scope["headers"]:
            value.decode("utf-8")
        await super().http(scope, receive, send)


class TrustsJson(Shop):
    async def uploaded(self, body: bytes, send: Send) -> None:
        await respond(send, 200, json.dumps(json.loads(body)).encode())


# ---- scope


class NeedsClient(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert "client" in scope
        await super().http(scope, receive, send)


class NoneClient(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        host, _ = scope.get("client", ("", 0))
        assert isinstance(host, str)
        await super().http(scope, receive, send)


class NeedsPort(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, port = scope.get("server") or ("", 80)
        assert port > 0
        await super().http(scope, receive, send)


class NeedsList(Shop):
    def field(self, scope: Scope, name: bytes) -> bytes:
        return next((value for key, value in scope["headers"] + [] if key.lower() == name), b"")


class KnowsAllKeys(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert not [key for key in scope if "." in key]
        await super().http(scope, receive, send)


class UsesScopeUp(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        scope["path"] = "/done"
        await super().http({**scope, "path": path}, receive, send)


class KnowsMessage(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = [await receive()]
        assert set(taken[0]) <= {"type", "body", "more_body"}

        async def again() -> Message:
            return taken.pop() if taken else await receive()

        await super().http(scope, again, send)


class NeedsBody(Shop):
    def part(self, message: Message) -> bytes:
        return bytes(message["body"])


class FirstPart(Shop):
    async def body(self, receive: Receive) -> bytes:
        return self.part(await receive())


class LastPart(Shop):
    async def body(self, receive: Receive) -> bytes:
        while (message := await receive()).get("more_body"):
            pass
        return self.part(message)


class Impatient(Shop):
    async def upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(0.05):
                body = await self.body(receive)
        except TimeoutError:
            await respond(send, 408, b"too slow")
        else:
            await self.uploaded(body, send)


class SmallOnly(Shop):
    async def uploaded(self, body: bytes, send: Send) -> None:
        assert len(body) < 1_000_000, "too large for me"
        await super().uploaded(body, send)


# ---- endings


class IgnoresDisconnect(Shop):
    async def upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().upload(scope, receive, send)
        except Gone:
            await stay()


class TakesHalves(Shop):
    async def body(self, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            body += self.part(message)
            more = message.get("more_body", False)
        return body

    async def uploaded(self, body: bytes, send: Send) -> None:
        await respond(send, 200, b"thank you")


class StreamsOn(Shop):
    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().stream(scope, receive, send)
        finally:
            await stay()


class NeverListens(Shop):
    async def stream(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        while True:
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await asyncio.sleep(0.02)


class SendsAgain(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stubborn(message: Message) -> None:
            while True:
                try:
                    await send(message)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    return

        await super().page(scope, receive, stubborn)


class ReceivesMore(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await super().page(scope, receive, send)


class HurriesSend(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def hurried(message: Message) -> None:
            await asyncio.wait_for(send(message), 0.03)

        await super().page(scope, receive, hurried)


class Uncancellable(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().page(scope, receive, send)
        except asyncio.CancelledError:
            await stay()


# ---- concurrency


class MixesCalls(Shop):
    tag = b""

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.tag = self.field(scope, b"x-conformance-tag")
        await asyncio.sleep(0.02)
        await respond(send, 200, PAGE + self.tag)


class OtherContext(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.create_task(super().page(scope, receive, send), context=contextvars.Context())


class KeepsLock(Shop):
    def __init__(self) -> None:
        self.locked = False

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        while self.locked:
            await asyncio.sleep(0.01)
        self.locked = True
        if scope["path"] == "/boom":
            raise RuntimeError("boom")
        await super().http(scope, receive, send)
        self.locked = False

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().page(scope, receive, send)
        except OSError:
            raise RuntimeError("gone") from None


class OneLoop(Shop):
    loop: Any = None

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop(), "another loop"
        await super().http(scope, receive, send)


# ---- lifespan


class NoLifespan(Shop):
    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError("none")


class TakesAnyType(Shop):
    async def unknown_type(self, scope: Scope) -> None:
        pass


class ReturnsEarly(Shop):
    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()


class StaysUp(Shop):
    async def shut_down(self, send: Send) -> None:
        await stay()


class NeedsState(Shop):
    async def start_up(self, scope: Scope, send: Send) -> None:
        if "state" not in scope:
            raise RuntimeError("oops")
        await super().start_up(scope, send)


class WaitsForState(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        while "state" not in scope:
            await asyncio.sleep(0.1)
        await super().page(scope, receive, send)


class StartsOnce(Shop):
    started = False

    async def start_up(self, scope: Scope, send: Send) -> None:
        if self.started:
            await send({"type": "lifespan.startup.failed", "message": "already"})
            return
        self.started = True
        await super().start_up(scope, send)


class FailsWithout(Shop):
    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "state" not in scope:
            raise RuntimeError("not started")
        await super().page(scope, receive, send)


# ---- WebSocket


class NoAnswer(Shop):
    async def session(self, _scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass


class NeedsSubprotocols(Shop):
    async def session(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert isinstance(scope["subprotocols"], list)
        await super().session(scope, receive, send)


class LostSocket(Shop):
    async def refuse(self, scope: Scope, send: Send) -> None:
        raise KeyError(scope["path"])


class SocketOnly(Shop):
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] != "/ws"
        await super().http(scope, receive, send)


class NeedsBothKeys(Shop):
    async def message(self, message: Message, send: Send) -> None:
        assert message["text"] is None or message["bytes"] is None
        await super().message(message, send)


class KnowsAllMessageKeys(Shop):
    async def message(self, message: Message, send: Send) -> None:
        assert set(message) <= {"type", "text", "bytes"}
        await super().message(message, send)


class StaysConnected(Shop):
    async def session(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().session(scope, receive, send)
        await stay()


class AcceptsAgain(Shop):
    async def session(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        while True:
            try:
                await send({"type": "websocket.accept"})
            except OSError:
                await asyncio.sleep(0.01)


class SendsOn(Shop):
    async def message(self, message: Message, send: Send) -> None:
        while True:
            with contextlib.suppress(OSError):
                await super().message(message, send)
            await asyncio.sleep(0.01)


class SpeaksAfterClose(Shop):
    async def session(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.close"})
        await send({"type": "websocket.send", "text": "and one more thing"})


class TenMessages(Shop):
    async def session(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            taken += 1
            if taken > 10:
                await stay()
            return await receive()

        await super().session(scope, limited, send)


class UncancellableSocket(Shop):
    async def session(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().session(scope, receive, send)
        except asyncio.CancelledError:
            await stay()


class AnswersTheLast(Shop):
    last: Any = None

    async def session(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.last = send
        await super().session(scope, receive, send)

    async def message(self, message: Message, send: Send) -> None:
        await super().message(message, self.last)


class NeedsDenial(Shop):
    async def refuse(self, scope: Scope, send: Send) -> None:
        if not scope["extensions"]:
            raise KeyError("websocket.http.response")
        await super().refuse(scope, send)


# ---- middleware


def good_middleware(app: App) -> App:
    """One that does something, rightly: a field in each response."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-served-by", b"test")]}
            await send(message)

        await app(dict(scope), receive, sending)

    return wrapped


def http_only(app: App) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)

    return wrapped


def writes_scope(app: App) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        scope["client"] = ("192.0.2.1", 0)
        await app(scope, receive, send)

    return wrapped


def buffers(app: App) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await app(scope, receive, keep)
        for message in kept:
            await send(message)

    return wrapped


def deaf(app: App) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        first = True

        async def once() -> Message:
            nonlocal first
            if not first:
                await stay()
            first = False
            return await receive()

        await app(scope, once, send)

    return wrapped


def known_messages(app: App) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] in {"http.response.start", "http.response.body"}:
                await send(message)

        await app(scope, receive, sending)

    return wrapped


def appends(app: App) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                message = {**message, "body": message["body"] + b"<!-- hello -->"}
            await send(message)

        await app(scope, receive, sending)

    return wrapped


def starts_twice(app: App) -> App:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception:  # noqa: BLE001 - that is the mistake
            await respond(send, 500, b"sorry")

    return wrapped


# Id and bad application; two where a case catches two things.
_PAIRS: list[tuple[str, Bad]] = [
    ("app.http.baseline", Bad(OnlyStart, "not complete")),
    ("app.http.head", Bad(OtherHead, "HEAD: 202")),
    ("app.http.head-405", Bad(NoHead, "HEAD: 405")),
    ("app.http.options", Bad(NoAllow, "405 without Allow")),
    ("app.http.unknown-method", Bad(AnyMethod, "FROBNICATE: 200")),
    ("app.http.unknown-path", Bad(LostPath, "KeyError")),
    ("app.http.conditional", Bad(Unconditional, "expected 304")),
    ("app.http.range", Bad(WrongRange, "content-range")),
    ("app.http.etag-stable", Bad(RandomTag, "the same content has the ETags")),
    ("app.http.http10", Bad(NeedsHost, "without Host")),
    ("app.http.http2-scope", Bad(NeedsHttp1, "http_version 2")),
    ("app.http.https-scheme", Bad(AlwaysHttp, "under https")),
    ("app.http.root-path", Bad(Unmountable, "mounted at /p")),
    ("app.http.odd-paths", Bad(AsciiPaths, "UnicodeEncodeError")),
    ("app.http.odd-query", Bad(StrictQuery, "the query")),
    ("app.http.odd-headers", Bad(Utf8Fields, "latin-1")),
    ("app.http.bad-content-type", Bad(TrustsJson, "JSONDecodeError")),
    ("app.http.scope-minimal", Bad(NeedsClient, "AssertionError")),
    ("app.http.scope-none", Bad(NoneClient, "client, server and raw_path None")),
    ("app.http.scope-unix-server", Bad(NeedsPort, "server [path, None]")),
    ("app.http.headers-iterable", Bad(NeedsList, "headers a tuple")),
    ("app.http.scope-extra-keys", Bad(KnowsAllKeys, "unknown keys")),
    ("app.http.idempotent-scope-copy", Bad(UsesScopeUp, "the second call")),
    ("app.http.message-extra-keys", Bad(KnowsMessage, "unknown keys in http.request")),
    ("app.http.request-defaults", Bad(NeedsBody, "no keys")),
    ("app.http.chunked-body", Bad(FirstPart, "the body in 2 messages")),
    ("app.http.body-then-empty-final", Bad(LastPart, "an empty message ends the body")),
    ("app.http.slow-body", Bad(Impatient, "the body with pauses: 408")),
    ("app.http.large-body", Bad(SmallOnly, "too large for me")),
    ("app.http.disconnect-before-body", Bad(IgnoresDisconnect, "still runs")),
    ("app.http.disconnect-mid-body", Bad(IgnoresDisconnect, "still runs")),
    ("app.http.disconnect-while-streaming", Bad(StreamsOn, "still runs")),
    ("app.http.disconnect-send-noop", Bad(NeverListens, "still runs")),
    ("app.http.send-oserror", Bad(SendsAgain, "still runs")),
    ("app.http.receive-blocks", Bad(ReceivesMore, "no response within")),
    ("app.http.send-slow", Bad(HurriesSend, "each send takes 100 ms")),
    ("app.http.cancel", Bad(Uncancellable, "cancelled: the application still runs")),
    ("app.conc.parallel", Bad(MixesCalls, "of another")),
    ("app.conc.contextvars", Bad(OtherContext, "the context is that of")),
    ("app.conc.after-error", Bad(KeepsLock, "the request after errors", BOOM)),
    ("app.conc.other-loop-thread", Bad(OneLoop, "another loop")),
    ("app.life.supported", Bad(NoLifespan, "raised NotImplementedError")),
    ("app.life.unsupported-raises", Bad(TakesAnyType, "it returned")),
    ("app.life.return-early", Bad(ReturnsEarly, "returned without an answer")),
    ("app.life.shutdown-completes", Bad(StaysUp, "no lifespan.shutdown.complete")),
    ("app.life.no-state", Bad(NeedsState, "oops")),
    ("app.life.state-requests", Bad(WaitsForState, "without a lifespan and its state")),
    ("app.life.restart", Bad(StartsOnce, "the second start-up")),
    ("app.life.requests-without-lifespan", Bad(FailsWithout, "not started")),
    ("app.ws.accept-or-reject", Bad(NoAnswer, "within")),
    ("app.ws.minimal-scope", Bad(NeedsSubprotocols, "KeyError")),
    ("app.ws.unknown-path", Bad(LostSocket, "KeyError")),
    ("app.ws.ws-on-http-route", Bad(LostSocket, "KeyError")),
    ("app.ws.http-on-ws-route", Bad(SocketOnly, "AssertionError")),
    ("app.ws.receive-shapes", Bad(NeedsBothKeys, "without the other key: KeyError")),
    ("app.ws.message-extra-keys", Bad(KnowsAllMessageKeys, "with them: AssertionError")),
    ("app.ws.disconnect-shapes", Bad(StaysConnected, "still runs")),
    ("app.ws.disconnect-before-accept", Bad(AcceptsAgain, "still runs")),
    ("app.ws.disconnect-while-sending", Bad(SendsOn, "still runs")),
    ("app.ws.send-noop-after-disconnect", Bad(SendsOn, "still runs")),
    ("app.ws.no-send-after-close", Bad(SpeaksAfterClose, "behind websocket.close it sent websocket.send")),
    ("app.ws.big-and-many", Bad(TenMessages, "1000 messages")),
    ("app.ws.cancel", Bad(UncancellableSocket, "still runs")),
    ("app.ws.concurrent", Bad(AnswersTheLast, "did not get its own message")),
    ("app.ws.denial-used-if-offered", Bad(NeedsDenial, "without the extension: KeyError")),
    ("app.mw.pass-through", Bad(says="lifespan", middleware=http_only)),
    ("app.mw.scope-copied", Bad(says="client", middleware=writes_scope)),
    ("app.mw.streaming-kept", Bad(says="kept back", middleware=buffers)),
    ("app.mw.backpressure-kept", Bad(says="50 of 50", middleware=buffers)),
    ("app.mw.disconnect-kept", Bad(says="no http.disconnect", middleware=deaf)),
    ("app.mw.extensions-honest", Bad(says="does not arrive outside", middleware=known_messages)),
    ("app.mw.cl-fixed-up", Bad(says="content-length is", middleware=appends)),
    ("app.mw.exception-kept", Bad(says="2 starts", middleware=starts_twice)),
    ("app.mw.overhead", Bad(says="microseconds_per_call", middleware=buffers)),
    # A second mistake that the same case catches, in process: nobody outside sees it.
    ("app.http.disconnect-before-body", Bad(TakesHalves, "as if the body were complete")),
    ("app.http.disconnect-mid-body", Bad(TakesHalves, "as if the body were complete")),
]
BAD: dict[str, list[Bad]] = {}
for identifier, bad in _PAIRS:
    BAD.setdefault(identifier, []).append(bad)
