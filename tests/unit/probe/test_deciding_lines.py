"""Single conditions by which a level, a capacity or traffic of others is judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.capacity import capacity_of, edge_of
from tacho_runtime.probe.consistency import filling_cache
from tacho_runtime.probe.cross_checks import check_counters, is_foreign
from tacho_runtime.probe.level_search import TriedLevel
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters
from tests.unit.probe.reporting import WORKLOAD, findings, levels, result
from tests.unit.probe.traces import MS, closed_loop, stream, trace_of

SLO = ServiceLevel(ttft_milliseconds=100, tpot_milliseconds=20)


def test_what_ended_requests_had_is_held_no_more() -> None:
    """They would hide that the others, new ones, will hold far more than now."""
    young = [stream(0, 41, whole=False) for _ in range(16)]
    ended = [stream(0, 240, itl_ms=1) for _ in range(16)]
    ends = tuple(
        CounterReading(stamp_ns=at * MS, counters=EngineCounters(kv_cache_usage=used))
        for at, used in ((100, 0.38), (500, 0.4))
    )
    trace = trace_of([*young, *ended], 100, 500, concurrency=16, first=(True,) * 32, readings=ends)
    assert filling_cache(trace, Workload(input_tokens=4, output_tokens=240))


@pytest.mark.parametrize(
    ("others", "received", "foreign"),
    [(None, 0, False), (7.0, 0, False), (9.0, 0, True), (37.0, 1000, False), (39.0, 1000, True)],
)
def test_from_how_many_tokens_on_others_are_there(
    others: float | None, received: float, foreign: bool
) -> None:
    assert is_foreign(others, received=received) is foreign


def made(share: float, *, seconds: float, running: float | None) -> tuple[str, ...]:
    """The flags of a window in which an engine made ``share`` of what came. Without gauges nobody knows whose
    it is."""
    plain = closed_loop(16)
    length = round(seconds * 1000)
    start = plain.start_ns
    window = replace(plain, end_ns=start + length * MS, bins=plain.bins[: length // 10])
    ends = tuple(
        CounterReading(
            stamp_ns=stamp,
            counters=EngineCounters(
                generated_tokens=count, running=running, waiting=running and 0.0, by_step=True
            ),
        )
        for stamp, count in ((start, 0.0), (window.end_ns, share * sum(window.bins)))
    )
    return check_counters(replace(window, readings=ends), behind=True).flags


def test_a_slow_front_end_excuses_more_tokens_only_where_nobody_else_is_there() -> None:
    assert made(2.0, seconds=1.5, running=8.0) == ()
    assert made(2.0, seconds=1.5, running=None) == ("OtherTraffic",)
    assert made(2.0, seconds=0.9, running=None) == (), "too short to count the same time"


def test_a_level_that_was_disturbed_replaces_none_that_was_not() -> None:
    found = findings(results=levels(result(8, 100)))
    found.add_level(result(8, 50, flags=("Contended",)))
    assert found.results[8].point.output_tokens_per_second == 100
    found.add_level(result(8, 98))
    assert found.results[8].point.output_tokens_per_second == 98
    found.results[8] = result(8, 40, flags=("Contended",))
    found.add_level(result(8, 50, flags=("Contended",)))
    assert found.results[8].point.output_tokens_per_second == 50


def test_the_most_that_an_engine_admits_is_a_plateau_without_a_level_above() -> None:
    found = findings(results=levels(result(1, 70), result(4, 200)), boundary="Plateau")
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (4, "Plateau")


def test_an_edge_is_as_uncertain_as_the_level_that_misses_the_service_level() -> None:
    low = TriedLevel(concurrency=10, output_tokens_per_second=500, tpot_ratio=0.8, rate_error=0.01)
    high = TriedLevel(concurrency=20, output_tokens_per_second=800, tpot_ratio=1.1, rate_error=0.01)
    plain, vague = edge_of(low, high), edge_of(low, replace(high, rate_error=0.3))
    assert vague.interval_percent > plain.interval_percent + 10
    assert vague.output_tokens_per_second == plain.output_tokens_per_second


def test_an_edge_that_first_tokens_set_is_no_less_certain_for_how_times_per_token_vary() -> None:
    """One on an H200 had ± 66 % so, between levels of ± 8 and ± 14 % (vllm-0.32-four/gate/64-sequences)."""
    low = TriedLevel(concurrency=87, output_tokens_per_second=6080, ttft_ratio=0.91, tpot_ratio=0.416)
    high = TriedLevel(concurrency=91, output_tokens_per_second=5540, ttft_ratio=1.05, tpot_ratio=0.452)
    plain = edge_of(low, high)
    assert edge_of(*(replace(one, tpot_error=0.1) for one in (low, high))) == plain
    by_tpot = (replace(low, tpot_ratio=0.98), replace(high, ttft_ratio=0.95, tpot_ratio=1.02))
    vague = edge_of(*(replace(one, tpot_error=0.1) for one in by_tpot))
    assert vague.interval_percent > edge_of(*by_tpot).interval_percent + 10
