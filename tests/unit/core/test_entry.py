"""A reported measurement in status: nothing of the report is lost unless it is named as left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_contract.measurement import (
    INVALIDATING,
    Capacity,
    CurvePoint,
    DeviceMemory,
    Environment,
    Fit,
    Goodput,
    KvUse,
    Measurement,
    MemoryActual,
    OpenLoop,
    Quality,
    Saturation,
    SingleStream,
    Workload,
)
from tacho_operator.core.measurement.entry import PodReport, measurement_entry
from tacho_operator.core.revisions.controller_revision import Revision
from tests.unit.core.golden import assert_golden
from tools.harness.documents import plain_report
from tools.harness.figures import point
from tools.harness.resources import plan

LEFT_OUT = {
    "Environment.gpu_memory_bytes": "The plan's figure is shown.",
    "Measurement.request": "It decides whether a measurement replaces another of the same fingerprint.",
}
"""Fields of a report that status does not show, each with the reason."""
FULL = Measurement(
    plan_key="p",
    measure_key="m",
    observed_time="2026-11-20T12:00:00Z",
    state="Complete",
    message="All went well.",
    probe_seconds=30.0,
    workload=Workload(input_tokens=128, output_tokens=64),
    cold_first_request_milliseconds=900.0,
    single_stream=SingleStream(
        requests=3,
        decode_tokens_per_second=137.0,
        decode_ci_percent=1.5,
        stalls=2,
        stalled_percent=4.0,
        tpot_milliseconds_p50=7.0,
        tpot_milliseconds_p95=8.0,
        itl_milliseconds_p50=6.0,
        itl_milliseconds_p95=6.5,
        ttft_milliseconds_p50=101.0,
        ttft_milliseconds_p95=120.0,
        ttft_overhead_milliseconds=3.0,
        prefill_tokens_per_second=1000.0,
        textless_percent=14.0,
    ),
    capacity=Capacity(
        concurrency=4,
        requests_per_second=3.0,
        output_tokens_per_second=204.0,
        total_tokens_per_second=614.0,
        ci_percent=2.0,
        boundary="Plateau",
        basis="Knee",
        verified=True,
    ),
    output_spread_percent=25.0,
    open_loop=OpenLoop(
        offered_requests_per_second=2.5,
        requests=60,
        ttft_milliseconds_p50=110.0,
        ttft_milliseconds_p95=220.0,
        tpot_milliseconds_p50=9.0,
        tpot_milliseconds_p95=11.0,
        end_to_end_milliseconds_p50=700.0,
        end_to_end_milliseconds_p95=900.0,
    ),
    goodput=Goodput(requests_per_second=2.4, compliance_percent=97.0, compliance_percent_lower95=93.0),
    saturation=Saturation(concurrency=4, output_tokens_per_second=204.0),
    curve=(
        dataclasses.replace(
            point(4, 204.0),
            ci_percent=2.0,
            counted_by="Engine",
            end_to_end_milliseconds_p95=800.0,
            engine_ttft_milliseconds=80.0,
            slo_met=True,
            ttft_slo_ratio=0.5,
            tpot_slo_ratio=0.25,
            flags=("NotSteady",),
        ),
    ),
    fit=Fit(alpha_milliseconds=7.0, beta_microseconds=250.0, r2=0.99),
    kv_use=KvUse(max_usage_percent=40.0, preemptions=1),
    quality=Quality(text="a text", tokens=900, negative_log_likelihood=2.5, perplexity=12.0, message="why"),
    memory=MemoryActual(
        weights_bytes=10,
        kv_cache_bytes=15,
        kv_cache_tokens=20,
        graph_bytes=5,
        gpu_used_bytes=30,
        gpu_peak_bytes=35,
        gpu_source="Process",
        gpu_devices=(DeviceMemory(index=0, actual_bytes=30, peak_bytes=35),),
        host_used_bytes=40,
        host_peak_bytes=50,
    ),
    flags=("NotSteady",),
)
assert FULL.capacity
assert FULL.single_stream
assert FULL.open_loop
CAPACITY, SINGLE_STREAM, OPEN_LOOP = FULL.capacity, FULL.single_stream, FULL.open_loop
ENVIRONMENT = Environment(
    cpu_model="EPYC",
    cpu_count=4,
    cpu_limit_millis=3500,
    gpu_product="NVIDIA L4",
    gpu_count=1,
    gpu_memory_bytes=24,
    driver_version="580",
)


def shown(measurement: Measurement, environment: Environment = ENVIRONMENT) -> dict[str, Any] | None:
    report = plain_report(
        revision="smol-1",
        engine="llamacpp",
        engine_version="b1",
        environment=environment,
        fallbacks=("eager mode",),
        measurement=measurement,
        observed_time="2026-11-20T12:00:00Z",
    )
    found = measurement_entry(PodReport(report=report, image_id="i"), None)
    return found.to_wire() if found else None


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    if isinstance(value, tuple):
        return ()
    return {"Complete": "Partial", FULL.observed_time: "2026-11-20T12:00:01Z"}.get(value, f"{value}x")


PARTS: dict[type, str] = {
    Workload: "workload",
    SingleStream: "single_stream",
    Capacity: "capacity",
    MemoryActual: "memory",
    OpenLoop: "open_loop",
    Goodput: "goodput",
    Saturation: "saturation",
    Fit: "fit",
    KvUse: "kv_use",
    Quality: "quality",
}
FIELDS = [
    (cls, item.name)
    for cls in (Measurement, *PARTS, CurvePoint, DeviceMemory, Environment)
    for item in dataclasses.fields(cls)
]


@pytest.mark.parametrize(("cls", "field"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_every_field_of_a_report_reaches_status_or_is_named(cls: type, field: str) -> None:
    environment, measurement = ENVIRONMENT, FULL
    if cls is Environment:
        environment = dataclasses.replace(environment, **{field: other(getattr(environment, field))})
    elif cls is CurvePoint:
        (level,) = FULL.curve
        changed = dataclasses.replace(level, **{field: other(getattr(level, field))})
        measurement = dataclasses.replace(FULL, curve=(changed,))
    elif cls is DeviceMemory:
        (device,) = FULL.memory.gpu_devices
        another = dataclasses.replace(device, **{field: other(getattr(device, field))})
        memory = dataclasses.replace(FULL.memory, gpu_devices=(another,))
        measurement = dataclasses.replace(FULL, memory=memory)
    elif cls is Measurement and field in (*PARTS.values(),):
        absent = {"workload": Workload(), "memory": MemoryActual(), "kv_use": KvUse()}
        measurement = dataclasses.replace(FULL, **{field: absent.get(field)})
    elif cls is Measurement:
        measurement = dataclasses.replace(FULL, **{field: other(getattr(FULL, field))})
    else:
        part = getattr(FULL, PARTS[cls])
        changed_part = dataclasses.replace(part, **{field: other(getattr(part, field))})
        measurement = dataclasses.replace(FULL, **{PARTS[cls]: changed_part})
    assert (shown(measurement, environment) != shown(FULL)) != (f"{cls.__name__}.{field}" in LEFT_OUT)


def test_each_figure_is_shown_under_its_own_name() -> None:
    assert_golden("measurement-entry", shown(FULL))


def test_predictions_and_the_method_are_those_of_the_revision() -> None:
    revision = Revision(
        name="smol-1", number=1, plan=plan(), plan_key="p", facts_key="f", pod_template={}, tacho_image="t"
    )
    report = plain_report(
        revision="smol-1", engine="llamacpp", observed_time=FULL.observed_time, measurement=FULL
    )
    found = measurement_entry(PodReport(report=report, image_id="i"), revision)
    assert found is not None
    assert found.memory is not None
    assert found.quantization_method == "gguf"
    assert (found.memory.predicted_bytes, found.memory.predicted_kv_cache_tokens) == (400_000_000, 8192)
    on_host = (found.memory.actual_bytes, found.memory.peak_bytes, found.memory.source)
    assert on_host == (40, 50, "Host"), "the plan is for the CPU"


def test_of_layers_with_windows_the_cache_holds_the_tokens_of_the_workload() -> None:
    predicted = dataclasses.replace(plan().predicted, kv_cache_workload_tokens=4096)
    windowed = dataclasses.replace(plan(), predicted=predicted)
    revision = Revision(
        name="smol-1", number=1, plan=windowed, plan_key="p", facts_key="f", pod_template={}, tacho_image="t"
    )
    report = plain_report(
        revision="smol-1", engine="llamacpp", observed_time=FULL.observed_time, measurement=FULL
    )
    found = measurement_entry(PodReport(report=report, image_id="i"), revision)
    assert found is not None
    assert found.memory is not None
    assert found.kv_cache is not None
    assert (found.memory.actual_kv_cache_tokens, found.kv_cache.capacity_tokens) == (20, 10)


def test_of_a_gpu_that_was_not_seen_nothing_is_told_by_the_hosts_memory() -> None:
    memory = MemoryActual(host_used_bytes=40, host_peak_bytes=50)
    wire = shown(dataclasses.replace(FULL, memory=memory))
    assert wire is not None
    assert wire["memory"] == {"hostActualBytes": 40, "hostPeakBytes": 50}


def test_levels_come_by_concurrency_and_figures_of_the_capacity_are_the_latency() -> None:
    curve = tuple(point(level, 100.0) for level in (8, 4, 1))
    wire = shown(dataclasses.replace(FULL, curve=curve, open_loop=None))
    assert wire is not None
    assert [item["concurrency"] for item in wire["curve"]] == [1, 4, 8]
    assert wire["latency"]["ttftMillisecondsP50"] == "104"
    assert "openLoop" not in wire["latency"]


def test_a_percentile_that_too_few_requests_came_for_is_absent() -> None:
    few: dict[str, Any] = dict.fromkeys(
        ("ttft_milliseconds_p95", "tpot_milliseconds_p95", "end_to_end_milliseconds_p95")
    )
    wire = shown(dataclasses.replace(FULL, open_loop=dataclasses.replace(OPEN_LOOP, **few)))
    assert wire is not None
    assert not [key for key in wire["latency"] if key.endswith("P95")]


@pytest.mark.parametrize(
    ("flags", "confidence"),
    [
        ((), "Clean"),
        (("BudgetExhausted", "FrontendBound", "OtherInput", "SharedGPU", "ShortOutput"), "Clean"),
        (("WhatALaterRuntimeSays",), "Clean"),
        *(((flag,), "Provisional") for flag in sorted(INVALIDATING)),
        (("SharedGPU", "Contended"), "Provisional"),
        (("LongOutput", "SharedGPU"), "Provisional"),
    ],
)
def test_a_flag_of_what_moved_the_figures_makes_them_provisional(
    flags: tuple[str, ...], confidence: str
) -> None:
    wire = shown(dataclasses.replace(FULL, flags=flags))
    assert wire is not None
    assert wire["confidence"] == confidence


@pytest.mark.parametrize("kind", ["Check", "WhatALaterRuntimeDoes"])
def test_only_a_full_measurement_is_shown_as_one(kind: str) -> None:
    assert shown(dataclasses.replace(FULL, kind=kind)) is None


def test_what_is_left_out_exists_and_says_why() -> None:
    assert set(LEFT_OUT) <= {f"{cls.__name__}.{field}" for cls, field in FIELDS}
    assert all(LEFT_OUT.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "Failed"},
        {"state": "Skipped"},
        {"probe_seconds": float("nan")},
        {"probe_seconds": 1e9},
        {"observed_time": "yesterday"},
        {"plan_key": "k" * 65},
        {"memory": MemoryActual(kv_cache_tokens=-1)},
        {"memory": MemoryActual(gpu_used_bytes=2**53)},
        {"probe_seconds": -1.0},
        {"curve": (dataclasses.replace(point(4, 204.0), requests=2**53),)},
    ],
    ids=str,
)
def test_an_unusable_measurement_is_none(changes: dict[str, Any]) -> None:
    assert shown(FULL) is not None
    assert shown(dataclasses.replace(FULL, **changes)) is None


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_throughput_that_is_no_number_is_no_measurement(rate: float) -> None:
    assert FULL.capacity is not None
    capacity = dataclasses.replace(FULL.capacity, output_tokens_per_second=rate)
    assert shown(dataclasses.replace(FULL, capacity=capacity)) is None


def test_a_rate_within_no_better_than_itself_is_not_known() -> None:
    capacity = dataclasses.replace(CAPACITY, ci_percent=150.0)
    single = dataclasses.replace(SINGLE_STREAM, decode_ci_percent=101.0)
    wire = shown(dataclasses.replace(FULL, capacity=capacity, single_stream=single))
    assert wire is not None
    assert wire["capacity"] == {"concurrency": 4, "boundary": "Plateau", "basis": "Knee", "verified": True}
    assert {"decodeTokensPerSecond", "decodeCiPercent", "tpotMillisecondsP50"}.isdisjoint(
        wire["singleStream"]
    )
    assert wire["singleStream"]["ttftMillisecondsP50"] == "101"
    assert "requestsPerSecond" not in wire["goodput"]


@pytest.mark.parametrize(
    ("capacity_percent", "single_percent", "flags"),
    [(100.0, 100.0, None), (150.0, 1.5, ["NotSteady"]), (2.0, 101.0, ["NotSteady"]), (None, None, None)],
)
def test_a_measurement_without_its_rate_is_provisional(
    capacity_percent: float | None, single_percent: float | None, flags: list[str] | None
) -> None:
    capacity = dataclasses.replace(CAPACITY, ci_percent=capacity_percent)
    single = dataclasses.replace(SINGLE_STREAM, decode_ci_percent=single_percent)
    wire = shown(dataclasses.replace(FULL, capacity=capacity, single_stream=single, flags=()))
    assert wire is not None
    assert (wire.get("flags"), wire["confidence"]) == (flags, "Provisional" if flags else "Clean")
