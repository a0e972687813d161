"""Reads the claims of a namespace that had more than are stored, once there is place for them."""

from __future__ import annotations

import asyncio
import logging

from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.store.store import Store

logger = logging.getLogger(__name__)

KIND = "PersistentVolumeClaim"
PERIOD_SECONDS = 10.0
"""Seconds between two rounds."""
PAGE_PAUSE_SECONDS = 0.05
"""Seconds between two pages of a list, so that other tasks run."""


class ClaimReads:
    """Ends that the claims of a namespace are unknown."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube, self._store = kube, store

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.round()

    async def round(self) -> None:
        """Reads the claims of each namespace that has place again."""
        for namespace in self._store.bounds.claims_due():
            if self._store.may_read(KIND, namespace):
                try:
                    await self._read_claims(namespace)
                except Exception as error:  # also an answer that is none of Kubernetes', as of a proxy
                    unexpected = not isinstance(error, ApiError | OSError | TimeoutError)
                    text = "the claims of namespace %s are read again later: %s"
                    logger.warning(text, namespace, error, exc_info=unexpected)

    async def _read_claims(self, namespace: str) -> None:
        """Stores the claims. Where there is still no place for all, they stay unknown."""
        without = self._store.bounds.claims_over_limit
        before = without[namespace]
        async for page in self._kube.pages(KIND, namespace):
            if self._store.stale(namespace):  # a list that began meanwhile would remove them
                return
            for item in page.items:
                self._store.put(KIND, item, live=True)
            await asyncio.sleep(PAGE_PAUSE_SECONDS)
            if without[namespace] > before:  # perhaps of an event meanwhile
                return
        del without[namespace]
