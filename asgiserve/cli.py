"""The command line: ``asgiserve [OPTIONS] [APP]``, made from the declarations in `config`.

The law of this module: it has no default, no help text of an option and no rule of its own. It turns words into the values of the options
that were given, lets `sources.gather` put the other sources below them, and says a mistake in one line on stderr, with the exit code of
its exception: 2 for an option, 3 for an application that refused to start, 1 for the rest, and 130 where Ctrl+C cut the start short. A
traceback is shown only of the application's own code.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from asgiserve import supervisor
from asgiserve.absent import ABSENT
from asgiserve.config import OPTIONS, SECTIONS, build_config
from asgiserve.errors import ApplicationLoadError, ConfigError, StartupError
from asgiserve.importer import application_traceback
from asgiserve.logs import escape
from asgiserve.sources import APP, FILE_NAME, gather

if TYPE_CHECKING:
    from asgiserve.absent import Absent
    from asgiserve.config import Option

__all__ = ["main", "version_lines"]

_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
_HELP = f"""Serve the ASGI application APP, written as module:attribute.

Each option is also a variable, as ASGISERVE_PORT for --port, and a key of {FILE_NAME} or of [tool.asgiserve] in pyproject.toml in the
current directory, where "app" is the key for APP. The command line has precedence, then the environment, the file, the default.

Sizes are in bytes; 64KiB and 1MiB are understood. "none", where it is a value, switches a limit off.
"""
# What a bug report should name, beside Python.
_DISTRIBUTIONS = ("uvloop", "httptools", "h11", "websockets", "click")
_GENERAL = "General"
# The column of the flags, which is as wide as most of them where the terminal allows.
_WIDE, _WIDE_COLUMN, _NARROW_COLUMN = 90, 36, 28


def _failure(message: str, exit_code: int) -> click.exceptions.Exit:
    """Say a mistake in one line; raise what is returned."""
    click.echo(f"Error: {escape(message)}", err=True)
    return click.exceptions.Exit(exit_code)


# Stand-ins for a space and a hyphen at which no line is to be broken.
_SPACE, _HYPHEN = "\N{NO-BREAK SPACE}", "\N{NON-BREAKING HYPHEN}"


class _Formatter(click.HelpFormatter):
    def write(self, string: str) -> None:
        super().write(string.replace(_SPACE, " ").replace(_HYPHEN, "-"))


class _Context(click.Context):
    formatter_class = _Formatter


class _Command(click.Command):
    """A click command whose help is grouped by section, and whose usage errors are one line, as every other error is."""

    context_class = _Context

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        if os.environ.get("NO_COLOR"):  # https://no-color.org; click itself looks at the terminal only
            extra.setdefault("color", False)
        elif os.environ.get("FORCE_COLOR"):
            extra.setdefault("color", True)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as exc:
            raise _failure(exc.format_message(), exc.exit_code) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their sections' headings, in the order of declaration."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
            if record is not None:
                flags, text = record[0], record[1].replace("-", _HYPHEN)
                heading = _heading(param.declared.section) if isinstance(param, _DeclaredOption) else _GENERAL
                sections.setdefault(heading, []).append((click.style(flags, fg="cyan"), text))
        for heading, records in sections.items():
            formatter.write_paragraph()
            formatter.write(click.style(heading, bold=True) + "\n")
            with formatter.indentation():
                formatter.write_dl(records, col_max=_WIDE_COLUMN if formatter.width >= _WIDE else _NARROW_COLUMN)


def _heading(section: str) -> str:
    """The first sentence of a section's docstring; its name where Python runs without docstrings."""
    return (SECTIONS[section].__doc__ or section.capitalize()).partition(".")[0].strip()


class _DeclaredOption(click.Option):
    """One declared option. Its value stays text here: `Option.parse` knows its type."""

    def __init__(self, declared: Option) -> None:
        switch = declared.kind == "boolean" and not declared.value_flag
        flags = declared.flags
        names = [f"{flags}/--no-{flags.removeprefix('--')}" if switch else flags, declared.name]
        if declared.short:
            names.append(declared.short)
        if switch:
            super().__init__(names, is_flag=True, default=None, help=declared.help)
        else:
            super().__init__(names, type=click.STRING, metavar=declared.value_name, multiple=declared.kind == "list", help=declared.help)
        self.declared = declared

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        declared = self.declared
        said = "Default:" in declared.help or declared.default in {(), ""} or (declared.default is None and not declared.takes_none)
        if record is None or said:
            return record
        default = declared.shown_default
        if self.is_flag:
            default = {"true": "on", "false": "off"}[default]
        if declared.takes_none and default != "none":
            default += ", or none"
        return record[0], f"{declared.help} {f'[default: {default}]'.replace(' ', _SPACE)}"

    def given(self, value: Any) -> Any:
        """What the command line says, as the option's type.

        Raises:
            ConfigError: as `Option.parse` raises it.
        """
        if self.declared.kind == "list":  # given several times, and each may be a list
            return tuple(item for each in value for item in self.declared.parse(each))
        return self.declared.parse(value)


class _AbsentOption(click.Option):
    """An option of uvicorn's that is not here: it says what to do instead."""

    def __init__(self, absent: Absent) -> None:
        super().__init__([absent.flags, absent.name], is_flag=not absent.takes_value, hidden=True, expose_value=False, callback=_say_absent)
        self.absent = absent


def _say_absent(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if not isinstance(param, _AbsentOption) or ctx.get_parameter_source(param.absent.name) is not ParameterSource.COMMANDLINE:
        return
    absent = param.absent
    if not absent.passes(value):
        raise _failure(f"{absent.flags}: {absent.instead}", ConfigError.exit_code)
    if not absent.takes_value:
        click.echo(f"Note: {absent.flags}: {absent.instead}", err=True)


def version_lines() -> list[str]:
    """What ``--version`` shows: asgiserve, Python, the system, and what the server stands on."""
    try:
        import ssl  # noqa: PLC0415 - Python can be built without it

        openssl = ssl.OPENSSL_VERSION
    except ImportError:
        openssl = "not available in this Python"
    rows = [
        ("asgiserve", _version("asgiserve")),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("platform", platform.platform()),
        *((name, _version(name)) for name in _DISTRIBUTIONS),
        ("OpenSSL", openssl.removeprefix("OpenSSL ")),
    ]
    return [f"{name:<11}{version}" for name, version in rows]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _show_version(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ARG001 - click's signature
    if value and not ctx.resilient_parsing:
        click.echo("\n".join(version_lines()))
        ctx.exit()


def _serve(app: str | None, config: str | None, **values: Any) -> None:
    """What the command does: gather, build, run; and each mistake in one line."""
    ctx = click.get_current_context()
    try:
        given = {
            param.declared.name: param.given(values[param.declared.name])
            for param in ctx.command.params
            if isinstance(param, _DeclaredOption) and ctx.get_parameter_source(param.declared.name) is ParameterSource.COMMANDLINE
        }
        if app:
            given[APP] = app
        gathered = gather(given, config_file=config)
        target = gathered.pop(APP, None)
        built = build_config(gathered)
        if target is None:
            raise ConfigError(f"which application? asgiserve module:attribute, as in 'asgiserve main:app', or app = \"main:app\" in {FILE_NAME}")
        if os.environ.get("WEB_CONCURRENCY", "1") not in {"", "1"}:
            click.echo(f"Note: WEB_CONCURRENCY has no effect: {ABSENT['workers'].instead}", err=True)
        supervisor.run_config(target, built)
    except StartupError as exc:
        if isinstance(exc, ApplicationLoadError) and exc.__cause__ is not None:
            click.echo(application_traceback(exc.__cause__), err=True, nl=False)
        raise _failure(str(exc), exc.exit_code) from None
    except KeyboardInterrupt:
        ctx.exit(_INTERRUPTED)


def _command() -> click.Command:
    params: list[click.Parameter] = [
        click.Argument([APP], required=False, metavar="[APP]"),
        *(_DeclaredOption(declared) for declared in OPTIONS.values()),
        *(_AbsentOption(absent) for absent in ABSENT.values()),
        click.Option(["--config"], metavar="FILE", help=f"Read options from this TOML file instead of {FILE_NAME} or pyproject.toml."),
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the versions of all parts."),
    ]
    settings = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}
    return _Command("asgiserve", params=params, callback=_serve, help=_HELP, context_settings=settings)


main = _command()
