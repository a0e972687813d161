"""Connections to the API server that notice what clients usually do not: that the network has dropped them
silently, and that the cluster has another authority.
"""

from __future__ import annotations

import asyncio.sslproto
import contextlib
import json
import socket
import ssl
import urllib.request
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.payload import Payload

UNACKNOWLEDGED_SECONDS = 30
"""Seconds after which a connection whose other side acknowledges nothing is given up, with or without a
request under way. Else a watch that a firewall forgot would be silent for its own timeout.
"""
KEEPALIVE_SECONDS = 10
"""Seconds between two TCP keepalive probes of a silent connection."""
IDLE_SECONDS = 4.0
"""Seconds after which an idle connection serves no other request. Shorter than the election's timeout: once
that has passed without an answer, no idle connection of the time before is used.
"""
TLS_BUFFER_BYTES = 32 << 10
"""Buffer of a TLS connection. asyncio's has 256 KiB: 200 watched namespaces have 2,200 connections, and the
operator took 893 MiB of memory, now 340. 100 MiB of answers take 0.14 s of CPU instead of 0.11 s.
"""
SESSION = {"trust_env": False, "max_headers": 4200, "max_field_size": 17 << 10}
"""Of the HTTP client. An API server repeats the warnings of webhooks in headers: 4,096 characters
of up to four bytes, all in one header or each in one of its own. By default such an answer was none.
"""


def probed_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A TCP socket that notices a silently dropped connection after UNACKNOWLEDGED_SECONDS."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS),
        (socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS),
        (socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000),
    ):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def probed_connector(tls: ssl.SSLContext) -> aiohttp.TCPConnector:
    """Connections by such sockets. No limit: every watch has one, and workers and events bound the others."""
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    return aiohttp.TCPConnector(
        limit=0, ssl=tls, socket_factory=probed_socket, keepalive_timeout=IDLE_SECONDS
    )


def environment_proxy(url: str) -> str | None:
    """The proxy for ``url`` by HTTPS_PROXY and NO_PROXY; None: no proxy."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def renewed_authorities(tls: ssl.SSLContext, file: str | None) -> aiohttp.ClientMiddlewareType:
    """Middleware of an HTTP client that reads ``file``, the authorities of ``tls``, anew where no certificate
    of it signed the server's. The kubelet replaces it in a pod that runs; a process would else have no API
    server until somebody restarts it. Former authorities stay.
    """

    async def renewed(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except aiohttp.ClientConnectorCertificateError:
            with contextlib.suppress(OSError):  # ssl.SSLError too: it is being written
                if file:
                    tls.load_verify_locations(file)
            return await handler(request)

    return renewed


STABLE = "/controllerrevisions"
"""End of the path of objects whose content the API server compares by bytes, with its own form of it."""
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def _stable(value: Any) -> str:
    """A JSON value as the API server writes it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_stable(key)}:{_stable(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_stable, value)) + "]"
    if not isinstance(value, float):
        return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)
    if value and not 1e-6 <= abs(value) < 1e21:
        return repr(value).replace("e-0", "e-")
    return format(Decimal(repr(value or 0.0)), "f").removesuffix(".0")


async def stable_body(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Middleware of an HTTP client: sends revisions in the form that the API server makes of JSON. In another
    one a change of their metadata counts as one of their content, and is refused: Kubernetes' collector could
    not take their owner away, so that a deletion with `--cascade=orphan` never ended.
    """
    if request.method == "POST" and request.url.path.endswith(STABLE) and isinstance(request.body, Payload):
        text = _stable(json.loads(request.body.decode()))
        await request.update_body(text.encode(errors="replace"))
    return await handler(request)
