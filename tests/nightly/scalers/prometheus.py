"""Debian's Prometheus beside the cluster: it scrapes the operator and the pods."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.cluster import state
from tools.cluster.handle import Cluster
from tools.cluster.ports import free_port
from tools.cluster.processes import Processes, dying_with_parent

NAMESPACE = "monitoring"
SELECTORS = {
    "tacho": ("app.kubernetes.io/component=operator", 9401),
    "models": ("tacho.dev/role=server", 9400),
}
"""Job to the pods that are scraped, and on which port."""
SCRAPE_SECONDS = DISCOVERY_SECONDS = 5
READY_SECONDS = 60


@dataclass(frozen=True)
class Prometheus:
    """One that runs. In the cluster it is the Service ``prometheus`` of the namespace ``monitoring``."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression."""
        return self._result("query", query=expression)

    def query_range(self, expression: str, seconds: int) -> list[dict[str, Any]]:
        """The series of an expression over the last seconds, as a panel asks for them."""
        now = time.time()
        return self._result("query_range", query=expression, start=now - seconds, end=now, step=1)

    def _result(self, what: str, **asked: object) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def values(self, expression: str) -> list[float]:
        return [float(item["value"][1]) for item in self.query(expression)]


@contextlib.contextmanager
def running(cluster: Cluster, folder: Path) -> Iterator[Prometheus]:
    """A server with an empty store, reachable from this machine and as a Service from pods."""
    known = state.read(cluster.name)
    assert known is not None
    address, port = known.network.host_address, free_port()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(folder)))
    discovery = Discovery(cluster, folder)
    discovery.look()
    discovery.start()
    processes = Processes(folder, dying_with_parent())
    processes.start(
        "prometheus",
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'store'}",
            f"--web.listen-address={address}:{port}",
        ],
    )
    try:
        found = Prometheus(f"http://{address}:{port}")
        processes.wait_until(
            "Prometheus is ready", lambda: is_ready(found.url), READY_SECONDS, blame="prometheus"
        )
        cluster.create_namespace(NAMESPACE)
        cluster.apply(*service(address, port))
        yield found
    finally:
        discovery.stop()
        processes.stop()


def is_ready(url: str) -> bool:
    """Whether it answers there."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def configuration(targets: Path) -> dict[str, Any]:
    """Two jobs, each with a file of addresses that is read again when it changes: Debian builds Prometheus
    without Kubernetes' discovery."""
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": True,  # the series name the namespace of the resource, not of the operator
                "file_sd_configs": [{"files": [str(targets / f"{job}.json")]}],
            }
            for job in SELECTORS
        ],
    }


class Discovery(threading.Thread):
    """Keeps the files of addresses in step with the pods that run."""

    def __init__(self, cluster: Cluster, targets: Path) -> None:
        super().__init__(daemon=True)
        self._cluster, self._targets = cluster, targets
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(DISCOVERY_SECONDS):
            with contextlib.suppress(subprocess.CalledProcessError):
                self.look()

    def look(self) -> None:
        for job, (selector, port) in SELECTORS.items():
            pods = self._cluster.get("pods", "--all-namespaces", "-l", selector)["items"]
            found = [
                {
                    "targets": [f"{pod['status']['podIP']}:{port}"],
                    "labels": {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]},
                }
                for pod in pods
                if pod["status"].get("podIP") and pod["status"]["phase"] == "Running"
            ]
            scratch = self._targets / f"{job}.new"
            scratch.write_text(json.dumps(found))
            scratch.rename(self._targets / f"{job}.json")

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


def service(address: str, port: int) -> list[dict[str, Any]]:
    """A name in the cluster for a server outside of it."""
    metadata = {"name": "prometheus", "namespace": NAMESPACE}
    labels = {"kubernetes.io/service-name": "prometheus"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "web", "port": 9090, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "web", "port": port}],
        },
    ]
