"""What every child has in common: names, labels, and the owner that garbage collection follows."""

from __future__ import annotations

from tacho_operator.api.types import API_VERSION, KIND, LLMDeployment
from tacho_operator.core.names import labels
from tacho_operator.core.types import Manifest


def owner_reference(resource: LLMDeployment) -> Manifest:
    """Controller reference: deletion of the resource takes the child along, with the operator down too."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": resource.metadata.name,
        "uid": resource.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child(
    resource: LLMDeployment,
    api_version: str,
    kind: str,
    name: str,
    *,
    role: str = "",
    revision: str = "",
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """The head of a child's manifest; the caller adds spec or data."""
    metadata: Manifest = {
        "name": name,
        "namespace": resource.metadata.namespace,
        "labels": labels(resource.metadata.name, role, revision),
        "ownerReferences": [owner_reference(resource)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
