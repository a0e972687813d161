"""What hostile objects cost: memory, and the delay of honest resources.

    python -m benchmarks.fleet.hostile [--gigabytes 2] [--resources 200]
    python -m benchmarks.fleet.hostile --owned [--megabytes 500] [--resources 200]
    python -m benchmarks.fleet.hostile --tiny 20000 200000 40000 [--resources 200]

Starts etcd, an API server and a controller manager, fills them with ConfigMaps of one megabyte of ``<`` (six
bytes each as JSON) under the label of tacho's children, and starts the operator. Then it creates honest
resources, one by one, while hostile objects change. Prints, and writes results/hostile.json: the peak of the
operator's memory, the seconds until its store was complete, and each resource's seconds to its first status.
Fails above PEAK_MIB or DELAY_SECONDS, as the others do.

With ``--owned``, the hostile objects are LLMDeployments of half a megabyte of random text, and 8 MB of random
text that each controls. It writes results/hostile-owned.json.

With ``--tiny``, they are very many: LLMDeployments, ConfigMaps with long names that nobody owns, and pods
that the first LLMDeployments control. They are made while the operator runs, which is killed and started
again then. It writes results/hostile-tiny.json.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.fleet.applying import apply_all, fleet, path_of
from benchmarks.fleet.lab import memory_mib, pid_of, record_run
from benchmarks.fleet.run import RESULTS
from tacho_operator.core.names import DEPLOYMENT_LABEL, REVISION_LABEL, ROLE_LABEL
from tacho_operator.core.places import reports_full
from tacho_operator.shell.api_errors import Missing
from tacho_operator.shell.kube import KINDS, Kube, connect
from tools.harness.operating import resource
from tools.harness.operator_process import Operator

SPACE = "hostile"
ESCAPED_BYTES = 6
STORED_BYTES = 1_040_000
"""A ConfigMap's data have 1 MiB at most."""
CHANGES_PER_SECOND = 2.0
LIMIT_SECONDS = 300.0
PEAK_MIB, DELAY_SECONDS = 300, 5.0
"""Bounds of the operator's memory, and of the longest time to the first status of an honest resource."""
PART, PODS_EACH = 10_000, 2_000
"""Objects that are made at once, and pods of one LLMDeployment; 5,000 are read of one."""
ANNOTATION_BYTES, VARIABLES, VARIABLE_BYTES = 250_000, 64, 4_096
"""The longest annotations that Kubernetes accepts, and variables of the engine that the schema accepts."""


def hostile(number: int) -> dict[str, Any]:
    metadata = {"name": f"c{number:04}", "namespace": SPACE, "labels": {DEPLOYMENT_LABEL: "x"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "<" * STORED_BYTES}}


def random_text(length: int, seed: str) -> str:
    """What takes three quarters of its length compressed, and no less."""
    return base64.b64encode(random.Random(seed).randbytes(length)).decode()[:length]


def owner(number: int) -> dict[str, Any]:
    """An LLMDeployment that is as long as its status can still be written."""
    item, name = resource(SPACE), f"o{number:04}"
    item["metadata"] |= {"name": name, "annotations": {"a": random_text(ANNOTATION_BYTES, name)}}
    item["spec"]["engine"]["env"] = [
        {"name": f"V{index}", "value": random_text(VARIABLE_BYTES, f"{name}{index}")}
        for index in range(VARIABLES)
    ]
    return item


def _child(owner: dict[str, Any], kind: str, name: str, **content: Any) -> dict[str, Any]:
    named = owner["metadata"]["name"]
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {"controller": True}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    metadata = {"name": f"{named}-{name}", "namespace": SPACE, "labels": {DEPLOYMENT_LABEL: named}}
    annotations = content.pop("annotations", {})
    metadata |= {"ownerReferences": [reference], "annotations": annotations}
    return {"apiVersion": KINDS[kind][0], "kind": kind, "metadata": metadata, **content}


def owned(owner: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """8 MB of children: ConfigMaps with and without a name of the operator's, Deployments and Services."""
    seed = owner["metadata"]["name"]
    for name in ("live", "facts", "c1", "c2"):
        yield _child(owner, "ConfigMap", name, data={"a": random_text(STORED_BYTES, f"{seed}{name}")})
    for number in range(3):
        value = random_text(STORED_BYTES, f"{seed}d{number}")
        container = {"name": "a", "image": "none", "env": [{"name": "A", "value": value}]}
        template = {"metadata": {"labels": {"a": seed}}, "spec": {"containers": [container]}}
        spec = {"paused": True, "replicas": 0, "selector": {"matchLabels": {"a": seed}}, "template": template}
        yield _child(owner, "Deployment", f"d{number}", spec=spec)
    for number in range(4):
        notes = {"a": random_text(ANNOTATION_BYTES, f"{seed}s{number}")}
        spec = {"clusterIP": "None", "selector": {"a": seed}, "ports": [{"port": 8000}]}
        yield _child(owner, "Service", f"s{number}", annotations=notes, spec=spec)


def tiny(number: int, kind: str, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with as little as possible, and names as long as possible."""
    seed = random.Random(f"{kind}{number}").randbytes(500).hex()
    label = owner["metadata"]["name"] if owner else seed[:63]
    metadata: dict[str, Any] = {"namespace": SPACE, "labels": {DEPLOYMENT_LABEL: label}}
    if owner is None:
        metadata["labels"] |= {label: seed[63:126] for label in (REVISION_LABEL, ROLE_LABEL)}
        return {"apiVersion": "v1", "kind": kind, "metadata": {**metadata, "name": seed[:253]}}
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "schedulerName": "none",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "image": "none", "securityContext": confined}],
    }
    return {**_child(owner, kind, seed[:100]), "spec": spec}


async def fill_tiny(kube: Kube, kubeconfig: str, counts: list[int]) -> list[str]:
    """Creates LLMDeployments, ConfigMaps, and pods that the first LLMDeployments control, in parts."""
    resources, unowned, owned = counts
    made = [resource(SPACE) for _ in range(resources)]
    for number, item in enumerate(made):
        item["metadata"]["name"] = f"t{number:06}"
    await apply_all(kubeconfig, made)
    for start in range(0, unowned, PART):
        part = range(start, min(unowned, start + PART))
        await apply_all(kubeconfig, [tiny(number, "ConfigMap") for number in part])
    for start in range(0, owned, PODS_EACH):
        owner = await kube.get("LLMDeployment", SPACE, f"t{start // PODS_EACH:06}")
        assert owner is not None
        part = range(start, min(owned, start + PODS_EACH))
        await apply_all(kubeconfig, [tiny(number, "Pod", owner) for number in part])
    items = [*made[:100], *(tiny(number, "ConfigMap") for number in range(min(100, unowned)))]
    return [f"{path_of(item)}/{item['metadata']['name']}" for item in items]


async def create(kube: Kube, manifest: dict[str, Any]) -> dict[str, Any]:
    return await kube._request("create", manifest["kind"], path_of(manifest), manifest)


async def fill(kube: Kube, stored_bytes: int) -> list[str]:
    """Creates LLMDeployments and what they control; the paths of all objects."""
    paths = list[str]()
    each = ANNOTATION_BYTES + VARIABLES * VARIABLE_BYTES + 7 * STORED_BYTES + 4 * ANNOTATION_BYTES
    for number in range(max(1, round(stored_bytes / each))):
        made = await create(kube, owner(number))
        children = list(owned(made))
        for child in children:
            await create(kube, child)
        paths += [f"{path_of(item)}/{item['metadata']['name']}" for item in (made, *children)]
    return paths


async def change(kube: Kube, paths: list[str]) -> None:
    """Goes on until it is cancelled. An object that the operator has deleted is left alone."""
    for number in count():
        body = {"metadata": {"annotations": {"round": str(number)}}}
        with suppress(Missing):
            path = paths[number % len(paths)]
            await kube._request("patch", "hostile", path, body, content_type="application/merge-patch+json")
        await asyncio.sleep(1.0 / CHANGES_PER_SECOND)


async def first_status(kube: Kube, manifest: dict[str, Any]) -> float:
    """Seconds from its creation to its first status."""
    metadata = manifest["metadata"]
    await create(kube, manifest)
    started = time.monotonic()
    while time.monotonic() - started < LIMIT_SECONDS:
        found = await kube.get("LLMDeployment", metadata["namespace"], metadata["name"]) or {}
        if (found.get("status") or {}).get("observedGeneration"):
            return time.monotonic() - started
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{metadata['name']} has no status after {LIMIT_SECONDS:.0f} s")


async def measure(
    kubeconfig: Path, operator: Operator, stored_bytes: int, resources: int, *, are_owned: bool
) -> dict[str, Any]:
    async with connect(str(kubeconfig)) as kube:
        if are_owned:
            paths = await fill(kube, stored_bytes)
        else:
            made = [hostile(number) for number in range(round(stored_bytes / STORED_BYTES))]
            for item in made:
                await create(kube, item)
            paths = [f"{path_of(item)}/{item['metadata']['name']}" for item in made]
        operator.start()
        started = time.monotonic()
        honest = fleet(resources + 1, 1)
        await first_status(kube, honest.pop())
        synced = time.monotonic() - started
        changing = asyncio.create_task(change(kube, paths))
        delays = [await first_status(kube, item) for item in honest]
        if changing.done():
            changing.result()  # an attack that ended proves nothing
        changing.cancel()
    now_mib, peak_mib = memory_mib(pid_of(operator))
    return {
        "hostileObjects": len(paths),
        "storedMegabytes": round(stored_bytes / 1e6),
        "jsonMegabytes": round(stored_bytes * (1 if are_owned else ESCAPED_BYTES) / 1e6),
        "secondsToFirstStatusAfterStart": round(synced, 1),
        "resources": resources,
        "delaySeconds": _spread(delays),
        "memoryMiB": {"after": now_mib, "peak": peak_mib},
    }


async def measure_tiny(
    kubeconfig: Path, operator: Operator, counts: list[int], resources: int
) -> dict[str, Any]:
    async with connect(str(kubeconfig)) as kube:
        operator.start()
        honest = fleet(2 * resources + 2, 1)
        await first_status(kube, honest.pop())
        began = time.monotonic()
        filling = asyncio.create_task(fill_tiny(kube, str(kubeconfig), counts))
        beside = list[float]()
        while not filling.done():
            if len(honest) > resources + 1:
                beside.append(await first_status(kube, honest.pop()))
            await asyncio.sleep(1.0)
        paths, seconds = filling.result(), time.monotonic() - began
        found = {"secondsOfFilling": round(seconds), "delaySecondsWhileFilling": _spread(beside)}
        peaks = [memory_mib(pid_of(operator))[1]]
        changing = asyncio.create_task(change(kube, paths))
        delays = [await first_status(kube, honest.pop()) for _ in range(resources // 2)]
        peaks.append(memory_mib(pid_of(operator))[1])
        operator.kill()
        operator.start()
        started = time.monotonic()
        await first_status(kube, honest.pop())
        synced = time.monotonic() - started
        delays += [await first_status(kube, item) for item in honest]
        if changing.done():
            changing.result()
        changing.cancel()
        told = await _reporting(kube)
    peaks.append(memory_mib(pid_of(operator))[1])
    return {
        "hostileObjects": dict(zip(("LLMDeployments", "ConfigMaps", "pods"), counts, strict=True)),
        **found,
        "secondsToFirstStatusAfterRestart": round(synced, 1),
        "resources": resources,
        "delaySeconds": _spread(delays),
        "toldNamespaceFull": told,
        "memoryMiB": {"filled": peaks[0], "peakBeforeRestart": peaks[1], "peakAfterRestart": peaks[2]},
    }


async def _reporting(kube: Kube) -> int:
    """How many resources say that they are not held."""
    count = 0
    async for page in kube.pages("LLMDeployment", SPACE):
        count += sum(map(reports_full, page.items))
    return count


def _spread(delays: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(delays), 2), "maximum": round(max(delays), 2)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gigabytes", type=float, default=2.0, help="of hostile objects, as JSON")
    options.add_argument("--owned", action="store_true", help="random text that LLMDeployments control")
    options.add_argument("--megabytes", type=float, default=500.0, help="with --owned: of hostile objects")
    options.add_argument(
        "--tiny", type=int, nargs=3, metavar=("RESOURCES", "CONFIGMAPS", "PODS"), help="very many objects"
    )
    options.add_argument("--resources", type=int, default=200)
    chosen = options.parse_args()
    stored = chosen.megabytes * 1e6 if chosen.owned else chosen.gigabytes * 1e9 / ESCAPED_BYTES
    run = partial(measure, stored_bytes=round(stored), resources=chosen.resources, are_owned=chosen.owned)
    name = "hostile-owned" if chosen.owned else "hostile"
    if chosen.tiny:
        name, run = "hostile-tiny", partial(measure_tiny, counts=chosen.tiny, resources=chosen.resources)
    found = record_run((SPACE, "fleet-000"), name, run, RESULTS / f"{name}.json")
    peak_mib, delay = max(found["memoryMiB"].values()), found["delaySeconds"]["maximum"]
    if peak_mib > PEAK_MIB or delay > DELAY_SECONDS:
        raise SystemExit(f"above the bounds of {PEAK_MIB} MiB and {DELAY_SECONDS} s")


if __name__ == "__main__":
    main()
