"""Logging: what is written, where to, and that it is safe to look at.

The law of this module: nothing that came from the network reaches a log as it came. The formatters escape each field and each line, so a
peer can neither steer a terminal (CVE-2020-7694) nor forge a line: every record begins with its time, and what follows a line end inside
of a record is indented. Whoever logs need not think of it.

`configure` sets up two loggers and leaves the root logger alone: ``asgiserve`` (``asgiserve.server``, ``asgiserve.core``, …) on stderr and
``asgiserve.access`` on stdout, as uvicorn does. An exchange makes one `AccessRecord` when it ends and hands it to `log_access`, which
takes a short way past `logging.LogRecord` where the handler is ours, and the ordinary way where it is somebody else's, with the fields in
``record.args`` and in ``record.access``. Clocks are read here only to date a line; `RateLimiter` is told the time.
"""

from __future__ import annotations

import configparser
import importlib
import json
import logging
import logging.config
import os
import re
import sys
import time
import tomllib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from asgiserve.config import OPTIONS
from asgiserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgiserve.config import LogConfig

__all__ = [
    "TRACE",
    "AccessHandler",
    "AccessRecord",
    "AccessRequest",
    "JsonFormatter",
    "RateLimiter",
    "ServerHandler",
    "TextFormatter",
    "configure",
    "escape",
    "log_access",
    "wants_colors",
]

TRACE = 5
_SILENT = logging.CRITICAL + 1
_LEVELS: Mapping[str, int] = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}

_server = logging.getLogger("asgiserve")
_access = logging.getLogger("asgiserve.access")
logging.addLevelName(TRACE, "TRACE")


# ---- escaping ----------------------------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    r"""``text`` with everything escaped that is not printable: C0 (line ends too), DEL, C1, lone surrogates, marks that turn the direction.

    A character becomes ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``. Escaping twice is the same as escaping once.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _hex(char) for char in text)


def _hex(char: str) -> str:
    code = ord(char)
    if char <= "\xff":
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if char <= "\uffff" else f"\\U{code:08x}"


# As nginx does in its access log: a quotation mark would end the quoted request line, and a backslash would make the escapes ambiguous.
# What is not ASCII is shown as the bytes that came, which also suits every encoding of stdout.
_unsafe_field: Callable[[str], re.Match[str] | None] = re.compile(r"[^ !#-\[\]-~]").search


def _field(text: str) -> str:
    """One field of an access line, from the network: only printable ASCII, no quotation mark and no bare backslash."""
    if _unsafe_field(text) is None:
        return text
    return "".join(char if " " <= char <= "~" and char not in '"\\' else _hex(char) for char in text)


def _json_field(text: str) -> str:
    """The same, as the inside of a JSON string: only the backslashes of the escapes have to be escaped."""
    return _field(text).replace("\\", "\\\\")


def _lines(text: str, indent: str = "") -> str:
    """``text`` with each of its lines escaped, and all but the first indented."""
    if text.isprintable():
        return text
    return ("\n" + indent).join(escape(line.expandtabs(4)) for line in text.removesuffix("\n").split("\n"))


# ---- the access record -------------------------------------------------------------------------------------------------------------


class AccessRequest:
    """What a client asked for, as the access log tells it. Plain text; the target is as it came and is escaped when it is written.

    The same one may be given to the records of all exchanges that have it in common: then a formatter writes its part of the line once.

    Args:
        peer: ``127.0.0.1:51234``; empty for a client without an address.
        method: ``GET``.
        target: the request target as it came, as latin-1 text.
        version: ``1.1``.
    """

    __slots__ = ("method", "peer", "target", "version", "written")

    def __init__(self, peer: str, method: str, target: str, version: str) -> None:
        self.peer = peer
        self.method = method
        self.target = target
        self.version = version
        # What a formatter wrote of it, before and after the status, and which formatter it was: at once, as handlers may be in several threads.
        self.written: tuple[logging.Formatter | None, str, str] = (None, "", "")


class AccessRecord:
    """What one exchange was, once it has ended.

    Args:
        request: what the client asked for; ``peer``, ``method``, ``target`` and ``version`` of the record are its own.
        status: of the final response, 101 for a WebSocket, 0 where no response head was sent.
        sent_bytes: body bytes of the response.
        duration: seconds, from the request head to the end of the exchange.
        outcome: empty where the response is complete, else one word for how it ended, as in ``aborted`` or ``timeout``.
        close_code: of a WebSocket.
    """

    __slots__ = ("close_code", "duration", "outcome", "request", "sent_bytes", "status")

    def __init__(  # noqa: PLR0917 - made for every exchange: by position it costs half of what it costs by keyword
        self, request: AccessRequest, status: int, sent_bytes: int, duration: float, outcome: str = "", close_code: int | None = None
    ) -> None:
        self.request = request
        self.status = status
        self.sent_bytes = sent_bytes
        self.duration = duration
        self.outcome = outcome
        self.close_code = close_code

    @property
    def peer(self) -> str:
        """Who asked: ``127.0.0.1:51234``."""
        return self.request.peer

    @property
    def method(self) -> str:
        """``GET``."""
        return self.request.method

    @property
    def target(self) -> str:
        """The request target as it came, as latin-1 text."""
        return self.request.target

    @property
    def version(self) -> str:
        """``1.1``."""
        return self.request.version


def _ending(record: AccessRecord) -> str:
    """The end of an access line: empty for an ordinary response."""
    ending = f" {_field(record.outcome)}" if record.outcome else ""
    return ending if record.close_code is None else f"{ending} close {record.close_code}"


# The first five arguments are uvicorn's, so that a filter written for its access log (`record.args[2] == "/health"`) does the same here.
_ACCESS_MESSAGE = '%s - "%s %s HTTP/%s" %s %s %sms%s'


def log_access(record: AccessRecord) -> None:
    """Log an exchange that has ended, once, on ``asgiserve.access``.

    Costs 2.7 µs with the text format and our handler (CPython 3.11, stdout on /dev/null), 7.7 µs the ordinary way through `logging`.
    """
    logger = _access
    if not logger.isEnabledFor(logging.INFO):
        return
    handlers = logger.handlers
    if len(handlers) == 1 and not logger.propagate and not logger.filters:
        handler = handlers[0]
        if type(handler) is AccessHandler and not handler.filters and handler.level <= logging.INFO:
            handler.write_access(record)
            return
    args = (
        _field(record.peer) or "-",
        _field(record.method),
        _field(record.target),
        _field(record.version),
        record.status or "-",
        record.sent_bytes,
        round(record.duration * 1000, 1),
        _ending(record),
    )
    extra = {"access": record}
    logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, _ACCESS_MESSAGE, args, None, "log_access", extra))


# ---- formatters --------------------------------------------------------------------------------------------------------------------

_RESET = "\x1b[0m"
_LEVEL_COLORS: Mapping[int, str] = {
    TRACE: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[91m",
}
# By the first digit of the status; 0 is no response, above 5xx is nothing that an application may send.
_STATUS_COLORS = ("\x1b[91m", "\x1b[97m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[91m", *(("\x1b[91m",) * 4))


def wants_colors(stream: IO[str] | None, use_colors: bool | None = None, environ: Mapping[str, str] = os.environ) -> bool:  # noqa: FBT001 - the option itself
    """Whether to colour what goes to ``stream``: as told, else by NO_COLOR and FORCE_COLOR, else on a terminal that is not dumb."""
    if use_colors is not None:
        return use_colors
    if environ.get("NO_COLOR"):  # https://no-color.org: present and not empty
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream is not None and stream.isatty() and environ.get("TERM") != "dumb"


class TextFormatter(logging.Formatter):
    """Lines for people: ``2026-01-31 12:00:00 INFO:     message``, after the local clock; uvicorn's lines with the time before them.

    Usable in a logging configuration of one's own: ``{"()": "asgiserve.logs.TextFormatter", "use_colors": false}``.

    Args:
        use_colors: None asks ``stream``, which is stderr where it is not given.
    """

    def __init__(self, *, use_colors: bool | None = None, stream: IO[str] | None = None) -> None:
        super().__init__()
        self.use_colors = wants_colors(stream if stream is not None else sys.stderr, use_colors)
        self._second = -1
        self._stamp = ""
        self._info = self._level(logging.INFO, "INFO")

    def _level(self, number: int, name: str) -> str:
        color = _LEVEL_COLORS.get(number) if self.use_colors else None
        padding = " " * (9 - len(name))
        return f" {color}{name}{_RESET}:{padding}" if color else f" {name}:{padding}"

    def _time(self, created: float) -> str:
        second = int(created)
        if second != self._second:  # once a second, not once a line: 0.8 µs
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._stamp = f"\x1b[2m{stamp}{_RESET}" if self.use_colors else stamp
            self._second = second
        return self._stamp

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines, without the last line end."""
        access = getattr(record, "access", None)
        if isinstance(access, AccessRecord):
            return self.access_line(access, record.created)
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{self.formatStack(record.stack_info)}"
        return self._time(record.created) + self._level(record.levelno, record.levelname) + _lines(text, "    ")

    def access_line(self, record: AccessRecord, created: float) -> str:
        """One line for ``record``, without the line end."""
        formatter, before, _ = record.request.written
        if formatter is not self:
            before, _ = self._write_request(record.request)
        status = record.status
        ending = _ending(record) if record.outcome or record.close_code is not None else ""
        shown = (status or "-") if not self.use_colors else f"{_STATUS_COLORS[status // 100]}{status or '-'}{_RESET}"
        stamp = self._stamp if int(created) == self._second else self._time(created)
        return f"{stamp}{before}{shown} {record.sent_bytes} {record.duration * 1000:.1f}ms{ending}"

    def _write_request(self, request: AccessRequest) -> tuple[str, str]:
        line = f"{_field(request.method)} {_field(request.target)} HTTP/{_field(request.version)}"
        if self.use_colors:
            line = f"\x1b[1m{line}{_RESET}"
        before = f'{self._info}{_field(request.peer) or "-"} - "{line}" '
        request.written = (self, before, "")
        return before, ""


class JsonFormatter(logging.Formatter):
    """One JSON object a line, ASCII only: ``time`` (UTC), ``level``, ``logger``, ``message``, ``exception``, and an exchange's fields.

    Text from the network is escaped inside of the JSON strings as well, since somebody will print them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._stamp = ""

    def _time(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._stamp}.{int((created - second) * 1000):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        """The record's object, without the line end."""
        access = getattr(record, "access", None)
        if isinstance(access, AccessRecord):
            return self.access_line(access, record.created)
        line = {
            "time": self._time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _lines(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = _lines(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = _lines(self.formatStack(record.stack_info))
        return json.dumps(line)

    def access_line(self, record: AccessRecord, created: float) -> str:
        """One object for ``record``, without the line end."""
        formatter, before, after = record.request.written
        if formatter is not self:
            before, after = self._write_request(record.request)
        outcome = _json_field(record.outcome) if record.outcome else "complete"
        code = "" if record.close_code is None else f', "close_code": {record.close_code}'
        return (
            f'{{"time": "{self._time(created)}{before}{record.status}{after}'
            f'"status": {record.status}, "bytes": {record.sent_bytes}, '
            f'"duration_ms": {record.duration * 1000:.3f}, "outcome": "{outcome}"{code}}}'
        )

    def _write_request(self, request: AccessRequest) -> tuple[str, str]:
        method, target = _json_field(request.method), _json_field(request.target)
        before = f'", "level": "info", "logger": "asgiserve.access", "message": "{method} {target} '
        after = f'", "peer": "{_json_field(request.peer)}", "method": "{method}", "target": "{target}", "version": "{_json_field(request.version)}", '
        request.written = (self, before, after)
        return before, after


# ---- handlers ----------------------------------------------------------------------------------------------------------------------


class ServerHandler(logging.StreamHandler[IO[str]]):
    """Writes lines to a stream, in whatever encoding the stream has."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - as in logging: what cannot be logged is no fault of who logs
            self.handleError(record)

    def _write(self, line: str) -> None:
        stream = self.stream
        try:
            stream.write(line)
        except UnicodeEncodeError:  # `LANG=C`, and a path with an umlaut
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


class AccessHandler(ServerHandler):
    """Writes access lines. A stream that cannot be written (a closed pipe, a full disk) is reported once and stops no request."""

    formatter: TextFormatter | JsonFormatter

    def __init__(self, stream: IO[str], formatter: TextFormatter | JsonFormatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._reported = False

    def write_access(self, record: AccessRecord) -> None:
        """Format and write one record. Called by `log_access` only."""
        with self.lock:  # type: ignore[union-attr]  # None only before __init__
            try:
                stream = self.stream
                stream.write(self.formatter.access_line(record, time.time()) + "\n")
                stream.flush()
            except Exception as exc:  # noqa: BLE001 - a log line must not cost a response
                self._report(exc)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's name
        """Report the exception that is being handled, once."""
        self._report(sys.exc_info()[1])

    def _report(self, exc: BaseException | None) -> None:
        if not self._reported:
            self._reported = True
            logging.getLogger("asgiserve.logs").error("the access log cannot be written, its lines are lost: %s", exc)


# ---- configuration -----------------------------------------------------------------------------------------------------------------


def configure(config: LogConfig) -> None:
    """Set up ``asgiserve`` and ``asgiserve.access``; nothing else is touched, but by a logging configuration of one's own.

    Calling it again replaces what it did before. A logger to which somebody else gave handlers keeps them. With ``log_config`` that
    configuration has the say; of our options ``access_log=False`` holds still, and a ``log_level`` other than the default.

    Raises:
        ConfigError: the logging configuration cannot be read, or `logging.config` refuses it.
    """
    for logger in (_server, _access):
        _restore(logger)
    level = _LEVELS[config.log_level]
    if config.log_config is not None:
        _configure_from(config.log_config)
        if config.log_level != OPTIONS["log_level"].default:
            _server.setLevel(level)
            _access.setLevel(level)
    else:
        _server.setLevel(level)
        _access.setLevel(level)
        if not _server.handlers:
            handler = ServerHandler(sys.stderr)
            handler.setFormatter(_formatter(config, sys.stderr))
            _server.addHandler(handler)
            _server.propagate = False
        if not _access.handlers:
            _access.addHandler(AccessHandler(sys.stdout, _formatter(config, sys.stdout)))
            _access.propagate = False
    if not config.access_log:
        _access.setLevel(_SILENT)


def _restore(logger: logging.Logger) -> None:
    """Take away what an earlier `configure` put on ``logger``."""
    for handler in logger.handlers[:]:
        if isinstance(handler, ServerHandler):
            logger.removeHandler(handler)
            logger.propagate = True
    logger.setLevel(logging.NOTSET)


def _formatter(config: LogConfig, stream: IO[str]) -> TextFormatter | JsonFormatter:
    return JsonFormatter() if config.log_format == "json" else TextFormatter(use_colors=config.use_colors, stream=stream)


def _configure_from(source: str | Mapping[str, Any]) -> None:
    """Let `logging.config` do what the file, or the mapping, says."""
    name = source if isinstance(source, str) else "the mapping"
    if isinstance(source, str):
        try:
            loaded = _read(source)
        except OSError as exc:
            raise ConfigError(f"--log-config: cannot read {source}: {exc.strerror or exc}") from None
        except ValueError as exc:  # json, tomllib, UnicodeDecodeError, and yaml by way of _read
            raise ConfigError(f"--log-config: {source}: {_one_line(exc)}") from None
    else:
        loaded = source
    try:
        if loaded is None:
            logging.config.fileConfig(str(source), disable_existing_loggers=False)
        else:
            # logging's own default would switch off every logger that the file does not name, ours too.
            logging.config.dictConfig({"disable_existing_loggers": False, **loaded})
    # logging.config raises whatever its parts raise, and says what is wrong in the cause.
    except Exception as exc:  # noqa: BLE001
        raise ConfigError(f"--log-config: {name}: {'; '.join(_one_line(each) for each in _causes(exc))}") from None


def _read(path: str) -> Mapping[str, Any] | None:
    """The mapping in the file; None where the file is for `logging.config.fileConfig`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it cannot be parsed, or what it holds is no mapping.
    """
    text = Path(path).read_text(encoding="utf-8")
    kind = Path(path).suffix.lower()
    loaded: Any
    if kind == ".json":
        loaded = json.loads(text)
    elif kind == ".toml":
        loaded = tomllib.loads(text)
    elif kind in {".yaml", ".yml"}:
        try:
            yaml = importlib.import_module("yaml")  # an extra, and without types
        except ImportError:
            raise ConfigError(f"--log-config: {path}: YAML needs PyYAML (pip install pyyaml)") from None
        try:
            loaded = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise ValueError(str(exc)) from None
    else:
        return None
    if not isinstance(loaded, dict):
        raise ValueError("is not a mapping")
    return loaded


def _causes(exc: BaseException | None) -> list[BaseException]:
    chain = []
    while exc is not None and exc not in chain:
        chain.append(exc)
        exc = exc.__cause__ or exc.__context__
    return chain


def _one_line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    if isinstance(exc, KeyError | configparser.Error) or not text:  # whose text alone says little
        return f"{type(exc).__name__}: {text}"
    return text


# ---- rate limiting -----------------------------------------------------------------------------------------------------------------


class RateLimiter:
    """At most ``limit`` lines in any window of ``interval`` seconds. What was held back is counted and told with the next line.

    It reads no clock: each call says what time it is, in seconds on any clock that does not run backwards.
    """

    __slots__ = ("_count", "_interval", "_limit", "_since", "suppressed")

    def __init__(self, limit: int, interval: float) -> None:
        self._limit = limit
        self._interval = interval
        self._since: float | None = None
        self._count = 0
        self.suppressed = 0

    def line(self, text: str, now: float) -> str | None:
        """``text`` where it may be logged now, with the number of lines held back before it; None where it is held back."""
        if self._since is None or now - self._since >= self._interval:
            self._since = now
            self._count = 0
        if self._count >= self._limit:
            self.suppressed += 1
            return None
        self._count += 1
        held, self.suppressed = self.suppressed, 0
        if not held:
            return text
        return f"{text} ({held} more {'line' if held == 1 else 'lines'} like this held back)"
