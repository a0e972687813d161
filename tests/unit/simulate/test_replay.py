"""What a cluster did with mock engines, and what the simulator does with the same requests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks.autoscaling.recorded_policies import AsTheyWent, Followed
from benchmarks.autoscaling.replay import (
    CLIENTS,
    FORGOTTEN,
    MODEL,
    carried,
    compared,
    compared_runs,
    dealt,
    run,
    sent,
    upto,
)
from tacho_operator.core.autoscaling.algorithm import need
from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.policy import PolicyDecision, PolicyView, Setting
from tacho_simulate.run import simulate
from tacho_simulate.trace import Trace
from tests.unit.simulate.policy_views import metrics, view as look

RECORDED = Path(__file__).parents[3] / "benchmarks/autoscaling/recorded"
IN_TIME_SECONDS = 2.0


def in_time_percent(recorded: dict[str, Any]) -> float:
    times = [item["ttft_s"] for item in recorded["requests"]]
    return 100 * sum(time is not None and time <= IN_TIME_SECONDS for time in times) / len(times)


@pytest.mark.parametrize("name", ["overload", "whole"])
def test_as_many_requests_are_in_time_as_in_the_cluster(name: str) -> None:
    """With the replicas that it asked for. Which pod gets which request moves one run by five points."""
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    found = [
        compared(recorded, run(recorded, IN_TIME_SECONDS, seed, unverified=False, followed=True)[0])
        for seed in range(25)
    ]
    assert abs(median(item["keptPercent"] for item in found) - in_time_percent(recorded)) <= 2.5
    assert all(item["mostOff"] == 0 for item in found)


def test_replicas_stay_those_of_the_cluster_through_all_that_went_wrong() -> None:
    recorded = json.loads((RECORDED / "whole.json").read_text())
    for seed in range(3):
        result, _ = run(recorded, IN_TIME_SECONDS, seed, unverified=False)
        assert compared(recorded, result)["sharePercent"] >= 95


@pytest.mark.parametrize("name", ["unclean", "clean"])
def test_with_the_pods_that_answered_them_requests_are_as_late_as_in_the_cluster(name: str) -> None:
    """So nothing is left to chance but by whom those are answered whose pod is not there."""
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    for seed in range(3):
        followed, _ = run(recorded, IN_TIME_SECONDS, seed, unverified=False, followed=True)
        assert abs(compared(recorded, followed)["keptPercent"] - in_time_percent(recorded)) <= 1


def test_of_pods_with_as_little_to_finish_the_one_goes_that_went_in_the_cluster() -> None:
    class Fewer:
        name, source, period_seconds = "fewer", "", 1.0

        def decide(self, view: PolicyView) -> PolicyDecision:
            return PolicyDecision(replicas=1, reason="as told")

    view = look(0.0, [metrics(running=running) for running in (0, 1, 0)])
    view = dataclasses.replace(
        view, pods=tuple(dataclasses.replace(pod, begun=number) for number, pod in enumerate(view.pods))
    )
    lasts = (90.0, 10.0, 20.0)
    assert AsTheyWent(Fewer(), lasts, followed=False).decide(view).victims == ("pod-2", "pod-0", "pod-1")
    assert AsTheyWent(Fewer(), lasts, followed=True).decide(view).victims == ("pod-1", "pod-2", "pod-0")
    assert AsTheyWent(Fewer(), (), followed=False).decide(view).victims == ()


def test_replicas_are_compared_at_each_look_and_within_one_of_it() -> None:
    looks = [{"time_s": time, "replicas": 1} for time in (3.0, 7.0)]
    result = simulate(
        Trace("none", (0.0, 20.0), (1, 1), (1, 1)),
        Setting(
            min_replicas=1, max_replicas=9, capacity=ReplicaCapacity(),
            slo_ttft_seconds=1.0, slo_tpot_seconds=None,
            cold_start_seconds=1.0, model=MODEL, initial_replicas=1,
        ),
        lambda _: Followed([{"time_s": 0.0, "replicas": 1}, {"time_s": 12.0, "replicas": 4}]),
        seed=0,
    )  # fmt: skip
    told = compared({"moments": looks, "period_s": 2.0}, result)
    assert (told["sharePercent"], told["mostOff"], told["mostOffWithinALook"]) == (50, 3, 0)


def test_a_request_is_sent_when_the_client_has_room_for_it() -> None:
    shape = {"input_tokens": 128, "output_tokens": 1}
    first = [{"time_s": 0.0, "ttft_s": 10.0 + number, **shape} for number in range(CLIENTS)]
    late = [{"time_s": 5.0, "ttft_s": 1.0, **shape}, {"time_s": 11.5, "ttft_s": None, **shape}]
    assert [item["sent_s"] for item in sent([*first, *late])][-2:] == [10.0, 11.5]


def test_when_a_request_was_sent_and_who_answered_it_are_as_recorded() -> None:
    shape = {"input_tokens": 128, "output_tokens": 1, "ttft_s": 1.0}
    requests = sent(
        [
            {"time_s": 0.0, "sent_s": 9.0, "pod": "late", **shape},
            {"time_s": 1.0, "sent_s": 1.5, "pod": "early", **shape},
            {"time_s": 2.0, "sent_s": 2.0, "pod": None, **shape, "ttft_s": None},
            {"time_s": 3.0, "sent_s": 3.0, "pod": "late", **shape},
        ]
    )
    assert [item["sent_s"] for item in requests] == [1.5, 2.0, 3.0, 9.0]
    assert dealt(requests) == (0, 2, 1, 1)
    assert dealt([{**shape, "sent_s": 0.0}]) == ()


@pytest.fixture
def fixed_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recordings are of the time before headroom followed the concurrency."""
    monkeypatch.setattr(need.ReplicaNeed, "target", property(lambda _: 0.8))


@pytest.mark.usefixtures("fixed_target")
def test_replicas_and_requests_in_time_are_those_of_the_cluster() -> None:
    recorded = json.loads((RECORDED / "growth.json").read_text())
    result, trace = run(recorded, IN_TIME_SECONDS, seed=0, unverified=True)
    found = compared(recorded, result)
    kept = sum(
        item["ttft_s"] is not None and item["ttft_s"] <= IN_TIME_SECONDS for item in recorded["requests"]
    )
    assert found["mostOff"] <= 1
    assert abs(found["keptPercent"] - 100 * kept / len(trace)) <= 2
    assert max(moment.desired for moment in result.trajectory) == recorded["moments"][-1]["replicas"] == 6


@pytest.mark.usefixtures("fixed_target")
def test_a_recording_is_replayed_up_to_before_the_pod_that_hangs_has_answered() -> None:
    recorded = upto(json.loads((RECORDED / "clean.json").read_text()), 45.0)
    assert recorded["hung"] not in {item["pod"] for item in recorded["requests"]}
    assert recorded["blind"] == []
    result, trace = run(recorded, IN_TIME_SECONDS, seed=0, unverified=False)
    assert len(trace) == len(recorded["requests"])
    assert compared(recorded, result)["mostOffWithinALook"] <= 1


def test_what_a_run_cost_and_kept_is_beside_its_simulation() -> None:
    """Two requests of three are in time, by 1 replica for 3 s and 2 for 4 s. Later looks do not count."""
    shape = {"input_tokens": 128, "output_tokens": 16, "pod": None}
    times = ((0.0, 0.1), (3.0, 0.1), (7.0, 2.5))
    looks = ((0.0, 1), (3.0, 2), (9.0, 6))
    recorded = {
        "default": True,
        "cold_start_s": 1.0,
        "period_s": 10.0,
        "moments": [
            {"time_s": at, "replicas": count, "ready": count, "arrivals": 0, "in_flight": 0}
            for at, count in looks
        ],
        "requests": [{"time_s": at, "sent_s": at, "ttft_s": ttft, **shape} for at, ttft in times],
    }
    cluster, simulated = compared_runs(recorded, IN_TIME_SECONDS, tries=2)
    assert cluster == (pytest.approx(100 * 2 / 3), 1 * 3.0 + 2 * 4.0)
    assert simulated == (100.0, 7.0)


def test_the_default_keeps_and_costs_what_it_did_in_the_cluster() -> None:
    """Rise, burst and pulse, the operator killed in each, by concurrent requests."""
    recorded = json.loads((RECORDED / "default.json").read_text())
    cluster, simulated = compared_runs(recorded, IN_TIME_SECONDS, tries=3)
    assert simulated.kept_percent == pytest.approx(cluster.kept_percent, abs=3)
    assert simulated.gpu_seconds == pytest.approx(cluster.gpu_seconds, rel=0.1)


@pytest.fixture
def quarter_hour() -> dict[str, Any]:
    """The whole story of the default, by a clean measurement that a probe pod made better meanwhile."""
    recorded: dict[str, Any] = json.loads((RECORDED / "quarter-hour.json").read_text())
    return recorded


def test_a_quarter_of_an_hour_of_the_default_keeps_and_costs_what_it_did(
    quarter_hour: dict[str, Any],
) -> None:
    cluster, simulated = compared_runs(quarter_hour, IN_TIME_SECONDS, tries=6)
    assert simulated.kept_percent == pytest.approx(cluster.kept_percent, abs=1.5)
    assert simulated.gpu_seconds == pytest.approx(cluster.gpu_seconds, rel=0.03)


def test_the_simulated_operator_gives_the_reasons_of_the_real_one(quarter_hour: dict[str, Any]) -> None:
    """In one run or another: by chance its looks come at the same times. The sixth replica came while a pod
    stood still, whose places count for the speed of all."""
    decisions = [
        item
        for seed in range(30)
        for item in run(quarter_hour, IN_TIME_SECONDS, seed, unverified=False)[0].decisions
    ]
    first, second = (item["reason"] for item in quarter_hour["decisions"][:2:-1])
    assert {item.reason for item in decisions} >= {first, second}
    (hangs,) = (
        span
        for span, kind in zip(quarter_hour["blind"], quarter_hour["blind_kinds"], strict=True)
        if kind == "hanging"
    )
    assert any(item.after == 6 and hangs[0] < item.time_seconds < hangs[1] for item in decisions)


def test_a_later_measurement_counts_from_its_time_on(quarter_hour: dict[str, Any]) -> None:
    without = {name: item for name, item in quarter_hour.items() if name != "measured_later"}
    trace = Trace("one", (0.0,), (128,), (16,))
    (since, first), (then, later) = carried(quarter_hour, trace, unverified=False)
    assert (since, then) == (0.0, 125.0)
    assert carried(without, trace, unverified=False) == ((0.0, first),)
    assert (first.gap_r2, later.gap_r2) == (0.0, pytest.approx(0.986))
    early, _ = run(quarter_hour, IN_TIME_SECONDS, 0, unverified=False)
    plain, _ = run(without, IN_TIME_SECONDS, 0, unverified=False)
    times = [
        [item.time_seconds for item in result.decisions if item.time_seconds < then]
        for result in (early, plain)
    ]
    assert times[0] == times[1]
    assert early.decisions != plain.decisions


def test_an_operator_that_is_killed_finds_its_bursts_but_where_the_test_removed_them(
    quarter_hour: dict[str, Any],
) -> None:
    def last_reason(kinds: list[str]) -> str:
        result, _ = run(quarter_hour | {"blind_kinds": kinds}, IN_TIME_SECONDS, 0, unverified=False)
        return result.decisions[-1].reason

    *kinds, last = quarter_hour["blind_kinds"]
    assert last == FORGOTTEN
    assert "earlier bursts" not in last_reason([*kinds, last])
    assert "earlier bursts" in last_reason([*kinds, "killed"])


def test_what_went_wrong_is_as_recorded() -> None:
    recorded = json.loads((RECORDED / "clean.json").read_text())
    kinds = ("killed", "cut", "killed", "killed", "hanging")
    told = recorded | {"blind_kinds": kinds}
    assert run(told, IN_TIME_SECONDS, 0, unverified=False) == run(
        recorded, IN_TIME_SECONDS, 0, unverified=False
    )
    other = recorded | {"blind_kinds": ("cut",) * 5}
    assert run(other, IN_TIME_SECONDS, 0, unverified=False) != run(
        recorded, IN_TIME_SECONDS, 0, unverified=False
    )
