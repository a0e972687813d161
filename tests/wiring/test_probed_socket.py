"""What a connection to the API server asks of the kernel."""

from __future__ import annotations

import socket
import ssl
from asyncio.sslproto import SSLProtocol
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tacho_operator.shell.kube import connect
from tacho_operator.shell.probed_socket import TLS_BUFFER_BYTES, probed_connector
from tests.wiring.test_kube import kubeconfig


async def test_every_connection_notices_that_the_network_dropped_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[int, ...]] = []
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)

    async def note(connector: aiohttp.TCPConnector, *arguments: Any) -> Any:
        connection = await opened(connector, *arguments)
        made = connection.transport.get_extra_info("socket")
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        found.append(tuple(made.getsockopt(socket.IPPROTO_TCP, option) for option in options))
        return connection

    opened = aiohttp.TCPConnector._create_connection
    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", note)
    async with (
        TestServer(web.Application()) as server,
        connect(kubeconfig(tmp_path, str(server.make_url("/")))) as kube,
    ):
        assert await kube.get("Pod", "ml", "absent") is None
    assert found == [(10, 10, 30_000)]


async def test_a_tls_connection_has_a_small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each watch has one: 200 watched namespaces took more memory than the chart's limit."""
    monkeypatch.setattr(SSLProtocol, "max_size", 256 << 10)
    async with probed_connector(ssl.create_default_context()):
        assert SSLProtocol.max_size == TLS_BUFFER_BYTES
