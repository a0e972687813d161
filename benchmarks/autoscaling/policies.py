"""Ways of scaling beside each other: every policy on every scenario, with its defaults and tuned.

    python -m benchmarks.autoscaling.policies [--quick] [--own] [--jobs 2]

A threshold is tuned on a training trace of another seed: the setting that takes the fewest GPU-hours among
those that keep the service level for 99 % of requests, else the one that keeps it for the most. tacho has
none, as it scales by what was measured. Writes policies.json and the pictures of docs/results/scaling;
``--quick`` takes one seed and two short scenarios, and writes nothing. ``--own`` runs tacho and the greedy
reference alone and keeps the other rows of policies.json: if only the scaling algorithm has changed, a whole
run gives the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.autoscaling.bound import greedy
from benchmarks.autoscaling.candidates import CANDIDATES
from benchmarks.autoscaling.drawing import written
from benchmarks.autoscaling.judged import (
    WANTED,
    Score,
    chosen,
    dominated_by,
    front,
    mean,
    reversals,
)
from benchmarks.autoscaling.scenarios import SCENARIOS, Scenario
from benchmarks.autoscaling.traces import TRAINING
from tacho_simulate.policies import POLICIES
from tacho_simulate.policy import Factory
from tacho_simulate.result import Result
from tacho_simulate.run import simulate
from tacho_simulate.trace import Trace

SEEDS = (11,)
TRAINING_SEED = 1
QUICK = ("step x8", "spikes")
SAME_DAY = ("diurnal", "capacity +30 %", "capacity -30 %")
"""Run together: most policies do the same on all of them."""
BY_MEASUREMENT = ("tacho",)
"""Those that read what was measured; all others do the same whatever a measurement says."""
RESULTS = Path(__file__).parent / "policies.json"


def training() -> Scenario:
    base = SCENARIOS[0]
    rate = base.capacity().requests_per_second or 0.0
    return Scenario(name="training", trace=lambda seed: TRAINING.draw(seed, rate))


def score_of(result: Result) -> Score:
    return Score(result.slo_attainment, result.gpu_hours)


def tried(name: str) -> dict[str, Score]:
    """What the settings of a policy came to on the training trace."""
    scenario = training()
    trace = scenario.trace(TRAINING_SEED)
    return {
        what: score_of(simulate(trace, scenario.setting(trace), make, seed=TRAINING_SEED))
        for what, make in settings(name).items()
    }


def settings(name: str) -> dict[str, Factory]:
    candidate = CANDIDATES[name]
    return {"default": candidate.default, **candidate.tried}


class Runs:
    """Results by policy (None: the greedy reference), scenario and seed; nothing is done twice."""

    def __init__(self, seeds: tuple[int, ...]) -> None:
        self._seeds = seeds
        self._traces: dict[tuple[str, int], Trace] = {}
        self._done: dict[tuple[object, ...], list[Result]] = {}

    def of(self, label: str, make: Factory | None, scenario: Scenario) -> list[Result]:
        told = scenario.told if label in BY_MEASUREMENT else 1.0
        key = (label, scenario.trace, told, scenario.start_seconds, scenario.faults)
        if key not in self._done:
            seeds = self._seeds if scenario.seeded else self._seeds[:1]
            self._done[key] = [self._run(make, scenario, seed) for seed in seeds]
        return self._done[key]

    def _run(self, make: Factory | None, scenario: Scenario, seed: int) -> Result:
        key = (scenario.name, seed)
        if key not in self._traces:
            self._traces = {key: scenario.trace(seed)}
        trace = self._traces[key]
        factory = greedy(trace) if make is None else make
        return simulate(trace, scenario.setting(trace), factory, seed=seed, faults=scenario.faults)


def summary(results: list[Result]) -> dict[str, Any]:
    """Means over seeds."""
    asked = [[moment.desired for moment in result.trajectory] for result in results]
    waits = [result.ttft_seconds.p99 for result in results if result.ttft_seconds]
    return {
        "sloAttainment": round(statistics.fmean(result.slo_attainment for result in results), 4),
        "gpuHours": round(statistics.fmean(result.gpu_hours for result in results), 2),
        "ttftP99Seconds": round(statistics.fmean(waits), 2) if waits else None,
        "changes": round(statistics.fmean(len(result.decisions) for result in results), 1),
        "reversals": round(statistics.fmean(reversals(sizes) for sizes in asked), 1),
        "mostReplicas": max(max(sizes) for sizes in asked),
        "seedsSloAttainment": [round(result.slo_attainment, 4) for result in results],
        "seedsGpuHours": [round(result.gpu_hours, 2) for result in results],
    }


def scores(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Score]:
    return {label: Score(row["sloAttainment"], row["gpuHours"]) for label, row in table.items()}


def judged(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """``tables``: by scenario, by policy."""
    by_scenario = {name: scores(table) for name, table in tables.items()}
    labels = list(next(iter(by_scenario.values())))
    means = {label: mean(found[label] for found in by_scenario.values()) for label in labels}
    others = {label: score for label, score in means.items() if label != "greedy"}
    dominated = {}
    for name, found in by_scenario.items():
        rivals = {label: score for label, score in found.items() if label not in ("tacho", "greedy")}
        who, amount = dominated_by(found["tacho"], rivals)
        dominated[name] = {"by": who, "percent": round(100 * amount, 1)}
    reached = [name for name, found in by_scenario.items() if found["greedy"].attainment >= WANTED]
    ratios = {
        name: found["tacho"].gpu_hours / found["greedy"].gpu_hours for name, found in by_scenario.items()
    }
    return {
        "means": {
            label: {"sloAttainment": round(score.attainment, 4), "gpuHours": round(score.gpu_hours, 2)}
            for label, score in means.items()
        },
        "front": front(others),
        "tachoDominated": dominated,
        "greedyReaches": reached,
        "tachoMisses": [name for name in reached if by_scenario[name]["tacho"].attainment < WANTED],
        "tachoOverGreedyGpuHours": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "tachoOverGreedyMean": round(statistics.fmean(ratios.values()), 3),
    }


def told(document: Mapping[str, Any]) -> str:
    """The table, as Markdown."""
    tables = document["scenarios"]
    labels = list(document["judged"]["means"])
    lines = ["| policy | mean | " + " | ".join(tables) + " |", "|---|---|" + "---|" * len(tables)]
    for label in labels:
        cells = [document["judged"]["means"][label], *(table[label] for table in tables.values())]
        figures = [f"{100 * cell['sloAttainment']:.1f} % · {cell['gpuHours']:.1f}" for cell in cells]
        lines.append(f"| {label} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def makers(best: Mapping[str, str]) -> dict[str, Factory | None]:
    """By label; None: the greedy reference, who is made for a trace."""
    found: dict[str, Factory | None] = {"greedy": None, "tacho": POLICIES["tacho"]}
    for name, what in best.items():
        found[name] = CANDIDATES[name].default
        found[f"{name} tuned"] = settings(name)[what]
    return found


def ran(asked: tuple[tuple[str, ...], tuple[int, ...], Mapping[str, Factory | None]]) -> dict[str, Any]:
    """Some scenarios, by name: by label the summary, and the first seed's way."""
    names, seeds, made = asked
    runs = Runs(seeds)
    found: dict[str, Any] = {}
    for scenario in SCENARIOS:
        if scenario.name in names:
            results = {label: runs.of(label, make, scenario) for label, make in made.items()}
            found[scenario.name] = {
                label: (summary(mine), (mine[0].duration_seconds, mine[0].trajectory))
                for label, mine in results.items()
            }
            print(f"{scenario.name}: tacho {found[scenario.name]['tacho'][0]}", file=sys.stderr, flush=True)
    return found


def groups_of(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Scenarios that are run together."""
    day = tuple(name for name in names if name in SAME_DAY)
    return [*((day,) if day else ()), *((name,) for name in names if name not in SAME_DAY)]


def run_law(former: dict[str, Any], jobs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """``former`` with tacho's rows and the greedy reference's of now, and their ways."""
    made: dict[str, Factory | None] = {"greedy": None, "tacho": POLICIES["tacho"]}
    seeds, names = tuple(former["seeds"]), tuple(former["scenarios"])
    with multiprocessing.Pool(jobs) as pool:
        parts = pool.map(ran, [(group, seeds, made) for group in groups_of(names)], chunksize=1)
    found = {name: rows for part in parts for name, rows in part.items()}
    tables = {
        name: {**table, **{label: row for label, (row, _) in found[name].items()}}
        for name, table in former["scenarios"].items()
    }
    paths = {name: {label: path for label, (_, path) in found[name].items()} for name in names}
    document = {**former, "commit": _commit(), "judged": judged(tables), "scenarios": tables}
    return {**document, "othersOfCommit": former.get("othersOfCommit", former["commit"])}, paths


def run(seeds: tuple[int, ...], names: tuple[str, ...], jobs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document, and the ways of replicas for the pictures."""
    with multiprocessing.Pool(jobs) as pool:
        scored = dict(zip(CANDIDATES, pool.map(tried, CANDIDATES, chunksize=1), strict=True))
        best = {name: chosen(found) for name, found in scored.items()}
        parts = pool.map(ran, [(group, seeds, makers(best)) for group in groups_of(names)], chunksize=1)
    found = {name: rows for part in parts for name, rows in part.items()}
    tables = {name: {label: row for label, (row, _) in found[name].items()} for name in names}
    paths = {name: {label: path for label, (_, path) in found[name].items()} for name in names}
    setting = SCENARIOS[0].setting(Trace("none", (), (), ()))
    document = {
        "command": "python -m benchmarks.autoscaling.policies",
        "commit": _commit(),
        "seeds": list(seeds),
        "trainingSeed": TRAINING_SEED,
        "tuned": {
            name: {
                "chosen": best[name],
                "tried": {what: [round(s.attainment, 4), round(s.gpu_hours, 2)] for what, s in rows.items()},
            }
            for name, rows in scored.items()
        },
        "sources": {label: make(setting).source for label, make in makers(best).items() if make},
        "judged": judged(tables),
        "scenarios": tables,
    }
    return document, paths


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    quick = given.quick
    began = time.monotonic()
    names = tuple(item.name for item in SCENARIOS if not quick or item.name in QUICK)
    if given.own:
        document, paths = run_law(json.loads(RESULTS.read_text()), given.jobs)
    else:
        document, paths = run(SEEDS[:1] if quick else SEEDS, names, given.jobs)
        document["seconds"] = round(time.monotonic() - began)
    print(told(document))
    print(json.dumps(document["judged"], indent=1))
    if not quick:
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
        for path in written(document, paths):
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
