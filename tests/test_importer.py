"""What `load_application` finds, what it says where it does not, and whose traceback is shown."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.compatibility import is_double_callable

from asgiserve.errors import ApplicationLoadError, ConfigError
from asgiserve.importer import application_traceback, as_asgi3, is_asgi2, load_application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = "async def app(scope, receive, send): ...\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write modules into the current directory, a temporary one; what is imported from there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(**modules: str) -> None:
        for name, text in modules.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(target: object, **options: Any) -> tuple[str, BaseException | None]:
    with pytest.raises(ApplicationLoadError) as caught:
        load_application(target, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 1
    return line, caught.value.__cause__


# ---- what is found


def test_a_module_of_the_current_directory(write: Callable[..., None]) -> None:
    write(mainmod=APP)
    assert load_application("mainmod:app").__name__ == "app"


def test_dots_on_both_sides(write: Callable[..., None]) -> None:
    write(pkgmod__asgi="class Holder:\n    @staticmethod\n    async def app(scope, receive, send): ...\nholder = Holder()\n")
    assert load_application("pkgmod.asgi:holder.app").__name__ == "app"


def test_app_dir_is_put_first_on_the_path(write: Callable[..., None], tmp_path: Path) -> None:
    write(src__deepmod=APP)
    load_application("deepmod:app", app_dir="src")
    assert sys.path[0] == str(tmp_path / "src")
    before = len(sys.path)
    load_application("deepmod:app", app_dir="src")
    assert len(sys.path) == before


def test_an_application_is_taken_as_it_is_and_leaves_the_path_alone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    before = sys.path[:]
    assert load_application(app) is app
    assert sys.path == before


def test_a_factory_is_called(write: Callable[..., None]) -> None:
    write(factorymod=f"def create():\n    {APP}    return app\n")
    assert load_application("factorymod:create", factory=True).__name__ == "app"


def test_an_application_without_a_signature_is_not_doubted() -> None:
    class Odd:
        __signature__ = "nonsense"

        def __call__(self) -> None: ...

    odd = Odd()
    assert load_application(odd) is odd


def test_an_application_written_in_c_is_not_doubted() -> None:
    with pytest.raises(ValueError):
        inspect.signature(max)
    assert load_application(max) is max


def test_a_decorated_application_is_asked_for_itself() -> None:
    def bare() -> None: ...

    @functools.wraps(bare)
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert load_application(app) is app


# ---- the words are wrong: one line, no traceback


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("colonmod", "'colonmod' must be module:attribute; did you mean colonmod:app?"),
        ("colonmod.app", "'colonmod.app' must be module:attribute; did you mean colonmod:app?"),
        ("colonmod.py", "'colonmod.py' must be module:attribute; did you mean colonmod:app?"),
        ("colonmod:", "'colonmod:' must be module:attribute; did you mean colonmod:app?"),
        ("plainmod", "'plainmod' must be module:attribute, as in plainmod:app"),
        ("brokenmod", "'brokenmod' must be module:attribute, as in brokenmod:app"),
        (":app", "':app' must be module:attribute, as in main:app"),
        ("", "'' must be module:attribute, as in main:app"),
        ("colonmod.py:app", "'colonmod.py:app' names a file; the module is meant, as in colonmod:app"),
        ("./src/colonmod.py:app", "'./src/colonmod.py:app' names a file; the module is meant, as in src.colonmod:app"),
        (".colonmod:app", "'.colonmod:app' is relative; the module's full name is needed"),
        ("colonmod:ap", "module 'colonmod' has no attribute 'ap'; did you mean app?"),
        ("colonmod:wsgi", "module 'colonmod' has no attribute 'wsgi'; it has app"),
        ("plainmod:wsgi", "module 'plainmod' has no attribute 'wsgi'"),
        ("colonmod:app.inner", "colonmod:app has no attribute 'inner'"),
        ("plainmod:value", "plainmod:value is an int, not an application: it cannot be called"),
        ("plainmod:nothing", "plainmod:nothing is None, not an application: it cannot be called"),
        ("lazymod:ap", "module 'lazymod' has no attribute 'ap'; did you mean app?"),
        (
            "colonmod.sub:app",
            "no module named 'colonmod.sub': 'colonmod' is a module, not a package; if 'sub' is in the module 'colonmod', write colonmod:sub",
        ),
        ("pkgmod.vews:app", "no module named 'pkgmod.vews' in {here}/pkgmod or on Python's path; did you mean pkgmod.views?"),
        ("colonmud:app", "no module named 'colonmud' in {here} or on Python's path; did you mean colonmod?"),
        ("zzz.y:app", "no module named 'zzz' (of 'zzz.y') in {here} or on Python's path; --app-dir says where else"),
    ],
)
def test_wrong_words(write: Callable[..., None], tmp_path: Path, target: str, line: str) -> None:
    write(
        colonmod=APP,
        plainmod="value = 1\nnothing = None\n",
        brokenmod="1/0",
        lazymod=APP + "def __getattr__(name): raise AttributeError(name)\n",
        pkgmod____init__="",
        pkgmod__views=APP,
    )
    assert refused(target) == (line.format(here=tmp_path), None)


def test_a_name_that_is_taken_says_by_what(write: Callable[..., None]) -> None:
    write(http=APP)
    import http  # noqa: PLC0415 - so that it is the standard library's

    assert refused("http:app")[0] == f"module 'http' ({http.__file__}) has no attribute 'app'"
    assert refused("sys:app")[0] == "module 'sys' (built in) has no attribute 'app'"


def test_app_dir_that_is_no_directory() -> None:
    with pytest.raises(ConfigError, match=r"--app-dir: 'nowhere/at-all' is not a directory"):
        load_application("main:app", app_dir="nowhere/at-all")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            "def create(): ...",
            "usemod:create cannot be called as an ASGI application; it takes no arguments: if it returns the application, add --factory",
        ),
        (
            "def create(a, b): ...",
            "usemod:create cannot be called as an ASGI application; it takes (a, b) instead of (scope, receive, send)",
        ),
        (
            "class create:\n    def __init__(self): ...",
            "usemod:create cannot be called as an ASGI application; it is a class; name an instance of it",
        ),
    ],
)
def test_what_cannot_be_called_as_an_application(write: Callable[..., None], code: str, line: str) -> None:
    write(usemod=code)
    assert refused("usemod:create") == (line, None)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("def create(settings): ...", "the mod needs arguments, (settings); a factory is called without any"),
        ("async def create(): ...", "the mod is a coroutine function; a factory is a plain function that returns the application"),
        ("async def make(): ...\ndef create(): return make()", "the factory the mod returned a coroutine; it must return the application"),
        ("def create(): return 'app'", "the factory the mod returned a str, not an application: it cannot be called"),
    ],
)
def test_what_is_no_factory(write: Callable[..., None], code: str, line: str) -> None:
    write(makemod=code)
    assert refused("makemod:create", factory=True) == (line.replace("the mod", "makemod:create"), None)


def test_an_object_that_is_no_application() -> None:
    assert refused(3)[0] == "the application 3 is an int, not an application: it cannot be called"


# ---- the fault is inside of the module: its own traceback


FAULTS = [
    ("raise ValueError('two\\nlines')", "module 'faultmod' was found, but cannot be imported: ValueError: two lines"),
    ("import not_there_at_all", "module 'faultmod' was found, but it imports 'not_there_at_all', which is not installed or not found"),
    ("from faultmod import nothing", "module 'faultmod' was found, but cannot be imported: ImportError: cannot import name 'nothing' from"),
    ("raise ModuleNotFoundError('by hand')", "module 'faultmod' was found, but ModuleNotFoundError: by hand"),
    ("raise BaseException('base')", "module 'faultmod' was found, but cannot be imported: BaseException: base"),
]


@pytest.mark.parametrize(("code", "line"), FAULTS)
def test_a_fault_inside_of_the_module(write: Callable[..., None], code: str, line: str) -> None:
    write(faultmod=f"def inner():\n    {code}\ninner()\n")
    said, cause = refused("faultmod:app")
    assert said.startswith(line)
    assert cause is not None
    shown = application_traceback(cause)
    assert shown.startswith("Traceback (most recent call last):\n")
    assert shown.count("faultmod.py") >= 2
    assert "importlib" not in shown
    assert "importer.py" not in shown


def test_the_traceback_of_what_came_before_is_cleaned_too(write: Callable[..., None]) -> None:
    code = (
        "import importlib\ntry:\n    importlib.import_module('not_there_at_all')\nexcept ImportError as exc:\n    raise RuntimeError('no') from exc\n"
    )
    write(chainmod=code)
    _, cause = refused("chainmod:app")
    assert cause is not None
    shown = application_traceback(cause)
    assert shown.count("chainmod.py") == 2
    assert "The above exception was the direct cause" in shown
    assert "importlib/__init__.py" not in shown
    assert "<frozen importlib" not in shown


def test_a_syntax_error_is_shown_without_an_empty_heading(write: Callable[..., None]) -> None:
    write(syntaxmod="def app(:\n    pass\n")
    said, cause = refused("syntaxmod:app")
    assert said.startswith("module 'syntaxmod' was found, but cannot be imported: SyntaxError: ")
    assert said.endswith("syntaxmod.py, line 1)")
    assert cause is not None
    shown = application_traceback(cause)
    assert shown.lstrip().startswith('File "')
    assert "Traceback" not in shown
    assert "def app(:" in shown


@pytest.mark.parametrize(("code", "call"), [("3", "3"), ("", ""), ("'DATABASE_URL is\\nnot set'", "'DATABASE_URL is not set'")])
def test_sys_exit_in_the_module_is_a_line_that_says_where(write: Callable[..., None], tmp_path: Path, code: str, call: str) -> None:
    write(exitmod=f"import sys\nsys.exit({code})\n")
    said, cause = refused("exitmod:app")
    assert said == f"module 'exitmod' was found, but cannot be imported: it called sys.exit({call}) at {tmp_path / 'exitmod.py'}:2"
    assert isinstance(cause, SystemExit)
    assert application_traceback(cause) == ""


@pytest.mark.parametrize("attribute", ["app", "create", "holder.app"])
def test_ctrl_c_is_nobodys_mistake(write: Callable[..., None], attribute: str) -> None:
    interrupted = "def create(self=None):\n    raise KeyboardInterrupt\nclass Holder:\n    app = property(create)\nholder = Holder()\n"
    write(interruptmod="raise KeyboardInterrupt\n" if attribute == "app" else interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_application(f"interruptmod:{attribute}", factory=attribute == "create")


def test_a_fault_inside_of_the_factory(write: Callable[..., None]) -> None:
    write(makemod="def create():\n    return 1 / 0\n")
    said, cause = refused("makemod:create", factory=True)
    assert said == "the factory makemod:create failed: ZeroDivisionError: division by zero"
    assert isinstance(cause, ZeroDivisionError)


def test_a_type_error_inside_of_the_factory_is_not_taken_for_missing_arguments(write: Callable[..., None]) -> None:
    write(makemod="def create():\n    return len()\n")
    said, cause = refused("makemod:create", factory=True)
    assert said.startswith("the factory makemod:create failed: TypeError: len()")
    assert isinstance(cause, TypeError)


@pytest.mark.parametrize("error", ["AttributeError", "RuntimeError"])
def test_a_fault_inside_of_an_attribute(write: Callable[..., None], error: str) -> None:
    write(attrmod=f"class Holder:\n    @property\n    def app(self):\n        raise {error}('inside')\nholder = Holder()\n")
    said, cause = refused("attrmod:holder.app")
    assert said == f"attrmod:holder.app cannot be had: {error}: inside"
    assert cause is not None
    assert "attrmod.py" in application_traceback(cause)


def test_near_matches_run_no_code(write: Callable[..., None]) -> None:
    write(attrmod="class Holder:\n    @property\n    def appp(self):\n        raise SystemExit\nholder = Holder()\n")
    assert refused("attrmod:holder.ap") == ("attrmod:holder has no attribute 'ap'", None)


def test_a_module_written_a_moment_ago_is_found(write: Callable[..., None], tmp_path: Path) -> None:
    write(firstmod=APP)
    load_application("firstmod:app")
    before = tmp_path.stat().st_mtime_ns
    write(secondmod=APP)
    os.utime(tmp_path, ns=(before, before))  # as on a file system whose clock has not moved on
    load_application("secondmod:app")


# ---- ASGI 2


async def single(scope: Any, receive: Any, send: Any) -> None: ...


def double(scope: Any) -> Any: ...


class DoubleClass:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


class SingleInstance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class DoubleInstance:
    def __call__(self, scope: Any) -> Any: ...


class SaysSingle:
    _asgi_single_callable = True

    def __call__(self, scope: Any) -> Any: ...


class SaysDouble:
    _asgi_double_callable = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def hands_on(scope: Any, receive: Any, send: Any) -> Any:
    return single(scope, receive, send)


KINDS = [
    single,
    double,
    DoubleClass,
    SingleInstance(),
    SingleInstance,
    DoubleInstance(),
    SaysSingle(),
    SaysDouble(),
    functools.partial(single),
    functools.partial(double),
    SingleInstance().__call__,
    hands_on,
    3,
]


@pytest.mark.parametrize("app", KINDS, ids=lambda app: getattr(app, "__name__", type(app).__name__))
def test_is_asgi2_is_asgirefs_rule(app: Any) -> None:
    assert is_asgi2(app) is is_double_callable(app)  # type: ignore[no-untyped-call]  # asgiref has no annotations there


def test_asgi2_is_wrapped() -> None:
    seen: list[Any] = []

    class App:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            seen.append((self.scope, receive, send))

    app, version = as_asgi3(App)
    assert version == "2.0"
    assert not is_asgi2(app)
    asyncio.run(app({"type": "http"}, 1, 2))
    assert seen == [({"type": "http"}, 1, 2)]


@pytest.mark.parametrize(
    ("app", "interface", "version"),
    [
        (single, "auto", "3.0"),
        (double, "auto", "2.0"),
        (double, "asgi3", "3.0"),
        (single, "asgi2", "2.0"),
        (hands_on, "auto", "3.0"),
        (SaysSingle(), "auto", "3.0"),
    ],
)
def test_as_asgi3(app: Any, interface: str, version: str) -> None:
    wrapped, said = as_asgi3(app, interface)
    assert said == version
    assert (wrapped is app) is (version == "3.0")
