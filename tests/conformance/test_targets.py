"""Targets: real servers started, asked, and ended; and what is said where one is missing, dies, never answers or is somebody else's."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgi_conformance import servers, targets
from asgi_conformance.reference import app, dumps_script
from asgi_conformance.targets import (
    Place,
    RunningTarget,
    Setting,
    Target,
    TargetError,
    find_target,
    known_targets,
    start_target,
    unavailable_reason,
    version_of,
)
from pytest_asgiserve.live import LiveServer
from pytest_asgiserve.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN = list(known_targets())
PEERS = [name for name in KNOWN if name != "asgiserve"]
STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"
SERVE = "{python} -m asgiserve {app} --app-dir {app_dir}"


def available(name: str) -> str:
    """The name, where the server is installed; else the test is skipped with the reason."""
    reason = unavailable_reason(find_target(name))
    if reason is not None:
        pytest.skip(reason)
    return name


def ask(running: RunningTarget, path: str = "/", script: Sequence[Any] | None = None) -> tuple[int, bytes]:
    assert not isinstance(running.address, str)
    connection = http.client.HTTPConnection(*running.address, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={} if script is None else {"x-script": dumps_script(script)})
        response = connection.getresponse()
        return response.status, response.read()


def refused(running: RunningTarget) -> bool:
    assert not isinstance(running.address, str)
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(running.address) != 0


def sent_by_lifespan(running: RunningTarget) -> list[str]:
    return [entry["message"]["type"] for entry in running.journal() if entry["event"] == "lifespan" and entry["do"] == "send"]


# Real servers.


@pytest.mark.parametrize("name", PEERS)
def test_a_server_hosts_the_reference_application_and_stops(name: str) -> None:
    with start_target(available(name), settings={"graceful_timeout": 2}) as running:
        assert running.alive
        assert not isinstance(running.address, str)
        assert running.address[0] == "127.0.0.1"
        assert version_of(running.target)
        mark = running.mark()
        assert ask(running, "/a%20b?c", [["receive-all"], ["respond", 201, [["content-length", "2"]], "ok"]]) == (201, b"ok")
        (record,) = running.records(mark, count=1, timeout=5)
        assert (record.number, record.how) == (mark + 1, "returned")
        assert (record.scope["path"], record.scope["query_string"]) == ("/a b", b"c")
        facts = running.facts()
        assert facts["pid"] == running.worker_pid == record.pid
        if "state" in running.target.features:
            assert facts["state"] == {"n": 1, "list": []}
        if "lifespan" in running.target.features:
            assert sent_by_lifespan(running) == [STARTED]
    assert running.stop_problem is None
    assert not running.alive
    assert not Path(f"/proc/{facts['pid']}").exists()
    assert refused(running)
    if "lifespan" in running.target.features:
        assert sent_by_lifespan(running) == [STARTED, STOPPED], "the journal is there when the process is not"


def test_what_the_application_writes_is_gone_with_a_server_that_was_killed(tmp_path: Path) -> None:
    with start_target("asgiserve", environment={"TMPDIR": str(tmp_path)}) as running:
        script = [["start", 200, [["content-length", "5"]]], ["send", {"type": "http.response.pathsend", "path": {"path": 5}}]]
        mark = running.mark()
        assert ask(running, script=script)[0] == 200
        (record,) = running.records(mark, count=1, timeout=5)
        file = Path(record.sends[1].message["path"])
        assert file.is_file()
        running.signal(signal.SIGKILL)
        running.wait(5)
    assert not file.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PEERS)
def test_a_server_opens_websockets_where_it_says_so(name: str) -> None:
    with start_target(available(name), settings={"graceful_timeout": 2}) as running:
        assert "websocket" in running.target.features
        assert not isinstance(running.address, str)
        running.next_script([["accept", "b"], ["close"]])
        with socket.create_connection(running.address, 5) as sock:
            sock.sendall(
                b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            )
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(65536)
                assert data, head
                head += data
        assert head.startswith(b"HTTP/1.1 101")
        assert (b"permessage-deflate" in head) == ("permessage-deflate" in running.target.features)
        (record,) = running.records(0, count=1)
        assert record.scope["subprotocols"] == ["a", "b"]
        advertised = set(record.scope.get("extensions") or {}) | set(running.facts()["extensions"] or {})
        extensions = {name for name in running.target.features if name.startswith(("http.", "websocket."))}
        assert extensions <= advertised, "a declared extension is not advertised"


@pytest.mark.parametrize("name", ["asgiserve[h11]", "uvicorn[h11]", "hypercorn", "granian", "daphne", "gunicorn"])
def test_a_server_listens_on_a_unix_socket(name: str) -> None:
    with start_target(available(name), bind="uds") as running:
        assert isinstance(running.address, str)
        assert running.facts()["pid"] == running.worker_pid
    assert not Path(running.address).parent.exists()


@pytest.mark.parametrize("name", ["asgiserve[httptools]", "uvicorn[h11]"])
def test_a_server_starts_again_on_the_port_that_it_had(name: str) -> None:
    with start_target(available(name), bind="port") as first:
        assert not isinstance(first.address, str)
    with start_target(name, bind="port", port=first.address[1]) as second:
        assert second.address == first.address


@pytest.mark.parametrize("name", ["asgiserve[httptools]", "uvicorn[h11]", "hypercorn"])
def test_a_server_speaks_tls_where_it_has_a_certificate(name: str, tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    with start_target(available(name), settings={"certfile": str(chain), "keyfile": str(key)}) as running:
        assert running.url.startswith("https://127.0.0.1:")
        assert running.mark() == 0


@pytest.mark.parametrize("name", PEERS)
def test_a_server_understands_every_setting_that_it_is_said_to_have(name: str) -> None:
    values = {
        **dict.fromkeys(("keep_alive", "head_timeout", "body_timeout", "graceful_timeout", "ws_ping_interval", "ws_ping_timeout"), 3),
        "ws_close_timeout": 3,
        "max_body": 100_000,
        "ws_max_size": 100_000,
        "root_path": "/p",
        "workers": 1,
        "lifespan_on": True,
        "loop": "asyncio",
    }
    target = find_target(available(name))
    assert target.settings.keys() <= values.keys() | {"certfile", "keyfile", "ca_certs", "cert_reqs"}
    with start_target(target, settings=values) as running:
        assert set(running.ignored) == values.keys() - target.settings.keys()
        assert {running.settings[setting] for setting in running.settings.keys() & {"keep_alive", "ws_ping_interval"}} <= {3}


def test_settings_are_told_where_the_server_has_them_and_named_where_it_has_not() -> None:
    with start_target(available("uvicorn[h11]"), settings={"keep_alive": 1.5, "head_timeout": 1, "root_path": "/p"}) as running:
        assert running.settings["keep_alive"] == 2, "uvicorn takes whole seconds"
        assert running.ignored == ["head_timeout"]
        mark = running.mark()
        ask(running)
        assert running.records(mark, count=1)[0].scope["root_path"] == "/p"


def test_the_legacy_application_is_served_as_another_one() -> None:
    with start_target("asgiserve", app="reference:legacy_app") as running:
        assert ask(running)[0] == 200


def test_variables_for_servers_in_our_environment_do_not_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGISERVE_ROOT_PATH", "/from-outside")
    monkeypatch.setenv("ASGI_CONFORMANCE_LIFESPAN", "fail-startup")
    with start_target("asgiserve[h11]", environment={"GIVEN": "1"}) as running:
        mark = running.mark()
        ask(running)
        assert running.records(mark, count=1)[0].scope["root_path"] == ""


# What a case does with one.


def test_a_case_holds_a_response_and_lets_it_go_on() -> None:
    script = [["start"], ["body", "a", True], ["set", "begun"], ["await", "go"], ["body", "b", False]]
    with start_target("asgiserve[h11]") as running:
        assert not isinstance(running.address, str)
        connection = http.client.HTTPConnection(*running.address, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"x-script": dumps_script(script)})
            assert running.wait_flag("begun")
            (record,) = running.records(0, timeout=0)
            assert (record.how, len(record.sends)) == (None, 2)
            running.set_flag("go")
            assert connection.getresponse().read() == b"ab"
        assert not running.wait_flag("never", timeout=0.01)
        mark = running.mark_output()
        ask(running, "/seen")
        assert running.records(0, count=2)[1].how == "returned"
        assert "/seen" not in running.output[:mark]


def test_a_server_that_does_not_end_is_killed_and_it_is_said() -> None:
    with start_target("asgiserve[h11]") as running:
        assert not isinstance(running.address, str)
        with socket.create_connection(running.address, 5) as sock:
            script = dumps_script([["set", "here"], ["await", "never", 30]])
            sock.sendall(f"GET / HTTP/1.1\r\nHost: a\r\nX-Script: {script}\r\n\r\n".encode())
            assert running.wait_flag("here")
            assert running.stop(timeout=0.2) == -signal.SIGKILL
    assert running.stop_problem == "asgiserve[h11] did not end within 0.2 s of SIGTERM and was killed"


LEAVES = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True); "


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the environment of a process")
def test_a_process_that_a_server_leaves_behind_is_killed_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_LEFT_SECONDS", 0.2)
    code = LEAVES + "import runpy; runpy.run_module('asgiserve', run_name='__main__', alter_sys=True)"
    with start_target(f'cmd:{{python}} -c "{code}" {{app}} --app-dir {{app_dir}} --fd {{fd}}') as running:
        assert running.alive
    assert running.exit_status == 0
    assert running.stop_problem is not None
    assert "left 1 processes behind" in running.stop_problem
    assert not any(targets._was_told(int(path.name), running._token) for path in Path("/proc").iterdir() if path.name.isdecimal())


def test_a_server_that_died_is_not_alive_and_says_so() -> None:
    with start_target("asgiserve[h11]") as running:
        running.signal(signal.SIGKILL)
        assert running.wait(5) == -signal.SIGKILL
        assert not running.alive
        with pytest.raises(TargetError, match=r"does not answer facts: .*ended with status -9"):
            running.facts()


def test_records_that_went_with_a_worker_are_an_error_and_not_none() -> None:
    with start_target("asgiserve[h11]") as running:
        running._pid = -1
        with pytest.raises(TargetError, match="process -1 is gone, with what it recorded"):
            running.records()
        assert running.records() == [], "from now on it is the one"


@pytest.mark.parametrize(
    ("lifespan", "journal"),
    [("slow-shutdown:0.05", [STARTED, STOPPED]), ("raise", []), ("return-after-startup", [STARTED])],
)
def test_the_lifespan_is_chosen_by_the_case(lifespan: str, journal: list[str]) -> None:
    with start_target("asgiserve[h11]", lifespan=lifespan, timeout=10) as running:
        assert running.alive
    assert sent_by_lifespan(running) == journal


def test_a_start_that_is_to_fail_can_be_watched() -> None:
    with start_target("asgiserve[h11]", lifespan="fail-startup", wait=False) as running:
        assert running.wait(10) != 0
        assert "the reference application fails at startup" in running.output
        assert sent_by_lifespan(running) == ["lifespan.startup.failed"]
        with pytest.raises(TargetError, match="before it answered"):
            running.wait_ready(5)


# Commands and URLs.


@pytest.mark.parametrize("where", ["--fd {fd}", "--host {host} --port {port}", "--uds {uds}"])
def test_a_command_is_a_target(where: str) -> None:
    with start_target(f"cmd[http/1.1]:{SERVE} {where}") as running:
        assert running.target.features == {"http/1.1"}
        assert running.facts()["token"]
        assert version_of(running.target) is None
    assert running.stop_problem is None


def test_a_url_is_a_target() -> None:
    with LiveServer(app) as server, start_target(f"url:{server.url}") as running:
        assert running.url == server.url
        assert running.facts()["pid"] == os.getpid()
        mark = running.mark()
        assert ask(running)[0] == 200
        assert running.records(mark, count=1)[0].how == "returned"
        assert (running.alive, running.output, running.journal()) == (True, "", [])
        with pytest.raises(TargetError, match="was not started here"):
            running.signal(signal.SIGTERM)
        server.stop()
        assert not running.alive


# What goes wrong.


def test_a_server_that_dies_at_its_start_is_an_error_with_its_output() -> None:
    code = "import sys; sys.exit('the reason why')"
    with pytest.raises(TargetError, match=r"(?s)ended with status 1 before it answered.*the reason why"):
        start_target(f'cmd:{{python}} -c "{code}" {{fd}}')


@pytest.mark.parametrize("where", ["{fd}", "{port}"])
def test_a_server_that_never_answers_is_given_up_and_killed(where: str) -> None:
    started: list[Any] = []

    class Watched(ChildProcess):
        def spawn(self, *arguments: Any, **options: Any) -> None:
            super().spawn(*arguments, **options)
            started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "ChildProcess", Watched)
        with pytest.raises(TargetError, match=r"did not answer within 0.3 s"):
            start_target(f'cmd:{{python}} -c "import time; time.sleep(60)" {where}', timeout=0.3)
    assert started[0].exit_status == -signal.SIGKILL


def test_what_answers_in_its_place_is_not_taken_for_it() -> None:
    with LiveServer(app) as other:
        command = Target("confused", "it listens elsewhere", lambda place: [place.python, "-c", "import time; time.sleep(60)"])
        running = RunningTarget(command, {})
        running._start("port", None, "ok", "reference:app", {})
        with running:
            running.address = (other.host or "", other.port or 0)
            with pytest.raises(TargetError, match="what answers there is not the reference application that was started"):
                running.wait_ready(0.3)
            running.stop(5)


def test_another_server_on_the_port_is_not_taken_for_it() -> None:
    with pytest.raises(TargetError, match="facts was answered with 404"):
        start_target("cmd:{python} -m http.server {port} --bind {host}", timeout=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("uvicorn[httptool]", r"did you mean uvicorn\[httptools\]\?"),
        ("uvicorn", r"did you mean uvicorn\[httptools\] or uvicorn\[h11\]\?"),
        ("nonsense", r"there is no such target\. Known: asgiserve, "),
        ("cmd[]:python -m x {fd}", "the brackets are empty"),
        ("cmd[http/1.1,websockets]:python -m x {fd}", "there is no feature websockets; expected some of http/1.1, "),
        ("cmd:python -m x", r"must have one of \{fd\} and \{port\}"),
        ("cmd:python -m x {fd} {port}", r"must have one of"),
        ("cmd:python 'x {fd}", "cannot be split"),
        ("url:127.0.0.1:9000", "must be as in"),
        ("url:http://127.0.0.1:9000/path", "without a path"),
        ("cmd:/nowhere/at/all {fd}", "cannot be started"),
        ("url:http://127.0.0.1:1", "did not answer"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(name: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        start_target(name, timeout=0.1)


def test_a_way_to_listen_that_the_server_does_not_have_is_an_error() -> None:
    with pytest.raises(TargetError, match="cannot listen by fd, only by port or uds"):
        start_target(available("uvicorn[h11]"), bind="fd")
    with pytest.raises(TargetError, match="neither a command nor a URL"):
        start_target(Target("empty", "nothing"))


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(TargetError, match="cannot be bound"):
        start_target("asgiserve", bind="port", port=taken.getsockname()[1])


# What is installed.


def test_what_is_missing_is_named_with_what_to_install() -> None:
    missing = Target("missing", "not there", distribution="missing-server", modules={"missing_server.worker": "missing-server"})
    assert unavailable_reason(missing) == "missing_server.worker is not installed: pip install missing-server"
    assert version_of(missing) is None
    with pytest.raises(TargetError, match="pip install missing-server"):
        start_target(missing)


def test_a_target_can_have_another_name() -> None:
    mine = find_target("mine=cmd[http/1.1,x.y]:python -m server --at a=b@c {fd}")
    assert (mine.name, mine.features) == ("mine", frozenset({"http/1.1", "x.y"}))
    assert find_target("old=uvicorn[h11]@/nowhere/python").python == "/nowhere/python"


def test_another_interpreter_is_asked_what_it_has() -> None:
    # The same one under another name.
    here = find_target(f"asgiserve@{Path(sys.executable).parent}/./{Path(sys.executable).name}")
    assert here.python != sys.executable
    assert unavailable_reason(Target("x", "x", distribution="x", modules={"json.tool": "x"}, python=here.python)) is None
    reason = unavailable_reason(Target("x", "x", distribution="x", modules={"nonsense.x": "x"}, python=here.python))
    assert reason == f"nonsense.x is not installed for {here.python}: pip install x"
    nowhere = find_target("uvicorn[h11]@/nowhere/python")
    assert nowhere.name == "uvicorn[h11]@/nowhere/python"
    assert "/nowhere/python cannot be asked" in (unavailable_reason(nowhere) or "")
    assert version_of(nowhere) is None


@pytest.mark.parametrize(
    ("setting", "value", "arguments", "applied"),
    [
        (Setting("--a {}"), 0.5, ["--a", "0.5"], 0.5),
        (Setting("--a {}", "int"), 0.2, ["--a", "1"], 1),
        (Setting("--a={}", "ms"), 0.25, ["--a=250"], 0.25),
        (Setting("--a {}", "text"), "b c", ["--a", "b c"], "b c"),
        (Setting("--on", "flag"), True, ["--on"], True),
        (Setting("--on", "flag"), False, [], False),
    ],
)
def test_a_setting_becomes_arguments(setting: Setting, value: Any, arguments: list[str], applied: Any) -> None:
    assert setting.apply(value) == (arguments, applied)


def command_of(target: Target, **where: Any) -> list[str]:
    assert target.command is not None
    return target.command(Place("reference:app", "/app", "python", **where))


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_target_has_a_command_for_each_way_to_listen(name: str) -> None:
    target = find_target(name)
    for way, value, shown in (("port", 8123, "8123"), ("fd", 77, "77"), ("uds", "/s", "/s")):
        if way in target.bind:
            command = command_of(target, **{way: value})
            assert command[:2] == ["python", "-m"]
            assert "reference:app" in command
            assert any(shown in part for part in command)
    assert {"http/1.1"} <= target.features


TARGET = Target("mine", "a target of this test", lambda place: [place.python])


def make_target() -> Target:
    return TARGET


@pytest.mark.parametrize(
    ("attribute", "fails"), [("TARGET", ""), ("make_target", ""), ("KNOWN", "is no asgi_conformance.servers.Target"), ("nonsense", "cannot be")]
)
def test_other_distributions_have_targets_by_entry_point(attribute: str, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", f"{__name__}:{attribute}", servers.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry] if group == "asgi_conformance.targets" else [])
    if fails:
        with pytest.raises(TargetError, match=fails):
            find_target("theirs")
    else:
        assert find_target("theirs").description == "a target of this test"
        assert find_target("theirs").name == "theirs"


def test_the_end_of_an_open_websocket_is_in_the_journal_before_the_end_of_the_lifespan() -> None:
    with start_target("asgiserve[h11]") as running:
        assert not isinstance(running.address, str)
        running.next_script([["accept"], ["set", "open"], ["wait-disconnect"]])
        with socket.create_connection(running.address, 5) as sock:
            sock.sendall(
                b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Version: 13\r\n\r\n"
            )
            assert running.wait_flag("open")
            running.signal(signal.SIGTERM)
            received = b""
            while b"\r\n\r\n\x88\x02\x03" not in received:
                data = sock.recv(65536)
                assert data, received
                received += data
            # The answer: masked, 1001.
            sock.sendall(b"\x88\x82\0\0\0\0\x03\xe9")
            running.wait(10)
    events = [(entry["event"], entry.get("message", {}).get("type")) for entry in running.journal() if entry["event"] in {"disconnect", "lifespan"}]
    assert events.index(("disconnect", "websocket.disconnect")) < events.index(("lifespan", "lifespan.shutdown"))


def test_backpressure_is_seen_as_sends_that_do_not_return() -> None:
    script = [["start"], ["send-many", {"type": "http.response.body", "body": {"fill": "x", "size": 65536}, "more_body": True}, 1600]]
    with start_target("asgiserve[h11]") as running:
        assert not isinstance(running.address, str)
        with socket.create_connection(running.address, 5) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: a\r\nX-Script: {dumps_script(script)}\r\n\r\n".encode())
            sock.recv(100)
            (record,) = running.records(0, timeout=0.2)
        assert record.sends[1].end is None
        assert 0 < record.sends[1].count < 800, "half of 100 MiB was taken for a client that reads nothing"
        (record,) = running.records(0, count=1, timeout=5)
        assert record.how is not None
