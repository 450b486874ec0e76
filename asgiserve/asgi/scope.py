"""The connection scope (ASGI www.rst, HTTP and WebSocket Connection Scope).

The law of this module: every value is made anew for each call, so that nothing an application does to one scope is seen by another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from asgiserve.core.websocket_handshake import offered_subprotocols
from asgiserve.http.target import METHODS

if TYPE_CHECKING:
    from asgiserve.asgi.context import Context, Peer
    from asgiserve.core.exchange import Exchange

__all__ = ["http_scope", "websocket_scope"]

_METHODS: Final = {method: method.decode("ascii") for method in METHODS}


def http_scope(context: Context, exchange: Exchange, peer: Peer) -> dict[str, Any]:
    """The scope of an HTTP request. Sets the exchange's ``client`` for the access log."""
    head = exchange.head
    method = head.method
    raw_path, path, query, _ = head.target
    client = peer.client
    scheme = peer.scheme
    if head.framing.forwarded and peer.trusted and context.proxies is not None:
        client, scheme = context.proxies.resolve(head.fields, client, scheme)
    exchange.client = client
    root_path = context.root_path
    if root_path:
        path, raw_path = _mount(context, path, raw_path)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": context.asgi_version, "spec_version": "2.5"},
        # RFC 9110 §6.2: a higher minor version is processed as the highest that is known.
        "http_version": "1.1" if head.minor_version else "1.0",
        "server": peer.server,
        "client": client,
        "scheme": scheme,
        "method": _METHODS[method] if method in _METHODS else method.decode("ascii"),
        "root_path": root_path,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        # The application may change its list; the head may be the next request's as well.
        "headers": head.fields.copy(),
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
            "http.response.zerocopysend": {},
        },
    }
    if peer.tls is not None:
        scope["extensions"]["tls"] = _tls(peer.tls)
    if context.state is not None:
        scope["state"] = context.state.copy()
    return scope


def websocket_scope(context: Context, exchange: Exchange, peer: Peer) -> dict[str, Any]:
    """The scope of a WebSocket handshake."""
    scope = http_scope(context, exchange, peer)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    scope["subprotocols"] = offered_subprotocols(exchange.head.fields)
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    if peer.tls is not None:
        extensions["tls"] = _tls(peer.tls)
    scope["extensions"] = extensions
    return scope


def _tls(facts: dict[str, Any]) -> dict[str, Any]:
    """A copy for one call, with the list in it: the connection's own is everybody's."""
    return {key: list(value) if isinstance(value, list) else value for key, value in facts.items()}


def _mount(context: Context, path: str, raw_path: bytes) -> tuple[str, bytes]:
    """The path under the root path: as it is where the proxy kept the prefix, with the prefix put in front where it was stripped."""
    root = context.root_path
    if path == root or path.startswith(root + "/") or path == "*":
        return path, raw_path
    return root + path, quote(root, safe="/~!$&'()*+,;=:@").encode("ascii") + raw_path
