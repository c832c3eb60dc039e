"""Which URLs of others this server calls: those of public hosts, and of the hosts that the operator names.

A submit may name any URL, and the server stands where its sender does not: beside databases, metadata services, the
machine itself. So a URL is judged twice, at the submit and before each try, and the try connects to the very addresses
that were judged, whatever the name resolves to a moment later. Every form of address that carries another one within
it (IPv4-mapped, NAT64, 6to4, Teredo) is refused as such, so that none need be unwrapped.

Source of the networks: the IANA registries of special-purpose addresses (RFC 6890), as of 2026.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from outlast.calls import Threads, in_thread
from outlast.errors import InvalidRequest

LONGEST = 2048
PORTS = frozenset({443, 8443})

REFUSAL = (
    f"this server calls only https URLs of public hosts at port 443 or 8443, of at most {LONGEST} ASCII characters, "
    "without user, fragment or trailing dot; its operator may allow a host of their own by Outlast(webhook_hosts=...)"
)
"""The one text for all of them, so that nobody learns from it what there is within the network."""

PATIENCE = 5.0
"""Seconds for which a submit waits for a name to resolve; if it takes longer, the first try will tell."""

DENIED = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    )
)
PUBLIC_IPV6 = ip_network("2000::/3")
"""All of IPv6 that is given out for public use: loopback, IPv4-mapped, NAT64, local and multicast lie outside."""


class Refused(Exception):
    """A URL that this server does not call."""


class Unresolved(Exception):
    """The name has no address, at least now."""


class Target(NamedTuple):
    """A URL in its parts; `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == USUAL[self.scheme] else f"{host}:{self.port}"


USUAL = {"https": 443, "http": 80}

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a name, best first. Raises OSError if it has none."""


async def resolved(host: str, port: int, threads: Threads | None = None) -> list[str]:
    """By the system, in a thread of its own, so that a name server that hangs holds up nobody else."""
    found = await in_thread(socket.getaddrinfo, (host, port), {"type": socket.SOCK_STREAM}, threads)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def require_callable(url: str, hosts: Collection[str], resolve: Resolve = resolved) -> None:
    """Raise InvalidRequest unless the URL may be called; a name that does not resolve now may."""
    try:
        async with asyncio.timeout(PATIENCE):
            await addresses(target(url, hosts), hosts, resolve)
    except (Unresolved, TimeoutError):
        pass
    except Refused:
        errors = [{"pointer": "/webhook/url", "detail": REFUSAL}]
        raise InvalidRequest(f"/webhook/url: {REFUSAL}", code="callback_refused", errors=errors) from None


async def addresses(target: Target, hosts: Collection[str], resolve: Resolve = resolved) -> list[str]:
    """The addresses to connect to. Raises Refused if one of them is not public, Unresolved if there is none."""
    try:
        found = [target.host] if _is_address(target.host) else await resolve(target.host, target.port)
    except (OSError, UnicodeError):
        raise Unresolved from None
    if not found:
        raise Unresolved
    if target.host not in hosts and not all(map(is_public, found)):
        raise Refused
    return found


def is_public(text: str) -> bool:
    """True for an address of the public network that carries no other one within it."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address not in PUBLIC_IPV6:
        return False
    return not any(address in network for network in DENIED)


# -- the form of a URL ----------------------------------------------------------------------------------------------

VISIBLE = re.compile(r"[!$-;=?-\[\]_a-z~%]+")
"""Characters of a URL without a fragment. No backslash among them, which parsers differ on."""

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def target(url: str, hosts: Collection[str] = (), *, trusted: bool = False) -> Target:
    """The parts of a URL. Raises Refused.

    Parameters
    ----------
    hosts: those that may be called without TLS too, and at any port.
    trusted: the URL is the operator's own, so its host is one of them.
    """
    if len(url) > LONGEST or not VISIBLE.fullmatch(url):
        raise Refused
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused from None
    known = trusted or host in hosts
    if parts.scheme not in (("https", "http") if known else ("https",)) or "@" in parts.netloc:
        raise Refused
    port = USUAL[parts.scheme] if port is None else port
    if not (known and port > 0) and port not in PORTS:
        raise Refused
    if not _is_address(host) and not (_is_name(host) and (known or "." in host)):
        raise Refused
    return Target(parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _is_address(host: str) -> bool:
    """Written as an address is: four decimal numbers, or IPv6, which `urlsplit` finds in brackets alone."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _is_name(host: str) -> bool:
    """A name of DNS. One that ends in a number would be taken for an address: `127.1`, `2130706433`, `0x7f.1`."""
    labels = host.split(".")
    return len(host) <= 253 and all(map(LABEL.fullmatch, labels)) and not NUMBER.fullmatch(labels[-1])
