"""What the tests over sockets share: each parser on each event loop, and a server for an application."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from tests.support.records import Records, recording
from tests.support.serving import STACKS, Serving, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stack(NamedTuple):
    """A parser on an event loop."""

    parser: str
    loop: str


class Serve(Protocol):
    """Starts a server that runs until the end of the test."""

    def __call__(self, app: Any, **options: Any) -> Serving: ...


@pytest.fixture(params=[pytest.param(Stack(*param.values), id=param.id, marks=param.marks) for param in STACKS])  # type: ignore[arg-type]  # ids are text
def stack(request: pytest.FixtureRequest) -> Stack:
    """Every parser on every event loop."""
    chosen: Stack = request.param
    return chosen


@pytest.fixture
def records() -> Iterator[Records]:
    """What the server logs."""
    with recording() as seen:
        yield seen


@pytest.fixture
def serve(stack: Stack, records: Records) -> Iterator[Serve]:  # noqa: ARG001 - logged by the server, looked at by the test
    """Starts servers on the test's stack; an application without a lifespan is assumed."""
    with contextlib.ExitStack() as servers:

        def start(app: Any, **options: Any) -> Serving:
            options.setdefault("lifespan", "off")
            return servers.enter_context(serving(app, parser=stack.parser, loop=stack.loop, **options))

        yield start
