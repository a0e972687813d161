"""Honest neighbours beside a tenant who attacks in many ways at once.

    python -m benchmarks.fleet.attack [--resources 100] [--scale 1.0]

Starts etcd, an API server, a controller manager and the operator. Honest resources are created one by one,
first alone and then while one namespace is filled and changed as ``ATTACKS`` says. Prints, and writes
results/attack.json: the seconds of each honest resource to its first status in both phases, the operator's
memory and CPU, and its slowest health check. It fails if the operator ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.fleet.applying import fleet, session_of
from benchmarks.fleet.hostile import SPACE, create, first_status, hostile, path_of
from benchmarks.fleet.lab import cpu_seconds, memory_mib, pid_of, record_run
from benchmarks.fleet.run import RESULTS
from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL
from tacho_operator.shell.kube import KINDS, connect
from tools.harness.operating import resource
from tools.harness.operator_process import Operator

NESTED, LONG_BYTES = 2_500, 200_000
HEALTH_SECONDS = 0.5
HOLE = {"deep": "hole"}
"""Stands for the nested object, which no encoder writes."""
OWNER = "owner"
"""The attacker's resource that forged children name as their controller."""


@dataclass(frozen=True)
class Attack:
    """Objects of one kind, and how often one of them changes."""

    objects: int
    changes_per_second: float
    manifest: Callable[[int, str], dict[str, Any]]
    """By number and the uid of ``OWNER``."""
    change: Callable[[int], dict[str, Any]]


def _annotated(number: int) -> dict[str, Any]:
    return {"metadata": {"annotations": {"round": str(number)}}}


def _named(kind: str, name: str, owner: str = "", **fields: Any) -> dict[str, Any]:
    version, _ = KINDS[kind]
    metadata: dict[str, Any] = {"name": name, "namespace": SPACE, "labels": {DEPLOYMENT_LABEL: OWNER}}
    if owner:
        controller = {
            "apiVersion": "tacho.dev/v1alpha1",
            "kind": "LLMDeployment",
            "name": OWNER,
            "uid": owner,
        }
        metadata["ownerReferences"] = [{**controller, "controller": True}]
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _deep(number: int, owner: str) -> dict[str, Any]:
    return _named("ControllerRevision", f"deep{number}", owner, data=HOLE, revision=number)


def _pod(number: int, owner: str) -> dict[str, Any]:
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    engine = {"name": "engine", "image": "none", "env": [{"name": "A", "value": "<" * 20_000}]}
    spec = {
        "schedulerName": "none",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [engine | {"securityContext": confined}],
    }
    pod = _named("Pod", f"forged{number}", owner, spec=spec)
    pod["metadata"]["labels"][ROLE_LABEL] = "server"
    return pod


def _service(number: int, owner: str) -> dict[str, Any]:
    spec = {"selector": {DEPLOYMENT_LABEL: OWNER}, "ports": [{"port": 8000}]}
    return _named("Service", f"service{number}", owner, spec=spec)


def _spec(number: int, _: str) -> dict[str, Any]:
    """Sixteen schedules of its own that never begin."""
    item = resource(SPACE)
    item["metadata"]["name"] = f"spec{number}"
    schedules = [{"schedule": f"{minute} {number % 24} 31 2 *", "maxReplicas": 2} for minute in range(16)]
    item["spec"]["autoscaling"] = {"minReplicas": 1, "maxReplicas": 3, "schedules": schedules}
    return item


def _long(number: int, _: str) -> dict[str, Any]:
    item = resource(SPACE)
    item["metadata"] |= {"name": f"long{number}", "annotations": {"a": "<" * LONG_BYTES}}
    return item


ATTACKS = {
    "ConfigMaps of 1 MB that are 6 MB as JSON": Attack(40, 2, lambda n, _: hostile(n), _annotated),
    "ControllerRevisions nested 2,500 deep": Attack(50, 4, _deep, _annotated),
    "forged server pods": Attack(300, 10, _pod, _annotated),
    "Services that select forged pods": Attack(100, 4, _service, _annotated),
    "LLMDeployments of sixteen schedules": Attack(
        200, 10, _spec, lambda n: {"spec": {"autoscaling": {"maxReplicas": 3 + n % 5}}}
    ),
    "LLMDeployments of 200 kB": Attack(100, 5, _long, _annotated),
}


def _body(manifest: dict[str, Any]) -> bytes:
    nested = '{"a":' * NESTED + "{}" + "}" * NESTED
    return json.dumps(manifest).replace(json.dumps(HOLE), nested).encode()


class Tenant:
    """Who attacks, by requests of its own."""

    def __init__(self, host: str, session: aiohttp.ClientSession) -> None:
        self._host, self._session = host, session
        self.changes = dict.fromkeys(ATTACKS, 0)

    async def _sent(self, verb: str, path: str, body: bytes, content_type: str) -> int:
        headers = {"Content-Type": content_type}
        async with self._session.request(verb, self._host + path, data=body, headers=headers) as answer:
            text = await answer.text()
            if verb == "POST" and answer.status >= 400:
                print(f"{path}: HTTP {answer.status} {text[:300]}")
            return answer.status

    async def fill(self, attack: Attack, owner: str, objects: int) -> list[str]:
        """The paths of its objects. Raises RuntimeError where the API server refuses one."""
        paths = []
        for number in range(objects):
            manifest = attack.manifest(number, owner)
            if await self._sent("POST", path_of(manifest), _body(manifest), "application/json") >= 400:
                raise RuntimeError(f"{manifest['kind']} {manifest['metadata']['name']} was refused")
            paths.append(f"{path_of(manifest)}/{manifest['metadata']['name']}")
        return paths

    async def change(self, name: str, paths: list[str]) -> None:
        """Goes on until it is cancelled. An object that the operator has deleted is left alone."""
        for number in count():
            body = json.dumps(ATTACKS[name].change(number)).encode()
            path = paths[number % len(paths)]
            answer = await self._sent("PATCH", path, body, "application/merge-patch+json")
            self.changes[name] += answer < 400
            await asyncio.sleep(1 / ATTACKS[name].changes_per_second)


async def _health(url: str, seconds: list[float]) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        while True:
            began = time.monotonic()
            async with session.get(f"{url}/healthz") as answer:
                await answer.read()
            seconds.append(time.monotonic() - began)
            await asyncio.sleep(HEALTH_SECONDS)


def _spread(delays: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(delays), 2), "maximum": round(max(delays), 2)}


async def measure(kubeconfig: Path, operator: Operator, resources: int, scale: float) -> dict[str, Any]:
    async with connect(str(kubeconfig)) as kube, session_of(str(kubeconfig)) as (host, session):
        operator.start()
        honest = fleet(2 * resources + 1, 1)
        await first_status(kube, honest.pop())
        pid, before = pid_of(operator), memory_mib(pid_of(operator))
        alone = [await first_status(kube, honest.pop()) for _ in range(resources)]
        owner = resource(SPACE)
        owner["metadata"]["name"] = OWNER
        await create(kube, owner)
        uid = (await kube.get("LLMDeployment", SPACE, OWNER) or {})["metadata"]["uid"]
        tenant = Tenant(host, session)
        paths = {
            name: await tenant.fill(attack, uid, max(1, round(scale * attack.objects)))
            for name, attack in ATTACKS.items()
        }
        health = list[float]()
        tasks = [asyncio.create_task(tenant.change(name, paths[name])) for name in ATTACKS]
        tasks.append(asyncio.create_task(_health(operator.health_url, health)))
        began, cpu = time.monotonic(), cpu_seconds(pid)
        attacked = [await first_status(kube, item) for item in honest]
        lasted, used = time.monotonic() - began, cpu_seconds(pid) - cpu
        for task in tasks:
            if task.done():
                task.result()  # an attack that ended proves nothing
            task.cancel()
    return {
        "resources": resources,
        "attacks": {name: {"objects": len(paths[name]), "changes": tenant.changes[name]} for name in ATTACKS},
        "secondsToFirstStatus": {"alone": _spread(alone), "attacked": _spread(attacked)},
        "attackedSeconds": round(lasted),
        "cpuCores": round(used / lasted, 2),
        "slowestHealthCheckSeconds": round(max(health), 2),
        "memoryMiB": {"before": before[0], "peak": memory_mib(pid)[1]},
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--resources", type=int, default=100, help="honest ones in each phase")
    options.add_argument("--scale", type=float, default=1.0, help="share of the attack's objects")
    chosen = options.parse_args()
    run = partial(measure, resources=chosen.resources, scale=chosen.scale)
    record_run((SPACE, "fleet-000"), "attack", run, RESULTS / "attack.json")


if __name__ == "__main__":
    main()
