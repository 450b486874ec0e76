"""Which routes of an application the suite calls: those that the user names, else those of its OpenAPI schema, else ``/``.

The law of this module: nothing that deletes is ever found; only GET, POST and PUT are. What the user wrote is used as written.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["SCHEMA_PATHS", "Route", "RouteError", "default_routes", "multipart", "parse_routes", "routes_of_schema"]

SCHEMA_PATHS: Final = ("/openapi.json", "/schema/openapi.json", "/api/openapi.json", "/docs/openapi.json", "/swagger.json")
"""Where applications have their schema: FastAPI and Quart-Schema, Litestar, and what people choose."""

_MAX_READ: Final = 8
"""Routes that are read which discovery takes. More make a run longer and seldom say more; a user who wants more names them."""
_MAX_WRITTEN: Final = 3
_DEEP: Final = 6
"""How far an example follows a schema, which may refer to itself."""
_DEFAULT_BODY: Final = b"conformance " * 16
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_BOUNDARY: Final = "asgi-conformance-boundary"

# A comma separates where a route follows; one inside of a body does not.
_separator = re.compile(r",(?=\s*(?:[A-Z]+\s+/|ws:/|/))")
_route = re.compile(
    r"(?:(?P<ws>ws:|WS\s+)|(?P<method>[A-Z]+)\s+)?(?P<target>/\S*)"
    r"(?:\s+(?P<type>[^\s/]+/[^\s;]+(?:\s*;\s*[\w-]+=[^\s;]+)*)(?:\s+(?P<body>.+))?)?",
    re.DOTALL,
).fullmatch


class RouteError(ValueError):
    """A route that nobody can read; its text is one line."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Args:
        method: of the request; ``WS`` for a WebSocket.
        target: path and query, percent-encoded.
        content_type: of ``body``.
        body: what is sent.
    """

    method: str
    target: str
    content_type: bytes = b""
    body: bytes = b""

    @property
    def is_websocket(self) -> bool:
        """Whether it is one."""
        return self.method == "WS"

    @property
    def takes_body(self) -> bool:
        """Whether a body belongs to it."""
        return self.method in _METHODS_WITH_BODY

    @property
    def raw_path(self) -> bytes:
        """The path as it goes over the wire."""
        return self.target.partition("?")[0].encode("ascii", "surrogateescape")

    @property
    def path(self) -> str:
        """The path as a scope has it: decoded."""
        return urllib.parse.unquote(self.target.partition("?")[0])

    @property
    def query(self) -> bytes:
        """The query as a scope has it."""
        return self.target.partition("?")[2].encode("ascii")

    def __str__(self) -> str:
        return f"{'WebSocket' if self.is_websocket else self.method} {self.target}"


def parse_routes(specs: Iterable[str]) -> list[Route]:
    """What the user wrote: ``/items, POST /upload, ws:/chat, POST /json application/json {"n": 1}``.

    Raises:
        RouteError: one of them is not of that form.
    """
    return list(dict.fromkeys(_parse(part.strip()) for spec in specs for part in _separator.split(spec) if part.strip()))


def _parse(text: str) -> Route:
    match = _route(text)
    if match is None:
        raise RouteError(f"{text!r} is no route; expected [METHOD] /path [content-type body], or ws:/path")
    target = urllib.parse.quote(match["target"], safe="/%?&=+:@!$'()*,;~-._[]")
    if match["ws"]:
        return Route("WS", target)
    method = match["method"] or "GET"
    if method not in _METHODS_WITH_BODY:
        if match["type"]:
            raise RouteError(f"{text!r}: {method} has no body")
        return Route(method, target)
    content_type = match["type"] or "application/octet-stream"
    body = _DEFAULT_BODY if match["body"] is None else match["body"].encode()
    if match["body"] is None and content_type.startswith("multipart/form-data"):
        name = content_type.partition("name=")[2] or "file"
        return _upload(method, target, name)
    return Route(method, target, content_type.encode("latin-1"), body)


def _upload(method: str, target: str, name: str) -> Route:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    body = head.encode() + _DEFAULT_BODY + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return Route(method, target, f"multipart/form-data; boundary={_BOUNDARY}".encode(), body)


def multipart(route: Route) -> tuple[bytes, bytes] | None:
    """What stands before and behind the content of a file upload that is made here; None where the route's body is something else."""
    if not route.content_type.startswith(b"multipart/form-data") or _DEFAULT_BODY not in route.body:
        return None
    before, _, after = route.body.partition(_DEFAULT_BODY)
    return before, after


def default_routes() -> list[Route]:
    """What is called where nothing else is known."""
    return [Route("GET", "/")]


def routes_of_schema(content: bytes) -> list[Route]:
    """The routes of an OpenAPI document that can be called without knowing anything; empty where it is none."""
    try:
        document = json.loads(content)
        paths: Mapping[str, Any] = document["paths"]
        found = [route for path, operations in paths.items() for route in _operations(document, path, operations)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    read = [route for route in found if route.method == "GET"]
    written = [route for route in found if route.method != "GET"]
    return read[:_MAX_READ] + written[:_MAX_WRITTEN]


def _operations(document: Mapping[str, Any], path: str, operations: Mapping[str, Any]) -> Iterator[Route]:
    if "{" in path or not path.startswith("/"):
        return
    for method in ("get", "post", "put"):
        operation = operations.get(method)
        if operation is None:
            continue
        parameters = [_resolve(document, one) for one in (*operations.get("parameters", ()), *operation.get("parameters", ()))]
        if any(one.get("required") for one in parameters):
            continue
        if method == "get":
            yield Route("GET", path)
        else:
            route = _with_body(document, method.upper(), path, operation)
            if route is not None:
                yield route


def _with_body(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Route | None:
    body = _resolve(document, operation.get("requestBody", {}))
    content: Mapping[str, Any] = body.get("content", {})
    if not content:
        return Route(method, path, b"application/octet-stream", _DEFAULT_BODY)
    media, described = next(iter(content.items()))
    schema = _resolve(document, described.get("schema", {}))
    if media == "multipart/form-data":
        names = list(schema.get("required", ())) or list(schema.get("properties", {}))
        return _upload(method, path, names[0]) if len(names) == 1 else None
    if media == "application/json":
        example = described.get("example", _example(document, schema, _DEEP))
        return Route(method, path, b"application/json", json.dumps(example).encode())
    return Route(method, path, media.encode("latin-1"), _DEFAULT_BODY)


def _resolve(document: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_DEEP):
        reference = value.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        found: Any = document
        for part in reference[2:].split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def _example(document: Mapping[str, Any], schema: Mapping[str, Any], deep: int) -> Any:  # noqa: PLR0911 - a type, a line
    """A value that the schema allows, mostly."""
    schema = _resolve(document, schema)
    for name in ("example", "default", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if isinstance(schema.get(name), list) and schema[name]:
            return schema[name][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name) and deep:
            return _example(document, schema[name][0], deep - 1)
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: _example(document, properties[name], deep - 1) for name in schema.get("required", ()) if deep and name in properties}
        case "array":
            return [_example(document, schema.get("items", {}), deep - 1)] * int(schema.get("minItems", 0))
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "x" * max(int(schema.get("minLength", 1)), 1)
