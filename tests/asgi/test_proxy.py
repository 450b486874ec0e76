"""Forwarded fields: who is believed, and which hop (RFC 7239, X-Forwarded-For, X-Forwarded-Proto)."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.asgi.proxy import TrustedProxies
from asgiserve.errors import ConfigError
from tests.support.properties import examples

KIB_64 = 64 * 1024
PEER = ("10.0.0.1", 1111)
OURS = TrustedProxies(["10.0.0.0/8", "2001:db8:aaaa::/48"])
OURS_STANDARD = TrustedProxies(["10.0.0.0/8", "2001:db8:aaaa::/48"], standard=True)
CLIENT = "203.0.113.7"

Client = tuple[str, int] | None


def resolve(*lines: tuple[str, str], proxies: TrustedProxies | None = None, client: Client = PEER, scheme: str = "http") -> tuple[Client, str]:
    """What the proxies say with these field lines, among others; by default they are of the kind that the first line is."""
    if proxies is None:
        proxies = OURS_STANDARD if lines and lines[0][0] == "forwarded" else OURS
    fields = [(b"host", b"x"), *((name.encode(), value.encode("latin-1")) for name, value in lines), (b"x-other", b"1.2.3.4")]
    return proxies.resolve(fields, client, scheme)


def x_for(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", value) for value in values]


def x_proto(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-proto", value) for value in values]


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("forwarded", value) for value in values]


# ---- who is believed


@pytest.mark.parametrize(
    ("trusted", "host", "believed"),
    [
        pytest.param(["127.0.0.1"], "127.0.0.1", True, id="an address"),
        pytest.param(["127.0.0.1"], "127.0.0.2", False, id="another address"),
        pytest.param(["127.0.0.1", "::1"], "::1", True, id="an IPv6 address"),
        pytest.param(["2001:DB8::0:1"], "2001:db8::1", True, id="the same address written otherwise"),
        pytest.param(["10.0.0.0/8"], "10.255.0.1", True, id="a network"),
        pytest.param(["10.0.0.0/8"], "11.0.0.1", False, id="outside of the network"),
        pytest.param(["10.1.2.3/8"], "10.9.9.9", True, id="a network with host bits"),
        pytest.param(["2001:db8::/32"], "2001:db8:1::1", True, id="an IPv6 network"),
        pytest.param(["2001:db8::/32"], "10.0.0.1", False, id="an IPv4 address and an IPv6 network"),
        pytest.param(["0.0.0.0/0"], "::1", False, id="an IPv6 address and every IPv4 network"),
        pytest.param(["::/0"], "192.0.2.1", False, id="an IPv4 address and every IPv6 network"),
        pytest.param(["10.0.0.1"], "::ffff:10.0.0.1", True, id="IPv4 as a socket for both shows it"),
        pytest.param(["10.0.0.0/8"], "::ffff:10.0.0.1", True, id="that in a network"),
        pytest.param(["::ffff:10.0.0.1"], "::ffff:10.0.0.1", True, id="that in the list"),
        pytest.param(["::ffff:10.0.0.1"], "10.0.0.1", True, id="only in the list"),
        pytest.param(["*"], "203.0.113.7", True, id="everybody"),
        pytest.param(["*"], "/run/x.sock", True, id="everybody, sockets too"),
        pytest.param(["10.0.0.1", "*"], "::1", True, id="everybody among others"),
        pytest.param(["/run/nginx.sock"], "/run/nginx.sock", True, id="a socket's path"),
        pytest.param(["/run/nginx.sock"], "/run/other.sock", False, id="another socket's path"),
        pytest.param(["proxy.internal"], "proxy.internal", True, id="a literal"),
        pytest.param(["proxy.internal"], "10.0.0.1", False, id="a literal is not looked up"),
        pytest.param([], "127.0.0.1", False, id="nobody"),
        pytest.param([], "", False, id="nobody and nothing"),
    ],
)
def test_a_peer_is_believed_where_the_list_has_it(trusted: list[str], host: str, believed: bool) -> None:
    proxies = TrustedProxies(trusted)
    assert proxies.trusts(host) is believed
    assert proxies.trusts(host) is believed, "and the second time"


@pytest.mark.parametrize(
    "item",
    [
        "",
        " ",
        "10.0.0",
        "10.0.0.0.1",
        "999.1.1.1",
        "10.0.0.0/33",
        "10.0.0.0/x",
        "2001:db8::/129",
        "::g",
        "1.2.3.4:80",
        "[::1]",
        "a b",
        "a/b",
        "1.2.3.4 ",
    ],
    ids=repr,
)
def test_what_is_no_address_network_path_or_name_is_one_clear_line(item: str) -> None:
    with pytest.raises(ConfigError, match="--forwarded-allow-ips") as caught:
        TrustedProxies(["127.0.0.1", item])
    assert repr(item) in str(caught.value)


# ---- X-Forwarded-For

UNTRUSTED = [
    pytest.param([CLIENT], (CLIENT, 0), id="one hop"),
    pytest.param([f"1.1.1.1, {CLIENT}"], (CLIENT, 0), id="what stands left of an untrusted hop could be anybody's"),
    pytest.param([f"{CLIENT}, 10.0.0.2"], (CLIENT, 0), id="behind a trusted hop"),
    pytest.param([f"1.1.1.1, {CLIENT}, 10.0.0.3, 10.0.0.2"], (CLIENT, 0), id="the right-most that is not trusted"),
    pytest.param([f"10.9.9.9, {CLIENT}, 10.0.0.2"], (CLIENT, 0), id="a trusted address left of it means nothing"),
    pytest.param(["10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0), id="all of them are trusted: the left-most"),
    pytest.param(["1.1.1.1", CLIENT], (CLIENT, 0), id="several lines are one list"),
    pytest.param(["1.1.1.1", CLIENT, "10.0.0.2"], (CLIENT, 0), id="three lines"),
    pytest.param([f"1.1.1.1,{CLIENT}"], (CLIENT, 0), id="without a space"),
    pytest.param([f"  1.1.1.1 \t,\t {CLIENT}  "], (CLIENT, 0), id="with more of it"),
    pytest.param([f"{CLIENT}:4711"], (CLIENT, 4711), id="a port"),
    pytest.param([f"{CLIENT}:4711, 10.0.0.2:80"], (CLIENT, 4711), id="ports of all hops"),
    pytest.param([f"{CLIENT}:0"], (CLIENT, 0), id="port 0"),
    pytest.param([f"{CLIENT}:"], (CLIENT, 0), id="an empty port"),
    pytest.param(["2001:db8::7"], ("2001:db8::7", 0), id="IPv6"),
    pytest.param(["[2001:db8::7]"], ("2001:db8::7", 0), id="IPv6 in brackets"),
    pytest.param(["[2001:db8::7]:4711"], ("2001:db8::7", 4711), id="IPv6 with a port"),
    pytest.param(["2001:db8::7, [2001:db8:aaaa::1]:80"], ("2001:db8::7", 0), id="IPv6 behind trusted IPv6"),
    pytest.param(["garbage, " + CLIENT], (CLIENT, 0), id="garbage left of the client"),
    pytest.param([", , " + CLIENT], (CLIENT, 0), id="nothing left of the client"),
]


@pytest.mark.parametrize(("values", "client"), UNTRUSTED)
def test_x_forwarded_for_gives_the_right_most_hop_that_is_not_trusted(values: list[str], client: Client) -> None:
    assert resolve(*x_for(*values)) == (client, "http")
    assert resolve(*x_for(*values), client=None) == (client, "http"), "from a UNIX socket"


MALFORMED_NODES = [
    *("unknown", "_hidden", "garbage", "999.1.1.1", "1.2.3", "0x7f.1", "127.1", "01.2.3.4", "1.2.3.4.5", "localhost"),
    *("1.2.3.4:99999", "1.2.3.4:65536", "1.2.3.4:x", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4: 80", "1.2.3.4:\xb2", "1.2.3.4:000080"),
    *(
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]80",
        "[2001:db8::1]x",
        "[2001:db8::1]:x",
        "[2001:db8::1]:99999",
        "[]",
        "[1.2.3.4]",
        "[1.2.3.4]:80",
    ),
    *("::g", ":::", "<script>", '"1.2.3.4"', "1.2.3.4;", "http://1.2.3.4", "1.2.3.4/8", "1.2.3.4 5.6.7.8"),
    "1.2.3.4:" + "9" * 5000,
]


@pytest.mark.parametrize("node", MALFORMED_NODES, ids=lambda node: ascii(node)[:24])
def test_a_hop_that_is_no_address_ends_the_chain(node: str) -> None:
    assert resolve(*x_for(node)) == (PEER, "http")
    assert resolve(*x_for(f"1.1.1.1, {node}")) == (PEER, "http")
    # What a trusted hop said before is true all the same.
    assert resolve(*x_for(f"1.1.1.1, {node}, 10.0.0.2")) == (("10.0.0.2", 0), "http")


@pytest.mark.parametrize("value", ["", ",", " ", "1.1.1.1,", "1.1.1.1, "], ids=repr)
def test_an_empty_last_hop_changes_nothing(value: str) -> None:
    assert resolve(*x_for(value)) == (PEER, "http")


def test_everybody_trusted_gives_the_left_most_hop() -> None:
    everybody = TrustedProxies(["*"])
    assert resolve(*x_for("1.1.1.1, 2.2.2.2"), proxies=everybody) == (("1.1.1.1", 0), "http")
    assert resolve(*x_for("garbage, 2.2.2.2"), proxies=everybody) == (("2.2.2.2", 0), "http")


# ---- X-Forwarded-Proto


@pytest.mark.parametrize(
    ("fors", "protos", "expected"),
    [
        pytest.param([], ["https"], (PEER, "https"), id="alone"),
        pytest.param([], ["HTTPS"], (PEER, "https"), id="in capitals"),
        pytest.param([], [" https "], (PEER, "https"), id="with whitespace"),
        pytest.param([], ["wss"], (PEER, "https"), id="wss is https"),
        pytest.param([], ["ws"], (PEER, "http"), id="ws is http"),
        pytest.param([], ["https, http"], (PEER, "http"), id="the right-most of a list"),
        pytest.param([], ["http", "https"], (PEER, "https"), id="the last of several lines"),
        pytest.param([], ["ftp"], (PEER, "http"), id="another scheme"),
        pytest.param([], ["https\x00"], (PEER, "http"), id="a control"),
        pytest.param([], [""], (PEER, "http"), id="empty"),
        pytest.param([], ["https,"], (PEER, "http"), id="an empty last one"),
        pytest.param([CLIENT], ["https"], ((CLIENT, 0), "https"), id="with an address"),
        pytest.param([f"1.1.1.1, {CLIENT}"], ["https"], ((CLIENT, 0), "https"), id="one for every hop"),
        pytest.param([f"1.1.1.1, {CLIENT}"], ["https, http"], ((CLIENT, 0), "http"), id="hop by hop: the client's"),
        pytest.param([f"{CLIENT}, 10.0.0.2"], ["https, http"], ((CLIENT, 0), "https"), id="hop by hop: behind a trusted one"),
        pytest.param([f"{CLIENT}, 10.0.0.2"], ["gopher, https"], ((CLIENT, 0), "https"), id="hop by hop: an unknown scheme changes nothing"),
        pytest.param([f"1.1.1.1, {CLIENT}, 10.0.0.2"], ["http, https"], ((CLIENT, 0), "https"), id="neither one nor as many: the last"),
        pytest.param(["unknown"], ["https"], (PEER, "https"), id="an unknown address with a scheme"),
    ],
)
def test_x_forwarded_proto_gives_the_scheme(fors: list[str], protos: list[str], expected: tuple[Client, str]) -> None:
    assert resolve(*x_for(*fors), *x_proto(*protos)) == expected
    assert resolve(*x_proto(*protos), *x_for(*fors)) == expected, "in any order of the fields"


def test_a_proxy_may_say_that_the_client_spoke_http() -> None:
    assert resolve(*x_for(CLIENT), *x_proto("http"), scheme="https") == ((CLIENT, 0), "http")
    assert resolve(*x_for(CLIENT), scheme="https") == ((CLIENT, 0), "https")


# ---- Forwarded


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # RFC 7239 §4
        pytest.param(["for=192.0.2.60;proto=https;by=203.0.113.43"], (("192.0.2.60", 0), "https"), id="the RFC's example"),
        pytest.param(['For="[2001:db8:cafe::17]:4711"'], (("2001:db8:cafe::17", 4711), "http"), id="the RFC's example of IPv6"),
        pytest.param(["for=192.0.2.43, for=198.51.100.17"], (("198.51.100.17", 0), "http"), id="the RFC's example of two hops"),
        pytest.param(['for="_gazonk"'], (PEER, "http"), id="the RFC's obfuscated node"),
        pytest.param(["for=unknown;proto=https"], (PEER, "https"), id="an unknown node with a scheme"),
        pytest.param([f"for={CLIENT}"], ((CLIENT, 0), "http"), id="one hop"),
        pytest.param([f'for="{CLIENT}:4711"'], ((CLIENT, 4711), "http"), id="a port in quotes"),
        pytest.param([f"for={CLIENT}:4711"], ((CLIENT, 4711), "http"), id="a port without quotes, which is no token and is sent"),
        pytest.param(["for=[2001:db8::7]"], (("2001:db8::7", 0), "http"), id="brackets without quotes"),
        pytest.param([f'for="{CLIENT[:3]}\\{CLIENT[3:]}"'], ((CLIENT, 0), "http"), id="a quoted pair"),
        pytest.param([f"for={CLIENT}, for=10.0.0.2"], ((CLIENT, 0), "http"), id="behind a trusted hop"),
        pytest.param([f"for=1.1.1.1, for={CLIENT}, for=10.0.0.2"], ((CLIENT, 0), "http"), id="the right-most that is not trusted"),
        pytest.param([f"for={CLIENT};proto=https, for=10.0.0.2;proto=http"], ((CLIENT, 0), "https"), id="the scheme of that hop"),
        pytest.param([f"for={CLIENT}, for=10.0.0.2;proto=https"], ((CLIENT, 0), "https"), id="the scheme of the last hop that says one"),
        pytest.param(["for=1.1.1.1", f"for={CLIENT}"], ((CLIENT, 0), "http"), id="several lines are one list"),
        pytest.param([f"FOR={CLIENT};PROTO=HTTPS"], ((CLIENT, 0), "https"), id="names and schemes in capitals"),
        pytest.param([f"proto=https;host=x;for={CLIENT}"], ((CLIENT, 0), "https"), id="in another order"),
        pytest.param([f' for={CLIENT} ; proto=https ;\tby="_x" '], ((CLIENT, 0), "https"), id="with whitespace around the semicolons"),
        pytest.param([f";;for={CLIENT};;"], ((CLIENT, 0), "http"), id="empty pairs"),
        pytest.param([f", ,for={CLIENT}, ,"], ((CLIENT, 0), "http"), id="empty elements"),
        pytest.param([f'for="a,b;c", for={CLIENT}'], ((CLIENT, 0), "http"), id="separators in quotes"),
        pytest.param([f'secret="\\"";for={CLIENT}'], ((CLIENT, 0), "http"), id="a quote in quotes"),
        pytest.param(["proto=https"], (PEER, "https"), id="only a scheme"),
        pytest.param(["for=1.1.1.1, proto=https"], (PEER, "https"), id="a last hop that does not say for whom"),
        pytest.param(["for=1.1.1.1, by=10.0.0.1"], (PEER, "http"), id="a last hop that says only by whom"),
        pytest.param(['for=1.1.1.1, host="x"'], (PEER, "http"), id="a last hop that says only the host"),
        pytest.param(["for=10.0.0.3, for=10.0.0.2"], (("10.0.0.3", 0), "http"), id="all of them are trusted: the left-most"),
    ],
)
def test_forwarded_gives_the_right_most_hop_that_is_not_trusted(values: list[str], expected: tuple[Client, str]) -> None:
    assert resolve(*forwarded(*values)) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('for="203.0.113.7', id="open quotes"),
        pytest.param('for="203.0.113.7\\"', id="an escaped end of quotes"),
        pytest.param('for="203.0.113.7"x', id="something behind quotes"),
        pytest.param("for=", id="no value"),
        pytest.param("for", id="no equals sign"),
        pytest.param("=203.0.113.7", id="no name"),
        pytest.param("for =203.0.113.7", id="whitespace before the equals sign"),
        pytest.param("for= 203.0.113.7", id="whitespace behind the equals sign"),
        pytest.param("for=203.0.113.7 proto=https", id="no semicolon"),
        pytest.param("203.0.113.7", id="an X-Forwarded-For"),
        pytest.param("for=203.0.113.7;<x>=y", id="a name that is no token"),
        pytest.param("for=1.1.1.1, for=203.0.113.7;x", id="a malformed last hop"),
        pytest.param("x, for=203.0.113.7", id="a malformed first hop"),
    ],
)
def test_a_malformed_forwarded_changes_nothing(value: str) -> None:
    assert resolve(*forwarded(value), *x_proto("https")) == (PEER, "http")


@pytest.mark.parametrize("node", MALFORMED_NODES, ids=lambda node: ascii(node)[:24])
def test_a_forwarded_hop_that_is_no_address_ends_the_chain(node: str) -> None:
    quoted = node.replace('"', '\\"')
    assert resolve(*forwarded(f'for=1.1.1.1, for="{quoted}"')) == (PEER, "http")
    assert resolve(*forwarded(f'for=1.1.1.1, for="{quoted}", for=10.0.0.2')) == (("10.0.0.2", 0), "http")


def test_only_the_kind_that_the_proxies_write_is_believed() -> None:
    # nginx writes X-Forwarded-For and passes a client's own Forwarded on; another proxy does it the other way round.
    lines = [*x_for(CLIENT), *forwarded("for=192.0.2.99;proto=https")]
    assert resolve(*lines) == ((CLIENT, 0), "http")
    lines = [*forwarded(f"for={CLIENT}"), *x_for("192.0.2.99"), *x_proto("https")]
    assert resolve(*lines, proxies=OURS_STANDARD) == ((CLIENT, 0), "http")


def test_an_empty_forwarded_changes_nothing() -> None:
    assert resolve(*forwarded(""), proxies=OURS_STANDARD) == (PEER, "http")


def test_without_a_forwarded_field_nothing_changes() -> None:
    assert resolve() == (PEER, "http")
    assert resolve(client=None, scheme="https") == (None, "https")


# ---- properties

pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("for=", "proto=", "by=", "https", "http", "1.1.1.1", "10.0.0.9", "[2001:db8::9]", "[2001:db8:aaaa::9]", ":80", "unknown"),
                *('"', "\\", ";", ",", " ", "\t", "=", "x", "_h", "\xa0", "\x85"),
            ]
        ),
        st.text('\x00\x1f :;,="[]0123456789abcdef.\xff', max_size=3),
    ),
    max_size=14,
).map("".join)


def is_client(client: Client) -> bool:
    return client == PEER or (client is not None and bool(ipaddress.ip_address(client[0])) and 0 <= client[1] <= 65535)


@examples(500)
@given(st.lists(pieces, max_size=2), st.lists(pieces, max_size=2), st.lists(pieces, max_size=2), st.booleans(), st.booleans())
def test_whatever_comes_there_is_an_address_and_a_scheme(a: list[str], b: list[str], c: list[str], everybody: bool, standard: bool) -> None:
    proxies = TrustedProxies(["*"] if everybody else ["10.0.0.0/8"], standard=standard)
    client, scheme = resolve(*forwarded(*a), *x_for(*b), *x_proto(*c), proxies=proxies)
    assert is_client(client)
    assert scheme in {"http", "https"}


@examples(300)
@given(st.lists(pieces, max_size=3), st.sampled_from(["", ", 10.0.0.2", ", 10.0.0.3:1,[2001:db8:aaaa::1]"]))
def test_nobody_can_talk_a_hop_away_that_a_proxy_saw(said: list[str], trusted: str) -> None:
    # What a client sends itself stands left of what the proxy adds, in the same line or in lines before it.
    expected = ((CLIENT, 0), "http")
    assert resolve(*x_for(*said, CLIENT + trusted)) == expected
    assert resolve(*x_for(", ".join([*said, CLIENT]) + trusted)) == expected


@examples(500)
@given(pieces, st.sampled_from([f"for={CLIENT}", f'for="{CLIENT}"', f'for="{CLIENT}";proto="http";by="_x"', f'by="_x";for={CLIENT}']), st.booleans())
def test_nobody_can_put_a_hop_of_his_own_in_its_place(said: str, added: str, in_one_line: bool) -> None:
    # Open quotes can make all of it malformed; then it is as if there were none.
    lines = forwarded(f"{said}, {added}") if in_one_line else forwarded(said, added)
    assert resolve(*lines) in [((CLIENT, 0), "http"), (PEER, "http")]


# ---- malice


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "value",
    [
        # 0.6 s for 8 kB, and four times that for twice as much, while there were two runs of whitespace side by side.
        pytest.param(" " * KIB_64 + "@", id="whitespace before something else"),
        pytest.param("for=1.1.1.1" + " " * KIB_64 + "@", id="whitespace behind a value"),
        pytest.param("for=" + " " * KIB_64, id="whitespace instead of a value"),
        pytest.param("a" * KIB_64, id="a name without an end"),
        pytest.param('for="' + "a" * KIB_64, id="open quotes"),
        pytest.param('for="' + "\\a" * (KIB_64 // 2), id="quoted pairs in open quotes"),
        pytest.param('for="' + "\\" * KIB_64 + '"x', id="backslashes"),
        pytest.param("for=a;" * (KIB_64 // 6) + "@", id="pairs before something else"),
        pytest.param("for=a," * (KIB_64 // 6), id="hops"),
        pytest.param("for=1.1.1.1," * (KIB_64 // 12), id="hops with addresses"),
        pytest.param(";" * KIB_64, id="semicolons"),
        pytest.param("," * KIB_64, id="commas"),
        pytest.param(" ," * (KIB_64 // 2) + "@", id="commas with whitespace"),
        pytest.param("1.1.1.1," * (KIB_64 // 8), id="addresses"),
        pytest.param("[" * KIB_64, id="brackets"),
        pytest.param("for=1.1.1.1:" + "1" * KIB_64, id="a port"),
        pytest.param("1.1.1.1:" + "1" * KIB_64, id="a port of X-Forwarded-For"),
        pytest.param(":" * KIB_64, id="colons"),
    ],
)
@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "*"])
def test_64_kib_of_malice_are_read_in_linear_time(value: str, trusted: str) -> None:
    for lines, standard in ((forwarded(value), True), (x_for(value), False), (x_proto(value), False)):
        client, scheme = resolve(*lines, proxies=TrustedProxies([trusted], standard=standard))
        assert is_client(client)
        assert scheme == "http"
