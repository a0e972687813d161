"""What requests that arrive by themselves say of a service level: kept, broken, or too few to tell."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.launch import ServiceLevel
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.open_loop import (
    OpenLoopOutcomes,
    OpenLoopResult,
    evaluate_open,
    outcomes,
    seconds_for,
)
from tacho_runtime.probe.statistics import share_is_over, share_is_under
from tests.unit.probe.test_levels import ITL_MS, MS, OUTPUT_TOKENS, TTFT_MS, WORKLOAD, stream, trace_of

SLO = ServiceLevel(ttft_milliseconds=400, tpot_milliseconds=20)
END_MS = 10_000


def arrived(kept: int, *, slow: int = 0, waiting: tuple[int, ...] = (), **changes: Any) -> LoadTrace:
    """So many that were answered as they should be, ``slow`` ones with twice the time per token that may be,
    and those that have waited for so many milliseconds at the end."""
    dues = [100 + 8000 * index // max(1, kept + slow) for index in range(kept + slow)]
    streams = [
        stream(due, OUTPUT_TOKENS, itl_ms=ITL_MS if index < kept else 4 * ITL_MS)
        for index, due in enumerate(dues)
    ]
    return trace_of(
        streams,
        50,
        END_MS,
        intended_ns=tuple(due * MS for due in dues),
        unanswered_ns=tuple((END_MS - wait) * MS for wait in waiting),
        **changes,
    )


def judged(trace: LoadTrace, slo: ServiceLevel = SLO) -> OpenLoopResult:
    found = evaluate_open(trace, WORKLOAD, 7.0, slo)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("trace", "passed"),
    [
        (arrived(59), True),
        (arrived(58), None),
        (arrived(12), None),
        # Kept by 92 of 93 is plain, by 58 of 59 is not: as likely, fewer than 95 % keep it.
        (arrived(92, slow=1), True),
        (arrived(58, slow=1), None),
        (arrived(56, slow=3), None),
        # Broken by 7 of 59 is plain, as is four of 24.
        (arrived(53, slow=6), None),
        (arrived(52, slow=7), False),
        (arrived(20, slow=4), False),
        (arrived(20, slow=3), None),
        # Those that have waited for longer than they may are broken, without a first token.
        (arrived(60, waiting=(900,) * 12), False),
        (arrived(92, waiting=(900,)), True),
        # Those that have waited for longer than others do may still become either.
        (arrived(60, waiting=(300,) * 12), None),
        # Those that were only just sent are as good as any.
        (arrived(60, waiting=(90,) * 12), True),
        (arrived(92, failures=("HTTP 503",)), True),
        (arrived(60, failures=("HTTP 503",) * 12), False),
        (arrived(60, failures=("HTTP 503",) * 3, broken=True), False),
        (arrived(0, waiting=(900,) * 12), False),
    ],
)
def test_three_outcomes(trace: LoadTrace, passed: bool | None) -> None:
    assert judged(trace).passed is passed


@pytest.mark.parametrize("count", [59, 93, 174, 500])
def test_what_is_said_is_wrong_in_one_of_twenty_at_most(count: int) -> None:
    """On the limit, 95 % that keep it, either word would be chance; at 92 % "met" is wrong."""
    rng, runs = Random(count), 4000
    for share, wrong in ((0.95, True), (0.95, False), (0.92, True)):
        kept = (sum(rng.random() < share for _ in range(count)) for _ in range(runs))
        said = [OpenLoopOutcomes(kept=one, broken=count - one).passed(95) for one in kept]
        assert said.count(wrong) / runs <= (0.06 if share == 0.95 else 0.02)


@given(st.integers(0, 30_000), st.integers(0, 30_000), st.sampled_from([50, 90, 95, 99]))
def test_no_number_of_requests_is_both_too_many_and_few_enough(kept: int, broken: int, percent: int) -> None:
    share = 1 - percent / 100
    under, over = (said(broken, kept + broken, share) for said in (share_is_under, share_is_over))
    assert not (under and over)
    if kept + broken > 1000:
        assert under or broken > 0.5 * share * (kept + broken)
        assert over or broken < 2 * share * (kept + broken)


def test_no_service_level_is_neither_kept_nor_broken_and_no_word_is_lost_about_it() -> None:
    found = judged(arrived(12), ServiceLevel())
    assert (found.passed, found.goodput, found.notes) == (None, None, ())


def test_too_few_to_tell_is_said() -> None:
    (note,) = judged(arrived(30, slow=1)).notes
    assert note == "30 of 31 open-loop requests met the SLO: too few to tell whether 95 % do"


def test_the_share_that_kept_it_is_of_all_that_came() -> None:
    found = judged(arrived(60, slow=2, waiting=(900, 900, 300, 10), failures=("HTTP 503",)))
    assert outcomes(arrived(60, slow=2, waiting=(900, 300, 10)), WORKLOAD, SLO) == OpenLoopOutcomes(
        kept=60, broken=3, undecided=1
    )
    assert found.goodput is not None
    assert found.goodput.compliance_percent == pytest.approx(100 * 60 / 66)
    assert found.goodput.requests_per_second == pytest.approx(7.0 * 60 / 66)
    assert 75 < found.goodput.compliance_percent_lower95 < 90


def test_of_answers_with_few_tokens_only_the_first_one_is_judged() -> None:
    young = [stream(100 * index, 3, whole=False, itl_ms=90) for index in range(20)]
    late = [stream(100 * index, 3, whole=False) for index in range(20)]
    late = [replace(one, sent_ns=one.sent_ns - 900 * MS) for one in late]
    assert outcomes(trace_of(young, 50, END_MS), WORKLOAD, SLO) == OpenLoopOutcomes()
    assert outcomes(trace_of(late, 50, END_MS), WORKLOAD, SLO) == OpenLoopOutcomes(broken=20)
    only_first = ServiceLevel(ttft_milliseconds=400)
    assert outcomes(trace_of(young, 50, END_MS), WORKLOAD, only_first) == OpenLoopOutcomes(kept=20)


@pytest.mark.parametrize(("answered", "told"), [(2, False), (3, True)])
def test_times_are_told_of_three_at_least(answered: int, told: bool) -> None:
    found = evaluate_open(arrived(answered), WORKLOAD, 7.0, ServiceLevel())
    assert (found is not None) == told
    with_slo = judged(arrived(answered))
    assert (with_slo.figures is not None) == told
    assert evaluate_open(arrived(0), WORKLOAD, 7.0, SLO) is None


def test_those_that_wait_are_among_the_late_ones() -> None:
    few, many = judged(arrived(60, waiting=(300,))), judged(arrived(60, waiting=(900,) * 70))
    assert few.figures is not None
    assert many.figures is not None
    assert (few.figures.ttft_milliseconds_p50, few.figures.ttft_milliseconds_p95) == (TTFT_MS, TTFT_MS)
    assert many.figures.ttft_milliseconds_p50 == 900
    assert many.figures.ttft_milliseconds_p95 is None, "it lies among those of which it is not known"
    short = judged(arrived(60, waiting=(50,) * 70))
    assert short.figures is not None
    assert (short.figures.ttft_milliseconds_p50, short.figures.ttft_milliseconds_p95) == (TTFT_MS, TTFT_MS)


@pytest.mark.parametrize(
    ("rate", "left", "seconds"),
    [(100.0, 60, 4 + 0.7375), (11.0, 60, 4 + 6.7045), (2.0, 60, 4 + 36.875), (2.0, 40, 0), (0.0, 60, 0)],
)
def test_until_a_cohort_has_ended_or_not_at_all(rate: float, left: float, seconds: float) -> None:
    found = seconds_for(rate, request_seconds=2, left_seconds=left, slo=SLO)
    assert found == pytest.approx(seconds, rel=1e-3)
