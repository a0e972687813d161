"""docs/evidence/autoscaling.md: how tacho's scaling compares with other policies, from judging.csv."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.autoscaling import example, records
from benchmarks.autoscaling.__main__ import JUDGING_SEEDS
from benchmarks.autoscaling.drawing import NAMES
from benchmarks.autoscaling.goals import OWN, REFERENCE, STATIC, Score, goals, is_off
from benchmarks.autoscaling.page import latest_run, means, whole
from benchmarks.autoscaling.scenarios import SCENARIOS
from benchmarks.evidence.texts import fill
from tacho_simulate.tuning import ATTAINMENT, TRIED
from tools.pages import table

HPA, WVA, OPERATOR, OWN_DEMAND = "hpa-concurrency", "wva", "production-stack-operator", "hpa-demand"
UNCHANGED = "nothing changes"
"""The case of example.csv in which the next day has the weights and the traffic of the day before."""
PUBLIC, SPIKES = "public", "spikes"
RIVAL = re.compile(r": (\S+), [\d.]+ % at [\d.]+$")
Scores = Mapping[str, Mapping[str, Score]]


class Figures(NamedTuple):
    """A score as a page says it."""

    kept: str
    hours: str


def page() -> str:
    run = latest_run(records.read(records.JUDGING))
    scores = whole(run)
    mean, judged = means(scores), list(goals(scores))
    same = {row.policy: row.score for row in records.read(example.PATH) if row.scenario == UNCHANGED}
    again = dict.fromkeys(row.policy for row in run if records.ON in row.commit)
    return fill(
        "autoscaling",
        scenarios=len(scores),
        public=sum(scenario.shape == PUBLIC for scenario in SCENARIOS.values()),
        seeds=JUDGING_SEEDS,
        rivals=len(TRIED),
        tacho=figures(mean[OWN]),
        hpa=figures(mean[HPA]),
        wva=figures(mean[WVA]),
        operator=figures(mean[OPERATOR]),
        demand=figures(mean[OWN_DEMAND]),
        greedy=figures(mean[REFERENCE]),
        worst=figures(scores[PUBLIC][OWN]),
        worst_greedy=figures(scores[PUBLIC][REFERENCE]),
        spikes=figures(scores[SPIKES][OWN]),
        spikes_hpa=figures(scores[SPIKES][HPA]),
        tuned=f"{100 * ATTAINMENT:g}%",
        again=", ".join(NAMES[name] for name in again),
        met=f"{sum(goal.passed for goal in judged)} of {len(judged)}",
        missed=table(("missed goal", "tacho", "cheaper"), missed(scores)),
        same=figures(same[OWN], 2),
        same_hpa=figures(same[HPA], 2),
    )


def missed(scores: Scores) -> Iterator[tuple[str, str, str]]:
    """Rows of the goals that tacho missed: the goal, tacho's score and that of the other policy."""
    for goal in goals(scores):
        if goal.passed:
            continue
        if goal.scenario in scores:
            rival = RIVAL.search(goal.reason)
            if rival is None:
                raise ValueError(f"no other policy in the reason of {goal.scenario}: {goal.reason}")
            yield row(goal.scenario, scores[goal.scenario], rival[1])
        elif goal.scenario == "greedy reference":
            for name in filter(lambda name: is_off(scores[name]), scores):
                yield row(f"greedy reference: {name}", scores[name], REFERENCE)
        else:
            for name in goal.reason.rpartition(": ")[2].split(", "):
                found = scores[name]
                rival_name = min(
                    (policy for policy, score in found.items() if _keeps_as_much(policy, score, found[OWN])),
                    key=lambda policy: found[policy].gpu_hours,
                )
                yield row(f"fixed number of replicas: {name}", found, rival_name)


def _keeps_as_much(policy: str, score: Score, own: Score) -> bool:
    return policy.startswith(STATIC) and score.attainment >= own.attainment


def row(goal: str, found: Mapping[str, Score], rival: str) -> tuple[str, str, str]:
    name = f"{rival.removeprefix(STATIC)} replicas" if rival.startswith(STATIC) else NAMES[rival]
    own, other = figures(found[OWN]), figures(found[rival])
    return goal, f"{own.kept} for {own.hours}", f"{name}: {other.kept} for {other.hours}"


def figures(score: Score, digits: int = 1) -> Figures:
    return Figures(percent(score.attainment), f"{score.gpu_hours:.{digits}f}")


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"
