"""The soak's observer on a real API server: each invariant is broken there, and seen to be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tests.nightly.soak import invariants
from tests.nightly.soak.invariants import Recording, violations
from tests.nightly.soak.observer import Observer
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.operating import NAME, resource
from tools.harness.operator_process import ACCOUNT, NAMESPACE, POD, eventually, install_rights, pod_kubeconfig

USERS, STANDBY = "observed", "tacho-1"
LABELS = {DEPLOYMENT_LABEL: NAME}
STEP_SECONDS = 3.0


@pytest.fixture(scope="module")
def cluster(cluster_binaries: Binaries) -> Iterator[Cluster]:
    """Without a garbage collector, which would remove a planted child."""
    with ControlPlane(cluster_binaries, collects=False) as started:
        install_definition(started)
        started.create_namespace(USERS)
        yield started


@pytest.fixture
def observer(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Observer:
    """With bounds of a few seconds in place of the soak's."""
    for name in ("RECONCILE_SECONDS", "COLLECTION_SECONDS", "SETTLED_SECONDS"):
        monkeypatch.setattr(invariants, name, STEP_SECONDS)
    monkeypatch.setattr("tests.nightly.soak.observer.PERIOD_SECONDS", 0.3)
    return Observer(cluster)


class Writer:
    """Writes as the operator does, from the pod of that name; no operator runs."""

    def __init__(self, cluster: Cluster, kubeconfig: Path, pod: str) -> None:
        self._pod, self._cluster = pod, replace(cluster, kubeconfig=kubeconfig)

    def take_lease(self, verb: str) -> None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
            "spec": {"holderIdentity": self._pod},
        }
        self._cluster.kubectl(verb, "-f", "-", stdin=json.dumps(lease))

    def say(self, generation: int, **conditions: str) -> None:
        """A status with these conditions."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        common = {"reason": "Planted", "message": "", "lastTransitionTime": now}
        listed = [{"type": kind, "status": value, **common} for kind, value in conditions.items()]
        status = {"observedGeneration": generation, "conditions": listed}
        metadata = {"name": NAME, "namespace": USERS}
        document = {**resource(USERS), "metadata": metadata, "status": status}
        del document["spec"]
        apply = ("apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-")
        self._cluster.kubectl(*apply, stdin=json.dumps(document))


def child(kind: str, name: str, uid: str, **fields: Any) -> dict[str, Any]:
    """One of the resource's children, as far as the observer reads it."""
    owner = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "name": NAME, "controller": True}
    owners = [{**owner, "uid": uid}]
    metadata = {"name": name, "namespace": USERS, "labels": LABELS, "ownerReferences": owners}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def served(uid: str) -> tuple[dict[str, Any], ...]:
    """A server pod, and the Service in front of it."""
    security = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    containers = [{"name": "engine", "image": "example/none:1", "securityContext": confined}]
    spec = {"securityContext": security, "schedulerName": "none", "containers": containers}
    ports = {"selector": LABELS, "ports": [{"port": 80}]}
    return child("Pod", "server", uid, spec=spec), child("Service", NAME, uid, spec=ports)


def set_ready(cluster: Cluster, status: str) -> None:
    ready = {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": status}]}
    cluster.patch_status("Pod", USERS, "server", ready)


def test_each_broken_invariant_is_seen(cluster: Cluster, observer: Observer) -> None:
    """First nothing is wrong and nothing is found; then one thing after another is."""
    leader = Writer(cluster, install_rights(cluster), POD)
    successor = Writer(cluster, pod_kubeconfig(cluster, STANDBY), STANDBY)
    cluster.kubectl("delete", "validatingadmissionpolicybindings", "--all")  # the fence is what is broken
    cluster.apply(resource(USERS))
    found = cluster.get("llmd", NAME, "-n", USERS)["metadata"]
    generation, uid = found["generation"], found["uid"]
    cluster.apply(*served(uid))
    set_ready(cluster, "True")
    observer.start()

    def recorded(events_end: float) -> Recording:
        time.sleep(STEP_SECONDS + 1)
        return Recording(
            snapshots=tuple(observer.snapshots),
            writes=tuple(observer.writes),
            lease=tuple(observer.lease),
            impeded=(),
            events_end=events_end,
            valid={f"{USERS}/{NAME}": True},
        )

    leader.take_lease("create")
    leader.say(generation, Ready="True", Reconciling="False")
    eventually("the write is observed", lambda: observer.writes or None)
    assert violations(recorded(time.time())) == {}

    set_ready(cluster, "False")
    assert set(violations(recorded(time.time()))) == {"ready-without-endpoint", "unsettled"}
    set_ready(cluster, "True")

    leader.say(generation, Ready="True", Reconciling="True")
    begun = time.time()
    assert set(violations(recorded(begun))) == {"ready-without-endpoint", "unsettled"}
    leader.say(generation, Ready="True", Reconciling="False")

    cluster.apply(child("ConfigMap", "planted", "00000000-0000-4000-8000-000000000000"))
    assert set(violations(recorded(time.time()))) == {"ready-without-endpoint", "child-without-owner"}

    successor.take_lease("replace")
    time.sleep(invariants.FENCE_SECONDS + 1)
    leader.say(generation, Ready="True", Reconciling="False")
    observer.stop()
    seen = violations(recorded(time.time()))
    assert set(seen) == {"ready-without-endpoint", "child-without-owner", "two-writers", "unsettled"}
    (twice,) = seen["two-writers"]
    assert NAME in twice
    assert f"written by {POD}" in twice
    assert STANDBY in twice
