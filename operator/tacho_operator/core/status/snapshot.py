"""All that the status and the pace of one moment are made of: taken once, typed, and never changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tacho_operator.api.conditions import Reason
from tacho_operator.api.types import LLMDeployment, LLMDeploymentStatus, MeasuredRun, Measurement, Startup
from tacho_operator.core.measurement.cost import Price
from tacho_operator.core.measurement.due import Cause
from tacho_operator.core.measurement.records import current
from tacho_operator.core.measurement.remeasure import Remeasure
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.revisions.step import Planning
from tacho_operator.core.rollout.decision import Rollout
from tacho_operator.core.types import Scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the pod that is nearest to serving has come."""

    reason: Reason = Reason.STARTING
    message: str = "Pods are being created."


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One moment of one resource."""

    resource: LLMDeployment
    """With the former status."""
    planning: Planning
    rollout: Rollout
    subject: Revision | None
    """The revision whose plan and figures are the resource's: the active one, else the wanted one."""
    revisions: tuple[Revision, ...]
    """All that exist, newest first."""
    replicas: int
    """Wanted."""
    scaling: Scaled | None = None
    """What the scaler says; None: nobody scales it, or it has not looked yet."""
    scale_refused: str = ""
    """What was said where a change of a Deployment was refused."""
    server_pods: int
    ready_pods: int
    reached_pods: int
    """Ready and selected by the Service."""
    unreachable: Problem | None = None
    """The Service cannot be had: ready pods or not, nobody reaches them."""
    blocking: tuple[Problem, ...] = ()
    """What concerns the resource as a whole: names, quota, claims."""
    subject_problem: Problem | None = None
    candidate_problem: Problem | None = None
    progress: Progress = field(default_factory=Progress)
    startup: Startup | None = None
    """Where the time of the latest start went."""
    measurements: tuple[Measurement, ...] = ()
    """Newest first."""
    price: Price | None = None
    """Of the subject's GPUs. None: nobody has said."""
    remeasure: Remeasure = Remeasure()
    deviating: MeasuredRun | None = None
    """The check of a pod that serves and does not do what was measured."""
    probing: bool = False
    """A server pod is being measured."""
    telling: bool = False
    """Some pod runs that starts or is measured: what it reports changes by the moment."""
    deadline_seconds: float | None = None
    """Until time alone makes something of what is seen now; None: it never does."""
    probe_disabled: bool = False
    silent: PodView | None = None
    """A pod that should have reported by now."""
    token_note: str = ""
    """What a changed tokenSecretRef means for running pods; "" when nothing changed."""

    @property
    def former(self) -> LLMDeploymentStatus:
        return self.resource.status

    @property
    def serves(self) -> bool:
        return self.reached_pods > 0 and bool(self.rollout.active) and self.unreachable is None

    @property
    def current(self) -> Measurement | None:
        """The measurement that describes the service as it is."""
        return current(self.measurements)

    @property
    def inspecting(self) -> bool:
        """A pod reads the model's files and headers, or is about to."""
        inspection = self.planning.inspection
        return inspection is not None and inspection.running and inspection.facts is None

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

    @property
    def held_back(self) -> Problem | None:
        """Why the wanted revision is not even begun beside the active one; None where it is, or serves."""
        rollout, wanted = self.rollout, self.planning.wanted
        if not rollout.active or rollout.candidate or wanted in ("", rollout.active):
            return None
        return next(iter(self.blocking), None)

    @property
    def persons_problem(self) -> Problem | None:
        """The most fundamental one that does not go away without a person."""
        return next((problem for problem in self.problems() if problem.needs_person), None)

    @property
    def work(self) -> Reason | None:
        """What tacho is about, in the word of Reconciling; None where there is nothing to do, or nothing
        that can be done without a person."""
        if self.persons_problem is not None:
            return None
        if self.inspecting:
            return Reason.INSPECTING
        if not self.rollout.active and self.replicas:
            return Reason.STARTING
        if self.rollout.candidate or self.rollout.settling:
            return Reason.ROLLING_OUT
        if self.reached_pods < self.replicas or self.server_pods > self.replicas:
            return Reason.SCALING
        asked_for = self.remeasure.cause in (Cause.MISSING, Cause.REQUESTED)
        if self.remeasure.running and asked_for and not self.remeasure.outcome:
            return Reason.MEASURING
        return None
