"""Whether a pod is measured, checked, or left alone: a table."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.launch import Again, LiveConfig, ProbeSettings
from tacho_contract.measurement import (
    Baseline,
    Environment,
    Measurement,
    Workload,
)
from tacho_runtime.supervisor.measuring import (
    MeasuredPod,
    decide_measurement,
    pending_request,
)

HERE = Environment(cpu_model="EPYC", cpu_count=4, gpu_product="L4", gpu_count=1, gpu_memory_bytes=24 * 2**30)
POD = MeasuredPod(plan_key="plan", environment=HERE, hostname="demo-1")
THROWAWAY = dataclasses.replace(POD, probe_pod=True)


def measured(**fields: Any) -> Measurement:
    values: dict[str, Any] = {
        "plan_key": "plan",
        "measure_key": "m",
        "observed_time": "2026-01-01T00:00:00Z",
        "state": "Complete",
        "probe_seconds": 1.0,
        "workload": Workload(),
        **fields,
    }
    return Measurement(**values)


def baseline(**fields: Any) -> Baseline:
    values: dict[str, Any] = {
        "plan_key": "plan",
        "measure_key": "m",
        "environment": HERE,
        "observed_time": "2026-01-01T00:00:00Z",
        "concurrency": 4,
        "output_tokens_per_second": 100.0,
        **fields,
    }
    return Baseline(**values)


def live(policy: str = "Auto", *baselines: Baseline, again: Again | None = None) -> LiveConfig:
    probe = ProbeSettings(policy=policy)
    return LiveConfig(measure_key="m", probe=probe, baselines=baselines, again=again or Again())


ELSEWHERE = baseline(environment=dataclasses.replace(HERE, cpu_count=64))
ASKED = Again(request="gate-1", hostname="demo-1")


@pytest.mark.parametrize(
    ("settings", "known", "pod", "does"),
    [
        (live(), None, POD, "full"),
        (live(), measured(), POD, "nothing"),
        (live(), measured(state="Partial"), POD, "nothing"),
        (live(), measured(state="Failed"), POD, "full"),
        (live(), measured(state="Skipped"), POD, "full"),
        (live(), measured(plan_key="other"), POD, "full"),
        (live(), measured(measure_key="other"), POD, "full"),
        (live("Always"), measured(), POD, "full"),
        (live("Disabled"), None, POD, "nothing"),
        (live("Disabled"), measured(), POD, "nothing"),
        (live("Auto", baseline()), None, POD, "check"),
        (live("Auto", baseline()), None, THROWAWAY, "full"),
        (live("Auto", baseline()), measured(), POD, "nothing"),
        (live("Auto", baseline()), measured(state="Failed"), POD, "check"),
        (live("Auto", baseline()), measured(measure_key="other"), POD, "check"),
        (live("Auto", baseline()), measured(kind="Check"), POD, "nothing"),
        (live(), measured(kind="Check"), POD, "full"),
        (live("Auto", ELSEWHERE), None, POD, "full"),
        (live("Auto", ELSEWHERE, baseline()), None, POD, "check"),
        (live("Auto", baseline(plan_key="other")), None, POD, "full"),
        (live("Auto", baseline(measure_key="other")), None, POD, "full"),
        (live("Auto", baseline(concurrency=0)), None, POD, "full"),
        (live("Always", baseline()), None, POD, "full"),
        (live("Disabled", baseline()), None, POD, "nothing"),
        (live("Auto", baseline(), again=ASKED), measured(), POD, "full"),
        (live("Auto", again=ASKED), measured(request="gate-1"), POD, "nothing"),
        (live("Auto", again=ASKED), measured(request="gate-0"), POD, "full"),
        (live("Auto", again=Again(request="gate-1", hostname="demo-2")), measured(), POD, "nothing"),
        (live("Disabled", again=ASKED), measured(), POD, "nothing"),
    ],
)
def test_what_a_pod_does(
    settings: LiveConfig, known: Measurement | None, pod: MeasuredPod, does: str
) -> None:
    choice = decide_measurement(settings, known, pod)
    assert ("check" if choice.baseline else "full" if choice.probes else "nothing") == does
    assert choice.probes or choice.baseline is None
    assert choice.reason


def test_the_newest_baseline_counts_and_memory_that_the_driver_keeps_does_not() -> None:
    old = baseline(environment=dataclasses.replace(HERE, gpu_memory_bytes=0))
    new = dataclasses.replace(old, observed_time="2026-02-01T00:00:00Z", concurrency=8)
    for given_ in ((old, new), (new, old)):
        assert decide_measurement(live("Auto", *given_), None, POD).baseline == new


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_a_request_is_answered_once_and_by_its_own_pod(
    request: str, hostname: str, own: str, answered: str
) -> None:
    settings = live("Auto", again=Again(request=request, hostname=hostname))
    found = pending_request(settings, measured(request=answered), own)
    assert found in ("", request)
    assert bool(found) == (bool(request) and hostname == own and answered != request)
