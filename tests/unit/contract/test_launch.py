"""What both sides make of the same size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tacho_contract.launch import startup_budget_seconds
from tacho_contract.measurement import Environment, same_machine
from tacho_contract.units import GIB


@pytest.mark.parametrize(
    ("weights_bytes", "override_seconds", "budget_seconds"),
    [(0, 0, 1800), (0, None, 1800), (1, 0, 1801), (10 * GIB, 0, 1980), (10 * GIB, 60, 60), (10**12, 60, 60)],
)
def test_startup_budget_follows_the_weights_unless_the_user_says(
    weights_bytes: int, override_seconds: int | None, budget_seconds: int
) -> None:
    assert startup_budget_seconds(weights_bytes, override_seconds) == budget_seconds


def test_figures_hold_for_a_machine_that_is_the_same_but_for_what_its_driver_keeps() -> None:
    one = Environment(cpu_model="EPYC", cpu_count=4, gpu_product="L4", gpu_memory_bytes=24 * 2**30)
    assert same_machine(one, replace(one, gpu_memory_bytes=23 * 2**30))
    others: tuple[dict[str, Any], ...] = (
        {"cpu_model": "Xeon"},
        {"cpu_count": 2},
        {"cpu_limit_millis": 500},
        {"gpu_product": "L40S"},
        {"gpu_count": 2},
        {"driver_version": "580"},
    )
    assert not any(same_machine(one, replace(one, **other)) for other in others)
