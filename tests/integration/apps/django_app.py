"""The routes of `common` with Django, behind a dispatcher for what Django leaves out: WebSocket. It has no lifespan."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

from tests.integration.apps.common import COOKIES, HELLO, chunks, events, websocket_echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.http import HttpRequest

    from tests.integration.apps.common import Site
    from tests.support.apps import App, Receive, Scope, Send

__all__ = ["make_app"]

_BLOCK = 65536


def _site(request: HttpRequest) -> Site:
    site: Site = request.scope["tests.site"]
    return site


def hello(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(HELLO, content_type="text/plain")


async def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body, content_type="application/octet-stream")


def read_json(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"received": json.loads(request.body)})


async def stream(_request: HttpRequest) -> HttpResponse:
    return StreamingHttpResponse(chunks(), content_type="application/octet-stream")


async def sse(request: HttpRequest) -> HttpResponse:
    return StreamingHttpResponse(events(_site(request)), content_type="text/event-stream")


def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    return JsonResponse({"name": file.name, "size": file.size})


async def headers(request: HttpRequest) -> HttpResponse:
    return JsonResponse(list(request.headers.items()), safe=False, headers={"X-Answer": "yes"})


def cookies(_request: HttpRequest) -> HttpResponse:
    response = HttpResponse()
    for name, value in COOKIES.items():
        response.set_cookie(name, value)
    return response


def boom(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("boom")


async def file(request: HttpRequest) -> HttpResponse:
    """An asynchronous iterator: Django's FileResponse has a synchronous one, of which Django itself warns under ASGI."""
    source = _site(request).file

    async def blocks() -> AsyncIterator[bytes]:
        with source.open("rb") as opened:
            while block := await asyncio.to_thread(opened.read, _BLOCK):
                yield block

    return StreamingHttpResponse(blocks(), headers={"Content-Disposition": "attachment", "Content-Length": str(source.stat().st_size)})


urlpatterns = [
    path("hello", hello),
    path("echo", echo),
    path("json", read_json),
    path("stream", stream),
    path("sse", sse),
    path("upload", upload),
    path("headers", headers),
    path("cookies", cookies),
    path("boom", boom),
    path("file", file),
]


def _configure() -> None:
    if settings.configured:  # once a process
        return
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
        LOGGING_CONFIG=None,
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    )
    django.setup()


def make_app(site: Site) -> App:
    """The application."""
    _configure()
    served: Any = get_asgi_application()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await websocket_echo(receive, send)
        else:
            await served({**scope, "tests.site": site}, receive, send)

    return app
