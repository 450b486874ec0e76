"""What holds for every message, and for every list of headers.

The law of this module: a message is looked at and never changed. Where reading it uses it up (an iterator), what was read is given back in a new one.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asgi_conformance.violations import Level

__all__ = ["Fields", "Report", "check_fields", "check_message", "extensions_of", "shown", "valid_media_type", "values_of"]

Fields = list[tuple[bytes, bytes]]

# RFC 9110 §5.6.2; written here and not taken from the server: a rule must not pass what a bug of the server lets through.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_is_token: Final = re.compile(_TOKEN).fullmatch
# RFC 9110 §8.3.1 and §5.6.6:  media-type = type "/" subtype parameters;  parameters = *( OWS ";" OWS [ parameter ] )
valid_media_type = re.compile(
    _TOKEN
    + rb"/"
    + _TOKEN
    + rb"(?:[ \t]*+;[ \t]*+(?:"
    + _TOKEN
    + rb"=(?:"
    + _TOKEN
    + rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"))?)*+'
).fullmatch
_other_control: Final = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]").search

_INT64: Final = 2**63
_DEEPEST: Final = 100
_LONGEST: Final = 120  # characters of the application's in a line of ours
# What a rule of its own looks at, or its text leaves open: headers and links are iterables of any kind, file is an object, info is free.
_JUDGED_ELSEWHERE: Final = frozenset({"type", "headers", "body", "bytes", "text", "status", "links", "file", "info"})


class Report(Protocol):
    """Says that a rule is broken. It may raise: then what is checked is not sent."""

    def __call__(self, rule: str, seen: str, level: Level | None = None) -> None:
        """``level``, where it is weaker than the rule's."""


def shown(value: object) -> str:
    """A value in a line of ours: cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def extensions_of(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The extensions that a scope has."""
    found = scope.get("extensions")
    return found if isinstance(found, dict) else {}


def check_message(message: Any, report: Report) -> str | None:
    """Check what every message must be; the type, or None where it has none."""
    if not isinstance(message, dict):
        report("app.lint.message-is-dict", f"sent {_kind(message)}, {shown(message)}")
        return None
    for key in message:
        if not isinstance(key, str):
            report("app.lint.message-is-dict", f"sent a message with the key {shown(key)}")
    kind = message.get("type")
    if not isinstance(kind, str):
        report("app.lint.message-is-dict", f"sent a message with the type {shown(kind)}" if "type" in message else f"sent no type: {shown(message)}")
        return None
    for key, value in message.items():
        if key not in _JUDGED_ELSEWHERE:
            _check_value(value, f"{kind}: {key}", report, 0)
    return kind


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"an {name}" if name[:1].lower() in set("aeiou") else f"a {name}"


def _check_value(value: Any, where: str, report: Report, depth: int) -> None:
    rule = "app.lint.types-serialisable"
    match value:
        case None | bool() | str() | bytes():
            pass
        case int():
            if not -_INT64 <= value < _INT64:
                report(rule, f"{where} is an int of more than 64 bits")
        case float():
            if not math.isfinite(value):
                report(rule, f"{where} is {value}")
        case _ if depth >= _DEEPEST:
            report(rule, f"{where} is nested deeper than {_DEEPEST} levels")
        case dict():
            for key, inner in value.items():
                if not isinstance(key, str):
                    report(rule, f"{where} has the key {shown(key)}")
                _check_value(inner, f"{where}[{shown(key)}]", report, depth + 1)
        case list() | tuple():
            if isinstance(value, tuple):
                report(rule, f"{where} is a tuple", "SHOULD")
            for index, inner in enumerate(value):
                _check_value(inner, f"{where}[{index}]", report, depth + 1)
        case bytearray() | memoryview():
            report(rule, f"{where} is {_kind(value)}", "SHOULD")
        case _:
            report(rule, f"{where} is {_kind(value)}")


def check_fields(message: dict[str, Any], report: Report) -> tuple[dict[str, Any], Fields]:
    """Check the headers of a message, and give the message to send and those that are well formed, names in lower case.

    The message is the same object unless its headers are an iterator, or hold some: that is read once, and a list takes its place.
    """
    kind = message["type"]
    headers = message.get("headers", ())
    if isinstance(headers, str | bytes | bytearray | dict) or not _is_iterable(headers):
        report("app.lint.header-shape", f"{kind}: headers are {_kind(headers)}, {shown(headers)}")
        return message, []
    pairs = list(headers)
    read = not isinstance(headers, list | tuple)
    for index, pair in enumerate(pairs):
        if not isinstance(pair, str | bytes | bytearray | list | tuple) and _is_iterable(pair):
            pairs[index], read = tuple(pair), True
    fields: Fields = []
    for pair in pairs:
        field = _well_formed(pair)
        if field is None:
            report("app.lint.header-shape", f"{kind}: a header is {shown(pair)}")
            continue
        _check_name(field[0], kind, report)
        _check_value_of(field, kind, report)
        fields.append((field[0].lower(), field[1]))
    return ({**message, "headers": pairs} if read else message), fields


def _is_iterable(value: Any) -> bool:
    return hasattr(value, "__iter__")


def _well_formed(pair: Any) -> tuple[bytes, bytes] | None:
    if not isinstance(pair, list | tuple) or len(pair) != 2:  # noqa: PLR2004 - a name and a value
        return None
    name, value = pair
    return (name, value) if isinstance(name, bytes) and isinstance(value, bytes) else None


def _check_name(name: bytes, kind: str, report: Report) -> None:
    if name.startswith(b":"):
        report("app.lint.header-no-pseudo", f"{kind}: header {shown(name)}")
        return
    if _is_token(name) is None:
        report("app.lint.header-name-token", f"{kind}: header {shown(name)}")
    if name != name.lower():
        report("app.lint.header-lowercase", f"{kind}: header {shown(name)}")


def _check_value_of(field: tuple[bytes, bytes], kind: str, report: Report) -> None:
    rule = "app.lint.header-value-ctl"
    name, value = field
    seen = f"{kind}: {shown(name)} has the value {shown(value)}"
    if any(byte in value for byte in (b"\r", b"\n", b"\0")):
        report(rule, seen)
    elif value != value.strip(b" \t"):
        report(rule, f"{seen}, with whitespace around it")
    elif _other_control(value) is not None:
        report(rule, f"{seen}, with a control character", "SHOULD")


def values_of(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The values of a field."""
    return [value for each, value in fields if each == name]
