"""Hypothesis: hundreds of examples against one server that serves the whole module."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer


async def reverse(request: Request) -> JSONResponse:
    text = await request.json()
    return JSONResponse(text[::-1])


@pytest.fixture(scope="module")
def asgi_app() -> Starlette:
    return Starlette(routes=[Route("/reverse", reverse, methods=["POST"])])


@settings(deadline=None)
@given(text=st.text())
def test_a_text_is_reversed(live_server_module: LiveServer, text: str) -> None:
    response = live_server_module.client.post("/reverse", json=text)
    assert response.status_code == 200
    assert response.json() == text[::-1]
