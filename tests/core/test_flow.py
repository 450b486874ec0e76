"""Flow control in both directions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asgiserve.core.flow import ReadGate, WriteGate
from tests.support.properties import examples

# ---- inbound


def test_the_read_gate_shuts_at_its_high_mark() -> None:
    gate = ReadGate(10)
    assert (gate.put(9), gate.shut) == (False, False)
    assert (gate.put(1), gate.shut) == (True, True)
    assert gate.size == 10


def test_the_read_gate_says_once_that_it_shuts() -> None:
    gate = ReadGate(10)
    assert [gate.put(6) for _ in range(4)] == [False, True, False, False]
    assert gate.size == 24


def test_the_read_gate_opens_when_everything_is_taken_and_says_so_once() -> None:
    gate = ReadGate(10)
    gate.put(10)
    assert gate.take()
    assert (gate.shut, gate.size) == (False, 0)
    assert not gate.take()
    assert gate.put(10)


def test_an_open_read_gate_is_not_opened() -> None:
    gate = ReadGate(10)
    gate.put(9)
    assert not gate.take()
    assert gate.size == 0


@examples(200)
@given(st.integers(1, 20), st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=30))
def test_reading_is_paused_exactly_while_the_gate_is_shut(high_mark: int, steps: list[int | None]) -> None:
    gate = ReadGate(high_mark)
    paused = False
    untaken = 0
    for size in steps:
        if size is None:
            if gate.take():
                assert paused, "opened without having been shut"
                paused = False
            untaken = 0
        else:
            untaken += size
            if gate.put(size):
                assert not paused, "shut twice"
                paused = True
        assert gate.shut == paused == (untaken >= high_mark)
        assert gate.size == untaken


# ---- outbound


def test_the_write_gate_is_open_at_first() -> None:
    assert not WriteGate().shut


def test_the_write_gate_wakes_whoever_waits_once_and_in_order() -> None:
    gate = WriteGate()
    woken: list[int] = []
    gate.close()
    for number in range(3):
        gate.when_open(lambda number=number: woken.append(number))  # type: ignore[misc]  # mypy cannot type a default
    assert (gate.shut, woken) == (True, [])
    gate.open()
    assert (gate.shut, woken) == (False, [0, 1, 2])
    gate.close()
    gate.open()
    assert woken == [0, 1, 2]


def test_the_write_gate_is_open_when_it_wakes() -> None:
    gate = WriteGate()
    seen: list[bool] = []
    gate.close()
    gate.when_open(lambda: seen.append(gate.shut))
    gate.open()
    assert seen == [False]


def test_somebody_who_is_woken_may_shut_the_gate_and_wait_again() -> None:
    gate = WriteGate()
    woken: list[str] = []

    def first() -> None:
        woken.append("first")
        gate.close()
        gate.when_open(lambda: woken.append("first again"))

    gate.close()
    gate.when_open(first)
    gate.when_open(lambda: woken.append(f"second, shut: {gate.shut}"))
    gate.open()
    # The second looks for himself and finds it shut again.
    assert woken == ["first", "second, shut: True"]
    assert gate.shut
    gate.open()
    assert woken[2:] == ["first again"]


def test_opening_an_open_gate_wakes_as_well() -> None:
    # connection_lost: nobody may wait for ever.
    gate = WriteGate()
    woken: list[bool] = []
    gate.when_open(lambda: woken.append(True))
    gate.open()
    assert woken == [True]
