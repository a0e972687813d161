"""What earlier measurements in a namespace show about memory: actual and predicted bytes, for new plans."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from pydantic import ValidationError

from tacho_engines.hardware.device import CPU
from tacho_operator.api.base import as_stored
from tacho_operator.api.status.measurement import MeasuredEnvironment, MeasurementEntry
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.types import Manifest, PastMeasurement

HIGHEST = 2.0
"""Highest ratio of actual to predicted memory that is believed. Above it another process used the GPU, or the
quantization was not applied.
"""


def excess_share(
    history: tuple[PastMeasurement, ...], *, engine: str, version: str, product: str, fills: bool
) -> float:
    """By which share of the predicted overhead the engine took more memory than predicted: the median of
    measurements.

    Only measurements of this engine version on this product count; 0.0 where there are none, or where it took
    less. Overhead is the total without weights and KV cache. ``fills``: the engine gives the rest of its
    budget to the KV cache, so its log shows the overhead exactly. Other memory of the device (an allocator's
    pages, the CUDA context) is outside the budget.
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


CONDITIONS = "conditions"
SHARED_GPU = "SharedGPU"


def stored_status(manifest: Manifest) -> LLMDeploymentStatus:
    """A resource's status; empty where this version of tacho cannot read it, so that its measurements are not
    used. Without members and items that others wrote in forms that no later status could have: they would
    make each of these invalid.
    """
    found = manifest.get("status") or {}
    try:
        return LLMDeploymentStatus.model_validate(
            _operator_fields(found) if isinstance(found, dict) else found
        )
    except ValidationError:
        return LLMDeploymentStatus()


def _operator_fields(status: dict[str, Any]) -> dict[str, Any]:
    """The members, and items of lists, that are as an operator writes them. Conditions may be others'."""
    items = {
        name: [item for item in member if as_stored(item) == item] if isinstance(member, list) else member
        for name, member in status.items()
        if name != CONDITIONS
    }
    kept = {name: member for name, member in items.items() if as_stored(member) == member}
    return kept | {name: member for name, member in status.items() if name == CONDITIONS}


def history_from(statuses: Iterable[LLMDeploymentStatus]) -> tuple[PastMeasurement, ...]:
    """Predicted and actual memory of each measurement that reports its KV cache.

    Unreported values count as predicted. A product has the name of node labels (with dashes), or is CPU.
    Measurements on a shared GPU are left out: their memory may include another process.
    """
    rows = (_row(measurement) for status in statuses for measurement in status.measurements)
    return tuple(row for row in rows if row is not None)


def _row(measurement: MeasurementEntry) -> PastMeasurement | None:
    memory = measurement.memory
    if memory is None or SHARED_GPU in measurement.flags:
        return None
    totals = memory.predicted_bytes, memory.actual_bytes or memory.predicted_bytes
    caches = memory.predicted_kv_cache_bytes, memory.actual_kv_cache_bytes
    weights = memory.predicted_weights_bytes, memory.actual_weights_bytes or memory.predicted_weights_bytes
    if None in (*totals, *caches, *weights):
        return None
    environment = measurement.environment or MeasuredEnvironment()
    return PastMeasurement(
        engine=measurement.engine or "",
        engine_version=environment.engine_version or "",
        gpu_product=(environment.gpu_product or CPU).replace(" ", "-"),
        predicted_total_bytes=totals[0] or 0,
        actual_total_bytes=totals[1] or 0,
        predicted_known_bytes=(caches[0] or 0) + (weights[0] or 0),
        actual_known_bytes=(caches[1] or 0) + (weights[1] or 0),
    )
