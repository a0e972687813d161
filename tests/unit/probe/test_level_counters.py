"""A level's figures against the engine's own counters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacho_runtime.probe.cross_checks import claims_more
from tacho_runtime.probe.levels import evaluate
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters
from tacho_runtime.probe.load.streams import StreamResult
from tests.unit.probe.traces import (
    MS,
    NO_SLO,
    WORKLOAD,
    closed_loop,
    times,
)


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


@pytest.mark.parametrize("share", [0.94, 1.06])
def test_readings_that_took_long_are_no_sign_of_a_load_balancer_or_of_other_clients(share: float) -> None:
    """A front end at its limit answers /metrics late, and at an unknown time of the answer it counted."""
    plain = closed_loop(16)
    made = share * sum(plain.bins)
    ends = reading(plain.start_ns // MS, 50), reading(plain.end_ns // MS, 50 + made)
    late = tuple(replace(one, uncertain_ns=(plain.end_ns - plain.start_ns) // 40) for one in ends)
    quick = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    slow = evaluate(replace(plain, readings=late), WORKLOAD, NO_SLO)
    assert quick is not None
    assert slow is not None
    assert (bool(quick.notes), slow.notes, slow.point.flags) == (True, (), ())


def test_a_counter_of_one_of_several_engines_does_not_lower_the_rate() -> None:
    """Behind a load balancer /metrics is that of one; the answers say how many tokens they have."""
    plain = closed_loop(16)
    told = replace(plain, streams=tuple(replace(stream, has_total=True) for stream in plain.streams))
    ends = reading(plain.start_ns // MS, 50), reading(plain.end_ns // MS, 50 + 0.5 * sum(plain.bins))
    without = evaluate(plain, WORKLOAD, NO_SLO)
    result = evaluate(replace(told, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert without is not None
    assert result.point.counted_by == "Client"
    assert result.point.output_tokens_per_second == without.point.output_tokens_per_second
    assert "behind a load balancer" in " ".join(result.notes)
    one = (replace(plain.streams[0], has_total=True), *plain.streams[1:])
    partly = evaluate(replace(plain, streams=one, readings=ends), WORKLOAD, NO_SLO)
    assert partly is not None
    assert partly.point.counted_by == "Engine"


@pytest.mark.parametrize("share", [0.5, 0.25, 0.0])
@pytest.mark.parametrize("near", [False, True])
def test_requests_that_another_engine_has_are_not_in_a_front_end(share: float, near: bool) -> None:
    """By the gauges of one of several engines the others' requests are missing: no server process helps."""
    plain = closed_loop(16)
    told = replace(plain, streams=tuple(replace(stream, has_total=True) for stream in plain.streams))
    ends = tuple(
        CounterReading(
            stamp_ns=at_ns,
            counters=EngineCounters(generated_tokens=made, by_step=True, running=16 * share, waiting=0.0),
        )
        for at_ns, made in ((plain.start_ns, 50), (plain.end_ns, 50 + share * sum(plain.bins)))
    )
    result = evaluate(replace(told, readings=ends), WORKLOAD, NO_SLO, near=near)
    assert result is not None
    assert result.point.flags == ()
    (note,) = result.notes
    assert "behind a load balancer" in note


def test_a_counter_that_stands_still_and_answers_without_totals_leave_the_clients_count() -> None:
    plain = closed_loop(16)
    ends = reading(plain.start_ns // MS, 50), reading(plain.end_ns // MS, 50)
    result = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert (result.point.counted_by, result.notes) == ("Client", ())
    assert result.point.output_tokens_per_second > 0


def test_no_time_to_a_first_token_follows_from_a_sum_that_fell() -> None:
    """As where the second reading is that of another engine, or of one that was restarted."""
    plain = closed_loop(16)
    ends = tuple(
        CounterReading(
            stamp_ns=at_ns, counters=EngineCounters(ttft_seconds_sum=total, ttft_seconds_count=count)
        )
        for at_ns, total, count in ((plain.start_ns, 90.0, 100.0), (plain.end_ns, 30.0, 150.0))
    )
    result = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert result.point.engine_ttft_milliseconds is None


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
    ("before", "after", "steady"), [(0.5, 0.96, False), (0.96, 0.97, True), (0.2, 0.5, True)]
)
def test_a_cache_that_fills_up_is_no_steady_state(before: float, after: float, steady: bool) -> None:
    plain = closed_loop(16)
    ends = tuple(
        CounterReading(stamp_ns=stamp, counters=EngineCounters(kv_cache_usage=usage))
        for stamp, usage in ((plain.start_ns, before), (plain.end_ns, after))
    )
    result = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert result.point.steady is steady


def test_what_a_front_end_is_known_to_hold_back_is_not_somebody_elses() -> None:
    """Of sixteen requests it shows the engine eight, which makes twice the tokens that arrive."""
    plain = closed_loop(16)
    many = times(100, plain)
    ends = [
        CounterReading(
            stamp_ns=stamp,
            counters=EngineCounters(generated_tokens=made, running=8.0, waiting=0.0, by_step=True),
        )
        for stamp, made in ((plain.start_ns, 0.0), (plain.end_ns, 2 * sum(many.bins)))
    ]
    without = evaluate(many, WORKLOAD, NO_SLO)
    result = evaluate(replace(many, readings=tuple(ends)), WORKLOAD, NO_SLO)
    assert result is not None
    assert without is not None
    assert result.point.flags == ("FrontendBound",)
    assert result.point.ci_percent == without.point.ci_percent
    far = evaluate(replace(many, readings=tuple(ends)), WORKLOAD, NO_SLO, near=False)
    assert far is not None
    assert (far.point.flags, "or the network" in far.notes[-1]) == ((), True)
    assert result.point.output_tokens_per_second == without.point.output_tokens_per_second


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


def test_streams_that_have_not_all_begun_or_left_are_no_other_clients() -> None:
    plain = closed_loop(16, started=False)
    ends = (holding(40, 0, 100, by_step=True), holding(40, 0, 900, by_step=True))
    result = evaluate(replace(plain, readings=ends), WORKLOAD, NO_SLO)
    assert result is not None
    assert "OtherTraffic" not in result.point.flags


@pytest.mark.parametrize(
    ("own", "there", "flags"),
    [
        (None, (40.0, 40.0), ("OtherTraffic",)),
        (None, (16.0, 40.0), ()),
        (16.0, (40.0,), ()),
        (32.0, (40.0,), ("OtherTraffic",)),
        (None, (9.0, 5.0), ()),
    ],
)
def test_requests_show_other_clients_where_the_start_of_the_engine_moves(
    own: float | None, there: tuple[float, ...], flags: tuple[str, ...]
) -> None:
    """No engine has more of the probe's requests than were sent, whichever of several it is."""
    plain = closed_loop(16)
    first = CounterReading(stamp_ns=plain.start_ns, counters=EngineCounters(running=own, waiting=0.0))
    others = (CounterReading(stamp_ns=plain.end_ns, counters=_requests(count)).elsewhere() for count in there)
    without = evaluate(plain, WORKLOAD, NO_SLO)
    result = evaluate(replace(plain, readings=(first, *others)), WORKLOAD, NO_SLO)
    assert result is not None
    assert without is not None
    assert result.point.flags == flags
    assert result.point.ci_percent == without.point.ci_percent or flags


def _requests(count: float) -> EngineCounters:
    return EngineCounters(running=count - 1.0, waiting=1.0, generated_tokens=count)


@pytest.mark.parametrize(
    ("made", "answered", "is_told"),
    [
        (64.0, 4.0, True),
        (128.0, 4.0, False),
        (100.0, 4.0, False),
        (64.0, 2.0, False),
        (32.0, 2.0, False),
        (0.0, 0.0, False),
        (64.0, 9.0, False),
        (64.0, None, False),
    ],
    ids=[
        "half",
        "all",
        "counted late",
        "one of two engines",
        "its short ones",
        "another",
        "others' too",
        "uncounted",
    ],
)
def test_tokens_that_answers_claim_are_compared_with_the_engines_of_each(
    made: float, answered: float | None, is_told: bool
) -> None:
    streams = [StreamResult(sent_ns=0, tokens=((1, 1.0), (2, 31.0)), has_total=True) for _ in range(4)]
    before = EngineCounters(generated_tokens=5.0, ttft_seconds_count=None if answered is None else 3.0)
    after = EngineCounters(generated_tokens=5.0 + made, ttft_seconds_count=3.0 + (answered or 0.0))
    assert bool(claims_more(before, after, streams)) == is_told
    uncounted = [*streams[1:], replace(streams[0], has_total=False)]
    assert not claims_more(before, after, uncounted)
