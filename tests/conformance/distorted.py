"""Good servers, and what makes them bad: asgiserve with the reference application, and a `Distortion` of either side of it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgi_conformance.case import Distortion
from asgi_conformance.peer import TargetPeer
from asgi_conformance.reference import CONTROL
from asgi_conformance.reference import app as reference
from asgi_conformance.servers import Setting
from asgi_conformance.targets import start_target
from pytest_asgiserve import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from asgi_conformance.servers import Target
    from asgi_conformance.targets import RunningTarget

__all__ = ["ProcessPeer", "ThreadPeer", "WireProxy", "distorted"]

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("launcher.py")
PATIENCE = 10.0
FEATURES = (
    *("http/1.1", "websocket", "permessage-deflate", "lifespan", "state", "tls", "websocket.http.response"),
    *("http.response.trailers", "http.response.early_hint", "http.response.pathsend", "http.response.zerocopysend"),
)
GOOD = Distortion()


def distorted(app: Any, around: Callable[[Any], Any] | None) -> Any:
    """``app`` in ``around``, but for the suite's own questions to it."""
    inner = app if around is None else around(app)

    async def outer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await (app if CONTROL in scope.get("path", "") else inner)(scope, receive, send)

    return outer


class WireProxy:
    """Hands bytes on between a client and a server, changed as a distortion says."""

    def __init__(self, upstream: tuple[str, int], distortion: Distortion) -> None:
        self._upstream = upstream
        self._distortion = distortion
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while self._distortion.accepts is None or len(self._threads) <= 2 * self._distortion.accepts:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream, PATIENCE)
                self._open += [client, server]
                for args in (
                    (client, server, self._distortion.to_server, False),
                    (server, client, self._distortion.to_client, self._distortion.holds),
                ):
                    thread = threading.Thread(target=self._pump, args=args, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes] | None, holds: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                sink.sendall(data if change is None else change(data))
        if not holds:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            # Wakes the thread that accepts; closing alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(PATIENCE)
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(PATIENCE)
        for sock in self._open:
            sock.close()


class ThreadPeer(TargetPeer):
    """asgiserve in a thread of the test: quick, and good for every scenario that needs no server of its own.

    ``settings`` are those of `LiveServer`.
    """

    def __init__(self, distortion: Distortion = GOOD, **settings: Any) -> None:
        self._resources = contextlib.ExitStack()
        self._server = LiveServer(distorted(reference, distortion.app), lifespan="on", errors="ignore", **settings)
        self._server.start()
        self._resources.callback(self._server.stop)
        host, port = self._server.address
        super().__init__(f"url[{','.join(FEATURES)}]:http://{host}:{port}")
        self._wire: WireProxy | None = None
        if distortion.to_client or distortion.to_server or distortion.holds or distortion.accepts is not None:
            self._wire = self._resources.enter_context(WireProxy(self._server.address, distortion))

    @property
    def address(self) -> tuple[str, int]:
        return super().address if self._wire is None else self._wire.address

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._resources.close()


def launched(target: Target, *arguments: str, workers: bool = False) -> Target:
    """``target`` behind the launcher, which gets ``arguments``; with ``workers`` it can be told how many, and is a pre-fork server then."""
    assert target.command is not None
    command = target.command
    settings = {**target.settings, "workers": Setting("--launch-workers {}", "int", 1)} if workers else target.settings
    # What several processes listen on is one inherited socket.
    bind = ("fd",) if workers else target.bind
    return replace(target, command=lambda place: [sys.executable, str(LAUNCHER), *arguments, *command(place)], settings=settings, bind=bind)


class ProcessPeer(TargetPeer):
    """asgiserve in processes, for scenarios that start a server of their own.

    ``case`` names the scenario whose distortion the servers of its own get; they run on ``loop``. With ``workers`` it is a server that can be told
    how many: the launcher, which runs asgiserve several times on one socket.
    """

    def __init__(self, target: str, case: str = "", distortion: Distortion = GOOD, *, workers: bool = False, loop: str = "auto") -> None:
        super().__init__(target)
        self._case = case
        self._loop = loop
        self._distortion = distortion
        self._wires = contextlib.ExitStack()
        self._own = self._target
        if workers:
            self._target = self._own = launched(self._target, workers=True)
        if distortion.loses is not None:
            self._own = launched(self._own, "--launch-loses", str(distortion.loses))
        if distortion.kills is not None:
            self._own = launched(self._own, "--launch-kills", str(distortion.kills))

    def start_own(self, **options: Any) -> RunningTarget:
        distortion = self._distortion
        options["settings"] = {**(options.get("settings") or {}), **(distortion.settings or {}), "loop": self._loop}
        if distortion.lifespan is not None:
            options["lifespan"] = distortion.lifespan
        if distortion.app is not None:
            path = os.pathsep.join([str(ROOT), str(ROOT / "conformance")])
            options["app"] = "tests.conformance.distorted_app:app"
            options["environment"] = {**(options.get("environment") or {}), "PYTHONPATH": path, "DISTORTED_CASE": self._case}
        running = start_target(self._own, **{**options, **self._start})
        if distortion.to_client or distortion.to_server:
            assert not isinstance(running.address, str)
            running.address = self._wires.enter_context(WireProxy(running.address, distortion)).address
        return running

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._wires.close()
