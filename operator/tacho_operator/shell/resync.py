"""Looks at every resource again now and then, whatever the watches said."""

from __future__ import annotations

import asyncio

from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import WorkQueue


async def resync(store: Store, queue: WorkQueue, seconds: float) -> None:
    """Enqueues every resource every ``seconds``, spread over the period; runs until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        keys = list(store.resources())
        for index, key in enumerate(keys):
            queue.add(key, seconds * index / len(keys), routine=True)
