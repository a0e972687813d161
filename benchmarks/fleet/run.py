"""What a fleet costs: N resources on a control plane alone, on nodes that are played.

    python -m benchmarks.fleet.run [--resources 500] [--namespaces 20] [--hub-down [--hub-back]] [--rough]

Starts etcd, an API server and a controller manager, the operator with the chart's rights, and a process that
plays the nodes (played.py). Prints a table and writes results/NAME.json: first status, all measured, idle,
one change, restart; with --hub-down, what it costs that all wait for a hub; with --rough, an operator that is
killed in the storm and an API server that is restarted and then refuses for a minute (429). It takes minutes,
and nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.fleet.applying import fleet
from benchmarks.fleet.lab import (
    QuickControlPlane,
    cpu_seconds,
    machine_seconds,
    memory_mib,
    pid_of,
    played,
    read,
    scrape,
)
from benchmarks.fleet.watching import Watching, has_status, is_so
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.kube import Kube, connect
from tools.cluster import binaries
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.operator_process import ACCOUNT, NAMESPACE, Operator, install_rights

RESULTS = Path(__file__).with_name("results")
AT_ONCE = 16
IDLE_SECONDS = 120.0
SCRAPE_SECONDS = 30.0
HUB_DOWN_PARTS = 3
HUB_BACK_LIMIT_SECONDS = 1800.0
LIMIT_SECONDS = 900.0
REFUSING_SECONDS = 60.0
DOWN_SECONDS = 5.0


async def in_parallel(jobs: Iterable[Callable[[], Awaitable[Any]]], at_once: int = AT_ONCE) -> float:
    """Seconds that they take together."""
    waiting, started = list(jobs)[::-1], time.monotonic()

    async def hand() -> None:
        while waiting:
            job = waiting.pop()
            try:
                await job()
            except ApiError as error:
                if error.status not in (0, 429, 500, 503):
                    raise
                waiting.append(job)
                await asyncio.sleep(0.2)

    await asyncio.gather(*(hand() for _ in range(at_once)))
    return time.monotonic() - started


async def ceiling(kube: Kube, count: int = 1000) -> float:
    """Creates a second that the API server takes from one client, nobody else asking."""

    def make(number: int) -> Callable[[], Awaitable[Any]]:
        metadata = {"name": f"c{number:05}", "namespace": "fleet-000"}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "x" * 1000}}
        return lambda: kube.create(made)

    return count / await in_parallel(make(number) for number in range(count))


async def settle(operator: Operator, quiet_seconds: float = 5.0, limit_seconds: float = 600.0) -> float:
    """Seconds until the operator has had nothing to do for a while."""
    started = last = time.monotonic()
    before = read(operator)
    while time.monotonic() - last < quiet_seconds:
        await asyncio.sleep(1.0)
        now = read(operator)
        busy = sum(now.requests.values()) - sum(before.requests.values()) > 2
        if busy or time.monotonic() - started > limit_seconds:
            last = time.monotonic() if busy else last
        before = now
        if time.monotonic() - started > limit_seconds:
            break
    return time.monotonic() - started - quiet_seconds


async def await_reconciles(operator: Operator, turns: int) -> None:
    """Until that many have ended well."""
    while operator.reconciles() < turns:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.2)


async def answering(operator: Operator) -> None:
    """Until its metrics can be read."""
    while True:
        try:
            read(operator)
        except OSError:
            await asyncio.sleep(0.2)
        else:
            return


class Fleet:
    """One measurement."""

    def __init__(
        self, plane: QuickControlPlane, cluster: Cluster, kube: Kube, options: argparse.Namespace
    ) -> None:
        self.plane, self.cluster, self.kube, self.options = plane, cluster, kube, options
        self.count = options.resources
        self.watching = Watching(kube)
        self.operator = self._operator()
        self.found: dict[str, Any] = {}

    def _operator(self) -> Operator:
        account = install_rights(self.cluster)
        variables = {"TACHO_SCALING_PERIOD_SECONDS": str(self.options.scaling_period)}
        log = Path(tempfile.gettempdir()) / f"tacho-fleet-{os.getpid()}.log"
        return Operator(account, log, TACHO_RESYNC_SECONDS="3600", **variables)

    def say(self, name: str, value: Any) -> None:
        self.found[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)

    async def run(self) -> None:
        for number in range(self.options.namespaces):
            self.cluster.create_namespace(f"fleet-{number:03}")
            metadata = {"name": "models", "namespace": f"fleet-{number:03}"}
            spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
            self.cluster.apply(
                {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
            )
        self.say("createsPerSecondWithoutOperator", round(await ceiling(self.kube), 1))
        task = asyncio.create_task(self.watching.run())
        try:
            self.operator.start()
            await answering(self.operator)
            await settle(self.operator)
            self.say("emptyMiB", memory_mib(pid_of(self.operator)))
            with played(self.cluster.kubeconfig, "hub-down" if self.options.hub_down else "serve") as player:
                await (self.down(player) if self.options.hub_down else self.up())
        finally:
            task.cancel()
            self.operator.kill()

    async def storm(self) -> asyncio.Task[float]:
        """Applies them from another process; seconds that it takes."""
        command = [sys.executable, "-m", "benchmarks.fleet.applying", str(self.cluster.kubeconfig)]
        numbers = [str(self.count), str(self.options.namespaces)]
        applying = await asyncio.create_subprocess_exec(*command, *numbers, stdout=subprocess.PIPE)

        async def applied() -> float:
            said, _ = await applying.communicate()
            return float(said)

        return asyncio.create_task(applied())

    def spent(self) -> dict[str, float]:
        """CPU seconds of every process so far."""
        pids = {**self.plane.pids(), "operator": pid_of(self.operator), "benchmark": os.getpid()}
        worked, idled = machine_seconds()
        return {**{name: cpu_seconds(pid) for name, pid in pids.items()}, "all": worked, "idle": idled}

    async def first_status(self, before: dict[str, float]) -> None:
        """Until all have one: how long, and what it cost."""
        took = await self.watching.until(self.count, has_status, LIMIT_SECONDS)
        self.say("firstStatusSeconds", round(took, 1))
        self.say("firstStatus", self.watching.first_status())
        self.say(
            "cpuSecondsUntilThen", {name: round(now - before[name], 1) for name, now in self.spent().items()}
        )

    async def up(self) -> None:
        before, started, spent = read(self.operator), time.monotonic(), self.spent()
        applying = await self.storm()
        if self.options.rough:
            await self.rough()
            await self.watching.until(self.count, has_status, LIMIT_SECONDS)
        else:
            await self.first_status(spent)
            self.say("untilFirstStatus", read(self.operator).since(before))
        self.say("appliedSeconds", round(await applying, 1))
        if self.options.first_only:
            return
        await self.watching.until(self.count, is_so("Measured"), LIMIT_SECONDS)
        self.say("allMeasuredSeconds", round(time.monotonic() - started, 1))
        if not self.options.rough:
            self.say("storm", read(self.operator).since(before))
        self.say("settledAfterSeconds", round(await settle(self.operator), 1))
        self.say("nothingTwice", self.twice())
        if self.options.rough:
            return
        await self.idle()
        await self.one_change()
        await self.restart()

    async def down(self, player: int) -> None:
        spent = self.spent()
        await self.storm()
        await self.first_status(spent)
        waits = is_so("Ready", "HubUnreachable")
        self.say("allSayWhySeconds", round(await self.watching.until(self.count, waits, LIMIT_SECONDS), 1))
        for part in range(1 if self.options.hub_back else HUB_DOWN_PARTS):
            before = read(self.operator)
            await asyncio.sleep(IDLE_SECONDS)
            found = read(self.operator).since(before)
            self.say(f"waitingFrom{int(part * IDLE_SECONDS)}s", found)
        self.say("MiB", memory_mib(pid_of(self.operator)))
        if self.options.hub_back:
            await self.back(player)

    async def back(self, player: int) -> None:
        """The hub answers again; nobody says so but who tries next."""
        before, spent = read(self.operator), self.spent()
        os.kill(player, signal.SIGUSR1)
        past = is_so("Planned")
        self.say("hubBackFirstSeconds", round(await self.watching.until(1, past, HUB_BACK_LIMIT_SECONDS), 1))
        first, started = read(self.operator), time.monotonic()
        for part in (2, 1):
            await self.watching.until(self.count // part, past, HUB_BACK_LIMIT_SECONDS)
            self.say(f"hubBackThen{100 // part}PercentSeconds", round(time.monotonic() - started, 1))
        self.say("hubBackUntilFirst", first.since(before))
        self.say("hubBackFromThen", read(self.operator).since(first))
        self.say(
            "hubBackCpuSeconds", {name: round(now - spent[name], 1) for name, now in self.spent().items()}
        )
        await self.watching.until(self.count, is_so("Measured"), LIMIT_SECONDS)
        self.say("hubBackAllMeasuredSeconds", round(time.monotonic() - started, 1))
        self.say("nothingTwice", self.twice())

    async def idle(self) -> None:
        """Without a Prometheus, and with one, which has the load of pods asked for."""
        before = read(self.operator)
        await asyncio.sleep(IDLE_SECONDS)
        self.say("idle", read(self.operator).since(before))
        self.say("MiB", memory_mib(pid_of(self.operator)))
        before = read(self.operator)
        for _ in range(int(IDLE_SECONDS / SCRAPE_SECONDS)):
            size = await asyncio.to_thread(scrape, self.operator)
            await asyncio.sleep(SCRAPE_SECONDS)
        self.say("idleScraped", {**read(self.operator).since(before), "scrapeBytes": size})
        self.say("scrapedMiB", memory_mib(pid_of(self.operator)))

    async def one_change(self) -> None:
        taken = []
        for number in (1, self.count // 2, self.count - 1):
            item = fleet(self.count, self.options.namespaces)[number]
            name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
            changing = asyncio.to_thread(
                self.cluster.kubectl, "scale", "llmd", name, "-n", namespace, "--replicas=2"
            )
            await changing
            started = time.monotonic()
            await self.watching.until(self.count, has_status, 60)
            taken.append(round(time.monotonic() - started, 2))
        self.say("oneChangeSeconds", taken)
        await settle(self.operator)

    async def restart(self) -> None:
        self.operator.kill()
        self.operator.start()
        started = time.monotonic()
        await await_reconciles(self.operator, 1)
        self.say("restartFirstTurnSeconds", round(time.monotonic() - started, 1))
        await await_reconciles(self.operator, self.count)
        self.say("restartAllLookedAtSeconds", round(time.monotonic() - started, 1))
        now = read(self.operator)
        self.say("restartRequests", {verb: int(count) for verb, count in sorted(now.requests.items())})
        self.say("restartCpuSeconds", round(now.cpu_seconds, 1))
        self.say("restartMiB", memory_mib(pid_of(self.operator)))

    async def rough(self) -> None:
        """In the middle of the storm, one after the other."""
        await self.watching.until(self.count // 10, has_status, LIMIT_SECONDS)
        self.operator.kill()
        self.operator.start()
        await self.watching.until(self.count // 5, has_status, LIMIT_SECONDS)
        self.plane.kill("kube-apiserver")
        await asyncio.sleep(DOWN_SECONDS)
        self.plane.start_again("kube-apiserver")
        await self.watching.until(self.count // 3, has_status, LIMIT_SECONDS)
        await asyncio.to_thread(refuse, self.cluster)
        await asyncio.sleep(REFUSING_SECONDS)
        await asyncio.to_thread(
            self.cluster.kubectl, "delete", "flowschema,prioritylevelconfiguration", "fleet"
        )
        self.say(
            "refusedRequests",
            sum(
                count
                for name, count in read(self.operator).metrics.items()
                if name.startswith("tacho_operator_api_requests_total") and 'code="429"' in name
            ),
        )

    def twice(self) -> dict[str, int]:
        """How many there are of what there should be one a resource."""
        kinds = ("pods", "deployments", "replicasets", "services", "controllerrevisions")
        found = {}
        for kind in kinds:
            items = self.cluster.kubectl("get", kind, "-A", "-l", "tacho.dev/deployment", "-o", "name")
            found[kind] = len(items.splitlines())
        return found


def refuse(cluster: Cluster) -> None:
    """429 for whatever the operator asks: a priority level that has no seats for it."""
    version = "flowcontrol.apiserver.k8s.io/v1"
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    subject = {"kind": "ServiceAccount", "serviceAccount": {"name": ACCOUNT, "namespace": NAMESPACE}}
    everything = {
        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True,
    }  # fmt: skip
    cluster.apply(
        {
            "apiVersion": version,
            "kind": "PriorityLevelConfiguration",
            "metadata": {"name": "fleet"},
            "spec": {"type": "Limited", "limited": {**limited, "limitResponse": {"type": "Reject"}}},
        },
        {
            "apiVersion": version,
            "kind": "FlowSchema",
            "metadata": {"name": "fleet"},
            "spec": {
                "priorityLevelConfiguration": {"name": "fleet"},
                "matchingPrecedence": 100,
                "rules": [{"subjects": [subject], "resourceRules": [everything]}],
            },
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--resources", type=int, default=500)
    parser.add_argument("--namespaces", type=int, default=20)
    parser.add_argument("--first-only", action="store_true", help="end when all have a first status")
    parser.add_argument("--hub-down", action="store_true")
    parser.add_argument("--hub-back", action="store_true", help="with --hub-down: it answers after a while")
    parser.add_argument("--rough", action="store_true")
    parser.add_argument(
        "--scaling-period", type=int, default=30, help="seconds between two looks at the load of pods"
    )
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    plane = QuickControlPlane(binaries.find(print), api_port=16443)
    with plane as cluster:
        install_definition(cluster)

        async def measured() -> Fleet:
            async with connect(str(cluster.kubeconfig)) as kube:
                one = Fleet(plane, cluster, kube, options)
                await one.run()
                return one

        one = asyncio.run(measured())
    one.found["load"] = [round(value, 2) for value in os.getloadavg()]
    one.found["command"] = f"python -m benchmarks.fleet.run {' '.join(sys.argv[1:])}".strip()
    name = options.name or f"{options.resources}{'-hub-down' * options.hub_down}{'-rough' * options.rough}"
    (RESULTS / f"{name}.json").write_text(json.dumps(one.found, indent=2) + "\n")
    print("\n".join(f"| {key} | {json.dumps(value)} |" for key, value in one.found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
