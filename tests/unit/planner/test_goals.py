"""Goals of recorded data, and the exit code that tells whether all are met."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks import goals as every
from benchmarks.planner import goals, speed
from benchmarks.planner.goals import Goal


def item(kind: str, figure: str, error: float, *, held: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        kind=kind, row=SimpleNamespace(figure=figure, name=f"at {error}"), error=error, held=held
    )


def test_a_goal_is_the_most_or_the_least_that_is_allowed() -> None:
    assert [Goal("", 3, found).met for found in (2.9, 3, 3.1)] == [True, True, False]
    assert [Goal("", 0.9, found, least=True).met for found in (0.89, 0.9, 1.0)] == [False, True, True]


def test_each_kind_and_figure_of_speed_has_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [item("none", "one stream", error) for error in (0.01, -0.02, -0.09)]
    items += [item("untimed", "load", 9.0), item("awq", "load", 0.05, held=False)]
    monkeypatch.setattr(speed, "judged", lambda: tuple(items))
    assert [(goal.title, round(goal.found, 3), goal.met, goal.where) for goal in goals.of_speed()] == [
        ("16 bits: One stream, % off, median", 2.0, True, ""),
        ("16 bits: One stream, % off, worst", 9.0, False, "at -0.09"),
        ("16 bits: One stream, share in the band", 1.0, True, ""),
        ("4 bits on Machete: Planned concurrency, % off, median", 5.0, True, ""),
        ("4 bits on Machete: Planned concurrency, % off, worst", 5.0, True, "at 0.05"),
        ("4 bits on Machete: Planned concurrency, share in the band", 0.0, False, ""),
    ]


def test_the_default_version_has_goals_of_its_own() -> None:
    every = list(goals.of_newest())
    dense = "vLLM 0.32, dense: "
    found = {goal.title.removeprefix(dense): goal for goal in every if goal.title.startswith(dense)}
    assert {title: goal.met for title, goal in found.items()} == {
        "One stream, % off, median": True,
        "One stream, % off, worst": False,
        "One stream, share in the band": True,
        "Planned concurrency, % off, median": True,
        "Planned concurrency, % off, worst": False,
        "Planned concurrency, share in the band": True,
    }
    assert found["One stream, % off, worst"].where.endswith("qwen2.5-1.5b-none")
    assert found["Planned concurrency, % off, worst"].where.endswith("llama-3.2-1b-none")
    others = {goal.title for goal in every} - {dense + title for title in found}
    kinds = {title.removeprefix("vLLM 0.32, ").partition(":")[0] for title in others}
    assert kinds == {"NF4", "W8A8", "experts in 16 bits", "experts in FP8", "experts in 4 bits"}
    assert all(goal.met for goal in every if goal.title.endswith("share in the band"))


@pytest.mark.parametrize(("found", "code"), [(1.0, 0), (2.0, 1)])
def test_the_exit_code_tells_of_a_missed_goal(
    found: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(goals, "memory", lambda: [Goal("weights", 1.0, found, "a start")])
    monkeypatch.setattr(goals, "of_speed", list)
    monkeypatch.setattr(goals, "of_newest", list)
    assert every.main(["planner"]) == code
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"planner, memory: {1 - code} of 1 goals met"
    assert told[2].split() == ["weights", "1", f"{found:.0f}", "NO" if code else "yes", "a", "start"]


def test_all_goals_are_judged_although_the_first_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every, "PARTS", {"one": lambda: 1, "other": lambda: 0})
    assert every.main([]) == 1
