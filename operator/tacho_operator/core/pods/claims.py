"""What the claims of the spec allow: whether they exist, and how many pods may use them at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tacho_contract.failure import FailureClass
from tacho_contract.uri import ClaimUri
from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView, views
from tacho_operator.core.problems import Problem
from tacho_operator.core.types import Manifest, NodeFacts, Observed

MANY = frozenset({"ReadWriteMany", "ReadOnlyMany"})
FINISHED = ("Failed", "Succeeded")


def claim_names(spec: LLMDeploymentSpec) -> tuple[str, ...]:
    """Every PersistentVolumeClaim the spec names, in order and once: what observing has to look up."""
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
    """What the claims stand in the way of. None: of nothing."""

    missing: Problem | None = None
    too_many: Problem | None = None
    """So many replicas cannot share a claim."""
    most: int | None = None
    """Those that can. None: as many as are asked for."""
    no_candidate: Problem | None = None
    """A new revision cannot start beside the active one."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        found = (self.missing, self.too_many, self.no_candidate)
        return tuple(problem for problem in found if problem is not None)


def claim_limits(observed: Observed, *, replacing: bool, replicas: int) -> ClaimLimits:
    """``replacing``: another revision than the wanted one is active. ``replicas``: asked for."""
    resource, claims = observed.resource, observed.claims
    bound = claim_bound_of(observed)
    return ClaimLimits(
        missing=missing_claim(resource, claims),
        too_many=not_shareable(bound, replicas=replicas),
        most=bound.most if bound else None,
        no_candidate=one_pod_only(resource, claims) if replacing else None,
    )


def missing_claim(resource: LLMDeployment, claims: Mapping[str, Manifest | None]) -> Problem | None:
    """A claim that is known not to exist. One nobody could look up is not missing."""
    for name in claim_names(resource.spec):
        if name in claims and claims[name] is None:
            return Problem(
                reason=FailureClass.CACHE_NOT_FOUND,
                message=f"PersistentVolumeClaim {name} does not exist in namespace "
                f"{resource.metadata.namespace}. Create it, or correct its name in spec.",
            )
    return None


@dataclass(frozen=True, slots=True)
class ClaimBound:
    """A claim that not every replica can mount."""

    claim: str
    """As a clause."""
    most: int
    """Replicas that can: at least one, and those that do already."""


def not_shareable(bound: ClaimBound | None, *, replicas: int) -> Problem | None:
    """A claim whose access mode does not let all replicas mount it."""
    if bound is None or replicas <= bound.most:
        return None
    among = "" if bound.most == 1 else f", the {bound.most} that are on one node can"
    return Problem(
        reason=FailureClass.CACHE_NOT_SHAREABLE,
        message=f"{bound.claim}: {replicas} replicas cannot share it{among}. Use a claim with ReadWriteMany "
        f"or ReadOnlyMany, or set replicas to {bound.most}.",
    )


def claim_bound_of(observed: Observed) -> ClaimBound | None:
    """Of what was observed."""
    servers = views(observed.pods, names.ROLE_SERVER)
    wanted = {
        item["metadata"]["name"]: int((item.get("spec") or {}).get("replicas", 1))
        for item in observed.deployments
        if not item["metadata"].get("deletionTimestamp")
    }
    return claim_bound(observed.resource, observed.claims, observed.nodes, servers, wanted)


def claim_bound(
    resource: LLMDeployment,
    claims: Mapping[str, Manifest | None],
    nodes: tuple[NodeFacts, ...] | None,
    servers: Sequence[PodView] = (),
    wanted: Mapping[str, int] = MappingProxyType({}),
) -> ClaimBound | None:
    """None: every replica can mount every claim. ``wanted``: pods of each revision that there are to be.

    ReadWriteOncePod takes one pod; ReadWriteOnce takes the pods of one node, which is no limit on a
    cluster of one node (or where nodes may not be read: then the scheduler will say). Where there are
    several, those that share one already go on: a node that joins takes nothing from them.
    """
    single_node = nodes is None or sum(node.ready and not node.unschedulable for node in nodes) <= 1
    found = []
    for name in claim_names(resource.spec):
        modes = set(((claims.get(name) or {}).get("spec") or {}).get("accessModes") or ())
        one_pod = modes == {"ReadWriteOncePod"}
        if not modes or modes & MANY or (not one_pod and single_node):
            continue
        most = 1 if one_pod else max(1, _sharing(servers, wanted))
        found.append(ClaimBound(f"Claim {name} is {', '.join(sorted(modes))}", most))
    return min(found, key=lambda bound: bound.most, default=None)


def _sharing(servers: Sequence[PodView], wanted: Mapping[str, int]) -> int:
    """Pods of one revision that share a node's volume: those that run, and those that may yet beside them,
    a lost one's successor among them though nobody has made it yet. One that was put on another node waits
    for a volume that it does not get."""
    alive = [pod for pod in servers if not pod.terminating and pod.phase not in FINISHED]
    mounted = {pod.node for pod in alive if pod.phase == "Running"}
    placed = Counter(pod.node for pod in alive if pod.node)
    homes = mounted or {node for node, _ in placed.most_common(1)}
    counts = Counter(pod.revision for pod in alive if not pod.node or pod.node in homes)
    living = Counter(pod.revision for pod in alive)
    counts.update({revision: max(0, size - living[revision]) for revision, size in wanted.items()})
    return max(counts.values(), default=0)


def one_pod_only(resource: LLMDeployment, claims: Mapping[str, Manifest | None]) -> Problem | None:
    """A claim that keeps a new revision from starting beside the active one."""
    for name in claim_names(resource.spec):
        modes = set(((claims.get(name) or {}).get("spec") or {}).get("accessModes") or ())
        if modes == {"ReadWriteOncePod"}:
            return Problem(
                reason=FailureClass.CACHE_NOT_SHAREABLE,
                message=f"Claim {name} is ReadWriteOncePod: the new revision cannot start while the active "
                "one holds it. Use a claim with ReadWriteMany, or delete and create the resource anew.",
            )
    return None
