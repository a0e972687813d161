"""Earlier measurements of a namespace, read off the status of its resources."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from tacho_operator.api.types import Environment, LLMDeploymentStatus, MeasuredMemory, Measurement
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
    """Predicted and actual memory of each measurement that has both of at least one value.

    A product is named as node labels name it: with dashes, and CPU without a GPU.
    """
    rows = (_row(measurement) for status in statuses for measurement in status.measurements)
    return tuple(
        row
        for row in rows
        if None not in (row.predicted_bytes, row.actual_bytes)
        or None not in (row.predicted_kv_cache_tokens, row.actual_kv_cache_tokens)
    )


def _outside_cache(total_bytes: int | None, cache_bytes: int | None) -> int | None:
    """Memory in use outside the KV cache; None where either is not known."""
    return None if total_bytes is None or cache_bytes is None else max(0, total_bytes - cache_bytes)


def _tokens(memory: MeasuredMemory) -> int | None:
    """Tokens that the cache would hold in the bytes that were predicted of it. A cache that is smaller only
    because the weights are larger is no lesson about tokens; where its size is not known, all is."""
    actual, predicted = memory.actual_kv_cache_bytes, memory.predicted_kv_cache_bytes
    tokens = memory.actual_kv_cache_tokens
    if tokens is None or not actual or not predicted:
        return tokens
    return round(tokens * predicted / actual)


def _row(measurement: Measurement) -> PastMeasurement:
    memory = measurement.memory or MeasuredMemory()
    if SHARED_GPU in measurement.flags:
        memory = MeasuredMemory()  # it may include the memory of another process
    environment = measurement.environment or Environment()
    return PastMeasurement(
        engine=measurement.engine or "",
        engine_version=environment.engine_version or "",
        quantization_method=measurement.quantization_method or "",
        gpu_product=(environment.gpu_product or CPU).replace(" ", "-"),
        predicted_bytes=_outside_cache(memory.predicted_bytes, memory.predicted_kv_cache_bytes),
        actual_bytes=_outside_cache(memory.actual_bytes, memory.actual_kv_cache_bytes),
        predicted_kv_cache_tokens=memory.predicted_kv_cache_tokens,
        actual_kv_cache_tokens=_tokens(memory),
    )
