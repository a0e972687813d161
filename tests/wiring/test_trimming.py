"""Which fields of an object the store keeps."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.store.trimming import trimmed


def made_by_anyone(**metadata: Any) -> dict[str, Any]:
    named = {"name": "x", "namespace": "ml", "uid": "u", "resourceVersion": "1"}
    return {"metadata": {**named, "labels": {DEPLOYMENT_LABEL: "smol"}, **metadata}}


OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "n", "uid": "u", "controller": True}


def test_an_own_pod_is_kept_with_all_that_it_says() -> None:
    said = {"reason": "Error", "message": "m" * 4096, "exitCode": 1}
    container = {"image": "i" * 200, "imageID": "i" * 200, "state": {"terminated": said}}
    status = {"containerStatuses": [{"name": "c", **container, "lastState": {"terminated": said}}]}
    spec = {"nodeSelector": {f"example.com/label-{number}": "y" * 30 for number in range(20)}}
    own = {**made_by_anyone(ownerReferences=[OWNER]), "spec": spec, "status": status}
    kept = trimmed("Pod", own)
    assert kept["status"]["containerStatuses"] == status["containerStatuses"]
    assert kept["metadata"]["ownerReferences"] == [OWNER]


def own_with_fields(fields: dict[str, Any]) -> dict[str, Any]:
    owner = {"kind": "LLMDeployment", "name": "smol", "uid": "u", "controller": True}
    entry = {"manager": "tacho-operator", "operation": "Apply", "fieldsV1": fields}
    metadata = {"name": "smol-live", "namespace": "ml", "uid": "c", "ownerReferences": [owner]}
    return {"metadata": {**metadata, "managedFields": [{"manager": "kubectl"}, entry]}, "data": {}}


def test_fields_are_kept_at_their_place_without_the_items_of_lists() -> None:
    items = {'k:{"port":80}': {".": {}, "f:port": {}}}
    kept = trimmed("ConfigMap", own_with_fields({"f:spec": {".": {}, "f:ports": items}, "f:data": {}}))
    entries = kept["metadata"]["managedFields"]
    assert [entry["fieldsV1"] for entry in entries] == [{"f:spec": {"f:ports": {}}, "f:data": {}}]


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet"])
def test_why_nothing_could_be_created_is_kept(kind: str) -> None:
    """And nothing that changes with every pod. A refused ReplicaSet is told in the Deployment alone."""
    of_pod = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "a quota"}
    of_set = {
        "type": "Progressing",
        "status": "False",
        "reason": "ReplicaSetCreateError",
        "message": 'Failed to create new replica set "a-1": a quota',
    }
    others = [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True"}]
    manifest = {"kind": kind, "metadata": {"name": "a"}, "spec": {}}
    kept = trimmed(kind, {**manifest, "status": {"conditions": [*others, of_pod, of_set]}})
    assert kept["status"]["conditions"] == [of_pod, of_set]
