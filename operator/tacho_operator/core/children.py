"""The children of one moment: what to apply, in order of creation, and what to delete."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract import codec
from tacho_operator.core import names
from tacho_operator.core.manifests.configmaps import facts_config_map, live_config_map
from tacho_operator.core.manifests.deployment import deployment
from tacho_operator.core.manifests.disruption import disruption_budget
from tacho_operator.core.manifests.network import network_policy
from tacho_operator.core.manifests.service import service
from tacho_operator.core.pods.view import references, views
from tacho_operator.core.revisions.inspection import cached, facts_key
from tacho_operator.core.turn import Turn
from tacho_operator.core.types import Config, Manifest, Observed, Reference

HISTORY_KEPT = 5
VICTIM_COST = "-1"
"""Of a pod that goes before those that say nothing, which counts as 0."""


def to_apply(observed: Observed, config: Config, turn: Turn) -> tuple[Manifest, ...]:
    """Every child that should be as written here; what the pods mount comes before the pods."""
    resource, planning, rollout = observed.resource, turn.planning, turn.rollout
    found: list[Manifest] = []
    if packed := _facts(observed, turn):
        found.append(facts_config_map(resource, packed))
    if planning.inspection:
        found += planning.inspection.apply
    if rollout.replicas:
        found.append(live_config_map(resource, turn.measuring.live, turn.measuring.notes))
        found += planning.apply
        found.append(network_policy(resource, config))
        found.append(service(resource, rollout.serving))
        if turn.replicas >= 2:
            found.append(disruption_budget(resource))
    for name, size in rollout.replicas.items():
        revision = turn.revisions[name]
        found.append(
            deployment(
                resource,
                revision=name,
                pod_template=revision.pod_template,
                replicas=size,
                weights_bytes=revision.plan.files.total_bytes,
            )
        )
    found += turn.measuring.remeasure.apply
    taken = {(refusal.kind, refusal.name) for refusal in observed.refusals if refusal.taken}
    return tuple(item for item in found if (item["kind"], _name(item)) not in taken)


def _facts(observed: Observed, turn: Turn) -> dict[str, str]:
    """What is cached and still asked for, with what inspection has just found."""
    key = facts_key(observed.resource)
    asked = {key, *(revision.facts_key for revision in turn.revisions.values())}
    found = {name: packed for name, packed in cached(observed).items() if name in asked}
    facts = turn.planning.inspection.facts if turn.planning.inspection else None
    if facts is not None:
        found[key] = codec.pack(facts)
    return found


def to_delete(observed: Observed, turn: Turn) -> tuple[Reference, ...]:
    """What has had its time. Objects on their way out already are left alone."""
    inspection = turn.planning.inspection
    gone: list[Reference] = []
    gone += inspection.delete if inspection else references(views(observed.pods, names.ROLE_INSPECT))
    gone += turn.measuring.remeasure.delete
    drop = set(turn.rollout.drop)
    gone += _references("Deployment", (item for item in observed.deployments if _name(item) in drop))
    if turn.replicas < 2:
        gone += _references("PodDisruptionBudget", observed.disruption_budgets)
    kept = _kept_revisions(turn, {_name(item) for item in observed.deployments})
    readable = (item for item in observed.revisions if _name(item) in turn.revisions)
    gone += _references("ControllerRevision", (item for item in readable if _name(item) not in kept))
    return tuple(gone)


def deletion_costs(observed: Observed) -> dict[str, str]:
    """Annotations of pods by which the ReplicaSet's controller chooses whom to delete; one that was chosen
    and spared is like any other again."""
    victims = observed.scaling.victims if observed.scaling else ()
    found = {}
    for pod in views(observed.pods, names.ROLE_SERVER):
        cost = pod.annotation(names.DELETION_COST_ANNOTATION)
        wanted = VICTIM_COST if pod.name in victims else ("0" if cost == VICTIM_COST else cost)
        if wanted != cost and not pod.terminating:
            found[pod.name] = wanted
    return found


def _kept_revisions(turn: Turn, running: set[str]) -> set[str]:
    """The wanted, the active and those with pods, then the newest up to five in all."""
    rollout = turn.rollout
    needed = {rollout.active, rollout.candidate, *rollout.replicas, *running} & set(turn.revisions)
    if turn.wanted:
        needed.add(turn.wanted)
    newest = sorted(turn.revisions.values(), key=lambda item: (-item.number, item.name))
    for revision in newest:
        if len(needed) >= HISTORY_KEPT:
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
