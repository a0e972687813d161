"""Judges scaling policies on drawn and public traffic.

    python -m benchmarks.autoscaling [--seeds development] [--scenarios spikes,diurnal] [--policy tacho]
    python -m benchmarks.autoscaling --seeds development --policy all   (writes development.csv)
    python -m benchmarks.autoscaling --seeds judging                    (all policies; appends to judging.csv)

Development compares the given policies with the rivals' rows in development.csv. Judging seeds are drawn from
the hash of the last commit that changed operator/ or runtime/, so that nobody chooses them. Rivals have the
parameters that were best on the training trace. Prints the goals; exit code 1: one of them is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

from benchmarks.autoscaling import records
from benchmarks.autoscaling.clairvoyant import bound_gpu_hours
from benchmarks.autoscaling.goals import OWN, REFERENCE, STATIC, goals
from benchmarks.autoscaling.records import Row
from benchmarks.autoscaling.scenarios import MOST, SCENARIOS, TRAINING
from tacho_simulate.policies import policy_of
from tacho_simulate.run import simulate
from tacho_simulate.tuning import ATTAINMENT, TRIED, tuned

TRAINING_SEED = 1
DEVELOPMENT_SEEDS = (11, 12)
JUDGING_SEEDS = 5
CODE = ("operator", "runtime")
BOUND = "clairvoyant bound"
STATICS = tuple(f"{STATIC}{count}" for count in range(1, MOST + 1))
POLICIES = (OWN, REFERENCE, BOUND, *TRIED, *STATICS)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def judging_seeds(commit: str) -> tuple[int, ...]:
    return tuple(
        int(hashlib.sha256(f"{commit} {number}".encode()).hexdigest()[:8], 16)
        for number in range(JUDGING_SEEDS)
    )


def tuned_text(name: str) -> str:
    """The policy with the parameters that are best on the training trace."""
    if name not in TRIED:
        return name
    trace = TRAINING.trace(TRAINING_SEED)
    return tuned(name, trace, TRAINING.setting(trace), seed=TRAINING_SEED)[0]


def values(scenario_name: str, text: str, seed: int) -> tuple[float, float, float | None]:
    """SLO attainment in percent, GPU-hours, 90th percentile of TTFT in seconds."""
    scenario = SCENARIOS[scenario_name]
    trace = scenario.trace(seed)
    if text == BOUND:
        return 100 * ATTAINMENT, bound_gpu_hours(trace, scenario.setting(trace), ATTAINMENT), None
    factory, setting = policy_of(text, scenario.setting(trace))
    result = simulate(trace, setting, factory, seed=seed, faults=scenario.faults)
    return 100 * result.slo_attainment, result.gpu_hours, result.ttft_p90_seconds


def run(
    commit: str, scenarios: Iterable[str], policies: Iterable[str], seeds: tuple[int, ...], jobs: int
) -> Iterator[Row]:
    for name in scenarios:
        SCENARIOS[name].setting(SCENARIOS[name].trace(seeds[0]))  # measured once, before the processes fork
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        texts = pool.map(tuned_text, policies, chunksize=1)
        pairs = list(itertools.product(scenarios, texts))
        tasks = [(scenario, text, seed) for scenario, text in pairs for seed in seeds]
        found = iter(pool.starmap(values, tasks, chunksize=len(seeds)))
        for scenario, text in pairs:
            name, _, parameters = text.partition(":")
            slo, hours, waits = zip(*itertools.islice(found, len(seeds)), strict=True)
            yield Row(
                commit,
                scenario,
                name,
                parameters,
                tuple(round(item, 3) for item in slo),
                tuple(round(item, 3) for item in hours),
                tuple(round(item, 3) for item in waits if item is not None),
            )


def listed(text: str, known: Iterable[str], every: str = "all") -> tuple[str, ...]:
    names = tuple(known) if text == every else tuple(text.split(","))
    if unknown := set(names).difference(known):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", choices=("development", "judging"), default="development")
    parser.add_argument("--scenarios", default="all")
    parser.add_argument("--policy", default="")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    judging = given.seeds == "judging"
    if judging and git("status", "--porcelain", *CODE):
        raise SystemExit(f"{' and '.join(CODE)} have changes without a commit: seeds come from its hash")
    commit = git("log", "-1", "--format=%H", "--", *CODE)
    seeds = judging_seeds(commit) if judging else DEVELOPMENT_SEEDS
    scenarios = listed(given.scenarios, SCENARIOS)
    policies = listed(given.policy or ("all" if judging else OWN), POLICIES)
    began = time.monotonic()
    rows = list(run(commit[:12], scenarios, policies, seeds, given.jobs))
    if judging:
        records.append(records.JUDGING, rows)
    elif policies != (OWN,):
        records.replace(records.DEVELOPMENT, rows)
    former = records.latest(records.read(records.JUDGING)) if judging else records.read(records.DEVELOPMENT)
    scores = records.scores((*former, *rows))
    for row in rows:
        print(f"{row.scenario:26} {row.policy:26} {row.score}  TTFT p90 {row.score.ttft_p90_seconds} s")
    found = list(goals({name: scores[name] for name in scenarios if OWN in scores[name]}))
    for goal in found:
        print(f"{'pass' if goal.passed else 'FAIL'}  {goal.scenario:26} {goal.reason}")
    passed = sum(goal.passed for goal in found)
    print(f"{passed} of {len(found)} goals passed, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if passed == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
