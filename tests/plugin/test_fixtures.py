"""The fixtures: which application they serve, with which options, for how long, and what a mistake in that says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunPytest

# Every run finds the applications of shop.py.
pytestmark = pytest.mark.usefixtures("app_file")

NAMED = """
import pytest
from shop import make

def name(server):
    return server.client.get("/").text
"""


# ---- where the application comes from ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["the command line", "the ini file", "a fixture"])
def test_the_application_comes_from(run_pytest: RunPytest, given: str) -> None:
    source = NAMED + "def test_it(live_server):\n    assert name(live_server) == 'shop'\n"
    fixture = "import pytest\nfrom shop import app\n@pytest.fixture(scope='session')\ndef asgi_app():\n    return app\n"
    result = run_pytest(
        source,
        *(["--asgi-app", "shop:app"] if given == "the command line" else []),
        ini="asgi_app = shop:app" if given == "the ini file" else "",
        conftest=fixture if given == "a fixture" else "",
    )
    result.assert_outcomes(passed=1)


def test_the_nearest_application_wins(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
pytestmark = pytest.mark.asgiserve(app=make("module"))

def test_the_module_before_the_command_line(live_server):
    assert name(live_server) == "module"

@pytest.mark.asgiserve(app=make("test"))
def test_the_test_before_its_module(live_server):
    assert name(live_server) == "test"

@pytest.mark.asgiserve(app=make("class"))
class TestClass:
    def test_the_class_before_its_module(self, live_server):
        assert name(live_server) == "class"

    @pytest.mark.asgiserve(app=make("far"))
    @pytest.mark.asgiserve(app="shop:admin")
    def test_the_test_before_its_class_and_the_marker_next_to_it_first(self, live_server):
        assert name(live_server) == "admin"

    def test_a_call_of_the_factory_before_everything(self, live_server_factory):
        assert name(live_server_factory(make("call"))) == "call"
        assert name(live_server_factory()) == "class"

@pytest.mark.asgiserve(http="h11")
def test_a_marker_without_an_application_leaves_the_module_s(live_server):
    assert name(live_server) == "module"
""",
        "--asgi-app=shop:admin",
    ).assert_outcomes(passed=6)


def test_the_command_line_wins_over_the_ini_file_and_a_fixture_over_both(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
def test_command_line(live_server):
    assert name(live_server) == "admin"

class TestFixture:
    @pytest.fixture
    def asgi_app(self, asgi_app):
        assert asgi_app == "shop:admin"
        return make("fixture")

    def test_fixture(self, live_server):
        assert name(live_server) == "fixture"
""",
        "--asgi-app=shop:admin",
        ini="asgi_app = shop:app",
    ).assert_outcomes(passed=2)


def test_an_application_is_an_object_a_name_or_a_factory(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
import shop

@pytest.mark.parametrize(("app", "factory", "expected"), [
    (shop.app, False, "shop"), ("shop:admin", False, "admin"), ("shop:create", True, "created"), (shop.create, True, "created"),
])
def test_it(live_server_factory, app, factory, expected):
    assert name(live_server_factory(app, factory=factory)) == expected

@pytest.mark.asgiserve(app=shop.create, factory=True)
def test_marker(live_server):
    assert name(live_server) == "created"
"""
    ).assert_outcomes(passed=5)


def test_a_fixture_without_an_application_says_how_to_name_one(run_pytest: RunPytest) -> None:
    result = run_pytest("def test_it(live_server):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["live_server has no application. Name one in one of these ways: a fixture `asgi_app`*--asgi-app*"])
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_the_factory_without_an_application_says_how_to_name_one(run_pytest: RunPytest) -> None:
    result = run_pytest("def test_it(live_server_factory):\n    live_server_factory()\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*live_server has no application. Name one in one of these ways*"])


def test_a_parametrised_application_is_one_server_each(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
seen = []

@pytest.fixture(params=["one", "two"])
def asgi_app(request):
    return make(request.param)

def test_it(live_server, request):
    seen.append((name(live_server), live_server.url))

def test_both():
    assert [text for text, _ in seen] == ["one", "two"] and len({url for _, url in seen}) == 2
"""
    ).assert_outcomes(passed=3)


# ---- the names and scopes of the fixtures ------------------------------------------------------------------------------------------


def test_the_fixtures_and_their_scopes(run_pytest: RunPytest) -> None:
    # No ScopeMismatch: the application and the parser are of the session.
    module = """
def test_one(live_server, live_server_module, live_server_session, seen):
    seen.append((live_server.url, live_server_module.url, live_server_session.url))

def test_two(live_server, live_server_module, live_server_session, seen):
    seen.append((live_server.url, live_server_module.url, live_server_session.url))
"""
    run_pytest(
        files={"test_a": module, "test_b": module},
        ini="asgi_app = shop:app",
        conftest="""
import pytest

@pytest.fixture(scope="session")
def seen():
    seen = []
    yield seen
    # How many servers there were of each scope. A port may come again once its server is gone, so two that follow each other are told apart.
    function, module, session = zip(*seen)
    assert len(set(session)) == 1 and module[0] == module[1] and module[2] == module[3]
    assert not {*function} & {*module, *session} and not {*module} & {*session}

@pytest.fixture(scope="session")
def asgi_app():
    import shop
    return shop.app
""",
    ).assert_outcomes(passed=4)


def test_live_server_is_asgi_server(run_pytest: RunPytest) -> None:
    run_pytest("def test_it(live_server, asgi_server):\n    assert live_server is asgi_server\n", "--asgi-app=shop:app").assert_outcomes(passed=1)


def test_an_application_of_a_narrower_scope_than_its_server_is_pytest_s_own_error(run_pytest: RunPytest) -> None:
    result = run_pytest(
        NAMED
        + """
@pytest.fixture
def asgi_app():
    return make("shop")

def test_function(live_server):
    pass

def test_module(live_server_module):
    pass
"""
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ScopeMismatch*"])


def test_a_module_s_server_is_made_with_the_markers_of_the_module(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
pytestmark = pytest.mark.asgiserve(app=make("module"), root_path="/api")

@pytest.mark.asgiserve(app=make("test"))
def test_it(live_server_module, live_server):
    assert name(live_server_module) == "module" and name(live_server) == "test"
    assert live_server_module.server.config.app.root_path == live_server.server.config.app.root_path == "/api"
"""
    ).assert_outcomes(passed=1)


def test_the_factory_starts_several_servers_that_talk_to_each_other(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
import asyncio, urllib.request
kept = []

def front(upstream):
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(upstream + scope["path"], timeout=5).read())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"front of " + body})
    return app

def test_two(live_server_factory):
    back = live_server_factory(make("back"))
    server = live_server_factory(front(back.url))
    assert name(server) == "front of back"
    assert [one.path for one in back.exchanges()] == ["/"]
    kept.extend([back, server])

def test_they_are_stopped():
    import socket
    assert len(kept) == 2
    for server in kept:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port), 5)

def test_an_error_in_the_second_fails_the_test(live_server_factory):
    back = live_server_factory(make("back"))
    front = live_server_factory(make("front"))
    assert name(back) == "back" and front.client.get("/boom").status_code == 500
"""
    ).assert_outcomes(passed=2, failed=1)


# ---- options -----------------------------------------------------------------------------------------------------------------------


def test_options_of_the_server_are_merged_the_nearest_wins(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
pytestmark = pytest.mark.asgiserve(app=make("x"), limits={"max_body_bytes": 10, "max_field_count": 20}, root_path="/module")

def test_of_the_module(live_server):
    config = live_server.server.config
    assert (config.limits.max_body_bytes, config.limits.max_field_count) == (10, 20)
    assert (config.timeouts.timeout_keep_alive, config.limits.max_keep_alive_count, config.app.root_path) == (3, 7, "/module")

@pytest.mark.asgiserve(limits={"max_body_bytes": 11}, timeouts={"timeout_keep_alive": 4})
class TestClass:
    def test_a_section_is_merged_name_by_name(self, live_server):
        config = live_server.server.config
        assert (config.limits.max_body_bytes, config.limits.max_field_count, config.timeouts.timeout_keep_alive) == (11, 20, 4)

    @pytest.mark.asgiserve(max_body_bytes="12KiB", root_path="/test")
    def test_a_name_alone_is_the_same_as_in_its_section(self, live_server):
        config = live_server.server.config
        assert (config.limits.max_body_bytes, config.limits.max_field_count, config.app.root_path) == (12 * 1024, 20, "/test")

    @pytest.mark.asgiserve(max_body_bytes=12)
    def test_the_factory_is_nearest(self, live_server_factory):
        config = live_server_factory(limits={"max_body_bytes": 13}).server.config
        assert (config.limits.max_body_bytes, config.limits.max_field_count) == (13, 20)

@pytest.mark.asgiserve(max_body_bytes=1)
class TestTheOrderIsThatOfTheMarkers:
    @pytest.mark.asgiserve(max_body_bytes=3)
    @pytest.mark.asgiserve(limits={"max_body_bytes": 2})
    def test_section_next_to_it(self, live_server):
        assert live_server.server.config.limits.max_body_bytes == 2

    @pytest.mark.asgiserve(limits={"max_body_bytes": 4})
    @pytest.mark.asgiserve(max_body_bytes=3)
    def test_name_next_to_it(self, live_server):
        assert live_server.server.config.limits.max_body_bytes == 3
""",
        "--asgi-option=timeout-keep-alive=3",
        ini="asgi_options =\n  timeout_keep_alive=2\n  max_keep_alive_count = 7",
    ).assert_outcomes(passed=6)


def test_own_settings_may_stand_among_the_options(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
def test_it(live_server):
    assert name(live_server) == "shop"
    assert live_server.uds and live_server.url == "http://localhost" and live_server.settings.errors == "warn"

@pytest.mark.asgiserve(uds=False, errors="fail")
def test_near(live_server):
    assert live_server.uds is None and live_server.settings.errors == "fail" and name(live_server) == "shop"
""",
        "--asgi-option=uds=true",
        "--asgi-option=errors=warn",
        "--asgi-option=tls=no",
        "--asgi-app=shop:app",
    ).assert_outcomes(passed=2)


def test_a_nearer_choice_of_the_address_replaces_one_that_is_further(run_pytest: RunPytest) -> None:
    run_pytest(
        NAMED
        + """
pytestmark = pytest.mark.asgiserve(app=make("x"), uds="named.sock")

def test_a_path(live_server):
    assert live_server.uds.endswith("named.sock") and name(live_server) == "x"

@pytest.mark.asgiserve(uds=True)
def test_any_path(live_server):
    assert not live_server.uds.endswith("named.sock") and name(live_server) == "x"

@pytest.mark.asgiserve(uds=False)
def test_no_path(live_server):
    assert live_server.uds is None and name(live_server) == "x"
"""
    ).assert_outcomes(passed=3)


MARKERS = [
    ("positional", "'shop:app'", "@pytest.mark.asgiserve takes keyword arguments only, as in app=..., not ('shop:app',)"),
    ("unknown", "time_out_keep_alive=1", "@pytest.mark.asgiserve: *time_out_keep_alive*did you mean timeout_keep_alive*"),
    (
        "in-section",
        "limits={'max_body': 1}",
        "@pytest.mark.asgiserve: limits={'max_body': ...}: 'max_body' is not an option; did you mean *max_body_bytes*",
    ),
    ("section", "limits=5", "@pytest.mark.asgiserve: limits=5: expected a mapping, as in limits={'*': ...}"),
    (
        "wrong-section",
        "limits={'timeout_keep_alive': 1}",
        "@pytest.mark.asgiserve: limits={'timeout_keep_alive': ...}: it belongs into timeouts={...}",
    ),
    ("value", "max_body_bytes='lots'", "@pytest.mark.asgiserve: --max-body-bytes: 'lots' is not *"),
    ("mode", "mode='fork'", "@pytest.mark.asgiserve: mode='fork': expected one of thread, process"),
    ("errors", "errors='no'", "@pytest.mark.asgiserve: errors='no': expected one of fail, warn, ignore"),
    ("leaks", "leaks=True", "@pytest.mark.asgiserve: leaks=True: expected one of off, warn, fail"),
    ("tls", "tls='maybe'", "@pytest.mark.asgiserve: tls='maybe': expected True or False"),
    ("start", "start_timeout=0", "@pytest.mark.asgiserve: start_timeout=0: expected seconds, more than 0"),
    ("stop", "stop_timeout='soon'", "@pytest.mark.asgiserve: stop_timeout='soon': expected seconds, more than 0"),
    ("http", "http='h3'", "@pytest.mark.asgiserve: --http: 'h3' is not *"),
]


def test_a_mistake_in_a_marker_is_one_line(run_pytest: RunPytest) -> None:
    tests = "\n".join(f"@pytest.mark.asgiserve({given})\ndef test_{name.replace('-', '_')}(live_server):\n    pass\n" for name, given, _ in MARKERS)
    result = run_pytest(NAMED + tests, "--asgi-app=shop:app", "--no-header")
    result.assert_outcomes(errors=len(MARKERS))
    for name, _, message in MARKERS:
        # The line stands alone below its heading: no frame, no source.
        result.stdout.fnmatch_lines_random([f"*ERROR at setup of test_{name.replace('-', '_')} *"])
        result.stdout.fnmatch_lines_random([message.replace("[", "[[]")])
    result.stdout.no_fnmatch_line("*plugin.py*")


# Arguments, ini, and what is said of them.
RUN_MISTAKES = [
    pytest.param(["--asgi-http=h11,h3"], "", "ERROR: --http: 'h3' is not *--asgi-http*", id="--asgi-http"),
    pytest.param([], "asgi_http = h3", "ERROR: --http: 'h3' is not *ini key asgi_http*", id="asgi_http"),
    pytest.param(["--asgi-errors=no"], "", "ERROR: --asgi-errors: errors='no': expected one of fail, warn, ignore", id="--asgi-errors"),
    pytest.param([], "asgi_errors = no", "ERROR: ini key asgi_errors: errors='no': expected one of fail, warn, ignore", id="asgi_errors"),
    pytest.param(["--asgi-leaks=all"], "", "ERROR: --asgi-leaks: leaks='all': expected one of off, warn, fail", id="--asgi-leaks"),
    pytest.param(["--asgi-start-timeout=0"], "", "ERROR: --asgi-start-timeout: start_timeout='0': expected seconds*", id="--asgi-start-timeout"),
    pytest.param([], "asgi_stop_timeout = x", "ERROR: ini key asgi_stop_timeout: stop_timeout='x': expected seconds*", id="asgi_stop_timeout"),
    pytest.param(["--asgi-option=timeout"], "", "ERROR: *'timeout' is not NAME=VALUE", id="--asgi-option"),
    pytest.param(["--asgi-option=tim_keep_alive=1"], "", "ERROR: *tim_keep_alive*did you mean*timeout_keep_alive*", id="unknown"),
    pytest.param([], "asgi_options = max_body_bytes=x", "ERROR: --max-body-bytes: 'x' is not *", id="asgi_options"),
    pytest.param([], "asgiserve_live_server = no", "ERROR: ini key asgiserve_live_server: 'no' is not one of auto, always, never", id="live_server"),
]


@pytest.mark.parametrize(("args", "ini", "message"), RUN_MISTAKES)
def test_a_mistake_in_an_option_of_the_run_is_one_line_and_a_usage_error(run_pytest: RunPytest, args: list[str], ini: str, message: str) -> None:
    result = run_pytest("def test_it():\n    pass\n", *args, ini=ini)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.stderr.lines if line.strip()]
    assert len(lines) == 1, lines
    result.stderr.fnmatch_lines([message])


# ---- the parsers -------------------------------------------------------------------------------------------------------------------

PARSED = """
import pytest
from shop import make

def test_function(live_server):
    assert live_server.client.get("/").status_code == 200
    assert type(live_server.server.parser).__name__ == "ParserFactory"

def test_without_a_server():
    pass

def test_factory(live_server_factory, request):
    server = live_server_factory()
    assert server.server.config.http.http in request.node.name or "[" not in request.node.name

@pytest.mark.asgiserve(http="h11")
def test_chosen(live_server):
    assert live_server.server.config.http.http == "h11"

def test_module(live_server_module, live_server_session, request):
    for server in (live_server_module, live_server_session):
        assert server.client.get("/").status_code == 200
        assert f"[{server.server.config.http.http}]" in request.node.name or "[" not in request.node.name
"""


def test_one_parser_changes_no_name(run_pytest: RunPytest) -> None:
    result = run_pytest(PARSED, "-v", "--asgi-http=h11", "--asgi-app=shop:app")
    result.assert_outcomes(passed=5)
    assert not [line for line in result.stdout.lines if "::test_" in line and "PASSED" in line and "[" in line.partition(" ")[0]]


def test_two_parsers_run_every_test_with_both(run_pytest: RunPytest) -> None:
    pytest.importorskip("httptools", reason="one of the two parsers")
    result = run_pytest(PARSED, "-v", "--asgi-app=shop:app", ini="asgi_http = httptools, h11, h11")
    # function, factory and module twice, the others once.
    result.assert_outcomes(passed=8)
    for name in ("function[[]httptools]", "function[[]h11]", "factory[[]h11]", "module[[]httptools]", "module[[]h11]", "chosen", "without_a_server"):
        result.stdout.fnmatch_lines_random([f"*::test_{name} PASSED*"])


# ---- the run -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([], None),
        (["--asgi-app=shop:app"], "asgiserve: asgi_app shop:app"),
        (["--asgi-http=h11", "--asgi-errors=warn", "--asgi-leaks=fail"], "asgiserve: http h11; errors warn; leaks fail"),
        (["--asgi-option=max_body_bytes=10"], "asgiserve: max_body_bytes=10"),
    ],
    ids=["nothing-said", "application", "choices", "option"],
)
def test_the_header_has_one_line_where_something_is_said(run_pytest: RunPytest, args: list[str], line: str | None) -> None:
    result = run_pytest("def test_it():\n    pass\n", *args)
    result.assert_outcomes(passed=1)
    lines = [one for one in result.stdout.lines if one.startswith("asgiserve:")]
    assert lines == ([line] if line is not None else [])


@pytest.mark.parametrize(
    "args",
    [
        ["-p", "no:logging"],
        ["-p", "no:terminal"],
        ["-p", "no:capture"],
        ["-p", "no:warnings"],
        ["-p", "no:unittest"],
        ["--strict-markers", "--strict-config"],
        ["--import-mode=importlib"],
        ["-s"],
        ["-q", "-q"],
    ],
    ids=" ".join,
)
def test_a_run_with(run_pytest: RunPytest, args: list[str]) -> None:
    source = """
import pytest

@pytest.mark.asgiserve(app="shop:app")
def test_it(live_server):
    assert live_server.client.get("/").text == "shop"

@pytest.mark.asgiserve(app="shop:app")
def test_error(live_server):
    live_server.client.get("/boom")
"""
    result = run_pytest(source, *args)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    if "no:terminal" not in args and "-q" not in args:
        result.assert_outcomes(passed=1, failed=1)


def test_help_markers_and_fixtures_speak_of_it(run_pytest: RunPytest) -> None:
    text = run_pytest("", "--help").stdout.str()
    words = " ".join(text.split())
    assert "live servers (asgiserve):" in words
    for flag in ("app", "http", "errors", "leaks", "start-timeout", "stop-timeout", "option", "serve"):
        assert f"--asgi-{flag}" in words
    for key in ("asgi_app", "asgi_http", "asgi_errors", "asgi_leaks", "asgi_start_timeout", "asgi_stop_timeout", "asgi_options"):
        assert f"Ini key: {key}." in words
        assert f" {key} (" in words
    assert "asgiserve_live_server (string):" in words
    assert "@pytest.mark.asgiserve(app=..., tls=..." in run_pytest("", "--markers").stdout.str()
    shown = run_pytest("", "--fixtures").stdout.str()
    for name in (
        "asgi_app [[]session scope]",
        "asgi_server",
        "live_server",
        "live_server_factory",
        "live_server_module [[]module",
        "live_server_session",
    ):
        assert name.replace("[[]", "[") in shown
    assert "no docstring" not in shown.partition("live_server")[2]


def test_fixtures_have_names_that_are_ours_alone(run_pytest: RunPytest) -> None:
    shown = run_pytest("", "--fixtures", "-v").stdout.lines
    ours = {line.split()[0] for line in shown if "pytest_asgiserve" in line and " -- " in line}
    assert ours == {"asgi_app", "asgi_server", "live_server", "live_server_factory", "live_server_module", "live_server_session", "_asgi_http"}


# ---- what it costs -----------------------------------------------------------------------------------------------------------------

HEAVY = ("httpx", "websockets", "trustme", "cryptography", "uvloop", "httptools", "h11", "click", "ssl", "asgiserve.server", "asgiserve.config")
IMPORTED = f"""
import json, sys
before = set(sys.modules)
{{code}}
print(json.dumps(sorted(name for name in set(sys.modules) - before if name.startswith("asgiserve") or name in {HEAVY!r})))
"""


@pytest.mark.parametrize(
    "code",
    [
        "import pytest; before = set(sys.modules); import pytest_asgiserve.plugin",
        "import pytest; before = set(sys.modules); import pytest_asgiserve",
        """import pytest, io, contextlib
with contextlib.redirect_stdout(io.StringIO()):
    pytest.main(['-p', 'pytest_asgiserve.plugin', '-p', 'no:cacheprovider', '-q', 'test_nothing.py'])""",
    ],
    ids=["plugin", "package", "a whole run without live servers"],
)
@pytest.mark.usefixtures("run_pytest")
def test_importing_the_plugin_imports_nothing_of_the_server(pytester: pytest.Pytester, code: str) -> None:
    pytester.makepyfile(test_nothing="def test_it():\n    pass\n")
    done = subprocess.run([sys.executable, "-c", IMPORTED.replace("{code}", code)], capture_output=True, text=True, check=True, timeout=30)
    # The package itself is a docstring and names.
    assert set(json.loads(done.stdout.splitlines()[-1])) <= {"asgiserve"}
