"""Scopes as a server makes them (ASGI www.rst, HTTP Connection Scope and WebSocket Connection Scope).

The law of this module: a scope is made anew for every call, and all in it that can be changed belongs to that call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asgi_conformance.application.routes import Route

__all__ = ["SPEC_VERSION", "http_scope", "lifespan_scope", "minimal", "websocket_scope"]

SPEC_VERSION: Final = "2.5"
"""Of www.rst, whose newest this is."""
_LIFESPAN_VERSION: Final = "2.0"
_CLIENT: Final = ("127.0.0.1", 49152)
_PORT: Final = 8000
_MANDATORY: Final = {
    "http": ("type", "asgi", "http_version", "method", "path", "query_string", "headers"),
    "websocket": ("type", "asgi", "path", "query_string", "headers"),
}


def http_scope(
    route: Route, *, host: str, state: Mapping[str, Any] | None, fields: Iterable[tuple[bytes, bytes]] = (), **changes: Any
) -> dict[str, Any]:
    """The scope of a request.

    Args:
        route: what is asked for.
        host: of the Host field.
        state: of the lifespan; None where there is none.
        fields: beside Host, and those of the body.
        changes: keys with other values.
    """
    own = [(b"host", host.encode("latin-1")), (b"user-agent", b"asgi-conformance"), (b"accept", b"*/*")]
    fields = list(fields)
    if route.body and not any(name in {b"content-length", b"transfer-encoding"} for name, _ in fields):
        own.append((b"content-length", b"%d" % len(route.body)))
    if route.content_type and not any(name == b"content-type" for name, _ in fields):
        own.append((b"content-type", route.content_type))
    named = {name for name, _ in fields}
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
        "http_version": "1.1",
        "method": route.method,
        "scheme": "http",
        "path": route.path,
        "raw_path": route.raw_path,
        "query_string": route.query,
        "root_path": "",
        "headers": [field for field in own if field[0] not in named] + fields,
        "client": _CLIENT,
        "server": (host.partition(":")[0], _PORT),
        "extensions": {},
    }
    if state is not None:
        scope["state"] = dict(state)
    return scope | changes


def websocket_scope(route: Route, *, host: str, state: Mapping[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """The scope of a WebSocket; arguments as of `http_scope`."""
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
        "http_version": "1.1",
        "scheme": "ws",
        "path": route.path,
        "raw_path": route.raw_path,
        "query_string": route.query,
        "root_path": "",
        "headers": [
            (b"host", host.encode("latin-1")),
            (b"origin", f"http://{host}".encode("latin-1")),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        "client": _CLIENT,
        "server": (host.partition(":")[0], _PORT),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    if state is not None:
        scope["state"] = dict(state)
    return scope | changes


def lifespan_scope(*, state: dict[str, Any] | None) -> dict[str, Any]:
    """The scope of a lifespan; ``state`` is the very namespace, or None where the server has none."""
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": _LIFESPAN_VERSION}}
    return scope if state is None else scope | {"state": state}


def minimal(scope: Mapping[str, Any]) -> dict[str, Any]:
    """``scope`` with only the keys that the text does not call optional; ``asgi`` with its version alone.

    The lifespan's state stays where it has something in it: an application that put it there may need it.
    """
    kept = {key: scope[key] for key in _MANDATORY[scope["type"]]}
    kept["asgi"] = {"version": "3.0"}
    if scope.get("state"):
        kept["state"] = scope["state"]
    return kept
