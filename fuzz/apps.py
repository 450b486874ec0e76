"""What answers while the connection is fuzzed: applications that echo, answer early, stream, wait, fail, and call things in any order.

The law of this module: an application is deterministic. What it does is in the request or in the plan of the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgiserve.config import WebSocketConfig
from asgiserve.core.websocket import WebSocketStream
from asgiserve.core.websocket_handshake import accept_fields, negotiate_extensions
from asgiserve.errors import LocalProtocolError
from tests.support.sansio import answer, echo, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fuzz.engine import Choices
    from tests.support.sansio import App, Call, Steps

__all__ = ["APPS", "WEBSOCKET", "accept", "application"]

_STATUSES: Final = (200, 200, 404, 204, 304, 205, 500, 299)
_FIELDS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-a", b"b"),
    (b"content-length", b"5"),
    (b"content-length", b"0"),
    (b"Content-Length", b"70000"),
    (b"connection", b"close"),
    (b"connection", b"keep-alive, x"),
    (b"transfer-encoding", b"chunked"),
    (b"date", b"now"),
    (b"server", b""),
    (b"x-b", b"\xff\t\x80"),
    (b"x-c", b"a\r\nb: c"),
    (b"x d", b""),
    (b"content-length", b"-1"),
    (b"keep-alive", b"timeout=5"),
    (b"trailer", b"x-a"),
    (b"upgrade", b"h2c"),
)
_CONTENT: Final = (b"", b"a", b"hello", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 70_000)
WEBSOCKET: Final = WebSocketConfig(ws_max_size=2000, ws_max_queue=3, ws_max_fragment_count=8)


def accept(call: Call, received: list[str | bytes], config: WebSocketConfig, *, says: Callable[[str | bytes], bool]) -> Steps:
    """Accept the handshake, take messages until there are no more, and send those back of which ``says`` is true."""
    exchange = call.exchange
    fields = exchange.head.fields
    extensions, active = negotiate_extensions(fields, deflate=config.ws_per_message_deflate, max_ratio=config.ws_max_inflation_ratio)
    stream = WebSocketStream(exchange, config, active)
    exchange.tunnel(stream, accept_fields(fields, None, extensions))
    while True:
        while (message := stream.take_message()) is not None:
            received.append(message)
            if says(message) and stream.disconnect is None:
                yield from _send(call, stream, message)
        if stream.disconnect is not None:
            return
        yield "event"


def _send(call: Call, stream: WebSocketStream, message: str | bytes) -> Steps:
    if message in {"close", b"close"}:
        stream.close(4000, "bye")
        return
    stream.send(message)
    while call.wire.connection.write_gate.shut and stream.disconnect is None:
        yield "gate"


def _stream(call: Call) -> Steps:
    """Each piece of the body as soon as it comes."""
    call.exchange.respond(200, [(b"trailer", b"x-t")], trailers=True)
    while True:
        data = yield from call.receive()
        if data is None:
            return
        yield from call.send(data, more=bool(data))
        if not data:
            call.exchange.trailers([(b"x-t", b"1")])
            return


def _pour(call: Call) -> Steps:
    """More than the peer's buffer holds."""
    call.exchange.respond(200)
    for _ in range(3):
        yield from call.send(b"x" * 40_000)
    yield from call.send(b"", more=False)


def _fail(call: Call) -> Steps:
    """Errors once it has the body."""
    yield from call.body()
    raise ArithmeticError("the application's")


def _break_off(call: Call) -> Steps:
    """Errors inside of a response."""
    call.exchange.respond(200)
    yield from call.send(b"begun")
    yield from call.body()
    raise ArithmeticError("the application's")


def _no_answer(call: Call) -> Steps:
    """Returns when it has the body, without a response."""
    yield from call.body()


def _take_one(call: Call) -> Steps:
    """Answers after the first piece of the body, whatever follows."""
    yield from call.receive()
    call.respond(b"enough")


def _calls(choices: Choices) -> App:
    """Calls what an application can call, in the order of the plan, and goes on after each error."""

    def app(call: Call) -> Generator[str, None, None]:
        exchange = call.exchange
        while choices.left:
            way = choices.below(10)
            try:
                if way <= 1:
                    fields = [choices.pick(_FIELDS) for _ in range(choices.below(4))]
                    exchange.respond(choices.pick(_STATUSES), fields, trailers=choices.below(4) == 1)
                elif way <= 4:
                    exchange.body(choices.pick(_CONTENT), more=choices.below(2) == 0)
                elif way == 5:
                    exchange.inform(choices.pick((103, 100, 102, 101)), [choices.pick(_FIELDS)])
                elif way == 6:
                    exchange.trailers([choices.pick(_FIELDS)], more=choices.below(2) == 1)
                elif way == 7:
                    exchange.flush()
                elif way == 8:
                    yield from call.receive()
                elif exchange.head_sent:
                    exchange.reserve(0)
            except LocalProtocolError:
                continue

    return app


APPS: Final[tuple[tuple[str, App], ...]] = (
    ("echo", echo),
    ("answer", answer),
    ("stream", _stream),
    ("take one", _take_one),
    ("pour", _pour),
    ("fail", _fail),
    ("break off", _break_off),
    ("no answer", _no_answer),
    ("ignore", ignore),
)


def application(choices: Choices) -> App:
    """One of these by the plan, which accepts WebSockets or answers them as anything else."""
    index = choices.below(len(APPS) + 3)
    app = APPS[index][1] if index < len(APPS) else _calls(choices)
    if choices.below(3) == 1:
        return app

    def either(call: Call) -> Steps | None:
        if call.exchange.head.upgrade:
            return accept(call, [], WEBSOCKET, says=lambda _: True)
        return app(call)

    return either
