"""Whether the probe meets its goals on drawn laws: what `virtual` and `laws` found, beside what is asked.

    python -m benchmarks.probe.goals

Reads results/virtual.json, of 45 s a probe, results/virtual-planned.json, of each law's default budget, and
results/laws.json. Exit code 1 if a goal is missed. `make goals` measures all three before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.probe.results import FOLDER, table
from benchmarks.probe.virtual import DISTURBED, of_all


class Goal(NamedTuple):
    """A figure of the laws without stalls and foreign traffic, and what it must be."""

    title: str
    key: str
    bound: float
    highest: bool
    """Whether the bound is the most that is allowed; else the least."""


GOALS = (
    Goal("share that ends in Edge or Plateau", "edgeOrPlateau", 0.9, False),
    Goal("capacity, median error %", "capacityMedianErrorPercent", 3.0, True),
    Goal("share of capacities within 5 %", "capacityWithin5Percent", 0.8, False),
    Goal("capacity, worst error %", "capacityWorstErrorPercent", 20.0, True),
)
RECORDED_MISSES = {
    ("virtual", "share that ends in Edge or Plateau"),
    ("virtual", "capacity, worst error %"),
}
"""Goals that the recorded runs miss: with 45 s two designs did, and README.md here has the figures of both. A
limited TTFT needs a full cohort: 45 s are too short for 5 of 48 laws, and default budgets meet each goal."""
DISTURBANCES = ("stallsFlagged", "trafficFlaggedOrWithin5Percent")


def rows_of(cells: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with their kind, which `laws` has in a cell's name."""
    return [{"kind": name.split()[-1], **row} for name, row in cells.items()]


def judged(rows: Sequence[dict[str, Any]]) -> list[tuple[str, float, float, bool]]:
    """(goal, its bound, what was found, whether it is met)."""
    found = of_all(list(rows))
    undisturbed = found["undisturbed"]
    result = []
    for goal in GOALS:
        value = undisturbed[goal.key]
        value = float("nan") if value is None else value
        result.append(
            (goal.title, goal.bound, value, value <= goal.bound if goal.highest else value >= goal.bound)
        )
    for name in DISTURBANCES:
        if found[name] is not None:
            result.append((name, 1.0, found[name], found[name] >= 1.0))
    return result


def missed_goals() -> set[tuple[str, str]]:
    """(file, goal) of each that the recorded runs miss; prints all."""
    missed = set[tuple[str, str]]()
    for name in ("virtual", "virtual-planned", "laws"):
        rows = rows_of(json.loads((FOLDER / f"{name}.json").read_text())["cells"])
        goals = judged(rows)
        missed |= {(name, title) for title, _, _, kept in goals if not kept}
        quiet = sum(row["kind"] not in DISTURBED for row in rows)
        print(f"{name}: {len(rows)} laws, {quiet} without stalls and foreign traffic")
        print(
            table(
                ("goal", "asked", "found", "met"),
                [[a, b, round(c, 2), "yes" if d else "NO"] for a, b, c, d in goals],
            )
        )
    return missed


def main() -> int:
    return 1 if missed_goals() else 0


if __name__ == "__main__":
    sys.exit(main())
