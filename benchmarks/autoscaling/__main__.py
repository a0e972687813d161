"""Judges scaling policies on drawn and public traffic.

    python -m benchmarks.autoscaling [--seeds development] [--scenarios spikes,diurnal] [--policy tacho]
    python -m benchmarks.autoscaling --seeds development --policy all   (rivals' rows to development.csv)
    python -m benchmarks.autoscaling --seeds judging                    (all policies; appends to judging.csv)
    python -m benchmarks.autoscaling --seeds judging --on COMMIT --policy tacho,hpa-demand

Development compares the given policies with the rivals' rows in development.csv, of which only those count
that the present simulator, scenarios and policies have made. Judging seeds are drawn from
the hash of the last commit that changed operator/ or runtime/, so that nobody chooses them. --on judges
present code on the seeds of a former run, whose other rows stay. Rivals have the parameters that were best on
the training trace. Prints the goals; exit code 1: one of them is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.autoscaling import records
from benchmarks.autoscaling.clairvoyant import bound_gpu_hours
from benchmarks.autoscaling.goals import BOUND, OWN, REFERENCE, STATIC, goals
from benchmarks.autoscaling.records import Row
from benchmarks.autoscaling.scenarios import MOST, SCENARIOS, TRAINING
from tacho_simulate.policies import policy_of
from tacho_simulate.run import simulate
from tacho_simulate.trace import Trace
from tacho_simulate.tuning import ATTAINMENT, TRIED, tuned

Values = tuple[float, float, float | None]
"""SLO attainment in percent, GPU-hours, 90th percentile of TTFT in seconds."""

TRAINING_SEED = 1
DEVELOPMENT_SEEDS = (11, 12)
JUDGING_SEEDS = 5
CODE = ("operator", "runtime")
PLAYED = (
    "operator/tacho_simulate",
    "benchmarks/autoscaling/scenarios.py",
    "benchmarks/autoscaling/traces.py",
)
"""What a rival's row follows from."""
ALGORITHM = "operator/tacho_operator/core/autoscaling"
ON_OWN_DEMAND = "hpa-demand"
"""The rival that scales by tacho's own demand."""
STATICS = tuple(f"{STATIC}{count}" for count in range(1, MOST + 1))
MEASURING = (OWN, REFERENCE, ON_OWN_DEMAND)
"""Policies that read the measurement; all others do the same whatever it says."""
KEEPS_ALL_PERCENT = 99.95
POLICIES = (OWN, REFERENCE, BOUND, *TRIED, *STATICS)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@functools.cache
def unchanged(commit: str, paths: tuple[str, ...]) -> bool:
    """Whether the present code is that of a known ``commit``."""
    return (
        subprocess.run(["git", "diff", "--quiet", commit, "--", *paths], capture_output=True).returncode == 0
    )


def is_current(row: Row) -> bool:
    return unchanged(row.commit, (*PLAYED, ALGORITHM) if row.policy == ON_OWN_DEMAND else PLAYED)


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


@functools.lru_cache(maxsize=JUDGING_SEEDS)
def drawn(scenario: str, seed: int) -> Trace:
    return SCENARIOS[scenario].trace(seed)


def values(name: str, text: str, seed: int) -> Values:
    scenario, trace = SCENARIOS[name], drawn(name, seed)
    if text == BOUND:
        return 100 * ATTAINMENT, bound_gpu_hours(trace, scenario.setting(trace), ATTAINMENT), None
    factory, setting = policy_of(text, scenario.setting(trace))
    result = simulate(trace, setting, factory, seed=seed, faults=scenario.faults)
    return 100 * result.slo_attainment, result.gpu_hours, result.ttft_p90_seconds


def ran(task: tuple[str, tuple[str, ...], tuple[int, ...]]) -> dict[str, list[Values]]:
    """By policy, by seed. Of static counts in rising order, none after the first that keeps all requests."""
    name, texts, seeds = task
    found: dict[str, list[Values]] = {}
    for text in texts:
        found[text] = [values(name, text, seed) for seed in seeds]
        if text.startswith(STATIC) and min(slo for slo, _, _ in found[text]) >= KEEPS_ALL_PERCENT:
            break
    return found


def world(name: str) -> str:
    """The first scenario that differs from this one in its measurement alone."""
    blank = {"name": "", "lengths": (0, 0), "bias": 1.0}
    own = dataclasses.replace(SCENARIOS[name], **blank)
    return next(each for each, item in SCENARIOS.items() if dataclasses.replace(item, **blank) == own)


def run(
    commit: str, scenarios: Sequence[str], policies: Sequence[str], seeds: tuple[int, ...], jobs: int
) -> Iterator[Row]:
    for name in scenarios:
        SCENARIOS[name].setting(drawn(name, seeds[0]))  # measured once, before the processes fork
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        texts = pool.map(tuned_text, policies, chunksize=1)
        statics = tuple(text for text in texts if text.startswith(STATIC))
        groups = [(text,) for text in texts if text not in statics] + ([statics] if statics else [])
        asked = [
            (name, name if group[0].partition(":")[0] in MEASURING else world(name), group)
            for name in scenarios
            for group in groups
        ]
        tasks = list(dict.fromkeys((place, group, seeds) for _, place, group in asked))
        done, results = zip(tasks, pool.imap(ran, tasks), strict=True), {}
        for name, place, group in asked:
            while (place, group, seeds) not in results:
                task, found = next(done)
                results[task] = found
            for text, found in results[place, group, seeds].items():
                policy, _, parameters = text.partition(":")
                slo, hours, waits = map(rounded, zip(*found, strict=True))
                yield Row(commit, name, policy, parameters, slo, hours, waits)


def rounded(values: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in values if value is not None)


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
    parser.add_argument("--on", default="", help="commit of a former judging run")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    judging = given.seeds == "judging"
    if judging and git("status", "--porcelain", *CODE):
        raise SystemExit(f"{' and '.join(CODE)} have changes without a commit: seeds come from its hash")
    commit = git("log", "-1", "--format=%H", "--", *CODE)[:12]
    seeds = judging_seeds(given.on or commit) if judging else DEVELOPMENT_SEEDS
    commit += f"{records.ON}{given.on}" if given.on else ""
    scenarios = listed(given.scenarios, SCENARIOS)
    policies = listed(given.policy or ("all" if judging else OWN), POLICIES)
    began = time.monotonic()
    path = records.JUDGING if judging else records.DEVELOPMENT
    rows = []
    for row in run(commit, scenarios, policies, seeds, given.jobs):
        rows.append(row)
        if judging:
            records.append(path, [row])
        elif row.policy != OWN:
            records.replace(path, [row])
        waits = row.score.ttft_p90_seconds
        print(
            f"{row.scenario:26} {row.policy:26} {row.score}" + (f"  TTFT p90 {waits:.2f} s" if waits else ""),
            flush=True,
        )
    former = records.read(path)
    compared = records.latest(former) if judging else list(filter(is_current, former))
    if not judging and (left_out := len(former) - len(compared)):
        print(f"{left_out} rows of {path.name} are of other code, and not compared", file=sys.stderr)
    scores = records.scores((*compared, *rows))
    found = list(goals({name: scores[name] for name in scenarios if OWN in scores[name]}))
    for goal in found:
        print(f"{'pass' if goal.passed else 'FAIL'}  {goal.scenario:26} {goal.reason}")
    passed = sum(goal.passed for goal in found)
    print(f"{passed} of {len(found)} goals passed, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if passed == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
