"""The application's lifespan on an event loop without sockets (ASGI lifespan.rst; S5, S74-S84)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.asgi import lifespan as module
from asgiserve.asgi.lifespan import Lifespan
from asgiserve.errors import LifespanError, LocalProtocolError
from asgiserve.importer import as_asgi3
from tests.support.offline import on_a_loop

if TYPE_CHECKING:
    from tests.support.apps import App, Receive, Scope, Send
    from tests.support.records import Records

STARTUP = {"type": "lifespan.startup"}
SHUTDOWN = {"type": "lifespan.shutdown"}
STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


def make(app: Any, mode: str = "auto", *, startup: float | None = 5.0, shutdown: float | None = 5.0, version: str = "3.0") -> Lifespan:
    return Lifespan(app, version, mode, startup_timeout=startup, shutdown_timeout=shutdown)


async def well_behaved(_scope: Scope, receive: Receive, send: Send) -> None:
    assert await receive() == STARTUP
    await send(STARTED)
    assert await receive() == SHUTDOWN
    await send(STOPPED)


# ---- start-up ----------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_the_scope_is_the_specifications(records: Records) -> None:
    # asgi.life.scope, asgi.scope.spec-version-honest
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append({**scope, "state": dict(scope["state"])})
        scope["state"]["pool"] = 1
        await well_behaved(scope, receive, send)

    lifespan = make(app)
    await lifespan.startup()
    assert scopes == [{"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}]
    assert lifespan.supported
    # S83: the server never touches it.
    assert lifespan.state == {"pool": 1}
    await lifespan.shutdown()
    assert len(scopes) == 1
    assert records.messages() == []


@pytest.mark.parametrize("mode", ["auto", "on"])
@on_a_loop
async def test_startup_waits_for_the_answer_and_shutdown_too(records: Records, mode: str) -> None:
    # S76, S80
    doors = [asyncio.Event(), asyncio.Event()]
    seen: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for door in doors:
            seen.append((await receive())["type"])
            await door.wait()
            await send({"type": seen[-1] + ".complete", "extra": "ignored"})

    lifespan = make(app, mode)
    for door, step in zip(doors, (lifespan.startup, lifespan.shutdown), strict=True):
        task = asyncio.create_task(step())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        door.set()
        await task
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
    assert records.errors == []


@on_a_loop
async def test_off_calls_nobody() -> None:
    def app(*_: object) -> Any:
        raise AssertionError("called")

    lifespan = make(app, "off")
    await lifespan.startup()
    await lifespan.shutdown()
    assert not lifespan.supported


class Mine(Exception):  # noqa: N818 - an application's own
    pass


async def raises_at_once(scope: Scope, _receive: Receive, _send: Send) -> None:
    assert scope["type"] == "http", f"unknown scope {scope['type']}"


async def raises_a_bug(_scope: Scope, receive: Receive, _send: Send) -> None:
    await receive()
    raise Mine("the database is away")


async def exits(_scope: Scope, receive: Receive, _send: Send) -> None:
    await receive()
    raise SystemExit(3)


async def cancels_itself(_scope: Scope, receive: Receive, _send: Send) -> None:
    await receive()
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("app", "said", "traced"),
    [
        pytest.param(raises_at_once, "unknown scope lifespan", None, id="does-not-know-it"),
        pytest.param(raises_a_bug, "Mine", Mine, id="bug"),
        pytest.param(exits, "SystemExit", SystemExit, id="sys.exit"),
        pytest.param(cancels_itself, "CancelledError", asyncio.CancelledError, id="cancelled"),
    ],
)
@on_a_loop
async def test_an_exception_at_start_up_is_shown_and_the_application_is_served_without_a_lifespan(
    records: Records, app: App, said: str, traced: type[BaseException] | None
) -> None:
    # S77, asgi.life.raise-continues
    lifespan = make(app)
    await lifespan.startup()
    assert not lifespan.supported
    (warning,) = records.errors
    assert warning.levelno == logging.WARNING
    assert said in warning.getMessage()
    if traced is None:
        # It said "not supported" in its own words; that is no bug to trace back.
        assert not warning.exc_info
    else:
        assert warning.exc_info is not None
        assert isinstance(warning.exc_info[1], traced)
    await lifespan.shutdown()
    assert len(records.errors) == 1


@pytest.mark.parametrize("app", [raises_at_once, raises_a_bug, exits, cancels_itself])
@on_a_loop
async def test_an_exception_at_start_up_is_shown_and_ends_the_start_where_the_lifespan_must_be_there(records: Records, app: App) -> None:
    # asgi.life.raise-strict-mode
    lifespan = make(app, "on")
    with pytest.raises(LifespanError, match="--lifespan is on") as caught:
        await lifespan.startup()
    assert caught.value.exit_code == 3
    (error,) = records.errors
    assert error.levelno == logging.ERROR
    assert error.exc_info
    await lifespan.shutdown()
    assert len(records.errors) == 1


@pytest.mark.parametrize("receives", [False, True])
@on_a_loop
async def test_an_application_that_returns_without_an_answer_has_no_lifespan(records: Records, receives: bool) -> None:
    # S84, asgi.life.return-early
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        if receives:
            await receive()

    lifespan = make(app)
    await lifespan.startup()
    assert not lifespan.supported
    assert records.messages() == ["the application does not support lifespan"]
    await lifespan.shutdown()
    with pytest.raises(LifespanError, match="--lifespan is on"):
        await make(app, "on").startup()


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param({"message": "no database"}, "the application refused to start: no database", id="with-a-message"),
        pytest.param({}, "the application refused to start", id="without"),
        pytest.param({"message": None}, "the application refused to start", id="none"),
        pytest.param({"message": 5}, "the application refused to start: 5", id="not-text"),
    ],
)
@pytest.mark.parametrize("then", ["returns", "raises", "waits"])
@on_a_loop
async def test_a_refused_start_up_is_an_error_with_the_applications_message(
    records: Records, mode: str, message: dict[str, Any], said: str, then: str
) -> None:
    # S78, asgi.life.startup-failed
    ended = False

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal ended
        await receive()
        try:
            await send({"type": "lifespan.startup.failed", **message})
            if then == "raises":
                raise Mine("again what was just reported")
            if then == "waits":
                await receive()
        finally:
            ended = True

    lifespan = make(app, mode)
    with pytest.raises(LifespanError) as caught:
        await lifespan.startup()
    assert str(caught.value) == said
    assert caught.value.exit_code == 3
    assert ended
    assert not lifespan.supported
    await lifespan.shutdown()
    assert records.errors == []


@on_a_loop
async def test_a_refusal_that_is_a_traceback_is_shown_whole_and_raised_as_its_last_line(records: Records) -> None:
    # Starlette and Litestar send the traceback as the message.
    message = 'Traceback (most recent call last):\n  File "x.py", line 1, in x\nOSError: no database\n'

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": message})

    with pytest.raises(LifespanError) as caught:
        await make(app).startup()
    assert str(caught.value) == "the application refused to start: OSError: no database"
    (error,) = records.errors
    assert 'File "x.py", line 1' in error.getMessage()


@on_a_loop
async def test_a_start_up_that_takes_too_long_is_an_error_and_the_application_is_cancelled() -> None:
    cancelled = False

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        nonlocal cancelled
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled = True
            raise

    lifespan = make(app, startup=0.01)
    with pytest.raises(LifespanError, match=r"within 0\.01 seconds \(--timeout-startup\)"):
        await lifespan.startup()
    assert cancelled
    assert not lifespan.supported
    await lifespan.shutdown()


@on_a_loop
async def test_a_start_up_that_hangs_can_be_cancelled(records: Records) -> None:
    # uvicorn 2751
    entered = asyncio.Event()
    cleaned_up = False

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        nonlocal cleaned_up
        entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned_up = True

    lifespan = make(app, startup=None)
    task = asyncio.create_task(lifespan.startup())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned_up
    assert records.errors == []


@on_a_loop
async def test_an_application_that_is_deaf_to_its_cancellation_is_left_behind(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CANCEL_GRACE", 0.01)
    release: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        while not release.done():
            try:
                await asyncio.shield(release)
            except asyncio.CancelledError:
                continue

    lifespan = make(app, startup=0.01)
    with pytest.raises(LifespanError, match="within"):
        await lifespan.startup()
    (error,) = records.errors
    assert "left behind" in error.getMessage()
    await lifespan.shutdown()
    assert not lifespan.supported
    release.set_result(None)


# ---- in between --------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_an_application_that_returns_after_its_start_up_is_served_on(records: Records) -> None:
    # S84
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)

    lifespan = make(app)
    await lifespan.startup()
    await asyncio.sleep(0)
    assert lifespan.supported
    await lifespan.shutdown()
    assert records.errors == []


@on_a_loop
async def test_an_application_that_answers_everything_at_once_is_fine() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(STARTED)
        await send(STOPPED)

    lifespan = make(app)
    await lifespan.startup()
    assert lifespan.supported
    await lifespan.shutdown()


@on_a_loop
async def test_an_application_that_dies_after_its_start_up_is_logged_when_it_does(records: Records) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        raise Mine

    lifespan = make(app)
    await lifespan.startup()
    await asyncio.sleep(0)
    (error,) = records.errors
    assert error.exc_info is not None
    assert isinstance(error.exc_info[1], Mine)
    await lifespan.shutdown()
    assert len(records.errors) == 1


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param({"type": "http.response.start", "status": 200}, "unknown message type", id="asgi.life.wrong-message"),
        pytest.param({"type": "lifespan.startup"}, "unknown message type", id="the-event-itself"),
        pytest.param({"status": 1}, "no type", id="no-type"),
        pytest.param("lifespan.startup.complete", "dict, not str", id="no-dict"),
        pytest.param({"type": "lifespan.shutdown.complete"}, "wrong time", id="shutdown-before-startup"),
        pytest.param({"type": "lifespan.shutdown.failed"}, "wrong time", id="shutdown-failed-before-startup"),
    ],
)
@on_a_loop
async def test_a_message_that_is_wrong_raises_and_a_right_one_may_follow(message: Any, why: str) -> None:
    # S6, S9
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(LocalProtocolError, match=why):
            await send(message)
        await send(STARTED)

    lifespan = make(app, "on")
    await lifespan.startup()
    assert lifespan.supported
    await lifespan.shutdown()


@pytest.mark.parametrize("kind", ["lifespan.startup.complete", "lifespan.startup.failed"])
@on_a_loop
async def test_start_up_is_answered_once(kind: str) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        with pytest.raises(LocalProtocolError, match="answered"):
            await send({"type": kind})
        await receive()
        await send(STOPPED)
        with pytest.raises(LocalProtocolError, match="wrong time"):
            await send(STOPPED)

    lifespan = make(app)
    await lifespan.startup()
    await lifespan.shutdown()
    assert lifespan.supported
    assert lifespan._task is not None
    assert lifespan._task.done()


# ---- shutdown ----------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_what_the_application_does_after_its_answer_is_waited_for() -> None:
    finished = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal finished
        await well_behaved(scope, receive, send)
        for _ in range(10):
            await asyncio.sleep(0)
        finished = True

    lifespan = make(app)
    await lifespan.startup()
    await lifespan.shutdown()
    assert finished


@on_a_loop
async def test_an_application_that_waits_for_more_after_its_answer_holds_nothing_up(records: Records) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})

    lifespan = make(app, shutdown=None)
    await lifespan.startup()
    await lifespan.shutdown()
    assert records.errors == []
    assert lifespan._task is not None
    assert lifespan._task.done()


@pytest.mark.parametrize("then", ["returns", "raises"])
@on_a_loop
async def test_a_shutdown_that_failed_is_logged_once_with_its_message(records: Records, then: str) -> None:
    # S81, asgi.life.shutdown-failed
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "the pool is stuck"})
        if then == "raises":
            raise Mine("again what was just reported")

    lifespan = make(app)
    await lifespan.startup()
    await lifespan.shutdown()
    assert [error.getMessage() for error in records.errors] == ["the application's shutdown failed: the pool is stuck"]


@on_a_loop
async def test_a_shutdown_that_raises_is_logged_and_holds_nothing_up(records: Records) -> None:
    # asgi.life.shutdown-raise
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        await receive()
        raise Mine

    lifespan = make(app)
    await lifespan.startup()
    await lifespan.shutdown()
    (error,) = records.errors
    assert error.exc_info is not None
    assert isinstance(error.exc_info[1], Mine)


@on_a_loop
async def test_a_shutdown_without_an_answer_holds_nothing_up(records: Records) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(STARTED)
        await receive()

    lifespan = make(app)
    await lifespan.startup()
    await lifespan.shutdown()
    assert records.errors == []


@pytest.mark.parametrize("answers", [False, True])
@on_a_loop
async def test_a_shutdown_that_takes_too_long_is_logged_and_cancelled(records: Records, answers: bool) -> None:
    cancelled = False

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal cancelled
        await receive()
        await send(STARTED)
        await receive()
        try:
            if answers:
                await send(STOPPED)
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled = True
            raise

    lifespan = make(app, shutdown=0.01)
    await lifespan.startup()
    await lifespan.shutdown()
    assert cancelled
    assert records.messages() == ["the application did not complete its shutdown within 0.01 seconds (--timeout-shutdown)"]


@on_a_loop
async def test_an_application_that_never_answered_its_start_up_gets_no_shutdown() -> None:
    received: list[str] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        while True:
            received.append((await receive())["type"])

    lifespan = make(app, startup=0.01)
    with pytest.raises(LifespanError):
        await lifespan.startup()
    await lifespan.shutdown()
    assert received == ["lifespan.startup"]


@on_a_loop
async def test_shutdown_twice_is_shutdown_once() -> None:
    received: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            received.append((await receive())["type"])
            await send({"type": received[-1] + ".complete"})

    lifespan = make(app)
    await lifespan.startup()
    await lifespan.shutdown()
    await lifespan.shutdown()
    assert received == ["lifespan.startup", "lifespan.shutdown"]


# ---- the old form ------------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_an_application_in_the_old_form_has_a_lifespan_like_any_other() -> None:
    # S3, S5
    versions: list[str] = []

    class Old:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        async def __call__(self, receive: Receive, send: Send) -> None:
            versions.append(self.scope["asgi"]["version"])
            await well_behaved(self.scope, receive, send)

    app, version = as_asgi3(Old)
    lifespan = make(app, "on", version=version)
    await lifespan.startup()
    assert lifespan.supported
    await lifespan.shutdown()
    assert versions == ["2.0"]


@on_a_loop
async def test_an_application_in_the_old_form_that_does_not_know_lifespans_says_so_in_its_constructor(records: Records) -> None:
    class Old:
        def __init__(self, scope: Scope) -> None:
            if scope["type"] != "http":
                raise ValueError(f"no {scope['type']} here")

    app, version = as_asgi3(Old)
    lifespan = make(app, version=version)
    await lifespan.startup()
    assert not lifespan.supported
    (warning,) = records.errors
    assert "no lifespan here" in warning.getMessage()
    assert not warning.exc_info
