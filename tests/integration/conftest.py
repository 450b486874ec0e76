"""What the integration tests share."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


FILE_BYTES = 300_000


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to download: more than one block, and no two blocks alike."""
    path = tmp_path_factory.mktemp("site") / "file.bin"
    path.write_bytes(os.urandom(FILE_BYTES))
    return path


@pytest.fixture
def no_noise(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nobody but asgiserve (which `records` has) logs a warning: not asyncio of a task or a callback, not the framework of the server."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
