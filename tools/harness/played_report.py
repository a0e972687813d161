"""The report of a pod whose kubelet and runtime are played."""

from __future__ import annotations

import time

from tacho_contract.launch import RuntimeConfig
from tacho_contract.measurement import Capacity, CurvePoint, Environment, Measurement, SingleStream, Workload
from tacho_contract.report import Report


def present() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def report(config: RuntimeConfig, measure_key: str, tokens_per_second: float, concurrency: int = 1) -> Report:
    point = CurvePoint(
        concurrency=concurrency,
        window_seconds=5,
        requests=10,
        requests_per_second=2,
        output_tokens_per_second=tokens_per_second,
        ttft_milliseconds_p50=100,
        ttft_milliseconds_p95=120,
        tpot_milliseconds_p50=10,
        tpot_milliseconds_p95=12,
        end_to_end_milliseconds_p50=700,
    )
    return Report(
        runtime_version="0.1.0",
        revision=config.revision,
        plan_key=config.plan_key,
        phase="Serving",
        ready=True,
        engine=config.engine,
        environment=Environment(cpu_model="test", cpu_count=2),
        measurement=Measurement(
            plan_key=config.plan_key,
            measure_key=measure_key,
            observed_time=present(),
            state="Complete",
            probe_seconds=5,
            workload=Workload(),
            single_stream=SingleStream(
                decode_tokens_per_second=tokens_per_second,
                tpot_milliseconds_p50=10,
                tpot_milliseconds_p95=12,
                ttft_milliseconds_p50=100,
            ),
            capacity=Capacity(
                concurrency=concurrency,
                requests_per_second=2,
                output_tokens_per_second=tokens_per_second,
                total_tokens_per_second=2 * tokens_per_second,
                ci_percent=0.4,
            ),
            curve=(point,),
        ),
        observed_time=present(),
    )
