"""Objects come out of the store as they went in, whatever was common when they were packed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.drift import abandoned
from tacho_operator.shell.store.compression import SAMPLES, Compressor
from tacho_operator.shell.store.trimming import kept_part, trimmed


def thing(number: int, **more: Any) -> dict[str, Any]:
    labels = {f"tacho.dev/label-{index}": f"value-{index}" for index in range(30)}
    return {"metadata": {"name": f"thing-{number}", "labels": labels}, **more}


def test_each_object_is_read_as_it_was() -> None:
    compressor = Compressor()
    made = [thing(number) for number in range(3 * SAMPLES)]
    texts = [compressor.compressed(item) for item in made]
    assert [compressor.decompressed(text) for text in texts] == made
    assert compressor.json(texts[-1]).startswith(b'{"metadata":{"name":"thing-')


def test_what_is_common_takes_no_room_again() -> None:
    compressor = Compressor()
    texts = [compressor.compressed(thing(number)) for number in range(SAMPLES + 1)]
    assert len(texts[-1]) < len(texts[0]) / 3


def test_what_has_not_changed_stays_the_same_bytes() -> None:
    """Also where it was packed before anything common was known."""
    compressor = Compressor()
    first = compressor.compressed(thing(0))
    texts = [compressor.compressed(thing(number)) for number in range(1, 2 * SAMPLES)]
    assert compressor.compressed(thing(0), first) is first
    assert compressor.compressed(thing(2 * SAMPLES - 1), texts[-1]) is texts[-1]
    changed = compressor.compressed(thing(0, status="new"), first)
    assert changed is not first
    assert compressor.decompressed(changed) == thing(0, status="new")


def made_by_anyone(**metadata: Any) -> dict[str, Any]:
    named = {"name": "x", "namespace": "ml", "uid": "u", "resourceVersion": "1"}
    return {"metadata": {**named, "labels": {DEPLOYMENT_LABEL: "smol"}, **metadata}}


OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "n", "uid": "u", "controller": True}
LONG = "x" * 1_000_000


@pytest.mark.parametrize("field", ["apiVersion", "kind", "name", "uid"])
@pytest.mark.parametrize("kind", ["ConfigMap", "Pod", "ReplicaSet", "PersistentVolumeClaim"])
def test_an_owner_of_a_megabyte_takes_no_memory(kind: str, field: str) -> None:
    """Kubernetes bounds none of these. 300 ConfigMaps of 1.4 MB took 390 MiB."""
    kept = kept_part(kind, made_by_anyone(ownerReferences=[{**OWNER, field: LONG}]), lambda *_: None)
    assert len(json.dumps(kept)) < 1000


@pytest.mark.parametrize(
    ("kind", "manifest"),
    [
        ("Pod", {**made_by_anyone(), "spec": {"nodeSelector": {str(n): "y" * 60 for n in range(10_000)}}}),
        ("Pod", {**made_by_anyone(), "spec": {"nodeSelector": {str(n): "y" * 60 for n in range(60)}}}),
        ("Pod", {**made_by_anyone(), "status": {"containerStatuses": [{"name": "c", "image": LONG}]}}),
        ("ReplicaSet", made_by_anyone(finalizers=["a/b"] * 100_000)),
        ("ReplicaSet", made_by_anyone(finalizers=["a" * 250 + "/b"] * 16)),
        ("PersistentVolumeClaim", {**made_by_anyone(), "spec": {"accessModes": ["ReadWriteOnce"] * 90_000}}),
    ],
)
def test_a_pod_or_claim_of_a_megabyte_takes_no_memory(kind: str, manifest: dict[str, Any]) -> None:
    kept = kept_part(kind, manifest, lambda *_: None)
    assert len(json.dumps(kept)) < 1000
    if kind != "PersistentVolumeClaim":
        assert kept[METADATA_ONLY] == "", "whose own it is reads it from the API server"


def test_an_own_pod_is_kept_with_all_that_it_says() -> None:
    said = {"reason": "Error", "message": "m" * 4096, "exitCode": 1}
    container = {"image": "i" * 200, "imageID": "i" * 200, "state": {"terminated": said}}
    status = {"containerStatuses": [{"name": "c", **container, "lastState": {"terminated": said}}]}
    spec = {"nodeSelector": {f"example.com/label-{number}": "y" * 30 for number in range(20)}}
    own = {**made_by_anyone(ownerReferences=[OWNER]), "spec": spec, "status": status}
    kept = kept_part("Pod", own, lambda *_: None)
    assert METADATA_ONLY not in kept
    assert kept["metadata"]["ownerReferences"] == [OWNER]


def own_with_fields(fields: dict[str, Any]) -> dict[str, Any]:
    owner = {"kind": "LLMDeployment", "name": "smol", "uid": "u", "controller": True}
    entry = {"manager": "tacho-operator", "operation": "Apply", "fieldsV1": fields}
    metadata = {"name": "smol-live", "namespace": "ml", "uid": "c", "ownerReferences": [owner]}
    return {"metadata": {**metadata, "managedFields": [{"manager": "kubectl"}, entry]}, "data": {}}


def chains() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for number in range(1_900):
        chain: dict[str, Any] = {}
        for _ in range(90):
            chain = {"f:": chain}
        fields[f"f:{number}"] = chain
    return fields


@pytest.mark.parametrize("fields", [{f"f:{number}": {} for number in range(75_000)}, chains()])
def test_a_megabyte_of_fields_in_the_operators_name_is_not_kept(fields: dict[str, Any]) -> None:
    """It took half a second of the event loop at each reconcile."""
    kept = kept_part("ConfigMap", own_with_fields(fields), lambda *_: ("u", "1"))
    assert len(json.dumps(kept)) < 1000
    assert abandoned(kept, {"data": {"0": ""}}, "tacho-operator"), "an apply removes them"


def test_fields_are_kept_at_their_place_without_the_items_of_lists() -> None:
    items = {'k:{"port":80}': {".": {}, "f:port": {}}}
    kept = kept_part(
        "ConfigMap",
        own_with_fields({"f:spec": {".": {}, "f:ports": items}, "f:data": {}}),
        lambda *_: ("u", "1"),
    )
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
