"""Earlier measurements of a namespace, read off the status of its resources."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from tacho_operator.api.status.measurement import MeasuredEnvironment, MeasurementEntry
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.types import Manifest, PastMeasurement

CPU = "CPU"
SHARED_GPU = "SharedGPU"


def stored_status(manifest: Manifest) -> LLMDeploymentStatus:
    """A resource's status, empty where this version cannot read it: nothing is learned from it then."""
    try:
        return LLMDeploymentStatus.model_validate(manifest.get("status") or {})
    except ValidationError:
        return LLMDeploymentStatus()


def history_from(statuses: Iterable[LLMDeploymentStatus]) -> tuple[PastMeasurement, ...]:
    """Predicted and actual memory of each measurement that tells the size of the KV cache; what else it does
    not tell is as predicted.

    A product is named as node labels name it: with dashes, and CPU without a GPU. A GPU that was shared
    teaches nothing: its figures may include another process.
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
