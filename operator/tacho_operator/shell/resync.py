"""Looks at every resource again now and then, whatever the watches said."""

from __future__ import annotations

import asyncio
import logging

from tacho_operator.config import Settings
from tacho_operator.shell.kube import ApiError, Kube
from tacho_operator.shell.workqueue import Key, WorkQueue

logger = logging.getLogger(__name__)


async def resync(kube: Kube, queue: WorkQueue, settings: Settings) -> None:
    """Enqueues every resource every ``resync_seconds``, spread over the period; runs until cancelled."""
    while True:
        try:
            keys = await _all_keys(kube, settings.watch_namespaces)
        except (ApiError, OSError, TimeoutError) as error:
            logger.warning("resync: %s; trying again in the next round", error)
            keys = []
        for index, key in enumerate(keys):
            await queue.add(key, settings.resync_seconds * index / len(keys))
        await asyncio.sleep(settings.resync_seconds)


async def _all_keys(kube: Kube, namespaces: tuple[str, ...]) -> list[Key]:
    found = []
    for namespace in namespaces or (None,):
        for item in await kube.list_all("LLMDeployment", namespace):
            found.append(Key(item["metadata"]["namespace"], item["metadata"]["name"]))
    return found
