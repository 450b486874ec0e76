"""The corpus: every entry, ours and the conformance suite's, and how one is played."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import Fate
from asgi_conformance.drive import observe
from tests.hostile.chunks import CHUNK, TRAILER
from tests.hostile.connections import PIPELINING, UPGRADE
from tests.hostile.entry import Level, Refused, Served
from tests.hostile.framing import BOTH, CONTENT_LENGTH, TRANSFER_ENCODING
from tests.hostile.heads import FIELD, HOST, LINE
from tests.hostile.suite import SUITE, Judged

if TYPE_CHECKING:
    from asgi_conformance.case import Observation
    from asgi_conformance.drive import Peer, Trace
    from tests.hostile.entry import Entry

__all__ = ["CORPUS", "OWN", "SUITE", "cut", "must_refuse", "play"]

OWN: Final = tuple(
    entry for table in (CONTENT_LENGTH, TRANSFER_ENCODING, BOTH, CHUNK, TRAILER, FIELD, HOST, LINE, UPGRADE, PIPELINING) for entry in table
)
CORPUS: Final = (*OWN, *SUITE)

_BYTEWISE: Final = 400
"""Longer ones are cut in four."""


def must_refuse(entry: Entry) -> bool:
    """Whether the clause leaves a server nothing but to refuse it."""
    if entry.level is not Level.MUST:
        return False
    if isinstance(entry.demand, Judged):
        return entry.demand.complete == 0 and len(entry.stimulus.methods) == 1
    return isinstance(entry.demand, Refused) and not entry.lawful


def cut(data: bytes) -> list[bytes]:
    """``data`` byte by byte, or in four where it is long."""
    size = 1 if len(data) <= _BYTEWISE else -(-len(data) // 4)
    return [data[at : at + size] for at in range(0, len(data), size)]


def play(peer: Peer, entry: Entry, *, cuts: bool = False, patience: float = 5.0) -> tuple[Observation, Trace]:
    """Send ``entry`` on a fresh connection, in one write or in pieces, and watch both sides."""
    stimulus = entry.stimulus
    if cuts:
        stimulus = replace(stimulus, parts=tuple(piece for part in stimulus.parts for piece in (cut(part) if isinstance(part, bytes) else [part])))
    seen, trace = observe(peer, stimulus, patience=patience)
    if cuts and seen.fate is Fate.RESET and isinstance(entry.demand, Served) and entry.demand.closes:
        # It asked for the end, and sent on: a piece that comes when the socket is closed is answered with a RST. The response came before it.
        seen = replace(seen, fate=Fate.CLOSED)
    return seen, trace
