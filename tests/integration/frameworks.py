"""The frameworks that are served, how one is started, and what of the applications differs."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import websockets.sync.client

from pytest_asgiserve import LiveServer
from tests.integration.apps.common import Site
from tests.support.records import recording
from tests.support.serving import STACKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.records import Records

__all__ = ["CROSS", "FRAMEWORKS", "Framework", "Served", "serve", "websocket"]


class Framework(NamedTuple):
    """What differs between the applications."""

    name: str
    has_lifespan: bool = True
    has_background: bool = True
    # Frameworks that answer 500 themselves, and log the exception in their own way, tell the server nothing.
    raises_to_server: bool = False
    # Whether a stream ends when the server says http.disconnect. Starlette listens for it only where ASGI is older than 2.4.
    ends_streams: bool = True


FRAMEWORKS = [
    Framework("plain", raises_to_server=True),
    Framework("starlette", raises_to_server=True, ends_streams=False),
    Framework("fastapi", raises_to_server=True, ends_streams=False),
    Framework("django", has_lifespan=False, has_background=False),
    Framework("quart"),
    Framework("litestar"),
]
# The reduced cross: each parser once, each loop once.
CROSS = [param for param in STACKS if param.id in ("httptools-uvloop", "h11-asyncio")]


class Served(NamedTuple):
    """A running framework."""

    framework: Framework
    running: LiveServer
    site: Site
    records: Records

    def release(self) -> None:
        """Let `/sse` and `/background` go on."""
        self.running.run(self.site.released.set)

    def hold(self) -> None:
        """Make them wait again."""
        self.running.run(self.site.released.clear)
        self.running.run(self.site.background_done.clear)


def make_app(framework: Framework, site: Site) -> Any:
    return importlib.import_module(f"tests.integration.apps.{framework.name}_app").make_app(site)


@contextlib.contextmanager
def serve(framework: Framework, parser: str, loop: str, file: Path, **options: Any) -> Iterator[Served]:
    site = Site(file)
    with (
        recording() as records,
        LiveServer(
            make_app(framework, site),
            http=parser,
            loop=loop,
            lifespan="on" if framework.has_lifespan else "off",
            # The tests look at what is logged.
            errors="ignore",
            stop_timeout=20,
            **options,
        ) as running,
    ):
        yield Served(framework, running, site, records)


def websocket(served: Served, **options: Any) -> Any:
    return websockets.sync.client.connect(served.running.url.replace("http", "ws") + "/ws", proxy=None, **options)
