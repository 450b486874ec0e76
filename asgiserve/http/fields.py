"""Field names, field values and lists (RFC 9110 §5).

The law of this module: bytes in, bytes out. A name is compared in lower case; a value is never decoded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from asgiserve.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "FRAMING_FIELDS",
    "REPEATED_FIELDS",
    "REPEATED_LINES",
    "TOKEN",
    "Field",
    "check_response_field",
    "check_response_fields",
    "encode_field_lines",
    "list_elements",
    "not_pairs",
    "parse_field_lines",
    "valid_token",
    "valid_value",
]

Field = tuple[bytes, bytes]

# RFC 9110 §5.6.2
#   token = 1*tchar
#   tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# RFC 9110 §5.5
#   field-value   = *field-content
#   field-content = field-vchar [ 1*( SP / HTAB / field-vchar ) field-vchar ]
#   field-vchar   = VCHAR / obs-text
# NUL, CR and LF "are invalid and dangerous"; the other controls are refused as well: nothing needs them, and a log or a cache downstream
# may take one for a line end.
VALUE = rb"[^\x00-\x08\x0a-\x1f\x7f]*"

valid_token = re.compile(TOKEN).fullmatch
valid_value = re.compile(VALUE).fullmatch

# RFC 9112 §5:  field-line = field-name ":" OWS field-value OWS
# No obs-fold (RFC 9112 §5.2: a server MUST reject it or replace it), no whitespace before the colon (§5.1: MUST reject).
# The whitespace is possessive: a value may begin with it too, and giving it back byte by byte costs quadratic time.
_field_line = re.compile(rb"(" + TOKEN + rb"):[ \t]*+(" + VALUE + rb")\r\n")


def parse_field_lines(block: bytes) -> list[Field]:
    """The field lines of ``block``, names in lower case, values without the whitespace around them.

    Each line must end with CRLF; ``block`` does not hold the empty line after them. Used for trailers and to check what h11 lets through.

    Raises:
        RemoteProtocolError: 400, at the first line that is no ``field-line``.
    """
    fields: list[Field] = []
    position = 0
    end = len(block)
    while position < end:
        match = _field_line.match(block, position)
        if match is None:
            raise RemoteProtocolError("a field line is malformed", clause="RFC 9112 §5")
        fields.append((match[1].lower(), match[2].rstrip(b" \t")))
        position = match.end()
    return fields


def list_elements(value: bytes) -> list[bytes]:
    """The elements of a comma-separated list, in lower case, without the empty ones (RFC 9110 §5.6.1.2)."""
    return [element for element in (part.strip(b" \t") for part in value.lower().split(b",")) if element]


# What a server says of a message itself: how it is framed, and what becomes of the connection.
FRAMING_FIELDS = frozenset({b"connection", b"content-length", b"keep-alive", b"transfer-encoding"})

# Names that passed the check, so that each costs one look-up from then on. Bounded: an application that makes up names cannot grow it.
_known_names: dict[bytes, bytes] = {}
_MAX_KNOWN_NAMES = 2048


def _lower_name(name: bytes) -> bytes:
    if type(name) is not bytes:
        raise LocalProtocolError(f"a field name must be bytes, not {type(name).__name__}: {name!r}")
    if valid_token(name) is None:
        raise LocalProtocolError(f"invalid field name {name!r} (RFC 9110 §5.1)")
    lower = name.lower()
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names[name] = lower
    return lower


# Fields that an application sends with every response, or nearly, and always with the same few values: no secrets, no numbers.
_REPEATED = frozenset(
    b"accept-ranges access-control-allow-credentials access-control-allow-headers access-control-allow-methods access-control-allow-origin "
    b"access-control-expose-headers access-control-max-age allow alt-svc cache-control content-encoding content-language content-security-policy "
    b"content-type cross-origin-embedder-policy cross-origin-opener-policy cross-origin-resource-policy expires permissions-policy pragma "
    b"referrer-policy strict-transport-security vary via www-authenticate x-content-type-options x-frame-options x-powered-by "
    b"x-xss-protection".split()
)
_MAX_REPEATED_BYTES = 512
_MAX_REPEATED_COUNT = 1024

REPEATED_FIELDS: dict[Any, Field] = {}
"""Fields of responses that passed the check before, as the application gave them: a look-up costs a fifth of the check. Bounded, and emptied when it
is full; a field that is not found in it goes to `check_response_field`."""

REPEATED_LINES: dict[Field, bytes] = {}
"""The field lines of those, checked; a field that is not found in it goes to `encode_field_lines`."""


def check_response_field(field: Iterable[bytes]) -> Field:
    """One field of an application's message, checked, its name in lower case.

    Raises:
        LocalProtocolError: as `check_response_fields`.
        TypeError, ValueError: ``field`` is no pair.
    """
    name, value = field
    try:
        lower = _known_names[name]
    except (KeyError, TypeError):
        lower = _lower_name(name)
    if type(value) is not bytes:
        raise LocalProtocolError(f"the value of field {name!r} must be bytes, not {type(value).__name__}: {value!r}")
    # Printable text, which most values are, is settled in 0.08 us; the regular expression takes 0.3.
    if not value.decode("latin-1").isprintable() and valid_value(value) is None:
        # CVE-2020-7695 and its kin: a CR LF in a value splits the response.
        raise LocalProtocolError(f"the value of field {name!r} holds a control character: {value!r} (RFC 9110 §5.5)")
    checked = (lower, value)
    if lower in _REPEATED and len(value) <= _MAX_REPEATED_BYTES and type(field) is tuple and field not in REPEATED_FIELDS:
        if len(REPEATED_FIELDS) >= _MAX_REPEATED_COUNT:
            REPEATED_FIELDS.clear()
            REPEATED_LINES.clear()
        REPEATED_FIELDS[field] = checked
        REPEATED_LINES[checked] = lower + b": " + value + b"\r\n"
    return checked


def check_response_fields(fields: Iterable[Iterable[bytes]]) -> list[Field]:
    """The fields of an application's message, checked, names in lower case, in their order (RFC 9110 §5.3).

    Lower case is what ASGI asks applications for and what HTTP/2 demands; it is applied here so that the rest compares bytes.

    Raises:
        LocalProtocolError: for a name that is no token, a value with CR, LF, NUL or another control, or a wrong type.
    """
    try:
        return [check_response_field(field) for field in fields]
    except (TypeError, ValueError) as exc:
        raise not_pairs(exc) from None


def not_pairs(error: TypeError | ValueError) -> LocalProtocolError:
    """What to raise where reading an application's fields raised ``error``."""
    return LocalProtocolError(f"fields must be an iterable of (name, value) pairs of bytes: {error}")


def encode_field_lines(start: bytes, fields: Iterable[Field]) -> list[bytes]:
    """``start``, and the field line of each of ``fields``, which were checked (RFC 9112 §5)."""
    lines = [start]
    for field in fields:
        line = REPEATED_LINES.get(field)
        if line is None:
            line = b"%b: %b\r\n" % field
        lines.append(line)
    return lines
