"""A measurement as a pod reports it, turned into one as status shows it. The only place that does so.

A pod is not trusted to keep the whole status from being written: figures that the API could not hold (a
negative count, a word of a kilobyte) make the measurement unusable, and the caller gets None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tacho_contract.measurement import INVALIDATING, Measurement, MemoryActual, Quality
from tacho_contract.report import Report
from tacho_contract.times import parse_time
from tacho_contract.units import clipped
from tacho_operator.api import types as api
from tacho_operator.api.base import EXACT_LIMIT, decimal, seconds
from tacho_operator.core.measurement import figures
from tacho_operator.core.measurement.digits import figure
from tacho_operator.core.measurement.roofline import Efficiency, efficiency
from tacho_operator.core.measurement.states import CLEAN, INCOMPLETE, PARTIAL, PROVISIONAL, STALE, USABLE
from tacho_operator.core.planner.types import Predicted
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.revisions.keys import fingerprint

FULL, CHECK = "Full", "Check"

LEFT_OUT: Mapping[str, str] = {
    "Environment.gpu_memory_bytes": "The plan's figure is shown.",
    "Measurement.request": "It decides whether a measurement replaces another of the same fingerprint.",
}
"""Fields of the contract that status does not show, and why."""

LONGEST_SECONDS = 1e6
_FLAGS_SHOWN = 16
_DEVICES_SHOWN = 16
_FALLBACKS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PodReport:
    """What one pod reports, with what only its manifest shows."""

    report: Report
    image_id: str
    """The engine image by digest, as the node's runtime resolved it."""
    pod: str = ""
    """Its name."""
    terminating: bool = False
    asked: bool = False
    """It was measured on purpose, though there may be figures: what is newer is what was asked for."""

    def fingerprint(self, measure_key: str) -> str:
        """Under which a measurement of this pod with that workload is filed."""
        report = self.report
        return fingerprint(report.plan_key, measure_key, self.image_id, report.environment)


def status_measurement(found: PodReport, revision: Revision | None) -> api.Measurement | None:
    """The measurement in the report, Stale until it is compared with what spec asks for; None where there
    is none, or none that can be used. ``revision``: the one that the pod says it runs, where it is known.

    A check is none: it holds a pod against an earlier full measurement.
    """
    measurement = found.report.measurement
    if measurement is None or measurement.kind != FULL or not usable(measurement):
        return None
    try:
        return _mapped(found, measurement, revision)
    except ValueError:  # pydantic's ValidationError is one: the API could not hold it
        return None


def usable(measurement: Measurement) -> bool:
    """Whether it has figures that the API can hold."""
    return measurement.state in USABLE and _plausible(measurement)


def _plausible(measurement: Measurement) -> bool:
    """Whether it has a time and a length, a throughput that is a number where it has one, and integers that
    JSON keeps exact everywhere."""
    timed = parse_time(measurement.observed_time) is not None
    capacity = measurement.capacity
    counted = capacity is None or decimal(capacity.output_tokens_per_second) is not None
    in_time = 0 <= measurement.probe_seconds < LONGEST_SECONDS
    return timed and counted and in_time and _exact(measurement)


def confidence_of(flags: Iterable[str]) -> str:
    """Whether something other than the engine moved the figures."""
    return CLEAN if INVALIDATING.isdisjoint(flags) else PROVISIONAL


def _exact(value: object) -> bool:
    if dataclasses.is_dataclass(value):
        return all(_exact(getattr(value, item.name)) for item in dataclasses.fields(value))
    if isinstance(value, tuple):
        return all(map(_exact, value))
    return not isinstance(value, int) or 0 <= value < EXACT_LIMIT


def _mapped(found: PodReport, measurement: Measurement, revision: Revision | None) -> api.Measurement:
    report = found.report
    near = efficiency(measurement, revision)
    flags = {*measurement.flags, *near.flags(), *([INCOMPLETE] if measurement.state == PARTIAL else [])}
    return api.Measurement(
        fingerprint=fingerprint(
            measurement.plan_key, measurement.measure_key, found.image_id, report.environment
        ),
        revision=report.revision,
        observed_time=measurement.observed_time,
        state=STALE,
        confidence=confidence_of(flags),
        message=clipped(measurement.message, 1024),
        plan_key=measurement.plan_key,
        measure_key=measurement.measure_key,
        probe_seconds=seconds(measurement.probe_seconds),
        engine=report.engine,
        quantization_method=revision.plan.quantization_method if revision else None,
        environment=_environment(found),
        workload=api.MeasuredWorkload(
            input_tokens=measurement.workload.input_tokens,
            output_tokens=measurement.workload.output_tokens,
            output_spread_percent=decimal(measurement.output_spread_percent),
        ),
        single_stream=figures.single_stream(measurement.single_stream),
        capacity=figures.capacity(measurement.capacity),
        latency=figures.latency(measurement),
        goodput=figures.goodput(measurement),
        saturation=figures.saturation(measurement),
        curve=figures.curve(measurement),
        fit=figures.fit(measurement.fit),
        kv_cache=_kv_cache(measurement),
        roofline=_roofline(near),
        quality=_quality(measurement.quality),
        memory=_memory(measurement.memory, revision),
        cold_first_request_milliseconds=figure(measurement.cold_first_request_milliseconds),
        fallbacks=[clipped(item, 256) for item in report.fallbacks[:_FALLBACKS_SHOWN]],
        flags=sorted(flags)[:_FLAGS_SHOWN],
    )


def _environment(found: PodReport) -> api.Environment:
    shown = found.report.environment
    return api.Environment(
        image_id=found.image_id[:512],
        engine_version=found.report.engine_version[:64],
        gpu_product=shown.gpu_product[:256],
        gpu_count=shown.gpu_count or None,
        driver_version=shown.driver_version[:64],
        cpu_model=shown.cpu_model[:256],
        cpu_count=shown.cpu_count or None,
        cpu_limit_millis=shown.cpu_limit_millis or None,
    )


def _kv_cache(measurement: Measurement) -> api.KvCache:
    used = measurement.kv_use
    return api.KvCache(
        capacity_tokens=measurement.memory.kv_cache_tokens,
        max_usage_percent=figure(used.max_usage_percent),
        preemptions=used.preemptions,
    )


def _roofline(found: Efficiency) -> api.Roofline | None:
    if found == Efficiency():
        return None
    return api.Roofline(
        decode_efficiency_percent=None if found.decode is None else figure(100 * found.decode),
        prefill_mfu_percent=None if found.prefill is None else figure(100 * found.prefill),
    )


def _quality(found: Quality | None) -> api.Quality | None:
    if found is None:
        return None
    return api.Quality(
        text=clipped(found.text, 256),
        tokens=found.tokens,
        negative_log_likelihood=decimal(found.negative_log_likelihood),
        perplexity=decimal(found.perplexity),
        message=clipped(found.message, 1024),
    )


def _memory(actual: MemoryActual, revision: Revision | None) -> api.MeasuredMemory:
    """On the CPU, the host's figures are the ones a prediction is compared with; on a GPU they never stand in
    for its own."""
    predicted = revision.plan.predicted if revision else Predicted()
    on_host = revision is not None and revision.plan.gpu_count == 0
    used = actual.host_used_bytes if on_host else actual.gpu_used_bytes
    peak = actual.host_peak_bytes if on_host else actual.gpu_peak_bytes
    source = "Host" if on_host else actual.gpu_source
    return api.MeasuredMemory(
        predicted_bytes=predicted.total_bytes,
        actual_bytes=used,
        peak_bytes=peak,
        source=source[:64] if used is not None else None,
        predicted_weights_bytes=predicted.weights_bytes,
        actual_weights_bytes=actual.weights_bytes,
        predicted_kv_cache_bytes=predicted.kv_cache_bytes,
        actual_kv_cache_bytes=actual.kv_cache_bytes,
        predicted_kv_cache_tokens=predicted.kv_cache_tokens,
        actual_kv_cache_tokens=actual.kv_cache_tokens,
        predicted_graph_bytes=predicted.graph_bytes or None,
        actual_graph_bytes=actual.graph_bytes,
        host_actual_bytes=actual.host_used_bytes,
        host_peak_bytes=actual.host_peak_bytes,
        devices=[
            api.DeviceMemory(index=item.index, actual_bytes=item.used_bytes, peak_bytes=item.peak_bytes)
            for item in actual.gpu_devices[:_DEVICES_SHOWN]
        ],
    )
