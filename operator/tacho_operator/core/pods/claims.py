"""What the claims of the spec allow: whether they exist, and how many pods may use them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_contract.failure import FailureClass
from tacho_contract.uri import ClaimUri
from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec
from tacho_operator.core.problems import Problem
from tacho_operator.core.types import Manifest, NodeFacts, Observed

MANY = frozenset({"ReadWriteMany", "ReadOnlyMany"})


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
    one_replica: Problem | None = None
    """Replicas cannot share a claim: one at most."""
    no_candidate: Problem | None = None
    """A new revision cannot start beside the active one."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        found = (self.missing, self.one_replica, self.no_candidate)
        return tuple(problem for problem in found if problem is not None)


def claim_limits(observed: Observed, *, replacing: bool, replicas: int) -> ClaimLimits:
    """``replacing``: another revision than the wanted one is active. ``replicas``: asked for."""
    resource, claims = observed.resource, observed.claims
    return ClaimLimits(
        missing=missing_claim(resource, claims),
        one_replica=not_shareable(resource, claims, observed.nodes, replicas=replicas),
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


def not_shareable(
    resource: LLMDeployment,
    claims: Mapping[str, Manifest | None],
    nodes: tuple[NodeFacts, ...] | None,
    *,
    replicas: int,
) -> Problem | None:
    """A claim whose access mode does not let all replicas mount it."""
    claim = claim_of_one(resource, claims, nodes)
    if replicas <= 1 or not claim:
        return None
    return Problem(
        reason=FailureClass.CACHE_NOT_SHAREABLE,
        message=f"{claim}: {replicas} replicas cannot share it. Use a claim with ReadWriteMany or "
        "ReadOnlyMany, or set replicas to 1.",
    )


def claim_of_one(
    resource: LLMDeployment, claims: Mapping[str, Manifest | None], nodes: tuple[NodeFacts, ...] | None
) -> str:
    """A claim that one replica at most can mount, as a clause; "": there is none.

    ReadWriteOncePod takes one pod; ReadWriteOnce takes the pods of one node, which is no limit on a
    cluster of one node (or where nodes may not be read: then the scheduler will say).
    """
    for name in claim_names(resource.spec):
        modes = set(((claims.get(name) or {}).get("spec") or {}).get("accessModes") or ())
        single_node = nodes is None or sum(node.ready and not node.unschedulable for node in nodes) <= 1
        if not modes or modes & MANY or (modes != {"ReadWriteOncePod"} and single_node):
            continue
        return f"Claim {name} is {', '.join(sorted(modes))}"
    return ""


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
