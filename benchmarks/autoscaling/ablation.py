"""What each mechanism of the scaling algorithm is worth: tacho without it, on the same traces.

    python -m benchmarks.autoscaling.ablation [--scenarios spikes,diurnal] [--without trend] [--seeds 11]
    python -m benchmarks.autoscaling.ablation --seeds judging --jobs 2

Prints a table of means over the seeds. Guards exist for what no scenario has: each has a family of its own
(a slow pod, a small KV cache, a capacity that was measured too high), and counts there.
judging: the seeds of the last judging run, whose algorithm must be the present one. Appends to ablation.csv,
and goes on after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    PodLoad,
    ReplicaCapacity,
    Track,
)
from tacho_simulate.run import Faults

Replacement = tuple[object, str, Any]
"""Module, name, and what stands for it."""
Found = Mapping[str, tuple[float, float]]
"""SLO attainment in percent and GPU-hours, by scenario."""
NOTHING = "nothing"
EVERY_FAMILY = "families"
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


SLOW = guards.slow


def _none_is_slow(*_: object, **__: object) -> tuple[str, ...]:
    return ()


def _all_judge(
    tracks: Mapping[str, Track],
    tokens: float,
    share: float = tuning.SLOW,
    *,
    pods: Collection[PodLoad] = (),
) -> tuple[str, ...]:
    """Latencies of all pods correct the capacity, also of those slower than the median."""
    return () if share >= 1 else SLOW(tracks, tokens, share, pods=pods)


MECHANISMS: Mapping[str, tuple[Replacement, ...]] = {
    NOTHING: (),
    "trend": ((demand, "slope", lambda _: 0.0),),
    "a step is no trend": ((tuning, "TREND_PARTS", 2),),
    "short windows": ((demand, "level", _mean),),
    "work in the pods": ((demand, "in_progress", lambda *_: 0.0),),
    "speed in service": ((tuning, "MIN_R2", math.inf),),
    "own lengths": ((step, "cost_of", _measured_lengths),),
    "KV cache": ((tuning, "TARGET_KV_CACHE", math.inf),),
    "prompts in a queue": ((need, "_queue", lambda *_: math.inf),),
    "correction": ((attainment, "corrected", _uncorrected),),
    "unverified rate": ((measured_capacity, "_missed", lambda *_: False),),
    "slow pods": ((guards, "slow", _none_is_slow),),
    "correction by the faster half": ((guards, "slow", _all_judge),),
    "headroom by concurrency": ((need.ReplicaNeed, "target", FIXED_TARGET),),
    "bursts": ((step, "ended", lambda *_: ()),),
    "bursts: chance": ((step, "with_bursts", _without_chance),),
    "bursts: a new level": ((step, "with_bursts", _never_a_new_level),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What some guards exist for and no scenario has."""

    name: str
    of: tuple[str, ...]
    """Scenarios that have it in addition."""
    guards: tuple[str, ...]
    """Names of the mechanisms."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the scenario."""
    replaced: tuple[Replacement, ...] = ()

    @property
    def scenarios(self) -> dict[str, worlds.Scenario]:
        names = {item: f"{item} with {self.name}" for item in self.of}
        return {
            name: dataclasses.replace(SCENARIOS[item], name=name, **self.fields)
            for item, name in names.items()
        }


def _sick(factor: float) -> Mapping[str, Any]:
    """One pod is slower by the ``factor``, and there are no other faults."""
    return {"faults": Faults(stragglers=((1, factor),))}


UNEVEN_PODS = ("diurnal", "ramp", "diurnal least-loaded")
SMALL_KV_CACHE = dataclasses.replace(worlds.MODEL, kv_cache_tokens=24_000)
FAMILIES = (
    Family(name="a pod 6 times slower", of=UNEVEN_PODS, guards=("slow pods",), fields=_sick(6.0)),
    Family(
        name="a pod 2 times slower",
        of=UNEVEN_PODS,
        guards=("correction by the faster half",),
        fields=_sick(2.0),
    ),
    Family(
        name="24,000 tokens of KV cache",
        of=("longer answers", "step x8", "long prompts"),
        guards=("KV cache",),
        replaced=((worlds, "MODEL", SMALL_KV_CACHE),),
    ),
    Family(
        name="+30 % and no law",
        of=("diurnal", "ramp", "longer prompts"),
        guards=("correction",),
        fields={"bias": 1.3},
        replaced=((tuning, "MIN_R2", math.inf),),
    ),
)
FAMILY_OF = {name: family for family in FAMILIES for name in family.scenarios}


def without(task: Task) -> list[Values]:
    """By seed, without the mechanism, in one scenario."""
    name, scenario, seeds = task
    if family := FAMILY_OF.get(scenario):
        SCENARIOS.update(family.scenarios)
        worlds.measured.cache_clear()
    for module, attribute, replacement in (*(family.replaced if family else ()), *MECHANISMS[name]):
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
    given = parser.parse_args()
    every = (*SCENARIOS, *FAMILY_OF)
    scenarios = tuple(FAMILY_OF) if given.scenarios == EVERY_FAMILY else listed(given.scenarios, every)
    mechanisms = tuple(dict.fromkeys((NOTHING, *listed(given.without, MECHANISMS))))
    if given.seeds == JUDGING:
        judge(scenarios, mechanisms, given.jobs)
        return
    seeds = tuple(map(int, given.seeds.split(",")))
    tasks = [(name, item, seeds) for name in mechanisms for item in scenarios if applies(name, item)]
    results = {(name, scenario): means(found) for (name, scenario, _), found in run(tasks, given.jobs)}
    print("\n\n".join("\n".join(table(found)) for found in tables(results, scenarios, mechanisms)))


def tables(
    results: Mapping[tuple[str, str], tuple[float, float]],
    scenarios: Iterable[str],
    mechanisms: Sequence[str],
) -> Iterator[dict[str, Found]]:
    """What ``table`` shows: of the scenarios, and of each family."""
    groups: dict[str, list[str]] = {}
    for item in scenarios:
        groups.setdefault(FAMILY_OF[item].name if item in FAMILY_OF else "", []).append(item)
    for items in groups.values():
        names = [name for name in mechanisms if all((name, item) in results for item in items)]
        yield {name: {item: results[name, item] for item in items} for name in names}


def applies(name: str, scenario: str) -> bool:
    """Whether the mechanism is left out there: of what scenarios have in addition, the guards for it."""
    return name == NOTHING or scenario not in FAMILY_OF or name in FAMILY_OF[scenario].guards


def run(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, list[Values]]]:
    """Each task with its results, as they come."""
    for _, scenario, seeds in tasks:
        if scenario in SCENARIOS:
            SCENARIOS[scenario].setting(drawn(scenario, seeds[0]))  # measured once, before the fork
    # A process for each: a mechanism that was replaced stays so.
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        yield from zip(tasks, pool.imap(without, tasks, chunksize=1), strict=True)


def judge(scenarios: Sequence[str], mechanisms: Sequence[str], jobs: int) -> None:
    """On the seeds of the last judging run, whose rows have tacho with all mechanisms."""
    commit = records.latest(records.read(records.JUDGING))[-1].commit
    present, _, former = commit.partition(records.ON)
    if not unchanged(present, (*PLAYED, ALGORITHM)):
        raise SystemExit(f"{commit} was judged last, and the algorithm is another one now: judge it first")
    done = {(row.policy, row.scenario) for row in records.read(records.ABLATION) if row.commit == commit}
    done |= {(NOTHING, item) for item in SCENARIOS}  # these rows are in judging.csv
    seeds = judging_seeds(former or present)
    tasks = [
        (name, item, seeds)
        for name in mechanisms
        for item in scenarios
        if applies(name, item) and (name, item) not in done
    ]
    for (name, scenario, _), found in run(tasks, jobs):
        slo, hours, waits = map(rounded, zip(*found, strict=True))
        records.append(records.ABLATION, [records.Row(commit, scenario, name, "", slo, hours, waits)])
        print(f"{name:26} {scenario:26} {means(found)}", flush=True)


if __name__ == "__main__":
    main()
