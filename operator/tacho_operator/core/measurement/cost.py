"""Cost of a million output tokens, and GPU time for chargeback.

The cost is the price of an hour of the GPUs, divided by one replica's output tokens in an hour. GPU time says
which pods hold GPUs, for what use, and how many GPU seconds an interval has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tacho_engines.hardware.gpus import is_shared, matches, normalise
from tacho_operator.api.base import decimal
from tacho_operator.api.defaults import CURRENCY, gpu_resource
from tacho_operator.api.spec.service import CostSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.measurement.rounding import rounded
from tacho_operator.core.planner.devices import sliced
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.pods.view import FINISHED, PodView, views
from tacho_operator.core.revisions.controller_revision import Revision, newest_of, read_all
from tacho_operator.core.revisions.identity import desired_revision_name
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


RENAMED = ".shared"
"""End of the name of a resource that NVIDIA's device plugin renames as its GPUs are shared
(``renameByDefault``). No label of the node then says that they are, as ``-SHARED`` would.
"""


def priced_product(product: str, resource: str) -> str:
    """``product`` as prices name it: a share of a GPU is a product of its own. ``resource``: its name."""
    return f"{product}-SHARED" if resource.endswith(RENAMED) and not is_shared(product) else product


def product_of(revision: Revision) -> str:
    """The product of a revision's GPUs, as prices name it."""
    containers = revision.pod_template["spec"]["containers"]
    limits = [name for item in containers for name in (item.get("resources") or {}).get("limits") or {}]
    renamed = next((name for name in limits if name.endswith(RENAMED)), "")
    return priced_product(revision.plan.gpu_product, renamed)


def own_cost(spec: LLMDeploymentSpec, product: str, planned: str | None) -> CostSpec | None:
    """``spec.cost``, if it is the price of ``product``; None where it is that of the GPUs that spec asks for
    instead, as during a rollout from one product to another.

    Products are as prices name them. ``planned``: that of spec's own revision; None: it has no plan yet, and
    ``gpu.products`` decides.
    """
    if planned is not None:
        return spec.cost if normalise(planned) == normalise(product) else None
    requested, resource = spec.gpu.products if spec.gpu else [], gpu_resource(spec)
    known = (priced_product(sliced(name, resource), resource) for name in requested)
    return spec.cost if not requested or any(matches(name, product) for name in known) else None


def revision_price(
    spec: LLMDeploymentSpec, revision: Revision | None, plan: ModelPlan | None, config: Config
) -> Price | None:
    """Price of a GPU of ``revision`` for one hour. ``plan``: that of the present spec; None: it has none."""
    if revision is None:
        return None
    product = product_of(revision)
    planned = priced_product(plan.gpu_product, gpu_resource(spec)) if plan else None
    return price_of(own_cost(spec, product, planned), product, config.gpu_prices, config.currency)


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
    capacity, highest = measurement.capacity, measurement.saturation
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
    """Pods of one resource that hold GPUs of one product, and the number of GPUs per pod."""

    gpus_per_pod: int = 0
    product: str = ""
    price: Price | None = None
    """Price of one GPU for one hour; None: unknown."""
    pods: tuple[tuple[str, Use], ...] = ()
    """Uid and use of each pod on a node. A pod that is ready has the use serving, whatever its load."""


def holdings_of(observed: Observed, config: Config) -> tuple[GpuHolding, ...]:
    """The pods of a resource that hold GPUs, each as many as its own revision plans.

    The operator's configured price overrides spec.cost, so that a tenant cannot set its own. Pods of a
    revision that cannot be read are left out: what they hold is unknown.
    """
    resource, revisions = observed.resource, read_all(observed.revisions)
    desired = newest_of(revisions, desired_revision_name(resource))
    pods = (*views(observed.pods, names.ROLE_SERVER), *views(observed.pods, names.ROLE_PROBE))
    held: dict[tuple[str, int], list[tuple[str, Use]]] = {}
    for pod in pods:
        revision = revisions.get(pod.revision)
        if revision and revision.plan.gpu_count and pod.node and pod.phase not in FINISHED:
            place = (product_of(revision), revision.plan.gpu_count)
            held.setdefault(place, []).append((pod.uid, _use(pod, observed)))

    def price(product: str) -> Price | None:
        own = own_cost(resource.spec, product, product_of(desired) if desired else None)
        return price_of(None, product, config.gpu_prices, config.currency) or price_of(own, product, {})

    return tuple(
        GpuHolding(gpus_per_pod=count, product=product, price=price(product), pods=tuple(found))
        for (product, count), found in held.items()
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
