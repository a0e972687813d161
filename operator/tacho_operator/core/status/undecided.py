"""The status of a resource that could not be reconciled or is being deleted: Ready follows its pods, the rest
is as it was. Of the former, Stalled has the cause.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import ConditionType, Reason, find_condition, set_condition
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core import names
from tacho_operator.core.autoscaling.status_view import FIGURES
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.pods.view import PodView, deployment_sizes, named, views
from tacho_operator.core.problems import Problem
from tacho_operator.core.rollout.reading import live_pods
from tacho_operator.core.status.condition_value import ConditionValue
from tacho_operator.core.status.conditions import condition_of
from tacho_operator.core.status.reachability import reached, serving_message
from tacho_operator.core.types import Manifest, Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResource:
    """A stored resource with its Service, pods and Deployments, which show whether it serves."""

    raw: Manifest
    pods: tuple[Manifest, ...] = ()
    deployments: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()

    @classmethod
    def of(cls, observed: Observed) -> Self:
        """The part of ``observed`` that shows whether it serves."""
        deployments, services = observed.deployments, observed.services
        return cls(raw=observed.raw, pods=observed.pods, deployments=deployments, services=services)

    @property
    def desired_replicas(self) -> int:
        """The replicas of its largest Deployment; 0 without a Deployment."""
        return max(deployment_sizes(self.deployments).values(), default=0)


def unreadable_spec(text: str) -> Problem:
    """The problem of a spec that this version cannot read; ``text`` names the field and its error."""
    return Problem(
        reason=FailureClass.UNREADABLE_SPEC,
        what=f"This version of the operator cannot read spec: {text}.",
        next_step="Apply a valid spec, or upgrade the operator.",
    )


def internal_error(error: BaseException) -> Problem:
    """The problem of a defect in the operator, with the file and line where the error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return Problem(
        reason=FailureClass.INTERNAL_ERROR,
        what="The operator failed to decide on this resource.",
        next_step="Revert the last change of spec; report the error with the operator's log.",
        quotation=f"{type(error).__name__}: {error}{place}",
    )


def _ready(found: StoredResource, servers: Sequence[PodView], otherwise: ConditionValue) -> ConditionValue:
    """The condition Ready: whether a pod that the Service selects is ready; ``otherwise`` where none is."""
    service = named(found.services, names.service_name(found.raw["metadata"]["name"]))
    serving = reached(service, servers)
    if not serving:
        return otherwise
    complete = serving >= found.desired_replicas
    reason = Reason.SERVING if complete else Reason.PARTLY_SERVING
    return ConditionValue("True", reason, serving_message(serving, found.desired_replicas or serving))


def undecided_status(found: StoredResource, problem: Problem, now: datetime) -> LLMDeploymentStatus:
    """The stored status with ``problem`` in Stalled, and with Ready and replica counts by the present
    pods."""
    former, metadata = stored_status(found.raw), found.raw["metadata"]
    servers = views(found.pods, names.ROLE_SERVER)
    values = {
        ConditionType.READY: _ready(found, servers, ConditionValue.of("False", problem)),
        ConditionType.RECONCILING: ConditionValue(
            "False", Reason.FAILED, "User action is required.", "See Stalled."
        ),
        ConditionType.STALLED: ConditionValue.of("True", problem),
    }
    return _with_conditions(former, values, int(metadata.get("generation") or 0), now, _counts(servers))


def deleting_status(found: StoredResource, now: datetime) -> LLMDeploymentStatus | None:
    """The stored status with Ready and replica counts by the present pods; None where no status was written.

    A finalizer may keep a resource that is being deleted for ever, and its pods may be deleted before.
    Nothing scales it meanwhile.
    """
    former, metadata = stored_status(found.raw), found.raw["metadata"]
    if find_condition(former.conditions, ConditionType.READY) is None or not former.observed_generation:
        return None
    servers = views(found.pods, names.ROLE_SERVER)
    ended = ConditionValue(
        "False",
        Reason.DELETING,
        "It is being deleted, and no pod serves.",
        "If it lasts, see its finalizers.",
    )
    values = {ConditionType.READY: _ready(found, servers, ended)}
    working = find_condition(former.conditions, ConditionType.RECONCILING)
    if working is not None and working.status == "True":
        values[ConditionType.RECONCILING] = ConditionValue("False", Reason.DELETING, "It is being deleted.")
    changed = {**_counts(servers), "autoscaling": None}
    return _with_conditions(former, values, int(metadata.get("generation") or 0), now, changed)


def _counts(servers: Sequence[PodView]) -> dict[str, Any]:
    ready = sum(pod.ready for pod in servers)
    return {"replicas": len(live_pods(servers)), "ready_replicas": ready}


def _with_conditions(
    former: LLMDeploymentStatus,
    values: Mapping[ConditionType, ConditionValue],
    generation: int,
    now: datetime,
    changed: Mapping[str, Any],
) -> LLMDeploymentStatus:
    # Nothing applies what the scaler decides meanwhile, and its figures may be of former pods.
    kept = {str(kind) for kind in ConditionType} - {ConditionType.SCALING_ACTIVE}
    conditions = [condition for condition in former.conditions if condition.type in kept]
    scaling = former.autoscaling and former.autoscaling.model_copy(update=dict.fromkeys(FIGURES))
    for kind, value in values.items():
        conditions = set_condition(conditions, condition_of(kind, value, generation, now))
    known = {"observed_generation": generation, "conditions": conditions}
    update = {"autoscaling": scaling, **changed, **known}
    return former.model_copy(update=update)
