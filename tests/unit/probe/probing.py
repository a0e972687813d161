"""The probe's own phases against a simulated engine, from the first request to the report."""

from __future__ import annotations

from datetime import datetime, timezone
from random import Random

from tacho_contract.launch import LiveConfig, ServiceLevel
from tacho_contract.measurement import Measurement, Workload
from tacho_runtime.probe.engine_under_test import LevelTerms, LoadTrace
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.sequence import MeasureOptions, measure
from tacho_runtime.probe.session import SPREAD, ProbeClock, ProbeFindings, ProbeSession
from tacho_runtime.probe.time_plan import RequestShape
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine

WORKLOAD = Workload(input_tokens=512, output_tokens=200)
LAW = Law(kv_tokens=1_000_000)
ENDED = datetime(2026, 1, 2, tzinfo=timezone.utc)


async def probed(
    law: Law,
    seed: int,
    slo: ServiceLevel | None = None,
    *,
    slots: int = 0,
    level: int = 0,
    engine: VirtualEngine | None = None,
    workload: Workload = WORKLOAD,
    streams: int = 8,
    budget: float = 45.0,
) -> Measurement:
    engine, findings = engine or VirtualEngine(law, Random(seed)), ProbeFindings()
    live = LiveConfig(measure_key="m", workload=workload, slo=slo or ServiceLevel())
    question = MeasureOptions(live=live, max_model_len=4096, streams=streams, slots=slots, level=level)
    budget = 10.0 if level else budget
    clock = ProbeClock(now=engine.now_seconds, budget_ends=0.97 * budget, timeout_ends=max(90, 2 * budget))
    await measure(engine, question, findings, clock)
    assert engine.now_seconds() <= budget
    return assemble(
        findings, live, plan_key="p", ended=ENDED, probe_seconds=engine.now_seconds(), spread=SPREAD
    )


async def level_of(
    engine: VirtualEngine, streams: int, workload: Workload = WORKLOAD, *, seconds: float = 4.5
) -> LoadTrace:
    """One level of a steady loop, for so long."""
    loop = await engine.steady_loop(workload, spread=SPREAD)
    terms = LevelTerms(
        streams=streams, gap_seconds=0.0, ramp_seconds=60.0, cohort=10**6, window_seconds=seconds,
        follow_seconds=0.0,
    )  # fmt: skip
    trace = await loop.level(terms, lambda _: False)
    await loop.close()
    return trace


def rate_of(law: Law, streams: int) -> float:
    gap = (1000 * law.itl_seconds(streams)) / law.tokens_per_step
    return 1000 * streams * 200 / ((1000 * law.ttft_seconds(512, 0)) + 199 * gap)


async def bench_of(engine: VirtualEngine, findings: ProbeFindings, *, seconds: float) -> ProbeSession:
    return ProbeSession(
        engine=engine,
        slo=ServiceLevel(),
        clock=ProbeClock(now=engine.now_seconds, budget_ends=seconds, timeout_ends=90),
        findings=findings,
        max_model_len=4096,
        progress=lambda _: None,
        shape=RequestShape(workload=WORKLOAD),
        quiet=await engine.machine(calibrate=True),
    )
