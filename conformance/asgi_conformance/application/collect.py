"""The cases for applications as test items, and what the options say of the application.

The law of this module: an application is loaded when its first case runs, not when the suite is collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_conformance.application.case import ApplicationCase, ApplicationTopic
    from asgi_conformance.application.subject import Subject
    from asgi_conformance.application.trial import Way
    from asgi_conformance.plugin import State

__all__ = ["application_cases", "application_targets", "check_options", "close_application", "collect_application"]

_subject_key: Final = pytest.StashKey["Subject"]()
_LIVE: Final = "live"


# Options.


def _given(config: pytest.Config, name: str) -> list[str]:
    values = config.getoption(name, default=None)
    return list(config.getini(name) if values is None else values)


def _last(config: pytest.Config, name: str) -> str:
    return next(iter(_given(config, name)[-1:]), "")


def _application(config: pytest.Config) -> str:
    """What ``--asgi-app`` says; its plugin need not be there."""
    value = config.getoption("asgi_app", default=None)
    if value is None:
        try:
            value = config.getini("asgi_app")
        except (KeyError, ValueError):
            return ""
    return str(value or "")


def _name(config: pytest.Config) -> str:
    return _application(config) or _last(config, "asgi_middleware")


def application_targets(config: pytest.Config) -> list[str]:
    """The names under which the application is in the reports: in process, and behind a server. Empty where none was named."""
    name = _name(config)
    return [name, f"{name} ({_LIVE})"] if name else []


def check_options(config: pytest.Config) -> None:
    """Check what can be checked without loading anything.

    Raises:
        pytest.UsageError: an option cannot be used.
    """
    if not _name(config):
        for option in ("asgi_app_paths", "asgi_app_host", "asgi_app_timeout"):
            if config.getoption(option, default=None):
                raise pytest.UsageError(f"--{option.replace('_', '-')} needs an application: --asgi-app package.module:app")
        return
    from asgi_conformance.application.routes import RouteError, parse_routes  # noqa: PLC0415 - only who runs cases pays for them

    try:
        parse_routes(_given(config, "asgi_app_paths"))
    except RouteError as error:
        raise pytest.UsageError(f"--asgi-app-paths: {error}") from None
    _seconds(config)


def _seconds(config: pytest.Config) -> float | None:
    text = _last(config, "asgi_app_timeout")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise pytest.UsageError(f"--asgi-app-timeout {text}: expected seconds, more than 0")
    return seconds


# The application of the run.


def _subject(config: pytest.Config) -> Subject:
    """The application, made once a run and process."""
    if _subject_key in config.stash:
        return config.stash[_subject_key]
    from asgi_conformance.application.routes import parse_routes  # noqa: PLC0415 - as above
    from asgi_conformance.application.subject import HOST, Limits, Subject  # noqa: PLC0415
    from asgiserve.importer import load_application  # noqa: PLC0415

    app, middleware, seconds = _application(config), _last(config, "asgi_middleware"), _seconds(config)
    made = config.stash[_subject_key] = Subject(
        _name(config),
        (lambda: load_application(app)) if app else (lambda: _nothing),
        parse_routes(_given(config, "asgi_app_paths")) or None,
        host=_last(config, "asgi_app_host") or HOST,
        limits=Limits() if seconds is None else Limits(answer=seconds),
        middleware=load_application(middleware) if middleware else None,
    )
    return made


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """In the place of an application, where only a middleware is tested."""
    raise NotImplementedError


def close_application(config: pytest.Config) -> None:
    """End it."""
    if _subject_key in config.stash:
        config.stash[_subject_key].close()


# Items.


def application_cases(config: pytest.Config) -> set[str]:
    """The ids of all cases of this run; empty where no application was named."""
    return {case.id for topic in _topics(config) for case in topic} if _name(config) else set()


def _topics(config: pytest.Config) -> tuple[ApplicationTopic, ...]:
    from asgi_conformance.application.middleware_cases import MIDDLEWARE  # noqa: PLC0415 - as above
    from asgi_conformance.application.topics import TOPICS  # noqa: PLC0415

    return TOPICS if _application(config) else (MIDDLEWARE,)


def collect_application(parent: pytest.Collector, state: State) -> Iterator[pytest.Collector]:
    """A collector for each file of cases and each way of calling the application; nothing where none was named."""
    targets = application_targets(parent.config)
    if not targets:
        return
    from asgi_conformance.application.trial import Way  # noqa: PLC0415 - as above

    topics = _topics(parent.config)
    for way, target in zip(Way, targets, strict=True):
        for topic in topics:
            if any(way in case.ways for case in topic):
                nodeid = f"asgi-conformance/{topic.name}"
                yield _ApplicationTopic.from_parent(parent, name=topic.name, nodeid=nodeid, topic=topic, way=way, target=target, state=state)


class _ApplicationTopic(pytest.Collector):
    """The cases of one file, in one way."""

    def __init__(self, *, topic: ApplicationTopic, way: Way, target: str, state: State, **options: Any) -> None:
        super().__init__(**options)
        self._topic = topic
        self._way = way
        self._target = target
        self._state = state

    def collect(self) -> Iterator[pytest.Item]:
        """Its cases that are selected."""
        from asgi_conformance.application.item import ApplicationCaseItem  # noqa: PLC0415 - as above

        cases: list[ApplicationCase] = [case for case in self._topic if self._way in case.ways]
        for case in cases:
            self._state.rules.add((self._target, case.id))
            if self._state.selected(case.id):
                yield ApplicationCaseItem.from_parent(
                    self,
                    name=f"{case.id}[{_name(self.config)}-{self._way}]",
                    rule=case,
                    way=self._way,
                    target=self._target,
                    topic=self._topic.title,
                    state=self._state,
                    subject=_subject,
                )
