"""The ASGI contract: what the scope says of a request and of its connection (ASGI www)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.drive import Traced
from asgi_conformance.suite.dialogue import plain, scoped
from asgi_conformance.suite.scopes import UNSCRIPTED, changing, is_headers, is_int, is_pair_of, is_str, listed, or_none, scope_of, told
from pytest_asgiserve.raw import Unanswered

if TYPE_CHECKING:
    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage

__all__ = ["SCOPE_VALUES"]

SCOPE_VALUES: Final = Topic("asgi/scope-values", "ASGI: what the scope says")

_WWW: Final = "ASGI www, HTTP Connection Scope"
_TARGET: Final = "/a%2Fb%20c/%E4%BD%A0"
_DECODED: Final = "/a/b c/\N{CJK UNIFIED IDEOGRAPH-4F60}"
# Of this machine, on Linux, and no proxy that a server believes unless it is told to.
_STRANGER: Final = "127.0.0.2"


@SCOPE_VALUES.scenario(
    "asgi.scope.path-decoded",
    _WWW,
    "ASGI www, WSGI encoding differences",
    "RFC 3986 §7.3",
    level=Level.MUST,
    says="HTTP request target excluding any query string, with percent-encoded sequences and UTF-8 byte sequences decoded into characters.",
    expects=f"the path {_DECODED!r} for {_TARGET}",
    bad=changing(path=_TARGET),
)
def path_decoded(stage: Stage) -> None:
    for query in ("", "?a=/b%20c"):
        path = scope_of(told(stage, path=_TARGET + query)).get("path")
        stage.check(path == _DECODED, f"{path!r} for {_TARGET + query}")


@SCOPE_VALUES.scenario(
    "asgi.scope.path-bad-utf8",
    _WWW,
    "RFC 3629 §3",
    level=Level.INFO,
    says="The text does not say what a path is that is no UTF-8; a server refuses it, or tells a str.",
    expects="a str, or 400",
    bad=changing(path=b"/\xff"),
)
def path_bad_utf8(stage: Stage) -> None:
    response = stage.request(path="/%FF")
    if response.status != UNSCRIPTED:
        stage.check(response.status in range(400, 500), f"{response.status}")
        stage.tell(f"refused with {response.status}")
        return
    path = scope_of(stage.record()).get("path")
    stage.check(isinstance(path, str), f"the path {path!r}")
    names = {0xFFFD: "the replacement character", 0xDCFF: "surrogateescape", 0xFF: "latin-1", ord("%"): "as it was sent"}
    stage.tell(f"the path {path!r}: {names.get(ord(str(path)[1:2] or '/'), 'something else')}")


@SCOPE_VALUES.scenario(
    "asgi.scope.raw-path",
    _WWW,
    "RFC 3986 §3.3",
    level=Level.MUST,
    says="The original HTTP path component, excluding any query string, unmodified from the bytes that were received by the web server.",
    expects="the bytes of the path without the query, or None, or no raw_path at all",
    bad=changing(raw_path=_DECODED.encode()),
)
def raw_path(stage: Stage) -> None:
    for path in (_TARGET, "/a//b/../c;d=%7e"):
        for query in ("", "?q=%41"):
            raw = scope_of(told(stage, path=path + query)).get("raw_path")
            stage.check(raw in (path.encode(), None), f"{raw!r} for {path + query}")
            if raw is None:
                stage.tell("there is none")
                return


@SCOPE_VALUES.scenario(
    "asgi.scope.query",
    _WWW,
    "RFC 3986 §3.4",
    level=Level.MUST,
    says="URL portion after the ?, percent-encoded.",
    expects="the bytes behind the first question mark as they were sent, and b'' where there are none",
    bad=changing(query_string=b"q=A&x"),
)
def query(stage: Stage) -> None:
    for path, wanted in (("/?q=%41&x", b"q=%41&x"), ("/?", b""), ("/", b""), ("/?a?b", b"a?b"), ("/a%3Fb?c=%26+d", b"c=%26+d")):
        seen = scope_of(told(stage, path=path)).get("query_string")
        stage.check(seen == wanted, f"{seen!r} for {path}")


@SCOPE_VALUES.scenario(
    "asgi.scope.method-case",
    _WWW,
    "RFC 9110 §9.1",
    level=Level.CONFLICT,
    says="ASGI: the HTTP method name, uppercased. RFC 9110: the method token is case-sensitive.",
    expects="the method get refused, told as it is, or in upper case",
    bad=Distortion(to_client=lambda data: data.replace(b"HTTP/1.1 501", b"HTTP/1.1 302")),
)
def method_case(stage: Stage) -> None:
    try:
        response = stage.request(method="get")
    except Unanswered:
        stage.tell("refused by closing the connection")
        return
    if response.status != UNSCRIPTED:
        stage.check(response.status in range(400, 600), f"{response.status}")
        stage.tell(f"refused with {response.status}")
        return
    method = scope_of(stage.record()).get("method")
    stage.check(method in ("get", "GET"), f"the method {method!r}")
    stage.tell("kept" if method == "get" else "in upper case")


@SCOPE_VALUES.scenario(
    "asgi.scope.http-version",
    _WWW,
    level=Level.MUST,
    says='http_version (Unicode string) -- One of "1.0", "1.1" or "2".',
    expects='"1.0" for HTTP/1.0 and "1.1" for HTTP/1.1',
    bad=changing(http_version="1.1"),
)
def http_version(stage: Stage) -> None:
    for version in ("1.1", "1.0"):
        seen = scope_of(told(stage, version=version)).get("http_version")
        stage.check(seen == version, f"{seen!r} for HTTP/{version}")


@SCOPE_VALUES.scenario(
    "asgi.scope.scheme",
    _WWW,
    level=Level.MUST,
    says='URL scheme portion (likely "http" or "https"). Optional (but must not be empty); default is "http".',
    expects="http without TLS, https with it",
    bad=changing(scheme="http"),
    needs=("tls",),
    own=True,
)
def scheme(stage: Stage) -> None:
    seen = scope_of(told(stage)).get("scheme", "http")
    stage.check(seen == "http", f"{seen!r} without TLS")
    from asgiserve.errors import ConfigError  # noqa: PLC0415 - only who tests TLS needs what makes its certificates
    from pytest_asgiserve.authority import session_authority  # noqa: PLC0415

    try:
        authority = session_authority()
    except ConfigError as error:
        stage.require(False, str(error))
        return
    files = authority.server_options
    encrypted = stage.own(settings={"certfile": files["ssl_certfile"], "keyfile": files["ssl_keyfile"]})
    encrypted.mark()
    connection = encrypted.connect(tls=authority.client_context())
    connection.send(encrypted.encode_request())
    response = connection.read_response()
    stage.check(response.status == UNSCRIPTED, f"{response.status} over TLS")
    seen = scope_of(encrypted.record()).get("scheme", "http")
    stage.check(seen == "https", f"{seen!r} with TLS")


_FIELDS: Final = ("X-Mixed-CASE: Value", "X-A: 1", "X-B: 2", "X-A: 3", "X-Latin: \xe9")
_PAIRS: Final = [(b"x-mixed-case", b"Value"), (b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3"), (b"x-latin", b"\xe9")]


def _headers(record: Record) -> Any:
    return listed(record.scope).get("headers")


@SCOPE_VALUES.scenario(
    "asgi.scope.headers-lower",
    _WWW,
    level=Level.SHOULD,
    says="Header names should be lowercased, but it is not required; servers should preserve header case on a best-effort basis.",
    expects="the names in lower case",
    bad=Distortion(app=scoped(lambda scope: {**scope, "headers": [(name.title(), value) for name, value in scope.get("headers", ())]})),
)
def headers_lower(stage: Stage) -> None:
    headers = _headers(told(stage, *_FIELDS))
    names = [name for name, _ in headers if name.lower().startswith(b"x-")]
    stage.check(b"x-mixed-case" in names, f"the names {names!r}")
    stage.check(all(name == name.lower() for name in names), f"the names {names!r}")


@SCOPE_VALUES.scenario(
    "asgi.scope.headers-bytes",
    _WWW,
    "ASGI www, WSGI encoding differences",
    level=Level.MUST,
    says="An iterable of [name, value] two-item iterables, where name is the header name, and value is the header value. Order of header values must "
    "be preserved from the original HTTP request; order of header names is not important. Duplicates are possible and must be preserved in the "
    "message as received.",
    expects="pairs of bytes, the values as they were sent and in their order, which can be read twice",
    bad=Distortion(app=scoped(lambda scope: {**scope, "headers": [(name, value.decode("latin-1")) for name, value in scope.get("headers", ())]})),
)
def headers_bytes(stage: Stage) -> None:
    record = told(stage, *_FIELDS)
    headers = _headers(record)
    stage.check(is_headers(headers), f"{headers!r}")
    for name in dict(_PAIRS):
        seen = [value for key, value in headers if key.lower() == name]
        wanted = [value for key, value in _PAIRS if key == name]
        stage.check(seen == wanted, f"{name!r} is {seen!r}")
    if not record.headers_repeat:
        # The text says "iterable" and no more; but whoever comes second finds nothing.
        stage.warn("the headers can be read once only")


@SCOPE_VALUES.scenario(
    "asgi.scope.client-server",
    _WWW,
    level=Level.MUST,
    says="A two-item iterable of [host, port], where host is the remote host's IPv4 or IPv6 address, and port is the remote port as an integer. "
    "Optional; if missing defaults to None.",
    expects="[host, port] of both sides of a TCP connection, [path, None] of a UNIX socket, or None",
    bad=changing(server=["somewhere.sock", None]),
    own=True,
)
def client_server(stage: Stage) -> None:
    connection = stage.connect()
    ours = list(connection.sock.getsockname()[:2])
    connection.send(stage.encode_request())
    connection.read_response()
    scope = plain(stage.record().scope)
    _check_end(stage, scope, "client", ours)
    _check_end(stage, scope, "server", list(stage.address))
    if "uds" not in stage.running.target.bind:
        stage.tell("it has no UNIX sockets")
        return
    socketed = stage.own(bind="uds")
    response = socketed.request()
    stage.check(response.status == UNSCRIPTED, f"{response.status} over a UNIX socket")
    scope = plain(socketed.record().scope)
    client = plain(scope.get("client"))
    stage.check(or_none(lambda value: is_pair_of(value, is_str, is_int))(client), f"the client {client!r} of a UNIX socket")
    _check_end(stage, scope, "server", [socketed.running.address, None])


def _check_end(stage: Stage, scope: dict[str, Any], key: str, wanted: list[Any]) -> None:
    seen = plain(scope.get(key))
    if seen is None:
        stage.tell(f"no {key} for {wanted}")
    else:
        stage.check(seen == wanted, f"the {key} {seen!r}, which is {wanted!r}")


def _believing(scope: dict[str, Any]) -> dict[str, Any]:
    fields = dict(scope.get("headers", ()))
    return {**scope, "scheme": fields.get(b"x-forwarded-proto", b"http").decode()}


@SCOPE_VALUES.scenario(
    "asgi.scope.proxy-headers-off",
    _WWW,
    level=Level.HARD,
    says="A client that is no proxy that the server was told of says who it is and how it came in fields that anybody can write: they are "
    "not believed.",
    expects="client, scheme and server as the connection has them",
    bad=Distortion(app=scoped(_believing)),
)
def proxy_headers_off(stage: Stage) -> None:
    try:
        sock = socket.create_connection(stage.address, 5, source_address=(_STRANGER, 0))
    except OSError as error:
        stage.require(False, f"there is no connection from {_STRANGER}, which no server believes: {error}")
        return
    connection = stage.connect()
    connection.sock.close()
    connection.sock = Traced(sock, stage.trace)  # type: ignore[assignment]  # a socket by shape
    ours = list(sock.getsockname()[:2])
    lines = ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "X-Forwarded-Host: evil.example"]
    lines += ["X-Forwarded-Prefix: /evil", "Forwarded: for=192.0.2.7;proto=https;host=evil.example", "X-Real-IP: 192.0.2.7", "X-Scheme: https"]
    connection.send(stage.encode_request(*lines))
    response = connection.read_response()
    stage.check(response.status == UNSCRIPTED, f"{response.status}")
    scope = plain(stage.record().scope)
    client = plain(scope.get("client"))
    # Only who it is: of what types the two are is another case.
    stage.check(client is None or client[0] == _STRANGER, f"the client {client!r}, which is {ours!r}")
    stage.check(scope.get("scheme", "http") == "http", f"the scheme {scope.get('scheme')!r}")
    stage.check(scope.get("root_path", "") == "", f"root_path {scope.get('root_path')!r}")
    stage.check("evil" not in repr(plain(scope.get("server"))), f"the server {scope.get('server')!r}")
    hosts = [value for name, value in plain(scope["headers"]) if name.lower() == b"host"]
    stage.check(hosts == [b"a.example"], f"the Host {hosts!r}")


@SCOPE_VALUES.scenario(
    "asgi.scope.root-path",
    _WWW,
    level=Level.MUST,
    says="root_path (Unicode string) -- The root path this application is mounted at; same as SCRIPT_NAME in WSGI.",
    expects='root_path "/p" and path "/p/x" for /p/x where the application is mounted at /p: stripping root_path from path gives PATH_INFO',
    bad=Distortion(app=scoped(lambda scope: {**scope, "path": scope["path"].removeprefix("/p")} if scope["type"] == "http" else scope)),
    own=True,
)
def root_path(stage: Stage) -> None:
    own = stage.own(settings={"root_path": "/p"})
    scope = scope_of(told(own, path="/p/x"))
    stage.check(scope.get("root_path") == "/p", f"root_path {scope.get('root_path')!r}")
    path = scope.get("path")
    if path == "/p/p/x":
        # For a proxy that takes the prefix away before it passes a request on. The text knows no proxies.
        stage.warn("the path /p/p/x for /p/x: root_path is put before whatever is asked for")
    else:
        stage.check(path == "/p/x", f"the path {path!r} for /p/x")
    raw = scope.get("raw_path")
    stage.check(raw in (None, b"/p/x") or path == "/p/p/x", f"raw_path {raw!r} for /p/x")
