"""Status of a resource without a decision: Ready by its pods, the cause in Stalled, the rest as before."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import ConditionType, Reason, set_condition
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core import names
from tacho_operator.core.measurement.history import stored_status
from tacho_operator.core.pods.view import deployment_sizes, named, views
from tacho_operator.core.problems import Problem
from tacho_operator.core.rollout.reading import live_pods
from tacho_operator.core.status.conditions import ConditionValue, condition_of, serving_message
from tacho_operator.core.types import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResource:
    """A resource as it is stored, with the children that tell whether it serves."""

    raw: Manifest
    pods: tuple[Manifest, ...] = ()
    deployments: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()

    @property
    def desired_replicas(self) -> int:
        """Size of its largest Deployment; 0 without one."""
        return max(deployment_sizes(self.deployments).values(), default=0)


def unreadable_spec(text: str) -> Problem:
    """``text``: the field and what is wrong with it."""
    return Problem(
        reason=FailureClass.UNREADABLE_SPEC,
        what=f"This version of the operator cannot read spec: {text}.",
        next_step="Apply a valid spec, or upgrade the operator.",
    )


def unreadable_child(text: str) -> Problem:
    """``text``: the object and why it cannot be read."""
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        what=f"{text}.",
        next_step="Remove from it what others added, or delete it: the operator makes it again.",
    )


def internal_error(error: BaseException) -> Problem:
    """A defect of the operator, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return Problem(
        reason=FailureClass.INTERNAL_ERROR,
        what="The operator failed to decide on this resource.",
        next_step="Revert the last change of spec; report the error with the operator's log.",
        quotation=f"{type(error).__name__}: {error}{place}",
    )


def undecided_status(found: StoredResource, problem: Problem, now: datetime) -> LLMDeploymentStatus:
    """The former status with what is still known: which pods serve, and the problem."""
    former, metadata = stored_status(found.raw), found.raw["metadata"]
    servers = views(found.pods, names.ROLE_SERVER)
    service = named(found.services, names.service_name(metadata["name"])) or {}
    selected = ((service.get("spec") or {}).get("selector") or {}).get(names.REVISION_LABEL, "")
    reached = sum(bool(service) and pod.ready and selected in ("", pod.revision) for pod in servers)
    if reached:
        complete = reached >= found.desired_replicas
        reason = Reason.SERVING if complete else Reason.PARTLY_SERVING
        ready = ConditionValue("True", reason, serving_message(reached, found.desired_replicas or reached))
    else:
        ready = ConditionValue.of("False", problem)
    values = {
        ConditionType.READY: ready,
        ConditionType.RECONCILING: ConditionValue(
            "False", Reason.FAILED, "User action is required.", "See Stalled."
        ),
        ConditionType.STALLED: ConditionValue.of("True", problem),
    }
    generation = int(metadata.get("generation") or 0)
    conditions = former.conditions
    for kind, value in values.items():
        conditions = set_condition(conditions, condition_of(kind, value, generation, now))
    return former.model_copy(
        update={
            "observed_generation": generation,
            "replicas": len(live_pods(servers)),
            "ready_replicas": sum(pod.ready for pod in servers),
            "conditions": conditions,
        }
    )
