"""The store's neighbours on a node: pods whose owners end at a held resource."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from tacho_contract.launch import BASE_STARTUP_SECONDS, LONGEST_STARTUP_SECONDS
from tacho_contract.units import parse_time
from tacho_operator.core.measurement.noisy_neighbours import by_node, noisy_neighbour
from tacho_operator.core.names import REVISION_LABEL, ROLE_LABEL, ROLE_PROBE, ROLE_SERVER
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Neighbour
from tacho_operator.shell.store import store as store_module
from tests.wiring.storing import owned_by, pod, thing, told

PROBE = {ROLE_LABEL: ROLE_PROBE}
CREATED = {"creationTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        (owned_by("ReplicaSet", "set") | {"labels": {ROLE_LABEL: ROLE_SERVER}}, 2400.0),
        (owned_by("LLMDeployment", "smol") | {"labels": {**PROBE, REVISION_LABEL: "smol-1"}}, 2400.0),
        (owned_by("LLMDeployment", "smol") | {"labels": PROBE}, 1800.0),
        (owned_by("LLMDeployment", "smol") | {"labels": {**PROBE, REVISION_LABEL: "other-1"}}, 1800.0),
        (owned_by("LLMDeployment", "smol") | {"labels": {ROLE_LABEL: ROLE_SERVER}}, None),
        ({"labels": PROBE}, None),
        (owned_by("ReplicaSet", "set", "forged"), None),
        (owned_by("ReplicaSet", "another"), None),
        (owned_by("ReplicaSet", "lone"), None),
        (owned_by("LLMDeployment", "smol", "forged") | {"labels": PROBE}, None),
        (owned_by("LLMDeployment", "gone") | {"labels": PROBE}, None),
        (owned_by("Deployment", "smol-1"), None),
        (owned_by("ReplicaSet", "set") | {"namespace": "others"}, None),
        (owned_by("LLMDeployment", "smol") | {"labels": PROBE, "namespace": "others"}, None),
    ],
    ids=str,
)
def test_a_neighbour_has_owners_that_end_at_a_held_resource(
    metadata: dict[str, Any], seconds: float | None
) -> None:
    store, _ = told()
    spec = {"progressDeadlineSeconds": 2400}
    store.put("LLMDeployment", thing("smol", owner=""))
    store.put("Deployment", thing("smol-1", spec=spec, metadata=owned_by("LLMDeployment", "smol")))
    store.put("LLMDeployment", thing("other", owner=""))
    store.put("Deployment", thing("other-1", spec=spec, metadata=owned_by("LLMDeployment", "other")))
    store.put("ReplicaSet", thing("set", metadata=owned_by("Deployment", "smol-1")))
    store.put("Deployment", thing("own", spec=spec, metadata=owned_by("LLMDeployment", "smol", "forged")))
    store.put("ReplicaSet", thing("lone", metadata=owned_by("Deployment", "own")))
    store.put("Pod", pod("a", node="n1", metadata=CREATED | metadata))
    assert [item.limit_seconds for item in store.neighbours_on({"n1"})] == ([seconds] if seconds else [])
    assert store.neighbours_on({"n2"}) == []


def test_no_deadline_of_a_forged_deployment_makes_a_neighbour_for_ever() -> None:
    """A user may make a Deployment in a resource's name, and keep it by a finalizer."""
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner=""))
    spec = {"progressDeadlineSeconds": 2**31 - 1}
    store.put("Deployment", thing("forged", spec=spec, metadata=owned_by("LLMDeployment", "smol")))
    store.put("ReplicaSet", thing("set", metadata=owned_by("Deployment", "forged")))
    labels = {"labels": {ROLE_LABEL: ROLE_SERVER}}
    store.put("Pod", pod("a", node="n1", metadata=CREATED | owned_by("ReplicaSet", "set") | labels))
    (found,) = store.neighbours_on({"n1"})
    assert found.limit_seconds == LONGEST_STARTUP_SECONDS


def test_of_pods_that_anyone_bound_to_a_node_few_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner=""))
    own, named = owned_by("LLMDeployment", "smol"), CREATED | {"labels": PROBE}
    for number in range(40):
        store.put("Pod", pod(f"a-{number}", node="n1", metadata=named))
        store.put("Pod", pod(f"b-{number}", node="n1", metadata=named | owned_by("LLMDeployment", "x")))
        store.put("Pod", pod(f"c-{number}", node="n1", metadata=named | own))
    monkeypatch.setattr(store_module, "NODE_PODS_LIMIT", 10)
    read: list[tuple[str, str]] = []
    original = store.read
    monkeypatch.setattr(
        store, "read", lambda kind, name: read.append((kind, name[1])) or original(kind, name)
    )
    found = store.neighbours_on({"n1"})
    assert len(found) == 11, "one stands for those that are not read"
    assert {item.name[0] for item in found} == {"c"}
    assert len(read) == 10, "the pods, and not their resource, which may be a megabyte long"
    store.remove("LLMDeployment", "ml", "smol")
    read.clear()
    assert store.neighbours_on({"n1"}) == []
    assert read == []


def test_no_pod_hides_behind_others_of_its_namespace_on_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 pods that had ended, with names before its own, hid a busy one: the figure of another tenant was
    wrong, and not flagged.
    """
    store, _ = told()
    monkeypatch.setattr(store_module, "NODE_PODS_LIMIT", 5)
    store.put("LLMDeployment", thing("smol", owner=""))
    own = CREATED | owned_by("LLMDeployment", "smol")
    for number in range(5):
        store.put("Pod", pod(f"a-{number}", node="n1", metadata=own))
    measured = PodView(pod("measured", node="n1", metadata={"namespace": "other"}))
    begin, end = datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 1, 0, 5, tzinfo=timezone.utc)
    assert noisy_neighbour(measured, begin, end, by_node(store.neighbours_on({"n1"}))) == ""
    store.put("Pod", pod("busy", node="n1", metadata=own | {"labels": PROBE}))
    found = by_node(store.neighbours_on({"n1"}))
    assert noisy_neighbour(measured, begin, end, found) == "a pod of another namespace"


def test_of_a_neighbour_is_held_when_it_started_and_nothing_long() -> None:
    """Of 4,000 forged pods and their owners 600 MB were in memory at each look."""
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner="", spec={"a": "x" * 100_000}))
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T00:00:00Z"}
    other = {"type": "Other", "status": "True", "message": "x" * 10_000}
    ended = {"terminated": {"finishedAt": "2026-01-01T00:00:00Z", "message": "x" * 5000}}
    engine = {"name": "engine", "restartCount": 2, "state": ended, "lastState": {}}
    status = {"phase": "Running", "conditions": [other, condition], "containerStatuses": [engine]}
    owned = CREATED | owned_by("LLMDeployment", "smol") | {"labels": PROBE}
    store.put("Pod", pod("a", node="n1", status=status, metadata=owned))
    created, ready = (parse_time(f"2026-01-0{day}T00:00:00Z") for day in (1, 2))
    assert created is not None
    assert store.neighbours_on({"n1"}) == [
        Neighbour(
            name="a",
            namespace="ml",
            uid="uid-a",
            node="n1",
            since=created,
            until=ready,
            limit_seconds=BASE_STARTUP_SECONDS,
        )
    ]
    assert len(json.dumps(store._owner("LLMDeployment", ("ml", "smol")))) < 1000


def test_the_owners_of_neighbours_are_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 resources of a megabyte, with a pod each on a node of another namespace, took 6 s of each of its
    reconciles.
    """
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner=""))
    deployment = thing("smol-1", metadata=owned_by("LLMDeployment", "smol"))
    store.put("Deployment", deployment | {"spec": {"progressDeadlineSeconds": 60}})
    store.put("ReplicaSet", thing("smol-1-a", metadata=owned_by("Deployment", "smol-1")))
    labels = {"labels": PROBE | {ROLE_LABEL: ROLE_SERVER}}
    owned = CREATED | owned_by("ReplicaSet", "smol-1-a") | labels
    store.put("Pod", pod("a", node="n1", status={"phase": "Running"}, metadata=owned))
    read: list[str] = []
    for kind, held in store._kinds.items():
        original = held.read
        monkeypatch.setattr(
            held, "read", lambda name, kind=kind, original=original: read.append(kind) or original(name)
        )
    for _ in range(3):
        assert [found.limit_seconds for found in store.neighbours_on({"n1"})] == [60.0]
    assert sorted(read) == ["Deployment", "Pod", "Pod", "Pod", "ReplicaSet"]
    deployment["metadata"]["resourceVersion"] = "2"
    store.put("Deployment", deployment | {"spec": {"progressDeadlineSeconds": 90}})
    assert [found.limit_seconds for found in store.neighbours_on({"n1"})] == [90.0]
