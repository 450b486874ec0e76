"""What tests of the conformance suite's command line share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Runs pytest in a process of its own, with the suite's plugin and no other but those that are named."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root / "conformance"), os.environ.get("PYTHONPATH", "")]))
    pytester.makeini("[pytest]\n")

    def start(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "asgi_conformance.plugin", "-p", "no:cacheprovider", *arguments, timeout=120)

    return start
