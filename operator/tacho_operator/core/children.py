"""The children of one moment: what to apply, in order of creation, and what to delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tacho_contract import codec
from tacho_operator.core import names
from tacho_operator.core.inspection.inspect import cached, facts_key, references
from tacho_operator.core.manifests.configmaps import facts_config_map, live_config_map
from tacho_operator.core.manifests.deployment import deployment
from tacho_operator.core.manifests.disruption import disruption_budget
from tacho_operator.core.manifests.network import network_policy
from tacho_operator.core.manifests.service import service
from tacho_operator.core.measurement.remeasure import Remeasure
from tacho_operator.core.pods.view import views
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.rollout.steps import Rollout
from tacho_operator.core.status.situation import Planning
from tacho_operator.core.types import Config, Manifest, Observed, Reference

HISTORY_KEPT = 5


def to_apply(
    observed: Observed,
    config: Config,
    planning: Planning,
    rollout: Rollout,
    measuring: Remeasure,
    revisions: Mapping[str, Revision],
    replicas: int,
) -> tuple[Manifest, ...]:
    """Every child that should be as written here; what the pods mount comes before the pods."""
    resource = observed.resource
    found: list[Manifest] = []
    if packed := _facts(observed, planning, revisions):
        found.append(facts_config_map(resource, packed))
    if planning.inspection:
        found += planning.inspection.apply
    if rollout.replicas:
        found.append(live_config_map(resource, measuring.note))
        found += planning.apply
        found.append(network_policy(resource, config))
        found.append(
            service(
                resource,
                selected=rollout.selected,
                active=rollout.active,
                switched_time=rollout.switched_time,
            )
        )
        if replicas >= 2:
            found.append(disruption_budget(resource))
    for name, size in rollout.replicas.items():
        revision = revisions[name]
        found.append(
            deployment(
                resource,
                revision=name,
                pod_template=revision.pod_template,
                replicas=size,
                weights_bytes=revision.plan.files.total_bytes,
            )
        )
    found += measuring.apply
    return tuple(item for item in found if _place(item) not in observed.conflicts)


def _place(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def _facts(observed: Observed, planning: Planning, revisions: Mapping[str, Revision]) -> dict[str, str]:
    """What is cached and still asked for, with what inspection has just found."""
    key = facts_key(observed.resource)
    asked = {key, *(revision.facts_key for revision in revisions.values())}
    found = {name: packed for name, packed in cached(observed).items() if name in asked}
    facts = planning.inspection.facts if planning.inspection else None
    if facts is not None:
        found[key] = codec.pack(facts)
    return found


def to_delete(
    observed: Observed,
    planning: Planning,
    rollout: Rollout,
    measuring: Remeasure,
    revisions: Mapping[str, Revision],
    replicas: int,
) -> tuple[Reference, ...]:
    """What has had its time. Objects on their way out already are left alone."""
    gone: list[Reference] = []
    if planning.inspection:
        gone += planning.inspection.delete
    else:
        gone += references(views(observed.pods, names.ROLE_INSPECT))
    gone += measuring.delete
    drop = set(rollout.drop)
    gone += _references("Deployment", (item for item in observed.deployments if _name(item) in drop))
    if replicas < 2:
        gone += _references("PodDisruptionBudget", observed.disruption_budgets)
    kept = _kept_revisions(planning, rollout, revisions, {_name(item) for item in observed.deployments})
    readable = (item for item in observed.revisions if _name(item) in revisions)
    gone += _references("ControllerRevision", (item for item in readable if _name(item) not in kept))
    return tuple(gone)


def _kept_revisions(
    planning: Planning, rollout: Rollout, revisions: Mapping[str, Revision], running: set[str]
) -> set[str]:
    """The wanted, the active and those with pods, then the newest up to five in all."""
    needed = {rollout.active, rollout.candidate, *rollout.replicas, *running} & set(revisions)
    if planning.revision:
        needed.add(planning.revision.name)
    newest = sorted(revisions.values(), key=lambda item: (-item.number, item.name))
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
