"""status.measurements: what pods measured, under the fingerprint of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from tacho_contract.measurement import Capacity, CurvePoint, Measurement, SingleStream
from tacho_contract.report import Report
from tacho_contract.times import parse_time
from tacho_contract.units import clipped
from tacho_operator.api import types as api
from tacho_operator.api.base import decimal, seconds
from tacho_operator.core.manifests import containers
from tacho_operator.core.measurement.keys import fingerprint, live_config
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.status.plan import present
from tacho_operator.core.types import Manifest

KEPT = 4
LONGEST_SECONDS = 1e6
COMPLETE, PARTIAL, STALE = "Complete", "Partial", "Stale"
INCOMPLETE = "Incomplete"
"""Flag by which a Partial measurement is known again when it was Stale and its workload comes back."""


def measurements_view(
    resource: api.LLMDeployment,
    *,
    before: Iterable[Manifest],
    pods: Iterable[PodView],
    reports: Mapping[str, Report],
    subject: Revision | None,
    known: Mapping[str, Revision],
) -> list[Manifest]:
    """Measurements of old and those the pods report now, newest first; Stale where things changed.

    ``subject``: the revision whose figures are the resource's (the active one, or the first candidate).
    """
    live = live_config(resource.spec)
    found = {item["fingerprint"]: dict(item) for item in before}
    running: set[str] = set()
    for pod in pods:
        report = reports.get(pod.uid)
        if report is None:
            continue
        image = image_id(pod)
        if subject and report.plan_key == subject.plan_key and not pod.terminating:
            running.add(fingerprint(report.plan_key, live.measure_key, image, report.environment))
        entry = _entry(report, image, known)
        if entry and _replaces(entry, found.get(entry["fingerprint"]), always=live.probe.policy == "Always"):
            found[entry["fingerprint"]] = entry
    for entry in found.values():
        matches = (
            subject is not None
            and entry.get("planKey") == subject.plan_key
            and entry.get("measureKey") == live.measure_key
        )
        # Without a report the hardware is unknown, which is no reason to doubt it.
        same = not running or entry["fingerprint"] in running
        ended = PARTIAL if INCOMPLETE in entry.get("flags", ()) else COMPLETE
        entry["state"] = ended if matches and same else STALE
    newest = sorted(found.values(), key=lambda item: (item.get("observedTime", ""), item["fingerprint"]))
    ranked = sorted(reversed(newest), key=lambda item: item["state"] == STALE)[:KEPT]
    return sorted(ranked, key=lambda item: (item.get("observedTime", ""), item["fingerprint"]), reverse=True)


def current(measurements: Iterable[Manifest]) -> Manifest | None:
    """The newest current measurement; figures that are stale are never taken for it."""
    return next((item for item in measurements if item.get("state") in (COMPLETE, PARTIAL)), None)


def image_id(pod: PodView) -> str:
    """The engine image by digest, as the node's runtime resolved it."""
    engine = pod.container(containers.ENGINE)
    return str(engine.raw.get("imageID", "")) if engine else ""


def summary_view(measurements: Iterable[Manifest]) -> Manifest:
    """Output tokens per second and the median TTFT at that same concurrency; nothing where stale."""
    entry = current(measurements)
    if entry is None:
        return {}
    return present(
        {
            "outputTokensPerSecond": entry.get("capacity", {}).get("outputTokensPerSecond"),
            "ttftMilliseconds": entry.get("latency", {}).get("ttftMillisecondsP50"),
        }
    )


def _replaces(new: Manifest, old: Manifest | None, *, always: bool) -> bool:
    """One full measurement per fingerprint: replicas of one configuration do not take turns in status."""
    if old is None:
        return True
    if new.get("observedTime", "") <= old.get("observedTime", ""):
        return False
    completes = INCOMPLETE in old.get("flags", ()) and INCOMPLETE not in new.get("flags", ())
    return always or completes


def _entry(report: Report, image: str, known: Mapping[str, Revision]) -> Manifest | None:
    """What the report's measurement is in status; None where there is none, or the API could not hold it:
    a pod is not trusted to keep the whole status from being written."""
    measurement = report.measurement
    if measurement is None or measurement.state not in ("Complete", "Partial"):
        return None
    if parse_time(measurement.observed_time) is None or not 0 <= measurement.probe_seconds < LONGEST_SECONDS:
        return None
    try:
        entry = _shown(report, measurement, image, known)
        api.Measurement.model_validate(entry)
    except ValidationError:
        return None
    return entry if _storable(entry) else None


def _storable(value: object) -> bool:
    """Whether every integer is one that JSON keeps exact everywhere."""
    if isinstance(value, dict):
        return all(map(_storable, value.values()))
    if isinstance(value, list):
        return all(map(_storable, value))
    return not isinstance(value, int) or 0 <= value < 2**53


def _shown(report: Report, measurement: Measurement, image: str, known: Mapping[str, Revision]) -> Manifest:
    revision = known.get(report.revision)
    flags = sorted(set(measurement.flags))
    if measurement.state == PARTIAL:
        flags = sorted({*flags, INCOMPLETE})
    shown = report.environment
    return present(
        {
            "fingerprint": fingerprint(measurement.plan_key, measurement.measure_key, image, shown),
            "revision": report.revision,
            "observedTime": measurement.observed_time,
            "state": STALE,
            "message": clipped(measurement.message, 1024),
            "planKey": measurement.plan_key,
            "measureKey": measurement.measure_key,
            "probeSeconds": seconds(measurement.probe_seconds),
            "engine": report.engine,
            "quantizationMethod": revision.plan.quantization_method if revision else None,
            "environment": present(
                {
                    "imageID": image[:512],
                    "engineVersion": report.engine_version[:64],
                    "gpuProduct": shown.gpu_product[:256],
                    "gpuCount": shown.gpu_count or None,
                    "driverVersion": shown.driver_version[:64],
                    "cpuModel": shown.cpu_model[:256],
                }
            ),
            "workload": {
                "inputTokens": measurement.workload.input_tokens,
                "outputTokens": measurement.workload.output_tokens,
            },
            "singleStream": _single_stream(measurement.single_stream),
            "capacity": _capacity(measurement.capacity),
            "latency": _latency(measurement),
            "curve": [_point(point) for point in sorted(measurement.curve, key=_concurrency)[:16]],
            "memory": _memory(measurement, revision),
            "coldFirstRequestMilliseconds": decimal(measurement.cold_first_request_milliseconds),
            "flags": flags[:16],
        }
    )


def _concurrency(point: CurvePoint) -> int:
    return point.concurrency


def _single_stream(found: SingleStream | None) -> Manifest:
    if found is None:
        return {}
    return api.SingleStream(
        decode_tokens_per_second=decimal(found.decode_tokens_per_second),
        tpot_milliseconds_p50=decimal(found.tpot_milliseconds_p50),
        tpot_milliseconds_p95=decimal(found.tpot_milliseconds_p95),
        ttft_milliseconds_p50=decimal(found.ttft_milliseconds_p50),
        ttft_overhead_milliseconds=decimal(found.ttft_overhead_milliseconds),
        prefill_tokens_per_second=decimal(found.prefill_tokens_per_second),
    ).to_wire()


def _capacity(found: Capacity | None) -> Manifest:
    if found is None:
        return {}
    return api.Capacity(
        concurrency=found.concurrency,
        requests_per_second=decimal(found.requests_per_second),
        output_tokens_per_second=decimal(found.output_tokens_per_second),
        total_tokens_per_second=decimal(found.total_tokens_per_second),
        ci_percent=decimal(found.ci_percent),
        boundary=found.boundary,
    ).to_wire()


def _latency(measurement: Measurement) -> Manifest:
    """At the capacity's own concurrency."""
    level = measurement.capacity.concurrency if measurement.capacity else None
    point = next((item for item in measurement.curve if item.concurrency == level), None)
    if point is None:
        return {}
    return api.Latency(
        ttft_milliseconds_p50=decimal(point.ttft_milliseconds_p50),
        ttft_milliseconds_p95=decimal(point.ttft_milliseconds_p95),
        tpot_milliseconds_p50=decimal(point.tpot_milliseconds_p50),
        tpot_milliseconds_p95=decimal(point.tpot_milliseconds_p95),
        end_to_end_milliseconds_p50=decimal(point.end_to_end_milliseconds_p50),
    ).to_wire()


def _point(point: CurvePoint) -> Manifest:
    return api.CurvePoint(
        concurrency=point.concurrency,
        output_tokens_per_second=decimal(point.output_tokens_per_second),
        requests_per_second=decimal(point.requests_per_second),
        ttft_milliseconds_p50=decimal(point.ttft_milliseconds_p50),
        ttft_milliseconds_p95=decimal(point.ttft_milliseconds_p95),
        tpot_milliseconds_p50=decimal(point.tpot_milliseconds_p50),
        tpot_milliseconds_p95=decimal(point.tpot_milliseconds_p95),
        end_to_end_milliseconds_p50=decimal(point.end_to_end_milliseconds_p50),
        requests=point.requests,
        window_seconds=decimal(point.window_seconds),
        steady=point.steady,
    ).to_wire()


def _memory(measurement: Measurement, revision: Revision | None) -> Manifest:
    predicted = revision.plan.predicted if revision else None
    actual = measurement.memory
    return present(
        {
            "predictedBytes": predicted.total_bytes if predicted else None,
            "actualBytes": actual.gpu_used_bytes,
            "predictedKVCacheTokens": predicted.kv_cache_tokens if predicted else None,
            "actualKVCacheTokens": actual.kv_cache_tokens,
        }
    )
