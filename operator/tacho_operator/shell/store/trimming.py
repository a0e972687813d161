"""Which fields of an object the store keeps: a pod's manifest has 20 KB, decisions read 1 KB of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tacho_operator.core.names import (
    ATTEMPT_ANNOTATION,
    DELETION_COST_ANNOTATION,
    DEPLOYMENT_LABEL,
    MEASURE_KEY_ANNOTATION,
    REVISION_LABEL,
    ROLE_LABEL,
)
from tacho_operator.core.pods.diagnosis import refuses_creation
from tacho_operator.core.pods.nodes import unbounded_on_lost_node
from tacho_operator.core.pods.view import controller
from tacho_operator.core.types import Manifest
from tacho_operator.shell.kube import FIELD_MANAGER, SIZE_MANAGER

OWN = (FIELD_MANAGER, SIZE_MANAGER)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation with a copy of the whole object, which kubectl sets; it is not stored."""

CONTAINER_STATUS = ("name", "image", "imageID", "ready", "restartCount", "state", "lastState")
CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
POD_STATUS = ("phase", "reason", "message", "podIP", "startTime")


READ_LABELS = (DEPLOYMENT_LABEL, REVISION_LABEL, ROLE_LABEL)
POD_ANNOTATIONS = (ATTEMPT_ANNOTATION, DELETION_COST_ANNOTATION, MEASURE_KEY_ANNOTATION)
IDENTITY = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"
)  # fmt: skip


def trimmed(kind: str, manifest: Manifest) -> Manifest:
    """The part of ``manifest`` that the store keeps."""
    return {"metadata": _metadata(manifest["metadata"]), **_BODIES[kind](manifest)}


def _identity(full: Manifest) -> Manifest:
    kept = _selected(full, IDENTITY)
    if labels := _selected(full.get("labels"), READ_LABELS):
        kept["labels"] = labels
    if (owner := controller({"metadata": full})) is not None:
        kept["ownerReferences"] = [owner]
    return kept


def _pod_metadata(full: Manifest) -> Manifest:
    kept = _selected(full.get("annotations"), POD_ANNOTATIONS)
    return {**_identity(full), **({"annotations": kept} if kept else {})}


def _metadata(full: Manifest) -> Manifest:
    kept = {key: value for key, value in full.items() if key not in ("managedFields", "selfLink")}
    annotations = full.get("annotations")
    if annotations and LAST_APPLIED in annotations:
        kept["annotations"] = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    if any(entry.get("subresource") == "scale" for entry in full.get("managedFields") or ()):
        kept["managedFields"] = [{"subresource": "scale"}]
    return kept


def _managed(manifest: Manifest) -> Manifest:
    """Metadata with the managedFields entries of the operator's own applies."""
    kept = [
        {**entry, "fieldsV1": _own_fields(entry.get("fieldsV1"))}
        for entry in manifest["metadata"].get("managedFields") or ()
        if entry.get("manager") in OWN and entry.get("operation") == "Apply" and not entry.get("subresource")
    ]
    return {"metadata": {**_metadata(manifest["metadata"]), **({"managedFields": kept} if kept else {})}}


def _own_fields(tree: Any) -> Manifest:
    """The fields in a FieldsV1 ``tree``, without the items of lists."""
    if not isinstance(tree, dict):
        return {}
    return {key: _own_fields(value) for key, value in tree.items() if key.startswith("f:")}


def _selected(full: Manifest | None, keys: Iterable[str]) -> Manifest:
    return {key: full[key] for key in keys if key in full} if full else {}


def _resource(manifest: Manifest) -> Manifest:
    kept = _selected(manifest, ("apiVersion", "spec", "status"))
    if not isinstance(kept.get("status"), dict):  # of an old CRD
        kept.pop("status", None)
    return kept


def _applied(manifest: Manifest) -> Manifest:
    return {**_managed(manifest), **_selected(manifest, ("spec", "data", "binaryData"))}


def _deployment(manifest: Manifest) -> Manifest:
    return {**_applied(manifest), "status": _replica_failure(manifest)}


def _replica_set(manifest: Manifest) -> Manifest:
    metadata = _identity(manifest["metadata"]) | _selected(manifest["metadata"], ("finalizers",))
    return {"metadata": metadata, "status": _replica_failure(manifest)}


def _replica_failure(manifest: Manifest) -> Manifest:
    """The only conditions of a ReplicaSet or Deployment that are stored; the others change with every pod."""
    found = (manifest.get("status") or {}).get("conditions") or ()
    return {"conditions": [_selected(item, CONDITION) for item in found if refuses_creation(item)]}


def _revision(manifest: Manifest) -> Manifest:
    return _selected(manifest, ("revision", "data"))


def _pod(manifest: Manifest) -> Manifest:
    full = manifest.get("status") or {}
    status: dict[str, Any] = _selected(full, POD_STATUS)
    status["conditions"] = [_selected(item, CONDITION) for item in full.get("conditions") or ()]
    for key in ("initContainerStatuses", "containerStatuses"):
        status[key] = [_selected(item, CONTAINER_STATUS) for item in full.get(key) or ()]
    placed = (manifest.get("spec") or {}).get("nodeName")
    spec = _selected(manifest.get("spec"), ("nodeName",) if placed else ("nodeSelector",))
    if stays := unbounded_on_lost_node((manifest.get("spec") or {}).get("tolerations") or ()):
        spec["tolerations"] = stays
    return {
        "metadata": _pod_metadata(manifest["metadata"]),
        "spec": spec,
        "status": status,
    }


def _claim(manifest: Manifest) -> Manifest:
    modes = dict.fromkeys((manifest.get("spec") or {}).get("accessModes") or ())
    return {"metadata": _identity(manifest["metadata"]), "spec": {"accessModes": list(modes)}}


def _node(manifest: Manifest) -> Manifest:
    status = manifest.get("status") or {}
    ready = [_selected(item, ("type", "status")) for item in status.get("conditions") or ()]
    return {
        "metadata": _selected(manifest["metadata"], ("name", "uid", "labels", "resourceVersion")),
        "spec": _selected(manifest.get("spec"), ("taints", "unschedulable")),
        "status": {
            "allocatable": status.get("allocatable") or {},
            "conditions": [item for item in ready if item.get("type") == "Ready"],
        },
    }


_BODIES: dict[str, Callable[[Manifest], Manifest]] = {
    "LLMDeployment": _resource,
    "ControllerRevision": _revision,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Service": _applied,
    "ConfigMap": _applied,
    "NetworkPolicy": _applied,
    "PodDisruptionBudget": _applied,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "Node": _node,
}
