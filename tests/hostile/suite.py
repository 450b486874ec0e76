"""The conformance suite's HTTP/1 requests as entries: what is a plain sequence of bytes there is sent here in pieces, and looked at harder.

The law of this module: the bytes, the clauses and the outcomes are the suite's own, by its public names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgi_conformance.case import HALF_CLOSE, Case, Fate, Verdict
from asgi_conformance.suite import TOPICS
from tests.hostile.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.case import Observation, Outcome

__all__ = ["SUITE", "Judged"]

_KINDS: Final = {
    "http1/line": "line",
    "http1/target": "line",
    "http1/fields": "field",
    "http1/host": "host",
    "http1/content-length": "content-length",
    "http1/transfer-encoding": "transfer-encoding",
    "http1/chunked": "chunk",
    "http1/trailers": "trailer",
    "http1/upgrade": "upgrade",
    "http1/connection": "pipelining",
    "http1/message": "message",
    "http1/expect": "expect",
}

_SUCCESS: Final = range(200, 300)

_word = re.compile(r"[a-z0-9]+")


def serves(outcome: Outcome) -> bool:
    """Whether ``outcome`` is that the application is told the whole request, or the request is answered with success."""
    example = outcome.example
    return any(call.complete for call in example.calls) or (example.wire.startswith(b"HTTP/1.1 2") and not example.calls)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a case allows; nothing that it only warns of."""

    case: Case

    @property
    def complete(self) -> int:
        """As many as there are, where the case lets them be served; else none."""
        return 1 if any(serves(outcome) for outcome in (*self.case.allow, *self.case.warn)) else 0

    def faults(self, seen: Observation) -> Iterator[str]:
        """What was otherwise."""
        judgement = self.case.judge(seen)
        if judgement.verdict not in (Verdict.PASS, Verdict.INFO):
            yield judgement.reason
        # A refusal lingers for what is still sent. Who asks for the end, and sends on in pieces, may meet a closed socket.
        if seen.fate is Fate.SILENT or (seen.fate is Fate.RESET and seen.status not in _SUCCESS):
            yield f"the connection is {seen.fate}"


def _entries() -> Iterator[Entry]:
    for topic in TOPICS:
        kind = _KINDS.get(topic.name)
        for case in topic if kind else ():
            if not isinstance(case, Case) or case.needs:
                continue
            for number, stimulus in enumerate(case.stimuli):
                # One that waits for the server is played as it is, by the suite.
                if all(isinstance(part, bytes) or part is HALF_CLOSE for part in stimulus.parts):
                    words = "-".join(_word.findall(stimulus.label.lower())[:8])
                    assert kind is not None
                    yield Entry(f"{case.id}.{number}-{words}", kind, case.clauses, case.level, stimulus, Judged(case))


SUITE: Final = tuple(_entries())
