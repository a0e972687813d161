"""GPU time: every second of every GPU counts once, and no gap counts as use."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_operator.api.status.plan import Plan, PlanGpu
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.measurement.cost import (
    GAP_SECONDS,
    GpuHolding,
    Price,
    counted_seconds,
    gpu_interval,
    holding_of,
)
from tools.harness.resources import CONFIG
from tools.harness.world import MOCK_SPEC, World, changed

USES = st.sampled_from(["serving", "probing", "unready"])
TIMES = st.floats(min_value=-1e10, max_value=1e10)


@given(
    pods=st.dictionaries(st.text(max_size=3), USES, max_size=8),
    gpus=st.integers(1, 16),
    price=st.none() | st.floats(0.001, 100),
    idle=st.dictionaries(st.text(max_size=3), st.booleans()),
    last=st.none() | TIMES,
    now=TIMES,
)
def test_an_interval_counts_each_gpu_once_whatever_the_clock_does(
    pods: dict[str, Any],
    gpus: int,
    price: float | None,
    idle: dict[str, bool],
    last: float | None,
    now: float,
) -> None:
    seconds = counted_seconds(last, now)
    assert 0 <= seconds <= GAP_SECONDS
    if last is None or now <= last:
        assert seconds == 0
    known = Price(per_gpu_hour=price, currency="EUR") if price else None
    spent, cost = gpu_interval(GpuHolding(gpus, "G", known, tuple(pods.items())), idle, seconds)
    assert math.isclose(math.fsum(spent.values()), gpus * len(pods) * seconds, abs_tol=1e-9)
    probing = sum(use == "probing" for use in pods.values())
    assert math.isclose(spent.get("probing", 0.0), gpus * probing * seconds, abs_tol=1e-9)
    unused = sum(use == "serving" and idle.get(uid, False) for uid, use in pods.items())
    assert math.isclose(spent.get("idle", 0.0), gpus * unused * seconds, abs_tol=1e-9)
    if known is None:
        assert cost == {}
    else:
        hours = {use: found / 3600 for use, found in spent.items()}
        assert cost == pytest.approx({use: known.per_gpu_hour * found for use, found in hours.items()})


def test_pods_on_a_node_hold_the_gpus_of_the_plan() -> None:
    world = World(changed(MOCK_SPEC, cost={"pricePerGPUHour": "2", "currency": "EUR"}, replicas=2))
    world.come_up()
    first, second = world.pods("server")
    for pod in (first, second):
        pod["spec"]["nodeName"] = "n"
    status = LLMDeploymentStatus(plan=Plan(gpu=PlanGpu(product="NVIDIA-H200", count=4)))
    found = holding_of(world.observed(), status, CONFIG)
    assert (found.gpus_per_pod, found.product) == (4, "NVIDIA-H200")
    assert found.price == Price(per_gpu_hour=2, currency="EUR")
    priced = dataclasses.replace(CONFIG, gpu_prices={"NVIDIA-H200": "3.50"})
    ours = holding_of(world.observed(), status, priced).price
    assert ours == Price(per_gpu_hour=3.5, currency="USD"), "a tenant sets no price of its own"
    assert [use for _, use in found.pods] == ["serving", "serving"]
    second["status"]["phase"] = "Failed"
    del first["spec"]["nodeName"]
    assert holding_of(world.observed(), status, CONFIG).pods == ()
    assert holding_of(world.observed(), LLMDeploymentStatus(), CONFIG) == GpuHolding()
