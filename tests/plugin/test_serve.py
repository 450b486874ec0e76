"""``--asgi-serve``: the server of the selected test, for a look with a browser."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from pytest_asgiserve.process import ChildProcess

if TYPE_CHECKING:
    from tests.plugin.conftest import RunPytest

TEST = """
import pytest

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"look"})

@pytest.fixture
def asgi_app():
    return app

@pytest.fixture
def prepared(live_server):
    # What fixtures do is done before the look.
    assert live_server.client.get("/").text == "look"

@pytest.mark.asgiserve(lifespan="off")
def test_look(live_server, prepared):
    raise AssertionError("the test itself is not run")
"""


def test_the_server_of_the_selected_test_runs_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(TEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "pytest", "-p", "pytest_asgiserve.plugin", "-p", "no:cacheprovider", "--asgi-serve"]
    with ChildProcess() as child:
        child.spawn(command, environment=environment, cwd=tmp_path)
        line = child.wait_line(re.compile(r"http://127\.0\.0\.1:\d+").search, 30)
        # A client of ours that is nobody's fixture.
        with httpx.Client(trust_env=False) as client:
            assert client.get(line.strip()).text == "look"
        child.signal(signal.SIGINT)
        assert child.wait(30) == 0, child.output
    assert "test_inner.py::test_look is served at:" in child.output
    assert "Ctrl+C ends this test." in child.output
    assert "1 passed" in child.output


def test_a_run_without_a_live_server_is_an_ordinary_run(run_pytest: RunPytest) -> None:
    run_pytest("def test_plain():\n    assert True\n", "--asgi-serve").assert_outcomes(passed=1)


def test_it_is_refused_with_xdist(run_pytest: RunPytest) -> None:
    result = run_pytest("def test_plain():\n    assert True\n", "--asgi-serve", "-n", "1", plugins=["xdist.plugin"], subprocess=True)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--asgi-serve waits for one test at the terminal; run it without -n*"])
