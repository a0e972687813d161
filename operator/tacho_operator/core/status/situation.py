"""All that the judgements of one decision look at, gathered once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.inspection.inspect import Inspection
from tacho_operator.core.measurement.remeasure import Remeasure
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.rollout.steps import Rollout
from tacho_operator.core.status.progress import Progress
from tacho_operator.core.types import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What there is of a plan for the present spec."""

    revision: Revision | None = None
    """Frozen, or about to be."""
    plan: ModelPlan | None = None
    """Also of a plan that cannot be launched."""
    failure: PlanFailure | None = None
    problem: Problem | None = None
    """Why there is no plan, or why it cannot be launched."""
    inspection: Inspection | None = None
    """None: no inspection was needed."""
    apply: tuple[Manifest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One moment of one resource."""

    resource: LLMDeployment
    planning: Planning
    rollout: Rollout
    subject: Revision | None
    """The revision whose plan and figures are the resource's: the active one, else the wanted one."""
    revisions: tuple[Revision, ...]
    """All that exist, newest first."""
    replicas: int
    """Wanted."""
    server_pods: int
    ready_pods: int
    reached_pods: int
    """Ready and selected by the Service."""
    unreachable: Problem | None
    """The Service cannot be had: ready pods or not, nobody reaches them."""
    blocking: tuple[Problem, ...]
    """What concerns the resource as a whole: names, quota, claims."""
    subject_problem: Problem | None
    candidate_problem: Problem | None
    progress: Progress
    measurements: tuple[Manifest, ...]
    remeasure: Remeasure
    probing: bool
    """A server pod is being measured."""
    probe_disabled: bool
    token_note: str
    """What a changed tokenSecretRef means for running pods; "" when nothing changed."""

    @property
    def serves(self) -> bool:
        return self.reached_pods > 0 and bool(self.rollout.active) and self.unreachable is None

    def problems(self) -> Iterable[Problem]:
        """All there are, the most fundamental first."""
        inspection = self.planning.inspection
        found = (
            self.unreachable,
            *self.blocking,
            inspection.problem if inspection else None,
            self.planning.problem,
            self.subject_problem,
            self.candidate_problem,
        )
        return (problem for problem in found if problem is not None)
