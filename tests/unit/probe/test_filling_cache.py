"""Levels whose window ends before the KV cache is as full as it will be."""

from __future__ import annotations

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.consistency import filling_cache
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters
from tests.unit.probe.probing import probed
from tests.unit.probe.traces import MS, stream, trace_of
from tools.mock.engine_law import Law
from tools.mock.engine_truth import truth


@pytest.mark.parametrize(
    ("usage", "first", "steady"),
    [(0.4, True, False), (0.3, True, True), (0.4, False, True)],
    ids=["will be full", "will not be full", "renewed"],
)
def test_a_window_that_ends_before_the_cache_is_full_tells_no_rate(
    usage: float, first: bool, steady: bool
) -> None:
    """New streams hold their prompts alone. At 12 streams a second's window had 1,350 tokens a second of the
    1,135 that stay once requests wait for the cache, within 1 %."""
    workload = Workload(input_tokens=4, output_tokens=240)
    young = [stream(0, 41, whole=False) for _ in range(16)]
    ends = tuple(
        CounterReading(stamp_ns=at * MS, counters=EngineCounters(kv_cache_usage=used))
        for at, used in ((100, usage - 0.05), (500, usage))
    )
    trace = trace_of(young, 100, 500, concurrency=16, first=(first,) * 16, readings=ends)
    assert (filling_cache(trace, workload) == "") == steady


@pytest.mark.parametrize("seed", [1, 3])
async def test_a_cache_that_fills_after_the_window_makes_no_capacity_too_high(seed: int) -> None:
    """Answers of a thousand tokens, for which the cache has room for 12 requests: 36 % too much, within 5 %
    by its interval, and no flag."""
    workload = Workload(input_tokens=64, output_tokens=1000)
    law = Law(
        ttft_base_ms=20.0, itl_base_ms=8.0, itl_per_seq_ms=0.05, kv_tokens=6768, kv_policy="preempt",
        prefill_blocks=True, seed=1,
    )  # fmt: skip
    slo = ServiceLevel(ttft_milliseconds=1500, tpot_milliseconds=13)
    most = truth(law, workload, slo, most=48).capacity.output_tokens_per_second
    capacity = (await probed(law, seed, slo, workload=workload, streams=24, budget=120.0)).capacity
    assert capacity is not None
    assert capacity.output_tokens_per_second is not None
    assert capacity.output_tokens_per_second < most * (1 + (capacity.ci_percent or 0.0) / 100)
