"""What a connection to the API server asks of the kernel."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tacho_operator.shell.kube import connect
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
