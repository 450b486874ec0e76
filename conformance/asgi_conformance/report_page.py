"""The matrix of cases and targets as one page of HTML, that needs nothing else and can be read on a phone.

The law of this module: what is in the page is text, whatever bytes a server sent; the page asks nobody for anything.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["html_page"]

_PLACE: Final = "/*REPORT*/null"


def html_page(report: Mapping[str, Any]) -> str:
    """The page for a report of `report.to_json`."""
    page = resources.files("asgi_conformance").joinpath("report_page.html").read_text(encoding="utf-8")
    # What is told of a case is told once, not for every target.
    cases: dict[str, dict[str, Any]] = {}
    for row in report["results"]:
        case = cases.setdefault(
            row["case"], {"id": row["case"], "topic": row["topic"], "level": row["level"], "clauses": row["clauses"], "says": row["says"], "on": {}}
        )
        case["on"][row["target"]] = [row["verdict"], row["reason"], row["trace"]]
    data = {**report, "results": None, "cases": list(cases.values())}
    # "</script>" and "<!--" would end or change the element that it stands in.
    return page.replace(_PLACE, json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"), 1)
