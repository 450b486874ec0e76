"""One request and its answer, in process or over the wire, and whether two answers are the same.

The law of this module: both ways give the same record, so that a case is written once. What differs between two plain answers to the same request is
the application's own variety, and is not compared.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.drive import Trace
from pytest_asgiserve.raw import FramingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_conformance.application.driver import Call
    from asgi_conformance.application.routes import Route
    from pytest_asgiserve import LiveServer, RawConnection

__all__ = ["Answer", "Reference", "Request", "answer_of", "ask_live", "pairs_of"]

_ERRORS: Final = 500
_CLIENT_ERRORS: Final = 400
_OK: Final = 200
_EVENTS: Final = b"text/event-stream"
_SHOWN: Final = 60
_GONE: Final = (ConnectionResetError, BrokenPipeError)

_origin = re.compile(rb"^[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Args:
        route: what is asked for.
        method: instead of the route's.
        fields: beside those that belong to every request.
        parts: the body, message by message; None is the route's, in one.
        pause: seconds between the parts.
        chunked: the body has no Content-Length, as with the chunked transfer coding.
        http_version: of the request.
        with_host: whether it has a Host field.
        changes: of the scope; only in process.
    """

    route: Route
    method: str = ""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    parts: tuple[bytes, ...] | None = None
    pause: float = 0.0
    chunked: bool = False
    http_version: str = "1.1"
    with_host: bool = True
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> tuple[bytes, ...]:
        """Its parts; one at least."""
        return self.parts if self.parts is not None else (self.route.body,)

    def resolved(self) -> Request:
        """The same with the method in the route, as scopes are made of that."""
        return replace(self, route=replace(self.route, method=self.method), method="") if self.method else self


@dataclass(slots=True)
class Answer:
    """What came back.

    Attributes:
        status: 0 where no response came.
        failure: why there is no complete response; empty where there is one.
        raised: the exception that left the application.
        endless: the response began, and had not ended when nobody waited any longer.
        pieces: how many pieces of content it came in.
        trace: what went to and fro.
    """

    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    failure: str = ""
    raised: str = ""
    endless: bool = False
    pieces: int = 0
    trace: Trace = field(default_factory=Trace)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field."""
        return [value for key, value in self.fields if key.lower() == name]

    def one(self, name: bytes) -> bytes:
        """The first value of a field; empty where there is none."""
        return next(iter(self.all(name)), b"")

    @property
    def ok(self) -> bool:
        """Whether it is whole, and neither an error of the client nor of the server."""
        return not self.failure and _OK <= self.status < _CLIENT_ERRORS

    @property
    def crashed(self) -> bool:
        """Whether the application failed: 5xx, an exception, or no response."""
        return bool(self.failure or self.raised) or self.status >= _ERRORS

    @property
    def refused(self) -> bool:
        """Whether it is a 4xx."""
        return not self.failure and _CLIENT_ERRORS <= self.status < _ERRORS

    @property
    def is_events(self) -> bool:
        """Whether it is a stream of server-sent events."""
        return self.one(b"content-type").startswith(_EVENTS)

    def __str__(self) -> str:
        parts = [str(self.status) if self.status else "", self.failure, f"{self.raised} left the application" if self.raised else ""]
        return ", ".join(part for part in parts if part) or "nothing"


def pairs_of(message: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """The fields of a message, as far as they are some: what they should be is the business of lint."""
    headers = message.get("headers")
    pairs = headers if isinstance(headers, list | tuple) else []
    return [
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, bytes) for part in pair)  # noqa: PLR2004 - a name and a value
    ]


def answer_of(call: Call, *, seconds: float) -> Answer:
    """What a call in process came to, within so many seconds."""
    answer = Answer(trace=call.trace)
    start = call.start
    if start is not None:
        status = start.get("status")
        answer.status = status if isinstance(status, int) else 0
        answer.fields = pairs_of(start)
        bodies = [one.get("body", b"") for one in call.sent if str(one.get("type")).endswith("http.response.body")]
        answer.body = b"".join(bytes(body) for body in bodies if isinstance(body, bytes | bytearray | memoryview))
        answer.pieces = len([body for body in bodies if body])
    escaped = call.escaped
    if escaped is not None:
        answer.raised = f"{type(escaped).__name__}: {escaped}"[:300]
    if not call.complete:
        if start is None:
            answer.failure = "no response" if call.done else f"no response within {seconds:g} s"
        elif call.done:
            answer.failure = "the response is not complete"
        else:
            answer.endless = True
    return answer


# Over the wire.


def ask_live(server: LiveServer, request: Request, *, host: str, seconds: float, events: float) -> Answer:
    """Send a request over a connection of its own, and read the answer strictly. For a thread: it waits."""
    request = request.resolved()
    answer = Answer()
    trace = answer.trace
    route = request.route
    parts = request.body
    fields = [*request.fields]
    if request.with_host:
        fields.insert(0, (b"host", host.encode("latin-1")))
    named = {name for name, _ in fields}
    if route.content_type and b"content-type" not in named:
        fields.append((b"content-type", route.content_type))
    chunked = request.chunked
    if chunked:
        fields.append((b"transfer-encoding", b"chunked"))
    elif any(parts) and b"content-length" not in named:
        fields.append((b"content-length", b"%d" % sum(map(len, parts))))
    target = route.target.encode("utf-8", "surrogateescape")
    head = b"%s %s HTTP/%s\r\n" % (route.method.encode(), target, request.http_version.encode())
    head += b"".join(b"%s: %s\r\n" % one for one in fields) + b"\r\n"
    with server.connect(timeout=seconds) as raw:
        try:
            _send(raw, trace, head if len(parts) > 1 or chunked else head + parts[0])
            for number, part in enumerate(parts if len(parts) > 1 or chunked else ()):
                if number and request.pause:
                    time.sleep(request.pause)
                if part:
                    _send(raw, trace, b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            if chunked:
                _send(raw, trace, b"0\r\n\r\n")
        except _GONE:
            # The server has answered early, and closed.
            trace.note("!", "the server took no more")
        _read(raw, answer, route.method, (seconds, events))
    return answer


def _send(raw: RawConnection, trace: Trace, data: bytes) -> None:
    trace.note(">", data)
    raw.send(data)


def _read(raw: RawConnection, answer: Answer, method: str, limits: tuple[float, float]) -> None:
    seconds, events = limits
    trace = answer.trace
    try:
        response = raw.read_head(method)
        while response.status < _OK:
            trace.note("<", f"{response.status}")
            response = raw.read_head(method)
    except TimeoutError:
        answer.failure = f"no response within {seconds:g} s"
        return
    except (FramingError, OSError) as error:
        answer.failure = f"no response: {error}"
        return
    answer.status, answer.fields = response.status, response.fields
    trace.note("<", f"{response.status} {response.fields}")
    expired = threading.Event()
    # Content may go on for ever, with never a pause that is longer than the connection's timeout.
    timer = threading.Timer(events if answer.is_events else seconds, _expire, (raw, expired))
    timer.start()
    try:
        raw.read_body(response)
    except (FramingError, OSError) as error:
        if expired.is_set() or isinstance(error, TimeoutError):
            answer.endless = True
            trace.note("!", "the response goes on")
        else:
            answer.failure = f"the response is not complete: {error}"
    finally:
        timer.cancel()
        timer.join()
    answer.body = response.body or b"".join(response.chunks)
    answer.pieces = len(response.chunks)
    trace.note("<", answer.body)


def _expire(raw: RawConnection, expired: threading.Event) -> None:
    expired.set()
    with contextlib.suppress(OSError):
        raw.sock.shutdown(socket.SHUT_RD)


# The same answer.


class Reference:
    """What a route answers as such, from several plain requests of which one has another client and another field.

    Attributes:
        answer: the first.
        stable: all had the same content, whoever asked.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answer = answers[0]
        self.stable = not self.answer.endless and all(each.body == self.answer.body for each in answers)
        self._steady = all(each.status == self.answer.status for each in answers)

    def difference(self, other: Answer) -> str:
        """What of ``other`` is not as here; empty where it is the same response. Content that changes by itself is not looked at."""
        mine = self.answer
        if other.failure or other.raised != mine.raised:
            return str(other)
        if self._steady and other.status != mine.status:
            return f"{other}; a plain request gets {mine.status}"
        for name in (b"content-type", b"content-encoding"):
            if _media(other.one(name)) != _media(mine.one(name)):
                return f"{name.decode()} is {other.one(name)!r}; a plain request gets {mine.one(name)!r}"
        if _path_of(other.one(b"location")) != _path_of(mine.one(b"location")):
            return f"location is {other.one(b'location')!r}; a plain request gets {mine.one(b'location')!r}"
        if self.stable and not other.endless and other.body != mine.body:
            return f"another content, {_shown(other.body)}; a plain request gets {_shown(mine.body)}"
        return ""


def _media(value: bytes) -> bytes:
    """Without parameters: the boundary of a multipart response differs each time."""
    return value.partition(b";")[0].strip().lower()


def _path_of(value: bytes) -> bytes:
    return _origin.sub(b"", value)


def _shown(body: bytes) -> str:
    return repr(body) if len(body) <= _SHOWN else f"{body[:_SHOWN]!r}... ({len(body)} bytes)"
