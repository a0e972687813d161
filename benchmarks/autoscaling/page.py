"""Writes docs/results/scaling/README.md from policies.json.

    python -m benchmarks.autoscaling.page [--check]

The pictures beside it are written by `benchmarks.autoscaling.policies`, as they show every replica's time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/results/scaling/README.md"
RESULTS = Path(__file__).with_name("policies.json")
OWN = ("greedy", "tacho")
HEAD = """# Scaling policies on the same traffic

`python -m benchmarks.autoscaling.policies` runs tacho's algorithm and those of other projects on the same
traces. `python -m benchmarks.autoscaling.page` writes this page. The others follow their published code
(source and version in [policies.json](../../../benchmarks/autoscaling/policies.json)).

- **Traffic**: requests drawn from a seed, and an hour of
  [public production traffic](../../../benchmarks/autoscaling/traces/README.md).
- **Replicas**: a known performance model of a large model, 1 to 16 replicas, cold starts of 90 s.
- **SLO**: 3 s to the first token, 0.1 s for each further token. tacho knows what a probe of one replica
  reports.
- **Tuning**: each other threshold runs as published, and tuned on a training trace of another seed: the
  fewest GPU-hours with 99 % SLO attainment, else the highest attainment.
- **Greedy reference**: sees requests as they arrive, knows what replicas carry, decides every second, and
  waits for nothing but cold starts. Other policies can beat it, so it is no bound.

All values are of one seed, {seed}. Static replica counts were not a candidate.

| policy | defaults: SLO % | GPU-hours | tuned: SLO % | GPU-hours | chosen |
|---|---|---|---|---|---|
"""
SCENARIOS = """
Means over the scenarios. **Bold**: none is better in both, the reference aside.

![Each policy by GPU-hours and SLO attainment](policies.svg)

| scenario | greedy | tacho | GPU-hours, relative to greedy | direction changes | dominated by |
|---|---|---|---|---|---|
"""
TAIL = """
In each cell: SLO attainment, GPU-hours. "Dominated by": a policy with no more GPU-hours and no lower
attainment, by the larger of both differences.

![Replicas over time, tacho and the greedy reference](replicas.svg)

- GPU-hours are {ratio:.2f} of the greedy reference's on average.
- The reference reaches 99 % in {reached} of {scenarios} scenarios, tacho in {own} of these.
- {front}
- Outstanding: other seeds. Their runs were not kept. In some, tuned thresholds dominated tacho on spikes
  and with metrics lost, by less than 6 %.
- A sudden rise costs requests under every policy: a start takes 90 s, and queued requests stay at their
  pod.
- On the public trace the highest attainment is {best:.1f} %, of {policy}. There a minimum of replicas is
  the remedy.
"""


def policies(document: dict[str, Any]) -> Iterator[str]:
    judged, tuned = document["judged"], document["tuned"]

    def cells(label: str) -> str:
        mean = judged["means"][label]
        attainment = f"{100 * mean['sloAttainment']:.1f}"
        shown = f"**{attainment}**" if label in judged["front"] else attainment
        return f"{shown} | {mean['gpuHours']:.1f}"

    for label in OWN:
        yield f"| {label} | {cells(label)} | | | |"
    for label in sorted(tuned):
        yield f"| {label} | {cells(label)} | {cells(f'{label} tuned')} | {tuned[label]['chosen']} |"


def scenarios(document: dict[str, Any]) -> Iterator[str]:
    judged = document["judged"]
    for name, table in document["scenarios"].items():
        own = (
            f"{100 * table[label]['sloAttainment']:.1f} % · {table[label]['gpuHours']:.1f}" for label in OWN
        )
        ratio, rival = judged["tachoOverGreedyGpuHours"][name], judged["tachoDominated"][name]
        by = f"{rival['by']}, {rival['percent']} %" if rival["by"] else "none"
        yield f"| {name} | {' | '.join(own)} | {ratio:.2f} | {table['tacho']['reversals']:.0f} | {by} |"


def above(document: dict[str, Any]) -> str:
    """Policies of a higher mean attainment than tacho's, and what they cost."""
    means = document["judged"]["means"]
    own = means["tacho"]
    found = [
        f"{label} has {100 * mean['sloAttainment']:.1f} % for "
        f"{mean['gpuHours'] / own['gpuHours']:.2f}x the GPU-hours"
        for label, mean in means.items()
        if mean["sloAttainment"] > own["sloAttainment"] and label != "greedy"
    ]
    listed = "; ".join(found) or "none"
    return f"A higher attainment than tacho's {100 * own['sloAttainment']:.1f} % on average: {listed}."


def page(document: dict[str, Any]) -> str:
    judged = document["judged"]
    public = {label: row["sloAttainment"] for label, row in document["scenarios"]["public"].items()}
    best = max(public, key=lambda label: public[label])
    tail = TAIL.format(
        ratio=judged["tachoOverGreedyMean"],
        reached=len(judged["greedyReaches"]),
        scenarios=len(document["scenarios"]),
        own=len(judged["greedyReaches"]) - len(judged["tachoMisses"]),
        front=above(document),
        best=100 * public[best],
        policy=best,
    )
    (seed,) = document["seeds"]
    rows = "\n".join(policies(document))
    return f"{HEAD.format(seed=seed)}{rows}\n{SCENARIOS}" + "\n".join(scenarios(document)) + f"\n{tail}"


def main(arguments: Sequence[str]) -> int:
    text = page(json.loads(RESULTS.read_text()))
    if "--check" in arguments:
        if PAGE.read_text() == text:
            return 0
        print(f"{PAGE.relative_to(ROOT)} has drifted: run python -m benchmarks.autoscaling.page")
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
