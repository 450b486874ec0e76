"""Writes the state diagrams in ``docs/architecture.md`` from the tables in ``asgiserve.core.exchange``; a test says when they are not current.

python docs/generate_states.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asgiserve.core.exchange import OPEN, REQUEST_TABLE, RESPONSE_TABLE, WAITING

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = Path(__file__).with_name("architecture.md")

_DIAGRAMS = {"request": (OPEN, REQUEST_TABLE), "response": (WAITING, RESPONSE_TABLE)}


def diagram(first: str, table: Mapping[str, Mapping[str, str]]) -> str:
    """One table as a mermaid diagram. Several actions from one state to one other share an arrow."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for state, row in table.items():
        arrows: dict[str, list[str]] = {}
        for action, following in row.items():
            arrows.setdefault(following, []).append(action)
        lines.extend(f"    {state} --> {following} : {', '.join(actions)}" for following, actions in arrows.items())
    lines.append("```")
    return "\n".join(lines)


def generate(text: str) -> str:
    """The page ``text`` with its diagrams made anew.

    Raises:
        ValueError: the page has no place for one of them.
    """
    for name, (first, table) in _DIAGRAMS.items():
        begin, end = f"<!-- states: {name}, made by docs/generate_states.py -->\n", f"<!-- end of states: {name} -->\n"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise ValueError(f"{PATH.name} has no place for the states of the {name}")
        text = f"{before}{begin}\n{diagram(first, table)}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PATH.write_text(generate(PATH.read_text(encoding="utf-8")), encoding="utf-8")
