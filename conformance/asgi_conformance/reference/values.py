"""Values as JSON, so that their types survive: what a script says and what a record shows.

The law of this module: what comes back from `decode` has the type that went into `encode`, or is a `Summary` or a `Foreign` that says what it was.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

__all__ = ["Foreign", "Summary", "class_name", "decode", "dumps_query", "dumps_script", "encode", "pattern"]

_MAX_BYTES: Final = 4096
_EDGE: Final = 64
_PATTERN: Final = bytes(range(251))


def pattern(size: int, offset: int = 0) -> bytes:
    """The content of the files of ``{"file": ...}`` and ``{"path": ...}``: 0 to 250, over and over."""
    start = offset % len(_PATTERN)
    return (_PATTERN * (size // len(_PATTERN) + 2))[start : start + size]


class Summary:
    """Bytes that were too long to be kept whole: their ``size``, ``sha256`` (hex), ``start`` and ``end`` (64 bytes each)."""

    def __init__(self, size: int, sha256: str, start: bytes, end: bytes) -> None:
        self.size, self.sha256, self.start, self.end = size, sha256, start, end

    def __eq__(self, other: object) -> bool:
        """Equal to the bytes that it is of, and to another one of the same."""
        if isinstance(other, (bytes, bytearray)):
            return self.size == len(other) and self.sha256 == hashlib.sha256(other).hexdigest()
        return isinstance(other, Summary) and (self.size, self.sha256) == (other.size, other.sha256)

    __hash__ = None  # type: ignore[assignment]  # equal to bytes, whose hash it does not know

    def __repr__(self) -> str:
        return f"<{self.size} bytes, {self.start[:20]!r}...>"


class Foreign:
    """A value of another type than the plain ones.

    ``kind`` is its class ("module.Class"), ``text`` its repr, ``value`` what plain value it is a kind of, or None.
    """

    def __init__(self, kind: str, text: str, value: Any) -> None:
        self.kind, self.text, self.value = kind, text, value

    def __repr__(self) -> str:
        return f"<{self.kind}: {self.text}>"


def encode(value: Any) -> Any:  # noqa: PLR0911 - one return a type
    """A value as JSON, exactly typed: str, int, float, bool, None, list and dict as themselves, everything else as an object with one marker.

    ``{"latin1": text}`` and ``{"b64": text}`` are bytes, ``{"bytes": ...}`` is a `Summary` of long ones; then ``{"tuple": [...]}``,
    ``{"bytearray": bytes}``, ``{"memoryview": bytes}``. ``{"dict": [[key, value], ...]}`` is a dict that has other keys than text or looks like a
    marker. ``{"object": ...}`` is anything else, subclasses of the above too. `decode` is the way back.
    """
    kind = type(value)
    if value is None or kind in {str, int, float, bool}:
        return value
    if kind is bytes:
        return _encode_bytes(value)
    if kind is list:
        return [encode(item) for item in value]
    if kind is tuple:
        return {"tuple": [encode(item) for item in value]}
    if kind is dict:
        if all(type(key) is str for key in value) and not (len(value) == 1 and next(iter(value)) in _MARKERS):
            return {key: encode(item) for key, item in value.items()}
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if kind in {bytearray, memoryview}:
        return {kind.__name__: _encode_bytes(bytes(value))}
    return {"object": {"class": class_name(kind), "repr": repr(value)[:200], "value": encode(_plain(value))}}


def _plain(value: Any) -> Any:
    """What ``value`` is a subclass of, as that; a mapping as a dict; an iterable that can be read again as a list; else None."""
    kinds: tuple[Callable[[Any], Any], ...] = (str, bytes, int, float, list, tuple, dict)
    for kind in kinds:
        if isinstance(value, kind):  # type: ignore[arg-type]  # they are types, and mypy does not know what one makes of Any
            return kind(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Iterable) and not isinstance(value, Iterator) else None


def _encode_bytes(value: bytes) -> Any:
    if len(value) <= _MAX_BYTES:
        return {"latin1": value.decode("latin-1")}
    edges = {"start": value[:_EDGE].decode("latin-1"), "end": value[-_EDGE:].decode("latin-1")}
    return {"bytes": {"size": len(value), "sha256": hashlib.sha256(value).hexdigest(), **edges}}


def decode(value: Any) -> Any:
    """The value that `encode` made JSON of, or that a script says.

    In scripts also: ``{"fill": "x", "size": n}`` (bytes of one kind), ``{"text-fill": "x", "size": n}``, ``{"generator": [...]}``, ``{"path": size}``
    (the path of a file with the `pattern`; below 0, of none), ``{"file": size}`` (that file, opened), ``{"new": "Name"}`` (an object of a new class).
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() <= {"fill", "text-fill", "size"} and len(value) > 1:
        return value["fill"].encode("latin-1") * value["size"] if "fill" in value else value["text-fill"] * value["size"]
    if len(value) == 1:
        ((marker, inner),) = value.items()
        if marker in _MARKERS:
            return _MARKERS[marker](inner)
    return {key: decode(item) for key, item in value.items()}


def _decode_summary(inner: dict[str, Any]) -> Summary:
    return Summary(inner["size"], inner["sha256"], inner["start"].encode("latin-1"), inner["end"].encode("latin-1"))


_MARKERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "latin1": lambda inner: inner.encode("latin-1"),
    "b64": base64.b64decode,
    "bytes": _decode_summary,
    "tuple": lambda inner: tuple(map(decode, inner)),
    "dict": lambda inner: {decode(key): decode(item) for key, item in inner},
    "bytearray": lambda inner: bytearray(decode(inner)),
    "memoryview": lambda inner: memoryview(decode(inner)),
    "object": lambda inner: Foreign(inner["class"], inner["repr"], decode(inner["value"])),
    "generator": lambda inner: (decode(item) for item in inner),
    "path": lambda inner: str(_file(inner)),
    "file": lambda inner: _file(inner).open("rb"),
    "new": lambda inner: type(inner, (), {})(),
}


def dumps_script(script: Sequence[Any]) -> str:
    """``script`` as the value of the field ``x-script``. It may have bytes, tuples and so on, or the markers that say them."""
    return json.dumps(_markers(script), separators=(",", ":"))


def dumps_query(script: Sequence[Any]) -> str:
    """``script`` as ``script=...`` for the query."""
    return f"script={quote(dumps_script(script), safe='')}"


def _markers(value: Any) -> Any:
    """As `encode`, but a dict that looks like a marker is one, and no bytes are cut."""
    if isinstance(value, dict):
        return {key: _markers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_markers(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_markers(item) for item in value]}
    if isinstance(value, bytes):
        return {"latin1": value.decode("latin-1")}
    return encode(value)


def class_name(kind: type) -> str:
    """``module.Class``, or the bare name of a built-in one."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_folder: list[Path] = []


def _file(size: int) -> Path:
    """A file of ``size`` bytes of the `pattern`; below 0: a path where none is."""
    if not _folder:
        # Beside the journal, which the suite takes away: a worker that is killed, or leaves by os._exit(), does nothing at its exit.
        journal = os.environ.get("ASGI_CONFORMANCE_JOURNAL")
        _folder.append(Path(tempfile.mkdtemp(prefix="asgi-conformance-", dir=Path(journal).parent if journal else None)))
        atexit.register(shutil.rmtree, _folder[0], ignore_errors=True)
    path = _folder[0] / f"{size}.bin"
    if size >= 0 and not path.exists():
        path.write_bytes(pattern(size))
    return path
