"""What the tests of the operator's HTTP server share."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import aiohttp
from prometheus_client import CollectorRegistry

from tacho_operator.shell.http_server import Answers

EMPTY = Answers(
    registry=CollectorRegistry(),
    latest=lambda key: None,
    scraped=lambda: None,
    hanging=lambda: "",
    stale=lambda: (),
    leader_address=lambda: "",
)


@dataclass
class Served:
    """A server, and what was asked of it."""

    port: int = 0
    scrapes: list[str] = field(default_factory=list)
    hanging: str = ""
    stale: list[str] = field(default_factory=list)
    leader_address: str = ""

    async def read(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(url, headers={"Accept-Encoding": "identity", **headers}) as answer,
        ):
            return answer.status, await answer.read(), dict(answer.headers)

    async def text(self, path: str) -> str:
        status, body, _ = await self.read(path)
        assert status == 200
        return body.decode()


async def ended(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
