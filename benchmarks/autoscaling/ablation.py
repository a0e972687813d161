"""What each mechanism of the scaling algorithm is worth: tacho without it, on the same traces.

    python -m benchmarks.autoscaling.ablation [--scenarios spikes,diurnal] [--without trend] [--seeds 11]
    python -m benchmarks.autoscaling.ablation --seeds judging --jobs 2

Prints a table of means over the seeds. --sick 6: one pod is six times slower, and there are no other faults.
judging: the seeds of the last judging run, whose algorithm must be the present one. Appends to ablation.csv,
and goes on after an interruption. `python -m benchmarks.autoscaling.page` writes the tables from it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any
from unittest import mock

from benchmarks.autoscaling import records, scenarios as worlds
from benchmarks.autoscaling.__main__ import (
    ALGORITHM,
    DEVELOPMENT_SEEDS,
    PLAYED,
    Values,
    drawn,
    judging_seeds,
    listed,
    rounded,
    unchanged,
    values,
)
from benchmarks.autoscaling.goals import OWN
from benchmarks.autoscaling.scenarios import SCENARIOS
from tacho_operator.core.autoscaling.algorithm import (
    attainment,
    bursts,
    capacity as measured_capacity,
    demand,
    guards,
    need,
    request_cost,
    step,
    tuning,
)
from tacho_operator.core.autoscaling.algorithm.types import (
    Burst,
    Correction,
    Interval,
    ReplicaCapacity,
    State,
)
from tacho_simulate.run import Faults

Replacement = tuple[object, str, Any]
"""Module, name, and what stands for it."""
Found = Mapping[str, tuple[float, float]]
"""SLO attainment in percent and GPU-hours, by scenario."""
NOTHING = "nothing"
JUDGING = "judging"
Task = tuple[str, str, tuple[int, ...]]
"""Mechanism, scenario, seeds."""


def _mean(offered: Sequence[Interval], request_seconds: float) -> float:
    """The load by the whole window alone."""
    with mock.patch.object(tuning, "DEVIATIONS", math.inf):
        return demand_level(offered, request_seconds)


def _measured_lengths(capacity: ReplicaCapacity, *_: object) -> request_cost.RequestCost | None:
    return request_cost.cost_of(capacity, request_cost.measured_mix(capacity, 1.0))


def _uncorrected(former: Correction, *_: object, **__: object) -> Correction:
    return former


demand_level: Callable[[Sequence[Interval], float], float] = demand.level
FIXED_TARGET = property(lambda _: 0.8)


def _without_chance(
    known: tuple[Burst, ...], low: float | None, now: float, _: float, seen: float
) -> tuple[tuple[Burst, ...], float | None]:
    """Bursts of the load as it was seen."""
    return bursts.with_bursts(known, low, now, seen, seen)


def _never_a_new_level(
    known: tuple[Burst, ...], low: float | None, now: float, load: float, seen: float
) -> tuple[tuple[Burst, ...], float | None]:
    """Bursts of any length."""
    with mock.patch.object(tuning, "MAX_BURST_SECONDS", math.inf):
        return bursts.with_bursts(known, low, now, load, seen)


def _larger_ones_need(state: State, found: need.ReplicaNeed, earlier: Sequence[Burst]) -> int:
    """Only bursts that fill no more than earlier ones are not worth a start."""
    return WORTHWHILE(state, found, earlier) if RECURS(state, found, earlier) else step.whole(found.need)


RECURS, WORTHWHILE = step._recurs, step._worthwhile


MECHANISMS: Mapping[str, tuple[Replacement, ...]] = {
    NOTHING: (),
    "trend": ((demand, "slope", lambda _: 0.0),),
    "a step is no trend": ((tuning, "TREND_PARTS", 2),),
    "short windows": ((demand, "level", _mean),),
    "work in the pods": ((demand, "in_progress", lambda *_: 0.0),),
    "speed in service": ((tuning, "MIN_R2", math.inf),),
    "own lengths": ((step, "cost_of", _measured_lengths),),
    "deviation": ((request_cost, "_share", lambda *_: 1.0),),
    "KV cache": ((tuning, "TARGET_KV_CACHE", math.inf),),
    "prompts in a queue": ((need, "_queue", lambda *_: math.inf),),
    "correction": ((attainment, "corrected", _uncorrected),),
    "unverified rate": ((measured_capacity, "_missed", lambda *_: False),),
    "slow pods": ((guards, "slow", lambda *_: ()),),
    "headroom by concurrency": ((need.ReplicaNeed, "target", FIXED_TARGET),),
    "even routing": ((demand, "imbalance", lambda former, *_: former),),
    "bursts": ((step, "ended", lambda *_: ()),),
    "bursts: chance": ((step, "with_bursts", _without_chance),),
    "bursts: worth a start": ((step, "soon_over", lambda *_: False),),
    "bursts: larger ones": ((step, "_worthwhile", _larger_ones_need),),
    "bursts: no trend": ((step, "_recurs", lambda *_: False),),
    "bursts: a new level": ((step, "with_bursts", _never_a_new_level),),
}


def without(task: Task) -> list[Values]:
    """By seed, without the mechanism, in one scenario."""
    name, scenario, seeds = task
    for module, attribute, replacement in MECHANISMS[name]:
        setattr(module, attribute, replacement)
    return [values(scenario, OWN, seed) for seed in seeds]


def means(found: Sequence[Values]) -> tuple[float, float]:
    """SLO attainment in percent and GPU-hours."""
    return fmean(slo for slo, _, _ in found), fmean(hours for _, hours, _ in found)


def table(found: Mapping[str, Found]) -> Iterator[str]:
    """What is lost and saved without each mechanism, by scenario. Empty: it changes nothing."""
    whole = found[NOTHING]
    names = [name for name in found if name != NOTHING]
    yield f"| scenario | tacho | {' | '.join(names)} |"
    yield f"|---|---|{'---|' * len(names)}"
    for scenario, (slo, hours) in whole.items():
        cells = [_difference((slo, hours), found[name][scenario]) for name in names]
        yield f"| {scenario} | {slo:.2f} % · {hours:.2f} | {' | '.join(cells)} |"
    mean = _average(whole.values())
    cells = [_difference(mean, _average(found[name].values())) for name in names]
    yield f"| **mean** | {mean[0]:.2f} % · {mean[1]:.2f} | {' | '.join(cells)} |"


def _average(items: Iterable[tuple[float, float]]) -> tuple[float, float]:
    slo, hours = zip(*items, strict=True)
    return fmean(slo), fmean(hours)


def _difference(whole: tuple[float, float], left: tuple[float, float]) -> str:
    points, percent = left[0] - whole[0], 100 * (left[1] / whole[1] - 1)
    return f"{points:+.2f} · {percent:+.1f} %" if abs(points) >= 0.005 or abs(percent) >= 0.05 else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", default="all")
    parser.add_argument("--without", default="all")
    parser.add_argument("--seeds", default=",".join(map(str, DEVELOPMENT_SEEDS)))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--sick", type=float, default=1.0)
    parser.add_argument("--kv-cache-tokens", type=int, default=worlds.MODEL.kv_cache_tokens)
    given = parser.parse_args()
    worlds.MODEL = dataclasses.replace(worlds.MODEL, kv_cache_tokens=given.kv_cache_tokens)
    if given.sick > 1:
        faults = Faults(stragglers=((1, given.sick),))
        SCENARIOS.update({name: dataclasses.replace(SCENARIOS[name], faults=faults) for name in SCENARIOS})
    scenarios = listed(given.scenarios, SCENARIOS)
    mechanisms = listed(given.without, MECHANISMS)
    if given.seeds == JUDGING:
        judge(scenarios, [name for name in mechanisms if name != NOTHING], given.jobs)
        return
    seeds = tuple(map(int, given.seeds.split(",")))
    mechanisms = tuple(dict.fromkeys((NOTHING, *mechanisms)))
    tasks = [(name, scenario, seeds) for name in mechanisms for scenario in scenarios]
    results = {(name, scenario): means(found) for (name, scenario, _), found in run(tasks, given.jobs)}
    found = {name: {item: results[name, item] for item in scenarios} for name in mechanisms}
    print("\n".join(table(found)))


def run(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, list[Values]]]:
    """Each task with its results, as they come."""
    for _, scenario, seeds in tasks:
        SCENARIOS[scenario].setting(drawn(scenario, seeds[0]))  # measured once, before the processes fork
    # A process for each: a mechanism that was replaced stays so.
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        yield from zip(tasks, pool.imap(without, tasks, chunksize=1), strict=True)


def judge(scenarios: Sequence[str], mechanisms: Sequence[str], jobs: int) -> None:
    """On the seeds of the last judging run, whose rows have tacho with all mechanisms."""
    commit = records.latest(records.read(records.JUDGING))[-1].commit
    if records.ON in commit or not unchanged(commit, (*PLAYED, ALGORITHM)):
        raise SystemExit(f"{commit} was judged last, and the algorithm is another one now: judge it first")
    done = {(row.policy, row.scenario) for row in records.read(records.ABLATION) if row.commit == commit}
    seeds = judging_seeds(commit)
    tasks = [(name, item, seeds) for name in mechanisms for item in scenarios if (name, item) not in done]
    for (name, scenario, _), found in run(tasks, jobs):
        slo, hours, waits = map(rounded, zip(*found, strict=True))
        records.append(records.ABLATION, [records.Row(commit, scenario, name, "", slo, hours, waits)])
        print(f"{name:26} {scenario:26} {means(found)}", flush=True)


if __name__ == "__main__":
    main()
