"""What each mechanism of the scaling algorithm is worth: tacho without it, on the same traces.

    python -m benchmarks.autoscaling.ablation [--scenarios spikes,diurnal] [--without trend] [--seeds 11]

Prints SLO attainment in percent and GPU-hours, means over scenarios and seeds.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any
from unittest import mock

from benchmarks.autoscaling.__main__ import DEVELOPMENT_SEEDS, listed, values
from benchmarks.autoscaling.scenarios import SCENARIOS
from tacho_operator.core.autoscaling.algorithm import (
    attainment,
    behavior,
    demand,
    need,
    request_cost,
    step,
    tuning,
)
from tacho_operator.core.autoscaling.algorithm.types import (
    Correction,
    Interval,
    Mix,
    ReplicaCapacity,
)

Replacement = tuple[object, str, Any]
"""Module, name, and what stands for it."""


def _mean(offered: Sequence[Interval], request_seconds: float) -> float:
    """The load by the whole window alone."""
    with mock.patch.object(tuning, "DEVIATIONS", math.inf):
        return demand_level(offered, request_seconds)


def _measured_lengths(capacity: ReplicaCapacity, _: Mix) -> request_cost.RequestCost | None:
    return request_cost.cost_of(capacity, request_cost.measured_mix(capacity, 1.0))


def _uncorrected(former: Correction, *_: object, **__: object) -> Correction:
    return former


demand_level: Callable[[Sequence[Interval], float], float] = demand.level
MECHANISMS: Mapping[str, tuple[Replacement, ...]] = {
    "nothing": (),
    "trend": ((demand, "slope", lambda _: 0.0),),
    "short windows": ((demand, "level", _mean),),
    "speed in service": ((tuning, "MIN_R2", math.inf),),
    "own lengths": ((step, "cost_of", _measured_lengths),),
    "KV cache": ((need, "_kv_cache", lambda *_: None),),
    "correction": ((attainment, "corrected", _uncorrected),),
    "bursts": ((behavior, "filled_by_bursts", lambda *_: 0.0),),
}


def without(task: tuple[str, Sequence[str], Sequence[int]]) -> tuple[str, float, float]:
    """The mechanism, SLO attainment in percent and GPU-hours without it."""
    name, scenarios, seeds = task
    for module, attribute, replacement in MECHANISMS[name]:
        setattr(module, attribute, replacement)
    found = [values(scenario, "tacho", seed) for scenario in scenarios for seed in seeds]
    return name, fmean(slo for slo, _, _ in found), fmean(hours for _, hours, _ in found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", default="all")
    parser.add_argument("--without", default="all")
    parser.add_argument("--seeds", default=",".join(map(str, DEVELOPMENT_SEEDS)))
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    seeds = tuple(map(int, given.seeds.split(",")))
    scenarios = listed(given.scenarios, SCENARIOS)
    tasks = [(name, scenarios, seeds) for name in listed(given.without, MECHANISMS)]
    # A process for each: a mechanism that was replaced stays so.
    with multiprocessing.get_context("fork").Pool(given.jobs, maxtasksperchild=1) as pool:
        for name, slo, hours in pool.imap(without, tasks, chunksize=1):
            print(f"without {name:20} {slo:.2f} % at {hours:.2f} GPU-hours", flush=True)


if __name__ == "__main__":
    main()
