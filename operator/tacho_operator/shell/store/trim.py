"""What is kept of an object: only what decisions, comparisons and events read of it.

A pod's manifest has some 20 KB and a node's as much; what is read of either is about one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tacho_operator.core.types import Manifest
from tacho_operator.shell.kube import FIELD_MANAGER, SIZE_MANAGER

OWN = (FIELD_MANAGER, SIZE_MANAGER)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""A second copy of the whole object; the spec itself is kept."""

CONTAINER_STATUS = ("name", "image", "imageID", "ready", "restartCount", "state", "lastState")
CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
POD_STATUS = ("phase", "reason", "message", "podIP")


def trimmed(kind: str, manifest: Manifest) -> Manifest:
    """The part of ``manifest`` that is held."""
    return {"metadata": _metadata(manifest["metadata"]), **_BODIES[kind](manifest)}


def _metadata(full: Manifest) -> Manifest:
    kept = {key: value for key, value in full.items() if key not in ("managedFields", "selfLink")}
    annotations = full.get("annotations")
    if annotations and LAST_APPLIED in annotations:
        kept["annotations"] = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    return kept


def _managed(manifest: Manifest) -> Manifest:
    """With the entries of our own managers at their indices, as JSON patches name them by that."""
    entries = manifest["metadata"].get("managedFields") or ()
    kept = [
        entry if entry.get("manager") in OWN and not entry.get("subresource") else {} for entry in entries
    ]
    while kept and not kept[-1]:
        kept.pop()
    return {"metadata": {**_metadata(manifest["metadata"]), **({"managedFields": kept} if kept else {})}}


def _some(full: Manifest | None, keys: Iterable[str]) -> Manifest:
    return {key: full[key] for key in keys if key in full} if full else {}


def _resource(manifest: Manifest) -> Manifest:
    return _some(manifest, ("apiVersion", "spec", "status"))


def _applied(manifest: Manifest) -> Manifest:
    return {**_managed(manifest), **_some(manifest, ("spec", "data", "binaryData"))}


def _deployment(manifest: Manifest) -> Manifest:
    return {**_applied(manifest), "status": _replica_failure(manifest)}


def _replica_set(manifest: Manifest) -> Manifest:
    return {"status": _replica_failure(manifest)}


def _replica_failure(manifest: Manifest) -> Manifest:
    """The one condition that is read; the others change with every pod."""
    found = (manifest.get("status") or {}).get("conditions") or ()
    return {"conditions": [_some(item, CONDITION) for item in found if item.get("type") == "ReplicaFailure"]}


def _revision(manifest: Manifest) -> Manifest:
    return _some(manifest, ("revision", "data"))


def _pod(manifest: Manifest) -> Manifest:
    full = manifest.get("status") or {}
    status: dict[str, Any] = _some(full, POD_STATUS)
    status["conditions"] = [_some(item, CONDITION) for item in full.get("conditions") or ()]
    for key in ("initContainerStatuses", "containerStatuses"):
        status[key] = [_some(item, CONTAINER_STATUS) for item in full.get(key) or ()]
    return {"spec": _some(manifest.get("spec"), ("nodeName",)), "status": status}


def _claim(manifest: Manifest) -> Manifest:
    return {"spec": _some(manifest.get("spec"), ("accessModes",))}


def _node(manifest: Manifest) -> Manifest:
    status = manifest.get("status") or {}
    ready = [_some(item, ("type", "status")) for item in status.get("conditions") or ()]
    return {
        "metadata": _some(manifest["metadata"], ("name", "uid", "labels", "resourceVersion")),
        "spec": _some(manifest.get("spec"), ("taints", "unschedulable")),
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
