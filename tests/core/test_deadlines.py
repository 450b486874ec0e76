"""Deadlines behind one timer, with a clock that only the test moves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.core import deadlines as module
from asgiserve.core.deadlines import BODY, HEAD, KEEP_ALIVE, LINGER, PING, PONG, WRITE, WS_CLOSE, Deadlines
from tests.support.properties import examples

NAMES = [HEAD, BODY, KEEP_ALIVE, WRITE, LINGER, PING, PONG, WS_CLOSE]


class Timer:
    """A clock and the one timer that it has."""

    def __init__(self) -> None:
        self.now = 100.0
        self.armed = math.inf
        self.arms = 0
        self.deadlines = Deadlines(lambda: self.now, self._arm)

    def _arm(self, when: float) -> None:
        self.armed = when
        self.arms += 1

    def advance_to(self, when: float) -> list[str]:
        """Time passes to ``when``; what is due by then, in the order in which it came."""
        due = []
        while self.armed <= when:
            self.now = max(self.now, self.armed)
            self.armed = math.inf
            due += self.deadlines.expired()
        self.now = when
        return due


@pytest.fixture
def timer() -> Timer:
    return Timer()


def test_every_name_is_a_name_of_its_own() -> None:
    assert len({getattr(module, name) for name in module.__all__ if name.isupper()}) == len(NAMES)


def test_a_deadline_is_due_at_its_time_and_not_before(timer: Timer) -> None:
    timer.deadlines.set(HEAD, 10)
    assert timer.armed == 110
    assert timer.advance_to(109.999) == []
    assert timer.deadlines.is_set(HEAD)
    assert timer.advance_to(110) == [HEAD]
    assert not timer.deadlines.is_set(HEAD)


def test_a_deadline_is_due_once(timer: Timer) -> None:
    timer.deadlines.set(HEAD, 10)
    assert timer.advance_to(110) == [HEAD]
    assert timer.deadlines.expired() == []
    assert timer.advance_to(1000) == []


def test_several_are_due_in_the_order_of_their_times(timer: Timer) -> None:
    for name, seconds in ((PING, 3), (HEAD, 1), (WRITE, 2), (BODY, 9)):
        timer.deadlines.set(name, seconds)
    timer.now = 105
    assert timer.deadlines.expired() == [HEAD, WRITE, PING]
    assert timer.armed == 109


def test_only_an_earlier_deadline_arms_the_timer(timer: Timer) -> None:
    timer.deadlines.set(HEAD, 10)
    timer.deadlines.set(BODY, 20)
    timer.deadlines.set(WRITE, 10)
    assert (timer.armed, timer.arms) == (110, 1)
    timer.deadlines.set(PING, 5)
    assert (timer.armed, timer.arms) == (105, 2)


def test_a_busy_connection_costs_one_timer_in_a_while(timer: Timer) -> None:
    # A thousand requests in ten seconds, each of which sets a deadline that is cleared again: not a timer a request.
    due = []
    for request in range(1000):
        due += timer.advance_to(100 + request / 100)
        timer.deadlines.clear(KEEP_ALIVE)
        timer.deadlines.set(BODY, 30)
        timer.deadlines.clear(BODY)
        timer.deadlines.set(KEEP_ALIVE, 5)
    assert due == []
    assert timer.arms <= 4
    assert timer.advance_to(200) == [KEEP_ALIVE]


def test_a_later_time_replaces_an_earlier_one(timer: Timer) -> None:
    timer.deadlines.set(BODY, 5)
    timer.now = 104
    timer.deadlines.set(BODY, 5)
    # The timer fires for nothing, and arms itself again.
    assert timer.advance_to(108) == []
    assert timer.armed == 109
    assert timer.advance_to(109) == [BODY]


def test_an_earlier_time_replaces_a_later_one(timer: Timer) -> None:
    timer.deadlines.set(BODY, 50)
    timer.deadlines.set(BODY, 5)
    assert timer.advance_to(105) == [BODY]
    assert timer.advance_to(200) == []


def test_what_is_cleared_is_never_due(timer: Timer) -> None:
    timer.deadlines.set(BODY, 5)
    timer.deadlines.set(HEAD, 6)
    timer.deadlines.clear(BODY)
    timer.deadlines.clear(WRITE)
    assert not timer.deadlines.is_set(BODY)
    assert timer.advance_to(200) == [HEAD]
    timer.deadlines.set(BODY, 5)
    timer.deadlines.set(HEAD, 6)
    timer.deadlines.clear_all()
    assert not any(timer.deadlines.is_set(name) for name in NAMES)
    assert timer.advance_to(400) == []


def test_none_clears(timer: Timer) -> None:
    timer.deadlines.set(BODY, 5)
    timer.deadlines.set(BODY, None)
    timer.deadlines.set(HEAD, None)
    assert timer.advance_to(200) == []
    assert (timer.arms, timer.deadlines.is_set(HEAD)) == (1, False)


def test_a_deadline_can_be_a_time(timer: Timer) -> None:
    timer.deadlines.set_at(BODY, 123)
    assert timer.advance_to(122) == []
    assert timer.advance_to(123) == [BODY]


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_deadline_of_now_or_before_is_due_at_once(timer: Timer, seconds: float) -> None:
    timer.deadlines.set(LINGER, seconds)
    assert timer.armed <= timer.now
    assert timer.advance_to(timer.now) == [LINGER]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(NAMES), st.one_of(st.none(), st.integers(0, 20))),
        st.tuples(st.just("clear"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("clear all"), st.none(), st.none()),
        st.tuples(st.just("advance"), st.none(), st.integers(0, 15)),
    ),
    max_size=40,
)


@examples(300)
@given(operations)
def test_it_agrees_with_a_dictionary_that_is_looked_at_all_the_time(steps: list[tuple[str, str, int | None]]) -> None:
    timer = Timer()
    times: dict[str, float] = {}
    for operation, name, seconds in steps:
        if operation == "set":
            timer.deadlines.set(name, seconds)
            times.pop(name, None)
            if seconds is not None:
                times[name] = timer.now + seconds
        elif operation == "clear":
            timer.deadlines.clear(name)
            times.pop(name, None)
        elif operation == "clear all":
            timer.deadlines.clear_all()
            times.clear()
        else:
            until = timer.now + (seconds or 0)
            expected = sorted((when, name) for name, when in times.items() if when <= until)
            assert timer.advance_to(until) == [name for _, name in expected]
            for _, due in expected:
                del times[due]
        # Never later than what is due first.
        assert timer.armed <= min(times.values(), default=math.inf)
        assert [name for name in NAMES if timer.deadlines.is_set(name)] == [name for name in NAMES if name in times]
