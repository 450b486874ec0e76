"""The published results: what is made of ``results.json`` is what stands in the two pages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgi_conformance.report import read_json
from asgi_conformance.suite import TOPICS

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "conformance" / "results"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_results", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_the_results_that_are_kept(generate: ModuleType) -> None:
    report = read_json((FOLDER / "results.json").read_text(encoding="utf-8"))
    shown = (ROOT / "README.md").read_text(encoding="utf-8").partition(generate.BEGIN)[2].partition(generate.END)[0]
    assert shown == generate.summary(report)
    assert generate.summary(report) in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_target_was_judged_on_the_same_cases_and_asgiserve_keeps_every_rule() -> None:
    report = read_json((FOLDER / "results.json").read_text(encoding="utf-8"))
    judged = {result.case for result in report["results"]}
    # A new case need not wait for eight servers; one that is gone is not shown on.
    assert judged <= {case.id for topic in TOPICS for case in topic}, "run conformance/results/generate.py again"
    for target in report["targets"]:
        results = [result for result in report["results"] if result.target == target]
        assert {result.case for result in results} == judged
        if target.startswith("asgiserve"):
            assert {result.verdict for result in results} <= {"pass", "info", "unsupported"}


def test_no_finding_is_left_out(generate: ModuleType) -> None:
    report = read_json((FOLDER / "results.json").read_text(encoding="utf-8"))
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    found = [result for result in report["results"] if result.verdict in {"fail", "warn"}]
    assert sum(text.count(f"| {symbol} {verdict} |") for symbol, verdict in (("✗", "fail"), ("△", "warn"))) == len(found)
    assert len(generate.TARGETS) == len(report["targets"])
