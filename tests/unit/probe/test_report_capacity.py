"""Which level is what a replica carries, and how it is bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity
from tacho_runtime.probe.capacity import capacity_of
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.open_loop import OpenLoopResult
from tacho_runtime.probe.report import fit_of
from tacho_runtime.probe.session import ProbeFindings
from tests.unit.probe.reporting import SLO, WORKLOAD, findings, levels, opened, report, result


@pytest.mark.parametrize(
    ("rates", "best", "boundary"),
    [
        ({1: 70}, 1, "Floor"),
        ({1: 70, 4: 200}, 4, "Floor"),
        ({1: 70, 2: 195, 4: 200}, 2, "Plateau"),
        ({1: 70, 4: 200, 8: 190}, 4, "Plateau"),
        ({8: 190, 4: 200, 1: 70}, 4, "Plateau"),
        ({1: 200, 2: 200}, 1, "Plateau"),
    ],
)
def test_without_a_service_level_capacity_is_the_knee(
    rates: dict[int, float], best: int, boundary: str
) -> None:
    found = findings(results=levels(*(result(level, rate) for level, rate in rates.items())))
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary, capacity.basis) == (best, boundary, "Knee")
    saturation = report(found).saturation
    assert saturation is not None
    assert saturation.output_tokens_per_second == max(rates.values())


@pytest.mark.parametrize(
    ("rates", "best"),
    [({1: 70, 8: 400, 48: 500, 96: 505, 124: 503}, 48), ({1: 70, 8: 400, 48: 530, 96: 505, 124: 503}, 96)],
)
def test_on_a_plateau_the_fewest_streams_of_as_much_throughput_are_the_capacity(
    rates: dict[int, float], best: int
) -> None:
    """Further ones only wait, however well they keep the SLO; what was faster by chance is not as much."""
    found = levels(*(result(level, rate, slo_ratio=0.5) for level, rate in rates.items()))
    capacity = capacity_of(findings(results=found, boundary="Plateau"), WORKLOAD, SLO)
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (best, "Plateau")


def test_a_knee_of_a_search_out_of_time_is_a_floor() -> None:
    found = findings(results=levels(result(1, 70), result(8, 190), result(16, 200)), out_of_time=True)
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (8, "Floor")


@pytest.mark.parametrize(("rate", "boundary"), [(1400.0, "Floor"), (75.0, "Plateau")])
def test_an_unsteady_level_with_more_throughput_contradicts_a_plateau(rate: float, boundary: str) -> None:
    """It is no capacity, but more streams do bring more: 534 tok/s on an H200, and 14,100 with 256."""
    unsteady = result(256, rate, flags=("NotSteady",))
    found = findings(results=levels(result(1, 70), unsteady), boundary="Floor")
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (1, boundary)


def test_a_steady_level_with_more_throughput_does_not_contradict_a_knee_by_first_windows() -> None:
    """No time was left for a further level after the knee's longer window: the interval has it."""
    found = findings(results=levels(result(8, 150), result(16, 200)), boundary="Plateau", knee=8)
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (8, "Plateau")


@pytest.mark.parametrize(
    ("slo_ratios", "best", "boundary"),
    [
        ({1: 0.3, 64: 0.9}, 64, "Floor"),
        ({1: 0.3, 64: 3.0, 20: 0.99, 21: 1.01}, 20, "Edge"),
        ({1: 0.3, 2: 1.2}, 1, "Edge"),
        ({1: 0.3, 64: 3.0, 20: 0.99}, 20, "Floor"),
        ({1: 1.3, 64: 3.0}, 1, "NeverMet"),
        # A level that keeps it beyond one that does not is noise, and no capacity.
        ({1: 0.3, 8: 1.1, 16: 0.9}, 1, "Floor"),
    ],
)
def test_under_a_service_level_capacity_is_the_most_that_keeps_it(
    slo_ratios: dict[int, float], best: int, boundary: str
) -> None:
    rows = (result(level, 100.0 * level, slo_ratio=slo_ratio) for level, slo_ratio in slo_ratios.items())
    capacity = capacity_of(findings(results=levels(*rows)), WORKLOAD, SLO)
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary, capacity.basis) == (best, boundary, "SLO")
    assert capacity.verified is None


@pytest.mark.parametrize("ci_percent", [None, 31.0])
def test_a_level_that_tells_no_rate_is_shown_nowhere_and_bounds_the_capacity(
    ci_percent: float | None,
) -> None:
    """At 21 streams tokens came too unevenly to say how many, and too late for the service level."""
    told = (result(1, 70, slo_ratio=0.2), result(20, 200, slo_ratio=0.99))
    over = result(21, 900, slo_ratio=1.2, ci_percent=ci_percent, flags=("Contended",))
    measured = report(findings(results=levels(*told, over)), SLO)
    assert [point.concurrency for point in measured.curve] == [1, 20]
    assert measured.saturation is not None
    assert measured.saturation.concurrency == 20
    assert measured.capacity is not None
    assert (measured.capacity.concurrency, measured.capacity.boundary) == (20, "Edge")
    assert measured.capacity.ci_percent == pytest.approx(1.5 + 5.0)
    assert measured.fit is None
    assert measured.flags == ("Contended",), "the edge is where something else may have put it"
    assert measured.state == "Complete"


@pytest.mark.parametrize("ci_percent", [None, 45.0])
@pytest.mark.parametrize(("slo_ratio", "boundary"), [(0.3, "Edge"), (1.2, "NeverMet")])
def test_one_stream_is_told_however_wide_its_interval_is(
    ci_percent: float | None, slo_ratio: float, boundary: str
) -> None:
    rows = (result(1, 70, slo_ratio=slo_ratio, ci_percent=ci_percent), result(2, 100, slo_ratio=1.3))
    measured = report(findings(results=levels(*rows)), SLO)
    assert measured.capacity is not None
    assert (measured.capacity.concurrency, measured.capacity.boundary) == (1, boundary)
    assert measured.capacity.ci_percent == ci_percent
    assert measured.state == "Complete"


@pytest.mark.parametrize(
    ("passed", "verified"),
    [(None, None), (opened(None), None), (opened(True), True), (opened(False), False)],
)
def test_requests_as_they_arrive_confirm_the_capacity_or_do_not(
    passed: OpenLoopResult | None, verified: bool | None
) -> None:
    found = findings(
        results=levels(result(1, 70, slo_ratio=0.2), result(4, 200, slo_ratio=0.9)),
        opened=passed,
    )
    measured = report(found, SLO)
    assert measured.capacity is not None
    assert measured.capacity.verified is verified
    assert measured.capacity.output_tokens_per_second == 200
    assert measured.capacity.requests_per_second == 20
    assert (measured.open_loop is None) is (not passed)


def test_a_disturbed_level_is_the_highest_only_where_there_is_no_other() -> None:
    found = findings(results=levels(result(1, 70), result(4, 200), result(8, 900, flags=("Contended",))))
    saturation = report(found).saturation
    assert saturation is not None
    assert saturation.concurrency == 4
    alone = report(findings(results=levels(result(8, 900, flags=("Contended",))))).saturation
    assert alone is not None
    assert alone.concurrency == 8


def test_the_law_is_fitted_through_three_levels_or_not_at_all() -> None:
    rows = [result(1, 70), result(4, 200), result(16, 300)]
    fit = fit_of(rows)
    assert fit is not None
    assert (fit.alpha_milliseconds, fit.beta_microseconds) == (pytest.approx(10), pytest.approx(1000))
    assert fit.r2 == pytest.approx(1)
    assert fit_of(rows[:2]) is None


def test_an_edge_without_a_rate_has_that_of_the_level_below() -> None:
    def at_edge(rated_to: int) -> Capacity | None:
        rows = (result(rated_to, 200, slo_ratio=0.9), result(51, 300, slo_ratio=0.99, ci_percent=99.0))
        found = findings(results=levels(result(1, 70, slo_ratio=0.2), *rows, result(54, 310, slo_ratio=1.1)))
        return capacity_of(found, WORKLOAD, SLO)

    near, far = at_edge(49), at_edge(30)
    assert near is not None
    assert far is not None
    assert (near.boundary, near.output_tokens_per_second, near.ci_percent) == (
        "Edge", 200, pytest.approx(1.5 + 100 * 2 / 49),
    )  # fmt: skip
    assert far.boundary == "Floor"


def test_no_level_is_no_capacity() -> None:
    assert capacity_of(ProbeFindings(), WORKLOAD, ServiceLevel()) is None


@pytest.mark.parametrize(
    ("slo", "found"),
    [
        # The level that breaks the service level was slowed down: without that it might have kept it.
        (
            ServiceLevel(tpot_milliseconds=20),
            levels(
                result(1, 70, slo_ratio=0.5),
                result(4, 200, slo_ratio=0.9),
                result(5, 150, slo_ratio=1.2, flags=("Contended",)),
            ),
        ),
        # The highest level was slowed down: the knee is a share of too little.
        (
            ServiceLevel(),
            levels(result(1, 70), result(4, 200), result(16, 190, flags=("Contended",))),
        ),
    ],
)
def test_what_bounds_the_capacity_may_not_be_disturbed(
    slo: ServiceLevel, found: dict[int, LevelResult]
) -> None:
    measured = report(findings(results=found), slo)
    assert measured.capacity is not None
    assert measured.capacity.concurrency == 4
    assert measured.flags == ("Contended",)


def test_a_level_far_beyond_the_engine_need_not_be_steady() -> None:
    found = levels(result(1, 70), result(4, 200), result(256, 190, flags=("NotSteady",)))
    assert report(findings(results=found)).flags == ()


def test_one_steady_stream_is_not_the_most_that_was_reached_by_several() -> None:
    """One stream alone was steady; the levels at the GPU's power limit were not."""
    disturbed = (result(168, 8500, flags=("NotSteady",)), result(256, 8700, flags=("Throttled",)))
    measured = report(findings(results=levels(result(1, 201), *disturbed)))
    assert measured.saturation is not None
    assert measured.saturation.concurrency == 256
    assert measured.capacity is not None
    assert measured.capacity.concurrency == 256, "what is not steady decides nothing"


def test_a_knees_interval_says_how_far_it_lies_above_nine_tenths() -> None:
    found = findings(results=levels(result(1, 70), result(4, 190), result(16, 200)))
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert capacity.concurrency == 4
    assert capacity.ci_percent == pytest.approx(1.5 + 100 * (190 / 180 - 1))


@pytest.mark.parametrize(("kept", "broken", "wider"), [(0.7, 1.3, 0.0), (0.99, 1.3, 6.0), (0.7, 1.01, 6.0)])
def test_an_edge_that_chance_decides_is_as_uncertain_as_the_next_level(
    kept: float, broken: float, wider: float
) -> None:
    rows = (result(1, 70, slo_ratio=0.2), result(20, 200, slo_ratio=kept), result(21, 212, slo_ratio=broken))
    capacity = capacity_of(findings(results=levels(*rows)), WORKLOAD, SLO)
    assert capacity is not None
    assert capacity.ci_percent == pytest.approx(1.5 + wider)


@pytest.mark.parametrize(
    ("rates", "ci_percent", "wider"),
    [
        ({1: 120, 4: 200}, 1.5, 0.0),
        # One stream might have reached nine tenths of it, and another probe would call that the knee.
        ({1: 178, 4: 200}, 1.5, 100 * (1 - 178 / 200)),
        ({1: 170, 4: 200}, 1.5, 0.0),
        ({1: 170, 4: 200}, 6.0, 100 * (1 - 170 / 200)),
        # One stream reached them narrowly, and another probe may not find so.
        ({1: 182, 2: 195, 4: 200}, 1.5, 100 * (195 / 182 - 1)),
        ({1: 189, 2: 195, 4: 200}, 1.5, 100 * (189 / 200 / 0.9 - 1)),
        # There another one would try levels in between.
        ({1: 20, 10: 182, 40: 200}, 3.0, 100 * (0.9 / (0.91 * (1 - 0.03 * 2**0.5)) - 1)),
    ],
)
def test_a_knee_that_chance_decides_is_known_no_better_than_the_levels_it_decides_between(
    rates: dict[int, float], ci_percent: float, wider: float
) -> None:
    rows = (result(level, rate, ci_percent=ci_percent) for level, rate in rates.items())
    capacity = capacity_of(findings(results=levels(*rows)), WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert capacity.ci_percent == pytest.approx(ci_percent + wider)


@pytest.mark.parametrize("ci_percent", [60.0, 120.0])
def test_an_interval_of_half_a_rate_and_more_says_no_more_than_twice_the_streams(ci_percent: float) -> None:
    rows = (result(1, 182, ci_percent=ci_percent), result(4, 2), result(8, 200))
    capacity = capacity_of(findings(results=levels(*rows)), WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert capacity.concurrency == 1
    assert capacity.ci_percent == pytest.approx(ci_percent + 100 * (0.9 / (0.91 * 0.5) - 1))


def test_an_edge_needs_the_rate_of_the_highest_level_that_keeps_the_service_level() -> None:
    """At 100 streams tokens came too unevenly for a rate; the next lower level is no edge."""
    rows = (
        result(1, 100, slo_ratio=0.2), result(8, 700, slo_ratio=0.3),
        result(100, 4000, slo_ratio=0.97, ci_percent=35.0), result(106, 4100, slo_ratio=1.03),
    )  # fmt: skip
    capacity = capacity_of(findings(results=levels(*rows)), WORKLOAD, SLO)
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (8, "Floor")


def test_never_met_is_said_of_one_stream_alone() -> None:
    assert capacity_of(findings(results=levels(result(8, 700, slo_ratio=1.3))), WORKLOAD, SLO) is None


@pytest.mark.parametrize(
    ("ttft_ratio", "tpot_ratio", "said"), [(1.2, 0.8, True), (1.2, 1.1, False), (0.9, 1.1, False)]
)
def test_a_capacity_that_ttft_sets_says_what_passed_outside_the_engine(
    ttft_ratio: float, tpot_ratio: float, said: bool
) -> None:
    missed = result(8, 300)
    point = replace(missed.point, ttft_slo_ratio=ttft_ratio, tpot_slo_ratio=tpot_ratio)
    missed = replace(missed, point=point, waits_outside="at 8 streams 50 ms passed outside the engine")
    lower = replace(result(4, 200, slo_ratio=0.5), waits_outside="at 4 streams 20 ms passed outside")
    found = report(findings(results=levels(result(1, 70, slo_ratio=0.4), lower, missed)), SLO)
    assert ("at 8 streams 50 ms passed outside the engine" in found.message) == said
    assert "at 4 streams" not in found.message
