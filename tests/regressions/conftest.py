"""What the regressions over sockets share: two servers, which between them have both parsers and both event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.apps import ok
from tests.support.serving import STACKS, Serving, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apps import App, Receive, Scope, Send
    from tests.support.records import Records


class Switch:
    """An application that is another one for each test."""

    def __init__(self) -> None:
        self.app: App = ok

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Attacked(NamedTuple):
    """A running server and what it serves."""

    serving: Serving
    switch: Switch

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.serving.address


# httptools on uvloop and h11 on asyncio: nothing here differs by the pair, and a server costs more than a test.
_PAIRS = [stack for stack in STACKS if stack.id in {"httptools-uvloop", "h11-asyncio"}]


@pytest.fixture(scope="module", params=[pytest.param(stack.values, id=stack.id, marks=stack.marks) for stack in _PAIRS])
def running(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """A server for all tests of a module, one after the other."""
    parser, loop = request.param
    switch = Switch()
    with serving(switch, parser=parser, loop=loop, lifespan="off", forwarded_allow_ips=["127.0.0.1"]) as server:
        yield Attacked(server, switch)


@pytest.fixture
def attacked(running: Attacked, records: Records) -> Iterator[Attacked]:  # noqa: ARG001 - logged by the server, looked at by the test
    """The server with the application ``ok``; set ``switch.app`` to another one. It must live when the test is over."""
    running.switch.app = ok
    yield running
    running.switch.app = ok
    assert running.serving.thread.is_alive()
