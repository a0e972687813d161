"""Plays every node: ends inspect pods, makes model pods Ready, and serves the reports of their runtimes.

    python -m benchmarks.fleet.played KUBECONFIG MODE

MODE: serve (inspect pods find the model), hub-down (they end with HubUnreachable, until a SIGUSR1: then the
hub answers).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from datetime import UTC, datetime
from typing import Any

from tacho_contract.codec import dumps, loads, pack
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import ENV_RUNTIME_CONFIG, RuntimeConfig
from tacho_contract.model import InspectResult
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import Load
from tacho_contract.units import format_time
from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.kube import Kube, connect
from tools.cluster.ports import free_network
from tools.harness.operating import FACTS
from tools.harness.played_report import report

HANDS = 16
"""Pods that are played at once."""
GONE = (404, 422)
"""Answers for a pod that is not there any more, or that has ended."""
DOWN = Failure(
    failure_class=FailureClass.HUB_UNREACHABLE, message="The hub does not answer.", next_step="Wait."
)


def idle_load(now: str) -> Load:
    """Of an engine that nobody asks anything."""
    return Load(
        running=0,
        waiting=0,
        generation_tokens_total=123456.0,
        prompt_tokens_total=65432.0,
        kv_cache_usage=0.0,
        first_token_seconds_total=12.5,
        first_tokens_total=321.0,
        observed_time=now,
    )


class Nodes:
    """All of them."""

    def __init__(self, kube: Kube, *, hub_down: bool) -> None:
        self._kube = kube
        self._hub_down = hub_down
        self._pods: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._played: set[str] = set()
        self._bodies: dict[str, bytes] = {}
        self._measure_key = ""
        self._servers: list[asyncio.Server] = []

    def hub_answers(self) -> None:
        self._hub_down = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(HANDS):
                group.create_task(self._play())
            while True:
                try:
                    await self._follow()
                except ApiError:
                    await asyncio.sleep(0.5)

    async def _follow(self) -> None:
        version = ""
        async for page in self._kube.pages("Pod", None, DEPLOYMENT_LABEL):
            version = page.version
            for pod in page.items:
                self._take(pod)
        async with self._kube.watch("Pod", None, DEPLOYMENT_LABEL, version) as events:
            async for what, pod in events:
                if what in ("ADDED", "MODIFIED"):
                    self._take(pod)

    def _take(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._played and pod.get("status", {}).get("phase") == "Pending":
            self._played.add(uid)
            self._pods.put_nowait(pod)

    async def _play(self) -> None:
        while True:
            pod = await self._pods.get()
            try:
                if pod["metadata"]["labels"][ROLE_LABEL] == "inspect":
                    await self._patch(pod, self._inspected(pod))
                else:
                    await self._patch(pod, await self._running(pod))
            except ApiError as error:
                if error.status not in GONE:  # an API server that starts answers 403, too
                    self._pods.put_nowait(pod)
                    await asyncio.sleep(0.5)

    async def _patch(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        await self._kube._request(
            "patch",
            "Pod",
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status",
            {"status": status},
            content_type="application/merge-patch+json",
        )

    def _inspected(self, pod: dict[str, Any]) -> dict[str, Any]:
        (container,) = pod["spec"]["containers"]
        result = InspectResult(failure=DOWN) if self._hub_down else InspectResult(facts=FACTS)
        now = format_time(datetime.now(UTC))
        ended = {
            "exitCode": int(self._hub_down),
            "finishedAt": now,
            "startedAt": now,
            "message": pack(result),
        }
        told = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
        return {
            "phase": "Failed" if self._hub_down else "Succeeded",
            "containerStatuses": [{**told, "ready": False, "state": {"terminated": ended}}],
        }

    async def _running(self, pod: dict[str, Any]) -> dict[str, Any]:
        (container,) = pod["spec"]["containers"]
        variables = {item["name"]: item.get("value", "") for item in container["env"]}
        config = loads(RuntimeConfig, variables[ENV_RUNTIME_CONFIG])
        number = len(self._bodies)
        address = f"{free_network(RUNTIME_PORT)}.{number // 250 + 1}.{number % 250 + 1}"
        self._bodies[address] = b""  # taken, before anything else runs
        self._servers.append(await asyncio.start_server(self._answer, address, RUNTIME_PORT))
        self._bodies[address] = dumps(report(config, await self._key_of(pod), 100.0)).encode()
        now = format_time(datetime.now(UTC))
        conditions = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        told = {"name": container["name"], "image": container["image"], "imageID": "sha256:1"}
        inits = [
            {
                "name": item["name"], "image": item["image"], "imageID": "", "restartCount": 0, "ready": True,
                "state": {"terminated": {"exitCode": 0, "startedAt": now, "finishedAt": now}},
            }
            for item in pod["spec"].get("initContainers") or ()
        ]  # fmt: skip
        return {
            "phase": "Running",
            "startTime": now,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                {"type": item, "status": "True", "lastTransitionTime": now} for item in conditions
            ],
            "initContainerStatuses": inits,
            "containerStatuses": [
                {
                    **told,
                    "restartCount": 0,
                    "ready": True,
                    "started": True,
                    "state": {"running": {"startedAt": now}},
                }
            ],
        }

    async def _key_of(self, pod: dict[str, Any]) -> str:
        """The same for all: their spec is."""
        if not self._measure_key:
            metadata = pod["metadata"]
            name = f"{metadata['labels'][DEPLOYMENT_LABEL]}-live"
            live = await self._kube.get("ConfigMap", metadata["namespace"], name)
            assert live is not None
            self._measure_key = json.loads(live["data"]["live.json"])["measureKey"]
        return self._measure_key

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            body = self._bodies.get(writer.get_extra_info("sockname")[0], b"")
            if body and asked.startswith(b"GET /load "):
                body = dumps(idle_load(format_time(datetime.now(UTC)))).encode()
            status = b"200 OK" if body else b"404 Not Found"
            head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
            writer.write(head + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kubeconfig")
    parser.add_argument("mode", choices=("serve", "hub-down"))
    options = parser.parse_args()
    async with connect(options.kubeconfig) as kube:
        nodes = Nodes(kube, hub_down=options.mode == "hub-down")
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, nodes.hub_answers)
        await nodes.run()


if __name__ == "__main__":
    asyncio.run(main())
