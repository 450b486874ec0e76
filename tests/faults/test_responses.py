"""Whatever an application does to its response, the next one on the connection is right, or the connection is closed: never anything between them.

Each case of `responses.py` is followed by a request on the same connection, sent with it and sent after it, and by one on a new connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import LocalProtocolError
from pytest_asgiserve.raw import Truncated
from tests.faults.responses import WRONG_RESPONSES, Fate, WrongResponse
from tests.faults.stand import NEXT, Stand, body, check_end, faults, formatted, start

if TYPE_CHECKING:
    from pytest_asgiserve.raw import RawConnection
    from tests.support.apps import App, Receive, Scope, Send
    from tests.support.records import Records

# A refusal is the same whatever was refused: two of them are enough to see what becomes of a connection on which nothing else waits.
ALONE = {"value-with-cr-lf", "no-message"}
RESPONSES = [
    pytest.param(case, together, id=f"{case.name}-{'with' if together else 'before'}-the-next")
    for case in WRONG_RESPONSES
    for together in (True, False)
    if together or case.fate is not Fate.REFUSED or case.name in ALONE
]
MENDABLE = [pytest.param(case, id=case.name) for case in WRONG_RESPONSES if case.fate is Fate.REFUSED and case.raises is LocalProtocolError]

OUTCOMES = {Fate.REFUSED: "error", Fate.CUT: "error", Fate.LAST: "", Fate.MENDED: ""}


def trying(messages: list[Any], caught: list[BaseException | None]) -> App:
    """Sends ``messages`` and notes what each ``send()`` raised; what the last one raised is raised on."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            try:
                await send(message)
            except BaseException as error:
                caught.append(error)
                raise
            caught.append(None)

    return app


def request_of(case: WrongResponse) -> bytes:
    line, fields = case.request
    return f"{line}\r\nHost: x\r\n{fields}\r\n".encode("ascii")


def check_response(client: RawConnection, case: WrongResponse) -> None:
    if case.fate is Fate.CUT:
        with pytest.raises(Truncated) as cut:
            client.read_response(case.method)
        assert cut.value.received == case.content
        return
    response = client.read_response(case.method)
    assert (response.status, response.body) == (case.status, case.content)
    assert {name: response.one(name) for name in case.fields} == dict(case.fields)
    assert case.framing in {"", response.framing}
    assert response.trailers == []
    if case.fate is Fate.REFUSED:
        # Nothing of the response that it replaces.
        assert {name for name, _ in response.fields} == {b"content-type", b"content-length", b"date", b"server", b"connection"}
        assert response.closes
    elif case.fate is Fate.MENDED:
        assert not response.closes


@pytest.mark.parametrize(("case", "together"), RESPONSES)
def test_behind_a_wrong_response_comes_a_right_one_or_the_end_of_the_connection(
    stand: Stand, records: Records, case: WrongResponse, together: bool
) -> None:
    caught: list[BaseException | None] = []
    messages = case.made()
    stand.app = trying(messages, caught)
    with stand.connect() as client:
        client.send(request_of(case) + NEXT if together else request_of(case))
        check_response(client, case)
        if case.fate is Fate.MENDED:
            if not together:
                client.send(NEXT)
            assert client.read_response().body == b"next"
        check_end(client)
    stand.check_health()
    stand.deserted()

    # What the application saw: every message but the last was taken.
    assert [type(error) for error in caught] == [type(None)] * (len(messages) - 1) + [case.raises or type(None)] * bool(messages)
    # What is logged: one error, with its traceback where there is one, or nothing.
    assert records.errors == faults(records)
    assert [record.getMessage().partition(": ")[0] for record in faults(records)] == [f"{case.method} /fault"] * case.logged
    assert [bool(record.exc_info) for record in faults(records)] == [case.raises is not None] * case.logged
    for record in faults(records):
        formatted(record)
    answered = case.fate is Fate.MENDED
    assert stand.next_calls == answered
    logged, *others = records.access
    outcome = "short" if case.name.startswith("shorter") and case.fate is Fate.CUT and case.raises else OUTCOMES[case.fate]
    assert (logged.target, logged.status, logged.sent_bytes, logged.outcome) == ("/fault", case.status, len(case.content), outcome)
    assert [(other.target, other.status) for other in others] == [("/next", 200)] * answered + [("/", 200)]
    assert stand.unhandled == []


@pytest.mark.parametrize("case", MENDABLE)
def test_an_application_that_catches_its_refusal_can_still_answer(stand: Stand, records: Records, case: WrongResponse) -> None:
    """Nothing of the refused message is kept or sent."""
    caught: list[BaseException] = []
    before = case.made()
    refused = before.pop()
    after = [body(b"right")] if before else [start(201, (b"x", b"right")), body(b"right")]

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        try:
            await send(refused)
        except LocalProtocolError as error:
            caught.append(error)
        for message in after:
            await send(message)
        if before and before[0].get("trailers"):
            await send({"type": "http.response.trailers", "headers": []})

    stand.app = app
    with stand.connect() as client:
        client.send(request_of(case) + NEXT)
        response = client.read_response()
        assert (response.status, response.body, response.informational) == (200 if before else 201, b"right", [])
        assert [name for name, _ in response.fields] == ([] if before else [b"x"]) + [b"content-length", b"date", b"server"]
        assert client.read_response().body == b"next"
        check_end(client)
    stand.check_health()
    stand.deserted()
    assert [type(error) for error in caught] == [LocalProtocolError]
    assert records.errors == []
