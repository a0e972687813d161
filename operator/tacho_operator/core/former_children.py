"""Which children a deleted LLMDeployment left behind, and when its Deployment may be deleted."""

from __future__ import annotations

from tacho_operator.core.names import DEPLOYMENT_LABEL, GROUP
from tacho_operator.core.types import Manifest


def is_former(child: Manifest, *, uid: str, resource: str, owner_uid: str) -> bool:
    """Whether ``child`` still is the object with that uid, has that LLMDeployment as its only owner, and is
    not being deleted.
    """
    metadata = child["metadata"]
    owners: list[Manifest] = metadata.get("ownerReferences") or []
    if metadata["uid"] != uid or metadata.get("deletionTimestamp") or len(owners) != 1:
        return False
    (owner,) = owners
    return (
        (metadata.get("labels") or {}).get(DEPLOYMENT_LABEL) == owner.get("name") == resource
        and str(owner.get("apiVersion")).startswith(f"{GROUP}/")
        and owner.get("kind") == "LLMDeployment"
        and bool(owner.get("controller"))
        and owner.get("uid") == owner_uid
    )


def is_empty(deployment: Manifest) -> bool:
    """Whether a Deployment has no replicas, by its spec and by its controller."""
    status = deployment.get("status") or {}
    is_current = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return (deployment.get("spec") or {}).get("replicas") == 0 and is_current and not status.get("replicas")
