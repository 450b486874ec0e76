"""What the tests over sockets share: each parser on each event loop, and a server for an application."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from tests.support.serving import STACKS, Serving, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_asgiserve import LiveServer, LiveServerFactory
    from tests.support.records import Records


class Stack(NamedTuple):
    """A parser on an event loop."""

    parser: str
    loop: str


class Serve(Protocol):
    """Starts a live server that runs until the end of the test."""

    def __call__(self, app: Any, **options: Any) -> LiveServer: ...


class ServeBare(Protocol):
    """Starts a server without an instrument, for what `Serve` does for its user and for looks at its inside."""

    def __call__(self, app: Any, **options: Any) -> Serving: ...


@pytest.fixture(params=[pytest.param(Stack(*param.values), id=param.id, marks=param.marks) for param in STACKS])  # type: ignore[arg-type]  # ids are text
def stack(request: pytest.FixtureRequest) -> Stack:
    """Every parser on every event loop."""
    chosen: Stack = request.param
    return chosen


@pytest.fixture
def serve(stack: Stack, records: Records, live_server_factory: LiveServerFactory) -> Serve:  # noqa: ARG001 - logged by the server, looked at by the test
    """Starts live servers on the test's stack; an application without a lifespan is assumed, and its errors are logged as in production."""

    def start(app: Any, **options: Any) -> LiveServer:
        return live_server_factory(
            app, **{"lifespan": "off", "errors": "ignore", "stop_timeout": 20, "http": stack.parser, "loop": stack.loop, **options}
        )

    return start


@pytest.fixture
def serve_bare(stack: Stack, records: Records) -> Iterator[ServeBare]:  # noqa: ARG001 - as above
    """The same with nothing between the server and its sockets; its clients are closed by the test."""
    with contextlib.ExitStack() as servers:

        def start(app: Any, **options: Any) -> Serving:
            options.setdefault("lifespan", "off")
            return servers.enter_context(serving(app, parser=stack.parser, loop=stack.loop, **options))

        yield start
