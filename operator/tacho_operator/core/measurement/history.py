"""Earlier measurements of a namespace, read off the status of its resources."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_operator.core.types import History, Manifest

CPU = "CPU"


def history_from(resources: Iterable[Manifest]) -> tuple[History, ...]:
    """Predicted against actual memory, one row a measurement that has both of either figure.

    A product is named as node labels name it: with dashes, and CPU where there is no GPU.
    """
    rows = []
    for resource in resources:
        for item in (resource.get("status") or {}).get("measurements") or ():
            memory, environment = item.get("memory") or {}, item.get("environment") or {}
            row = History(
                engine=item.get("engine", ""),
                engine_version=environment.get("engineVersion", ""),
                quantization_method=item.get("quantizationMethod", ""),
                gpu_product=(environment.get("gpuProduct") or CPU).replace(" ", "-"),
                predicted_bytes=memory.get("predictedBytes"),
                actual_bytes=memory.get("actualBytes"),
                predicted_kv_cache_tokens=memory.get("predictedKVCacheTokens"),
                actual_kv_cache_tokens=memory.get("actualKVCacheTokens"),
            )
            if _both(row.predicted_bytes, row.actual_bytes) or _both(
                row.predicted_kv_cache_tokens, row.actual_kv_cache_tokens
            ):
                rows.append(row)
    return tuple(rows)


def _both(predicted: int | None, actual: int | None) -> bool:
    return predicted is not None and actual is not None
