"""docs/design/scaling.md: its five decisions are those of the code, its constants those of the table."""

from __future__ import annotations

import itertools
import re
import statistics
from pathlib import Path

import pytest
from pydantic import BaseModel

from benchmarks.autoscaling.traces import public
from tacho_operator.api.spec.service import AutoscalingSpec, ScalingRules
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_DOWN,
    SCALE_UP,
    Interval,
    PodLoad,
    Point,
    Rules,
    Sample,
    ScalingInput,
    State,
    Track,
)
from tests.unit.autoscaling.fleet import CAPACITY, OUTPUT_TOKENS, POLICY
from tools import scaling_page

PAGE = scaling_page.PAGE
NOW = 1000.0


def rows(title: str) -> list[list[str]]:
    """Cells of the table below a title, without its head."""
    text = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


DECISIONS = rows("Five decisions")


def done(cell: str) -> list[int]:
    """Requests of the last six intervals, oldest first."""
    if each := re.fullmatch(r"(\d+) in each", cell):
        return [int(each[1])] * 6
    five, last = re.findall(r"\d+", cell)
    return [int(five)] * 5 + [int(last)]


@pytest.mark.parametrize("cells", DECISIONS, ids=[cells[-1] for cells in DECISIONS])
def test_each_decision_of_the_page_is_that_of_the_code(cells: list[str]) -> None:
    replicas, highest, following = int(cells[0]), float(cells[3]), int(cells[5])
    counts, running = done(cells[1]), int(cells[2].split()[0])
    *former, last = counts
    names = [f"pod-{number}" for number in range(replicas)]
    share = [(running + number) // replicas for number in range(replicas)]

    def sample(number: int, time: float, tokens: float) -> Sample:
        return Sample(time_seconds=time, running=share[number], waiting=0, generated_tokens=tokens / replicas)

    offered = [
        Interval(NOW - 10 * (age + 1), 10.0, count * 0.5 / 10) for age, count in enumerate(reversed(former))
    ]
    before = {name: Track(sample(number, NOW - 10, 0.0)) for number, name in enumerate(names)}
    crowded = sum(max(0, count - 20) for count in share)
    state = State(
        fingerprint=CAPACITY.fingerprint,
        tracks=before,
        read_seconds=NOW - 10,
        in_progress=0.5 * (crowded + (running - crowded) / 2),
        offered=tuple(offered),
        watched_since=NOW - 1000,
        downs=(Point(NOW - 200, highest),),
        cold_start_seconds=60.0,
    )
    pods = tuple(
        PodLoad(uid=name, sample=sample(number, NOW, last * OUTPUT_TOKENS))
        for number, name in enumerate(names)
    )
    at = ScalingInput(replicas=replicas, pods=pods, capacity=CAPACITY, policy=POLICY)
    decision = step(at, state, NOW).decision
    assert decision.replicas == following
    results = re.findall(r"/ 0\.80 = (\d\.\d\d)", cells[4])
    assert f"= {results[-1]}." in decision.reason


def described(field: str, of: type[BaseModel] = ScalingRules) -> str:
    """Documentation of a field, as `kubectl explain` shows it."""
    return " ".join((of.model_fields[field].description or "").split())


def policies(rules: Rules) -> str:
    return " or ".join(
        f"{pace.value} {'percent' if pace.kind == 'Percent' else 'pod' + 's' * (pace.value > 1)}"
        for pace in rules.paces
    )


def test_explain_and_the_page_show_the_defaults_of_the_code() -> None:
    up, down = SCALE_UP, SCALE_DOWN
    windows = f"Absent: {up.window_seconds:.0f} upwards, {down.window_seconds:.0f} downwards."
    assert windows in described("stabilization_window_seconds")
    upwards = f"upwards {policies(up)} in {up.paces[0].period_seconds:.0f} seconds"
    downwards = f"downwards {policies(down)} in {down.paces[0].period_seconds:.0f} seconds"
    assert f"Absent: {upwards}; {downwards}." in described("policies")
    assert f"Absent: {up.tolerance:.0f}." in described("tolerance")
    assert f"Absent: {up.select}." in described("select_policy")
    memory = f"Absent: {POLICY.burst_memory_seconds:.0f}."
    assert memory in described("burst_memory_seconds", AutoscalingSpec)
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"{policies(up)} in {up.paces[0].period_seconds:.0f} s" in page
    assert f"maximum need of {down.window_seconds:.0f} s" in page


def test_the_page_has_the_tables_of_the_code() -> None:
    assert scaling_page.page() == PAGE.read_text(encoding="utf-8"), "run make generate"


def test_the_algorithm_stays_small() -> None:
    """Guards, limits, a HorizontalPodAutoscaler's rules, messages, schedules and types have files of their
    own."""
    files = scaling_page.PARTS["Estimator and step"]
    assert sum(map(scaling_page.lines_of_code, files)) <= scaling_page.MAX_LINES
    assert len(scaling_page.constants()) <= scaling_page.MAX_CONSTANTS
    every = {path.stem for path in scaling_page.ALGORITHM.glob("*.py")} - {"__init__"}
    assert sorted(itertools.chain(*scaling_page.PARTS.values())) == sorted(every)


def test_every_number_is_in_a_table() -> None:
    assert scaling_page.stray() == []
    assert scaling_page.inline() == []
    for module, names in scaling_page.APART.items():
        assert set(names) <= set(scaling_page.named_numbers(scaling_page.PACKAGE / f"{module}.py")), module


def test_each_constant_has_a_reason() -> None:
    rows = (*scaling_page.constants(), *scaling_page.limits())
    assert sorted(name for name, _, _ in rows) == sorted(name for name in vars(tuning) if name.isupper())
    assert all(reason for _, _, reason in rows)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("WINDOW_SECONDS = 3 * RATE_SECONDS", ["WINDOW_SECONDS"]),
        ("SHARE: float = 0.9", ["SHARE"]),
        ("class Rules:\n    window_seconds: float = 300.0", ["Rules.window_seconds"]),
        ("RATES = {'slow': 0.5}", ["RATES"]),
        ("NOTHING = (0.0, 0.0)\nFIXED = True\nNAMES = ('a',)", []),
    ],
)
def test_a_stray_number_is_seen(source: str, found: list[str], tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert scaling_page.named_numbers(path) == found


def test_the_prompts_of_the_public_trace_deviate_as_the_page_says() -> None:
    """M/M/1 is exact for a deviation of one mean."""
    prompts = public().input_tokens
    (said,) = re.findall(r"public trace deviate by (\d\.\d\d) of their mean", PAGE.read_text())
    assert float(said) == pytest.approx(statistics.pstdev(prompts) / statistics.mean(prompts), abs=0.005)
