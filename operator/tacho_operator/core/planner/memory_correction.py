"""What earlier measurements teach a new plan: the memory that an engine takes beside weights and cache."""

from __future__ import annotations

from statistics import median

from tacho_operator.core.types import PastMeasurement

HIGHEST = 2.0
"""More than this ratio is a broken measurement (another process on the GPU, a quantization not applied)."""


def excess_share(
    history: tuple[PastMeasurement, ...], *, engine: str, version: str, product: str, fills: bool
) -> float:
    """Share of the predicted overhead that the engine took beyond it: the median of its measurements of this
    version on this product; 0.0 where there are none, or where it took less.

    Overhead is the total without weights and KV cache. ``fills``: the engine gives the rest of its budget to
    the cache, so its log proves what the overhead took of the budget. What the device shows besides (pages
    that an allocator keeps, the context) is no part of the budget.
    """
    ratios = [
        ratio
        for row in history
        if (row.engine, row.engine_version, row.gpu_product) == (engine, version, product)
        and (ratio := _overhead_ratio(row, fills=fills)) is not None
    ]
    return max(0.0, median(ratios) - 1) if ratios else 0.0


def _overhead_ratio(row: PastMeasurement, *, fills: bool) -> float | None:
    predicted = row.predicted_total_bytes - row.predicted_known_bytes
    total = row.predicted_total_bytes if fills else row.actual_total_bytes
    actual = total - row.actual_known_bytes
    return actual / predicted if predicted > 0 and 0 < actual <= HIGHEST * predicted else None
