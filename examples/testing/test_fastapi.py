"""FastAPI: a dependency is overridden while the server runs, and the lifespan's state is looked at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request

from pytest_asgiserve import LiveServer


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, list[str]]]:
    yield {"orders": []}


app = FastAPI(lifespan=lifespan)


def current_user() -> str:
    raise HTTPException(status_code=401)


@app.post("/orders/{item}")
async def order(item: str, user: Annotated[str, Depends(current_user)], request: Request) -> dict[str, str]:
    request.state.orders.append(item)
    return {"item": item, "for": user}


@pytest.fixture
def asgi_app() -> FastAPI:
    return app


def test_nobody_may_order(live_server: LiveServer) -> None:
    assert live_server.client.post("/orders/tea").status_code == 401


def test_alice_may_order(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.dependency_overrides, current_user, lambda: "alice")
    assert live_server.client.post("/orders/tea").json() == {"item": "tea", "for": "alice"}
    assert live_server.state["orders"] == ["tea"]


def test_each_test_has_a_server_of_its_own(live_server: LiveServer) -> None:
    assert live_server.state["orders"] == []
