"""How policies are judged: goals, rows that are kept, a bound that holds, seeds that decide everything."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from benchmarks.autoscaling import first_burst, records
from benchmarks.autoscaling.__main__ import PLAYED, POLICIES, git, is_current, judging_seeds, run, unchanged
from benchmarks.autoscaling.clairvoyant import bound_gpu_hours
from benchmarks.autoscaling.first_burst import begin_of, kept, reachable
from benchmarks.autoscaling.goals import AFTER_COLD_STARTS, AT_ONCE, Goal, Score, goals
from benchmarks.autoscaling.page import FOLDER, ROOT, readme, statics
from benchmarks.autoscaling.records import Row
from benchmarks.autoscaling.scenarios import SCENARIOS
from benchmarks.autoscaling.traces import PUBLIC, SHAPES, public
from tacho_simulate.policies import policy_of
from tacho_simulate.run import simulate
from tacho_simulate.tuning import TRIED
from tests.unit.simulate.worlds import poisson, setting_of


def goal(**found: Score) -> Goal:
    first, *_ = goals({"one": {name.replace("_", "-"): score for name, score in found.items()}})
    return first


class TestGoals:
    def test_where_the_reference_keeps_the_slo_cost_is_compared_with_the_cheapest_that_keeps_it(self) -> None:
        reference, poor, static = Score(0.995, 10.0), Score(0.98, 5.0), Score(1.0, 8.0)
        others = {
            "clairvoyant bound": Score(0.99, 1.0),
            "greedy": reference,
            "kubeai": poor,
            "static_4": static,
            "wva": Score(0.99, 10.0),
        }
        assert goal(tacho=Score(0.99, 10.5), **others).passed
        assert not goal(tacho=Score(0.99, 10.51), **others).passed
        assert not goal(tacho=Score(0.9899, 1.0), **others).passed

    def test_elsewhere_nobody_within_half_a_point_is_five_percent_cheaper(self) -> None:
        reference, own = Score(0.95, 10.0), Score(0.93, 10.0)
        assert goal(tacho=own, greedy=reference, static_4=Score(0.924, 5.0)).passed
        assert goal(tacho=own, greedy=reference, static_4=Score(0.9251, 9.51)).passed
        assert not goal(tacho=own, greedy=reference, static_4=Score(0.9251, 9.5)).passed
        assert not goal(tacho=own, greedy=reference, kubeai=Score(1.0, 9.5)).passed

    @pytest.mark.parametrize(
        ("wait", "hours", "passed"), [(4.0, 12.5, True), (4.1, 10.0, False), (1.0, 12.6, False)]
    )
    def test_cold_starts_may_double_the_ttft_at_a_quarter_more(
        self, wait: float, hours: float, passed: bool
    ) -> None:
        found = {
            AT_ONCE: {"tacho": Score(0.9, 10.0, 2.0)},
            AFTER_COLD_STARTS: {"tacho": Score(0.9, hours, wait)},
        }
        assert list(goals(found))[-1].passed is passed

    def test_everywhere_near_the_reference_and_no_static_count_is_a_tenth_cheaper(self) -> None:
        good = {"tacho": Score(0.9, 11.0), "greedy": Score(0.92, 10.0), "static-4": Score(0.86, 5.0)}
        for poor, reasons in (
            ({"tacho": Score(0.87, 11.0)}, ["two", "nowhere"]),
            ({"tacho": Score(0.9, 11.1)}, ["two", "nowhere"]),
            ({"static-4": Score(0.9, 9.9)}, ["nowhere", "two"]),
            ({"static-4": Score(0.9, 10.0)}, ["nowhere", "nowhere"]),
        ):
            found = list(goals({"one": good, "two": good | poor}))[2:]
            assert [item.reason.rpartition(": ")[2] for item in found] == reasons
            assert [item.passed for item in found] == [reason == "nowhere" for reason in reasons]


def row(commit: str, policy: str, slo: float) -> Row:
    return Row(commit, "spikes", policy, "", (slo, 90.0), (1.5, 2.0), ())


def test_rows_are_appended_and_the_latest_commit_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    first, second = row("a", "tacho", 80.0), row("b", "tacho", 100.0)
    records.append(path, [first])
    records.append(path, [second])
    assert records.read(path) == [first, second]
    assert records.scores(records.latest(records.read(path))) == {"spikes": {"tacho": Score(0.95, 1.75)}}


def test_rows_of_development_make_way(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    records.append(path, [row("a", "wva", 80.0), row("a", "kaito", 70.0)])
    records.replace(path, [row("b", "wva", 90.0)])
    assert [(item.commit, item.policy) for item in records.read(path)] == [("b", "wva"), ("a", "kaito")]


def test_rows_of_other_code_do_not_count() -> None:
    head = git("rev-parse", "HEAD")
    assert is_current(row(head, "wva", 80.0)) is unchanged(head, PLAYED)
    assert not is_current(row("0" * 40, "wva", 80.0))
    assert not unchanged("0" * 40, ("operator",))


def test_the_same_seed_gives_the_same_rows() -> None:
    asked: dict[str, Any] = {"scenarios": ("short bursts",), "policies": ("tacho", "static-3"), "jobs": 1}
    once, again = (list(run("commit", seeds=(5, 6), **asked)) for _ in range(2))
    assert once == again
    assert len(set(once[0].slo_percent)) == 2


def test_a_commit_draws_its_own_seeds() -> None:
    assert judging_seeds("a") == judging_seeds("a")
    assert len({*judging_seeds("a"), *judging_seeds("b")}) == 10


def test_candidates_are_policies() -> None:
    for name in POLICIES:
        if name != "clairvoyant bound":
            policy_of(name, setting_of())
    assert {f"static-{count}" for count in range(1, 17)} < set(POLICIES)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.2, 12.0),
    seed=st.integers(0, 1000),
    replicas=st.integers(1, 6),
    least=st.integers(1, 2),
    policy=st.sampled_from(["tacho", "greedy", "static-{}"]),
)
def test_no_run_is_below_the_bound(rate: float, seed: int, replicas: int, least: int, policy: str) -> None:
    trace = poisson(rate, 400.0, seed=seed)
    factory, setting = policy_of(
        policy.format(max(least, replicas)), setting_of(min_replicas=least, cold_start_seconds=1.0)
    )
    result = simulate(trace, setting, factory, seed=seed)
    if len(trace):
        assert result.gpu_hours >= bound_gpu_hours(trace, setting, result.slo_attainment) - 1e-9


def test_the_bound_counts_work_beyond_the_minimum() -> None:
    trace = poisson(40.0, 600.0)
    hours = bound_gpu_hours(trace, setting_of(), 1.0)
    assert hours > bound_gpu_hours(trace, setting_of(), 0.9) > 600 / 3600
    assert bound_gpu_hours(poisson(0.1, 600.0), setting_of(), 1.0) == pytest.approx(600 / 3600, rel=0.05)


def test_a_seed_decides_a_trace_and_the_rate_is_in_replicas() -> None:
    shape = SHAPES["step x8"]
    trace = shape.draw(5, 1.0)
    assert trace == shape.draw(5, 1.0) != shape.draw(6, 1.0)
    before = sum(time < 1200 for time in trace.time_seconds)
    after = sum(1200 <= time < 3000 for time in trace.time_seconds)
    assert before == pytest.approx(0.75 * 1200, rel=0.15)
    assert after == pytest.approx(6.0 * 1800, rel=0.05)


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in ("spikes", "training")])
def test_every_shape_is_drawn_to_its_end(name: str) -> None:
    trace = SHAPES[name].draw(7, 0.5)
    assert 0.9 * SHAPES[name].seconds < trace.duration_seconds <= SHAPES[name].seconds


def test_lengths_change_while_the_rate_does_not() -> None:
    prompts = SHAPES["longer prompts"].draw(5, 1.0)
    third = len(prompts) // 3
    assert sum(prompts.input_tokens[-third:]) > 2 * sum(prompts.input_tokens[:third])
    answers = SHAPES["longer answers"].draw(5, 1.0)
    middle = [
        tokens
        for time, tokens in zip(answers.time_seconds, answers.output_tokens, strict=True)
        if 2100 <= time < 3900
    ]
    assert sum(middle) / len(middle) > 1.5 * sum(answers.output_tokens) / len(answers)
    assert len(middle) == pytest.approx(0.3 * len(answers), rel=0.1)


def test_the_public_trace_is_whole_and_says_whose_it_is() -> None:
    assert len(public()) == 8819
    folder = Path(PUBLIC).parent
    assert "CC BY 4.0" in (folder / "README.md").read_text()
    assert "Creative Commons" in (folder / "LICENSE-CC-BY-4.0.txt").read_text()


def test_a_measurement_at_other_lengths_is_another_capacity() -> None:
    same, other = SCENARIOS["diurnal"], SCENARIOS["measured at other lengths"]
    assert same.trace(3) == other.trace(3)
    settings = [scenario.setting(scenario.trace(3)) for scenario in (same, other)]
    assert settings[0].initial_replicas == settings[1].initial_replicas
    assert settings[0].capacity != settings[1].capacity


def judged(commit: str, hours: float) -> list[Row]:
    values = {"tacho": (99.5, hours), "greedy": (99.9, 11.0), "static-7": (99.1, 14.0)}
    values |= {name: (99.2, 10.0 if name == "wva" else 12.0) for name in TRIED}
    return [
        Row(commit, scenario, policy, "up=0.5" if policy == "wva" else "", (slo,), (cost,), ())
        for scenario in ("spikes", "ramp")
        for policy, (slo, cost) in values.items()
    ]


def test_the_page_shows_the_latest_run_and_counts_those_before() -> None:
    text = readme([*judged("aaa", 11.0), *judged("bbb", 10.2)])
    assert "`bbb`" in text
    assert "4 of 4 are kept" in text
    assert "| spikes | kept | 99.50 % at 10.20; the cheapest with 99 %: wva, 99.20 % at 10.00 |" in text
    assert "| aaa | 2 | 2 of 4 | 99.5 · 11.0 | 99.9 · 11.0 |" in text
    assert "| wva | up=0.5 |" in text
    assert "7: 99.1 · 14.0" in text


def test_static_counts_are_those_that_ran() -> None:
    scores = {
        name: {f"static-{count}": Score(1.0, count) for count in counts}
        for name, counts in {"one": (3, 4, 5), "other": (5, 9)}.items()
    }
    assert statics(scores) == "3 to 5 and 9; in a scenario 2 to 3 of them"


def test_other_pages_count_goals_as_the_results_do() -> None:
    scenarios, kept = re.findall(
        r"Scenarios\*\*: (\d+) of|(\d+ of \d+) are kept", (FOLDER / "README.md").read_text()
    )[:2]
    evidence = " ".join((ROOT / "docs/evidence/autoscaling.md").read_text().split())
    assert f"tacho met {kept[1]} goals" in evidence
    assert f"over the {scenarios[0]} scenarios" in evidence
    assert f"{kept[1]} are kept" in (ROOT / "docs/design/scaling.md").read_text()


def test_a_run_on_former_seeds_keeps_the_rows_of_other_policies() -> None:
    again = [row for row in judged("ccc on bbb", 10.2) if row.policy == "tacho"]
    text = readme([*judged("aaa", 11.0), *judged("bbb", 11.0), *again])
    assert f"`bbb`:\n  {judging_seeds('bbb')[0]}" in text
    assert "The rows of tacho are of `ccc`, on the same seeds" in text
    assert "4 of 4 are kept" in text
    assert (
        "| bbb | 2 | 2 of 4 | 99.5 · 11.0 | 99.9 · 11.0 |\n| ccc on bbb | 2 | 4 of 4 | 99.5 · 10.2 |" in text
    )


def test_a_run_that_was_cut_off_has_a_table_of_its_own() -> None:
    rows = judged("aaa", 11.0)
    every = [dataclasses.replace(row, scenario=name) for name in SCENARIOS for row in rows[: len(rows) // 2]]
    text = readme([*every, *judged("bbb", 10.2)])
    assert "`aaa`:" in text
    assert f"`bbb`, on its own seeds {judging_seeds('bbb')[0]}, " in text
    assert "cut off: 2 of 23 scenarios, beside the greedy reference, static counts and 11 of 11 other" in text
    assert "\n4 of 4 goals are kept" in text


def test_a_run_without_all_policies_hides_no_whole_one() -> None:
    rows = judged("aaa", 11.0)
    every = [dataclasses.replace(row, scenario=name) for name in SCENARIOS for row in rows[: len(rows) // 2]]
    few = [dataclasses.replace(row, commit="bbb") for row in every if row.policy not in list(TRIED)[2:]]
    text = readme([*every, *few])
    assert "`aaa`:" in text
    assert "23 of 23 scenarios, beside the greedy reference, static counts and 2 of 11 other policies" in text
    assert "| bbb | 23 | 26 of 26 beside 2 of 11 policies |" in text


def test_the_first_burst_begins_where_its_rate_does() -> None:
    assert begin_of("spikes", 7) == 12 * 60
    begins = [begin_of("pulses of 6 min", seed) / 60 for seed in range(5)]
    assert all(10 <= minute <= 30 for minute in begins)
    assert len(set(begins)) == 5


def test_replicas_that_are_ready_after_the_first_burst_keep_the_later_ones() -> None:
    """Nothing that is requested as it begins serves in it: 16 replicas miss it as eight do."""
    enough, most = (kept("spikes", 11, replicas) for replicas in (9, 16))
    assert 0 <= most[0] - enough[0] < 0.5
    assert most[0] < 95
    assert enough[1] < 0.6 * most[1]


def test_the_goal_is_reached_by_what_keeps_it_and_no_less_than_tacho(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_burst, "PATH", tmp_path / "rows.csv")
    found = {"tacho": Score(0.92, 10.0), "greedy": Score(0.7, 9.0), "static-6": Score(0.93, 9.0)}
    assert reachable("a", "spikes", found) is None
    rows = {4: (90.0, 5.0), 7: (92.5, 9.7), 8: (94.0, 11.0), 9: (94.2, 13.0)}
    records.append(
        first_burst.PATH,
        [
            Row("a", "spikes", f"{first_burst.NAME}{count}", "", (slo,), (hours,), ())
            for count, (slo, hours) in rows.items()
        ],
    )
    result = reachable("a", "spikes", found)
    assert result is not None
    assert (result.most.attainment, result.most.gpu_hours) == (pytest.approx(0.942), 13.0)
    assert result.goal == (8, Score(0.94, 11.0)), "static-6 is too near to 7 replicas; 4 keep less"
    assert result.below_gpu_hours == math.inf, "nobody else keeps as much"
    assert result.as_greedy == Score(0.925, 9.7), "greedy has 9.0, and 1.1 times as much is allowed"
    near = reachable("a", "spikes", {**found, "static-7": Score(0.938, 9.5)})
    assert near is not None
    assert near.below_gpu_hours == pytest.approx(10.0)
    assert reachable("b", "spikes", found) is None


@pytest.mark.parametrize(
    ("slo", "hours", "goal"), [(95.0, 12.0, "kept"), (95.0, 12.2, "missed"), (80.0, 9.0, "missed")]
)
def test_without_memory_the_goal_beside_the_reference_is_judged_anew(
    slo: float, hours: float, goal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_burst, "PATH", tmp_path / "rows.csv")
    kept_hours = Row("bbb", "spikes", f"{first_burst.NAME}4", "", (90.0,), (5.0,), ())
    records.append(first_burst.PATH, [kept_hours])
    row = Row("bbb", "spikes", "bursts", "", (slo,), (hours,), ())
    text = readme(judged("bbb", 13.0), [row, dataclasses.replace(row, commit="aaa", gpu_hours=(1.0,))])
    assert f"| {slo:.2f} % at {hours:.2f} | {goal} |" in text
    assert "| 90.00 % at 5.00 |  |  |" in readme(judged("bbb", 13.0)), "it was not run"
