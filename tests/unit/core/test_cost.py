"""What a million tokens cost: of which price, of which throughput, and when nothing is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.measurement import Capacity, Saturation
from tacho_operator.api.spec.service import CostSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.measurement.cost import Cost, Price, cost_of, price_of
from tacho_operator.core.measurement.records import summary_of

TABLE = {"NVIDIA-H200": "3.50", "NVIDIA L4": "0.6", "NVIDIA-H200-MIG-1g.18gb": "0.55"}
PRICE = Price(per_gpu_hour=3.6)
"""A thousandth of a unit a second."""


def measured(**parts: Any) -> MeasurementEntry:
    return MeasurementEntry(fingerprint="f", state="Complete", **parts)


def capacity(speed: float = 500, **rest: Any) -> Capacity:
    return Capacity(concurrency=8, output_tokens_per_second=speed, **rest)


HIGHEST = Saturation(concurrency=64, output_tokens_per_second=2000)


@pytest.mark.parametrize(
    ("asked", "product", "price"),
    [
        (None, "NVIDIA-H200", Price(per_gpu_hour=3.5, currency="EUR")),
        (None, "nvidia-l4", Price(per_gpu_hour=0.6, currency="EUR")),
        (None, "NVIDIA-H200-MIG-1g.18gb", Price(per_gpu_hour=0.55, currency="EUR")),
        (None, "NVIDIA-H200-SHARED", None),
        (None, "NVIDIA-A100-80GB-PCIe", None),
        (None, "", None),
        ({"pricePerGPUHour": "1.20"}, "NVIDIA-H200", Price(per_gpu_hour=1.2, currency="USD")),
        ({"pricePerGPUHour": "1.20", "currency": "CHF"}, "any", Price(per_gpu_hour=1.2, currency="CHF")),
    ],
)
def test_the_price_is_specs_and_else_that_of_the_product(
    asked: dict[str, str] | None, product: str, price: Price | None
) -> None:
    spec = CostSpec.model_validate(asked) if asked else None
    assert price_of(spec, product, TABLE, "EUR") == price


@pytest.mark.parametrize(
    ("found", "cost", "basis"),
    [
        (measured(capacity=capacity(basis="SLO", boundary="Edge"), saturation=HIGHEST), "2", "SLO"),
        (
            measured(capacity=capacity(basis="SLO", boundary="NeverMet"), saturation=HIGHEST),
            "0.5",
            "Saturation",
        ),
        (measured(capacity=capacity(basis="Knee"), saturation=HIGHEST), "0.5", "Saturation"),
        (measured(capacity=capacity(basis="Knee")), "2", "Saturation"),
        (measured(capacity=capacity(basis="SLO", boundary="NeverMet")), None, ""),
        (measured(capacity=capacity(0, basis="SLO")), None, ""),
        (measured(), None, ""),
    ],
)
def test_the_throughput_is_the_slos_and_else_the_highest_steady_one(
    found: MeasurementEntry, cost: str | None, basis: str
) -> None:
    expected = cost and Cost(per_million_output_tokens=cost, currency="USD", basis=basis)
    assert cost_of(found, 1, PRICE) == (expected or None)
    assert cost_of(found, 0, PRICE) is None, "no GPU that has a price"
    assert cost_of(found, 1, None) is None


@given(
    price=st.floats(0.01, 1000),
    gpus=st.integers(1, 16),
    speed=st.floats(1, 100_000),
)
def test_what_an_hour_of_all_gpus_costs_is_paid_by_the_tokens_of_an_hour(
    price: float, gpus: int, speed: float
) -> None:
    found = measured(capacity=capacity(round(speed, 3), basis="SLO", boundary="Floor"))
    cost = cost_of(found, gpus, Price(per_gpu_hour=price))
    paid = price * gpus / (round(speed, 3) * 3600 / 1e6)
    if cost is None:
        assert paid < 0.0005
    else:
        assert float(cost.per_million_output_tokens) == pytest.approx(paid, rel=0.006, abs=0.0006)


def test_the_summary_says_what_the_cost_is_of_and_that_a_provisional_one_is_one() -> None:
    found = measured(capacity=capacity(basis="SLO", boundary="Edge", ci_percent=4), saturation=HIGHEST)
    price = Price(per_gpu_hour=3.6, currency="EUR")
    summary = summary_of([found], gpu_count=2, price=price)
    assert summary is not None
    assert summary.cost_per_million_output_tokens == "4"
    assert (summary.cost_currency, summary.cost_basis, summary.cost_shown) == ("EUR", "SLO", "4 EUR")
    doubtful = found.model_copy(update={"flags": ["Contended"], "confidence": "Provisional"})
    shown = summary_of([doubtful], gpu_count=2, price=price)
    assert shown is not None
    assert (shown.confidence, shown.cost_shown) == ("Provisional", "~4 EUR")
    unpriced = summary_of([found])
    assert unpriced is not None
    assert unpriced.cost_shown is None
