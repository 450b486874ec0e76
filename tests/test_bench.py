"""The benchmark command: its figures, tables and picture as functions, its load generators against a server, and the whole of it once, briefly."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Before anything of bench is imported.
if sys.platform != "linux":
    pytest.skip("bench/ reads /proc, and sets cores", allow_module_level=True)

from bench.figures import Contender, Report, Row, Sample, Spread, format_number, format_spread, good, ratio_of, spread_of, tables
from bench.load import started
from bench.machine import Cores, Progress
from bench.picture import draw, scale_end
from bench.servers import ROOT, TargetError, available, free_of_options, running
from bench.workloads import BROWSER, WORKLOADS, check_answer
from bench.wrk import find_wrk, judge, quote_lua

if TYPE_CHECKING:
    from collections.abc import Sequence

BY_NAME = {workload.name: workload for workload in WORKLOADS}
DONE = '\nRESULT {"requests": 10, "microseconds": 500000, "bytes": 900, "connect": %d, "read": %d, "write": 0, "status": %d, "timeout": 0}\n'


def samples(*values: float | None, problem: str = "no answer") -> list[Sample]:
    """One for each round; None is a problem."""
    return [Sample(problem=problem) if value is None else Sample(value, 1e6 / value, 0.99, 0.2, 1000) for value in values]


def report(found: dict[str, dict[str, list[Sample]]], *, labels: Sequence[str] = ("asgiserve", "uvicorn")) -> Report:
    rows = [Row(name, BY_NAME[name].title, "KiB" if BY_NAME[name].load == "idle" else "µs") for name in found]
    contenders = [Contender(label, "1.0", "CPython 3.11.7") for label in labels]
    return Report(rows, contenders, 3, 2.0, "a machine", "two cores", True, "wrk 4", "python bench/speed.py <&>", found)


# Figures.


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0, 1.0, 2.0], Spread(2, 1, 3)), ([4.0, None, 2.0], Spread(3, 2, 4)), ([5.0], Spread(5, 5, 5)), ([None], None), ([], None)],
)
def test_a_spread_is_median_lowest_and_highest_of_what_is_there(values: list[float | None], expected: Spread | None) -> None:
    assert spread_of(values) == expected


def test_a_ratio_is_made_within_each_round_and_a_round_without_both_is_left_out() -> None:
    # The ratio of the medians would be 20 / 40; round by round it is 1/2, 1/4 and, of the last, nothing.
    assert ratio_of([10, 20, 30], [20, 80, None]) == Spread(0.375, 0.25, 0.5)
    assert ratio_of([None], [1]) is None
    assert ratio_of([], []) is None


def test_a_sample_with_a_problem_counts_nowhere_and_keeps_its_place() -> None:
    assert good([*samples(1, None, 3), Sample(4.0, problem="2 read errors")], lambda sample: sample.value) == [1, None, 3, None]


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.50"), (9.994, "9.99"), (28.71, "28.7"), (372.6, "373"), (43210.0, "43,210")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert format_number(value) == text


def test_a_spread_of_one_round_is_one_number() -> None:
    assert format_spread(Spread(28.7, 28.7, 28.7)) == "28.7"
    assert format_spread(Spread(28.7, 27.9, 30.1)) == "28.7 (27.9-30.1)"
    assert not format_spread(None)


def test_the_tables_have_every_workload_server_and_ratio() -> None:
    found = {"plain": {"asgiserve": samples(20, 25, 30), "uvicorn": samples(40, 50, 60)}, "idle": {"asgiserve": samples(4), "uvicorn": samples(8)}}
    text = "\n".join(tables(report(found)))
    plain = [line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| plain text")]
    assert [[cell.strip() for cell in line] for line in plain] == [
        ["25.0 (20.0-30.0)", "50.0 (40.0-60.0)"],
        ["0.50"],
        ["40,000 (33,333-50,000)", "20,000 (16,667-25,000)"],
        ["2.00"],
    ]
    assert "| memory of an idle connection | 0.50 |" in " ".join(text.split())
    assert "`python bench/speed.py <&>`" in text
    assert "What went wrong" not in text
    assert all(len({len(line) for line in block.splitlines()}) == 1 for block in text.split("\n\n") if block.startswith("|"))


def test_what_went_wrong_is_in_the_cell_and_below() -> None:
    found = {"plain": {"asgiserve": samples(20, None, 30), "uvicorn": samples(None, None, None, problem="wrong answer: status 500")}}
    text = "\n".join(tables(report(found)))
    assert "25.0 (20.0-30.0) [1]" in text
    assert "- [1] plain text, asgiserve: no answer in 1 of 3 rounds" in text
    assert "failed [2]" in text
    assert "- [2] plain text, uvicorn: wrong answer: status 500\n" in text


def test_requests_per_second_that_the_server_did_not_limit_are_marked() -> None:
    idle = [Sample(10.0, 5000.0, 0.5, 0.99, 1000)]
    found = {"plain": {"asgiserve": idle, "uvicorn": samples(100)}}
    shown = report(found)
    assert ">= 5,000" in "\n".join(tables(shown))
    assert ">= 10,000" not in "\n".join(tables(shown))
    # On one core nobody knows whose limit it is.
    shown.cores_apart = False
    assert ">= 5,000" not in "\n".join(tables(shown))


def test_the_cost_of_the_access_log_is_that_of_plain_text_with_it() -> None:
    found = {"plain": {"asgiserve": samples(20, 20), "uvicorn": samples(20, 20)}, "log": {"asgiserve": samples(23, 25), "uvicorn": samples(None, 30)}}
    lines = [line for line in tables(report(found)) if line.startswith("| log on")]
    assert [cell.strip() for cell in lines[0].split("|")[2:-1]] == ["+20 %", "+50 %"]


def test_a_report_survives_json() -> None:
    shown = report({"plain": {"asgiserve": samples(1, None), "uvicorn": samples(2, 3)}})
    assert Report.from_json(json.loads(json.dumps(shown.to_json()))) == shown


# The picture.


def test_the_picture_has_a_bar_and_a_figure_for_each_server() -> None:
    found = {
        "plain": {"asgiserve": samples(20, 25, 30), "uvicorn": samples(50, 50, 50)},
        "tls": {"asgiserve": samples(100), "uvicorn": samples(None)},
    }
    drawn = draw(report(found))
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    name = "{http://www.w3.org/2000/svg}"
    bars = [(bar.get("class"), float(bar.get("width") or 0)) for bar in root.iter(f"{name}rect")]
    assert [kind for kind, _ in bars] == ["ours", "theirs", "ours"]
    # 25 to 50.
    assert bars[1][1] == pytest.approx(2 * bars[0][1], abs=0.1)
    texts = ["".join(text.itertext()) for text in root.iter(f"{name}text")]
    assert {"25.0", "50.0", "100", "failed", "plain text", "plain text over TLS", "python bench/speed.py <&>"} <= set(texts)
    assert "prefers-color-scheme: dark" in drawn
    # The spread of the one, and none of what was the same each time.
    assert [path.get("class") for path in root.iter(f"{name}path")] == ["spread"]


def test_one_bar_that_is_far_from_the_others_does_not_make_them_invisible() -> None:
    near, far = [Spread(10, 9, 11), Spread(20, 19, 21)], Spread(4000, 3000, 5000)
    assert scale_end(near) == 21
    assert scale_end([*near, far]) == 25
    assert scale_end([far]) == 5000
    assert scale_end([]) == 1


# Load generators.


def test_what_wrk_says_is_read_as_numbers() -> None:
    load = judge(f"Running 1s test @ http://127.0.0.1\n{DONE % (0, 0, 0)}", 0.25)
    assert load == (10, 0.5, 900, 0.25, "")


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (DONE % (3, 2, 0), "3 connects that failed, 2 read errors"),
        (DONE % (0, 0, 7), "7 not 2xx or 3xx"),
        (DONE.replace('"requests": 10', '"requests": 0') % (0, 0, 0), "no answer"),
        ("unable to connect to 127.0.0.1:1 Connection refused\n", "wrk failed: unable to connect to 127.0.0.1:1 Connection refused"),
        ("", "wrk failed: it wrote nothing"),
    ],
)
def test_whatever_goes_wrong_in_wrk_is_said(output: str, problem: str) -> None:
    assert judge(output).problem == problem


def test_a_body_is_a_string_of_luas() -> None:
    assert quote_lua(b'a"\n\xff') == '"\\097\\034\\010\\255"'
    assert quote_lua(b"u" * 65536) == 'string.rep("\\117", 65536)'


def test_a_browser_sends_fifteen_fields() -> None:
    assert len(BROWSER) == 15


def test_progress_elsewhere_than_on_a_terminal_is_whole_lines() -> None:
    stream = io.StringIO()
    progress = Progress(3, stream)
    progress.step("one")
    progress.step("two")
    progress.end()
    # The second came too soon after the first to be worth a line.
    assert stream.getvalue() == "[1/3] one\n"


def test_one_core_for_both_is_said() -> None:
    assert "ONE CORE" in str(Cores(0, 0))
    assert Cores(1, 0).apart


# Servers.


def test_a_server_is_started_watched_and_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    # What would configure it is not handed on.
    monkeypatch.setenv("ASGISERVE_PORT", "1")
    cpu = max(os.sched_getaffinity(0))
    with running("asgiserve", cpu=cpu, nofile=200, access_log=True) as server:
        assert server.pids() == [server.pid]
        assert os.sched_getaffinity(server.pid) == {cpu}
        assert Path(f"/proc/{server.pid}/limits").read_text(encoding="ascii").partition("Max open files")[2].split()[:2] == ["200", "200"]
        cpu_seconds, logged = server.cpu_seconds(), server.logged_lines
        for name in ("plain", "browser", "upload", "medium", "stream", "close"):
            assert not check_answer(BY_NAME[name], server)
        # The line of a request is written behind its answer, so the last one may not be there yet, here and before.
        assert logged + 2 * 6 - 1 <= server.logged_lines <= logged + 2 * 6 + 1
        assert server.cpu_seconds() > cpu_seconds > 0
        assert server.rss_bytes() > 1 << 20
        assert server.descriptors() > 3
        assert server.threads() >= 1
        # An echo of another server's would be a wrong one, and so is this.
        assert "bytes that are not the right ones" in check_answer(BY_NAME["fastapi"], server)
    assert server.exit_status == 0
    assert not Path(f"/proc/{server.pid}").exists()


def test_echoes_and_idle_connections_are_made_by_a_process_that_checks_them() -> None:
    with running("asgiserve") as server:
        for size in (64, 65536):
            with started("websocket", server.port, 2, size) as generator:
                generator.wait_ready()
                load = generator.echo(0.1)
                assert not load.problem
                assert load.requests > 2
                assert 0.1 <= load.seconds < 5
        with started("idle", server.port, 20) as generator:
            generator.wait_ready()
            assert generator.count_open() == 20


def test_a_load_generator_that_fails_says_why() -> None:
    with running("asgiserve", options=["--ws", "none"]) as server, started("websocket", server.port, 1, 64) as generator:
        with pytest.raises(RuntimeError, match="the handshake was answered with 200"):
            generator.wait_ready()
        assert generator.echo(0.1).problem == "the load generator ended"


def test_a_server_that_does_not_start_says_what_it_wrote() -> None:
    with (
        pytest.raises(TargetError, match=r"(?s)ended with status \d+ before it answered\. It wrote:.*no-such-option"),
        running("asgiserve", options=["--no-such-option"]),
    ):
        pytest.fail("it started")


def test_what_is_not_installed_is_named_with_what_installs_it() -> None:
    # This file runs in an environment that may have none of the others.
    there, missing = available(["asgiserve", "gunicorn"])
    assert "asgiserve" in there
    assert "gunicorn" in there or missing["gunicorn"].startswith("gunicorn is not installed: pip install ")
    with pytest.raises(TargetError, match="there is no such target"):
        available(["nginx"])


def test_the_environment_of_a_server_has_no_options_and_the_repository() -> None:
    kept = free_of_options({"UVICORN_PORT": "1", "WEB_CONCURRENCY": "4", "HOME": "/", "PYTHONPATH": "/x"})
    assert kept == {"HOME": "/", "PYTHONPATH": os.pathsep.join([str(ROOT), "/x"])}


# The command.


def test_the_command_measures_prints_and_writes(tmp_path: Path) -> None:
    """Without wrk, the one workload that has a load generator of its own: the command says how to get wrk, and what it leaves out."""
    wrk = find_wrk()
    given = ["--quick", "--servers", "asgiserve", "--workloads", "plain,ws-small", "--seconds", "0.3", "--rounds", "1", "--write", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "speed.py", *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env=free_of_options(os.environ),
    )
    assert done.returncode == 0, done.stderr
    measured = Report.from_json(json.loads((tmp_path / "speed.json").read_text(encoding="utf-8")))
    assert [row.name for row in measured.rows] == (["plain", "ws-small"] if wrk else ["ws-small"])
    for row in measured.rows:
        (sample,) = measured.of(row, "asgiserve")
        assert not sample.problem
        assert sample.value is not None
        assert sample.value > 1
        assert sample.requests > 10
    assert done.stdout.strip() == "\n".join(tables(measured)).strip()
    assert "[1/" in done.stderr
    assert ("left out: plain text: wrk is not installed: apt install wrk" in done.stderr) == (wrk is None)
    assert str(tmp_path) not in done.stdout
    assert ET.parse(tmp_path / "speed.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own
    assert "![The same as a picture](speed.svg)" in (tmp_path / "speed.md").read_text(encoding="utf-8")


def test_a_workload_that_there_is_not_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "speed.py", "--workloads", "plian"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env=free_of_options(os.environ),
    )
    assert done.returncode == 2
    assert "there is no workload 'plian'; there are plain, browser" in done.stderr
