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


@functools.cache
def is_inward(host: str) -> bool:
    """Whether ``host`` is this machine, its link or a metadata service.

    A name is resolved, except where a proxy does that. It may have another address next time.
    """
    if host == "localhost":
        return True
    by_proxy = getproxies().keys() - {"no"} and not proxy_bypass(host)
    only_numbers = socket.AI_NUMERICHOST if by_proxy else 0
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=only_numbers)
    except (OSError, UnicodeError):  # the request itself says so
        return False
    return any(_is_inward(str(place[0])) for *_, place in found)


def _is_inward(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    return plain.is_link_local or plain.is_loopback or plain.is_unspecified or plain in METADATA
