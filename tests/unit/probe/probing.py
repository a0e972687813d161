"""The probe's own phases against a simulated engine, from the first request to the report."""

from __future__ import annotations

from datetime import datetime, timezone
from random import Random

from tacho_contract.launch import LiveConfig, ServiceLevel
from tacho_contract.measurement import Measurement, Workload
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.sequence import MeasureOptions, measure
from tacho_runtime.probe.session import SPREAD, ProbeClock, ProbeFindings, ProbeSession
from tacho_runtime.probe.time_plan import RequestShape
from tools.mock.virtual_engine import VirtualEngine, VirtualLaw

WORKLOAD = Workload(input_tokens=512, output_tokens=200)
LAW = VirtualLaw()
ENDED = datetime(2026, 1, 2, tzinfo=timezone.utc)


async def probed(
    law: VirtualLaw,
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
    clock = ProbeClock(now=engine.now_seconds, budget_ends=0.97 * budget, timeout_ends=90)
    await measure(engine, question, findings, clock)
    assert engine.now_seconds() <= budget
    return assemble(
        findings, live, plan_key="p", ended=ENDED, probe_seconds=engine.now_seconds(), spread=SPREAD
    )


def rate_of(law: VirtualLaw, streams: int) -> float:
    gap = law.gap_ms(streams) / law.tokens_per_step
    return 1000 * streams * 200 / (law.ttft_ms(512) + 199 * gap)


def bench_of(engine: VirtualEngine, findings: ProbeFindings, *, seconds: float) -> ProbeSession:
    return ProbeSession(
        engine=engine,
        slo=ServiceLevel(),
        clock=ProbeClock(now=engine.now_seconds, budget_ends=seconds, timeout_ends=90),
        findings=findings,
        max_model_len=4096,
        progress=lambda _: None,
        shape=RequestShape(workload=WORKLOAD),
        quiet=engine.machine(calibrate=True),
    )
