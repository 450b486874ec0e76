"""Everything that an application can raise, for test_failures.py; nothing of it is made up where Python raises it by itself.

The law of this module: each function of `FAILURES` raises, as the innermost call of an application.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from asgiserve import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["FAILURES", "NO_APPLICATIONS", "Failure"]


class Failure(NamedTuple):
    """A way to fail, the type of what leaves the application, and whether it waits before, so that a held response head is written."""

    fail: Callable[[], Awaitable[Any]]
    type: type[BaseException]
    waits: bool = False


class NastyError(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class DerivedBaseError(BaseException):
    """What ``except Exception`` does not catch."""


def raising(error: BaseException | type[BaseException]) -> Failure:
    """Raises ``error`` itself."""

    async def fail() -> NoReturn:
        raise error

    return Failure(fail, error if isinstance(error, type) else type(error))


async def _recurse() -> None:
    await _recurse()


async def _recurse_in_a_function() -> None:
    def deeper() -> None:
        deeper()

    deeper()


async def _allocate() -> None:
    # More than any machine has: the allocator refuses before anything is touched.
    bytearray(2**62)


async def _cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.Event().wait()


async def _await_a_cancelled_future() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def _run_a_group_that_fails() -> None:
    async def fail() -> None:
        raise ValueError("in a task")

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


async def _time_out() -> None:
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


async def _raise_from_far_below() -> None:
    def deeper(left: int) -> None:
        if not left:
            raise ValueError("x" * 1_000_000)
        try:
            deeper(left - 1)
        except ValueError as error:
            raise ValueError(left) from error

    deeper(50)


async def _raise_a_ring() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__ = second
    second.__context__ = first
    raise first


FAILURES: Final[dict[str, Failure]] = {
    "value-error": raising(ValueError("boom")),
    "os-error": raising(ConnectionResetError("the database is gone")),
    "disconnect-of-another": raising(ClientDisconnected("another client's")),
    "time-out": Failure(_time_out, TimeoutError, waits=True),
    # Nothing of these is the server's, although asyncio treats them apart.
    "system-exit": raising(SystemExit(3)),
    "keyboard-interrupt": raising(KeyboardInterrupt),
    "generator-exit": raising(GeneratorExit),
    "cancelled-error": raising(asyncio.CancelledError),
    "cancelled-future": Failure(_await_a_cancelled_future, asyncio.CancelledError),
    "cancels-itself": Failure(_cancel_itself, asyncio.CancelledError, waits=True),
    # PEP 479: a coroutine cannot raise it, and Python puts another in its place.
    "stop-iteration": Failure(raising(StopIteration).fail, RuntimeError),
    "stop-async-iteration": raising(StopAsyncIteration),
    "recursion": Failure(_recurse, RecursionError),
    "recursion-in-a-function": Failure(_recurse_in_a_function, RecursionError),
    "memory": Failure(_allocate, MemoryError),
    "base-exception": raising(BaseException("base")),
    "derived-base-exception": raising(DerivedBaseError("derived")),
    "group": Failure(_run_a_group_that_fails, ExceptionGroup, waits=True),
    "base-group": raising(BaseExceptionGroup("both", [SystemExit(1), ValueError("x")])),
    "without-text": raising(NastyError),
    "long-traceback": Failure(_raise_from_far_below, ValueError),
    "ring-of-causes": Failure(_raise_a_ring, ValueError),
}


def _returns_none(_scope: Any, _receive: Any, _send: Any) -> None:
    return None


def _returns_a_number(_scope: Any, _receive: Any, _send: Any) -> int:
    return 200


def _returns_a_response(_scope: Any, _receive: Any, _send: Any) -> list[bytes]:
    # As WSGI does.
    return [b"hello"]


def _raises_when_called(_scope: Any, _receive: Any, _send: Any) -> NoReturn:
    raise ValueError("no coroutine at all")


def _generator(_scope: Any, _receive: Any, _send: Any) -> Any:
    yield b"hello"


async def _async_generator(_scope: Any, _receive: Any, _send: Any) -> Any:
    yield b"hello"


def _takes_two(_scope: Any, _receive: Any) -> None:
    return None


NO_APPLICATIONS: Final[dict[str, tuple[Any, type[BaseException]]]] = {
    "returns-none": (_returns_none, TypeError),
    "returns-a-number": (_returns_a_number, TypeError),
    "returns-a-list": (_returns_a_response, TypeError),
    "raises-when-called": (_raises_when_called, ValueError),
    "generator": (_generator, TypeError),
    "async-generator": (_async_generator, TypeError),
    "takes-two": (_takes_two, TypeError),
    "is-none": (None, TypeError),
}
