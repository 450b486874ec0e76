"""Every entry of the corpus, on real sockets, with both parsers: no answer, no call and no end of a connection but the right ones."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.case import Call, Fate, Level, Observation, Stimulus
from asgi_conformance.clauses import known_clause
from pytest_asgiserve.raw import RawConnection, RawResponse
from tests.hostile.corpus import CORPUS, OWN, SUITE, cut, must_refuse, play
from tests.hostile.entry import HALF_CLOSE, KINDS, Entry, Refused, Served, Told, Unfinished, faults
from tests.hostile.server import Recorder, ServingPeer
from tests.support.serving import STACKS, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.drive import Trace

# A loop changes how bytes come, not what they mean: each parser has every entry, whole and cut, on one of them. On the other one it has ours whole.
ONE_LOOP = [param for param in STACKS if tuple(param.values) in {("httptools", "uvloop"), ("h11", "asyncio")}]
OTHER_LOOP = [param for param in STACKS if param not in ONE_LOOP]
OWN_KINDS = KINDS[:10]
BY_CASE: dict[str, list[Entry]] = {}
for _entry in SUITE:
    BY_CASE.setdefault(_entry.id.rpartition(".")[0], []).append(_entry)


@contextlib.contextmanager
def serving_peer(parser: str, loop: str) -> Iterator[ServingPeer]:
    recorder = Recorder()
    with serving(recorder, parser=parser, loop=loop, access_log=False) as server:
        peer = ServingPeer(server, recorder)
        yield peer
        # What was sent has left nothing behind: neither an application that runs, nor a server that does not answer.
        before = peer.mark()
        with RawConnection(peer.address, timeout=5) as connection:
            assert [connection.exchange("/well").status for _ in range(3)] == [200] * 3
        assert [call.scope["path"] for call in peer.calls(before)] == ["/well"] * 3


@pytest.fixture(scope="module", params=[pytest.param(tuple(param.values), id=param.id, marks=param.marks) for param in ONE_LOOP])
def peer(request: pytest.FixtureRequest) -> Iterator[ServingPeer]:
    with serving_peer(*request.param) as running:
        yield running


@pytest.fixture(scope="module", params=[pytest.param(tuple(param.values), id=param.id, marks=param.marks) for param in OTHER_LOOP])
def other_peer(request: pytest.FixtureRequest) -> Iterator[ServingPeer]:
    with serving_peer(*request.param) as running:
        yield running


def told(entry: Entry, found: list[str], trace: Trace) -> str:
    return f"{entry.id} ({', '.join(entry.clauses)}): {'; '.join(found)}\n{trace}"


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.id)
def test_what_must_become_of_a_hostile_request_does(entry: Entry, peer: ServingPeer) -> None:
    for cuts in (False, True):
        seen, trace = play(peer, entry, cuts=cuts)
        found = faults(entry, seen)
        assert not found, told(entry, found, trace)


@pytest.mark.parametrize("entries", BY_CASE.values(), ids=BY_CASE)
def test_what_the_conformance_suite_demands_holds_for_requests_in_pieces(entries: list[Entry], peer: ServingPeer) -> None:
    # Whole, the suite plays them itself.
    for entry in entries:
        seen, trace = play(peer, entry, cuts=True)
        found = faults(entry, seen)
        assert not found, told(entry, found, trace)


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_the_other_loop_makes_no_difference(kind: str, other_peer: ServingPeer) -> None:
    for entry in OWN:
        if entry.kind == kind:
            seen, trace = play(other_peer, entry)
            found = faults(entry, seen)
            assert not found, told(entry, found, trace)


# The corpus itself.


def test_the_corpus_covers_every_class() -> None:
    assert len(CORPUS) >= 300
    own = Counter(entry.kind for entry in OWN)
    assert set(own) == set(OWN_KINDS)
    assert all(count >= 10 for count in own.values()), own
    assert {entry.kind for entry in CORPUS} == set(KINDS)
    assert len(SUITE) >= 400, "the conformance suite's requests are not found any more"
    # Both sides of each class: what is refused, and what only looks as if it should be.
    for kind in OWN_KINDS:
        demands = {type(entry.demand) for entry in OWN if entry.kind == kind}
        assert Served in demands or kind == "both"
        assert Refused in demands
    assert sum(map(must_refuse, CORPUS)) >= 300


def test_ids_and_bytes_are_unique() -> None:
    assert [name for name, count in Counter(entry.id for entry in CORPUS).items() if count > 1] == []
    sent = Counter((entry.stimulus.parts, entry.stimulus.follow_up) for entry in OWN)
    assert [parts for parts, count in sent.items() if count > 1] == []


def test_every_clause_is_known() -> None:
    assert [(entry.id, clause) for entry in CORPUS for clause in entry.clauses if known_clause(clause) is None] == []
    assert [entry.id for entry in CORPUS if not entry.clauses] == []


def test_pieces_are_the_same_bytes() -> None:
    for data in (b"x", b"abc", bytes(range(256)), b"y" * 4001):
        assert b"".join(cut(data)) == data
    assert len(cut(b"abc")) == 3
    assert len(cut(b"y" * 4001)) == 4


# The machine that judges: each fault that it must see.

HEADERS = [(b"host", b"a.example")]
SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": HEADERS}
FOLLOWED = Call({**SCOPE, "path": "/follow-up", "headers": [(b"host", b"follow.example")]})
OK = RawResponse(b"HTTP/1.1", 200, b"OK", [], framing="length")
NO = RawResponse(b"HTTP/1.1", 400, b"Bad Request", [(b"connection", b"close")], framing="length")
SERVED = Observation((OK,), Fate.OPEN, (Call(SCOPE), FOLLOWED), OK)
REFUSED = Observation((NO,), Fate.CLOSED, ())


def entry_of(demand: Served | Refused | Unfinished) -> Entry:
    return Entry("x", "line", ("RFC 9112 §3",), Level.MUST, Stimulus("x", (b"x", HALF_CLOSE)), demand)


@pytest.mark.parametrize(
    ("demand", "seen"),
    [
        (Served(Told()), SERVED),
        (Refused((400,)), REFUSED),
        (Refused((400,), (Told(),)), Observation((OK, NO), Fate.CLOSED, (Call(SCOPE),))),
        (Refused((400,), begins=True), Observation((NO,), Fate.CLOSED, (Call(SCOPE, complete=False),))),
        (Served(Told(), closes=True), Observation((OK,), Fate.CLOSED, (Call(SCOPE),))),
        (Unfinished(), Observation((), Fate.CLOSED, (Call(SCOPE, b"he", complete=False),))),
    ],
)
def test_what_is_right_has_no_fault(demand: Served | Refused | Unfinished, seen: Observation) -> None:
    assert faults(entry_of(demand), seen) == []


@pytest.mark.parametrize(
    ("demand", "seen", "fault"),
    [
        (Served(Told()), REFUSED, "answered with [400]"),
        (Served(Told(path="/p")), SERVED, "path"),
        (Served(Told(body=b"x")), SERVED, "got the body"),
        (Served(Told(fields={b"host": (b"b",)})), SERVED, "b'host'"),
        (Served(Told(fields={b"host": ()})), SERVED, "b'host'"),
        (Served(Told()), Observation((OK,), Fate.CLOSED, (Call(SCOPE),)), "answered with nothing"),
        (Served(Told()), Observation((OK,), Fate.OPEN, (Call(SCOPE), Call({**FOLLOWED.scope, "method": "XGET"})), OK), "method 'XGET'"),
        (Served(Told()), Observation((OK,), Fate.OPEN, (Call(SCOPE), Call(FOLLOWED.scope, b"x")), OK), "got the body b'x'"),
        (Served(Told()), Observation((OK,), Fate.OPEN, (Call(SCOPE), Call(SCOPE), FOLLOWED), OK), "3 whole requests, and 2 were answered"),
        (Served(Told()), Observation((OK,), Fate.OPEN, (Call(SCOPE), FOLLOWED), OK, "no HTTP"), "no HTTP"),
        (Served(Told(), closes=True), SERVED, "not closed"),
        (Served(Told(), closes=True), Observation((OK,), Fate.CLOSED, (Call(SCOPE), FOLLOWED)), "1 calls for the good request"),
        (Refused((400,)), SERVED, "answered with [200]"),
        (Refused((431,)), REFUSED, "answered with [400]"),
        (Refused((400,)), Observation((NO,), Fate.CLOSED, (Call(SCOPE),)), "1 calls of the application, and not 0"),
        (Refused((400,)), Observation((NO,), Fate.CLOSED, (Call(SCOPE, complete=False),)), "1 calls of the application, and not 0"),
        (Refused((400,), begins=True), Observation((NO,), Fate.CLOSED, (Call(SCOPE),)), "1 calls of the application, and not 0"),
        (Refused((400,)), Observation((NO,), Fate.OPEN, (FOLLOWED,), OK), "what stands behind it was answered"),
        (Refused((400,)), Observation((NO,), Fate.RESET, ()), "but reset"),
        (Refused((400,)), Observation((), Fate.CLOSED, ()), "answered with []"),
        (Refused((400,)), Observation((RawResponse(b"HTTP/1.1", 400, b"No", []),), Fate.CLOSED, ()), "does not announce"),
        (Refused((400,), (Told(),)), REFUSED, "answered with [400]"),
        (Unfinished(), Observation((OK,), Fate.CLOSED, (Call(SCOPE),)), "told that the body is complete"),
        (Unfinished(), Observation((), Fate.SILENT, ()), "but silent"),
    ],
)
def test_what_is_wrong_is_seen(demand: Served | Refused | Unfinished, seen: Observation, fault: str) -> None:
    assert any(fault in found for found in faults(entry_of(demand), seen))
