"""docs/design/scaling.md: its five decisions are those of the code, its constants those of the table."""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
from pathlib import Path

import pytest
from pydantic import BaseModel

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

PAGE = Path(__file__).parents[3] / "docs/design/scaling.md"
NOW = 1000.0
MAX_CONSTANTS = 15
ESTIMATOR_AND_STEP = ("attainment", "bursts", "demand", "need", "request_cost", "step")
MAX_LINES = 450
"""Lines of code of these files: without blank lines, comments and docstrings. Guards, limits, a
HorizontalPodAutoscaler's rules, messages, schedules and types have files of their own.
"""


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


def constants() -> list[tuple[str, str, str]]:
    """Name, value and reason of each constant in tuning.py, up to the guards' limits."""
    source = Path(tuning.__file__).read_text(encoding="utf-8").partition("# Limits of the guards")[0]
    body = ast.parse(source).body
    found = []
    for assigned, reason in itertools.pairwise(body):
        if isinstance(assigned, ast.Assign) and isinstance(reason, ast.Expr):
            assert isinstance(assigned.targets[0], ast.Name)
            assert isinstance(reason.value, ast.Constant)
            found.append(
                (
                    assigned.targets[0].id,
                    ast.unparse(assigned.value),
                    " ".join(str(reason.value.value).split()),
                )
            )
    return found


def test_the_page_has_the_table_of_constants() -> None:
    assert [tuple(cells) for cells in rows("Constants")] == constants()
    assert len(constants()) <= MAX_CONSTANTS


def lines_of_code(module: str) -> int:
    """Lines with tokens, apart from comments and docstrings."""
    text = (Path(tuning.__file__).parent / f"{module}.py").read_text(encoding="utf-8")
    docstrings = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    left_out = {line for node in docstrings for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    blank = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len({token.start[0] for token in tokens if token.type not in blank} - left_out)


def test_the_estimator_and_the_step_stay_small() -> None:
    assert sum(map(lines_of_code, ESTIMATOR_AND_STEP)) <= MAX_LINES
