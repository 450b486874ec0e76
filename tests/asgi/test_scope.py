"""The scope of a request and of a handshake (ASGI www.rst): its keys, the root path, and that nothing of it is anybody else's."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import unquote_to_bytes

import asgiref.typing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.asgi.proxy import TrustedProxies
from asgiserve.asgi.scope import http_scope, websocket_scope
from asgiserve.errors import RemoteProtocolError
from tests.support.exchanges import FakePeer, make_context, make_exchange
from tests.support.properties import examples
from tests.support.typed import mismatch, not_plain

Fields = list[tuple[bytes, bytes]]

TLS: dict[str, Any] = {
    "server_cert": "-----BEGIN CERTIFICATE-----\n",
    "tls_version": 0x0304,
    "cipher_suite": 0x1301,
    "client_cert_chain": ["leaf", "intermediate"],
    "client_cert_name": "CN=client",
    "client_cert_error": None,
}


def scope(target: bytes = b"/", *, method: bytes = b"GET", peer: FakePeer | None = None, root_path: str = "", **facts: Any) -> dict[str, Any]:
    exchange, _ = make_exchange(method, target, **facts)
    return http_scope(make_context(root_path=root_path), exchange, peer or FakePeer())


def handshake(*, peer: FakePeer | None = None, fields: Fields | None = None, **options: Any) -> dict[str, Any]:
    exchange, _ = make_exchange(b"GET", b"/chat?a=b", fields=fields or [(b"host", b"x")])
    return websocket_scope(make_context(**options), exchange, peer or FakePeer())


# ---- the keys


def test_the_scope_of_a_request() -> None:
    fields = [(b"host", b"x"), (b"x-a", b"1"), (b"x-a", b"\xff")]
    assert scope(b"/a%2Fb%20c/%E4%BD%A0?q=%41&x", method=b"POST", fields=fields) == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("192.0.2.1", 50000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": "/a/b c/\u4f60",
        "raw_path": b"/a%2Fb%20c/%E4%BD%A0",
        "query_string": b"q=%41&x",
        "headers": [(b"host", b"x"), (b"x-a", b"1"), (b"x-a", b"\xff")],
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
            "http.response.zerocopysend": {},
        },
    }


def test_the_scope_of_a_handshake() -> None:
    fields = [(b"host", b"x"), (b"sec-websocket-protocol", b"chat, superchat"), (b"sec-websocket-protocol", b" v2.chat ,")]
    assert handshake(fields=fields) == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("192.0.2.1", 50000),
        "scheme": "ws",
        "root_path": "",
        "path": "/chat",
        "raw_path": b"/chat",
        "query_string": b"a=b",
        "headers": fields,
        # S71: in the client's order, over all lines.
        "subprotocols": ["chat", "superchat", "v2.chat"],
        "extensions": {"websocket.http.response": {}},
    }


@pytest.mark.parametrize("state", [None, {"a": object()}], ids=["no lifespan", "a lifespan"])
@pytest.mark.parametrize(
    "peer",
    [FakePeer(), FakePeer(client=None, server=None), FakePeer(client=None, server=("/run/x.sock", None)), FakePeer(scheme="https", tls=TLS)],
    ids=["tcp", "nothing known", "unix", "tls"],
)
def test_a_scope_fits_asgirefs_types_and_is_made_of_plain_values(state: dict[str, Any] | None, peer: FakePeer) -> None:
    # asgi.scope.types, S4
    for made, expected in (
        (http_scope(make_context(state=state, root_path="/p"), make_exchange(fields=[(b"host", b"x")])[0], peer), asgiref.typing.HTTPScope),
        (handshake(peer=peer, state=state, root_path="/p", fields=[(b"sec-websocket-protocol", b"a")]), asgiref.typing.WebSocketScope),
    ):
        assert mismatch(made, expected, "scope") == ""
        made.pop("state", None)  # what is in it is the application's
        assert not_plain(made, "scope") == ""


def test_the_checks_of_types_find_what_is_wrong() -> None:
    good = scope()
    for key, wrong in {
        "type": "websocket",
        "path": b"/",
        "raw_path": "/",
        "headers": [("host", b"x")],
        "client": ("192.0.2.1", "50000"),
        "asgi": {"version": "4.0", "spec_version": "2.5"},
        "extensions": {"a": None},
        "surplus": 1,
    }.items():
        assert mismatch({**good, key: wrong}, asgiref.typing.HTTPScope)
    assert mismatch({key: value for key, value in good.items() if key != "path"}, asgiref.typing.HTTPScope)
    for wrong in (object(), bytearray(b"x"), {1: 2}, [{"a": {b"b": 1}}], 2**63, float("inf"), {1, 2}):
        assert not_plain({"a": wrong})


@pytest.mark.parametrize(("minor_version", "http_version"), [(0, "1.0"), (1, "1.1"), (2, "1.1"), (9, "1.1")])
def test_the_version_is_one_that_asgi_has(minor_version: int, http_version: str) -> None:
    # S18; RFC 9110 §6.2: a higher minor version is served as 1.1.
    assert scope(minor_version=minor_version)["http_version"] == http_version


@pytest.mark.parametrize("asgi_version", ["2.0", "3.0"])
def test_the_version_of_asgi_is_the_applications(asgi_version: str) -> None:
    # S3
    made = http_scope(make_context(asgi_version=asgi_version), make_exchange()[0], FakePeer())
    assert made["asgi"] == {"version": asgi_version, "spec_version": "2.5"}


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"FROBNICATE", b"M-SEARCH", b"frob"])
def test_the_method_is_the_token_that_was_sent(method: bytes) -> None:
    assert scope(method=method)["method"] == method.decode()


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        pytest.param(b"/?", "/", b"/", b"", id="asgi.scope.query empty"),
        pytest.param(b"/?a?b", "/", b"/", b"a?b", id="asgi.scope.query two question marks"),
        pytest.param(b"/%FF", "/\ufffd", b"/%FF", b"", id="asgi.scope.path-bad-utf8"),
        pytest.param(b"http://h/p?q", "/p", b"/p", b"q", id="S21 absolute-form"),
        pytest.param(b"//x", "//x", b"//x", b"", id="two slashes"),
    ],
)
def test_path_and_query_are_what_the_target_says(target: bytes, path: str, raw_path: bytes, query: bytes) -> None:
    made = scope(target)
    assert (made["path"], made["raw_path"], made["query_string"]) == (path, raw_path, query)


@pytest.mark.parametrize(("scheme", "websocket_scheme"), [("http", "ws"), ("https", "wss")])
def test_the_scheme_is_the_connections(scheme: str, websocket_scheme: str) -> None:
    # S20
    peer = FakePeer(scheme=scheme)
    assert scope(peer=peer)["scheme"] == scheme
    assert handshake(peer=peer)["scheme"] == websocket_scheme


def test_tls_is_there_on_tls_alone() -> None:
    # S89
    assert "tls" not in scope()["extensions"]
    assert "tls" not in handshake()["extensions"]
    peer = FakePeer(scheme="https", tls=TLS)
    assert scope(peer=peer)["extensions"]["tls"] == TLS
    assert handshake(peer=peer)["extensions"]["tls"] == TLS


def test_a_handshake_with_malformed_subprotocols_is_refused() -> None:
    # CVE-2026-42544: bytes outside of ASCII.
    with pytest.raises(RemoteProtocolError) as caught:
        handshake(fields=[(b"sec-websocket-protocol", b"\x80\xff")])
    assert caught.value.status == 400


# ---- the root path


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("root_path", "target", "path", "raw_path"),
    [
        pytest.param("/p", b"/p/x", "/p/x", b"/p/x", id="asgi.scope.root-path: the proxy kept the prefix"),
        pytest.param("/p", b"/p", "/p", b"/p", id="the prefix alone"),
        pytest.param("/p", b"/p/", "/p/", b"/p/", id="the prefix with a slash"),
        pytest.param("/p", b"/x", "/p/x", b"/p/x", id="the proxy stripped the prefix"),
        pytest.param("/p", b"/", "/p/", b"/p/", id="the root of what was stripped"),
        pytest.param("/p", b"/px", "/p/px", b"/p/px", id="what only begins like the prefix"),
        pytest.param("/p", b"/x/p/y", "/p/x/p/y", b"/p/x/p/y", id="the prefix elsewhere"),
        pytest.param("/p", b"/P/x", "/p/P/x", b"/p/P/x", id="a path has its case"),
        pytest.param("/p/", b"/x", "/p/x", b"/p/x", id="a slash at the end of the root path"),
        pytest.param("/p//", b"/p/x", "/p/x", b"/p/x", id="two of them"),
        pytest.param("/a/b", b"/a/x", "/a/b/a/x", b"/a/b/a/x", id="half of the prefix"),
        pytest.param("/p", b"/%70/x", "/p/x", b"/%70/x", id="the prefix percent-encoded"),
        pytest.param("/p", b"/p%2Fx", "/p/x", b"/p%2Fx", id="a slash percent-encoded"),
        pytest.param("/a b", b"/x", "/a b/x", b"/a%20b/x", id="a root path to be encoded"),
        pytest.param("/a b", b"/a%20b/x", "/a b/x", b"/a%20b/x", id="a root path that was encoded"),
        pytest.param("/\xe9", b"/x", "/\xe9/x", b"/%C3%A9/x", id="outside of ASCII"),
        pytest.param("/50%", b"/x", "/50%/x", b"/50%25/x", id="a percent sign"),
        pytest.param("/a?b", b"/x", "/a?b/x", b"/a%3Fb/x", id="a question mark"),
        pytest.param("/~u:v@w;x=(y)", b"/x", "/~u:v@w;x=(y)/x", b"/~u:v@w;x=(y)/x", id="what needs no encoding"),
        pytest.param("", b"/x", "/x", b"/x", id="none"),
        pytest.param("/", b"/x", "/x", b"/x", id="only a slash"),
    ],
)
def test_path_and_raw_path_lie_under_the_root_path(kind: str, root_path: str, target: bytes, path: str, raw_path: bytes) -> None:
    exchange, _ = make_exchange(b"GET", target + b"?q")
    made = (http_scope if kind == "http" else websocket_scope)(make_context(root_path=root_path), exchange, FakePeer())
    assert made["root_path"] == root_path.rstrip("/")
    assert (made["path"], made["raw_path"], made["query_string"]) == (path, raw_path, b"q")


def test_an_asterisk_lies_nowhere() -> None:
    made = scope(b"*", method=b"OPTIONS", root_path="/p")
    assert (made["root_path"], made["path"], made["raw_path"]) == ("/p", "*", b"*")


segments = st.lists(st.sampled_from(["p", "a b", "\xe9", "%", "?", "x", "", "p%"]), max_size=4)


@examples(300)
@given(segments, st.lists(st.sampled_from([b"p", b"%70", b"a%20b", b"%C3%A9", b"%25", b"%3F", b"x", b"", b"%FF"]), max_size=5))
def test_the_paths_agree_with_each_other_and_with_the_root_path(root: list[str], path: list[bytes]) -> None:
    root_path = "".join("/" + segment for segment in root)
    made = scope(b"/" + b"/".join(path), root_path=root_path)
    assert made["path"] == made["root_path"] or made["path"].startswith(made["root_path"] + "/")
    assert unquote_to_bytes(made["raw_path"]).decode("utf-8", "replace") == made["path"]
    assert made["raw_path"].isascii()


# ---- whose client it is


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize("configured", [False, True])
def test_forwarded_fields_count_where_a_trusted_peer_sends_them(trusted: bool, said: bool, configured: bool) -> None:
    # asgi.scope.proxy-headers-off
    fields = [(b"host", b"x"), (b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    proxies = TrustedProxies(["192.0.2.1"]) if configured else None
    for make, schemes in ((http_scope, ("http", "https")), (websocket_scope, ("ws", "wss"))):
        exchange, _ = make_exchange(fields=list(fields), forwarded=said)
        made = make(make_context(proxies=proxies), exchange, FakePeer(trusted=trusted))
        believed = trusted and said and configured
        assert made["client"] == (("203.0.113.7", 0) if believed else ("192.0.2.1", 50000))
        assert made["scheme"] == schemes[believed]
        assert made["headers"] == fields
        # For the access log.
        assert exchange.client == made["client"]


# ---- S17: nothing of a scope is anybody else's


def spoil(value: Any) -> None:
    """Change everything in ``value`` that can be changed."""
    if isinstance(value, dict):
        for key in list(value):
            spoil(value[key])
            value[key] = "spoilt"
        value["added"] = "spoilt"
    elif isinstance(value, list):
        for item in value:
            spoil(item)
        value[:] = ["spoilt"]


@pytest.mark.parametrize("make", [http_scope, websocket_scope])
def test_nothing_that_is_done_to_one_scope_is_seen_in_another(make: Any) -> None:
    # asgi.scope.fresh; CVE-2020-35681
    peer = FakePeer(scheme="https", tls=copy.deepcopy(TLS))
    shared = make_context(state={"n": 1}, root_path="/p", proxies=TrustedProxies(["*"]))

    def fresh() -> dict[str, Any]:
        exchange, _ = make_exchange(fields=[(b"host", b"x"), (b"sec-websocket-protocol", b"a")])
        made: dict[str, Any] = make(shared, exchange, peer)
        return made

    untouched = copy.deepcopy(fresh())
    spoil(fresh())
    assert fresh() == untouched
    assert (peer.tls, shared.state) == (TLS, {"n": 1})


def test_two_scopes_share_no_dict_and_no_list() -> None:
    peer = FakePeer(scheme="https", tls=copy.deepcopy(TLS))
    shared = make_context(state={})

    def containers(value: Any) -> list[Any]:
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        return [*([value] if isinstance(value, dict | list) else []), *(found for item in inner for found in containers(item))]

    first, second = (containers(http_scope(shared, make_exchange()[0], peer)) for _ in range(2))
    assert len(first) == len(second) > 8
    assert not {id(value) for value in first} & {id(value) for value in second}


def test_state_is_absent_without_a_lifespan() -> None:
    assert "state" not in scope()
    assert "state" not in handshake()


@pytest.mark.parametrize("make", [http_scope, websocket_scope])
def test_state_is_a_shallow_copy(make: Any) -> None:
    # S82, asgi.scope.state-copy
    shared: list[int] = []
    state = {"n": 1, "l": shared}
    served = make_context(state=state)
    first = make(served, make_exchange()[0], FakePeer())["state"]
    first["n"] = 2
    first["new"] = 3
    first["l"].append(4)
    second = make(served, make_exchange()[0], FakePeer())["state"]
    assert second == {"n": 1, "l": [4]}
    assert second["l"] is shared
    assert state == {"n": 1, "l": [4]}


def test_an_empty_state_is_there() -> None:
    served = make_context(state={})
    made = http_scope(served, make_exchange()[0], FakePeer())
    assert made["state"] == {}
    assert made["state"] is not served.state
