"""Writes ``docs/options.md`` from the declarations in ``asgiserve.config``; a test says when the file is not current.

python docs/generate_options.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asgiserve.absent import ABSENT, ABSENT_VALUES
from asgiserve.config import OPTIONS, SECTIONS

if TYPE_CHECKING:
    from asgiserve.config import Option

PATH = Path(__file__).with_name("options.md")

_HEAD = """\
# Options

<!-- Made by docs/generate_options.py from asgiserve/config.py. Do not edit: change the declaration and run it again. -->

Each option has one name and four places to set it. The first place that names it wins:

| | place | written as |
|---|---|---|
| 1 | command line | `--timeout-keep-alive 5`; `--access-log` and `--no-access-log` for what is on or off |
| 2 | environment, `--env-file` | `ASGISERVE_TIMEOUT_KEEP_ALIVE=5`; `ASGISERVE_APP` for the application, `ASGISERVE_CONFIG` for the file |
| 3 | TOML file | `timeout_keep_alive = 5` (or `timeout-keep-alive`), and `app = "main:app"` for the application |
| 4 | default | the table below |

In Python it is `asgiserve.run(app, timeout_keep_alive=5)` or `Server(app, timeout_keep_alive=5)`; those read neither the environment nor a
file.

The file is `asgiserve.toml` in the current directory, with the options as top-level keys; else `[tool.asgiserve]` in `pyproject.toml`;
`--config FILE` names another one. Relative paths in it are relative to the current directory. A name that is no option is an error
everywhere.

Where to listen is one matter with several options: a place that names `bind`, `uds` or `fd` overrules all that a later place in the table
says about it, and so does `host` or `port` with `bind`, `uds` and `fd` of a later place.

Times are in seconds, and may have decimals. Sizes are in bytes; `64KiB`, `1MiB` and `1MB` are understood as well. `none` switches a limit
off where the table says so. An empty variable in the environment is one that is not set, but for lists, where it is the empty list.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _values(option: Option) -> str:
    if option.kind == "choice":
        values = ", ".join(f"`{choice}`" for choice in option.choices)
    elif option.kind == "boolean":
        values = "`true`, `false`"
    else:
        values = {
            "seconds": "seconds",
            "size": "size",
            "rate": "bytes per second",
            "list": "list",
            "integer": "whole number",
            "count": "whole number",
            "number": "number",
            "file-or-mapping": "file, or a table",
        }.get(option.kind, "path" if option.kind == "path" else "text")
    if option.maximum is not None:
        values += f", {option.minimum or 0:g} to {option.maximum:g}"
    elif option.minimum:
        values += f", at least {option.minimum:g}"
    return values + (", or `none`" if option.takes_none else "")


def _flags(option: Option) -> str:
    if option.kind == "boolean" and not option.value_flag:
        return f"`{option.flags}`, `--no-{option.flags.removeprefix('--')}`"
    return f"`{option.flags}`"


def _default(option: Option) -> str:
    shown = option.shown_default
    said = "Default:" in option.help or not shown or (option.default is None and not option.takes_none)
    return "" if said else f"`{shown}`"


def generate() -> str:
    """The text of ``docs/options.md``."""
    parts = [_HEAD]
    for section, cls in SECTIONS.items():
        title, _, rest = (cls.__doc__ or section).partition(".")
        parts.append(f"\n## {title.strip()}\n")
        if rest.strip():
            parts.append(f"\n{rest.strip()}\n")
        parts.append("\n| option | values | default | |\n|---|---|---|---|\n")
        parts.extend(
            f"| {_flags(option)} | {_values(option)} | {_default(option)} | {_cell(option.help)} |\n"
            for option in OPTIONS.values()
            if option.section == section
        )
    parts.append(
        "\n## Options of uvicorn that are not here\n\nasgiserve says so in one line and exits with 2,\n"
        "unless it is asked for what it does anyway (`--workers 1`, `--reset-contextvars`).\n"
    )
    parts.append("\n| uvicorn | here |\n|---|---|\n")
    parts.extend(f"| `{absent.flags}` | {_cell(absent.instead)} |\n" for absent in ABSENT.values())
    parts.extend(f"| `{OPTIONS[name].flags} {value}` | {_cell(text)} |\n" for (name, value), text in ABSENT_VALUES.items())
    return "".join(parts)


if __name__ == "__main__":
    PATH.write_text(generate(), encoding="utf-8")
