"""What one replica is taken to carry: its measurement where that is clean, else what its memory admits."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract.measurement import Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.plan import Plan
from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_operator.core.measurement.states import clean, current

UNKNOWN_INTERVAL = 0.10
"""Half interval assumed for a measurement without one, as a share of its throughput."""
OPEN_LOOP_STEP = 0.85
"""What is left of a rate that requests with arrivals of their own did not keep."""
NEVER_MET = "NeverMet"


def capacity_of(
    measurements: Iterable[MeasurementEntry], plan: Plan | None, workload: Workload
) -> ReplicaCapacity:
    """Of the service as it is. ``workload``: of a typical request, where nothing was measured."""
    found = current(measurements)
    why = _doubt(found)
    if found is None or why:
        return _by_memory(found, plan, workload, why)
    measured, shape, alone = found.capacity, found.workload, found.single_stream
    rate = measured.requests_per_second if measured else None
    speed = measured.output_tokens_per_second if measured else None
    out = (shape.output_tokens if shape else None) or workload.output_tokens
    interval = measured.ci_percent if measured else None
    trust = 1 - (UNKNOWN_INTERVAL if interval is None else min(interval / 100, 0.5))
    if measured is not None and measured.verified is False:
        trust *= OPEN_LOOP_STEP
    return ReplicaCapacity(
        fingerprint=found.fingerprint,
        requests_per_second=rate or (speed / out if speed else None),
        prefill_tokens_per_second=alone.prefill_tokens_per_second if alone else None,
        output_tokens_per_second=speed,
        concurrency=measured.concurrency if measured else None,
        tpot_half_seconds=_tpot_half_seconds(found, speed),
        kv_cache_tokens=_kv_cache_tokens(found, plan),
        input_tokens=(shape.input_tokens if shape else None) or workload.input_tokens,
        output_tokens=out,
        trust=trust,
    )


def _doubt(found: MeasurementEntry | None) -> str:
    """Why a measurement is not scaled by, as a clause; "": it is."""
    if found is None:
        return "there is no current measurement of the capacity"
    if not clean(found):
        return f"the measurement is provisional ({', '.join(found.flags)})"
    if found.capacity is None or not found.capacity.output_tokens_per_second:
        return "the measurement has no throughput"
    if found.capacity.boundary == NEVER_MET:
        return "a single request already misses the SLO"
    return ""


def _by_memory(
    found: MeasurementEntry | None, plan: Plan | None, workload: Workload, why: str
) -> ReplicaCapacity:
    """As many requests at once as the engine was told to take and its KV cache holds."""
    tokens = _kv_cache_tokens(found, plan)
    size = workload.input_tokens + workload.output_tokens
    limits = [
        limit for limit in ((plan.concurrency if plan else None), tokens / size if tokens else None) if limit
    ]
    return ReplicaCapacity(
        concurrency=max(1.0, float(min(limits))) if limits else None,
        kv_cache_tokens=tokens,
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        unverified=why,
    )


def _tpot_half_seconds(found: MeasurementEntry, speed: float | None) -> float | None:
    """At the most streams that bring no more than half of ``speed`` (tokens a second), or at one."""
    levels = [
        (point.concurrency, tpot)
        for point in found.curve
        if (tpot := point.tpot_milliseconds_p50) is not None
        and point.steady
        and 0 < (point.output_tokens_per_second or 0.0) <= (speed or 0.0) / 2
    ]
    alone = found.single_stream.tpot_milliseconds_p50 if found.single_stream else None
    tpot = max(levels)[1] if levels else alone
    return tpot / 1000 if tpot else None


def _kv_cache_tokens(found: MeasurementEntry | None, plan: Plan | None) -> int | None:
    seen = found.kv_cache.capacity_tokens if found and found.kv_cache else None
    predicted = plan.predicted.kv_cache_tokens if plan and plan.predicted else None
    return seen or predicted
