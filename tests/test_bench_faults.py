"""bench/faults.py: what it computes from figures, what its clients take for a whole response, and that the command runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.fault_crowd import Seen
from bench.fault_load import Answer, percentile, response_end
from bench.fault_overload import recovery
from bench.fault_table import Figure, Row, Scenario, cell, section, target_text, verdict
from bench.faults import SCENARIOS, report
from bench.servers import ROOT

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        pytest.param([], 99, 0.0, id="none"),
        pytest.param([3.0], 99, 3.0, id="one"),
        pytest.param(list(range(1, 101)), 99, 99, id="the 99th of 100"),
        pytest.param(list(range(1, 1001)), 99, 990, id="the 990th of 1000"),
        pytest.param([4, 1, 3, 2], 50, 2, id="nearest rank, not the mean, of unsorted values"),
        pytest.param([1, 2], 100, 2, id="the greatest"),
        pytest.param([1, 2], 0, 1, id="the least"),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(LENGTH, (len(LENGTH), False), id="Content-Length"),
        pytest.param(LENGTH + b"HTTP/1.1", (len(LENGTH), False), id="the next response behind it"),
        pytest.param(LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), (len(LENGTH) + 19, True), id="Connection: close"),
        pytest.param(CHUNKED, (len(CHUNKED), False), id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nok", (0, True), id="until the end of the connection"),
    ],
)
def test_a_response_is_whole_at_its_end_and_not_before(data: bytes, expected: tuple[int, bool]) -> None:
    assert response_end(data) == expected
    for size in range(expected[0]):
        assert response_end(data[:size])[0] == 0


@pytest.mark.parametrize(
    ("row", "value", "met", "target", "text"),
    [
        pytest.param(Row("a", "a", "{:.1f}", most=2), 2.0, True, "≤ 2.0", "2.0 ✓", id="at most, reached"),
        pytest.param(Row("a", "a", "{:.1f}", most=2), 2.04, True, "≤ 2.0", "2.0 ✓", id="at most, the same where it is shown"),
        pytest.param(Row("a", "a", "{:.1f}", most=2), 2.06, False, "≤ 2.0", "2.1 ✗", id="at most, missed"),
        pytest.param(Row("a", "a", "{:.0f}", least=80), 79.4, False, "≥ 80", "79 ✗", id="at least, missed"),
        pytest.param(Row("a", "a", most=0), 12345, False, "≤ 0", "12,345 ✗", id="thousands"),
        pytest.param(Row("a", "a", "{:.1f}", most=2), -3.25, True, "≤ 2.0", "-3.2 ✓", id="negative"),
        pytest.param(Row("a", "a", most=0, least=0), -15, False, "0", "-15 ✗", id="exactly"),
        pytest.param(Row("a", "a"), 7, None, "", "7", id="no target"),
    ],
)
def test_a_figure_has_the_verdict_that_its_target_gives(row: Row, value: float, met: bool | None, target: str, text: str) -> None:
    assert verdict(row, value) is met
    assert target_text(row) == target
    assert cell(row, value) == text


def test_a_remark_stands_between_the_figure_and_its_verdict() -> None:
    assert cell(Row("a", "a", least=1), Figure(412000, "60 s")) == "412,000 (60 s) ✓"


@pytest.mark.parametrize(("value", "text"), [("died", "died"), (None, "not measured")])
def test_what_was_not_measured_has_a_word_and_no_verdict(value: str | None, text: str) -> None:
    assert cell(Row("a", "a", most=0), value) == text


def test_a_table_has_a_column_for_each_server_and_a_row_for_each_figure() -> None:
    scenario = Scenario("a", "A title", "What is done.", (Row("x", "ex", most=2), Row("y", "why")), lambda _: None, 1)
    lines = section(scenario, {"one": {"x": 1, "y": 20}, "two": {"x": 3}}, {"one": "1.0"})
    assert lines == [
        "## A title",
        "",
        "What is done.",
        "",
        "|     | target | one 1.0 |          two |",
        "|-----|-------:|--------:|-------------:|",
        "| ex  |    ≤ 2 |     1 ✓ |          3 ✗ |",
        "| why |        |      20 | not measured |",
        "",
    ]


def test_the_report_says_the_command_the_versions_and_every_remark() -> None:
    results = {scenario.name: {"asgiserve": {scenario.rows[0].key: "died"}} for scenario in SCENARIOS}
    text = report(SCENARIOS, results, {"asgiserve": "9.8"}, command="python bench/faults.py --quick", seconds=120, remarks=["Smaller."])
    assert "asgiserve 9.8" in text
    assert "2 minutes" in text
    assert "\nSmaller.\n" in text
    assert text.endswith("`python bench/faults.py --quick`")
    assert text.count(" died ") == len(SCENARIOS)


def answer(began: float, status: int) -> Answer:
    return Answer("", began, 0.01, status, retry_after=False, error="")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([answer(10.1, 200), answer(10.6, 200)], 0.0, id="all answered"),
        pytest.param([answer(10.1, 200), answer(10.2, 503), answer(10.5, 200), answer(10.8, 200)], 0.2, id="from the last failure on"),
        pytest.param([answer(10.1, 0), answer(10.3, 200), answer(10.7, 200), answer(11.9, 503)], 0.1, id="a failure long after does not count"),
        pytest.param([answer(10.9, 200), answer(10.2, 503)], 0.2, id="in any order"),
        pytest.param([answer(10.1, 200), answer(10.4, 0), answer(10.8, 200)], None, id="too short to know"),
        pytest.param([], None, id="nobody asked"),
    ],
)
def test_a_server_has_recovered_when_nothing_failed_for_half_a_second(answers: list[Answer], expected: float | None) -> None:
    assert recovery(answers, 10.0) == (None if expected is None else pytest.approx(expected))


def test_connections_closed_in_time_are_a_share_of_those_that_opened() -> None:
    assert Seen(opened=4, lifetimes=[1.0, 15.0, 15.1]).closed_within(15) == 50
    assert Seen().closed_within(15) == 0


def test_scenarios_and_their_figures_have_names_of_their_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        assert len({row.key for row in scenario.rows}) == len(scenario.rows)


def test_the_command_prints_a_table_with_every_figure() -> None:
    names = ["million", "drain", "complexity"]
    command = [sys.executable, "bench/faults.py", "--quick", "--servers", "asgiserve", "--scenarios", ",".join(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")}
    for scenario in SCENARIOS:
        for row in scenario.rows if scenario.name in names else ():
            assert rows[row.what].strip("✓✗ ")[:1].isdigit() or rows[row.what].startswith("-"), (row.what, rows[row.what], done.stderr)
    # What no machine is too slow for.
    for what in ("failed (how, most)", "running requests answered, %", "exit status"):
        assert rows[what].endswith("✓"), (what, rows[what], done.stderr)


def test_an_unknown_scenario_is_an_error_that_names_those_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "bench/faults.py", "--scenarios", "meteor"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "unknown scenario: meteor; there are slow-heads, " in done.stderr
