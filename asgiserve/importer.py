"""From ``module:attribute`` to an application that can be called.

The law of this module: a mistake is one line that says whose it is. What is wrong with the words that were given (no such module, no such
attribute) is an `ApplicationLoadError` without a cause; what went wrong inside of the module carries the module's own exception as its
cause, and `application_traceback` shows that without a frame of ours. Nothing here leaves by another exception, but `KeyboardInterrupt`.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import inspect
import os
import pkgutil
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from asgiserve.errors import ApplicationLoadError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import TracebackType

__all__ = ["application_traceback", "as_asgi3", "is_asgi2", "load_application"]

_USUAL_NAMES = ("app", "application", "asgi")
_LONGEST = 300  # characters of somebody else's text in a line of ours

_iscoroutinefunction: Callable[[Any], bool]
if sys.version_info >= (3, 12):
    _iscoroutinefunction = inspect.iscoroutinefunction
else:  # asgiref marks coroutine functions with asyncio's mark there
    _iscoroutinefunction = asyncio.iscoroutinefunction


def load_application(target: object, *, app_dir: str = "", factory: bool = False) -> Any:
    """The application that ``target`` names or is.

    Args:
        target: ``module:attribute``, with dots on both sides, or an application.
        app_dir: put first on ``sys.path`` where ``target`` is text; empty is the current directory.
        factory: call what ``target`` names, without arguments, and take what it returns.

    Raises:
        ApplicationLoadError: one line. Where the fault is inside of the application's own code, its exception is the ``__cause__``.
        ConfigError: ``app_dir`` is no directory.
    """
    if isinstance(target, str):
        directory = _put_first_on_path(app_dir)
        found = _find(target, directory)
        name = target
    else:
        found = target
        name = _name_of(target)
    if not callable(found):
        raise ApplicationLoadError(f"{name} is {_a(type(found).__name__)}, not an application: it cannot be called")
    if factory:
        found = _call_factory(found, name)
    elif _takes(found, 3) is False and _takes(found, 1) is False:
        raise ApplicationLoadError(f"{name} cannot be called as an ASGI application; {_other_use(found)}")
    return found


def is_asgi2(app: object) -> bool:
    """Whether ``app`` is called twice, as ASGI 2 was: ``await app(scope)(receive, send)``.

    The rule is the one of ``asgiref.compatibility.is_double_callable`` (asgiref 3.x), which the ASGI specification points to (S5).
    """
    if getattr(app, "_asgi_single_callable", False):
        return False
    if getattr(app, "_asgi_double_callable", False):
        return True
    # An uninstantiated class is called for its instance, which is then called.
    if inspect.isclass(app):
        return True
    call = getattr(app, "__call__", None)  # noqa: B004 - the method itself is looked at, as asgiref does
    if call is not None and _iscoroutinefunction(call):
        return False
    return not _iscoroutinefunction(app)


def as_asgi3(app: Any, interface: str = "auto") -> tuple[Any, str]:
    """``app`` as a single callable, and the version for ``scope["asgi"]["version"]``: ``3.0``, or ``2.0`` for an ASGI 2 application (S3).

    With ``auto`` it is ASGI 2 where `is_asgi2` says so, but for what takes three arguments and cannot take one: that is a plain function
    which hands on the awaitable of another application, and could not be called as ASGI 2 at all.
    """
    if interface == "asgi2" or (interface == "auto" and is_asgi2(app) and not (_takes(app, 3) is True and _takes(app, 1) is False)):
        return _as_single(app), "2.0"
    return app, "3.0"


def _as_single(app: Callable[[Any], Callable[[Any, Any], Awaitable[None]]]) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await app(scope)(receive, send)

    return application


# ---- finding -----------------------------------------------------------------------------------------------------------------------


def _put_first_on_path(app_dir: str) -> str:
    path = Path(app_dir).expanduser().absolute()  # not resolved: where a link points to may change with the next deployment
    if not path.is_dir():
        raise ConfigError(f"--app-dir: {app_dir!r} is not a directory")
    directory = str(path)
    if not sys.path or sys.path[0] != directory:
        sys.path.insert(0, directory)
    # A module that was written a moment ago, as by a deployment or a test, is not yet in the finders' directory caches.
    importlib.invalidate_caches()
    return directory


def _find(target: str, directory: str) -> Any:
    """What ``module:attribute`` names."""
    name, colon, attributes = target.partition(":")
    if not colon or not name or not attributes:
        raise ApplicationLoadError(f"{target!r} must be module:attribute{_guess(name, directory)}")
    if _looks_like_a_file(name):
        raise ApplicationLoadError(f"{target!r} names a file; the module is meant, as in {_module_name(name)}:{attributes}")
    if name.startswith("."):
        raise ApplicationLoadError(f"{target!r} is relative; the module's full name is needed")
    module = _import(name, directory)
    found: Any = module
    so_far = ""
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as exc:
            # A module's own __getattr__ (PEP 562) says so of names that it has not; a property that says so has gone wrong inside.
            if _inside(exc) and not isinstance(found, ModuleType):
                raise ApplicationLoadError(f"{target} cannot be had: {_in_a_line(exc)}") from exc
            where = f"{name}:{so_far}" if so_far else f"module {name!r}{_elsewhere(module, directory)}"
            raise ApplicationLoadError(f"{where} has no attribute {attribute!r}{_near_attributes(found, attribute)}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise _fault(exc, f"{target} cannot be had") from exc
        so_far = f"{so_far}.{attribute}" if so_far else attribute
    return found


def _import(name: str, directory: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as exc:
        # Raised by the import system for this very name where no line of anybody's module is on the way to it.
        if not _inside(exc):
            raise ApplicationLoadError(_not_found(name, exc.name or name, directory)) from None
        missing = f"it imports {exc.name!r}, which is not installed or not found" if exc.name else _in_a_line(exc)
        raise ApplicationLoadError(f"module {name!r} was found, but {missing}") from exc
    except BaseException as exc:
        raise _fault(exc, f"module {name!r} was found, but cannot be imported") from exc


def _fault(exc: BaseException, what: str) -> ApplicationLoadError:
    """The line for an exception out of the application's own code."""
    if isinstance(exc, SystemExit):
        code = "" if exc.code is None else repr(exc.code) if isinstance(exc.code, int) else f"{_squeezed(str(exc.code))!r}"
        place = next(reversed([*_application_frames(exc.__traceback__)]), None)
        where = f" at {place.filename}:{place.lineno}" if place else ""
        return ApplicationLoadError(f"{what}: it called sys.exit({code}){where}")
    return ApplicationLoadError(f"{what}: {_in_a_line(exc)}")


def _call_factory(found: Callable[[], Any], name: str) -> Any:
    if _takes(found, 0) is False:
        raise ApplicationLoadError(f"{name} needs arguments, {_signature(found)}; a factory is called without any")
    if _iscoroutinefunction(found):
        raise ApplicationLoadError(f"{name} is a coroutine function; a factory is a plain function that returns the application")
    try:
        made = found()
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        raise _fault(exc, f"the factory {name} failed") from exc
    if inspect.iscoroutine(made):
        made.close()  # else Python warns that it was never awaited
        raise ApplicationLoadError(f"the factory {name} returned a coroutine; it must return the application")
    if not callable(made):
        raise ApplicationLoadError(f"the factory {name} returned {_a(type(made).__name__)}, not an application: it cannot be called")
    return made


# ---- the application's own traceback -----------------------------------------------------------------------------------------------


def application_traceback(exc: BaseException) -> str:
    """The traceback of an exception out of the application's code, as Python prints it, without the frames of this module and of importlib.

    Empty for `SystemExit`, which is said in one line.
    """
    if isinstance(exc, SystemExit):
        return ""
    shown = traceback.TracebackException.from_exception(exc)
    each: traceback.TracebackException | None = shown
    while each is not None:
        each.stack = traceback.StackSummary.from_list([frame for frame in each.stack if not _is_machinery(frame.filename)])
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    text = "".join(shown.format())
    # Without a frame, as for a syntax error, the heading would stand over nothing.
    return re.sub(r"^Traceback \(most recent call last\):\n(?! *File \"[^\n]*, in )", "", text, flags=re.MULTILINE)


def _is_machinery(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen importlib") or filename == importlib.__file__


def _application_frames(trace: TracebackType | None) -> Iterator[traceback.FrameSummary]:
    return (frame for frame in traceback.extract_tb(trace) if not _is_machinery(frame.filename))


def _inside(exc: BaseException) -> bool:
    """Whether a line of the application's code is on the way to ``exc``."""
    return any(True for _ in _application_frames(exc.__traceback__))


# ---- what to say -------------------------------------------------------------------------------------------------------------------


def _not_found(name: str, missing: str, directory: str) -> str:
    """The line for a module that is not there: which part of its name, where it was looked for, what is near."""
    parent, _, last = missing.rpartition(".")
    package = sys.modules.get(parent) if parent else None
    if parent and package is not None and not hasattr(package, "__path__"):
        hint = f"; if {last!r} is in the module {parent!r}, write {parent}:{last}"
        return f"no module named {missing!r}: {parent!r} is a module, not a package{hint}"
    places = list(package.__path__) if package is not None else [directory]
    known = [module.name for module in pkgutil.iter_modules(places)]
    near = difflib.get_close_matches(last, known, 1)
    whole = f" (of {name!r})" if missing != name else ""
    hint = f"; did you mean {f'{parent}.' if parent else ''}{near[0]}?" if near else "" if package is not None else "; --app-dir says where else"
    return f"no module named {missing!r}{whole} in {places[0] if places else parent} or on Python's path{hint}"


def _near_attributes(owner: object, attribute: str) -> str:
    """The end of the line for a missing attribute: what it may have been meant to be."""
    names = [name for name in dir(owner) if not name.startswith("_") and _has_callable(owner, name)]
    near = difflib.get_close_matches(attribute, names, 3)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    usual = [name for name in _USUAL_NAMES if name in names]
    return f"; it has {usual[0]}" if usual else ""


def _guess(name: str, directory: str) -> str:
    """The end of the line for a target without a colon: the whole target, where the module shows what is meant."""
    if not name:
        return ", as in main:app"
    name = _module_name(name) if _looks_like_a_file(name) else name
    for module_name, attributes in ((name, _USUAL_NAMES), (name.rpartition(".")[0], (name.rpartition(".")[2],))):
        if module_name and not module_name.startswith("."):
            try:
                module = _import(module_name, directory)
            except ApplicationLoadError:
                continue  # this line is about the colon; what is wrong with the module is told once there is one
            for attribute in attributes:
                if _has_callable(module, attribute):
                    return f"; did you mean {module_name}:{attribute}?"
    return f", as in {name}:app"


def _has_callable(owner: object, name: str) -> bool:
    """Whether there is something callable of that name, without running any code to see."""
    return callable(inspect.getattr_static(owner, name, None))


def _elsewhere(module: ModuleType, directory: str) -> str:
    """Where a module is from, if not from ``directory``: a name of one's own may be taken, as ``http`` is."""
    file = getattr(module, "__file__", None)
    return "" if file and Path(directory) in Path(file).parents else f" ({file or 'built in'})"


def _looks_like_a_file(name: str) -> bool:
    return name.endswith(".py") or "/" in name or os.sep in name


def _module_name(path: str) -> str:
    return ".".join(part for part in re.split(r"[/\\]", path.removesuffix(".py")) if part not in {"", "."})


def _other_use(found: object) -> str:
    """What to do with something that is callable but takes neither a scope nor scope, receive and send."""
    if inspect.isclass(found):
        return "it is a class; name an instance of it"
    if _takes(found, 0):
        return "it takes no arguments: if it returns the application, add --factory"
    return f"it takes {_signature(found)} instead of (scope, receive, send)"


def _takes(found: Any, count: int) -> bool | None:
    """Whether ``found`` can be called with ``count`` positional arguments; None where it cannot be told.

    A wrapper is asked for itself, not for what it wraps: `functools.wraps` on a decorator does not change what the wrapper takes.
    """
    if hasattr(found, "__signature__"):  # whatever it says, Python does not check it when it calls
        return None
    try:
        signature = inspect.signature(found, follow_wrapped=False)
    except Exception:  # noqa: BLE001 - not every callable has a signature, and an odd one may raise anything
        return None
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _signature(found: Any) -> str:
    """What something takes that `_takes` said no of, so it has a signature."""
    return _squeezed(str(inspect.signature(found, follow_wrapped=False)))


def _name_of(found: object) -> str:
    return _squeezed(f"the application {getattr(found, '__qualname__', None) or repr(found)}")


def _a(noun: str) -> str:
    return "None" if noun == "NoneType" else f"an {noun}" if noun[:1].lower() in set("aeiou") else f"a {noun}"


def _in_a_line(exc: BaseException) -> str:
    """An exception's type and text in one line, as the last line of a traceback has them."""
    lines: Iterable[str] = traceback.format_exception_only(exc) if not isinstance(exc, SyntaxError) else [_syntax(exc)]
    return _squeezed(" ".join(lines))


def _syntax(exc: SyntaxError) -> str:
    where = f" ({exc.filename}, line {exc.lineno})" if exc.filename else ""
    return f"{type(exc).__name__}: {exc.msg}{where}"


def _squeezed(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
