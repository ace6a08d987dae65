"""Which addresses of the internet a page may be fetched from, and how names become addresses.

A model reads pages that anybody wrote, and opens what they link to. So an address must not lead to
this machine, its network, or the services that clouds keep for their machines (server-side request
forgery). The check is made on the address that the connection then goes to, never on a name:
names can be spelled in many ways and may answer differently the next time (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from ossia.tools.browser.error import BrowserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host, for a port."""

_CLOSED_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carriers' own, and some clouds' metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a cloud's services for its machines, at a public address
            "169.254.0.0/16",  # link-local, and most clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays to IPv6
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_OPEN_V6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is given out for the internet; loopback, link-local and private ones lie outside."""
_CLOSED_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments, among them tunnels with an IPv4 address inside
            "2001:db8::/32",  # documentation
            "2002::/16",  # a tunnel with an IPv4 address inside
            "3fff::/20",  # documentation
        ),
    )
)
_TRANSLATED_V6: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses behind a translator; the last 32 bits are one (RFC 6052)."""


def is_public(text: str) -> bool:
    """Whether an address belongs to the internet at large."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _TRANSLATED_V6:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in _OPEN_V6 and not any(address in one for one in _CLOSED_V6)
        address = inner
    return not any(address in one for one in _CLOSED_V4)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system's resolver gives them.

    Raises:
        OSError: there are none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def public_address(
    host: str,
    port: int,
    *,
    resolver: Resolver = resolve,
    allowed: Callable[[str], bool] = is_public,
) -> str:
    """The address to connect to for a host.

    Args:
        host: A name or an address, in whatever spelling.
        port: Where to.
        resolver: Gives its addresses.
        allowed: Says which of them may be connected to.

    Raises:
        BrowserError: there is none, or one of them is not allowed.
    """
    try:
        addresses = await resolver(host, port)
    except (OSError, UnicodeError):
        raise BrowserError(f"the host {host[:100]!r} cannot be found") from None
    if not addresses:
        raise BrowserError(f"the host {host[:100]!r} cannot be found")
    # A name that leads to some place inside is up to something, even if it leads elsewhere too.
    if not all(allowed(one) for one in _plain(addresses)):
        raise BrowserError(f"the host {host[:100]!r} is not on the public internet")
    return addresses[0]


def _plain(addresses: Sequence[str]) -> Iterator[str]:
    for address in addresses:
        yield address.partition("%")[0]
