"""The scaler's loop: asks pods, decides, calls; whatever pods do."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tacho_contract.report import LatencyHistogram, Load
from tacho_operator.shell.scaler import LISTENING_SECONDS, Scaler
from tacho_operator.shell.workqueue import Key
from tests.unit.core.measured_world import unfinished_world
from tests.wiring.sampled import KEY, Looking
from tools.harness.figures import CAPACITY
from tools.harness.world import AUTOSCALING, MOCK_SPEC, World, changed, world_of


@pytest.fixture
def looking() -> Looking:
    found = Looking(world_of())
    found.reconcile()
    return found


async def test_a_busy_pod_brings_more_and_says_so(looking: Looking) -> None:
    for number in range(4):
        await looking.look(running=50, waiting=200, generation_tokens_total=1e4 * number)
        looking.reconcile()
    desired = looking.world.status["autoscaling"]["desiredReplicas"]
    assert looking.world.brief("ScalingActive") == ("True", "TooManyReplicas")
    assert looking.sample("desired_replicas") == desired > 1
    assert looking.sample("requests_waiting") == 200
    (entry,) = looking.world.status["measurements"]
    rate = looking.sample("capacity_requests_per_second")
    for name, lengths in (("prefill", "inputTokens"), ("output", "outputTokens")):
        tokens = looking.sample(f"capacity_{name}_tokens_per_second")
        assert rate is not None
        assert tokens == pytest.approx(rate * entry["workload"][lengths])
    assert looking.sample("scaling_decisions_total", direction="up", reason="Concurrency")


async def test_served_tokens_are_counted_across_a_restart_of_the_engine(looking: Looking) -> None:
    assert looking.sample("output_tokens_total") is None
    for total in (1000.0, 1400.0, 50.0, 80.0):
        await looking.look(running=1, waiting=0, generation_tokens_total=total)
    assert looking.sample("output_tokens_total") == 400 + 50 + 30
    (pod,) = looking.world.pods("server")
    assert looking.scaler.idle(KEY) == {pod["metadata"]["uid"]: False}
    await looking.look(running=0, waiting=0, generation_tokens_total=80.0)
    assert looking.scaler.idle(KEY) == {pod["metadata"]["uid"]: True}
    looking.scaler.forget(KEY)
    assert looking.sample("output_tokens_total") is None
    assert looking.scaler.idle(KEY) == {}


async def test_missed_histograms_of_a_pod_lower_its_capacity() -> None:
    world = World(changed(MOCK_SPEC, slo={"tpotMilliseconds": 30}, autoscaling=AUTOSCALING))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    for number in range(12):
        late = LatencyHistogram(edges_seconds=(600.0,), counts=(0,), total=100 * number)
        await looking.look(running=1, waiting=0, generation_tokens_total=10.0 * number, tpot=late)
        looking.reconcile()
    found = world.status["autoscaling"]
    assert found["capacityCorrectionPercent"] == 90
    assert found["attainment"]["requests"] > 100
    del found["attainment"]["requests"]
    assert found["attainment"] == {"percent": 0, "tpotSource": "Histogram"}
    assert looking.sample("slo_attainment_ratio") == looking.sample("slo_attainment_upper_ratio") == 0
    assert looking.sample("slo_objective_ratio") == 0.95


async def test_attainment_is_written_in_steps_and_says_what_judges_it() -> None:
    world = World(changed(MOCK_SPEC, slo={"tpotMilliseconds": 30}, autoscaling=AUTOSCALING))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    await looking.look(running=1, waiting=0, generation_tokens_total=0.0)
    await looking.look(running=1, waiting=0, generation_tokens_total=10.0)
    looking.reconcile()
    assert world.status["autoscaling"]["attainment"] == {"requests": 0, "tpotSource": "None"}
    assert looking.sample("slo_attainment_ratio") is None
    met, total, shown = 0, 0, []
    for share in (1.0, 1.0, 0.98, 0.96, 0.5):
        met, total = met + round(100 * share), total + 100
        wide = LatencyHistogram(edges_seconds=(0.02, 0.04), counts=(met, total), total=total)
        await looking.look(running=1, waiting=0, generation_tokens_total=10.0 + total, tpot=wide)
        looking.reconcile()
        shown.append(world.status["autoscaling"]["attainment"])
    assert shown[1] == {"percent": 100, "requests": 100, "tpotSource": "Histogram"}
    assert shown[3]["percent"] == 100, "98 after three: no step yet"
    assert shown[4]["percent"] == 85
    assert looking.sample("slo_attainment_upper_ratio") == 1


@pytest.mark.parametrize("mode", ["Enforce", "Recommend"])
async def test_an_slo_that_an_idle_replica_misses_is_said_before_any_traffic(mode: str) -> None:
    autoscaling = {"maxReplicas": 4, "mode": mode}
    looking = Looking(unfinished_world(replicas=1, autoscaling=autoscaling))
    looking.reconcile()
    await looking.look(running=0, waiting=0, generation_tokens_total=0.0)
    looking.reconcile()
    (pod,) = looking.world.pods("server")
    never = dataclasses.replace(CAPACITY, concurrency=1, basis="SLO", boundary="NeverMet")
    looking.world.serves(pod, capacity=never)
    pod["status"]["podIP"] = "10.0.0.7"
    looking.reconcile()
    assert "an idle replica misses" in looking.world.condition("Measured")["message"]
    await looking.look(running=0, waiting=0, generation_tokens_total=0.0)
    assert looking.called == [KEY]
    looking.reconcile()
    assert looking.world.brief("ScalingActive") == ("False", "SLOUnattainable")
    assert "no number of replicas meets" in looking.world.condition("ScalingActive")["message"]
    assert "no number of replicas meets" in looking.world.status["autoscaling"]["reason"]
    assert ("Warning", "SLOUnattainable") in looking.world.events


async def test_nobody_is_called_when_nothing_changes(looking: Looking) -> None:
    for _ in range(8):  # after a minute the lowest load is known
        await looking.look(running=0, waiting=0, generation_tokens_total=5.0)
        looking.reconcile()
    for _ in range(50):
        await looking.look(running=0, waiting=0, generation_tokens_total=5.0)
        assert looking.called == []


async def test_a_pod_that_does_not_answer_or_repeats_itself_is_unknown_in_time(looking: Looking) -> None:
    await looking.look(running=3, waiting=0)
    looking.reconcile()
    for _ in range(3):
        await looking.look()
        looking.reconcile()
    assert looking.world.brief("ScalingActive")[0] == "True", "three looks may fail"
    await looking.look()
    looking.reconcile()
    assert looking.world.brief("ScalingActive") == ("False", "FailedGetPodsMetric")
    looking.pods.answers.clear()
    await looking.look()
    for name in ("demand_replicas", "utilization_ratio", "capacity_output_tokens_per_second"):
        assert looking.sample(name) is None, "unknown is not zero"
    assert looking.sample("pods_silent") == 1


async def test_another_process_goes_on_where_the_first_was_killed(looking: Looking) -> None:
    for number in range(4):
        await looking.look(running=50, waiting=200, generation_tokens_total=1e4 * number)
        looking.reconcile()
    before = looking.world.status["autoscaling"]
    looking.registry = CollectorRegistry()
    looking.scaler = looking.start()
    looking.reconcile()
    await looking.look(running=0, waiting=0, generation_tokens_total=4e4)
    looking.reconcile()
    after = looking.world.status["autoscaling"]
    assert after["desiredReplicas"] == before["desiredReplicas"]
    assert after["decisions"] == before["decisions"]
    assert "Fewer suffice" in looking.world.condition("ScalingActive")["message"]


async def test_another_process_predicts_the_next_burst(looking: Looking) -> None:
    """A burst of a minute every ten: the first process ends in the second one."""
    tokens = 0.0
    for number in range(195):  # the window since the third one is over
        busy = 30 <= number % 60 < 36
        tokens += 5e3 if busy else 10.0
        await looking.look(running=20 if busy else 1, waiting=0, generation_tokens_total=tokens)
        if looking.called:
            looking.reconcile()
        if number == 92:
            assert len(looking.world.status["autoscaling"]["bursts"]) == 2
            looking.registry = CollectorRegistry()
            looking.scaler = looking.start()
            looking.reconcile()
    status = looking.world.status["autoscaling"]
    assert len(status["bursts"]) == 3
    assert status["desiredReplicas"] == math.ceil(float(status["bursts"][1]["replicas"])) > 1


async def test_a_resource_that_somebody_else_scales_is_measured_and_left_alone() -> None:
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    looking.scaler.scraped()
    for number in range(4):
        await looking.look(running=50, waiting=200, generation_tokens_total=1e4 * number)
        assert looking.called == []
    assert (looking.sample("demand_replicas") or 0) > 1
    assert looking.sample("desired_replicas") is None
    looking.reconcile()
    assert "autoscaling" not in looking.world.status


async def test_what_somebody_else_scales_is_looked_at_every_third_time() -> None:
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    for looking, looks in ((Looking(world), [0, 3, 6]), (Looking(world_of()), [0, 1, 2, 3, 4, 5, 6])):
        looking.reconcile()
        looking.scaler.scraped()
        asked = []
        for number in range(7):
            await looking.look(running=1, waiting=0, generation_tokens_total=10.0 * number)
            asked += [number] * len(looking.pods.asked)
        assert asked == looks


@pytest.mark.parametrize("reader", ["Prometheus", "KEDA"])
async def test_what_somebody_else_scales_is_looked_at_while_somebody_reads_it(reader: str) -> None:
    """Of a large fleet nothing costs more than to ask its pods."""
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    await looking.look(running=1, waiting=0)
    assert looking.pods.asked == [], "nobody has read anything yet"

    def read() -> object:
        return looking.scaler.scraped() if reader == "Prometheus" else looking.scaler.latest(KEY)

    assert read() is None
    await looking.look(running=1, waiting=0)
    assert looking.sample("requests_running") == 1
    assert looking.scaler._watched[KEY].decision is not None
    for _ in range(int(LISTENING_SECONDS / 10)):
        await looking.look(running=1, waiting=0)
    looking.pods.asked = []
    await looking.look(running=2, waiting=0)
    assert looking.pods.asked == []
    assert looking.sample("requests_running") is None, "an old figure is none"
    assert looking.scaler.latest(KEY) is None
    await looking.look(running=2, waiting=0)
    assert looking.sample("requests_running") == 2


async def test_who_asks_every_five_minutes_finds_figures_though_late_or_after_a_turn_missed() -> None:
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    looking.scaler.latest(KEY)
    for looks in (31, 62):
        for _ in range(looks):
            await looking.look(running=1, waiting=0)
        assert looking.scaler.latest(KEY) is not None


async def test_the_first_figures_after_a_pause_are_of_now_and_not_of_the_pause() -> None:
    """An hour in which nothing came would make a burst at its end look like next to nothing."""
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    for number in range(4):
        looking.scaler.scraped()
        await looking.look(running=8, waiting=0, generation_tokens_total=1e4 * number)
    for _ in range(int(LISTENING_SECONDS / 10) + 1):
        await looking.look(running=0, waiting=0, generation_tokens_total=3e4)
    looking.now += 3600
    fresh = Looking(world)
    fresh.reconcile()
    for one in (looking, fresh):
        one.scaler.scraped()
        await one.look(running=8, waiting=0, generation_tokens_total=3.1e4)
        assert one.sample("demand_replicas") is None, "no rate is known yet"
        assert one.sample("requests_running") == 8
        for _ in range(3):
            await one.look(running=8, waiting=0, generation_tokens_total=3.2e4)
    after, anew = (one.sample("demand_replicas") or 0.0 for one in (looking, fresh))
    assert after >= anew > 0.1, "over the hour it would be a hundredth of it"


async def test_an_engine_without_counters_tells_its_load_at_once() -> None:
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    looking.scaler.scraped()
    await looking.look(running=8, waiting=0)
    assert looking.sample("demand_replicas") is not None


async def test_whoever_scales_one_resource_makes_no_other_pods_asked() -> None:
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    looking = Looking(world)
    looking.reconcile()
    looking.scaler.latest(Key("ml", "another"))
    await looking.look(running=1, waiting=0)
    assert looking.pods.asked == []


def series_of_resources(looking: Looking) -> list[str]:
    found = (sample for family in looking.registry.collect() for sample in family.samples)
    return [sample.name for sample in found if "name" in sample.labels]


async def test_slow_decisions_of_thousands_leave_the_other_tasks_their_turns(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking.reconcile()
    watched = looking.scaler._watched
    watched |= {Key("many", f"m{number}"): watched[KEY] for number in range(20)}
    decide, turns = Scaler._decide, [0]

    def slow(self: Scaler, *given: Any) -> bool:
        time.sleep(0.03)
        return decide(self, *given)

    async def beside() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(Scaler, "_decide", slow)
    task = asyncio.create_task(beside())
    await looking.look(running=1, waiting=0)
    task.cancel()
    assert turns[0] >= 20


async def test_its_cost_is_counted(looking: Looking) -> None:
    def counted(name: str, **labels: str) -> float | None:
        return looking.registry.get_sample_value(f"tacho_operator_{name}", labels)

    await looking.look(running=50, waiting=200, generation_tokens_total=0.0)
    called = len(looking.called)
    await looking.look(running=50, waiting=200, generation_tokens_total=1e4)
    called += len(looking.called)
    looking.pods.answers.clear()
    await looking.look()
    called += len(looking.called)
    assert called
    assert counted("load_requests_total", result="answered") == 2
    assert counted("load_requests_total", result="silent") == 1
    assert counted("scaling_reconciles_total") == called
    assert counted("scaling_sample_duration_seconds_count") == 3


async def test_a_resource_that_is_gone_leaves_no_series(looking: Looking) -> None:
    for number in range(4):
        await looking.look(running=50, waiting=200, generation_tokens_total=1e4 * number)
    looking.scaler.forget(KEY)
    await looking.look()
    assert looking.pods.asked == []
    assert series_of_resources(looking) == []


async def test_a_resource_that_goes_while_its_pods_are_asked_leaves_no_series(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: object) -> dict[str, Load]:
        looking.scaler.forget(KEY)
        return {}

    monkeypatch.setattr(looking.pods, "read", read)
    await looking.look()
    assert series_of_resources(looking) == []


async def test_a_resource_made_anew_with_the_same_name_begins_anew(looking: Looking) -> None:
    for number in range(4):
        await looking.look(running=50, waiting=200, generation_tokens_total=1e4 * number)
        looking.reconcile()
    observed = looking.world.observed()
    assert looking.scaler.observed(KEY, observed).scaling is not None
    raw = {**observed.raw, "metadata": {**observed.raw["metadata"], "uid": "another"}}
    assert looking.scaler.observed(KEY, dataclasses.replace(observed, raw=raw)).scaling is None
