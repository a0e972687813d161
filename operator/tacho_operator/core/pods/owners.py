"""Which object is the controller of another one, by the uid in its owner references. Labels could be
forged.
"""

from __future__ import annotations

from collections.abc import Callable

from tacho_contract.launch import BASE_STARTUP_SECONDS
from tacho_operator.core import names
from tacho_operator.core.types import Manifest, Neighbour

Read = Callable[[str, tuple[str, str]], Manifest | None]
"""Function from (kind, (namespace, name)) to the stored object; None: not stored."""


def controller(manifest: Manifest) -> Manifest | None:
    """The owner reference of the controlling owner; None where there is none."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_uid(manifest: Manifest) -> str | None:
    """The uid of the controlling owner; None where there is none."""
    found = controller(manifest)
    return str(found["uid"]) if found else None


def controlling(manifest: Manifest, kind: str, read: Read) -> Manifest | None:
    """The stored object of ``kind`` that controls ``manifest``; None where it is of another kind or not
    stored."""
    reference = controller(manifest) or {}
    name = (manifest["metadata"]["namespace"], str(reference.get("name", "")))
    held = read(kind, name) if reference.get("kind") == kind else None
    return held if held is not None and held["metadata"]["uid"] == reference.get("uid") else None


def neighbour_of(pod: Manifest, read: Read) -> Neighbour | None:
    """The pod as a possible noisy neighbour; None unless a stored LLMDeployment controls it, directly or
    through its owners.

    A server pod belongs to a ReplicaSet of a revision's Deployment, a probe pod to the LLMDeployment itself.
    """
    labels = pod["metadata"].get("labels") or {}
    revision = labels.get(names.REVISION_LABEL, "")
    deployment = read("Deployment", (pod["metadata"]["namespace"], revision))
    if (replica_set := controlling(pod, "ReplicaSet", read)) is not None:
        deployment = controlling(replica_set, "Deployment", read)
        resource = controlling(deployment, "LLMDeployment", read) if deployment else None
    else:
        own = labels.get(names.ROLE_LABEL) == names.ROLE_PROBE
        resource = controlling(pod, "LLMDeployment", read) if own else None
        if deployment is not None and controlling(deployment, "LLMDeployment", read) != resource:
            deployment = None
    if resource is None:
        return None
    limit = ((deployment or {}).get("spec") or {}).get("progressDeadlineSeconds", BASE_STARTUP_SECONDS)
    return Neighbour(pod, float(limit))
