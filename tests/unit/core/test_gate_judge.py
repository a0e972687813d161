"""What the gate says of one measurement of a candidate."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity, CurvePoint, Quality, SingleStream
from tacho_operator.api.spec.service import GateSpec, GateTolerance
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.judge import GateVerdict, Kind, judge
from tests.properties import examples

GATE = GateSpec()
SLO = ServiceLevel(ttft_milliseconds=500, tpot_milliseconds=50)
NO_SLO = ServiceLevel()


def entry(
    throughput: float = 800.0,
    ttft: float = 100.0,
    tpot: float = 10.0,
    perplexity: float | None = 8.0,
    *,
    ci: float | None = 0.5,
    boundary: str = "Edge",
    ratios: tuple[float | None, float | None] = (0.2, 0.2),
    requests: int = 20,
    **fields: Any,
) -> MeasurementEntry:
    quality = None if perplexity is None else Quality(text="prose", tokens=900, perplexity=perplexity)
    return MeasurementEntry(
        **{
            "fingerprint": "f",
            "revision": "smol-a",
            "state": "Complete",
            "capacity": Capacity(output_tokens_per_second=throughput, ci_percent=ci, boundary=boundary),
            "single_stream": SingleStream(
                ttft_milliseconds_p50=ttft, tpot_milliseconds_p50=tpot, decode_ci_percent=ci
            ),
            "curve": [
                CurvePoint(
                    concurrency=1, requests=requests, ttft_slo_ratio=ratios[0], tpot_slo_ratio=ratios[1]
                )
            ],
            "quality": quality,
            **fields,
        }
    )


def verdict(
    candidate: MeasurementEntry,
    baseline: MeasurementEntry | None = None,
    *,
    slo: ServiceLevel = NO_SLO,
    like: bool = True,
    **tolerances: int,
) -> GateVerdict:
    gate = GateSpec(tolerance_percent=GateTolerance(**tolerances)) if tolerances else GATE
    return judge(candidate, baseline, gate, slo, like_for_like=like)


BASE = entry()
SLOWER = entry(throughput=560.0, tpot=14.0)


@pytest.mark.parametrize(
    ("candidate", "figures"),
    [
        (BASE, ()),
        (entry(throughput=721.0), ()),
        (entry(throughput=719.0), ("throughput",)),
        (entry(throughput=900.0, ttft=50.0, tpot=5.0, perplexity=7.0), ()),
        (entry(ttft=119.0), ()),
        (entry(ttft=121.0), ("ttft",)),
        (entry(tpot=10.9), ()),
        (entry(tpot=11.1), ("tpot",)),
        (entry(perplexity=8.15), ()),
        (entry(perplexity=8.17), ("perplexity",)),
        (SLOWER, ("throughput", "tpot")),
        # A lower bound of the candidate says nothing; one of the baseline does.
        (entry(throughput=100.0, boundary="Floor"), ()),
    ],
)
def test_it_regresses_beyond_its_tolerance(candidate: MeasurementEntry, figures: tuple[str, ...]) -> None:
    found = verdict(candidate, BASE)
    assert found.figures == figures
    assert found.kind == (Kind.REGRESSION if figures else Kind.ACCEPTABLE)


def test_below_a_lower_bound_of_the_baseline() -> None:
    assert verdict(entry(throughput=600.0), entry(boundary="Floor")).figures == ("throughput",)


def test_the_words_have_figures_intervals_tolerance_and_revision() -> None:
    found = verdict(entry(throughput=560.4, ci=1.0), BASE)
    assert found.what == "throughput 800 -> 560.4 tok/s (-30.0 %, tolerance 10 %)"
    assert "throughput 800 ±0.5 % -> 560.4 ±1.0 % tok/s (-30.0 %, tolerance 10 %)" in found.details
    assert "TTFT 100 -> 100 ms (+0.0 %, tolerance 20 % and 10 ms)" in found.details
    assert found.details.startswith("compared with revision smol-a: throughput")


def test_within_the_interval_of_the_difference() -> None:
    assert verdict(entry(throughput=680.0, ci=12.0), entry(ci=12.0)).kind == Kind.ACCEPTABLE
    assert verdict(entry(throughput=640.0, ci=12.0), entry(ci=12.0)).figures == ("throughput",)


def test_a_figure_without_an_interval_is_not_compared() -> None:
    assert verdict(entry(throughput=100.0, tpot=100.0), entry(ci=None)).kind == Kind.ACCEPTABLE


def test_a_candidate_without_an_interval_that_the_baseline_has_is_measured_again() -> None:
    found = verdict(entry(throughput=100.0, tpot=100.0, ci=None), BASE)
    assert (found.kind, found.again) == (Kind.UNJUDGED, True)
    assert found.what == "its measurement lacks throughput, TPOT"
    # A lower bound is no regression, and other figures may be one.
    assert "throughput" not in verdict(entry(ci=None, boundary="Floor"), BASE).what
    assert verdict(entry(ttft=200.0, ci=None), BASE).figures == ("ttft",)
    assert verdict(entry(ci=None), BASE, like=False, ttft=20).kind == Kind.ACCEPTABLE
    assert verdict(entry(ci=None), BASE, like=False, tpot=20).what == "its measurement lacks TPOT"


def test_a_few_milliseconds_more_until_the_first_token_are_no_regression() -> None:
    assert verdict(entry(ttft=24.0), entry(ttft=15.0)).kind == Kind.ACCEPTABLE
    assert verdict(entry(ttft=25.5), entry(ttft=15.0)).figures == ("ttft",)


@pytest.mark.parametrize("flag", ["Contended", "Throttled"])
def test_a_disturbed_measurement_is_repeated(flag: str) -> None:
    found = verdict(entry(throughput=1.0, flags=[flag], confidence="Provisional"), BASE)
    assert (found.kind, found.again) == (Kind.UNJUDGED, True)
    assert flag in found.what


def test_a_shared_gpu_is_never_judged() -> None:
    found = verdict(entry(throughput=1.0, flags=["SharedGPU"]), BASE)
    assert (found.kind, found.again) == (Kind.UNJUDGED, False)


def test_of_another_kind_only_what_the_user_tolerates() -> None:
    assert verdict(SLOWER, BASE, like=False).kind == Kind.UNJUDGED
    assert verdict(SLOWER, BASE, like=False, throughput=10).figures == ("throughput",)
    assert verdict(SLOWER, BASE, like=False, throughput=40).kind == Kind.ACCEPTABLE


def test_perplexities_of_different_texts_are_not_compared() -> None:
    other = entry(quality=Quality(text="code", tokens=900, perplexity=20.0))
    assert verdict(other, BASE).kind == Kind.ACCEPTABLE


@pytest.mark.parametrize(
    ("mine", "its", "requests", "figures"),
    [
        ((1.2, 0.2), (0.9, 0.2), 20, ("slo.ttft",)),
        ((0.2, 1.3), (0.9, 1.0), 20, ("slo.tpot",)),
        ((1.05, 0.2), (0.9, 0.2), 20, ()),  # of few requests it may be chance
        ((1.05, 0.2), (0.9, 0.2), 59, ("slo.ttft",)),
        ((1.2, 0.2), (1.1, 0.2), 20, ()),  # the active revision misses it, too
        ((1.2, 0.2), (None, None), 20, ()),
        ((1.2, 1.2), None, 20, ("slo.ttft", "slo.tpot")),
    ],
)
def test_one_request_alone_misses_the_slo(
    mine: tuple[float, float],
    its: tuple[float | None, float | None] | None,
    requests: int,
    figures: tuple[str, ...],
) -> None:
    baseline = None if its is None else entry(ratios=its)
    candidate = entry(ratios=mine, requests=requests)
    for like in (True, False):  # whatever was changed
        assert verdict(candidate, baseline, slo=SLO, like=like).figures == figures


def test_a_median_above_the_target_needs_no_percentile() -> None:
    assert verdict(entry(ttft=600.0, ratios=(None, None)), slo=SLO).figures == ("slo.ttft",)
    assert verdict(entry(ttft=400.0, ratios=(None, None)), slo=SLO).kind == Kind.UNJUDGED


def test_without_a_baseline_it_says_that_nothing_was_compared() -> None:
    found = verdict(BASE, slo=SLO)
    assert found.kind == Kind.ACCEPTABLE
    assert "compared with no revision: the active one has no current, clean measurement" in found.details
    assert verdict(BASE).kind == Kind.UNJUDGED


# --- properties -------------------------------------------------------------------------------------
SPEEDS = st.floats(1e-3, 1e6)
INTERVALS = st.one_of(st.none(), st.floats(0, 100))
ENTRIES = st.builds(
    entry,
    SPEEDS,
    SPEEDS,
    SPEEDS,
    st.one_of(st.none(), st.floats(1, 1e3)),
    ci=INTERVALS,
    boundary=st.sampled_from(("Edge", "Plateau", "Floor", "NeverMet", "")),
    ratios=st.tuples(st.one_of(st.none(), st.floats(0, 9)), st.one_of(st.none(), st.floats(0, 9))),
    requests=st.integers(0, 100),
)
LEVELS = st.builds(ServiceLevel, ttft_milliseconds=st.integers(0, 999), tpot_milliseconds=st.integers(0, 99))


@examples(10)
@given(ENTRIES, ENTRIES, LEVELS, st.floats(1, 9), st.booleans())
def test_a_worse_candidate_is_never_judged_better(
    candidate: MeasurementEntry, baseline: MeasurementEntry, slo: ServiceLevel, factor: float, like: bool
) -> None:
    capacity, single, (level,) = candidate.capacity, candidate.single_stream, candidate.curve
    assert capacity
    assert single
    assert capacity.output_tokens_per_second
    assert single.ttft_milliseconds_p50
    assert single.tpot_milliseconds_p50
    ratios = {
        f"{name}_slo_ratio": ratio and ratio * factor
        for name, ratio in (("ttft", level.ttft_slo_ratio), ("tpot", level.tpot_slo_ratio))
    }
    slower = candidate.model_copy(
        update={
            "capacity": dataclasses.replace(
                capacity, output_tokens_per_second=capacity.output_tokens_per_second / factor
            ),
            "single_stream": dataclasses.replace(
                single,
                ttft_milliseconds_p50=single.ttft_milliseconds_p50 * factor,
                tpot_milliseconds_p50=single.tpot_milliseconds_p50 * factor,
            ),
            "curve": [dataclasses.replace(level, **ratios)],
        }
    )
    before = judge(candidate, baseline, GATE, slo, like_for_like=like)
    after = judge(slower, baseline, GATE, slo, like_for_like=like)
    assert set(before.figures) <= set(after.figures)


@examples(10)
@given(ENTRIES, LEVELS, st.booleans())
def test_equal_figures_pass(one: MeasurementEntry, slo: ServiceLevel, like: bool) -> None:
    assert judge(one, one, GATE, slo, like_for_like=like).kind != Kind.REGRESSION


HOSTILE = st.one_of(
    st.none(), st.floats(), st.sampled_from((0.0, -1.0, 1e300, 5e-324, float("nan"), float("inf"), -1e9))
)
HOSTILE_ENTRIES = st.builds(
    lambda a, b, c, d, e, f, g: MeasurementEntry.model_construct(
        fingerprint="f",
        revision=None,
        flags=["", "x" * 64],
        confidence=None,
        capacity=Capacity(output_tokens_per_second=a, ci_percent=b, boundary=""),
        single_stream=SingleStream(ttft_milliseconds_p50=c, tpot_milliseconds_p50=d, decode_ci_percent=e),
        curve=[CurvePoint(concurrency=1, ttft_slo_ratio=f, tpot_slo_ratio=g)],
        quality=Quality(perplexity=a),
    ),
    *[HOSTILE] * 7,
)


@examples(10)
@given(HOSTILE_ENTRIES, st.one_of(st.none(), HOSTILE_ENTRIES), LEVELS)
def test_no_figure_is_an_error(
    one: MeasurementEntry, other: MeasurementEntry | None, slo: ServiceLevel
) -> None:
    found = judge(one, other, GATE, slo, like_for_like=True)
    assert len(found.what) < 200
    assert "nan" not in found.details
    assert "inf" not in found.details


def test_the_interval_of_a_lower_rate_is_narrower() -> None:
    assert verdict(entry(throughput=480.0, ci=30.0), entry(ci=30.0)).figures == ("throughput",)


def test_an_interval_wider_than_its_value_is_unknown() -> None:
    assert verdict(entry(tpot=40.0), entry(ci=150.0)).kind == Kind.ACCEPTABLE


def test_a_perplexity_of_another_length_is_not_compared() -> None:
    shorter = Quality(text="prose", tokens=500, perplexity=8.0)
    assert verdict(entry(perplexity=9.0), entry(quality=shorter)).kind == Kind.ACCEPTABLE


def test_a_lower_bound_is_not_named_as_the_worst_figure() -> None:
    assert "throughput" not in verdict(entry(throughput=100.0, boundary="Floor"), BASE).what


def test_a_figure_that_regressed_is_named_before_a_target_that_both_miss() -> None:
    late = entry(ratios=(1.9, 0.2), throughput=800.0)
    found = verdict(entry(ratios=(2.0, 0.2), throughput=650.0), late, slo=SLO)
    assert found.figures == ("throughput",)
    assert found.what.startswith("throughput 800 -> 650")
