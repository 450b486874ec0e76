"""A client that goes away, at any moment and by any end, ends its own call and nothing else: the application is told once, and nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING

import pytest

from asgiserve import ClientDisconnected
from tests.faults.aborts import NOT_CALLED, STAGES, Visit
from tests.faults.stand import EACH_ONCE, NEXT, PATIENCE, START, Gate, Stand, body, faults, stand_on
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from pytest_asgiserve.raw import RawConnection
    from tests.support.apps import Receive, Scope, Send
    from tests.support.records import Records

ENDS = ("reset", "close")
ABORTS = list(itertools.product(STAGES, ENDS))
MANY = 50
"""Of each stage, end, parser and event loop: two hundred of each stage."""


def go(client: RawConnection, how: str) -> float:
    """Have the client end; when it did."""
    before = time.monotonic()
    client.reset() if how == "reset" else client.close()
    return before


def check_told(stage: str, how: str, visit: Visit, *, tls: bool = False) -> None:
    expected = STAGES[stage].told if how == "reset" or tls else STAGES[stage].on_close
    if expected == NOT_CALLED:
        assert not visit.entered.is_set()
        return
    assert visit.ended.wait(PATIENCE), "the call did not end"
    assert visit.told == [expected]
    assert {kind.partition(".")[2] for kind in visit.messages} <= {"request", "connect"}


def check_records(records: Records, stage: str, how: str) -> None:
    case = STAGES[stage]
    assert records.errors == []
    outcome = case.outcome if how == "close" else "aborted"
    aborted = [record for record in records.access if record.target == "/fault"]
    assert [(record.status, record.outcome) for record in aborted] == ([] if case.app is None else [(case.status, outcome)])
    assert [record.close_code for record in aborted] == [1006 if case.status == 101 else None] * len(aborted)


@pytest.mark.parametrize(("stage", "how"), ABORTS)
def test_a_client_that_goes_is_told_once_and_nothing_stays_of_it(
    stand: Stand, records: Records, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest, stage: str, how: str
) -> None:
    visit = Visit()
    with stand.connect() as client:
        STAGES[stage].reach(stand, client, visit)
        gone_at = go(client, how)
        check_told(stage, how, visit)
    # A measurement, in the report of --junitxml; on a loaded machine it says nothing of the server.
    request.node.user_properties.append(("told_after_ms", round(max(visit.told_at - gone_at, 0) * 1000, 2)))
    stand.deserted()
    stand.check_health()
    assert stand.next_calls == 0
    check_records(records, stage, how)
    # Neither a traceback nor a word of the event loop's own.
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    assert stand.unhandled == []


@pytest.fixture(scope="module", params=EACH_ONCE)
def one_of_each(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """Each parser and each event loop, once."""
    parser, loop = request.param
    with stand_on(parser, loop) as running:
        yield running


def abort_many(stand: Stand, stage: str, how: str, number: int, tls: ssl.SSLContext | None = None) -> None:
    """Have ``number`` clients come to ``stage``, and go all at once."""
    with contextlib.ExitStack() as clients:
        visits = []
        for _ in range(number):
            # A small buffer, so that it is full soon.
            client = clients.enter_context(stand.connect(receive_buffer=4096, tls=tls))
            visits.append((client, Visit()))
            STAGES[stage].reach(stand, *visits[-1])
        for client, _ in visits:
            go(client, how)
        for _, visit in visits:
            check_told(stage, how, visit, tls=tls is not None)


@pytest.mark.parametrize(("stage", "how"), ABORTS)
def test_hundreds_of_clients_that_go_leave_no_descriptor_and_no_task(one_of_each: Stand, records: Records, stage: str, how: str) -> None:
    stand = one_of_each
    stand.begin()
    abort_many(stand, stage, how, 1)
    before = stand.count()
    for _ in range(MANY // 25):
        abort_many(stand, stage, how, 25)
    assert stand.count() == before
    stand.check_health()
    assert records.errors == []
    assert stand.unhandled == []


# ---- ends that tell nothing by themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("within", [False, True], ids=["before-the-response", "within-the-response"])
def test_a_client_that_ends_in_order_behind_its_request_is_noticed_with_the_first_bytes_that_it_does_not_take(
    stand: Stand, records: Records, within: bool
) -> None:
    visit, gate = Visit(), Gate()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        try:
            assert (await receive())["type"] == "http.request"
            if within:
                await send(START)
                await send(body(b"event", more=True))
            visit.entered.set()
            await gate.wait()
            with visit.raised():
                if not within:
                    await send(START)
                while True:
                    await send(body(b"event", more=True))
                    # One turn of the loop is enough to hear of a reset, but the reset has to come.
                    await asyncio.sleep(0.001)
        finally:
            visit.ended.set()

    stand.app = app
    with stand.connect() as client:
        client.get("/fault")
        if within:
            client.read_head()
            assert client.read_chunk() == b"event"
        assert visit.entered.wait(PATIENCE)
        client.close()
        stand.check_health()
        assert visit.told == []
        gate.open()
        assert visit.ended.wait(PATIENCE)
    stand.deserted()
    assert visit.told == ["ClientDisconnected"]
    assert records.errors == []
    (record,) = [record for record in records.access if record.target == "/fault"]
    assert (record.status, record.outcome) == (200, "aborted")


# ---- TLS ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A server's certificate, for all tests here."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=EACH_ONCE)
def tls_stand(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Stand]:
    """Each parser and each event loop once, on TLS."""
    parser, loop = request.param
    with stand_on(parser, loop, **certificates.options) as running:
        yield running


# Half a TLS connection is none, so that every end is told (RFC 8446 §6.1 allows it; neither asyncio nor uvloop does).
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ENDS)
def test_on_tls_every_end_of_a_client_is_told(
    tls_stand: Stand, certificates: Certificates, records: Records, caplog: pytest.LogCaptureFixture, stage: str, how: str
) -> None:
    context = certificates.client_context()
    stand = tls_stand
    stand.begin()
    abort_many(stand, stage, how, 1, context)
    before = stand.count()
    abort_many(stand, stage, how, 10, context)
    assert stand.count() == before
    stand.check_health(context)
    assert stand.next_calls == 0
    assert records.errors == []
    assert len([record for record in records.access if record.target == "/fault"]) == (11 if STAGES[stage].app is not None else 0)
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    assert stand.unhandled == []


# A ClientHello's record header and its first bytes; all that follows is missing.
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("sent", [b"", HELLO[:3], HELLO], ids=["nothing", "within-the-record-header", "within-the-hello"])
def test_a_client_that_goes_within_the_tls_handshake_leaves_nothing(
    tls_stand: Stand, certificates: Certificates, records: Records, caplog: pytest.LogCaptureFixture, sent: bytes, how: str
) -> None:
    stand = tls_stand
    stand.begin()

    def abort(number: int) -> None:
        for _ in range(number):
            with stand.connect() as client:
                client.send(sent)
                go(client, how)

    abort(1)
    before = stand.count()
    abort(MANY)
    assert stand.count() == before
    stand.check_health(certificates.client_context())
    assert records.errors == []
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    assert stand.unhandled == []


# ---- what send() raises ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["as-it-is", "raised-from", "in-a-group", "in-a-nested-group", "while-handling"])
def test_send_after_the_client_went_raises_each_time_and_letting_it_pass_logs_nothing(stand: Stand, records: Records, how: str) -> None:
    # ASGI HTTP 2.4
    caught: list[BaseException] = []
    gone, ended = threading.Event(), threading.Event()

    async def send_on(receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"x", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        await send(body(b"y", more=True))

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send_on(receive, send)
        except OSError as error:
            caught.append(error)
            with contextlib.suppress(Exception):
                # It raises each time.
                await send(body())
                caught.clear()
            if how == "as-it-is":
                raise
            if how == "raised-from":
                raise RuntimeError("wrapped") from error
            if how == "while-handling":
                raise RuntimeError("wrapped")  # noqa: B904 - that is the case
            group = ExceptionGroup("tasks", [error])
            raise group if how == "in-a-group" else ExceptionGroup("outer", [group])  # noqa: B904 - that is the case
        finally:
            ended.set()

    stand.app = app
    with stand.connect() as client:
        client.get("/fault")
        assert client.read_head().status == 200
        assert client.read_chunk() == b"x"
        client.reset()
    assert ended.wait(PATIENCE)
    assert gone.is_set()
    assert [type(error) for error in caught] == [ClientDisconnected]
    assert isinstance(caught[0], OSError)
    stand.check_health()
    stand.deserted()
    assert not records.errors
    assert [(record.target, record.outcome) for record in records.access] == [("/fault", "aborted"), ("/", "")]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), BaseException("base")], ids=repr)
def test_an_error_of_the_applications_own_is_logged_although_the_client_has_gone(stand: Stand, records: Records, error: BaseException) -> None:
    visit = Visit()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        visit.entered.set()
        await visit.listen(receive)
        raise error

    stand.app = app
    with stand.connect() as client:
        client.send(b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT)
        assert visit.entered.wait(PATIENCE)
        client.reset()
        stand.quiet()
    stand.deserted()
    assert visit.told == ["http.disconnect"]
    (logged,) = faults(records)
    assert logged.exc_info is not None
    assert logged.exc_info[1] is error
    assert stand.next_calls == 0


def test_an_application_that_is_told_and_goes_on_working_may_end_when_it_likes(stand: Stand, records: Records) -> None:
    visit, gate = Visit(), Gate()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        visit.entered.set()
        for _ in range(3):
            await visit.listen(receive)
        await gate.wait()
        visit.ended.set()

    stand.app = app
    with stand.connect() as client:
        client.get("/fault")
        assert visit.entered.wait(PATIENCE)
        client.reset()
    # The connection is gone, the call is not, and the record is written.
    records.wait(lambda seen: seen.access)
    stand.check_health()
    assert not visit.ended.is_set()
    gate.open()
    assert visit.ended.wait(PATIENCE)
    # Whoever asks again is told again, at once.
    assert visit.told == ["http.disconnect"] * 3
    stand.deserted()
    assert records.errors == []
