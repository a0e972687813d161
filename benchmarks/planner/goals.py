"""Whether the planner meets its goals, of memory and of speed: recorded data alone, in half a minute.

    python -m benchmarks.planner.goals

Exit code 1 where a goal is missed. `python -m benchmarks.goals` prints those of the probe too.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.gpu.pages import dense_law as dense, h200_newest_quantized as quantized
from benchmarks.planner import speed, starts
from benchmarks.planner.cases import called_fitting, predict
from benchmarks.planner.run import RESULTS
from benchmarks.planner.speed_rows import Row
from benchmarks.planner.starts import Start
from benchmarks.probe.results import table
from tacho_contract.units import GIB

MEDIAN_PERCENT = {"weights": 1.0, "kvTokens": 2.0, "activation": 5.0, "graphs": 10.0, "peak": 5.0}
WORST_PERCENT = {"weights": 1.0, "kvTokens": 5.0, "peak": 5.0}
"""Of each part. Activations differ by a quarter between two starts of the same configuration, compiled anew
or found in the cache, and graphs by a third between two kernels of the same weights."""
LOW_GIB = 0.03
"""What is predicted too low is missing when the engine starts; too high only costs cache."""
SMALL_CACHE_GIB, SMALL_WITHIN_GIB = 1.0, 0.03
"""What is left of several GiB for a cache of less than one is known to so much."""
KINDS = {speed.PLAIN: "16 bits", "awq": "4 bits on Machete", "bnb-nf4": "NF4"}
IN_BAND = 0.9
"""Share of the rows of a kind that the band of a plan covers."""


class Goal(NamedTuple):
    """A figure of recorded data, and what it must be."""

    title: str
    bound: float
    found: float
    where: str = ""
    """The start or row that is furthest off."""
    least: bool = False
    """Whether ``bound`` is the least that is allowed; else the most."""

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.least else self.found <= self.bound


def memory() -> Iterator[Goal]:
    """Of starts on H200s and H100s, and of published ones."""
    for part, told in starts.PARTS.items():
        of_part = starts.of_part(part)
        for figure, title in starts.FIGURES.items():
            title = f"{told.partition(':')[0]}: {title}, % off"
            if found := starts.summary(of_part, figure):
                yield Goal(f"{title}, median", MEDIAN_PERCENT[figure], found["medianPercent"])
            large = starts.summary([start for start in of_part if not small_cache(start)], figure)
            if large and figure in WORST_PERCENT:
                found_percent = abs(large["worstPercent"])
                yield Goal(f"{title}, worst", WORST_PERCENT[figure], found_percent, large["worst"])
    yield _worst("GiB off where the cache is under 1 GiB and tokens over 5 %", SMALL_WITHIN_GIB, _small_off)
    yield _worst("GiB less for the cache than predicted", LOW_GIB, cache_shortfall_gib)
    yield _none("starts that worked and are refused", starts.refused_but_started())
    yield _none("starts that failed and are called fitting", failed_but_fitting())
    yield _none("verdicts that a single measurement makes wrong", starts.learned_wrongly())
    published = json.loads(RESULTS.read_text(encoding="utf-8"))["sideBySide"]["tacho"]
    yield Goal("published starts, wrong verdicts", 0, published["of"] - published["right"])


class HeldBack(NamedTuple):
    """A figure of a loop, and how far off a law is that is fitted without its model."""

    row: Row
    error: float
    held: bool
    """Whether the band of a plan holds it."""


def of_speed() -> Iterator[Goal]:
    """Of every kind of kernel that has steps of its own, held back by model."""
    for kind in (*speed.TIMED, speed.H100, speed.AGAIN):
        yield from _speed(KINDS.get(kind, kind), [item for item in speed.judged() if item.kind == kind])


def of_newest() -> Iterator[Goal]:
    """Of vLLM 0.32, the default: dense models and experts in 4 bits are held back by model."""
    found = [pair for pairs in dense.by_model().values() for pair in pairs]
    yield from _speed(
        "vLLM 0.32, dense",
        [HeldBack(loop.row, math.expm1(error), loop.holds(error)) for loop, error in found],
    )
    for weights, loops in quantized.judged().items():
        if weights == quantized.PARTIAL:
            continue
        yield from _speed(
            f"vLLM 0.32, {weights}",
            [
                HeldBack(loop.row, math.expm1(quantized.off(loop)), loop.holds(quantized.off(loop)))
                for loop in loops
                if loop.steady
            ],
        )


def _speed(kind: str, items: Sequence[speed.Judged | HeldBack]) -> Iterator[Goal]:
    for figure, title in speed.TITLES.items():
        found = speed.summary(item for item in items if item.row.figure == figure)
        if found is None:
            continue
        title = f"{kind}: {title.partition(' (')[0]}"
        middle, worst = speed.GOALS[figure]
        yield Goal(f"{title}, % off, median", middle, found["median"])
        yield Goal(f"{title}, % off, worst", worst, abs(found["worst"]), found["worstRow"])
        yield Goal(f"{title}, share in the band", IN_BAND, found["held"] / found["rows"], least=True)


def small_cache(start: Start) -> bool:
    return bool(start.row["actual"].get("kvGiB", SMALL_CACHE_GIB) < SMALL_CACHE_GIB)


def cache_shortfall_gib(start: Start) -> float | None:
    """How much less a start of vLLM found for its cache than was predicted; below 0: more."""
    told = start.row["actual"].get("kvGiB") if start.row["engine"] == "vllm" else None
    return None if told is None else predict(start.case).available_bytes / GIB - told


def failed_but_fitting() -> list[str]:
    failed = [one for one in starts.starts() if one.row["engine"] == "vllm" and one.row["started"] is False]
    return [start.name for start in failed if called_fitting(start.case)]


def _small_off(start: Start) -> float | None:
    error = abs(start.errors.get("kvTokens", 0.0))
    far = small_cache(start) and 100 * error > WORST_PERCENT["kvTokens"]
    return error * start.row["actual"]["kvGiB"] if far else None


def _worst(title: str, bound: float, of: Callable[[Start], float | None]) -> Goal:
    found = [(value, start.name) for start in starts.starts() if (value := of(start)) is not None]
    return Goal(title, bound, *max(found, default=(0.0, "")))


def _none(title: str, found: list[str]) -> Goal:
    return Goal(title, 0, len(found), ", ".join(found[:1]))


def main() -> int:
    missed = 0
    for name, goals in (("memory", [*memory()]), ("speed", [*of_speed(), *of_newest()])):
        rows = [
            [goal.title, goal.bound, float(goal.found), "yes" if goal.met else "NO", goal.where or None]
            for goal in goals
        ]
        missed += sum(not goal.met for goal in goals)
        print(f"planner, {name}: {sum(goal.met for goal in goals)} of {len(goals)} goals met")
        print(table(("goal", "asked", "found", "met", "furthest"), rows))
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
