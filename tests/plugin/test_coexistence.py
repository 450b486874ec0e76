"""Our plugin beside the real plugins of others, in both orders: who has the name ``live_server``, and that nobody's tests break.

Each run is a pytest of its own, in a process of its own: what Django and others set up cannot be taken back.
What is theirs is asserted only as far as the documentation tells users about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.plugin.conftest import RunPytest

OURS = "pytest_asgiserve.plugin"


def both_orders(*others: str) -> list[list[str]]:
    return [[OURS, *others], [*others, OURS]]


def header(result: pytest.RunResult) -> list[str]:
    """Our lines in the head of the report."""
    return [line for line in result.outlines if line.startswith("asgiserve: ")]


def order(plugins: Sequence[str]) -> str:
    return "ours first" if plugins[0] == OURS else "ours last"


# ---- nobody else ---------------------------------------------------------------------------------------------------------------------

WHO = """
import pytest
from pytest_asgiserve import LiveServer

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ours"})

pytestmark = pytest.mark.asgiserve(app=app)

def test_ours(asgi_server):
    assert asgi_server.client.get("/").text == "ours"

def test_the_name(live_server):
    assert type(live_server) is LiveServer and live_server.client.get("/").text == "ours"
"""


@pytest.mark.parametrize("who", ["auto", "always"])
def test_alone_the_name_is_ours(run_pytest: RunPytest, who: str) -> None:
    result = run_pytest(WHO, ini=f"asgiserve_live_server = {who}")
    result.assert_outcomes(passed=2)
    assert header(result) == []


def test_never_leaves_the_name_to_nobody(run_pytest: RunPytest) -> None:
    result = run_pytest(WHO, ini="asgiserve_live_server = never")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'live_server' not found"])
    assert header(result) == []


@pytest.mark.parametrize("who", ["auto", "always", "never"])
def test_a_fixture_of_the_user_s_own_conftest_wins_over_ours(run_pytest: RunPytest, who: str) -> None:
    run_pytest(
        WHO.replace("def test_the_name(live_server):", "def test_the_name(live_server):\n    assert live_server == 'mine'\n    return\n"),
        conftest="import pytest\n@pytest.fixture\ndef live_server():\n    return 'mine'\n",
        ini=f"asgiserve_live_server = {who}",
    ).assert_outcomes(passed=2)


# ---- pytest-django -------------------------------------------------------------------------------------------------------------------

# A project as startproject makes it, as far as it matters: CommonMiddleware is what looks at ALLOWED_HOSTS.
DJANGO = {
    "site_settings": """
        import os
        SECRET_KEY = "for tests"
        ROOT_URLCONF = "site_urls"
        STATIC_URL = "static/"
        INSTALLED_APPS = ["notes"]
        MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
        DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
        TEST = {"NAME": None if "IN_MEMORY" in os.environ else "test.sqlite3"}
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "unused.sqlite3", "TEST": TEST}}
        """,
    "site_urls": """
        import threading
        from django.http import JsonResponse
        from django.urls import path
        from django.views.decorators.csrf import csrf_exempt
        from notes.models import Note

        @csrf_exempt
        def notes(request):
            if request.method == "POST":
                Note.objects.create(text=request.body.decode())
            kind = "asgi" if hasattr(request, "scope") else "wsgi"
            return JsonResponse({"kind": kind, "notes": [note.text for note in Note.objects.order_by("id")]})

        async def asynchronous(request):
            return JsonResponse({"kind": "asgi", "notes": [note.text async for note in Note.objects.order_by("id")]})

        def hello(request):
            return JsonResponse({"hello": request.get_host()})

        urlpatterns = [path("notes", notes), path("async", asynchronous), path("hello", hello)]
        """,
    "site_asgi": """
        from django.core.asgi import get_asgi_application
        application = get_asgi_application()
        """,
}
WITH_SETTINGS = "DJANGO_SETTINGS_MODULE = site_settings\nasgi_app = site_asgi:application\n"

THEIRS = """
import json, urllib.request
import pytest
from notes.models import Note
from pytest_django.live_server_helper import LiveServer

def test_theirs(live_server):
    assert type(live_server) is LiveServer
    Note.objects.create(text="from the test")
    with urllib.request.urlopen(live_server.url + "/notes", timeout=10) as response:
        assert json.load(response) == {"kind": "wsgi", "notes": ["from the test"]}
"""

# Without the alias nobody has told Django that the server's host is allowed, as pytest-django does for its own server.
OURS_WITH_DATABASE = """
import pytest
from notes.models import Note

@pytest.mark.django_db(transaction=True)
def test_both_see_what_the_other_one_writes(asgi_server, settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    Note.objects.create(text="from the test")
    assert asgi_server.client.get("/notes").json() == {"kind": "asgi", "notes": ["from the test"]}
    assert asgi_server.client.get("/async").json() == {"kind": "asgi", "notes": ["from the test"]}
    assert asgi_server.client.post("/notes", content="from the server").status_code == 200
    assert [note.text for note in Note.objects.order_by("id")] == ["from the test", "from the server"]

@pytest.mark.django_db(transaction=True)
def test_the_next_test_starts_with_an_empty_table(asgi_server, settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    assert asgi_server.client.get("/notes").json()["notes"] == []

def test_without_a_database_as_well(asgi_server, settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    assert asgi_server.client.get("/hello").json() == {"hello": asgi_server.url.removeprefix("http://")}

@pytest.mark.django_db
def test_a_host_that_is_not_allowed_is_Django_s_affair(asgi_server):
    assert asgi_server.client.get("/hello").status_code == 400
"""


@pytest.fixture
def django(pytester: pytest.Pytester) -> None:
    for name, text in DJANGO.items():
        pytester.makepyfile(**{name: text})
    pytester.mkpydir("notes").joinpath("models.py").write_text(
        "from django.db import models\n\nclass Note(models.Model):\n    text = models.TextField()\n", encoding="utf-8"
    )


@pytest.mark.usefixtures("django")
@pytest.mark.parametrize("plugins", both_orders("django"), ids=order)
def test_django_s_live_server_stays_django_s_and_ours_is_asgi_server(run_pytest: RunPytest, plugins: list[str]) -> None:
    result = run_pytest(THEIRS + OURS_WITH_DATABASE, ini=WITH_SETTINGS, plugins=plugins, subprocess=True)
    result.assert_outcomes(passed=5)
    assert header(result) == ["asgiserve: asgi_app site_asgi:application; live_server is pytest-django's, ours is asgi_server"]


LIVE_DJANGO = """
import pytest
from django.db import OperationalError
from notes.models import Note
from pytest_asgiserve import LiveServer

def test_no_marker_is_needed_for_the_database(live_server):
    assert type(live_server) is LiveServer
    Note.objects.create(text="from the test")
    assert live_server.client.get("/notes").json() == {"kind": "asgi", "notes": ["from the test"]}
    assert live_server.client.get("/async").json() == {"kind": "asgi", "notes": ["from the test"]}
    assert live_server.client.post("/notes", content="from the server").status_code == 200
    assert [note.text for note in Note.objects.order_by("id")] == ["from the test", "from the server"]

def test_Django_accepts_the_host_for_as_long_as_the_test_runs(live_server, settings):
    assert "127.0.0.1" in settings.ALLOWED_HOSTS
    assert live_server.client.get("/hello").json() == {"hello": str(live_server).removeprefix("http://")}
    assert live_server.client.get("/notes").json()["notes"] == []

def test_and_no_longer(settings):
    assert "127.0.0.1" not in settings.ALLOWED_HOSTS

@pytest.mark.django_db
def test_what_stands_in_the_transaction_of_a_test_the_server_does_not_see(asgi_server, settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    Note.objects.create(text="not committed")
    if SHARED_MEMORY:
        with asgi_server.expect_error(OperationalError, match="locked"):
            assert asgi_server.client.get("/notes").status_code == 500
    else:
        assert asgi_server.client.get("/notes").json()["notes"] == []
"""


@pytest.mark.usefixtures("django")
@pytest.mark.parametrize(("how", "plugins"), [("always", [OURS, "django"]), ("always", ["django", OURS]), ("alias", [OURS, "django"])])
def test_live_server_can_be_ours_beside_pytest_django(run_pytest: RunPytest, monkeypatch: pytest.MonkeyPatch, plugins: list[str], how: str) -> None:
    # Both kinds of database, in memory and in a file.
    memory = plugins[0] == OURS and how == "always"
    ignored = []
    if memory:
        monkeypatch.setenv("IN_MEMORY", "1")
        # Django never closes a connection to a database in memory; under ASGI each request's thread has its own. CPython 3.13 says so.
        ignored = ["-Wignore::ResourceWarning", "-Wignore::pytest.PytestUnraisableExceptionWarning"]
    result = run_pytest(
        f"SHARED_MEMORY = {memory}\n{LIVE_DJANGO}",
        *ignored,
        ini=WITH_SETTINGS + ("asgiserve_live_server = always" if how == "always" else ""),
        conftest="import pytest\n@pytest.fixture\ndef live_server(asgi_server): return asgi_server" if how == "alias" else "",
        plugins=plugins,
        subprocess=True,
    )
    result.assert_outcomes(passed=4)
    withheld = "; live_server is pytest-django's, ours is asgi_server" if how == "alias" else ""
    assert header(result) == [f"asgiserve: asgi_app site_asgi:application{withheld}"]


@pytest.mark.parametrize(("who", "plugins"), [("auto", [OURS, "django"]), ("always", [OURS, "django"]), ("always", ["django", OURS])])
def test_without_django_settings_pytest_django_skips_whatever_is_called_live_server(run_pytest: RunPytest, plugins: list[str], who: str) -> None:
    result = run_pytest(WHO, "-rs", ini=f"asgiserve_live_server = {who}", plugins=plugins, subprocess=True)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * no Django settings"])
    assert header(result) == (["asgiserve: live_server is pytest-django's, ours is asgi_server"] if who == "auto" else [])


def test_the_owners_are_known_by_the_names_of_their_modules_too(run_pytest: RunPytest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_django.plugin,pytest_flask.plugin")
    result = run_pytest(WHO, "-k", "test_ours", subprocess=True)
    result.assert_outcomes(passed=1, deselected=1)
    # Which of the two it belongs to is a matter of their order.
    assert header(result) == ["asgiserve: live_server is pytest-django's or pytest-flask's, ours is asgi_server"]


# ---- pytest-flask --------------------------------------------------------------------------------------------------------------------

FLASK = """
import flask
import pytest

@pytest.fixture(scope="session")
def app():
    app = flask.Flask("shop")
    app.add_url_rule("/", "index", lambda: "Flask")
    return app
"""
THEIR_FLASK = """
import urllib.request
from pytest_flask.live_server import LiveServer as Theirs

def test_theirs(live_server):
    assert type(live_server) is Theirs
    with urllib.request.urlopen(flask_url(live_server), timeout=10) as response:
        assert response.read() == b"Flask"

def flask_url(live_server):
    return live_server.url("/")

def test_their_client(client):
    assert client.get("/").text == "Flask"
"""


@pytest.mark.parametrize("plugins", both_orders("flask"), ids=order)
def test_flask_s_live_server_stays_flask_s_and_ours_is_asgi_server(run_pytest: RunPytest, plugins: list[str]) -> None:
    # Theirs is made for the session and forks: it comes first, before there is a thread.
    source = THEIR_FLASK + WHO.partition("def test_the_name")[0]
    result = run_pytest(source, conftest=FLASK, plugins=plugins, subprocess=True)
    result.assert_outcomes(passed=3)
    assert header(result) == ["asgiserve: live_server is pytest-flask's, ours is asgi_server"]


@pytest.mark.parametrize("plugins", both_orders("flask"), ids=order)
def test_always_wins_over_flask_s_but_not_in_a_test_with_flask_s_app(run_pytest: RunPytest, plugins: list[str]) -> None:
    source = WHO + "\ndef test_both(live_server, app):\n    pass\n\ndef test_their_client(client):\n    assert client.get('/').text == 'Flask'\n"
    result = run_pytest(source, conftest=FLASK, ini="asgiserve_live_server = always", plugins=plugins, subprocess=True)
    # pytest-flask takes what is called live_server for its own, where a test has `app` too.
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["E * has no attribute 'test_request_context'", "ERROR test_inner.py::test_both - *"])
    assert header(result) == []


def test_pytest_flask_breaks_any_app_fixture_but_not_asgi_app(run_pytest: RunPytest) -> None:
    source = """
import pytest

@pytest.fixture
def app(asgi_app):
    return asgi_app

def test_ours(asgi_server):
    assert asgi_server.client.get("/").text == "shop"

def test_theirs(asgi_server, app):
    pass
"""
    conftest = """
import pytest

@pytest.fixture
def asgi_app():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"shop"})
    return app
"""
    result = run_pytest(source, conftest=conftest, plugins=["flask"], subprocess=True)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E * has no attribute 'response_class'", "ERROR test_inner.py::test_theirs - *"])


# ---- pytest-base-url -----------------------------------------------------------------------------------------------------------------

BASE_URL = """
import pytest, urllib.request

def test_the_server_of_the_session(base_url, live_server_session):
    assert base_url == live_server_session.url
    with urllib.request.urlopen(base_url + "/there", timeout=10) as response:
        assert response.read() == b"shop"
    assert [one.path for one in live_server_session.exchanges()][-1:] == ["/there"]

def test_another_one(live_server, base_url):
    assert live_server.url != base_url

def test_none():
    pass
"""


@pytest.mark.usefixtures("app_file")
@pytest.mark.parametrize("plugins", both_orders("base_url"), ids=order)
def test_a_base_url_of_the_session_s_server(run_pytest: RunPytest, plugins: list[str]) -> None:
    conftest = "import pytest\n@pytest.fixture(scope='session')\ndef base_url(live_server_session):\n    return live_server_session.url\n"
    run_pytest(BASE_URL, "--asgi-app=shop:app", "--verify-base-url", conftest=conftest, plugins=plugins, subprocess=True).assert_outcomes(passed=3)


@pytest.mark.usefixtures("app_file")
def test_a_base_url_of_one_test_s_server_breaks_every_test(run_pytest: RunPytest) -> None:
    conftest = "import pytest\n@pytest.fixture\ndef base_url(live_server):\n    return live_server.url\n"
    result = run_pytest(BASE_URL, "--asgi-app=shop:app", conftest=conftest, plugins=["base_url"], subprocess=True)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["ScopeMismatch: *"])


# ---- pytest-httpx and respx ----------------------------------------------------------------------------------------------------------

# The application asks another service: once from a coroutine, and once from a thread.
PROXY = """
import asyncio
import httpx

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/sync":
        answer = await asyncio.to_thread(httpx.get, "http://upstream.invalid/price")
    else:
        async with httpx.AsyncClient() as client:
            answer = await client.get("http://upstream.invalid/price")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"real server, " + answer.content})
"""
MOCKED = """
import asyncio
import httpx
import pytest

async def get(server, path):
    async with server.async_client() as client:
        return (await client.get(path)).text

def look(server):
    assert server.client.get("/sync").text == "real server, mocked price"
    assert server.new_client().get("/async").text == "real server, mocked price"
    assert asyncio.run(get(server, "/async")) == "real server, mocked price"
    assert asyncio.run(get(server, "/sync")) == "real server, mocked price"
    assert [one.path for one in server.exchanges()] == ["/sync", "/async", "/async", "/sync"]

@pytest.mark.httpx_mock(can_send_already_matched_responses=True)
@pytest.mark.parametrize("tls", [False, pytest.param(True, marks=pytest.mark.asgiserve(tls=True))])
def test_the_mock_first(httpx_mock, live_server, tls):
    httpx_mock.add_response(url="http://upstream.invalid/price", text="mocked price")
    look(live_server)
    assert len(httpx_mock.get_requests()) == 4

@pytest.mark.httpx_mock(can_send_already_matched_responses=True)
def test_the_server_first(live_server, httpx_mock):
    httpx_mock.add_response(url="http://upstream.invalid/price", text="mocked price")
    look(live_server)

def test_respx_first(respx_mock, live_server):
    route = respx_mock.get("http://upstream.invalid/price").respond(text="mocked price")
    look(live_server)
    assert route.call_count == 4

def test_respx_last(live_server, respx_mock):
    respx_mock.get("http://upstream.invalid/price").respond(text="mocked price")
    look(live_server)

def test_a_client_of_the_test_s_own_is_mocked(live_server, respx_mock):
    route = respx_mock.get(live_server.url + "/").respond(text="mocked")
    assert httpx.get(live_server.url + "/").text == "mocked"
    assert live_server.exchanges() == []
    assert route.called
"""


@pytest.mark.parametrize("plugins", both_orders("pytest_httpx", "respx"), ids=order)
def test_mocks_catch_what_the_application_asks_and_never_what_the_server_s_clients_ask(run_pytest: RunPytest, plugins: list[str]) -> None:
    run_pytest(MOCKED, "--asgi-app=proxy:app", files={"proxy": PROXY}, plugins=plugins, subprocess=True).assert_outcomes(passed=6)


# ---- all of them ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("django")
def test_all_of_them_at_once(run_pytest: RunPytest) -> None:
    asyncs = ["anyio.pytest_plugin", "pytest_asyncio.plugin"]
    plugins = ["xdist", "timeout", "respx", "pytest_httpx", "pytest_cov", "flask", "django", "base_url", *asyncs, OURS]
    ini = WITH_SETTINGS + "asyncio_default_fixture_loop_scope = function"
    result = run_pytest(OURS_WITH_DATABASE, ini=ini, plugins=plugins, subprocess=True)
    result.assert_outcomes(passed=4)
