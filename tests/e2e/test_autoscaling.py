"""Replicas follow the load: engines of a known law, requests that must all be answered, and what goes wrong
around the scaler meanwhile. What happened is kept in build/trajectories, and can be replayed."""

from __future__ import annotations

import dataclasses
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.autoscaling.bounds import Allowed, starts, violations, write
from tacho_operator.core.autoscaling.algorithm.tuning import RATE_SECONDS
from tests.e2e.conftest import INSECURE_HUB, Installed
from tests.e2e.faults import hang, kill_operator, kill_operator_without_bursts, no_loads
from tests.e2e.load import Arrivals
from tests.e2e.mocks import INPUT_TOKENS, OUTPUT_TOKENS, arrivals_at, fill_model, mock
from tests.e2e.resource import Llmd, eventually
from tests.e2e.trajectory import Plan, Watch
from tools import lab
from tools.mock.engine_law import Law

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("model")]

SLOTS = 3
LAW = Law(itl_base_ms=60.0, itl_per_seq_ms=1.0, max_num_seqs=SLOTS)
"""Slow enough that the law's time, and not this machine's, decides what a replica carries: three requests at
once of a good second each."""
FULL = 0.8
"""How full the scaler promises to keep replicas."""
PERIOD_SECONDS = float(str(INSECURE_HUB["scalingPeriodSeconds"]))
WINDOW_SECONDS, PACE_SECONDS = 10, 4
MOST = 6
MEASURED_AGAIN = 3
"""Times at most, where something disturbed a measurement."""
BEHAVIOR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 3, "periodSeconds": 4}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": WINDOW_SECONDS,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": PACE_SECONDS}],
    },
}
LITTLE, MUCH, SOME = 0.4, 2.5, 1.2
"""Offered, in full replicas: one, four and two of them keep the promise."""
HANG_SECONDS = 60.0


def replica_requests_per_second() -> float:
    """By the law, with all places taken."""
    first = LAW.ttft_base_ms + LAW.ttft_per_token_ms * INPUT_TOKENS
    return 1000 * SLOTS / (first + (OUTPUT_TOKENS - 1) * (LAW.itl_base_ms + LAW.itl_per_seq_ms * SLOTS))


def fall_seconds() -> float:
    """The window, doubled for each of two reversals; before it that of the load; one pace for each of two
    steps; two samples."""
    return RATE_SECONDS + 4 * WINDOW_SECONDS + 2 * PACE_SECONDS + 2 * PERIOD_SECONDS


@pytest.fixture
def model(tacho: Installed, namespace: str) -> str:
    return fill_model(tacho, namespace)


def bounds(least: int) -> dict[str, Any]:
    return {"minReplicas": least, "maxReplicas": MOST, "burstMemorySeconds": 0, "behavior": BEHAVIOR}


@pytest.fixture
def serving(llmd: Llmd, tacho: Installed) -> Llmd:
    """One replica that serves, with figures."""
    law = (f"--itl-base-ms={LAW.itl_base_ms}", f"--itl-per-seq-ms={LAW.itl_per_seq_ms}")
    probe = {"budgetSeconds": 20, "timeoutSeconds": 90}
    llmd.apply(mock(tacho, *law, autoscaling=bounds(1), probe=probe))
    llmd.await_condition("Ready", "True", "Serving")
    assert len(llmd.pods()) == 1
    return llmd


@pytest.fixture
def scaled(serving: Llmd) -> Llmd:
    """The same, scaled by a measured rate."""
    measured_cleanly(serving)
    return serving


def measured_cleanly(llmd: Llmd) -> None:
    """Until it is scaled by a rate that nobody moved: a neighbour may spoil one measurement, hardly all."""
    for _ in range(MEASURED_AGAIN):
        active = llmd.await_condition("ScalingActive", "True")
        if active["reason"] == "ValidMetricFound":
            return
        print(active["message"])
        llmd.measure_again()
    print("inconclusive: no measurement was clean; it is scaled by requests at once, which has bounds too")


@pytest.fixture
def arrivals(serving: Llmd) -> Iterator[Arrivals]:
    found = arrivals_at(serving)
    with found.running():
        yield found


def scaling(llmd: Llmd) -> dict[str, Any]:
    return dict(llmd.status().get("autoscaling") or {})


def tell(llmd: Llmd, watch: Watch) -> None:
    """For the report of a failed test."""
    said = scaling(llmd)
    print(watch.latest, said.get("reason"), said.get("decisions"), llmd.condition("ScalingActive"))


@pytest.mark.nightly  # five minutes
@pytest.mark.alone  # it is scaled by a measured rate, and its bounds are of seconds
def test_one_to_four_to_one_within_bounds_whatever_happens_to_the_scaler(
    scaled: Llmd, tacho: Installed, arrivals: Arrivals
) -> None:
    plan = Plan(arrivals, replica_requests_per_second(), FULL)
    watch = Watch(scaled, arrivals)
    plan_of_model = scaled.status().get("plan")
    try:
        with watch.running():
            grows_with_the_load(scaled, plan, watch)
            lasts_while_nobody_can_look(scaled, tacho, plan, watch)
            gives_up_what_is_not_needed(scaled, tacho, watch)
            grows_while_the_operator_is_killed(tacho, plan, watch)
            does_not_count_on_a_pod_that_hangs(scaled, plan, watch)
    finally:
        tell(scaled, watch)
        cold_start_seconds = float(scaling(scaled).get("coldStartSeconds") or 0)
        about = {
            **watch.about,
            "plan": plan_of_model,
            "decisions": scaling(scaled).get("decisions"),
            "replica_requests_per_second": replica_requests_per_second(),
            "cold_start_s": cold_start_seconds,
            "period_s": PERIOD_SECONDS,
        }
        place = lab.ROOT / "build" / "trajectories" / "one-to-four-to-one"
        write(place, watch.moments, arrivals.requests, about)
    assert arrivals.lost == []
    start_seconds = max(starts(watch.moments))
    assert start_seconds <= cold_start_seconds + PERIOD_SECONDS, "the scaler knows what a start takes"
    promised = Allowed(
        rise_seconds=start_seconds + RATE_SECONDS + PERIOD_SECONDS,
        fall_seconds=fall_seconds(),
        at_once=FULL * SLOTS,
    )
    assert violations(watch.moments, plan.need, promised, watch.blind) == []
    exact = dataclasses.replace(promised, rise_seconds=start_seconds + RATE_SECONDS / 2, spare=MOST)
    assert violations(watch.moments, plan.exact_need, exact, watch.blind) == []


def test_replicas_follow_a_rise_and_no_request_is_lost(serving: Llmd, arrivals: Arrivals) -> None:
    """The beginning of the nightly story, whatever it is scaled by."""
    plan = Plan(arrivals, replica_requests_per_second(), FULL)
    watch = Watch(serving, arrivals)
    try:
        with watch.running():
            plan.offer(SOME)
            eventually("a second replica", lambda: watch.latest.ready >= 2 or None)
    finally:
        tell(serving, watch)
    assert arrivals.lost == []


def grows_with_the_load(llmd: Llmd, plan: Plan, watch: Watch) -> None:
    plan.offer(LITTLE)
    lasts(watch, 20)  # so that looks show how evenly requests come
    assert watch.latest.replicas == 1
    for _ in plan.rise(LITTLE, MUCH, seconds=40):
        time.sleep(0.5)
    eventually("as many replicas as the load needs", lambda: watch.latest.ready >= 4 or None)
    llmd.await_condition("Ready", "True", "Serving")
    eventually("a size that fits", lambda: scaling(llmd)["desiredReplicas"] in (4, 5) or None)
    assert scaling(llmd)["utilizationPercent"] > 0
    assert llmd.condition("ScalingActive")["status"] == "True"
    told = llmd.cluster.kubectl("describe", "llmd", llmd.name, "-n", llmd.namespace)
    assert "SuccessfulRescale" in told
    assert "New size: " in told


def lasts(watch: Watch, seconds: float) -> int:
    """The fewest replicas that were wanted in that time."""
    known = len(watch.moments)
    time.sleep(seconds)
    return min(moment.replicas for moment in watch.moments[known:])


def lasts_while_nobody_can_look(llmd: Llmd, tacho: Installed, plan: Plan, watch: Watch) -> None:
    """An operator that is killed, and then a minute without loads in which the need falls: nothing goes."""
    had = watch.latest.replicas
    with watch.blindness("killed"):
        kill_operator(tacho)
    assert lasts(watch, WINDOW_SECONDS) >= min(had, 4)
    needed = plan.need(watch.latest.time_s)
    with watch.blindness("cut"), no_loads(tacho.cluster):
        lasts(watch, 10)
        plan.offer(LITTLE)
        assert lasts(watch, 50) >= needed
        assert llmd.condition("ScalingActive")["reason"] == "FailedGetPodsMetric"


def gives_up_what_is_not_needed(llmd: Llmd, tacho: Installed, watch: Watch) -> None:
    """One replica at a time, and the operator is killed after the first."""
    had = watch.latest.replicas
    with watch.blindness("killed"):
        kill_operator_without_bursts(tacho, llmd)  # which would keep replicas for 45 minutes
    eventually("the first that goes", lambda: watch.latest.replicas < had or None)
    with watch.blindness("killed"):
        kill_operator(tacho)
    watch.until("one replica again", 1)


def grows_while_the_operator_is_killed(tacho: Installed, plan: Plan, watch: Watch) -> None:
    """After it has asked for a replica and before that one serves."""
    plan.offer(SOME)
    eventually("a second replica that is wanted", lambda: watch.latest.replicas >= 2 or None)
    with watch.blindness("killed"):
        kill_operator(tacho)
    eventually("the second replica", lambda: watch.latest.ready >= 2 or None)


def does_not_count_on_a_pod_that_hangs(llmd: Llmd, plan: Plan, watch: Watch) -> None:
    """One pod would carry what there is, but who knows what the other one does."""
    bound(llmd, 2)
    plan.offer(LITTLE)
    watch.until("two replicas", 2)
    with watch.blindness("hanging"):
        pod = llmd.pods()[0]
        watch.hung = pod["metadata"]["name"]
        hang(pod, HANG_SECONDS, meanwhile_seconds=20)  # of its three places none goes on
        eventually("a pod that is noticed to hang", lambda: silent_pods(llmd) == 1 or None)
        bound(llmd, 1)
        assert lasts(watch, 1.2 * WINDOW_SECONDS) >= 2
    watch.until("one replica again", 1)


def silent_pods(llmd: Llmd) -> int:
    """By the operator's metrics, in which every look shows."""
    address = llmd.cluster.get("service", lab.RELEASE, "-n", lab.OPERATOR_NAMESPACE)["spec"]["clusterIP"]
    with urllib.request.urlopen(f"http://{address}:9401/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        mine = {"namespace": llmd.namespace, "name": llmd.name}
        return sum(
            int(sample.value)
            for family in families
            for sample in family.samples
            if sample.name == "tacho_llmdeployment_pods_silent" and sample.labels == mine
        )


def bound(llmd: Llmd, least: int) -> None:
    patch = f'{{"spec": {{"autoscaling": {{"minReplicas": {least}}}}}}}'
    llmd.cluster.kubectl("patch", "llmd", llmd.name, "-n", llmd.namespace, "--type=merge", "-p", patch)
