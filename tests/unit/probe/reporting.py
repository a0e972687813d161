"""Findings and what is reported of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from tacho_contract.launch import LiveConfig, ServiceLevel
from tacho_contract.measurement import Measurement, OpenLoop, Workload
from tacho_runtime.probe.levels import LevelResult, MeasuredLevel
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.open_loop import OpenLoopResult
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.session import AnswerCounts, ProbeFindings, PromptTiming, SingleStreamFindings
from tacho_runtime.probe.time_plan import RequestShape

MS = 1_000_000
SLO = ServiceLevel(tpot_milliseconds=30)
WORKLOAD = Workload(input_tokens=100, output_tokens=10)
ENDED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def stream(**changes: Any) -> StreamResult:
    values: dict[str, Any] = {
        "sent_ns": 0,
        "tokens": tuple(((50 + 10 * index) * MS, 1.0) for index in range(10)),
        "finish_reason": "length",
        "prompt_tokens": 100,
    }
    return StreamResult(**(values | changes))


def result(
    concurrency: int,
    rate: float,
    *,
    flags: tuple[str, ...] = (),
    slo_ratio: float | None = None,
    ci_percent: float | None = 1.5,
) -> LevelResult:
    point = MeasuredLevel(
        concurrency=concurrency,
        window_seconds=5.0,
        requests=9,
        requests_per_second=rate / 10,
        output_tokens_per_second=rate,
        ci_percent=ci_percent,
        ttft_milliseconds_p50=50,
        tpot_milliseconds_p50=10 + concurrency,
        end_to_end_milliseconds_p50=140,
        tpot_slo_ratio=slo_ratio,
        steady="NotSteady" not in flags,
        flags=flags,
    )
    return LevelResult(point=point)


def levels(*found: LevelResult) -> dict[int, LevelResult]:
    return {one.point.concurrency: one for one in found}


def findings(**changes: Any) -> ProbeFindings:
    single: dict[str, Any] = {
        "streams": (stream(), stream()),
        "flags": (),
        "prompts": [PromptTiming(50.0, 45.0), PromptTiming(100.0, 50.0), PromptTiming(200.0, 60.0)],
    }
    values: dict[str, Any] = {
        "shape": RequestShape(workload=WORKLOAD),
        "single": SingleStreamFindings(**(single | changes.pop("single", {}))),
        "answers": AnswerCounts(**changes.pop("answers", {})),
        "results": levels(result(1, 70), result(4, 200)),
    }
    return ProbeFindings(**(values | changes))


def report(found: ProbeFindings, slo: ServiceLevel | None = None) -> Measurement:
    return assemble(
        found,
        LiveConfig(measure_key="m", workload=WORKLOAD, slo=slo or ServiceLevel()),
        plan_key="p",
        ended=ENDED,
        probe_seconds=12.0,
        spread=0.25,
    )


def opened(passed: bool | None) -> OpenLoopResult:
    figures = OpenLoop(
        offered_requests_per_second=17.0,
        requests=40,
        ttft_milliseconds_p50=55,
        tpot_milliseconds_p50=12,
        end_to_end_milliseconds_p50=150,
    )
    return OpenLoopResult(figures=figures, goodput=None, passed=passed)
