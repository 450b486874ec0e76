"""Response splitting, and the other advisories in which what an application says reaches the wire as it is; over sockets."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.errors import LocalProtocolError
from pytest_asgiserve.raw import RawConnection
from tests.regressions.attacks import every_way, head, served
from tests.support.apps import respond
from tests.support.operations import operations
from tests.support.sansio import PARSERS, Wire, answer, request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.regressions.conftest import Attacked
    from tests.support.apps import Message, Receive, Scope, Send

INJECTED = b"a\r\nSet-Cookie: session=evil\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK"


class Sending:
    """Sends messages, one after the other, until one is refused: then that error is kept, and raised."""

    def __init__(self, *messages: Message) -> None:
        self.messages = messages
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] != "/attack":
            await respond(send)
            return
        try:
            for message in self.messages:
                await send(message)
        except Exception as error:
            self.error = error
            raise


def start(*fields: tuple[bytes, bytes], status: Any = 200, **others: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(fields), **others}


BODY = {"type": "http.response.body", "body": b"ok"}


def attack(attacked: Attacked, app: Sending, status: int = 500) -> bytes:
    """One request to ``app``, which must be answered with ``status`` and nothing else; its whole head. Then the server must serve another."""
    attacked.switch.app = app
    with RawConnection(attacked.address) as client:
        client.get("/attack", "Connection: close")
        written = client.read_until_eof()
    assert written.startswith(b"HTTP/1.1 %d " % status)
    assert written.count(b"HTTP/1.1 ") == 1, written
    with RawConnection(attacked.address) as client:
        assert client.exchange("/").status == 200
    return written.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("value", [INJECTED, b"a\rSet-Cookie: session=evil", b"a\nSet-Cookie: session=evil", b"a\r\n Set-Cookie: session=evil"])
def test_cve_2020_7695_a_line_end_in_a_value_does_not_split_the_response(value: bytes, attacked: Attacked) -> None:
    app = Sending(start((b"x", value)), BODY)
    assert b"ookie" not in attack(attacked, app)
    assert isinstance(app.error, LocalProtocolError)


@pytest.mark.parametrize("name", [b"x\r\nSet-Cookie", b"x: y\r\nSet-Cookie", b"x\nSet-Cookie", b"Set-Cookie: a\r\nx"])
def test_cve_2018_1000164_a_line_end_in_a_name_does_not_split_the_response(name: bytes, attacked: Attacked) -> None:
    app = Sending(start((name, b"session=evil")), BODY)
    assert b"evil" not in attack(attacked, app)
    assert isinstance(app.error, LocalProtocolError)


@pytest.mark.parametrize("control", [0x00, 0x01, 0x0A, 0x0B, 0x0D, 0x1B, 0x1F, 0x7F])
def test_cve_2012_2374_no_control_character_leaves_in_a_field(control: int, attacked: Attacked) -> None:
    app = Sending(start((b"x", b"a%cb" % control)), BODY)
    assert b"%c" % control not in attack(attacked, app).replace(b"\r\n", b"")
    assert isinstance(app.error, LocalProtocolError)


@pytest.mark.parametrize("key", ["reason", "reason_phrase", "status_text"])
def test_cve_2025_67724_and_cve_2026_34519_the_reason_phrase_is_the_servers(key: str, attacked: Attacked) -> None:
    # ASGI has no key for it; what an application puts there all the same goes nowhere.
    written = attack(attacked, Sending(start(**{key: "Fine\r\nSet-Cookie: session=evil"}), BODY), 200)
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"evil" not in written


@pytest.mark.parametrize("status", [99, 1000, 0, -1, 600, 101, 2**70, 200.0, "200", True])
def test_granian_2_8_7_a_status_that_is_none_does_not_end_the_server(status: Any, attacked: Attacked) -> None:
    app = Sending(start(status=status), BODY)
    attack(attacked, app)
    assert isinstance(app.error, LocalProtocolError)


@pytest.mark.parametrize(
    "field",
    [(b"link", INJECTED), (b"transfer-encoding", b"chunked"), (b"content-length", b"5"), (b"x\r\ny", b"z")],
    ids=lambda field: field[0].decode(),
)
def test_aiohttp_2026_what_must_not_be_in_a_response_is_not_in_its_trailers(field: tuple[bytes, bytes], attacked: Attacked) -> None:
    app = Sending(start(trailers=True), BODY, {"type": "http.response.trailers", "headers": [field]})
    attacked.switch.app = app
    with RawConnection(attacked.address) as client:
        client.get("/attack", "TE: trailers", "Connection: TE")
        written = client.expect_closed()
    assert b"evil" not in written
    assert not written.endswith(b"0\r\n\r\n")
    assert isinstance(app.error, LocalProtocolError)


@pytest.mark.parametrize("link", [INJECTED, b"</a>\nx: y", b"</a>\0", "</a>"])
def test_gunicorn_2026_early_hints_are_checked(link: Any, attacked: Attacked) -> None:
    app = Sending({"type": "http.response.early_hint", "links": [link]}, start(), BODY)
    assert b"evil" not in attack(attacked, app)
    assert isinstance(app.error, LocalProtocolError)


def test_gunicorn_2026_early_hints_after_the_final_response_are_not_written(attacked: Attacked) -> None:
    app = Sending(start(), {**BODY, "more_body": True}, {"type": "http.response.early_hint", "links": [b"</a>"]}, BODY)
    assert b"103" not in attack(attacked, app, 200)
    assert app.error is None


# ---- framing


def test_gunicorn_2026_no_byte_beyond_content_length_is_written(attacked: Attacked) -> None:
    app = Sending(start((b"content-length", b"2")), {"type": "http.response.body", "body": b"okEXTRA"})
    attacked.switch.app = app
    with RawConnection(attacked.address) as client:
        assert client.exchange("/attack").body == b"ok"
        client.expect_eof()
    assert isinstance(app.error, LocalProtocolError)


def test_gunicorn_2026_a_body_shorter_than_content_length_ends_the_connection(attacked: Attacked) -> None:
    # Kept alive, the next response was read as the rest of this one.
    app = Sending(start((b"content-length", b"20")), BODY)
    attacked.switch.app = app
    with RawConnection(attacked.address) as client:
        client.pipeline("/attack", "/next")
        written = client.expect_closed()
    assert written.endswith(b"\r\n\r\nok")
    assert written.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_gunicorn_2026_a_response_without_content_writes_none(method: str, status: int, attacked: Attacked) -> None:
    # HTTP/2 was where gunicorn did; the rule is the same here, and the next response shows whether it holds.
    attacked.switch.app = Sending(start(status=status), {"type": "http.response.body", "body": b"HTTP/1.1 666 Evil\r\n\r\n"})
    with RawConnection(attacked.address) as client:
        assert client.exchange("/attack", method=method).status == status
        assert client.exchange("/").body == b"ok"


def test_gunicorn_2026_an_error_within_a_body_does_not_append_another_response(attacked: Attacked) -> None:
    async def failing(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start())
        await send({**BODY, "more_body": True})
        # As gunicorn's worker did at its time-out: no Exception.
        raise SystemExit(1)

    attacked.switch.app = failing
    with RawConnection(attacked.address) as client:
        client.get("/attack")
        written = client.expect_closed()
    assert written.count(b"HTTP/1.1 ") == 1
    assert not written.endswith(b"0\r\n\r\n")


@every_way
@pytest.mark.parametrize("text", [b"QUOTED", b"QUOTED\x1b[2J"])
def test_gunicorn_2026_a_refusal_does_not_quote_the_request(text: bytes, parser: str, cut: int | None) -> None:
    wire = Wire(answer, parser)
    wire.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + text + b"\r\n\r\n", cut)
    # It used to stand in the status line, with whatever was in it.
    assert wire.transport.written.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"QUOTED" not in wire.transport.written
    assert all("QUOTED" not in detail for detail, _ in wire.owner.refusals)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_gunicorn_2026_a_buffer_that_is_used_again_is_not_sent_changed(kind: Any, attacked: Attacked) -> None:
    # What the body of a message is allowed to be is bytes; one that can change is refused or copied, and never read again later.
    buffer = bytearray(b"first!")
    errors: list[Exception] = []

    async def reusing(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"6")))
        try:
            await send({"type": "http.response.body", "body": kind(buffer)})
        except LocalProtocolError as error:
            errors.append(error)
        buffer[:] = b"second"
        if errors:
            await send({"type": "http.response.body", "body": b"first!"})

    attacked.switch.app = reusing
    with RawConnection(attacked.address) as client:
        assert client.exchange("/").body == b"first!"


# ---- files


def test_cve_2025_62727_a_range_field_costs_nothing_with_a_file(attacked: Attacked, tmp_path: Path) -> None:
    # Starlette merged the ranges in quadratic time. Here nobody reads the field: it is the application's to answer.
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 100)
    attacked.switch.app = Sending(start(), {"type": "http.response.pathsend", "path": str(file)})
    ranges = ",".join(f"{index}-{index}" for index in range(5000))
    with RawConnection(attacked.address) as client:
        response = client.exchange("/attack", f"Range: bytes={ranges}")
    assert (response.status, response.body) == (200, file.read_bytes())

    def cost(count: int) -> int:
        wire = Wire(answer)
        data = head(b"Range: bytes=" + b"0-0," * count + b"0-0")
        return operations(lambda: wire.feed(data))

    assert cost(2000) <= 2 * cost(1000)


@pytest.mark.parametrize("path", ["../secret", "file", "", "file:///etc/passwd"])
def test_cve_2023_29159_and_cve_2024_23334_only_an_absolute_path_is_sent_as_a_file(path: str, attacked: Attacked) -> None:
    # The server maps no target to a file, so that there is no root to leave; a path that depends on where it runs is refused.
    app = Sending(start(), {"type": "http.response.pathsend", "path": path})
    attack(attacked, app)
    assert isinstance(app.error, LocalProtocolError)


@every_way
@pytest.mark.parametrize("target", ["/static/../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd", "//evil.example/%2e%2e", "/a/./b//c"])
def test_cve_2021_21330_the_path_is_given_as_it_was_sent(target: str, parser: str, cut: int | None) -> None:
    # Nothing is normalized, merged or redirected (aiohttp redirected to `//host`): whoever maps paths sees what there is.
    (seen,) = served(request(target), parser, cut)
    assert seen.raw_path == target.encode()
    assert seen.path == target.replace("%2e", ".")


# ---- receive()


@pytest.mark.parametrize("parser", PARSERS)
def test_gunicorn_2026_receive_after_the_body_waits(parser: str) -> None:
    waits = 0

    def asking(call: Any) -> Any:
        nonlocal waits
        yield from call.body()
        while call.exchange.response_state == "WAITING":
            waits += 1
            yield "event"

    wire = Wire(asking, parser)
    wire.feed(head())
    wire.advance(5)
    assert waits == 1


def test_gunicorn_2026_receive_after_the_body_does_not_spin(attacked: Attacked) -> None:
    # The same through the coroutine: it returned at once, again and again, and kept the event loop busy.
    waited: list[bool] = []
    ended: list[Message] = []
    done = threading.Event()

    async def asking(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        task = asyncio.ensure_future(receive())
        for _ in range(100):
            await asyncio.sleep(0)
        waited.append(not task.done())
        await respond(send)
        ended.append(await task)
        done.set()

    attacked.switch.app = asking
    with RawConnection(attacked.address) as client:
        assert client.exchange("/").status == 200
        assert done.wait(10)
    assert waited == [True]
    assert ended == [{"type": "http.disconnect"}]
