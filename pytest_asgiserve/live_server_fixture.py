"""The fixture ``live_server`` under the name that everybody knows.

The law of this module: it is registered only where the name is ours to have (`plugin.pytest_configure`); the fixture itself is ``asgi_server``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_asgiserve.live import LiveServer

__all__ = ["live_server"]


@pytest.fixture
def live_server(asgi_server: LiveServer) -> LiveServer:
    """A real server for this test, on a port of 127.0.0.1 that the system chose. The same as asgi_server."""
    return asgi_server
