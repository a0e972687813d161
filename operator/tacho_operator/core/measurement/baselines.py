"""What later pods of a fingerprint are held against, so that they need not be measured in full."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract.measurement import Baseline, Environment
from tacho_operator.api import types as api
from tacho_operator.core.measurement.records import clean


def baselines(measurements: Iterable[api.Measurement]) -> tuple[Baseline, ...]:
    """Of the clean ones that have a capacity, in a stable order."""
    found = (_baseline(item) for item in measurements if clean(item))
    kept = [item for item in found if item is not None]
    return tuple(sorted(kept, key=lambda item: (item.plan_key, item.measure_key, repr(item.environment))))


def _baseline(item: api.Measurement) -> Baseline | None:
    capacity, shown = item.capacity, item.environment
    if not (capacity and capacity.concurrency and capacity.output_tokens_per_second and shown):
        return None
    single = item.single_stream
    return Baseline(
        plan_key=item.plan_key or "",
        measure_key=item.measure_key or "",
        environment=Environment(
            cpu_model=shown.cpu_model or "",
            cpu_count=shown.cpu_count or 0,
            cpu_limit_millis=shown.cpu_limit_millis or 0,
            gpu_product=shown.gpu_product or "",
            gpu_count=shown.gpu_count or 0,
            driver_version=shown.driver_version or "",
        ),
        observed_time=item.observed_time or "",
        concurrency=capacity.concurrency,
        output_tokens_per_second=float(capacity.output_tokens_per_second),
        ci_percent=_number(capacity.ci_percent),
        decode_tokens_per_second=_number(single.decode_tokens_per_second) if single else None,
        decode_ci_percent=_number(single.decode_ci_percent) if single else None,
    )


def _number(text: str | None) -> float | None:
    return float(text) if text is not None else None
