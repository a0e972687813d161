"""Each policy with its defaults, and the thresholds that are tried for it on the training trace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tacho_simulate.policies import aibrix, hpa, kaito, kubeai, production_stack, wva
from tacho_simulate.policy import Factory, SimulatedPolicy

QUEUES = (0.25, 0.5, 1.0, 2.0, 3.0, 8.0)
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
REQUESTS = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    default: Callable[..., SimulatedPolicy]
    tried: Mapping[str, Factory] = field(default_factory=dict)
    """By what was set."""


def _over(
    make: Callable[..., SimulatedPolicy], name: str, values: tuple[float, ...], **fixed: object
) -> dict[str, Factory]:
    words = "".join(f", {key} {getattr(value, '__name__', value)}" for key, value in fixed.items())
    return {f"{name} {value:g}{words}": functools.partial(make, **{name: value}, **fixed) for value in values}


CANDIDATES = {
    "hpa-queue": Candidate(hpa.on_queue, _over(hpa.on_queue, "target", QUEUES)),
    "hpa-kv-cache": Candidate(hpa.on_kv_cache, _over(hpa.on_kv_cache, "target", SHARES)),
    "hpa-concurrency": Candidate(hpa.on_concurrency, _over(hpa.on_concurrency, "target", REQUESTS)),
    "kubeai": Candidate(
        kubeai.KubeAI,
        {
            **_over(kubeai.KubeAI, "target", REQUESTS),
            **_over(kubeai.KubeAI, "target", REQUESTS, window_seconds=60.0),
        },
    ),
    "aibrix-apa": Candidate(
        aibrix.make_apa,
        {
            **_over(aibrix.make_apa, "target", SHARES),
            **_over(aibrix.make_apa, "target", REQUESTS, metric=aibrix.requests),
        },
    ),
    "aibrix-kpa": Candidate(
        aibrix.make_kpa,
        {
            **_over(aibrix.make_kpa, "target", SHARES),
            **_over(aibrix.make_kpa, "target", REQUESTS, metric=aibrix.requests, total=True),
        },
    ),
    "kaito": Candidate(
        kaito.Kaito,
        {
            f"up {up:g}, down {down:g}, cooldown {cooldown:g} s": functools.partial(
                kaito.Kaito, up=up, down=down, cooldown_seconds=cooldown
            )
            for up, down in ((0.25, 0.1), (1.0, 0.1), (3.0, 1.0))
            for cooldown in (60.0, 300.0)
        },
    ),
    "production-stack": Candidate(production_stack.Chart, _over(production_stack.Chart, "waiting", QUEUES)),
    "production-stack-operator": Candidate(
        production_stack.Operator,
        {
            **_over(production_stack.Operator, "factor", (1.0, 2.0, 3.0), keepalive=False),
            **_over(production_stack.Operator, "factor", (2.0, 3.0)),
        },
    ),
    "wva": Candidate(
        wva.WVA,
        {
            f"scaleUpThreshold {up:g}, {name}": functools.partial(wva.WVA, up=up, rules=rules)
            for up in (0.25, 0.35, 0.5, 0.7, 0.85)
            for name, rules in (("chart", wva.CHART), ("sample", wva.SAMPLE))
        },
    ),
}
