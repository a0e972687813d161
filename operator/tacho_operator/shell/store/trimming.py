"""Which fields of an object the store keeps: a pod's manifest has 20 KB, decisions read 1 KB of it.

``kept_part`` decides, from most to least: the fields that decisions read (``trimmed``); of a very long pod or
ReplicaSet what others' measurements depend on (``least_part``); only the metadata, marked METADATA_ONLY, of
an object that cannot be read, and of a child whose LLMDeployment is not stored or does not read it (Pods and
ReplicaSets apart). A decision that needs more reads the API server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tacho_operator.core.names import (
    ATTEMPT_ANNOTATION,
    DELETION_COST_ANNOTATION,
    DEPLOYMENT_LABEL,
    ENGINE_CONTAINER,
    MEASURE_KEY_ANNOTATION,
    REVISION_LABEL,
    ROLE_LABEL,
    is_read,
)
from tacho_operator.core.pods.diagnosis import refuses_creation
from tacho_operator.core.pods.nodes import unbounded_on_lost_node
from tacho_operator.core.pods.view import controller
from tacho_operator.core.types import Manifest
from tacho_operator.shell.bounded_reading import DEEPEST, METADATA_ONLY, NESTED, is_deep
from tacho_operator.shell.kube import FIELD_MANAGER, SIZE_MANAGER

OWN = (FIELD_MANAGER, SIZE_MANAGER)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation with a copy of the whole object, which kubectl sets; it is not stored."""

CONTAINER_STATUS = ("name", "image", "imageID", "ready", "restartCount", "state", "lastState")
CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
DEADLINE = ("progressDeadlineSeconds",)
POD_STATUS = ("phase", "reason", "message", "podIP", "startTime")


READ_LABELS = (DEPLOYMENT_LABEL, REVISION_LABEL, ROLE_LABEL)
POD_ANNOTATIONS = (ATTEMPT_ANNOTATION, DELETION_COST_ANNOTATION, MEASURE_KEY_ANNOTATION)
LONGEST_POD_ANNOTATION = 1024
"""Longest annotation of a pod in characters that is stored. The operator's are short, users' may be long."""
LONGEST_OWNER = 1024
"""Longest reference to a controller, in bytes of JSON, that is stored. Kubernetes accepts names and uids of
any length there; those of objects have 253 characters at most.
"""
LONGEST_UNOWNED = 16 << 10
"""Longest pod or ReplicaSet, in bytes of JSON, whose content is stored, as anyone can create them. Each
decision of a resource that owns a longer one reads it from the API server.
"""
LONGEST_WRITTEN = 4 << 10
"""Most of these bytes that are not the status, which only a kubelet or a controller writes. A user may create
tens of thousands of pods with a node selector that does not compress.
"""
LONGEST_START = 1024
"""Longest start of a pod, in bytes of JSON, that is stored without the rest. Usual are 500."""
ITEM_BYTES = 8
"""Bytes by which each member and item of an object counts more than its JSON, in ``weight``."""
FIELDS_LIMIT = 20_000
"""Most fields stored of a managedFields entry of the operator; a user may write a megabyte in its name."""
TOO_MANY_FIELDS: Manifest = {"f:tacho.dev/too-many-fields": {}}
"""Stored in place of more fields. No desired child sets it, so the operator's next apply removes the rest."""
IDENTITY = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"
)  # fmt: skip


CONTROLLED = frozenset(
    {"ConfigMap", "ControllerRevision", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"}
)
"""Children that the LLMDeployment itself controls, and whose content decisions read."""
UNOWNED = frozenset({"Pod", "ReplicaSet"})
"""Children whose content is stored before it is known who owns them."""
Find = Callable[[str, str, str], tuple[str, str] | None]
"""Function from (kind, namespace, name) to the uid and version of a stored object; None: not stored."""


def no_owner(*_: str) -> None:
    """A ``Find`` that finds no owner, so that only metadata is stored, as for too many children."""


def kept_part(kind: str, manifest: Manifest, find: Find) -> Manifest:
    """The fields of an object that decisions read.

    Only the metadata of an unreadable object, of one that no decision reads, or of one that no stored
    LLMDeployment owns. If its owner is stored later, that owner's first decision reads the object from the
    API server.
    """
    why = manifest.get(METADATA_ONLY)
    if why is None and kind in CONTROLLED and not _is_content_read(kind, manifest, find):
        why = ""
    if why is not None:
        return _reduced(manifest, why)
    kept = readable_part(kind, manifest)
    if METADATA_ONLY not in kept and kind in UNOWNED:
        size, status = len(json_bytes(kept)), len(json_bytes(kept["status"]))
        if size > LONGEST_UNOWNED or size - status > LONGEST_WRITTEN:
            return least_part(kind, kept)
    return kept


def readable_part(kind: str, manifest: Manifest) -> Manifest:
    """The fields of a whole object that decisions read; its metadata where they cannot be read."""
    try:
        kept = trimmed(kind, manifest)
    except (AttributeError, TypeError, KeyError):
        return _reduced(manifest, "its fields have other types")
    return _reduced(manifest, NESTED) if is_deep(kept) else kept


def _reduced(manifest: Manifest, why: str) -> Manifest:
    return {"metadata": _identity(manifest["metadata"]), METADATA_ONLY: why}


def least_part(kind: str, kept: Manifest) -> Manifest:
    """What is stored of a readable object whose content takes too much memory: its metadata, and what the
    measurements of others depend on. Those are the start of a pod, and the deadline of its Deployment.
    """
    found = _reduced(kept, "")
    if kind == "Deployment":
        return {**found, "spec": _selected(kept.get("spec"), DEADLINE)}
    if kind != "Pod":
        return found
    status = kept["status"]
    engine = [item for item in status["containerStatuses"] if item.get("name") == ENGINE_CONTAINER][:1]
    times = [item for item in status["conditions"] if item.get("type") in ("PodScheduled", "Ready")]
    began: Manifest = {
        "spec": _selected(kept["spec"], ("nodeName",)),
        "status": {
            **_selected(status, ("phase",)),
            "conditions": [_selected(item, ("type", "status", "lastTransitionTime")) for item in times],
            "containerStatuses": [
                {
                    **_selected(item, ("name", "restartCount")),
                    **{key: _state_times(item[key]) for key in ("state", "lastState") if item.get(key)},
                }
                for item in engine
            ],
        },
    }
    return {**found, **began} if len(json_bytes(began)) <= LONGEST_START else found


def _state_times(state: Manifest) -> Manifest:
    """The state of a container without what the container wrote."""
    return {key: _selected(value, ("startedAt", "finishedAt")) for key, value in state.items()}


def owner_part(manifest: Manifest) -> Manifest:
    """What is read of an owner of a pod that may disturb a measurement."""
    spec = _selected(manifest.get("spec"), DEADLINE)
    return {"metadata": _identity(manifest["metadata"]), "spec": spec}


def json_bytes(document: Manifest) -> bytes:
    """The shortest JSON of ``document``: UTF-8, as the API server sends it, not escapes of six bytes."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def weight(text: bytes) -> int:
    """The length of an object's JSON, and ITEM_BYTES for each member and item.

    As Python objects, JSON takes eight times as much memory; a list of empty objects takes 24 times as much.
    """
    return len(text) + ITEM_BYTES * sum(map(text.count, (b",", b"{", b"[")))


def _is_content_read(kind: str, manifest: Manifest, find: Find) -> bool:
    """Whether a stored LLMDeployment controls the object, and its decisions read one of that name."""
    metadata, owner = manifest["metadata"], controller(manifest) or {}
    found = find("LLMDeployment", metadata.get("namespace", ""), str(owner.get("name")))
    is_owned = found is not None and found[0] == owner.get("uid")
    return is_owned and is_read(kind, metadata["name"], str(owner["name"]))


def trimmed(kind: str, manifest: Manifest) -> Manifest:
    """The part of ``manifest`` that the store keeps."""
    return {"metadata": _metadata(manifest["metadata"]), **_BODIES[kind](manifest)}


def _identity(full: Manifest) -> Manifest:
    kept = _selected(full, IDENTITY)
    if labels := _selected(full.get("labels"), READ_LABELS):
        kept["labels"] = labels
    owner = controller({"metadata": full})
    if owner is not None and len(json_bytes(owner)) <= LONGEST_OWNER:
        kept["ownerReferences"] = [owner]
    return kept


def _pod_metadata(full: Manifest) -> Manifest:
    found = _selected(full.get("annotations"), POD_ANNOTATIONS)
    kept = {key: value for key, value in found.items() if len(value) <= LONGEST_POD_ANNOTATION}
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
    """The fields in a FieldsV1 ``tree``, without the items of lists; TOO_MANY_FIELDS if it is very large."""
    fields: Manifest = {}
    level, count = [(tree, fields)], 0
    for _ in range(DEEPEST // 2):
        inner: list[tuple[Any, Manifest]] = []
        for source, kept in level:
            for key, value in source.items() if isinstance(source, dict) else ():
                if key.startswith("f:"):
                    kept[key] = {}
                    inner.append((value, kept[key]))
                count += 1
                if count > FIELDS_LIMIT:
                    return TOO_MANY_FIELDS
        if not inner:
            return fields
        level = inner
    return TOO_MANY_FIELDS


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
