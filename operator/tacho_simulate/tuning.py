"""Tunes a policy's parameters on a trace, as an operator of a cluster would on yesterday's traffic."""

from __future__ import annotations

from collections.abc import Mapping

from tacho_simulate.policies import policy_of
from tacho_simulate.policy import Setting
from tacho_simulate.result import Result
from tacho_simulate.run import NO_FAULTS, Faults, simulate
from tacho_simulate.trace import Trace

ATTAINMENT = 0.99
"""SLO attainment that a tuned policy has to reach."""
QUEUES = tuple(f"{value:g}" for value in (0.25, 0.5, 1, 2, 3, 5, 8))
SHARES = tuple(f"{value:g}" for value in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5))
REQUESTS = tuple(f"{value:g}" for value in (4, 6, 8, 10, 12, 14, 16, 20, 32, 50, 100))
DEMANDS = tuple(f"{value:g}" for value in (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0))
TRIED: dict[str, tuple[str, ...]] = {
    "hpa-queue": tuple(f"target={value}" for value in QUEUES),
    "hpa-kv-cache": tuple(f"target={value}" for value in SHARES),
    "hpa-concurrency": tuple(f"target={value}" for value in REQUESTS),
    "hpa-demand": tuple(f"target={value}" for value in DEMANDS),
    "kubeai": (
        *(f"target={value}" for value in REQUESTS),
        *(f"target={value}:window_seconds=60" for value in REQUESTS),
    ),
    "aibrix-apa": (
        *(f"target={value}" for value in SHARES),
        *(f"target={value}:metric=requests" for value in REQUESTS),
    ),
    "aibrix-kpa": (
        *(f"target={value}" for value in SHARES),
        *(f"target={value}:metric=requests:total=true" for value in REQUESTS),
    ),
    "kaito": tuple(
        f"up={up}:down={down}:cooldown_seconds={cooldown}"
        for up, down in (("0.25", "0.1"), ("1", "0.1"), ("3", "1"), ("10", "1"))
        for cooldown in (60, 300)
    ),
    "production-stack": tuple(f"waiting={value}" for value in QUEUES),
    "production-stack-operator": tuple(
        f"factor={factor}:keepalive={keepalive}" for factor in (1, 2, 3) for keepalive in ("true", "false")
    ),
    "wva": tuple(
        f"up={up}:rules={rules}"
        for up in ("0.25", "0.35", "0.5", "0.7", "0.85")
        for rules in ("chart", "sample")
    ),
}
"""Parameters that are tried for each policy that has any."""


def tuned(
    name: str, trace: Trace, setting: Setting, *, seed: int, faults: Faults = NO_FAULTS
) -> tuple[str, dict[str, Result]]:
    """(the policy with its best parameters, the results of all parameters tried, the defaults first).

    Best: the fewest GPU-hours with ATTAINMENT, else the highest attainment.
    """
    texts = (name, *(f"{name}:{values}" for values in TRIED.get(name, ())))
    results = {}
    for text in texts:
        factory, own = policy_of(text, setting)
        results[text] = simulate(trace, own, factory, seed=seed, faults=faults)
    return best(results), results


def best(results: Mapping[str, Result]) -> str:
    enough = {text: item for text, item in results.items() if item.slo_attainment >= ATTAINMENT}
    if enough:
        return min(enough, key=lambda text: (enough[text].gpu_hours, -enough[text].slo_attainment))
    return max(results, key=lambda text: (results[text].slo_attainment, -results[text].gpu_hours))
