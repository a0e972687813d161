"""Ways of scaling beside each other: every policy on every scenario, with its defaults and tuned.

    python -m benchmarks.autoscaling.policies [--quick]

A threshold is tuned on a training trace of another seed: the setting that takes the fewest GPU-hours among
those that keep the service level for 99 % of requests, else the one that keeps it for the most. tacho has
none, as it scales by what was measured. Writes policies.json and the pictures of docs/scaling.md;
``--quick`` takes one seed and two short scenarios, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.autoscaling.bound import oracle
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
from tacho_operator.simulate.policies import POLICIES
from tacho_operator.simulate.policy import Factory
from tacho_operator.simulate.result import Result
from tacho_operator.simulate.run import simulate
from tacho_operator.simulate.trace import Trace

SEEDS = (11, 12)
TRAINING_SEED = 1
QUICK = ("step x8", "spikes")
BY_MEASUREMENT = ("tacho",)
"""Those that read what was measured; all others do the same whatever a measurement says."""
RESULTS = Path(__file__).parent / "policies.json"


def training() -> Scenario:
    base = SCENARIOS[0]
    rate = base.capacity().requests_per_second or 0.0
    return Scenario(name="training", trace=lambda seed: TRAINING.draw(seed, rate))


def score_of(result: Result) -> Score:
    return Score(result.slo_attainment, result.gpu_hours)


def tuned() -> dict[str, tuple[str, Factory, dict[str, Score]]]:
    """By policy: what was chosen, and what all that was tried came to."""
    scenario = training()
    trace = scenario.trace(TRAINING_SEED)
    found = {}
    for name, candidate in CANDIDATES.items():
        makers: dict[str, Factory] = {"default": candidate.default, **candidate.tried}
        tried = {
            what: score_of(simulate(trace, scenario.setting(trace), make, seed=TRAINING_SEED))
            for what, make in makers.items()
        }
        best = chosen(tried)
        found[name] = (best, makers[best], tried)
        print(f"{name}: {best}, {tried[best]}", file=sys.stderr, flush=True)
    return found


class Runs:
    """Results by policy (None: the oracle), scenario and seed; nothing is done twice."""

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
        factory = oracle(trace) if make is None else make
        return simulate(trace, scenario.setting(trace), factory, seed=seed, faults=scenario.faults)


def summary(results: list[Result]) -> dict[str, Any]:
    """Means over seeds."""
    asked = [[moment.asked for moment in result.trajectory] for result in results]
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
    others = {label: score for label, score in means.items() if label != "oracle"}
    dominated = {}
    for name, found in by_scenario.items():
        rivals = {label: score for label, score in found.items() if label not in ("tacho", "oracle")}
        who, amount = dominated_by(found["tacho"], rivals)
        dominated[name] = {"by": who, "percent": round(100 * amount, 1)}
    reached = [name for name, found in by_scenario.items() if found["oracle"].attainment >= WANTED]
    ratios = {
        name: found["tacho"].gpu_hours / found["oracle"].gpu_hours for name, found in by_scenario.items()
    }
    return {
        "means": {
            label: {"sloAttainment": round(score.attainment, 4), "gpuHours": round(score.gpu_hours, 2)}
            for label, score in means.items()
        },
        "front": front(others),
        "tachoDominated": dominated,
        "oracleReaches": reached,
        "tachoMisses": [name for name in reached if by_scenario[name]["tacho"].attainment < WANTED],
        "tachoOverOracleGpuHours": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "tachoOverOracleMean": round(statistics.fmean(ratios.values()), 3),
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


def run(seeds: tuple[int, ...], scenarios: tuple[Scenario, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document, and the trajectories of some policies for the pictures."""
    settings = tuned()
    makers: dict[str, Factory] = {"tacho": POLICIES["tacho"]}
    for name, candidate in CANDIDATES.items():
        makers[name] = candidate.default
        makers[f"{name} tuned"] = settings[name][1]
    runs = Runs(seeds)
    tables: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for scenario in scenarios:
        found = {"oracle": runs.of("oracle", None, scenario)}
        found |= {label: runs.of(label, make, scenario) for label, make in makers.items()}
        tables[scenario.name] = {label: summary(results) for label, results in found.items()}
        paths[scenario.name] = {
            label: (results[0].duration_seconds, results[0].trajectory) for label, results in found.items()
        }
        best = tables[scenario.name]["tacho"]
        print(f"{scenario.name}: tacho {best}", file=sys.stderr, flush=True)
    document = {
        "command": "python -m benchmarks.autoscaling.policies",
        "commit": _commit(),
        "seeds": list(seeds),
        "trainingSeed": TRAINING_SEED,
        "tuned": {
            name: {
                "chosen": best,
                "tried": {what: [round(s.attainment, 4), round(s.gpu_hours, 2)] for what, s in tried.items()},
            }
            for name, (best, _, tried) in settings.items()
        },
        "sources": {
            label: make(scenarios[0].setting(Trace("", (), (), ()))).source for label, make in makers.items()
        },
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
    quick = parser.parse_args().quick
    began = time.monotonic()
    chosen_scenarios = tuple(item for item in SCENARIOS if not quick or item.name in QUICK)
    document, paths = run(SEEDS[:1] if quick else SEEDS, chosen_scenarios)
    document["seconds"] = round(time.monotonic() - began)
    print(told(document))
    print(json.dumps(document["judged"], indent=1))
    if not quick:
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
        for path in written(document, paths):
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
