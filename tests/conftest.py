"""What all tests share."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.records import Records, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

# Runs pytest inside of a test, for the tests of our own plugin. It must be named here, beside the root.
pytest_plugins = ["pytester"]

# No deadline: an example's time says more about the machine than about the code. In CI the same examples each time, so that a failure
# there is the change's; at home new ones, so that somebody finds the next.
settings.register_profile("home", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")


def pytest_collection_finish() -> None:
    """Take what collecting made out of the garbage collector's sight: modules and test items, which live as long as the run.

    They are half a million, and each collection looked at all of them, for a quarter of a second. Tests of leaks ask for several, pytest for five at
    the end of each inner run, and every so often one comes by itself. What a test makes is collected and found as ever.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def records() -> Iterator[Records]:
    """What the server logs."""
    with recording() as seen:
        yield seen
