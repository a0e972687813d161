"""What each mechanism of the scaling algorithm is worth: what is left out, and where it counts."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.autoscaling import ablation_page
from benchmarks.autoscaling.ablation import FAMILIES, FAMILY_OF, MECHANISMS, applies, table
from benchmarks.autoscaling.records import Row
from benchmarks.autoscaling.scenarios import SCENARIOS
from tacho_simulate.policies import policy_of
from tacho_simulate.run import simulate
from tests.unit.simulate.worlds import poisson, setting_of


def test_an_ablation_shows_each_scenario() -> None:
    whole = {"spikes": (90.0, 10.0), "ramp": (99.0, 5.0)}
    other = {"spikes": (92.0, 10.0), "ramp": (97.0, 5.0)}
    lines = list(table({"nothing": whole, "trend": other, "none": whole}))
    assert lines[2:] == [
        "| spikes | 90.00 % · 10.00 | +2.00 · +0.0 % |  |",
        "| ramp | 99.00 % · 5.00 | -2.00 · +0.0 % |  |",
        "| **mean** | 94.50 % · 7.50 |  |  |",
    ]


def test_a_mechanism_earns_its_place_by_a_point_or_by_five_percent() -> None:
    assert not ablation_page.earns([(-0.99, -20.0), (2.0, 4.9)])
    assert ablation_page.earns([(0.0, 0.0), (-1.0, -20.0)])
    assert ablation_page.earns([(0.5, 5.0)])


def test_the_ablation_page_has_each_mechanism_that_ran_in_all_scenarios() -> None:
    own = [Row("a", name, "tacho", "", (90.0, 92.0), (10.0, 10.0), ()) for name in ("spikes", "ramp")]
    ran = [Row("a", name, "trend", "", (90.0, 90.0), (10.0, 10.0), ()) for name in ("spikes", "ramp")]
    other = [Row("b", "ramp", "trend", "", (0.0, 0.0), (1.0, 1.0), ())]
    cut = [Row("a", "ramp", "bursts", "", (90.0, 92.0), (11.0, 11.0), ())]
    text = ablation_page.page(
        f"x\n{ablation_page.BEGIN}\nold\n{ablation_page.END}\ny\n", [*other, *ran, *cut], [*own, *other]
    )
    assert text.startswith("x\n")
    assert text.endswith("\ny\n")
    assert "old" not in text
    assert "Of 1 mechanisms, in 2 scenarios on the 2 judging seeds of `a`" in text
    assert "| trend | -1.00 · +0.0 % | ramp: -1.00 · +0.0 % | none | yes |" in text
    assert "| spikes | 91.00 % · 10.00 | -1.00 · +0.0 % |" in text
    assert "bursts" not in text


@pytest.mark.parametrize("name", MECHANISMS)
def test_each_mechanism_can_be_left_out_of_the_present_algorithm(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, attribute, replacement in MECHANISMS[name]:
        monkeypatch.setattr(module, attribute, replacement)
    result = simulate(poisson(6.0, 400.0), setting_of(), policy_of("tacho", setting_of())[0], seed=1)
    assert result.slo_attainment > 0


def test_a_family_has_what_no_scenario_has_and_leaves_out_its_guards_alone() -> None:
    assert not FAMILY_OF.keys() & SCENARIOS.keys()
    for family in FAMILIES:
        assert set(family.guards) <= set(MECHANISMS)
        for name in family.scenarios:
            assert [item for item in MECHANISMS if applies(item, name)] == ["nothing", *family.guards]
    assert applies("trend", "spikes")


def test_a_guard_counts_in_its_own_family() -> None:
    own = [Row("a", name, "tacho", "", (90.0,), (10.0,), ()) for name in ("spikes", "ramp")]
    ran = [Row("a", name, "correction", "", (90.0,), (10.0,), ()) for name in ("spikes", "ramp")]
    (family,) = (item for item in FAMILIES if "correction" in item.guards)
    guarded = [
        Row("b on a", scenario, name, "", (slo,), (10.0,), ())
        for scenario in family.scenarios
        for name, slo in (("nothing", 95.0), ("correction", 90.0))
    ]
    again = [dataclasses.replace(row, commit="b on a") for row in own]
    text = ablation_page.judged([*ran, *guarded], [*own, *again])
    assert f"| correction | +0.00 · +0.0 % | none | none | yes, {family.name} |" in text
    assert f"| {next(iter(family.scenarios))} | 95.00 % · 10.00 | -5.00 · +0.0 % |" in text
    assert "by the code\nof `b on a`" in text
    assert "The algorithm of `b` has the same rows" in text
    assert "to the last digit." in text
    moved = [dataclasses.replace(again[0], gpu_hours=(9.0,)), again[1]]
    assert "to the last digit, but of spikes." in ablation_page.judged(ran, [*own, *moved])
    assert "the same rows" not in ablation_page.judged(ran, [*own, *again[:1]])
    assert "| correction | +0.00 · +0.0 % | none | none | no |" in ablation_page.judged(ran, own)
