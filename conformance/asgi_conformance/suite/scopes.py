"""Scopes as the cases about them look at them: what a request told the application, and whether a value has the type that it must have.

The law of this module: only what both topics about scopes use; nothing here gives a verdict but `told`, which needs an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion
from asgi_conformance.suite.dialogue import plain, scoped

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage

__all__ = ["UNSCRIPTED", "changing", "is_bytes", "is_headers", "is_int", "is_pair_of", "is_str", "listed", "or_none", "scope_of", "told"]

UNSCRIPTED: Final = 200
"""What the reference application answers without a script."""


def told(stage: Stage, *lines: str, path: str = "/", version: str = "1.1") -> Record:
    """What the application was told of one GET, which is answered with 200."""
    stage.mark()
    response = stage.request(*lines, path=path, version=version)
    stage.check(response.status == UNSCRIPTED, f"{path} was answered with {response.status}")
    return stage.record()


def scope_of(record: Record) -> dict[str, Any]:
    """The scope as the dict that it is, or is a kind of."""
    scope = plain(record.scope)
    return scope if isinstance(scope, dict) else {}


def changing(**changes: Any) -> Distortion:
    """A server that says something else of HTTP requests."""
    return Distortion(app=scoped(lambda scope: {**scope, **changes} if scope["type"] == "http" else scope))


def listed(value: Any) -> Any:
    """Iterables of any class as lists, as only what they yield is said; strings as they are."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    if getattr(value, "value", None) is not None and isinstance(value.value, list | tuple | dict):
        return listed(value.value)
    return value


def is_str(value: Any) -> bool:
    """Of exactly that type."""
    return type(value) is str


def is_bytes(value: Any) -> bool:
    """Of exactly that type."""
    return type(value) is bytes


def is_int(value: Any) -> bool:
    """Of exactly that type: no bool."""
    return type(value) is int


def or_none(is_kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """That, or None."""
    return lambda value: value is None or is_kind(value)


def is_pair_of(value: Any, *kinds: Callable[[Any], bool]) -> bool:
    """A list of so many items, each of its kind."""
    return isinstance(value, list) and len(value) == len(kinds) and all(is_kind(item) for is_kind, item in zip(kinds, value, strict=True))


def is_headers(value: Any) -> bool:
    """Pairs of bytes."""
    return isinstance(value, list) and all(is_pair_of(item, is_bytes, is_bytes) for item in value)
