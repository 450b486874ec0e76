"""Settings for property tests: bounded in number, never by the clock, and without a database beside the code."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

__all__ = ["examples"]


def examples(count: int) -> settings:
    """``count`` examples, however slow the machine is."""
    return settings(max_examples=count, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
