"""A logging configuration of one's own, in every format: it has the say, and what is wrong with it is one line."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve.config import LogConfig
from asgiserve.errors import ConfigError
from asgiserve.logs import AccessRecord, AccessRequest, configure, log_access

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXCHANGE = AccessRecord(AccessRequest("127.0.0.1:51234", "GET", "/x?y=1", "1.1"), 200, 12, 0.0012)


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "asgiserve", "asgiserve.access", "asgiserve.server", "asgiserve.logs", "other")]
    before = [(each.level, each.handlers[:], each.propagate, each.disabled, each.filters[:]) for each in loggers]
    yield
    for each, (level, handlers, propagate, disabled, filters) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.handlers[:] = handlers
        each.propagate, each.disabled, each.filters[:] = propagate, disabled, filters


OWN: dict[str, Any] = {
    "version": 1,
    "formatters": {"mine": {"()": "asgiserve.logs.TextFormatter", "use_colors": False}, "plain": {"format": "mine %(message)s"}},
    "handlers": {
        "out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "mine"},
        "err": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "plain"},
    },
    "loggers": {
        "asgiserve": {"handlers": ["err"], "level": "DEBUG", "propagate": False},
        "asgiserve.access": {"handlers": ["out"], "level": "INFO", "propagate": False},
    },
}
OWN_YAML = """
version: 1
formatters: {mine: {"()": asgiserve.logs.TextFormatter, use_colors: false}, plain: {format: "mine %(message)s"}}
handlers:
  out: {class: logging.StreamHandler, stream: "ext://sys.stdout", formatter: mine}
  err: {class: logging.StreamHandler, stream: "ext://sys.stderr", formatter: plain}
loggers:
  asgiserve: {handlers: [err], level: DEBUG, propagate: false}
  asgiserve.access: {handlers: [out], level: INFO, propagate: false}
"""
OWN_TOML = """
version = 1
formatters.mine = {"()" = "asgiserve.logs.TextFormatter", use_colors = false}
formatters.plain = {format = "mine %(message)s"}
handlers.out = {class = "logging.StreamHandler", stream = "ext://sys.stdout", formatter = "mine"}
handlers.err = {class = "logging.StreamHandler", stream = "ext://sys.stderr", formatter = "plain"}
loggers.asgiserve = {handlers = ["err"], level = "DEBUG", propagate = false}
loggers."asgiserve.access" = {handlers = ["out"], level = "INFO", propagate = false}
"""
OWN_INI = """
[loggers]
keys=root,server,access
[handlers]
keys=out,err
[formatters]
keys=mine,plain
[logger_root]
handlers=
[logger_server]
qualname=asgiserve
level=DEBUG
handlers=err
propagate=0
[logger_access]
qualname=asgiserve.access
level=INFO
handlers=out
propagate=0
[handler_out]
class=StreamHandler
args=(sys.stdout,)
formatter=mine
[handler_err]
class=StreamHandler
args=(sys.stderr,)
formatter=plain
[formatter_mine]
format=%(asctime)s INFO:     %(message)s
datefmt=%Y-%m-%d %H:%M:%S
[formatter_plain]
format=mine %(message)s
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("l.json", json.dumps(OWN)), ("l.yaml", OWN_YAML), ("l.YML", OWN_YAML), ("l.toml", OWN_TOML), ("l.ini", OWN_INI), ("", "")],
)
def test_a_configuration_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str) -> None:
    logging.getLogger("other").disabled = False
    configure(LogConfig())  # what was there before makes no difference
    source: Any = OWN
    if name:
        (tmp_path / name).write_text(text)
        source = str(tmp_path / name)
    configure(LogConfig(log_config=source))
    logging.getLogger("asgiserve.server").debug("up")
    log_access(EXCHANGE)
    out, err = capsys.readouterr()
    assert err == "mine up\n"
    assert out[19:] == ' INFO:     127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 12 1.2ms\n'
    assert not logging.getLogger("other").disabled


def test_the_file_has_the_say_but_for_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig(log_config=OWN, log_level="error", access_log=False))
    logging.getLogger("asgiserve.server").warning("no")
    logging.getLogger("asgiserve.server").error("yes")
    log_access(EXCHANGE)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "mine yes\n")


def test_a_configuration_of_the_root_logger_only_gets_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    root = {"version": 1, "handlers": {"err": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["err"], "level": "INFO"}}
    configure(LogConfig(log_config=root))
    log_access(EXCHANGE)
    logging.getLogger("asgiserve.server").info("up")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ['127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 12 1.2ms', "up"]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("l.json", "{", "{path}: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("l.json", "[]", "{path}: is not a mapping"),
        ("l.yaml", "a: [", "{path}: while parsing a flow node"),
        ("l.toml", "a = ", "{path}: Invalid value (at end of document)"),
        ("l.ini", "text", "{path}: "),
        ("l.ini", "[loggers]\n", "{path}: "),
        ("l.json", '{"version": 1, "root": {"handlers": ["x"]}}', "{path}: Unable to configure root logger; Unable to add handler 'x'"),
        ("l.json", "{}", "{path}: dictionary doesn't specify a version"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, name: str, text: str, line: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        configure(LogConfig(log_config=str(path)))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--log-config: " + line.format(path=path))


def test_a_mapping_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match=r"^--log-config: the mapping: Unsupported version: 3$"):
        configure(LogConfig(log_config={"version": 3}))


def test_a_configuration_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^--log-config: cannot read not-there.ini: No such file or directory$"):
        configure(LogConfig(log_config="not-there.ini"))
    (tmp_path / "l.yaml").write_text("version: 1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"YAML needs PyYAML"):
        configure(LogConfig(log_config=str(tmp_path / "l.yaml")))
