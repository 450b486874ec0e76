"""From a test's thread to its server's loop: what is asked of a loop that ends is told so, and leaves no coroutine behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_asgiserve.crossing import Crossing, LoopEndedError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Loop:
    """A loop in a thread, which can be stopped between a call and its turn."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.crossing = Crossing()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()
        self.crossing.close()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def running() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


async def answer(value: object) -> object:
    await asyncio.sleep(0)
    if isinstance(value, BaseException):
        raise value
    return value


def test_a_result_and_an_exception_come_back(running: Loop) -> None:
    assert running.crossing.submit(running.loop, lambda: answer(5)).result(10) == 5
    with pytest.raises(LookupError, match="nothing"):
        running.crossing.submit(running.loop, lambda: answer(LookupError("nothing"))).result(10)


def test_what_is_cancelled_is_cancelled_on_the_loop(running: Loop) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    submitted = running.crossing.submit(running.loop, wait)
    assert begun.wait(10)
    with pytest.raises(TimeoutError):
        submitted.result(0.01)
    submitted.cancel()
    assert ended.wait(10)
    with pytest.raises(concurrent.futures.CancelledError):
        submitted.result(10)


def test_who_waits_for_a_loop_that_ends_is_told_and_no_coroutine_is_left(running: Loop) -> None:
    made: list[object] = []

    async def never() -> None:
        made.append(None)

    blocked, go_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go_on.wait(10)
        # What was submitted meanwhile comes behind this, and the loop ends with this turn.
        running.loop.stop()

    running.loop.call_soon_threadsafe(block)
    assert blocked.wait(10)
    running.crossing.close()
    go_on.set()
    with pytest.raises(LoopEndedError):
        running.crossing.submit(running.loop, never)
    running.thread.join(10)
    # A RuntimeWarning about a coroutine that was never awaited would fail this test.
    gc.collect()
    assert made == []


def test_what_was_submitted_before_the_end_is_told_too() -> None:
    loop = asyncio.new_event_loop()
    crossing = Crossing()
    # It never runs: as one that stops between the call and its turn.
    submitted = crossing.submit(loop, lambda: answer(1))
    crossing.close()
    with pytest.raises(LoopEndedError):
        submitted.result(10)
    loop.close()
    gc.collect()
    with pytest.raises(LoopEndedError):
        Crossing().submit(loop, lambda: answer(1))
