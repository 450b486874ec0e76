"""One case for applications as a test item.

The law of this module: as `asgi_conformance.items`. What cannot be loaded is loaded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_conformance.application.case import judge
from asgi_conformance.application.subject import UnusableError
from asgi_conformance.items import NoTargetError, RuleItem
from asgiserve.errors import ApplicationLoadError
from asgiserve.importer import application_traceback

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from asgi_conformance.application.case import ApplicationCase
    from asgi_conformance.application.subject import Subject
    from asgi_conformance.application.trial import Way
    from asgi_conformance.case import Judgement

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
            NoTargetError: the application cannot be had, or does not start: nothing can be judged.
        """
        if self._state.not_loaded is not None:
            raise self._state.not_loaded.with_traceback(None)
        try:
            return judge(self._case, self._subject(self.config), self._way)
        except ApplicationLoadError as error:
            where = application_traceback(error.__cause__) if error.__cause__ is not None else ""
            # What is asked of people there is an option of the server's.
            self._state.not_loaded = NoTargetError(str(error).replace("--app-dir says", "pytest's ini key pythonpath says"), where)
            raise self._state.not_loaded from None
        except UnusableError as error:
            reason, _, details = str(error).partition("\n")
            raise NoTargetError(reason, details) from None
