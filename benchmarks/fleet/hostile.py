"""What hostile objects cost: memory, and the delay of honest resources.

    python -m benchmarks.fleet.hostile [--gigabytes 2] [--resources 200]

Starts etcd, an API server and a controller manager, fills them with ConfigMaps of one megabyte of ``<`` (six
bytes each as JSON) under the label of tacho's children, and starts the operator. Then it creates honest
resources, one by one, while ConfigMaps change. Prints, and writes results/hostile.json: the peak of the
operator's memory, the seconds until its store was complete, and each resource's seconds to its first status.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.fleet.applying import fleet
from benchmarks.fleet.lab import memory_mib, pid_of, record_run
from benchmarks.fleet.run import RESULTS
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.kube import Kube, connect
from tools.harness.operator_process import Operator

SPACE = "hostile"
ESCAPED_BYTES = 6
STORED_BYTES = 1_040_000
"""A ConfigMap's data have 1 MiB at most."""
CHANGES_PER_SECOND = 2.0
LIMIT_SECONDS = 300.0


def hostile(number: int) -> dict[str, Any]:
    metadata = {"name": f"c{number:04}", "namespace": SPACE, "labels": {DEPLOYMENT_LABEL: "x"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "<" * STORED_BYTES}}


async def create(kube: Kube, manifest: dict[str, Any], plural: str) -> None:
    group = "/apis/tacho.dev/v1alpha1" if plural == "llmdeployments" else "/api/v1"
    path = f"{group}/namespaces/{manifest['metadata']['namespace']}/{plural}"
    await kube._request("create", manifest["kind"], path, manifest)


async def change(kube: Kube, objects: int) -> None:
    """Goes on until it is cancelled."""
    for number in count():
        path = f"/api/v1/namespaces/{SPACE}/configmaps/c{number % objects:04}"
        body = {"metadata": {"annotations": {"round": str(number)}}}
        await kube._request("patch", "ConfigMap", path, body, content_type="application/merge-patch+json")
        await asyncio.sleep(1.0 / CHANGES_PER_SECOND)


async def first_status(kube: Kube, manifest: dict[str, Any]) -> float:
    """Seconds from its creation to its first status."""
    metadata = manifest["metadata"]
    await create(kube, manifest, "llmdeployments")
    started = time.monotonic()
    while time.monotonic() - started < LIMIT_SECONDS:
        found = await kube.get("LLMDeployment", metadata["namespace"], metadata["name"]) or {}
        if (found.get("status") or {}).get("observedGeneration"):
            return time.monotonic() - started
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{metadata['name']} has no status after {LIMIT_SECONDS:.0f} s")


async def measure(kubeconfig: Path, operator: Operator, objects: int, resources: int) -> dict[str, Any]:
    async with connect(str(kubeconfig)) as kube:
        for number in range(objects):
            await create(kube, hostile(number), "configmaps")
        operator.start()
        started = time.monotonic()
        honest = fleet(resources + 1, 1)
        await first_status(kube, honest.pop())
        synced = time.monotonic() - started
        changing = asyncio.create_task(change(kube, objects))
        delays = [await first_status(kube, item) for item in honest]
        changing.cancel()
    now_mib, peak_mib = memory_mib(pid_of(operator))
    return {
        "hostileObjects": objects,
        "storedMegabytes": round(objects * STORED_BYTES / 1e6),
        "jsonMegabytes": round(objects * STORED_BYTES * ESCAPED_BYTES / 1e6),
        "secondsToFirstStatusAfterStart": round(synced, 1),
        "resources": resources,
        "delaySeconds": {
            "median": round(statistics.median(delays), 2),
            "maximum": round(max(delays), 2),
        },
        "memoryMiB": {"after": now_mib, "peak": peak_mib},
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gigabytes", type=float, default=2.0, help="of hostile objects, as JSON")
    options.add_argument("--resources", type=int, default=200)
    chosen = options.parse_args()
    objects = round(chosen.gigabytes * 1e9 / ESCAPED_BYTES / STORED_BYTES)
    run = partial(measure, objects=objects, resources=chosen.resources)
    record_run((SPACE, "fleet-000"), "hostile", run, RESULTS / "hostile.json")


if __name__ == "__main__":
    main()
