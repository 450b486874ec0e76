"""Puts the files of ``examples/testing`` into ``docs/testing-recipes.md``; a test says when the page is not current.

A line ``<!-- examples/testing/test_sse.py -->`` in the page stands before the block with that file's code.

python docs/include_examples.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATH = ROOT / "docs" / "testing-recipes.md"

_place = re.compile(r"^<!-- (examples/testing/\w+\.py) -->\n\n```python\n.*?^```$", re.MULTILINE | re.DOTALL)


def included(page: str) -> list[str]:
    """The files that ``page`` has a place for, in its order."""
    return [match[1] for match in _place.finditer(page)]


def generate(page: str) -> str:
    """``page`` with the code of today in each place."""
    return _place.sub(lambda match: f"<!-- {match[1]} -->\n\n```python\n{(ROOT / match[1]).read_text(encoding='utf-8')}```", page)


if __name__ == "__main__":
    PATH.write_text(generate(PATH.read_text(encoding="utf-8")), encoding="utf-8")
