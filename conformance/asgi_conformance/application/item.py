"""One case for applications as a test item.

The law of this module: as `asgi_conformance.items`. What cannot be loaded is told once a case, in one line, and is an error of none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_conformance.application.case import judge
from asgi_conformance.case import Judgement, Verdict
from asgi_conformance.items import ConformanceError, RuleItem
from asgiserve.errors import ApplicationLoadError
from asgiserve.importer import application_traceback

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from asgi_conformance.application.case import ApplicationCase
    from asgi_conformance.application.subject import Subject
    from asgi_conformance.application.trial import Way

__all__ = ["ApplicationCaseItem"]


class ApplicationCaseItem(RuleItem):
    """One case for the application, in one way.

    Args:
        rule: the case.
        way: how the application is called.
        subject: gives the application of the run.
    """

    def __init__(self, *, rule: ApplicationCase, way: Way, subject: Callable[[pytest.Config], Subject], **options: Any) -> None:
        super().__init__(rule=rule, **options)
        self._case = rule
        self._way = way
        self._subject = subject

    def judge(self) -> tuple[Judgement, str]:
        """Run the case; the verdict, and what went to and fro.

        Raises:
            ConformanceError: the application cannot be had, or does not start: nothing can be judged.
        """
        try:
            judgement, trace = judge(self._case, self._subject(self.config), self._way)
        except ApplicationLoadError as error:
            where = application_traceback(error.__cause__) if error.__cause__ is not None else ""
            raise ConformanceError(f"{error}\n{where}" if where else str(error)) from None
        if judgement.verdict is Verdict.ERROR:
            raise ConformanceError(f"error: {judgement.reason}")
        return judgement, trace
