"""The layers of docs/architecture.md, held: nobody imports rightwards, not inside a function and not for the type checker either."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parent.parent
PACKAGES = {"asgiserve": ROOT, "pytest_asgiserve": ROOT, "asgi_conformance": ROOT / "conformance"}

# What a part of asgiserve may import of asgiserve, beside itself. A new part gets its line here, or the test fails.
MAY_IMPORT: Mapping[str, frozenset[str]] = {
    part: frozenset(others.split())
    for part, others in {
        # Under the layers; everybody may use errors and config.
        "errors": "",
        "absent": "",
        "config": "errors absent",
        # Beside the layers.
        "logs": "errors config",
        "importer": "errors config",
        "sources": "errors config absent",
        "notify": "errors",
        # The layers, from left to right.
        "http": "errors config",
        "core": "errors config http",
        "asgi": "errors config http core",
        "runtime": "errors config logs http core asgi",
        "server": "errors config logs importer sources http core asgi runtime",
        "supervisor": "errors config logs importer sources notify http core asgi runtime server",
        "cli": "errors absent config logs importer sources notify http core asgi runtime server supervisor",
        # The doors: the package itself and `python -m`.
        "": "errors config logs importer sources notify http core asgi runtime server supervisor cli",
        "__main__": "errors cli",
    }.items()
}

# What is for tests and is imported at run time, by name, when a user asks for it: --lint. Nothing of it is there before that (see below).
LATE = {("supervisor", "asgi_conformance")}

# What does I/O, waits or runs something; `core` and `http` are without it, so that their tests need neither a socket nor a sleep.
_IO = {"asyncio", "concurrent", "multiprocessing", "select", "selectors", "signal", "socket", "socketserver", "ssl", "subprocess", "threading"}
_IO |= {"anyio", "trio", "uvloop", "sniffio"}
FORBIDDEN = {"core": _IO | {"time", "datetime"}, "http": _IO | {"datetime"}}
# Of `time`, http has the calendar and no clock.
CALENDAR = {"gmtime"}

MAXIMUM_LINES = 600


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    is_package: bool = False

    @property
    def part(self) -> str:
        """Its layer: the first name below ``asgiserve``."""
        return f"{self.name}.".split(".")[1]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)


def read_modules() -> Iterator[Module]:
    for package, folder in PACKAGES.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            yield Module(".".join(parts[:-1] if is_package else parts), path.read_text(encoding="utf-8"), is_package)


MODULES = {module.name: module for module in read_modules()}


@dataclass(frozen=True)
class Import:
    """``name`` is what is bound out of ``module``; None where the module itself is imported."""

    line: int
    module: str
    name: str | None = None


def imports(module: Module) -> Iterator[Import]:
    """Every import of the module, wherever it stands; also `importlib.import_module` and `__import__` with a constant name."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(node.lineno, alias.name)
            case ast.ImportFrom(module=origin, names=names, level=level):
                base = origin or ""
                if level:
                    parents = module.name.split(".")
                    parents = parents[: len(parents) - level + module.is_package]
                    base = ".".join([*parents, *([origin] if origin else [])])
                for alias in names:
                    yield Import(node.lineno, base, alias.name)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str() as name), *_]
            ):
                yield Import(node.lineno, name)
            case _:
                pass


def exported(module: Module) -> set[str] | None:
    """The names in the module's ``__all__``; None where it has none."""
    for node in module.tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names) | ast.Tuple(elts=names)):
                return {str(ast.literal_eval(name)) for name in names}
            case _:
                pass
    return None


def bound(module: Module) -> set[str]:
    """The names that the module binds at its top level, also under ``if`` and ``try``."""
    names: set[str] = set()
    pending: list[ast.stmt] = list(module.tree.body)
    while pending:
        node = pending.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name.split(".")[0] for alias in aliases}
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {child.id for target in targets for child in ast.walk(target) if isinstance(child, ast.Name)}
            case ast.If() | ast.Try():
                pending += [child for child in ast.walk(node) if isinstance(child, ast.stmt) and child is not node]
            case _:
                pass
    return names


def part_of(imported: Import, modules: Mapping[str, Module]) -> str | None:
    """The part of asgiserve that an import reaches; None where it is not asgiserve's."""
    top, _, rest = imported.module.partition(".")
    if top != "asgiserve":
        return None
    if rest:
        return rest.split(".")[0]
    # `from asgiserve import errors` is the module; any other name is the package's own, and so is `import asgiserve`.
    return imported.name if imported.name and f"asgiserve.{imported.name}" in modules else ""


def layer_violations(module: Module, modules: Mapping[str, Module]) -> list[str]:
    """What a module of asgiserve imports against the layers."""
    found = []
    for imported in imports(module):
        where = f"{module.name}:{imported.line}"
        part = part_of(imported, modules)
        if module.part not in MAY_IMPORT:
            return [f"{module.name} has no place in MAY_IMPORT"]
        if part is not None and part != module.part and part not in MAY_IMPORT[module.part]:
            found.append(f"{where} imports asgiserve.{part}".rstrip("."))
        top = imported.module.split(".")[0]
        if top in {"pytest_asgiserve", "asgi_conformance", "tests", "pytest", "asgiref"} and (module.part, top) not in LATE:
            found.append(f"{where} imports {imported.module}, which is for tests")
        if imported.module.split(".")[0] in FORBIDDEN.get(module.part, ()):
            found.append(f"{where} imports {imported.module}")
        if module.part == "http" and imported.module == "time" and imported.name not in {None, *CALENDAR}:
            found.append(f"{where} imports {imported.name} of time")
    if module.part == "http":
        found += [
            f"{module.name}:{node.lineno} reads time.{node.attr}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time" and node.attr not in CALENDAR
        ]
    return found


def privacy_violations(module: Module, modules: Mapping[str, Module]) -> list[str]:
    """What a module of the test packages takes of asgiserve that is not exported there."""
    found = []
    for imported in imports(module):
        if imported.module.split(".")[0] != "asgiserve":
            continue
        where = f"{module.name}:{imported.line}"
        if imported.name is None and imported.module != "asgiserve":
            # `import asgiserve.x` would leave the names for later, where nobody checks them.
            found.append(f"{where} imports {imported.module}; take the names from it")
            continue
        path = imported.module
        if imported.name and f"{path}.{imported.name}" in modules:
            path, public = f"{path}.{imported.name}", True
        else:
            origin = modules.get(path)
            public = imported.name is None or (origin is not None and imported.name in (exported(origin) or ()))
        if not public or any(name.startswith("_") for name in path.split(".")):
            found.append(f"{where} takes {imported.name} of {imported.module}, which is not public")
    names = exported(modules["asgiserve"]) or set()
    found += [
        f"{module.name}:{node.lineno} takes asgiserve.{node.attr}, which is not public"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "asgiserve" and node.attr not in names
    ]
    return found


def shape_violations(module: Module) -> list[str]:
    """What is missing or too much in a module of any of the packages."""
    found = []
    if not ast.get_docstring(module.tree):
        found.append(f"{module.name} has no docstring")
    lines = module.source.count("\n")
    if lines > MAXIMUM_LINES:
        found.append(f"{module.name} has {lines} lines; above {MAXIMUM_LINES} it is split by concept")
    own = {name for name in defined(module) if not name.startswith("_")}
    names = exported(module)
    if own and names is None and module.part != "__main__":
        found.append(f"{module.name} has public names and no __all__: {', '.join(sorted(own))}")
    missing = (names or set()) - bound(module)
    if missing and "__getattr__" not in bound(module):
        found.append(f"{module.name} exports what it does not have: {', '.join(sorted(missing))}")
    return found


def defined(module: Module) -> Iterable[str]:
    """The functions and classes at the top level."""
    return [node.name for node in module.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]


# --- The packages as they are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "asgiserve"])
def test_a_module_of_asgiserve_imports_only_what_is_left_of_it(name: str) -> None:
    assert layer_violations(MODULES[name], MODULES) == []


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] != "asgiserve"])
def test_the_test_packages_use_public_names_only(name: str) -> None:
    assert privacy_violations(MODULES[name], MODULES) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_and_what_it_exports_and_stays_small(name: str) -> None:
    assert shape_violations(MODULES[name]) == []


def test_every_part_exists_and_has_its_place() -> None:
    # A part that is planned and not there would hide a name that was misspelt.
    assert {module.part for module in MODULES.values() if module.name.split(".")[0] == "asgiserve"} == set(MAY_IMPORT)


def test_what_is_imported_late_is_not_there_before() -> None:
    code = "import asgiserve.cli, sys; print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    late = [name for _, name in LATE]
    done = subprocess.run([sys.executable, "-c", code, *late], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_the_layers_have_one_direction() -> None:
    seen: set[str] = set()
    waiting = dict(MAY_IMPORT)
    while ready := {part for part, others in waiting.items() if others <= seen}:
        seen |= ready
        waiting = {part: others for part, others in waiting.items() if part not in seen}
    assert not waiting, "these import each other in a circle"


# --- The checker itself --------------------------------------------------------------------------------------------------

PLANTED = {
    "asgiserve": Module("asgiserve", '"""."""\n__all__ = ["run", "errors"]\n', is_package=True),
    "asgiserve.errors": Module("asgiserve.errors", '"""."""\n__all__ = ["ConfigError"]\nclass ConfigError(Exception): ...\nclass Hidden: ...\n'),
    "asgiserve.core": Module("asgiserve.core", '"""."""\n', is_package=True),
    "asgiserve.server": Module("asgiserve.server", '"""."""\n'),
    "asgiserve._secret": Module("asgiserve._secret", '"""."""\n__all__ = ["x"]\nx = 1\n'),
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from asgiserve.server import Server", "asgiserve.core.exchange:1 imports asgiserve.server"),
        ("from asgiserve import server", "asgiserve.core.exchange:1 imports asgiserve.server"),
        ("from asgiserve import run", "asgiserve.core.exchange:1 imports asgiserve"),
        ("import asgiserve.asgi.http", "asgiserve.core.exchange:1 imports asgiserve.asgi"),
        ("from ..runtime import tls", "asgiserve.core.exchange:1 imports asgiserve.runtime"),
        ("from .. import server", "asgiserve.core.exchange:1 imports asgiserve.server"),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from asgiserve.asgi.scope import x",
            "asgiserve.core.exchange:3 imports asgiserve.asgi",
        ),
        ("def f():\n    from asgiserve.cli import main", "asgiserve.core.exchange:2 imports asgiserve.cli"),
        ("import importlib\nimportlib.import_module('asgiserve.cli')", "asgiserve.core.exchange:2 imports asgiserve.cli"),
        ("import asyncio.events", "asgiserve.core.exchange:1 imports asyncio.events"),
        ("from time import monotonic", "asgiserve.core.exchange:1 imports time"),
        ("import asgi_conformance", "asgiserve.core.exchange:1 imports asgi_conformance, which is for tests"),
    ],
)
def test_a_planted_import_is_found(source: str, expected: str) -> None:
    assert layer_violations(Module("asgiserve.core.exchange", source), PLANTED) == [expected]


@pytest.mark.parametrize(
    "source",
    [
        "from asgiserve.core.flow import x",
        "from . import flow",
        "from .flow import x",
        "from ..http import date",
        "from asgiserve import errors",
        "import h11, re",
    ],
)
def test_an_import_to_the_left_is_not(source: str) -> None:
    assert layer_violations(Module("asgiserve.core.exchange", source), PLANTED) == []


def test_a_relative_import_in_a_package_begins_at_the_package() -> None:
    assert layer_violations(Module("asgiserve.core", "from .flow import x\nfrom ..cli import y", is_package=True), PLANTED) == [
        "asgiserve.core:2 imports asgiserve.cli"
    ]


def test_a_part_without_a_place_is_found() -> None:
    assert layer_violations(Module("asgiserve.manager", "import re"), PLANTED) == ["asgiserve.manager has no place in MAY_IMPORT"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.gmtime(0)", []),
        ("import time\ntime.time()", ["asgiserve.http.date:2 reads time.time"]),
        ("from time import time", ["asgiserve.http.date:1 imports time of time"]),
    ],
)
def test_http_has_the_calendar_and_no_clock(source: str, found: list[str]) -> None:
    assert layer_violations(Module("asgiserve.http.date", source), PLANTED) == found


@pytest.mark.parametrize(
    "source",
    [
        "from asgiserve.errors import Hidden",
        "from asgiserve._secret import x",
        "from asgiserve import _secret",
        "from asgiserve import Server",
        "import asgiserve.errors",
        "import asgiserve\nasgiserve.Server",
        "from asgiserve.nowhere import x",
    ],
)
def test_a_planted_private_name_is_found(source: str) -> None:
    assert len(privacy_violations(Module("pytest_asgiserve.plugin", source), PLANTED)) == 1


@pytest.mark.parametrize(
    "source",
    ["from asgiserve.errors import ConfigError", "from asgiserve import run", "from asgiserve import errors", "import asgiserve\nasgiserve.run"],
)
def test_a_public_name_is_not(source: str) -> None:
    assert privacy_violations(Module("pytest_asgiserve.plugin", source), PLANTED) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("", "m has no docstring"),
        ('"""."""\ndef public(): ...', "m has public names and no __all__: public"),
        ('"""."""\n__all__ = ["gone"]', "m exports what it does not have: gone"),
        ('"""."""\n' + "\n" * 600, "m has 601 lines; above 600 it is split by concept"),
    ],
)
def test_a_planted_fault_of_shape_is_found(source: str, found: str) -> None:
    assert shape_violations(Module("m", source)) == [found]


def test_a_private_or_lazy_name_is_no_fault_of_shape() -> None:
    assert shape_violations(Module("m", '"""."""\ndef _private(): ...')) == []
    assert shape_violations(Module("m", '"""."""\n__all__ = ["lazy"]\ndef __getattr__(name): ...')) == []
