"""Dialogues: what several topics of scenarios ask of both sides, and the middleware that makes a good server a bad one.

The law of this module: only what more than one topic uses; a helper judges nothing by itself but by the stage that it is given.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgi_conformance.frames import CLOSE
from asgi_conformance.reference import Foreign
from asgi_conformance.stage import Broken
from pytest_asgiserve.raw import FramingError, Truncated, Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgi_conformance.frames import Frame, Frames
    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection, RawResponse

__all__ = ["about", "answer_close", "given", "plain", "receiving", "rewriting", "scoped", "sending", "spec_version", "swallowing", "then_another"]

_OK: Final = 200
"""What the application answers with where it has no script."""
_T = TypeVar("_T")


# Bad servers.


def swallowing(app: Any) -> Any:
    """A server whose send() never raises."""

    async def swallows(scope: Any, receive: Any, send: Any) -> None:
        async def quiet(message: Any) -> None:
            try:
                await send(message)
            except Exception:  # noqa: BLE001 - that is what it is for
                return

        await app(scope, receive, quiet)

    return swallows


def scoped(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], Any]:
    """A server that gives the application another scope: ``change`` makes it of a copy of the right one."""

    def around(app: Any) -> Any:
        async def changes(scope: Any, receive: Any, send: Any) -> None:
            await app(change(dict(scope)), receive, send)

        return changes

    return around


def receiving(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], Any]:
    """A server that gives the application other events: ``change`` makes them of the right ones; one of which it makes None is left out."""

    def around(app: Any) -> Any:
        async def changes(scope: Any, receive: Any, send: Any) -> None:
            async def other() -> Any:
                while (event := change(await receive())) is None:
                    pass
                return event

            await app(scope, other, send)

        return changes

    return around


def sending(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], Any]:
    """A server that takes the application's messages for others: ``change`` makes them of the right ones; one of which it makes None is left out."""

    def around(app: Any) -> Any:
        async def changes(scope: Any, receive: Any, send: Any) -> None:
            async def other(message: Any) -> None:
                changed = change(message)
                if changed is not None:
                    await send(changed)

            await app(scope, receive, other)

        return changes

    return around


def rewriting(pattern: bytes, replacement: bytes) -> Callable[[bytes], bytes]:
    """What a wire does to the bytes on it: ``pattern``, a regular expression, becomes ``replacement``."""
    expression = re.compile(pattern)
    return lambda data: expression.sub(replacement, data)


# Both sides.


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Whatever the server does wrong in here is said of ``what``: one of several things that a scenario tries.

    Raises:
        Broken: it did.
    """
    try:
        yield
    except Unanswered as error:
        raise Broken(f"{what}: closed without an answer") from error
    except (Broken, FramingError) as error:
        raise Broken(f"{what}: {error}") from error
    except TimeoutError as error:
        raise Broken(f"{what}: silence") from error
    except ConnectionRefusedError as error:
        raise Broken(f"{what}: the server takes no more connections") from error
    except ConnectionError as error:
        raise Broken(f"{what}: the connection was lost: {type(error).__name__}") from error


def then_another(stage: Stage, connection: RawConnection, response: RawResponse) -> bool:
    """See that nothing stands behind ``response``: the connection ends, or answers another request. Whether it did."""
    if response.closes:
        rest = connection.expect_closed()
        stage.check(not rest, f"bytes behind the response: {rest[:80]!r}")
        return False
    try:
        connection.send(stage.encode_request(path="/another"))
        another = connection.read_response()
    except Unanswered:
        return False
    except ConnectionError:
        # A server may close at any time.
        rest = connection.expect_closed()
        stage.check(not rest, f"bytes behind the response: {rest[:80]!r}")
        return False
    stage.check(another.status == _OK, f"another request on the connection is answered with {another.status}")
    return True


def plain(value: Any) -> Any:
    """What ``value`` is a kind of: tuples are lists, and of another class only what it holds counts."""
    if isinstance(value, Foreign):
        return plain(value.value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def given(stage: Stage, value: _T | None, seen: str) -> _T:
    """``value``, which must be there; ``seen`` says what there was in its place.

    Raises:
        Broken: it is None.
    """
    stage.check(value is not None, seen)
    if value is None:
        raise AssertionError(seen)
    return value


def spec_version(record: Record) -> tuple[int, ...]:
    """The version of its protocol's specification that the server says it has; 2.0 where it says none (ASGI www, Websocket Connection Scope).

    Raises:
        Broken: what it says is no version.
    """
    told = plain(record.scope).get("asgi", {}).get("spec_version", "2.0")
    try:
        return tuple(int(part) for part in str(told).split("."))
    except ValueError:
        raise Broken(f"spec_version is {told!r}") from None


def answer_close(frames: Frames) -> Frame | None:
    """The server's close frame, which is answered as RFC 6455 §5.5.1 wants it, and the end of the connection; None where it ended without one."""
    try:
        while (frame := frames.read_frame()).opcode != CLOSE:
            pass
    except (Truncated, ConnectionResetError):
        return None
    try:
        frames.close(frame.code)
        frames.connection.expect_eof()
    except (BrokenPipeError, ConnectionResetError):
        # It did not wait for the answer.
        pass
    return frame
