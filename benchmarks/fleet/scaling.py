"""What a look of the scaler at a large fleet costs: pods that are played, the scaler as the operator has it.

    python -m benchmarks.fleet.scaling [--pods 4000] [--per-resource 1] [--samples 6] [--mode Enforce]

Another process answers /load for all pods, each at an address of its own, with counters that rise. The scaler
runs without an API server: the reconciles that it requests are counted and not made. Prints a table and
writes results/scaling-PODS.json: of each look the CPU seconds of the scaler and of the pods, which other work
on the machine hardly changes, the seconds that passed, which it does, and the operator's own counters.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from benchmarks.fleet.lab import cpu_seconds
from benchmarks.fleet.played import idle_load
from tacho_contract.codec import dumps
from tacho_contract.report import LatencyHistogram
from tacho_operator.core.types import Observed
from tacho_operator.shell.loads import Loads
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.workqueue import Key
from tools.harness.world import AUTOSCALING, MOCK_SPEC, World, changed

RESULTS = Path(__file__).with_name("results")
PERIOD_SECONDS = 10.0
EDGES = tuple(0.001 * 1.5**number for number in range(20))
COUNTS = tuple(100 * number for number in range(1, 21))
"""Of a latency histogram: about as many buckets as requests of a real engine fill."""


def address_of(number: int) -> str:
    """As loopback addresses: a pod has one of its own."""
    return f"127.{1 + number // 62500}.{number // 250 % 250 + 1}.{number % 250 + 1}"


# --- the pods ---------------------------------------------------------------------------------------
class Pod(asyncio.Protocol):
    """One connection: one request, one answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        now = time.time()
        load = dataclasses.replace(
            idle_load(f"{now:.6f}"),
            running=3,
            generation_tokens_total=150.0 * now,
            first_tokens_total=now,
            ttft=LatencyHistogram(edges_seconds=EDGES, counts=COUNTS, total=COUNTS[-1] + int(now)),
            tpot=LatencyHistogram(edges_seconds=EDGES, counts=COUNTS, total=COUNTS[-1] + int(now)),
        )
        body = dumps(load).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        self._transport.write(head + body)
        self._transport.close()


async def play(inherited: int) -> None:
    server = await asyncio.get_running_loop().create_server(Pod, sock=socket.socket(fileno=inherited))
    await server.serve_forever()


@contextmanager
def played_pods() -> Iterator[tuple[int, int]]:
    """The port at which a process answers for every pod, and its process id."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as listening:
        number = listening.fileno()
        command = [sys.executable, "-m", "benchmarks.fleet.scaling", "--play", str(number)]
        with subprocess.Popen(command, pass_fds=[number]) as process:
            try:
                yield listening.getsockname()[1], process.pid
            finally:
                process.terminate()


# --- the operator's side ----------------------------------------------------------------------------
def resources(pods: int, each: int, mode: str) -> Iterator[tuple[Key, Observed]]:
    """Resources with so many pods each, alike but for their names and addresses."""
    world = World(changed(MOCK_SPEC, autoscaling={**AUTOSCALING, "mode": mode}))
    world.come_up()
    observed = world.observed()
    (pod,) = world.pods("server")
    for number in range(pods // each):
        own = []
        for index in range(each):
            serial = number * each + index
            metadata = {**pod["metadata"], "uid": f"pod-{serial}", "name": f"pod-{serial}"}
            status = {**pod["status"], "podIP": address_of(serial)}
            own.append({**pod, "metadata": metadata, "status": status})
        raw = {**observed.raw, "metadata": {**observed.raw["metadata"], "uid": f"resource-{number}"}}
        yield Key("ml", f"m{number:05}"), dataclasses.replace(observed, raw=raw, pods=tuple(own))


COUNTERS = {
    "answered": ("tacho_operator_load_requests_total", {"result": "answered"}),
    "silent": ("tacho_operator_load_requests_total", {"result": "silent"}),
    "reconciles": ("tacho_operator_scaling_reconciles_total", {}),
}


def counted(registry: CollectorRegistry) -> dict[str, float]:
    found = registry.restricted_registry([metric for metric, _ in COUNTERS.values()])
    samples = [sample for family in found.collect() for sample in family.samples]
    return {
        name: sum(item.value for item in samples if (item.name, item.labels) == (metric, labels))
        for name, (metric, labels) in COUNTERS.items()
    }


async def measured(options: argparse.Namespace, port: int, pods: int) -> list[dict[str, float]]:
    """Cost of each look. ``pods``: the process that plays them."""
    registry, called = CollectorRegistry(), list[Key]()
    scaler = Scaler(
        Loads(port), period_seconds=PERIOD_SECONDS, call=called.append, sink=ScalingMetrics(registry)
    )
    for key, observed in resources(options.pods, options.per_resource, options.mode):
        scaler.observed(key, observed)
    found = []
    for _ in range(options.samples):
        before, theirs = counted(registry), cpu_seconds(pods)
        cpu, started = time.process_time(), time.perf_counter()
        await scaler.sample()
        seconds = time.perf_counter() - started
        look = {"cpuSeconds": round(time.process_time() - cpu, 2), "seconds": round(seconds, 2)}
        look["podsCpuSeconds"] = round(cpu_seconds(pods) - theirs, 2)
        after = counted(registry)
        found.append({**look, **{name: after[name] - before[name] for name in after}})
        await asyncio.sleep(max(0.0, options.pause - seconds))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pods", type=int, default=4000)
    parser.add_argument("--per-resource", type=int, default=1)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--pause", type=float, default=PERIOD_SECONDS, help="seconds from look to look")
    parser.add_argument("--mode", choices=("Enforce", "Recommend"), default="Enforce")
    parser.add_argument("--play", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play is not None:
        asyncio.run(play(options.play))
        return 0
    with played_pods() as (port, process):
        samples = asyncio.run(measured(options, port, process))
    steady = samples[1:] or samples
    report: dict[str, Any] = {
        "command": f"python -m benchmarks.fleet.scaling {' '.join(sys.argv[1:])}".strip(),
        "machineLoad": [round(value, 2) for value in os.getloadavg()],
        "medianCpuSeconds": round(statistics.median(look["cpuSeconds"] for look in steady), 2),
        "medianSeconds": round(statistics.median(look["seconds"] for look in steady), 2),
        "looks": samples,
    }
    (RESULTS / f"scaling-{options.pods}.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join(f"| {key} | {json.dumps(value)} |" for key, value in report.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
