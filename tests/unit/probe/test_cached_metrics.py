"""Metrics that a proxy keeps for some seconds: what they show of the past is no limit of the front end."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from tacho_runtime.probe.levels import evaluate
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters
from tacho_runtime.probe.sequence import run_probe
from tests.unit.probe.engines import live, mock_engine, target
from tests.unit.probe.traces import NO_SLO, WORKLOAD, closed_loop, times

STREAMS = 16


def page(stamp_ns: int, made: float, running: float) -> CounterReading:
    counters = EngineCounters(generated_tokens=made, running=running, waiting=0.0, by_step=True)
    return CounterReading(stamp_ns=stamp_ns, counters=counters)


@pytest.mark.parametrize("first", [4.0, 16.0])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_older_page_is_no_limit_of_the_front_end_and_changes_no_rate(kept: int, first: float) -> None:
    """Of four pages the first is of the level before, and after ``kept`` others one is shown twice."""
    plain = closed_loop(STREAMS)
    each, made = (plain.end_ns - plain.start_ns) // 3, sum(plain.bins)
    pages = [page(plain.start_ns + each * at, made * at / 3, first if at == 0 else 16.0) for at in range(4)]
    pages[kept + 1] = replace(pages[kept], stamp_ns=pages[kept + 1].stamp_ns)
    without = evaluate(plain, WORKLOAD, NO_SLO)
    result = evaluate(replace(plain, readings=tuple(pages)), WORKLOAD, NO_SLO)
    assert result is not None
    assert without is not None
    assert result.point.flags == ()
    assert result.point.output_tokens_per_second == without.point.output_tokens_per_second
    assert "as from a cache" in result.notes[-1]


def test_a_page_of_the_level_before_at_first_alone_is_no_limit_either() -> None:
    plain = closed_loop(STREAMS)
    pages = (page(plain.start_ns, 0.0, 4.0), page(plain.end_ns, sum(plain.bins), 16.0))
    result = evaluate(replace(plain, readings=pages), WORKLOAD, NO_SLO)
    assert result is not None
    assert result.point.flags == ()


def test_other_clients_are_flagged_although_the_page_is_kept() -> None:
    plain = times(100, closed_loop(STREAMS))
    pages = tuple(page(stamp, 50.0, 20.0) for stamp in (plain.start_ns, plain.end_ns))
    result = evaluate(replace(plain, readings=pages), WORKLOAD, NO_SLO)
    assert result is not None
    assert result.point.flags == ("OtherTraffic",)


async def test_an_engine_behind_a_cache_is_not_said_to_be_bound_by_its_front_end() -> None:
    """It was at 8 of 16 streams, by a page of the level before."""
    law = {"ttft_base_ms": 20.0, "ttft_per_token_ms": 0.0, "itl_base_ms": 8.0, "itl_per_seq_ms": 0.5}
    with mock_engine(**law, page_seconds=3.0) as port:
        measured = await run_probe(
            target(port, concurrency=STREAMS, slots=STREAMS),
            live(inputs=32, outputs=32, budget=15, timeout=60),
            plan_key="plan",
            rng=Random(1),
        )
    assert max(point.concurrency for point in measured.curve) == STREAMS
    assert "FrontendBound" not in measured.flags, measured
