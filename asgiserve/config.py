"""Every option of the server, declared once. Imports nothing of ours but the errors and `absent`.

The law of this module: an option is one field of one frozen dataclass. Its name, type, default, unit and help come from there, and the
command line (`cli`), the environment (``ASGISERVE_<NAME>``), the TOML file, ``asgiserve.run(app, <name>=…)``, ``Server(app, <name>=…)`` and
the options table in ``docs/options.md`` are all made from it. Sections are what each part of the server gets: a connection never sees a
certificate's path. Configuration is built once and does nothing: it opens no socket, configures no logging and never exits.

Names are uvicorn's wherever uvicorn has the option. Ours follow its habit: durations are ``timeout_*`` in seconds, sizes ``max_*_bytes``,
numbers ``max_*_count`` or ``limit_*``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from asgiserve.absent import ABSENT, ABSENT_VALUES
from asgiserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "OPTIONS",
    "SECTIONS",
    "ApplicationConfig",
    "BindConfig",
    "Config",
    "HttpConfig",
    "Limits",
    "LogConfig",
    "Option",
    "ProxyConfig",
    "Timeouts",
    "TlsConfig",
    "WebSocketConfig",
    "build_config",
    "options",
    "unknown_option",
]

Kind = Literal["string", "integer", "number", "boolean", "choice", "path", "file-or-mapping", "list", "seconds", "size", "rate", "count"]

_UNITS: Mapping[str, int] = {"": 1, "b": 1, "kb": 1000, "kib": 1024, "mb": 1000**2, "mib": 1024**2, "gb": 1000**3, "gib": 1024**3}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_VALUE_NAMES: Mapping[str, str] = {
    "string": "TEXT",
    "path": "PATH",
    "file-or-mapping": "FILE",
    "integer": "NUMBER",
    "count": "NUMBER",
    "number": "NUMBER",
    "seconds": "SECONDS",
    "rate": "RATE",
    "size": "SIZE",
    "list": "LIST",
}
_SWITCHED_OFF = frozenset({"seconds", "size", "rate", "count", "number"})
_OFF = frozenset({"none", "off"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What the field of a section declares, beside its default.

    ``optional`` (from the annotation) means that None is a value: ``none`` or ``off`` on the command line, in the environment and in the
    file. ``value_flag`` marks a boolean that uvicorn takes as ``--name true|false``, not as a switch. A ``secret`` value is never shown.
    """

    kind: Kind
    help: str
    section: str = ""
    name: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    flag: str = ""
    short: str = ""
    secret: bool = False
    value_flag: bool = False
    metavar: str = ""

    @property
    def flags(self) -> str:
        """The option's name on the command line: ``--limit-concurrency``."""
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> str:
        """The option's name in the environment: ``ASGISERVE_LIMIT_CONCURRENCY``."""
        return "ASGISERVE_" + self.name.upper()

    @property
    def value_name(self) -> str:
        """What stands for the value in the help: ``[text|json]``, ``SECONDS``; nothing for a switch."""
        if self.kind == "choice":
            return f"[{'|'.join(self.choices)}]"
        if self.kind == "boolean":
            return "true|false" if self.value_flag else ""
        return self.metavar or _VALUE_NAMES[self.kind]

    @property
    def takes_none(self) -> bool:
        """Whether ``none`` is a value that a person would write: for no limit. A path that is not wanted is left out."""
        return self.optional and self.kind in _SWITCHED_OFF

    @property
    def shown_default(self) -> str:
        """The default with its unit, as a person would write it: ``15 seconds``, ``64KiB``, ``none``."""
        if self.default is None:
            return "none"
        if isinstance(self.default, bool):
            return "true" if self.default else "false"
        if isinstance(self.default, tuple):
            return ",".join(self.default)
        if self.kind == "size":
            for unit in ("GiB", "MiB", "KiB"):
                if self.default and self.default % _UNITS[unit.lower()] == 0:
                    return f"{self.default // _UNITS[unit.lower()]}{unit}"
        if isinstance(self.default, float):
            unit = self.unit.removesuffix("s") if self.default == 1 else self.unit
            return f"{self.default:g} {unit}".rstrip()
        return f"{self.default} {self.unit}".rstrip()

    def parse(self, value: Any, *, source: str = "") -> Any:
        """``value`` as the option's type, from text (command line, environment) or from a Python or TOML value.

        Raises:
            ConfigError: naming the option, the value, what is expected, and ``source`` where one is given.
        """
        try:
            parsed = _PARSERS[self.kind](self, value)
            if isinstance(parsed, int | float) and not isinstance(parsed, bool):
                _in_range(self, parsed)
        except ValueError as exc:
            where = f" (from {source})" if source else ""
            shown = "…" if self.secret else repr(value)
            raise ConfigError(f"{self.flags}: {shown} is not {exc}{where}") from None
        return parsed


def _in_range(option: Option, number: float) -> None:
    if not math.isfinite(number):
        raise ValueError("a finite number")
    if (option.minimum is not None and number < option.minimum) or (option.maximum is not None and number > option.maximum):
        if option.maximum is None:
            raise ValueError(f"a number of at least {option.minimum:g}")
        raise ValueError(f"a number between {option.minimum or 0:g} and {option.maximum:g}")


def _off(option: Option, value: Any) -> bool:
    return option.optional and (value is None or (isinstance(value, str) and value.strip().lower() in _OFF))


def _string(option: Option, value: Any) -> str | None:
    if _off(option, value):
        return None
    # A path may come as a pathlib.Path; nothing else is quietly turned into text.
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _integer(option: Option, value: Any) -> int | None:
    if _off(option, value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a whole number")
    try:
        return int(value)
    except ValueError:
        raise ValueError("a whole number" + (", or none" if option.optional else "")) from None


def _number(option: Option, value: Any) -> float | None:
    if _off(option, value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a number")
    try:
        return float(value)
    except ValueError:
        unit = f" of {option.unit}" if option.unit else ""
        raise ValueError(f"a number{unit}" + (", or none" if option.optional else "")) from None


def _size(option: Option, value: Any) -> int | None:
    if isinstance(value, str) and not _off(option, value):
        match = _SIZE.fullmatch(value.strip())
        if match is None or match[2].lower() not in _UNITS:
            raise ValueError("a size in bytes, as in 65536, 64KiB or 1MiB" + (", or none" if option.optional else ""))
        number = float(match[1]) * _UNITS[match[2].lower()]
        if not math.isfinite(number):
            raise ValueError("a finite number")
        return int(number)
    return _integer(option, value)


def _boolean(option: Option, value: Any) -> bool | None:
    if isinstance(value, bool) or (value is None and option.optional):
        return value
    if option.optional and isinstance(value, str) and value.strip().lower() == "none":  # `off` is false here
        return None
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise ValueError("true or false")


def _choice(option: Option, value: Any) -> str | None:
    if _off(option, value) and "off" not in option.choices:
        return None
    text = value.strip().lower() if isinstance(value, str) else value
    if text not in option.choices:
        if isinstance(text, str) and (option.name, text) in ABSENT_VALUES:
            raise ValueError(f"a value here: {ABSENT_VALUES[option.name, text]}")
        near = difflib.get_close_matches(str(text), option.choices, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"one of {', '.join(option.choices)}{hint}")
    return str(text)


def _list(option: Option, value: Any) -> tuple[Any, ...]:
    """Text is split at commas, but for fields (``--header``), whose values may hold one: those are split at line ends."""
    if isinstance(value, str):
        parts = value.splitlines() if option.name == "header" else value.split(",")
        return tuple(part.strip() for part in parts if part.strip())
    try:
        items = tuple(value)
    except TypeError:
        raise ValueError("a list of text") from None
    if option.name == "header":  # uvicorn's programming interface gives pairs, its command line `Name:Value`
        try:
            items = tuple(item if isinstance(item, str) else ":".join(item) for item in items)
        except TypeError:
            raise ValueError("a list of text or of pairs of text") from None
    if not all(isinstance(item, str) for item in items):
        raise ValueError("a list of text")
    return items


def _file_or_mapping(option: Option, value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else _string(option, value)


_PARSERS: Mapping[str, Callable[[Option, Any], Any]] = {
    "string": _string,
    "path": _string,
    "file-or-mapping": _file_or_mapping,
    "integer": _integer,
    "count": _integer,
    "number": _number,
    "seconds": _number,
    "rate": _number,
    "size": _size,
    "boolean": _boolean,
    "choice": _choice,
    "list": _list,
}

_T = TypeVar("_T")


def _option(default: _T, kind: Kind, help: str, **facts: Any) -> _T:  # noqa: A002 - the word that click and argparse use
    """Declare an option: the field's default and all that is said of it."""
    unit = {"seconds": "seconds", "size": "bytes", "rate": "bytes per second"}.get(kind, "")
    facts.setdefault("unit", unit)
    option = Option(kind=kind, help=help, default=default, **facts)
    field: _T = dataclasses.field(default=default, metadata={"option": option})
    return field


@dataclass(frozen=True, slots=True, kw_only=True)
class BindConfig:
    """Where to listen."""

    host: str = _option("127.0.0.1", "string", "Address or name to listen on. 0.0.0.0 and :: are every interface.")
    port: int = _option(8000, "integer", "Port to listen on. 0 lets the system choose one; the log names it.", minimum=0, maximum=65535)
    uds: str | None = _option(None, "path", "Listen on a UNIX domain socket at this path.")
    fd: int | None = _option(None, "integer", "Listen on an inherited socket with this file descriptor.", minimum=0)
    bind: tuple[str, ...] = _option(
        (),
        "list",
        "Listen on host:port, [::]:port, unix:path or fd://N. May be given several times; replaces --host and --port.",
        metavar="ADDRESS",
    )
    backlog: int = _option(2048, "count", "Connections that may wait to be accepted.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationConfig:
    """Which application, and how it is called."""

    factory: bool = _option(False, "boolean", "APP is a function without arguments that returns the application.")
    app_dir: str = _option("", "path", "Look for APP in this directory. Default: the current one.", metavar="DIR")
    interface: str = _option("auto", "choice", "The application's calling convention.", choices=("auto", "asgi3", "asgi2"))
    root_path: str = _option("", "string", "The path that a proxy mounts the application under.", metavar="PATH")
    lifespan: str = _option(
        "auto", "choice", "Lifespan events: auto goes on without them where the application raises on them.", choices=("auto", "on", "off")
    )
    env_file: str | None = _option(None, "path", "Set environment variables from this file before the application is imported.", metavar="FILE")
    lint: bool = _option(False, "boolean", "Check every message of the application, and log which rule of ASGI or HTTP it breaks. For development.")
    loop: str = _option("auto", "choice", "The event loop. auto is uvloop where it is installed.", choices=("auto", "asyncio", "uvloop"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """What is said in HTTP."""

    http: str = _option("auto", "choice", "The HTTP/1.1 parser. auto is httptools where it is installed.", choices=("auto", "httptools", "h11"))
    header: tuple[str, ...] = _option(
        (), "list", "A field to add to every response, as Name:Value. May be given several times.", metavar="NAME:VALUE"
    )
    server_header: bool = _option(True, "boolean", "Send a Server field where the application sent none.")
    date_header: bool = _option(True, "boolean", "Send a Date field where the application sent none.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is taken before a request is refused. Each number carries its precedent."""

    limit_concurrency: int | None = _option(
        None, "count", "Requests that may run at once; one more gets 503 with Retry-After. Idle connections do not count.", minimum=1
    )
    limit_connections: int | None = _option(
        None,
        "count",
        "Connections that may be open; then accepting pauses. Default: nine tenths of the file descriptors the system allows.",
        minimum=1,
    )
    limit_max_requests: int | None = _option(None, "count", "Requests to serve before the server stops by itself.", minimum=1)
    limit_max_requests_jitter: int = _option(0, "count", "A random number up to this is added to --limit-max-requests.", minimum=0)
    # RFC 9112 §3 recommends at least 8000; nginx, Kestrel and cowboy take 8 KiB.
    max_request_line_bytes: int = _option(8190, "size", "The request line; a longer one gets 414, or 501 where it is the method.", minimum=64)
    # hyper 400 KiB, Kestrel 32 KiB, gunicorn 100 x 8 KiB; h11's 16 KiB is too low for single-sign-on cookies.
    max_head_bytes: int = _option(65536, "size", "The request head, and the trailers; more gets 431.", minimum=256)
    # hyper, Kestrel, Envoy, gunicorn and cowboy all have 100.
    max_field_count: int = _option(100, "count", "Fields in a request head, and in its trailers; more gets 431.", minimum=1)
    max_body_bytes: int | None = _option(None, "size", "The request body; more gets 413.", minimum=0)
    # Puma and hyper use exactly these two.
    max_chunk_line_bytes: int = _option(4096, "size", "One chunk-size line with its extensions; more gets 400.", minimum=16)
    max_chunk_extension_bytes: int = _option(16384, "size", "All chunk extensions of one body; more gets 400.", minimum=0)
    # The high-water mark of asyncio's and uvloop's write buffers.
    max_body_buffer_bytes: int = _option(65536, "size", "Body held for an application that does not read; then reading pauses.", minimum=1)
    max_drain_bytes: int = _option(262144, "size", "Unread request body taken after an early response before the connection is closed.", minimum=0)
    # nginx, hypercorn and cowboy: 1000 requests a connection.
    max_keep_alive_count: int | None = _option(1000, "count", "Requests on one connection before it is closed.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long is waited before a connection is given up. All are on by default."""

    timeout_keep_alive: float = _option(15.0, "seconds", "How long an idle connection is kept for its next request.", minimum=0)
    timeout_keep_alive_total: float | None = _option(
        3600.0, "seconds", "How long a connection may live before its next response closes it.", minimum=0
    )
    timeout_request_head: float | None = _option(
        10.0, "seconds", "The whole request head, from the connection or its first byte to the end; then 408.", minimum=0
    )
    timeout_request_body: float | None = _option(
        30.0, "seconds", "A request body of which nothing comes, while the application waits for it; then 408.", minimum=0
    )
    # Kestrel's numbers: 240 bytes per second after 5 s of grace.
    min_request_body_rate: float | None = _option(240.0, "rate", "The slowest request body, averaged, while it is being read; then 408.", minimum=0)
    timeout_request_body_grace: float = _option(5.0, "seconds", "How long the body may be slower than --min-request-body-rate.", minimum=0)
    timeout_write: float | None = _option(
        30.0, "seconds", "A response that the client does not take a byte of; then the connection is cut.", minimum=0
    )
    timeout_linger: float = _option(
        1.0, "seconds", "How long unread request bytes are taken after a final response, so that the client sees it.", minimum=0
    )
    timeout_tls_handshake: float = _option(10.0, "seconds", "The TLS handshake.", minimum=0.1)
    timeout_startup: float | None = _option(60.0, "seconds", "The application's lifespan start-up.", minimum=0)
    timeout_shutdown: float | None = _option(60.0, "seconds", "The application's lifespan shutdown.", minimum=0)
    # gunicorn's gthread worker: 2 s. A request that was on its way when the stop was asked for is answered, with Connection: close.
    timeout_drain_idle: float = _option(2.0, "seconds", "How long idle connections may still bring a request after a stop is asked for.", minimum=0)
    timeout_graceful_shutdown: float | None = _option(30.0, "seconds", "How long running requests may go on after a stop is asked for.", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketConfig:
    """WebSocket (RFC 6455, RFC 7692)."""

    ws: str = _option("auto", "choice", "WebSocket: none refuses it.", choices=("auto", "websockets", "none"))
    ws_max_size: int = _option(16 * 1024 * 1024, "size", "A message, counted while it is inflated; a larger one closes with 1009.", minimum=1)
    ws_max_queue: int = _option(32, "count", "Messages held for an application that does not receive; then reading pauses.", minimum=1)
    ws_max_fragment_count: int = _option(1024, "count", "Fragments of one message; more closes with 1009.", minimum=1)
    # DEFLATE reaches 1032:1; text that people send stays under 20:1.
    ws_max_inflation_ratio: int | None = _option(
        100, "count", "How many times its size a message of more than 1 MiB may inflate to; more closes with 1009.", minimum=1
    )
    ws_ping_interval: float | None = _option(20.0, "seconds", "A ping is sent this often.", minimum=0.001)
    ws_ping_timeout: float | None = _option(20.0, "seconds", "A connection whose pong does not come in time is closed with 1011.", minimum=0)
    ws_per_message_deflate: bool = _option(True, "boolean", "Compress messages where the client offers it (RFC 7692).", value_flag=True)
    ws_close_timeout: float = _option(10.0, "seconds", "How long the peer's part of the closing handshake is waited for.", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """Which proxies are believed."""

    proxy_headers: bool = _option(True, "boolean", "Take client and scheme from the forwarded fields of trusted peers.")
    # A proxy passes on the kind that it does not write, so that any client could write it: only one kind can be believed.
    forwarded_fields: str = _option(
        "x-forwarded", "choice", "What the proxies write: X-Forwarded-For and -Proto, or Forwarded (RFC 7239).", choices=("x-forwarded", "forwarded")
    )
    forwarded_allow_ips: tuple[str, ...] = _option(
        ("127.0.0.1", "::1"),
        "list",
        "Trusted peers: addresses, networks, paths of UNIX sockets, or * for all, with commas between. $FORWARDED_ALLOW_IPS is read too.",
        metavar="LIST",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """TLS."""

    ssl_keyfile: str | None = _option(None, "path", "The private key, PEM.", metavar="FILE")
    ssl_certfile: str | None = _option(None, "path", "The certificate and its chain, PEM.", metavar="FILE")
    ssl_keyfile_password: str | None = _option(None, "string", "The private key's password.", secret=True)
    ssl_ca_certs: str | None = _option(None, "path", "Authorities that client certificates are checked against, PEM.", metavar="FILE")
    ssl_cert_reqs: int = _option(0, "integer", "Client certificates: 0 none, 1 optional, 2 required (the ssl module's values).", minimum=0, maximum=2)
    ssl_ciphers: str | None = _option(None, "string", "Ciphers for TLS 1.2, in OpenSSL's notation. Default: OpenSSL's own.")
    ssl_version: int | None = _option(None, "integer", "The ssl module's PROTOCOL_ value. Default: TLS 1.2 and newer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, and how."""

    log_level: str = _option(
        "info", "choice", "The least severe message that is logged.", choices=("critical", "error", "warning", "info", "debug", "trace")
    )
    log_config: str | dict[str, Any] | None = _option(
        None,
        "file-or-mapping",
        "A logging configuration in logging.config's format: .json, .yaml, .toml or .ini. In a TOML file also a table.",
    )
    log_format: str = _option("text", "choice", "Lines for people, or JSON objects.", choices=("text", "json"))
    access_log: bool = _option(True, "boolean", "Log each request when it ends.")
    use_colors: bool | None = _option(None, "boolean", "Colours in text logs. Default: on a terminal, unless NO_COLOR is set.")


SECTIONS: Mapping[str, type[Any]] = {
    "bind": BindConfig,
    "app": ApplicationConfig,
    "http": HttpConfig,
    "limits": Limits,
    "timeouts": Timeouts,
    "websocket": WebSocketConfig,
    "proxy": ProxyConfig,
    "tls": TlsConfig,
    "log": LogConfig,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All sections. Build it with `build_config`."""

    bind: BindConfig = BindConfig()
    app: ApplicationConfig = ApplicationConfig()
    http: HttpConfig = HttpConfig()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    websocket: WebSocketConfig = WebSocketConfig()
    proxy: ProxyConfig = ProxyConfig()
    tls: TlsConfig = TlsConfig()
    log: LogConfig = LogConfig()


def options() -> Iterator[Option]:
    """Every option, in the order of its declaration, with its name and its section's name filled in."""
    for section, cls in SECTIONS.items():
        for field in dataclasses.fields(cls):
            yield dataclasses.replace(field.metadata["option"], section=section, name=field.name, optional=str(field.type).endswith("| None"))


OPTIONS: Mapping[str, Option] = {option.name: option for option in options()}


def build_config(values: Mapping[str, Any], *, source: str = "") -> Config:
    """A `Config` from a flat mapping of option names to values; what is not named has its default.

    Args:
        values: ``{"port": 0, "timeout_keep_alive": 5}``; text is parsed, as from the command line.
        source: where the values come from, for the error message.

    Raises:
        ConfigError: for a name that is no option (with near matches), or a value that is out of range.
    """
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        option = OPTIONS.get(name)
        if option is None:
            if name in ABSENT and ABSENT[name].passes(value):  # `workers=1`, `reload=False`
                continue
            raise ConfigError(unknown_option(name, source=source))
        parts[option.section][name] = option.parse(value, source=source)
    config = Config(**{section: cls(**parts[section]) for section, cls in SECTIONS.items()})
    _check(config)
    return config


def unknown_option(name: str, *, source: str = "") -> str:
    """The line that says that ``name`` is no option, with what to use instead or the nearest one that is."""
    absent = ABSENT.get(name) or ABSENT.get(name.removesuffix("s"))  # uvicorn's own plural: --reload-dir is reload_dirs in Python
    if absent is not None:
        return f"{name}{f' in {source}' if source else ''}: {absent.instead}"
    near = difflib.get_close_matches(name, OPTIONS, 1)
    hint = f"; did you mean {near[0]}?" if near else "; 'asgiserve --help' lists them"
    where = f" in {source}" if source else ""
    return f"{name!r} is not an option{where}{hint}"


def _check(config: Config) -> None:
    """What no single option can know."""
    tls = config.tls
    if tls.ssl_keyfile and not tls.ssl_certfile:
        raise ConfigError("--ssl-keyfile needs --ssl-certfile as well")
    if tls.ssl_cert_reqs and not tls.ssl_ca_certs:
        raise ConfigError("--ssl-cert-reqs needs --ssl-ca-certs, the authorities to check client certificates against")
    if (tls.ssl_ca_certs or tls.ssl_ciphers) and not tls.ssl_certfile:
        raise ConfigError("TLS options need --ssl-certfile, the server's certificate")
    root_path = config.app.root_path
    if root_path and not root_path.startswith("/"):
        raise ConfigError(f"--root-path: {root_path!r} must begin with /")
    for field in config.http.header:
        if ":" not in field:
            raise ConfigError(f"--header: {field!r} is not Name:Value")
    chosen = [flag for flag, value in (("--uds", config.bind.uds), ("--fd", config.bind.fd), ("--bind", config.bind.bind)) if value not in (None, ())]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} exclude each other; --bind may be given several times")
