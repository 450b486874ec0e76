"""Starlette: a page, an error that is expected, and what went over the wire."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pytest_asgiserve import LiveServer


async def add(request: Request) -> Response:
    item = await request.json()
    return JSONResponse({"price": 100 / item["count"]}, status_code=201)


app = Starlette(routes=[Route("/items", add, methods=["POST"])])


@pytest.fixture
def asgi_app() -> Starlette:
    return app


def test_an_item_is_added(live_server: LiveServer) -> None:
    response = live_server.client.post("/items", json={"count": 4})
    assert response.json() == {"price": 25}

    (exchange,) = live_server.exchanges(method="POST", path="/items")
    assert exchange.status == 201
    assert exchange.request.header("content-type") == "application/json"
    assert exchange.request.json() == {"count": 4}


def test_a_count_of_zero_is_an_error(live_server: LiveServer) -> None:
    with live_server.expect_error(ZeroDivisionError, match="division by zero"):
        assert live_server.client.post("/items", json={"count": 0}).status_code == 500


def test_an_unknown_page(live_server: LiveServer) -> None:
    assert live_server.client.get("/nowhere").status_code == 404
