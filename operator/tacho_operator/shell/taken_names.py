"""Errors of a child whose name an object has that the resource does not control."""

from __future__ import annotations

from tacho_contract.units import clipped
from tacho_operator.core.pods.view import controller
from tacho_operator.core.types import Manifest
from tacho_operator.shell.api_errors import ApiError, Conflict

CONFLICT = 409


class NotCollected(ApiError):
    """A child of a deleted resource has the name that is needed. Kubernetes' garbage collector deletes it."""

    def __init__(self, taken: Manifest) -> None:
        metadata = taken["metadata"]
        text = f"{taken['kind']} {metadata['name']} of a deleted resource is not garbage-collected yet"
        self.patience = 1
        """Factor of the longest pause until the next try. A finalizer may keep the child for ever: 150 such
        took 61 requests a second.
        """
        if metadata.get("deletionTimestamp") and (finalizers := metadata.get("finalizers")):
            self.patience = 8
            text += clipped(f": finalizers keep it: {', '.join(map(str, finalizers))}")
        super().__init__(CONFLICT, text)


class Taken(Conflict):
    """An object has the name that the resource does not control."""

    def __init__(self, taken: Manifest) -> None:
        self.is_unowned = not taken["metadata"].get("ownerReferences")
        """Whether it has no owner at all, as where somebody removed the references from an own child."""
        owner = "no owner" if self.is_unowned else "another owner"
        super().__init__(CONFLICT, f"{taken['kind']} {taken['metadata']['name']} has {owner}")


def has_same_owner_but_uid(taken: Manifest, desired: Manifest) -> bool:
    """Whether the owner of ``taken`` is a deleted resource of the name of the owner of ``desired``."""
    ours, theirs = controller(desired) or {}, controller(taken) or {}
    return bool(ours) and all(ours[key] == theirs.get(key) for key in ("apiVersion", "kind", "name"))
