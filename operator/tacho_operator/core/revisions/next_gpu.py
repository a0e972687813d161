"""Whether a revision whose kind of GPU is not free gives way to one of the next kind.

Without ``gpu.products``, or with several, the planner chose the kind and pods select it, so the scheduler
cannot take another. The plan is then made again for the next kind that fits, each kind once. The
revisions are the record of it.
"""

from __future__ import annotations

from datetime import datetime

from tacho_operator.api.conditions import Reason
from tacho_operator.api.defaults import gpu_resource
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.pods.deadlines import time_left
from tacho_operator.core.pods.scheduling import lacks_gpu_since
from tacho_operator.core.pods.view import views
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.rollout.reading import read_serving
from tacho_operator.core.types import Observed

SCHEDULE_TIMEOUT_SECONDS = 120


def needs_another_gpu(observed: Observed, revision: Revision, now: datetime) -> bool:
    """Whether a pod of ``revision`` has waited too long for a GPU of the planned kind, and it may move."""
    since = _waits_since(observed, revision)
    return since is not None and time_left(since, gpu_timeout_seconds(observed.resource.spec), now) is None


def next_gpu_seconds(observed: Observed, revision: Revision | None, now: datetime) -> float | None:
    """Seconds until the next kind of GPU is planned; None: none will be."""
    since = _waits_since(observed, revision) if revision else None
    return None if since is None else time_left(since, gpu_timeout_seconds(observed.resource.spec), now)


def gpu_timeout_seconds(spec: LLMDeploymentSpec) -> int:
    """Seconds that a pod waits for a GPU of its kind before the next kind is planned."""
    gpu = spec.gpu
    return (gpu.schedule_timeout_seconds if gpu else None) or SCHEDULE_TIMEOUT_SECONDS


def _waits_since(observed: Observed, revision: Revision) -> datetime | None:
    """Since when a pod of ``revision`` lacks a GPU of its kind; None: none does, the user chose the kind, all
    kinds were tried, or it has served.
    """
    spec, plan = observed.resource.spec, revision.plan
    chosen_by_user = spec.gpu is not None and len(spec.gpu.products) == 1
    if chosen_by_user or not (plan.gpu_count and plan.gpu_kind) or plan.gpu_kind in plan.tried_gpus:
        return None
    pods = [pod for pod in views(observed.pods, names.ROLE_SERVER) if pod.revision == revision.name]
    if any(pod.ready for pod in pods) or _has_served(observed, revision.name):
        return None
    waits = [lacks_gpu_since(pod, gpu_resource(spec)) for pod in pods]
    return min((since for since in waits if since is not None), default=None)


def _has_served(observed: Observed, name: str) -> bool:
    serving = read_serving(observed)
    accepted = {item.name for item in observed.resource.status.revisions if item.outcome == Reason.ACCEPTED}
    return name in (serving.active, serving.admitted) or name in accepted
