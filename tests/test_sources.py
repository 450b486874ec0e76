"""Each source on its own, then their order."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.config import OPTIONS, build_config
from asgiserve.errors import ConfigError
from asgiserve.server import Server
from asgiserve.sources import find_file, from_environment, from_file, gather, load_env_file, merge

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return str(path)


# One value that is not the default, as text and parsed.
def other_value(name: str) -> tuple[str, Any]:
    option = OPTIONS[name]
    if option.kind == "choice":
        choice = next(choice for choice in option.choices if choice != option.default)
        return choice, choice
    if option.kind == "boolean":
        return ("false", False) if option.default else ("true", True)
    if option.kind == "list":
        return "A:1", ("A:1",)
    if option.kind in {"seconds", "rate", "number"}:
        return "7.5", 7.5
    if option.kind in {"integer", "count", "size"}:
        number = int(option.minimum or 0) + 1
        return str(number), number
    return "/text", "/text"


# ---- the environment


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_a_variable(name: str) -> None:
    text, value = other_value(name)
    assert from_environment({OPTIONS[name].environment: text, "HOME": "/", "PORT": "1"}) == {name: value}


def test_the_application_and_the_file_are_variables_too() -> None:
    assert from_environment({"ASGISERVE_APP": "main:app", "ASGISERVE_CONFIG": "x.toml"}) == {"app": "main:app"}


def test_an_empty_variable_is_not_set_but_for_lists() -> None:
    assert from_environment({"ASGISERVE_PORT": "", "ASGISERVE_UDS": "", "ASGISERVE_APP": "", "ASGISERVE_HEADER": ""}) == {"header": ()}


@pytest.mark.parametrize(
    ("environ", "value"),
    [
        ({"FORWARDED_ALLOW_IPS": "10.0.0.0/8, ::1"}, ("10.0.0.0/8", "::1")),
        ({"FORWARDED_ALLOW_IPS": ""}, ()),
        ({"FORWARDED_ALLOW_IPS": "*", "ASGISERVE_FORWARDED_ALLOW_IPS": "::1"}, ("::1",)),
        ({"FORWARDED_ALLOW_IPS": "*", "ASGISERVE_FORWARDED_ALLOW_IPS": ""}, ()),
    ],
)
def test_uvicorns_variable_for_trusted_peers(environ: dict[str, str], value: tuple[str, ...]) -> None:
    assert from_environment(environ) == {"forwarded_allow_ips": value}


def test_what_kubernetes_sets_for_a_service_of_our_name_is_not_ours() -> None:
    environ = {
        "ASGISERVE_SERVICE_HOST": "10.0.0.1",
        "ASGISERVE_SERVICE_PORT": "80",
        "ASGISERVE_SERVICE_PORT_HTTP": "80",
        "ASGISERVE_PORT": "tcp://10.0.0.1:80",
        "ASGISERVE_PORT_80_TCP": "tcp://10.0.0.1:80",
        "ASGISERVE_PORT_80_TCP_ADDR": "10.0.0.1",
        "ASGISERVE_PORT_80_TCP_PORT": "80",
        "ASGISERVE_PORT_80_TCP_PROTO": "tcp",
    }
    assert from_environment(environ) == {}


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("ASGISERVE_PROT", "1", "ASGISERVE_PROT in the environment is not an option; did you mean ASGISERVE_PORT?"),
        ("ASGISERVE_CONFG", "1", "ASGISERVE_CONFG in the environment is not an option; did you mean ASGISERVE_CONFIG?"),
        ("ASGISERVE_QQQQQQQQQQ", "1", "ASGISERVE_QQQQQQQQQQ in the environment is not an option; 'asgiserve --help' lists the options"),
        ("ASGISERVE_PORT", "x", "--port: 'x' is not a whole number (from ASGISERVE_PORT)"),
        (
            "ASGISERVE_SSL_KEYFILE_PASSWORD_",
            "x",
            "ASGISERVE_SSL_KEYFILE_PASSWORD_ in the environment is not an option; did you mean ASGISERVE_SSL_KEYFILE_PASSWORD?",
        ),
    ],
)
def test_mistakes_in_the_environment(variable: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment({variable: text})
    assert str(caught.value) == line


def test_uvicorns_options_in_the_environment() -> None:
    assert from_environment({"ASGISERVE_WORKERS": "1", "ASGISERVE_RELOAD": "false"}) == {}
    with pytest.raises(ConfigError, match=r"^ASGISERVE_WORKERS: asgiserve is one process"):
        from_environment({"ASGISERVE_WORKERS": "4"})


# ---- the env file


def test_an_env_file_sets_what_is_not_set(here: Path) -> None:
    environ = {"HERE": "stays"}
    load_env_file(write(here, "x.env", "# a comment\nHERE=changed\nexport THERE='a b'\nNOTHING\nÜ=ü\n"), environ)
    assert environ == {"HERE": "stays", "THERE": "a b", "Ü": "ü"}


def test_an_env_file_that_cannot_be_read(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--env-file: cannot read not-there.env: No such file or directory$"):
        load_env_file("not-there.env", {})
    (here / "latin.env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match=r"^--env-file: cannot read latin.env: 'utf-8' codec"):
        load_env_file("latin.env", {})


def test_an_env_file_without_python_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(ConfigError, match=r"^--env-file needs python-dotenv: pip install 'asgiserve\[dotenv\]'$"):
        load_env_file("x.env", {})


# ---- the file


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_a_key(here: Path, name: str) -> None:
    text, value = other_value(name)
    shown = text if isinstance(value, bool | int | float) else f"{list(value)!r}" if isinstance(value, tuple) else repr(value)
    assert from_file(write(here, "asgiserve.toml", f"{name} = {shown}\n")) == {name: value}
    assert from_file(write(here, "asgiserve.toml", f"{name.replace('_', '-')} = {text!r}\n")) == {name: value}


def test_the_application_is_a_key(here: Path) -> None:
    assert from_file(write(here, "asgiserve.toml", 'app = "main:app"\n')) == {"app": "main:app"}


def test_pyproject_has_a_table(here: Path) -> None:
    assert from_file(write(here, "pyproject.toml", "[project]\nname = 'x'\n[tool.asgiserve]\nport = 1\n[tool.ruff]\nx = 1\n")) == {"port": 1}


def test_a_logging_configuration_can_be_a_table(here: Path) -> None:
    path = write(here, "asgiserve.toml", "[log_config]\nversion = 1\n[log_config.root]\nlevel = 'INFO'\n")
    assert build_config(from_file(path)).log.log_config == {"version": 1, "root": {"level": "INFO"}}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("asgiserve.toml", "prot = 1\n", "'prot' is not an option in {path}; did you mean port?"),
        ("asgiserve.toml", "aplication = 'x:y'\n", "'aplication' is not an option in {path}; 'asgiserve --help' lists them"),
        ("asgiserve.toml", "ap = 'x:y'\n", "'ap' is not an option in {path}; did you mean app?"),
        ("asgiserve.toml", "app = 1\n", "{path}: app: 1 is not text, as in app = 'main:app'"),
        ("asgiserve.toml", "port = 'x'\n", "--port: 'x' is not a whole number (from {path})"),
        ("asgiserve.toml", "port = 99999\n", "--port: 99999 is not a number between 0 and 65535 (from {path})"),
        ("asgiserve.toml", "log-level = 1\nlog_level = 2\n", None),
        ("asgiserve.toml", "log-level = 'info'\nlog_level = 'info'\n", "{path} sets 'log_level' twice, with _ and with -"),
        (
            "asgiserve.toml",
            "[tool.asgiserve]\nport = 1\n",
            "{path}: [tool.asgiserve] is for a pyproject.toml; here the options are top-level keys",
        ),
        ("asgiserve.toml", "[tool]\nport = 1\n", "'tool' is not an option in {path}; 'asgiserve --help' lists them"),
        (
            "asgiserve.toml",
            "workers = 4\n",
            "workers in {path}: asgiserve is one process for now; run several with a process manager, each with its own --bind or --uds",
        ),
        ("asgiserve.toml", "port = \n", "{path} is not valid TOML: Invalid value (at line 1, column 8)"),
        ("pyproject.toml", "[project]\n", "{path} has no [tool.asgiserve]"),
        ("pyproject.toml", "[tool.asgiserve]\nprot = 1\n", "'prot' is not an option in {path}; did you mean port?"),
    ],
)
def test_mistakes_in_the_file(here: Path, name: str, text: str, line: str | None) -> None:
    path = write(here, name, text)
    with pytest.raises(ConfigError) as caught:
        from_file(path)
    assert "\n" not in str(caught.value)
    if line is not None:
        assert str(caught.value) == line.format(path=path)


def test_uvicorns_options_in_the_file(here: Path) -> None:
    assert from_file(write(here, "asgiserve.toml", "workers = 1\nreload = false\nreset-contextvars = true\n")) == {}


def test_a_file_that_cannot_be_read(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot read not-there.toml: No such file or directory$"):
        from_file("not-there.toml")
    with pytest.raises(ConfigError, match=r"^cannot read .*: Is a directory$"):
        from_file(here)
    (here / "x.toml").write_bytes(b"a = '\xff'\n")
    with pytest.raises(ConfigError, match=r"x.toml is not valid TOML: 'utf-8' codec"):
        from_file("x.toml")


def test_which_file_is_found(here: Path) -> None:
    assert find_file(here) is None
    write(here, "pyproject.toml", "[project]\n")
    assert find_file(here) is None
    write(here, "pyproject.toml", "[tool.asgiserve]\n")
    assert find_file(here) == here / "pyproject.toml"
    write(here, "asgiserve.toml", "")
    assert find_file(here) == here / "asgiserve.toml"
    assert find_file(here.parent) is None


def test_a_broken_pyproject_is_not_passed_over(here: Path) -> None:
    write(here, "pyproject.toml", "[")
    with pytest.raises(ConfigError, match=r"pyproject\.toml is not valid TOML"):
        find_file(here)


# ---- together


@pytest.mark.parametrize(
    ("layers", "merged"),
    [
        ([{"port": 1, "host": "a"}, {"port": 2}], {"port": 2, "host": "a"}),
        ([{"port": 1}, {}, {"backlog": 2}], {"port": 1, "backlog": 2}),
        ([{"uds": "a", "backlog": 1}, {"port": 2}], {"port": 2, "backlog": 1}),
        ([{"bind": ("a:1",)}, {"host": "b"}], {"host": "b"}),
        ([{"host": "a", "port": 1}, {"uds": "b"}], {"uds": "b"}),
        ([{"bind": ("a:1",)}, {"fd": 3}], {"fd": 3}),
        ([{"fd": 3, "port": 1}, {"log_level": "debug"}], {"fd": 3, "port": 1, "log_level": "debug"}),
    ],
)
def test_a_later_layer_has_precedence(layers: list[dict[str, Any]], merged: dict[str, Any]) -> None:
    assert merge(*layers) == merged


@pytest.mark.parametrize("name", OPTIONS)
def test_command_line_environment_file_default(here: Path, name: str) -> None:
    option = OPTIONS[name]
    text, value = other_value(name)
    environ: dict[str, str] = {}
    if name == "env_file":
        text = value = write(here, "x.env", "")
    assert name not in gather({}, environ=environ, directory=here)
    write(here, "asgiserve.toml", f"{name} = {text!r}\n")
    assert gather({}, environ=environ, directory=here) == {name: value}
    default: Any
    if name == "env_file":
        default_text, default = write(here, "y.env", ""), str(here / "y.env")
    else:
        default = option.default
        default_text = "none" if default is None else ",".join(default) if isinstance(default, tuple) else str(default)
    if default is not None or option.takes_none:
        environ[option.environment] = default_text
        empty = default_text == "" and option.kind != "list"  # not set, then
        expected = value if empty else default
        assert gather({}, environ=environ, directory=here)[name] == expected
    assert gather({name: value}, environ=environ, directory=here)[name] == value


def test_the_file_that_is_named(here: Path) -> None:
    write(here, "asgiserve.toml", "port = 1\nbacklog = 9\n")
    write(here, "second.toml", "port = 2\n")
    write(here, "third.toml", "port = 3\n")
    assert gather({}, environ={}, directory=here)["port"] == 1
    assert gather({}, environ={"ASGISERVE_CONFIG": "second.toml"}, directory=here) == {"port": 2}
    assert gather({}, environ={"ASGISERVE_CONFIG": "second.toml"}, directory=here, config_file="third.toml") == {"port": 3}
    with pytest.raises(ConfigError, match=r"not-there\.toml"):
        gather({}, environ={}, directory=here, config_file="not-there.toml")


@pytest.mark.parametrize("named_by", ["command line", "environment", "file"])
def test_an_env_file_counts_as_environment(here: Path, named_by: str) -> None:
    write(here, "x.env", "ASGISERVE_PORT=7\nASGISERVE_BACKLOG=8\nDATABASE=there\n")
    write(here, "asgiserve.toml", "port = 1\n" + ("env_file = 'x.env'\n" if named_by == "file" else ""))
    environ = {"ASGISERVE_BACKLOG": "9"} | ({"ASGISERVE_ENV_FILE": "x.env"} if named_by == "environment" else {})
    values = gather({"env_file": "x.env"} if named_by == "command line" else {}, environ=environ, directory=here)
    assert (values["port"], values["backlog"], values["env_file"]) == (7, 9, "x.env")
    assert environ["DATABASE"] == "there"


def test_an_env_file_may_name_the_file(here: Path) -> None:
    write(here, "x.env", "ASGISERVE_CONFIG=second.toml\n")
    write(here, "second.toml", "port = 2\n")
    assert gather({"env_file": "x.env"}, environ={}, directory=here)["port"] == 2


def test_the_process_environment_is_the_default(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("ASGISERVE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("ASGISERVE_PORT", "17")
    assert gather({}, directory=here)["port"] == 17


def test_dotenv_is_what_the_extra_installs() -> None:
    assert hasattr(importlib.import_module("dotenv"), "dotenv_values")


def test_a_server_of_a_program_reads_its_env_file_before_the_application_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(load_env_file, "__defaults__", (os.environ,))
    (tmp_path / ".env").write_text("ASGISERVE_TEST_COLOUR=green\n")
    (tmp_path / "coloured.py").write_text("import os\ncolour = os.environ['ASGISERVE_TEST_COLOUR']\nasync def app(scope, receive, send): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "coloured", raising=False)
    Server("coloured:app", app_dir=str(tmp_path), env_file=str(tmp_path / ".env")).load()
    assert sys.modules["coloured"].colour == "green"
