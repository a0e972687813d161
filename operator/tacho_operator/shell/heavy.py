"""Turns of heavy resources: few may be in memory at a time, as a dozen would fill it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

HEAVY_TOGETHER = 2
"""Most heavy resources of all namespaces that are reconciled at a time.

One has 16 MiB at most, which take 128 MiB as Python objects.
"""


class HeavyTurns:
    """One heavy resource of a namespace at a time, and HEAVY_TOGETHER of all.

    Of a namespace one waits for the others: whatever holds it up has a single place.
    """

    def __init__(self) -> None:
        self._inside: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A lock for each namespace while one of its heavy resources is reconciled."""
        self._together = asyncio.Semaphore(HEAVY_TOGETHER)

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        async with self._inside.setdefault(namespace, asyncio.Lock()), self._together:
            yield
