"""Whether a pod is measured in full, only checked, or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tacho_contract.launch import ENV_FULL_PROBE, LiveConfig, RuntimeConfig
from tacho_contract.measurement import Baseline, Environment, Measurement, same_machine

USABLE = ("Complete", "Partial")
CHECK = "Check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to do, and why in words."""

    probes: bool
    reason: str
    baseline: Baseline | None = None
    """What a check is held against; None: in full."""
    request: str = ""
    """Who asked for it; "": nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What the choice depends on beside the settings."""

    plan_key: str
    environment: Environment = Environment()
    hostname: str = ""
    throwaway: bool = False
    """It is there to be measured in full."""


def pod_of(config: RuntimeConfig, environment: Environment) -> Pod:
    """This one."""
    return Pod(
        plan_key=config.plan_key,
        environment=environment,
        hostname=os.uname().nodename,
        throwaway=ENV_FULL_PROBE in os.environ,
    )


def requested(live: LiveConfig, known: Measurement | None, hostname: str) -> str:
    """The request that this pod has not answered yet; "": none."""
    asked = live.again
    if not asked.request or asked.hostname != hostname or live.probe.policy == "Disabled":
        return ""
    return "" if known is not None and known.request == asked.request else asked.request


def choose(live: LiveConfig, known: Measurement | None, pod: Pod) -> Choice:
    """``known`` is what a former run of this container left behind."""
    policy = live.probe.policy
    if policy == "Disabled":
        return Choice(probes=False, reason="spec.probe.policy is Disabled")
    if request := requested(live, known, pod.hostname):
        return Choice(probes=True, reason="a measurement of this pod was asked for", request=request)
    if policy == "Always":
        return Choice(probes=True, reason="spec.probe.policy is Always")
    baseline = None if pod.throwaway else _baseline(live, pod)
    if known is None:
        return _fresh(baseline, "nothing is known about this plan and workload")
    if (known.plan_key, known.measure_key) != (pod.plan_key, live.measure_key):
        return _fresh(baseline, "plan or workload changed since the last measurement")
    if known.state not in USABLE:
        return _fresh(baseline, f"the last measurement is {known.state}")
    if known.kind == CHECK and baseline is None:
        return _fresh(None, "it was only checked, against a measurement that is none any more")
    return Choice(probes=False, reason=f"measured at {known.observed_time} with the same plan and workload")


def _fresh(baseline: Baseline | None, reason: str) -> Choice:
    if baseline is None:
        return Choice(probes=True, reason=reason)
    told = f"{reason}, but such a machine was measured at {baseline.observed_time}: it is checked"
    return Choice(probes=True, reason=told, baseline=baseline)


def _baseline(live: LiveConfig, pod: Pod) -> Baseline | None:
    """The newest for this plan, workload and machine."""
    found = [
        item
        for item in live.baselines
        if (item.plan_key, item.measure_key) == (pod.plan_key, live.measure_key)
        and same_machine(item.environment, pod.environment)
        and item.concurrency > 0
    ]
    return max(found, key=lambda item: item.observed_time, default=None)
