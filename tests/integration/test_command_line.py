"""The command line as its user meets it: a child process, its output, its exit code.

The law of this module: what the program says is compared with what a person needs; a mistake is one line and never a traceback of ours.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

import asgiserve
from pytest_asgiserve.raw import RawConnection
from tests.support.process import Child, child

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FASTAPI = """
import contextlib
from fastapi import FastAPI, Request

@contextlib.asynccontextmanager
async def lifespan(app):
    print("the application starts", flush=True)
    yield {"greeting": "hello"}
    print("the application stops", flush=True)

app = FastAPI(lifespan=lifespan)

@app.get("/")
async def root(request: Request):
    return {"greeting": request.state.greeting}

@app.get("/boom")
async def boom():
    raise RuntimeError("my own mistake")
"""
PLAIN = """
import asyncio, json, os

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if scope["path"] == "/forever":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.Event().wait()
    body = json.dumps({"root_path": scope["root_path"], "scheme": scope["scheme"], "from_env_file": os.environ.get("FROM_ENV_FILE")}).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})

def make():
    return app

number = 3
"""
OURS = re.compile(r'File "[^"]*[/\\]asgiserve[/\\]')
QUIET = ("--port", "0", "--lifespan", "off", "--timeout-drain-idle", "0")


def get(running: Child, path: str = "/", **options: Any) -> httpx.Response:
    host, port = running.address
    with httpx.Client(trust_env=False, timeout=20, **options) as client:
        return client.get(f"{'https' if 'verify' in options else 'http'}://{host}:{port}{path}")


def stop(running: Child, number: signal.Signals = signal.SIGINT) -> None:
    """Stop it in order: exit code 0, and nothing that looks like an accident."""
    running.signal(number)
    assert running.wait() == 0, running.output
    assert "Traceback" not in running.output
    assert [line for line in running.lines if "INFO:     stopped" in line]


# ---- an ordinary day


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fastapi_application_is_served_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with child("main:app", "--port", "0", source=FASTAPI, cwd=tmp_path) as running:
        host, port = running.address
        assert host == "127.0.0.1"
        assert get(running).json() == {"greeting": "hello"}
        stop(running, number)
    assert [line for line in running.lines if line.startswith("the application")] == ["the application starts", "the application stops"]
    said = [re.sub(r"^[-\d]+ [:\d]+ ", "", line) for line in running.lines if not line.startswith("the application") and '"GET ' not in line]
    assert said == [
        f"INFO:     listening on http://127.0.0.1:{port} (process {running.process.pid}; Ctrl+C stops)",
        f"INFO:     {number.name}: stopping; once more to stop at once",
        "INFO:     stopped",
    ]
    (access,) = [line for line in running.lines if '"GET ' in line]
    assert re.fullmatch(r'[-\d]+ [:\d]+ INFO: +127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 20 [\d.]+ms', access)


def test_an_exception_in_a_request_is_shown_once_without_our_frames_and_the_server_goes_on(tmp_path: Path) -> None:
    with child("main:app", "--port", "0", "--timeout-drain-idle", "0", source=FASTAPI, cwd=tmp_path) as running:
        assert get(running, "/boom?x=1").status_code == 500
        assert get(running).status_code == 200
        running.signal(signal.SIGINT)
        assert running.wait() == 0
    assert running.output.count("Traceback (most recent call last)") == 1
    assert "ERROR:    GET /boom?x=1: exception in the application" in running.output
    assert "RuntimeError: my own mistake" in running.output
    assert 'main.py", line' in running.output
    assert not OURS.search(running.output)


def test_ctrl_c_with_an_idle_connection_ends_soon_and_a_second_one_at_once(tmp_path: Path) -> None:
    # 60 s of patience with idle connections, and two signals: it must not be the patience that ends it.
    with child("main:app", "--port", "0", "--timeout-drain-idle", "60", source=PLAIN, cwd=tmp_path) as running, RawConnection(running.address) as raw:
        assert raw.exchange("/").status == 200
        running.signal(signal.SIGINT)
        running.wait_line(lambda line: "once more to stop at once" in line)
        running.signal(signal.SIGINT)
        assert running.wait() == 0
        assert any("stopping at once" in line for line in running.lines)


def test_a_request_that_never_ends_is_cancelled_after_the_graceful_period(tmp_path: Path) -> None:
    with (
        child("main:app", *QUIET, "--timeout-graceful-shutdown", "0.2", source=PLAIN, cwd=tmp_path) as running,
        RawConnection(running.address) as raw,
    ):
        raw.get("/forever")
        raw.read_head()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert "waiting for 1 running request" in running.output
    assert "cancelling 1 request that did not finish in time" in running.output
    assert "Traceback" not in running.output


def test_ctrl_c_ends_a_start_up_that_hangs(tmp_path: Path) -> None:
    source = """
import asyncio
async def app(scope, receive, send):
    print("starting", flush=True)
    await asyncio.Event().wait()
"""
    with child("main:app", "--port", "0", source=source, cwd=tmp_path) as running:
        running.wait_line(lambda line: line == "starting")
        running.signal(signal.SIGINT)
        assert running.wait() in {0, 130}
        assert "Traceback" not in running.output
        assert "listening" not in running.output


def test_a_second_ctrl_c_ends_a_shutdown_that_hangs(tmp_path: Path) -> None:
    # 60 s of patience with the application's shutdown (--timeout-shutdown), of which nothing is waited for.
    source = """import asyncio
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("shutting down", flush=True)
    await asyncio.Event().wait()
"""
    with child("main:app", "--port", "0", source=source, cwd=tmp_path) as running:
        assert running.address[1]
        running.signal(signal.SIGINT)
        running.wait_line(lambda line: line == "shutting down")
        running.signal(signal.SIGINT)
        assert running.wait() == 0
        assert "the application's shutdown was cut short: the server was told a second time to stop" in running.output


def test_ctrl_c_ends_an_import_that_hangs(tmp_path: Path) -> None:
    with child("main:app", source="import time\nprint('importing', flush=True)\ntime.sleep(60)\n", cwd=tmp_path) as running:
        running.wait_line(lambda line: line == "importing")
        running.signal(signal.SIGINT)
        assert running.wait() == 130
        assert not OURS.search(running.output)


# ---- mistakes


class Mistake(NamedTuple):
    """Words of the command line, and the one line that answers them."""

    id: str
    words: tuple[str, ...]
    line: str
    code: int = 1
    source: str = PLAIN
    environment: Mapping[str, str] = {}


MISTAKES = [
    Mistake("no-module", ("nosuch:app",), r"Error: no module named 'nosuch' in .+"),
    Mistake("near-module", ("mein:app",), r"Error: no module named 'mein' .+; did you mean main\?"),
    Mistake("no-attribute", ("main:appp",), r"Error: module 'main' has no attribute 'appp'; did you mean app\?"),
    Mistake("no-colon", ("main",), r"Error: 'main' must be module:attribute; did you mean main:app\?"),
    Mistake("a-file", ("main.py",), r"Error: 'main\.py' must be module:attribute; did you mean main:app\?"),
    Mistake("not-callable", ("main:number",), r"Error: main:number is an int, not an application: it cannot be called"),
    Mistake("a-factory", ("main:make",), r"Error: main:make cannot be called .+ add --factory"),
    Mistake("no-application", (), r"Error: which application\? .+", code=2),
    Mistake("unknown-option", ("main:app", "--prot", "1"), r"Error: No such option.+--port.+", code=2),
    Mistake("bad-number", ("main:app", "--port", "http"), r"Error: --port: 'http' is not a whole number", code=2),
    Mistake("bad-range", ("main:app", "--port", "70000"), r"Error: --port: '70000' is not a number between 0 and 65535", code=2),
    Mistake("bad-choice", ("main:app", "--loop", "uvlop"), r"Error: --loop: 'uvlop' is not one of .+; did you mean uvloop\?", code=2),
    Mistake(
        "bad-variable", ("main:app",), r"Error: ASGISERVE_PROT in the environment is not an option; .+", code=2, environment={"ASGISERVE_PROT": "1"}
    ),
    Mistake("bad-value-of-a-variable", ("main:app",), r"Error: --port: 'x' .+ASGISERVE_PORT.+", code=2, environment={"ASGISERVE_PORT": "x"}),
    Mistake("no-config-file", ("main:app", "--config", "nosuch.toml"), r"Error: cannot read nosuch\.toml: .+", code=2),
    Mistake("no-env-file", ("main:app", "--env-file", "nosuch.env"), r"Error: --env-file: cannot read nosuch\.env: .+", code=2),
    Mistake("no-app-dir", ("main:app", "--app-dir", "nosuch"), r"Error: --app-dir: 'nosuch' is not a directory", code=2),
    Mistake("no-certificate", ("main:app", "--ssl-certfile", "nosuch.pem"), r"Error: --ssl-certfile: cannot read nosuch\.pem: .+", code=2),
    Mistake("key-alone", ("main:app", "--ssl-keyfile", "main.py"), r"Error: --ssl-keyfile needs --ssl-certfile as well", code=2),
    Mistake("no-pem", ("main:app", "--ssl-certfile", "main.py"), r"Error: --ssl-certfile: cannot use main\.py: .+", code=2),
    Mistake("bad-bind", ("main:app", "--bind", "nonsense"), r"Error: --bind: 'nonsense' is not host:port, .+", code=2),
    Mistake("not-our-address", ("main:app", "--host", "192.0.2.1"), r"Error: cannot listen on 192\.0\.2\.1:8000: this machine has no such address"),
    Mistake("no-directory-for-the-socket", ("main:app", "--uds", "nosuch/s"), r"Error: cannot listen on nosuch/s: the directory does not exist"),
    Mistake("a-file-is-no-socket", ("main:app", "--uds", "main.py"), r"Error: cannot listen on main\.py: the file exists and is no socket"),
    Mistake("no-reload", ("main:app", "--reload"), r"Error: --reload: .+", code=2),
    Mistake(
        "exits",
        ("main:app",),
        r"Error: module 'main' was found, but cannot be imported: it called sys\.exit\(5\) at .+",
        source="import sys\nsys.exit(5)\n",
    ),
    Mistake(
        "refused",
        ("main:app", "--port", "0"),
        r"Error: the application refused to start: no database",
        code=3,
        source="async def app(s, r, send):\n    await r()\n    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n",
    ),
    Mistake(
        "lifespan-takes-too-long",
        ("main:app", "--port", "0", "--timeout-startup", "0.1"),
        r"Error: the application did not complete its start-up within 0\.1 seconds \(--timeout-startup\)",
        code=3,
        source="import asyncio\nasync def app(s, r, send):\n    await asyncio.Event().wait()\n",
    ),
]


@pytest.mark.parametrize("mistake", [pytest.param(mistake, id=mistake.id) for mistake in MISTAKES])
def test_a_mistake_is_one_line_and_an_exit_code(tmp_path: Path, mistake: Mistake) -> None:
    with child(*mistake.words, source=mistake.source, cwd=tmp_path, environment=mistake.environment) as running:
        assert running.wait() == mistake.code, running.output
    (line,) = running.lines
    assert re.fullmatch(mistake.line, line), line


def test_an_address_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with child("main:app", "--port", str(port), source=PLAIN, cwd=tmp_path) as running:
            assert running.wait() == 1
    (line,) = running.lines
    assert line.startswith(f"Error: cannot listen on 127.0.0.1:{port}: the address is already in use; ")


def test_a_socket_path_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "s"))
        taken.listen()
        with child("main:app", "--uds", "s", source=PLAIN, cwd=tmp_path) as running:
            assert running.wait() == 1
    (line,) = running.lines
    assert line.startswith("Error: cannot listen on s: the address is already in use")


def test_a_key_that_does_not_belong_to_the_certificate_is_one_line(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    authority.issue_cert("localhost").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    with child("main:app", "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem", source=PLAIN, cwd=tmp_path) as running:
        assert running.wait() == 2
    assert running.lines == ["Error: --ssl-keyfile: the key key.pem does not belong to the certificate cert.pem"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        pytest.param((), "needed (--ssl-keyfile-password)", id="none"),
        pytest.param(("--ssl-keyfile-password", "wrong"), "wrong", id="wrong"),
    ],
)
def test_a_password_that_is_missing_or_wrong_is_one_line_and_never_shown(tmp_path: Path, given: tuple[str, ...], hint: str) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with child("main:app", "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem", *given, source=PLAIN, cwd=tmp_path) as running:
        assert running.wait() == 2
    assert running.lines == [f"Error: --ssl-keyfile: the key key.pem is encrypted and its password is {hint}"]


BROKEN = [
    pytest.param(
        "import os\n\ndef settings():\n    return os.environ['SURELY_NOT_SET']\n\napp = settings()\n",
        ["Traceback (most recent call last):", "KeyError: 'SURELY_NOT_SET'"],
        "Error: module 'main' was found, but cannot be imported: KeyError: 'SURELY_NOT_SET'",
        id="raises",
    ),
    pytest.param(
        "def app(:\n",
        ["    def app(:", "SyntaxError: invalid syntax"],
        "Error: module 'main' was found, but cannot be imported: SyntaxError",
        id="syntax",
    ),
    pytest.param(
        "import surely_not_installed\n",
        ["    import surely_not_installed", "ModuleNotFoundError: No module named 'surely_not_installed'"],
        "Error: module 'main' was found, but it imports 'surely_not_installed', which is not installed or not found",
        id="import",
    ),
]


@pytest.mark.parametrize(("source", "shown", "last"), BROKEN)
def test_a_broken_module_shows_its_own_traceback_and_one_line(tmp_path: Path, source: str, shown: list[str], last: str) -> None:
    with child("main:app", source=source, cwd=tmp_path) as running:
        assert running.wait() == 1
    for line in shown:
        assert line in running.lines
    assert running.lines[-1].startswith(last)
    assert 'main.py", line' in running.output
    assert not OURS.search(running.output)
    assert "importlib" not in running.output
    assert len([line for line in running.lines if line.startswith("Error: ")]) == 1


def test_a_factory_that_raises_shows_its_own_traceback(tmp_path: Path) -> None:
    with child("main:make", "--factory", source="def make():\n    raise RuntimeError('no settings')\n", cwd=tmp_path) as running:
        assert running.wait() == 1
    assert running.lines[-1] == "Error: the factory main:make failed: RuntimeError: no settings"
    assert "    raise RuntimeError('no settings')" in running.lines
    assert not OURS.search(running.output)


def test_a_fastapi_application_that_fails_at_start_up_shows_why_and_exits_with_3(tmp_path: Path) -> None:
    source = FASTAPI.replace('print("the application starts", flush=True)', 'raise RuntimeError("no database")')
    with child("main:app", "--port", "0", source=source, cwd=tmp_path) as running:
        assert running.wait() == 3
    # Starlette hands its traceback over as the message of lifespan.startup.failed.
    assert running.lines[-1] == "Error: the application refused to start: RuntimeError: no database"
    assert running.output.count("Traceback (most recent call last)") == 1
    assert any(line.strip() == 'raise RuntimeError("no database")' for line in running.lines)
    assert "\\x0a" not in running.output
    assert "listening" not in running.output
    assert not OURS.search(running.output)


def test_an_application_that_raises_at_start_up_with_the_lifespan_on_shows_why_and_exits_with_3(tmp_path: Path) -> None:
    source = "async def app(scope, receive, send):\n    raise RuntimeError('no database')\n"
    with child("main:app", "--port", "0", "--lifespan", "on", source=source, cwd=tmp_path) as running:
        assert running.wait() == 3
    assert running.lines[-1].startswith("Error: ")
    assert any(line.strip() == "RuntimeError: no database" for line in running.lines)
    assert running.output.count("Traceback (most recent call last)") == 1
    assert not OURS.search(running.output)


# ---- where options come from


def test_a_factory_is_called(tmp_path: Path) -> None:
    with child("main:make", "--factory", *QUIET, source=PLAIN, cwd=tmp_path) as running:
        assert get(running).status_code == 200
        stop(running)


def test_the_application_is_found_in_app_dir(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "elsewhere.py").write_text(PLAIN, encoding="utf-8")
    with child("elsewhere:app", "--app-dir", "src", *QUIET, cwd=tmp_path) as running:
        assert get(running).status_code == 200
        stop(running)


def test_an_env_file_is_read_before_the_application_and_the_options(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FROM_ENV_FILE=yes\nASGISERVE_ROOT_PATH=/mounted\n", encoding="utf-8")
    with child("main:app", "--env-file", ".env", *QUIET, source=PLAIN, cwd=tmp_path) as running:
        assert get(running).json() == {"from_env_file": "yes", "root_path": "/mounted", "scheme": "http"}
        stop(running)


@pytest.mark.parametrize("name", ["asgiserve.toml", "pyproject.toml", "other.toml"])
def test_a_file_sets_options_and_the_application(tmp_path: Path, name: str) -> None:
    table = "[tool.asgiserve]\n" if name == "pyproject.toml" else ""
    options = 'app = "main:app"\nport = 0\nlifespan = "off"\nroot-path = "/from-the-file"\ntimeout_drain_idle = 0\n'
    (tmp_path / name).write_text(table + options, encoding="utf-8")
    words = ("--config", name) if name == "other.toml" else ()
    with child(*words, source=PLAIN, cwd=tmp_path) as running:
        assert get(running).json()["root_path"] == "/from-the-file"
        stop(running)


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        pytest.param(("--root-path", "/line"), {"ASGISERVE_ROOT_PATH": "/variable"}, "/line", id="command-line"),
        pytest.param((), {"ASGISERVE_ROOT_PATH": "/variable"}, "/variable", id="environment"),
        pytest.param((), {}, "/file", id="file"),
    ],
)
def test_the_command_line_precedes_the_environment_and_that_the_file(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str], expected: str
) -> None:
    (tmp_path / "asgiserve.toml").write_text('root_path = "/file"\nport = 1\n', encoding="utf-8")
    with child(*words, *QUIET, source=PLAIN, cwd=tmp_path, environment={"ASGISERVE_APP": "main:app", **environment}) as running:
        assert get(running).json()["root_path"] == expected
        stop(running)


def test_all_options_may_come_from_the_environment(tmp_path: Path) -> None:
    environment = {
        "ASGISERVE_APP": "main:make",
        "ASGISERVE_FACTORY": "true",
        "ASGISERVE_BIND": "127.0.0.1:0,unix:s",
        "ASGISERVE_LIFESPAN": "off",
        "ASGISERVE_HTTP": "h11",
        "ASGISERVE_LOOP": "asyncio",
        "ASGISERVE_HEADER": "X-One: 1",
        "ASGISERVE_ACCESS_LOG": "false",
        "ASGISERVE_TIMEOUT_DRAIN_IDLE": "0",
    }
    with child(source=PLAIN, cwd=tmp_path, environment=environment) as running:
        running.wait_line(lambda line: "unix:s" in line)
        assert get(running).headers["x-one"] == "1"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "s"))) as client:
            assert client.get("http://localhost/").status_code == 200
        stop(running)
    assert "GET" not in running.output
    assert not (tmp_path / "s").exists()


# ---- logs


def test_json_logs_are_one_object_a_line(tmp_path: Path) -> None:
    with child("main:app", "--log-format", "json", "--port", "0", "--timeout-drain-idle", "0", source=PLAIN, cwd=tmp_path) as running:
        assert get(running, '/path?q="x\\').status_code == 200
        with RawConnection(running.address) as raw:
            raw.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            assert raw.read_response().status == 400
        running.signal(signal.SIGINT)
        assert running.wait() == 0
    lines = [json.loads(line) for line in running.lines]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    (access,) = [line for line in lines if line["logger"] == "asgiserve.access"]
    assert access["method"] == "GET"
    assert access["target"].startswith("/path?q=")
    assert (access["version"], access["status"], access["outcome"]) == ("1.1", 200, "complete")
    assert access["bytes"] > 0
    assert access["duration_ms"] > 0
    assert re.fullmatch(r"127\.0\.0\.1:\d+", access["peer"])
    assert [line["level"] for line in lines if "refused with 400" in line["message"]] == ["warning"]
    assert [line["message"] for line in lines if line["logger"] == "asgiserve.server"][-1] == "stopped"


def test_a_json_line_holds_the_traceback_of_an_exception(tmp_path: Path) -> None:
    with child("main:app", "--log-format", "json", "--port", "0", "--timeout-drain-idle", "0", source=FASTAPI, cwd=tmp_path) as running:
        assert get(running, "/boom").status_code == 500
        running.signal(signal.SIGINT)
        assert running.wait() == 0
    lines = [json.loads(line) for line in running.lines if not line.startswith("the application")]
    (failure,) = [line for line in lines if line["level"] == "error"]
    assert failure["message"] == "GET /boom: exception in the application"
    assert failure["exception"].endswith("RuntimeError: my own mistake")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        pytest.param(("--no-access-log",), ["listening", "stopping", "stopped"], id="no-access-log"),
        pytest.param(("--log-level", "warning"), [], id="warnings-only"),
    ],
)
def test_what_is_not_wanted_is_not_logged(tmp_path: Path, words: tuple[str, ...], lines: list[str]) -> None:
    # A socket that listens already: who says nothing cannot be asked whether it does.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        options = ("--fd", str(number), "--lifespan", "off", "--timeout-drain-idle", "0", *words)
        with child("main:app", *options, source=PLAIN, cwd=tmp_path, fds=(number,)) as running:
            with RawConnection(listener.getsockname()) as raw:
                assert raw.exchange("/").status == 200
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
    assert len(running.lines) == len(lines)
    for line, word in zip(running.lines, lines, strict=True):
        assert word in line


# ---- the other ways to be reached


def test_a_self_made_certificate_is_enough_for_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with child("main:app", "--ssl-certfile", "both.pem", *QUIET, source=PLAIN, cwd=tmp_path) as running:
        assert "https://127.0.0.1:" in running.wait_line(lambda line: "listening" in line)
        assert get(running, verify=context).json()["scheme"] == "https"
        stop(running)


def test_an_inherited_socket_is_listened_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        with child(
            "main:app", "--fd", str(number), "--lifespan", "off", "--timeout-drain-idle", "0", source=PLAIN, cwd=tmp_path, fds=(number,)
        ) as running:
            assert running.address == listener.getsockname()
            assert get(running).status_code == 200
            stop(running)


def test_the_version_and_the_help_are_shown(tmp_path: Path) -> None:
    with child("--version", cwd=tmp_path) as running:
        assert running.wait() == 0
    versions = dict(line.split(maxsplit=1) for line in running.lines)
    assert versions["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert {"asgiserve", "uvloop", "httptools", "h11", "websockets", "OpenSSL"} <= versions.keys()
    with child("--help", cwd=tmp_path) as running:
        assert running.wait() == 0
    assert running.lines[0].startswith("Usage: ")
    assert "--port" in running.output
    assert "8000" in running.output


def test_run_serves_from_a_script(tmp_path: Path) -> None:
    # The programming interface in a process of its own: `python main.py`.
    assert callable(asgiserve.run)
    source = PLAIN + "\nif __name__ == '__main__':\n    import asgiserve\n    asgiserve.run(app, port=0, lifespan='off', timeout_drain_idle=0)\n"
    prelude = "import runpy, sys; runpy.run_path('main.py', run_name='__main__'); sys.exit(0)"
    with child(source=source, cwd=tmp_path, prelude=prelude) as running:
        connection = http.client.HTTPConnection(*running.address, timeout=20)
        connection.request("GET", "/", headers={"Connection": "close"})
        assert connection.getresponse().read()
        connection.close()
        stop(running)
