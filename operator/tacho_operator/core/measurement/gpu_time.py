"""GPU time for chargeback: which pods hold GPUs, for what use, and the GPU seconds of one interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core import names
from tacho_operator.core.measurement.cost import HOUR_SECONDS, Price, price_of
from tacho_operator.core.pods.claims import FINISHED
from tacho_operator.core.pods.view import PodView, views
from tacho_operator.core.types import Config, Observed

Use = Literal["serving", "idle", "probing", "unready"]
"""What a pod uses its GPUs for: ``serving`` requests, ``idle`` without requests, ``probing`` (being
measured), ``unready`` (starting or ending).
"""
Spent = Mapping[Use, float]

GAP_SECONDS = 60.0
"""Longest interval in seconds that is charged. After a longer one the process was paused or the clock was
changed, and the use is unknown.
"""


@dataclass(frozen=True, slots=True)
class GpuHolding:
    """The pods of one resource that hold GPUs, and the number of GPUs per pod."""

    gpus_per_pod: int = 0
    product: str = ""
    price: Price | None = None
    """Price of one GPU for one hour; None: unknown."""
    pods: tuple[tuple[str, Use], ...] = ()
    """Uid and use of each pod on a node. A pod that is ready has the use serving, whatever its load."""


def holding_of(observed: Observed, status: LLMDeploymentStatus, config: Config) -> GpuHolding:
    """The pods of a resource that hold GPUs, each as many as the plan in ``status`` says.

    Pods of another revision are counted with the same number. During a rollout that changes the number, the
    sum is wrong.
    """
    gpu = status.plan.gpu if status.plan else None
    if gpu is None or not gpu.count:
        return GpuHolding()
    product = gpu.product or ""
    pods = (*views(observed.pods, names.ROLE_SERVER), *views(observed.pods, names.ROLE_PROBE))
    return GpuHolding(
        gpus_per_pod=gpu.count,
        product=product,
        price=price_of(observed.resource.spec.cost, product, config.gpu_prices, config.currency),
        pods=tuple((pod.uid, _use(pod, observed)) for pod in pods if pod.node and pod.phase not in FINISHED),
    )


def _use(pod: PodView, observed: Observed) -> Use:
    report = observed.reports.get(pod.uid)
    if pod.role == names.ROLE_PROBE or (report is not None and report.phase == "Probing"):
        return "probing"
    return "serving" if pod.ready else "unready"


def counted_seconds(last: float | None, now: float) -> float:
    """Seconds from ``last`` to ``now`` to charge for, at most GAP_SECONDS; 0 at the first reading, or if time
    went backwards."""
    return 0.0 if last is None else min(max(0.0, now - last), GAP_SECONDS)


def gpu_interval(holding: GpuHolding, idle: Mapping[str, bool], seconds: float) -> tuple[Spent, Spent]:
    """(GPU seconds, their cost) of an interval of ``seconds``, by use; no cost without a price.

    ``idle``: by pod uid, whether the pod has no request. A pod whose load is unknown does not count as idle.
    """
    spent: dict[Use, float] = {}
    for uid, use in holding.pods:
        use = "idle" if use == "serving" and idle.get(uid, False) else use
        spent[use] = spent.get(use, 0.0) + holding.gpus_per_pod * seconds
    rate = holding.price.per_gpu_hour / HOUR_SECONDS if holding.price else None
    cost = {} if rate is None else {use: rate * found for use, found in spent.items()}
    return spent, cost
