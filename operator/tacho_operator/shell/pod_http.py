"""GET requests to the runtimes of pods. Pods are untrusted: short answers, no redirects, no decompression,
short timeouts, and each connection serves one request.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import aiohttp

from tacho_contract.pod import RUNTIME_PORT

AT_ONCE = 64
"""Most requests at the same time, to limit open sockets."""
TIMEOUT_SECONDS = 5.0
"""Seconds for an answer. An engine that uses all CPU of its container makes a healthy runtime slow."""
OK = 200


class PodAnswer(NamedTuple):
    """The HTTP response body of one pod, and when the pod made it, by the monotonic clock."""

    body: bytes
    at_seconds: float
    """The middle between the request and the answer. Where in between a pod reads its counters is not known,
    and so the error is at most half of the delay.
    """


class PodClient:
    """An HTTP client of all pods; its session is made with the first request."""

    def __init__(self, port: int = RUNTIME_PORT) -> None:
        self._port, self._turns = port, asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, address: str, path: str, limit_bytes: int) -> PodAnswer | None:
        """The pod's answer; None: no successful one of at most ``limit_bytes`` in time."""
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{self._port}{path}"
        async with self._turns:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    return await self._answer(url, limit_bytes)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                return None

    async def _answer(self, url: str, limit_bytes: int) -> PodAnswer | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        sent, body = time.monotonic(), bytearray()
        async with self._session.get(url, allow_redirects=False) as response:
            middle = (sent + time.monotonic()) / 2
            if response.status != OK:
                return None
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > limit_bytes:
                    return None
            return PodAnswer(bytes(body), middle)

    async def aclose(self) -> None:
        """Ends all connections."""
        if self._session is not None:
            await self._session.close()
