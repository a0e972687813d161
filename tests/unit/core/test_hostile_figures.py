"""Figures that a pod should not have sent: the status stays valid, and what it said."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from tacho_contract import codec
from tacho_contract.fetch import FetchProgress
from tacho_contract.measurement import (
    LISTED,
    Capacity,
    Environment,
    Workload,
)
from tacho_contract.report import Report, StartupSeconds
from tacho_operator.api.base import as_stored, decimal
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_operator.core.autoscaling.algorithm.types import Attainment
from tacho_operator.core.planner.history import CPU, HIGHEST, excess_share, history_from, stored_status
from tests.unit.core.measured_world import SPEC, measured_world
from tests.unit.core.scaling import idle, told
from tools.harness.figures import point
from tools.harness.world import World


def test_a_pod_cannot_smuggle_in_figures_for_another_revision() -> None:
    """Keys decide whose figures they are, not what a pod says it is."""
    world = measured_world()
    (pod,) = world.pods("server")
    report = world.reports[pod["metadata"]["uid"]]
    assert report.measurement is not None
    forged = dataclasses.replace(report.measurement, plan_key="0" * 10, observed_time="2030-01-01T00:00:00Z")
    world.reports[pod["metadata"]["uid"]] = dataclasses.replace(report, measurement=forged)
    world.reconcile(1)
    states = {item["planKey"]: item["state"] for item in world.status["measurements"]}
    assert states["0" * 10] == "Stale"
    assert world.brief("Measured") == ("True", "MeasurementComplete")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (0.0, "0"),
        (812.4, "812.4"),
        (0.0004, "0"),
        (1234567.8912, "1234567.891"),
        (100.0, "100"),
        (-1.0, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e30, None),
    ],
)
def test_decimals(value: float | None, text: str | None) -> None:
    assert decimal(value) == text
    assert text is None or re.fullmatch(r"\d+(\.\d{1,3})?", text)


HOSTILE: list[dict[str, Any]] = [
    {"plan_key": "p" * 300},
    {"observed_time": "x" * 20},
    {"observed_time": "2026-11-20T08:49:21Z" + " " * 200},
    {"probe_seconds": float("inf")},
    {"probe_seconds": -1.0},
    {"workload": Workload(input_tokens=-5)},
    {"workload": Workload(output_tokens=2**70)},
    {"flags": tuple(f"Flag{number}" * 40 for number in range(50))},
    {"curve": (point(-1, 1.0),)},
    {"curve": (dataclasses.replace(point(4, 100.0), counted_by=""),)},
    {"capacity": Capacity(concurrency=4, output_tokens_per_second=100.0, basis="")},
    {"capacity": Capacity(concurrency=4, output_tokens_per_second=100.0, boundary="")},
    {
        "capacity": Capacity(
            concurrency=2**40, requests_per_second=1, output_tokens_per_second=1, total_tokens_per_second=1
        )
    },
]


@pytest.mark.parametrize("fields", HOSTILE, ids=str)
def test_hostile_figures_are_left_out(fields: dict[str, Any]) -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    before = copy.deepcopy(world.status["measurements"])
    world.now += timedelta(seconds=5)
    world.serves(pod, **fields)
    world.reconcile(1)
    assert world.status["measurements"] == before
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_measurement_from_the_future_is_replaced_by_a_better_one() -> None:
    world = World(SPEC)
    world.first_pods()
    (pod,) = world.pods("server")
    world.serves(pod, observed_time="8999-12-31T23:59:59Z", flags=("Contended",))
    world.reconcile(60)
    assert [item["confidence"] for item in world.status["measurements"]] == ["Provisional"]
    world.serves(pod)
    world.reconcile(1)
    assert [item["confidence"] for item in world.status["measurements"]] == ["Clean"]


def test_hostile_words_and_sizes_never_make_an_invalid_status() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    environment = Environment(cpu_model="c" * 999, gpu_count=-3)
    startup = StartupSeconds(load=1e300, total=float("nan"), probe=-4.0)
    fetch = FetchProgress(state="?", bytes_done=-1, bytes_total=2**80)
    for phase in ("Serving", "WaitingForModel", "z" * 5000):
        world.runs(pod, phase, environment=environment, startup=startup, fetch=fetch, engine="e" * 999)
        world.reconcile(1)
    assert world.brief("Ready")[0] == "False"


ANY_FIGURE = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ANY_SIZE = st.none() | st.integers(0, 2**53 - 1)


@settings(max_examples=50, deadline=None)
@given(ANY_FIGURE, ANY_FIGURE, ANY_FIGURE, st.none() | st.integers(0, 2**31 - 1), st.tuples(*[ANY_SIZE] * 6))
@example(1e-300, 1e-300, -1e300, 2**31 - 1, (100, 20, 70, 1000, 20, 70))
@example(1e300, 1e300, 1e300, 0, (100, 20, 70, 109, 20, 70))
def test_a_forged_measurement_moves_replicas_and_plans_within_their_bounds(
    requests: float | None,
    tokens: float | None,
    interval: float | None,
    streams: int | None,
    memory: tuple[int | None, ...],
) -> None:
    """Whoever may write the status of one resource chooses its replicas between the bounds of its spec, and
    makes new plans of its namespace expect no more than twice the memory beyond weights and cache."""
    measured = {
        "concurrency": streams,
        "requestsPerSecond": requests,
        "outputTokensPerSecond": tokens,
        "ciPercent": interval,
        "boundary": "Edge",
    }
    sizes = (f"{who}{what}Bytes" for who in ("predicted", "actual") for what in ("", "Weights", "KVCache"))
    entry = {
        "fingerprint": "f",
        "state": "Complete",
        "confidence": "Clean",
        "engine": "vllm",
        "capacity": measured,
        "memory": dict(zip(sizes, memory, strict=True)),
    }
    status = stored_status({"status": as_stored({"measurements": [entry]})})
    assert status.measurements
    fleet = idle(seconds=20)
    fleet.capacity = capacity_of(status.measurements, None, Workload())
    fleet.run(lambda _: 1.0, 30)
    assert fleet.policy.bounds.least <= min(fleet.sizes)
    assert max(fleet.sizes) <= fleet.policy.bounds.most
    for fills in (True, False):
        share = excess_share(history_from([status]), engine="vllm", version="", product=CPU, fills=fills)
        assert 0.0 <= share <= HIGHEST - 1


def test_more_load_than_a_status_can_hold_fails_no_decision() -> None:
    fleet = idle()
    figures = dataclasses.replace(fleet.decisions[-1].figures, utilization=1e9)
    fleet.decisions[-1] = dataclasses.replace(fleet.decisions[-1], figures=figures)
    many = (1e15, 1e15, 1e15)
    fleet.state = dataclasses.replace(fleet.state, attainment=Attainment(ttft="Histogram", ttft_counts=many))
    status = told(fleet).autoscaling
    assert status.utilization_percent == 2**31 - 1
    assert status.attainment
    assert status.attainment.requests == 2**31 - 1


def test_a_report_of_more_levels_or_gpus_than_are_read_is_none() -> None:
    """2,000 took a thread 30 ms for each report, in which the event loop had a ninth of its time."""
    report = codec.to_dict(next(iter(measured_world(SPEC).reports.values())))
    for place, name, item in (("memory", "gpuDevices", {"index": 0}), ("", "curve", {"concurrency": 1})):
        for count in (LISTED, LISTED + 1):
            changed = copy.deepcopy(report)
            where = changed["measurement"][place] if place else changed["measurement"]
            where[name] = [item] * count
            assert (codec.read(Report, json.dumps(changed)) is None) == (count > LISTED)
