"""The scaling policies that can be simulated, by name, with default parameters."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tacho_simulate.policies import (
    aibrix,
    greedy,
    hpa,
    kaito,
    kubeai,
    production_stack,
    tacho,
    wva,
)
from tacho_simulate.policy import Factory, PolicyDecision, PolicyView, Setting, SimulatedPolicy


@dataclass(frozen=True, slots=True)
class Static:
    """A fixed number of replicas."""

    replicas: int
    name: str = "static"
    period_seconds: float = 3600.0

    def decide(self, view: PolicyView) -> PolicyDecision:
        del view
        return PolicyDecision(replicas=self.replicas, reason=f"fixed at {self.replicas} replicas")


def static(setting: Setting) -> SimulatedPolicy:
    """The policy of a fixed number of replicas: the initial ones where the setting gives them, else the
    minimum."""
    if setting.initial_replicas is None:
        return Static(setting.min_replicas)
    return Static(setting.initial_replicas, name=f"static-{setting.initial_replicas}")


POLICIES: dict[str, Factory] = {
    "tacho": tacho.make,
    "static": static,
    "hpa-queue": hpa.on_queue,
    "hpa-kv-cache": hpa.on_kv_cache,
    "hpa-concurrency": hpa.on_concurrency,
    "hpa-demand": hpa.OnDemand,
    "kubeai": kubeai.KubeAI,
    "aibrix-apa": aibrix.make_apa,
    "aibrix-kpa": aibrix.make_kpa,
    "kaito": kaito.Kaito,
    "production-stack": production_stack.Chart,
    "production-stack-operator": production_stack.Operator,
    "wva": wva.WVA,
    "greedy": greedy.GreedyReference,
}
CHOICES = {"metric": tuple(aibrix.METRICS), "rules": tuple(wva.RULES)}
"""Accepted values of those parameters that are no numbers."""


class PolicyError(ValueError):
    """The name of a policy, or the value of a parameter, is invalid."""


def policy_of(
    text: str, setting: Setting, known: Mapping[str, Factory] = POLICIES
) -> tuple[Factory, Setting]:
    """(factory, setting) of the policy that ``NAME[:PARAMETER=VALUE…]`` or ``static-N`` names. Raises
    PolicyError.

    ``known``: the policies by name.
    """
    name, *given = text.split(":")
    if fixed := re.fullmatch(r"static-([1-9]\d{0,2})", name):
        count = int(fixed[1])
        least, most = min(count, setting.min_replicas), max(count, setting.max_replicas)
        setting = replace(setting, initial_replicas=count, min_replicas=least, max_replicas=most)
        name = "static"
    if name not in known:
        raise PolicyError("unknown")
    factory = known[name]
    values = dict(_value(factory, name, item) for item in given)
    return (partial(factory, **values) if values else factory), setting


def parameters(factory: Factory) -> dict[str, Any]:
    """Defaults of a policy's parameters, by name."""
    found = inspect.signature(factory).parameters.values()
    return {item.name: item.default for item in found if item.default is not inspect.Parameter.empty}


def _value(factory: Factory, name: str, text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    known = parameters(factory)
    if key not in known:
        takes = f"it takes {', '.join(known)}" if known else "it takes no parameters"
        raise PolicyError(f"{name} has no parameter {key!r}; {takes}")
    default = known[key]
    choices = CHOICES.get(key, ("true", "false") if isinstance(default, bool) else ())
    if choices:
        if value not in choices:
            raise PolicyError(f"{text}: {name} takes {' or '.join(choices)}")
        return key, value == "true" if isinstance(default, bool) else value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise PolicyError(f"{text}: a number above 0 is expected")
    return key, number
