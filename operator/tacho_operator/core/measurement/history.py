"""Earlier measurements of a namespace, read off the status of its resources."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from tacho_operator.api.types import Environment, LLMDeploymentStatus, MeasuredMemory, Measurement
from tacho_operator.core.types import History, Manifest

CPU = "CPU"


def stored_status(manifest: Manifest) -> LLMDeploymentStatus:
    """A resource's status, empty where this version cannot read it: nothing is learned from it then."""
    try:
        return LLMDeploymentStatus.model_validate(manifest.get("status") or {})
    except ValidationError:
        return LLMDeploymentStatus()


def history_from(statuses: Iterable[LLMDeploymentStatus]) -> tuple[History, ...]:
    """Predicted against actual memory, one row a measurement that has both of either figure.

    A product is named as node labels name it: with dashes, and CPU where there is no GPU.
    """
    rows = (_row(measurement) for status in statuses for measurement in status.measurements)
    return tuple(
        row
        for row in rows
        if None not in (row.predicted_bytes, row.actual_bytes)
        or None not in (row.predicted_kv_cache_tokens, row.actual_kv_cache_tokens)
    )


def _row(measurement: Measurement) -> History:
    memory = measurement.memory or MeasuredMemory()
    environment = measurement.environment or Environment()
    return History(
        engine=measurement.engine or "",
        engine_version=environment.engine_version or "",
        quantization_method=measurement.quantization_method or "",
        gpu_product=(environment.gpu_product or CPU).replace(" ", "-"),
        predicted_bytes=memory.predicted_bytes,
        actual_bytes=memory.actual_bytes,
        predicted_kv_cache_tokens=memory.predicted_kv_cache_tokens,
        actual_kv_cache_tokens=memory.actual_kv_cache_tokens,
    )
