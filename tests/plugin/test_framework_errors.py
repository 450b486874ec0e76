"""An unhandled error is the test's affair whatever framework answers it, and so is one in a task that nobody awaits."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from pytest_asgiserve import LiveServer
from tests.integration.apps.common import Site
from tests.integration.frameworks import FRAMEWORKS, make_app
from tests.support.serving import LOOPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.frameworks import Framework

by_name = pytest.mark.parametrize("framework", [one for one in FRAMEWORKS if one.name != "plain"], ids=lambda framework: framework.name)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    file = tmp_path / "file.bin"
    file.write_bytes(b"x")
    return Site(file)


def serve(framework: Framework, site: Site, **settings: Any) -> LiveServer:
    return LiveServer(make_app(framework, site), lifespan="on" if framework.has_lifespan else "off", **settings)


@pytest.mark.parametrize("loop", LOOPS)
@by_name
def test_an_error_that_a_framework_answers_is_collected_once(framework: Framework, loop: str, site: Site) -> None:
    with serve(framework, site, loop=loop) as server:
        assert server.client.get("/boom").status_code == 500
        (error,) = server.take_errors()
        assert str(error).startswith("GET /boom: RuntimeError: boom (")
        assert isinstance(error.exception, RuntimeError)
        (record,) = server.exchanges(path="/boom")
        assert record.error is error.exception
        # Expected, as any other.
        with server.expect_error(RuntimeError, match="boom"):
            server.client.get("/boom")


@by_name
def test_what_is_no_error_of_the_application_is_none(framework: Framework, site: Site) -> None:
    with serve(framework, site) as server:
        assert server.client.get("/nowhere").status_code == 404
        assert server.client.delete("/hello").status_code in {404, 405, 200}
        assert server.errors == []


@by_name
def test_ignored_errors_are_ignored(framework: Framework, site: Site) -> None:
    with serve(framework, site, errors="ignore") as server:
        assert server.client.get("/boom").status_code == 500
        assert server.errors == []


@by_name
def test_two_servers_do_not_hear_each_others_errors(framework: Framework, site: Site) -> None:
    with serve(framework, site, errors="fail") as one, serve(framework, site) as other:
        assert one.client.get("/boom").status_code == 500
        assert other.errors == []
        assert len(one.take_errors()) == 1


def test_a_framework_is_left_as_it_was_found(site: Site) -> None:
    litestar = next(one for one in FRAMEWORKS if one.name == "litestar")
    for framework in FRAMEWORKS:
        make_app(framework, site)
    signals = [
        sys.modules["django.core.signals"].got_request_exception,
        sys.modules["quart.signals"].got_request_exception,
        sys.modules["quart.signals"].got_websocket_exception,
    ]
    before = [len(signal.receivers) for signal in signals]
    app = make_app(litestar, site)
    hooks = list(app.after_exception)
    with LiveServer(app, lifespan="on"):
        assert [len(signal.receivers) for signal in signals] == [count + 1 for count in before]
        assert len(app.after_exception) == len(hooks) + 1
    assert [len(signal.receivers) for signal in signals] == before
    assert app.after_exception == hooks


def test_an_error_that_django_is_told_to_let_out_is_told_once(site: Site) -> None:
    django = next(one for one in FRAMEWORKS if one.name == "django")
    app = make_app(django, site)
    override_settings: Any = importlib.import_module("django.test.utils").override_settings

    def told() -> int:
        with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True), LiveServer(app, lifespan="off") as server:
            assert server.client.get("/boom").status_code == 500
            return len(server.take_errors())

    with warnings.catch_warnings():
        # Set so, Django leaves the request's body file to the garbage collector, and Python warns of that.
        warnings.simplefilter("ignore", ResourceWarning)
        assert told() == 1
        gc.collect()


def test_an_error_that_quart_is_told_to_let_out_is_told_once(site: Site) -> None:
    quart = next(one for one in FRAMEWORKS if one.name == "quart")
    app = make_app(quart, site)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with LiveServer(app) as server:
        assert server.client.get("/boom").status_code == 500
        assert len(server.take_errors()) == 1


# ---- what nobody awaits ------------------------------------------------------------------------------------------------------------


NOTHING: dict[str, str] = {}


async def failing_task() -> None:
    raise LookupError("nobody awaits this")


async def background(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    """Starts something that fails after the response; ``/awaited`` looks at it."""
    if scope["type"] == "lifespan":
        return
    task = asyncio.create_task(failing_task())
    await asyncio.wait([task])
    if scope["path"] == "/awaited":
        task.exception()
    elif scope["path"] == "/callback":
        asyncio.get_running_loop().call_soon(NOTHING.__getitem__, "nothing")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
    if scope["path"] == "/callback":
        task.exception()


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    with LiveServer(background, loop=request.param, lifespan="off") as running:
        yield running


def test_an_exception_in_a_task_that_nobody_awaits_is_an_error(server: LiveServer) -> None:
    assert server.client.get("/").status_code == 200
    server.settle()
    # asyncio says so when the task is destroyed.
    gc.collect()
    (error,) = server.take_errors()
    assert str(error).startswith("background: LookupError: nobody awaits this (")
    assert error.detail == "Task exception was never retrieved"


def test_an_exception_in_a_callback_of_the_loop_is_an_error(server: LiveServer) -> None:
    assert server.client.get("/callback").status_code == 200
    (error,) = server.errors
    assert isinstance(error.exception, KeyError)
    server.take_errors()


def test_an_exception_that_somebody_looked_at_is_none(server: LiveServer) -> None:
    assert server.client.get("/awaited").status_code == 200
    server.settle()
    gc.collect()
    assert server.errors == []
