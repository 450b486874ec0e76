"""A server in a process of its own: that it is what the test asked for, that its end is seen, and that nothing of it stays behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.config import OPTIONS, build_config
from asgiserve.errors import ConfigError, LifespanError, StartupError
from asgiserve.sources import from_file
from pytest_asgiserve import process
from pytest_asgiserve.process import KEPT_BYTES, ChildProcess, ChildServer
from pytest_asgiserve.unstoppable import StartTimeoutError, StopTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0
OFF: dict[str, Any] = {"lifespan": "off", "timeout_drain_idle": 0}

APPLICATION = '''
import asyncio, json, os, signal, sys

count = 0

async def answer(send, body):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})

async def app(scope, receive, send):
    """What the path says."""
    global count
    path = scope["path"]
    if path.endswith("/say"):
        count += 1
        print(f"said {count}")
    elif path.endswith("/end"):
        os._exit(int(scope["query_string"]))
    elif path.endswith("/die"):
        os.kill(os.getpid(), int(scope["query_string"]))
        await asyncio.Event().wait()
    elif path.endswith("/flood"):
        for number in range(3 * 16384):
            print(f"{number:063}")
    shown = {"path": sys.path, "cwd": os.getcwd(), "environment": dict(os.environ), "root_path": scope["root_path"], "stdin": sys.stdin.read()}
    await answer(send, json.dumps(shown).encode())

async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

async def hangs(scope, receive, send):
    await asyncio.Event().wait()

async def ends_badly(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    os._exit(5)

async def does_not_end(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("the database does not answer")
    await asyncio.Event().wait()
'''


@pytest.fixture
def applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the module ``served`` is. It is found as a test's own modules are: by `sys.path`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "served.py").write_text(APPLICATION, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def start(applications: Path) -> Iterator[Callable[..., ChildServer]]:
    """Starts servers, and closes them."""
    assert applications.is_dir()
    made = []

    def run(app: str = "served:app", **options: Any) -> ChildServer:
        server = ChildServer(app, {**OFF, **options}, start_timeout=SECONDS)
        made.append(server)
        server.start()
        return server

    yield run
    for server in made:
        server.close()


def get(server: ChildServer, path: str = "/") -> Any:
    """The JSON that it answers with."""
    address = server.address
    connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
    if address.path is None:
        connection.sock = socket.create_connection((address.host, address.port), SECONDS)
    else:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(SECONDS)
        connection.sock.connect(address.path)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def python(source: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(source)]


def spawn(source: str) -> ChildProcess:
    """Some program, for what has nothing to do with a server."""
    child = ChildProcess()
    # It is not to be measured: coverage's own warnings would be output as well.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    child.spawn(python(source), environment={**environment, "PYTHONUNBUFFERED": "1"})
    return child


# ---- an ordinary day


def test_a_server_is_started_and_stopped(start: Callable[..., ChildServer]) -> None:
    server = start()
    assert server.address.host == "127.0.0.1"
    assert server.address.url == f"http://127.0.0.1:{server.address.port}"
    assert get(server)["root_path"] == ""
    assert server.exit_status is None
    assert server.failure is None
    assert server.stop(SECONDS) == 0
    assert server.exit_status == 0
    assert server.failure is None
    assert "SIGTERM: stopping" in server.output
    # The socket was the child's alone: nobody takes connections for a server that is gone.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.address.host, server.address.port), SECONDS)


def test_what_the_test_can_import_the_child_can_import_in_the_same_order(
    start: Callable[..., ChildServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "a folder at 'the' end")])
    monkeypatch.setenv("OF_THE_TEST", "yes")
    shown = get(start())
    # The server itself puts the current folder first, as for any application.
    assert shown["path"] in (sys.path, [str(tmp_path), *sys.path])
    assert shown["cwd"] == str(tmp_path)
    assert shown["environment"]["OF_THE_TEST"] == "yes"
    assert shown["environment"].get("PYTHONPATH") == os.environ.get("PYTHONPATH")
    assert "NOTIFY_SOCKET" not in shown["environment"]


def test_the_child_has_no_input_to_wait_for(start: Callable[..., ChildServer]) -> None:
    assert get(start())["stdin"] == ""


def test_a_unix_socket_is_listened_on_and_removed(start: Callable[..., ChildServer], applications: Path) -> None:
    path = applications.parent / "socket"
    server = start(uds=path)
    assert server.address.path == str(path)
    assert get(server)["root_path"] == ""
    server.stop(SECONDS)
    assert not path.exists()


def test_sockets_of_the_test_are_listened_on_and_closed_here(applications: Path) -> None:
    assert applications.is_dir()
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    names = [sock.getsockname() for sock in sockets]
    server = ChildServer("served:app", OFF, sockets=sockets, start_timeout=SECONDS)
    with server:
        server.start()
        assert [sock.fileno() for sock in sockets] == [-1, -1]
        assert [(address.host, address.port) for address in server.addresses] == names
        assert "listening on " + server.addresses[1].url in server.output
        assert get(server)["root_path"] == ""
    assert server.exit_status == -signal.SIGKILL


def test_a_long_folder_for_temporary_files_is_no_obstacle(start: Callable[..., ChildServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The path of a UNIX socket has 108 bytes at most.
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert start().stop(SECONDS) == 0


def test_servers_run_beside_each_other(start: Callable[..., ChildServer]) -> None:
    one, other = start(root_path="/one"), start(root_path="/other")
    assert [get(one)["root_path"], get(other)["root_path"]] == ["/one", "/other"]
    assert one.stop(SECONDS) == 0
    assert get(other)["root_path"] == "/other"


# ---- options

TEXTS = ["", "plain", 'quoted "twice"', "a\\b", "two\nlines\ttab", "\x7f\x00\x1b", "umläut 😀", "# = [x]"]
PATHS = ("none", "a b", "-c", "ümläut")
OF_A_KIND: dict[str, list[Any]] = {
    "string": TEXTS,
    "path": [*TEXTS, *PATHS, Path("a/b")],
    "integer": [0, 2, "1"],
    "number": [0.001, 3],
    "boolean": [True, False, "true", "off"],
    "list": [(), ("one",), ["one", "two, with a comma"], "three,four"],
    "seconds": [0.5, 10, 1e-05, 123456789.125, "2.5"],
    "size": [0, 65536, "64KiB"],
    "rate": [240.0, 100],
    "count": [1, "7"],
    "file-or-mapping": ["logging.toml", "none"],
}


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "env_file"])
def test_every_value_of_an_option_arrives_as_it_is(name: str, tmp_path: Path) -> None:
    option = OPTIONS[name]
    arrived = 0
    for value in [*(option.choices if option.kind == "choice" else OF_A_KIND[option.kind]), option.default]:
        try:
            parsed = option.parse(value)
        except ConfigError:
            # Not in the option's range.
            continue
        # The child reads the file with the same function.
        assert from_file(process._write_options(tmp_path, {name: value})) == {name: parsed}
        arrived += 1
    assert arrived > 1


def test_a_whole_configuration_arrives_as_it_is(tmp_path: Path) -> None:
    options = {"limit_concurrency": None, "timeout_keep_alive": 3, "header": ["A: 1,2", "B: \N{SNOWMAN}"], "forwarded_allow_ips": [], "workers": 1}
    assert build_config(from_file(process._write_options(tmp_path, options))) == build_config(options)


def test_a_logging_configuration_may_be_a_mapping(start: Callable[..., ChildServer]) -> None:
    mapping = {
        "version": 1,
        "formatters": {"short": {"format": "<%(name)s> %(message)s", "datefmt": None}},
        "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "short", "stream": "ext://sys.stdout"}},
        "loggers": {"asgiserve": {"handlers": ["out"], "level": "INFO"}},
    }
    server = start(log_config=mapping)
    assert f"<asgiserve.server> listening on {server.address}" in server.output


def test_options_have_their_effect(start: Callable[..., ChildServer]) -> None:
    server = start(root_path="/mounted", header=["X-One: 1, 2"], access_log=False, limit_concurrency=None)
    with socket.create_connection((server.address.host, server.address.port), SECONDS) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        head = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")[0]
    assert b"\r\nx-one: 1, 2" in head.lower()
    assert "GET" not in server.output


def test_variables_and_files_for_options_do_not_reach_the_child(
    start: Callable[..., ChildServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # In a thread they have no effect either.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "asgiserve.toml").write_text('root_path = "/file"\n', encoding="utf-8")
    (tmp_path / "variables").write_text("ASGISERVE_ROOT_PATH=/env-file\nOF_THE_FILE=yes\n", encoding="utf-8")
    monkeypatch.setenv("ASGISERVE_LOG_LEVEL", "no such level")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "no such address")
    shown = get(start(env_file="variables"))
    assert shown["root_path"] == ""
    assert shown["environment"]["OF_THE_FILE"] == "yes"
    assert not [name for name in shown["environment"] if name.startswith(("ASGISERVE_", "FORWARDED_"))]


# ---- mistakes


async def here(scope: Any, receive: Any, send: Any) -> None:
    """An application that only this process has."""


@pytest.mark.parametrize(
    ("app", "options", "message"),
    [
        pytest.param(here, {}, r'needs the application by its name, as in "package\.module:app"; <function here .+ use mode="thread"$', id="object"),
        pytest.param("a:b", {"timeout_keep_alife": 1}, "did you mean timeout_keep_alive", id="unknown-option"),
        pytest.param("a:b", {"port": "http"}, "'http' is not a whole number", id="bad-value"),
        pytest.param("a:b", {"ssl_keyfile": "key.pem"}, "--ssl-keyfile needs --ssl-certfile", id="bad-together"),
    ],
)
def test_a_mistake_is_said_before_anything_starts(app: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChildServer(app, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"log_config": {"version": 1, "x": object()}}, "log_config: .+ as JSON: .+ not JSON serializable", id="object-in-a-mapping"),
        pytest.param({"root_path": "/\udcff"}, "not Unicode", id="surrogate"),
        pytest.param({"env_file": "no such file"}, "cannot read no such file", id="no-env-file"),
    ],
)
def test_what_cannot_be_handed_over_is_said(options: dict[str, Any], message: str) -> None:
    server = ChildServer("a:b", options)
    with pytest.raises(ConfigError, match=message):
        server.start()
    assert server.stop(SECONDS) is None


@pytest.mark.parametrize(
    ("app", "options", "kind", "status", "reason"),
    [
        pytest.param("served:nothing", {}, StartupError, "exit status 1", "served.py) has no attribute 'nothing'", id="no-attribute"),
        pytest.param("served:fails", {"lifespan": "on"}, LifespanError, "exit status 3", "no database", id="refuses"),
        pytest.param("served:app", {"ssl_certfile": "no.pem"}, ConfigError, "exit status 2", "no.pem", id="no-certificate"),
        pytest.param("broken:app", {}, StartupError, "exit status 1", "    1 / 0", id="raises"),
        pytest.param("crashes:app", {}, StartupError, "exit status -11 (SIGSEGV)", "Fatal Python error: Segmentation fault", id="crashes"),
    ],
)
def test_a_child_that_does_not_start_is_an_error_at_once_with_its_output(
    app: str, options: dict[str, Any], kind: type[Exception], status: str, reason: str, applications: Path
) -> None:
    (applications / "broken.py").write_text("def app():\n    1 / 0\n\napp()\n", encoding="utf-8")
    (applications / "crashes.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", encoding="utf-8")
    server = ChildServer(app, {**OFF, **options}, start_timeout=2 * SECONDS)
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        server.start()
    assert time.monotonic() - began < SECONDS
    assert type(caught.value) is kind
    first, _, output = str(caught.value).partition("\n")
    assert first == f"the server process {server.pid} ended with {status} before it accepted connections. It wrote:"
    assert reason in output
    # Stopping or closing what has failed is no error.
    server.stop(SECONDS)
    server.close()


def test_a_child_that_does_not_get_ready_is_killed(applications: Path) -> None:
    assert applications.is_dir()
    server = ChildServer("served:hangs", {**OFF, "lifespan": "on"}, start_timeout=1)
    with pytest.raises(StartTimeoutError, match=r"did not accept connections within 1 s \(start_timeout, --asgi-start-timeout\) and was killed"):
        server.start()
    assert server.exit_status == -signal.SIGKILL


def test_a_process_that_cannot_be_started_is_a_start_up_error(applications: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert applications.is_dir()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    server = ChildServer("served:app", OFF)
    with pytest.raises(StartupError, match=r"the server process cannot be started: .*No such file"):
        server.start()


# ---- its end


@pytest.mark.parametrize(
    ("path", "status", "failure"),
    [
        pytest.param("/end?0", 0, None, id="0"),
        pytest.param("/end?7", 7, "by itself with exit status 7", id="7"),
        pytest.param(f"/die?{signal.SIGSEGV.value}", -11, "by itself with exit status -11 (SIGSEGV)", id="crash"),
        pytest.param(f"/die?{signal.SIGKILL.value}", -9, "by itself with exit status -9 (SIGKILL)", id="out-of-memory"),
        pytest.param(
            "/die?40",
            -40,
            "by itself with exit status -40 (signal 40)",
            id="no-name",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a real-time signal of Linux"),
        ),
    ],
)
def test_a_server_that_ends_by_itself_is_seen(path: str, status: int, failure: str | None, start: Callable[..., ChildServer]) -> None:
    server = start()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        get(server, path)
    assert server.wait(SECONDS) == status
    assert server.failure == (failure and f"the server process {server.pid} ended {failure}")
    assert ("Segmentation fault" in server.output) == (status == -11)
    # Also when it is stopped afterwards.
    assert server.stop(SECONDS) == status
    assert server.failure == (failure and f"the server process {server.pid} ended {failure}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_of_the_test_is_no_failure(number: signal.Signals, start: Callable[..., ChildServer]) -> None:
    server = start()
    server.signal(number)
    assert server.wait(SECONDS) == (-9 if number is signal.SIGKILL else 0)
    assert server.failure is None
    # It has ended; there is nobody to get another.
    server.signal(signal.SIGTERM)


def test_a_bad_end_of_an_orderly_stop_is_a_failure(start: Callable[..., ChildServer]) -> None:
    server = start("served:ends_badly", lifespan="on")
    assert server.stop(SECONDS) == 5
    assert server.failure == f"the server process {server.pid} ended after SIGTERM with exit status 5"


def test_a_server_that_does_not_stop_is_killed_and_its_last_words_are_shown(start: Callable[..., ChildServer]) -> None:
    server = start("served:does_not_end", lifespan="on", timeout_shutdown=None)
    with pytest.raises(StopTimeoutError) as caught:
        server.stop(0.5)
    assert "did not end within 0.5 s of SIGTERM (stop_timeout, --asgi-stop-timeout) and was killed. It wrote:\n" in str(caught.value)
    assert str(caught.value).endswith("\n    the database does not answer")
    assert server.exit_status == -signal.SIGKILL
    assert server.failure is None


def test_a_wait_that_is_too_short_says_what_was_written_and_the_child_goes_on() -> None:
    with spawn("import signal; print('hello'); signal.pause()") as child:
        child.wait_line(lambda line: line == "hello", SECONDS)
        with pytest.raises(TimeoutError, match=rf"the server process {child.pid} did not end within 0\.05 s; it wrote:\n    hello$"):
            child.wait(0.05)
        with pytest.raises(TimeoutError, match=r"did not write the line that was waited for; it wrote:\n    hello$"):
            child.wait_line(lambda line: line == "goodbye", 0.05)
        assert child.exit_status is None


def test_a_line_that_never_comes_is_not_waited_for_once_the_child_has_ended() -> None:
    with spawn("raise SystemExit(4)") as child, pytest.raises(TimeoutError, match=r"ended with exit status 4; it wrote:\n    \(nothing\)$"):
        child.wait_line(lambda line: line == "goodbye", 2 * SECONDS)


# ---- what it writes


def test_what_was_written_before_a_response_is_there_after_it(start: Callable[..., ChildServer]) -> None:
    server = start(access_log=False)
    server.take_output()
    for number in range(1, 51):
        mark = server.mark()
        get(server, "/say")
        assert server.output_since(mark) == f"said {number}\n"
        assert server.take_output() == f"said {number}\n"
    assert server.take_output() == ""


def test_more_output_than_is_kept_costs_its_begin_and_blocks_nothing(start: Callable[..., ChildServer]) -> None:
    server = start(access_log=False)
    get(server, "/say")
    get(server, "/flood")
    text = server.output
    first, _, kept = text.partition("\n")
    assert first.startswith("[")
    assert first.endswith(" bytes of output before this were not kept]")
    assert len(kept) == KEPT_BYTES
    assert f"{3 * 16384 - 1:063}\n" in kept
    assert int(first[1:].split()[0]) + len(kept) == server.mark()
    # What fits is shown without that line.
    mark = server.mark()
    get(server, "/say")
    assert server.output_since(mark).startswith("said 2\n")


def test_output_is_read_in_the_order_in_which_it_was_written_and_any_byte_is_shown() -> None:
    source = r"""
        import os
        for turn in range(3):
            os.write(1, b"out %d\n" % turn)
            os.write(2, b"err %d\r\n" % turn)
        os.write(1, b"\xff\xc3\xa4 the last line has no end")
    """
    with spawn(source) as child:
        assert child.wait(SECONDS) == 0
    assert child.lines == ["out 0", "err 0", "out 1", "err 1", "out 2", "err 2", "\\xffä the last line has no end"]


def test_a_line_is_a_line_once_it_is_complete() -> None:
    source = """
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.write(1, b"first\\nsec")
        signal.sigwait([signal.SIGUSR1])
        os.write(1, b"ond\\n")
    """
    with spawn(source) as child:
        child.wait_line(lambda line: line == "first", SECONDS)
        assert child.lines == ["first"]
        assert child.output == "first\nsec"
        child.signal(signal.SIGUSR1)
        assert child.wait_line(lambda line: line.startswith("sec"), SECONDS) == "second"


def test_a_long_output_is_cut_in_a_message() -> None:
    with spawn("for number in range(100): print(number)") as child:
        child.wait(SECONDS)
        with pytest.raises(TimeoutError) as caught:
            child.wait_line(lambda line: line == "none", 0)
    lines = str(caught.value).split("\n")
    assert lines[1:3] == ["    [40 lines before this are not shown]", "    40"]
    assert lines[-1] == "    99"


# ---- nothing stays behind

STARTS_ANOTHER = """
    import signal, socket, subprocess, sys
    there = socket.create_connection(("127.0.0.1", {port}))
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=there)
    there.close()
    print("started")
    {then}
"""


def test_a_kill_reaches_what_the_child_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        with spawn(STARTS_ANOTHER.format(port=listener.getsockname()[1], then="signal.pause()")) as child:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(SECONDS)
                child.wait_line(lambda line: line == "started", SECONDS)
                child.close()
                # The other end was the grandchild's alone.
                assert connection.recv(1) == b""


def test_the_end_is_seen_although_something_that_it_started_holds_its_output() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        with spawn(STARTS_ANOTHER.format(port=listener.getsockname()[1], then="raise SystemExit(3)")) as child:
            connection, _ = listener.accept()
            with connection:
                try:
                    assert child.wait(SECONDS) == 3
                    assert child.output == "started\n"
                    child.close()
                finally:
                    os.killpg(child.pid, signal.SIGKILL)


DRIVER = """
    import os, signal, sys
    from pytest_asgiserve import process
    {before}
    server = process.ChildServer("served:app", {options!r}, start_timeout={seconds})
    server.start()
    print(server.address.port, flush=True)
    sys.stdin.readline()
    {end}
"""


@pytest.mark.parametrize(
    ("before", "end"),
    [
        pytest.param(
            "",
            "os.kill(os.getpid(), signal.SIGKILL)",
            id="killed",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends the children of a process that is killed"),
        ),
        # Without the kernel's help.
        pytest.param("process._tie = lambda *_: None", "sys.exit()", id="not-closed"),
    ],
)
def test_a_server_does_not_outlive_the_test_run(before: str, end: str, applications: Path) -> None:
    # 60 s for a request's head: it is not the server that closes an idle connection.
    options = {**OFF, "timeout_request_head": 60}
    program = python(DRIVER.format(before=before, end=end, options=options, seconds=SECONDS))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(applications)])}
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        port = int(driver.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            driver.stdin.write("\n")
            driver.stdin.flush()
            try:
                left = connection.recv(1)
            except ConnectionResetError:
                left = b""
        assert left == b""
        assert driver.wait(SECONDS) == (-signal.SIGKILL if "SIGKILL" in end else 0)


def descriptors() -> int:
    """How many files are open here."""
    return len(list(Path("/dev/fd").iterdir()))


def test_nothing_is_left_of_a_server(start: Callable[..., ChildServer], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = process._private_folder()
    monkeypatch.setattr(process, "_private_folder", lambda: folder)
    before = descriptors(), set(threading.enumerate())
    server = start()
    assert {path.name for path in Path(folder.name).iterdir()} == {"notify", "options.toml"}
    get(server, "/say")
    server.stop(SECONDS)
    server.close()
    assert (descriptors(), set(threading.enumerate())) == before
    assert not Path(folder.name).exists()
    # What it said can still be read.
    assert "said 1\n" in server.output


def test_nothing_is_left_of_a_failed_start(applications: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors(), set(threading.enumerate())
    path = applications.parent / "socket"
    for app, executable in (("served:nothing", sys.executable), ("served:app", "/no/such/python")):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(StartupError):
            ChildServer(app, {**OFF, "uds": path}, start_timeout=SECONDS).start()
    assert (descriptors(), set(threading.enumerate())) == before
    assert not path.exists()


def test_what_was_never_started_is_stopped_and_closed_without_a_word() -> None:
    server = ChildServer("served:app")
    assert server.stop(1) is None
    server.close()
    server.signal(signal.SIGTERM)
    assert (server.exit_status, server.output, server.failure) == (None, "", None)
