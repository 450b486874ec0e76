"""Whether a value fits a type of `asgiref.typing`, at run time, and whether it is made of what ASGI allows.

The law of this module: exact types. A bool is no int, a bytearray is no bytes, and a TypedDict has no keys but its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["mismatch", "not_plain"]


def mismatch(value: Any, expected: Any, where: str = "value") -> str:
    """Why ``value`` does not fit ``expected``, or an empty string."""
    if is_typeddict(expected):
        return _typed_dict(value, expected, where)
    origin = get_origin(expected)
    if origin is not None:
        return _CHECKS.get(origin, _iterable)(value, get_args(expected), where)
    if expected is Any or expected is object or type(value) is expected:
        return ""
    return f"{where} is {type(value).__name__}, not {expected.__name__}"


def _first(reasons: Iterable[str]) -> str:
    return next(filter(None, reasons), "")


def _typed_dict(value: Any, expected: Any, where: str) -> str:
    if type(value) is not dict:
        return f"{where} is no dict"
    hints = get_type_hints(expected)
    missing = expected.__required_keys__ - set(value)
    surplus = set(value) - set(hints)
    if missing or surplus:
        return f"{where} has not {sorted(missing)}, and has {sorted(surplus)}"
    return _first(mismatch(value[key], hints[key], f"{where}[{key!r}]") for key in value)


def _union(value: Any, options: tuple[Any, ...], where: str) -> str:
    reasons = [mismatch(value, option, where) for option in options]
    return "" if "" in reasons else " and ".join(reasons)


def _literal(value: Any, literals: tuple[Any, ...], where: str) -> str:
    return "" if value in literals else f"{where} is {value!r}, not one of {literals}"


def _tuple(value: Any, types: tuple[Any, ...], where: str) -> str:
    # "Tuples should be encoded as lists": either is an iterable of so many items.
    if not isinstance(value, tuple | list) or len(value) != len(types):
        return f"{where} has not {len(types)} items: {value!r}"
    return _first(mismatch(item, item_type, f"{where}[{index}]") for index, (item, item_type) in enumerate(zip(value, types, strict=True)))


def _dict(value: Any, types: tuple[Any, ...], where: str) -> str:
    if type(value) is not dict:
        return f"{where} is no dict"
    key_type, value_type = types
    return _first(mismatch(key, key_type, f"a key of {where}") or mismatch(item, value_type, f"{where}[{key!r}]") for key, item in value.items())


def _iterable(value: Any, types: tuple[Any, ...], where: str) -> str:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return f"{where} is {type(value).__name__}, not an iterable of others"
    (item_type,) = types
    return _first(mismatch(item, item_type, f"an item of {where}") for item in value)


_CHECKS: dict[Any, Callable[[Any, tuple[Any, ...], str], str]] = {Union: _union, UnionType: _union, Literal: _literal, tuple: _tuple, dict: _dict}


def not_plain(value: Any, where: str = "value") -> str:
    """Why ``value`` is not made of what a scope or message may hold (asgi.rst, Strings and Unicode), or an empty string. Tuples pass as lists."""
    if value is None or type(value) in {bytes, str, bool}:
        return ""
    if type(value) is int:
        return "" if -(2**63) <= value < 2**63 else f"{where} is too large an int"
    if type(value) is float:
        return "" if math.isfinite(value) else f"{where} is not finite"
    if type(value) in {list, tuple}:
        return _first(not_plain(item, f"{where}[{index}]") for index, item in enumerate(value))
    if type(value) is dict:
        keys = (f"a key of {where} is {key!r}" for key in value if type(key) is not str)
        return _first(keys) or _first(not_plain(value[key], f"{where}[{key!r}]") for key in value)
    return f"{where} is {type(value).__name__}"
