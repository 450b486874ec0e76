"""The load generator for what wrk cannot do: WebSocket echoes, and connections that are idle. A process of its own, driven by lines.

    python bench/load.py websocket PORT CONNECTIONS SIZE
    python bench/load.py idle PORT CONNECTIONS

The law of this module: the client must be cheaper than any server, so frames are made once and answers are compared as bytes; and no echo counts
that is not the whole, right message. It says ``ready`` when it is, and waits for a line: the seconds to work, or anything to look once more.
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.frames import BINARY, TEXT, Frames, accept_value, encode_frame
from bench.wrk import Load
from pytest_asgiserve.raw import FramingError, RawConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TEXT_SIZE", "Generator", "started"]

TEXT_SIZE: Final = 125
"""Messages up to this size are text, larger ones are binary: what either is used for."""
_SECONDS: Final = 30.0
_STALL_SECONDS: Final = 10.0


class _Echo:
    """One WebSocket: sends the same message each time, and knows the bytes of the right answer."""

    def __init__(self, port: int, size: int) -> None:
        opcode, payload = (TEXT, b"m" * size) if size <= TEXT_SIZE else (BINARY, bytes(range(256)) * (size // 256))
        self.raw = RawConnection(("127.0.0.1", port), timeout=_STALL_SECONDS)
        frames = Frames(self.raw)
        accepted = frames.shake_hands("/").one(b"sec-websocket-accept")
        if accepted != accept_value():
            raise ValueError(f"Sec-WebSocket-Accept is {accepted!r}")
        self.request = encode_frame(opcode, payload)
        self.raw.send(self.request)
        message = frames.read_message()
        if (message.opcode, message.payload, message.rsv) != (opcode, payload, 0):
            raise ValueError(f"the echo of {size} bytes is another message: {message}"[:200])
        # It came in one frame, or the bytes of the next one will differ; that its length is the shortest form was checked.
        self.expected = encode_frame(opcode, payload, mask=None)
        self.buffer = bytearray(len(self.expected) + 1)
        self.view = memoryview(self.buffer)
        self.have = 0

    def receive(self) -> bool:
        """Take what is there; whether it is all of the echo now.

        Raises:
            ValueError: it is another one.
        """
        count = self.raw.sock.recv_into(self.view[self.have :])
        if not count:
            raise ValueError("the server closed the connection")
        self.have += count
        if self.have < len(self.expected):
            return False
        # The one byte more in the buffer is for what no echo may have behind it.
        if self.have > len(self.expected) or not self.buffer.startswith(self.expected):
            raise ValueError("an echo is not the message that was sent")
        self.have = 0
        return True


def _echo(sockets: list[_Echo], seconds: float) -> Load:
    began = time.perf_counter()
    cpu = time.process_time()
    end = began + seconds
    done = 0
    problem = ""
    waiting = {echo.raw.sock.fileno(): echo for echo in sockets}
    with select.epoll() as poll:
        for descriptor, echo in waiting.items():
            poll.register(descriptor, select.EPOLLIN)
            echo.raw.send(echo.request)
        try:
            # What was sent is waited for at the end, so that all work that the server did was counted.
            while waiting:
                events = poll.poll(_STALL_SECONDS)
                if not events:
                    raise TimeoutError(f"no echo within {_STALL_SECONDS:g} s")
                over = time.perf_counter() >= end
                for descriptor, _ in events:
                    echo = waiting[descriptor]
                    if echo.receive():
                        done += 1
                        if over:
                            poll.unregister(descriptor)
                            del waiting[descriptor]
                        else:
                            echo.raw.sock.sendall(echo.request)
        except (OSError, ValueError) as error:
            problem = str(error) or type(error).__name__
    return Load(done, time.perf_counter() - began, cpu_seconds=time.process_time() - cpu, problem=problem)


def _websocket(port: int, connections: int, size: int) -> None:
    sockets = [_Echo(port, size) for _ in range(connections)]
    _say({"ready": connections})
    # The first line is the warm-up, the second what is measured; more may come.
    for line in sys.stdin:
        _say(_echo(sockets, float(line))._asdict())


def _idle(port: int, connections: int) -> None:
    """Connections that made one request each and then keep silent; each line of input asks how many are still open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(connections + 100, hard)), hard))
    opened = []
    for _ in range(connections):
        connection = RawConnection(("127.0.0.1", port), timeout=_STALL_SECONDS)
        response = connection.exchange("/")
        if response.status != 200:  # noqa: PLR2004 - OK
            raise ValueError(f"a request was answered with {response.status}")
        opened.append(connection)
    _say({"ready": connections})
    for _ in sys.stdin:
        poll = select.poll()
        for connection in opened:
            poll.register(connection.sock, select.POLLIN)
        # Nothing is to come, so what can be read is the end.
        _say({"open": connections - len(poll.poll(0))})


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


class Generator:
    """The process, from the side that drives it. Made by `started`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def echo(self, seconds: float) -> Load:
        """Of ``websocket``: echoes for so many seconds."""
        answer = self._tell(str(seconds), seconds + _SECONDS)
        return Load(**answer) if "requests" in answer else Load(0, 0.0, problem=str(answer["problem"]))

    def count_open(self) -> int:
        """Of ``idle``: how many connections the server has not closed.

        Raises:
            RuntimeError: the process failed.
        """
        answer = self._tell("look", _SECONDS)
        if "open" not in answer:
            raise RuntimeError(answer["problem"])
        return int(answer["open"])

    def wait_ready(self) -> None:
        """Until all connections are made.

        Raises:
            RuntimeError: they could not be. The message says why.
        """
        answer = self._read(_SECONDS)
        if "ready" not in answer:
            raise RuntimeError(answer["problem"])

    def _tell(self, line: str, seconds: float) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        return self._read(seconds)

    def _read(self, seconds: float) -> dict[str, Any]:
        """One answer; where there is none, ``problem`` says why."""
        stream = self._process.stdout
        # Each answer is one line, and the next comes only when it is asked for, so nothing waits in the buffer.
        if stream is None or not select.select([stream], [], [], seconds)[0]:
            return {"problem": f"the load generator said nothing within {seconds:g} s"}
        line = stream.readline()
        return dict(json.loads(line)) if line else {"problem": "the load generator ended"}


@contextlib.contextmanager
def started(kind: str, port: int, connections: int, *more: int) -> Iterator[Generator]:
    """The load generator as a process of its own, which ends behind the block."""
    command = [sys.executable, __file__, kind, str(port), str(connections), *map(str, more)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield Generator(process)
        finally:
            # Its input has ended: it ends.
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.close()
            try:
                process.wait(_STALL_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """The process."""
    kind, *numbers = sys.argv[1:]
    try:
        if kind == "websocket":
            port, connections, size = map(int, numbers)
            _websocket(port, connections, size)
        else:
            port, connections = map(int, numbers)
            _idle(port, connections)
    except (OSError, ValueError, FramingError) as error:
        _say({"problem": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
