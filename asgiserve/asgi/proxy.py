"""Forwarded fields of trusted proxies (RFC 7239, X-Forwarded-For and X-Forwarded-Proto).

The law of this module: nothing is believed but what a trusted peer says, and of a chain only the right-most hop that is not trusted itself: what
stands left of it could have been written by anybody. Several lines are one list, in their order (RFC 9110 §5.3).
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import TYPE_CHECKING

from asgiserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgiserve.http.fields import Field

__all__ = ["TrustedProxies"]

# RFC 7239 §4:  forwarded-pair = token "=" value;  value = token / quoted-string
# No two runs of whitespace side by side: sharing it out between them costs quadratic time.
_pair = re.compile(r"\s*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]+))\s*)?(;|,|\Z)").match
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_MAX_PORT = 65535


class TrustedProxies:
    """Which peers are believed, and what they say.

    Args:
        trusted: addresses, networks (``10.0.0.0/8``), paths of UNIX sockets, or ``*`` for everybody.
        standard: the proxies write ``Forwarded`` (RFC 7239); else they write ``X-Forwarded-For`` and ``X-Forwarded-Proto``. The other kind is not
            read: a proxy passes on what it does not write, so that any client could have written it.

    Raises:
        ConfigError: for something that is none of these.
    """

    __slots__ = ("_addresses", "_everybody", "_literals", "_networks", "_standard", "trusts")

    def __init__(self, trusted: Sequence[str], *, standard: bool = False) -> None:
        self._standard = standard
        self._everybody = "*" in trusted
        self._addresses: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._literals: set[str] = set()
        for item in trusted:
            if item == "*":
                continue
            try:
                if "/" in item and not item.startswith("/"):
                    self._networks.append(ipaddress.ip_network(item, strict=False))
                else:
                    self._addresses.add(_unmapped(item))
            except ValueError:
                if not item.startswith("/") and ("/" in item or not re.fullmatch(r"[A-Za-z0-9_.\-]+", item) or re.fullmatch(r"[0-9.]+", item)):
                    raise ConfigError(f"--forwarded-allow-ips: {item!r} is neither an address, a network, a socket's path nor *") from None
                self._literals.add(item)
        # A few proxies talk to one server: a hit costs 0.06 us, a miss 3 us.
        self.trusts = functools.lru_cache(maxsize=1024)(self._trusts)

    def _trusts(self, host: str) -> bool:
        if self._everybody:
            return True
        try:
            address = _unmapped(host)
        except ValueError:
            return host in self._literals
        return address in self._addresses or any(address in network for network in self._networks if network.version == address.version)

    def resolve(self, fields: Sequence[Field], client: tuple[str, int] | None, scheme: str) -> tuple[tuple[str, int] | None, str]:
        """Client and scheme as the trusted peer says they are.

        A client that comes from a field has the port 0 where none is said. What cannot be read changes nothing.
        """
        if self._standard:
            forwarded = b",".join(value for name, value in fields if name == b"forwarded")
            hops = _parse_forwarded(forwarded.decode("latin-1"))
            if hops is None:
                return client, scheme
        else:
            addresses = b",".join(value for name, value in fields if name == b"x-forwarded-for").decode("latin-1")
            schemes = b",".join(value for name, value in fields if name == b"x-forwarded-proto").decode("latin-1")
            fors = [part.strip() for part in addresses.split(",")] if addresses else []
            protos = [part.strip() for part in schemes.split(",")] if schemes else []
            if not fors:
                return client, _SCHEMES.get(protos[-1].lower(), scheme) if protos else scheme
            # One scheme for all hops is the usual case; a list of the same length goes hop by hop.
            hops = [(hop, protos[index] if len(protos) == len(fors) else (protos[-1] if protos else "")) for index, hop in enumerate(fors)]
        for index in range(len(hops) - 1, -1, -1):
            node, proto = hops[index]
            address = _parse_node(node)
            if address is None:
                # An obfuscated or unknown node (RFC 7239 §6): the chain ends here.
                return client, _SCHEMES.get(proto.lower(), scheme)
            client = address
            scheme = _SCHEMES.get(proto.lower(), scheme)
            if not self.trusts(address[0]):
                break
        return client, scheme


def _unmapped(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4 one where a socket for both shows it as ``::ffff:192.0.2.1``."""
    address = ipaddress.ip_address(host)
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _parse_forwarded(value: str) -> list[tuple[str, str]] | None:
    """The hops of a Forwarded field as (for, proto), or None where it is malformed."""
    hops: list[tuple[str, str]] = []
    node, proto = "", ""
    empty = True
    position = 0
    while True:
        match = _pair(value, position)
        if match is None:
            return None
        name, quoted, token, separator = match.groups()
        text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else token or ""
        if name is not None:
            empty = False
            if name.lower() == "for":
                node = text
            elif name.lower() == "proto":
                proto = text
        position = match.end()
        if separator != ";":
            if not empty:
                # A hop that does not say for whom (`by=…`) is a hop all the same: what stands left of it is not its word.
                hops.append((node, proto))
            node, proto, empty = "", "", True
            if not separator:
                break
    return hops


def _parse_node(node: str) -> tuple[str, int] | None:
    """``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80`` as address and port (0: unknown); None for anything else."""
    host, port = node, ""
    if node.startswith("["):
        host, bracket, rest = node[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in host:
            return None
        port = rest[1:]
    elif node.count(":") == 1:
        host, _, port = node.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    # Length before int(), which raises for more than 4300 digits.
    if port and not (port.isascii() and port.isdigit() and len(port) <= len("65535") and int(port) <= _MAX_PORT):
        return None
    return host, int(port or 0)
