"""Addresses to which no hub may lead its client: this machine, and services of its cloud."""

from __future__ import annotations

import functools
import ipaddress
import socket
from urllib.request import getproxies, proxy_bypass

METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"))
)
"""Metadata services without a link-local address: Alibaba's, Azure's, and AWS' and Google's by IPv6."""

CARRIERS = tuple(
    ipaddress.IPv6Network(prefix)
    for prefix in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
"""IPv6 addresses whose last 32 bits are one of IPv4, to which a gateway (NAT64) leads (RFC 4291, 6052, 7915,
8215). The prefix of a network's own gateway is not known here.
"""


@functools.cache
def is_inward(host: str) -> bool:
    """Whether ``host`` is this machine, its link or a metadata service.

    A name is resolved, except where a proxy does that. It may have another address next time: see
    ``remote.limit_client``.
    """
    if host == "localhost":
        return True
    only_numbers = socket.AI_NUMERICHOST if by_proxy(host) else 0
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=only_numbers)
    except (OSError, UnicodeError):  # the request itself says so
        return False
    return any(_is_inward(str(place[0])) for *_, place in found)


def by_proxy(host: str) -> bool:
    """Whether a proxy connects to ``host``, which then has no address here."""
    return bool(getproxies().keys() - {"no"}) and not proxy_bypass(host)


def _is_inward(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    found = [address]
    if isinstance(address, ipaddress.IPv6Address):
        found += [ipaddress.IPv4Address(address.packed[-4:]) for carrier in CARRIERS if address in carrier]
        found += [address.sixtofour] if address.sixtofour else []
    return any(
        item.is_link_local or item.is_loopback or item.is_unspecified or item in METADATA for item in found
    )
