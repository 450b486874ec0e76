"""The bounded run: the same inputs each time, a few thousand of each target. `fuzz/run.py` is the long one."""

from __future__ import annotations

import pytest

from fuzz.engine import Failure, run
from fuzz.growth import CASES, MOST, Case, measure
from fuzz.targets import TARGETS

# A failure names the seed, the smallest input that fails, and the line that shows it again.
SEED = 9112
COUNTS = {"http1": 2000, "websocket": 1500, "fields": 30_000}


def test_every_target_has_its_share() -> None:
    assert COUNTS.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_no_input_breaks_a_promise(name: str) -> None:
    failures: list[Failure] = []
    checked = run(TARGETS[name], iter(range(COUNTS[name])), SEED, on_failure=failures.append)
    assert not failures, "\n\n".join(map(str, failures))
    assert checked == COUNTS[name]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_twice_the_input_takes_twice_the_operations(case: Case) -> None:
    growth = measure(case)
    assert growth.once > 0
    assert growth.linear, f"{growth.once} operations become {growth.twice}: {growth.ratio:.2f} times as many, more than {MOST}"
