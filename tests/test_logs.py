"""What is written, that it is safe to look at, and that the root logger is nobody's business here."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgiserve import logs
from asgiserve.config import LogConfig
from asgiserve.logs import (
    AccessHandler,
    AccessRecord,
    AccessRequest,
    JsonFormatter,
    RateLimiter,
    ServerHandler,
    TextFormatter,
    configure,
    escape,
    log_access,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ESCAPE = "\x1b[2J"
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "asgiserve", "asgiserve.access", "asgiserve.server", "asgiserve.logs", "other")]
    before = [(each.level, each.handlers[:], each.propagate, each.disabled, each.filters[:]) for each in loggers]
    yield
    for each, (level, handlers, propagate, disabled, filters) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.handlers[:] = handlers
        each.propagate, each.disabled, each.filters[:] = propagate, disabled, filters


@pytest.fixture(autouse=True)
def _no_wish_for_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(variable, raising=False)


def record(**changes: Any) -> AccessRecord:
    asked: dict[str, Any] = {"peer": "127.0.0.1:51234", "method": "GET", "target": "/x?y=1", "version": "1.1"}
    request = AccessRequest(**{name: changes.pop(name, value) for name, value in asked.items()})
    return AccessRecord(request, **({"status": 200, "sent_bytes": 12, "duration": 0.0012} | changes))


def server_record(message: str, *args: object, level: int = logging.INFO, exc_info: Any = None) -> logging.LogRecord:
    made = logging.LogRecord("asgiserve.server", level, "", 0, message, args, exc_info)
    made.created = 0.25
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# ---- escape


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_c0_del_and_c1_are_escaped(code: int) -> None:
    assert escape(f"a{chr(code)}b") == f"a\\x{code:02x}b"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("plain ~", "plain ~"),
        ("größe 日本", "größe 日本"),
        ("\\x1b", "\\x1b"),
        ("\udc80", "\\udc80"),
        ("\u202e\u2028", "\\u202e\\u2028"),
        ("\U000e0001", "\\U000e0001"),
        ("a\r\nb", "a\\x0d\\x0ab"),
    ],
)
def test_what_else_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert escape(escaped) == escaped


# ---- the access line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 12 1.2ms'),
        ({"peer": ""}, '- - "GET /x?y=1 HTTP/1.1" 200 12 1.2ms'),
        ({"status": 0, "sent_bytes": 0, "outcome": "aborted"}, '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" - 0 1.2ms aborted'),
        ({"outcome": "timeout", "duration": 61.5}, '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 12 61500.0ms timeout'),
        ({"status": 101, "close_code": 1000}, '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 101 12 1.2ms close 1000'),
        (
            {"status": 101, "close_code": 1006, "outcome": "aborted"},
            '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 101 12 1.2ms aborted close 1006',
        ),
        ({"target": '/"\\\x1b\x9b\xff'}, '127.0.0.1:51234 - "GET /\\x22\\x5c\\x1b\\x9b\\xff HTTP/1.1" 200 12 1.2ms'),
        ({"method": "G\n", "peer": "\x07", "version": "\x7f", "outcome": "\r"}, '\\x07 - "G\\x0a /x?y=1 HTTP/\\x7f" 200 12 1.2ms \\x0d'),
        ({"peer": "unix:\udcff日"}, 'unix:\\udcff\\u65e5 - "GET /x?y=1 HTTP/1.1" 200 12 1.2ms'),
    ],
)
def test_the_access_line(changes: dict[str, Any], line: str) -> None:
    formatter = TextFormatter(use_colors=False)
    shown = formatter.access_line(record(**changes), 0.0)
    assert shown[19:] == f" INFO:     {line}"
    assert shown.isprintable()
    assert shown.isascii()


@pytest.mark.parametrize("field", ["peer", "method", "target", "version", "outcome"])
def test_every_byte_in_every_field_is_itself_or_escaped(field: str) -> None:
    formatter, objects = TextFormatter(use_colors=False), JsonFormatter()
    for code in range(0x100):
        shown = chr(code) if " " <= chr(code) <= "~" and chr(code) not in '"\\' else f"\\x{code:02x}"
        changed = record(**{field: f"<{chr(code)}>"})
        assert f"<{shown}>" in formatter.access_line(changed, 0.0)
        assert json.loads(objects.access_line(changed, 0.0))[field] == f"<{shown}>"


def test_the_access_line_in_colours() -> None:
    line = TextFormatter(use_colors=True).access_line(record(status=404), 0.0)
    assert ' \x1b[32mINFO\x1b[0m:     127.0.0.1:51234 - "\x1b[1mGET /x?y=1 HTTP/1.1\x1b[0m" \x1b[31m404\x1b[0m 12 1.2ms' in line
    assert "\x1b[91m-\x1b[0m" in TextFormatter(use_colors=True).access_line(record(status=0), 0.0)
    assert "\x1b[91m999\x1b[0m" in TextFormatter(use_colors=True).access_line(record(status=999), 0.0)


def test_the_time_is_the_local_one_and_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    formatter = TextFormatter(use_colors=False)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    assert formatter.access_line(record(), 59.9).startswith("1970-01-01 00:00:59 INFO:")
    assert formatter.access_line(record(), 60.0).startswith("1970-01-01 00:01:00 INFO:")
    assert formatter.access_line(record(), 59.9).startswith("1970-01-01 00:00:59 INFO:")


@pytest.mark.parametrize("target", ["/x", f'/{ESCAPE}"\\\xff'])
def test_the_access_object(target: str) -> None:
    line = JsonFormatter().access_line(record(target=target, status=101, close_code=1001), 1.5)
    shown = json.loads(line)
    escaped = "/x" if target == "/x" else "/\\x1b[2J\\x22\\x5c\\xff"
    assert line.isprintable()
    assert shown == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "logger": "asgiserve.access",
        "message": f"GET {escaped} 101",
        "peer": "127.0.0.1:51234",
        "method": "GET",
        "target": escaped,
        "version": "1.1",
        "status": 101,
        "bytes": 12,
        "duration_ms": 1.2,
        "outcome": "complete",
        "close_code": 1001,
    }


def test_requests_that_say_the_same_share_what_was_written_of_them() -> None:
    request = AccessRequest("127.0.0.1:51234", "GET", '/"', "1.1")
    first, second = AccessRecord(request, 200, 12, 0.0012), AccessRecord(request, 404, 3, 0.5)
    plain, colored, objects = TextFormatter(use_colors=False), TextFormatter(use_colors=True), JsonFormatter()
    assert plain.access_line(first, 0.0).endswith('127.0.0.1:51234 - "GET /\\x22 HTTP/1.1" 200 12 1.2ms')
    assert plain.access_line(second, 0.0).endswith('127.0.0.1:51234 - "GET /\\x22 HTTP/1.1" 404 3 500.0ms')
    # Another formatter does not take it over.
    assert "\x1b[31m404" in colored.access_line(second, 0.0)
    shown = json.loads(objects.access_line(second, 0.0))
    assert (shown["message"], shown["target"], shown["bytes"]) == ("GET /\\x22 404", "/\\x22", 3)
    assert plain.access_line(first, 0.0).endswith('127.0.0.1:51234 - "GET /\\x22 HTTP/1.1" 200 12 1.2ms')


def test_two_formatters_in_two_threads_do_not_mix_their_lines() -> None:
    request = AccessRequest("127.0.0.1:51234", "GET", "/", "1.1")
    made = AccessRecord(request, 200, 12, 0.0012)
    plain, objects = TextFormatter(use_colors=False), JsonFormatter()
    # In between what the one looks up and what it writes, the other writes.
    other = plain.access_line(made, 0.0)

    class Between(AccessRecord):
        __slots__ = ()

        @property
        def outcome(self) -> str:  # type: ignore[override]  # read between the two
            plain.access_line(made, 0.0)
            return ""

    between = Between.__new__(Between)
    for name in ("request", "status", "sent_bytes", "duration", "close_code"):
        setattr(between, name, getattr(made, name))
    lines = [objects.access_line(between, 0.0) for _ in range(3)]
    assert [json.loads(line)["method"] for line in lines] == ["GET"] * 3
    assert plain.access_line(made, 0.0) == other


def test_the_access_object_of_an_aborted_exchange() -> None:
    shown = json.loads(JsonFormatter().access_line(record(status=0, outcome="aborted"), 1.5))
    assert (shown["status"], shown["outcome"], "close_code" in shown) == (0, "aborted", False)


# ---- server lines


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logs.TRACE, " TRACE:    "),
        (logging.DEBUG, " DEBUG:    "),
        (logging.INFO, " INFO:     "),
        (logging.WARNING, " WARNING:  "),
        (logging.ERROR, " ERROR:    "),
        (logging.CRITICAL, " CRITICAL: "),
    ],
)
def test_the_levels_stand_in_a_column(level: int, prefix: str) -> None:
    shown = TextFormatter(use_colors=False).format(server_record("message", level=level))
    assert shown[19:] == f"{prefix}message"
    colored = TextFormatter(use_colors=True).format(server_record("message", level=level))
    assert f"m{prefix.strip(' :')}\x1b[0m:" in colored


def test_a_message_cannot_forge_a_line_nor_steer_the_terminal() -> None:
    forged = f"bad {ESCAPE}\n2026-01-01 00:00:00 INFO:     forged\r\x85\u2028"
    shown = TextFormatter(use_colors=False).format(server_record("%s", forged))
    first, second = shown.split("\n")
    assert first.endswith("INFO:     bad \\x1b[2J")
    assert second == "    2026-01-01 00:00:00 INFO:     forged\\x0d\\x85\\u2028"


def exception(text: str) -> Any:
    with pytest.raises(ValueError) as caught:
        raise ValueError(text)
    return caught.type, caught.value, caught.tb


def test_a_traceback_is_escaped_and_indented() -> None:
    shown = TextFormatter(use_colors=False).format(server_record("failed", exc_info=exception(f"{ESCAPE}\nforged")))
    lines = shown.split("\n")
    assert lines[0].endswith("ERROR:    failed") or lines[0].endswith("INFO:     failed")
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-2:] == ["    ValueError: \\x1b[2J", "    forged"]
    assert all(line.isprintable() for line in lines)


def test_a_stack_is_shown() -> None:
    made = server_record("here")
    made.stack_info = "Stack (most recent call last):\n  x"
    assert TextFormatter(use_colors=False).format(made).endswith("here\n    Stack (most recent call last):\n      x")
    assert json.loads(JsonFormatter().format(made))["stack"] == made.stack_info


def test_a_server_object() -> None:
    line = JsonFormatter().format(server_record("%s ü", f"{ESCAPE}\nb", exc_info=exception("x\x1by"), level=logging.ERROR))
    shown = json.loads(line)
    assert "\n" not in line
    assert line.isascii()
    assert (shown["time"], shown["level"], shown["logger"]) == ("1970-01-01T00:00:00.250Z", "error", "asgiserve.server")
    assert shown["message"] == "\\x1b[2J\nb ü"
    assert shown["exception"].startswith("Traceback")
    assert shown["exception"].endswith("ValueError: x\\x1by")


# ---- colours


@pytest.mark.parametrize(
    ("terminal", "told", "environ", "wanted"),
    [
        (True, None, {}, True),
        (False, None, {}, False),
        (True, None, {"NO_COLOR": "1"}, False),
        (True, None, {"NO_COLOR": ""}, True),
        (True, None, {"TERM": "dumb"}, False),
        (False, None, {"FORCE_COLOR": "1"}, True),
        (False, None, {"FORCE_COLOR": ""}, False),
        (True, None, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (False, True, {"NO_COLOR": "1"}, True),
        (True, False, {"FORCE_COLOR": "1"}, False),
    ],
)
def test_who_wants_colors(terminal: bool, told: bool | None, environ: dict[str, str], wanted: bool) -> None:
    assert logs.wants_colors(Terminal() if terminal else io.StringIO(), told, environ) is wanted


def test_without_a_stream_there_are_no_colours() -> None:
    assert not logs.wants_colors(None, None, {})


@pytest.mark.parametrize(("told", "colored"), [(None, True), (False, False)])
def test_each_stream_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch, told: bool | None, colored: bool) -> None:
    out, err = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    configure(LogConfig(use_colors=told))
    log_access(record())
    logging.getLogger("asgiserve.server").info("up")
    assert ("\x1b[" in out.getvalue()) is colored
    assert "\x1b[" not in err.getvalue()


# ---- configure


def test_two_streams(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    logging.getLogger("asgiserve.server").info("up %s", "and running")
    logging.getLogger("asgiserve.core").debug("not shown")
    log_access(record())
    out, err = capsys.readouterr()
    assert err[19:] == " INFO:     up and running\n"
    assert out[19:] == ' INFO:     127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 12 1.2ms\n'


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig(log_format="json", use_colors=True))
    logging.getLogger("asgiserve.server").warning("up")
    log_access(record())
    out, err = capsys.readouterr()
    assert json.loads(err)["message"] == "up"
    assert json.loads(out)["target"] == "/x?y=1"


def test_twice_is_as_good_as_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig(log_format="json", log_level="critical"))
    configure(LogConfig())
    log_access(record())
    logging.getLogger("asgiserve.server").info("up")
    out, err = capsys.readouterr()
    assert out.count("\n") == err.count("\n") == 1
    assert "{" not in out + err


def test_the_root_logger_and_others_are_left_alone() -> None:
    root = logging.getLogger()
    other = logging.getLogger("other")
    before = (root.level, root.handlers[:], other.level, other.handlers[:], other.disabled)
    configure(LogConfig(log_level="trace"))
    assert (root.level, root.handlers, other.level, other.handlers, other.disabled) == before


@pytest.mark.parametrize(("level", "shown"), [("warning", ["w"]), ("info", ["i", "w"]), ("debug", ["d", "i", "w"]), ("trace", ["t", "d", "i", "w"])])
def test_levels(capsys: pytest.CaptureFixture[str], level: str, shown: list[str]) -> None:
    configure(LogConfig(log_level=level))
    logger = logging.getLogger("asgiserve.server")
    logger.log(logs.TRACE, "t")
    logger.debug("d")
    logger.info("i")
    logger.warning("w")
    log_access(record())
    out, err = capsys.readouterr()
    assert [line[-1] for line in err.splitlines()] == shown
    assert bool(out) is (level != "warning")


def test_no_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig(access_log=False, log_level="trace"))
    log_access(record())
    assert capsys.readouterr().out == ""
    configure(LogConfig())
    log_access(record())
    assert capsys.readouterr().out != ""


def test_a_logger_that_has_handlers_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logging.getLogger("asgiserve.access").addHandler(logging.StreamHandler(stream))
    configure(LogConfig())
    log_access(record())
    assert stream.getvalue() == '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 12 1.2ms\n'
    assert capsys.readouterr().out == ""


# ---- somebody else's logging


def own_handler(formatter: logging.Formatter | None = None) -> io.StringIO:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("asgiserve.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return stream


@pytest.mark.parametrize("formatter", [None, logging.Formatter(), TextFormatter(use_colors=False), JsonFormatter()])
def test_every_formatter_gets_escaped_fields(formatter: logging.Formatter | None) -> None:
    stream = own_handler(formatter)
    log_access(record(target=f"/{ESCAPE}\x9b", peer="\x07", method="\x08", version="\x0b", outcome="\x0c"))
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert "\\x1b[2J\\x9b" in line.replace("\\\\", "\\")


def test_the_fields_are_in_the_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="asgiserve.access"):
        log_access(record(status=0, outcome="aborted", close_code=1006, duration=0.00126))
    (logged,) = caplog.records
    assert logged.args == ("127.0.0.1:51234", "GET", "/x?y=1", "1.1", "-", 12, 1.3, " aborted close 1006")
    assert logged.getMessage() == '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" - 12 1.3ms aborted close 1006'
    assert logged.__dict__["access"].outcome == "aborted"
    assert (logged.name, logged.levelname) == ("asgiserve.access", "INFO")


def test_a_filter_written_for_uvicorn_works(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    logging.getLogger("asgiserve.access").addFilter(lambda each: isinstance(each.args, tuple) and each.args[2] != "/health")
    log_access(record(target="/health"))
    log_access(record(target="/else"))
    out = capsys.readouterr().out
    assert "/health" not in out
    assert out[19:] == ' INFO:     127.0.0.1:51234 - "GET /else HTTP/1.1" 200 12 1.2ms\n'


def test_a_filter_and_a_level_on_our_handler_hold(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    (handler,) = logging.getLogger("asgiserve.access").handlers
    handler.addFilter(lambda _: False)
    log_access(record())
    handler.filters.clear()
    handler.setLevel(logging.WARNING)
    log_access(record())
    assert capsys.readouterr().out == ""


def test_a_second_handler_gets_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    stream = own_handler()
    log_access(record())
    assert stream.getvalue().endswith("1.2ms\n")
    assert capsys.readouterr().out.endswith("1.2ms\n")


def test_nothing_is_made_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("asgiserve.access").setLevel(logging.WARNING)
    monkeypatch.setattr(logging.Logger, "handle", lambda *_: pytest.fail("logged"))
    log_access(record())


def test_the_short_way_makes_no_log_record(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    monkeypatch.setattr(logging.Logger, "handle", lambda *_: pytest.fail("the long way"))
    log_access(record())
    assert capsys.readouterr().out


# ---- streams that fail


class Broken(io.StringIO):
    def write(self, text: str) -> int:  # noqa: ARG002
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("filtered", [False, True])
def test_a_broken_access_log_is_reported_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], filtered: bool) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    configure(LogConfig())
    if filtered:
        logging.getLogger("asgiserve.access").addFilter(lambda _: True)
    for _ in range(3):
        log_access(record())
    err = capsys.readouterr().err
    assert err[19:] == " ERROR:    the access log cannot be written, its lines are lost: [Errno 32] Broken pipe\n"


def test_a_stream_that_cannot_encode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
    handler = ServerHandler(stream)
    handler.setFormatter(TextFormatter(use_colors=False))
    handler.handle(server_record("größe"))
    assert raw.getvalue().endswith(b"gr\\xf6\\xdfe\n")


def test_a_message_that_cannot_be_formatted_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    logging.getLogger("asgiserve.server").info("%d", "no number")
    logging.getLogger("asgiserve.server").info("goes on")
    assert capsys.readouterr().err.endswith("goes on\n")


def test_what_others_log_on_the_access_logger_is_a_line_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig())
    logging.getLogger("asgiserve.access").info("by hand")
    assert capsys.readouterr().out[19:] == " INFO:     by hand\n"
    assert isinstance(logging.getLogger("asgiserve.access").handlers[0], AccessHandler)


# ---- rate limiting


def test_so_many_lines_an_interval() -> None:
    limiter = RateLimiter(2, 10.0)
    assert limiter.line("a", 100.0) == "a"
    assert limiter.line("b", 109.9) == "b"
    assert limiter.line("c", 109.9) is None
    assert limiter.suppressed == 1
    assert limiter.line("d", 110.0) == "d (1 more line like this held back)"
    assert limiter.suppressed == 0
    assert limiter.line("e", 110.0) == "e"
    assert [limiter.line("f", 111.0) for _ in range(3)] == [None] * 3
    assert limiter.line("g", 500.0) == "g (3 more lines like this held back)"
    assert limiter.line("h", 500.0) == "h"


def test_the_first_line_is_allowed_whatever_the_clock_says() -> None:
    assert RateLimiter(1, 10.0).line("a", 0.0) == "a"
    assert RateLimiter(1, 10.0).line("a", -5.0) == "a"
