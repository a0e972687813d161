"""Figures as a probe reports them."""

from __future__ import annotations

from typing import Any

from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Capacity, CurvePoint, Measurement, SingleStream

CAPACITY = Capacity(
    concurrency=4,
    requests_per_second=3.2,
    output_tokens_per_second=204.8,
    total_tokens_per_second=614.4,
    ci_percent=0.4,
)


def measured(live: LiveConfig, own_plan_key: str, now: str, **fields: Any) -> Measurement:
    """A whole one, unless ``fields`` say otherwise."""
    values: dict[str, Any] = {
        "plan_key": own_plan_key,
        "measure_key": live.measure_key,
        "observed_time": now,
        "state": "Complete",
        "probe_seconds": 30.1,
        "workload": live.workload,
        "single_stream": SingleStream(
            decode_tokens_per_second=137.4,
            tpot_milliseconds_p50=7.28,
            tpot_milliseconds_p95=7.9,
            ttft_milliseconds_p50=101.0,
        ),
        "capacity": CAPACITY,
        "curve": (point(1, 120.0), point(4, 204.8)),
    }
    return Measurement(**{**values, **fields})


def point(concurrency: int, tokens: float) -> CurvePoint:
    return CurvePoint(
        concurrency=concurrency,
        window_seconds=5.0,
        requests=16,
        requests_per_second=tokens / 64,
        output_tokens_per_second=tokens,
        ttft_milliseconds_p50=100.0 + concurrency,
        ttft_milliseconds_p95=150.0,
        tpot_milliseconds_p50=8.0,
        tpot_milliseconds_p95=9.0,
        end_to_end_milliseconds_p50=600.0,
    )
