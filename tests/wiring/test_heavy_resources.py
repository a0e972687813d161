"""Of the children of a resource no more is read than fits in memory."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.pods.diagnosis import diagnose
from tacho_operator.core.pods.view import PodView
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.observe import Observer, UndecidedResource
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store import objects
from tacho_operator.shell.store.objects import BYTES_LIMIT
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.store.trimming import json_bytes, weight
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import CLAIM_SPEC, raw_resource

KEY = Key("ml", "smol")


def child(number: int, owner: str = "smol", **content: Any) -> dict[str, Any]:
    reference = {"kind": "LLMDeployment", "name": owner, "uid": f"uid-{owner}", "controller": True}
    metadata = {"name": f"{owner}-{number}", "namespace": "ml", "uid": f"u-{owner}-{number}"}
    labels = {DEPLOYMENT_LABEL: owner}
    identity = {**metadata, "resourceVersion": "2", "labels": labels, "ownerReferences": [reference]}
    return {"metadata": identity, **content}


def held() -> Store:
    store = Store(lambda change: None)
    for kind in objects.KINDS:
        store.at(kind, "", "7")
    for name in ("smol", "other"):
        raw = raw_resource(CLAIM_SPEC, resourceVersion="1", name=name, uid=f"uid-{name}")
        store.put("LLMDeployment", raw)
    return store


def test_the_bytes_of_all_kinds_of_children_count_together() -> None:
    """Each kind had a limit of its own: in memory they were five times as much."""
    store = held()
    third = {"a": "x" * (objects.BYTES_LIMIT // 3)}
    for kind in ("PodDisruptionBudget", "Service", "Deployment"):
        assert store.excess("NetworkPolicy", "ml", {"uid-smol"}) is None
        store.put(kind, child(1, spec=third))
    assert store.excess("NetworkPolicy", "ml", {"uid-smol"}) is objects.Excess.BYTES
    assert store.excess("Pod", "ml", {"uid-smol"}) is None
    assert store.excess("ControllerRevision", "ml", {"uid-other"}) is None


def test_what_takes_much_memory_as_objects_counts_more() -> None:
    """8 MiB of empty rules took 175 MiB."""
    store = held()
    empty = [{} for _ in range(objects.BYTES_LIMIT // 100)]
    for number in range(5):
        assert store.excess("PodDisruptionBudget", "ml", {"uid-smol"}) is None
        store.put("PodDisruptionBudget", child(number, spec={"ingress": empty}))
    assert store._kinds["PodDisruptionBudget"].controlled_bytes("ml", {"uid-smol"}) < 2 * objects.BYTES_LIMIT
    store.put("PodDisruptionBudget", child(5, spec={"ingress": empty}))
    assert store.excess("PodDisruptionBudget", "ml", {"uid-smol"}) is objects.Excess.BYTES


@pytest.mark.parametrize("namespace_bytes", [objects.NAMESPACE_BYTES, 0])
async def test_long_children_are_read_until_they_are_too_long_together(
    namespace_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred of a megabyte that changed meanwhile were all read: 2 GB."""
    store, asked = held(), Counter[str]()
    monkeypatch.setattr(objects, "NAMESPACE_BYTES", namespace_bytes)

    class Long:
        async def get(self, kind: str, _namespace: str, name: str) -> dict[str, Any]:
            asked[kind] += 1
            return child(int(name.rpartition("-")[2]), data={"a": "x" * (1 << 20)})

    for number in range(90):
        store.put("ControllerRevision", child(number) | {METADATA_ONLY: ""})
    observer = Observer(cast(Kube, Long()), store, Reports(late=lambda key: None))
    for _ in range(3):
        with pytest.raises(UndecidedResource, match="more than 8 MiB of objects") as raised:
            await observer.observe(KEY)
        assert not raised.value.found.is_whole
    assert asked == {"ControllerRevision": 8}


async def test_long_pods_are_read_until_they_are_too_long_together() -> None:
    """The store keeps their metadata alone, and did not count what a reconcile read: 50 took 170 MiB."""
    store, asked = held(), Counter[str]()

    def long(number: int) -> dict[str, Any]:
        selector = {f"{key:x}": "" for key in range(40_000)}
        return child(number, spec={"nodeSelector": selector}, status={"phase": "Pending"})

    class Long:
        async def get(self, kind: str, _namespace: str, name: str) -> dict[str, Any]:
            asked[kind] += 1
            return long(int(name.rpartition("-")[2]))

    for number in range(30):
        store.put("Pod", long(number))
    observer = Observer(cast(Kube, Long()), store, Reports(late=lambda key: None))
    for tries in (1, 2):
        found = await observer.observe(KEY)
        assert found is not None
        assert len(found.pods) == 30
        whole = [pod for pod in found.pods if pod["status"]["phase"] == "Pending"]
        assert sum(weight(json_bytes(pod)) for pod in whole) <= BYTES_LIMIT
        assert {pod["status"]["phase"] for pod in found.pods} == {"Pending", "Unknown"}
        assert asked["Pod"] <= 13 * tries


async def test_a_pod_that_cannot_be_read_does_not_hold_up_the_others() -> None:
    """A kubelet made the status of one pod too long to be read: its whole resource was neither scaled nor
    rolled out."""
    store = held()
    long = child(1) | {METADATA_ONLY: "it is longer than 4 MiB as JSON"}
    short = child(2, status={"phase": "Running"})

    class Unreadable:
        async def get(self, *_: Any) -> dict[str, Any]:
            return long

    for pod in (long, short):
        store.put("Pod", pod)
    found = await Observer(cast(Kube, Unreadable()), store, Reports(late=lambda key: None)).observe(KEY)
    assert found is not None
    assert [pod["status"]["phase"] for pod in found.pods] == ["Unknown", "Running"]
    problem = diagnose(PodView(found.pods[0]), lost_nodes=(), schedule_overdue=False)
    assert problem is not None
    assert problem.reason == "NodeLost"
    assert "The state of pod smol-1 is unknown." in problem.message
    assert "it is longer than 4 MiB" in problem.message


async def test_of_very_many_long_pods_a_thousand_are_read() -> None:
    """5,000 requests took minutes: ten resources like that, and the process counted as hung."""
    store, asked = held(), Counter[str]()

    class Short:
        async def get(self, kind: str, _namespace: str, name: str) -> dict[str, Any]:
            asked[kind] += 1
            return child(int(name.rpartition("-")[2]), spec={"nodeSelector": {"a": "x" * 5000}})

    for number in range(1050):
        store.put("Pod", child(number, spec={"nodeSelector": {"a": "x" * 5000}}))
    observer = Observer(cast(Kube, Short()), store, Reports(late=lambda key: None))
    with pytest.raises(UndecidedResource, match="more than 1000 objects of kind Pod that are long, or whose"):
        await observer.observe(KEY)
    assert asked == {"Pod": 1000}
