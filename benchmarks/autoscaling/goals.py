"""Whether tacho keeps its goals: pass or fail for each scenario, from means over the seeds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tacho_simulate.tuning import ATTAINMENT

OWN, REFERENCE, BOUND, STATIC = "tacho", "greedy", "clairvoyant bound", "static-"
COST_RATIO = 1.05
"""GPU-hours beside the cheapest candidate, where the SLO can be met."""
NEAR, CHEAPER = 0.005, 0.95
"""Elsewhere: a candidate with at least this attainment less must not be this much cheaper."""
AT_ONCE, AFTER_COLD_STARTS = "long prompts at once", "long prompts"
TTFT_RATIO, TTFT_COST_RATIO = 2.0, 1.25
REFERENCE_SHARE, REFERENCE_COST_RATIO, STATIC_COST_RATIO = 0.95, 1.1, 0.9
PERCENT = f"{100 * ATTAINMENT:.0f} %"


@dataclass(frozen=True, slots=True)
class Score:
    """Means over the seeds."""

    attainment: float
    gpu_hours: float
    ttft_p90_seconds: float | None = None

    def __str__(self) -> str:
        return f"{100 * self.attainment:.2f} % at {self.gpu_hours:.2f}"


@dataclass(frozen=True, slots=True)
class Goal:
    scenario: str
    passed: bool
    reason: str


def goals(scores: Mapping[str, Mapping[str, Score]]) -> Iterator[Goal]:
    """``scores``: by scenario, by policy; of tacho in each."""
    for scenario, found in scores.items():
        yield goal_of(scenario, found)
    yield _everywhere(
        "greedy reference", "under 95 % of its attainment or over 1.1 times its cost", scores, is_off
    )
    yield _everywhere("static counts", "one that keeps as much is 10 % cheaper", scores, _beaten)
    if AT_ONCE in scores and AFTER_COLD_STARTS in scores:
        yield _cold_start_goal(scores[AT_ONCE][OWN], scores[AFTER_COLD_STARTS][OWN])


def goal_of(scenario: str, found: Mapping[str, Score]) -> Goal:
    """The goal of one scenario, by the scores of tacho and its rivals there."""
    own, reference = found[OWN], found.get(REFERENCE)
    rivals = {name: score for name, score in found.items() if name not in (OWN, REFERENCE, BOUND)}
    if reference is not None and reference.attainment >= ATTAINMENT:
        if own.attainment < ATTAINMENT:
            return Goal(scenario, False, f"{own}, below {PERCENT}; the reference keeps {reference}")
        enough = {
            name: score
            for name, score in rivals.items()
            if score.attainment >= ATTAINMENT and not name.startswith(STATIC)
        }
        if not enough:
            return Goal(scenario, True, f"{own}; no other policy reaches {PERCENT}")
        name = min(enough, key=lambda name: enough[name].gpu_hours)
        passed = own.gpu_hours <= COST_RATIO * enough[name].gpu_hours
        return Goal(scenario, passed, f"{own}; the cheapest with {PERCENT}: {name}, {enough[name]}")
    near = {name: score for name, score in rivals.items() if score.attainment >= own.attainment - NEAR}
    if not near:
        return Goal(scenario, True, f"{own}; no other policy comes within half a point")
    name = min(near, key=lambda name: near[name].gpu_hours)
    passed = near[name].gpu_hours > CHEAPER * own.gpu_hours
    return Goal(scenario, passed, f"{own}; the cheapest within half a point: {name}, {near[name]}")


def _everywhere(
    name: str,
    problem: str,
    scores: Mapping[str, Mapping[str, Score]],
    missed: Callable[[Mapping[str, Score]], bool],
) -> Goal:
    places = [scenario for scenario, found in scores.items() if missed(found)]
    return Goal(name, not places, f"{problem}: {', '.join(places) or 'nowhere'}")


def is_off(found: Mapping[str, Score]) -> bool:
    """Whether tacho misses the goal beside the greedy reference."""
    own, reference = found[OWN], found.get(REFERENCE, found[OWN])
    return (
        own.attainment < REFERENCE_SHARE * reference.attainment
        or own.gpu_hours > REFERENCE_COST_RATIO * reference.gpu_hours
    )


def _beaten(found: Mapping[str, Score]) -> bool:
    own = found[OWN]
    return any(
        score.attainment >= own.attainment and score.gpu_hours <= STATIC_COST_RATIO * own.gpu_hours
        for name, score in found.items()
        if name.startswith(STATIC)
    )


def _cold_start_goal(at_once: Score, late: Score) -> Goal:
    """TTFT with cold starts, beside that without them."""
    before, after = at_once.ttft_p90_seconds or 0.0, late.ttft_p90_seconds or 0.0
    passed = after <= TTFT_RATIO * before and late.gpu_hours <= TTFT_COST_RATIO * at_once.gpu_hours
    reason = (
        f"TTFT p90 {after:.2f} s at {late.gpu_hours:.2f} GPU-hours; "
        f"{before:.2f} s at {at_once.gpu_hours:.2f} with starts of 0 s"
    )
    return Goal("starts of 120 s", passed, reason)
