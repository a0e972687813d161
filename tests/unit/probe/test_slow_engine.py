"""An engine of few slots on a CPU: a window of some seconds holds as few requests, whose prompts stop all."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Measurement, Workload
from tacho_runtime.probe.capacity import capacity_of
from tacho_runtime.probe.level_search import SearchLimits, TriedLevel, next_level
from tacho_runtime.probe.levels import evaluate
from tacho_runtime.probe.phases import concurrency_levels
from tests.unit.probe.probing import level_of, probed
from tests.unit.probe.reporting import WORKLOAD, findings, levels, result
from tools.mock.engine_law import Law
from tools.mock.engine_truth import level
from tools.mock.virtual_engine import VirtualEngine

SLOTS = 4
SHORT = Workload(input_tokens=128, output_tokens=64)
SLOW = Law(
    kv_tokens=8192,
    ttft_base_ms=5,
    ttft_per_token_ms=3.3,
    itl_base_ms=18,
    itl_per_seq_ms=4,
    prefill_blocks=True,
    jitter_cv=0.1,
    max_num_seqs=SLOTS,
)


class TwoPaced(VirtualEngine):
    """Its steps take twice as long at times: other processes get one of its two CPUs."""

    def __init__(self, law: Law, seed: int, *, mean_seconds: float) -> None:
        super().__init__(law, Random(seed), counted=False)
        self._paces, self._slow = Random(seed + 5), False
        self._mean_seconds = mean_seconds
        self.stepped.scheduler.at(0.001, self._turn)

    def _turn(self, now: float) -> None:
        self._slow = not self._slow
        self.law = self.law.changed(itl_base_ms=18.0 if self._slow else 8.0)
        self.stepped.scheduler.at(now + self._paces.expovariate(1 / self._mean_seconds), self._turn)


async def measured(engine: VirtualEngine, seed: int) -> Measurement:
    return await probed(engine.law, seed, slots=SLOTS, workload=SHORT, engine=engine)


@pytest.mark.parametrize("streams", [2, SLOTS])
async def test_a_window_of_few_requests_tells_a_rate(streams: int) -> None:
    """It holds three to six prompts, which stop all: by its bins two streams told none in 30 of 30 tries."""
    true = level(SLOW, SHORT, streams).output_tokens_per_second
    for seed in range(8):
        engine = VirtualEngine(SLOW, Random(seed), counted=False)
        found = evaluate(await level_of(engine, streams, SHORT, seconds=4.5), SHORT, ServiceLevel())
        assert found is not None
        assert (found.point.ci_percent or 100) < 12
        assert found.point.output_tokens_per_second == pytest.approx(true, rel=0.06)


@pytest.mark.parametrize("streams", [2, SLOTS])
@pytest.mark.parametrize("prompt_ms", [3.3, 12.0])
async def test_a_window_without_a_prompt_knows_that_there_are_some(streams: int, prompt_ms: float) -> None:
    """Long answers: 119 tokens/s were said to be known within 3 %, where prompts leave 87."""
    law, long = SLOW.changed(ttft_per_token_ms=prompt_ms), Workload(input_tokens=128, output_tokens=512)
    true = level(law, long, streams).output_tokens_per_second
    without = 0
    for seed in range(12):
        trace = await level_of(VirtualEngine(law, Random(seed), counted=False), streams, long, seconds=4.5)
        found = evaluate(trace, long, ServiceLevel())
        assert found is not None
        percent, rate = found.point.ci_percent or 0.0, found.point.output_tokens_per_second
        assert not found.point.steady or abs(true / rate - 1) <= percent / 100
        without += sum(trace.started_bins) == streams  # those of the ramp alone
    assert 0 < without < 12


async def test_what_prompts_may_take_is_no_more_than_one_takes() -> None:
    long = Workload(input_tokens=128, output_tokens=8192)
    unseen = []
    for prompt_ms in (0.01, 3.3):
        law = SLOW.changed(ttft_per_token_ms=prompt_ms, kv_tokens=1_000_000)
        trace = await level_of(VirtualEngine(law, Random(3), counted=False), SLOTS, long, seconds=4.5)
        assert sum(trace.started_bins) == SLOTS
        found = evaluate(trace, long, ServiceLevel())
        assert found is not None
        assert (found.point.ci_percent or 0) > found.unseen_percent
        unseen.append(found.unseen_percent)
    assert 0 < unseen[0] < 0.1
    assert 1 < unseen[1] < 5


@pytest.mark.parametrize(("slots", "seed"), [(2, 0), (SLOTS, 1), (SLOTS, 2)])
async def test_a_window_goes_on_until_it_holds_a_prompt(slots: int, seed: int) -> None:
    """118 tokens/s ± 4 % were the capacity of an engine with 87: complete, and without a flag."""
    law = SLOW.changed(ttft_per_token_ms=12.0, max_num_seqs=slots, kv_tokens=1_000_000)
    long = Workload(input_tokens=128, output_tokens=512)
    engine = VirtualEngine(law, Random(seed), counted=False)
    found = await probed(law, seed, slots=slots, workload=long, engine=engine, budget=120)
    assert found.capacity is not None
    assert (found.state, found.flags) == ("Complete", ()), found.message
    true = level(law, long, found.capacity.concurrency or 0).output_tokens_per_second
    assert found.capacity.output_tokens_per_second == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize("seed", range(4))
async def test_a_window_goes_on_until_its_rate_is_known(seed: int) -> None:
    """Windows of 4.5 s held four requests, told no rate, and one stream was the capacity."""
    found = await measured(VirtualEngine(SLOW, Random(seed), counted=False), seed)
    assert found.capacity is not None
    assert (found.state, found.capacity.boundary, found.flags) == ("Complete", "Plateau", ()), found.message
    assert found.capacity.concurrency in (3, SLOTS)
    true = level(SLOW, SHORT, found.capacity.concurrency or 0).output_tokens_per_second
    assert found.capacity.output_tokens_per_second == pytest.approx(true, rel=0.1)
    windows = [point.window_seconds or 0 for point in found.curve if point.concurrency > 1]
    assert max(windows) < 3 * 4.5, "no longer than that takes"


@pytest.mark.parametrize("seed", [0, 1, 4, 5])
async def test_two_paces_leave_one_stream_a_rate_within_both(seed: int) -> None:
    """A few seconds of each were said to be known within 230 % to 360 %, which made all provisional."""
    law = SLOW.changed(ttft_per_token_ms=3.1, itl_base_ms=8.0, itl_per_seq_ms=3.0)
    found = await measured(TwoPaced(law, seed, mean_seconds=3.0), seed)
    assert found.flags == (), found.message
    assert found.single_stream is not None
    assert (found.single_stream.decode_ci_percent or 0) < 100


@pytest.mark.parametrize(
    ("rates", "full", "boundary"),
    [
        ({1: 40, 4: 80}, False, "Floor"),
        ({1: 40, 4: 80}, True, "Plateau"),
        ({1: 40, 40: 80, 200: 80}, False, "Plateau"),
    ],
)
def test_a_search_for_the_knee_has_found_what_bounds_it(
    rates: dict[int, float], full: bool, boundary: str
) -> None:
    tried = [
        TriedLevel(concurrency=streams, output_tokens_per_second=rate) for streams, rate in rates.items()
    ]
    step = next_level(tried, SearchLimits(top=max(rates), full=full))
    assert step.concurrency in range(2, 40)
    assert step.boundary == boundary


@pytest.mark.parametrize(
    ("boundary", "expected", "percent"), [("Plateau", "Plateau", 1.5 + 100 / 9), ("", "Floor", 1.5)]
)
def test_levels_that_are_missing_below_the_knee_do_not_make_it_a_lower_bound(
    boundary: str, expected: str, percent: float
) -> None:
    """``boundary``: of the search when it was cut. The knee may lie below: its rate by a tenth at most."""
    told = levels(result(1, 40), result(4, 80))
    found = findings(results=told, levels_missing=True, boundary=boundary)
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (4, expected)
    assert capacity.ci_percent == pytest.approx(percent)


@pytest.mark.parametrize(
    ("requests", "slo", "left_seconds", "expected"),
    [
        (4, ServiceLevel(), 60.0, 6.0),
        (9, ServiceLevel(), 60.0, 6.0),
        (10, ServiceLevel(), 60.0, None),
        (4, ServiceLevel(ttft_milliseconds=500), 60.0, None),
        (4, ServiceLevel(), 5.9, None),
        (4, ServiceLevel(), 6.0, 6.0),
    ],
)
async def test_only_a_window_of_few_requests_without_a_rate_goes_on(
    requests: int,
    slo: ServiceLevel,
    left_seconds: float,
    expected: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With many, or with an SLO's cohort, its rate would not be known sooner."""
    told = SimpleNamespace(has_rate=False, point=SimpleNamespace(requests=requests))
    monkeypatch.setattr(concurrency_levels, "evaluate", lambda *_, **__: told)
    monkeypatch.setattr(concurrency_levels, "detect_contention", lambda *_: SimpleNamespace(flags=()))
    bench: Any = MagicMock(slo=slo)
    bench.engine.machine = AsyncMock()
    bench.clock.left.return_value = left_seconds
    trace: Any = SimpleNamespace(started=True, broken=False, bins=[0.0] * 400, bin_nanoseconds=10_000_000)
    found = await concurrency_levels._Levels(bench, MagicMock())._longer(MagicMock(), trace, MagicMock())
    assert found == expected


async def test_a_level_that_sends_no_request_in_its_window_tells_its_rate_all_the_same() -> None:
    """Requests take 8 s: levels at the edge were measured for 0.5 s, and one stream was the capacity."""
    law = Law(ttft_base_ms=37, ttft_per_token_ms=0, itl_base_ms=39, itl_per_seq_ms=4.9, kv_tokens=10_000_000)
    slo, workload = ServiceLevel(tpot_milliseconds=71), Workload(input_tokens=1024, output_tokens=128)
    found = await probed(law, 1, slo, workload=workload, streams=16)
    assert found.capacity is not None
    assert (found.capacity.concurrency, found.capacity.boundary) == (6, "Edge"), found.message
    true = level(law, workload, 6).output_tokens_per_second
    assert found.capacity.output_tokens_per_second == pytest.approx(true, rel=0.03)
