"""A level's figures, from streams whose times are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.latencies import latencies, slo_ratios
from tacho_runtime.probe.levels import evaluate
from tacho_runtime.probe.load.counters import CounterReading, EngineCounters
from tacho_runtime.probe.load.streams import StreamResult

MS = 1_000_000
BIN_NS = 10 * MS
TTFT_MS, ITL_MS, OUTPUT_TOKENS = 100, 10, 41
SERVICE_MS = TTFT_MS + (OUTPUT_TOKENS - 1) * ITL_MS
WORKLOAD = Workload(input_tokens=64, output_tokens=OUTPUT_TOKENS)
NO_SLO = ServiceLevel()


def stream(sent_ms: int, tokens: int, *, whole: bool = True, itl_ms: float = ITL_MS) -> StreamResult:
    stamps = [round((sent_ms + TTFT_MS + index * itl_ms) * MS) for index in range(tokens)]
    return StreamResult(
        sent_ns=sent_ms * MS,
        tokens=tuple((stamp, 1.0) for stamp in stamps),
        exact=True,
        finish_reason="length" if whole else "",
    )


def trace_of(streams: list[StreamResult], start_ms: int, end_ms: int, **changes: Any) -> LoadTrace:
    bins = [0.0] * ((end_ms - start_ms) // 10)
    for one in streams:
        for stamp, count in one.tokens:
            place = (stamp - start_ms * MS) // BIN_NS
            if 0 <= place < len(bins):
                bins[place] += count
    values: dict[str, Any] = {
        "concurrency": 2,
        "start_ns": start_ms * MS,
        "end_ns": end_ms * MS,
        "streams": tuple(streams),
        "bin_nanoseconds": BIN_NS,
        "bins": tuple(bins),
        "requests_ended": sum(bool(one.finish_reason) for one in streams),
    }
    return LoadTrace(**(values | changes))


def closed_loop(concurrency: int, until_ms: int = 3000, **changes: Any) -> LoadTrace:
    """Streams that began together with residual lives, followed to ``until_ms``, counted for four lives."""
    first, later = [], []
    for index in range(concurrency):
        life = 1 + index * OUTPUT_TOKENS // concurrency
        first.append(stream(0, life))
        at = TTFT_MS + (life - 1) * ITL_MS
        while at < until_ms:
            tokens = min(OUTPUT_TOKENS, max(0, (until_ms - at - TTFT_MS) // ITL_MS + 1))
            if tokens:
                later.append(stream(at, tokens, whole=tokens == OUTPUT_TOKENS))
            at += SERVICE_MS
    later.sort(key=lambda one: one.sent_ns)
    end_ms = TTFT_MS + 4 * SERVICE_MS
    return trace_of(
        [*first, *later],
        TTFT_MS,
        end_ms,
        concurrency=concurrency,
        first=(True,) * len(first) + (False,) * len(later),
        sent_until_ns=(TTFT_MS + SERVICE_MS) * MS,
        **changes,
    )


def times(factor: float, trace: LoadTrace) -> LoadTrace:
    """The same with more tokens at each moment."""
    streams = tuple(
        replace(one, tokens=tuple((stamp, factor * count) for stamp, count in one.tokens))
        for one in trace.streams
    )
    return replace(trace, streams=streams, bins=tuple(factor * count for count in trace.bins))


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
    assert (point.steady, point.flags, point.slo_met, result.slo_ratio) == (True, (), None, None)
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
    ("slo", "slo_ratio"),
    [
        (ServiceLevel(tpot_milliseconds=20), 0.5),
        (ServiceLevel(ttft_milliseconds=50), 2.0),
        (ServiceLevel(ttft_milliseconds=50, tpot_milliseconds=40), 2.0),
        (ServiceLevel(ttft_milliseconds=400, tpot_milliseconds=10), 1.0),
        (NO_SLO, None),
    ],
)
def test_the_worse_of_both_latencies_strains_the_service_level(
    slo: ServiceLevel, slo_ratio: float | None
) -> None:
    ratios = slo_ratios(latencies(closed_loop(4), WORKLOAD), slo)
    assert max((one for one in ratios if one is not None), default=None) == slo_ratio
    result = evaluate(closed_loop(4), WORKLOAD, slo)
    assert result is not None
    assert result.point.slo_met is (None if slo_ratio is None else slo_ratio <= 1)
    assert (result.goodput is None) is (slo_ratio is None)
    if result.goodput:
        kept = 100 if slo_ratio is not None and slo_ratio <= 1 else 0
        assert result.goodput.compliance_percent == kept
        assert result.goodput.compliance_percent_lower95 < 100


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
    waiting = replace(stream(700, 1), tokens=())
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


def reading(at_ms: int, made: float | None, *, by_step: bool = True) -> CounterReading:
    return CounterReading(
        stamp_ns=at_ms * MS, counters=EngineCounters(generated_tokens=made, by_step=by_step)
    )


@pytest.mark.parametrize(
    ("share", "by_step", "counted", "flags"),
    [
        (1.0, True, "Client", ()),
        (1.02, True, "Client", ()),
        (1.4, True, "Client", ("OtherTraffic",)),
        (1.4, False, "Client", ()),
        (0.8, True, "Engine", ()),
    ],
)
def test_the_engines_counter_is_held_against_what_came(
    share: float, by_step: bool, counted: str, flags: tuple[str, ...]
) -> None:
    plain = closed_loop(16)
    seconds = (plain.end_ns - plain.start_ns) / 1e9
    made = share * sum(plain.bins)
    ends = (
        reading(plain.start_ns // MS, 50, by_step=by_step),
        reading(plain.end_ns // MS, 50 + made, by_step=by_step),
    )
    without = evaluate(plain, WORKLOAD, NO_SLO)
    result = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert without is not None
    assert (result.point.counted_by, result.point.flags) == (counted, flags)
    corrected = share if counted == "Engine" and abs(share - 1) > 0.1 else 1.0
    assert result.point.output_tokens_per_second == pytest.approx(
        corrected * without.point.output_tokens_per_second, rel=0.03
    )
    assert seconds > 1


def holding(running: float, waiting: float, at_ms: int, *, by_step: bool) -> CounterReading:
    counters = EngineCounters(running=running, waiting=waiting, generated_tokens=0.0, by_step=by_step)
    return CounterReading(stamp_ns=at_ms * MS, counters=counters)


@pytest.mark.parametrize(
    ("held", "by_step", "flags", "wider"),
    [
        (((16, 0), (15, 0)), True, (), 0.0),
        (((16, 1), (17, 0)), True, ("OtherTraffic",), 0.0),
        (((16, 1), (17, 0)), False, ("OtherTraffic",), 0.0),
        # Gone by the end, or come since: it was there for a part of the time.
        (((16, 1), (16, 0)), True, (), 6.25),
        (((16, 0), (12, 5)), True, (), 6.25),
        (((16, 0), (12, 5)), False, (), 6.25),
        # May be what was hung up on before.
        (((16, 1), (16, 0)), False, (), 0.0),
    ],
)
def test_more_requests_than_were_sent_are_somebody_elses(
    held: tuple[tuple[int, int], tuple[int, int]], by_step: bool, flags: tuple[str, ...], wider: float
) -> None:
    plain = closed_loop(16)
    first = holding(*held[0], plain.start_ns // MS, by_step=by_step)
    ends = (first, holding(*held[1], plain.end_ns // MS, by_step=by_step))
    without = evaluate(plain, WORKLOAD, NO_SLO)
    result = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert without is not None
    assert result.point.flags == flags
    assert result.point.ci_percent == pytest.approx((without.point.ci_percent or 0.0) + wider)


@pytest.mark.parametrize(
    ("share", "held", "flags", "wider"),
    [
        (1.2, 16, (), 20.0),
        (1.3, 16, ("OtherTraffic",), 0.0),
        (1.2, 18, ("OtherTraffic",), 0.0),
    ],
)
def test_what_a_full_front_end_has_not_sent_yet_is_not_somebody_elses(
    share: float, held: int, flags: tuple[str, ...], wider: float
) -> None:
    """Its gauges say that nobody else is there; so much more than came is not believed without end."""
    plain = closed_loop(16)
    many = times(100, plain)
    ends = [
        CounterReading(
            stamp_ns=stamp,
            counters=EngineCounters(generated_tokens=made, running=count, waiting=0.0, by_step=True),
        )
        for stamp, made, count in ((plain.start_ns, 0.0, 16.0), (plain.end_ns, share * sum(many.bins), held))
    ]
    without = evaluate(many, WORKLOAD, NO_SLO)
    result = evaluate(replace(many, readings=tuple(ends)), WORKLOAD, NO_SLO)
    assert result is not None
    assert without is not None
    assert result.point.flags == flags
    assert (result.point.ci_percent or 0.0) - (without.point.ci_percent or 0.0) == pytest.approx(wider, abs=1)
    assert result.point.output_tokens_per_second == without.point.output_tokens_per_second


def test_few_steps_are_known_to_a_step() -> None:
    """Steps as long as the bins in which they are compared: all look alike, and yet where in one of the 24
    the window opens and closes is a 24th of it."""
    long = Workload(input_tokens=9, output_tokens=10_000)
    together = [stream(0, 40, whole=False, itl_ms=250) for _ in range(4)]
    result = evaluate(trace_of(together, 150, 6150, concurrency=4), long, NO_SLO)
    assert result is not None
    assert result.point.ci_percent is not None
    assert result.point.ci_percent == pytest.approx(100 / 24, rel=0.02)


@pytest.mark.parametrize(("share", "counted"), [(1.02, 1.02), (0.98, 0.98)])
def test_of_many_tokens_the_engines_count_is_the_finer_one(share: float, counted: float) -> None:
    long = closed_loop(16)
    many = times(1000, long)
    ends = (reading(long.start_ns // MS, 0), reading(long.end_ns // MS, share * sum(many.bins)))
    alone, both = evaluate(many, WORKLOAD, NO_SLO), evaluate(replace(many, readings=ends), WORKLOAD, NO_SLO)
    assert alone is not None
    assert both is not None
    assert (alone.point.counted_by, both.point.counted_by) == ("Client", "Engine")
    assert both.point.output_tokens_per_second == pytest.approx(
        counted * alone.point.output_tokens_per_second, rel=1e-6
    )


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
    two = [StreamResult(sent_ns=0, tokens=tuple(stamps), exact=True)] * 2
    result = evaluate(trace_of(two, 100, int(at)), Workload(input_tokens=1, output_tokens=400), NO_SLO)
    assert result is not None
    assert not result.point.steady


@pytest.mark.parametrize("streams", [[], [stream(0, 1)]])
def test_too_little_is_no_point(streams: list[StreamResult]) -> None:
    assert evaluate(trace_of(streams, 0, 1000), WORKLOAD, NO_SLO) is None


def test_requests_per_second_count_short_answers_and_whole_ones() -> None:
    """One in four ends after 11 of 41 tokens: 33.5 on average."""
    ends = [stream(1000 * index, 41 if index % 4 else 11) for index in range(24)]
    ends = [replace(one, finish_reason="length" if index % 4 else "stop") for index, one in enumerate(ends)]
    result = evaluate(trace_of(ends, 50, 24_050, concurrency=1), WORKLOAD, NO_SLO)
    assert result is not None
    assert result.point.requests_per_second == pytest.approx(1.0, rel=0.05)


def test_streams_that_have_not_all_begun_or_left_are_no_other_clients() -> None:
    plain = closed_loop(16, started=False)
    ends = (holding(40, 0, 100, by_step=True), holding(40, 0, 900, by_step=True))
    result = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert "OtherTraffic" not in result.point.flags


@pytest.mark.parametrize(("limit_ms", "kept"), [(200, False), (5000, True)])
def test_requests_that_wait_for_longer_than_the_limit_break_the_service_level(
    limit_ms: int, kept: bool
) -> None:
    plain = closed_loop(16)
    waiting = tuple(
        StreamResult(sent_ns=plain.start_ns + place * MS, tokens=(), exact=True) for place in range(8)
    )
    trace = replace(plain, streams=(*plain.streams, *waiting), first=(*plain.first, *(False,) * 8))
    slo = ServiceLevel(ttft_milliseconds=limit_ms)
    ratio, _ = slo_ratios(latencies(trace, WORKLOAD), slo)
    assert ratio is not None
    assert (ratio <= 1) is kept
