"""What becomes of the requests that a server must refuse, for asgiserve and other servers.

    pip install -e . --group bench
    PYTHONPATH=.:conformance python -m bench.hostile [--servers asgiserve,uvicorn,granian] [--show] [--write]

The entries are those of tests/hostile for which RFC 9110, RFC 9112, RFC 3986 or RFC 6455 leaves a server nothing but to refuse the request: the word
is MUST, and no other outcome is lawful. Each is sent whole over one connection to the server with the conformance suite's reference application, and
a plain request stands behind it. ``--show`` lists the entries that a server does not refuse; ``--write`` puts the table into bench/results/.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from asgi_conformance.case import Fate
from asgi_conformance.peer import TargetPeer
from asgi_conformance.targets import find_target, unavailable_reason, version_of
from tests.hostile.corpus import CORPUS, must_refuse, play
from tests.hostile.entry import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.case import Observation
    from tests.hostile.entry import Entry

RESULT = Path(__file__).resolve().parent / "results" / "hostile.md"
SERVERS = ("asgiserve[httptools]", "asgiserve[h11]", "uvicorn[httptools]", "uvicorn[h11]", "granian", "hypercorn", "daphne", "gunicorn")
PATIENCE = 2.0
"""Seconds of silence after which an answer is not waited for any more."""

HEAD = """# Requests that must be refused

{count} requests of tests/hostile for which the clause leaves a server nothing but to refuse them (or to close the connection, where they break off),
each sent whole with a plain request behind it.

- *served*: the application was told the whole request, or a WebSocket was opened;
- *refused*: answered with 4xx, 501 or 505, and the connection closed;
- *refused, and read on*: the plain request behind it was answered as well, or the connection stayed open;
- *cut off*: the application heard of a disconnect inside of the body, and what it answered was sent;
- *5xx*: answered with 500, 502, 503 or 504;
- *no answer*: nothing within {seconds:g} s.

"""
FOOT = """

`PYTHONPATH=.:conformance python -m bench.hostile --write`, {day}, {python}, {system}.
"""

SERVED, REFUSED, OPEN, CUT, DROPPED, CRASHED, SILENT = OUTCOMES = (
    "served",
    "refused",
    "refused, and read on",
    "cut off",
    "closed without an answer",
    "5xx",
    "no answer",
)
_SERVER_ERRORS = {500, 502, 503, 504}


def outcome(entry: Entry, seen: Observation) -> str:
    """What a server did with ``entry``, of which nothing but its `complete` requests may be served."""
    follow_up = seen.followed is not None
    whole = sum(call.complete and call.scope.get("path") != "/follow-up" for call in seen.calls)
    final = seen.responses[-1].status if seen.responses else 0
    good = sum(response.status < 400 for response in seen.responses)  # noqa: PLR2004 - the first status of an error
    if whole > entry.demand.complete:
        return SERVED
    if good > entry.demand.complete:
        # A WebSocket, or the answer of an application that heard of a disconnect inside of the body.
        return CUT if final != 101 and any(not call.complete for call in seen.calls) else SERVED  # noqa: PLR2004 - Switching Protocols
    if final in _SERVER_ERRORS:
        return CRASHED
    if len(seen.responses) <= entry.demand.complete:
        return SILENT if seen.fate is Fate.SILENT else DROPPED
    return OPEN if follow_up or seen.fate is Fate.OPEN else REFUSED


def measure(server: str, entries: Sequence[Entry], *, show: bool) -> tuple[Counter[str], Counter[str]]:
    """How often each outcome came, and how many of each class were served."""
    outcomes: Counter[str] = Counter()
    served: Counter[str] = Counter()
    peer = TargetPeer(server)
    try:
        for entry in entries:
            peer.start()
            seen, trace = play(peer, entry, patience=PATIENCE)
            found = outcome(entry, seen)
            outcomes[found] += 1
            served[entry.kind] += found == SERVED
            if show and found != REFUSED:
                print(f"  {server}: {found}: {entry.id} ({', '.join(entry.clauses)})")
                if found == SERVED:
                    print("    " + str(trace).replace("\n", "\n    ")[:600])
    finally:
        peer.close()
    return outcomes, served


def table(entries: Sequence[Entry], found: dict[str, tuple[Counter[str], Counter[str]]]) -> str:
    """The result, as Markdown."""
    kinds = [kind for kind in KINDS if any(entry.kind == kind for entry in entries)]
    numbers = Counter(entry.kind for entry in entries)
    lines = [
        f"| server | {' | '.join(OUTCOMES)} |",
        f"|---|{'---:|' * len(OUTCOMES)}",
        *(f"| {name} | {' | '.join(f'{outcomes[each]}' for each in OUTCOMES)} |" for name, (outcomes, _) in found.items()),
        "",
        f"Served, of {len(entries)}, by class:",
        "",
        f"| server | {' | '.join(f'{kind} ({numbers[kind]})' for kind in kinds)} |",
        f"|---|{'---:|' * len(kinds)}",
        *(f"| {name} | {' | '.join(f'{served[kind]}' for kind in kinds)} |" for name, (_, served) in found.items()),
    ]
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="What becomes of the requests that a server must refuse.")
    parser.add_argument("--servers", default=",".join(SERVERS), help="targets of the conformance suite, with commas between")
    parser.add_argument("--show", action="store_true", help="list what is not refused")
    parser.add_argument("--write", action="store_true", help="write bench/results/hostile.md")
    options = parser.parse_args()
    entries = [entry for entry in CORPUS if must_refuse(entry)]
    found: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for server in options.servers.split(","):
        target = find_target(server)
        reason = unavailable_reason(target)
        if reason is not None:
            print(f"{server}: {reason}", file=sys.stderr)
            continue
        found[f"{server} {version_of(target)}"] = measure(server, entries, show=options.show)
    text = table(entries, found)
    print(text)
    if options.write:
        RESULT.parent.mkdir(exist_ok=True)
        text = (
            HEAD.format(count=len(entries), seconds=PATIENCE)
            + text
            + FOOT.format(
                day=f"{datetime.now(UTC):%Y-%m-%d}",
                python=f"{platform.python_implementation()} {platform.python_version()}",
                system=platform.system(),
            )
        )
        RESULT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
