"""What each mechanism of the scaling algorithm is worth: what is left out, and where it counts."""

from __future__ import annotations

import pytest

from benchmarks.autoscaling.ablation import FAMILIES, FAMILY_OF, MECHANISMS, applies, table
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
