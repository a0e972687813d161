"""The desired replicas: of spec, of the scaler, or the existing ones before its first decision."""

from __future__ import annotations

from tacho_operator.api.defaults import scaling_mode
from tacho_operator.core.pods.view import deployment_sizes
from tacho_operator.core.rollout.reading import read_serving
from tacho_operator.core.types import Observed


def desired_replicas(observed: Observed) -> int:
    """``spec.replicas``; where autoscaling is enforced, the scaler's decision.

    Before its first decision, and so after every restart of the operator, the existing ones: the Deployment
    may be newer than status.
    """
    spec = observed.resource.spec
    if spec.autoscaling is None or scaling_mode(spec) == "Recommend":
        return spec.replicas
    if observed.scaling is not None:
        return observed.scaling.replicas
    found = deployment_sizes(observed.deployments)
    active = read_serving(observed).active
    if active and set(found) == {active}:
        return max(1, found[active])
    former = observed.resource.status.autoscaling
    requested = former.desired_replicas if former and former.mode is None else None
    return max(requested or spec.autoscaling.min_replicas or 1, *found.values(), 1)
