"""The operator as a process against a real API server, with the chart's ServiceAccount and rights.

There is no kubelet here: ``Kubelet`` plays it, writing the status that pods would have, and serves the
reports that their runtimes would give.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from tacho_contract.codec import dumps, loads, pack
from tacho_contract.failure import Failure
from tacho_contract.launch import ENV_RUNTIME_CONFIG, LiveConfig, RuntimeConfig
from tacho_contract.measurement import Environment
from tacho_contract.model import ENV_INSPECT_CONFIG, InspectConfig, InspectResult, ModelFacts
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import Report
from tools.cluster import binaries
from tools.cluster.handle import Cluster
from tools.cluster.ports import free_network, free_port
from tools.harness.helm import Helm
from tools.harness.played_report import present, report
from tools.harness.scaled_pods import Pods

NAMESPACE = "tacho-system"
ACCOUNT = "tacho"
POD = "tacho-0"
RIGHTS = frozenset(
    {
        *("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
        *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    }
)
"""Kinds of the chart's manifests that say what the operator may do."""
IMAGE = "example/tacho:test"
PATIENCE_SECONDS = 100.0
"""For a machine that is busy with other things; nothing waits this long where all is well."""


def install_rights(cluster: Cluster, **values: Any) -> Path:
    """What the chart gives the operator by its ``values``, and a kubeconfig that speaks as its ServiceAccount
    in ``POD``."""
    cluster.create_namespace(NAMESPACE)
    manifests = Helm(binaries.helm(print)).template(values)
    cluster.apply(*(manifest for manifest in manifests if manifest["kind"] in RIGHTS))
    return pod_kubeconfig(cluster, POD)


def pod_kubeconfig(cluster: Cluster, name: str) -> Path:
    """A kubeconfig that speaks as the operator's ServiceAccount in a pod of that name, which never runs."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "serviceAccountName": ACCOUNT,
        "schedulerName": "none",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "operator", "image": IMAGE, "securityContext": confined}],
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return cluster.service_account_kubeconfig(NAMESPACE, ACCOUNT, pod=name)


class Operator:
    """``python -m tacho_operator`` as a child."""

    def __init__(self, kubeconfig: Path, log: Path, **variables: str) -> None:
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TACHO_")},
            "KUBECONFIG": str(kubeconfig),
            "TACHO_IMAGE": IMAGE,
            "TACHO_POD_NAME": POD,
            "TACHO_ENGINE_IMAGE_LLAMACPP": "example/llamacpp:test",
            "TACHO_RESYNC_SECONDS": "5",
            "TACHO_METRICS_PORT": str(free_port()),
            "TACHO_HEALTH_PORT": str(free_port()),
            "TACHO_READINESS_PORT": str(free_port()),
            "PYTHONWARNINGS": "default",
            **variables,
        }
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._environment['TACHO_METRICS_PORT']}/metrics"

    @property
    def health_url(self) -> str:
        return f"http://127.0.0.1:{self._environment['TACHO_HEALTH_PORT']}"

    @property
    def readiness_url(self) -> str:
        return f"http://127.0.0.1:{self._environment['TACHO_READINESS_PORT']}"

    def reconciles(self) -> float:
        """Number of reconcile passes that succeeded; 0 while the operator does not answer."""
        return self._metric("tacho_operator_reconcile_total", '{result="success"}')

    def _metric(self, name: str, labels: str) -> float:
        try:
            text = self.read(name)
        except OSError:
            return 0.0
        found = re.search(rf"^{re.escape(name + labels)} (\S+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def read(self, name: str) -> str:
        """Series of one metric: those of thousands of resources would be work for it. Raises OSError."""
        with urllib.request.urlopen(f"{self.metrics_url}?name[]={name}", timeout=30) as answer:
            return str(answer.read().decode())

    def start(self, **variables: str) -> None:
        assert self._process is None
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tacho_operator"],
                env={**self._environment, **variables},
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        """Kills the operator without a clean shutdown, as the failure of its node would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def ended(self, seconds: float = 20) -> int:
        """Waits for its end; the exit code."""
        assert self._process
        code = self._process.wait(timeout=seconds)
        self._process = None
        return code

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.ended()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.readiness_url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def leads(self) -> bool:
        return self._metric("tacho_operator_leader", "") == 1.0


T = TypeVar("T")


def eventually(what: str, find: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """The first result of ``find`` that is not None; else a failure that names ``what`` was awaited."""
    deadline = time.monotonic() + seconds
    while (found := find()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s there is still not: {what}")
        time.sleep(0.15)
    return found


class Kubelet:
    """Plays the nodes for the pods of one namespace: on command, writes the status and serves the reports of
    pods."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._reports: dict[str, Report] = {}
        network = free_network(RUNTIME_PORT)
        self._addresses = (f"{network}.{block}.{host}" for block in range(255) for host in range(2, 202))
        self._servers = contextlib.ExitStack()
        self.loads = Pods()
        self.environment = Environment(cpu_model="test", cpu_count=2)
        """What pods find on the node from now on."""
        self.concurrency = 1
        """Of the capacity that pods report from now on."""
        self.boundary = "Floor"
        """How that capacity is bounded."""

    def pods(self, role: str) -> list[dict[str, Any]]:
        found = self._cluster.get("pods", "-n", self._namespace, "-l", f"tacho.dev/role={role}")["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def serve_all(self) -> None:
        """Makes every existing pod serve; forgets the settings of deleted pods."""
        while any(_untouched(pod["status"]) for pod in self.pods("server")):
            self.serve()
        there = {pod["status"].get("podIP") for pod in self.pods("server")}
        for address in set(self._reports) - there:
            del self._reports[address]

    def await_pod(self, role: str, revision: str = "") -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            for pod in self.pods(role):
                labels = pod["metadata"]["labels"]
                if revision in ("", labels.get("tacho.dev/revision")) and _untouched(pod["status"]):
                    return pod
            return None

        return eventually(f"a new pod of role {role} {revision}", find)

    def _patch(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        self._cluster.patch_status("Pod", self._namespace, pod["metadata"]["name"], status)

    def finish_inspection(self, result: ModelFacts | Failure, role: str = "inspect") -> dict[str, Any]:
        """Ends the next inspect pod with these facts, or with this failure."""
        pod = self.await_pod(role)
        (container,) = pod["spec"]["containers"]
        asked = loads(
            InspectConfig, next(e["value"] for e in container["env"] if e["name"] == ENV_INSPECT_CONFIG)
        )
        assert asked.uri
        ok = isinstance(result, ModelFacts)
        message = pack(
            InspectResult(facts=result) if isinstance(result, ModelFacts) else InspectResult(failure=result)
        )
        ended = {
            "exitCode": 0 if ok else 1,
            "finishedAt": present(),
            "startedAt": present(),
            "message": message,
        }
        status = {"name": container["name"], "image": container["image"], "restartCount": 0}
        self._patch(
            pod,
            {
                "phase": "Succeeded" if ok else "Failed",
                "containerStatuses": [
                    {**status, "imageID": "", "ready": False, "state": {"terminated": ended}}
                ],
            },
        )
        return pod

    def serve(
        self, role: str = "server", revision: str = "", tokens_per_second: float = 100.0, ready: bool = True
    ) -> dict[str, Any]:
        """Makes the next pod of that role Running and Ready, with a measured report. Not ``ready``: its
        readiness probe is still to come.
        """
        pod = self.await_pod(role, revision)
        (container,) = pod["spec"]["containers"]
        config = loads(
            RuntimeConfig, next(e["value"] for e in container["env"] if e["name"] == ENV_RUNTIME_CONFIG)
        )
        live = self._cluster.get(
            "configmap", f"{pod['metadata']['labels']['tacho.dev/deployment']}-live", "-n", self._namespace
        )
        key = json.loads(live["data"]["live.json"])["measureKey"]
        address = next(self._addresses)
        self._measured(address, report(config, key, tokens_per_second, self.concurrency))
        self._answer_at(address)
        status = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "sha256:1",
            "restartCount": 0,
        }
        now = present()
        conditions = [
            {
                "type": kind,
                "status": "True" if ready or kind != "Ready" else "False",
                "lastTransitionTime": now,
            }
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        inits = [
            {
                "name": item["name"], "image": item["image"], "imageID": "", "restartCount": 0, "ready": True,
                "state": {"terminated": {"exitCode": 0, "startedAt": now, "finishedAt": now}},
            }
            for item in pod["spec"].get("initContainers") or ()
        ]  # fmt: skip
        self._patch(
            pod,
            {
                "phase": "Running",
                "startTime": now,
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": conditions,
                "initContainerStatuses": inits,
                "containerStatuses": [
                    {**status, "ready": True, "started": True, "state": {"running": {"startedAt": now}}}
                ],
            },
        )
        return pod

    def gets_ready(self, pod: dict[str, Any]) -> None:
        status = self._cluster.get("pod", pod["metadata"]["name"], "-n", self._namespace)["status"]
        conditions = [{**item, "status": "True"} for item in status["conditions"]]
        self._patch(pod, {**status, "conditions": conditions})

    def measures_again(self, pod: dict[str, Any], tokens_per_second: float) -> None:
        """Waits until the pod is asked to measure itself, and lets it do so at once."""
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]

        def requested() -> LiveConfig | None:
            live = self._cluster.get(
                "configmap", f"{labels['tacho.dev/deployment']}-live", "-n", self._namespace
            )
            found = loads(LiveConfig, live["data"]["live.json"])
            return found if found.again.hostname == name else None

        live = eventually(f"a request to {name}", requested)
        address = self._cluster.get("pod", name, "-n", self._namespace)["status"]["podIP"]
        (container,) = pod["spec"]["containers"]
        config = loads(
            RuntimeConfig, next(e["value"] for e in container["env"] if e["name"] == ENV_RUNTIME_CONFIG)
        )
        found = report(config, live.measure_key, tokens_per_second, self.concurrency)
        assert found.measurement
        measurement = replace(found.measurement, request=live.again.request)
        self._measured(address, replace(found, measurement=measurement))

    def _measured(self, address: str, found: Report) -> None:
        """The report at that address from now on."""
        now = present()
        while any(known.observed_time == now for known in self._reports.values()):
            time.sleep(0.05)  # times are told to the second, and no two measurements end in the same
            now = present()
        assert found.measurement
        assert found.measurement.capacity
        capacity = replace(found.measurement.capacity, boundary=self.boundary)
        measurement = replace(found.measurement, capacity=capacity, observed_time=now)
        self._reports[address] = replace(
            found, environment=self.environment, observed_time=now, measurement=measurement
        )

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Until then the pods that serve answer, each at its address."""
        with self._servers:
            yield

    def _answer_at(self, address: str) -> None:
        """Answers with the current content for the address; 404 where it has none."""
        reports, loads = self._reports, self.loads

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = reports.get(address)
                asked = {"/report": known, "/load": known and loads.load(address, len(reports))}
                found = asked.get(self.path)
                body = dumps(found).encode() if found else b""
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        server = _Server((address, RUNTIME_PORT), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        for ending in (thread.join, server.server_close, server.shutdown):  # the last one first
            self._servers.callback(ending)


class _Server(socketserver.ThreadingTCPServer):
    """http.server's own asks the DNS for its name."""

    allow_reuse_address = daemon_threads = True


def _untouched(status: dict[str, Any]) -> bool:
    return not status.get("podIP") and not status.get("containerStatuses")
