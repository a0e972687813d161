"""Asks the engine in this pod for its health, metrics and version, with the probe's HTTP client."""

from __future__ import annotations

import json

from tacho_contract.text import visible
from tacho_engines.base import RuntimeAdapter
from tacho_runtime.probe.load.timed_client import EngineEndpoint, RequestFailed, StreamConnection, exchange

TIMEOUT_SECONDS = 10.0
"""Seconds for a request. An engine that uses all cores of a small machine may need some to answer."""


class EngineClient:
    """The engine's health, and pages such as /metrics."""

    def __init__(self, base_url: str, *, api_key: str = "") -> None:
        self._endpoint = EngineEndpoint.of(base_url, api_key)

    async def _body(self, path: str) -> bytes:
        """The engine's answer at ``path``. Raises RequestFailed."""
        kind, seconds = StreamConnection, TIMEOUT_SECONDS
        answer = await exchange(self._endpoint, "GET", path, kind=kind, timeout_seconds=seconds)
        return answer.body()

    async def healthy(self, path: str) -> tuple[bool, str]:
        """(whether ``path`` answered with a status 2xx, else why not as a message)."""
        try:
            await self._body(path)
        except RequestFailed as error:
            return False, str(error)
        return True, ""

    async def metrics(self) -> str | None:
        """The engine's Prometheus text at /metrics; None when it serves none."""
        try:
            return (await self._body("/metrics")).decode(errors="replace")
        except RequestFailed:
            return None

    async def json(self, path: str) -> object | None:
        """The JSON document that the engine serves at ``path``; None when it serves none."""
        try:
            document: object = json.loads(await self._body(path))
        except (RequestFailed, ValueError, RecursionError):
            return None
        return document

    async def version(self, engine: RuntimeAdapter, path: str) -> str:
        """The version in the document at ``path``, as ``engine`` reads it; "": none. No character in it could
        keep it from a metric's label."""
        document = await self.json(path) if path else None
        return visible(engine.version(document)) if isinstance(document, dict) else ""
