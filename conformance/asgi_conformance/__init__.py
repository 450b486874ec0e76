"""The conformance suite: what HTTP, WebSocket and ASGI ask of a server and of an application, as cases and rules named by clause.

`lint` is here: the rules for applications, as a wrapper. Nothing is imported before it is used: servers and test runs that only look for this package
stay as fast as they were.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgi_conformance.linter import lint
    from asgi_conformance.violations import RULES, LintError, LintWarning, Rule, Violation

__all__ = ["RULES", "LintError", "LintWarning", "Rule", "Violation", "lint"]

_HOMES = {
    "LintError": "violations",
    "LintWarning": "violations",
    "RULES": "violations",
    "Rule": "violations",
    "Violation": "violations",
    # Not "lint": the module would take the name of the function once it is imported.
    "lint": "linter",
}


def __getattr__(name: str) -> Any:
    """PEP 562: a name is imported when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"asgi_conformance.{_HOMES[name]}"), name)
