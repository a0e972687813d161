"""What goes wrong around a scaler: it is killed, it is cut off from the pods, a pod hangs."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from tests.cluster_fixtures import state_of
from tests.e2e.conftest import Installed
from tests.e2e.resource import Llmd
from tools import lab
from tools.cluster.handle import Cluster
from tools.cluster.namespaces import run_inside

OPERATOR = "app.kubernetes.io/component=operator"
RESTART_SECONDS = 180
LOAD_PORT, ENGINE_PORT = 9400, 8010


IN_NAMESPACE = ("-n", lab.OPERATOR_NAMESPACE)
SCALE = ("scale", f"deployment/{lab.RELEASE}", *IN_NAMESPACE)


def kill_operator(tacho: Installed) -> None:
    """Without a chance to write anything down; until the next one runs."""
    _kill(tacho)
    _await_operator(tacho)


def kill_operator_without_bursts(tacho: Installed, llmd: Llmd) -> None:
    """As ``kill_operator``, and the next one finds no bursts in the resource's status."""
    tacho.cluster.kubectl(*SCALE, "--replicas=0")
    _kill(tacho)
    deadline = time.monotonic() + RESTART_SECONDS
    while True:  # its process ends a moment after its pod, and writes what it has in memory until then
        tacho.cluster.forget_bursts(llmd.namespace, llmd.name)
        time.sleep(2)
        if not (llmd.status().get("autoscaling") or {}).get("bursts"):
            break
        assert time.monotonic() < deadline, "who writes the bursts, when no operator runs?"
    tacho.cluster.kubectl(*SCALE, "--replicas=1")
    _await_operator(tacho)


def _kill(tacho: Installed) -> None:
    kill = ("delete", "pod", *IN_NAMESPACE, "-l", OPERATOR, "--grace-period=0", "--force")
    tacho.cluster.kubectl(*kill)


def _await_operator(tacho: Installed) -> None:
    wait = ("rollout", "status", f"deployment/{lab.RELEASE}", *IN_NAMESPACE, f"--timeout={RESTART_SECONDS}s")
    tacho.cluster.kubectl(*wait, timeout_seconds=RESTART_SECONDS + 10)


def no_loads(cluster: Cluster) -> contextlib.AbstractContextManager[None]:
    """No pod's load reaches the operator. Requests, and the kubelet's probes, go on."""
    return dropped(cluster, LOAD_PORT)


@contextlib.contextmanager
def dropped(cluster: Cluster, port: int) -> Iterator[None]:
    """Packets to that port are dropped between pods."""
    known = state_of(cluster)
    rule = ("FORWARD", "--protocol", "tcp", "--dport", str(port), "--jump", "DROP")
    run_inside(known.holder_pid, ["iptables", "--wait", "--insert", *rule])
    try:
        yield
    finally:
        run_inside(known.holder_pid, ["iptables", "--wait", "--delete", *rule])


def hang(pod: dict[str, Any], step_seconds: float, meanwhile_seconds: float) -> None:
    """The engine in the pod takes so long for its next step: what it is answering by ``meanwhile_seconds``
    from now stands still, and what comes then waits. It answers /health."""
    url = f"http://{pod['status']['podIP']}:{ENGINE_PORT}/_law"

    def change(document: dict[str, Any] | None) -> dict[str, Any]:
        body = None if document is None else json.dumps(document).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    usual = change(None)["itl_base_ms"]
    change({"itl_base_ms": step_seconds * 1000.0})
    time.sleep(meanwhile_seconds)
    change({"itl_base_ms": usual})
