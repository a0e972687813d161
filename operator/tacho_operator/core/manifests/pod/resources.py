"""What each container asks of the scheduler."""

from __future__ import annotations

from tacho_contract.units import MIB
from tacho_operator.api.defaults import gpu_resource
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import Manifest

HELPER = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}}
"""Of the container that copies the runtime."""
FETCH = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}
"""The request holds for the pod's life, so it is what the idle sidecar needs, not what a download needs."""
INSPECT = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}

RUNTIME_BYTES = 256 * MIB
"""Set aside for the runtime and its probe beside the engine."""
START_FACTOR = 1.2
"""Of what a start is predicted to take: its peak was measured on one small model (docs/planner.md)."""


def _mebibytes(size_bytes: float) -> str:
    return f"{-(-int(size_bytes) // MIB)}Mi"


def _computed(plan: ModelPlan) -> tuple[dict[str, str], dict[str, str]]:
    """(requests, limits) from the plan, where the user gave none.

    A CPU engine holds the model in the container's memory; a GPU engine passes it through. The request is for
    serving; the limit also holds what a start takes and gives back.
    """
    if plan.gpu_count:
        return {"cpu": str(plan.gpu_count), "memory": f"{4 * plan.gpu_count}Gi"}, {}
    if not plan.predicted.total_bytes:
        return {"cpu": "250m", "memory": _mebibytes(RUNTIME_BYTES)}, {}
    needed = plan.predicted.total_bytes + RUNTIME_BYTES
    most = max(1.5 * needed, START_FACTOR * (plan.predicted.start_bytes or 0) + RUNTIME_BYTES)
    return {"cpu": "250m", "memory": _mebibytes(needed)}, {"memory": _mebibytes(most + 2 * RUNTIME_BYTES)}


def engine_resources(resource: LLMDeployment, plan: ModelPlan) -> Manifest:
    """The engine container's resources: the user's figures first, then the plan's, then the GPUs."""
    engine = resource.spec.engine
    asked = engine.resources if engine else None
    requests, limits = _computed(plan)
    if asked:
        # A computed request above the user's limit (or the reverse) would be refused by the API server.
        touched = set(asked.requests) | set(asked.limits)
        requests = {key: value for key, value in requests.items() if key not in touched} | dict(
            asked.requests
        )
        limits = {key: value for key, value in limits.items() if key not in touched} | dict(asked.limits)
    if plan.gpu_count:
        name = gpu_resource(resource.spec)
        requests[name] = limits[name] = str(plan.gpu_count)
    found: Manifest = {"requests": requests}
    if limits:
        found["limits"] = limits
    if asked and asked.claims:
        found["claims"] = [claim.model_dump(by_alias=True, exclude_none=True) for claim in asked.claims]
    return found
