"""Makes an entry of status.measurements from a pod's report; no other module does.

Pods are not trusted, so the report is validated here. A value that the API cannot hold (a negative count, a
name of 1 kB) makes the measurement unusable. A rate or time that is not a finite number is left out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tacho_contract.measurement import (
    NOT_STEADY,
    WORD,
    CurvePoint,
    Environment,
    Measurement,
    MemoryActual,
    OpenLoop,
    Quality,
)
from tacho_contract.report import Report
from tacho_contract.units import clipped, parse_time
from tacho_operator.api.base import EXACT_LIMIT, decimal, seconds
from tacho_operator.api.status.measurement import (
    MeasuredEnvironment,
    MeasurementEntry,
    Roofline,
)
from tacho_operator.core import names
from tacho_operator.core.measurement.efficiency import (
    Efficiency,
    against_plan,
    efficiency,
)
from tacho_operator.core.measurement.rounding import fields_of, placed, rounded, too_wide
from tacho_operator.core.measurement.states import (
    CHECK,
    FULL,
    INCOMPLETE,
    PARTIAL,
    STALE,
    USABLE,
    confidence_of,
)
from tacho_operator.core.planner.types import Prediction
from tacho_operator.core.revisions.controller_revision import Revision

MAX_PROBE_SECONDS = 1e6
MAX_FLAGS = 16
_MAX_LEVELS = 16
_MAX_DEVICES = 16
_MAX_FALLBACKS = 8
RATES = ("requests_per_second", "output_tokens_per_second", "total_tokens_per_second")
"""Fields to which the confidence interval of a throughput applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodReport:
    """A pod's report, with data that only the pod's manifest shows."""

    report: Report
    image_id: str
    """Engine image by digest, as reported by the node's container runtime."""
    pod: str = ""
    """Name of the pod."""
    terminating: bool = False
    is_probe: bool = False
    """Whether it is of a probe pod."""
    requested: bool = False
    """Whether a user requested this measurement; if so, it replaces an equally good earlier one."""

    restarted: datetime | None = None
    """When the engine's container began its present run; None: it is its first."""

    @property
    def is_of_former_run(self) -> bool:
        """Whether the measurement is of an earlier run of the container, maybe of another image or driver."""
        measured = parse_time(self.report.measurement.observed_time) if self.report.measurement else None
        return measured is not None and self.restarted is not None and measured < self.restarted

    @property
    def is_of_known_machine(self) -> bool:
        """Whether the pod has examined its machine, with which its runtime begins."""
        return self.report.environment != Environment()

    @property
    def unmeasured_since(self) -> datetime | None:
        """Since when the pod is known to have no full measurement of its present run, as it was only checked,
        or the container began again; None: it has one, or none at all yet.
        """
        measured = self.report.measurement
        if measured is not None and measured.kind == CHECK and not self.is_of_former_run:
            return parse_time(measured.observed_time)
        return self.restarted if self.is_of_former_run else None

    def fingerprint(self, measure_key: str) -> str:
        """The fingerprint under which a measurement of this pod with that workload is stored."""
        report = self.report
        return fingerprint(report.plan_key, measure_key, self.image_id, report.environment)


def measurement_entry(found: PodReport, revision: Revision | None) -> MeasurementEntry | None:
    """The measurement in a pod's report as an entry, marked Stale until it is compared with the spec.

    None where the report has no usable measurement, or only a check: a check compares a pod with an earlier
    full measurement. None too where an earlier run of the container measured: it has its entry, or it is not
    known what that run was. ``revision``: the revision that the pod says it runs, where that is known.
    """
    measurement = found.report.measurement
    if measurement is None or measurement.kind != FULL or not usable(measurement) or found.is_of_former_run:
        return None
    try:
        return _entry(found, measurement, revision)
    except ValueError:  # pydantic's ValidationError is one: the API could not hold it
        return None


def usable(measurement: Measurement) -> bool:
    """Whether the measurement is finished and all its values are valid in the API."""
    return measurement.state in USABLE and _plausible(measurement)


def _plausible(measurement: Measurement) -> bool:
    """Whether the measurement has a valid time and duration, a finite throughput if any, and values that
    status gives back.
    """
    timed = parse_time(measurement.observed_time) is not None
    capacity = measurement.capacity
    counted = capacity is None or decimal(capacity.output_tokens_per_second) is not None
    in_time = 0 <= measurement.probe_seconds < MAX_PROBE_SECONDS
    words = all(len(flag) <= WORD["max_length"] for point in measurement.curve for flag in point.flags)
    return timed and counted and in_time and words and _exact(measurement)


def flags_of(measurement: Measurement) -> frozenset[str]:
    """The flags of a reported measurement, and those that the operator adds.

    NotSteady is added where the throughput of the capacity or of the single stream is unknown, so that it is
    measured again.
    """
    capacity, single = measurement.capacity, measurement.single_stream
    capacity_unknown = capacity is not None and too_wide(capacity.ci_percent)
    single_unknown = single is not None and too_wide(single.decode_ci_percent)
    return frozenset([*measurement.flags, *([NOT_STEADY] if capacity_unknown or single_unknown else [])])


def _exact(value: object) -> bool:
    """Whether status gives the value back: integers that JSON holds, and no empty text in place of a default,
    as empty texts are not stored."""
    if dataclasses.is_dataclass(value):
        parts = [(getattr(value, item.name), item.default) for item in dataclasses.fields(value)]
        return all(
            _exact(part) and not (part == "" and isinstance(usual, str) and usual) for part, usual in parts
        )
    if isinstance(value, tuple):
        return all(map(_exact, value))
    return not isinstance(value, int) or 0 <= value < EXACT_LIMIT


def _entry(found: PodReport, measurement: Measurement, revision: Revision | None) -> MeasurementEntry:
    """The validated entry; raises ValueError for values that the API cannot hold."""
    report = found.report
    near = efficiency(measurement, revision)
    flags = {*flags_of(measurement), *near.flags(), *([INCOMPLETE] if measurement.state == PARTIAL else [])}
    return MeasurementEntry.model_validate(
        {
            **_parts(measurement, revision),
            "fingerprint": fingerprint(
                measurement.plan_key, measurement.measure_key, found.image_id, report.environment
            ),
            "revision": report.revision,
            "observed_time": measurement.observed_time,
            "state": STALE,
            "confidence": confidence_of(flags),
            "message": clipped("; ".join(filter(None, (near.denied, measurement.message))), 1024),
            "plan_key": measurement.plan_key,
            "measure_key": measurement.measure_key,
            "probe_seconds": seconds(measurement.probe_seconds),
            "engine": report.engine,
            "quantization_method": revision.plan.quantization_method if revision else None,
            "environment": _environment(found),
            "roofline": _roofline(near),
            "against_plan": against_plan(measurement, revision),
            "memory": _memory(measurement.memory, revision),
            "fallbacks": [clipped(item, 256) for item in report.fallbacks[:_MAX_FALLBACKS]],
            "flags": sorted(flags)[:MAX_FLAGS],
        }
    )


def _parts(measurement: Measurement, revision: Revision | None) -> dict[str, Any]:
    """The measured parts of the entry, each value rounded to the digits that its interval allows."""
    single, saturation = measurement.single_stream, measurement.saturation
    decode = single.decode_ci_percent if single else None
    carried = measurement.capacity.ci_percent if measurement.capacity else None
    saturated = _level(measurement, saturation.concurrency if saturation else None)
    levels = sorted(measurement.curve, key=lambda item: item.concurrency)
    return {
        "workload": {
            **dataclasses.asdict(measurement.workload),
            "output_spread_percent": placed(measurement.output_spread_percent),
        },
        "single_stream": fields_of(
            single, dict.fromkeys(("decode_tokens_per_second", "tpot_milliseconds_p50"), decode)
        ),
        "capacity": fields_of(measurement.capacity, dict.fromkeys(RATES, carried)),
        "latency": _latency(measurement),
        # Not rounded to the digits that are known: 99.97 % of the requests is not all of them.
        "goodput": fields_of(
            measurement.goodput,
            {"requests_per_second": carried},
            exact=("compliance_percent", "compliance_percent_lower95"),
        ),
        "saturation": fields_of(
            saturation, dict.fromkeys(RATES, saturated.ci_percent if saturated else None)
        ),
        "curve": [_curve_point(item) for item in levels[:_MAX_LEVELS]],
        "fit": fields_of(measurement.fit, exact=("r2",)),
        "kv_cache": {
            **(fields_of(measurement.kv_use) or {}),
            "capacity_tokens": _cached_tokens(measurement.memory.kv_cache_tokens, revision),
        },
        "quality": _quality(measurement.quality),
        "cold_first_request_milliseconds": rounded(measurement.cold_first_request_milliseconds),
    }


def _cached_tokens(logged: int | None, revision: Revision | None) -> int | None:
    """Tokens of requests of the workload that the KV cache holds, from ``logged``, as the engine counts."""
    predicted = revision.plan.predicted if revision else Prediction()
    if not (logged and predicted.kv_cache_workload_tokens and predicted.kv_cache_tokens):
        return logged
    return round(logged * predicted.kv_cache_workload_tokens / predicted.kv_cache_tokens)


def _level(measurement: Measurement, concurrency: int | None) -> CurvePoint | None:
    return next((item for item in measurement.curve if item.concurrency == concurrency), None)


def _latency(measurement: Measurement) -> dict[str, Any] | None:
    """Latency of open-loop requests where measured, else at the capacity's concurrency."""
    if measurement.open_loop is not None:
        return {**(fields_of(measurement.open_loop) or {}), "open_loop": True}
    level = _level(measurement, measurement.capacity.concurrency if measurement.capacity else None)
    parts = fields_of(level)
    return parts and {item.name: parts.get(item.name) for item in dataclasses.fields(OpenLoop)}


def _curve_point(found: CurvePoint) -> dict[str, Any]:
    parts = fields_of(found, dict.fromkeys(RATES, found.ci_percent), exact=("window_seconds",)) or {}
    return {**parts, "flags": sorted(set(found.flags))[:MAX_FLAGS]}


def _quality(found: Quality | None) -> dict[str, Any] | None:
    parts = fields_of(found, exact=("negative_log_likelihood", "perplexity"))
    return parts and {
        **parts,
        "text": clipped(parts["text"], 256),
        "message": clipped(parts["message"], 1024),
    }


def _environment(found: PodReport) -> MeasuredEnvironment:
    shown = found.report.environment
    return MeasuredEnvironment(
        image_id=found.image_id[:512],
        engine_version=found.report.engine_version[:64],
        gpu_product=shown.gpu_product[:256],
        gpu_count=shown.gpu_count or None,
        driver_version=shown.driver_version[:64],
        cpu_model=shown.cpu_model[:256],
        cpu_count=shown.cpu_count or None,
        cpu_limit_millis=shown.cpu_limit_millis or None,
    )


def _roofline(found: Efficiency) -> Roofline | None:
    if found == Efficiency():
        return None
    return Roofline(
        decode_efficiency_percent=None if found.decode is None else rounded(100 * found.decode),
        prefill_mfu_percent=None if found.prefill is None else rounded(100 * found.prefill),
    )


def _memory(actual: MemoryActual, revision: Revision | None) -> dict[str, Any]:
    """Memory of the engine, predicted and measured. On a CPU this is host memory; on a GPU only GPU memory,
    never host memory in its place.
    """
    predicted = revision.plan.predicted if revision else Prediction()
    on_host = revision is not None and revision.plan.gpu_count == 0
    used = actual.host_used_bytes if on_host else actual.gpu_used_bytes
    peak = actual.host_peak_bytes if on_host else actual.gpu_peak_bytes
    source = "Host" if on_host else actual.gpu_source
    return dict(
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
        devices=[dataclasses.asdict(item) for item in actual.gpu_devices[:_MAX_DEVICES]],
    )


def fingerprint(plan_key: str, measure_key: str, image_id: str, environment: Environment) -> str:
    """Identifies a measurement: hash of both keys, and of the running pod's image and hardware."""
    observed = [
        image_id,
        environment.gpu_product,
        environment.gpu_count,
        environment.driver_version,
        environment.cpu_model,
        environment.cpu_count,
        environment.cpu_limit_millis,
    ]
    return names.digest([plan_key, measure_key, observed], 16)
