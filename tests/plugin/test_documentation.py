"""The pages about testing are true: their code is run, their reports are what pytest prints, their tables are whole.

A block behind ``<!-- file: GROUP/NAME -->`` is a file of a small project, and each group of a page is run by pytest. Files of the group ``all`` are
in every group, and a file of several groups names them as ``ONE+OTHER``. A block behind ``<!-- output: GROUP -->`` is what that run prints, in
this order, with ``…`` for what differs.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pytest_asgiserve.settings import Settings

if TYPE_CHECKING:
    from types import ModuleType

    from tests.plugin.conftest import RunPytest

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
TESTING: Final = (DOCS / "testing.md").read_text(encoding="utf-8")
MIGRATING: Final = (DOCS / "migrating-tests.md").read_text(encoding="utf-8")
SOURCES: Final = "\n".join(path.read_text(encoding="utf-8") for folder in ("pytest_asgiserve", "asgiserve") for path in (ROOT / folder).glob("*.py"))


def files(page: str) -> dict[str, dict[str, str]]:
    """The projects of a page: groups, names, texts."""
    found: dict[str, dict[str, str]] = {}
    for groups, name, text in re.findall(r"^<!-- file: (\S+?)/(\S+) -->\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for group in groups.split("+"):
            found.setdefault(group, {})[name] = text
    return found


def outputs(page: str) -> dict[str, list[str]]:
    """What the runs of a page print, by group."""
    blocks = re.findall(r"^<!-- output: (\S+) -->\n\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return {group: text.splitlines() for group, text in blocks}


def write(folder: Path, page: str, group: str) -> str:
    """Write the files of a group; return its lines for the ini file."""
    ini = ""
    for name, text in {**files(page)["all"], **files(page)[group]}.items():
        if name == "pyproject.toml":
            ini = "\n".join(f"{key} = {value}" for key, value in tomllib.loads(text)["tool"]["pytest"]["ini_options"].items())
        else:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return ini


def expect_lines(lines: list[str], printed: str) -> None:
    """``lines`` are printed in this order; spaces at the begin and in rows of tables do not count."""
    words = [" ".join(line.split()) for line in printed.splitlines()]
    position = 0
    for line in lines:
        # How many frames a framework has differs from version to version.
        text = re.sub(r"\d+ frames", "… frames", " ".join(line.split()))
        wanted = re.compile(".*".join(re.escape(part) for part in text.split("…")))
        while position < len(words) and not wanted.search(words[position]):
            position += 1
        assert position < len(words), f"not printed, or not here: {line!r}\n{printed}"
        position += 1


# ---- testing.md

# An application that never answers, for the report that shows it; the page has its report only.
STUCK = """
import asyncio
import threading
import pytest

began = threading.Event()

async def app(scope, receive, send):
    if scope["type"] == "http":
        began.set()
        await asyncio.Event().wait()

@pytest.mark.asgiserve(app=app, stop_timeout=0.5)
def test_stuck(live_server):
    def get():
        with socket.create_connection(live_server.address) as connection:
            connection.sendall(b"GET /hang HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
            connection.recv(1)
    import socket
    threading.Thread(target=get).start()
    assert began.wait(5)
"""


@pytest.mark.parametrize("group", sorted(set(files(TESTING)) - {"all", "report", "leaks"}))
def test_the_samples_of_the_page_pass(run_pytest: RunPytest, pytester: pytest.Pytester, group: str) -> None:
    ini = write(pytester.path, TESTING, group)
    result = run_pytest(ini=ini, plugins=["anyio"] if group == "anyio" else ())
    outcomes = result.parseoutcomes()
    assert result.ret == 0, result.stdout.str()
    assert set(outcomes) <= {"passed", "warnings"}
    assert outcomes["passed"] >= 1


@pytest.mark.parametrize("group", ["report", "leaks"])
def test_a_report_on_the_page_is_what_pytest_prints(run_pytest: RunPytest, pytester: pytest.Pytester, group: str) -> None:
    write(pytester.path, TESTING, group)
    result = run_pytest()
    assert result.ret == 1
    expect_lines(outputs(TESTING)[group], result.stdout.str())


def test_the_table_of_a_server_that_is_stuck_is_what_pytest_prints(run_pytest: RunPytest, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_stuck=STUCK)
    result = run_pytest()
    result.assert_outcomes(passed=1, errors=1)
    expect_lines(outputs(TESTING)["stuck"], result.stdout.str())


def test_the_header_on_the_page_is_what_pytest_prints(run_pytest: RunPytest) -> None:
    args = ["--asgi-app=shop:app", "--asgi-http=httptools,h11", "--asgi-errors=warn", "--asgi-option=timeout_keep_alive=1"]
    result = run_pytest("def test_it(): pass", *args)
    (line,) = re.findall(r"^asgiserve: .*$", TESTING, re.MULTILINE)
    assert line in result.outlines


def test_every_output_on_the_page_is_checked() -> None:
    assert set(outputs(TESTING)) == {"report", "leaks", "stuck"}


def test_the_page_names_every_option_key_and_keyword_and_no_other(run_pytest: RunPytest) -> None:
    shown = run_pytest("", "--help").stdout.str()
    section = TESTING.partition("## Options")[2].partition("\n## ")[0]
    flags, keys = (set(re.findall(pattern, shown, re.MULTILINE)) for pattern in (r"--asgi-[a-z-]+", r"^  (asgi\w+) \("))
    assert set(re.findall(r"^\| `(--asgi-[a-z-]+)", section, re.MULTILINE)) == flags
    assert set(re.findall(r"^\|[^|]*\| `(asgi\w*)`", section, re.MULTILINE)) == keys
    keywords = [word for row in re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", section, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)]
    assert sorted(keywords) == sorted({field.name for field in dataclasses.fields(Settings)} - {"options"})


def test_the_page_names_every_fixture(run_pytest: RunPytest) -> None:
    shown = run_pytest("", "--fixtures", "-p", "no:anyio").stdout.str()
    section = TESTING.partition("## Fixtures")[2].partition("\n## ")[0]
    ours = set(re.findall(r"^((?:live|asgi)_\w+)", shown, re.MULTILINE))
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == ours


def test_the_page_names_every_fault() -> None:
    from pytest_asgiserve import faults  # noqa: PLC0415 - its functions are the list

    section = TESTING.partition("## Faults")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)\(", section, re.MULTILINE)) == {name for name in faults.__all__ if name.islower()}


def test_the_messages_on_the_page_are_those_of_the_plugin() -> None:
    section = TESTING.partition("## What a message means")[2].partition("\n## ")[0]
    parts = [part.strip() for message in re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE) for part in message.split("…")]
    assert parts
    # In the source a quote inside of a string may have a backslash.
    missing = [part for part in parts if part not in SOURCES.replace("\\'", "'")]
    assert missing == []


# ---- README.md, architecture.md


def test_the_test_in_the_readme_passes_with_the_first_application_of_getting_started(run_pytest: RunPytest) -> None:
    (sample,) = re.findall(r"^```python\n(.*?live_server.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    application = re.findall(r"^```python\n(.*?)^```$", (DOCS / "getting-started.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
    run_pytest(sample, files={"main": application}).assert_outcomes(passed=1)


def test_the_architecture_names_every_module_of_the_plugin() -> None:
    section = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## The pytest plugin")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+\.py)`", row)}
    assert named == {path.name for path in (ROOT / "pytest_asgiserve").glob("*.py")} - {"__init__.py"}


# ---- testing-recipes.md


def recipes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("include_examples", DOCS / "include_examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_recipes_are_the_files_and_none_is_missing() -> None:
    generator = recipes()
    page = generator.PATH.read_text(encoding="utf-8")
    assert page == generator.generate(page), "run: python docs/include_examples.py"
    assert sorted(generator.included(page)) == sorted(f"examples/testing/{path.name}" for path in (ROOT / "examples/testing").glob("*.py"))
    assert page.count("```python") == len(generator.included(page))


def test_every_recipe_passes(tmp_path: Path) -> None:
    """As a user runs them: copied, by pytest itself. One run for all, as Django can be set up once a process."""
    shutil.copytree(ROOT / "examples" / "testing", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    # Django leaves a request's temporary file to the collector where DEBUG_PROPAGATE_EXCEPTIONS lets the error through.
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings =\n    error\n    ignore:Unclosed file:ResourceWarning\n", encoding="utf-8")
    plugins = ["pytest_asgiserve.plugin", "anyio", "hypothesispytest"]
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *(word for name in plugins for word in ("-p", name))]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout
    skipped = re.findall(r"^SKIPPED .*$", done.stdout, re.MULTILINE)
    assert all("there is no Chromium on this machine" in line for line in skipped), done.stdout


# ---- migrating-tests.md

# Other plugins that a group needs, by the names of their entry points, and what must be installed.
GROUPS: Final[dict[str, tuple[list[str], list[str]]]] = {
    "uvicorn-before": ([], ["uvicorn"]),
    "uvicorn-after": ([], []),
    "testclient-before": ([], []),
    "testclient-after": ([], []),
    "django-before": (["django"], ["pytest_django"]),
    "channels-before": (["django"], ["pytest_django", "channels", "daphne"]),
    "django-after": (["django"], ["pytest_django", "channels"]),
    "transport-before": (["anyio"], ["asgi_lifespan"]),
    "transport-after": (["anyio"], []),
    "aiohttp-before": (["aiohttp", "asyncio"], ["pytest_aiohttp"]),
    "aiohttp-after": (["asyncio"], ["pytest_asyncio"]),
}


def test_every_sample_of_the_migration_page_is_run() -> None:
    assert set(files(MIGRATING)) - {"all"} == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_the_samples_of_the_migration_page_pass(run_pytest: RunPytest, pytester: pytest.Pytester, group: str) -> None:
    plugins, needed = GROUPS[group]
    for name in needed:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    ini = write(pytester.path, MIGRATING, group)
    # What others warn of is theirs, as Starlette of httpx under its test client; and pytest-asyncio of a setting that nobody made.
    others = "" if group.endswith("-after") else "    default\n"
    if "asyncio" in plugins:
        ini += "\nasyncio_default_fixture_loop_scope = function"
    result = run_pytest(ini=others + ini, plugins=plugins, subprocess=bool({"django", "asyncio"} & set(plugins)) or group == "uvicorn-before")
    assert result.ret == 0, result.stdout.str()
    assert set(result.parseoutcomes()) <= {"passed", "warnings"}
