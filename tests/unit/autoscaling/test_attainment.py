"""SLO attainment: its bounds, what judges it, and the capacity correction by it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tacho_contract.report import LATENCY_EDGES_SECONDS, LatencyHistogram, latency_histogram
from tacho_operator.core.autoscaling.algorithm import attainment
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost
from tacho_operator.core.autoscaling.algorithm.types import (
    Attainment,
    Bounds,
    Correction,
    Policy,
    Sample,
    Track,
)
from tests.unit.autoscaling.test_parts import COST, TARGETS, histogram, track

NONE = histogram({2.5: 0, 5.0: 0}, 0)
ALONE = dataclasses.replace(TARGETS, tpot_seconds=None)


def test_a_target_between_two_edges_has_bounds() -> None:
    after = histogram({2.5: 80, 5.0: 90}, 100)
    assert attainment.within(NONE, after, 3.0) == (100, 80, 90)
    assert attainment.within(NONE, after, 2.5) == (100, 80, 80)
    assert attainment.within(after, after, 3.0) == (0, 0, 0)
    assert attainment.within(NONE, after, None) == (0, 0, 0)
    assert attainment.within(None, after, 3.0) == (0, 0, 0), "counted at an unknown time"
    assert attainment.within(after, histogram({2.5: 4, 5.0: 4}, 4), 3.0) == (4, 4, 4), "restarted"
    again = histogram({2.5: 0, 5.0: 120}, 120)
    assert attainment.within(after, again, 3.0) == (20, 0, 20), "restarted, and busier than before: unseen"


LATENCIES = st.lists(st.floats(0.0005, 700.0), max_size=40)


@given(LATENCIES, LATENCIES, st.sampled_from((0.0004, 0.012, 0.0123, 3.0, 650.0)))
def test_edges_that_are_left_out_move_no_bound(old: list[float], new: list[float], target: float) -> None:
    """The bounds are those of the whole histogram: its next edges below and above the target."""

    def read(latencies: list[float]) -> LatencyHistogram:
        counts = [sum(one <= edge for one in latencies) for edge in LATENCY_EDGES_SECONDS]
        return latency_histogram(LATENCY_EDGES_SECONDS, counts, len(latencies))

    below = max((edge for edge in LATENCY_EDGES_SECONDS if edge <= target), default=0.0)
    above = min((edge for edge in LATENCY_EDGES_SECONDS if edge >= target), default=math.inf)
    expected = (len(new), sum(one <= below for one in new), sum(one <= above for one in new))
    assert attainment.within(read(old), read([*old, *new]), target) == expected


def seen(
    former: Mapping[str, Track], tracks: Mapping[str, Track], policy: Policy, cost: RequestCost | None = None
) -> Attainment:
    counted = attainment.counted(former, tracks, policy, cost)
    return attainment.recent(Attainment(), counted.values(), tracks.values(), policy, 10.0)


def test_marginals_bound_the_joint_attainment() -> None:
    before = track(ttft=NONE, tpot=histogram({0.010: 0, 0.025: 0}, 0))
    after = track(ttft=histogram({2.5: 90, 5.0: 95}, 100), tpot=histogram({0.010: 80, 0.025: 99}, 100))
    found = seen({"a": before}, {"a": after}, TARGETS)
    assert (found.requests, found.bounds) == (100, pytest.approx((0.9 + 0.8 - 1, 0.95)))


@pytest.mark.parametrize(("claimed", "counted"), [(600, 600), (10**6, 0)])
def test_a_pod_whose_counters_jump_does_not_outvote_the_others(claimed: int, counted: int) -> None:
    """Nine pods met it for none of 20 requests. Plausible in 100 s are 600, and 30 at the beginning."""
    before = {str(pod): track(ttft=NONE) for pod in range(10)}
    late, met = histogram({2.5: 0, 5.0: 0}, 20), histogram({2.5: claimed, 5.0: claimed}, claimed)
    after = {uid: Track(Sample(time_seconds=100.0, ttft=met if uid == "9" else late)) for uid in before}
    assert seen(before, after, ALONE, COST).ttft_counts == (180 + counted, counted, counted)


def test_a_target_that_nothing_counts_may_be_met_or_missed() -> None:
    after = track(ttft=histogram({3.0: 90}, 100))
    assert seen({"a": track(ttft=NONE)}, {"a": after}, TARGETS).bounds == pytest.approx((0, 0.9))
    none = seen({"a": track()}, {"a": track(first_tokens=100.0)}, TARGETS)
    assert (none.requests, none.bounds) == (0, (0, 1))


def corrected(
    former: Correction, share: tuple[float, float, float], *, settled: bool = True, seconds: float = 10.0
) -> Correction:
    """After 10 s more with so many requests, and the least and the highest share of them that met it."""
    requests, lower, upper = share
    counts = (requests, requests * lower, requests * upper)
    tracks = [track(ttft=NONE)]
    found = attainment.recent(former.seen, [(counts, attainment.NOTHING)], tracks, ALONE, seconds)
    return attainment.corrected(former, found, ALONE, settled=settled, seconds=seconds)


def correction(*shares: tuple[float, float, float], settled: bool = True, first: float = 1.0) -> float:
    found = Correction(factor=first)
    for share in shares:
        found = corrected(found, share, settled=settled)
    return found.factor


def test_a_missed_percentile_lowers_the_capacity_within_bounds() -> None:
    missed, unsure, met = (20.0, 0.7, 0.8), (20.0, 0.8, 1.0), (20.0, 0.97, 1.0)
    assert correction(*[missed] * 5) == 1.0, "not for a minute yet"
    assert correction(*[missed] * 6) == 0.9
    assert correction(*[missed] * 6, settled=False) == 1.0, "replicas are missing"
    assert correction(*[missed] * 500) == 0.5
    waited = corrected(Correction(), missed, settled=False)
    for at in range(36):
        assert waited.factor == 1.0, f"requests that waited for replicas, {at}"
        waited = corrected(waited, missed)
    assert waited.factor == 0.9
    assert correction(*[unsure] * 500) == 1.0, "the edges do not show it"
    assert correction(*[met] * 29, first=0.9) == 0.9
    assert correction(*[met] * 30, first=0.9) == 1.0
    assert correction(*[met] * 500) == 1.0
    assert correction(*[(0.1, 0.0, 0.0)] * 20) == 1.0, "too few requests"


def test_misses_within_a_deviation_are_chance() -> None:
    """95 of 100 are to meet it: 93 and a deviation of 2.6 are 95.6, 85 and one of 3.6 are 88.6."""
    chance, miss = (100.0, 0.93, 0.93), (100.0, 0.85, 0.85)
    assert correction(*[chance] * 6) == 0.9, "540 requests show it"
    once = [corrected(Correction(seconds=60.0), share).factor for share in (chance, miss)]
    assert once == [1.0, 0.9]


def test_what_no_figure_decides_is_tried_again_after_three_quarters_of_an_hour() -> None:
    """The next edges of 12 ms may be 10 and 25: between them, no request is known to meet it."""
    wide, idle = (20.0, 0.0, 1.0), (0.0, 0.0, 0.0)
    assert [correction(*[wide] * count, first=0.9) for count in (269, 270)] == [0.9, 1.0]
    assert [correction(*[idle] * count, first=0.9) for count in (269, 270)] == [0.9, 1.0]


def tpot_track(now: float, met: int, total: int) -> Track:
    return Track(Sample(time_seconds=now, tpot=histogram({0.010: met, 0.012: met, 0.025: total}, total)))


@pytest.mark.parametrize(("met", "factor"), [(0, 0.81), (20, 1.0)])
def test_a_tpot_alone_lowers_the_capacity_and_raises_it_again(met: int, factor: float) -> None:
    policy, found = dataclasses.replace(TARGETS, ttft_seconds=None), Correction(factor=0.9)
    count = 6 if met == 0 else 30
    for at in range(count):
        before, after = (tpot_track(10.0 * n, met * n, 20 * n) for n in (at, at + 1))
        counted = attainment.counted({"a": before}, {"a": after}, policy).values()
        recent = attainment.recent(found.seen, counted, [after], policy, 10.0)
        found = attainment.corrected(found, recent, policy, settled=True, seconds=10.0)
    assert found.factor == pytest.approx(factor)


def test_attainment_says_what_judges_each_target() -> None:
    def sources(**fields: object) -> tuple[str | None, str | None]:
        found = attainment.recent(Attainment(), (), [track(**fields)], TARGETS, 10.0)
        return found.ttft, found.tpot

    assert sources(ttft=NONE, tpot=NONE) == ("Histogram", "Histogram")
    assert sources(ttft=NONE) == ("Histogram", "None")
    assert sources(first_tokens=1.0, running=1) == ("None", "None")
    recent = attainment.recent(Attainment(), (), [], Policy(bounds=Bounds(least=1, most=1)), 10.0)
    assert (recent.ttft, recent.tpot, recent.shares) == (None, None, None)


REQUESTS = st.lists(
    st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 9), st.booleans()), min_size=1, max_size=30
)


@settings(max_examples=30)
@given(REQUESTS)
def test_the_lower_bound_holds_whenever_a_request_ends(requests: list[tuple[int, bool, int, bool]]) -> None:
    """Each has a pod, meets its TTFT or not, takes so many samples to its end, and meets its TPOT or not."""
    found, former = Attainment(), {str(pod): track(ttft=NONE, tpot=NONE) for pod in range(10)}
    for sample in range(1, 12):
        tracks = {}
        for pod in range(10):
            own = [item for item in requests if item[0] == pod]
            ended = [item for item in own if item[2] < sample]
            good, met = sum(item[1] for item in own), sum(item[3] for item in ended)
            tracks[str(pod)] = track(
                ttft=histogram({5.0: good}, len(own)), tpot=histogram({0.012: met}, len(ended))
            )
        counted = attainment.counted(former, tracks, TARGETS)
        found = attainment.recent(found, counted.values(), tracks.values(), TARGETS, 0.0)
        former = tracks
    assert found.shares is not None
    both = sum(ttft and tpot for _, ttft, _, tpot in requests) / len(requests)
    assert found.shares[0] - 1e-9 <= both <= found.shares[1] + 1e-9


@pytest.mark.parametrize("fields", [{"ttft": NONE}, {"tpot": NONE, "first_tokens": 0.0}, {}])
def test_an_attainment_of_a_target_that_no_histogram_counts_is_unknown(fields: dict[str, Any]) -> None:
    after = {
        name: histogram({5.0: 9}, 9) if isinstance(value, LatencyHistogram) else 9.0
        for name, value in fields.items()
    }
    assert seen({"a": track(**fields)}, {"a": track(**after)}, TARGETS).shares is None


def test_the_share_of_both_targets_is_a_lower_bound_of_at_least_nothing() -> None:
    def of(*counts: float) -> tuple[float, float] | None:
        return Attainment(ttft="Histogram", tpot="Histogram", ttft_counts=counts, tpot_counts=counts).shares

    assert of(10, 3, 4) == (0.0, 0.4)
    assert of(0.5, 0.5, 0.5) is None, "no request"
