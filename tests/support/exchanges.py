"""An exchange without a connection: a sink that remembers what it was asked to write, heads to begin with, and who the peer is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiserve.asgi.context import Context
from asgiserve.config import WebSocketConfig
from asgiserve.core.exchange import Exchange
from asgiserve.core.flow import WriteGate
from asgiserve.core.request import Framing, RequestHead
from asgiserve.http.target import parse_target

if TYPE_CHECKING:
    from asgiserve.asgi.proxy import TrustedProxies
    from asgiserve.http.fields import Field

__all__ = ["FakePeer", "RecordingSink", "make_context", "make_exchange", "make_head"]


class RecordingSink:
    """An `asgiserve.core.exchange.ExchangeSink` that keeps each call as a tuple, its name first.

    Its ``write_gate`` is open; nothing here shuts it.
    """

    def __init__(self) -> None:
        self.write_gate = WriteGate()
        self.calls: list[tuple[Any, ...]] = []

    def take(self) -> list[tuple[Any, ...]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    @property
    def content(self) -> bytes:
        """What was written of the response's content."""
        return b"".join(call[1] for call in self.calls if call[0] in {"write_head", "write_body"})

    def hold(self, exchange: Exchange) -> None:  # noqa: ARG002 - the sink's signature; a test has one exchange
        self.calls.append(("hold",))

    def write_head(self, exchange: Exchange, data: bytes, last: bool) -> None:  # noqa: ARG002
        self.calls.append(("write_head", data, last))

    def write_body(self, exchange: Exchange, data: bytes, last: bool) -> None:  # noqa: ARG002
        self.calls.append(("write_body", data, last))

    def write_trailers(self, exchange: Exchange, fields: list[Field]) -> None:  # noqa: ARG002
        self.calls.append(("write_trailers", list(fields)))

    def write_informational(self, exchange: Exchange, status: int, fields: list[Field]) -> None:  # noqa: ARG002
        self.calls.append(("write_informational", status, list(fields)))

    def open_tunnel(self, exchange: Exchange, stream: Any, fields: list[Field]) -> None:  # noqa: ARG002
        self.calls.append(("open_tunnel", stream, list(fields)))

    def body_wanted(self, exchange: Exchange) -> None:  # noqa: ARG002
        self.calls.append(("body_wanted",))

    def body_taken(self, exchange: Exchange) -> None:  # noqa: ARG002
        self.calls.append(("body_taken",))

    def frame(self, size: int) -> tuple[bytes, bytes]:
        self.calls.append(("frame", size))
        return b"", b""

    def write(self, data: bytes) -> None:
        self.calls.append(("write", data))

    def response_ended(self, exchange: Exchange) -> None:  # noqa: ARG002
        self.calls.append(("response_ended",))

    def cut(self, exchange: Exchange) -> None:  # noqa: ARG002
        self.calls.append(("cut",))


def make_head(method: bytes = b"GET", target: bytes = b"/", minor_version: int = 1, fields: list[Field] | None = None, **facts: Any) -> RequestHead:
    """A request head; ``facts`` are those of its `Framing`."""
    given = [(b"host", b"test.example")] if fields is None else fields
    return RequestHead(method, parse_target(method, target), minor_version, given, Framing(**facts))


def make_exchange(method: bytes = b"GET", target: bytes = b"/", *, high_mark: int = 100, **facts: Any) -> tuple[Exchange, RecordingSink]:
    """An exchange and the sink that sees what it does; ``facts`` are those of `make_head`."""
    sink = RecordingSink()
    return Exchange(sink, make_head(method, target, **facts), high_mark, 0.0), sink


@dataclass
class FakePeer:
    """One connection as the runtime describes it."""

    client: tuple[str, int] | None = ("192.0.2.1", 50000)
    server: tuple[str, int | None] | None = ("127.0.0.1", 8000)
    scheme: str = "http"
    tls: dict[str, Any] | None = None
    trusted: bool = False
    can_sendfile: bool = False
    is_gone: bool = False

    def gone(self) -> bool:
        return self.is_gone

    async def sendfile(self, file: Any, offset: int, count: int) -> int:
        raise NotImplementedError


def _never(*_: Any) -> Any:
    raise AssertionError("nothing here waits or runs an application")


def make_context(
    *, root_path: str = "", state: dict[str, Any] | None = None, proxies: TrustedProxies | None = None, asgi_version: str = "3.0"
) -> Context:
    """What a scope, and a call that never waits, need of a server."""
    return Context(
        app=None,
        asgi_version=asgi_version,
        state=state,
        root_path=root_path,
        websocket=WebSocketConfig(),
        proxies=proxies,
        create_waiter=_never,
        run_blocking=_never,
        finished=_never,
        failed=_never,
    )
