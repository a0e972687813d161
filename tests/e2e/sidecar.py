"""The fetch container of a pod: how often it was started, and its end at the hands of the node."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from typing import Any

from tests.cluster_fixtures import state_of
from tests.e2e.resource import Llmd, eventually
from tools.cluster import images
from tools.cluster.handle import Cluster

FETCH = "fetch"


def status(pod: dict[str, Any], name: str = FETCH) -> dict[str, Any]:
    """The status of a container of ``pod``, {} before it has one."""
    found = pod["status"]
    listed = (*found.get("initContainerStatuses", ()), *found.get("containerStatuses", ()))
    return next((item for item in listed if item["name"] == name), {})


def read(llmd: Llmd, name: str) -> dict[str, Any]:
    """The pod ``name`` as it is now."""
    found: dict[str, Any] = llmd.cluster.get("pod", name, "-n", llmd.namespace)
    return found


def the_pod(llmd: Llmd, without: str = "") -> dict[str, Any]:
    """The one server pod, once its fetch container runs; not the one with the uid ``without``."""

    def look() -> dict[str, Any] | None:
        pods = [pod for pod in llmd.pods() if pod["metadata"]["uid"] != without]
        return pods[0] if len(pods) == 1 and "running" in status(pods[0]).get("state", {}) else None

    return eventually("a server pod whose fetch container runs", look)


def kill_container(cluster: Cluster, pod: dict[str, Any], name: str = FETCH) -> None:
    """SIGKILL to the container's first process, from the node: what the kernel's OOM killer does."""
    identity = status(pod, name)["containerID"].removeprefix("containerd://")
    images.ctr(state_of(cluster), "tasks", "kill", "--signal", "SIGKILL", identity)


def restarted(llmd: Llmd, pod: dict[str, Any], times: int) -> dict[str, Any]:
    """The pod once its fetch container has been started again ``times`` times and runs, and it is Ready."""

    def look() -> dict[str, Any] | None:
        now = read(llmd, pod["metadata"]["name"])
        conditions = {item["type"]: item["status"] for item in now["status"]["conditions"]}
        again = status(now)
        there = again["restartCount"] == times and "running" in again["state"]
        return now if there and conditions["Ready"] == "True" else None

    return eventually(f"{pod['metadata']['name']} Ready after restart {times} of its fetch container", look)


class Outage:
    """Asks a Service again and again on new connections, and notes when nobody answered."""

    def __init__(self, url: str) -> None:
        self.failed_at: list[float] = []
        self.answered = 0
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            try:
                with urllib.request.urlopen(self._url, timeout=30):
                    self.answered += 1
            except OSError:
                self.failed_at.append(time.monotonic())

    def __enter__(self) -> Outage:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """From the first to the last request without an answer."""
        return self.failed_at[-1] - self.failed_at[0] if self.failed_at else 0.0


class Watched:
    """Notes from the API server's own watch when the Service had no ready endpoint."""

    def __init__(self, llmd: Llmd) -> None:
        ready = '{.endpoints[*].conditions.ready}{"\\n"}'
        cluster = llmd.cluster
        self._command = [str(cluster.binaries.path("kubectl")), f"--kubeconfig={cluster.kubeconfig}", "get"]
        self._command += ["endpointslices", "-n", llmd.namespace, "--watch", f"--output=jsonpath={ready}"]
        self._command += ["-l", f"kubernetes.io/service-name={llmd.name}"]
        self._lines: list[tuple[float, bool]] = []
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append((time.monotonic(), "true" in line))

    def __enter__(self) -> Watched:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        self._thread.start()
        eventually("the first look at the endpoints", lambda: self._lines or None)
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._thread.join()
        with self._process:
            pass

    @property
    def ready(self) -> bool:
        """What the watch said last."""
        return self._lines[-1][1]

    def seconds_out(self) -> float:
        """Time without a ready endpoint, all in all."""
        spans = zip(self._lines, self._lines[1:], strict=False)
        return sum(after - at for (at, ready), (after, _) in spans if not ready)


def in_container(llmd: Llmd, pod: dict[str, Any], name: str, *program: str) -> str:
    """What ``program`` prints in a container of the pod. CalledProcessError when it fails."""
    where = ("exec", pod["metadata"]["name"], "-n", llmd.namespace, "-c", name, "--")
    return llmd.cluster.kubectl(*where, *program)
