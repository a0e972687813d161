"""The input for status, conditions and requeue time of one reconcile pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tacho_operator.api.conditions import Reason
from tacho_operator.api.status.status import LLMDeploymentStatus, Startup
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.autoscaling.ignored_write import ignored_write
from tacho_operator.core.measurement.cost import Price, product_of, revision_price
from tacho_operator.core.measurement.due import Cause
from tacho_operator.core.measurement.step import MeasurementPlan
from tacho_operator.core.names import FETCH_CONTAINER
from tacho_operator.core.pods.deadlines import (
    deadline_seconds,
    reports_progress,
    start_limits,
    unreachable,
)
from tacho_operator.core.pods.view import PodView, deployment_sizes, named, replica_sets_of, views
from tacho_operator.core.problems import Problem, refused_child
from tacho_operator.core.reconcile_plan import ReconcilePlan
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.next_gpu import next_gpu_seconds
from tacho_operator.core.revisions.planning import Planning
from tacho_operator.core.rollout.decision import Rollout
from tacho_operator.core.rollout.reading import (
    live_pods,
    lost_nodes,
    rejection,
    revision_problem,
    schedule_timeout_seconds,
    without_spare_gpu,
)
from tacho_operator.core.status.progress import PodProgress, latest_startup, progress
from tacho_operator.core.status.reachability import exposure, reached
from tacho_operator.core.types import ChildRefusal, Config, Manifest, Observed, Scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPods:
    """Counts of the server pods of all revisions."""

    count: int
    ready: int
    reached: int
    """Number of ready pods that the Service selects."""
    progress: PodProgress = field(default_factory=PodProgress)
    startup: Startup | None = None
    """Seconds of each step of the latest start."""
    unanswered: PodView | None = None
    """A pod of the active revision that has not answered the operator in time; None: none."""
    replacing: str = ""
    """Name of the Deployment that has pods of several ReplicaSets; "": none has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSet:
    """Problems found in a reconcile pass, by what they affect: Service, resource, revision, candidate."""

    service: Problem | None = None
    """Why the Service cannot be created, so that no request reaches a pod."""
    blocking: tuple[Problem, ...] = ()
    """Problems that affect the whole resource: name conflicts, quota, claims."""
    exposure: Problem | None = None
    """The member of ``blocking`` that says which clients reach the pods against the spec."""
    subject: Problem | None = None
    candidate: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All facts and decisions of one reconcile pass from which status is made."""

    resource: LLMDeployment
    """The resource with its stored status."""
    planning: Planning
    rollout: Rollout
    subject: Revision | None
    """The revision that status describes: the active one, else the desired one."""
    revisions: tuple[Revision, ...]
    """All existing revisions, newest first."""
    replicas: int
    """Number of desired replicas."""
    scaling: Scaled | None = None
    """The scaler's last decision; None: autoscaling is off, or the scaler has not decided yet."""
    ignored_write: tuple[str, str] | None = None
    """What was written to spec.replicas to no effect, and what to do."""
    scale_refused: str = ""
    """The API server's error where it refused to change a Deployment; "": it refused no change."""
    unanswered: ChildRefusal | None = None
    """The child that the API server neither accepted nor refused in several tries; None: none is left."""
    token_note: str = ""
    """A sentence on a changed tokenSecretRef, which running pods do not use; "" without a change."""
    unmarked: str = ""
    """Which node with a GPU fault new pods do not avoid, as its marker pod is refused; "": none."""
    pods: ServerPods
    problems: ProblemSet
    measuring: MeasurementPlan
    probing: bool = False
    """Whether a pod is being measured."""
    price: Price | None = None
    """Price of one GPU of the described revision for one hour. None: unknown."""
    reporting: bool = False
    """Whether a pod is starting or being measured, so that its report keeps changing."""
    deadline_seconds: float | None = None
    """Seconds until a decision changes by the passing of time alone; None: never."""

    @property
    def former(self) -> LLMDeploymentStatus:
        return self.resource.status

    @property
    def serves(self) -> bool:
        return self.pods.reached > 0 and bool(self.rollout.active) and self.problems.service is None

    @property
    def inspecting(self) -> bool:
        """Whether the model is being inspected, or will be next, or its plan is being made."""
        inspection = self.planning.inspection
        if self.planning.pending_plan is not None:
            return True
        return inspection is not None and inspection.running and inspection.facts is None

    def all_problems(self) -> Iterable[Problem]:
        """All problems, the most fundamental first."""
        inspection = self.planning.inspection
        found = (
            self.problems.service,
            *self.problems.blocking,
            inspection.problem if inspection else None,
            self.planning.problem,
            self.problems.subject,
            self.problems.candidate,
        )
        return (problem for problem in found if problem is not None)

    @property
    def held_back(self) -> Problem | None:
        """The problem that keeps the desired revision from starting; None: it has started or serves."""
        rollout, desired = self.rollout, self.planning.desired_revision
        if not rollout.active or rollout.candidate or desired in ("", rollout.active):
            return None
        return next(iter(self.problems.blocking), None)

    @property
    def stalling_problem(self) -> Problem | None:
        """The most fundamental problem that requires user action; None where there is none."""
        found = (problem for problem in self.all_problems() if problem.needs_user_action)
        return next(found, rejection(self.rollout))

    @property
    def work(self) -> Reason | None:
        """The reason of the condition Reconciling; None where no work is left, or a user has to act first."""
        if self.stalling_problem is not None:
            return None
        if self.unanswered is not None:
            return Reason.RETRYING
        if self.inspecting:
            return Reason.INSPECTING
        if not self.rollout.active and self.replicas:
            return Reason.STARTING
        if self.rollout.candidate or self.rollout.settling:
            return Reason.ROLLING_OUT
        if self.pods.reached < self.replicas or self.pods.count > self.replicas:
            return Reason.SCALING
        requested = self.measuring.remeasure.cause in (Cause.MISSING, Cause.REQUESTED)
        if self.measuring.remeasure.running and requested and not self.measuring.remeasure.outcome:
            return Reason.MEASURING
        return None


def take_snapshot(
    observed: Observed, config: Config, reconcile_plan: ReconcilePlan, now: datetime
) -> Snapshot:
    """The snapshot after this reconcile pass."""
    resource, rollout, planning = observed.resource, reconcile_plan.rollout, reconcile_plan.planning
    servers = views(observed.pods, names.ROLE_SERVER)
    probes = views(observed.pods, names.ROLE_PROBE)
    subject = reconcile_plan.revisions.get(rollout.active) or planning.revision
    described = rollout.active or reconcile_plan.desired_revision
    own = [pod for pod in live_pods(servers) if pod.revision == described]
    lost = lost_nodes(observed.nodes)
    reports = observed.reports
    probing = any(pod.uid in reports and reports[pod.uid].phase == "Probing" for pod in (*own, *probes))
    return Snapshot(
        resource=resource,
        planning=planning,
        rollout=rollout,
        subject=subject,
        revisions=_newest_first(reconcile_plan.revisions.values()),
        replicas=reconcile_plan.desired_replicas,
        scaling=observed.scaling,
        ignored_write=ignored_write(observed, now),
        scale_refused=_scale_refused(observed),
        unanswered=observed.unanswered,
        token_note=_token_note(resource, subject),
        unmarked=reconcile_plan.markers.refused,
        pods=ServerPods(
            count=len(live_pods(servers)),
            ready=sum(pod.ready for pod in servers),
            reached=_reached(observed, rollout.selected, servers),
            progress=progress([pod for pod in own if not pod.ready], observed.reports),
            startup=latest_startup(
                [pod for pod in servers if subject and pod.revision == subject.name],
                observed.reports,
                resource.status.startup,
            ),
            unanswered=unreachable(
                (pod for pod in own if pod.node not in lost), observed.reports.keys(), now
            ),
            replacing=described if len(replica_sets_of(own)) > 1 else "",
        ),
        problems=_problems(observed, reconcile_plan, described, servers, now),
        measuring=reconcile_plan.measuring,
        probing=probing,
        price=revision_price(resource.spec, subject, planning.plan, config),
        reporting=probing
        or bool(reconcile_plan.measuring.live.again.request)
        or reports_progress(live_pods((*servers, *probes))),
        deadline_seconds=_deadline_seconds(
            observed,
            (*servers, *probes),
            next_gpu_seconds(observed, planning.revision, now),
            now,
        ),
    )


def _newest_first(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    return tuple(sorted(revisions, key=lambda item: (-item.number, item.name)))


def _deadline_seconds(
    observed: Observed, pods: Iterable[PodView], next_gpu: float | None, now: datetime
) -> float | None:
    of_pods = deadline_seconds(
        pods,
        now,
        schedule_limit_seconds=schedule_timeout_seconds(observed.resource),
        start_limits=start_limits(observed.deployments),
        answered=observed.reports.keys(),
    )
    return min((seconds for seconds in (of_pods, next_gpu) if seconds is not None), default=None)


def _problems(
    observed: Observed,
    reconcile_plan: ReconcilePlan,
    described: str,
    servers: tuple[PodView, ...],
    now: datetime,
) -> ProblemSet:
    rollout = reconcile_plan.rollout
    lost = lost_nodes(observed.nodes)

    def problem(revision: str) -> Problem | None:
        if not revision:
            return None
        size = rollout.replicas.get(revision, 0)
        return revision_problem(observed, revision, pods=servers, desired=size, lost=lost, now=now)

    found, known = problem(rollout.candidate), reconcile_plan.revisions
    if _may_need_same_gpus(known.get(rollout.candidate), known.get(rollout.active)):
        found = without_spare_gpu(observed.resource, found)
    return ProblemSet(
        service=_service_problem(observed),
        exposure=exposure(observed),
        blocking=(*_refused_children(observed), *reconcile_plan.blocking),
        subject=problem(described),
        candidate=found or _refused_revision(observed, rollout.candidate),
    )


def _may_need_same_gpus(candidate: Revision | None, active: Revision | None) -> bool:
    """Whether GPUs that the active revision holds may suit the candidate; True where that is unknown."""
    if candidate is None or active is None:
        return True
    products = {product_of(candidate), product_of(active)}
    return active.plan.gpu_count > 0 and (len(products) == 1 or "" in products)


def _reached(observed: Observed, selected: str, servers: Iterable[PodView]) -> int:
    """Number of ready pods that the Service selects by ``selected`` ("": the pods of every revision). If the
    Service could not be written, it is counted as it is in the cluster.
    """
    service = named(observed.services, names.service_name(observed.resource.metadata.name))
    is_written = not any(_is_service(observed, item) for item in observed.refusals)
    if observed.unanswered is None and is_written:
        return sum(pod.ready and selected in ("", pod.revision) for pod in servers)
    return reached(service, servers)


def _is_service(observed: Observed, refusal: ChildRefusal) -> bool:
    place = ("Service", names.service_name(observed.resource.metadata.name))
    return (refusal.kind, refusal.name) == place


def _service_problem(observed: Observed) -> Problem | None:
    found = next((item for item in observed.refusals if _is_service(observed, item)), None)
    if found is None:
        return None
    exists = named(observed.services, names.service_name(observed.resource.metadata.name)) is not None
    # A Service that exists and could not be changed still sends requests to the pods that served before.
    return None if exists and not found.taken else refused_child(found)


def _refused_children(observed: Observed) -> list[Problem]:
    """Problems of children whose name is taken, or that quota or admission refused.

    A refused NetworkPolicy is reported with the clients that reach the pods. Left out are probe and marker
    pods, as the service does not need them, and a Service whose name is taken, which ``_service_problem``
    reports.
    """
    exposed = exposure(observed)
    return [
        exposed if exposed and item.kind == "NetworkPolicy" else refused_child(item)
        for item in sorted(observed.refusals, key=lambda item: not item.taken)
        if item.role not in (names.ROLE_PROBE, names.ROLE_AVOID)
        and not (item.taken and _is_service(observed, item))
    ]


def _scale_refused(observed: Observed) -> str:
    """The API server's error where it refused to change an existing Deployment; "": it refused no change."""
    sizes = deployment_sizes(observed.deployments)
    changes = (item for item in observed.refusals if item.kind == "Deployment" and item.name in sizes)
    return next((item.message for item in changes), "")


def _refused_revision(observed: Observed, revision: str) -> Problem | None:
    """The problem of a ControllerRevision or Deployment of ``revision`` that the API server refuses; both
    have the same name.
    """
    found = (item for item in observed.refusals if item.name == revision)
    return next(map(refused_child, found), None)


def _token_note(resource: LLMDeployment, subject: Revision | None) -> str:
    """A sentence on a changed tokenSecretRef: the present revision's pods keep the former. "": none."""
    if subject is None:
        return ""
    fetch: Manifest = next(
        (item for item in subject.pod_template["spec"]["initContainers"] if item["name"] == FETCH_CONTAINER),
        {},
    )
    if not fetch:
        return ""
    old = next((item for item in fetch.get("env", ()) if item["name"] == "HF_TOKEN"), None)
    frozen = old["valueFrom"]["secretKeyRef"] if old else {}
    desired = resource.spec.model.token_secret_ref
    now = (desired.name, desired.key) if desired else (None, None)
    if (frozen.get("name"), frozen.get("key")) == now:
        return ""
    replan = names.REPLAN_ANNOTATION
    return f"The changed model.tokenSecretRef needs a new revision: give {replan} a new value."
