"""What the tests of faults share: one server for each parser on each event loop, for all tests of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.stand import EACH_STACK, Stand, stand_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.records import Records


@pytest.fixture(scope="module", params=EACH_STACK)
def shared_stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """The server of a module."""
    parser, loop = request.param
    with stand_on(parser, loop) as running:
        yield running


@pytest.fixture
def stand(shared_stand: Stand, records: Records) -> Iterator[Stand]:  # noqa: ARG001 - logged by the server, looked at by the test
    """The server, as if it had just begun; no test leaves a call or a connection to the next."""
    shared_stand.begin()
    yield shared_stand
    shared_stand.deserted()
