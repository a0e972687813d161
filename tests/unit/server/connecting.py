"""An app of tacho's own servers behind real sockets: the server, its connections, and a client's bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp

from tacho_server.connections import BoundedProtocol
from tacho_server.launch import server_config

HEALTH = b"GET /health HTTP/1.1\r\nHost: m\r\n\r\n"


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """The port of ``app`` behind the protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        server = uvicorn.Server(server_config(app))
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


def completion(**fields: object) -> bytes:
    body = json.dumps({"prompt": "x", **fields}).encode()
    lines = ("POST /v1/completions HTTP/1.1", "Host: m", "Content-Type: application/json")
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body


def called(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[BoundedProtocol, Any]]:
    """The calls of one of the protocol's methods from now on: (the connection, what it was given)."""
    calls: list[tuple[BoundedProtocol, Any]] = []
    original = getattr(BoundedProtocol, name)

    def note(self: BoundedProtocol, given: Any) -> None:
        calls.append((self, given))
        original(self, given)

    monkeypatch.setattr(BoundedProtocol, name, note)
    return calls
