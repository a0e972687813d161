"""Capacity of one replica for the scaler: from a clean measurement, else from its KV cache and concurrency
limit."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity, Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.plan import Plan
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_operator.core.measurement.cost import NEVER_MET
from tacho_operator.core.measurement.states import clean, current

UNATTAINABLE = "an idle replica misses the SLO, which no number of replicas meets"


def capacity_of(
    measurements: Iterable[MeasurementEntry],
    plan: Plan | None,
    workload: Workload,
    slo: ServiceLevel | None = None,
) -> ReplicaCapacity:
    """What one replica of the present plan sustains. ``workload``: request lengths to assume without a
    measurement."""
    found = current(measurements)
    why = _doubt(found)
    if found is None or why:
        return _by_memory(found, plan, workload, why)
    measured, shape, alone = found.capacity, found.workload, found.single_stream
    rate = measured.requests_per_second if measured else None
    speed = measured.output_tokens_per_second if measured else None
    out = (shape.output_tokens if shape else None) or workload.output_tokens
    interval = measured.ci_percent if measured else None
    trust = max(tuning.MIN_CORRECTION, 1 - (tuning.DOUBT if interval is None else interval / 100))
    if measured is not None and _missed(found, measured, slo):
        trust *= 1 - tuning.DOUBT
    streams = measured.concurrency if measured else None
    alpha = found.fit.alpha_milliseconds if found.fit else None
    beta = found.fit.beta_microseconds if found.fit else None
    law = None
    if streams and alpha is not None and beta is not None and beta > 0:
        gap = alpha / 1000 + beta / 1e6 * streams
        law = (gap, beta / 1e6) if gap > 0 else None
    return ReplicaCapacity(
        fingerprint=found.fingerprint,
        requests_per_second=rate or (speed / out if speed else None),
        prefill_tokens_per_second=alone.prefill_tokens_per_second if alone else None,
        output_tokens_per_second=speed,
        concurrency=streams,
        gap_seconds=law[0] if law else None,
        gap_seconds_per_request=law[1] if law else None,
        most_running=_most_running(found, measured, gap_seconds=law[0]) if law and measured else None,
        gap_r2=(found.fit.r2 if law and found.fit else None) or 0.0,
        kv_cache_tokens=_kv_cache_tokens(found, plan),
        input_tokens=(shape.input_tokens if shape else None) or workload.input_tokens,
        output_tokens=out,
        trust=trust,
    )


def _most_running(found: MeasurementEntry, measured: Capacity, *, gap_seconds: float) -> float | None:
    """The most requests that got tokens at the same time at a level, as a multiple of those at the capacity,
    whose time between tokens is ``gap_seconds``. By Little's law, so that none that waits counts."""
    running = [
        min(point.concurrency, point.output_tokens_per_second * point.tpot_milliseconds_p50 / 1000)
        for point in found.curve
        if point.steady and point.output_tokens_per_second and point.tpot_milliseconds_p50
    ]
    at_capacity = (measured.output_tokens_per_second or 0.0) * gap_seconds
    return max(running) / at_capacity if running and at_capacity else None


def _missed(found: MeasurementEntry, measured: Capacity, slo: ServiceLevel | None) -> bool:
    """Whether random arrivals missed the SLO. If too few to decide, the share of them that met it does."""
    arrived = found.latency is not None and found.latency.offered_requests_per_second is not None
    share = found.goodput.compliance_percent if found.goodput and arrived else None
    if measured.verified is not None or slo is None or share is None:
        return measured.verified is False
    return share < slo.percentile


def _doubt(found: MeasurementEntry | None) -> str:
    """Why a measurement is not used, as a clause; "": it is."""
    if found is None:
        return "there is no current measurement of the capacity"
    if not clean(found):
        return f"the measurement is provisional ({', '.join(found.flags)})"
    if found.capacity is None or not found.capacity.output_tokens_per_second:
        return "the measurement has no throughput"
    if found.capacity.boundary == NEVER_MET:
        return UNATTAINABLE
    return ""


def _by_memory(
    found: MeasurementEntry | None, plan: Plan | None, workload: Workload, why: str
) -> ReplicaCapacity:
    """The capacity without a usable measurement: the concurrent requests that the engine's limit and its KV
    cache allow. ``why``: the reason for it.
    """
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
        unattainable=why == UNATTAINABLE,
    )


def _kv_cache_tokens(found: MeasurementEntry | None, plan: Plan | None) -> int | None:
    seen = found.kv_cache.capacity_tokens if found and found.kv_cache else None
    if seen or plan is None or plan.predicted is None:
        return seen
    return plan.predicted.kv_cache_workload_tokens or plan.predicted.kv_cache_tokens
