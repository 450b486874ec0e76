"""The pytest plugin: options, the marker, fixtures, and what a test's report says of its servers.

The law of this module: importing it costs next to nothing, as every start of pytest does; what serves is imported when the first fixture is used.
Errors of an application belong to the test that caused them: they are looked at when its call phase ends, and once more when its server has stopped.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from pytest_asgiserve.live import LiveServer
    from pytest_asgiserve.settings import Settings

    _Phase = Literal["setup", "call", "teardown"]

__all__ = ["LiveServerFactory"]

_FIXTURES: Final = frozenset({"live_server", "asgi_server", "live_server_factory", "live_server_module", "live_server_session"})
# By the names under which they are registered: of the entry point, and of the module where `-p` or PYTEST_PLUGINS names that.
_OWNERS: Final = {"pytest-django": ("django", "pytest_django.plugin"), "pytest-flask": ("flask", "pytest_flask.plugin")}
_INI_KEYS: Final = ("asgi_app", "asgi_http", "asgi_errors", "asgi_leaks", "asgi_start_timeout", "asgi_stop_timeout", "asgi_options")
_ADVICE: Final = "A test that wants this says: with live_server.expect_error(...)"
_WHO: Final = ("auto", "always", "never")


class LiveServerFactory(Protocol):
    """What the fixture ``live_server_factory`` is."""

    def __call__(self, app: Any = None, /, **settings: Any) -> LiveServer:
        """Start a server; it is stopped when the test ends.

        Args:
            app: the application; without one that of ``asgi_app``.
            settings: as of `LiveServer`; they are put on top of those of the markers, the command line and the ini file.
        """
        ...


class _State:
    """What the plugin keeps of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.withheld = _withheld(config)
        self.serve = bool(config.getoption("asgi_serve"))
        self.running: list[LiveServer] = []
        self._built: tuple[Settings, list[str]] | None = None
        if self.is_configured:
            self._build()

    @property
    def is_configured(self) -> bool:
        """Whether the command line or the ini file says anything. Where not, nothing of the server is imported before a fixture is used."""
        return any(_given(self._config, name) for name in _INI_KEYS)

    def _build(self) -> tuple[Settings, list[str]]:
        if self._built is None:
            self._built = _build_settings(self._config)
        return self._built

    @property
    def settings(self) -> Settings:
        """Those of the run."""
        return self._build()[0]

    @property
    def parsers(self) -> list[str]:
        """Those of --asgi-http; one at least."""
        return self._build()[1] if self.is_configured else ["auto"]


_state_key: Final = pytest.StashKey[_State]()

# Options.


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line, and the ini key of each."""
    group = parser.getgroup("asgiserve", "live servers (asgiserve)")

    def option(name: str, ini: str, text: str, metavar: str, default: str) -> None:
        group.addoption(name, dest=ini, default=None, metavar=metavar, help=f"{text} Ini key: {ini}." + (f" Default: {default}." if default else ""))
        parser.addini(ini, f"{text}" + (f" Default: {default}." if default else ""), default="")

    option("--asgi-app", "asgi_app", "The application of live servers, as package.module:attribute.", "APP", "")
    option("--asgi-http", "asgi_http", "The parsers to run every live-server test with, separated by commas: httptools, h11.", "PARSERS", "auto")
    option("--asgi-errors", "asgi_errors", "What an unhandled error of the application does to its test: fail, warn or ignore.", "WHAT", "fail")
    option("--asgi-leaks", "asgi_leaks", "What is done about what an application leaves behind: off, warn or fail.", "WHAT", "off")
    option("--asgi-start-timeout", "asgi_start_timeout", "Seconds that a server may take to start.", "SECONDS", "5")
    option("--asgi-stop-timeout", "asgi_stop_timeout", "Seconds that a server may take to stop.", "SECONDS", "5")
    group.addoption(
        "--asgi-option",
        dest="asgi_options",
        action="append",
        default=None,
        metavar="NAME=VALUE",
        help="An option of the server, as in timeout_keep_alive=1. May be given several times. Ini key: asgi_options.",
    )
    parser.addini("asgi_options", "Options of the server, one NAME=VALUE a line.", type="linelist", default=[])
    group.addoption(
        "--asgi-serve",
        action="store_true",
        default=False,
        help="Start the server of the selected test, print its URL and wait for Ctrl+C instead of running the test.",
    )
    parser.addini(
        "asgiserve_live_server",
        "Whether the name live_server is this plugin's: auto (unless pytest-django or pytest-flask is active), always or never.",
        default="auto",
    )


def _given(config: pytest.Config, name: str) -> Any:
    """The value of the command line, else of the ini file; something false where neither has one."""
    value = config.getoption(name)
    return config.getini(name) if value is None else value


def _where(config: pytest.Config, name: str) -> str:
    flag = "--" + name.replace("_", "-")
    return flag if config.getoption(name) is not None else f"ini key {name}"


def _read_options(config: pytest.Config) -> dict[str, str]:
    options = {}
    for item in [*config.getini("asgi_options"), *(config.getoption("asgi_options") or [])]:
        name, equals, value = item.partition("=")
        if not equals:
            raise pytest.UsageError(f"asgi_options: {item!r} is not NAME=VALUE")
        options[name.strip().replace("-", "_")] = value.strip()
    return options


def _build_settings(config: pytest.Config) -> tuple[Settings, list[str]]:
    from asgiserve.config import OPTIONS  # noqa: PLC0415 - see _State.is_configured
    from asgiserve.errors import ConfigError  # noqa: PLC0415
    from pytest_asgiserve.settings import Settings  # noqa: PLC0415

    settings = Settings()
    try:
        for name in ("app", "errors", "leaks", "start_timeout", "stop_timeout"):
            value = _given(config, f"asgi_{name}")
            if value:
                try:
                    settings = settings.merge({name: value})
                except ConfigError as error:
                    raise pytest.UsageError(f"{_where(config, f'asgi_{name}')}: {error}") from None
        parsers = [part.strip() for part in str(_given(config, "asgi_http")).split(",") if part.strip()]
        parsers = list(dict.fromkeys(OPTIONS["http"].parse(parser, source=_where(config, "asgi_http")) for parser in parsers or ["auto"]))
        settings = settings.merge(_read_options(config))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    return settings, parsers


def _withheld(config: pytest.Config) -> str | None:
    """Who has the name ``live_server`` instead of us; empty: nobody; None: we."""
    who = config.getini("asgiserve_live_server")
    if who not in _WHO:
        raise pytest.UsageError(f"ini key asgiserve_live_server: {who!r} is not one of {', '.join(_WHO)}")
    if who == "never":
        return ""
    if who == "auto":
        return "'s or ".join(owner for owner, names in _OWNERS.items() if any(map(config.pluginmanager.hasplugin, names))) or None
    return None


# Whether the run, the files and the report are as they should be.


def pytest_configure(config: pytest.Config) -> None:
    """Check every option, and take the name ``live_server`` where it is free."""
    config.addinivalue_line(
        "markers",
        "asgiserve(app=..., tls=..., uds=..., mode=..., errors=..., leaks=..., lint=..., **options): how the live server of this test is to be; "
        "options are the server's own, as in timeout_keep_alive=1 or limits={'max_body_bytes': 10}; the nearest marker wins.",
    )
    state = config.stash[_state_key] = _State(config)
    if state.serve and config.getoption("dist", "no") != "no":
        raise pytest.UsageError("--asgi-serve waits for one test at the terminal; run it without -n")
    if state.withheld is None:
        config.pluginmanager.register(importlib.import_module("pytest_asgiserve.live_server_fixture"), "asgiserve-live-server")


def pytest_report_header(config: pytest.Config) -> str | None:
    """One line, where something is to be said."""
    state = config.stash[_state_key]
    parts = _describe_settings(state) if state.is_configured else []
    if state.withheld:
        parts.append(f"live_server is {state.withheld}'s, ours is asgi_server")
    return f"asgiserve: {'; '.join(parts)}" if parts else None


def _describe_settings(state: _State) -> list[str]:
    settings = state.settings
    parts = []
    if settings.app is not None:
        parts.append(f"asgi_app {settings.app}")
    if state.parsers != ["auto"]:
        parts.append(f"http {', '.join(state.parsers)}")
    parts += [f"{name} {value}" for name, value, usual in (("errors", settings.errors, "fail"), ("leaks", settings.leaks, "off")) if value != usual]
    return parts + [f"{name}={value}" for name, value in settings.options.items()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run live-server tests with every parser of --asgi-http."""
    parsers = metafunc.config.stash[_state_key].parsers
    if len(parsers) > 1 and "_asgi_http" in metafunc.fixturenames:
        chosen = any("http" in marker.kwargs for marker in metafunc.definition.iter_markers("asgiserve"))
        if not chosen:
            metafunc.parametrize("_asgi_http", parsers, indirect=True, scope="session")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Import the clients before any fixture can put a mock into httpx."""
    if any(not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) for item in session.items):
        with contextlib.suppress(ImportError):
            # Without httpx the tests that ask for a client say so.
            importlib.import_module("pytest_asgiserve.clients")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """A server of a wider scope forgets what other tests did. Its errors in a setup that fails are told there; else the test has them."""
    __tracebackhide__ = True
    state = item.config.stash[_state_key]
    for server in state.running:
        server.forget_exchanges()
    try:
        return (yield)
    except BaseException as error:
        _add_note(error, item, state, "setup")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """An application's error fails the test that caused it."""
    __tracebackhide__ = True
    return (yield from _watch(item, "call"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """What went wrong since, in a server of a wider scope, is still this test's and not the next one's."""
    __tracebackhide__ = True
    return (yield from _watch(item, "teardown"))


def _watch(item: pytest.Item, when: _Phase) -> Generator[None, object, object]:
    __tracebackhide__ = True
    state = item.config.stash[_state_key]
    try:
        result = yield
    except BaseException as error:
        _add_note(error, item, state, when)
        raise
    text, failing = _collect(item, state, when)
    if failing:
        _fail(text)
    return result


def _fail(reason: str) -> NoReturn:
    # Not hidden: where every frame is, pytest adds a line that says so. It shows none of this one either.
    pytest.fail(reason, pytrace=False)


def _add_note(error: BaseException, item: pytest.Item, state: _State, when: _Phase) -> None:
    text, _ = _collect(item, state, when)
    if text:
        error.add_note(f"{text}\nThe traceback is in the section 'Captured asgi server {when}'.")


def _collect(item: pytest.Item, state: _State, when: _Phase) -> tuple[str, bool]:
    """What went wrong in the servers of this test: in words, and whether it fails the test. Tracebacks go into a section of the report."""
    texts = []
    failing = False
    for server in state.running:
        output, text, fails = _take(server, full=item.config.getoption("fulltrace"))
        if output:
            item.add_report_section(when, "asgi server", output)
        if text:
            texts.append(text)
            failing = failing or fails
    return "\n".join(texts), failing


def _take(server: LiveServer, *, full: bool) -> tuple[str, str, bool]:
    """The section, the summary and whether it fails; a warning is given here."""
    from pytest_asgiserve.failures import describe_errors, format_errors  # noqa: PLC0415 - as above
    from pytest_asgiserve.live import ApplicationErrorWarning  # noqa: PLC0415

    output = server.take_output()
    errors = server.take_errors()
    if not errors:
        return output, "", False
    text = describe_errors(errors)
    section = "\n".join(part for part in (output, format_errors(errors, full=full)) if part)
    if server.settings.errors == "warn":
        server.warn(text, ApplicationErrorWarning)
        return section, "", False
    return section, text if errors[0].place == "process" else f"{text}\n{_ADVICE}", True


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """--asgi-serve: show the servers of the test, and wait."""
    state = pyfuncitem.config.stash[_state_key]
    if not state.serve or not state.running:
        return None
    import threading  # noqa: PLC0415 - only here

    reporter = pyfuncitem.config.pluginmanager.getplugin("terminalreporter")
    capture = pyfuncitem.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    lines = [f"\n{pyfuncitem.nodeid} is served at:", *(f"  {server.url}{f' on {server.uds}' if server.uds else ''}" for server in state.running)]
    for line in [*lines, "Ctrl+C ends this test."]:
        if reporter is not None:
            reporter.write_line(line)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    if capture is not None:
        capture.resume_global_capture()
    return True


# Fixtures.


@contextlib.contextmanager
def _serve_or_fail(request: pytest.FixtureRequest, app: Any, parser: str) -> Iterator[LiveServer]:
    """For a fixture: what keeps a server from starting or stopping is the report, without the frames of ours."""
    from asgiserve.errors import StartupError  # noqa: PLC0415 - as above
    from pytest_asgiserve.live import LeakError  # noqa: PLC0415
    from pytest_asgiserve.unstoppable import StartTimeoutError, StopTimeoutError, describe_start_failure  # noqa: PLC0415

    try:
        server = _start(request, _settings(request, app, parser))
        try:
            yield server
        finally:
            _finish(request, server)
        return
    except (StartupError, StartTimeoutError, StopTimeoutError, LeakError) as error:
        reason = describe_start_failure(error) if isinstance(error, StartupError) else str(error)
        reason = "\n".join([reason, *getattr(error, "__notes__", ())])
    pytest.fail(reason, pytrace=False)


def _start(request: pytest.FixtureRequest, settings: Settings) -> LiveServer:
    __tracebackhide__ = True
    from pytest_asgiserve.live import LiveServer, attach  # noqa: PLC0415 - the server is imported with the first that is started

    if settings.app is None:
        from pytest_asgiserve.settings import NO_APPLICATION  # noqa: PLC0415

        pytest.fail(NO_APPLICATION, pytrace=False)
    if isinstance(settings.app, str) and "app_dir" not in settings.options:
        # A name is looked for beside the ini file, wherever pytest was started.
        settings = settings.merge({"app_dir": str(request.config.rootpath)})
    server = LiveServer.from_settings(settings)
    if isinstance(request.node, pytest.Item):
        server.blamed = (str(request.node.path), (request.node.location[1] or 0) + 1)
    server.start()
    request.config.stash[_state_key].running.append(server)
    attach(getattr(request, "instance", None), server)
    return server


def _finish(request: pytest.FixtureRequest, server: LiveServer) -> None:
    __tracebackhide__ = True
    request.config.stash[_state_key].running.remove(server)
    failed: BaseException | None = None
    try:
        server.stop()
    except BaseException as error:  # noqa: BLE001 - raised below, with what the application did
        failed = error
    output, text, failing = _take(server, full=request.config.getoption("fulltrace"))
    if output and isinstance(request.node, pytest.Item):
        request.node.add_report_section("teardown", "asgi server", output)
    elif output and text:
        # A module or a session has no report of its own.
        text += f"\n{output}"
    if failed is not None:
        if text:
            failed.add_note(text)
        raise failed
    if failing:
        _fail(text)


def _settings(request: pytest.FixtureRequest, app: Any, parser: str, given: Mapping[str, Any] | None = None) -> Settings:
    """The layers, nearest last: the run's, the application fixture's, the markers', the call's."""
    __tracebackhide__ = True
    from asgiserve.errors import ConfigError  # noqa: PLC0415 - as above

    # A name is looked for beside the ini file, wherever pytest was started.
    layers: list[Mapping[str, Any]] = [{"app_dir": str(request.config.rootpath)}]
    if parser != "auto":
        layers.append({"http": parser})
    if app is not None:
        layers.append({"app": app})
    for marker in reversed(list(request.node.iter_markers("asgiserve"))):
        if marker.args:
            pytest.fail(f"@pytest.mark.asgiserve takes keyword arguments only, as in app=..., not {marker.args!r}", pytrace=False)
        layers.append(marker.kwargs)
    try:
        settings = request.config.stash[_state_key].settings.merge(*layers)
    except ConfigError as error:
        reason = f"@pytest.mark.asgiserve: {error}"
    else:
        return settings.merge(given) if given else settings
    pytest.fail(reason, pytrace=False)


@pytest.fixture(scope="session")
def asgi_app(request: pytest.FixtureRequest) -> Any:
    """The application of live servers: override it, or name one with --asgi-app or the ini key asgi_app."""
    return request.config.stash[_state_key].settings.app


@pytest.fixture(scope="session")
def _asgi_http(request: pytest.FixtureRequest) -> str:
    """The parser: the only one of --asgi-http, or the one whose turn it is."""
    parser: str = getattr(request, "param", request.config.stash[_state_key].parsers[0])
    return parser


@pytest.fixture
def asgi_server(request: pytest.FixtureRequest, asgi_app: Any, _asgi_http: str) -> Iterator[LiveServer]:
    """A real server for this test, on a port of 127.0.0.1 that the system chose. live_server by a name that is nobody else's."""
    with _serve_or_fail(request, asgi_app, _asgi_http) as server:
        yield server


@pytest.fixture
def live_server_factory(request: pytest.FixtureRequest, asgi_app: Any, _asgi_http: str) -> Iterator[LiveServerFactory]:
    """Starts servers for this test, as many as you call it, with an application and settings of their own."""
    with contextlib.ExitStack() as servers:

        def start(app: Any = None, /, **settings: Any) -> LiveServer:
            __tracebackhide__ = True
            if app is not None:
                settings["app"] = app
            server = _start(request, _settings(request, asgi_app, _asgi_http, settings))
            servers.callback(_finish, request, server)
            return server

        yield start


@pytest.fixture(scope="module")
def live_server_module(request: pytest.FixtureRequest, asgi_app: Any, _asgi_http: str) -> Iterator[LiveServer]:
    """One server for all tests of a module that ask for it; markers of the module count."""
    with _serve_or_fail(request, asgi_app, _asgi_http) as server:
        yield server


@pytest.fixture(scope="session")
def live_server_session(request: pytest.FixtureRequest, asgi_app: Any, _asgi_http: str) -> Iterator[LiveServer]:
    """One server for the whole run."""
    with _serve_or_fail(request, asgi_app, _asgi_http) as server:
        yield server
