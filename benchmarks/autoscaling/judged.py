"""What a table of results says: means, the Pareto front, and who is dominated by how much. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WANTED = 0.99


@dataclass(frozen=True, slots=True)
class Score:
    """Of one policy, on one scenario or on the mean of several."""

    attainment: float
    gpu_hours: float


def mean(scores: Iterable[Score]) -> Score:
    found = list(scores)
    return Score(
        sum(score.attainment for score in found) / len(found),
        sum(score.gpu_hours for score in found) / len(found),
    )


def dominates(one: Score, other: Score) -> bool:
    """At least as good in both, better in one."""
    return (
        one.attainment >= other.attainment
        and one.gpu_hours <= other.gpu_hours
        and (one.attainment > other.attainment or one.gpu_hours < other.gpu_hours)
    )


def front(scores: Mapping[str, Score]) -> list[str]:
    """Those that nobody dominates, the cheapest first."""
    names = [
        name
        for name, score in scores.items()
        if not any(dominates(other, score) for other in scores.values())
    ]
    return sorted(names, key=lambda name: scores[name].gpu_hours)


def dominated_by(score: Score, others: Mapping[str, Score]) -> tuple[str, float]:
    """Who dominates by the most, and by how much: the larger of what it saves of GPU-hours and what it gains
    of requests that keep the service level, as shares. ("", 0): nobody."""
    best = ("", 0.0)
    for name, other in others.items():
        if not dominates(other, score):
            continue
        saved = 1 - other.gpu_hours / score.gpu_hours
        gained = other.attainment / score.attainment - 1 if score.attainment else float("inf")
        amount = max(saved, gained)
        if amount > best[1]:
            best = (name, amount)
    return best


def chosen(tried: Mapping[str, Score]) -> str:
    """What a person would set after a training trace: the cheapest that reaches 99 %, else the best."""
    good = {name: score for name, score in tried.items() if score.attainment >= WANTED}
    if good:
        return min(good, key=lambda name: (good[name].gpu_hours, -good[name].attainment))
    return max(tried, key=lambda name: (tried[name].attainment, -tried[name].gpu_hours))


def reversals(sizes: Iterable[int]) -> int:
    """How often a change of replicas went against the one before it."""
    turns, direction, former = 0, 0, None
    for size in sizes:
        if former is not None and size != former:
            now = 1 if size > former else -1
            turns += direction not in (0, now)
            direction = now
        former = size
    return turns
