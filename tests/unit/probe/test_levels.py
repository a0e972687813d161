"""A level's figures, from streams whose times are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.latencies import latencies, slo_ratios
from tacho_runtime.probe.levels import evaluate
from tacho_runtime.probe.load.streams import StreamResult
from tests.unit.probe.traces import (
    ITL_MS,
    MS,
    NO_SLO,
    OUTPUT_TOKENS,
    SERVICE_MS,
    TTFT_MS,
    WORKLOAD,
    closed_loop,
    stream,
    trace_of,
)


@pytest.mark.parametrize("concurrency", [2, 5, 16])
def test_a_steady_loop_gives_its_law(concurrency: int) -> None:
    result = evaluate(closed_loop(concurrency), WORKLOAD, NO_SLO)
    assert result is not None
    point = result.point
    rate = concurrency * OUTPUT_TOKENS / SERVICE_MS * 1000
    assert point.output_tokens_per_second == pytest.approx(rate, rel=0.03)
    assert point.requests_per_second == pytest.approx(concurrency / SERVICE_MS * 1000, rel=0.03)
    assert point.ttft_milliseconds_p50 == TTFT_MS
    assert point.tpot_milliseconds_p50 == ITL_MS
    assert point.end_to_end_milliseconds_p50 == SERVICE_MS
    assert (point.steady, point.flags, point.slo_met) == (True, (), None)
    assert result.notes == ()
    assert result.clean


def test_streams_that_move_together_are_counted_from_step_to_step() -> None:
    """A window that opens just behind a step would miss half a step on average: 2 % of 25 steps."""
    together = [stream(0, 200, whole=False, itl_ms=100) for _ in range(8)]
    result = evaluate(trace_of(together, 110, 2690, concurrency=8), WORKLOAD, NO_SLO)
    assert result is not None
    assert result.point.output_tokens_per_second == pytest.approx(80, rel=0.005)


def test_tokens_of_requests_that_never_ended_count() -> None:
    cut = [stream(0, 60, whole=False), stream(0, 60, whole=False)]
    long = Workload(input_tokens=9, output_tokens=10_000)
    result = evaluate(trace_of(cut, 110, 600), long, NO_SLO)
    assert result is not None
    assert result.point.output_tokens_per_second == pytest.approx(200, rel=0.01)
    assert result.point.requests == 0
    assert "no request began inside the window" in result.notes[0]
    assert result.point.end_to_end_milliseconds_p50 is None


def test_percentiles_need_their_samples() -> None:
    few, many = evaluate(closed_loop(2), WORKLOAD, NO_SLO), evaluate(closed_loop(16), WORKLOAD, NO_SLO)
    assert few is not None
    assert many is not None
    assert few.point.ttft_milliseconds_p95 is None
    assert many.point.ttft_milliseconds_p95 == TTFT_MS


def test_short_first_requests_say_nothing_of_the_time_per_token() -> None:
    """Their few gaps would be the widest of all: only requests of half the length or more count."""
    odd = [stream(0, 9, itl_ms=90), stream(0, OUTPUT_TOKENS), stream(0, OUTPUT_TOKENS)]
    assert latencies(trace_of(odd, 50, 600), WORKLOAD).tpot == [ITL_MS, ITL_MS]


def test_whole_requests_tell_the_time_per_token_where_there_are_some() -> None:
    """Half of a request differs more from its mean than a whole one, and would break a limit by chance."""
    cut = [stream(0, OUTPUT_TOKENS * 5 // 8, whole=False, itl_ms=14) for _ in range(3)]
    whole = [stream(0, OUTPUT_TOKENS) for _ in range(5)]
    assert latencies(trace_of([*cut, *whole], 50, 900), WORKLOAD).tpot == [ITL_MS] * 5
    assert latencies(trace_of([*cut, *whole[1:]], 50, 900), WORKLOAD).tpot == [14] * 3 + [ITL_MS] * 4


@pytest.mark.parametrize(
    ("slo", "slo_ratio", "met"),
    [
        (ServiceLevel(tpot_milliseconds=20), 0.5, True),
        (ServiceLevel(ttft_milliseconds=50), 2.0, False),
        (ServiceLevel(ttft_milliseconds=50, tpot_milliseconds=40), 2.0, False),
        (ServiceLevel(ttft_milliseconds=400, tpot_milliseconds=10), 1.0, None),
        (NO_SLO, None, None),
    ],
)
def test_the_worse_of_both_latencies_strains_the_service_level(
    slo: ServiceLevel, slo_ratio: float | None, met: bool | None
) -> None:
    """Times to the first token of so few requests show no percentile."""
    ratios = slo_ratios(latencies(closed_loop(4), WORKLOAD), slo)
    assert max((one for one in ratios if one is not None), default=None) == slo_ratio
    result = evaluate(closed_loop(4), WORKLOAD, slo)
    assert result is not None
    assert result.point.slo_met is met
    assert (result.goodput is None) is (slo_ratio is None)
    if result.goodput:
        kept = 100 if slo_ratio is not None and slo_ratio <= 1 else 0
        assert result.goodput.compliance_percent == kept
        assert result.goodput.compliance_percent_lower95 < 100


@pytest.mark.parametrize(("streams", "met"), [(4, None), (20, True)])
def test_a_whole_cohort_shows_that_a_ttft_is_met(streams: int, met: bool | None) -> None:
    result = evaluate(closed_loop(streams), WORKLOAD, ServiceLevel(ttft_milliseconds=400))
    assert result is not None
    assert result.point.slo_met is met


def test_times_count_from_when_a_request_was_meant_to_be_sent() -> None:
    late = [stream(500, OUTPUT_TOKENS)]
    found = latencies(trace_of(late, 0, 2000, intended_ns=(300 * MS,)), WORKLOAD)
    assert found.ttft == [TTFT_MS + 200]
    assert found.end_to_end == [SERVICE_MS + 200]


def test_end_to_end_is_measured_once_all_that_were_followed_have_ended() -> None:
    """The short ones end first."""
    drawn = [stream(500, tokens) for tokens in (31, 36, 51)]
    assert latencies(trace_of(drawn, 0, 2000), WORKLOAD).end_to_end == [400, 450, 600]
    followed = {"first": (False,) * 3, "sent_until_ns": 600 * MS}
    assert latencies(trace_of(drawn, 0, 2000, **followed), WORKLOAD).end_to_end == [400, 450, 600]
    cut = [*drawn[:2], stream(500, 51, whole=False)]
    assert latencies(trace_of(cut, 0, 2000, **followed), WORKLOAD).end_to_end == []


def test_a_streams_first_request_counts_in_no_latency() -> None:
    """It lived through the time in which the loop was filled."""
    slow, usual = stream(0, OUTPUT_TOKENS, itl_ms=30), stream(600, OUTPUT_TOKENS)
    found = latencies(
        trace_of([slow, usual], 500, 2000, first=(True, False), sent_until_ns=1000 * MS), WORKLOAD
    )
    assert (found.ttft, found.tpot, found.end_to_end) == ([TTFT_MS], [ITL_MS], [SERVICE_MS])


def test_a_request_that_waits_ends_the_times_to_first_tokens() -> None:
    """Those sent after it and answered are the fast ones."""
    waiting = replace(stream(700, 1, whole=False), tokens=())
    asked = [stream(600, OUTPUT_TOKENS), waiting, stream(800, OUTPUT_TOKENS)]
    assert latencies(trace_of(asked, 500, 2000, first=(False,) * 3), WORKLOAD).ttft == [TTFT_MS]


def test_time_per_token_is_that_of_the_window() -> None:
    """A request that began under another load tells the load of the window with its tokens there."""
    before = [(round(at * MS), 1.0) for at in range(100, 1000, 50)]
    inside = [(round((1000 + at) * MS), 1.0) for at in range(0, 400, 10)]
    changing = replace(stream(0, 1, whole=False), tokens=(*before, *inside))
    assert latencies(trace_of([changing], 1000, 2000, first=(False,)), WORKLOAD).tpot == [10]


@pytest.mark.parametrize(("share", "steady"), [(1.0, True), (1.02, True), (1.1, False), (0.9, False)])
def test_rate_and_latencies_that_contradict_each_other_decide_nothing(share: float, steady: bool) -> None:
    even = closed_loop(16)
    result = evaluate(replace(even, bins=tuple(share * count for count in even.bins)), WORKLOAD, NO_SLO)
    assert result is not None
    assert (result.point.steady, result.clean) == (steady, steady)
    assert bool(result.notes) is not steady


def by_turns(fast_ms: float, slow_ms: float) -> LoadTrace:
    """Four streams that share their steps, which are fast for a second or two and slow for as long."""
    at, stamps = 0.0, [0.0]
    while at < 6000:
        at += fast_ms if int(at / 1500) % 2 else slow_ms
        stamps.append(at)
    tokens = tuple((round(stamp * MS), 1.0) for stamp in stamps)
    return trace_of([StreamResult(sent_ns=0, tokens=tokens)] * 4, 0, 6000, concurrency=4)


def test_what_all_streams_share_is_uncertain_however_many_they_are() -> None:
    limit = ServiceLevel(tpot_milliseconds=11)
    alike, changing = (evaluate(by_turns(*pair), WORKLOAD, limit) for pair in ((10, 10), (8, 12)))
    assert alike is not None
    assert changing is not None
    assert (alike.tpot_error, alike.near_limit) == (pytest.approx(0, abs=1e-3), False)
    assert changing.near_limit
    assert changing.point.tpot_slo_ratio == pytest.approx(
        changing.point.tpot_milliseconds_p50 / 11 * (1 + 1.645 * changing.tpot_error), rel=0.01
    )


def test_few_steps_are_known_to_a_step() -> None:
    """Steps as long as the bins in which they are compared: all look alike, and yet where in one of the 24
    the window opens and closes is a 24th of it."""
    long = Workload(input_tokens=9, output_tokens=10_000)
    together = [stream(0, 40, whole=False, itl_ms=250) for _ in range(4)]
    result = evaluate(trace_of(together, 150, 6150, concurrency=4), long, NO_SLO)
    assert result is not None
    assert result.point.ci_percent is not None
    assert result.point.ci_percent == pytest.approx(100 / 24, rel=0.02)


def test_whole_requests_that_differ_widen_the_interval() -> None:
    """The bins are as even as can be; the requests lasted 0.5 and 1 s in turn for as many tokens."""
    even = closed_loop(16)
    turns = [stream(20 * index, OUTPUT_TOKENS, itl_ms=10 + 12.5 * (index % 2)) for index in range(20)]
    uneven = replace(even, streams=tuple(turns), first=(False,) * len(turns))
    (plain, wide) = (evaluate(trace, WORKLOAD, NO_SLO) for trace in (even, uneven))
    assert plain is not None
    assert wide is not None
    assert (plain.point.ci_percent or 100.0) < 5
    assert (wide.point.ci_percent or 0.0) > 10


def test_a_level_whose_streams_did_not_all_begin_or_stay_is_not_steady() -> None:
    for change in ({"started": False}, {"failures": ("gone",)}):
        result = evaluate(closed_loop(4, **change), WORKLOAD, NO_SLO)
        assert result is not None
        assert result.point.flags == ("NotSteady",)
        assert not result.clean


def test_a_slowing_engine_is_not_steady() -> None:
    stamps, at = [], 100.0
    for index in range(300):
        stamps.append((int(at * MS), 1.0))
        at += 5 + index * 0.1
    two = [StreamResult(sent_ns=0, tokens=tuple(stamps))] * 2
    result = evaluate(trace_of(two, 100, int(at)), Workload(input_tokens=1, output_tokens=400), NO_SLO)
    assert result is not None
    assert not result.point.steady


@pytest.mark.parametrize("streams", [[], [stream(0, 1)]])
def test_too_little_is_no_point(streams: list[StreamResult]) -> None:
    assert evaluate(trace_of(streams, 0, 1000), WORKLOAD, NO_SLO) is None


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_requests_per_second_count_short_answers_and_whole_ones(reason: str) -> None:
    """One in four ends after 11 of 41 tokens, whatever it says of that: 33.5 on average."""
    ends = [stream(1000 * index, 41 if index % 4 else 11) for index in range(24)]
    ends = [replace(one, finish_reason="length" if index % 4 else reason) for index, one in enumerate(ends)]
    result = evaluate(trace_of(ends, 50, 24_050, concurrency=1), WORKLOAD, NO_SLO)
    assert result is not None
    assert result.point.requests_per_second == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("limit_ms", "kept"), [(200, False), (5000, True)])
def test_requests_that_wait_for_longer_than_the_limit_break_the_service_level(
    limit_ms: int, kept: bool
) -> None:
    plain = closed_loop(16)
    waiting = tuple(StreamResult(sent_ns=plain.start_ns + place * MS, tokens=()) for place in range(8))
    trace = replace(plain, streams=(*plain.streams, *waiting), first=(*plain.first, *(False,) * 8))
    slo = ServiceLevel(ttft_milliseconds=limit_ms)
    ratio, _ = slo_ratios(latencies(trace, WORKLOAD), slo)
    assert ratio is not None
    assert (ratio <= 1) is kept


@pytest.mark.parametrize("lost", [slice(-30, None), slice(0, 30), slice(-15, None)])
@pytest.mark.parametrize("streams", [2, 16])
def test_a_halt_at_an_end_of_the_window_counts_as_one_inside(lost: slice, streams: int) -> None:
    """It was no part of the rate, nor of an interval of 1 %, wherever no step followed it."""
    plain = closed_loop(streams)
    bins = list(plain.bins)
    bins[lost] = [0.0] * len(bins[lost])
    whole = evaluate(plain, WORKLOAD, NO_SLO)
    halted = evaluate(replace(plain, bins=tuple(bins)), WORKLOAD, NO_SLO)
    assert whole is not None
    assert halted is not None
    rate = sum(bins) / (len(bins) * plain.bin_nanoseconds / 1e9)
    assert halted.point.output_tokens_per_second == pytest.approx(rate, rel=0.03)
    apart = 100 * (whole.point.output_tokens_per_second / rate - 1)
    assert halted.point.ci_percent is None or halted.point.ci_percent > 0.8 * apart


def test_an_answer_that_the_model_ends_without_a_token_is_no_request_that_waits() -> None:
    """It took the probe with it, or cut the times to a first token where it was sent."""
    loop = closed_loop(2)
    ended = StreamResult(sent_ns=loop.start_ns + MS, tokens=(), finish_reason="stop")
    trace = replace(loop, streams=(*loop.streams, ended), first=(*loop.first, False), sent_until_ns=0)
    assert ended not in trace.under_load
    result = evaluate(trace, WORKLOAD, NO_SLO)
    assert result is not None
    whole = replace(trace, sent_until_ns=trace.end_ns)
    assert latencies(whole, WORKLOAD).waiting == []
    assert len(latencies(whole, WORKLOAD).ttft) == len(latencies(loop, WORKLOAD).ttft)
