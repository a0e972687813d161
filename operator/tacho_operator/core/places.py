"""Which LLMDeployments of a namespace are held, where there are more than the operator holds of one."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import ConditionType
from tacho_operator.core.types import Manifest


class Rank(NamedTuple):
    """The order of a namespace's resources, the first of which are held. No user writes any part of it."""

    is_new: bool
    """Whether it has no revision yet. What has one may serve, and is held whatever the limit is."""
    created: str
    uid: str


def rank(resource: Manifest) -> Rank:
    metadata, status = resource["metadata"], resource.get("status")
    has_revision = isinstance(status, dict) and bool(status.get("revisions"))
    return Rank(not has_revision, str(metadata.get("creationTimestamp") or ""), str(metadata["uid"]))


class ResourceOrder:
    """The held resources of one namespace: those with a revision, and the oldest, up to ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ranks: dict[str, Rank] = {}
        self._order: list[tuple[Rank, str]] = []

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._ranks))

    def __len__(self) -> int:
        return len(self._ranks)

    def take(self, name: str, rank: Rank) -> str | None:
        """Gives the resource a place; returns the name of the one that has none then, perhaps ``name``."""
        if self._ranks.get(name) != rank:
            self.leave(name)
            self._ranks[name] = rank
            insort(self._order, (rank, name))
        last, loser = self._order[-1]
        if len(self._order) <= self._limit or not last.is_new:
            return None
        self.leave(loser)
        return loser

    def leave(self, name: str) -> None:
        former = self._ranks.pop(name, None)
        if former is not None:
            del self._order[bisect_left(self._order, (former, name))]


def reports_full(resource: Manifest) -> bool:
    """Whether the status of the present spec says that the resource is not held."""
    status = resource.get("status")
    if not isinstance(status, dict) or not isinstance(status.get("conditions"), list):
        return False
    current = status.get("observedGeneration") == resource["metadata"].get("generation")
    return current and any(
        isinstance(item, dict)
        and (item.get("type"), item.get("reason")) == (ConditionType.STALLED, FailureClass.NAMESPACE_FULL)
        for item in status["conditions"]
    )
