"""What the plugin's tests share: a pytest inside of the test, with this plugin and no other that is installed.

In the same process where it can be: a run then takes some 50 ms, and the coverage of the plugin counts. A warning fails an inner test too.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

import asgiserve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PLUGIN = "pytest_asgiserve.plugin"
# pytester forgets every module that was imported while it was there, and the next run would import it again: so these are there before.
_KEPT = (
    "fastapi",
    "httpx",
    "httptools",
    "pytest_asgiserve.clients",
    "pytest_asgiserve.faults",
    "pytest_asgiserve.live",
    "pytest_asgiserve.raw",
    "pytest_asgiserve.websocket",
    "starlette.applications",
    "trustme",
    "uvloop",
)


class RunPytest(Protocol):
    """What the fixture ``run_pytest`` is."""

    def __call__(
        self,
        source: str = "",
        *args: str,
        conftest: str = "",
        files: Mapping[str, str] | None = None,
        ini: str = "",
        plugins: Sequence[str] = (),
        subprocess: bool = False,
    ) -> pytest.RunResult:
        """Run pytest over one test file.

        Args:
            source: the text of ``test_inner.py``; empty where the test wrote its own files.
            args: for the command line.
            conftest: the text of ``conftest.py``.
            files: of other modules, by their names without ``.py``.
            ini: lines for the ``[pytest]`` section of ``pytest.ini``.
            plugins: others that are to be active, by the names of their modules or entry points. Ours is loaded before them, or where it is named.
            subprocess: in a process of its own, where the point is what a process imports or how it ends.
        """
        ...


@pytest.fixture(scope="session")
def _kept() -> None:
    for name in _KEPT:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


@pytest.fixture
def run_pytest(_kept: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunPytest:
    """Runs pytest with this plugin; of others only with those that are named."""
    # No plugin but those that are named; and this checkout, wherever the inner run stands.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    root = str(Path(asgiserve.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]))

    def run(
        source: str = "",
        *args: str,
        conftest: str = "",
        files: Mapping[str, str] | None = None,
        ini: str = "",
        plugins: Sequence[str] = (),
        subprocess: bool = False,
    ) -> pytest.RunResult:
        if source:
            pytester.makepyfile(test_inner=source)
        if conftest:
            pytester.makeconftest(conftest)
        for name, text in (files or {}).items():
            pytester.makepyfile(**{name: text})
        pytester.makeini(f"[pytest]\nfilterwarnings = error\n{ini}")
        loaded = [argument for name in (plugins if _PLUGIN in plugins else (_PLUGIN, *plugins)) for argument in ("-p", name)]
        everything = [*loaded, "-p", "no:cacheprovider", *args]
        if subprocess:
            return pytester.runpytest_subprocess(*everything, timeout=30)
        return pytester.runpytest_inprocess(*everything)

    return run


def report_of(result: pytest.RunResult, test: str) -> str:
    """What the run printed about the failed inner test of this name, all of its phases; empty where it did not fail."""
    parts = []
    inside = False
    for line in result.stdout.lines:
        if re.fullmatch(r"_{3,} .+ _{3,}|={3,} .+ ={3,}", line):
            inside = line.strip("_ ").split()[-1] == test
        if inside:
            parts.append(line)
    return "\n".join(parts)


@pytest.fixture
def app_file(pytester: pytest.Pytester) -> Path:
    """``shop.py`` beside the inner tests: applications that answer with their names, and one that raises on ``/boom``."""
    return pytester.makepyfile(
        shop="""
        def make(name):
            async def app(scope, receive, send):
                assert scope["type"] == "http"
                if scope["path"] == "/boom":
                    raise ZeroDivisionError("division by zero in " + name)
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
                await send({"type": "http.response.body", "body": name.encode()})
            return app

        app = make("shop")
        admin = make("admin")

        def create():
            return make("created")
        """
    )
