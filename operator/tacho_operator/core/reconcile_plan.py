"""The decisions of one reconcile pass, by package. Status and children are built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_operator.core.measurement.step import MeasurementPlan
from tacho_operator.core.pods.avoided_nodes import NodeMarkers
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.planning import Planning
from tacho_operator.core.rollout.decision import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePlan:
    """The next step of each package of the core: planning, claims, scaling, rollout, pods, measurement."""

    revisions: Mapping[str, Revision]
    """All that can be read, the one about to be made included, by name."""
    planning: Planning
    rollout: Rollout
    measuring: MeasurementPlan
    desired_replicas: int
    """Replicas that the user or the scaler requests."""
    replicas: int
    """Replicas to run: desired_replicas, or fewer where a volume claim does not let all of them start."""
    markers: NodeMarkers
    blocking: tuple[Problem, ...] = ()
    """Problems of the resource as a whole: names, quota, claims."""

    @property
    def desired_revision(self) -> str:
        """The revision of the present spec; "" while it has no plan."""
        return self.planning.desired_revision
