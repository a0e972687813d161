"""Which changes of spec.replicas are remembered: those of a resource whose replicas the scaler sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tacho_operator.api.types import LLMDeployment
from tacho_operator.shell.observe import read_resource
from tacho_operator.shell.replica_writes import ReplicaWrites
from tacho_operator.shell.store.trimming import trimmed
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import CLAIM_SPEC, changed, raw_resource

KEY = Key("default", "smol")
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SCALED = {"minReplicas": 1, "maxReplicas": 8}


def resource(replicas: int, autoscaling: dict[str, Any] | None = SCALED, uid: str = "u") -> LLMDeployment:
    fields = {"replicas": replicas, **({"autoscaling": autoscaling} if autoscaling else {})}
    return read_resource(raw_resource(changed(CLAIM_SPEC, **fields), uid=uid))


def test_a_change_of_replicas_alone_is_remembered() -> None:
    writes = ReplicaWrites(lambda: NOW)
    found = [writes.last(KEY, resource(replicas)) for replicas in (1, 1, 3, 3)]
    assert found == [None, None, NOW, NOW]


def test_replicas_that_are_no_longer_set_are_no_change() -> None:
    writes = ReplicaWrites(lambda: NOW)
    assert [writes.last(KEY, resource(replicas)) for replicas in (3, 1)] == [None, None]


def test_one_replica_that_an_autoscaler_wrote_is_a_change() -> None:
    """As the API server notes a write of /scale, and as the store keeps it."""
    raw = raw_resource(changed(CLAIM_SPEC, replicas=1, autoscaling=SCALED), uid="u")
    owner = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale"}
    raw["metadata"]["managedFields"] = [owner | {"fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    writes = ReplicaWrites(lambda: NOW)
    stored = trimmed("LLMDeployment", raw)
    assert [writes.last(KEY, item) for item in (resource(3), read_resource({**raw, **stored}))] == [None, NOW]


def test_changes_with_autoscaling_or_without_it_or_of_another_resource_are_none() -> None:
    writes = ReplicaWrites(lambda: NOW)
    others = (
        resource(1, None),
        resource(2, None),
        resource(3),
        resource(4, {**SCALED, "maxReplicas": 9}),
        resource(5, {**SCALED, "maxReplicas": 9}, uid="v"),
    )
    assert [writes.last(KEY, item) for item in others] == [None] * 5
    writes.forget(KEY)
    assert writes.last(KEY, resource(6, {**SCALED, "maxReplicas": 9}, uid="v")) is None
