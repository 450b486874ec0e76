"""Every topic of the cases for applications, in the order in which they run."""

from __future__ import annotations

from typing import Final

from asgi_conformance.application.ending_cases import ENDING
from asgi_conformance.application.http_cases import HTTP, REQUESTS
from asgi_conformance.application.lifespan_cases import CONCURRENCY, LIFESPAN
from asgi_conformance.application.lint_cases import LINT
from asgi_conformance.application.middleware_cases import MIDDLEWARE
from asgi_conformance.application.scope_cases import BODY, SCOPE
from asgi_conformance.application.websocket_cases import WEBSOCKET

__all__ = ["TOPICS"]

TOPICS: Final = (HTTP, REQUESTS, SCOPE, BODY, ENDING, CONCURRENCY, WEBSOCKET, LIFESPAN, MIDDLEWARE, LINT)
