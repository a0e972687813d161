"""What a killed leader costs: how soon the standby acts, and what is done twice.

    python -m benchmarks.fleet.handover [--resources 2000] [--work-seconds 300] [--note TEXT]

Starts etcd, an API server and a controller manager, two operators with the chart's rights, and a process that
plays the nodes. While the resources are brought up, the leader is killed with SIGKILL. Prints, and writes
results/handover.json and benchmarks/lab/handover.md. The figures are of the audit log, without dry runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import textwrap
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from benchmarks.fleet.applying import apply_all, fleet
from benchmarks.fleet.lab import QuickControlPlane, memory_mib, pid_of, played
from benchmarks.fleet.run import RESULTS
from benchmarks.fleet.watching import Watching, has_status
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.kube import connect
from tools.cluster import binaries
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.done_twice import POD_NAME, done_twice
from tools.harness.operating import MUTATING
from tools.harness.operator_process import ACCOUNT, Operator, eventually, install_rights, pod_kubeconfig

NAMESPACES = 20
STANDBY = "tacho-1"
LIMIT_SECONDS = 1500.0
ACTS_WITHIN_SECONDS = 20.0
"""A lease of 15 s and the standby's first turn."""
PAGE = Path(__file__).parents[2] / "benchmarks/lab/handover.md"


def operators(cluster: Cluster) -> tuple[Operator, Operator]:
    """The leader and the standby, both running."""
    log = Path(tempfile.gettempdir()) / f"tacho-handover-{os.getpid()}"
    common = {"TACHO_RESYNC_SECONDS": "3600", "TACHO_POD_ADDRESS": "127.0.0.1"}
    leader = Operator(install_rights(cluster), log.with_suffix(".leader.log"), **common)
    standby = Operator(
        pod_kubeconfig(cluster, STANDBY), log.with_suffix(".standby.log"), TACHO_POD_NAME=STANDBY, **common
    )
    leader.start()
    eventually("the first leads", lambda: leader.leads() or None)
    standby.start()
    eventually("the second is ready", lambda: standby.ready() or None)
    return leader, standby


def prepare(cluster: Cluster) -> None:
    install_definition(cluster)
    for number in range(NAMESPACES):
        namespace = f"fleet-{number:03}"
        cluster.create_namespace(namespace)
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        metadata = {"name": "models", "namespace": namespace}
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        cluster.apply({**kind, "metadata": metadata, "spec": spec})


def writes(cluster: Cluster) -> list[dict[str, Any]]:
    """What the operators wrote, without dry runs and Leases."""
    return [
        event
        for event in cluster.audit_events()
        if event["user"]["username"].endswith(f":{ACCOUNT}")
        and event["verb"] in MUTATING
        and "dryRun" not in event["requestURI"]
        and event["objectRef"]["resource"] != "leases"
    ]


def pods_of(cluster: Cluster) -> int:
    listed = cluster.kubectl("get", "pods", "-A", "-l", DEPLOYMENT_LABEL, "-o", "name")
    return len(listed.splitlines())


async def measure(
    cluster: Cluster, leader: Operator, standby: Operator, resources: int, work_seconds: float
) -> dict[str, Any]:
    async with connect(str(cluster.kubeconfig)) as kube:
        watching = Watching(kube)
        task = asyncio.create_task(watching.run())
        with played(cluster.kubeconfig, "serve"):
            await apply_all(str(cluster.kubeconfig), fleet(resources, NAMESPACES))
            await watching.until(resources, has_status, LIMIT_SECONDS)
            leader.kill()
            killed, pods = time.time(), pods_of(cluster)
            await asyncio.sleep(work_seconds)
        task.cancel()
    found = writes(cluster)
    after = [item for item in found if item["user"]["extra"][POD_NAME] == [STANDBY]]
    first = datetime.fromisoformat(min(item["requestReceivedTimestamp"] for item in after))
    return {
        "resources": resources,
        "podsWhenKilled": pods,
        "standbyActsAfterSeconds": round((first - datetime.fromtimestamp(killed, UTC)).total_seconds(), 1),
        "workSeconds": work_seconds,
        "podsThen": pods_of(cluster),
        "writes": {"leader": len(found) - len(after), "standby": len(after)},
        "doneTwice": done_twice(found),
        "standbyMiB": memory_mib(pid_of(standby)),
    }


def page(found: dict[str, Any]) -> str:
    """The figures for people."""
    when, writes_of, cores = found["podsWhenKilled"], found["writes"], found["cores"]
    return f"""# A killed leader

`{found["command"]}`: etcd, an API server, a controller manager, two operators
with the chart's rights, and a process that plays the nodes, on {cores} virtual cores ({found["date"]}).
{textwrap.fill(found["note"], 120)}
The leader was killed (SIGKILL) when each resource had its first status and {when:,} pods existed.
Times are those of the audit log. Raw: `benchmarks/fleet/results/handover.json`.

| | {found["resources"]:,} resources |
|---|---|
| from the kill to the first write of the standby | {found["standbyActsAfterSeconds"]} s |
| pods {found["workSeconds"]:.0f} s after the kill | {found["podsThen"]:,} |
| writes of the leader, and of the standby until then | {writes_of["leader"]:,} and {writes_of["standby"]:,} |
| creations, deletions and patches that were made twice | {len(found["doneTwice"])} |
| the standby's memory at the end, and its peak | {" and ".join(map(str, found["standbyMiB"]))} MiB |
| load of the machine at the end (1, 5, 15 minutes) | {", ".join(map(str, found["load"]))} |
"""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--resources", type=int, default=2000)
    options.add_argument("--work-seconds", type=float, default=300.0, help="how long the standby is watched")
    options.add_argument("--note", default="", help="what else the machine did, as a sentence")
    chosen = options.parse_args()
    with QuickControlPlane(binaries.find(print)) as cluster:
        prepare(cluster)
        leader, standby = operators(cluster)
        try:
            found = asyncio.run(measure(cluster, leader, standby, chosen.resources, chosen.work_seconds))
        finally:
            leader.kill()
            standby.kill()
    found |= {
        "command": f"python -m benchmarks.fleet.handover --work-seconds {chosen.work_seconds:.0f}",
        "note": chosen.note,
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
    }
    text = json.dumps(found, indent=2)
    print(text)
    RESULTS.joinpath("handover.json").write_text(text + "\n")
    PAGE.write_text(page(found))
    if found["standbyActsAfterSeconds"] >= ACTS_WITHIN_SECONDS or found["doneTwice"]:
        raise SystemExit(f"not within {ACTS_WITHIN_SECONDS} s, or something was made twice")


if __name__ == "__main__":
    main()
