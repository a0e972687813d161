"""A storage class has another name: what that changes for claims of the former one, with a real scheduler."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.codec import loads
from tacho_contract.launch import ENV_RUNTIME_CONFIG, RuntimeConfig
from tacho_contract.uri import ClaimUri
from tests.api.scheduling import advertise, placed, replaced
from tests.unit.cli.commands import call
from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, await_condition, bring_up, condition, resource
from tools.harness.operator_process import Kubelet, eventually

pytestmark = pytest.mark.nightly

NODE, FORMER, PRESENT = "storage-node", "former", "present"
LARGER = {"resources": {"requests": {"storage": "2Gi"}}}


def storage_class(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "none.example.com",
        "allowVolumeExpansion": True,
    }


def claim(namespace: str, name: str, of_class: str) -> dict[str, Any]:
    size = {"resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": of_class, **size},
    }


def volume(namespace: str, name: str, of_class: str) -> dict[str, Any]:
    """What its provisioner makes for a claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{name}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": of_class,
            "csi": {"driver": "none.example.com", "volumeHandle": f"{namespace}-{name}"},
            "claimRef": {"namespace": namespace, "name": name},
        },
    }


def phase(cluster: Cluster, namespace: str, name: str) -> str:
    found = cluster.get("persistentvolumeclaim", name, "-n", namespace)
    return str((found.get("status") or {}).get("phase", ""))


def change(cluster: Cluster, namespace: str, name: str, spec: dict[str, Any]) -> None:
    cluster.kubectl("patch", "pvc", name, "-n", namespace, "-p", json.dumps({"spec": spec}))


def mounted(pod: dict[str, Any]) -> set[str]:
    """Its claims."""
    found = (item.get("persistentVolumeClaim") for item in pod["spec"]["volumes"])
    return {item["claimName"] for item in found if item}


def plan_key(pod: dict[str, Any]) -> str:
    (engine,) = pod["spec"]["containers"]
    told = next(item["value"] for item in engine["env"] if item["name"] == ENV_RUNTIME_CONFIG)
    return loads(RuntimeConfig, told).plan_key


@pytest.fixture
def place(served: Cluster) -> Iterator[tuple[str, Kubelet]]:
    """A namespace of the plane with a scheduler, and the kubelet of its node."""
    namespace = f"storage-{uuid.uuid4().hex[:8]}"
    served.create_namespace(namespace)
    advertise(served, NODE, 0)
    kubelet = Kubelet(served, namespace)
    with kubelet.answering():
        yield namespace, kubelet


def test_a_bound_claim_outlives_its_class(served: Cluster, place: tuple[str, Kubelet]) -> None:
    namespace, kubelet = place
    served.apply(
        storage_class(FORMER), volume(namespace, "models", FORMER), claim(namespace, "models", FORMER)
    )
    bring_up(served, kubelet, namespace)
    (first,) = kubelet.pods("server")
    before = condition(served, namespace, "Planned")

    served.kubectl("delete", "storageclass", FORMER)
    served.apply(storage_class(PRESENT))
    second = replaced(served, kubelet, first)
    assert placed(served, second) == NODE, "the scheduler asks for no class of a bound claim"
    assert mounted(second) == {"models"}
    kubelet.serve()
    await_condition(served, namespace, "Ready", "True", "Serving")
    assert condition(served, namespace, "Planned") == before
    assert phase(served, namespace, "models") == "Bound"

    with pytest.raises(subprocess.CalledProcessError) as refused:
        change(served, namespace, "models", LARGER)
    assert "the storageclass that provisions the pvc must support resize" in refused.value.stderr
    with pytest.raises(subprocess.CalledProcessError) as refused:
        change(served, namespace, "models", {"storageClassName": PRESENT})
    assert "spec is immutable after creation" in refused.value.stderr

    served.apply(volume(namespace, "models-2", PRESENT), claim(namespace, "models-2", PRESENT))
    served.apply(resource(namespace, model={"uri": "pvc://models-2/demo"}))
    kubelet.finish_inspection(dataclasses.replace(FACTS, uri=ClaimUri("models-2", "demo")))
    third = kubelet.await_pod("server")
    assert placed(served, third) == NODE
    assert mounted(third) == {"models-2"}
    assert plan_key(third) == plan_key(second), "so it is not measured in full"
    assert condition(served, namespace, "Ready")["status"] == "True", "the former revision serves meanwhile"

    served.apply(storage_class(FORMER))
    change(served, namespace, "models", LARGER)


def test_a_new_claim_of_a_class_that_is_gone_waits_until_there_is_one(
    served: Cluster,
    place: tuple[str, Kubelet],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace, kubelet = place
    monkeypatch.setenv("PATH", f"{Path(served.binaries.path('kubectl')).parent}:/usr/bin:/bin")
    gone = "never-made"
    served.apply(storage_class(PRESENT), claim(namespace, "models", gone), resource(namespace))
    told = await_condition(served, namespace, "Ready", "False", "Unschedulable")
    assert "PersistentVolumeClaim" in told["message"]
    planned = condition(served, namespace, "Planned")
    assert (planned["status"], planned["reason"]) == ("False", "Unschedulable"), planned
    assert phase(served, namespace, "models") == "Pending"
    found = call(capsys, "doctor", "-n", namespace, "-o", "json", "--kubeconfig", str(served.kubeconfig))
    steps = [item.get("nextStep", "") for item in json.loads(found.out)["findings"]]
    described = f"kubectl describe pvc models -n {namespace}"
    assert [step for step in steps if described in step], steps
    events = ("describe", "pvc", "models", "-n", namespace)
    eventually("its event", lambda: f'"{gone}" not found' in served.kubectl(*events) or None)

    served.apply(storage_class(gone), volume(namespace, "models", gone))
    eventually("it is bound", lambda: phase(served, namespace, "models") == "Bound" or None)
    kubelet.finish_inspection(FACTS)
    assert placed(served, kubelet.await_pod("server")) == NODE
