"""HTTP client for the engine's health, metrics and version; the probe has its own client.

Answers are limited in size and time, as a broken engine may send without end or very slowly.
"""

from __future__ import annotations

import asyncio
import ssl

import httpx

TIMEOUT_SECONDS = 10.0
"""Timeout in seconds of a request. An engine that uses all cores of a small machine may need seconds to
answer.
"""
BODY_LIMIT_BYTES = 4 * 1024 * 1024


def _error_text(answer: httpx.Response) -> str:
    """The message in an error answer of the OpenAI kind, else the start of its text; "" for none."""
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = answer.text[:200]
    return f": {message}" if message else ""


class EngineClient:
    """HTTP client of the engine in this pod: its health, and pages such as /metrics."""

    def __init__(self, base_url: str, *, api_key: str = "") -> None:
        headers = {"Connection": "close", "Accept-Encoding": "identity"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,  # a proxy from the engine's environment must not see this
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # plain HTTP: saves reading a CA bundle
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def _get(self, path: str) -> httpx.Response:
        """The engine's answer at ``path``. Raises httpx.HTTPError."""
        reading = asyncio.ensure_future(self._read(path))
        # Not wait_for: before Python 3.12 it loses a cancellation that comes as the answer does.
        try:
            if (await asyncio.wait({reading}, timeout=TIMEOUT_SECONDS))[0]:
                return reading.result()
            raise httpx.ReadTimeout(f"no whole answer in {TIMEOUT_SECONDS:.0f} s")
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # read, or asyncio logs it as never retrieved

    async def _read(self, path: str) -> httpx.Response:
        async with self._client.stream("GET", path) as answer:
            body = bytearray()
            async for piece in answer.aiter_raw():  # never inflated
                body += piece
                if len(body) > BODY_LIMIT_BYTES:
                    raise httpx.ReadError(f"an answer of more than {BODY_LIMIT_BYTES} bytes")
        return httpx.Response(answer.status_code, content=bytes(body))

    async def healthy(self, path: str) -> tuple[bool, str]:
        """(whether ``path`` answered with a status 2xx, else why not as a message)."""
        try:
            answer = await self._get(path)
        except httpx.HTTPError as error:
            return False, f"{path}: {type(error).__name__} {error}".rstrip()
        if answer.is_success:
            return True, ""
        return False, f"{path} answered {answer.status_code}{_error_text(answer)}"

    async def metrics(self) -> str | None:
        """The engine's Prometheus text at /metrics; None when it serves none."""
        try:
            answer = await self._get("/metrics")
        except httpx.HTTPError:
            return None
        return answer.text if answer.is_success else None

    async def json(self, path: str) -> object | None:
        """The JSON document that the engine serves at ``path``; None when it serves none."""
        try:
            answer = await self._get(path)
            return answer.json() if answer.is_success else None
        except (httpx.HTTPError, ValueError, RecursionError):
            return None
