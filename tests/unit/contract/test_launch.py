"""What both sides make of the same size."""

from __future__ import annotations

import pytest

from tacho_contract.launch import startup_budget_seconds
from tacho_contract.units import GIB


@pytest.mark.parametrize(
    ("weights_bytes", "asked_seconds", "budget_seconds"),
    [(0, 0, 1800), (0, None, 1800), (1, 0, 1801), (10 * GIB, 0, 1980), (10 * GIB, 60, 60), (10**12, 60, 60)],
)
def test_startup_budget_follows_the_weights_unless_the_user_says(
    weights_bytes: int, asked_seconds: int | None, budget_seconds: int
) -> None:
    assert startup_budget_seconds(weights_bytes, asked_seconds) == budget_seconds
