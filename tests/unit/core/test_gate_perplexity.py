"""A perplexity that only the active revision has: it is said, and a tolerance that was written wants it."""

from __future__ import annotations

import pytest

from tacho_contract.measurement import Quality
from tacho_operator.core.gate.judge import Kind
from tests.unit.core.gated import Gated, figures
from tests.unit.core.test_gate_judge import entry, verdict

OTHER_TEXT = Quality(text="code", tokens=900, perplexity=8.0)
NOT_COMPARED = "perplexity is not compared: its measurement has none of the same text"
SAME_TEXT = {"quality": Quality(text="prose", tokens=900, perplexity=8.0)}


@pytest.mark.parametrize("quality", [None, Quality(text="prose", tokens=900), OTHER_TEXT])
def test_by_default_it_is_passed_over_and_said(quality: Quality | None) -> None:
    found = verdict(entry(quality=quality), entry())
    assert found.kind == Kind.ACCEPTABLE
    assert found.details.endswith(f"; {NOT_COMPARED}")


@pytest.mark.parametrize("quality", [None, Quality(text="prose", tokens=900), OTHER_TEXT])
def test_with_a_written_tolerance_it_is_measured_again(quality: Quality | None) -> None:
    found = verdict(entry(quality=quality), entry(), perplexity=2)
    assert (found.kind, found.again) == (Kind.UNJUDGED, True)
    assert found.what == "its measurement lacks perplexity"


def test_what_is_slower_is_a_regression_without_it() -> None:
    found = verdict(entry(throughput=500.0, quality=None), entry(), perplexity=2)
    assert found.figures == ("throughput",)
    assert NOT_COMPARED in found.details


def test_nothing_is_said_where_both_or_neither_have_it_or_only_the_candidate() -> None:
    for mine, its in ((8.0, 8.0), (None, None), (8.0, None)):
        found = verdict(entry(perplexity=mine), entry(perplexity=its), perplexity=2)
        assert found.kind == Kind.ACCEPTABLE
        assert "not compared" not in found.details
    found = verdict(entry(quality=None), entry(quality=Quality(text="prose", tokens=900)), perplexity=2)
    assert found.kind == Kind.ACCEPTABLE


def test_it_is_said_in_the_condition() -> None:
    world = Gated(baseline=figures(**SAME_TEXT))
    name = world.candidate()
    world.measures(name, 1.0)
    assert world.verdict() == "Acceptable"
    world.goes_on()
    assert NOT_COMPARED in world.message()


def test_a_candidate_that_never_has_it_is_admitted_unjudged() -> None:
    tolerance = {"gate": {"tolerancePercent": {"perplexity": 2}}}
    world = Gated(baseline=figures(**SAME_TEXT), rollout=tolerance)
    name = world.candidate()
    world.measures(name, 1.0)
    assert world.is_asking()
    world.measures(name, 1.0, again=True)
    world.measures(name, 1.0, again=True)
    world.goes_on()
    assert world.record("active-revision") == name
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")
    assert "3 measurements gave no verdict; the last: its measurement lacks perplexity" in world.message()
