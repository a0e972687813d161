"""What scales without ``behavior``, in a quarter of an hour: rise, burst, pulse and fall, with the operator
killed in each, loads cut and a pod that hangs. SLO attainment and GPU-seconds beside a simulation of the same
requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from benchmarks.autoscaling.bounds import Allowed, starts, violations, write
from benchmarks.autoscaling.replay import FORGOTTEN, LEAST, MOST, compared_runs
from tacho_operator.core.autoscaling.algorithm.tuning import RATE_SECONDS
from tacho_operator.core.autoscaling.algorithm.types import SCALE_DOWN
from tests.e2e.conftest import INSECURE_HUB, Installed
from tests.e2e.faults import hang, kill_operator, kill_operator_without_bursts, no_loads
from tests.e2e.load import Arrivals
from tests.e2e.mocks import arrivals_at, fill_model, mock
from tests.e2e.resource import Llmd
from tests.e2e.test_autoscaling import (
    FULL,
    HANG_SECONDS,
    LAW,
    SLOTS,
    lasts,
    measured_cleanly,
    replica_requests_per_second,
    scaling,
    tell,
)
from tests.e2e.trajectory import Plan, Watch
from tools import lab

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.alone,
    pytest.mark.timeout(1700),
    pytest.mark.usefixtures("model", "default_period"),
]
PERIOD_SECONDS = 10.0
"""Between two looks of the operator, by default."""
TTFT_MILLISECONDS = 2000
LITTLE, SOME, PULSE, BURST = 0.4, 1.6, 2.6, 3.2
"""Offered, in full replicas. From SOME, only BURST doubles the need."""
WINDOW_SECONDS = SCALE_DOWN.window_seconds
TRIES = 9
"""Times at which each process of the operator may have begun to look: no recording says when."""
POINTS, SHARE = 3.0, 0.10
"""The simulation may differ by so many points of SLO attainment, and by that share of the GPU-seconds."""


@pytest.fixture
def model(tacho: Installed, namespace: str) -> str:
    return fill_model(tacho, namespace)


@pytest.fixture
def default_period(tacho: Installed) -> Iterator[None]:
    hub = {"hub": INSECURE_HUB["hub"]}
    lab.install_chart(tacho.cluster, tacho.images, hub)
    yield
    lab.install_chart(tacho.cluster, tacho.images, INSECURE_HUB)


@pytest.fixture
def serving(llmd: Llmd, tacho: Installed) -> Llmd:
    """One replica that serves, scaled by a measured rate."""
    law = (f"--itl-base-ms={LAW.itl_base_ms}", f"--itl-per-seq-ms={LAW.itl_per_seq_ms}")
    asked = {
        "autoscaling": {"minReplicas": LEAST, "maxReplicas": MOST},
        "slo": {"ttftMilliseconds": TTFT_MILLISECONDS},
        "probe": {"budgetSeconds": 20, "timeoutSeconds": 90},
    }
    llmd.apply(mock(tacho, *law, **asked))
    llmd.await_condition("Ready", "True", "Serving")
    measured_cleanly(llmd)
    return llmd


@pytest.fixture
def arrivals(serving: Llmd) -> Iterator[Arrivals]:
    found = arrivals_at(serving)
    with found.running():
        yield found


def test_the_default_follows_the_load_and_costs_what_is_simulated(
    serving: Llmd, tacho: Installed, arrivals: Arrivals
) -> None:
    plan = Plan(arrivals, replica_requests_per_second(), FULL)
    watch = Watch(serving, arrivals)
    about: dict[str, object] = {"plan": serving.status().get("plan")}
    try:
        with watch.running():
            plan.offer(LITTLE)
            lasts(watch, 30)
            rises(tacho, plan, watch)
            jumps(tacho, plan, watch, BURST, seconds=60)
            jumps(tacho, plan, watch, PULSE, seconds=30)
            with watch.blindness("cut"), no_loads(tacho.cluster):
                lasts(watch, 60)
            one_hangs(serving, watch)
            falls(serving, tacho, plan, watch)
    finally:
        tell(serving, watch)
        about |= watch.about | {
            "default": True,
            "decisions": scaling(serving).get("decisions"),
            "replica_requests_per_second": replica_requests_per_second(),
            "cold_start_s": float(scaling(serving).get("coldStartSeconds") or 0),
            "period_s": PERIOD_SECONDS,
        }
        place = lab.ROOT / "build" / "trajectories" / "default"
        write(place, watch.moments, arrivals.requests, about)
    assert arrivals.lost == []
    promised = Allowed(
        rise_seconds=max(starts(watch.moments)) + RATE_SECONDS + PERIOD_SECONDS,
        fall_seconds=RATE_SECONDS + WINDOW_SECONDS + 2 * PERIOD_SECONDS,
        at_once=FULL * SLOTS,
    )
    assert violations(watch.moments, plan.need, promised, watch.blind) == []
    recorded = json.loads(place.with_suffix(".json").read_text())
    cluster, simulated = compared_runs(recorded, TTFT_MILLISECONDS / 1000, TRIES)
    print(f"cluster {cluster}, simulated {simulated}")
    assert simulated.kept_percent == pytest.approx(cluster.kept_percent, abs=POINTS)
    assert simulated.gpu_seconds == pytest.approx(cluster.gpu_seconds, rel=SHARE)


def killed(tacho: Installed, watch: Watch) -> None:
    with watch.blindness("killed"):
        kill_operator(tacho)


def rises(tacho: Installed, plan: Plan, watch: Watch) -> None:
    """Within two minutes, and half a minute more; the operator is killed after the first."""
    began, alive = watch.latest.time_s, True
    for _ in plan.rise(LITTLE, SOME, seconds=120):
        time.sleep(0.5)
        if alive and watch.latest.time_s - began > 60:
            killed(tacho, watch)
            alive = False
    lasts(watch, 30)


def jumps(tacho: Installed, plan: Plan, watch: Watch, replicas: float, seconds: float) -> None:
    """From SOME and back; the operator is killed after two looks, and may take longer than ``seconds``."""
    plan.offer(replicas)
    began = watch.latest.time_s
    lasts(watch, 2 * PERIOD_SECONDS)
    killed(tacho, watch)
    lasts(watch, max(2.0, began + seconds - watch.latest.time_s))
    plan.offer(SOME)
    lasts(watch, 40)


def one_hangs(llmd: Llmd, watch: Watch) -> None:
    with watch.blindness("hanging"):
        pod = llmd.pods()[0]
        watch.hung = pod["metadata"]["name"]
        hang(pod, HANG_SECONDS, meanwhile_seconds=20)  # of its three places none goes on
        lasts(watch, HANG_SECONDS)


def falls(llmd: Llmd, tacho: Installed, plan: Plan, watch: Watch) -> None:
    """To one replica, once no burst keeps more. The operator is killed first, and waits for its window."""
    plan.offer(LITTLE)
    lasts(watch, 2 * PERIOD_SECONDS)
    with watch.blindness(FORGOTTEN):
        kill_operator_without_bursts(tacho, llmd)
    lasts(watch, WINDOW_SECONDS)
    watch.until("one replica again", LEAST)
