"""Where the values of options come from: the command line, the environment, a TOML file; in this order, then the default.

The law of this module: each source yields a flat mapping of option names to values that are parsed already, so that what is wrong names
the source it is wrong in. Nothing is read twice, nothing is guessed: a name that is no option is an error in every source. The one key
that is no option is ``app``, the application's name.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgiserve.absent import ABSENT
from asgiserve.config import OPTIONS, unknown_option
from asgiserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

__all__ = ["APP", "FILE_NAME", "find_file", "from_environment", "from_file", "gather", "load_env_file", "merge"]

APP = "app"
FILE_NAME = "asgiserve.toml"
_PYPROJECT = "pyproject.toml"
_PREFIX = "ASGISERVE_"
_FILE_VARIABLE = "ASGISERVE_CONFIG"

# What Kubernetes sets in every container of a namespace that has a service called `asgiserve`.
_KUBERNETES = re.compile(r"ASGISERVE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://")

# Different ways to say where to listen: the source with the say decides alone.
_PLACES = frozenset({"uds", "fd", "bind"})
_HOST_AND_PORT = frozenset({"host", "port"})


# ---- the environment ---------------------------------------------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The options that ``environ`` sets: ``ASGISERVE_<NAME>``, and ``ASGISERVE_APP`` for the application.

    An empty variable is one that is not set (so a compose file may pass on what it does not have), but for lists, where it is the empty
    list: ``ASGISERVE_FORWARDED_ALLOW_IPS=`` trusts nobody. uvicorn's ``FORWARDED_ALLOW_IPS`` is read where ours is not set.

    Raises:
        ConfigError: for an ``ASGISERVE_`` variable that is no option, or a value that cannot be used.
    """
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(_PREFIX) or variable == _FILE_VARIABLE or _KUBERNETES.fullmatch(variable):
            continue
        if variable == "ASGISERVE_PORT" and _KUBERNETES_PORT.match(text):
            continue
        name = variable.removeprefix(_PREFIX).lower()
        if name == APP:
            if text:
                values[APP] = text
            continue
        option = OPTIONS.get(name)
        if option is None:
            if _passes(name, text):
                continue
            raise ConfigError(_unknown_variable(variable, name))
        if text or option.kind == "list":
            values[name] = option.parse(text, source=variable)
    if "forwarded_allow_ips" not in values and "FORWARDED_ALLOW_IPS" in environ:
        option = OPTIONS["forwarded_allow_ips"]
        values[option.name] = option.parse(environ["FORWARDED_ALLOW_IPS"], source="FORWARDED_ALLOW_IPS")
    return values


def _passes(name: str, value: object) -> bool:
    """Whether it asks for an option of uvicorn's in the way that asgiserve is anyway."""
    absent = ABSENT.get(name)
    return absent is not None and absent.passes(value)


def _unknown_variable(variable: str, name: str) -> str:
    if name in ABSENT:
        return f"{variable}: {ABSENT[name].instead}"
    # Without the prefix, which would make every name near to every other.
    near = difflib.get_close_matches(name, ["config", APP, *OPTIONS], 1)
    hint = f"; did you mean {_PREFIX}{near[0].upper()}?" if near else "; 'asgiserve --help' lists the options"
    return f"{variable} in the environment is not an option{hint}"


def load_env_file(path: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Set in ``environ`` what the file sets, in the format of python-dotenv; a variable that is set already stays as it is.

    Raises:
        ConfigError: the file cannot be read, or python-dotenv (the extra ``asgiserve[dotenv]``) is not installed.
    """
    try:
        dotenv = importlib.import_module("dotenv")
    except ImportError:
        raise ConfigError("--env-file needs python-dotenv: pip install 'asgiserve[dotenv]'") from None
    try:
        with Path(path).open(encoding="utf-8") as stream:  # python-dotenv itself takes a file that is not there for an empty one
            values: Mapping[str, str | None] = dotenv.dotenv_values(stream=stream)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--env-file: cannot read {path}: {_reason(exc)}") from None
    for name, value in values.items():
        if value is not None and name not in environ:
            environ[name] = value


# ---- the file ----------------------------------------------------------------------------------------------------------------------


def find_file(directory: str | os.PathLike[str]) -> Path | None:
    """The file that is read where none is named: ``asgiserve.toml``, else a ``pyproject.toml`` that has ``[tool.asgiserve]``.

    Raises:
        ConfigError: there is a ``pyproject.toml`` and it cannot be read.
    """
    path = Path(directory, FILE_NAME)
    if path.is_file():
        return path
    path = Path(directory, _PYPROJECT)
    return path if path.is_file() and _table(_parsed(path)) is not None else None


def from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options that a TOML file sets: its top-level keys, or those of ``[tool.asgiserve]`` where it is a ``pyproject.toml``.

    Keys are the options' names, with ``_`` or ``-``, and ``app`` for the application. Relative paths are relative to the current
    directory, as everywhere else.

    Raises:
        ConfigError: one line with the file's name, for a file that cannot be read or parsed, an unknown key, a value of the wrong kind.
    """
    path = Path(path)
    parsed = _parsed(path)
    table = parsed
    if path.name == _PYPROJECT:
        found = _table(parsed)
        if found is None:
            raise ConfigError(f"{path} has no [tool.asgiserve]")
        table = found
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in values:
            raise ConfigError(f"{path} sets {name!r} twice, with _ and with -")
        if name == APP:
            if not isinstance(value, str):
                raise ConfigError(f"{path}: app: {value!r} is not text, as in app = 'main:app'")
            values[APP] = value
            continue
        option = OPTIONS.get(name)
        if option is None:
            if _passes(name, value):
                continue
            if path.name != _PYPROJECT and _table(parsed) is not None:
                raise ConfigError(f"{path}: [tool.asgiserve] is for a pyproject.toml; here the options are top-level keys")
            near = difflib.get_close_matches(name, [APP], 1)  # which no option's near matches hold
            raise ConfigError(f"{key!r} is not an option in {path}; did you mean app?" if near else unknown_option(key, source=str(path)))
        values[name] = option.parse(value, source=str(path))
    return values


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} is not valid TOML: {_reason(exc)}") from None
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {_reason(exc)}") from None


def _table(parsed: Mapping[str, Any]) -> dict[str, Any] | None:
    tool = parsed.get("tool")
    table = tool.get("asgiserve") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else " ".join(str(exc).split())


# ---- together ----------------------------------------------------------------------------------------------------------------------


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping out of several, of which a later one has precedence.

    Where to listen is one matter with several options: a layer that names a socket (``uds``, ``fd``, ``bind``) overrules all of them, one
    that names ``host`` or ``port`` overrules the sockets of the layers before it.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        dropped = _PLACES | _HOST_AND_PORT if _PLACES & layer.keys() else _PLACES if _HOST_AND_PORT & layer.keys() else frozenset()
        merged = {name: value for name, value in merged.items() if name not in dropped}
        merged.update(layer)
    return merged


def gather(
    command_line: Mapping[str, Any],
    *,
    environ: MutableMapping[str, str] = os.environ,
    directory: str | os.PathLike[str] = ".",
    config_file: str | None = None,
) -> dict[str, Any]:
    """All that was said, by precedence, for `asgiserve.config.build_config`; with ``app`` where a source names the application.

    An env file is loaded into ``environ`` on the way, before the environment is read, so what it sets counts as environment.

    Args:
        command_line: parsed values; only what was given.
        environ: the environment. It names the TOML file too, as ``ASGISERVE_CONFIG``.
        directory: where `find_file` looks, if nobody names a file.
        config_file: the file that the command line names.

    Raises:
        ConfigError: as the sources raise it.
    """
    env_file = command_line.get("env_file") or environ.get("ASGISERVE_ENV_FILE")
    if env_file:
        load_env_file(env_file, environ)
    path = config_file or environ.get(_FILE_VARIABLE) or find_file(directory)
    in_file = from_file(path) if path else {}
    if not env_file and in_file.get("env_file"):
        load_env_file(in_file["env_file"], environ)
    return merge(in_file, from_environment(environ), command_line)
