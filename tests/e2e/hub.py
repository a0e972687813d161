"""The Hub-compatible server of the tests in a pod, with the example's model in one repository."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.e2e.claims import POD_SECURITY, container
from tests.e2e.conftest import Installed
from tests.e2e.resource import Llmd, eventually
from tools import lab
from tools.cluster.handle import Cluster

REPOSITORY = "tests/SmolLM2-135M-Instruct-GGUF"
TOKEN = "hf_a-token-of-the-tests"
NO_FAULTS: dict[str, Any] = {
    "rate": 0, "cutAfter": 0, "cuts": 0, "fail": [], "failAlways": 0, "stallSeconds": 0,
    "tokens": {}, "mode": "private",
}  # fmt: skip
_WHOLE_OR_REST = re.compile(r"^(bytes=(?P<start>\d+)-)?$")
MB = 1_000_000


class Hub:
    """The server; what it does wrong is changed and what it was asked is read while it runs."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.endpoint = f"http://hub.{namespace}.svc:8080"

    def faults(self, **changed: Any) -> None:
        lab.post(self.cluster, self.namespace, "hub", "/_faults", changed)

    def log(self) -> list[dict[str, Any]]:
        """Every request so far, oldest first."""
        path = f"/api/v1/namespaces/{self.namespace}/services/hub:http/proxy/_stats"
        found: list[dict[str, Any]] = json.loads(self.cluster.raw(path))["log"]
        return found

    def downloads(self, since: int) -> list[int]:
        """Where each download of the model began, in bytes, oldest first; of requests after ``since``.

        Inspection asks for ranges with an end, downloads for all or the rest. A download whose client went
        away has no status.
        """
        asked = [
            item for item in self.log()[since:] if item["method"] == "GET" and "/resolve/" in item["path"]
        ]
        matches = [_WHOLE_OR_REST.match(item["range"]) for item in asked if item["status"] in (0, 200, 206)]
        return [int(match["start"] or 0) for match in matches if match]

    def scale(self, replicas: int) -> None:
        """To 0: nobody answers at the Service's address."""
        self.cluster.kubectl("scale", "deployment/hub", "-n", self.namespace, f"--replicas={replicas}")
        if replicas:
            self.wait()
            return
        pods = ("pods", "-n", self.namespace, "-l", "app=hub")
        eventually("the hub's pod is gone", lambda: not self.cluster.get(*pods)["items"] or None)

    def wait(self) -> None:
        self.cluster.kubectl(
            "rollout", "status", "deployment/hub", "-n", self.namespace, "--timeout=180s", timeout_seconds=190
        )


def start(tacho: Installed, namespace: str) -> Hub:
    """A hub in ``namespace`` that serves REPOSITORY."""
    folder = f"/hub/{REPOSITORY}"
    mount = {"volumeMounts": [{"name": "hub", "mountPath": "/hub"}]}
    fill = ("sh", "-c", f"mkdir -p {folder} && cp /model/*.gguf {folder}/")
    serve = {
        "args": ["tools.mock.hub", "--root", "/hub", "--port", "8080"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/_stats", "port": "http"}, "timeoutSeconds": 10},
    }
    pod = {
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": 1,
        "initContainers": [container(tacho.images["smollm2"], *fill, **mount, name="fill")],
        "containers": [container(tacho.images["tacho-fakes"], **serve, **mount)],
        "volumes": [{"name": "hub", "emptyDir": {}}],
    }
    labels = {"app": "hub"}
    metadata = {"name": "hub", "namespace": namespace}
    template = {"metadata": {"labels": labels}, "spec": pod}
    ports = [{"name": "http", "port": 8080, "targetPort": "http"}]
    tacho.cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": ports},
        },
    )
    hub = Hub(tacho.cluster, namespace)
    hub.wait()
    return hub


def report(llmd: Llmd, pod: dict[str, Any]) -> dict[str, Any] | None:
    """The pod's /report, None while nobody answers there."""
    path = f"/api/v1/namespaces/{llmd.namespace}/pods/{pod['metadata']['name']}:9400/proxy/report"
    try:
        found: dict[str, Any] = json.loads(llmd.cluster.raw(path))
    except Exception:  # noqa: BLE001 - not there yet, whatever the reason
        return None
    return found


def fetched(llmd: Llmd, pod: dict[str, Any], at_least_bytes: int) -> dict[str, Any]:
    """The progress of a download once it has at least that many bytes."""

    def look() -> dict[str, Any] | None:
        found = ((report(llmd, pod) or {}).get("fetch")) or {}
        return found if found.get("bytesDone", 0) >= at_least_bytes else None

    return eventually(f"{at_least_bytes} bytes of the model in {pod['metadata']['name']}", look)
