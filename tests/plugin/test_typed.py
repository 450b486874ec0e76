"""Point 12: the fixtures and the classes behind them are typed, for a user under mypy --strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import asgiserve
import pytest_asgiserve

HERE = Path(__file__).parent
USAGE = HERE / "typed" / "test_typed_usage.py"

MISTAKES = """
from pytest_asgiserve import LiveServer, LiveServerFactory, ApplicationError

def test_it(live_server: LiveServer, live_server_factory: LiveServerFactory) -> None:
    port: str = live_server.port
    live_server.client.get(5)
    live_server.expect_error("ValueError")
    live_server.exchanges(status="200")
    server: str = live_server_factory(5)
    live_server.nothing_like_it()
"""


def check(*paths: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy as a user has it: strict, with the package installed, and no configuration of ours."""
    root = Path(asgiserve.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", "--no-error-summary", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        # Where mypy finds the package in any installation, and nothing else of the checkout.
        cwd=root,
        timeout=180,
    )


@pytest.mark.timeout(200)
def test_a_user_s_tests_pass_mypy_strict_and_mistakes_do_not(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    pytest.importorskip("mypy", reason="the types are checked with it")
    # Kept between runs, where there is a cache: the first run takes seconds.
    cache = Path(pytestconfig.rootpath) / ".mypy_cache" / "typed"
    mistakes = tmp_path / "test_mistakes.py"
    mistakes.write_text(MISTAKES, encoding="utf-8")
    done = check(USAGE, mistakes, cache=cache)
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert not done.stderr
    # Every mistake is seen, each in its line, and nothing in the file without one.
    assert [(Path(line.split(":")[0]).name, int(line.split(":")[1])) for line in lines] == [("test_mistakes.py", number) for number in range(5, 11)]


def test_the_types_are_announced() -> None:
    assert (Path(pytest_asgiserve.__file__).parent / "py.typed").is_file()


def test_every_exported_name_is_there_and_no_other() -> None:
    for name in pytest_asgiserve.__all__:
        assert getattr(pytest_asgiserve, name) is not None
    with pytest.raises(AttributeError, match="module 'pytest_asgiserve' has no attribute 'LifeServer'"):
        _ = pytest_asgiserve.LifeServer
