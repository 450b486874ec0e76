"""The command line: it is complete, it is readable, and a mistake is one line and an exit code."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from uvicorn.main import main as uvicorn_main

from asgiserve import cli
from asgiserve.absent import ABSENT
from asgiserve.cli import main
from asgiserve.config import OPTIONS, SECTIONS, Config
from asgiserve.errors import ApplicationLoadError, BindError, LifespanError
from asgiserve.importer import load_application
from asgiserve.logs import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

ROOT = Path(__file__).parent.parent


class Supervisor:
    """Stands in for `asgiserve.supervisor`: keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Config]] = []
        self.error: BaseException | None = None
        self.loads = False

    def run_config(self, target: str, config: Config) -> None:
        self.calls.append((target, config))
        if self.loads:
            load_application(target, app_dir=config.app.app_dir, factory=config.app.factory)
        if self.error is not None:
            raise self.error

    @property
    def config(self) -> Config:
        ((_, config),) = self.calls
        return config


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    stand_in = Supervisor()
    monkeypatch.setattr("asgiserve.supervisor.run_config", stand_in.run_config)
    return stand_in


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith("ASGISERVE_") or variable in {
            "FORWARDED_ALLOW_IPS",
            "WEB_CONCURRENCY",
            "NO_COLOR",
            "FORCE_COLOR",
            "COLUMNS",
        }:
            monkeypatch.delenv(variable)


def run(*words: str, **options: Any) -> Result:
    return CliRunner().invoke(main, list(words), **options)


def mistake(*words: str, code: int = 2) -> str:
    """The line that a mistake gives."""
    result = run(*words)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip("\n")


# ---- complete


def uvicorn_options() -> list[click.Option]:
    return [param for param in uvicorn_main.params if isinstance(param, click.Option)]


@pytest.mark.parametrize("option", uvicorn_options(), ids=lambda option: option.opts[0])
def test_every_option_of_uvicorn_is_here_or_named_as_absent(option: click.Option) -> None:
    ours = {name: param for param in main.params if isinstance(param, click.Option) for name in [*param.opts, *param.secondary_opts]}
    for name in [*option.opts, *option.secondary_opts]:
        assert name in ours
        assert ours[name].is_flag is option.is_flag


def test_the_table_of_absent_options_names_only_options_of_uvicorn() -> None:
    theirs = {name for option in uvicorn_options() for name in option.opts}
    assert {absent.flags for absent in ABSENT.values()} <= theirs


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_reaches_the_config(supervisor: Supervisor, name: str) -> None:
    option = OPTIONS[name]
    words, value = [option.flags, "7"], 7
    expected: Any = value
    if option.kind == "boolean" and option.value_flag:
        words, expected = [option.flags, "false"], False
    elif option.kind == "boolean":
        off = option.default is not False
        words, expected = [f"--no-{option.flags[2:]}" if off else option.flags], not off
    elif option.kind == "choice":
        expected = next(choice for choice in option.choices if choice != option.default)
        words = [option.flags, expected]
    elif option.kind == "list":
        words, expected = [option.flags, "A:1", option.flags, "B:2"], ("A:1", "B:2")
    elif option.kind in {"string", "path", "file-or-mapping"}:
        words, expected = [option.flags, "/text"], "/text"
    elif option.kind in {"seconds", "rate"}:
        expected = 7.0
    elif option.kind in {"size", "integer", "count"}:
        expected = 1 if option.maximum == 2 else 4096
        words = [option.flags, str(expected)]
    if name == "env_file":
        Path("x.env").write_text("")
        words, expected = [option.flags, "x.env"], "x.env"
    extra = {
        "ssl_keyfile": ["--ssl-certfile", "c"],
        "ssl_ca_certs": ["--ssl-certfile", "c"],
        "ssl_ciphers": ["--ssl-certfile", "c"],
        "ssl_cert_reqs": ["--ssl-certfile", "c", "--ssl-ca-certs", "a"],
    }.get(name, [])
    result = run("main:app", *words, *extra)
    assert result.exit_code == 0, result.output
    assert getattr(getattr(supervisor.config, option.section), name) == expected


def test_nothing_given_is_the_defaults(supervisor: Supervisor) -> None:
    result = run("main:app")
    assert (result.exit_code, result.output) == (0, "")
    assert supervisor.calls == [("main:app", Config())]


def test_lists_are_given_several_times_or_with_commas(supervisor: Supervisor) -> None:
    run("m:a", "--bind", "a:1,b:2", "--bind", "[::1]:3", "--forwarded-allow-ips", "10.0.0.0/8,*", "--header", "A: 1, 2", "--header", "B:3")
    assert supervisor.config.bind.bind == ("a:1", "b:2", "[::1]:3")
    assert supervisor.config.proxy.forwarded_allow_ips == ("10.0.0.0/8", "*")
    assert supervisor.config.http.header == ("A: 1, 2", "B:3")


def test_an_option_may_have_a_short_form() -> None:
    option = cli._DeclaredOption(dataclasses.replace(OPTIONS["port"], short="-p"))
    assert option.opts == ["--port", "-p"]


# ---- precedence


def test_command_line_environment_file_default(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("asgiserve.toml").write_text("app = 'file:app'\nport = 1\nbacklog = 1\nlimit-concurrency = 1\n")
    monkeypatch.setenv("ASGISERVE_PORT", "2")
    monkeypatch.setenv("ASGISERVE_BACKLOG", "2")
    assert run("--port", "3").exit_code == 0
    config = supervisor.config
    assert (config.bind.port, config.bind.backlog, config.limits.limit_concurrency, config.bind.host) == (3, 2, 1, "127.0.0.1")


@pytest.mark.parametrize(
    ("words", "variable", "target"),
    [((), None, "file:app"), ((), "environment:app", "environment:app"), (("line:app",), "environment:app", "line:app")],
)
def test_the_application_has_the_same_precedence(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], variable: str | None, target: str
) -> None:
    Path("pyproject.toml").write_text("[tool.asgiserve]\napp = 'file:app'\n")
    if variable:
        monkeypatch.setenv("ASGISERVE_APP", variable)
    run(*words)
    assert supervisor.calls[0][0] == target


def test_the_switch_on_the_command_line_beats_the_file_both_ways(supervisor: Supervisor) -> None:
    Path("asgiserve.toml").write_text("access_log = false\nfactory = true\n")
    run("main:app", "--access-log", "--no-factory")
    assert supervisor.config.log.access_log
    assert not supervisor.config.app.factory


def test_the_file_that_is_named(supervisor: Supervisor) -> None:
    Path("asgiserve.toml").write_text("port = 1\n")
    Path("other.toml").write_text("backlog = 2\n")
    run("main:app", "--config", "other.toml")
    assert (supervisor.config.bind.port, supervisor.config.bind.backlog) == (8000, 2)


def test_where_to_listen_is_one_matter(supervisor: Supervisor) -> None:
    Path("asgiserve.toml").write_text("bind = ['a:1']\n")
    run("main:app", "--uds", "x.sock")
    assert (supervisor.config.bind.bind, supervisor.config.bind.uds) == ((), "x.sock")


# ---- mistakes


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--prot", "1", "m:a"], r"No such option:? '?--prot\b.*--port.*"),
        (["--port"], r"Option '--port' requires an argument\."),
        (["m:a", "n:b"], r"Got unexpected extra argument \(n:b\)"),
        (["m:a", "--access-log=no"], r"Option '--access-log' does not take a value\."),
        (["m:a", "--port", "x"], r"--port: 'x' is not a whole number"),
        (["m:a", "--bind", "a:1", "--uds", "x"], r"--uds and --bind exclude each other; --bind may be given several times"),
        (["m:a", "--config", "nowhere.toml"], r"cannot read nowhere\.toml: No such file or directory"),
        (["m:a", "--env-file", "nowhere.env"], r"--env-file: cannot read nowhere\.env: No such file or directory"),
        ([], r"which application\? asgiserve module:attribute, as in 'asgiserve main:app', or app = \"main:app\" in asgiserve\.toml"),
        (["m:a", "--http", "zttp"], r"--http: 'zttp' is not a value here: .* use --http auto, httptools or h11"),
        (["m:a", "--ws", "wsproto"], r"--ws: 'wsproto' is not a value here: .* use --ws auto"),
        (["m:a", "--ws", "websockets-sansio"], r"--ws: 'websockets-sansio' is not a value here: .*"),
        (["m:a", "--interface", "wsgi"], r"--interface: 'wsgi' is not a value here: .*WSGIMiddleware.*"),
        (["m:a", "--host", "a\x1b[2Jb", "--port", "\n\x1b"], r"--port: '\\n\\x1b' is not a whole number"),
    ],
)
def test_a_mistake_is_one_line(supervisor: Supervisor, words: list[str], line: str) -> None:
    assert re.fullmatch(line, mistake(*words))
    assert supervisor.calls == []


@pytest.mark.parametrize(
    ("text", "variable", "line"),
    [
        ("prot = 1", None, "'prot' is not an option in asgiserve.toml; did you mean port?"),
        ("port = ", None, "asgiserve.toml is not valid TOML: Invalid value (at end of document)"),
        ("", "x", "--port: 'x' is not a whole number (from ASGISERVE_PORT)"),
    ],
)
def test_a_mistake_in_another_source(monkeypatch: pytest.MonkeyPatch, text: str, variable: str | None, line: str) -> None:
    Path("asgiserve.toml").write_text(text)
    if variable:
        monkeypatch.setenv("ASGISERVE_PORT", variable)
    assert mistake("m:a") == line


@pytest.mark.parametrize("absent", [each for each in ABSENT.values() if each.name != "reset_contextvars"], ids=lambda absent: absent.name)
def test_an_absent_option_says_what_to_do(supervisor: Supervisor, absent: Any) -> None:
    assert mistake("m:a", absent.flags, *(["4"] if absent.takes_value else [])) == f"{absent.flags}: {absent.instead}"
    assert supervisor.calls == []


def test_an_absent_option_that_asks_for_what_is_the_case_is_let_pass(supervisor: Supervisor) -> None:
    result = run("m:a", "--workers", "1", "--reset-contextvars")
    assert result.exit_code == 0
    assert result.stderr == "Note: --reset-contextvars: always on: every request runs in a context of its own\n"
    assert len(supervisor.calls) == 1


@pytest.mark.parametrize(("number", "noted"), [("", False), ("1", False), ("4", True)])
def test_web_concurrency_is_not_passed_over_in_silence(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, number: str, noted: bool) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", number)
    assert run("m:a").stderr.startswith("Note: WEB_CONCURRENCY has no effect: asgiserve is one process") is noted
    assert len(supervisor.calls) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BindError("127.0.0.1:80 cannot be listened on: permission denied"), 1),
        (LifespanError("the application refused to start"), 3),
        (LifespanError("in two\nlines \x1b[2J"), 3),
        (ApplicationLoadError("no module named 'm'"), 1),
    ],
)
def test_a_start_that_fails(supervisor: Supervisor, error: Exception, code: int) -> None:
    supervisor.error = error
    assert mistake("m:a", code=code) == escape(str(error))


def test_a_bug_of_ours_is_not_hidden(supervisor: Supervisor) -> None:
    supervisor.error = RuntimeError("a bug")
    assert run("m:a").exception is supervisor.error


def test_ctrl_c_while_starting_is_quiet(supervisor: Supervisor) -> None:
    supervisor.error = KeyboardInterrupt()
    result = run("m:a")
    assert (result.exit_code, result.output) == (130, "")


# ---- the application's own faults


@pytest.fixture
def module(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    supervisor.loads = True
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "climod", raising=False)

    def write(text: str) -> None:
        Path("climod.py").write_text(text)

    return write


def test_a_fault_inside_of_the_module_shows_its_own_traceback_first(module: Callable[[str], None]) -> None:
    module("def inner():\n    1 / 0\ninner()\n")
    result = run("climod:app")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "climod.py" in lines[1]
    assert lines[-2:] == [
        "ZeroDivisionError: division by zero",
        "Error: module 'climod' was found, but cannot be imported: ZeroDivisionError: division by zero",
    ]
    assert "asgiserve" not in result.stderr
    assert "importlib" not in result.stderr


@pytest.mark.usefixtures("module")
def test_a_missing_module_shows_none() -> None:
    assert mistake("climud:app", code=1).startswith("no module named 'climud' in ")


def test_sys_exit_in_the_module_shows_none(module: Callable[[str], None]) -> None:
    module("import sys\nsys.exit(0)\n")
    assert "called sys.exit(0) at" in mistake("climod:app", code=1)


def test_a_missing_attribute_shows_none(module: Callable[[str], None]) -> None:
    module("async def application(scope, receive, send): ...\n")
    assert mistake("climod:aplication", code=1) == "module 'climod' has no attribute 'aplication'; did you mean application?"


# ---- help and version


def help_text(width: int) -> str:
    """The help as a terminal of that width shows it; CliRunner would make it 80."""
    with pytest.MonkeyPatch.context() as patch, main.make_context("asgiserve", [], resilient_parsing=True) as ctx:
        patch.setenv("COLUMNS", str(width))
        return click.unstyle(main.get_help(ctx))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_help_wraps_to_the_terminal(width: int) -> None:
    assert max(map(len, help_text(width).splitlines())) <= min(width, 120) - 2


def test_help_has_the_sections_in_the_order_of_declaration() -> None:
    headings = [line for line in help_text(100).splitlines() if line and not line.startswith((" ", "Usage"))]
    assert headings == [(cls.__doc__ or "").partition(".")[0] for cls in SECTIONS.values()] + ["General"]


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_help_has_every_option_with_its_text_and_default(option: Any) -> None:
    text = " ".join(help_text(100).split())
    assert f" {option.flags} " in text
    assert option.help in text
    if option.kind in {"seconds", "size", "rate"} and option.default is not None:
        assert f"{option.help} [default: {option.shown_default}" in text


def test_help_does_not_name_what_is_not_here() -> None:
    assert "--reload" not in help_text(100)


@pytest.mark.parametrize("ways", ["-h", "--help"])
def test_both_ways_to_ask_for_help(ways: str) -> None:
    assert run(ways).stdout.startswith("Usage: asgiserve [OPTIONS] [APP]\n")


@pytest.mark.parametrize(("environ", "colored"), [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)])
def test_help_is_coloured_where_colours_are_wanted(environ: dict[str, str], colored: bool) -> None:
    assert ("\x1b[" in run("--help", env=environ).stdout) is colored


@pytest.mark.parametrize(("environ", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_help_on_a_terminal(environ: dict[str, str], colored: bool) -> None:
    result = run("--help", env=environ, color=True)
    assert ("\x1b[" in result.stdout) is colored


def test_version_names_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"httptools": "1.2.3"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    result = run("--version")
    assert result.exit_code == 0
    rows = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert list(rows) == ["asgiserve", "Python", "platform", "uvloop", "httptools", "h11", "websockets", "click", "OpenSSL"]
    assert rows["Python"] == f"{sys.version.split()[0]} (CPython)" or "PyPy" in rows["Python"]
    assert rows["httptools"] == "1.2.3"
    assert rows["uvloop"] == "not installed"
    assert re.match(r"\d", rows["OpenSSL"])


def test_version_in_a_python_without_ssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ssl", None)
    assert cli.version_lines()[-1].split(None, 1) == ["OpenSSL", "not available in this Python"]


def test_the_module_can_be_run(tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "asgiserve", "--port", "x", "m:a"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "Error: --port: 'x' is not a whole number\n")


# ---- the documentation


def test_the_page_of_options_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate_options", ROOT / "docs" / "generate_options.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.PATH.read_text(encoding="utf-8") == generator.generate(), "run: python docs/generate_options.py"
    for option in OPTIONS.values():
        assert f"`{option.flags}`" in generator.generate()
