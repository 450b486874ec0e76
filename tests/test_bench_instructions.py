"""The command that counts instructions: callgrind's dump, the requests and the tables as functions, and the whole of it once, briefly."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

# Before anything of bench is imported.
if sys.platform != "linux":
    pytest.skip("bench/ reads /proc, and sets cores", allow_module_level=True)

from bench.instructions import CONTENDERS, REQUESTS, Profile, encode, main, read_profile, tables, top_lines
from bench.servers import ROOT, free_of_options, running
from bench.workloads import NUMBER
from bench.wrk import find_wrk, run_wrk

if TYPE_CHECKING:
    from pathlib import Path

VALGRIND = shutil.which("valgrind") and shutil.which("vgdb")
MISSING = "valgrind is not installed: apt install valgrind"

# As callgrind 3.19 writes it with --dump-line=no: main calls f twice, f calls itself, and main's name is not said again.
DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 7
cmd:  python -m asgiserve
part: 2

desc: I1 cache:
desc: Timerange: Basic block 1 - 200
desc: Trigger: Program termination

positions: line
events: Ir
summary: 1000

ob=(1) /usr/bin/python
fl=(1) /src/main.c
fn=(1) main
0 100
cfi=(2) /src/f.c
cfn=(2) f
calls=2 0
0 900
+3 40

fl=(2)
fn=(2)
0 500
cfn=(3) f'2
calls=1 0
0 300

fn=(3)
* 300

fn=(4) std::map<int, a b>::find(int const&)
-2 60

totals: 1000
"""


def per_request(instructions: int) -> Profile:
    return Profile(instructions, {"f": instructions})


# A dump.


def test_a_dump_is_read_function_by_function_without_what_those_called_took() -> None:
    profile = read_profile(DUMP)
    assert profile.instructions == 1000
    assert profile.functions == {"main": 140, "f": 800, "std::map<int, a b>::find(int const&)": 60}


def test_the_functions_of_a_dump_are_all_of_it() -> None:
    assert sum(read_profile(DUMP).functions.values()) == read_profile(DUMP).instructions


def test_a_dump_in_which_nothing_was_counted_is_nothing() -> None:
    assert read_profile("version: 1\nevents: Ir\nsummary: 0\n\n\ntotals: 0\n") == (0, {})
    assert read_profile("") == (0, {})


def test_the_functions_that_took_most_come_first() -> None:
    assert top_lines(read_profile(DUMP), 2) == ["       800  f", "       140  main"]


# Requests.


def test_a_plain_request_has_nothing_but_a_host() -> None:
    assert encode(REQUESTS["plain"], 7, 8000) == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"


def test_an_upload_is_one_request_with_its_length() -> None:
    head, _, body = encode(REQUESTS["upload"], 7, 8000).partition(b"\r\n\r\n")
    assert head == b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 65536"
    assert body == b"u" * 65536


def test_a_browsers_requests_are_the_same_and_a_varied_ones_differ_in_target_and_cookie() -> None:
    assert encode(REQUESTS["browser"], 1, 8000) == encode(REQUESTS["browser"], 2, 8000)
    one, other = (encode(REQUESTS["browser-varied"], number, 8000).decode("ascii").split("\r\n") for number in (1, 12345678))
    assert [line.partition(":")[0] for line in one[1:]] == [
        line.partition(":")[0] for line in encode(REQUESTS["browser"], 1, 8000).decode().split("\r\n")[1:]
    ]
    assert len(one) == 1 + 1 + 15 + 2
    different = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    assert [a.split(" ")[0] for a, _ in different] == ["GET", "Cookie:"]
    assert all("00000001" in a and "12345678" in b for a, b in different)


def test_only_what_is_varied_has_the_place_of_a_number() -> None:
    # Elsewhere wrk would leave it as it is, and here it would be taken for one.
    assert [name for name, workload in REQUESTS.items() if NUMBER in f"{workload.path} {workload.fields}"] == ["browser-varied"]
    assert [name for name, workload in REQUESTS.items() if workload.varied] == ["browser-varied"]


@pytest.mark.skipif(find_wrk() is None, reason="wrk is not installed: apt install wrk")
def test_wrk_makes_each_varied_request_another() -> None:
    workload = REQUESTS["browser-varied"]
    with running("asgiserve", access_log=True) as server:
        url = f"http://127.0.0.1:{server.port}{workload.path}"
        load = run_wrk(find_wrk() or "", url, seconds=0.3, connections=2, fields=workload.fields, number=NUMBER)
        targets = re.findall(r"/shop/items\?page=(\d{8})&sort=price", server.output)
    assert not load.problem
    assert load.requests > 10
    assert len(targets) > 10
    assert len(set(targets)) == len(targets)
    assert NUMBER not in targets


# Tables.


def test_the_table_has_figures_and_ratios() -> None:
    found = {("asgiserve", "plain"): per_request(60_000), ("uvicorn", "plain"): per_request(120_000)}
    lines = tables(["asgiserve", "uvicorn"], ["plain"], found)
    assert lines == [
        "|            | asgiserve | uvicorn |",
        "|------------|----------:|--------:|",
        "| plain text |    60,000 | 120,000 |",
        "",
        "As ratios: below 1 asgiserve takes less.",
        "",
        "| asgiserve divided by | uvicorn |",
        "|----------------------|--------:|",
        "| plain text           |    0.50 |",
        "",
    ]


def test_what_went_wrong_is_below_the_table_and_makes_no_ratio() -> None:
    found: dict[tuple[str, str], Profile | str] = {
        ("asgiserve", "plain"): per_request(60_000),
        ("asgiserve", "json"): per_request(300_000),
        ("daphne", "plain"): "wrong answer: status 500",
        ("daphne", "json"): "fastapi is not installed: pip install fastapi",
    }
    text = "\n".join(tables(["asgiserve", "daphne"], ["plain", "json"], found))
    assert re.findall(r"\| (plain text|JSON through FastAPI) +\| +(\S+) \| +(\S+) \|", text) == [
        ("plain text", "60,000", "[1]"),
        ("JSON through FastAPI", "300,000", "[2]"),
    ]
    assert re.findall(r"\| (?:plain text|JSON through FastAPI) +\| +(\S+) \|\n", text) == ["-", "-"]
    assert text.endswith("- [1] daphne: wrong answer: status 500\n- [2] daphne: fastapi is not installed: pip install fastapi\n")


def test_alone_there_is_no_ratio() -> None:
    assert not any("divided" in line for line in tables(["asgiserve"], ["plain"], {("asgiserve", "plain"): per_request(1)}))
    assert not any("divided" in line for line in tables(["uvicorn"], ["plain"], {("uvicorn", "plain"): per_request(1)}))


# The command.


def test_without_valgrind_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 2
    assert capsys.readouterr() == ("", f"{MISSING}\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--servers", "asgiserve,nginx"], f"there is no 'nginx'; there are {', '.join(CONTENDERS)}"),
        (["--request", "plain", "--request", "plian"], f"there is no 'plian'; there are {', '.join(REQUESTS)}"),
        (["--requests", "800"], "--requests must be more than 0, and with --warm-up at most 990"),
        (["--requests", "0"], "--requests must be more than 0"),
    ],
)
def test_what_cannot_be_measured_is_an_error(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(not VALGRIND, reason=MISSING)
def test_the_command_counts_prints_and_writes(tmp_path: Path) -> None:
    given = ["--servers", "asgiserve", "--request", "plain", "--requests", "20", "--warm-up", "20", "--top", "3", "--write", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "instructions.py", *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
        env=free_of_options(os.environ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figure = re.search(r"^\| plain text \| +([\d,]+) \|$", done.stdout, re.MULTILINE)
    assert figure is not None, done.stdout
    # More than nothing, and less than what starting it takes.
    assert 10_000 < int(figure[1].replace(",", "")) < 1_000_000
    assert len(re.findall(r"^ +[\d,]+  \S", done.stdout, re.MULTILINE)) == 3
    assert "[1/1] asgiserve: plain text" in done.stderr
    assert (tmp_path / "instructions.md").read_text(encoding="utf-8") == done.stdout
    assert "`python bench/instructions.py --servers asgiserve --request plain --requests 20 --warm-up 20 --top 3 --write`" in done.stdout
    assert str(tmp_path) not in done.stdout
    assert str(ROOT) not in done.stdout
