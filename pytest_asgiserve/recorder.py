"""What a live server remembers of its exchanges.

The law of this module: what is not whole says so. Bodies are kept up to `BODY_LIMIT` bytes, events up to `EVENT_LIMIT`, exchanges up to
`EXCHANGE_LIMIT`; sizes and counts go on, and reading a body that was cut raises instead of passing for the whole.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asgiserve.core.exchange import Exchange
    from asgiserve.runtime.connection import AsyncioConnection

__all__ = ["BODY_LIMIT", "EVENT_LIMIT", "EXCHANGE_LIMIT", "Event", "RecordedBody", "RecordedExchange", "RecordedMessage", "Recorder"]

BODY_LIMIT: Final = 64 * 1024
"""Bytes of each body, and of each event, that are kept."""
EVENT_LIMIT: Final = 1000
"""Events of each exchange that are kept, the first ones."""
EXCHANGE_LIMIT: Final = 10_000
"""Exchanges that are kept, the last ones."""


class RecordedBody:
    """A body, or the part of it that was kept. ``data`` is what was kept, ``size`` how many bytes there were."""

    __slots__ = ("_parts", "kept", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.kept = 0
        self.size = 0

    def add(self, data: bytes) -> None:
        """More of it."""
        self.size += len(data)
        room = BODY_LIMIT - self.kept
        if room > 0 and data:
            part = bytes(data[:room])
            self._parts.append(part)
            self.kept += len(part)

    @property
    def data(self) -> bytes:
        """The first `BODY_LIMIT` bytes."""
        return b"".join(self._parts)

    @property
    def truncated(self) -> bool:
        """Whether there was more than was kept."""
        return self.size > self.kept


@dataclass(slots=True)
class RecordedMessage:
    """The request or the response of an exchange: fields and body. ``headers`` are pairs of bytes, names in lower case, in the order of the wire."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    recorded_body: RecordedBody = field(default_factory=RecordedBody, repr=False)

    def header(self, name: str) -> str | None:
        """The field's value, several lines joined by a comma (RFC 9110 §5.3); None where it is not there."""
        wanted = name.lower().encode("latin-1")
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]
        return ", ".join(values) if values else None

    @property
    def truncated(self) -> bool:
        """Whether the body was longer than `BODY_LIMIT`."""
        return self.recorded_body.truncated

    @property
    def size(self) -> int:
        """Bytes of the body, whether kept or not."""
        return self.recorded_body.size

    @property
    def body(self) -> bytes:
        """The whole body.

        Raises:
            ValueError: it was longer than is kept; ``recorded_body.data`` is what there is.
        """
        if self.truncated:
            raise ValueError(f"the body of {self.size} bytes was cut at {BODY_LIMIT} in the recording; recorded_body.data has what was kept")
        return self.recorded_body.data

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8")

    def json(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Event:
    """One ASGI message. ``direction`` is ``receive`` (to the application) or ``send`` (from it); ``at`` is in seconds from the exchange's begin.

    ``message`` is a copy, with ``body``, ``bytes`` and ``text`` cut at `BODY_LIMIT`; ``truncated`` says whether anything was.
    """

    direction: str
    message: dict[str, Any]
    at: float
    truncated: bool = False


class RecordedExchange:
    """One request and what became of it.

    ``request`` and ``response`` are `RecordedMessage`; ``status`` is the response's on the wire, 0 where there was none and 101 for a WebSocket.
    ``path`` is percent-decoded, ``raw_path`` and ``query`` are as they came. ``scope`` is a copy of what the application got (empty where it was
    not called). ``peer`` is the client's address. ``duration`` is in seconds, None while it runs. ``outcome`` is empty where the response is
    complete, else a word for how it ended, as in the access log. ``error`` is what the application raised,
    ``answered`` that where its framework answered it.
    """

    def __init__(self, peer: str, exchange: Exchange) -> None:
        head = exchange.head
        self.method = head.method.decode("latin-1")
        self.path = head.target.path
        self.raw_path = head.target.raw_path
        self.query = head.target.query.decode("latin-1")
        self.http_version = "1.1" if head.minor_version else "1.0"
        self.is_websocket = bool(head.upgrade)
        self.peer = peer
        self.request = RecordedMessage(list(head.fields))
        self.response = RecordedMessage()
        self.scope: dict[str, Any] = {}
        self.events: list[Event] = []
        self.dropped_events = 0
        self.status = 0
        self.outcome = ""
        self.close_code: int | None = None
        self.error: BaseException | None = None
        self.answered: BaseException | None = None
        self.began_at = time.time()
        self.duration: float | None = None
        # Let go at its end: with it the call, its frames and what the application left to the garbage collector would live on.
        self._exchange: Exchange | None = exchange
        self.aborted = False
        self._started = time.monotonic()

    @property
    def complete(self) -> bool:
        """Whether it is over."""
        return self.duration is not None

    def json(self) -> Any:
        """The request's body, parsed as JSON."""
        return self.request.json()

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """The messages of type ``kind`` that the application sent."""
        return [event.message for event in self.events if event.direction == "send" and event.message.get("type") == kind]

    def received(self, kind: str) -> list[dict[str, Any]]:
        """The messages of type ``kind`` that the application received."""
        return [event.message for event in self.events if event.direction == "receive" and event.message.get("type") == kind]

    def __repr__(self) -> str:
        target = self.raw_path.decode("latin-1") + (f"?{self.query}" if self.query else "")
        took = f"{self.duration * 1000:.1f} ms" if self.duration is not None else "running"
        outcome = f" {self.outcome}" if self.outcome else ""
        return f"<{self.method} {target} {self.status or '-'}{outcome} from {self.peer}, {took}>"

    # For the recorder.

    def note_event(self, direction: str, message: Any) -> None:
        """The application received, or is about to send, ``message``, whatever that is. It is looked at and not touched."""
        try:
            kept = dict(message)
        except Exception:  # noqa: BLE001 - no message at all, or a mapping of the application's that raises: the server says what is wrong with it
            self.dropped_events += 1
            return
        kind = kept.get("type")
        body = kept.get("body", b"")
        if isinstance(kind, str) and isinstance(body, bytes | bytearray | memoryview):
            if direction == "receive" and kind == "http.request":
                self.request.recorded_body.add(bytes(body))
            elif direction == "send" and kind in {"http.response.body", "websocket.http.response.body"}:
                self.response.recorded_body.add(bytes(body))
        if len(self.events) >= EVENT_LIMIT:
            self.dropped_events += 1
            return
        truncated = _cut(kept)
        if not isinstance(kept.get("headers", []), list | tuple):
            # An iterator is the server's to read, once; `note_response` has what it read.
            kept["headers"] = []
        self.events.append(Event(direction, kept, time.monotonic() - self._started, truncated))

    def note_sent(self) -> None:
        """The server took what `note_event` noted. A response head nobody has seen yet: it is held until the application waits."""
        exchange = self._exchange
        if self.status or exchange is None or not exchange.status:
            return
        self.status = exchange.status
        self.response.headers = list(exchange.response.fields)
        if self.events and not self.events[-1].message.get("headers"):
            self.events[-1].message["headers"] = list(exchange.response.fields)

    def note_end(self, exchange: Exchange) -> None:
        """It is over: what the server sent is what counts."""
        if self.duration is not None:
            return
        self._exchange = None
        self.duration = time.monotonic() - self._started
        self.aborted = exchange.aborted
        self.status = exchange.status
        self.outcome = exchange.outcome
        self.close_code = exchange.close_code
        if not any(event.direction == "send" for event in self.events) or exchange.outcome == "error":
            # The response that the server made: 500, 503.
            self.response.headers = list(exchange.response.fields)


def _cut(message: dict[str, Any]) -> bool:
    """Cut what is long in a message; whether anything was."""
    truncated = False
    for name in ("body", "bytes", "text"):
        value = message.get(name)
        if isinstance(value, bytes | bytearray | memoryview | str) and len(value) > BODY_LIMIT:
            message[name] = value[:BODY_LIMIT] if isinstance(value, str) else bytes(value[:BODY_LIMIT])
            truncated = True
    return truncated


class Recorder:
    """The exchanges of one server. Filled on the server's loop, read from any thread."""

    def __init__(self) -> None:
        self._exchanges: deque[RecordedExchange] = deque(maxlen=EXCHANGE_LIMIT)
        self._running: dict[int, RecordedExchange] = {}
        self._lock = threading.Lock()

    def began(self, connection: AsyncioConnection, exchange: Exchange) -> RecordedExchange:
        """A request came."""
        record = RecordedExchange(connection.peer_name, exchange)
        self._running[id(exchange)] = record
        with self._lock:
            self._exchanges.append(record)
        return record

    def ended(self, connection: AsyncioConnection, exchange: Exchange) -> None:
        """It is over; it may not have begun, where the server was full."""
        record = self._running.pop(id(exchange), None) or self.began(connection, exchange)
        self._running.pop(id(exchange), None)
        record.note_end(exchange)

    def find(self, method: str | None, path: str | None, status: int | None) -> list[RecordedExchange]:
        """Those that fit, oldest first."""
        with self._lock:
            records = list(self._exchanges)
        return list(_fitting(records, method=method, path=path, status=status))

    def clear(self) -> None:
        """Forget what is over."""
        with self._lock:
            running = [record for record in self._exchanges if not record.complete]
            self._exchanges.clear()
            self._exchanges.extend(running)


def _fitting(records: Iterable[RecordedExchange], *, method: str | None, path: str | None, status: int | None) -> Iterable[RecordedExchange]:
    tests: list[Callable[[RecordedExchange], bool]] = []
    if method is not None:
        tests.append(lambda record: record.method == method.upper())
    if path is not None:
        tests.append(lambda record: record.path == path)
    if status is not None:
        tests.append(lambda record: record.status == status)
    return (record for record in records if all(test(record) for test in tests))
