"""A crowd: thousands of connections that are held open, and drip or stall, from a process of its own.

The law of this module: one process, one epoll, a bounded number of sockets and of seconds; and it ends when its parent does (its standard input
ends). What it saw, it says in lines of JSON: that it begins, when all are open, and at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import select
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench.fault_load import connecting
from bench.servers import ROOT, free_of_options

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

__all__ = ["Crowd", "Plan", "Seen", "crowd", "raise_descriptor_limit"]

_STATUS_BYTES: Final = 12
# Below the smallest backlog among the servers, 50 of Twisted's: the system answers nobody beyond it for a second.
_CONNECTING: Final = 32
_READ_BYTES: Final = 65536
_SPARE_DESCRIPTORS: Final = 200
_NICE: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a crowd does.

    Attributes:
        port: of the server, on 127.0.0.1.
        count: connections.
        first: what each sends when it is open; latin-1.
        drip: what each sends from then on; latin-1.
        interval: in seconds, between two drips of one connection.
        per_second: so many connections a second are begun.
        seconds: how long it goes on after all are open.
        read: whether it takes what the server sends.
        receive_buffer: the socket's SO_RCVBUF; 0 is the system's.
        patience: seconds that opening them all may take.
    """

    port: int
    count: int
    first: str = ""
    drip: str = ""
    interval: float = 1.0
    per_second: int = 2000
    seconds: float = 60.0
    read: bool = True
    receive_buffer: int = 0
    patience: float = 20.0


@dataclass(slots=True)
class Seen:
    """What a crowd saw: connections that opened and that did not, the seconds after which the server ended each, and the statuses that it sent."""

    opened: int = 0
    failed: int = 0
    lifetimes: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    def closed_within(self, seconds: float) -> float:
        """The share, in percent, of the opened connections that the server ended within ``seconds`` of their opening."""
        return 100 * sum(life <= seconds for life in self.lifetimes) / self.opened if self.opened else 0.0


class Crowd:
    """A crowd in its own process; made by `crowd`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def wait_ready(self) -> None:
        """Wait until it is about to open the first connection: what its start costs is not to disturb what is measured."""
        self._line()

    def wait_open(self) -> int:
        """Wait until every connection is open, or failed; how many are open."""
        return int(self._line()["opened"])

    def leave(self) -> None:
        """Have it close its connections now."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def seen(self) -> Seen:
        """Wait for its end."""
        return Seen(**self._line())

    def _line(self) -> dict[str, Any]:
        stream = self._process.stdout
        line = "" if stream is None else stream.readline()
        if not line:
            raise ChildProcessError("the clients ended before their time; what they wrote is above")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def crowd(plan: Plan) -> Iterator[Crowd]:
    """Start a crowd; it has ended behind the block."""
    command = [sys.executable, "-m", "bench.fault_crowd", json.dumps(dataclasses.asdict(plan))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=free_of_options(os.environ), cwd=ROOT) as process:
        try:
            found = Crowd(process)
            found.wait_ready()
            yield found
        finally:
            process.kill()


def raise_descriptor_limit() -> int:
    """Have as many descriptors as the system allows without privileges; how many those are."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class _Member:
    __slots__ = ("began", "head", "sent", "sock")

    def __init__(self, sock: socket.socket, began: float) -> None:
        self.sock = sock
        self.began = began
        self.sent = False
        self.head = b""


class _Hall:
    """The crowd's process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen = Seen()
        self._first = plan.first.encode("latin-1")
        self._drip = plan.drip.encode("latin-1")
        self._members: dict[int, _Member] = {}
        self._connecting = 0
        self._statuses: Counter[str] = Counter()
        self._epoll = select.epoll()
        self._left = False

    def run(self) -> None:
        plan = self.plan
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        began = time.monotonic()
        begun = 0
        while (now := time.monotonic() - began) < plan.patience and not self._left:
            while begun < min(plan.count, now * plan.per_second + 1) and self._connecting < _CONNECTING:
                self._open()
                begun += 1
            if begun == plan.count and not self._connecting:
                break
            self._turn(0.001)
        self.seen.failed += plan.count - begun + self._connecting
        self._say({"opened": self.seen.opened})
        self._hold()
        self.seen.statuses = dict(self._statuses)
        self._say(dataclasses.asdict(self.seen))

    def _hold(self) -> None:
        began = last = time.monotonic()
        owed = 0.0
        turns = iter(())  # type: Iterator[_Member]
        while (now := time.monotonic()) - began < self.plan.seconds and not self._left:
            if self._drip and self._members:
                # Spread over the interval, as many clients that know nothing of each other would be.
                owed += (now - last) * len(self._members) / self.plan.interval
                last = now
                while owed >= 1:
                    owed -= 1
                    member = next(turns, None)
                    if member is None:
                        turns = iter(list(self._members.values()))
                        member = next(turns, None)
                    if member is not None and member.sent and member.sock.fileno() >= 0:
                        self._send(member, self._drip)
            self._turn(0.005)

    def _open(self) -> None:
        try:
            sock = connecting(self.plan.port, receive_buffer=self.plan.receive_buffer)
        except OSError:
            self.seen.failed += 1
            return
        member = _Member(sock, time.monotonic())
        self._members[sock.fileno()] = member
        self._connecting += 1
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def _turn(self, timeout: float) -> None:
        for descriptor, events in self._epoll.poll(timeout):
            member = self._members.get(descriptor)
            if member is None:
                self._left = True
            elif not member.sent:
                self._opened(member, events)
            elif self.plan.read and events & select.EPOLLIN:
                self._read(member)
            else:
                self._gone(member)

    def _opened(self, member: _Member, events: int) -> None:
        self._connecting -= 1
        member.sent = True
        if events & (select.EPOLLERR | select.EPOLLHUP):
            self.seen.failed += 1
            self._forget(member)
            return
        self.seen.opened += 1
        self._epoll.modify(member.sock.fileno(), (select.EPOLLIN if self.plan.read else 0) | select.EPOLLRDHUP)
        if self._first:
            self._send(member, self._first)

    def _send(self, member: _Member, data: bytes) -> None:
        try:
            member.sock.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self._gone(member)

    def _read(self, member: _Member) -> None:
        try:
            data = member.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            member.head += data[: _STATUS_BYTES - len(member.head)]
        else:
            self._gone(member)

    def _gone(self, member: _Member) -> None:
        """The server ended it."""
        self.seen.lifetimes.append(round(time.monotonic() - member.began, 3))
        self._forget(member)

    def _forget(self, member: _Member) -> None:
        if len(member.head) == _STATUS_BYTES:
            self._statuses[member.head[9:].decode("latin-1")] += 1
        del self._members[member.sock.fileno()]
        member.sock.close()

    @staticmethod
    def _say(what: dict[str, Any]) -> None:
        print(json.dumps(what), flush=True)


def main() -> None:
    """Hold what the plan on the command line says."""
    limit = raise_descriptor_limit()
    plan = Plan(**json.loads(sys.argv[1]))
    if plan.count > limit - _SPARE_DESCRIPTORS:
        raise SystemExit(f"{plan.count} connections need more than the {limit} file descriptors that the system allows (ulimit -Hn)")
    # It shares the core of the clients whose time is taken, and lets them go first.
    os.nice(_NICE)
    print(json.dumps({"ready": plan.count}), flush=True)
    _Hall(plan).run()


if __name__ == "__main__":
    main()
