"""Limits by PersistentVolumeClaims: whether those in spec exist, and how many pods may mount them at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tacho_contract.failure import FailureClass
from tacho_contract.uri import ClaimUri
from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.pods.view import FINISHED, PodView, deployment_sizes, views
from tacho_operator.core.problems import Problem
from tacho_operator.core.types import Manifest, NodeFacts, Observed

MANY = frozenset({"ReadWriteMany", "ReadOnlyMany"})


def claim_names(spec: LLMDeploymentSpec) -> tuple[str, ...]:
    """Every PersistentVolumeClaim that spec names, in order, without duplicates."""
    found: list[str] = []
    if isinstance(source := spec.model.source, ClaimUri):
        found.append(source.claim)
    if spec.cache and spec.cache.persistent_volume_claim:
        found.append(spec.cache.persistent_volume_claim.claim_name)
    template = spec.pod_template
    for volume in template.spec.volumes if template and template.spec else []:
        if volume.persistent_volume_claim:
            found.append(volume.persistent_volume_claim.claim_name)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLimits:
    """The problems of a resource's claims, and how many replicas can share them."""

    problems: tuple[Problem, ...] = ()
    max_replicas: int | None = None
    """Most replicas that can mount all claims. None: no limit."""
    no_candidate: bool = False
    """Whether a new revision cannot start while the active one runs, as only one pod may mount a claim."""


def claim_limits(observed: Observed, *, active: str, desired: str, replicas: int) -> ClaimLimits:
    """The limits by the claims of a resource. ``active``: the revision that serves; ``desired``: spec's.

    Claims that the active revision does not mount bound only the desired one, which waits until it is within
    its bound: a changed spec takes no replica from what serves.
    """
    resource, claims = observed.resource, observed.claims
    replacing = active not in ("", desired)
    bound, spec_bound = claim_bound_of(observed, active), claim_bound_of(observed)
    running = (item for item in observed.deployments if item["metadata"]["name"] != desired)
    exclusive = one_pod_only(resource, claims, mounted_claims(running)) if replacing else None
    unshared = not_shareable(spec_bound if replacing else bound, replicas=replicas)
    found = (missing_claim(resource, claims), unshared, exclusive)
    return ClaimLimits(
        problems=tuple(problem for problem in found if problem is not None),
        max_replicas=bound.max_replicas if bound else None,
        no_candidate=exclusive is not None or (replacing and unshared is not None and bound != spec_bound),
    )


def mounted_claims(deployments: Iterable[Manifest]) -> frozenset[str]:
    """Names of the claims that the Deployments' pods mount; none of a Deployment without replicas."""
    sizes = deployment_sizes(deployments := tuple(deployments))
    templates = [
        ((item.get("spec") or {}).get("template") or {}).get("spec") or {}
        for item in deployments
        if sizes.get(item["metadata"]["name"])
    ]
    volumes = [volume for found in templates for volume in found.get("volumes") or ()]
    return frozenset(str((item.get("persistentVolumeClaim") or {}).get("claimName", "")) for item in volumes)


def missing_claim(resource: LLMDeployment, claims: Mapping[str, Manifest | None]) -> Problem | None:
    """The problem of a claim that does not exist; None where all exist. A claim that could not be read is not
    missing."""
    for name in claim_names(resource.spec):
        if name in claims and claims[name] is None:
            return Problem(
                reason=FailureClass.CACHE_NOT_FOUND,
                what=f"PersistentVolumeClaim {name} does not exist in {resource.metadata.namespace}.",
                next_step="Create it, or correct its name in spec.",
            )
    return None


def _access_modes(claim: Manifest | None) -> set[str]:
    """Access modes of a claim; empty where the claim does not exist or could not be read."""
    return set(((claim or {}).get("spec") or {}).get("accessModes") or ())


def sole_claims(spec: LLMDeploymentSpec, claims: Mapping[str, Manifest | None]) -> list[str]:
    """Names of the claims in spec that only pods of one node can mount."""
    modes = {name: _access_modes(claims.get(name)) for name in claim_names(spec)}
    return [name for name, found in modes.items() if found and not found & MANY]


@dataclass(frozen=True, slots=True)
class ClaimBound:
    """A claim that limits the number of replicas, as not every replica could mount it."""

    claim: str
    """Name and access mode of the claim, as a clause of a message."""
    max_replicas: int
    """Replicas that can mount the claim: at least one, and all replicas that mount it already."""


def not_shareable(bound: ClaimBound | None, *, replicas: int) -> Problem | None:
    """The problem of a claim whose access mode does not let ``replicas`` pods mount it; None where it
    does."""
    if bound is None or replicas <= bound.max_replicas:
        return None
    return Problem(
        reason=FailureClass.CACHE_NOT_SHAREABLE,
        what=f"{bound.claim}: {replicas} replicas cannot share it, at most {bound.max_replicas} can.",
        next_step=f"Use a claim with ReadWriteMany or ReadOnlyMany, or set replicas to {bound.max_replicas}.",
    )


def claim_bound_of(observed: Observed, active: str = "") -> ClaimBound | None:
    """The claim in spec that allows the fewest replicas; None: no claim limits them.

    ``active``: only claims that this revision mounts count, if it has replicas.
    """
    servers, claims = views(observed.pods, names.ROLE_SERVER), observed.claims
    sizes = deployment_sizes(observed.deployments)
    if sizes.get(active):
        mounted = mounted_claims(item for item in observed.deployments if item["metadata"]["name"] == active)
        claims = {name: claim for name, claim in claims.items() if name in mounted}
    return claim_bound(observed.resource, claims, observed.nodes, servers, sizes)


def claim_bound(
    resource: LLMDeployment,
    claims: Mapping[str, Manifest | None],
    nodes: tuple[NodeFacts, ...] | None,
    servers: Sequence[PodView] = (),
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> ClaimBound | None:
    """The claim that allows the fewest replicas; None: every replica can mount every claim.

    ReadWriteOncePod admits one pod, ReadWriteOnce the pods of one node. The latter limits nothing if the
    cluster has one node, or if nodes may not be read. Pods that already share a node may stay. ``sizes``:
    desired pods by revision.
    """
    single_node = nodes is None or sum(node.ready and not node.unschedulable for node in nodes) <= 1
    found = []
    for name in sole_claims(resource.spec, claims):
        modes = _access_modes(claims[name])
        one_pod = modes == {"ReadWriteOncePod"}
        if not one_pod and single_node:
            continue
        max_replicas = 1 if one_pod else max(1, _sharing(servers, sizes))
        found.append(ClaimBound(f"Claim {name} is {', '.join(sorted(modes))}", max_replicas))
    return min(found, key=lambda bound: bound.max_replicas, default=None)


def _sharing(servers: Sequence[PodView], sizes: Mapping[str, int]) -> int:
    """Most pods of one revision that can share a node's volume: those on one node, and those without a node
    yet. A pod on another node could never mount it.
    """
    live = [pod for pod in servers if not pod.terminating and pod.phase not in FINISHED]
    mounted = {pod.node for pod in live if pod.phase == "Running"}
    placed = Counter(pod.node for pod in live if pod.node)
    homes = mounted or {node for node, _ in placed.most_common(1)}
    counts = Counter(pod.revision for pod in live if not pod.node or pod.node in homes)
    created = Counter(pod.revision for pod in live)
    counts.update({revision: max(0, size - created[revision]) for revision, size in sizes.items()})
    return max(counts.values(), default=0)


def one_pod_only(
    resource: LLMDeployment, claims: Mapping[str, Manifest | None], mounted: Collection[str]
) -> Problem | None:
    """The problem of a ReadWriteOncePod claim that another revision's pods have ``mounted``: no new revision
    can start beside them. None: there is no such claim.
    """
    for name in claim_names(resource.spec):
        if name in mounted and _access_modes(claims.get(name)) == {"ReadWriteOncePod"}:
            return Problem(
                reason=FailureClass.CACHE_NOT_SHAREABLE,
                what=f"Claim {name} is ReadWriteOncePod and in use by the active revision.",
                next_step="Use another claim, or set replicas to 0 meanwhile, without autoscaling.",
            )
    return None
