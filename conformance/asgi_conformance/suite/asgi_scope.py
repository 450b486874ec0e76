"""The ASGI contract: the scope of an HTTP request (ASGI asgi and www, and the state of lifespan)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.reference import decode
from asgi_conformance.suite.dialogue import answer_close, plain, scoped
from asgi_conformance.suite.scopes import UNSCRIPTED, changing, is_bytes, is_headers, is_int, is_pair_of, is_str, listed, or_none, scope_of, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage

__all__ = ["SCOPE"]

SCOPE: Final = Topic("asgi/scope", "ASGI: the scope of a request")

_WWW: Final = "ASGI www, HTTP Connection Scope"
_WWW_VERSIONS: Final = ("2.0", "2.1", "2.2", "2.3", "2.4", "2.5")
_LIFESPAN_VERSIONS: Final = ("1.0", "2.0")


def _websocket(stage: Stage) -> Record:
    """What the application was told of one WebSocket, opened and closed."""
    stage.mark()
    stage.websocket().finish()
    return stage.record()


def _lifespan(stage: Stage) -> Any:
    """The scope of the lifespan; None where there was none."""
    facts = stage.running.facts()
    # Of this loop: a process can have had others.
    scopes = [decode(entry["scope"]) for entry in facts["lifespan"] if entry["do"] == "scope" and entry["loop"] == facts["loop"]]
    return scopes[-1] if scopes else None


def _all_scopes(stage: Stage) -> dict[str, Any]:
    """A scope of each type that there is."""
    scopes = {"http": told(stage).scope}
    if "websocket" in stage.features:
        scopes["websocket"] = _websocket(stage).scope
    lifespan = _lifespan(stage)
    if lifespan is not None:
        scopes["lifespan"] = lifespan
    return scopes


def _asgi(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda scope: {**scope, "asgi": {**scope["asgi"], **changes}}


@SCOPE.scenario(
    "asgi.scope.asgi-version",
    "ASGI, Applications",
    level=Level.MUST,
    says='The key scope["asgi"] will also be present as a dictionary containing a scope["asgi"]["version"] key that corresponds to the ASGI version '
    "the server implements.",
    expects='asgi["version"] "3.0" in every scope, for an application that is one callable, and a spec_version that is a str where there is one',
    bad=Distortion(app=scoped(_asgi(version="2.0"))),
)
def asgi_version(stage: Stage) -> None:
    for kind, scope in _all_scopes(stage).items():
        asgi = plain(plain(scope).get("asgi"))
        stage.check(isinstance(asgi, dict), f'asgi {asgi!r} in the scope of "{kind}"')
        stage.check(asgi.get("version") == "3.0", f'version {asgi.get("version")!r} in the scope of "{kind}"')
        spec = asgi.get("spec_version", "")
        stage.check(isinstance(spec, str), f'spec_version {spec!r} in the scope of "{kind}"')


@SCOPE.scenario(
    "asgi.scope.spec-version-honest",
    "ASGI www, Spec Versions",
    "ASGI www, Accept",
    "ASGI www, Close",
    "ASGI www, WebSocket Disconnect",
    "ASGI lifespan, Scope",
    level=Level.MUST,
    says="Spec versions let you understand what the server you are using understands.",
    expects="a version that the specification has, and what it added: the fields of websocket.accept (2.1), the reason of websocket.close (2.3), "
    "OSError out of send() when the client is gone (2.4), the reason in websocket.disconnect (2.5)",
    bad=Distortion(app=scoped(_asgi(spec_version="2.6"))),
)
def spec_version_honest(stage: Stage) -> None:
    versions = {kind: plain(scope)["asgi"].get("spec_version") for kind, scope in _all_scopes(stage).items()}
    stage.tell(", ".join(f"{kind} {version or '(none)'}" for kind, version in versions.items()))
    lifespan = versions.pop("lifespan", None)
    for kind, version in versions.items():
        stage.check(version in (*_WWW_VERSIONS, None), f'spec_version {version!r} in the scope of "{kind}"')
    if "websocket" in versions:
        _check_promises(stage, versions["websocket"] or "2.0")
    if lifespan not in (*_LIFESPAN_VERSIONS, None):
        # It has versions of its own; many a server says that of the other there, and nothing depends on it.
        stage.warn(f'spec_version {lifespan!r} in the scope of "lifespan", whose specification has no such version')


def _check_promises(stage: Stage, version: str) -> None:
    """What the versions of www.rst added to WebSocket."""
    stage.mark()
    frames = stage.websocket(script=[["accept", None, [["x-added", "2.1"]]], ["receive"], ["close", 3000, "added in 2.3"]])
    frames.text("go on")
    closed = answer_close(frames)
    stage.record()
    if version >= "2.1":
        fields = frames.response.all(b"x-added") if frames.response else []
        stage.check(fields == [b"2.1"], f"spec_version {version}, and the field of websocket.accept became {fields!r}")
    if version >= "2.3":
        reason = None if closed is None else closed.reason
        stage.check(reason == b"added in 2.3", f"spec_version {version}, and the reason of websocket.close became {reason!r}")
    stage.mark()
    frames = stage.websocket(script=[["accept"], ["wait-disconnect", 3], ["try", ["text", "too late"]]])
    frames.finish(3001, b"added in 2.5")
    record = stage.record()
    if version >= "2.4" and not any(error.is_oserror for error in record.send_errors):
        # "This is not guaranteed, however"
        stage.warn(f"spec_version {version}, and send() raised {[error.kind for error in record.send_errors] or 'nothing'} after the disconnect")
    if version >= "2.5":
        last = plain(record.received[-1])
        stage.check(last.get("reason") == "added in 2.5", f"spec_version {version}, and websocket.disconnect was {last!r}")


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "type": is_str,
    "asgi": lambda value: isinstance(value, dict),
    "http_version": is_str,
    "method": is_str,
    "scheme": lambda value: is_str(value) and value != "",
    "path": is_str,
    "raw_path": or_none(is_bytes),
    "query_string": is_bytes,
    "root_path": is_str,
    "headers": is_headers,
    "client": or_none(lambda value: is_pair_of(value, is_str, is_int)),
    "server": or_none(lambda value: is_pair_of(value, is_str, or_none(is_int))),
    "state": lambda value: isinstance(value, dict),
    "extensions": or_none(lambda value: isinstance(value, dict)),
}


@SCOPE.scenario(
    "asgi.scope.types",
    "ASGI, Strings and Unicode",
    "ASGI, Applications",
    _WWW,
    "ASGI, Protocol Specifications",
    level=Level.MUST,
    says="This document will never specify just string - all strings are one of the two exact types.",
    expects="a dict whose keys are str, and every value of the type that the specification says",
    bad=changing(path=b"/"),
)
def types(stage: Stage) -> None:
    record = told(stage, "X-Field: value", path="/path?query")
    scope = listed(record.scope)
    stage.check(isinstance(scope, dict), f"a scope of the class {record.scope_class}")
    if record.scope_class != "dict":
        stage.tell(f"of the class {record.scope_class}")
    odd = [key for key in scope if type(key) is not str]
    stage.check(not odd, f"keys that are no str: {odd!r}")
    for key, is_right in _TYPES.items():
        stage.check(key not in scope or is_right(scope[key]), f"{key}: {scope.get(key)!r}")


@SCOPE.scenario(
    "asgi.scope.required-keys",
    "ASGI, Applications",
    _WWW,
    level=Level.MUST,
    says="The connection scope information passed in scope contains: type, asgi, http_version, method, path, query_string, headers, and more that is "
    "optional.",
    expects="the keys that are not optional, and those that are with the right value or not at all",
    bad=Distortion(app=scoped(lambda scope: {key: value for key, value in scope.items() if key != "query_string"})),
)
def required_keys(stage: Stage) -> None:
    scope = scope_of(told(stage, path="/path"))
    missing = [key for key in ("type", "asgi", "http_version", "method", "path", "query_string", "headers") if key not in scope]
    stage.check(not missing, f"not there: {', '.join(missing)}")
    # With what each optional one may be here; none of them need be there.
    right: dict[str, tuple[Any, ...]] = {
        "type": ("http",),
        "method": ("GET",),
        "http_version": ("1.1",),
        "path": ("/path",),
        "query_string": (b"",),
        "root_path": ("",),
    }
    right |= {"scheme": ("http",), "raw_path": (b"/path", None)}
    for key, values in right.items():
        stage.check(scope.get(key, values[0]) in values, f"{key}: {scope.get(key)!r}")


def _reusing(app: Any) -> Any:
    """A server with one scope for all."""
    shared: dict[str, Any] = {}

    async def reuses(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        shared.update(scope)
        await app(shared, receive, send)

    return reuses


@SCOPE.scenario(
    "asgi.scope.fresh",
    "ASGI, Connection Scope",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says="For example, under HTTP the connection scope lasts just one request, but the scope passed contains most of the request data (apart from "
    "the HTTP request body, as this is streamed in via events).",
    expects="nothing in the scope of the second request of a connection that the application put into that of the first",
    bad=Distortion(app=_reusing),
)
def fresh(stage: Stage) -> None:
    script = [["set-scope", "leaked", 1], ["set-scope", "root_path", "/leaked"], ["answer"]]
    connection = stage.connect()
    connection.send(stage.encode_request(script=script, path="/first"))
    connection.read_response()
    connection.send(stage.encode_request(path="/second"))
    connection.read_response()
    records = stage.records(2)
    stage.check(len(records) == 2, f"{len(records)} calls for two requests")
    scope = scope_of(records[1])
    stage.check(scope.get("path") == "/second", f"path {scope.get('path')!r} for the second request")
    stage.check("leaked" not in scope, "a key of the first request's scope in that of the second")
    stage.check(scope.get("root_path", "") != "/leaked", "a changed value of the first request's scope in that of the second")


def _sharing(app: Any) -> Any:
    """A server with one state, which is nobody's copy."""
    shared: dict[str, Any] = {}

    async def shares(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": shared}, receive, send)

    return shares


@SCOPE.scenario(
    "asgi.scope.state-copy",
    "ASGI lifespan, Lifespan State",
    _WWW,
    level=Level.MUST,
    says="The server will ensure that a shallow copy of the namespace is passed into each subsequent request/response call into the application.",
    expects="the value that the lifespan set and not the one that a request set, and what was put into the shared list",
    bad=Distortion(app=_sharing),
    needs=("lifespan", "state"),
)
def state_copy(stage: Stage) -> None:
    connection = stage.connect()
    connection.send(stage.encode_request(script=[["set-state", "n", 2], ["set-state", "added", 1], ["append-state", "list", "shared"], ["answer"]]))
    first = connection.read_response()
    stage.check(first.status == UNSCRIPTED, f"{first.status}: there is no such state")
    connection.send(stage.encode_request())
    connection.read_response()
    states = [plain(scope_of(record).get("state")) for record in stage.records(2)]
    for state in states:
        stage.check(isinstance(state, dict), f"state {state!r}")
        stage.check(state.get("n") == 1, f"n is {state.get('n')!r}, which the lifespan set to 1")
    stage.check("added" not in states[-1], "a key that another request added")
    stage.check("shared" in states[-1].get("list", ()), "the list is not the lifespan's: what one request put into it is not there for the next")


_EXTENSIONS: Final[Mapping[str, Any]] = {
    "http.response.push": {"type": "http.response.push", "path": "/pushed", "headers": []},
    "http.response.zerocopysend": {"type": "http.response.zerocopysend", "file": {"file": 10}},
    "http.response.pathsend": {"type": "http.response.pathsend", "path": {"path": 10}},
    "http.response.early_hint": {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]},
    "http.response.trailers": {"type": "http.response.trailers", "headers": []},
    "http.response.debug": {"type": "http.response.debug", "info": {}},
}


@SCOPE.scenario(
    "asgi.scope.extensions",
    "ASGI, Extensions",
    "ASGI, Error Handling",
    level=Level.MUST,
    says="This is achieved via an extensions entry in the scope dictionary, which is itself a dict.",
    expects="a dict of dicts, or none; and an exception out of send() for the message of an extension that is not in it",
    bad=changing(extensions=["http.response.trailers"]),
)
def extensions(stage: Stage) -> None:
    advertised = plain(scope_of(told(stage)).get("extensions"))
    if advertised is None:
        advertised = {}
    stage.check(isinstance(advertised, dict), f"extensions {advertised!r}")
    stage.check(all(isinstance(name, str) for name in advertised), f"extensions {advertised!r}")
    stage.tell(f"advertised: {', '.join(sorted(advertised)) or 'none'}")
    odd = [name for name, value in advertised.items() if not isinstance(plain(value), dict)]
    if odd:
        # "the value of that entry should itself be a dict"
        stage.warn(f"no dict: {', '.join(odd)}")
    taken = [name for name, message in _EXTENSIONS.items() if name not in advertised and _takes(stage, message)]
    if taken:
        # "it should raise an exception out of the send awaitable"
        stage.warn(f"send() took messages of extensions that are not advertised: {', '.join(taken)}")


def _takes(stage: Stage, message: Any) -> bool:
    """Whether send() takes ``message`` after the start of a response."""
    stage.mark()
    connection = stage.connect()
    connection.send(stage.encode_request(script=[["start"], ["try", ["send", message]], ["try", ["body", "x"]]]))
    record = stage.record()
    # Whatever it makes of that.
    connection.close()
    return not record.send_errors
