"""Asks pods for their load. A pod is untrusted: small answers, no redirects, short patience."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import aiohttp

from tacho_contract.codec import DocumentError, loads
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import LOAD_LIMIT_BYTES, Load
from tacho_operator.core.scaling.law.types import Sample

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
LOOK_SECONDS = 10.0
"""For all pods together: readings that are to be compared must not be a minute apart, whoever hangs."""
AT_ONCE = 64
"""Requests under way, so that a thousand pods do not open a thousand sockets."""
MOST_VAIN = 10_000
"""Addresses that are remembered for not having answered: pods that went are among them."""
LARGEST = 1e15
"""Of a counter that can be believed."""


def load_client() -> aiohttp.ClientSession:
    """No proxy of the operator's environment comes between it and a pod. Thousands of pods are asked every
    few seconds: aiohttp takes half of httpx's time for that."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=AT_ONCE, force_close=True),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        trust_env=False,
        auto_decompress=False,  # a little gzip holds a lot of memory
        headers={"Accept-Encoding": "identity"},
    )


class Loads:
    """Readings of many pods at once."""

    def __init__(self, client: aiohttp.ClientSession, port: int = RUNTIME_PORT) -> None:
        self._client, self._port = client, port
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._vain: dict[str, None] = {}
        """Who did not answer when asked last; who was asked longest ago comes first."""

    async def read(self, addresses: Iterable[str]) -> dict[str, Load]:
        """By address; a pod that did not answer, or whose turn did not come, is absent: unknown, not idle.

        Those that did not answer last time come last, so that they do not use up the others' time.
        """
        wanted = dict.fromkeys(addresses)
        # A look asks for some: those that the others ask for are remembered until their turn.
        self._vain = dict.fromkeys(list(self._vain)[-MOST_VAIN:])
        turns = [
            *(address for address in wanted if address not in self._vain),
            *(address for address in self._vain if address in wanted),
        ]
        answers: dict[str, Load] = {}
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await asyncio.gather(*(self._one(address, answers) for address in turns))
        except TimeoutError:
            logger.warning("%d of %d pods told their load in time", len(answers), len(turns))
        return answers

    async def _one(self, address: str, answers: dict[str, Load]) -> None:
        async with self._slots:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    answers[address] = await self._get(load_url(address, self._port))
            except (aiohttp.ClientError, OSError, TimeoutError, DocumentError) as error:
                logger.debug("%s: no load: %s", address, error)
                self._vain.pop(address, None)
                self._vain[address] = None
            else:
                self._vain.pop(address, None)

    async def _get(self, url: str) -> Load:
        async with self._client.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise DocumentError(f"HTTP {response.status}")
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LOAD_LIMIT_BYTES:
                    raise DocumentError(f"more than {LOAD_LIMIT_BYTES} bytes")
        return loads(Load, body)


def load_url(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/load"


def sample_of(load: Load, now: float) -> Sample:
    """A load as the law reads it. Figures that no engine has (a negative count) are unknown."""
    usage = _figure(load.kv_cache_usage)
    return Sample(
        time_seconds=now,
        running=_count(load.running),
        waiting=_count(load.waiting),
        generated_tokens=_figure(load.generation_tokens_total),
        computed_prompt_tokens=_figure(load.prompt_tokens_total),
        kv_cache_usage=None if usage is None else min(1.0, usage),
        preemptions=_figure(load.preemptions_total),
        first_token_seconds=_figure(load.first_token_seconds_total),
        first_tokens=_figure(load.first_tokens_total),
    )


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < 10**6 else None


def _figure(value: float | None) -> float | None:
    return value if value is not None and 0 <= value < LARGEST else None
