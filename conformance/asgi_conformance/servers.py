"""The servers that the suite knows how to start, and how others are named.

The law of this module: it describes and starts nothing. What a server is not asked for here (a flag, a feature) the suite does not expect of it.
"""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import importlib.util
import json
import math
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ENTRY_POINTS", "Place", "Setting", "Target", "TargetError", "find_target", "known_targets", "unavailable_reason", "version_of"]

ENTRY_POINTS: Final = "asgi_conformance.targets"
"""The entry point group in which other distributions name a `Target`, or a function that returns one."""

_LOOK: Final = """
import importlib.metadata, importlib.util, json, sys
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps([[name for name in sys.argv[2:] if not there(name)], version(sys.argv[1])]))
"""
_LOOK_SECONDS: Final = 30


class TargetError(Exception):
    """A target is unknown, cannot be started, or does not answer. The message says why, with the server's output where there is any."""


@dataclass(frozen=True)
class Place:
    """Where a server is to listen, and what it is to serve: what a `Target` makes its command from.

    Exactly one of ``fd`` (inherited, bound and listening), ``port`` and ``uds`` is given; ``host`` goes with ``port``.
    """

    app: str
    app_dir: str
    python: str
    host: str = "127.0.0.1"
    port: int | None = None
    fd: int | None = None
    uds: str | None = None


@dataclass(frozen=True)
class Setting:
    """How a server is told one setting.

    Args:
        arguments: for the command line, ``{}`` stands for the value.
        kind: ``float``, ``int`` (rounded up, at least 1), ``ms`` (seconds, told in milliseconds), ``text``, or ``flag`` (there where it is true).
        default: what it is where it is not told; None is unknown, or off.
    """

    arguments: str
    kind: str = "float"
    default: Any = None

    def apply(self, value: Any) -> tuple[list[str], Any]:
        """The arguments for ``value``, and the value that the server then has."""
        if self.kind == "flag":
            return (self.arguments.split() if value else []), bool(value)
        if self.kind == "int":
            value = max(1, math.ceil(value))
        told = max(1, round(value * 1000)) if self.kind == "ms" else value
        return [part.replace("{}", str(told)) for part in self.arguments.split()], value


@dataclass(frozen=True)
class Target:
    """A server to test.

    Args:
        name: as ``--asgi-target`` has it.
        description: one line for people.
        command: its command line for a `Place`; None for a server that runs already.
        features: what is expected of it: "http/1.1", "http/2", "websocket", "permessage-deflate", "lifespan", "state", "tls", and the names of ASGI
            extensions that it advertises. What is not here is skipped.
        settings: how it is told what a case needs; see `known_targets` for the names. What is not here it cannot be told.
        distribution: what it is installed as; its version is the target's.
        modules: what must be importable for it, with the names to install.
        bind: ways in which it can listen, the preferred one first: "fd", "port", "uds".
        shares_port: its listening socket has SO_REUSEADDR or SO_REUSEPORT, so that the suite can hold the port for it.
        url: where a server that runs already is.
        python: the interpreter that it runs in.
        in_place: it runs in the current folder, with the environment as it is.
    """

    name: str
    description: str
    command: Callable[[Place], list[str]] | None = None
    features: frozenset[str] = frozenset({"http/1.1"})
    settings: Mapping[str, Setting] = field(default_factory=dict)
    distribution: str | None = None
    modules: Mapping[str, str] = field(default_factory=dict)
    bind: tuple[str, ...] = ("port",)
    shares_port: bool = False
    url: str | None = None
    python: str = sys.executable
    in_place: bool = False


# The known ones.


def _asgiserve(http: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        where = ["--uds", place.uds] if place.uds else ["--host", place.host, "--port", str(place.port)]
        if place.fd is not None:
            where = ["--bind", f"fd://{place.fd}"]
        return [place.python, "-m", "asgiserve", place.app, "--app-dir", place.app_dir, "--http", http, "--no-use-colors", *where]

    return command


def _uvicorn(http: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        # Not by --fd: it takes every inherited socket for a UNIX one, and asyncio then leaves Nagle's algorithm on, as no user would have it.
        where = ["--uds", place.uds] if place.uds else ["--host", place.host, "--port", str(place.port)]
        return [place.python, "-m", "uvicorn", place.app, "--app-dir", place.app_dir, "--http", http, "--no-use-colors", *where]

    return command


def _hypercorn(place: Place) -> list[str]:
    where = f"unix:{place.uds}" if place.uds else f"{place.host}:{place.port}"
    return [place.python, "-m", "hypercorn", place.app, "--bind", where if place.fd is None else f"fd://{place.fd}"]


def _daphne(place: Place) -> list[str]:
    where = ["-u", place.uds] if place.uds else ["-b", place.host, "-p", str(place.port)]
    return [place.python, "-m", "daphne", *(where if place.fd is None else ["--fd", str(place.fd)]), place.app]


def _granian(place: Place) -> list[str]:
    where = ["--uds", place.uds] if place.uds else ["--host", place.host, "--port", str(place.port)]
    # Its default interface is its own, RSGI.
    return [place.python, "-m", "granian", "--interface", "asgi", *where, place.app]


def _gunicorn(place: Place) -> list[str]:
    where = f"unix:{place.uds}" if place.uds else f"{place.host}:{place.port}"
    return [place.python, "-m", "gunicorn", "--worker-class", "asgi", "--pythonpath", place.app_dir, "--bind", where, place.app]


_BASE: Final = frozenset({"http/1.1", "websocket", "tls"})
_DEFAULT_FEATURES: Final = frozenset({"http/1.1", "websocket", "lifespan", "state"})
_FEATURES: Final = ("http/1.1", "http/2", "websocket", "permessage-deflate", "lifespan", "state", "tls")
"""What a command can be said to have, beside extensions."""
_SSL: Final = {
    "certfile": Setting("--ssl-certfile {}", "text"),
    "keyfile": Setting("--ssl-keyfile {}", "text"),
    "ca_certs": Setting("--ssl-ca-certs {}", "text"),
    "cert_reqs": Setting("--ssl-cert-reqs {}", "text"),
}


def _asgiserve_target(name: str, http: str, modules: Mapping[str, str]) -> Target:
    return Target(
        name,
        f"asgiserve with {'the parser that is there' if http == 'auto' else http}",
        _asgiserve(http),
        _BASE
        | {"permessage-deflate", "lifespan", "state", "websocket.http.response", "http.response.trailers", "http.response.early_hint"}
        | {"http.response.pathsend", "http.response.zerocopysend"},
        {
            "keep_alive": Setting("--timeout-keep-alive {}", default=15),
            "head_timeout": Setting("--timeout-request-head {}", default=10),
            "body_timeout": Setting("--timeout-request-body {}", default=30),
            "max_body": Setting("--max-body-bytes {}", "int"),
            "graceful_timeout": Setting("--timeout-graceful-shutdown {}", default=30),
            "ws_ping_interval": Setting("--ws-ping-interval {}", default=20),
            "ws_ping_timeout": Setting("--ws-ping-timeout {}", default=20),
            "ws_close_timeout": Setting("--ws-close-timeout {}", default=10),
            "ws_max_size": Setting("--ws-max-size {}", "int", 16 << 20),
            "root_path": Setting("--root-path {}", "text", ""),
            "lifespan_on": Setting("--lifespan on", "flag", default=False),
            "loop": Setting("--loop {}", "text", "auto"),
            **_SSL,
        },
        "asgiserve",
        {"asgiserve": "asgiserve", **modules},
        ("fd", "port", "uds"),
        shares_port=True,
    )


def _uvicorn_target(http: str) -> Target:
    return Target(
        f"uvicorn[{http}]",
        f"uvicorn with {http}",
        _uvicorn(http),
        _BASE | {"permessage-deflate", "lifespan", "state", "websocket.http.response"},
        {
            "keep_alive": Setting("--timeout-keep-alive {}", "int", 5),
            "graceful_timeout": Setting("--timeout-graceful-shutdown {}", "int"),
            "ws_ping_interval": Setting("--ws-ping-interval {}", default=20),
            "ws_ping_timeout": Setting("--ws-ping-timeout {}", default=20),
            "ws_max_size": Setting("--ws-max-size {}", "int", 16 << 20),
            "root_path": Setting("--root-path {}", "text", ""),
            "workers": Setting("--workers {}", "int", 1),
            "lifespan_on": Setting("--lifespan on", "flag", default=False),
            "loop": Setting("--loop {}", "text", "auto"),
            **_SSL,
        },
        "uvicorn",
        {"uvicorn": "uvicorn", http: http, "websockets": "websockets"},
        ("port", "uds"),
        shares_port=True,
    )


def _hypercorn_target() -> Target:
    return Target(
        "hypercorn",
        "hypercorn with its asyncio worker",
        _hypercorn,
        _BASE | {"http/2", "permessage-deflate", "lifespan", "state", "websocket.http.response"},
        {
            "keep_alive": Setting("--keep-alive {}", "int", 5),
            # Its connection counts as idle until a head is complete.
            "head_timeout": Setting("--keep-alive {}", "int", 5),
            "body_timeout": Setting("--read-timeout {}", "int"),
            "graceful_timeout": Setting("--graceful-timeout {}", "int", 3),
            "ws_ping_interval": Setting("--websocket-ping-interval {}", "int"),
            "root_path": Setting("--root-path {}", "text", ""),
            "workers": Setting("--workers {}", "int", 1),
            "certfile": Setting("--certfile {}", "text"),
            "keyfile": Setting("--keyfile {}", "text"),
            "ca_certs": Setting("--ca-certs {}", "text"),
        },
        "hypercorn",
        {"hypercorn": "hypercorn"},
        ("fd", "port", "uds"),
        shares_port=True,
    )


def _daphne_target() -> Target:
    return Target(
        "daphne",
        "daphne",
        _daphne,
        # No lifespan, and TLS only by an endpoint of Twisted's with more to install.
        frozenset({"http/1.1", "websocket"}),
        {
            "ws_ping_interval": Setting("--ping-interval {}", "int", 20),
            "ws_ping_timeout": Setting("--ping-timeout {}", "int", 30),
            "ws_max_size": Setting("--websocket-max-message-size {}", "int"),
            "root_path": Setting("--root-path {}", "text", ""),
        },
        "daphne",
        {"daphne": "daphne"},
        ("fd", "port", "uds"),
        shares_port=True,
    )


def _granian_target() -> Target:
    return Target(
        "granian",
        "granian with its ASGI interface",
        _granian,
        _BASE | {"http/2", "lifespan", "state", "http.response.pathsend", "websocket.http.response"},
        {
            "head_timeout": Setting("--http1-header-read-timeout {}", "ms", 30),
            "graceful_timeout": Setting("--workers-kill-timeout {}", "int"),
            "root_path": Setting("--url-path-prefix {}", "text", ""),
            "workers": Setting("--workers {}", "int", 1),
            "certfile": Setting("--ssl-certificate {}", "text"),
            "keyfile": Setting("--ssl-keyfile {}", "text"),
            "ca_certs": Setting("--ssl-ca {}", "text"),
        },
        "granian",
        {"granian": "granian"},
        ("port", "uds"),
        shares_port=True,
    )


def _gunicorn_target() -> Target:
    return Target(
        "gunicorn",
        "gunicorn with its ASGI worker",
        _gunicorn,
        _BASE | {"lifespan", "state"},
        {
            "keep_alive": Setting("--keep-alive {}", "int", 2),
            "graceful_timeout": Setting("--graceful-timeout {}", "int", 30),
            "ws_max_size": Setting("--websocket-max-message-size {}", "int", 16 << 20),
            "root_path": Setting("--root-path {}", "text", ""),
            "workers": Setting("--workers {}", "int", 1),
            "lifespan_on": Setting("--asgi-lifespan on", "flag", default=False),
            "certfile": Setting("--certfile {}", "text"),
            "keyfile": Setting("--keyfile {}", "text"),
            "ca_certs": Setting("--ca-certs {}", "text"),
            "cert_reqs": Setting("--cert-reqs {}", "text"),
        },
        "gunicorn",
        {"gunicorn": "gunicorn", "gunicorn.workers.gasgi": "--upgrade gunicorn"},
        ("port", "uds"),
        shares_port=True,
    )


def known_targets() -> dict[str, Target]:
    """The targets by name: the built-in ones, and those of other distributions (`ENTRY_POINTS`).

    Settings have the same names everywhere, seconds and bytes: ``keep_alive``, ``head_timeout``, ``body_timeout``, ``max_body``,
    ``graceful_timeout``, ``ws_ping_interval``, ``ws_ping_timeout``, ``ws_close_timeout``, ``ws_max_size``, ``root_path``, ``workers``,
    ``lifespan_on``, ``certfile``, ``keyfile``, ``ca_certs``, ``cert_reqs``, ``loop`` (asyncio or uvloop).

    Raises:
        TargetError: the entry point of another distribution cannot be loaded, or gives no `Target`.
    """
    built_in = [
        _asgiserve_target("asgiserve", "auto", {}),
        _asgiserve_target("asgiserve[httptools]", "httptools", {"httptools": "httptools"}),
        _asgiserve_target("asgiserve[h11]", "h11", {"h11": "h11"}),
        _uvicorn_target("httptools"),
        _uvicorn_target("h11"),
        _hypercorn_target(),
        _daphne_target(),
        _granian_target(),
        _gunicorn_target(),
    ]
    targets = {target.name: target for target in built_in}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        targets[entry.name] = _load(entry)
    return targets


def _load(entry: importlib.metadata.EntryPoint) -> Target:
    try:
        loaded = entry.load()
        target = loaded() if callable(loaded) else loaded
    except Exception as error:
        raise TargetError(f"the target {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(target, Target):
        raise TargetError(f"the target {entry.name!r} ({entry.value}) is no asgi_conformance.servers.Target: {target!r}")
    return replace(target, name=entry.name)


def find_target(name: str) -> Target:
    """The target called ``name``.

    - ``uvicorn[h11]``: a known one. ``daphne@/path/to/bin/python``: the same in another environment.
    - ``cmd:python -m x --fd {fd} {app}``: started by that command, in the current folder. It is split as a shell does, and ``{fd}`` or ``{port}`` (or
      ``{uds}``), ``{app}``, ``{app_dir}``, ``{host}`` and ``{python}`` are filled in; PYTHONPATH has ``{app_dir}``.
    - ``url:http://127.0.0.1:9000``: runs already, and serves ``asgi_conformance.reference:app``.
    - ``cmd[http/1.1,websocket]:...`` and ``url[...]:...`` say the features; else they are http/1.1, websocket, lifespan and state.
    - ``myserver=cmd:...``: any of these under another name.

    Raises:
        TargetError: there is none of that name, or it is not well-formed.
    """
    if match := re.fullmatch(r"([\w.+-]+)=(.+)", name, re.DOTALL):
        return replace(find_target(match[2]), name=match[1])
    if match := re.fullmatch(r"(cmd|url)(?:\[([^\]]*)\])?:(.+)", name, re.DOTALL):
        kind, features, rest = match.groups()
        described = _DEFAULT_FEATURES if features is None else _read_features(features)
        return _command_target(name, described, rest.strip()) if kind == "cmd" else _url_target(name, described, rest.strip())
    targets = known_targets()
    base, _, python = name.partition("@")
    if base not in targets:
        # "uvicorn" is closer to gunicorn than to uvicorn[h11], but for the brackets.
        bare = difflib.get_close_matches(base.partition("[")[0], [one.partition("[")[0] for one in targets], 1)
        near = difflib.get_close_matches(base, targets, 1, 0.9) or [one for one in targets if one.partition("[")[0] in bare]
        close = " or ".join(near)
        raise TargetError(f"there is no such target{f'; did you mean {close}?' if close else '.'} Known: {', '.join(targets)}, cmd:..., url:...")
    return replace(targets[base], name=name, python=python) if python else targets[base]


def _read_features(text: str) -> frozenset[str]:
    found = frozenset(part.strip() for part in text.split(",") if part.strip())
    # The names of extensions have a dot, and anybody may have some.
    unknown = sorted(name for name in found if name not in _FEATURES and "." not in name)
    if unknown or not found:
        what = f"there is no feature {unknown[0]}" if unknown else "the brackets are empty"
        raise TargetError(f"{what}; expected some of {', '.join(_FEATURES)}, and names of extensions")
    return found


def _command_target(name: str, features: frozenset[str], text: str) -> Target:
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise TargetError(f"the command cannot be split: {error}") from None
    bind = tuple(way for way in ("fd", "port", "uds") if f"{{{way}}}" in text)
    if len(bind) != 1:
        raise TargetError("the command must have one of {fd} and {port}")

    def command(place: Place) -> list[str]:
        values = {key: str(value) for key, value in vars(place).items()}
        return [re.sub(r"\{(fd|port|uds|app_dir|app|host|python)\}", lambda found: values[found[1]], part) for part in parts]

    return Target(name, f"the command {text}", command, features, bind=bind, in_place=True)


def _url_target(name: str, features: frozenset[str], url: str) -> Target:
    if not re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[^\s/:@]+)(:\d+)?/?", url):
        raise TargetError("it must be as in url:http://127.0.0.1:9000, without a path")
    return Target(name, f"the server at {url}", features=features, url=url.rstrip("/"))


# What is installed.


@functools.cache
def _look(python: str, distribution: str, modules: tuple[str, ...]) -> tuple[list[str], str | None]:
    """Which of ``modules`` the interpreter does not find, and the version of ``distribution``.

    Raises:
        TargetError: there is no such interpreter.
    """
    if python == sys.executable:
        return [name for name in modules if not _is_there(name)], _installed_version(distribution)
    try:
        # -P: what is in the current folder is not what the server's own process will find.
        done = subprocess.run(  # noqa: S603 - the interpreter that the user named, and our own lines
            [python, "-P", "-c", _LOOK, distribution, *modules], capture_output=True, text=True, check=True, timeout=_LOOK_SECONDS
        )
        missing, version = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise TargetError(f"{python} cannot be asked what is installed: {error}") from None
    return missing, version


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def unavailable_reason(target: Target) -> str | None:
    """Why ``target`` cannot be started here, with what to install; None where it can."""
    if target.distribution is None:
        return None
    try:
        missing, _ = _look(target.python, target.distribution, tuple(target.modules))
    except TargetError as error:
        return str(error)
    where = "" if target.python == sys.executable else f" for {target.python}"
    return f"{missing[0]} is not installed{where}: pip install {target.modules[missing[0]]}" if missing else None


def version_of(target: Target) -> str | None:
    """The version of the server; None where nobody knows."""
    if target.distribution is None:
        return None
    try:
        return _look(target.python, target.distribution, tuple(target.modules))[1]
    except TargetError:
        return None
