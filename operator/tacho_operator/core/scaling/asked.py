"""How many replicas there are to be, whoever says so: a person, the scaler, or what there was before it."""

from __future__ import annotations

from tacho_operator.core.rollout.reading import read_serving, sizes
from tacho_operator.core.types import Observed


def asked_replicas(observed: Observed) -> int:
    """Without autoscaling ``spec.replicas``; with it what the scaler wants.

    Before it has looked, and so after every restart of the operator, as many as there are: the Deployment
    may be newer than what the status had time to say.
    """
    spec = observed.resource.spec
    if spec.autoscaling is None:
        return spec.replicas
    if observed.scaling is not None:
        return observed.scaling.replicas
    found = sizes(observed.deployments)
    active = read_serving(observed).active
    if active and set(found) == {active}:
        return max(1, found[active])
    former = observed.resource.status.autoscaling
    least = spec.autoscaling.min_replicas or 1
    return max((former.desired_replicas if former else None) or least, *found.values(), 1)
