"""The reference application: every step of a script, every lifespan, what is recorded, and that it needs nothing but the standard library."""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import inspect
import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgi_conformance import reference
from asgi_conformance.observed import Record, read_record
from asgi_conformance.reference import LIFESPANS, Foreign, Summary, decode, dumps_query, dumps_script, encode, pattern
from asgi_conformance.reference.recording import RECORDER
from pytest_asgiserve.live import LiveServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

    Application = Callable[[Any, Any, Any], Awaitable[None]]

FOLDER = Path(reference.__file__).parent
END: dict[str, Any] = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}
OK = {"type": "http.response.start", "status": 200, "headers": []}


class Peer:
    """A server, as far as an application sees one: it gives ``messages`` and then what `give` adds, and keeps what is sent."""

    def __init__(self, *messages: dict[str, Any], error: BaseException | None = None) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[Any] = []
        self.error = error
        self.held: asyncio.Event | None = None
        for message in messages:
            self.messages.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        return await self.messages.get()

    async def send(self, message: Any) -> None:
        if self.error is not None:
            raise self.error
        if self.held is not None:
            await self.held.wait()
        self.sent.append(message)


def make_scope(script: Sequence[Any] | None = None, kind: str = "http", **more: Any) -> dict[str, Any]:
    headers = [] if script is None else [(b"x-script", dumps_script(script).encode())]
    scope = {"type": kind, "asgi": {"version": "3.0"}, "path": "/", "query_string": b"", "headers": headers, **more}
    return scope if kind == "websocket" else {"method": "GET", **scope}


async def call(peer: Peer, scope: dict[str, Any], application: Application = reference.app) -> Record:
    """Call the application, whatever it raises, and return its record."""
    with contextlib.suppress(BaseException):
        await application(scope, peer.receive, peer.send)
    return newest()


def newest() -> Record:
    return read_record(json.loads(json.dumps(RECORDER.records[-1].as_json())))


def run(script: Sequence[Any], *messages: dict[str, Any], error: BaseException | None = None, **scope: Any) -> tuple[list[Any], Record]:
    async def main() -> tuple[list[Any], Record]:
        peer = Peer(*(messages or (END, GONE, GONE)), error=error)
        return peer.sent, await call(peer, make_scope(script, **scope))

    return asyncio.run(asyncio.wait_for(main(), 10))


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    RECORDER.next_scripts.clear()
    RECORDER.flags.clear()


# What is sent.

HELLO = {"type": "http.response.body", "body": b"hello"}


@pytest.mark.parametrize(
    ("script", "sent"),
    [
        ([["respond", 200, [], "hello"]], [OK, HELLO]),
        ([["start", 204, [["x-a", "\xff"]]]], [{**OK, "status": 204, "headers": [[b"x-a", b"\xff"]]}]),
        ([["start", 200, [], {"trailers": True}]], [{**OK, "trailers": True}]),
        ([["body", "a", True], ["body", b"b", False]], [{**HELLO, "body": b"a", "more_body": True}, {**HELLO, "body": b"b", "more_body": False}]),
        ([["send", {"type": "http.response.body", "body": b"hello"}]], [HELLO]),
        ([["send", {"type": "http.response.body", "body": {"b64": "aGVsbG8="}}]], [HELLO]),
        ([["send", {"type": "http.response.body", "body": {"fill": "x", "size": 5}}]], [{**HELLO, "body": b"xxxxx"}]),
        ([["send", {"type": "x", "text": {"text-fill": "é", "size": 3}}]], [{"type": "x", "text": "ééé"}]),
        ([["send", {"type": "x", "body": "text"}]], [{"type": "x", "body": "text"}]),
        ([["send", None], ["send", [1]], ["send", "text"], ["send", (1, b"a")]], [None, [1], "text", (1, b"a")]),
        ([["send", {"type": "x", "a": bytearray(b"a")}]], [{"type": "x", "a": bytearray(b"a")}]),
        ([["send", {"dict": [[1, 2]]}]], [{1: 2}]),
        ([["send-many", HELLO, 3]], [HELLO] * 3),
        ([["repeat", 2, ["body", "hello"]]], [HELLO] * 2),
        ([["body", "hello"], ["return"], ["body", "never"]], [HELLO]),
        ([["repeat", 2, ["return"]], ["body", "never"]], []),
        ([["try", ["return"]], ["body", "never"]], []),
        ([["try", ["raise"], ["body", "never"]], ["body", "hello"]], [HELLO]),
        ([["gather", [["body", "hello"]], [["body", "hello"]]]], [HELLO] * 2),
        ([["echo-body"]], [{**OK, "headers": [[b"content-length", b"0"]]}, {**HELLO, "body": b""}]),
    ],
)
def test_a_script_sends_exactly_what_it_says(script: Sequence[Any], sent: list[Any]) -> None:
    found, record = run(script)
    assert found == sent
    assert record.how == "returned"


def test_generators_memory_and_foreign_objects_can_be_sent() -> None:
    odd = {"type": "x", "headers": {"generator": [[b"a", b"b"]]}, "body": {"memoryview": b"m"}, "other": {"new": "Strange"}}
    (sent,), record = run([["send", odd]])
    assert list(sent["headers"]) == [[b"a", b"b"]]
    assert isinstance(sent["body"], memoryview)
    assert type(sent["other"]).__name__ == "Strange"
    assert isinstance(record.sends[0].message["headers"], Foreign)


def test_files_are_there_with_their_pattern_and_the_script_sees_whether_they_were_closed() -> None:
    script = [["send", {"type": "p", "path": {"path": 1000}}], ["send", {"type": "f", "file": {"file": 1000}}], ["note-files"]]
    (path, file), record = run([*script, ["send", {"type": "p", "path": {"path": -1}}]])[0][:2], newest()
    assert Path(path["path"]).read_bytes() == pattern(1000)
    assert record.notes("files") == [[{"closed": False, "position": 0}]]
    assert file["file"].closed, "the application did not close it at its end"
    assert not Path(record.sends[2].message["path"]).exists()
    assert pattern(10, 245) == bytes([245, 246, 247, 248, 249, 250, 0, 1, 2, 3])


def test_the_default_answer_is_json_of_what_was_seen() -> None:
    parts: list[dict[str, Any]] = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}]

    async def main() -> tuple[list[Any], Record]:
        peer = Peer(*parts)
        return peer.sent, await call(peer, make_scope())

    sent, record = asyncio.run(main())
    assert sent[0]["status"] == 200
    seen = json.loads(sent[1]["body"])
    assert decode(seen["body"]) == b"ab"
    assert decode(seen["scope"]) == record.scope
    assert seen["number"] == record.number
    assert record.received == parts


@pytest.mark.parametrize(
    "scope",
    [
        {"query_string": f"a=b&{dumps_query([['body', 'hello']])}&c".encode()},
        {"headers": [(b"X-Script", b'[["body",'), (b"x-script", b'"hello"]]')]},
    ],
    ids=["query", "two fields"],
)
def test_a_script_may_come_in_the_query_or_in_several_fields(scope: dict[str, Any]) -> None:
    async def main() -> list[Any]:
        peer = Peer(END)
        await call(peer, make_scope(**scope))
        return peer.sent

    assert asyncio.run(main()) == [HELLO]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (b'[["nonsense"]]', "no step"),
        (b"[[]]", "no step"),
        (b'["return"]', "no step"),
        (b"{}", "no list of steps"),
        (b"[[", "no JSON"),
        (b'[["try", ["nonsense"]]]', "no step"),
        (b'[["raise", "print"]]', "no exception"),
    ],
)
def test_a_wrong_script_is_an_error_of_its_own(script: bytes, message: str) -> None:
    async def main() -> Record:
        return await call(Peer(), make_scope(headers=[(b"x-script", script)]))

    record = asyncio.run(main())
    assert record.how == "raised"
    assert record.error is not None
    assert record.error.kind.endswith("ScriptError")
    assert message in record.error.message


# What is recorded.


def test_receive_within_leaves_the_call_waiting_for_the_next_step() -> None:
    async def main() -> Record:
        peer = Peer()
        task = asyncio.create_task(call(peer, make_scope([["receive-within", 0.01], ["set", "late"], ["receive"]])))
        assert await RECORDER.wait_for(lambda: "late" in RECORDER.flags, 5)
        peer.messages.put_nowait(END)
        return await task

    record = asyncio.run(main())
    assert record.notes("receive-within") == [False]
    assert record.received == [END]
    assert len(record.receives) == 1, "it asked a second time"


def test_a_receive_that_is_still_waiting_at_the_end_is_cancelled_and_recorded() -> None:
    async def main() -> Record:
        return await call(Peer(), make_scope([["receive-within", 0.01]]))

    record = asyncio.run(main())
    assert record.how == "returned"
    (event,) = record.receives
    assert event.error is not None
    assert event.error.is_cancelled


def test_a_send_that_is_held_back_is_seen_while_it_waits() -> None:
    async def main() -> tuple[Record, Record]:
        peer = Peer(END)
        peer.held = asyncio.Event()
        mark = RECORDER.number
        task = asyncio.create_task(call(peer, make_scope([["send-many", HELLO, 5]])))
        assert await RECORDER.wait_for(lambda: RECORDER.since(mark) and RECORDER.since(mark)[0].events, 5)
        waiting = newest()
        peer.held.set()
        return waiting, await task

    before, after = asyncio.run(main())
    assert (before.sends[0].count, before.sends[0].end, before.how) == (0, None, None)
    assert (after.sends[0].count, after.how) == (5, "returned")
    assert after.sends[0].end is not None


@pytest.mark.parametrize(
    ("error", "is_oserror", "how"),
    [(ConnectionResetError("gone"), True, "returned"), (ValueError("no"), False, "returned"), (asyncio.CancelledError(), False, "cancelled")],
    ids=["OSError", "another", "cancelled"],
)
def test_what_send_raises_is_recorded_with_its_classes(error: BaseException, is_oserror: bool, how: str) -> None:
    _, record = run([["try", ["body", "x"]], ["note", "on", 1]], error=error)
    (raised,) = record.send_errors
    assert raised.is_oserror is is_oserror
    assert raised.bases[-1] == "object"
    assert record.how == how
    assert record.notes("on") == ([1] if how == "returned" else [])


@pytest.mark.parametrize("name", ["RuntimeError", "OSError", "SystemExit", "KeyboardInterrupt", "CancelledError", "ReferenceBaseException"])
def test_every_kind_of_exception_can_be_raised(name: str) -> None:
    async def main() -> tuple[type[BaseException], Record]:
        peer = Peer()
        kind = getattr(builtins, name, asyncio.CancelledError if name == "CancelledError" else BaseException)
        with pytest.raises(kind) as caught:
            await reference.app(make_scope([["raise", name]]), peer.receive, peer.send)
        return caught.type, newest()

    kind, record = asyncio.run(main())
    assert kind.__name__.lstrip("_") == name
    assert record.how == ("cancelled" if name == "CancelledError" else "raised")
    assert record.error is not None


def test_a_gather_raises_the_first_error_itself_and_ends_the_other_tasks() -> None:
    _, record = run([["gather", [["wait-disconnect"]], [["raise", "OSError"]]]], END)
    assert record.error is not None
    assert record.error.is_oserror
    assert [event.branch for event in record.receives] == ["0", "0"]
    assert record.receives[1].error is not None
    assert record.receives[1].error.is_cancelled


def test_a_spawned_task_outlives_its_call() -> None:
    async def main() -> tuple[Record, Record]:
        peer = Peer(END)
        before = await call(peer, make_scope([["spawn", ["await", "go"], ["body", "late"], ["set", "gone"]]]))
        RECORDER.set_flag("go")
        assert await RECORDER.wait_for(lambda: "gone" in RECORDER.flags, 5)
        return before, newest()

    before, after = asyncio.run(main())
    assert (before.how, before.sends) == ("returned", [])
    assert after.sends[0].branch == "0"
    assert after.sends[0].at > (after.ended or 0)


def test_waits_have_limits() -> None:
    _, record = run([["try", ["await", "never", 0.01]], ["wait-disconnect", 0.01]], END)
    assert [caught["class"] for caught in record.notes("caught")] == ["TimeoutError"]
    assert record.error is not None
    assert record.error.kind == "TimeoutError"


def test_state_scope_and_context_variable_can_be_changed_and_are_recorded_as_they_were() -> None:
    steps = [
        ["set-state", "n", 2],
        ["append-state", "list", b"a"],
        ["set-scope", "path", "/b"],
        ["set-var", 5],
        ["get-var"],
        ["note-scope"],
    ]
    _, record = run(steps, state={"n": 1, "list": []})
    assert record.scope["state"] == {"n": 1, "list": []}
    (scope,) = record.notes("scope")
    assert (scope["path"], scope["state"]) == ("/b", {"n": 2, "list": [b"a"]})
    assert record.notes("variable") == [5]
    assert record.variable is None


def test_the_number_of_tasks_can_be_noted() -> None:
    _, record = run([["note-tasks"], ["gather", [["note-tasks"]]], ["note-tasks"]])
    alone, with_one_more, alone_again = record.notes("tasks")
    assert (with_one_more - alone, alone_again - alone) == (1, 0)


def test_a_context_variable_that_leaks_is_seen_by_the_next_call() -> None:
    async def main() -> Record:
        # One context for both, as a careless server would have.
        await call(Peer(), make_scope([["set-var", "leak"]]))
        return await call(Peer(), make_scope([["return"]]))

    assert asyncio.run(main()).variable == "leak"


def test_headers_that_can_be_read_only_once_are_noticed() -> None:
    async def main() -> Record:
        headers = ((name, value) for name, value in [(b"x-script", dumps_script([["return"]]).encode())])
        return await call(Peer(), make_scope(headers=headers))

    record = asyncio.run(main())
    assert record.how == "returned"
    assert not record.headers_repeat
    assert isinstance(record.scope["headers"], Foreign)


def test_the_oldest_records_go_and_events_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_conformance.reference.recording._MAX_RECORDS", 3)
    monkeypatch.setattr("asgi_conformance.reference.recording._MAX_EVENTS", 10)
    numbers = [run([["repeat", 20, ["note"]]])[1].number for _ in range(5)]
    assert [kept.number for kept in RECORDER.records] == numbers[-3:]
    assert (len(newest().events), newest().dropped) == (10, 10)


# Values.


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        1.5,
        "text",
        "\udcff",
        b"\x00\xff",
        [1, [b"a"]],
        (1, (2,)),
        {"a": b"b"},
        {1: 2},
        {"latin1": "x"},
        {b"k": None},
        bytearray(b"a"),
        {},
    ],
    ids=repr,
)
def test_a_value_comes_back_from_json_with_its_type(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert back == value
    assert type(back) is type(value)


def test_other_types_say_what_they_were() -> None:
    back = decode(json.loads(json.dumps(encode([Text("a"), OrderedDict(b=1), object()]))))
    assert [item.kind.rpartition(".")[2] for item in back] == ["Text", "OrderedDict", "object"]
    assert [item.value for item in back] == ["a", {"b": 1}, None]


def test_long_bytes_are_kept_as_a_summary_that_equals_them() -> None:
    data = pattern(100_000)
    back = decode(json.loads(json.dumps(encode(data))))
    assert isinstance(back, Summary)
    assert back == data
    assert back != data[:-1]
    assert (back.size, back.start, back.end) == (100_000, data[:64], data[-64:])


# The lifespan.


def lifespan(mode: str, monkeypatch: pytest.MonkeyPatch, *, error: Exception | None = None) -> tuple[list[Any], BaseException | None, list[Any]]:
    """Run it; what was sent, what was raised, what was recorded."""
    monkeypatch.setenv("ASGI_CONFORMANCE_LIFESPAN", mode)
    monkeypatch.setattr(RECORDER, "lifespan", [])
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}

    async def main() -> tuple[list[Any], BaseException | None]:
        peer = Peer({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, error=error)
        try:
            await asyncio.wait_for(reference.app(scope, peer.receive, peer.send), 0.2)
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - it is what is looked at
            return peer.sent, raised
        return peer.sent, None

    # SystemExit ends asyncio's own runner, when a task raises it; so it is caught in the task.
    sent, raised = asyncio.run(main()) if not mode.startswith("exit") else asyncio.run(exiting(scope))
    return [message["type"] for message in sent], raised, RECORDER.lifespan


async def exiting(scope: dict[str, Any]) -> tuple[list[Any], BaseException | None]:
    peer = Peer({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    with pytest.raises(SystemExit) as caught:
        await reference.app(scope, peer.receive, peer.send)
    return peer.sent, caught.value


STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"
MODES: dict[str, tuple[list[str], type[BaseException] | None]] = {
    "ok": ([STARTED, STOPPED], None),
    "slow-startup": ([STARTED, STOPPED], None),
    "slow-shutdown": ([STARTED, STOPPED], None),
    "hang-startup": ([], TimeoutError),
    "hang-shutdown": ([STARTED], TimeoutError),
    "fail-startup": (["lifespan.startup.failed"], None),
    "fail-shutdown": ([STARTED, "lifespan.shutdown.failed"], None),
    "raise": ([], RuntimeError),
    "raise-startup": ([], RuntimeError),
    "raise-shutdown": ([STARTED], RuntimeError),
    "return": ([], None),
    "return-startup": ([], None),
    "return-after-startup": ([STARTED], None),
    "exit": ([], SystemExit),
    "exit-shutdown": ([STARTED], SystemExit),
    "wrong-message": (["http.response.start", STARTED, STOPPED], None),
}


def test_every_lifespan_has_a_row_here() -> None:
    assert set(MODES) == set(LIFESPANS)


@pytest.mark.parametrize("mode", MODES)
def test_a_lifespan_goes_as_it_was_chosen(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, raised, recorded = lifespan(f"{mode}:0.01" if mode.startswith("slow") else mode, monkeypatch)
    expected, kind = MODES[mode]
    assert sent == expected
    assert (type(raised) if raised else None) is kind
    assert recorded[0]["do"] == "scope"
    assert decode(recorded[0]["scope"])["state"] == {}
    assert recorded[-1]["do"] == ("raised" if raised else "returned")


def test_a_lifespan_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, raised, _ = lifespan("nonsense", monkeypatch)
    assert isinstance(raised, ValueError)


def test_the_answer_to_a_wrong_lifespan_message_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    _, raised, recorded = lifespan("wrong-message", monkeypatch, error=KeyError("wrong"))
    assert isinstance(raised, KeyError)
    assert [entry["error"]["class"] for entry in recorded if entry["do"] == "send"] == ["KeyError", "KeyError"]


def test_the_journal_outlives_the_process_line_by_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(RECORDER, "_journal", str(tmp_path / "journal"))
    run([["note", "here", 1], ["wait-disconnect"], ["raise"]])
    lifespan("ok", monkeypatch)
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["begin", "note", "disconnect", "end", *["lifespan"] * 6]
    assert (lines[1]["name"], lines[1]["value"], lines[2]["message"]) == ("here", 1, GONE)
    assert (lines[3]["how"], lines[3]["error"]["class"]) == ("raised", "RuntimeError")


# A server has it.


def test_it_imports_nothing_but_the_standard_library_and_its_own_folder() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names, path
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1 or (node.module or "").partition(".")[0] in sys.stdlib_module_names, path


def test_it_is_imported_from_its_folder_alone() -> None:
    line = (
        f"import sys; sys.path[:0] = [{str(FOLDER.parent)!r}]; import reference; print(reference.app.__module__, 'asgi_conformance' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", line], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["reference", "False"]


def test_the_legacy_application_is_the_same_one_in_two_calls() -> None:
    async def main() -> list[Any]:
        peer = Peer(END)
        await reference.legacy_app(make_scope([["body", "hello"]]))(peer.receive, peer.send)
        return peer.sent

    assert asyncio.run(main()) == [HELLO]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer(reference.app, errors="ignore") as live:
        yield live


def test_a_server_in_a_thread_hosts_it_and_control_requests_do_not_count(server: LiveServer) -> None:
    mark = server.client.get("/.asgi-conformance/mark").json()
    script = [["receive-all"], ["respond", 201, [["x-a", "b"]], "ok"]]
    response = server.client.post("/a%20b?c", content=b"body", headers={"x-script": dumps_script(script)})
    assert (response.status_code, response.headers["x-a"], response.content) == (201, "b", b"ok")
    records = server.client.get(f"/.asgi-conformance/records?since={mark}&count=1&timeout=5").json()
    (record,) = map(read_record, records)
    assert (record.scope["path"], record.scope["query_string"], record.how) == ("/a b", b"c", "returned")
    assert b"".join(message["body"] for message in record.received) == b"body"
    assert server.client.get("/.asgi-conformance/mark").json() == mark + 1
    facts = server.client.get("/.asgi-conformance/facts").json()
    assert facts["state"] == {"n": 1, "list": []}
    assert server.client.get("/.asgi-conformance/nonsense").status_code == 404


def test_the_client_lets_a_script_go_on_and_waits_for_one(server: LiveServer) -> None:
    script = [["start", 200, []], ["body", "a", True], ["set", "begun"], ["await", "go"], ["body", "b", False]]
    with server.new_client() as other, server.client.stream("GET", "/", headers={"x-script": dumps_script(script)}) as response:
        parts = response.iter_bytes()
        assert next(parts) == b"a"
        assert other.get("/.asgi-conformance/await/begun?timeout=5").json() is True
        assert other.post("/.asgi-conformance/set/go").json() is True
        assert b"".join(parts) == b"b"
    assert server.client.get("/.asgi-conformance/await/never?timeout=0.01").json() is False


def test_a_script_can_be_left_for_the_next_request(server: LiveServer) -> None:
    assert server.client.post("/.asgi-conformance/next", content=dumps_script([["respond", 202]])).json() == 1
    assert [server.client.get("/").status_code for _ in range(2)] == [202, 200]


def test_a_websocket_echoes_or_follows_its_script(server: LiveServer) -> None:
    with server.ws("/", subprotocols=["a", "b"]) as socket:
        assert socket.subprotocol is None
        socket.send("text")
        assert socket.receive() == "text"
        socket.send(b"bytes")
        assert socket.receive() == b"bytes"
    script = [["accept", "b", [["x-a", "1"]]], ["text", "é"], ["bytes", "\xff"], ["close", 4001, "bye"]]
    with server.ws("/", subprotocols=["a", "b"], headers={"x-script": dumps_script(script)}) as socket:
        assert socket.subprotocol == "b"
        assert [socket.receive(), socket.receive()] == ["é", b"\xff"]
        assert socket.wait_closed() == 4001


def test_the_types_of_coroutines_are_what_servers_look_for() -> None:
    application: Callable[..., Coroutine[Any, Any, None]] = reference.app
    assert inspect.iscoroutinefunction(application)
    assert not inspect.iscoroutinefunction(reference.legacy_app)
