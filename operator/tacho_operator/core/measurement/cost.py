"""Cost of a million output tokens: the price of an hour of the GPUs, divided by one replica's output tokens
in an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_engines.hardware.gpus import normalise
from tacho_operator.api.base import decimal
from tacho_operator.api.defaults import CURRENCY
from tacho_operator.api.spec.service import CostSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.measurement.rounding import rounded
from tacho_operator.core.measurement.traffic import carried

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
