"""The mock engine's scheduler does what its law says, on a clock that stands still until it is moved."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Any

import pytest

from tools.mock.engine_law import Law
from tools.mock.engine_simulated import SteppedEngine

LAW = Law(ttft_base_ms=10, ttft_per_token_ms=0.1, itl_base_ms=2, itl_per_seq_ms=1)


class Record:
    """What one request's client got: (when, tokens)."""

    def __init__(self) -> None:
        self.chunks: list[tuple[float, int]] = []

    def __call__(self, when: float, tokens: int, last: bool, _: object) -> None:
        self.chunks.append((when, tokens))

    @property
    def times(self) -> list[float]:
        return [when for when, _ in self.chunks]

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in pairwise(self.times)]


def alone(law: Law, tokens: int, prompt: int = 100) -> Record:
    engine, record = SteppedEngine(law), Record()
    engine.submit(prompt, tokens, sink=record)
    engine.drain()
    return record


def test_a_first_token_comes_by_the_law() -> None:
    engine = SteppedEngine(LAW)
    request = engine.submit(100, 3)
    engine.run(0.0199)
    assert request.generated == 0
    engine.run(0.0002)
    assert request.generated == 1
    assert request.first_token == pytest.approx(0.020)


@pytest.mark.parametrize("streams", [1, 4])
def test_each_later_token_costs_by_how_many_run(streams: int) -> None:
    engine = SteppedEngine(LAW)
    requests = [engine.submit(100, 1000) for _ in range(streams)]
    engine.run(0.020 + 50 * (0.002 + 0.001 * streams) + 1e-6)
    assert [request.generated for request in requests] == [51] * streams


def test_a_first_token_may_wait_for_each_that_runs() -> None:
    engine = SteppedEngine(LAW.changed(ttft_per_running_ms=5))
    requests = [engine.submit(100, 1000) for _ in range(3)]
    engine.run(0.1)
    assert [request.first_token for request in requests] == pytest.approx([0.020, 0.025, 0.030])


@pytest.mark.parametrize(("streams", "gap"), [(3, 0.005), (4, 0.006), (6, 0.006 + 2 * 0.0015)])
def test_above_the_knee_each_sequence_costs_more(streams: int, gap: float) -> None:
    law = LAW.changed(itl_knee=4, itl_per_seq_above_ms=0.5)
    engine, record = SteppedEngine(law), Record()
    for _ in range(streams - 1):
        engine.submit(100, 1000)
    engine.submit(100, 1000, sink=record)
    engine.run(0.5)
    assert record.gaps == pytest.approx([gap] * len(record.gaps))


def test_tokens_come_in_chunks_after_the_first() -> None:
    assert [tokens for _, tokens in alone(LAW.changed(tokens_per_chunk=4), 11).chunks] == [1, 4, 4, 2]


@pytest.mark.parametrize("mean", [1.5, 2.0, 3.7])
def test_a_step_brings_as_many_tokens_as_said_on_average_in_one_chunk(mean: float) -> None:
    record = alone(LAW.changed(tokens_per_step=mean), 20_000)
    later = [tokens for _, tokens in record.chunks[1:-1]]
    assert record.chunks[0][1] == 1
    assert statistics.mean(later) == pytest.approx(mean, rel=0.02)
    assert min(later) == 1
    assert len(set(later)) > 1
    assert record.gaps == pytest.approx([0.003] * len(record.gaps))
    assert sum(tokens for _, tokens in record.chunks) == 20_000


@pytest.mark.parametrize(
    ("law", "asked", "tokens", "reason"),
    [
        ({"eos_after": 5}, {"ignore_eos": False}, 5, "stop"),
        ({"eos_after": 5}, {"ignore_eos": True}, 20, "length"),
        ({"eos_after": 5}, {"ignore_eos": False, "min_tokens": 8}, 8, "stop"),
        ({"eos_after": 5, "stubborn_eos": True}, {"ignore_eos": True}, 5, "stop"),
        ({"eos_after": 50}, {"ignore_eos": False}, 20, "length"),
    ],
)
def test_where_output_ends(law: dict[str, Any], asked: dict[str, Any], tokens: int, reason: str) -> None:
    engine = SteppedEngine(LAW.changed(**law))
    request = engine.submit(100, 20, **asked)
    engine.drain()
    assert (request.generated, request.finish_reason) == (tokens, reason)
    assert engine.scheduler.totals.finished[reason] == 1


@pytest.mark.parametrize("law", [{"max_num_seqs": 2}, {"kv_tokens": 250}])
def test_what_does_not_fit_waits_and_begins_when_one_ends(law: dict[str, Any]) -> None:
    engine = SteppedEngine(LAW.changed(**law))
    requests = [engine.submit(100, 11) for _ in range(3)]
    assert (len(engine.scheduler.running), len(engine.scheduler.waiting)) == (2, 1)
    engine.drain()
    # The first two end at 20 + 10 x 4 ms; the third has its first token 20 ms after that.
    assert requests[2].first_token == pytest.approx(0.080)
    assert (len(engine.scheduler.running), len(engine.scheduler.waiting)) == (0, 0)


def test_an_optimistic_cache_preempts_the_youngest_which_computes_again() -> None:
    law = LAW.changed(kv_policy="preempt", kv_tokens=230)
    engine, first, second = SteppedEngine(law), Record(), Record()
    engine.submit(100, 60, sink=first)
    engine.submit(100, 60, sink=second)
    assert len(engine.scheduler.running) == 2
    engine.drain()
    # Full at 15 tokens each: the 31st has no room.
    assert engine.scheduler.totals.preemptions == 1
    assert [len(first.times), len(second.times)] == [60, 60]
    assert first.times[-1] == pytest.approx(0.020 + 15 * 0.004 + 44 * 0.003)
    # It waits for the first's end, then computes 100 + 15 tokens for its 16th.
    assert second.times[15] == pytest.approx(first.times[-1] + 0.010 + 115 * 0.0001)
    assert engine.scheduler.kv_used_tokens == 0


def test_an_aborted_request_gives_its_place_back() -> None:
    engine = SteppedEngine(LAW.changed(max_num_seqs=1))
    first, second = engine.submit(100, 1000), engine.submit(100, 2)
    engine.scheduler.abort(first, engine.now)
    engine.drain()
    assert second.generated == 2
    assert engine.scheduler.totals.finished == {"stop": 0, "length": 1, "abort": 1}


def test_an_equal_prompt_is_cached_and_faster_unless_there_is_no_cache() -> None:
    for caching, cached, ttft in ((True, 992, 0.0109), (False, 0, 0.1101)):
        engine = SteppedEngine(LAW.changed(prefix_caching=caching))
        engine.submit(1001, 1, prompt_key=7)
        engine.run(1)
        again = engine.submit(1001, 1, prompt_key=7)
        engine.drain()
        assert again.cached_tokens == cached
        assert again.first_token == pytest.approx(1 + ttft)
        assert engine.scheduler.totals.cached_tokens == cached


def test_a_cache_may_hit_where_none_should() -> None:
    engine = SteppedEngine(LAW.changed(cached_share=0.5))
    request = engine.submit(1001, 1)
    engine.drain()
    assert request.cached_tokens == 496
    assert request.first_token == pytest.approx(0.010 + 505 * 0.0001)


@pytest.mark.parametrize("cv", [0.1, 0.5])
def test_jitter_has_the_given_variation_and_keeps_the_mean(cv: float) -> None:
    gaps = alone(LAW.changed(jitter_cv=cv), 40_000).gaps
    assert statistics.mean(gaps) == pytest.approx(0.003, rel=0.02)
    # A step may lie in two cells of time: then it has less variation, never more than what is given.
    assert 0.7 * cv < statistics.stdev(gaps) / 0.003 < 1.15 * cv


def test_jitter_slows_all_sequences_together() -> None:
    engine, records = SteppedEngine(LAW.changed(jitter_cv=0.3)), (Record(), Record())
    for record in records:
        engine.submit(100, 1000, sink=record)
    engine.drain()
    assert statistics.correlation(records[0].gaps, records[1].gaps) > 0.9


def test_in_a_stall_nothing_comes_and_between_stalls_the_law_holds() -> None:
    law = LAW.changed(stall_every_ms=500, stall_ms=80)
    engine, records = SteppedEngine(law), (Record(), Record())
    for record in records:
        engine.submit(100, 10_000, sink=record)
    engine.drain()
    gaps = records[0].gaps
    stalled = [gap for gap in gaps if gap > 0.02]
    assert stalled == pytest.approx([0.084] * len(stalled))
    assert [gap for gap in gaps if gap <= 0.02] == pytest.approx([0.004] * (len(gaps) - len(stalled)))
    assert len(stalled) == pytest.approx(40 / 0.5, rel=0.1)
    assert [gap > 0.02 for gap in records[1].gaps] == [gap > 0.02 for gap in gaps]
    starts = [when for when, gap in zip(records[0].times, gaps, strict=False) if gap > 0.02]
    between = [after - before - 0.08 for before, after in pairwise(starts)]
    assert 0.24 < min(between) < 0.35 < 0.65 < max(between) < 0.76


def test_a_request_that_comes_during_a_stall_waits_for_its_end() -> None:
    engine = SteppedEngine(LAW.changed(stall_every_ms=1, stall_ms=1000))
    engine.run(0.5)
    request = engine.submit(100, 1)
    engine.drain()
    # 20 stalls or so lie in the 20 ms of its prefill, and what was left of the one it came into.
    assert 10 < request.first_token < 40


def test_the_first_batch_of_a_size_is_slow_and_later_ones_are_not() -> None:
    engine = SteppedEngine(LAW.changed(cold_ms=500))
    ttfts = []
    for streams in (1, 1, 2, 3, 3):
        begin = engine.now
        requests = [engine.submit(100, 5) for _ in range(streams)]
        engine.drain()
        ttfts.append(requests[-1].first_token - begin)
    # Sizes are seen by powers of two: a batch of three passes one of two.
    assert ttfts == pytest.approx([0.520, 0.020, 0.520, 0.020, 0.020])


def test_a_slow_front_end_bounds_what_is_streamed_and_not_what_comes_in_one_piece() -> None:
    law = LAW.changed(frontend_us=1000)
    engine, records = SteppedEngine(law), [Record() for _ in range(10)]
    for record in records:
        engine.submit(100, 200, sink=record)
    engine.drain()
    # 10 streams at 12 ms a token would be 833 chunks a second; 1000 fit. With 5 ms they do not.
    assert max(record.times[-1] for record in records) == pytest.approx(0.020 + 199 * 0.012, rel=0.02)
    for streamed, seconds in ((True, 2000 * 0.001), (False, 199 * 0.005)):
        engine = SteppedEngine(law.changed(itl_base_ms=5, itl_per_seq_ms=0))
        records = [Record() for _ in range(10)]
        for record in records:
            engine.submit(100, 200, sink=record, streamed=streamed)
        engine.drain()
        assert max(record.times[-1] for record in records) == pytest.approx(0.020 + seconds, rel=0.001)


def test_what_nobody_reads_any_more_costs_the_front_end_nothing() -> None:
    engine, record = SteppedEngine(LAW.changed(frontend_us=10_000)), Record()
    request = engine.submit(100, 200)
    engine.run(0.3)
    engine.scheduler.abort(request, engine.now)
    engine.submit(100, 1, sink=record)
    engine.drain()
    # What was being sent is sent, then comes the new one's.
    assert record.times[0] < 0.3 + 0.020 + 0.010 + 0.010


def test_foreign_traffic_comes_and_goes_and_takes_its_share() -> None:
    law = LAW.changed(foreign_streams=3, foreign_from_s=1.0, foreign_seconds=2.0, foreign_output_tokens=50)
    engine, record = SteppedEngine(law), Record()
    engine.submit(100, 1000, sink=record)
    engine.run(1.5)
    assert len(engine.scheduler.running) == 4
    engine.drain()
    gap_at = dict(zip(record.times, record.gaps, strict=False))
    assert all(gap == pytest.approx(0.003) for when, gap in gap_at.items() if not 0.99 < when < 3.0)
    assert all(gap == pytest.approx(0.006) for when, gap in gap_at.items() if 1.0 <= when < 2.99)
    others = engine.scheduler.totals.generated_tokens - 1000
    # Each takes 10 + 12.8 ms to its first token, then 49 steps of 6 ms.
    assert others == pytest.approx(3 * 2.0 * 50 / (0.0228 + 49 * 0.006), rel=0.1)


@pytest.mark.parametrize("field", ["itl_base_ms", "jitter_cv"])
def test_a_law_may_change_while_requests_run(field: str) -> None:
    engine, record = SteppedEngine(LAW), Record()
    engine.submit(100, 1000, sink=record)
    engine.run(1.0)
    engine.scheduler.law = engine.scheduler.law.changed(**{field: 1.0})
    engine.drain()
    later = [gap for when, gap in zip(record.times, record.gaps, strict=False) if when > 1.2]
    assert (len({round(gap, 6) for gap in later}) > 1) == (field == "jitter_cv")
    assert (statistics.mean(later) == pytest.approx(0.002, rel=0.001)) == (field == "itl_base_ms")


@pytest.mark.parametrize("nonsense", [{"kv_policy": "swap"}, {"tokens_per_step": 0.5}, {"cached_share": 2}])
def test_what_is_no_law(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(nonsense))):
        LAW.changed(**nonsense)


def test_what_is_late_can_be_done_in_parts() -> None:
    engine = SteppedEngine(LAW)
    request = engine.submit(100, 1000)
    engine.now = 10.0
    engine.scheduler.advance(engine.now, 10)
    assert request.generated == 10
    assert engine.scheduler.next_due() == pytest.approx(0.020 + 10 * 0.003)
    engine.scheduler.advance(engine.now)
    assert request.generated == 1000
