"""Two services: one asks the other over the network, as it does in production."""

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pytest_asgiserve import LiveServer, LiveServerFactory


async def price(request: Request) -> JSONResponse:
    return JSONResponse({"price": {"tea": 3}[request.path_params["item"]]})


def make_shop(prices: str) -> Starlette:
    async def offer(request: Request) -> JSONResponse:
        async with httpx.AsyncClient(base_url=prices, trust_env=False) as client:
            response = await client.get(f"/prices/{request.path_params['item']}")
        if response.is_error:
            return JSONResponse({"error": "no price"}, status_code=502)
        return JSONResponse({"offer": response.json()["price"] + 1})

    return Starlette(routes=[Route("/offers/{item}", offer)])


def start_both(start: LiveServerFactory) -> tuple[LiveServer, LiveServer]:
    prices = start(Starlette(routes=[Route("/prices/{item}", price)]))
    return prices, start(make_shop(prices.url))


def test_an_offer_is_the_price_and_a_bit(live_server_factory: LiveServerFactory) -> None:
    prices, shop = start_both(live_server_factory)
    assert shop.client.get("/offers/tea").json() == {"offer": 4}
    assert [exchange.path for exchange in prices.exchanges()] == ["/prices/tea"]


def test_without_a_price_there_is_no_offer(live_server_factory: LiveServerFactory) -> None:
    prices, shop = start_both(live_server_factory)
    with prices.expect_error(KeyError):
        assert shop.client.get("/offers/coffee").status_code == 502
