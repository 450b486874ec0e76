"""What a live server is made with: the plugin's own settings, and the options of the server.

The law of this module: settings are built once, from layers where the nearest wins (command line and ini file, module's marker, class's, test's,
arguments of the factory), and checked before anything starts. The server's options are declared in ``asgiserve.config`` and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from asgiserve.config import OPTIONS, SECTIONS, build_config, unknown_option
from asgiserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgiserve.config import Config

__all__ = ["CHOICES", "NO_APPLICATION", "Settings"]

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "mode": ("thread", "process"),
    "errors": ("fail", "warn", "ignore"),
    "leaks": ("off", "warn", "fail"),
}
"""The settings that take one of a few words."""

NO_APPLICATION: Final = (
    "live_server has no application. Name one in one of these ways: a fixture `asgi_app` that returns it; "
    '@pytest.mark.asgiserve(app="package.module:app"); `asgi_app = "package.module:app"` in the ini file; or --asgi-app package.module:app'
)

# Of the server's defaults, those that do not suit a test. An idle connection is not waited for: its client is the test, and it is over. The limit on
# stopping is the plugin's, which says what it waited for.
_DEFAULTS: Final[Mapping[str, Any]] = {"port": 0, "timeout_drain_idle": 0, "timeout_graceful_shutdown": None}
# While settings are checked nothing of a certificate is made.
_PLACEHOLDERS: Final[Mapping[str, str]] = {"ssl_certfile": "made later", "ssl_keyfile": "made later", "ssl_ca_certs": "made later"}
_ADDRESS_OPTIONS: Final = frozenset({"host", "port", "bind", "fd", "uds"})
_SECONDS: Final = ("start_timeout", "stop_timeout")
_WORDS: Final[Mapping[str, bool]] = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one live server is to be.

    Args:
        app: the application: an object, ``"package.module:attribute"``, or a factory.
        tls: serve HTTPS, with a certificate of the session's own authority.
        uds: listen on a UNIX socket in a temporary folder instead of on TCP.
        mode: ``thread`` of this process, or a ``process`` of its own.
        errors: what an unhandled error of the application does to the test: ``fail``, ``warn`` or ``ignore``.
        leaks: what is done about tasks, threads, sockets and async generators that the application left: ``off``, ``warn`` or ``fail``.
        lint: check every message of the application (`asgi_conformance.lint`): True raises into it where it breaks a MUST, ``log`` logs all.
        start_timeout: seconds that the server may take to start.
        stop_timeout: seconds that it may take to stop.
        options: the server's, by their names.
    """

    app: Any = None
    tls: bool = False
    uds: bool = False
    mode: Literal["thread", "process"] = "thread"
    errors: Literal["fail", "warn", "ignore"] = "fail"
    leaks: Literal["off", "warn", "fail"] = "off"
    lint: bool | Literal["log"] = False
    start_timeout: float = 5.0
    stop_timeout: float = 5.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def merge(self, *layers: Mapping[str, Any]) -> Settings:
        """These settings with ``layers`` on top, the nearest last: the plugin's own, options of the server, or a section of them (``limits={...}``).

        Raises:
            ConfigError: a name is unknown, or a value impossible; the message is one line.
        """
        __tracebackhide__ = True
        try:
            return self._merged(layers)
        except ConfigError as error:
            # The message says it; the way to it is ours.
            raise error.with_traceback(None) from None

    def _merged(self, layers: Iterable[Mapping[str, Any]]) -> Settings:
        changes: dict[str, Any] = {}
        options = dict(self.options)
        for name, value in (item for layer in layers for item in layer.items()):
            if name in SECTIONS and (isinstance(value, Mapping) or (name not in OPTIONS and name not in _OWN)):
                options |= _section(name, value)
            elif name == "uds" and not isinstance(value, bool) and _word(value) is None:
                # A path of one's own; True is any path.
                options[name] = value
                changes[name] = False
            elif name in _OWN:
                changes[name] = _checked(name, value)
                if name == "uds":
                    options.pop(name, None)
            else:
                options[name] = value
        merged = dataclasses.replace(self, **changes, options=options)
        if merged.lint and merged.mode == "process":
            raise ConfigError('lint needs the server in this process; mode="process" has it in another')
        merged.config()
        return merged

    @property
    def chooses_address(self) -> bool:
        """Whether the options say where to listen; else the plugin does."""
        return not _ADDRESS_OPTIONS.isdisjoint(self.options)

    def server_options(self, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every option that the server is to be given, by its name.

        Args:
            more: what the plugin chooses, the certificates for ``tls`` and the path for ``uds``; without it nothing of that is made.
        """
        chosen = more if more is not None else _PLACEHOLDERS if self.tls else {}
        return {**_DEFAULTS, **chosen, **self.options}

    def config(self, more: Mapping[str, Any] | None = None) -> Config:
        """The server's configuration, from `server_options`.

        Raises:
            ConfigError: as `merge`.
        """
        return build_config(self.server_options(more))


def _section(section: str, values: Any) -> dict[str, Any]:
    known = [item.name for item in dataclasses.fields(SECTIONS[section])]
    if not isinstance(values, Mapping):
        raise ConfigError(f"{section}={values!r}: expected a mapping, as in {section}={{{known[0]!r}: ...}}")
    for name in values:
        if name not in known:
            home = next((other for other, kind in SECTIONS.items() if name in {item.name for item in dataclasses.fields(kind)}), None)
            reason = f"it belongs into {home}={{...}}" if home is not None else unknown_option(str(name))
            raise ConfigError(f"{section}={{{name!r}: ...}}: {reason}")
    return dict(values)


def _checked(name: str, value: Any) -> Any:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ConfigError(f"{name}={value!r}: expected one of {', '.join(CHOICES[name])}")
    elif name in {"tls", "uds", "lint"}:
        if name == "lint" and value == "log":
            return value
        flag = value if isinstance(value, bool) else _word(value)
        if flag is None:
            raise ConfigError(f"{name}={value!r}: expected True or False{' or log' if name == 'lint' else ''}")
        return flag
    elif name in _SECONDS:
        return _seconds(name, value)
    return value


def _word(value: Any) -> bool | None:
    """What the command line and the ini file say for True and False."""
    return _WORDS.get(value.lower()) if isinstance(value, str) else None


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{name}={value!r}: expected seconds, more than 0")
    return seconds


_OWN: Final = frozenset(item.name for item in dataclasses.fields(Settings)) - {"options"}
