from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.launch import LiveConfig, ServiceLevel
from tacho_contract.measurement import CurvePoint, Measurement, OpenLoop, Workload
from tacho_runtime.probe.asking.counters import Counters
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.findings import Findings, Prompt
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.openloop import OpenResult
from tacho_runtime.probe.report import assemble, capacity_of, fit_of
from tacho_runtime.probe.search import Shape

MS = 1_000_000
WORKLOAD = Workload(input_tokens=100, output_tokens=10)
ENDED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def stream(**changes: Any) -> Stream:
    values: dict[str, Any] = {
        "sent_ns": 0,
        "tokens": tuple(((50 + 10 * index) * MS, 1.0) for index in range(10)),
        "exact": True,
        "finish_reason": "length",
        "prompt_tokens": 100,
    }
    return Stream(**(values | changes))


def result(
    concurrency: int,
    rate: float,
    *,
    flags: tuple[str, ...] = (),
    strain: float | None = None,
    ci_percent: float | None = 1.5,
) -> LevelResult:
    point = CurvePoint(
        concurrency=concurrency,
        window_seconds=5.0,
        requests=9,
        requests_per_second=rate / 10,
        output_tokens_per_second=rate,
        ci_percent=ci_percent,
        ttft_milliseconds_p50=50,
        tpot_milliseconds_p50=10 + concurrency,
        end_to_end_milliseconds_p50=140,
        steady="NotSteady" not in flags,
        flags=flags,
    )
    return LevelResult(point=point, strain=strain)


def levels(*found: LevelResult) -> dict[int, LevelResult]:
    return {one.point.concurrency: one for one in found}


def findings(**changes: Any) -> Findings:
    values: dict[str, Any] = {
        "shape": Shape(workload=WORKLOAD),
        "single": (stream(), stream()),
        "single_flags": (),
        "results": levels(result(1, 70), result(4, 200)),
        "prompts": [Prompt(50.0, 45.0), Prompt(100.0, 50.0), Prompt(200.0, 60.0)],
    }
    return Findings(**(values | changes))


def report(found: Findings, slo: ServiceLevel | None = None) -> Measurement:
    return assemble(
        found,
        LiveConfig(measure_key="m", workload=WORKLOAD, slo=slo or ServiceLevel()),
        plan_key="p",
        ended=ENDED,
        probe_seconds=12.0,
        spread=0.25,
    )


def test_a_clean_probe() -> None:
    measured = report(findings())
    assert (measured.state, measured.message, measured.flags) == ("Complete", "", ())
    assert (measured.plan_key, measured.measure_key) == ("p", "m")
    assert measured.observed_time == "2026-01-02T03:04:05Z"
    single = measured.single_stream
    assert single is not None
    assert single.decode_tokens_per_second == pytest.approx(100)
    assert single.ttft_overhead_milliseconds == pytest.approx(40)
    assert single.prefill_tokens_per_second == pytest.approx(10_000)
    assert measured.capacity is not None
    assert measured.capacity.concurrency == 4
    assert measured.capacity.total_tokens_per_second == pytest.approx(200 + 20 * 100)
    assert [point.concurrency for point in measured.curve] == [1, 4]
    assert codec.loads(Measurement, codec.dumps(measured)) == measured


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


SLO = ServiceLevel(tpot_milliseconds=30)


@pytest.mark.parametrize(
    ("strains", "best", "boundary"),
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
    strains: dict[int, float], best: int, boundary: str
) -> None:
    rows = (result(level, 100.0 * level, strain=strain) for level, strain in strains.items())
    capacity = capacity_of(findings(results=levels(*rows)), WORKLOAD, SLO)
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary, capacity.basis) == (best, boundary, "SLO")
    assert capacity.verified is None


@pytest.mark.parametrize("ci_percent", [None, 31.0])
def test_a_level_that_tells_no_rate_is_shown_nowhere_and_bounds_the_capacity(
    ci_percent: float | None,
) -> None:
    """At 21 streams tokens came too unevenly to say how many, and too late for the service level."""
    told = (result(1, 70, strain=0.2), result(20, 200, strain=0.99))
    over = result(21, 900, strain=1.2, ci_percent=ci_percent, flags=("Contended",))
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


@pytest.mark.parametrize(
    "rows",
    [
        [result(1, 70, strain=1.2, ci_percent=None)],
        [result(1, 70, strain=0.2, ci_percent=40.0), result(4, 100, strain=1.3)],
        [result(1, 70, strain=0.2, ci_percent=None)],
    ],
)
def test_where_no_level_that_keeps_it_tells_a_rate_there_is_no_capacity(
    rows: list[LevelResult],
) -> None:
    measured = report(findings(results=levels(*rows)), SLO)
    assert measured.capacity is None
    assert measured.state == "Partial"


def opened(passed: bool | None) -> OpenResult:
    figures = OpenLoop(
        offered_requests_per_second=17.0,
        requests=40,
        ttft_milliseconds_p50=55,
        tpot_milliseconds_p50=12,
        end_to_end_milliseconds_p50=150,
    )
    return OpenResult(figures=figures, goodput=None, passed=passed)


@pytest.mark.parametrize(
    ("passed", "verified"),
    [
        ([], None),
        ([None], None),
        ([True], True),
        ([False], False),
        ([False, True], True),
        ([False, False], False),
    ],
)
def test_requests_as_they_arrive_confirm_the_capacity_or_do_not(
    passed: list[bool | None], verified: bool | None
) -> None:
    found = findings(
        results=levels(result(1, 70, strain=0.2), result(4, 200, strain=0.9)),
        opened=[opened(one) for one in passed],
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


def test_no_level_is_no_capacity() -> None:
    assert capacity_of(Findings(), WORKLOAD, ServiceLevel()) is None


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"levels_missing": True}, "Partial", ""),
        ({"failure": "the engine died"}, "Partial", "the engine died"),
        ({"out_of_time": True}, "Partial", ""),
        ({"single": (), "results": {}, "failure": "no answer"}, "Failed", "no answer"),
        ({"shape": None, "single": (), "results": {}}, "Failed", ""),
        ({"notes": ["a note", "another", "a note"]}, "Complete", "a note; another"),
        ({"search_ended": "all was tried"}, "Complete", "all was tried"),
        ({"notes": ["HTTP 500: no; never", "another"]}, "Complete", "HTTP 500: no, never; another"),
    ],
)
def test_states(changes: dict[str, Any], state: str, said: str) -> None:
    measured = report(findings(**changes))
    assert measured.state == state
    assert said in measured.message


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"out_of_time": True}, ("BudgetExhausted",)),
        ({"shape": Shape(workload=WORKLOAD, notes=("cut",), time_was_short=True)}, ("BudgetExhausted",)),
        ({"cached_tokens": 16}, ("CacheHit",)),
        (
            {"before": Counters(cached_prompt_tokens=0.0), "after": Counters(cached_prompt_tokens=16.0)},
            ("CacheHit",),
        ),
        # Of each prompt a few tokens may be known, and those that all begin with.
        (
            {
                "before": Counters(cached_prompt_tokens=0.0),
                "after": Counters(cached_prompt_tokens=1400.0),
                "requests": 100,
                "same_tokens": 10,
            },
            (),
        ),
        (
            {
                "before": Counters(cached_prompt_tokens=0.0, ttft_seconds_count=7.0),
                "after": Counters(cached_prompt_tokens=1400.0, ttft_seconds_count=107.0),
                "same_tokens": 10,
            },
            (),
        ),
        (
            {
                "before": Counters(cached_prompt_tokens=0.0, ttft_seconds_count=7.0),
                "after": Counters(cached_prompt_tokens=1401.0, ttft_seconds_count=107.0),
                "same_tokens": 10,
            },
            ("CacheHit",),
        ),
        ({"before": Counters(cached_prompt_tokens=5.0), "after": Counters()}, ()),
        ({"short": True}, ("ShortOutput",)),
        ({"single": (stream(tokens=stream().tokens[:5]), stream())}, ("ShortOutput",)),
        ({"single_flags": ("OtherTraffic",)}, ("OtherTraffic",)),
        ({"opened": [replace(opened(True), flags=("Throttled",))]}, ("Throttled",)),
        ({"flags": {"FrontendBound"}}, ("FrontendBound",)),
        ({"results": levels(result(1, 70), result(4, 200, flags=("NotSteady",)))}, ("NotSteady",)),
        # A neighbour may have broken the service level there, and the edge would be too low.
        (
            {
                "results": levels(
                    result(1, 70, strain=0.2),
                    result(4, 200, strain=0.9),
                    result(6, 220, strain=1.2, flags=("OtherTraffic",)),
                )
            },
            ("OtherTraffic",),
        ),
        # Neither the knee nor the highest: it is marked in the curve and nowhere else.
        (
            {"results": levels(result(1, 70), result(2, 80, flags=("Contended",)), result(4, 200))},
            (),
        ),
    ],
)
def test_flags(changes: dict[str, Any], flags: tuple[str, ...]) -> None:
    assert report(findings(**changes)).flags == flags


@pytest.mark.parametrize(("own_tpot", "flags"), [(10.5, ()), (5.0, ("ClientBound",))])
def test_the_engines_own_timings_check_ours(own_tpot: float, flags: tuple[str, ...]) -> None:
    streams = (stream(engine_tpot_milliseconds=own_tpot),)
    measured = report(findings(single=streams))
    assert measured.flags == flags
    assert f"ran at {1000 / own_tpot:.1f} tokens per second" in measured.message


def test_prompt_times_that_are_no_line_give_no_line() -> None:
    for times in ([], [(100.0, 50.0)], [(100.0, 50.0), (200.0, 40.0)]):
        single = report(findings(prompts=[Prompt(*one) for one in times])).single_stream
        assert single is not None
        assert single.prefill_tokens_per_second is None
        assert single.ttft_overhead_milliseconds is None


def test_the_workload_is_what_was_sent() -> None:
    streams = (stream(prompt_tokens=97),)
    assert report(findings(single=streams)).workload == Workload(input_tokens=97, output_tokens=10)


@pytest.mark.parametrize(
    ("slo", "found"),
    [
        # The level that breaks the service level was slowed down: without that it might have kept it.
        (
            ServiceLevel(tpot_milliseconds=20),
            levels(
                result(1, 70, strain=0.5),
                result(4, 200, strain=0.9),
                result(5, 150, strain=1.2, flags=("Contended",)),
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


def test_what_others_may_have_taken_widens_the_single_streams_interval() -> None:
    plain, wide = (report(findings(single_loss_percent=loss)).single_stream for loss in (0.0, 7.5))
    assert plain is not None
    assert wide is not None
    assert plain.decode_ci_percent is not None
    assert wide.decode_ci_percent == pytest.approx(plain.decode_ci_percent + 7.5)


def test_a_knees_interval_says_how_far_it_lies_above_nine_tenths() -> None:
    found = findings(results=levels(result(1, 70), result(4, 190), result(16, 200)))
    capacity = capacity_of(found, WORKLOAD, ServiceLevel())
    assert capacity is not None
    assert capacity.concurrency == 4
    assert capacity.ci_percent == pytest.approx(1.5 + 100 * (190 / 180 - 1))


@pytest.mark.parametrize(("kept", "broken", "wider"), [(0.7, 1.3, 0.0), (0.99, 1.3, 5.0), (0.7, 1.01, 5.0)])
def test_an_edge_that_chance_decides_is_as_uncertain_as_the_next_level(
    kept: float, broken: float, wider: float
) -> None:
    rows = (result(1, 70, strain=0.2), result(20, 200, strain=kept), result(21, 212, strain=broken))
    capacity = capacity_of(findings(results=levels(*rows)), WORKLOAD, SLO)
    assert capacity is not None
    assert capacity.ci_percent == pytest.approx(1.5 + wider)


def test_what_a_cache_knows_of_every_prompt_is_no_hit() -> None:
    found = findings(same_tokens=10)
    found.note_prompts([stream(cached_tokens=14), stream(cached_tokens=3)])
    assert (found.cached_tokens, found.requests) == (0, 2)
    assert report(found).flags == ()
    found.note_streams([stream(cached_tokens=15)])
    assert found.cached_tokens == 1
    assert report(found).flags == ("CacheHit",)
