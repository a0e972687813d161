"""Plays the nodes of the pods that name its scheduler, beside a real node.

python -m tests.nightly.soak.player KUBECONFIG
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.fleet.played import Nodes
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.kube import connect
from tests.nightly.soak.observer import FOREIGN_ANNOTATION

SCHEDULER = "played"


class PlayedNodes(Nodes):
    """Leaves the pods of the real node alone; each resource has its own measure key."""

    def _take(self, pod: dict[str, Any]) -> None:
        foreign = FOREIGN_ANNOTATION in (pod["metadata"].get("annotations") or {})
        if pod["spec"].get("schedulerName") == SCHEDULER and not foreign:
            super()._take(pod)

    async def _key_of(self, pod: dict[str, Any]) -> str:
        metadata = pod["metadata"]
        name = f"{metadata['labels'][DEPLOYMENT_LABEL]}-live"
        live = await self._kube.get("ConfigMap", metadata["namespace"], name)
        return str(json.loads(live["data"]["live.json"])["measureKey"]) if live else ""


async def main(kubeconfig: str) -> None:
    async with connect(kubeconfig) as kube:
        await PlayedNodes(kube, hub_down=False).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
