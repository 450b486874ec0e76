"""Clients that make requests: at a pace that the server does not set (`Client`, `paced`), and as fast as it answers (`count_requests`).

The law of this module: the load must not be the bottleneck. One epoll loop, no task and no thread for each connection; a response is read only as
far as it takes to know its end. Every wait has a limit, and a request that is not answered in time is a failed one: its connection is closed.
"""

from __future__ import annotations

import contextlib
import errno
import re
import select
import socket
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Answer", "Client", "Tally", "connecting", "count_requests", "get", "paced", "percentile", "response_end"]

_READ_BYTES: Final = 65536
_CONNECT_SECONDS: Final = 5.0
_ETHERNET_SEGMENT: Final = 1448
_STATUS: Final = slice(9, 12)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP
_LAST_CHUNK: Final = b"0\r\n\r\n"


def get(path: str, *fields: str) -> bytes:
    """A GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "\r\n"]).encode("ascii")


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of the values are not above (nearest rank); 0 where there are none."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[max(0, -int(-len(ranked) * percent // 100) - 1)]


def response_end(data: bytes | bytearray) -> tuple[int, bool]:
    """Where the response that ``data`` begins with ends (0: not yet), and whether the connection ends with it.

    A chunked body ends where ``data`` ends with the last chunk: the bodies of the application hold nothing that looks like it.
    """
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0, False
    fields = data[:head]
    closes = _CLOSE.search(fields) is not None
    if (length := _LENGTH.search(fields)) is not None:
        end = head + 4 + int(length[1])
        return (end if len(data) >= end else 0), closes
    if _CHUNKED.search(fields) is not None:
        return (len(data) if data.endswith(_LAST_CHUNK) and len(data) > head + 4 else 0), closes
    return 0, True


def connecting(port: int, *, receive_buffer: int = 0, source: str = "") -> socket.socket:
    """A socket on its way to the server; on the loopback interface it is there at once, unless the server's backlog is full."""
    sock = socket.socket()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            # Ethernet's. With the loopback interface's 64 KiB the system takes 2.6 MiB from the server for a client that reads nothing.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _ETHERNET_SEGMENT)
        if source:
            sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the port is chosen with the peer known
            sock.bind((source, 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


class Answer(NamedTuple):
    """How one request ended. ``status`` is 0 where there was no whole response, and ``error`` says why."""

    label: str
    began: float
    seconds: float
    status: int
    retry_after: bool
    error: str


class _Call:
    __slots__ = ("began", "label", "received", "request", "reused", "sent", "sock")

    def __init__(self, label: str, request: bytes, sock: socket.socket, began: float, *, reused: bool) -> None:
        self.label = label
        self.request = request
        self.sock = sock
        self.began = began
        self.reused = reused
        self.sent = False
        self.received = bytearray()


class Client:
    """Requests, each begun when the caller says so and not when the server has time (an open loop).

    Args:
        port: of the server, on 127.0.0.1.
        patience: seconds until a request without a whole response is given up.
        kept: at most so many idle connections are used again; 0 makes a connection for each request.
    """

    def __init__(self, port: int, *, patience: float, kept: int = 0) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._patience = patience
        self._kept = kept
        self._idle: deque[socket.socket] = deque()
        self._epoll = select.epoll()
        self._calls: dict[int, _Call] = {}
        self._waiting: deque[_Call] = deque()

    @property
    def running(self) -> int:
        """Requests without an answer."""
        return len(self._calls)

    def begin(self, request: bytes, label: str = "") -> None:
        """Send a request, on an idle connection where there is one."""
        began = time.monotonic()
        while self._idle:
            sock = self._idle.pop()
            call = _Call(label, request, sock, began, reused=True)
            try:
                # An end that came while it was idle: the next request needs another connection, as with any client.
                sock.recv(1)
            except BlockingIOError:
                self._watch(call)
                self._send(call)
                return
            except OSError:
                pass
            sock.close()
        self._connect(label, request, began)

    def turn(self, timeout: float) -> None:
        """Wait for what comes, at most ``timeout`` seconds, and take it."""
        with contextlib.suppress(InterruptedError):
            for descriptor, events in self._epoll.poll(max(timeout, 0.0)):
                call = self._calls.get(descriptor)
                if call is None:
                    continue
                if not call.sent and events & select.EPOLLOUT:
                    self._send(call)
                elif events & ~select.EPOLLOUT:
                    self._receive(call)
        now = time.monotonic()
        while self._waiting and (self._waiting[0].began + self._patience <= now or self._waiting[0].label == _OVER):
            call = self._waiting.popleft()
            if call.label != _OVER:
                self._end(call, error="no answer in time")

    def finish(self, seconds: float) -> None:
        """Take the answers that are still to come, for so long."""
        end = time.monotonic() + seconds
        while self._calls and (left := end - time.monotonic()) > 0:
            self.turn(min(left, 0.1))
        for call in list(self._calls.values()):
            self._end(call, error="no answer in time")

    def close(self) -> None:
        """Close what is open."""
        for call in list(self._calls.values()):
            self._end(call, error="given up")
        for sock in self._idle:
            sock.close()
        self._idle.clear()
        self._epoll.close()

    def _connect(self, label: str, request: bytes, began: float) -> None:
        try:
            sock = connecting(self._port)
        except OSError as error:
            self.answers.append(Answer(label, began, time.monotonic() - began, 0, retry_after=False, error=_reason(error)))
            return
        call = _Call(label, request, sock, began, reused=False)
        self._watch(call)
        self._send(call)

    def _watch(self, call: _Call) -> None:
        self._calls[call.sock.fileno()] = call
        self._waiting.append(call)
        self._epoll.register(call.sock.fileno(), _READABLE | select.EPOLLOUT)

    def _send(self, call: _Call) -> None:
        try:
            if call.sock.send(call.request) != len(call.request):
                self._end(call, error="the request was not taken whole")
                return
        except BlockingIOError:
            return
        except OSError as error:
            # ENOTCONN: still on its way; epoll tells.
            if error.errno != errno.ENOTCONN:
                self._lost(call, _reason(error))
            return
        call.sent = True
        self._epoll.modify(call.sock.fileno(), _READABLE)

    def _receive(self, call: _Call) -> None:
        try:
            data = call.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(call, _reason(error))
            return
        if not data:
            self._lost(call, "closed without a whole response")
            return
        call.received += data
        end, closes = response_end(call.received)
        if end:
            self._end(call, keep=not closes)

    def _lost(self, call: _Call, error: str) -> None:
        """The connection ended. A request on a used one, of which nothing came back, is sent again on a new one (RFC 9110 section 9.2.2)."""
        again = call.reused and not call.received
        began, label, request = call.began, call.label, call.request
        self._end(call, error=error, silent=again)
        if again:
            self._connect(label, request, began)

    def _end(self, call: _Call, *, error: str = "", keep: bool = False, silent: bool = False) -> None:
        del self._calls[call.sock.fileno()]
        self._epoll.unregister(call.sock.fileno())
        if keep and len(self._idle) < self._kept:
            self._idle.append(call.sock)
        else:
            call.sock.close()
        if not silent:
            status = 0 if error else int(call.received[_STATUS])
            retry_after = not error and b"\r\nretry-after:" in call.received.lower()
            self.answers.append(Answer(call.label, call.began, time.monotonic() - call.began, status, retry_after=retry_after, error=error))
        call.label = _OVER


_OVER: Final = "\0"


def paced(
    client: Client, requests: Sequence[bytes], rate: float, seconds: float, *, label: str = "", beside: Callable[[float], None] | None = None
) -> None:
    """Begin ``rate`` requests a second for so long, the given ones in turn; ``beside`` is called every tenth of a second with the seconds so far."""
    began = time.monotonic()
    sent = 0
    called = 0
    while (now := time.monotonic() - began) < seconds:
        while sent < now * rate:
            client.begin(requests[sent % len(requests)], label)
            sent += 1
        if beside is not None and now * 10 >= called:
            beside(now)
            called = int(now * 10) + 1
        # Half a millisecond is what epoll can wait for without becoming late.
        client.turn(min(max(sent / rate - (time.monotonic() - began), 0.0005), 0.05))


class Tally(NamedTuple):
    """What `count_requests` did."""

    done: int
    seconds: float
    failed: Counter[str]


class _Lane:
    """One connection of `count_requests`."""

    __slots__ = ("number", "received", "sock")

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.received = b""


def count_requests(port: int, requests: Sequence[bytes], *, count: int, connections: int, seconds: float) -> Tally:
    """Make ``count`` requests, the given ones in turn, each connection its next one when the last is answered; stop after ``seconds``.

    A response that is as long as the one before it to the same request, and 200, is taken for whole without a look into it.
    """
    return _Counting(port, requests, count).run(connections, seconds)


class _Counting:
    """The state of `count_requests`."""

    def __init__(self, port: int, requests: Sequence[bytes], count: int) -> None:
        self._port = port
        self._requests = requests
        self._count = count
        self._epoll = select.epoll()
        self._lanes: dict[int, _Lane] = {}
        self._lengths = [0] * len(requests)
        self._failed: Counter[str] = Counter()
        self._done = 0
        self._begun = 0

    def run(self, connections: int, seconds: float) -> Tally:
        start = time.monotonic()
        try:
            for _ in range(min(connections, self._count)):
                self._open()
            while self._lanes and (left := start + seconds - time.monotonic()) > 0:
                for descriptor, _ in self._epoll.poll(left):
                    lane = self._lanes[descriptor]
                    closes = self._take(lane)
                    if closes is not None:
                        self._go_on(lane, closes=closes)
        finally:
            for lane in list(self._lanes.values()):
                self._close(lane)
            self._epoll.close()
        return Tally(self._done, time.monotonic() - start, self._failed)

    def _open(self) -> None:
        """A connection, and the next request on it."""
        number = self._begun
        self._begun += 1
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=_CONNECT_SECONDS)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.send(self._requests[number % len(self._requests)])
        except OSError as error:
            self._failed[_reason(error)] += 1
            return
        self._lanes[sock.fileno()] = _Lane(sock, number)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _close(self, lane: _Lane) -> None:
        del self._lanes[lane.sock.fileno()]
        lane.sock.close()

    def _take(self, lane: _Lane) -> bool | None:
        """Read. None: there is more to come; else whether the connection ended with the response, or without one."""
        try:
            data = lane.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            self._failed[_reason(error)] += 1
            return True
        if not data:
            self._failed["closed without a whole response"] += 1
            return True
        if lane.received:
            data = lane.received + data
        which = lane.number % len(self._requests)
        good = data.startswith(b"HTTP/1.1 200")
        if good and len(data) == self._lengths[which]:
            self._done += 1
            return False
        size, closes = response_end(data)
        if not size:
            lane.received = data
            return None
        self._done += 1
        if good:
            # One that says it closes is longer than the others.
            self._lengths[which] = 0 if closes else size
        else:
            self._failed[data[_STATUS].decode("latin-1")] += 1
        return closes

    def _go_on(self, lane: _Lane, *, closes: bool) -> None:
        """The next request: on this connection, or on another where it ends; none where all were begun."""
        if closes or self._begun == self._count:
            self._close(lane)
            if self._begun < self._count:
                self._open()
            return
        lane.received = b""
        lane.number = self._begun
        self._begun += 1
        try:
            lane.sock.send(self._requests[lane.number % len(self._requests)])
        except OSError as error:
            self._failed[_reason(error)] += 1
            self._close(lane)


def _reason(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
