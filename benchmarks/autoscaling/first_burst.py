"""What a policy keeps that foretells nothing: the first burst meets the replicas that were there before it.

    python -m benchmarks.autoscaling.first_burst [--on COMMIT] [--scenarios spikes,on/off]

No policy knows when the first burst begins. The best of them requests all replicas that it ever needs in the
second in which it begins, and keeps them, as later bursts end before further ones are ready. So one run for
each number of replicas shows what can be kept, and at which cost. Appends to first_burst.csv.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.autoscaling import records
from benchmarks.autoscaling.__main__ import CODE, drawn, git, judging_seeds, listed
from benchmarks.autoscaling.goals import (
    BOUND,
    CHEAPER,
    NEAR,
    OWN,
    REFERENCE,
    REFERENCE_COST_RATIO,
    Score,
    goal_of,
)
from benchmarks.autoscaling.records import Row
from benchmarks.autoscaling.scenarios import MOST, SCENARIOS
from benchmarks.autoscaling.traces import SHAPES
from tacho_simulate.policy import PolicyDecision, PolicyView, Setting
from tacho_simulate.run import simulate

PATH = Path(__file__).with_name("first_burst.csv")
"""Rows of former runs, on the seeds of their commit."""
WITH_BURSTS = (
    "spikes",
    "on/off",
    "pulses of 1.5 min",
    "pulses of 6 min",
    "short bursts",
    "spikes least-loaded",
)
"""Scenarios whose first burst begins in one second."""
COUNTS = (*range(4, 10), MOST)
"""Replicas that are tried; fewer carry no burst, and each further one keeps hardly more."""
GROWTH = 2.0
"""Factor by which the rate grows as the first burst begins."""
NAME = "from the first burst: "


@dataclass(frozen=True, slots=True)
class FromFirstBurst:
    """The initial replicas, and ``replicas`` from the second on in which the first burst begins."""

    setting: Setting
    begin_seconds: float
    replicas: int
    name: str = "from the first burst"
    period_seconds: float = 1.0

    def decide(self, view: PolicyView) -> PolicyDecision:
        initial = self.setting.initial_replicas or self.setting.min_replicas
        count = initial if view.now_seconds < self.begin_seconds else self.replicas
        return PolicyDecision(replicas=count, reason=f"{count} replicas")


def begin_of(scenario: str, seed: int) -> float:
    """The second in which the rate of the trace first grows by GROWTH."""
    shape = SHAPES[SCENARIOS[scenario].shape]
    rate = shape.rate(Random(f"{shape.name} {seed}"))
    return next(float(at) for at in range(round(shape.seconds)) if rate(at) >= GROWTH * rate(0.0))


def kept(scenario: str, seed: int, replicas: int) -> tuple[float, float]:
    """(SLO attainment in percent, GPU-hours) of so many replicas from the first burst on."""
    trace, begin = drawn(scenario, seed), begin_of(scenario, seed)
    setting = SCENARIOS[scenario].setting(trace)
    result = simulate(
        trace,
        setting,
        lambda given: FromFirstBurst(given, begin, replicas),
        seed=seed,
        faults=SCENARIOS[scenario].faults,
    )
    return 100 * result.slo_attainment, result.gpu_hours


def rows(commit: str, scenarios: tuple[str, ...]) -> Iterator[Row]:
    for scenario in scenarios:
        for replicas in COUNTS:
            found = [kept(scenario, seed, replicas) for seed in judging_seeds(commit)]
            shares, hours = zip(*found, strict=True)
            yield Row(commit, scenario, f"{NAME}{replicas}", "", _rounded(shares), _rounded(hours), ())


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in values)


@dataclass(frozen=True, slots=True)
class Reachable:
    """What such a policy can reach in one scenario."""

    most: Score
    """The highest SLO attainment, and what it costs."""
    goal: tuple[int, Score] | None
    """The cheapest that keeps the scenario's goal and no less than tacho: replicas and score. None: none."""
    below_gpu_hours: float
    """Without foretelling, no policy keeps the scenario's goal for as many GPU-hours: another one, at most
    half a point below ``most`` or better, is cheaper. Infinity: there is no such policy.
    """
    as_greedy: Score | None
    """The highest SLO attainment at the GPU-hours that the goal beside the greedy reference allows. None:
    none of the counts is as cheap.
    """


def reachable(commit: str, scenario: str, found: Mapping[str, Score]) -> Reachable | None:
    """By the committed rows, beside the scores ``found`` of other policies. None: there are no rows."""
    mine = [row for row in records.read(PATH) if (row.commit, row.scenario) == (commit, scenario)]
    if not mine:
        return None
    scores = {int(row.policy.removeprefix(NAME)): row.score for row in mine}
    keeping = [
        (score.gpu_hours, replicas)
        for replicas, score in scores.items()
        if score.attainment >= found[OWN].attainment and goal_of(scenario, {**found, OWN: score}).passed
    ]
    cheapest = min(keeping)[1] if keeping else None
    most = _highest(scores.values())
    near = [
        score.gpu_hours
        for name, score in found.items()
        if name not in (OWN, REFERENCE, BOUND) and score.attainment >= most.attainment - NEAR
    ]
    allowed = REFERENCE_COST_RATIO * found[REFERENCE].gpu_hours
    cheap = [score for score in scores.values() if score.gpu_hours <= allowed]
    return Reachable(
        most=most,
        goal=(cheapest, scores[cheapest]) if cheapest else None,
        below_gpu_hours=min(near, default=math.inf) / CHEAPER,
        as_greedy=_highest(cheap) if cheap else None,
    )


def _highest(scores: Iterable[Score]) -> Score:
    return max(scores, key=lambda score: score.attainment)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--on", default="", help="commit whose judging seeds are drawn; default: the last of code"
    )
    parser.add_argument("--scenarios", default="all")
    given = parser.parse_args()
    commit = given.on or git("log", "-1", "--format=%H", "--", *CODE)[:12]
    for row in rows(commit, listed(given.scenarios, WITH_BURSTS)):
        records.append(PATH, [row])
        print(f"{row.scenario:26} {row.policy:26} {row.score}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
