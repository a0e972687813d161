"""The child objects of a resource: which to apply, in order of creation, and which to delete."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract import codec
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.manifests.helper_pods import marker_pod
from tacho_operator.core.manifests.objects import (
    child,
    deployment,
    disruption_budget,
    facts_config_map,
    live_config_map,
    network_policy,
    service,
)
from tacho_operator.core.manifests.pod_template import unplanned_pod_template
from tacho_operator.core.names import digest
from tacho_operator.core.pods.view import references, views
from tacho_operator.core.reconcile_plan import ReconcilePlan
from tacho_operator.core.revisions.inspection import cached, facts_key
from tacho_operator.core.types import Config, Manifest, Observed, Reference, Trial

REVISIONS_KEPT = 5
VICTIM_COST = "-1"
"""Deletion cost of a victim: below 0, which a pod without the annotation has."""


def to_apply(observed: Observed, config: Config, reconcile_plan: ReconcilePlan) -> tuple[Manifest, ...]:
    """The manifest of every child that should exist; objects that pods mount come before the pods."""
    resource, planning, rollout = observed.resource, reconcile_plan.planning, reconcile_plan.rollout
    found: list[Manifest] = []
    if packed := _facts(observed, reconcile_plan):
        found.append(facts_config_map(resource, packed))
    if planning.inspection:
        found += planning.inspection.apply
    if rollout.replicas:
        measuring = reconcile_plan.measuring
        found.append(live_config_map(resource, measuring.live, measuring.notes))
        found += planning.apply
    if rollout.replicas or rollout.active:  # the active revision may be one that this version cannot read
        found.append(network_policy(resource, config))
        found.append(service(resource, rollout.serving))
    if rollout.replicas and reconcile_plan.replicas >= 2:
        found.append(disruption_budget(resource, rollout.selected, reconcile_plan.replicas))
    for name, size in rollout.replicas.items():
        revision = reconcile_plan.revisions[name]
        found.append(
            deployment(
                resource,
                revision.plan,
                revision=name,
                pod_template=revision.pod_template,
                replicas=size,
            )
        )
    found += reconcile_plan.measuring.remeasure.apply
    found += (marker_pod(resource, config, node) for node in reconcile_plan.markers.nodes)
    taken = {(refusal.kind, refusal.name) for refusal in observed.refusals if refusal.taken}
    return tuple(item for item in found if (item["kind"], _name(item)) not in taken)


def to_try(observed: Observed, config: Config, reconcile_plan: ReconcilePlan) -> Trial | None:
    """The Deployment and a pod of a revision about to be created, for a server-side dry run; None: none is
    due.

    Before the model is inspected, the pod has only what spec determines. It is like the pods that the
    Deployment's controller will create.
    """
    resource, planning = observed.resource, reconcile_plan.planning
    revision = planning.revision
    if revision is None:
        return _early_trial(observed, config, reconcile_plan)
    if not planning.apply or not reconcile_plan.rollout.replicas:
        return _vacancy_trial(observed, reconcile_plan)
    name, template = revision.name, revision.pod_template
    made = deployment(resource, revision.plan, revision=name, pod_template=template, replicas=1)
    return Trial(
        name=name,
        key=name,
        manifests=(made, _pod(resource, name, template)),
        withheld=frozenset({("ControllerRevision", name), ("Deployment", name)}),
        replaces=True,
    )


def _early_trial(observed: Observed, config: Config, reconcile_plan: ReconcilePlan) -> Trial | None:
    """The trial that precedes an inspect pod. Quota counts where no pod of the resource holds any of it."""
    resource, inspection = observed.resource, reconcile_plan.planning.inspection
    if inspection is None or not inspection.apply:
        return None
    pod = _pod(resource, resource.metadata.name, unplanned_pod_template(resource, config))
    return Trial(
        name=_name(pod),
        key=digest(pod),
        manifests=(pod,),
        withheld=frozenset((item["kind"], _name(item)) for item in inspection.apply),
        needs_quota=not observed.deployments and reconcile_plan.replicas > 0,
    )


def _vacancy_trial(observed: Observed, reconcile_plan: ReconcilePlan) -> Trial | None:
    """The trial of a new pod, where all pods of the serving revision are ending. None: not so.

    A ReplicaSet says nothing of a namespace that is being deleted, and a finalizer may keep its pods.
    """
    rollout, revisions = reconcile_plan.rollout, reconcile_plan.revisions
    revision = revisions.get(rollout.active or reconcile_plan.desired_revision)
    if revision is None or not rollout.replicas.get(revision.name):
        return None
    pods = [pod for pod in views(observed.pods, names.ROLE_SERVER) if pod.revision == revision.name]
    if not pods or not all(pod.terminating for pod in pods):
        return None
    return Trial(
        name=revision.name,
        key=digest([revision.name, sorted(pod.uid for pod in pods)]),
        manifests=(_pod(observed.resource, revision.name, revision.pod_template),),
        withheld=frozenset(),
        recurs=True,
    )


def _pod(resource: LLMDeployment, name: str, template: Manifest) -> Manifest:
    pod = child(resource, "v1", "Pod", f"{name}-trial", spec=template["spec"])
    pod["metadata"] |= template["metadata"]
    return pod


def _facts(observed: Observed, reconcile_plan: ReconcilePlan) -> dict[str, str]:
    """Cached facts that a revision or the spec still uses, and the facts that inspection has just found."""
    key = facts_key(observed.resource)
    used = {key, *(revision.facts_key for revision in reconcile_plan.revisions.values())}
    found = {name: packed for name, packed in cached(observed).items() if name in used}
    facts = reconcile_plan.planning.inspection.facts if reconcile_plan.planning.inspection else None
    if facts is not None:
        found[key] = codec.pack(facts)
    return found


def to_delete(observed: Observed, reconcile_plan: ReconcilePlan) -> tuple[Reference, ...]:
    """References to children that are no longer needed and not being deleted yet.

    A pod of the name of one that is applied lost only an annotation by which it is known, and gets it again.
    Deleted it would be created and lose it again, for ever.
    """
    inspection = reconcile_plan.planning.inspection
    applied = inspection.apply if inspection else ()
    kept = {("Pod", _name(pod)) for pod in (*applied, *reconcile_plan.measuring.remeasure.apply)}
    unused: list[Reference] = []
    unused += inspection.delete if inspection else references(views(observed.pods, names.ROLE_INSPECT))
    unwritten = set(measured_pods(observed, reconcile_plan))
    unused += (item for item in reconcile_plan.measuring.remeasure.delete if item not in unwritten)
    unused += reconcile_plan.markers.expired
    drop = set(reconcile_plan.rollout.drop)
    unused += _references("Deployment", (item for item in observed.deployments if _name(item) in drop))
    if reconcile_plan.replicas < 2:
        unused += _references("PodDisruptionBudget", observed.disruption_budgets)
    needed = _kept_revisions(reconcile_plan, {_name(item) for item in observed.deployments})
    readable = (item for item in observed.revisions if _name(item) in reconcile_plan.revisions)
    unused += _references("ControllerRevision", (item for item in readable if _name(item) not in needed))
    return tuple(item for item in unused if (item.kind, item.name) not in kept)


def measured_pods(observed: Observed, reconcile_plan: ReconcilePlan) -> tuple[Reference, ...]:
    """References to the probe pods to delete that have a measurement, while status has yet to be written."""
    measuring = reconcile_plan.measuring
    if list(measuring.measurements) == observed.resource.status.measurements:
        return ()
    measured = {uid for uid, report in observed.reports.items() if report.measurement is not None}
    return tuple(item for item in measuring.remeasure.delete if item.uid in measured)


def deletion_costs(observed: Observed) -> dict[str, str]:
    """The pod-deletion-cost annotation by pod name: the ReplicaSet's controller deletes the lowest first.

    A pod that was to be deleted first, and no longer is, gets 0 again.
    """
    victims = frozenset(observed.scaling.victims if observed.scaling else ())
    found = {}
    for pod in views(observed.pods, names.ROLE_SERVER):
        cost = pod.annotation(names.DELETION_COST_ANNOTATION)
        desired = VICTIM_COST if pod.name in victims else ("0" if cost == VICTIM_COST else cost)
        if desired != cost and not pod.terminating:
            found[pod.name] = desired
    return found


def _kept_revisions(reconcile_plan: ReconcilePlan, running: set[str]) -> set[str]:
    """Revisions to keep: the desired and the active one, those with pods, then the newest, five in all."""
    rollout = reconcile_plan.rollout
    needed = {rollout.active, rollout.candidate, *rollout.replicas, *running} & set(reconcile_plan.revisions)
    if reconcile_plan.desired_revision:
        needed.add(reconcile_plan.desired_revision)
    newest = sorted(reconcile_plan.revisions.values(), key=lambda item: (-item.number, item.name))
    for revision in newest:
        if len(needed) >= REVISIONS_KEPT:
            break
        needed.add(revision.name)
    return needed


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def _references(kind: str, manifests: Iterable[Manifest]) -> list[Reference]:
    return [
        Reference(kind=kind, name=_name(item), uid=item["metadata"].get("uid", ""))
        for item in manifests
        if not item["metadata"].get("deletionTimestamp")
    ]
