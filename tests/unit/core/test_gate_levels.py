"""What the gate says of an engine that is slower with many requests at once only."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity, CurvePoint, SingleStream
from tacho_operator.api.spec.service import GateSpec, GateTolerance
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.judge import GateVerdict, judge
from tacho_operator.core.gate.levels import common_level
from tests.properties import examples
from tests.unit.core.gated import Gated

LADDER = (1, 8, 48, 96, 128)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Law:
    """gap between tokens = alpha + beta x the requests that are answered at a time."""

    alpha: float = 10.0
    beta: float = 0.1
    slots: int = 1_000_000

    def level(self, requests: int, **fields: Any) -> CurvePoint:
        at_a_time = min(requests, self.slots)
        gap = self.alpha + self.beta * at_a_time
        values = {"tpot_milliseconds_p50": gap, "output_tokens_per_second": 1e3 * at_a_time / gap}
        return CurvePoint(**{"concurrency": requests, "ci_percent": 5.0, **values, **fields})

    def curve(self, levels: Iterable[int] = LADDER, **fields: Any) -> tuple[CurvePoint, ...]:
        return tuple(self.level(item, **fields) for item in levels)

    def entry(self, levels: Iterable[int] = LADDER, **fields: Any) -> MeasurementEntry:
        return entry(self.curve(levels, **fields))


def entry(curve: Iterable[CurvePoint]) -> MeasurementEntry:
    """As fast as any other for one request alone; the interval of its capacity is as on a GPU."""
    return MeasurementEntry(
        fingerprint="f",
        revision="smol-a",
        capacity=Capacity(output_tokens_per_second=9000.0, ci_percent=30.0, boundary="Plateau"),
        single_stream=SingleStream(
            ttft_milliseconds_p50=20.0, tpot_milliseconds_p50=10.1, decode_ci_percent=0.5
        ),
        curve=list(curve),
    )


def verdict(
    candidate: MeasurementEntry, baseline: MeasurementEntry, *, like: bool = True, **tolerances: int
) -> GateVerdict:
    gate = GateSpec(tolerance_percent=GateTolerance(**tolerances)) if tolerances else GateSpec()
    return judge(candidate, baseline, gate, ServiceLevel(), like_for_like=like)


BASE = Law().entry()
SLOWER = Law(beta=0.15)
REGRESSED = ("tpotUnderLoad",)


@pytest.mark.parametrize(
    ("law", "figures"),
    [
        (Law(), ()),
        (Law(beta=0.05), ()),
        (Law(beta=0.115), ()),
        (Law(beta=0.13), REGRESSED),
        (SLOWER, REGRESSED),
    ],
)
def test_it_regresses_beyond_its_tolerance(law: Law, figures: tuple[str, ...]) -> None:
    assert verdict(law.entry(), BASE).figures == figures


def test_more_requests_at_a_time_are_no_regression() -> None:
    """Each is answered more slowly, and all together sooner."""
    found = verdict(BASE, Law(slots=32).entry())
    assert not found.figures
    assert "TPOT 13.2 -> 19.6 ms (+48.5 %, tolerance 10 %), throughput +102.0 %" in found.details
    assert "at once" not in found.what


def test_the_words_have_the_level_and_its_figures() -> None:
    found = verdict(SLOWER.entry(), BASE)
    text = "with 96 requests at once TPOT 19.6 -> 24.4 ms (+24.5 %, tolerance 10 %), throughput -19.7 %"
    assert found.what == text
    assert text in found.details


def test_a_level_between_two_measured_ones_is_marked() -> None:
    found = verdict(SLOWER.entry((1, 8, 48, 112)), Law().entry((1, 8, 48, 96, 144)))
    assert "with 96 requests at once TPOT 19.6 -> ~24.4 ms" in found.what


@pytest.mark.parametrize(
    "curve",
    [
        SLOWER.curve((1, 8)),  # one level in common
        SLOWER.curve((1,)),
        (),
        SLOWER.curve((1, 200, 300)),
        SLOWER.curve((1, 40, 160)),  # its levels are too far apart
        SLOWER.curve(steady=False),
        SLOWER.curve(flags=("Contended",)),
        SLOWER.curve(ci_percent=None),
        SLOWER.curve(ci_percent=120.0),
        SLOWER.curve(tpot_milliseconds_p50=None),
        SLOWER.curve(output_tokens_per_second=None),
    ],
)
def test_without_common_levels_the_other_figures_decide(curve: tuple[CurvePoint, ...]) -> None:
    for one, other in ((entry(curve), BASE), (BASE, entry(curve))):
        found = verdict(one, other)
        assert not found.figures
        assert "at once" not in found.details


def test_one_disturbed_level_does_not_decide() -> None:
    slow = Law(alpha=20.0, beta=0.3).level(96)
    curve = [slow if item.concurrency == 96 else item for item in Law().curve()]
    assert not verdict(entry(curve), BASE).figures
    lost = dataclasses.replace(Law().level(96), output_tokens_per_second=1.0)  # tokens came late, not slowly
    assert not verdict(entry([lost if item.concurrency == 96 else item for item in curve]), BASE).figures


@pytest.mark.parametrize("levels", [(1, 96, 128), (1, 48, 144)])
def test_two_levels_suffice_and_neighbours_three_times_apart(levels: tuple[int, ...]) -> None:
    assert verdict(SLOWER.entry(levels), BASE).figures == REGRESSED


@pytest.mark.parametrize(
    ("slow", "figures"),
    [
        ((64, 80, 96, 112, 128), REGRESSED),
        ((80, 96, 112), REGRESSED),
        ((80, 128), ()),
        ((60, 80, 128), ()),  # 60 is below half of 128, and 64 is not
    ],
)
def test_more_than_half_of_the_upper_levels_decide(slow: tuple[int, ...], figures: tuple[str, ...]) -> None:
    levels = (1, 60, 64, 80, 96, 112, 128)
    curve = [(SLOWER if item in slow else Law()).level(item) for item in levels]
    assert verdict(entry(curve), Law().entry(levels)).figures == figures


def test_half_of_the_highest_level_counts() -> None:
    curve = [Law().level(64), SLOWER.level(128)]
    assert not verdict(entry(curve), Law().entry((64, 128))).figures


def test_it_may_be_the_only_figure() -> None:
    alone = {"single_stream": None, "capacity": None}
    found = verdict(SLOWER.entry().model_copy(update=alone), BASE.model_copy(update=alone))
    assert found.figures == REGRESSED
    assert found.details.startswith("compared with revision smol-a: with 96 requests")


def test_low_levels_do_not_hide_high_ones() -> None:
    levels = (1, 2, 3, 4, 6, 8, 12, 96, 128)
    curve = [(Law() if item < 90 else SLOWER).level(item) for item in levels]
    assert verdict(entry(curve), Law().entry(levels)).figures == REGRESSED


def test_both_tolerances_hold() -> None:
    candidate = SLOWER.entry()
    assert not verdict(candidate, BASE, tpot=30).figures
    assert not verdict(candidate, BASE, throughput=25).figures
    assert verdict(candidate, BASE, tpot=20, throughput=15).figures == REGRESSED


def test_a_level_repeats_no_better_than_that() -> None:
    candidate = Law(beta=0.115).entry()
    assert not verdict(candidate, BASE, tpot=2, throughput=2).figures
    assert "tolerance 10 %)" in verdict(candidate, BASE, tpot=2, throughput=2).details


def test_of_another_kind_only_what_the_user_tolerates() -> None:
    candidate = SLOWER.entry()
    assert not verdict(candidate, BASE, like=False).figures
    assert not verdict(candidate, BASE, like=False, throughput=50).figures
    assert verdict(candidate, BASE, like=False, tpot=10).figures == REGRESSED


def test_two_measurements_reject_it() -> None:
    world = Gated({"curve": Law().curve()})
    name = world.candidate()
    world.measures(name, curve=SLOWER.curve())
    assert "so far with 96 requests at once TPOT" in world.message()
    world.measures(name, again=True, curve=SLOWER.curve())
    assert world.verdict() == "Regression"
    assert "found in 2 of 2 measurements" in world.message()
    assert "with 96 requests at once TPOT 19.6 -> 24.4 ms" in world.message()


# --- properties -------------------------------------------------------------------------------------
LEVELS = st.sets(st.integers(1, 300), min_size=1, max_size=12)
GAPS = st.floats(0.1, 50)
SLOPES = st.floats(0, 1)


@examples(10)
@given(GAPS, SLOPES, st.integers(1, 400), st.integers(0, 400), LEVELS, LEVELS)
def test_more_at_a_time_is_never_a_regression(
    alpha: float, beta: float, slots: int, more: int, mine: set[int], its: set[int]
) -> None:
    before, after = Law(alpha=alpha, beta=beta, slots=slots), Law(alpha=alpha, beta=beta, slots=slots + more)
    assert not verdict(after.entry(mine), before.entry(its)).figures


@examples(10)
@given(GAPS, SLOPES, st.floats(1.2, 9), LEVELS, LEVELS)
def test_a_slower_law_is_found_wherever_levels_are_common(
    alpha: float, beta: float, factor: float, mine: set[int], its: set[int]
) -> None:
    before, after = Law(alpha=alpha, beta=beta), Law(alpha=alpha * factor, beta=beta * factor)
    candidate, baseline = after.entry(mine), before.entry(its)
    assume(common_level(candidate, baseline))
    assert verdict(candidate, baseline).figures == REGRESSED
    assert not verdict(baseline, candidate).figures


EXTREME = (None, 0.0, -1.0, 5e-324, 1e-300, 1e-6, 9e13, 1e300, float("nan"), float("inf"))


@pytest.mark.parametrize("value", EXTREME)
@pytest.mark.parametrize("field", ["tpot_milliseconds_p50", "output_tokens_per_second", "ci_percent"])
def test_no_figure_is_an_error(value: float | None, field: str) -> None:
    curves = Law().curve(**{field: value}), (*Law().curve((1, 8)), Law().level(2**62, **{field: value}))
    single = SingleStream(tpot_milliseconds_p50=value, ttft_milliseconds_p50=value, decode_ci_percent=0.5)
    others = [entry(curve) for curve in curves] + [BASE.model_copy(update={"single_stream": single})]
    for one, other in itertools.product([BASE, *others], repeat=2):
        found = verdict(one, other)
        assert len(found.what) < 200
        assert "nan" not in found.details
        assert "inf" not in found.details
