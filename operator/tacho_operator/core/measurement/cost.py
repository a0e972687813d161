"""What a million output tokens cost: a price an hour, and the tokens that one replica makes in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_engines.hardware.gpus import normalise
from tacho_operator.api.base import decimal
from tacho_operator.api.defaults import CURRENCY
from tacho_operator.api.types import CostSpec, Measurement
from tacho_operator.core.measurement.digits import figure

SLO, SATURATION = "SLO", "Saturation"
"""Of which throughput: the highest that keeps the SLO, or the highest that is steady."""
NEVER_MET = "NeverMet"
TOKENS, HOUR_SECONDS = 1e6, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one GPU for one hour."""

    per_gpu_hour: float
    currency: str = CURRENCY


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one replica's tokens while it is loaded as its throughput was measured."""

    per_million_output_tokens: str
    """A Decimal, in ``currency``, with the digits of the throughput."""
    currency: str
    basis: str
    """SLO | Saturation."""


def price_of(
    asked: CostSpec | None, product: str, prices: Mapping[str, str], currency: str = CURRENCY
) -> Price | None:
    """What spec says, else what the installation says of GPUs of that ``product``; None where neither does.

    A slice or a shared GPU is another product than the whole one, and has a price of its own.
    """
    if asked is not None:
        return _price(asked.price_per_gpu_hour, asked.currency or CURRENCY)
    wanted = normalise(product)
    found = next((price for name, price in prices.items() if normalise(name) == wanted), None)
    return _price(found, currency) if product and found is not None else None


def _price(text: str, currency: str) -> Price | None:
    price = float(text)
    return Price(per_gpu_hour=price, currency=currency) if price > 0 else None


def cost_of(measurement: Measurement, gpu_count: int, price: Price | None) -> Cost | None:
    """None without a price, without a GPU, or without a throughput."""
    if price is None or gpu_count <= 0:
        return None
    text, ci_percent, basis = _throughput(measurement)
    if text is None or not float(text):
        return None
    hourly = price.per_gpu_hour * gpu_count
    shown = figure(hourly / HOUR_SECONDS / float(text) * TOKENS, float(ci_percent) if ci_percent else None)
    if shown is None or shown == decimal(0.0):
        return None  # less than a Decimal can hold; zero would say that it costs nothing
    return Cost(per_million_output_tokens=shown, currency=price.currency, basis=basis)


def _throughput(measurement: Measurement) -> tuple[str | None, str | None, str]:
    """(tokens per second, half its interval in percent, what it is of)"""
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
