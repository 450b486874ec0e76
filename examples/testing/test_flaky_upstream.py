"""A flaky upstream: does the code under test try again, and does it give up in time?"""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer, faults


def fetch_price(url: str, attempts: int = 3) -> int:
    """The code under test."""
    with httpx.Client(base_url=url, timeout=0.5, trust_env=False) as client:
        for attempt in range(1, attempts + 1):
            try:
                price: int = client.get("/price").raise_for_status().json()["price"]
            except httpx.TransportError:
                if attempt == attempts:
                    raise
            else:
                return price
    raise AssertionError("attempts is 1 or more")


async def price(_request: Request) -> JSONResponse:
    return JSONResponse({"price": 3})


@pytest.fixture
def asgi_app() -> Starlette:
    return Starlette(routes=[Route("/price", price)])


@pytest.mark.parametrize(
    "fault",
    [faults.reset(after_bytes=10), faults.close(), faults.stall(), faults.delay(2), faults.garbage(), faults.malformed_chunk()],
    ids=lambda fault: fault.kind,
)
def test_it_tries_again(live_server: LiveServer, fault: faults.Fault) -> None:
    with live_server.faults(fault, path="/price", times=2) as rule:
        assert fetch_price(live_server.url) == 3
    assert rule.used == 2
    assert len(live_server.exchanges(path="/price")) == 3


def test_it_gives_up(live_server: LiveServer) -> None:
    with live_server.faults(faults.close()), pytest.raises(httpx.RemoteProtocolError):
        fetch_price(live_server.url)
    assert len(live_server.exchanges(path="/price")) == 3


def test_nobody_listens(live_server: LiveServer) -> None:
    with live_server.faults(faults.refuse()), pytest.raises(httpx.ConnectError):
        fetch_price(live_server.url)
    assert fetch_price(live_server.url) == 3
