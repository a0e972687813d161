"""Cost of a million output tokens, and GPU time for chargeback.

The cost is the price of an hour of the GPUs, divided by one replica's output tokens in an hour. GPU time says
which pods hold GPUs, for what use, and how many GPU seconds an interval has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tacho_engines.hardware.gpus import normalise
from tacho_operator.api.base import decimal
from tacho_operator.api.defaults import CURRENCY
from tacho_operator.api.spec.service import CostSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core import names
from tacho_operator.core.measurement.rounding import rounded
from tacho_operator.core.measurement.traffic import carried
from tacho_operator.core.pods.view import FINISHED, PodView, views
from tacho_operator.core.types import Config, Observed

SLO, SATURATION = "SLO", "Saturation"
"""The throughput that a cost is based on: the highest within the SLO, or the highest sustained one."""
NEVER_MET = "NeverMet"
TOKENS, HOUR_SECONDS = 1e6, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Price of one GPU for one hour."""

    per_gpu_hour: float
    currency: str = CURRENCY


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of output and prompt tokens on one replica at its measured throughput."""

    per_million_output_tokens: str
    """Cost in ``currency`` as a Decimal, with as many digits as the throughput is known to."""
    currency: str
    basis: str
    """The load that the cost applies to: SLO or Saturation."""


def price_of(
    spec: CostSpec | None, product: str, prices: Mapping[str, str], currency: str = CURRENCY
) -> Price | None:
    """Price in the spec, else the operator's configured price for GPUs of ``product``; None where neither is
    set.

    A MIG slice or a shared GPU is a product of its own, with its own price.
    """
    if spec is not None:
        return _price(spec.price_per_gpu_hour, spec.currency or CURRENCY)
    searched = normalise(product)
    found = next((price for name, price in prices.items() if normalise(name) == searched), None)
    return _price(found, currency) if product and found is not None else None


def _price(text: str, currency: str) -> Price | None:
    price = float(text)
    return Price(per_gpu_hour=price, currency=currency) if price > 0 else None


def cost_of(measurement: MeasurementEntry, gpu_count: int, price: Price | None) -> Cost | None:
    """The cost of output tokens; None without a price, without a GPU, or without a throughput."""
    if price is None or gpu_count <= 0:
        return None
    tokens_per_second, ci_percent, basis = _throughput(measurement)
    if not tokens_per_second:
        return None
    hourly = price.per_gpu_hour * gpu_count
    shown = decimal(rounded(hourly / HOUR_SECONDS / tokens_per_second * TOKENS, ci_percent or None))
    if shown is None or shown == decimal(0.0):
        return None  # less than a Decimal can hold; zero would say that it costs nothing
    return Cost(per_million_output_tokens=shown, currency=price.currency, basis=basis)


def _throughput(measurement: MeasurementEntry) -> tuple[float | None, float | None, str]:
    """(tokens per second, half the 95 % interval in percent, SLO or Saturation)"""
    capacity, highest = carried(measurement), measurement.saturation
    if capacity and capacity.basis == SLO and capacity.boundary != NEVER_MET:
        return capacity.output_tokens_per_second, capacity.ci_percent, SLO
    if highest:
        levels = (item for item in measurement.curve if item.concurrency == highest.concurrency)
        level = next(levels, None)
        return highest.output_tokens_per_second, level.ci_percent if level else None, SATURATION
    if capacity and capacity.basis != SLO:
        return capacity.output_tokens_per_second, capacity.ci_percent, SATURATION
    return None, None, SATURATION


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
    sum is wrong. The operator's configured price overrides spec.cost, so that a tenant cannot set its own.
    """
    gpu = status.plan.gpu if status.plan else None
    if gpu is None or not gpu.count:
        return GpuHolding()
    product = gpu.product or ""
    pods = (*views(observed.pods, names.ROLE_SERVER), *views(observed.pods, names.ROLE_PROBE))
    return GpuHolding(
        gpus_per_pod=gpu.count,
        product=product,
        price=price_of(None, product, config.gpu_prices, config.currency)
        or price_of(observed.resource.spec.cost, product, {}),
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
