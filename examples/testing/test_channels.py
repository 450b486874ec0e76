"""Django and Channels: a view and a WebSocket consumer, from one server.

A project has the first part in its own modules, and names its application with `asgi_app = "project.asgi:application"` in the ini file.
"""

from typing import Any

import django
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from pytest_asgiserve import LiveServer

settings.configure(
    SECRET_KEY="only for this test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
)
django.setup()


def price(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"price": 12 // int(request.GET["count"])})


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **_: Any) -> None:
        await self.send_json({"got": content})


urlpatterns = [path("price", price)]
application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": URLRouter([path("echo", Echo.as_asgi())])})


@pytest.fixture
def asgi_app() -> Any:
    return application


def test_a_view(asgi_server: LiveServer) -> None:
    assert asgi_server.client.get("/price", params={"count": 4}).json() == {"price": 3}


def test_an_error_in_a_view(asgi_server: LiveServer) -> None:
    with asgi_server.expect_error(ZeroDivisionError):
        asgi_server.client.get("/price", params={"count": 0})


def test_a_consumer(asgi_server: LiveServer) -> None:
    with asgi_server.ws("/echo") as websocket:
        websocket.send_json({"tea": 1})
        assert websocket.receive_json() == {"got": {"tea": 1}}
