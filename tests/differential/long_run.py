"""How long the property tests of this package run.

``DIFFERENTIAL_TIMES=100`` multiplies the number of examples, and the time that a test may take. See the package's docstring for the command.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

__all__ = ["TIMES", "examples", "time_limit"]

TIMES = int(os.environ.get("DIFFERENTIAL_TIMES", "1"))

time_limit = pytest.mark.timeout(60 * TIMES)


def examples(count: int) -> settings:
    """``count`` examples, or a multiple in the long run. A request of five parts with mutations is large for hypothesis, and meant to be."""
    return settings(
        max_examples=count * TIMES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example],
    )
