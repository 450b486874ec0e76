"""The declarations: each option once, complete, and parsed the same from text and from Python."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from asgiserve.absent import ABSENT, ABSENT_VALUES
from asgiserve.config import OPTIONS, SECTIONS, Config, Option, build_config, options, unknown_option
from asgiserve.errors import ConfigError

# The list of the issue, and what uvicorn lacks.
NAMED = [
    "host",
    "port",
    "uds",
    "fd",
    "loop",
    "http",
    "ws",
    "lifespan",
    "interface",
    "root_path",
    "header",
    "server_header",
    "date_header",
    "log_level",
    "log_config",
    "access_log",
    "use_colors",
    "env_file",
    "app_dir",
    "factory",
    "backlog",
    "limit_concurrency",
    "limit_max_requests",
    "limit_max_requests_jitter",
    "timeout_keep_alive",
    "timeout_graceful_shutdown",
    "ws_max_size",
    "ws_max_queue",
    "ws_ping_interval",
    "ws_ping_timeout",
    "ws_per_message_deflate",
    "proxy_headers",
    "forwarded_allow_ips",
    "ssl_keyfile",
    "ssl_certfile",
    "ssl_keyfile_password",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_ciphers",
    "ssl_version",
    "bind",
    "log_format",
    "timeout_request_head",
    "timeout_request_body",
    "min_request_body_rate",
    "timeout_write",
    "timeout_startup",
    "timeout_shutdown",
    "max_request_line_bytes",
    "max_head_bytes",
    "max_field_count",
    "max_body_bytes",
]


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_config(values)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- the declarations


@pytest.mark.parametrize("name", NAMED)
def test_every_option_that_was_asked_for_is_declared(name: str) -> None:
    assert name in OPTIONS


def test_an_option_is_declared_once() -> None:
    names = [field.name for cls in SECTIONS.values() for field in dataclasses.fields(cls)]
    assert len(names) == len(set(names))
    assert names == [option.name for option in options()] == list(OPTIONS)
    assert "app" not in names  # the application's own key


def test_every_section_is_in_the_config_and_has_a_heading() -> None:
    assert [(field.name, field.default.__class__) for field in dataclasses.fields(Config)] == list(SECTIONS.items())
    for cls in SECTIONS.values():
        assert (cls.__doc__ or "").strip().endswith(".")


@pytest.mark.parametrize("option", list(options()), ids=lambda option: option.name)
def test_a_declaration_is_complete(option: Any) -> None:
    assert option.help.endswith(".")
    assert option.help[0].isupper() or option.help[0] == "$"
    assert OPTIONS[option.name] == option
    assert bool(option.choices) is (option.kind == "choice")
    if option.kind in {"seconds", "size", "rate"}:
        assert option.unit
        assert option.minimum is not None
    if option.default is None:
        assert option.optional


@pytest.mark.parametrize("option", list(options()), ids=lambda option: option.name)
def test_a_default_is_a_value(option: Any) -> None:
    assert option.parse(option.default) == option.default
    if option.default is not None and option.kind != "file-or-mapping":
        text = {True: "true", False: "false"}.get(option.default, option.default) if option.kind == "boolean" else option.default
        assert option.parse(",".join(text) if isinstance(text, tuple) else str(text)) == option.default


def test_flags_and_variables_follow_from_the_name() -> None:
    option = OPTIONS["limit_max_requests_jitter"]
    assert option.flags == "--limit-max-requests-jitter"
    assert option.environment == "ASGISERVE_LIMIT_MAX_REQUESTS_JITTER"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("port", "8000"),
        ("timeout_keep_alive", "15 seconds"),
        ("timeout_linger", "1 second"),
        ("max_head_bytes", "64KiB"),
        ("ws_max_size", "16MiB"),
        ("max_request_line_bytes", "8190 bytes"),
        ("min_request_body_rate", "240 bytes per second"),
        ("max_body_bytes", "none"),
        ("access_log", "true"),
        ("factory", "false"),
        ("forwarded_allow_ips", "127.0.0.1,::1"),
        ("log_level", "info"),
    ],
)
def test_a_default_is_shown_with_its_unit(name: str, shown: str) -> None:
    assert OPTIONS[name].shown_default == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "NUMBER"),
        ("ws", "[auto|websockets|none]"),
        ("ws_per_message_deflate", "true|false"),
        ("access_log", ""),
        ("ssl_keyfile", "FILE"),
    ],
)
def test_what_stands_for_a_value(name: str, value: str) -> None:
    assert OPTIONS[name].value_name == value


def test_where_none_is_a_value_to_write() -> None:
    assert OPTIONS["timeout_write"].takes_none
    assert OPTIONS["max_keep_alive_count"].takes_none
    assert not OPTIONS["uds"].takes_none
    assert not OPTIONS["backlog"].takes_none


# ---- values


def test_nothing_given_is_the_defaults() -> None:
    assert build_config({}) == Config()


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("port", "0", 0),
        ("port", 65535, 65535),
        ("timeout_keep_alive", "2.5", 2.5),
        ("timeout_keep_alive", 5, 5.0),
        ("timeout_write", "none", None),
        ("timeout_write", "OFF", None),
        ("timeout_write", None, None),
        ("max_head_bytes", "64KiB", 65536),
        ("max_head_bytes", "64 kb", 64000),
        ("max_head_bytes", "1.5MiB", 1572864),
        ("max_head_bytes", "4096", 4096),
        ("max_head_bytes", 4096, 4096),
        ("max_body_bytes", "1GB", 10**9),
        ("max_body_bytes", "none", None),
        ("access_log", "off", False),
        ("access_log", "Yes", True),
        ("use_colors", "none", None),
        ("use_colors", "off", False),
        ("ws", "none", "none"),
        ("lifespan", "off", "off"),
        ("log_level", "WARNING", "warning"),
        ("bind", "127.0.0.1:1, [::1]:2", ("127.0.0.1:1", "[::1]:2")),
        ("bind", ["unix:a,b"], ("unix:a,b",)),
        ("header", "A: 1, 2\nB: 3", ("A: 1, 2", "B: 3")),
        ("header", [("A", "1"), "B:2"], ("A:1", "B:2")),
        ("forwarded_allow_ips", "*", ("*",)),
        ("forwarded_allow_ips", "", ()),
        ("uds", pathlib.Path("run/x.sock"), "run/x.sock"),
        ("log_config", "logging.ini", "logging.ini"),
        ("log_config", {"version": 1}, {"version": 1}),
    ],
)
def test_values(name: str, given: Any, value: Any) -> None:
    config = build_config({name: given, **({"host": "::"} if name == "port" else {})})
    parsed = getattr(getattr(config, OPTIONS[name].section), name)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("port", "http", "--port: 'http' is not a whole number"),
        ("port", 65536, "--port: 65536 is not a number between 0 and 65535"),
        ("port", True, "--port: True is not a whole number"),
        ("port", 1.5, "--port: 1.5 is not a whole number"),
        ("port", None, "--port: None is not a whole number"),
        ("backlog", "0", "--backlog: '0' is not a number of at least 1"),
        ("limit_concurrency", "many", "--limit-concurrency: 'many' is not a whole number, or none"),
        ("timeout_keep_alive", "soon", "--timeout-keep-alive: 'soon' is not a number of seconds"),
        ("timeout_keep_alive", "none", "--timeout-keep-alive: 'none' is not a number of seconds"),
        ("timeout_write", "soon", "--timeout-write: 'soon' is not a number of seconds, or none"),
        ("timeout_write", "nan", "--timeout-write: 'nan' is not a finite number"),
        ("timeout_write", -1, "--timeout-write: -1 is not a number of at least 0"),
        ("timeout_write", [], "--timeout-write: [] is not a number"),
        ("max_head_bytes", "64 furlongs", "--max-head-bytes: '64 furlongs' is not a size in bytes, as in 65536, 64KiB or 1MiB"),
        ("max_body_bytes", "-1", "--max-body-bytes: '-1' is not a size in bytes, as in 65536, 64KiB or 1MiB, or none"),
        ("access_log", "perhaps", "--access-log: 'perhaps' is not true or false"),
        ("access_log", 1, "--access-log: 1 is not true or false"),
        ("log_level", "warn", "--log-level: 'warn' is not one of critical, error, warning, info, debug, trace; did you mean warning?"),
        ("log_level", 20, "--log-level: 20 is not one of critical, error, warning, info, debug, trace"),
        ("bind", 8000, "--bind: 8000 is not a list of text"),
        ("bind", [8000], "--bind: [8000] is not a list of text"),
        ("header", [1], "--header: [1] is not a list of text or of pairs of text"),
        ("header", ["NoColon"], "--header: 'NoColon' is not Name:Value"),
        ("host", 1, "--host: 1 is not text"),
        ("log_config", 1, "--log-config: 1 is not text"),
        ("ssl_keyfile_password", 1, "--ssl-keyfile-password: … is not text"),
    ],
)
def test_values_that_cannot_be_used(name: str, given: Any, line: str) -> None:
    assert refusal(**{name: given}) == line


def test_a_number_too_large_for_a_float_is_one_line() -> None:
    assert refusal(max_body_bytes="9" * 400 + "GiB").endswith("is not a finite number")


def test_the_source_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^--port: 'x' is not a whole number \(from there\)$"):
        build_config({"port": "x"}, source="there")
    with pytest.raises(ConfigError, match=r"^'prot' is not an option in there; did you mean port\?$"):
        build_config({"prot": 1}, source="there")


def test_a_choice_may_be_optional() -> None:
    option = Option(kind="choice", help="", name="x", choices=("a",), optional=True)
    assert option.parse("off") is None
    assert option.parse("A") == "a"
    assert dataclasses.replace(option, choices=("a", "off")).parse("off") == "off"


# ---- several options at once


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"ssl_keyfile": "k"}, "--ssl-keyfile needs --ssl-certfile as well"),
        (
            {"ssl_cert_reqs": 2, "ssl_certfile": "c"},
            "--ssl-cert-reqs needs --ssl-ca-certs, the authorities to check client certificates against",
        ),
        ({"ssl_ca_certs": "c"}, "TLS options need --ssl-certfile, the server's certificate"),
        ({"root_path": "api"}, "--root-path: 'api' must begin with /"),
        ({"uds": "a", "fd": 3}, "--uds and --fd exclude each other; --bind may be given several times"),
        ({"fd": 0, "bind": "x:1"}, "--fd and --bind exclude each other; --bind may be given several times"),
    ],
)
def test_what_does_not_go_together(values: dict[str, Any], line: str) -> None:
    assert refusal(**values) == line


# ---- what is not here


def test_an_unknown_name_has_a_near_match_or_a_way_to_the_list() -> None:
    assert refusal(hots="x") == "'hots' is not an option; did you mean host?"
    assert refusal(zzzz="x") == "'zzzz' is not an option; 'asgiserve --help' lists them"


@pytest.mark.parametrize("absent", ABSENT.values(), ids=lambda absent: absent.name)
def test_an_absent_option_says_what_to_do(absent: Any) -> None:
    assert absent.name not in OPTIONS
    assert unknown_option(absent.name) == f"{absent.name}: {absent.instead}"
    assert unknown_option(absent.name, source="x.toml") == f"{absent.name} in x.toml: {absent.instead}"
    assert "\n" not in absent.instead


def test_uvicorns_plural_is_known() -> None:
    assert refusal(reload_dirs=["src"]).startswith("reload_dirs: asgiserve does not reload yet")


def test_asking_for_what_is_the_case_is_no_mistake() -> None:
    assert build_config({"workers": 1, "reload": False, "reset_contextvars": True, "h11_max_incomplete_event_size": None}) == Config()
    assert refusal(workers=2).startswith("workers: ")
    assert refusal(reload=True).startswith("reload: ")


@pytest.mark.parametrize(("name", "value"), ABSENT_VALUES)
def test_an_absent_value_says_what_to_do(name: str, value: str) -> None:
    assert value not in OPTIONS[name].choices
    assert refusal(**{name: value}) == f"--{name}: {value!r} is not a value here: {ABSENT_VALUES[name, value]}"
