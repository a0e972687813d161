"""What it costs to look at the load of many pods: the scaler's loop on one core, pods that answer over HTTP.

    python -m benchmarks.autoscaling.run [--resources 2000] [--pods 2] [--samples 6]

Every pod is an address of 127/8 on which one process answers /load for all; the loop runs in this process,
held to one core, at its real pace. The load moves a little from look to look, as loads do. Writes
results.json beside this file: CPU time and memory of the loop, requests to pods, writes asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import resource as limits
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from tacho_operator.core.types import Observed
from tacho_operator.shell.loads import Loads
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.workqueue import Key
from tools.harness.world import world_of

PERIOD_SECONDS = 10.0
PODS = """
import asyncio, json, random, sys, time
async def answer(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            now = time.time()
            load = {"running": random.choice((1, 1, 2)), "waiting": 0, "generationTokensTotal": now * 20,
                    "promptTokensTotal": now * 10, "kvCacheUsage": 0.1, "observedTime": str(now)}
            body = json.dumps(load).encode()
            head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body)
            writer.write(head + body)
            await writer.drain()
            break
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def resources(count: int, pods: int) -> Iterator[tuple[Key, Observed]]:
    """Settled resources, each pod at an address of its own."""
    world = world_of()
    (pod,) = world.pods("server")
    for number in range(count):
        own = []
        for index in range(pods):
            place = number * pods + index
            status = {
                **pod["status"],
                "podIP": f"127.{1 + place // 60_000}.{place // 250 % 240}.{1 + place % 250}",
            }
            metadata = {**pod["metadata"], "name": f"pod-{place}", "uid": f"uid-{place}"}
            own.append({**pod, "metadata": metadata, "status": status})
        observed = world.observed()
        (deployment,) = observed.deployments
        sized = {**deployment, "spec": {**deployment["spec"], "replicas": pods}}
        others = tuple(item for item in observed.pods if item["metadata"]["uid"] != pod["metadata"]["uid"])
        yield (
            Key("ml", f"model-{number}"),
            dataclasses.replace(observed, pods=(*others, *own), deployments=(sized,)),
        )


async def measure(count: int, pods: int, samples: int, port: int) -> dict[str, Any]:
    called: list[Key] = []
    loads = Loads(port)
    scaler = Scaler(
        loads,
        period_seconds=PERIOD_SECONDS,
        call=called.append,
        sink=ScalingMetrics(CollectorRegistry()),
    )
    for key, observed in resources(count, pods):
        scaler.observed(key, observed)
    for _ in range(3):  # the first looks show what was not known
        await scaler.sample()
    called.clear()
    cpu, began, took = time.process_time(), time.monotonic(), []
    for number in range(samples):
        await asyncio.sleep(max(0.0, began + number * PERIOD_SECONDS - time.monotonic()))
        at = time.monotonic()
        await scaler.sample()
        took.append(time.monotonic() - at)
    await asyncio.sleep(max(0.0, began + samples * PERIOD_SECONDS - time.monotonic()))
    seconds = time.monotonic() - began
    return {
        "resources": count,
        "pods": count * pods,
        "looks": samples,
        "cpuPercentOfOneCore": round(100 * (time.process_time() - cpu) / seconds, 1),
        "longestLookSeconds": round(max(took), 2),
        "peakMemoryMiB": round(limits.getrusage(limits.RUSAGE_SELF).ru_maxrss / 1024),
        "requestsToPodsPerSecond": round(samples * count * pods / seconds, 1),
        "requestsToTheAPIServer": 0,
        "writesAskedFor": len(called),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--resources", type=int, default=2000)
    parser.add_argument("--pods", type=int, default=2)
    parser.add_argument("--samples", type=int, default=6)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    answering = subprocess.Popen([sys.executable, "-c", PODS], stdout=subprocess.PIPE, text=True)
    try:
        assert answering.stdout is not None
        port = int(answering.stdout.readline())
        os.sched_setaffinity(0, {cores[0]})
        found = asyncio.run(measure(given.resources, given.pods, given.samples, port))
    finally:
        answering.kill()
        answering.wait()
    print(json.dumps(found, indent=1))
    (Path(__file__).parent / "results.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
